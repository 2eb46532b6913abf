/* The jobs of vdm bench, first part: this machine's peaks, and every kernel at the shapes of the models.
 *
 * Operations are those of the definition; a multiply-add counts as two. Bytes are those that must be read or written
 * once, whatever a kernel does: its figure is lower if it reads twice, or if a store first reads the line that it
 * overwrites; it may be higher than the memory's if data stays in a cache. */
#include "tools/bench/bench.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Memory and random numbers */

struct piece {
    struct piece *next;
    char rest[64 - sizeof(struct piece *)]; /* the data after it is aligned like vdm_alloc's memory */
};

void *work_take(struct work *w, int64_t count, size_t size)
{
    if (w->failed) return NULL;
    struct piece *p = vdm_alloc((size_t)count + (sizeof *p + size - 1) / size, size, "a measurement", w->err);
    w->failed = !p;
    if (!p) return NULL;
    p->next = w->pieces;
    w->pieces = p;
    return p + 1;
}

void work_free(struct work *w)
{
    while (w->pieces) {
        struct piece *p = w->pieces;
        w->pieces = p->next;
        vdm_free(p);
    }
}

float *work_floats(struct work *w, int64_t count)
{
    return work_take(w, count, sizeof(float));
}

/* Only the first elements, a prime number of them, are drawn; the others are copies. */
enum { DRAWN = 1048573 };
static float draw(uint32_t *seed, float scale)
{
    *seed = *seed * 1664525u + 1013904223u;
    return scale * ((float)(*seed >> 8) / 8388608.0f - 1.0f);
}
static void copy_drawn(void *x, int64_t count, size_t size)
{
    char *to = x;
    for (int64_t i = DRAWN; i < count; i += DRAWN)
        memcpy(to + (size_t)i * size, to, (size_t)(count - i < DRAWN ? count - i : DRAWN) * size);
}

float *work_random(struct work *w, int64_t count, float scale)
{
    float *x = work_floats(w, count);
    uint32_t seed = 1;
    if (!x) return NULL;
    for (int64_t i = 0; i < count && i < DRAWN; i++) x[i] = draw(&seed, scale);
    copy_drawn(x, count, sizeof *x);
    return x;
}

static vdm_matrix random_matrix(struct work *w, int64_t rows, int64_t cols, int64_t inputs, vdm_dtype dtype)
{
    int64_t count = rows * cols;
    float scale = 1.7f / sqrtf((float)inputs);
    vdm_matrix m = {.dtype = dtype, .rows = rows, .cols = cols};
    if (dtype == VDM_F32) {
        m.data = work_random(w, count, scale);
        return m;
    }
    uint16_t *x = work_take(w, count, sizeof *x);
    uint32_t seed = 1;
    m.data = x;
    if (!x) return m;
    for (int64_t i = 0; i < count && i < DRAWN; i++) x[i] = vdm_to_bf16(draw(&seed, scale));
    copy_drawn(x, count, sizeof *x);
    return m;
}

vdm_linear work_linear(struct work *w, int64_t out, int64_t in, vdm_dtype dtype)
{
    vdm_linear l = {random_matrix(w, out, in, in, dtype), work_random(w, out, 0.1f)};
    return l;
}

vdm_norm work_norm(struct work *w, int64_t n)
{
    float *gamma = work_random(w, n, 0.1f);
    for (int64_t i = 0; gamma && i < n; i++) gamma[i] += 1;
    vdm_norm norm = {gamma, work_random(w, n, 0.1f)};
    return norm;
}

vdm_conv work_conv(struct work *w, int out, int in, int kt, int k, vdm_dtype dtype)
{
    int64_t inputs = (int64_t)kt * k * k * in;
    vdm_conv c = {random_matrix(w, inputs, out, inputs, dtype), work_random(w, out, 0.1f), in, out, kt, k};
    return c;
}

/* ------------------------------------------------------------------------------------------------
 * The machine. n: threads (0 for all), precision */

