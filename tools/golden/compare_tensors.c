/* Compares one tensor with another.
 *
 *   floating types: the relative L2 distance |got - ref| / |ref|, in double; NaN never agrees; an infinity agrees
 *                   only with the same infinity
 *   integers:       the same values in every element; if one side is floating, it must be exactly these integers
 *   other types:    the same bytes
 *
 * Traps: a NaN in the reference makes every sum NaN, and a comparison with NaN is false: NaN is looked for first. Squares
 * of F64 below 1e-154 are 0, above 1e154 infinite: elements are scaled by a power of two, which changes no other result. */
#include "tools/golden/compare.h"
#include "vdm_math.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

enum { PIECE = 4096 };

static const char *at_element(const vdm_tensor *t, int64_t i)
{
    return (const char *)t->data + (size_t)i * vdm_dtype_bytes(t->dtype);
}

/* An integer of at most 64 bits; of large U64 their bits. */
static int64_t integer_at(const vdm_tensor *t, int64_t i)
{
    const char *p = at_element(t, i);
    int64_t i64 = 0;
    int32_t i32 = 0;
    int16_t i16 = 0;
    uint32_t u32 = 0;
    uint16_t u16 = 0;
    switch (t->dtype) {
    case VDM_I32:
        memcpy(&i32, p, 4);
        return i32;
    case VDM_I16:
        memcpy(&i16, p, 2);
        return i16;
    case VDM_I8:
        return *(const signed char *)p;
    case VDM_U32:
        memcpy(&u32, p, 4);
        return u32;
    case VDM_U16:
        memcpy(&u16, p, 2);
        return u16;
    case VDM_U8:
    case VDM_BOOL:
        return *(const unsigned char *)p;
    default:
        memcpy(&i64, p, 8);
        return i64;
    }
}

/* Elements from `at` on in double: exact, except for integers beyond 2^53. Returns how many. */
static int64_t piece_of(double *to, const vdm_tensor *t, int64_t at)
{
    float narrow[PIECE];
    int64_t n = vdm_tensor_count(t) - at;
    if (n > PIECE) n = PIECE;
    if (t->dtype == VDM_F64) {
        memcpy(to, at_element(t, at), (size_t)n * sizeof *to);
    } else if (vdm_dtype_floating(t->dtype)) {
        vdm_widen(narrow, at_element(t, at), t->dtype, n);
        for (int64_t i = 0; i < n; i++) to[i] = (double)narrow[i];
    } else {
        for (int64_t i = 0; i < n; i++) to[i] = (double)integer_at(t, at + i);
    }
    return n;
}

static void element_text(char text[32], const vdm_tensor *t, int64_t i)
{
    if (vdm_dtype_integer(t->dtype)) {
        int64_t x = integer_at(t, i);
        snprintf(text, 32, t->dtype == VDM_U64 ? "%" PRIu64 : "%" PRId64, x);
        return;
    }
    double x[PIECE];
    piece_of(x, t, i);
    if (isnan(x[0]))
        snprintf(text, 32, "nan"); /* printf adds a sign, which means nothing */
    else
        snprintf(text, 32, "%.7g", x[0]);
}

/* A power of two: times it, the largest finite element of both tensors is about 1. */
static double unit_of(const finding *f)
{
    enum { MAX_EXPONENT = 1000 }; /* the power itself has to be finite */
    double r[PIECE], g[PIECE], largest = 0;
    int exponent = 0;
    for (int64_t at = 0; at < f->gap.n; at += PIECE) {
        int64_t m = piece_of(r, f->ref, at);
        piece_of(g, f->got, at);
        for (int64_t i = 0; i < m; i++) {
            if (isfinite(r[i])) largest = fmax(largest, fabs(r[i]));
            if (isfinite(g[i])) largest = fmax(largest, fabs(g[i]));
        }
    }
    (void)frexp(largest, &exponent);
    if (exponent > MAX_EXPONENT) exponent = MAX_EXPONENT;
    if (exponent < -MAX_EXPONENT) exponent = -MAX_EXPONENT;
    return ldexp(1, -exponent);
}

/* Finds the first element without a distance. Returns the root mean square of the reference's finite elements, times unit. */
static double find_not_finite(const finding *f, double unit, gap *p)
{
    double r[PIECE], g[PIECE], squares = 0;
    for (int64_t at = 0; at < p->n; at += PIECE) {
        int64_t m = piece_of(r, f->ref, at);
        piece_of(g, f->got, at);
        for (int64_t i = 0; i < m; i++) {
            bool infinite = isinf(r[i]) && isinf(g[i]) && signbit(r[i]) == signbit(g[i]);
            if (isfinite(r[i])) squares += unit * r[i] * (unit * r[i]);
            p->got_not_finite += !isfinite(g[i]) && !infinite;
            if (p->not_finite >= 0 || infinite || (isfinite(r[i]) && isfinite(g[i]))) continue;
            p->not_finite = at + i;
            p->reference_is_nan = isnan(r[i]);
        }
    }
    return p->n ? sqrt(squares / (double)p->n) : 0;
}

