/* The files of a tokenizer: spiece.model, SentencePiece's own, or else tokenizer.json (tokenizer_json.c).
 *
 * Special tokens are those of transformers' T5Tokenizer: </s>, <pad>, the unknown piece, and <extra_id_0>, ..., which
 * spiece.model does not hold: the last of extra_ids (100) has the id after the last piece, <extra_id_0> the highest.
 * Others, which tokenizer_config.json and added_tokens.json may add, are rejected. "legacy", which made a difference in
 * transformers 4, has none here: T5Tokenizer of transformers 5 ignores it (tests/peer/text.py). */
#include "tokenizer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIGRAM = 1 };

/* ------------------------------------------------------------------------------------------------
 * The file: a protocol buffer, ModelProto of sentencepiece_model.proto */

struct span {
    const unsigned char *at, *end;
};
struct field {
    int number;
    uint64_t value; /* of a varint, or the bits of 4 or 8 bytes */
    struct span bytes;
};

static bool take_varint(struct span *s, uint64_t *value)
{
    *value = 0;
    for (int shift = 0; shift < 64 && s->at < s->end; shift += 7) {
        unsigned char byte = *s->at++;
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) return true;
    }
    return false;
}

static bool take_fixed(struct span *s, int n, uint64_t *value)
{
    *value = 0;
    if (s->end - s->at < n) return false;
    for (int i = 0; i < n; i++) *value |= (uint64_t)*s->at++ << (8 * i);
    return true;
}

/* The next field; false if the bytes are not a field. */
static bool take_field(struct span *s, struct field *f)
{
    uint64_t tag, length;
    *f = (struct field){0};
    if (!take_varint(s, &tag) || tag >> 3 == 0 || tag >> 3 > 1 << 29) return false;
    f->number = (int)(tag >> 3);
    switch (tag & 7) {
    case 0:
        return take_varint(s, &f->value);
    case 1:
        return take_fixed(s, 8, &f->value);
    case 2:
        if (!take_varint(s, &length) || length > (uint64_t)(s->end - s->at)) return false;
        f->bytes = (struct span){s->at, s->at + length};
        s->at += length;
        return true;
    case 5:
        return take_fixed(s, 4, &f->value);
    default:
        return false;
    }
}

static int malformed(const vdm_tokenizer *t, const char *what, vdm_error *err)
{
    return vdm_fail(err, "%s: %s: expected a SentencePiece model, found other bytes", t->path, what);
}

/* SentencePiece: 1 text, 2 score, 3 type */
static int read_piece(vdm_tokenizer *t, struct span s, vdm_error *err)
{
    struct piece p = {.text = "", .type = NORMAL};
    struct field f;
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "a piece", err);
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.bytes.at)
            p.text = (const char *)f.bytes.at, p.length = (int)(f.bytes.end - f.bytes.at);
        if (f.number == 2) memcpy(&p.score, &bits, sizeof bits);
        if (f.number == 3) p.type = f.value <= INT_MAX ? (int)f.value : INT_MAX;
    }
    return vdm_tokenizer_add_piece(t, &p, err);
}

/* TrainerSpec: 3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback */
static int read_trainer(vdm_tokenizer *t, struct span s, vdm_error *err)
{
    struct field f;
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "trainer_spec", err);
        if (f.number == 3 && f.value != UNIGRAM)
            return vdm_fail(err, "%s: model_type: found %llu, expected 1 (unigram)", t->path,
                            (unsigned long long)f.value);
        if (f.number == 24 && f.value)
            return vdm_fail(err, "%s: treat_whitespace_as_suffix: found true, expected false", t->path);
        if (f.number == 35) t->byte_fallback = f.value != 0;
    }
    return 0;
}

/* NormalizerSpec: 2 precompiled_charsmap, and three switches that are true in T5's, and here */
static int read_normalizer(vdm_tokenizer *t, struct span s, vdm_error *err)
{
    static const char *const names[] = {"add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"};
    struct field f;
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "normalizer_spec", err);
        if (f.number == 2 && vdm_tokenizer_set_table(t, f.bytes.at, (size_t)(f.bytes.end - f.bytes.at), err))
            return -1;
        if (f.number >= 3 && f.number <= 5 && !f.value)
            return vdm_fail(err, "%s: %s: found false, expected true", t->path, names[f.number - 3]);
    }
    return 0;
}

static int count_pieces(const vdm_tokenizer *t, struct span s, vdm_error *err)
{
    struct field f;
    int count = 0;
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "the file", err);
        count += f.number == 1;
        if (count > VDM_MAX_PIECES) return vdm_fail(err, "%s: more than %d pieces", t->path, VDM_MAX_PIECES);
    }
    return count ? count : malformed(t, "pieces", err);
}

static int read_model(vdm_tokenizer *t, struct span s, vdm_error *err)
{
    struct field f;
    while (s.at < s.end && take_field(&s, &f)) {
        if (f.number == 1 && read_piece(t, f.bytes, err)) return -1;
        if (f.number == 2 && read_trainer(t, f.bytes, err)) return -1;
        if (f.number == 3 && read_normalizer(t, f.bytes, err)) return -1;
    }
    return 0;
}

