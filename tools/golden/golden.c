/* vdm golden: the tensors of a computation, in a file to check a port against (with vdm compare, or
 * anything that reads safetensors).
 *
 *   model, inputs (injected, or drawn from the seed) -> the library, with a trace -> golden.safetensors
 *
 * Tensors are in the file in the order in which they were computed, inputs first; they are written at once. The
 * metadata hold what was run, the command that repeats it, and the expected error of each tensor (tolerances.c).
 *
 * Trap: random inputs are drawn in a fixed order, also those that are injected, so that a seed's numbers stay the
 * same. */
#include "tools/golden/golden.h"
#include "files/config_keys.h"
#include "files/hash.h"
#include "tools/golden/compare.h"
#include "tools/messages.h"
#include "tools/run/console.h"
#include "tools/run/injected.h"
#include "tools/run/model_session.h"
#include "tools/run/prompts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_INPUTS = 32,
    MAX_FACTS = 40,
    MAX_TOKENS = 4096,   /* of a prompt: the text encoder's scores are their square */
    MAX_DRAWN = 1 << 28, /* elements of a random input: 1 GiB; published sizes need a tenth */
    MAX_STEPS = 100000   /* of learning */
};

/* One golden file during the work. */
struct golden {
    const options *o;
    const char *what;
    vdm_safetensors_writer file;
    struct text { /* JSON: {"name": error, ...} */
        FILE *f;
        char *text;
        size_t size;
    } expected[2]; /* f32, bf16 */
    vdm_cpu cpu;
    vdm_trace trace;
    vdm_progress progress; /* shows the tensors to trace */
    vdm_rng rng;
    vdm_safetensors in; /* --inject; path NULL: none */
    float *memory[MAX_INPUTS];
    char inputs[MAX_INPUTS][32]; /* names of inputs, which are already written when the trace shows them */
    int n_inputs;
    char facts[MAX_FACTS][2][32]; /* numbers for the metadata */
    int n_facts;
    uint64_t hash;    /* of the weights */
    int last_step;    /* of training */
    bool adapted;     /* there is an adapter */
    uint64_t matched; /* patterns of --only that match a tensor */
    int status;       /* of writing, with its error: */
    vdm_error err;
};

/* ------------------------------------------------------------------------------------------------
 * Which tensors are wanted */

