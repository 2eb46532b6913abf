/* Tasks: a folder of picture pairs, or an ARC-AGI file.
 *
 *   DIR/train/NAME.in.ppm, NAME.out.ppm     what is learned: every input has its output
 *   DIR/test/NAME.in.ppm [, NAME.out.ppm]   what is asked; the answer is used for the score only
 *   DIR/task.json                           optional, every key optional:
 *       {"name": "flip", "prompt": "...", "phi": "discrete",
 *        "metric": "psnr" | "ssim" | "mae" | "iou" | "miou" | "cells" | "pose" | "pck",
 *        "palette": "arc" | "maze",
 *        "grid": {"rows": 8, "cols": 8, "cell": 30, "border": 2}}
 *
 * The palette is that of grids and of miou; it may stand in "grid" too.
 * .pgm is taken wherever .ppm is; names that begin with a dot are ignored; anything else that is out of place is
 * refused by name, since a misspelt file would silently be a smaller task. Pictures are not opened here. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "vdm_task.h"

#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------
 * Folders of pairs */

static char *copy_text(const char *text, size_t n, vdm_error *err)
{
    char *copy = vdm_alloc(n + 1, 1, "a name", err);
    if (copy) memcpy(copy, text, n);
    return copy;
}

static bool is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static bool exists(const char *path)
{
    struct stat info;
    return lstat(path, &info) == 0 || errno != ENOENT;
}

/* "cat.in.ppm": 3 bytes of name, an input. */
static bool parse_file_name(const char *file, size_t *name, bool *output)
{
    static const char *const endings[] = {".in.ppm", ".in.pgm", ".out.ppm", ".out.pgm"};
    for (int i = 0; i < 4; i++) {
        size_t length = strlen(file), ending = strlen(endings[i]);
        if (length <= ending || strcmp(file + length - ending, endings[i]) != 0) continue;
        *name = length - ending;
        *output = i >= 2;
        return true;
    }
    return false;
}

static void example_free(vdm_example *e)
{
    vdm_free(e->name);
    vdm_free(e->input);
    vdm_free(e->output);
    *e = (vdm_example){0};
}

typedef struct part { /* of a task: train or test, while it is read */
    const char *dir;
    vdm_example *list; /* each with an input or an output until they are paired */
    int n, room;
} part;

static void part_free(part *p)
{
    for (int i = 0; i < p->n; i++) example_free(&p->list[i]);
    vdm_free(p->list);
    *p = (part){0};
}

static int part_grow(part *p, vdm_error *err)
{
    if (p->n < p->room) return 0;
    if (p->n >= 2 * VDM_MAX_PAIRS)
        return vdm_fail(err, "%s: found more than %d pictures, expected at most %d pairs", p->dir, p->n,
                        VDM_MAX_PAIRS);
    int room = p->room ? 2 * p->room : 16;
    vdm_example *list = vdm_alloc((size_t)room, sizeof *list, "a list of pictures", err);
    if (!list) return -1;
    if (p->n) memcpy(list, p->list, (size_t)p->n * sizeof *list);
    vdm_free(p->list);
    p->list = list;
    p->room = room;
    return 0;
}

static int part_add(part *p, const char *file, vdm_error *err)
{
    size_t length = 0;
    bool output = false;
    if (file[0] == '.') return 0;
    if (!parse_file_name(file, &length, &output))
        return vdm_fail(err, "%s/%s: name: found '%s', expected NAME.in.ppm or NAME.out.ppm (or .pgm)",
                        p->dir, file, file);
    if (part_grow(p, err)) return -1;
    vdm_example *e = &p->list[p->n++];
    e->name = copy_text(file, length, err);
    char *path = vdm_path(p->dir, file, err);
    if (output)
        e->output = path;
    else
        e->input = path;
    return e->name && path ? 0 : -1;
}

/* By name in the order of bytes, the input before the output. */
static int compare_examples(const void *a, const void *b)
{
    const vdm_example *x = a, *y = b;
    int order = strcmp(x->name, y->name);
    return order ? order : (x->output != NULL) - (y->output != NULL);
}