static void prepare_peak(struct work *w, const int *n)
{
    if (n[0]) w->cpu.threads = n[0];
    w->cpu.precision = (vdm_precision)n[1];
}
static void run_peak(struct work *w)
{
    w->operations = w->cpu.kernels->peak(&w->cpu, PEAK_STEPS);
    w->absent = w->operations == 0;
}

struct stream {
    int64_t count;
    int pieces;
    float *x;      /* [3,count] */
    uint64_t *sum; /* [8 pieces] */
};

/* n: threads, thousands of elements in an array (0: STREAM) */
static void prepare_stream(struct work *w, const int *n)
{
    struct stream *s = w->state = work_take(w, 1, sizeof *s);
    prepare_peak(w, n);
    if (!s) return;
    s->count = n[1] ? n[1] * 1000 : STREAM;
    s->x = work_random(w, 3 * s->count, 1);
    s->pieces = w->cpu.threads;
    s->sum = work_take(w, 8 * s->pieces, sizeof *s->sum);
    w->bytes = 3.0 * sizeof(float) * (double)s->count;
}

/* An exclusive or is the cheapest use of the data; its result is stored, or the compiler would read nothing. */
static void read_words(const void *of, int piece, int thread)
{
    const struct stream *s = of;
    int64_t words = 3 * s->count / 2, first = words * piece / s->pieces,
            end = words * (piece + 1) / s->pieces;
    uint64_t sum = 0;
    (void)thread;
    for (int64_t i = first; i < end; i++) {
        uint64_t word;
        memcpy(&word, s->x + 2 * i, sizeof word);
        sum ^= word;
    }
    s->sum[8 * piece] = sum;
}
static void run_read(struct work *w)
{
    const struct stream *s = w->state;
    const vdm_loop loop = {.pieces = s->pieces, .run = read_words, .of = s};
    vdm_team_run(w->cpu.team, &loop);
}

static void run_triad(struct work *w)
{
    const struct stream *s = w->state;
    w->cpu.kernels->blend(&w->cpu, s->x, 1, s->x + s->count, 0.5f, s->x + 2 * s->count, s->count);
}

/* n: threads or 0, precision */
#define PEAK(name, what, precision)                                                              \
    {"peak." name ".1", what ", one thread", NO_LIMIT,      prepare_peak,                        \
     run_peak,          {1, precision},      {1, precision}},                                    \
    {                                                                                            \
        "peak." name, "the same, all threads", NO_LIMIT, prepare_peak, run_peak, {0, precision}, \
        {                                                                                        \
            0, precision                                                                         \
        }                                                                                        \
    }

const struct job machine_jobs[] = {
    PEAK("fma", "multiply-adds in registers, f32", VDM_PRECISION_F32),
    PEAK("bf16", "dot products of bf16 pairs in registers", VDM_PRECISION_BF16),
    PEAK("amx", "products of bf16 tiles in registers", VDM_PRECISION_AMX),
    {"memory.read.1", "reading 200 MB, one thread", NO_LIMIT, prepare_stream, run_read, {1}, {1, 40}},
    {"memory.read", "the same, all threads", NO_LIMIT, prepare_stream, run_read, {0}, {0, 40}},
    {"memory.triad.1",
     "y = x + z / 2, 67 MB each, one thread",
     NO_LIMIT,
     prepare_stream,
     run_triad,
     {1},
     {1, 40}},
    {"memory.triad", "the same, all threads", NO_LIMIT, prepare_stream, run_triad, {0}, {0, 40}},
    {0}};

/* ------------------------------------------------------------------------------------------------
 * Products: y [M,N] = x [M,K] W^T, several times, each with its own weights */

enum { MAX_DRAWN = 3 };
struct product {
    int64_t M, N, K;
    int times;
    float *x, *y; /* [M,K], [times,M,N]; x is written by the gradient of the input */
    vdm_linear w[MAX_DRAWN];
    float *dw; /* [N,K] */
};

