/* From noise to a video: noise schedule, DDIM and DPM steps, guidance, and the loop of diffusers'
 * CogVideoXImageToVideoPipeline.
 *
 *   image [3,H,W] --VAE encode, posterior sample, scale--> latent frame 0 of image_latents [F,C,h,w]
 *   x [F,C,h,w] ~ N(0,1);  for t in timesteps: v = model(x | image_latents, text, t);  x = step(x, v, t)
 *   x --drop the padding frames, VAE decode--> video [T,3,H,W]
 *
 * Mirrors CogVideoXDDIMScheduler and CogVideoXDPMScheduler. Coefficients are doubles, rounded once to f32
 * where they meet a tensor; tensors are f32, each product and sum rounded.
 *
 * Traps, each at its place below: the step goes from t to t - floor(1000/N), which is not always the next
 * t; alpha is 0 at t = 999, so its logarithm is infinite and may only enter terms that absorb it; DPM
 * draws two normals on a second-order step and uses the second; the posterior's noise is drawn before the
 * video's; the negative prompt comes first in the batch; the padding frame is dropped at the front. */
#include "kernels/kernels.h"
#include "kernels/trace.h"

#include <math.h>
#include <string.h>

static const double PI = 0x1.921fb54442d18p+1;

/* ------------------------------------------------------------------------------------------------
 * Schedule */

/* Shifts and scales sqrt(alpha) so that it ends at exactly 0 and still begins at its old value. */
static void rescale_zero_terminal_snr(double *alphas, int n)
{
    double first = sqrt(alphas[0]), last = sqrt(alphas[n - 1]);
    for (int i = 0; i < n; i++) {
        double root = (sqrt(alphas[i]) - last) * (first / (first - last));
        alphas[i] = root * root;
    }
}

/* abar_i = product over j <= i of (1 - beta_j), sqrt(beta_j) evenly spaced from sqrt(beta_start) to sqrt(beta_end);
 * then abar <- abar / (s + (1 - s) abar), s = snr_shift_scale; then the zero terminal SNR. Trap: in this order. */
int vdm_schedule_init(vdm_schedule *s, const vdm_scheduler_config *c, vdm_error *err)
{
    int n = c->train_timesteps;
    if (n < 2 || n > 1000)
        return vdm_fail(err, "scheduler: num_train_timesteps is %d, expected 2 to 1000", n);
    if (!c->trailing)
        return vdm_fail(err, "scheduler: timestep_spacing is not \"trailing\", the only one supported");
    if (!(c->beta_start > 0 && c->beta_start <= c->beta_end && c->beta_end < 1))
        return vdm_fail(err, "scheduler: beta_start %g and beta_end %g, expected 0 < start <= end < 1",
                        c->beta_start, c->beta_end);
    if (!(c->snr_shift_scale > 0 && c->snr_shift_scale < 1e6))
        return vdm_fail(err, "scheduler: snr_shift_scale is %g, expected more than 0", c->snr_shift_scale);
    *s = (vdm_schedule){.config = *c};
    double start = sqrt(c->beta_start), end = sqrt(c->beta_end), step = (end - start) / (n - 1), abar = 1;
    for (int i = 0; i < n; i++) {
        double root = i < n / 2 ? start + step * i : end - step * (n - 1 - i); /* torch.linspace */
        abar *= 1 - root * root;
        s->alphas[i] = abar / (c->snr_shift_scale + (1 - c->snr_shift_scale) * abar);
    }
    if (c->rescale_zero_snr) rescale_zero_terminal_snr(s->alphas, n);
    return 0;
}

double vdm_schedule_alpha(const vdm_schedule *s, int t)
{
    if (t >= 0) return s->alphas[t];
    return s->config.set_alpha_to_one ? 1 : s->alphas[0];
}

