/* The kernels of one instruction set: matmul, convolution, norms, and what works number by number. Compiled
 * once per set (-DVDM_SET_avx512 ...); the table at the end is what the rest of the library sees.
 *
 * kernels.h says what each computes, to the bit; kernels/plain.c says it as plain loops; gemm.h has the inner
 * loop of products, attention.c the attention. Here is the way around them: which part is packed when, and
 * what each thread does. No choice here (blocks, threads, the order of tasks) changes a result: an output is
 * computed by one thread, in the order of k. */
#include "kernels/gemm.h"

/* ------------------------------------------------------------------------------------------------
 * Products: C [M,N] = A [M,K] B [K,N], for matmul and convolution
 *
 *   each thread, a rectangle of C:
 *       for some columns of B, for some depth of k, for some rows of A (block_of):
 *           pack these rows; for each panel of columns: pack it, unless it is; multiply
 *
 * Trap: threads could pack B together and share it. A panel that another core has read is slow to write again
 * (1.2 times the whole product on two cores): each packs its own, and waits for nobody before the end. */

/* What is packed: x(i,k), i a row of A or a column of B */
struct factor {
    const void *data;
    vdm_dtype dtype;
    int64_t i_stride, k_stride;
    const vdm_conv_args *conv; /* x(i,k) is number k of the window of output pixel i; data is NULL */
};

/* What A is multiplied by: columns first, first + 1, ... first + N - 1 of the whole product */
struct right {
    int64_t first, N;
    struct factor b;
    struct output c;
    bool accumulate;
    /* added last, to output (m,n): */
    const float *bias;     /* [N] ([M] where turned) */
    const float *residual; /* laid out like c */
    bool turned;           /* A and B have changed places: c.col is the long stride */
};

enum { MOST_RIGHTS = 8 };
struct product {
    int64_t M, N, K; /* N: of all rights, of which every one but the last is whole panels wide */
    struct factor a;
    int rights;
    struct right right[MOST_RIGHTS];
};

/* Where column n of the whole is */
static const struct right *right_of(const struct product *p, int64_t n)
{
    const struct right *r = p->right;
    while (n >= r->first + r->N) r++;
    return r;
}

/* Where a window's first tap lies: its frame, row and column, which may be outside. */
struct origin {
    int t, y, x;
};
/* What number k of every window is */
struct tap {
    int dt, dy, dx;
    int64_t channel;
};
static struct tap tap_of(const vdm_conv *w, int64_t k)
{
    int64_t n = k / w->in;
    struct tap tap = {(int)(n / w->k / w->k), (int)(n / w->k % w->k), (int)(n % w->k), k % w->in};
    return tap;
}
/* A window's number, and side by side with it those of the same tap's other channels. */
static const float *number_at(const vdm_conv_args *c, const struct origin *o, const struct tap *tap)
{
    static const float zeros[2 * DEPTH]; /* as many as a block is deep, or as Winograd's channels are */
    int y = o->y + tap->dy, x = o->x + tap->dx;
    if (y < 0 || y >= c->H || x < 0 || x >= c->W) return zeros;
    return c->frames[o->t + tap->dt] + ((int64_t)y * c->W + x) * c->w->in + tap->channel;
}

/* Pairs that begin in one tap and end in the next: 16 pairs of a window are put side by side first. */
static void pack_odd_windows(float *panel, int64_t width, const vdm_conv_args *c, const struct origin *at,
                             int64_t n, int64_t k, int64_t kc)
{
    float numbers[TILE_COLS][32];
    const char *rows[TILE_COLS];
    for (int64_t r = 0; r < n; r++) rows[r] = (const char *)numbers[r];
    for (int64_t end = k + kc, count; k < end; k += count, panel += 16 * width) {
        count = smaller(32, end - k);
        for (int64_t i = 0, run; i < count; i += run) {
            struct tap tap = tap_of(c->w, k + i);
            run = smaller(c->w->in - tap.channel, count - i);
            for (int64_t r = 0; r < n; r++)
                memcpy(numbers[r] + i, number_at(c, &at[r], &tap), (size_t)run * sizeof(float));
        }
        pack_rows(panel, (end - k + 1) / 2 * width, width, rows, n, VDM_F32, count, true);
    }
}

/* n windows. A run of k within one tap is `in` channels side by side in the frame. */
static void pack_taps(float *panel, int64_t width, const vdm_conv_args *c, const struct origin *at, int64_t n,
                      int64_t k, int64_t kc, bool pairs, bool keep)
{
    const char *rows[TILE_COLS];
    int64_t each = pairs ? 2 : 1;
    for (int64_t end = k + kc, run; k < end; k += run, panel += run / each * width) {
        struct tap tap = tap_of(c->w, k);
        run = smaller(c->w->in - tap.channel, end - k);
        for (int64_t r = 0; r < n; r++) rows[r] = (const char *)number_at(c, &at[r], &tap);
        if (keep)
            keep_rows(panel, rows, n, VDM_F32, run);
        else
            pack_rows(panel, (end - k) / each * width, width, rows, n, VDM_F32, run, pairs);
    }
}

/* n windows from pixel i on. Where every run is whole blocks, rows are kept as they come. */
static void pack_windows(float *panel, int64_t width, const vdm_conv_args *c, int64_t i, int64_t n, int64_t k,
                         int64_t kc, struct depth d)
{
    struct origin at[TILE_COLS];
    bool whole = c->w->in % (2 * PIECE_CELLS) == 0, keep = keeps_rows(width, d);
    for (int64_t r = 0; r < n; r++) {
        int64_t pixel = i + r;
        at[r].t = (int)(pixel / c->Wo / c->Ho);
        at[r].y = (int)(pixel / c->Wo % c->Ho) * c->stride - c->pad;
        at[r].x = (int)(pixel % c->Wo) * c->stride - c->pad;
    }
    if (d.pairs && c->w->in % 2 == 1)
        pack_odd_windows(panel, width, c, at, n, k, kc);
    else
        pack_taps(panel, width, c, at, n, k, kc, d.pairs, keep && whole);
    if (keep && whole) return;
    fill_up(panel, width, kc, d);
    if (keep) turn_blocks(panel, d.cells);
}

