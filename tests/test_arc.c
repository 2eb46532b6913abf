/* ARC-AGI tasks: the reader and what it rejects, pictures and back, sizes, views, votes. The public tasks are
 * tried where they are: in VDM_ARC_DATA, or ../shared/data/arc-agi; own ones (tests/arc) always. */
#include "check.h"
#include "vdm_task.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const vdm_arc_canvas PAPER = {.height = 400, .width = 400, .border = 2, .align = 1};

/* ------------------------------------------------------------------------------------------------
 * The reader */

static const char *write_json(const char *text, size_t size)
{
    static char path[300];
    snprintf(path, sizeof path, "%s/task.json", check_folder());
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(text, 1, size, f) == size && fclose(f) == 0, "the test can't write %s", path);
    return path;
}

/* Reads; returns "" or the error. */
static const char *read_text(vdm_arc *a, const char *text)
{
    static vdm_error err;
    err.text[0] = 0;
    int status = vdm_arc_read(a, write_json(text, strlen(text)), &err);
    CHECK((status == 0) == !err.text[0], "status %d, '%s'", status, err.text);
    if (status) CHECK(!a->train && !a->test && !a->path, "something is left of what was rejected");
    return err.text;
}

static void rejected(const char *text, const char *piece)
{
    vdm_arc a;
    const char *message = read_text(&a, text);
    CHECK(strstr(message, piece) && strstr(message, "task.json"), "expected '%s' in '%s' for %s", piece,
          message, text);
    vdm_arc_free(&a);
}

#define PAIR "{\"input\": [[1]], \"output\": [[2]]}"
static void with_input(const char *grid, const char *piece)
{
    char text[4096];
    snprintf(text, sizeof text,
             "{\"train\": [" PAIR ", {\"input\": %s, \"output\": [[2]]}], \"test\": [" PAIR "]}", grid);
    rejected(text, piece);
}

static void check_reader(void)
{
    vdm_arc a;
    const char *message =
        read_text(&a, "{\"name\": 7, \"train\": [{\"output\": [[9, 0, 1.0]], \"input\": [[1], [2]]}], "
                      "\"test\": [" PAIR ", {\"input\": [[3, 4]], \"id\": null}]}");
    if (CHECK(!*message, "%s", message)) {
        CHECK(a.n_train == 1 && a.n_test == 2 && strcmp(a.name, "task") == 0, "%d, %d, %s", a.n_train,
              a.n_test, a.name);
        CHECK(a.train[0].x.rows == 2 && a.train[0].x.cols == 1 && a.train[0].x.cells[1] == 2, "input");
        CHECK(a.train[0].y.rows == 1 && a.train[0].y.cols == 3 && a.train[0].y.cells[0] == 9, "output");
        CHECK(a.test[0].y.rows == 1 && a.test[1].y.rows == 0 && a.test[1].x.cols == 2, "an answer held out");
        vdm_arc_free(&a);
    }
    rejected("", "");
    rejected("[]", "expected an object with train and test");
    rejected("{}", "train: found nothing, expected an array of 1 to 10000 pairs");
    rejected("{\"train\": [], \"test\": [" PAIR "]}", "train: found an array of 0");
    rejected("{\"train\": [" PAIR "]}", "test: found nothing");
    rejected("{\"train\": [" PAIR "], \"test\": []}", "test: found an array of 0");
    rejected("{\"train\": {}, \"test\": []}", "train: found an object");
    rejected("{\"train\": [1], \"test\": [" PAIR "]}", "train[0]: found '1', expected an object");
    rejected("{\"train\": [{\"input\": [[1]]}], \"test\": [" PAIR "]}", "train[0].output: found nothing");
    rejected("{\"train\": [" PAIR "], \"test\": [{\"output\": [[1]]}]}", "test[0].input: found nothing");
    rejected("{\"train\": [{\"input\": [[1]], \"output\": null}], \"test\": [" PAIR "]}",
             "train[0].output: found null");
    with_input("[]", "train[1].input: found an array of 0, expected an array of 1 to 30 rows");
    with_input("5", "train[1].input: found '5'");
    with_input("[[]]", "train[1].input[0]: found an array of 0");
    with_input("[1, 2]", "train[1].input[0]: found '1'");
    with_input("[[1, 2], [3]]", "train[1].input[1]: found an array of 1, expected 2 numbers");
    with_input("[[1], [2, 3]]", "train[1].input[1]: found an array of 2, expected 1 numbers");
    with_input("[[1, 10]]", "train[1].input[0][1]: found '10', expected an integer from 0 to 9");
    with_input("[[-1]]", "found '-1'");
    with_input("[[0.5]]", "found '0.5'");
    with_input("[[1e400]]", "");
    with_input("[[\"1\"]]", "found '1'");
    with_input("[[true]]", "found true");
    with_input("[[[1]]]", "found an array of 1");
    char row[256] = "[[0", rows[256] = "[[0]";
    for (int i = 0; i < 30; i++) strcat(row, ",0"), strcat(rows, ",[0]");
    with_input(strcat(row, "]]"), "found an array of 31");
    with_input(strcat(rows, "]"), "found an array of 31");
}

