/* The 3D transformer (diffusers: CogVideoXTransformer3DModel), forward and backward.
 *
 *   x [B,F,Cin,h,w] --patchify--> [B,V,K] --linear--> video rows --+
 *   text [B,L,Dt] ----------------linear--> text rows -------------+--> h [B,S,D], S = L + V, text first
 *   t [B] --sinusoid, MLP--> emb [B,E] --silu, linear--> shift, scale, gate of every norm
 *   h --layers x block--> h --norm_final, norm_out, proj_out--> [B,V,K'] --unpatchify--> v [B,F,C,h,w]
 *
 * Only LoRA adapters are trained: the backward pass computes the gradient of h, and from it those of the
 * adapters' A and B. Every block keeps its input; as memory allows also what its attention gave, or all its
 * activations. What is not kept is computed again.
 *
 * Traps, each at its place below: cosines before sines; the pairs of RoPE are neighbours; its time is in
 * units of patch_t latent frames; the channel is the slowest index of a patch; shift comes before scale; the
 * text's half of a modulation comes second though its rows come first; padded text attends like any
 * other; the last norm is two norms; q and k are normed with eps 1e-6, everything else with 1e-5. */
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

static const float QK_NORM_EPS = 1e-6f; /* fixed in CogVideoXBlock, not in the configuration */
static const float OFS = 2.0f;          /* what the 1.5 pipeline passes as ofs, always */

/* ------------------------------------------------------------------------------------------------
 * The tape: every buffer of a pass, in one allocation */

/* What a block's backward pass needs of its forward pass, besides the block's input. A forward pass alone
 * keeps nothing: q_pre is q, k_pre is k, k and v lie in the tape's hidden, o in its n, h1 is h. */
struct activations {
    /* what attention gave */
    float *o, *h1; /* [B,S,D]; h between the halves of the block */
    float *lse;    /* [B,A,S] */
    /* the rest */
    float *q_pre, *k_pre, *q, *k, *v;         /* [B,S,D]; q and k before their norm */
    float *q_mean, *q_rstd, *k_mean, *k_rstd; /* [B,S,A] */
    float *mean1, *rstd1, *mean2, *rstd2;     /* [B,S] */
    float *up;                                /* parts [B*S,<=P] of [B*S,4D]: before GELU; NULL: not kept */
    float *low[4]; /* [B*S,R]: s x A^T of each target, out's with o; forward alone: out's is q's */
};

struct vdm_tape {
    vdm_tape_shape shape;
    int D, A, Dh, L, V, S, E, R, layers;
    int P;                   /* hidden numbers of the feed-forward at a time: about half of 4D */
    int patch_in, patch_out; /* numbers in a patch of the input and of the output */
    float *memory;
    vdm_tap *tap; /* while a forward pass runs: what backward computes again isn't shown again */
    /* tables of this size */
    float *rope_cos, *rope_sin; /* [V,Dh/2] */
    float *positions;           /* [S,D], where they are computed */
    const float *add_positions; /* what is added to h at the start: computed, learned or NULL */
    /* from the timestep; kept for backward */
    float *sinusoid, *emb, *emb_hidden, *emb_silu; /* [B,max(D,ofs)], [B,E] three times */
    float *modulation;                             /* [layers,2,B,6D] */
    float *head_modulation;                        /* [B,2D]: shift, scale */
    /* the pass */
    float *patches; /* [B,V,max(patch_in,patch_out)] */
    float *h;       /* [layers+1,B,S,D]: the residual stream, one block's input after another, then the last
                       one's output; forward alone [B,S,D] for all (h_at) */
    float *n;       /* [B,S,D]: after norm1, norm2 or norm_final; the embedding's text rows */
    float *y;       /* [B,S,D]: output of attention or feed-forward; the embedding's video rows; after
                       norm_out. Forward alone: in q's place */
    float *hidden;  /* [B*S,P]: a part of the feed-forward */
    struct activations shared; /* of the block at work, where it doesn't keep its own */
    struct activations *kept;  /* [shape.keep_attention + shape.keep]: of the last blocks */
    /* backward only */
    float *dh, *dn, *dq, *dk, *dv, *dy; /* [B,S,D]; dq and dk lie in hidden, dv and y in dhidden */
    float *dhidden;                     /* [B*S,P] */
    float *dlow;                        /* [B*S,R] */
    float *head_mean[2], *head_rstd[2]; /* [B,V]: of the head's two norms */
};

static bool keeps_all(const vdm_tape *t, int layer)
{
    return layer >= t->layers - t->shape.keep;
}
static int first_kept(const vdm_tape *t) /* the first block that keeps what attention gave, or all */
{
    return t->layers - t->shape.keep - t->shape.keep_attention;
}
static struct activations *activations_of(vdm_tape *t, int layer)
{
    return layer >= first_kept(t) ? &t->kept[layer - first_kept(t)] : &t->shared;
}
static float *h_at(const vdm_tape *t, int layer)
{
    return t->shape.backward ? t->h + (int64_t)layer * t->shape.B * t->S * t->D : t->h;
}

struct cursor {
    float *base; /* NULL: only counts */
    size_t used;
};

static float *take(struct cursor *c, size_t count)
{
    float *p = c->base ? c->base + c->used : NULL;
    c->used += (count + 15) / 16 * 16;
    return p;
}

static bool computes_positions(const vdm_transformer_config *c, int F)
{
    int sample = (c->sample_frames - 1) / c->temporal_compression + 1;
    return !c->rotary || (c->learned_positions && F != sample);
}

/* Number n of two arrays [B,S,D] that lie in one [B*S,P]; P is at least 2D. */
static float *array_in(const vdm_tape *t, float *hidden, int n)
{
    return hidden ? hidden + (int64_t)n * t->shape.B * t->S * t->D : NULL;
}

/* Forward alone: n is dead when attention writes o, q when to_out writes y, k and v when the feed-forward
 * begins. */
