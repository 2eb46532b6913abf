/* Attention of one instruction set, forward and backward, without scores of S x S. A part of set.c; kernels.h has the rules;
 * plain.c: plain_attention_forward, plain_attention_backward.
 *
 *   o_i = sum over j of p_ij v_j,   p_ij = exp(s_ij) / sum over j of exp(s_ij),   s_ij = q_i k_j / sqrt(Dh)
 *
 * Forward. One piece is a group of queries of one head. Queries are in the lanes:
 *     scores [keys,queries] = K Q^T      left panels of keys, right panels of queries
 *     softmax over each column           lanes are not summed
 *     O^T [Dh,queries] += V^T P          the scores already have the layout of a right panel
 * A tile of keys is packed once for all queries of the group; the scores of TILE_COLS queries stay in L1/L2.
 *
 * Backward. One piece is a head, or some of its keys; for a group of key tiles, packed once: tiles of queries outside,
 * of keys inside. Keys are in the lanes:
 *     S [queries,keys] = Q K^T, G = dO V^T, both become P and dS in place
 *     dV += P^T dO, dK += dS^T Q         left factor: P, not packed, since its columns are contiguous
 *     dQ += dS K                         left factor: dS^T, transposed in blocks of 16 x 16, not packed
 *
 * Traps: the maximum of a tile must be taken over its valid keys only; a chain ends with its tile at the latest, or sums
 * lose digits as S grows. */

enum {
    GROUP = 384, /* queries of a forward task: a multiple of TILE_COLS; their O^T and Q^T stay in L2 */
    KEYS = VDM_KEY_TILE,
    KEY_GROUP = 3, /* backward: tiles of keys whose panels stay in L2 */
    QUERIES = 128, /* backward: queries of a tile: whole chains */
    LHS_ROWS_MAX = TILE_ROWS > PIECE_CELLS ? TILE_ROWS : PIECE_CELLS, /* maximum rows of a left panel */
    KEY_ROW = KEYS + 16, /* floats of a row of scores: with a power of two, rows would share cache sets */
    QUERY_ROW = QUERIES + 16
};

_Static_assert(KEYS % VDM_CHAIN == 0 && QUERIES % VDM_CHAIN == 0,
               "tiles are whole chains: rule 1 continues across them");

/* A thread's buffers: its part of the scratch */
static float *buffers_of(const vdm_cpu *cpu, int thread)
{
    return cpu->scratch + (int64_t)thread * ATTENTION_FLOATS;
}
/* One head of one video: row s of q is q + s * row. */
struct head {
    const float *q, *k, *v, *d_o;
    float *o, *dq, *dk, *dv, *lse;
    int64_t row, S, Dh;
    float scale;
};
static struct head head_of(const vdm_attention_args *a, int64_t number)
{
    int64_t b = number / a->A, row = (int64_t)a->A * a->Dh, at = b * a->S * row + number % a->A * a->Dh;
    struct head h = {.q = a->q + at,
                     .k = a->k + at,
                     .v = a->v + at,
                     .d_o = offset_or_null(a->d_o, at),
                     .o = a->o + at,
                     .lse = a->lse + number * a->S,
                     .row = row,
                     .S = a->S,
                     .Dh = a->Dh,
                     .scale = (float)(1 / sqrt((double)a->Dh))};
    if (a->d_o) h.dq = a->dq + at, h.dk = a->dk + at, h.dv = a->dv + at;
    return h;
}

/* to [n,Dh] = scale q of queries first ... first + n - 1 */
static void scale_queries(float *to, const struct head *h, int64_t first, int64_t n)
{
    for (int64_t i = 0; i < n; i++, to += h->Dh) {
        const float *q = h->q + (first + i) * h->row;
        for (int64_t d = 0; d < h->Dh; d += 16) {
            int64_t lanes = smaller(16, h->Dh - d);
            v16_store_n(to + d, v16_mul(v16_load_n(q + d, lanes), v16_set(h->scale)), lanes);
        }
    }
}

