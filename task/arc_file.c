/* Files of ARC-AGI tasks.
 *
 *   {"train": [{"input": grid, "output": grid}, ...], "test": [{"input": grid}, ...]}   a task
 *   [{"input": grid, "output": grid}, ...]                  a task of re-arc: the last pair is the test
 *   {"ID": task, ...}, in another file {"ID": [grid, ...]}  ARC Prize's challenges and their solutions
 *
 * A task of a collection has the path challenges.json/ID.json. Its solutions are taken from the file with "solutions"
 * instead of "challenges" in its name, if there is one; an output may be missing or null in tests. */
#include "vdm_task.h"
#include "files/fields.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* The reader's place, for messages: "train[2].output[0][3]". */
typedef struct place {
    const vdm_json *j;
    const vdm_json_node *task;
    const char *path, *id, *part, *side; /* id: of a collection's task, or NULL */
    int pair, row, col;                  /* -1: above that level */
    vdm_error *err;
} place;

static int reject(const place *p, const vdm_json_node *v, const char *expected)
{
    char at[160];
    int n = snprintf(at, sizeof at, "%.60s%s%.60s", p->id ? p->id : "", p->id ? "." : "", p->part);
    if (p->pair >= 0) n += snprintf(at + n, sizeof at - (size_t)n, "[%d]", p->pair);
    if (p->side) n += snprintf(at + n, sizeof at - (size_t)n, ".%s", p->side);
    if (p->row >= 0) n += snprintf(at + n, sizeof at - (size_t)n, "[%d]", p->row);
    if (p->col >= 0) snprintf(at + n, sizeof at - (size_t)n, "[%d]", p->col);
    return vdm_reject_value(p->err, p->path, at, v, expected);
}

static const vdm_json_node *first_child(const vdm_json_node *v)
{
    return v->children ? v + 1 : NULL;
}

static bool is_side(const vdm_json_node *v)
{
    return v->kind == VDM_JSON_ARRAY && v->children >= 1 && v->children <= VDM_MAX_GRID;
}

static int read_row(place *p, const vdm_json_node *row, vdm_grid *g)
{
    char expected[64];
    if (!is_side(row)) return reject(p, row, "an array of 1 to 30 numbers");
    if (p->row == 0) g->cols = (int)row->children;
    snprintf(expected, sizeof expected, "%d numbers, as in the first row", g->cols);
    if (row->children != g->cols) return reject(p, row, expected);
    p->col = 0;
    for (const vdm_json_node *v = first_child(row); v; v = vdm_json_next(p->j, v), p->col++) {
        if (v->kind != VDM_JSON_NUMBER || !(v->number >= 0 && v->number <= 9) ||
            v->number != floor(v->number))
            return reject(p, v, "an integer from 0 to 9");
        g->cells[p->row * g->cols + p->col] = (uint8_t)v->number;
    }
    p->col = -1;
    return 0;
}

static int read_grid(place *p, const vdm_json_node *v, vdm_grid *g)
{
    if (!is_side(v)) return reject(p, v, "an array of 1 to 30 rows");
    g->rows = (int)v->children;
    p->row = 0;
    for (const vdm_json_node *row = first_child(v); row; row = vdm_json_next(p->j, row), p->row++)
        if (read_row(p, row, g)) return -1;
    p->row = -1;
    return 0;
}

static int read_pair(place *p, const vdm_json_node *v, vdm_arc_pair *pair, bool need_output)
{
    if (v->kind != VDM_JSON_OBJECT) return reject(p, v, "an object with input and output");
    const vdm_json_node *x = vdm_json_get(p->j, v, "input"), *y = vdm_json_get(p->j, v, "output");
    p->side = "input";
    if (!x) return reject(p, NULL, "a grid");
    if (read_grid(p, x, &pair->x)) return -1;
    p->side = "output";
    if (!y && need_output) return reject(p, NULL, "a grid");
    bool open = y && y->kind == VDM_JSON_NULL && !need_output; /* an answer that is not known */
    if (y && !open && read_grid(p, y, &pair->y)) return -1;
    p->side = NULL;
    return 0;
}