static void take_passing(vdm_tape *t, struct cursor *at)
{
    struct activations *a = &t->shared;
    size_t rows = (size_t)t->shape.B * (size_t)t->S;
    t->y = a->q_pre = a->q = take(at, rows * (size_t)t->D);
    a->k_pre = a->k = array_in(t, t->hidden, 0);
    a->v = array_in(t, t->hidden, 1);
    a->o = t->n;
    a->h1 = t->h;
    a->lse = take(at, rows * (size_t)t->A);
    for (int i = 0; i < 4; i++) a->low[i] = i != VDM_OUT ? take(at, rows * (size_t)t->R) : a->low[VDM_Q];
}

/* What attention gave, and the rest but for `up` */
static void take_attended(struct activations *a, const vdm_tape *t, struct cursor *at)
{
    size_t rows = (size_t)t->shape.B * (size_t)t->S;
    a->o = take(at, rows * (size_t)t->D);
    a->h1 = take(at, rows * (size_t)t->D);
    a->lse = take(at, rows * (size_t)t->A);
    a->low[VDM_OUT] = take(at, rows * (size_t)t->R);
}
static void take_rest(struct activations *a, const vdm_tape *t, struct cursor *at)
{
    size_t rows = (size_t)t->shape.B * (size_t)t->S;
    float **wide[] = {&a->q_pre, &a->k_pre, &a->q, &a->k, &a->v};
    for (int i = 0; i < 5; i++) *wide[i] = take(at, rows * (size_t)t->D);
    for (int i = 0; i < 4; i++)
        if (i != VDM_OUT) a->low[i] = take(at, rows * (size_t)t->R);
    float **by_head[] = {&a->q_mean, &a->q_rstd, &a->k_mean, &a->k_rstd};
    float **by_row[] = {&a->mean1, &a->rstd1, &a->mean2, &a->rstd2};
    for (int i = 0; i < 4; i++) {
        *by_head[i] = take(at, rows * (size_t)t->A);
        *by_row[i] = take(at, rows);
    }
}

/* Of all blocks. A block that keeps only what attention gave computes the rest where others do. */
static void take_activations(vdm_tape *t, struct cursor *at)
{
    int first = first_kept(t);
    struct activations counted;
    if (t->shape.keep < t->layers) take_rest(&t->shared, t, at);
    if (first > 0) take_attended(&t->shared, t, at);
    for (int layer = first; layer < t->layers; layer++) {
        struct activations *a = t->kept ? &t->kept[layer - first] : &counted;
        *a = t->shared;
        take_attended(a, t, at);
        if (!keeps_all(t, layer)) continue;
        take_rest(a, t, at);
        a->up = take(at, (size_t)t->shape.B * (size_t)t->S * 4 * (size_t)t->D);
    }
}

static void tape_sizes(vdm_tape *t, const vdm_transformer_config *c, const vdm_tape_shape *s)
{
    int patch_t = c->patch_t ? c->patch_t : 1;
    t->shape = *s;
    if (!s->backward) t->shape.keep = t->shape.keep_attention = 0;
    if (t->shape.keep > c->layers) t->shape.keep = c->layers;
    if (t->shape.keep_attention > c->layers - t->shape.keep)
        t->shape.keep_attention = c->layers - t->shape.keep;
    t->D = c->heads * c->head_dim;
    t->P = (2 * t->D + VDM_CHAIN - 1) / VDM_CHAIN * VDM_CHAIN; /* whole chains, or the bits were others */
    t->A = c->heads;
    t->Dh = c->head_dim;
    t->L = c->text_tokens;
    t->V = (s->F / patch_t) * (s->h / c->patch) * (s->w / c->patch);
    t->S = t->L + t->V;
    t->E = c->time_dim;
    t->R = s->rank;
    t->layers = c->layers;
    t->patch_in = c->in_channels * patch_t * c->patch * c->patch;
    t->patch_out = c->out_channels * patch_t * c->patch * c->patch;
}

/* Lays the buffers out in c; with c->base NULL only c->used is of interest. */
static void tape_layout(vdm_tape *t, const vdm_transformer_config *c, struct cursor *at)
{
    size_t B = (size_t)t->shape.B, D = (size_t)t->D, S = (size_t)t->S, V = (size_t)t->V, E = (size_t)t->E;
    size_t rows = B * S, wide = (size_t)(t->patch_in > t->patch_out ? t->patch_in : t->patch_out);
    size_t longest = (size_t)(t->D > c->ofs_dim ? t->D : c->ofs_dim);
    t->rope_cos = take(at, V * (size_t)t->Dh / 2);
    t->rope_sin = take(at, V * (size_t)t->Dh / 2);
    if (computes_positions(c, t->shape.F)) t->positions = take(at, S * D);
    t->sinusoid = take(at, B * longest);
    t->emb = take(at, B * E);
    t->emb_hidden = take(at, B * E);
    t->emb_silu = take(at, B * E);
    t->modulation = take(at, (size_t)t->layers * 2 * B * 6 * D);
    t->head_modulation = take(at, B * 2 * D);
    t->patches = take(at, B * V * wide);
    t->h = take(at, (t->shape.backward ? (size_t)t->layers + 1 : 1) * rows * D);
    t->n = take(at, rows * D);
    t->hidden = take(at, rows * (size_t)t->P);
    if (!t->shape.backward) {
        take_passing(t, at);
        return;
    }
    take_activations(t, at);
    t->dhidden = take(at, rows * (size_t)t->P);
    /* up is dead when attention's backward pass begins, y when the feed-forward's does */
    t->dq = array_in(t, t->hidden, 0);
    t->dk = array_in(t, t->hidden, 1);
    t->dv = array_in(t, t->dhidden, 0);
    t->y = array_in(t, t->dhidden, 1);
    t->dh = take(at, rows * D);
    t->dn = take(at, rows * D);
    t->dy = take(at, rows * D);
    t->dlow = take(at, rows * (size_t)t->R);
    for (int i = 0; i < 2; i++) t->head_mean[i] = take(at, B * V), t->head_rstd[i] = take(at, B * V);
}

size_t vdm_tape_bytes(const vdm_transformer_config *c, const vdm_tape_shape *s)
{
    vdm_tape t = {0};
    struct cursor at = {0};
    tape_sizes(&t, c, s);
    tape_layout(&t, c, &at);
    return at.used * sizeof(float);
}

