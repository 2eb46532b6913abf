/* vdm compare: a port's tensors against the reference's, in the order in which those were computed.
 *
 *   for each: shape; NaN and Inf; largest absolute and relative difference; relative L2 distance, which is
 * what is held against the tolerance; cosine; the first number that is off
 *
 * The first tensor out of its tolerance is the one to look at: what follows is wrong because of it. mistakes.c
 * tries mistakes on it. */
#include "tools/golden/compare.h"
#include "tools/messages.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double SLACK = 4; /* times the expected error: what a tensor may be off */
enum { PIECE = 4096 };

/* ------------------------------------------------------------------------------------------------
 * Two files */

static int compare_place(const void *a, const void *b)
{
    const vdm_tensor *x = *(const vdm_tensor *const *)a, *y = *(const vdm_tensor *const *)b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return strcmp(x->name, y->name); /* empty ones */
}

static void both_close(both *b)
{
    if (b->ref.path) vdm_safetensors_close(&b->ref);
    if (b->got.path) vdm_safetensors_close(&b->got);
    vdm_free(b->order);
    vdm_free(b->map);
}

static int both_open(both *b, const char *ref, const char *got, const char *map, vdm_error *err)
{
    size_t size;
    *b = (both){0};
    if (vdm_safetensors_open(&b->ref, ref, err) || vdm_safetensors_open(&b->got, got, err)) return -1;
    if (map && vdm_read_file(map, VDM_MAX_JSON, &b->map, &size, err)) return -1;
    b->order = vdm_alloc((size_t)b->ref.count, sizeof *b->order, "the order of tensors", err);
    if (!b->order) return -1;
    for (int64_t i = 0; i < b->ref.count; i++) b->order[i] = &b->ref.tensors[i];
    qsort(b->order, (size_t)b->ref.count, sizeof *b->order, compare_place);
    return 0;
}

/* One line of the map, "block.*.q port.*.query": *to = the other name where `name` fits. Every * of the first
 * stands for the same text in the second. */
static bool translate(const char *line, const char *name, char *to, size_t size)
{
    char left[VDM_TAP_NAME], right[VDM_TAP_NAME], stars[8][64];
    int n = 0, used = 0;
    if (sscanf(line, "%191s %191s", left, right) != 2 || *left == '#') return false;
    for (const char *p = left; *p; p++) {
        if (*p != '*') {
            if (*p != *name++) return false;
            continue;
        }
        size_t length = strcspn(name, ".");
        if (!length || length >= sizeof stars[0] || n == 8) return false;
        snprintf(stars[n++], sizeof stars[0], "%.*s", (int)length, name);
        name += length;
    }
    if (*name) return false;
    size_t at = 0;
    for (const char *p = right; *p && at + 64 < size; p++) {
        if (*p == '*' && used < n)
            at += (size_t)snprintf(to + at, size - at, "%s", stars[used++]);
        else
            to[at++] = *p;
    }
    to[at] = '\0';
    return true;
}

const vdm_tensor *both_other(const both *b, const char *name)
{
    char other[2 * VDM_TAP_NAME];
    const char *line = b->map;
    while (line) {
        if (translate(line, name, other, sizeof other)) return vdm_safetensors_find(&b->got, other);
        line = strchr(line, '\n');
        if (line) line++;
    }
    return vdm_safetensors_find(&b->got, name);
}

double both_fact(const both *b, const char *name, double otherwise)
{
    const char *text = vdm_safetensors_metadata(&b->ref, name);
    return text ? atof(text) : otherwise;
}

/* ------------------------------------------------------------------------------------------------
 * One tensor */

/* Elements from `at` on as floats; returns how many. */
static int64_t piece_of(float *to, const vdm_tensor *t, int64_t at)
{
    int64_t n = vdm_tensor_count(t) - at;
    if (n > PIECE) n = PIECE;
    vdm_widen(to, (const char *)t->data + (size_t)at * vdm_dtype_bytes(t->dtype), t->dtype, n);
    return n;
}

/* The first number that is NaN or Inf where the reference's is not; the reference's root mean square. */
static int64_t find_broken(const vdm_tensor *ref, const vdm_tensor *got, double *rms)
{
    float r[PIECE], g[PIECE];
    int64_t n = vdm_tensor_count(ref), broken = -1;
    double squares = 0;
    for (int64_t at = 0; at < n; at += PIECE) {
        int64_t m = piece_of(r, ref, at);
        piece_of(g, got, at);
        for (int64_t i = 0; i < m; i++) {
            squares += (double)r[i] * (double)r[i];
            if (broken < 0 && !isfinite(g[i]) && isfinite(r[i])) broken = at + i;
        }
    }
    *rms = n ? sqrt(squares / (double)n) : 0;
    return broken;
}

