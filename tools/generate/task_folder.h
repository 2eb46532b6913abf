/* Writes a task folder. */
#ifndef VDM_TASK_FOLDER_H
#define VDM_TASK_FOLDER_H

#include "tools/generate/tasks.h"
#include "tools/run/lock.h"

/* DIR/train/0000.in.ppm ..., DIR/test/..., DIR/task.json; a folder that is not empty is rejected. */
int task_write(const made_task *t, const char *dir, vdm_error *err);
/* A hash of task.json and of the names and pixels of all pictures: as task_write writes them; as they are in a folder, or -1
 * if it has no readable task, or a link in it. */
int task_hash(uint64_t *hash, const made_task *t, vdm_error *err);
int task_hash_folder(uint64_t *hash, const char *dir, vdm_error *err);
/* Makes dir, or checks that it is empty; what a killed run left unfinished in it is removed. */
int make_empty(const char *dir, vdm_error *err);

/* A task folder while it is written: pictures go to train/ and test/ of DIR/unfinished. task_end adds task.json, syncs
 * all files at once and moves them into DIR. A run that is killed before that leaves no task, only DIR/unfinished; the
 * next run removes it. */
extern const char TASK_UNFINISHED[];
typedef struct task_folder {
    const char *dir; /* new or empty */
    char *unfinished;
    lock lock; /* on DIR/unfinished: only its holder removes files */
} task_folder;
int task_begin(task_folder *f, const char *dir, vdm_error *err);
int task_picture(const vdm_picture *p, const char *dir, const char *name, const char *ending, vdm_error *err);
int task_end(task_folder *f, const vdm_task *t, vdm_error *err); /* frees f if it succeeds */
/* Removes what was written, and frees f; after a failure or a task_end. */
void task_abandon(task_folder *f);

#endif
