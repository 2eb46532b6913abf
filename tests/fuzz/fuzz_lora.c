/* Adapters of strangers: names of every spelling, ranks, alphas and settings as they come. */
#include "tests/fuzz/script.h"

#include <math.h>

#define MODULE(prefix, between, target, a, b)                                 \
    prefix "transformer_blocks" between "0" between "attn1" between target a, \
        prefix "transformer_blocks" between "0" between "attn1" between target b
static const char *const lora_names[] = {
    MODULE("transformer.", ".", "to_q", ".lora_A.weight", ".lora_B.weight"),
    MODULE("transformer.", ".", "to_k", ".lora_A.weight", ".lora_B.weight"),
    MODULE("", ".", "to_v", ".lora.down.weight", ".lora.up.weight"),
    MODULE("base_model.model.", ".", "to_out.0", ".lora_A.weight", ".lora_B.weight"),
    MODULE("diffusion_model.", ".", "to_v", ".lora_A.weight", ".lora_B.weight"),
    MODULE("lora_unet_", "_", "to_out_0", ".lora_down.weight", ".lora_up.weight"),
    "lora_unet_transformer_blocks_0_attn1_to_out_0.alpha",
    "transformer.transformer_blocks.0.attn1.to_q.alpha",
    "transformer.transformer_blocks.0.attn1.to_q.dora_scale",
    "transformer.transformer_blocks.9.attn1.to_q.lora_A.weight",
};

static int adapters_read; /* how many were good */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static script_file file;
    static char settings[1 << 12];
    const vdm_transformer_config c = {.layers = 1, .heads = 1, .head_dim = 16};
    char path[SCRIPT_PATH];
    vdm_error err = {""};
    vdm_lora a;
    int applied, modules;
    script s = {.data = data, .size = size};
    file.count = file.n_metadata = 0;
    int pairs = 1 + script_next(&s, 6);
    for (int i = 0; i < pairs; i++) { /* halves that fit each other, if the script does not say otherwise */
        int64_t R = script_side(&s), D = script_next(&s, 8) ? 16 : script_side(&s);
        int which = script_next(&s, 6);
        for (int half = 0; half < 2; half++) {
            vdm_tensor t = {lora_names[2 * which + half],
                            script_next(&s, 16) ? VDM_F32 : VDM_I64,
                            2,
                            {half ? D : R, half ? R : D},
                            file.data,
                            0};
            t.bytes = vdm_tensor_bytes(&t);
            if (!script_has(&file, t.name) && script_next(&s, 16) != 1) file.tensors[file.count++] = t;
        }
    }
    if (script_next(&s, 2)) script_tensor(&file, &s, lora_names + 12, 4);
    script_fill(&file, &s, 1);
    int kind = script_next(&s, 4); /* settings: none, numbers, patterns, or the script's rest as ASCII */
    const char *r = script_numbers[script_next(&s, 8)], *alpha = script_numbers[script_next(&s, 16)];
    size_t left = size - s.at < sizeof settings - 1 ? size - s.at : 0;
    if (kind == 1) snprintf(settings, sizeof settings, "{\"r\": %s, \"lora_alpha\": %s}", r, alpha);
    if (kind == 2)
        snprintf(settings, sizeof settings,
                 "{\"r\": %s, \"lora_alpha\": 4, \"use_rslora\": %s, \"rank_pattern\": {\"to_q\": 2}, "
                 "\"alpha_pattern\": {\"to_%s\": %s}}",
                 r, left % 2 ? "true" : "false", left % 3 ? "k" : "(q|k)", alpha);
    for (size_t i = 0; i < left && kind == 3; i++)
        settings[i] = (char)(data[s.at + i] & 0x7f ? data[s.at + i] & 0x7f : ' ');
    if (kind == 3) settings[left] = '\0';
    if (kind)
        file.metadata[0][0] = "lora_adapter_metadata", file.metadata[0][1] = settings, file.n_metadata = 1;
    script_write(&file, script_path(path, "lora"));
    int status = vdm_lora_read(&a, path, &c, &applied, &modules, &err);
    if ((status == 0) != (err.text[0] == 0) || (status == 0) != (a.params != NULL)) __builtin_trap();
    if (!status) {
        for (int64_t i = 0; i < vdm_lora_count(&a); i++)
            if (isnan(a.params[i])) __builtin_trap();
        vdm_lora_free(&a);
        adapters_read++;
    }
    script_remove(path);
    return 0;
}
