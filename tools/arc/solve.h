/* One ARC-AGI task is learned and answered. */
#ifndef VDM_SOLVE_H
#define VDM_SOLVE_H

#include "tools/arc/results.h"
#include "tools/run/training.h"

/* A task while it is worked on. */
typedef struct solver {
    options options;
    vdm_arc arc; /* as the file has it */
    vdm_view *views;
    int n_views;
    vdm_task task; /* in all views */
    session session;
    training training;
    vdm_colour_map colours; /* with which answers are read */
    vdm_picture *frames;    /* [attempts * tests]: answers in the first view as they were generated; NULL */
    arc_result result;
} solver;
/* Learns and answers. work: a folder for the files of the run (lora.safetensors, train.csv, and a state from
 * from which an interrupted run resumes). frames: keeps them. solver_free also after it failed. */
int solver_run(solver *s, const options *o, const char *path, const char *work, bool resumable, bool frames,
               vdm_error *err);
void solver_free(solver *s);

/* The page of one task. */
int solver_page(const solver *s, const char *command, const char *path, vdm_error *err); /* task_page.c */

#endif
