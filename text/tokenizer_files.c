/* The files of a tokenizer: spiece.model, SentencePiece's own. */
#include "tokenizer.h"

#include <float.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

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

/* The next field; false where the bytes are no field. */
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
    struct piece *p = &t->piece[t->pieces];
    struct field f;
    *p = (struct piece){.text = "", .id = t->pieces, .type = NORMAL};
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "a piece", err);
        uint32_t bits = (uint32_t)f.value;
        if (f.number == 1 && f.bytes.at)
            p->text = (const char *)f.bytes.at, p->length = (int)(f.bytes.end - f.bytes.at);
        if (f.number == 2) memcpy(&p->score, &bits, sizeof bits);
        if (f.number == 3) p->type = f.value <= INT_MAX ? (int)f.value : INT_MAX;
    }
    if (p->length > LONGEST)
        return vdm_fail(err, "%s: piece %d: found %d bytes, expected at most %d", t->path, p->id, p->length,
                        LONGEST);
    if (!(p->score >= -FLT_MAX && p->score <= FLT_MAX))
        return vdm_fail(err, "%s: piece %d: its score is no finite number", t->path, p->id);
    if (p->type != NORMAL && p->type != UNKNOWN && p->type != CONTROL && p->type != UNUSED)
        return vdm_fail(
            err, "%s: piece %d: found type %d, expected 1 (normal), 2 (unknown), 3 (control) or 5 (unused)",
            t->path, p->id, p->type);
    t->pieces++;
    return 0;
}

/* TrainerSpec: 3 model_type, 24 treat_whitespace_as_suffix, 35 byte_fallback */
static int read_trainer(const vdm_tokenizer *t, struct span s, vdm_error *err)
{
    struct field f;
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "trainer_spec", err);
        if (f.number == 3 && f.value != UNIGRAM)
            return vdm_fail(err, "%s: model_type: found %llu, expected 1 (unigram)", t->path,
                            (unsigned long long)f.value);
        if ((f.number == 24 || f.number == 35) && f.value)
            return vdm_fail(err, "%s: %s: found true, expected false", t->path,
                            f.number == 24 ? "treat_whitespace_as_suffix" : "byte_fallback");
    }
    return 0;
}

/* precompiled_charsmap: the size of the units in bytes, the units, the texts, each ended by a NUL */
static int read_table(vdm_tokenizer *t, struct span s, vdm_error *err)
{
    uint64_t bytes;
    if (s.at == s.end) return 0; /* none: nothing is replaced */
    if (!take_fixed(&s, 4, &bytes) || bytes % 4 || bytes == 0 || bytes > (uint64_t)(s.end - s.at) ||
        (uint64_t)(s.end - s.at) == bytes || s.end[-1])
        return malformed(t, "precompiled_charsmap", err);
    for (const char *text = (const char *)s.at + bytes; text < (const char *)s.end; text += strlen(text) + 1)
        if (strlen(text) > LONGEST)
            return vdm_fail(err, "%s: precompiled_charsmap: expected texts of at most %d bytes, found %zu",
                            t->path, LONGEST, strlen(text));
    t->units = s.at;
    t->n_units = (size_t)bytes / 4;
    t->texts = (const char *)s.at + bytes;
    t->n_texts = (size_t)(s.end - s.at) - (size_t)bytes;
    return 0;
}

/* NormalizerSpec: 2 precompiled_charsmap, and three switches that are true in T5's, and here */
static int read_normalizer(vdm_tokenizer *t, struct span s, vdm_error *err)
{
    static const char *const names[] = {"add_dummy_prefix", "remove_extra_whitespaces", "escape_whitespaces"};
    struct field f;
    while (s.at < s.end) {
        if (!take_field(&s, &f)) return malformed(t, "normalizer_spec", err);
        if (f.number == 2 && read_table(t, f.bytes, err)) return -1;
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

/* By bytes, the shorter first where one begins with the other. */
static int by_bytes(const void *a, const void *b)
{
    const struct piece *p = a, *q = b;
    int shorter = p->length < q->length ? p->length : q->length,
        order = memcmp(p->text, q->text, (size_t)shorter);
    return order ? order : p->length - q->length;
}

static int find_special(const vdm_tokenizer *t, const char *text, vdm_error *err)
{
    for (int i = 0; i < t->pieces; i++)
        if (t->piece[i].type == CONTROL && t->piece[i].length == (int)strlen(text) &&
            memcmp(t->piece[i].text, text, strlen(text)) == 0)
            return i;
    return vdm_fail(err, "%s: expected a control piece '%s', found none", t->path, text);
}

/* The pieces by their bytes, the special ones, the score of an unknown character. */
static int index_pieces(vdm_tokenizer *t, vdm_error *err)
{
    float least = 0;
    t->unknown = -1;
    for (int i = 0; i < t->pieces; i++) {
        const struct piece *p = &t->piece[i];
        if (p->type == UNKNOWN) t->unknown = i;
        if (p->type != NORMAL || p->length == 0) continue;
        if (t->in_order == 0 || p->score < least) least = p->score;
        t->sorted[t->in_order++] = *p;
    }
    t->unknown_score = least - UNKNOWN_PENALTY;
    if (t->unknown < 0) return vdm_fail(err, "%s: expected an unknown piece, found none", t->path);
    if ((t->end = find_special(t, "</s>", err)) < 0 || (t->pad = find_special(t, "<pad>", err)) < 0)
        return -1;
    qsort(t->sorted, (size_t)t->in_order, sizeof *t->sorted, by_bytes);
    for (int i = 1; i < t->in_order; i++)
        if (by_bytes(&t->sorted[i - 1], &t->sorted[i]) == 0)
            return vdm_fail(err, "%s: pieces %d and %d are the same", t->path, t->sorted[i - 1].id,
                            t->sorted[i].id);
    return 0;
}

vdm_tokenizer *vdm_tokenizer_load(const char *dir, vdm_error *err)
{
    vdm_tokenizer *t = vdm_alloc(1, sizeof *t, dir, err);
    size_t size;
    if (!t) return NULL;
    int count = -1;
    if ((t->path = vdm_path(dir, "spiece.model", err)) &&
        !vdm_read_file(t->path, VDM_MAX_TOKENIZER, &t->file, &size, err)) {
        struct span all = {(const unsigned char *)t->file, (const unsigned char *)t->file + size};
        if ((count = count_pieces(t, all, err)) > 0) {
            t->piece = vdm_alloc((size_t)count, sizeof *t->piece, dir, err);
            t->sorted = vdm_alloc((size_t)count, sizeof *t->sorted, dir, err);
            if (!t->piece || !t->sorted || read_model(t, all, err) || index_pieces(t, err)) count = -1;
        }
    }
    if (count > 0) return t;
    vdm_tokenizer_free(t);
    return NULL;
}

void vdm_tokenizer_free(vdm_tokenizer *t)
{
    if (!t) return;
    vdm_free(t->piece), vdm_free(t->sorted);
    vdm_free(t->file), vdm_free(t->path);
    vdm_free(t);
}

