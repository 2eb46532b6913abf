/* What the pictures of an ARC-AGI task look like. */
#ifndef VDM_CANVAS_H
#define VDM_CANVAS_H

#include "tools/options.h"

/* Lays an ARC-AGI task out on its canvas and sets o's --size to it: as o says, as the model's vdm.json says for
 * arc, or as the paper has it. Where the canvas has to grow, o->batch shrinks: as many tokens a step as before.
 * answers: the test outputs' sizes count too. Other tasks stay as they are. */
int canvas_lay_out(vdm_task *t, options *o, bool answers, vdm_error *err);
/* Shows a task of grids in view o->view, a function of that number alone, which `view` keeps. After canvas_lay_out. */
int canvas_view(vdm_task *t, const options *o, vdm_view *view, vdm_error *err);
/* Whether the grid of a task of cells fits into the session's pictures. */
int canvas_check_grid(const vdm_task *t, const vdm_example *e, const vdm_geometry *g, vdm_error *err);
/* Brings the grid's layout to the session's size, and reports on stderr how many pictures are resized. test: the
 * pictures of test/ are used too. */
int canvas_resize(vdm_task *t, bool test, int height, int width, vdm_error *err);

#endif
