/* Tasks: a folder of picture pairs, and the scores of answers.
 *
 *   DIR/train/NAME.in.ppm, NAME.out.ppm     what is learned: every input has its output
 *   DIR/test/NAME.in.ppm [, NAME.out.ppm]   what is asked; the answer is used for the score only
 *   DIR/task.json                           optional, every key optional: {"name": "flip",
 *       "prompt": "...", "phi": "discrete",
 *       "metric": "psnr" | "ssim" | "mae" | "iou" | "miou" | "cells" | "pose" | "pck", "palette": "arc" |
 * "maze", "grid": {"rows": 8, "cols": 8, "cell": 30, "border": 2}}
 *
 * The palette is that of grids and of miou; it may stand in "grid" too.
 * Pictures are .ppm, .pgm, .pbm or .png; names that begin with a dot are left alone; anything else that is out of
 * place is refused by name, since a misspelt file would silently be a smaller task. Pictures are
 * not opened here, and may differ in size.
 *
 * Grids are painted and read as the authors of arXiv 2510.24448 do; other scores are in score.c and pose.c.
 */
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
    static const char *const endings[] = {".png", ".ppm", ".pgm", ".pbm"};
    size_t length = strlen(file);
    bool known = false;
    for (int i = 0; i < 4 && !known; i++) known = length > 4 && strcmp(file + length - 4, endings[i]) == 0;
    if (!known) return false;
    length -= 4;
    *output = length > 4 && memcmp(file + length - 4, ".out", 4) == 0;
    if (!*output && !(length > 3 && memcmp(file + length - 3, ".in", 3) == 0)) return false;
    *name = length - (*output ? 4 : 3);
    return true;
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
        return vdm_fail(err, "%s/%s: name: found '%s', expected NAME.in.png or NAME.out.png (or .ppm, .pgm, .pbm)",
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
            return vdm_fail(err, "%s: found two files of this picture (%s), expected one",
                            e->input ? e->input : e->output, e->input ? last->input : last->output);
        if (!e->input && !same)
            return vdm_fail(err, "%s: found an output without its input, expected %s.in.png (or .ppm, .pgm, .pbm) beside it",
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
            return vdm_fail(err, "%s: found an input without its output, expected %s.out.png (or .ppm, .pgm, .pbm) beside it",
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

static const char *const METRICS[] = {"psnr", "iou", "cells", "pose", "miou", "pck", "ssim", "mae"};
enum { N_METRICS = sizeof METRICS / sizeof METRICS[0] };

const char *vdm_metric_name(vdm_metric m)
{
    return METRICS[m];
}

static int read_metric(const settings *s, const vdm_json_node *v)
{
    for (int i = 0; i < N_METRICS && v->kind == VDM_JSON_STRING; i++)
        if (strcmp(v->text, METRICS[i]) == 0) {
            s->task->metric = (vdm_metric)i;
            s->task->has_metric = true;
            return 0;
        }
    return refuse_node(s, "metric", v, "psnr, iou, cells, pose, miou, pck, ssim or mae");
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
    s->task->palette = maze ? VDM_PALETTE_MAZE : VDM_PALETTE_ARC;
    return 0;
}

/* The four numbers are needed; the palette is ARC's where none is named. */
static int read_grid(const settings *s, const vdm_json *j, const vdm_json_node *grid)
{
    vdm_task *t = s->task;
    struct {
        const char *key, *field;
        int low, *to;
        bool found;
    } known[] = {{"rows", "grid.rows", 1, &t->grid_rows, false},
                 {"cols", "grid.cols", 1, &t->grid_cols, false},
                 {"cell", "grid.cell", 1, &t->cell, false},
                 {"border", "grid.border", 0, &t->border, false}};
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

static int64_t grid_side(int cells, const vdm_task *t)
{
    return (int64_t)cells * (t->cell + t->border) + t->border;
}

static int check_grid(const settings *s)
{
    const vdm_task *t = s->task;
    if (t->has_metric && t->metric == VDM_METRIC_CELLS && !t->grid_rows)
        return vdm_fail(
            s->err, "%s: grid: found none, expected rows, cols, cell, border: the metric is cells", s->path);
    int64_t height = grid_side(t->grid_rows, t), width = grid_side(t->grid_cols, t);
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
    t->notes = vdm_alloc(1, sizeof *t->notes, "a task", err);
    if (!t->path || !t->notes || name_after_folder(t, dir, err)) return -1;
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
        return vdm_arc_read(&a, dir, err) || vdm_arc_task(t, &a, err) ? -1 : 0;
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
    vdm_free(t->notes);
    vdm_arc_free(&t->arc);
    *t = (vdm_task){0};
}

static void note(vdm_task_notes *all, unsigned notes, const char *path)
{
    for (int i = 0; i < VDM_NOTES && all; i++) {
        if (!(notes >> i & 1)) continue;
        if (!all->first[i][0])
            snprintf(all->first[i], sizeof all->first[i], "%s", path);
        else if (strcmp(all->first[i], path) != 0)
            all->others[i] = true;
    }
}

int vdm_example_picture(vdm_picture *p, const vdm_task *t, const vdm_example *e, bool output, int height,
                        int width, vdm_error *err)
{
    vdm_picture file;
    if (e->x) {
        vdm_grid seen = output ? *e->y : *e->x;
        if (t->view) vdm_arc_apply(&seen, output ? e->y : e->x, t->view);
        return vdm_arc_render(p, &seen, t, height, width, err);
    }
    *p = (vdm_picture){0};
    const char *path = output ? e->output : e->input;
    unsigned notes;
    if (vdm_picture_read_noted(&file, path, &notes, err)) return -1;
    note(t->notes, notes, path);
    int status = vdm_picture_resize(p, &file, width, height, err);
    vdm_picture_free(&file);
    return status || !t->view ? status : vdm_view_picture(p, t, t->view, false, err);
}

vdm_task vdm_example_grid(const vdm_task *t, const vdm_example *e)
{
    vdm_task g = *t;
    const vdm_grid *size = e->y ? e->y : e->x;
    if (size) g.grid_rows = size->rows, g.grid_cols = size->cols;
    if (t->view && (t->view->symmetry & 4)) {
        int held = g.grid_rows;
        g.grid_rows = g.grid_cols;
        g.grid_cols = held;
    }
    return g;
}

/* ------------------------------------------------------------------------------------------------
 * Grids in pictures */

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

const uint8_t *vdm_task_colour(const vdm_task *t, int number)
{
    static const uint8_t black[3] = {0, 0, 0}, white[3] = {255, 255, 255};
    bool grid = t->metric == VDM_METRIC_CELLS || t->metric == VDM_METRIC_MIOU,
         pose = t->metric == VDM_METRIC_POSE || t->metric == VDM_METRIC_PCK;
    if (grid) return vdm_palette_colour(t->palette, number);
    if (!pose && t->metric != VDM_METRIC_IOU) return NULL;
    if (number == 0) return black;
    if (pose) return number > 0 && number <= VDM_LEG + 1 ? vdm_pose_colour((vdm_part)(number - 1)) : NULL;
    return number == 1 ? white : NULL;
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
