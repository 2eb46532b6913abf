/* How often vdm compare is right. The test plants mistakes in goldens, one at a time: in a tensor, and as noise in all
 * tensors that are computed after it. It counts the right first tensors and the right causes.
 *
 *   known    mistakes whose cause vdm compare knows, made here from the golden's other tensors: it has to name the cause
 *   foreign  mistakes whose cause it doesn't know: it has to name none
 *
 * MISTAKES=all makes every foreign mistake in every tensor (minutes). */
#include "program.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT = 5, WIDTH = 64, HEADS = 4, HEAD = 16, IN_FRAME = 6, TENSORS = 400 };

static vdm_error err;
static vdm_safetensors weights, vae_weights; /* of m */

/* A golden, and its tensors with 1 % of noise; words: the options that make it */
struct golden {
    const char *file, *model, *words;
    vdm_safetensors f;
    vdm_tensor noisy[TENSORS];
};
enum { TRANSFORMER, TRAIN, ENCODE, DECODE, SAMPLE, POSITIONS, GOLDENS };
static struct golden goldens[GOLDENS] = {
    {.file = "t.g", .model = "m", .words = "--batch 2 --size 32x48 --lora @/adapter"},
    {.file = "r.g", .model = "m", .words = "--what train --batch 2 --size 32x48"},
    {.file = "e.g", .model = "m", .words = "--what vae-encode --size 16x32"},
    {.file = "d.g", .model = "m", .words = "--what vae-decode --size 16x32"},
    {.file = "s.g", .model = "m", .words = "--what sample --sample-steps 2 --size 32x48"},
    {.file = "p.g", .model = "2b", .words = "--batch 2 --size 32x48"},
};

/* A mistake to be planted: to [n] is computed from r [n], the tensor as in the golden. */
typedef struct plant {
    const struct golden *g;
    const vdm_tensor *t;
    const float *r;
    float *to;
    int64_t n, rows, cols; /* the last two axes */
    int block;             /* in the tensor's name */
    char inner[128];       /* the rest of the name, after the block */
} plant;

static struct {
    int known, named, other, unnamed; /* known: the right cause, another one, none */
    int foreign, quiet, loud;         /* foreign: no cause, a wrong one */
    int first, without; /* right first tensors; mistakes without an effect, which are left out */
} count;
static bool swapped, reversed; /* what was planted last is another order of the batch, of an axis */

static const float *tensor(const plant *p, const char *name)
{
    const vdm_tensor *t = vdm_safetensors_find(&p->g->f, name);
    return t || CHECK(t != NULL, "no tensor '%s'", name) ? t->data : p->r;
}

/* A tensor of the same block. */
static const float *near(const plant *p, const char *name)
{
    char full[192];
    snprintf(full, sizeof full, "transformer_blocks.%d.%s", p->block, name);
    return tensor(p, full);
}

/* ------------------------------------------------------------------------------------------------
 * Known mistakes of any tensor */

static void make_nan(plant *p, int which)
{
    p->to[p->n / 2] = which ? (float)INFINITY : (float)NAN;
}

static void make_factor(plant *p, int which)
{
    static const double factors[] = {-1, 0.7, 1 / 0.7, 0.49, 1 / 0.49, 0, 4, 0.25, 2, 0.5, 0.001};
    for (int64_t i = 0; i < p->n; i++) p->to[i] = (float)(factors[which] * (double)p->r[i]);
}

/* The adapter's alpha / rank */
static void make_scaled(plant *p, int which)
{
    (void)which;
    for (int64_t i = 0; i < p->n; i++) p->to[i] = 1.5f * p->r[i];
}

/* Fewer bits of the mantissa, rounded to the nearest. */
static void make_rounded(plant *p, int bits)
{
    for (int64_t i = 0; i < p->n; i++) {
        uint32_t u;
        memcpy(&u, &p->r[i], sizeof u);
        u = (u + (1u << (bits - 1))) & ~((1u << bits) - 1);
        memcpy(&p->to[i], &u, sizeof u);
    }
}

/* A mistake of 2 %, then rounded: rounding is not all. */
static void make_wrong_and_rounded(plant *p, int bits)
{
    float *right = vdm_alloc((size_t)p->n, sizeof *right, "a tensor", &err);
    plant wrong = *p;
    if (!CHECK(right != NULL, "%s", err.text)) return;
    for (int64_t i = 0; i < p->n; i++) right[i] = p->r[i] * (i % 3 ? 1.02f : 1);
    wrong.r = right;
    make_rounded(&wrong, bits);
    vdm_free(right);
}

static void make_transposed(plant *p, int which)
{
    (void)which;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t at = i % (p->rows * p->cols);
        p->to[i] = p->r[i - at + at % p->rows * p->cols + at / p->rows];
    }
}

/* which 1 (foreign): one row further */
static void make_video_first(plant *p, int which)
{
    int64_t S = p->t->shape[1], D = p->n / p->t->shape[0] / S;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t row = i / D % S;
        p->to[i] = p->r[i + ((row + TEXT + which) % S - row) * D];
    }
}

/* Another chunk of the same norm, or another tensor of the same size. */
static void make_other(plant *p, int which)
{
    static const char *const names[] = {"norm1.scale", "norm2.gate", "norm1.enc_gate", "attn1.to_v",
                                        "norm1",       "h1",         "norm2.norm"};
    memcpy(p->to, near(p, names[which]), (size_t)p->n * sizeof *p->to);
}

/* ------------------------------------------------------------------------------------------------
 * Known mistakes of the timestep and of activations */

/* which 0: sin and cos exchanged, 1: alternating, 2: t / 1000, 3: t + 1, 4: t - 1, 5: over half - 1; in f32, as a port
 * computes it with libm's expf; from 10 on in double */
static void make_sinusoid(plant *p, int which)
{
    int64_t width = p->cols, half = width / 2;
    const float *t = tensor(p, strncmp(p->t->name, "ofs", 3) == 0 ? "ofs" : "t");
    int kind = which % 10;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t j = i % width;
        double at = (double)t[i / width] * (kind == 2 ? 1e-3 : 1) + (kind == 3 ? 1 : kind == 4 ? -1 : 0);
        double exponent = -log(1e4) * (double)(j % half) / ((double)half - (kind == 5));
        double angle = which < 10 ? (double)((float)at * expf((float)exponent)) : at * exp(exponent);
        if (kind > 1) p->to[i] = (float)(j < half ? cos(angle) : sin(angle));
        if (kind == 0) p->to[i] = p->r[i - j + (j + half) % width];
        if (kind == 1) p->to[i] = p->r[i - j + j % 2 * half + j / 2];
    }
}

static const float *activated(const plant *p)
{
    if (strstr(p->t->name, "ff.net.0")) return near(p, "ff.net.0.proj");
    return tensor(p,
                  strncmp(p->t->name, "ofs", 3) == 0 ? "ofs_embedding.linear_1" : "time_embedding.linear_1");
}

/* which 0: none, 1: ReLU, 2: SiLU, 3: x sigmoid(1.702 x), 4: exact GELU */
static void make_activation(plant *p, int which)
{
    const float *x = activated(p);
    for (int64_t i = 0; i < p->n; i++) {
        double v = (double)x[i];
        const double results[] = {v, v > 0 ? v : 0, v / (1 + exp(-v)), v / (1 + exp(-1.702 * v)),
                                  v * 0.5 * erfc(-v * sqrt(0.5))};
        p->to[i] = (float)results[which];
    }
}

