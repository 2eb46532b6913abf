/* Products of packed panels: the inner loop under matmul, convolution and attention.
 *
 *                  k: kc elements             The left factor (lhs) is packed in panels of TILE_ROWS rows,
 *            +------------------+             the right one (rhs) in panels of TILE_COLS columns, ordered by
 *   TILE_    | a0 a1 a2         |             k, so that both are read from front to back:
 *   ROWS     | b0 b1 b2   left  |
 *            | c0 c1 c2         |               left panel    a0 b0 c0 a1 b1 c1 a2 b2 c2 ...
 *            +------------------+               right panel   p0 p1 p2 ...  (p0: TILE_COLS elements)
 *      +--+  +------------------+
 *    k |p0|  | output tile:     |             One step of k multiplies TILE_ROWS elements, each broadcast to
 *      |p1|  | sums in registers|             a vector, by the TILE_COLS elements of the right panel. Lanes are
 *      +--+  +------------------+             never summed, so that every output is one chain over k.
 *
 * The loops around it are those of BLIS (products.c: run_share):
 *
 *     for nc columns of the rhs (NC)                  packed once: L3
 *       for kc of k (KC)
 *         for mc rows of the lhs (MC)                 packed: L2, L3
 *           for every micro-panel of the rhs          TILE_COLS columns: L1
 *             for every micro-panel of the lhs        TILE_ROWS rows
 *               micro-kernel: a tile of the output in registers
 *
 * If the last panel of a factor has fewer rows, its width stays the same; the outputs of the missing rows are not
 * stored. Pieces of VDM_CHAIN are summed in registers and then added to the output (rule 1).
 *
 * The unit of a panel is a cell of 32 bits, a0 above: in f32 an element; in bf16 (rule 5) a pair, elements 2i and 2i + 1 of
 * k, rounded, in the low and high half. A panel of pairs has half as many cells. Only the multiplication interprets them;
 * all other code moves them as floats. Rule 6 has the same pairs, padded with zeros to pieces of 16. If the processor
 * computes it in AMX tiles (vector.h: V16_AMX), a left panel has 16 rows, and consists of blocks of 16 x 16 cells stored
 * row by row. */
#ifndef VDM_GEMM_H
#define VDM_GEMM_H

#include "kernels/kernels.h"
#include "kernels/vector.h"

#ifdef V16_DOT
enum { ONLY_PAIRS = true }; /* set.c: the products of f32 are those of avx512 */
#else
enum { ONLY_PAIRS = false };
#endif

enum {
    TILE_COLS = 16 * TILE_VECS,
    PANEL_MAX = 32 /* maximum rows of a panel, rounded up to a multiple of 16 */
};

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* Takes a buffer from the scratch memory at *at, which moves on. */
static float *take(float **at, int64_t floats)
{
    float *p = *at;
    *at += floats;
    return p;
}
/* p + n; NULL if p is */
static const float *offset_or_null(const float *p, int64_t n)
{
    return p ? p + n : NULL;
}

enum {
    PIECE_CELLS = 16,   /* of a piece of rule 6 */
    AMX_PANEL_ROWS = 16 /* of a left panel for AMX */
};

/* The depth kc of a product, in cells, and how they are summed */
struct depth {
    bool pairs; /* a cell is a pair of bf16: rule 5, */
    bool rule6; /* or rule 6, */
    bool amx;   /* in the processor's AMX tiles */
    int64_t cells;
};
/* Whether products are computed in the processor's AMX tiles. */
static inline bool uses_amx(const vdm_cpu *cpu)
{
#ifdef V16_AMX
    return cpu->precision == VDM_PRECISION_AMX && cpu->kernels->tiles;
#else
    (void)cpu;
    return false;
#endif
}
static inline struct depth depth_of(const vdm_cpu *cpu, int64_t kc)
{
    bool pairs = cpu->precision != VDM_PRECISION_F32, rule6 = cpu->precision == VDM_PRECISION_AMX;
    int64_t cells = pairs ? (kc + 1) / 2 : kc;
    struct depth d = {pairs, rule6, uses_amx(cpu), rule6 ? round_up(cells, PIECE_CELLS) : cells};
    return d;
}

/* Rows of a left panel. */
static inline int64_t lhs_width(struct depth d)
{
    return d.amx ? AMX_PANEL_ROWS : TILE_ROWS;
}
/* Whether a panel of this width is a left one for AMX, in blocks of 16 x 16 cells: right panels are wider. */
static inline bool is_amx_panel(int64_t width, struct depth d)
{
    return d.amx && width == AMX_PANEL_ROWS;
}

/* ------------------------------------------------------------------------------------------------
 * Packing: panel[k * width + r] = x(r,k), or the pair of x(r,2k) and x(r,2k + 1). Rows beyond the n rows of x hold
 * arbitrary finite values, whose products are not stored. */