/* Joins every input with the output of its name, which follows it in the sorted list. */
static int part_pair(part *p, bool need_output, vdm_error *err)
{
    int n = 0;
    if (p->n) qsort(p->list, (size_t)p->n, sizeof *p->list, compare_examples);
    for (int i = 0; i < p->n; i++) {
        vdm_example *e = &p->list[i], *last = n ? &p->list[n - 1] : NULL;
        bool same = last && strcmp(last->name, e->name) == 0;
        if (same && (e->input || last->output))
            return vdm_fail(err, "%s: found both .ppm and .pgm of this picture, expected one",
                            e->input ? e->input : e->output);
        if (!e->input && !same)
            return vdm_fail(err, "%s: found an output without its input, expected %s.in.ppm beside it",
                            e->output, e->name);
        if (!same) {
            vdm_example moved = *e; /* what stays behind at i is empty: every string has one owner */
            *e = (vdm_example){0};
            p->list[n++] = moved;
            continue;
        }
        last->output = e->output;
        e->output = NULL;
        example_free(e);
    }
    for (int i = 0; need_output && i < n; i++)
        if (!p->list[i].output)
            return vdm_fail(err, "%s: found an input without its output, expected %s.out.ppm beside it",
                            p->list[i].input, p->list[i].name);
    if (n > VDM_MAX_PAIRS)
        return vdm_fail(err, "%s: found %d inputs, expected at most %d", p->dir, n, VDM_MAX_PAIRS);
    p->n = n;
    return 0;
}

static int part_scan(part *p, vdm_error *err)
{
    DIR *d = opendir(p->dir);
    if (!d) return vdm_fail(err, "%s: %s", p->dir, strerror(errno));
    int status = 0;
    while (!status) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            if (errno) status = vdm_fail(err, "%s: %s", p->dir, strerror(errno));
            break;
        }
        status = part_add(p, entry->d_name, err);
    }
    closedir(d);
    return status;
}

