#include "vdm_task.h"

/* ------------------------------------------------------------------------------------------------
 * Views */

void vdm_arc_views(vdm_arc_view *views, int n, bool square, int first, int colours, uint64_t seed)
{
    vdm_rng rng;
    vdm_rng_seed(&rng, seed);
    for (int k = 0; k < n; k++) {
        vdm_arc_view *v = &views[k];
        v->symmetry = square ? k % 8 : k % 4;
        for (int i = 0; i < 10; i++) v->number[i] = (uint8_t)i;
        for (int i = colours - 1; k && i > first; i--) {
            int other = first + (int)vdm_randint(&rng, i + 1 - first);
            uint8_t held = v->number[i];
            v->number[i] = v->number[other];
            v->number[other] = held;
        }
    }
}

/* Where the cell (row, col) of a rows x cols grid comes to stand. */
static void map_cell(int symmetry, int rows, int cols, int *row, int *col)
{
    if (symmetry & 1) *col = cols - 1 - *col;
    if (symmetry & 2) *row = rows - 1 - *row;
    if (symmetry & 4) {
        int held = *row;
        *row = *col;
        *col = held;
    }
}

void vdm_view_cells(uint8_t *to, const uint8_t *from, int rows, int cols, const vdm_arc_view *v, bool back)
{
    uint8_t was[10];
    bool turned = v->symmetry & 4;
    if (back && turned) { /* of the grid as it is */
        int held = rows;
        rows = cols;
        cols = held;
    }
    for (int i = 0; i < 10; i++) was[v->number[i]] = (uint8_t)i;
    for (int i = 0; i < rows * cols; i++) {
        int row = i / cols, col = i % cols;
        map_cell(v->symmetry, rows, cols, &row, &col);
        int seen = row * (turned ? rows : cols) + col;
        if (back)
            to[i] = was[from[seen]];
        else
            to[seen] = v->number[from[i]];
    }
}

static void view_grid(vdm_grid *to, const vdm_grid *from, const vdm_arc_view *v, bool back)
{
    bool turned = v->symmetry & 4;
    *to = (vdm_grid){.rows = turned ? from->cols : from->rows, .cols = turned ? from->rows : from->cols};
    vdm_view_cells(to->cells, from->cells, from->rows, from->cols, v, back);
}

void vdm_arc_apply(vdm_grid *to, const vdm_grid *from, const vdm_arc_view *v)
{
    view_grid(to, from, v, false);
}

void vdm_arc_undo(vdm_grid *to, const vdm_grid *from, const vdm_arc_view *v)
{
    view_grid(to, from, v, true);
}

int vdm_view_picture(vdm_picture *p, const vdm_task *geometry, const vdm_arc_view *v, bool back,
                     vdm_error *err)
{
    int top, left, rows = geometry->grid_rows, cols = geometry->grid_cols;
    vdm_task g = *geometry;
    vdm_picture drawn;
    if (vdm_grid_read(NULL, &top, &left, p, geometry))
        return vdm_fail(err,
                        "a view: expected a grid of %d x %d cells of %d pixels, found a picture of %dx%d",
                        rows, cols, geometry->cell, p->height, p->width);
    uint8_t *from = vdm_alloc((size_t)rows * (size_t)cols, 2, "a view", err);
    if (!from) return -1;
    uint8_t *to = from + (size_t)rows * (size_t)cols;
    vdm_grid_read(from, &top, &left, p, geometry);
    vdm_view_cells(to, from, rows, cols, v, back);
    if (v->symmetry & 4) g.grid_rows = cols, g.grid_cols = rows;
    int status = vdm_grid_render(&drawn, to, &g, p->height, p->width, err);
    vdm_free(from);
    if (status) return -1;
    vdm_picture_free(p);
    *p = drawn;
    return 0;
}