static void write_named(const char *name, const char *text)
{
    char path[400];
    snprintf(path, sizeof path, "%s/%s", check_folder(), name);
    FILE *f = fopen(path, "wb");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, "the test can't write %s", path);
}

/* Reads a file of the test's folder; returns "" or the error. */
static const char *read_named(vdm_arc *a, const char *name)
{
    static vdm_error err;
    char path[400];
    snprintf(path, sizeof path, "%s/%s", check_folder(), name);
    err.text[0] = '\0';
    int status = vdm_arc_read(a, path, &err);
    CHECK((status == 0) == !err.text[0], "status %d, '%s'", status, err.text);
    return err.text;
}

static void expect_named(const char *name, const char *piece)
{
    vdm_arc a;
    const char *text = read_named(&a, name);
    CHECK(*text && strstr(text, piece), "%s: expected '%s' in '%s'", name, piece, text);
    vdm_arc_free(&a);
}

/* Many tasks, of one file and another: each as if it were read on its own. */
static void check_shared_collection(void)
{
    static const char *const names[] = {"x_challenges.json/aa.json", "x_challenges.json/cc.json",
                                        "x_challenges.json/bb.json", "no.json/aa.json",
                                        "x_challenges.json/aa.json"};
    vdm_arc_collection c = {0};
    for (int i = 0; i < 5; i++) {
        vdm_arc a, alone;
        vdm_error err = {""}, other = {""};
        char path[400];
        snprintf(path, sizeof path, "%s/%s", check_folder(), names[i]);
        int status = vdm_arc_read_from(&a, &c, path, &err);
        CHECK(status == vdm_arc_read(&alone, path, &other) && strcmp(err.text, other.text) == 0, "%s: %s, %s",
              path, err.text, other.text);
        CHECK((status == 0) == (i % 2 == 0), "%s: status %d", path, status);
        if (status) continue;
        CHECK(strcmp(a.path, alone.path) == 0 && strcmp(a.name, alone.name) == 0 &&
                  a.n_test == alone.n_test && vdm_grid_equal(&a.test[0].y, &alone.test[0].y),
              "%s", path);
        vdm_arc_free(&a);
        vdm_arc_free(&alone);
    }
    vdm_arc_collection_close(&c);
}

#define OPEN "{\"train\": [" PAIR "], \"test\": [{\"input\": [[3]]}, {\"input\": [[4]], \"output\": null}]}"
/* ARC Prize's files: challenges by id, solutions in another file. */
static void check_collections(void)
{
    vdm_arc a;
    vdm_arc_ids ids;
    vdm_error err;
    char path[400];
    write_named("x_challenges.json",
                "{\"aa\": " OPEN ", \"bb\": {\"train\": [" PAIR "], \"test\": [" PAIR "]}}");
    snprintf(path, sizeof path, "%s/x_challenges.json", check_folder());
    CHECK(vdm_arc_ids_read(&ids, path, &err) == 0 && ids.n == 2 && strcmp(ids.id[1], "bb") == 0, "%s",
          err.text);
    vdm_arc_ids_free(&ids);
    if (CHECK(!*read_named(&a, "x_challenges.json/aa.json"), "a task of a collection")) {
        CHECK(strcmp(a.name, "aa") == 0 && a.n_train == 1 && a.n_test == 2, "%s: %d, %d", a.name, a.n_train,
              a.n_test);
        CHECK(!a.test[0].y.rows && !a.test[1].y.rows && a.test[1].x.cells[0] == 4,
              "answers that are not known");
        vdm_arc_free(&a);
    }
    write_named("x_solutions.json", "{\"aa\": [[[7, 7]], null], \"bb\": [[[9]]]}");
    if (CHECK(!*read_named(&a, "x_challenges.json/aa.json"), "with solutions")) {
        CHECK(a.test[0].y.cols == 2 && a.test[0].y.cells[0] == 7 && !a.test[1].y.rows,
              "the first answer alone");
        vdm_arc_free(&a);
    }
    expect_named("x_challenges.json/bb.json",
                 "x_solutions.json: bb[0]: found an array of 1, expected the output that");
    write_named("x_solutions.json", "{\"bb\": [[[2]]]}");
    if (CHECK(!*read_named(&a, "x_challenges.json/bb.json"), "with the same answer of its own")) {
        CHECK(a.test[0].y.cells[0] == 2, "its own answer");
        vdm_arc_free(&a);
    }
    expect_named("x_challenges.json", "found a file of 2 tasks, expected one task");
    expect_named("x_challenges.json/cc.json", "expected a task 'cc' in it, found none");
    write_named("x_solutions.json", "{\"aa\": [[[7, 7]]]}");
    expect_named("x_challenges.json/aa.json",
                 "x_solutions.json: aa: found an array of 1, expected an array with an answer");
    write_named("x_solutions.json", "{\"aa\": [[[7, 10]], [[1]]]}");
    expect_named("x_challenges.json/aa.json", "x_solutions.json: aa[0][0][1]: found '10'");
    write_named("x_solutions.json", "[[[[7, 7]]]]");
    expect_named("x_challenges.json/aa.json",
                 "x_solutions.json: document: found an array of 1, expected an object with the answers");
    snprintf(path, sizeof path, "%s/x_challenges.json", check_folder());
    CHECK(vdm_arc_solutions_check(path, &err) == -1 && strstr(err.text, "x_solutions.json: document"), "%s",
          err.text);
    write_named("x_solutions.json", "{\"aa\": [[[7, 7]], null]}");
    check_shared_collection();
    write_named("x_solutions.json", "{}");
    CHECK(vdm_arc_solutions_check(path, &err) == 0, "%s", err.text);
    CHECK(vdm_arc_solutions_check("tests/arc/move/fall.json", &err) == 0, "%s", err.text);
    write_named("x_solutions.json", "[");
    expect_named("x_challenges.json/aa.json", "x_solutions.json: JSON");
    write_named("y.json", "{\"aa\": {\"train\": [], \"test\": []}}");
    expect_named("y.json/aa.json", "aa.train: found an array of 0");
    write_named("z.json", "{\"aa/bb\": " OPEN "}");
    snprintf(path, sizeof path, "%s/z.json", check_folder());
    CHECK(vdm_arc_ids_read(&ids, path, &err) == -1 && strstr(err.text, "without /") && !ids.n, "%s",
          err.text);
    CHECK(vdm_arc_ids_read(&ids, "tests/arc/move/fall.json", &err) == 0 && !ids.n, "a task is no collection");
}

