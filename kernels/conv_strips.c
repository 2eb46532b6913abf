/* Convolution of one instruction set with pixels in the lanes, for windows of several pixels and few output channels.
 * A part of set.c; plain.c: plain_conv.
 *
 *   y^T [out,x] = W^T [out,K] X [K,x],   X(k,x) = element k = (dt, dy, dx, channel) of the window of output x
 *
 * for a strip x of a row of outputs. Each row of a frame is transposed once, to [in,pixels]: row k of X is a part of it,
 * from pixel dx on. (conv.c packs windows, in which each element is repeated kt*k*k times.)
 *
 *   each thread, some rows of outputs, of some frames at once:
 *       transpose the rows of the frames that were not needed before
 *       for each frame, for TILE_COLS pixels, for STRIP_DEEP of k: multiply
 *       transpose the sums back; bias, residual */

enum {
    STRIP = 96,   /* outputs of a row at a time */
    STRIP_K = 16, /* maximum of w->k */
    STRIP_WIDE = STRIP + STRIP_K,
    STRIP_DEEP = 256,         /* k at a time: whole chains; rows of X for TILE_COLS pixels stay in L1 */
    STRIP_FLOATS = 192 * 1024 /* of transposed rows, which should stay in L2: limits the frames at once */
};

/* Shapes, and a thread's buffers */
struct strip {
    const vdm_conv_args *c;
    int64_t K, high; /* rows of W; rows of a left panel */
    int64_t wide;    /* pixels of a transposed row */
    int frames;      /* of outputs at once */
    const float **x; /* [K]: rows of X */
    float *weights;  /* [K,out]: the left panels of STRIP_DEEP of k, then those of the next */
    float *rows;     /* [kt-1+frames,k,in,wide]: row r of a frame is its row r % k */
    float *panel;    /* [STRIP_DEEP,TILE_COLS] */
    float *sums;     /* [out,TILE_COLS] */
};

/* The buffers of a convolution in this scratch; *floats: how many they take */
static struct strip strip_of(const vdm_cpu *cpu, const vdm_conv_args *c, float *scratch, int64_t *floats)
{
    const vdm_conv *w = c->w;
    struct depth d = depth_of(cpu, STRIP_DEEP);
    float *at = scratch;
    struct strip s = {.c = c, .K = (int64_t)w->kt * w->k * w->k * w->in};
    s.high = d.amx ? AMX_PANEL_ROWS : smaller(w->out, TILE_ROWS);
    s.wide = round_up(smaller(STRIP, round_up(c->Wo, 16)) + w->k - 1, 16);
    int64_t frame = (int64_t)w->k * w->in * s.wide;
    s.frames = (int)smaller(c->T, STRIP_FLOATS / frame > w->kt ? STRIP_FLOATS / frame - w->kt + 1 : 1);
    s.x = (void *)take(&at, s.K * (int64_t)sizeof(float *) / (int64_t)sizeof(float));
    s.weights = take(&at, round_up(s.K, 2 * PIECE_CELLS) * round_up(w->out, s.high));
    s.rows = take(&at, (w->kt - 1 + s.frames) * frame);
    s.panel = take(&at, STRIP_DEEP * TILE_COLS);
    s.sums = take(&at, (round_up(w->out, 16) + TILE_ROWS) * TILE_COLS);
    *floats = at - scratch;
    return s;
}

static void pack_weights(const struct strip *s, const vdm_cpu *cpu)
{
    const vdm_conv *w = s->c->w;
    int64_t bytes = w->weight.dtype == VDM_F32 ? 4 : 2;
    float *to = s->weights;
    for (int64_t k = 0; k < s->K; k += STRIP_DEEP) {
        int64_t kc = smaller(STRIP_DEEP, s->K - k);
        struct depth d = depth_of(cpu, kc);
        for (int64_t n = 0; n < w->out; n += s->high, to += s->high * d.cells) {
            struct strided panel = {(const char *)w->weight.data + (k * w->out + n) * bytes, w->weight.dtype,
                                    1, w->out};
            pack(to, s->high, &panel, smaller(s->high, w->out - n), kc, d);
        }
    }
}

/* Transposes row r of frame t + dt, the pixels for outputs x, x + 1, ... Rows are counted from the first one that a window
 * reads. */
