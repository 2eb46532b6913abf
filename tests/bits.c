/* Prints hashes of everything that computes, a line for each part: name, hash, largest element. The same on every
 * machine: tests/golden/hashes.txt is that list, and tests/bits.sh holds the lines of every compiler,
 * instruction set, number of threads and emulated processor with it. Run from the root of the repository.
 *
 *   bits THREADS FOLDER     (VDM_ISA selects the instruction set; FOLDER: its files are written there)
 *
 * Inputs are integers scaled by powers of two, or files of tests/golden: they don't depend on the C library. If a
 * result changes on purpose, `build/tests/bits 1 FOLDER > tests/golden/hashes.txt` is a part of that change. */
#include "check.h"
#include "vdm_math.h"
#include "kernels/kernels.h"
#include "tiny.h"

#include <stdlib.h>
#include <string.h>

static const char *folder; /* files are written there */
static vdm_cpu cpu;
static vdm_error err;

static _Noreturn void die(void)
{
    fprintf(stderr, "bits: %s\n", err.text);
    exit(1);
}

static void need(int status)
{
    if (status) die();
}

static float *randoms(int64_t n, uint32_t seed, float scale)
{
    float *x = vdm_alloc((size_t)n, sizeof *x, "a test's numbers", &err);
    if (!x) die();
    check_random(x, n, seed, scale);
    return x;
}

/* A line of the list: the largest element gives the scale of a difference. */
static void print_line(const char *part, uint64_t hash, double largest)
{
    printf("%-34s %016llx  largest %.9g\n", part, (unsigned long long)hash, largest);
}

static double larger(double largest, double x)
{
    double size = x < 0 ? -x : x;
    return size <= largest || largest != largest ? largest : size; /* NaN is taken, and stays NaN */
}

static void print(const char *part, const float *x, int64_t n)
{
    char name[64];
    double largest = 0;
    static const char *const in[] = {
        [VDM_PRECISION_F32] = "", [VDM_PRECISION_BF16] = ", in bf16", [VDM_PRECISION_AMX] = ", in amx"};
    snprintf(name, sizeof name, "%s%s", part, in[cpu.precision]);
    for (int64_t i = 0; i < n; i++) largest = larger(largest, (double)x[i]);
    print_line(name, check_hash_numbers(x, n, sizeof *x), largest);
}

static void print_doubles(const char *part, const double *x, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) largest = larger(largest, x[i]);
    print_line(part, check_hash_numbers(x, n, sizeof *x), largest);
}

static void print_file(const char *part, const char *path)
{
    char *data;
    size_t size;
    need(vdm_read_file(path, 1 << 24, &data, &size, &err));
    print_line(part, check_hash(data, (int64_t)size), (double)size);
    vdm_free(data);
}

/* frames [T,H,W,3]: resized, blended with one another, and as files. */
static void pictures(const char *name, uint8_t *frames, int T, int H, int W)
{
    char path[400], label[64];
    vdm_picture first = {H, W, frames}, last = {H, W, frames + (size_t)(T - 1) * (size_t)(H * W * 3)}, small,
                y;
    snprintf(path, sizeof path, "%s/video.y4m", folder);
    snprintf(label, sizeof label, "golden sample %s, y4m file", name);
    need(vdm_y4m_write(path, frames, T, H, W, &err));
    print_file(label, path);
    need(vdm_picture_resize(&small, &first, 50, 37, &err));
    need(vdm_picture_resize(&y, &last, 50, 37, &err));
    snprintf(path, sizeof path, "%s/frame.png", folder);
    snprintf(label, sizeof label, "golden sample %s, png file", name);
    need(vdm_picture_write(&small, path, &err));
    print_file(label, path);
    vdm_rng rng;
    vdm_phi phi;
    uint8_t *between = vdm_alloc(9 * 37 * 50 * 3, 1, "frames", &err);
    if (!between) die();
    vdm_rng_seed(&rng, 3);
    need(vdm_phi_parse(&phi, "noisy:quadratic", &err));
    need(vdm_interp(&phi, &small, &y, 9, &rng, between, &err));
    snprintf(label, sizeof label, "golden sample %s, interp", name);
    print_line(label, check_hash(between, 9 * 37 * 50 * 3), 0);
    vdm_free(between);
    vdm_picture_free(&small);
    vdm_picture_free(&y);
}

