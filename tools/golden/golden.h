/* The tensors of a computation, in a file. */
#ifndef VDM_GOLDEN_H
#define VDM_GOLDEN_H

#include "tools/options.h"

int golden_run(const options *o, const char *command, vdm_error *err);
void golden_names(void); /* explains the names (golden_names.c) */
/* Whether a tensor of that name is an input of a golden. what: its computation ("sample"); NULL: not known. */
bool golden_is_input(const char *what, const char *name);

/* The adapter of a golden (golden_adapter.c): from --inject, from --lora, or random. in: the file of
 * --inject; its path is NULL if there is none. */
#define GOLDEN_ADAPTER "adapter." /* the prefix of its matrices */
enum { GOLDEN_ADAPTER_NAME = VDM_LORA_NAME + sizeof GOLDEN_ADAPTER };
/* Whether `in` holds an adapter. */
bool golden_adapter_injected(const vdm_safetensors *in);
/* Before the work: the adapter is in one place, in which all of it is, and --alpha has one to scale. */
int golden_adapter_check(const options *o, const vdm_safetensors *in, vdm_error *err);
/* a->rank 0: there is none. An injected one has its shape but no elements yet. needed: one is drawn if none is given. */
int golden_adapter_new(vdm_lora *a, const options *o, const vdm_safetensors *in,
                       const vdm_transformer_config *c, bool needed, vdm_rng *rng, vdm_error *err);

#endif