/* Rows 2r and 2r + 1 of x [n,16 vecs] become row r of pairs, in place, padded to d.cells rows. */
static void pair_rows(float *x, int64_t row, int64_t n, int64_t vecs, struct depth d)
{
    for (int64_t v = 0; v < vecs; v++, x += 16) {
        for (int64_t r = 0; r < n; r += 2) {
            v16 odd = r + 1 < n ? v16_load(x + (r + 1) * row) : v16_set(0);
            v16_store(x + r / 2 * row, v16_pair(v16_load(x + r * row), odd));
        }
        for (int64_t r = (n + 1) / 2; r < d.cells; r++) v16_store(x + r * row, v16_set(0));
    }
}

/* ------------------------------------------------------------------------------------------------
 * Forward */

/* 16 queries, one tile of n keys: scores [n,16], rows of TILE_COLS floats, become p; m and l [16] are updated. Returns
 * c = exp(m - m'). */
static v16 softmax_tile(float *scores, int64_t n, float *m, float *l)
{
    v16 before = v16_load(m), highest[4], sum[8];
    UNROLL for (int i = 0; i < 4; i++) highest[i] = before;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        UNROLL for (int i = 0; i < 4; i++) highest[i] =
            v16_max(v16_load(scores + (j + i) * TILE_COLS), highest[i]);
    }
    for (; j < n; j++) highest[0] = v16_max(v16_load(scores + j * TILE_COLS), highest[0]);
    v16 top = v16_max(v16_max(highest[0], highest[1]), v16_max(highest[2], highest[3]));
    UNROLL for (int i = 0; i < 8; i++) sum[i] = v16_set(0);
    for (j = 0; j < n; j += 8) {
        UNROLL for (int i = 0; i < 8; i++)
        {
            if (j + i >= n) continue;
            float *s = scores + (j + i) * TILE_COLS;
            v16 p = v16_exp(v16_sub(v16_load(s), top));
            v16_store(s, p);
            sum[i] = v16_add(sum[i], p);
        }
    }
    UNROLL for (int i = 0; i < 4; i++) sum[i] = v16_add(sum[i], sum[i + 4]);
    v16 total = v16_add(v16_add(sum[0], sum[2]), v16_add(sum[1], sum[3]));
    v16 c = v16_exp(v16_sub(before, top));
    v16_store(l, v16_add(v16_mul(v16_load(l), c), total));
    v16_store(m, top);
    return c;
}

/* The buffers of a group of queries. Panel i has queries i * TILE_COLS ... */
struct group {
    struct depth head; /* of Dh elements */
    float *q;          /* [panels][Dh][TILE_COLS] scale q, right panels */
    float *o;          /* [panels][Dh][TILE_COLS] */
    float *m;          /* [GROUP] */
    float *l;          /* [GROUP] */
    float *k;          /* left panels of keys */
    float *v;          /* left panels of d */
    float *scores;     /* [KEYS][TILE_COLS] */
};

/* One tile of n keys, the panel of queries that begins with `query`. */
static void attend(const struct head *h, const struct group *g, int64_t query, int64_t n, struct depth keys)
{
    float *o = g->o + query * h->Dh;
    struct output scores = {g->scores, TILE_COLS, 1}, out = {o, TILE_COLS, 1};
    multiply(n, TILE_COLS, g->head, packed_lhs(g->k, g->head), g->q + query * g->head.cells, scores, false);
    for (int v = 0; v < TILE_VECS; v++) {
        v16 c = softmax_tile(g->scores + 16 * v, n, g->m + query + 16 * v, g->l + query + 16 * v);
        for (int64_t d = 0; d < h->Dh; d++) {
            float *p = o + d * TILE_COLS + 16 * v;
            v16_store(p, v16_mul(v16_load(p), c));
        }
    }
    if (keys.pairs) pair_rows(g->scores, TILE_COLS, n, TILE_VECS, keys);
    multiply(h->Dh, TILE_COLS, keys, packed_lhs(g->v, keys), g->scores, out, true);
}

