/* Few-shot learning (arXiv 2506.07280; CogVideo's finetune/models/cogvideox_i2v/lora_trainer.py).
 *
 *   pair (x, y) --interp--> video [T,3,H,W] --vae, posterior sample, scale, pad--> z [F,C,h,w]
 *   x (+ sigma noise) ------------------------vae, posterior sample, scale-------> c [C,h,w]
 *   both are made once and kept; then every step, for N = batch * accumulate videos:
 *   x_t = sqrt(abar) z + sqrt(1 - abar) noise        v* = sqrt(abar) noise - sqrt(1 - abar) z
 *   v = model([x_t ; c, 0, ..., 0], text, t)          loss = mean (v - v*)^2
 *   dL/dv -> gradient of the adapter, clipped -> AdamW
 *
 * The trainers predict x0 and weigh its error by 1/(1 - abar): algebraically the same loss, but at t = 0 they
 * multiply a rounding error by 1176. Traps: abar is rounded to f32 before its root and its complement are
 * taken; the padding frame gets noise and counts in the loss like any other; only frame 0 of the
 * image half of the input is not zero.
 *
 * A state file holds the adapter, the moments, the step and the rows; random numbers are a function of seed
 * and step (vdm_fit_rng), so that nothing else is needed to go on with the same bits. */
#include "kernels/kernels.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void vdm_fit_rng(vdm_rng *r, uint64_t seed, vdm_fit_use use, int64_t counter)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15u * (((uint64_t)use << 32) + (uint64_t)counter);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    vdm_rng_seed(r, z ^ (z >> 31));
}

/* ------------------------------------------------------------------------------------------------
 * Data: pairs become latents */

/* Buffers of one pair's encoding. */
struct encoding {
    uint8_t *frames;         /* [T,H,W,3] */
    float *video;            /* [T,3,H,W] */
    float *pixels;           /* [3,H,W] */
    float *moments;          /* [F',2C,h,w] */
    float *noise, *by_frame; /* [C,F',h,w], the same as [F',C,h,w] */
};

static void encoding_free(struct encoding *e)
{
    vdm_free(e->frames);
    vdm_free(e->video);
    vdm_free(e->pixels);
    vdm_free(e->moments);
    vdm_free(e->noise);
    vdm_free(e->by_frame);
}

static int encoding_new(struct encoding *e, const vdm_geometry *g, int C, vdm_error *err)
{
    size_t picture = (size_t)g->height * (size_t)g->width * 3, T = (size_t)g->frames;
    size_t latent = (size_t)C * (size_t)g->h * (size_t)g->w, F = (size_t)g->latent_frames;
    *e = (struct encoding){
        .frames = vdm_alloc(T, picture, "a pair's video", err),
        .video = vdm_alloc(T * picture, sizeof(float), "a pair's video", err),
        .pixels = vdm_alloc(picture, sizeof(float), "a pair's picture", err),
        .moments = vdm_alloc(F * 2 * latent, sizeof(float), "a pair's moments", err),
        .noise = vdm_alloc(F * latent, sizeof(float), "a pair's noise", err),
        .by_frame = vdm_alloc(F * latent, sizeof(float), "a pair's noise", err),
    };
    return e->frames && e->video && e->pixels && e->moments && e->noise && e->by_frame ? 0 : -1;
}

/* [C,F,P] -> [F,C,P]: diffusers draws the posterior's noise with the channel first. */
static void swap_axes(float *to, const float *from, int C, int F, int64_t P)
{
    for (int c = 0; c < C; c++)
        for (int f = 0; f < F; f++)
            memcpy(to + ((int64_t)f * C + c) * P, from + ((int64_t)c * F + f) * P, (size_t)P * sizeof(float));
}

static void scale_by(float *x, double factor, int64_t n)
{
    float f = (float)factor;
    for (int64_t i = 0; i < n; i++) x[i] *= f;
}

/* z [F,C,h,w] of pair i: latent frame 0 comes `pad` times more, in front. */
static int encode_video(float *z, const vdm_vae *vae, const vdm_cpu *cpu, const vdm_fit_data_options *o,
                        int i, struct encoding *e, vdm_rng *rng, vdm_error *err)
{
    const vdm_geometry *g = &o->geometry;
    int C = vae->config.latent_channels, F = g->latent_frames;
    int64_t P = (int64_t)g->h * g->w, n = F * C * P;
    if (vdm_vae_encode(vae, cpu, e->video, g->frames, g->height, g->width, o->tiled, e->moments, NULL, err))
        return -1;
    vdm_randn(rng, e->noise, n);
    const float *noise = o->video_noise ? o->video_noise + i * n : e->noise;
    swap_axes(e->by_frame, noise, C, F, P);
    float *first = z + g->pad * C * P;
    vdm_vae_sample(first, e->moments, e->by_frame, F, C, g->h, g->w);
    scale_by(first, vae->config.scaling_factor, n);
    for (int p = 0; p < g->pad; p++) memcpy(z + p * C * P, first, (size_t)(C * P) * sizeof(float));
    return 0;
}

