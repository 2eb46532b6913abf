/* A task folder as it is written. */
#ifndef VDM_TASK_FOLDER_H
#define VDM_TASK_FOLDER_H

#include "tools/generate/tasks.h"

/* DIR/train/0000.in.ppm ..., DIR/test/..., DIR/task.json; a folder that holds anything is refused. */
int task_write(const made_task *t, const char *dir, vdm_error *err);
/* dir, new or empty, and nothing else. */
int make_empty(const char *dir, vdm_error *err);
/* A task folder while it is written: pictures go to parts, train/ and test/, of DIR/unfinished, which
 * task_begin makes and returns (vdm_free). task_end adds task.json, syncs them all at once and moves them
 * into DIR. What is killed before that leaves no task behind, but a folder that tells that it is unfinished.
 */
extern const char TASK_UNFINISHED[];
char *task_begin(const char *dir, vdm_error *err); /* DIR is new or empty */
int task_picture(const vdm_picture *p, const char *dir, const char *name, const char *ending, vdm_error *err);
int task_end(const vdm_task *t, const char *dir, const char *unfinished, vdm_error *err);

#endif
