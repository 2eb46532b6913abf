/* The 3D transformer (diffusers: CogVideoXTransformer3DModel), forward and backward.
 *
 *   x [B,F,Cin,h,w] --patchify--> [B,V,K] --linear--> video rows --+
 *   text [B,L,Dt] ----------------linear--> text rows -------------+--> h [B,S,D], S = L + V, text first
 *   t [B] --sinusoid, MLP--> emb [B,E] --silu, linear--> shift, scale, gate of every norm
 *   h --layers x block--> h --norm_final, norm_out, proj_out--> [B,V,K'] --unpatchify--> v [B,F,C,h,w]
 *
 * Only LoRA adapters are trained: the backward pass computes the gradient of h, and from it those of the
 * adapters' A and B. Every block stores its input and, as memory allows, also its attention outputs or all its
 * activations. The others are recomputed (tape.h).
 *
 * Traps, each at its place below: cosines before sines; the pairs of RoPE are neighbours; RoPE's time axis
 * counts groups of patch_t latent frames; the channel is the slowest index of a patch; shift comes before
 * scale; a modulation has video's vectors first, although text rows come first; padded text attends like
 * any other; the last norm is two norms; q and k are normed with eps 1e-6, everything else with 1e-5. */
#include "files/stream.h"
#include "kernels/kernels.h"
#include "kernels/trace.h"
#include "lora.h"
#include "tape.h"

#include <math.h>
#include <string.h>

static const float QK_NORM_EPS = 1e-6f; /* fixed in CogVideoXBlock, not in the configuration */
static const float OFS = 2.0f;          /* the 1.5 pipeline always passes this as ofs */

/* ------------------------------------------------------------------------------------------------
 * Positions */

/* 10000^(-2j/width), the f32 chain of get_1d_rotary_pos_embed: exponent, power and reciprocal are rounded. */
static float rope_frequency(int j, int width)
{
    float exponent = (float)(2 * j) / (float)width;
    return 1.0f / (float)vdm_pow(10000.0, (double)exponent);
}

/* cos and sin of one axis' angles, into columns first, first + 1, ... of the tables. place [V]: each token's position on
 * that axis */
static void rope_axis(vdm_tape *t, int first, int width, const float *place)
{
    int half = t->Dh / 2;
    for (int j = 0; j < width / 2; j++) {
        float frequency = rope_frequency(j, width);
        for (int i = 0; i < t->V; i++) {
            float angle = place[i] * frequency;
            t->rope_cos[(int64_t)i * half + first + j] = (float)vdm_cos((double)angle);
            t->rope_sin[(int64_t)i * half + first + j] = (float)vdm_sin((double)angle);
        }
    }
}

/* torch.linspace in f32: each half is computed from its own end. */
static float linspace(double start, double stop, int i, int n)
{
    float a = (float)start, b = (float)stop;
    if (n == 1) return a;
    float step = (b - a) / (float)(n - 1);
    return i < n / 2 ? a + step * (float)i : b - step * (float)(n - 1 - i);
}

/* The position of a grid row (or column) on the sample grid. The 1.5 models take plain integers ("slice"). The
 * 1.0 models stretch the picture's grid h' x w' over the base grid, centred
 * (get_resize_crop_region_for_grid), and take linspace(first, stop (n-1)/n), stop = first + the stretched size. Trap: the
 * end is one step before stop only if first is 0. */
struct span {
    double first, last; /* of the linspace: last = stop (n-1)/n */
};
static struct span rope_span(const vdm_transformer_config *c, int rows, int cols, bool vertical)
{
    int base_rows = c->sample_height / c->patch, base_cols = c->sample_width / c->patch;
    int fit_rows = base_rows, fit_cols = base_cols; /* the size that the grid is stretched to */
    if ((double)rows / cols > (double)base_rows / base_cols)
        fit_cols = (int)rint((double)base_rows / rows * cols);
    else
        fit_rows = (int)rint((double)base_cols / cols * rows);
    int base = vertical ? base_rows : base_cols, fit = vertical ? fit_rows : fit_cols,
        n = vertical ? rows : cols;
    double first = rint((base - fit) / 2.0);
    struct span s = {first, (first + fit) * (n - 1) / n};
    return s;
}

/* cos and sin of every video token's angles. The Dh elements of a head: Dh/4 for time, 3 Dh/8 for the row, 3 Dh/8 for the
 * column. */
static void rope_tables(vdm_tape *t, const vdm_transformer_config *c, float *place)
{
    int rows = t->shape.h / c->patch, cols = t->shape.w / c->patch;
    int time_width = t->Dh / 4, space_width = t->Dh / 8 * 3;
    struct span vertical = rope_span(c, rows, cols, true), horizontal = rope_span(c, rows, cols, false);
    for (int i = 0; i < t->V; i++) place[i] = (float)(i / (rows * cols));
    rope_axis(t, 0, time_width, place);
    for (int i = 0; i < t->V; i++) {
        int y = i / cols % rows;
        place[i] = c->patch_t ? (float)y : linspace(vertical.first, vertical.last, y, rows);
    }
    rope_axis(t, time_width / 2, space_width, place);
    for (int i = 0; i < t->V; i++) {
        int x = i % cols;
        place[i] = c->patch_t ? (float)x : linspace(horizontal.first, horizontal.last, x, cols);
    }
    rope_axis(t, time_width / 2 + space_width / 2, space_width, place);
}