/* ------------------------------------------------------------------------------------------------
 * Positions */

/* theta^(-2j/width), the f32 chain of get_1d_rotary_pos_embed: exponent, power and reciprocal are rounded. */
static float rope_frequency(int j, int width)
{
    float exponent = (float)(2 * j) / (float)width;
    return 1.0f / (float)vdm_pow(10000.0, (double)exponent);
}

/* Angles of one axis into columns first.. of the tables: rows [V], position p of each from `place`. */
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

/* torch.linspace in f32: from both ends to the middle. */
static float linspace(double start, double stop, int i, int n)
{
    float a = (float)start, b = (float)stop;
    if (n == 1) return a;
    float step = (b - a) / (float)(n - 1);
    return i < n / 2 ? a + step * (float)i : b - step * (float)(n - 1 - i);
}

/* Where a grid row (or column) lies on the sample grid. The 1.5 models take plain integers ("slice"). The
 * 1.0 models stretch the picture's grid h' x w' over the base grid, centred
 * (get_resize_crop_region_for_grid), and take linspace(first, last * (n-1)/n): where first is not 0 that is
 * not one step short of last. */
struct span {
    double first, last;
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

/* cos and sin of every video token's angles: Dh = Dh/4 of time, 3 Dh/8 of rows, 3 Dh/8 of columns. */
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
    vdm_tape *t = vdm_alloc(1, sizeof *t, "the transformer's tape", err);
    if (!t) return NULL;
    struct cursor at = {0};
    tape_sizes(t, c, s);
    tape_layout(t, c, &at);
    t->memory = vdm_alloc(at.used, sizeof(float), "the transformer's activations", err);
    t->kept = vdm_alloc((size_t)(t->shape.keep_attention + t->shape.keep), sizeof *t->kept,
                        "the transformer's activations", err);
    if (!t->memory || !t->kept) {
        vdm_tape_free(t);
        return NULL;
    }
    at = (struct cursor){.base = t->memory};
    tape_layout(t, c, &at);
    if (c->rotary) rope_tables(t, c, t->h); /* h is free until the first pass */
    if (t->positions) sincos_positions(t, c);
    t->add_positions = t->positions ? t->positions : m->positions;
    return t;
}

void vdm_tape_free(vdm_tape *t)
{
    if (!t) return;
    vdm_free(t->memory);
    vdm_free(t->kept);
    vdm_free(t);
}

/* ------------------------------------------------------------------------------------------------
 * The timestep: sinusoid, embedding, modulation vectors */

/* get_timestep_embedding: the f32 chain of frequencies and angles, cosines first where flip is set. */
static void sinusoid(float *to, float t, int width, const vdm_transformer_config *c)
{
    int half = width / 2;
    for (int i = 0; i < half; i++) {
        float exponent = -9.210340371976184f * (float)i / (float)(half - c->freq_shift); /* ln 10000 */
        float angle = t * (float)vdm_exp((double)exponent);
        float cosine = (float)vdm_cos((double)angle), sine = (float)vdm_sin((double)angle);
        to[i] = c->flip_sin_to_cos ? cosine : sine;
        to[half + i] = c->flip_sin_to_cos ? sine : cosine;
    }
}

/* emb = W2 silu(W1 e + b1) + b2 (TimestepEmbedding), plus the same of ofs; no silu on the sum. Then every
 * modulation vector: linear(silu(emb)). */
static void embed_timesteps(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, const double *timestep)
{
    const vdm_kernels *k = cpu->kernels;
    const vdm_transformer_config *c = &m->config;
    int B = t->shape.B, D = t->D, E = t->E;
    for (int b = 0; b < B; b++) sinusoid(t->sinusoid + (int64_t)b * D, (float)timestep[b], D, c);
    tap_see(t->tap, t->sinusoid, SHAPE(B, D), "time_proj");
    linear_forward(cpu, t->emb_hidden, t->sinusoid, &m->time1, B);
    tap_see(t->tap, t->emb_hidden, SHAPE(B, E), "time_embedding.linear_1");
    k->silu(cpu, t->emb_hidden, t->emb_hidden, (int64_t)B * E);
    tap_see(t->tap, t->emb_hidden, SHAPE(B, E), "time_embedding.act");
    linear_forward(cpu, t->emb, t->emb_hidden, &m->time2, B);
    tap_see(t->tap, t->emb, SHAPE(B, E), "time_embedding");
    if (c->ofs_dim) { /* the same row for every video: ofs_dim = E */
        sinusoid(t->sinusoid, OFS, c->ofs_dim, c);
        tap_see(t->tap, t->sinusoid, SHAPE(1, c->ofs_dim), "ofs_proj");
        linear_forward(cpu, t->emb_hidden, t->sinusoid, &m->ofs1, 1);
        tap_see(t->tap, t->emb_hidden, SHAPE(1, E), "ofs_embedding.linear_1");
        k->silu(cpu, t->emb_hidden, t->emb_hidden, E);
        tap_see(t->tap, t->emb_hidden, SHAPE(1, E), "ofs_embedding.act");
        linear_forward(cpu, t->emb_silu, t->emb_hidden, &m->ofs2, 1);
        tap_see(t->tap, t->emb_silu, SHAPE(1, E), "ofs_embedding");
        for (int b = 0; b < B; b++)
            for (int e = 0; e < E; e++) t->emb[(int64_t)b * E + e] += t->emb_silu[e];
    }
    k->silu(cpu, t->emb_silu, t->emb, (int64_t)B * E);
    tap_see(t->tap, t->emb, SHAPE(B, E), "emb");
    tap_see(t->tap, t->emb_silu, SHAPE(B, E), "emb.silu");
    for (int l = 0; l < t->layers; l++) {
        float *mod = t->modulation + (int64_t)l * 2 * B * 6 * D;
        linear_forward(cpu, mod, t->emb_silu, &m->blocks[l].norm1.linear, B);
        linear_forward(cpu, mod + (int64_t)B * 6 * D, t->emb_silu, &m->blocks[l].norm2.linear, B);
    }
    linear_forward(cpu, t->head_modulation, t->emb_silu, &m->norm_out_linear, B);
}