/* re-arc's files: a list of pairs. */
static void check_lists(void)
{
    vdm_arc a;
    write_named("list.json", "[" PAIR ", " PAIR ", {\"input\": [[5]], \"output\": [[6]]}]");
    if (CHECK(!*read_named(&a, "list.json"), "a list of pairs")) {
        CHECK(a.n_train == 2 && a.n_test == 1 && a.test[0].x.cells[0] == 5 && a.test[0].y.cells[0] == 6 &&
                  a.train[1].y.cells[0] == 2,
              "the last pair is the test");
        vdm_arc_free(&a);
    }
    write_named("list.json", "[" PAIR "]");
    expect_named("list.json",
                 "found an array of 1, expected an object with train and test, or an array of 2");
    write_named("list.json", "[" PAIR ", {\"input\": [[5]]}]");
    expect_named("list.json", "[1].output: found nothing");
    write_named("list.json", "\xef\xbb\xbf[" PAIR ", " PAIR "]");
    CHECK(!*read_named(&a, "list.json") && a.n_train == 1, "with a byte order mark");
    vdm_arc_free(&a);
}

static bool is_valid(const vdm_grid *g, bool may_lack)
{
    if (may_lack && !g->rows && !g->cols) return true;
    bool good = g->rows >= 1 && g->rows <= 30 && g->cols >= 1 && g->cols <= 30;
    for (int i = 0; good && i < g->rows * g->cols; i++) good = g->cells[i] <= 9;
    return good;
}

/* With any byte replaced, and cut at any length: rejected, or a task of valid grids. */
static void check_mutations(void)
{
    static const char bytes[] = "09-.e\",:[]{} \n\\x\377";
    static const char text[] =
        "{\"train\":[{\"input\":[[1,2],[3,4]],\"output\":[[5]]}],\"test\":[{\"input\":[[0]]}]}";
    char copy[sizeof text];
    vdm_error err;
    int taken = 0;
    for (size_t i = 0; i < sizeof text - 1; i++)
        for (size_t k = 0; k < sizeof bytes; k++) { /* the last of them cuts the text */
            memcpy(copy, text, sizeof text);
            copy[i] = bytes[k];
            vdm_arc a;
            if (vdm_arc_read(&a, write_json(copy, bytes[k] ? sizeof text - 1 : i), &err)) continue;
            taken++;
            for (int p = 0; p < a.n_train; p++)
                CHECK(is_valid(&a.train[p].x, false) && is_valid(&a.train[p].y, false), "taken: %s", copy);
            for (int p = 0; p < a.n_test; p++)
                CHECK(is_valid(&a.test[p].x, false) && is_valid(&a.test[p].y, true), "taken: %s", copy);
            vdm_arc_free(&a);
        }
    CHECK(taken > 10 && taken < 200, "%d of the mutations are taken", taken);
}

/* ------------------------------------------------------------------------------------------------
 * Pictures and back, of every grid of a folder of tasks */

struct trial {
    vdm_arc_canvas canvas;
    int infer_every; /* every so many grids the size is read from the picture too; 0: never */
    int tasks, grids, equal, sized, inferred;
};

