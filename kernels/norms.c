/* Layer norm and group norm of one instruction set:
 *
 *   y = ((x - mean) rstd gamma + beta) (1 + scale) + shift     mean, rstd of a row, or of a group of channels
 *
 * A part of set.c; plain.c: plain_layer_norm, plain_layer_norm_backward, plain_group_norm_stats, plain_group_norm. */

/* ------------------------------------------------------------------------------------------------
 * Layer norm of rows [D] */

/* Divides rows of D elements among the team's threads; a few thousand elements stay in one thread, since waking another
 * takes as long. */
static void run_rows(const vdm_cpu *cpu, int64_t rows, int64_t D,
                     void (*run)(const void *of, int64_t first, int64_t end), const void *of)
{
    enum { FEW = 16384, ELEMENT = 16 /* multiply-adds that take as long: memory bounds these kernels */ };
    const vdm_items items = {rows, rows * D < FEW ? 1 : cpu->threads, run, of, (double)D * ELEMENT};
    vdm_team_run_items(cpu->team, &items);
}

/* The modulation vector of row i: text's or video's, of the row's video; NULL if there is none. */
static const float *vector_of(const vdm_rows *r, int64_t i, const float *text, const float *video,
                              int64_t stride)
{
    const float *part = i % r->S < r->L ? text : video;
    return part ? part + i / r->S * stride : NULL;
}

/* x - mean; 0 in lanes beyond the row, so that they do not change a sum */
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
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
        sum = v16_add(sum, v16_load_n(x + i, lanes));
    }
    float mu = v16_sum(sum) / (float)D;
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
        v16 d = centred(x + i, v16_set(mu), lanes);
        squares = v16_fma(d, d, squares);
    }
    float rs = 1 / sqrtf(v16_sum(squares) / (float)D + n->eps);
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
        v16 xhat = v16_mul(centred(x + i, v16_set(mu), lanes), v16_set(rs));
        v16 v = v16_fma(xhat, v16_load_n(gamma + i, lanes), v16_load_n(beta + i, lanes));
        if (scale) v = v16_fma(v, v16_add(one, v16_load_n(scale + i, lanes)), v16_load_n(shift + i, lanes));
        v16_store_n(y + i, v, lanes);
    }
    if (n->mean) n->mean[row] = mu;
    if (n->rstd) n->rstd[row] = rs;
}

static void norm_rows(const void *of, int64_t first, int64_t end)
{
    for (int64_t i = first; i < end; i++) norm_row(of, i);
}
static void layer_norm(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    run_rows(cpu, (int64_t)n->rows.B * n->rows.S, n->rows.D, norm_rows, n);
}

/* dxhat = dy (1 + scale) gamma */
INLINE v16 dxhat_16(const float *dy, const float *gamma, const float *scale, int64_t i, int64_t lanes)
{
    v16 dxhat = v16_load_n(dy + i, lanes);
    if (scale) dxhat = v16_mul(dxhat, v16_add(v16_set(1), v16_load_n(scale + i, lanes)));
    return v16_mul(dxhat, v16_load_n(gamma + i, lanes));
}

/* dx (+)= rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat)); product_sum: of dxhat xhat */
static void norm_row_backward(const vdm_norm_args *n, int64_t row)
{
    const vdm_modulation *m = &n->modulation;
    const float *scale = vector_of(&n->rows, row, m->text_scale, m->scale, m->stride);
    const float *gamma = n->norm->gamma;
    int64_t D = n->rows.D;
    const float *dy = n->dy + row * D, *x = n->x + row * D;
    float *dx = n->dx + row * D;
    const bool add = n->add;
    v16 dxhat_sum = v16_set(0), product_sum = v16_set(0), mu = v16_set(n->mean[row]),
        rs = v16_set(n->rstd[row]);
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
        v16 dxhat = dxhat_16(dy, gamma, scale, i, lanes);
        dxhat_sum = v16_add(dxhat_sum, dxhat);
        product_sum = v16_fma(dxhat, v16_mul(centred(x + i, mu, lanes), rs), product_sum);
    }
    v16 dxhat_mean = v16_set(v16_sum(dxhat_sum) / (float)D),
        product_mean = v16_set(v16_sum(product_sum) / (float)D);
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
        v16 dxhat = dxhat_16(dy, gamma, scale, i, lanes), xhat = v16_mul(centred(x + i, mu, lanes), rs);
        v16 change = v16_fma(v16_neg(xhat), product_mean, v16_sub(dxhat, dxhat_mean));
        v16 d = add ? v16_fma(rs, change, v16_load_n(dx + i, lanes)) : v16_mul(rs, change);
        v16_store_n(dx + i, d, lanes);
    }
}

