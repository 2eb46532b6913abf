/* PNG (W3C, third edition), read and written.
 *
 *   file: signature, chunk ... chunk              chunk: length, type, data, CRC of type and data
 *   IHDR -> sizes; PLTE, tRNS -> colours, transparency; IDAT ... IDAT -> one zlib stream; IEND
 *   zlib stream -> 1 or 7 passes of rows -> filters undone -> samples of 1 to 16 bits -> 8 bit RGB over black
 *
 * Sizes are checked before memory is taken: DEFLATE shrinks by less than 1032, so that a small file can't ask for a
 * large picture. All CRCs are checked, and the stream has to end with the last row.
 *
 * Traps
 *   A filter works on bytes; its left neighbour is the byte one pixel before, or one byte before if pixels are smaller.
 *   The row above the first one of each pass is zeros, and a pass without pixels has no rows, not even filter bytes.
 *   Average and Paeth are computed without overflow of 8 bits; only the sum wraps.
 *   16-bit samples become 8 bits by their upper byte, as Pillow takes them (of grey it clips at 255: a fault); the
 *   transparent colour of tRNS is compared with all 16 bits.
 *   Alpha is not premultiplied: over black v becomes v a / 255, rounded. */
#include "png.h"

#include <string.h>

/* Continues a CRC-32 (0 at the start) over n more bytes, four bits at a time. */
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

/* ------------------------------------------------------------------------------------------------
 * Reading: chunks */

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGBA = 6 }; /* colour types */
enum { MAX_SHRINK = 1032 };                                        /* 258 bytes of two bits */
static const char SIGNATURE[] = "\x89PNG\r\n\x1a\n";

typedef struct chunk {
    char type[5];
    const uint8_t *data; /* [size] */
    size_t size;
} chunk;

typedef struct png {
    const char *path;
    vdm_error *err;
    const uint8_t *file; /* [size] */
    size_t size, at;
    uint32_t width, height;
    int depth, type, channels;
    bool interlaced;
    uint8_t palette[256][4]; /* RGBA */
    int colours;             /* of the palette */
    bool has_key;            /* tRNS of grey and RGB: this colour is transparent */
    uint16_t key[3];
    uint8_t *stream; /* [stream_size]: the data of all IDAT */
    size_t stream_size;
    bool stream_ended;                                              /* another chunk followed */
    bool srgb, profile, other_coding, other_gamma, other_primaries; /* the file's statements on its colours */
    unsigned notes;
} png;

/* The chunk at the cursor, its CRC checked. */
static int take_chunk(png *p, chunk *c)
{
    const uint8_t *at = p->file + p->at;
    size_t left = p->size - p->at;
    if (left < 12) return vdm_fail(p->err, "%s: chunks: found the end of the file, expected IEND", p->path);
    c->size = load_be32(at);
    memcpy(c->type, at + 4, 4);
    c->type[4] = 0;
    c->data = at + 8;
    for (int i = 0; i < 4; i++)
        if ((c->type[i] < 'A' || c->type[i] > 'Z') && (c->type[i] < 'a' || c->type[i] > 'z'))
            return vdm_fail(p->err, "%s: chunk type at byte %zu: expected four letters", p->path, p->at + 4);
    if (c->size > left - 12)
        return vdm_fail(p->err, "%s: %s: found %zu bytes, expected %zu", p->path, c->type, left - 12,
                        c->size);
    uint32_t found = load_be32(c->data + c->size), crc = crc32(crc32(0, c->type, 4), c->data, c->size);
    if (found != crc)
        return vdm_fail(p->err, "%s: %s: found the CRC %08x, expected %08x: the file is damaged", p->path,
                        c->type, (unsigned)found, (unsigned)crc);
    p->at += 12 + c->size;
    return 0;
}

static int reject_size(const png *p, const chunk *c, const char *expected)
{
    return vdm_fail(p->err, "%s: %s: found %zu bytes, expected %s", p->path, c->type, c->size, expected);
}

