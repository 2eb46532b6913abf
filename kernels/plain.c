/* The definition of every kernel: plain loops, one element at a time, in the order that the rules of kernels.h
 * give. Read this file to know what a kernel computes. The other sets of kernels compute the same bits, faster.
 *
 *   rules          rounding to bf16, sums of products, sums over a row, exp
 *   products       matmul, convolution, Winograd's convolution
 *   attention      forward, backward
 *   norms          layer norm forward, backward; group norm
 *   elementwise    rope, gelu, silu, gates, blend, exp, AdamW
 *
 * VDM_ISA=plain computes with this table. It is hundreds of times slower than the others and uses one thread,
 * so that a debugger can follow it from noise to answer; every function of the table begins with plain_:
 *
 *     make BUILD=build/debug OPT=-O0 build/debug/vdm
 *     VDM_ISA=plain gdb --args build/debug/vdm ...
 *     (gdb) break plain_layer_norm
 *
 * Trap: write a * b + c for fmaf(a, b, c), or let a loop run in another order, and the last bits differ. */
#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Rule 5: arithmetic of bf16 products */

/* Denormals count as 0 of the same sign. */
static float flushed(float x)
{
    return fabsf(x) < FLT_MIN ? copysignf(0, x) : x;
}

static float bf16(float x)
{
    return vdm_from_bf16(vdm_to_bf16(flushed(x)));
}

/* a b + c. A result is denormal if it would be below FLT_MIN when rounded to 24 bits. fmaf rounds a denormal
 * result to fewer bits, perhaps up to FLT_MIN itself: so small results are recomputed, scaled by 2^48. */
static float fma_flushed(float a, float b, float c)
{
    a = flushed(a), b = flushed(b), c = flushed(c);
    float r = fmaf(a, b, c), large = 0x1p48f;
    if (r == 0 || isnan(r) || fabsf(r) > FLT_MIN) return r;
    return fabsf(fmaf(a * large, b, c * large)) < FLT_MIN * large ? copysignf(0, r) : r;
}

/* Element i of f32, f16 or bf16 data at any address */
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

/* ------------------------------------------------------------------------------------------------
 * Rules 1, 5 and 6: a sum of products, cut in pieces */

struct sum {
    vdm_precision precision;
    bool empty;           /* the first piece becomes the total, it is not added to 0 */
    float total;          /* of the finished pieces */
    int count;            /* products in the current piece */
    float chain[2];       /* the current piece; rule 6: its even and its odd products */
    float even_a, even_b; /* rule 5: the even factors of a pair, whose odd product is added first */
};

/* The sum of no products, and a sum that continues from a value */
static struct sum sum_empty(const vdm_cpu *cpu)
{
    struct sum s = {.precision = cpu->precision, .empty = cpu->precision != VDM_PRECISION_AMX};
    return s;
}
static struct sum sum_from(const vdm_cpu *cpu, float total)
{
    struct sum s = {.precision = cpu->precision, .total = total};
    return s;
}

static void finish_piece(struct sum *s)
{
    float piece = s->chain[0];
    if (s->precision == VDM_PRECISION_AMX) piece = flushed(s->chain[0] + s->chain[1]);
    if (s->empty)
        s->total = piece;
    else if (s->precision == VDM_PRECISION_F32)
        s->total += piece;
    else
        s->total = flushed(flushed(s->total) + piece);
    s->empty = false, s->count = 0, s->chain[0] = s->chain[1] = 0;
}

/* sum += a b */
static void add_product(struct sum *s, float a, float b)
{
    bool odd = s->count % 2 == 1;
    switch (s->precision) {
    case VDM_PRECISION_F32:
        s->chain[0] = fmaf(a, b, s->chain[0]);
        break;
    case VDM_PRECISION_BF16:
        if (!odd) {
            s->even_a = bf16(a), s->even_b = bf16(b);
            break;
        }
        s->chain[0] = fma_flushed(bf16(a), bf16(b), s->chain[0]);
        s->chain[0] = fma_flushed(s->even_a, s->even_b, s->chain[0]);
        break;
    case VDM_PRECISION_AMX:
        s->chain[odd] = fma_flushed(bf16(a), bf16(b), s->chain[odd]);
        break;
    }
    s->count++;
    if (s->count == (s->precision == VDM_PRECISION_AMX ? 32 : VDM_CHAIN)) finish_piece(s);
}

