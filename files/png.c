/* PNG (W3C, third edition) on bytes. */
#include "png.h"

#include <string.h>

/* Continues crc (0 at the start) over n more bytes, four bits at a time. */
static uint32_t crc32(uint32_t crc, const void *data, size_t n)
{
    static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                       0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                       0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
    const uint8_t *p = data;
    crc = ~crc;
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static void store_be32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Length, type, data, CRC of type and data. */
static void write_chunk(FILE *f, const char *type, const uint8_t *data, size_t n)
{
    uint8_t word[4];
    store_be32(word, (uint32_t)n);
    fwrite(word, 1, 4, f);
    fwrite(type, 1, 4, f);
    fwrite(data, 1, n, f);
    store_be32(word, crc32(crc32(0, type, 4), data, n));
    fwrite(word, 1, 4, f);
}

/* Rows [H, 1 + 3W]: a filter byte (0: none), then the pixels. -> a zlib stream in new memory. */
static uint8_t *zlib_rows(const uint8_t *rgb, size_t height, size_t width, size_t *size, vdm_error *err)
{
    size_t row = width * 3, n = height * (row + 1);
    uint8_t *rows = vdm_alloc(n, 1, "a PNG picture's rows", err);
    uint8_t *z = rows ? vdm_alloc(n / 8 * 9 + 32, 1, "a PNG picture", err) : NULL;
    if (z) {
        for (size_t y = 0; y < height; y++) memcpy(rows + y * (row + 1) + 1, rgb + y * row, row);
        *size = vdm_zlib_write(z, rows, n);
    }
    vdm_free(rows);
    return z;
}

int vdm_png_encode(const uint8_t *rgb, int height, int width, FILE *to, vdm_error *err)
{
    size_t size;
    uint8_t *z = zlib_rows(rgb, (size_t)height, (size_t)width, &size, err);
    uint8_t head[13] = {[8] = 8, [9] = 2}; /* 8 bits, RGB; no interlace */
    if (!z) return -1;
    store_be32(head, (uint32_t)width);
    store_be32(head + 4, (uint32_t)height);
    fwrite("\x89PNG\r\n\x1a\n", 1, 8, to);
    write_chunk(to, "IHDR", head, sizeof head);
    write_chunk(to, "IDAT", z, size);
    write_chunk(to, "IEND", head, 0);
    vdm_free(z);
    return 0;
}
