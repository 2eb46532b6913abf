/* What a command needs of a model: configuration, size, weights, prompts, adapters. */
#include "tools/run/model_session.h"
#include "files/parallel.h"
#include "tools/messages.h"
#include "tools/run/file_checks.h"
#include "tools/run/prompts.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Embeddings from FILE, else from the model's own file, else zeros (the original trainer's "no prompt"). */
static int read_prompt(session *s, float **text, const char *file, const char *own, vdm_error *err)
{
    const vdm_transformer_config *c = &s->config.transformer;
    if (file) return vdm_prompt_read(text, file, c, err);
    if (own) {
        char *path = vdm_path(s->options->model, own, err);
        if (!path) return -1;
        bool there = access(path, F_OK) == 0;
        int status = there ? vdm_prompt_read(text, path, c, err) : 0;
        vdm_free(path);
        if (there) return status;
        s->no_prompt = true;
    }
    *text =
        vdm_alloc((size_t)c->text_tokens * (size_t)c->text_dim, sizeof(float), "the prompt's embedding", err);
    return *text ? 0 : -1;
}

/* With equal prompts guidance has no effect. Different texts count as different embeddings, since --plan decides before
 * anything is encoded. */
static void compare_prompts(session *s)
{
    size_t n = (size_t)s->config.transformer.text_tokens * (size_t)s->config.transformer.text_dim;
    const char *const *t = s->texts;
    bool differ = t[0] && t[1] ? strcmp(t[0], t[1]) != 0 : t[0] || t[1];
    s->same_prompts = !differ && memcmp(s->prompt, s->negative, n * sizeof(float)) == 0;
}

/* If guidance needs a negative prompt and none is given, it is "", as in diffusers. */
static void choose_texts(session *s, const char *prompt)
{
    const options *o = s->options;
    s->texts[0] = prompt;
    s->texts[1] = o->prompt.negative                                               ? o->prompt.negative
                  : prompt && !o->prompt.negative_embeds && o->sample.guidance > 1 ? ""
                                                                                   : NULL;
    compare_prompts(s);
}

static int read_prompts(session *s, vdm_error *err)
{
    const options *o = s->options;
    if ((o->prompt.text && o->prompt.embeds) || (o->prompt.negative && o->prompt.negative_embeds))
        return vdm_fail(err, "--%s: expected a text or an embedding, found both",
                        o->prompt.text && o->prompt.embeds ? "prompt" : "negative");
    if ((o->prompt.text || o->prompt.negative) && !has_text_encoder(o->model))
        return no_text_encoder(o->prompt.text ? "--prompt" : "--negative", o->model, err);
    const char *own = o->prompt.text ? NULL : "prompt_embeds.safetensors";
    if (read_prompt(s, &s->prompt, o->prompt.embeds, own, err) ||
        read_prompt(s, &s->negative, o->prompt.negative_embeds, NULL, err))
        return -1;
    choose_texts(s, o->prompt.text);
    return 0;
}

int session_task_prompt(session *s, const char *text, vdm_error *err)
{
    const options *o = s->options;
    if (!text || o->prompt.text || o->prompt.embeds) return 0;
    if (has_text_encoder(o->model)) {
        choose_texts(s, text);
        return 0;
    }
    if (has(o->model, "text_encoder") || has(o->model, "tokenizer"))
        return no_text_encoder("the task's prompt", o->model, err);
    fprintf(stderr, "the task's prompt '%.60s' is left out: %s has no text encoder\n", clean(text),
            clean(o->model));
    return 0;
}

void session_use_prompts(session *s, float *prompt, float *negative)
{
    float **mine[] = {&s->prompt, &s->negative}, *given[] = {prompt, negative};
    for (int i = 0; i < 2; i++) {
        if (!given[i]) continue;
        vdm_free(*mine[i]);
        *mine[i] = given[i];
        s->texts[i] = NULL;
    }
    if (prompt) s->no_prompt = false;
    compare_prompts(s);
}

/* Positions of the 1.5 models are integers, for which diffusers has a table as large as the sample size. Positions
 * beyond are as well defined, and a canvas that has grown (--grow) needs them: up to its side. */
static void allow_larger(vdm_model_config *m, int side)
{
    vdm_transformer_config *c = &m->transformer;
    const int latent = side >> (m->vae.blocks - 1);
    if (!c->rotary || !c->patch_t) return;
    if (c->sample_height < latent) c->sample_height = latent;
    if (c->sample_width < latent) c->sample_width = latent;
}

/* An error of the size names the picture, unless --size is given. */
static int set_geometry(session *s, const options *o, const char *picture, int height, int width,
                        vdm_error *err)
{
    if (vdm_answer_check(&(vdm_geometry){.frames = o->frames}, &s->config.vae, err)) return -1;
    if (!vdm_geometry_init(&s->geometry, &s->config, o->frames, height, width, err)) return 0;
    if (o->height || !picture || strncmp(err->text, "frames", 6) == 0) return -1;
    return vdm_fail(err, "%s: %.800s; --size HxW resizes it", picture, err->text);
}