/* Writes o / l of 16 queries (n of them valid), transposed into rows, and lse; log l is computed in double. */
static void write_queries(const struct head *h, const struct group *g, int64_t first, int64_t query,
                          int64_t n)
{
    const float *o = g->o + query / TILE_COLS * TILE_COLS * h->Dh + query % TILE_COLS;
    v16 l = v16_load(g->l + query), block[16];
    for (int64_t d = 0; d < h->Dh; d += 16) {
        int64_t lanes = smaller(16, h->Dh - d);
        for (int i = 0; i < 16; i++)
            block[i] = i < lanes ? v16_div(v16_load(o + (d + i) * TILE_COLS), l) : v16_set(0);
        v16_transpose(block);
        for (int i = 0; i < n; i++) v16_store_n(h->o + (first + query + i) * h->row + d, block[i], lanes);
    }
    for (int64_t i = query; i < query + n; i++) h->lse[first + i] = g->m[i] + (float)vdm_log((double)g->l[i]);
}

/* Queries first ... first + n - 1 of a head, n <= GROUP; b: buffers */
static void attend_group(const vdm_cpu *cpu, float *b, const struct head *h, int64_t first, int64_t n)
{
    int64_t Dh = h->Dh, padded = round_up(n, TILE_COLS), deep = round_up(Dh, 2 * PIECE_CELLS);
    struct group g = {.head = depth_of(cpu, Dh)};
    g.q = take(&b, padded * deep), g.o = take(&b, padded * deep);
    g.m = take(&b, padded), g.l = take(&b, padded);
    g.k = take(&b, (KEYS + LHS_ROWS_MAX) * deep), g.v = take(&b, (Dh + LHS_ROWS_MAX) * KEYS);
    g.scores = take(&b, KEYS * TILE_COLS);
    scale_queries(g.o, h, first, n); /* o is still free */
    pack_all(g.q, TILE_COLS, g.o, Dh, 1, n, Dh, g.head);
    memset(g.o, 0, (size_t)(padded * Dh) * sizeof(float));
    for (int64_t i = 0; i < padded; i++) g.m[i] = -INFINITY, g.l[i] = 0;
    for (int64_t j = 0; j < h->S; j += KEYS) {
        int64_t keys = smaller(KEYS, h->S - j);
        struct depth depth = depth_of(cpu, keys);
        pack_all(g.k, lhs_width(depth), h->k + j * h->row, h->row, 1, keys, Dh, g.head);
        pack_all(g.v, lhs_width(depth), h->v + j * h->row, 1, h->row, Dh, keys, depth);
        for (int64_t query = 0; query < n; query += TILE_COLS) attend(h, &g, query, keys, depth);
    }
    for (int64_t query = 0; query < n; query += 16)
        write_queries(h, &g, first, query, smaller(16, n - query));
}

/* Attention divided into pieces: `size` queries (forward) or keys (backward) of a head; its last piece may have fewer */
struct attention {
    const vdm_cpu *cpu;
    const vdm_attention_args *a;
    int64_t heads, size; /* heads of all videos */
};
/* The time that threads take for n pieces of time `large`, then for m pieces of time `small` */
static double time_of(int64_t threads, int64_t n, double large, int64_t m, double small)
{
    int64_t later = n % threads,
            sooner = threads - later; /* threads that have one large piece more, and the others */
    double soon = (double)(n / threads) * large, late = soon + large, end = later > 0 ? late : soon;
    while (m > 0) {
        bool first = later == 0 || soon <= late;
        double *ready = first ? &soon : &late;
        *ready += small;
        m -= first ? sooner : later;
        if (*ready > end) end = *ready;
    }
    return end;
}

/* The work of n queries, in multiply-adds: for each score two products and an exponential; and the packing of keys and
 * values. */
static double forward_work(const vdm_attention_args *a, int64_t n)
{
    double S = a->S, Dh = a->Dh;
    return (double)n * S * (2 * Dh + 32) + 20 * 2 * S * Dh;
}
/* Queries of a piece: as few pieces as the buffers allow, or more if some threads would have no piece */
static int64_t forward_size(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    int64_t heads = (int64_t)a->B * a->A, min = pieces(a->S, GROUP), best = 0;
    double time = 0;
    for (int64_t groups = min; groups <= 4 * min; groups++) {
        int64_t size = round_up(pieces(a->S, groups), TILE_COLS); /* even, to end together */
        double t = time_of(cpu->threads, heads * pieces(a->S, size), forward_work(a, size), 0, 0);
        if (!best || t < time) best = size, time = t;
    }
    return best;
}

