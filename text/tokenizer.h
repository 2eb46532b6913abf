/* A tokenizer in memory: what its files are read into (tokenizer_files.c) and prompts are cut with (tokenizer.c). */
#ifndef VDM_TOKENIZER_H
#define VDM_TOKENIZER_H

#include "vdm.h"

enum { NORMAL = 1, UNKNOWN = 2, CONTROL = 3, UNUSED = 5 }; /* types of a piece */
enum { LONGEST = 256 }; /* bytes of a piece, of what is normalised at once, and of what it becomes */

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

#endif