/* n: M, N, K, times, 1 for weights of bf16 */
static void prepare_product(struct work *w, const int *n)
{
    struct product *p = w->state = work_take(w, 1, sizeof *p);
    if (!p) return;
    p->M = n[0], p->N = n[1], p->K = n[2], p->times = n[3];
    p->x = work_random(w, p->M * p->K, 1);
    p->y = work_random(w, p->times * p->M * p->N, 1);
    for (int i = 0; i < p->times; i++) p->w[i] = work_linear(w, p->N, p->K, n[4] ? VDM_BF16 : VDM_F32);
    w->operations = 2.0 * (double)p->M * (double)p->N * (double)p->K * p->times;
}
static void prepare_weight_gradient(struct work *w, const int *n)
{
    prepare_product(w, n);
    struct product *p = w->state;
    if (p) p->dw = work_floats(w, p->N * p->K);
}
static void run_forward(struct work *w)
{
    const struct product *p = w->state;
    for (int i = 0; i < p->times; i++) linear_forward(&w->cpu, p->y + i * p->M * p->N, p->x, &p->w[i], p->M);
}
static void run_input_gradient(struct work *w)
{
    const struct product *p = w->state;
    linear_backward_input(&w->cpu, p->x, p->y, &p->w[0], p->M, false);
}
static void run_weight_gradient(struct work *w)
{
    const struct product *p = w->state;
    linear_backward_weight(&w->cpu, p->dw, p->y, p->x, p->M, &p->w[0]);
}

/* ------------------------------------------------------------------------------------------------
 * Attention. n: B, A, S, Dh */

static void prepare_attention(struct work *w, const int *n)
{
    vdm_attention_args *a = w->state = work_take(w, 1, sizeof *a);
    if (!a) return;
    int64_t all = (int64_t)n[0] * n[1] * n[2] * n[3];
    *a = (vdm_attention_args){.B = n[0], .A = n[1], .S = n[2], .Dh = n[3]};
    a->q = work_random(w, all, 1), a->k = work_random(w, all, 1), a->v = work_random(w, all, 1);
    a->o = work_floats(w, all), a->lse = work_floats(w, (int64_t)n[0] * n[1] * n[2]);
    w->operations = 4.0 * (double)all * n[2]; /* two products */
}
static void run_attention(struct work *w)
{
    w->cpu.kernels->attention_forward(&w->cpu, w->state);
}
static void prepare_attention_backward(struct work *w, const int *n)
{
    prepare_attention(w, n);
    vdm_attention_args *a = w->state;
    if (!a) return;
    int64_t all = (int64_t)n[0] * n[1] * n[2] * n[3];
    a->d_o = work_random(w, all, 1);
    a->dq = work_floats(w, all), a->dk = work_floats(w, all), a->dv = work_floats(w, all);
    w->operations *= 2.5; /* five */
    if (!w->failed) run_attention(w);
}
static void run_attention_backward(struct work *w)
{
    w->cpu.kernels->attention_backward(&w->cpu, w->state);
}

/* ------------------------------------------------------------------------------------------------
 * Convolution of channels-last frames. n: T, H, W, in, out, kt, stride, 1 for weights of bf16 */

struct convolution {
    vdm_conv_args args;
    vdm_conv weight;
    const float *frames[16];
};

static void prepare_conv(struct work *w, const int *n)
{
    struct convolution *c = w->state = work_take(w, 1, sizeof *c);
    if (!c) return;
    int T = n[0], H = n[1], W = n[2], in = n[3], out = n[4], kt = n[5], stride = n[6];
    int64_t frame = (int64_t)H * W * in;
    const float *x = work_random(w, (kt - 1 + T) * frame, 1);
    for (int t = 0; x && t < kt - 1 + T; t++) c->frames[t] = x + t * frame;
    c->weight = work_conv(w, out, in, kt, 3, n[7] ? VDM_BF16 : VDM_F32);
    c->args = (vdm_conv_args){.frames = c->frames,
                              .T = T,
                              .H = H,
                              .W = W,
                              .Ho = H / stride,
                              .Wo = W / stride,
                              .stride = stride,
                              .pad = stride == 1,
                              .w = &c->weight};
    int64_t outputs = (int64_t)T * c->args.Ho * c->args.Wo * out;
    c->args.y = work_floats(w, outputs);
    if (vdm_is_winograd(&c->weight, stride, c->args.pad, c->args.Ho, c->args.Wo))
        c->args.transformed = work_floats(w, (int64_t)vdm_winograd_floats(kt, in, out));
    w->operations = 2.0 * (double)outputs * kt * 9 * in; /* of the sum as defined, also if fewer are done */
}
static void run_conv(struct work *w)
{
    const struct convolution *c = w->state;
    w->cpu.kernels->conv(&w->cpu, &c->args);
}