/* Stores 16 cells even if the panel is narrower, because the next row of cells overwrites the surplus. At the panel's
 * end, `capacity` floats after its beginning, it stores only `lanes`: another thread may be packing the memory behind it. */
INLINE void panel_store(float *panel, int64_t at, int64_t capacity, v16 x, int64_t lanes)
{
    if (at + 16 <= capacity)
        v16_store(panel + at, x);
    else
        v16_store_n(panel + at, x, lanes);
}

/* 16 cells from the n elements at p, at most 16 or 32 (pairs); cells beyond them are 0. */
INLINE v16 load_row_cells(const char *p, vdm_dtype dtype, const bool pairs, int64_t n)
{
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    if (pairs && dtype == VDM_BF16 && n == 32) return v16_load_pairs(p);
    v16 first = v16_widen(p, dtype, smaller(16, n));
    if (!pairs) return first;
    return v16_pairs(first, n > 16 ? v16_widen(p + 16 * bytes, dtype, n - 16) : v16_set(0));
}

/* 16 cells of each of `count` rows, `at` bytes after the rows' beginnings */
INLINE void load_cells(const int count, v16 *block, const char *const rows[16], int64_t at, vdm_dtype dtype,
                       const bool pairs)
{
    UNROLL for (int i = 0; i < count; i++) block[i] =
        load_row_cells(rows[i] + at, dtype, pairs, pairs ? 32 : 16);
}
INLINE void load_block(const int count, v16 *block, const char *const rows[16], int64_t at, vdm_dtype dtype,
                       bool pairs)
{
    if (!pairs && dtype == VDM_F32) /* conv_strips.c needs it everywhere */
        load_cells(count, block, rows, at, VDM_F32, false);
    else if (!ONLY_PAIRS && !pairs && dtype == VDM_F16)
        load_cells(count, block, rows, at, VDM_F16, false);
    else if (!ONLY_PAIRS && !pairs)
        load_cells(count, block, rows, at, VDM_BF16, false);
    else if (dtype == VDM_F32)
        load_cells(count, block, rows, at, VDM_F32, true);
    else if (dtype == VDM_F16)
        load_cells(count, block, rows, at, VDM_F16, true);
    else
        load_cells(count, block, rows, at, VDM_BF16, true);
}

/* Copies `bytes` bytes of each of 16 rows, from byte `at` on, into rows of 128 bytes, padded with zeros. */
static void pad_rows(char copy[16][128], const char *rows[16], int64_t at, int64_t bytes)
{
    memset(copy, 0, 16 * sizeof *copy);
    for (int i = 0; i < 16; i++) rows[i] = memcpy(copy[i], rows[i] + at, (size_t)bytes);
}

/* For rows whose elements are contiguous: blocks of 16 x 16 cells are transposed in registers. rows: pointers, as many as
 * `width` rounded up to a multiple of 16. */
NOINLINE static void pack_rows(float *panel, int64_t capacity, int64_t width, const char *const *rows,
                               vdm_dtype dtype, int64_t kc, bool pairs)
{
    const int64_t bytes = dtype == VDM_F32 ? 4 : 2, each = pairs ? 2 : 1;
    for (int64_t r = 0; r < width; r += 16) {
        const char *row[16];
        char last[16][128];
        memcpy(row, rows + r, sizeof row);
        for (int64_t k = 0; k < kc; k += 16 * each) {
            int64_t elements = smaller(16 * each, kc - k), depth = (elements + each - 1) / each;
            int64_t at = k / each * width + r, first = k * bytes;
            v16 block[16];
            if (elements < 16 * each) pad_rows(last, row, first, elements * bytes), first = 0;
#ifdef V16_LOW_PANELS
            if (width <= 8 && depth == 16) { /* left panels: half the rows */
                load_block(8, block, row, first, dtype, pairs);
                v16_transpose_low(block);
                v16_store_low(panel + at, width, block, width);
                continue;
            }
#endif
            load_block(16, block, row, first, dtype, pairs);
            v16_transpose(block);
            if (depth == 16 && at + 15 * width + 16 <= capacity) {
                UNROLL for (int i = 0; i < 16; i++) v16_store(panel + at + i * width, block[i]);
            } else {
                UNROLL for (int i = 0; i < 16; i++)
                {
                    if (i < depth)
                        panel_store(panel, at + i * width, capacity, block[i], smaller(16, width - r));
                }
            }
        }
    }
}

