/* One call of the library on tensors from a file: what the peer checks hold against diffusers.
 *
 *   driver COMMAND MODEL in.safetensors out.safetensors [key=value ...]
 *
 * MODEL is a diffusers folder (with transformer/, vae/, scheduler/); `-` stands for a MODEL or a file that
 * a command does not need. Any command takes threads=N. A failure is printed and the exit status is 1.
 *
 *   transformer  x [B,F,Cin,h,w], text [B,L,Dt], t [B] -> v [B,F,C,h,w]
 *                lora=PATH: with that adapter. Where the input holds dv [B,F,C,h,w] too, dL/dv, the gradients
 *                of the adapter come out under the names of its parameters in a LoRA file.
 *   vae-encode   video [T,3,H,W] -> moments [F,2C,h,w]                    tiled=0|1
 *   vae-decode   latents [F,C,h,w] -> video [T,3,H,W]                     tiled=0|1
 *   sample       image [3,H,W], prompt, negative [L,Dt], and where given noise [F,C,h,w], image_noise
 *                [C,h,w], step_noise [steps,2,F,C,h,w]
 *                -> image_latents [F,C,h,w], latents.1 ... latents.STEPS [F,C,h,w], video [T,3,H,W] in 0..1
 *                frames=9 steps=50 sampler=ddim|dpm guidance=6 dynamic=0|1 tiled=0|1
 *                image_scale=pipeline|trainer seed=0 lora=PATH
 *   fit          videos [P,F,C,h,w], images [P,C,h,w], text [L,Dt], t, pair [steps,N], noise
 * [steps,N,F,C,h,w]
 *                -> loss, grad_norm, lr [steps], grad.NAME of step 1, the adapter under the names of a LoRA
 * file lora=PATH: where it starts; steps=10 batch=2 accumulate=1 lr=1e-4 clip=1 weight_decay=1e-4
 *                schedule=0..3 warmup=0; save=PATH: write the adapter as a LoRA file
 *   fit-data     x, y [P,H,W,3] in 0..255, video_noise [P,C,F',h,w], image_noise [P,C,h,w] and for augment=1
 *                image_pixel_noise [P,3,H,W], image_sigma [P] -> videos [P,F,C,h,w], images [P,C,h,w]
 *                frames=9 phi=discrete augment=0|1 tiled=0|1 image_scale=pipeline|trainer
 *   randn, rand  -> x [sum of n]       seed=0 n=16,5,...: drawn one after another from one generator
 *   randint      -> x [n] i64          seed=0 n=1 below=1000
 *   score        pair [2,H,W,3] u8, or pair.0, pair.1, ... -> every score [n] f64    rows=0 cols=0 cell=0
 * border=0 joints       truth.0 [n,3], answer.0 [m,3], ...: y, x, part; within [pairs] -> matched [pairs] i64
 *   tokenize     MODEL: a tokenizer's folder; prompt.0, prompt.1, ... [bytes] u8 -> ids [prompts,count] i32   
 *   count=226 text         MODEL: a text encoder's folder; ids [L] -> text [L,Dt]
 *   steps        the scheduler alone: x [n], v [steps,n], noise [steps,2,n] -> latents [steps,n] after each
 * step, alphas [1000] f64, timesteps [steps] i64, guidance [steps] f64 (dynamic) steps=50 sampler=ddim|dpm
 * guidance=6 */
#include "vdm_math.h"
#include "vdm_task.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_OUTPUTS = 4096, MAX_ALLOCATIONS = 8192 };

typedef struct call {
    const char *model;
    char **options;
    vdm_safetensors in;
    vdm_cpu cpu;
    vdm_trace trace;
    vdm_progress progress; /* shows the tensors of sampling and learning */
    bool fit;
    vdm_tensor out[MAX_OUTPUTS];
    int n_out;
    void *memory[MAX_ALLOCATIONS]; /* freed at the end */
    int n_memory;
} call;

static _Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static void need(int status, const vdm_error *err)
{
    if (status) die("%s", err->text);
}

