/* The few-shot loop on a tiny random model: latents of pairs, what a step computes, learning, and above all
 * that a run which is stopped or killed and resumed ends with the same bits. Compared with PyTorch and peft in
 * tests/peer/train.py. */
#include "check.h"
#include "files/fit_state.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { F = 4, C = 16, H = 4, W = 6, L = 5, DT = 24, RANK = 4, PAIRS = 3, MAX_STEPS = 80, MAX_PARAMS = 16384 };
enum { LATENT = C * H * W, VIDEO = F * LATENT };

static struct {
    vdm_transformer m;
    vdm_vae vae;
    vdm_model_config config;
    vdm_geometry geometry;
    vdm_schedule schedule;
    vdm_cpu cpu;
    float videos[PAIRS * VIDEO], images[PAIRS * LATENT], text[L * DT];
    vdm_fit_data data;
    char state[400];
} s;

static int setup(void)
{
    vdm_error err;
    char dir[300], part[400];
    snprintf(dir, sizeof dir, "%s/model", check_folder());
    snprintf(s.state, sizeof s.state, "%s/state.safetensors", check_folder());
    int failed = tiny_write(dir, TINY_15_I2V, VDM_BF16, 5, &err) ||
                 vdm_model_config_read(&s.config, dir, &err) ||
                 vdm_geometry_init(&s.geometry, &s.config, 9, 8 * H, 8 * W, &err) ||
                 vdm_schedule_init(&s.schedule, &s.config.scheduler, &err) || vdm_cpu_init(&s.cpu, 1, &err);
    snprintf(part, sizeof part, "%s/transformer", dir);
    failed = failed || vdm_transformer_load(&s.m, part, &err);
    snprintf(part, sizeof part, "%s/vae", dir);
    failed = failed || vdm_vae_load(&s.vae, part, &err);
    if (!CHECK(!failed, "%s", err.text)) return -1;
    check_random(s.videos, PAIRS * VIDEO, 1, 1.5f);
    check_random(s.images, PAIRS * LATENT, 2, 1.5f);
    check_random(s.text, L * DT, 3, 1);
    s.data = (vdm_fit_data){
        .pairs = PAIRS, .F = F, .C = C, .h = H, .w = W, .videos = s.videos, .images = s.images};
    return CHECK(s.geometry.F == F && s.geometry.pad == 1, "geometry: F %d", s.geometry.F) ? 0 : -1;
}

/* ------------------------------------------------------------------------------------------------
 * Pairs become latents */

static void fill_picture(vdm_picture *p, uint32_t seed)
{
    static uint8_t bytes[2 * PAIRS][8 * H * 8 * W * 3];
    static float noise[8 * H * 8 * W * 3];
    p->width = 8 * W;
    p->height = 8 * H;
    p->rgb = bytes[seed];
    check_random(noise, 8 * H * 8 * W * 3, seed + 50, 127);
    for (int i = 0; i < 8 * H * 8 * W * 3; i++) p->rgb[i] = (uint8_t)(127.5f + noise[i]);
}

static int stop_at_once(void *user, const vdm_report *r)
{
    *(int *)user += r->step;
    return 1;
}

/* Without noise pair 1 becomes the means, scaled. */
static void check_means(const vdm_fit_data *plain, const vdm_phi *phi, const vdm_picture *x,
                        const vdm_picture *y)
{
    vdm_error err;
    static float moments[3 * 2 * LATENT], video[9 * 3 * 8 * H * 8 * W];
    static uint8_t frames[9 * 3 * 8 * H * 8 * W];
    CHECK(!vdm_interp(phi, &x[1], &y[1], 9, NULL, frames, &err), "%s", err.text);
    vdm_video_from_bytes(video, frames, 9, 8 * H, 8 * W);
    CHECK(
        !vdm_vae_encode(&s.vae, &s.cpu, video, &(vdm_vae_size){9, 8 * H, 8 * W, false}, moments, NULL, &err),
        "%s", err.text);
    int wrong = 0;
    for (int f = 0; f < 3; f++)
        for (int i = 0; i < LATENT; i++)
            wrong += plain->videos[VIDEO + (f + 1) * LATENT + i] != moments[f * 2 * LATENT + i] * 0.7f;
    CHECK(!wrong, "video: %d latents are not the mean times 0.7", wrong);
    CHECK(
        !vdm_vae_encode(&s.vae, &s.cpu, video, &(vdm_vae_size){1, 8 * H, 8 * W, false}, moments, NULL, &err),
        "%s", err.text);
    for (int i = 0; i < LATENT; i++) wrong += plain->images[LATENT + i] != moments[i] * (float)(1 / 0.7);
    CHECK(!wrong, "image: %d latents are not the mean over 0.7", wrong);
}

