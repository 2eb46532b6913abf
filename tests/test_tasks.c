/* The generators of vdm tasks: every rule against a plain check or a known case, and what the streams of
 * problems guarantee: nested, held out, reserved, the same everywhere. */
#include "check.h"
#include "vdm_task.h"
#include "tools/generate/generators.h"
#include "tools/commands/commands.h"
#include "tools/generate/task_folder.h"
#include "tools/options.h"
#include "tools/run/file_checks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/stat.h>

/* The first 20 pairs and tests of every task, seed 42: the same pictures everywhere. */
static const uint64_t HASH = 0xfd6cfd76abc31979;

/* ------------------------------------------------------------------------------------------------
 * Grids as text: a dot is 0, digits are numbers */

static grid from_text(const char *text) /* rows separated by spaces */
{
    grid g = {.rows = 1};
    int n = 0;
    for (const char *c = text; *c; c++) {
        if (*c == ' ') {
            g.rows++;
            continue;
        }
        g.cells[n++] = (uint8_t)(*c == '.' ? 0 : *c - '0');
    }
    g.cols = n / g.rows;
    return g;
}

static bool same(const grid *a, const grid *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

static void show(const char *what, const grid *g)
{
    printf("%s:", what);
    for (int i = 0; i < g->rows * g->cols; i++) printf("%s%d", i % g->cols ? "" : " ", g->cells[i]);
    printf("\n");
}

static const generator *named(const char *name)
{
    vdm_error err;
    const generator *g = find_generator(name, &err);
    CHECK(g != NULL, "%s", name);
    return g;
}

static grid answer(const char *name, const grid *x)
{
    const generator *g = named(name);
    grid y = {.rows = x->rows, .cols = x->cols};
    CHECK(g->answer(&y, x, g), "%s has no answer", name);
    return y;
}

static void check_case(const char *name, const char *input, const char *expected)
{
    grid x = from_text(input), y = answer(name, &x), e = from_text(expected);
    if (!CHECK(same(&y, &e), "%s", name)) show("found", &y), show("expected", &e);
}

static grid random_grid(int rows, int cols, int numbers, uint64_t seed)
{
    grid g = {.rows = rows, .cols = cols};
    vdm_rng rng;
    vdm_rng_seed(&rng, seed);
    for (int i = 0; i < rows * cols; i++) g.cells[i] = (uint8_t)below(&rng, numbers);
    return g;
}

/* ------------------------------------------------------------------------------------------------
 * Rules */

/* Where a cell of an H x W grid goes. */
static void goes(const char *name, int H, int W, int *row, int *col)
{
    int r = *row, c = *col;
    if (strcmp(name, "flip-h") == 0) *col = W - 1 - c;
    if (strcmp(name, "flip-v") == 0) *row = H - 1 - r;
    if (strcmp(name, "turn-90") == 0) *row = c, *col = H - 1 - r; /* the top row becomes the right column */
    if (strcmp(name, "turn-180") == 0) *row = H - 1 - r, *col = W - 1 - c;
    if (strcmp(name, "turn-270") == 0) *row = W - 1 - c, *col = r;
    if (strcmp(name, "transpose") == 0) *row = c, *col = r;
    if (strcmp(name, "shift") == 0) *row = (r + 1) % H, *col = (c + 2) % W;
}

static void test_geometry(void)
{
    static const struct {
        const char *name;
        int order; /* so many times it is nothing */
    } tasks[] = {{"flip-h", 2},   {"flip-v", 2},    {"turn-90", 4}, {"turn-180", 2},
                 {"turn-270", 4}, {"transpose", 2}, {"shift", 7}};
    for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++) {
        grid x = random_grid(7, 7, 10, i), y = answer(tasks[i].name, &x), z = x, e = x;
        for (int k = 0; k < 49; k++) {
            int row = k / 7, col = k % 7;
            goes(tasks[i].name, 7, 7, &row, &col);
            e.cells[row * 7 + col] = x.cells[k];
        }
        CHECK(same(&y, &e), "%s", tasks[i].name);
        for (int k = 0; k < tasks[i].order; k++) z = answer(tasks[i].name, &z);
        CHECK(same(&z, &x), "%s, %d times", tasks[i].name, tasks[i].order);
    }
    check_case("flip-h", "123 456", "321 654");
    check_case("flip-v", "123 456", "456 123");
    check_case("turn-90", "12 34", "31 42");
    check_case("turn-270", "12 34", "24 13");
    check_case("shift", "1234 5678", "7856 3412");
}