/* ------------------------------------------------------------------------------------------------
 * Known mistakes of norms, modulation and residuals */

/* gamma or beta of the norm that computes the tensor */
static const float *norm_weight(const plant *p, const char *which)
{
    char name[192];
    snprintf(name, sizeof name, "%s.%s", p->t->name, which);
    const vdm_tensor *t = vdm_safetensors_find(&weights, name);
    return CHECK(t && t->dtype == VDM_F32, "no weight '%s'", name) ? t->data : p->r;
}

static const float *norm_input(const plant *p)
{
    char name[192];
    if (strstr(p->t->name, "norm_q")) return near(p, "attn1.to_q");
    if (strstr(p->t->name, "norm_k")) return near(p, "attn1.to_k");
    if (strcmp(p->t->name, "norm_out.norm") == 0) return tensor(p, "norm_final");
    if (strcmp(p->inner, "norm2.norm") == 0) return near(p, "h1");
    snprintf(name, sizeof name, "transformer_blocks.%d", p->block - 1);
    return tensor(p, p->block ? name : "patch_embed");
}

/* which 0: eps 1e-3, 1: no mean, 2: variance over n - 1, 3: forgotten */
static void make_norm(plant *p, int which)
{
    const float *x = norm_input(p), *gamma = norm_weight(p, "weight"), *beta = norm_weight(p, "bias");
    int64_t width = p->cols;
    double eps = which == 0 ? 1e-3 : p->cols == HEAD ? 1e-6 : 1e-5;
    for (int64_t at = 0; at < p->n; at += width) {
        double mean = 0, squares = 0, n = (double)width;
        for (int64_t i = 0; i < width; i++) mean += (double)x[at + i] / n;
        if (which == 1) mean = 0;
        for (int64_t i = 0; i < width; i++) squares += pow((double)x[at + i] - mean, 2);
        double rstd = 1 / sqrt(squares / (which == 2 ? n - 1 : n) + eps);
        for (int64_t i = 0; i < width; i++)
            p->to[at + i] = (float)(((double)x[at + i] - mean) * rstd * (double)gamma[i] + (double)beta[i]);
        if (which == 3) memcpy(p->to + at, x + at, (size_t)width * sizeof *x);
    }
}

/* norm (one + scale) + shift, with the vectors of these names for the text and for the video */
struct modulation {
    const char *scale[2], *shift[2];
    float one;
};
static const struct modulation modulations[] = {
    {{NULL, NULL}, {NULL, NULL}, 1},
    {{"enc_scale", "scale"}, {NULL, NULL}, 1},
    {{NULL, NULL}, {"enc_shift", "shift"}, 1},
    {{"enc_scale", "scale"}, {"enc_shift", "shift"}, 0},
    {{"enc_shift", "shift"}, {"enc_scale", "scale"}, 1},
    {{"scale", "enc_scale"}, {"shift", "enc_shift"}, 1},
    {{"scale", "scale"}, {"shift", "shift"}, 1},
    {{"enc_scale", "shift"}, {"enc_shift", "scale"}, 1},
    {{"enc_shift", "scale"}, {"enc_scale", "shift"}, 1}, /* foreign: only in the text's rows */
};

static const float *vector(const plant *p, const char *name)
{
    char full[192];
    snprintf(full, sizeof full, "%s.%s", p->t->name, name);
    return tensor(p, full);
}

static void make_modulation(plant *p, int which)
{
    const struct modulation *m = &modulations[which];
    bool head = strcmp(p->t->name, "norm_out") == 0;
    const float *norm = vector(p, "norm");
    for (int64_t i = 0; i < p->n; i++) {
        int video = head || i / WIDTH % p->t->shape[1] >= TEXT;
        int64_t at = i / (WIDTH * p->t->shape[1]) * WIDTH + i % WIDTH;
        float scale = m->scale[video] ? vector(p, m->scale[video])[at] : 0;
        float shift = m->shift[video] ? vector(p, m->shift[video])[at] : 0;
        p->to[i] = norm[i] * (m->one + scale) + shift;
    }
}

/* h + gate y. which 0: no gate, 1: no h, 2: no y, 3: gates exchanged, 4: those of the other norm,
 * 5 (foreign): h added twice, 6 (foreign): the text without its part */
static void make_residual(plant *p, int which)
{
    bool first = strcmp(p->inner, "h1") == 0;
    char name[64];
    snprintf(name, sizeof name, "transformer_blocks.%d", p->block - 1);
    const float *h = first ? tensor(p, p->block ? name : "patch_embed") : near(p, "h1");
    const float *y = near(p, first ? "attn1.to_out.0" : "ff");
    const char *norm = first == (which != 4) ? "norm1" : "norm2";
    for (int64_t i = 0; i < p->n; i++) {
        bool video = i / WIDTH % p->t->shape[1] >= TEXT;
        snprintf(name, sizeof name, "%s.%s", norm, video == (which != 3) ? "gate" : "enc_gate");
        float gate = near(p, name)[i / (WIDTH * p->t->shape[1]) * WIDTH + i % WIDTH];
        if (which == 0) gate = 1;
        if (which == 2 || (which == 6 && !video)) gate = 0;
        p->to[i] = (which == 1 ? 0 : which == 5 ? 2 : 1) * h[i] + gate * y[i];
    }
}

/* ------------------------------------------------------------------------------------------------
 * Known mistakes of attention and adapters */

/* which 0: halves, 1: backwards, 2: sin and cos exchanged, 3: the text too, 4: forgotten, 5: rows for columns;
 * foreign: 6 twice the angle, 7 the first head only */
static void make_rotation(plant *p, int which)
{
    const float *x = near(p, strstr(p->t->name, "rope_q") ? "attn1.norm_q" : "attn1.norm_k");
    const float *cosine = tensor(p, "rope.cos"), *sine = tensor(p, "rope.sin");
    int64_t S = p->t->shape[1], half = HEAD / 2;
    memcpy(p->to, x, (size_t)p->n * sizeof *x);
    for (int64_t i = 0; i < p->n / HEAD && which != 4; i++) {
        int64_t place = i / HEADS % S - (which == 3 ? 0 : TEXT);
        if (place < 0 || place >= S - TEXT || (which == 7 && i % HEADS)) continue;
        for (int64_t j = 0; j < half; j++) {
            static const int exchanged[] = {0, 1, 5, 6, 7, 2, 3, 4};
            int64_t at = place * half + (which == 5 ? exchanged[j] : j), a = i * HEAD + 2 * j, b = a + 1;
            float c = cosine[at], s = sine[at];
            if (which == 0) a = i * HEAD + j, b = a + half;
            if (which == 1) s = -s;
            if (which == 2) c = sine[at], s = cosine[at];
            if (which == 6) c = cosine[at] * cosine[at] - sine[at] * sine[at], s = 2 * sine[at] * cosine[at];
            p->to[a] = x[a] * c - x[b] * s;
            p->to[b] = x[b] * c + x[a] * s;
        }
    }
}

/* which 0: no 1/sqrt(Dh), 1: 1/Dh, 2: causal, 3: no text, 4: the video does not see the text, 5: before the rotation,
 * 6: before the norm, 7: q and k exchanged, 8: 1/sqrt(D); foreign: 9 the first key is masked, 10 1.1/sqrt(Dh) */
