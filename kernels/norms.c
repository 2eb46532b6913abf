/* Layer norm and group norm of one instruction set. A part of set.c; plain.c: plain_layer_norm,
 * plain_group_norm. */

/* ------------------------------------------------------------------------------------------------
 * Layer norm: rows of D numbers, one after the other */

/* Threads for n numbers: waking one takes as long as a few thousand. */
static int threads_for(const vdm_cpu *cpu, int64_t n)
{
    return n < 16384 ? 1 : cpu->threads;
}

/* The modulation vector of row i: text's or video's, of the row's video; NULL if there is none. */
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
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
        v16 q = norm_q(dy, gamma, scale, i, lanes);
        q_sum = v16_add(q_sum, q);
        q_xhat_sum = v16_fma(q, v16_mul(centred(x + i, mu, lanes), rs), q_xhat_sum);
    }
    v16 q_mean = v16_set(v16_sum(q_sum) / (float)D), q_xhat_mean = v16_set(v16_sum(q_xhat_sum) / (float)D);
    for (int64_t i = 0; i < D; i += 16) {
        int64_t lanes = smaller(16, D - i);
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
 * Group norm. Channels are in the lanes; pixels go in pieces, as many at a time as there is capacity for their sums. */

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

/* totals [C] over all pixels, in double, the pieces in order; sums: for `capacity` pieces */
static void sum_channels(const vdm_cpu *cpu, double *totals, float *sums, int64_t capacity, const float *x,
                         int64_t P, int C, const float *mean)
{
    for (int c = 0; c < C; c++) totals[c] = 0;
    int64_t pieces = (P + VDM_PIXEL_TILE - 1) / VDM_PIXEL_TILE;
    for (int64_t first = 0; first < pieces; first += capacity) {
        int64_t n = smaller(capacity, pieces - first);
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

static void group_norm(const vdm_cpu *cpu, const vdm_group_norm_args *n)
{
    const int C = n->C, size = C / n->groups;
    const float *x = n->x, *times = n->times, *plus = n->plus, *gamma = n->norm->gamma, *beta = n->norm->beta;
    float *y = n->y, *channel_mean = cpu->scratch, *channel_rstd = cpu->scratch + C;
    for (int c = 0; c < C; c++) channel_mean[c] = n->mean[c / size], channel_rstd[c] = n->rstd[c / size];
    PARALLEL_FOR(threads_for(cpu, n->P * C))
    for (int64_t p = 0; p < n->P; p++) {
        int64_t z = n->index ? (int64_t)n->index[p] * C : 0;
        for (int64_t c = 0; c < C; c += 16) {
            int64_t lanes = smaller(16, C - c);
            v16 v = v16_sub(v16_load_n(x + p * C + c, lanes), v16_load_n(channel_mean + c, lanes));
            v = v16_mul(v, v16_load_n(channel_rstd + c, lanes));
            v = v16_fma(v, v16_load_n(gamma + c, lanes), v16_load_n(beta + c, lanes));
            if (times) v = v16_mul(v, v16_load_n(times + z + c, lanes));
            if (plus) v = v16_add(v, v16_load_n(plus + z + c, lanes));
            v16_store_n(y + p * C + c, n->silu ? times_sigmoid(v, v) : v, lanes);
        }
    }
}
