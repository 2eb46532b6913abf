/* Number formats of files: their names and sizes, the 16-bit floats, and conversion to f32. */
#include "vdm_files.h"

#include <math.h>
#include <string.h>

static uint32_t bits_of_float(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* ------------------------------------------------------------------------------------------------
 * 16 bit floats. bf16: the upper half of an f32. f16: 1 sign, 5 exponent (bias 15), 10 fraction bits. */

float vdm_from_bf16(uint16_t bits)
{
    return float_of((uint32_t)bits << 16);
}

float vdm_from_f16(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16, exponent = bits >> 10 & 31u, fraction = bits & 0x3ffu;
    if (exponent == 31) return float_of(sign | 0x7f800000u | fraction << 13);
    if (exponent > 0) return float_of(sign | (exponent + 112) << 23 | fraction << 13);
    float size = (float)fraction * 0x1p-24f; /* subnormal, exact */
    return sign ? -size : size;
}

/* Adds just under half a unit in the last kept place, one more if that place is odd: nearest, ties to even.
 * A carry out of the fraction lands in the exponent, as it should. */
static uint32_t drop_bits(uint32_t u, int n)
{
    return (u + (1u << (n - 1)) - 1 + (u >> n & 1)) >> n;
}

uint16_t vdm_to_bf16(float x)
{
    uint32_t u = bits_of_float(x);
    if (x != x) return (uint16_t)(u >> 16 | 0x40u); /* quiet: a truncated fraction of 0 would be inf */
    return (uint16_t)drop_bits(u, 16);
}

uint16_t vdm_to_f16(float x)
{
    uint32_t u = bits_of_float(x), sign = u >> 16 & 0x8000u, size = u & 0x7fffffffu;
    if (size > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | (size >> 13 & 0x3ffu)); /* NaN */
    if (size >= 0x47800000u) return (uint16_t)(sign | 0x7c00u); /* 2^16 and more: inf */
    if (size >= 0x38800000u) return (uint16_t)(sign | drop_bits(size - (112u << 23), 13));
    /* subnormal, below 2^-14: in units of 2^-24; adding 2^23 rounds to an integer, ties to even */
    float units = float_of(size) * 0x1p24f + 0x1p23f;
    return (uint16_t)(sign | (bits_of_float(units) - 0x4b000000u));
}

/* ------------------------------------------------------------------------------------------------
 * Types */

static const struct {
    const char *name;
    size_t bits;
} dtypes[] = {
    [VDM_F32] = {"F32", 32},
    [VDM_F16] = {"F16", 16},
    [VDM_BF16] = {"BF16", 16},
    [VDM_F64] = {"F64", 64},
    [VDM_I64] = {"I64", 64},
    [VDM_I32] = {"I32", 32},
    [VDM_I16] = {"I16", 16},
    [VDM_I8] = {"I8", 8},
    [VDM_U64] = {"U64", 64},
    [VDM_U32] = {"U32", 32},
    [VDM_U16] = {"U16", 16},
    [VDM_U8] = {"U8", 8},
    [VDM_BOOL] = {"BOOL", 8},
    [VDM_C64] = {"C64", 64},
    [VDM_F8_E4M3] = {"F8_E4M3", 8},
    [VDM_F8_E5M2] = {"F8_E5M2", 8},
    [VDM_F8_E8M0] = {"F8_E8M0", 8},
    [VDM_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 8},
    [VDM_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 8},
    [VDM_F6_E2M3] = {"F6_E2M3", 6},
    [VDM_F6_E3M2] = {"F6_E3M2", 6},
    [VDM_F4] = {"F4", 4},
};

size_t vdm_dtype_bits(vdm_dtype dtype)
{
    return dtypes[dtype].bits;
}

size_t vdm_dtype_bytes(vdm_dtype dtype)
{
    return dtypes[dtype].bits / 8;
}

bool vdm_dtype_floating(vdm_dtype dtype)
{
    return dtype <= VDM_F64;
}

bool vdm_dtype_integer(vdm_dtype dtype)
{
    return dtype >= VDM_I64 && dtype <= VDM_BOOL;
}

const char *vdm_dtype_name(vdm_dtype dtype)
{
    return dtypes[dtype].name;
}

int64_t vdm_tensor_count(const vdm_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->rank; i++) n *= t->shape[i];
    return n;
}

