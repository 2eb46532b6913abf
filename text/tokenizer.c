/* SentencePiece's unigram tokenizer, as T5 has it: a prompt becomes ids (tokenizer/spiece.model).
 *
 *   text -> normalised text (NFKC, spaces joined and written as U+2581, one in front)
 *        -> the pieces of the vocabulary whose scores sum to most -> ids, </s>, <pad> ... <pad>
 *
 * Mirrors sentencepiece's normalizer.cc and unigram_model.cc (EncodeOptimized), and the call that diffusers'
 * CogVideoX pipelines make: padding="max_length", truncation=True, add_special_tokens=True.
 *
 * Traps: normalisation is a table of the file, searched for the longest match; what replaces a match is not
 * normalised again. A prompt of spaces alone has no piece at all, not even the space in front. A path's score
 * is a float; candidates are compared in double where a piece ends them, and strictly, so that of equal ones
 * the earlier stays. Unknown characters side by side are one <unk>. Special tokens spelled in a prompt
 * ("</s>") are text like any other here: transformers cuts them out beforehand. */
#include "vdm.h"

#include <float.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, UNUSED = 5 }; /* types of a piece */
enum { UNIGRAM = 1 };
enum { LONGEST = 256 }; /* bytes of a piece, of what is normalised at once, and of what it becomes */
static const float UNKNOWN_PENALTY = 10;

struct piece {
    const char *text; /* not ended by a NUL */
    int length, id, type;
    float score;
};

struct vdm_tokenizer {
    char *path, *file;
    int pieces, in_order; /* in_order: NORMAL pieces, sorted by their bytes */
    struct piece *piece;  /* [pieces], in order of ids */
    struct piece *sorted; /* [in_order] */
    int unknown, end, pad;
    float unknown_score;
    /* the normaliser's table: a double array of units, then the texts that replace a match */
    const unsigned char *units;
    size_t n_units;
    const char *texts;
    size_t n_texts;
};

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

/* ------------------------------------------------------------------------------------------------
 * Normalisation */

struct text {
    const char *at;
    size_t length;
};

static const struct text SPACE = {"\xe2\x96\x81", 3}; /* U+2581, as which a space is written */

/* A unit of the double array (darts-clone): what its label is, where its children are, its value. */
static uint32_t unit_at(const vdm_tokenizer *t, size_t node)
{
    const unsigned char *u = t->units + 4 * node;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}
static size_t children_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The longest beginning of s that the table knows, and what replaces it; 0 where it knows none. */
static size_t longest_match(const vdm_tokenizer *t, struct text s, struct text *replacement)
{
    size_t longest = 0, node = t->n_units ? children_of(unit_at(t, 0)) : 0;
    for (size_t i = 0; t->n_units && i < s.length && i < LONGEST; i++) {
        unsigned char byte = (unsigned char)s.at[i];
        node ^= byte;
        if (node >= t->n_units) break;
        uint32_t unit = unit_at(t, node);
        if ((unit & (1u << 31 | 0xff)) != byte) break;
        node ^= children_of(unit);
        if (!(unit & (1u << 8))) continue;
        if (node >= t->n_units) break;
        size_t value = unit_at(t, node) & 0x7fffffff;
        if (value >= t->n_texts) break;
        longest = i + 1;
        *replacement = (struct text){t->texts + value, strlen(t->texts + value)}; /* the last byte is a NUL */
    }
    return longest;
}

/* The beginning of s, normalised; returns how many bytes of s it was. */
static size_t normal_prefix(const vdm_tokenizer *t, struct text s, struct text *to)
{
    size_t n = longest_match(t, s, to);
    if (n) return n;
    n = (size_t)vdm_utf8_length(s.at, s.length);
    *to = n ? (struct text){s.at, n} : (struct text){"\xef\xbf\xbd", 3}; /* U+FFFD for one bad byte */
    return n ? n : 1;
}

static size_t put(char *to, size_t at, const char *from, size_t n)
{
    if (to) memcpy(to + at, from, n);
    return at + n;
}

/* Bytes of the normalised text, spaces at its end included; it is written unless `to` is NULL. */
static size_t normalise(const vdm_tokenizer *t, struct text s, char *to)
{
    struct text part;
    size_t at = 0, n;
    while (s.length && (n = normal_prefix(t, s, &part), part.length == 1 && *part.at == ' '))
        s.at += n, s.length -= n;
    if (s.length == 0) return 0;
    at = put(to, at, SPACE.at, SPACE.length);
    for (bool after_space = true; s.length; s.at += n, s.length -= n) {
        n = normal_prefix(t, s, &part);
        while (after_space && part.length && *part.at == ' ') part.at++, part.length--;
        for (size_t i = 0; i < part.length; i++)
            at = part.at[i] == ' ' ? put(to, at, SPACE.at, SPACE.length) : put(to, at, part.at + i, 1);
        if (part.length) after_space = part.at[part.length - 1] == ' ';
    }
    return at;
}

