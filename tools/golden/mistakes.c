/* What mistake makes the wrong tensor of the right one? Each that is known is made on the reference's
 * numbers, and on the inputs of the layer, which still agreed; the one that gives what was found is the
 * cause.
 *
 * Here: the search itself, and mistakes of any tensor: rounding, factors, axes, one tensor for another.
 *
 * Trap: a candidate must be much nearer than the reference is, or noise would be "explained". */
#include "tools/golden/mistakes.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * The search */

double distance_of(const float *a, const float *b, int64_t n)
{
    double dd = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        dd += d * d;
        bb += (double)b[i] * (double)b[i];
    }
    return bb > 0 ? sqrt(dd / bb) : dd > 0 ? (double)INFINITY : 0;
}

static bool keep(scene *s, double distance, const char *format, va_list args)
{
    double limit =
        fmax(1.5 * s->f->tolerance, 0.02 * s->error); /* later layers of the cause are allowed noise */
    if (!(distance <= limit && distance < 0.3 * s->error && distance < 0.5 * s->best)) return false;
    s->best = distance;
    vsnprintf(s->text, sizeof s->text, format, args);
    return true;
}

bool propose_distance(scene *s, double distance, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool kept = keep(s, distance, format, args);
    va_end(args);
    return kept;
}

bool propose(scene *s, const float *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool kept = c && keep(s, distance_of(s->g, c, s->n), format, args);
    va_end(args);
    return kept;
}

float *room_for(scene *s, int64_t n)
{
    if (s->n_loans == MAX_LOANS) return NULL;
    float *x = vdm_alloc((size_t)n, sizeof *x, "a search for causes", NULL);
    if (x) s->loans[s->n_loans++] = x;
    return x;
}

static float *widened(scene *s, const vdm_tensor *t)
{
    float *x = room_for(s, vdm_tensor_count(t));
    if (x) vdm_widen(x, t->data, t->dtype, vdm_tensor_count(t));
    return x;
}

float *lend(scene *s, const vdm_tensor **t, const char *format, ...)
{
    char name[2 * VDM_TAP_NAME];
    va_list args;
    snprintf(name, sizeof name, "%.*s", s->prefix, s->f->ref->name);
    va_start(args, format);
    vsnprintf(name + s->prefix, sizeof name - (size_t)s->prefix, format, args);
    va_end(args);
    const vdm_tensor *found = vdm_safetensors_find(&s->b->ref, name);
    if (t) *t = found;
    return found ? widened(s, found) : NULL;
}

bool named(const scene *s, const char *ending)
{
    size_t have = strlen(s->name), want = strlen(ending);
    return have >= want && strcmp(s->name + have - want, ending) == 0 &&
           (have == want || s->name[have - want - 1] == '.');
}

/* ------------------------------------------------------------------------------------------------
 * Rounding */

/* How many of the numbers have no more bits than the type: bits dropped from the end of an f32. */
static double share_rounded(const float *x, int64_t n, int bits)
{
    int64_t rounded = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        rounded += (u & ((1u << bits) - 1)) == 0;
    }
    return n ? (double)rounded / (double)n : 0;
}

static void try_rounding(scene *s)
{
    const struct {
        const char *name;
        int bits;
        double unit; /* of the last place, relative */
    } types[] = {{"bf16", 16, 0x1p-8}, {"f16 or TF32", 13, 0x1p-11}};
    for (int i = 0; i < 2; i++) {
        bool all = share_rounded(s->g, s->n, types[i].bits) > 0.999 && s->n > 8;
        bool before = share_rounded(s->r, s->n, types[i].bits) > 0.9;
        if (!all || before || s->error > 8 * types[i].unit) continue;
        s->best = 0; /* nothing explains it better */
        snprintf(s->text, sizeof s->text, "%s-rounded: every number has a mantissa of %d bits", types[i].name,
                 23 - types[i].bits);
        return;
    }
    for (int64_t i = 0; i < s->n; i++) s->c[i] = vdm_from_bf16(vdm_to_bf16(s->r[i]));
    propose(s, s->c, "bf16-rounded, then widened again");
}

/* ------------------------------------------------------------------------------------------------
 * Factors */

/* g = factor r on every number of a part */
static double factor_of(const float *g, const float *r, int64_t n)
{
    double rg = 0, rr = 0;
    for (int64_t i = 0; i < n; i++) rg += (double)r[i] * (double)g[i], rr += (double)r[i] * (double)r[i];
    return rr > 0 ? rg / rr : 1;
}

