/* Few-shot learning (arXiv 2506.07280; CogVideo's finetune/models/cogvideox_i2v/lora_trainer.py).
 *
 *   pair (x, y) --interp--> video [T,3,H,W] --vae, posterior sample, scale, pad--> z [F,C,h,w]
 *   x (+ sigma noise) ------------------------vae, posterior sample, scale-------> c [C,h,w]
 *   both are computed once; then in every step, for N = batch * accumulate videos:
 *   x_t = sqrt(abar) z + sqrt(1 - abar) noise        v* = sqrt(abar) noise - sqrt(1 - abar) z
 *   v = model([x_t ; c, 0, ..., 0], text, t)          loss = mean (v - v*)^2
 *   dL/dv -> gradient of the adapter, clipped -> AdamW
 *
 * The trainers predict x0 and weigh its error by 1/(1 - abar): algebraically the same loss, but at t = 0 they
 * multiply a rounding error by 1176. Traps: abar is rounded to f32 before its root and its complement are
 * taken; the padding frame gets noise and counts in the loss like any other; only frame 0 of the
 * image half of the input is not zero. */
#include "files/fit_state.h"
#include "kernels/kernels.h"
#include "kernels/trace.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct run {
    const vdm_pipeline *p;
    const vdm_fit_data *data;
    const vdm_fit_options *o;
    vdm_trace *trace;
    vdm_lora *lora;
    int64_t n, frame, video; /* elements of the adapter, of [C,h,w], of [F,C,h,w] */
    vdm_tape *tape;
    int64_t words;             /* elements of [L,Dt] */
    float *text;               /* [B,L,Dt]: of each video's pair */
    float *x;                  /* [B,F,2C,h,w] */
    float *noise, *target, *v; /* [B,F,C,h,w] */
    float *grad;               /* [n] */
    double *t, *losses;        /* [B] */
    int *pair, *order;         /* [B]; [pairs]: of epoch `epoch` */
    int64_t epoch;
    vdm_adamw adamw;   /* adamw.step: steps done */
    vdm_fit_row *rows; /* [steps + 1] */
};

/* ------------------------------------------------------------------------------------------------
 * The loss */

/* Video b of the batch: r->x [F,2C,h,w] = [x_t ; c], r->target [F,C,h,w] = v* */
static void mix(struct run *r, int b)
{
    const vdm_kernels *k = r->p->cpu->kernels;
    int64_t frame = r->frame;
    float abar = (float)vdm_schedule_alpha(r->p->schedule, (int)r->t[b]);
    float signal = sqrtf(abar), sigma = sqrtf(1 - abar);
    const float *z = r->data->videos + r->pair[b] * r->video, *noise = r->noise + b * r->video;
    float *x = r->x + b * 2 * r->video;
    k->blend(r->p->cpu, r->target + b * r->video, signal, noise, -sigma, z, r->video);
    memset(x, 0, 2 * (size_t)r->video * sizeof(float));
    for (int f = 0; f < r->data->F; f++)
        k->blend(r->p->cpu, x + 2 * f * frame, signal, z + f * frame, sigma, noise + f * frame, frame);
    memcpy(x + frame, r->data->images + r->pair[b] * frame, (size_t)frame * sizeof(float));
}

/* The prompt of video b: r->text [L,Dt] */
static void copy_prompt(struct run *r, int b)
{
    const vdm_fit_data *d = r->data;
    const float *text = d->text_of ? d->texts + d->text_of[r->pair[b]] * r->words : r->p->prompt;
    memcpy(r->text + b * r->words, text, (size_t)r->words * sizeof(float));
}

/* The mean loss of the batch. r->losses: that of every video; r->v and r->target: v and v*. */
static double batch_loss(struct run *r, vdm_trace *trace)
{
    const vdm_fit_data *d = r->data;
    double sum = 0;
    for (int b = 0; b < r->o->batch; b++) {
        mix(r, b);
        copy_prompt(r, b);
    }
    vdm_trace_see(trace, r->target, SHAPE(r->o->batch, d->F, d->C, d->h, d->w), "target");
    const vdm_transformer_input in = {r->x, r->text, r->t, trace};
    vdm_transformer_forward(r->p->transformer, r->lora, r->p->cpu, r->tape, &in, r->v);
    for (int b = 0; b < r->o->batch; b++) {
        const float *v = r->v + b * r->video, *target = r->target + b * r->video;
        double squares = 0;
        for (int64_t i = 0; i < r->video; i++) {
            double error = (double)(v[i] - target[i]);
            squares += error * error;
        }
        r->losses[b] = squares / (double)r->video;
        sum += r->losses[b];
    }
    return sum / r->o->batch;
}

