/* Grids in pictures: painted, found and read, as the authors of arXiv 2510.24448 do.
 *
 *   cells [rows,cols] of palette numbers  ->  picture [H,W,3]  ->  cells [rows,cols]
 *
 *   +---+------+---+------+---+   Separators of `border` pixels run between cells and around the grid, which is
 *   |   | cell |   | cell |   |   in the centre of the picture. A cell's number is that of the palette colour nearest
 *   +---+------+---+------+---+   to its mean colour, the mean cut to whole levels as the authors do.
 *
 * Every other file gets the place of a cell from vdm_grid_place and vdm_grid_cell. */
#include "vdm_task.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Colours */

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

void vdm_palette_colours(vdm_colours *c, vdm_palette p)
{
    const uint8_t *rgb;
    for (c->n = 0; (rgb = vdm_palette_colour(p, c->n)); c->n++)
        for (int i = 0; i < 3; i++) c->rgb[c->n][i] = rgb[i];
}

int vdm_nearest_colour(const vdm_colours *c, const double rgb[3])
{
    int best = 0;
    double nearest = (double)INFINITY;
    for (int k = 0; k < c->n; k++) {
        double distance = 0;
        for (int i = 0; i < 3; i++) distance += (rgb[i] - c->rgb[k][i]) * (rgb[i] - c->rgb[k][i]);
        if (distance < nearest) nearest = distance, best = k;
    }
    return best;
}

int vdm_luminance(const uint8_t *rgb)
{
    return 299 * rgb[0] + 587 * rgb[1] + 114 * rgb[2];
}

void vdm_mean_colour(double mean[3], const vdm_picture *p, vdm_pixel at, int height, int width)
{
    uint64_t sum[3] = {0};
    for (int y = at.y; y < at.y + height; y++) {
        const uint8_t *rgb = p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)at.x);
        for (int x = 0; x < width; x++, rgb += 3)
            for (int c = 0; c < 3; c++) sum[c] += rgb[c];
    }
    for (int c = 0; c < 3; c++) mean[c] = (double)sum[c] / ((double)height * width);
}

/* ------------------------------------------------------------------------------------------------
 * Places */

int64_t vdm_grid_side(const vdm_grid_layout *g, int n)
{
    return (int64_t)n * ((int64_t)g->cell + g->border) + g->border;
}

static bool is_layout(const vdm_grid_layout *g)
{
    return g->rows >= 1 && g->cols >= 1 && g->cell >= 1 && g->cell <= VDM_MAX_SIDE && g->border >= 0 &&
           g->border <= VDM_MAX_SIDE;
}

/* The first pixel of a grid of `side` pixels in `picture` pixels. */
static int corner(int64_t picture, int64_t side, const vdm_grid_layout *g)
{
    int64_t at = (picture - side) / 2;
    return (int)(g->align > 1 ? at - at % g->align : at);
}

bool vdm_grid_place(vdm_pixel *first, const vdm_grid_layout *g, int height, int width)
{
    if (!is_layout(g)) return false;
    int64_t grid_height = vdm_grid_side(g, g->rows), grid_width = vdm_grid_side(g, g->cols);
    if (grid_height > height || grid_width > width) return false;
    first->y = corner(height, grid_height, g) + g->border;
    first->x = corner(width, grid_width, g) + g->border;
    return true;
}

vdm_pixel vdm_grid_cell(const vdm_grid_layout *g, vdm_pixel first, int i)
{
    int step = g->cell + g->border;
    return (vdm_pixel){first.y + i / g->cols * step, first.x + i % g->cols * step};
}

/* n pixels of `from`, scaled to `to`; -1 if that is not an integer. */
static int scaled(int n, int from, int to)
{
    int64_t product = (int64_t)n * to;
    return product % from ? -1 : (int)(product / from);
}

int vdm_grid_resize(vdm_grid_layout *g, int from_height, int from_width, int height, int width,
                    vdm_error *err)
{
    vdm_grid_layout to = *g;
    vdm_pixel before, after;
    if (from_height == height && from_width == width) return 0;
    bool fits = vdm_grid_place(&before, g, from_height, from_width), /* then neither side is 0 */
        same_factor = (int64_t)from_height * width == (int64_t)from_width * height;
    if (fits && same_factor) {
        to.cell = scaled(g->cell, from_height, height);
        to.border = scaled(g->border, from_height, height);
    }
    if (fits && same_factor && vdm_grid_place(&after, &to, height, width) &&
        after.y == scaled(before.y, from_height, height) && after.x == scaled(before.x, from_width, width)) {
        *g = to;
        return 0;
    }
    return vdm_fail(
        err,
        "a grid of %d rows and %d columns of %d pixels with borders of %d in pictures of %dx%d: expected "
        "a size in which cells and borders are whole pixels, such as %dx%d, found %dx%d",
        g->rows, g->cols, g->cell, g->border, from_height, from_width, 2 * from_height, 2 * from_width,
        height, width);
}