/* The same for AMX: n <= 16 rows become blocks of 16 x 16 cells, which are not transposed, padded with zeros. */
INLINE void pack_amx_rows_as(float *panel, const char *const *rows, int64_t n, vdm_dtype dtype, int64_t kc)
{
    const int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    for (int64_t k = 0; k < kc; k += 32)
        for (int64_t r = 0; r < AMX_PANEL_ROWS; r++, panel += 16)
            v16_store(panel, r < n ? load_row_cells(rows[r] + k * bytes, dtype, true, smaller(32, kc - k))
                                   : v16_set(0));
}
NOINLINE static void pack_amx_rows(float *panel, const char *const *rows, int64_t n, vdm_dtype dtype,
                                   int64_t kc)
{
    if (dtype == VDM_F32)
        pack_amx_rows_as(panel, rows, n, VDM_F32, kc);
    else
        pack_amx_rows_as(panel, rows, n, dtype, kc);
}

/* For elements of equal k that are contiguous: cells k of the panel are a copy of them, or pairs of two k. k_bytes: from
 * one k to the next. */
INLINE void pack_columns_as(float *panel, int64_t width, const char *x, int64_t k_bytes, int64_t n,
                            vdm_dtype dtype, int64_t kc, const bool pairs)
{
    const int64_t bytes = dtype == VDM_F32 ? 4 : 2, each = pairs ? 2 : 1;
    int64_t capacity = (kc + each - 1) / each * width;
    for (int64_t k = 0; k < kc; k += each, x += each * k_bytes)
        for (int64_t r = 0; r < width; r += 16) {
            int64_t lanes = smaller(16, n - r);
            v16 v = r < n ? v16_widen(x + r * bytes, dtype, lanes) : v16_set(0);
            if (pairs && r < n)
                v = v16_pair(v, k + 1 < kc ? v16_widen(x + k_bytes + r * bytes, dtype, lanes) : v16_set(0));
            panel_store(panel, k / each * width + r, capacity, v, smaller(16, width - r));
        }
}

NOINLINE static void pack_columns(float *panel, int64_t width, const char *x, int64_t k_bytes, int64_t n,
                                  vdm_dtype dtype, int64_t kc, bool pairs)
{
    pairs = pairs || ONLY_PAIRS;
    if (!pairs && dtype == VDM_F32)
        pack_columns_as(panel, width, x, k_bytes, n, VDM_F32, kc, false);
    else if (!pairs && dtype == VDM_F16)
        pack_columns_as(panel, width, x, k_bytes, n, VDM_F16, kc, false);
    else if (!pairs)
        pack_columns_as(panel, width, x, k_bytes, n, VDM_BF16, kc, false);
    else if (dtype == VDM_F32)
        pack_columns_as(panel, width, x, k_bytes, n, VDM_F32, kc, true);
    else if (dtype == VDM_F16)
        pack_columns_as(panel, width, x, k_bytes, n, VDM_F16, kc, true);
    else
        pack_columns_as(panel, width, x, k_bytes, n, VDM_BF16, kc, true);
}

/* x(r,k) = data[r * r_stride + k * k_stride], elements of `dtype` */
struct strided {
    const void *data;
    vdm_dtype dtype;
    int64_t r_stride, k_stride;
};

/* For any strides: element by element. */
NOINLINE static void pack_elements(float *panel, int64_t width, const struct strided *x, int64_t n,
                                   int64_t kc, bool pairs)
{
    const vdm_dtype dtype = x->dtype;
    int64_t each = pairs ? 2 : 1, bytes = dtype == VDM_F32 ? 4 : 2;
    for (int64_t k = 0; k < kc; k += each)
        for (int64_t r = 0; r < width; r++) {
            const char *p = (const char *)x->data + (r * x->r_stride + k * x->k_stride) * bytes;
            const char *next = p + x->k_stride * bytes;
            float one[16] = {0};
            v16 v = r < n ? v16_widen(p, dtype, 1) : v16_set(0);
            if (pairs && r < n) v = v16_pair(v, k + 1 < kc ? v16_widen(next, dtype, 1) : v16_set(0));
            v16_store(one, v);
            panel[k / each * width + r] = one[0];
        }
}

/* Zeros after the cells of kc elements */
static inline void pad_panel(float *panel, int64_t width, int64_t kc, struct depth d)
{
    int64_t used = d.pairs ? (kc + 1) / 2 : kc;
    memset(panel + used * width, 0, (size_t)((d.cells - used) * width) * sizeof *panel);
}
/* Transposes each block of 16 x 16 cells of a panel of width 16: AMX's layout. */
NOINLINE static void transpose_blocks(float *panel, int64_t cells)
{
    for (int64_t k = 0; k < cells; k += 16, panel += 256) {
        v16 block[16];
        UNROLL for (int i = 0; i < 16; i++) block[i] = v16_load(panel + 16 * i);
        v16_transpose(block);
        UNROLL for (int i = 0; i < 16; i++) v16_store(panel + 16 * i, block[i]);
    }
}

