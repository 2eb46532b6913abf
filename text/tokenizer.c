/* SentencePiece's unigram tokenizer, as T5 uses it: a prompt becomes ids.
 *
 *   prompt -> special tokens, by their spelling ("</s>", "<extra_id_0>"), and the texts between them
 *   text -> normalised text (NFKC, spaces joined and written as U+2581, one in front)
 *        -> the pieces of the vocabulary with the highest sum of scores -> ids
 *   all ids, </s>, <pad> ... <pad>
 *
 * Mirrors sentencepiece's normalizer.cc and unigram_model.cc (EncodeOptimized), and the call of diffusers' CogVideoX
 * pipelines: padding="max_length", truncation=True, add_special_tokens=True; the special tokens are those that
 * transformers' T5Tokenizer cuts out beforehand.
 *
 * Traps
 *   Normalisation is a table in the file, searched for the longest match; a replacement is not normalised again.
 *   A text that consists of spaces has no piece at all, not even the space in front.
 *   Two paths may have the same score ("0000"). Scores are summed and compared as floats, and a candidate replaces
 *   another only if it is greater, as in sentencepiece since 0.2.2 and in transformers 5; up to 0.2.1 a candidate was
 *   a double.
 *   Unknown characters in a row are one <unk>; with byte_fallback each becomes the pieces of its bytes. */
#include "tokenizer.h"

#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Normalisation */

struct text {
    const char *at;
    size_t length;
};

static const struct text SPACE = {"\xe2\x96\x81", 3}; /* U+2581, which replaces a space */

/* A unit of the double array (darts-clone): its label, the place of its children, its value. */
static uint32_t unit_at(const vdm_tokenizer *t, size_t node)
{
    const unsigned char *u = t->units + 4 * node;
    return u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16 | (uint32_t)u[3] << 24;
}
static size_t children_of(uint32_t unit)
{
    return (size_t)(unit >> 10) << ((unit & (1u << 9)) >> 6);
}

/* The length of the longest prefix of s in the table, and its replacement; 0 if there is none. */
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

/* Normalises the beginning of s; returns its length in bytes of s. */
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

/* The length without spaces at the end, whether the prompt's own or U+2581 in it. */
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

/* Bytes of a character, by its first byte. */
static size_t step_at(const char *text)
{
    unsigned char b = (unsigned char)*text;
    return b < 0xc0 ? 1 : b < 0xe0 ? 2 : b < 0xf0 ? 3 : 4;
}

static void offer(struct node *end, int begin, int id, float score)
{
    if (end->begin < 0 || score > end->score) *end = (struct node){begin, id, score};
}

/* The pieces lo .. hi - 1 begin with the same `depth` bytes: narrows them to those whose next byte is `byte`. */
static void narrow(const vdm_tokenizer *t, int *lo, int *hi, int depth, unsigned char byte)
{
    int ends[2];
    for (int side = 0; side < 2; side++) { /* the first whose next byte is `byte` or greater; greater */
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

/* All pieces that begin at `begin`, and the unknown one if none is a single character. */
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
        offer(&nodes[end], (int)begin, t->sorted[lo].id, t->sorted[lo].score + score);
        known = known || end - begin == one;
    }
    if (!known) offer(&nodes[begin + one], (int)begin, t->unknown, t->unknown_score + score);
}

/* ids [length], from the last piece to the first; returns how many. */
static size_t best_pieces(const vdm_tokenizer *t, const char *text, size_t length, struct node *nodes,
                          int32_t *ids)
{
    size_t n = 0;
    for (size_t i = 1; i <= length; i++) nodes[i].begin = -1;
    for (size_t i = 0; i < length; i += step_at(text + i)) extend(t, text, length, i, nodes);
    for (size_t at = length; at > 0;) {
        size_t begin = (size_t)nodes[at].begin;
        bool unknown = nodes[at].id == t->unknown;
        if (unknown && t->byte_fallback)
            for (size_t i = at; i > begin; i--) ids[n++] = t->byte[(unsigned char)text[i - 1]];
        else if (!unknown || n == 0 || ids[n - 1] != t->unknown) /* unknown ones in a row are one */
            ids[n++] = nodes[at].id;
        at = begin;
    }
    return n;
}