static int64_t first_query(const struct attention *s, int piece)
{
    return piece % pieces(s->a->S, s->size) * s->size;
}
static void forward_piece(const void *of, int piece, int thread)
{
    const struct attention *s = of;
    struct head h = head_of(s->a, piece / pieces(s->a->S, s->size));
    int64_t first = first_query(s, piece);
    amx_begin(s->cpu);
    attend_group(s->cpu, buffers_of(s->cpu, thread), &h, first, smaller(s->size, h.S - first));
    amx_end(s->cpu);
}
static double forward_piece_work(const void *of, int piece)
{
    const struct attention *s = of;
    return forward_work(s->a, smaller(s->size, s->a->S - first_query(s, piece)));
}

static void attention_forward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    if (a->S == 0) return;
    const struct attention s = {cpu, a, (int64_t)a->B * a->A, forward_size(cpu, a)};
    const vdm_loop loop = {.pieces = (int)(s.heads * pieces(a->S, s.size)),
                           .run = forward_piece,
                           .of = &s,
                           .work = forward_piece_work};
    vdm_team_run(cpu->team, &loop);
}

/* ------------------------------------------------------------------------------------------------
 * Backward */

struct tiles_backward {
    struct depth head, queries; /* of the products that sum over Dh, over queries */
    struct key_tile {
        int64_t j, n; /* keys j ... j + n - 1 */
        struct depth depth;
        float *kt, *vt, *k; /* right panels: [Dh][keys], [Dh][keys], [keys][Dh] */
    } tiles[KEY_GROUP];
    float *q, *d_o;           /* left panels of queries: scale q, dO */
    float *q_right, *d_right; /* right panels: [queries][Dh] of q and dO */
    float *p, *ds;            /* [QUERIES][KEY_ROW]: before, S and G */
    float *ds_transposed;     /* [KEYS][QUERY_ROW] */
    float *delta;             /* [QUERIES] */
};
static struct tiles_backward tiles_of(const vdm_cpu *cpu, float **b, int64_t Dh)
{
    int64_t wide = round_up(Dh, TILE_COLS), queries = QUERIES + LHS_ROWS_MAX,
            deep = round_up(Dh, 2 * PIECE_CELLS);
    struct tiles_backward t = {.head = depth_of(cpu, Dh)};
    for (int i = 0; i < KEY_GROUP; i++) {
        struct key_tile *tile = &t.tiles[i];
        tile->kt = take(b, KEYS * deep), tile->vt = take(b, KEYS * deep), tile->k = take(b, KEYS * wide);
    }
    t.q = take(b, queries * deep), t.d_o = take(b, queries * deep);
    t.q_right = take(b, QUERIES * wide), t.d_right = take(b, QUERIES * wide);
    t.p = take(b, QUERIES * KEY_ROW), t.ds = take(b, QUERIES * KEY_ROW),
    t.ds_transposed = take(b, KEYS * QUERY_ROW), t.delta = take(b, QUERIES);
    return t;
}

/* delta of query i: sum over d of dO O (rule 2) */
static float delta_of(const struct head *h, int64_t i)
{
    v16 sum = v16_set(0);
    for (int64_t d = 0; d < h->Dh; d += 16) {
        int64_t lanes = smaller(16, h->Dh - d);
        sum = v16_fma(v16_load_n(h->d_o + i * h->row + d, lanes), v16_load_n(h->o + i * h->row + d, lanes),
                      sum);
    }
    return v16_sum(sum);
}

/* S and G of queries i ... i + rows - 1 become P = exp(S - lse) and dS = P (G - delta) scale. */
static void score_gradients(const struct head *h, const struct tiles_backward *t, int64_t i, int64_t rows,
                            int64_t keys)
{
    for (int64_t r = 0; r < rows; r++) {
        v16 lse = v16_set(h->lse[i + r]), delta = v16_set(t->delta[r]), scale = v16_set(h->scale);
        float *p = t->p + r * KEY_ROW, *ds = t->ds + r * KEY_ROW;
        for (int64_t j = 0; j < keys; j += 16) {
            v16 e = v16_exp(v16_sub(v16_load(p + j), lse));
            v16_store(p + j, e);
            v16_store(ds + j, v16_mul(v16_mul(e, v16_sub(v16_load(ds + j), delta)), scale));
        }
    }
}

