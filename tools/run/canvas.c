/* What the pictures of an ARC-AGI task look like: canvas, cells, borders, palette.
 *
 * The defaults are the paper's, for models of pictures of hundreds of pixels; the model's vdm.json
 * ({"arc": {"size": "64x64", "cell": 8, ...}}) or the command line may set others. A canvas can grow with the task, for
 * models whose VAE loses small cells. */
#include "tools/run/canvas.h"
#include "tools/messages.h"

#include <stdlib.h>
#include <string.h>

enum { GRID_OF_SIZES = 16 }; /* pixels: canvases grow in steps of a patch of the published models */

/* The canvas has the size of --size, or of ARC-AGI's pictures. */
static void settle(options *o)
{
    if (o->height) return;
    o->height = o->canvas.height;
    o->width = o->canvas.width;
}

/* A side of the canvas for n cells: `side` if they fit, or if it would have to grow too much. */
static int grown(const options *o, int side, int n)
{
    int need = n * (o->canvas.cell + o->canvas.border) + o->canvas.border;
    need = (need + GRID_OF_SIZES - 1) / GRID_OF_SIZES * GRID_OF_SIZES;
    return need <= side ? side : need < o->canvas.grow ? need : o->canvas.grow > side ? o->canvas.grow : side;
}

/* Keeps the number of pixels that are learned: fewer videos a step, and more or fewer steps for the rest. */
static void grow_canvas(options *o, int cells)
{
    int height = grown(o, o->height, cells), width = grown(o, o->width, cells);
    int64_t pixels = (int64_t)height * width, before = (int64_t)o->height * o->width * o->learn.batch;
    int64_t batch = before < pixels ? 1 : before / pixels, steps = o->learn.steps * before / (batch * pixels);
    o->learn.batch = (int)batch;
    o->learn.steps = steps < 1 ? 1 : (int)steps;
    o->height = height;
    o->width = width;
}

int canvas_lay_out(vdm_task *t, options *o, bool answers, vdm_error *err)
{
    int rows, cols;
    if (!t->arc.path) return 0;
    settle(o);
    vdm_arc_largest(&t->arc, answers, &rows, &cols);
    if (o->canvas.grow && o->canvas.cell) grow_canvas(o, rows > cols ? rows : cols);
    vdm_arc_canvas c = {.height = o->height,
                        .width = o->width,
                        .cell = o->canvas.cell,
                        .border = o->canvas.border,
                        .align = o->canvas.align,
                        .grey = strcmp(o->canvas.outside, "grey") == 0,
                        .palette =
                            strcmp(o->canvas.palette, "vivid") == 0 ? VDM_PALETTE_VIVID : VDM_PALETTE_ARC};
    return vdm_arc_layout(&t->grid, &c, rows, cols, err);
}

void canvas_grid_text(char *text, size_t size, const vdm_task *t)
{
    const vdm_grid_layout *g = &t->grid;
    snprintf(text, size, "%s", "");
    if (t->metric != VDM_METRIC_CELLS || !g->cell) return;
    snprintf(text, size, "cell %d, border %d, align %d, palette %s%s", g->cell, g->border,
             g->align ? g->align : 1, g->palette == VDM_PALETTE_VIVID ? "vivid" : "arc",
             g->grey ? ", grey outside" : "");
}

int canvas_check_grid(const vdm_task *t, const vdm_example *e, const vdm_geometry *g, vdm_error *err)
{
    vdm_grid_layout grid = vdm_example_grid(t, e);
    vdm_pixel first;
    if (t->metric != VDM_METRIC_CELLS || vdm_grid_place(&first, &grid, g->height, g->width)) return 0;
    return vdm_fail(
        err,
        "%s/task.json: grid: expected one that fits into %dx%d, found %d rows and %d columns of %d "
        "pixels",
        t->path, g->height, g->width, grid.rows, grid.cols, grid.cell + grid.border);
}

/* The mean of |a - b| over pixels and channels of two pictures of the same size */
static double mean_difference(const vdm_picture *a, const vdm_picture *b)
{
    int64_t n = (int64_t)a->height * a->width * 3, sum = 0;
    for (int64_t i = 0; i < n; i++) sum += abs(a->rgb[i] - b->rgb[i]);
    return (double)sum / (double)n;
}

int canvas_report_grid(const vdm_task *t, const vdm_example *e, const vdm_geometry *g, vdm_error *err)
{
    const double FAR = 8; /* levels of 255; a picture of such a grid has a difference of 0 */
    vdm_grid_layout grid = vdm_example_grid(t, e);
    vdm_picture p = {0}, drawn = {0};
    int height, width;
    if (t->metric != VDM_METRIC_CELLS || t->arc.path || !e->output) return 0;
    if (vdm_picture_size(e->output, &height, &width, err)) return -1;
    if (height != g->height || width != g->width) return 0; /* resized */
    uint8_t *cells = vdm_alloc((size_t)grid.rows * (size_t)grid.cols, 1, "a grid", err);
    int status = cells ? vdm_example_picture(&p, t, e, VDM_OUTPUT, height, width, err) : -1;
    if (!status && !vdm_grid_read(cells, &p, &grid)) {
        status = vdm_grid_render(&drawn, cells, &grid, height, width, err);
        double far = status ? 0 : mean_difference(&p, &drawn);
        if (far > FAR)
            fprintf(
                stderr,
                "%s: a grid of %d rows and %d columns of %d pixels differs from this picture by %.0f of 255 "
                "levels: are grid and palette of task.json those of its pictures?\n",
                clean(e->output), grid.rows, grid.cols, grid.cell + grid.border, far);
    }
    vdm_free(cells);
    vdm_picture_free(&p);
    vdm_picture_free(&drawn);
    return status;
}

int canvas_view(vdm_task *t, const options *o, vdm_view *view, vdm_error *err)
{
    vdm_view views[MAX_VIEWS];
    int colours = 0;
    if (!o->eval.view) return 0;
    if (t->metric != VDM_METRIC_CELLS || (!t->arc.path && !t->grid.rows))
        return vdm_fail(err, "%s: --view %d: expected a task of grids, metric cells, found metric %s",
                        t->path, o->eval.view, vdm_metric_name(t->metric));
    bool square = t->arc.path ? o->height == o->width : t->grid.rows == t->grid.cols;
    while (colours < 10 && vdm_palette_colour(t->grid.palette, colours)) colours++;
    vdm_views_make(views, o->eval.view + 1, square, 0, colours, 42);
    *view = views[o->eval.view];
    t->view = view;
    return 0;
}

int canvas_resize(vdm_task *t, bool test, int height, int width, vdm_error *err)
{
    int pictures, resized;
    if (vdm_task_resize(t, test, height, width, &pictures, &resized, err)) return -1;
    if (resized)
        fprintf(stderr, "%s: %d of %d pictures are resized to %dx%d\n", clean(t->path), resized, pictures,
                height, width);
    return 0;
}