/* [sin(p w_j), j < width/2; cos(p w_j)], w_j = 10000^(-2j/width), in double. */
static void sines_cosines(float *to, float p, int width)
{
    for (int j = 0; j < width / 2; j++) {
        double angle = (double)p * (1.0 / vdm_pow(10000.0, j / (width / 2.0)));
        to[j] = (float)vdm_sin(angle);
        to[width / 2 + j] = (float)vdm_cos(angle);
    }
}

/* get_3d_sincos_pos_embed: time D/4, then columns 3D/8, then rows 3D/8 ("w goes first"); text rows stay 0. */
static void sincos_positions(vdm_tape *t, const vdm_transformer_config *c)
{
    int rows = t->shape.h / c->patch, cols = t->shape.w / c->patch, D = t->D;
    for (int i = 0; i < t->V; i++) {
        float *row = t->positions + (int64_t)(t->L + i) * D;
        sines_cosines(row, (float)(i / (rows * cols)) / (float)c->temporal_scale, D / 4);
        sines_cosines(row + D / 4, (float)(i % cols) / (float)c->spatial_scale, 3 * D / 8);
        sines_cosines(row + D / 4 + 3 * D / 8, (float)(i / cols % rows) / (float)c->spatial_scale, 3 * D / 8);
    }
}

vdm_tape *vdm_tape_new(const vdm_transformer *m, const vdm_tape_shape *s, vdm_error *err)
{
    const vdm_transformer_config *c = &m->config;
    if (vdm_latents_check(c, "latents", s->F, s->h, s->w, err)) return NULL;
    vdm_tape *t = vdm_tape_alloc(c, s, err);
    if (!t) return NULL;
    if (c->rotary) rope_tables(t, c, t->h); /* h is free until the first pass */
    if (t->positions) sincos_positions(t, c);
    t->add_positions = t->positions ? t->positions : m->positions;
    return t;
}

/* ------------------------------------------------------------------------------------------------
 * A pass, and a block at work */

struct pass {
    const vdm_transformer *m;
    const vdm_lora *lora; /* or NULL */
    const vdm_cpu *cpu;
    vdm_tape *t;
    vdm_trace *trace; /* or NULL */
};

struct block {
    const vdm_transformer_config *c;
    const vdm_block *w;
    const vdm_lora *lora;
    const vdm_cpu *cpu;
    const vdm_tape *t;
    const struct activations *act;
    int layer;
    vdm_trace trace, attention_trace; /* "transformer_blocks.3.", "transformer_blocks.3.attn1." */
};

/* trace is NULL in the backward pass: what it recomputes was shown in the forward pass. */
static struct block block_of(const struct pass *p, int layer, vdm_trace *trace)
{
    struct block b = {.c = &p->m->config,
                      .w = &p->m->blocks[layer],
                      .lora = p->lora,
                      .cpu = p->cpu,
                      .t = p->t,
                      .act = activations_of(p->t, layer),
                      .layer = layer};
    b.trace = vdm_trace_inside(trace, "transformer_blocks.%d.", layer);
    b.attention_trace = vdm_trace_inside(&b.trace, "attn1.");
    return b;
}

static vdm_rows rows_of(const vdm_tape *t)
{
    return (vdm_rows){t->shape.B, t->S, t->L, t->D};
}

static void see(struct block *b, const float *x, const char *name) /* [B,S,D] */
{
    vdm_trace_see(&b->trace, x, SHAPE(b->t->shape.B, b->t->S, b->t->D), "%s", name);
}

/* ------------------------------------------------------------------------------------------------
 * The timestep: sinusoid, embedding, modulation vectors */

/* get_timestep_embedding: [cos(t f_i) ; sin(t f_i)], f_i = exp(-ln(10000) i / (width/2 - freq_shift)), in f32; sines first
 * unless flip_sin_to_cos is set. */
static void sinusoid(float *to, float t, int width, const vdm_transformer_config *c)
{
    int half = width / 2;
    for (int i = 0; i < half; i++) {
        float exponent = -9.210340371976184f * (float)i / (float)(half - c->freq_shift); /* -ln 10000 */
        float angle = t * (float)vdm_exp((double)exponent);
        float cosine = (float)vdm_cos((double)angle), sine = (float)vdm_sin((double)angle);
        to[i] = c->flip_sin_to_cos ? cosine : sine;
        to[half + i] = c->flip_sin_to_cos ? sine : cosine;
    }
}

/* TimestepEmbedding: y = W2 silu(W1 e + b1) + b2 */
struct time_mlp {
    const char *name;
    const vdm_linear *w1, *w2;
    const float *e; /* [rows,in] */
    float *y;       /* [rows,E] */
    int rows, in;
};
static void time_mlp(const struct pass *p, const struct time_mlp *l)
{
    int64_t E = p->t->E;
    float *hidden = p->t->emb_hidden;
    vdm_trace_see(p->trace, l->e, SHAPE(l->rows, l->in), "%s_proj", l->name);
    linear_forward(p->cpu, hidden, l->e, l->w1, l->rows);
    vdm_trace_see(p->trace, hidden, SHAPE(l->rows, E), "%s_embedding.linear_1", l->name);
    p->cpu->kernels->silu(p->cpu, hidden, hidden, l->rows * E);
    vdm_trace_see(p->trace, hidden, SHAPE(l->rows, E), "%s_embedding.act", l->name);
    linear_forward(p->cpu, l->y, hidden, l->w2, l->rows);
    vdm_trace_see(p->trace, l->y, SHAPE(l->rows, E), "%s_embedding", l->name);
}

