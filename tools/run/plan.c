/* The memory and time of a run, printed before it starts: bytes from the library's own layouts, time from counted
 * operations and a short measurement of this machine. */
#include "tools/run/plan.h"
#include "tools/messages.h"
#include "tools/run/evaluation.h"
#include "kernels/kernels.h"

#include <string.h>
#include <sys/stat.h>
#include <dirent.h>

/* Multiply-adds of one pass over B videos, times 2: the linear layers and attention of every block. */
static double forward_operations(const session *s, int B)
{
    const vdm_transformer_config *c = &s->config.transformer;
    double D = (double)c->heads * c->head_dim, S = c->text_tokens + s->geometry.video_tokens;
    return B * c->layers * (2 * 12 * D * D * S + 4 * S * S * D);
}

/* Passes of a training step: forward, the gradients of the blocks' inputs (attention's and the adapters' come on top),
 * and forward again for blocks whose activations are not stored; a fifth less if their attention outputs are. */
static double passes(const session *s, const vdm_fit_options *f)
{
    int layers = s->config.transformer.layers, attention;
    int stored = vdm_fit_stored_blocks(&s->config.transformer, &s->geometry, f, learn_targets(s->options),
                                       s->options->learn.rank, &attention);
    return s->options->learn.accumulate * (2.2 + (layers - stored - 0.2 * attention) / layers);
}

/* Operations a second of this machine, from one matmul of a fifth of a second or so. */
static double measure_speed(const vdm_cpu *cpu)
{
    enum { N = 768 };
    vdm_error err;
    float *a = vdm_alloc(3 * N * N, sizeof(float), "a measurement", &err);
    if (!a) return 1e9;
    vdm_matmul_args m = {.M = N,
                         .N = N,
                         .K = N,
                         .a = a,
                         .a_row = N,
                         .a_col = 1,
                         .b = a + N * N,
                         .b_dtype = VDM_F32,
                         .b_row = 1,
                         .b_col = N,
                         .c = a + 2 * N * N,
                         .c_row = N};
    double start = vdm_seconds(), seconds;
    int runs = 0;
    do {
        cpu->kernels->matmul(cpu, &m);
        runs++;
        seconds = vdm_seconds() - start;
    } while (seconds < 0.2);
    vdm_free(a);
    return 2.0 * N * N * N * runs / seconds;
}

/* Bytes of the safetensors files in MODEL/part: they are mapped, and resident once they have been used. */
static double weight_bytes(const char *model, const char *part)
{
    vdm_error err;
    double sum = 0;
    char *folder = vdm_path(model, part, &err);
    DIR *d = folder ? opendir(folder) : NULL;
    for (struct dirent *e; d && (e = readdir(d));) {
        struct stat st;
        const char *dot = strrchr(e->d_name, '.');
        char *file = vdm_path(folder, e->d_name, &err);
        if (file && dot && strcmp(dot, ".safetensors") == 0 && stat(file, &st) == 0)
            sum += (double)st.st_size;
        vdm_free(file);
    }
    if (d) closedir(d);
    vdm_free(folder);
    return sum;
}

static double larger(double a, double b)
{
    return a > b ? a : b;
}

static void print_line(const char *what, double bytes)
{
    char text[32];
    format_bytes(text, sizeof text, bytes);
    fprintf(stderr, "  %-34s %10s\n", what, text);
}

/* Bytes of a video's pixels as floats and as bytes. */
static double pixel_bytes(const vdm_geometry *g)
{
    return (double)g->frames * g->height * g->width * 3 * (sizeof(float) + 1);
}

/* The bytes of a run, by its stages */
struct plan {
    double transformer, vae, text; /* mapped files; text: 0 if no prompt is encoded */
    double encode, learn, answer;  /* 0: not a stage of this run */
    int stored, attention;         /* blocks with all activations, with attention outputs only */
    int videos;                    /* answered at once */
    double peak;
};

static void plan_learning(struct plan *p, const session *s, const vdm_fit_options *f, int pairs)
{
    const options *o = s->options;
    const vdm_geometry *g = &s->geometry;
    const vdm_transformer_config *c = &s->config.transformer;
    const vdm_targets targets = learn_targets(o);
    const vdm_lora a = {
        .layers = c->layers, .width = c->heads * c->head_dim, .targets = targets, .rank = o->learn.rank};
    double adapter = (double)vdm_lora_count(&a) * sizeof(float);
    double cache = (double)pairs * (g->F + 1) * c->out_channels * g->h * g->w * sizeof(float);
    p->encode = (double)vdm_vae_encode_bytes(&s->config.vae, g->frames, g->height, g->width, o->tiled) +
                pixel_bytes(g) + cache;
    p->learn = (double)vdm_fit_bytes(c, g, f, targets, o->learn.rank) + adapter + cache;
    p->stored = vdm_fit_stored_blocks(c, g, f, targets, o->learn.rank, &p->attention);
}

static vdm_fit_options fit_options(const options *o)
{
    vdm_fit_options f;
    vdm_fit_defaults(&f);
    f.batch = o->learn.batch;
    f.memory = memory_of(o);
    return f;
}

