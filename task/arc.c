/* ARC-AGI: tasks of grids, pictures of the grids, and grids read from pictures.
 *
 *   TASK.json -> grids [rows,cols] of 0..9 -> pictures [H,W,3] -> (a model) -> picture -> grid -> exact or not
 *
 * The protocol of arXiv 2510.24448 and of its published code: grey block with painted cells in the centre of a black
 * canvas, one cell size for all grids of a task; decoding by the mean colour of a cell, after up to three shifts of
 * the whole picture towards the palette.
 *
 * Trap: in that code the size of the answer, and with it the size of the cells, comes from the stored answer.
 * vdm_arc_largest without `answers`, and vdm_arc_infer_size, don't use it. */
#include "vdm_task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Pictures */

static void take_larger(const vdm_grid *g, int *rows, int *cols)
{
    if (g->rows > *rows) *rows = g->rows;
    if (g->cols > *cols) *cols = g->cols;
}

void vdm_arc_largest(const vdm_arc *a, bool answers, int *rows, int *cols)
{
    *rows = *cols = 1;
    for (int i = 0; i < a->n_train; i++) {
        take_larger(&a->train[i].x, rows, cols);
        take_larger(&a->train[i].y, rows, cols);
    }
    for (int i = 0; i < a->n_test; i++) {
        take_larger(&a->test[i].x, rows, cols);
        if (answers) take_larger(&a->test[i].y, rows, cols);
    }
}

static int check_sides(int rows, int cols, vdm_error *err)
{
    if (rows >= 1 && cols >= 1 && rows <= VDM_MAX_GRID && cols <= VDM_MAX_GRID) return 0;
    return vdm_fail(err, "a grid of %d rows and %d columns: expected 1 to %d", rows, cols, VDM_MAX_GRID);
}

int vdm_arc_layout(vdm_grid_layout *g, const vdm_arc_canvas *c, int rows, int cols, vdm_error *err)
{
    if (check_sides(rows, cols, err)) return -1;
    if (c->height < 1 || c->width < 1 || c->height > VDM_MAX_SIDE || c->width > VDM_MAX_SIDE)
        return vdm_fail(err, "a canvas of %dx%d pixels: expected 1 to %d a side", c->height, c->width,
                        VDM_MAX_SIDE);
    if (c->border < 0 || c->border > VDM_MAX_SIDE || c->cell < 0)
        return vdm_fail(err,
                        "a canvas with borders of %d and cells of %d pixels: expected 0 to %d and at least 0",
                        c->border, c->cell, VDM_MAX_SIDE);
    int across = (c->width - c->border * (cols + 1)) / cols,
        down = (c->height - c->border * (rows + 1)) / rows;
    int cell = across < down ? across : down;
    if (c->cell && c->cell < cell) cell = c->cell;
    if (cell < 1)
        return vdm_fail(
            err, "a canvas of %dx%d pixels: too small for %d rows and %d columns with borders of %d pixels",
            c->height, c->width, rows, cols, c->border);
    *g = (vdm_grid_layout){
        .cell = cell, .border = c->border, .align = c->align, .grey = c->grey, .palette = c->palette};
    return 0;
}

vdm_grid_layout vdm_arc_sized(const vdm_grid_layout *layout, const vdm_grid *g)
{
    vdm_grid_layout to = *layout;
    to.rows = g->rows;
    to.cols = g->cols;
    return to;
}

int vdm_arc_render(vdm_picture *p, const vdm_grid *g, const vdm_grid_layout *layout, int height, int width,
                   vdm_error *err)
{
    vdm_grid_layout of_grid = vdm_arc_sized(layout, g);
    *p = (vdm_picture){0};
    if (check_sides(g->rows, g->cols, err)) return -1;
    return vdm_grid_render(p, g->cells, &of_grid, height, width, err);
}

int vdm_arc_decode(vdm_grid *g, const vdm_picture *p, const vdm_grid_layout *layout,
                   const vdm_colour_map *colours, vdm_error *err)
{
    static const vdm_colour_map none = {.kind = VDM_COLOUR_NONE};
    vdm_grid_layout of_grid = vdm_arc_sized(layout, g);
    if (check_sides(g->rows, g->cols, err)) return -1;
    if (vdm_colour_read(g->cells, colours ? colours : &none, p, &of_grid) == 0) return 0;
    return vdm_fail(err, "a grid of %d rows and %d columns doesn't fit into %dx%d", g->rows, g->cols,
                    p->height, p->width);
}

/* ------------------------------------------------------------------------------------------------
 * The size of a grid, from its picture */

/* Sums over the pixels above and to the left: of the three channels, and of all squares. */
typedef struct sums {
    int height, width;
    int64_t (*at)[4]; /* [height + 1,width + 1] */
} sums;