/* IHDR: width, height, depth, colour type, compression, filter, interlace */
static int read_header(png *p)
{
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4},
                     depths[] = {1 | 2 | 4 | 8 | 16, 0, 8 | 16, 1 | 2 | 4 | 8, 8 | 16, 0, 8 | 16};
    chunk c;
    if (take_chunk(p, &c)) return -1;
    if (strcmp(c.type, "IHDR") != 0)
        return vdm_fail(p->err, "%s: first chunk: found %s, expected IHDR%s", p->path, c.type,
                        strcmp(c.type, "CgBI") == 0 ? " (this is Apple's own kind of PNG)" : "");
    if (c.size != 13) return reject_size(p, &c, "13");
    const uint8_t *d = c.data;
    p->width = load_be32(d);
    p->height = load_be32(d + 4);
    p->depth = d[8];
    p->type = d[9];
    p->interlaced = d[12] == 1;
    if (p->width < 1 || p->width > VDM_MAX_SIDE || p->height < 1 || p->height > VDM_MAX_SIDE)
        return vdm_fail(p->err, "%s: IHDR: found %u x %u pixels, expected sides of 1 to %d", p->path,
                        (unsigned)p->width, (unsigned)p->height, VDM_MAX_SIDE);
    if (p->type > 6 || !channels[p->type])
        return vdm_fail(p->err, "%s: IHDR: found colour type %d, expected 0, 2, 3, 4 or 6", p->path, p->type);
    if ((p->depth & (p->depth - 1)) != 0 || !(p->depth & depths[p->type]))
        return vdm_fail(p->err, "%s: IHDR: found %d bits a sample, which colour type %d does not have",
                        p->path, p->depth, p->type);
    if (d[10] || d[11] || d[12] > 1)
        return vdm_fail(p->err,
                        "%s: IHDR: found compression %d, filter %d, interlace %d, expected 0, 0, 0 or 1",
                        p->path, d[10], d[11], d[12]);
    p->channels = channels[p->type];
    return 0;
}

static int read_palette(png *p, const chunk *c)
{
    int n = (int)(c->size / 3);
    if (c->size % 3 || c->size < 3 || c->size > 768)
        return reject_size(p, c, "3 for each of 1 to 256 colours");
    if (p->colours) return vdm_fail(p->err, "%s: PLTE: found a second one", p->path);
    if (p->type == GREY || p->type == GREY_ALPHA)
        return vdm_fail(p->err, "%s: PLTE: found a palette, but the picture is grey", p->path);
    if (p->type == PALETTE && n > 1 << p->depth)
        return vdm_fail(p->err, "%s: PLTE: found %d colours, expected at most %d", p->path, n, 1 << p->depth);
    p->colours = n;
    for (int i = 0; i < n; i++) {
        memcpy(p->palette[i], c->data + 3 * i, 3);
        p->palette[i][3] = 255;
    }
    return 0;
}

/* tRNS: the alpha of each colour of the palette, or one colour that is transparent */
static int read_transparency(png *p, const chunk *c)
{
    if (p->type == PALETTE) {
        if (c->size > (size_t)p->colours)
            return reject_size(p, c, "at most one for each colour of a palette before it");
        for (size_t i = 0; i < c->size; i++) p->palette[i][3] = c->data[i];
        return 0;
    }
    if (p->type != GREY && p->type != RGB)
        return vdm_fail(p->err, "%s: tRNS: found transparency, but the pixels have their own", p->path);
    if (c->size != 2 * (size_t)p->channels) return reject_size(p, c, p->type == GREY ? "2" : "6");
    p->has_key = true;
    for (int k = 0; k < p->channels; k++)
        p->key[k] = (uint16_t)((c->data[2 * k] << 8 | c->data[2 * k + 1]) & ((1 << p->depth) - 1));
    return 0;
}

/* The data of every IDAT, one after the other: at most as much as the file. */
static int read_data(png *p, const chunk *c)
{
    if (p->stream_ended)
        return vdm_fail(p->err, "%s: IDAT: found another chunk between two of them", p->path);
    if (p->type == PALETTE && !p->colours)
        return vdm_fail(p->err, "%s: PLTE: found none before IDAT, expected a palette", p->path);
    if (!p->stream && !(p->stream = vdm_alloc(p->size, 1, p->path, p->err))) return -1;
    memcpy(p->stream + p->stream_size, c->data, c->size);
    p->stream_size += c->size;
    return 0;
}

/* Whether the keyword that the chunk begins with, up to its NUL, contains the word. */
static bool names(const chunk *c, const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i + n <= c->size && c->data[i]; i++)
        if (memcmp(c->data + i, word, n) == 0) return true;
    return false;
}

/* Older ImageMagick keeps EXIF in a text. */
static bool is_exif_text(const chunk *c)
{
    bool text = strcmp(c->type, "tEXt") == 0 || strcmp(c->type, "zTXt") == 0 || strcmp(c->type, "iTXt") == 0;
    return text && (names(c, "Raw profile type exif") || names(c, "Raw profile type APP1"));
}

