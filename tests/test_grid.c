/* Grids in pictures: palettes, places, painting and reading, sizes, scores of cells, worked out by hand. */
#include "check.h"
#include "vdm_task.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void set_pixel(uint8_t *rgb, int i, int r, int g, int b)
{
    rgb[3 * i] = (uint8_t)r, rgb[3 * i + 1] = (uint8_t)g, rgb[3 * i + 2] = (uint8_t)b;
}

static bool ends_with(const char *text, const char *ending)
{
    size_t n = text ? strlen(text) : 0, m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

/* Two rows of three cells of 2 x 2, border 1: 10 x 7 pixels in the centre of 13 x 10, from (1, 1). */
static void test_cells(void)
{
    enum { SIDE_X = 13, SIDE_Y = 10 };
    static const int palette[10][3] = {{0, 0, 0},       {0, 116, 217},   {255, 65, 54},  {46, 204, 64},
                                       {255, 220, 0},   {170, 170, 170}, {240, 18, 190}, {255, 133, 27},
                                       {127, 219, 255}, {135, 12, 37}};
    uint8_t a[SIDE_X * SIDE_Y * 3], b[sizeof a];
    vdm_picture p = {SIDE_Y, SIDE_X, a}, q = {SIDE_Y, SIDE_X, b};
    vdm_grid_layout g = {.rows = 2, .cols = 3, .cell = 2, .border = 1};
    for (int shift = 0; shift < 10; shift++) {
        memset(a, 85, sizeof a), memset(b, 10, sizeof b); /* what is outside the cells does not count */
        int equal = 0;
        for (int cell = 0; cell < 6; cell++) {
            int top = 2 + cell / 3 * 3, left = 2 + cell % 3 * 3, colour = (cell + shift) % 10;
            int other = cell % 2 ? colour : (colour + shift) % 10;
            equal += colour == other;
            for (int i = 0; i < 4; i++) {
                int at = (top + i / 2) * SIDE_X + left + i % 2, dim = i == 3 ? 20 : 0;
                set_pixel(a, at, palette[colour][0], palette[colour][1], palette[colour][2]);
                set_pixel(b, at, abs(palette[other][0] - dim), abs(palette[other][1] - dim),
                          abs(palette[other][2] - dim));
            }
        }
        double score = vdm_score_cells(&p, &q, &g);
        CHECK(near(score, equal / 6.0), "shift %d: %g, expected %g", shift, score, equal / 6.0);
    }
    CHECK(vdm_score_cells(&p, &p, &g) == 1, "itself");
    for (int i = 0; i < SIDE_X * SIDE_Y; i++) { /* as near to colour 1 as to colour 8: the first is taken */
        set_pixel(a, i, 5, 240, 235);
        set_pixel(b, i, palette[1][0], palette[1][1], palette[1][2]);
    }
    CHECK(vdm_score_cells(&p, &q, &g) == 1, "a tie of two colours");
    g.border = 3; /* 18 x 13 */
    CHECK(isnan(vdm_score_cells(&p, &q, &g)), "a grid that does not fit");
    g = (vdm_grid_layout){0};
    CHECK(isnan(vdm_score_cells(&p, &q, &g)), "no grid");
}

/* ------------------------------------------------------------------------------------------------
 * Grids: to pictures and back */

static void read_back(const uint8_t *cells, const vdm_grid_layout *g, int height, int width, const char *what)
{
    uint8_t back[32 * 32];
    vdm_picture p;
    vdm_error err = {""};
    vdm_pixel at = {-1, -1};
    if (!CHECK(vdm_grid_render(&p, cells, g, height, width, &err) == 0, "%s: %s", what, err.text)) return;
    CHECK((!height || p.height == height) && (!width || p.width == width), "%s: %dx%d", what, p.height,
          p.width);
    CHECK(vdm_grid_read(back, &p, g) == 0 && vdm_grid_place(&at, g, p.height, p.width), "%s: can't be read",
          what);
    CHECK(memcmp(back, cells, (size_t)(g->rows * g->cols)) == 0, "%s: other cells", what);
    /* the first cell, and the separator before it, are where vdm_grid_place reports them */
    const uint8_t *first = p.rgb + 3 * ((size_t)at.y * (size_t)p.width + (size_t)at.x),
                  *colour = vdm_palette_colour(g->palette, cells[0]);
    CHECK(memcmp(first, colour, 3) == 0, "%s: the first cell", what);
    if (g->border) CHECK(first[-3] == 85 && first[-2] == 85 && first[-1] == 85, "%s: a separator", what);
    vdm_picture_free(&p);
}

static void test_grids(void)
{
    uint8_t cells[32 * 32];
    for (int run = 0; run < 200; run++) {
        vdm_grid_layout g = {.rows = 1 + run % 7,
                             .cols = 1 + run / 7 % 9,
                             .cell = 1 + run % 11,
                             .border = run % 4,
                             .palette = run % 2 ? VDM_PALETTE_MAZE : VDM_PALETTE_ARC};
        for (int i = 0; i < 32 * 32; i++) cells[i] = (uint8_t)((i * 7 + run + i * i) % (run % 2 ? 5 : 10));
        read_back(cells, &g, 0, 0, "as large as the grid");
        read_back(cells, &g, 130, 171, "in a larger picture");
    }
}

/* 2 x 2 cells of 2, border 1: 7 x 7 pixels in 8 x 9, from (0, 1). */
static void test_render(void)
{
    static const char drawn[] = ".#######..#00#11#..#00#11#..#######."
                                ".#22#33#..#22#33#..#######..........";
    static const uint8_t black[3] = {0, 0, 0}, grey[3] = {85, 85, 85};
    vdm_grid_layout g = {.rows = 2, .cols = 2, .cell = 2, .border = 1};
    uint8_t four[] = {0, 1, 2, 3};
    vdm_picture p;
    vdm_error err = {""};
    CHECK(vdm_grid_render(&p, four, &g, 8, 9, &err) == 0, "%s", err.text);
    for (int i = 0; i < 72 && p.rgb; i++) {
        char c = drawn[i];
        const uint8_t *rgb = c == '.' ? black : c == '#' ? grey : vdm_palette_colour(g.palette, c - '0');
        CHECK(memcmp(p.rgb + 3 * i, rgb, 3) == 0, "pixel %d", i);
    }
    vdm_picture_free(&p);
    four[3] = 10;
    CHECK(vdm_grid_render(&p, four, &g, 0, 0, &err) == -1 && strstr(err.text, "the number 10 in a cell"),
          "%s", err.text);
    g.palette = VDM_PALETTE_MAZE, four[3] = 5;
    CHECK(vdm_grid_render(&p, four, &g, 0, 0, &err) == -1 && strstr(err.text, "the number 5"), "%s",
          err.text);
    CHECK(vdm_grid_render(&p, four, &g, 6, 0, &err) == -1 &&
              strstr(err.text, "a grid of 7x7 pixels: found a picture of 6x7"),
          "%s", err.text);
    g.cell = 16384;
    CHECK(vdm_grid_render(&p, four, &g, 0, 0, &err) == -1 && !p.rgb, "too large");
    CHECK(!vdm_palette_colour(VDM_PALETTE_ARC, 10) && !vdm_palette_colour(VDM_PALETTE_MAZE, 5) &&
              !vdm_palette_colour(VDM_PALETTE_ARC, -1),
          "beyond the palettes");
}

/* The cells of a grid of an ARC task; false where it is none. */
static bool arc_grid(uint8_t *cells, vdm_grid_layout *g, const vdm_json *j, const vdm_json_node *grid)
{
    int n = 0;
    g->rows = (int)grid->children;
    for (const vdm_json_node *row = grid + 1; row; row = vdm_json_next(j, row)) {
        g->cols = (int)row->children;
        if (g->rows > 30 || g->cols > 30) return false;
        for (const vdm_json_node *v = row + 1; v; v = vdm_json_next(j, v)) cells[n++] = (uint8_t)v->number;
    }
    return n == g->rows * g->cols;
}

/* Every grid of a public ARC task, at the cell size that a canvas of 400 x 400 allows it. */
static void test_arc_file(const char *path)
{
    vdm_json j;
    vdm_error err;
    uint8_t cells[900];
    if (!CHECK(vdm_json_read(&j, path, &err) == 0, "%s", err.text)) return;
    for (int part = 0; part < 2; part++) {
        const vdm_json_node *pairs = vdm_json_get(&j, j.nodes, part ? "test" : "train");
        for (const vdm_json_node *pair = pairs + 1; pair; pair = vdm_json_next(&j, pair))
            for (const vdm_json_node *grid = pair + 1; grid; grid = vdm_json_next(&j, grid)) {
                vdm_grid_layout g = {.border = 2};
                if (!CHECK(arc_grid(cells, &g, &j, grid), "%s: no grid", path)) continue;
                int larger = g.rows > g.cols ? g.rows : g.cols;
                g.cell = (400 - 2 * (larger + 1)) / larger;
                read_back(cells, &g, 400, 400, path);
            }
    }
    vdm_json_free(&j);
}

/* If the data is next to the project; it isn't needed. */
static void test_arc(void)
{
    static const char *const parts[] = {"training", "evaluation"};
    for (int i = 0; i < 2; i++) {
        char folder[64], path[400];
        snprintf(folder, sizeof folder, "../shared/data/arc-agi/%s", parts[i]);
        DIR *d = opendir(folder);
        for (const struct dirent *e; d && (e = readdir(d));) {
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            if (ends_with(path, ".json")) test_arc_file(path);
        }
        if (d) closedir(d);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Sizes */

static void check_size(const vdm_grid_layout *from, int height, int width, int to_height, int to_width,
                       int cell, int border)
{
    vdm_grid_layout g = *from;
    vdm_error err = {""};
    int status = vdm_grid_resize(&g, height, width, to_height, to_width, &err);
    if (!cell) {
        CHECK(status == -1 && strstr(err.text, "cells and borders are whole pixels"), "%dx%d: %s", to_height,
              to_width, err.text);
        CHECK(memcmp(&g, from, sizeof g) == 0, "%dx%d: a rejected layout has changed", to_height, to_width);
        return;
    }
    CHECK(status == 0 && g.cell == cell && g.border == border && g.rows == from->rows && g.cols == from->cols,
          "%dx%d to %dx%d: cells of %d, borders of %d; %s", height, width, to_height, to_width, g.cell,
          g.border, err.text);
}

/* A picture enlarged k times shows the same cells at k times the layout. */
static void check_enlarged(const vdm_grid_layout *from, int height, int width, int k)
{
    uint8_t cells[32 * 32], back[32 * 32];
    vdm_grid_layout g = *from;
    vdm_picture p = {0}, large = {0};
    vdm_error err = {""};
    for (int i = 0; i < 32 * 32; i++) cells[i] = (uint8_t)(i * i % 10);
    CHECK(vdm_grid_render(&p, cells, from, height, width, &err) == 0 &&
              vdm_picture_resize(&large, &p, k * height, k * width, &err) == 0 &&
              vdm_grid_resize(&g, height, width, k * height, k * width, &err) == 0 &&
              vdm_grid_read(back, &large, &g) == 0,
          "%s", err.text);
    CHECK(memcmp(back, cells, (size_t)(g.rows * g.cols)) == 0, "%d times %dx%d: other cells", k, height,
          width);
    vdm_picture_free(&p);
    vdm_picture_free(&large);
}

static void test_resize(void)
{
    const vdm_grid_layout g = {.rows = 4, .cols = 4, .cell = 8},
                          bordered = {.rows = 3, .cols = 5, .cell = 6, .border = 2}, none = {0};
    check_size(&g, 32, 32, 64, 64, 16, 0);
    check_size(&g, 32, 32, 32, 32, 8, 0);
    check_size(&g, 32, 32, 16, 16, 4, 0);
    check_size(&g, 32, 32, 48, 48, 12, 0); /* 1.5 times: still whole pixels */
    check_size(&g, 32, 32, 36, 36, 9, 0);
    check_size(&g, 32, 32, 33, 33, 0, 0);
    check_size(&g, 32, 32, 64, 32, 0, 0); /* stretched: no layout has cells that are not square */
    check_size(&g, 32, 34, 64, 68, 16, 0);
    check_size(&g, 32, 35, 64, 70, 0, 0); /* from x = 1 to 3: 1.5 pixels outside the grid are cut to 1 */
    check_size(&g, 31, 31, 62, 62, 0, 0); /* it does not fit in the first place */
    check_size(&bordered, 30, 50, 60, 100, 12, 4);
    check_size(&bordered, 30, 50, 45, 75, 9, 3);
    check_size(&bordered, 30, 50, 15, 25, 3, 1);
    check_size(&bordered, 30, 48, 20, 32, 0, 0); /* borders of 4/3 */
    check_size(&none, 30, 50, 60, 100, 0, 0);
    for (int k = 2; k <= 4; k++) {
        check_enlarged(&g, 32, 32, k);
        check_enlarged(&bordered, 30, 50, k);
    }
}

/* What is not a layout has no place in a picture: every function that takes one rejects it, before it computes a size. */
static void test_no_layouts(void)
{
    static const vdm_grid_layout none[] = {
        {.rows = 3, .cols = 3, .cell = 9, .border = -1},
        {.rows = 3, .cols = 3, .cell = 2000000000, .border = -1999999995},
        {.rows = 3, .cols = 3, .cell = 5, .border = INT32_MAX},
        {.rows = 3, .cols = 3, .cell = INT32_MAX, .border = INT32_MAX},
        {.rows = INT32_MAX, .cols = INT32_MAX, .cell = 1},
        {.rows = 3, .cols = 3, .cell = VDM_MAX_SIDE + 1},
        {.rows = 3, .cols = 3, .cell = 1, .border = INT32_MIN},
        {.rows = -1, .cols = 3, .cell = 1},
        {.rows = INT32_MIN, .cols = INT32_MIN, .cell = INT32_MIN, .border = INT32_MIN}};
    static const vdm_view turned = {.symmetry = 4};
    static const vdm_colour_map shift = {.kind = VDM_COLOUR_SHIFT};
    uint8_t rgb[23 * 23 * 3] = {0}, cells[9] = {0};
    vdm_error err = {""};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        vdm_grid_layout g = none[i];
        vdm_picture p = {23, 23, rgb}, drawn;
        vdm_pixel first;
        CHECK(!vdm_grid_place(&first, &g, 23, 23), "%zu: a place", i);
        CHECK(vdm_grid_read(cells, &p, &g) == -1 && vdm_colour_read(cells, &shift, &p, &g) == -1, "%zu: read",
              i);
        CHECK(vdm_grid_render(&drawn, cells, &g, 23, 23, &err) == -1 && !drawn.rgb &&
                  strstr(err.text, i == 4 ? "a grid of 2147483647x2147483647 pixels"
                                          : "at least 1, 1, 1 and 0, and at most 16384 pixels"),
              "%zu: rendered: %s", i, err.text);
        CHECK(isnan(vdm_score_cells(&p, &p, &g)), "%zu: a score", i);
        CHECK(vdm_view_picture(&p, &g, &turned, VDM_INTO_VIEW, &err) == -1, "%zu: a view", i);
        CHECK(vdm_grid_resize(&g, 23, 23, 46, 46, &err) == -1, "%zu: resized", i);
    }
    vdm_grid_layout g = {.rows = 1, .cols = 1, .cell = 1};
    CHECK(vdm_grid_resize(&g, 0, 0, 8, 8, &err) == -1 && vdm_grid_resize(&g, 8, 8, 0, 0, &err) == -1,
          "of nothing");
}

int main(void)
{
    test_cells();
    test_grids();
    test_render();
    test_arc();
    test_resize();
    test_no_layouts();
    return check_end("grid");
}