/* One panel of a factor: its rows (columns) i, i+1, ... i+n-1 */
static void pack_panel(float *panel, int64_t width, const struct factor *f, int64_t i, int64_t n, int64_t k,
                       int64_t kc, struct depth d)
{
    if (f->conv) {
        pack_windows(panel, width, f->conv, i, n, k, kc, d);
    } else {
        int64_t offset = (i * f->i_stride + k * f->k_stride) * (f->dtype == VDM_F32 ? 4 : 2);
        pack(panel, width, (const char *)f->data + offset, f->dtype, f->i_stride, f->k_stride, n, kc, d);
    }
}

/* Bias and residual of one part of the output. */
static void finish(const struct right *r, int64_t m, int64_t rows, int64_t n, int64_t cols)
{
    struct output c = r->c;
    const float *bias = r->bias, *residual = r->residual;
    if (!bias && !residual) return;
    if (r->turned) { /* back: c(m,n) with n side by side */
        struct output back = {c.c, c.col, c.row};
        int64_t swap = m;
        m = n, n = swap, swap = rows, rows = cols, cols = swap;
        c = back;
    }
    for (int64_t i = m; i < m + rows; i++) {
        for (int64_t j = n; j < n + cols; j += 16) {
            int64_t lanes = smaller(16, n + cols - j);
            float *at = c.c + i * c.row + j;
            v16 v = v16_load_n(at, lanes);
            if (bias) v = v16_add(v, v16_load_n(bias + j, lanes));
            if (residual) v = v16_add(v, v16_load_n(residual + i * c.row + j, lanes));
            v16_store_n(at, v, lanes);
        }
    }
}

/* A thread's part of the output, and its packing space. */
struct part {
    int64_t m, rows, n, cols;
    float *left, *right;
};