static int sums_make(sums *s, const vdm_picture *p, vdm_error *err)
{
    size_t line = (size_t)p->width + 1;
    *s = (sums){.height = p->height, .width = p->width};
    s->at = vdm_alloc(((size_t)p->height + 1) * line, sizeof *s->at, "sums over a picture", err);
    if (!s->at) return -1;
    for (int y = 0; y < p->height; y++) {
        int64_t row[4] = {0}, (*above)[4] = s->at + (size_t)y * line;
        for (int x = 0; x < p->width; x++) {
            const uint8_t *rgb = p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x);
            for (int c = 0; c < 3; c++) row[c] += rgb[c], row[3] += rgb[c] * rgb[c];
            for (int c = 0; c < 4; c++) above[line + (size_t)x + 1][c] = above[x + 1][c] + row[c];
        }
    }
    return 0;
}

static void sum_box(int64_t sum[4], const sums *s, int top, int left, int height, int width)
{
    size_t line = (size_t)s->width + 1;
    int64_t(*a)[4] = s->at + (size_t)top * line + left, (*b)[4] = a + (size_t)height * line;
    for (int c = 0; c < 4; c++) sum[c] = b[width][c] - b[0][c] - a[width][c] + a[0][c];
}

/* Sum of squared distances of n pixels to a colour. */
static int64_t misfit(const int64_t sum[4], int64_t n, const uint8_t *colour)
{
    int64_t e = sum[3];
    for (int c = 0; c < 3; c++) e += n * colour[c] * colour[c] - 2 * colour[c] * sum[c];
    return e;
}

/* The minimum misfit of a cell over the colours of the palette. */
static int64_t min_misfit(const int64_t sum[4], int64_t n, vdm_palette palette)
{
    const uint8_t *colour;
    int64_t best = INT64_MAX;
    for (int k = 0; (colour = vdm_palette_colour(palette, k)); k++) {
        int64_t e = misfit(sum, n, colour);
        if (e < best) best = e;
    }
    return best;
}

/* Squared distance of the picture from a grid of that layout that is read and rendered again. first: its first cell */
static int64_t distance_of(const sums *s, const vdm_grid_layout *g, vdm_pixel first)
{
    static const uint8_t grey[3] = {VDM_SEPARATOR, VDM_SEPARATOR, VDM_SEPARATOR}, black[3] = {0};
    int height = (int)vdm_grid_side(g, g->rows), width = (int)vdm_grid_side(g, g->cols);
    int64_t area = (int64_t)g->cell * g->cell, n = (int64_t)g->rows * g->cols;
    int64_t beyond = (int64_t)s->height * s->width - (int64_t)height * width,
            between = (int64_t)height * width - n * area;
    int64_t around[4], block[4], cell[4], distance = 0;
    sum_box(around, s, 0, 0, s->height, s->width);
    sum_box(block, s, first.y - g->border, first.x - g->border, height, width);
    for (int c = 0; c < 4; c++) around[c] -= block[c];
    for (int i = 0; i < n; i++) {
        vdm_pixel at = vdm_grid_cell(g, first, i);
        sum_box(cell, s, at.y, at.x, g->cell, g->cell);
        distance += min_misfit(cell, area, g->palette) + 16 * 16 * 3 * area; /* the cost of one more cell */
        for (int c = 0; c < 4; c++) block[c] -= cell[c];
    }
    return distance + misfit(around, beyond, g->grey ? grey : black) + misfit(block, between, grey);
}

int vdm_arc_infer_size(vdm_grid *g, const vdm_picture *p, const vdm_grid_layout *layout, vdm_error *err)
{
    sums s;
    vdm_pixel first;
    int64_t nearest = INT64_MAX;
    if (sums_make(&s, p, err)) return -1;
    g->rows = g->cols = 0;
    for (int rows = 1; rows <= VDM_MAX_GRID; rows++)
        for (int cols = 1; cols <= VDM_MAX_GRID; cols++) {
            vdm_grid_layout tried = *layout;
            tried.rows = rows;
            tried.cols = cols;
            if (!vdm_grid_place(&first, &tried, p->height, p->width)) continue;
            int64_t distance = distance_of(&s, &tried, first);
            if (distance >= nearest) continue;
            nearest = distance;
            g->rows = rows;
            g->cols = cols;
        }
    vdm_free(s.at);
    if (g->rows) return 0;
    return vdm_fail(err, "a picture of %dx%d pixels is too small for a cell of %d", p->height, p->width,
                    layout->cell);
}

/* ------------------------------------------------------------------------------------------------
 * Views and votes */

