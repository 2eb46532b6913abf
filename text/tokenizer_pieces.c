/* A tokenizer's pieces in memory, whichever file they are from: added one by one, checked, then sorted for the search. */
#include "tokenizer.h"

#include <float.h>
#include <stdlib.h>
#include <string.h>

static const float UNKNOWN_PENALTY = 10;

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
    const unsigned char *b = bytes;
    if (size == 0) return 0; /* none: nothing is replaced */
    size_t n = size < 4 ? 0 : b[0] | (size_t)b[1] << 8 | (size_t)b[2] << 16 | (size_t)b[3] << 24;
    if (n == 0 || n % 4 || n >= size - 4 || b[size - 1])
        return vdm_fail(err, "%s: precompiled_charsmap: expected a SentencePiece model, found other bytes",
                        t->path);
    const char *texts = (const char *)b + 4 + n, *end = (const char *)b + size;
    for (const char *text = texts; text < end; text += strlen(text) + 1)
        if (strlen(text) > LONGEST)
            return vdm_fail(err, "%s: precompiled_charsmap: expected texts of at most %d bytes, found %zu",
                            t->path, LONGEST, strlen(text));
    t->units = b + 4;
    t->n_units = n / 4;
    t->texts = texts;
    t->n_texts = (size_t)(end - texts);
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

int vdm_tokenizer_index(vdm_tokenizer *t, vdm_error *err)
{
    if (index_pieces(t, err) || index_bytes(t, err)) return -1;
    t->end = find_special(t, "</s>", err);
    t->pad = t->end < 0 ? -1 : find_special(t, "<pad>", err);
    return t->pad < 0 ? -1 : 0;
}

void vdm_tokenizer_free(vdm_tokenizer *t)
{
    if (!t) return;
    vdm_free(t->piece), vdm_free(t->sorted), vdm_free(t->names), vdm_free(t->table);
    vdm_json_free(&t->json);
    vdm_free(t->file), vdm_free(t->path);
    vdm_free(t);
}