static int64_t pieces(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* Rows [m, m + rows) of A, panel by panel */
static void pack_left(const struct product *p, float *to, int64_t m, int64_t rows, int64_t k, int64_t kc,
                      struct depth d)
{
    int64_t width = left_width(d);
    for (int64_t i = 0; i < rows; i += width)
        pack_panel(to + i * d.cells, width, &p->a, m + i, smaller(width, rows - i), k, kc, d);
}

/* What is packed at once, how many rows of the output are made together, and of how many a part is a
 * multiple: a lower tile costs about what its rows do (but for the lowest), Intel's cost the same. */
struct block {
    int64_t depth, cols, rows, high, multiple;
};
static struct block block_of(const vdm_cpu *cpu)
{
    struct block usual = {DEPTH, RIGHT_COLS, LEFT_ROWS, TILE_ROWS, 1};
#ifdef V16_AMX
    struct block amx = {2 * DEPTH, RIGHT_COLS, AMX_ROWS, 2 * AMX_HIGH, 2 * AMX_HIGH};
    if (cpu->precision == VDM_PRECISION_AMX) return amx;
#else
    (void)cpu;
#endif
    return usual;
}

/* A part, alone. Where all its rows are packed at once, a panel of B is used once and stays in L1 and L2. */
static void run_part(const struct product *p, const vdm_cpu *cpu, const struct part *t)
{
    struct block block = block_of(cpu);
    int64_t blocks = pieces(t->rows, block.rows), high = round_up(pieces(t->rows, blocks), block.high);
    int64_t wide = blocks == 1 ? t->cols : block.cols;
    for (int64_t n = 0; n < t->cols; n += wide)
        for (int64_t k = 0; k < p->K; k += block.depth) {
            int64_t kc = smaller(block.depth, p->K - k);
            struct depth d = depth_of(cpu, kc);
            for (int64_t m = 0; m < t->rows; m += high) {
                int64_t rows = smaller(high, t->rows - m), end = smaller(n + wide, t->cols);
                pack_left(p, t->left, t->m + m, rows, k, kc, d);
                for (int64_t j = n, cols; j < end; j += cols) {
                    const struct right *r = right_of(p, t->n + j);
                    int64_t col = t->n + j - r->first; /* of this right factor */
                    float *panel = t->right + (blocks == 1 ? 0 : (j - n) * d.cells);
                    struct output c = {r->c.c + (t->m + m) * r->c.row + col * r->c.col, r->c.row, r->c.col};
                    cols = smaller(TILE_COLS, smaller(end - j, r->N - col));
                    if (m == 0) pack_panel(panel, TILE_COLS, &r->b, col, cols, k, kc, d);
                    multiply(rows, cols, d, packed_left(t->left, d), panel, c, k > 0 || r->accumulate);
                    if (k + kc == p->K) finish(r, t->m + m, rows, col, cols);
                }
            }
        }
}

/* The output as a grid of parts, one a thread: that which makes the largest part least work, a number that is
 * packed counting as PACKING multiply-adds, or as five times as many of those that tiles do. */
struct grid {
    int64_t down, across, rows, cols;
};
static struct grid grid_of(const struct product *p, const vdm_cpu *cpu, int threads)
{
    struct block block = block_of(cpu);
    const double PACKING = block.depth == DEPTH ? 20 : 100;
    struct grid best = {0};
    double least = 0;
    for (int64_t down = 1; down <= threads; down++) {
        int64_t across = threads / down, rows = round_up(pieces(p->M, down), block.multiple),
                cols = round_up(pieces(p->N, across), TILE_COLS);
        double work = (double)rows * (double)cols + PACKING * (double)(rows + cols);
        if (best.down && work >= least) continue;
        struct grid g = {down, across, rows, cols};
        best = g, least = work;
    }
    return best;
}

/* K = 0: there is nothing to sum */
static void run_empty(const struct product *p)
{
    for (const struct right *r = p->right; r < p->right + p->rights; r++) {
        for (int64_t m = 0; m < p->M && !r->accumulate; m++)
            for (int64_t n = 0; n < r->N; n++) r->c.c[m * r->c.row + n * r->c.col] = 0;
        finish(r, 0, p->M, 0, r->N);
    }
}

/* The long side of a narrow output (3 channels of pixels) goes into the lanes: C^T = B^T A^T. */
static void turn(struct product *p)
{
    struct right *r = p->right;
    struct factor a = p->a;
    struct output c = r->c;
    int64_t M = p->M;
    p->M = p->N, p->N = r->N = M, p->a = r->b, r->b = a;
    r->c.row = c.col, r->c.col = c.row;
    r->turned = true;
}

static void run_product(const vdm_cpu *cpu, struct product p)
{
    if (p.rights == 1 && p.N < 16 && p.M > p.N) turn(&p);
    if (p.K == 0) run_empty(&p);
    if (p.K == 0 || p.M == 0 || p.N == 0) return;
    bool small = (double)p.M * (double)p.N * (double)p.K < 200e3; /* not worth waking a thread: 4 us */
    struct grid g = grid_of(&p, cpu, small ? 1 : cpu->threads);
    PARALLEL_FOR((int)(g.down * g.across))
    for (int64_t i = 0; i < g.down * g.across; i++) {
        int64_t m = i % g.down * g.rows, n = i / g.down * g.cols;
        float *space = cpu->scratch + (int64_t)thread_number() * PRODUCT_FLOATS;
        struct part t = {m,     smaller(g.rows, p.M - m), n, smaller(g.cols, p.N - n),
                         space, space + LEFT_FLOATS};
        amx_begin(cpu);
        if (t.rows > 0 && t.cols > 0) run_part(&p, cpu, &t);
        amx_end(cpu);
    }
}

static void matmul(const vdm_cpu *cpu, const vdm_matmul_args *m)
{
    struct product p = {.M = m->M, .K = m->K, .a = {m->a, VDM_F32, m->a_row, m->a_col, NULL}};
    for (; m; m = m->also) {
        if (m->N == 0) continue;
        if (p.N % TILE_COLS != 0 || p.rights == MOST_RIGHTS) { /* no further one beside these */
            run_product(cpu, p);
            p.N = p.rights = 0;
        }
        p.right[p.rights++] = (struct right){.first = p.N,
                                             .N = m->N,
                                             .b = {m->b, m->b_dtype, m->b_col, m->b_row, NULL},
                                             .c = {m->c, m->c_row, 1},
                                             .accumulate = m->accumulate,
                                             .bias = m->bias};
        p.N += m->N;
    }
    run_product(cpu, p);
}

/* ------------------------------------------------------------------------------------------------
 * Winograd (rule 7): U is made once, packed; then each thread takes some squares of 2x2 outputs at a time,
 *   V [16,squares,K], packed --multiply by U--> P [squares,16,out] --> outputs
 * V and P in its scratch. */

/* 4 numbers of G g */
INLINE void join_taps(v16 u[4], v16 g0, v16 g1, v16 g2)
{
    v16 outer = v16_add(g0, g2);
    u[0] = g0, u[3] = g2;
    u[1] = v16_mul(v16_set(0.5f), v16_add(outer, g1));
    u[2] = v16_mul(v16_set(0.5f), v16_sub(outer, g1));
}

/* u = U at k = dt*in + channel, of output channels n, n + 1, ... */
INLINE void transform_taps(v16 u[4][4], const vdm_conv *w, int64_t k, int64_t n, int64_t lanes)
{
    int64_t bytes = w->weight.dtype == VDM_F32 ? 4 : 2, next = (int64_t)w->in * w->out * bytes; /* tap */
    const char *g = (const char *)w->weight.data + ((k / w->in * 9 * w->in + k % w->in) * w->out + n) * bytes;
    v16 cols[3][4], taps[3];
    UNROLL for (int x = 0; x < 3; x++)
    {
        UNROLL for (int y = 0; y < 3; y++) taps[y] =
            v16_widen(g + (3 * y + x) * next, w->weight.dtype, lanes);
        join_taps(cols[x], taps[0], taps[1], taps[2]);
    }
    UNROLL for (int i = 0; i < 4; i++) join_taps(u[i], cols[0][i], cols[1][i], cols[2][i]);
}

/* Frame dt of U's columns n ... n + TILE_COLS - 1, a right panel of each number p: to[p * step] */
INLINE void pack_taps_transformed(float *to, int64_t step, const vdm_conv *w, int dt, int64_t n,
                                  const bool pairs)
{
    int64_t k = (int64_t)dt * w->in, end = k + w->in, each = pairs ? 2 : 1;
    for (to += k / each * TILE_COLS; k < end; k += each)
        for (int64_t v = 0; v < TILE_COLS; v += 16, to += 16) {
            int64_t lanes = smaller(16, w->out - n - v);
            v16 u[4][4], odd[4][4];
            if (lanes > 0) transform_taps(u, w, k, n + v, lanes);
            if (lanes > 0 && pairs) transform_taps(odd, w, k + 1, n + v, lanes);
            for (int p = 0; p < 16; p++) {
                v16 x = lanes > 0 ? u[p / 4][p % 4] : v16_set(0);
                v16_store(to + p * step, pairs && lanes > 0 ? v16_pair(x, odd[p / 4][p % 4]) : x);
            }
        }
}

static void transform_weight(const vdm_cpu *cpu, const vdm_conv_args *c, int64_t cells)
{
    const vdm_conv *w = c->w;
    int panels = (int)pieces(w->out, TILE_COLS);
    int64_t panel = cells * TILE_COLS, step = panels * panel;
    PARALLEL_FOR(cpu->threads)
    for (int i = 0; i < panels * w->kt; i++) {
        float *to = c->transformed + i / w->kt * panel;
        if (cpu->precision == VDM_PRECISION_F32)
            pack_taps_transformed(to, step, w, i % w->kt, i / w->kt * TILE_COLS, false);
        else
            pack_taps_transformed(to, step, w, i % w->kt, i / w->kt * TILE_COLS, true);
    }
}

/* Where the 4x4 inputs of a square begin */
static struct origin square_of(const vdm_conv_args *c, int64_t square)
{
    int rows = (c->Ho + 1) / 2, cols = (c->Wo + 1) / 2;
    struct origin o = {(int)(square / cols / rows), (int)(square / cols % rows) * 2 - 1,
                       (int)(square % cols) * 2 - 1};
    return o;
}

/* 4 numbers of B^T d */
INLINE void join_inputs(v16 v[4], v16 d0, v16 d1, v16 d2, v16 d3)
{
    v[0] = v16_sub(d0, d2), v[1] = v16_add(d1, d2), v[2] = v16_sub(d2, d1), v[3] = v16_sub(d1, d3);
}

/* 16 channels of a square: number p of V goes to to[p * step]. d: 4x4 inputs */
INLINE void transform_inputs(float *to, int64_t step, const float *const d[16], int64_t channel)
{
    v16 cols[4][4], v[4];
    UNROLL for (int j = 0; j < 4; j++)
        join_inputs(cols[j], v16_load(d[j] + channel), v16_load(d[4 + j] + channel),
                    v16_load(d[8 + j] + channel), v16_load(d[12 + j] + channel));
    UNROLL for (int i = 0; i < 4; i++)
    {
        join_inputs(v, cols[0][i], cols[1][i], cols[2][i], cols[3][i]);
        UNROLL for (int j = 0; j < 4; j++) v16_store(to + (4 * i + j) * step, v[j]);
    }
}

enum { RUN = 2 * PIECE_CELLS }; /* channels of V at a time: a piece of rule 6, a block of its panels */

/* V of squares first ... first + n - 1, a left panel of each number p: to[p * step] */
static void pack_squares(float *to, int64_t step, const vdm_conv_args *c, int64_t first, int64_t n,
                         struct depth d)
{
    const int64_t width = left_width(d), cell = d.pairs ? 2 : 1;
    enum { HIGH = 16 }; /* of the highest left panel */
    const float *inputs[HIGH][16];
    float numbers[16][HIGH + 1][RUN]; /* 4096 bytes apart the 16 would be in one set of L1 */
    const char *rows[HIGH];
    for (int dt = 0; dt < c->w->kt; dt++) {
        for (int64_t r = 0; r < n; r++) {
            struct origin o = square_of(c, first + r);
            for (int i = 0; i < 16; i++) {
                struct tap tap = {dt, i / 4, i % 4, 0};
                inputs[r][i] = number_at(c, &o, &tap);
            }
        }
        for (int64_t channel = 0; channel < c->w->in; channel += RUN, to += RUN / cell * width) {
            for (int64_t r = 0; r < n; r++)
                for (int64_t i = 0; i < RUN; i += 16)
                    transform_inputs(&numbers[0][r][i], (HIGH + 1) * RUN, inputs[r], channel + i);
            for (int p = 0; p < 16; p++) {
                for (int64_t r = 0; r < n; r++) rows[r] = (const char *)numbers[p][r];
                if (keeps_rows(width, d))
                    keep_rows(to + p * step, rows, n, VDM_F32, RUN);
                else
                    pack_rows(to + p * step, RUN / cell * width, width, rows, n, VDM_F32, RUN, d.pairs);
            }
        }
    }
}

/* 2 numbers of A^T p */
INLINE void join_products(v16 y[2], v16 p0, v16 p1, v16 p2, v16 p3)
{
    y[0] = v16_add(v16_add(p0, p1), p2), y[1] = v16_sub(v16_sub(p1, p2), p3);
}

/* The outputs y = A^T P A of a square; P is 16 rows, `row` floats apart. */
static void store_square(const vdm_conv_args *c, int64_t square, const float *P, int64_t row)
{
    struct origin o = square_of(c, square);
    int64_t out = c->w->out;
    for (int64_t n = 0, lanes; n < out; n += 16) {
        v16 cols[4][2], y[2][2], p[4];
        lanes = smaller(16, out - n);
        UNROLL for (int j = 0; j < 4; j++)
        {
            UNROLL for (int i = 0; i < 4; i++) p[i] = v16_load_n(P + (4 * i + j) * row + n, lanes);
            join_products(cols[j], p[0], p[1], p[2], p[3]);
        }
        UNROLL for (int i = 0; i < 2; i++)
            join_products(y[i], cols[0][i], cols[1][i], cols[2][i], cols[3][i]);
        for (int i = 0; i < 4; i++) {
            int yo = o.y + 1 + i / 2, xo = o.x + 1 + i % 2;
            int64_t at = (((int64_t)o.t * c->Ho + yo) * c->Wo + xo) * out + n;
            if (yo >= c->Ho || xo >= c->Wo) continue;
            v16 v = y[i / 2][i % 2];
            if (c->w->bias) v = v16_add(v, v16_load_n(c->w->bias + n, lanes));
            if (c->residual) v = v16_add(v, v16_load_n(c->residual + at, lanes));
            v16_store_n(c->y + at, v, lanes);
        }
    }
}

/* Squares first ... first + n - 1, n <= most: whole panels. Rows of P are 16 floats longer than they need be,
 * or a square's 16 would be multiples of 4096 bytes apart, and in one set of L1. */
static void winograd_squares(const vdm_cpu *cpu, const vdm_conv_args *c, int64_t first, int64_t n,
                             int64_t most, struct depth d)
{
    int64_t out = c->w->out, row = out + 16, width = left_width(d), step = most * d.cells;
    float *V = cpu->scratch + (int64_t)thread_number() * PRODUCT_FLOATS, *P = V + 16 * step;
    for (int64_t i = 0; i < n; i += width)
        pack_squares(V + i * d.cells, step, c, first + i, smaller(width, n - i), d);
    amx_begin(cpu);
    for (int p = 0; p < 16; p++) {
        const float *U = c->transformed + p * round_up(out, TILE_COLS) * d.cells;
        struct output o = {P + p * row, 16 * row, 1};
        multiply(n, out, d, packed_left(V + p * step, d), U, o, false);
    }
    amx_end(cpu);
    for (int64_t i = 0; i < n; i++) store_square(c, first + i, P + 16 * i * row, row);
}

static void conv_winograd(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    struct depth d = depth_of(cpu, (int64_t)c->w->kt * c->w->in);
    int64_t squares = (int64_t)c->T * ((c->Ho + 1) / 2) * ((c->Wo + 1) / 2), least = block_of(cpu).high;
    int64_t room = PRODUCT_FLOATS / 16 / (d.cells + c->w->out + 16); /* a thread's, in rows of V and P */
    int64_t share = round_up(pieces(squares, cpu->threads), least);
    int64_t most = smaller(share, smaller(WINOGRAD_ROWS, room) / least * least);
    if (squares == 0) return;
    transform_weight(cpu, c, d.cells);
    PARALLEL_FOR(cpu->threads)
    for (int64_t i = 0; i < squares; i += most)
        winograd_squares(cpu, c, i, smaller(most, squares - i), most, d);
}

/* A convolution is the product of the windows [pixels, kt*k*k*in] with the weight; windows exist only in
 * packed panels. */
static void conv(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    const vdm_conv *w = c->w;
    if (c->transformed) {
        conv_winograd(cpu, c);
        return;
    }
    struct product p = {.M = (int64_t)c->T * c->Ho * c->Wo,
                        .N = w->out,
                        .K = (int64_t)w->kt * w->k * w->k * w->in,
                        .a = {.conv = c},
                        .rights = 1,
                        .right[0] = {.N = w->out,
                                     .b = {w->weight.data, w->weight.dtype, 1, w->out, NULL},
                                     .c = {c->y, w->out, 1},
                                     .bias = w->bias,
                                     .residual = c->residual}};
    run_product(cpu, p);
}

/* ------------------------------------------------------------------------------------------------
 * Layer norm: rows of D numbers, one after the other */

/* A loop over n numbers, 16 lanes at a time: i the first, lanes how many there are. */
#define EACH_16(i, lanes, n) \
    for (int64_t i = 0, lanes; i < (n) && (lanes = smaller(16, (n)-i), true); i += 16)

/* Threads for n numbers: waking one takes as long as a few thousand. */
static int threads_for(const vdm_cpu *cpu, int64_t n)
{
    return n < 16384 ? 1 : cpu->threads;
}

/* The modulation vector of row i: text's or video's, of the row's video; NULL where there is none. */
static const float *vector_of(const vdm_rows *r, int64_t i, const float *text, const float *video,
                              int64_t stride)
{
    const float *part = i % r->S < r->L ? text : video;
    return part ? part + i / r->S * stride : NULL;
}

/* x - mean; 0 in lanes beyond the row, which then add nothing */
INLINE v16 centred(const float *x, v16 mean, int64_t lanes)
{
    v16 d = v16_sub(v16_load_n(x, lanes), mean);
    return lanes == 16 ? d : v16_first(d, lanes);
}

static void norm_row(const vdm_norm_args *n, int64_t row)
{
    const vdm_modulation *m = &n->modulation;
    const float *scale = vector_of(&n->rows, row, m->text_scale, m->scale, m->stride);
    const float *shift = vector_of(&n->rows, row, m->text_shift, m->shift, m->stride);
    const float *gamma = n->norm->gamma, *beta = n->norm->beta;
    int64_t D = n->rows.D;
    const float *x = n->x + row * D;
    float *y = n->y + row * D;
    v16 sum = v16_set(0), squares = v16_set(0), one = v16_set(1);
    EACH_16(i, lanes, D) sum = v16_add(sum, v16_load_n(x + i, lanes));
    float mu = v16_sum(sum) / (float)D;
    EACH_16(i, lanes, D)
    {
        v16 d = centred(x + i, v16_set(mu), lanes);
        squares = v16_fma(d, d, squares);
    }
    float rs = 1 / sqrtf(v16_sum(squares) / (float)D + n->eps);
    EACH_16(i, lanes, D)
    {
        v16 xhat = v16_mul(centred(x + i, v16_set(mu), lanes), v16_set(rs));
        v16 v = v16_fma(xhat, v16_load_n(gamma + i, lanes), v16_load_n(beta + i, lanes));
        if (scale) v = v16_fma(v, v16_add(one, v16_load_n(scale + i, lanes)), v16_load_n(shift + i, lanes));
        v16_store_n(y + i, v, lanes);
    }
    if (n->mean) n->mean[row] = mu;
    if (n->rstd) n->rstd[row] = rs;
}

static void layer_norm(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    int64_t rows = (int64_t)n->rows.B * n->rows.S;
    PARALLEL_FOR(threads_for(cpu, rows * n->rows.D))
    for (int64_t i = 0; i < rows; i++) norm_row(n, i);
}

/* q = dy (1 + scale) gamma */
INLINE v16 norm_q(const float *dy, const float *gamma, const float *scale, int64_t i, int64_t lanes)
{
    v16 q = v16_load_n(dy + i, lanes);
    if (scale) q = v16_mul(q, v16_add(v16_set(1), v16_load_n(scale + i, lanes)));
    return v16_mul(q, v16_load_n(gamma + i, lanes));
}

static void norm_row_backward(const vdm_norm_args *n, int64_t row)
{
    const vdm_modulation *m = &n->modulation;
    const float *scale = vector_of(&n->rows, row, m->text_scale, m->scale, m->stride);
    const float *gamma = n->norm->gamma;
    int64_t D = n->rows.D;
    const float *dy = n->dy + row * D, *x = n->x + row * D;
    float *dx = n->dx + row * D;
    const bool add = n->add;
    v16 q_sum = v16_set(0), q_xhat_sum = v16_set(0), mu = v16_set(n->mean[row]), rs = v16_set(n->rstd[row]);
    EACH_16(i, lanes, D)
    {
        v16 q = norm_q(dy, gamma, scale, i, lanes);
        q_sum = v16_add(q_sum, q);
        q_xhat_sum = v16_fma(q, v16_mul(centred(x + i, mu, lanes), rs), q_xhat_sum);
    }
    v16 q_mean = v16_set(v16_sum(q_sum) / (float)D), q_xhat_mean = v16_set(v16_sum(q_xhat_sum) / (float)D);
    EACH_16(i, lanes, D)
    {
        v16 q = norm_q(dy, gamma, scale, i, lanes), xhat = v16_mul(centred(x + i, mu, lanes), rs);
        v16 change = v16_fma(v16_neg(xhat), q_xhat_mean, v16_sub(q, q_mean));
        v16 d = add ? v16_fma(rs, change, v16_load_n(dx + i, lanes)) : v16_mul(rs, change);
        v16_store_n(dx + i, d, lanes);
    }
}

static void layer_norm_backward(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    int64_t rows = (int64_t)n->rows.B * n->rows.S;
    PARALLEL_FOR(threads_for(cpu, rows * n->rows.D))
    for (int64_t i = 0; i < rows; i++) norm_row_backward(n, i);
}

/* ------------------------------------------------------------------------------------------------
 * Group norm. Channels are in the lanes; pixels go in pieces, as many at a time as their sums have room. */

/* sums [C] over n pixels of x, or of (x - mean)^2 where mean [C] is given */
static void sum_pixels(float *sums, const float *x, int64_t n, int C, const float *mean)
{
    EACH_16(c, lanes, C)
    {
        v16 sum = v16_set(0), mu = mean ? v16_load_n(mean + c, lanes) : sum;
        const float *p = x + c;
        for (int64_t i = 0; i < n; i++, p += C) {
            v16 v = v16_load_n(p, lanes);
            if (mean) {
                v = v16_sub(v, mu);
                sum = v16_fma(v, v, sum);
            } else {
                sum = v16_add(sum, v);
            }
        }
        v16_store_n(sums + c, sum, lanes);
    }
}

/* totals [C] over all pixels, in double, the pieces in order; sums: room for `room` pieces */
static void sum_channels(const vdm_cpu *cpu, double *totals, float *sums, int64_t room, const float *x,
                         int64_t P, int C, const float *mean)
{
    for (int c = 0; c < C; c++) totals[c] = 0;
    int64_t pieces = (P + VDM_PIXEL_TILE - 1) / VDM_PIXEL_TILE;
    for (int64_t first = 0; first < pieces; first += room) {
        int64_t n = smaller(room, pieces - first);
        PARALLEL_FOR(threads_for(cpu, P * C))
        for (int64_t i = 0; i < n; i++) {
            int64_t pixel = (first + i) * VDM_PIXEL_TILE;
            sum_pixels(sums + i * C, x + pixel * C, smaller(VDM_PIXEL_TILE, P - pixel), C, mean);
        }
        for (int64_t i = 0; i < n; i++)
            for (int c = 0; c < C; c++) totals[c] += (double)sums[i * C + c];
    }
}

static double sum_group(const double *totals, int g, int size)
{
    double sum = 0;
    for (int c = g * size; c < (g + 1) * size; c++) sum += totals[c];
    return sum;
}

static void group_norm_stats(const vdm_cpu *cpu, float *mean, float *rstd, const float *x, int64_t P, int C,
                             int groups, float eps)
{
    double *totals = (void *)cpu->scratch; /* [C] */
    float *channel_mean = cpu->scratch + 2 * (ptrdiff_t)C, *sums = channel_mean + C;
    int64_t room = NORM_FLOATS / (C > 0 ? C : 1);
    int size = C / groups;
    double count = (double)P * size;
    sum_channels(cpu, totals, sums, room, x, P, C, NULL);
    for (int g = 0; g < groups; g++) {
        mean[g] = (float)(sum_group(totals, g, size) / count);
        for (int c = g * size; c < (g + 1) * size; c++) channel_mean[c] = mean[g];
    }
    sum_channels(cpu, totals, sums, room, x, P, C, channel_mean);
    for (int g = 0; g < groups; g++)
        rstd[g] = (float)(1 / sqrt(sum_group(totals, g, size) / count + (double)eps));
}

/* x sigma(z) = x / (1 + e^-z) */
INLINE v16 times_sigmoid(v16 x, v16 z)
{
    return v16_div(x, v16_add(v16_set(1), v16_exp(v16_neg(z))));
}

static void group_norm(const vdm_cpu *cpu, const vdm_group_norm_args *n)
{
    const int C = n->C, size = C / n->groups;
    const float *x = n->x, *times = n->times, *plus = n->plus, *gamma = n->norm->gamma, *beta = n->norm->beta;
    float *y = n->y, *channel_mean = cpu->scratch, *channel_rstd = cpu->scratch + C;
    for (int c = 0; c < C; c++) channel_mean[c] = n->mean[c / size], channel_rstd[c] = n->rstd[c / size];
    PARALLEL_FOR(threads_for(cpu, n->P * C))
    for (int64_t p = 0; p < n->P; p++) {
        int64_t z = n->index ? (int64_t)n->index[p] * C : 0;
        EACH_16(c, lanes, C)
        {
            v16 v = v16_sub(v16_load_n(x + p * C + c, lanes), v16_load_n(channel_mean + c, lanes));
            v = v16_mul(v, v16_load_n(channel_rstd + c, lanes));
            v = v16_fma(v, v16_load_n(gamma + c, lanes), v16_load_n(beta + c, lanes));
            if (times) v = v16_mul(v, v16_load_n(times + z + c, lanes));
            if (plus) v = v16_add(v, v16_load_n(plus + z + c, lanes));
            v16_store_n(y + p * C + c, n->silu ? times_sigmoid(v, v) : v, lanes);
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Number by number */

/* Three products and two sums of plain floats: memory is slower than that. */
static void rope_row(float *x, int A, int Dh, const float *cosine, const float *sine, float sign)
{
    for (int head = 0; head < A; head++, x += Dh) {
        for (int j = 0; j < Dh / 2; j++) {
            float s = sign * sine[j], x0 = x[2 * j], x1 = x[2 * j + 1];
            x[2 * j] = x0 * cosine[j] - x1 * s;
            x[2 * j + 1] = x1 * cosine[j] + x0 * s;
        }
    }
}

static void rope(const vdm_cpu *cpu, const vdm_rope_args *r)
{
    int64_t D = (int64_t)r->A * r->Dh, V = r->S > r->L ? r->S - r->L : 0, half = r->Dh / 2;
    PARALLEL_FOR(threads_for(cpu, r->B * V * D))
    for (int64_t i = 0; i < r->B * V; i++) {
        int64_t row = i / V * r->S + r->L + i % V, angle = i % V * half;
        rope_row(r->x + row * D, r->A, r->Dh, r->cos + angle, r->sin + angle, r->sign);
    }
}

/* 2u = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a */
static const float GELU_A = 1.5957691216f, GELU_B = 0.0713548163f;

INLINE v16 gelu_16(v16 x)
{
    return times_sigmoid(x, v16_mul(x, v16_fma(v16_set(GELU_B), v16_mul(x, x), v16_set(GELU_A))));
}

/* gelu' = s + x s (1 - s) (2u)', s = sigma(2u); 1 - s as s e^-2u, or it would cancel. Beyond 8 the slope is
 * 0 or 1 (to 1e-19): the limit keeps infinity out. */
INLINE v16 gelu_slope_16(v16 x)
{
    v16 one = v16_set(1), a = v16_set(GELU_A);
    x = v16_max(v16_set(-8), v16_min(v16_set(8), x));
    v16 x2 = v16_mul(x, x), e = v16_exp(v16_neg(v16_mul(x, v16_fma(v16_set(GELU_B), x2, a))));
    v16 s = v16_div(one, v16_add(one, e)), slope = v16_mul(x, v16_fma(v16_set(3 * GELU_B), x2, a));
    return v16_fma(v16_mul(s, v16_mul(s, e)), slope, s);
}

static void gelu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16_store_n(y + i, gelu_16(v16_load_n(x + i, lanes)), lanes);
    }
}

static void gelu_backward(const vdm_cpu *cpu, float *dx, const float *dy, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16_store_n(dx + i, v16_mul(v16_load_n(dy + i, lanes), gelu_slope_16(v16_load_n(x + i, lanes))),
                    lanes);
    }
}

static void silu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16 v = v16_load_n(x + i, lanes);
        v16_store_n(y + i, times_sigmoid(v, v), lanes);
    }
}