/* K longer than a block of K, M and N that no tile divides; every dtype of weights. */
static void matmul(void)
{
    enum { M = 61, N = 83, K = 1300 };
    float *a = randoms(M * K, 1, 1), *b = randoms(N * K, 2, 1), *c = randoms(M * N, 3, 1),
          *bias = randoms(N, 4, 1);
    uint16_t *half = (uint16_t *)randoms(N * K, 0, 0);
    vdm_matmul_args m = {.M = M,
                         .N = N,
                         .K = K,
                         .a = a,
                         .a_row = K,
                         .a_col = 1,
                         .b = b,
                         .b_dtype = VDM_F32,
                         .b_row = 1,
                         .b_col = K,
                         .c = c,
                         .c_row = N,
                         .bias = bias};
    cpu.kernels->matmul(&cpu, &m);
    print("matmul f32", c, M * N);
    m.accumulate = true;
    m.b = half;
    for (int64_t i = 0; i < N * K; i++) half[i] = vdm_to_bf16(b[i]);
    m.b_dtype = VDM_BF16;
    cpu.kernels->matmul(&cpu, &m);
    print("matmul bf16, accumulated", c, M * N);
    for (int64_t i = 0; i < N * K; i++) half[i] = vdm_to_f16(b[i]);
    m.b_dtype = VDM_F16;
    m.a_row = 1; /* a transposed */
    m.a_col = M;
    cpu.kernels->matmul(&cpu, &m);
    print("matmul f16, transposed", c, M * N);
    vdm_free(a);
    vdm_free(b);
    vdm_free(c);
    vdm_free(bias);
    vdm_free(half);
}

/* Many channels: by Winograd. Odd sides: outputs over the edge. */
static void convolution(void)
{
    enum { T = 2, H = 5, W = 7, IN = 128, OUT = 144, KT = 3, K = KT * 9 * IN, N = T * H * W * OUT };
    float *x = randoms((T + KT - 1) * H * W * IN, 1, 1), *y = randoms(N, 0, 0);
    float *weight = randoms(K * OUT, 2, 1), *bias = randoms(OUT, 3, 1), *residual = randoms(N, 4, 1);
    const float *frames[T + KT - 1];
    for (int t = 0; t < T + KT - 1; t++) frames[t] = x + t * H * W * IN;
    vdm_conv w = {{weight, VDM_F32, K, OUT, 0}, bias, IN, OUT, KT, 3};
    vdm_conv_args a = {.y = y,
                       .frames = frames,
                       .T = T,
                       .H = H,
                       .W = W,
                       .Ho = H,
                       .Wo = W,
                       .stride = 1,
                       .pad = 1,
                       .w = &w,
                       .residual = residual,
                       .transformed = randoms((int64_t)vdm_winograd_floats(KT, IN, OUT), 0, 0)};
    cpu.kernels->conv(&cpu, &a);
    print("convolution of 128 channels", y, N);
    vdm_free(x);
    vdm_free(y);
    vdm_free(weight);
    vdm_free(bias);
    vdm_free(residual);
    vdm_free(a.transformed);
}