static void test_objects(void)
{
    check_case("recolour", "0123 4567", "0231 4567");
    check_case("outline", "..... .5... ..6.. ..... ....1", "222.. 2522. 2262. .2222 ...21");
    check_case("fill", "111... 1.1.5. 111... ..333. ..3.3. ..333.",
               "111... 141.5. 111... ..333. ..343. ..333.");
    check_case("fill", ".11... 1..1.. 1..1.. .11...", ".11... 1441.. 1441.. .11..."); /* without corners */
    check_case("fill", "1111 1..1 1..1 11.1", "1111 1..1 1..1 11.1");                 /* open */
    check_case("fill", "..... .111. .1.1. .1.1. .111.", "..... .111. .141. .141. .111.");
    check_case("gravity", "12. ..3 4.. ...", "... ... 1.. 423");
    for (uint64_t seed = 0; seed < 20; seed++) {
        grid x = random_grid(6, 5, 3, seed), y = answer("gravity", &x);
        for (int col = 0; col < 5; col++) { /* the same cells from the bottom up, without gaps */
            int have[6], n = 0;
            for (int row = 5; row >= 0; row--)
                if (x.cells[row * 5 + col]) have[n++] = x.cells[row * 5 + col];
            for (int k = 0; k < 6; k++)
                CHECK(y.cells[(5 - k) * 5 + col] == (k < n ? have[k] : 0), "gravity, column %d", col);
        }
    }
}

/* A game by its name: "3/23". A padded copy, so that no edge is special. */
static grid plain_life(const grid *x, const char *rule)
{
    int padded[GRID_SIDE + 2][GRID_SIDE + 2] = {{0}};
    grid y = *x;
    for (int i = 0; i < x->rows * x->cols; i++) padded[i / x->cols + 1][i % x->cols + 1] = x->cells[i] == 1;
    for (int r = 1; r <= x->rows; r++)
        for (int c = 1; c <= x->cols; c++) {
            int n = padded[r - 1][c - 1] + padded[r - 1][c] + padded[r - 1][c + 1] + padded[r][c - 1] +
                    padded[r][c + 1] + padded[r + 1][c - 1] + padded[r + 1][c] + padded[r + 1][c + 1];
            const char *slash = strchr(rule, '/'), *digit = strchr(padded[r][c] ? slash : rule, '0' + n);
            bool on = n && digit && (padded[r][c] || digit < slash);
            y.cells[(r - 1) * x->cols + c - 1] = on;
        }
    return y;
}

static void test_life(void)
{
    static const char *const games[][2] = {{"life", "3/23"},
                                           {"b3s2", "3/2"},
                                           {"day-night", "3678/34678"},
                                           {"maze-rule", "3/12345"},
                                           {"seeds", "2/"}};
    check_case("life", "..... ..1.. ..1.. ..1.. .....", "..... ..... .111. ..... ....."); /* blinker */
    check_case("life", ".... .11. .11. ....", ".... .11. .11. ....");                     /* block */
    check_case("life", ".1... ..1.. 111.. ..... .....", "..... 1.1.. .11.. .1... ....."); /* glider */
    check_case("seeds", ".... .11. .... ....", ".11. .... .11. ....");
    for (int i = 0; i < 5; i++)
        for (uint64_t seed = 0; seed < 10; seed++) {
            grid x = random_grid(8, 9, 2, seed), y = answer(games[i][0], &x), e = plain_life(&x, games[i][1]);
            CHECK(same(&y, &e), "%s against %s", games[i][0], games[i][1]);
        }
}

static void test_elementary(void)
{
    grid x = {.rows = 16, .cols = 32}, y;
    for (int i = 0; i < 32; i++) x.cells[i] = 1;
    x.cells[16] = 2;
    y = answer("rule-90", &x); /* from one cell: Pascal's triangle mod 2 */
    for (int n = 0; n < 16; n++)
        for (int k = 0; k <= n; k++)
            CHECK(y.cells[n * 32 + 16 - n + 2 * k] == 1 + ((n & k) == k), "rule 90, row %d, %d", n, k);
    check_case("rule-30", "1111211 ....... ....... .......", "1111211 1112221 1122112 2221222");
    check_case("rule-170", "122111 ...... ......", "122111 221111 211112");
    check_case("rule-250", "11211 ..... .....", "11211 12121 21212");
    check_case("rule-110", "111112 ...... ......", "111112 111122 111222");
    for (const generator *g = generators; g->name; g++) {
        if (strncmp(g->name, "rule-", 5) != 0) continue;
        CHECK(g->a == atoi(g->name + 5), "%s is number %d", g->name, g->a);
        x = random_grid(8, 16, 2, (uint64_t)g->a);
        for (int i = 0; i < 16; i++) x.cells[i]++;
        y = answer(g->name, &x);
        for (int i = 16; i < 128; i++) {
            int r = i / 16 - 1, c = i % 16;
            const uint8_t *above = y.cells + r * 16;
            int pattern =
                (above[(c + 15) % 16] == 2 ? 4 : 0) + (above[c] == 2 ? 2 : 0) + (above[(c + 1) % 16] == 2);
            CHECK(y.cells[i] == ((g->a & 1 << pattern) ? 2 : 1), "%s, row %d", g->name, r + 1);
        }
    }
}

