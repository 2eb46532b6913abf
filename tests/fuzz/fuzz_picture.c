/* Pictures from strangers: whatever the bytes are, vdm_picture_decode gives a picture or a sentence. The CRCs of a PNG
 * file's chunks and the checksum of its pixels are made right first, or no change would get past them. */
#include "files/png.h"
#include "vdm.h"

#include <string.h>

static uint32_t crc_of(const uint8_t *p, size_t n)
{
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < 8 * n; i++) {
        crc ^= i % 8 ? 0 : p[i / 8];
        crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static void mend(uint8_t *file, size_t size)
{
    for (size_t at = 8; at + 12 <= size;) {
        uint8_t *c = file + at;
        size_t n = (size_t)c[0] << 24 | (size_t)c[1] << 16 | (size_t)c[2] << 8 | c[3];
        if (n > size - at - 12) return;
        uint32_t crc = crc_of(c + 4, n + 4);
        for (int i = 0; i < 4; i++) c[8 + n + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
        at += 12 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t file[1 << 16];
    vdm_picture p, small;
    vdm_error err = {""};
    unsigned notes;
    if (size > sizeof file || size == 0) return 0;
    memcpy(file, data, size);
    if (vdm_png_is(file, size)) mend(file, size);
    int status = vdm_picture_decode(&p, file, size, "x", &notes, &err);
    if ((status == 0) != (p.rgb != NULL) || (status == 0) != (err.text[0] == 0)) __builtin_trap();
    if (!status && !vdm_picture_resize(&small, &p, 2, 2, &err)) vdm_picture_free(&small); /* reads every byte */
    vdm_picture_free(&p);
    vdm_zlib_read(file, 1 + size % 999, data, size); /* compressed data without a picture around */
    return 0;
}