/* ------------------------------------------------------------------------------------------------
 * Prompts */

/* The place of the first special token in s, the longest if two begin there; s.length if there is none. */
static size_t find_special(const vdm_tokenizer *t, struct text s, const struct special **special)
{
    *special = NULL;
    for (size_t at = 0; at < s.length; at++) {
        for (int i = 0; i < t->specials; i++) {
            const struct special *p = &t->special[i];
            bool here =
                (size_t)p->length <= s.length - at && memcmp(s.at + at, p->text, (size_t)p->length) == 0;
            if (here && (!*special || p->length > (*special)->length)) *special = p;
        }
        if (*special) return at;
    }
    return s.length;
}

/* Memory for a prompt's ids, and for the longest text between its special tokens. */
typedef struct work {
    char *text;
    struct node *nodes;
    int32_t *ids, *backward; /* backward: of one text, from the last to the first */
    size_t n;                /* ids so far */
} work;

static void work_free(work *w)
{
    vdm_free(w->text), vdm_free(w->nodes), vdm_free(w->ids), vdm_free(w->backward);
}

static void add_text(const vdm_tokenizer *t, struct text s, work *w)
{
    size_t length = trimmed(w->text, normalise(t, s, w->text));
    for (size_t n = best_pieces(t, w->text, length, w->nodes, w->backward); n > 0; n--)
        w->ids[w->n++] = w->backward[n - 1];
}

/* All ids of a prompt, without </s>. A text has at most as many as it has bytes when it is normalised. */
static int cut_prompt(const vdm_tokenizer *t, const char *prompt, work *w, vdm_error *err)
{
    struct text s = {prompt, strlen(prompt)};
    const struct special *special;
    size_t capacity = 1;
    if (s.length > VDM_MAX_PROMPT)
        return vdm_fail(err, "prompt: found %zu bytes, expected at most %d", s.length, VDM_MAX_PROMPT);
    for (size_t at = 0; at < s.length;) {
        struct text rest = {s.at + at, s.length - at};
        rest.length = find_special(t, rest, &special);
        capacity += normalise(t, rest, NULL) + 1;
        at += rest.length + (special ? (size_t)special->length : 0);
    }
    *w = (work){.text = vdm_alloc(capacity, 1, "a prompt", err),
                .nodes = vdm_alloc(capacity, sizeof *w->nodes, "a prompt", err),
                .ids = vdm_alloc(capacity, sizeof *w->ids, "a prompt", err),
                .backward = vdm_alloc(capacity, sizeof *w->backward, "a prompt", err)};
    if (!w->text || !w->nodes || !w->ids || !w->backward) return -1;
    for (size_t at = 0; at < s.length;) {
        struct text rest = {s.at + at, s.length - at};
        rest.length = find_special(t, rest, &special);
        add_text(t, rest, w);
        if (special) w->ids[w->n++] = special->id;
        at += rest.length + (special ? (size_t)special->length : 0);
    }
    return 0;
}

int vdm_tokenize(const vdm_tokenizer *t, const char *prompt, int32_t *ids, int count, vdm_error *err)
{
    work w = {0};
    if (count < 1) return vdm_fail(err, "prompt: expected a length of at least one token, found %d", count);
    int status = cut_prompt(t, prompt, &w, err);
    size_t max = (size_t)count - 1, n = w.n < max ? w.n : max;
    for (size_t i = 0; i < (size_t)count && !status; i++)
        ids[i] = i < n ? w.ids[i] : i == n ? t->end : t->pad;
    work_free(&w);
    return status;
}

int vdm_token_count(const vdm_tokenizer *t, const char *prompt, vdm_error *err)
{
    work w = {0};
    int n = cut_prompt(t, prompt, &w, err) ? -1 : (int)w.n + 1;
    work_free(&w);
    return n;
}
