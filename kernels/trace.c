/* Traces: tensors shown to a caller (vdm.h: vdm_trace) as the layers complete them.
 *
 * Trap: a trace must not change what it looks at. What a layer doesn't store is recomputed into memory of the
 * trace's own, never by another way through the layer. */
#include "kernels/trace.h"

#include <stdarg.h>
#include <string.h>

/* The caller's trace, which holds the memory */
static vdm_trace *root_of(vdm_trace *trace)
{
    return trace->root ? trace->root : trace;
}

void vdm_trace_free(vdm_trace *trace)
{
    vdm_free(trace->space);
    trace->space = NULL;
    trace->capacity = 0;
}

vdm_trace vdm_trace_inside(vdm_trace *outer, const char *format, ...)
{
    vdm_trace inside = {0};
    if (!vdm_trace_on(outer)) return inside;
    va_list args;
    va_start(args, format);
    inside.wants = outer->wants;
    inside.see = outer->see;
    inside.user = outer->user;
    inside.root = root_of(outer);
    size_t length = strlen(outer->prefix);
    memcpy(inside.prefix, outer->prefix, length);
    vsnprintf(inside.prefix + length, sizeof inside.prefix - length, format, args);
    va_end(args);
    return inside;
}

/* Makes the name; false where nobody wants it. */
static bool wanted(vdm_trace *trace, const char *format, va_list args)
{
    if (!vdm_trace_on(trace)) return false;
    size_t length = strlen(trace->prefix);
    memcpy(trace->name, trace->prefix, length);
    vsnprintf(trace->name + length, sizeof trace->name - length, format, args);
    return !trace->wants || trace->wants(trace->user, trace->name);
}

static int64_t product(int rank, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    return n;
}

static float *space_for(vdm_trace *trace, int64_t floats)
{
    vdm_trace *root = root_of(trace);
    if ((size_t)floats > root->capacity) {
        vdm_trace_free(root);
        root->space = vdm_alloc((size_t)floats, sizeof(float), "a tensor to show", NULL);
        root->capacity = root->space ? (size_t)floats : 0;
    }
    if (!root->space) root->failed = true;
    return root->space;
}

void vdm_trace_see(vdm_trace *trace, const float *x, int rank, const int64_t *shape, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (wanted(trace, format, args)) trace->see(trace->user, trace->name, x, rank, shape);
    va_end(args);
}

void vdm_trace_pieces(vdm_trace *trace, const float *x, int64_t stride, int rank, const int64_t *shape,
                      const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (wanted(trace, format, args)) {
        int64_t n = product(rank - 1, shape + 1);
        float *all = space_for(trace, shape[0] * n);
        for (int64_t i = 0; all && i < shape[0]; i++)
            memcpy(all + i * n, x + i * stride, (size_t)n * sizeof *all);
        if (all) trace->see(trace->user, trace->name, all, rank, shape);
    }
    va_end(args);
}

float *vdm_trace_space(vdm_trace *trace, int rank, const int64_t *shape, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    float *space = wanted(trace, format, args) ? space_for(trace, product(rank, shape)) : NULL;
    va_end(args);
    return space;
}

void vdm_trace_show(vdm_trace *trace, int rank, const int64_t *shape)
{
    trace->see(trace->user, trace->name, root_of(trace)->space, rank, shape);
}