static void try_grid(struct trial *t, const vdm_grid *g, const vdm_grid_layout *geometry)
{
    const vdm_colour_map shift = {.kind = VDM_COLOUR_SHIFT};
    vdm_picture p;
    vdm_error err;
    vdm_grid read = {.rows = g->rows, .cols = g->cols};
    if (!g->rows) return;
    if (!CHECK(vdm_arc_render(&p, g, geometry, t->canvas.height, t->canvas.width, &err) == 0, "%s", err.text))
        return;
    t->equal += vdm_arc_decode(&read, &p, geometry, &shift, &err) == 0 && vdm_grid_equal(&read, g);
    if (t->infer_every && t->grids % t->infer_every == 0) {
        t->sized++;
        t->inferred += vdm_arc_infer_size(&read, &p, geometry, &err) == 0 && read.rows == g->rows &&
                       read.cols == g->cols;
    }
    t->grids++;
    vdm_picture_free(&p);
}

static void try_task(struct trial *t, const char *path)
{
    vdm_arc a;
    vdm_error err;
    vdm_grid_layout geometry = {0};
    int rows, cols;
    if (!CHECK(vdm_arc_read(&a, path, &err) == 0, "%s", err.text)) return;
    vdm_arc_largest(&a, true, &rows, &cols);
    if (CHECK(vdm_arc_layout(&geometry, &t->canvas, rows, cols, &err) == 0, "%s: %s", path, err.text)) {
        for (int i = 0; i < a.n_train; i++)
            try_grid(t, &a.train[i].x, &geometry), try_grid(t, &a.train[i].y, &geometry);
        for (int i = 0; i < a.n_test; i++)
            try_grid(t, &a.test[i].x, &geometry), try_grid(t, &a.test[i].y, &geometry);
        t->tasks++;
    }
    vdm_arc_free(&a);
}

static void try_folder(struct trial *t, const char *dir)
{
    DIR *d = opendir(dir);
    char path[1024];
    struct stat st;
    for (const struct dirent *e; d && (e = readdir(d));) {
        if (e->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
            try_folder(t, path);
        else if (strstr(e->d_name, ".json"))
            try_task(t, path);
    }
    if (d) closedir(d);
}

static void check_trial(const char *name, const char *dir, vdm_arc_canvas canvas, int infer_every)
{
    struct trial t = {.canvas = canvas, .infer_every = infer_every};
    try_folder(&t, dir);
    CHECK(t.tasks > 0 && t.equal == t.grids, "%s: %d of %d grids came back", name, t.equal, t.grids);
    CHECK(t.inferred == t.sized, "%s: the size of %d of %d grids was read", name, t.inferred, t.sized);
    printf("arc: %s: %d tasks, %d grids, all back: %s\n", name, t.tasks, t.grids,
           t.equal == t.grids ? "yes" : "no");
}

static void check_folders(void)
{
    const char *named = getenv("VDM_ARC_DATA");
    char data[512];
    struct stat st;
    check_trial("own tasks, as in the paper", "tests/arc", PAPER, 1);
    check_trial("own tasks, 240x240, cells of 8", "tests/arc",
                (vdm_arc_canvas){.height = 240, .width = 240, .cell = 8, .align = 8, .grey = true}, 1);
    check_trial("own tasks, 64x64, other colours", "tests/arc",
                (vdm_arc_canvas){.height = 64, .width = 64, .palette = VDM_PALETTE_VIVID}, 0);
    snprintf(data, sizeof data, "%s/arc-agi", named ? named : "../shared/data");
    if (named && stat(data, &st)) snprintf(data, sizeof data, "%s", named);
    if (stat(data, &st) == 0)
        check_trial("public tasks, as in the paper", data, PAPER, 100);
    else
        printf("arc: NOT TESTED on the public tasks: no %s (VDM_ARC_DATA may name them)\n", data);
}

/* ------------------------------------------------------------------------------------------------
 * The layout of the paper, by hand */

static void check_layout(void)
{
    static const int cases[][3] = {{30, 30, 11}, {10, 10, 37}, {3, 3, 130},
                                   {1, 1, 396},  {7, 3, 54},   {2, 20, 17}};
    vdm_grid_layout t = {0};
    vdm_error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK(vdm_arc_layout(&t, &PAPER, cases[i][0], cases[i][1], &err) == 0, "%s", err.text);
        CHECK(t.cell == cases[i][2], "%dx%d: cells of %d", cases[i][0], cases[i][1], t.cell);
    }
    vdm_arc_canvas small = {.height = 64, .width = 64, .border = 2};
    CHECK(vdm_arc_layout(&t, &small, 30, 30, &err) != 0 && strstr(err.text, "64x64"), "no room for 30 x 30");
    CHECK(vdm_arc_layout(&t, &PAPER, 31, 3, &err) != 0 && vdm_arc_layout(&t, &PAPER, 0, 3, &err) != 0,
          "31, 0");
    static const int borders[] = {-1, 2000000000, INT32_MAX, INT32_MIN, 1073741823, VDM_MAX_SIDE + 1};
    for (size_t i = 0; i < sizeof borders / sizeof *borders; i++) {
        small.border = borders[i];
        CHECK(vdm_arc_layout(&t, &small, 3, 3, &err) != 0 && strstr(err.text, "expected 0 to 16384"),
              "%d: %s", borders[i], err.text);
    }
    const vdm_arc_canvas vast = {.height = INT32_MAX, .width = INT32_MAX},
                         negative = {.height = -1, .width = 64};
    CHECK(vdm_arc_layout(&t, &vast, 3, 3, &err) != 0 && strstr(err.text, "expected 1 to 16384 a side"), "%s",
          err.text);
    CHECK(vdm_arc_layout(&t, &negative, 3, 3, &err) != 0 && strstr(err.text, "-1x64"), "%s", err.text);
    small.cell = 8;
    small.border = 0;
    small.align = 8;
    CHECK(vdm_arc_layout(&t, &small, 3, 3, &err) == 0 && t.cell == 8, "cells of 8 at most");
    static const int sides[][2] = {{31, 1}, {1, 31}, {0, 3}, {3, -1}, {INT32_MAX, 1}};
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) { /* more cells than a grid has memory for */
        static uint8_t rgb[64 * 64 * 3];
        const vdm_grid_layout dots = {.cell = 1};
        vdm_picture seen = {64, 64, rgb}, drawn;
        vdm_grid many = {.rows = sides[i][0], .cols = sides[i][1]};
        CHECK(vdm_arc_decode(&many, &seen, &dots, NULL, &err) != 0 &&
                  strstr(err.text, "columns: expected 1 to 30"),
              "%s", err.text);
        CHECK(vdm_arc_render(&drawn, &many, &dots, 64, 64, &err) != 0 && !drawn.rgb &&
                  strstr(err.text, "expected 1 to 30"),
              "%s", err.text);
    }
    vdm_picture p;
    vdm_grid g = {.rows = 3, .cols = 2, .cells = {2, 2, 2, 2, 2, 2}};
    if (!CHECK(vdm_arc_render(&p, &g, &t, 64, 64, &err) == 0, "%s", err.text)) return;
    const uint8_t *inside = p.rgb + 3 * (16 * 64 + 24), *above = p.rgb + 3 * (15 * 64 + 24);
    CHECK(inside[0] == 255 && above[0] == 0, "the corner is at (16, 24)"); /* (20, 24) without alignment */
    vdm_picture_free(&p);
}

