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

static const char *const palettes[] = {"arc", "maze", "vivid"}; /* vdm_palette */
enum { N_PALETTES = sizeof palettes / sizeof *palettes };

static vdm_palette palette_of(const options *o)
{
    return strcmp(o->canvas.palette, "vivid") == 0 ? VDM_PALETTE_VIVID : VDM_PALETTE_ARC;
}

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

void canvas_allow(options *o, int side)
{
    if (o->canvas.largest < side) o->canvas.largest = side;
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
    canvas_allow(o, o->canvas.grow);
    if (o->canvas.grow && o->canvas.cell) grow_canvas(o, rows > cols ? rows : cols);
    vdm_arc_canvas c = {.height = o->height,
                        .width = o->width,
                        .cell = o->canvas.cell,
                        .border = o->canvas.border,
                        .align = o->canvas.align,
                        .grey = strcmp(o->canvas.outside, "grey") == 0,
                        .palette = palette_of(o)};
    return vdm_arc_layout(&t->grid, &c, rows, cols, err);
}

void canvas_grid_text(char *text, size_t size, const vdm_task *t)
{
    const vdm_grid_layout *g = &t->grid;
    snprintf(text, size, "%s", "");
    if (t->metric != VDM_METRIC_CELLS || !g->cell) return;
    int n = snprintf(text, size, "cell %d, border %d, align %d, palette %s%s", g->cell, g->border,
                     g->align ? g->align : 1, palettes[g->palette], g->grey ? ", grey outside" : "");
    if (g->rows && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, ", %d rows, %d columns", g->rows, g->cols);
}

/* Skips the word if it is next. */
static bool take_word(const char **at, const char *word)
{
    size_t n = strlen(word);
    if (strncmp(*at, word, n) != 0) return false;
    *at += n;
    return true;
}

/* Takes a word, and an integer from `minimum` to a picture's side after it. */
static bool take_number(const char **at, const char *word, int minimum, int *to)
{
    char *end;
    if (!take_word(at, word)) return false;
    long n = strtol(*at, &end, 10);
    if (end == *at || n < minimum || n > VDM_MAX_SIDE) return false;
    *to = (int)n;
    *at = end;
    return true;
}

bool canvas_grid_read(vdm_grid_layout *g, const char *text)
{
    int palette = 0;
    *g = (vdm_grid_layout){0};
    if (!take_number(&text, "cell ", 1, &g->cell) || !take_number(&text, ", border ", 0, &g->border) ||
        !take_number(&text, ", align ", 1, &g->align) || !take_word(&text, ", palette "))
        return false;
    while (palette < N_PALETTES && !take_word(&text, palettes[palette])) palette++;
    if (palette == N_PALETTES) return false;
    g->palette = (vdm_palette)palette;
    g->grey = take_word(&text, ", grey outside");
    if (!*text) return true;
    return take_number(&text, ", ", 1, &g->rows) && take_number(&text, " rows, ", 1, &g->cols) &&
           strcmp(text, " columns") == 0;
}

bool canvas_same_grid(const char *learned, const char *here, bool older)
{
    vdm_grid_layout a, b;
    if (!canvas_grid_read(&a, learned) || !canvas_grid_read(&b, here)) return strcmp(learned, here) == 0;
    bool known = a.rows && b.rows;
    bool palette =
        a.palette == b.palette || (older && a.palette == VDM_PALETTE_ARC && b.palette == VDM_PALETTE_MAZE);
    return a.cell == b.cell && a.border == b.border && a.align == b.align && a.grey == b.grey && palette &&
           (!known || (a.rows == b.rows && a.cols == b.cols));
}

const char *canvas_palette_name(vdm_palette p)
{
    return palettes[p];
}

void canvas_fill(vdm_grid_layout *g, int height, int width)
{
    int step = g->cell + g->border;
    bool whole = g->cell && (height - g->border) % step == 0 && (width - g->border) % step == 0;
    g->rows = whole ? (height - g->border) / step : 0;
    g->cols = whole ? (width - g->border) / step : 0;
}

vdm_grid_layout canvas_of_options(const options *o, int height, int width)
{
    vdm_grid_layout g = {.cell = o->canvas.cell, .border = o->canvas.border, .palette = palette_of(o)};
    canvas_fill(&g, height, width);
    return g;
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

int canvas_difference(double *levels, const vdm_picture *p, const vdm_grid_layout *grid, vdm_error *err)
{
    const double FAR = 8; /* levels of 255; a picture of such a grid has a difference of 0 */
    vdm_picture drawn = {0};
    *levels = 0;
    uint8_t *cells = vdm_alloc((size_t)grid->rows * (size_t)grid->cols, 1, "a grid", err);
    int status = cells ? 0 : -1;
    if (!status && !vdm_grid_read(cells, p, grid)) {
        status = vdm_grid_render(&drawn, cells, grid, p->height, p->width, err);
        double far = status ? 0 : mean_difference(p, &drawn);
        if (far > FAR) *levels = far;
    }
    vdm_free(cells);
    vdm_picture_free(&drawn);
    return status;
}

void canvas_print_difference(const char *name, const vdm_grid_layout *grid, double levels, const char *source,
                             int others)
{
    fprintf(stderr,
            "%s: a grid of %d rows and %d columns of %d pixels differs from this picture by %.0f of 255 "
            "levels: are grid and palette of %s those of the picture?",
            clean(name), grid->rows, grid->cols, grid->cell + grid->border, levels, source);
    if (others) fprintf(stderr, " It is one of %d such pictures.", others + 1);
    fputc('\n', stderr);
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
