/* Views of a task of grids that one adapter learns and answers in. */
#ifndef VDM_VIEWS_H
#define VDM_VIEWS_H

#include "tools/run/model_session.h"

typedef struct views {
    int n; /* at least 1; 1: the original task, with the session's prompt */
    vdm_view list[MAX_VIEWS];
    /* [n,L,Dt]: the prompt of each; NULL: the session's. If n is 1 but the adapter was learned in several views, and no
     * prompt or --view is given, the first view's */
    float *text;
} views;
/* --views; without it the number that the adapters of --lora were learned in, or, for a task of grids, the model's. */
int views_number(int *n, const options *o, bool grids, vdm_error *err);
/* The views of that number, for a session whose model is known. Rejected if the task has no grid, or the model no
 * view_embeds.safetensors with that many prompts. */
int views_plan(views *v, const session *s, const vdm_task *t, vdm_error *err);
void views_free(views *v);
void views_free_text(views *v); /* the session's prompt replaces those of the views */
/* The prompt [L,Dt] of view k. */
const float *views_text(const views *v, const session *s, int k);
/* The hash of the model's prompts of the first n views; 0 if it does not have them. */
uint64_t views_hash(const session *s, int n);
/* The same task with its examples shown in view k. */
vdm_task views_show(const views *v, const vdm_task *t, int k);

/* Answers in all views become one: the majority vote of each cell. */
typedef struct cell_votes {
    int rows, cols;
    int *count; /* [rows,cols,10] */
} cell_votes;
int cell_votes_new(cell_votes *b, int rows, int cols, vdm_error *err);
void cell_votes_free(cell_votes *b);
/* Counts the grid in a picture of that view; grid: the layout as the view shows it. */
int cell_votes_add(cell_votes *b, const vdm_view *v, const vdm_picture *p, const vdm_grid_layout *grid,
                   vdm_error *err);
/* Draws the majority vote as frame [3,height,width], in 0..1 as the VAE decodes it, in the layout of the original task;
 * in a tie the lowest number. */
int cell_votes_draw(float *frame, int height, int width, const cell_votes *b, const vdm_grid_layout *grid,
                    vdm_error *err);

#endif
