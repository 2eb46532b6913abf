/* The search for a mistake: what mistakes.c (mistakes of any tensor) and mistakes_model.c (of this model's own
 * layers) share.
 *
 * A file may hold anything: tensors of the reference are taken by neighbour() and neighbour_of() alone, which check
 * type, rank and shape, and numbers of its metadata by fact() alone, which checks their range. */
#ifndef VDM_MISTAKES_H
#define VDM_MISTAKES_H

#include "tools/golden/compare.h"

enum { MAX_BUFFERS = 64 };

/* A tensor that is wrong, and the best explanation so far. */
typedef struct search {
    const both *b;
    const finding *f;
    const char *name; /* without its prefix */
    int prefix_length;
    int64_t n;        /* elements, at least 1 */
    float *ref, *got; /* [n]: the reference's, and those found */
    float *candidate; /* [n]: what a mistake would give is made here */
    double error;     /* distance of got from ref */
    double best;      /* distance of got from the best candidate; error before there is one */
    int explanations; /* candidates that explain got as well as the best one does */
    char text[400];   /* the best one; where there are two, both */
    float *buffers[MAX_BUFFERS];
    int n_buffers;
} search;

/* |a - b| / |b| over n elements */
double distance_of(const float *a, const float *b, int64_t n);
/* x [n] is what a mistake would give; NULL: the layer's inputs are not in the reference. The sentence is kept if x
 * explains what was found (accept in mistakes.c says when). */
bool propose(search *s, const float *x, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same of a distance that is known already. */
bool propose_distance(search *s, double distance, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The reference's tensor of that name, behind the same prefix, if it has the shape of the wrong one; else NULL. It is
 * freed with the search. */
const float *neighbour(search *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same of another shape; -1: any size, which is filled in. */
const float *neighbour_of(search *s, int rank, int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Its shape alone, for tensors that need not be read. */
bool neighbour_shape(const search *s, int rank, int64_t *shape, const char *name);
/* A whole number from 1 to 2^20 of the reference's metadata; 0 where there is none. */
int64_t fact(const search *s, const char *name);
/* Memory for n floats, freed with the search; NULL where there is none. */
float *buffer(search *s, int64_t n);
bool ends_in(const search *s, const char *ending); /* the name's last parts are these */

/* The mistakes of this model's layers; the tensor's shape is right. */
void causes_of_model(search *s);

/* The tensor seen as [dims], and how its axes are called. Orders that move the first `fixed` or the last `fixed_last`
 * of them are not tried. */
typedef struct axes {
    int rank, fixed, fixed_last;
    const int64_t *dims;
    const char *const *names;
    const char *what; /* the beginning of the sentence */
} axes;
void try_orders(search *s, const axes *a);

#endif
