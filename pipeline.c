/* The method in one screen: a model is opened, learns a task from pairs of pictures, and answers a picture.
 *
 *   vdm_learn   x, y [H,W,3] -> video [T,3,H,W] -> latents z [F,C,h,w]              vdm_fit_data_make
 *               A, B <- AdamW on mean (v_theta,A,B(x_t, image, prompt, t) - v)^2    vdm_fit
 *   vdm_answer  x -> image latents; noise -> video by v_theta,A,B; y = its last frame    vdm_sample
 *
 * Mirrors CogVideoXImageToVideoPipeline.from_pretrained and __call__ of diffusers; training is between them.
 * The trap: an adapter answers well only if it was learned with the prompt, size and image scale that are
 * used to answer. Both functions take them from the model. */
#include "vdm.h"

#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------
 * Learning and answering */

/* The options' own size, or, if they have none, the model's. */
static vdm_geometry size_of(const vdm_model *m, const vdm_geometry *own)
{
    return own->frames ? *own : m->geometry;
}

static void free_pictures(vdm_picture *p, int n)
{
    for (int i = 0; p && i < n; i++) vdm_picture_free(&p[i]);
    vdm_free(p);
}

/* n pictures, brought to the geometry's size; NULL with a sentence. */
static vdm_picture *resize_all(const vdm_picture *from, int n, const vdm_geometry *g, vdm_error *err)
{
    vdm_picture *to = vdm_alloc((size_t)n, sizeof *to, "the resized pictures", err);
    for (int i = 0; to && i < n; i++) {
        if (!vdm_picture_resize(&to[i], &from[i], g->height, g->width, err)) continue;
        free_pictures(to, n);
        return NULL;
    }
    return to;
}

vdm_pipeline vdm_model_pipeline(const vdm_model *m, const vdm_lora *lora)
{
    return (vdm_pipeline){.transformer = m->transformer,
                          .vae = m->vae,
                          .schedule = m->schedule,
                          .lora = lora,
                          .cpu = m->cpu,
                          .prompt = m->prompt,
                          .negative = m->negative};
}

/* Resizes the pairs and encodes them: videos and images as latents. */
static int encode_pairs(vdm_fit_data *data, const vdm_model *m, const vdm_picture *x, const vdm_picture *y,
                        int pairs, const vdm_learn_options *o, const vdm_progress *progress, vdm_error *err)
{
    vdm_fit_data_options how = {.geometry = size_of(m, &o->geometry),
                                .phi = &o->phi,
                                .image_scale = o->image_scale,
                                .tiled = o->tiled,
                                .augment = o->augment,
                                .seed = o->fit.seed};
    const vdm_pipeline pipeline = vdm_model_pipeline(m, NULL);
    vdm_picture *from = resize_all(x, pairs, &how.geometry, err);
    vdm_picture *to = from ? resize_all(y, pairs, &how.geometry, err) : NULL;
    int status = to ? vdm_fit_data_make(data, &pipeline, &how, from, to, pairs, progress, err) : -1;
    free_pictures(from, pairs);
    free_pictures(to, pairs);
    return status;
}

/* Begins with a new adapter, seeded as `vdm fit` seeds it, and trains it. */
static int train(vdm_lora *lora, const vdm_model *m, const vdm_fit_data *data, const vdm_learn_options *o,
                 const vdm_progress *progress, vdm_error *err)
{
    const vdm_pipeline pipeline = vdm_model_pipeline(m, NULL);
    vdm_rng rng;
    vdm_fit_rng(&rng, o->fit.seed, VDM_FIT_ADAPTER, 0);
    if (vdm_lora_init(lora, &m->config->transformer, o->rank, o->alpha, &rng, err)) return -1;
    size_t count = o->fit.steps > 0 ? (size_t)o->fit.steps + 1 : 1;
    vdm_fit_row *own = o->rows ? NULL : vdm_alloc(count, sizeof *own, "the losses of the steps", err);
    int status = -1;
    if (o->rows || own)
        status = vdm_fit(&pipeline, lora, data, &o->fit, o->rows ? o->rows : own, NULL, progress, err);
    vdm_free(own);
    if (status) vdm_lora_free(lora);
    return status;
}

