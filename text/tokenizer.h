/* A tokenizer in memory: read by tokenizer_files.c, used by tokenizer.c.
 *   tokenizer_files.c -> tokenizer_json.c -> tokenizer_pieces.c */
#ifndef VDM_TOKENIZER_H
#define VDM_TOKENIZER_H

#include "vdm.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, UNUSED = 5, BYTE = 6 }; /* types of a piece */
enum { LONGEST = 256 }; /* bytes of a piece, of a match of the normaliser, and of its replacement */

struct piece {
    const char *text; /* without a NUL at the end */
    int length, id, type;
    float score;
};

enum { MAX_SPECIALS = 1024 };

/* A special token: cut out of a prompt by its spelling, before all other steps. */
struct special {
    const char *text;
    int length, id;
};

struct vdm_tokenizer {
    char *path, *file;
    vdm_json json;        /* of a tokenizer.json: holds the texts of its pieces */
    int pieces, in_order; /* in_order: NORMAL pieces, sorted by their bytes */
    struct piece *piece;  /* [pieces], in order of ids */
    struct piece *sorted; /* [in_order] */
    int unknown, end, pad;
    float unknown_score;
    struct special special[MAX_SPECIALS];
    int specials;
    char *names;        /* of <extra_id_0>, ..., if the file does not contain them */
    bool byte_fallback; /* an unknown character becomes the pieces of its bytes */
    int byte[256];      /* their ids */
    /* the normaliser's table: a double array of units, then the texts that replace a match */
    char *table; /* separate memory, or NULL: it is part of `file` */
    const unsigned char *units;
    size_t n_units;
    const char *texts;
    size_t n_texts;
};

/* tokenizer_json.c: tokenizer.json of the library "tokenizers", model Unigram, into t, whose path is set. */
int vdm_tokenizer_read_json(vdm_tokenizer *t, vdm_error *err);

/* tokenizer_pieces.c, for both formats: memory for n pieces; a piece, checked; a special token; the normaliser's
 * table; at last the search order of all pieces, and the special ones. */
int vdm_tokenizer_allocate(vdm_tokenizer *t, int n, vdm_error *err);
int vdm_tokenizer_add_piece(vdm_tokenizer *t, const struct piece *p, vdm_error *err);
int vdm_tokenizer_add_special(vdm_tokenizer *t, const char *text, int length, int id, vdm_error *err);
int vdm_tokenizer_set_table(vdm_tokenizer *t, const void *bytes, size_t size, vdm_error *err);
int vdm_tokenizer_index(vdm_tokenizer *t, vdm_error *err);

#endif