static void norm_rows_backward(const void *of, int64_t first, int64_t end)
{
    for (int64_t i = first; i < end; i++) norm_row_backward(of, i);
}
static void layer_norm_backward(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    run_rows(cpu, (int64_t)n->rows.B * n->rows.S, n->rows.D, norm_rows_backward, n);
}

/* ------------------------------------------------------------------------------------------------
 * Group norm. Channels are in the lanes; pixels are divided into pieces, of which as many are summed at a time as fit into
 * the scratch. */

/* sums [C] over n pixels of x, or of (x - mean)^2 where mean [C] is given */
static void sum_pixels(float *sums, const float *x, int64_t n, int C, const float *mean)
{
    for (int64_t c = 0; c < C; c += 16) {
        int64_t lanes = smaller(16, C - c);
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

/* Pieces of pixels, from the first one on, and their sums */
struct pixel_sums {
    float *sums; /* [pieces,C] */
    const float *x, *mean;
    int64_t first, P;
    int C;
};
static void sum_pieces(const void *of, int64_t first, int64_t end)
{
    const struct pixel_sums *s = of;
    for (int64_t i = first; i < end; i++) {
        int64_t pixel = (s->first + i) * VDM_PIXEL_TILE, n = smaller(VDM_PIXEL_TILE, s->P - pixel);
        sum_pixels(s->sums + i * s->C, s->x + pixel * s->C, n, s->C, s->mean);
    }
}

/* totals [C]: the sums over all pixels, in double, the pieces in order. sums [capacity,C] */
static void sum_channels(const vdm_cpu *cpu, double *totals, float *sums, int64_t capacity, const float *x,
                         int64_t P, int C, const float *mean)
{
    for (int c = 0; c < C; c++) totals[c] = 0;
    int64_t pieces = (P + VDM_PIXEL_TILE - 1) / VDM_PIXEL_TILE;
    for (int64_t first = 0; first < pieces; first += capacity) {
        const struct pixel_sums s = {sums, x, mean, first, P, C};
        int64_t n = smaller(capacity, pieces - first);
        run_rows(cpu, n, VDM_PIXEL_TILE * C, sum_pieces, &s);
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
    int64_t capacity = NORM_FLOATS / (C > 0 ? C : 1);
    int size = C / groups;
    double count = (double)P * size;
    sum_channels(cpu, totals, sums, capacity, x, P, C, NULL);
    for (int g = 0; g < groups; g++) {
        mean[g] = (float)(sum_group(totals, g, size) / count);
        for (int c = g * size; c < (g + 1) * size; c++) channel_mean[c] = mean[g];
    }
    sum_channels(cpu, totals, sums, capacity, x, P, C, channel_mean);
    for (int g = 0; g < groups; g++)
        rstd[g] = (float)(1 / sqrt(sum_group(totals, g, size) / count + (double)eps));
}

/* x sigma(z) = x / (1 + e^-z) */
INLINE v16 times_sigmoid(v16 x, v16 z)
{
    return v16_div(x, v16_add(v16_set(1), v16_exp(v16_neg(z))));
}

/* The group norm with the statistics of each channel's group */
struct spread_norm {
    const vdm_group_norm_args *n;
    const float *mean, *rstd; /* [C] */
};
static void group_norm_pixels(const void *of, int64_t first, int64_t end)
{
    const struct spread_norm *s = of;
    const vdm_group_norm_args *n = s->n;
    const int C = n->C;
    const float *x = n->x, *times = n->times, *plus = n->plus, *gamma = n->norm->gamma, *beta = n->norm->beta;
    for (int64_t p = first; p < end; p++) {
        int64_t z = n->index ? (int64_t)n->index[p] * C : 0;
        for (int64_t c = 0; c < C; c += 16) {
            int64_t lanes = smaller(16, C - c);
            v16 v = v16_sub(v16_load_n(x + p * C + c, lanes), v16_load_n(s->mean + c, lanes));
            v = v16_mul(v, v16_load_n(s->rstd + c, lanes));
            v = v16_fma(v, v16_load_n(gamma + c, lanes), v16_load_n(beta + c, lanes));
            if (times) v = v16_mul(v, v16_load_n(times + z + c, lanes));
            if (plus) v = v16_add(v, v16_load_n(plus + z + c, lanes));
            v16_store_n(n->y + p * C + c, n->silu ? times_sigmoid(v, v) : v, lanes);
        }
    }
}

static void group_norm(const vdm_cpu *cpu, const vdm_group_norm_args *n)
{
    const int C = n->C, size = C / n->groups;
    float *mean = cpu->scratch, *rstd = cpu->scratch + C;
    for (int c = 0; c < C; c++) mean[c] = n->mean[c / size], rstd[c] = n->rstd[c / size];
    const struct spread_norm s = {n, mean, rstd};
    run_rows(cpu, n->P, C, group_norm_pixels, &s);
}
