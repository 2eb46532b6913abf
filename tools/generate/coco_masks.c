/* COCO's masks, pixel for pixel as pycocotools paints them.
 *
 *   polygons or runs  ->  parity [W,H] down the columns  ->  mask [H,W]
 *
 * A run-length mask counts pixels down the columns, alternately off and on, off first. A polygon becomes one, too: its
 * edges are walked in steps of a fifth of a pixel, and where an edge passes from one column's centre to the next, the
 * pixels below change. Which centre a point belongs to follows from the rounding of maskApi.c (rleFrPoly), kept with
 * its quirks: coordinates are truncated towards zero after + 0.5, so that negative ones round differently. */
#include "tools/generate/coco_masks.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* One mask while it is drawn, or only measured. */
struct canvas {
    uint8_t *flip; /* [W * H + 1]: the mask changes from here on, down the columns; NULL: it is not drawn */
    int H, W;
    double area; /* of polygons as if they did not overlap; of runs that are on */
    const char *where;
    vdm_error *err;
};

/* ------------------------------------------------------------------------------------------------
 * Polygons */

enum { SCALE = 5 };
struct point {
    int x, y;
};

/* A step of an edge from (x0, y0) to (x1, y1), in fifths of a pixel. If it passes the centre of a column, the column
 * changes from that height on. */
static void cross(struct canvas *c, int x0, int y0, int x1, int y1)
{
    if (x0 == x1) return;
    double x = ((x1 < x0 ? x1 : x1 - 1) + 0.5) / SCALE - 0.5, y = ((y1 < y0 ? y1 : y0) + 0.5) / SCALE - 0.5;
    if (floor(x) != x || x < 0 || x > c->W - 1) return;
    y = ceil(y < 0 ? 0 : y > c->H ? c->H : y);
    c->flip[(size_t)x * (size_t)c->H + (size_t)y] ^= 1;
}

/* An edge, always walked up its longer axis: the same rounding both ways. */
struct edge {
    struct point from, to;
    bool flat; /* its longer axis is x */
    int steps;
    double slope;
};

static struct edge edge_between(struct point a, struct point b)
{
    int dx = abs(b.x - a.x), dy = abs(b.y - a.y);
    bool flat = dx >= dy, back = flat ? a.x > b.x : a.y > b.y;
    struct edge e = {back ? b : a, back ? a : b, flat, flat ? dx : dy, 0};
    if (e.steps) e.slope = (double)(flat ? e.to.y - e.from.y : e.to.x - e.from.x) / e.steps;
    return e;
}

static struct point edge_point(const struct edge *e, int t)
{
    return e->flat ? (struct point){e->from.x + t, (int)(e->from.y + e->slope * t + 0.5)}
                   : (struct point){(int)(e->from.x + e->slope * t + 0.5), e->from.y + t};
}

/* Whether the edge is at or past x after t steps: it never turns back. */
static bool reached(const struct edge *e, int t, int x)
{
    int at = edge_point(e, t).x;
    return e->to.x >= e->from.x ? at >= x : at <= x;
}

/* The first step after t at which the edge reaches x; steps + 1: none. */
static int first_step_at(const struct edge *e, int t, int x)
{
    int before = t, after = t + 1;
    if (t >= e->steps || !reached(e, e->steps, x)) return e->steps + 1;
    while (!reached(e, after, x)) {
        before = after;
        after = after - t > e->steps - after ? e->steps : after + (after - t);
    }
    while (after - before > 1) {
        int middle = before + (after - before) / 2;
        if (reached(e, middle, x))
            after = middle;
        else
            before = middle;
    }
    return after;
}

/* Crosses wherever x changes, from just outside the picture on one side to just outside on the other: the work is
 * bounded by the picture, however far the edge leads. maskApi.c also crosses from the last point of an edge to the
 * first of the next; these differ only left of the picture, where nothing is drawn. */
