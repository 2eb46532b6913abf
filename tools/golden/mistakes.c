/* Which mistake turns the right tensor into the wrong one? Each known mistake is made on the reference's tensor, or on
 * the inputs of the layer, which still agreed; the mistake that gives the tensor that was found is the cause.
 *
 * Here: the search itself, and mistakes of any tensor: rounding, factors, axes, one tensor for another.
 *
 * Traps
 *   A candidate that is only nearer than the reference explains nothing: the rest must be within the tolerance.
 *   A tensor of one element, or of equal ones, is "explained" by any factor, any sum and any other such tensor. */
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

/* A candidate explains the tensor if the rest is within the tolerance (twice it: the layer's inputs may be off as well;
 * never below some roundings of f32) and small compared with the error. One that is not clearly better than the best
 * one is another explanation of the same numbers. */
static bool accept(search *s, double distance, const char *format, va_list args)
{
    double limit = fmax(2 * s->f->tolerance, 1e-6);
    if (!(distance <= limit && distance < 0.3 * s->error)) return false;
    if (s->explanations && distance > 2 * s->best + 1e-9) return false;
    bool better = !s->explanations || distance < 0.5 * s->best - 1e-9;
    size_t length = better ? 0 : strlen(s->text);
    s->explanations = better ? 1 : s->explanations + 1;
    s->best = fmin(distance, s->best);
    if (length) {
        snprintf(s->text + length, sizeof s->text - length, "; or: ");
        length = strlen(s->text);
    }
    vsnprintf(s->text + length, sizeof s->text - length, format, args);
    return true;
}

bool propose_distance(search *s, double distance, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool accepted = accept(s, distance, format, args);
    va_end(args);
    return accepted;
}

bool propose(search *s, const float *x, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool accepted = x && accept(s, distance_of(s->got, x, s->n), format, args);
    va_end(args);
    return accepted;
}

float *buffer(search *s, int64_t n)
{
    if (s->n_buffers == MAX_BUFFERS) return NULL;
    float *x = vdm_alloc((size_t)n, sizeof *x, "the search for mistakes", NULL);
    if (x) s->buffers[s->n_buffers++] = x;
    return x;
}

static const vdm_tensor *find(const search *s, const char *name)
{
    char full[2 * VDM_TRACE_NAME];
    snprintf(full, sizeof full, "%.*s%s", s->prefix_length, s->f->ref->name, name);
    return vdm_safetensors_find(&s->b->ref, full);
}

static const float *checked(search *s, const vdm_tensor *t, int rank, int64_t *shape)
{
    if (!t || vdm_tensor_check(t, "", rank, shape, NULL)) return NULL;
    float *x = buffer(s, vdm_tensor_count(t));
    if (x) vdm_widen(x, t->data, t->dtype, vdm_tensor_count(t));
    return x;
}

const float *neighbour(search *s, const char *format, ...)
{
    char name[VDM_TRACE_NAME];
    int64_t shape[VDM_MAX_RANK];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    memcpy(shape, s->f->ref->shape, sizeof shape);
    return checked(s, find(s, name), s->f->ref->rank, shape);
}

