/* What an output may replace: an earlier output of the same kind. */
#ifndef VDM_EARLIER_H
#define VDM_EARLIER_H

#include "tools/run/paths.h"

/* Rejects a file whose ending is not that of the output's format. */
int check_ending(const char *path, enum output_kind kind, vdm_error *err);
/* Rejects an output if there is a file of this name that is not an earlier output of the same kind, nor empty: weights, an
 * adapter, results. Pictures, videos and ANY_FILE are not checked: these have no sign of vdm in them. */
int check_earlier(const char *path, enum output_kind kind, vdm_error *err);
/* Rejects an output among the pictures of a task: in the folder train/ or test/ of another one, next to NAME.in.png. */
int check_outside_tasks(const char *path, vdm_error *err);

#endif