/* ------------------------------------------------------------------------------------------------
 * Shifted colours, and sizes without an oracle */

static void random_grid(vdm_grid *g, int rows, int cols, uint32_t seed)
{
    float numbers[VDM_MAX_GRID * VDM_MAX_GRID];
    *g = (vdm_grid){.rows = rows, .cols = cols};
    check_random(numbers, rows * cols, seed, 5);
    for (int i = 0; i < rows * cols; i++) g->cells[i] = (uint8_t)(numbers[i] + 5) % 10;
}

static void check_shift(void)
{
    vdm_error err;
    vdm_grid_layout t = {0};
    vdm_picture p;
    vdm_grid g, plain, shifted;
    const vdm_colour_map shift = {.kind = VDM_COLOUR_SHIFT};
    random_grid(&g, 9, 9, 3);
    CHECK(vdm_arc_layout(&t, &PAPER, 9, 9, &err) == 0, "%s", err.text);
    if (!CHECK(vdm_arc_render(&p, &g, &t, 400, 400, &err) == 0, "%s", err.text)) return;
    for (int i = 0; i < 400 * 400 * 3; i++) {
        int x = p.rgb[i] + (i % 3 == 0 ? -20 : 50); /* grey comes nearer to light blue, for one */
        p.rgb[i] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
    }
    plain = shifted = (vdm_grid){.rows = 9, .cols = 9};
    CHECK(vdm_arc_decode(&plain, &p, &t, NULL, &err) == 0 && !vdm_grid_equal(&plain, &g),
          "without a shift all is read");
    CHECK(vdm_arc_decode(&shifted, &p, &t, &shift, &err) == 0 && vdm_grid_equal(&shifted, &g),
          "with a shift");
    shifted.rows = 40;
    CHECK(vdm_arc_decode(&shifted, &p, &t, &shift, &err) != 0, "40 rows fit");
    vdm_picture_free(&p);
}

