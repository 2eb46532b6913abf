/* vdm: few-shot learning with video diffusion models, in plain C.
 *
 * A frozen CogVideoX image-to-video model learns an image task from a few pairs (x, y): every pair becomes a
 * short video that turns x into y, LoRA adapters are trained on those videos, and a new image is answered by
 * generating a video from it and keeping the last frame (arXiv 2506.07280).
 *
 *   pair -> interp -> video -> vae -> latents -> fit (vdm + lora) -> adapter
 *   query -> vae -> sampler (vdm + adapter) -> latents -> vae -> last frame
 *
 * In use; examples/few_shot.c is the whole program: cc few_shot.c $(pkg-config --cflags --libs vdm)
 *
 *   vdm_error err;                       one sentence, err.text, whenever a call fails
 *   vdm_model model;
 *   vdm_lora lora;
 *   vdm_picture x[2], y[2], query, answer;
 *
 *   // configuration, weights, prompt; model.geometry, .learn, .sample: how it is meant to be used
 *   if (vdm_model_open(&model, "models/tiny", 0, &err)) ...
 *   if (vdm_picture_read(&x[0], "x0.png", &err)) ...       x[1], y[0], y[1], query: the same
 *
 *   model.learn->fit.steps = 600;                          options may be changed
 *   if (vdm_learn(&lora, &model, x, y, 2, NULL, NULL, &err)) ...             pairs -> adapter
 *   if (vdm_answer(&answer, &model, &lora, &query, NULL, NULL, &err)) ...    query -> picture
 *
 *   if (vdm_picture_write(&answer, "answer.png", &err)) ...
 *   if (vdm_lora_write(&lora, "lora.safetensors", &err)) ...    for vdm predict --lora, diffusers, peft
 *
 *   vdm_picture_free(&answer);                             x, y, query: the same
 *   vdm_lora_free(&lora);
 *   vdm_model_close(&model);
 *
 * This header is the manual, in a reader's order: the whole method in three calls (pipeline.c); learning and
 * sampling by their parts (fit.c, sampler.c); forward and backward of the transformer (vdm.c); its parts.
 * Reading order of the sources, that of TOUR.md: interp.c, vae.c, fit.c, sampler.c, vdm.c, lora.c; pipeline.c
 * joins them, kernels/plain.c defines every kernel as loops. Other headers: vdm_files.h has errors, memory, JSON
 * and safetensors, vdm_task.h tasks, grids and scores.
 *
 * Size letters, the same in every file. Arrays are row-major, the last index runs fastest.
 *   B  videos in a batch               T  frames of a video            H, W  its height, width (pixels)
 *   F  latent frames, padding included F'  those without padding       h, w  latent height, width
 *   C  latent channels (16)            K  elements of an input patch   K'  of an output patch
 *   D  width of the transformer        A  attention heads              Dh  width of a head, D / A
 *   L  text tokens                     V  video tokens                 S  L + V, text first
 *   Dt width of a text embedding       E  width of the time embedding  R  rank of a LoRA adapter
 *   M  videos of an ensemble           N  images answered at once; videos in a training step
 *
 * Layouts at the borders of the library; height comes before width everywhere.
 *   picture  [H,W,3]   8 bit RGB             video   [T,3,H,W]  f32 in -1..1 (frames: 0..1)
 *   latents  [F,C,h,w] f32                   text    [L,Dt]     f32
 *
 * Conventions
 *   A function that can fail returns 0, or -1 with one sentence in *err that names the file, the field, what
 *   was found and what was expected; one that makes an object returns it, or NULL. err may be NULL in every
 *   function: then there is no sentence. Other pointers may be NULL only where that is stated.
 *   Whatever a function fills in, the _free (or _close) of its type releases; if the function failed there is
 *   nothing to release. Gradients are called d + name and are added to (+=), never overwritten.
 *   The library never prints, exits or aborts, and has no global state. The same inputs give the same bits on
 *   every instruction set, compiler and number of threads.
 *
 * "diffusers" is the Hugging Face library whose CogVideoX classes are mirrored, named at each layer. */
#ifndef VDM_H
#define VDM_H

#include "vdm_files.h"

