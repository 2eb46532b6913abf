/* Tokenizers and prompts from strangers. The first byte is the length of the prompt, which follows it; the rest is
 * the file: tokenizer.json where it begins like one, else spiece.model. */
#include "tests/fuzz/script.h"

static int tokenizers_read;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char folder[SCRIPT_PATH], path[2 * SCRIPT_PATH], prompt[256] = "";
    int32_t ids[20];
    vdm_error err = {""};
    if (size == 0 || size - 1 < data[0]) return 0;
    size_t length = data[0], n = size - 1 - length;
    const uint8_t *file = data + 1 + length;
    memcpy(prompt, data + 1, length);
    bool json = n && (*file == '{' || *file == ' ');
    script_make_folder(script_path(folder, "tokenizer"));
    snprintf(path, sizeof path, "%s/%s", folder, json ? "tokenizer.json" : "spiece.model");
    script_bytes(path, file, n);
    vdm_tokenizer *t = vdm_tokenizer_load(folder, &err);
    if (!t != (err.text[0] != 0)) __builtin_trap();
    if (t && vdm_tokenize(t, prompt, ids, 20, &err)) __builtin_trap(); /* every short prompt has ids */
    tokenizers_read += t != NULL;
    vdm_tokenizer_free(t);
    script_remove(path);
    script_remove(folder);
    return 0;
}
