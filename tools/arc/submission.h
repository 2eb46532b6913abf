/* The file that ARC Prize's competition accepts. */
#ifndef VDM_SUBMISSION_H
#define VDM_SUBMISSION_H

#include "tools/arc/results.h"

/* {"ID": [{"attempt_1": [[0, 1], ...], "attempt_2": ...}, ...], ...}: for each test of each task the first two answers;
 * ID: the last part of the task's path. Without a second answer the first is repeated; without any answer it is [[0]],
 * which the competition counts as wrong. */
int submission_write(const arc_results *all, const char *path, vdm_error *err);
bool submission_is(const char *path); /* by its ending, .json */
/* Prints how many attempts the file has, and at how many tests the second one repeats the first. */
void submission_describe(const arc_results *all, const char *path);

#endif
