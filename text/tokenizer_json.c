/* tokenizer.json, written by the library "tokenizers" and by transformers 5, which saves it instead of spiece.model:
 *
 *   {"model": {"type": "Unigram", "vocab": [["<pad>", 0.0], ...], "unk_id": 2, "byte_fallback": false},
 *    "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64}, "pre_tokenizer": Metaspace,
 *    "post_processor": $A </s>, "added_tokens": [{"id": 1, "content": "</s>", "special": true, ...}, ...], ...}
 *
 * It has the same pieces and the same table as spiece.model, without the pieces' types: the added tokens are those that
 * are cut out of a prompt first. Truncation and padding are the pipelines'. Prompts are normalised as in sentencepiece:
 * doubled spaces and spaces at the ends are removed, whether or not the file has steps for it. The library's own
 * normaliser treats a character and its accents as one, and differs for some combining marks. */
#include "tokenizer.h"

#include <limits.h>
#include <string.h>

static const char SPACE[] = "\xe2\x96\x81"; /* U+2581, which replaces a space */

static const vdm_json_node *member(const vdm_tokenizer *t, const vdm_json_node *object, const char *key)
{
    return object && object->kind == VDM_JSON_OBJECT ? vdm_json_get(&t->json, object, key) : NULL;
}

static bool is_text(const vdm_json_node *v, const char *text)
{
    return v && v->kind == VDM_JSON_STRING && strcmp(v->text, text) == 0;
}

static bool is_true(const vdm_json_node *v)
{
    return v && v->kind == VDM_JSON_TRUE;
}

/* An integer from 0 to max */
static bool is_integer(const vdm_json_node *v, double max)
{
    return v && v->kind == VDM_JSON_NUMBER && v->number >= 0 && v->number <= max &&
           v->number <= (double)(int)v->number;
}

static int reject(const vdm_tokenizer *t, const char *field, const char *expected, vdm_error *err)
{
    return vdm_fail(err, "%s: %s: expected %s", t->path, field, expected);
}

static const vdm_json_node *first_of(const vdm_json_node *list)
{
    return list->children ? list + 1 : NULL;
}

/* "<0x41>": a byte, if the model has byte pieces. */
static bool is_byte(const char *text)
{
    return strlen(text) == 6 && memcmp(text, "<0x", 3) == 0 && text[5] == '>';
}

/* [["<pad>", 0.0], ...] */
static int read_vocabulary(vdm_tokenizer *t, const vdm_json_node *vocabulary, int unknown, vdm_error *err)
{
    if (vdm_tokenizer_allocate(t, (int)vocabulary->children, err)) return -1;
    for (const vdm_json_node *v = first_of(vocabulary); v; v = vdm_json_next(&t->json, v)) {
        const vdm_json_node *text = v->kind == VDM_JSON_ARRAY && v->children == 2 ? v + 1 : NULL;
        const vdm_json_node *score = text ? vdm_json_next(&t->json, text) : NULL;
        if (!score || text->kind != VDM_JSON_STRING || score->kind != VDM_JSON_NUMBER)
            return reject(t, "model.vocab", "pairs of a text and a score", err);
        size_t length = strlen(text->text);
        struct piece p = {.text = text->text,
                          .length = length < INT_MAX ? (int)length : INT_MAX,
                          .type = t->pieces == unknown                      ? UNKNOWN
                                  : t->byte_fallback && is_byte(text->text) ? BYTE
                                                                            : NORMAL,
                          .score = (float)score->number};
        if (vdm_tokenizer_add_piece(t, &p, err)) return -1;
    }
    return 0;
}

static int read_model(vdm_tokenizer *t, const vdm_json_node *model, vdm_error *err)
{
    const vdm_json_node *vocabulary = member(t, model, "vocab"), *unknown = member(t, model, "unk_id"),
                        *bytes = member(t, model, "byte_fallback");
    if (!is_text(member(t, model, "type"), "Unigram")) return reject(t, "model.type", "Unigram", err);
    if (!vocabulary || vocabulary->kind != VDM_JSON_ARRAY || vocabulary->children < 1 ||
        vocabulary->children > VDM_MAX_PIECES)
        return reject(t, "model.vocab", "a list of 1 to 1000000 pieces", err);
    if (!is_integer(unknown, (double)(vocabulary->children - 1)))
        return reject(t, "model.unk_id", "the number of a piece", err);
    t->byte_fallback = is_true(bytes);
    if (bytes && !t->byte_fallback && bytes->kind != VDM_JSON_FALSE)
        return reject(t, "model.byte_fallback", "true or false", err);
    return read_vocabulary(t, vocabulary, (int)unknown->number, err);
}

