/* Views of grids: the same task mirrored, transposed, with its colours exchanged.
 *
 *   grid  ->  mirror left and right (symmetry & 1), up and down (& 2), transpose (& 4)  ->  number[c] for c  ->  view
 *
 * Trap: a rule becomes another rule in a view: learning and answering must use the same views. */
#include "vdm_task.h"

void vdm_views_make(vdm_view *views, int n, bool square, int first, int colours, uint64_t seed)
{
    vdm_rng rng;
    vdm_rng_seed(&rng, seed);
    for (int k = 0; k < n; k++) {
        vdm_view *v = &views[k];
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

/* The new place of the cell (row, col) of a rows x cols grid. */
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

void vdm_view_cells(uint8_t *to, const uint8_t *from, int rows, int cols, const vdm_view *v, vdm_view_way way)
{
    uint8_t was[10];
    bool turned = v->symmetry & 4;
    if (way == VDM_OUT_OF_VIEW && turned) { /* sizes of the original grid */
        int held = rows;
        rows = cols;
        cols = held;
    }
    for (int i = 0; i < 10; i++) was[v->number[i]] = (uint8_t)i;
    for (int i = 0; i < rows * cols; i++) {
        int row = i / cols, col = i % cols;
        map_cell(v->symmetry, rows, cols, &row, &col);
        int seen = row * (turned ? rows : cols) + col;
        if (way == VDM_OUT_OF_VIEW)
            to[i] = was[from[seen]];
        else
            to[seen] = v->number[from[i]];
    }
}

void vdm_view_grid(vdm_grid *to, const vdm_grid *from, const vdm_view *v, vdm_view_way way)
{
    bool turned = v->symmetry & 4;
    *to = (vdm_grid){.rows = turned ? from->cols : from->rows, .cols = turned ? from->rows : from->cols};
    vdm_view_cells(to->cells, from->cells, from->rows, from->cols, v, way);
}

int vdm_view_picture(vdm_picture *p, const vdm_grid_layout *layout, const vdm_view *v, vdm_view_way way,
                     vdm_error *err)
{
    vdm_grid_layout turned = *layout;
    vdm_pixel first;
    vdm_picture drawn;
    size_t cells = (size_t)layout->rows * (size_t)layout->cols;
    if (!vdm_grid_place(&first, layout, p->height, p->width))
        return vdm_fail(err,
                        "a view: expected a grid of %d x %d cells of %d pixels, found a picture of %dx%d",
                        layout->rows, layout->cols, layout->cell, p->height, p->width);
    uint8_t *from = vdm_alloc(cells, 2, "a view", err);
    if (!from) return -1;
    uint8_t *to = from + cells;
    vdm_grid_read(from, p, layout);
    vdm_view_cells(to, from, layout->rows, layout->cols, v, way);
    if (v->symmetry & 4) turned.rows = layout->cols, turned.cols = layout->rows;
    int status = vdm_grid_render(&drawn, to, &turned, p->height, p->width, err);
    vdm_free(from);
    if (status) return -1;
    vdm_picture_free(p);
    *p = drawn;
    return 0;
}