size_t vdm_tensor_bytes(const vdm_tensor *t)
{
    return (size_t)vdm_tensor_count(t) * dtypes[t->dtype].bits / 8;
}

/* Whether one of the n elements has an exponent of ones. The loops don't exit early, so that they are vectorised. */
static bool any_not_finite(const unsigned char *from, vdm_dtype dtype, int64_t n)
{
    const uint16_t ones = dtype == VDM_BF16 ? 0x7f80 : 0x7c00;
    int any = 0;
    if (dtype == VDM_F64)
        for (int64_t i = 0; i < n; i++) {
            uint64_t u;
            memcpy(&u, from + 8 * i, sizeof u);
            any |= (u >> 52 & 0x7ff) == 0x7ff;
        }
    else if (dtype == VDM_F32)
        for (int64_t i = 0; i < n; i++) {
            uint32_t u;
            memcpy(&u, from + 4 * i, sizeof u);
            any |= (u & 0x7f800000u) == 0x7f800000u;
        }
    else
        for (int64_t i = 0; i < n; i++) {
            uint16_t u;
            memcpy(&u, from + 2 * i, sizeof u);
            any |= (u & ones) == ones;
        }
    return any != 0;
}

int64_t vdm_first_not_finite(const void *from, vdm_dtype dtype, int64_t n)
{
    enum { PIECE = 4096 };
    const int64_t width = (int64_t)vdm_dtype_bytes(dtype);
    const unsigned char *p = from;
    for (int64_t at = 0; at < n && vdm_dtype_floating(dtype); at += PIECE) {
        int64_t end = n - at < PIECE ? n : at + PIECE;
        if (!any_not_finite(p + at * width, dtype, end - at)) continue;
        while (!any_not_finite(p + at * width, dtype, 1)) at++;
        return at;
    }
    return -1;
}

int vdm_check_finite(const void *from, vdm_dtype dtype, int64_t n, const char *path, const char *name,
                     vdm_error *err)
{
    int64_t at = vdm_first_not_finite(from, dtype, n);
    float x = 0;
    if (at < 0) return 0;
    vdm_widen(&x, (const unsigned char *)from + at * (int64_t)vdm_dtype_bytes(dtype), dtype, 1);
    return vdm_fail(err, "%s: tensor '%s': element %lld: expected a finite number, found %g", path, name,
                    (long long)at, (double)x);
}

static uint16_t load16(const unsigned char *from)
{
    uint16_t bits;
    memcpy(&bits, from, sizeof bits);
    return bits;
}

static void widen_f64(float *to, const unsigned char *from, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double x;
        memcpy(&x, from + 8 * i, sizeof x);
        to[i] = (float)x;
    }
}

/* Exact up to 2^24; timesteps and indices are smaller. */
static void widen_integers(float *to, const unsigned char *from, vdm_dtype dtype, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        int64_t wide;
        int32_t narrow;
        if (dtype == VDM_I64)
            memcpy(&wide, from + i * (int64_t)sizeof wide, sizeof wide);
        else
            memcpy(&narrow, from + i * (int64_t)sizeof narrow, sizeof narrow), wide = narrow;
        to[i] = (float)wide;
    }
}

void vdm_widen(float *to, const void *from, vdm_dtype dtype, int64_t n)
{
    const unsigned char *p = from;
    if (dtype == VDM_F64) widen_f64(to, p, n);
    if (dtype == VDM_F32 && n > 0) memcpy(to, from, (size_t)n * sizeof *to);
    if (dtype == VDM_I64 || dtype == VDM_I32) widen_integers(to, p, dtype, n);
    if (dtype == VDM_F16)
        for (int64_t i = 0; i < n; i++) to[i] = vdm_from_f16(load16(p + 2 * i));
    if (dtype == VDM_BF16)
        for (int64_t i = 0; i < n; i++) to[i] = vdm_from_bf16(load16(p + 2 * i));
}