static void measure(finding *f)
{
    const double unit = unit_of(f);
    double r[PIECE], g[PIECE], dd = 0, rr = 0, gg = 0, rg = 0;
    gap *p = &f->gap;
    const double rms = find_not_finite(f, unit, p);
    for (int64_t at = 0; at < p->n; at += PIECE) {
        int64_t m = piece_of(r, f->ref, at);
        piece_of(g, f->got, at);
        for (int64_t i = 0; i < m; i++) {
            double x = unit * r[i], y = unit * g[i], d = fabs(y - x), size = fmax(fabs(x), rms);
            if (!isfinite(x) || !isfinite(y)) continue;
            dd += d * d, rr += x * x, gg += y * y, rg += x * y;
            if (d > p->max_abs) p->max_abs = d, p->worst = at + i;
            if (fabs(x) > 1e-3 * rms && d / fabs(x) > p->max_rel) p->max_rel = d / fabs(x);
            if (p->first < 0 && !(d <= 6 * f->tolerance * size)) p->first = at + i;
        }
    }
    p->max_abs /= unit;
    p->l2 = rr > 0 ? sqrt(dd / rr) : dd > 0 ? (double)INFINITY : 0;
    p->cosine = rr > 0 && gg > 0 ? rg / sqrt(rr * gg) : rr <= 0 && gg <= 0;
    if (p->not_finite >= 0) p->first = p->not_finite, p->l2 = (double)NAN;
    f->verdict = p->not_finite >= 0 ? NOT_FINITE : p->l2 <= f->tolerance ? AGREES : DIFFERS;
}

/* At least one side has integers. */
static void count_different(finding *f)
{
    double r[PIECE], g[PIECE];
    gap *p = &f->gap;
    bool wide = vdm_dtype_integer(f->ref->dtype) && vdm_dtype_integer(f->got->dtype);
    bool sign = (f->ref->dtype == VDM_U64) != (f->got->dtype == VDM_U64); /* large U64 are negative I64 */
    for (int64_t at = 0; at < p->n; at += PIECE) {
        int64_t m = piece_of(r, f->ref, at);
        piece_of(g, f->got, at);
        for (int64_t i = 0; i < m; i++) {
            int64_t x = wide ? integer_at(f->ref, at + i) : 0, y = wide ? integer_at(f->got, at + i) : 0;
            bool same = wide ? x == y && !(sign && x < 0) : r[i] <= g[i] && r[i] >= g[i];
            if (same) continue;
            double d = fabs(g[i] - r[i]);
            if (p->different++ == 0) p->first = at + i;
            if (d > p->max_abs) p->max_abs = d, p->worst = at + i;
        }
    }
    p->exact = true;
    f->verdict = p->different ? DIFFERS : AGREES;
}

static bool same_shape(const vdm_tensor *a, const vdm_tensor *b)
{
    bool same = a->rank == b->rank;
    for (int i = 0; same && i < a->rank; i++) same = a->shape[i] == b->shape[i];
    return same;
}

void judge(finding *f)
{
    const vdm_tensor *ref = f->ref, *got = f->got;
    f->gap = (gap){.n = vdm_tensor_count(ref), .not_finite = -1, .first = -1};
    if (!got) {
        f->verdict = MISSING;
        return;
    }
    bool floating[2] = {vdm_dtype_floating(ref->dtype), vdm_dtype_floating(got->dtype)};
    bool known[2] = {floating[0] || vdm_dtype_integer(ref->dtype),
                     floating[1] || vdm_dtype_integer(got->dtype)};
    if (!same_shape(ref, got)) {
        f->verdict = OTHER_SHAPE;
    } else if (!known[0] || !known[1]) {
        bool same =
            ref->dtype == got->dtype && (!ref->bytes || memcmp(ref->data, got->data, ref->bytes) == 0);
        f->verdict = same ? AGREES : OTHER_TYPE;
        f->gap.exact = true;
    } else {
        if (floating[0] && floating[1])
            measure(f);
        else
            count_different(f);
        if (f->gap.first < 0) f->gap.first = f->gap.worst;
        if (f->gap.n) {
            element_text(f->gap.expected, ref, f->gap.first);
            element_text(f->gap.found, got, f->gap.first);
        }
    }
}

bool is_wrong(const finding *f)
{
    return f->verdict != AGREES && f->verdict != MISSING;
}

/* ------------------------------------------------------------------------------------------------
 * The timestep's sinusoid */

/* Element j of a half is the sine or cosine of t w, w = exp(-ln(10000) j / half). If exp is wrong by two units in the last
 * place, and t w is rounded, the angle is wrong by 2.5 units of t w; two roundings of the exponent change w by as many
 * units as the exponent is large. */
bool is_sinusoid(double found, double right, double angle, double exponent)
{
    return fabs(found - right) <= (2.5 + fabs(exponent)) * 0x1p-23 * fabs(angle) + 0x1p-23;
}

/* time_proj [B,width] of t [B] */
bool explained_by_frequencies(const both *b, const finding *f)
{
    const char *name = name_without_prefix(f->ref->name);
    bool ofs = strcmp(name, "ofs_proj") == 0;
    if ((!ofs && strcmp(name, "time_proj") != 0) || f->verdict != DIFFERS || f->gap.exact ||
        f->ref->rank != 2)
        return false;
    char full[2 * VDM_TRACE_NAME];
    int64_t width = f->ref->shape[1], half = width / 2, B = f->ref->shape[0];
    snprintf(full, sizeof full, "%.*s%s", (int)(name - f->ref->name), f->ref->name, ofs ? "ofs" : "t");
    const vdm_tensor *t = vdm_safetensors_find(&b->ref, full);
    if (!t || half < 1 || vdm_tensor_check(t, "", 1, &B, NULL)) return false;
    double r[PIECE], g[PIECE];
    float times = 0;
    for (int64_t at = 0; at < f->gap.n; at += PIECE) {
        int64_t m = piece_of(r, f->ref, at);
        piece_of(g, f->got, at);
        for (int64_t i = 0; i < m; i++) {
            int64_t element = at + i, j = element % width % half;
            vdm_widen(&times, at_element(t, element / width), t->dtype, 1);
            double exponent = -9.210340371976184 * (double)j / (double)half;
            if (!is_sinusoid(g[i], r[i], (double)times * vdm_exp(exponent), exponent)) return false;
        }
    }
    return true;
}
