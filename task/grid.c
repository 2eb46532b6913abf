#include "vdm_task.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Grids in pictures */

static int64_t grid_side(int cells, const vdm_task *t)
{
    return (int64_t)cells * (t->cell + t->border) + t->border;
}

const uint8_t *vdm_palette_colour(vdm_palette p, int number)
{
    static const uint8_t
        arc[][3] = {{0, 0, 0},       {0, 116, 217},  {255, 65, 54},  {46, 204, 64},   {255, 220, 0},
                    {170, 170, 170}, {240, 18, 190}, {255, 133, 27}, {127, 219, 255}, {135, 12, 37}},
        maze[][3] = {{71, 48, 45}, {255, 255, 255}, {244, 96, 54}, {72, 191, 132}, {46, 134, 171}},
        vivid[][3] = {{0, 0, 0},       {0, 0, 255},   {255, 0, 0},   {0, 170, 0},   {255, 255, 0},
                      {150, 150, 150}, {255, 0, 255}, {255, 128, 0}, {0, 255, 255}, {128, 0, 64}};
    int colours = p == VDM_PALETTE_MAZE ? 5 : 10;
    if (number < 0 || number >= colours) return NULL;
    return p == VDM_PALETTE_ARC ? arc[number] : p == VDM_PALETTE_MAZE ? maze[number] : vivid[number];
}

/* The palette colour nearest to the mean of the size x size pixels at (top, left); the first of equals. The
 * mean is truncated to whole numbers, as the authors do. */
static int read_cell(const vdm_picture *p, size_t top, size_t left, const vdm_task *g)
{
    size_t size = (size_t)g->cell;
    uint64_t sum[3] = {0};
    for (size_t y = top; y < top + size; y++) {
        const uint8_t *rgb = p->rgb + (y * (size_t)p->width + left) * 3;
        for (size_t x = 0; x < size; x++, rgb += 3)
            for (int c = 0; c < 3; c++) sum[c] += rgb[c];
    }
    int best = 0, least = 3 * 255 * 255 + 1;
    const uint8_t *colour;
    for (int k = 0; (colour = vdm_palette_colour(g->palette, k)); k++) {
        int distance = 0;
        for (int c = 0; c < 3; c++) {
            int d = (int)(sum[c] / (size * size)) - colour[c];
            distance += d * d;
        }
        if (distance < least) {
            least = distance;
            best = k;
        }
    }
    return best;
}

static void fill_block(const vdm_picture *p, int top, int left, int height, int width, const uint8_t *rgb)
{
    for (int y = top; y < top + height; y++)
        for (int x = left; x < left + width; x++)
            memcpy(p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x), rgb, 3);
}

/* Where the grid's upper left corner is in a picture. */
static int corner(int64_t picture, int64_t side, const vdm_task *g)
{
    int64_t at = (picture - side) / 2;
    return (int)(g->align > 1 ? at - at % g->align : at);
}

int vdm_grid_render(vdm_picture *p, const uint8_t *cells, const vdm_task *g, int height, int width,
                    vdm_error *err)
{
    static const uint8_t separator[3] = {85, 85, 85};
    int64_t grid_height = grid_side(g->grid_rows, g), grid_width = grid_side(g->grid_cols, g);
    *p =
        (vdm_picture){.width = width ? width : (int)grid_width, .height = height ? height : (int)grid_height};
    if (g->grid_rows < 1 || g->grid_cols < 1 || g->cell < 1 || grid_height > p->height ||
        grid_width > p->width || p->height > VDM_MAX_SIDE || p->width > VDM_MAX_SIDE)
        return vdm_fail(err, "a grid of %lld x %lld pixels: found a picture of %d x %d, at most %d a side",
                        (long long)grid_width, (long long)grid_height, p->width, p->height, VDM_MAX_SIDE);
    p->rgb = vdm_alloc((size_t)p->height * (size_t)p->width, 3, "a picture", err);
    if (!p->rgb) return -1;
    int top = corner(p->height, grid_height, g), left = corner(p->width, grid_width, g);
    if (g->grey) fill_block(p, 0, 0, p->height, p->width, separator);
    fill_block(p, top, left, (int)grid_height, (int)grid_width, separator);
    for (int i = 0; i < g->grid_rows * g->grid_cols; i++) {
        const uint8_t *rgb = vdm_palette_colour(g->palette, cells[i]);
        if (!rgb) {
            int number = cells[i];
            vdm_picture_free(p);
            return vdm_fail(err, "a grid: found the number %d in a cell, expected one of the palette",
                            number);
        }
        fill_block(p, top + i / g->grid_cols * (g->cell + g->border) + g->border,
                   left + i % g->grid_cols * (g->cell + g->border) + g->border, g->cell, g->cell, rgb);
    }
    return 0;
}

/* The grid, with a border around every cell, stands in the centre of the picture. */
int vdm_grid_read(uint8_t *cells, int *top, int *left, const vdm_picture *p, const vdm_task *g)
{
    int64_t height = grid_side(g->grid_rows, g), width = grid_side(g->grid_cols, g);
    if (g->grid_rows < 1 || g->grid_cols < 1 || g->cell < 1 || height > p->height || width > p->width)
        return -1;
    size_t step = (size_t)(g->cell + g->border), rows = (size_t)g->grid_rows, cols = (size_t)g->grid_cols;
    *top = corner(p->height, height, g) + g->border;
    *left = corner(p->width, width, g) + g->border;
    for (size_t i = 0; cells && i < rows * cols; i++)
        cells[i] = (uint8_t)read_cell(p, (size_t)*top + i / cols * step, (size_t)*left + i % cols * step, g);
    return 0;
}

double vdm_score_cells(const vdm_picture *a, const vdm_picture *b, const vdm_task *g)
{
    int top, left;
    bool same_size = a->width == b->width && a->height == b->height;
    if (!same_size || vdm_grid_read(NULL, &top, &left, a, g)) return (double)NAN;
    size_t step = (size_t)(g->cell + g->border), rows = (size_t)g->grid_rows, cols = (size_t)g->grid_cols;
    size_t equal = 0;
    for (size_t i = 0; i < rows * cols; i++) {
        size_t y = (size_t)top + i / cols * step, x = (size_t)left + i % cols * step;
        equal += read_cell(a, y, x, g) == read_cell(b, y, x, g);
    }
    return (double)equal / ((double)rows * (double)cols);
}

bool vdm_grid_equal(const vdm_grid *a, const vdm_grid *b)
{
    return a->rows == b->rows && a->cols == b->cols &&
           memcmp(a->cells, b->cells, (size_t)(a->rows * a->cols)) == 0;
}
