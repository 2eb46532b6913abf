/* Opening a model folder (diffusers: CogVideoXImageToVideoPipeline.from_pretrained): configuration, the model's own
 * settings (vdm.json), schedule, prompt, then the weights, which are mapped, not read.
 *
 * The trap: the weights do not determine the size of the frames. vdm.json names it; without one it is the
 * transformer's sample size, which in the 1.5 models is the largest that they support. */
#include "vdm.h"

#include <sys/stat.h>

/* The memory that a vdm_model's pointers refer to */
struct parts {
    vdm_model_config config;
    vdm_transformer transformer;
    vdm_vae vae;
    vdm_schedule schedule;
    vdm_cpu cpu;
    vdm_learn_options learn;
    vdm_sample_options sample;
};

static void share_parts(vdm_model *m, struct parts *p)
{
    m->config = &p->config;
    m->transformer = &p->transformer;
    m->vae = &p->vae;
    m->schedule = &p->schedule;
    m->cpu = &p->cpu;
    m->learn = &p->learn;
    m->sample = &p->sample;
    m->parts = p;
}

/* 1: the folder has that name; 0: it has not; -1: no memory */
static int is_there(const char *dir, const char *name, vdm_error *err)
{
    struct stat st;
    char *path = vdm_path(dir, name, err);
    if (!path) return -1;
    int there = stat(path, &st) == 0;
    vdm_free(path);
    return there;
}

void vdm_learn_defaults(vdm_learn_options *o)
{
    *o = (vdm_learn_options){.targets = VDM_ATTENTION, .rank = 64, .alpha = 32, .augment = true};
    o->phi.kind = VDM_PHI_DISCRETE;
    vdm_fit_defaults(&o->fit);
}

int vdm_model_defaults(vdm_learn_options *learn, vdm_sample_options *sample, const vdm_model_config *c,
                       const char *dir, vdm_error *err)
{
    vdm_learn_defaults(learn);
    vdm_sample_defaults(sample);
    sample->sampler = c->scheduler.dpm ? VDM_DPM : VDM_DDIM;
    return vdm_model_settings_read(learn, sample, dir, err);
}

/* The size that vdm.json names, in one section or the same in both; else 9 frames of the transformer's sample
 * size, at most 480x720 unless positions are learned for it: in the 1.5 models it is the largest size. */
static int choose_size(vdm_model *m, const char *dir, vdm_error *err)
{
    const vdm_transformer_config *t = &m->config->transformer;
    const vdm_geometry *a = &m->learn->geometry, *b = &m->sample->geometry;
    int side = 1 << (m->config->vae.blocks - 1); /* pixels of a latent */
    int height = t->sample_height * side, width = t->sample_width * side;
    if (!t->learned_positions && height > 480) height = 480;
    if (!t->learned_positions && width > 720) width = 720;
    height -= height % (side * t->patch);
    width -= width % (side * t->patch);
    if ((a->frames && b->frames && a->frames != b->frames) ||
        (a->height && b->height && (a->height != b->height || a->width != b->width)))
        return vdm_fail(err, "%s/vdm.json: frames and size: expected the same in \"fit\" and \"sample\"",
                        dir);
    int frames = a->frames ? a->frames : b->frames ? b->frames : 9;
    if (b->height) height = b->height, width = b->width;
    if (a->height) height = a->height, width = a->width;
    m->learn->geometry = m->sample->geometry = (vdm_geometry){0};
    return vdm_geometry_init(&m->geometry, m->config, frames, height, width, err);
}

/* prompt [L,Dt]: the folder's own, or zeros; negative: zeros. */
static int open_prompts(vdm_model *m, const char *dir, vdm_error *err)
{
    const char *name = "prompt_embeds.safetensors";
    size_t n = (size_t)m->config->transformer.text_tokens * (size_t)m->config->transformer.text_dim;
    int there = is_there(dir, name, err), status = 0;
    if (there < 0) return -1;
    m->has_prompt = there;
    m->negative = vdm_alloc(n, sizeof(float), "the negative prompt's embedding", err);
    if (!m->negative) return -1;
    if (!there) {
        m->prompt = vdm_alloc(n, sizeof(float), "the prompt's embedding", err);
        return m->prompt ? 0 : -1;
    }
    char *path = vdm_path(dir, name, err);
    if (!path) return -1;
    status = vdm_prompt_read(&m->prompt, path, &m->config->transformer, err);
    vdm_free(path);
    return status;
}

static int open_weights(vdm_model *m, const char *dir, vdm_error *err)
{
    int status = -1;
    char *transformer = vdm_path(dir, "transformer", err), *vae = NULL;
    if (!transformer) goto end;
    vae = vdm_path(dir, "vae", err);
    if (!vae || vdm_transformer_load(m->transformer, transformer, err)) goto end;
    status = vdm_vae_load(m->vae, vae, err);
end:
    vdm_free(transformer);
    vdm_free(vae);
    return status;
}

static int open_all(vdm_model *m, const char *dir, int threads, vdm_error *err)
{
    if (vdm_model_config_read(m->config, dir, err)) return -1;
    if (vdm_model_config_image_to_video(m->config, dir, err)) return -1;
    if (vdm_model_defaults(m->learn, m->sample, m->config, dir, err)) return -1;
    if (choose_size(m, dir, err)) return -1;
    if (vdm_cpu_init(m->cpu, threads, err)) return -1;
    if (vdm_schedule_init(m->schedule, &m->config->scheduler, err)) return -1;
    if (open_prompts(m, dir, err)) return -1;
    return open_weights(m, dir, err);
}

int vdm_model_open(vdm_model *m, const char *dir, int threads, vdm_error *err)
{
    *m = (vdm_model){0};
    if (!dir) return vdm_fail(err, "vdm_model_open: dir: expected the path of a model folder, found NULL");
    struct parts *p = vdm_alloc(1, sizeof *p, "the model", err);
    if (!p) return -1;
    share_parts(m, p);
    if (!open_all(m, dir, threads, err)) return 0;
    vdm_model_close(m);
    return -1;
}

void vdm_model_close(vdm_model *m)
{
    if (!m->parts) return;
    vdm_free(m->prompt);
    vdm_free(m->negative);
    vdm_vae_free(m->vae);
    vdm_transformer_free(m->transformer);
    vdm_cpu_free(m->cpu);
    vdm_free(m->parts);
    *m = (vdm_model){0};
}
