/* A safetensors file of any bytes: opened, every tensor found again and widened. */
#include "tests/fuzz/script.h"

#include <stdlib.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const int64_t any[VDM_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
    char path[SCRIPT_PATH];
    vdm_safetensors f;
    vdm_error err = {""};
    script_bytes(script_path(path, "safetensors"), data, size);
    int status = vdm_safetensors_open(&f, path, &err);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    for (int64_t i = 0; !status && i < f.count; i++) {
        const vdm_tensor *t = &f.tensors[i];
        if (vdm_safetensors_find(&f, t->name) != t || t->bytes != vdm_tensor_bytes(t)) __builtin_trap();
        vdm_free(vdm_safetensors_floats(&f, t->name, t->rank, any, &err));
    }
    if (!status) {
        vdm_safetensors_metadata(&f, "format");
        vdm_safetensors_close(&f);
    }
    script_remove(path);
    return 0;
}