const float *neighbour_of(search *s, int rank, int64_t *shape, const char *format, ...)
{
    char name[VDM_TRACE_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return checked(s, find(s, name), rank, shape);
}

bool neighbour_shape(const search *s, int rank, int64_t *shape, const char *name)
{
    const vdm_tensor *t = find(s, name);
    return t && !vdm_tensor_check(t, "", rank, shape, NULL);
}

int64_t fact(const search *s, const char *name)
{
    double x = both_fact(s->b, name, 0);
    return x >= 1 && x <= 1 << 20 ? (int64_t)x : 0;
}

bool ends_in(const search *s, const char *ending)
{
    size_t have = strlen(s->name), want = strlen(ending);
    return have >= want && strcmp(s->name + have - want, ending) == 0 &&
           (have == want || s->name[have - want - 1] == '.');
}

/* At least two different elements. */
static bool varies(const float *x, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (x[i] < x[0] || x[i] > x[0]) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Rounding */

/* The share of the elements that fit a type with `bits` fewer bits than f32. */
static double share_rounded(const float *x, int64_t n, int bits)
{
    int64_t rounded = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        rounded += (u & ((1u << bits) - 1)) == 0;
    }
    return (double)rounded / (double)n;
}

static void try_rounding(search *s)
{
    const struct {
        const char *name;
        int bits;
        double unit; /* of the last place, relative */
    } types[] = {{"bf16", 16, 0x1p-8}, {"f16 or TF32", 13, 0x1p-11}};
    if (s->n <= 8 || !varies(s->ref, s->n)) return;
    for (int i = 0; i < 2; i++) {
        bool all = share_rounded(s->got, s->n, types[i].bits) > 0.999;
        bool before = share_rounded(s->ref, s->n, types[i].bits) > 0.9;
        if (!all || before || s->error > 8 * types[i].unit) continue;
        s->best = 0; /* nothing explains it better */
        s->explanations = 1;
        snprintf(s->text, sizeof s->text, "%s-rounded: every element has a mantissa of %d bits",
                 types[i].name, 23 - types[i].bits);
        return;
    }
}

/* ------------------------------------------------------------------------------------------------
 * Factors */

/* got = factor ref, fitted */
static double factor_of(const float *got, const float *ref, int64_t n)
{
    double rg = 0, rr = 0;
    for (int64_t i = 0; i < n; i++)
        rg += (double)ref[i] * (double)got[i], rr += (double)ref[i] * (double)ref[i];
    return rr > 0 ? rg / rr : 1;
}

static bool name_has(const search *s, const char *word)
{
    return strstr(s->name, word) != NULL;
}

/* The mistake that a factor indicates; "" if none is known for a tensor of this name. */
static void mistake_of_factor(const search *s, double factor, char text[160])
{
    double scaling = both_fact(s->b, "scaling_factor", 0.7), Dh = both_fact(s->b, "head_dim", 64);
    double lora = both_fact(s->b, "lora_alpha", 1) / both_fact(s->b, "lora_rank", 1);
    bool latents = name_has(s, "latents") || name_has(s, "video") || name_has(s, "image") ||
                   name_has(s, "moments") || strcmp(s->name, "x") == 0 || strcmp(s->name, "v") == 0;
    bool adapter = name_has(s, "lora_") || name_has(s, "grad"),
         query = name_has(s, "_q") || name_has(s, "_k");
    const struct {
        double value;
        bool possible;
        const char *what;
    } known[] = {{-1, true, "the sign is flipped"},
                 {scaling, latents, "multiplied by the scaling factor once too often"},
                 {1 / scaling, latents, "divided by the scaling factor, or not multiplied by it"},
                 {scaling * scaling, latents,
                  "multiplied by the scaling factor; the reference divides (--image-scale)"},
                 {1 / scaling / scaling, latents,
                  "divided by the scaling factor; the reference multiplies (--image-scale)"},
                 {lora, adapter, "alpha / rank is applied twice"},
                 {1 / lora, adapter, "alpha / rank is forgotten"},
                 {sqrt(Dh), query, "a factor 1/sqrt(Dh) is forgotten"},
                 {1 / sqrt(Dh), query, "one factor 1/sqrt(Dh) too many"},
                 {0.001, strcmp(s->name, "t") == 0, "t runs from 0 to 1"}};
    *text = '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        bool far = fabs(known[i].value - 1) > 1e-3, same = fabs(factor / known[i].value - 1) < 1e-4;
        if (known[i].possible && far && same && !*text) snprintf(text, 160, "%s", known[i].what);
    }
}

/* A factor of the image's channels only: the second half of x [B,F,2C,h,w]. */
static void try_image_factor(search *s)
{
    const int64_t *shape = s->f->ref->shape;
    char what[160];
    if (s->f->ref->rank != 5 || shape[2] % 2 || !ends_in(s, "x")) return;
    int64_t half = shape[2] / 2 * shape[3] * shape[4], rows = shape[0] * shape[1];
    double rg = 0, rr = 0;
    for (int64_t i = 0; i < rows * half; i++) {
        int64_t at = (2 * (i / half) + 1) * half + i % half;
        rg += (double)s->ref[at] * (double)s->got[at], rr += (double)s->ref[at] * (double)s->ref[at];
    }
    double factor = rr > 0 ? rg / rr : 1;
    mistake_of_factor(s, factor, what);
    for (int64_t i = 0; i < s->n; i++)
        s->candidate[i] = (float)((double)s->ref[i] * (i / half % 2 ? factor : 1));
    if (*what)
        propose(s, s->candidate,
                "the image's latents (the second half of the channels) are the reference's times %.4g: %s",
                factor, what);
}

