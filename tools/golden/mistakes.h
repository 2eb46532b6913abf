/* The search for a mistake: what mistakes.c (mistakes of any tensor) and mistakes_model.c (of this model's own
 * layers) share. */
#ifndef VDM_CAUSES_H
#define VDM_CAUSES_H

#include "tools/golden/compare.h"

enum { MAX_LOANS = 64 };

/* A tensor that is wrong, and the best explanation so far. r: the reference's numbers, g: those found, c:
 * room for what a mistake would give; all [n]. */
typedef struct scene {
    const both *b;
    const finding *f;
    const char *name; /* without its prefix */
    int prefix;       /* length of the prefix */
    int64_t n;
    float *r, *g, *c;
    double error, best; /* distance of g from r, and from the best candidate */
    char text[512];
    float *loans[MAX_LOANS];
    int n_loans;
} scene;

/* Distance of a from b; a candidate passes where it is far nearer than the reference is. */
double distance_of(const float *a, const float *b, int64_t n);
/* c is what a mistake would give: kept where it explains g better than what is known. */
bool propose(scene *s, const float *c, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* The same of a distance that is known already. */
bool propose_distance(scene *s, double distance, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The reference's tensor of that name, behind the same prefix; NULL where there is none. Freed with the
 * scene. t: what it is, or NULL. */
float *lend(scene *s, const vdm_tensor **t, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Room for n floats, freed with the scene; NULL where there is no memory. */
float *room_for(scene *s, int64_t n);
bool named(const scene *s, const char *ending); /* the name ends like that */

/* The mistakes of this model's layers; the tensor's shape is right. */
void causes_of_model(scene *s);
/* All orders of the axes of r seen as [dims], the first `fixed` and the last `fixed_last` of them kept. */
void try_orders(scene *s, int rank, const int64_t *dims, int fixed, int fixed_last, const char *const *axes,
                const char *what);

#endif