/* Code points of primaries, transfer and matrix, and the range of sRGB. */
static bool codes_srgb(const chunk *c)
{
    return c->size == 4 && memcmp(c->data, "\1\15\0\1", 4) == 0;
}

/* Chromaticities of white, red, green and blue (x, y) within 0.01 of sRGB's. */
static bool has_srgb_primaries(const chunk *c)
{
    static const int32_t SRGB[] = {31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000};
    for (int i = 0; i < 8; i++) {
        int64_t off = (int64_t)load_be32(c->data + 4 * i) - SRGB[i];
        if (off < -1000 || off > 1000) return false;
    }
    return true;
}

/* An integer of TIFF, whose byte order its header names. */
static size_t load_tiff(const uint8_t *at, size_t bytes, bool big)
{
    size_t x = 0;
    for (size_t i = 0; i < bytes; i++) x = x << 8 | at[big ? i : bytes - 1 - i];
    return x;
}

/* Whether EXIF says that the picture has to be mirrored or rotated: tag 274 of its first directory, a SHORT, is not 1. */
static bool is_rotated(const chunk *c)
{
    const uint8_t *d = c->data;
    if (c->size < 8 || (memcmp(d, "II*", 4) != 0 && memcmp(d, "MM\0*", 4) != 0)) return false;
    bool big = *d == 'M';
    size_t at = load_tiff(d + 4, 4, big);
    if (at > c->size - 2) return false;
    size_t entries = load_tiff(d + at, 2, big);
    for (at += 2; entries > 0 && c->size - at >= 12; entries--, at += 12)
        if (load_tiff(d + at, 2, big) == 274 && load_tiff(d + at + 2, 2, big) == 3)
            return load_tiff(d + at + 8, 2, big) != 1;
    return false;
}

/* Optional chunks. Those that change how a picture looks are noted. */
static int read_ancillary(png *p, const chunk *c)
{
    if (strcmp(c->type, "sRGB") == 0) p->srgb = true;
    if (strcmp(c->type, "cICP") == 0) p->other_coding = !codes_srgb(c);
    if (strcmp(c->type, "cHRM") == 0 && c->size == 32) p->other_primaries = !has_srgb_primaries(c);
    if (strcmp(c->type, "eXIf") == 0 && is_rotated(c)) p->notes |= VDM_NOTE_ROTATED;
    if (is_exif_text(c)) p->notes |= VDM_NOTE_EXIF_TEXT;
    if (strcmp(c->type, "iCCP") == 0) {
        if (vdm_icc_is_srgb(&p->srgb, c->data, c->size, p->err)) return -1;
        p->profile = !p->srgb;
    }
    if (strcmp(c->type, "gAMA") == 0 && c->size == 4) {
        uint32_t gamma = load_be32(c->data); /* 1/2.2 as 45455 */
        p->other_gamma = gamma < 43182 || gamma > 47728;
    }
    if (strcmp(c->type, "acTL") == 0) p->notes |= VDM_NOTE_FRAMES;
    return 0;
}

static int read_chunk(png *p, const chunk *c)
{
    bool data = strcmp(c->type, "IDAT") == 0;
    if (!data && p->stream) p->stream_ended = true;
    if (data) return read_data(p, c);
    if (strcmp(c->type, "PLTE") == 0 || strcmp(c->type, "tRNS") == 0) {
        if (p->stream)
            return vdm_fail(p->err, "%s: %s: found after IDAT, expected before it", p->path, c->type);
        return *c->type == 'P' ? read_palette(p, c) : read_transparency(p, c);
    }
    if (*c->type >= 'A' && *c->type <= 'Z')
        return vdm_fail(p->err, "%s: chunks: found %s, a critical chunk that is not known", p->path, c->type);
    return read_ancillary(p, c);
}