int vdm_learn(vdm_lora *lora, const vdm_model *m, const vdm_picture *x, const vdm_picture *y, int pairs,
              const vdm_learn_options *options, const vdm_progress *progress, vdm_error *err)
{
    const vdm_learn_options *o = options ? options : m->learn;
    vdm_fit_data data;
    *lora = (vdm_lora){0};
    if (!x || !y) return vdm_fail(err, "vdm_learn: x and y: expected arrays of pictures, found NULL");
    if (pairs < 1 || pairs > VDM_MAX_PAIRS)
        return vdm_fail(err, "vdm_learn: pairs: found %d, expected 1 to %d", pairs, VDM_MAX_PAIRS);
    for (int i = 0; i < pairs; i++)
        if (!x[i].rgb || !y[i].rgb)
            return vdm_fail(err, "vdm_learn: pair %d: expected two pictures, found one without pixels",
                            i + 1);
    if (encode_pairs(&data, m, x, y, pairs, o, progress, err)) return -1;
    int status = train(lora, m, &data, o, progress, err);
    vdm_fit_data_free(&data);
    return status;
}

/* v_neg + g (v - v_neg) is v if the prompts are equal: the negative prompt is not computed then. */
static double guidance_of(const vdm_model *m, double guidance)
{
    size_t n = (size_t)m->config->transformer.text_tokens * (size_t)m->config->transformer.text_dim;
    return memcmp(m->prompt, m->negative, n * sizeof(float)) == 0 ? 1 : guidance;
}

int vdm_answer(vdm_picture *answer, const vdm_model *m, const vdm_lora *lora, const vdm_picture *query,
               const vdm_sample_options *options, const vdm_progress *progress, vdm_error *err)
{
    vdm_sample_options o = options ? *options : *m->sample;
    const vdm_pipeline pipeline = vdm_model_pipeline(m, lora);
    const vdm_geometry *g = &o.geometry;
    vdm_picture sized = {0};
    float *image = NULL, *video = NULL; /* [3,H,W] in -1..1, [T,3,H,W] in 0..1 */
    int status = -1;
    *answer = (vdm_picture){0};
    if (!query || !query->rgb) return vdm_fail(err, "vdm_answer: query: expected a picture, found none");
    if (o.videos > 1) return vdm_fail(err, "vdm_answer: videos: found %d, expected 1: one picture", o.videos);
    o.geometry = size_of(m, &o.geometry);
    o.guidance = guidance_of(m, o.guidance);
    if (vdm_picture_resize(&sized, query, g->height, g->width, err)) return -1;
    size_t frame = 3 * (size_t)g->height * (size_t)g->width;
    image = vdm_alloc(frame, sizeof *image, "the query", err);
    if (!image) goto end;
    video = vdm_alloc((size_t)g->frames * frame, sizeof *video, "the video", err);
    if (!video) goto end;
    vdm_video_from_bytes(image, sized.rgb, 1, g->height, g->width);
    status = vdm_sample(&pipeline, &o, image, video, progress, err);
    if (status) goto end;
    vdm_bytes_from_video(sized.rgb, video + (size_t)(g->frames - 1) * frame, 1, g->height, g->width);
    *answer = sized; /* its pixels are the last frame's now */
    sized = (vdm_picture){0};
end:
    vdm_picture_free(&sized);
    vdm_free(image);
    vdm_free(video);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Opening */

/* What a vdm_model's pointers point to. */
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

/* 1, 0; -1 without memory */
static int is_there(const char *dir, const char *name, vdm_error *err)
{
    struct stat st;
    char *path = vdm_path(dir, name, err);
    if (!path) return -1;
    int there = stat(path, &st) == 0;
    vdm_free(path);
    return there;
}

static int check_folder(const char *dir, vdm_error *err)
{
    static const char *const folders[] = {"transformer", "vae", "scheduler"};
    for (int i = 0; i < 3; i++) {
        int there = is_there(dir, folders[i], err);
        if (there < 0) return -1;
        if (!there)
            return vdm_fail(
                err, "%s: expected a model folder with transformer/, vae/ and scheduler/, found no %s/", dir,
                folders[i]);
    }
    return 0;
}

void vdm_learn_defaults(vdm_learn_options *o)
{
    *o = (vdm_learn_options){.rank = 64, .alpha = 32, .augment = true};
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

/* The size that vdm.json names, in one section or alike in both; else 9 frames of the transformer's sample
 * size, cut to 480x720 unless positions are learned for it: the 1.5 models give their largest size there. */
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
    if (check_folder(dir, err)) return -1;
    if (vdm_model_config_read(m->config, dir, err)) return -1;
    const vdm_transformer_config *t = &m->config->transformer;
    if (t->in_channels != 2 * t->out_channels)
        return vdm_fail(
            err,
            "%s/transformer/config.json: in_channels: found %d, expected twice out_channels (%d), "
            "as in the image-to-video models",
            dir, t->in_channels, 2 * t->out_channels);
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
