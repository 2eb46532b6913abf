/* Goldens and comparisons: shared by golden.c, compare.c, its page and the search for mistakes. Each file uses the ones
 * after it:
 *   compare.c  ->  compare_page.c  ->  compare_notes.c;  mistakes.c  ->  mistakes_model.c,
 *              mistakes_update.c, mistakes_order.c, mistakes_weights.c  ->  mistakes_search.c
 *              ->  compare_tensors.c  ->  compare_files.c  ->  compare_map.c;  tolerances.c */
#ifndef VDM_COMPARE_H
#define VDM_COMPARE_H

#include "tools/options.h"

/* Prints the comparison of the two files that are the operands; differs: a tensor is outside its tolerance, or
 * what has to be in the second is missing. */
int compare_run(const options *o, const char *command, bool *differs, vdm_error *err);

/* The expected error: relative L2 distance from float64 that was measured for this kind of tensor (tolerances.c), in
 * "f32" or "bf16" arithmetic; -1 if the kind is not known. what: the golden's computation ("sample"), or NULL. */
double expected_error(const char *what, const char *name, const char *precision);
/* Where the name begins after prefixes like "step.3.". */
const char *name_without_prefix(const char *name);

/* --map: names of the reference, and what the other file calls these tensors (compare_map.c). */
typedef struct name_map {
    char *text; /* of the file; the lines point into it */
    struct map_line {
        const char *from, *to;
    } * lines; /* those without * first, sorted by `from`; then those with *, as in the file */
    int64_t count, n_plain;
} name_map;
int map_read(name_map *m, const char *path, vdm_error *err);
void map_free(name_map *m);
/* The other file's name; `name` itself if no line fits. */
enum { MAX_MAPPED = 2 * VDM_MAX_NAME };
const char *map_name(const name_map *m, const char *name, char to[MAX_MAPPED]);
/* How many lines fit no tensor of the reference, and the first of them. */
int64_t map_unused(const name_map *m, const vdm_safetensors *ref, const char **first);

/* Two files side by side (compare_files.c). */
typedef struct both {
    vdm_safetensors ref, got;
    const vdm_tensor **order; /* [ref.count]: in the order of the file, in which they were computed */
    name_map map;
    vdm_safetensors transformer, vae; /* --weights; path NULL: none */
    bool bf16;                        /* the tolerances are those of bf16 */
} both;
/* The operands, --map and --weights of a command. */
int both_open(both *b, const options *o, vdm_error *err);
void both_close(both *b); /* after a failure too */
/* The other file's tensor for this one; NULL if it has none. */
const vdm_tensor *both_other(const both *b, const char *name);
/* How many tensors of the other file belong to none of the reference, and the first of them. */
int both_extra(const both *b, int64_t *count, const char **first, vdm_error *err);
/* A number in the reference's metadata; `otherwise` if it is missing or not finite. */
double both_fact(const both *b, const char *name, double otherwise);
/* The precision that a file's metadata name, "f32" or "bf16"; another name as it is; NULL: none. */
const char *precision_in(const vdm_safetensors *f);
/* --only: patterns with commas between them, at most MAX_PATTERNS; NULL: none. * stands for any characters, ? for one. */
enum { MAX_PATTERNS = 64 };
int patterns_check(const char *patterns, vdm_error *err);
/* Which of the patterns match the name, as bits. */
uint64_t patterns_matching(const char *patterns, const char *name);
/* The first pattern whose bit is not set; NULL: there is none. */
const char *pattern_unused(const char *patterns, uint64_t used);
void shape_text(char *text, size_t size, int rank, const int64_t *shape);     /* "[2,38,256]" */
void index_text(char *text, size_t size, const vdm_tensor *t, int64_t index); /* "[0,3,17]" */

/* How far a tensor is from the reference (compare_tensors.c). */
typedef struct gap {
    int64_t n;              /* elements */
    int64_t not_finite;     /* the first NaN or Inf that the other file should not have there, or -1 */
    bool reference_is_nan;  /* ... because the reference has NaN there */
    int64_t got_not_finite; /* NaN or Inf of the other file, but for the reference's own Inf */
    bool exact;             /* integers: every element has to be the same */
    int64_t different;      /* of these: elements that differ */
    double max_abs, max_rel, l2, cosine;
    int64_t worst, first; /* elements: of max_abs; the first that differs by more than allowed, or worst */
    char expected[32], found[32]; /* there */
} gap;

/* One line of the comparison. */
enum verdict { AGREES, DIFFERS, NOT_FINITE, OTHER_SHAPE, OTHER_TYPE, MISSING };
typedef struct finding {
    const vdm_tensor *ref, *got;
    double tolerance;
    gap gap;
    enum verdict verdict;
    const char *note; /* the known harmless reason of a difference; or NULL */
} finding;
/* Fills in gap and verdict: f->ref, f->got (NULL: missing) and f->tolerance are set. */
void judge(finding *f);
bool is_wrong(const finding *f);

/* Whether rounding to float32, or none, of the frequencies and angles of the timestep's sinusoid explains time_proj or
 * ofs_proj; PyTorch's exp may be wrong by a unit in the last place, too (compare_tensors.c). */
bool explained_by_frequencies(const both *b, const finding *f);
/* The same for an element of the sinusoid, cos or sin of angle = t exp(exponent): whether `found` is `right` up to these
 * roundings. */
bool is_sinusoid(double found, double right, double angle, double exponent);

/* The mistake that turns `ref` into `got`: a sentence, or "" if none is known (mistakes.c). */
int mistake_of(const both *b, const finding *f, char *text, size_t size, vdm_error *err);

/* The result, as a page (compare_page.c). */
typedef struct comparison {
    const both *b;
    const char *command;
    finding *all; /* [count] */
    int64_t count, agree, differ, missing;
    int64_t extra; /* tensors of the other file that are not in the reference, and the first of them */
    const char *first_extra;
    int64_t first;      /* that is outside its tolerance, or -1 */
    char lacks[512];    /* why what is missing makes the comparison fail: a sentence, or "" */
    char precision[16]; /* of the expected errors, "f32" or "bf16"; "" if --tol is a number */
    char cause[512];
} comparison;
/* Passes on what there is to note, each as a sentence without its end: the metadata in which the files differ, what was
 * not used or compared, why a tensor outside its tolerance counts as agreeing (compare_notes.c). */
void comparison_notes(const comparison *c, void (*note)(void *user, const char *text), void *user);
int comparison_page(const comparison *c, const char *path, vdm_error *err);

#endif