static void exponential(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16_store_n(y + i, v16_exp(v16_load_n(x + i, lanes)), lanes);
    }
}

static void blend(const vdm_cpu *cpu, float *y, float a, const float *x, float b, const float *z, int64_t n)
{
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16 v = v16_mul(v16_set(a), v16_load_n(x + i, lanes));
        v16_store_n(y + i, v16_add(v, v16_mul(v16_set(b), v16_load_n(z + i, lanes))), lanes);
    }
}

static void adamw(const vdm_cpu *cpu, float *p, float *m, float *v, const float *g, int64_t n,
                  const vdm_adamw_factors *f)
{
    const v16 keep = v16_set(f->keep), take1 = v16_set(f->one_minus_beta1), beta2 = v16_set(f->beta2),
              take2 = v16_set(f->one_minus_beta2), step = v16_set(f->step), root = v16_set(f->root),
              eps = v16_set(f->eps);
    PARALLEL_FOR(threads_for(cpu, n))
    for (int64_t i = 0; i < n; i += 16) {
        int64_t lanes = smaller(16, n - i);
        v16 gi = v16_load_n(g + i, lanes), mi = v16_load_n(m + i, lanes), vi = v16_load_n(v + i, lanes);
        mi = v16_fma(take1, v16_sub(gi, mi), mi);
        vi = v16_fma(v16_mul(take2, gi), gi, v16_mul(beta2, vi));
        v16 by = v16_add(v16_div(v16_sqrt(vi), root), eps);
        v16 pi = v16_mul(v16_load_n(p + i, lanes), keep);
        v16_store_n(m + i, mi, lanes);
        v16_store_n(v + i, vi, lanes);
        v16_store_n(p + i, v16_add(pi, v16_div(v16_mul(step, mi), by)), lanes);
    }
}

