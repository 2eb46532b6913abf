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
#include "tokenizer.h"

#include <string.h>

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