static bool starts(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* A layer with an adapter, and what it is computed from: with them a wrong scale of the adapter is found. */
static const char ADAPTED_LAYER[] = "transformer_blocks.0.attn1.to_q,transformer_blocks.0.attn1.to_q.*";

/* Without --only: all tensors of a model; of sampling and learning those outside the model, and the layer above in the first
 * step; of learning also what its first update depends on and leaves. */
static bool wants_default(const struct golden *g, const char *name)
{
    char last[32];
    const char *rest = name_without_prefix(name); /* without step.K. and batch.I. */
    bool first = starts(name, "step.1."), adapted = g->adapted && patterns_matching(ADAPTED_LAYER, rest);
    if (strcmp(g->what, "sample") == 0)
        return (first && adapted) ||
               (!starts(name, "step.") && !starts(name, "encode.") && !starts(name, "decode."));
    if (strcmp(g->what, "train") != 0) return true;
    int n = snprintf(last, sizeof last, "step.%d.", g->last_step);
    if (starts(name, last) && (starts(name + n, "adapter.") || starts(name + n, "adamw."))) return true;
    if (first && (adapted || patterns_matching("x,t,v,target,grad.*,adapter.*,adamw.*", rest))) return true;
    return patterns_matching("loss,grad_norm,lr", rest) != 0;
}

static bool wants(void *user, const char *name)
{
    struct golden *g = user;
    for (int i = 0; i < g->n_inputs; i++)
        if (strcmp(g->inputs[i], name) == 0) return false;
    return g->o->only ? patterns_matching(g->o->only, name) != 0 : wants_default(g, name);
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

static void expect(struct text *t, const char *name, double error)
{
    if (error < 0) return;
    fprintf(t->f, "%s\"%s\":%.3g", ftell(t->f) ? "," : "{", name, error);
}

static void see(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct golden *g = user;
    vdm_tensor t = {.name = name, .dtype = VDM_F32, .rank = rank, .data = data};
    if (!g->status && console_stopped()) g->status = vdm_fail(&g->err, "interrupted at tensor '%s'", name);
    if (g->status) return;
    g->matched |= patterns_matching(g->o->only, name);
    for (int i = 0; i < rank; i++) t.shape[i] = shape[i];
    t.bytes = (size_t)vdm_tensor_count(&t) * sizeof(float);
    g->status = vdm_safetensors_add(&g->file, &t, &g->err);
    expect(&g->expected[0], name, expected_error(g->what, name, "f32"));
    expect(&g->expected[1], name, expected_error(g->what, name, "bf16"));
}

/* Stops sampling and learning after a step. */
static int report(void *user, const vdm_report *r)
{
    (void)user, (void)r;
    return console_stopped();
}

static void fact(struct golden *g, const char *name, double value)
{
    if (g->n_facts == MAX_FACTS) return;
    snprintf(g->facts[g->n_facts][0], sizeof g->facts[0][0], "%s", name);
    snprintf(g->facts[g->n_facts++][1], sizeof g->facts[0][1], "%.10g", value);
}

static const char WEIGHTS[] =
    "diffusion_pytorch_model"; /* diffusers' name of the files; that of transformers is "model" */

/* Adds the weights of a part of the model ("transformer", "vae"); none may be NaN. */
static int hash_part(struct golden *g, const char *part, const char *stem, vdm_error *err)
{
    vdm_safetensors f;
    char *dir = vdm_path(g->o->model, part, err);
    if (!dir) return -1;
    int status = vdm_safetensors_open_folder(&f, dir, stem, err);
    if (!status) {
        status = vdm_safetensors_check_finite(&f, err);
        for (int64_t i = 0; i < f.count && !status; i++) g->hash = vdm_hash_tensor(g->hash, &f.tensors[i]);
        vdm_safetensors_close(&f);
    }
    vdm_free(dir);
    return status;
}

static int finish(struct golden *g, const char *command, vdm_error *err)
{
    char hash[32];
    const char *all[MAX_FACTS + 12][2] = {{"vdm_golden", "1"},
                                          {"what", g->what},
                                          {"version", VDM_VERSION},
                                          {"command", command},
                                          {"precision", g->o->precision},
                                          {"model", g->o->model},
                                          {"model_hash", hash}};
    int n = 7;
    snprintf(hash, sizeof hash, "%016" PRIx64, g->hash);
    for (int i = 0; i < 2; i++) {
        fputs(ftell(g->expected[i].f) ? "}" : "{}", g->expected[i].f);
        if (!vdm_memory_is_whole(g->expected[i].f)) return vdm_fail(err, "no memory for the expected errors");
        all[n][0] = i ? "expected_bf16" : "expected_f32";
        all[n++][1] = g->expected[i].text;
    }
    for (int i = 0; i < g->n_facts; i++, n++) all[n][0] = g->facts[i][0], all[n][1] = g->facts[i][1];
    if (g->trace.failed) return vdm_fail(err, "golden: no memory for a tensor of the trace");
    if (g->status) return vdm_fail(err, "%s", g->err.text);
    const char *unused = pattern_unused(g->o->only, g->matched);
    if (unused)
        return vdm_fail(err,
                        "--only %.*s: no tensor of --what %s has such a name; --names explains the names",
                        (int)strcspn(unused, ","), unused, g->what);
    return vdm_safetensors_end(&g->file, (const char *const(*)[2])all, n, err);
}

/* ------------------------------------------------------------------------------------------------
 * Inputs */

/* The distribution of an input that isn't injected. */
enum draw { NORMAL, UNIFORM /* -1..1 */, TIMES /* 0..999 */, PAIRS /* 0..1 */, ZEROS };

static void draw(struct golden *g, float *x, int64_t n, enum draw how)
{
    if (how == NORMAL) vdm_randn(&g->rng, x, n);
    if (how == UNIFORM) vdm_rand(&g->rng, x, n);
    for (int64_t i = 0; i < n && how == UNIFORM; i++) x[i] = 2 * x[i] - 1;
    for (int64_t i = 0; i < n && (how == TIMES || how == PAIRS); i++)
        x[i] = (float)vdm_randint(&g->rng, how == TIMES ? 1000 : 2);
}

/* Writes an input, which is freed at the end. */
static float *keep_input(struct golden *g, const char *name, float *x, int rank, const int64_t *shape)
{
    see(g, name, x, rank, shape);
    snprintf(g->inputs[g->n_inputs], sizeof g->inputs[0], "%s", name);
    return g->memory[g->n_inputs++] = x;
}

static const vdm_tensor *injected(const struct golden *g, const char *name)
{
    return g->in.path ? vdm_safetensors_find(&g->in, name) : NULL;
}

/* An input: injected or drawn, and written. An injected one must have this shape, and no NaN or Inf. */
static float *input(struct golden *g, const char *name, int rank, const int64_t *shape, enum draw how,
                    vdm_error *err)
{
    double n = 1;
    for (int i = 0; i < rank; i++) n *= (double)shape[i];
    if (g->n_inputs == MAX_INPUTS) {
        vdm_fail(err, "golden: more than %d inputs", MAX_INPUTS);
        return NULL;
    }
    bool given = injected(g, name);
    if (!given && n > MAX_DRAWN) {
        vdm_fail(err, "golden: %s: %.0f elements would be drawn, expected at most %d: inject it", name, n,
                 MAX_DRAWN);
        return NULL;
    }
    float *x = given ? vdm_safetensors_floats(&g->in, name, rank, shape, err)
                     : vdm_alloc((size_t)n, sizeof(float), name, err);
    if (!x) return NULL;
    if (!given) draw(g, x, (int64_t)n, how);
    return keep_input(g, name, x, rank, shape);
}

/* The shape of an input: dimensions of -1 get the size of the injected tensor, or of `drawn` if none is injected. Every
 * size must be from 1 to its limit, so that it fits an int; and that of an option which was given. deciders [rank]:
 * the option that decides each size, or NULL. */
static int shape_of(const struct golden *g, const char *name, int rank, int64_t *shape, const int64_t *drawn,
                    const int *limits, const char *const *deciders, vdm_error *err)
{
    const vdm_tensor *t = injected(g, name);
    if (!t) {
        memcpy(shape, drawn, (size_t)rank * sizeof *shape);
        return 0;
    }
    if (vdm_tensor_check(t, g->in.path, rank, shape, err)) return -1;
    for (int i = 0; i < rank; i++)
        if (shape[i] < 1 || shape[i] > limits[i])
            return vdm_fail(err, "%s: tensor '%s': dimension %d: expected 1 to %d, found %" PRId64,
                            g->in.path, name, i, limits[i], shape[i]);
    for (int i = 0; i < rank; i++)
        if (deciders[i] && shape[i] != drawn[i] && option_given(g->o, deciders[i]))
            return vdm_fail(err, "%s: tensor '%s': dimension %d: %s asks for %" PRId64 ", found %" PRId64,
                            g->in.path, name, i, deciders[i], drawn[i], shape[i]);
    return 0;
}

/* Integers of an input, from 0 to below `limit`. */
static int *integers(const struct golden *g, const char *name, const float *x, int64_t n, int limit,
                     vdm_error *err)
{
    int *to = x ? vdm_alloc((size_t)n, sizeof *to, "injected integers", err) : NULL;
    for (int64_t i = 0; to && i < n; i++) {
        if (x[i] >= 0 && x[i] < (float)limit && x[i] <= (float)(int)x[i]) {
            to[i] = (int)x[i];
            continue;
        }
        vdm_fail(err, "%s: tensor '%s': element %" PRId64 ": expected an integer from 0 to %d, found %g",
                 g->in.path ? g->in.path : "golden", name, i, limit - 1, (double)x[i]);
        vdm_free(to);
        return NULL;
    }
    return to;
}

/* The latents' size: --size, or the model's own, up to 480x720. */
static int geometry_of(const struct golden *g, const vdm_model_config *c, vdm_geometry *to, vdm_error *err)
{
    const vdm_transformer_config *t = &c->transformer;
    int h = t->sample_height, w = t->sample_width;
    if (!t->learned_positions && h > 60) h = 60;
    if (!t->learned_positions && w > 90) w = 90;
    int height = g->o->height ? g->o->height : 8 * (h - h % t->patch),
        width = g->o->width ? g->o->width : 8 * (w - w % t->patch);
    return vdm_geometry_init(to, c, g->o->frames, height, width, err);
}

/* The matrices of an adapter as inputs, "adapter.NAME": from --inject, from --lora, or drawn; a drawn B is not zero, so
 * that no gradient is zero. rank 0: there is none. */
static int read_adapter(struct golden *g, const vdm_transformer_config *c, bool needed, vdm_lora *a,
                        vdm_error *err)
{
    char name[GOLDEN_ADAPTER_NAME];
    bool given = golden_adapter_injected(&g->in);
    if (golden_adapter_new(a, g->o, &g->in, c, needed, &g->rng, err)) return -1;
    for (int i = 0; i < vdm_lora_matrices(a); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(a, a->params, i);
        const int64_t n = m.shape[0] * m.shape[1];
        snprintf(name, sizeof name, GOLDEN_ADAPTER "%s", m.name);
        if (given) {
            float *x = vdm_safetensors_floats(&g->in, name, 2, m.shape, err);
            if (!x) return -1;
            memcpy(m.data, x, (size_t)n * sizeof(float));
            vdm_free(x);
        } else if (m.b && !g->o->sample.n_loras) {
            vdm_randn(&g->rng, m.data, n);
            for (int64_t k = 0; k < n; k++) m.data[k] *= 0.05f;
        }
        see(g, name, m.data, 2, m.shape);
    }
    g->adapted = a->rank > 0;
    if (a->rank) fact(g, "lora_rank", a->rank), fact(g, "lora_alpha", a->alpha);
    return 0;
}

static void transformer_facts(struct golden *g, const vdm_transformer_config *c)
{
    fact(g, "layers", c->layers);
    fact(g, "heads", c->heads);
    fact(g, "head_dim", c->head_dim);
    fact(g, "patch", c->patch);
    fact(g, "patch_t", c->patch_t);
    fact(g, "text_tokens", c->text_tokens);
    fact(g, "out_channels", c->out_channels);
    fact(g, "norm_eps", c->norm_eps);
}

static char *part(const struct golden *g, const char *name, vdm_error *err)
{
    return vdm_path(g->o->model, name, err);
}

/* The factor of the latents, once */
static void scaling_fact(struct golden *g, const vdm_vae_config *c)
{
    for (int i = 0; i < g->n_facts; i++)
        if (strcmp(g->facts[i][0], "scaling_factor") == 0) return;
    fact(g, "scaling_factor", c->scaling_factor);
}

/* The same where the VAE does not compute: the model need not have one. */
static int read_scaling_fact(struct golden *g, vdm_error *err)
{
    vdm_vae_config c;
    char *dir = part(g, "vae", err);
    int status = dir ? 0 : -1;
    if (dir && vdm_is_folder(dir)) {
        status = vdm_vae_config_read(&c, dir, err);
        if (!status) scaling_fact(g, &c);
    }
    vdm_free(dir);
    return status;
}

static void vae_facts(struct golden *g, const vdm_vae_config *c)
{
    fact(g, "groups", c->groups);
    fact(g, "vae_norm_eps", c->norm_eps);
    fact(g, "tiled", g->o->tiled);
    scaling_fact(g, c);
}

/* ------------------------------------------------------------------------------------------------
 * What is computed */

static int load_transformer(struct golden *g, vdm_transformer *m, vdm_error *err)
{
    char *dir = part(g, "transformer", err);
    int status = dir ? vdm_transformer_load(m, dir, err) : -1;
    vdm_free(dir);
    if (status) return -1;
    transformer_facts(g, &m->config);
    status = read_scaling_fact(g, err);
    if (!status) status = hash_part(g, "transformer", WEIGHTS, err);
    if (status) vdm_transformer_free(m);
    return status;
}

static int load_vae(struct golden *g, vdm_vae *m, vdm_error *err)
{
    char *dir = part(g, "vae", err);
    int status = dir ? vdm_vae_load(m, dir, err) : -1;
    vdm_free(dir);
    if (status) return -1;
    vae_facts(g, &m->config);
    if (!hash_part(g, "vae", WEIGHTS, err)) return 0;
    vdm_vae_free(m);
    return -1;
}

static int load_schedule(struct golden *g, vdm_schedule *s, vdm_error *err)
{
    vdm_scheduler_config c;
    char *dir = part(g, "scheduler", err);
    int status = dir && !vdm_scheduler_read(&c, dir, err) ? vdm_schedule_init(s, &c, err) : -1;
    vdm_free(dir);
    return status;
}

/* x [B,F,Cin,h,w], text [B,L,Dt], t [B] -> v [B,F,C,h,w] */
static int forward(struct golden *g, const vdm_transformer *m, const vdm_lora *lora, int64_t *xs,
                   vdm_error *err)
{
    const vdm_transformer_config *c = &m->config;
    const int64_t text_shape[] = {xs[0], c->text_tokens, c->text_dim};
    const float *x = input(g, "x", 5, xs, NORMAL, err);
    const float *text = x ? input(g, "text", 3, text_shape, NORMAL, err) : NULL;
    const float *t = text ? input(g, "t", 1, xs, TIMES, err) : NULL;
    vdm_tape_shape shape = {
        .B = (int)xs[0], .F = (int)xs[1], .h = (int)xs[3], .w = (int)xs[4], .rank = lora ? lora->rank : 0};
    size_t latents = (size_t)(xs[1] * c->out_channels * xs[3] * xs[4]);
    double *times = t ? vdm_alloc((size_t)xs[0], sizeof *times, "timesteps", err) : NULL;
    float *v = times ? vdm_alloc((size_t)xs[0] * latents, sizeof *v, "the velocity", err) : NULL;
    vdm_tape *tape = v ? vdm_tape_new(m, &shape, err) : NULL;
    for (int64_t b = 0; tape && b < xs[0]; b++) times[b] = (double)t[b];
    const vdm_transformer_input in = {x, text, times, &g->trace};
    if (tape) vdm_transformer_forward(m, lora, &g->cpu, tape, &in, v);
    int status = tape ? 0 : -1;
    vdm_tape_free(tape);
    vdm_free(v);
    vdm_free(times);
    return status;
}

/* Goldens are for diffusers, too, which has no positions beyond the sample size. */
static int check_latents(const vdm_transformer_config *c, const char *name, int64_t F, int64_t h, int64_t w,
                         vdm_error *err)
{
    if (vdm_latents_check(c, name, F, h, w, err)) return -1;
    if (!vdm_positions_reach(c, h, w))
        return vdm_fail(
            err, "%s: latents of %" PRId64 "x%" PRId64 ": this model's positions are for at most %dx%d", name,
            h, w, c->sample_height, c->sample_width);
    return 0;
}

/* Goldens hold ofs, but it can't be replaced: the pipeline always passes the same. */
static int check_ofs(const struct golden *g, const vdm_transformer_config *c, vdm_error *err)
{
    const float ofs = 2;
    if (!injected(g, "ofs")) return 0;
    if (injected_reject(&g->in, "ofs", c->ofs_dim, "a model with ofs_embed_dim", err)) return -1;
    float *x = vdm_safetensors_floats(&g->in, "ofs", 1, (int64_t[]){1}, err);
    if (!x) return -1;
    int status = *x >= ofs && *x <= ofs ? 0
                                        : vdm_fail(err, "%s: tensor 'ofs': expected %g, found %g", g->in.path,
                                                   (double)ofs, (double)*x);
    vdm_free(x);
    return status;
}

static int transformer(struct golden *g, vdm_error *err)
{
    vdm_transformer m;
    vdm_lora lora = {0};
    vdm_geometry size = {0};
    if (load_transformer(g, &m, err)) return -1;
    vdm_model_config c = {.transformer = m.config, .vae = {.blocks = 4, .temporal_compression = 4}};
    bool sized = option_given(g->o, "--size") || option_given(g->o, "--frames") || !injected(g, "x");
    int status = check_ofs(g, &m.config, err);
    if (!status && sized) status = geometry_of(g, &c, &size, err);
    const int limits[] = {MAX_BATCH, VDM_MAX_FRAMES, m.config.in_channels, VDM_MAX_SIDE, VDM_MAX_SIDE};
    const int64_t drawn[] = {g->o->learn.batch, size.F, m.config.in_channels, size.h, size.w};
    int64_t xs[] = {-1, -1, m.config.in_channels, -1, -1};
    const char *const deciders[] = {"--batch", "--frames", NULL, "--size", "--size"};
    if (!status) status = shape_of(g, "x", 5, xs, drawn, limits, deciders, err);
    if (!status) status = check_latents(&m.config, "x", xs[1], xs[3], xs[4], err);
    if (!status) status = read_adapter(g, &m.config, false, &lora, err);
    if (!status) status = forward(g, &m, lora.rank ? &lora : NULL, xs, err);
    vdm_lora_free(&lora);
    vdm_transformer_free(&m);
    return status;
}

static const char *const VIDEO_OPTIONS[] = {"--frames", NULL, "--size", "--size"}; /* of video, of latents */

/* video [T,3,H,W] -> moments [F,2C,h,w] */
static int vae_encode(struct golden *g, vdm_error *err)
{
    vdm_vae m;
    if (load_vae(g, &m, err)) return -1;
    int down = 1 << (m.config.blocks - 1);
    const int64_t drawn[] = {g->o->frames, m.config.channels, g->o->height ? g->o->height : 8 * down,
                             g->o->width ? g->o->width : 8 * down};
    const int limits[] = {VDM_MAX_FRAMES, 3, VDM_MAX_SIDE, VDM_MAX_SIDE};
    int64_t s[] = {-1, m.config.channels, -1, -1};
    bool fits = !shape_of(g, "video", 4, s, drawn, limits, VIDEO_OPTIONS, err);
    if (fits && (s[2] % down || s[3] % down))
        fits = !vdm_fail(err, "video: %" PRId64 "x%" PRId64 ": expected multiples of %d", s[2], s[3], down);
    const float *video = fits ? input(g, "video", 4, s, UNIFORM, err) : NULL;
    int F = vdm_vae_latent_frames(&m.config, (int)s[0]);
    size_t frame = (size_t)(2 * m.config.latent_channels) * (size_t)(s[2] / down) * (size_t)(s[3] / down);
    float *moments = video ? vdm_alloc((size_t)F * frame, sizeof *moments, "the moments", err) : NULL;
    int status = moments ? vdm_vae_encode(&m, &g->cpu, video,
                                          &(vdm_vae_size){(int)s[0], (int)s[2], (int)s[3], g->o->tiled},
                                          moments, &g->progress, err)
                         : -1;
    vdm_free(moments);
    vdm_vae_free(&m);
    return status;
}

/* The latents of --frames and --size: sizes that no latents decode to are rejected. */
static int latents_drawn(const struct golden *g, const vdm_vae_config *c, int64_t s[4], vdm_error *err)
{
    const options *o = g->o;
    int up = 1 << (c->blocks - 1), height = o->height ? o->height : 8 * up,
        width = o->width ? o->width : 8 * up, F = vdm_vae_latent_frames(c, o->frames),
        T = vdm_vae_video_frames(c, F);
    bool given = injected(g, "latents");
    s[0] = F, s[1] = c->latent_channels, s[2] = height / up, s[3] = width / up;
    if ((!given || option_given(o, "--size")) && (height % up || width % up))
        return vdm_fail(err, "latents: --size %dx%d: expected multiples of %d", height, width, up);
    if ((!given || option_given(o, "--frames")) && T != o->frames)
        return vdm_fail(
            err,
            "latents: --frames %d: %d latent frames decode to %d: expected a number of frames that "
            "latents decode to",
            o->frames, F, T);
    return 0;
}

/* latents [F,C,h,w] -> video [T,3,H,W] */
static int vae_decode(struct golden *g, vdm_error *err)
{
    vdm_vae m;
    if (load_vae(g, &m, err)) return -1;
    int up = 1 << (m.config.blocks - 1);
    int64_t drawn[4];
    const int limits[] = {VDM_MAX_FRAMES, m.config.latent_channels, VDM_MAX_SIDE / up, VDM_MAX_SIDE / up};
    int64_t s[] = {-1, m.config.latent_channels, -1, -1};
    bool fits = !latents_drawn(g, &m.config, drawn, err) &&
                !shape_of(g, "latents", 4, s, drawn, limits, VIDEO_OPTIONS, err);
    const float *latents = fits ? input(g, "latents", 4, s, NORMAL, err) : NULL;
    size_t frame = (size_t)m.config.channels * (size_t)(s[2] * up) * (size_t)(s[3] * up);
    int T = vdm_vae_video_frames(&m.config, (int)s[0]);
    float *video = latents ? vdm_alloc((size_t)T * frame, sizeof *video, "the video", err) : NULL;
    int status = video ? vdm_vae_decode(&m, &g->cpu, latents,
                                        &(vdm_vae_size){(int)s[0], (int)s[2], (int)s[3], g->o->tiled}, video,
                                        &g->progress, err)
                       : -1;
    vdm_free(video);
    vdm_vae_free(&m);
    return status;
}

/* What sampling and learning need. */
struct model {
    vdm_transformer transformer;
    vdm_vae vae;
    vdm_schedule schedule;
    vdm_geometry geometry;
    vdm_lora lora;
};

static int sample_with(struct golden *g, const struct model *m, vdm_error *err)
{
    const options *o = g->o;
    const vdm_geometry *s = &m->geometry;
    const vdm_transformer_config *c = &m->transformer.config;
    const int64_t C = c->out_channels, image_shape[] = {3, s->height, s->width},
                  noise[] = {s->F, C, s->h, s->w}, words[] = {c->text_tokens, c->text_dim},
                  of_image[] = {C, s->h, s->w}, video_shape[] = {s->frames, 3, s->height, s->width};
    bool dpm = *o->sample.sampler ? strcmp(o->sample.sampler, "dpm") == 0 : m->schedule.config.dpm;
    vdm_sample_options p = {.geometry = *s,
                            .steps = o->sample.steps,
                            .sampler = dpm ? VDM_DPM : VDM_DDIM,
                            .guidance = o->sample.guidance,
                            .dynamic_guidance = o->sample.dynamic_guidance,
                            .tiled = o->tiled,
                            .image_scale = image_scale_of(o)};
    const int64_t step_noise[] = {p.steps, 2, s->F, C, s->h, s->w};
    if (g->in.path && injected_reject(&g->in, "step_noise", dpm, "--sampler dpm", err)) return -1;
    if (injected(g, "negative") && !(p.guidance > 1))
        fprintf(stderr, "%s: tensor 'negative': no effect: it needs --guidance above 1\n", clean(g->in.path));
    const float *image = input(g, "image", 3, image_shape, UNIFORM, err);
    const float *prompt = image ? input(g, "prompt", 2, words, NORMAL, err) : NULL;
    const float *negative = prompt ? input(g, "negative", 2, words, NORMAL, err) : NULL;
    if (!negative || !(p.noise = input(g, "noise", 4, noise, NORMAL, err)) ||
        !(p.image_noise = input(g, "image_noise", 3, of_image, NORMAL, err)) ||
        (dpm && !(p.step_noise = input(g, "step_noise", 6, step_noise, NORMAL, err))))
        return -1;
    fact(g, "steps", p.steps);
    fact(g, "dpm", dpm);
    fact(g, "guidance", p.guidance);
    fact(g, "dynamic_guidance", p.dynamic_guidance);
    fact(g, "image_latent_scale", vdm_image_latent_scale(&m->vae.config, p.image_scale));
    fact(g, "padding", s->pad);
    float *video =
        vdm_alloc((size_t)(video_shape[0] * 3 * s->height * s->width), sizeof *video, "a video", err);
    if (!video) return -1;
    int status = vdm_sample(&(vdm_pipeline){.transformer = &m->transformer,
                                            .vae = &m->vae,
                                            .schedule = &m->schedule,
                                            .lora = m->lora.rank ? &m->lora : NULL,
                                            .cpu = &g->cpu,
                                            .prompt = prompt,
                                            .negative = negative},
                            &p, image, video, &g->progress, err);
    if (!status) see(g, "video", video, 4, video_shape);
    vdm_free(video);
    return status;
}

static int sample(struct golden *g, vdm_error *err)
{
    struct model m = {0};
    vdm_model_config c;
    int status = -1;
    if (vdm_model_config_read(&c, g->o->model, err) || geometry_of(g, &c, &m.geometry, err)) goto end;
    if (load_schedule(g, &m.schedule, err) || load_transformer(g, &m.transformer, err)) goto end;
    if (load_vae(g, &m.vae, err)) goto end;
    if (read_adapter(g, &c.transformer, false, &m.lora, err)) goto end;
    status = sample_with(g, &m, err);
end:
    vdm_vae_free(&m.vae);
    vdm_lora_free(&m.lora);
    if (m.transformer.blocks) vdm_transformer_free(&m.transformer);
    return status;
}

static void train_facts(struct golden *g, const vdm_fit_options *p)
{
    fact(g, "steps", p->steps);
    fact(g, "accumulate", p->accumulate);
    fact(g, "lr", p->lr);
    fact(g, "beta1", p->beta1);
    fact(g, "beta2", p->beta2);
    fact(g, "eps", p->eps);
    fact(g, "weight_decay", p->weight_decay);
    fact(g, "clip", p->clip);
}

/* What these settings do not show. rows [steps + 1], the first one is that before training */
static void report_update(const vdm_fit_options *p, const vdm_fit_row *rows)
{
    double longest = 0, decay = p->steps * p->lr * p->weight_decay;
    for (int k = 1; k <= p->steps; k++) longest = fmax(longest, rows[k].grad_norm);
    if (longest <= p->clip)
        fprintf(
            stderr,
            "golden: no gradient is longer than --clip %g (the longest: %g): a port that does not clip agrees\n",
            p->clip, longest);
    if (decay < 5e-5) /* tolerances of the adapter */
        fprintf(
            stderr,
            "golden: --weight-decay %g changes the adapter by %g of itself: a port without it may agree\n",
            p->weight_decay, decay);
}

static int train_with(struct golden *g, struct model *m, vdm_fit_data *d, vdm_error *err)
{
    const options *o = g->o;
    const vdm_transformer_config *c = &m->transformer.config;
    vdm_fit_options p;
    vdm_fit_defaults(&p);
    p.steps = g->last_step;
    p.batch = o->learn.batch;
    p.accumulate = o->learn.accumulate;
    p.lr = o->learn.lr;
    p.clip = o->learn.clip;
    p.weight_decay = o->learn.weight_decay;
    p.memory = memory_of(o);
    p.watch_every = p.save_every = 0;
    int64_t N = (int64_t)p.batch * p.accumulate, drawn[] = {p.steps, N},
            words[] = {c->text_tokens, c->text_dim};
    int64_t videos[] = {d->pairs, d->F, d->C, d->h, d->w}, images[] = {d->pairs, d->C, d->h, d->w};
    int64_t noise[] = {p.steps, N, d->F, d->C, d->h, d->w};
    if (!(d->videos = input(g, "videos", 5, videos, NORMAL, err)) ||
        !(d->images = input(g, "images", 4, images, NORMAL, err)))
        return -1;
    const float *text = input(g, "text", 2, words, NORMAL, err);
    const float *t = text ? input(g, "t", 2, drawn, TIMES, err) : NULL;
    const float *pair = t ? input(g, "pair", 2, drawn, PAIRS, err) : NULL;
    p.noise = pair ? input(g, "noise", 6, noise, NORMAL, err) : NULL;
    if (!p.noise || read_adapter(g, c, true, &m->lora, err)) return -1;
    int *times = integers(g, "t", t, p.steps * N, m->schedule.config.train_timesteps, err), done;
    int *pairs = times ? integers(g, "pair", pair, p.steps * N, d->pairs, err) : NULL;
    vdm_fit_row *rows = vdm_alloc((size_t)p.steps + 1, sizeof *rows, "rows", err);
    int status = -1;
    p.t = times;
    p.pair = pairs;
    train_facts(g, &p);
    if (times && pairs && rows)
        status = vdm_fit(
            &(vdm_pipeline){
                .transformer = &m->transformer, .schedule = &m->schedule, .cpu = &g->cpu, .prompt = text},
            &m->lora, d, &p, rows, &done, &g->progress, err);
    if (!status) report_update(&p, rows);
    vdm_free(times);
    vdm_free(pairs);
    vdm_free(rows);
    return status;
}

/* Sizes of the training data, and the number of steps: those injected, or the options'. */
static int training_data(struct golden *g, const vdm_transformer_config *c, vdm_fit_data *d, vdm_error *err)
{
    vdm_geometry size;
    vdm_model_config sizes = {.transformer = *c, .vae = {.blocks = 4, .temporal_compression = 4}};
    if (geometry_of(g, &sizes, &size, err)) return -1;
    const int64_t drawn[] = {2, size.F, c->out_channels, size.h, size.w};
    const int limits[] = {VDM_MAX_PAIRS, VDM_MAX_FRAMES, c->out_channels, VDM_MAX_SIDE, VDM_MAX_SIDE};
    int64_t videos[] = {-1, -1, c->out_channels, -1, -1},
            N = (int64_t)g->o->learn.batch * g->o->learn.accumulate, t[] = {-1, N};
    const char *const deciders[] = {NULL, "--frames", NULL, "--size", "--size"};
    if (shape_of(g, "videos", 5, videos, drawn, limits, deciders, err) ||
        check_latents(c, "videos", videos[1], videos[3], videos[4], err) ||
        shape_of(g, "t", 2, t, (int64_t[]){g->o->learn.steps ? g->o->learn.steps : 3, N},
                 (int[]){MAX_STEPS, (int)N}, (const char *const[]){"--steps", NULL}, err))
        return -1;
    *d = (vdm_fit_data){.pairs = (int)videos[0],
                        .F = (int)videos[1],
                        .C = (int)videos[2],
                        .h = (int)videos[3],
                        .w = (int)videos[4]};
    g->last_step = (int)t[0];
    return 0;
}

static int train(struct golden *g, vdm_error *err)
{
    struct model m = {0};
    vdm_fit_data d = {0};
    if (load_schedule(g, &m.schedule, err) || load_transformer(g, &m.transformer, err)) return -1;
    int status = training_data(g, &m.transformer.config, &d, err);
    if (!status) status = train_with(g, &m, &d, err); /* d's arrays are inputs, freed with them */
    vdm_lora_free(&m.lora);
    vdm_transformer_free(&m.transformer);
    return status;
}

/* The prompt's tokens, as the pipelines give them to the encoder */
static float *tokens(struct golden *g, int64_t L, vdm_error *err)
{
    char *dir = part(g, "tokenizer", err);
    vdm_tokenizer *t = dir ? vdm_tokenizer_load(dir, err) : NULL;
    int32_t *ids = t ? vdm_alloc((size_t)L, sizeof *ids, "ids", err) : NULL;
    float *x = ids ? vdm_alloc((size_t)L, sizeof *x, "ids", err) : NULL;
    const char *text = g->o->prompt.text ? g->o->prompt.text : "";
    bool bad = x && (prompt_report_cut(t, text, (int)L, err) || vdm_tokenize(t, text, ids, (int)L, err));
    for (int64_t i = 0; x && i < L; i++) x[i] = (float)ids[i];
    vdm_tokenizer_free(t);
    vdm_free(ids), vdm_free(dir);
    if (!bad) return x;
    vdm_free(x);
    return NULL;
}

/* ids [L], injected or the prompt's -> encoder.final_layer_norm [L,Dt] */
static int encode(struct golden *g, const vdm_text_encoder *m, int64_t L, vdm_error *err)
{
    bool given = injected(g, "ids");
    if (given && g->o->prompt.text)
        return vdm_fail(err, "%s: tensor 'ids': expected the prompt in one place, found --prompt too",
                        g->in.path);
    int64_t own = L;
    L = -1;
    const char *const none[] = {NULL};
    if (shape_of(g, "ids", 1, &L, &own, (int[]){MAX_TOKENS}, none, err)) return -1;
    float *x = given ? input(g, "ids", 1, &L, ZEROS, err) : tokens(g, L, err);
    if (x && !given) keep_input(g, "ids", x, 1, &L);
    int *ids = integers(g, "ids", x, L, m->config.vocabulary, err);
    float *to = ids ? vdm_alloc((size_t)(L * m->config.width), sizeof *to, "the embedding", err) : NULL;
    int status = to ? vdm_text_encode(m, &g->cpu, ids, (int)L, to, &g->progress, err) : -1;
    vdm_free(ids), vdm_free(to);
    return status;
}

static int text(struct golden *g, vdm_error *err)
{
    vdm_model_config c;
    vdm_text_encoder m;
    if (vdm_model_config_read(&c, g->o->model, err)) return -1;
    char *dir = part(g, "text_encoder", err);
    int status = dir ? vdm_text_encoder_load(&m, dir, err) : -1;
    vdm_free(dir);
    if (status) return -1;
    status = hash_part(g, "text_encoder", "model", err);
    if (!status) status = encode(g, &m, c.transformer.text_tokens, err);
    vdm_text_encoder_free(&m);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The command */

static const struct job {
    const char *name;
    int (*run)(struct golden *g, vdm_error *err);
    bool adapter;          /* adapter.NAME may be injected */
    const char *inputs[9]; /* that may be injected too */
} jobs[] = {
    {"transformer", transformer, true, {"x", "text", "t"}},
    {"vae-encode", vae_encode, false, {"video"}},
    {"vae-decode", vae_decode, false, {"latents"}},
    {"sample", sample, true, {"image", "prompt", "negative", "noise", "image_noise", "step_noise"}},
    {"train", train, true, {"videos", "images", "text", "t", "pair", "noise"}},
    {"text", text, false, {"ids"}},
};

bool golden_is_input(const char *what, const char *name)
{
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0] && what; i++) {
        if (strcmp(jobs[i].name, what) != 0) continue;
        if (jobs[i].adapter && starts(name, GOLDEN_ADAPTER)) return true;
        for (int k = 0; jobs[i].inputs[k]; k++)
            if (strcmp(jobs[i].inputs[k], name) == 0) return true;
        return strcmp(what, "transformer") == 0 && strcmp(name, "ofs") == 0; /* of the model, but an input */
    }
    return false;
}

/* Prints which inputs the file contains. A file without any of them is rejected: probably a name is misspelt. */
static int say_injected(const struct golden *g, const struct job *job, vdm_error *err)
{
    char lists[2][256] = {"", ""}; /* not in the file; in it */
    for (int i = 0; job->inputs[i]; i++) {
        char *list = lists[injected(g, job->inputs[i]) != NULL];
        size_t n = strlen(list);
        snprintf(list + n, sizeof lists[0] - n, "%s%s", n ? ", " : "", job->inputs[i]);
    }
    bool adapter = job->adapter && golden_adapter_injected(&g->in);
    if (!*lists[1] && !adapter)
        return vdm_fail(err, "%s: expected some of the inputs of --what %s: %s, found none of them",
                        g->in.path, job->name, lists[0]);
    fprintf(stderr, "%s: injected: %s%s%s%s%s\n", clean(g->in.path), lists[1],
            *lists[1] && adapter ? ", " : "", adapter ? "adapter" : "", *lists[0] ? "; not in it: " : "",
            lists[0]);
    return 0;
}

static int begin(struct golden *g, vdm_error *err)
{
    const options *o = g->o;
    if (patterns_check(o->only, err) || (o->inject && vdm_safetensors_open(&g->in, o->inject, err)))
        return -1;
    if (vdm_cpu_init(&g->cpu, o->threads, err)) return -1;
    g->cpu.precision = precision_of(o);
    for (int i = 0; i < 2; i++)
        if (!(g->expected[i].f = open_memstream(&g->expected[i].text, &g->expected[i].size)))
            return vdm_fail(err, "no memory for the expected errors");
    vdm_rng_seed(&g->rng, o->seed);
    g->trace = (vdm_trace){.wants = wants, .see = see, .user = g};
    g->progress = (vdm_progress){.report = report, .trace = &g->trace};
    g->hash = VDM_HASH_START;
    return vdm_safetensors_begin(&g->file, o->output, 1 << 17, err);
}

static void release(struct golden *g)
{
    if (g->file.entries) vdm_safetensors_abandon(&g->file);
    for (int i = 0; i < 2; i++) {
        if (g->expected[i].f) fclose(g->expected[i].f);
        free(g->expected[i].text);
    }
    for (int i = 0; i < g->n_inputs; i++) vdm_free(g->memory[i]);
    vdm_trace_free(&g->trace);
    vdm_cpu_free(&g->cpu);
    if (g->in.path) vdm_safetensors_close(&g->in);
}

int golden_run(const options *o, const char *command, vdm_error *err)
{
    static struct golden g; /* too large for the stack of a small machine */
    g = (struct golden){.o = o, .what = o->golden.what};
    bool ok = !begin(&g, err);
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0] && ok; i++)
        if (strcmp(jobs[i].name, o->golden.what) == 0)
            ok = !(jobs[i].adapter && golden_adapter_check(o, &g.in, err)) &&
                 !(o->inject && say_injected(&g, &jobs[i], err)) && !jobs[i].run(&g, err);
    ok = ok && !finish(&g, command, err);
    release(&g);
    return ok ? 0 : -1;
}