static void transpose_row(const struct strip *s, int t, int dt, int r, int x)
{
    const vdm_conv_args *c = s->c;
    int64_t pixels = s->wide, in = c->w->in;
    float *to = s->rows + ((int64_t)dt * c->w->k + r % c->w->k) * in * pixels;
    const float *at[STRIP_WIDE];
    for (int64_t i = 0; i < pixels; i++) {
        struct origin o = {t, r - c->pad, x - c->pad};
        struct tap tap = {dt, 0, (int)i, 0};
        at[i] = element_at(c, &o, &tap);
    }
    if (in >= 8) {
        pack_rows(to, in * pixels, pixels, (const char *const *)(const void *)at, VDM_F32, in, false);
        return;
    }
    for (int64_t channel = 0; channel < in; channel++)
        for (int64_t i = 0; i < pixels; i++) *to++ = at[i][channel];
}

/* Sets s->x to the rows of X for row y of the outputs, frame `frame` of those at once. */
static void find_rows(const struct strip *s, int frame, int y)
{
    const vdm_conv_args *c = s->c;
    const vdm_conv *w = c->w;
    const float **x = s->x;
    for (int dt = 0; dt < w->kt; dt++)
        for (int dy = 0; dy < w->k; dy++)
            for (int dx = 0; dx < w->k; dx++)
                for (int64_t channel = 0; channel < w->in; channel++) {
                    int64_t row = ((frame + dt) * w->k + (y + dy) % w->k) * (int64_t)w->in + channel;
                    *x++ = s->rows + row * s->wide + dx;
                }
}

/* Packs rows k ... k + kc - 1 of X, pixels i ... i + lanes - 1 of the strip. */
static void copy_rows(const struct strip *s, int64_t k, int64_t kc, int64_t i, int64_t lanes, struct depth d)
{
    const v16 zero = v16_set(0);
    float *to = s->panel;
    for (int64_t n = k; n < k + kc; n += d.pairs ? 2 : 1, to += TILE_COLS)
        for (int64_t v = 0; v < lanes; v += 16) {
            v16 a = v16_load(s->x[n] + i + v);
            if (d.pairs) a = v16_pair(a, n + 1 < k + kc ? v16_load(s->x[n + 1] + i + v) : zero);
            v16_store(to + v, a);
        }
    pad_panel(s->panel, TILE_COLS, kc, d);
}

/* The sums of n pixels become outputs y [n,out]; residual likewise, or NULL. */
static void store_pixels(const struct strip *s, float *y, const float *residual, int64_t n)
{
    int64_t out = s->c->w->out;
    const float *bias = s->c->w->bias;
    for (int64_t i = 0; i < n; i += 16)
        for (int64_t m = 0; m < out; m += 16) {
            int64_t lanes = smaller(16, out - m), pixels = smaller(16, n - i);
            v16 block[16];
            UNROLL for (int r = 0; r < 16; r++) block[r] = v16_load(s->sums + (m + r) * TILE_COLS + i);
            v16_transpose(block);
            for (int64_t r = 0; r < pixels; r++) {
                int64_t at = (i + r) * out + m;
                v16 v = block[r];
                if (bias) v = v16_add(v, v16_load_n(bias + m, lanes));
                if (residual) v = v16_add(v, v16_load_n(residual + at, lanes));
                v16_store_n(y + at, v, lanes);
            }
        }
}

/* Computes outputs pixel ... pixel + n - 1 from the rows of X in s->x. */
static void multiply_strip(const struct strip *s, const vdm_cpu *cpu, int64_t pixel, int64_t n)
{
    const vdm_conv_args *c = s->c;
    int64_t out = c->w->out;
    for (int64_t i = 0; i < n; i += TILE_COLS) {
        int64_t lanes = smaller(TILE_COLS, round_up(n - i, 16)), at = (pixel + i) * out;
        const float *weights = s->weights;
        for (int64_t k = 0; k < s->K; k += STRIP_DEEP) {
            int64_t kc = smaller(STRIP_DEEP, s->K - k);
            struct depth d = depth_of(cpu, kc);
            struct lhs left = {weights, d.cells, s->high};
            struct output sums = {s->sums, TILE_COLS, 1};
            if (!d.pairs && lanes == TILE_COLS) {
                multiply_rows(out, kc, left, s->x + k, i, s->sums, k > 0);
            } else {
                copy_rows(s, k, kc, i, lanes, d);
                multiply(out, lanes, d, left, s->panel, sums, k > 0);
            }
            weights += round_up(out, s->high) * d.cells;
        }
        store_pixels(s, c->y + at, offset_or_null(c->residual, at), smaller(TILE_COLS, n - i));
    }
}

