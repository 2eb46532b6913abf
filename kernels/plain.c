/* Every kernel of kernels.h as plain loops, one number at a time, in the order that the rules there give.
 * Read this to know what a kernel computes; products.c computes the same bits, faster.
 *
 * Trap: write a * b + c for fmaf(a, b, c), or let a loop run in another order, and the last bits differ. */
#include "kernels/plain.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Rules */

/* Element i of f32, f16 or bf16 data at any address. */
static float element(const void *data, vdm_dtype dtype, int64_t i)
{
    const char *p = (const char *)data + i * (dtype == VDM_F32 ? 4 : 2);
    float f;
    uint16_t half;
    if (dtype == VDM_F32) {
        memcpy(&f, p, sizeof f);
        return f;
    }
    memcpy(&half, p, sizeof half);
    return dtype == VDM_F16 ? vdm_from_f16(half) : vdm_from_bf16(half);
}

/* Rule 5: no denormal numbers. A result counts as one where it would be below FLT_MIN if rounded to 24 bits;
 * fmaf may have rounded it to fewer, up to FLT_MIN itself: so it is looked at a power of two larger. */
static float flushed(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}
static float fma_flushed(float a, float b, float c)
{
    a = flushed(a), b = flushed(b), c = flushed(c);
    float r = fmaf(a, b, c), large = 0x1p48f;
    if (r == 0 || isnan(r) || fabsf(r) > FLT_MIN) return r;
    return fabsf(fmaf(a * large, b, c * large)) < FLT_MIN * large ? copysignf(0, r) : r;
}
static float bf16(float x)
{
    return vdm_from_bf16(vdm_to_bf16(flushed(x)));
}

/* Rule 6: the even (odd = 0) or odd numbers of a piece of 32, of which n are there and the rest 0 */
static float half_piece(const float *a, const float *b, int64_t n, int odd)
{
    float sum = 0;
    for (int64_t k = odd; k < 32; k += 2)
        sum = fma_flushed(k < n ? bf16(a[k]) : 0, k < n ? bf16(b[k]) : 0, sum);
    return sum;
}

static int piece_length(const vdm_cpu *cpu)
{
    return cpu->precision == VDM_PRECISION_AMX ? 32 : VDM_CHAIN;
}

/* Rule 1, or 5, or 6: one piece */
static float chain(const vdm_cpu *cpu, const float *a, const float *b, int64_t n)
{
    float sum = 0;
    if (cpu->precision == VDM_PRECISION_AMX) return flushed(half_piece(a, b, n, 0) + half_piece(a, b, n, 1));
    if (cpu->precision == VDM_PRECISION_F32) {
        for (int64_t k = 0; k < n; k++) sum = fmaf(a[k], b[k], sum);
        return sum;
    }
    for (int64_t k = 0; k < n; k += 2) {
        float a1 = k + 1 < n ? a[k + 1] : 0, b1 = k + 1 < n ? b[k + 1] : 0;
        sum = fma_flushed(bf16(a1), bf16(b1), sum);
        sum = fma_flushed(bf16(a[k]), bf16(b[k]), sum);
    }
    return sum;
}

/* The piece goes to what was summed before it; `first` is where nothing was. */
static float add_piece(const vdm_cpu *cpu, float total, float piece, bool first)
{
    if (first) return cpu->precision == VDM_PRECISION_AMX ? 0 + piece : piece;
    return cpu->precision == VDM_PRECISION_F32 ? total + piece : flushed(flushed(total) + piece);
}

/* Rule 1 over all of n: the pieces of a b are added to total. */
static float add_products(const vdm_cpu *cpu, float total, const float *a, const float *b, int64_t n,
                          bool first)
{
    int64_t length = piece_length(cpu);
    for (int64_t k = 0; k < n; k += length) {
        int64_t depth = n - k < length ? n - k : length;
        total = add_piece(cpu, total, chain(cpu, a + k, b + k, depth), first && k == 0);
    }
    return total;
}

