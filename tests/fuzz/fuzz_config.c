/* A model folder's configurations: the first byte says which one the bytes are; the others are those of a small
 * model. */
#include "tests/fuzz/script.h"

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

static const char *config_path(char path[static 2 * SCRIPT_PATH], const char *folder, const char *name)
{
    snprintf(path, 2 * SCRIPT_PATH, "%s/%s", folder, name);
    return path;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[SCRIPT_PATH], path[2 * SCRIPT_PATH];
    vdm_model_config c;
    vdm_geometry g;
    vdm_error err = {""};
    int which = size ? data[0] % 4 : -1;
    script_make_folder(script_path(folder, "config"));
    for (int i = 0; i < 4; i++) {
        const char *text = config_files[i].text;
        script_make_folder(config_path(path, folder, config_files[i].folder));
        config_path(path, folder, config_files[i].name);
        if (i == which)
            script_bytes(path, data + 1, size - 1);
        else
            script_bytes(path, text, strlen(text));
    }
    int status = vdm_model_config_read(&c, folder, &err);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    if (!status) vdm_geometry_init(&g, &c, 9, 64, 64, &err);
    for (int i = 0; i < 4; i++) {
        script_remove(config_path(path, folder, config_files[i].name));
        script_remove(config_path(path, folder, config_files[i].folder));
    }
    return 0;
}