/* The factor of a known mistake is a cause. Any other factor is an observation, and is printed as such. */
static void try_factor(search *s)
{
    char what[160];
    double factor = factor_of(s->got, s->ref, s->n), mean = 0;
    if (!varies(s->got, s->n)) {
        if (s->n > 8 && s->got[0] == 0 && varies(s->ref, s->n)) propose_distance(s, 0, "nothing but zeros");
        return;
    }
    if (!varies(s->ref, s->n)) return;
    mistake_of_factor(s, factor, what);
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = (float)(factor * (double)s->ref[i]);
    if (*what)
        propose(s, s->candidate, "the reference's times %.4g: %s", factor, what);
    else if (s->n >= 16)
        propose(s, s->candidate,
                "not one of the mistakes that were tried; every element is %.6g times the reference's",
                factor);
    for (int64_t i = 0; i < s->n; i++) mean += ((double)s->got[i] - (double)s->ref[i]) / (double)s->n;
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = (float)((double)s->ref[i] + mean);
    if (s->n >= 16)
        propose(s, s->candidate,
                "not one of the mistakes that were tried; every element is the reference's plus %.6g", mean);
    try_image_factor(s);
}

/* ------------------------------------------------------------------------------------------------
 * Axes */

enum { MAX_AXES = 6, SAMPLES = 2048 };

/* Where element i of the tensor, its axes in the order p, comes from. */
static int64_t source_of(int64_t i, const axes *a, const int *p, const int64_t *strides)
{
    int64_t from = 0;
    for (int k = a->rank - 1; k >= 0; k--) {
        from += i % a->dims[p[k]] * strides[p[k]];
        i /= a->dims[p[k]];
    }
    return from;
}

/* Whether the order can explain the tensor, by some of its elements. */
static bool may_be(const search *s, const axes *a, const int *p, const int64_t *strides)
{
    int64_t step = s->n / SAMPLES + 1;
    double dd = 0, gg = 0;
    for (int64_t i = 0; i < s->n; i += step) {
        double r = (double)s->ref[source_of(i, a, p, strides)], d = (double)s->got[i] - r;
        dd += d * d, gg += r * r;
    }
    return dd <= 0.1 * s->error * s->error * gg || dd <= 1e-4 * gg;
}

static void try_order(search *s, const axes *a, const int *p)
{
    int64_t strides[MAX_AXES], size = 1;
    bool moved = false;
    char order[128] = "";
    for (int k = a->rank - 1; k >= 0; size *= a->dims[k--]) strides[k] = size;
    for (int k = 0; k < a->rank; k++) {
        if (a->dims[k] == 1 && p[k] != k) return; /* the same elements as another order */
        moved = moved || p[k] != k;
    }
    if (!moved || !may_be(s, a, p, strides)) return;
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = s->ref[source_of(i, a, p, strides)];
    for (int k = 0; k < a->rank; k++)
        snprintf(order + strlen(order), sizeof order - strlen(order), "%s%s", k ? "," : "", a->names[p[k]]);
    propose(s, s->candidate, "%s: found as [%s]", a->what, order);
}

void try_orders(search *s, const axes *a)
{
    int p[MAX_AXES], count = 1, free_axes = a->rank - a->fixed - a->fixed_last;
    int64_t n = 1;
    if (a->rank > MAX_AXES || free_axes < 2 || !varies(s->ref, s->n)) return;
    for (int k = 0; k < a->rank; k++) n *= a->dims[k]; /* sizes of tensors and their divisors: no overflow */
    for (int k = 2; k <= free_axes; k++) count *= k;
    if (n != s->n) return;
    for (int number = 1; number < count; number++) { /* all of them, by their number in the factorial base */
        int left = number;
        bool used[MAX_AXES] = {0};
        for (int k = 0; k < a->rank; k++) p[k] = k;
        for (int k = 0, radix = count; k < free_axes; k++) {
            radix /= free_axes - k;
            int pick = left / radix, axis = 0;
            left %= radix;
            for (;; axis++)
                if (!used[axis] && pick-- == 0) break;
            used[axis] = true;
            p[a->fixed + k] = a->fixed + axis;
        }
        try_order(s, a, p);
    }
}