/* numpy's round(arange(1000, 0, -1000/N)) - 1. arange's increment is the difference of its first two values, which are
 * rounded; rint rounds ties to even. For 62 values of N (61, 103, 121, ...) arange also returns one value too many, a
 * timestep -1, which is not a noise level; it is omitted here. */
void vdm_schedule_timesteps(const vdm_schedule *s, int steps, int *t)
{
    double first = s->config.train_timesteps, increment = (first - first / steps) - first;
    for (int k = 0; k < steps; k++) t[k] = (int)rint(first + k * increment) - 1;
}

/* The timestep that a step from t arrives at; below 0: the clean latents */
static int arrival(const vdm_schedule *s, int steps, int t)
{
    return t - s->config.train_timesteps / steps; /* integer division: not always the next timestep */
}

/* ------------------------------------------------------------------------------------------------
 * Steps. The model predicts v = sqrt(abar) noise - sqrt(1 - abar) x0, so x0 = sqrt(abar) x - sqrt(1 - abar) v.
 * Below, `alpha` is abar at t, and `to` abar at the timestep that the step arrives at. */

/* x <- a x + b x0, a = sqrt((1 - to) / (1 - alpha)), b = sqrt(to) - sqrt(alpha) a. At t = 999 x0 = -v; at the last
 * step a = 0 and b = 1. */
void vdm_ddim_step(const vdm_schedule *s, int steps, int t, float *x, const float *v, int64_t n)
{
    double alpha = vdm_schedule_alpha(s, t), to = vdm_schedule_alpha(s, arrival(s, steps, t));
    double a = sqrt((1 - to) / (1 - alpha)), b = sqrt(to) - sqrt(alpha) * a;
    const float of_x = (float)sqrt(alpha), of_v = (float)sqrt(1 - alpha);
    for (int64_t i = 0; i < n; i++) {
        float x0 = of_x * x[i] - of_v * v[i];
        x[i] = (float)a * x[i] + (float)b * x0;
    }
}

/* Half the log signal-to-noise ratio: -inf at alpha = 0, inf at 1 */
static double log_snr(double alpha)
{
    return vdm_log(sqrt(alpha / (1 - alpha)));
}

/* x <- m1 x - m2 x0 + mn noise; in the second order x0 + (x0 - old) / (2r) replaces x0 */
struct dpm {
    float m1, m2, mn; /* of x, x0, noise */
    float m3, m4;     /* 1 + 1/2r, 1/2r */
    bool second_order;
};

static bool is_second_order(const vdm_schedule *s, const vdm_step *step)
{
    return step->t_back >= 0 && arrival(s, step->steps, step->t) >= 0;
}

/* Infinities from alpha = 0 (t = 999) and 1 (the last step): h = inf makes m1 = 0 and m2 = -sqrt(to);
 * in the step after t = 999 r = inf: m3 = 1 and m4 = 0, so that its second-order formula has only x0. The last step
 * is of first order; r would be 0. */
static struct dpm dpm_coefficients(const vdm_schedule *s, const vdm_step *step)
{
    int t = step->t, next = arrival(s, step->steps, t);
    double alpha = vdm_schedule_alpha(s, t), to = vdm_schedule_alpha(s, next);
    double h = log_snr(to) - log_snr(alpha);
    struct dpm c = {
        .m1 = (float)(sqrt((1 - to) / (1 - alpha)) * vdm_exp(-h)),
        .m2 = (float)(vdm_expm1(-2 * h) * sqrt(to)),
        .mn = (float)(sqrt(1 - to) * sqrt(1 - vdm_exp(-2 * h))),
        .second_order = is_second_order(s, step),
    };
    if (!c.second_order) return c;
    double r = (log_snr(alpha) - log_snr(vdm_schedule_alpha(s, step->t_back))) / h;
    c.m3 = (float)(1 + 1 / (2 * r));
    c.m4 = (float)(1 / (2 * r));
    return c;
}