/* Ends the sum: pads the last piece with zeros to a pair (bf16) or to 32 products (amx). */
static float sum_of(struct sum *s)
{
    int group = s->precision == VDM_PRECISION_AMX ? 32 : s->precision == VDM_PRECISION_BF16 ? 2 : 1;
    while (s->count % group != 0) add_product(s, 0, 0);
    if (s->count > 0) finish_piece(s);
    return s->total;
}

/* Sum of a[k] b[k] over k < n */
static float dot(const vdm_cpu *cpu, const float *a, const float *b, int64_t n)
{
    struct sum s = sum_empty(cpu);
    for (int64_t k = 0; k < n; k++) add_product(&s, a[k], b[k]);
    return sum_of(&s);
}

/* ------------------------------------------------------------------------------------------------
 * Rule 2: a sum over a row, in 16 partial sums. Rule 4: exp */

/* The tree over n partial sums: partial j += partial j + n/2, j + n/4, ... j + 1 */
static float tree_sum(float *partial, int n)
{
    for (int width = n / 2; width >= 1; width /= 2)
        for (int j = 0; j < width; j++) partial[j] += partial[j + width];
    return partial[0];
}

static float row_mean(const float *x, int64_t n)
{
    float partial[16] = {0};
    for (int64_t i = 0; i < n; i++) partial[i % 16] += x[i];
    return tree_sum(partial, 16) / (float)n;
}

/* Mean of (x - mean)^2 */
static float row_variance(const float *x, int64_t n, float mean)
{
    float partial[16] = {0};
    for (int64_t i = 0; i < n; i++) partial[i % 16] = fmaf(x[i] - mean, x[i] - mean, partial[i % 16]);
    return tree_sum(partial, 16) / (float)n;
}

static float row_dot(const float *x, const float *y, int64_t n)
{
    float partial[16] = {0};
    for (int64_t i = 0; i < n; i++) partial[i % 16] = fmaf(x[i], y[i], partial[i % 16]);
    return tree_sum(partial, 16);
}

/* x = n ln 2 + r, |r| <= ln 2 / 2; e^r is a polynomial, 2^n exact. ln 2 comes in two parts, of which n times
 * the first is exact. Adding and subtracting 1.5 2^23 rounds x log2(e) to an integer. */
static float exp_of(float x)
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

/* x sigma(z) = x / (1 + e^-z) */
static float times_sigmoid(float x, float z)
{
    return x / (1.0f + exp_of(-z));
}

/* ------------------------------------------------------------------------------------------------
 * Products */

/* C = A B + bias, or C += A B: C(i,n) = sum over k of A(i,k) B(k,n) */
static void plain_matmul(const vdm_cpu *cpu, const vdm_matmul_args *m)
{
    for (; m; m = m->also) {
        for (int64_t i = 0; i < m->M; i++) {
            for (int64_t n = 0; n < m->N; n++) {
                float *c = &m->c[i * m->c_row + n];
                struct sum s = m->accumulate ? sum_from(cpu, *c) : sum_empty(cpu);
                for (int64_t k = 0; k < m->K; k++)
                    add_product(&s, m->a[i * m->a_row + k * m->a_col],
                                element(m->b, m->b_dtype, k * m->b_row + n * m->b_col));
                *c = m->bias ? sum_of(&s) + m->bias[n] : sum_of(&s);
            }
        }
    }
}

/* Input (frame, y, x, channel); 0 outside the frame */
static float pixel(const vdm_conv_args *c, int64_t frame, int y, int x, int64_t channel)
{
    if (y < 0 || y >= c->H || x < 0 || x >= c->W) return 0;
    return c->frames[frame][((int64_t)y * c->W + x) * c->w->in + channel];
}

/* y(t,yo,xo,n) = sum + bias + residual */
static void store_output(const vdm_conv_args *c, int t, int yo, int xo, int64_t n, float sum)
{
    int64_t at = (((int64_t)t * c->Ho + yo) * c->Wo + xo) * c->w->out + n;
    if (c->w->bias) sum += c->w->bias[n];
    if (c->residual) sum += c->residual[at];
    c->y[at] = sum;
}

/* y(t,yo,xo,n) = sum over dt, dy, dx, channel of x(t + dt, yo stride + dy - pad, xo stride + dx - pad, channel)
 *                w(dt,dy,dx,channel,n) */