static void check_infer(void)
{
    static const int sizes[][2] = {{1, 1}, {3, 7}, {10, 10}, {9, 10}, {1, 12}, {12, 11}};
    vdm_arc_canvas canvases[] = {{.height = 400, .width = 400, .border = 2},
                                 {.height = 240, .width = 240, .border = 1, .align = 8, .cell = 8},
                                 {.height = 96, .width = 96, .cell = 8, .align = 8, .grey = true}};
    vdm_error err;
    float noise[512];
    check_random(noise, 512, 9, 25);
    for (int c = 0; c < 3; c++)
        for (uint32_t i = 0; i < 6; i++) {
            vdm_grid_layout t = {0};
            vdm_picture p;
            vdm_grid g, found = {0};
            random_grid(&g, sizes[i][0], sizes[i][1], 40 + i);
            CHECK(vdm_arc_layout(&t, &canvases[c], 12, 12, &err) == 0, "%s", err.text);
            if (!CHECK(vdm_arc_render(&p, &g, &t, canvases[c].height, canvases[c].width, &err) == 0, "%s",
                       err.text))
                continue;
            for (int k = 0; k < p.width * p.height * 3; k++) {
                float x = (float)p.rgb[k] + noise[k * 7 % 509];
                p.rgb[k] = (uint8_t)(x < 0 ? 0 : x > 255 ? 255 : x);
            }
            CHECK(vdm_arc_infer_size(&found, &p, &t, &err) == 0 && found.rows == g.rows &&
                      found.cols == g.cols,
                  "canvas %d: %d x %d read as %d x %d", c, g.rows, g.cols, found.rows, found.cols);
            vdm_picture_free(&p);
        }
    /* no border, all black: a black row can't be distinguished from the surroundings of the grid */
    vdm_grid_layout t = {.cell = 8, .align = 8};
    vdm_picture p;
    vdm_grid g = {.rows = 2, .cols = 1, .cells = {3, 3}}, found = {0};
    if (!CHECK(vdm_arc_render(&p, &g, &t, 64, 64, &err) == 0, "%s", err.text)) return;
    CHECK(vdm_arc_infer_size(&found, &p, &t, &err) == 0 && found.rows == 2 && found.cols == 1, "%d x %d",
          found.rows, found.cols);
    vdm_picture_free(&p);
    t.cell = 65;
    vdm_picture tiny = {.width = 8, .height = 8, .rgb = (uint8_t[192]){0}};
    CHECK(vdm_arc_infer_size(&found, &tiny, &t, &err) != 0, "a cell of 65 in 8 pixels");
}

/* ------------------------------------------------------------------------------------------------
 * Views, votes, and tasks from files */

static void check_views(void)
{
    vdm_view views[24] = {0}, again[24] = {0};
    vdm_grid g, seen, back, all[8];
    random_grid(&g, 3, 5, 1);
    vdm_views_make(views, 24, true, 1, 10, 42);
    vdm_views_make(again, 24, true, 1, 10, 42);
    CHECK(memcmp(views, again, sizeof views) == 0, "the same seed, other views");
    for (int k = 0; k < 24; k++) {
        unsigned seen_numbers = 0;
        for (int i = 0; i < 10; i++) seen_numbers |= 1u << views[k].number[i];
        CHECK(seen_numbers == 1023 && views[k].number[0] == 0, "view %d: no permutation that keeps 0", k);
        vdm_view_grid(&seen, &g, &views[k], VDM_INTO_VIEW);
        vdm_view_grid(&back, &seen, &views[k], VDM_OUT_OF_VIEW);
        CHECK(vdm_grid_equal(&back, &g), "view %d doesn't come back", k);
        CHECK((k == 0) == vdm_grid_equal(&seen, &g), "view %d", k);
    }
    for (int k = 0; k < 8; k++) { /* the eight symmetries are all there */
        for (int i = 0; i < 10; i++) views[k].number[i] = (uint8_t)i;
        vdm_view_grid(&all[k], &g, &views[k], VDM_INTO_VIEW);
        for (int i = 0; i < k; i++) CHECK(!vdm_grid_equal(&all[i], &all[k]), "symmetries %d, %d", i, k);
    }
    CHECK(all[1].cells[0] == g.cells[4] && all[2].cells[0] == g.cells[10], "mirrored");
    CHECK(all[4].rows == 5 && all[4].cols == 3 && all[4].cells[1] == g.cells[5], "transposed");
    vdm_views_make(views, 24, false, 1, 10, 42);
    for (int k = 0; k < 24; k++) CHECK(!(views[k].symmetry & 4), "transposed though not square");
    int moved = 0;
    vdm_views_make(views, 24, true, 0, 10, 42);
    for (int k = 0; k < 24; k++) moved += views[k].number[0] != 0;
    CHECK(moved > 12, "the background has another colour in %d of 24 views", moved);
}

