/* Showing tensors to a vdm_trace (vdm.h). Internal to the library. All of this does nothing where the trace is NULL,
 * or does not want that name. */
#ifndef VDM_TRACE_H
#define VDM_TRACE_H

#include "vdm.h"

/* Rank and shape: two arguments of the functions below */
#define SHAPE(...)                                                               \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (const int64_t[]) \
    {                                                                            \
        __VA_ARGS__                                                              \
    }

/* The trace of a part: names get this after the prefix of the whole. It is a value, so that nothing has to be undone
 * when the part is finished. The names of one layer are `inside` a block, and so on. outer may be NULL. */
vdm_trace vdm_trace_inside(vdm_trace *outer, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline bool vdm_trace_on(const vdm_trace *trace)
{
    return trace && trace->see;
}

/* x is complete; its name is formatted as by printf. */
void vdm_trace_see(vdm_trace *trace, const float *x, int rank, const int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* x is shape[0] pieces, `stride` floats from one to the next: shown as one tensor. */
void vdm_trace_pieces(vdm_trace *trace, const float *x, int64_t stride, int rank, const int64_t *shape,
                      const char *format, ...) __attribute__((format(printf, 6, 7)));
/* For a tensor that no layer stores: memory for it if it is wanted, else NULL; filled, then shown by vdm_trace_show. */
float *vdm_trace_space(vdm_trace *trace, int rank, const int64_t *shape, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void vdm_trace_show(vdm_trace *trace, int rank, const int64_t *shape);

#endif