static float window_product(const vdm_cpu *cpu, const vdm_conv_args *c, int t, int yo, int xo, int64_t n)
{
    const vdm_conv *w = c->w;
    struct sum s = sum_empty(cpu);
    int64_t k = 0;
    for (int dt = 0; dt < w->kt; dt++)
        for (int dy = 0; dy < w->k; dy++)
            for (int dx = 0; dx < w->k; dx++)
                for (int64_t channel = 0; channel < w->in; channel++, k++)
                    add_product(
                        &s,
                        pixel(c, t + dt, yo * c->stride + dy - c->pad, xo * c->stride + dx - c->pad, channel),
                        element(w->weight.data, w->weight.dtype, k * w->out + n));
    return sum_of(&s);
}

static void conv_direct(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    for (int t = 0; t < c->T; t++)
        for (int yo = 0; yo < c->Ho; yo++)
            for (int xo = 0; xo < c->Wo; xo++)
                for (int64_t n = 0; n < c->w->out; n++)
                    store_output(c, t, yo, xo, n, window_product(cpu, c, t, yo, xo, n));
}

/* ------------------------------------------------------------------------------------------------
 * Rule 7: Winograd's convolution F(2x2,3x3) */

/* Element i of B^T d, of G g and of A^T p */
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

/* Element (i,j) of V = B^T d B: d are the 4x4 inputs around the 2x2 outputs from (yo,xo) on */
static float transformed_input(const vdm_conv_args *c, int64_t frame, int yo, int xo, int64_t channel, int ij)
{
    float row[4];
    for (int x = 0; x < 4; x++) {
        float d[4];
        for (int y = 0; y < 4; y++) d[y] = pixel(c, frame, yo - 1 + y, xo - 1 + x, channel);
        row[x] = join_inputs(d, ij / 4);
    }
    return join_inputs(row, ij % 4);
}

/* Element (i,j) of U = G g G^T: g are the 3x3 taps from (dt, channel) to n */
static float transformed_weight(const vdm_conv *w, int dt, int64_t channel, int64_t n, int ij)
{
    float row[3];
    for (int x = 0; x < 3; x++) {
        float g[3];
        for (int y = 0; y < 3; y++) {
            int64_t k = ((int64_t)dt * 9 + 3 * y + x) * w->in + channel;
            g[y] = element(w->weight.data, w->weight.dtype, k * w->out + n);
        }
        row[x] = join_taps(g, ij / 4);
    }
    return join_taps(row, ij % 4);
}

/* P(i,j) = sum over dt, channel of V(i,j) U(i,j); the 2x2 outputs of channel n are A^T P A */
static void winograd_outputs(const vdm_cpu *cpu, const vdm_conv_args *c, int t, int yo, int xo, int64_t n)
{
    float row[2][4];
    for (int j = 0; j < 4; j++) {
        float p[4];
        for (int i = 0; i < 4; i++) {
            struct sum s = sum_empty(cpu);
            for (int dt = 0; dt < c->w->kt; dt++)
                for (int64_t channel = 0; channel < c->w->in; channel++)
                    add_product(&s, transformed_input(c, t + dt, yo, xo, channel, 4 * i + j),
                                transformed_weight(c->w, dt, channel, n, 4 * i + j));
            p[i] = sum_of(&s);
        }
        for (int i = 0; i < 2; i++) row[i][j] = join_products(p, i);
    }
    for (int y = yo; y < yo + 2 && y < c->Ho; y++)
        for (int x = xo; x < xo + 2 && x < c->Wo; x++)
            store_output(c, t, y, x, n, join_products(row[y - yo], x - xo));
}

static void conv_winograd(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    for (int t = 0; t < c->T; t++)
        for (int yo = 0; yo < c->Ho; yo += 2)
            for (int xo = 0; xo < c->Wo; xo += 2)
                for (int64_t n = 0; n < c->w->out; n++) winograd_outputs(cpu, c, t, yo, xo, n);
}

static void plain_conv(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    if (c->transformed)
        conv_winograd(cpu, c);
    else
        conv_direct(cpu, c);
}

/* ------------------------------------------------------------------------------------------------
 * Attention */

