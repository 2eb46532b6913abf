/* The model that a command works with. */
#ifndef VDM_MODEL_SESSION_H
#define VDM_MODEL_SESSION_H

#include "tools/options.h"

/* A model folder opened for a command: configuration and size first, then weights. */
typedef struct session {
    const options *options;
    vdm_model_config config;
    vdm_geometry geometry;
    vdm_cpu cpu;
    vdm_transformer transformer;
    vdm_vae vae;
    uint64_t vae_hash; /* 0: not computed yet */
    vdm_schedule schedule;
    float *prompt, *negative; /* [L,Dt] */
    bool same_prompts;        /* guidance has no effect and is left out */
    bool no_prompt;           /* neither an option nor the model gives an embedding */
    const char *texts[2];     /* texts whose embeddings become prompt and negative, or NULL */
    vdm_lora lora;            /* all of --lora as one; rank 0: none */
    char *parts[MAX_LORAS];   /* of these: "FILE: rank 4, alpha 1, weight 0.5" */
} session;
/* Reads configurations and prompts, and rejects an impossible request; no weights are read. picture: the file whose
 * size is used without --size, or NULL. */
int session_plan(session *s, const options *o, const char *picture, int height, int width, vdm_error *err);
/* Sets the task's own prompt (or NULL), which options override and which overrides the model's own embedding. If
 * the model has no text encoder, it is left out and a line reports that; an incomplete text encoder is rejected. Call
 * it between session_plan and session_load. */
int session_task_prompt(session *s, const char *text, vdm_error *err);
/* Encodes prompts, loads the weights and adapters, and prints how long it took. */
int session_load(session *s, vdm_error *err);
/* The run takes so many bytes besides the transformer's weights: weights that then exceed --memory-limit (or
 * the system's limit) are read as they are used. Call it once the model is loaded. */
int session_limit_memory(session *s, double bytes, vdm_error *err);
/* Takes ownership of embeddings [L,Dt], which replace those read; NULL keeps the present one. */
void session_use_prompts(session *s, float *prompt, float *negative);
vdm_pipeline session_pipeline(const session *s); /* for learning and sampling, once loaded */
void session_free(session *s);
/* The file of one --lora, FILE or FILE:WEIGHT (vdm_free); a colon that no number follows is part of the file's name. */
char *lora_path(double *weight, const char *text, vdm_error *err);
/* One --lora; prints on stderr what was applied. what: file, rank, alpha and weight as text (vdm_free), or NULL. */
int lora_read_option(vdm_lora *part, double *weight, char **what, const char *text,
                     const vdm_transformer_config *c, vdm_error *err);
/* All of --lora as one adapter; rank 0 if there is none. what [MAX_LORAS]: the text of each (vdm_free), or NULL. */
int loras_read(vdm_lora *all, char **what, const options *o, const vdm_transformer_config *c, vdm_error *err);

vdm_sample_options sample_options(const session *s);
vdm_image_scale image_scale_of(const options *o);
double memory_limit_of(const options *o); /* bytes; 0: unknown */
size_t memory_of(const options *o);       /* bytes that --memory asks for */
vdm_precision precision_of(const options *o);
/* The size that a picture has, or that --size asks for. */
int size_of(const options *o, const char *picture, int *height, int *width, vdm_error *err);

#endif