static void test_data(void)
{
    vdm_error err;
    vdm_picture x[PAIRS], y[PAIRS];
    vdm_phi phi;
    vdm_fit_data all, one, plain;
    static float zeros[PAIRS * 3 * C * H * W];
    const float no_sigma[PAIRS] = {0};
    for (int i = 0; i < PAIRS; i++) {
        fill_picture(&x[i], 2 * (uint32_t)i);
        fill_picture(&y[i], 2 * (uint32_t)i + 1);
    }
    CHECK(!vdm_phi_parse(&phi, "noisy", &err), "%s", err.text);
    vdm_fit_data_options o = {.geometry = s.geometry, .phi = &phi, .augment = true, .seed = 1};
    if (!CHECK(
            !vdm_fit_data_make(&all, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 2, NULL, &err),
            "%s", err.text))
        return;
    CHECK(!vdm_fit_data_make(&one, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 1, NULL, &err),
          "%s", err.text);
    CHECK(all.pairs == 2 && all.F == F && all.C == C && all.h == H && all.w == W, "shape");
    CHECK(check_same_bits(all.videos, one.videos, VIDEO * 4) &&
              check_same_bits(all.images, one.images, LATENT * 4),
          "the first pair depends on the number of pairs");
    CHECK(check_same_bits(all.videos, all.videos + LATENT, LATENT * 4),
          "padding isn't a copy of latent frame 0");
    CHECK(!check_same_bits(all.videos, all.videos + VIDEO, VIDEO * 4), "pairs are alike");
    vdm_fit_data_free(&one);

    /* without noise: the means, scaled; sigma 0 is no augmentation */
    CHECK(!vdm_phi_parse(&phi, "linear", &err), "%s", err.text);
    o.video_noise = o.image_noise = zeros;
    o.image_sigma = no_sigma;
    CHECK(!vdm_fit_data_make(&plain, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 2, NULL, &err),
          "%s", err.text);
    check_means(&plain, &phi, x, y);
    int wrong = 0;
    CHECK(check_distance(all.images, plain.images, 2 * LATENT) > 1e-3,
          "augmentation and posterior do nothing");

    /* the posterior's noise has the channel first: what is given to channel 3 of latent frame 1 arrives there
     */
    static float single[2 * 3 * LATENT];
    for (int i = 0; i < H * W; i++) single[(3 * 3 + 1) * H * W + i] = 1;
    o.video_noise = single;
    CHECK(!vdm_fit_data_make(&one, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 1, NULL, &err),
          "%s", err.text);
    for (int i = 0; i < VIDEO; i++) {
        bool there = i / LATENT == 2 && i / (H * W) % C == 3;
        wrong += (one.videos[i] != plain.videos[i]) != there;
    }
    CHECK(!wrong, "noise of one channel and frame: %d latents are wrong", wrong);
    vdm_fit_data_free(&one);
    o.video_noise = zeros;

    /* what is rejected, and a stop */
    int reported = 0;
    vdm_progress progress = {.report = stop_at_once, .user = &reported};
    CHECK(vdm_fit_data_make(&one, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 2, &progress,
                            &err) &&
              strstr(err.text, "interrupted") && reported == 1 && !one.videos,
          "stop: %s", err.text);
    x[1].width = 8;
    CHECK(vdm_fit_data_make(&one, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 2, NULL, &err) &&
              strstr(err.text, "pair 2: input"),
          "%s", err.text);
    CHECK(vdm_fit_data_make(&one, &(vdm_pipeline){.vae = &s.vae, .cpu = &s.cpu}, &o, x, y, 0, NULL, &err),
          "no pairs are taken");
    vdm_fit_data_free(&plain);
    vdm_fit_data_free(&all);
}

/* ------------------------------------------------------------------------------------------------
 * Runs */

struct result {
    float params[MAX_PARAMS];
    vdm_fit_row rows[MAX_STEPS + 1];
    int done, status;
    vdm_error err;
};

static vdm_fit_options small_options(void)
{
    vdm_fit_options o;
    vdm_fit_defaults(&o);
    o.steps = 12;
    o.lr = 1e-2;
    o.watch_every = 5;
    o.save_every = 5;
    return o;
}

/* A run from the adapter of seed 7 (B not zero where wanted), or from `start`. */
static void run_from(struct result *r, const vdm_fit_options *o, const vdm_cpu *cpu, const float *start,
                     int rank, const vdm_progress *progress)
{
    vdm_rng rng;
    vdm_lora lora;
    vdm_fit_rng(&rng, 7, VDM_FIT_ADAPTER, 0);
    for (int i = 0; i <= o->steps; i++) r->rows[i] = (vdm_fit_row){-1, -1, -1, -1};
    CHECK(!vdm_lora_init(&lora, &s.m.config, VDM_ATTENTION, rank, 2 * rank, &rng, &r->err), "%s",
          r->err.text);
    size_t bytes = (size_t)vdm_lora_count(&lora) * sizeof(float);
    CHECK(bytes <= sizeof r->params, "the adapter is larger than the test's array");
    if (start) memcpy(lora.params, start, bytes);
    r->status =
        vdm_fit(&(vdm_pipeline){.transformer = &s.m, .schedule = &s.schedule, .cpu = cpu, .prompt = s.text},
                &lora, &s.data, o, r->rows, &r->done, progress, &r->err);
    memcpy(r->params, lora.params, bytes);
    vdm_lora_free(&lora);
}
static void run(struct result *r, const vdm_fit_options *o, const vdm_progress *progress)
{
    run_from(r, o, &s.cpu, NULL, RANK, progress);
}

