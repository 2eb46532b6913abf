/* Which mistake turns the right tensor into the wrong one? Each known mistake is made on the reference's tensor, or on
 * the inputs of the layer, which still agreed; the mistake that gives the tensor that was found is the cause.
 *
 * Here: mistakes of any tensor: rounding, factors, axes, one tensor for another.
 *
 * Trap: a tensor of one element, or of equal ones, is "explained" by any factor, any sum and any other such tensor. */
#include "tools/golden/mistakes.h"

#include <math.h>
#include <string.h>

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

/* Whether small elements (up to half the largest) use the type's last bit, as they do after rounding to it. Integers,
 * multiples of a step and types of 8 bits fit the type, too, but their small elements don't use this bit. */
static bool uses_last_bit(const float *x, int64_t n, int bits)
{
    float largest = 0;
    int64_t small = 0, used = 0;
    for (int64_t i = 0; i < n; i++) largest = fmaxf(largest, fabsf(x[i]));
    for (int64_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        if (!(fabsf(x[i]) > 0) || fabsf(x[i]) > largest / 2) continue;
        small++;
        used += u >> bits & 1;
    }
    return small >= 4 && used > small / 8;
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
        if (!uses_last_bit(s->got, s->n, types[i].bits)) continue;
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