static void walk_edge(struct canvas *c, struct point a, struct point b)
{
    const struct edge e = edge_between(a, b);
    int direction = e.to.x >= e.from.x ? 1 : -1, left = -SCALE, right = SCALE * (c->W + 1);
    int start = direction > 0 ? left : right, end = direction > 0 ? right : left, x = edge_point(&e, 0).x;
    if (direction * (start - x) > 0) x = start - direction;
    for (int t = 0; direction * (end - x) > 0;) {
        t = first_step_at(&e, t, x + direction);
        if (t > e.steps) return;
        struct point p = edge_point(&e, t - 1), q = edge_point(&e, t);
        cross(c, p.x, p.y, q.x, q.y);
        x = q.x;
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
    enum { MIN_NUMBERS = 6 };
    struct point first, a, b;
    if (polygon->kind != VDM_JSON_ARRAY || polygon->children < MIN_NUMBERS || polygon->children % 2)
        return vdm_fail(
            c->err,
            "%s: segmentation: expected polygons of alternating x and y, of at least three points, "
            "found %lld numbers",
            c->where, polygon->kind == VDM_JSON_ARRAY ? (long long)polygon->children : 0LL);
    const vdm_json_node *v = polygon + 1;
    double twice = 0; /* the area, by the shoelace formula */
    if (read_point(&first, c, j, &v)) return -1;
    for (a = first; v; a = b) {
        if (read_point(&b, c, j, &v)) return -1;
        twice += (double)a.x * b.y - (double)b.x * a.y;
        if (c->flip) walk_edge(c, a, b);
    }
    twice += (double)a.x * first.y - (double)first.x * a.y;
    if (c->flip) walk_edge(c, a, first);
    c->area += fabs(twice) / (2 * SCALE * SCALE);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Runs */

/* Ends a run of n pixels at *at. */
static int end_run(struct canvas *c, int64_t *at, int64_t n, bool on)
{
    int64_t all = (int64_t)c->H * c->W;
    if (n < 0 || n > all - *at)
        return vdm_fail(
            c->err,
            "%s: segmentation.counts: expected runs of %lld pixels in all, found more, or less than 0",
            c->where, (long long)all);
    *at += n;
    if (on) c->area += (double)n;
    if (c->flip) c->flip[*at] ^= 1;
    return 0;
}

static int draw_counts(struct canvas *c, int64_t *at, const vdm_json *j, const vdm_json_node *counts)
{
    bool on = false;
    for (const vdm_json_node *v = counts->children ? counts + 1 : NULL; v;
         v = vdm_json_next(j, v), on = !on) {
        if (v->kind != VDM_JSON_NUMBER || v->number != floor(v->number) || fabs(v->number) > 1e12)
            return vdm_fail(c->err, "%s: segmentation.counts: expected integers, found %.60s", c->where,
                            v->kind == VDM_JSON_NUMBER ? v->text : "something else");
        if (end_run(c, at, (int64_t)v->number, on)) return -1;
    }
    return 0;
}

/* Five bits a character, counted from '0', the lowest first; bit 32: more follow; bit 16 of the last one is the sign.
 * From the third on, a number is the difference from the one two before. */
static int draw_text(struct canvas *c, int64_t *at, const char *text)
{
    enum { MAX_CHARACTERS = 7 }; /* characters: 35 bits */
    int64_t before[2] = {0, 0};
    for (int64_t i = 0; *text; i++) {
        int64_t n = 0;
        bool more = true;
        for (int k = 0; more; k++, text++) {
            int v = *text - 48;
            if (v < 0 || v > 63 || k == MAX_CHARACTERS)
                return vdm_fail(c->err,
                                "%s: segmentation.counts: expected COCO's compressed runs, found '%.20s'",
                                c->where, text);
            n |= (int64_t)(v & 31) << 5 * k;
            more = v & 32;
            if (!more && (v & 16)) n -= (int64_t)1 << 5 * (k + 1);
        }
        if (i > 2) n += before[i % 2];
        before[i % 2] = n;
        if (end_run(c, at, n, i % 2)) return -1;
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
        return vdm_fail(c->err,
                        "%s: segmentation.size: expected [%d, %d], the size of the picture, found another",
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

/* Paints the parity of all changes so far, and clears the canvas for the next. */
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

/* The whole segmentation; mask NULL: it is only measured. */
static int walk_segmentation(struct canvas *c, uint8_t *mask, uint8_t value, const vdm_json *j,
                             const vdm_json_node *segmentation)
{
    int status = 0;
    if (segmentation && segmentation->kind == VDM_JSON_OBJECT) {
        status = draw_runs(c, j, segmentation);
        if (!status && mask) paint(mask, c, value);
        return status;
    }
    if (!segmentation || segmentation->kind != VDM_JSON_ARRAY || !segmentation->children)
        return vdm_fail(c->err, "%s: segmentation: expected polygons or runs, found %s", c->where,
                        segmentation && segmentation->kind == VDM_JSON_ARRAY ? "an empty list" : "neither");
    for (const vdm_json_node *p = segmentation + 1; p && !status; p = vdm_json_next(j, p)) {
        status = draw_polygon(c, j, p);
        if (!status && mask) paint(mask, c, value);
    }
    return status;
}

int mask_draw(uint8_t *mask, int H, int W, uint8_t value, const vdm_json *j,
              const vdm_json_node *segmentation, const char *where, vdm_error *err)
{
    struct canvas c = {vdm_alloc((size_t)H * (size_t)W + 1, 1, "a mask", err), H, W, 0, where, err};
    int status = c.flip ? walk_segmentation(&c, mask, value, j, segmentation) : -1;
    vdm_free(c.flip);
    return status;
}

int mask_measure(double *area, int H, int W, const vdm_json *j, const vdm_json_node *segmentation,
                 const char *where, vdm_error *err)
{
    struct canvas c = {NULL, H, W, 0, where, err};
    int status = walk_segmentation(&c, NULL, 0, j, segmentation);
    *area = fmin(c.area, (double)H * W);
    return status;
}
