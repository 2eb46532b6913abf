/* How far a tensor may be from the truth: relative L2 distances from float64, measured with diffusers on
 * random models of the published width by tests/peer/accuracy.py, which wrote the table. */
#include "compare.h"

#include <string.h>

static const struct {
    const char *kind;       /* a name, numbers in it as * */
    double f32, bf16, ours; /* PyTorch's f32 and bf16; vdm's f32, for the record */
} table[] = {
#include "expected.h"
};

/* "step.12." and the like: a word, then numbers. */
static const char *skip_counter(const char *name, const char *word, int numbers)
{
    size_t length = strlen(word);
    if (strncmp(name, word, length) != 0) return name;
    const char *rest = name + length;
    for (int i = 0; i < numbers; i++) {
        size_t digits = strspn(rest, "0123456789");
        if (!digits || rest[digits] != '.') return name;
        rest += digits + 1;
    }
    return rest;
}

const char *name_without_prefix(const char *name)
{
    for (const char *last = NULL; last != name;) {
        last = name;
        name = skip_counter(name, "step.", 1);
        name = skip_counter(name, "batch.", 1);
        name = skip_counter(name, "tile.", 2);
        name = skip_counter(name, "chunk.", 1);
        if (strncmp(name, "encode.", 7) == 0 || strncmp(name, "decode.", 7) == 0) name += 7;
    }
    return name;
}

/* transformer_blocks.17.ff.net.0 is of the kind transformer_blocks.*.ff.net.* */
static bool is_kind(const char *kind, const char *name)
{
    for (; *kind; kind++) {
        if (*kind == '*') {
            size_t digits = strspn(name, "0123456789");
            if (!digits) return false;
            name += digits;
        } else if (*kind != *name++) {
            return false;
        }
    }
    return !*name;
}

double expected_error(const char *name, const char *precision)
{
    name = name_without_prefix(name);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (is_kind(table[i].kind, name))
            return strcmp(precision, "bf16") == 0 ? table[i].bf16 : table[i].f32;
    return -1;
}