/* One norm's modulation: pointers to [B,6D] rows; video's three vectors first, then text's. */
struct modulation {
    const float *shift, *scale, *gate, *text_shift, *text_scale, *text_gate;
    int64_t stride;
};
static struct modulation modulation_of(const vdm_tape *t, int layer, int which)
{
    int64_t D = t->D;
    const float *p = t->modulation + ((int64_t)layer * 2 + which) * t->shape.B * 6 * D;
    struct modulation m = {p, p + D, p + 2 * D, p + 3 * D, p + 4 * D, p + 5 * D, 6 * D};
    return m;
}

/* ------------------------------------------------------------------------------------------------
 * Patches */

/* Latents [F,channels,h,w] to patches [V,K] or, where `back`, patches to latents. Token (f',y',x') holds
 * patch_t frames of p x p latent pixels: number ((c patch_t + dt) p + dy) p + dx; the channel is the slowest
 * index of a patch. */
static void move_patches(float *to, const float *from, const vdm_tape *t, const vdm_transformer_config *c,
                         int channels, bool back)
{
    int p = c->patch, pt = c->patch_t ? c->patch_t : 1, h = t->shape.h, w = t->shape.w;
    int rows = h / p, cols = w / p;
    int64_t n = 0; /* number of the patches */
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

/* Text rows [B,L,D] (NULL: zeros) and video rows [B,V,D] of every video, put together in h [B,S,D]; and the
 * video rows taken out of it */
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
static void embed_inputs(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, const float *x,
                         const float *text)
{
    const vdm_transformer_config *c = &m->config;
    int64_t video = (int64_t)t->shape.F * c->in_channels * t->shape.h * t->shape.w,
            rows = (int64_t)t->S * t->D, B = t->shape.B;
    for (int64_t b = 0; b < B; b++)
        patchify(t->patches + b * t->V * t->patch_in, x + b * video, t, c, c->in_channels);
    tap_see(t->tap, t->patches, SHAPE(B, t->V, t->patch_in), "patch_embed.patches");
    linear_forward(cpu, t->n, text, &m->text_proj, B * t->L);
    tap_see(t->tap, t->n, SHAPE(B, t->L, t->D), "patch_embed.text_proj");
    linear_forward(cpu, t->y, t->patches, &m->patch_proj, B * t->V);
    tap_see(t->tap, t->y, SHAPE(B, t->V, t->D), "patch_embed.proj");
    join_rows(t, t->h, t->n, t->y);
    for (int64_t b = 0; b < B && t->add_positions; b++)
        cpu->kernels->blend(cpu, t->h + b * rows, 1, t->h + b * rows, 1, t->add_positions, rows);
    tap_see(t->tap, t->h, SHAPE(B, t->S, t->D), "patch_embed");
}

/* ------------------------------------------------------------------------------------------------
 * A linear layer with an adapter: y = x W^T + b + s (x A^T) B^T */

static vdm_linear matrix(const float *data, int64_t rows, int64_t cols)
{
    vdm_linear l = {.weight = {data, VDM_F32, rows, cols}};
    return l;
}

/* A tensor of a block, [B,S,width]. */
static void see(const vdm_tape *t, const float *x, int64_t width, int layer, const char *name)
{
    tap_see(t->tap, x, SHAPE(t->shape.B, t->S, width), "transformer_blocks.%d.%s", layer, name);
}
static void see_target(const vdm_tape *t, const float *x, int64_t width, int layer, vdm_target which,
                       const char *part)
{
    tap_see(t->tap, x, SHAPE(t->shape.B, t->S, width), "transformer_blocks.%d.attn1.%s%s", layer,
            vdm_target_name(which), part);
}

/* A linear layer that may have an adapter, and where its output goes. */
struct adapted {
    vdm_target which;
    const vdm_linear *w;
    float *y; /* [n,D] */
};

/* y += low B^T, low [n,R] = s x A^T: with s inside it, dB = dy^T low. On entry low has no s yet. */
static void adapter_up(const vdm_cpu *cpu, const vdm_lora *lora, const vdm_tape *t, int block,
                       const struct adapted *to, float *low, int64_t n)
{
    int64_t R = lora->rank, D = lora->width;
    see_target(t, to->y, D, block, to->which, ".base_layer");
    see_target(t, low, R, block, to->which, ".lora_A");
    cpu->kernels->blend(cpu, low, lora->scale, low, 0, low, n * R);
    vdm_linear B = matrix(vdm_lora_b(lora, lora->params, block, to->which), D, R);
    vdm_matmul_args up = linear_args(to->y, low, &B, n);
    up.accumulate = true;
    cpu->kernels->matmul(cpu, &up);
}

/* y = x W^T + b + s (x A^T) B^T, of one layer or of q, k and v, whose W and A share one pass over x. */
static void adapted_forward(const vdm_cpu *cpu, const vdm_lora *lora, vdm_tape *t, int block,
                            const struct adapted *to, int count, const float *x, int64_t n)
{
    float *const *low = activations_of(t, block)->low;
    vdm_matmul_args pass[2 * 3] = {0};
    int products = 0;
    for (int i = 0; i < count; i++) pass[products++] = linear_args(to[i].y, x, to[i].w, n);
    for (int i = 0; lora && i < count; i++) {
        vdm_linear A = matrix(vdm_lora_a(lora, lora->params, block, to[i].which), lora->rank, lora->width);
        pass[products++] = linear_args(low[to[i].which], x, &A, n);
    }
    for (int i = 0; i + 1 < products; i++) pass[i].also = &pass[i + 1];
    cpu->kernels->matmul(cpu, pass);
    for (int i = 0; i < count; i++) {
        if (lora) adapter_up(cpu, lora, t, block, &to[i], low[to[i].which], n);
        see_target(t, to[i].y, t->D, block, to[i].which, "");
    }
}

/* dB += dy^T low;  dlow = s dy B;  dA += dlow^T x;  dx (+)= dy W + dlow A.  dx NULL: not wanted. */
static void adapted_backward(const vdm_cpu *cpu, const vdm_lora *lora, float *grad, vdm_tape *t, float *dx,
                             bool add, const float *dy, const float *x, const vdm_linear *w, int block,
                             vdm_target which, int64_t n)
{
    int64_t R = lora->rank, D = lora->width;
    const float *low = activations_of(t, block)->low[which];
    linear_backward_weight(cpu, vdm_lora_b(lora, grad, block, which), dy, low, n, D, R);
    vdm_linear A = matrix(vdm_lora_a(lora, lora->params, block, which), R, D);
    vdm_linear B = matrix(vdm_lora_b(lora, lora->params, block, which), D, R);
    vdm_matmul_args low_of_dy = linear_backward_args(t->dlow, dy, &B, n, false); /* one pass over dy */
    vdm_matmul_args input = linear_backward_args(dx, dy, w, n, add);
    input.also = &low_of_dy;
    cpu->kernels->matmul(cpu, dx ? &input : &low_of_dy);
    cpu->kernels->blend(cpu, t->dlow, lora->scale, t->dlow, 0, t->dlow, n * R);
    linear_backward_weight(cpu, vdm_lora_a(lora, grad, block, which), t->dlow, x, n, R, D);
    if (dx) linear_backward_input(cpu, dx, t->dlow, &A, n, true);
}

/* ------------------------------------------------------------------------------------------------
 * Attention half of a block (CogVideoXAttnProcessor2_0) */

static vdm_rows rows_of(const vdm_tape *t)
{
    vdm_rows r = {t->shape.B, t->S, t->L, t->D};
    return r;
}
static vdm_rows head_rows(const vdm_tape *t) /* every head's row on its own, [B*S*A, Dh] */
{
    vdm_rows r = {1, t->shape.B * t->S * t->A, 0, t->Dh};
    return r;
}
static vdm_attention_args attention_of(const vdm_tape *t, const struct activations *act)
{
    vdm_attention_args a = {.B = t->shape.B,
                            .A = t->A,
                            .S = t->S,
                            .Dh = t->Dh,
                            .q = act->q,
                            .k = act->k,
                            .v = act->v,
                            .o = act->o,
                            .lse = act->lse,
                            .d_o = t->dy,
                            .dq = t->dq,
                            .dk = t->dk,
                            .dv = t->dv};
    return a;
}

/* norm over Dh, then the rotation of the video rows; q_pre is what the norm's backward needs, or q itself */
static void qk_forward(const vdm_cpu *cpu, vdm_tape *t, const vdm_transformer_config *c, int layer,
                       char which, float *q, const float *q_pre, const vdm_norm *norm, float *mean,
                       float *rstd)
{
    vdm_rows heads = head_rows(t);
    int B = t->shape.B, S = t->S, A = t->A, Dh = t->Dh;
    cpu->kernels->layer_norm(cpu, q, q_pre, &heads, norm, QK_NORM_EPS, NULL, NULL, NULL, NULL, 0, mean, rstd);
    tap_see(t->tap, q, SHAPE(B, S, A, Dh), "transformer_blocks.%d.attn1.norm_%c", layer, which);
    if (!c->rotary) return;
    cpu->kernels->rope(cpu, q, B, S, t->L, A, Dh, t->rope_cos, t->rope_sin, 1);
    tap_see(t->tap, q, SHAPE(B, S, A, Dh), "transformer_blocks.%d.attn1.rope_%c", layer, which);
}
/* dq in place: the rotation back, then the norm's backward */
static void qk_backward(const vdm_cpu *cpu, vdm_tape *t, const vdm_transformer_config *c, float *dq,
                        const float *q_pre, const vdm_norm *norm, const float *mean, const float *rstd)
{
    vdm_rows heads = head_rows(t);
    if (c->rotary)
        cpu->kernels->rope(cpu, dq, t->shape.B, t->S, t->L, t->A, t->Dh, t->rope_cos, t->rope_sin, -1);
    cpu->kernels->layer_norm_backward(cpu, dq, dq, q_pre, &heads, norm, NULL, NULL, 0, mean, rstd, false);
}

/* What a norm is made of: the modulation vectors, and the norm before them, which no layer keeps. */
static void see_norm(const vdm_transformer *m, const vdm_cpu *cpu, const vdm_tape *t, int layer, int which,
                     const float *x)
{
    static const char *const chunks[] = {"shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"};
    const vdm_norm *norm = which ? &m->blocks[layer].norm2.norm : &m->blocks[layer].norm1.norm;
    struct modulation mod = modulation_of(t, layer, which);
    int64_t B = t->shape.B, D = t->D;
    vdm_rows r = rows_of(t);
    tap_see(t->tap, mod.shift, SHAPE(B, 6 * D), "transformer_blocks.%d.norm%d.linear", layer, which + 1);
    for (int i = 0; i < 6; i++)
        tap_pieces(t->tap, mod.shift + i * D, mod.stride, SHAPE(B, D), "transformer_blocks.%d.norm%d.%s",
                   layer, which + 1, chunks[i]);
    float *y = tap_room(t->tap, SHAPE(B, t->S, D), "transformer_blocks.%d.norm%d.norm", layer, which + 1);
    if (!y) return;
    cpu->kernels->layer_norm(cpu, y, x, &r, norm, (float)m->config.norm_eps, NULL, NULL, NULL, NULL, 0, NULL,
                             NULL);
    tap_show(t->tap, SHAPE(B, t->S, D));
}

/* t->n = the block's norm1 (which 0) or norm2 (which 1) of x, modulated */
static void norm_forward(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, int layer, int which,
                         const float *x)
{
    const struct activations *act = activations_of(t, layer);
    const vdm_block *b = &m->blocks[layer];
    struct modulation mod = modulation_of(t, layer, which);
    vdm_rows r = rows_of(t);
    cpu->kernels->layer_norm(cpu, t->n, x, &r, which ? &b->norm2.norm : &b->norm1.norm,
                             (float)m->config.norm_eps, mod.text_scale, mod.text_shift, mod.scale, mod.shift,
                             mod.stride, which ? act->mean2 : act->mean1, which ? act->rstd2 : act->rstd1);
    if (t->tap) see_norm(m, cpu, t, layer, which, x);
    see(t, t->n, t->D, layer, which ? "norm2" : "norm1");
}

/* q = rope(norm(to_q n)), k = rope(norm(to_k n)), v = to_v n, n = modulated norm1(h) */
static void project(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                    int layer, const float *h)
{
    const struct activations *act = activations_of(t, layer);
    const vdm_block *b = &m->blocks[layer];
    int64_t n = (int64_t)t->shape.B * t->S;
    norm_forward(m, cpu, t, layer, 0, h);
    const struct adapted qkv[] = {
        {VDM_Q, &b->q, act->q_pre}, {VDM_K, &b->k, act->k_pre}, {VDM_V, &b->v, act->v}};
    adapted_forward(cpu, lora, t, layer, qkv, 3, t->n, n);
    qk_forward(cpu, t, &m->config, layer, 'q', act->q, act->q_pre, &b->norm_q, act->q_mean, act->q_rstd);
    qk_forward(cpu, t, &m->config, layer, 'k', act->k, act->k_pre, &b->norm_k, act->k_mean, act->k_rstd);
}

/* h1 = h + gate * to_out(attention(q, k, v)) */
static void attention_forward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                              int layer, const float *h)
{
    const struct activations *act = activations_of(t, layer);
    const struct adapted out = {VDM_OUT, &m->blocks[layer].out, t->y};
    struct modulation mod = modulation_of(t, layer, 0);
    vdm_rows r = rows_of(t);
    vdm_attention_args a = attention_of(t, act);
    cpu->kernels->attention_forward(cpu, &a);
    see(t, act->o, t->D, layer, "attn1.attention");
    adapted_forward(cpu, lora, t, layer, &out, 1, act->o, (int64_t)r.B * r.S);
    cpu->kernels->gated_add(cpu, act->h1, h, t->y, &r, mod.text_gate, mod.gate, mod.stride);
}

