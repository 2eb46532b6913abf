/* v16: sixteen f32 lanes, the vector type of all fast kernels. It has four forms, chosen by VDM_SET_scalar,
 * VDM_SET_neon, VDM_SET_avx2 or VDM_SET_avx512 (the Makefile compiles the kernels once for each that the machine may
 * have): an array, four registers of 128 bits, two of 256, one of 512. VDM_SET_avx512bf16 is AVX-512 that multiplies
 * pairs of bf16 in one instruction, and perhaps in AMX tiles (V16_AMX: gemm.h). Every operation gives the same bits in
 * all forms.
 *
 * A form supplies, lane by lane unless it says otherwise:
 *   load store set add sub mul div sqrt   IEEE, rounded to nearest
 *   fma(a,b,c)                            a b + c, rounded once
 *   max(a,b) min(a,b)                     a > b ? a : b, a < b ? a : b: b if one of them is NaN
 *   load_n store_n                        the first n <= 16 lanes; lanes not loaded are 0
 *   load_f16 load_bf16                    sixteen elements, widened exactly
 *   times_power(p,n)                      p 2^n, rounded once; n an integer, |n| <= 150
 *   sum                                   of the lanes: lane j += lane j+8, j+4, j+2, j+1 (rule 2)
 *   transpose(r)                          r[i] lane j <-> r[j] lane i
 * and the shape of the output tile that fits into its registers: TILE_ROWS rows of TILE_VECS vectors (gemm.h).
 * The operations for products of bf16 (kernels.h, rules 5 and 6) are defined at the end; a form may replace them:
 *   pair(a,b)         lane: the pair of a and b rounded to bf16, a in the low half
 *   pairs(a,b)        lanes: the pairs of the 32 elements a, b
 *   load_pairs(p)     the same of 32 elements that are bf16 already
 *   even(p) odd(p)    the low, the high half of every lane as f32
 *   flush(a)          lanes that are denormal become 0
 *   fma_flushed       fma of flushed operands, flushed
 * flush and fma_flushed are valid only between flush_begin and flush_end, where a form may set the processor's mode.
 * Another instruction set is one more form. Pointers need no alignment. */
#ifndef VDM_SIMD_H
#define VDM_SIMD_H

#include <float.h>
#include <math.h>
#include <string.h>
#include "vdm.h"

/* Loops over registers have to be unrolled, or the registers are spilled to memory. Not in the scalar set, whose vectors
 * are arrays in memory anyway (the compiler then decides what to inline, in half the time), and not under the sanitizers.
 * OUTLINE is for operations that take much longer than a call: one copy instead of hundreds. */
#if defined(__GNUC__) && !defined(__SANITIZE_ADDRESS__) && !defined(VDM_SET_scalar)
#define INLINE static inline __attribute__((always_inline))
#else
#define INLINE static inline
#endif
#if defined(__GNUC__)
#define NOINLINE __attribute__((noinline))
#else
#define NOINLINE
#endif
#if defined(__GNUC__)
#define LIKELY(condition) __builtin_expect(condition, 1)
#else
#define LIKELY(condition) (condition)
#endif
#if defined(__GNUC__)
#define OUTLINE static __attribute__((noinline, unused))
#else
#define OUTLINE static inline
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(VDM_SET_scalar)
#define UNROLL
#elif defined(__clang__)
#define UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define UNROLL _Pragma("GCC unroll 32")
#else
#define UNROLL
#endif

/* ------------------------------------------------------------------------------------------------ */
#if defined(VDM_SET_avx512) || defined(VDM_SET_avx512bf16)
#include <immintrin.h>

#if defined(VDM_SET_avx512bf16)
#define SET_NAME avx512bf16
#if defined(VDM_HAS_avx512amx)
#define V16_AMX
#endif
#else
#define SET_NAME avx512
#endif
#define TILE_VECS              2 /* 28 sums, 2 columns, 1 broadcast of 32 registers */
#define TILE_ROWS              14
#define EACH_TILE_HEIGHT(make) make(1) make(2) make(3) make(4) make(6) make(8) make(10) make(12) make(14)

#define V16_AVX512

typedef __m512 v16;

