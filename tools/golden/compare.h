/* Goldens and what is held against them: shared by golden.c, compare.c, its page and the search for causes.
 */
#ifndef VDM_COMPARE_H
#define VDM_COMPARE_H

#include "tools/options.h"

/* Prints the comparison of the two files that are the operands; differs: one tensor leaves its tolerance. */
int compare_run(const options *o, const char *command, bool *differs, vdm_error *err);

/* Relative L2 distance from float64 that was measured for this kind of tensor (tolerances.c), of "f32" or
 * "bf16" arithmetic; -1 where the kind is not known. what: the golden's ("sample"), or NULL. */
double expected_error(const char *what, const char *name, const char *precision);
/* A name without "step.3." and the like; returns where the rest begins. */
const char *name_without_prefix(const char *name);
/* A pattern, which ends at a comma or the end: * for any characters, ? for one. */
bool name_matches(const char *pattern, const char *name);

/* Two files side by side. */
typedef struct both {
    vdm_safetensors ref, got;
    const vdm_tensor **order; /* [ref.count]: as they lie in the file, which is as they were computed */
    char *map;                /* text of --map: lines of two names; or NULL */
} both;
/* The other file's tensor for this one; NULL where it has none. */
const vdm_tensor *both_other(const both *b, const char *name);
double both_fact(const both *b, const char *name,
                 double otherwise); /* a number of the reference's metadata */

/* How far a tensor is from the reference. */
typedef struct gap {
    int64_t n, broken; /* numbers; the first that is NaN or Inf and should not be, or -1 */
    double max_abs, max_rel, l2, cosine;
    int64_t worst, first;   /* where: max_abs; the first number off by more than it may be, or worst */
    double expected, found; /* there */
} gap;
/* Of the same number of elements. */
gap gap_of(const vdm_tensor *ref, const vdm_tensor *got, double tolerance);

/* One line of the comparison. */
enum verdict { AGREES, LEAVES, BROKEN, SHAPE, MISSING };
typedef struct finding {
    const vdm_tensor *ref, *got;
    double tolerance;
    gap gap;
    enum verdict verdict;
} finding;

/* The mistake that would make `got` of `ref`: a sentence, or "" where none is known (mistakes.c). */
int cause_of(const both *b, const finding *f, char *text, size_t size, vdm_error *err);

/* What was found, as a page (compare_page.c). */
typedef struct comparison {
    const both *b;
    const char *command;
    finding *all; /* [count] */
    int64_t count, agree, leave, missing;
    int64_t first; /* to leave its tolerance, or -1 */
    char cause[512];
} comparison;
int comparison_page(const comparison *c, const char *path, vdm_error *err);
void shape_say(char *text, size_t size, int rank, const int64_t *shape);     /* "[2,38,256]" */
void index_say(char *text, size_t size, const vdm_tensor *t, int64_t index); /* "[0,3,17]" */

#endif