/* ------------------------------------------------------------------------------------------------
 * Kernels that work by row or elementwise. n: rows, D, heads, arrays that are read or written */

struct rows {
    vdm_rows r;
    int A, Dh;
    float *x, *y, *z;     /* [rows,D] */
    float *modulation;    /* [6D] */
    float *mean, *rstd;   /* [rows * A] */
    float *cosine, *sine; /* [rows,Dh/2] */
    vdm_norm norm;
};

static void prepare_rows(struct work *w, const int *n)
{
    struct rows *s = w->state = work_take(w, 1, sizeof *s);
    if (!s) return;
    int64_t rows = n[0], D = n[1], all = rows * D;
    s->r = (vdm_rows){1, n[0], n[0] / 6, D}; /* a sixth is text, as at 226 of 1,476 */
    s->A = n[2], s->Dh = n[1] / n[2];
    s->x = work_random(w, all, 1), s->y = work_random(w, all, 1), s->z = work_random(w, all, 1);
    s->modulation = work_random(w, 6 * D, 0.1f);
    s->mean = work_random(w, rows * s->A, 0.1f), s->rstd = work_random(w, rows * s->A, 1);
    s->cosine = work_floats(w, rows * s->Dh / 2), s->sine = work_floats(w, rows * s->Dh / 2);
    for (int64_t i = 0; s->sine && i < rows * s->Dh / 2; i++) /* works in place: lengths must not shrink */
        s->cosine[i] = 0.6f, s->sine[i] = 0.8f;
    s->norm = work_norm(w, D);
    w->bytes = n[3] * (double)sizeof(float) * (double)all;
}
static int64_t count_of(const struct rows *s)
{
    return (int64_t)s->r.S * s->r.D;
}

/* The same vectors for every video: stride 0 */
static vdm_modulation modulation_of(const struct rows *s)
{
    const float *m = s->modulation;
    int64_t D = s->r.D;
    vdm_modulation modulation = {.shift = m,
                                 .scale = m + D,
                                 .gate = m + 2 * D,
                                 .text_shift = m + 3 * D,
                                 .text_scale = m + 4 * D,
                                 .text_gate = m + 5 * D};
    return modulation;
}

