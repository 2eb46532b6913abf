/* Prompts through the model's own text encoder. */
#ifndef VDM_PROMPTS_H
#define VDM_PROMPTS_H

#include "vdm.h"

/* texts [n] -> to [n], [L,Dt] each, by MODEL's text encoder; a NULL text leaves its place unchanged. */
int encode_prompts(float **to, const char *const *texts, int n, const char *model,
                   const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err);
/* Prints that the model takes L tokens of a longer prompt. */
int prompt_report_cut(const vdm_tokenizer *t, const char *text, int L, vdm_error *err);
bool has_text_encoder(const char *model);
/* The error for `what`, a prompt, if the model has no text encoder; names the missing file. */
int no_text_encoder(const char *what, const char *model, vdm_error *err);

#endif
