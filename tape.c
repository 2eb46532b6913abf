/* The layout of the tape (tape.h): sizes of buffers, and which of them share memory. */
#include "tape.h"
#include "kernels/kernels.h"

struct cursor {
    float *base; /* NULL: only counts */
    size_t used;
};

static float *take(struct cursor *c, int64_t count)
{
    float *p = c->base ? c->base + c->used : NULL;
    c->used += ((size_t)count + 15) / 16 * 16;
    return p;
}

static void sizes(vdm_tape *t, const vdm_transformer_config *c, const vdm_tape_shape *s)
{
    int patch_t = c->patch_t ? c->patch_t : 1;
    t->shape = *s;
    if (!s->backward) t->shape.stored = t->shape.stored_attention = 0;
    if (t->shape.stored > c->layers) t->shape.stored = c->layers;
    if (t->shape.stored_attention > c->layers - t->shape.stored)
        t->shape.stored_attention = c->layers - t->shape.stored;
    t->D = c->heads * c->head_dim;
    t->P = (2 * t->D + VDM_CHAIN - 1) / VDM_CHAIN * VDM_CHAIN; /* a partial chain would change the bits */
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

static int64_t rows_of(const vdm_tape *t)
{
    return (int64_t)t->shape.B * t->S;
}

/* One of two arrays [B,S,D] that share the memory of one [B*S,P]: P is at least 2D. */
static float *array_in(const vdm_tape *t, float *hidden, int i)
{
    return hidden ? hidden + i * rows_of(t) * t->D : NULL;
}

/* A forward pass alone: n is free when attention writes o, q when to_out writes y, k and v when the feed-forward
 * begins. to_out and the feed-forward use the lora_mid of q. */
static void lay_out_forward_alone(vdm_tape *t, struct cursor *at)
{
    struct activations *a = &t->shared;
    int64_t rows = rows_of(t);
    t->y = a->q_pre = a->q = take(at, rows * t->D);
    a->k_pre = a->k = array_in(t, t->hidden, 0);
    a->v = array_in(t, t->hidden, 1);
    a->o = t->n;
    a->h1 = t->h;
    a->lse = take(at, rows * t->A);
    for (int i = 0; i < 4; i++) a->lora_mid[i] = i != VDM_OUT ? take(at, rows * t->R) : a->lora_mid[VDM_Q];
    t->feed.up_mid = t->feed.down_mid = a->lora_mid[VDM_Q];
}

/* The attention outputs of a set of activations; and the rest, without `up` */
static void lay_out_attention_outputs(struct activations *a, const vdm_tape *t, struct cursor *at)
{
    int64_t rows = rows_of(t);
    a->o = take(at, rows * t->D);
    a->h1 = take(at, rows * t->D);
    a->lse = take(at, rows * t->A);
    a->lora_mid[VDM_OUT] = take(at, rows * t->R);
}
static void lay_out_rest(struct activations *a, const vdm_tape *t, struct cursor *at)
{
    int64_t rows = rows_of(t);
    float **wide[] = {&a->q_pre, &a->k_pre, &a->q, &a->k, &a->v};
    for (int i = 0; i < 5; i++) *wide[i] = take(at, rows * t->D);
    for (int i = 0; i < 4; i++)
        if (i != VDM_OUT) a->lora_mid[i] = take(at, rows * t->R);
    float **by_head[] = {&a->q_mean, &a->q_rstd, &a->k_mean, &a->k_rstd};
    float **by_row[] = {&a->mean[0], &a->rstd[0], &a->mean[1], &a->rstd[1]};
    for (int i = 0; i < 4; i++) {
        *by_head[i] = take(at, rows * t->A);
        *by_row[i] = take(at, rows);
    }
}

/* The activations of all blocks. A block that stores only its attention outputs recomputes the rest in the shared set. */
static void lay_out_activations(vdm_tape *t, struct cursor *at)
{
    int first = first_stored(t);
    struct activations counted; /* while `stored` is not allocated: the layout is only counted */
    if (t->shape.stored < t->layers) lay_out_rest(&t->shared, t, at);
    if (first > 0) lay_out_attention_outputs(&t->shared, t, at);
    for (int layer = first; layer < t->layers; layer++) {
        struct activations *a = t->stored ? &t->stored[layer - first] : &counted;
        *a = t->shared;
        lay_out_attention_outputs(a, t, at);
        if (!stores_all(t, layer)) continue;
        lay_out_rest(a, t, at);
        a->up = take(at, rows_of(t) * 4 * t->D);
    }
}

/* `up` is free when attention's backward pass begins, y when the feed-forward's does, and attention's dy when
 * to_out's has given d_o. */
static void lay_out_gradients(vdm_tape *t, struct cursor *at)
{
    int64_t rows = rows_of(t);
    t->feed.dhidden = take(at, rows * t->P);
    t->attention.dq = array_in(t, t->hidden, 0);
    t->attention.dk = array_in(t, t->hidden, 1);
    t->attention.dv = array_in(t, t->feed.dhidden, 0);
    t->y = array_in(t, t->feed.dhidden, 1);
    t->dh = take(at, rows * t->D);
    t->head.du = t->feed.dn = t->attention.dn = t->attention.dy = take(at, rows * t->D);
    t->feed.dy = t->attention.d_o = take(at, rows * t->D);
    t->attention.dlora_mid = take(at, rows * t->R);
    if (t->shape.feed_forward) {
        t->feed.up_mid = take(at, rows * t->R);
        t->feed.down_mid = take(at, rows * t->R);
        t->feed.gelu = take(at, rows * t->P);
    }
    for (int i = 0; i < 2; i++) {
        t->head.mean[i] = take(at, (int64_t)t->shape.B * t->V);
        t->head.rstd[i] = take(at, (int64_t)t->shape.B * t->V);
    }
}

static bool computes_positions(const vdm_transformer_config *c, int F)
{
    int frames = (F - 1) * c->temporal_compression + 1;
    return !c->rotary || (c->learned_positions && frames != c->sample_frames);
}

/* Lays all buffers out at at->base; if that is NULL, computes only at->used. */
static void lay_out(vdm_tape *t, const vdm_transformer_config *c, struct cursor *at)
{
    int64_t B = t->shape.B, D = t->D, S = t->S, V = t->V, E = t->E, rows = B * S;
    t->rope_cos = take(at, V * t->Dh / 2);
    t->rope_sin = take(at, V * t->Dh / 2);
    if (computes_positions(c, t->shape.F)) t->positions = take(at, S * D);
    t->sinusoid = take(at, B * (t->D > c->ofs_dim ? t->D : c->ofs_dim));
    t->emb = take(at, B * E);
    t->emb_hidden = take(at, B * E);
    t->emb_ofs = t->emb_silu = take(at, B * E);
    t->modulation = take(at, (int64_t)t->layers * 2 * B * 6 * D);
    t->head_modulation = take(at, B * 2 * D);
    t->patches = take(at, B * V * (t->patch_in > t->patch_out ? t->patch_in : t->patch_out));
    t->h = take(at, (t->shape.backward ? t->layers + 1 : 1) * rows * D);
    t->n = take(at, rows * D);
    t->hidden = take(at, rows * t->P);
    if (t->shape.backward) {
        lay_out_activations(t, at);
        lay_out_gradients(t, at);
    } else {
        lay_out_forward_alone(t, at);
    }
    t->text_rows = t->head.n = t->n;
    t->video_rows = t->head.x = t->head.u = t->y;
}

size_t vdm_tape_bytes(const vdm_transformer_config *c, const vdm_tape_shape *s)
{
    vdm_tape t = {0};
    struct cursor at = {0};
    sizes(&t, c, s);
    lay_out(&t, c, &at);
    return at.used * sizeof(float);
}

vdm_tape *vdm_tape_alloc(const vdm_transformer_config *c, const vdm_tape_shape *s, vdm_error *err)
{
    vdm_tape *t = vdm_alloc(1, sizeof *t, "the transformer's tape", err);
    if (!t) return NULL;
    struct cursor at = {0};
    sizes(t, c, s);
    lay_out(t, c, &at);
    t->memory = vdm_alloc(at.used, sizeof(float), "the transformer's activations", err);
    t->stored = vdm_alloc((size_t)(t->shape.stored_attention + t->shape.stored), sizeof *t->stored,
                          "the transformer's activations", err);
    if (!t->memory || !t->stored) {
        vdm_tape_free(t);
        return NULL;
    }
    at = (struct cursor){.base = t->memory};
    lay_out(t, c, &at);
    return t;
}

void vdm_tape_free(vdm_tape *t)
{
    if (!t) return;
    vdm_free(t->memory);
    vdm_free(t->stored);
    vdm_free(t);
}