void vdm_dpm_step(const vdm_schedule *s, const vdm_step *step, float *x, const float *v, float *old,
                  const float *noise, int64_t n)
{
    const struct dpm c = dpm_coefficients(s, step);
    const double alpha = vdm_schedule_alpha(s, step->t);
    const float of_x = (float)sqrt(alpha), of_v = (float)sqrt(1 - alpha);
    const float *fresh = c.second_order ? noise + n : noise;
    for (int64_t i = 0; i < n; i++) {
        float x0 = of_x * x[i] - of_v * v[i];
        float target = c.second_order ? c.m3 * x0 - c.m4 * old[i] : x0;
        x[i] = (c.m1 * x[i] - c.m2 * target) + c.mn * fresh[i];
        old[i] = x0;
    }
}

/* t is a timestep (0..999), steps a count: (steps - t) / steps reaches -998, its fifth power -1e15, and the
 * cosine of that is effectively random. The models were published with it, so it stays; pow and cos must be
 * accurate. */
double vdm_dynamic_guidance(double guidance, int steps, int t)
{
    double turn = vdm_pow((double)(steps - t) / steps, 5);
    return 1 + guidance * ((1 - vdm_cos(PI * turn)) / 2);
}

/* ------------------------------------------------------------------------------------------------
 * The pipeline */

/* One run; all its buffers but the tape are in one allocation. M videos of each of N images go through the
 * transformer together: each gets the same bits as it would alone. */
struct run {
    const vdm_pipeline *p;
    const vdm_sample_options *o;
    const vdm_progress *progress;
    vdm_trace *trace;
    vdm_rng rng;
    vdm_tape *tape;
    int M, NM;            /* NM: M of image 0, M of image 1, ... */
    int B;                /* NM, or 2 NM with guidance: negative prompt first */
    int64_t frame, video; /* elements of a latent frame C*h*w, of a video F*C*h*w */
    float *memory;
    float *x;           /* [N*M,F,C,h,w]: the noisy latents, at last the latents */
    float *image;       /* [N*M,F,C,h,w]: the image's latents in frame 0, zeros behind */
    float *input;       /* [B,F,2C,h,w] */
    float *v;           /* [B,F,C,h,w] */
    float *text;        /* [B,L,Dt] */
    double *t;          /* [B] */
    float *old, *noise; /* DPM: [N*M,F,C,h,w] the last x0, [2,N*M,F,C,h,w] */
    float *drawn;   /* [M,F,C,h,w]: noise, the same for every image: the initial noise, then a DPM step's */
    float *moments; /* [2C,h,w]: of an image */
    float *image_noise; /* [C,h,w]: of its posterior */
};

static float *take(float *base, size_t *used, int64_t count)
{
    float *p = base ? base + *used : NULL;
    *used += (size_t)(count + 15) / 16 * 16;
    return p;
}

/* Lays the buffers out in base; with NULL it only counts. Returns the floats. */
static size_t run_layout(struct run *r, const vdm_transformer_config *c, const vdm_sample_options *o,
                         float *base)
{
    const vdm_geometry *g = &o->geometry;
    size_t used = 0;
    bool dpm = o->sampler == VDM_DPM;
    r->M = o->ensemble > 1 ? o->ensemble : 1;
    r->NM = (o->videos > 1 ? o->videos : 1) * r->M;
    r->B = o->guidance > 1 ? 2 * r->NM : r->NM;
    r->frame = (int64_t)c->out_channels * g->h * g->w;
    r->video = g->F * r->frame;
    r->x = take(base, &used, r->NM * r->video);
    r->image = take(base, &used, r->NM * r->video);
    r->input = take(base, &used, r->B * 2 * r->video);
    r->v = take(base, &used, r->B * r->video);
    r->text = take(base, &used, (int64_t)r->B * c->text_tokens * c->text_dim);
    r->t = (double *)(void *)take(base, &used, 2 * r->B);
    r->old = take(base, &used, dpm ? r->NM * r->video : 0);
    r->noise = take(base, &used, dpm ? 2 * r->NM * r->video : 0);
    r->drawn = take(base, &used, r->M * r->video);
    r->moments = take(base, &used, 2 * r->frame);
    r->image_noise = take(base, &used, r->frame);
    return used;
}

