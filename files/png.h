/* PNG pictures and their compression, on bytes. */
#ifndef VDM_PNG_H
#define VDM_PNG_H

#include "vdm_files.h"

/* data [n], n < 2^32 -> a zlib stream (deflate.c): at most 9 n / 8 + 32 bytes. Returns its bytes. */
size_t vdm_zlib_write(uint8_t *to, const uint8_t *data, size_t n);
/* 4 bytes, the highest first, as PNG and ICC write integers. */
static inline uint32_t load_be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* Reads a zlib stream, from [n], of exactly `size` bytes (inflate.c). Returns NULL, or the problem. */
const char *vdm_zlib_read(uint8_t *to, size_t size, const uint8_t *from, size_t n);
/* The same of at most `capacity` bytes, up to the first problem: how many there are. */
size_t vdm_zlib_read_part(uint8_t *to, size_t capacity, const uint8_t *from, size_t n);
/* Whether the colour profile in the data [n] of a chunk iCCP is sRGB (icc.c); one that can't be read is not. -1: no memory. */
int vdm_icc_is_srgb(bool *srgb, const uint8_t *chunk, size_t n, vdm_error *err);
uint32_t vdm_adler32(const uint8_t *data, size_t n);

/* Writes rgb [H,W,3] as a PNG file (png.c). Errors of the stream are the caller's. */
int vdm_png_encode(const uint8_t *rgb, int height, int width, FILE *to, vdm_error *err);
/* A PNG file, which vdm_png_is recognises -> *rgb [H,W,3] (vdm_free); *notes: VDM_NOTE_... `path` is for messages. */
bool vdm_png_is(const uint8_t *file, size_t size);
int vdm_png_decode(uint8_t **rgb, int *height, int *width, unsigned *notes, const uint8_t *file, size_t size,
                   const char *path, vdm_error *err);

#endif