static void run_layer_norm(struct work *w)
{
    const struct rows *s = w->state;
    vdm_norm_args n = {.rows = s->r,
                       .y = s->y,
                       .x = s->x,
                       .norm = &s->norm,
                       .modulation = modulation_of(s),
                       .eps = 1e-5f,
                       .mean = s->mean,
                       .rstd = s->rstd};
    w->cpu.kernels->layer_norm(&w->cpu, &n);
}
static void run_layer_norm_backward(struct work *w)
{
    const struct rows *s = w->state;
    vdm_norm_args n = {.rows = s->r,
                       .dx = s->y,
                       .dy = s->z,
                       .x = s->x,
                       .norm = &s->norm,
                       .modulation = modulation_of(s),
                       .mean = s->mean,
                       .rstd = s->rstd,
                       .add = true};
    w->cpu.kernels->layer_norm_backward(&w->cpu, &n);
}
static void run_head_norm(struct work *w)
{
    const struct rows *s = w->state;
    vdm_norm_args n = {.rows = {1, s->r.S * s->A, 0, s->Dh},
                       .y = s->y,
                       .x = s->x,
                       .norm = &s->norm,
                       .eps = 1e-6f,
                       .mean = s->mean,
                       .rstd = s->rstd};
    w->cpu.kernels->layer_norm(&w->cpu, &n);
}
static void run_rope(struct work *w)
{
    const struct rows *s = w->state;
    vdm_rope_args r = {
        .B = 1, .S = s->r.S, .A = s->A, .Dh = s->Dh, .x = s->x, .cos = s->cosine, .sin = s->sine, .sign = 1};
    w->cpu.kernels->rope(&w->cpu, &r);
}
static void run_gelu(struct work *w)
{
    const struct rows *s = w->state;
    w->cpu.kernels->gelu(&w->cpu, s->y, s->x, count_of(s));
}
static void run_gelu_backward(struct work *w)
{
    const struct rows *s = w->state;
    w->cpu.kernels->gelu_backward(&w->cpu, s->y, s->z, s->x, count_of(s));
}
static void run_silu(struct work *w)
{
    const struct rows *s = w->state;
    w->cpu.kernels->silu(&w->cpu, s->y, s->x, count_of(s));
}
static void run_exp(struct work *w)
{
    const struct rows *s = w->state;
    w->cpu.kernels->exp(&w->cpu, s->y, s->x, count_of(s));
}
static void run_gated_add(struct work *w)
{
    const struct rows *s = w->state;
    vdm_modulation m = modulation_of(s);
    w->cpu.kernels->gated_add(&w->cpu, s->y, s->y, s->x, &s->r, &m);
}
static void run_gate(struct work *w)
{
    const struct rows *s = w->state;
    vdm_modulation m = modulation_of(s);
    w->cpu.kernels->gate(&w->cpu, s->y, s->x, &s->r, &m);
}

/* Group norm over pixels. n: H, W, C, groups, 1 for the decoder's: modulated by the latent, 8 x 8 pixels each
 */
struct pixels {
    int64_t P;
    int C, groups;
    float *x, *y;        /* [P,C] */
    float *mean, *rstd;  /* [groups] */
    float *times, *plus; /* [H/8 W/8,C] */
    int32_t *index;      /* [P] */
    vdm_norm norm;
};

static void prepare_pixels(struct work *w, const int *n)
{
    struct pixels *s = w->state = work_take(w, 1, sizeof *s);
    if (!s) return;
    int H = n[0], W = n[1], h = (H + 7) / 8, wide = (W + 7) / 8;
    s->P = (int64_t)H * W, s->C = n[2], s->groups = n[3];
    s->x = work_random(w, s->P * s->C, 1), s->y = work_floats(w, s->P * s->C);
    s->mean = work_random(w, s->groups, 0.1f), s->rstd = work_random(w, s->groups, 1);
    s->norm = work_norm(w, s->C);
    if (n[4]) {
        s->times = work_random(w, (int64_t)h * wide * s->C, 1);
        s->plus = work_random(w, (int64_t)h * wide * s->C, 1);
        s->index = work_take(w, s->P, sizeof *s->index);
        for (int i = 0; s->index && i < s->P; i++) s->index[i] = i / W / 8 * wide + i % W / 8;
    }
    w->bytes = 2.0 * sizeof(float) * (double)s->P * s->C;
}
static void prepare_statistics(struct work *w, const int *n)
{
    prepare_pixels(w, n);
    w->bytes /= 2; /* nothing is written */
}
static void run_statistics(struct work *w)
{
    const struct pixels *s = w->state;
    w->cpu.kernels->group_norm_stats(&w->cpu, s->mean, s->rstd, s->x, s->P, s->C, s->groups, 1e-6f);
}
static void run_group_norm(struct work *w)
{
    const struct pixels *s = w->state;
    vdm_group_norm_args n = {.P = s->P,
                             .C = s->C,
                             .groups = s->groups,
                             .y = s->y,
                             .x = s->x,
                             .mean = s->mean,
                             .rstd = s->rstd,
                             .norm = &s->norm,
                             .times = s->times,
                             .plus = s->plus,
                             .index = s->index,
                             .silu = true};
    w->cpu.kernels->group_norm(&w->cpu, &n);
}