static vdm_tape_shape tape_shape(const struct run *r, const vdm_sample_options *o, int rank)
{
    const vdm_geometry *g = &o->geometry;
    return (vdm_tape_shape){.B = r->B, .F = g->F, .h = g->h, .w = g->w, .rank = rank};
}

size_t vdm_sample_bytes(const vdm_model_config *c, const vdm_sample_options *o, int rank)
{
    struct run r = {0};
    const vdm_geometry *g = &o->geometry;
    size_t latents = run_layout(&r, &c->transformer, o, NULL) * sizeof(float);
    vdm_tape_shape shape = tape_shape(&r, o, rank);
    size_t max = vdm_tape_bytes(&c->transformer, &shape); /* encoder, tape and decoder follow each other */
    size_t encoder = vdm_vae_encode_bytes(&c->vae, 1, g->height, g->width, o->tiled);
    size_t decoder = vdm_vae_decode_bytes(&c->vae, g->latent_frames, g->h, g->w, o->tiled);
    if (encoder > max) max = encoder;
    if (decoder > max) max = decoder;
    return latents + max;
}

enum { MAX_VIDEOS = 10000 }; /* images, and videos of an image */

/* Rejects options and models that do not fit together. */
static int check_options(const struct run *r, vdm_error *err)
{
    const vdm_transformer_config *c = &r->p->transformer->config;
    const vdm_vae_config *vae = &r->p->vae->config;
    const vdm_sample_options *o = r->o;
    int max_steps = r->p->schedule->config.train_timesteps, width = c->heads * c->head_dim;
    if (c->in_channels != 2 * c->out_channels)
        return vdm_fail(
            err,
            "sample: the transformer has in_channels %d and out_channels %d; image-to-video takes "
            "twice as many in as out (noisy latents and image latents)",
            c->in_channels, c->out_channels);
    if (vae->latent_channels != c->out_channels || vae->channels != 3)
        return vdm_fail(err,
                        "sample: the VAE has %d channels and %d latent channels, expected 3 and the "
                        "transformer's %d",
                        vae->channels, vae->latent_channels, c->out_channels);
    if (o->steps < 1 || o->steps > max_steps)
        return vdm_fail(err, "sample: %d steps, expected 1 to %d", o->steps, max_steps);
    if (o->sampler != VDM_DDIM && o->sampler != VDM_DPM)
        return vdm_fail(err, "sample: unknown sampler %d", (int)o->sampler);
    if (o->videos > MAX_VIDEOS || o->ensemble > MAX_VIDEOS)
        return vdm_fail(err, "sample: %d videos, ensembles of %d: expected at most %d", o->videos,
                        o->ensemble, MAX_VIDEOS);
    if (!(fabs(o->guidance) <= 1e6)) /* NaN too */
        return vdm_fail(err, "sample: guidance is %g, expected a number of at most a million", o->guidance);
    if (o->guidance > 1 && !r->p->negative)
        return vdm_fail(err, "sample: guidance %g needs the embedding of a negative prompt", o->guidance);
    if (!(vae->scaling_factor > 0))
        return vdm_fail(err, "sample: the VAE's scaling_factor is %g, expected more than 0",
                        vae->scaling_factor);
    if (r->p->lora && (r->p->lora->layers != c->layers || r->p->lora->width != width))
        return vdm_fail(err,
                        "sample: the adapter is of %d blocks of width %d, the transformer of %d of width %d",
                        r->p->lora->layers, r->p->lora->width, c->layers, width);
    if (r->p->lora && r->p->lora->facts.frames) {
        double learned = r->p->lora->facts.image_latent_scale,
               here = vdm_image_latent_scale(vae, o->image_scale);
        if (fabs(learned - here) > 0)
            return vdm_fail(err,
                            "sample: the adapter was learned with image latents times %g, found times %g",
                            learned, here);
    }
    if (vdm_geometry_check(&o->geometry, c, vae, err)) return -1;
    return vdm_answer_check(&o->geometry, vae, err);
}

