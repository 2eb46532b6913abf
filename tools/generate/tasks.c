/* Generated tasks: pairs to learn from, and held-out test pictures (arXiv 2510.24448).
 *
 * A name and a seed determine two streams of problems. The first one gives PAIRS pairs, of which the first n are used;
 * the second one gives test problems, each at least `min_distance` away from all PAIRS pairs. So the n pairs are the
 * first n of any larger number, and the test problems are the same for every n. All 8x8 inputs are reserved
 * (grid_reserved):
 * the tiny model has never seen them in pretraining. Elementary automata of width 8 have too few inputs for that, but
 * start with three colours, as no pretraining clip of automata does, and their rules never occurred there
 * (python/pretrain/README.md).
 *
 * All arithmetic is in integers, or in doubles with + - * /, sqrt and vdm_sin: the same folder to the bit
 * everywhere. */
#include "tools/generate/tasks.h"
#include "files/hash.h"
#include "tools/generate/generators.h"

#include <stdlib.h>
#include <string.h>

enum { PAIRS = 300, TESTS = 200, DRAWS = 500000 }; /* draws for one problem before giving up */

#define ANY      (DENSE | SPARSE | BLOBS)
#define COLOURED .input = input_objects, .contents = ANY, .usual = BLOBS, .min_distance = 0.25
#define SPACED(content) \
    .input = input_objects, .contents = SPARSE | BLOBS, .usual = content, .min_distance = 0.25
#define EIGHT          .tiny = {8, 8, 8, 0}, .paper = {8, 8, 30, 2}, .metric = VDM_METRIC_CELLS
#define GEOMETRY(kind) .answer = answer_geometry, .a = kind, EIGHT, COLOURED
#define GAME(birth, survival) \
    .input = input_cells, .answer = answer_life, .a = birth, .b = survival, EIGHT, .min_distance = 0.25
#define B(n) (1 << (n))
#define RULE(n)                                                                                  \
    {                                                                                            \
        .name = "rule-" #n, .what = "elementary automaton: the rows that follow from the first", \
        .kin = "elementary automata", .input = input_row, .answer = answer_elementary, .a = n,   \
        .tiny = {8, 8, 8, 0}, .paper = {8, 16, 16, 0}, .metric = VDM_METRIC_CELLS                \
    }
#define ANT(n)                                                                                            \
    {                                                                                                     \
        .name = "langton-" #n, .what = "Langton's ant, " #n " steps on a torus", .kin = "Langton's ant",  \
        .input = input_ant, .answer = answer_langton, .a = n, .min_distance = 0.25, .tiny = {8, 8, 8, 0}, \
        .paper = {8, 8, 16, 0}, .metric = VDM_METRIC_CELLS                                                \
    }