static void apply_all(vdm_arc_pair *to, const vdm_arc_pair *from, int pairs, const vdm_view *views, int n)
{
    for (int i = 0; i < n * pairs; i++) {
        vdm_view_grid(&to[i].x, &from[i % pairs].x, &views[i / pairs], VDM_INTO_VIEW);
        vdm_view_grid(&to[i].y, &from[i % pairs].y, &views[i / pairs], VDM_INTO_VIEW);
    }
}

int vdm_arc_augment(vdm_arc *to, const vdm_arc *from, const vdm_view *views, int n, vdm_error *err)
{
    int pairs = from->n_train > from->n_test ? from->n_train : from->n_test,
        max = VDM_MAX_ARC_PAIRS / (pairs ? pairs : 1);
    *to = (vdm_arc){0};
    if (n < 1 || n > max) return vdm_fail(err, "%s: %d views: expected 1 to %d", from->path, n, max);
    to->path = vdm_copy_text(from->path, err);
    to->name = vdm_copy_text(from->name, err);
    to->train = vdm_alloc((size_t)(n * from->n_train), sizeof *to->train, "the views of a task", err);
    to->test = vdm_alloc((size_t)(n * from->n_test), sizeof *to->test, "the views of a task", err);
    if (!to->path || !to->name || !to->train || !to->test) {
        vdm_arc_free(to);
        return -1;
    }
    to->n_train = n * from->n_train;
    to->n_test = n * from->n_test;
    apply_all(to->train, from->train, from->n_train, views, n);
    apply_all(to->test, from->test, from->n_test, views, n);
    return 0;
}

/* How many grids equal grid i; 0 if an earlier one does. */
static int count_equal(const vdm_grid *grids, int n, int i)
{
    int count = 0;
    for (int k = 0; k < n; k++) {
        bool equal = vdm_grid_equal(&grids[k], &grids[i]);
        if (equal && k < i) return 0;
        count += equal;
    }
    return count;
}

int vdm_arc_vote(int *best, int *votes, int max, const vdm_grid *grids, int n)
{
    int have = 0, last = n + 1, from = -1; /* the last one chosen: its votes, its index */
    while (have < max) {
        int next = -1, count = 0;
        for (int i = 0; i < n; i++) {
            int c = count_equal(grids, n, i);
            bool taken = c > last || (c == last && i <= from);
            if (c > count && !taken) count = c, next = i;
        }
        if (next < 0) break;
        best[have] = from = next;
        if (votes) votes[have] = count;
        last = count;
        have++;
    }
    return have;
}

/* The index of a grid with the most frequent size; in a tie the earliest. */
static int commonest_size(const vdm_grid *grids, int n)
{
    int best = 0, max = 0;
    for (int i = 0; i < n; i++) {
        int count = 0;
        for (int k = 0; k < n; k++) count += grids[k].rows == grids[i].rows && grids[k].cols == grids[i].cols;
        if (count > max) max = count, best = i;
    }
    return best;
}

void vdm_arc_majority(vdm_grid *to, const vdm_grid *grids, int n)
{
    const vdm_grid *like = &grids[commonest_size(grids, n)];
    *to = (vdm_grid){.rows = like->rows, .cols = like->cols};
    for (int i = 0; i < like->rows * like->cols; i++) {
        int votes[10] = {0};
        for (int k = 0; k < n; k++)
            if (grids[k].rows == like->rows && grids[k].cols == like->cols) votes[grids[k].cells[i]]++;
        to->cells[i] = (uint8_t)vdm_majority(votes, 10);
    }
}

/* Adds a grid unless it is in the list, or the list has max; returns the number of grids. */
static int add_new(vdm_grid *to, int have, int max, const vdm_grid *g)
{
    for (int i = 0; i < have; i++)
        if (vdm_grid_equal(&to[i], g)) return have;
    if (have < max) to[have++] = *g;
    return have;
}

int vdm_arc_distinct(vdm_grid *to, const vdm_grid *grids, int n)
{
    int have = 0;
    for (int i = 0; i < n; i++) have = add_new(to, have, n, &grids[i]);
    return have;
}

int vdm_arc_answers(vdm_grid *to, int max, const vdm_grid *grids, int n)
{
    int best[VDM_MAX_ARC_ANSWERS], votes[VDM_MAX_ARC_ANSWERS], have = 0;
    vdm_grid majority;
    if (n < 1) return 0;
    max = max < VDM_MAX_ARC_ANSWERS ? max : VDM_MAX_ARC_ANSWERS;
    int whole = vdm_arc_vote(best, votes, max, grids, n);
    vdm_arc_majority(&majority, grids, n);
    for (int k = 0; k < whole; k++) {
        if (votes[k] == 1) have = add_new(to, have, max, &majority);
        have = add_new(to, have, max, &grids[best[k]]);
    }
    return add_new(to, have, max, &majority);
}
