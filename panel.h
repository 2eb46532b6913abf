/* Products of packed panels: the inner loop under matmul, convolution and attention.
 *
 *                  k: kc numbers              The left factor is packed in panels of TILE_ROWS rows, the
 *            +------------------+             right one in panels of TILE_COLS columns, k by k, so that
 *   TILE_    | a0 a1 a2         |             both are read from front to back:
 *   ROWS     | b0 b1 b2   left  |
 *            | c0 c1 c2         |               left panel    a0 b0 c0 a1 b1 c1 a2 b2 c2 ...
 *            +------------------+               right panel   p0 q0 p1 q1 ...  (p0: TILE_COLS numbers)
 *      +--+  +------------------+
 *    k |p0|  | output tile:     |             One step of k multiplies TILE_ROWS numbers, each spread over
 *      |p1|  | sums in registers|             a vector, with the TILE_COLS numbers of the right panel: no
 *      +--+  +------------------+             sum across lanes ever, so every output is one chain over k.
 *
 * The last panel of a factor may have fewer rows: left panels then keep their width, right panels are
 * filled up with zeros. Pieces of VDM_CHAIN are summed in registers and then added to the output (rule 1). */
#ifndef VDM_PANEL_H
#define VDM_PANEL_H

#include "kernels.h"
#include "simd.h"

enum { TILE_COLS = 16 * TILE_VECS };

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* ------------------------------------------------------------------------------------------------
 * Packing: panel[k * width + r] = x(r, k), 0 for r >= n */

/* 16 numbers are stored even where the panel's row is narrower: the next row overwrites the rest. Not so at
 * the panel's end, beyond which another thread may be packing: `room` floats are left there. */
INLINE void panel_store(float *panel, int64_t at, int64_t room, v16 x, int64_t lanes)
{
    if (at + 16 <= room)
        v16_store(panel + at, x);
    else
        v16_store_n(panel + at, x, lanes);
}

/* Rows anywhere, numbers of a row side by side: 16 x 16 blocks turned round in registers. */
INLINE void pack_rows_as(float *panel, int64_t room, int64_t width, const char *const *rows, int64_t n,
                         vdm_dtype dtype, int64_t kc)
{
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    for (int64_t r = 0; r < width; r += 16) {
        for (int64_t k = 0; k < kc; k += 16) {
            int64_t depth = smaller(16, kc - k), at = k * width + r;
            v16 block[16];
            if (r + 16 <= n && depth == 16) {
                UNROLL for (int i = 0; i < 16; i++) block[i] = v16_widen(rows[r + i] + k * bytes, dtype, 16);
            } else {
                for (int i = 0; i < 16; i++)
                    block[i] = r + i < n ? v16_widen(rows[r + i] + k * bytes, dtype, depth) : v16_set(0);
            }
            v16_transpose(block);
            if (depth == 16 && at + 15 * width + 16 <= room) {
                UNROLL for (int i = 0; i < 16; i++) v16_store(panel + at + i * width, block[i]);
            } else {
                for (int i = 0; i < depth; i++)
                    panel_store(panel, at + i * width, room, block[i], smaller(16, width - r));
            }
        }
    }
}

static inline void pack_rows(float *panel, int64_t room, int64_t width, const char *const *rows, int64_t n,
                             vdm_dtype dtype, int64_t kc)
{
    switch (dtype) { /* a copy of the loop for each */
    case VDM_F16:
        pack_rows_as(panel, room, width, rows, n, VDM_F16, kc);
        break;
    case VDM_BF16:
        pack_rows_as(panel, room, width, rows, n, VDM_BF16, kc);
        break;
    default:
        pack_rows_as(panel, room, width, rows, n, VDM_F32, kc);
        break;
    }
}

/* Numbers of equal k side by side: row k of the panel is a row of x. */
static inline void pack_across(float *panel, int64_t width, const char *x, int64_t k_bytes, int64_t n,
                               vdm_dtype dtype, int64_t kc)
{
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    for (int64_t k = 0; k < kc; k++, x += k_bytes)
        for (int64_t r = 0; r < width; r += 16) {
            v16 v = r < n ? v16_widen(x + r * bytes, dtype, smaller(16, n - r)) : v16_set(0);
            panel_store(panel, k * width + r, kc * width, v, smaller(16, width - r));
        }
}