static void check_same(const struct result *a, const struct result *b, int steps, const char *what)
{
    CHECK(!a->status && !b->status && a->done == steps && b->done == steps, "%s: %s %s", what,
          a->status ? a->err.text : "", b->status ? b->err.text : "");
    CHECK(check_same_bits(a->params, b->params, (int64_t)sizeof a->params), "%s: another adapter", what);
    for (int i = 0; i <= steps; i++) {
        const vdm_fit_row *x = &a->rows[i], *y = &b->rows[i];
        bool same = (x->loss == y->loss || (isnan(x->loss) && isnan(y->loss))) &&
                    (x->grad_norm == y->grad_norm || i == 0) && (x->lr == y->lr || i == 0) &&
                    (x->watch == y->watch || (isnan(x->watch) && isnan(y->watch)));
        CHECK(same, "%s: another row %d", what, i);
    }
}

static void test_learning(void)
{
    static struct result r;
    vdm_fit_options o = small_options();
    o.steps = 80;
    o.watch_every = 20;
    run(&r, &o, NULL);
    if (!CHECK(!r.status && r.done == 80, "%s", r.err.text)) return;
    CHECK(isnan(r.rows[0].loss) && isfinite(r.rows[0].watch), "row 0");
    for (int i = 1; i <= 80; i++) {
        CHECK(isfinite(r.rows[i].loss) && r.rows[i].grad_norm > 0 && r.rows[i].lr == 1e-2, "row %d", i);
        CHECK(isfinite(r.rows[i].watch) == (i % 20 == 0), "row %d: watch %g", i, r.rows[i].watch);
    }
    CHECK(r.rows[80].watch < 0.7 * r.rows[0].watch, "the loss on the fixed set goes from %g to %g",
          r.rows[0].watch, r.rows[80].watch);
}

static void test_threads(void)
{
    static struct result a, b;
    vdm_error err;
    vdm_fit_options o = small_options();
    o.steps = 3;
    for (int t = 1; t <= 3; t++) {
        vdm_cpu cpu;
        if (!CHECK(!vdm_cpu_init(&cpu, t, &err), "%s", err.text)) return;
        run_from(t == 1 ? &a : &b, &o, &cpu, NULL, RANK, NULL);
        if (t > 1) check_same(&a, &b, 3, t == 2 ? "two threads" : "three threads");
        vdm_cpu_free(&cpu);
    }
}

/* The stored activations fit, grow with the memory, and begin with attention outputs. */
static void test_memory(void)
{
    const vdm_transformer_config *c = &s.m.config;
    vdm_fit_options o = small_options();
    vdm_tape_shape all = {o.batch, F, H, W, RANK, true, c->layers, 0, false},
                   none = {o.batch, F, H, W, RANK, true, 0, 0, false};
    size_t max = vdm_tape_bytes(c, &all), min = vdm_tape_bytes(c, &none);
    int seen[3] = {0}, before[2] = {0};
    for (o.memory = 0; o.memory <= max; o.memory += max / 200) {
        int attention, stored = vdm_fit_stored_blocks(c, &s.geometry, &o, VDM_ATTENTION, RANK, &attention);
        vdm_tape_shape shape = {o.batch, F, H, W, RANK, true, stored, attention, false};
        CHECK(vdm_tape_bytes(c, &shape) <= o.memory || (o.memory < min && stored + attention == 0),
              "%zu bytes: %d and %d blocks are too many", o.memory, stored, attention);
        CHECK(stored >= before[0] && stored + attention >= before[1] &&
                  (stored == 0 || stored + attention == c->layers),
              "%zu bytes: %d and %d blocks", o.memory, stored, attention);
        before[0] = stored, before[1] = stored + attention;
        seen[stored ? 2 : attention ? 1 : 0]++;
    }
    o.memory = max;
    int attention, stored = vdm_fit_stored_blocks(c, &s.geometry, &o, VDM_ATTENTION, RANK, &attention);
    CHECK(stored == c->layers && attention == 0, "all fits: %d and %d blocks", stored, attention);
    CHECK(seen[0] && seen[1] && seen[2], "nothing %d, attention %d, all %d times", seen[0], seen[1], seen[2]);
}