INLINE __mmask16 first_lanes(int64_t n)
{
    return (__mmask16)((1u << n) - 1);
}
INLINE v16 v16_load(const void *p)
{
    return _mm512_loadu_ps(p);
}
INLINE void v16_store(float *p, v16 a)
{
    _mm512_storeu_ps(p, a);
}
INLINE v16 v16_load_n(const void *p, int64_t n)
{
    return _mm512_maskz_loadu_ps(first_lanes(n), p);
}
INLINE void v16_store_n(float *p, v16 a, int64_t n)
{
    _mm512_mask_storeu_ps(p, first_lanes(n), a);
}
INLINE v16 v16_set(float x)
{
    return _mm512_set1_ps(x);
}
INLINE v16 v16_add(v16 a, v16 b)
{
    return _mm512_add_ps(a, b);
}
INLINE v16 v16_sub(v16 a, v16 b)
{
    return _mm512_sub_ps(a, b);
}
INLINE v16 v16_mul(v16 a, v16 b)
{
    return _mm512_mul_ps(a, b);
}
INLINE v16 v16_div(v16 a, v16 b)
{
    return _mm512_div_ps(a, b);
}
INLINE v16 v16_sqrt(v16 a)
{
    return _mm512_sqrt_ps(a);
}
INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    return _mm512_fmadd_ps(a, b, c);
}
INLINE v16 v16_max(v16 a, v16 b)
{
    return _mm512_max_ps(a, b);
}
INLINE v16 v16_min(v16 a, v16 b)
{
    return _mm512_min_ps(a, b);
}
INLINE v16 v16_load_f16(const void *p)
{
    return _mm512_cvtph_ps(_mm256_loadu_si256(p));
}
INLINE v16 v16_load_bf16(const void *p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16));
}
INLINE v16 v16_times_power(v16 p, v16 n)
{
    return _mm512_scalef_ps(p, n);
}
INLINE float v16_sum(v16 a)
{
    __m256 x = _mm512_castps512_ps256(a), y = _mm512_castps512_ps256(_mm512_shuffle_f32x4(a, a, 0xee));
    x = _mm256_add_ps(x, y);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
INLINE void v16_transpose(v16 r[16])
{
    v16 t[16];
    UNROLL for (int i = 0; i < 16; i += 4) /* 4x4 within the quarters of four rows */
    {
        v16 a = _mm512_unpacklo_ps(r[i], r[i + 1]), b = _mm512_unpackhi_ps(r[i], r[i + 1]);
        v16 c = _mm512_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm512_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm512_shuffle_ps(a, c, 0x44), t[i + 1] = _mm512_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm512_shuffle_ps(b, d, 0x44), t[i + 3] = _mm512_shuffle_ps(b, d, 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++) /* 4x4 of quarters */
    {
        v16 a = _mm512_shuffle_f32x4(t[i], t[i + 4], 0x88), b = _mm512_shuffle_f32x4(t[i], t[i + 4], 0xdd);
        v16 c = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0x88),
            d = _mm512_shuffle_f32x4(t[i + 8], t[i + 12], 0xdd);
        r[i] = _mm512_shuffle_f32x4(a, c, 0x88), r[i + 8] = _mm512_shuffle_f32x4(a, c, 0xdd);
        r[i + 4] = _mm512_shuffle_f32x4(b, d, 0x88), r[i + 12] = _mm512_shuffle_f32x4(b, d, 0xdd);
    }
}

#define V16_PAIRS
INLINE v16 v16_even(v16 p)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(p), 16));
}
INLINE v16 v16_odd(v16 p)
{
    return _mm512_castsi512_ps(_mm512_and_epi32(_mm512_castps_si512(p), _mm512_set1_epi32((int)0xffff0000u)));
}
#if defined(VDM_SET_avx512bf16)
#define V16_DOT
/* c + a b of pairs: the same as two fma_flushed, the odd elements first */
INLINE v16 v16_dot(v16 a, v16 b, v16 c)
{
    return _mm512_dpbf16_ps(c, (__m512bh)_mm512_castps_si512(a), (__m512bh)_mm512_castps_si512(b));
}
INLINE v16 v16_pairs(v16 a, v16 b)
{
    return _mm512_castsi512_ps((__m512i)_mm512_cvtne2ps_pbh(b, a));
}
INLINE v16 v16_pair(v16 a, v16 b)
{
    const __m512i deal = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7,
                                          22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return _mm512_castsi512_ps(_mm512_permutexvar_epi16(deal, _mm512_castps_si512(v16_pairs(a, b))));
}
#else
/* Rounded to bf16, as f32: to nearest even, NaN stays NaN, denormals to 0 */
INLINE __m512i bf16_of(v16 x)
{
    __m512i u = _mm512_castps_si512(x),
            odd = _mm512_and_epi32(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));
    __m512i up = _mm512_add_epi32(u, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff)));
    __mmask16 nan = _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q);
    __mmask16 denormal = _mm512_testn_epi32_mask(u, _mm512_set1_epi32(0x7f800000));
    up = _mm512_mask_or_epi32(up, nan, u, _mm512_set1_epi32(0x400000));
    up = _mm512_mask_and_epi32(up, denormal, u, _mm512_set1_epi32((int)0x80000000u));
    return _mm512_and_epi32(up, _mm512_set1_epi32((int)0xffff0000u));
}
INLINE v16 v16_pair(v16 a, v16 b)
{
    return _mm512_castsi512_ps(_mm512_or_epi32(_mm512_srli_epi32(bf16_of(a), 16), bf16_of(b)));
}
INLINE v16 v16_pairs(v16 a, v16 b)
{
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
    return v16_pair(_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b));
}
#endif