/* dir/part -> a sorted list; none where there is no such folder. */
static int read_part(vdm_example **list, int *n, const char *dir, const char *name, bool need_output,
                     vdm_error *err)
{
    char *path = vdm_path(dir, name, err);
    if (!path) return -1;
    part p = {.dir = path};
    int status = 0;
    if (exists(path)) status = part_scan(&p, err) || part_pair(&p, need_output, err) ? -1 : 0;
    if (status) {
        part_free(&p);
    } else {
        *list = p.list;
        *n = p.n;
    }
    vdm_free(path);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * task.json */

typedef struct settings { /* what the members of task.json are read with */
    vdm_task *task;
    const char *path;
    vdm_error *err;
} settings;

/* "path: field: found ..., expected ..." */
static int refuse_node(const settings *s, const char *field, const vdm_json_node *v, const char *expected)
{
    static const char *const kinds[] = {"null",     "false",    "true",     "a number",
                                        "a string", "an array", "an object"};
    if (v->kind == VDM_JSON_STRING || v->kind == VDM_JSON_NUMBER)
        return vdm_fail(s->err, "%s: %s: found '%.60s', expected %s", s->path, field, v->text, expected);
    return vdm_fail(s->err, "%s: %s: found %s, expected %s", s->path, field, kinds[v->kind], expected);
}

static int read_string(const settings *s, const char *field, const vdm_json_node *v, char **text)
{
    if (v->kind != VDM_JSON_STRING) return refuse_node(s, field, v, "a string");
    vdm_free(*text);
    *text = copy_text(v->text, strlen(v->text), s->err);
    return *text ? 0 : -1;
}

static int read_phi(const settings *s, const vdm_json_node *v)
{
    vdm_error why;
    if (v->kind != VDM_JSON_STRING) return refuse_node(s, "phi", v, "a string");
    if (vdm_phi_parse(&s->task->phi, v->text, &why)) return vdm_fail(s->err, "%s: %.900s", s->path, why.text);
    s->task->has_phi = true;
    return 0;
}

static int read_metric(const settings *s, const vdm_json_node *v)
{
    if (v->kind != VDM_JSON_STRING || vdm_metric_parse(&s->task->metric, v->text))
        return refuse_node(s, "metric", v, "psnr, iou, cells, pose, miou, pck, ssim or mae");
    s->task->has_metric = true;
    return 0;
}

static int read_count(const settings *s, const char *field, const vdm_json_node *v, int low, int *to)
{
    if (v->kind == VDM_JSON_NUMBER && v->number >= low && v->number <= VDM_MAX_SIDE &&
        v->number == floor(v->number)) {
        *to = (int)v->number;
        return 0;
    }
    char expected[64];
    snprintf(expected, sizeof expected, "a whole number from %d to %d", low, VDM_MAX_SIDE);
    return refuse_node(s, field, v, expected);
}

static int read_palette(const settings *s, const char *field, const vdm_json_node *v)
{
    bool maze = v->kind == VDM_JSON_STRING && strcmp(v->text, "maze") == 0;
    if (!maze && (v->kind != VDM_JSON_STRING || strcmp(v->text, "arc") != 0))
        return refuse_node(s, field, v, "\"arc\" or \"maze\"");
    s->task->grid.palette = maze ? VDM_PALETTE_MAZE : VDM_PALETTE_ARC;
    return 0;
}

/* The four numbers are needed; the palette is ARC's where none is named. */
static int read_grid(const settings *s, const vdm_json *j, const vdm_json_node *grid)
{
    vdm_grid_layout *g = &s->task->grid;
    struct {
        const char *key, *field;
        int low, *to;
        bool found;
    } known[] = {{"rows", "grid.rows", 1, &g->rows, false},
                 {"cols", "grid.cols", 1, &g->cols, false},
                 {"cell", "grid.cell", 1, &g->cell, false},
                 {"border", "grid.border", 0, &g->border, false}};
    if (grid->kind != VDM_JSON_OBJECT) return refuse_node(s, "grid", grid, "an object");
    for (const vdm_json_node *v = grid->children ? grid + 1 : NULL; v; v = vdm_json_next(j, v)) {
        int i = 0;
        while (i < 4 && strcmp(v->key, known[i].key) != 0) i++;
        if (i == 4 && strcmp(v->key, "palette") == 0) {
            if (read_palette(s, "grid.palette", v)) return -1;
            continue;
        }
        if (i == 4)
            return vdm_fail(s->err,
                            "%s: grid: found the key '%.60s', expected rows, cols, cell, border, palette",
                            s->path, v->key);
        if (read_count(s, known[i].field, v, known[i].low, known[i].to)) return -1;
        known[i].found = true;
    }
    for (int i = 0; i < 4; i++)
        if (!known[i].found)
            return vdm_fail(s->err, "%s: %s: found none, expected a number", s->path, known[i].field);
    return 0;
}

static int read_member(const settings *s, const vdm_json *j, const vdm_json_node *v)
{
    if (strcmp(v->key, "name") == 0) return read_string(s, "name", v, &s->task->name);
    if (strcmp(v->key, "prompt") == 0) return read_string(s, "prompt", v, &s->task->prompt);
    if (strcmp(v->key, "phi") == 0) return read_phi(s, v);
    if (strcmp(v->key, "metric") == 0) return read_metric(s, v);
    if (strcmp(v->key, "palette") == 0) return read_palette(s, "palette", v);
    if (strcmp(v->key, "grid") == 0) return read_grid(s, j, v);
    return vdm_fail(s->err, "%s: found the key '%.60s', expected name, prompt, phi, metric, palette, grid",
                    s->path, v->key);
}

static int check_grid(const settings *s)
{
    const vdm_task *t = s->task;
    if (t->has_metric && t->metric == VDM_METRIC_CELLS && !t->grid.rows)
        return vdm_fail(
            s->err, "%s: grid: found none, expected rows, cols, cell, border: the metric is cells", s->path);
    int64_t height = vdm_grid_side(&t->grid, t->grid.rows), width = vdm_grid_side(&t->grid, t->grid.cols);
    if (height <= VDM_MAX_SIDE && width <= VDM_MAX_SIDE) return 0;
    return vdm_fail(s->err, "%s: grid: found a grid of %lld x %lld pixels, expected at most %d a side",
                    s->path, (long long)width, (long long)height, VDM_MAX_SIDE);
}

static int read_settings(vdm_task *t, const char *path, vdm_error *err)
{
    settings s = {.task = t, .path = path, .err = err};
    vdm_json j;
    if (!exists(path)) return 0;
    if (vdm_json_read(&j, path, err)) return -1;
    int status = 0;
    const vdm_json_node *root = j.nodes;
    if (root->kind != VDM_JSON_OBJECT) status = refuse_node(&s, "document", root, "an object");
    const vdm_json_node *v = !status && root->children ? root + 1 : NULL;
    for (; v && !status; v = vdm_json_next(&j, v)) status = read_member(&s, &j, v);
    if (!status) status = check_grid(&s);
    vdm_json_free(&j);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * A task */

/* The last name of the folder's path, "flip" for "tasks/flip/" and, inside it, for "." */
static int name_after_folder(vdm_task *t, const char *dir, vdm_error *err)
{
    char *full = realpath(dir, NULL);
    if (!full) return vdm_fail(err, "%s: %s", dir, strerror(errno));
    const char *name = strrchr(full, '/') + 1;
    t->name = copy_text(name, strlen(name), err);
    free(full);
    return t->name ? 0 : -1;
}

static int read_parts(vdm_task *t, const char *dir, vdm_error *err)
{
    t->path = copy_text(dir, strlen(dir), err);
    if (!t->path || name_after_folder(t, dir, err)) return -1;
    if (read_part(&t->train, &t->n_train, dir, "train", true, err) ||
        read_part(&t->test, &t->n_test, dir, "test", false, err))
        return -1;
    if (!t->n_train && !t->n_test)
        return vdm_fail(
            err, "%s: found no pictures, expected train/NAME.in.ppm with NAME.out.ppm, or test/NAME.in.ppm",
            dir);
    char *path = vdm_path(dir, "task.json", err);
    int status = path ? read_settings(t, path, err) : -1;
    vdm_free(path);
    return status;
}

int vdm_task_read(vdm_task *t, const char *dir, vdm_error *err)
{
    size_t length = strlen(dir);
    *t = (vdm_task){0};
    if (length > 5 && strcmp(dir + length - 5, ".json") == 0 && !is_folder(dir)) {
        vdm_arc a;
        return vdm_arc_read(&a, dir, err) || vdm_task_of_arc(t, &a, err) ? -1 : 0;
    }
    if (!exists(dir) || !is_folder(dir))
        return vdm_fail(err, "%s: found %s, expected a folder with train/ or test/, or an ARC-AGI .json", dir,
                        exists(dir) ? "no folder" : "nothing");
    if (read_parts(t, dir, err) == 0) return 0;
    vdm_task_free(t);
    return -1;
}

void vdm_task_free(vdm_task *t)
{
    for (int i = 0; i < t->n_train; i++) example_free(&t->train[i]);
    for (int i = 0; i < t->n_test; i++) example_free(&t->test[i]);
    vdm_free(t->train);
    vdm_free(t->test);
    vdm_free(t->path);
    vdm_free(t->name);
    vdm_free(t->prompt);
    vdm_arc_free(&t->arc);
    *t = (vdm_task){0};
}

int vdm_example_picture(vdm_picture *p, const vdm_task *t, const vdm_example *e, bool output, int height,
                        int width, vdm_error *err)
{
    vdm_picture file;
    if (e->x) {
        vdm_grid seen = output ? *e->y : *e->x;
        if (t->view) vdm_view_grid(&seen, output ? e->y : e->x, t->view, false);
        return vdm_arc_render(p, &seen, &t->grid, height, width, err);
    }
    *p = (vdm_picture){0};
    if (vdm_picture_read(&file, output ? e->output : e->input, err)) return -1;
    int status = vdm_picture_resize(p, &file, width, height, err);
    vdm_picture_free(&file);
    return status || !t->view ? status : vdm_view_picture(p, &t->grid, t->view, false, err);
}

vdm_grid_layout vdm_example_grid(const vdm_task *t, const vdm_example *e)
{
    const vdm_grid *size = e->y ? e->y : e->x;
    vdm_grid_layout g = size ? vdm_arc_sized(&t->grid, size) : t->grid, turned = g;
    if (!t->view || !(t->view->symmetry & 4)) return g;
    turned.rows = g.cols;
    turned.cols = g.rows;
    return turned;
}

/* Examples are called by their number: "2". */
static int name_examples(vdm_example **list, int *n, const vdm_arc_pair *pairs, int count, const char *path,
                         vdm_error *err)
{
    *list = vdm_alloc((size_t)count, sizeof **list, "the examples of a task", err);
    if (!*list) return -1;
    *n = count;
    for (int i = 0; i < count; i++) {
        vdm_example *e = &(*list)[i];
        char name[16];
        bool known = pairs[i].y.rows > 0;
        int length = snprintf(name, sizeof name, "%d", i);
        e->name = copy_text(name, (size_t)length, err);
        e->input = copy_text(path, strlen(path), err);
        e->output = known ? copy_text(path, strlen(path), err) : NULL;
        if (!e->name || !e->input || (known && !e->output)) return -1;
        e->x = &pairs[i].x;
        e->y = known ? &pairs[i].y : NULL;
    }
    return 0;
}

int vdm_task_of_arc(vdm_task *t, vdm_arc *a, vdm_error *err)
{
    *t = (vdm_task){.arc = *a, .has_metric = true, .metric = VDM_METRIC_CELLS};
    *a = (vdm_arc){0};
    t->path = copy_text(t->arc.path, strlen(t->arc.path), err);
    t->name = copy_text(t->arc.name, strlen(t->arc.name), err);
    int status = !t->path || !t->name ||
                         name_examples(&t->train, &t->n_train, t->arc.train, t->arc.n_train, t->path, err) ||
                         name_examples(&t->test, &t->n_test, t->arc.test, t->arc.n_test, t->path, err)
                     ? -1
                     : 0;
    if (status) vdm_task_free(t);
    return status;
}