/* ------------------------------------------------------------------------------------------------
 * Stopped, killed, resumed */

struct stopper {
    int stop, copy; /* steps; 0: never */
    char path[400]; /* the copy of the state: what is on the disk when the machine dies after step `copy` */
};

static int watch_steps(void *user, const vdm_report *r)
{
    const struct stopper *p = user;
    vdm_error err;
    char *data;
    size_t size;
    if (strcmp(r->phase, "train") != 0) return 0;
    if (r->step == p->copy) {
        vdm_file f;
        CHECK(!vdm_read_file(s.state, 1 << 24, &data, &size, &err), "%s", err.text);
        CHECK(!vdm_file_open(&f, p->path, &err) && fwrite(data, 1, size, f.stream) == size &&
                  !vdm_file_commit(&f, &err),
              "%s", err.text);
        vdm_free(data);
    }
    return r->step == p->stop;
}

static void test_resume(void)
{
    static struct result whole, parts;
    struct stopper p = {.stop = 7, .copy = 6};
    vdm_progress progress = {.report = watch_steps, .user = &p};
    vdm_fit_options o = small_options();
    o.accumulate = 2;
    o.schedule = VDM_LR_COSINE;
    o.warmup = 3;
    run(&whole, &o, NULL);
    CHECK(whole.rows[1].lr == 0 && whole.rows[4].lr == 1e-2, "warmup: %g %g", whole.rows[1].lr,
          whole.rows[4].lr);
    snprintf(p.path, sizeof p.path, "%s/copy.safetensors", check_folder());
    o.state = s.state;
    run(&parts, &o, &progress);
    CHECK(parts.status && parts.done == 7 && strstr(parts.err.text, "interrupted after step 7 of 12"), "%s",
          parts.err.text);
    CHECK(strstr(parts.err.text, s.state) && !strstr(parts.err.text, "--"), "a program's option: %s",
          parts.err.text);
    o.resume = true;
    p = (struct stopper){.stop = 12}; /* asked to stop when it has ended anyway */
    run(&parts, &o, &progress);
    check_same(&whole, &parts, 12, "stopped after 7");
    run(&parts, &o, NULL);
    check_same(&whole, &parts, 12, "resumed at the end");
    char copy[400];
    snprintf(copy, sizeof copy, "%s/copy.safetensors", check_folder());
    o.state = copy;
    run(&parts, &o, NULL);
    check_same(&whole, &parts, 12, "killed after 6");
}

struct times {
    int all, last, low;
};
static void count_times(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct times *n = user;
    (void)rank;
    if (strncmp(name, "step.", 5) != 0 || strcmp(name + strlen(name) - 2, ".t") != 0) return;
    for (int i = 0; i < shape[0]; i++) {
        n->all++;
        n->last += data[i] == 999;
        n->low += data[i] < 500;
    }
}

/* pure_noise is the share of the videos at the last t; half of the others are below 500. With 1 a run is as
 * with every t injected as the last one. */
static void test_pure_noise(void)
{
    static struct result r, injected;
    static float noise[12 * 2 * VIDEO];
    int last[12 * 2];
    const double shares[] = {0, 0.5, 1};
    vdm_fit_options o = small_options();
    o.steps = MAX_STEPS;
    o.watch_every = 0;
    for (int i = 0; i < 3; i++) {
        struct times n = {0};
        vdm_trace trace = {.see = count_times, .user = &n};
        const vdm_progress show = {.trace = &trace};
        o.pure_noise = shares[i];
        run(&r, &o, &show);
        vdm_trace_free(&trace);
        double expected = shares[i] * n.all, low = (n.all - expected) / 2; /* within 4 standard deviations */
        CHECK(n.all == 2 * MAX_STEPS && fabs(n.last - expected) <= (i == 1 ? 25 : 2) &&
                  fabs(n.low - low) <= 25,
              "pure noise %g: of %d videos %d at 999, %d below 500", shares[i], n.all, n.last, n.low);
    }
    for (int i = 0; i < 12 * 2; i++) last[i] = s.schedule.config.train_timesteps - 1;
    check_random(noise, 12 * 2 * VIDEO, 9, 1);
    o.steps = 12;
    o.noise = noise;
    run(&r, &o, NULL);
    o.pure_noise = 0;
    o.t = last;
    run(&injected, &o, NULL);
    check_same(&r, &injected, 12, "from pure noise");
    o.pure_noise = 1.5;
    run(&r, &o, NULL);
    CHECK(r.status && strstr(r.err.text, "pure_noise: expected a number from 0 to 1, found 1.5"), "%s",
          r.err.text);
}