static bool sees(int which, int64_t query, int64_t key)
{
    if (which == 2) return key <= query;
    if (which == 3) return key >= TEXT;
    if (which == 4) return query < TEXT || key >= TEXT;
    return which != 9 || key > 0;
}

static void attend(plant *p, int which, const float *q, const float *k, int64_t at)
{
    static const double scales[] = {1, 1. / 16, .25, .25, .25, .25, .25, .25, .125, .25, .275};
    const float *v = near(p, "attn1.to_v");
    int64_t S = p->t->shape[1], start = at / (S * WIDTH) * S * WIDTH, query = at / WIDTH % S,
            head = at % WIDTH;
    double sum = 0, o[HEAD] = {0};
    for (int64_t key = 0; key < S; key++) {
        double score = 0;
        const int64_t there = start + key * WIDTH + head;
        for (int i = 0; i < HEAD; i++) score += (double)q[at + i] * (double)k[there + i];
        double weight = sees(which, query, key) ? exp(score * scales[which]) : 0;
        sum += weight;
        for (int i = 0; i < HEAD; i++) o[i] += weight * (double)v[there + i];
    }
    for (int i = 0; i < HEAD; i++) p->to[at + i] = (float)(o[i] / sum);
}

static void make_attention(plant *p, int which)
{
    const char *const names[2][2] = {{"attn1.rope_q", "attn1.rope_k"}, {"attn1.norm_q", "attn1.norm_k"}};
    const float *q = near(p, names[which == 5][0]), *k = near(p, names[which == 5][1]);
    if (which == 6) q = near(p, "attn1.to_q"), k = near(p, "attn1.to_k");
    if (which == 7) q = near(p, "attn1.rope_k"), k = near(p, "attn1.rope_q");
    for (int64_t at = 0; at < p->n; at += HEAD) attend(p, which, q, k, at);
}

/* The part of the adapter (rank 4, alpha 6; in training alpha 8) times a factor; foreign: 7 and 8 */
static void make_adapter(plant *p, int which)
{
    static const double times[] = {0, 1 / 1.5, 4, 1.5, 2, -1, 1. / 6, 1.1, 3, 0.5};
    const float *base = vector(p, "base_layer");
    for (int64_t i = 0; i < p->n; i++)
        p->to[i] = (float)((double)base[i] + times[which] * ((double)p->r[i] - (double)base[i]));
}

/* which 0: forgotten, 1: added twice */
static void make_positions(plant *p, int which)
{
    int64_t S = p->t->shape[1], V = S - TEXT;
    const float *text = tensor(p, "patch_embed.text_proj"), *video = tensor(p, "patch_embed.proj");
    for (int64_t i = 0; i < p->n; i++) {
        int64_t b = i / (S * WIDTH), row = i / WIDTH % S, c = i % WIDTH;
        float x = row < TEXT ? text[(b * TEXT + row) * WIDTH + c] : video[(b * V + row - TEXT) * WIDTH + c];
        p->to[i] = which ? 2 * p->r[i] - x : x;
    }
}

/* ------------------------------------------------------------------------------------------------
 * Known mistakes of the first update of training, of orders, of weights */

/* The name after its prefix and the kind, "step.1.adapter." */
static const char *matrix_of(const plant *p)
{
    return strstr(p->t->name, "transformer_blocks.");
}

static double number_of(const plant *p, const char *name)
{
    const char *text = vdm_safetensors_metadata(&p->g->f, name);
    return CHECK(text != NULL, "no metadata '%s'", name) ? strtod(text, NULL) : 0;
}

/* One element after the update: g is its gradient, not clipped. which 0: not clipped, 1: clipped by its own norm, 2: no
 * decay, 3: L2, 4: no correction of the bias, 5: eps in the root, 6: beta2 0.999, 7: the decay without lr; foreign:
 * 8 beta1 0.8, 9 lr 1.5 times as large, 10 half clipped, 11 the decay of the gradient's sign */
static double updated(const plant *p, double x, double g, double own, int which)
{
    const double norm = (double)*tensor(p, "step.1.grad_norm"), clip = number_of(p, "clip"), lr = 1e-4,
                 eps = 1e-8, beta1 = which == 8 ? 0.8 : 0.9, beta2 = which == 6 ? 0.999 : 0.95;
    double decay = number_of(p, "weight_decay"), clipped = fmin(1, clip / (norm + 1e-6));
    if (which == 0) clipped = 1;
    if (which == 1) clipped = fmin(1, clip / (own + 1e-6));
    if (which == 10) clipped *= 2;
    g = g * clipped + (which == 3 ? decay * x : 0);
    double m = (1 - beta1) * g, v = (1 - beta2) * g * g;
    if (strstr(p->t->name, "adamw.m.")) return m;
    if (strstr(p->t->name, "adamw.v.")) return v;
    double first = which == 4 ? m : m / (1 - 0.9), second = which == 4 ? v : v / (1 - beta2);
    double root = which == 5 ? sqrt(second + eps) : sqrt(second) + eps;
    double kept = which == 2 || which == 3 ? x : x * (1 - (which == 7 ? 1 : lr) * decay);
    if (which == 11) kept = x - lr * decay * (g > 0 ? fabs(x) : -fabs(x));
    return kept - lr * (which == 9 ? 1.5 : 1) * first / root;
}

static void make_update(plant *p, int which)
{
    char name[192];
    snprintf(name, sizeof name, "step.1.grad.%s", matrix_of(p));
    const float *g = tensor(p, name);
    snprintf(name, sizeof name, "adapter.%s", matrix_of(p));
    const float *x = tensor(p, name);
    double own = 0;
    for (int64_t i = 0; i < p->n; i++) own += (double)g[i] * (double)g[i];
    for (int64_t i = 0; i < p->n; i++)
        p->to[i] = (float)updated(p, (double)x[i], (double)g[i], sqrt(own), which);
}

/* which 0: the two entries of the batch exchanged; foreign: 1 the first one twice */
static void make_batch(plant *p, int which)
{
    int64_t half = p->n / 2;
    for (int64_t i = 0; i < p->n; i++) p->to[i] = p->r[which ? i % half : (i + half) % p->n];
}

/* Axis `which` reversed; 10: the frames of the tokens [V,..], 11: of [B,V,..], 12: of patches [B,V,C 2 2 2] and in them;
 * foreign: 20 + axis: rolled by one */
static void make_frames(plant *p, int which)
{
    int64_t inner = 1, F;
    const int64_t *shape = p->t->shape;
    int axis = which % 20 < 10 ? which % 20 : which > 10;
    for (int i = axis + 1; i < p->t->rank; i++) inner *= shape[i];
    F = shape[axis];
    if (which % 20 >= 10) F /= IN_FRAME, inner *= IN_FRAME;
    for (int64_t i = 0; i < p->n; i++) {
        int64_t frame = i / inner % F, other = which >= 20 ? (frame + 1) % F : F - 1 - frame,
                time = i / 4 % 2; /* in a patch */
        p->to[i] = p->r[i + (other - frame) * inner + (which == 12 ? (1 - 2 * time) * 4 : 0)];
    }
}

