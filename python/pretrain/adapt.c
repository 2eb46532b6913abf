/* adapt MODEL CLIPS.safetensors STEPS SECONDS STATE OUT.safetensors [RATE [BATCH [THREADS]]]
 * Pretraining on a CPU: one adapter of the attention learns clips with their captions, by the library's own training loop,
 * which is several times as fast there as PyTorch's. python/pretrain/adapt.py makes the clips and merges the adapter.
 *
 *   cells  [N,9,8,8,3]  colours of the cells of 9 frames, 0..255  ->  video [9,3,64,64]  ->  latents  ->  adapter
 *   texts  [N,L,Dt]     view and caption of each clip; MODEL's max_text_seq_length is this L
 *
 * A run that was stopped, or whose SECONDS are over, resumes from STATE. Latents are stored in CLIPS.safetensors.latents. */
#include "vdm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FRAMES = 9, SIDE = 8, CELL = 8, PX = SIDE * CELL, RANK = 64 };

static void check(int status, const vdm_error *err)
{
    if (!status) return;
    fprintf(stderr, "adapt: %s\n", err->text);
    exit(1);
}

static double end; /* vdm_seconds() at which the run stops */

static int report(void *user, const vdm_report *r)
{
    (void)user;
    if (r->step % 50 == 0 || r->step == r->of) {
        printf("%s: %d of %d, %.1f s, loss %.4f\n", r->phase, r->step, r->of, r->seconds, r->loss);
        fflush(stdout);
    }
    return vdm_seconds() > end;
}

/* cells [9,8,8,3] -> video [9,3,64,64] in -1..1 */
static void render(float *video, const float *cells)
{
    for (int t = 0; t < FRAMES; t++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < PX; y++)
                for (int x = 0; x < PX; x++)
                    video[((t * 3 + c) * PX + y) * PX + x] =
                        cells[((t * SIDE + y / CELL) * SIDE + x / CELL) * 3 + c] / 127.5f - 1;
}

/* Latents z [frames',C,8,8] of the first T frames: a sample of the posterior. */
static void encode(float *z, const vdm_model *m, const float *video, int T, vdm_rng *rng)
{
    vdm_error err;
    const vdm_vae_size size = {T, PX, PX, false};
    int F = T == 1 ? 1 : m->geometry.latent_frames, C = m->vae->config.latent_channels,
        n = F * C * SIDE * SIDE;
    float *moments = malloc((size_t)n * 3 * sizeof(float)), *noise = moments + 2 * n;
    check(vdm_vae_encode(m->vae, m->cpu, video, &size, moments, NULL, &err), &err);
    vdm_randn(rng, noise, n);
    vdm_vae_sample(z, moments, noise, F, C, SIDE, SIDE);
    free(moments);
}

static void make_data(vdm_fit_data *d, const vdm_model *m, const float *cells, int clips)
{
    const vdm_geometry *g = &m->geometry;
    int C = m->vae->config.latent_channels, latent = C * SIDE * SIDE;
    float *video = malloc((size_t)FRAMES * 3 * PX * PX * sizeof(float));
    vdm_rng rng;
    vdm_rng_seed(&rng, 1);
    for (int i = 0; i < clips; i++) {
        float *z = d->videos + (int64_t)i * d->F * latent;
        render(video, cells + (int64_t)i * FRAMES * SIDE * SIDE * 3);
        encode(z + g->pad * latent, m, video, FRAMES, &rng);
        for (int p = 0; p < g->pad; p++)
            memcpy(z + p * latent, z + g->pad * latent, (size_t)latent * sizeof(float));
        encode(d->images + (int64_t)i * latent, m, video, 1, &rng);
        d->text_of[i] = i;
        if (i % 500 == 0) printf("encode: %d of %d\n", i, clips), fflush(stdout);
    }
    free(video);
}

