/* Winograd's convolution of one instruction set (rule 7), of 2x2 outputs y from 4x4 inputs d and 3x3 taps g:
 *
 *   y = A^T P A,   P = sum over frames and channels of V U elementwise,   V = B^T d B,   U = G g G^T
 *
 *   taps --transform--> U [16,K,out], packed, once
 *   each thread, some squares of 2x2 outputs at a time:
 *       inputs --transform--> V [16,squares,K], packed --multiply by U--> P [squares,16,out] --transform--> outputs
 *
 * V and P are in the thread's scratch. A part of set.c; plain.c: conv_winograd, which plain_conv calls. */

/* u = G g, a column of 4 elements */
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

/* Packs frame dt of U's columns n ... n + TILE_COLS - 1: a right panel for each of the 16 elements p, at to + p * step. */
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

/* A convolution by rule 7, in pieces of per_piece squares */
struct winograd {
    const vdm_cpu *cpu;
    const vdm_conv_args *c;
    struct depth d;
    int64_t squares, per_piece;
};

/* Frame i % kt of panel i / kt of U */
static void transform_panel(const void *of, int i, int thread)
{
    const struct winograd *s = of;
    const vdm_conv *w = s->c->w;
    int64_t panel = s->d.cells * TILE_COLS, step = pieces(w->out, TILE_COLS) * panel;
    float *to = s->c->transformed + i / w->kt * panel;
    (void)thread;
    if (s->d.pairs)
        pack_taps_transformed(to, step, w, i % w->kt, i / w->kt * TILE_COLS, true);
    else
        pack_taps_transformed(to, step, w, i % w->kt, i / w->kt * TILE_COLS, false);
}

/* The first of the 4x4 inputs of a square */
static struct origin square_of(const vdm_conv_args *c, int64_t square)
{
    int rows = (c->Ho + 1) / 2, cols = (c->Wo + 1) / 2;
    struct origin o = {(int)(square / cols / rows), (int)(square / cols % rows) * 2 - 1,
                       (int)(square % cols) * 2 - 1};
    return o;
}

/* v = B^T d, a column of 4 elements */
INLINE void join_inputs(v16 v[4], v16 d0, v16 d1, v16 d2, v16 d3)
{
    v[0] = v16_sub(d0, d2), v[1] = v16_add(d1, d2), v[2] = v16_sub(d2, d1), v[3] = v16_sub(d1, d3);
}

/* 16 channels of a square: element p of V to to + p * step. d: 4x4 inputs */
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

/* Packs V of squares first ... first + n - 1: a left panel for each of the 16 elements p, at to + p * step. */
static void pack_squares(float *to, int64_t step, const vdm_conv_args *c, int64_t first, int64_t n,
                         struct depth d)
{
    const int64_t width = lhs_width(d), cell = d.pairs ? 2 : 1;
    enum { HIGH = 16 }; /* maximum rows of a left panel */
    const float *inputs[HIGH][16];
    float v[16][HIGH + 1][RUN]; /* + 1: 4096 bytes apart, the 16 would share a set of L1 */
    const char *rows[HIGH];
    for (int dt = 0; dt < c->w->kt; dt++) {
        for (int64_t r = 0; r < n; r++) {
            struct origin o = square_of(c, first + r);
            for (int i = 0; i < 16; i++) {
                struct tap tap = {dt, i / 4, i % 4, 0};
                inputs[r][i] = element_at(c, &o, &tap);
            }
        }
        for (int64_t channel = 0; channel < c->w->in; channel += RUN, to += RUN / cell * width) {
            for (int64_t r = 0; r < n; r++)
                for (int64_t i = 0; i < RUN; i += 16)
                    transform_inputs(&v[0][r][i], (HIGH + 1) * RUN, inputs[r], channel + i);
            for (int p = 0; p < 16; p++) {
                for (int64_t r = 0; r < HIGH; r++) rows[r] = (const char *)v[p][r < n ? r : 0];
                if (is_amx_panel(width, d))
                    pack_amx_rows(to + p * step, rows, n, VDM_F32, RUN);
                else
                    pack_rows(to + p * step, RUN / cell * width, width, rows, VDM_F32, RUN, d.pairs);
            }
        }
    }
}

/* y = A^T p, a column of 2 elements */
INLINE void join_products(v16 y[2], v16 p0, v16 p1, v16 p2, v16 p3)
{
    y[0] = v16_add(v16_add(p0, p1), p2), y[1] = v16_sub(v16_sub(p1, p2), p3);
}

/* Stores the outputs y = A^T P A of a square; P: 16 rows, `row` floats apart. */
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

/* One piece. Rows of P are 16 floats longer than `out`: otherwise a square's 16 rows might be multiples of 4096 bytes
 * apart, and share a set of L1. */
static void winograd_squares(const void *of, int piece, int thread)
{
    const struct winograd *s = of;
    const vdm_conv_args *c = s->c;
    const struct depth d = s->d;
    int64_t first = piece * s->per_piece, n = smaller(s->per_piece, s->squares - first);
    int64_t out = c->w->out, row = out + 16, width = lhs_width(d), step = s->per_piece * d.cells;
    float *V = s->cpu->scratch + (int64_t)thread * PRODUCT_FLOATS, *P = V + 16 * step;
    for (int64_t i = 0; i < n; i += width)
        pack_squares(V + i * d.cells, step, c, first + i, smaller(width, n - i), d);
    amx_begin(s->cpu);
    for (int p = 0; p < 16; p++) {
        const float *U = c->transformed + p * round_up(out, TILE_COLS) * d.cells;
        struct output o = {P + p * row, 16 * row, 1};
        multiply(n, out, d, packed_lhs(V + p * step, d), U, o, false);
    }
    amx_end(s->cpu);
    for (int64_t i = 0; i < n; i++) store_square(c, first + i, P + 16 * i * row, row);
}

/* The work of a panel of U and of a piece, in multiply-adds: transforming or packing an element takes as long as 20. */
static double panel_work(const void *of, int i)
{
    const struct winograd *s = of;
    (void)i;
    return 20.0 * 16 * s->c->w->in * TILE_COLS;
}
static double squares_work(const void *of, int piece)
{
    const struct winograd *s = of;
    double K = (double)s->c->w->in * s->c->w->kt, out = s->c->w->out;
    return 16 * (K * out + 20 * (K + out)) * (double)smaller(s->per_piece, s->squares - piece * s->per_piece);
}

static void conv_winograd(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    struct depth d = depth_of(cpu, (int64_t)c->w->kt * c->w->in);
    int64_t squares = (int64_t)c->T * ((c->Ho + 1) / 2) * ((c->Wo + 1) / 2), mr = blocking_of(cpu).mr;
    int64_t capacity = PRODUCT_FLOATS / 16 / (d.cells + c->w->out + 16); /* a thread's, in rows of V and P */
    int64_t share = round_up(pieces(squares, cpu->threads), mr);
    int64_t per_piece = smaller(share, smaller(WINOGRAD_ROWS, capacity) / mr * mr);
    if (squares == 0) return;
    const struct winograd s = {cpu, c, d, squares, per_piece};
    const vdm_loop weight = {.pieces = (int)pieces(c->w->out, TILE_COLS) * c->w->kt,
                             .run = transform_panel,
                             .of = &s,
                             .work = panel_work};
    const vdm_loop all = {
        .pieces = (int)pieces(squares, per_piece), .run = winograd_squares, .of = &s, .work = squares_work};
    vdm_team_run(cpu->team, &weight);
    vdm_team_run(cpu->team, &all);
}
