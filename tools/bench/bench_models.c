/* The jobs of vdm bench, second part: whole models. Models of published and embedded shapes are filled with random
 * weights in memory; no file is read. python/bench_peer.py does the same jobs, with the same names.
 *
 * Operations are those of products: linear layers, attention, convolutions; norms and elementwise operations do not
 * count. A convolution counts as the sum of its definition, although Winograd needs fewer. Those of a training step
 * include the recomputation of activations that are not stored. */
#include "tools/bench/bench.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Random models */

/* CogVideoX1.5-5B-I2V, of one block; the embedded model */
static const vdm_transformer_config published = {.layers = 1,
                                                 .heads = 48,
                                                 .head_dim = 64,
                                                 .in_channels = 32,
                                                 .out_channels = 16,
                                                 .patch = 2,
                                                 .patch_t = 2,
                                                 .text_tokens = 226,
                                                 .text_dim = 4096,
                                                 .time_dim = 512,
                                                 .ofs_dim = 512,
                                                 .rotary = true,
                                                 .flip_sin_to_cos = true,
                                                 .norm_eps = 1e-5,
                                                 .sample_frames = 81,
                                                 .sample_height = 300,
                                                 .sample_width = 300,
                                                 .spatial_scale = 1.875,
                                                 .temporal_scale = 1,
                                                 .temporal_compression = 4};
static const vdm_vae_config published_vae = {.channels = 3,
                                             .latent_channels = 16,
                                             .blocks = 4,
                                             .block_channels = {128, 256, 256, 512},
                                             .layers_per_block = 3,
                                             .groups = 32,
                                             .temporal_compression = 4,
                                             .sample_height = 480,
                                             .sample_width = 720,
                                             .norm_eps = 1e-6,
                                             .scaling_factor = 0.7,
                                             .invert_scale_latents = true};

enum { PUBLISHED, EMBEDDED };
static vdm_transformer_config transformer_config_of(int which, bool quick)
{
    vdm_transformer_config c = published;
    if (which == PUBLISHED && !quick) return c;
    c.heads = 4, c.layers = which == EMBEDDED ? 6 : 1;
    c.text_tokens = 2, c.text_dim = 32, c.time_dim = c.ofs_dim = 64;
    c.sample_frames = 9, c.sample_height = c.sample_width = 8;
    if (quick) c.heads = 1;
    return c;
}
static vdm_vae_config vae_config_of(int which, bool quick)
{
    static const int small[] = {16, 32, 32, 64}, smallest[] = {4, 4, 8, 8};
    vdm_vae_config c = published_vae;
    if (which == PUBLISHED && !quick) return c;
    c.layers_per_block = 1, c.groups = 4;
    for (int i = 0; i < c.blocks; i++) c.block_channels[i] = quick ? smallest[i] : small[i];
    return c;
}

static void fill_block(vdm_block *b, const vdm_transformer_config *c, vdm_dtype dtype, struct work *w)
{
    int D = c->heads * c->head_dim, E = c->time_dim;
    b->norm[0].linear = work_linear(w, 6 * D, E, dtype), b->norm[0].norm = work_norm(w, D);
    b->norm[1].linear = work_linear(w, 6 * D, E, dtype), b->norm[1].norm = work_norm(w, D);
    b->q = work_linear(w, D, D, dtype), b->k = work_linear(w, D, D, dtype);
    b->v = work_linear(w, D, D, dtype), b->out = work_linear(w, D, D, dtype);
    b->norm_q = work_norm(w, c->head_dim), b->norm_k = work_norm(w, c->head_dim);
    b->ff_up = work_linear(w, 4 * D, D, dtype), b->ff_down = work_linear(w, D, 4 * D, dtype);
}