/* emb = time_mlp(sinusoid(t)) + ofs_mlp(sinusoid(ofs)); no silu on the sum. Then every modulation vector:
 * linear(silu(emb)). */
static void embed_timesteps(const struct pass *p, const double *timestep)
{
    const vdm_transformer *m = p->m;
    const vdm_transformer_config *c = &m->config;
    vdm_tape *t = p->t;
    int B = t->shape.B, D = t->D, E = t->E;
    for (int b = 0; b < B; b++) sinusoid(t->sinusoid + (int64_t)b * D, (float)timestep[b], D, c);
    time_mlp(p, &(struct time_mlp){"time", &m->time1, &m->time2, t->sinusoid, t->emb, B, D});
    if (c->ofs_dim) { /* the same row for every video: ofs_dim = E */
        sinusoid(t->sinusoid, OFS, c->ofs_dim, c);
        time_mlp(p, &(struct time_mlp){"ofs", &m->ofs1, &m->ofs2, t->sinusoid, t->emb_ofs, 1, c->ofs_dim});
        for (int b = 0; b < B; b++)
            for (int e = 0; e < E; e++) t->emb[(int64_t)b * E + e] += t->emb_ofs[e];
    }
    p->cpu->kernels->silu(p->cpu, t->emb_silu, t->emb, (int64_t)B * E);
    vdm_trace_see(p->trace, t->emb, SHAPE(B, E), "emb");
    vdm_trace_see(p->trace, t->emb_silu, SHAPE(B, E), "emb.silu");
    for (int i = 0; i < t->layers * 2; i++) {
        float *modulation = t->modulation + (int64_t)i * B * 6 * D;
        linear_forward(p->cpu, modulation, t->emb_silu, &m->blocks[i / 2].norm[i % 2].linear, B);
    }
    linear_forward(p->cpu, t->head_modulation, t->emb_silu, &m->norm_out_linear, B);
}

/* The modulation of norm1 (0) or norm2 (1). Each row [6D] has video's three vectors, then text's. */
static vdm_modulation modulation_of(const vdm_tape *t, int layer, int which)
{
    int64_t D = t->D;
    const float *p = t->modulation + ((int64_t)layer * 2 + which) * t->shape.B * 6 * D;
    return (vdm_modulation){.shift = p,
                            .scale = p + D,
                            .gate = p + 2 * D,
                            .text_shift = p + 3 * D,
                            .text_scale = p + 4 * D,
                            .text_gate = p + 5 * D,
                            .stride = 6 * D};
}

/* ------------------------------------------------------------------------------------------------
 * Patches */

/* Latents [F,channels,h,w] to patches [V,K] or, if `back`, patches to latents. Token (f',y',x') holds
 * patch_t frames of p x p latent pixels, at ((c patch_t + dt) p + dy) p + dx; the channel is the slowest
 * index of a patch. */
static void move_patches(float *to, const float *from, const vdm_tape *t, const vdm_transformer_config *c,
                         int channels, bool back)
{
    int p = c->patch, pt = c->patch_t ? c->patch_t : 1, h = t->shape.h, w = t->shape.w;
    int rows = h / p, cols = w / p;
    int64_t n = 0; /* index in the patches */
    for (int i = 0; i < t->V; i++) {
        int f = i / (rows * cols) * pt, y = i / cols % rows * p, x = i % cols * p;
        for (int channel = 0; channel < channels; channel++)
            for (int dt = 0; dt < pt; dt++)
                for (int dy = 0; dy < p; dy++) {
                    int64_t at = (((int64_t)(f + dt) * channels + channel) * h + y + dy) * w + x;
                    for (int dx = 0; dx < p; dx++, n++, at++) to[back ? at : n] = from[back ? n : at];
                }
    }
}
static void patchify(float *patches, const float *latents, const vdm_tape *t, const vdm_transformer_config *c,
                     int channels)
{
    move_patches(patches, latents, t, c, channels, false);
}
static void unpatchify(float *latents, const float *patches, const vdm_tape *t,
                       const vdm_transformer_config *c, int channels)
{
    move_patches(latents, patches, t, c, channels, true);
}

/* h [B,S,D] = text rows [B,L,D] (NULL: zeros), then video rows [B,V,D], of each video; and the video rows of h */
static void join_rows(const vdm_tape *t, float *h, const float *text, const float *video)
{
    size_t first = (size_t)t->L * (size_t)t->D, second = (size_t)t->V * (size_t)t->D;
    for (size_t b = 0; b < (size_t)t->shape.B; b++, h += first + second) {
        if (text)
            memcpy(h, text + b * first, first * sizeof *h);
        else
            memset(h, 0, first * sizeof *h);
        memcpy(h + first, video + b * second, second * sizeof *h);
    }
}
static void take_video_rows(const vdm_tape *t, float *video, const float *h)
{
    size_t first = (size_t)t->L * (size_t)t->D, second = (size_t)t->V * (size_t)t->D;
    for (size_t b = 0; b < (size_t)t->shape.B; b++, h += first + second)
        memcpy(video + b * second, h + first, second * sizeof *h);
}

