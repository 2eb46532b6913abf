/* PNG pictures and their compression, on bytes. */
#ifndef VDM_PNG_H
#define VDM_PNG_H

#include "vdm_files.h"

/* data [n], n < 2^32 -> a zlib stream (deflate.c): at most 9 n / 8 + 32 bytes. Returns its bytes. */
size_t vdm_zlib_write(uint8_t *to, const uint8_t *data, size_t n);

/* rgb [H,W,3] as a PNG file (png.c). The stream keeps its own errors. */
int vdm_png_encode(const uint8_t *rgb, int height, int width, FILE *to, vdm_error *err);

#endif