static void fill_transformer(vdm_transformer *m, vdm_dtype dtype, struct work *w)
{
    const vdm_transformer_config *c = &m->config;
    int D = c->heads * c->head_dim, E = c->time_dim, patch = c->patch_t * c->patch * c->patch;
    m->patch_proj = work_linear(w, D, c->in_channels * patch, dtype);
    m->text_proj = work_linear(w, D, c->text_dim, dtype);
    m->time1 = work_linear(w, E, D, dtype), m->time2 = work_linear(w, E, E, dtype);
    m->ofs1 = work_linear(w, E, c->ofs_dim, dtype), m->ofs2 = work_linear(w, E, E, dtype);
    m->blocks = work_take(w, c->layers, sizeof *m->blocks);
    for (int i = 0; m->blocks && i < c->layers; i++) fill_block(&m->blocks[i], c, dtype, w);
    m->norm_final = work_norm(w, D), m->norm_out = work_norm(w, D);
    m->norm_out_linear = work_linear(w, 2 * D, E, dtype);
    m->proj_out = work_linear(w, c->out_channels * patch, D, dtype);
}

/* latent: channels of the latent that modulates the decoder's norms; 0 in the encoder */
static vdm_vae_norm random_norm(struct work *w, int channels, int latent, vdm_dtype dtype)
{
    vdm_vae_norm n = {.norm = work_norm(w, channels)};
    if (latent)
        n.y = work_conv(w, channels, latent, 1, 1, dtype), n.b = work_conv(w, channels, latent, 1, 1, dtype);
    return n;
}
static vdm_resnet random_resnet(struct work *w, int in, int out, int latent, vdm_dtype dtype)
{
    vdm_resnet r = {.norm1 = random_norm(w, in, latent, dtype), .norm2 = random_norm(w, out, latent, dtype)};
    r.conv1 = work_conv(w, out, in, 3, 3, dtype), r.conv2 = work_conv(w, out, out, 3, 3, dtype);
    if (in != out) r.shortcut = work_conv(w, out, in, 1, 1, dtype);
    return r;
}

static void fill_half(vdm_vae_half *half, const vdm_vae_config *c, bool decoder, vdm_dtype dtype,
                      struct work *w)
{
    int last = c->blocks - 1, deepest = c->block_channels[last], latent = decoder ? c->latent_channels : 0;
    int channels = c->block_channels[decoder ? last : 0];
    half->conv_in = work_conv(w, channels, decoder ? c->latent_channels : c->channels, 3, 3, dtype);
    for (int i = 0; i < 2; i++) half->mid[i] = random_resnet(w, deepest, deepest, latent, dtype);
    for (int l = 0; l <= last; l++) {
        struct vdm_vae_level *level = &half->level[l];
        int out = c->block_channels[decoder ? last - l : l];
        level->resnets = c->layers_per_block + decoder;
        level->resnet = work_take(w, level->resnets, sizeof *level->resnet);
        level->compress_time = c->temporal_compression >> l > 1;
        for (int i = 0; level->resnet && i < level->resnets; i++, channels = out)
            level->resnet[i] = random_resnet(w, channels, out, latent, dtype);
        if (l < last) level->resample = work_conv(w, out, out, 1, 3, dtype);
    }
    half->norm_out = random_norm(w, channels, latent, dtype);
    half->conv_out = work_conv(w, decoder ? c->channels : 2 * c->latent_channels, channels, 3, 3, dtype);
}

/* ------------------------------------------------------------------------------------------------
 * The transformer. n: which, B, h, w, rank, 1 for weights of bf16, blocks that store their activations, blocks
 * that store attention outputs; F = 4, which is 9 frames and one of padding */

enum { FRAMES = 4 };
struct passes {
    vdm_transformer m;
    vdm_lora lora; /* its params are the job's memory */
    vdm_schedule schedule;
    vdm_tape *tape;
    vdm_adamw adamw;
    float *x, *text, *v, *target, *grad;
    int64_t numbers; /* in v */
    double *t;       /* [B] */
};