/* CogVideoXPatchEmbed: h = [text_proj(text) ; proj(patches)] + positions. Nothing upstream is trained. */
static void embed_inputs(const struct pass *p, const float *x, const float *text)
{
    const vdm_transformer_config *c = &p->m->config;
    vdm_tape *t = p->t;
    int64_t B = t->shape.B, D = t->D, all = (int64_t)t->S * D;
    int64_t video = (int64_t)t->shape.F * c->in_channels * t->shape.h * t->shape.w;
    for (int64_t b = 0; b < B; b++)
        patchify(t->patches + b * t->V * t->patch_in, x + b * video, t, c, c->in_channels);
    linear_forward(p->cpu, t->text_rows, text, &p->m->text_proj, B * t->L);
    linear_forward(p->cpu, t->video_rows, t->patches, &p->m->patch_proj, B * t->V);
    join_rows(t, t->h, t->text_rows, t->video_rows);
    for (int64_t b = 0; b < B && t->add_positions; b++)
        p->cpu->kernels->blend(p->cpu, t->h + b * all, 1, t->h + b * all, 1, t->add_positions, all);
    vdm_trace_see(p->trace, t->patches, SHAPE(B, t->V, t->patch_in), "patch_embed.patches");
    vdm_trace_see(p->trace, t->text_rows, SHAPE(B, t->L, D), "patch_embed.text_proj");
    vdm_trace_see(p->trace, t->video_rows, SHAPE(B, t->V, D), "patch_embed.proj");
    vdm_trace_see(p->trace, t->h, SHAPE(B, t->S, D), "patch_embed");
}

/* ------------------------------------------------------------------------------------------------
 * A block's two norms (CogVideoXLayerNormZero): n = norm(x)(1 + scale) + shift */

/* which: 0 for norm1, 1 for norm2 */
static vdm_norm_args norm_of(const struct block *b, int which, const float *x)
{
    return (vdm_norm_args){.rows = rows_of(b->t),
                           .x = x,
                           .norm = &b->w->norm[which].norm,
                           .modulation = modulation_of(b->t, b->layer, which),
                           .mean = b->act->mean[which],
                           .rstd = b->act->rstd[which],
                           .eps = (float)b->c->norm_eps};
}

/* Traces the modulation vectors, and the norm without them, which is recomputed for the trace. */
static void see_norm(struct block *b, int which, const float *x)
{
    static const char *const chunks[] = {"shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"};
    int64_t B = b->t->shape.B, D = b->t->D;
    vdm_norm_args a = norm_of(b, which, x);
    const float *linear = a.modulation.shift; /* [B,6D] */
    vdm_trace_see(&b->trace, linear, SHAPE(B, 6 * D), "norm%d.linear", which + 1);
    for (int i = 0; i < 6; i++)
        vdm_trace_pieces(&b->trace, linear + i * D, 6 * D, SHAPE(B, D), "norm%d.%s", which + 1, chunks[i]);
    a.y = vdm_trace_space(&b->trace, SHAPE(B, b->t->S, D), "norm%d.norm", which + 1);
    if (!a.y) return;
    a.modulation = (vdm_modulation){0};
    a.mean = a.rstd = NULL;
    b->cpu->kernels->layer_norm(b->cpu, &a);
    vdm_trace_show(&b->trace, SHAPE(B, b->t->S, D));
}

static void norm_forward(struct block *b, int which, float *n, const float *x)
{
    vdm_norm_args a = norm_of(b, which, x);
    a.y = n;
    b->cpu->kernels->layer_norm(b->cpu, &a);
    if (vdm_trace_on(&b->trace)) see_norm(b, which, x);
    see(b, n, which ? "norm2" : "norm1");
}
/* dx += the gradient through n = norm(x)(1 + scale) + shift */
static void norm_backward(const struct block *b, int which, float *dx, const float *dn, const float *x)
{
    vdm_norm_args a = norm_of(b, which, x);
    a.dy = dn;
    a.dx = dx;
    a.add = true;
    b->cpu->kernels->layer_norm_backward(b->cpu, &a);
}

/* ------------------------------------------------------------------------------------------------
 * Attention half of a block (CogVideoXAttnProcessor2_0) */

/* One of q and k: q = rope(norm(q_pre)), the norm over the Dh elements of every head, the rotation of video rows */
struct head_norm {
    char name;
    const float *q_pre; /* [B,S,A,Dh]; forward alone: q itself */
    float *q, *dq;      /* [B,S,A,Dh] */
    const vdm_norm *norm;
    float *mean, *rstd; /* [B,S,A] */
};
static struct head_norm norm_q_of(const struct block *b)
{
    const struct activations *a = b->act;
    return (struct head_norm){'q', a->q_pre, a->q, b->t->attention.dq, &b->w->norm_q, a->q_mean, a->q_rstd};
}
static struct head_norm norm_k_of(const struct block *b)
{
    const struct activations *a = b->act;
    return (struct head_norm){'k', a->k_pre, a->k, b->t->attention.dk, &b->w->norm_k, a->k_mean, a->k_rstd};
}

static vdm_norm_args head_norm_args(const vdm_tape *t, const struct head_norm *h)
{
    return (vdm_norm_args){.rows = {1, t->shape.B * t->S * t->A, 0, t->Dh}, /* every head is a row */
                           .x = h->q_pre,
                           .norm = h->norm,
                           .mean = h->mean,
                           .rstd = h->rstd,
                           .eps = QK_NORM_EPS};
}
static vdm_rope_args rope_args(const vdm_tape *t, float *x, float sign)
{
    return (vdm_rope_args){t->shape.B, t->S, t->L, t->A, t->Dh, x, t->rope_cos, t->rope_sin, sign};
}

