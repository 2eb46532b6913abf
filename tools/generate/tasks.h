/* Generated tasks. */
#ifndef VDM_TASKS_H
#define VDM_TASKS_H

#include "vdm_task.h"

/* A generated task is a function of its name, these options and the seed. */
typedef struct task_options {
    uint64_t seed;
    int n, tests; /* pairs (30, at most 300), test pictures (200, or as many as the task has) */
    bool paper;   /* palette, cells and picture sizes of arXiv 2510.24448 instead of the tiny model's */
    const char *content; /* "dense", "sparse", "blobs"; NULL: the task's own */
    int rows, cols;      /* 0: the task's own */
    int cell, border;    /* pixels; -1: the task's own */
    int height, width;   /* of the pictures; 0: the task's own */
} task_options;
typedef struct made_task {
    vdm_task task;    /* name, phi, metric and grid geometry, as vdm_task_read has them; no pairs, no path */
    const char *what; /* a description: "mirror left and right" */
    int n_train, n_test;
    vdm_picture *train_x, *train_y; /* [n_train] */
    vdm_picture *test_x, *test_y;   /* [n_test] */
} made_task;
task_options task_defaults(void);
/* Rejects a task without a pair and without a test. */
int task_counts_check(const char *name, int pairs, int tests, vdm_error *err);
int task_make(made_task *t, const char *name, const task_options *o, vdm_error *err);
void made_task_free(made_task *t);

#endif
