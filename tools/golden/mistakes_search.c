/* The search for a mistake: what a candidate has to be, the tensors of the reference that it is made from, and orders of
 * axes.
 *
 * Trap: a candidate that is only nearer than the reference explains nothing: the rest must be within the tolerance. */
#include "tools/golden/mistakes.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

double distance_of(const float *a, const float *b, int64_t n)
{
    double dd = 0, bb = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)a[i] - (double)b[i];
        dd += d * d;
        bb += (double)b[i] * (double)b[i];
    }
    return bb > 0 ? sqrt(dd / bb) : dd > 0 ? (double)INFINITY : 0;
}

/* A candidate explains the tensor if the rest is within the tolerance (twice it: the layer's inputs may be off as well;
 * never below some roundings of f32) and small compared with the error. One that is not clearly better than the best
 * one is another explanation of the same numbers. */
static bool accept(search *s, double distance, const char *format, va_list args)
{
    double limit = fmax(2 * s->f->tolerance, 1e-6);
    if (!(distance <= limit && distance < 0.3 * s->error)) return false;
    if (s->explanations && distance > 2 * s->best + 1e-9) return false;
    bool better = !s->explanations || distance < 0.5 * s->best - 1e-9;
    size_t length = better ? 0 : strlen(s->text);
    s->explanations = better ? 1 : s->explanations + 1;
    s->best = fmin(distance, s->best);
    if (length) {
        snprintf(s->text + length, sizeof s->text - length, "; or: ");
        length = strlen(s->text);
    }
    vsnprintf(s->text + length, sizeof s->text - length, format, args);
    return true;
}

bool propose_distance(search *s, double distance, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool accepted = accept(s, distance, format, args);
    va_end(args);
    return accepted;
}

bool propose(search *s, const float *x, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool accepted = x && accept(s, distance_of(s->got, x, s->n), format, args);
    va_end(args);
    return accepted;
}

float *buffer(search *s, int64_t n)
{
    if (s->n_buffers == MAX_BUFFERS) return NULL;
    float *x = vdm_alloc((size_t)n, sizeof *x, "the search for mistakes", NULL);
    if (x) s->buffers[s->n_buffers++] = x;
    return x;
}

static const vdm_tensor *find(const search *s, const char *name)
{
    char full[2 * VDM_TRACE_NAME];
    snprintf(full, sizeof full, "%.*s%s", s->prefix_length, s->f->ref->name, name);
    return vdm_safetensors_find(&s->b->ref, full);
}

static const float *checked(search *s, const vdm_tensor *t, int rank, int64_t *shape)
{
    if (!t || vdm_tensor_check(t, "", rank, shape, NULL)) return NULL;
    float *x = buffer(s, vdm_tensor_count(t));
    if (x) vdm_widen(x, t->data, t->dtype, vdm_tensor_count(t));
    return x;
}

const float *neighbour(search *s, const char *format, ...)
{
    char name[VDM_TRACE_NAME];
    int64_t shape[VDM_MAX_RANK];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    memcpy(shape, s->f->ref->shape, sizeof shape);
    return checked(s, find(s, name), s->f->ref->rank, shape);
}

