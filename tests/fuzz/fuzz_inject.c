/* vdm golden --inject: tensors that fit the computation, if the script does not say otherwise, go through every --what
 * of a small model (tests/golden/1.5-5B-I2V: 1 latent frame of 2x2 and its padding, 5 tokens of 20, width 32). */
#include "tests/fuzz/script.h"
#include "tools/commands/commands.h"

static const struct inject_input {
    const char *what, *name;
    int rank;
    int64_t shape[6];
} inject_inputs[] = {
    {"transformer", "x", 5, {1, 2, 32, 2, 2}},
    {"transformer", "text", 3, {1, 5, 20}},
    {"transformer", "t", 1, {1}},
    {"vae-encode", "video", 4, {1, 3, 16, 16}},
    {"vae-decode", "latents", 4, {1, 16, 2, 2}},
    {"sample", "image", 3, {3, 16, 16}},
    {"sample", "prompt", 2, {5, 20}},
    {"sample", "negative", 2, {5, 20}},
    {"sample", "noise", 4, {2, 16, 2, 2}},
    {"sample", "image_noise", 3, {16, 2, 2}},
    {"sample", "step_noise", 6, {1, 2, 2, 16, 2, 2}},
    {"train", "videos", 5, {2, 2, 16, 2, 2}},
    {"train", "images", 4, {2, 16, 2, 2}},
    {"train", "text", 2, {5, 20}},
    {"train", "t", 2, {1, 1}},
    {"train", "pair", 2, {1, 1}},
    {"train", "noise", 6, {1, 1, 2, 16, 2, 2}},
    {"train", "adapter.transformer_blocks.0.attn1.to_q.lora_A.weight", 2, {2, 32}},
    {"train", "adapter.transformer_blocks.0.attn1.to_q.lora_B.weight", 2, {32, 2}},
    {"train", "adapter.transformer_blocks.1.attn1.to_out.0.lora_B.weight", 2, {32, 2}},
    {"text", "ids", 1, {5}},
};
/* --what, and options that go with it */
static const char *const inject_whats[][7] = {
    {"transformer", "--size", "16x16", "--frames", "1"},
    {"vae-encode", "--size", "16x16", "--frames", "1"},
    {"vae-decode", "--size", "16x16", "--frames", "1"},
    {"sample", "--sample-steps", "1", "--size", "16x16", "--frames", "1"},
    {"train", "--steps", "1", "--size", "16x16", "--frames", "1"},
    {"text"},
};

static int goldens_written;

static void inject_tensor(script_file *f, script *s, const struct inject_input *in)
{
    static const vdm_dtype types[] = {VDM_BF16, VDM_F64, VDM_I64, VDM_I32, VDM_F8_E4M3, VDM_BOOL};
    vdm_tensor t = {.name = in->name, .dtype = VDM_F32, .rank = in->rank, .data = f->data};
    int64_t count = 1;
    int odd = script_next(
        s, 24); /* 0 and 1: the tensor is not there; 2: another type; 3: another rank; then sizes */
    memcpy(t.shape, in->shape, sizeof in->shape);
    if (odd == 2) t.dtype = types[script_next(s, 6)];
    if (odd == 3) t.rank = script_next(s, 7);
    for (int i = 0; i < t.rank; i++) {
        if (odd == 3 && i >= in->rank) t.shape[i] = 1;
        if (odd == 4 + i || odd == 10) t.shape[i] = script_side(s);
        count *= t.shape[i];
    }
    if (odd < 2 || count > SCRIPT_ELEMENTS || f->count == SCRIPT_TENSORS) return;
    t.bytes = vdm_tensor_bytes(&t);
    f->tensors[f->count++] = t;
}

/* Integers where they are asked for, small numbers, or those of script_fill. */
static void inject_fill(script_file *f, script *s)
{
    float *x = (float *)f->data;
    int kind = script_next(s, 4), value = script_next(s, 256);
    if (!kind) script_fill(f, s, 1);
    for (int i = 0; i < 2 * SCRIPT_ELEMENTS && kind; i++)
        x[i] = kind > 1 ? (float)(value % 3) : (float)(i * 7919 % 101 - 50) / 50;
}

static void inject_check(const char *path)
{
    vdm_safetensors f;
    vdm_error err;
    if (vdm_safetensors_open(&f, path, &err) || !f.count) __builtin_trap();
    vdm_safetensors_close(&f);
    goldens_written++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static script_file file;
    static const char *const facts[] = {"lora_alpha", "lora_rank", "vdm_golden"};
    char path[SCRIPT_PATH], out[SCRIPT_PATH];
    script s = {.data = data, .size = size};
    const char *const *what = inject_whats[script_next(&s, 6)];
    file.count = file.n_metadata = 0;
    for (size_t i = 0; i < sizeof inject_inputs / sizeof *inject_inputs; i++)
        if (strcmp(inject_inputs[i].what, what[0]) == 0) inject_tensor(&file, &s, &inject_inputs[i]);
    for (int i = script_next(&s, 3); i; i--) script_fact(&file, &s, facts, 3);
    inject_fill(&file, &s);
    script_write(&file, script_path(path, "inject"));
    snprintf(out, sizeof out, "%s/fuzz-%d-golden", script_disk(), (int)getpid());
    const char *words[20] = {
        "tests/golden/1.5-5B-I2V", "--inject", path, "-o", out, "--threads", "1", "--what"};
    int n = 8;
    for (int i = 0; i < 7 && what[i]; i++) words[n++] = what[i];
    if (strcmp(what[0], "sample") == 0)
        words[n++] = "--sampler", words[n++] = script_next(&s, 2) ? "dpm" : "ddim";
    int status = command_golden(n, (char **)(uintptr_t)words);
    if (status != 0 && status != 1) __builtin_trap();
    if (!status) inject_check(out);
    if (status && access(out, F_OK) == 0) __builtin_trap(); /* no half golden */
    remove(out);
    script_remove(path);
    return 0;
}
