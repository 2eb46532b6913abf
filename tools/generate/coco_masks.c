/* COCO's masks, pixel for pixel as pycocotools paints them.
 *
 *   polygons or runs  ->  parity [W,H] down the columns  ->  mask [H,W]
 *
 * A run-length mask counts pixels down the columns, off and on by turns, off first. A polygon becomes one,
 * too: its edges are walked in steps of a fifth of a pixel, and where an edge goes from one column's centre
 * to the next, the pixels below change. What a pixel's centre decides follows from the rounding of maskApi.c
 * (rleFrPoly), which is kept, its quirks included: coordinates are cut towards zero after + 0.5, so that
 * negative ones round otherwise. */
#include "tools/generate/coco_masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One mask while it is drawn. */
struct canvas {
    uint8_t *flip; /* [W * H + 1]: the mask changes from here on, down the columns */
    int H, W;
    const char *where;
    vdm_error *err;
};

/* ------------------------------------------------------------------------------------------------
 * Polygons */

enum { SCALE = 5 };
struct point {
    int x, y;
};

/* The edge went from (x0, y0) to (x1, y1), one step. Between two columns of fifths: where a pixel's centre
 * is, it changes the column from its own height on. */
static void cross(struct canvas *c, int x0, int y0, int x1, int y1)
{
    if (x0 == x1) return;
    double x = ((x1 < x0 ? x1 : x1 - 1) + 0.5) / SCALE - 0.5, y = ((y1 < y0 ? y1 : y0) + 0.5) / SCALE - 0.5;
    if (floor(x) != x || x < 0 || x > c->W - 1) return;
    y = ceil(y < 0 ? 0 : y > c->H ? c->H : y);
    c->flip[(size_t)x * (size_t)c->H + (size_t)y] ^= 1;
}

/* Walks from a to b; `last` is the step before, which has to be known between edges. */
static void walk_edge(struct canvas *c, struct point a, struct point b, struct point *last, bool *started)
{
    int dx = abs(b.x - a.x), dy = abs(b.y - a.y), steps = dx >= dy ? dx : dy;
    bool flat = dx >= dy, back = flat ? a.x > b.x : a.y > b.y;
    struct point from = back ? b : a, to = back ? a : b; /* always walked up: the same rounding both ways */
    double slope = steps ? (flat ? (double)(to.y - from.y) : (double)(to.x - from.x)) / steps : 0;
    for (int d = 0; d <= steps; d++) {
        int t = back ? steps - d : d;
        struct point p = flat ? (struct point){from.x + t, (int)(from.y + slope * t + 0.5)}
                              : (struct point){(int)(from.x + slope * t + 0.5), from.y + t};
        if (*started) cross(c, last->x, last->y, p.x, p.y);
        *last = p;
        *started = true;
    }
}

static int read_point(struct point *p, const struct canvas *c, const vdm_json *j, const vdm_json_node **v)
{
    int *to[] = {&p->x, &p->y};
    for (int i = 0; i < 2; i++, *v = vdm_json_next(j, *v)) {
        if ((*v)->kind != VDM_JSON_NUMBER || fabs((*v)->number) > 4.0 * VDM_MAX_SIDE)
            return vdm_fail(c->err, "%s: segmentation: expected coordinates within %d, found %.60s", c->where,
                            4 * VDM_MAX_SIDE, (*v)->kind == VDM_JSON_NUMBER ? (*v)->text : "no number");
        *to[i] = (int)(SCALE * (*v)->number + 0.5);
    }
    return 0;
}