/* By a heading (dy, dx) that turns right into (dx, -dy): in rows that grow downwards. */
static grid plain_ant(const grid *x, int steps)
{
    grid y = *x;
    int r = x->rows / 2, c = x->cols / 2, dy = -1, dx = 0;
    y.cells[r * x->cols + c] = 0;
    for (; steps > 0; steps--) {
        uint8_t *cell = &y.cells[r * x->cols + c];
        int right = *cell ? -1 : 1, old = dy;
        dy = right * dx, dx = -right * old;
        *cell = !*cell;
        r = (r + dy + x->rows) % x->rows, c = (c + dx + x->cols) % x->cols;
    }
    y.cells[r * x->cols + c] = 2;
    return y;
}

static void test_langton(void)
{
    static const char *const names[] = {"langton-2", "langton-3", "langton-5", "langton-10"};
    static const int steps[] = {2, 3, 5, 10};
    check_case("langton-2", "..... ..... ..2.. ..... .....", "..... ..... ..11. ...2. .....");
    check_case("langton-3", "..... ..... ..2.. ..... .....", "..... ..... ..11. ..21. .....");
    check_case("langton-5", "..... ..... ..2.. ..... .....", "..... ..... .2.1. ..11. .....");
    for (int i = 0; i < 4; i++)
        for (uint64_t seed = 0; seed < 20; seed++) {
            grid x = random_grid(8, 8, 2, seed), y, e;
            x.cells[36] = 2;
            y = answer(names[i], &x);
            e = plain_ant(&x, steps[i]);
            CHECK(same(&y, &e), "%s, seed %d", names[i], (int)seed);
        }
    grid x = {.rows = 4, .cols = 4}; /* round the edges: left on 1 from a corner-sized torus */
    x.cells[10] = 2;
    grid y = answer("langton-10", &x), e = plain_ant(&x, 10);
    CHECK(same(&y, &e), "a small torus");
}

/* ------------------------------------------------------------------------------------------------
 * Mazes */

/* Steps from START to every cell, by relaxation; the length of the shortest way to END in cells, or 0. */
static int plain_length(const grid *x)
{
    int n = x->rows * x->cols, far[GRID_SIDE * GRID_SIDE], end = 0;
    for (int i = 0; i < n; i++) far[i] = x->cells[i] == START ? 1 : 1 << 20;
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < n; i++)
            for (int k = 0; k < n; k++) {
                int dy = abs(i / x->cols - k / x->cols), dx = abs(i % x->cols - k % x->cols);
                if (dy + dx != 1 || !x->cells[i] || !x->cells[k] || far[k] <= far[i] + 1) continue;
                far[k] = far[i] + 1;
                changed = true;
            }
    }
    for (int i = 0; i < n; i++)
        if (x->cells[i] == END) end = far[i];
    return end < 1 << 20 ? end : 0;
}

/* The path has the shortest length, from START to END over WAY cells; nothing else changes. */
static void check_path(const char *name, const grid *x, const grid *y)
{
    int length = 2, joints = 0, n = x->rows * x->cols;
    for (int i = 0; i < n; i++) {
        bool on = y->cells[i] >= END;
        if (y->cells[i] == PATH) {
            length++;
            CHECK(x->cells[i] == WAY, "%s: a path through %d", name, x->cells[i]);
        } else {
            CHECK(y->cells[i] == x->cells[i], "%s: cell %d changed", name, i);
        }
        joints += on && i % x->cols + 1 < x->cols && y->cells[i + 1] >= END;
        joints += on && i + x->cols < n && y->cells[i + x->cols] >= END;
    }
    CHECK(length == plain_length(x), "%s: %d cells, %d is the shortest", name, length, plain_length(x));
    CHECK(joints == length - 1, "%s: %d cells of a path touch %d times", name, length, joints);
}