gap gap_of(const vdm_tensor *ref, const vdm_tensor *got, double tolerance)
{
    float r[PIECE], g[PIECE];
    double rms, dd = 0, rr = 0, gg = 0, rg = 0;
    gap p = {.n = vdm_tensor_count(ref), .first = -1};
    p.broken = find_broken(ref, got, &rms);
    for (int64_t at = 0; at < p.n; at += PIECE) {
        int64_t m = piece_of(r, ref, at);
        piece_of(g, got, at);
        for (int64_t i = 0; i < m; i++) {
            double x = (double)r[i], y = (double)g[i], d = fabs(y - x), size = fmax(fabs(x), rms);
            dd += d * d, rr += x * x, gg += y * y, rg += x * y;
            if (d > p.max_abs) p.max_abs = d, p.worst = at + i;
            if (fabs(x) > 1e-3 * rms && d / fabs(x) > p.max_rel) p.max_rel = d / fabs(x);
            if (p.first < 0 && !(d <= 6 * tolerance * size)) p.first = at + i;
        }
    }
    p.l2 = rr > 0 ? sqrt(dd / rr) : dd > 0 ? (double)INFINITY : 0;
    p.cosine = rr > 0 && gg > 0 ? rg / sqrt(rr * gg) : rr == gg;
    if (p.broken >= 0) p.first = p.broken, p.l2 = (double)NAN;
    if (p.first < 0) p.first = p.worst;
    if (p.n) {
        int64_t start = p.first - p.first % PIECE;
        piece_of(r, ref, start);
        piece_of(g, got, start);
        p.expected = (double)r[p.first - start], p.found = (double)g[p.first - start];
    }
    return p;
}

static bool same_shape(const vdm_tensor *a, const vdm_tensor *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    return same;
}

static void judge(const both *b, finding *f, double tolerance)
{
    f->got = both_other(b, f->ref->name);
    f->tolerance = tolerance;
    if (!f->got) {
        f->verdict = MISSING;
    } else if (!same_shape(f->ref, f->got) || f->got->dtype > VDM_I32 || f->ref->dtype > VDM_I32) {
        f->verdict = SHAPE;
    } else {
        f->gap = gap_of(f->ref, f->got, tolerance);
        f->verdict = f->gap.broken >= 0 ? BROKEN : f->gap.l2 <= tolerance ? AGREES : LEAVES;
    }
}

/* ------------------------------------------------------------------------------------------------
 * Tolerances */

/* What the reference's metadata expect of each tensor. */
struct tolerances {
    double fixed; /* --tol NUMBER; negative: the expected ones */
    char precision[16];
    vdm_json expected;
    bool has_expected;
};

static int read_tolerances(struct tolerances *t, const options *o, const both *b, vdm_error *err)
{
    char key[32], *end;
    const char *says = vdm_safetensors_metadata(&b->got, "precision");
    *t = (struct tolerances){.fixed = -1};
    if (says && strcmp(says, "amx") == 0) says = "bf16"; /* the same rounding */
    snprintf(t->precision, sizeof t->precision, "%s",
             *o->compare.computed_in ? o->compare.computed_in
             : says                  ? says
                                     : "f32");
    if (o->compare.tol && strcmp(o->compare.tol, "expected") != 0) {
        t->fixed = strtod(o->compare.tol, &end);
        if (!*o->compare.tol || *end || !(t->fixed >= 0))
            return vdm_fail(err, "--tol: expected 'expected' or a number, found '%s'", o->compare.tol);
    }
    snprintf(key, sizeof key, "expected_%s", t->precision);
    const char *text = vdm_safetensors_metadata(&b->ref, key);
    if (!text) return 0;
    if (vdm_json_parse(&t->expected, text, strlen(text), b->ref.path, err)) return -1;
    t->has_expected = true;
    return 0;
}

static double tolerance_of(const struct tolerances *t, const both *b, const char *name)
{
    if (t->fixed >= 0) return t->fixed;
    const vdm_json_node *n = t->has_expected ? vdm_json_get(&t->expected, t->expected.nodes, name) : NULL;
    if (n && n->kind == VDM_JSON_NUMBER) return SLACK * n->number;
    double known = expected_error(vdm_safetensors_metadata(&b->ref, "what"), name, t->precision);
    if (known >= 0) return SLACK * known;
    return strcmp(t->precision, "bf16") == 0 ? 5e-2 : 1e-5;
}

/* ------------------------------------------------------------------------------------------------
 * Telling */

void shape_say(char *text, size_t size, int rank, const int64_t *shape)
{
    size_t at = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (at < size) snprintf(text + at, size - at, "]");
}

void index_say(char *text, size_t size, const vdm_tensor *t, int64_t index)
{
    int64_t at[VDM_MAX_RANK];
    for (int i = t->rank - 1; i >= 0; index /= t->shape[i--]) at[i] = index % t->shape[i];
    shape_say(text, size, t->rank, at);
}