/* clang-format off */
const generator generators[] = {
    {.name = "flip-h", .what = "mirror left and right", .kin = "flip", GEOMETRY(FLIP_H)},
    {.name = "flip-v", .what = "mirror top and bottom", .kin = "flip", GEOMETRY(FLIP_V)},
    {.name = "turn-90", .what = "a quarter turn clockwise", .kin = "quarter turn", .square = true,
     GEOMETRY(TURN_90)},
    {.name = "turn-180", .what = "a half turn clockwise", .kin = "quarter turn", GEOMETRY(TURN_180)},
    {.name = "turn-270", .what = "a quarter turn counterclockwise", .kin = "quarter turn", .square = true,
     GEOMETRY(TURN_270)},
    {.name = "transpose", .what = "exchange rows and columns", .kin = "transpose", .square = true,
     GEOMETRY(TRANSPOSE)},
    {.name = "shift", .what = "shift one down and two to the right, around the edges", .kin = "shift",
     GEOMETRY(SHIFT)},
    {.name = "recolour", .what = "blue becomes red, red becomes green, green becomes blue", .kin = "recolour",
     .answer = answer_recolour, .must = B(1) | B(2) | B(3), EIGHT, COLOURED},
    {.name = "outline", .what = "a red outline around objects", .kin = "outline",
     .answer = answer_outline, .avoid = B(2), EIGHT, SPACED(BLOBS)},
    {.name = "fill", .what = "yellow inside closed shapes", .kin = "fill",
     .input = input_shapes, .answer = answer_fill, .avoid = B(4), .min_distance = 0.25, EIGHT},
    {.name = "gravity", .what = "cells fall to the ground", .kin = "gravity",
     .answer = answer_gravity, EIGHT, SPACED(SPARSE)},
    {.name = "life", .what = "one step of Life, B3/S23", .kin = "Life", GAME(B(3), B(2) | B(3))},
    {.name = "b3s2", .what = "one step of B3/S2", .kin = "B3/S2", GAME(B(3), B(2))},
    {.name = "day-night", .what = "one step of Day & Night, B3678/S34678", .kin = "Day & Night",
     GAME(B(3) | B(6) | B(7) | B(8), B(3) | B(4) | B(6) | B(7) | B(8))},
    {.name = "maze-rule", .what = "one step of the Maze rule, B3/S12345", .kin = "Maze rule",
     GAME(B(3), B(1) | B(2) | B(3) | B(4) | B(5))},
    {.name = "seeds", .what = "one step of Seeds, B2/S", .kin = "Seeds", GAME(B(2), 0)},
    RULE(8), RULE(32), RULE(128), RULE(160), RULE(4), RULE(108), RULE(170), RULE(250),
    RULE(30), RULE(45), RULE(90), RULE(150), RULE(110), RULE(54), RULE(62), RULE(106),
    ANT(2), ANT(3), ANT(5), ANT(10),
    {.name = "shortest-path", .what = "the shortest path around obstacles", .kin = "shortest path",
     .input = input_obstacles, .answer = answer_path, .compare = PATHS, .min_distance = 0.5,
     .tiny = {8, 8, 8, 0}, .paper = {15, 15, 16, 0}, .metric = VDM_METRIC_CELLS},
    {.name = "maze", .what = "the path through a maze", .kin = "maze",
     .input = input_maze, .answer = answer_path, .a = 9, .compare = PATHS, .min_distance = 0.3, .min_distance_paper = 0.5,
     .tiny = {8, 8, 8, 0}, .paper = {21, 21, 16, 0}, .metric = VDM_METRIC_CELLS},
    {.name = "segmentation", .what = "white where the disc is, among other shapes", .kin = "segmentation",
     .scene = scene_shapes, .draw = draw_shapes, .compare = OBJECTS, .min_distance = 0.5, .metric = VDM_METRIC_IOU},
    {.name = "pose", .what = "the limbs of a figure, each kind in its colour", .kin = "pose",
     .scene = scene_figure, .draw = draw_figure, .compare = OBJECTS, .min_distance = 0.5, .metric = VDM_METRIC_POSE},
    {.name = NULL}};
/* clang-format on */