/* What a factor is likely to be. */
static const char *say_factor(const scene *s, double factor, char text[128])
{
    double latents = both_fact(s->b, "scaling_factor", 0.7), Dh = both_fact(s->b, "head_dim", 64);
    double lora = both_fact(s->b, "lora_alpha", 1) / both_fact(s->b, "lora_rank", 1);
    const struct {
        double value;
        const char *what;
    } known[] = {
        {-1, "the sign is turned"},
        {0.7, "the scaling factor once too often"},
        {1 / 0.7, "divided by the scaling factor, or not multiplied by it"},
        {latents * latents, "multiplied by the scaling factor where the reference divides (--image-scale)"},
        {1 / latents / latents,
         "divided by the scaling factor where the reference multiplies (--image-scale)"},
        {lora, "alpha / rank twice"},
        {1 / lora, "alpha / rank forgotten"},
        {sqrt(Dh), "a factor 1/sqrt(Dh) forgotten"},
        {1 / sqrt(Dh), "a factor 1/sqrt(Dh) too much"},
        {0.001, "t as 0..1"}};
    snprintf(text, 128, "%s", "");
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (fabs(known[i].value - 1) > 1e-3 && fabs(factor / known[i].value - 1) < 1e-3 && !*text)
            snprintf(text, 128, ": %s", known[i].what);
    return text;
}

/* Of the image's channels alone: x [B,F,2C,h,w], the second half of them. */
static void try_image_factor(scene *s)
{
    const int64_t *shape = s->f->ref->shape;
    if (s->f->ref->rank != 5 || shape[2] % 2 || !named(s, "x")) return;
    int64_t half = shape[2] / 2 * shape[3] * shape[4], rows = shape[0] * shape[1];
    double rg = 0, rr = 0;
    char what[128];
    for (int64_t i = 0; i < rows * half; i++) {
        int64_t at = (2 * (i / half) + 1) * half + i % half;
        rg += (double)s->r[at] * (double)s->g[at], rr += (double)s->r[at] * (double)s->r[at];
    }
    double factor = rr > 0 ? rg / rr : 1;
    for (int64_t i = 0; i < s->n; i++) s->c[i] = s->r[i] * (float)(i / half % 2 ? factor : 1);
    propose(s, s->c, "the image's latents (the second half of the channels) are the reference's times %.4g%s",
            factor, say_factor(s, factor, what));
}

static void try_factor(scene *s)
{
    char what[128];
    double factor = factor_of(s->g, s->r, s->n), mean = 0;
    for (int64_t i = 0; i < s->n; i++) s->c[i] = (float)(factor * (double)s->r[i]);
    propose(s, s->c, "the reference's times %.4g%s", factor, say_factor(s, factor, what));
    for (int64_t i = 0; i < s->n; i++) mean += ((double)s->g[i] - (double)s->r[i]) / (double)s->n;
    for (int64_t i = 0; i < s->n; i++) s->c[i] = (float)((double)s->r[i] + mean);
    if (s->n > 8) propose(s, s->c, "the reference's plus %.4g everywhere", mean);
    try_image_factor(s);
    for (int64_t i = 0; i < s->n; i++) s->c[i] = s->g[i] == 0 ? 0 : s->r[i];
    if (share_rounded(s->g, s->n, 32 - 1) > 0.999) propose_distance(s, 0, "nothing but zeros");
}

/* ------------------------------------------------------------------------------------------------
 * Axes */

enum { MAX_AXES = 6, SAMPLES = 2048 };

/* Where element i of r, its axes in the order p, comes from. */
static int64_t source_of(int64_t i, int rank, const int64_t *dims, const int *p, const int64_t *strides)
{
    int64_t from = 0;
    for (int k = rank - 1; k >= 0; k--) {
        from += i % dims[p[k]] * strides[p[k]];
        i /= dims[p[k]];
    }
    return from;
}

static void try_order(scene *s, int rank, const int64_t *dims, const int *p, const char *const *axes,
                      const char *what)
{
    int64_t strides[MAX_AXES], size = 1, step = s->n / SAMPLES + 1;
    double dd = 0, gg = 0;
    bool moved = false;
    char order[128] = "";
    for (int k = rank - 1; k >= 0; size *= dims[k--]) strides[k] = size;
    for (int k = 0; k < rank; k++) {
        if (dims[k] == 1 && p[k] != k) return;
        moved = moved || p[k] != k;
    }
    if (!moved) return;
    for (int64_t i = 0; i < s->n; i += step) { /* a look at some of them */
        double r = (double)s->r[source_of(i, rank, dims, p, strides)], d = (double)s->g[i] - r;
        dd += d * d, gg += r * r;
    }
    if (dd > 0.1 * s->error * s->error * gg && dd > 1e-4 * gg) return;
    for (int64_t i = 0; i < s->n; i++) s->c[i] = s->r[source_of(i, rank, dims, p, strides)];
    for (int k = 0; k < rank; k++)
        snprintf(order + strlen(order), sizeof order - strlen(order), "%s%s", k ? "," : "", axes[p[k]]);
    propose(s, s->c, "%s: found as [%s]", what, order);
}