static void check_rejected(const vdm_fit_options *o, int rank, const char *says)
{
    static struct result r;
    run_from(&r, o, &s.cpu, NULL, rank, NULL);
    CHECK(r.status && strstr(r.err.text, says) && strstr(r.err.text, "state.safetensors"), "%s: %s", says,
          r.status ? r.err.text : "taken");
}

static void test_other_states(void)
{
    static struct result r, longer;
    vdm_fit_options o = small_options(), other;
    o.steps = 3;
    o.watch_every = 3; /* taken at the end as well, and the end will move */
    o.state = s.state;
    run(&r, &o, NULL);
    o.resume = true;
    check_rejected(&o, RANK + 1, ": rank: this run has 5, the state was made with 4");
#define REJECTED(field, value, says)        \
    do {                                    \
        other = o;                          \
        other.field = value;                \
        check_rejected(&other, RANK, says); \
    } while (0)
    REJECTED(lr, 1e-3, ": lr: this run has 0.001");
    REJECTED(seed, 43, ": seed:");
    REJECTED(batch, 1, ": batch:");
    REJECTED(accumulate, 2, ": accumulate:");
    REJECTED(beta2, 0.999, ": beta2:");
    REJECTED(weight_decay, 0, ": weight_decay:");
    REJECTED(clip, 2, ": clip:");
    REJECTED(schedule, VDM_LR_LINEAR, ": schedule:");
    REJECTED(pure_noise, 0.5, ": pure_noise: this run has 0.5, the state was made with 0");
    REJECTED(pair, ((const int[]){0, 0, 0, 0, 0, 0}), ": injected:");
    REJECTED(steps, 2, "the state is at step 3, this run ends at 2");
    s.text[3] += 1;
    check_rejected(&o, RANK, ": prompt:");
    s.text[3] -= 1;
    s.images[5] += 1;
    check_rejected(&o, RANK, ": pairs:");
    check_random(s.images, PAIRS * LATENT, 2, 1.5f);
    static float start[MAX_PARAMS];
    run_from(&r, &o, &s.cpu, start, RANK, NULL);
    CHECK(r.status && strstr(r.err.text, ": first adapter:"), "%s", r.err.text);
    check_random(s.text, L * DT, 3, 1);
    s.cpu.precision = VDM_PRECISION_BF16;
    check_rejected(&o, RANK, ": precision: this run has BF16, the state was made with F32");
    s.cpu.precision = VDM_PRECISION_F32;
    other = o;
    other.resume = false;
    other.pure_noise = 0.5;
    run(&r, &other, NULL);
    check_rejected(&o, RANK, ": pure_noise: this run has 0, the state was made with 0.5");
    other.pure_noise = 0;
    run(&r, &other, NULL);
    /* a constant learning rate doesn't look at the end: the run may be made longer */
    o.steps = 6;
    run(&r, &o, NULL);
    o.resume = false;
    run(&longer, &o, NULL);
    check_same(&r, &longer, 6, "made longer");
    o.resume = true;
    o.state = NULL;
    run(&r, &o, NULL);
    CHECK(r.status && strstr(r.err.text, "resume"), "%s", r.err.text);
}

/* Pairs with their own prompts: each video of a batch is learned with its pair's prompt, also in a resumed run. */
static void test_prompts(void)
{
    static struct result plain, same, swapped, r;
    static float texts[2 * L * DT];
    vdm_fit_options o = small_options();
    o.batch = 2;
    run(&plain, &o, NULL);
    check_random(texts, L * DT, 11, 1);
    memcpy(texts + L * DT, s.text, sizeof s.text);
    s.data.texts = texts;
    s.data.n_texts = 2;
    s.data.text_of = (int[]){1, 1, 1};
    run(&same, &o, NULL);
    check_same(&same, &plain, o.steps, "the pipeline's prompt as the second text");
    /* lr 0, nothing but pair 2: the loss is that of its text alone */
    o.lr = 0;
    o.steps = 3;
    o.pair = (int[]){2, 2, 2, 2, 2, 2};
    o.state = s.state;
    s.data.text_of = (int[]){1, 1, 0};
    run(&swapped, &o, NULL);
    s.data.text_of = (int[]){0, 0, 1};
    o.resume = true;
    check_rejected(&o, RANK, ": prompt:");
    o.resume = false;
    run(&r, &o, NULL);
    CHECK(r.rows[1].loss != swapped.rows[1].loss, "the pair's text makes no difference");
    s.data.text_of = NULL;
    run(&same, &o, NULL);
    CHECK(r.rows[1].loss == same.rows[1].loss, "pair 2 is not learned with text 1: %g, expected %g",
          r.rows[1].loss, same.rows[1].loss);
    s.data.text_of = (int[]){0, 2, 0};
    run(&r, &o, NULL);
    CHECK(r.status && strstr(r.err.text, "prompt of pair 2: expected 0 to 1, found 2"), "%s", r.err.text);
    s.data.text_of = NULL;
    s.data.texts = NULL;
    s.data.n_texts = 0;
}