/* Without the spaces at its end, be they the prompt's or U+2581 that it wrote. */
static size_t trimmed(const char *text, size_t length)
{
    while (length >= SPACE.length && memcmp(text + length - SPACE.length, SPACE.at, SPACE.length) == 0)
        length -= SPACE.length;
    return length;
}

/* ------------------------------------------------------------------------------------------------
 * The best pieces: Viterbi over the ends of characters */

struct node {
    int begin, id; /* of the piece that ends here; begin -1: none does */
    float score;   /* of the best path up to here */
};

/* Bytes of a character by its first one. */
static size_t step_at(const char *text)
{
    unsigned char b = (unsigned char)*text;
    return b < 0xc0 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

static void offer(struct node *end, int begin, int id, double score)
{
    if (end->begin < 0 || score > (double)end->score) *end = (struct node){begin, id, (float)score};
}

/* The pieces lo .. hi - 1 begin with the same `depth` bytes: those of them that go on with `byte`. */
static void narrow(const vdm_tokenizer *t, int *lo, int *hi, int depth, unsigned char byte)
{
    int ends[2];
    for (int side = 0; side < 2; side++) { /* the first that goes on with byte or more; with more */
        int a = *lo, b = *hi;
        while (a < b) {
            int middle = a + (b - a) / 2;
            const struct piece *p = &t->sorted[middle];
            int its = p->length > depth ? (unsigned char)p->text[depth] : -1;
            if (its < byte + side)
                a = middle + 1;
            else
                b = middle;
        }
        ends[side] = a;
    }
    *lo = ends[0], *hi = ends[1];
}

/* All pieces that begin at `begin`, and the unknown one where none is a single character. */
static void extend(const vdm_tokenizer *t, const char *text, size_t length, size_t begin, struct node *nodes)
{
    size_t one = step_at(text + begin);
    if (one > length - begin) one = length - begin;
    const float score = nodes[begin].score;
    bool known = false;
    int lo = 0, hi = t->in_order;
    for (size_t end = begin; end < length && lo < hi;) {
        narrow(t, &lo, &hi, (int)(end - begin), (unsigned char)text[end]);
        end++;
        if (lo == hi || t->sorted[lo].length != (int)(end - begin)) continue;
        offer(&nodes[end], (int)begin, t->sorted[lo].id, (double)t->sorted[lo].score + (double)score);
        known = known || end - begin == one;
    }
    if (!known) offer(&nodes[begin + one], (int)begin, t->unknown, (double)(t->unknown_score + score));
}

/* ids [length], from the last piece to the first; returns how many. Unknown ones side by side are one. */
static size_t best_pieces(const vdm_tokenizer *t, const char *text, size_t length, struct node *nodes,
                          int32_t *ids)
{
    size_t n = 0;
    for (size_t i = 1; i <= length; i++) nodes[i].begin = -1;
    for (size_t i = 0; i < length; i += step_at(text + i)) extend(t, text, length, i, nodes);
    for (size_t at = length; at > 0; at = (size_t)nodes[at].begin)
        if (n == 0 || nodes[at].id != t->unknown || ids[n - 1] != t->unknown) ids[n++] = nodes[at].id;
    return n;
}

int vdm_tokenize(const vdm_tokenizer *t, const char *prompt, int32_t *ids, int count, vdm_error *err)
{
    struct text s = {prompt, strlen(prompt)};
    if (count < 1) return vdm_fail(err, "prompt: expected room for one token at least, found %d", count);
    if (s.length > VDM_MAX_PROMPT)
        return vdm_fail(err, "prompt: found %zu bytes, expected at most %d", s.length, VDM_MAX_PROMPT);
    size_t room = normalise(t, s, NULL) + 1;
    char *text = vdm_alloc(room, 1, "a prompt", err);
    struct node *nodes = vdm_alloc(room, sizeof *nodes, "a prompt", err);
    int32_t *found = vdm_alloc(room, sizeof *found, "a prompt", err); /* from the last to the first */
    int status = text && nodes && found ? 0 : -1;
    if (!status) {
        size_t length = trimmed(text, normalise(t, s, text)), n = best_pieces(t, text, length, nodes, found);
        size_t most = (size_t)count - 1, kept = n < most ? n : most;
        for (size_t i = 0; i < (size_t)count; i++)
            ids[i] = i < kept ? found[n - 1 - i] : i == kept ? t->end : t->pad;
    }
    vdm_free(text), vdm_free(nodes), vdm_free(found);
    return status;
}
