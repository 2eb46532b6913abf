/* Products of one instruction set: C(m,n) = sum over k of A(m,k) B(k,n) + bias(n), C [M,N], A [M,K], B [K,N], for matmul and
 * convolution. A part of set.c; plain.c: plain_matmul.
 *
 * gemm.h has the packing and the micro-kernels; here are the loops around them: which part is packed when, and what each
 * thread computes. Block sizes, threads and the order of tasks change no result: an output is computed by one thread, in
 * the order of k.
 *
 *   each thread, for its rectangle of C:
 *       for nc columns of B, for kc of k, for mc rows of A (blocking_of):
 *           pack these rows of A; for each panel of columns: pack it if it is not packed yet; multiply
 *
 * Trap: threads that share a packed B are slower, because a core takes long to overwrite memory that another core has read
 * (1.2 times the whole product's time on two cores). Each thread packs its own, and waits for no other before the end. */

/* What is packed: x(i,k), i a row of A or a column of B */
struct factor {
    struct strided x;
    const vdm_conv_args
        *conv; /* instead of x: x(i,k) is element k of the window of output pixel i; or NULL */
};

/* A matrix that A is multiplied by: columns first ... first + N - 1 of the whole product */
struct rhs {
    int64_t first, N;
    struct factor b;
    struct output c;
    bool accumulate;
    const float *bias;     /* [N], [M] if transposed: added last; or NULL */
    const float *residual; /* with c's strides: added after the bias; or NULL */
    bool transposed;       /* A and B are exchanged (transpose): c.row is the short stride */
};

enum { MAX_RHS = 8 };
struct product {
    int64_t M, N, K; /* N: the sum over all rhs, of which each but the last is a multiple of TILE_COLS */
    struct factor a;
    int rhs_count;
    struct rhs rhs[MAX_RHS];
};

/* The rhs that has column n of the whole product */
static const struct rhs *rhs_of(const struct product *p, int64_t n)
{
    const struct rhs *r = p->rhs;
    while (n >= r->first + r->N) r++;
    return r;
}

/* conv.c */
static void pack_windows(float *panel, int64_t width, const vdm_conv_args *c, int64_t i, int64_t n, int64_t k,
                         int64_t kc, struct depth d);

/* Packs one panel of a factor: rows of A or columns of B i ... i + n - 1 */
static void pack_panel(float *panel, int64_t width, const struct factor *f, int64_t i, int64_t n, int64_t k,
                       int64_t kc, struct depth d)
{
    if (f->conv) {
        pack_windows(panel, width, f->conv, i, n, k, kc, d);
    } else {
        struct strided x = f->x;
        x.data = (const char *)x.data + (i * x.r_stride + k * x.k_stride) * (x.dtype == VDM_F32 ? 4 : 2);
        pack(panel, width, &x, n, kc, d);
    }
}