/* ------------------------------------------------------------------------------------------------
 * The table. Shapes of CogVideoX 1.5-5B at 1,250 video and 226 text tokens, of the published VAE at
 * 240 x 360, and of the embedded model (D = 256, 34 tokens, 16 videos). */

#define PRODUCT(name, what, M, N, K, times, bf16)                                        \
    {                                                                                    \
        "matmul." name, what, FMA, prepare_product, run_forward, {M, N, K, times, bf16}, \
        {                                                                                \
            40, 48, 32, times, bf16                                                      \
        }                                                                                \
    }
#define ATTENTION(name, what, B, A, S, Dh)                                                           \
    {"attention." name, what, FMA, prepare_attention, run_attention, {B, A, S, Dh}, {1, 2, 40, Dh}}, \
    {                                                                                                \
        "attention." name ".backward", what ", backward", FMA, prepare_attention_backward,           \
            run_attention_backward, {B, A, S, Dh},                                                   \
        {                                                                                            \
            1, 2, 40, Dh                                                                             \
        }                                                                                            \
    }
#define CONV(name, what, T, H, W, in, out, kt, stride)                                      \
    {                                                                                       \
        "conv." name, what, FMA, prepare_conv, run_conv, {T, H, W, in, out, kt, stride, 0}, \
        {                                                                                   \
            2, 8, 6, in < 16 ? in : 16, out < 16 ? out : 16, kt, stride, 0                  \
        }                                                                                   \
    }
#define ROWS(name, what, run, rows, D, heads, arrays)                    \
    {                                                                    \
        name, what, MEMORY, prepare_rows, run, {rows, D, heads, arrays}, \
        {                                                                \
            24, 64, 2, arrays                                            \
        }                                                                \
    }