/* Packs n rows of x, kc elements of each, by the function for its strides. */
NOINLINE static void pack(float *panel, int64_t width, const struct strided *x, int64_t n, int64_t kc,
                          struct depth d)
{
    const vdm_dtype dtype = x->dtype;
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    const char *p = x->data, *rows[PANEL_MAX];
    if (x->k_stride == 1) {
        for (int64_t r = 0; r < round_up(width, 16); r++) rows[r] = p + (r < n ? r : 0) * x->r_stride * bytes;
        if (is_amx_panel(width, d)) {
            pack_amx_rows(panel, rows, n, dtype, kc);
            return;
        }
        pack_rows(panel, d.cells * width, width, rows, dtype, kc, d.pairs);
    } else if (x->r_stride == 1) {
        pack_columns(panel, width, p, x->k_stride * bytes, n, dtype, kc, d.pairs);
    } else {
        pack_elements(panel, width, x, n, kc, d.pairs);
    }
    pad_panel(panel, width, kc, d);
    if (is_amx_panel(width, d)) transpose_blocks(panel, d.cells);
}

/* Packs a factor of n rows: its panels follow each other, width * cells floats each. */
static inline void pack_all(float *panels, int64_t width, const float *x, int64_t r_stride, int64_t k_stride,
                            int64_t n, int64_t kc, struct depth d)
{
    for (int64_t r = 0; r < n; r += width) {
        struct strided rows = {x + r * r_stride, VDM_F32, r_stride, k_stride};
        pack(panels + r * d.cells, width, &rows, smaller(width, n - r), kc, d);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Micro-kernels */

/* One step of a chain: sum(r,n) += a(r) b(n), `rows` cells at a, 16 `vecs` cells at b */
INLINE void step_cells(const int rows, const int vecs, const bool pairs, v16 sum[TILE_ROWS][TILE_VECS],
                       const float *a, const float *b)
{
    v16 column[TILE_VECS];
    UNROLL for (int v = 0; v < vecs; v++) column[v] = v16_load(b + 16 * v);
    UNROLL for (int r = 0; r < rows; r++)
    {
        v16 one = v16_set(a[r]);
#ifdef V16_DOT
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] =
            pairs ? v16_dot(one, column[v], sum[r][v]) : v16_fma(one, column[v], sum[r][v]);
#else
        if (pairs) one = v16_odd(one);
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] =
            pairs ? v16_fma_flushed(one, v16_odd(column[v]), sum[r][v]) : v16_fma(one, column[v], sum[r][v]);
#endif
    }
#ifndef V16_DOT
    if (!pairs) return; /* then the even elements, in a loop of their own: half as many registers */
    UNROLL for (int v = 0; v < vecs; v++) column[v] = v16_even(v16_load(b + 16 * v));
    UNROLL for (int r = 0; r < rows; r++)
    {
        v16 one = v16_even(v16_set(a[r]));
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = v16_fma_flushed(one, column[v], sum[r][v]);
    }
#endif
}

/* sum += c; c = sum: a tile of `rows` x 16 `vecs` outputs, its rows c_row floats apart */
INLINE void tile_add(const int rows, const int vecs, const bool pairs, v16 sum[TILE_ROWS][TILE_VECS],
                     const float *c, int64_t c_row)
{
    UNROLL for (int r = 0; r < rows; r++, c += c_row)
    {
        UNROLL for (int v = 0; v < vecs; v++)
        {
            v16 before = v16_load(c + 16 * v);
            if (pairs)
                sum[r][v] = v16_flush(v16_add(v16_flush(before), sum[r][v]));
            else
                sum[r][v] = v16_add(before, sum[r][v]);
        }
    }
}
INLINE void tile_store(const int rows, const int vecs, float *c, int64_t c_row, v16 sum[TILE_ROWS][TILE_VECS])
{
    UNROLL for (int r = 0; r < rows; r++, c += c_row)
    {
        UNROLL for (int v = 0; v < vecs; v++) v16_store(c + 16 * v, sum[r][v]);
    }
}

/* The right factor of a tile: a panel, or (TILE_OF_ROWS) rows of TILE_COLS elements that begin at x[k] + first */
struct tile_rhs {
    const float *panel;
    const float *const *x;
    int64_t first;
};
/* The operands of a micro-kernel: cell (r,k) of a is a[k * step + r], output (r,n) is c[r * c_row + n]. */
struct tile_product {
    const float *a;
    int64_t step;
    struct tile_rhs b;
    float *c;
    int64_t c_row;
    bool add; /* c += a b, not c = a b */
};
enum tile_kind { TILE_OF_F32, TILE_OF_ROWS, TILE_OF_PAIRS };