/* More keys than one tile. */
static void attention(void)
{
    enum { B = 1, A = 2, S = 600, DH = 32, N = B * S * A * DH };
    float *q = randoms(N, 1, 3), *k = randoms(N, 2, 3), *v = randoms(N, 3, 1), *d_o = randoms(N, 4, 1);
    float *o = randoms(N, 0, 0), *lse = randoms(B * A * S, 0, 0), *d = randoms(3 * N, 0, 0);
    vdm_attention_args a = {.B = B,
                            .A = A,
                            .S = S,
                            .Dh = DH,
                            .q = q,
                            .k = k,
                            .v = v,
                            .o = o,
                            .lse = lse,
                            .d_o = d_o,
                            .dq = d,
                            .dk = d + N,
                            .dv = d + 2 * N};
    cpu.kernels->attention_forward(&cpu, &a);
    print("attention", o, N);
    print("attention, log of the sum", lse, B * A * S);
    cpu.kernels->attention_backward(&cpu, &a);
    print("attention backward", d, 3 * N);
    vdm_free(q);
    vdm_free(k);
    vdm_free(v);
    vdm_free(d_o);
    vdm_free(o);
    vdm_free(lse);
    vdm_free(d);
}

/* A forward pass, and one step of training from it. */
static void transformer(tiny_variant variant, vdm_dtype dtype, int F, const char *name)
{
    enum { B = 2, H = 4, W = 6 };
    char dir[400], label[64];
    vdm_transformer m;
    vdm_lora lora;
    vdm_rng rng;
    vdm_adamw adam;
    snprintf(dir, sizeof dir, "%s/%s", folder, name);
    need(tiny_write(dir, variant, dtype, 5, &err));
    snprintf(dir, sizeof dir, "%s/%s/transformer", folder, name);
    need(vdm_transformer_load(&m, dir, &err));
    vdm_rng_seed(&rng, 6);
    need(vdm_lora_init(&lora, &m.config, VDM_ATTENTION, 3, 6, &rng, &err));
    int64_t count = vdm_lora_count(&lora), numbers = (int64_t)B * F * H * W * m.config.out_channels;
    vdm_randn(&rng, lora.params, count);
    for (int64_t i = 0; i < count; i++) lora.params[i] *= 0.2f;
    float *x = randoms((int64_t)B * F * H * W * m.config.in_channels, 1, 1.5f), *v = randoms(numbers, 0, 0);
    float *text = randoms((int64_t)B * m.config.text_tokens * m.config.text_dim, 2, 1);
    float *dv = randoms(numbers, 3, 0.1f), *grad = randoms(count, 0, 0);
    vdm_tape_shape shape = {.B = B, .F = F, .h = H, .w = W, .rank = lora.rank, .backward = true};
    vdm_tape *tape = vdm_tape_new(&m, &shape, &err);
    if (!tape) die();
    vdm_transformer_input in = {x, text, (double[]){999, 123}, NULL};
    vdm_transformer_forward(&m, &lora, &cpu, tape, &in, v);
    vdm_transformer_backward(&m, &lora, &cpu, tape, dv, grad, NULL);
    snprintf(label, sizeof label, "transformer %s", name);
    print(label, v, numbers);
    snprintf(label, sizeof label, "transformer %s, gradient", name);
    print(label, grad, count);
    need(vdm_adamw_init(&adam, count, &err));
    vdm_clip_grad(grad, count, 1);
    vdm_adamw_update(&adam, &cpu, lora.params, grad, 1e-3);
    snprintf(label, sizeof label, "transformer %s, one step", name);
    print(label, lora.params, count);
    vdm_adamw_free(&adam);
    vdm_tape_free(tape);
    vdm_lora_free(&lora);
    vdm_transformer_free(&m);
    vdm_free(x);
    vdm_free(v);
    vdm_free(text);
    vdm_free(dv);
    vdm_free(grad);
}