/* ------------------------------------------------------------------------------------------------
 * Painting and reading */

static void fill_block(const vdm_picture *p, vdm_pixel at, int height, int width, const uint8_t *rgb)
{
    for (int y = at.y; y < at.y + height; y++)
        for (int x = at.x; x < at.x + width; x++)
            memcpy(p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x), rgb, 3);
}

/* The picture before its cells are painted. */
static void fill_separators(const vdm_picture *p, const vdm_grid_layout *g, vdm_pixel first)
{
    static const uint8_t separator[3] = {VDM_SEPARATOR, VDM_SEPARATOR, VDM_SEPARATOR};
    vdm_pixel grid = {first.y - g->border, first.x - g->border};
    if (g->grey) fill_block(p, (vdm_pixel){0, 0}, p->height, p->width, separator);
    fill_block(p, grid, (int)vdm_grid_side(g, g->rows), (int)vdm_grid_side(g, g->cols), separator);
}

int vdm_grid_render(vdm_picture *p, const uint8_t *cells, const vdm_grid_layout *g, int height, int width,
                    vdm_error *err)
{
    vdm_pixel first;
    *p = (vdm_picture){0};
    if (!is_layout(g))
        return vdm_fail(
            err,
            "a grid of %d rows and %d columns with cells of %d and borders of %d pixels: expected at "
            "least 1, 1, 1 and 0, and at most %d pixels",
            g->rows, g->cols, g->cell, g->border, VDM_MAX_SIDE);
    int64_t grid_height = vdm_grid_side(g, g->rows), grid_width = vdm_grid_side(g, g->cols);
    *p =
        (vdm_picture){.width = width ? width : (int)grid_width, .height = height ? height : (int)grid_height};
    if (p->height > VDM_MAX_SIDE || p->width > VDM_MAX_SIDE ||
        !vdm_grid_place(&first, g, p->height, p->width))
        return vdm_fail(
            err,
            "a grid of %lldx%lld pixels: found a picture of %dx%d (height x width), expected at most %d a side",
            (long long)grid_height, (long long)grid_width, p->height, p->width, VDM_MAX_SIDE);
    p->rgb = vdm_alloc((size_t)p->height * (size_t)p->width, 3, "a picture", err);
    if (!p->rgb) return -1;
    fill_separators(p, g, first);
    for (int i = 0; i < g->rows * g->cols; i++) {
        const uint8_t *rgb = vdm_palette_colour(g->palette, cells[i]);
        if (!rgb) {
            vdm_picture_free(p);
            return vdm_fail(err, "a grid: found the number %d in a cell, expected one of the palette",
                            cells[i]);
        }
        fill_block(p, vdm_grid_cell(g, first, i), g->cell, g->cell, rgb);
    }
    return 0;
}

int vdm_grid_cell_number(const vdm_picture *p, vdm_pixel at, int cell, const vdm_colours *colours)
{
    double mean[3];
    vdm_mean_colour(mean, p, at, cell, cell);
    for (int c = 0; c < 3; c++) mean[c] = floor(mean[c]);
    return vdm_nearest_colour(colours, mean);
}

int vdm_grid_read(uint8_t *cells, const vdm_picture *p, const vdm_grid_layout *g)
{
    vdm_pixel first;
    vdm_colours colours;
    if (!vdm_grid_place(&first, g, p->height, p->width)) return -1;
    vdm_palette_colours(&colours, g->palette);
    for (int i = 0; i < g->rows * g->cols; i++)
        cells[i] = (uint8_t)vdm_grid_cell_number(p, vdm_grid_cell(g, first, i), g->cell, &colours);
    return 0;
}

bool vdm_grid_equal(const vdm_grid *a, const vdm_grid *b)
{
    return a->rows == b->rows && a->cols == b->cols &&
           memcmp(a->cells, b->cells, (size_t)(a->rows * a->cols)) == 0;
}

int vdm_majority(const int *votes, int numbers)
{
    int best = 0;
    for (int k = 1; k < numbers; k++)
        if (votes[k] > votes[best]) best = k;
    return best;
}