/* q = rope(norm(q_pre)) */
static void qk_forward(struct block *b, const struct head_norm *h)
{
    const vdm_tape *t = b->t;
    vdm_norm_args norm = head_norm_args(t, h);
    vdm_rope_args rope = rope_args(t, h->q, 1);
    norm.y = h->q;
    b->cpu->kernels->layer_norm(b->cpu, &norm);
    vdm_trace_see(&b->attention_trace, h->q, SHAPE(t->shape.B, t->S, t->A, t->Dh), "norm_%c", h->name);
    if (!b->c->rotary) return;
    b->cpu->kernels->rope(b->cpu, &rope);
    vdm_trace_see(&b->attention_trace, h->q, SHAPE(t->shape.B, t->S, t->A, t->Dh), "rope_%c", h->name);
}
/* dq in place: the rotation by the opposite angle, then the norm's backward pass */
static void qk_backward(const struct block *b, const struct head_norm *h)
{
    vdm_norm_args norm = head_norm_args(b->t, h);
    vdm_rope_args back = rope_args(b->t, h->dq, -1);
    norm.dx = h->dq;
    norm.dy = h->dq;
    if (b->c->rotary) b->cpu->kernels->rope(b->cpu, &back);
    b->cpu->kernels->layer_norm_backward(b->cpu, &norm);
}

/* to_q, to_k, to_v, of n, and to_out, of o */
static vdm_adapted target_of(const struct block *b, vdm_target which)
{
    const vdm_tape *t = b->t;
    const struct activations *a = b->act;
    const vdm_linear *w[] = {&b->w->q, &b->w->k, &b->w->v, &b->w->out};
    float *y[] = {a->q_pre, a->k_pre, a->v, t->y};
    return (vdm_adapted){.w = w[which],
                         .lora = b->lora,
                         .block = b->layer,
                         .target = which,
                         .B = t->shape.B,
                         .S = t->S,
                         .x = which == VDM_OUT ? a->o : t->n,
                         .y = y[which],
                         .lora_mid = a->lora_mid[which]};
}

static vdm_attention_args attention_args(const struct block *b)
{
    const vdm_tape *t = b->t;
    const struct activations *a = b->act;
    return (vdm_attention_args){.B = t->shape.B,
                                .A = t->A,
                                .S = t->S,
                                .Dh = t->Dh,
                                .q = a->q,
                                .k = a->k,
                                .v = a->v,
                                .o = a->o,
                                .lse = a->lse,
                                .d_o = t->attention.d_o,
                                .dq = t->attention.dq,
                                .dk = t->attention.dk,
                                .dv = t->attention.dv};
}

/* q = rope(norm(to_q n)), k = rope(norm(to_k n)), v = to_v n, n = modulated norm1(h) */
static void project(struct block *b, const float *h)
{
    const vdm_adapted qkv[] = {target_of(b, VDM_Q), target_of(b, VDM_K), target_of(b, VDM_V)};
    const struct head_norm q = norm_q_of(b), k = norm_k_of(b);
    norm_forward(b, 0, b->t->n, h);
    vdm_adapted_forward(b->cpu, qkv, 3, &b->trace);
    qk_forward(b, &q);
    qk_forward(b, &k);
}

/* h1 = h + gate * to_out(attention(q, k, v)) */
static void attention_forward(struct block *b, const float *h)
{
    const vdm_attention_args attention = attention_args(b);
    const vdm_adapted out = target_of(b, VDM_OUT);
    const vdm_modulation mod = modulation_of(b->t, b->layer, 0);
    const vdm_rows r = rows_of(b->t);
    b->cpu->kernels->attention_forward(b->cpu, &attention);
    see(b, b->act->o, "attn1.attention");
    vdm_adapted_forward(b->cpu, &out, 1, &b->trace);
    b->cpu->kernels->gated_add(b->cpu, b->act->h1, h, b->t->y, &r, &mod);
    see(b, b->act->h1, "h1");
}

/* The gradient through one of the targets: dx (+)= ..., dA and dB are added to grad */
static void target_backward(const struct block *b, vdm_target which, float *dx, bool add, const float *dy,
                            float *grad)
{
    const vdm_adapted layer = target_of(b, which);
    const vdm_adapted_gradient g = {dy, dx, add, b->t->attention.dlora_mid, grad};
    vdm_adapted_backward(b->cpu, &layer, &g);
}

/* On entry dh = dL/dh1, on return dL/dh. Block 0 ends with its adapters, which leaves dh unfinished: nothing
 * upstream is trained. */
static void attention_backward(struct block *b, const float *h, float *grad)
{
    const vdm_kernels *k = b->cpu->kernels;
    const vdm_tape *t = b->t;
    const vdm_attention_args attention = attention_args(b);
    const struct head_norm norm_q = norm_q_of(b), norm_k = norm_k_of(b);
    const vdm_modulation mod = modulation_of(t, b->layer, 0);
    const vdm_rows r = rows_of(t);
    float *dn = b->layer > 0 ? t->attention.dn : NULL;
    norm_forward(b, 0, t->n, h); /* recompute n: its buffer held norm2 */
    /* h1 = h + gate * y */
    k->gate(b->cpu, t->attention.dy, t->dh, &r, &mod);
    /* y = to_out(o) */
    target_backward(b, VDM_OUT, t->attention.d_o, false, t->attention.dy, grad);
    /* o = attention(q, k, v) */
    k->attention_backward(b->cpu, &attention);
    /* q = rope(norm(q_pre)), k = rope(norm(k_pre)) */
    qk_backward(b, &norm_q);
    qk_backward(b, &norm_k);
    /* q_pre = to_q(n), k_pre = to_k(n), v = to_v(n) */
    target_backward(b, VDM_Q, dn, false, t->attention.dq, grad);
    target_backward(b, VDM_K, dn, true, t->attention.dk, grad);
    target_backward(b, VDM_V, dn, true, t->attention.dv, grad);
    /* n = norm1(h)(1 + scale) + shift */
    if (dn) norm_backward(b, 0, t->dh, dn, h);
}

