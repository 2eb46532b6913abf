/* The files of a tokenizer: spiece.model, SentencePiece's own, or else tokenizer.json (tokenizer_json.c).
 *
 * Special tokens are those of transformers' T5Tokenizer: </s>, <pad>, the unknown piece, and <extra_id_0>, ..., which
 * spiece.model does not hold: the last of extra_ids (100) has the id after the last piece, <extra_id_0> the highest. */
#include "tokenizer.h"

#include <float.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { UNIGRAM = 1 };
static const float UNKNOWN_PENALTY = 10;

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

/* "extra_ids" of tokenizer_config.json, 100 if there is none; -1: an error. */
static int extra_ids(const char *dir, vdm_error *err)
{
    char *path = vdm_path(dir, "tokenizer_config.json", err);
    vdm_json j = {0};
    int n = 100;
    if (!path) return -1;
    if (access(path, F_OK) == 0) {
        if (vdm_json_read(&j, path, err)) {
            vdm_free(path);
            return -1;
        }
        const vdm_json_node *v =
            j.nodes->kind == VDM_JSON_OBJECT ? vdm_json_get(&j, j.nodes, "extra_ids") : NULL;
        bool given = v && v->kind != VDM_JSON_NULL;
        bool legal = given && v->kind == VDM_JSON_NUMBER && v->number >= 0 && v->number <= 1000;
        if (legal) n = (int)v->number;
        if (given && !legal) n = vdm_fail(err, "%s: extra_ids: expected a number from 0 to 1000", path);
    }
    vdm_json_free(&j);
    vdm_free(path);
    return n;
}

static int add_extra_ids(vdm_tokenizer *t, const char *dir, vdm_error *err)
{
    enum { NAME = 24 };
    int n = extra_ids(dir, err);
    if (n < 0 || !(t->names = vdm_alloc((size_t)n, NAME, dir, err))) return -1;
    for (int i = 0; i < n; i++) {
        char *name = t->names + (size_t)i * NAME;
        int length = snprintf(name, NAME, "<extra_id_%d>", i);
        if (vdm_tokenizer_add_special(t, name, length, t->pieces + n - 1 - i, err)) return -1;
    }
    return 0;
}

static int read_spiece(vdm_tokenizer *t, const char *dir, vdm_error *err)
{
    size_t size;
    if (vdm_read_file(t->path, VDM_MAX_TOKENIZER, &t->file, &size, err)) return -1;
    struct span all = {(const unsigned char *)t->file, (const unsigned char *)t->file + size};
    int n = count_pieces(t, all, err);
    if (n < 0 || vdm_tokenizer_allocate(t, n, err) || read_model(t, all, err) || add_specials(t, err))
        return -1;
    return add_extra_ids(t, dir, err);
}

/* ------------------------------------------------------------------------------------------------
 * Shared by both formats */

int vdm_tokenizer_allocate(vdm_tokenizer *t, int n, vdm_error *err)
{
    t->piece = vdm_alloc((size_t)n, sizeof *t->piece, t->path, err);
    t->sorted = vdm_alloc((size_t)n, sizeof *t->sorted, t->path, err);
    return t->piece && t->sorted ? 0 : -1;
}

int vdm_tokenizer_add_piece(vdm_tokenizer *t, const struct piece *p, vdm_error *err)
{
    int id = t->pieces;
    if (p->length > LONGEST)
        return vdm_fail(err, "%s: piece %d: found %d bytes, expected at most %d", t->path, id, p->length,
                        LONGEST);
    if (!(p->score >= -FLT_MAX && p->score <= FLT_MAX))
        return vdm_fail(err, "%s: piece %d: its score is not finite", t->path, id);
    if (p->type < NORMAL || p->type > BYTE || p->type == 4)
        return vdm_fail(
            err,
            "%s: piece %d: found type %d, expected 1 (normal), 2 (unknown), 3 (control), 5 (unused) or 6 "
            "(byte)",
            t->path, id, p->type);
    t->piece[id] = *p;
    t->piece[id].id = id;
    t->pieces++;
    return 0;
}

int vdm_tokenizer_add_special(vdm_tokenizer *t, const char *text, int length, int id, vdm_error *err)
{
    if (t->specials == MAX_SPECIALS)
        return vdm_fail(err, "%s: found more than %d special tokens", t->path, MAX_SPECIALS);
    if (length > 0) t->special[t->specials++] = (struct special){text, length, id};
    return 0;
}

