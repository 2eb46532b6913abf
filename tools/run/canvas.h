/* What the pictures of an ARC-AGI task look like. */
#ifndef VDM_CANVAS_H
#define VDM_CANVAS_H

#include "tools/options.h"

/* Lays an ARC-AGI task out on its canvas and sets o's --size to the canvas's: o's settings, else those of the model's
 * vdm.json for arc, else the paper's. If the canvas has to grow, o->batch shrinks, so that a step has as many tokens as
 * before. answers: the test outputs' sizes count too. Other tasks stay as they are. */
int canvas_lay_out(vdm_task *t, options *o, bool answers, vdm_error *err);
/* Shows a task of grids in view number o->view, and stores the view in *view. Call it after canvas_lay_out. */
int canvas_view(vdm_task *t, const options *o, vdm_view *view, vdm_error *err);
/* Rejects a grid of cells that does not fit into the session's pictures. */
int canvas_check_grid(const vdm_task *t, const vdm_example *e, const vdm_geometry *g, vdm_error *err);
/* Prints a warning if the example's output is not a picture of the task's grid: its scores and views are meaningless. */
int canvas_report_grid(const vdm_task *t, const vdm_example *e, const vdm_geometry *g, vdm_error *err);
/* How the task's grids are drawn: "cell 8, border 2, ..."; "" if it has none. */
void canvas_grid_text(char *text, size_t size, const vdm_task *t);
/* Adapts the grid's layout to the session's size, and reports on stderr how many pictures are resized. test: the
 * pictures of test/ count too. */
int canvas_resize(vdm_task *t, bool test, int height, int width, vdm_error *err);

#endif