/* "image_latents", "latents.3" */
static void see(const struct run *r, const float *data, const char *name, int step)
{
    const vdm_geometry *g = &r->o->geometry;
    char suffix[16] = "";
    if (step) snprintf(suffix, sizeof suffix, ".%d", step);
    vdm_trace_see(r->trace, data,
                  SHAPE((int64_t)r->NM * g->F, r->p->transformer->config.out_channels, g->h, g->w), "%s%s",
                  name, suffix);
}

/* The caller's progress, with a trace that puts a prefix before the names of the VAE's tensors. */
static vdm_progress progress_inside(const struct run *r, vdm_trace *trace)
{
    vdm_progress progress = r->progress ? *r->progress : (vdm_progress){0};
    progress.trace = trace;
    return progress;
}

/* images [N,3,H,W] -> frame 0 of every r->image: a sample of the posterior, not its mode. The other frames stay zeros,
 * not noise. */
static int encode_images(struct run *r, const float *images, vdm_error *err)
{
    const vdm_geometry *g = &r->o->geometry;
    const float scale = (float)vdm_image_latent_scale(&r->p->vae->config, r->o->image_scale);
    int64_t pixels = (int64_t)3 * g->height * g->width;
    if (!r->o->image_noise) vdm_randn(&r->rng, r->image_noise, r->frame);
    const float *noise = r->o->image_noise ? r->o->image_noise : r->image_noise;
    vdm_trace trace = vdm_trace_inside(r->trace, "encode.");
    const vdm_progress progress = progress_inside(r, &trace);
    for (int i = 0; i < r->NM / r->M; i++) {
        float *image = r->image + i * r->M * r->video;
        if (vdm_vae_encode(r->p->vae, r->p->cpu, images + i * pixels,
                           &(vdm_vae_size){1, g->height, g->width, r->o->tiled}, r->moments, &progress, err))
            return -1;
        vdm_vae_sample(image, r->moments, noise, 1, r->p->vae->config.latent_channels, g->h, g->w);
        for (int64_t j = 0; j < r->frame; j++) image[j] *= scale;
        for (int m = 1; m < r->M; m++) memcpy(image + m * r->video, image, (size_t)r->frame * sizeof(float));
    }
    see(r, r->image, "image_latents", 0);
    return 0;
}

/* Latents [N*M,F,C,h,w] -> r->input: its first C channels (half 0) or last C (half 1); with guidance for both prompts. */
static void put_latents(struct run *r, const float *latents, int half)
{
    int64_t frames = (int64_t)r->NM * r->o->geometry.F;
    for (int64_t f = 0; f < (int64_t)r->B * r->o->geometry.F; f++)
        memcpy(r->input + (2 * f + half) * r->frame, latents + f % frames * r->frame,
               (size_t)r->frame * sizeof(float));
}

/* The inputs that are the same in every step: the image's channels of r->input, and the text. */
static void prepare_input(struct run *r)
{
    const vdm_transformer_config *c = &r->p->transformer->config;
    int64_t words = (int64_t)c->text_tokens * c->text_dim;
    put_latents(r, r->image, 1);
    for (int b = 0; b < r->B; b++)
        memcpy(r->text + b * words, b < r->B - r->NM ? r->p->negative : r->p->prompt,
               (size_t)words * sizeof(float));
}