/* One head of one video: row s of q, k, v, o and of their gradients begins at s * row. */
struct head {
    const float *q, *k, *v, *d_o;
    float *o, *lse, *dq, *dk, *dv;
    int64_t row;
    int S, Dh;
    float scale; /* 1 / sqrt(Dh) */
};
static struct head head_of(const vdm_attention_args *a, int b, int head)
{
    int64_t row = (int64_t)a->A * a->Dh, at = b * a->S * row + (int64_t)head * a->Dh;
    struct head h = {.q = a->q + at,
                     .k = a->k + at,
                     .v = a->v + at,
                     .o = a->o + at,
                     .lse = a->lse + ((int64_t)b * a->A + head) * a->S,
                     .row = row,
                     .S = a->S,
                     .Dh = a->Dh,
                     .scale = (float)(1 / sqrt((double)a->Dh))};
    if (a->d_o) h.d_o = a->d_o + at, h.dq = a->dq + at, h.dk = a->dk + at, h.dv = a->dv + at;
    return h;
}

/* s_ij = sum over d of k_jd (scale q_id) */
static float score(const vdm_cpu *cpu, const struct head *h, int i, int j)
{
    const float *q = h->q + i * h->row, *k = h->k + j * h->row;
    struct sum s = sum_empty(cpu);
    for (int d = 0; d < h->Dh; d++) add_product(&s, k[d], h->scale * q[d]);
    return sum_of(&s);
}

/* o_i = sum over j of softmax(s_i)_j v_j in tiles of keys j. After each tile m is the maximum of s_ij so far, l the
 * sum of exp(s_ij - m), o the sum of exp(s_ij - m) v_j; at the end o is divided by l.
 * lse_i = log of the sum over j of exp(s_ij) */
static void attend(const vdm_cpu *cpu, const struct head *h, int i)
{
    float m = -INFINITY, l = 0, o[VDM_MAX_HEAD] = {0};
    for (int first = 0; first < h->S; first += VDM_KEY_TILE) {
        int n = h->S - first < VDM_KEY_TILE ? h->S - first : VDM_KEY_TILE;
        float p[VDM_KEY_TILE], partial[8] = {0}, before = m; /* p: scores, then exp(score - m) */
        for (int j = 0; j < n; j++) {
            p[j] = score(cpu, h, i, first + j);
            if (p[j] > m) m = p[j];
        }
        for (int j = 0; j < n; j++) {
            p[j] = exp_of(p[j] - m);
            partial[j % 8] += p[j];
        }
        float c = exp_of(before - m);
        l = l * c + tree_sum(partial, 8);
        for (int d = 0; d < h->Dh; d++) {
            struct sum s = sum_from(cpu, o[d] * c);
            for (int j = 0; j < n; j++) add_product(&s, h->v[(first + j) * h->row + d], p[j]);
            o[d] = sum_of(&s);
        }
    }
    for (int d = 0; d < h->Dh; d++) h->o[i * h->row + d] = o[d] / l;
    h->lse[i] = m + (float)vdm_log((double)l);
}

static void plain_attention_forward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    for (int b = 0; b < a->B; b++) {
        for (int head = 0; head < a->A; head++) {
            struct head h = head_of(a, b, head);
            for (int i = 0; i < a->S; i++) attend(cpu, &h, i);
        }
    }
}

/* p_ij = exp(s_ij - lse_i), ds_ij = p_ij (g_ij - delta_i) scale: g_ij = do_i v_j is dL/dp_ij, and
 * delta_i = do_i o_i is the part of it that the softmax's denominator takes away */
static float score_backward(const vdm_cpu *cpu, const struct head *h, int i, int j, float *p)
{
    const float *d_o = h->d_o + i * h->row;
    float g = dot(cpu, d_o, h->v + j * h->row, h->Dh), delta = row_dot(d_o, h->o + i * h->row, h->Dh);
    *p = exp_of(score(cpu, h, i, j) - h->lse[i]);
    return *p * (g - delta) * h->scale;
}

/* dv_j = sum over i of p_ij do_i, dk_j = sum over i of ds_ij q_i */
static void key_backward(const vdm_cpu *cpu, const struct head *h, int j)
{
    struct sum dk[VDM_MAX_HEAD], dv[VDM_MAX_HEAD];
    for (int d = 0; d < h->Dh; d++) dk[d] = dv[d] = sum_empty(cpu);
    for (int i = 0; i < h->S; i++) {
        float p, ds = score_backward(cpu, h, i, j, &p);
        for (int d = 0; d < h->Dh; d++) {
            add_product(&dv[d], p, h->d_o[i * h->row + d]);
            add_product(&dk[d], ds, h->q[i * h->row + d]);
        }
    }
    for (int d = 0; d < h->Dh; d++) {
        h->dv[j * h->row + d] = sum_of(&dv[d]);
        h->dk[j * h->row + d] = sum_of(&dk[d]);
    }
}