int session_plan(session *s, const options *o, const char *picture, int height, int width, vdm_error *err)
{
    *s = (session){.options = o};
    if (vdm_model_config_read(&s->config, o->model, err)) return -1;
    if (vdm_model_config_image_to_video(&s->config, o->model, err)) return -1;
    allow_larger(&s->config, o->canvas.largest);
    if (set_geometry(s, o, picture, height, width, err)) return -1;
    if (vdm_cpu_init(&s->cpu, o->threads, err)) return -1;
    s->cpu.precision = precision_of(o);
    if (vdm_schedule_init(&s->schedule, &s->config.scheduler, err)) return -1;
    return read_prompts(s, err);
}

/* FILE or FILE:WEIGHT; a colon that no number follows is part of the name, of a file that exists. */
char *lora_path(double *weight, const char *text, vdm_error *err)
{
    const char *colon = strrchr(text, ':');
    *weight = 1;
    if (!colon) return vdm_copy_text(text, err);
    char *path = vdm_copy_bytes(text, (size_t)(colon - text), err);
    if (!path || options_number(colon + 1, weight)) return path;
    bool there = access(text, F_OK) == 0, misspelt = !there && access(path, F_OK) == 0;
    *weight = 1;
    vdm_free(path);
    if (!misspelt) return vdm_copy_text(text, err);
    vdm_fail(err, "--lora %s: weight: found '%s', expected a number", text, colon + 1);
    return NULL;
}

static bool has_effect(const vdm_lora *a)
{
    for (int i = 1; i < vdm_lora_matrices(a); i += 2) {
        const vdm_lora_matrix B = vdm_lora_matrix_at(a, a->params, i);
        for (int64_t k = 0; k < B.shape[0] * B.shape[1]; k++)
            if (B.data[k] < 0 || B.data[k] > 0) return true;
    }
    return false;
}

static char *join_text(const char *path, const char *numbers, vdm_error *err)
{
    size_t size = strlen(path) + strlen(numbers) + 3;
    char *text = vdm_alloc(size, 1, "a text", err);
    if (text) snprintf(text, size, "%s: %s", path, numbers);
    return text;
}

int lora_read_option(vdm_lora *part, double *weight, char **what, const char *text,
                     const vdm_transformer_config *c, vdm_error *err)
{
    char *path = lora_path(weight, text, err), numbers[96];
    if (!path) return -1;
    int applied, modules;
    int status = vdm_lora_read(part, path, c, &applied, &modules, err);
    if (!status) {
        snprintf(numbers, sizeof numbers, "rank %d, alpha %g, weight %g", part->rank, part->alpha, *weight);
        fprintf(stderr, "%s: applied %d of %d, %s", clean(path), applied, modules, numbers);
        if (part->facts.views > 1) fprintf(stderr, ", learned in %d views", part->facts.views);
        if (part->without_alpha)
            fprintf(stderr, "; the file has no alpha for %d modules: their scale is 1", part->without_alpha);
        if (!has_effect(part)) fprintf(stderr, "; it has no effect: all its matrices B are zero");
        fputc('\n', stderr);
    }
    if (!status && what && !(*what = join_text(path, numbers, err))) {
        vdm_lora_free(part);
        status = -1;
    }
    vdm_free(path);
    return status;
}

int loras_read(vdm_lora *all, char **what, const options *o, const vdm_transformer_config *c, vdm_error *err)
{
    vdm_lora parts[MAX_LORAS] = {0};
    double weights[MAX_LORAS];
    int n = 0, status = 0;
    while (n < o->sample.n_loras && !status) {
        status = lora_read_option(&parts[n], &weights[n], what ? &what[n] : NULL, o->sample.loras[n], c, err);
        if (!status) n++;
    }
    if (!status && n) status = vdm_lora_join(all, parts, weights, n, err);
    for (int i = 0; i < n; i++) vdm_lora_free(&parts[i]);
    return status;
}

static int encode_texts(session *s, vdm_error *err)
{
    float *to[2] = {NULL, NULL};
    if (s->no_prompt && !s->texts[0]) fprintf(stderr, "no prompt: the embedding is zeros\n");
    if (!s->texts[0] && !s->texts[1]) return 0;
    int status = encode_prompts(to, s->texts, 2, s->options->model, &s->config.transformer, &s->cpu, err);
    session_use_prompts(s, to[0], to[1]);
    return status;
}

/* The options of guidance that were given, where the session's prompt and the negative prompt are equal: then several
 * views, which have prompts of their own, are not guided either. */