static void gated_add(const vdm_cpu *cpu, float *sum, const float *h, const float *y, const vdm_rows *r,
                      const vdm_modulation *m)
{
    int64_t D = r->D, rows = (int64_t)r->B * r->S;
    PARALLEL_FOR(threads_for(cpu, rows * D))
    for (int64_t row = 0; row < rows; row++) {
        const float *g = vector_of(r, row, m->text_gate, m->gate, m->stride);
        EACH_16(i, lanes, D)
        {
            int64_t at = row * D + i;
            v16 v = v16_fma(v16_load_n(g + i, lanes), v16_load_n(y + at, lanes), v16_load_n(h + at, lanes));
            v16_store_n(sum + at, v, lanes);
        }
    }
}

static void gate(const vdm_cpu *cpu, float *dy, const float *dh, const vdm_rows *r, const vdm_modulation *m)
{
    int64_t D = r->D, rows = (int64_t)r->B * r->S;
    PARALLEL_FOR(threads_for(cpu, rows * D))
    for (int64_t row = 0; row < rows; row++) {
        const float *g = vector_of(r, row, m->text_gate, m->gate, m->stride), *from = dh + row * D;
        EACH_16(i, lanes, D)
        v16_store_n(dy + row * D + i, v16_mul(v16_load_n(g + i, lanes), v16_load_n(from + i, lanes)), lanes);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Peaks. Sums start apart, or the compiler would see that they are one; there are as many as registers hold,
 * more than an instruction takes cycles times those begun in one. */

/* Each returns the operations that it did; the sum is written, or nothing would be computed. */
static double spin_fma(float *out, int64_t steps)
{
    v16 sum[TILE_ROWS][TILE_VECS], x = v16_set(1e-3f), total = v16_set(0);
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < TILE_VECS; v++) sum[r][v] = v16_set((float)(r * TILE_VECS + v));
    for (int64_t i = 0; i < steps; i++) {
        UNROLL for (int r = 0; r < TILE_ROWS; r++)
        {
            UNROLL for (int v = 0; v < TILE_VECS; v++) sum[r][v] = v16_fma(x, x, sum[r][v]);
        }
    }
    for (int r = 0; r < TILE_ROWS; r++)
        for (int v = 0; v < TILE_VECS; v++) total = v16_add(total, sum[r][v]);
    *out = v16_sum(total);
    return 2.0 * 16 * TILE_ROWS * TILE_VECS * (double)steps;
}

#ifdef V16_DOT
static double spin_dots(float *out, int64_t steps)
{
    enum { DOTS = 24 };
    v16 sum[DOTS], x = v16_pair(v16_set(1e-3f), v16_set(1e-3f)), total = v16_set(0);
    for (int i = 0; i < DOTS; i++) sum[i] = v16_set((float)i);
    for (int64_t k = 0; k < steps; k++) {
        UNROLL for (int i = 0; i < DOTS; i++) sum[i] = v16_dot(x, x, sum[i]);
    }
    for (int i = 0; i < DOTS; i++) total = v16_add(total, sum[i]);
    *out = v16_sum(total);
    return 4.0 * 16 * DOTS * (double)steps;
}
#endif

#ifdef V16_AMX
static double spin_tiles(float *out, int64_t steps)
{
    _Alignas(64) float sum[256], x[256];
    for (int i = 0; i < 256; i += 16) v16_store(x + i, v16_pair(v16_set(1e-3f), v16_set(1e-3f)));
    __asm__ volatile("" ::: "memory"); /* gemm.h: a load of a tile says not what it reads */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, x, 64);
    _tile_loadd(5, x, 64);
    for (int64_t k = 0; k < steps; k++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, sum, 64);
    *out = sum[0];
    return 2.0 * 4 * 16 * 16 * 32 * (double)steps;
}
#endif