void try_orders(scene *s, int rank, const int64_t *dims, int fixed, int fixed_last, const char *const *axes,
                const char *what)
{
    int p[MAX_AXES], count = 1, free_axes = rank - fixed - fixed_last;
    int64_t n = 1;
    for (int k = 0; k < rank; k++) n *= dims[k];
    for (int k = 2; k <= free_axes; k++) count *= k;
    if (n != s->n || rank > MAX_AXES || free_axes < 2) return;
    for (int number = 1; number < count; number++) { /* all of them, by their number in the factorial base */
        int left = number;
        bool used[MAX_AXES] = {0};
        for (int k = 0; k < rank; k++) p[k] = k;
        for (int k = 0, radix = count; k < free_axes; k++) {
            radix /= free_axes - k;
            int pick = left / radix, axis = 0;
            left %= radix;
            for (;; axis++)
                if (!used[axis] && pick-- == 0) break;
            used[axis] = true;
            p[fixed + k] = fixed + axis;
        }
        try_order(s, rank, dims, p, axes, what);
    }
}

static void try_axes(scene *s)
{
    static const char *const letters[] = {"0", "1", "2", "3", "4", "5"};
    const vdm_tensor *t = s->f->ref;
    int64_t A = (int64_t)both_fact(s->b, "heads", 0), Dh = (int64_t)both_fact(s->b, "head_dim", 0);
    if (t->rank <= 5) try_orders(s, t->rank, t->shape, 0, 0, letters, "transposed (axes of the reference)");
    if (t->rank == 3 && A && t->shape[2] == A * Dh) {
        static const char *const axes[] = {"B", "S", "A", "Dh"};
        const int64_t dims[] = {t->shape[0], t->shape[1], A, Dh};
        try_orders(s, 4, dims, 0, 0, axes,
                   "transposed: heads are laid out otherwise, the reference has [B,S,A,Dh]");
    }
}

/* ------------------------------------------------------------------------------------------------
 * One tensor for another */

static double sampled_distance(const scene *s, const vdm_tensor *t)
{
    int64_t step = s->n / 512 + 1, width = (int64_t)vdm_dtype_bytes(t->dtype);
    double dd = 0, gg = 0;
    for (int64_t i = 0; i < s->n; i += step) {
        float x;
        vdm_widen(&x, (const char *)t->data + i * width, t->dtype, 1);
        dd += ((double)x - (double)s->g[i]) * ((double)x - (double)s->g[i]);
        gg += (double)x * (double)x;
    }
    return gg > 0 ? sqrt(dd / gg) : (double)INFINITY;
}

static void try_others(scene *s)
{
    for (int64_t i = 0; i < s->b->ref.count; i++) {
        const vdm_tensor *t = s->b->order[i];
        if (t == s->f->ref || vdm_tensor_count(t) != s->n || t->dtype > VDM_F64) continue;
        if (sampled_distance(s, t) > fmax(0.3 * s->error, 1e-6)) continue;
        vdm_widen(s->c, t->data, t->dtype, s->n);
        propose(s, s->c, "it is what the reference calls %s", t->name);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The whole */

/* A shape that is another: the same numbers in another order? */
static void cause_of_shape(scene *s)
{
    s->error = 1;
    s->best = 1;
    try_axes(s);
    propose(s, s->r, "the same numbers in the same order, under another shape");
}

static void search(scene *s)
{
    if (s->f->verdict == SHAPE) {
        cause_of_shape(s);
        return;
    }
    s->error = distance_of(s->g, s->r, s->n);
    s->best = s->error;
    try_rounding(s);
    if (s->best == 0) return;
    causes_of_model(s);
    if (s->best > 0.1 * s->error) try_axes(s);
    if (s->best > 0.1 * s->error) try_factor(s);
    if (s->best > 0.1 * s->error) try_others(s);
}

int cause_of(const both *b, const finding *f, char *text, size_t size, vdm_error *err)
{
    scene s = {.b = b, .f = f, .name = name_without_prefix(f->ref->name), .n = vdm_tensor_count(f->ref)};
    s.prefix = (int)(s.name - f->ref->name);
    snprintf(text, size, "%s", "");
    if (f->ref->dtype > VDM_I32 || f->got->dtype > VDM_I32 || vdm_tensor_count(f->got) != s.n || !s.n)
        return 0;
    if (f->verdict == BROKEN) {
        snprintf(text, size, "NaN or Inf: an overflow, or memory that was not written");
        return 0;
    }
    s.r = widened(&s, f->ref);
    s.g = s.r ? widened(&s, f->got) : NULL;
    s.c = s.g ? room_for(&s, s.n) : NULL;
    if (s.c) search(&s);
    snprintf(text, size, "%s", s.text);
    for (int i = 0; i < s.n_loans; i++) vdm_free(s.loans[i]);
    return s.c ? 0 : vdm_fail(err, "no memory to look for the cause");
}