/* dh += gradient through y = attention half of h, y having been added as gate * y.
 * Block 0 ends with its adapters: nothing upstream is trained. */
static void attention_backward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu,
                               vdm_tape *t, int layer, const float *h, float *grad)
{
    const vdm_kernels *k = cpu->kernels;
    const struct activations *act = activations_of(t, layer);
    const vdm_block *b = &m->blocks[layer];
    struct modulation mod = modulation_of(t, layer, 0);
    vdm_rows r = rows_of(t);
    int64_t n = (int64_t)t->shape.B * t->S;
    bool first = layer == 0;
    /* h1 = h + gate * y */
    k->gate(cpu, t->dn, t->dh, &r, mod.text_gate, mod.gate, mod.stride);
    /* y = to_out(o) */
    adapted_backward(cpu, lora, grad, t, t->dy, false, t->dn, act->o, &b->out, layer, VDM_OUT, n);
    /* o = attention(q, k, v), dL/do in dy */
    vdm_attention_args a = attention_of(t, act);
    k->attention_backward(cpu, &a);
    /* q = rope(norm(q_pre)) */
    qk_backward(cpu, t, &m->config, t->dq, act->q_pre, &b->norm_q, act->q_mean, act->q_rstd);
    qk_backward(cpu, t, &m->config, t->dk, act->k_pre, &b->norm_k, act->k_mean, act->k_rstd);
    /* q_pre = to_q(n), k_pre = to_k(n), v = to_v(n) */
    adapted_backward(cpu, lora, grad, t, first ? NULL : t->dn, false, t->dq, t->n, &b->q, layer, VDM_Q, n);
    adapted_backward(cpu, lora, grad, t, first ? NULL : t->dn, true, t->dk, t->n, &b->k, layer, VDM_K, n);
    adapted_backward(cpu, lora, grad, t, first ? NULL : t->dn, true, t->dv, t->n, &b->v, layer, VDM_V, n);
    if (first) return;
    /* n = norm1(h)(1 + scale) + shift */
    k->layer_norm_backward(cpu, t->dh, t->dn, h, &r, &b->norm1.norm, mod.text_scale, mod.scale, mod.stride,
                           act->mean1, act->rstd1, true);
}