/* One chain: sum = a b over n cells */
INLINE void tile_chain(const int rows, const int vecs, const enum tile_kind kind,
                       v16 sum[TILE_ROWS][TILE_VECS], int64_t n, const float *a, int64_t step,
                       struct tile_rhs b)
{
    UNROLL for (int r = 0; r < rows; r++)
    {
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = v16_set(0);
    }
    if (kind == TILE_OF_ROWS)
        for (; n > 0; n--, a += step, b.x++) step_cells(rows, vecs, false, sum, a, *b.x + b.first);
    else
        for (; n > 0; n--, a += step, b.panel += TILE_COLS)
            step_cells(rows, vecs, kind == TILE_OF_PAIRS, sum, a, b.panel);
}

/* A tile of `rows` x 16 `vecs` outputs. Between chains the sums are stored in `partial`, not in c, whose rows are often a
 * multiple of 4096 bytes apart: few such lines fit into a set of L1, and a load waits for a store whose address has the
 * same low bits (5 % of a product in bf16). */
INLINE void tile(const int rows, const int vecs, const enum tile_kind kind, int64_t cells,
                 const struct tile_product *t)
{
    const bool pairs = kind == TILE_OF_PAIRS;
    const int64_t chain = pairs ? VDM_CHAIN / 2 : VDM_CHAIN;
    const float *a = t->a;
    const struct tile_rhs b = t->b;
    _Alignas(64) float partial[TILE_ROWS * TILE_COLS];
    v16 sum[TILE_ROWS][TILE_VECS];
    tile_chain(rows, vecs, kind, sum, smaller(chain, cells), a, t->step, b);
    if (t->add) tile_add(rows, vecs, pairs, sum, t->c, t->c_row);
    for (int64_t done = chain; done < cells; done += chain) {
        struct tile_rhs next = {b.panel, b.x, b.first};
        if (kind == TILE_OF_ROWS)
            next.x += done;
        else
            next.panel += done * TILE_COLS;
        tile_store(rows, vecs, partial, TILE_COLS, sum);
        tile_chain(rows, vecs, kind, sum, smaller(chain, cells - done), a + done * t->step, t->step, next);
        tile_add(rows, vecs, pairs, sum, partial, TILE_COLS);
    }
    tile_store(rows, vecs, t->c, t->c_row, sum);
}

/* One micro-kernel per height and kind: EACH_TILE_HEIGHT(TILE_OF) defines tile_f32_1, tile_rows_1, tile_pairs_1, ...
 * EACH_TILE_HEIGHT(TILE_F32) and so on list them in the table. They are separate functions because in one function the
 * compiler runs out of registers. */
typedef void tile_function(int vecs, int64_t cells, const struct tile_product *t);
INLINE void tile_of_width(const int rows, int vecs, const enum tile_kind kind, int64_t cells,
                          const struct tile_product *t)
{
    if (vecs == TILE_VECS)
        tile(rows, TILE_VECS, kind, cells, t);
    else if (TILE_VECS > 1)
        tile(rows, 1, kind, cells, t);
}
#define TILE_OF(rows)                                                                        \
    static void tile_f32_##rows(int vecs, int64_t cells, const struct tile_product *t)       \
    {                                                                                        \
        if (!ONLY_PAIRS) tile_of_width(rows, vecs, TILE_OF_F32, cells, t);                   \
    }                                                                                        \
    static void tile_rows_##rows(int vecs, int64_t cells, const struct tile_product *t)      \
    {                                                                                        \
        if (!ONLY_PAIRS && vecs == TILE_VECS) tile(rows, TILE_VECS, TILE_OF_ROWS, cells, t); \
    }                                                                                        \
    static void tile_pairs_##rows(int vecs, int64_t cells, const struct tile_product *t)     \
    {                                                                                        \
        tile_of_width(rows, vecs, TILE_OF_PAIRS, cells, t);                                  \
    }
#define TILE_F32(rows)   [(rows)-1] = tile_f32_##rows,
#define TILE_ROWS_(rows) [(rows)-1] = tile_rows_##rows,
#define TILE_PAIRS(rows) [(rows)-1] = tile_pairs_##rows,
EACH_TILE_HEIGHT(TILE_OF)
static tile_function *const tiles[][TILE_ROWS] = {[TILE_OF_F32] = {EACH_TILE_HEIGHT(TILE_F32)},
                                                  [TILE_OF_ROWS] = {EACH_TILE_HEIGHT(TILE_ROWS_)},
                                                  [TILE_OF_PAIRS] = {EACH_TILE_HEIGHT(TILE_PAIRS)}};

/* The height of the smallest micro-kernel that has at least `rows` rows */
static inline int64_t tile_height(int64_t rows)
{
    while (!tiles[TILE_OF_F32][rows - 1]) rows++;
    return rows;
}