/* ------------------------------------------------------------------------------------------------
 * Feed-forward half of a block (FeedForward, gelu-approximate): y = down(gelu(up(n))), a part of its 4D hidden units at a
 * time, so that buffers are P wide, not 4D; only an `up` that is stored (tape.h) has all 4D. A part is a slice of up's
 * outputs and of down's inputs. */

static vdm_slice part_at(const vdm_tape *t, int64_t first)
{
    int64_t left = 4 * (int64_t)t->D - first;
    return (vdm_slice){first, left < t->P ? left : t->P};
}
static vdm_adapted up_of(const struct block *b, vdm_slice part)
{
    const vdm_tape *t = b->t;
    const int64_t before = (int64_t)t->shape.B * t->S * part.first; /* elements of the parts before */
    return (vdm_adapted){.w = &b->w->ff_up,
                         .lora = b->lora,
                         .block = b->layer,
                         .target = VDM_FF_UP,
                         .B = t->shape.B,
                         .S = t->S,
                         .out = part,
                         .x = t->n,
                         .y = b->act->up ? b->act->up + before : t->hidden,
                         .lora_mid = t->feed.up_mid};
}
/* gelu [B*S,part.count]: the part of gelu(up) */
static vdm_adapted down_of(const struct block *b, vdm_slice part, const float *gelu)
{
    return (vdm_adapted){.w = &b->w->ff_down,
                         .lora = b->lora,
                         .block = b->layer,
                         .target = VDM_FF_DOWN,
                         .B = b->t->shape.B,
                         .S = b->t->S,
                         .in = part,
                         .x = gelu,
                         .y = b->t->y,
                         .lora_mid = b->t->feed.down_mid};
}

/* Traces all hidden units, before or after GELU, computed for this: the feed-forward's buffers hold only a part of them. */
static void see_hidden(struct block *b, const char *name, bool gelu)
{
    const vdm_tape *t = b->t;
    const int64_t shape[] = {t->shape.B, t->S, 4 * (int64_t)t->D};
    vdm_adapted up = up_of(b, part_at(t, 0));
    up.out = (vdm_slice){0, 0}; /* all of them */
    up.y = vdm_trace_space(&b->trace, 3, shape, "%s", name);
    if (!up.y) return;
    vdm_adapted_forward(b->cpu, &up, 1, NULL);
    if (gelu) b->cpu->kernels->gelu(b->cpu, up.y, up.y, shape[0] * shape[1] * shape[2]);
    vdm_trace_show(&b->trace, 3, shape);
}

/* next = h1 + gate * y, y = down(gelu(up(n))), n = modulated norm2(h1) */
static void feed_forward(struct block *b, float *next)
{
    const vdm_tape *t = b->t;
    const float *h1 = b->act->h1;
    const vdm_modulation mod = modulation_of(t, b->layer, 1);
    const vdm_rows r = rows_of(t);
    norm_forward(b, 1, t->n, h1);
    see_hidden(b, "ff.net.0.proj", false);
    see_hidden(b, "ff.net.0", true);
    for (int64_t i = 0; i < 4 * t->D; i += t->P) {
        const vdm_slice part = part_at(t, i);
        const vdm_adapted up = up_of(b, part), down = down_of(b, part, t->hidden);
        vdm_adapted_forward(b->cpu, &up, 1, NULL);
        b->cpu->kernels->gelu(b->cpu, t->hidden, up.y, (int64_t)r.B * r.S * part.count);
        vdm_adapted_forward(b->cpu, &down, 1, NULL);
    }
    see(b, t->y, "ff");
    b->cpu->kernels->gated_add(b->cpu, next, h1, t->y, &r, &mod);
}

/* The gradient through a part of y = down(gelu(up(n))): dn (+)= ..., dA and dB are added to grad. y
 * is not needed; its buffer is now a part of dhidden (tape.h). */
static void part_backward(struct block *b, vdm_slice part, float *grad)
{
    const vdm_kernels *k = b->cpu->kernels;
    const vdm_tape *t = b->t;
    const int64_t count = (int64_t)t->shape.B * t->S * part.count;
    const vdm_adapted up = up_of(b, part), down = down_of(b, part, t->feed.gelu);
    const bool adapted = vdm_adapts(b->lora, VDM_FF_UP);
    float *dmid = t->attention.dlora_mid;
    if (!b->act->up)
        vdm_adapted_forward(b->cpu, &up, 1, NULL); /* up and its lora_mid */
    else if (adapted)
        vdm_adapted_middle(b->cpu, &up);
    if (adapted) { /* down's input and lora_mid, which only its adapter's gradient needs */
        k->gelu(b->cpu, t->feed.gelu, up.y, count);
        vdm_adapted_middle(b->cpu, &down);
    }
    /* y = down(gelu(up)), the part of it that this slice adds */
    vdm_adapted_backward(b->cpu, &down,
                         &(vdm_adapted_gradient){t->feed.dy, t->feed.dhidden, false, dmid, grad});
    k->gelu_backward(b->cpu, t->feed.dhidden, t->feed.dhidden, up.y, count);
    /* up = ff_up(n) */
    vdm_adapted_backward(b->cpu, &up,
                         &(vdm_adapted_gradient){t->feed.dhidden, t->feed.dn, part.first > 0, dmid, grad});
}