/* Adds bias and residual to rows m ... and columns n ... of the output. */
static void finish(const struct rhs *r, int64_t m, int64_t rows, int64_t n, int64_t cols)
{
    struct output c = r->c;
    const float *bias = r->bias, *residual = r->residual;
    if (!bias && !residual) return;
    if (r->transposed) { /* exchanged again: outputs of a row are contiguous */
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

/* A thread's rectangle of the output, and its packed factors */
struct thread_share {
    int64_t m, rows, n, cols;
    float *lhs, *rhs;
};

static int64_t pieces(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* Packs rows m ... m + rows - 1 of A, panel by panel. */
static void pack_lhs(const struct product *p, float *to, int64_t m, int64_t rows, int64_t k, int64_t kc,
                     struct depth d)
{
    int64_t width = lhs_width(d);
    for (int64_t i = 0; i < rows; i += width)
        pack_panel(to + i * d.cells, width, &p->a, m + i, smaller(width, rows - i), k, kc, d);
}

/* The block sizes of gemm.h's loops: kc of k, nc columns and mc rows are packed at once; a micro-kernel computes mr rows; a
 * thread's rows are a multiple of `multiple`: 1, because a smaller tile takes about as much less time; 32 for AMX, whose
 * blocks all take the same time. */
struct blocking {
    int64_t kc, nc, mc, mr, multiple;
};
static struct blocking blocking_of(const vdm_cpu *cpu)
{
    struct blocking usual = {KC, NC, MC, TILE_ROWS, 1};
#ifdef V16_AMX
    struct blocking amx = {2 * KC, NC, AMX_MC, 2 * AMX_PANEL_ROWS, 2 * AMX_PANEL_ROWS};
    if (uses_amx(cpu)) return amx;
#else
    (void)cpu;
#endif
    return usual;
}

/* Computes a thread's rectangle. If all its rows are packed at once (blocks == 1), a panel of B is used only once: every
 * panel is packed in the same place, and stays in L1 and L2. */
static void run_share(const struct product *p, const vdm_cpu *cpu, const struct thread_share *t)
{
    struct blocking b = blocking_of(cpu);
    int64_t blocks = pieces(t->rows, b.mc), mc = round_up(pieces(t->rows, blocks), b.mr);
    int64_t nc = blocks == 1 ? t->cols : b.nc;
    for (int64_t n = 0; n < t->cols; n += nc)
        for (int64_t k = 0; k < p->K; k += b.kc) {
            int64_t kc = smaller(b.kc, p->K - k);
            struct depth d = depth_of(cpu, kc);
            for (int64_t m = 0; m < t->rows; m += mc) {
                int64_t rows = smaller(mc, t->rows - m), end = smaller(n + nc, t->cols);
                pack_lhs(p, t->lhs, t->m + m, rows, k, kc, d);
                for (int64_t j = n, cols; j < end; j += cols) {
                    const struct rhs *r = rhs_of(p, t->n + j);
                    int64_t col = t->n + j - r->first; /* of this rhs */
                    float *panel = t->rhs + (blocks == 1 ? 0 : (j - n) * d.cells);
                    struct output c = {r->c.c + (t->m + m) * r->c.row + col * r->c.col, r->c.row, r->c.col};
                    cols = smaller(TILE_COLS, smaller(end - j, r->N - col));
                    if (m == 0) pack_panel(panel, TILE_COLS, &r->b, col, cols, k, kc, d);
                    multiply(rows, cols, d, packed_lhs(t->lhs, d), panel, c, k > 0 || r->accumulate);
                    if (k + kc == p->K) finish(r, t->m + m, rows, col, cols);
                }
            }
        }
}

/* The work of a share for each element of k, in multiply-adds: packing an element takes as long as PACKING of them, five
 * times as many with AMX. */
static double share_work(const vdm_cpu *cpu, int64_t rows, int64_t cols)
{
    const double PACKING = blocking_of(cpu).kc == KC ? 20 : 100;
    return (double)rows * (double)cols + PACKING * (double)(rows + cols);
}

/* The output as a grid of rectangles, one for each thread: the grid whose largest rectangle has the least work. */
struct thread_grid {
    int64_t down, across, rows, cols;
};
static struct thread_grid thread_grid_of(const struct product *p, const vdm_cpu *cpu, int threads)
{
    struct blocking b = blocking_of(cpu);
    struct thread_grid best = {0};
    double min = 0;
    for (int64_t down = 1; down <= threads; down++) {
        int64_t across = threads / down, rows = round_up(pieces(p->M, down), b.multiple),
                cols = round_up(pieces(p->N, across), TILE_COLS);
        double work = share_work(cpu, rows, cols);
        if (best.down && work >= min) continue;
        struct thread_grid g = {down, across, rows, cols};
        best = g, min = work;
    }
    return best;
}

/* K = 0: every sum is empty. */
static void run_empty(const struct product *p)
{
    for (const struct rhs *r = p->rhs; r < p->rhs + p->rhs_count; r++) {
        for (int64_t m = 0; m < p->M && !r->accumulate; m++)
            for (int64_t n = 0; n < r->N; n++) r->c.c[m * r->c.row + n * r->c.col] = 0;
        finish(r, 0, p->M, 0, r->N);
    }
}

/* For an output with few columns (3 channels of pixels): C^T = B^T A^T, so that its rows are in the lanes. */
static void transpose(struct product *p)
{
    struct rhs *r = p->rhs;
    struct factor a = p->a;
    struct output c = r->c;
    int64_t M = p->M;
    p->M = p->N, p->N = r->N = M, p->a = r->b, r->b = a;
    r->c.row = c.col, r->c.col = c.row;
    r->transposed = true;
}

/* A product divided among threads: share i is at row i % down, column i / down of the grid. */
struct shares {
    const struct product *p;
    const vdm_cpu *cpu;
    struct thread_grid g;
};
static struct thread_share share_of(const struct shares *s, int i, float *space)
{
    int64_t m = i % s->g.down * s->g.rows, n = i / s->g.down * s->g.cols;
    return (struct thread_share){
        m, smaller(s->g.rows, s->p->M - m), n, smaller(s->g.cols, s->p->N - n), space, space + LHS_FLOATS};
}
static void run_grid_share(const void *of, int i, int thread)
{
    const struct shares *s = of;
    struct thread_share t = share_of(s, i, s->cpu->scratch + (int64_t)thread * PRODUCT_FLOATS);
    amx_begin(s->cpu);
    if (t.rows > 0 && t.cols > 0) run_share(s->p, s->cpu, &t);
    amx_end(s->cpu);
}
static double grid_share_work(const void *of, int i)
{
    const struct shares *s = of;
    struct thread_share t = share_of(s, i, NULL);
    return t.rows > 0 && t.cols > 0 ? share_work(s->cpu, t.rows, t.cols) * (double)s->p->K : 0;
}

static const double SMALL_PRODUCT = 200e3; /* multiply-adds: with fewer (4 us) waking a thread takes longer */

static void run_product(const vdm_cpu *cpu, struct product p)
{
    if (p.rhs_count == 1 && p.N < 16 && p.M > p.N) transpose(&p);
    if (p.K == 0) run_empty(&p);
    if (p.K == 0 || p.M == 0 || p.N == 0) return;
    bool small = (double)p.M * (double)p.N * (double)p.K < SMALL_PRODUCT;
    const struct shares s = {&p, cpu, thread_grid_of(&p, cpu, small ? 1 : cpu->threads)};
    const vdm_loop loop = {
        .pieces = (int)(s.g.down * s.g.across), .run = run_grid_share, .of = &s, .work = grid_share_work};
    vdm_team_run(cpu->team, &loop);
}

static void matmul(const vdm_cpu *cpu, const vdm_matmul_args *m)
{
    struct product p = {.M = m->M, .K = m->K, .a = {.x = {m->a, VDM_F32, m->a_row, m->a_col}}};
    for (; m; m = m->also) {
        if (m->N == 0) continue;
        if (p.N % TILE_COLS != 0 || p.rhs_count == MAX_RHS) { /* the next one has to begin a product */
            run_product(cpu, p);
            p.N = p.rhs_count = 0;
        }
        p.rhs[p.rhs_count++] = (struct rhs){.first = p.N,
                                            .N = m->N,
                                            .b = {.x = {m->b, m->b_dtype, m->b_col, m->b_row}},
                                            .c = {m->c, m->c_row, 1},
                                            .accumulate = m->accumulate,
                                            .bias = m->bias};
        p.N += m->N;
    }
    run_product(cpu, p);
}