const generator *find_generator(const char *name, vdm_error *err)
{
    for (const generator *g = generators; g->name; g++)
        if (strcmp(g->name, name) == 0) return g;
    vdm_fail(err, "'%.60s' is not a task; 'vdm tasks' lists them", name);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Options become a recipe */

static int settle_content(recipe *r, const char *word, vdm_error *err)
{
    static const char *const words[] = {"dense", "sparse", "blobs"};
    r->content = r->g->usual;
    if (!word) return 0;
    for (int i = 0; i < 3; i++)
        if (strcmp(words[i], word) == 0 && r->g->contents >> i & 1) {
            r->content = 1 << i;
            return 0;
        }
    if (!r->g->contents) return vdm_fail(err, "--content: %s has a fixed content", r->g->name);
    return vdm_fail(err, "--content: %s supports %ssparse or blobs, found '%.60s'", r->g->name,
                    r->g->contents & DENSE ? "dense, " : "", word);
}

static int settle_grid(recipe *r, const task_options *o, vdm_error *err)
{
    const struct size *s = o->paper ? &r->g->paper : &r->g->tiny;
    enum { MIN_SIDE = 4 };
    r->rows = o->rows ? o->rows : s->rows;
    r->cols = o->cols ? o->cols : s->cols;
    r->cell = o->cell >= 0 ? o->cell : s->cell;
    r->border = o->border >= 0 ? o->border : s->border;
    bool maze_palette = o->paper && s->cell == 16; /* the authors' two styles: 30/2 is ARC's */
    r->palette = maze_palette ? VDM_PALETTE_MAZE : VDM_PALETTE_ARC;
    if (r->rows < MIN_SIDE || r->cols < MIN_SIDE || r->rows > GRID_SIDE || r->cols > GRID_SIDE)
        return vdm_fail(err, "--grid: expected %d to %d rows and columns, found %dx%d", MIN_SIDE, GRID_SIDE,
                        r->rows, r->cols);
    if (r->g->square && r->rows != r->cols)
        return vdm_fail(err, "--grid: %s needs as many rows as columns, found %dx%d", r->g->name, r->rows,
                        r->cols);
    int64_t height = (int64_t)r->rows * (r->cell + r->border) + r->border,
            width = (int64_t)r->cols * (r->cell + r->border) + r->border;
    if (height > VDM_MAX_SIDE || width > VDM_MAX_SIDE || r->cell < 1)
        return vdm_fail(err,
                        "--cell, --border: found a grid of %lld x %lld pixels, expected at most %d a side",
                        (long long)height, (long long)width, VDM_MAX_SIDE);
    r->height = o->height ? o->height : (int)(height + 15) / 16 * 16; /* models need multiples of 16 */
    r->width = o->width ? o->width : (int)(width + 15) / 16 * 16;
    if (height <= r->height && width <= r->width) return 0;
    return vdm_fail(err, "--size: found %dx%d, expected at least %lldx%lld, the grid's own", r->height,
                    r->width, (long long)height, (long long)width);
}

static int settle_picture(recipe *r, const task_options *o, vdm_error *err)
{
    enum { MIN_SIDE = 32, MAX_SIDE = 2048 };
    if (o->rows || o->cols || o->cell >= 0 || o->border >= 0)
        return vdm_fail(err, "--grid, --cell, --border: %s has no grid; --size sets the size of its pictures",
                        r->g->name);
    r->height = o->height ? o->height : o->paper ? 480 : 64;
    r->width = o->width ? o->width : o->paper ? 720 : 64;
    if (r->height < MIN_SIDE || r->width < MIN_SIDE || r->height > MAX_SIDE || r->width > MAX_SIDE ||
        r->height > 2 * r->width || r->width > 2 * r->height)
        return vdm_fail(err,
                        "--size: %s supports %d to %d pixels, one side at most twice the other, found %dx%d",
                        r->g->name, MIN_SIDE, MAX_SIDE, r->height, r->width);
    return 0;
}

static int settle(recipe *r, const generator *g, const task_options *o, vdm_error *err)
{
    *r = (recipe){.g = g};
    if (settle_content(r, o->content, err)) return -1;
    return g->draw ? settle_picture(r, o, err) : settle_grid(r, o, err);
}

/* ------------------------------------------------------------------------------------------------
 * Problems, all of them distinct */

static bool draw_problem(problem *p, const recipe *r, vdm_rng *rng)
{
    const generator *g = r->g;
    *p = (problem){.x = {.rows = r->rows, .cols = r->cols}, .y = {.rows = r->rows, .cols = r->cols}};
    if (g->draw) return g->scene(p, r, rng);
    if (!g->input(&p->x, r, rng)) return false;
    bool eight = r->rows == 8 && r->cols == 8 && g->input != input_row;
    if (eight && !grid_reserved(&p->x)) return false;
    if (!g->answer(&p->y, &p->x, g)) return false;
    return memcmp(p->x.cells, p->y.cells, sizeof p->x.cells) != 0; /* the answer must differ from the input */
}

/* The share of cells that differ: among all of them, or among those that are part of a path (with its ends) or of an
 * object in either problem. For paths that is Jaccard's distance. */
static double distance(const problem *p, const problem *q, const recipe *r)
{
    int n = p->x.rows * p->x.cols, differ = 0, either = 0;
    for (int i = 0; i < n; i++) {
        int a = p->x.cells[i], b = q->x.cells[i];
        if (r->g->compare == PATHS) {
            a = p->y.cells[i] >= END;
            b = q->y.cells[i] >= END;
        }
        differ += a != b;
        either += a || b;
    }
    return (double)differ / (r->g->compare == CELLS ? n : either);
}

/* Two cells of row 0 for the paper's width; the authors require about three of the whole answer. */
static double min_distance_of(const recipe *r, bool paper)
{
    if (r->g->input == input_row) return r->cols < 16 ? 0 : 2.0 / (r->rows * r->cols);
    return paper && r->g->min_distance_paper > 0 ? r->g->min_distance_paper : r->g->min_distance;
}

/* How many pairs are drawn. A short row has few inputs: half of them are for pairs. */
static int inputs_of(const recipe *r)
{
    return r->g->input == input_row && r->cols < 16 ? (1 << r->cols) - 2 : 1 << 16;
}

static int pairs_of(const recipe *r)
{
    return inputs_of(r) / 2 < PAIRS ? inputs_of(r) / 2 : PAIRS;
}

/* The start of a stream: a hash of the task, its part and the seed, well mixed (splitmix64). */
static void start(vdm_rng *rng, const char *name, int part, uint64_t seed)
{
    uint64_t z = vdm_hash_step(vdm_hash_text(VDM_HASH_START, name), (uint64_t)part);
    for (int i = 0; i < 8; i++) z = vdm_hash_step(z, seed >> 8 * i & 255);
    vdm_rng_seed(rng, vdm_hash_mix(z));
}

static bool is_new(const problem *p, const problem *list, int n)
{
    for (int i = 0; i < n; i++)
        if (memcmp(&p->x, &list[i].x, sizeof p->x) == 0) return false;
    return true;
}

static bool is_distant(const problem *p, const problem *list, int n, const recipe *r, double min)
{
    for (int i = 0; i < n; i++)
        if (distance(p, &list[i], r) < min) return false;
    return true;
}

/* n problems, all inputs different, at least `min` away from `others`. */
static int draw_problems(problem *list, int n, const problem *others, int n_others, const recipe *r,
                         double min, vdm_rng *rng, vdm_error *err)
{
    for (int i = 0; i < n; i++) {
        int draws = 0;
        for (;; draws++) {
            if (draws == DRAWS)
                return vdm_fail(err,
                                "%s: found %d of %d problems that differ enough in %d draws, expected a "
                                "larger grid or another content",
                                r->g->name, i, n, DRAWS);
            if (draw_problem(&list[i], r, rng) && is_new(&list[i], list, i) &&
                is_new(&list[i], others, n_others) && is_distant(&list[i], others, n_others, r, min))
                break;
        }
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * A task */

static int render(vdm_picture *x, vdm_picture *y, const problem *p, const recipe *r, const vdm_task *t,
                  vdm_error *err)
{
    if (!r->g->draw) {
        if (vdm_grid_render(x, p->x.cells, &t->grid, r->height, r->width, err)) return -1;
        return vdm_grid_render(y, p->y.cells, &t->grid, r->height, r->width, err);
    }
    vdm_picture *both[] = {x, y};
    for (int i = 0; i < 2; i++) {
        *both[i] = (vdm_picture){.width = r->width, .height = r->height};
        both[i]->rgb = vdm_alloc((size_t)r->height * (size_t)r->width, 3, "a picture", err);
        if (!both[i]->rgb) return -1;
    }
    r->g->draw(x, y, p);
    return 0;
}

static int render_all(vdm_picture **x, vdm_picture **y, const problem *list, int n, const recipe *r,
                      const vdm_task *t, vdm_error *err)
{
    *x = vdm_alloc((size_t)n, sizeof **x, "pictures", err);
    *y = vdm_alloc((size_t)n, sizeof **y, "pictures", err);
    int status = *x && *y ? 0 : -1;
    for (int i = 0; i < n && !status; i++) status = render(&(*x)[i], &(*y)[i], &list[i], r, t, err);
    return status;
}

static int describe(made_task *t, const recipe *r, vdm_error *err)
{
    size_t n = strlen(r->g->name) + 1;
    t->what = r->g->what;
    t->task = (vdm_task){
        .has_phi = true,
        .phi = {.kind = VDM_PHI_DISCRETE},
        .has_metric = true,
        .metric = r->g->metric,
        .grid = {
            .rows = r->rows, .cols = r->cols, .cell = r->cell, .border = r->border, .palette = r->palette}};
    t->task.name = vdm_alloc(n, 1, "a name", err);
    if (!t->task.name) return -1;
    memcpy(t->task.name, r->g->name, n);
    return 0;
}

task_options task_defaults(void)
{
    return (task_options){.seed = 42, .n = 30, .tests = TESTS, .cell = -1, .border = -1};
}

static int make(made_task *t, const recipe *r, const task_options *o, problem *pairs, problem *tests,
                vdm_error *err)
{
    vdm_rng rng;
    int all = pairs_of(r);
    start(&rng, r->g->name, 0, o->seed);
    if (draw_problems(pairs, all, NULL, 0, r, 0, &rng, err)) return -1;
    start(&rng, r->g->name, 1, o->seed);
    if (draw_problems(tests, t->n_test, pairs, all, r, min_distance_of(r, o->paper), &rng, err)) return -1;
    if (describe(t, r, err)) return -1;
    if (render_all(&t->train_x, &t->train_y, pairs, t->n_train, r, &t->task, err)) return -1;
    return render_all(&t->test_x, &t->test_y, tests, t->n_test, r, &t->task, err);
}

int task_counts_check(const char *name, int pairs, int tests, vdm_error *err)
{
    if (pairs + tests >= 1) return 0;
    return vdm_fail(err, "%s: expected a pair or a test, found %d and %d", name, pairs, tests);
}

int task_make(made_task *t, const char *name, const task_options *o, vdm_error *err)
{
    recipe r;
    *t = (made_task){.n_train = o->n, .n_test = o->tests};
    const generator *g = find_generator(name, err);
    if (!g || settle(&r, g, o, err)) return -1;
    if (o->n > pairs_of(&r) || o->n < 0)
        return vdm_fail(err, "%s: expected at most %d pairs, found %d", g->name, pairs_of(&r), o->n);
    if (task_counts_check(g->name, o->n, o->tests, err)) return -1;
    int left = inputs_of(&r) - pairs_of(&r);
    t->n_test = o->tests < left ? o->tests : left;
    problem *list = vdm_alloc(PAIRS + (size_t)t->n_test, sizeof *list, "problems", err);
    int status = list ? make(t, &r, o, list, list + PAIRS, err) : -1;
    vdm_free(list);
    if (status) made_task_free(t);
    return status;
}

static void free_pictures(vdm_picture *list, int n)
{
    for (int i = 0; list && i < n; i++) vdm_picture_free(&list[i]);
    vdm_free(list);
}

void made_task_free(made_task *t)
{
    free_pictures(t->train_x, t->n_train);
    free_pictures(t->train_y, t->n_train);
    free_pictures(t->test_x, t->n_test);
    free_pictures(t->test_y, t->n_test);
    vdm_task_free(&t->task);
    *t = (made_task){0};
}
