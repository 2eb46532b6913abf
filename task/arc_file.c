#include "vdm_task.h"
#include "files/fields.h"

#include <math.h>
#include <string.h>

/* Where the reader is, for its sentences: "train[2].output[0][3]". */
typedef struct place {
    const vdm_json *j;
    const char *path, *part, *side;
    int pair, row, col; /* -1: not so deep */
    vdm_error *err;
} place;

static int refuse(const place *p, const vdm_json_node *v, const char *expected)
{
    char at[160];
    int n = snprintf(at, sizeof at, "%s", p->part);
    if (p->pair >= 0) n += snprintf(at + n, sizeof at - (size_t)n, "[%d]", p->pair);
    if (p->side) n += snprintf(at + n, sizeof at - (size_t)n, ".%s", p->side);
    if (p->row >= 0) n += snprintf(at + n, sizeof at - (size_t)n, "[%d]", p->row);
    if (p->col >= 0) snprintf(at + n, sizeof at - (size_t)n, "[%d]", p->col);
    return vdm_refuse_value(p->err, p->path, at, v, expected);
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
    if (!is_side(row)) return refuse(p, row, "an array of 1 to 30 numbers");
    if (p->row == 0) g->cols = (int)row->children;
    snprintf(expected, sizeof expected, "%d numbers, as in the first row", g->cols);
    if (row->children != g->cols) return refuse(p, row, expected);
    p->col = 0;
    for (const vdm_json_node *v = first_child(row); v; v = vdm_json_next(p->j, v), p->col++) {
        if (v->kind != VDM_JSON_NUMBER || !(v->number >= 0 && v->number <= 9) ||
            v->number != floor(v->number))
            return refuse(p, v, "an integer from 0 to 9");
        g->cells[p->row * g->cols + p->col] = (uint8_t)v->number;
    }
    p->col = -1;
    return 0;
}

static int read_grid(place *p, const vdm_json_node *v, vdm_grid *g)
{
    if (!is_side(v)) return refuse(p, v, "an array of 1 to 30 rows");
    g->rows = (int)v->children;
    p->row = 0;
    for (const vdm_json_node *row = first_child(v); row; row = vdm_json_next(p->j, row), p->row++)
        if (read_row(p, row, g)) return -1;
    p->row = -1;
    return 0;
}

static int read_pair(place *p, const vdm_json_node *v, vdm_arc_pair *pair, bool need_output)
{
    if (v->kind != VDM_JSON_OBJECT) return refuse(p, v, "an object with input and output");
    const vdm_json_node *x = vdm_json_get(p->j, v, "input"), *y = vdm_json_get(p->j, v, "output");
    p->side = "input";
    if (!x) return refuse(p, NULL, "a grid");
    if (read_grid(p, x, &pair->x)) return -1;
    p->side = "output";
    if (!y && need_output) return refuse(p, NULL, "a grid");
    if (y && read_grid(p, y, &pair->y)) return -1;
    p->side = NULL;
    return 0;
}

static int read_part(place *p, const char *part, bool need_output, vdm_arc_pair **pairs, int *n)
{
    const vdm_json_node *list = vdm_json_get(p->j, p->j->nodes, part);
    p->part = part;
    p->pair = p->row = p->col = -1;
    p->side = NULL;
    if (!list || list->kind != VDM_JSON_ARRAY || list->children < 1 || list->children > VDM_MAX_ARC_PAIRS)
        return refuse(p, list, "an array of pairs, one at least");
    *pairs = vdm_alloc((size_t)list->children, sizeof **pairs, "the pairs of a task", p->err);
    if (!*pairs) return -1;
    *n = (int)list->children;
    p->pair = 0;
    for (const vdm_json_node *v = first_child(list); v; v = vdm_json_next(p->j, v), p->pair++)
        if (read_pair(p, v, &(*pairs)[p->pair], need_output)) return -1;
    return 0;
}

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

int vdm_arc_read(vdm_arc *a, const char *path, vdm_error *err)
{
    vdm_json j;
    *a = (vdm_arc){0};
    if (vdm_json_read(&j, path, err)) return -1;
    place p = {.j = &j, .path = path, .part = "document", .pair = -1, .row = -1, .col = -1, .err = err};
    int status = j.nodes->kind == VDM_JSON_OBJECT ? 0 : refuse(&p, j.nodes, "an object with train and test");
    if (!status)
        status = read_part(&p, "train", true, &a->train, &a->n_train) ||
                         read_part(&p, "test", false, &a->test, &a->n_test) || name_task(a, path, err)
                     ? -1
                     : 0;
    vdm_json_free(&j);
    if (status) vdm_arc_free(a);
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