/* Neither */
static inline void pack_scattered(float *panel, int64_t width, const char *x, int64_t r_bytes,
                                  int64_t k_bytes, int64_t n, vdm_dtype dtype, int64_t kc)
{
    for (int64_t k = 0; k < kc; k++)
        for (int64_t r = 0; r < width; r++) {
            float one[16] = {0};
            if (r < n) v16_store(one, v16_widen(x + r * r_bytes + k * k_bytes, dtype, 1));
            panel[k * width + r] = one[0];
        }
}

/* x(r,k) = x[r * r_stride + k * k_stride], n rows, kc deep */
static inline void pack(float *panel, int64_t width, const void *x, vdm_dtype dtype, int64_t r_stride,
                        int64_t k_stride, int64_t n, int64_t kc)
{
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    const char *p = x, *rows[TILE_COLS > 16 ? TILE_COLS : 16];
    if (k_stride == 1) {
        for (int64_t r = 0; r < n; r++) rows[r] = p + r * r_stride * bytes;
        pack_rows(panel, kc * width, width, rows, n, dtype, kc);
    } else if (r_stride == 1) {
        pack_across(panel, width, p, k_stride * bytes, n, dtype, kc);
    } else {
        pack_scattered(panel, width, p, r_stride * bytes, k_stride * bytes, n, dtype, kc);
    }
}

/* All panels of a factor of n rows, one after the other, each width * kc floats. */
static inline void pack_all(float *panels, int64_t width, const float *x, int64_t r_stride, int64_t k_stride,
                            int64_t n, int64_t kc)
{
    for (int64_t r = 0; r < n; r += width)
        pack(panels + r * kc, width, x + r * r_stride, VDM_F32, r_stride, k_stride, smaller(width, n - r),
             kc);
}

/* ------------------------------------------------------------------------------------------------
 * Products */

/* The tile of `rows` x 16 `vecs` outputs at c; a: rows side by side, `step` apart from k to k + 1. */
INLINE void tile(const int rows, const int vecs, int64_t kc, const float *a, int64_t step, const float *b,
                 float *c, int64_t c_row, bool add)
{
    for (int64_t k0 = 0; k0 < kc; k0 += VDM_CHAIN, add = true) {
        v16 sum[TILE_ROWS][TILE_VECS];
        UNROLL for (int r = 0; r < rows; r++)
        {
            UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = v16_set(0);
        }
        for (int64_t k = smaller(VDM_CHAIN, kc - k0); k > 0; k--, a += step, b += TILE_COLS) {
            v16 column[TILE_VECS];
            UNROLL for (int v = 0; v < vecs; v++) column[v] = v16_load(b + 16 * v);
            UNROLL for (int r = 0; r < rows; r++)
            {
                v16 one = v16_set(a[r]);
                UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = v16_fma(one, column[v], sum[r][v]);
            }
        }
        UNROLL for (int r = 0; r < rows; r++)
        {
            UNROLL for (int v = 0; v < vecs; v++)
            {
                float *p = c + r * c_row + 16 * v;
                v16_store(p, add ? v16_add(v16_load(p), sum[r][v]) : sum[r][v]);
            }
        }
    }
}

typedef void tile_function(int vecs, int64_t kc, const float *a, int64_t step, const float *b, float *c,
                           int64_t c_row, bool add);
#define TILE_OF(rows)                                                                                     \
    static void tile_##rows(int vecs, int64_t kc, const float *a, int64_t step, const float *b, float *c, \
                            int64_t c_row, bool add)                                                      \
    {                                                                                                     \
        if (vecs == TILE_VECS)                                                                            \
            tile(rows, TILE_VECS, kc, a, step, b, c, c_row, add);                                         \
        else                                                                                              \
            tile(rows, 1, kc, a, step, b, c, c_row, add);                                                 \
    }
#define TILE_NAME(rows) tile_##rows,
EACH_TILE_HEIGHT(TILE_OF)
static tile_function *const tiles[TILE_ROWS] = {EACH_TILE_HEIGHT(TILE_NAME)};