/* Of one video: all outside the blocks, one block's linear layers, its attention, its adapters forward. */
struct counted {
    double outside, head, linear, attention, lora;
};
static struct counted count(const vdm_transformer_config *c, int h, int width, int rank)
{
    double D = (double)c->heads * c->head_dim, E = c->time_dim, patch = c->patch_t * c->patch * c->patch;
    double V = (double)FRAMES / c->patch_t * (h / c->patch) * (width / c->patch), S = V + c->text_tokens;
    struct counted k = {.head = 2 * V * c->out_channels * patch * D,
                        .linear = 2 * S * D * D,
                        .attention = 4 * S * S * D,
                        .lora = 2 * S * rank * D};
    k.outside = k.head + 2 * V * c->in_channels * patch * D + 2.0 * c->text_tokens * c->text_dim * D +
                2 * E * (D + E) + c->layers * 2 * 12 * D * E + 4 * D * E;
    return k;
}
static double count_forward(const vdm_transformer_config *c, const struct counted *k)
{
    return k->outside + c->layers * (12 * k->linear + k->attention + 8 * k->lora);
}
/* The backward pass of block 0 ends at its adapters. Recomputed: all but the end of the feed-forward, and without
 * attention and its last layer if attention outputs are stored. */
static double count_backward(const vdm_transformer_config *c, const struct counted *k, int stored,
                             int attention)
{
    double block = 12 * k->linear + 2.5 * k->attention + 4 * 4 * k->lora;
    double recomputed = 8 * k->linear + k->attention + 8 * k->lora;
    double saved = k->linear + k->attention + 2 * k->lora;
    return k->head + c->layers * block - 3 * k->linear - 3 * k->lora + (c->layers - stored) * recomputed -
           attention * saved;
}

static void prepare_inputs(struct work *w, struct passes *p, int B, int h, int width)
{
    const vdm_transformer_config *c = &p->m.config;
    int64_t plane = (int64_t)B * FRAMES * h * width;
    p->numbers = plane * c->out_channels;
    p->x = work_random(w, plane * c->in_channels, 1), p->target = work_random(w, p->numbers, 1);
    p->v = work_floats(w, p->numbers);
    p->text = work_random(w, (int64_t)B * c->text_tokens * c->text_dim, 1);
    p->t = work_take(w, B, sizeof *p->t);
    for (int b = 0; p->t && b < B; b++) p->t[b] = 999 - 37 * b;
}

/* A and B are both random, or half of the gradients would be zeros. */
static void prepare_adapter(struct work *w, struct passes *p, int rank)
{
    const vdm_transformer_config *c = &p->m.config;
    p->lora = (vdm_lora){.layers = c->layers,
                         .width = c->heads * c->head_dim,
                         .targets = VDM_ATTENTION,
                         .rank = rank,
                         .scale = 1,
                         .alpha = rank};
    int64_t n = vdm_lora_count(&p->lora);
    p->lora.params = work_random(w, n, 0.01f);
    p->grad = work_floats(w, n);
    p->adamw = (vdm_adamw){.beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8, .weight_decay = 1e-4, .n = n};
    p->adamw.m = work_floats(w, n), p->adamw.v = work_floats(w, n);
}

static void free_tape(void *tape)
{
    vdm_tape_free(tape);
}

static void prepare_passes(struct work *w, const int *n, bool backward)
{
    static const vdm_scheduler_config ddim = {.train_timesteps = 1000,
                                              .beta_start = 0.00085,
                                              .beta_end = 0.012,
                                              .snr_shift_scale = 1,
                                              .rescale_zero_snr = true,
                                              .set_alpha_to_one = true,
                                              .trailing = true};
    struct passes *p = w->state = work_take(w, 1, sizeof *p);
    if (!p) return;
    int B = n[1], h = n[2], width = n[3], rank = n[4];
    int stored = backward ? n[6] : 0, attention = backward ? n[7] : 0;
    p->m.config = transformer_config_of(n[0], w->quick);
    fill_transformer(&p->m, n[5] ? VDM_BF16 : VDM_F32, w);
    prepare_inputs(w, p, B, h, width);
    if (rank) prepare_adapter(w, p, rank);
    if (w->failed || vdm_schedule_init(&p->schedule, &ddim, w->err)) {
        w->failed = true;
        return;
    }
    vdm_tape_shape shape = {B, FRAMES, h, width, rank, backward, stored, attention, false};
    p->tape = vdm_tape_new(&p->m, &shape, w->err);
    w->failed = !p->tape;
    w->release = free_tape, w->released = p->tape;
    struct counted k = count(&p->m.config, h, width, rank);
    w->operations = B * count_forward(&p->m.config, &k);
    if (backward) w->operations += B * count_backward(&p->m.config, &k, stored, attention);
}
static void prepare_forward(struct work *w, const int *n)
{
    prepare_passes(w, n, false);
}
static void prepare_backward(struct work *w, const int *n)
{
    prepare_passes(w, n, true);
}