/* The weight of the layer that computes the tensor, [width] or [width,width] */
static const float *layer_weight(const plant *p, const char *which)
{
    static const char *const inner[] = {"", ".conv", ".linear_2", ".net.2"};
    bool vae = strncmp(p->t->name, "encoder.", 8) == 0 || strncmp(p->t->name, "decoder.", 8) == 0;
    const char *base = strstr(p->t->name, ".base_layer");
    const vdm_tensor *t = NULL;
    char name[192];
    for (int i = 0; i < 4 && !t; i++) {
        snprintf(name, sizeof name, "%.*s%s.%s", (int)(base ? base - p->t->name : (long)strlen(p->t->name)),
                 p->t->name, inner[i], which);
        t = vdm_safetensors_find(vae ? &vae_weights : &weights, name);
    }
    bool right = t && t->dtype == VDM_F32 && t->shape[0] == p->cols;
    return CHECK(right, "no %s of '%s'", which, p->t->name) ? t->data : p->r;
}

/* which 0: not added, 1: twice; foreign: 2 half of it */
static void make_bias(plant *p, int which)
{
    static const float times[] = {-1, 1, -0.5f};
    const float *bias = layer_weight(p, "bias");
    for (int64_t i = 0; i < p->n; i++) p->to[i] = p->r[i] + times[which] * bias[i % p->cols];
}

/* x W, expected x W^T. which 0: of norm1, 1: of the attention, 2: of the embedding; foreign: 3 of norm1, W reversed */
static void make_matrix(plant *p, int which)
{
    const float *W = layer_weight(p, "weight"), *bias = layer_weight(p, "bias"), *base = NULL;
    const float *x = which == 2   ? tensor(p, "time_embedding.act")
                     : which == 1 ? near(p, "attn1.attention")
                                  : near(p, "norm1");
    int64_t D = p->cols;
    if (which < 2 && !strstr(p->t->name, "base_layer")) base = vector(p, "base_layer");
    for (int64_t i = 0; i < p->n; i++) {
        int64_t row = i - i % D, o = i % D;
        double y = (double)bias[o] + (base ? (double)p->r[i] - (double)base[i] : 0);
        for (int64_t k = 0; k < D; k++)
            y += (double)x[row + k] * (double)(which == 3 ? W[(D - 1 - o) * D + k] : W[k * D + o]);
        p->to[i] = (float)y;
    }
}

/* ------------------------------------------------------------------------------------------------
 * The known mistakes: blocks 0 and 1 replace %d */

typedef void maker(plant *p, int which);