/* dS [QUERIES][KEYS] -> [KEYS][QUERIES] */
static void transpose_scores(const struct tiles_backward *t, int64_t rows, int64_t keys)
{
    for (int64_t r = 0; r < rows; r += 16) {
        for (int64_t j = 0; j < keys; j += 16) {
            v16 block[16];
            UNROLL for (int i = 0; i < 16; i++) block[i] = v16_load(t->ds + (r + i) * KEY_ROW + j);
            v16_transpose(block);
            UNROLL for (int i = 0; i < 16; i++)
                v16_store(t->ds_transposed + (j + i) * QUERY_ROW + r, block[i]);
        }
    }
}

/* P, dS and dS^T become pairs: of queries, of queries, of keys. */
static void pair_scores(const struct tiles_backward *t, int64_t rows, int64_t keys, struct depth depth)
{
    pair_rows(t->p, KEY_ROW, rows, (keys + 15) / 16, t->queries);
    pair_rows(t->ds, KEY_ROW, rows, (keys + 15) / 16, t->queries);
    pair_rows(t->ds_transposed, QUERY_ROW, keys, (rows + 15) / 16, depth);
}

static void pack_queries(const struct head *h, const struct tiles_backward *t, int64_t i, int64_t rows)
{
    int64_t Dh = h->Dh, at = i * h->row;
    scale_queries(t->p, h, i, rows); /* p is still free */
    pack_all(t->q, lhs_width(t->head), t->p, Dh, 1, rows, Dh, t->head);
    pack_all(t->d_o, lhs_width(t->head), h->d_o + at, h->row, 1, rows, Dh, t->head);
    pack_all(t->q_right, TILE_COLS, h->q + at, 1, h->row, Dh, rows, t->queries);
    pack_all(t->d_right, TILE_COLS, h->d_o + at, 1, h->row, Dh, rows, t->queries);
    for (int64_t r = 0; r < rows; r++) t->delta[r] = delta_of(h, i + r);
}

/* Keys j ... j + n - 1 */
static void pack_keys(const vdm_cpu *cpu, const struct head *h, const struct tiles_backward *t,
                      struct key_tile *tile, int64_t j, int64_t keys)
{
    int64_t Dh = h->Dh, at = j * h->row;
    tile->j = j, tile->n = keys, tile->depth = depth_of(cpu, keys);
    pack_all(tile->kt, TILE_COLS, h->k + at, h->row, 1, keys, Dh, t->head);
    pack_all(tile->vt, TILE_COLS, h->v + at, h->row, 1, keys, Dh, t->head);
    pack_all(tile->k, TILE_COLS, h->k + at, 1, h->row, Dh, keys, tile->depth);
}

/* Queries i ... i + rows - 1, the keys of a tile. dv and dk are added to if i > 0, dq if j > 0; else they are written. */
static void tile_backward(const struct head *h, const struct tiles_backward *t, const struct key_tile *tile,
                          int64_t i, int64_t rows)
{
    int64_t Dh = h->Dh, keys = tile->n, padded = round_up(keys, 16), qi = i * h->row, kj = tile->j * h->row;
    struct output s = {t->p, KEY_ROW, 1}, g = {t->ds, KEY_ROW, 1};
    multiply(rows, padded, t->head, packed_lhs(t->q, t->head), tile->kt, s, false);
    multiply(rows, padded, t->head, packed_lhs(t->d_o, t->head), tile->vt, g, false);
    score_gradients(h, t, i, rows, padded);
    transpose_scores(t, rows, padded);
    if (t->head.pairs) pair_scores(t, rows, keys, tile->depth);
    struct lhs p = {t->p, 1, KEY_ROW}, ds = {t->ds, 1, KEY_ROW},
               ds_transposed = {t->ds_transposed, 1, QUERY_ROW};
    struct output dv = {h->dv + kj, h->row, 1}, dk = {h->dk + kj, h->row, 1}, dq = {h->dq + qi, h->row, 1};
    multiply(keys, Dh, t->queries, p, t->d_right, dv, i > 0);
    multiply(keys, Dh, t->queries, ds, t->q_right, dk, i > 0);
    multiply(rows, Dh, tile->depth, ds_transposed, tile->k, dq, tile->j > 0);
}

