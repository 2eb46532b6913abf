/* Tasks: a folder of picture pairs, or an ARC-AGI file.
 *
 *   DIR/train/NAME.in.ppm, NAME.out.ppm     the pairs to learn: every input has its output
 *   DIR/test/NAME.in.ppm [, NAME.out.ppm]   the queries; an answer is used for the score only
 *   DIR/task.json                           optional, every key optional:
 *       {"name": "flip", "prompt": "...", "phi": "discrete",
 *        "metric": "psnr" | "ssim" | "mae" | "iou" | "miou" | "cells" | "pose" | "pck",
 *        "palette": "arc" | "maze",
 *        "grid": {"rows": 8, "cols": 8, "cell": 30, "border": 2}}
 *
 * The metric is psnr if none is given, cells if there is a grid. The palette applies to grids and to miou; it may also be
 * in "grid".
 * Pictures are .ppm, .pgm, .pbm or .png; names that begin with a dot are ignored; any other file is rejected by name,
 * since a misspelt name would silently make the task smaller. Pictures are not opened here. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "vdm_task.h"
#include "files/fields.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------
 * Folders of pairs */

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
    vdm_example *list; /* each with an input or an output, until they are paired */
    int n, capacity;
} part;

static void part_free(part *p)
{
    for (int i = 0; i < p->n; i++) example_free(&p->list[i]);
    vdm_free(p->list);
    *p = (part){0};
}

static int part_grow(part *p, vdm_error *err)
{
    if (p->n < p->capacity) return 0;
    if (p->n >= 2 * VDM_MAX_PAIRS)
        return vdm_fail(err, "%s: found more than %d pictures, expected at most %d pairs", p->dir, p->n,
                        VDM_MAX_PAIRS);
    int capacity = p->capacity ? 2 * p->capacity : 16;
    vdm_example *list = vdm_alloc((size_t)capacity, sizeof *list, "a list of pictures", err);
    if (!list) return -1;
    if (p->n) memcpy(list, p->list, (size_t)p->n * sizeof *list);
    vdm_free(p->list);
    p->list = list;
    p->capacity = capacity;
    return 0;
}

/* Rejects a pipe, which would block, and a folder. A missing file, such as the target of a link, is rejected by its
 * reader. */
