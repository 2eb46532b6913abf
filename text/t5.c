/* The text encoder (transformers: T5EncoderModel, v1.1): ids of a prompt -> its embedding [L,Dt].
 *
 *   h = E[ids]
 *   every layer:  h += attention(RMS(h)),  h += wo(gelu(wi_0 n) * (wi_1 n)), n = RMS(h)
 *   out = RMS(h)
 *
 * Traps
 *   Scores are q k^T + bias, without 1 / sqrt(Dh): the weights were trained so.
 *   The bias is a table of the first layer, by distance, and is used in every layer; keys after the query have their
 *   own buckets.
 *   There is no mask: CogVideoX's pipelines pass only ids, so that padding attends and is attended to, and all L rows
 *   go to the transformer. An embedding of the prompt's tokens without the padding is a different one.
 *   RMS subtracts no mean and has no bias. The activation is on wi_0's half.
 *   Activations are large, f16 would overflow: they are f32, sums of squares and of softmax double. */
#include "kernels/kernels.h"
#include "kernels/trace.h"

#include <math.h>
#include <string.h>

struct pass {
    const vdm_text_encoder *m;
    const vdm_cpu *cpu;
    vdm_trace *trace;
    int L, D, I;          /* I: width of q, k, v: heads of head_dim */
    float *h, *n;         /* [L,D] */
    float *q, *k, *v, *o; /* [L,I] */
    float *scores;        /* [L,L]: of one head */
    float *up, *gate;     /* [L,ff] */
    float *y;             /* [L,D]: added to h */
    float *bias;          /* [heads,2L-1]: by key - query + L - 1 */
};

/* y = g x / sqrt(mean(x^2) + eps), row by row (T5LayerNorm). y may be x. */
static void rms_norm(const struct pass *p, float *y, const float *x, const float *g)
{
    for (int64_t i = 0; i < p->L; i++) {
        const float *row = x + i * p->D;
        double squares = 0;
        for (int d = 0; d < p->D; d++) squares += (double)row[d] * (double)row[d];
        float scale = (float)(1 / sqrt(squares / p->D + p->m->config.norm_eps));
        for (int d = 0; d < p->D; d++) y[i * p->D + d] = g[d] * (row[d] * scale);
    }
}

/* relative_position_bucket, bidirectional: half of the buckets are for keys after the query. Of each half the first
 * half has one distance each; the others grow by equal ratios up to max_distance, and the last one has all beyond. */
static int bucket_of(int distance, int buckets, int max_distance)
{
    int half = buckets / 2, exact = half / 2, n = distance < 0 ? -distance : distance;
    int first = distance > 0 ? half : 0;
    if (n < exact) return first + n;
    double ratio = vdm_log((double)n / exact) / vdm_log((double)max_distance / exact);
    int far = exact + (int)((float)ratio * (float)(half - exact));
    return first + (far < half ? far : half - 1);
}

static void fill_bias(const struct pass *p)
{
    const vdm_text_config *c = &p->m->config;
    for (int distance = 1 - p->L; distance < p->L; distance++) {
        int bucket = bucket_of(distance, c->buckets, c->max_distance);
        for (int a = 0; a < c->heads; a++)
            p->bias[a * (2 * p->L - 1) + distance + p->L - 1] = p->m->position_bias[bucket * c->heads + a];
    }
}

/* scores + bias -> softmax, row by row */
static void softmax(const struct pass *p, const float *bias)
{
    int64_t L = p->L;
    for (int64_t i = 0; i < L; i++) {
        float *row = p->scores + i * L, max = -INFINITY;
        for (int64_t j = 0; j < L; j++) {
            row[j] += bias[j - i + L - 1];
            if (row[j] > max) max = row[j];
        }
        for (int64_t j = 0; j < L; j++) row[j] -= max;
    }
    p->cpu->kernels->exp(p->cpu, p->scores, p->scores, L * L);
    for (int64_t i = 0; i < L; i++) {
        float *row = p->scores + i * L;
        double sum = 0;
        for (int64_t j = 0; j < L; j++) sum += (double)row[j];
        for (int64_t j = 0; j < L; j++) row[j] = (float)((double)row[j] / sum);
    }
}

/* o = softmax(q k^T + bias) v, head by head (T5Attention) */
static void attention(const struct pass *p)
{
    int64_t L = p->L, Dh = p->m->config.head_dim, I = p->I;
    for (int a = 0; a < p->m->config.heads; a++) {
        int64_t head = a * Dh;
        vdm_matmul_args scores = {.M = L,
                                  .N = L,
                                  .K = Dh,
                                  .a = p->q + head,
                                  .a_row = I,
                                  .a_col = 1,
                                  .b = p->k + head,
                                  .b_dtype = VDM_F32,
                                  .b_row = 1,
                                  .b_col = I,
                                  .c = p->scores,
                                  .c_row = L};
        vdm_matmul_args values = {.M = L,
                                  .N = Dh,
                                  .K = L,
                                  .a = p->scores,
                                  .a_row = L,
                                  .a_col = 1,
                                  .b = p->v + head,
                                  .b_dtype = VDM_F32,
                                  .b_row = I,
                                  .b_col = 1,
                                  .c = p->o + head,
                                  .c_row = I};
        p->cpu->kernels->matmul(p->cpu, &scores);
        softmax(p, p->bias + a * (2 * L - 1));
        p->cpu->kernels->matmul(p->cpu, &values);
    }
}

static void see(const struct pass *p, const float *x, int64_t width, int layer, const char *name)
{
    vdm_trace_see(p->trace, x, SHAPE(p->L, width), "encoder.block.%d%s", layer, name);
}