static void test_not_finite(void)
{
    static struct result r;
    static float noise[6 * 2 * VIDEO];
    vdm_fit_options o = small_options();
    vdm_error err;
    vdm_safetensors f;
    int pairs[12] = {0, 1, 2, 0, 1, 2, 0, 2, 1, 1, 1, 1};
    check_random(noise, 6 * 2 * VIDEO, 1, 1);
    o.steps = 6;
    o.noise = noise;
    o.pair = pairs;
    o.state = s.state;
    noise[(2 * 3 + 1) * VIDEO + 17] = (float)NAN; /* step 4, its second video */
    run(&r, &o, NULL);
    CHECK(r.status && r.done == 3 && strstr(r.err.text, "step 4: the loss is") &&
              strstr(r.err.text, "pair 3 (t") && !strstr(r.err.text, "pair 1"),
          "%s", r.err.text);
    if (!CHECK(!vdm_safetensors_open(&f, s.state, &err), "%s", err.text)) return;
    const vdm_tensor *p = vdm_safetensors_find(&f, "params"), *rows = vdm_safetensors_find(&f, "rows");
    CHECK(p && memcmp(p->data, r.params, p->bytes) == 0 && isfinite(r.params[0]),
          "the adapter isn't that before the step");
    CHECK(rows && rows->shape[0] == 4, "the state isn't that of step 3");
    vdm_safetensors_close(&f);
    pairs[2] = 3;
    run(&r, &o, NULL);
    CHECK(r.status && strstr(r.err.text, "injected pair: element 2"), "%s", r.err.text);
    o.pair = NULL;
    o.clip = (double)NAN;
    run(&r, &o, NULL);
    CHECK(r.status && strstr(r.err.text, "clip"), "%s", r.err.text);
}

/* Settings of AdamW that divide 0 by 0. */
static void test_divisors(void)
{
    static struct result r;
    vdm_fit_options o = small_options();
    double *const fields[] = {&o.beta1, &o.beta2, &o.eps};
    static const struct {
        double wrong;
        const char *expected;
    } cases[] = {{1, "beta1: expected a number from 0 to 0.999999, found 1"},
                 {1, "beta2: expected a number from 0 to 0.999999, found 1"},
                 {0, "eps: expected a number from 1e-30 to 1, found 0"}};
    for (int i = 0; i < 3; i++) {
        const double right = *fields[i];
        *fields[i] = cases[i].wrong;
        run(&r, &o, NULL);
        CHECK(r.status && strcmp(r.err.text, cases[i].expected) == 0, "%s", r.err.text);
        *fields[i] = right;
    }
    o.beta1 = o.beta2 = 0.999999, o.eps = 1e-30, o.steps = 2;
    run(&r, &o, NULL);
    CHECK(!r.status && isfinite(r.params[0]), "the limits: %s", r.err.text);
}

static int spoil_last(void *user, const vdm_report *report)
{
    vdm_lora *lora = user;
    if (report->step == report->of) lora->params[5] = (float)NAN;
    return 0;
}

/* The last step is followed by no loss that would show it. */
static void test_last_step(void)
{
    vdm_lora lora;
    vdm_rng rng;
    vdm_error err;
    vdm_fit_row rows[3];
    char path[500];
    vdm_fit_options o = small_options();
    const vdm_progress progress = {.report = spoil_last, .user = &lora};
    const vdm_pipeline p = {.transformer = &s.m, .schedule = &s.schedule, .cpu = &s.cpu, .prompt = s.text};
    vdm_fit_rng(&rng, 7, VDM_FIT_ADAPTER, 0);
    if (!CHECK(!vdm_lora_init(&lora, &s.m.config, VDM_ATTENTION, RANK, RANK, &rng, &err), "%s", err.text))
        return;
    o.steps = 2;
    CHECK(vdm_fit(&p, &lora, &s.data, &o, rows, NULL, &progress, &err) == -1 &&
              strstr(err.text, "after step 2: tensor 'adapter': element 5: expected a finite number"),
          "%s", err.text);
    snprintf(path, sizeof path, "%s/nan.safetensors", check_folder());
    CHECK(vdm_lora_write(&lora, path, &err) == -1 && strstr(err.text, path) &&
              strstr(err.text, "element 5: expected a finite number, found"),
          "%s", err.text);
    vdm_lora_free(&lora);
}

/* ------------------------------------------------------------------------------------------------
 * What a step computes */

struct dumped {
    float input[2 * 2 * VIDEO], target[2 * VIDEO], velocity[2 * VIDEO], grad[MAX_PARAMS];
    int at;
};