static void run_forward(struct work *w)
{
    struct passes *p = w->state;
    const vdm_transformer_input in = {p->x, p->text, p->t, NULL};
    vdm_transformer_forward(&p->m, p->lora.rank ? &p->lora : NULL, &w->cpu, p->tape, &in, p->v);
}
static void run_backward(struct work *w)
{
    struct passes *p = w->state;
    run_forward(w);
    vdm_transformer_backward(&p->m, &p->lora, &w->cpu, p->tape, p->target, p->grad, NULL);
}
/* vdm_fit's step, without drawing the batch */
static void run_training(struct work *w)
{
    struct passes *p = w->state;
    float factor = 2 / (float)p->numbers;
    memset(p->grad, 0, (size_t)p->adamw.n * sizeof(float));
    run_forward(w);
    for (int64_t i = 0; i < p->numbers; i++) p->v[i] = factor * (p->v[i] - p->target[i]);
    vdm_transformer_backward(&p->m, &p->lora, &w->cpu, p->tape, p->v, p->grad, NULL);
    vdm_clip_grad(p->grad, p->adamw.n, 1);
    vdm_adamw_update(&p->adamw, &w->cpu, p->lora.params, p->grad, 1e-4);
}
/* vdm_sample's step, without guidance; every run is the same step, from new latents */
static void run_sampling(struct work *w)
{
    struct passes *p = w->state;
    run_forward(w);
    vdm_ddim_step(&p->schedule, 20, 499, p->target, p->v, p->numbers);
}

/* ------------------------------------------------------------------------------------------------
 * The VAE. n: which, frames (latent ones to decode), H, W (h, w), 1 for weights of bf16 */

struct coder {
    vdm_vae m;
    int T, H, W;
    float *from, *to;
};

/* Operations of a convolution for one pixel of T frames. Three taps of a causal one fall on copies of the first frame
 * (two, if there is no other frame) and are summed beforehand. */
static double each(const vdm_conv *c, int T)
{
    int taps = c->kt == 1 ? T : T == 1 ? 1 : c->kt * T - 3;
    return 2.0 * taps * c->k * c->k * c->in * c->out;
}
static double each_resnet(const vdm_resnet *r, int T)
{
    return each(&r->conv1, T) + each(&r->conv2, T) + each(&r->shortcut, T);
}
/* The modulation of a decoder's norm or two, for one latent pixel of T frames */
static double each_norm(const vdm_vae_norm *n, int T)
{
    return each(&n->y, T) + each(&n->b, T);
}
static double each_latent(const vdm_resnet *r, int T)
{
    return each_norm(&r->norm1, T) + each_norm(&r->norm2, T);
}

/* One chunk of an odd number of frames T. Frames that time doubles are convolved once. */
static double count_half(const vdm_vae_half *half, const vdm_vae_config *c, bool decode, int T, int H, int W)
{
    const int latents = T;
    double pixels = (double)H * W, latent = pixels, sum = each(&half->conv_in, T) * pixels;
    for (int l = 0; l < c->blocks; l++) {
        const struct vdm_vae_level *level = &half->level[l];
        if (decode && l == 0)
            for (int i = 0; i < 2; i++)
                sum += each_resnet(&half->mid[i], T) * pixels + each_latent(&half->mid[i], latents) * latent;
        for (int i = 0; i < level->resnets; i++)
            sum +=
                each_resnet(&level->resnet[i], T) * pixels + each_latent(&level->resnet[i], latents) * latent;
        if (!level->resample.in) continue;
        int frames = T;
        if (level->compress_time) T = decode ? 2 * T - 1 : (T + 1) / 2;
        H = decode ? 2 * H : H / 2, W = decode ? 2 * W : W / 2;
        pixels = (double)H * W;
        sum += each(&level->resample, decode ? frames : T) * pixels;
    }
    for (int i = 0; !decode && i < 2; i++) sum += each_resnet(&half->mid[i], T) * pixels;
    return sum + each(&half->conv_out, T) * pixels + each_norm(&half->norm_out, latents) * latent;
}