/* Rule 2: sum of x[i] y[i], or of x[i] where y is NULL. */
static float row_sum(const float *x, const float *y, int64_t n)
{
    float partial[16] = {0};
    for (int64_t i = 0; i < n; i++)
        partial[i % 16] = y ? fmaf(x[i], y[i], partial[i % 16]) : partial[i % 16] + x[i];
    for (int width = 8; width >= 1; width /= 2)
        for (int j = 0; j < width; j++) partial[j] += partial[j + width];
    return partial[0];
}

/* Rule 4: x = n ln 2 + r, |r| <= ln 2 / 2; e^r is a polynomial, 2^n exact. ln 2 comes in two parts, of which
 * n times the first is exact. The magic number pushes the fraction out of x log2(e). */
static float plain_exp(float x)
{
    const float magic = 12582912.0f; /* 1.5 * 2^23 */
    if (x > 89.0f) x = 89.0f;        /* to infinity */
    if (x < -104.0f) x = -104.0f;    /* to 0 */
    float n = fmaf(x, 1.44269504f, magic) - magic;
    float r = fmaf(n, -0.693359375f, x);
    r = fmaf(n, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = fmaf(p, r, 1.3981999507e-3f);
    p = fmaf(p, r, 8.3334519073e-3f);
    p = fmaf(p, r, 4.1665795894e-2f);
    p = fmaf(p, r, 1.6666665459e-1f);
    p = fmaf(p, r, 5.0000001201e-1f);
    p = fmaf(p, r, 1.0f);
    p = fmaf(p, r, 1.0f);
    return isnan(x) ? x : ldexpf(p, (int)n);
}

/* x sigma(z) */
static float times_sigmoid(float x, float z)
{
    return x / (1.0f + plain_exp(-z));
}

/* ------------------------------------------------------------------------------------------------
 * Matmul, convolution */

static void matmul_one(const vdm_cpu *cpu, const vdm_matmul_args *m)
{
    float a[VDM_CHAIN], b[VDM_CHAIN];
    for (int64_t i = 0; i < m->M; i++) {
        for (int64_t n = 0; n < m->N; n++) {
            float *c = &m->c[i * m->c_row + n], total = m->accumulate ? *c : 0;
            for (int64_t k0 = 0; k0 < m->K; k0 += piece_length(cpu)) {
                int64_t depth = m->K - k0 < piece_length(cpu) ? m->K - k0 : piece_length(cpu);
                for (int64_t k = 0; k < depth; k++) {
                    a[k] = m->a[i * m->a_row + (k0 + k) * m->a_col];
                    b[k] = element(m->b, m->b_dtype, (k0 + k) * m->b_row + n * m->b_col);
                }
                total = add_piece(cpu, total, chain(cpu, a, b, depth), k0 == 0 && !m->accumulate);
            }
            *c = m->bias ? total + m->bias[n] : total;
        }
    }
}

static void matmul(const vdm_cpu *cpu, const vdm_matmul_args *m)
{
    for (; m; m = m->also) matmul_one(cpu, m);
}

/* Input number k of the window of output (t,yo,xo). */
static float window(const vdm_conv_args *c, int t, int yo, int xo, int64_t k)
{
    const vdm_conv *w = c->w;
    int64_t channel = k % w->in, tap = k / w->in;
    int dx = (int)(tap % w->k), dy = (int)(tap / w->k % w->k), dt = (int)(tap / w->k / w->k);
    int y = yo * c->stride + dy - c->pad, x = xo * c->stride + dx - c->pad;
    if (y < 0 || y >= c->H || x < 0 || x >= c->W) return 0;
    return c->frames[t + dt][((int64_t)y * c->W + x) * w->in + channel];
}

/* Rule 7: number i of B^T d, G g and A^T p */
static float join_inputs(const float d[4], int i)
{
    return i == 0 ? d[0] - d[2] : i == 1 ? d[1] + d[2] : i == 2 ? d[2] - d[1] : d[1] - d[3];
}
static float join_taps(const float g[3], int i)
{
    if (i == 0 || i == 3) return i == 0 ? g[0] : g[2];
    return 0.5f * (i == 1 ? (g[0] + g[2]) + g[1] : (g[0] + g[2]) - g[1]);
}
static float join_products(const float p[4], int i)
{
    return i == 0 ? (p[0] + p[1]) + p[2] : (p[1] - p[2]) - p[3];
}

/* Number (i,j) of V, of the 2x2 outputs from (yo,xo) on, and of U; k = dt*in + channel */
static float transformed_input(const vdm_conv_args *c, int t, int yo, int xo, int64_t k, int i, int j)
{
    float row[4];
    int64_t in = c->w->in;
    for (int x = 0; x < 4; x++) {
        float d[4];
        for (int y = 0; y < 4; y++) {
            bool inside = yo - 1 + y >= 0 && yo - 1 + y < c->H && xo - 1 + x >= 0 && xo - 1 + x < c->W;
            int64_t at = ((int64_t)(yo - 1 + y) * c->W + xo - 1 + x) * in + k % in;
            d[y] = inside ? c->frames[t + k / in][at] : 0;
        }
        row[x] = join_inputs(d, i);
    }
    return join_inputs(row, j);
}
static float transformed_weight(const vdm_conv *w, int64_t k, int64_t n, int i, int j)
{
    float row[3];
    for (int x = 0; x < 3; x++) {
        float g[3];
        for (int y = 0; y < 3; y++)
            g[y] = element(w->weight.data, w->weight.dtype,
                           ((k / w->in * 9 + 3 * y + x) * w->in + k % w->in) * w->out + n);
        row[x] = join_taps(g, i);
    }
    return join_taps(row, j);
}

static float winograd_product(const vdm_cpu *cpu, const vdm_conv_args *c, int t, int yo, int xo, int64_t n,
                              int i, int j)
{
    float a[VDM_CHAIN], b[VDM_CHAIN], total = 0;
    int64_t K = (int64_t)c->w->kt * c->w->in;
    for (int64_t k0 = 0; k0 < K; k0 += piece_length(cpu)) {
        int64_t depth = K - k0 < piece_length(cpu) ? K - k0 : piece_length(cpu);
        for (int64_t k = 0; k < depth; k++) {
            a[k] = transformed_input(c, t, yo, xo, k0 + k, i, j);
            b[k] = transformed_weight(c->w, k0 + k, n, i, j);
        }
        total = add_piece(cpu, total, chain(cpu, a, b, depth), k0 == 0);
    }
    return total;
}

/* Output channel n of the 2x2 outputs from (yo,xo) on */
static void winograd_group(const vdm_cpu *cpu, const vdm_conv_args *c, int t, int yo, int xo, int64_t n)
{
    float row[2][4];
    for (int j = 0; j < 4; j++) {
        float p[4];
        for (int i = 0; i < 4; i++) p[i] = winograd_product(cpu, c, t, yo, xo, n, i, j);
        for (int i = 0; i < 2; i++) row[i][j] = join_products(p, i);
    }
    for (int y = yo; y < yo + 2 && y < c->Ho; y++) {
        for (int x = xo; x < xo + 2 && x < c->Wo; x++) {
            int64_t at = (((int64_t)t * c->Ho + y) * c->Wo + x) * c->w->out + n;
            float v = join_products(row[y - yo], x - xo);
            if (c->w->bias) v += c->w->bias[n];
            if (c->residual) v += c->residual[at];
            c->y[at] = v;
        }
    }
}

static void conv_winograd(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    for (int t = 0; t < c->T; t++)
        for (int yo = 0; yo < c->Ho; yo += 2)
            for (int xo = 0; xo < c->Wo; xo += 2)
                for (int64_t n = 0; n < c->w->out; n++) winograd_group(cpu, c, t, yo, xo, n);
}

static void conv(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    if (c->transformed) {
        conv_winograd(cpu, c);
        return;
    }
    float a[VDM_CHAIN], b[VDM_CHAIN];
    const vdm_conv *w = c->w;
    int64_t K = (int64_t)w->kt * w->k * w->k * w->in;
    for (int64_t pixel = 0; pixel < (int64_t)c->T * c->Ho * c->Wo; pixel++) {
        int xo = (int)(pixel % c->Wo), yo = (int)(pixel / c->Wo % c->Ho), t = (int)(pixel / c->Wo / c->Ho);
        for (int64_t n = 0; n < w->out; n++) {
            float total = 0;
            for (int64_t k0 = 0; k0 < K; k0 += piece_length(cpu)) {
                int64_t depth = K - k0 < piece_length(cpu) ? K - k0 : piece_length(cpu);
                for (int64_t k = 0; k < depth; k++) {
                    a[k] = window(c, t, yo, xo, k0 + k);
                    b[k] = element(w->weight.data, w->weight.dtype, (k0 + k) * w->out + n);
                }
                total = add_piece(cpu, total, chain(cpu, a, b, depth), k0 == 0);
            }
            if (w->bias) total += w->bias[n];
            if (c->residual) total += c->residual[pixel * w->out + n];
            c->y[pixel * w->out + n] = total;
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Attention. Rows of q, k, v, o of one head begin at head_of(...) and are A * Dh apart. */

static int64_t head_of(const vdm_attention_args *a, int b, int head)
{
    return (int64_t)b * a->S * a->A * a->Dh + (int64_t)head * a->Dh;
}
static float scale_of(int Dh)
{
    return (float)(1 / sqrt((double)Dh));
}

/* s = sum over d of k_d (scale q_d) */
static float score(const vdm_cpu *cpu, const float *q, const float *k, int Dh)
{
    float scaled[VDM_MAX_HEAD], scale = scale_of(Dh);
    for (int d = 0; d < Dh; d++) scaled[d] = scale * q[d];
    return add_products(cpu, 0, k, scaled, Dh, true);
}

/* One tile of n keys: m, l, o [Dh] of one query move on. k, v: the tile's first rows. */
static void attend_tile(const vdm_cpu *cpu, float *m, float *l, float *o, const float *q, const float *k,
                        const float *v, int n, int64_t row, int Dh)
{
    float p[VDM_KEY_TILE], values[VDM_KEY_TILE], partial[8] = {0}, highest = *m;
    for (int j = 0; j < n; j++) {
        p[j] = score(cpu, q, k + j * row, Dh);
        if (p[j] > highest) highest = p[j];
    }
    float c = plain_exp(*m - highest);
    for (int j = 0; j < n; j++) {
        p[j] = plain_exp(p[j] - highest);
        partial[j % 8] += p[j];
    }
    for (int width = 4; width >= 1; width /= 2)
        for (int j = 0; j < width; j++) partial[j] += partial[j + width];
    *l = *l * c + partial[0];
    for (int d = 0; d < Dh; d++) {
        for (int j = 0; j < n; j++) values[j] = v[j * row + d];
        o[d] = add_products(cpu, o[d] * c, values, p, n, false);
    }
    *m = highest;
}

static void attention_forward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    int64_t row = (int64_t)a->A * a->Dh;
    for (int b = 0; b < a->B; b++) {
        for (int head = 0; head < a->A; head++) {
            int64_t at = head_of(a, b, head);
            for (int i = 0; i < a->S; i++) {
                float m = -INFINITY, l = 0, o[VDM_MAX_HEAD] = {0};
                for (int j = 0; j < a->S; j += VDM_KEY_TILE) {
                    int n = a->S - j < VDM_KEY_TILE ? a->S - j : VDM_KEY_TILE;
                    attend_tile(cpu, &m, &l, o, a->q + at + i * row, a->k + at + j * row, a->v + at + j * row,
                                n, row, a->Dh);
                }
                for (int d = 0; d < a->Dh; d++) a->o[at + i * row + d] = o[d] / l;
                a->lse[((int64_t)b * a->A + head) * a->S + i] = m + (float)vdm_log(l);
            }
        }
    }
}

/* p_ij and ds_ij of one query and key */
static void score_backward(const vdm_cpu *cpu, const vdm_attention_args *a, int64_t at, int64_t lse, int i,
                           int j, float *p, float *ds)
{
    int64_t row = (int64_t)a->A * a->Dh, qi = at + i * row, kj = at + j * row;
    float delta = row_sum(a->d_o + qi, a->o + qi, a->Dh),
          g = add_products(cpu, 0, a->d_o + qi, a->v + kj, a->Dh, true);
    *p = plain_exp(score(cpu, a->q + qi, a->k + kj, a->Dh) - a->lse[lse + i]);
    *ds = *p * (g - delta) * scale_of(a->Dh);
}

/* Sum over n rows of weight[i] x[i * row] */
static float weighted(const vdm_cpu *cpu, const float *weight, const float *x, int64_t row, int n)
{
    float column[VDM_CHAIN];
    for (int i = 0; i < n; i++) column[i] = x[i * row];
    return chain(cpu, weight, column, n);
}

/* dk, dv of key j */
static void key_backward(const vdm_cpu *cpu, const vdm_attention_args *a, int64_t at, int64_t lse, int j)
{
    int64_t row = (int64_t)a->A * a->Dh, kj = at + j * row;
    int length = piece_length(cpu);
    for (int i0 = 0; i0 < a->S; i0 += length) {
        float p[VDM_CHAIN], ds[VDM_CHAIN];
        int n = a->S - i0 < length ? a->S - i0 : length;
        for (int i = 0; i < n; i++) score_backward(cpu, a, at, lse, i0 + i, j, &p[i], &ds[i]);
        for (int d = 0; d < a->Dh; d++) {
            int64_t from = at + i0 * row + d;
            float dv = weighted(cpu, p, a->d_o + from, row, n), dk = weighted(cpu, ds, a->q + from, row, n);
            a->dv[kj + d] = add_piece(cpu, a->dv[kj + d], dv, i0 == 0);
            a->dk[kj + d] = add_piece(cpu, a->dk[kj + d], dk, i0 == 0);
        }
    }
}

/* dq of query i */
static void query_backward(const vdm_cpu *cpu, const vdm_attention_args *a, int64_t at, int64_t lse, int i)
{
    int64_t row = (int64_t)a->A * a->Dh, qi = at + i * row;
    int length = piece_length(cpu);
    for (int j0 = 0; j0 < a->S; j0 += length) {
        float p, ds[VDM_CHAIN];
        int n = a->S - j0 < length ? a->S - j0 : length;
        for (int j = 0; j < n; j++) score_backward(cpu, a, at, lse, i, j0 + j, &p, &ds[j]);
        for (int d = 0; d < a->Dh; d++) {
            float dq = weighted(cpu, ds, a->k + at + j0 * row + d, row, n);
            a->dq[qi + d] = add_piece(cpu, a->dq[qi + d], dq, j0 == 0);
        }
    }
}

static void attention_backward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    for (int b = 0; b < a->B; b++) {
        for (int head = 0; head < a->A; head++) {
            int64_t at = head_of(a, b, head), lse = ((int64_t)b * a->A + head) * a->S;
            for (int i = 0; i < a->S; i++) key_backward(cpu, a, at, lse, i);
            for (int i = 0; i < a->S; i++) query_backward(cpu, a, at, lse, i);
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Norms */

/* The modulation vector of row i: text's or video's, of the row's video; NULL where there is none. */
static const float *vector_of(const vdm_rows *r, int64_t i, const float *text, const float *video,
                              int64_t stride)
{
    const float *part = i % r->S < r->L ? text : video;
    return part ? part + i / r->S * stride : NULL;
}

static void layer_norm(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    (void)cpu;
    const vdm_rows *r = &n->rows;
    const vdm_modulation *m = &n->modulation;
    int64_t D = r->D;
    for (int64_t i = 0; i < (int64_t)r->B * r->S; i++) {
        const float *x = n->x + i * D;
        const float *scale = vector_of(r, i, m->text_scale, m->scale, m->stride);
        const float *shift = vector_of(r, i, m->text_shift, m->shift, m->stride);
        float *y = n->y + i * D;
        float mu = row_sum(x, NULL, D) / (float)D, partial[16] = {0};
        for (int64_t d = 0; d < D; d++) partial[d % 16] = fmaf(x[d] - mu, x[d] - mu, partial[d % 16]);
        float rs = 1 / sqrtf(row_sum(partial, NULL, 16) / (float)D + n->eps);
        if (n->mean) n->mean[i] = mu;
        if (n->rstd) n->rstd[i] = rs;
        for (int64_t d = 0; d < D; d++) {
            y[d] = fmaf((x[d] - mu) * rs, n->norm->gamma[d], n->norm->beta[d]);
            if (scale) y[d] = fmaf(y[d], 1 + scale[d], shift[d]);
        }
    }
}

static void layer_norm_backward(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    (void)cpu;
    const vdm_rows *r = &n->rows;
    const vdm_modulation *m = &n->modulation;
    const float *gamma = n->norm->gamma;
    int64_t D = r->D;
    for (int64_t i = 0; i < (int64_t)r->B * r->S; i++) {
        const float *x = n->x + i * D, *dy = n->dy + i * D;
        float mean = n->mean[i], rstd = n->rstd[i];
        const float *scale = vector_of(r, i, m->text_scale, m->scale, m->stride);
        float *dx = n->dx + i * D;
        float q_sum[16] = {0}, q_xhat_sum[16] = {0};
        for (int64_t d = 0; d < D; d++) {
            float q = (scale ? dy[d] * (1 + scale[d]) : dy[d]) * gamma[d], xhat = (x[d] - mean) * rstd;
            q_sum[d % 16] += q;
            q_xhat_sum[d % 16] = fmaf(q, xhat, q_xhat_sum[d % 16]);
        }
        float q_mean = row_sum(q_sum, NULL, 16) / (float)D,
              q_xhat_mean = row_sum(q_xhat_sum, NULL, 16) / (float)D;
        for (int64_t d = 0; d < D; d++) {
            float q = (scale ? dy[d] * (1 + scale[d]) : dy[d]) * gamma[d], xhat = (x[d] - mean) * rstd;
            float change = fmaf(-xhat, q_xhat_mean, q - q_mean);
            dx[d] = n->add ? fmaf(rstd, change, dx[d]) : rstd * change;
        }
    }
}

/* Sum over pixels of x[p,c] (power 1), or of (x[p,c] - mean)^2 (power 2) */
static double channel_sum(const float *x, int64_t P, int C, int c, int power, float mean)
{
    double total = 0;
    for (int64_t p0 = 0; p0 < P; p0 += VDM_PIXEL_TILE) {
        float sum = 0;
        for (int64_t p = p0; p < P && p < p0 + VDM_PIXEL_TILE; p++) {
            float v = x[p * C + c];
            sum = power == 1 ? sum + v : fmaf(v - mean, v - mean, sum);
        }
        total += (double)sum;
    }
    return total;
}

static void group_norm_stats(const vdm_cpu *cpu, float *mean, float *rstd, const float *x, int64_t P, int C,
                             int groups, float eps)
{
    (void)cpu;
    int size = C / groups;
    double count = (double)P * size;
    for (int g = 0; g < groups; g++) {
        double sum = 0, squares = 0;
        for (int c = g * size; c < (g + 1) * size; c++) sum += channel_sum(x, P, C, c, 1, 0);
        mean[g] = (float)(sum / count);
        for (int c = g * size; c < (g + 1) * size; c++) squares += channel_sum(x, P, C, c, 2, mean[g]);
        rstd[g] = (float)(1 / sqrt(squares / count + (double)eps));
    }
}

static void group_norm(const vdm_cpu *cpu, const vdm_group_norm_args *n)
{
    (void)cpu;
    int C = n->C;
    for (int64_t p = 0; p < n->P; p++) {
        for (int c = 0; c < C; c++) {
            int g = c / (C / n->groups);
            float v = (n->x[p * C + c] - n->mean[g]) * n->rstd[g];
            v = fmaf(v, n->norm->gamma[c], n->norm->beta[c]);
            if (n->times) v *= n->times[(int64_t)n->index[p] * C + c];
            if (n->plus) v += n->plus[(int64_t)n->index[p] * C + c];
            n->y[p * C + c] = n->silu ? times_sigmoid(v, v) : v;
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Element by element */

static void rope(const vdm_cpu *cpu, const vdm_rope_args *r)
{
    (void)cpu;
    for (int b = 0; b < r->B; b++) {
        for (int s = r->L; s < r->S; s++) {
            for (int head = 0; head < r->A; head++) {
                float *row = r->x + (((int64_t)b * r->S + s) * r->A + head) * r->Dh;
                for (int j = 0; j < r->Dh / 2; j++) {
                    float c = r->cos[(int64_t)(s - r->L) * (r->Dh / 2) + j];
                    float sn = r->sign * r->sin[(int64_t)(s - r->L) * (r->Dh / 2) + j];
                    float x0 = row[2 * j], x1 = row[2 * j + 1];
                    row[2 * j] = x0 * c - x1 * sn;
                    row[2 * j + 1] = x1 * c + x0 * sn;
                }
            }
        }
    }
}

/* 2u = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a */
static const float GELU_A = 1.5957691216f, GELU_B = 0.0713548163f;

static void gelu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = times_sigmoid(x[i], x[i] * fmaf(GELU_B, x[i] * x[i], GELU_A));
}

/* gelu' = s + x s (1 - s) (2u)', s = sigma(2u); 1 - s as s e^-2u, or it would cancel. Beyond 8 the slope is
 * 0 or 1 (to 1e-19): the limit keeps infinity out. */
static void gelu_backward(const vdm_cpu *cpu, float *dx, const float *dy, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] > 8 ? 8 : x[i] < -8 ? -8 : x[i];
        float e = plain_exp(-(v * fmaf(GELU_B, v * v, GELU_A))), s = 1 / (1 + e);
        float slope = v * fmaf(3 * GELU_B, v * v, GELU_A);
        dx[i] = dy[i] * fmaf(s * (s * e), slope, s);
    }
}

static void silu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = times_sigmoid(x[i], x[i]);
}

static void gated_add(const vdm_cpu *cpu, float *sum, const float *h, const float *y, const vdm_rows *r,
                      const vdm_modulation *m)
{
    (void)cpu;
    for (int64_t i = 0; i < (int64_t)r->B * r->S; i++) {
        const float *gate = vector_of(r, i, m->text_gate, m->gate, m->stride);
        for (int64_t d = 0; d < r->D; d++)
            sum[i * r->D + d] = fmaf(gate[d], y[i * r->D + d], h[i * r->D + d]);
    }
}

static void gate(const vdm_cpu *cpu, float *dy, const float *dh, const vdm_rows *r, const vdm_modulation *m)
{
    (void)cpu;
    for (int64_t i = 0; i < (int64_t)r->B * r->S; i++) {
        const float *g = vector_of(r, i, m->text_gate, m->gate, m->stride);
        for (int64_t d = 0; d < r->D; d++) dy[i * r->D + d] = g[d] * dh[i * r->D + d];
    }
}

static void blend(const vdm_cpu *cpu, float *y, float a, const float *x, float b, const float *z, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i] + b * z[i];
}

static void exponential(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = plain_exp(x[i]);
}

static void adamw(const vdm_cpu *cpu, float *p, float *m, float *v, const float *g, int64_t n,
                  const vdm_adamw_factors *f)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) {
        m[i] = fmaf(f->one_minus_beta1, g[i] - m[i], m[i]);
        v[i] = fmaf(f->one_minus_beta2 * g[i], g[i], f->beta2 * v[i]);
        p[i] = p[i] * f->keep + f->step * m[i] / (sqrtf(v[i]) / f->root + f->eps);
    }
}

static size_t scratch_floats(int threads)
{
    (void)threads;
    return 1;
}

const vdm_kernels vdm_kernels_plain = {
    .name = "plain",
    .scratch_floats = scratch_floats,
    .matmul = matmul,
    .conv = conv,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
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
};