/* The left factor: packed panels, or rows side by side in memory (panel 1, any step). */
struct left {
    const float *data;
    int64_t panel; /* floats from row r to row r + TILE_ROWS, divided by TILE_ROWS: kc where packed */
    int64_t step;  /* floats from k to k + 1: TILE_ROWS where packed */
};
static inline struct left packed_left(const float *panels, int64_t kc)
{
    struct left a = {panels, kc, TILE_ROWS};
    return a;
}

/* Output (r,n) is c[r * row + n * col]. */
struct output {
    float *c;
    int64_t row, col;
};

/* A tile that hangs over the edge of the output, or whose outputs are not side by side: by way of a copy. */
static void tile_at_edge(int64_t rows, int64_t cols, int64_t kc, const float *a, int64_t step, const float *b,
                         struct output o, bool add)
{
    float copy[TILE_ROWS * TILE_COLS];
    if (add)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t n = 0; n < TILE_COLS; n++)
                copy[r * TILE_COLS + n] = n < cols ? o.c[r * o.row + n * o.col] : 0;
    tiles[rows - 1]((int)((cols + 15) / 16), kc, a, step, b, copy, TILE_COLS, add);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < cols; n++) o.c[r * o.row + n * o.col] = copy[r * TILE_COLS + n];
}

/* output [rows,cols] (+)= left [rows,kc] right [kc,cols]; kc > 0 */
static void multiply(int64_t rows, int64_t cols, int64_t kc, struct left a, const float *right,
                     struct output o, bool add)
{
    for (int64_t n = 0; n < cols; n += TILE_COLS) {
        int64_t wide = smaller(TILE_COLS, cols - n);
        const float *b = right + n * kc;
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            int64_t high = smaller(TILE_ROWS, rows - r);
            struct output at = {o.c + r * o.row + n * o.col, o.row, o.col};
            if (wide % 16 == 0 && o.col == 1)
                tiles[high - 1]((int)(wide / 16), kc, a.data + r * a.panel, a.step, b, at.c, o.row, add);
            else
                tile_at_edge(high, wide, kc, a.data + r * a.panel, a.step, b, at, add);
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Threads. Without OpenMP the loops run in order. */
#ifdef _OPENMP
#include <omp.h>
#define OMP(directive) _Pragma(#directive)
#define PARALLEL_FOR(threads) OMP(omp parallel for num_threads(threads) schedule(static))
static inline int thread_number(void)
{
    return omp_get_thread_num();
}
#else
#define OMP(directive)
#define PARALLEL_FOR(threads) (void)(threads);
static inline int thread_number(void)
{
    return 0;
}
#endif

/* How cpu->scratch is divided: matmul's two packed factors, or a part for each thread of attention, or a
 * few arrays of the norms. */
enum {
    DEPTH = 1024,               /* k packed at once: 4 chains, between which the output tile stays in L1 */
    RIGHT_COLS = 1536,          /* columns packed at once, by all threads: 6 MB, in L3 */
    LEFT_ROWS = 336,            /* rows packed at once for each thread: 1.3 MB, in L2 and L3 */
    TASK_ROWS = 168,            /* outputs that a thread computes at once: small, so that all end together, */
    TASK_COLS = 256,            /* and large, so that what is read is used often */
    ATTENTION_FLOATS = 1 << 19, /* buffers of one thread of attention at Dh = VDM_MAX_HEAD */
    NORM_FLOATS = 1 << 18       /* sums of group norm */
};

/* attention.c, compiled like kernels.c once per instruction set */
#define JOIN_(a, b)   a##b
#define JOIN(a, b)    JOIN_(a, b)
#define FOR_SET(name) JOIN(name, SET_NAME)
#define NAME_OF_(set) #set
#define NAME_OF(set)  NAME_OF_(set)
void FOR_SET(vdm_attention_forward_)(const vdm_cpu *cpu, const vdm_attention_args *a);
void FOR_SET(vdm_attention_backward_)(const vdm_cpu *cpu, const vdm_attention_args *a);

#endif