/* Rule 6 without AMX: of each piece a chain over its even and one over its odd elements, `rows` x 16 `vecs` outputs. */
static inline float bf16_half(float cell, bool odd)
{
    uint32_t bits;
    memcpy(&bits, &cell, sizeof bits);
    bits = odd ? bits & 0xffff0000u : bits << 16;
    memcpy(&cell, &bits, sizeof bits);
    return cell;
}
INLINE v16 sum_of_halves(const float *a, int64_t step, const v16 columns[PIECE_CELLS], const bool odd)
{
    v16 sum = v16_set(0);
    for (int k = 0; k < PIECE_CELLS; k++)
        sum = v16_fma_flushed(v16_set(bf16_half(a[k * step], odd)), columns[k], sum);
    return sum;
}
static void tile_rule6(int64_t rows, int vecs, int64_t cells, const struct tile_product *t)
{
    bool add = t->add;
    for (int64_t done = 0; done < cells; done += PIECE_CELLS, add = true)
        for (int v = 0; v < vecs; v++) {
            v16 even[PIECE_CELLS], odd[PIECE_CELLS];
            for (int k = 0; k < PIECE_CELLS; k++) {
                v16 column = v16_load(t->b.panel + (done + k) * TILE_COLS + 16 * v);
                even[k] = v16_even(column), odd[k] = v16_odd(column);
            }
            for (int64_t r = 0; r < rows; r++) {
                float *p = t->c + r * t->c_row + 16 * v;
                const float *a = t->a + done * t->step + r;
                v16 sum =
                    v16_add(sum_of_halves(a, t->step, even, false), sum_of_halves(a, t->step, odd, true));
                v16 before = add ? v16_flush(v16_load(p)) : v16_set(0);
                v16_store(p, v16_flush(v16_add(before, v16_flush(sum))));
            }
        }
}

static void run_tile(int64_t rows, int vecs, struct depth d, const struct tile_product *t)
{
    if (d.rule6)
        tile_rule6(rows, vecs, d.cells, t);
    else
        tiles[d.pairs ? TILE_OF_PAIRS : TILE_OF_F32][rows - 1](vecs, d.cells, t);
}

/* The left factor. A panel that begins with row r is at data + r * panel, and its cell k of row r + i at k * step + i there:
 *   packed panels                                         panel: cells, step: the panel's width (AMX: not used)
 *   a matrix in memory whose rows are contiguous in r     panel: 1, step: the stride of k */
struct lhs {
    const float *data;
    int64_t panel, step;
};
static inline struct lhs packed_lhs(const float *panels, struct depth d)
{
    struct lhs a = {panels, d.cells, lhs_width(d)};
    return a;
}

/* Output (r,n) is c[r * row + n * col]. */
struct output {
    float *c;
    int64_t row, col;
};

/* A tile that extends beyond the output, whose height no micro-kernel has, or whose outputs are not contiguous: computed
 * in a copy. */
static void tile_at_edge(int64_t rows, int64_t cols, struct depth d, const struct tile_product *t,
                         struct output o)
{
    float copy[TILE_ROWS * TILE_COLS] = {0};
    struct tile_product to_copy = *t;
    to_copy.c = copy, to_copy.c_row = TILE_COLS;
    if (t->add)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t n = 0; n < cols; n++) copy[r * TILE_COLS + n] = o.c[r * o.row + n * o.col];
    run_tile(d.rule6 ? rows : tile_height(rows), (int)((cols + 15) / 16), d, &to_copy);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < cols; n++) o.c[r * o.row + n * o.col] = copy[r * TILE_COLS + n];
}

/* Not inlined, so that the compiler moves no other arithmetic between flush_begin and flush_end. */
NOINLINE static void multiply_all(int64_t rows, int64_t cols, struct depth d, struct lhs a,
                                  const float *panels, struct output o, bool add)
{
    for (int64_t n = 0; n < cols; n += TILE_COLS) {
        int64_t wide = smaller(TILE_COLS, cols - n);
        const float *b = panels + n * d.cells;
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            int64_t high = smaller(TILE_ROWS, rows - r);
            struct output at = {o.c + r * o.row + n * o.col, o.row, o.col};
            struct tile_product t = {.a = a.data + r * a.panel,
                                     .step = a.step,
                                     .b = {.panel = b},
                                     .c = at.c,
                                     .c_row = o.row,
                                     .add = add};
            if (wide % 16 == 0 && o.col == 1 && (d.rule6 || tile_height(high) == high))
                run_tile(high, (int)(wide / 16), d, &t);
            else
                tile_at_edge(high, wide, d, &t, at);
        }
    }
}

/* c [rows,TILE_COLS] (+)= a [rows,kc] x [kc,TILE_COLS], in f32: row k of x begins at x[k] + first. c has memory for `rows`
 * rounded up to a multiple of TILE_ROWS. */