/* One added token. If it is also a piece, that piece is no longer matched as text. */
static int read_added(vdm_tokenizer *t, const vdm_json_node *token, vdm_error *err)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const vdm_json_node *id = member(t, token, "id"), *text = member(t, token, "content");
    if (!is_integer(id, VDM_MAX_PIECES) || !text || text->kind != VDM_JSON_STRING)
        return reject(t, "added_tokens", "objects with an id and a content", err);
    if (strlen(text->text) > LONGEST)
        return vdm_fail(err, "%s: added_tokens: id %d: content: expected at most %d bytes, found %zu",
                        t->path, (int)id->number, LONGEST, strlen(text->text));
    for (int i = 0; i < 4; i++) {
        const vdm_json_node *flag = member(t, token, flags[i]);
        if (flag && flag->kind != VDM_JSON_FALSE)
            return vdm_fail(err, "%s: added_tokens: %s: %s: found %s, expected false", t->path, text->text,
                            flags[i], is_true(flag) ? "true" : "another value");
    }
    int n = (int)id->number, length = (int)strlen(text->text);
    if (n < t->pieces) {
        struct piece *p = &t->piece[n];
        if (p->length != length || memcmp(p->text, text->text, (size_t)length) != 0)
            return vdm_fail(err,
                            "%s: added_tokens: found '%s' with the id %d, which model.vocab gives to '%.*s'",
                            t->path, text->text, n, p->length, p->text);
        if (p->type != UNKNOWN) p->type = CONTROL;
    }
    return vdm_tokenizer_add_special(t, text->text, length, n, err);
}

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c ? strchr(digits, c) : NULL;
    return at ? (int)(at - digits) : -1;
}

static int read_charsmap(vdm_tokenizer *t, const char *text, vdm_error *err)
{
    size_t length = strlen(text), n = 0;
    uint32_t held = 0;
    int bits = 0;
    if (t->table) return reject(t, "normalizer", "one precompiled_charsmap", err);
    if (!(t->table = vdm_alloc(length, 1, t->path, err))) return -1;
    for (; *text && *text != '='; text++) {
        int digit = base64_digit(*text);
        if (digit < 0) return reject(t, "precompiled_charsmap", "base64", err);
        held = held << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) t->table[n++] = (char)(held >> (bits -= 8) & 0xff);
    }
    if (length % 4 || text[strspn(text, "=")])
        return reject(t, "precompiled_charsmap", "base64 in groups of four characters", err);
    return vdm_tokenizer_set_table(t, t->table, n, err);
}

/* {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": a space or U+2581}: doubled spaces become one. It is the
 * only replacement in transformers' files of T5, and is done here anyway. */
static int check_replace(const vdm_tokenizer *t, const vdm_json_node *step, vdm_error *err)
{
    const vdm_json_node *pattern = member(t, step, "pattern"), *content = member(t, step, "content"),
                        *regex = member(t, pattern, "Regex"),
                        *text = regex ? regex : member(t, pattern, "String");
    if (is_text(regex, " {2,}") && (is_text(content, " ") || is_text(content, SPACE))) return 0;
    return vdm_fail(
        err,
        "%s: normalizer: Replace: expected the pattern {\"Regex\": \" {2,}\"} with a space or U+2581 as "
        "content, found '%.40s' with '%.40s'",
        t->path, text && text->kind == VDM_JSON_STRING ? text->text : "another value",
        content && content->kind == VDM_JSON_STRING ? content->text : "another value");
}