static struct plan plan_of(const session *s, int training_steps, int answers, int pairs)
{
    const char *model = s->options->model;
    const vdm_fit_options f = fit_options(s->options);
    vdm_sample_options o = sample_options(s);
    struct plan p = {.transformer = weight_bytes(model, "transformer"), .vae = weight_bytes(model, "vae")};
    if (training_steps) plan_learning(&p, s, &f, pairs);
    if (answers) {
        o.videos = p.videos = evaluation_group(s, answers);
        p.answer =
            (double)vdm_sample_bytes(&s->config, &o, s->lora.rank) + p.videos * pixel_bytes(&s->geometry);
    }
    if (s->texts[0] || s->texts[1]) p.text = weight_bytes(model, "text_encoder");
    double run = larger(larger(p.encode, p.learn), p.answer);
    p.peak =
        p.transformer + p.vae + run + (double)s->cpu.kernels->scratch_floats(s->cpu.threads) * sizeof(float);
    p.peak = larger(p.peak, p.text); /* the prompt is encoded before the weights are touched */
    return p;
}

double plan_bytes(const session *s, int training_steps, int answers, int pairs)
{
    const struct plan p = plan_of(s, training_steps, answers, pairs);
    return p.peak - p.transformer;
}

/* The settings in effect, after the program's defaults, the model's and the command line. */
static void print_settings(const session *s, bool learning)
{
    const options *o = s->options;
    vdm_sample_options p = sample_options(s);
    fprintf(stderr, "%s: %s, ", clean(o->model), o->precision);
    if (learning)
        fprintf(stderr,
                "steps %d, videos a step %d, lr %g (%s, warmup %d), rank %d, alpha %g%s, pure noise %g\n",
                o->learn.steps, o->learn.batch * o->learn.accumulate, o->learn.lr, o->learn.schedule,
                o->learn.warmup, o->learn.rank, o->learn.alpha,
                learn_targets(o) == VDM_ATTENTION_FF ? " on attention and feed-forward" : "",
                o->learn.pure_noise);
    if (!learning)
        fprintf(stderr, "steps %d, sampler %s, guidance %g%s, ensemble %d\n", o->sample.steps,
                p.sampler == VDM_DPM ? "dpm" : "ddim", p.guidance,
                p.guidance > 1 && p.dynamic_guidance ? ", dynamic" : "", p.ensemble);
}

/* The peak with the weights of only two blocks in memory (--memory-limit), and the effect of the limit */
static void print_minimum(const session *s, double peak, double transformer)
{
    const vdm_transformer_config *c = &s->config.transformer;
    double D = (double)c->heads * c->head_dim, elements = 12 * D * D;
    double block = elements * (transformer > 3 * c->layers * elements ? sizeof(float) : sizeof(uint16_t));
    double minimum = c->layers > 2 ? peak - (c->layers - 2) * block : peak,
           limit = memory_limit_of(s->options);
    char text[32];
    print_line("minimum (--memory-limit)", minimum);
    if (limit <= 0 || peak <= limit * 15 / 16) return;
    format_bytes(text, sizeof text, limit);
    fprintf(stderr, "  the limit is %s: %s\n", text,
            minimum <= limit * 15 / 16 ? "weights are read when they are used" : "it is too small");
}

static void print_stages(const session *s, const struct plan *p)
{
    char title[48];
    print_line("weights (mapped)", p->transformer + p->vae);
    if (p->learn > 0) {
        snprintf(title, sizeof title, "training, %d of %d blocks stored", p->stored,
                 s->config.transformer.layers);
        print_line("encoding the pairs", p->encode);
        print_line(title, p->learn);
    }
    if (p->attention) fprintf(stderr, "  (and the attention outputs of %d further blocks)\n", p->attention);
    if (p->answer > 0) print_line("answering", p->answer);
    if (p->text > 0) print_line("encoding the prompt (mapped)", p->text);
    print_line("at the peak", p->peak);
    print_minimum(s, p->peak, p->transformer);
}

double plan_print(const session *s, int training_steps, int before, int answers, int pairs)
{
    const vdm_geometry *g = &s->geometry;
    const vdm_sample_options o = sample_options(s);
    const vdm_fit_options f = fit_options(s->options);
    const struct plan p = plan_of(s, training_steps, answers, pairs);
    print_settings(s, training_steps > 0);
    fprintf(stderr, "%d frames of %dx%d: %d latent frames%s of %dx%d, %d video + %d text tokens\n", g->frames,
            g->height, g->width, g->latent_frames, g->pad ? " and 1 of padding" : "", g->h, g->w,
            g->video_tokens, s->config.transformer.text_tokens);
    print_stages(s, &p);
    int B = training_steps ? s->options->learn.batch : (o.guidance > 1 ? 2 : 1) * o.ensemble;
    double step = forward_operations(s, B) * (training_steps ? passes(s, &f) : 1) / measure_speed(&s->cpu);
    double left = training_steps > before ? training_steps - before : 0;
    char each[32], all[32];
    format_seconds(each, sizeof each, step);
    format_seconds(all, sizeof all, step * (training_steps ? left : (double)answers * o.steps));
    fprintf(stderr, "  about %s a step, %s %s, without the VAE (from a short measurement)\n", each, all,
            before ? "for the remaining steps" : "in all");
    return p.peak - p.transformer;
}