static void print_unguided(const options *o)
{
    static const char *const names[] = {"--dynamic-guidance", "--negative", "--negative-embeds"};
    static const char same[] = "no effect: guidance needs a negative prompt that differs from the prompt";
    if (option_given(o, "--guidance")) fprintf(stderr, "--guidance %g: %s\n", o->sample.guidance, same);
    for (int i = 0; i < 3; i++)
        if (option_given(o, names[i])) fprintf(stderr, "%s: %s\n", names[i], same);
}

int session_load(session *s, vdm_error *err)
{
    const options *o = s->options;
    if (encode_texts(s, err)) return -1;
    if (s->same_prompts && o->sample.guidance > 1) print_unguided(o);
    double start = vdm_seconds();
    char *transformer = vdm_path(s->options->model, "transformer", err);
    char *vae = transformer ? vdm_path(s->options->model, "vae", err) : NULL;
    int status = vae ? 0 : -1;
    if (!status) status = vdm_transformer_load(&s->transformer, transformer, err);
    if (!status) status = vdm_vae_load(&s->vae, vae, err);
    if (!status) status = loras_read(&s->lora, s->parts, s->options, &s->config.transformer, err);
    vdm_free(transformer);
    vdm_free(vae);
    if (!status)
        fprintf(stderr, "%s: loaded in %.1f s; %s, %s, threads: %d\n", clean(s->options->model),
                vdm_seconds() - start, s->options->precision, vdm_cpu_name(&s->cpu), s->cpu.threads);
    return status;
}

double memory_limit_of(const options *o)
{
    return o->memory_limit > 0 ? o->memory_limit * 0x1p30 : vdm_memory_limit();
}

int session_limit_memory(session *s, double bytes, vdm_error *err)
{
    const double OTHERS = 1.0 / 16; /* of the limit: the program, tables of pages, files */
    double limit = memory_limit_of(s->options), left = limit * (1 - OTHERS) - bytes;
    size_t block, all = vdm_transformer_bytes(&s->transformer, &block);
    if (limit <= 0 || left >= (double)all) return 0;
    if (vdm_transformer_stream(&s->transformer, left > 0 ? (size_t)left : 0, err)) return -1;
    char text[32];
    format_bytes(text, sizeof text, limit);
    fprintf(stderr, "memory limit %s: weights are read when they are used%s\n", text,
            left < (double)(all - (size_t)(s->config.transformer.layers - 2) * block)
                ? ", but more memory than that is needed"
                : "");
    return 0;
}

vdm_pipeline session_pipeline(const session *s)
{
    return (vdm_pipeline){.transformer = &s->transformer,
                          .vae = &s->vae,
                          .schedule = &s->schedule,
                          .lora = s->lora.rank ? &s->lora : NULL,
                          .cpu = &s->cpu,
                          .prompt = s->prompt,
                          .negative = s->negative};
}

void session_free(session *s)
{
    vdm_lora_free(&s->lora);
    for (int i = 0; i < MAX_LORAS; i++) vdm_free(s->parts[i]);
    vdm_free(s->prompt);
    vdm_free(s->negative);
    vdm_vae_free(&s->vae);
    vdm_transformer_free(&s->transformer);
    vdm_cpu_free(&s->cpu);
}

vdm_image_scale image_scale_of(const options *o)
{
    return strcmp(o->image_scale, "trainer") == 0 ? VDM_IMAGE_TRAINER : VDM_IMAGE_PIPELINE;
}

vdm_precision precision_of(const options *o)
{
    if (strcmp(o->precision, "amx") == 0) return VDM_PRECISION_AMX;
    return strcmp(o->precision, "bf16") == 0 ? VDM_PRECISION_BF16 : VDM_PRECISION_F32;
}

size_t memory_of(const options *o)
{
    return (size_t)(o->learn.memory * 1024 * 1024 * 1024);
}

vdm_sample_options sample_options(const session *s)
{
    const options *o = s->options;
    bool dpm = *o->sample.sampler ? strcmp(o->sample.sampler, "dpm") == 0 : s->config.scheduler.dpm;
    vdm_sample_options p = {
        .geometry = s->geometry,
        .steps = o->sample.steps,
        .ensemble = o->sample.ensemble,
        .sampler = dpm ? VDM_DPM : VDM_DDIM,
        .guidance = s->same_prompts ? 1 : o->sample.guidance, /* then v_neg + g (v - v_neg) is v */
        .dynamic_guidance = o->sample.dynamic_guidance,
        .tiled = o->tiled,
        .image_scale = image_scale_of(o),
        .seed = o->seed};
    return p;
}

int size_of(const options *o, const char *picture, int *height, int *width, vdm_error *err)
{
    *height = o->height;
    *width = o->width;
    if (o->height) return 0;
    vdm_picture p;
    if (vdm_picture_read(&p, picture, err)) return -1;
    *height = p.height;
    *width = p.width;
    vdm_picture_free(&p);
    return 0;
}