/* Special tokens are recognised by their text: a file has them as control pieces and as its unknown one. */
static int add_specials(vdm_tokenizer *t, vdm_error *err)
{
    for (int i = 0; i < t->pieces; i++) {
        const struct piece *p = &t->piece[i];
        bool ours = (p->length == 4 && memcmp(p->text, "</s>", 4) == 0) ||
                    (p->length == 5 && memcmp(p->text, "<pad>", 5) == 0);
        if ((p->type == UNKNOWN || (p->type == CONTROL && ours)) &&
            vdm_tokenizer_add_special(t, p->text, p->length, i, err))
            return -1;
    }
    return 0;
}

/* A JSON file of the folder, with an object in it. j->nodes is NULL if there is no such file. */
static int read_optional(vdm_json *j, const char *path, vdm_error *err)
{
    *j = (vdm_json){0};
    if (access(path, F_OK) != 0) return 0;
    if (vdm_json_read(j, path, err)) return -1;
    if (j->nodes->kind == VDM_JSON_OBJECT) return 0;
    vdm_json_free(j);
    *j = (vdm_json){0};
    return vdm_fail(err, "%s: expected an object", path);
}

/* "extra_ids" of tokenizer_config.json, 100 if there is none; -1: an error. */
static int extra_ids(const vdm_json *config, const char *path, vdm_error *err)
{
    const vdm_json_node *v = config->nodes ? vdm_json_get(config, config->nodes, "extra_ids") : NULL;
    if (!v || v->kind == VDM_JSON_NULL) return 100;
    if (v->kind == VDM_JSON_NUMBER && v->number >= 0 && v->number <= 1000 &&
        v->number <= (double)(int)v->number)
        return (int)v->number;
    return vdm_fail(err, "%s: extra_ids: expected an integer from 0 to 1000", path);
}

static int add_extra_ids(vdm_tokenizer *t, int n, vdm_error *err)
{
    enum { NAME = 24 };
    if (n < 0 || !(t->names = vdm_alloc((size_t)n, NAME, t->path, err))) return -1;
    for (int i = 0; i < n; i++) {
        char *name = t->names + (size_t)i * NAME;
        int length = snprintf(name, NAME, "<extra_id_%d>", i);
        if (vdm_tokenizer_add_special(t, name, length, t->pieces + n - 1 - i, err)) return -1;
    }
    return 0;
}

/* A token that transformers would cut out of prompts must be one of the special ones. id -1: not given. */
static int check_token(const vdm_tokenizer *t, const char *text, double id, const char *path, vdm_error *err)
{
    for (int i = 0; i < t->specials; i++) {
        const struct special *s = &t->special[i];
        if (s->length == (int)strlen(text) && memcmp(s->text, text, strlen(text)) == 0 &&
            (id < 0 || (s->id <= id && s->id >= id)))
            return 0;
    }
    char with[48] = "";
    if (id >= 0) snprintf(with, sizeof with, " with the id %g", id);
    return vdm_fail(err,
                    "%s: found the token '%.60s'%s, expected only those of %s and <extra_id_0>, ...: added "
                    "tokens are not supported",
                    path, text, with, t->path);
}

/* "added_tokens_decoder" of tokenizer_config.json: {"1": {"content": "</s>", ...}, ...} */
static int check_decoder(const vdm_tokenizer *t, const vdm_json *config, const char *path, vdm_error *err)
{
    const vdm_json_node *list =
        config->nodes ? vdm_json_get(config, config->nodes, "added_tokens_decoder") : NULL;
    if (!list || list->kind != VDM_JSON_OBJECT || !list->children) return 0;
    for (const vdm_json_node *v = list + 1; v; v = vdm_json_next(config, v)) {
        const vdm_json_node *text = v->kind == VDM_JSON_OBJECT ? vdm_json_get(config, v, "content") : NULL;
        if (!text || text->kind != VDM_JSON_STRING)
            return vdm_fail(err, "%s: added_tokens_decoder: '%.60s': expected an object with a content", path,
                            v->key);
        double id;
        if (!vdm_json_number(&id, v->key) || id < 0)
            return vdm_fail(err, "%s: added_tokens_decoder: found the key '%.60s', expected an id", path,
                            v->key);
        if (check_token(t, text->text, id, path, err)) return -1;
    }
    return 0;
}

/* "</s>", or {"content": "</s>", ...}; NULL: another value */
static const char *token_text(const vdm_json *config, const vdm_json_node *v)
{
    const vdm_json_node *text = v->kind == VDM_JSON_OBJECT ? vdm_json_get(config, v, "content") : v;
    return text && text->kind == VDM_JSON_STRING ? text->text : NULL;
}

/* Settings of tokenizer_config.json that ids depend on: one value is supported. Other names of tokens are those of
 * special ones. */
