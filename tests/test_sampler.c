/* sampler.c: PyTorch's random numbers, the noise schedule, the steps' coefficients and the guidance held
 * against constants made with torch 2.13 and diffusers (each says how), and the pipeline on a tiny model
 * for what it must reject, report and repeat. That the pipeline computes what diffusers does is
 * tests/peer/sampler.py's part. */
#include "check.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static bool close_to(double a, double b, double tolerance)
{
    return fabs(a - b) <= tolerance * fmax(1, fabs(b)); /* false for NaN */
}

static void check_floats(const char *what, const float *x, const double *expected, int n, double tolerance)
{
    for (int i = 0; i < n; i++)
        CHECK(close_to((double)x[i], expected[i], tolerance), "%s [%d]: %.9g, expected %.9g", what, i,
              (double)x[i], expected[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Random numbers */

static void test_mt19937(void)
{
    /* numpy.random.RandomState(seed mod 2^32).randint(0, 2**32, 4, dtype=numpy.uint32) */
    static const struct {
        uint64_t seed;
        uint32_t first[4];
    } cases[] = {
        {0, {0x8c7f0aac, 0x97c4aa2f, 0xb716a675, 0xd821ccc0}},
        {42, {0x5fe1dc66, 0xcbea3db3, 0xf362035c, 0x2ef5950e}},
        {(1ull << 40) + 7, {0x1388f0af, 0x3a32e4c4, 0xc7a8c219, 0x51a829f6}},
    };
    vdm_rng r;
    for (int c = 0; c < COUNT(cases); c++) {
        vdm_rng_seed(&r, cases[c].seed);
        for (int i = 0; i < 4; i++)
            CHECK(vdm_rng_u32(&r) == cases[c].first[i], "MT19937, case %d, draw %d", c, i);
        vdm_rng_seed(&r, cases[c].seed);
        uint64_t first = (uint64_t)cases[c].first[0] << 32 | cases[c].first[1];
        CHECK(vdm_rng_u64(&r) == first, "64 bits, case %d", c);
    }
    vdm_rng_seed(&r, 5489); /* the 10000th output that the C++ standard names for std::mt19937 */
    for (int i = 1; i < 10000; i++) vdm_rng_u32(&r);
    CHECK(vdm_rng_u32(&r) == 4123659995u, "MT19937, draw 10000");
}

static void test_randn(void)
{
    /* torch.randn(16, generator=torch.Generator().manual_seed(0)) */
    static const double sixteen[] = {-1.12583983, -1.1523602,  -0.250578582, -0.433878809,
                                     0.848710358, 0.692009151, -0.31601277,  -2.11521935,
                                     0.322274923, -1.26333475, 0.349983186,  0.30813393,
                                     0.119841509, 1.2376579,   1.11677718,   -0.247278154};
    /* torch.randn(17, generator=torch.Generator().manual_seed(42)): the last 16 are drawn twice */
    static const double seventeen[] = {1.92691529,  -0.159597471, -0.497397542, 0.439589262, -0.758131146,
                                       1.07831764,  0.800800562,  1.68062055,   0.355859905, 1.29642284,
                                       0.61046648,  1.33473778,   -0.23162432,  0.041759491, -0.251575291,
                                       0.859858513, -0.309726775};
    /* g = torch.Generator().manual_seed(42): torch.randn of 5, 16 (two shown), 1, 1. The sixth normal of the
     * scalar path waits while 16 are drawn. */
    static const double five[] = {0.336690366, 0.128809407, 0.234462366, 0.23033303, -1.12285638};
    static const double after[] = {-0.248257503, -1.20821476}, one[] = {-0.186328292},
                        another[] = {-0.988959908};
    vdm_rng r;
    float x[32];
    vdm_rng_seed(&r, 0);
    vdm_randn(&r, x, 16);
    check_floats("randn(16)", x, sixteen, 16, 1e-6);
    vdm_rng_seed(&r, 42);
    vdm_randn(&r, x, 17);
    check_floats("randn(17)", x, seventeen, 17, 1e-6);
    vdm_rng_seed(&r, 42);
    vdm_randn(&r, x, 5);
    check_floats("randn(5)", x, five, 5, 1e-7);
    vdm_randn(&r, x, 16);
    check_floats("randn(16) after randn(5)", x, after, 2, 1e-6);
    vdm_randn(&r, x, 1);
    check_floats("the spare normal", x, one, 1, 1e-7);
    vdm_randn(&r, x, 1);
    check_floats("randn(1)", x, another, 1, 1e-7);
    vdm_randn(&r, x, 1);
    vdm_rng_seed(&r, 42);
    vdm_randn(&r, x, 1);
    check_floats("seeding drops the spare", x, five, 1, 1e-7);
}

static void test_uniform(void)
{
    /* g = torch.Generator().manual_seed(2**40 + 7): torch.rand(3), then torch.randint(below, (1,)) */
    static const double rand[] = {0.53492254, 0.198803186, 0.659211695};
    static const int64_t below[] = {1000, (1 << 28) - 1, 1 << 28, 1ll << 40};
    static const int64_t drawn[] = {286, 3905098, 154469271, 446582064476};
    vdm_rng r;
    float x[3];
    vdm_rng_seed(&r, (1ull << 40) + 7);
    vdm_rand(&r, x, 3);
    check_floats("rand(3)", x, rand, 3, 1e-8);
    for (int i = 0; i < COUNT(below); i++)
        CHECK(vdm_randint(&r, below[i]) == drawn[i], "randint below %lld", (long long)below[i]);
}

static void test_statistics(void)
{
    enum { N = 100003 };
    static float x[N];
    double sum = 0, squares = 0, fourth = 0;
    int beyond = 0;
    vdm_rng r;
    vdm_rng_seed(&r, 7);
    vdm_randn(&r, x, N);
    for (int i = 0; i < N; i++) {
        double s = (double)x[i] * (double)x[i];
        sum += (double)x[i];
        squares += s;
        fourth += s * s;
        beyond += s > 4;
    }
    CHECK(fabs(sum / N) < 0.015, "mean %g", sum / N);
    CHECK(fabs(squares / N - 1) < 0.025, "variance %g", squares / N);
    CHECK(fabs(fourth / N - 3) < 0.2, "kurtosis %g", fourth / N);
    CHECK(fabs((double)beyond / N - 0.0455) < 0.003, "share beyond 2: %g", (double)beyond / N);
}

/* ------------------------------------------------------------------------------------------------
 * Schedule */

static vdm_scheduler_config published(double snr_shift_scale)
{
    return (vdm_scheduler_config){.train_timesteps = 1000,
                                  .beta_start = 0.00085,
                                  .beta_end = 0.012,
                                  .snr_shift_scale = snr_shift_scale,
                                  .rescale_zero_snr = true,
                                  .set_alpha_to_one = true,
                                  .trailing = true};
}

static vdm_schedule schedule_of(double snr_shift_scale)
{
    vdm_schedule s;
    vdm_error err;
    vdm_scheduler_config c = published(snr_shift_scale);
    int status = vdm_schedule_init(&s, &c, &err);
    CHECK(status == 0, "the published schedule: %s", status ? err.text : "");
    return s;
}

static void test_alphas(void)
{
    /* CogVideoXDDIMScheduler(published configuration).alphas_cumprod, snr_shift_scale 1 and 3 */
    static const struct {
        int t;
        double one, three;
    } table[] = {
        {0, 0.99915, 0.9974543276430069},
        {19, 0.9810104569288466, 0.9465729792377547},
        {39, 0.9602639405161023, 0.8923313385272599},
        {249, 0.6541890065386031, 0.3908897412742087},
        {499, 0.24235916655614523, 0.09596956169073541},
        {749, 0.033171482831862664, 0.010965890925337906},
        {979, 8.578784340054837e-05, 2.7194360400217652e-05},
        {998, 1.967888056621291e-07, 6.230788467394798e-08},
    };
    vdm_schedule one = schedule_of(1), three = schedule_of(3);
    for (int i = 0; i < COUNT(table); i++) {
        int t = table[i].t;
        double a = vdm_schedule_alpha(&one, t), b = vdm_schedule_alpha(&three, t);
        CHECK(fabs(a / table[i].one - 1) < 1e-11, "alpha %d: %.17g", t, a);
        CHECK(fabs(b / table[i].three - 1) < 1e-11, "alpha %d, shift 3: %.17g", t, b);
    }
    CHECK(one.alphas[999] == 0 && three.alphas[999] == 0, "zero terminal SNR is exactly 0");
    CHECK(vdm_schedule_alpha(&one, -1) == 1, "beyond the end alpha is 1");
    one.config.set_alpha_to_one = false;
    CHECK(vdm_schedule_alpha(&one, -1) == one.alphas[0], "set_alpha_to_one false");
}

static void test_rejected_schedules(void)
{
    vdm_schedule s;
    vdm_error err;
    vdm_scheduler_config c = published(1);
    CHECK(vdm_schedule_init(&s, &c, &err) == 0, "published");
    c.trailing = false;
    CHECK(vdm_schedule_init(&s, &c, &err) == -1 && strstr(err.text, "timestep_spacing"), "spacing");
    c = published(1), c.train_timesteps = 1001;
    CHECK(vdm_schedule_init(&s, &c, &err) == -1 && strstr(err.text, "1001"), "too many timesteps");
    c = published((double)NAN);
    CHECK(vdm_schedule_init(&s, &c, &err) == -1 && strstr(err.text, "snr_shift_scale"), "shift NaN");
    c = published(1), c.beta_end = 1;
    CHECK(vdm_schedule_init(&s, &c, &err) == -1 && strstr(err.text, "beta_end"), "beta of 1");
}

static void test_timesteps(void)
{
    /* CogVideoXDDIMScheduler.set_timesteps(N) */
    static const int seven[] = {999, 856, 713, 570, 428, 285, 142};
    static const int of_28[] = {999, 963, 928, 892, 856, 820, 785, 749, 713, 678, 642, 606, 570, 535,
                                499, 463, 428, 392, 356, 320, 285, 249, 213, 178, 142, 106, 70,  35};
    static const int of_30[] = {999, 966, 932, 899, 866, 832, 799, 766, 732, 699, 666, 632, 599, 566, 532,
                                499, 466, 432, 399, 366, 332, 299, 266, 232, 199, 166, 132, 99,  66,  32};
    int t[1000];
    vdm_schedule s = schedule_of(1);
    vdm_schedule_timesteps(&s, 7, t);
    CHECK(memcmp(t, seven, sizeof seven) == 0, "7 timesteps");
    vdm_schedule_timesteps(&s, 28, t);
    CHECK(memcmp(t, of_28, sizeof of_28) == 0, "28 timesteps");
    vdm_schedule_timesteps(&s, 30, t);
    CHECK(memcmp(t, of_30, sizeof of_30) == 0, "30 timesteps");
    vdm_schedule_timesteps(&s, 50, t);
    for (int k = 0; k < 50; k++) CHECK(t[k] == 999 - 20 * k, "50 timesteps: %d is %d", k, t[k]);
    /* h = (31*h + t) % 2**64 over N = 1..1000 and the first N of (numpy.round(numpy.arange(1000, 0, -1000/N))
     * - 1): ties (N = 16: 937, 811), and what rounding does to the increment */
    uint64_t hash = 0;
    for (int n = 1; n <= 1000; n++) {
        vdm_schedule_timesteps(&s, n, t);
        for (int k = 0; k < n; k++) hash = hash * 31 + (uint64_t)t[k];
        bool falling = t[0] == 999 && t[n - 1] >= 0;
        for (int k = 1; k < n; k++) falling = falling && t[k] < t[k - 1];
        CHECK(falling, "%d timesteps fall from 999 and end above -1", n);
    }
    CHECK(hash == 0xd96af0993c65ba54u, "timesteps of every N: %016llx", (unsigned long long)hash);
}

/* ------------------------------------------------------------------------------------------------
 * Steps: a step is linear, so what it makes of unit arguments shows its coefficients */

static void test_ddim(void)
{
    /* a_t and b_t of CogVideoXDDIMScheduler.step */
    static const struct {
        int steps, t;
        double a, b;
    } table[] = {
        {50, 999, 0.999957105158316, 0.00926217271489516},
        {50, 979, 0.9998552943683037, 0.01010804314509036},
        {50, 499, 0.9816181847759549, 0.03632315636851624},
        {50, 39, 0.6912972971137039, 0.31303635906912486},
        {50, 19, 0, 1},
        {7, 142, 0.07025930856638685, 0.9356501848532344}, /* ends at alpha 0.99915: noise is left */
        {28, 999, 0.9998595225099662, 0.01676112305730838},
        {28, 35, 0.154842950418868, 0.8475014428824712},
        {30, 966, 0.9995514883550983, 0.018098857824452603}, /* to 933, though 932 comes next */
    };
    vdm_schedule s = schedule_of(1);
    for (int i = 0; i < COUNT(table); i++) {
        double alpha = s.alphas[table[i].t], a = table[i].a, b = table[i].b;
        double expected[] = {a + b * sqrt(alpha), -b * sqrt(1 - alpha)};
        float x[] = {1, 0}, v[] = {0, 1};
        vdm_ddim_step(&s, table[i].steps, table[i].t, x, v, 2);
        check_floats("DDIM of x, v", x, expected, 2, 2e-7);
    }
}

static void test_dpm(void)
{
    /* get_variables and get_mult of CogVideoXDPMScheduler, mult_noise of its step */
    static const struct {
        int steps, t, back;
        double m1, m2, mn, m3, m4;
    } table[] = {
        {50, 999, -1, 0, -0.00926217271489516, 0.999957105158316, 1, 0},
        {50, 979, 999, 0.4780603963088363, -0.01494099761266826, 0.878124541419584, 1, 0},
        {50, 959, 979, 0.6377554637929064, -0.018001178951425757, 0.7697396982151646, 1.3046098595804587,
         0.30460985958045866},
        {50, 39, 59, 0.4728116943631907, -0.5271370823711186, 0.10053114580849667, 1.8062950225557235,
         0.8062950225557235},
        {50, 19, 39, 0, -1, 0, 1, 0}, /* the last: first order */
        {7, 142, 285, 0.0044932169876398175, -0.9954868013934972, 0.029095079140835905, 3.2890938105266807,
         2.2890938105266807}, /* the last too, but it arrives at timestep 0: second order */
        {30, 966, 999, 0.46471940516926474, -0.026513522341899333, 0.8848419051287545, 1, 0},
    };
    vdm_schedule s = schedule_of(1);
    for (int i = 0; i < COUNT(table); i++) {
        int steps = table[i].steps, t = table[i].t;
        bool second = table[i].back >= 0 && t - 1000 / steps >= 0;
        double alpha = s.alphas[t], m2 = table[i].m2, m3 = table[i].m3, mn = table[i].mn;
        double expected[] = {table[i].m1 - m2 * m3 * sqrt(alpha), m2 * m3 * sqrt(1 - alpha), m2 * table[i].m4,
                             second ? 0 : mn, second ? mn : 0};
        double clean[] = {sqrt(alpha), -sqrt(1 - alpha), 0, 0, 0};
        float x[] = {1, 0, 0, 0, 0}, v[] = {0, 1, 0, 0, 0}, old[] = {0, 0, 1, 0, 0};
        float noise[] = {0, 0, 0, 1, 0, 0, 0, 0, 0, 1};
        vdm_dpm_step(&s, &(vdm_step){steps, t, table[i].back}, x, v, old, noise, 5);
        check_floats("DPM of x, v, old, noise, second noise", x, expected, 5, 2e-7);
        check_floats("DPM's x0", old, clean, 5, 1e-7);
    }
}

static void test_dynamic_guidance(void)
{
    /* 1 + g*((1 - math.cos(math.pi*((N - t)/N)**5.0))/2) in Python, g = 6 */
    static const struct {
        int steps, t;
        double guidance;
    } table[] = {
        {50, 999, 2.291487174551452}, {50, 979, 2.5435028667646318}, {50, 959, 6.974351832175483},
        {50, 199, 6.999214907661871}, {50, 79, 1.0635523468092134},  {50, 39, 1.000003932038104},
        {50, 19, 1.123397939968981},  {5, 999, 6.8170294778420635},  {1, 999, 1.000097291030075},
        {7, 570, 1.3034530824180006}, {28, 963, 6.841811511860662},
    };
    for (int i = 0; i < COUNT(table); i++) {
        double g = vdm_dynamic_guidance(6, table[i].steps, table[i].t);
        CHECK(close_to(g, table[i].guidance, 1e-13), "N = %d, t = %d: %.17g", table[i].steps, table[i].t, g);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The pipeline on a tiny model */

enum { T = 9, H = 32, W = 48, MAX_F = 4, LATENTS = MAX_F * 16 * 4 * 6 }; /* tiny.c: 4x6 latents of 9 frames */
enum { M = 2 };                                                          /* videos of an ensemble */

struct tiny {
    vdm_model_config config;
    vdm_transformer transformer;
    vdm_vae vae;
    vdm_schedule schedule;
    float image[3 * H * W];
    float *prompt, *negative; /* [L,Dt] */
};

static bool tiny_load(struct tiny *m, tiny_variant variant, const char *name)
{
    char dir[512], part[600];
    vdm_error err;
    snprintf(dir, sizeof dir, "%s/%s", check_folder(), name);
    *m = (struct tiny){0};
    int status = tiny_write(dir, variant, VDM_F32, 1, &err) || vdm_model_config_read(&m->config, dir, &err);
    snprintf(part, sizeof part, "%s/transformer", dir);
    status = status || vdm_transformer_load(&m->transformer, part, &err);
    snprintf(part, sizeof part, "%s/vae", dir);
    status = status || vdm_vae_load(&m->vae, part, &err);
    status = status || vdm_schedule_init(&m->schedule, &m->config.scheduler, &err);
    if (!CHECK(!status, "tiny model: %s", status ? err.text : "")) return false;
    int64_t words = (int64_t)m->config.transformer.text_tokens * m->config.transformer.text_dim;
    m->prompt = vdm_alloc((size_t)words, sizeof(float), "a prompt", &err);
    m->negative = vdm_alloc((size_t)words, sizeof(float), "a prompt", &err);
    if (!CHECK(m->prompt && m->negative, "memory")) return false;
    check_random(m->image, 3 * H * W, 1, 1);
    check_random(m->prompt, words, 2, 1);
    check_random(m->negative, words, 3, 1);
    return true;
}

static void tiny_free(struct tiny *m)
{
    vdm_free(m->prompt);
    vdm_free(m->negative);
    vdm_vae_free(&m->vae);
    vdm_transformer_free(&m->transformer);
}

/* What a run showed: its dumps and reports */
struct seen {
    float image[M * LATENTS], latents[8][M * LATENTS]; /* after step 1, 2, ... */
    float decoded[LATENTS];                            /* what goes to the VAE: without padding */
    int dumps, steps, encodes, decodes, stop_after;
    int64_t n;
};

static bool wants_latents(void *user, const char *name)
{
    (void)user;
    return strcmp(name, "image_latents") == 0 || strncmp(name, "latents.", 8) == 0 ||
           strcmp(name, "decode.latents") == 0;
}

static void see_latents(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct seen *s = user;
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    if (strcmp(name, "decode.latents") == 0) {
        memcpy(s->decoded, data, (size_t)n * sizeof(float));
        return;
    }
    s->n = n;
    float *to = strcmp(name, "image_latents") == 0 ? s->image : s->latents[name[strlen("latents.")] - '1'];
    memcpy(to, data, (size_t)s->n * sizeof(float));
    s->dumps++;
}

static int see_report(void *user, const vdm_report *r)
{
    struct seen *s = user;
    s->encodes += strcmp(r->phase, "encode") == 0;
    s->decodes += strcmp(r->phase, "decode") == 0;
    if (strcmp(r->phase, "sample") != 0) return 0;
    s->steps++;
    CHECK(r->step == s->steps && isnan(r->loss) && r->seconds >= 0, "report of step %d", s->steps);
    return s->steps == s->stop_after;
}

static vdm_sample_options tiny_options(const struct tiny *m)
{
    vdm_sample_options o = {.steps = 3, .guidance = 6, .seed = 5};
    vdm_error err;
    int status = vdm_geometry_init(&o.geometry, &m->config, T, H, W, &err);
    CHECK(status == 0, "geometry: %s", status ? err.text : "");
    return o;
}

static int tiny_sample(const struct tiny *m, vdm_sample_options o, int threads, float *video,
                       struct seen *seen, vdm_error *err)
{
    vdm_cpu cpu;
    vdm_trace trace = {.wants = wants_latents, .see = see_latents, .user = seen};
    vdm_progress progress = {.report = see_report, .user = seen, .trace = &trace};
    int stop_after = seen->stop_after;
    *seen = (struct seen){.stop_after = stop_after};
    if (vdm_cpu_init(&cpu, threads, err)) return -1;
    int status = vdm_sample(&(vdm_pipeline){.transformer = &m->transformer,
                                            .vae = &m->vae,
                                            .schedule = &m->schedule,
                                            .cpu = &cpu,
                                            .prompt = m->prompt,
                                            .negative = o.guidance > 1 ? m->negative : NULL},
                            &o, m->image, video, &progress, err);
    vdm_cpu_free(&cpu);
    vdm_trace_free(&trace);
    return status;
}

static float video[2][T * 3 * H * W];

static void test_runs(const struct tiny *m, const char *name)
{
    vdm_error err;
    for (int dpm = 0; dpm < 2; dpm++) {
        static struct seen seen[2];
        vdm_sample_options o = tiny_options(m);
        o.sampler = dpm ? VDM_DPM : VDM_DDIM;
        for (int i = 0; i < 2; i++) {
            int status = tiny_sample(m, o, i ? 3 : 1, video[i], &seen[i], &err);
            CHECK(status == 0, "%s, dpm %d: %s", name, dpm, status ? err.text : "");
        }
        CHECK(check_same_bits(video[0], video[1], sizeof video[0]), "%s, dpm %d: video with 1 and 3 threads",
              name, dpm);
        CHECK(check_same_bits(&seen[0], &seen[1], sizeof seen[0]), "%s, dpm %d: all that was seen", name,
              dpm);
        CHECK(seen[0].dumps == 4 && seen[0].steps == 3, "%s: %d dumps, %d steps", name, seen[0].dumps,
              seen[0].steps);
        CHECK(seen[0].encodes > 0 && seen[0].decodes > 0, "%s: the VAE reports", name);
        float low = 1, high = 0;
        for (int64_t i = 0; i < COUNT(video[0]); i++) {
            low = fminf(low, video[0][i]);
            high = fmaxf(high, video[0][i]);
            if (!(video[0][i] >= 0 && video[0][i] <= 1)) CHECK(false, "video[%lld]", (long long)i);
        }
        CHECK(low < high, "%s: the video is not constant", name);
        bool zeros = true;
        for (int64_t i = seen[0].n / o.geometry.F; i < seen[0].n; i++) zeros = zeros && seen[0].image[i] == 0;
        CHECK(zeros, "%s: image latents are zero behind frame 0", name);
    }
}

/* Three images in one pass: every one has the bits that it has alone, or as an ensemble alone. */
static void test_together(const struct tiny *m)
{
    enum { IMAGE = 3 * H * W };
    static float images[3 * IMAGE], alone[3][T * 3 * H * W], together[3][T * 3 * H * W];
    vdm_error err;
    vdm_cpu cpu;
    if (!CHECK(!vdm_cpu_init(&cpu, 2, &err), "%s", err.text)) return;
    check_random(images, COUNT(images), 77, 1);
    for (int i = 0; i < 6; i++) { /* DDIM and DPM, without and with guidance; with an ensemble */
        vdm_sample_options o = tiny_options(m);
        o.sampler = i % 2 ? VDM_DPM : VDM_DDIM;
        o.guidance = i / 2 ? 6 : 1;
        o.ensemble = i / 4 ? M : 0;
        for (int k = 0; k < 4; k++) { /* 3: all */
            o.videos = k == 3 ? 3 : 0;
            int status = vdm_sample(&(vdm_pipeline){.transformer = &m->transformer,
                                                    .vae = &m->vae,
                                                    .schedule = &m->schedule,
                                                    .cpu = &cpu,
                                                    .prompt = m->prompt,
                                                    .negative = m->negative},
                                    &o, images + k % 3 * IMAGE, k == 3 ? together[0] : video[0], NULL, &err);
            CHECK(status == 0, "together: %s", status ? err.text : "");
            if (k < 3) memcpy(alone[k], video[0], sizeof video[0]);
        }
        CHECK(check_same_bits(alone, together, sizeof together), "three together, sampler %d", i);
        CHECK(!check_same_bits(alone[0], alone[1], sizeof alone[0]), "three images have three answers");
    }
    vdm_cpu_free(&cpu);
}

/* What is decoded is the mean of the videos, unscaled, without padding. */
static int off_mean(const struct tiny *m, const vdm_geometry *g, const struct seen *seen)
{
    const float scale = (float)(1 / m->vae.config.scaling_factor);
    int64_t n = seen->n / M, pad = n / g->F * g->pad;
    int off = 0;
    for (int64_t i = pad; i < n; i++)
        off += seen->decoded[i - pad] != (seen->latents[2][i] + seen->latents[2][n + i]) / M * scale;
    return off;
}

/* Of two videos the first is the one that the image has alone (DDIM), the second has noise of its own, the
 * answer is neither's; two from the same noise have that video as their mean. */
static void test_ensemble(const struct tiny *m)
{
    static float alone[T * 3 * H * W], mean[T * 3 * H * W], noise[M * LATENTS];
    static struct seen single, seen;
    vdm_error err;
    for (int i = 0; i < 4; i++) { /* DDIM and DPM, without and with guidance */
        vdm_sample_options o = tiny_options(m), e;
        o.sampler = i % 2 ? VDM_DPM : VDM_DDIM;
        o.guidance = i / 2 ? 6 : 1;
        e = o;
        e.ensemble = M;
        CHECK(!tiny_sample(m, o, 2, alone, &single, &err), "alone");
        CHECK(!tiny_sample(m, e, 2, mean, &seen, &err), "an ensemble");
        int64_t n = single.n;
        size_t bytes = (size_t)n * sizeof(float);
        CHECK(seen.n == M * n, "%lld latents of two videos", (long long)seen.n);
        CHECK(!off_mean(m, &o.geometry, &seen), "%d latents are not the mean",
              off_mean(m, &o.geometry, &seen));
        if (o.sampler == VDM_DDIM) /* DPM draws for both in every step */
            CHECK(check_same_bits(single.latents[2], seen.latents[2], (int64_t)bytes), "the first alone, %d",
                  i);
        CHECK(!check_same_bits(seen.latents[0], seen.latents[0] + n, (int64_t)bytes), "noise of its own, %d",
              i);
        CHECK(!check_same_bits(mean, alone, sizeof alone), "the mean is not the first, %d", i);
        if (o.sampler == VDM_DPM) continue;
        check_random(noise, n, 31, 1);
        memcpy(noise + n, noise, bytes);
        o.noise = e.noise = noise;
        CHECK(!tiny_sample(m, o, 1, alone, &single, &err), "once");
        CHECK(!tiny_sample(m, e, 3, mean, &seen, &err), "twice from the same noise");
        CHECK(check_same_bits(mean, alone, sizeof alone), "the mean of two that are alike, %d", i);
    }
}

/* The seed's numbers, drawn here in the pipeline's order and injected, give the same video. */
static void test_injection(const struct tiny *m)
{
    static float image_noise[LATENTS], noise[LATENTS], step_noise[3 * 2 * LATENTS];
    static struct seen seen[2];
    vdm_error err;
    vdm_rng r;
    vdm_sample_options o = tiny_options(m);
    int64_t n = (int64_t)o.geometry.F * 16 * o.geometry.h * o.geometry.w;
    o.sampler = VDM_DPM;
    CHECK(tiny_sample(m, o, 2, video[0], &seen[0], &err) == 0, "seed");
    vdm_rng_seed(&r, o.seed);
    vdm_randn(&r, image_noise, n / o.geometry.F);
    vdm_randn(&r, noise, n);
    vdm_randn(&r, step_noise, n);             /* step 1: one normal */
    vdm_randn(&r, step_noise + 2 * n, 2 * n); /* step 2: two; n is a multiple of 16, so in one go */
    vdm_randn(&r, step_noise + 4 * n, 2 * n); /* step 3 arrives at 999 - 3 * 333 = 0: second order */
    o.seed++;
    o.image_noise = image_noise;
    o.noise = noise;
    o.step_noise = step_noise;
    CHECK(tiny_sample(m, o, 2, video[1], &seen[1], &err) == 0, "injected");
    CHECK(check_same_bits(video[0], video[1], sizeof video[0]),
          "the seed's numbers, injected, give the same video");
    step_noise[2 * n] += 1; /* the discarded normal of a second-order step */
    CHECK(tiny_sample(m, o, 2, video[1], &seen[1], &err) == 0, "injected");
    CHECK(check_same_bits(video[0], video[1], sizeof video[0]),
          "a second-order step leaves its first normal unused");
    step_noise[3 * n] += 1;
    CHECK(tiny_sample(m, o, 2, video[1], &seen[1], &err) == 0, "injected");
    CHECK(!check_same_bits(video[0], video[1], sizeof video[0]), "and uses its second");
}

/* At guidance 1 the negative prompt doesn't matter; above it is v_neg + g (v_pos - v_neg), which for equal
 * prompts is v whatever g. */
static void test_guidance(struct tiny *m)
{
    static struct seen one, six, equal;
    vdm_error err;
    vdm_sample_options o = tiny_options(m);
    CHECK(tiny_sample(m, o, 2, video[0], &six, &err) == 0, "guidance 6");
    o.guidance = 1;
    CHECK(tiny_sample(m, o, 2, video[0], &one, &err) == 0, "guidance 1");
    CHECK(!check_same_bits(one.latents[2], six.latents[2], one.n * 4), "guidance changes the latents");
    float *negative = m->negative;
    m->negative = m->prompt;
    o.guidance = 6;
    CHECK(tiny_sample(m, o, 2, video[1], &equal, &err) == 0, "equal prompts");
    CHECK(check_same_bits(one.latents[2], equal.latents[2], one.n * 4),
          "equal prompts: guidance has no effect");
    o.dynamic_guidance = true;
    CHECK(tiny_sample(m, o, 2, video[1], &equal, &err) == 0, "equal prompts");
    CHECK(check_same_bits(one.latents[2], equal.latents[2], one.n * 4), "nor has dynamic guidance");
    m->negative = negative;
    CHECK(tiny_sample(m, o, 2, video[1], &equal, &err) == 0, "dynamic guidance");
    CHECK(!check_same_bits(six.latents[2], equal.latents[2], one.n * 4),
          "dynamic guidance is not constant guidance");
}

static void test_rejections(const struct tiny *m)
{
    static struct seen seen;
    vdm_error err;
    vdm_sample_options o = tiny_options(m);
    for (int i = 0; i < 3; i++) {
        o.steps = (int[]){0, -3, 1001}[i];
        CHECK(tiny_sample(m, o, 1, video[0], &seen, &err) == -1 && strstr(err.text, "steps"), "%d steps",
              o.steps);
    }
    o = tiny_options(m), o.ensemble = 20000;
    CHECK(tiny_sample(m, o, 1, video[0], &seen, &err) == -1 && strstr(err.text, "ensembles of 20000"),
          "20000");
    o = tiny_options(m), o.guidance = (double)NAN;
    CHECK(tiny_sample(m, o, 1, video[0], &seen, &err) == -1 && strstr(err.text, "guidance"), "guidance NaN");
    o = tiny_options(m), o.geometry.F--;
    CHECK(tiny_sample(m, o, 1, video[0], &seen, &err) == -1 && strstr(err.text, "latent frames"), "geometry");
    o = tiny_options(m), o.geometry.frames = 17;
    CHECK(tiny_sample(m, o, 1, video[0], &seen, &err) == -1 && strstr(err.text, "17 frames"), "frames");
    o = tiny_options(m);
    CHECK(!vdm_geometry_init(&o.geometry, &m->config, 1, H, W, &err) &&
              tiny_sample(m, o, 1, video[0], &seen, &err) == -1 && !seen.encodes &&
              strstr(err.text, "frames: found 1, expected 8 k + 1, at least 9: the first one is the input"),
          "one frame, which is the input: %s", err.text);
    struct tiny other = *m;
    other.transformer.config.in_channels = 16;
    CHECK(tiny_sample(&other, tiny_options(m), 1, video[0], &seen, &err) == -1 &&
              strstr(err.text, "in_channels"),
          "text-to-video");
    other = *m;
    other.negative = NULL;
    CHECK(tiny_sample(&other, tiny_options(m), 1, video[0], &seen, &err) == -1 &&
              strstr(err.text, "negative"),
          "no negative prompt");
    seen = (struct seen){.stop_after = 2};
    CHECK(tiny_sample(m, tiny_options(m), 1, video[0], &seen, &err) == -1 && strstr(err.text, "interrupted"),
          "interruption");
    CHECK(seen.steps == 2, "it stops where it is asked to");
}

static void test_bytes(const struct tiny *m)
{
    vdm_sample_options o = tiny_options(m);
    size_t ddim = vdm_sample_bytes(&m->config, &o, 0), adapted = vdm_sample_bytes(&m->config, &o, 16);
    o.sampler = VDM_DPM;
    CHECK(vdm_sample_bytes(&m->config, &o, 0) > ddim, "DPM stores x0 and draws noise");
    CHECK(adapted >= ddim && ddim > 100000, "%zu bytes, with an adapter %zu", ddim, adapted);
    o = tiny_options(m);
    o.ensemble = 3;
    size_t three = vdm_sample_bytes(&m->config, &o, 0);
    o.ensemble = 0;
    o.videos = 3;
    CHECK(three > vdm_sample_bytes(&m->config, &o, 0), "an ensemble has noise for each of its videos");
}

static void test_pipeline(tiny_variant variant, const char *name)
{
    static struct tiny m;
    if (tiny_load(&m, variant, name)) {
        test_runs(&m, name);
        if (variant == TINY_15_I2V) {
            test_injection(&m);
            test_together(&m);
            test_ensemble(&m);
            test_guidance(&m);
            test_rejections(&m);
        }
        test_bytes(&m);
    }
    tiny_free(&m);
}

int main(void)
{
    test_mt19937();
    test_randn();
    test_uniform();
    test_statistics();
    test_alphas();
    test_rejected_schedules();
    test_timesteps();
    test_ddim();
    test_dpm();
    test_dynamic_guidance();
    test_pipeline(TINY_15_I2V, "1.5-I2V");
    test_pipeline(TINY_5B_I2V, "5B-I2V");
    return check_end("sampler");
}
