/* Weights that are read from their file as they are needed and given back after use: for models larger than memory.
 * Weights are mapped (safetensors.c), so that the system does both by itself; but it reads only what is asked for just
 * now, while the computation waits, and it gives back what was used longest ago, which is what is needed next. Here a
 * thread reads the next part while one is used, and gives back the one before. */
#ifndef VDM_STREAM_H
#define VDM_STREAM_H

#include <stddef.h>

typedef struct vdm_stream vdm_stream;

/* A piece of a mapped file */
typedef struct vdm_extent {
    const void *data;
    size_t bytes;
} vdm_extent;

/* [parts,per] extents, copied; the first `resident` parts are never given back. NULL: no memory. */
vdm_stream *vdm_stream_new(const vdm_extent *extents, int parts, int per, int resident);
void vdm_stream_free(vdm_stream *s);
/* Part `now` is used from now on, after it `next`. Of the others, all but the first `resident` are given back. s may be NULL. */
void vdm_stream_use(vdm_stream *s, int now, int next);

#endif