static void prepare_coder(struct work *w, const int *n, bool decode)
{
    struct coder *c = w->state = work_take(w, 1, sizeof *c);
    if (!c) return;
    vdm_vae_config *config = &c->m.config;
    *config = vae_config_of(n[0], w->quick);
    c->T = n[1], c->H = n[2], c->W = n[3];
    fill_half(decode ? &c->m.decoder : &c->m.encoder, config, decode, n[4] ? VDM_BF16 : VDM_F32, w);
    int64_t in = (int64_t)c->T * c->H * c->W, F = vdm_vae_latent_frames(config, c->T);
    int64_t T = vdm_vae_video_frames(config, c->T);
    c->from = work_random(w, in * (decode ? config->latent_channels : config->channels), 1);
    c->to = work_floats(w, decode ? T * 64 * c->H * c->W * config->channels
                                  : F * (c->H / 8) * (c->W / 8) * 2 * config->latent_channels);
    if (!w->failed)
        w->operations = count_half(decode ? &c->m.decoder : &c->m.encoder, config, decode, c->T, c->H, c->W);
}
static void prepare_encoder(struct work *w, const int *n)
{
    prepare_coder(w, n, false);
}
static void prepare_decoder(struct work *w, const int *n)
{
    prepare_coder(w, n, true);
}
static void run_encoder(struct work *w)
{
    const struct coder *c = w->state;
    if (vdm_vae_encode(&c->m, &w->cpu, c->from, &(vdm_vae_size){c->T, c->H, c->W, false}, c->to, NULL,
                       w->err))
        w->failed = true;
}
static void run_decoder(struct work *w)
{
    const struct coder *c = w->state;
    if (vdm_vae_decode(&c->m, &w->cpu, c->from, &(vdm_vae_size){c->T, c->H, c->W, false}, c->to, NULL,
                       w->err))
        w->failed = true;
}

/* ------------------------------------------------------------------------------------------------
 * The table */

#define BLOCK(name, what, h, w, bf16)                                                                     \
    {                                                                                                     \
        "block.forward." name, what, FMA, prepare_forward, run_forward, {PUBLISHED, 1, h, w, 0, bf16, 0}, \
        {                                                                                                 \
            PUBLISHED, 1, 4, 4, 0, bf16, 0                                                                \
        }                                                                                                 \
    }
#define LEARN(name, what, h, w, bf16, stored, attention)                \
    {                                                                   \
        "block.learn." name, what, FMA, prepare_backward, run_backward, \
            {PUBLISHED, 1, h, w, 64, bf16, stored, attention},          \
        {                                                               \
            PUBLISHED, 1, 4, 4, 4, bf16, stored, attention              \
        }                                                               \
    }
#define SAMPLE(name, what, videos, few, rank, low)                                                           \
    {                                                                                                        \
        "tiny.sample." name, what, FMA, prepare_forward, run_sampling, {EMBEDDED, videos, 8, 8, rank, 1, 0}, \
        {                                                                                                    \
            EMBEDDED, few, 8, 8, low, 1, 0                                                                   \
        }                                                                                                    \
    }