static void *remember(call *c, void *p, const vdm_error *err)
{
    if (!p) die("%s", err->text);
    if (c->n_memory == MAX_ALLOCATIONS) die("driver: more than %d allocations", MAX_ALLOCATIONS);
    return c->memory[c->n_memory++] = p;
}

static void *new (call *c, int64_t count, size_t size)
{
    vdm_error err;
    return remember(c, vdm_alloc((size_t)count, size, "a tensor of the driver", &err), &err);
}

static const char *option(const call *c, const char *key, const char *fallback)
{
    size_t length = strlen(key);
    for (char **o = c->options; *o; o++)
        if (strncmp(*o, key, length) == 0 && (*o)[length] == '=') return *o + length + 1;
    return fallback;
}

static int number(const call *c, const char *key, const char *fallback)
{
    return atoi(option(c, key, fallback));
}

/* The input tensor of that name; its shape comes back where -1 stood. NULL where optional and absent. */
static float *input(call *c, const char *name, int rank, int64_t *shape, bool optional)
{
    vdm_error err;
    const vdm_tensor *t = vdm_safetensors_find(&c->in, name);
    if (!t && optional) return NULL;
    float *x = remember(c, vdm_safetensors_floats(&c->in, name, rank, shape, &err), &err);
    for (int i = 0; i < rank; i++)
        if (shape[i] < 0) shape[i] = t->shape[i + (t->rank - rank)];
    return x;
}

/* Space for an output tensor. */
static void *output(call *c, const char *name, vdm_dtype dtype, int rank, const int64_t *shape)
{
    if (c->n_out == MAX_OUTPUTS) die("driver: more than %d outputs", MAX_OUTPUTS);
    vdm_tensor *t = &c->out[c->n_out++];
    *t = (vdm_tensor){.dtype = dtype, .rank = rank, .bytes = vdm_dtype_bytes(dtype)};
    for (int i = 0; i < rank; i++) t->bytes *= (size_t)(t->shape[i] = shape[i]);
    char *name_copy = new (c, (int64_t)strlen(name) + 1, 1);
    void *data = new (c, (int64_t)t->bytes, 1);
    t->name = strcpy(name_copy, name);
    t->data = data;
    return data;
}

static char *part(call *c, const char *name)
{
    vdm_error err;
    return remember(c, vdm_path(c->model, name, &err), &err);
}

static const vdm_lora *read_lora(call *c, vdm_lora *lora, const vdm_transformer_config *config)
{
    vdm_error err;
    int applied, modules;
    const char *path = option(c, "lora", NULL);
    if (!path) return NULL;
    need(vdm_lora_read(lora, path, config, &applied, &modules, &err), &err);
    return lora;
}

static void output_gradients(call *c, const vdm_lora *lora, float *grad)
{
    for (int i = 0; i < vdm_lora_matrices(lora); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(lora, grad, i);
        char name[VDM_LORA_NAME + 16];
        snprintf(name, sizeof name, "transformer.%s", m.name);
        memcpy(output(c, name, VDM_F32, 2, m.shape), m.data,
               (size_t)(m.shape[0] * m.shape[1]) * sizeof *m.data);
    }
}

static void transformer(call *c)
{
    vdm_error err;
    vdm_transformer m;
    vdm_lora adapter = {0};
    need(vdm_transformer_load(&m, part(c, "transformer"), &err), &err);
    const vdm_lora *lora = read_lora(c, &adapter, &m.config);
    int64_t xs[] = {-1, -1, m.config.in_channels, -1, -1};
    const float *x = input(c, "x", 5, xs, false);
    int64_t ts[] = {xs[0]}, text_shape[] = {xs[0], m.config.text_tokens, m.config.text_dim};
    int64_t vs[] = {xs[0], xs[1], m.config.out_channels, xs[3], xs[4]};
    const float *text = input(c, "text", 3, text_shape, false), *t = input(c, "t", 1, ts, false);
    const float *dv = input(c, "dv", 5, vs, true);
    double *timesteps = new (c, xs[0], sizeof *timesteps);
    for (int64_t b = 0; b < xs[0]; b++) timesteps[b] = (double)t[b];
    vdm_tape_shape shape = {.B = (int)xs[0],
                            .F = (int)xs[1],
                            .h = (int)xs[3],
                            .w = (int)xs[4],
                            .rank = adapter.rank,
                            .feed_forward = adapter.targets == VDM_ATTENTION_FF,
                            .backward = dv != NULL};
    vdm_tape *tape = vdm_tape_new(&m, &shape, &err);
    if (!tape) die("%s", err.text);
    const vdm_transformer_input in = {x, text, timesteps, NULL};
    vdm_transformer_forward(&m, lora, &c->cpu, tape, &in, output(c, "v", VDM_F32, 5, vs));
    if (dv) {
        if (!lora) die("driver: dv needs lora=PATH");
        float *grad = new (c, vdm_lora_count(lora), sizeof *grad);
        vdm_transformer_backward(&m, lora, &c->cpu, tape, dv, grad, NULL);
        output_gradients(c, lora, grad);
    }
    vdm_tape_free(tape);
    vdm_lora_free(&adapter);
    vdm_transformer_free(&m);
}