/* Grids of any size and palette, in pictures and in a task's examples. */
static void check_seen(void)
{
    enum { ROWS = 35, COLS = 3, CELL = 2 };
    uint8_t cells[ROWS * COLS], seen[ROWS * COLS], back[ROWS * COLS];
    vdm_view views[24];
    vdm_error err;
    vdm_picture p, drawn;
    vdm_grid_layout g = {.rows = ROWS, .cols = COLS, .cell = CELL, .border = 1, .palette = VDM_PALETTE_MAZE};
    for (int i = 0; i < ROWS * COLS; i++) cells[i] = (uint8_t)(i % 5);
    vdm_views_make(views, 24, true, 1, 5, 42);
    for (int k = 0; k < 24; k++) {
        vdm_view_cells(seen, cells, ROWS, COLS, &views[k], VDM_INTO_VIEW);
        bool turned = views[k].symmetry & 4;
        vdm_view_cells(back, seen, turned ? COLS : ROWS, turned ? ROWS : COLS, &views[k], VDM_OUT_OF_VIEW);
        CHECK(memcmp(back, cells, sizeof back) == 0, "view %d of a long grid", k);
        if (!CHECK(vdm_grid_render(&p, cells, &g, 120, 120, &err) == 0, "%s", err.text)) return;
        vdm_grid_layout shape = g;
        if (turned) shape.rows = COLS, shape.cols = ROWS;
        if (CHECK(vdm_view_picture(&p, &g, &views[k], VDM_INTO_VIEW, &err) == 0 &&
                      vdm_grid_render(&drawn, seen, &shape, 120, 120, &err) == 0,
                  "%s", err.text)) {
            CHECK(memcmp(p.rgb, drawn.rgb, (size_t)3 * 120 * 120) == 0, "picture in view %d", k);
            vdm_picture_free(&drawn);
        }
        vdm_picture_free(&p);
    }
    vdm_picture small = {.width = 8, .height = 8, .rgb = (uint8_t[192]){0}};
    CHECK(vdm_view_picture(&small, &g, &views[1], VDM_INTO_VIEW, &err) != 0 && strstr(err.text, "35 x 3"),
          "no room");
}

static void check_task_in_view(void)
{
    vdm_task t;
    vdm_error err;
    vdm_picture p, drawn;
    vdm_grid seen;
    vdm_view views[5];
    if (!CHECK(vdm_task_read(&t, "tests/arc/move/fall.json", &err) == 0, "%s", err.text)) return;
    vdm_views_make(views, 5, true, 1, 10, 42);
    CHECK(vdm_arc_layout(&t.grid, &PAPER, 8, 8, &err) == 0, "%s", err.text);
    vdm_grid_layout plain = vdm_example_grid(&t, &t.train[0]);
    t.view = &views[4]; /* transposed */
    vdm_grid_layout shape = vdm_example_grid(&t, &t.train[0]);
    CHECK(shape.rows == plain.cols && shape.cols == plain.rows, "the size of what is seen");
    vdm_view_grid(&seen, t.train[0].y, &views[4], VDM_INTO_VIEW);
    if (CHECK(vdm_example_picture(&p, &t, &t.train[0], VDM_OUTPUT, 400, 400, &err) == 0 &&
                  vdm_arc_render(&drawn, &seen, &t.grid, 400, 400, &err) == 0,
              "%s", err.text)) {
        CHECK(memcmp(p.rgb, drawn.rgb, (size_t)3 * 400 * 400) == 0, "an example in a view");
        vdm_picture_free(&p);
        vdm_picture_free(&drawn);
    }
    vdm_task_free(&t);
}

static void check_augment(void)
{
    vdm_arc a, more;
    vdm_task t;
    vdm_view views[3];
    vdm_error err;
    if (!CHECK(vdm_arc_read(&a, "tests/arc/move/fall.json", &err) == 0, "%s", err.text)) return;
    vdm_views_make(views, 3, true, 1, 10, 1);
    if (CHECK(vdm_arc_augment(&more, &a, views, 3, &err) == 0, "%s", err.text)) {
        vdm_grid seen;
        vdm_view_grid(&seen, &a.train[1].y, &views[2], VDM_INTO_VIEW);
        CHECK(more.n_train == 3 * a.n_train && more.n_test == 3 * a.n_test, "numbers");
        CHECK(vdm_grid_equal(&more.train[2 * a.n_train + 1].y, &seen), "pair 1 in view 2");
        CHECK(vdm_grid_equal(&more.train[0].x, &a.train[0].x), "the first view");
        if (CHECK(vdm_task_of_arc(&t, &more, &err) == 0, "%s", err.text)) {
            CHECK(t.n_train == 9 && t.train[8].x == &t.arc.train[8].x && strcmp(t.train[8].name, "8") == 0,
                  "task");
            vdm_task_free(&t);
        }
    }
    CHECK(vdm_arc_augment(&more, &a, views, 0, &err) != 0, "no views");
    vdm_arc_free(&a);
}