/* The strips of a row of outputs */
struct cut {
    int64_t strips, width;
};
static struct cut cut_of(const vdm_conv_args *c)
{
    struct cut cut = {pieces(c->Wo, STRIP), round_up(pieces(c->Wo, pieces(c->Wo, STRIP)), 16)};
    return cut;
}

/* Rows first ... end - 1 of strips, in the order [T / frames, strips, Ho] */
static void run_strips(struct strip *s, const vdm_cpu *cpu, int64_t first, int64_t end)
{
    const vdm_conv_args *c = s->c;
    struct cut cut = cut_of(c);
    int fresh = 0; /* the first row that is not transposed yet */
    pack_weights(s, cpu);
    amx_begin(cpu);
    for (int64_t i = first; i < end; i++) {
        int y = (int)(i % c->Ho), x = (int)(i / c->Ho % cut.strips * cut.width);
        int t = (int)(i / c->Ho / cut.strips) * s->frames, frames = (int)smaller(s->frames, c->T - t);
        if (i == first || y == 0) fresh = y;
        for (; fresh < y + c->w->k; fresh++)
            for (int dt = 0; dt < c->w->kt - 1 + frames; dt++) transpose_row(s, t, dt, fresh, x);
        for (int frame = 0; frame < frames; frame++) {
            find_rows(s, frame, y);
            multiply_strip(s, cpu, ((int64_t)(t + frame) * c->Ho + y) * c->Wo + x,
                           smaller(cut.width, c->Wo - x));
        }
    }
    amx_end(cpu);
}

/* Whether strips are the faster way: rows fill the lanes, weights and rows fit into the scratch, and there are few output
 * channels (with many, packing windows takes little of the time). */
static bool is_strips(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    const vdm_conv *w = c->w;
    int64_t floats;
    if (c->T == 0 || c->Ho == 0 || c->Wo == 0 || w->in == 0 || w->out == 0) return false;
    if (w->k == 1 || w->k > STRIP_K || c->stride > 1 || w->in > 2 * KC || w->out > 128) return false;
    strip_of(cpu, c, cpu->scratch, &floats);
    return floats <= PRODUCT_FLOATS && 4 * round_up(c->Wo, 16) <= 5 * c->Wo;
}

/* A convolution divided into parts, each a range of rows of strips */
struct strips {
    const vdm_cpu *cpu;
    const vdm_conv_args *c;
    int64_t rows, parts;
};
static void strips_part(const void *of, int i, int thread)
{
    const struct strips *all = of;
    int64_t taken;
    float *scratch = all->cpu->scratch + (int64_t)thread * PRODUCT_FLOATS;
    struct strip s = strip_of(all->cpu, all->c, scratch, &taken);
    run_strips(&s, all->cpu, all->rows * i / all->parts, all->rows * (i + 1) / all->parts);
}
static double strips_part_work(const void *of, int i)
{
    const struct strips *all = of;
    const vdm_conv *w = all->c->w;
    double rows = (double)(all->rows * (i + 1) / all->parts - all->rows * i / all->parts);
    double row = (double)all->c->T * all->c->Ho * all->c->Wo / (double)all->rows; /* pixels */
    return rows * row * w->kt * w->k * w->k * w->in * w->out;
}

static void conv_strips(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    const vdm_conv *w = c->w;
    int64_t floats;
    struct strip s = strip_of(cpu, c, cpu->scratch, &floats);
    int64_t rows = pieces(c->T, s.frames) * cut_of(c).strips * c->Ho;
    bool small = (double)c->T * c->Ho * c->Wo * w->out * (double)s.K < SMALL_PRODUCT;
    const struct strips all = {cpu, c, rows, smaller(small ? 1 : cpu->threads, rows)};
    const vdm_loop loop = {
        .pieces = (int)all.parts, .run = strips_part, .of = &all, .work = strips_part_work};
    vdm_team_run(cpu->team, &loop);
}