/* Precompiled, alone or in a sequence. Steps that remove spaces at the ends are done here anyway. */
static int read_normalizer(vdm_tokenizer *t, const vdm_json_node *v, vdm_error *err)
{
    const vdm_json_node *table = member(t, v, "precompiled_charsmap"), *list = member(t, v, "normalizers");
    if (!v || v->kind == VDM_JSON_NULL) return 0;
    if (is_text(member(t, v, "type"), "Precompiled")) {
        if (!table || table->kind == VDM_JSON_NULL) return 0;
        if (table->kind != VDM_JSON_STRING) return reject(t, "precompiled_charsmap", "base64", err);
        return read_charsmap(t, table->text, err);
    }
    if (!is_text(member(t, v, "type"), "Sequence") || !list || list->kind != VDM_JSON_ARRAY)
        return reject(t, "normalizer", "Precompiled, or a Sequence with it", err);
    for (const vdm_json_node *part = first_of(list); part; part = vdm_json_next(&t->json, part)) {
        const vdm_json_node *type = member(t, part, "type");
        if (is_text(type, "Strip")) continue;
        if (is_text(type, "Replace")) {
            if (check_replace(t, part, err)) return -1;
            continue;
        }
        if (!is_text(type, "Precompiled"))
            return reject(t, "normalizer", "Precompiled, Strip, or Replace of spaces", err);
        if (read_normalizer(t, part, err)) return -1;
    }
    return 0;
}

/* Metaspace: spaces become U+2581, and one is put in front. */
static bool is_metaspace(const vdm_tokenizer *t, const vdm_json_node *v)
{
    const vdm_json_node *scheme = member(t, v, "prepend_scheme");
    bool prepends = scheme ? is_text(scheme, "always") : is_true(member(t, v, "add_prefix_space"));
    return is_text(member(t, v, "type"), "Metaspace") && is_text(member(t, v, "replacement"), SPACE) &&
           prepends;
}

static int check_pre_tokenizer(const vdm_tokenizer *t, const vdm_json_node *v, vdm_error *err)
{
    const vdm_json_node *list = member(t, v, "pretokenizers");
    bool fine = is_metaspace(t, v);
    if (is_text(member(t, v, "type"), "Sequence") && list && list->kind == VDM_JSON_ARRAY &&
        list->children == 2)
        fine = is_text(member(t, list + 1, "type"), "WhitespaceSplit") &&
               is_metaspace(t, vdm_json_next(&t->json, list + 1));
    return fine ? 0
                : reject(t, "pre_tokenizer",
                         "Metaspace that puts a space in front, or WhitespaceSplit and Metaspace", err);
}

/* {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}], ...}: a prompt
 * ends with </s>. */
static int check_post_processor(const vdm_tokenizer *t, const vdm_json_node *v, vdm_error *err)
{
    const vdm_json_node *single = member(t, v, "single");
    bool two = is_text(member(t, v, "type"), "TemplateProcessing") && single &&
               single->kind == VDM_JSON_ARRAY && single->children == 2;
    const vdm_json_node *prompt = two ? single + 1 : NULL,
                        *end = two ? vdm_json_next(&t->json, prompt) : NULL;
    if (is_text(member(t, member(t, prompt, "Sequence"), "id"), "A") &&
        is_text(member(t, member(t, end, "SpecialToken"), "id"), "</s>"))
        return 0;
    return reject(t, "post_processor", "TemplateProcessing whose single is the prompt and </s>", err);
}

int vdm_tokenizer_read_json(vdm_tokenizer *t, vdm_error *err)
{
    if (vdm_json_read(&t->json, t->path, err)) return -1;
    const vdm_json_node *root = t->json.nodes, *added = member(t, root, "added_tokens");
    if (read_model(t, member(t, root, "model"), err) ||
        read_normalizer(t, member(t, root, "normalizer"), err) ||
        check_pre_tokenizer(t, member(t, root, "pre_tokenizer"), err) ||
        check_post_processor(t, member(t, root, "post_processor"), err))
        return -1;
    if (!added || added->kind != VDM_JSON_ARRAY)
        return reject(t, "added_tokens", "a list of special tokens", err);
    for (const vdm_json_node *v = first_of(added); v; v = vdm_json_next(&t->json, v))
        if (read_added(t, v, err)) return -1;
    return 0;
}