static void check_task(void)
{
    vdm_task t;
    vdm_error err;
    vdm_picture p;
    if (!CHECK(vdm_task_read(&t, "tests/arc/grow/frame.json", &err) == 0, "%s", err.text)) return;
    CHECK(t.n_train == 3 && t.n_test == 3 && t.metric == VDM_METRIC_CELLS && strcmp(t.name, "frame") == 0,
          "task");
    CHECK(vdm_arc_layout(&t.grid, &PAPER, 8, 8, &err) == 0, "%s", err.text);
    vdm_grid_layout size = vdm_example_grid(&t, &t.test[0]);
    CHECK(size.rows == 8 && size.cols == 8, "the answer's size");
    if (CHECK(vdm_example_picture(&p, &t, &t.test[0], VDM_OUTPUT, 400, 400, &err) == 0, "%s", err.text)) {
        CHECK(vdm_score_cells(&p, &p, &size) == 1, "cells");
        vdm_picture_free(&p);
    }
    vdm_task_free(&t);
    CHECK(vdm_task_read(&t, "tests/arc/none.json", &err) != 0 && !t.path, "no file");
}

static void check_votes(void)
{
    vdm_grid a, b, c, d;
    int best[4], votes[4];
    random_grid(&a, 2, 2, 1);
    random_grid(&b, 2, 2, 2);
    random_grid(&c, 1, 4, 1); /* the cells of a, of another shape */
    random_grid(&d, 3, 3, 4);
    const vdm_grid grids[] = {d, a, b, b, c, a, b, c};
    int n = vdm_arc_vote(best, votes, 4, grids, 8);
    CHECK(n == 4 && best[0] == 2 && best[1] == 1 && best[2] == 4 && best[3] == 0, "%d: %d %d %d %d", n,
          best[0], best[1], best[2], best[3]);
    CHECK(votes[0] == 3 && votes[1] == 2 && votes[2] == 2 && votes[3] == 1, "votes");
    CHECK(vdm_arc_vote(best, NULL, 2, grids, 8) == 2 && best[0] == 2 && best[1] == 1, "two of them");
    CHECK(vdm_arc_vote(best, votes, 2, grids + 2, 2) == 1 && best[0] == 0 && votes[0] == 2,
          "one grid, twice");
    CHECK(vdm_arc_vote(best, votes, 2, grids, 2) == 2 && best[0] == 0 && best[1] == 1,
          "in the order of attempts");
    CHECK(vdm_arc_vote(best, votes, 2, grids, 0) == 0, "nothing");
}

/* In the order of the seeds, however frequent a grid is. */
static void check_distinct(void)
{
    vdm_grid a, b, c, to[5];
    random_grid(&a, 2, 2, 1);
    random_grid(&b, 2, 2, 2);
    random_grid(&c, 1, 4, 1); /* the cells of a, of another shape */
    const vdm_grid grids[] = {a, b, b, c, a};
    CHECK(vdm_arc_distinct(to, grids, 5) == 3 && vdm_grid_equal(&to[0], &a) && vdm_grid_equal(&to[1], &b) &&
              vdm_grid_equal(&to[2], &c),
          "without repeats, in their order");
    CHECK(vdm_arc_distinct(to, grids, 0) == 0, "nothing");
}

static vdm_grid three_cells(int a, int b, int c)
{
    return (vdm_grid){.rows = 1, .cols = 3, .cells = {(uint8_t)a, (uint8_t)b, (uint8_t)c}};
}

/* Whole grids first; what cells agree on comes before grids that came once. */
static void check_answers(void)
{
    const vdm_grid other = {.rows = 3, .cols = 1, .cells = {9, 9, 9}}, twice = three_cells(1, 2, 4),
                   majority = three_cells(1, 2, 3);
    const vdm_grid grids[] = {three_cells(1, 2, 5), other, three_cells(1, 7, 3),
                              three_cells(6, 2, 3), twice, twice};
    vdm_grid to[4], m;
    vdm_arc_majority(&m, grids, 4);
    CHECK(vdm_grid_equal(&m, &majority), "majority: %d %d %d", m.cells[0], m.cells[1], m.cells[2]);
    CHECK(vdm_arc_answers(to, 4, grids, 4) == 4 && vdm_grid_equal(&to[0], &majority) &&
              vdm_grid_equal(&to[1], &grids[0]) && vdm_grid_equal(&to[3], &grids[2]),
          "all differ: what cells agree on comes first");
    CHECK(vdm_arc_answers(to, 2, grids + 2, 4) == 2 && vdm_grid_equal(&to[0], &twice) &&
              vdm_grid_equal(&to[1], &majority),
          "one came twice, then what cells agree on: %d %d %d", to[1].cells[0], to[1].cells[1],
          to[1].cells[2]);
    CHECK(vdm_arc_answers(to, 4, grids + 4, 2) == 1 && vdm_grid_equal(&to[0], &twice), "always the same");
    CHECK(vdm_arc_answers(to, 4, &other, 1) == 1 && vdm_grid_equal(&to[0], &other), "one");
    CHECK(vdm_arc_answers(to, 4, grids, 0) == 0, "none");
}

int main(void)
{
    check_reader();
    check_collections();
    check_lists();
    check_mutations();
    check_layout();
    check_folders();
    check_shift();
    check_infer();
    check_views();
    check_seen();
    check_task_in_view();
    check_augment();
    check_task();
    check_votes();
    check_distinct();
    check_answers();
    return check_end("arc");
}