/* r->v [N*M,F,C,h,w]: the velocity at t; with guidance g: v_neg + g (v_pos - v_neg), v_neg in the batch's first half */
static void predict(struct run *r, int t, vdm_trace *trace)
{
    int64_t n = r->NM * r->video;
    put_latents(r, r->x, 0);
    for (int b = 0; b < r->B; b++) r->t[b] = t;
    const vdm_transformer_input in = {r->input, r->text, r->t, trace};
    vdm_transformer_forward(r->p->transformer, r->p->lora, r->p->cpu, r->tape, &in, r->v);
    if (r->B == r->NM) return;
    double guidance = r->o->guidance;
    if (r->o->dynamic_guidance) guidance = vdm_dynamic_guidance(guidance, r->o->steps, t);
    const float g = (float)guidance, *v_pos = r->v + n;
    for (int64_t i = 0; i < n; i++) r->v[i] += g * (v_pos[i] - r->v[i]);
}

/* Noise for the M videos of an image, one after another: video 0 starts from the same noise as it would without an ensemble. */
static void draw_videos(struct run *r)
{
    for (int m = 0; m < r->M; m++) vdm_randn(&r->rng, r->drawn + m * r->video, r->video);
}

/* one [M,F,C,h,w], of one image -> all [N*M,F,C,h,w]: the same for every image */
static void repeat(const struct run *r, float *all, const float *one)
{
    for (int i = 0; i < r->NM; i += r->M)
        memcpy(all + i * r->video, one, (size_t)(r->M * r->video) * sizeof(float));
}

static void dpm_step(struct run *r, int k, int t, int t_back)
{
    const vdm_step step = {r->o->steps, t, t_back};
    bool second_order = is_second_order(r->p->schedule, &step);
    for (int i = 0; i < 2; i++) { /* the first noise is drawn in both orders, used in the first order only */
        const float *noise = r->o->step_noise ? r->o->step_noise + (2 * k + i) * r->M * r->video : r->drawn;
        if (!r->o->step_noise && (i == 0 || second_order)) draw_videos(r);
        repeat(r, r->noise + i * r->NM * r->video, noise);
    }
    vdm_dpm_step(r->p->schedule, &step, r->x, r->v, r->old, r->noise, r->NM * r->video);
}

static int report(const struct run *r, int step, double start, vdm_error *err)
{
    const vdm_report now = {"sample", step, r->o->steps, vdm_seconds() - start, (double)NAN};
    if (!r->progress || !r->progress->report || !r->progress->report(r->progress->user, &now)) return 0;
    return vdm_fail(err, "interrupted after %d of %d sampling steps", step, r->o->steps);
}

/* Ends the run at the first velocity with a NaN, which all later steps would inherit, and the answer as black pixels. */
static int check_velocity(const struct run *r, int step, vdm_error *err)
{
    vdm_error weights;
    if (vdm_first_not_finite(r->v, VDM_F32, r->NM * r->video) < 0) return 0;
    bool found = vdm_safetensors_check_finite(&r->p->transformer->file, &weights) != 0;
    return vdm_fail(
        err, "sampling step %d: the velocity is NaN or infinite: %s", step,
        found ? weights.text
              : "the weights are finite; an adapter or prompt is so large that the computation overflows");
}

static int denoise(struct run *r, vdm_error *err)
{
    int timesteps[1000], steps = r->o->steps;
    double start = vdm_seconds();
    vdm_schedule_timesteps(r->p->schedule, steps, timesteps);
    for (int k = 0; k < steps; k++) {
        int t = timesteps[k];
        vdm_trace trace = vdm_trace_inside(r->trace, "step.%d.", k + 1);
        predict(r, t, &trace);
        see(r, r->v, "velocity", k + 1);
        if (check_velocity(r, k + 1, err)) return -1;
        if (r->o->sampler == VDM_DPM)
            dpm_step(r, k, t, k ? timesteps[k - 1] : -1);
        else
            vdm_ddim_step(r->p->schedule, steps, t, r->x, r->v, r->NM * r->video);
        see(r, r->x, "latents", k + 1);
        if (report(r, k + 1, start, err)) return -1;
    }
    return 0;
}

