/* Models: the weights of a diffusers folder, read as published (config.c reads its configurations).
 *
 *   transformer/  config.json, diffusion_pytorch_model*.safetensors   -> vdm_transformer
 *   vae/          config.json, diffusion_pytorch_model*.safetensors   -> vdm_vae
 *   text_encoder/ config.json, model*.safetensors                     -> vdm_text_encoder
 *
 * Mirrors CogVideoXTransformer3DModel, AutoencoderKLCogVideoX and T5EncoderModel: the same names and shapes of weights.
 *
 * Traps
 *   patch_size_t is null in the 1.0 models, and their patch projection is a convolution [D,C,p,p], in memory the matrix
 *   [D, C p p]. patch_bias = false has an effect only there: the 1.5 models have false and nevertheless a bias.
 *   A convolution's weight is [out,in,kt,k,k] in the file, and [kt k k in, out] in the kernels. */
#include "files/config_keys.h"
#include "files/stream.h"
#include "kernels/kernels.h"

#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Taking tensors from a file, each by name and shape. Errors are collected and reported in one sentence. */

typedef struct problems {
    int count, shown;
    char text[240]; /* the names that are reported */
} problems;

typedef struct loader {
    vdm_safetensors file;
    bool *used;     /* [file.count] */
    char *at;       /* place of the next array in the result's own memory */
    vdm_team *team; /* repacks in parallel; NULL: alone */
    problems missing, misshapen, infinite, unequal;
} loader;

static void add_problem(problems *c, const char *format, ...)
{
    size_t length = strlen(c->text);
    c->count++;
    if (c->shown == 3 || length + 60 > sizeof c->text) return;
    c->shown++;
    va_list args;
    va_start(args, format);
    snprintf(c->text + length, sizeof c->text - length, "%s", length ? ", " : "");
    length = strlen(c->text);
    vsnprintf(c->text + length, sizeof c->text - length, format, args);
    va_end(args);
}

static const char *shape_text(char text[static 128], int rank, const int64_t *shape)
{
    int at = snprintf(text, 128, "[");
    for (int i = 0; i < rank && at < 100; i++)
        at += snprintf(text + at, 128 - (size_t)at, "%s%lld", i ? "," : "", (long long)shape[i]);
    snprintf(text + at, 128 - (size_t)at, "]");
    return text;
}

/* The tensor prefix + name of that shape; if there is none, notes a problem and returns NULL. What is converted may be
 * doubles: diffusers saves the learned positions so. Matrices are used as they are. */