static double spin(vdm_precision precision, float *out, int64_t steps)
{
    if (precision == VDM_PRECISION_F32) return spin_fma(out, steps);
#ifdef V16_DOT
    if (precision == VDM_PRECISION_BF16) return spin_dots(out, steps);
#endif
#ifdef V16_AMX
    if (precision == VDM_PRECISION_AMX) return spin_tiles(out, steps);
#endif
    return 0;
}

static double peak(const vdm_cpu *cpu, int64_t steps)
{
    double operations = 0;
    PARALLEL_FOR(cpu->threads)
    for (int i = 0; i < cpu->threads; i++) {
        amx_begin(cpu);
        double done = spin(cpu->precision, cpu->scratch + 16 * i, steps);
        amx_end(cpu);
        if (i == 0) operations = done;
    }
    return operations * cpu->threads;
}

/* ------------------------------------------------------------------------------------------------ */

static size_t scratch_floats(int threads)
{
    size_t T = (size_t)threads;
    size_t product = T * PRODUCT_FLOATS;
    size_t attention = T * ATTENTION_FLOATS, norm = NORM_FLOATS + 4 * VDM_MAX_CHANNELS;
    size_t most = product > attention ? product : attention;
    return most > norm ? most : norm;
}

const vdm_kernels FOR_SET(vdm_kernels_) = {
    .name = NAME_OF(SET_NAME),
    .scratch_floats = scratch_floats,
    .matmul = matmul,
    .conv = conv,
    .attention_forward = FOR_SET(vdm_attention_forward_),
    .attention_backward = FOR_SET(vdm_attention_backward_),
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .group_norm_stats = group_norm_stats,
    .group_norm = group_norm,
    .rope = rope,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .silu = silu,
    .gated_add = gated_add,
    .gate = gate,
    .blend = blend,
    .exp = exponential,
    .adamw = adamw,
    .peak = peak,
};