static void vae_encode(call *c)
{
    vdm_error err;
    vdm_vae m;
    need(vdm_vae_load(&m, part(c, "vae"), &err), &err);
    int64_t s[] = {-1, m.config.channels, -1, -1}, down = 1 << (m.config.blocks - 1);
    const float *video = input(c, "video", 4, s, false);
    int64_t moments[] = {vdm_vae_latent_frames(&m.config, (int)s[0]), 2 * m.config.latent_channels,
                         s[2] / down, s[3] / down};
    need(vdm_vae_encode(&m, &c->cpu, video,
                        &(vdm_vae_size){(int)s[0], (int)s[2], (int)s[3], number(c, "tiled", "0")},
                        output(c, "moments", VDM_F32, 4, moments), NULL, &err),
         &err);
    vdm_vae_free(&m);
}

static void vae_decode(call *c)
{
    vdm_error err;
    vdm_vae m;
    need(vdm_vae_load(&m, part(c, "vae"), &err), &err);
    int64_t s[] = {-1, m.config.latent_channels, -1, -1}, up = 1 << (m.config.blocks - 1);
    const float *latents = input(c, "latents", 4, s, false);
    int64_t video[] = {vdm_vae_video_frames(&m.config, (int)s[0]), m.config.channels, s[2] * up, s[3] * up};
    need(vdm_vae_decode(&m, &c->cpu, latents,
                        &(vdm_vae_size){(int)s[0], (int)s[2], (int)s[3], number(c, "tiled", "0")},
                        output(c, "video", VDM_F32, 4, video), NULL, &err),
         &err);
    vdm_vae_free(&m);
}

/* What a command gives of what a trace sees: names that start like this, without it (sample: all of the name).
 */
static bool wants(void *user, const char *name)
{
    const call *c = user;
    if (!c->fit) return strcmp(name, "image_latents") == 0 || strncmp(name, "latents.", 8) == 0;
    return strncmp(name, "step.1.grad.", 12) == 0 && strstr(name, ".lora_");
}

static void collect(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    call *c = user;
    void *to = output(c, c->fit ? name + strlen("step.1.") : name, VDM_F32, rank, shape);
    memcpy(to, data, c->out[c->n_out - 1].bytes);
}

static vdm_sample_options sample_options(const call *c)
{
    return (vdm_sample_options){
        .steps = number(c, "steps", "50"),
        .sampler = strcmp(option(c, "sampler", "ddim"), "dpm") == 0 ? VDM_DPM : VDM_DDIM,
        .guidance = atof(option(c, "guidance", "6")),
        .dynamic_guidance = number(c, "dynamic", "0"),
        .tiled = number(c, "tiled", "0"),
        .image_scale = strcmp(option(c, "image_scale", "pipeline"), "trainer") == 0 ? VDM_IMAGE_TRAINER
                                                                                    : VDM_IMAGE_PIPELINE,
        .seed = strtoull(option(c, "seed", "0"), NULL, 10),
    };
}