#define VAE(name, what, which, bf16, frames, H, W, latents, h, w)                                         \
    {name ".encode",                                                                                      \
     what ": encode",                                                                                     \
     FMA,                                                                                                 \
     prepare_encoder,                                                                                     \
     run_encoder,                                                                                         \
     {which, frames, H, W, bf16},                                                                         \
     {which, frames, 16, 8, bf16}},                                                                       \
    {                                                                                                     \
        name ".decode", what ": decode", FMA, prepare_decoder, run_decoder, {which, latents, h, w, bf16}, \
        {                                                                                                 \
            which, latents, 2, 1, bf16                                                                    \
        }                                                                                                 \
    }
#define GROWTH(name, what, h, w)                                                                \
    {                                                                                           \
        "growth." name, what, FMA, prepare_forward, run_forward, {PUBLISHED, 1, h, w, 0, 1, 0}, \
        {                                                                                       \
            PUBLISHED, 1, 4, 4, 0, 1, 0                                                         \
        }                                                                                       \
    }

const struct job model_jobs[] = {
    BLOCK("1476.f32", "model of one block, 1,250 video + 226 text tokens", 50, 50, 0),
    BLOCK("1476.bf16w", "the same, bf16 weights, computed in f32", 50, 50, 1),
    BLOCK("2926.f32", "2,700 video + 226 text tokens", 60, 90, 0),
    BLOCK("2926.bf16w", "the same, bf16 weights, computed in f32", 60, 90, 1),
    LEARN("stored.1476.f32", "forward and backward, LoRA r=64, activations stored", 50, 50, 0, 1, 0),
    LEARN("stored.1476.bf16w", "the same, bf16 weights, computed in f32", 50, 50, 1, 1, 0),
    LEARN("recomputed.1476.f32", "activations recomputed", 50, 50, 0, 0, 0),
    LEARN("recomputed.1476.bf16w", "the same, bf16 weights, computed in f32", 50, 50, 1, 0, 0),
    LEARN("attention.1476.f32", "the same, attention outputs stored", 50, 50, 0, 0, 1),
    LEARN("attention.1476.bf16w", "the same, bf16 weights, computed in f32", 50, 50, 1, 0, 1),
    LEARN("stored.2926.f32", "2,700 + 226 tokens, activations stored", 60, 90, 0, 1, 0),
    LEARN("stored.2926.bf16w", "the same, bf16 weights, computed in f32", 60, 90, 1, 1, 0),
    LEARN("recomputed.2926.f32", "2,700 + 226 tokens, activations recomputed", 60, 90, 0, 0, 0),
    LEARN("recomputed.2926.bf16w", "the same, bf16 weights, computed in f32", 60, 90, 1, 0, 0),
    VAE("vae.f32", "9 frames of 240x360, published channels", PUBLISHED, 0, 9, 240, 360, 3, 30, 45),
    VAE("vae.bf16w", "the same, bf16 weights, computed in f32", PUBLISHED, 1, 9, 240, 360, 3, 30, 45),
    {"tiny.learn",
     "embedded model: a training step, 16 videos, LoRA r=64",
     FMA,
     prepare_backward,
     run_training,
     {EMBEDDED, 16, 8, 8, 64, 1, 6},
     {EMBEDDED, 2, 8, 8, 4, 1, 6}},
    SAMPLE("1", "embedded model: a sampling step, 1 video, LoRA r=64", 1, 1, 64, 4),
    SAMPLE("16", "the same, 16 videos", 16, 2, 64, 4),
    SAMPLE("base", "the same, without an adapter", 16, 2, 0, 0),
    VAE("tiny.vae", "embedded model, 9 frames of 64x64", EMBEDDED, 1, 9, 64, 64, 3, 8, 8),
    {0}};

/* The time of a token at increasing lengths: only attention's share may grow. */
const struct job growth_jobs[] = {GROWTH("256", "model of one block, bf16 weights, 256 tokens", 6, 10),
                                  GROWTH("512", "512 tokens", 22, 26),
                                  GROWTH("1024", "1,024 tokens", 38, 42),
                                  GROWTH("2046", "2,046 tokens", 52, 70),
                                  GROWTH("4096", "4,096 tokens", 86, 90),
                                  GROWTH("8182", "8,182 tokens", 102, 156),
                                  {0}};