/* ------------------------------------------------------------------------------------------------
 * Feed-forward half of a block (FeedForward, gelu-approximate): a part of its 4D hidden numbers at a time, so
 * that no buffer is 4D wide */

/* What goes on inside the feed-forward, computed once more: its buffers hold a part. */
static void see_feed_forward(const vdm_transformer *m, const vdm_cpu *cpu, const vdm_tape *t, int layer)
{
    int64_t rows = (int64_t)t->shape.B * t->S, hidden = 4 * (int64_t)t->D;
    const int64_t shape[] = {t->shape.B, t->S, hidden};
    float *up = tap_room(t->tap, 3, shape, "transformer_blocks.%d.ff.net.0.proj", layer);
    if (up) linear_forward(cpu, up, t->n, &m->blocks[layer].ff_up, rows);
    if (up) tap_show(t->tap, 3, shape);
    float *y = tap_room(t->tap, 3, shape, "transformer_blocks.%d.ff.net.0", layer); /* in the same place */
    if (y && !up) linear_forward(cpu, y, t->n, &m->blocks[layer].ff_up, rows);
    if (!y) return;
    cpu->kernels->gelu(cpu, y, y, rows * hidden);
    tap_show(t->tap, 3, shape);
}

/* `count` of the hidden numbers: outputs of `up`, inputs of `down` */
struct part {
    int64_t count;
    vdm_linear up;
    vdm_matmul_args down; /* forward, from t->hidden to t->y */
    float *kept;          /* before GELU; NULL: not kept */
};
static const void *number_of(const vdm_matrix *w, int64_t i)
{
    return (const char *)w->data + i * (int64_t)vdm_dtype_bytes(w->dtype);
}
static struct part part_of(const vdm_tape *t, const vdm_block *b, const struct activations *act,
                           int64_t first)
{
    const vdm_linear *up = &b->ff_up, *down = &b->ff_down;
    int64_t rows = (int64_t)t->shape.B * t->S, D = t->D, left = 4 * D - first,
            count = left < t->P ? left : t->P;
    struct part p = {count, *up, linear_args(t->y, t->hidden, down, rows), NULL};
    p.up.weight.data = number_of(&up->weight, first * D);
    p.up.weight.rows = count;
    p.up.bias += first;
    p.down.b = number_of(&down->weight, first);
    p.down.K = p.down.a_row = count;
    p.down.accumulate = first > 0;
    p.down.bias = count == left ? down->bias : NULL;
    if (act->up) p.kept = act->up + rows * first;
    return p;
}