static int check_regular(const char *path, vdm_error *err)
{
    struct stat info;
    if (stat(path, &info) || S_ISREG(info.st_mode)) return 0;
    return vdm_fail(err, "%s: expected a picture, found %s", path,
                    S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
}

static int part_add(part *p, const char *file, vdm_error *err)
{
    size_t length = 0;
    bool output = false;
    if (file[0] == '.') return 0;
    if (!parse_file_name(file, &length, &output))
        return vdm_fail(err,
                        "%s/%s: name: found '%s', expected NAME.in.png or NAME.out.png (or .ppm, .pgm, .pbm)",
                        p->dir, file, file);
    if (part_grow(p, err)) return -1;
    vdm_example *e = &p->list[p->n++];
    e->name = vdm_copy_bytes(file, length, err);
    char *path = vdm_path(p->dir, file, err);
    if (output)
        e->output = path;
    else
        e->input = path;
    return e->name && path ? check_regular(path, err) : -1;
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
            return vdm_fail(
                err,
                "%s: found an output without its input, expected %s.in.png (or .ppm, .pgm, .pbm) next to it",
                e->output, e->name);
        if (!same) {
            vdm_example moved = *e; /* entry i is empty then: every string has one owner */
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
            return vdm_fail(
                err,
                "%s: found an input without its output, expected %s.out.png (or .ppm, .pgm, .pbm) next to it",
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

/* dir/part -> a sorted list; none if there is no such folder. */
static int read_part(vdm_example **list, int *n, const char *dir, const char *name, bool need_output,
                     vdm_error *err)
{
    char *path = vdm_path(dir, name, err);
    if (!path) return -1;
    part p = {.dir = path};
    int status = 0;
    if (exists(path)) status = part_scan(&p, err);
    if (!status) status = part_pair(&p, need_output, err);
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

static void read_phi(vdm_task *t, vdm_fields *f)
{
    vdm_error why;
    const char *text = vdm_field(f, "phi") ? vdm_field_text(f, "phi", NULL) : NULL;
    if (!text || f->failed) return;
    t->has_phi = vdm_phi_parse(&t->phi, text, &why) == 0;
    f->failed = !t->has_phi;
    if (f->failed) vdm_fail(f->err, "%s: %.900s", f->path, why.text);
}

static void read_metric(vdm_task *t, vdm_fields *f)
{
    const vdm_json_node *v = vdm_field(f, "metric");
    if (!v) return;
    t->has_metric = v->kind == VDM_JSON_STRING && vdm_metric_parse(&t->metric, v->text) == 0;
    if (!t->has_metric) vdm_field_reject(f, "metric", "psnr, iou, cells, pose, miou, pck, ssim or mae");
}

static void read_palette(vdm_grid_layout *g, vdm_fields *f)
{
    const vdm_json_node *v = vdm_field(f, "palette");
    if (!v) return;
    bool text = v->kind == VDM_JSON_STRING, maze = text && strcmp(v->text, "maze") == 0;
    if (!maze && (!text || strcmp(v->text, "arc") != 0))
        vdm_field_reject(f, "palette", "\"arc\" or \"maze\"");
    g->palette = maze ? VDM_PALETTE_MAZE : VDM_PALETTE_ARC;
}

/* The four numbers are required; the palette is ARC's if none is given. */
static void read_grid(vdm_grid_layout *g, vdm_fields *outer)
{
    static const char *const keys[] = {"rows", "cols", "cell", "border", "palette"};
    vdm_fields f;
    if (!vdm_field(outer, "grid")) return;
    vdm_fields_inside(&f, outer, "grid");
    vdm_fields_only(&f, keys, 5);
    g->rows = vdm_field_int(&f, "rows", 0, 1, VDM_MAX_SIDE);
    g->cols = vdm_field_int(&f, "cols", 0, 1, VDM_MAX_SIDE);
    g->cell = vdm_field_int(&f, "cell", 0, 1, VDM_MAX_SIDE);
    g->border = vdm_field_int(&f, "border", -1, 0, VDM_MAX_SIDE);
    read_palette(g, &f);
    const vdm_json_node *inside = vdm_field(&f, "palette"), *outside = vdm_field(outer, "palette");
    if (inside && outside && !f.failed && strcmp(inside->text, outside->text) != 0)
        vdm_field_reject(&f, "palette", "the one outside of grid");
    outer->failed = f.failed;
}

static int check_grid(const vdm_task *t, const char *path, vdm_error *err)
{
    int64_t height = vdm_grid_side(&t->grid, t->grid.rows), width = vdm_grid_side(&t->grid, t->grid.cols);
    if (t->has_metric && t->metric == VDM_METRIC_CELLS && !t->grid.rows)
        return vdm_fail(err, "%s: grid: found none, expected rows, cols, cell, border: the metric is cells",
                        path);
    if (height <= VDM_MAX_SIDE && width <= VDM_MAX_SIDE) return 0;
    return vdm_fail(err, "%s: grid: found a grid of %lld x %lld pixels, expected at most %d a side", path,
                    (long long)width, (long long)height, VDM_MAX_SIDE);
}

static int read_settings(vdm_task *t, const char *path, vdm_error *err)
{
    static const char *const keys[] = {"name", "prompt", "phi", "metric", "palette", "grid"};
    vdm_json j;
    vdm_fields f;
    if (!exists(path)) return 0;
    if (vdm_json_read(&j, path, err)) return -1;
    vdm_fields_open(&f, &j, j.nodes, path, err);
    vdm_fields_only(&f, keys, 6);
    vdm_field_copy(&f, "name", &t->name);
    vdm_field_copy(&f, "prompt", &t->prompt);
    read_phi(t, &f);
    read_metric(t, &f);
    read_palette(&t->grid, &f);
    read_grid(&t->grid, &f);
    if (!t->has_metric && t->grid.rows) t->metric = VDM_METRIC_CELLS;
    vdm_json_free(&j);
    return f.failed ? -1 : check_grid(t, path, err);
}

/* ------------------------------------------------------------------------------------------------
 * A task */

/* The last name of the folder's path: "flip" for "tasks/flip/", and for "." inside it. */
static int name_after_folder(vdm_task *t, const char *dir, vdm_error *err)
{
    char *full = realpath(dir, NULL);
    if (!full) return vdm_fail(err, "%s: %s", dir, strerror(errno));
    const char *name = strrchr(full, '/') + 1;
    t->name = vdm_copy_text(name, err);
    free(full);
    return t->name ? 0 : -1;
}

static int read_parts(vdm_task *t, const char *dir, vdm_error *err)
{
    t->path = vdm_copy_text(dir, err);
    t->notes = vdm_alloc(1, sizeof *t->notes, "a task", err);
    if (!t->path || !t->notes || name_after_folder(t, dir, err)) return -1;
    if (read_part(&t->train, &t->n_train, dir, "train", true, err) ||
        read_part(&t->test, &t->n_test, dir, "test", false, err))
        return -1;
    if (!t->n_train && !t->n_test)
        return vdm_fail(
            err, "%s: found no pictures, expected train/NAME.in.png with NAME.out.png, or test/NAME.in.png",
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
    if (length > 5 && strcmp(dir + length - 5, ".json") == 0 && !vdm_is_folder(dir)) {
        vdm_arc a;
        if (vdm_arc_read(&a, dir, err)) return -1;
        return vdm_task_of_arc(t, &a, err);
    }
    if (!exists(dir) || !vdm_is_folder(dir))
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

/* The sizes of pictures, collected. */
typedef struct sizes {
    int height, width; /* of all; -1: they differ */
    const char *first; /* the picture with that size */
    const char *other; /* one with another size */
    int pictures, resized;
} sizes;

static int add_size(sizes *s, const char *path, int height, int width, vdm_error *err)
{
    int h, w;
    if (!path) return 0;
    if (vdm_picture_size(path, &h, &w, err)) return -1;
    if (!s->first) s->first = path, s->height = h, s->width = w;
    if (h != s->height || w != s->width) s->other = path;
    s->pictures++;
    s->resized += h != height || w != width;
    return 0;
}

int vdm_task_resize(vdm_task *t, bool test, int height, int width, int *pictures, int *resized,
                    vdm_error *err)
{
    sizes s = {0};
    vdm_error why;
    *pictures = *resized = 0;
    if (t->arc.path) return 0;
    for (int i = 0; i < t->n_train + (test ? t->n_test : 0); i++) {
        const vdm_example *e = i < t->n_train ? &t->train[i] : &t->test[i - t->n_train];
        if (add_size(&s, e->input, height, width, err) || add_size(&s, e->output, height, width, err))
            return -1;
    }
    *pictures = s.pictures;
    *resized = s.resized;
    if (!t->grid.rows || !s.first) return 0;
    bool cells = t->metric == VDM_METRIC_CELLS;
    if (s.other && cells)
        return vdm_fail(err, "%s: found another size than that of %s, expected one size: the metric is cells",
                        s.other, s.first);
    if (t->height) s.height = t->height, s.width = t->width; /* the task was resized before */
    t->height = height;
    t->width = width;
    if (!s.other && vdm_grid_resize(&t->grid, s.height, s.width, height, width, &why) == 0) return 0;
    if (cells) return vdm_fail(err, "%s: %.900s", t->path, why.text);
    t->grid.rows = t->grid.cols = 0;
    return 0;
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

/* A pixel has the colour of the file's pixel around its centre: a mean of two classes' colours may be that of a third. */
static int resize_classes(vdm_picture *to, const vdm_picture *from, int height, int width, vdm_error *err)
{
    *to = (vdm_picture){0};
    if (height < 1 || width < 1 || height > VDM_MAX_SIDE || width > VDM_MAX_SIDE)
        return vdm_fail(err, "size: found %d x %d, expected a height and width of 1 to %d", height, width,
                        VDM_MAX_SIDE);
    *to = (vdm_picture){height, width, vdm_alloc((size_t)height * (size_t)width, 3, "a picture", err)};
    if (!to->rgb) return -1;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int64_t row = (2 * (int64_t)y + 1) * from->height / (2 * height),
                    col = (2 * (int64_t)x + 1) * from->width / (2 * width);
            memcpy(to->rgb + 3 * ((size_t)y * (size_t)width + (size_t)x),
                   from->rgb + 3 * (row * from->width + col), 3);
        }
    return 0;
}

int vdm_example_picture(vdm_picture *p, const vdm_task *t, const vdm_example *e, vdm_side side, int height,
                        int width, vdm_error *err)
{
    vdm_picture file;
    if (e->x) {
        const vdm_grid *grid = side == VDM_OUTPUT ? e->y : e->x;
        vdm_grid seen = *grid;
        if (t->view) vdm_view_grid(&seen, grid, t->view, VDM_INTO_VIEW);
        return vdm_arc_render(p, &seen, &t->grid, height, width, err);
    }
    *p = (vdm_picture){0};
    const char *path = side == VDM_OUTPUT ? e->output : e->input;
    unsigned notes;
    if (vdm_picture_read_noted(&file, path, &notes, err)) return -1;
    note(t->notes, notes, path);
    bool classes = t->metric == VDM_METRIC_MIOU && side == VDM_OUTPUT;
    int status = classes ? resize_classes(p, &file, height, width, err)
                         : vdm_picture_resize(p, &file, height, width, err);
    vdm_picture_free(&file);
    return status || !t->view ? status : vdm_view_picture(p, &t->grid, t->view, VDM_INTO_VIEW, err);
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

/* The name of an example is its number: "2". */
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
        snprintf(name, sizeof name, "%d", i);
        e->name = vdm_copy_text(name, err);
        e->input = vdm_copy_text(path, err);
        e->output = known ? vdm_copy_text(path, err) : NULL;
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
    t->path = vdm_copy_text(t->arc.path, err);
    t->name = vdm_copy_text(t->arc.name, err);
    if (!t->path || !t->name) goto fail;
    if (name_examples(&t->train, &t->n_train, t->arc.train, t->arc.n_train, t->path, err)) goto fail;
    if (name_examples(&t->test, &t->n_test, t->arc.test, t->arc.n_test, t->path, err)) goto fail;
    return 0;
fail:
    vdm_task_free(t);
    return -1;
}
