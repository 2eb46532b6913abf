/* tokenizer.json, written by the library "tokenizers" and by transformers 5, which saves it instead of spiece.model:
 *
 *   {"model": {"type": "Unigram", "vocab": [["<pad>", 0.0], ...], "unk_id": 2, "byte_fallback": false},
 *    "normalizer": {"type": "Precompiled", "precompiled_charsmap": base64}, "pre_tokenizer": Metaspace,
 *    "added_tokens": [{"id": 1, "content": "</s>", "special": true, ...}, ...], ...}
 *
 * It has the same pieces and the same table as spiece.model, without the pieces' types: the added tokens are those that
 * are cut out of a prompt first. Prompts are normalised as in sentencepiece; the library's own normaliser treats a
 * character and its accents as one, and differs for some combining marks. */
#include "tokenizer.h"

#include <limits.h>
#include <string.h>

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

static int refuse(const vdm_tokenizer *t, const char *field, const char *expected, vdm_error *err)
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
            return refuse(t, "model.vocab", "pairs of a text and a score", err);
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
    const vdm_json_node *vocabulary = member(t, model, "vocab"), *unknown = member(t, model, "unk_id");
    if (!is_text(member(t, model, "type"), "Unigram")) return refuse(t, "model.type", "Unigram", err);
    if (!vocabulary || vocabulary->kind != VDM_JSON_ARRAY || vocabulary->children < 1 ||
        vocabulary->children > VDM_MAX_PIECES)
        return refuse(t, "model.vocab", "a list of 1 to 1000000 pieces", err);
    if (!unknown || unknown->kind != VDM_JSON_NUMBER || !(unknown->number >= 0) ||
        !(unknown->number < (double)vocabulary->children))
        return refuse(t, "model.unk_id", "the number of a piece", err);
    t->byte_fallback = is_true(member(t, model, "byte_fallback"));
    return read_vocabulary(t, vocabulary, (int)unknown->number, err);
}

/* One added token. If it is also a piece, that piece is no longer matched as text. */
static int read_added(vdm_tokenizer *t, const vdm_json_node *token, vdm_error *err)
{
    static const char *const flags[] = {"single_word", "lstrip", "rstrip", "normalized"};
    const vdm_json_node *id = member(t, token, "id"), *text = member(t, token, "content");
    if (!id || id->kind != VDM_JSON_NUMBER || !(id->number >= 0) || !(id->number <= VDM_MAX_PIECES) ||
        !text || text->kind != VDM_JSON_STRING || strlen(text->text) > LONGEST)
        return refuse(t, "added_tokens", "objects with an id and a content", err);
    for (int i = 0; i < 4; i++)
        if (is_true(member(t, token, flags[i])))
            return vdm_fail(err, "%s: added_tokens: %s: %s: found true, expected false", t->path, text->text,
                            flags[i]);
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
    if (t->table) return refuse(t, "normalizer", "one precompiled_charsmap", err);
    if (!(t->table = vdm_alloc(length, 1, t->path, err))) return -1;
    for (; *text && *text != '='; text++) {
        int digit = base64_digit(*text);
        if (digit < 0) return refuse(t, "precompiled_charsmap", "base64", err);
        held = held << 6 | (uint32_t)digit;
        bits += 6;
        if (bits >= 8) t->table[n++] = (char)(held >> (bits -= 8) & 0xff);
    }
    return vdm_tokenizer_set_table(t, t->table, n, err);
}

/* Precompiled, alone or in a sequence. Steps that remove spaces at the ends or doubled spaces are done here anyway. */
static int read_normalizer(vdm_tokenizer *t, const vdm_json_node *v, vdm_error *err)
{
    const vdm_json_node *table = member(t, v, "precompiled_charsmap"), *list = member(t, v, "normalizers");
    if (!v || v->kind == VDM_JSON_NULL) return 0;
    if (is_text(member(t, v, "type"), "Precompiled")) {
        if (!table || table->kind == VDM_JSON_NULL) return 0;
        if (table->kind != VDM_JSON_STRING) return refuse(t, "precompiled_charsmap", "base64", err);
        return read_charsmap(t, table->text, err);
    }
    if (!is_text(member(t, v, "type"), "Sequence") || !list || list->kind != VDM_JSON_ARRAY)
        return refuse(t, "normalizer", "Precompiled, or a Sequence with it", err);
    for (const vdm_json_node *part = first_of(list); part; part = vdm_json_next(&t->json, part)) {
        const vdm_json_node *type = member(t, part, "type");
        if (is_text(type, "Strip") || is_text(type, "Replace")) continue;
        if (!is_text(type, "Precompiled"))
            return refuse(t, "normalizer", "Precompiled, Strip, or Replace of spaces", err);
        if (read_normalizer(t, part, err)) return -1;
    }
    return 0;
}

/* Metaspace: spaces become U+2581, and one is put in front. */
static bool is_metaspace(const vdm_tokenizer *t, const vdm_json_node *v)
{
    const vdm_json_node *scheme = member(t, v, "prepend_scheme");
    bool prepends = scheme ? is_text(scheme, "always") : is_true(member(t, v, "add_prefix_space"));
    return is_text(member(t, v, "type"), "Metaspace") &&
           is_text(member(t, v, "replacement"), "\xe2\x96\x81") && prepends;
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
                : refuse(t, "pre_tokenizer",
                         "Metaspace that puts a space in front, or WhitespaceSplit and Metaspace", err);
}

int vdm_tokenizer_read_json(vdm_tokenizer *t, vdm_error *err)
{
    if (vdm_json_read(&t->json, t->path, err)) return -1;
    const vdm_json_node *root = t->json.nodes, *added = member(t, root, "added_tokens");
    if (read_model(t, member(t, root, "model"), err) ||
        read_normalizer(t, member(t, root, "normalizer"), err) ||
        check_pre_tokenizer(t, member(t, root, "pre_tokenizer"), err))
        return -1;
    if (!added || added->kind != VDM_JSON_ARRAY)
        return refuse(t, "added_tokens", "a list of special tokens", err);
    for (const vdm_json_node *v = first_of(added); v; v = vdm_json_next(&t->json, v))
        if (read_added(t, v, err)) return -1;
    return 0;
}