const struct job kernel_jobs[] = {
    PRODUCT("qkv.f32", "3 x 1476x3072x3072 (M x N x K)", 1476, 3072, 3072, 3, 0),
    PRODUCT("out.f32", "1476x3072x3072", 1476, 3072, 3072, 1, 0),
    PRODUCT("up.f32", "1476x12288x3072", 1476, 12288, 3072, 1, 0),
    PRODUCT("down.f32", "1476x3072x12288", 1476, 3072, 12288, 1, 0),
    PRODUCT("qkv.bf16w", "3 x 1476x3072x3072, bf16 weights, computed in f32", 1476, 3072, 3072, 3, 1),
    PRODUCT("out.bf16w", "1476x3072x3072, bf16 weights, computed in f32", 1476, 3072, 3072, 1, 1),
    PRODUCT("up.bf16w", "1476x12288x3072, bf16 weights, computed in f32", 1476, 12288, 3072, 1, 1),
    PRODUCT("down.bf16w", "1476x3072x12288, bf16 weights, computed in f32", 1476, 3072, 12288, 1, 1),
    {"matmul.up.input",
     "gradient of the input of 'up', f32",
     FMA,
     prepare_product,
     run_input_gradient,
     {1476, 12288, 3072, 1, 0},
     {40, 48, 32, 1, 0}},
    {"matmul.up.input.bf16w",
     "the same, bf16 weights",
     FMA,
     prepare_product,
     run_input_gradient,
     {1476, 12288, 3072, 1, 1},
     {40, 48, 32, 1, 1}},
    PRODUCT("lora.a", "1476x64x3072: x A^T at rank 64", 1476, 64, 3072, 1, 0),
    PRODUCT("lora.b", "1476x3072x64: (x A^T) B^T", 1476, 3072, 64, 1, 0),
    {"matmul.lora.a.weight",
     "gradient of A, f32",
     FMA,
     prepare_weight_gradient,
     run_weight_gradient,
     {1476, 64, 3072, 1, 0},
     {40, 16, 32, 1, 0}},
    {"matmul.lora.b.weight",
     "gradient of B, f32",
     FMA,
     prepare_weight_gradient,
     run_weight_gradient,
     {1476, 3072, 64, 1, 0},
     {40, 32, 16, 1, 0}},
    PRODUCT("small.f32", "544x256x256: the embedded model, 16 videos", 544, 256, 256, 1, 0),
    PRODUCT("small.bf16w", "544x256x256, bf16 weights", 544, 256, 256, 1, 1),
    PRODUCT("smallest.bf16w", "34x256x256, bf16 weights: one video", 34, 256, 256, 1, 1),
    ATTENTION("1476", "48 heads x 64, 1,476 tokens", 1, 48, 1476, 64),
    ATTENTION("2926", "48 heads x 64, 2,926 tokens", 1, 48, 2926, 64),
    ATTENTION("small", "16 videos, 4 heads x 64, 34 tokens", 16, 4, 34, 64),
    CONV("in", "3x3x3, 3 to 128 channels, 2 x 240x360", 2, 240, 360, 3, 128, 3, 1),
    CONV("128", "3x3x3, 128 channels, 2 x 240x360", 2, 240, 360, 128, 128, 3, 1),
    CONV("256", "3x3x3, 256 channels, 2 x 120x180", 2, 120, 180, 256, 256, 3, 1),
    CONV("512", "3x3x3, 512 channels, 3 x 30x45", 3, 30, 45, 512, 512, 3, 1),
    CONV("out", "3x3x3, 128 to 3 channels, 2 x 240x360", 2, 240, 360, 128, 3, 3, 1),
    CONV("stride", "3x3, 128 channels, stride 2, 2 x 240x360", 2, 240, 360, 128, 128, 1, 2),
    CONV("small", "3x3x3, 32 channels, 9 x 32x32: the embedded VAE", 9, 32, 32, 32, 32, 3, 1),
    ROWS("norm.layer", "modulated layer norm, 1476x3072", run_layer_norm, 1476, 3072, 48, 2),
    ROWS("norm.layer.backward", "its gradient", run_layer_norm_backward, 1476, 3072, 48, 4),
    ROWS("norm.heads", "layer norm of 48 heads x 64, 1,476 rows", run_head_norm, 1476, 3072, 48, 2),
    {"norm.group.statistics",
     "group norm's, 240x360 x 128",
     MEMORY,
     prepare_statistics,
     run_statistics,
     {240, 360, 128, 32, 0},
     {16, 8, 16, 4, 0}},
    {"norm.group",
     "group norm and silu, 240x360 x 128",
     MEMORY,
     prepare_pixels,
     run_group_norm,
     {240, 360, 128, 32, 0},
     {16, 8, 16, 4, 0}},
    {"norm.group.spatial",
     "the decoder's: modulated by the latent",
     MEMORY,
     prepare_pixels,
     run_group_norm,
     {240, 360, 128, 32, 1},
     {16, 8, 16, 4, 1}},
    ROWS("pointwise.rope", "rotation of 1476x3072", run_rope, 1476, 3072, 48, 2),
    ROWS("pointwise.gelu", "1476x12288", run_gelu, 1476, 12288, 48, 2),
    ROWS("pointwise.gelu.backward", "1476x12288", run_gelu_backward, 1476, 12288, 48, 3),
    ROWS("pointwise.silu", "1476x3072", run_silu, 1476, 3072, 48, 2),
    ROWS("pointwise.gated_add", "1476x3072", run_gated_add, 1476, 3072, 48, 3),
    ROWS("pointwise.gate", "1476x3072", run_gate, 1476, 3072, 48, 2),
    ROWS("pointwise.exp", "1476x3072", run_exp, 1476, 3072, 48, 2),
    {0}};

/* Only attention, at the lengths of growth_jobs (bench_models.c): its share of a block. */
#define GROWTH(S)                                                                                       \
    {                                                                                                   \
        "growth.attention." #S, "only attention, " #S " tokens", FMA, prepare_attention, run_attention, \
            {1, 48, S, 64},                                                                             \
        {                                                                                               \
            1, 2, 40, 64                                                                                \
        }                                                                                               \
    }
const struct job growth_attention_jobs[] = {GROWTH(256),  GROWTH(512),  GROWTH(1024), GROWTH(2046),
                                            GROWTH(4096), GROWTH(8182), {0}};