/* precompiled_charsmap: the size of the units in bytes, the units, the texts, each ended by a NUL */
int vdm_tokenizer_set_table(vdm_tokenizer *t, const void *bytes, size_t size, vdm_error *err)
{
    uint64_t n;
    if (size == 0) return 0; /* none: nothing is replaced */
    struct span s = {bytes, (const unsigned char *)bytes + size};
    if (!take_fixed(&s, 4, &n) || n % 4 || n == 0 || n >= (uint64_t)(s.end - s.at) || s.end[-1])
        return malformed(t, "precompiled_charsmap", err);
    for (const char *text = (const char *)s.at + n; text < (const char *)s.end; text += strlen(text) + 1)
        if (strlen(text) > LONGEST)
            return vdm_fail(err, "%s: precompiled_charsmap: expected texts of at most %d bytes, found %zu",
                            t->path, LONGEST, strlen(text));
    t->units = s.at;
    t->n_units = (size_t)n / 4;
    t->texts = (const char *)s.at + n;
    t->n_texts = (size_t)(s.end - s.at) - (size_t)n;
    return 0;
}

/* By bytes; the shorter first if one begins with the other. */
static int by_bytes(const void *a, const void *b)
{
    const struct piece *p = a, *q = b;
    int shorter = p->length < q->length ? p->length : q->length,
        order = memcmp(p->text, q->text, (size_t)shorter);
    return order ? order : p->length - q->length;
}

/* Sorts the normal pieces by their bytes; finds the unknown one, and the score of an unknown character. */
static int index_pieces(vdm_tokenizer *t, vdm_error *err)
{
    float min = 0;
    t->unknown = -1;
    for (int i = 0; i < t->pieces; i++) {
        const struct piece *p = &t->piece[i];
        if (p->type == UNKNOWN) t->unknown = i;
        if (p->type != NORMAL || p->length == 0) continue;
        if (t->in_order == 0 || p->score < min) min = p->score;
        t->sorted[t->in_order++] = *p;
    }
    t->unknown_score = min - UNKNOWN_PENALTY;
    if (t->unknown < 0) return vdm_fail(err, "%s: expected an unknown piece, found none", t->path);
    qsort(t->sorted, (size_t)t->in_order, sizeof *t->sorted, by_bytes);
    for (int i = 1; i < t->in_order; i++)
        if (by_bytes(&t->sorted[i - 1], &t->sorted[i]) == 0)
            return vdm_fail(err, "%s: pieces %d and %d are the same", t->path, t->sorted[i - 1].id,
                            t->sorted[i].id);
    return 0;
}

static int find_special(const vdm_tokenizer *t, const char *text, vdm_error *err)
{
    for (int i = 0; i < t->specials; i++)
        if (t->special[i].length == (int)strlen(text) && memcmp(t->special[i].text, text, strlen(text)) == 0)
            return t->special[i].id;
    return vdm_fail(err, "%s: expected a special token '%s' (a control piece), found none", t->path, text);
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The ids of "<0x00>" to "<0xFF>". */
static int index_bytes(vdm_tokenizer *t, vdm_error *err)
{
    int found = 0;
    for (int i = 0; i < 256; i++) t->byte[i] = -1;
    for (int i = 0; i < t->pieces; i++) {
        const struct piece *p = &t->piece[i];
        if (p->type != BYTE) continue;
        int high = p->length == 6 ? hex_digit(p->text[3]) : -1,
            low = p->length == 6 ? hex_digit(p->text[4]) : -1;
        if (high < 0 || low < 0 || memcmp(p->text, "<0x", 3) != 0 || p->text[5] != '>')
            return vdm_fail(err, "%s: piece %d: found '%.*s' of type 6, expected <0x00> to <0xFF>", t->path,
                            i, p->length, p->text);
        found += t->byte[16 * high + low] < 0;
        t->byte[16 * high + low] = i;
    }
    if (t->byte_fallback && found < 256)
        return vdm_fail(err, "%s: byte_fallback: found pieces of %d bytes, expected all 256", t->path, found);
    return 0;
}

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
        return vdm_tokenizer_read_json(t, err);
    }
    vdm_free(json);
    return read_spiece(t, dir, err);
}

vdm_tokenizer *vdm_tokenizer_load(const char *dir, vdm_error *err)
{
    vdm_tokenizer *t = vdm_alloc(1, sizeof *t, dir, err);
    if (!t) return NULL;
    bool fine = !read_any(t, dir, err) && !index_pieces(t, err) && !index_bytes(t, err);
    if (fine && (t->end = find_special(t, "</s>", err)) >= 0 && (t->pad = find_special(t, "<pad>", err)) >= 0)
        return t;
    vdm_tokenizer_free(t);
    return NULL;
}

void vdm_tokenizer_free(vdm_tokenizer *t)
{
    if (!t) return;
    vdm_free(t->piece), vdm_free(t->sorted), vdm_free(t->names), vdm_free(t->table);
    vdm_json_free(&t->json);
    vdm_free(t->file), vdm_free(t->path);
    vdm_free(t);
}
