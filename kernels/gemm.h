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
 * Around it are the usual loops of a packed product (products.c: run_share), in BLIS's words:
 *
 *     for nc columns of the rhs (NC)                  packed once: L3
 *       for kc of k (KC)
 *         for mc rows of the lhs (MC)                 packed: L2, L3
 *           for every micro-panel of the rhs          TILE_COLS columns: L1
 *             for every micro-panel of the lhs        TILE_ROWS rows
 *               micro-kernel: a tile of the output in registers
 *
 * The last panel of a factor may have fewer rows: left panels then keep their width, right panels are
 * filled up with zeros. Pieces of VDM_CHAIN are summed in registers and then added to the output (rule 1).
 *
 * In bf16 (rule 5) a cell of a panel, a0 or p0 above, is a pair: numbers 2i and 2i + 1 of k, rounded, in the
 * low and high half of 32 bits. So a panel has half as many cells, of which nothing but the multiplication
 * knows what they hold; they are moved as floats. Rule 6 has the same cells, filled up to whole pieces of 16;
 * where the processor has tiles for it (vector.h, V16_AMX), left panels are 16 rows high, and of every 16 x 16
 * cells row after row. */
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
    PANEL_MAX = 32 /* rows of a panel, at most, up to a multiple of 16 */
};

static inline int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}
static inline int64_t round_up(int64_t n, int64_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* The next buffer, from *at on */
static float *take(float **at, int64_t floats)
{
    float *p = *at;
    *at += floats;
    return p;
}
/* An array's element n, or NULL if there is no array */
static const float *moved(const float *p, int64_t n)
{
    return p ? p + n : NULL;
}

enum {
    PIECE_CELLS = 16, /* of rule 6 */
    AMX_HIGH = 16     /* rows of a left panel of which blocks keep their rows */
};

/* How deep a product is: kc numbers of k, in so many cells */
struct depth {
    bool pairs; /* of bf16 */
    bool amx;   /* which are added by rule 6, */
    bool tiles; /* in the processor's tiles */
    int64_t cells;
};
/* Do products go in the processor's tiles? */
static inline bool in_tiles(const vdm_cpu *cpu)
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
    bool pairs = cpu->precision != VDM_PRECISION_F32, amx = cpu->precision == VDM_PRECISION_AMX;
    int64_t cells = pairs ? (kc + 1) / 2 : kc;
    struct depth d = {pairs, amx, in_tiles(cpu), amx ? round_up(cells, PIECE_CELLS) : cells};
    return d;
}

/* Rows of a left panel, and whether a panel is a left one whose blocks keep rows: right ones are wider. */
static inline int64_t lhs_width(struct depth d)
{
    return d.tiles ? AMX_HIGH : TILE_ROWS;
}
static inline bool keeps_rows(int64_t width, struct depth d)
{
    return d.tiles && width == AMX_HIGH;
}

/* ------------------------------------------------------------------------------------------------
 * Packing: panel[k * width + r] = x(r, k); of pairs, (x(r, 2k), x(r, 2k + 1)). Where a panel is wider than the n rows
 * that there are, it has anything finite: their products are stored nowhere. */

/* 16 numbers are stored even where the panel's row is narrower: the next row overwrites the rest. Not so at
 * the panel's end, beyond which another thread may be packing: `capacity` floats are left there. */
INLINE void panel_store(float *panel, int64_t at, int64_t capacity, v16 x, int64_t lanes)
{
    if (at + 16 <= capacity)
        v16_store(panel + at, x);
    else
        v16_store_n(panel + at, x, lanes);
}

/* 16 cells of numbers side by side: the first n numbers at p, 0 beyond; 16 or 32 of them for all cells */
INLINE v16 cells_along(const char *p, vdm_dtype dtype, const bool pairs, int64_t n)
{
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    if (pairs && dtype == VDM_BF16 && n == 32) return v16_load_pairs(p);
    v16 first = v16_widen(p, dtype, smaller(16, n));
    if (!pairs) return first;
    return v16_pairs(first, n > 16 ? v16_widen(p + 16 * bytes, dtype, n - 16) : v16_set(0));
}