/* c [C,h,w] of pair i, from frame 0 of its video, which is x. */
static int encode_image(float *c, const vdm_vae *vae, const vdm_cpu *cpu, const vdm_fit_data_options *o,
                        int i, struct encoding *e, vdm_rng *rng, vdm_error *err)
{
    const vdm_geometry *g = &o->geometry;
    int C = vae->config.latent_channels;
    int64_t P = (int64_t)g->h * g->w, pixels = (int64_t)3 * g->height * g->width;
    if (o->augment) {
        float normal, sigma;
        vdm_randn(rng, &normal, 1);
        vdm_randn(rng, e->pixels, pixels);
        sigma = o->image_sigma ? o->image_sigma[i] : (float)vdm_exp((double)(-3 + 0.5f * normal));
        const float *noise = o->image_pixel_noise ? o->image_pixel_noise + i * pixels : e->pixels;
        cpu->kernels->blend(cpu, e->video, 1, e->video, sigma, noise, pixels);
    }
    if (vdm_vae_encode(vae, cpu, e->video, 1, g->height, g->width, o->tiled, e->moments, NULL, err))
        return -1;
    vdm_randn(rng, e->noise, C * P);
    const float *noise = o->image_noise ? o->image_noise + i * C * P : e->noise;
    vdm_vae_sample(c, e->moments, noise, 1, C, g->h, g->w);
    scale_by(c, vdm_image_latent_scale(&vae->config, o->image_scale), C * P);
    return 0;
}

static int encode_pair(vdm_fit_data *d, const vdm_vae *vae, const vdm_cpu *cpu, const vdm_fit_data_options *o,
                       int i, const vdm_picture *x, const vdm_picture *y, struct encoding *e, vdm_error *err)
{
    const vdm_geometry *g = &o->geometry;
    const vdm_picture *both[2] = {x, y};
    for (int k = 0; k < 2; k++)
        if (both[k]->width != g->width || both[k]->height != g->height)
            return vdm_fail(err, "pair %d: %s: expected a picture of %d x %d, found %d x %d", i + 1,
                            k ? "output" : "input", g->width, g->height, both[k]->width, both[k]->height);
    int64_t latent = (int64_t)d->C * d->h * d->w;
    vdm_rng rng;
    vdm_fit_rng(&rng, o->seed, VDM_FIT_LATENTS, i);
    if (vdm_interp(o->phi, x, y, g->frames, &rng, e->frames, err)) return -1;
    vdm_video_from_bytes(e->video, e->frames, g->frames, g->height, g->width);
    if (encode_video(d->videos + i * d->F * latent, vae, cpu, o, i, e, &rng, err)) return -1;
    return encode_image(d->images + i * latent, vae, cpu, o, i, e, &rng, err);
}

int vdm_fit_data_make(vdm_fit_data *d, const vdm_vae *vae, const vdm_cpu *cpu, const vdm_fit_data_options *o,
                      const vdm_picture *x, const vdm_picture *y, int pairs, const vdm_progress *progress,
                      vdm_error *err)
{
    const vdm_geometry *g = &o->geometry;
    *d = (vdm_fit_data){.pairs = pairs, .F = g->F, .C = vae->config.latent_channels, .h = g->h, .w = g->w};
    if (pairs < 1 || pairs > VDM_MAX_PAIRS)
        return vdm_fail(err, "pairs: expected 1 to %d, found %d", VDM_MAX_PAIRS, pairs);
    size_t latent = (size_t)d->C * (size_t)d->h * (size_t)d->w * sizeof(float);
    struct encoding e = {0};
    int status = -1;
    double start = vdm_seconds();
    d->videos = vdm_alloc((size_t)pairs * (size_t)d->F, latent, "the videos' latents", err);
    d->images = vdm_alloc((size_t)pairs, latent, "the images' latents", err);
    if (d->videos && d->images) status = encoding_new(&e, g, d->C, err);
    for (int i = 0; i < pairs && !status; i++) {
        status = encode_pair(d, vae, cpu, o, i, &x[i], &y[i], &e, err);
        vdm_report report = {"encode", i + 1, pairs, vdm_seconds() - start, (double)NAN};
        if (!status && progress && progress->report && progress->report(progress->user, &report) &&
            i + 1 < pairs)
            status = vdm_fail(err, "interrupted after encoding pair %d of %d", i + 1, pairs);
    }
    encoding_free(&e);
    if (status) vdm_fit_data_free(d);
    return status;
}

void vdm_fit_data_free(vdm_fit_data *d)
{
    vdm_free(d->videos);
    vdm_free(d->images);
    vdm_free(d->prompt);
    *d = (vdm_fit_data){0};
}