static void print_head(void)
{
    printf("%-6s %-46s %-20s %9s %9s %9s %9s %10s\n", "", "tensor", "shape", "max abs", "max rel", "rel L2",
           "may be", "1 - cosine");
}

static void print_finding(const finding *f)
{
    static const char *const words[] = {"ok", "WRONG", "NaN", "SHAPE", "none"};
    char shape[96];
    shape_say(shape, sizeof shape, f->ref->rank, f->ref->shape);
    printf("%-6s %-46s %-20s", words[f->verdict], clean(f->ref->name), shape);
    if (f->verdict == AGREES || f->verdict == LEAVES)
        printf(" %9.2e %9.2e %9.2e %9.2e %10.2e", f->gap.max_abs, f->gap.max_rel, f->gap.l2, f->tolerance,
               fabs(1 - f->gap.cosine));
    printf("\n");
}

static void print_first(const comparison *c)
{
    const finding *f = &c->all[c->first];
    char place[96], shape[96];
    printf("\nThe first to differ: %s\n", clean(f->ref->name));
    if (f->verdict == SHAPE) {
        shape_say(shape, sizeof shape, f->ref->rank, f->ref->shape);
        shape_say(place, sizeof place, f->got->rank, f->got->shape);
        printf("  expected %s, found %s (%s)\n", shape, place, vdm_dtype_name(f->got->dtype));
    } else {
        index_say(place, sizeof place, f->ref, f->gap.first);
        printf("  the first number that is off: %s: expected %.7g, found %.7g\n", place, f->gap.expected,
               f->gap.found);
    }
    printf("  cause: %s\n", *c->cause ? clean(c->cause) : "not one of the mistakes that were tried");
}

static void print_all(const comparison *c, bool list)
{
    int64_t lines = 0;
    print_head();
    for (int64_t i = 0; i < c->count; i++) {
        const finding *f = &c->all[i];
        bool wrong = f->verdict != AGREES && f->verdict != MISSING;
        if (list || (wrong && lines++ < 10)) print_finding(f);
    }
    if (!list && lines > 10) printf("       and %lld more (--list)\n", (long long)(lines - 10));
    if (c->first >= 0) print_first(c);
    printf(
        "\n%lld of %lld tensors compared: %lld agree, %lld don't; the other file has not %lld of the reference's\n",
        (long long)(c->agree + c->leave), (long long)c->count, (long long)c->agree, (long long)c->leave,
        (long long)c->missing);
}

/* ------------------------------------------------------------------------------------------------
 * The command */

static bool selected(const char *patterns, const char *name)
{
    if (!patterns) return true;
    for (; patterns; patterns = strchr(patterns, ',') ? strchr(patterns, ',') + 1 : NULL)
        if (name_matches(patterns, name)) return true;
    return false;
}

static int compare_all(comparison *c, const both *b, const options *o, vdm_error *err)
{
    struct tolerances t = {0};
    int status = read_tolerances(&t, o, b, err);
    c->all = status ? NULL : vdm_alloc((size_t)b->ref.count, sizeof *c->all, "findings", err);
    for (int64_t i = 0; c->all && i < b->ref.count; i++) {
        finding *f = &c->all[c->count];
        if (!selected(o->only, b->order[i]->name)) continue;
        f->ref = b->order[i];
        judge(b, f, tolerance_of(&t, b, f->ref->name));
        c->agree += f->verdict == AGREES;
        c->missing += f->verdict == MISSING;
        c->leave += f->verdict == LEAVES || f->verdict == BROKEN || f->verdict == SHAPE;
        if (c->first < 0 && f->verdict != AGREES && f->verdict != MISSING) c->first = c->count;
        c->count++;
    }
    if (t.has_expected) vdm_json_free(&t.expected);
    if (!c->all) return -1;
    if (c->agree + c->leave == 0)
        return vdm_fail(err, "%s: has no tensor of a name that %s has", b->got.path, b->ref.path);
    return c->first >= 0 ? cause_of(b, &c->all[c->first], c->cause, sizeof c->cause, err) : 0;
}

int compare_run(const options *o, const char *command, bool *differs, vdm_error *err)
{
    both b = {0};
    comparison c = {.b = &b, .command = command, .first = -1};
    bool ok =
        !both_open(&b, o->operands[0], o->operands[1], o->compare.map, err) && !compare_all(&c, &b, o, err);
    if (ok) print_all(&c, o->list);
    if (ok && o->compare.html) ok = !comparison_page(&c, o->compare.html, err);
    *differs = c.first >= 0;
    vdm_free(c.all);
    both_close(&b);
    return ok ? 0 : -1;
}