static void multiply_rows(int64_t rows, int64_t kc, struct lhs a, const float *const *x, int64_t first,
                          float *c, bool add)
{
    struct tile_product t = {.step = a.step, .b = {.x = x, .first = first}, .c_row = TILE_COLS, .add = add};
    for (int64_t r = 0; r < rows; r += TILE_ROWS) {
        t.a = a.data + r * a.panel, t.c = c + r * TILE_COLS;
        tiles[TILE_OF_ROWS][tile_height(smaller(TILE_ROWS, rows - r)) - 1](TILE_VECS, kc, &t);
    }
}

#ifdef V16_AMX
/* ------------------------------------------------------------------------------------------------
 * Rule 6 in the processor's AMX tiles, each 16 rows of 16 cells or sums. A block of 32 x 32 outputs has its sums in four
 * tiles and takes two tiles of either factor at a time: loads take the time, and a square block needs the fewest. */

enum {
    AMX_PASS = 256, /* cells in a pass over the output: 32 columns of them (32 KB) stay in L1 */
    AMX_MC = 256    /* rows packed at once, 2 KC deep: 1 MB, in L2 */
};
_Static_assert(TILE_COLS == 32, "a right panel has the columns of a block");
_Static_assert(VDM_KEY_TILE / 2 <= AMX_PASS && VDM_MAX_HEAD / 2 <= AMX_PASS,
               "attention's products take one pass");

/* A block of 32 x 32 outputs, its rows `row` floats apart */
struct amx_block {
    float *c;
    int64_t row;
};

/* to [32,32] = from + a b; high false: only the first 16 rows. from.c NULL: from 0. Trap: gcc does not know that loading a
 * tile reads memory; without the barrier it may move earlier stores behind it. Storing a tile is a barrier itself. */
static inline void amx_block_product(bool high, int64_t cells, const float *a, int64_t panel, const float *b,
                                     struct amx_block from, struct amx_block to)
{
    const size_t from_row = (size_t)from.row * 4, to_row = (size_t)to.row * 4;
    __asm__ volatile("" ::: "memory");
    if (from.c) {
        _tile_loadd(0, from.c, from_row);
        _tile_loadd(1, from.c + 16, from_row);
        if (high) {
            _tile_loadd(2, from.c + 16 * from.row, from_row);
            _tile_loadd(3, from.c + 16 * from.row + 16, from_row);
        }
    } else {
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
    }
    for (int64_t k = 0; k < cells;
         k += PIECE_CELLS, a += AMX_PANEL_ROWS * PIECE_CELLS, b += 32 * PIECE_CELLS) {
        _tile_loadd(4, a, 64);
        _tile_loadd(6, b, 128);
        _tile_loadd(7, b + 16, 128);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (!high) continue;
        _tile_loadd(5, a + panel, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, to.c, to_row);
    _tile_stored(1, to.c + 16, to_row);
    if (high) {
        _tile_stored(2, to.c + 16 * to.row, to_row);
        _tile_stored(3, to.c + 16 * to.row + 16, to_row);
    }
}

/* Copies rows <= 32 and cols <= 32 of the output to a copy [32,32], or back. */
static inline void amx_copy(float *copy, struct output o, int64_t rows, int64_t cols, bool back)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < cols; n += o.col == 1 ? 16 : 1) {
            float *c = o.c + r * o.row + n * o.col, *own = copy + r * 32 + n;
            int64_t lanes = o.col == 1 ? smaller(16, cols - n) : 1;
            if (back)
                v16_store_n(c, v16_load_n(own, lanes), lanes);
            else
                v16_store_n(own, v16_load_n(c, lanes), lanes);
        }
}

/* Cells k ... k + cells - 1 of a product. The first pass begins with the output if `add`, else with 0; the last one stores
 * it. */
struct amx_pass {
    int64_t k, cells;
    bool first, last, add;
};

/* One pass over a block of outputs. Between passes, and wherever the output has only a part of the block, it is in partial
 * [32,32]. */
static void run_amx_pass(const struct amx_pass *p, int64_t rows, int64_t cols, const float *a, int64_t panel,
                         const float *b, struct output o, float *partial)
{
    bool whole = rows % AMX_PANEL_ROWS == 0 && cols == 32 && o.col == 1, adds = p->first && p->add;
    struct amx_block out = {o.c, o.row}, copy = {partial, 32}, from = copy;
    if (p->first) from = whole ? out : copy;
    if (p->first && !p->add) from.c = NULL;
    if (adds && !whole) amx_copy(partial, o, rows, cols, false);
    amx_block_product(rows > AMX_PANEL_ROWS, p->cells, a, panel, b, from, p->last && whole ? out : copy);
    if (p->last && !whole) amx_copy(partial, o, rows, cols, true);
}

