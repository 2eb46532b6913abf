/* Learns and answers one ARC-AGI task. */
#ifndef VDM_SOLVE_H
#define VDM_SOLVE_H

#include "tools/arc/results.h"
#include "tools/run/training.h"

/* A task during the work. */
typedef struct solver {
    options options;
    vdm_arc arc; /* as in the file */
    vdm_view *views;
    int n_views;
    vdm_task task; /* in all views */
    session session;
    training training;
    vdm_colour_map colours; /* that answers are read with */
    vdm_picture *frames;    /* [attempts * tests]: generated answers in the first view; or NULL */
    arc_result result;
} solver;
/* Learns and answers. work: a folder for the files of the run (lora.safetensors, train.csv, and a state from which an
 * interrupted run resumes). frames: keep them. Call solver_free also after a failure. */
int solver_run(solver *s, const options *o, const char *path, const char *work, bool resumable, bool frames,
               vdm_error *err);
void solver_free(solver *s);
/* The page of one task. */
int solver_page(const solver *s, const char *command, const char *path, vdm_error *err); /* task_page.c */

#endif