static int draw_polygon(struct canvas *c, const vdm_json *j, const vdm_json_node *polygon)
{
    enum { LEAST = 6 };
    struct point first, a, b, last = {0, 0};
    bool started = false;
    if (polygon->kind != VDM_JSON_ARRAY || polygon->children < LEAST || polygon->children % 2)
        return vdm_fail(c->err,
                        "%s: segmentation: expected polygons of x and y by turns, of three points at least, "
                        "found %lld numbers",
                        c->where, polygon->kind == VDM_JSON_ARRAY ? (long long)polygon->children : 0LL);
    const vdm_json_node *v = polygon + 1;
    if (read_point(&first, c, j, &v)) return -1;
    for (a = first; v; a = b) {
        if (read_point(&b, c, j, &v)) return -1;
        walk_edge(c, a, b, &last, &started);
    }
    walk_edge(c, a, first, &last, &started);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Runs */

/* Ends a run of n pixels at *at. */
static int end_run(struct canvas *c, int64_t *at, int64_t n)
{
    int64_t all = (int64_t)c->H * c->W;
    if (n < 0 || n > all - *at)
        return vdm_fail(
            c->err,
            "%s: segmentation.counts: expected runs of %lld pixels in all, found more, or less than 0",
            c->where, (long long)all);
    *at += n;
    c->flip[*at] ^= 1;
    return 0;
}

static int draw_counts(struct canvas *c, int64_t *at, const vdm_json *j, const vdm_json_node *counts)
{
    for (const vdm_json_node *v = counts->children ? counts + 1 : NULL; v; v = vdm_json_next(j, v)) {
        if (v->kind != VDM_JSON_NUMBER || v->number != floor(v->number) || fabs(v->number) > 1e12)
            return vdm_fail(c->err, "%s: segmentation.counts: expected whole numbers, found %.60s", c->where,
                            v->kind == VDM_JSON_NUMBER ? v->text : "something else");
        if (end_run(c, at, (int64_t)v->number)) return -1;
    }
    return 0;
}

/* Five bits a character from '0' on, the lowest first; 32: more follow; the sign is the last one's 16. From
 * the third on, a number is the difference to the one two before. */
static int draw_text(struct canvas *c, int64_t *at, const char *text)
{
    enum { MOST = 7 }; /* characters: 35 bits */
    int64_t before[2] = {0, 0};
    for (int64_t i = 0; *text; i++) {
        int64_t n = 0;
        bool more = true;
        for (int k = 0; more; k++, text++) {
            int v = *text - 48;
            if (v < 0 || v > 63 || k == MOST)
                return vdm_fail(c->err,
                                "%s: segmentation.counts: expected COCO's compressed runs, found '%.20s'",
                                c->where, text);
            n |= (int64_t)(v & 31) << 5 * k;
            more = v & 32;
            if (!more && (v & 16)) n -= (int64_t)1 << 5 * (k + 1);
        }
        if (i > 2) n += before[i % 2];
        before[i % 2] = n;
        if (end_run(c, at, n)) return -1;
    }
    return 0;
}

static bool is_side(const vdm_json_node *v, int side)
{
    return v && v->kind == VDM_JSON_NUMBER && v->number == side;
}

static int draw_runs(struct canvas *c, const vdm_json *j, const vdm_json_node *s)
{
    const vdm_json_node *size = vdm_json_get(j, s, "size"), *counts = vdm_json_get(j, s, "counts");
    int64_t at = 0, all = (int64_t)c->H * c->W;
    bool fits = size && size->kind == VDM_JSON_ARRAY && size->children == 2 && is_side(size + 1, c->H) &&
                is_side(vdm_json_next(j, size + 1), c->W);
    if (!fits)
        return vdm_fail(c->err, "%s: segmentation.size: expected [%d, %d], as the picture has, found another",
                        c->where, c->H, c->W);
    int status = counts && counts->kind == VDM_JSON_STRING  ? draw_text(c, &at, counts->text)
                 : counts && counts->kind == VDM_JSON_ARRAY ? draw_counts(c, &at, j, counts)
                                                            : 1;
    if (status > 0)
        return vdm_fail(c->err, "%s: segmentation.counts: expected a list or a text, found neither",
                        c->where);
    if (status == 0 && at != all)
        return vdm_fail(c->err, "%s: segmentation.counts: expected runs of %lld pixels in all, found %lld",
                        c->where, (long long)all, (long long)at);
    return status;
}

/* ------------------------------------------------------------------------------------------------ */

/* The parity of all changes so far, and a clean canvas for the next. */
static void paint(uint8_t *mask, struct canvas *c, uint8_t value)
{
    uint8_t on = 0;
    size_t H = (size_t)c->H, W = (size_t)c->W;
    for (size_t i = 0; i < H * W; i++) {
        on ^= c->flip[i];
        if (on) mask[i % H * W + i / H] = value;
    }
    memset(c->flip, 0, H * W + 1);
}

int mask_draw(uint8_t *mask, int H, int W, uint8_t value, const vdm_json *j,
              const vdm_json_node *segmentation, const char *where, vdm_error *err)
{
    struct canvas c = {vdm_alloc((size_t)H * (size_t)W + 1, 1, "a mask", err), H, W, where, err};
    int status = c.flip ? 0 : -1;
    if (status) return -1;
    if (segmentation && segmentation->kind == VDM_JSON_OBJECT) {
        status = draw_runs(&c, j, segmentation);
        if (!status) paint(mask, &c, value);
    } else if (segmentation && segmentation->kind == VDM_JSON_ARRAY) {
        const vdm_json_node *p = segmentation->children ? segmentation + 1 : NULL;
        for (; p && !status; p = vdm_json_next(j, p)) {
            status = draw_polygon(&c, j, p);
            if (!status) paint(mask, &c, value);
        }
    } else {
        status = vdm_fail(err, "%s: segmentation: expected polygons or runs, found neither", where);
    }
    vdm_free(c.flip);
    return status;
}