const float *neighbour_of(search *s, int rank, int64_t *shape, const char *format, ...)
{
    char name[VDM_TRACE_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    return checked(s, find(s, name), rank, shape);
}

const float *input_like(search *s, const char *format, ...)
{
    char name[VDM_TRACE_NAME];
    int64_t shape[VDM_MAX_RANK];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    memcpy(shape, s->f->ref->shape, sizeof shape);
    return checked(s, vdm_safetensors_find(&s->b->ref, name), s->f->ref->rank, shape);
}

const float *weight_of(search *s, int rank, int64_t *shape, const char *format, ...)
{
    static const char *const of_vae[] = {"encoder.", "decoder.", "quant_conv", "post_quant_conv"};
    char name[VDM_TRACE_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    const vdm_safetensors *part = &s->b->transformer;
    for (size_t i = 0; i < sizeof of_vae / sizeof *of_vae; i++)
        if (strncmp(name, of_vae[i], strlen(of_vae[i])) == 0) part = &s->b->vae;
    return part->path ? checked(s, vdm_safetensors_find(part, name), rank, shape) : NULL;
}

const float *found_of(search *s, int rank, int64_t *shape, const char *format, ...)
{
    char name[VDM_TRACE_NAME], full[2 * VDM_TRACE_NAME];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    snprintf(full, sizeof full, "%.*s%s", s->prefix_length, s->f->ref->name, name);
    return checked(s, both_other(s->b, full), rank, shape);
}

bool neighbour_shape(const search *s, int rank, int64_t *shape, const char *name)
{
    const vdm_tensor *t = find(s, name);
    return t && !vdm_tensor_check(t, "", rank, shape, NULL);
}

int64_t fact(const search *s, const char *name)
{
    double x = both_fact(s->b, name, 0);
    return x >= 1 && x <= 1 << 20 ? (int64_t)x : 0;
}

bool ends_in(const search *s, const char *ending)
{
    size_t have = strlen(s->name), want = strlen(ending);
    return have >= want && strcmp(s->name + have - want, ending) == 0 &&
           (have == want || s->name[have - want - 1] == '.');
}

bool varies(const float *x, int64_t n)
{
    for (int64_t i = 1; i < n; i++)
        if (x[i] < x[0] || x[i] > x[0]) return true;
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Axes */

enum { MAX_AXES = 6, SAMPLES = 2048 };

/* Where element i of the tensor, its axes in the order p, comes from. */
static int64_t source_of(int64_t i, const axes *a, const int *p, const int64_t *strides)
{
    int64_t from = 0;
    for (int k = a->rank - 1; k >= 0; k--) {
        from += i % a->dims[p[k]] * strides[p[k]];
        i /= a->dims[p[k]];
    }
    return from;
}

/* Whether the order can explain the tensor, by some of its elements. */
static bool may_be(const search *s, const axes *a, const int *p, const int64_t *strides)
{
    int64_t step = s->n / SAMPLES + 1;
    double dd = 0, gg = 0;
    for (int64_t i = 0; i < s->n; i += step) {
        double r = (double)s->ref[source_of(i, a, p, strides)], d = (double)s->got[i] - r;
        dd += d * d, gg += r * r;
    }
    return dd <= 0.1 * s->error * s->error * gg || dd <= 1e-4 * gg;
}

static void try_order(search *s, const axes *a, const int *p)
{
    int64_t strides[MAX_AXES], size = 1;
    bool moved = false;
    char order[128] = "";
    for (int k = a->rank - 1; k >= 0; size *= a->dims[k--]) strides[k] = size;
    for (int k = 0; k < a->rank; k++) {
        if (a->dims[k] == 1 && p[k] != k) return; /* the same elements as another order */
        moved = moved || p[k] != k;
    }
    if (!moved || !may_be(s, a, p, strides)) return;
    for (int64_t i = 0; i < s->n; i++) s->candidate[i] = s->ref[source_of(i, a, p, strides)];
    for (int k = 0; k < a->rank; k++)
        snprintf(order + strlen(order), sizeof order - strlen(order), "%s%s", k ? "," : "", a->names[p[k]]);
    propose(s, s->candidate, "%s: found as [%s]", a->what, order);
}

void try_orders(search *s, const axes *a)
{
    int p[MAX_AXES], count = 1, free_axes = a->rank - a->fixed - a->fixed_last;
    int64_t n = 1;
    if (a->rank > MAX_AXES || free_axes < 2 || !varies(s->ref, s->n)) return;
    for (int k = 0; k < a->rank; k++) n *= a->dims[k]; /* sizes of tensors and their divisors: no overflow */
    for (int k = 2; k <= free_axes; k++) count *= k;
    if (n != s->n) return;
    for (int number = 1; number < count; number++) { /* all of them, by their number in the factorial base */
        int left = number;
        bool used[MAX_AXES] = {0};
        for (int k = 0; k < a->rank; k++) p[k] = k;
        for (int k = 0, radix = count; k < free_axes; k++) {
            radix /= free_axes - k;
            int pick = left / radix, axis = 0;
            left %= radix;
            for (;; axis++)
                if (!used[axis] && pick-- == 0) break;
            used[axis] = true;
            p[a->fixed + k] = a->fixed + axis;
        }
        try_order(s, a, p);
    }
}