/* T5Block */
static void block(const struct pass *p, int layer)
{
    const vdm_text_block *b = &p->m->blocks[layer];
    const vdm_kernels *kernels = p->cpu->kernels;
    int64_t L = p->L, all = L * p->D, ff = p->m->config.ff;
    rms_norm(p, p->n, p->h, b->norm1);
    see(p, p->n, p->D, layer, ".layer.0.layer_norm");
    vdm_matmul_args v = linear_args(p->v, p->n, &b->v, L), k = linear_args(p->k, p->n, &b->k, L),
                    q = linear_args(p->q, p->n, &b->q, L);
    q.also = &k, k.also = &v; /* one pass over n */
    kernels->matmul(p->cpu, &q);
    see(p, p->q, p->I, layer, ".layer.0.SelfAttention.q");
    see(p, p->k, p->I, layer, ".layer.0.SelfAttention.k");
    see(p, p->v, p->I, layer, ".layer.0.SelfAttention.v");
    attention(p);
    linear_forward(p->cpu, p->y, p->o, &b->o, L);
    see(p, p->y, p->D, layer, ".layer.0.SelfAttention.o");
    kernels->blend(p->cpu, p->h, 1, p->h, 1, p->y, all);
    rms_norm(p, p->n, p->h, b->norm2);
    see(p, p->n, p->D, layer, ".layer.1.layer_norm");
    vdm_matmul_args up = linear_args(p->up, p->n, &b->wi_1, L),
                    gate = linear_args(p->gate, p->n, &b->wi_0, L);
    gate.also = &up;
    kernels->matmul(p->cpu, &gate);
    see(p, p->gate, ff, layer, ".layer.1.DenseReluDense.wi_0");
    see(p, p->up, ff, layer, ".layer.1.DenseReluDense.wi_1");
    kernels->gelu(p->cpu, p->gate, p->gate, L * ff);
    for (int64_t i = 0; i < L * ff; i++) p->up[i] *= p->gate[i];
    linear_forward(p->cpu, p->y, p->up, &b->wo, L);
    see(p, p->y, p->D, layer, ".layer.1.DenseReluDense");
    kernels->blend(p->cpu, p->h, 1, p->h, 1, p->y, all);
    see(p, p->h, p->D, layer, "");
}

/* Rows of the embedding table */
static int embed(const struct pass *p, const int32_t *ids, vdm_error *err)
{
    const vdm_matrix *words = &p->m->words;
    int64_t bytes = p->D * (int64_t)vdm_dtype_bytes(words->dtype);
    for (int64_t i = 0; i < p->L; i++) {
        if (ids[i] < 0 || ids[i] >= words->rows)
            return vdm_fail(err, "prompt: token %lld: found the id %d, the text encoder has %lld",
                            (long long)i, (int)ids[i], (long long)words->rows);
        vdm_widen(p->h + i * p->D, (const char *)words->data + ids[i] * bytes, words->dtype, p->D);
    }
    vdm_trace_see(p->trace, p->h, SHAPE(p->L, p->D), "encoder.embed_tokens");
    return 0;
}

static int encode(const struct pass *p, const int32_t *ids, float *text, const vdm_progress *progress,
                  vdm_error *err)
{
    int layers = p->m->config.layers;
    double began = vdm_seconds();
    if (embed(p, ids, err)) return -1;
    fill_bias(p);
    for (int i = 0; i < layers; i++) {
        block(p, i);
        vdm_report report = {"prompt", i + 1, layers, vdm_seconds() - began, (double)NAN};
        if (progress && progress->report && progress->report(progress->user, &report))
            return vdm_fail(err, "prompt: interrupted after %d of %d layers", i + 1, layers);
    }
    rms_norm(p, text, p->h, p->m->norm_final);
    vdm_trace_see(p->trace, text, SHAPE(p->L, p->D), "encoder.final_layer_norm");
    if (vdm_first_not_finite(text, VDM_F32, p->L * p->D) < 0) return 0;
    if (vdm_safetensors_check_finite(&p->m->file, err)) return -1;
    return vdm_fail(
        err, "prompt: its embedding is NaN or infinite, though all weights of the text encoder are finite");
}

int vdm_text_encode(const vdm_text_encoder *m, const vdm_cpu *cpu, const int32_t *ids, int L, float *text,
                    const vdm_progress *progress, vdm_error *err)
{
    const vdm_text_config *c = &m->config;
    struct pass p = {.m = m, .cpu = cpu, .L = L, .D = c->width, .I = c->heads * c->head_dim};
    p.trace = progress ? progress->trace : NULL;
    size_t rows = (size_t)L, wide = rows * (size_t)p.D, inner = rows * (size_t)p.I, ff = rows * (size_t)c->ff;
    size_t table = (size_t)c->heads * (2 * rows - 1);
    float **buffers[] = {&p.h, &p.n, &p.y, &p.q, &p.k, &p.v, &p.o, &p.scores, &p.up, &p.gate, &p.bias};
    size_t sizes[] = {wide, wide, wide, inner, inner, inner, inner, rows * rows, ff, ff, table};
    int status = 0, n = (int)(sizeof sizes / sizeof *sizes);
    if (L < 1) return vdm_fail(err, "prompt: expected at least one token, found %d", L);
    for (int i = 0; i < n && !status; i++)
        if (!(*buffers[i] = vdm_alloc(sizes[i], sizeof(float), "the text encoder", err))) status = -1;
    if (!status) status = encode(&p, ids, text, progress, err);
    for (int i = 0; i < n; i++) vdm_free(*buffers[i]);
    return status;
}