/* On entry dh = dL/d(h of the next block), on return dL/dh1. dA and dB are added to grad. */
static void feed_backward(struct block *b, float *grad)
{
    const vdm_tape *t = b->t;
    const float *h1 = b->act->h1;
    const vdm_modulation mod = modulation_of(t, b->layer, 1);
    const vdm_rows r = rows_of(t);
    /* recompute n, for `up` and for dA of its adapter */
    if (!b->act->up || vdm_adapts(b->lora, VDM_FF_UP)) norm_forward(b, 1, t->n, h1);
    /* h = h1 + gate * y */
    b->cpu->kernels->gate(b->cpu, t->feed.dy, t->dh, &r, &mod);
    for (int64_t i = 0; i < 4 * t->D; i += t->P) part_backward(b, part_at(t, i), grad);
    /* n = norm2(h1)(1 + scale) + shift */
    norm_backward(b, 1, t->dh, t->feed.dn, h1);
}

/* ------------------------------------------------------------------------------------------------
 * A block (CogVideoXBlock): h += gate1 * attention(norm1(h)); h += gate2 * ff(norm2(h)) */

/* Announces the weights that are used now and next, to be read ahead. After the last block comes the backward pass, which
 * begins with that block, so that layers - 2 is next; without a backward pass block 0 of the next pass. After block 0 of
 * the backward pass comes block 0 of the next pass, so that block 1 is next. */
static void use_weights(const struct pass *p, int layer, int next)
{
    int layers = p->t->layers;
    if (next == layers) next = p->t->shape.backward ? layers - 2 : 0;
    if (next < 0) next = 1;
    if (layers > 1) vdm_stream_use(p->m->stream, layer, next);
}

static void block_forward(const struct pass *p, int layer)
{
    use_weights(p, layer, layer + 1);
    const float *h = h_at(p->t, layer);
    float *next = h_at(p->t, layer + 1);
    struct block b = block_of(p, layer, p->trace);
    project(&b, h);
    attention_forward(&b, h);
    feed_forward(&b, next);
    vdm_trace_see(p->trace, next, SHAPE(p->t->shape.B, p->t->S, p->t->D), "transformer_blocks.%d", layer);
}

/* dh: gradient of the block's output on entry, of its input on return (block 0 leaves it unfinished). Activations that
 * the block did not store are recomputed from its input h. */
static void block_backward(const struct pass *p, int layer, float *grad)
{
    const vdm_tape *t = p->t;
    const float *h = h_at(t, layer);
    struct block b = block_of(p, layer, NULL);
    use_weights(p, layer, layer - 1);
    vdm_trace_see(p->trace, t->dh, SHAPE(t->shape.B, t->S, t->D), "grad.transformer_blocks.%d", layer);
    if (!stores_all(t, layer)) project(&b, h);
    if (layer < first_stored(t)) attention_forward(&b, h);
    feed_backward(&b, grad);
    attention_backward(&b, h, grad);
}

/* ------------------------------------------------------------------------------------------------
 * The head: v = unpatchify(proj_out(u)), u = norm_out(n)(1 + scale) + shift, n = norm_final(x): two layer norms, one
 * after the other, of the video rows x alone; the second one modulated (AdaLayerNorm), shift before scale. */

static vdm_norm_args norm_final_of(const struct pass *p)
{
    const vdm_tape *t = p->t;
    return (vdm_norm_args){.rows = {t->shape.B, t->V, 0, t->D},
                           .x = t->head.x,
                           .y = t->head.n,
                           .norm = &p->m->norm_final,
                           .mean = t->head.mean[0],
                           .rstd = t->head.rstd[0],
                           .eps = (float)p->m->config.norm_eps};
}
static vdm_norm_args norm_out_of(const struct pass *p)
{
    const vdm_tape *t = p->t;
    const float *shift = t->head_modulation, *scale = shift + t->D;
    return (vdm_norm_args){.rows = {t->shape.B, t->V, 0, t->D},
                           .x = t->head.n,
                           .y = t->head.u,
                           .norm = &p->m->norm_out,
                           .modulation = {.shift = shift, .scale = scale, .stride = 2 * t->D},
                           .mean = t->head.mean[1],
                           .rstd = t->head.rstd[1],
                           .eps = (float)p->m->config.norm_eps};
}

/* h -> x, n, u [B,V,D] */
static void head_norms(const struct pass *p)
{
    const vdm_norm_args final = norm_final_of(p), modulated = norm_out_of(p);
    take_video_rows(p->t, p->t->head.x, h_at(p->t, p->t->layers));
    p->cpu->kernels->layer_norm(p->cpu, &final);
    p->cpu->kernels->layer_norm(p->cpu, &modulated);
}

