/* PNG pictures and their compression, on bytes. */
#ifndef VDM_PNG_H
#define VDM_PNG_H

#include "vdm_files.h"

/* data [n], n < 2^32 -> a zlib stream (deflate.c): at most 9 n / 8 + 32 bytes. Returns its bytes. */
size_t vdm_zlib_write(uint8_t *to, const uint8_t *data, size_t n);
/* A zlib stream, from [n], whose content is `size` bytes, neither more nor fewer (inflate.c). NULL, or what is wrong. */
const char *vdm_zlib_read(uint8_t *to, size_t size, const uint8_t *from, size_t n);
uint32_t vdm_adler32(const uint8_t *data, size_t n);

/* rgb [H,W,3] as a PNG file (png.c). The stream keeps its own errors. */
int vdm_png_encode(const uint8_t *rgb, int height, int width, FILE *to, vdm_error *err);
/* A PNG file, which vdm_png_is recognises -> *rgb [H,W,3] (vdm_free); *notes: VDM_NOTE_... `path` is for messages. */
bool vdm_png_is(const uint8_t *file, size_t size);
int vdm_png_decode(uint8_t **rgb, int *height, int *width, unsigned *notes, const uint8_t *file, size_t size,
                   const char *path, vdm_error *err);

#endif