/* The latents of an earlier run, or those of make_data, which are stored. */
static void find_data(vdm_fit_data *d, const vdm_model *m, const float *cells, const char *clips)
{
    char path[4096];
    size_t latent = (size_t)d->C * SIDE * SIDE, n = (size_t)d->pairs;
    snprintf(path, sizeof path, "%s.latents", clips);
    FILE *f = fopen(path, "rb");
    bool there = f &&
                 fread(d->videos, sizeof(float), n * (size_t)d->F * latent, f) == n * (size_t)d->F * latent &&
                 fread(d->images, sizeof(float), n * latent, f) == n * latent;
    if (f) fclose(f);
    if (there) {
        for (int i = 0; i < d->pairs; i++) d->text_of[i] = i;
        return;
    }
    make_data(d, m, cells, d->pairs);
    f = fopen(path, "wb");
    bool stored =
        f && fwrite(d->videos, sizeof(float), n * (size_t)d->F * latent, f) == n * (size_t)d->F * latent &&
        fwrite(d->images, sizeof(float), n * latent, f) == n * latent;
    if (!f || fclose(f) || !stored) remove(path);
}

int main(int argc, char **argv)
{
    vdm_error err;
    vdm_model m;
    vdm_safetensors f;
    vdm_lora lora;
    vdm_rng rng;
    struct stat st;
    const vdm_progress progress = {report, NULL, NULL};
    if (argc < 7) {
        fprintf(stderr, "adapt MODEL CLIPS.safetensors STEPS SECONDS STATE OUT [RATE [BATCH [THREADS]]]\n");
        return 2;
    }
    end = vdm_seconds() + atof(argv[4]);
    check(vdm_model_open(&m, argv[1], argc > 9 ? atoi(argv[9]) : 0, &err), &err);
    check(vdm_safetensors_open(&f, argv[2], &err), &err);
    const vdm_tensor *t = vdm_safetensors_find(&f, "cells");
    int clips = t ? (int)t->shape[0] : 0;
    int64_t cell_shape[] = {clips, FRAMES, SIDE, SIDE, 3},
            text_shape[] = {clips, m.config->transformer.text_tokens, m.config->transformer.text_dim};
    float *cells = vdm_safetensors_floats(&f, "cells", 5, cell_shape, &err);
    float *texts = cells ? vdm_safetensors_floats(&f, "texts", 3, text_shape, &err) : NULL;
    check(texts ? 0 : -1, &err);
    m.cpu->precision = VDM_PRECISION_BF16;
    const vdm_geometry *g = &m.geometry;
    vdm_fit_data d = {.pairs = clips, .F = g->F, .C = m.vae->config.latent_channels, .h = SIDE, .w = SIDE};
    size_t latent = (size_t)d.C * SIDE * SIDE * sizeof(float);
    d.videos = malloc((size_t)clips * (size_t)d.F * latent);
    d.images = malloc((size_t)clips * latent);
    d.text_of = malloc((size_t)clips * sizeof(int));
    d.texts = texts;
    d.n_texts = clips;
    find_data(&d, &m, cells, argv[2]);
    vdm_fit_options o;
    vdm_fit_defaults(&o);
    o.steps = atoi(argv[3]);
    o.lr = argc > 7 ? atof(argv[7]) : 3e-3;
    o.batch = argc > 8 ? atoi(argv[8]) : 16;
    o.schedule = VDM_LR_LINEAR;
    o.warmup = 50;
    o.pure_noise = 0.9;
    o.watch_every = 0;
    o.save_every = 100;
    o.state = argv[5];
    o.resume = stat(argv[5], &st) == 0;
    const vdm_pipeline p = {.transformer = m.transformer,
                            .vae = m.vae,
                            .schedule = m.schedule,
                            .cpu = m.cpu,
                            .prompt = m.prompt,
                            .negative = m.negative};
    vdm_fit_row *rows = malloc((size_t)(o.steps + 1) * sizeof *rows);
    int done;
    vdm_fit_rng(&rng, o.seed, VDM_FIT_ADAPTER, 0);
    check(vdm_lora_init(&lora, &m.config->transformer, VDM_ATTENTION, RANK, RANK, &rng, &err), &err);
    check(vdm_fit(&p, &lora, &d, &o, rows, &done, &progress, &err), &err);
    check(vdm_lora_write(&lora, argv[6], &err), &err);
    printf("%s: %d steps of %d clips\n", argv[6], done, o.batch);
    return 0;
}