static void sample(call *c)
{
    vdm_error err;
    vdm_model_config config;
    vdm_transformer m;
    vdm_vae vae;
    vdm_schedule schedule;
    vdm_lora adapter = {0};
    need(vdm_model_config_read(&config, c->model, &err), &err);
    vdm_sample_options o = sample_options(c);
    int64_t image_shape[] = {3, -1, -1},
            text[] = {config.transformer.text_tokens, config.transformer.text_dim};
    const float *image = input(c, "image", 3, image_shape, false);
    need(vdm_geometry_init(&o.geometry, &config, number(c, "frames", "9"), (int)image_shape[1],
                           (int)image_shape[2], &err),
         &err);
    const vdm_geometry *g = &o.geometry;
    int64_t C = config.transformer.out_channels, noise[] = {g->F, C, g->h, g->w},
            image_noise[] = {C, g->h, g->w};
    int64_t step_noise[] = {o.steps, 2, g->F, C, g->h, g->w}, video[] = {g->frames, 3, g->height, g->width};
    o.noise = input(c, "noise", 4, noise, true);
    o.image_noise = input(c, "image_noise", 3, image_noise, true);
    o.step_noise = input(c, "step_noise", 6, step_noise, true);
    const float *prompt = input(c, "prompt", 2, text, false), *negative = input(c, "negative", 2, text, true);
    need(vdm_transformer_load(&m, part(c, "transformer"), &err), &err);
    need(vdm_vae_load(&vae, part(c, "vae"), &err), &err);
    need(vdm_schedule_init(&schedule, &config.scheduler, &err), &err);
    const vdm_lora *lora = read_lora(c, &adapter, &m.config);
    need(vdm_sample(&(vdm_pipeline){.transformer = &m,
                                    .vae = &vae,
                                    .schedule = &schedule,
                                    .lora = lora,
                                    .cpu = &c->cpu,
                                    .prompt = prompt,
                                    .negative = negative},
                    &o, image, output(c, "video", VDM_F32, 4, video), &c->progress, &err),
         &err);
    vdm_lora_free(&adapter);
    vdm_vae_free(&vae);
    vdm_transformer_free(&m);
}

static const int *input_whole(call *c, const char *name, int64_t rows, int64_t columns)
{
    int64_t shape[] = {rows, columns};
    const float *x = input(c, name, 2, shape, false);
    int *whole = new (c, rows * columns, sizeof *whole);
    for (int64_t i = 0; i < rows * columns; i++) whole[i] = (int)x[i];
    return whole;
}

static vdm_fit_options fit_options(const call *c)
{
    vdm_fit_options o;
    vdm_fit_defaults(&o);
    o.steps = number(c, "steps", "10");
    o.batch = number(c, "batch", "2");
    o.accumulate = number(c, "accumulate", "1");
    o.lr = atof(option(c, "lr", "1e-4"));
    o.clip = atof(option(c, "clip", "1"));
    o.weight_decay = atof(option(c, "weight_decay", "1e-4"));
    o.schedule = (vdm_lr_schedule)number(c, "schedule", "0");
    o.warmup = number(c, "warmup", "0");
    o.watch_every = 0;
    return o;
}

