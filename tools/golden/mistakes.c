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

/* Whether rounding moves every element as far as it has moved: by a unit in the last place, the reference's small
 * elements also by its own error. */
static bool only_rounded(const search *s, double unit)
{
    double squares = 0;
    for (int64_t i = 0; i < s->n; i++) squares += (double)s->ref[i] * (double)s->ref[i];
    double rms = sqrt(squares / (double)s->n);
    for (int64_t i = 0; i < s->n; i++) {
        double x = (double)s->ref[i];
        if (fabs((double)s->got[i] - x) > unit * fabs(x) + 1e-5 * rms) return false;
    }
    return true;
}

static void try_rounding(search *s)
{
    const struct {
        const char *name;
        int bits;
        double unit; /* of the last place, relative */
    } types[] = {{"bf16", 16, 0x1p-7}, {"f16 or TF32", 13, 0x1p-10}};
    if (s->n <= 8 || !varies(s->ref, s->n)) return;
    for (int i = s->b->bf16; i < 2; i++) { /* tolerances of bf16 have its rounding in them */
        bool all = share_rounded(s->got, s->n, types[i].bits) > 0.999;
        bool before = share_rounded(s->ref, s->n, types[i].bits) > 0.9;
        if (!all || before || !only_rounded(s, types[i].unit)) continue;
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

static bool is_named(const search *s, const char *name)
{
    return strcmp(s->name, name) == 0;
}

/* Whether the other file's tensor of this name, with the same prefix, agrees; false if one of the files lacks it. */
static bool other_agrees(const search *s, const char *name)
{
    char full[2 * VDM_TRACE_NAME];
    snprintf(full, sizeof full, "%.*s%s", s->prefix_length, s->f->ref->name, name);
    finding f = {.ref = vdm_safetensors_find(&s->b->ref, full), .tolerance = s->f->tolerance};
    f.got = f.ref ? both_other(s->b, full) : NULL;
    if (!f.got) return false;
    judge(&f);
    return f.verdict == AGREES;
}

/* Whether the gradient of an adapter's matrix has its factor from the adapter: the gradients that it is computed from,
 * of v and of the blocks after it, agree. */
static bool is_of_adapter(const search *s)
{
    static const char blocks[] = "grad.transformer_blocks.";
    size_t length = sizeof blocks - 1;
    if (strncmp(s->name, blocks, length) != 0 ||
        !(ends_in(s, "lora_A.weight") || ends_in(s, "lora_B.weight")))
        return false;
    bool agree = other_agrees(s, "grad.v");
    for (int64_t i = 0; i < s->b->ref.count && s->b->order[i] != s->f->ref && agree; i++) {
        const char *full = s->b->order[i]->name;
        if (strncmp(full, s->f->ref->name, (size_t)s->prefix_length) != 0) continue;
        const char *name = full + s->prefix_length;
        if (strncmp(name, blocks, length) != 0) continue;
        bool of_block = !name[length + strspn(name + length, "0123456789")];
        if (of_block && both_other(s->b, full)) agree = other_agrees(s, name);
    }
    return agree;
}

/* The mistakes that a factor indicates; "" if none is known for a tensor of this name. A fact that the reference does
 * not have is NAN, which is no factor. */
static void mistake_of_factor(const search *s, double factor, char text[160])
{
    const double none = (double)NAN;
    double scaling = both_fact(s->b, "scaling_factor", none), Dh = both_fact(s->b, "head_dim", none);
    double lora = both_fact(s->b, "lora_alpha", none) / both_fact(s->b, "lora_rank", none);
    bool latents = name_has(s, "latents") || ends_in(s, "moments") || is_named(s, "videos") ||
                   is_named(s, "images") || is_named(s, "x") || is_named(s, "v");
    bool adapter = is_of_adapter(s), query = false;
    static const char *const queries[] = {"to_q", "to_k", "norm_q", "norm_k", "rope_q", "rope_k"};
    for (int i = 0; i < 6; i++) query = query || ends_in(s, queries[i]);
    bool loss = is_named(s, "grad.v");
    double B = loss && s->f->ref->rank > 0 ? (double)s->f->ref->shape[0] : none;
    double batches = both_fact(s->b, "accumulate", none);
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
                 {lora, ends_in(s, "lora_A"), "alpha / rank is in it; expected unscaled"},
                 {B, loss, "summed over the batch, expected the mean"},
                 {1 / B, loss, "divided by the batch once too often"},
                 {0.5, loss, "of half the mean squared error, expected the whole"},
                 {batches, loss, "not divided by the batches of a step (--accumulate)"},
                 {sqrt(Dh), query, "a factor 1/sqrt(Dh) is forgotten"},
                 {1 / sqrt(Dh), query, "one factor 1/sqrt(Dh) too many"},
                 {0.001, is_named(s, "t"), "t runs from 0 to 1"}};
    *text = '\0';
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        bool far = fabs(known[i].value - 1) > 1e-3, same = fabs(factor / known[i].value - 1) < 1e-4;
        size_t n = strlen(text);
        if (known[i].possible && far && same)
            snprintf(text + n, 160 - n, "%s%s", n ? "; or: " : "", known[i].what);
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

/* What the elements have in common, as an observation: of every element only if next to nothing of the error is left. */
static void observe(search *s, const char *before, double value, const char *after)
{
    bool every = distance_of(s->got, s->candidate, s->n) < 0.02 * s->error;
    if (s->n >= 16)
        propose(s, s->candidate, "not one of the mistakes that were tried; %s%s%.6g%s",
                every ? "every element is " : "on average an element is ", before, value, after);
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
    else
        observe(s, "", factor, " times the reference's");
    for (int64_t i = 0; i < s->n; i++) mean += ((double)s->got[i] - (double)s->ref[i]) / (double)s->n;
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = (float)((double)s->ref[i] + mean);
    observe(s, "the reference's plus ", mean, "");
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
    if (!s->explanations) {
        mistakes_of_model(s);
        mistakes_of_update(s);
        mistakes_of_order(s);
        mistakes_of_weights(s);
    }
    if (!s->explanations) try_axes(s);
    if (!s->explanations) try_factor(s);
    if (!s->explanations) try_others(s);
}

/* What is not finite, as an observation: the causes are possible ones only. */
static void mistake_of_infinity(const finding *f, char *text, size_t size)
{
    const gap *p = &f->gap;
    if (p->reference_is_nan)
        snprintf(text, size, "%s", "the reference itself has NaN there: nothing can be compared with it");
    else if (!p->got_not_finite)
        snprintf(text, size, "%s", "finite where the reference has Inf");
    else
        snprintf(
            text, size,
            "NaN or Inf in %lld of %lld elements; no tensor before it that was compared differs. Possible are 0/0, "
            "the root of a negative number, an overflow, memory that was not written",
            (long long)p->got_not_finite, (long long)p->n);
}

int mistake_of(const both *b, const finding *f, char *text, size_t size, vdm_error *err)
{
    search s = {.b = b, .f = f, .name = name_without_prefix(f->ref->name), .n = vdm_tensor_count(f->ref)};
    s.prefix_length = (int)(s.name - f->ref->name);
    snprintf(text, size, "%s", "");
    if (f->verdict == NOT_FINITE) {
        mistake_of_infinity(f, text, size);
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