/* ------------------------------------------------------------------------------------------------ */
#elif defined(VDM_SET_avx2)
#include <immintrin.h>

#define SET_NAME               avx2
#define TILE_VECS              1 /* 12 sums, 2 columns, 1 broadcast of 16 registers */
#define TILE_ROWS              6
#define EACH_TILE_HEIGHT(make) make(1) make(2) make(3) make(4) make(5) make(6)

typedef struct v16 {
    __m256 a, b; /* lanes 0-7, 8-15 */
} v16;

INLINE __m256i first_lanes(int64_t n)
{
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
INLINE v16 v16_load(const void *p)
{
    v16 r = {_mm256_loadu_ps(p), _mm256_loadu_ps((const void *)((const char *)p + 32))};
    return r;
}
INLINE void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
INLINE v16 v16_load_n(const void *p, int64_t n)
{
    if (n == 16) return v16_load(p);
    v16 r = {_mm256_maskload_ps(p, first_lanes(n)),
             _mm256_maskload_ps((const void *)((const char *)p + 32), first_lanes(n - 8))};
    return r;
}
INLINE void v16_store_n(float *p, v16 x, int64_t n)
{
    if (n == 16) { /* masked stores are slow */
        v16_store(p, x);
        return;
    }
    _mm256_maskstore_ps(p, first_lanes(n), x.a);
    _mm256_maskstore_ps(p + 8, first_lanes(n - 8), x.b);
}
INLINE v16 v16_set(float x)
{
    v16 r = {_mm256_set1_ps(x), _mm256_set1_ps(x)};
    return r;
}
#define BOTH_HALVES(name)                                                     \
    INLINE v16 v16_##name(v16 x, v16 y)                                       \
    {                                                                         \
        v16 r = {_mm256_##name##_ps(x.a, y.a), _mm256_##name##_ps(x.b, y.b)}; \
        return r;                                                             \
    }
BOTH_HALVES(add)
BOTH_HALVES(sub)
BOTH_HALVES(mul)
BOTH_HALVES(div)
BOTH_HALVES(max)
BOTH_HALVES(min)
INLINE v16 v16_sqrt(v16 x)
{
    v16 r = {_mm256_sqrt_ps(x.a), _mm256_sqrt_ps(x.b)};
    return r;
}
INLINE v16 v16_fma(v16 x, v16 y, v16 z)
{
    v16 r = {_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)};
    return r;
}
INLINE v16 v16_load_f16(const void *p)
{
    __m256i h = _mm256_loadu_si256(p);
    v16 r = {_mm256_cvtph_ps(_mm256_castsi256_si128(h)), _mm256_cvtph_ps(_mm256_extracti128_si256(h, 1))};
    return r;
}
INLINE v16 v16_load_bf16(const void *p)
{
    __m256i h = _mm256_loadu_si256(p), a = _mm256_cvtepu16_epi32(_mm256_castsi256_si128(h)),
            b = _mm256_cvtepu16_epi32(_mm256_extracti128_si256(h, 1));
    v16 r = {_mm256_castsi256_ps(_mm256_slli_epi32(a, 16)), _mm256_castsi256_ps(_mm256_slli_epi32(b, 16))};
    return r;
}
/* 2^n may not be a normal number: two multiplications, of which the first is exact. */
INLINE __m256 times_power_half(__m256 p, __m256 n)
{
    __m256i bias = _mm256_set1_epi32(127), whole = _mm256_cvtps_epi32(n), half = _mm256_srai_epi32(whole, 1);
    __m256i rest = _mm256_sub_epi32(whole, half);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
INLINE v16 v16_times_power(v16 p, v16 n)
{
    v16 r = {times_power_half(p.a, n.a), times_power_half(p.b, n.b)};
    return r;
}
/* Whether |x| <= limit in all lanes; false if one is NaN. */
#define V16_ADD_POWER
INLINE bool v16_all_within(v16 x, float limit)
{
    __m256 sign = _mm256_set1_ps(-0.0f), bound = _mm256_set1_ps(limit);
    __m256 a = _mm256_cmp_ps(_mm256_andnot_ps(sign, x.a), bound, _CMP_LE_OQ);
    __m256 b = _mm256_cmp_ps(_mm256_andnot_ps(sign, x.b), bound, _CMP_LE_OQ);
    return _mm256_movemask_ps(_mm256_and_ps(a, b)) == 0xff;
}
/* p 2^n if p and the result are normal; n is in the last bits of x. */
INLINE __m256 add_power_half(__m256 p, __m256 x)
{
    __m256i n = _mm256_slli_epi32(_mm256_castps_si256(x), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(p), n));
}
INLINE v16 v16_add_power(v16 p, v16 x)
{
    v16 r = {add_power_half(p.a, x.a), add_power_half(p.b, x.b)};
    return r;
}
INLINE float v16_sum(v16 v)
{
    __m256 x = _mm256_add_ps(v.a, v.b);
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_shuffle_ps(s, s, 1)));
}
INLINE void transpose_8x8(__m256 r[8])
{
    __m256 t[8];
    UNROLL for (int i = 0; i < 8; i += 4)
    {
        __m256 a = _mm256_unpacklo_ps(r[i], r[i + 1]), b = _mm256_unpackhi_ps(r[i], r[i + 1]);
        __m256 c = _mm256_unpacklo_ps(r[i + 2], r[i + 3]), d = _mm256_unpackhi_ps(r[i + 2], r[i + 3]);
        t[i] = _mm256_shuffle_ps(a, c, 0x44), t[i + 1] = _mm256_shuffle_ps(a, c, 0xee);
        t[i + 2] = _mm256_shuffle_ps(b, d, 0x44), t[i + 3] = _mm256_shuffle_ps(b, d, 0xee);
    }
    UNROLL for (int i = 0; i < 4; i++)
    {
        r[i] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x20);
        r[i + 4] = _mm256_permute2f128_ps(t[i], t[i + 4], 0x31);
    }
}
INLINE void v16_transpose(v16 r[16])
{
    __m256 quarter[4][8]; /* upper left, upper right, lower left, lower right */
    UNROLL for (int i = 0; i < 8; i++)
    {
        quarter[0][i] = r[i].a, quarter[1][i] = r[i].b;
        quarter[2][i] = r[i + 8].a, quarter[3][i] = r[i + 8].b;
    }
    UNROLL for (int q = 0; q < 4; q++) transpose_8x8(quarter[q]);
    UNROLL for (int i = 0; i < 8; i++)
    {
        r[i].a = quarter[0][i], r[i].b = quarter[2][i];
        r[i + 8].a = quarter[1][i], r[i + 8].b = quarter[3][i];
    }
}
/* Eight rows r[0..7] become columns of eight: column i and i + 8 in the halves of r[i]. */
#define V16_LOW_PANELS
INLINE void v16_transpose_low(v16 r[8])
{
    __m256 a[8], b[8];
    UNROLL for (int i = 0; i < 8; i++) a[i] = r[i].a, b[i] = r[i].b;
    transpose_8x8(a), transpose_8x8(b);
    UNROLL for (int i = 0; i < 8; i++) r[i].a = a[i], r[i].b = b[i];
}
/* Stores columns of eight, `step` floats apart; each overwrites the surplus of the one before. Of the last one only `high`
 * elements are stored. */