/* y = down(gelu(up(n))), n = modulated norm2(h1) */
static void feed_forward(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, int layer,
                         const float *h1)
{
    const struct activations *act = activations_of(t, layer);
    int64_t rows = (int64_t)t->shape.B * t->S;
    norm_forward(m, cpu, t, layer, 1, h1);
    if (t->tap) see_feed_forward(m, cpu, t, layer);
    for (int64_t i = 0; i < 4 * t->D; i += t->P) {
        struct part p = part_of(t, &m->blocks[layer], act, i);
        float *up = p.kept ? p.kept : t->hidden;
        linear_forward(cpu, up, t->n, &p.up, rows);
        cpu->kernels->gelu(cpu, t->hidden, up, rows * p.count);
        cpu->kernels->matmul(cpu, &p.down);
    }
    see(t, t->y, t->D, layer, "ff");
}

/* dhidden = dy W_down's columns of this part */
static void down_backward(const vdm_cpu *cpu, const vdm_tape *t, const vdm_linear *down, const struct part *p)
{
    const vdm_matrix *w = &down->weight;
    vdm_matmul_args m = {.M = p->down.M,
                         .N = p->count,
                         .K = w->rows,
                         .a = t->dy,
                         .a_row = w->rows,
                         .a_col = 1,
                         .b = p->down.b,
                         .b_dtype = w->dtype,
                         .b_row = w->cols,
                         .b_col = 1,
                         .c = t->dhidden,
                         .c_row = p->count};
    cpu->kernels->matmul(cpu, &m);
}

/* dh += gradient through y = feed_forward(h1), y having been added as gate * y. Where `up` was not kept it
 * is made from n = norm2(h1). */
static void feed_backward(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, int layer)
{
    const struct activations *act = activations_of(t, layer);
    const vdm_block *b = &m->blocks[layer];
    struct modulation mod = modulation_of(t, layer, 1);
    vdm_rows r = rows_of(t);
    int64_t rows = (int64_t)t->shape.B * t->S;
    /* h = h1 + gate * y */
    cpu->kernels->gate(cpu, t->dy, t->dh, &r, mod.text_gate, mod.gate, mod.stride);
    for (int64_t i = 0; i < 4 * t->D; i += t->P) {
        /* y = down(gelu(up)), up = ff_up(n); y is not needed */
        struct part p = part_of(t, b, act, i);
        float *up = p.kept ? p.kept : t->hidden;
        if (!p.kept) linear_forward(cpu, up, t->n, &p.up, rows);
        down_backward(cpu, t, &b->ff_down, &p);
        cpu->kernels->gelu_backward(cpu, t->dhidden, t->dhidden, up, rows * p.count);
        linear_backward_input(cpu, t->dn, t->dhidden, &p.up, rows, i > 0);
    }
    /* n = norm2(h1)(1 + scale) + shift */
    cpu->kernels->layer_norm_backward(cpu, t->dh, t->dn, act->h1, &r, &b->norm2.norm, mod.text_scale,
                                      mod.scale, mod.stride, act->mean2, act->rstd2, true);
}

/* ------------------------------------------------------------------------------------------------
 * A block (CogVideoXBlock): h += gate1 * attention(norm1(h)); h += gate2 * ff(norm2(h)) */

static void block_forward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                          int layer)
{
    struct modulation mod = modulation_of(t, layer, 1);
    vdm_rows r = rows_of(t);
    const float *h = h_at(t, layer), *h1 = activations_of(t, layer)->h1;
    float *next = h_at(t, layer + 1);
    project(m, lora, cpu, t, layer, h);
    attention_forward(m, lora, cpu, t, layer, h);
    see(t, h1, t->D, layer, "h1");
    feed_forward(m, cpu, t, layer, h1);
    cpu->kernels->gated_add(cpu, next, h1, t->y, &r, mod.text_gate, mod.gate, mod.stride);
    tap_see(t->tap, next, SHAPE(r.B, r.S, r.D), "transformer_blocks.%d", layer);
}

/* What a block did not keep, from its input h up to n = norm2(h1) */
static void compute_again(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                          int layer, const float *h)
{
    project(m, lora, cpu, t, layer, h);
    if (layer < first_kept(t)) attention_forward(m, lora, cpu, t, layer, h);
    norm_forward(m, cpu, t, layer, 1, activations_of(t, layer)->h1);
}

/* dh: gradient of the block's output on entry, of its input on return (block 0 leaves it unfinished).
 * The feed-forward half goes first; its norm2(h1) and the attention half's norm1(h) share the buffer n. */
static void block_backward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                           int layer, float *grad)
{
    const float *h = h_at(t, layer);
    if (!keeps_all(t, layer)) compute_again(m, lora, cpu, t, layer, h);
    feed_backward(m, cpu, t, layer);
    norm_forward(m, cpu, t, layer, 0, h);
    attention_backward(m, lora, cpu, t, layer, h, grad);
}

/* ------------------------------------------------------------------------------------------------
 * The head: v = unpatchify(proj_out(norm_out(norm_final(h)))): two layer norms, one after the other, of
 * the video rows alone; the second one modulated (AdaLayerNorm), shift before scale. */

static vdm_rows video_rows(const vdm_tape *t)
{
    vdm_rows r = {t->shape.B, t->V, 0, t->D};
    return r;
}

/* n = norm_final(h), y = norm_out(n)(1 + scale) + shift: [B,V,D] */
static void head_norms(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t)
{
    const float *shift = t->head_modulation, *scale = shift + t->D;
    vdm_rows r = video_rows(t);
    float eps = (float)m->config.norm_eps;
    take_video_rows(t, t->y, h_at(t, t->layers));
    cpu->kernels->layer_norm(cpu, t->n, t->y, &r, &m->norm_final, eps, NULL, NULL, NULL, NULL, 0,
                             t->head_mean[0], t->head_rstd[0]);
    cpu->kernels->layer_norm(cpu, t->y, t->n, &r, &m->norm_out, eps, scale, shift, scale, shift, 2 * t->D,
                             t->head_mean[1], t->head_rstd[1]);
}

