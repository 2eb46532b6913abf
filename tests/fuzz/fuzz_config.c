/* A model folder's configurations: the first byte says which one the bytes are; the others are those of a small model. */
#include "tests/fuzz/script.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
    const char *folder, *name, *text;
} config_files[] = {
    {"transformer", "transformer/config.json",
     "{\"_class_name\":\"CogVideoXTransformer3DModel\",\"num_layers\":2,\"in_channels\":32,\"patch_size_t\":2,"
     "\"use_rotary_positional_embeddings\":true,\"sample_frames\":9}"},
    {"vae", "vae/config.json", "{\"_class_name\":\"AutoencoderKLCogVideoX\",\"scaling_factor\":0.7}"},
    {"scheduler", "scheduler/scheduler_config.json",
     "{\"_class_name\":\"CogVideoXDDIMScheduler\",\"timestep_spacing\":\"trailing\",\"prediction_type\":"
     "\"v_prediction\",\"clip_sample\":false}"},
    {"", "model_index.json", "{\"vae\":[\"diffusers\",\"AutoencoderKLCogVideoX\"]}"}};

static void write_config(const char *folder, int i, const void *data, size_t size)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, config_files[i].folder);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s", folder, config_files[i].name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[64], path[160];
    vdm_model_config c;
    vdm_geometry g;
    vdm_error err = {""};
    int which = size ? data[0] % 4 : 0;
    snprintf(folder, sizeof folder, "%s/fuzz-config-%d", script_folder(), (int)getpid());
    mkdir(folder, 0777);
    for (int i = 0; i < 4; i++)
        if (i == which && size)
            write_config(folder, i, data + 1, size - 1);
        else
            write_config(folder, i, config_files[i].text, strlen(config_files[i].text));
    int status = vdm_model_config_read(&c, folder, &err);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    if (!status) vdm_geometry_init(&g, &c, 9, 64, 64, &err);
    for (int i = 0; i < 4; i++)
        snprintf(path, sizeof path, "%s/%s", folder, config_files[i].name), remove(path);
    for (int i = 0; i < 3; i++)
        snprintf(path, sizeof path, "%s/%s", folder, config_files[i].folder), rmdir(path);
    rmdir(folder);
    return 0;
}
