/* Whether the outputs of a task are pictures that its metric can read. */
#ifndef VDM_TRUTHS_H
#define VDM_TRUTHS_H

#include "vdm_task.h"

/* The outputs of the first pairs and tests, before the work. Prints one that is not a picture of the task's grid, or has
 * mostly colours that the metric does not distinguish, and how many others there are. Rejects masks, classes and figures if
 * the metric finds nothing in any output of the task: then an empty answer would be exact. */
typedef struct truths {
    const vdm_task *task;
    int n_train, n_test;
    bool inputs;       /* of grids: the inputs too, which are read as grids in a view */
    int height, width; /* pixels that outputs are resized to */
} truths;
int truths_check(const truths *t, vdm_error *err);

#endif