static int check_settings(const vdm_tokenizer *t, const vdm_json *config, const char *path, vdm_error *err)
{
    static const char *const fixed[][2] = {
        {"eos_token", "</s>"},        {"pad_token", "<pad>"}, {"padding_side", "right"},
        {"truncation_side", "right"}, {"unk_token", NULL},    {"bos_token", NULL},
        {"sep_token", NULL},          {"cls_token", NULL},    {"mask_token", NULL}};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed && config->nodes; i++) {
        const vdm_json_node *v = vdm_json_get(config, config->nodes, fixed[i][0]);
        if (!v || v->kind == VDM_JSON_NULL) continue;
        const char *text = token_text(config, v), *expected = fixed[i][1];
        if (!text || (expected && strcmp(text, expected) != 0))
            return vdm_fail(err, "%s: %s: expected %s, found '%.60s'", path, fixed[i][0],
                            expected ? expected : "a token", text ? text : "another value");
        if (!expected && check_token(t, text, -1, path, err)) return -1;
    }
    return 0;
}

/* Lists of tokenizer_config.json: ["<extra_id_0>", {"content": "<extra_id_1>", ...}, ...], or an object of such values */
static int check_lists(const vdm_tokenizer *t, const vdm_json *config, const char *path, vdm_error *err)
{
    static const char *const keys[] = {"additional_special_tokens", "extra_special_tokens"};
    for (int i = 0; i < 2 && config->nodes; i++) {
        const vdm_json_node *list = vdm_json_get(config, config->nodes, keys[i]);
        bool any = list && (list->kind == VDM_JSON_ARRAY || list->kind == VDM_JSON_OBJECT) && list->children;
        for (const vdm_json_node *v = any ? list + 1 : NULL; v; v = vdm_json_next(config, v)) {
            const char *text = token_text(config, v);
            if (!text) return vdm_fail(err, "%s: %s: expected tokens", path, keys[i]);
            if (check_token(t, text, -1, path, err)) return -1;
        }
    }
    return 0;
}

/* added_tokens.json, which older versions wrote: {"<extra_id_0>": 32099, ...} */
static int check_added(const vdm_tokenizer *t, const char *path, vdm_error *err)
{
    vdm_json j;
    if (read_optional(&j, path, err)) return -1;
    int status = 0;
    const vdm_json_node *v = j.nodes && j.nodes->children ? j.nodes + 1 : NULL;
    for (; v && !status; v = vdm_json_next(&j, v))
        status = v->kind == VDM_JSON_NUMBER ? check_token(t, v->key, v->number, path, err)
                                            : vdm_fail(err, "%s: '%.60s': expected an id", path, v->key);
    vdm_json_free(&j);
    return status;
}

/* What the files next to spiece.model or tokenizer.json say about special tokens. */
static int read_others(vdm_tokenizer *t, const char *dir, bool spiece, vdm_error *err)
{
    vdm_json config = {0};
    char *path = vdm_path(dir, "tokenizer_config.json", err);
    char *added = path ? vdm_path(dir, "added_tokens.json", err) : NULL;
    int status = added ? read_optional(&config, path, err) : -1;
    if (!status && spiece) status = add_extra_ids(t, extra_ids(&config, path, err), err);
    if (!status) status = check_settings(t, &config, path, err);
    if (!status) status = check_decoder(t, &config, path, err);
    if (!status) status = check_lists(t, &config, path, err);
    if (!status && spiece) status = check_added(t, added, err);
    vdm_json_free(&config);
    vdm_free(added), vdm_free(path);
    return status;
}

static int read_spiece(vdm_tokenizer *t, const char *dir, vdm_error *err)
{
    size_t size;
    if (vdm_read_file(t->path, VDM_MAX_TOKENIZER, &t->file, &size, err)) return -1;
    struct span all = {(const unsigned char *)t->file, (const unsigned char *)t->file + size};
    int n = count_pieces(t, all, err);
    if (n < 0 || vdm_tokenizer_allocate(t, n, err) || read_model(t, all, err) || add_specials(t, err))
        return -1;
    return read_others(t, dir, true, err);
}

/* ------------------------------------------------------------------------------------------------
 * Either format */

static int read_any(vdm_tokenizer *t, const char *dir, vdm_error *err)
{
    char *json = vdm_path(dir, "tokenizer.json", err);
    t->path = json ? vdm_path(dir, "spiece.model", err) : NULL;
    bool spiece = t->path && access(t->path, F_OK) == 0, either = json && (spiece || access(json, F_OK) == 0);
    if (!t->path || !either) {
        if (t->path) vdm_fail(err, "%s: found neither this file nor tokenizer.json in its folder", t->path);
        vdm_free(json);
        return -1;
    }
    if (!spiece) {
        vdm_free(t->path);
        t->path = json;
        return vdm_tokenizer_read_json(t, err) || read_others(t, dir, false, err) ? -1 : 0;
    }
    vdm_free(json);
    return read_spiece(t, dir, err);
}

vdm_tokenizer *vdm_tokenizer_load(const char *dir, vdm_error *err)
{
    vdm_tokenizer *t = vdm_alloc(1, sizeof *t, dir, err);
    if (!t) return NULL;
    if (read_any(t, dir, err) || vdm_tokenizer_index(t, err)) {
        vdm_tokenizer_free(t);
        return NULL;
    }
    return t;
}