/* One vector of cells of each of `count` rows, at so many bytes into them */
INLINE void load_cells(const int count, v16 *block, const char *const rows[16], int64_t at, vdm_dtype dtype,
                       const bool pairs)
{
    UNROLL for (int i = 0; i < count; i++) block[i] =
        cells_along(rows[i] + at, dtype, pairs, pairs ? 32 : 16);
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

/* The last numbers of 16 rows, of so many bytes, become rows that zeros fill up. */
static void fill_rows(char copy[16][128], const char *rows[16], int64_t at, int64_t bytes)
{
    memset(copy, 0, 16 * sizeof *copy);
    for (int i = 0; i < 16; i++) rows[i] = memcpy(copy[i], rows[i] + at, (size_t)bytes);
}

/* Rows anywhere, one for each of `width` up to a multiple of 16, numbers of a row side by side: blocks of 16 x 16 cells
 * are transposed in registers. */
NOINLINE static void pack_rows(float *panel, int64_t capacity, int64_t width, const char *const *rows,
                               vdm_dtype dtype, int64_t kc, bool pairs)
{
    const int64_t bytes = dtype == VDM_F32 ? 4 : 2, each = pairs ? 2 : 1;
    for (int64_t r = 0; r < width; r += 16) {
        const char *row[16];
        char last[16][128];
        memcpy(row, rows + r, sizeof row);
        for (int64_t k = 0; k < kc; k += 16 * each) {
            int64_t numbers = smaller(16 * each, kc - k), depth = (numbers + each - 1) / each;
            int64_t at = k / each * width + r, first = k * bytes;
            v16 block[16];
            if (numbers < 16 * each) fill_rows(last, row, first, numbers * bytes), first = 0;
#ifdef V16_LOW_PANELS
            if (width <= 8 && depth == 16) { /* left panels: half the work */
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

/* The same of up to 16 rows whose blocks keep their rows, filled up to whole blocks */
INLINE void keep_rows_as(float *panel, const char *const *rows, int64_t n, vdm_dtype dtype, int64_t kc)
{
    const int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    for (int64_t k = 0; k < kc; k += 32)
        for (int64_t r = 0; r < AMX_HIGH; r++, panel += 16)
            v16_store(panel, r < n ? cells_along(rows[r] + k * bytes, dtype, true, smaller(32, kc - k))
                                   : v16_set(0));
}
NOINLINE static void keep_rows(float *panel, const char *const *rows, int64_t n, vdm_dtype dtype, int64_t kc)
{
    if (dtype == VDM_F32)
        keep_rows_as(panel, rows, n, VDM_F32, kc);
    else
        keep_rows_as(panel, rows, n, dtype, kc);
}

/* Numbers of equal k side by side: row k of the panel is a row of x, or two. */
INLINE void pack_across_as(float *panel, int64_t width, const char *x, int64_t k_bytes, int64_t n,
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

NOINLINE static void pack_across(float *panel, int64_t width, const char *x, int64_t k_bytes, int64_t n,
                                 vdm_dtype dtype, int64_t kc, bool pairs)
{
    pairs = pairs || ONLY_PAIRS;
    if (!pairs && dtype == VDM_F32)
        pack_across_as(panel, width, x, k_bytes, n, VDM_F32, kc, false);
    else if (!pairs && dtype == VDM_F16)
        pack_across_as(panel, width, x, k_bytes, n, VDM_F16, kc, false);
    else if (!pairs)
        pack_across_as(panel, width, x, k_bytes, n, VDM_BF16, kc, false);
    else if (dtype == VDM_F32)
        pack_across_as(panel, width, x, k_bytes, n, VDM_F32, kc, true);
    else if (dtype == VDM_F16)
        pack_across_as(panel, width, x, k_bytes, n, VDM_F16, kc, true);
    else
        pack_across_as(panel, width, x, k_bytes, n, VDM_BF16, kc, true);
}

/* x(r,k) = data[r * r_stride + k * k_stride], elements of `dtype` */
struct strided {
    const void *data;
    vdm_dtype dtype;
    int64_t r_stride, k_stride;
};

/* Neither */
NOINLINE static void pack_scattered(float *panel, int64_t width, const struct strided *x, int64_t n,
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

/* What follows the cells of kc numbers */
static inline void fill_up(float *panel, int64_t width, int64_t kc, struct depth d)
{
    int64_t used = d.pairs ? (kc + 1) / 2 : kc;
    memset(panel + used * width, 0, (size_t)((d.cells - used) * width) * sizeof *panel);
}
/* A panel of 16 columns, whole blocks: columns become rows. */
NOINLINE static void turn_blocks(float *panel, int64_t cells)
{
    for (int64_t k = 0; k < cells; k += 16, panel += 256) {
        v16 block[16];
        UNROLL for (int i = 0; i < 16; i++) block[i] = v16_load(panel + 16 * i);
        v16_transpose(block);
        UNROLL for (int i = 0; i < 16; i++) v16_store(panel + 16 * i, block[i]);
    }
}

/* n rows of x, kc deep */
NOINLINE static void pack(float *panel, int64_t width, const struct strided *x, int64_t n, int64_t kc,
                          struct depth d)
{
    const vdm_dtype dtype = x->dtype;
    int64_t bytes = dtype == VDM_F32 ? 4 : 2;
    const char *p = x->data, *rows[PANEL_MAX];
    if (x->k_stride == 1) {
        for (int64_t r = 0; r < round_up(width, 16); r++) rows[r] = p + (r < n ? r : 0) * x->r_stride * bytes;
        if (keeps_rows(width, d)) {
            keep_rows(panel, rows, n, dtype, kc);
            return;
        }
        pack_rows(panel, d.cells * width, width, rows, dtype, kc, d.pairs);
    } else if (x->r_stride == 1) {
        pack_across(panel, width, p, x->k_stride * bytes, n, dtype, kc, d.pairs);
    } else {
        pack_scattered(panel, width, x, n, kc, d.pairs);
    }
    fill_up(panel, width, kc, d);
    if (keeps_rows(width, d)) turn_blocks(panel, d.cells);
}

/* All panels of a factor of n rows, one after the other, each width * cells floats. */
static inline void pack_all(float *panels, int64_t width, const float *x, int64_t r_stride, int64_t k_stride,
                            int64_t n, int64_t kc, struct depth d)
{
    for (int64_t r = 0; r < n; r += width) {
        struct strided rows = {x + r * r_stride, VDM_F32, r_stride, k_stride};
        pack(panels + r * d.cells, width, &rows, smaller(width, n - r), kc, d);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Products */

/* One step of a chain: sum += left right, TILE_ROWS cells at a, TILE_COLS at b */
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
    if (!pairs) return; /* the even numbers, after all the odd ones: half as many registers */
    UNROLL for (int v = 0; v < vecs; v++) column[v] = v16_even(v16_load(b + 16 * v));
    UNROLL for (int r = 0; r < rows; r++)
    {
        v16 one = v16_even(v16_set(a[r]));
        UNROLL for (int v = 0; v < vecs; v++) sum[r][v] = v16_fma_flushed(one, column[v], sum[r][v]);
    }
#endif
}

/* sum += c, and c = sum: a tile of `rows` x 16 `vecs` numbers, its rows c_row apart */
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

/* The right factor of a tile: a panel, or rows of TILE_COLS numbers that begin at x[k] + first */
struct rhs_rows {
    const float *panel;
    const float *const *x;
    int64_t first;
};
/* What a micro-kernel multiplies and where the output goes */
struct tile_product {
    const float *a; /* rows side by side, */
    int64_t step;   /* so far apart from cell to cell */
    struct rhs_rows b;
    float *c;
    int64_t c_row;
    bool add; /* to what is at c */
};
enum tile_kind { TILE_OF_F32, TILE_OF_ROWS, TILE_OF_PAIRS };

/* One chain: sum = n cells of left right */
INLINE void tile_chain(const int rows, const int vecs, const enum tile_kind kind,
                       v16 sum[TILE_ROWS][TILE_VECS], int64_t n, const float *a, int64_t step,
                       struct rhs_rows b)
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

/* The tile of `rows` x 16 `vecs` outputs. Between chains it is kept beside c, whose rows are often a multiple of
 * 4096 bytes apart: too few such lines have a place in L1, and a load waits for a store that seems to be to the same
 * address (5 % of a product in bf16). */
INLINE void tile(const int rows, const int vecs, const enum tile_kind kind, int64_t cells,
                 const struct tile_product *t)
{
    const bool pairs = kind == TILE_OF_PAIRS;
    const int64_t chain = pairs ? VDM_CHAIN / 2 : VDM_CHAIN;
    const float *a = t->a;
    const struct rhs_rows b = t->b;
    _Alignas(64) float kept[TILE_ROWS * TILE_COLS];
    v16 sum[TILE_ROWS][TILE_VECS];
    tile_chain(rows, vecs, kind, sum, smaller(chain, cells), a, t->step, b);
    if (t->add) tile_add(rows, vecs, pairs, sum, t->c, t->c_row);
    for (int64_t done = chain; done < cells; done += chain) {
        struct rhs_rows next = {b.panel, b.x, b.first};
        if (kind == TILE_OF_ROWS)
            next.x += done;
        else
            next.panel += done * TILE_COLS;
        tile_store(rows, vecs, kept, TILE_COLS, sum);
        tile_chain(rows, vecs, kind, sum, smaller(chain, cells - done), a + done * t->step, t->step, next);
        tile_add(rows, vecs, pairs, sum, kept, TILE_COLS);
    }
    tile_store(rows, vecs, t->c, t->c_row, sum);
}

/* One micro-kernel per height and kind: EACH_TILE_HEIGHT(TILE_OF) defines tile_f32_1, tile_rows_1, tile_pairs_1, ...
 * EACH_TILE_HEIGHT(TILE_F32) and so on list them in the table. Functions apart: in one the compiler runs out of registers. */
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

/* The lowest micro-kernel of at least this height */
static inline int64_t tile_height(int64_t rows)
{
    while (!tiles[TILE_OF_F32][rows - 1]) rows++;
    return rows;
}

/* Rule 6 without tiles: the even and the odd numbers of a piece, 16 `vecs` outputs of each row. */
static inline float half_of(float cell, bool odd)
{
    uint32_t bits;
    memcpy(&bits, &cell, sizeof bits);
    bits = odd ? bits & 0xffff0000u : bits << 16;
    memcpy(&cell, &bits, sizeof bits);
    return cell;
}
INLINE v16 half_piece(const float *a, int64_t step, const v16 columns[PIECE_CELLS], const bool odd)
{
    v16 sum = v16_set(0);
    for (int k = 0; k < PIECE_CELLS; k++)
        sum = v16_fma_flushed(v16_set(half_of(a[k * step], odd)), columns[k], sum);
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
                const float *left = t->a + done * t->step + r;
                v16 sum =
                    v16_add(half_piece(left, t->step, even, false), half_piece(left, t->step, odd, true));
                v16 before = add ? v16_flush(v16_load(p)) : v16_set(0);
                v16_store(p, v16_flush(v16_add(before, v16_flush(sum))));
            }
        }
}

static void run_tile(int64_t rows, int vecs, struct depth d, const struct tile_product *t)
{
    if (d.amx)
        tile_rule6(rows, vecs, d.cells, t);
    else
        tiles[d.pairs ? TILE_OF_PAIRS : TILE_OF_F32][rows - 1](vecs, d.cells, t);
}

/* The left factor: packed panels, or rows side by side in memory (panel 1, any step). */
struct lhs {
    const float *data;
    int64_t panel; /* floats from one panel to the next, divided by its rows: the cells where packed */
    int64_t step;  /* floats from cell to cell: the panel's rows where packed, if blocks don't keep rows */
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

/* A tile that hangs over the edge of the output, or of a height that no micro-kernel has, or whose outputs are not side
 * by side: by way of a copy. */
static void tile_at_edge(int64_t rows, int64_t cols, struct depth d, const struct tile_product *t,
                         struct output o)
{
    float copy[TILE_ROWS * TILE_COLS] = {0};
    struct tile_product to_copy = *t;
    to_copy.c = copy, to_copy.c_row = TILE_COLS;
    if (t->add)
        for (int64_t r = 0; r < rows; r++)
            for (int64_t n = 0; n < cols; n++) copy[r * TILE_COLS + n] = o.c[r * o.row + n * o.col];
    run_tile(d.amx ? rows : tile_height(rows), (int)((cols + 15) / 16), d, &to_copy);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < cols; n++) o.c[r * o.row + n * o.col] = copy[r * TILE_COLS + n];
}

/* Not part of its caller: no other arithmetic may slip in between flush_begin and flush_end. */
NOINLINE static void multiply_all(int64_t rows, int64_t cols, struct depth d, struct lhs a,
                                  const float *right, struct output o, bool add)
{
    for (int64_t n = 0; n < cols; n += TILE_COLS) {
        int64_t wide = smaller(TILE_COLS, cols - n);
        const float *b = right + n * d.cells;
        for (int64_t r = 0; r < rows; r += TILE_ROWS) {
            int64_t high = smaller(TILE_ROWS, rows - r);
            struct output at = {o.c + r * o.row + n * o.col, o.row, o.col};
            struct tile_product t = {.a = a.data + r * a.panel,
                                     .step = a.step,
                                     .b = {.panel = b},
                                     .c = at.c,
                                     .c_row = o.row,
                                     .add = add};
            if (wide % 16 == 0 && o.col == 1 && (d.amx || tile_height(high) == high))
                run_tile(high, (int)(wide / 16), d, &t);
            else
                tile_at_edge(high, wide, d, &t, at);
        }
    }
}

/* c [rows,TILE_COLS] (+)= left [rows,kc] x [kc,TILE_COLS], in f32: row k of x begins at x[k] + first. c has TILE_ROWS
 * rows or a multiple of them. */
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
 * Rule 6 in the processor's tiles, each 16 rows of 16 cells or sums: 32 x 32 outputs in four, two of either
 * factor. Squares, since loading tiles takes the time. */

enum {
    AMX_PASS = 256, /* cells at a time, of which 32 columns (32 KB) stay in L1 */
    AMX_ROWS = 256  /* packed at once, 2 KC deep: 1 MB, in L2 */
};
_Static_assert(TILE_COLS == 32, "a right panel is one square wide");
_Static_assert(VDM_KEY_TILE / 2 <= AMX_PASS && VDM_MAX_HEAD / 2 <= AMX_PASS,
               "attention's products are one pass");

/* 32 x 32 outputs, rows `row` floats apart */
struct square {
    float *c;
    int64_t row;
};

/* to [32 rows of left, or 16, x 32] = from + left right; from.c NULL: from 0. Traps: to gcc a load of a tile
 * is an instruction that reads nothing; without the barrier, what is stored before may come after. The stores
 * come last, and are barriers. */
static inline void amx_square(bool high, int64_t cells, const float *a, int64_t panel, const float *b,
                              struct square from, struct square to)
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
    for (int64_t k = 0; k < cells; k += PIECE_CELLS, a += AMX_HIGH * PIECE_CELLS, b += 32 * PIECE_CELLS) {
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

/* `rows` <= 32 and `cols` <= 32 of the output, to or from a copy [32,32] */
static inline void amx_move(float *copy, struct output o, int64_t rows, int64_t cols, bool back)
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

/* Cells k, k + 1, ... of a product; the first add to the output where `add`, the last write it. */
struct amx_pass {
    int64_t k, cells;
    bool first, last, add;
};

/* A pass over a square: `kept` [32,32] has it between passes, and where the output's part is not whole. */
static void amx_pass_over(const struct amx_pass *p, int64_t rows, int64_t cols, const float *a, int64_t panel,
                          const float *b, struct output o, float *kept)
{
    bool whole = rows % AMX_HIGH == 0 && cols == 32 && o.col == 1, adds = p->first && p->add;
    struct square out = {o.c, o.row}, copy = {kept, 32}, from = copy;
    if (p->first) from = whole ? out : copy;
    if (p->first && !p->add) from.c = NULL;
    if (adds && !whole) amx_move(kept, o, rows, cols, false);
    amx_square(rows > AMX_HIGH, p->cells, a, panel, b, from, p->last && whole ? out : copy);
    if (p->last && !whole) amx_move(kept, o, rows, cols, true);
}

/* `rows` rows in memory from row r on, cells of one k side by side, become panels. */
static void amx_rows(float *panels, int64_t rows, int64_t r, struct lhs a, const struct amx_pass *p)
{
    for (int64_t i = 0; i < rows; i += AMX_HIGH, panels += AMX_HIGH * p->cells) {
        for (int64_t k = 0; k < p->cells; k++)
            v16_store(panels + 16 * k, v16_load(a.data + (r + i) * a.panel + (p->k + k) * a.step));
        turn_blocks(panels, p->cells);
    }
}

static void multiply_amx(int64_t rows, int64_t cols, struct depth d, struct lhs a, const float *right,
                         struct output o, bool add)
{
    _Alignas(64) float kept[AMX_ROWS * 32], panels[32 * AMX_PASS];
    bool once = d.cells <= AMX_PASS;
    for (int64_t n = 0; n < cols; n += 32, right += 32 * d.cells)
        for (int64_t k = 0; k < d.cells; k += AMX_PASS) {
            int64_t cells = smaller(AMX_PASS, d.cells - k), wide = smaller(32, cols - n);
            struct amx_pass pass = {k, cells, k == 0, k + cells == d.cells, add};
            for (int64_t r = 0; r < rows; r += 32) {
                int64_t high = smaller(32, rows - r), panel = AMX_HIGH * d.cells;
                struct output at = {o.c + r * o.row + n * o.col, o.row, o.col};
                const float *left = a.data + r * a.panel + AMX_HIGH * k;
                if (a.panel == 1)
                    amx_rows(panels, high, r, a, &pass), left = panels, panel = AMX_HIGH * cells;
                amx_pass_over(&pass, high, wide, left, panel, right + 32 * k, at, kept + (once ? 0 : 32 * r));
            }
        }
}
#endif

/* output [rows,cols] (+)= left [rows,kc] right [kc,cols]; kc > 0 */
static void multiply(int64_t rows, int64_t cols, struct depth d, struct lhs a, const float *right,
                     struct output o, bool add)
{
#ifdef V16_AMX
    if (d.tiles) {
        multiply_amx(rows, cols, d, a, right, o, add);
        return;
    }
#endif
    unsigned before = d.pairs ? flush_begin() : 0;
    multiply_all(rows, cols, d, a, right, o, add);
    if (d.pairs) flush_end(before);
}

/* Before a thread's first product and after its last: the shapes of the tiles are set and released, which
 * takes as long as a small product. */
INLINE void amx_begin(const vdm_cpu *cpu)
{
#ifdef V16_AMX
    static const struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16]; /* of a row */
        uint8_t rows[16];
    } shapes = {1, 0, {0}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (in_tiles(cpu)) _tile_loadconfig(&shapes);
#else
    (void)cpu;
#endif
}
INLINE void amx_end(const vdm_cpu *cpu)
{
#ifdef V16_AMX
    if (in_tiles(cpu)) _tile_release();
#else
    (void)cpu;
#endif
}

/* How cpu->scratch is divided: for each thread of matmul two packed factors, or the buffers of attention; or
 * a few arrays of the norms. */
enum {
    KC = 1024, /* k packed at once: 8 chains, between which the output tile stays in L1 */
    NC = 1536, /* columns packed at once: 6 MB, in L3 */
    MC = 336,  /* rows packed at once: 1.3 MB, in L2 and L3 */
    LHS_FLOATS = (MC + TILE_ROWS) * KC,
    WINOGRAD_ROWS = 64, /* squares of 2x2 outputs at a time: 16 factors of so many rows */
    PRODUCT_FLOATS = LHS_FLOATS + NC * KC,
    ATTENTION_FLOATS = 1 << 20, /* buffers of one thread of attention at Dh = VDM_MAX_HEAD */
    NORM_FLOATS = 1 << 18       /* sums of group norm */
};

#ifdef V16_AMX
_Static_assert((int)AMX_ROWS <= (int)MC, "the same space");
_Static_assert((int)WINOGRAD_ROWS <= (int)AMX_ROWS, "multiply_amx keeps so many");
#endif
_Static_assert((int)VDM_WINOGRAD_MAX <= 2 * (int)KC, "number_at's zeros");
_Static_assert((int)PRODUCT_FLOATS / 16 >=
                       32 * (3 * (int)VDM_WINOGRAD_MAX / 2 + (int)VDM_WINOGRAD_MAX + 16) &&
                   (int)PRODUCT_FLOATS / 16 >= TILE_ROWS * (4 * (int)VDM_WINOGRAD_MAX + 16),
               "at least one step of Winograd's rows has capacity");

/* The table's name: vdm_kernels_avx512 */
#define JOIN_(a, b)   a##b
#define JOIN(a, b)    JOIN_(a, b)
#define FOR_SET(name) JOIN(name, SET_NAME)
#define NAME_OF_(set) #set
#define NAME_OF(set)  NAME_OF_(set)

#endif