static void fit(call *c)
{
    vdm_error err;
    vdm_transformer m;
    vdm_schedule schedule;
    vdm_scheduler_config config;
    vdm_lora lora = {0};
    vdm_fit_options o = fit_options(c);
    int done;
    need(vdm_transformer_load(&m, part(c, "transformer"), &err), &err);
    need(vdm_scheduler_read(&config, part(c, "scheduler"), &err), &err);
    need(vdm_schedule_init(&schedule, &config, &err), &err);
    if (!read_lora(c, &lora, &m.config)) die("driver: fit needs lora=PATH");
    int64_t videos[] = {-1, -1, -1, -1, -1}, images[] = {-1, -1, -1, -1};
    int64_t text[] = {m.config.text_tokens, m.config.text_dim}, steps = o.steps, N = o.batch * o.accumulate;
    vdm_fit_data d = {.videos = input(c, "videos", 5, videos, false),
                      .images = input(c, "images", 4, images, false)};
    d.pairs = (int)videos[0];
    d.F = (int)videos[1];
    d.C = (int)videos[2];
    d.h = (int)videos[3];
    d.w = (int)videos[4];
    int64_t noise[] = {steps, N, d.F, d.C, d.h, d.w};
    o.t = input_whole(c, "t", steps, N);
    o.pair = input_whole(c, "pair", steps, N);
    o.noise = input(c, "noise", 6, noise, false);
    c->fit = true;
    vdm_fit_row *rows = new (c, steps + 1, sizeof *rows);
    const float *prompt = input(c, "text", 2, text, false);
    need(vdm_fit(&(vdm_pipeline){.transformer = &m, .schedule = &schedule, .cpu = &c->cpu, .prompt = prompt},
                 &lora, &d, &o, rows, &done, &c->progress, &err),
         &err);
    double *loss = output(c, "loss", VDM_F64, 1, &steps), *norm = output(c, "grad_norm", VDM_F64, 1, &steps);
    double *lr = output(c, "lr", VDM_F64, 1, &steps);
    for (int i = 0; i < done; i++) {
        loss[i] = rows[i + 1].loss;
        norm[i] = rows[i + 1].grad_norm;
        lr[i] = rows[i + 1].lr;
    }
    output_gradients(c, &lora, lora.params);
    const char *save = option(c, "save", NULL);
    if (save) need(vdm_lora_write(&lora, save, &err), &err);
    vdm_lora_free(&lora);
    vdm_transformer_free(&m);
}

static vdm_picture *input_pictures(call *c, const char *name, int64_t *shape)
{
    const float *x = input(c, name, 4, shape, false);
    int64_t n = shape[1] * shape[2] * 3;
    vdm_picture *p = new (c, shape[0], sizeof *p);
    uint8_t *bytes = new (c, shape[0] * n, 1);
    for (int64_t i = 0; i < shape[0] * n; i++) bytes[i] = (uint8_t)x[i];
    for (int64_t i = 0; i < shape[0]; i++)
        p[i] = (vdm_picture){.width = (int)shape[2], .height = (int)shape[1], .rgb = bytes + i * n};
    return p;
}

static void fit_data(call *c)
{
    vdm_error err;
    vdm_model_config config;
    vdm_vae vae;
    vdm_phi phi;
    vdm_fit_data d;
    int64_t s[] = {-1, -1, -1, 3};
    const vdm_picture *x = input_pictures(c, "x", s), *y = input_pictures(c, "y", s);
    vdm_fit_data_options o = {
        .phi = &phi, .augment = number(c, "augment", "0"), .tiled = number(c, "tiled", "0")};
    if (strcmp(option(c, "image_scale", "pipeline"), "trainer") == 0) o.image_scale = VDM_IMAGE_TRAINER;
    need(vdm_phi_parse(&phi, option(c, "phi", "discrete"), &err), &err);
    need(vdm_model_config_read(&config, c->model, &err), &err);
    need(vdm_geometry_init(&o.geometry, &config, number(c, "frames", "9"), (int)s[1], (int)s[2], &err), &err);
    need(vdm_vae_load(&vae, part(c, "vae"), &err), &err);
    const vdm_geometry *g = &o.geometry;
    int64_t P = s[0], C = vae.config.latent_channels, video_noise[] = {P, C, g->latent_frames, g->h, g->w};
    int64_t image[] = {P, C, g->h, g->w}, video[] = {P, g->F, C, g->h, g->w}, pixels[] = {P, 3, s[1], s[2]};
    o.video_noise = input(c, "video_noise", 5, video_noise, false);
    o.image_noise = input(c, "image_noise", 4, image, false);
    o.image_pixel_noise = input(c, "image_pixel_noise", 4, pixels, true);
    o.image_sigma = input(c, "image_sigma", 1, &P, true);
    need(vdm_fit_data_make(&d, &(vdm_pipeline){.vae = &vae, .cpu = &c->cpu}, &o, x, y, (int)P, NULL, &err),
         &err);
    size_t latent = (size_t)(P * C) * (size_t)g->h * (size_t)g->w * sizeof(float);
    memcpy(output(c, "videos", VDM_F32, 5, video), d.videos, latent * (size_t)g->F);
    memcpy(output(c, "images", VDM_F32, 4, image), d.images, latent);
    vdm_fit_data_free(&d);
    vdm_vae_free(&vae);
}

