/* Which run a result is of: the settings, and a hash of the files that they name. */
#include "tools/arc/identity.h"
#include "files/hash.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int hash_tensors(uint64_t *h, vdm_safetensors *f)
{
    for (int64_t i = 0; i < f->count; i++) *h = vdm_hash_tensor(*h, &f->tensors[i]);
    vdm_safetensors_close(f);
    return 0;
}

/* A file of tensors; NULL, or none of that name: nothing. */
static int hash_file(uint64_t *h, const char *path, vdm_error *err)
{
    vdm_safetensors f;
    if (!path || access(path, F_OK) != 0) return 0;
    return vdm_safetensors_open(&f, path, err) ? -1 : hash_tensors(h, &f);
}

/* Everything that the settings name by its path: the model's weights and embeddings, and the options' files. */
static int hash_contents(uint64_t *h, const options *o, vdm_error *err)
{
    static const char *const names[] = {"transformer", "vae", "prompt_embeds.safetensors",
                                        "view_embeds.safetensors"};
    const char *const files[] = {o->learn.init, o->prompt.embeds, o->prompt.negative_embeds};
    int status = 0;
    for (int i = 0; i < 4 && !status; i++) {
        vdm_safetensors f;
        char *path = vdm_path(o->model, names[i], err);
        if (!path)
            status = -1;
        else if (i >= 2)
            status = hash_file(h, path, err);
        else
            status = vdm_safetensors_open_folder(&f, path, "diffusion_pytorch_model", err)
                         ? -1
                         : hash_tensors(h, &f);
        vdm_free(path);
    }
    for (int i = 0; i < 3 && !status; i++) status = hash_file(h, files[i], err);
    return status;
}

/* The settings of the run, and a hash of what they name: another model at the same path is another run. */
char *run_of(const options *o, vdm_error *err)
{
    uint64_t h = VDM_HASH_START;
    char *settings = options_key(o, err);
    if (!settings || hash_contents(&h, o, err)) {
        vdm_free(settings);
        return NULL;
    }
    size_t size = strlen(settings) + 40;
    char *run = vdm_alloc(size, 1, "the settings", err);
    if (run) snprintf(run, size, "%s; contents %016llx", settings, (unsigned long long)h);
    vdm_free(settings);
    return run;
}