#ifdef __cplusplus
extern "C" {
#endif

#define VDM_VERSION "0.2.0"

/* ------------------------------------------------------------------------------------------------
 * Opening a model (model_open.c) */

/* The parts of a model, declared further down */
typedef struct vdm_model_config vdm_model_config; /* what its JSON files hold */
typedef struct vdm_transformer vdm_transformer;
typedef struct vdm_transformer_config vdm_transformer_config;
typedef struct vdm_vae vdm_vae;
typedef struct vdm_vae_config vdm_vae_config;
typedef struct vdm_schedule vdm_schedule;
typedef struct vdm_cpu vdm_cpu;   /* instruction set, threads, precision */
typedef struct vdm_lora vdm_lora; /* an adapter */
/* What an adapter acts on: the first 4 of vdm_target, or all 6 */
typedef enum vdm_targets { VDM_ATTENTION = 4, VDM_ATTENTION_FF = 6 } vdm_targets;
typedef struct vdm_rng vdm_rng;
typedef struct vdm_trace vdm_trace; /* shows tensors to the caller */
typedef struct vdm_learn_options vdm_learn_options;
typedef struct vdm_sample_options vdm_sample_options;

/* Latent sizes of a video of T frames of H x W. vdm_geometry_init rejects sizes that the model does not support and names
 * the nearest legal values: T = 8k + 1 (so that T -> F' -> T), H and W multiples of 8 * patch, and exactly
 * the sample height and width if positions are learned (other frame counts get computed ones, as in
 * diffusers). */
typedef struct vdm_geometry {
    int frames, height, width; /* T, H, W */
    int latent_frames;         /* (T - 1) / 4 + 1 */
    int pad;                   /* copies of latent frame 0 put in front, so that patch_t divides F */
    int F, h, w;               /* F = latent_frames + pad */
    int video_tokens;          /* V */
} vdm_geometry;
int vdm_geometry_init(vdm_geometry *g, const vdm_model_config *c, int frames, int height, int width,
                      vdm_error *err);
/* Rejects a geometry whose fields do not belong together, or that the transformer (NULL: any) does not support.
 * vdm_fit_data_make, vdm_sample, vdm_learn and vdm_answer call it. */
int vdm_geometry_check(const vdm_geometry *g, const vdm_transformer_config *c, const vdm_vae_config *vae,
                       vdm_error *err);
/* The transformer's part of it: latents of F frames of h x w. name: in the sentence. Rotary positions beyond the sample
 * size, which vdm_geometry_init rejects as diffusers does, are computed. */
int vdm_latents_check(const vdm_transformer_config *c, const char *name, int64_t F, int64_t h, int64_t w,
                      vdm_error *err);
/* Rejects a video of one frame: that is the input as the VAE reconstructs it, without a frame for an answer. vdm_sample
 * and vdm_answer call it; learning needs two frames for the transition. */
int vdm_answer_check(const vdm_geometry *g, const vdm_vae_config *vae, vdm_error *err);

/* A model folder, opened. All of it belongs to vdm_model_close; every field may be read, the options and the
 * geometry may be changed, and so may prompt and negative [L,Dt] in place. */
typedef struct vdm_model {
    vdm_model_config *config;
    vdm_transformer *transformer;
    vdm_vae *vae;
    vdm_schedule *schedule;
    vdm_cpu *cpu;
    float *prompt;              /* [L,Dt]: DIR/prompt_embeds.safetensors, or zeros */
    float *negative;            /* [L,Dt]: zeros */
    bool has_prompt;            /* DIR has that file */
    vdm_geometry geometry;      /* DIR/vdm.json's, or 9 frames of the sample size, cut to 480x720.
                                 * Another size: vdm_geometry_init(&m.geometry, m.config, T, H, W, &err) */
    vdm_learn_options *learn;   /* the defaults, and over them DIR/vdm.json's */
    vdm_sample_options *sample; /* the same */
    void *parts;                /* private */
} vdm_model;
/* dir: a folder of an image-to-video model as diffusers publishes it, with transformer/, vae/ and
 * scheduler/ in it. threads 0: one per core. Weights are mapped, not copied. On failure there is nothing
 * to close. */
int vdm_model_open(vdm_model *m, const char *dir, int threads, vdm_error *err);
void vdm_model_close(vdm_model *m);

/* ------------------------------------------------------------------------------------------------
 * Learning from pairs, and answering (pipeline.c) */

typedef struct vdm_picture { /* 8 bit RGB, [H,W,3] */
    int height, width;
    uint8_t *rgb; /* vdm_free */
} vdm_picture;

/* What a caller sees of a long computation: its progress and its tensors. It reports after every step.
 * A return other than 0 asks it to stop: it saves what it has, and returns -1 with "interrupted" in the
 * sentence. Every function takes NULL for it. */
typedef struct vdm_report {
    const char *phase; /* "prompt", "encode", "train", "sample", "decode" */
    int step, of;      /* steps done, steps in all */
    double seconds;    /* since the phase began, in this process */
    double loss;       /* training: of this step; NaN elsewhere */
} vdm_report;
typedef struct vdm_progress {
    int (*report)(void *user, const vdm_report *r); /* may be NULL */
    void *user;
    vdm_trace *trace; /* NULL: tensors are shown to nobody, at no cost */
} vdm_progress;

/* How x becomes y within the video (interp.c). */
typedef enum vdm_phi_kind {
    VDM_PHI_LINEAR,
    VDM_PHI_QUADRATIC,
    VDM_PHI_SQRT,
    VDM_PHI_DISCRETE,
    VDM_PHI_BLACK,
    VDM_PHI_TILES,
    VDM_PHI_NOISY
} vdm_phi_kind;
typedef struct vdm_phi {
    vdm_phi_kind kind;
    int black;            /* black:b: frames of black between the two */
    int tiles_y, tiles_x; /* tiles:NxM */
    bool quadratic;       /* noisy, noisy:quadratic: the path under the noise */
    double amplitude;     /* noisy: 127.5 of 255 */
} vdm_phi;
/* "linear", "quadratic", "sqrt", "discrete", "black:3", "tiles:4x4", "noisy", "noisy:quadratic". */
int vdm_phi_parse(vdm_phi *phi, const char *text, vdm_error *err);

/* A video's latents are multiplied by scaling_factor. For the image's latents diffusers' pipeline and the
 * public trainers use different factors (in the 1.5 models they differ by 1/0.7^2 = 2.04):
 *   VDM_IMAGE_PIPELINE  as diffusers' pipeline: 1/factor if invert_scale_latents, else factor
 *   VDM_IMAGE_TRAINER   as the public trainers: factor
 * Training and sampling must use the same. */
typedef enum vdm_image_scale { VDM_IMAGE_PIPELINE, VDM_IMAGE_TRAINER } vdm_image_scale;

typedef enum vdm_lr_schedule {
    VDM_LR_CONSTANT,
    VDM_LR_CONSTANT_WITH_WARMUP,
    VDM_LR_LINEAR,
    VDM_LR_COSINE
} vdm_lr_schedule;
/* Options of the training loop; in comments the defaults of vdm_fit_defaults, the paper's. */
typedef struct vdm_fit_options {
    int steps, batch; /* 500, 2 */
    int accumulate;   /* 1: batches averaged in a step; N = batch * accumulate videos */
    double lr, beta1, beta2, eps, weight_decay; /* 1e-4, 0.9, 0.95 (below 1), 1e-8 (above 0), 1e-4 */
    double clip;                                /* 1 */
    vdm_lr_schedule schedule;
    int warmup;        /* 0 */
    double pure_noise; /* 0: share of the videos with the last t, 999; of the others t is uniform. With
                        * zero terminal SNR x_t is nothing but noise there, and the answer has to come
                        * only from the picture, as in the first step of sampling (arXiv 2409.11355
                        * learns only at this t). The fixed set has the same share */
    uint64_t seed;     /* 42 */
    size_t memory;     /* 2 GiB: of stored activations; the others are recomputed (vdm_tape_shape) */
    int watch_every;   /* 10: steps between losses on a fixed set; 0: never */
    int save_every;    /* 50: steps between saved states; 0: only when the run ends or is stopped */
    const char *state; /* the file of the state, or NULL */
    bool resume;       /* from that file */
    /* instead of the seed's random numbers, which are drawn all the same; each may be NULL */
    const int *t;       /* [steps,N]: 0..999 */
    const int *pair;    /* [steps,N] */
    const float *noise; /* [steps,N,F,C,h,w] */
} vdm_fit_options;
void vdm_fit_defaults(vdm_fit_options *o);

/* Row k is of step k = 1, 2, ...; row 0 has only `watch`, the loss before the first step. */
typedef struct vdm_fit_row {
    double loss, grad_norm, lr; /* mean over the step's videos; before clipping */
    double watch;               /* loss on a fixed set after the step; NaN if it was not computed */
} vdm_fit_row;

/* Everything that vdm_learn takes; in comments the defaults. */
struct vdm_learn_options {
    vdm_geometry geometry;       /* {0}: the model's; another: vdm_geometry_init */
    vdm_phi phi;                 /* discrete: how x becomes y within the video */
    vdm_image_scale image_scale; /* VDM_IMAGE_PIPELINE */
    bool tiled;                  /* false: the VAE works in tiles */
    bool augment;                /* true: noise on the first frame (vdm_fit_data_options) */
    vdm_targets targets;         /* VDM_ATTENTION */
    int rank;                    /* 64 */
    double alpha;                /* 32 */
    vdm_fit_options fit;         /* vdm_fit_defaults */
    vdm_fit_row *rows;           /* [fit.steps + 1], filled in by vdm_learn; NULL: not wanted */
};
/* The paper's: those that a model without a vdm.json is learned with. */
void vdm_learn_defaults(vdm_learn_options *o);

/* Learns a task: a new adapter from the pairs x[i] -> y[i]. Pictures of any size: each is resized to the
 * geometry's height and width (vdm_picture_resize), its aspect ratio changes. options NULL: m's; progress
 * may be NULL. The adapter has the bits of the one that `vdm fit --views 1` writes with the same options.
 * Free it with vdm_lora_free; on failure there is none. */
int vdm_learn(vdm_lora *lora, const vdm_model *m, const vdm_picture *x, const vdm_picture *y, int pairs,
              const vdm_learn_options *options, const vdm_progress *progress, vdm_error *err);

typedef enum vdm_sampler { VDM_DDIM, VDM_DPM } vdm_sampler;
/* Everything that sampling takes; in comments the defaults. */
struct vdm_sample_options {
    vdm_geometry geometry;       /* vdm_answer: {0} is the model's */
    int steps;                   /* 50 */
    vdm_sampler sampler;         /* VDM_DDIM; of a model, the one that its scheduler names */
    double guidance;             /* 6; at 1 or less the negative prompt is not computed */
    bool dynamic_guidance;       /* false: vdm_dynamic_guidance in every step */
    bool tiled;                  /* false: the VAE works in tiles */
    vdm_image_scale image_scale; /* VDM_IMAGE_PIPELINE */
    uint64_t seed;               /* 42 */
    int videos;                  /* N images answered in one pass, with the same bits as one by one; 0: one */
    int ensemble;                /* M: an answer is decoded from the mean latents of M videos, each from noise
                                  * of its own (test-time ensembling, as Marigold's: arXiv 2312.02145); 0: one.
                                  * All are sampled together, in M times the memory */
    /* instead of the seed's random numbers; each may be NULL */
    const float *noise;       /* [M,F,C,h,w] */
    const float *image_noise; /* [C,h,w]: of the posterior sample */
    const float *step_noise;  /* [steps,2,M,F,C,h,w] */
};
/* 50 steps of DDIM, guidance 6, ensemble 1, seed 42; the geometry is left {0}. */
void vdm_sample_defaults(vdm_sample_options *o);

/* Answers one picture: the last frame of the video sampled from it, of the geometry's size, to which the
 * query is resized. lora NULL: the model as it is; options NULL: m's; progress may be NULL. The answer has
 * the bits of `vdm predict` with the same options and one view. Free it with vdm_picture_free; on failure there is none. */
int vdm_answer(vdm_picture *answer, const vdm_model *m, const vdm_lora *lora, const vdm_picture *query,
               const vdm_sample_options *options, const vdm_progress *progress, vdm_error *err);

/* The options that vdm_model_open sets in m.learn and m.sample, without loading weights: the defaults, the sampler that the
 * scheduler's configuration names, and over them dir/vdm.json. Of the geometries only frames, height and
 * width are set, if the file gives them; else 0. */
int vdm_model_defaults(vdm_learn_options *learn, vdm_sample_options *sample, const vdm_model_config *c,
                       const char *dir, vdm_error *err);
/* dir/vdm.json alone: replaces the settings that the file has; none if there is no such file. Its keys for pictures of
 * grids, "views" among them, are the program's: vdm_learn and vdm_answer use one view. */
int vdm_model_settings_read(vdm_learn_options *learn, vdm_sample_options *sample, const char *dir,
                            vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Learning by its parts (fit.c)
 * pairs -> vdm_fit_data_make -> latents -> vdm_fit -> adapter */

/* What learning and sampling run with (diffusers: CogVideoXImageToVideoPipeline). A function reads only
 * the parts that it names. */
typedef struct vdm_pipeline {
    const vdm_transformer *transformer;
    const vdm_vae *vae;
    const vdm_schedule *schedule;
    const vdm_lora *lora; /* sampling: or NULL */
    const vdm_cpu *cpu;
    const float *prompt;   /* [L,Dt] */
    const float *negative; /* [L,Dt]: with guidance */
} vdm_pipeline;
/* m's parts, with an adapter or NULL: no copy, valid as long as both are. */
vdm_pipeline vdm_model_pipeline(const vdm_model *m, const vdm_lora *lora);

/* How an adapter was learned: its answers are right only if they are computed in the same way. vdm_fit fills it in,
 * vdm_sample rejects another factor on the image's latents. Each is 0 if it is not known. */
typedef struct vdm_lora_facts {
    int views, view; /* of a task of grids: the number of views; the view, if there is one (vdm fit --view) */
    int pairs;       /* learned from; a pair counts once, in however many views */
    int frames, height, width; /* of the videos */
    double image_latent_scale; /* the factor on the image's latents: vdm_image_latent_scale */
    uint64_t model, vae;       /* hashes: of weights and schedule; of the VAE, 0 if it is not known */
    uint64_t prompt; /* of the prompt's embedding; of all, one after the other, if there are several */
    char grid[96];   /* how the program draws grids; "": it does not */
} vdm_lora_facts;

/* What training needs of the pairs, computed once for the whole run */
typedef struct vdm_fit_data {
    int pairs, F, C, h, w;
    float *videos; /* [pairs,F,C,h,w]: posterior samples times scaling_factor, with the padding in front */
    float *images; /* [pairs,C,h,w]: frame 0 of the condition; its other frames are zero */
    /* A prompt for each pair, instead of the pipeline's; NULL: none. vdm_fit_data_free frees only `text_of`. */
    const float *texts;    /* [n_texts,L,Dt] */
    int n_texts, *text_of; /* [pairs]: the index of each pair's text */
    vdm_lora_facts facts;  /* for the adapter's: sizes and the image's factor, by vdm_fit_data_make */
} vdm_fit_data;
typedef struct vdm_fit_data_options {
    vdm_geometry geometry;
    const vdm_phi *phi;
    vdm_image_scale image_scale;
    bool tiled;   /* the VAE works in tiles */
    bool augment; /* image + sigma * noise before it is encoded; log sigma ~ N(-3, 0.5^2) for every pair */
    uint64_t seed;
    /* instead of the seed's random numbers (drawn all the same), in diffusers' layouts; each may be NULL */
    const float *video_noise;       /* [pairs,C,F',h,w]: of the posterior; F' without padding */
    const float *image_noise;       /* [pairs,C,h,w]: of the posterior */
    const float *image_pixel_noise; /* [pairs,3,H,W] */
    const float *image_sigma;       /* [pairs] */
} vdm_fit_data_options;
/* With p's vae and cpu. Pair i is x[i], y[i], pictures of the geometry's size. Reports "encode" after
 * every pair. */
int vdm_fit_data_make(vdm_fit_data *d, const vdm_pipeline *p, const vdm_fit_data_options *o,
                      const vdm_picture *x, const vdm_picture *y, int pairs, const vdm_progress *progress,
                      vdm_error *err);
void vdm_fit_data_free(vdm_fit_data *d);

/* Trains `lora` from what it holds, with p's transformer, schedule, cpu and prompt. rows [steps + 1],
 * filled as the run proceeds; *done: steps; done may be NULL. Every step: the pairs of a shuffled epoch, t
 * (uniform, but for pure_noise), noise;
 * x_t = sqrt(abar) z + sqrt(1-abar) noise;
 * loss = mean (v - (sqrt(abar) noise - sqrt(1-abar) z))^2; clip; AdamW.
 * Stopped or killed at any moment and resumed, a run ends with the same bits. A loss or gradient that is
 * not finite stops it: the sentence names step and pairs, and the state is that before the step.
 * A trace sees, behind "step.K." (K = 1, 2, ...; where batches are accumulated "step.K.batch.I."): what
 * the model shows, "target" [batch,F,C,h,w], and the gradients "grad.v", "grad.transformer_blocks.I" (of
 * the block's output, [B,S,D]); then "loss", "grad_norm", "lr" [1], "grad.NAME" before clipping, and after
 * the update "adapter.NAME", "adamw.m.NAME", "adamw.v.NAME", NAME from vdm_lora_name. Behind "watch.K." it
 * sees the passes on the fixed set after step K (0: before training). */
int vdm_fit(const vdm_pipeline *p, vdm_lora *lora, const vdm_fit_data *data, const vdm_fit_options *o,
            vdm_fit_row *rows, int *done, const vdm_progress *progress, vdm_error *err);
/* Bytes that vdm_fit takes beyond the weights, the data and the adapter. */
size_t vdm_fit_bytes(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o,
                     vdm_targets targets, int rank);
/* Blocks that store all activations in o->memory; *attention: further ones that store attention outputs. */
int vdm_fit_stored_blocks(const vdm_transformer_config *c, const vdm_geometry *g, const vdm_fit_options *o,
                          vdm_targets targets, int rank, int *attention);

/* Every use of random numbers has its own generator, a function of the seed, the use and a counter: no two
 * repeat each other's numbers, and a resumed run needs no state of a generator. Seeds with
 * mix(seed + 0x9E3779B97F4A7C15 (2^32 use + counter)), mix being the end of splitmix64. */
typedef enum vdm_fit_use {
    VDM_FIT_ADAPTER, /* 0: a new adapter, vdm_lora_init */
    VDM_FIT_LATENTS, /* pair: phi's, the video's posterior [C,F',h,w], sigma, pixels, image's [C,h,w] */
    VDM_FIT_EPOCH,   /* epoch: the order of the pairs, for i = n-1, ..., 1 swap i with randint(i + 1) */
    VDM_FIT_STEP,    /* step, from 0: for every batch t of each video (where pure_noise > 0 a rand first,
                      * and no t if that is below it), then the noise of all */
    VDM_FIT_WATCH    /* element of the fixed set: noise */
} vdm_fit_use;
void vdm_fit_rng(vdm_rng *r, uint64_t seed, vdm_fit_use use, int64_t counter);

/* ------------------------------------------------------------------------------------------------
 * Sampling by its parts (sampler.c) */

/* CogVideoXImageToVideoPipeline.__call__, with all of p. images [N,3,H,W] in -1..1; videos [N,T,3,H,W] in
 * 0..1.
 * A trace sees "image_latents" and, for step K = 1..steps, "velocity.K" (guided) and "latents.K" (after
 * it), all [N*M*F,C,h,w]; besides what the models show, behind "encode.", "step.K." and "decode.". */
int vdm_sample(const vdm_pipeline *p, const vdm_sample_options *o, const float *images, float *videos,
               const vdm_progress *progress, vdm_error *err);
/* Bytes that vdm_sample takes beyond the weights, at its peak. */
size_t vdm_sample_bytes(const vdm_model_config *c, const vdm_sample_options *o, int rank);
/* What the latents of the image are multiplied by. */
double vdm_image_latent_scale(const vdm_vae_config *c, vdm_image_scale convention);

/* ------------------------------------------------------------------------------------------------
 * Forward and backward (vdm.c): examples/one_step.c is a training step that uses them */

/* Memory of one forward (and backward) pass at a fixed size. */
typedef struct vdm_tape vdm_tape;
typedef struct vdm_tape_shape {
    int B, F, h, w;
    int rank;             /* of the adapter that will be used; 0: none */
    bool backward;        /* stores what the backward pass needs: every block's input */
    int stored;           /* blocks, the last ones, that store all their activations */
    int stored_attention; /* blocks before these that store attention outputs; the rest is recomputed */
    bool feed_forward;    /* the adapter that is trained acts on the feed-forward, too (VDM_ATTENTION_FF) */
} vdm_tape_shape;
size_t vdm_tape_bytes(const vdm_transformer_config *c, const vdm_tape_shape *s);
vdm_tape *vdm_tape_new(const vdm_transformer *m, const vdm_tape_shape *s, vdm_error *err);
void vdm_tape_free(vdm_tape *tape);

/* v = model(x, text, t): the velocity [B,F,out_channels,h,w]. lora may be NULL. */
typedef struct vdm_transformer_input {
    const float *x;    /* [B,F,in_channels,h,w]: noisy latents, then (image-to-video) image latents */
    const float *text; /* [B,L,Dt] */
    const double *t;   /* [B]: 0..999 */
    vdm_trace *trace;  /* or NULL */
} vdm_transformer_input;
void vdm_transformer_forward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu,
                             vdm_tape *tape, const vdm_transformer_input *in, float *v);
/* dL/dv [B,F,out_channels,h,w] -> grad += dL/dparams, laid out like lora->params. Follows a forward
 * pass on the same tape. Stored and recomputed activations give the same bits. trace may be NULL. */
void vdm_transformer_backward(const vdm_transformer *m, const vdm_lora *lora, const vdm_cpu *cpu,
                              vdm_tape *tape, const float *dv, float *grad, vdm_trace *trace);

/* ------------------------------------------------------------------------------------------------
 * The parts: configurations and weights of the transformer (files/config.c, files/model.c)
 * A diffusers folder, read as published */

typedef struct vdm_matrix { /* [rows, cols], f32, f16 or bf16, any alignment */
    const void *data;
    vdm_dtype dtype;
    int64_t rows, cols;
    int64_t stride; /* elements from a row to the next; 0: cols */
} vdm_matrix;
typedef struct vdm_linear { /* y = x weight^T + bias */
    vdm_matrix weight;      /* [out, in] */
    const float *bias;      /* [out] */
} vdm_linear;
typedef struct vdm_norm { /* layer or group norm with weight and bias */
    const float *gamma, *beta;
} vdm_norm;

/* transformer/config.json: the switches that distinguish the CogVideoX variants */
struct vdm_transformer_config {
    int layers, heads, head_dim;   /* D = heads * head_dim; head_dim is a multiple of 16 */
    int in_channels, out_channels; /* 32 and 16 in image-to-video: noisy latents, then image latents */
    int patch, patch_t;            /* patch_t 0: the 1.0 models (published as null) */
    int text_tokens, text_dim;     /* L, Dt */
    int time_dim;                  /* E */
    int ofs_dim;                   /* 0: no ofs embedding */
    bool rotary, learned_positions, patch_bias;
    bool flip_sin_to_cos; /* cos before sin: always true in published models */
    double freq_shift, norm_eps;
    int sample_frames, sample_height, sample_width; /* latent h, w; frames in pixels */
    double spatial_scale, temporal_scale;
    int temporal_compression;
};

typedef struct vdm_block {      /* CogVideoXBlock */
    struct vdm_modulated_norm { /* CogVideoXLayerNormZero */
        vdm_linear linear;      /* [6D, E]: shift, scale, gate (video), then the same for text */
        vdm_norm norm;          /* [D] */
    } norm[2];                  /* norm1, norm2 */
    vdm_linear q, k, v, out;    /* [D, D] */
    vdm_norm norm_q, norm_k;    /* [Dh] */
    vdm_linear ff_up, ff_down;  /* [4D, D], [D, 4D] */
} vdm_block;

struct vdm_transformer { /* CogVideoXTransformer3DModel */
    vdm_transformer_config config;
    vdm_linear patch_proj, text_proj;
    const float *positions; /* [L + V of the sample size, D] if positions are learned */
    vdm_linear time1, time2, ofs1, ofs2;
    vdm_block *blocks; /* [layers] */
    vdm_norm norm_final, norm_out;
    vdm_linear norm_out_linear, proj_out;
    vdm_safetensors file;
    float *small;              /* biases and norms, widened to f32 */
    struct vdm_stream *stream; /* reads blocks ahead: vdm_transformer_stream; or NULL */
};
/* dir is the folder of the part itself ("model/transformer"). Missing, extra and misshapen tensors
 * are listed by name in the sentence. Weights stay mapped; biases and norms are widened. */
int vdm_transformer_load(vdm_transformer *m, const char *dir, vdm_error *err);
void vdm_transformer_free(vdm_transformer *m);
/* Bytes of all weights, and of the large matrices of one block */
size_t vdm_transformer_bytes(const vdm_transformer *m, size_t *block);
/* Limits the memory of the weights to about `bytes`, but at least to two blocks: a block is read while the one before it
 * is used, and released after its use. Without this call, or if `bytes` is enough for all weights, all stay mapped. */
int vdm_transformer_stream(vdm_transformer *m, size_t bytes, vdm_error *err);

/* prompt_embeds.safetensors (or any file with a tensor of that name): *text [L,Dt], to be freed with vdm_free. */
int vdm_prompt_read(float **text, const char *path, const vdm_transformer_config *c, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * The VAE (vae.c) */

/* vae/config.json */
enum { VDM_MAX_VAE_BLOCKS = 8 };
struct vdm_vae_config {
    int channels, latent_channels; /* 3, 16 */
    int blocks, block_channels[VDM_MAX_VAE_BLOCKS];
    int layers_per_block, groups;
    int temporal_compression;        /* 4: the first log2(4) blocks halve time */
    int sample_height, sample_width; /* tiles are half of this */
    double norm_eps, scaling_factor;
    bool invert_scale_latents, quant_conv, post_quant_conv;
};

typedef struct vdm_conv {
    vdm_matrix weight;  /* [kt * k * k * in, out]: taps in time, row, column order, then channel */
    const float *bias;  /* [out] */
    int in, out, kt, k; /* kernel kt x k x k */
} vdm_conv;
typedef struct vdm_vae_norm { /* encoder: GroupNorm. decoder: CogVideoXSpatialNorm3D */
    vdm_norm norm;
    vdm_conv y, b; /* 1x1x1 over the latent; y.in = 0 in the encoder */
} vdm_vae_norm;
typedef struct vdm_resnet { /* CogVideoXResnetBlock3D */
    vdm_vae_norm norm1, norm2;
    vdm_conv conv1, conv2;
    vdm_conv shortcut; /* in = 0: none */
} vdm_resnet;
typedef struct vdm_vae_half { /* encoder or decoder */
    vdm_conv conv_in, conv_out;
    vdm_resnet mid[2];
    struct vdm_vae_level {
        int resnets; /* layers_per_block, one more in the decoder */
        vdm_resnet *resnet;
        vdm_conv resample; /* in = 0: none */
        bool compress_time;
    } level[VDM_MAX_VAE_BLOCKS];
    vdm_vae_norm norm_out;
} vdm_vae_half;
struct vdm_vae { /* AutoencoderKLCogVideoX */
    vdm_vae_config config;
    vdm_vae_half encoder, decoder;
    vdm_conv quant, post_quant; /* in = 0: none */
    void *memory;               /* private: repacked weights and the resnet arrays */
};
/* dir: the VAE's folder, "model/vae". Convolutions are repacked into memory of their own, in the file's dtype. */
int vdm_vae_load(vdm_vae *m, const char *dir, vdm_error *err);
void vdm_vae_free(vdm_vae *m);

/* video [T,3,H,W] in -1..1 -> moments [F',2C,h,w]: means, then log variances; F' = latent frames
 * without padding. tiled: as diffusers' enable_tiling(): different results, less memory. */
typedef struct vdm_vae_size { /* to encode: frames and pixels; to decode: latent frames, height, width */
    int T, H, W;
    bool tiled;
} vdm_vae_size;
int vdm_vae_encode(const vdm_vae *m, const vdm_cpu *cpu, const float *video, const vdm_vae_size *size,
                   float *moments, const vdm_progress *progress, vdm_error *err);
/* latents [F',C,h,w] (already divided by the scaling factor) -> video [T,3,H,W]. F' odd: T = 4(F'-1)+1;
 * even: 4F'. */
int vdm_vae_decode(const vdm_vae *m, const vdm_cpu *cpu, const float *latents, const vdm_vae_size *size,
                   float *video, const vdm_progress *progress, vdm_error *err);
/* T -> F' and back, and the bytes that encoding and decoding take beyond the weights, at their peak. */
int vdm_vae_latent_frames(const vdm_vae_config *c, int T);
int vdm_vae_video_frames(const vdm_vae_config *c, int latent_frames);
size_t vdm_vae_encode_bytes(const vdm_vae_config *c, int T, int H, int W, bool tiled);
size_t vdm_vae_decode_bytes(const vdm_vae_config *c, int latent_frames, int h, int w, bool tiled);
/* DiagonalGaussianDistribution: z = mean + exp(clamp(logvar, -30, 20) / 2) noise.
 * moments [F',2C,h,w], noise and z [F',C,h,w], frames = F'; noise NULL: the mode. */
void vdm_vae_sample(float *z, const float *moments, const float *noise, int frames, int C, int h, int w);

/* ------------------------------------------------------------------------------------------------
 * LoRA adapters (lora.c; in memory and in files: files/adapter.c)
 * y += scale (x A^T) B^T for linear layers of every block: attention's four, or the feed-forward's two as well */

typedef enum vdm_target { VDM_Q, VDM_K, VDM_V, VDM_OUT, VDM_FF_UP, VDM_FF_DOWN } vdm_target;
/* "attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2" */
const char *vdm_target_name(vdm_target t);
struct vdm_lora {
    int layers, width, rank; /* width: D */
    vdm_targets targets;
    float scale; /* alpha / rank */
    double alpha;
    float *params; /* [layers][targets][ A [R,in], B [out,R] ]: one flat array, vdm_free */
    vdm_lora_facts facts;
    int without_alpha; /* after vdm_lora_read: modules for which the file has no alpha; their scale is 1 */
};
/* All zero: neither A nor B is drawn. */
int vdm_lora_new(vdm_lora *a, int layers, int width, vdm_targets targets, int rank, double alpha,
                 vdm_error *err);
void vdm_lora_free(vdm_lora *a);
int64_t vdm_lora_count(const vdm_lora *a); /* floats in params: layers * R * (in + out of all targets) */
/* The widths of a target: D, but 4D between the feed-forward's layers. */
int64_t vdm_lora_in(const vdm_lora *a, vdm_target t);
int64_t vdm_lora_out(const vdm_lora *a, vdm_target t);
/* A, B of one module in `params`: a->params, or a gradient of the same layout. */
float *vdm_lora_a(const vdm_lora *a, float *params, int block, vdm_target t);
float *vdm_lora_b(const vdm_lora *a, float *params, int block, vdm_target t);
/* "transformer_blocks.{i}.attn1.to_q.lora_A.weight", or lora_B */
enum { VDM_LORA_NAME = 96 };
void vdm_lora_name(char name[VDM_LORA_NAME], int block, vdm_target t, bool b);

/* Matrix i of an adapter, 0 <= i < vdm_lora_matrices: A, then B, of every target of every block. */
typedef struct vdm_lora_matrix {
    int block;
    vdm_target target;
    bool b;           /* B [out,R], not A [R,in] */
    int64_t shape[2]; /* rows, columns */
    float *data;      /* in `params`, as in vdm_lora_a */
    char name[VDM_LORA_NAME];
} vdm_lora_matrix;
int vdm_lora_matrices(const vdm_lora *a);
vdm_lora_matrix vdm_lora_matrix_at(const vdm_lora *a, float *params, int i);

/* A ~ U(-1/sqrt(in), 1/sqrt(in)), B = 0 (peft's init_lora_weights=True). */
int vdm_lora_init(vdm_lora *a, const vdm_transformer_config *c, vdm_targets targets, int rank, double alpha,
                  vdm_rng *rng, vdm_error *err);

/* For training that continues from an adapter of a file. Keeps s B A at another alpha, with a rank and targets that are
 * the same or more; new rows of A and columns of B are zeros. */
int vdm_lora_resize(vdm_lora *a, vdm_targets targets, int rank, double alpha, vdm_error *err);
/* If a row of A and its column of B are both zeros (modules that a file leaves out, smaller ranks),
 * neither would ever learn: draws these rows of A as vdm_lora_init does. Returns their number. */
int64_t vdm_lora_redraw(vdm_lora *a, vdm_rng *rng);

/* Files of diffusers, peft, ComfyUI and kohya's scripts (files/adapter.c has their names); rank and alpha
 * of each module, from the metadata (diffusers', finetrainers' lora_config, ss_network_alpha), peft's adapter_config.json
 * or .alpha tensors; without any alpha = rank, as diffusers takes it (without_alpha). *applied of *modules were found (each
 * may be NULL); none at all is an error, as are names that match nothing. Targets that the file leaves out act as zero. */
int vdm_lora_read(vdm_lora *a, const char *path, const vdm_transformer_config *c, int *applied, int *modules,
                  vdm_error *err);
int vdm_lora_write(const vdm_lora *a, const char *path, vdm_error *err);
/* Reads these facts only, from the file's header. */
int vdm_lora_facts_read(vdm_lora_facts *facts, const char *path, vdm_error *err);
/* Several adapters at once are one whose rank is the sum: B is scaled by weight * alpha / rank. They must have been
 * learned with one factor on the image's latents; the other facts are those of the first that has any. */
int vdm_lora_join(vdm_lora *a, const vdm_lora *parts, const double *weights, int n, vdm_error *err);

/* torch.optim.AdamW on one flat array. */
typedef struct vdm_adamw {
    double lr, beta1, beta2, eps, weight_decay; /* 1e-4, 0.9, 0.95, 1e-8, 1e-4 */
    int64_t n;
    float *m, *v; /* [n] */
    int step;     /* updates done */
} vdm_adamw;
int vdm_adamw_init(vdm_adamw *o, int64_t n, vdm_error *err); /* fills in the defaults */
void vdm_adamw_free(vdm_adamw *o);
/* One update with the learning rate lr (o->lr times the schedule's factor). */
void vdm_adamw_update(vdm_adamw *o, const vdm_cpu *cpu, float *params, const float *grad, double lr);
/* Scales grad so that its norm is at most max (torch.nn.utils.clip_grad_norm_); returns the norm before. */
double vdm_clip_grad(float *grad, int64_t n, double max);
/* The factor on the learning rate (diffusers: get_scheduler); step: the number of updates before this one. */
double vdm_lr_factor(vdm_lr_schedule s, int step, int warmup, int total);

/* ------------------------------------------------------------------------------------------------
 * The schedule of noise, and the steps of samplers (sampler.c) */

/* scheduler/scheduler_config.json */
typedef struct vdm_scheduler_config {
    int train_timesteps;         /* 1000 */
    double beta_start, beta_end; /* scaled linear */
    double snr_shift_scale;
    bool rescale_zero_snr, set_alpha_to_one;
    bool trailing; /* timestep_spacing: the only one supported */
    bool dpm;      /* class CogVideoXDPMScheduler */
} vdm_scheduler_config;
/* dir: "model/scheduler" */
int vdm_scheduler_read(vdm_scheduler_config *c, const char *dir, vdm_error *err);

/* Cumulative alphas [train_timesteps] in double: scaled linear betas, SNR shift, zero terminal SNR. */
struct vdm_schedule {
    vdm_scheduler_config config;
    double alphas[1000]; /* abar_t; diffusers: alphas_cumprod */
};
int vdm_schedule_init(vdm_schedule *s, const vdm_scheduler_config *c, vdm_error *err);
double vdm_schedule_alpha(const vdm_schedule *s, int t); /* 1 for t < 0 */
/* Trailing timesteps, descending, [steps]. */
void vdm_schedule_timesteps(const vdm_schedule *s, int steps, int *t);

/* CogVideoXDDIMScheduler.step: one step from t to t - 1000/steps. x [n] is updated from the velocity v [n]. */
void vdm_ddim_step(const vdm_schedule *s, int steps, int t, float *x, const float *v, int64_t n);
/* CogVideoXDPMScheduler.step, SDE-DPM++ 2M: old [n] stores the last x0; t_back is the timestep before t, or -1 at
 * the first step; noise [2,n]: a first-order step uses the first; a second-order step uses the second (diffusers draws both
 * there and drops the first). */
typedef struct vdm_step {
    int steps, t, t_back; /* steps in all; from timestep t */
} vdm_step;
void vdm_dpm_step(const vdm_schedule *s, const vdm_step *step, float *x, const float *v, float *old,
                  const float *noise, int64_t n);
/* use_dynamic_cfg: 1 + guidance (1 - cos(pi ((steps - t) / steps)^5)) / 2. The published formula mixes the timestep with the
 * number of steps; reproduced as published. */
double vdm_dynamic_guidance(double guidance, int steps, int t);

/* ------------------------------------------------------------------------------------------------
 * A model's configurations */

/* Reads only the configurations of the model's folder dir (cheap): to reject a wrong request before weights are touched. */
struct vdm_model_config {
    vdm_transformer_config transformer;
    vdm_vae_config vae;
    vdm_scheduler_config scheduler;
};
int vdm_model_config_read(vdm_model_config *c, const char *dir, vdm_error *err);
/* Rejects a model that does not take the image's latents next to the noise: learning and answering need one that does. */
int vdm_model_config_image_to_video(const vdm_model_config *c, const char *dir, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Transitions (interp.c) */

/* Whether a video of T frames of HxW can become such a transition: each frame of black, each tile has its place. */
int vdm_phi_check(const vdm_phi *phi, int T, int H, int W, vdm_error *err);
/* frames [T,H,W,3]: frame 0 is x, frame T-1 is y. x and y are of the same size. rng: of tiles and noisy. */
int vdm_interp(const vdm_phi *phi, const vdm_picture *x, const vdm_picture *y, int T, vdm_rng *rng,
               uint8_t *frames, vdm_error *err);
/* [T,H,W,3] 0..255 <-> [T,3,H,W] f32: to -1..1 as x/255*2-1; from 0..1, rounded half to even. */
void vdm_video_from_bytes(float *video, const uint8_t *frames, int T, int H, int W);
void vdm_bytes_from_video(uint8_t *frames, const float *video, int T, int H, int W);
/* Rejects a video [T,3,H,W] with NaN or infinite values, which would be shown as black or white; vdm_sample calls it. */
int vdm_video_check(const float *video, int T, int H, int W, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Pictures and videos (io.c) */

/* PNG of every kind; PBM, PGM and PPM, ASCII and binary (P1 to P6), 8 and 16 bit, comments. path: a file,
 * a pipe, or "-", standard input. Samples of 16 bits become 8: of PNG by their upper byte, as Pillow takes
 * them, of PNM rounded. */
int vdm_picture_read(vdm_picture *p, const char *path, vdm_error *err);
/* The same; *notes says what was lost (VDM_NOTE_ALPHA, ...: vdm_files.h), for the caller to print; notes may be NULL. */
int vdm_picture_read_noted(vdm_picture *p, const char *path, unsigned *notes, vdm_error *err);
/* The same from the bytes of a file; notes may be NULL. */
int vdm_picture_decode(vdm_picture *p, const uint8_t *data, size_t size, const char *path, unsigned *notes,
                       vdm_error *err);
/* Reads height and width from the header of a picture. */
int vdm_picture_size(const char *path, int *height, int *width, vdm_error *err);
void vdm_picture_free(vdm_picture *p); /* its pixels */
/* Rejects a picture without pixels, {0}, or with sides of no legal size; name: in the sentence. Functions that fail with a
 * sentence call it with the pictures that they read. */
int vdm_picture_check(const vdm_picture *p, const char *name, vdm_error *err);
/* Reject a file name that vdm_picture_write or vdm_y4m_write would reject: to be called before a long computation. */
int vdm_picture_name_check(const char *path, vdm_error *err);
int vdm_video_name_check(const char *path, vdm_error *err);
/* By the ending of the name: .png or .ppm. */
int vdm_picture_write(const vdm_picture *p, const char *path, vdm_error *err);
int vdm_png_write(const vdm_picture *p, FILE *to, vdm_error *err); /* the stream keeps its own errors */
void vdm_ppm_write(const vdm_picture *p, FILE *to);                /* likewise: ferror(to) */
/* The Lanczos resize of Pillow 13, to the bit; the aspect may change. A picture of that size is copied. */
int vdm_picture_resize(vdm_picture *to, const vdm_picture *from, int height, int width, vdm_error *err);
/* YUV4MPEG2, a name that ends in .y4m: 4:4:4, BT.601, 8 frames a second. frames [T,H,W,3]. */
int vdm_y4m_write(const char *path, const uint8_t *frames, int T, int H, int W, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Random numbers (random.c) */

/* MT19937 and the normal fill of PyTorch's CPU generator: the same seeds give the same noise
 * (torch.randn of 16 numbers or more, to the last places of its own logarithm and cosine). */
struct vdm_rng {
    uint32_t state[624];
    int next;
    double spare; /* second normal of the scalar path, as PyTorch keeps it */
    bool has_spare;
};
void vdm_rng_seed(vdm_rng *r, uint64_t seed);
uint32_t vdm_rng_u32(vdm_rng *r);
uint64_t vdm_rng_u64(vdm_rng *r);                /* two draws, the first one high */
void vdm_randn(vdm_rng *r, float *x, int64_t n); /* torch.randn */
void vdm_rand(vdm_rng *r, float *x, int64_t n);  /* torch.rand: 0 <= x < 1 */
int64_t vdm_randint(vdm_rng *r, int64_t below);  /* torch.randint(below, (1,)): 0..below-1 */

/* ------------------------------------------------------------------------------------------------
 * Text (text/tokenizer.c, text/t5.c)
 * A prompt becomes the embedding that CogVideoX's pipelines give the transformer */

/* dir/spiece.model, a SentencePiece model of type unigram, or else dir/tokenizer.json of type Unigram;
 * with special tokens </s> and <pad>. tokenizer_config.json, and next to spiece.model added_tokens.json,
 * must agree with that: other tokens, or padding on the left, are rejected. */
typedef struct vdm_tokenizer vdm_tokenizer;
vdm_tokenizer *vdm_tokenizer_load(const char *dir, vdm_error *err);
void vdm_tokenizer_free(vdm_tokenizer *t);
/* ids [count]: the first count - 1 tokens of the prompt (UTF-8, "" too), </s>, and <pad> up to the end.
 * Special tokens that the prompt spells are taken as such. */
int vdm_tokenize(const vdm_tokenizer *t, const char *prompt, int32_t *ids, int count, vdm_error *err);
/* The prompt's tokens with </s>: where they are more than `count`, vdm_tokenize cuts it. -1: an error. */
int vdm_token_count(const vdm_tokenizer *t, const char *prompt, vdm_error *err);

typedef struct vdm_text_config {                        /* text_encoder/config.json */
    int layers, width, heads, head_dim, ff, vocabulary; /* width: Dt */
    int buckets, max_distance;                          /* of relative positions */
    double norm_eps;
} vdm_text_config;
typedef struct vdm_text_block { /* T5Block; no linear layer has a bias */
    const float *norm1, *norm2; /* [Dt] */
    vdm_linear q, k, v, o;      /* [heads * head_dim, Dt], o the reverse */
    vdm_linear wi_0, wi_1, wo;  /* [ff, Dt], [ff, Dt], [Dt, ff] */
} vdm_text_block;
typedef struct vdm_text_encoder { /* T5EncoderModel (v1.1: gated GELU) */
    vdm_text_config config;
    vdm_matrix words;           /* [vocabulary, Dt] */
    const float *position_bias; /* [buckets, heads] */
    vdm_text_block *blocks;     /* [layers] */
    const float *norm_final;    /* [Dt] */
    vdm_safetensors file;
    float *small; /* private: norms and position_bias, widened */
} vdm_text_encoder;
/* dir: "model/text_encoder". Weights stay mapped (9.5 GB where published). */
int vdm_text_encoder_load(vdm_text_encoder *m, const char *dir, vdm_error *err);
void vdm_text_encoder_free(vdm_text_encoder *m);
/* ids [L] -> text [L,Dt]. All of ids take part, padding too. */
int vdm_text_encode(const vdm_text_encoder *m, const vdm_cpu *cpu, const int32_t *ids, int L, float *text,
                    const vdm_progress *progress, vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * The processor (kernels/) */

/* What products are computed in. All else is f32; the bits are the same on every machine (kernels.h, rules
 * 1 and 5 to 7). AMX is bf16 summed in the order of Intel's AMX tiles: several times as fast where the
 * processor has them (avx512amx), slower than f32 where it hasn't. */
typedef enum vdm_precision {
    VDM_PRECISION_F32 = VDM_F32,
    VDM_PRECISION_BF16 = VDM_BF16,
    VDM_PRECISION_AMX
} vdm_precision;

/* Which kernels to use, with how many threads, and the memory that they pack operands into.
 * One vdm_cpu serves one computation at a time. */
struct vdm_kernels;
struct vdm_cpu {
    const struct vdm_kernels *kernels; /* the instruction set's table: kernels.h */
    int threads;                       /* 1 if the system has no threads */
    struct vdm_team *team;             /* the threads (files/parallel.h) */
    float *scratch;                    /* kernels->scratch_floats(threads) floats */
    vdm_precision precision;           /* of products */
};

/* threads = 0: one per core. The best instruction set is chosen, or the one that the environment
 * variable VDM_ISA names: plain, scalar, avx2, avx512, avx512bf16, avx512amx, neon. plain is the definition
 * itself, kernels/plain.c: loops for a debugger, on one thread. All sets give the same bits. The precision is
 * f32; set cpu->precision afterwards for faster arithmetic. */
int vdm_cpu_init(vdm_cpu *cpu, int threads, vdm_error *err);
void vdm_cpu_free(vdm_cpu *cpu);
const char *vdm_cpu_name(const vdm_cpu *cpu); /* "avx512" */
bool vdm_has_threads(void);                   /* whether this build has threads */

/* ------------------------------------------------------------------------------------------------
 * Watching tensors (kernels/trace.c) */

/* Shows every tensor of a computation as soon as it is complete (kernels/trace.c), under its name in
 * diffusers, or one of those below: to look at a model from inside, to check a port. The results have the
 * same bits with a trace and without.
 * A name is that of the module whose output the tensor is ("transformer_blocks.3.attn1.to_q"), behind a
 * prefix where a model runs several times: "step.K." for sampling and learning, K = 1, 2, ...; for the VAE
 * "chunk.I." where a video goes through it in chunks. Where a module gives video and text separately, they
 * are one tensor [B,S,D] here, text first; queries and keys are [B,S,A,Dh]; inside the VAE tensors are
 * channels-last [T,H,W,C]. `vdm golden --names` lists the names that have no PyTorch counterpart. */
enum { VDM_TRACE_NAME = 192 };
struct vdm_trace {
    bool (*wants)(void *user, const char *name); /* NULL: every tensor */
    void (*see)(void *user, const char *name, const float *data, int rank, const int64_t *shape);
    void *user;
    bool failed; /* no memory for a tensor: it was left out */
    /* private */
    char prefix[VDM_TRACE_NAME], name[VDM_TRACE_NAME];
    struct vdm_trace *root; /* of a part's trace: the caller's */
    float *space;           /* for tensors that are gathered, or that no layer stores */
    size_t capacity;
};
void vdm_trace_free(vdm_trace *trace); /* its memory, not itself */

#ifdef __cplusplus
}
#endif

#endif