static void try_axes(search *s)
{
    static const char *const letters[] = {"0", "1", "2", "3", "4", "5"};
    static const char *const heads[] = {"B", "S", "A", "Dh"};
    const vdm_tensor *t = s->f->ref;
    int64_t A = fact(s, "heads"), Dh = fact(s, "head_dim");
    if (t->rank <= 5)
        try_orders(s, &(axes){.rank = t->rank,
                              .dims = t->shape,
                              .names = letters,
                              .what = "transposed (axes of the reference)"});
    if (t->rank == 3 && A && t->shape[2] == A * Dh && !s->explanations)
        try_orders(s, &(axes){.rank = 4,
                              .dims = (int64_t[]){t->shape[0], t->shape[1], A, Dh},
                              .names = heads,
                              .what = "transposed: the reference has [B,S,A,Dh]"});
}

/* ------------------------------------------------------------------------------------------------
 * One tensor for another */

static double sampled_distance(const search *s, const vdm_tensor *t)
{
    int64_t step = s->n / 512 + 1, width = (int64_t)vdm_dtype_bytes(t->dtype);
    double dd = 0, gg = 0;
    for (int64_t i = 0; i < s->n; i += step) {
        float x;
        vdm_widen(&x, (const char *)t->data + i * width, t->dtype, 1);
        dd += ((double)x - (double)s->got[i]) * ((double)x - (double)s->got[i]);
        gg += (double)x * (double)x;
    }
    return gg > 0 ? sqrt(dd / gg) : (double)INFINITY;
}

static void try_others(search *s)
{
    if (s->n < 16 || !varies(s->got, s->n)) return;
    for (int64_t i = 0; i < s->b->ref.count; i++) {
        const vdm_tensor *t = s->b->order[i];
        if (t == s->f->ref || vdm_tensor_count(t) != s->n || !vdm_dtype_floating(t->dtype)) continue;
        if (sampled_distance(s, t) > fmax(0.3 * s->error, 1e-6)) continue;
        vdm_widen(s->candidate, t->data, t->dtype, s->n);
        propose(s, s->candidate, "it is the reference's %s", t->name);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The whole */

/* The shape differs: are they the same elements in another order? */
static void mistake_of_shape(search *s)
{
    s->error = 1;
    s->best = 1;
    if (s->n < 2 || !varies(s->ref, s->n)) return;
    try_axes(s);
    propose(s, s->ref, "the same elements in the same order, with another shape");
}

static void search_mistakes(search *s)
{
    if (s->f->verdict == OTHER_SHAPE) {
        mistake_of_shape(s);
        return;
    }
    s->error = distance_of(s->got, s->ref, s->n);
    s->best = s->error;
    try_rounding(s);
    if (!s->explanations) mistakes_of_model(s);
    if (!s->explanations) try_axes(s);
    if (!s->explanations) try_factor(s);
    if (!s->explanations) try_others(s);
}

int mistake_of(const both *b, const finding *f, char *text, size_t size, vdm_error *err)
{
    search s = {.b = b, .f = f, .name = name_without_prefix(f->ref->name), .n = vdm_tensor_count(f->ref)};
    s.prefix_length = (int)(s.name - f->ref->name);
    snprintf(text, size, "%s", "");
    if (f->verdict == NOT_FINITE) {
        snprintf(text, size, "%s",
                 f->gap.reference_is_nan
                     ? "the reference itself has NaN there: nothing can be compared with it"
                     : "NaN or Inf: an overflow, or memory that was not written");
        return 0;
    }
    if ((f->verdict != DIFFERS && f->verdict != OTHER_SHAPE) || !vdm_dtype_floating(f->ref->dtype) ||
        !vdm_dtype_floating(f->got->dtype) || vdm_tensor_count(f->got) != s.n || s.n < 1)
        return 0;
    s.ref = buffer(&s, s.n), s.got = buffer(&s, s.n), s.candidate = buffer(&s, s.n);
    bool memory = s.ref && s.got && s.candidate;
    if (memory) {
        vdm_widen(s.ref, f->ref->data, f->ref->dtype, s.n);
        vdm_widen(s.got, f->got->data, f->got->dtype, s.n);
        search_mistakes(&s);
    }
    if (s.explanations <= 2) snprintf(text, size, "%s", s.text);
    for (int i = 0; i < s.n_buffers; i++) vdm_free(s.buffers[i]);
    return memory ? 0 : vdm_fail(err, "no memory to look for the mistake");
}