/* Of the first step, and of its first batch. */
static void see_step(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct dumped *d = user;
    size_t n = sizeof *data;
    if (strncmp(name, "step.1.", 7) != 0) return;
    name += strncmp(name, "step.1.batch.1.", 15) == 0 ? 15 : 7;
    for (int i = 0; i < rank; i++) n *= (size_t)shape[i];
    if (strcmp(name, "x") == 0) memcpy(d->input, data, n);
    if (strcmp(name, "target") == 0) memcpy(d->target, data, n);
    if (strcmp(name, "v") == 0) memcpy(d->velocity, data, n);
    if (strncmp(name, "grad.", 5) != 0 || !strstr(name, ".lora_")) return;
    memcpy(d->grad + d->at, data, n);
    d->at += (int)(n / sizeof *data);
}

static void test_step(void)
{
    static struct result r;
    static struct dumped d;
    static float noise[2 * VIDEO];
    const int t[2] = {999, 321}, pair[2] = {2, 1};
    vdm_fit_options o = small_options();
    double off = 0, loss = 0, length = 0;
    check_random(noise, 2 * VIDEO, 8, 1.7f);
    o.steps = 1;
    o.t = t;
    o.pair = pair;
    o.noise = noise;
    vdm_trace trace = {.see = see_step, .user = &d};
    const vdm_progress show = {.trace = &trace};
    run(&r, &o, &show);
    vdm_trace_free(&trace);
    CHECK(!r.status, "%s", r.err.text);
    for (int b = 0; b < 2; b++) {
        double abar = vdm_schedule_alpha(&s.schedule, t[b]), signal = sqrt(abar), sigma = sqrt(1 - abar);
        for (int i = 0; i < VIDEO; i++) {
            int f = i / LATENT, j = i % LATENT, at = b * VIDEO + i;
            double z = (double)s.videos[pair[b] * VIDEO + i], e = (double)noise[at];
            const float *x = d.input + (b * F + f) * 2 * LATENT;
            double image = f ? 0 : (double)s.images[pair[b] * LATENT + j];
            off = fmax(off, fabs((double)x[j] - (signal * z + sigma * e)));
            off = fmax(off, fabs((double)x[LATENT + j] - image));
            off = fmax(off, fabs((double)d.target[at] - (signal * e - sigma * z)));
            double miss = (double)d.velocity[at] - (double)d.target[at];
            loss += miss * miss / (2 * VIDEO);
        }
    }
    CHECK(off < 1e-6, "input or target differ by %g", off);
    CHECK(fabs(r.rows[1].loss / loss - 1) < 1e-6, "loss %g, expected %g", r.rows[1].loss, loss);
    CHECK(d.at == 2 * 4 * 2 * RANK * 64, "gradients: %d numbers", d.at);
    for (int i = 0; i < d.at; i++) length += (double)d.grad[i] * (double)d.grad[i];
    CHECK(fabs(r.rows[1].grad_norm / sqrt(length) - 1) < 1e-6, "norm %g, expected %g", r.rows[1].grad_norm,
          sqrt(length));
}

/* (loss(p + h d) - loss(p - h d)) / 2h = <gradient, d>, with two batches accumulated. Along the gradient
 * itself, so that rounding doesn't drown it. */
static void test_gradient(void)
{
    static struct result r;
    static struct dumped d;
    static float start[MAX_PARAMS], there[MAX_PARAMS];
    const int t[4] = {12, 900, 500, 321}, pair[4] = {2, 1, 0, 0};
    vdm_fit_options o = small_options();
    double losses[2], length = 0;
    int n = 2 * 4 * 2 * RANK * 64;
    check_random(start, n, 3, 0.2f);
    o.steps = 1;
    o.watch_every = 0;
    o.accumulate = 2;
    o.t = t;
    o.pair = pair;
    vdm_trace trace = {.see = see_step, .user = &d};
    const vdm_progress show = {.trace = &trace};
    run_from(&r, &o, &s.cpu, start, RANK, &show);
    CHECK(!r.status && isnan(r.rows[0].watch), "%s", r.err.text);
    for (int i = 0; i < n; i++) length += (double)d.grad[i] * (double)d.grad[i];
    length = sqrt(length);
    vdm_trace_free(&trace);
    for (int k = 0; k < 2; k++) {
        for (int i = 0; i < n; i++) there[i] = start[i] + (k ? -1e-2f : 1e-2f) * d.grad[i] / (float)length;
        run_from(&r, &o, &s.cpu, there, RANK, NULL);
        losses[k] = r.rows[1].loss;
    }
    double slope = (losses[0] - losses[1]) / 2e-2;
    CHECK(fabs(slope / length - 1) < 2e-3, "slope %g, length of the gradient %g", slope, length);
}

