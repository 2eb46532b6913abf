/* Files of --inject: a tensor that nothing uses would leave a user with other random numbers than he believes. */
#include "tools/run/injected.h"
#include "tools/messages.h"

#include <string.h>

void injected_report_others(const vdm_safetensors *f, const char *const *names, int n)
{
    int64_t others = 0;
    const char *first = NULL;
    for (int64_t i = 0; i < f->count; i++) {
        int k = 0;
        while (k < n && strcmp(names[k], f->tensors[i].name) != 0) k++;
        if (k < n) continue;
        if (!others++) first = f->tensors[i].name;
    }
    if (others)
        fprintf(stderr, "%s: not used here: %lld tensor%s; the first: '%s'\n", clean(f->path),
                (long long)others, plural(others), clean(first));
}

int injected_reject(const vdm_safetensors *f, const char *name, bool used, const char *expected,
                    vdm_error *err)
{
    if (used || !vdm_safetensors_find(f, name)) return 0;
    return vdm_fail(err, "%s: tensor '%s': it would have no effect here: it needs %s", f->path, name,
                    expected);
}
