/* Prints hashes of everything that computes, part by part, on tiny random models: tests/bits.sh holds the
 * lines of every compiler, instruction set and number of threads against each other.
 *
 *   bits THREADS     (VDM_ISA picks the instruction set; exit status 2: it can't run here) */
#include "check.h"
#include "kernels.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>

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

static void print(const char *part, const float *x, int64_t n)
{
    double largest = 0;
    for (int64_t i = 0; i < n; i++) {
        double size = x[i] < 0 ? -(double)x[i] : (double)x[i];
        if (!(size <= largest) && largest <= INFINITY) largest = size; /* NaN is taken, and kept */
    }
    printf("%-32s %016llx  largest %.9g\n", part, (unsigned long long)check_hash(x, n * (int64_t)sizeof *x),
           largest);
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
    snprintf(dir, sizeof dir, "%s/%s", check_folder(), name);
    need(tiny_write(dir, variant, dtype, 5, &err));
    snprintf(dir, sizeof dir, "%s/%s/transformer", check_folder(), name);
    need(vdm_transformer_load(&m, dir, &err));
    vdm_rng_seed(&rng, 6);
    need(vdm_lora_init(&lora, &m.config, 3, 6, &rng, &err));
    int64_t count = vdm_lora_count(&lora), numbers = (int64_t)B * F * H * W * m.config.out_channels;
    vdm_randn(&rng, lora.params, count);
    for (int64_t i = 0; i < count; i++) lora.params[i] *= 0.2f;
    float *x = randoms((int64_t)B * F * H * W * m.config.in_channels, 1, 1.5f), *v = randoms(numbers, 0, 0);
    float *text = randoms((int64_t)B * m.config.text_tokens * m.config.text_dim, 2, 1);
    float *dv = randoms(numbers, 3, 0.1f), *grad = randoms(count, 0, 0);
    vdm_tape_shape shape = {.B = B, .F = F, .h = H, .w = W, .rank = lora.rank, .backward = true};
    vdm_tape *tape = vdm_tape_new(&m, &shape, &err);
    if (!tape) die();
    vdm_transformer_forward(&m, &lora, &cpu, tape, x, text, (double[]){999, 123}, v);
    vdm_transformer_backward(&m, &lora, &cpu, tape, dv, grad);
    snprintf(label, sizeof label, "transformer %s", name);
    print(label, v, numbers);
    snprintf(label, sizeof label, "transformer %s, gradient", name);
    print(label, grad, count);
    need(vdm_adamw_init(&adam, count, &err));
    vdm_clip_grad(&cpu, grad, count, 1);
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
    snprintf(dir, sizeof dir, "%s/vae", check_folder());
    need(tiny_write(dir, TINY_15_I2V, VDM_BF16, 8, &err));
    snprintf(dir, sizeof dir, "%s/vae/vae", check_folder());
    need(vdm_vae_load(&m, dir, &err));
    float *video = randoms(N, 1, 1), *moments = randoms(2 * Z, 0, 0), *noise = randoms(Z, 2, 1);
    float *z = randoms(Z, 0, 0);
    need(vdm_vae_encode(&m, &cpu, video, T, H, W, false, moments, NULL, &err));
    print("vae encode", moments, 2 * Z);
    vdm_vae_sample(z, moments, noise, F, 16, H / 8, W / 8);
    print("vae sample", z, Z);
    need(vdm_vae_decode(&m, &cpu, z, F, H / 8, W / 8, false, video, NULL, &err));
    print("vae decode", video, N);
    vdm_vae_free(&m);
    vdm_free(video);
    vdm_free(moments);
    vdm_free(noise);
    vdm_free(z);
}

static void sampler(void)
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
    vdm_ddim_step(&s, &cpu, 50, 499, x, v, N);
    print("ddim step", x, N);
    vdm_dpm_step(&s, &cpu, 50, 479, 499, x, v, old, noise, N);
    print("dpm step", x, N);
    vdm_free(x);
    vdm_free(v);
    vdm_free(old);
    vdm_free(noise);
}

int main(int argc, char **argv)
{
    if (vdm_cpu_init(&cpu, argc > 1 ? atoi(argv[1]) : 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return 2;
    }
    matmul();
    attention();
    transformer(TINY_15_I2V, VDM_BF16, 4, "1.5-I2V bf16");
    transformer(TINY_2B, VDM_F16, 3, "2b f16");
    transformer(TINY_5B_I2V, VDM_F32, 3, "5b-I2V f32");
    vae();
    sampler();
    vdm_cpu_free(&cpu);
    char command[500];
    snprintf(command, sizeof command, "rm -rf '%s'", check_folder());
    return system(command) != 0;
}