INLINE void v16_store_low(float *p, int64_t step, const v16 r[8], int64_t high)
{
    UNROLL for (int i = 0; i < 8; i++) _mm256_storeu_ps(p + i * step, r[i].a);
    UNROLL for (int i = 0; i < 7; i++) _mm256_storeu_ps(p + (i + 8) * step, r[i].b);
    _mm256_maskstore_ps(p + 15 * step, first_lanes(high), r[7].b);
}

#define V16_PAIRS
/* Rounded to bf16, as f32: to nearest even, NaN stays NaN, denormals to 0 */
INLINE __m256i bf16_of(__m256 x)
{
    __m256i u = _mm256_castps_si256(x), top = _mm256_set1_epi32(0x7f800000);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
    __m256i normal = _mm256_cmpgt_epi32(_mm256_and_si256(u, top), _mm256_setzero_si256());
    up = _mm256_blendv_epi8(up, _mm256_or_si256(u, _mm256_set1_epi32(0x400000)), nan);
    up = _mm256_and_si256(up, _mm256_or_si256(normal, _mm256_set1_epi32((int)0x80000000u)));
    return _mm256_and_si256(up, _mm256_set1_epi32((int)0xffff0000u));
}
INLINE __m256 pair_half(__m256 a, __m256 b)
{
    return _mm256_castsi256_ps(_mm256_or_si256(_mm256_srli_epi32(bf16_of(a), 16), bf16_of(b)));
}
INLINE v16 v16_pair(v16 a, v16 b)
{
    v16 r = {pair_half(a.a, b.a), pair_half(a.b, b.b)};
    return r;
}
/* The pairs of 16 elements: within 128 bits first, then the middle quarters are exchanged. */
INLINE __m256 pairs_half(v16 x)
{
    __m256 p = pair_half(_mm256_shuffle_ps(x.a, x.b, 0x88), _mm256_shuffle_ps(x.a, x.b, 0xdd));
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(p), 0xd8));
}
INLINE v16 v16_pairs(v16 a, v16 b)
{
    v16 r = {pairs_half(a), pairs_half(b)};
    return r;
}
INLINE v16 v16_even(v16 p)
{
    v16 r = {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(p.a), 16)),
             _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_castps_si256(p.b), 16))};
    return r;
}
INLINE v16 v16_odd(v16 p)
{
    __m256 high = _mm256_castsi256_ps(_mm256_set1_epi32((int)0xffff0000u));
    v16 r = {_mm256_and_ps(p.a, high), _mm256_and_ps(p.b, high)};
    return r;
}

