/* The search for a mistake (mistakes_search.c): used by mistakes.c (mistakes of any tensor), mistakes_model.c (of this
 * model's layers), mistakes_update.c (of the first update of training), mistakes_order.c (of axes that have a
 * meaning), mistakes_weights.c (those that need the model's weights).
 *
 * A file may contain anything: read tensors with neighbour(), neighbour_of(), input_like(), found_of() and weight_of()
 * only, which check type, rank and shape, and numbers of its metadata with fact() only, which checks their range. */
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
    float *candidate; /* [n]: the result of a mistake */
    double error;     /* distance of got from ref */
    double best;      /* distance of got from the best candidate; error before there is one */
    int explanations; /* candidates that explain got as well as the best one does */
    char text[400];   /* the best one; if there are two, both */
    float *buffers[MAX_BUFFERS];
    int n_buffers;
} search;

/* |a - b| / |b| over n elements */
double distance_of(const float *a, const float *b, int64_t n);
bool varies(const float *x, int64_t n); /* at least two different elements */
/* x [n] is the result of a mistake; NULL: the layer's inputs are not in the reference. The sentence is stored if x
 * explains the tensor that was found (accept in mistakes_search.c decides). */
bool propose(search *s, const float *x, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same for a known distance. */
bool propose_distance(search *s, double distance, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The reference's tensor of that name, with the same prefix, if it has the shape of the wrong one; else NULL. Freed
 * with the search. */
const float *neighbour(search *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same with another shape; -1: any size, which is filled in. */
const float *neighbour_of(search *s, int rank, int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* An input of the whole computation, without the prefix, of the same shape. */
const float *input_like(search *s, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The other file's tensor, with the same prefix. */
const float *found_of(search *s, int rank, int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* A weight of the model (--weights); NULL: not given, or it has none of this name and shape. */
const float *weight_of(search *s, int rank, int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Only its shape, for tensors that need not be read. */
bool neighbour_shape(const search *s, int rank, int64_t *shape, const char *name);
/* An integer from 1 to 2^20 in the reference's metadata; 0 if there is none. */
int64_t fact(const search *s, const char *name);
/* Memory for n floats, freed with the search; NULL if there is none. */
float *buffer(search *s, int64_t n);
bool ends_in(const search *s, const char *ending); /* whether the name ends in these parts */

/* The tensor seen as [dims], and the names of its axes. Orders that move the first `fixed` or the last `fixed_last` of
 * them are not tried. */
typedef struct axes {
    int rank, fixed, fixed_last;
    const int64_t *dims;
    const char *const *names;
    const char *what; /* the beginning of the sentence */
} axes;
void try_orders(search *s, const axes *a);

/* The tensor's shape is right. Mistakes of this model's layers (mistakes_model.c), of the first update of training
 * (mistakes_update.c), of the order of frames and of the batch (mistakes_order.c), of the use of weights
 * (mistakes_weights.c). */
void mistakes_of_model(search *s);
void mistakes_of_update(search *s);
void mistakes_of_order(search *s);
void mistakes_of_weights(search *s);

#endif