/* The WAY cells are a tree: connected, with one fewer joint than cells. */
static void check_tree(const grid *x)
{
    int ways = 0, joints = 0, n = x->rows * x->cols;
    for (int i = 0; i < n; i++) {
        ways += x->cells[i] != WALL;
        joints += x->cells[i] && i % x->cols + 1 < x->cols && x->cells[i + 1];
        joints += x->cells[i] && i + x->cols < n && x->cells[i + x->cols];
    }
    int rooms = x->rows / 2 * (x->cols / 2);
    CHECK(ways == 2 * rooms - 1 && joints == ways - 1, "%d ways, %d joints, %d rooms", ways, joints, rooms);
}

static void test_path_ties(void)
{
    /* down, right, up, left: the way that the authors' search finds */
    check_case("shortest-path", "311 111 112", "311 411 442");
    check_case("shortest-path", "211 111 113", "244 114 113");
    grid x = from_text("302"), y = x;
    CHECK(!answer_path(&y, &x, named("shortest-path")), "a wall between the ends");
}

/* ------------------------------------------------------------------------------------------------
 * Streams of problems, from their pictures */

static grid read_grid(const vdm_picture *p, const vdm_task *t)
{
    grid g = {.rows = t->grid.rows, .cols = t->grid.cols};
    CHECK(vdm_grid_read(g.cells, p, &t->grid) == 0, "%s: the grid can't be read", t->name);
    return g;
}

static bool make(made_task *t, const char *name, const task_options *o)
{
    vdm_error err = {""};
    return CHECK(task_make(t, name, o, &err) == 0, "%s: %s", name, err.text);
}

static bool same_pictures(const vdm_picture *a, const vdm_picture *b, int n)
{
    bool equal = true;
    for (int i = 0; i < n; i++)
        equal &= a[i].width == b[i].width && a[i].height == b[i].height &&
                 memcmp(a[i].rgb, b[i].rgb, 3 * (size_t)a[i].width * (size_t)a[i].height) == 0;
    return equal;
}

/* Fewer pairs are the first ones; fewer tests too; the tests are the same for all n; another seed, others. */
static void check_nested(const char *name, const made_task *all)
{
    task_options o = task_defaults();
    made_task few, other;
    o.n = 3, o.tests = 20;
    if (!make(&few, name, &o)) return;
    CHECK(same_pictures(few.train_x, all->train_x, 3) && same_pictures(few.train_y, all->train_y, 3),
          "%s: the first 3 pairs", name);
    CHECK(same_pictures(few.test_x, all->test_x, 20) && same_pictures(few.test_y, all->test_y, 20),
          "%s: the first 20 tests", name);
    o.seed = 43;
    if (make(&other, name, &o)) {
        CHECK(!same_pictures(few.train_x, other.train_x, 1) && !same_pictures(few.test_x, other.test_x, 1),
              "%s: another seed", name);
        made_task_free(&other);
    }
    made_task_free(&few);
}

/* Share of cells that differ; for paths one minus shared over all cells of either. */
static double plain_distance(const grid *xa, const grid *ya, const grid *xb, const grid *yb, bool paths)
{
    double differ = 0, both = 0, a = 0, b = 0, n = xa->rows * xa->cols;
    for (int i = 0; i < n; i++) {
        differ += xa->cells[i] != xb->cells[i];
        both += ya->cells[i] >= 2 && yb->cells[i] >= 2;
        a += ya->cells[i] >= 2;
        b += yb->cells[i] >= 2;
    }
    return paths ? 1 - both / (a + b - both) : differ / n;
}

