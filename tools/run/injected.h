/* Files of --inject. */
#ifndef VDM_INJECTED_H
#define VDM_INJECTED_H

#include "vdm.h"

/* Prints how many of the file's tensors have another name than these [n], and the first of them: it is not used. */
void injected_report_others(const vdm_safetensors *f, const char *const *names, int n);
/* Rejects a tensor that is in the file and would have no effect. */
int injected_reject(const vdm_safetensors *f, const char *name, bool used, const char *expected,
                    vdm_error *err);

#endif