/* The mean of image i's M videos replaces the first: details that depend on the noise average out. */
static void mean(struct run *r, int i)
{
    float *x = r->x + (int64_t)i * r->M * r->video;
    for (int m = 1; m < r->M; m++)
        for (int64_t j = 0; j < r->video; j++) x[j] += x[m * r->video + j];
    for (int64_t j = 0; j < r->video && r->M > 1; j++) x[j] /= (float)r->M;
}

/* r->x of image i without its first `pad` frames -> video [T,3,H,W] in 0..1. Trap: dropping frames at the end instead
 * gives a video of the same length whose last frames, with the answer, are missing. */
static int decode(struct run *r, int i, float *video, vdm_error *err)
{
    const vdm_geometry *g = &r->o->geometry;
    const float scale = (float)(1 / r->p->vae->config.scaling_factor);
    float *latents = r->x + (int64_t)i * r->M * r->video + g->pad * r->frame;
    for (int64_t j = 0; j < g->latent_frames * r->frame; j++) latents[j] *= scale;
    vdm_trace trace = vdm_trace_inside(r->trace, "decode.");
    const vdm_progress progress = progress_inside(r, &trace);
    if (vdm_vae_decode(r->p->vae, r->p->cpu, latents,
                       &(vdm_vae_size){g->latent_frames, g->h, g->w, r->o->tiled}, video, &progress, err))
        return -1;
    int64_t n = (int64_t)g->frames * 3 * g->height * g->width;
    if (vdm_video_check(video, g->frames, g->height, g->width, err)) return -1;
    for (int64_t j = 0; j < n; j++) {
        float y = video[j] * 0.5f + 0.5f;
        video[j] = y < 0 ? 0 : y > 1 ? 1 : y; /* fminf and fmaxf would hide NaN */
    }
    return 0;
}

static int run_pipeline(struct run *r, const float *images, float *videos, vdm_error *err)
{
    const vdm_geometry *g = &r->o->geometry;
    if (encode_images(r, images, err)) return -1;
    if (!r->o->noise) draw_videos(r); /* after the posterior's noise, from the same generator */
    repeat(r, r->x, r->o->noise ? r->o->noise : r->drawn);
    prepare_input(r);
    vdm_tape_shape shape = tape_shape(r, r->o, r->p->lora ? r->p->lora->rank : 0);
    if (!(r->tape = vdm_tape_new(r->p->transformer, &shape, err))) return -1;
    int status = denoise(r, err);
    vdm_tape_free(r->tape);
    for (int i = 0; i < r->NM / r->M && !status; i++) {
        mean(r, i);
        status = decode(r, i, videos + (int64_t)i * g->frames * 3 * g->height * g->width, err);
    }
    return status;
}

void vdm_sample_defaults(vdm_sample_options *o)
{
    *o = (vdm_sample_options){.steps = 50, .guidance = 6, .ensemble = 1, .seed = 42};
}

int vdm_sample(const vdm_pipeline *p, const vdm_sample_options *o, const float *images, float *videos,
               const vdm_progress *progress, vdm_error *err)
{
    struct run r = {.p = p, .o = o, .progress = progress};
    if (!p->transformer || !p->vae || !p->schedule || !p->cpu || !p->prompt || !images || !videos)
        return vdm_fail(
            err, "sample: transformer, vae, schedule, cpu, prompt, images, videos: expected all, found NULL");
    r.trace = progress ? progress->trace : NULL;
    if (check_options(&r, err)) return -1;
    size_t floats = run_layout(&r, &p->transformer->config, o, NULL);
    r.memory = vdm_alloc(floats, sizeof(float), "the latents of the video", err);
    if (!r.memory) return -1;
    run_layout(&r, &p->transformer->config, o, r.memory);
    vdm_rng_seed(&r.rng, o->seed);
    int status = run_pipeline(&r, images, videos, err);
    vdm_free(r.memory);
    return status;
}