/* The guarantees of every grid problem. */
static void check_grids(const generator *g, const made_task *t)
{
    int n = t->n_train + t->n_test;
    bool paths = g->compare == PATHS, row = strncmp(g->name, "rule-", 5) == 0;
    grid *x = calloc((size_t)n, sizeof *x), *y = calloc((size_t)n, sizeof *y);
    double min = 1;
    int twice = 0, still = 0, free_grids = 0;
    for (int i = 0; i < n; i++) {
        bool test = i >= t->n_train;
        int k = test ? i - t->n_train : i;
        x[i] = read_grid(test ? &t->test_x[k] : &t->train_x[k], &t->task);
        y[i] = read_grid(test ? &t->test_y[k] : &t->train_y[k], &t->task);
        still += same(&x[i], &y[i]);
        free_grids += !grid_reserved(&x[i]);
        for (int j = 0; j < i; j++) {
            twice += same(&x[i], &x[j]);
            if (!test || j >= t->n_train) continue;
            double d = plain_distance(&x[i], &y[i], &x[j], &y[j], paths);
            if (d < min) min = d;
        }
        if (paths) check_path(g->name, &x[i], &y[i]);
        if (strcmp(g->name, "maze") == 0) check_tree(&x[i]);
        grid e = {.rows = x[i].rows, .cols = x[i].cols};
        CHECK(g->answer(&e, &x[i], g) && same(&e, &y[i]), "%s: an answer", g->name);
    }
    CHECK(!twice && !still, "%s: %d inputs twice, %d answers like the input", g->name, twice, still);
    CHECK(min >= (row                  ? 1.0 / 64
                  : paths && g->a == 0 ? 0.5
                  : paths              ? 0.3
                                       : 0.25),
          "%s: distance %g", g->name, min);
    CHECK(row || !free_grids, "%s: %d inputs aren't reserved", g->name, free_grids);
    free(x);
    free(y);
}

static uint64_t hash_task(const made_task *t, uint64_t hash)
{
    const vdm_picture *lists[] = {t->train_x, t->train_y, t->test_x, t->test_y};
    for (int l = 0; l < 4; l++)
        for (int i = 0; i < 20; i++) {
            const vdm_picture *p = &lists[l][i];
            hash = hash * 31 + check_hash(p->rgb, 3 * (int64_t)p->width * p->height);
        }
    return hash;
}

static void test_streams(void)
{
    uint64_t hash = 0;
    for (const generator *g = generators; g->name; g++) {
        bool row = strncmp(g->name, "rule-", 5) == 0;
        task_options o = task_defaults();
        made_task t;
        o.n = row ? 127 : 300;
        if (!make(&t, g->name, &o)) continue;
        CHECK(t.n_train == o.n && t.n_test == (row ? 127 : 200), "%s: %d, %d", g->name, t.n_train, t.n_test);
        CHECK(t.train_x[0].width == 64 && t.train_y[0].height == 64, "%s: 64x64", g->name);
        CHECK(t.task.has_phi && t.task.phi.kind == VDM_PHI_DISCRETE && t.task.metric == g->metric, "%s",
              g->name);
        if (!g->draw) check_grids(g, &t);
        check_nested(g->name, &t);
        hash = hash_task(&t, hash);
        made_task_free(&t);
    }
    CHECK(hash == HASH, "the pictures' hash is %#llx", (unsigned long long)hash);
}