/* ------------------------------------------------------------------------------------------------ */
#elif defined(VDM_SET_neon) /* of aarch64: fma and division are IEEE's there */
#include <arm_neon.h>

#define SET_NAME               neon
#define TILE_VECS              1 /* 20 sums, 4 columns, 5 broadcasts (gcc loads all of them first) of 32 registers */
#define TILE_ROWS              5
#define EACH_TILE_HEIGHT(make) make(1) make(2) make(3) make(4) make(5)

typedef struct v16 {
    float32x4_t q[4]; /* lanes 0-3, 4-7, 8-11, 12-15 */
} v16;

INLINE v16 v16_load(const void *p)
{
    v16 r;
    UNROLL for (int i = 0; i < 4; i++) r.q[i] = vreinterpretq_f32_u8(vld1q_u8((const uint8_t *)p + 16 * i));
    return r;
}
INLINE void v16_store(float *p, v16 a)
{
    UNROLL for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.q[i]);
}
INLINE v16 v16_load_n(const void *p, int64_t n)
{
    float lanes[16] = {0};
    memcpy(lanes, p, (size_t)n * sizeof *lanes);
    return v16_load(lanes);
}
INLINE void v16_store_n(float *p, v16 a, int64_t n)
{
    float lanes[16];
    v16_store(lanes, a);
    memcpy(p, lanes, (size_t)n * sizeof *lanes);
}
INLINE v16 v16_set(float x)
{
    v16 r;
    UNROLL for (int i = 0; i < 4; i++) r.q[i] = vdupq_n_f32(x);
    return r;
}
#define QUARTER_BY_QUARTER(name, expression)    \
    INLINE v16 v16_##name(v16 x, v16 y)         \
    {                                           \
        UNROLL for (int i = 0; i < 4; i++)      \
        {                                       \
            float32x4_t a = x.q[i], b = y.q[i]; \
            x.q[i] = expression;                \
        }                                       \
        return x;                               \
    }
