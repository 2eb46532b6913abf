/* The metadata of an adapter's file: how it was learned, and where alpha is. Internal to the library. */
#ifndef VDM_ADAPTER_FACTS_H
#define VDM_ADAPTER_FACTS_H

#include "vdm.h"

enum { VDM_FACTS_TEXT = 1024, VDM_MAX_FACTS = 2 };
/* Makes pairs of key and value for the metadata of the file at path; text holds the values. Returns how many, or -1 if
 * a reader would reject them. */
int vdm_facts_write(const vdm_lora_facts *f, const char *to[VDM_MAX_FACTS][2],
                    char text[VDM_MAX_FACTS][VDM_FACTS_TEXT], const char *path, vdm_error *err);
/* Reads the facts of an open file; those that it does not have are 0. */
int vdm_facts_of(vdm_lora_facts *f, const vdm_safetensors *file, vdm_error *err);
/* Where the metadata of an adapter's file has alpha: the JSON of diffusers or finetrainers, or NULL; else, of scripts that
 * write it like kohya's but without tensors .alpha, the text of a number, or NULL. key: its name. */
const char *vdm_lora_settings(const vdm_safetensors *f, const char **key);
const char *vdm_lora_plain_alpha(const vdm_safetensors *f, const char **key);

#endif