/* dq_i = sum over j of ds_ij k_j */
static void query_backward(const vdm_cpu *cpu, const struct head *h, int i)
{
    struct sum dq[VDM_MAX_HEAD];
    for (int d = 0; d < h->Dh; d++) dq[d] = sum_empty(cpu);
    for (int j = 0; j < h->S; j++) {
        float p, ds = score_backward(cpu, h, i, j, &p);
        for (int d = 0; d < h->Dh; d++) add_product(&dq[d], ds, h->k[j * h->row + d]);
    }
    for (int d = 0; d < h->Dh; d++) h->dq[i * h->row + d] = sum_of(&dq[d]);
}

static void plain_attention_backward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    for (int b = 0; b < a->B; b++) {
        for (int head = 0; head < a->A; head++) {
            struct head h = head_of(a, b, head);
            for (int j = 0; j < a->S; j++) key_backward(cpu, &h, j);
            for (int i = 0; i < a->S; i++) query_backward(cpu, &h, i);
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Norms */

/* The modulation vector of row i: text's or video's, of the row's video; NULL if there is none. */
static const float *vector_of(const vdm_rows *r, int64_t i, const float *text, const float *video,
                              int64_t stride)
{
    const float *part = i % r->S < r->L ? text : video;
    return part ? part + i / r->S * stride : NULL;
}

/* y = (xhat gamma + beta) (1 + scale) + shift, xhat = (x - mean) rstd */
static void plain_layer_norm(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    (void)cpu;
    const vdm_modulation *m = &n->modulation;
    int64_t D = n->rows.D;
    for (int64_t i = 0; i < (int64_t)n->rows.B * n->rows.S; i++) {
        const float *x = n->x + i * D;
        const float *scale = vector_of(&n->rows, i, m->text_scale, m->scale, m->stride);
        const float *shift = vector_of(&n->rows, i, m->text_shift, m->shift, m->stride);
        float *y = n->y + i * D;
        float mean = row_mean(x, D), rstd = 1 / sqrtf(row_variance(x, D, mean) + n->eps);
        for (int64_t d = 0; d < D; d++) {
            float xhat = (x[d] - mean) * rstd;
            y[d] = fmaf(xhat, n->norm->gamma[d], n->norm->beta[d]);
            if (scale) y[d] = fmaf(y[d], 1 + scale[d], shift[d]);
        }
        if (n->mean) n->mean[i] = mean;
        if (n->rstd) n->rstd[i] = rstd;
    }
}

/* dx (+)= rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat)), dxhat = dy (1 + scale) gamma */
static void plain_layer_norm_backward(const vdm_cpu *cpu, const vdm_norm_args *n)
{
    (void)cpu;
    const vdm_modulation *m = &n->modulation;
    const float *gamma = n->norm->gamma;
    int64_t D = n->rows.D;
    for (int64_t i = 0; i < (int64_t)n->rows.B * n->rows.S; i++) {
        const float *x = n->x + i * D, *dy = n->dy + i * D;
        const float *scale = vector_of(&n->rows, i, m->text_scale, m->scale, m->stride);
        float *dx = n->dx + i * D;
        float mean = n->mean[i], rstd = n->rstd[i], dxhat_sum[16] = {0},
              product_sum[16] = {0}; /* of dxhat xhat */
        for (int64_t d = 0; d < D; d++) {
            float dxhat = (scale ? dy[d] * (1 + scale[d]) : dy[d]) * gamma[d], xhat = (x[d] - mean) * rstd;
            dxhat_sum[d % 16] += dxhat;
            product_sum[d % 16] = fmaf(dxhat, xhat, product_sum[d % 16]);
        }
        float dxhat_mean = tree_sum(dxhat_sum, 16) / (float)D,
              product_mean = tree_sum(product_sum, 16) / (float)D;
        for (int64_t d = 0; d < D; d++) {
            float dxhat = (scale ? dy[d] * (1 + scale[d]) : dy[d]) * gamma[d], xhat = (x[d] - mean) * rstd;
            float change = fmaf(-xhat, product_mean, dxhat - dxhat_mean);
            dx[d] = n->add ? fmaf(rstd, change, dx[d]) : rstd * change;
        }
    }
}

/* Sum over pixels p of x(p,c), or of (x(p,c) - mean)^2 if `square`: tiles of VDM_PIXEL_TILE pixels in f32, their sums
 * in double */
static double channel_sum(const float *x, int64_t P, int C, float mean, bool square)
{
    double total = 0;
    for (int64_t first = 0; first < P; first += VDM_PIXEL_TILE) {
        float sum = 0;
        for (int64_t p = first; p < P && p < first + VDM_PIXEL_TILE; p++) {
            float v = x[p * C];
            sum = square ? fmaf(v - mean, v - mean, sum) : sum + v;
        }
        total += (double)sum;
    }
    return total;
}

/* Mean and 1 / sqrt(variance + eps) of every group of channels, over all pixels */
static void plain_group_norm_stats(const vdm_cpu *cpu, float *mean, float *rstd, const float *x, int64_t P,
                                   int C, int groups, float eps)
{
    (void)cpu;
    int size = C / groups;
    double count = (double)P * size;
    for (int g = 0; g < groups; g++) {
        double sum = 0, squares = 0;
        for (int c = g * size; c < (g + 1) * size; c++) sum += channel_sum(x + c, P, C, 0, false);
        mean[g] = (float)(sum / count);
        for (int c = g * size; c < (g + 1) * size; c++) squares += channel_sum(x + c, P, C, mean[g], true);
        rstd[g] = (float)(1 / sqrt(squares / count + (double)eps));
    }
}

/* y = ((x - mean) rstd gamma + beta) times + plus, or silu of that */
static void plain_group_norm(const vdm_cpu *cpu, const vdm_group_norm_args *n)
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

/* (x0, x1) = (x0 cos - x1 sin, x1 cos + x0 sin), pair by pair of every head of the video rows */
static void plain_rope(const vdm_cpu *cpu, const vdm_rope_args *r)
{
    (void)cpu;
    int half = r->Dh / 2;
    for (int b = 0; b < r->B; b++) {
        for (int s = r->L; s < r->S; s++) {
            const float *cosine = r->cos + (int64_t)(s - r->L) * half,
                        *sine = r->sin + (int64_t)(s - r->L) * half;
            for (int head = 0; head < r->A; head++) {
                float *x = r->x + (((int64_t)b * r->S + s) * r->A + head) * r->Dh;
                for (int j = 0; j < half; j++) {
                    float sn = r->sign * sine[j], x0 = x[2 * j], x1 = x[2 * j + 1];
                    x[2 * j] = x0 * cosine[j] - x1 * sn;
                    x[2 * j + 1] = x1 * cosine[j] + x0 * sn;
                }
            }
        }
    }
}

/* 2u = x (a + b x^2), a = 2 sqrt(2 / pi), b = 0.044715 a */
static const float GELU_A = 1.5957691216f, GELU_B = 0.0713548163f;

/* gelu(x) = x sigma(2u) */
static void plain_gelu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = times_sigmoid(x[i], x[i] * fmaf(GELU_B, x[i] * x[i], GELU_A));
}

/* gelu'(x) = s + x s (1 - s) (2u)', s = sigma(2u). 1 - s is computed as s e^-2u: the subtraction would cancel.
 * Beyond 8 gelu' is 0 or 1 (to 1e-19): the limit avoids infinity. */
static void plain_gelu_backward(const vdm_cpu *cpu, float *dx, const float *dy, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) {
        float v = x[i] > 8 ? 8 : x[i] < -8 ? -8 : x[i];
        float e = exp_of(-(v * fmaf(GELU_B, v * v, GELU_A))), s = 1 / (1 + e);
        float x_du2 = v * fmaf(3 * GELU_B, v * v, GELU_A); /* x (2u)' */
        dx[i] = dy[i] * fmaf(s * (s * e), x_du2, s);
    }
}