static int read_part(place *p, const char *part, bool need_output, vdm_arc_pair **pairs, int *n)
{
    const vdm_json_node *list = vdm_json_get(p->j, p->task, part);
    p->part = part;
    p->pair = p->row = p->col = -1;
    p->side = NULL;
    if (!list || list->kind != VDM_JSON_ARRAY || list->children < 1 || list->children > VDM_MAX_ARC_PAIRS)
        return reject(p, list, "an array of 1 to 10000 pairs");
    *pairs = vdm_alloc((size_t)list->children, sizeof **pairs, "the pairs of a task", p->err);
    if (!*pairs) return -1;
    *n = (int)list->children;
    p->pair = 0;
    for (const vdm_json_node *v = first_child(list); v; v = vdm_json_next(p->j, v), p->pair++)
        if (read_pair(p, v, &(*pairs)[p->pair], need_output)) return -1;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Collections: ARC Prize's challenges, a task a key, and their solutions */

/* Fills in the answers that the task leaves open; one that it has must be the same. */
static int take_solutions(place *p, vdm_arc *a, const vdm_json_node *list)
{
    const vdm_json_node *v = first_child(list);
    p->pair = 0;
    for (; p->pair < a->n_test; v = vdm_json_next(p->j, v), p->pair++) {
        vdm_grid *known = &a->test[p->pair].y, g = {0};
        if (v->kind == VDM_JSON_NULL) continue;
        if (read_grid(p, v, &g)) return -1;
        if (known->rows && !vdm_grid_equal(known, &g))
            return reject(p, v, "the output that the task has itself");
        *known = g;
    }
    return 0;
}

/* {"ID": [grid, ...], ...}. On success it has to be freed. */
static int open_solutions(vdm_json *j, const char *path, vdm_error *err)
{
    if (vdm_json_read(j, path, err)) return -1;
    if (j->nodes->kind == VDM_JSON_OBJECT) return 0;
    vdm_reject_value(err, path, "document", j->nodes, "an object with the answers to each task, by its ID");
    vdm_json_free(j);
    return -1;
}

/* The answers to tests that the task itself leaves open. */
static int read_solutions(vdm_arc *a, const vdm_arc_collection *c, const char *id, vdm_error *err)
{
    place p = {.j = &c->solutions,
               .path = c->solutions_path,
               .part = id,
               .pair = -1,
               .row = -1,
               .col = -1,
               .err = err};
    const vdm_json_node *list = vdm_json_get(&c->solutions, c->solutions.nodes, id);
    if (list && (list->kind != VDM_JSON_ARRAY || list->children != a->n_test))
        return reject(&p, list, "an array with an answer for each test");
    return list ? take_solutions(&p, a, list) : 0;
}

/* "x/arc-agi_test_solutions.json" of "x/arc-agi_test_challenges.json", if there is such a file; or NULL. */
static char *solutions_of(const char *path, vdm_error *err)
{
    static const char challenges[] = "challenges", solutions[] = "solutions";
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path, *at = strstr(name, challenges);
    struct stat info;
    if (!at) return NULL;
    size_t size = strlen(path) + 1;
    char *to = vdm_alloc(size, 1, "a path", err);
    if (!to) return NULL;
    snprintf(to, size, "%.*s%s%s", (int)(at - path), path, solutions, at + strlen(challenges));
    if (stat(to, &info) == 0) return to;
    vdm_free(to);
    return NULL;
}

int vdm_arc_solutions_check(const char *path, vdm_error *err)
{
    vdm_json j;
    vdm_error why = {""};
    char *solutions = solutions_of(path, &why);
    if (!solutions) return *why.text ? vdm_fail(err, "%s", why.text) : 0;
    int status = open_solutions(&j, solutions, err);
    if (!status) vdm_json_free(&j);
    vdm_free(solutions);
    return status;
}

/* Every member is a task: an object with train. */
static bool is_collection(const vdm_json *j)
{
    const vdm_json_node *root = j->nodes;
    if (root->kind != VDM_JSON_OBJECT || !root->children) return false;
    for (const vdm_json_node *v = root + 1; v; v = vdm_json_next(j, v))
        if (v->kind != VDM_JSON_OBJECT || !vdm_json_get(j, v, "train")) return false;
    return true;
}

void vdm_arc_ids_free(vdm_arc_ids *ids)
{
    for (int i = 0; i < ids->n; i++) vdm_free(ids->id[i]);
    vdm_free(ids->id);
    *ids = (vdm_arc_ids){0};
}

int vdm_arc_ids_read(vdm_arc_ids *ids, const char *path, vdm_error *err)
{
    vdm_json j;
    *ids = (vdm_arc_ids){0};
    if (vdm_json_read(&j, path, err)) return -1;
    int status = 0;
    if (is_collection(&j)) {
        ids->id = vdm_alloc((size_t)j.nodes->children, sizeof *ids->id, "the tasks of a file", err);
        status = ids->id ? 0 : -1;
        for (const vdm_json_node *v = j.nodes + 1; v && !status; v = vdm_json_next(&j, v)) {
            if (!*v->key || strlen(v->key) > VDM_MAX_NAME || strchr(v->key, '/'))
                status = vdm_fail(err, "%s: found a task '%.60s', expected a name without /", path, v->key);
            else if (!(ids->id[ids->n] = vdm_copy_text(v->key, err)))
                status = -1;
            else
                ids->n++;
        }
    }
    vdm_json_free(&j);
    if (status) vdm_arc_ids_free(ids);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * A task */

/* path; and "0a1b" of "tasks/0a1b.json" as name. */
static int name_task(vdm_arc *a, const char *path, vdm_error *err)
{
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t n = strlen(name);
    if (n > 5 && strcmp(name + n - 5, ".json") == 0) n -= 5;
    a->path = vdm_copy_text(path, err);
    a->name = vdm_copy_bytes(name, n, err);
    return a->path && a->name ? 0 : -1;
}

/* [{"input": ..., "output": ...}, ...], as re-arc writes its examples of a task: the last pair is the test. */
static int read_list(place *p, vdm_arc *a)
{
    const vdm_json_node *list = p->j->nodes;
    if (list->children < 2 || list->children > VDM_MAX_ARC_PAIRS)
        return reject(p, list, "an object with train and test, or an array of 2 to 10000 pairs");
    a->train = vdm_alloc((size_t)list->children, sizeof *a->train, "the pairs of a task", p->err);
    a->test = vdm_alloc(1, sizeof *a->test, "the pairs of a task", p->err);
    if (!a->train || !a->test) return -1;
    p->part = "";
    p->pair = 0;
    for (const vdm_json_node *v = first_child(list); v; v = vdm_json_next(p->j, v), p->pair++)
        if (read_pair(p, v, &a->train[p->pair], true)) return -1;
    a->n_train = (int)list->children - 1;
    a->n_test = 1;
    a->test[0] = a->train[a->n_train];
    return 0;
}

static int read_object(place *p, vdm_arc *a)
{
    if (p->task->kind != VDM_JSON_OBJECT) return reject(p, p->task, "an object with train and test");
    if (read_part(p, "train", true, &a->train, &a->n_train)) return -1;
    return read_part(p, "test", false, &a->test, &a->n_test);
}

/* The task `id` of a collection. */
static int read_member(vdm_arc *a, const vdm_arc_collection *c, const char *id, vdm_error *err)
{
    const vdm_json *j = &c->tasks;
    place p = {
        .j = j, .path = c->path, .id = id, .part = "document", .pair = -1, .row = -1, .col = -1, .err = err};
    p.task = is_collection(j) ? vdm_json_get(j, j->nodes, id) : NULL;
    if (!p.task) return vdm_fail(err, "%s: expected a task '%.60s' in it, found none", c->path, id);
    if (read_object(&p, a)) return -1;
    return c->solutions_path ? read_solutions(a, c, id, err) : 0;
}

static int read_file(vdm_arc *a, const char *file, vdm_error *err)
{
    vdm_json j;
    if (vdm_json_read(&j, file, err)) return -1;
    place p = {.j = &j,
               .task = j.nodes,
               .path = file,
               .part = "document",
               .pair = -1,
               .row = -1,
               .col = -1,
               .err = err};
    int status;
    if (j.nodes->kind == VDM_JSON_ARRAY)
        status = read_list(&p, a);
    else if (is_collection(&j))
        status =
            vdm_fail(err, "%s: found a file of %lld tasks, expected one task: %s/ID.json, as %s/%.60s.json",
                     file, (long long)j.nodes->children, file, file, j.nodes[1].key);
    else
        status = read_object(&p, a);
    vdm_json_free(&j);
    return status;
}

void vdm_arc_collection_close(vdm_arc_collection *c)
{
    vdm_free(c->path);
    vdm_free(c->solutions_path);
    vdm_json_free(&c->tasks);
    vdm_json_free(&c->solutions);
    *c = (vdm_arc_collection){0};
}

/* Opens the file and its solutions, unless they are open. */
static int open_collection(vdm_arc_collection *c, const char *path, vdm_error *err)
{
    vdm_error why = {""};
    if (c->path && strcmp(c->path, path) == 0) return 0;
    vdm_arc_collection_close(c);
    int status = (c->path = vdm_copy_text(path, err)) ? vdm_json_read(&c->tasks, path, err) : -1;
    if (!status) c->solutions_path = solutions_of(path, &why);
    if (*why.text) status = vdm_fail(err, "%s", why.text);
    if (c->solutions_path) status = open_solutions(&c->solutions, c->solutions_path, err);
    if (status) vdm_arc_collection_close(c);
    return status;
}

int vdm_arc_read_from(vdm_arc *a, vdm_arc_collection *c, const char *path, vdm_error *err)
{
    struct stat info;
    const char *slash = strrchr(path, '/');
    *a = (vdm_arc){0};
    char *file =
        name_task(a, path, err) ? NULL : vdm_copy_bytes(path, slash ? (size_t)(slash - path) : 0, err);
    int status = file ? 0 : -1;
    if (file && stat(file, &info) == 0 && S_ISREG(info.st_mode))
        status = open_collection(c, file, err) ? -1 : read_member(a, c, a->name, err);
    else if (file)
        status = read_file(a, path, err);
    vdm_free(file);
    if (status) vdm_arc_free(a);
    return status;
}

int vdm_arc_read(vdm_arc *a, const char *path, vdm_error *err)
{
    vdm_arc_collection c = {0};
    int status = vdm_arc_read_from(a, &c, path, err);
    vdm_arc_collection_close(&c);
    return status;
}

void vdm_arc_free(vdm_arc *a)
{
    vdm_free(a->path);
    vdm_free(a->name);
    vdm_free(a->train);
    vdm_free(a->test);
    *a = (vdm_arc){0};
}