/* ------------------------------------------------------------------------------------------------
 * A run */

struct run {
    const vdm_transformer *m;
    const vdm_schedule *schedule;
    const vdm_cpu *cpu;
    const vdm_fit_data *data;
    const vdm_fit_options *o;
    vdm_lora *lora;
    vdm_fit_row *rows;       /* [steps + 1] */
    int64_t n, frame, video; /* numbers in the adapter, in [C,h,w], in [F,C,h,w] */
    vdm_tape *tape;
    const float *texts;        /* [prompts,L,Dt] */
    float *text;               /* [B,L,Dt]: of each video's pair */
    float *x;                  /* [B,F,2C,h,w] */
    float *noise, *target, *v; /* [B,F,C,h,w] */
    float *grad;               /* [n] */
    double *t, *losses;        /* [B] */
    int *pair;                 /* [B] */
    int *order;                /* [pairs]: of epoch `epoch` */
    int64_t epoch;
    vdm_adamw adamw; /* adamw.step: steps done */
};

void vdm_fit_defaults(vdm_fit_options *o)
{
    *o = (vdm_fit_options){.steps = 500,
                           .batch = 2,
                           .accumulate = 1,
                           .lr = 1e-4,
                           .beta1 = 0.9,
                           .beta2 = 0.95,
                           .eps = 1e-8,
                           .weight_decay = 1e-4,
                           .clip = 1,
                           .schedule = VDM_LR_CONSTANT,
                           .seed = 42,
                           .memory = (size_t)2 << 30,
                           .watch_every = 10,
                           .save_every = 50};
}

/* What o->memory allows to be kept. What attention gave comes first: by the byte it saves more time than the
 * rest, where a video has more tokens than a third of the width, as in the published models. */
static vdm_tape_shape shape_of(const vdm_transformer_config *c, const vdm_fit_options *o, int F, int h, int w,
                               int rank)
{
    vdm_tape_shape s = {.B = o->batch, .F = F, .h = h, .w = w, .rank = rank, .backward = true};
    s.keep = c->layers;
    while (s.keep > 0 && vdm_tape_bytes(c, &s) > o->memory) s.keep--, s.keep_attention++;
    while (s.keep_attention > 0 && vdm_tape_bytes(c, &s) > o->memory) s.keep_attention--;
    return s;
}

size_t vdm_fit_bytes(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o,
                     int rank)
{
    vdm_tape_shape s = shape_of(c, o, g->F, g->h, g->w, rank);
    size_t B = (size_t)o->batch, video = (size_t)g->F * (size_t)c->out_channels * (size_t)g->h * (size_t)g->w;
    size_t adapter = (size_t)c->layers * 8 * (size_t)rank * (size_t)(c->heads * c->head_dim);
    size_t text = (size_t)c->text_tokens * (size_t)c->text_dim;
    return vdm_tape_bytes(c, &s) + (B * (5 * video + text) + 3 * adapter) * sizeof(float);
}

int vdm_fit_kept(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o, int rank,
                 int *attention)
{
    vdm_tape_shape s = shape_of(c, o, g->F, g->h, g->w, rank);
    *attention = s.keep_attention;
    return s.keep;
}

static int64_t numbers_of_prompt(const struct run *r)
{
    return (int64_t)r->m->config.text_tokens * r->m->config.text_dim;
}

static int check_prompts(const vdm_fit_data *d, vdm_error *err)
{
    for (int i = 0; d->prompt && i < d->pairs; i++)
        if (d->prompt[i] < 0 || d->prompt[i] >= d->prompts)
            return vdm_fail(err, "prompt of pair %d: expected 0 to %d, found %d", i + 1, d->prompts - 1,
                            d->prompt[i]);
    return 0;
}