static void random_floats(call *c, void (*draw)(vdm_rng *, float *, int64_t))
{
    vdm_rng rng;
    vdm_rng_seed(&rng, strtoull(option(c, "seed", "0"), NULL, 10));
    int64_t total = 0, n;
    for (const char *s = option(c, "n", "16"); s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL)
        total += atoll(s);
    float *x = output(c, "x", VDM_F32, 1, &total);
    for (const char *s = option(c, "n", "16"); s; s = strchr(s, ',') ? strchr(s, ',') + 1 : NULL) {
        n = atoll(s);
        draw(&rng, x, n);
        x += n;
    }
}

static void randn(call *c)
{
    random_floats(c, vdm_randn);
}

static void uniform(call *c)
{
    random_floats(c, vdm_rand);
}

static void randint(call *c)
{
    vdm_rng rng;
    vdm_rng_seed(&rng, strtoull(option(c, "seed", "0"), NULL, 10));
    int64_t n = number(c, "n", "1");
    int64_t *x = output(c, "x", VDM_I64, 1, &n);
    for (int64_t i = 0; i < n; i++) x[i] = vdm_randint(&rng, atoll(option(c, "below", "1000")));
}

static void steps(call *c)
{
    vdm_error err;
    vdm_scheduler_config config;
    vdm_schedule s;
    need(vdm_scheduler_read(&config, part(c, "scheduler"), &err), &err);
    need(vdm_schedule_init(&s, &config, &err), &err);
    int N = number(c, "steps", "50"), *t = new (c, N, sizeof *t);
    bool dpm = strcmp(option(c, "sampler", "ddim"), "dpm") == 0;
    double guidance = atof(option(c, "guidance", "6"));
    int64_t n = -1, train = config.train_timesteps, many = N;
    float *x = input(c, "x", 1, &n, false), *old = new (c, n, sizeof *old);
    const float *v = input(c, "v", 2, (int64_t[]){N, n}, false);
    const float *noise = input(c, "noise", 3, (int64_t[]){N, 2, n}, false);
    float *latents = output(c, "latents", VDM_F32, 2, (int64_t[]){N, n});
    int64_t *timesteps = output(c, "timesteps", VDM_I64, 1, &many);
    double *dynamic = output(c, "guidance", VDM_F64, 1, &many);
    memcpy(output(c, "alphas", VDM_F64, 1, &train), s.alphas, (size_t)train * sizeof(double));
    vdm_schedule_timesteps(&s, N, t);
    for (int k = 0; k < N; k++) {
        timesteps[k] = t[k];
        dynamic[k] = vdm_dynamic_guidance(guidance, N, t[k]);
        if (dpm)
            vdm_dpm_step(&s, &(vdm_step){N, t[k], k ? t[k - 1] : -1}, x, v + k * n, old, noise + 2 * k * n,
                         n);
        else
            vdm_ddim_step(&s, N, t[k], x, v + k * n, n);
        memcpy(latents + k * n, x, (size_t)n * sizeof *x);
    }
}

/* A u8 tensor [n,H,W,3]. */
static const uint8_t *input_pixels(const call *c, const char *name, int *n, int *H, int *W)
{
    const vdm_tensor *t = vdm_safetensors_find(&c->in, name);
    if (!t || t->dtype != VDM_U8 || t->rank != 4 || t->shape[3] != 3)
        die("driver: %s: expected [n,H,W,3] u8", name);
    *n = (int)t->shape[0];
    *H = (int)t->shape[1];
    *W = (int)t->shape[2];
    return t->data;
}

static void input_named_pair(call *c, const char *name, vdm_picture pair[2])
{
    int n, H, W;
    const uint8_t *pixels = input_pixels(c, name, &n, &H, &W);
    if (n != 2) die("driver: expected two pictures");
    size_t bytes = (size_t)H * (size_t)W * 3;
    for (int i = 0; i < 2; i++) {
        pair[i] = (vdm_picture){H, W, new (c, (int64_t)bytes, 1)};
        memcpy(pair[i].rgb, pixels + (size_t)i * bytes, bytes);
    }
}

static void input_pair(call *c, vdm_picture pair[2])
{
    input_named_pair(c, "pair", pair);
}