/* silu(x) = x sigma(x) */
static void plain_silu(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = times_sigmoid(x[i], x[i]);
}

/* sum = h + gate y */
static void plain_gated_add(const vdm_cpu *cpu, float *sum, const float *h, const float *y, const vdm_rows *r,
                            const vdm_modulation *m)
{
    (void)cpu;
    for (int64_t i = 0; i < (int64_t)r->B * r->S; i++) {
        const float *gate = vector_of(r, i, m->text_gate, m->gate, m->stride);
        for (int64_t d = i * r->D; d < (i + 1) * r->D; d++) sum[d] = fmaf(gate[d - i * r->D], y[d], h[d]);
    }
}

/* dy = gate dh */
static void plain_gate(const vdm_cpu *cpu, float *dy, const float *dh, const vdm_rows *r,
                       const vdm_modulation *m)
{
    (void)cpu;
    for (int64_t i = 0; i < (int64_t)r->B * r->S; i++) {
        const float *gate = vector_of(r, i, m->text_gate, m->gate, m->stride);
        for (int64_t d = i * r->D; d < (i + 1) * r->D; d++) dy[d] = gate[d - i * r->D] * dh[d];
    }
}

/* y = a x + b z */
static void plain_blend(const vdm_cpu *cpu, float *y, float a, const float *x, float b, const float *z,
                        int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i] + b * z[i];
}