/* dv = 2 (v - v*) / (N F C h w), in place of v: loss = mean (v - v*)^2 over the step's N videos */
static void loss_gradient(struct run *r)
{
    int64_t videos = (int64_t)r->o->batch * r->o->accumulate;
    float factor = (float)(2.0 / (double)(videos * r->video));
    for (int64_t i = 0; i < r->o->batch * r->video; i++) r->v[i] = factor * (r->v[i] - r->target[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Random choices: pairs, timesteps, noise */

void vdm_fit_rng(vdm_rng *r, uint64_t seed, vdm_fit_use use, int64_t counter)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15u * (((uint64_t)use << 32) + (uint64_t)counter);
    vdm_rng_seed(r, vdm_hash_mix(z));
}

/* The pair of the run's video i. An epoch has every pair once, in a new order. */
static int pair_of(struct run *r, int64_t i)
{
    int n = r->data->pairs;
    if (i / n != r->epoch) {
        vdm_rng rng;
        r->epoch = i / n;
        vdm_fit_rng(&rng, r->o->seed, VDM_FIT_EPOCH, r->epoch);
        for (int j = 0; j < n; j++) r->order[j] = j;
        for (int j = n - 1; j > 0; j--) {
            int k = (int)vdm_randint(&rng, j + 1), swap = r->order[j];
            r->order[j] = r->order[k];
            r->order[k] = swap;
        }
    }
    return r->order[i % n];
}

/* The last timestep with probability pure_noise, else any. */
static int draw_t(const struct run *r, vdm_rng *rng)
{
    int timesteps = r->p->schedule->config.train_timesteps;
    float coin = 1;
    if (r->o->pure_noise > 0) vdm_rand(rng, &coin, 1);
    return (double)coin < r->o->pure_noise ? timesteps - 1 : (int)vdm_randint(rng, timesteps);
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

/* The loss on a fixed set, which shows progress even when the loss of single steps is too noisy to: at least four
 * videos, pairs in turn, their own noise, and t at the middles of equal intervals. The share `pure_noise` of them, the
 * first ones, has the last t instead: the set has no videos with the lowest noise. */
static double watch_loss(struct run *r)
{
    int B = r->o->batch, batches = (4 + B - 1) / B, videos = batches * B,
        timesteps = r->p->schedule->config.train_timesteps;
    double sum = 0;
    vdm_trace trace = vdm_trace_inside(r->trace, "watch.%d.", r->adamw.step);
    for (int i = 0; i < videos; i++) {
        vdm_rng rng;
        int b = i % B;
        r->pair[b] = i % r->data->pairs;
        r->t[b] = i < r->o->pure_noise * videos ? timesteps - 1 : (2 * i + 1) * timesteps / (2 * videos);
        vdm_fit_rng(&rng, r->o->seed, VDM_FIT_WATCH, i);
        vdm_randn(&rng, r->noise + b * r->video, r->video);
        if (b == B - 1) sum += batch_loss(r, &trace);
    }
    return sum / batches;
}

/* ------------------------------------------------------------------------------------------------
 * One step */

/* kind.NAME for every matrix of an array laid out like the adapter */
static void see_adapter(const vdm_lora *a, vdm_trace *trace, float *array, const char *kind)
{
    for (int i = 0; vdm_trace_on(trace) && i < vdm_lora_matrices(a); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(a, array, i);
        vdm_trace_see(trace, m.data, 2, m.shape, "%s.%s", kind, m.name);
    }
}

static void see_number(vdm_trace *trace, double x, const char *name)
{
    const float number = (float)x;
    vdm_trace_see(trace, &number, SHAPE(1), "%s", name);
}

/* Names the pairs of the batch whose loss is not finite, or all of them; and a weight that is not finite. */
static int fail_step(const struct run *r, const char *what, double value, vdm_error *err)
{
    char pairs[256] = "";
    vdm_error why;
    bool any = false, weights = vdm_safetensors_check_finite(&r->p->transformer->file, &why) != 0;
    for (int b = 0; b < r->o->batch; b++) any = any || !isfinite(r->losses[b]);
    for (int b = 0; b < r->o->batch; b++) {
        size_t used = strlen(pairs);
        if (any && isfinite(r->losses[b])) continue;
        snprintf(pairs + used, sizeof pairs - used, "%s%d (t %d)", used ? ", " : "", r->pair[b] + 1,
                 (int)r->t[b]);
    }
    return vdm_fail(err, "step %d: %s is %g, pair %s%s%s%s%s", r->adamw.step + 1, what, value, pairs,
                    weights ? ": " : "", weights ? why.text : "",
                    r->o->state ? "; the state before it is in " : "", r->o->state ? r->o->state : "");
}

/* dL/dparams of all batches of the step -> grad; their mean loss -> row */
static int step_gradient(struct run *r, vdm_fit_row *row, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    int step = r->adamw.step;
    vdm_rng rng;
    vdm_fit_rng(&rng, o->seed, VDM_FIT_STEP, step);
    memset(r->grad, 0, (size_t)r->n * sizeof(float));
    for (int i = 0; i < o->accumulate; i++) {
        vdm_trace trace = o->accumulate > 1 ? vdm_trace_inside(r->trace, "step.%d.batch.%d.", step + 1, i + 1)
                                            : vdm_trace_inside(r->trace, "step.%d.", step + 1);
        draw_batch(r, ((int64_t)step * o->accumulate + i) * o->batch, &rng);
        double loss = batch_loss(r, &trace);
        if (!isfinite(loss)) return fail_step(r, "the loss", loss, err);
        row->loss += loss / o->accumulate;
        loss_gradient(r);
        vdm_transformer_backward(r->p->transformer, r->lora, r->p->cpu, r->tape, r->v, r->grad, &trace);
    }
    return 0;
}

/* loss -> gradient, clipped -> AdamW */
static int train_step(struct run *r, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    int step = r->adamw.step;
    vdm_fit_row *row = &r->rows[step + 1];
    vdm_trace trace = vdm_trace_inside(r->trace, "step.%d.", step + 1);
    *row = (vdm_fit_row){.watch = (double)NAN};
    if (step_gradient(r, row, err)) return -1;
    see_number(&trace, row->loss, "loss");
    see_adapter(r->lora, &trace, r->grad, "grad");
    row->grad_norm = vdm_clip_grad(r->grad, r->n, o->clip);
    if (!isfinite(row->grad_norm)) return fail_step(r, "the norm of the gradient", row->grad_norm, err);
    row->lr = o->lr * vdm_lr_factor(o->schedule, step, o->warmup, o->steps);
    vdm_adamw_update(&r->adamw, r->p->cpu, r->lora->params, r->grad, row->lr);
    see_number(&trace, row->grad_norm, "grad_norm");
    see_number(&trace, row->lr, "lr");
    see_adapter(r->lora, &trace, r->lora->params, "adapter");
    see_adapter(r->lora, &trace, r->adamw.m, "adamw.m");
    see_adapter(r->lora, &trace, r->adamw.v, "adamw.v");
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The state from which a run resumes (files/fit_state.c) */

enum { SETTINGS = 23 };
struct settings {
    vdm_fit_setting all[SETTINGS + 1]; /* the last one has no name */
};

static const char *precision_name(const vdm_cpu *cpu)
{
    static const char *const names[] = {
        [VDM_PRECISION_F32] = "F32", [VDM_PRECISION_BF16] = "BF16", [VDM_PRECISION_AMX] = "AMX"};
    return names[cpu->precision];
}

static uint64_t hash_pairs(const struct run *r)
{
    const vdm_fit_data *d = r->data;
    size_t pairs = (size_t)d->pairs;
    uint64_t h = vdm_hash(VDM_HASH_START, d->videos, pairs * (size_t)r->video, sizeof *d->videos);
    return vdm_hash(h, d->images, pairs * (size_t)r->frame, sizeof *d->images);
}

static uint64_t hash_injected(const struct run *r)
{
    const vdm_fit_options *o = r->o;
    size_t drawn = (size_t)o->steps * (size_t)o->batch * (size_t)o->accumulate;
    uint64_t h = VDM_HASH_START;
    if (o->t) h = vdm_hash(h, o->t, drawn, sizeof *o->t);
    if (o->pair) h = vdm_hash(h, o->pair, drawn, sizeof *o->pair);
    if (o->noise) h = vdm_hash(h, o->noise, drawn * (size_t)r->video, sizeof *o->noise);
    return h;
}

static uint64_t hash_texts(const struct run *r)
{
    const vdm_fit_data *d = r->data;
    if (!d->text_of) return vdm_hash_prompt(r->p->prompt, &r->p->transformer->config);
    return vdm_hash(VDM_HASH_START, d->texts, (size_t)(d->n_texts * r->words), sizeof *d->texts);
}

static uint64_t hash_prompts(const struct run *r)
{
    const vdm_fit_data *d = r->data;
    uint64_t texts = hash_texts(r);
    return d->text_of ? vdm_hash(texts, d->text_of, (size_t)d->pairs, sizeof *d->text_of) : texts;
}

/* Fills in the adapter's facts: how the pairs were encoded, the model and the prompts. Data not made by vdm_fit_data_make
 * have none. */
static void note_facts(const struct run *r)
{
    vdm_lora_facts *f = &r->lora->facts;
    *f = r->data->facts;
    if (!f->frames) return;
    f->model = vdm_hash_whole_model(r->p->transformer, r->p->schedule);
    f->prompt = hash_texts(r);
}

/* All that the bits of the result depend on, before the first step. "model" hashes the beginning of every tensor,
 * "weights and schedule" all elements. The number of steps is one of them only if the schedule depends on it: otherwise
 * a run may be resumed with more steps. */
static struct settings settings_of(const struct run *r)
{
    const vdm_fit_options *o = r->o;
    const vdm_lora *a = r->lora;
    int warmup = o->schedule == VDM_LR_CONSTANT ? 0 : o->warmup;
    int steps = o->schedule >= VDM_LR_LINEAR ? o->steps : 0;
    uint64_t adapter = vdm_hash(VDM_HASH_START, a->params, (size_t)r->n, sizeof *a->params);
    return (struct settings){{
        {"model", VDM_SETTING_HASH, .hash = vdm_hash_model(r->p->transformer)},
        {"precision", VDM_SETTING_WORD, .word = precision_name(r->p->cpu), .default_before = "F32"},
        {"pairs", VDM_SETTING_HASH, .hash = hash_pairs(r)},
        {"prompt", VDM_SETTING_HASH, .hash = hash_prompts(r)},
        {"rank", VDM_SETTING_NUMBER, .number = a->rank},
        {"alpha", VDM_SETTING_NUMBER, .number = a->alpha},
        {"targets", VDM_SETTING_NUMBER, .number = a->targets, .default_before = "4"},
        {"first adapter", VDM_SETTING_HASH, .hash = adapter},
        {"batch", VDM_SETTING_NUMBER, .number = o->batch},
        {"accumulate", VDM_SETTING_NUMBER, .number = o->accumulate},
        {"lr", VDM_SETTING_NUMBER, .number = o->lr},
        {"beta1", VDM_SETTING_NUMBER, .number = o->beta1},
        {"beta2", VDM_SETTING_NUMBER, .number = o->beta2},
        {"eps", VDM_SETTING_NUMBER, .number = o->eps},
        {"weight_decay", VDM_SETTING_NUMBER, .number = o->weight_decay},
        {"clip", VDM_SETTING_NUMBER, .number = o->clip},
        {"pure_noise", VDM_SETTING_NUMBER, .number = o->pure_noise, .default_before = "0"},
        {"schedule", VDM_SETTING_NUMBER, .number = o->schedule},
        {"warmup", VDM_SETTING_NUMBER, .number = warmup},
        {"steps of the schedule", VDM_SETTING_NUMBER, .number = steps},
        {"seed", VDM_SETTING_HASH, .hash = o->seed},
        {"injected", VDM_SETTING_HASH, .hash = hash_injected(r)},
        {"weights and schedule", VDM_SETTING_HASH, .hash = a->facts.model, .optional = true},
    }};
}

static vdm_fit_state state_of(const struct run *r, const struct settings *s)
{
    return (vdm_fit_state){.settings = s->all,
                           .n = r->n,
                           .params = r->lora->params,
                           .m = r->adamw.m,
                           .v = r->adamw.v,
                           .rows = r->rows,
                           .step = r->adamw.step,
                           .max_steps = r->o->steps};
}

/* The adapter as it is: never one that could not be read again. */
static int save(const struct run *r, const struct settings *s, vdm_error *err)
{
    char after[32];
    snprintf(after, sizeof after, "after step %d", r->adamw.step);
    if (vdm_check_finite(r->lora->params, VDM_F32, r->n, after, "adapter", err)) return -1;
    if (!r->o->state) return 0;
    vdm_fit_state state = state_of(r, s);
    return vdm_fit_state_write(&state, r->o->state, err);
}

static int resume(struct run *r, const struct settings *s, vdm_error *err)
{
    if (!r->o->state) return vdm_fail(err, "resume: expected the path of a state, found none");
    vdm_fit_state state = state_of(r, s);
    if (vdm_fit_state_read(&state, r->o->state, err)) return -1;
    r->adamw.step = state.step;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * A run: its defaults, stored activations, checks and buffers */

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

/* Which activations o->memory can hold. Attention outputs come first: per byte they save the most recomputation if a
 * video has more tokens than a third of the width, as in the published models. */
static vdm_tape_shape shape_of(const vdm_transformer_config *c, const vdm_fit_options *o,
                               const vdm_tape_shape *size)
{
    vdm_tape_shape s = *size;
    s.B = o->batch;
    s.backward = true;
    s.stored = c->layers;
    while (s.stored > 0 && vdm_tape_bytes(c, &s) > o->memory) s.stored--, s.stored_attention++;
    while (s.stored_attention > 0 && vdm_tape_bytes(c, &s) > o->memory) s.stored_attention--;
    return s;
}

static vdm_tape_shape planned_shape(const vdm_transformer_config *c, const vdm_geometry *g,
                                    const vdm_fit_options *o, vdm_targets targets, int rank)
{
    const vdm_tape_shape size = {
        .F = g->F, .h = g->h, .w = g->w, .rank = rank, .feed_forward = targets == VDM_ATTENTION_FF};
    return shape_of(c, o, &size);
}

size_t vdm_fit_bytes(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o,
                     vdm_targets targets, int rank)
{
    const vdm_lora a = {
        .layers = c->layers, .width = c->heads * c->head_dim, .targets = targets, .rank = rank};
    vdm_tape_shape s = planned_shape(c, g, o, targets, rank);
    size_t B = (size_t)o->batch, video = (size_t)g->F * (size_t)c->out_channels * (size_t)g->h * (size_t)g->w;
    size_t text = (size_t)c->text_tokens * (size_t)c->text_dim;
    /* of each video x (two videos), noise, target and v; of the adapter the gradient and both moments */
    return vdm_tape_bytes(c, &s) + (B * (5 * video + text) + 3 * (size_t)vdm_lora_count(&a)) * sizeof(float);
}

int vdm_fit_stored_blocks(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o,
                          vdm_targets targets, int rank, int *attention)
{
    vdm_tape_shape s = planned_shape(c, g, o, targets, rank);
    *attention = s.stored_attention;
    return s.stored;
}

static int check_prompts(const vdm_fit_data *d, vdm_error *err)
{
    for (int i = 0; d->text_of && i < d->pairs; i++)
        if (d->text_of[i] < 0 || d->text_of[i] >= d->n_texts)
            return vdm_fail(err, "prompt of pair %d: expected 0 to %d, found %d", i + 1, d->n_texts - 1,
                            d->text_of[i]);
    return 0;
}

static int check_numbers(const vdm_fit_options *o, vdm_error *err)
{
    const struct {
        const char *name;
        double value, min, max;
    } numbers[] = {{"lr", o->lr, 0, 1e6},
                   {"beta1", o->beta1, 0, 0.999999}, /* 1: AdamW divides by 1 - beta^step */
                   {"beta2", o->beta2, 0, 0.999999},
                   {"eps", o->eps, 1e-30, 1}, /* 0: by 0, of parameters without a gradient */
                   {"weight_decay", o->weight_decay, 0, 1e6},
                   {"pure_noise", o->pure_noise, 0, 1},
                   {"clip", o->clip, 0, (double)INFINITY}};
    if (o->steps < 1 || o->batch < 1 || o->accumulate < 1)
        return vdm_fail(err, "steps %d, batch %d, accumulate %d: expected each to be at least 1", o->steps,
                        o->batch, o->accumulate);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        if (!(numbers[i].value >= numbers[i].min && numbers[i].value <= numbers[i].max))
            return vdm_fail(err, "%s: expected a number from %g to %g, found %g", numbers[i].name,
                            numbers[i].min, numbers[i].max, numbers[i].value);
    return 0;
}

static int check_injected(const vdm_fit_options *o, int timesteps, int pairs, vdm_error *err)
{
    int64_t n = (int64_t)o->steps * o->batch * o->accumulate;
    for (int64_t i = 0; o->t && i < n; i++)
        if (o->t[i] < 0 || o->t[i] >= timesteps)
            return vdm_fail(err, "injected t: element %" PRId64 ": expected 0 to %d, found %d", i,
                            timesteps - 1, o->t[i]);
    for (int64_t i = 0; o->pair && i < n; i++)
        if (o->pair[i] < 0 || o->pair[i] >= pairs)
            return vdm_fail(err, "injected pair: element %" PRId64 ": expected 0 to %d, found %d", i,
                            pairs - 1, o->pair[i]);
    return 0;
}

/* Checks what the caller chose; files and geometry were checked when they were read. */
static int check_run(const struct run *r, vdm_error *err)
{
    const vdm_transformer_config *c = &r->p->transformer->config;
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
    if (check_prompts(d, err) || check_numbers(o, err)) return -1;
    return check_injected(o, r->p->schedule->config.train_timesteps, d->pairs, err);
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

static int run_new(struct run *r, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    const vdm_fit_data *d = r->data;
    size_t B = (size_t)o->batch, video = (size_t)r->video;
    size_t words = (size_t)r->words;
    const vdm_tape_shape size = {.F = d->F,
                                 .h = d->h,
                                 .w = d->w,
                                 .rank = r->lora->rank,
                                 .feed_forward = r->lora->targets == VDM_ATTENTION_FF};
    const vdm_tape_shape shape = shape_of(&r->p->transformer->config, o, &size);
    if (vdm_adamw_init(&r->adamw, r->n, err)) return -1;
    r->adamw.lr = o->lr;
    r->adamw.beta1 = o->beta1;
    r->adamw.beta2 = o->beta2;
    r->adamw.eps = o->eps;
    r->adamw.weight_decay = o->weight_decay;
    if (!(r->text = vdm_alloc(B * words, sizeof(float), "the prompts", err)) ||
        !(r->x = vdm_alloc(B * 2 * video, sizeof(float), "the model's input", err)) ||
        !(r->noise = vdm_alloc(B * video, sizeof(float), "noise", err)) ||
        !(r->target = vdm_alloc(B * video, sizeof(float), "the target", err)) ||
        !(r->v = vdm_alloc(B * video, sizeof(float), "the velocity", err)) ||
        !(r->grad = vdm_alloc((size_t)r->n, sizeof(float), "the gradient", err)) ||
        !(r->t = vdm_alloc(B, sizeof(double), "timesteps", err)) ||
        !(r->losses = vdm_alloc(B, sizeof(double), "losses", err)) ||
        !(r->pair = vdm_alloc(B, sizeof(int), "pairs", err)) ||
        !(r->order = vdm_alloc((size_t)d->pairs, sizeof(int), "the order of the pairs", err)) ||
        !(r->tape = vdm_tape_new(r->p->transformer, &shape, err)))
        return -1;
    r->epoch = -1;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The loop */

/* Runs the remaining steps; 1 if progress asks to stop, -1 if a step failed. */
static int train(struct run *r, const struct settings *s, const vdm_progress *progress, vdm_error *err)
{
    const vdm_fit_options *o = r->o;
    double start = vdm_seconds();
    while (r->adamw.step < o->steps) {
        if (train_step(r, err)) return -1;
        int done = r->adamw.step;
        vdm_fit_row *row = &r->rows[done];
        if (o->watch_every && (done % o->watch_every == 0 || done == o->steps)) row->watch = watch_loss(r);
        if (o->save_every && done % o->save_every == 0 && done < o->steps && save(r, s, err)) return -1;
        vdm_report report = {"train", done, o->steps, vdm_seconds() - start, row->loss};
        if (progress && progress->report && progress->report(progress->user, &report) && done < o->steps)
            return 1;
    }
    return 0;
}

static int run_all(struct run *r, const vdm_progress *progress, vdm_error *err)
{
    note_facts(r);
    const struct settings settings = settings_of(r);
    if (r->o->resume) {
        if (resume(r, &settings, err)) return -1;
    } else {
        r->rows[0] = (vdm_fit_row){(double)NAN, (double)NAN, (double)NAN, (double)NAN};
        if (r->o->watch_every) r->rows[0].watch = watch_loss(r);
    }
    int status = train(r, &settings, progress, err);
    vdm_error second; /* the first sentence is the one to report */
    if (save(r, &settings, status < 0 ? &second : err)) return -1;
    if (status == 1)
        return vdm_fail(err, "interrupted after step %d of %d%s%s", r->adamw.step, r->o->steps,
                        r->o->state ? "; the state is in " : "", r->o->state ? r->o->state : "");
    return status;
}

int vdm_fit(const vdm_pipeline *p, vdm_lora *lora, const vdm_fit_data *data, const vdm_fit_options *o,
            vdm_fit_row *rows, int *done, const vdm_progress *progress, vdm_error *err)
{
    struct run r = {.p = p, .data = data, .o = o, .lora = lora, .rows = rows};
    if (done) *done = 0;
    if (!p->transformer || !p->schedule || !p->cpu || !p->prompt || !lora->params || !data->videos || !rows)
        return vdm_fail(
            err, "fit: transformer, schedule, cpu, prompt, adapter, data, rows: expected all, found NULL");
    r.n = vdm_lora_count(lora);
    r.frame = (int64_t)data->C * data->h * data->w;
    r.video = data->F * r.frame;
    r.words = (int64_t)p->transformer->config.text_tokens * p->transformer->config.text_dim;
    r.trace = progress ? progress->trace : NULL;
    int status = check_run(&r, err);
    if (!status) status = run_new(&r, err);
    if (!status) status = run_all(&r, progress, err);
    if (done) *done = r.adamw.step;
    run_free(&r);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Data: pairs become latents */

/* Encoding of pairs, one after another, and its buffers */
struct encoding {
    const vdm_vae *vae;
    const vdm_cpu *cpu;
    const vdm_fit_data_options *o;
    int i; /* of the pair */
    vdm_rng rng;
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

static int encoding_new(struct encoding *e, vdm_error *err)
{
    const vdm_geometry *g = &e->o->geometry;
    size_t picture = (size_t)g->height * (size_t)g->width * 3, T = (size_t)g->frames;
    size_t F = (size_t)g->latent_frames;
    size_t latent = (size_t)e->vae->config.latent_channels * (size_t)g->h * (size_t)g->w;
    e->frames = vdm_alloc(T, picture, "a pair's video", err);
    e->video = vdm_alloc(T * picture, sizeof(float), "a pair's video", err);
    e->pixels = vdm_alloc(picture, sizeof(float), "a pair's picture", err);
    e->moments = vdm_alloc(F * 2 * latent, sizeof(float), "a pair's moments", err);
    e->noise = vdm_alloc(F * latent, sizeof(float), "a pair's noise", err);
    e->by_frame = vdm_alloc(F * latent, sizeof(float), "a pair's noise", err);
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

/* z [F,C,h,w] of the pair: `pad` copies of latent frame 0, then the latents of the video. */
static int encode_video(struct encoding *e, float *z, vdm_error *err)
{
    const vdm_fit_data_options *o = e->o;
    const vdm_geometry *g = &o->geometry;
    const vdm_vae_size size = {g->frames, g->height, g->width, o->tiled};
    int C = e->vae->config.latent_channels, F = g->latent_frames;
    int64_t P = (int64_t)g->h * g->w, n = F * C * P;
    if (vdm_vae_encode(e->vae, e->cpu, e->video, &size, e->moments, NULL, err)) return -1;
    vdm_randn(&e->rng, e->noise, n);
    const float *noise = o->video_noise ? o->video_noise + e->i * n : e->noise;
    swap_axes(e->by_frame, noise, C, F, P);
    float *first = z + g->pad * C * P;
    vdm_vae_sample(first, e->moments, e->by_frame, F, C, g->h, g->w);
    scale_by(first, e->vae->config.scaling_factor, n);
    for (int p = 0; p < g->pad; p++) memcpy(z + p * C * P, first, (size_t)(C * P) * sizeof(float));
    return 0;
}

/* c [C,h,w] of the pair, from frame 0 of its video, which is x; o->augment: with noise, in place. */
static int encode_image(struct encoding *e, float *c, vdm_error *err)
{
    const vdm_fit_data_options *o = e->o;
    const vdm_geometry *g = &o->geometry;
    const vdm_vae_size size = {1, g->height, g->width, o->tiled};
    int C = e->vae->config.latent_channels;
    int64_t P = (int64_t)g->h * g->w, pixels = (int64_t)3 * g->height * g->width;
    if (o->augment) {
        float normal, sigma;
        vdm_randn(&e->rng, &normal, 1);
        vdm_randn(&e->rng, e->pixels, pixels);
        sigma = o->image_sigma ? o->image_sigma[e->i] : (float)vdm_exp((double)(-3 + 0.5f * normal));
        const float *noise = o->image_pixel_noise ? o->image_pixel_noise + e->i * pixels : e->pixels;
        e->cpu->kernels->blend(e->cpu, e->video, 1, e->video, sigma, noise, pixels);
    }
    if (vdm_vae_encode(e->vae, e->cpu, e->video, &size, e->moments, NULL, err)) return -1;
    vdm_randn(&e->rng, e->noise, C * P);
    const float *noise = o->image_noise ? o->image_noise + e->i * C * P : e->noise;
    vdm_vae_sample(c, e->moments, noise, 1, C, g->h, g->w);
    scale_by(c, vdm_image_latent_scale(&e->vae->config, o->image_scale), C * P);
    return 0;
}

/* The pair (x, y), number e->i, -> its video's and its image's latents in d */
static int encode_pair(struct encoding *e, vdm_fit_data *d, const vdm_picture *x, const vdm_picture *y,
                       vdm_error *err)
{
    const vdm_geometry *g = &e->o->geometry;
    const vdm_picture *both[2] = {x, y};
    for (int k = 0; k < 2; k++)
        if (both[k]->width != g->width || both[k]->height != g->height)
            return vdm_fail(err, "pair %d: %s: expected a picture of %dx%d, found %dx%d (height x width)",
                            e->i + 1, k ? "output" : "input", g->height, g->width, both[k]->height,
                            both[k]->width);
    int64_t latent = (int64_t)d->C * d->h * d->w;
    vdm_fit_rng(&e->rng, e->o->seed, VDM_FIT_LATENTS, e->i);
    if (vdm_interp(e->o->phi, x, y, g->frames, &e->rng, e->frames, err)) return -1;
    vdm_video_from_bytes(e->video, e->frames, g->frames, g->height, g->width);
    if (encode_video(e, d->videos + e->i * d->F * latent, err)) return -1;
    return encode_image(e, d->images + e->i * latent, err);
}

int vdm_fit_data_make(vdm_fit_data *d, const vdm_pipeline *p, const vdm_fit_data_options *o,
                      const vdm_picture *x, const vdm_picture *y, int pairs, const vdm_progress *progress,
                      vdm_error *err)
{
    const vdm_geometry *g = &o->geometry;
    *d = (vdm_fit_data){0};
    if (!p->vae || !p->cpu || !o->phi || !x || !y)
        return vdm_fail(err, "fit data: vae, cpu, phi, x, y: expected all, found NULL");
    if (vdm_geometry_check(g, p->transformer ? &p->transformer->config : NULL, &p->vae->config, err))
        return -1;
    int C = p->vae->config.latent_channels;
    *d = (vdm_fit_data){.pairs = pairs, .F = g->F, .C = C, .h = g->h, .w = g->w};
    d->facts =
        (vdm_lora_facts){.frames = g->frames,
                         .height = g->height,
                         .width = g->width,
                         .pairs = pairs,
                         .vae = vdm_hash_vae(p->vae),
                         .image_latent_scale = vdm_image_latent_scale(&p->vae->config, o->image_scale)};
    if (pairs < 1 || pairs > VDM_MAX_PAIRS)
        return vdm_fail(err, "pairs: expected 1 to %d, found %d", VDM_MAX_PAIRS, pairs);
    size_t latent = (size_t)d->C * (size_t)d->h * (size_t)d->w * sizeof(float);
    struct encoding e = {.vae = p->vae, .cpu = p->cpu, .o = o};
    int status = -1;
    double start = vdm_seconds();
    d->videos = vdm_alloc((size_t)pairs * (size_t)d->F, latent, "the videos' latents", err);
    d->images = vdm_alloc((size_t)pairs, latent, "the images' latents", err);
    if (d->videos && d->images) status = encoding_new(&e, err);
    for (; e.i < pairs && !status; e.i++) {
        status = encode_pair(&e, d, &x[e.i], &y[e.i], err);
        vdm_report report = {"encode", e.i + 1, pairs, vdm_seconds() - start, (double)NAN};
        if (!status && progress && progress->report && progress->report(progress->user, &report) &&
            e.i + 1 < pairs)
            status = vdm_fail(err, "interrupted after encoding pair %d of %d", e.i + 1, pairs);
    }
    encoding_free(&e);
    if (status) vdm_fit_data_free(d);
    return status;
}

void vdm_fit_data_free(vdm_fit_data *d)
{
    vdm_free(d->videos);
    vdm_free(d->images);
    vdm_free(d->text_of);
    *d = (vdm_fit_data){0};
}