static const vdm_tensor *take(loader *l, const char *prefix, const char *name, int rank, const int64_t *shape,
                              bool converted)
{
    char full[VDM_MAX_NAME], expected[128], found[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const vdm_tensor *t = vdm_safetensors_find(&l->file, full);
    if (!t) {
        add_problem(&l->missing, "'%s'", full);
        return NULL;
    }
    l->used[t - l->file.tensors] = true;
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
    if (!same)
        add_problem(&l->misshapen, "'%s': expected %s, found %s", full, shape_text(expected, rank, shape),
                    shape_text(found, t->rank, t->shape));
    bool floating = t->dtype <= VDM_BF16 || (t->dtype == VDM_F64 && converted);
    if (same && !floating)
        add_problem(&l->misshapen, "'%s': expected F32, F16 or BF16, found %s", full,
                    vdm_dtype_name(t->dtype));
    return same && floating ? t : NULL;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void *reserve(loader *l, size_t bytes)
{
    void *p = l->at;
    l->at += round_up(bytes);
    return p;
}

/* Checks a copied tensor. NaN in matrices that stay mapped is found in the result of the first step
 * (vdm_safetensors_check_finite): a check here would read the whole file. */
static void check_copied(loader *l, const vdm_tensor *t, const void *data, vdm_dtype dtype)
{
    int64_t at = vdm_first_not_finite(data, dtype, vdm_tensor_count(t));
    if (at >= 0) add_problem(&l->infinite, "'%s': element %lld", t->name, (long long)at);
}

/* A copy in f32; notes a problem and returns NULL if that fails. */
static const float *take_floats(loader *l, const char *prefix, const char *name, int rank,
                                const int64_t *shape)
{
    const vdm_tensor *t = take(l, prefix, name, rank, shape, true);
    if (!t) return NULL;
    float *floats = reserve(l, (size_t)vdm_tensor_count(t) * sizeof *floats);
    vdm_widen(floats, t->data, t->dtype, vdm_tensor_count(t));
    check_copied(l, t, floats, VDM_F32);
    return floats;
}

static const float *take_vector(loader *l, const char *prefix, const char *name, int64_t n)
{
    return take_floats(l, prefix, name, 1, &n);
}

static void take_norm(loader *l, vdm_norm *norm, int64_t n, const char *prefix)
{
    norm->gamma = take_vector(l, prefix, ".weight", n);
    norm->beta = take_vector(l, prefix, ".bias", n);
}

/* Maximum bytes of the result's own copies: all vectors in f32, learned positions, and for the VAE (`repacked`) every
 * convolution. Counted over the file, before anything is taken from it. */
static size_t own_bytes(const loader *l, bool repacked)
{
    size_t bytes = 64;
    for (int64_t i = 0; i < l->file.count; i++) {
        const vdm_tensor *t = &l->file.tensors[i];
        if (t->rank == 1 || (!repacked && t->rank == 3))
            bytes += round_up((size_t)vdm_tensor_count(t) * sizeof(float));
        else if (repacked)
            bytes += round_up(t->bytes);
    }
    return bytes;
}

static const char WEIGHTS[] = "diffusion_pytorch_model"; /* diffusers' name of the file; T5's is "model" */

/* *memory: `more` bytes beyond those of own_bytes; l->at points into it. */
static int loader_open(loader *l, const char *dir, const char *stem, bool repacked, size_t more,
                       void **memory, vdm_error *err)
{
    *l = (loader){0};
    *memory = NULL;
    if (vdm_safetensors_open_folder(&l->file, dir, stem, err)) return -1;
    l->used = vdm_alloc((size_t)l->file.count, sizeof *l->used, dir, err);
    *memory = l->used ? vdm_alloc(own_bytes(l, repacked) + more, 1, dir, err) : NULL;
    l->at = *memory;
    return *memory ? 0 : -1;
}

/* Reports the problems, after the last tensor. */
static int loader_report(const loader *l, vdm_error *err)
{
    problems extra = {0};
    for (int64_t i = 0; i < l->file.count; i++)
        if (!l->used[i]) add_problem(&extra, "'%s'", l->file.tensors[i].name);
    const problems *all[] = {&l->missing, &extra, &l->misshapen, &l->infinite, &l->unequal};
    static const char *const titles[] = {"missing", "not known to this model", "of another shape or type",
                                         "NaN or infinite", "expected to be equal"};
    enum { KINDS = sizeof all / sizeof *all };
    char text[900] = "";
    size_t at = 0;
    for (int i = 0; i < KINDS; i++) {
        char more[32] = "";
        if (all[i]->count == 0) continue;
        if (all[i]->count > all[i]->shown)
            snprintf(more, sizeof more, " and %d more", all[i]->count - all[i]->shown);
        int n = snprintf(text + at, sizeof text - at, "%s%s: %s%s", at ? "; " : "", titles[i], all[i]->text,
                         more);
        at += (size_t)n < sizeof text - at ? (size_t)n : sizeof text - at - 1;
    }
    return at ? vdm_fail(err, "%s: tensors: %s", l->file.path, text) : 0;
}

/* ------------------------------------------------------------------------------------------------
 * CogVideoXTransformer3DModel */

/* weight [out,in], used where it is mapped; no bias. */
static void take_matrix(loader *l, vdm_linear *w, int64_t out, int64_t in, const char *prefix)
{
    const vdm_tensor *t = take(l, prefix, ".weight", 2, (int64_t[]){out, in}, false);
    *w = (vdm_linear){.weight = {t ? t->data : NULL, t ? t->dtype : VDM_F32, out, in, 0}};
}

/* The same with a bias [out], converted to f32. */
static void take_linear(loader *l, vdm_linear *w, int64_t out, int64_t in, const char *prefix)
{
    take_matrix(l, w, out, in, prefix);
    w->bias = take_vector(l, prefix, ".bias", out);
}

static void take_patch_proj(loader *l, vdm_linear *w, const vdm_transformer_config *c)
{
    int64_t D = (int64_t)c->heads * c->head_dim, p = c->patch;
    if (c->patch_t > 0) {
        take_linear(l, w, D, c->in_channels * p * p * c->patch_t, "patch_embed.proj");
        return;
    }
    /* Conv2d [D,C,p,p]: the matrix [D, C p p], columns in order (c, dy, dx), is the same memory */
    const vdm_tensor *t =
        take(l, "patch_embed.proj", ".weight", 4, (int64_t[]){D, c->in_channels, p, p}, false);
    w->weight = (vdm_matrix){.data = t ? t->data : NULL,
                             .dtype = t ? t->dtype : VDM_F32,
                             .rows = D,
                             .cols = c->in_channels * p * p};
    if (c->patch_bias) w->bias = take_vector(l, "patch_embed.proj", ".bias", D);
}

/* patch_embed.pos_embedding [1, L + V, D] for the sample size */
static const float *take_positions(loader *l, const vdm_transformer_config *c)
{
    int64_t frames = (c->sample_frames - 1) / c->temporal_compression + 1;
    int64_t V = frames * (c->sample_height / c->patch) * (c->sample_width / c->patch);
    int64_t shape[] = {1, c->text_tokens + V, (int64_t)c->heads * c->head_dim};
    return take_floats(l, "patch_embed", ".pos_embedding", 3, shape);
}

static void take_block(loader *l, vdm_block *b, const vdm_transformer_config *c, int index)
{
    int64_t Dh = c->head_dim, D = c->heads * Dh, E = c->time_dim;
    char block[64], name[128];
    snprintf(block, sizeof block, "transformer_blocks.%d.", index);
#define NAMED(text) (snprintf(name, sizeof name, "%s%s", block, text), name)
    take_linear(l, &b->norm[0].linear, 6 * D, E, NAMED("norm1.linear"));
    take_norm(l, &b->norm[0].norm, D, NAMED("norm1.norm"));
    take_norm(l, &b->norm_q, Dh, NAMED("attn1.norm_q"));
    take_norm(l, &b->norm_k, Dh, NAMED("attn1.norm_k"));
    take_linear(l, &b->q, D, D, NAMED("attn1.to_q"));
    take_linear(l, &b->k, D, D, NAMED("attn1.to_k"));
    take_linear(l, &b->v, D, D, NAMED("attn1.to_v"));
    take_linear(l, &b->out, D, D, NAMED("attn1.to_out.0"));
    take_linear(l, &b->norm[1].linear, 6 * D, E, NAMED("norm2.linear"));
    take_norm(l, &b->norm[1].norm, D, NAMED("norm2.norm"));
    take_linear(l, &b->ff_up, 4 * D, D, NAMED("ff.net.0.proj"));
    take_linear(l, &b->ff_down, D, 4 * D, NAMED("ff.net.2"));
#undef NAMED
}

static void take_transformer(loader *l, vdm_transformer *m)
{
    const vdm_transformer_config *c = &m->config;
    int64_t D = (int64_t)c->heads * c->head_dim, E = c->time_dim, O = c->ofs_dim;
    take_patch_proj(l, &m->patch_proj, c);
    take_linear(l, &m->text_proj, D, c->text_dim, "patch_embed.text_proj");
    if (c->learned_positions) m->positions = take_positions(l, c);
    take_linear(l, &m->time1, E, D, "time_embedding.linear_1");
    take_linear(l, &m->time2, E, E, "time_embedding.linear_2");
    if (O) {
        take_linear(l, &m->ofs1, O, O, "ofs_embedding.linear_1");
        take_linear(l, &m->ofs2, O, O, "ofs_embedding.linear_2");
    }
    for (int i = 0; i < c->layers; i++) take_block(l, &m->blocks[i], c, i);
    take_norm(l, &m->norm_final, D, "norm_final");
    take_linear(l, &m->norm_out_linear, 2 * D, E, "norm_out.linear");
    take_norm(l, &m->norm_out, D, "norm_out.norm");
    int64_t patch_t = c->patch_t > 0 ? c->patch_t : 1;
    take_linear(l, &m->proj_out, patch_t * c->patch * c->patch * c->out_channels, D, "proj_out");
}

int vdm_transformer_load(vdm_transformer *m, const char *dir, vdm_error *err)
{
    *m = (vdm_transformer){0};
    loader l = {0};
    void *memory = NULL;
    int status = vdm_transformer_config_read(&m->config, dir, err);
    if (status == 0) status = loader_open(&l, dir, WEIGHTS, false, 0, &memory, err);
    if (status == 0) {
        m->blocks = vdm_alloc((size_t)m->config.layers, sizeof *m->blocks, dir, err);
        status = m->blocks ? 0 : -1;
    }
    if (status == 0) {
        take_transformer(&l, m);
        status = loader_report(&l, err);
    }
    vdm_free(l.used);
    m->small = memory;
    m->file = l.file;
    if (status) vdm_transformer_free(m);
    return status;
}

/* The large matrices of a block. Those of its modulation are used at the beginning of a pass, all blocks' together. */
enum { BLOCK_MATRICES = 6 };
static size_t extents_of(vdm_extent e[BLOCK_MATRICES], const vdm_block *b)
{
    const vdm_linear *w[] = {&b->q, &b->k, &b->v, &b->out, &b->ff_up, &b->ff_down};
    size_t bytes = 0;
    for (int i = 0; i < BLOCK_MATRICES; i++) {
        const vdm_matrix *m = &w[i]->weight;
        e[i] = (vdm_extent){m->data, (size_t)(m->rows * m->cols) * vdm_dtype_bytes(m->dtype)};
        bytes += e[i].bytes;
    }
    return bytes;
}

size_t vdm_transformer_bytes(const vdm_transformer *m, size_t *block)
{
    vdm_extent e[BLOCK_MATRICES];
    size_t bytes = 0;
    for (int64_t i = 0; i < m->file.count; i++) bytes += m->file.tensors[i].bytes;
    *block = extents_of(e, &m->blocks[0]);
    return bytes;
}

/* In memory are the weights that belong to no block, and two blocks at a time, the one in use and the next. Further memory
 * holds as many other blocks permanently. */
int vdm_transformer_stream(vdm_transformer *m, size_t bytes, vdm_error *err)
{
    size_t layers = (size_t)m->config.layers, block, all = vdm_transformer_bytes(m, &block);
    vdm_stream_free(m->stream);
    m->stream = NULL;
    if (bytes >= all) return 0;
    size_t min = all - (layers - 2) * block, resident = bytes > min ? (bytes - min) / block : 0;
    vdm_extent *e = vdm_alloc(layers * BLOCK_MATRICES, sizeof *e, "weights", err);
    if (!e) return -1;
    for (size_t l = 0; l < layers; l++) extents_of(e + l * BLOCK_MATRICES, &m->blocks[l]);
    m->stream = vdm_stream_new(e, (int)layers, BLOCK_MATRICES, (int)resident);
    vdm_free(e);
    return m->stream ? 0 : vdm_fail(err, "weights: no memory to stream them");
}

void vdm_transformer_free(vdm_transformer *m)
{
    vdm_stream_free(m->stream);
    vdm_safetensors_close(&m->file);
    vdm_free(m->blocks);
    vdm_free(m->small);
    *m = (vdm_transformer){0};
}

/* ------------------------------------------------------------------------------------------------
 * AutoencoderKLCogVideoX */

/* to[i] = from[i * stride], elements of 2 or 4 bytes at any address: constant sizes for the compiler. */
static void gather(char *to, const char *from, int64_t n, int64_t stride, size_t width)
{
    if (width == 2)
        for (int64_t i = 0; i < n; i++) memcpy(to + 2 * i, from + 2 * i * stride, 2);
    else
        for (int64_t i = 0; i < n; i++) memcpy(to + 4 * i, from + 4 * i * stride, 4);
}

/* [out,in,taps] -> [taps,in,out], elements of `width` bytes. In blocks of 16 outputs, so that both sides are accessed
 * by cache lines; one thread writes one block's columns. */
enum { BLOCK = 16 };
struct repacked {
    char *to;
    const char *from;
    int64_t out, in, taps;
    size_t width;
};
static void repack_block(const void *of, int piece, int thread)
{
    const struct repacked *s = of;
    int64_t w = (int64_t)s->width, each = s->in * s->taps, o = (int64_t)piece * BLOCK;
    int64_t n = s->out - o < BLOCK ? s->out - o : BLOCK;
    (void)thread;
    for (int64_t i = 0; i < each; i++) {
        int64_t row = i % s->taps * s->in + i / s->taps;
        gather(s->to + (row * s->out + o) * w, s->from + (o * each + i) * w, n, each, s->width);
    }
}

/* A kernel of kt x k x k; a Conv2d if kt is 0. */
static void take_conv(loader *l, vdm_conv *w, int out, int in, int kt, int k, const char *prefix,
                      const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    int64_t shape3[] = {out, in, kt, k, k}, shape2[] = {out, in, k, k};
    int64_t taps = (int64_t)(kt ? kt : 1) * k * k;
    const vdm_tensor *t = take(l, full, ".weight", kt ? 5 : 4, kt ? shape3 : shape2, false);
    *w = (vdm_conv){.in = in, .out = out, .kt = kt ? kt : 1, .k = k};
    w->weight = (vdm_matrix){.dtype = t ? t->dtype : VDM_F32, .rows = taps * in, .cols = out};
    if (t) {
        char *to = reserve(l, t->bytes);
        const struct repacked s = {to, t->data, out, in, taps, vdm_dtype_bytes(t->dtype)};
        const vdm_loop loop = {.pieces = (out + BLOCK - 1) / BLOCK, .run = repack_block, .of = &s};
        vdm_team_run(l->team, &loop);
        check_copied(l, t, to, t->dtype);
        w->weight.data = to;
    }
    w->bias = take_vector(l, full, ".bias", out);
}

/* latent: channels of the latent that modulates the decoder's norms, 0 in the encoder */
static void take_vae_norm(loader *l, vdm_vae_norm *n, int channels, int latent, const char *prefix,
                          const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s%s", prefix, name, latent ? ".norm_layer" : "");
    take_norm(l, &n->norm, channels, full);
    if (!latent) return;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    take_conv(l, &n->y, channels, latent, 1, 1, full, ".conv_y.conv");
    take_conv(l, &n->b, channels, latent, 1, 1, full, ".conv_b.conv");
}

static void take_resnet(loader *l, vdm_resnet *r, int in, int out, int latent, const char *prefix)
{
    take_vae_norm(l, &r->norm1, in, latent, prefix, ".norm1");
    take_conv(l, &r->conv1, out, in, 3, 3, prefix, ".conv1.conv");
    take_vae_norm(l, &r->norm2, out, latent, prefix, ".norm2");
    take_conv(l, &r->conv2, out, out, 3, 3, prefix, ".conv2.conv");
    if (in != out) take_conv(l, &r->shortcut, out, in, 1, 1, prefix, ".conv_shortcut");
}

static void take_half(loader *l, vdm_vae_half *half, const vdm_vae_config *c, bool decoder)
{
    const char *side = decoder ? "decoder" : "encoder";
    int first = c->block_channels[decoder ? c->blocks - 1 : 0],
        last = c->block_channels[decoder ? 0 : c->blocks - 1];
    int latent = decoder ? c->latent_channels : 0, channels = first;
    char name[128];
    take_conv(l, &half->conv_in, first, decoder ? c->latent_channels : c->channels, 3, 3, side,
              ".conv_in.conv");
    for (int i = 0; i < 2; i++) {
        int middle = c->block_channels[c->blocks - 1];
        snprintf(name, sizeof name, "%s.mid_block.resnets.%d", side, i);
        take_resnet(l, &half->mid[i], middle, middle, latent, name);
    }
    for (int i = 0; i < c->blocks; i++) {
        struct vdm_vae_level *level = &half->level[i];
        int out = c->block_channels[decoder ? c->blocks - 1 - i : i];
        level->resnets = c->layers_per_block + decoder;
        level->resnet = reserve(l, (size_t)level->resnets * sizeof *level->resnet);
        level->compress_time = c->temporal_compression >> i > 1; /* the first log2 of them */
        for (int k = 0; k < level->resnets; k++, channels = out) {
            snprintf(name, sizeof name, "%s.%s_blocks.%d.resnets.%d", side, decoder ? "up" : "down", i, k);
            take_resnet(l, &level->resnet[k], channels, out, latent, name);
        }
        if (i == c->blocks - 1) break; /* the last level keeps its size */
        snprintf(name, sizeof name, "%s.%s_blocks.%d.%ssamplers.0.conv", side, decoder ? "up" : "down", i,
                 decoder ? "up" : "down");
        take_conv(l, &level->resample, out, out, 0, 3, name, "");
    }
    take_vae_norm(l, &half->norm_out, last, latent, side, ".norm_out");
    take_conv(l, &half->conv_out, decoder ? c->channels : 2 * c->latent_channels, last, 3, 3, side,
              ".conv_out.conv");
}

static void take_vae(loader *l, vdm_vae *m)
{
    const vdm_vae_config *c = &m->config;
    take_half(l, &m->encoder, c, false);
    take_half(l, &m->decoder, c, true);
    if (c->quant_conv) take_conv(l, &m->quant, 2 * c->channels, 2 * c->channels, 1, 1, "quant_conv", "");
    if (c->post_quant_conv)
        take_conv(l, &m->post_quant, c->channels, c->channels, 1, 1, "post_quant_conv", "");
}

int vdm_vae_load(vdm_vae *m, const char *dir, vdm_error *err)
{
    *m = (vdm_vae){0};
    loader l = {0};
    int status = vdm_vae_config_read(&m->config, dir, err);
    if (status == 0) {
        const vdm_vae_config *c = &m->config;
        size_t level = round_up((size_t)(c->layers_per_block + 1) * sizeof(vdm_resnet));
        status = loader_open(&l, dir, WEIGHTS, true, 2 * (size_t)c->blocks * level, &m->memory, err);
    }
    if (status == 0) {
        l.team = vdm_team_new(vdm_default_threads());
        take_vae(&l, m);
        vdm_team_free(l.team);
        status = loader_report(&l, err);
    }
    vdm_free(l.used);
    vdm_safetensors_close(&l.file);
    if (status) vdm_vae_free(m);
    return status;
}

void vdm_vae_free(vdm_vae *m)
{
    vdm_free(m->memory);
    *m = (vdm_vae){0};
}

/* ------------------------------------------------------------------------------------------------
 * T5EncoderModel */

static void take_text_block(loader *l, vdm_text_block *b, const vdm_text_config *c, int index)
{
    int64_t D = c->width, I = (int64_t)c->heads * c->head_dim;
    const struct {
        vdm_linear *to;
        const char *name;
        int64_t out, in;
    } all[] = {{&b->q, "0.SelfAttention.q", I, D},
               {&b->k, "0.SelfAttention.k", I, D},
               {&b->v, "0.SelfAttention.v", I, D},
               {&b->o, "0.SelfAttention.o", D, I},
               {&b->wi_0, "1.DenseReluDense.wi_0", c->ff, D},
               {&b->wi_1, "1.DenseReluDense.wi_1", c->ff, D},
               {&b->wo, "1.DenseReluDense.wo", D, c->ff}};
    char name[128];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(name, sizeof name, "encoder.block.%d.layer.%s", index, all[i].name);
        take_matrix(l, all[i].to, all[i].out, all[i].in, name);
    }
    snprintf(name, sizeof name, "encoder.block.%d.layer.", index);
    b->norm1 = take_vector(l, name, "0.layer_norm.weight", D);
    b->norm2 = take_vector(l, name, "1.layer_norm.weight", D);
}

/* The embedding table has one of two names, or both: then they must be equal. */
static void take_words(loader *l, vdm_text_encoder *m)
{
    const vdm_tensor *own = vdm_safetensors_find(&l->file, "encoder.embed_tokens.weight"),
                     *shared = vdm_safetensors_find(&l->file, "shared.weight");
    vdm_linear words;
    if (own && shared &&
        (own->dtype != shared->dtype || own->bytes != shared->bytes ||
         memcmp(own->data, shared->data, own->bytes) != 0))
        add_problem(&l->unequal, "'%s' and '%s'", own->name, shared->name);
    if (!own || shared) take_matrix(l, &words, m->config.vocabulary, m->config.width, "shared");
    if (own) take_matrix(l, &words, m->config.vocabulary, m->config.width, "encoder.embed_tokens");
    m->words = words.weight;
}

static void take_text_encoder(loader *l, vdm_text_encoder *m)
{
    const vdm_text_config *c = &m->config;
    take_words(l, m);
    m->position_bias = take_floats(l, "encoder.block.0.layer.0.SelfAttention.",
                                   "relative_attention_bias.weight", 2, (int64_t[]){c->buckets, c->heads});
    for (int i = 0; i < c->layers; i++) take_text_block(l, &m->blocks[i], c, i);
    m->norm_final = take_vector(l, "encoder.final_layer_norm", ".weight", c->width);
}

int vdm_text_encoder_load(vdm_text_encoder *m, const char *dir, vdm_error *err)
{
    *m = (vdm_text_encoder){0};
    loader l = {0};
    void *memory = NULL;
    int status = vdm_text_config_read(&m->config, dir, err);
    size_t bias = round_up((size_t)m->config.buckets * (size_t)m->config.heads * sizeof(float));
    if (status == 0) status = loader_open(&l, dir, "model", false, bias, &memory, err);
    if (status == 0) {
        m->blocks = vdm_alloc((size_t)m->config.layers, sizeof *m->blocks, dir, err);
        status = m->blocks ? 0 : -1;
    }
    if (status == 0) {
        take_text_encoder(&l, m);
        status = loader_report(&l, err);
    }
    vdm_free(l.used);
    m->small = memory;
    m->file = l.file;
    if (status) vdm_text_encoder_free(m);
    return status;
}

void vdm_text_encoder_free(vdm_text_encoder *m)
{
    vdm_safetensors_close(&m->file);
    vdm_free(m->blocks);
    vdm_free(m->small);
    *m = (vdm_text_encoder){0};
}

/* ------------------------------------------------------------------------------------------------
 * Prompts and sizes */

int vdm_prompt_read(float **text, const char *path, const vdm_transformer_config *c, vdm_error *err)
{
    vdm_safetensors f;
    int64_t shape[] = {c->text_tokens, c->text_dim};
    *text = NULL;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    const vdm_tensor *t = vdm_safetensors_find(&f, "prompt_embeds");
    int64_t tokens = t && t->rank >= 2 ? t->shape[t->rank - 2] : c->text_tokens;
    if (tokens != c->text_tokens && t->shape[t->rank - 1] == c->text_dim)
        vdm_fail(err,
                 "%s: tensor 'prompt_embeds': found %lld tokens, this model takes exactly %d: encode the "
                 "prompt with padding to that length",
                 path, (long long)tokens, c->text_tokens);
    else
        *text = vdm_safetensors_floats(&f, "prompt_embeds", 2, shape, err);
    vdm_safetensors_close(&f);
    return *text ? 0 : -1;
}

/* Expects first + k step for k = 0, 1, ..., up to max; the message names the nearest legal values. */
static int check_step(const char *what, const char *expected, int found, int first, int step, int max,
                      vdm_error *err)
{
    int last = max - (max - first) % step;
    int below = found < first ? first : found > last ? last : found - (found - first) % step;
    if (found == below) return 0;
    if (found < first || below == last)
        return vdm_fail(err, "%s: found %d, expected %s; the nearest is %d", what, found, expected, below);
    return vdm_fail(err, "%s: found %d, expected %s; the nearest are %d and %d", what, found, expected, below,
                    below + step);
}

bool vdm_positions_reach(const vdm_transformer_config *c, int64_t h, int64_t w)
{
    bool table = c->rotary && c->patch_t > 0;
    return !table || (h <= c->sample_height && w <= c->sample_width);
}

/* Learned positions exist for one picture size and one number of frames; for other numbers of frames diffusers silently
 * computes other positions (vdm_tape_new). */
static int check_positions(const vdm_geometry *g, const vdm_transformer_config *c, int side, vdm_error *err)
{
    if (c->learned_positions && (g->h != c->sample_height || g->w != c->sample_width))
        return vdm_fail(err, "size: found %dx%d; this model's learned positions are for %dx%d only",
                        g->height, g->width, c->sample_height * side, c->sample_width * side);
    int unit = side * c->patch, rows = c->sample_height / c->patch, cols = c->sample_width / c->patch;
    if (!vdm_positions_reach(c, g->h, g->w))
        return vdm_fail(err, "size: found %dx%d, this model takes at most %dx%d", g->height, g->width,
                        rows * unit, cols * unit);
    return 0;
}

int vdm_geometry_init(vdm_geometry *g, const vdm_model_config *c, int frames, int height, int width,
                      vdm_error *err)
{
    const vdm_transformer_config *t = &c->transformer;
    int side = 1 << (c->vae.blocks - 1), ratio = c->vae.temporal_compression; /* pixels, frames of a latent */
    int unit = side * t->patch, patch_t = t->patch_t > 0 ? t->patch_t : 1;
    *g = (vdm_geometry){.frames = frames, .height = height, .width = width};
    /* 2 ratio: the VAE decodes only an odd number of latent frames to the number of frames that it encoded */
    char length[40], multiple[40];
    snprintf(length, sizeof length, "%d k + 1", 2 * ratio);
    snprintf(multiple, sizeof multiple, "a multiple of %d", unit);
    if (check_step("frames", length, frames, 1, 2 * ratio, VDM_MAX_FRAMES, err)) return -1;
    if (check_step("height", multiple, height, unit, unit, VDM_MAX_SIDE, err)) return -1;
    if (check_step("width", multiple, width, unit, unit, VDM_MAX_SIDE, err)) return -1;
    g->latent_frames = (frames - 1) / ratio + 1;
    g->pad = (patch_t - g->latent_frames % patch_t) % patch_t;
    g->F = g->latent_frames + g->pad;
    g->h = height / side;
    g->w = width / side;
    if (check_positions(g, t, side, err)) return -1;
    int64_t tokens = (int64_t)(g->F / patch_t) * (g->h / t->patch) * (g->w / t->patch);
    if (tokens > 1 << 24)
        return vdm_fail(err, "size: %d frames of %dx%d are %lld tokens, at most %d are allowed", frames,
                        height, width, (long long)tokens, 1 << 24);
    g->video_tokens = (int)tokens;
    return 0;
}

int vdm_latents_check(const vdm_transformer_config *c, const char *name, int64_t F, int64_t h, int64_t w,
                      vdm_error *err)
{
    int pt = c->patch_t ? c->patch_t : 1, p = c->patch;
    bool sampled = h == c->sample_height && w == c->sample_width;
    if (F < 1 || h < 1 || w < 1 || F % pt || h % p || w % p)
        return vdm_fail(err,
                        "%s: %" PRId64 " latent frames of %" PRId64 "x%" PRId64
                        ": expected multiples of the patch, %d frames of %dx%d",
                        name, F, h, w, pt, p, p);
    if (c->learned_positions && !sampled)
        return vdm_fail(err, "%s: latents of %" PRId64 "x%" PRId64 ": this model's positions are for %dx%d",
                        name, h, w, c->sample_height, c->sample_width);
    const int64_t limit = 1 << 24; /* first each factor: their product could overflow */
    if (F > limit || h > VDM_MAX_SIDE || w > VDM_MAX_SIDE || F / pt * (h / p) * (w / p) > limit)
        return vdm_fail(err, "%s: more than %d tokens", name, 1 << 24);
    return 0;
}