QUARTER_BY_QUARTER(add, vaddq_f32(a, b))
QUARTER_BY_QUARTER(sub, vsubq_f32(a, b))
QUARTER_BY_QUARTER(mul, vmulq_f32(a, b))
QUARTER_BY_QUARTER(div, vdivq_f32(a, b))
QUARTER_BY_QUARTER(max, vbslq_f32(vcgtq_f32(a, b), a, b)) /* vmaxq would spread NaN */
QUARTER_BY_QUARTER(min, vbslq_f32(vcltq_f32(a, b), a, b))
INLINE v16 v16_sqrt(v16 a)
{
    UNROLL for (int i = 0; i < 4; i++) a.q[i] = vsqrtq_f32(a.q[i]);
    return a;
}
INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    UNROLL for (int i = 0; i < 4; i++) c.q[i] = vfmaq_f32(c.q[i], a.q[i], b.q[i]);
    return c;
}
INLINE v16 v16_load_f16(const void *p)
{
    v16 r;
    UNROLL for (int i = 0; i < 4; i++) r.q[i] =
        vcvt_f32_f16(vreinterpret_f16_u8(vld1_u8((const uint8_t *)p + 8 * i)));
    return r;
}
INLINE v16 v16_load_bf16(const void *p)
{
    v16 r;
    UNROLL for (int i = 0; i < 4; i++)
    {
        uint16x4_t half = vreinterpret_u16_u8(vld1_u8((const uint8_t *)p + 8 * i));
        r.q[i] = vreinterpretq_f32_u32(vshll_n_u16(half, 16));
    }
    return r;
}
/* In two steps, as in the AVX2 form. */
INLINE v16 v16_times_power(v16 p, v16 n)
{
    const int32x4_t bias = vdupq_n_s32(127);
    UNROLL for (int i = 0; i < 4; i++)
    {
        int32x4_t whole = vcvtq_s32_f32(n.q[i]), half = vshrq_n_s32(whole, 1), rest = vsubq_s32(whole, half);
        p.q[i] = vmulq_f32(p.q[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
        p.q[i] = vmulq_f32(p.q[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
    }
    return p;
}
INLINE float v16_sum(v16 a)
{
    float32x4_t four = vaddq_f32(vaddq_f32(a.q[0], a.q[2]), vaddq_f32(a.q[1], a.q[3]));
    float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
    return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
}
/* Quarter j of four rows r[0..3], as columns. */
INLINE void transpose_4x4(v16 *r, int j, float32x4_t columns[4])
{
    float32x4_t a = r[0].q[j], b = r[1].q[j], c = r[2].q[j], d = r[3].q[j];
    float32x4x2_t ac = vzipq_f32(a, c), bd = vzipq_f32(b, d); /* a0 c0 a1 c1 | a2 c2 a3 c3 */
    float32x4x2_t low = vzipq_f32(ac.val[0], bd.val[0]), high = vzipq_f32(ac.val[1], bd.val[1]);
    columns[0] = low.val[0], columns[1] = low.val[1], columns[2] = high.val[0], columns[3] = high.val[1];
}
INLINE void v16_transpose(v16 r[16])
{
    v16 t[16];
    UNROLL for (int i = 0; i < 4; i++)
    {
        UNROLL for (int j = 0; j < 4; j++)
        {
            float32x4_t columns[4];
            transpose_4x4(r + 4 * i, j, columns);
            UNROLL for (int k = 0; k < 4; k++) t[4 * j + k].q[i] = columns[k];
        }
    }
    UNROLL for (int i = 0; i < 16; i++) r[i] = t[i];
}

/* ------------------------------------------------------------------------------------------------ */
#else /* plain C */

#define SET_NAME               scalar
#define TILE_VECS              1
#define TILE_ROWS              4
#define EACH_TILE_HEIGHT(make) make(1) make(2) make(3) make(4)

typedef struct v16 {
    float f[16];
} v16;

INLINE v16 v16_load_n(const void *p, int64_t n)
{
    v16 r = {{0}};
    memcpy(r.f, p, (size_t)n * sizeof(float));
    return r;
}
INLINE v16 v16_load(const void *p)
{
    v16 r;
    memcpy(r.f, p, sizeof r.f);
    return r;
}
INLINE void v16_store_n(float *p, v16 a, int64_t n)
{
    memcpy(p, a.f, (size_t)n * sizeof(float));
}
INLINE void v16_store(float *p, v16 a)
{
    memcpy(p, a.f, sizeof a.f);
}
INLINE v16 v16_set(float x)
{
    v16 r;
    for (int i = 0; i < 16; i++) r.f[i] = x;
    return r;
}
#define LANE_BY_LANE(name, expression)    \
    INLINE v16 v16_##name(v16 x, v16 y)   \
    {                                     \
        for (int i = 0; i < 16; i++) {    \
            float a = x.f[i], b = y.f[i]; \
            x.f[i] = expression;          \
        }                                 \
        return x;                         \
    }
LANE_BY_LANE(add, a + b)
LANE_BY_LANE(sub, a - b)
LANE_BY_LANE(mul, a *b)
LANE_BY_LANE(div, a / b)
LANE_BY_LANE(max, a > b ? a : b)
LANE_BY_LANE(min, a < b ? a : b)
INLINE v16 v16_sqrt(v16 a)
{
    for (int i = 0; i < 16; i++) a.f[i] = sqrtf(a.f[i]);
    return a;
}
OUTLINE v16 v16_times_power(v16 p, v16 n)
{
    for (int i = 0; i < 16; i++) p.f[i] = ldexpf(p.f[i], n.f[i] == n.f[i] ? (int)n.f[i] : 0);
    return p;
}
INLINE v16 v16_fma(v16 a, v16 b, v16 c)
{
    for (int i = 0; i < 16; i++) c.f[i] = fmaf(a.f[i], b.f[i], c.f[i]);
    return c;
}
OUTLINE v16 v16_load_f16(const void *p)
{
    uint16_t h[16];
    v16 r;
    memcpy(h, p, sizeof h);
    for (int i = 0; i < 16; i++) r.f[i] = vdm_from_f16(h[i]);
    return r;
}
INLINE v16 v16_load_bf16(const void *p)
{
    uint16_t h[16];
    v16 r;
    memcpy(h, p, sizeof h);
    for (int i = 0; i < 16; i++) r.f[i] = vdm_from_bf16(h[i]);
    return r;
}
INLINE float v16_sum(v16 a)
{
    for (int width = 8; width >= 1; width /= 2)
        for (int j = 0; j < width; j++) a.f[j] += a.f[j + width];
    return a.f[0];
}
OUTLINE void v16_transpose(v16 r[16])
{
    for (int i = 0; i < 16; i++) {
        for (int j = 0; j < i; j++) {
            float swap = r[i].f[j];
            r[i].f[j] = r[j].f[i];
            r[j].f[i] = swap;
        }
    }
}
#endif

/* ------------------------------------------------------------------------------------------------
 * Built from these, for every form */

/* -a: 0 has two signs, so not 0 - a */
INLINE v16 v16_neg(v16 a)
{
    return v16_sub(v16_set(-0.0f), a);
}

/* The first n lanes of a, 0 in the others. */
INLINE v16 v16_first(v16 a, int64_t n)
{
    float lanes[16];
    if (n == 16) return a;
    v16_store(lanes, a);
    return v16_load_n(lanes, n);
}

/* n <= 16 elements of a dtype as f32, 0 in the other lanes */
INLINE v16 v16_widen(const void *p, vdm_dtype dtype, int64_t n)
{
    uint16_t halves[16] = {0};
    if (dtype == VDM_F32) return n == 16 ? v16_load(p) : v16_load_n(p, n);
    if (n < 16) p = memcpy(halves, p, (size_t)n * sizeof *halves);
    return dtype == VDM_F16 ? v16_load_f16(p) : v16_load_bf16(p);
}

/* e^(x - n ln 2) by a polynomial. ln 2 is a sum of two constants; n times the first one is exact. */
INLINE v16 exp_of_rest(v16 x, v16 n)
{
    const v16 one = v16_set(1);
    v16 r = v16_fma(n, v16_set(-0.693359375f), x);
    r = v16_fma(n, v16_set(2.12194440e-4f), r);
    v16 p = v16_set(1.9875691500e-4f);
    p = v16_fma(p, r, v16_set(1.3981999507e-3f));
    p = v16_fma(p, r, v16_set(8.3334519073e-3f));
    p = v16_fma(p, r, v16_set(4.1665795894e-2f));
    p = v16_fma(p, r, v16_set(1.6666665459e-1f));
    p = v16_fma(p, r, v16_set(5.0000001201e-1f));
    p = v16_fma(p, r, one);
    return v16_fma(p, r, one);
}

/* exp, errors below 1.0 units in the last place: x = n ln 2 + r, |r| <= ln 2 / 2, e^r a polynomial, 2^n exact. Adding and
 * subtracting 1.5 2^23 rounds. */
#if defined(VDM_SET_scalar) || defined(V16_ADD_POWER)
OUTLINE v16 exp_anywhere(v16 x)
#else
INLINE v16 exp_anywhere(v16 x)
#endif
{
    const v16 magic = v16_set(12582912.0f);
    x = v16_max(v16_set(-104), v16_min(v16_set(89), x)); /* to 0, to infinity; NaN stays */
    v16 n = v16_sub(v16_fma(x, v16_set(1.44269504f), magic), magic);
    return v16_times_power(exp_of_rest(x, n), n);
}
INLINE v16 v16_exp(v16 x)
{
#ifdef V16_ADD_POWER /* if e^x is normal, n is added to its exponent; the last bits of magic + n are n */
    const v16 magic = v16_set(12582912.0f);
    if (LIKELY(v16_all_within(x, 87))) {
        v16 rounded = v16_fma(x, v16_set(1.44269504f), magic);
        return v16_add_power(exp_of_rest(x, v16_sub(rounded, magic)), rounded);
    }
#endif
    return exp_anywhere(x);
}

/* ------------------------------------------------------------------------------------------------
 * Products of bf16 */

#ifdef V16_PAIRS
INLINE v16 v16_load_pairs(const void *p)
{
    return v16_load(p);
}
#else
OUTLINE v16 v16_load_pairs(const void *p)
{
    uint16_t x[32];
    uint32_t pair[16];
    memcpy(x, p, sizeof x);
    for (int i = 0; i < 16; i++) pair[i] = x[2 * i] | (uint32_t)x[2 * i + 1] << 16;
    return v16_load(pair);
}
INLINE uint32_t bf16_of(float x)
{
    return vdm_to_bf16(fabsf(x) < FLT_MIN ? copysignf(0, x) : x);
}
OUTLINE v16 v16_pair(v16 a, v16 b)
{
    float x[16], y[16];
    uint32_t p[16];
    v16_store(x, a), v16_store(y, b);
    for (int i = 0; i < 16; i++) p[i] = bf16_of(x[i]) | bf16_of(y[i]) << 16;
    return v16_load(p);
}
OUTLINE v16 v16_pairs(v16 a, v16 b)
{
    float x[32];
    uint32_t p[16];
    v16_store(x, a), v16_store(x + 16, b);
    for (int i = 0; i < 16; i++) p[i] = bf16_of(x[2 * i]) | bf16_of(x[2 * i + 1]) << 16;
    return v16_load(p);
}
OUTLINE v16 v16_even(v16 pairs)
{
    float x[16];
    uint32_t p[16];
    v16_store(x, pairs);
    memcpy(p, x, sizeof p);
    for (int i = 0; i < 16; i++) p[i] <<= 16;
    return v16_load(p);
}
OUTLINE v16 v16_odd(v16 pairs)
{
    float x[16];
    uint32_t p[16];
    v16_store(x, pairs);
    memcpy(p, x, sizeof p);
    for (int i = 0; i < 16; i++) p[i] &= 0xffff0000u;
    return v16_load(p);
}
#endif

#if defined(VDM_SET_avx2) || defined(V16_AVX512)
/* Until flush_end all arithmetic treats denormal operands as 0 and returns 0 for denormal results; vdpbf16ps always does. */
INLINE unsigned flush_begin(void)
{
    unsigned before = _mm_getcsr();
    _mm_setcsr(before | 0x8040);
    return before;
}
INLINE void flush_end(unsigned before)
{
    _mm_setcsr(before);
}
INLINE v16 v16_flush(v16 a)
{
    return a;
}
INLINE v16 v16_fma_flushed(v16 a, v16 b, v16 c)
{
    return v16_fma(a, b, c);
}
#else
INLINE unsigned flush_begin(void)
{
    return 0;
}
INLINE void flush_end(unsigned before)
{
    (void)before;
}
INLINE float flushed(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}
/* A result counts as denormal if it would be below FLT_MIN when rounded to 24 bits; fmaf may have rounded it to fewer
 * bits, up to FLT_MIN itself. Results that small are recomputed with operands scaled by a power of two. */
INLINE float fma_flushed(float a, float b, float c)
{
    a = flushed(a), b = flushed(b), c = flushed(c);
    float r = fmaf(a, b, c), large = 0x1p48f;
    if (r == 0 || !(fabsf(r) <= FLT_MIN)) return r;
    return fabsf(fmaf(a * large, b, c * large)) < FLT_MIN * large ? copysignf(0, r) : r;
}
OUTLINE v16 v16_flush(v16 a)
{
    float x[16];
    v16_store(x, a);
    for (int i = 0; i < 16; i++) x[i] = flushed(x[i]);
    return v16_load(x);
}
OUTLINE v16 v16_fma_flushed(v16 a, v16 b, v16 c)
{
    float x[16], y[16], z[16];
    v16_store(x, a), v16_store(y, b), v16_store(z, c);
    for (int i = 0; i < 16; i++) z[i] = fma_flushed(x[i], y[i], z[i]);
    return v16_load(z);
}
#endif

#endif