/* How many tensors there are of NAME.0, NAME.1, ... */
static int64_t numbered(const call *c, const char *name)
{
    char text[32];
    for (int64_t n = 0;; n++) {
        snprintf(text, sizeof text, "%s.%d", name, (int)n);
        if (!vdm_safetensors_find(&c->in, text)) return n;
    }
}

static void picture(call *c)
{
    vdm_error err;
    vdm_picture p, resized;
    need(vdm_picture_read(&p, option(c, "path", ""), &err), &err);
    int W = number(c, "width", "0"), H = number(c, "height", "0");
    need(vdm_picture_resize(&resized, &p, H ? H : p.height, W ? W : p.width, &err), &err);
    int64_t shape[] = {resized.height, resized.width, 3};
    memcpy(output(c, "rgb", VDM_U8, 3, shape), resized.rgb, (size_t)(shape[0] * shape[1] * 3));
    vdm_picture_free(&p);
    vdm_picture_free(&resized);
}

static void write_pictures(call *c)
{
    vdm_error err;
    int T, H, W;
    const char *path = option(c, "path", ""), *ending = strrchr(path, '.');
    const uint8_t *frames = input_pixels(c, "frames", &T, &H, &W);
    vdm_picture first = {H, W, new (c, (int64_t)H * W, 3)};
    memcpy(first.rgb, frames, (size_t)H * (size_t)W * 3);
    if (ending && strcmp(ending, ".y4m") == 0)
        need(vdm_y4m_write(path, frames, T, H, W, &err), &err);
    else
        need(vdm_picture_write(&first, path, &err), &err);
}

static void interp(call *c)
{
    vdm_error err;
    vdm_phi phi;
    vdm_rng rng;
    vdm_picture pair[2];
    input_pair(c, pair);
    vdm_rng_seed(&rng, strtoull(option(c, "seed", "0"), NULL, 10));
    need(vdm_phi_parse(&phi, option(c, "phi", "discrete"), &err), &err);
    int T = number(c, "frames", "9");
    int64_t shape[] = {T, pair[0].height, pair[0].width, 3};
    need(vdm_interp(&phi, &pair[0], &pair[1], T, &rng, output(c, "frames", VDM_U8, 4, shape), &err), &err);
}

/* Of "pair", or of many at once. */
static void score(call *c)
{
    bool one = vdm_safetensors_find(&c->in, "pair") != NULL;
    int64_t n = one ? 1 : numbered(c, "pair");
    vdm_grid_layout g = {.rows = number(c, "rows", "0"),
                         .cols = number(c, "cols", "0"),
                         .cell = number(c, "cell", "0"),
                         .border = number(c, "border", "0")};
    double *psnr = output(c, "psnr", VDM_F64, 1, &n), *iou = output(c, "iou", VDM_F64, 1, &n),
           *cells = output(c, "cells", VDM_F64, 1, &n), *mae = output(c, "mae", VDM_F64, 1, &n),
           *ssim = output(c, "ssim", VDM_F64, 1, &n), *miou = output(c, "miou", VDM_F64, 1, &n);
    for (int i = 0; i < n; i++) {
        vdm_picture p[2];
        char name[32];
        snprintf(name, sizeof name, "pair.%d", i);
        input_named_pair(c, one ? "pair" : name, p);
        psnr[i] = vdm_score_psnr(&p[0], &p[1]);
        iou[i] = vdm_score_iou(&p[0], &p[1]);
        cells[i] = vdm_score_cells(&p[0], &p[1], &g);
        mae[i] = vdm_score_mae(&p[0], &p[1]);
        ssim[i] = vdm_score_ssim(&p[0], &p[1]);
        miou[i] = vdm_score_miou(&p[0], &p[1], VDM_PALETTE_ARC);
    }
}

static vdm_joint *input_joints(call *c, const char *name, int *n)
{
    int64_t shape[] = {-1, 3};
    const float *x = input(c, name, 2, shape, false);
    vdm_joint *joints = new (c, shape[0], sizeof *joints);
    *n = (int)shape[0];
    for (int i = 0; i < *n; i++)
        joints[i] = (vdm_joint){(double)x[3 * i], (double)x[3 * i + 1], (vdm_part)x[3 * i + 2]};
    return joints;
}

