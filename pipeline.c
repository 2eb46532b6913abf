/* The method: an open model learns a task from pairs of pictures, and answers a picture.
 *
 *   vdm_learn   x, y [H,W,3] -> video [T,3,H,W] -> latents z [F,C,h,w]              vdm_fit_data_make
 *               A, B <- AdamW on mean (v_theta,A,B(x_t, image, prompt, t) - v)^2    vdm_fit
 *   vdm_answer  x -> image latents; noise -> video by v_theta,A,B; y = its last frame    vdm_sample
 *
 * vdm_answer mirrors CogVideoXImageToVideoPipeline.__call__ of diffusers; model_open.c opens the model.
 * The trap: an adapter answers well only if it was learned with the prompt, size and image scale that are
 * used to answer. Both functions take them from the model. */
#include "vdm.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Sizes and pictures */

/* Options without a size, {0}, get the model's. A size in part is rejected. */
static int complete_size(vdm_geometry *g, const vdm_model *m, vdm_error *err)
{
    const vdm_geometry none = {0};
    if (memcmp(g, &none, sizeof none) == 0) *g = m->geometry;
    return vdm_geometry_check(g, &m->config->transformer, &m->config->vae, err);
}

static void free_pictures(vdm_picture *p, int n)
{
    for (int i = 0; p && i < n; i++) vdm_picture_free(&p[i]);
    vdm_free(p);
}

/* n pictures, resized to the geometry's size; or NULL and a message. */
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

/* ------------------------------------------------------------------------------------------------
 * Learning */

/* Resizes the pairs and encodes them: videos and images as latents. */
static int encode_pairs(vdm_fit_data *data, const vdm_model *m, const vdm_picture *x, const vdm_picture *y,
                        int pairs, const vdm_learn_options *o, const vdm_progress *progress, vdm_error *err)
{
    vdm_fit_data_options how = {.geometry = o->geometry,
                                .phi = &o->phi,
                                .image_scale = o->image_scale,
                                .tiled = o->tiled,
                                .augment = o->augment,
                                .seed = o->fit.seed};
    const vdm_pipeline pipeline = vdm_model_pipeline(m, NULL);
    if (complete_size(&how.geometry, m, err)) return -1;
    vdm_picture *from = resize_all(x, pairs, &how.geometry, err);
    vdm_picture *to = from ? resize_all(y, pairs, &how.geometry, err) : NULL;
    int status = to ? vdm_fit_data_make(data, &pipeline, &how, from, to, pairs, progress, err) : -1;
    free_pictures(from, pairs);
    free_pictures(to, pairs);
    return status;
}

/* Trains a new adapter, initialised with the same random numbers as in `vdm fit`. */
static int train(vdm_lora *lora, const vdm_model *m, const vdm_fit_data *data, const vdm_learn_options *o,
                 const vdm_progress *progress, vdm_error *err)
{
    const vdm_pipeline pipeline = vdm_model_pipeline(m, NULL);
    vdm_rng rng;
    vdm_fit_rng(&rng, o->fit.seed, VDM_FIT_ADAPTER, 0);
    if (vdm_lora_init(lora, &m->config->transformer, o->targets, o->rank, o->alpha, &rng, err)) return -1;
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
    for (int i = 0; i < pairs; i++) {
        char name[64];
        snprintf(name, sizeof name, "vdm_learn: pair %d", i + 1);
        if (vdm_picture_check(&x[i], name, err) || vdm_picture_check(&y[i], name, err)) return -1;
    }
    if (encode_pairs(&data, m, x, y, pairs, o, progress, err)) return -1;
    int status = train(lora, m, &data, o, progress, err);
    vdm_fit_data_free(&data);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Answering */

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
    if (!query) return vdm_fail(err, "vdm_answer: query: expected a picture, found NULL");
    if (vdm_picture_check(query, "vdm_answer: query", err)) return -1;
    if (o.videos > 1) return vdm_fail(err, "vdm_answer: videos: found %d, expected 1: one picture", o.videos);
    if (complete_size(&o.geometry, m, err)) return -1;
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
