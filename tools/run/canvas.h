/* What the pictures of an ARC-AGI task look like. */
#ifndef VDM_CANVAS_H
#define VDM_CANVAS_H

#include "tools/options.h"

/* Lays an ARC-AGI task out on its canvas and sets o's --size to the canvas's: o's settings, else those of the model's
 * vdm.json for arc, else the paper's. If the canvas has to grow, o->learn.batch and o->learn.steps change, so that a step
 * has as many tokens as before; the model's limit of the size does not hold up to --grow. answers: the test outputs' sizes
 * count too. Other tasks stay as they are. */
int canvas_lay_out(vdm_task *t, options *o, bool answers, vdm_error *err);
/* Pictures may have sides of so many pixels even if the model's are smaller: session_plan accepts them. */
void canvas_allow(options *o, int side);
/* Shows a task of grids in view number o->eval.view, and stores the view in *view. Call it after canvas_lay_out. */
int canvas_view(vdm_task *t, const options *o, vdm_view *view, vdm_error *err);
/* Rejects a grid of cells that does not fit into the session's pictures. */
int canvas_check_grid(const vdm_task *t, const vdm_example *e, const vdm_geometry *g, vdm_error *err);
/* The mean difference of p from the grid that is read in it, in levels of 255; 0 if it is small, or the grid does not fit. */
int canvas_difference(double *levels, const vdm_picture *p, const vdm_grid_layout *grid, vdm_error *err);
/* Prints that a picture is not one of such a grid; source: what has the grid and its palette. others: pictures of which the
 * same is true. */
void canvas_print_difference(const char *name, const vdm_grid_layout *grid, double levels, const char *source,
                             int others);
/* How the task's grids are drawn: "cell 8, border 2, align 1, palette arc, 7 rows, 7 columns"; "" if it has none. The
 * rows and columns are left out if they differ from grid to grid, as in ARC-AGI. */
void canvas_grid_text(char *text, size_t size, const vdm_task *t);
/* The layout that such a text describes, with rows and columns 0 if it has none; false if it is another text. */
bool canvas_grid_read(vdm_grid_layout *g, const char *text);
/* Whether two such texts describe the same grids, as far as both say. older: the first one is of a version that wrote
 * "arc" for the palette maze. */
bool canvas_same_grid(const char *learned, const char *here, bool older);
const char *canvas_palette_name(vdm_palette p);
/* Sets the rows and columns with which the grid fills a picture of that size; 0 if they are not whole cells. */
void canvas_fill(vdm_grid_layout *g, int height, int width);
/* The grid of --cell, --border and --palette that fills a picture of that size. */
vdm_grid_layout canvas_of_options(const options *o, int height, int width);
/* Adapts the grid's layout to the session's size, and reports on stderr how many pictures are resized. test: the
 * pictures of test/ count too. */
int canvas_resize(vdm_task *t, bool test, int height, int width, vdm_error *err);

#endif