static int read_chunks(png *p)
{
    chunk c;
    p->at = sizeof SIGNATURE - 1;
    if (read_header(p) || take_chunk(p, &c)) return -1;
    for (; strcmp(c.type, "IEND") != 0;)
        if (read_chunk(p, &c) || take_chunk(p, &c)) return -1;
    if (c.size) return reject_size(p, &c, "0");
    if (!p->stream) return vdm_fail(p->err, "%s: IDAT: found none, expected pixels", p->path);
    if (p->at < p->size)
        return vdm_fail(p->err, "%s: end: found %zu bytes after IEND, expected one picture a file", p->path,
                        p->size - p->at);
    if (p->other_coding || p->profile || (p->other_primaries && !p->srgb)) p->notes |= VDM_NOTE_PROFILE;
    if (p->other_gamma && !p->other_coding && !p->profile && !p->srgb) p->notes |= VDM_NOTE_GAMMA;
    if (p->depth == 16) p->notes |= VDM_NOTE_DEPTH;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Reading: pixels */

/* Pixels (x + i dx, y + j dy): the whole picture, or one of Adam7's passes. */
typedef struct pass {
    uint32_t x, y, dx, dy;
} pass;
static const pass WHOLE[] = {{0, 0, 1, 1}}, ADAM7[] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                                       {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

static const pass *passes_of(const png *p, int *n)
{
    *n = p->interlaced ? 7 : 1;
    return p->interlaced ? ADAM7 : WHOLE;
}

/* Pixels of a row or column of a pass. */
static size_t count_pixels(uint32_t size, uint32_t first, uint32_t step)
{
    return size > first ? (size - first + step - 1) / step : 0;
}

/* Bytes of n pixels, without the filter byte. */
static size_t row_bytes(const png *p, size_t n)
{
    return (n * (size_t)(p->channels * p->depth) + 7) / 8;
}

static size_t all_bytes(const png *p)
{
    int n;
    size_t bytes = 0;
    const pass *passes = passes_of(p, &n);
    for (int i = 0; i < n; i++) {
        size_t w = count_pixels(p->width, passes[i].x, passes[i].dx),
               h = count_pixels(p->height, passes[i].y, passes[i].dy);
        if (w) bytes += h * (1 + row_bytes(p, w));
    }
    return bytes;
}

/* The neighbour, left, above, or upper left, that is nearest to left + above - upper left. */
static uint8_t paeth(int left, int above, int corner)
{
    int estimate = left + above - corner;
    int a = estimate > left ? estimate - left : left - estimate;
    int b = estimate > above ? estimate - above : above - estimate;
    int c = estimate > corner ? estimate - corner : corner - estimate;
    return (uint8_t)(a <= b && a <= c ? left : b <= c ? above : corner);
}

/* Undoes a row's filter in place. above: the row before, NULL for the first; bpp: bytes of a pixel. */
static int undo_filter(int filter, uint8_t *row, const uint8_t *above, size_t n, size_t bpp)
{
    for (size_t i = 0; i < n; i++) {
        int left = i < bpp ? 0 : row[i - bpp], up = above ? above[i] : 0;
        int corner = above && i >= bpp ? above[i - bpp] : 0;
        switch (filter) {
        case 0:
            return 0;
        case 1:
            row[i] = (uint8_t)(row[i] + left);
            break;
        case 2:
            row[i] = (uint8_t)(row[i] + up);
            break;
        case 3:
            row[i] = (uint8_t)(row[i] + (left + up) / 2);
            break;
        case 4:
            row[i] = (uint8_t)(row[i] + paeth(left, up, corner));
            break;
        default:
            return -1;
        }
    }
    return 0;
}

/* Sample i of a row: 0 .. 2^depth - 1. Samples of less than 8 bits fill a byte from its highest bit. */
static uint16_t sample_at(const uint8_t *row, int depth, size_t i)
{
    if (depth == 16) return (uint16_t)(row[2 * i] << 8 | row[2 * i + 1]);
    if (depth == 8) return row[i];
    size_t bit = i * (size_t)depth;
    return (uint16_t)(row[bit / 8] >> (8 - depth - (int)(bit % 8)) & ((1 << depth) - 1));
}

/* Pixel i of a row as RGBA; false if its colour is not in the palette. */
static bool pixel_at(const png *p, const uint8_t *row, size_t i, uint8_t *rgba)
{
    uint16_t v[4] = {0};
    for (int k = 0; k < p->channels; k++)
        v[k] = sample_at(row, p->depth, i * (size_t)p->channels + (size_t)k);
    if (p->type == PALETTE) {
        if (v[0] >= p->colours) return false;
        memcpy(rgba, p->palette[v[0]], 4);
        return true;
    }
    bool grey = p->channels < 3, transparent = p->has_key;
    for (int k = 0; k < p->channels && p->has_key; k++) transparent = transparent && v[k] == p->key[k];
    for (int k = 0; k < p->channels; k++)
        v[k] = (uint16_t)(p->depth == 16 ? v[k] >> 8 : v[k] * (255 / ((1 << p->depth) - 1)));
    for (int k = 0; k < 3; k++) rgba[k] = (uint8_t)v[grey ? 0 : k];
    rgba[3] = transparent ? 0 : p->channels % 2 ? 255 : (uint8_t)v[p->channels - 1];
    return true;
}

/* Row j of a pass: w pixels into rgb [H,W,3]. */
static int put_row(png *p, const pass *a, size_t j, const uint8_t *row, size_t w, uint8_t *rgb)
{
    size_t y = a->y + j * a->dy;
    for (size_t i = 0; i < w; i++) {
        uint8_t rgba[4];
        size_t x = a->x + i * a->dx;
        if (!pixel_at(p, row, i, rgba))
            return vdm_fail(p->err,
                            "%s: pixels: found colour %u at (%zu, %zu), expected one of the palette's %d",
                            p->path, (unsigned)sample_at(row, p->depth, i), x, y, p->colours);
        if (rgba[3] < 255) p->notes |= VDM_NOTE_ALPHA;
        for (int k = 0; k < 3; k++)
            rgb[3 * (y * p->width + x) + (size_t)k] = (uint8_t)((rgba[k] * rgba[3] + 127) / 255);
    }
    return 0;
}

/* rows: every pass's rows, each after its filter byte -> rgb [H,W,3] */
static int put_passes(png *p, uint8_t *rows, uint8_t *rgb)
{
    int n;
    const pass *passes = passes_of(p, &n);
    size_t bpp = (size_t)(p->channels * p->depth + 7) / 8;
    for (int i = 0; i < n; i++) {
        const pass *a = &passes[i];
        size_t w = count_pixels(p->width, a->x, a->dx), h = count_pixels(p->height, a->y, a->dy),
               bytes = row_bytes(p, w);
        const uint8_t *above = NULL;
        for (size_t j = 0; w && j < h; j++, rows += 1 + bytes) {
            if (undo_filter(rows[0], rows + 1, above, bytes, bpp))
                return vdm_fail(p->err, "%s: pixels: row %zu: found filter %d, expected 0 to 4", p->path,
                                a->y + j * a->dy, rows[0]);
            if (put_row(p, a, j, rows + 1, w, rgb)) return -1;
            above = rows + 1;
        }
    }
    return 0;
}

static int read_pixels(png *p, uint8_t **rgb)
{
    size_t bytes = all_bytes(p);
    if (bytes / MAX_SHRINK > p->stream_size)
        return vdm_fail(p->err, "%s: pixels: found %zu compressed bytes, too few for the %u x %u of IHDR",
                        p->path, p->stream_size, (unsigned)p->width, (unsigned)p->height);
    uint8_t *rows = vdm_alloc(bytes, 1, p->path, p->err);
    if (!rows) return -1;
    const char *problem = vdm_zlib_read(rows, bytes, p->stream, p->stream_size);
    if (problem)
        vdm_fail(p->err, "%s: pixels: %s", p->path, problem);
    else
        *rgb = vdm_alloc((size_t)p->height * p->width, 3, p->path, p->err);
    int status = *rgb ? put_passes(p, rows, *rgb) : -1;
    vdm_free(rows);
    return status;
}

bool vdm_png_is(const uint8_t *file, size_t size)
{
    return size >= sizeof SIGNATURE - 1 && memcmp(file, SIGNATURE, sizeof SIGNATURE - 1) == 0;
}

int vdm_png_decode(uint8_t **rgb, int *height, int *width, unsigned *notes, const uint8_t *file, size_t size,
                   const char *path, vdm_error *err)
{
    png p = {.path = path, .err = err, .file = file, .size = size};
    *rgb = NULL;
    int status = read_chunks(&p);
    if (!status) status = read_pixels(&p, rgb);
    vdm_free(p.stream);
    *height = (int)p.height;
    *width = (int)p.width;
    *notes = p.notes;
    if (status) vdm_free(*rgb), *rgb = NULL;
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

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
    fwrite(SIGNATURE, 1, sizeof SIGNATURE - 1, to);
    write_chunk(to, "IHDR", head, sizeof head);
    write_chunk(to, "IDAT", z, size);
    write_chunk(to, "IEND", head, 0);
    vdm_free(z);
    return 0;
}