/* What a caller may get wrong; files and geometry have been checked where they were read. */
static int check_run(const struct run *r, vdm_error *err)
{
    const vdm_transformer_config *c = &r->m->config;
    const vdm_fit_options *o = r->o;
    const vdm_fit_data *d = r->data;
    if (c->in_channels != 2 * c->out_channels || d->C != c->out_channels)
        return vdm_fail(
            err,
            "model: in_channels %d, out_channels %d: expected an image-to-video model of %d latent channels",
            c->in_channels, c->out_channels, d->C);
    if (r->lora->layers != c->layers || r->lora->width != c->heads * c->head_dim)
        return vdm_fail(err, "adapter: expected %d blocks of width %d, found %d of %d", c->layers,
                        c->heads * c->head_dim, r->lora->layers, r->lora->width);
    if (d->pairs < 1) return vdm_fail(err, "pairs: expected at least 1, found %d", d->pairs);
    if (check_prompts(d, err)) return -1;
    if (o->steps < 1 || o->batch < 1 || o->accumulate < 1)
        return vdm_fail(err, "steps %d, batch %d, accumulate %d: expected each to be at least 1", o->steps,
                        o->batch, o->accumulate);
    const struct {
        const char *name;
        double value, least, most;
    } numbers[] = {{"lr", o->lr, 0, 1e6},
                   {"beta1", o->beta1, 0, 1},
                   {"beta2", o->beta2, 0, 1},
                   {"eps", o->eps, 0, 1},
                   {"weight_decay", o->weight_decay, 0, 1e6},
                   {"pure_noise", o->pure_noise, 0, 1},
                   {"clip", o->clip, 0, (double)INFINITY}};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!(numbers[i].value >= numbers[i].least && numbers[i].value <= numbers[i].most))
            return vdm_fail(err, "%s: expected a number from %g to %g, found %g", numbers[i].name,
                            numbers[i].least, numbers[i].most, numbers[i].value);
    int64_t n = (int64_t)o->steps * o->batch * o->accumulate;
    for (int64_t i = 0; o->t && i < n; i++)
        if (o->t[i] < 0 || o->t[i] >= r->schedule->config.train_timesteps)
            return vdm_fail(err, "injected t: element %" PRId64 ": expected 0 to %d, found %d", i,
                            r->schedule->config.train_timesteps - 1, o->t[i]);
    for (int64_t i = 0; o->pair && i < n; i++)
        if (o->pair[i] < 0 || o->pair[i] >= d->pairs)
            return vdm_fail(err, "injected pair: element %" PRId64 ": expected 0 to %d, found %d", i,
                            d->pairs - 1, o->pair[i]);
    return 0;
}

static void run_free(struct run *r)
{
    vdm_tape_free(r->tape);
    vdm_free(r->text);
    vdm_free(r->x);
    vdm_free(r->noise);
    vdm_free(r->target);
    vdm_free(r->v);
    vdm_free(r->grad);
    vdm_free(r->t);
    vdm_free(r->losses);
    vdm_free(r->pair);
    vdm_free(r->order);
    vdm_adamw_free(&r->adamw);
}