/* Packs `rows` rows, from row r on, of a matrix in memory whose rows are contiguous in r. */
static void pack_amx_panels(float *panels, int64_t rows, int64_t r, struct lhs a, const struct amx_pass *p)
{
    for (int64_t i = 0; i < rows; i += AMX_PANEL_ROWS, panels += AMX_PANEL_ROWS * p->cells) {
        for (int64_t k = 0; k < p->cells; k++)
            v16_store(panels + 16 * k, v16_load(a.data + (r + i) * a.panel + (p->k + k) * a.step));
        transpose_blocks(panels, p->cells);
    }
}

static void multiply_amx(int64_t rows, int64_t cols, struct depth d, struct lhs a, const float *b,
                         struct output o, bool add)
{
    _Alignas(64) float partial[AMX_MC * 32], panels[32 * AMX_PASS];
    bool once = d.cells <= AMX_PASS;
    for (int64_t n = 0; n < cols; n += 32, b += 32 * d.cells)
        for (int64_t k = 0; k < d.cells; k += AMX_PASS) {
            int64_t cells = smaller(AMX_PASS, d.cells - k), wide = smaller(32, cols - n);
            struct amx_pass pass = {k, cells, k == 0, k + cells == d.cells, add};
            for (int64_t r = 0; r < rows; r += 32) {
                int64_t high = smaller(32, rows - r), panel = AMX_PANEL_ROWS * d.cells;
                struct output at = {o.c + r * o.row + n * o.col, o.row, o.col};
                const float *left = a.data + r * a.panel + AMX_PANEL_ROWS * k;
                if (a.panel == 1)
                    pack_amx_panels(panels, high, r, a, &pass), left = panels, panel = AMX_PANEL_ROWS * cells;
                run_amx_pass(&pass, high, wide, left, panel, b + 32 * k, at, partial + (once ? 0 : 32 * r));
            }
        }
}
#endif

/* o [rows,cols] (+)= a [rows,kc] b [kc,cols]; b: right panels; kc > 0 */
static void multiply(int64_t rows, int64_t cols, struct depth d, struct lhs a, const float *b,
                     struct output o, bool add)
{
#ifdef V16_AMX
    if (d.amx) {
        multiply_amx(rows, cols, d, a, b, o, add);
        return;
    }
#endif
    unsigned before = d.pairs ? flush_begin() : 0;
    multiply_all(rows, cols, d, a, b, o, add);
    if (d.pairs) flush_end(before);
}

/* Around all products of a thread: configures and releases its AMX tiles, which takes as long as a small product. */
INLINE void amx_begin(const vdm_cpu *cpu)
{
#ifdef V16_AMX
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16]; /* of a row */
        uint8_t rows[16];
    } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (uses_amx(cpu)) _tile_loadconfig(&shapes);
#else
    (void)cpu;
#endif
}
INLINE void amx_end(const vdm_cpu *cpu)
{
#ifdef V16_AMX
    if (uses_amx(cpu)) _tile_release();
#else
    (void)cpu;
#endif
}

/* The layout of cpu->scratch: for each thread two packed factors of a product, or the buffers of attention; or a few
 * arrays of the norms. */
enum {
    KC = 1024, /* k packed at once: 8 chains, between which the output tile stays in L1 */
    NC = 1536, /* columns packed at once: 6 MB, in L3 */
    MC = 336,  /* rows packed at once: 1.3 MB, in L2 and L3 */
    LHS_FLOATS = (MC + TILE_ROWS) * KC,
    WINOGRAD_ROWS = 64, /* squares of 2x2 outputs at a time: rows of each of the 16 left factors */
    PRODUCT_FLOATS = LHS_FLOATS + NC * KC,
    ATTENTION_FLOATS = 1 << 20, /* buffers of one thread of attention at Dh = VDM_MAX_HEAD */
    NORM_FLOATS = 1 << 18       /* sums of group norm */
};

#ifdef V16_AMX
_Static_assert((int)AMX_MC <= (int)MC, "AMX's packed rows fit into LHS_FLOATS");
_Static_assert((int)WINOGRAD_ROWS <= (int)AMX_MC, "multiply_amx stores as many rows between passes");
#endif
_Static_assert((int)VDM_WINOGRAD_MAX <= 2 * (int)KC, "element_at's zeros");
_Static_assert((int)PRODUCT_FLOATS / 16 >=
                       32 * (3 * (int)VDM_WINOGRAD_MAX / 2 + (int)VDM_WINOGRAD_MAX + 16) &&
                   (int)PRODUCT_FLOATS / 16 >= TILE_ROWS * (4 * (int)VDM_WINOGRAD_MAX + 16),
               "the scratch holds at least one panel of Winograd's V and P");

/* The table's name: vdm_kernels_avx512 */
#define JOIN_(a, b)   a##b
#define JOIN(a, b)    JOIN_(a, b)
#define FOR_SET(name) JOIN(name, SET_NAME)
#define NAME_OF_(set) #set
#define NAME_OF(set)  NAME_OF_(set)

#endif