static void plain_exp(const vdm_cpu *cpu, float *y, const float *x, int64_t n)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) y[i] = exp_of(x[i]);
}

/* m = m + (1 - beta1) (g - m), v = beta2 v + (1 - beta2) g^2, p = keep p + step m / (sqrt(v) / root + eps) */
static void plain_adamw(const vdm_cpu *cpu, float *p, float *m, float *v, const float *g, int64_t n,
                        const vdm_adamw_factors *f)
{
    (void)cpu;
    for (int64_t i = 0; i < n; i++) {
        m[i] = fmaf(f->one_minus_beta1, g[i] - m[i], m[i]);
        v[i] = fmaf(f->one_minus_beta2 * g[i], g[i], f->beta2 * v[i]);
        p[i] = p[i] * f->keep + f->step * m[i] / (sqrtf(v[i]) / f->root + f->eps);
    }
}

/* sums = W_0 + W_1 + W_2, W_0 + W_1, W_2, each [k,k,in,out] */
static void plain_sum_taps(const vdm_cpu *cpu, float *sums, const vdm_conv *w)
{
    int64_t n = (int64_t)w->k * w->k * w->in * w->out;
    float *all = sums, *two = all + n, *last = two + n;
    (void)cpu;
    vdm_widen(sums, w->weight.data, w->weight.dtype, 3 * n);
    for (int64_t i = 0; i < n; i++) {
        two[i] = all[i] + two[i];
        all[i] = two[i] + last[i];
    }
}

/* y(r,q,c) = x(r / 2, q / 2, c), halves rounded down */
static void plain_enlarge(const vdm_cpu *cpu, float *y, const float *x, int H, int W, int C)
{
    (void)cpu;
    for (int64_t r = 0; r < 2 * H; r++)
        for (int64_t q = 0; q < 2 * W; q++)
            for (int64_t c = 0; c < C; c++) y[(r * 2 * W + q) * C + c] = x[(r / 2 * W + q / 2) * C + c];
}

/* ------------------------------------------------------------------------------------------------ */

/* One chain of multiply-adds. bf16: 0, since plain loops use no bf16 instruction. */
static double plain_peak(const vdm_cpu *cpu, int64_t steps)
{
    float sum = 0, x = 1e-3f;
    if (cpu->precision != VDM_PRECISION_F32) return 0;
    for (int64_t i = 0; i < 32 * steps; i++) sum = fmaf(x, x, sum);
    cpu->scratch[0] = sum;
    return 2.0 * 32 * (double)steps;
}

static size_t plain_scratch_floats(int threads)
{
    (void)threads;
    return 1;
}

const vdm_kernels vdm_kernels_plain = {
    .name = "plain",
    .scratch_floats = plain_scratch_floats,
    .matmul = plain_matmul,
    .conv = plain_conv,
    .attention_forward = plain_attention_forward,
    .attention_backward = plain_attention_backward,
    .layer_norm = plain_layer_norm,
    .layer_norm_backward = plain_layer_norm_backward,
    .group_norm_stats = plain_group_norm_stats,
    .group_norm = plain_group_norm,
    .rope = plain_rope,
    .gelu = plain_gelu,
    .gelu_backward = plain_gelu_backward,
    .silu = plain_silu,
    .gated_add = plain_gated_add,
    .gate = plain_gate,
    .blend = plain_blend,
    .exp = plain_exp,
    .adamw = plain_adamw,
    .sum_taps = plain_sum_taps,
    .enlarge = plain_enlarge,
    .peak = plain_peak,
};
