/* Tokenizers and prompts from strangers. The first byte is the length of the prompt, which follows it; the rest is
 * the file: tokenizer.json where it begins like one, else spiece.model. */
#include "vdm.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[] = "/tmp/fuzz-tokenizer-XXXXXX";

static void write_file(const char *name, const uint8_t *data, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) abort();
}

static void remove_file(const char *name)
{
    char path[64];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    remove(path);
}

static void clean_up(void)
{
    remove_file("spiece.model");
    remove_file("tokenizer.json");
    rmdir(folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool made;
    char prompt[256] = "";
    int32_t ids[20];
    vdm_error err = {""};
    if (!made && !mkdtemp(folder)) abort();
    if (!made) atexit(clean_up);
    made = true;
    if (size == 0 || size - 1 < data[0]) return 0;
    size_t length = data[0], n = size - 1 - length;
    const uint8_t *file = data + 1 + length;
    memcpy(prompt, data + 1, length);
    bool json = n && (*file == '{' || *file == ' ');
    remove_file(json ? "spiece.model" : "tokenizer.json");
    write_file(json ? "tokenizer.json" : "spiece.model", file, n);
    vdm_tokenizer *t = vdm_tokenizer_load(folder, &err);
    if (!t != (err.text[0] != 0)) __builtin_trap();
    if (t && vdm_tokenize(t, prompt, ids, 20, &err)) __builtin_trap(); /* every short prompt has ids */
    vdm_tokenizer_free(t);
    return 0;
}