static const struct {
    int golden;
    const char *name;
    maker *make;
    int which;
    const char *words;
} known[] = {
    {TRANSFORMER, "transformer_blocks.%d.norm1", make_nan, 0, "NaN or Inf"},
    {SAMPLE, "latents.1", make_nan, 1, "NaN or Inf"},
    {DECODE, "decoder.conv_in", make_nan, 0, "NaN or Inf"},
    {TRANSFORMER, "transformer_blocks.%d.ff", make_factor, 0, "the sign is flipped"},
    {TRANSFORMER, "proj_out", make_factor, 0, "the sign is flipped"},
    {TRAIN, "step.1.grad.v", make_factor, 0, "the sign is flipped"},
    {ENCODE, "encoder.conv_in", make_factor, 0, "the sign is flipped"},
    {SAMPLE, "velocity.1", make_factor, 0, "the sign is flipped"},
    {SAMPLE, "image_latents", make_factor, 1, "multiplied by the scaling factor once too often"},
    {SAMPLE, "image_latents", make_factor, 2, "divided by the scaling factor"},
    {SAMPLE, "image_latents", make_factor, 3, "the reference divides"},
    {SAMPLE, "image_latents", make_factor, 4, "the reference multiplies"},
    {DECODE, "latents", make_factor, 2, "divided by the scaling factor"},
    {ENCODE, "moments", make_factor, 1, "multiplied by the scaling factor"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.norm_q", make_factor, 6, "a factor 1/sqrt(Dh) is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_k", make_factor, 7, "one factor 1/sqrt(Dh) too many"},
    {TRAIN, "step.1.grad.transformer_blocks.%d.attn1.to_q.lora_B.weight", make_factor, 8,
     "alpha / rank is applied twice"},
    {TRAIN, "step.1.grad.transformer_blocks.%d.attn1.to_v.lora_B.weight", make_factor, 9,
     "alpha / rank is forgotten"},
    {TRAIN, "step.1.grad.v", make_factor, 8, "2: summed over the batch, expected the mean"},
    {TRAIN, "step.1.grad.v", make_factor, 9, "of half the mean squared error"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_q.lora_A", make_scaled, 0, "alpha / rank is in it"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_factor, 5, "nothing but zeros"},
    {TRAIN, "step.1.target", make_factor, 5, "nothing but zeros"},
    {TRANSFORMER, "t", make_factor, 10, "t runs from 0 to 1"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_v", make_rounded, 16, "bf16-rounded"},
    {TRANSFORMER, "patch_embed", make_rounded, 16, "bf16-rounded"},
    {DECODE, "decoder.conv_in", make_rounded, 16, "bf16-rounded"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_k", make_rounded, 13, "f16 or TF32-rounded"},
    {SAMPLE, "velocity.2", make_rounded, 13, "f16 or TF32-rounded"},
    {TRANSFORMER, "transformer_blocks.%d.ff.net.0.proj", make_transposed, 0, "transposed"},
    {TRANSFORMER, "text", make_transposed, 0, "transposed"},
    {TRANSFORMER, "rope.cos", make_transposed, 0, "transposed"},
    {TRAIN, "step.1.grad.transformer_blocks.%d.attn1.to_k.lora_A.weight", make_transposed, 0, "transposed"},
    {ENCODE, "moments", make_transposed, 0, "transposed"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_q", make_video_first, 0, "video's rows come first"},
    {TRANSFORMER, "transformer_blocks.%d.norm2.norm", make_video_first, 0, "video's rows come first"},
    {TRANSFORMER, "patch_embed", make_video_first, 0, "video's rows come first"},
    {TRANSFORMER, "transformer_blocks.%d.norm1.shift", make_other, 0, "is the reference's scale"},
    {TRANSFORMER, "transformer_blocks.%d.norm1.gate", make_other, 2, "is the reference's enc_gate"},
    {TRANSFORMER, "transformer_blocks.%d.norm2.enc_shift", make_other, 1, "is the reference's gate"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_k", make_other, 3, "to_v"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_out.0", make_other, 4, "it is the reference's"},
    {TRANSFORMER, "transformer_blocks.%d.ff", make_other, 6, "norm2.norm"},
    {TRANSFORMER, "time_proj", make_sinusoid, 0, "sin/cos swapped"},
    {TRANSFORMER, "time_proj", make_sinusoid, 1, "cosines and sines alternate"},
    {TRANSFORMER, "time_proj", make_sinusoid, 2, "of t / 1000"},
    {TRANSFORMER, "time_proj", make_sinusoid, 3, "of t + 1"},
    {TRANSFORMER, "time_proj", make_sinusoid, 4, "of t - 1"},
    {TRANSFORMER, "time_proj", make_sinusoid, 5, "half - 1"},
    {TRANSFORMER, "time_proj", make_sinusoid, 13, "of t + 1"},
    {TRANSFORMER, "time_proj", make_sinusoid, 15, "half - 1"},
    {TRANSFORMER, "ofs_proj", make_sinusoid, 0, "sin/cos swapped"},
    {TRANSFORMER, "ofs_proj", make_sinusoid, 5, "half - 1"},
    {TRANSFORMER, "transformer_blocks.%d.ff.net.0", make_activation, 0, "the activation is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.ff.net.0", make_activation, 1, "ReLU"},
    {TRANSFORMER, "transformer_blocks.%d.ff.net.0", make_activation, 2, "silu"},
    {TRANSFORMER, "transformer_blocks.%d.ff.net.0", make_activation, 3, "x sigmoid(1.702 x)"},
    {TRANSFORMER, "transformer_blocks.%d.ff.net.0", make_activation, 4, "exact GELU"},
    {TRANSFORMER, "time_embedding.act", make_activation, 0, "the activation is forgotten"},
    {TRANSFORMER, "time_embedding.act", make_activation, 1, "ReLU"},
    {TRANSFORMER, "time_embedding.act", make_activation, 4, "exact GELU"},
    {TRANSFORMER, "ofs_embedding.act", make_activation, 0, "the activation is forgotten"},
    {TRANSFORMER, "ofs_embedding.act", make_activation, 3, "x sigmoid(1.702 x)"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.norm_q", make_norm, 0, "eps is 0.001"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.norm_k", make_norm, 1, "does not subtract the mean"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.norm_q", make_norm, 2, "over n - 1"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.norm_k", make_norm, 3, "the norm is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.norm1.norm", make_norm, 0, "eps is 0.001"},
    {TRANSFORMER, "transformer_blocks.%d.norm2.norm", make_norm, 1, "does not subtract the mean"},
    {TRANSFORMER, "transformer_blocks.%d.norm1.norm", make_norm, 2, "over n - 1"},
    {TRANSFORMER, "norm_out.norm", make_norm, 0, "eps is 0.001"},
    {TRANSFORMER, "norm_out.norm", make_norm, 1, "does not subtract the mean"},
    {TRANSFORMER, "norm_out.norm", make_norm, 2, "over n - 1"},
    {TRANSFORMER, "transformer_blocks.%d.norm1", make_modulation, 0, "the modulation is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.norm2", make_modulation, 1, "the shift is not added"},
    {TRANSFORMER, "transformer_blocks.%d.norm1", make_modulation, 2, "the scale is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.norm2", make_modulation, 3,
     "times scale, expected times (1 + scale)"},
    {TRANSFORMER, "transformer_blocks.%d.norm1", make_modulation, 4, "shift/scale swapped"},
    {TRANSFORMER, "transformer_blocks.%d.norm2", make_modulation, 5, "the video's chunks come first"},
    {TRANSFORMER, "transformer_blocks.%d.norm1", make_modulation, 6, "modulated by the video's vectors"},
    {TRANSFORMER, "transformer_blocks.%d.norm2", make_modulation, 7, "only in the video's rows"},
    {TRANSFORMER, "norm_out", make_modulation, 0, "the modulation is forgotten"},
    {TRANSFORMER, "norm_out", make_modulation, 1, "the shift is not added"},
    {TRANSFORMER, "norm_out", make_modulation, 2, "the scale is forgotten"},
    {TRANSFORMER, "norm_out", make_modulation, 3, "times scale"},
    {TRANSFORMER, "norm_out", make_modulation, 4, "shift/scale swapped"},
    {TRANSFORMER, "transformer_blocks.%d.h1", make_residual, 0, "gate of the attention is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.h1", make_residual, 1, "residual of the attention is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.h1", make_residual, 2, "the attention is not added"},
    {TRANSFORMER, "transformer_blocks.%d.h1", make_residual, 3, "gate of the attention swapped"},
    {TRANSFORMER, "transformer_blocks.%d.h1", make_residual, 4, "is the other norm's"},
    {TRANSFORMER, "transformer_blocks.%d", make_residual, 0, "gate of the feed-forward is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d", make_residual, 1, "residual of the feed-forward is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d", make_residual, 2, "the feed-forward is not added"},
    {TRANSFORMER, "transformer_blocks.%d", make_residual, 3, "gate of the feed-forward swapped"},
    {TRANSFORMER, "transformer_blocks.%d", make_residual, 4, "is the other norm's"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_q", make_rotation, 0, "half-split RoPE"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_k", make_rotation, 1, "opposite direction"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_q", make_rotation, 2, "sin/cos swapped"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_k", make_rotation, 3, "rotates the text's rows too"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_q", make_rotation, 4, "is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.rope_k", make_rotation, 5, "takes rows for columns"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 0,
     "the factor 1/sqrt(Dh) is forgotten"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 1, "a factor 1/Dh"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 2, "a causal mask"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 3, "the text's keys are masked"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 4, "does not see the text"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 5, "before their rotation"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 6, "before their norm"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 7, "q and k are swapped"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 8, "a factor 1/sqrt(D)"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_q", make_adapter, 0, "the adapter is not applied"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_k", make_adapter, 1, "acts at scale 1"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_v", make_adapter, 2, "acts at scale alpha, not"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_out.0", make_adapter, 3, "applied twice"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_q", make_adapter, 4, "rsLoRA"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_v", make_adapter, 5, "sign is flipped"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_k", make_adapter, 6, "1/rank"},
    {POSITIONS, "patch_embed", make_positions, 0, "positions are not added"},
    {POSITIONS, "patch_embed", make_positions, 1, "positions are added twice"},
    {TRAIN, "step.1.transformer_blocks.0.attn1.to_q", make_adapter, 9, "alpha/rank forgotten"},
    {TRAIN, "step.1.transformer_blocks.0.attn1.to_q", make_adapter, 0, "the adapter is not applied"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 2,
     "no weight decay"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_v.lora_B.weight", make_update, 2,
     "no weight decay"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 3, "(L2)"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_v.lora_B.weight", make_update, 4,
     "not corrected for their bias"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 5,
     "inside the square root"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_k.lora_B.weight", make_update, 5,
     "inside the square root"},
    {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_k.lora_A.weight", make_update, 7,
     "not multiplied by the learning rate"},
    {TRAIN, "step.1.adamw.m.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 0,
     "is not clipped"},
    {TRAIN, "step.1.adamw.m.transformer_blocks.%d.attn1.to_v.lora_B.weight", make_update, 1, "its own norm"},
    {TRAIN, "step.1.adamw.m.transformer_blocks.%d.attn1.to_k.lora_A.weight", make_update, 3, "(L2)"},
    {TRAIN, "step.1.adamw.v.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 0,
     "is not clipped"},
    {TRAIN, "step.1.adamw.v.transformer_blocks.%d.attn1.to_q.lora_B.weight", make_update, 6,
     "beta2 is 0.999"},
    {TRANSFORMER, "x", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "text", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "t", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "emb", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.norm_q", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "transformer_blocks.%d", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "v", make_batch, 0, "entries of the batch are swapped"},
    {TRAIN, "step.1.x", make_batch, 0, "entries of the batch are swapped"},
    {TRAIN, "step.1.grad.transformer_blocks.%d", make_batch, 0, "entries of the batch are swapped"},
    {TRANSFORMER, "x", make_frames, 1, "the frames are in reversed order"},
    {TRANSFORMER, "v", make_frames, 1, "the frames are in reversed order"},
    {TRANSFORMER, "patch_embed.patches", make_frames, 12, "the frames are in reversed order"},
    {TRANSFORMER, "patch_embed.patches", make_frames, 11, "frames of the tokens are in reversed order"},
    {TRANSFORMER, "proj_out", make_frames, 11, "frames of the tokens are in reversed order"},
    {TRANSFORMER, "rope.cos", make_frames, 10, "frames of the tokens are in reversed order"},
    {POSITIONS, "patch_embed.proj", make_frames, 11, "frames of the tokens are in reversed order"},
    {TRAIN, "videos", make_frames, 1, "the frames are in reversed order"},
    {TRAIN, "step.1.target", make_frames, 1, "the frames are in reversed order"},
    {ENCODE, "video", make_frames, 0, "the frames are in reversed order"},
    {ENCODE, "moments", make_frames, 0, "the frames are in reversed order"},
    {DECODE, "latents", make_frames, 0, "the frames are in reversed order"},
    {DECODE, "video", make_frames, 0, "the frames are in reversed order"},
    {SAMPLE, "velocity.1", make_frames, 0, "the frames are in reversed order"},
    {SAMPLE, "latents.2", make_frames, 0, "the frames are in reversed order"},
    {TRANSFORMER, "patch_embed.proj", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "time_embedding", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "transformer_blocks.%d.norm1.linear", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "transformer_blocks.%d.norm2.norm", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_k.base_layer", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_out.0", make_bias, 1, "the bias is added twice"},
    {TRANSFORMER, "transformer_blocks.%d.ff", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "proj_out", make_bias, 0, "the bias is not added"},
    {ENCODE, "encoder.conv_in", make_bias, 0, "the bias is not added"},
    {ENCODE, "encoder.down_blocks.0.resnets.0.conv1", make_bias, 0, "the bias is not added"},
    {ENCODE, "encoder.down_blocks.0.resnets.0.norm1", make_bias, 0, "the bias is not added"},
    {DECODE, "decoder.conv_out", make_bias, 0, "the bias is not added"},
    {DECODE, "decoder.up_blocks.0.upsamplers.0", make_bias, 0, "the bias is not added"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_q.base_layer", make_matrix, 0, "is taken transposed"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_v", make_matrix, 0, "is taken transposed"},
    {TRANSFORMER, "transformer_blocks.%d.attn1.to_out.0", make_matrix, 1, "is taken transposed"},
    {TRANSFORMER, "time_embedding", make_matrix, 2, "is taken transposed"},
};

/* ------------------------------------------------------------------------------------------------
 * Foreign mistakes: of any tensor */

enum {
    TIMES,
    NEARLY_ONE,
    PLUS,
    NOISE,
    WEAK_NOISE,
    ABS,
    SQUARE,
    CLAMP,
    TANH,
    CUBE,
    ROOT,
    EXP,
    RELU,
    NO_COLUMN,
    NO_ROW,
    NO_BIAS,
    BACKWARDS,
    ROWS_BACKWARDS,
    ROLLED,
    ROWS_ROLLED,
    EVERY_OTHER_SIGN,
    HALF_OF_HALF,
    COLUMN_GAIN,
    ROW_GAIN,
    ONE_MORE,
    ONE_ZERO,
    NEIGHBOURS,
    HALVES_MEAN,
    HALVES_EXCHANGED,
    MEAN,
    ONES,
    SUM,
    DIFFERENCE,
    BLUR,
    CENTRED_ROWS,
    UNIT_ROWS,
    CENTRED_COLUMNS,
    RAMP,
    COPIED,
    PART_TRANSPOSED,
    FIXED_POINT,
    EIGHT_BITS,
    DROPOUT,
    NEARLY_SCALED,
    NEARLY_NEGATIVE,
    ALL_BUT_ONE_SIGN,
    HEADS_ROLLED,
    NO_TEXT,
    LOUDER_VIDEO,
    MIXED,
    FOREIGN
};

static double mean_of(const float *x, int64_t n, int64_t step)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += (double)x[i * step] / (double)n;
    return sum;
}

/* From -1 to 1, irregular in i. */
static double irregular(int64_t i)
{
    return (double)(i * 7919 % 101) / 50 - 1;
}

/* The wrong element, from the value x only. */
static double of_value(int kind, double x)
{
    switch (kind) {
    case TIMES:
        return 1.3 * x;
    case NEARLY_ONE:
        return 0.97 * x;
    case PLUS:
        return x + 0.1;
    case ABS:
        return fabs(x);
    case SQUARE:
        return x * x;
    case CLAMP:
        return fmin(fmax(x, -0.5), 0.5);
    case TANH:
        return tanh(x);
    case CUBE:
        return x + x * x * x;
    case ROOT:
        return copysign(sqrt(fabs(x)), x);
    case EXP:
        return exp(fmin(x, 20));
    case RELU:
        return fmax(x, 0.1 * x);
    case ONES:
        return 1;
    case FIXED_POINT:
        return rint(64 * x) / 64;
    case NEARLY_SCALED:
        return x * 0.7 * 1.001;
    case NEARLY_NEGATIVE:
        return -1.01 * x;
    default:
        return x;
    }
}

/* The wrong element, from the value x and its index i. */
static double of_element(const plant *p, int kind, double x, int64_t i)
{
    int64_t c = i % p->cols, y = i / p->cols;
    switch (kind) {
    case NOISE:
        return x * (1 + 0.1 * irregular(i));
    case WEAK_NOISE:
        return x * (1 + 2e-3 * irregular(i));
    case NO_COLUMN:
        return c ? x : 0;
    case NO_ROW:
        return y % p->rows == p->rows - 1 ? 0 : x;
    case NO_BIAS:
        return x - 0.3 * irregular(c + 5);
    case EVERY_OTHER_SIGN:
        return c % 2 ? -x : x;
    case HALF_OF_HALF:
        return i < p->n / 2 ? 0.5 * x : x;
    case COLUMN_GAIN:
        return x * (1 + 0.5 * irregular(c + 3));
    case ROW_GAIN:
        return x * (1 + 0.5 * irregular(y + 3));
    case ONE_MORE:
        return i == p->n / 3 ? x + 1 : x;
    case ONE_ZERO:
        return i == p->n / 3 ? 0 : x;
    case RAMP:
        return x + (double)c / (double)p->cols;
    case DROPOUT:
        return i % 3 ? x : 0;
    case ALL_BUT_ONE_SIGN:
        return i == p->n / 3 ? x : -x;
    case NO_TEXT:
        return y % p->rows < TEXT ? 0 : x;
    case LOUDER_VIDEO:
        return y % p->rows < TEXT ? x : 1.1 * x;
    default:
        return of_value(kind, x);
    }
}

/* The wrong element, from elements at other places. */
static double of_place(const plant *p, int kind, int64_t i)
{
    int64_t c = i % p->cols, row = i - c, y = row / p->cols % p->rows, page = row - y * p->cols,
            half = p->n / 2;
    const float *r = p->r;
    switch (kind) {
    case BACKWARDS:
        return (double)r[row + p->cols - 1 - c];
    case ROWS_BACKWARDS:
        return (double)r[page + (p->rows - 1 - y) * p->cols + c];
    case ROLLED:
        return (double)r[row + (c + 1) % p->cols];
    case ROWS_ROLLED:
        return (double)r[page + (y + 1) % p->rows * p->cols + c];
    case HEADS_ROLLED:
        return (double)r[row + (c + HEAD) % p->cols];
    case NEIGHBOURS:
        return (double)r[row + ((c ^ 1) < p->cols ? c ^ 1 : c)];
    case HALVES_MEAN:
        return 0.5 * ((double)r[i % half] + (double)r[i % half + half]);
    case HALVES_EXCHANGED:
        return (double)r[(i + half) % p->n];
    case DIFFERENCE:
        return (double)r[i] - (c ? (double)r[i - 1] : 0);
    case BLUR:
        return 0.5 * ((double)r[i] + (double)r[row + (c + 1) % p->cols]);
    case COPIED:
        return (double)r[i % (p->n / 4 + 1)];
    case MIXED:
        return (double)r[i] + 0.2 * (double)r[(i * 31 + 7) % p->n];
    case PART_TRANSPOSED:
        return page || p->n == p->rows * p->cols ? (double)r[i]
                                                 : (double)r[i % p->rows * p->cols + i / p->rows];
    default:
        return of_element(p, kind, (double)r[i], i);
    }
}

static void make_foreign(plant *p, int kind)
{
    double sum = 0;
    if (kind == EIGHT_BITS) {
        make_rounded(p, 20);
        return;
    }
    for (int64_t i = 0; i < p->n; i++) {
        const float *row = p->r + i / p->cols * p->cols,
                    *page = p->r + i / (p->rows * p->cols) * p->rows * p->cols;
        double x = of_place(p, kind, i), norm = 0;
        if (i % p->cols == 0) sum = 0;
        sum += x;
        for (int64_t k = 0; kind == UNIT_ROWS && k < p->cols; k++) norm += (double)row[k] * (double)row[k];
        if (kind == UNIT_ROWS) x /= sqrt(norm) + 1e-9;
        if (kind == SUM) x = sum;
        if (kind == MEAN) x = mean_of(p->r, p->n, 1);
        if (kind == CENTRED_ROWS) x -= mean_of(row, p->cols, 1);
        if (kind == CENTRED_COLUMNS) x -= mean_of(page + i % p->cols, p->rows, p->cols);
        p->to[i] = (float)x;
    }
}

/* Foreign mistakes of layers, and those that are known of other tensors only */
static const struct {
    int golden;
    const char *name;
    maker *make;
    int which;
} of_layers[] = {{TRANSFORMER, "transformer_blocks.%d.norm1", make_modulation, 8},
                 {TRANSFORMER, "transformer_blocks.%d.h1", make_residual, 5},
                 {TRANSFORMER, "transformer_blocks.%d", make_residual, 6},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.rope_q", make_rotation, 6},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.rope_k", make_rotation, 7},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 9},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.attention", make_attention, 10},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.to_q", make_adapter, 7},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.to_v", make_adapter, 8},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.to_k", make_video_first, 1},
                 {TRANSFORMER, "patch_embed.patches", make_video_first, 0},
                 {TRANSFORMER, "proj_out", make_video_first, 0},
                 {TRAIN, "step.3.adamw.m.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_factor, 9},
                 {TRAIN, "step.3.adamw.v.transformer_blocks.%d.attn1.to_v.lora_B.weight", make_factor, 8},
                 {TRAIN, "step.3.adapter.transformer_blocks.%d.attn1.to_k.lora_B.weight", make_factor, 8},
                 {TRAIN, "step.3.adamw.m.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_factor, 6},
                 {SAMPLE, "video", make_factor, 1},
                 {TRAIN, "step.1.adamw.m.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 8},
                 {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_q.lora_A.weight", make_update, 9},
                 {TRAIN, "step.1.adamw.v.transformer_blocks.%d.attn1.to_k.lora_B.weight", make_update, 10},
                 {TRAIN, "step.1.adapter.transformer_blocks.%d.attn1.to_v.lora_B.weight", make_update, 11},
                 {TRANSFORMER, "x", make_batch, 1},
                 {TRANSFORMER, "transformer_blocks.%d.h1", make_batch, 1},
                 {TRANSFORMER, "x", make_frames, 21},
                 {TRANSFORMER, "x", make_frames, 3},
                 {ENCODE, "video", make_frames, 20},
                 {ENCODE, "video", make_frames, 2},
                 {TRANSFORMER, "patch_embed.proj", make_bias, 2},
                 {ENCODE, "encoder.conv_in", make_bias, 2},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.to_k", make_matrix, 3},
                 {TRANSFORMER, "transformer_blocks.%d.attn1.to_v", make_wrong_and_rounded, 16},
                 {SAMPLE, "velocity.1", make_wrong_and_rounded, 13}};

/* ------------------------------------------------------------------------------------------------
 * Planting */

static const vdm_tensor *find(const struct golden *g, const char *format, int block, plant *p)
{
    char name[192];
    const char *at = strstr(format, "%d");
    snprintf(name, sizeof name, "%.*s%.*d%s", at ? (int)(at - format) : (int)strlen(format), format,
             at ? 1 : 0, at ? block : 0, at ? at + 2 : "");
    const vdm_tensor *t = vdm_safetensors_find(&g->f, name);
    if (!CHECK(t && t->dtype == VDM_F32, "no tensor '%s'", name)) return NULL;
    *p = (plant){.g = g, .t = t, .r = t->data, .n = vdm_tensor_count(t)};
    p->cols = t->rank ? t->shape[t->rank - 1] : 1;
    p->rows = t->rank > 1 ? t->shape[t->rank - 2] : 1;
    const char *inner = strncmp(name, "transformer_blocks.", 19) == 0 ? strchr(name + 19, '.') : NULL;
    p->block = inner || strncmp(name, "transformer_blocks.", 19) == 0 ? name[19] - '0' : 0;
    snprintf(p->inner, sizeof p->inner, "%s", inner ? inner + 1 : "");
    return t;
}

/* Writes the other file: the tensors before the wrong one are right, those after it noisy. */
static void write_wrong(const plant *p)
{
    static vdm_tensor all[TENSORS];
    const vdm_safetensors *f = &p->g->f;
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        all[i] = (const char *)t->data > (const char *)p->t->data ? p->g->noisy[i] : *t;
        if (t == p->t) all[i].data = p->to;
    }
    CHECK(!vdm_safetensors_write(path_of("wrong.g"), all, f->count, NULL, 0, &err), "%s", err.text);
}

/* Whether the wrong tensor is the right one with axis [rows] of [..,rows,inner] reversed. */
static bool is_reversed(const plant *p, int64_t rows, int64_t inner)
{
    bool same = rows > 1;
    for (int64_t i = 0; i < p->n && same; i++)
        same = !(fabsf(p->to[i] - p->r[i + (rows - 1 - 2 * (i / inner % rows)) * inner]) > 0);
    return same;
}

/* Foreign mistakes may be known ones in some shapes: halves exchanged are two frames reversed. */
static void see_orders(const plant *p)
{
    const vdm_tensor *t = p->t;
    int64_t inner = 1;
    int axis = t->rank > 3 ? t->rank - 4 : t->rank - 2; /* of the frames, or of the tokens */
    for (int i = axis < 0 ? 0 : axis + 1; i < t->rank; i++) inner *= t->shape[i];
    if (t->rank > 3)
        reversed = is_reversed(p, t->shape[axis], inner);
    else
        reversed = axis >= 0 && t->shape[axis] % IN_FRAME == 0 &&
                   is_reversed(p, t->shape[axis] / IN_FRAME, inner * IN_FRAME);
    swapped = p->t->rank > 0 && p->t->shape[0] == 2 && is_reversed(p, 2, p->n / 2);
}

/* Plants a mistake and compares; `printed` has what vdm prints. Returns false if the mistake has no effect, or less than
 * `least`. */
static bool planted(plant *p, maker *make, int which, double least)
{
    char first[256];
    p->to = vdm_alloc((size_t)p->n, sizeof *p->to, "a wrong tensor", &err);
    if (!CHECK(p->to != NULL, "%s", err.text)) return false;
    memcpy(p->to, p->r, (size_t)p->n * sizeof *p->to);
    make(p, which);
    bool effect = !(check_distance(p->to, p->r, p->n) < least);
    see_orders(p);
    if (effect) {
        write_wrong(p);
        int status = vdm("compare @/%s @/wrong.g --weights @/%s", p->g->file, p->g->model);
        snprintf(first, sizeof first, "first to differ: %s\n", p->t->name);
        bool right = status == 3 && strstr(printed, first);
        CHECK(right, "%s, mistake %d: status %d: %s", p->t->name, which, status, printed);
        count.first += right;
    }
    count.without += !effect;
    vdm_free(p->to);
    return effect;
}

static const char *cause(void)
{
    const char *at = strstr(printed, "cause: ");
    return at ? at + 7 : "";
}

static void test_known(void)
{
    static const char none[] = "not one of the mistakes";
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        for (int block = 0; block < (strstr(known[i].name, "%d") ? 2 : 1); block++) {
            plant p;
            if (!find(&goldens[known[i].golden], known[i].name, block, &p)) continue;
            if (!planted(&p, known[i].make, known[i].which, 5e-5)) {
                CHECK(false, "%s: '%s' has no effect", p.t->name, known[i].words);
                continue;
            }
            bool named = strstr(cause(), known[i].words) != NULL,
                 unnamed = strncmp(cause(), none, sizeof none - 1) == 0;
            CHECK(named, "%s: expected '%s', found %.*s", p.t->name, known[i].words,
                  (int)strcspn(cause(), "\n"), cause());
            count.known++;
            count.named += named;
            count.unnamed += unnamed;
            count.other += !named && !unnamed;
        }
}

static void expect_no_cause(plant *p, maker *make, int which)
{
    if (!planted(p, make, which, 1e-4)) return;
    bool zeros = strncmp(cause(), "nothing but zeros", 17) == 0; /* a true cause for a tensor of one row */
    bool true_order = (swapped && strncmp(cause(), "the two entries of the batch are swapped", 40) == 0) ||
                      (reversed && strstr(cause(), "are in reversed order"));
    bool quiet = zeros || true_order || strncmp(cause(), "not one of the mistakes", 23) == 0;
    CHECK(quiet, "%s, foreign mistake %d: %.*s", p->t->name, which, (int)strcspn(cause(), "\n"), cause());
    count.foreign++;
    count.quiet += quiet;
    count.loud += !quiet;
}

static void test_foreign(void)
{
    bool all = getenv("MISTAKES") && strcmp(getenv("MISTAKES"), "all") == 0;
    for (int g = 0; g < GOLDENS; g++)
        for (int kind = 0; kind < FOREIGN; kind++) {
            int64_t n = goldens[g].f.count, step = all ? 1 : g == ENCODE || g == DECODE ? 61 : 31;
            for (int64_t i = all ? 0 : kind * 5 % (n < step ? n : step); i < n; i += step) {
                plant p;
                if (find(&goldens[g], goldens[g].f.tensors[i].name, 0, &p))
                    expect_no_cause(&p, make_foreign, kind);
            }
        }
    for (size_t i = 0; i < sizeof of_layers / sizeof *of_layers; i++)
        for (int block = 0; block < 2; block++) {
            plant p;
            if (find(&goldens[of_layers[i].golden], of_layers[i].name, block, &p))
                expect_no_cause(&p, of_layers[i].make, of_layers[i].which);
        }
}

/* ------------------------------------------------------------------------------------------------
 * The goldens */

static bool make_golden(struct golden *g)
{
    CHECK(vdm("golden @/%s --threads 1 %s -o @/%s", g->model, g->words, g->file) == 0, "%s", printed);
    if (!CHECK(!vdm_safetensors_open(&g->f, path_of(g->file), &err), "%s", err.text)) return false;
    if (!CHECK(g->f.count <= TENSORS, "%d tensors", (int)g->f.count)) return false;
    for (int64_t i = 0; i < g->f.count; i++) {
        vdm_tensor *t = &g->noisy[i];
        *t = g->f.tensors[i];
        float *x = vdm_alloc(t->bytes, 1, "a noisy tensor", &err);
        if (!CHECK(x && t->dtype == VDM_F32, "%s", t->name)) return false;
        memcpy(x, t->data, t->bytes);
        for (int64_t k = 0; k < vdm_tensor_count(t); k++) x[k] *= 1 + 0.01f * (float)irregular(k + i);
        t->data = x;
    }
    return true;
}

static bool make_model(void)
{
    const vdm_transformer_config c = {.layers = 2, .heads = HEADS, .head_dim = HEAD};
    vdm_rng rng;
    vdm_lora a;
    if (!CHECK(!tiny_write(path_of("m"), TINY_15_I2V, VDM_F32, 5, &err), "%s", err.text)) return false;
    if (!CHECK(!tiny_write(path_of("2b"), TINY_2B, VDM_F32, 5, &err), "%s", err.text)) return false;
    vdm_rng_seed(&rng, 1);
    if (!CHECK(!vdm_lora_init(&a, &c, VDM_ATTENTION, 4, 6, &rng, &err), "%s", err.text)) return false;
    vdm_randn(&rng, a.params, vdm_lora_count(&a));
    for (int64_t i = 0; i < vdm_lora_count(&a); i++) a.params[i] *= 0.1f;
    CHECK(!vdm_lora_write(&a, path_of("adapter"), &err), "%s", err.text);
    vdm_lora_free(&a);
    static const char stem[] = "diffusion_pytorch_model";
    return CHECK(!vdm_safetensors_open_folder(&weights, path_of("m/transformer"), stem, &err) &&
                     !vdm_safetensors_open_folder(&vae_weights, path_of("m/vae"), stem, &err),
                 "%s", err.text);
}

int main(void)
{
    bool made = find_program() && make_model();
    for (int g = 0; g < GOLDENS; g++) made = made && make_golden(&goldens[g]);
    if (made) {
        test_known();
        test_foreign();
    }
    int planted_all = count.known + count.foreign;
    printf("  %d mistakes planted, %d without effect left out; the first tensor is right in %d\n",
           planted_all, count.without, count.first);
    printf("  %d that vdm knows: the right cause %d times, a wrong one %d, none %d\n", count.known,
           count.named, count.other, count.unnamed);
    printf("  %d that it does not know: no cause %d times, a wrong one %d\n", count.foreign, count.quiet,
           count.loud);
    CHECK(count.known > 240 && count.foreign > 180 && count.first == planted_all,
          "too few, or not the first tensor");
    for (int g = 0; g < GOLDENS; g++) {
        for (int64_t i = 0; i < goldens[g].f.count; i++)
            vdm_free((void *)(uintptr_t)goldens[g].noisy[i].data);
        vdm_safetensors_close(&goldens[g].f);
    }
    vdm_safetensors_close(&weights);
    vdm_safetensors_close(&vae_weights);
    return check_end("mistakes");
}