/* Keys of a piece. dq is a sum over all keys in order: therefore piece g of a head waits, query tile by query tile, for
 * piece g - 1. It rarely waits long, because pieces g of all heads are computed before any piece g + 1. */
static int64_t first_key(const struct attention *s, int piece)
{
    return piece / s->heads * s->size;
}
static void keys_backward(const struct attention *s, const struct head *h, int piece, float *b)
{
    struct tiles_backward t = tiles_of(s->cpu, &b, h->Dh);
    int64_t first = first_key(s, piece), end = smaller(first + s->size, h->S);
    for (int64_t j = first; j < end; j += KEY_GROUP * KEYS) {
        int count = 0;
        for (int64_t at = j; count < KEY_GROUP && at < end; count++, at += KEYS)
            pack_keys(s->cpu, h, &t, &t.tiles[count], at, smaller(KEYS, end - at));
        for (int64_t i = 0; i < h->S; i += QUERIES) {
            int64_t rows = smaller(QUERIES, h->S - i);
            int tile_of_queries = (int)(i / QUERIES);
            t.queries = depth_of(s->cpu, rows);
            pack_queries(h, &t, i, rows);
            if (first > 0) vdm_team_await(s->cpu->team, piece - (int)s->heads, tile_of_queries + 1);
            for (int tile = 0; tile < count; tile++) tile_backward(h, &t, &t.tiles[tile], i, rows);
            if (s->size < h->S) vdm_team_reach(s->cpu->team, piece, tile_of_queries + 1);
        }
    }
}
static void backward_piece(const void *of, int piece, int thread)
{
    const struct attention *s = of;
    struct head h = head_of(s->a, piece % s->heads);
    amx_begin(s->cpu);
    keys_backward(s, &h, piece, buffers_of(s->cpu, thread));
    amx_end(s->cpu);
}

/* The work of n keys, in multiply-adds: for each score five products and an exponential; queries are packed again for
 * every KEY_GROUP tiles. */
static double backward_work(const vdm_attention_args *a, int64_t n)
{
    double S = a->S, Dh = a->Dh, times = (double)pieces(n, KEY_GROUP * KEYS);
    return (double)n * S * (5 * Dh + 48) + 20 * Dh * (4 * S * times + 3 * (double)n);
}
static double backward_piece_work(const void *of, int piece)
{
    const struct attention *s = of;
    return backward_work(s->a, smaller(s->size, s->a->S - first_key(s, piece)));
}
/* Keys of a piece: all keys of a head; or, if some threads would have no head, a multiple of VDM_CHAIN, packed at once */
static int64_t backward_size(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    int64_t heads = (int64_t)a->B * a->A, best = a->S;
    double time = time_of(cpu->threads, heads, backward_work(a, a->S), 0, 0);
    for (int64_t size = VDM_CHAIN; size <= KEY_GROUP * KEYS && size < a->S; size += VDM_CHAIN) {
        int64_t whole = (a->S - 1) / size; /* pieces of a head, and a last one */
        double t = time_of(cpu->threads, heads * whole, backward_work(a, size), heads,
                           backward_work(a, a->S - whole * size));
        if (t < time && heads * (whole + 1) <= VDM_MAX_CHAINED) best = size, time = t;
    }
    return best;
}

static void attention_backward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    if (a->S == 0) return;
    const struct attention s = {cpu, a, (int64_t)a->B * a->A, backward_size(cpu, a)};
    const vdm_loop loop = {.pieces = (int)(s.heads * pieces(a->S, s.size)),
                           .run = backward_piece,
                           .of = &s,
                           .work = backward_piece_work,
                           .chained = s.size < a->S};
    vdm_team_run(cpu->team, &loop);
}