static void vae(void)
{
    enum { T = 9, H = 32, W = 48, F = 3, N = T * 3 * H * W, Z = F * 16 * (H / 8) * (W / 8) };
    char dir[400];
    vdm_vae m;
    snprintf(dir, sizeof dir, "%s/vae", folder);
    need(tiny_write(dir, TINY_15_I2V, VDM_BF16, 8, &err));
    snprintf(dir, sizeof dir, "%s/vae/vae", folder);
    need(vdm_vae_load(&m, dir, &err));
    float *video = randoms(N, 1, 1), *moments = randoms(2 * Z, 0, 0), *noise = randoms(Z, 2, 1);
    float *z = randoms(Z, 0, 0);
    need(vdm_vae_encode(&m, &cpu, video, &(vdm_vae_size){T, H, W, false}, moments, NULL, &err));
    print("vae encode", moments, 2 * Z);
    vdm_vae_sample(z, moments, noise, F, 16, H / 8, W / 8);
    print("vae sample", z, Z);
    need(vdm_vae_decode(&m, &cpu, z, &(vdm_vae_size){F, H / 8, W / 8, false}, video, NULL, &err));
    print("vae decode", video, N);
    vdm_vae_free(&m);
    vdm_free(video);
    vdm_free(moments);
    vdm_free(noise);
    vdm_free(z);
}

/* Only the steps, on random inputs instead of a model's. */
static void steps(void)
{
    enum { N = 1000 };
    vdm_rng rng;
    vdm_schedule s;
    vdm_scheduler_config c = {.train_timesteps = 1000,
                              .beta_start = 0.00085,
                              .beta_end = 0.012,
                              .snr_shift_scale = 3,
                              .rescale_zero_snr = true,
                              .set_alpha_to_one = true,
                              .trailing = true,
                              .dpm = true};
    need(vdm_schedule_init(&s, &c, &err));
    float *x = randoms(N, 0, 0), *v = randoms(N, 1, 1), *old = randoms(N, 2, 1),
          *noise = randoms(2 * N, 0, 0);
    vdm_rng_seed(&rng, 42);
    vdm_randn(&rng, x, N);
    vdm_randn(&rng, noise, 2 * N);
    print("randn", x, N);
    vdm_ddim_step(&s, 50, 499, x, v, N);
    print("ddim step", x, N);
    vdm_dpm_step(&s, &(vdm_step){50, 479, 499}, x, v, old, noise, N);
    print("dpm step", x, N);
    print_doubles("schedule", s.alphas, 1000);
    vdm_free(x);
    vdm_free(v);
    vdm_free(old);
    vdm_free(noise);
}

static void random_numbers(void)
{
    enum { N = 2000 };
    vdm_rng rng;
    float *x = randoms(N, 0, 0);
    vdm_rng_seed(&rng, 0x123456789u);
    vdm_rand(&rng, x, N);
    print("rand", x, N);
    for (int i = 0; i < N; i += 5) vdm_randn(&rng, x + i, 5); /* fewer than 16: another way */
    print("randn, five at a time", x, N);
    for (int i = 0; i < N; i++) x[i] = (float)vdm_randint(&rng, i % 2 ? 1000 : (int64_t)1 << 40);
    print("randint", x, N);
    vdm_free(x);
}

static void functions(void)
{
    enum { N = 3000 };
    float *u = randoms(2 * N, 9, 1);
    double *y = vdm_alloc(N, sizeof *y, "a test's numbers", &err);
    if (!y) die();
    for (int i = 0; i < N; i++) y[i] = vdm_exp(700 * (double)u[i]);
    print_doubles("exp", y, N);
    for (int i = 0; i < N; i++) y[i] = vdm_expm1((double)u[i]) + vdm_log(1e9 * (1.001 + (double)u[i]));
    print_doubles("expm1, log", y, N);
    for (int i = 0; i < N; i++) y[i] = vdm_pow(2 + (double)u[i], 9 * (double)u[i + N]);
    print_doubles("pow", y, N);
    for (int i = 0; i < N; i++) y[i] = vdm_sin(1e5 * (double)u[i]) + vdm_cos(1e13 * (double)u[i + N]);
    print_doubles("sin, cos", y, N);
    for (int i = 0; i < N; i++)
        y[i] = (double)vdm_from_f16(vdm_to_f16(9 * u[i])) + (double)vdm_from_bf16(vdm_to_bf16(u[i + N]));
    print_doubles("f16, bf16", y, N);
    cpu.kernels->exp(&cpu, u, u, N);
    print("exp of the kernels", u, N);
    vdm_free(y);
    vdm_free(u);
}

