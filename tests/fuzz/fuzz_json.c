/* JSON of any bytes: parsed, every value visited once, every member found by its key, every string ended and UTF-8. */
#include "tests/fuzz/script.h"

static int documents_parsed;

static void json_text(const char *text)
{
    for (size_t left = text ? strlen(text) : 0; left;) {
        int n = vdm_utf8_length(text, left);
        if (n < 1) __builtin_trap();
        text += n, left -= (size_t)n;
    }
}

/* Visits the value and what is in it; the index behind them. */
static int64_t json_visit(const vdm_json *j, int64_t i)
{
    const vdm_json_node *node = &j->nodes[i], *child = node->children ? node + 1 : NULL;
    int64_t at = i + 1, children = 0;
    json_text(node->key);
    json_text(node->text);
    bool object = node->kind == VDM_JSON_OBJECT,
         texts = node->kind == VDM_JSON_STRING || node->kind == VDM_JSON_NUMBER;
    if (texts != (node->text != NULL) || (child && !object && node->kind != VDM_JSON_ARRAY)) __builtin_trap();
    for (; child; child = vdm_json_next(j, child), children++) {
        if (child != &j->nodes[at] || object != (child->key != NULL)) __builtin_trap();
        if (object && children < 40 && vdm_json_get(j, node, child->key) != child) __builtin_trap();
        at = json_visit(j, at);
    }
    if (children != node->children) __builtin_trap();
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    vdm_json j;
    vdm_error err = {""};
    char *text = malloc(size + !size); /* of exactly its size: a read past the end is found */
    if (!text) abort();
    if (size) memcpy(text, data, size);
    int status = vdm_json_parse(&j, text, size, "x", &err);
    free(text);
    if ((status == 0) != (err.text[0] == 0)) __builtin_trap();
    if (status) return 0;
    if (json_visit(&j, 0) != j.count) __builtin_trap();
    documents_parsed++;
    vdm_json_free(&j);
    return 0;
}
