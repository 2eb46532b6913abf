/* Answers in several views become one: each is undone before it counts, and every cell has a vote of its own. */
#include "check.h"
#include "tools/run/canvas.h"
#include "tools/run/multi_view.h"

#include <string.h>

enum { SIDE = 4, CELLS = SIDE * SIDE, VIEWS = 9, PIXELS = 8 * SIDE };
static const vdm_grid_layout layout = {.rows = SIDE, .cols = SIDE, .cell = PIXELS / SIDE};
static vdm_view list[VIEWS];
static vdm_error err;

/* What is voted for: in view k the grid with the cell `wrong` one number higher (-1: none). */
static void add(cell_votes *b, int k, const uint8_t grid[CELLS], int wrong)
{
    uint8_t cells[CELLS], seen[CELLS];
    vdm_picture p = {0};
    memcpy(cells, grid, CELLS);
    if (wrong >= 0) cells[wrong] = (uint8_t)((cells[wrong] + 1) % 10);
    vdm_view_cells(seen, cells, SIDE, SIDE, &list[k], false);
    CHECK(!vdm_grid_render(&p, seen, &layout, 0, 0, &err) && !cell_votes_add(b, &list[k], &p, &layout, &err),
          "%s", err.text);
    vdm_picture_free(&p);
}

static void check_drawn(const cell_votes *b, const uint8_t expected[CELLS], const char *what)
{
    uint8_t cells[CELLS], rgb[3 * PIXELS * PIXELS];
    float frame[3 * PIXELS * PIXELS];
    const vdm_picture p = {PIXELS, PIXELS, rgb};
    bool done = !cell_votes_draw(frame, PIXELS, PIXELS, b, &layout, &err);
    if (done) vdm_bytes_from_video(rgb, frame, 1, PIXELS, PIXELS);
    done = done && !vdm_grid_read(cells, &p, &layout);
    CHECK(done && memcmp(cells, expected, CELLS) == 0, "%s", what);
}

/* A layout as text is read back the same; texts of other forms are not layouts. */
static void check_texts(void)
{
    static const char *const wrong[] = {"",
                                        "cell 8",
                                        "cell 0, border 0, align 1, palette arc",
                                        "cell 8, border 0, align 1, palette pink",
                                        "cell 8, border 0, align 1, palette arc, 7 rows",
                                        "cell 8, border 0, align 1, palette arc, 7 rows, 0 columns",
                                        "cell 8, border 0, align 1, palette arc, 7 rows, 7 columns, 7",
                                        "cell 99999999999999999999, border 0, align 1, palette arc"};
    char text[96];
    vdm_task t = {.metric = VDM_METRIC_CELLS};
    vdm_grid_layout back;
    for (int i = 0; i < 12; i++) {
        t.grid = (vdm_grid_layout){.rows = i & 1 ? 32 : 0,
                                   .cols = i & 1 ? 31 : 0,
                                   .cell = 512,
                                   .border = 64,
                                   .align = 64,
                                   .grey = i & 2,
                                   .palette = (vdm_palette)(i / 4)};
        canvas_grid_text(text, sizeof text, &t);
        bool read = canvas_grid_read(&back, text);
        CHECK(read && back.rows == t.grid.rows && back.cols == t.grid.cols && back.cell == 512 &&
                  back.border == 64 && back.align == 64 && back.grey == t.grid.grey &&
                  back.palette == t.grid.palette,
              "%s", text);
    }
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        CHECK(!canvas_grid_read(&back, wrong[i]), "read: %s", wrong[i]);
    CHECK(canvas_same_grid("cell 8, border 0, align 1, palette arc",
                           "cell 8, border 0, align 1, palette maze, 7 rows, 7 columns", true) &&
              !canvas_same_grid("cell 8, border 0, align 1, palette arc, 7 rows, 7 columns",
                                "cell 8, border 0, align 1, palette maze, 7 rows, 7 columns", false) &&
              !canvas_same_grid("cell 8, border 0, align 1, palette arc, 7 rows, 7 columns",
                                "cell 8, border 0, align 1, palette arc, 7 rows, 8 columns", false),
          "other grids");
}

int main(void)
{
    check_texts();
    uint8_t grid[CELLS];
    cell_votes b;
    vdm_views_make(list, VIEWS, true, 1, 10, 42);
    for (int i = 0; i < CELLS; i++) grid[i] = (uint8_t)(i * 7 % 10);
    if (!CHECK(!cell_votes_new(&b, SIDE, SIDE, &err), "%s", err.text)) return check_end("views");
    for (int k = 0; k < VIEWS; k++) add(&b, k, grid, -1);
    check_drawn(&b, grid, "nine views that agree");
    cell_votes_free(&b);
    /* no view is right, each in another cell: every cell has a majority that is */
    cell_votes_new(&b, SIDE, SIDE, &err);
    for (int k = 0; k < VIEWS; k++) add(&b, k, grid, k);
    check_drawn(&b, grid, "nine views that err in nine cells");
    cell_votes_free(&b);
    /* two against one, and one against one: the lowest number */
    cell_votes_new(&b, SIDE, SIDE, &err);
    add(&b, 1, grid, 3);
    add(&b, 2, grid, -1);
    check_drawn(&b, grid, "one against one");
    add(&b, 8, grid, 3);
    grid[3]++;
    check_drawn(&b, grid, "two against one");
    cell_votes_free(&b);
    vdm_picture small = {.width = 8, .height = 8, .rgb = (uint8_t[8 * 8 * 3]){0}};
    cell_votes_new(&b, SIDE, SIDE, &err);
    CHECK(cell_votes_add(&b, &list[0], &small, &layout, &err) && strstr(err.text, "a grid of 4 x 4"), "%s",
          err.text);
    cell_votes_free(&b);
    return check_end("views");
}