static void joints(call *c)
{
    int64_t pairs = numbered(c, "truth"), shape[] = {pairs};
    const float *within = input(c, "within", 1, shape, false);
    int64_t *matched = output(c, "matched", VDM_I64, 1, &pairs);
    for (int i = 0; i < pairs; i++) {
        int n, m;
        char truth[32], answer[32];
        snprintf(truth, sizeof truth, "truth.%d", i);
        snprintf(answer, sizeof answer, "answer.%d", i);
        const vdm_joint *a = input_joints(c, truth, &n), *b = input_joints(c, answer, &m);
        matched[i] = vdm_pose_pairs(a, n, b, m, (double)within[i]);
    }
}

static void tokenize(call *c)
{
    vdm_error err;
    int64_t shape[] = {numbered(c, "prompt"), number(c, "count", "226")};
    char name[32];
    vdm_tokenizer *t = vdm_tokenizer_load(c->model, &err);
    if (!t) die("%s", err.text);
    int32_t *ids = output(c, "ids", VDM_I32, 2, shape);
    for (int i = 0; i < shape[0]; i++) {
        snprintf(name, sizeof name, "prompt.%d", i);
        const vdm_tensor *bytes = vdm_safetensors_find(&c->in, name);
        char *prompt = new (c, (int64_t)bytes->bytes + 1, 1);
        memcpy(prompt, bytes->data, bytes->bytes);
        need(vdm_tokenize(t, prompt, ids + i * shape[1], (int)shape[1], &err), &err);
    }
    vdm_tokenizer_free(t);
}

static void text(call *c)
{
    vdm_error err;
    vdm_text_encoder m;
    int64_t L[] = {-1};
    float *given = input(c, "ids", 1, L, false);
    int32_t *ids = new (c, L[0], sizeof *ids);
    for (int64_t i = 0; i < L[0]; i++) ids[i] = (int32_t)given[i];
    need(vdm_text_encoder_load(&m, c->model, &err), &err);
    float *out = output(c, "text", VDM_F32, 2, (int64_t[]){L[0], m.config.width});
    need(vdm_text_encode(&m, &c->cpu, ids, (int)L[0], out, NULL, &err), &err);
    vdm_text_encoder_free(&m);
}

static const struct command {
    const char *name;
    void (*run)(call *c);
} commands[] = {
    {"tokenize", tokenize},
    {"text", text},
    {"transformer", transformer},
    {"vae-encode", vae_encode},
    {"vae-decode", vae_decode},
    {"sample", sample},
    {"randn", randn},
    {"rand", uniform},
    {"randint", randint},
    {"picture", picture},
    {"write", write_pictures},
    {"interp", interp},
    {"score", score},
    {"fit", fit},
    {"fit-data", fit_data},
    {"steps", steps},
    {"joints", joints},
};

int main(int argc, char **argv)
{
    static call c;
    vdm_error err;
    if (argc < 5) die("usage: driver COMMAND MODEL in.safetensors out.safetensors [key=value ...]");
    const struct command *found = NULL;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (strcmp(commands[i].name, argv[1]) == 0) found = &commands[i];
    if (!found) die("driver: no command '%s'", argv[1]);
    c.model = argv[2];
    c.options = argv + 5;
    need(vdm_cpu_init(&c.cpu, number(&c, "threads", "0"), &err), &err);
    bool has_input = strcmp(argv[3], "-") != 0;
    if (has_input) need(vdm_safetensors_open(&c.in, argv[3], &err), &err);
    c.trace = (vdm_trace){.wants = wants, .see = collect, .user = &c};
    c.progress.trace = &c.trace;
    found->run(&c);
    vdm_trace_free(&c.trace);
    need(vdm_safetensors_write(argv[4], c.out, c.n_out, NULL, 0, &err), &err);
    for (int i = 0; i < c.n_memory; i++) vdm_free(c.memory[i]);
    if (has_input) vdm_safetensors_close(&c.in);
    vdm_cpu_free(&c.cpu);
    return 0;
}