static void see_head(const struct pass *p)
{
    const vdm_tape *t = p->t;
    int64_t B = t->shape.B, D = t->D;
    vdm_norm_args plain = norm_out_of(p);
    vdm_trace_see(p->trace, t->head.n, SHAPE(B, t->V, D), "norm_final");
    vdm_trace_see(p->trace, t->head_modulation, SHAPE(B, 2 * D), "norm_out.linear");
    vdm_trace_pieces(p->trace, t->head_modulation, 2 * D, SHAPE(B, D), "norm_out.shift");
    vdm_trace_pieces(p->trace, t->head_modulation + D, 2 * D, SHAPE(B, D), "norm_out.scale");
    plain.y = vdm_trace_space(p->trace, SHAPE(B, t->V, D), "norm_out.norm");
    plain.modulation = (vdm_modulation){0};
    plain.mean = plain.rstd = NULL;
    if (plain.y) p->cpu->kernels->layer_norm(p->cpu, &plain);
    if (plain.y) vdm_trace_show(p->trace, SHAPE(B, t->V, D));
    vdm_trace_see(p->trace, t->head.u, SHAPE(B, t->V, D), "norm_out");
}

static void head_forward(const struct pass *p, float *v)
{
    const vdm_transformer_config *c = &p->m->config;
    const vdm_tape *t = p->t;
    int64_t video = (int64_t)t->shape.F * c->out_channels * t->shape.h * t->shape.w, B = t->shape.B;
    head_norms(p);
    if (vdm_trace_on(p->trace)) see_head(p);
    linear_forward(p->cpu, t->patches, t->head.u, &p->m->proj_out, B * t->V);
    vdm_trace_see(p->trace, t->patches, SHAPE(B, t->V, t->patch_out), "proj_out");
    for (int64_t b = 0; b < B; b++)
        unpatchify(v + b * video, t->patches + b * t->V * t->patch_out, t, c, c->out_channels);
}

/* dh [B,S,D] = dL/dh: 0 in the text rows, which the head never reads */
static void head_backward(const struct pass *p, const float *dv)
{
    const vdm_kernels *k = p->cpu->kernels;
    const vdm_transformer_config *c = &p->m->config;
    const vdm_tape *t = p->t;
    int64_t video = (int64_t)t->shape.F * c->out_channels * t->shape.h * t->shape.w, B = t->shape.B;
    vdm_norm_args final = norm_final_of(p), modulated = norm_out_of(p);
    head_norms(p);
    /* v = unpatchify(patches), patches = proj_out(u) */
    for (int64_t b = 0; b < B; b++)
        patchify(t->patches + b * t->V * t->patch_out, dv + b * video, t, c, c->out_channels);
    linear_backward_input(p->cpu, t->head.du, t->patches, &p->m->proj_out, B * t->V, false);
    /* u = norm_out(n)(1 + scale) + shift */
    modulated.dy = modulated.dx = t->head.du;
    k->layer_norm_backward(p->cpu, &modulated);
    /* n = norm_final(x), x the video rows of h, copied again: u is in the same buffer */
    take_video_rows(t, t->head.x, h_at(t, t->layers));
    final.dy = final.dx = t->head.du;
    k->layer_norm_backward(p->cpu, &final);
    join_rows(t, t->dh, NULL, t->head.du);
}

/* ------------------------------------------------------------------------------------------------
 * The whole */

static void see_inputs(const struct pass *p, const vdm_transformer_input *in)
{
    const vdm_transformer_config *c = &p->m->config;
    const vdm_tape *t = p->t;
    const vdm_tape_shape *s = &t->shape;
    float *times = vdm_trace_space(p->trace, SHAPE(s->B), "t");
    for (int b = 0; times && b < s->B; b++) times[b] = (float)in->t[b];
    if (times) vdm_trace_show(p->trace, SHAPE(s->B));
    vdm_trace_see(p->trace, in->x, SHAPE(s->B, s->F, c->in_channels, s->h, s->w), "x");
    vdm_trace_see(p->trace, in->text, SHAPE(s->B, t->L, c->text_dim), "text");
    if (c->ofs_dim) vdm_trace_see(p->trace, &OFS, SHAPE(1), "ofs");
    if (c->rotary) vdm_trace_see(p->trace, t->rope_cos, SHAPE(t->V, t->Dh / 2), "rope.cos");
    if (c->rotary) vdm_trace_see(p->trace, t->rope_sin, SHAPE(t->V, t->Dh / 2), "rope.sin");
    if (t->add_positions) vdm_trace_see(p->trace, t->add_positions, SHAPE(t->S, t->D), "positions");
}

void vdm_transformer_forward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                             const vdm_transformer_input *in, float *v)
{
    const struct pass p = {m, lora, cpu, t, in->trace};
    const vdm_tape_shape *s = &t->shape;
    if (vdm_trace_on(p.trace)) see_inputs(&p, in);
    embed_timesteps(&p, in->t);
    embed_inputs(&p, in->x, in->text);
    for (int l = 0; l < t->layers; l++) block_forward(&p, l);
    head_forward(&p, v);
    vdm_trace_see(p.trace, v, SHAPE(s->B, s->F, m->config.out_channels, s->h, s->w), "v");
}

void vdm_transformer_backward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                              const float *dv, float *grad, vdm_trace *trace)
{
    const struct pass p = {m, lora, cpu, t, trace};
    const vdm_tape_shape *s = &t->shape;
    vdm_trace_see(trace, dv, SHAPE(s->B, s->F, m->config.out_channels, s->h, s->w), "grad.v");
    head_backward(&p, dv);
    for (int l = t->layers - 1; l >= 0; l--) block_backward(&p, l, grad);
}