/* With --content and --grid: the content, and the number of colours. */
static void test_contents(void)
{
    static const struct {
        const char *content;
        int min, max, colours; /* cells that aren't black, of 64; maximum of colours */
    } kinds[] = {{"dense", 40, 64, 9}, {"sparse", 16, 50, 5}, {"blobs", 16, 45, 5}};
    for (int k = 0; k < 3; k++) {
        task_options o = task_defaults();
        made_task t;
        o.content = kinds[k].content;
        o.tests = 50;
        if (!make(&t, "recolour", &o)) return;
        for (int i = 0; i < 50; i++) {
            grid x = read_grid(&t.test_x[i], &t.task);
            int seen[10] = {0}, colours = 0;
            for (int c = 0; c < 64; c++) seen[x.cells[c]]++;
            for (int c = 1; c < 10; c++) colours += seen[c] > 0;
            CHECK(seen[1] && seen[2] && seen[3] && colours <= kinds[k].colours &&
                      64 - seen[0] >= kinds[k].min && 64 - seen[0] <= kinds[k].max,
                  "%s: %d cells, %d colours", kinds[k].content, 64 - seen[0], colours);
        }
        made_task_free(&t);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The paper's sizes; options; folders */

static void test_paper(void)
{
    static const struct {
        const char *name;
        int height, width, rows, cols;
    } sizes[] = {{"life", 272, 272, 8, 8},         {"flip-h", 272, 272, 8, 8},
                 {"rule-110", 128, 256, 8, 16},    {"langton-10", 128, 128, 8, 8},
                 {"maze", 336, 336, 21, 21},       {"shortest-path", 240, 240, 15, 15},
                 {"segmentation", 480, 720, 0, 0}, {"pose", 480, 720, 0, 0}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        task_options o = task_defaults();
        made_task t;
        o.paper = true, o.n = 2, o.tests = 2;
        if (!make(&t, sizes[i].name, &o)) continue;
        const vdm_picture *p = &t.train_x[1];
        CHECK(p->height == sizes[i].height && p->width == sizes[i].width &&
                  t.task.grid.rows == sizes[i].rows && t.task.grid.cols == sizes[i].cols,
              "%s: %dx%d", sizes[i].name, p->height, p->width);
        if (sizes[i].rows) {
            bool arc = t.task.grid.cell == 30 && t.task.grid.border == 2,
                 maze = t.task.grid.cell == 16 && t.task.grid.border == 0;
            CHECK(t.task.grid.palette == VDM_PALETTE_ARC ? arc : maze, "%s: %d/%d", sizes[i].name,
                  t.task.grid.cell, t.task.grid.border);
            grid x = read_grid(p, &t.task), y = read_grid(&t.train_y[1], &t.task);
            if (x.rows > 8) check_path(sizes[i].name, &x, &y);
            if (strcmp(sizes[i].name, "maze") == 0) {
                check_tree(&x);
                CHECK(x.cells[22] == START && x.cells[19 * 21 + 19] == END, "from corner to corner");
            }
        }
        made_task_free(&t);
    }
}

/* Masks and poses: the colours that may occur, and white where the disc is. */
static void test_scenes(void)
{
    task_options o = task_defaults();
    made_task t;
    if (!make(&t, "segmentation", &o)) return;
    for (int i = 0; i < 30; i++) {
        double mass = 0, y = 0, x = 0, spread = 0;
        for (int k = 0; k < 64 * 64; k++) {
            const uint8_t *m = t.train_y[i].rgb + 3 * k;
            CHECK((m[0] == 0 || m[0] == 255) && m[1] == m[0] && m[2] == m[0], "a mask is black and white");
            if (!m[0]) continue;
            mass++, y += k / 64, x += k % 64;
            CHECK(t.train_x[i].rgb[3 * k] + t.train_x[i].rgb[3 * k + 1] + t.train_x[i].rgb[3 * k + 2] > 60,
                  "a shape under the mask");
        }
        for (int k = 0; k < 64 * 64; k++) {
            double dy = k / 64 - y / mass, dx = k % 64 - x / mass;
            if (t.train_y[i].rgb[3 * k]) spread += (dy * dy + dx * dx) / mass;
        }
        /* a disc of radius r: mass pi r^2, mean square distance r^2 / 2 */
        CHECK(mass > 90 && mass < 400 && fabs(spread * 2 * 3.14159 / mass - 1) < 0.05, "a disc: %g, %g", mass,
              spread);
    }
    made_task_free(&t);
    if (!make(&t, "pose", &o)) return;
    for (int i = 0; i < 30; i++) {
        int seen[4] = {0};
        for (int k = 0; k < 64 * 64; k++) {
            const uint8_t *p = t.train_y[i].rgb + 3 * k;
            seen[0] += p[0] > 200 && p[1] > 200 && p[2] > 200;
            seen[1] += p[0] < 50 && p[1] < 50 && p[2] > 200;
            seen[2] += p[0] > 200 && p[1] < 50 && p[2] < 50;
            seen[3] += p[0] < 50 && p[1] > 200 && p[2] < 50;
        }
        CHECK(seen[0] && seen[1] && seen[2] && seen[3], "face, torso, arms, legs: %d %d %d %d", seen[0],
              seen[1], seen[2], seen[3]);
    }
    made_task_free(&t);
}

static void rejected(const char *name, task_options o, const char *sentence)
{
    made_task t;
    vdm_error err = {""};
    CHECK(task_make(&t, name, &o, &err) == -1 && strstr(err.text, sentence) && !t.train_x,
          "%s: '%s', expected '%s'", name, err.text, sentence);
}

static void test_rejected(void)
{
    task_options o = task_defaults(), p = o;
    rejected("flip", o, "'flip' is not a task; 'vdm tasks' lists them");
    p.n = 128, rejected("rule-30", p, "rule-30: expected at most 127 pairs, found 128"), p = o;
    p.n = 301, rejected("life", p, "life: expected at most 300 pairs, found 301"), p = o;
    p.n = p.tests = 0, rejected("life", p, "life: expected a pair or a test, found 0 and 0"), p = o;
    p.content = "dense", rejected("life", p, "--content: life has a fixed content");
    rejected("outline", p, "--content: outline supports sparse or blobs, found 'dense'"), p = o;
    p.rows = 9, rejected("turn-90", p, "--grid: turn-90 needs as many rows as columns, found 9x8");
    rejected("pose", p, "pose has no grid"), p = o;
    p.rows = 33, rejected("life", p, "--grid: expected 4 to 32 rows and columns, found 33x8"), p = o;
    p.height = 60, rejected("life", p, "--size: found 60x64, expected at least 64x64"), p = o;
    p.cell = 4000, rejected("life", p, "found a grid of 32000 x 32000 pixels"), p = o;
    p.width = 300, rejected("segmentation", p, "one side at most twice the other, found 64x300"), p = o;
    p.rows = p.cols = 4;
    rejected("maze", p, "problems that differ enough"); /* 2x2 rooms */
}

static void test_folder(void)
{
    char dir[400];
    vdm_error err = {""};
    made_task t;
    vdm_task back;
    vdm_picture p;
    task_options o = task_defaults();
    o.paper = true, o.n = 3, o.tests = 2;
    snprintf(dir, sizeof dir, "%s/ant", check_folder());
    if (!make(&t, "langton-3", &o)) return;
    CHECK(task_write(&t, dir, &err) == 0 && vdm_task_read(&back, dir, &err) == 0, "%s", err.text);
    CHECK(back.n_train == 3 && back.n_test == 2 && strcmp(back.name, "langton-3") == 0 && back.has_phi &&
              back.phi.kind == VDM_PHI_DISCRETE && back.has_metric && back.metric == VDM_METRIC_CELLS &&
              back.grid.rows == 8 && back.grid.cols == 8 && back.grid.cell == 16 && back.grid.border == 0 &&
              back.grid.palette == VDM_PALETTE_MAZE,
          "task.json");
    CHECK(vdm_picture_read(&p, back.train[2].output, &err) == 0 && same_pictures(&p, &t.train_y[2], 1), "%s",
          err.text);
    vdm_picture_free(&p);
    vdm_task_free(&back);
    CHECK(task_write(&t, dir, &err) == -1 && strstr(err.text, "expected a new or empty folder"), "%s",
          err.text);
    made_task_free(&t);
}

/* The command: its exit status, and what it leaves behind. */
static void test_command(void)
{
    char dir[400], n[] = "2", name[] = "life", other[] = "lief", pairs[] = "-n", tests[] = "--tests",
                   o[] = "-o";
    vdm_error err = {""};
    vdm_task t;
    snprintf(dir, sizeof dir, "%s/life", check_folder());
    CHECK(command_tasks(7, (char *[]){other, pairs, n, tests, n, o, dir}) == FAILED, "no such task");
    CHECK(command_tasks(1, (char *[]){name}) == USAGE, "no folder");
    CHECK(vdm_task_read(&t, dir, &err) == -1, "nothing is left of what failed");
    CHECK(command_tasks(7, (char *[]){name, pairs, n, tests, n, o, dir}) == DONE, "life");
    CHECK(vdm_task_read(&t, dir, &err) == 0 && t.n_train == 2 && t.n_test == 2, "%s", err.text);
    vdm_task_free(&t);
    CHECK(command_tasks(7, (char *[]){name, pairs, n, tests, n, o, dir}) == FAILED, "twice");
}

/* Names, and that the table of kinship has a row for every task. */
static void test_table(void)
{
    char *text, row[80];
    size_t size;
    vdm_error err;
    bool there =
        CHECK(!vdm_read_file("python/pretrain/README.md", 1 << 20, &text, &size, &err), "%s", err.text);
    int n = 0;
    for (const generator *g = generators; g->name; g++, n++) {
        snprintf(row, sizeof row, "\n| %s | ", g->kin);
        CHECK(there && strstr(text, row), "%s: no row '%s' in the table of kinship", g->name, g->kin);
        for (const generator *h = generators; h < g; h++)
            CHECK(strcmp(h->name, g->name) != 0, "%s twice", g->name);
    }
    CHECK(n == 40, "%d tasks", n);
    if (there) vdm_free(text);
    grid x = {.rows = 8, .cols = 8}; /* as test_pretrain.py has it */
    for (int i = 0; i < 64; i++) x.cells[i] = (uint8_t)i;
    uint64_t hash = 2166136261u;
    for (uint64_t i = 0; i < 64; i++) hash = (hash ^ i) * 16777619u % 4294967296u;
    CHECK(grid_hash(&x) == hash, "FNV-1a");
    int reserved = 0;
    for (uint64_t seed = 0; seed < 8000; seed++) {
        x = random_grid(8, 8, 10, seed);
        reserved += grid_reserved(&x);
    }
    CHECK(abs(reserved - 1000) < 120, "%d of 8000 grids are reserved", reserved);
}

/* In the place of the system's: as many as were asked for. */
static int syncs;
int fsync(int fd)
{
    (void)fd;
    syncs++;
    return 0;
}

static bool make_part(const task_folder *f, char *path, size_t size)
{
    vdm_error err;
    char *part = vdm_path(f->unfinished, "train", &err);
    bool made = part && !make_folder(part, &err);
    snprintf(path, size, "%s", part ? part : "");
    vdm_free(part);
    return made;
}

static void write_mine(const char *folder)
{
    vdm_error err;
    char *path = vdm_path(folder, "mine", &err);
    FILE *f = path ? fopen(path, "w") : NULL;
    CHECK(f && fclose(f) == 0, "the test can't write");
    vdm_free(path);
}

/* Until task_end the folder is not a task, and pictures are not synced one by one. */
static void test_whole(void)
{
    char dir[400], path[500];
    vdm_error err = {""};
    made_task t;
    vdm_task back;
    task_options o = task_defaults();
    o.n = 20, o.tests = 20;
    snprintf(dir, sizeof dir, "%s/whole", check_folder());
    if (!make(&t, "rule-30", &o)) return;
    task_folder f, killed;
    CHECK(!task_begin(&killed, dir, &err) && make_part(&killed, path, sizeof path) &&
              !task_picture(&t.train_x[0], path, "a", "in", &err) && vdm_task_read(&back, dir, &err) == -1,
          "a run that is killed leaves no task: %s", err.text);
    CHECK(!task_begin(&f, dir, &err) && make_part(&f, path, sizeof path) &&
              !task_picture(&t.train_x[0], path, "b", "in", &err) &&
              !task_picture(&t.train_y[0], path, "b", "out", &err) && !task_end(&f, &t.task, &err),
          "the next run is not rejected: %s", err.text);
    snprintf(path, sizeof path, "%s/unfinished", dir);
    CHECK(!vdm_task_read(&back, dir, &err) && back.n_train == 1 && strcmp(back.train[0].name, "b") == 0 &&
              access(path, F_OK) != 0,
          "%s", err.text);
    vdm_task_free(&back);
    CHECK(task_write(&t, dir, &err) == -1 && strstr(err.text, "in it, expected a new or empty folder"), "%s",
          err.text);
    CHECK(make_folder(path, &err) == 0 && make_part(&(task_folder){.unfinished = path}, path, sizeof path),
          "%s", err.text);
    write_mine(path);
    CHECK(task_write(&t, dir, &err) == -1 && strstr(err.text, "expected a new or empty folder"), "%s",
          err.text);
    snprintf(path, sizeof path, "%s/unfinished/train/mine", dir);
    CHECK(access(path, F_OK) == 0, "what vdm did not write stays");
    snprintf(path, sizeof path, "%s/train/b.in.ppm", dir);
    CHECK(access(path, F_OK) == 0, "a folder that only has the name removes no pictures");
    vdm_free(killed.unfinished);
    vdm_free(killed.lock.path);
    snprintf(path, sizeof path, "%s/no/where", dir);
    CHECK(task_picture(&t.train_x[0], path, "a", "in", &err) == -1 && strstr(err.text, "/a.in.ppm: can't be"),
          "%s", err.text);
    snprintf(dir, sizeof dir, "%s/synced", check_folder());
    syncs = 0;
    CHECK(!task_write(&t, dir, &err) && syncs <= 4, "%d syncs of 80 pictures: %s", syncs, err.text);
    made_task_free(&t);
}

/* What can't be removed, here for a file that vdm did not write, stays marked: the next run may remove the rest. */
static void test_remains(void)
{
    char dir[400], path[500];
    vdm_error err = {""};
    task_folder f;
    snprintf(dir, sizeof dir, "%s/remains", check_folder());
    if (!CHECK(!task_begin(&f, dir, &err) && make_part(&f, path, sizeof path), "%s", err.text)) return;
    write_mine(path);
    task_abandon(&f);
    CHECK(make_empty(dir, &err) == -1 && strstr(err.text, "found 'unfinished' in it"), "%s", err.text);
    snprintf(path, sizeof path, "%s/unfinished/train/mine", dir);
    CHECK(unlink(path) == 0 && make_empty(dir, &err) == 0, "%s", err.text);
}

int main(void)
{
    test_table();
    test_geometry();
    test_objects();
    test_life();
    test_elementary();
    test_langton();
    test_path_ties();
    test_streams();
    test_contents();
    test_paper();
    test_scenes();
    test_rejected();
    test_folder();
    test_command();
    test_whole();
    test_remains();
    return check_end("tasks");
}