/* ------------------------------------------------------------------------------------------------
 * Goldens: the models and inputs of tests/golden */

/* Valid until the fourth call after it. */
static char *in_goldens(const char *format, const char *name)
{
    static char path[4][512];
    static int turn;
    char file[200], *p = path[turn = (turn + 1) % 4];
    snprintf(file, sizeof file, format, name);
    snprintf(p, sizeof path[0], "tests/golden/%s", file);
    return p;
}

static float *golden(const vdm_safetensors *f, const char *name, int rank, int64_t *shape)
{
    int64_t any[VDM_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
    float *x = vdm_safetensors_floats(f, name, rank, any, &err);
    if (!x) die();
    for (int i = 0; shape && i < rank; i++) shape[i] = vdm_safetensors_find(f, name)->shape[i];
    return x;
}

static void golden_transformer(const char *variant)
{
    char label[64];
    vdm_transformer m;
    vdm_safetensors f;
    int64_t s[5];
    need(vdm_safetensors_open(&f, in_goldens("transformer-%s.safetensors", variant), &err));
    need(vdm_transformer_load(&m, in_goldens("%s/transformer", variant), &err));
    float *x = golden(&f, "x", 5, s), *text = golden(&f, "text", 3, NULL), *t = golden(&f, "t", 1, NULL);
    int64_t numbers = s[0] * s[1] * m.config.out_channels * s[3] * s[4];
    float *v = randoms(numbers, 0, 0);
    vdm_tape_shape shape = {.B = (int)s[0], .F = (int)s[1], .h = (int)s[3], .w = (int)s[4]};
    vdm_tape *tape = vdm_tape_new(&m, &shape, &err);
    if (!tape) die();
    vdm_transformer_input in = {x, text, (double[]){(double)t[0], (double)t[1]}, NULL};
    vdm_transformer_forward(&m, NULL, &cpu, tape, &in, v);
    snprintf(label, sizeof label, "golden transformer %s", variant);
    print(label, v, numbers);
    vdm_tape_free(tape);
    vdm_transformer_free(&m);
    vdm_safetensors_close(&f);
    vdm_free(x);
    vdm_free(text);
    vdm_free(t);
    vdm_free(v);
}

/* The parts of a model folder that sampling and training need. */
struct model {
    vdm_model_config config;
    vdm_transformer transformer;
    vdm_vae vae;
    vdm_schedule schedule;
};

static void golden_encode(const struct model *m, const vdm_safetensors *f, const char *from, bool tiled)
{
    char label[64];
    int64_t s[4];
    float *video = golden(f, from, 4, s);
    int64_t n = 2 * vdm_vae_latent_frames(&m->config.vae, (int)s[0]) * 16 * (s[2] / 8) * (s[3] / 8);
    float *moments = randoms(n, 0, 0);
    need(vdm_vae_encode(&m->vae, &cpu, video, &(vdm_vae_size){(int)s[0], (int)s[2], (int)s[3], tiled},
                        moments, NULL, &err));
    snprintf(label, sizeof label, "golden vae encode %s", from);
    print(label, moments, n);
    vdm_free(video);
    vdm_free(moments);
}

static void golden_decode(const struct model *m, const vdm_safetensors *f, const char *from, bool tiled)
{
    char label[64];
    int64_t s[4];
    float *latents = golden(f, from, 4, s);
    int64_t n = vdm_vae_video_frames(&m->config.vae, (int)s[0]) * 3 * 64 * s[2] * s[3];
    float *video = randoms(n, 0, 0);
    need(vdm_vae_decode(&m->vae, &cpu, latents, &(vdm_vae_size){(int)s[0], (int)s[2], (int)s[3], tiled},
                        video, NULL, &err));
    snprintf(label, sizeof label, "golden vae decode %s", from);
    print(label, video, n);
    vdm_free(latents);
    vdm_free(video);
}

static bool is_last_latents(void *user, const char *name)
{
    (void)user;
    return strcmp(name, "latents.20") == 0;
}

static void print_last_latents(void *user, const char *name, const float *data, int rank,
                               const int64_t *shape)
{
    (void)name;
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    print(user, data, n);
}

/* Twenty steps with the seed's numbers, then the video as pictures are written. */
static void golden_sample(const struct model *m, vdm_sampler sampler)
{
    enum { T = 9, H = 16, W = 32 }; /* small: this runs under emulators */
    static uint8_t frames[T * H * W * 3];
    bool dpm = sampler == VDM_DPM;
    char label[64];
    vdm_safetensors f;
    need(vdm_safetensors_open(&f, in_goldens("sample-%s.safetensors", dpm ? "dpm" : "ddim"), &err));
    float *image = randoms(3 * H * W, 5, 1), *prompt = golden(&f, "prompt", 2, NULL);
    float *negative = golden(&f, "negative", 2, NULL), *video = randoms(T * 3 * H * W, 0, 0);
    snprintf(label, sizeof label, "golden sample %s, latents", dpm ? "dpm" : "ddim");
    vdm_sample_options o = {.steps = 20,
                            .sampler = sampler,
                            .guidance = 6,
                            .dynamic_guidance = dpm,
                            .image_scale = VDM_IMAGE_PIPELINE,
                            .seed = 7};
    vdm_trace trace = {.wants = is_last_latents, .see = print_last_latents, .user = label};
    vdm_progress progress = {.trace = &trace};
    need(vdm_geometry_init(&o.geometry, &m->config, T, H, W, &err));
    need(vdm_sample(&(vdm_pipeline){.transformer = &m->transformer,
                                    .vae = &m->vae,
                                    .schedule = &m->schedule,
                                    .cpu = &cpu,
                                    .prompt = prompt,
                                    .negative = negative},
                    &o, image, video, &progress, &err));
    vdm_trace_free(&trace);
    snprintf(label, sizeof label, "golden sample %s, video", dpm ? "dpm" : "ddim");
    print(label, video, T * 3 * H * W);
    vdm_bytes_from_video(frames, video, T, H, W);
    pictures(dpm ? "dpm" : "ddim", frames, T, H, W);
    vdm_free(image);
    vdm_free(prompt);
    vdm_free(negative);
    vdm_free(video);
    vdm_safetensors_close(&f);
}

/* Ten steps from an adapter that peft made, with the seed's numbers. */
static void golden_training(const struct model *m)
{
    enum { STEPS = 10 };
    char path[400];
    vdm_safetensors f;
    vdm_lora lora;
    vdm_fit_row rows[STEPS + 1];
    vdm_fit_options o;
    double losses[2 * STEPS];
    int applied, modules, done;
    need(vdm_safetensors_open(&f, in_goldens("%s.safetensors", "learning"), &err));
    need(vdm_lora_read(&lora, in_goldens("%s.safetensors", "adapter"), &m->transformer.config, &applied,
                       &modules, &err));
    float *videos = golden(&f, "videos", 5, NULL), *images = golden(&f, "images", 4, NULL);
    float *text = golden(&f, "text", 2, NULL);
    vdm_fit_data data = {.pairs = 3, .F = 4, .C = 16, .h = 4, .w = 6, .videos = videos, .images = images};
    vdm_fit_defaults(&o);
    o.steps = STEPS;
    o.lr = 1e-2;
    o.schedule = VDM_LR_COSINE;
    o.warmup = 2;
    snprintf(path, sizeof path, "%s/state", folder);
    o.state = path;
    need(vdm_fit(
        &(vdm_pipeline){
            .transformer = &m->transformer, .schedule = &m->schedule, .cpu = &cpu, .prompt = text},
        &lora, &data, &o, rows, &done, NULL, &err));
    for (int i = 0; i < STEPS; i++) {
        losses[2 * i] = rows[i + 1].loss;
        losses[2 * i + 1] = rows[i + 1].grad_norm;
    }
    print_doubles("golden training, losses and norms", losses, 2L * STEPS);
    print("golden training, adapter", lora.params, vdm_lora_count(&lora));
    print_file("golden training, state file", path);
    snprintf(path, sizeof path, "%s/adapter.safetensors", folder);
    need(vdm_lora_write(&lora, path, &err));
    print_file("golden training, adapter file", path);
    vdm_lora_free(&lora);
    vdm_free(videos);
    vdm_free(images);
    vdm_free(text);
    vdm_safetensors_close(&f);
}

static void goldens(void)
{
    struct model m;
    vdm_safetensors f;
    golden_transformer("1.5-5B-I2V");
    golden_transformer("2b");
    golden_transformer("5b-I2V");
    need(vdm_model_config_read(&m.config, in_goldens("%s", "1.5-5B-I2V"), &err));
    need(vdm_schedule_init(&m.schedule, &m.config.scheduler, &err));
    need(vdm_transformer_load(&m.transformer, in_goldens("%s/transformer", "1.5-5B-I2V"), &err));
    need(vdm_vae_load(&m.vae, in_goldens("%s/vae", "1.5-5B-I2V"), &err));
    need(vdm_safetensors_open(&f, in_goldens("%s.safetensors", "vae"), &err));
    golden_encode(&m, &f, "video", false);
    golden_encode(&m, &f, "image.tiled", true);
    golden_decode(&m, &f, "latents.odd", false);
    golden_decode(&m, &f, "latents.even", false);
    golden_decode(&m, &f, "latents.tiled", true);
    golden_sample(&m, VDM_DDIM);
    golden_sample(&m, VDM_DPM);
    golden_training(&m);
    vdm_safetensors_close(&f);
    vdm_transformer_free(&m.transformer);
    vdm_vae_free(&m.vae);
}

/* Ids and the embedding of a prompt, by the text encoder of tests/golden */
static void prompt(void)
{
    enum { L = 40 };
    vdm_text_encoder m;
    int32_t ids[L];
    float text[L * 20], numbers[L];
    vdm_tokenizer *t = vdm_tokenizer_load(in_goldens("%s", "1.5-5B-I2V/tokenizer"), &err);
    if (!t) die();
    need(vdm_tokenize(t, "the red  square \xef\xac\x81sh d\x65\xcc\x81j\xc3\xa0 \xff", ids, L, &err));
    for (int i = 0; i < L; i++) numbers[i] = (float)ids[i];
    print("prompt, ids", numbers, L);
    need(vdm_text_encoder_load(&m, in_goldens("%s", "1.5-5B-I2V/text_encoder"), &err));
    need(vdm_text_encode(&m, &cpu, ids, L, text, NULL, &err));
    print("prompt, embedding", text, L * m.config.width);
    vdm_text_encoder_free(&m);
    vdm_tokenizer_free(t);
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    folder = argv[2];
    if (vdm_cpu_init(&cpu, atoi(argv[1]), &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    functions();
    random_numbers();
    steps();
    matmul();
    convolution();
    attention();
    transformer(TINY_15_I2V, VDM_BF16, 4, "1.5-I2V bf16");
    transformer(TINY_2B, VDM_F16, 3, "2b f16");
    transformer(TINY_5B_I2V, VDM_F32, 3, "5b-I2V f32");
    vae();
    goldens();
    prompt();
    cpu.precision = VDM_PRECISION_BF16; /* of products: kernels.h, rule 5 */
    matmul();
    convolution();
    attention();
    transformer(TINY_15_I2V, VDM_BF16, 4, "1.5-I2V bf16");
    vae();
    cpu.precision = VDM_PRECISION_AMX; /* rule 6; no VAE, which takes long where there are no tiles */
    matmul();
    convolution();
    attention();
    transformer(TINY_15_I2V, VDM_BF16, 4, "1.5-I2V bf16");
    vdm_cpu_free(&cpu);
    return 0;
}
