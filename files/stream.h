/* Weights that are read from their file when needed and released after use: for models larger than memory. Weights are
 * mapped (safetensors.c), so that the system does both by itself; but it reads a page only when it is accessed, while
 * the computation waits, and it releases the least recently used pages, which are needed next. Here a thread reads the
 * next part while the present one is used, and releases the one before. */
#ifndef VDM_STREAM_H
#define VDM_STREAM_H

#include <stddef.h>

typedef struct vdm_stream vdm_stream;

/* A piece of a mapped file */
typedef struct vdm_extent {
    const void *data;
    size_t bytes;
} vdm_extent;

/* [parts,per] extents, copied; the first `kept` parts are never released. NULL: no memory. */
vdm_stream *vdm_stream_new(const vdm_extent *extents, int parts, int per, int kept);
void vdm_stream_free(vdm_stream *s);
/* Part `now` is used from now on, then `next`. All other parts that are not kept are released. s may be NULL. */
void vdm_stream_use(vdm_stream *s, int now, int next);

#endif
