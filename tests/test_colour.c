/* Colour maps: learned and applied, worked out by hand; and the published shifts on rendered answers. */
#include "check.h"
#include "vdm_task.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const KINDS[] = {"none", "shift", "affine", "palette"};
enum { N_KINDS = 4 };

static vdm_colour_study *new_study(void)
{
    vdm_colour_study *s = calloc(1, sizeof *s);
    if (!s) abort();
    return s;
}

static vdm_colour_map learn(vdm_colour kind, const vdm_colour_study *s, vdm_metric metric)
{
    vdm_colour_map m;
    vdm_error err;
    CHECK(vdm_colour_learn(&m, kind, s, metric, VDM_PALETTE_ARC, &err) == 0, "%s", err.text);
    return m;
}

/* ------------------------------------------------------------------------------------------------
 * By hand */

/* 2 x 2 cells of 2 pixels, border 1, in a picture of 9 x 8. */
static const vdm_grid_layout FOUR = {.rows = 2, .cols = 2, .cell = 2, .border = 1};

static void render(vdm_picture *p, const uint8_t *cells, const vdm_grid_layout *g, int height, int width)
{
    vdm_error err;
    CHECK(vdm_grid_render(p, cells, g, height, width, &err) == 0, "%s", err.text);
}

/* Adds a constant to every level of a channel. */
static void add(vdm_picture *p, int r, int g, int b)
{
    int by[] = {r, g, b};
    for (int i = 0; i < 3 * p->width * p->height; i++) {
        int v = p->rgb[i] + by[i % 3];
        p->rgb[i] = (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
    }
}

static void test_shift(void)
{
    const uint8_t cells[] = {1, 1, 3, 5};
    uint8_t read[4];
    vdm_picture p;
    render(&p, cells, &FOUR, 8, 9);
    add(&p, 20, 6, 10);
    vdm_colour_study *s = new_study();
    vdm_colour_map m = learn(VDM_COLOUR_SHIFT, s, VDM_METRIC_CELLS);
    CHECK(vdm_colour_read(read, &m, &p, &FOUR) == 0 && memcmp(read, cells, 4) == 0, "the grid");
    vdm_colour_apply(&m, VDM_METRIC_CELLS, &FOUR, &p);
    const uint8_t *first = p.rgb + 3 * (2 * 9 + 3), *corner = p.rgb;
    CHECK(first[0] == 0 && first[1] == 116 && first[2] == 217, "all of it is taken back: %d %d %d", first[0],
          first[1], first[2]);
    CHECK(corner[0] == 0 && corner[1] == 0 && corner[2] == 0, "from the whole picture");
    vdm_picture_free(&p);
    free(s);
}

/* Two of a hundred black cells have 45: every round takes the mean of what is left, cut to integers,
 * which makes 45 - 0.90 - 0.88 - 0.86. */
static void test_rounds(void)
{
    uint8_t cells[100] = {0};
    const vdm_grid_layout g = {.rows = 10, .cols = 10, .cell = 1};
    vdm_picture p;
    vdm_colour_study *s = new_study();
    vdm_colour_map m = learn(VDM_COLOUR_SHIFT, s, VDM_METRIC_CELLS);
    render(&p, cells, &g, 0, 0);
    memset(p.rgb, 45, 6);
    vdm_colour_apply(&m, VDM_METRIC_CELLS, &g, &p);
    CHECK(p.rgb[0] == 42 && p.rgb[5] == 42 && p.rgb[299] == 0, "three rounds: %d", p.rgb[0]);
    vdm_picture_free(&p);
    free(s);
}

/* An answer distorted by a known map: its inverse is found. */
static void test_affine(void)
{
    enum { SIDE = 4 };
    static const double true_map[3][4] = {{0.8, 0.1, 0, 20}, {0, 0.9, 0.05, -5}, {0.1, 0, 0.7, 30}};
    uint8_t cells[100];
    const vdm_grid_layout g = {.rows = 10, .cols = 10, .cell = SIDE};
    vdm_picture truth, answer;
    vdm_colour_study *s = new_study();
    for (int i = 0; i < 100; i++) cells[i] = (uint8_t)(i % 10);
    render(&truth, cells, &g, 0, 0);
    render(&answer, cells, &g, 0, 0);
    for (int i = 0; i < 1600; i++)
        for (int c = 0; c < 3; c++) {
            double v = true_map[c][3];
            for (int k = 0; k < 3; k++) v += true_map[c][k] * truth.rgb[3 * i + k];
            answer.rgb[3 * i + c] = (uint8_t)rint(fmin(fmax(v, 0), 255));
        }
    memset(answer.rgb, 200, 4 * 3); /* part of a cell is spoilt: medians don't care */
    vdm_colour_add(s, VDM_METRIC_CELLS, &g, &answer, &truth);
    CHECK(s->seen[0] == 10 && s->seen[9] == 10, "every cell is counted");
    vdm_colour_map m = learn(VDM_COLOUR_AFFINE, s, VDM_METRIC_CELLS);
    vdm_colour_apply(&m, VDM_METRIC_CELLS, &g, &answer);
    int worst = 0;
    for (int i = 3 * SIDE; i < 4800; i++) {
        int apart = abs(answer.rgb[i] - truth.rgb[i]);
        if (i / 120 >= SIDE && apart > worst) worst = apart;
    }
    CHECK(worst <= 4, "back within rounding, clipping and the ridge: %d levels off", worst);
    vdm_picture_free(&truth);
    vdm_picture_free(&answer);
    free(s);
}

/* One colour seen: the map takes its shift back there, and nothing is known elsewhere. No colour: identity.
 */
static void test_few(void)
{
    const uint8_t cells[] = {5, 5, 5, 5};
    vdm_picture truth, answer;
    vdm_colour_study *s = new_study();
    vdm_colour_map m = learn(VDM_COLOUR_AFFINE, s, VDM_METRIC_CELLS);
    for (int c = 0; c < 3; c++)
        for (int k = 0; k < 4; k++) CHECK(m.affine[c][k] == (c == k ? 1 : 0), "no answers: the identity");
    m = learn(VDM_COLOUR_PALETTE, s, VDM_METRIC_CELLS);
    CHECK(m.centre.rgb[2][0] == 255 && m.centre.rgb[2][1] == 65 && m.centre.rgb[9][2] == 37,
          "colours where they are");
    render(&truth, cells, &FOUR, 8, 9);
    render(&answer, cells, &FOUR, 8, 9);
    add(&answer, 60, 47, -30);
    vdm_colour_add(s, VDM_METRIC_CELLS, &FOUR, &answer, &truth);
    m = learn(VDM_COLOUR_PALETTE, s, VDM_METRIC_CELLS);
    CHECK(m.centre.rgb[5][0] == 230 && m.centre.rgb[5][1] == 217 && m.centre.rgb[5][2] == 140,
          "grey as it came out");
    m = learn(VDM_COLOUR_AFFINE, s, VDM_METRIC_CELLS);
    vdm_colour_apply(&m, VDM_METRIC_CELLS, &FOUR, &answer);
    const uint8_t *first = answer.rgb + 3 * (2 * 9 + 3);
    CHECK(abs(first[0] - 170) <= 6 && abs(first[1] - 170) <= 6 && abs(first[2] - 170) <= 6, "grey: %d %d %d",
          first[0], first[1], first[2]);
    vdm_picture_free(&truth);
    vdm_picture_free(&answer);
    free(s);
}

/* A colour that training answers got wrong comes out as another one: it is not used. */
static void test_wrong_answers(void)
{
    const uint8_t right[] = {2, 2, 4, 4}, wrong[] = {2, 2, 2, 2};
    vdm_picture truth, answer;
    vdm_colour_study *s = new_study();
    render(&truth, right, &FOUR, 8, 9);
    render(&answer, wrong, &FOUR, 8, 9);
    vdm_colour_add(s, VDM_METRIC_CELLS, &FOUR, &answer, &truth);
    vdm_colour_map m = learn(VDM_COLOUR_PALETTE, s, VDM_METRIC_CELLS);
    uint8_t read[4];
    CHECK(vdm_colour_read(read, &m, &truth, &FOUR) == 0 && memcmp(read, right, 4) == 0, "yellow is yellow");
    vdm_picture small = {5, 5, truth.rgb};
    CHECK(vdm_colour_read(read, &m, &small, &FOUR) == -1, "a grid that doesn't fit");
    vdm_colour_add(s, VDM_METRIC_CELLS, &FOUR, &small, &truth);
    vdm_colour_add(s, VDM_METRIC_CELLS, &FOUR, &small, &small);
    CHECK(s->seen[2] == 2 && s->seen[4] == 2, "nothing is learned from what doesn't fit");
    vdm_picture_free(&truth);
    vdm_picture_free(&answer);
    free(s);
}

/* Pictures without a grid: masks, and pixels that belong to no class. */
static void test_pixels(void)
{
    enum { W = 7, H = 5, N = 3 * W * H };
    uint8_t truth[N], answer[N], other[N];
    vdm_picture p = {H, W, truth}, q = {H, W, answer}, r = {H, W, other};
    const vdm_grid_layout none = {0};
    vdm_metric metric = VDM_METRIC_IOU;
    vdm_colour_study *s = new_study();
    for (int i = 0; i < N; i++) {
        truth[i] = i / 3 % 2 ? 255 : 0;
        answer[i] = i / 3 % 2 ? 120 : 30; /* too dark: below the threshold */
    }
    memset(truth, 128, 3); /* an edge: neither black nor white */
    vdm_colour_add(s, metric, &none, &q, &p);
    CHECK(s->seen[0] == 17 && s->seen[1] == 17, "%d black, %d white", (int)s->seen[0], (int)s->seen[1]);
    CHECK(vdm_score_iou(&q, &p) == 0, "a mask that is too dark");
    for (int k = VDM_COLOUR_AFFINE; k <= VDM_COLOUR_PALETTE; k++) {
        memcpy(other, answer, N);
        vdm_colour_map m = learn((vdm_colour)k, s, metric);
        vdm_colour_apply(&m, metric, &none, &r);
        other[0] = other[1] = other[2] = truth[0];
        CHECK(vdm_score_iou(&r, &p) == 1 && other[3] > 250, "%s: %d", KINDS[k], other[3]);
    }
    metric = VDM_METRIC_PSNR;
    for (int i = 0; i < N; i++) truth[i] = (uint8_t)(i * 37), answer[i] = (uint8_t)(truth[i] / 2 + 40);
    vdm_colour_add(s, metric, &none, &q, &p);
    vdm_colour_map m = learn(VDM_COLOUR_AFFINE, s, metric);
    vdm_colour_apply(&m, metric, &none, &q);
    CHECK(vdm_score_mae(&q, &p) < 1, "all pixels: mae %g", vdm_score_mae(&q, &p));
    vdm_error err;
    CHECK(vdm_colour_learn(&m, VDM_COLOUR_PALETTE, s, metric, VDM_PALETTE_ARC, &err) == -1 &&
              strstr(err.text, "the metric psnr distinguishes none"),
          "%s", err.text);
    free(s);
}

/* ------------------------------------------------------------------------------------------------
 * The published shifts: mean (R,G,B) of every colour in the authors' answers */

static const int PUBLISHED[10][3] = {{2, 2, 2},    {3, 35, 33}, {-1, 17, 3},   {-5, 47, 0},  {0, 30, 10},
                                     {43, 47, 43}, {11, 5, 35}, {-1, 33, -12}, {30, 28, -1}, {34, -10, -9}};
static const double STRENGTH[] = {0.5, 1.0, 1.5};
enum { N_STRENGTHS = 3 };

typedef struct grid {
    vdm_grid_layout layout;
    uint8_t cells[900];
} grid;

/* The table: cells and whole grids that are read right, of all. */
typedef struct tally {
    int64_t cells, grids, right[N_STRENGTHS][N_KINDS], exact[N_STRENGTHS][N_KINDS];
} tally;

/* The grid's picture as the model would answer it. Whatever a cell's size, its colour is the same. */
static void answer(vdm_picture *p, const grid *g, double strength)
{
    render(p, g->cells, &g->layout, 0, 0);
    for (int i = 0; i < p->width * p->height; i++)
        for (int c = 0, k = 0; c < 3; c++) {
            int y = i / p->width / g->layout.cell, x = i % p->width / g->layout.cell;
            k = g->cells[y * g->layout.cols + x];
            double v = rint(p->rgb[3 * i + c] + strength * PUBLISHED[k][c]);
            p->rgb[3 * i + c] = (uint8_t)fmin(fmax(v, 0), 255);
        }
}

/* One task: maps learned on its training outputs, tested on the others. */
static void count_task(tally *sum, const grid *train, int n_train, const grid *test, int n_test)
{
    vdm_picture shifted, truth;
    uint8_t read[900];
    for (int s = 0; s < N_STRENGTHS; s++) {
        vdm_colour_study *study = new_study();
        for (int i = 0; i < n_train; i++) {
            answer(&shifted, &train[i], STRENGTH[s]);
            render(&truth, train[i].cells, &train[i].layout, 0, 0);
            vdm_colour_add(study, VDM_METRIC_CELLS, &train[i].layout, &shifted, &truth);
            vdm_picture_free(&shifted);
            vdm_picture_free(&truth);
        }
        for (int k = 0; k < N_KINDS; k++) {
            vdm_colour_map m = learn((vdm_colour)k, study, VDM_METRIC_CELLS);
            for (int i = 0; i < n_test; i++) {
                int n = test[i].layout.rows * test[i].layout.cols, right = 0;
                answer(&shifted, &test[i], STRENGTH[s]);
                CHECK(vdm_colour_read(read, &m, &shifted, &test[i].layout) == 0, "a grid is read");
                for (int c = 0; c < n; c++) right += read[c] == test[i].cells[c];
                sum->right[s][k] += right;
                sum->exact[s][k] += right == n;
                vdm_picture_free(&shifted);
            }
        }
        free(study);
    }
    sum->grids += n_test;
    for (int i = 0; i < n_test; i++) sum->cells += test[i].layout.rows * test[i].layout.cols;
}

static void print_tally(const tally *t, const char *what)
{
    printf("the published colour shifts on %s: cells read right of %lld, whole grids of %lld\n", what,
           (long long)t->cells, (long long)t->grids);
    printf("  strength");
    for (int k = 0; k < N_KINDS; k++) printf("  %22s", KINDS[k]);
    for (int s = 0; s < N_STRENGTHS; s++) {
        printf("\n  %8.1f", STRENGTH[s]);
        for (int k = 0; k < N_KINDS; k++)
            printf("  %8lld %6.2f %% %4lld", (long long)t->right[s][k],
                   100.0 * (double)t->right[s][k] / (double)t->cells, (long long)t->exact[s][k]);
    }
    printf("\n");
}

static void check_tally(const tally *t, const char *what)
{
    int64_t best = 0;
    print_tally(t, what);
    for (int k = 0; k < N_KINDS; k++)
        if (t->right[1][k] > best) best = t->right[1][k];
    CHECK(t->cells > 0 && best == t->cells, "%s: at 1.0 the best map reads %lld of %lld cells", what,
          (long long)best, (long long)t->cells);
    CHECK(t->right[2][VDM_COLOUR_PALETTE] >= t->right[2][VDM_COLOUR_NONE], "%s: a map does no harm at 1.5",
          what);
}

/* Grids of a few colours out of ten, which differ from task to task; tests have the same ones. */
static void test_generated(void)
{
    enum { TASKS = 60, TRAIN = 3 };
    static grid g[TRAIN + 1];
    tally sum = {0};
    float x[900 + 4];
    for (int task = 0; task < TASKS; task++) {
        uint8_t few[10];
        check_random(x, 10, (uint32_t)task + 1, 1);
        int n = 0;
        for (int k = 0; k < 10; k++)
            if (k == task % 10 || x[k] > 0) few[n++] = (uint8_t)k;
        for (int i = 0; i <= TRAIN; i++) {
            check_random(x, 904, (uint32_t)(1000 * task + i), 1);
            int rows = 3 + (int)(x[900] * 10 + 10) % 12, cols = 3 + (int)(x[901] * 10 + 10) % 12;
            g[i].layout = (vdm_grid_layout){.rows = rows, .cols = cols, .cell = 1 + task % 2};
            for (int c = 0; c < rows * cols; c++) g[i].cells[c] = few[(int)((x[c] + 1) * 1000) % n];
        }
        count_task(&sum, g, TRAIN, g + TRAIN, 1);
    }
    check_tally(&sum, "generated grids");
}

static bool read_grid(grid *g, const vdm_json *j, const vdm_json_node *rows)
{
    int n = 0;
    if (!rows) return false;
    g->layout = (vdm_grid_layout){.rows = (int)rows->children, .cell = 1};
    for (const vdm_json_node *row = rows + 1; row; row = vdm_json_next(j, row)) {
        g->layout.cols = (int)row->children;
        if (g->layout.rows > 30 || g->layout.cols > 30) return false;
        for (const vdm_json_node *v = row + 1; v; v = vdm_json_next(j, v)) g->cells[n++] = (uint8_t)v->number;
    }
    return n == g->layout.rows * g->layout.cols;
}

static void count_file(tally *sum, const char *path)
{
    enum { MOST = 16 };
    static grid g[2][MOST];
    int n[2] = {0};
    vdm_json j;
    vdm_error err;
    if (!CHECK(vdm_json_read(&j, path, &err) == 0, "%s", err.text)) return;
    for (int part = 0; part < 2; part++) {
        const vdm_json_node *pairs = vdm_json_get(&j, j.nodes, part ? "test" : "train");
        for (const vdm_json_node *pair = pairs + 1; pair && n[part] < MOST; pair = vdm_json_next(&j, pair))
            n[part] += CHECK(read_grid(&g[part][n[part]], &j, vdm_json_get(&j, pair, "output")), "%s", path);
    }
    count_task(sum, g[0], n[0], g[1], n[1]);
    vdm_json_free(&j);
}

/* The public tasks, if they are next to the project; else a line says that they are not. */
static void test_arc(void)
{
    static const char *const parts[] = {"training", "evaluation"};
    tally sum = {0};
    int files = 0;
    for (int i = 0; i < 2; i++) {
        char folder[64], path[400];
        snprintf(folder, sizeof folder, "../shared/data/arc-agi/%s", parts[i]);
        DIR *d = opendir(folder);
        for (const struct dirent *e; d && (e = readdir(d));) {
            size_t length = strlen(e->d_name);
            if (length < 6 || strcmp(e->d_name + length - 5, ".json") != 0) continue;
            snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            count_file(&sum, path);
            files++;
        }
        if (d) closedir(d);
    }
    if (files)
        check_tally(&sum, "the public ARC tasks");
    else
        printf("the public ARC tasks aren't there: not run\n");
}

int main(void)
{
    vdm_colour kind;
    for (int k = 0; k < N_KINDS; k++)
        CHECK(vdm_colour_parse(&kind, KINDS[k]) == 0 && (int)kind == k, "%s", KINDS[k]);
    CHECK(vdm_colour_parse(&kind, "Shift") == -1, "another word");
    test_shift();
    test_rounds();
    test_affine();
    test_few();
    test_wrong_answers();
    test_pixels();
    test_generated();
    test_arc();
    return check_end("colour");
}