/* first [B,V,D]: what norm_final gave, norm_out's input */
static void see_head(const vdm_transformer *m, const vdm_cpu *cpu, const vdm_tape *t, const float *first)
{
    int64_t B = t->shape.B, D = t->D;
    vdm_rows r = {1, (int)B * t->V, 0, D};
    tap_see(t->tap, first, SHAPE(B, t->V, D), "norm_final");
    tap_see(t->tap, t->head_modulation, SHAPE(B, 2 * D), "norm_out.linear");
    tap_pieces(t->tap, t->head_modulation, 2 * D, SHAPE(B, D), "norm_out.shift");
    tap_pieces(t->tap, t->head_modulation + D, 2 * D, SHAPE(B, D), "norm_out.scale");
    float *y = tap_room(t->tap, SHAPE(B, t->V, D), "norm_out.norm");
    if (!y) return;
    cpu->kernels->layer_norm(cpu, y, first, &r, &m->norm_out, (float)m->config.norm_eps, NULL, NULL, NULL,
                             NULL, 0, NULL, NULL);
    tap_show(t->tap, SHAPE(B, t->V, D));
}

static void head_forward(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, float *v)
{
    const vdm_transformer_config *c = &m->config;
    int64_t video = (int64_t)t->shape.F * c->out_channels * t->shape.h * t->shape.w, B = t->shape.B;
    head_norms(m, cpu, t);
    if (t->tap) see_head(m, cpu, t, t->n);
    tap_see(t->tap, t->y, SHAPE(B, t->V, t->D), "norm_out");
    linear_forward(cpu, t->patches, t->y, &m->proj_out, B * t->V);
    tap_see(t->tap, t->patches, SHAPE(B, t->V, t->patch_out), "proj_out");
    for (int64_t b = 0; b < B; b++)
        unpatchify(v + b * video, t->patches + b * t->V * t->patch_out, t, c, c->out_channels);
}

/* dh [B,S,D] = dL/dh: 0 in the text rows, which the head never reads */
static void head_backward(const vdm_transformer *m, const vdm_cpu *cpu, vdm_tape *t, const float *dv)
{
    const vdm_kernels *k = cpu->kernels;
    const vdm_transformer_config *c = &m->config;
    int64_t video = (int64_t)t->shape.F * c->out_channels * t->shape.h * t->shape.w, B = t->shape.B;
    const float *scale = t->head_modulation + t->D;
    vdm_rows r = video_rows(t);
    head_norms(m, cpu, t);
    /* v = unpatchify(patches), patches = proj_out(second) */
    for (int64_t b = 0; b < B; b++)
        patchify(t->patches + b * t->V * t->patch_out, dv + b * video, t, c, c->out_channels);
    linear_backward_input(cpu, t->dn, t->patches, &m->proj_out, B * t->V, false);
    /* second = norm_out(first)(1 + scale) + shift, first = norm_final(h) */
    k->layer_norm_backward(cpu, t->dn, t->dn, t->n, &r, &m->norm_out, scale, scale, 2 * t->D, t->head_mean[1],
                           t->head_rstd[1], false);
    take_video_rows(t, t->y, h_at(t, t->layers));
    k->layer_norm_backward(cpu, t->dn, t->dn, t->y, &r, &m->norm_final, NULL, NULL, 0, t->head_mean[0],
                           t->head_rstd[0], false);
    join_rows(t, t->dh, NULL, t->dn);
}

/* ------------------------------------------------------------------------------------------------
 * The whole */

static void see_inputs(const vdm_transformer_config *c, const vdm_tape *t, const float *x, const float *text,
                       const double *timestep)
{
    const vdm_tape_shape *s = &t->shape;
    float *times = tap_room(t->tap, SHAPE(s->B), "t");
    for (int b = 0; times && b < s->B; b++) times[b] = (float)timestep[b];
    if (times) tap_show(t->tap, SHAPE(s->B));
    tap_see(t->tap, x, SHAPE(s->B, s->F, c->in_channels, s->h, s->w), "x");
    tap_see(t->tap, text, SHAPE(s->B, t->L, c->text_dim), "text");
    if (c->ofs_dim) tap_see(t->tap, &OFS, SHAPE(1), "ofs");
    if (c->rotary) tap_see(t->tap, t->rope_cos, SHAPE(t->V, t->Dh / 2), "rope.cos");
    if (c->rotary) tap_see(t->tap, t->rope_sin, SHAPE(t->V, t->Dh / 2), "rope.sin");
    if (t->add_positions) tap_see(t->tap, t->add_positions, SHAPE(t->S, t->D), "positions");
}

void vdm_transformer_forward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                             const float *x, const float *text, const double *timestep, float *v)
{
    t->tap = cpu->tap;
    if (t->tap) see_inputs(&m->config, t, x, text, timestep);
    embed_timesteps(m, cpu, t, timestep);
    embed_inputs(m, cpu, t, x, text);
    for (int l = 0; l < t->layers; l++) block_forward(m, lora, cpu, t, l);
    head_forward(m, cpu, t, v);
    tap_see(t->tap, v, SHAPE(t->shape.B, t->shape.F, m->config.out_channels, t->shape.h, t->shape.w), "v");
    t->tap = NULL;
}

void vdm_transformer_backward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu, vdm_tape *t,
                              const float *dv, float *grad)
{
    const vdm_tape_shape *s = &t->shape;
    tap_see(cpu->tap, dv, SHAPE(s->B, s->F, m->config.out_channels, s->h, s->w), "grad.v");
    head_backward(m, cpu, t, dv);
    for (int l = t->layers - 1; l >= 0; l--) {
        tap_see(cpu->tap, t->dh, SHAPE(s->B, t->S, t->D), "grad.transformer_blocks.%d", l);
        block_backward(m, lora, cpu, t, l, grad);
    }
}
