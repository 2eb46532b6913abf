/* How an adapter was learned, in the metadata of its file. Internal to the library. */
#ifndef VDM_ADAPTER_FACTS_H
#define VDM_ADAPTER_FACTS_H

#include "vdm.h"

enum { VDM_FACTS_TEXT = 512, VDM_MAX_FACTS = 2 };
/* Pairs key, value for the metadata of a file. Returns how many; text holds the values. */
int vdm_facts_write(const vdm_lora_facts *f, const char *to[VDM_MAX_FACTS][2], char text[2][VDM_FACTS_TEXT]);
/* From an open file; what it does not say is 0. */
int vdm_facts_of(vdm_lora_facts *f, const vdm_safetensors *file, vdm_error *err);

#endif