/* Every pair comes once in an epoch, in an order that changes. */
static void test_epochs(void)
{
    static struct result r;
    static struct dumped d;
    vdm_fit_options o = small_options();
    int seen[PAIRS] = {0}, order = 0;
    o.steps = 1;
    o.batch = 1;
    o.accumulate = PAIRS;
    vdm_trace trace = {.see = see_step, .user = &d};
    const vdm_progress show = {.trace = &trace};
    for (uint64_t seed = 0; seed < 12; seed++) {
        d.at = 0;
        o.seed = seed;
        o.watch_every = 0;
        run(&r, &o, &show);
        for (int p = 0; p < PAIRS; p++)
            if (check_same_bits(d.input + LATENT, s.images + p * LATENT, LATENT * 4)) seen[p]++;
    }
    for (int p = 0; p < PAIRS; p++) order += seen[p] > 0;
    CHECK(seen[0] + seen[1] + seen[2] == 12 && order == PAIRS, "first pairs: %d %d %d", seen[0], seen[1],
          seen[2]);
    /* an epoch as one batch: the mean over all pairs is in the loss, whatever the order */
    const int each[PAIRS] = {0, 1, 2}, t[PAIRS] = {300, 300, 300};
    static float noise[PAIRS * VIDEO];
    double losses[2];
    o.t = t;
    o.noise = noise;
    vdm_trace_free(&trace);
    for (int k = 0; k < 2; k++) {
        o.pair = k ? each : NULL;
        run(&r, &o, NULL);
        losses[k] = r.rows[1].loss;
    }
    CHECK(fabs(losses[0] / losses[1] - 1) < 1e-9, "an epoch leaves a pair out: %g %g", losses[0], losses[1]);
}

/* Every step has its own random numbers, and the fixed set contains every pair. */
static void test_numbers(void)
{
    static struct result r;
    const int same[3] = {0};
    vdm_fit_options o = small_options();
    o.steps = 3;
    o.batch = 1;
    o.lr = 0;
    o.pair = same;
    run(&r, &o, NULL);
    CHECK(r.rows[1].loss != r.rows[2].loss && r.rows[2].loss != r.rows[3].loss, "steps are alike: %g %g %g",
          r.rows[1].loss, r.rows[2].loss, r.rows[3].loss);
    CHECK(r.rows[0].watch == r.rows[3].watch, "the fixed set isn't fixed: %g %g", r.rows[0].watch,
          r.rows[3].watch);
    for (int p = 0; p < PAIRS; p++) {
        double before = r.rows[0].watch;
        s.images[p * LATENT + 7] += 1;
        run(&r, &o, NULL);
        CHECK(r.rows[0].watch != before, "the fixed set leaves pair %d out", p + 1);
    }
    check_random(s.images, PAIRS * LATENT, 2, 1.5f);
}

/* A table of settings has a bound, and what a setting's default was before it existed isn't written. */
static void test_state_settings(void)
{
    vdm_error err;
    vdm_fit_setting settings[40] = {{"written", VDM_SETTING_WORD, .word = "F32", .default_before = "BF16"},
                                    {"left out", VDM_SETTING_NUMBER, .number = 0, .default_before = "0"}};
    float array[3][2] = {{1, 2}, {3, 4}, {5, 6}}, read[3][2];
    vdm_fit_row rows[2] = {{1, 2, 3, 4}, {5, 6, 7, 8}}, rows_read[2];
    char path[600];
    snprintf(path, sizeof path, "%s/settings.state", check_folder());
    vdm_fit_state state = {settings, 2, array[0], array[1], array[2], rows, 1, 1};
    CHECK(!vdm_fit_state_write(&state, path, &err), "%s", err.text);
    vdm_fit_state back = {settings, 2, read[0], read[1], read[2], rows_read, 0, 1};
    CHECK(!vdm_fit_state_read(&back, path, &err), "%s", err.text);
    CHECK(back.step == 1 && check_same_bits(read, array, sizeof read) &&
              check_same_bits(rows_read, rows, sizeof rows),
          "the state read is not the one written");
    settings[1].number = 1;
    CHECK(vdm_fit_state_read(&back, path, &err) &&
              strstr(err.text, "left out: this run has 1, the state was made with 0"),
          "%s", err.text);
    for (int i = 0; i < 39; i++) settings[i] = (vdm_fit_setting){"many", VDM_SETTING_NUMBER, .number = i};
    CHECK(vdm_fit_state_write(&state, path, &err) && strstr(err.text, "more than"), "%s", err.text);
}

int main(void)
{
    if (!setup()) {
        test_data();
        test_step();
        test_gradient();
        test_epochs();
        test_numbers();
        test_learning();
        test_threads();
        test_memory();
        test_resume();
        test_pure_noise();
        test_other_states();
        test_prompts();
        test_not_finite();
        test_divisors();
        test_last_step();
    }
    test_state_settings();
    vdm_transformer_free(&s.m);
    vdm_vae_free(&s.vae);
    vdm_cpu_free(&s.cpu);
    return check_end("fit");
}
