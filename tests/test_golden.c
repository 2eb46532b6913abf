/* The library against what diffusers, peft and PyTorch gave in float64 on tiny random models
 * (golden/make.py). A result NAME passes where its relative L2 distance is at most NAME.bound: four times
 * PyTorch's own f32 error there, and no less than 1e-6, some sixteen roundings of f32. (The peer tests hold
 * us to twice that error, on models large enough for it not to be luck.) */
#include "check.h"

#include <math.h>
#include <string.h>

static const char *const folder = "tests/golden"; /* tests run in the root of the repository */

static vdm_cpu cpu;
static vdm_error err;

static const char *in_folder(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn = (turn + 1) % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    return p;
}

/* The golden tensor of that name, and its shape; NULL, counted as a failure, where it can't be had. */
static float *golden(const vdm_safetensors *f, const char *name, int rank, int64_t *shape)
{
    int64_t any[VDM_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
    float *x = vdm_safetensors_floats(f, name, rank, any, &err);
    if (!CHECK(x != NULL, "%s", err.text)) return NULL;
    const vdm_tensor *t = vdm_safetensors_find(f, name);
    for (int i = 0; shape && i < rank; i++) shape[i] = t->shape[i];
    return x;
}

/* Compares [shape] numbers with the golden tensor of that name: shape, then distance. */
static void compare(const vdm_safetensors *f, const char *name, const float *ours, int rank,
                    const int64_t *shape)
{
    char bound_name[128];
    snprintf(bound_name, sizeof bound_name, "%s.bound", name);
    int64_t expected[VDM_MAX_RANK], n = 1;
    float *reference = golden(f, name, rank, expected), *bound = golden(f, bound_name, 1, NULL);
    bool same = reference && bound;
    for (int i = 0; same && i < rank; i++) {
        same = CHECK(shape[i] == expected[i], "%s: %s: dimension %d: expected %d, found %d", f->path, name, i,
                     (int)expected[i], (int)shape[i]);
        n *= expected[i];
    }
    if (same) {
        double distance = check_distance(ours, reference, n);
        CHECK(distance <= (double)bound[0], "%s: %s: distance %.2e, bound %.2e", f->path, name, distance,
              (double)bound[0]);
    }
    vdm_free(reference);
    vdm_free(bound);
}

static float *space(int64_t n)
{
    float *x = vdm_alloc((size_t)n, sizeof *x, "a test's numbers", &err);
    CHECK(x != NULL, "%s", err.text);
    for (int64_t i = 0; x && i < n; i++) x[i] = NAN; /* so that an element left out is seen */
    return x;
}

/* x [s]; t [2] */
static void forward(const vdm_transformer *m, const vdm_safetensors *f, const float *x, int64_t s[5],
                    const float *text, const float *t)
{
    vdm_tape_shape shape = {.B = (int)s[0], .F = (int)s[1], .h = (int)s[3], .w = (int)s[4]};
    s[2] = m->config.out_channels;
    float *v = space(s[0] * s[1] * s[2] * s[3] * s[4]);
    vdm_tape *tape = vdm_tape_new(m, &shape, &err);
    if (CHECK(tape != NULL, "%s", err.text) && v) {
        vdm_transformer_input in = {x, text, (double[]){(double)t[0], (double)t[1]}, NULL};
        vdm_transformer_forward(m, NULL, &cpu, tape, &in, v);
        compare(f, "v", v, 5, s);
    }
    vdm_tape_free(tape);
    vdm_free(v);
}

static void test_transformer(const char *variant)
{
    char name[64];
    vdm_transformer m;
    vdm_safetensors f;
    snprintf(name, sizeof name, "transformer-%s.safetensors", variant);
    if (!CHECK(!vdm_safetensors_open(&f, in_folder(name), &err), "%s", err.text)) return;
    snprintf(name, sizeof name, "%s/transformer", variant);
    if (!CHECK(!vdm_transformer_load(&m, in_folder(name), &err), "%s", err.text)) goto close;
    int64_t s[5];
    float *x = golden(&f, "x", 5, s), *text = golden(&f, "text", 3, NULL), *t = golden(&f, "t", 1, NULL);
    if (x && text && t) forward(&m, &f, x, s, text, t);
    vdm_free(x);
    vdm_free(text);
    vdm_free(t);
    vdm_transformer_free(&m);
close:
    vdm_safetensors_close(&f);
}

static void encode(const vdm_vae *m, const vdm_safetensors *f, const char *from, const char *to, bool tiled)
{
    int64_t s[4];
    float *video = golden(f, from, 4, s);
    if (!video) return;
    int T = (int)s[0], H = (int)s[2], W = (int)s[3];
    int64_t shape[] = {vdm_vae_latent_frames(&m->config, T), 2 * m->config.latent_channels, H / 8, W / 8};
    float *moments = space(shape[0] * shape[1] * shape[2] * shape[3]);
    if (CHECK(!vdm_vae_encode(m, &cpu, video, &(vdm_vae_size){T, H, W, tiled}, moments, NULL, &err), "%s",
              err.text))
        compare(f, to, moments, 4, shape);
    vdm_free(video);
    vdm_free(moments);
}

static void decode(const vdm_vae *m, const vdm_safetensors *f, const char *from, const char *to, bool tiled)
{
    int64_t s[4];
    float *latents = golden(f, from, 4, s);
    if (!latents) return;
    int F = (int)s[0], h = (int)s[2], w = (int)s[3];
    int64_t shape[] = {vdm_vae_video_frames(&m->config, F), 3, 8 * h, 8 * w};
    float *video = space(shape[0] * shape[1] * shape[2] * shape[3]);
    if (CHECK(!vdm_vae_decode(m, &cpu, latents, &(vdm_vae_size){F, h, w, tiled}, video, NULL, &err), "%s",
              err.text))
        compare(f, to, video, 4, shape);
    vdm_free(latents);
    vdm_free(video);
}

static void test_vae(void)
{
    vdm_vae m;
    vdm_safetensors f;
    if (!CHECK(!vdm_safetensors_open(&f, in_folder("vae.safetensors"), &err), "%s", err.text)) return;
    if (CHECK(!vdm_vae_load(&m, in_folder("1.5-5B-I2V/vae"), &err), "%s", err.text)) {
        encode(&m, &f, "video", "moments", false);
        decode(&m, &f, "latents.odd", "video.odd", false);
        decode(&m, &f, "latents.even", "video.even", false);
        encode(&m, &f, "image.tiled", "moments.tiled", true);
        decode(&m, &f, "latents.tiled", "video.tiled", true);
        vdm_vae_free(&m);
    }
    vdm_safetensors_close(&f);
}

/* The parts of a model folder that sampling and training need. */
struct model {
    vdm_model_config config;
    vdm_transformer transformer;
    vdm_vae vae;
    vdm_schedule schedule;
};

static bool load(struct model *m)
{
    if (!CHECK(!vdm_model_config_read(&m->config, in_folder("1.5-5B-I2V"), &err) &&
                   !vdm_schedule_init(&m->schedule, &m->config.scheduler, &err) &&
                   !vdm_transformer_load(&m->transformer, in_folder("1.5-5B-I2V/transformer"), &err),
               "%s", err.text))
        return false;
    if (CHECK(!vdm_vae_load(&m->vae, in_folder("1.5-5B-I2V/vae"), &err), "%s", err.text)) return true;
    vdm_transformer_free(&m->transformer);
    return false;
}

static void unload(struct model *m)
{
    vdm_transformer_free(&m->transformer);
    vdm_vae_free(&m->vae);
}

static void compare_latents(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    if (strcmp(name, "image_latents") == 0 || strncmp(name, "latents.", 8) == 0)
        compare(user, name, data, rank, shape);
}

/* Five steps from injected noise: image latents, every step's latents, the video. */
static void test_sample(struct model *m, vdm_sampler sampler)
{
    vdm_safetensors f;
    const char *name = sampler == VDM_DPM ? "sample-dpm.safetensors" : "sample-ddim.safetensors";
    if (!CHECK(!vdm_safetensors_open(&f, in_folder(name), &err), "%s", err.text)) return;
    float *image = golden(&f, "image", 3, NULL), *prompt = golden(&f, "prompt", 2, NULL);
    float *negative = golden(&f, "negative", 2, NULL), *noise = golden(&f, "noise", 4, NULL);
    float *image_noise = golden(&f, "image_noise", 3, NULL);
    float *step_noise = sampler == VDM_DPM ? golden(&f, "step_noise", 6, NULL) : NULL;
    int64_t shape[] = {9, 3, 32, 48};
    float *video = space(9 * 3 * 32 * 48);
    vdm_sample_options o = {.steps = 5,
                            .sampler = sampler,
                            .guidance = 6,
                            .dynamic_guidance = sampler == VDM_DPM,
                            .image_scale = VDM_IMAGE_PIPELINE,
                            .noise = noise,
                            .image_noise = image_noise,
                            .step_noise = step_noise};
    vdm_trace trace = {.see = compare_latents, .user = &f};
    const vdm_progress progress = {.trace = &trace};
    bool there =
        image && prompt && negative && noise && image_noise && video && (step_noise || sampler != VDM_DPM);
    if (there && CHECK(!vdm_geometry_init(&o.geometry, &m->config, 9, 32, 48, &err), "%s", err.text) &&
        CHECK(!vdm_sample(&(vdm_pipeline){.transformer = &m->transformer,
                                          .vae = &m->vae,
                                          .schedule = &m->schedule,
                                          .cpu = &cpu,
                                          .prompt = prompt,
                                          .negative = negative},
                          &o, image, video, &progress, &err),
              "%s", err.text))
        compare(&f, "video", video, 4, shape);
    vdm_trace_free(&trace);
    vdm_free(image);
    vdm_free(prompt);
    vdm_free(negative);
    vdm_free(noise);
    vdm_free(image_noise);
    vdm_free(step_noise);
    vdm_free(video);
    vdm_safetensors_close(&f);
}

/* The golden gradients are those of the adapter in step 1, "grad.NAME". */
static void compare_gradient(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    if (strncmp(name, "step.1.grad.", 12) == 0 && strstr(name, ".lora_"))
        compare(user, name + 7, data, rank, shape);
}

static void compare_trained(const vdm_safetensors *f, const vdm_lora *lora)
{
    for (int i = 0; i < vdm_lora_matrices(lora); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(lora, lora->params, i);
        char name[VDM_LORA_NAME + 8];
        snprintf(name, sizeof name, "trained.%s", m.name);
        compare(f, name, m.data, 2, m.shape);
    }
}

/* Four steps of AdamW on an adapter that peft made (rank 3, alpha 6): loss and norm of every step, the
 * gradients of the first, the adapter at the end. */
static void test_learning(struct model *m)
{
    enum { STEPS = 4, BATCH = 2, N = STEPS * BATCH };
    vdm_safetensors f;
    vdm_lora lora;
    int applied, modules, done, t[N], pair[N];
    if (!CHECK(!vdm_safetensors_open(&f, in_folder("learning.safetensors"), &err), "%s", err.text)) return;
    if (!CHECK(!vdm_lora_read(&lora, in_folder("adapter.safetensors"), &m->transformer.config, &applied,
                              &modules, &err),
               "%s", err.text))
        goto close;
    CHECK(applied == 8 && modules == 8 && lora.rank == 3 && lora.scale == 2,
          "applied %d of %d, rank %d, scale %g", applied, modules, lora.rank, (double)lora.scale);
    float *videos = golden(&f, "videos", 5, NULL), *images = golden(&f, "images", 4, NULL);
    float *text = golden(&f, "text", 2, NULL), *noise = golden(&f, "noise", 6, NULL);
    float *ts = golden(&f, "t", 2, NULL), *pairs = golden(&f, "pair", 2, NULL);
    bool there = videos && images && text && noise && ts && pairs;
    for (int i = 0; i < N && there; i++) {
        t[i] = (int)ts[i];
        pair[i] = (int)pairs[i];
    }
    vdm_fit_data data = {.pairs = 3, .F = 4, .C = 16, .h = 4, .w = 6, .videos = videos, .images = images};
    vdm_fit_row rows[STEPS + 1];
    vdm_fit_options o;
    vdm_fit_defaults(&o);
    o.steps = STEPS;
    o.batch = BATCH;
    o.lr = 1e-2;
    o.watch_every = 0;
    o.t = t;
    o.pair = pair;
    o.noise = noise;
    vdm_trace trace = {.see = compare_gradient, .user = &f};
    const vdm_progress progress = {.trace = &trace};
    if (there &&
        CHECK(!vdm_fit(
                  &(vdm_pipeline){
                      .transformer = &m->transformer, .schedule = &m->schedule, .cpu = &cpu, .prompt = text},
                  &lora, &data, &o, rows, &done, &progress, &err),
              "%s", err.text)) {
        float loss[STEPS], norm[STEPS];
        for (int i = 0; i < STEPS; i++) {
            loss[i] = (float)rows[i + 1].loss;
            norm[i] = (float)rows[i + 1].grad_norm;
        }
        compare(&f, "loss", loss, 1, (int64_t[]){STEPS});
        compare(&f, "grad_norm", norm, 1, (int64_t[]){STEPS});
        compare_trained(&f, &lora);
    }
    vdm_trace_free(&trace);
    vdm_free(videos);
    vdm_free(images);
    vdm_free(text);
    vdm_free(noise);
    vdm_free(ts);
    vdm_free(pairs);
    vdm_lora_free(&lora);
close:
    vdm_safetensors_close(&f);
}

int main(void)
{
    struct model m;
    if (!CHECK(!vdm_cpu_init(&cpu, 0, &err), "%s", err.text)) return check_end("golden");
    test_transformer("1.5-5B-I2V");
    test_transformer("2b");
    test_transformer("5b-I2V");
    test_vae();
    if (load(&m)) {
        test_sample(&m, VDM_DDIM);
        test_sample(&m, VDM_DPM);
        test_learning(&m);
        unload(&m);
    }
    vdm_cpu_free(&cpu);
    return check_end("golden");
}