static int run_new(struct run *r, const float *text, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    const vdm_fit_data *d = r->data;
    size_t B = (size_t)o->batch, video = (size_t)r->video;
    size_t prompt = (size_t)numbers_of_prompt(r);
    vdm_tape_shape shape = shape_of(&r->m->config, o, d->F, d->h, d->w, r->lora->rank);
    if (vdm_adamw_init(&r->adamw, r->n, err)) return -1;
    r->adamw.lr = o->lr;
    r->adamw.beta1 = o->beta1;
    r->adamw.beta2 = o->beta2;
    r->adamw.eps = o->eps;
    r->adamw.weight_decay = o->weight_decay;
    if (!(r->text = vdm_alloc(B * prompt, sizeof(float), "the prompts", err)) ||
        !(r->x = vdm_alloc(B * 2 * video, sizeof(float), "the model's input", err)) ||
        !(r->noise = vdm_alloc(B * video, sizeof(float), "noise", err)) ||
        !(r->target = vdm_alloc(B * video, sizeof(float), "the target", err)) ||
        !(r->v = vdm_alloc(B * video, sizeof(float), "the velocity", err)) ||
        !(r->grad = vdm_alloc((size_t)r->n, sizeof(float), "the gradient", err)) ||
        !(r->t = vdm_alloc(B, sizeof(double), "timesteps", err)) ||
        !(r->losses = vdm_alloc(B, sizeof(double), "losses", err)) ||
        !(r->pair = vdm_alloc(B, sizeof(int), "pairs", err)) ||
        !(r->order = vdm_alloc((size_t)d->pairs, sizeof(int), "the order of the pairs", err)) ||
        !(r->tape = vdm_tape_new(r->m, &shape, err)))
        return -1;
    r->texts = text;
    r->epoch = -1;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * One batch: what is drawn, and the loss */

/* The pair of the run's video number i: epochs in which every pair comes once, in a new order. */
static int pair_of(struct run *r, int64_t i)
{
    int n = r->data->pairs;
    if (i / n != r->epoch) {
        vdm_rng rng;
        r->epoch = i / n;
        vdm_fit_rng(&rng, r->o->seed, VDM_FIT_EPOCH, r->epoch);
        for (int j = 0; j < n; j++) r->order[j] = j;
        for (int j = n - 1; j > 0; j--) {
            int k = (int)vdm_randint(&rng, j + 1), kept = r->order[j];
            r->order[j] = r->order[k];
            r->order[k] = kept;
        }
    }
    return r->order[i % n];
}

/* The last t for the share pure_noise of the videos, else any. */
static int draw_t(const struct run *r, vdm_rng *rng)
{
    int T = r->schedule->config.train_timesteps;
    float coin = 1;
    if (r->o->pure_noise > 0) vdm_rand(rng, &coin, 1);
    return (double)coin < r->o->pure_noise ? T - 1 : (int)vdm_randint(rng, T);
}

/* Pairs, t and noise of the batch whose first video is number `first` of the run. */
static void draw_batch(struct run *r, int64_t first, vdm_rng *rng)
{
    const vdm_fit_options *o = r->o;
    for (int b = 0; b < o->batch; b++) {
        r->pair[b] = o->pair ? o->pair[first + b] : pair_of(r, first + b);
        int drawn = draw_t(r, rng);
        r->t[b] = o->t ? o->t[first + b] : drawn;
    }
    int64_t n = o->batch * r->video;
    vdm_randn(rng, r->noise, n);
    if (o->noise) memcpy(r->noise, o->noise + first * r->video, (size_t)n * sizeof(float));
}

/* x [F,2C,h,w] = [x_t ; c], v* [F,C,h,w] and the text [L,Dt] of video b of the batch */
static void mix(struct run *r, int b)
{
    const vdm_kernels *k = r->cpu->kernels;
    int64_t frame = r->frame;
    float abar = (float)vdm_schedule_alpha(r->schedule, (int)r->t[b]);
    float signal = sqrtf(abar), sigma = sqrtf(1 - abar);
    const float *z = r->data->videos + r->pair[b] * r->video, *noise = r->noise + b * r->video;
    float *x = r->x + b * 2 * r->video;
    k->blend(r->cpu, r->target + b * r->video, signal, noise, -sigma, z, r->video);
    memset(x, 0, 2 * (size_t)r->video * sizeof(float));
    for (int f = 0; f < r->data->F; f++)
        k->blend(r->cpu, x + 2 * f * frame, signal, z + f * frame, sigma, noise + f * frame, frame);
    memcpy(x + frame, r->data->images + r->pair[b] * frame, (size_t)frame * sizeof(float));
    int64_t prompt = r->data->prompt ? r->data->prompt[r->pair[b]] : 0, n = numbers_of_prompt(r);
    memcpy(r->text + b * n, r->texts + prompt * n, (size_t)n * sizeof(float));
}

/* Loss of the batch drawn; that of every video is left in losses, v and v* in v and target. */
static double batch_loss(struct run *r)
{
    double sum = 0;
    for (int b = 0; b < r->o->batch; b++) mix(r, b);
    const vdm_fit_data *of = r->data;
    tap_see(r->cpu->tap, r->target, SHAPE(r->o->batch, of->F, of->C, of->h, of->w), "target");
    vdm_transformer_forward(r->m, r->lora, r->cpu, r->tape, r->x, r->text, r->t, r->v);
    for (int b = 0; b < r->o->batch; b++) {
        const float *v = r->v + b * r->video, *target = r->target + b * r->video;
        double squares = 0;
        for (int64_t i = 0; i < r->video; i++) {
            double d = (double)(v[i] - target[i]);
            squares += d * d;
        }
        r->losses[b] = squares / (double)r->video;
        sum += r->losses[b];
    }
    return sum / r->o->batch;
}

/* The loss on a fixed set, which falls where the loss of the steps only scatters: at least four videos,
 * pairs in turn, t evenly spread (the last one for the share pure_noise), noise of their own. */
static double watch_loss(struct run *r)
{
    int B = r->o->batch, batches = (4 + B - 1) / B, of = batches * B, T = r->schedule->config.train_timesteps;
    double sum = 0;
    tap_prefix(r->cpu->tap, "watch.%d.", r->adamw.step);
    for (int i = 0; i < of; i++) {
        vdm_rng rng;
        int b = i % B;
        r->pair[b] = i % r->data->pairs;
        r->t[b] = i < r->o->pure_noise * of ? T - 1 : (2 * i + 1) * T / (2 * of);
        vdm_fit_rng(&rng, r->o->seed, VDM_FIT_WATCH, i);
        vdm_randn(&rng, r->noise + b * r->video, r->video);
        if (b == B - 1) sum += batch_loss(r);
    }
    return sum / batches;
}

/* ------------------------------------------------------------------------------------------------
 * One step */

/* kind.NAME for every matrix of an array laid out like the adapter */
static void see_adapter(const struct run *r, const float *array, const char *kind)
{
    const vdm_lora *a = r->lora;
    for (int i = 0; r->cpu->tap && i < a->layers * 8; i++) {
        char name[VDM_LORA_NAME];
        bool b = i % 2;
        vdm_lora_name(name, i / 8, (vdm_target)(i / 2 % 4), b);
        tap_see(r->cpu->tap, array + (int64_t)i * a->rank * a->width,
                SHAPE(b ? a->width : a->rank, b ? a->rank : a->width), "%s.%s", kind, name);
    }
}

static void see_number(const struct run *r, double x, const char *name)
{
    const float number = (float)x;
    tap_see(r->cpu->tap, &number, SHAPE(1), "%s", name);
}

/* Names the pairs of the batch whose loss is not finite, or all of them. */
static int fail_step(const struct run *r, const char *what, double value, vdm_error *err)
{
    char pairs[256] = "";
    bool any = false;
    for (int b = 0; b < r->o->batch; b++) any = any || !isfinite(r->losses[b]);
    for (int b = 0; b < r->o->batch; b++) {
        size_t used = strlen(pairs);
        if (any && isfinite(r->losses[b])) continue;
        snprintf(pairs + used, sizeof pairs - used, "%s%d (t %d)", used ? ", " : "", r->pair[b] + 1,
                 (int)r->t[b]);
    }
    return vdm_fail(err, "step %d: %s is %g, pair %s%s%s", r->adamw.step + 1, what, value, pairs,
                    r->o->state ? "; the state before it is in " : "", r->o->state ? r->o->state : "");
}

static int train_step(struct run *r, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    int step = r->adamw.step;
    int64_t videos = (int64_t)o->batch * o->accumulate;
    vdm_fit_row *row = &r->rows[step + 1];
    vdm_rng rng;
    vdm_fit_rng(&rng, o->seed, VDM_FIT_STEP, step);
    memset(r->grad, 0, (size_t)r->n * sizeof(float));
    *row = (vdm_fit_row){.watch = (double)NAN};
    for (int i = 0; i < o->accumulate; i++) {
        tap_prefix(r->cpu->tap, "step.%d.", step + 1);
        if (o->accumulate > 1) tap_prefix(r->cpu->tap, "step.%d.batch.%d.", step + 1, i + 1);
        draw_batch(r, step * videos + i * o->batch, &rng);
        double loss = batch_loss(r);
        if (!isfinite(loss)) return fail_step(r, "the loss", loss, err);
        row->loss += loss / o->accumulate;
        /* loss = mean (v - v*)^2 over the step's videos */
        float factor = (float)(2.0 / (double)(videos * r->video));
        for (int64_t j = 0; j < o->batch * r->video; j++) r->v[j] = factor * (r->v[j] - r->target[j]);
        vdm_transformer_backward(r->m, r->lora, r->cpu, r->tape, r->v, r->grad);
    }
    tap_prefix(r->cpu->tap, "step.%d.", step + 1);
    see_number(r, row->loss, "loss");
    see_adapter(r, r->grad, "grad");
    row->grad_norm = vdm_clip_grad(r->cpu, r->grad, r->n, o->clip);
    if (!isfinite(row->grad_norm)) return fail_step(r, "the norm of the gradient", row->grad_norm, err);
    row->lr = o->lr * vdm_lr_factor(o->schedule, step, o->warmup, o->steps);
    vdm_adamw_update(&r->adamw, r->cpu, r->lora->params, r->grad, row->lr);
    see_number(r, row->grad_norm, "grad_norm");
    see_number(r, row->lr, "lr");
    see_adapter(r, r->lora->params, "adapter");
    see_adapter(r, r->adamw.m, "adamw.m");
    see_adapter(r, r->adamw.v, "adamw.v");
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The state file: tensors params, m, v [n], rows [done + 1, 4]; what the run was asked for in the metadata */

enum { MAX_FIELDS = 24 };
struct field {
    const char *name;
    const char *before; /* a value that isn't said: states from before the field have it; or NULL */
    char value[64];
};
struct fields {
    int count;
    struct field of[MAX_FIELDS];
};

/* FNV-1a of numbers, the lowest byte of each first: a state moves between machines of either byte order. */
static uint64_t hash(uint64_t h, const void *data, size_t count, size_t width)
{
    const uint16_t one = 1;
    const unsigned char *p = data;
    size_t flip = *(const unsigned char *)&one == 1 ? 0 : width - 1; /* k ^ flip: width is a power of two */
    for (size_t i = 0; i < count; i++, p += width)
        for (size_t k = 0; k < width; k++) h = (h ^ p[k ^ flip]) * 1099511628211u;
    return h;
}
static const uint64_t HASH_START = 14695981039346656037u;

/* Names, shapes and the first bytes of every tensor tell another model apart without reading all of it. */
static uint64_t hash_model(const vdm_transformer *m)
{
    const vdm_transformer_config *c = &m->config;
    int32_t numbers[] = {c->layers, c->heads,   c->head_dim,   c->in_channels,
                         c->patch,  c->patch_t, c->text_tokens};
    uint64_t h = hash(HASH_START, numbers, sizeof numbers / sizeof *numbers, sizeof *numbers);
    for (int64_t i = 0; i < m->file.count; i++) {
        const vdm_tensor *t = &m->file.tensors[i];
        size_t width = vdm_dtype_bytes(t->dtype);
        h = hash(h, t->name, strlen(t->name), 1);
        h = hash(h, t->shape, (size_t)t->rank, sizeof t->shape[0]);
        h = hash(h, t->data, (t->bytes < 4096 ? t->bytes : 4096) / width, width);
    }
    return h;
}

static void add_number(struct fields *f, const char *name, double x)
{
    f->of[f->count] = (struct field){.name = name};
    snprintf(f->of[f->count++].value, sizeof f->of[0].value, "%.17g", x);
}
static void add_hash(struct fields *f, const char *name, uint64_t x)
{
    f->of[f->count] = (struct field){.name = name};
    snprintf(f->of[f->count++].value, sizeof f->of[0].value, "%016" PRIx64, x);
}

static const char *precision_name(const vdm_cpu *cpu)
{
    static const char *const names[] = {
        [VDM_PRECISION_F32] = "F32", [VDM_PRECISION_BF16] = "BF16", [VDM_PRECISION_AMX] = "AMX"};
    return names[cpu->precision];
}

/* All that the bits of the result depend on, as text. The number of steps is not among it where the
 * schedule does not look at it: a run may be made longer. */
static void fields_of(struct fields *f, const struct run *r, const float *text)
{
    const vdm_fit_options *o = r->o;
    const vdm_fit_data *d = r->data;
    size_t videos = (size_t)d->pairs * (size_t)r->video, images = (size_t)d->pairs * (size_t)r->frame;
    size_t drawn = (size_t)o->steps * (size_t)o->batch * (size_t)o->accumulate;
    uint64_t injected = HASH_START;
    if (o->t) injected = hash(injected, o->t, drawn, sizeof *o->t);
    if (o->pair) injected = hash(injected, o->pair, drawn, sizeof *o->pair);
    if (o->noise) injected = hash(injected, o->noise, drawn * (size_t)r->video, sizeof *o->noise);
    f->count = 0;
    add_hash(f, "model", hash_model(r->m));
    f->of[f->count] = (struct field){.name = "precision", .before = "F32"};
    snprintf(f->of[f->count++].value, sizeof f->of[0].value, "%s", precision_name(r->cpu));
    add_hash(
        f, "pairs",
        hash(hash(HASH_START, d->videos, videos, sizeof *d->videos), d->images, images, sizeof *d->images));
    size_t prompts = d->prompt ? (size_t)d->prompts : 1;
    uint64_t prompt = hash(HASH_START, text, prompts * (size_t)numbers_of_prompt(r), sizeof *text);
    if (d->prompt) prompt = hash(prompt, d->prompt, (size_t)d->pairs, sizeof *d->prompt);
    add_hash(f, "prompt", prompt);
    add_number(f, "rank", r->lora->rank);
    add_number(f, "alpha", r->lora->alpha);
    add_hash(f, "first adapter", hash(HASH_START, r->lora->params, (size_t)r->n, sizeof *r->lora->params));
    add_number(f, "batch", o->batch);
    add_number(f, "accumulate", o->accumulate);
    add_number(f, "lr", o->lr);
    add_number(f, "beta1", o->beta1);
    add_number(f, "beta2", o->beta2);
    add_number(f, "eps", o->eps);
    add_number(f, "weight_decay", o->weight_decay);
    add_number(f, "clip", o->clip);
    add_number(f, "pure_noise", o->pure_noise);
    f->of[f->count - 1].before = "0"; /* t was uniform */
    add_number(f, "schedule", o->schedule);
    add_number(f, "warmup", o->schedule == VDM_LR_CONSTANT ? 0 : o->warmup);
    add_number(f, "steps of the schedule", o->schedule >= VDM_LR_LINEAR ? o->steps : 0);
    add_hash(f, "seed", o->seed);
    add_hash(f, "injected", injected);
}

static int save_state(const struct run *r, const struct fields *f, vdm_error *err)
{
    if (!r->o->state) return 0;
    const char *metadata[MAX_FIELDS + 1][2] = {{"vdm_fit", "1"}};
    int n = 1;
    for (int i = 0; i < f->count; i++) {
        if (f->of[i].before && strcmp(f->of[i].before, f->of[i].value) == 0) continue;
        metadata[n][0] = f->of[i].name;
        metadata[n++][1] = f->of[i].value;
    }
    int64_t rows = r->adamw.step + 1;
    size_t bytes = (size_t)r->n * sizeof(float);
    const vdm_tensor tensors[] = {
        {"params", VDM_F32, 1, {r->n}, r->lora->params, bytes},
        {"m", VDM_F32, 1, {r->n}, r->adamw.m, bytes},
        {"v", VDM_F32, 1, {r->n}, r->adamw.v, bytes},
        {"rows", VDM_F64, 2, {rows, 4}, r->rows, (size_t)rows * sizeof *r->rows},
    };
    return vdm_safetensors_write(r->o->state, tensors, 4, (const char *const(*)[2])metadata, n, err);
}

static int copy_state(float *to, const vdm_safetensors *s, const char *name, int64_t n, vdm_error *err)
{
    const vdm_tensor *t = vdm_safetensors_find(s, name);
    if (!t || t->dtype != VDM_F32 || t->rank != 1 || t->shape[0] != n)
        return vdm_fail(err, "%s: tensor '%s': expected F32 [%" PRId64 "], found %s", s->path, name, n,
                        t ? "another" : "none");
    memcpy(to, t->data, (size_t)n * sizeof(float));
    return 0;
}

static int read_state(struct run *r, const vdm_safetensors *s, const struct fields *f, vdm_error *err)
{
    const char *version = vdm_safetensors_metadata(s, "vdm_fit");
    if (!version || strcmp(version, "1") != 0)
        return vdm_fail(err, "%s: vdm_fit: expected 1, found %s: not a state that can be gone on with",
                        s->path, version ? version : "none");
    for (int i = 0; i < f->count; i++) {
        const char *found = vdm_safetensors_metadata(s, f->of[i].name);
        if (!found) found = f->of[i].before;
        if (!found || strcmp(found, f->of[i].value) != 0)
            return vdm_fail(err, "%s: %s: this run has %s, the state was made with %s", s->path,
                            f->of[i].name, f->of[i].value, found ? found : "none");
    }
    const vdm_tensor *t = vdm_safetensors_find(s, "rows");
    if (!t || t->dtype != VDM_F64 || t->rank != 2 || t->shape[1] != 4 || t->shape[0] < 1)
        return vdm_fail(err, "%s: tensor 'rows': expected F64 [steps + 1,4], found %s", s->path,
                        t ? "another" : "none");
    if (t->shape[0] > r->o->steps + 1)
        return vdm_fail(err, "%s: the state is at step %" PRId64 ", this run ends at %d", s->path,
                        t->shape[0] - 1, r->o->steps);
    if (copy_state(r->adamw.m, s, "m", r->n, err) || copy_state(r->adamw.v, s, "v", r->n, err) ||
        copy_state(r->lora->params, s, "params", r->n, err))
        return -1;
    memcpy(r->rows, t->data, t->bytes);
    r->adamw.step = (int)t->shape[0] - 1;
    return 0;
}

static int resume(struct run *r, const struct fields *f, vdm_error *err)
{
    vdm_safetensors s;
    if (!r->o->state) return vdm_fail(err, "resume: expected the path of a state, found none");
    if (vdm_safetensors_open(&s, r->o->state, err)) return -1;
    int status = read_state(r, &s, f, err);
    vdm_safetensors_close(&s);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The loop */

/* Steps until the end; 1 where progress asks to stop, -1 where a step failed. */
static int train(struct run *r, const struct fields *f, const vdm_progress *progress, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    double start = vdm_seconds();
    while (r->adamw.step < o->steps) {
        if (train_step(r, err)) return -1;
        int done = r->adamw.step;
        vdm_fit_row *row = &r->rows[done];
        if (o->watch_every && (done % o->watch_every == 0 || done == o->steps)) row->watch = watch_loss(r);
        if (o->save_every && done % o->save_every == 0 && done < o->steps && save_state(r, f, err)) return -1;
        vdm_report report = {"train", done, o->steps, vdm_seconds() - start, row->loss};
        if (progress && progress->report && progress->report(progress->user, &report) && done < o->steps)
            return 1;
    }
    return 0;
}

static int run_all(struct run *r, const float *text, const vdm_progress *progress, vdm_error *err)
{
    struct fields fields;
    fields_of(&fields, r, text);
    if (r->o->resume) {
        if (resume(r, &fields, err)) return -1;
    } else {
        r->rows[0] = (vdm_fit_row){(double)NAN, (double)NAN, (double)NAN, (double)NAN};
        if (r->o->watch_every) r->rows[0].watch = watch_loss(r);
    }
    int status = train(r, &fields, progress, err);
    vdm_error second; /* the first sentence is the one to tell */
    if (save_state(r, &fields, status < 0 ? &second : err)) return -1;
    if (status == 1)
        return vdm_fail(err, "interrupted after step %d of %d%s%s", r->adamw.step, r->o->steps,
                        r->o->state ? ": --resume goes on from " : "", r->o->state ? r->o->state : "");
    return status;
}

int vdm_fit(const vdm_transformer *m, const vdm_schedule *s, const vdm_cpu *cpu, const vdm_fit_data *data,
            const float *text, const vdm_fit_options *o, vdm_lora *lora, vdm_fit_row *rows, int *done,
            const vdm_progress *progress, vdm_error *err)
{
    struct run r = {.m = m, .schedule = s, .cpu = cpu, .data = data, .o = o, .lora = lora, .rows = rows};
    r.n = vdm_lora_count(lora);
    r.frame = (int64_t)data->C * data->h * data->w;
    r.video = data->F * r.frame;
    *done = 0;
    int status = check_run(&r, err) || run_new(&r, text, err) ? -1 : run_all(&r, text, progress, err);
    *done = r.adamw.step;
    run_free(&r);
    return status;
}
