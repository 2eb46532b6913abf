/* Pictures and videos in files.
 *
 *   PBM, PGM, PPM (P1 to P6; maximum value 1..65535), PNG (files/png.c) --read--> picture [H,W,3], 8 bit
 *   picture --> PPM (P6), PNG (8 bit RGB);  frames [T,H,W,3] --> Y4M (4:4:4, BT.601, limited range)
 *   picture [H,W,3] --resize--> picture [H',W',3]: Image.resize(..., Image.LANCZOS) of Pillow, to the bit
 *
 * A reader takes the whole file, checks sizes against limits, then the data against the sizes, and only then allocates.
 * A writer's file appears whole or not at all. All arithmetic is in integers, except for the weights of the resize: the
 * same picture gives the same bytes everywhere.
 *
 * Traps
 *   One byte of white space ends a PNM header: the next byte is data, even if it looks like a comment or more white
 *   space. CR LF counts as one byte; a shifted picture is detected, since the data must end exactly at the end of the
 *   file.
 *   A comment may interrupt the header, as in "P6 4#width\n5"; samples above the maximum value are an error, 16-bit
 *   samples have the high byte first, and a second picture may follow the first (rejected here).
 *   In PBM 1 is black. P1 needs no white space between the bits; each row of P4 begins a new byte.
 *   Pillow rounds to 8 bits between the two passes of a resize, and rounds the weights to 22 bits. This file follows
 *   Pillow 13, which resizes the height first if it shrinks a lot; earlier versions always resize the width first, and
 *   then differ by a level or two. */
#include "vdm.h"
#include "png.h"
#include "vdm_math.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
 * Reading PBM, PGM and PPM */

enum { MAX_FILE = 6 * VDM_MAX_SIDE * VDM_MAX_SIDE + 65536 }; /* bytes: 16-bit RGB of the largest sides */

typedef struct scan {
    const char *path;
    const uint8_t *data;
    size_t size, at; /* at <= size */
    vdm_error *err;
} scan;

static bool is_blank(int c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_digit(int c)
{
    return c >= '0' && c <= '9';
}

/* The byte at the cursor, -1 at the end. */
static int peek(const scan *s)
{
    return s->at < s->size ? s->data[s->at] : -1;
}

/* A comment runs from '#' to the end of its line; the line end is not consumed. */
static void skip_comment(scan *s)
{
    while (s->at < s->size && s->data[s->at] != '\n' && s->data[s->at] != '\r') s->at++;
}

static void skip_blank(scan *s)
{
    for (; is_blank(peek(s)) || peek(s) == '#'; s->at++)
        if (peek(s) == '#') {
            skip_comment(s);
            if (s->at == s->size) return;
        }
}

/* "path: field: found X, expected Y", where X is the word at the cursor. */
static int reject_word(const scan *s, const char *field, const char *expected)
{
    size_t n = 0;
    while (n < 24 && s->at + n < s->size && s->data[s->at + n] > ' ' && s->data[s->at + n] < 127) n++;
    if (s->at == s->size)
        return vdm_fail(s->err, "%s: %s: found the end of the file, expected %s", s->path, field, expected);
    if (!n)
        return vdm_fail(s->err, "%s: %s: found the byte 0x%02x, expected %s", s->path, field,
                        (unsigned)s->data[s->at], expected);
    return vdm_fail(s->err, "%s: %s: found '%.*s%s', expected %s", s->path, field, (int)n,
                    (const char *)s->data + s->at, n == 24 ? "..." : "", expected);
}

/* A decimal number in low..high, after white space and comments; if there is none, returns false and leaves the cursor
 * at what was found. */
static bool take_number(scan *s, uint32_t low, uint32_t high, uint32_t *value)
{
    skip_blank(s);
    size_t start = s->at;
    uint64_t v = 0;
    for (; is_digit(peek(s)); s->at++)
        if (v <= high) v = v * 10 + (uint64_t)(peek(s) - '0'); /* stops growing above high: no overflow */
    int after = peek(s);
    bool taken = s->at > start && v >= low && v <= high && (after < 0 || is_blank(after) || after == '#');
    if (!taken) s->at = start;
    *value = (uint32_t)v;
    return taken;
}

static int reject_number(const scan *s, const char *field, uint32_t low, uint32_t high)
{
    char expected[64];
    snprintf(expected, sizeof expected, "a number from %u to %u", (unsigned)low, (unsigned)high);
    return reject_word(s, field, expected);
}

static int scan_number(scan *s, const char *field, uint32_t low, uint32_t high, uint32_t *value)
{
    return take_number(s, low, high, value) ? 0 : reject_number(s, field, low, high);
}

typedef struct pnm {
    bool ascii, bits;
    uint32_t channels, width, height, maxval;
    size_t samples; /* height * width * channels, at most 3 * 2^28: the sides are bounded */
} pnm;

/* Common other formats are named in the message. */
static int reject_format(const scan *s)
{
    static const struct {
        const char *bytes, *name;
        size_t n, at;
    } known[] = {
        {"\x89PNG", "a PNG picture whose line ends were converted", 4, 0},
        {"\xff\xd8\xff", "a JPEG picture", 3, 0},
        {"GIF8", "a GIF picture", 4, 0},
        {"WEBP", "a WebP picture", 4, 8},
        {"BM", "a BMP picture", 2, 0},
        {"II*", "a TIFF picture", 4, 0},
        {"MM\0*", "a TIFF picture", 4, 0},
        {"ftyp", "an AVIF or HEIC picture, or an MP4 video,", 4, 4},
        {"<svg", "an SVG drawing", 4, 0},
        {"YUV4MPEG2", "a Y4M video", 9, 0},
        {"version https://git-lfs", "a git-LFS pointer instead of the file", 23, 0},
        {"<!DOCTYPE", "a web page", 9, 0},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (s->size >= known[i].at + known[i].n &&
            memcmp(s->data + known[i].at, known[i].bytes, known[i].n) == 0)
            return vdm_fail(
                s->err,
                "%s: format: found %s, expected PNG, PPM, PGM or PBM (ImageMagick's `convert IN OUT.png` "
                "or Pillow's save(\"OUT.png\") converts pictures)",
                s->path, known[i].name);
    return reject_word(s, "magic number", "PNG, or P1 to P6");
}

/* The one byte of white space (or CR LF) between the header and binary samples; if a comment follows the maximum value
 * directly, the end of its line is that byte. */
static int skip_delimiter(scan *s, const pnm *h)
{
    if (peek(s) == '#') skip_comment(s);
    if (!is_blank(peek(s)))
        return reject_word(s, "pixels",
                           h->bits ? "white space after the height" : "white space after the maximum value");
    bool cr = peek(s) == '\r';
    s->at++;
    if (cr && peek(s) == '\n') s->at++;
    return 0;
}

static int scan_header(scan *s, pnm *h)
{
    char type = s->size > 1 && s->data[0] == 'P' ? (char)s->data[1] : 0;
    int third = s->size > 2 ? s->data[2] : -1;
    if (type < '1' || type > '6' || (third >= 0 && !is_blank(third) && third != '#')) return reject_format(s);
    s->at = 2;
    h->ascii = type < '4';
    h->bits = type == '1' || type == '4';
    h->channels = type == '3' || type == '6' ? 3 : 1;
    h->maxval = 1;
    if (scan_number(s, "width", 1, VDM_MAX_SIDE, &h->width) ||
        scan_number(s, "height", 1, VDM_MAX_SIDE, &h->height) ||
        (!h->bits && scan_number(s, "maximum value", 1, 65535, &h->maxval)) ||
        (!h->ascii && skip_delimiter(s, h)))
        return -1;
    h->samples = (size_t)h->height * h->width * h->channels;
    return 0;
}

/* The minimum bytes of the samples: in ASCII a digit each, and white space before it except in P1. */
static size_t sample_bytes(const pnm *h)
{
    if (h->ascii) return h->samples * (h->bits ? 1 : 2);
    if (h->bits) return (size_t)h->height * ((h->width + 7) / 8);
    return h->samples * (h->maxval > 255 ? 2 : 1);
}

/* Checks, before memory is allocated, that the file is large enough for the samples. */
static int check_size(const scan *s, const pnm *h)
{
    size_t left = s->size - s->at, need = sample_bytes(h);
    if (left >= need) return 0;
    if (h->ascii)
        return vdm_fail(s->err, "%s: pixels: found %zu bytes, expected %zu numbers (%u x %u x %u)", s->path,
                        left, h->samples, (unsigned)h->height, (unsigned)h->width, (unsigned)h->channels);
    return vdm_fail(s->err, "%s: pixels: found %zu bytes, expected %zu (%zu missing)", s->path, left, need,
                    need - left);
}

/* Bit i of P1; white space and comments before it are optional. */
static int scan_bit(scan *s, const pnm *h, size_t i, uint32_t *v)
{
    skip_blank(s);
    int c = peek(s);
    if (c == '0' || c == '1') {
        *v = c == '0'; /* 1 is black */
        s->at++;
        return 0;
    }
    if (c < 0)
        return vdm_fail(s->err, "%s: pixels: found %zu bits, expected %zu (%zu missing)", s->path, i,
                        h->samples, h->samples - i);
    char field[48];
    snprintf(field, sizeof field, "pixels: bit %zu", i + 1);
    return reject_word(s, field, "0 or 1");
}

/* Bit i of P4, the highest of a byte first. */
static uint32_t packed_bit(const scan *s, const pnm *h, size_t i)
{
    size_t x = i % h->width, row = i / h->width * ((h->width + 7) / 8);
    return !(s->data[s->at + row + x / 8] >> (7 - x % 8) & 1);
}

/* Sample i, still in 0..maxval. */
static int scan_sample(scan *s, const pnm *h, size_t i, uint32_t *v)
{
    if (h->bits && h->ascii) return scan_bit(s, h, i, v);
    if (h->bits) {
        *v = packed_bit(s, h, i);
        return 0;
    }
    if (h->ascii) {
        if (take_number(s, 0, h->maxval, v)) return 0;
        if (s->at == s->size)
            return vdm_fail(s->err, "%s: pixels: found %zu numbers, expected %zu (%zu missing)", s->path, i,
                            h->samples, h->samples - i);
        char field[48];
        snprintf(field, sizeof field, "pixels: number %zu", i + 1);
        return reject_number(s, field, 0, h->maxval);
    }
    *v = s->data[s->at++];
    if (h->maxval > 255) *v = *v << 8 | s->data[s->at++];
    if (*v <= h->maxval) return 0;
    return vdm_fail(s->err, "%s: pixels: sample %zu: found %u, expected 0 to %u", s->path, i + 1,
                    (unsigned)*v, (unsigned)h->maxval);
}

/* Samples scaled to 0..255, rounded half up; grey ones are repeated three times. rgb [H,W,3] */
static int scan_samples(scan *s, const pnm *h, uint8_t *rgb)
{
    for (size_t i = 0; i < h->samples; i++) {
        uint32_t v;
        if (scan_sample(s, h, i, &v)) return -1;
        if (h->maxval != 255) v = (v * 255 + h->maxval / 2) / h->maxval;
        if (h->channels == 3)
            rgb[i] = (uint8_t)v;
        else
            memset(rgb + 3 * i, (int)v, 3);
    }
    if (h->bits && !h->ascii) s->at += sample_bytes(h);
    return 0;
}

/* White space may follow, in ASCII formats also comments; a second picture may not. */
static int check_end_of_file(scan *s, const pnm *h)
{
    if (h->ascii) skip_blank(s);
    while (is_blank(peek(s))) s->at++;
    if (s->at == s->size) return 0;
    return vdm_fail(
        s->err, "%s: end: found %zu bytes after the %u x %u picture%s, expected one picture a file", s->path,
        s->size - s->at, (unsigned)h->width, (unsigned)h->height, peek(s) == 'P' ? " (a second one?)" : "");
}

static int picture_new(vdm_picture *p, size_t width, size_t height, vdm_error *err)
{
    *p = (vdm_picture){.width = (int)width, .height = (int)height};
    p->rgb = vdm_alloc(height * width * 3, 1, "a picture", err);
    return p->rgb ? 0 : -1;
}

static int read_pnm(scan *s, vdm_picture *p, unsigned *notes)
{
    pnm h = {0};
    if (scan_header(s, &h) || check_size(s, &h) || picture_new(p, h.width, h.height, s->err)) return -1;
    if (h.maxval > 255) *notes |= VDM_NOTE_DEPTH;
    return scan_samples(s, &h, p->rgb) || check_end_of_file(s, &h) ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Reading by name */

static bool is_picture(const uint8_t *data, size_t size)
{
    return vdm_png_is(data, size) || (size > 1 && data[0] == 'P' && data[1] >= '1' && data[1] <= '6');
}

/* All bytes of a pipe. If the first ones are not those of a picture, reading stops: a device may have no end. */
static int read_pipe(int fd, const char *path, char **data, size_t *size, vdm_error *err)
{
    size_t capacity = 65536;
    ssize_t n = 1;
    *size = 0;
    *data = vdm_alloc(capacity, 1, path, err);
    for (bool known = false; *data && n; known = known || *size >= 8) {
        n = read(fd, *data + *size, capacity - *size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return vdm_fail(err, "%s: %s", path, strerror(errno));
        *size += (size_t)n;
        if (!known && *size >= 8 && !is_picture((const uint8_t *)*data, *size)) return 0;
        if (*size > MAX_FILE)
            return vdm_fail(err, "%s: found more than %d bytes, expected a picture", path, MAX_FILE);
        if (*size < capacity) continue;
        char *larger = vdm_alloc(2 * capacity, 1, path, err);
        if (larger) memcpy(larger, *data, *size);
        vdm_free(*data);
        *data = larger;
        capacity *= 2;
    }
    return *data ? 0 : -1;
}

/* The bytes of a file, a pipe or a device; of standard input if `path` is "-". */
static int read_bytes(const char *path, char **data, size_t *size, vdm_error *err)
{
    struct stat info;
    bool input = strcmp(path, "-") == 0;
    if (!input && (stat(path, &info) || S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)))
        return vdm_read_file(path, MAX_FILE, data, size, err);
    *data = NULL;
    int fd = input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return vdm_fail(err, "%s: %s", path, strerror(errno));
    int status = read_pipe(fd, input ? "standard input" : path, data, size, err);
    if (!input) close(fd);
    return status;
}

int vdm_picture_decode(vdm_picture *p, const uint8_t *data, size_t size, const char *path, unsigned *notes,
                       vdm_error *err)
{
    unsigned found = 0;
    scan s = {.path = path, .data = data, .size = size, .err = err};
    *p = (vdm_picture){0};
    if (!size) return vdm_fail(err, "%s: magic number: found an empty file, expected PNG, or P1 to P6", path);
    int status = vdm_png_is(data, size)
                     ? vdm_png_decode(&p->rgb, &p->height, &p->width, &found, data, size, path, err)
                     : read_pnm(&s, p, &found);
    if (status) vdm_picture_free(p);
    if (notes) *notes = found;
    return status;
}

int vdm_picture_read_noted(vdm_picture *p, const char *path, unsigned *notes, vdm_error *err)
{
    char *data;
    size_t size;
    *p = (vdm_picture){0};
    int status = read_bytes(path, &data, &size, err);
    if (!status)
        status = vdm_picture_decode(p, (const uint8_t *)data, size,
                                    strcmp(path, "-") ? path : "standard input", notes, err);
    vdm_free(data);
    return status;
}

int vdm_picture_read(vdm_picture *p, const char *path, vdm_error *err)
{
    return vdm_picture_read_noted(p, path, NULL, err);
}

/* The size of a PNG, from IHDR, its first chunk; big-endian. */
static int png_size(const uint8_t *data, size_t size, uint32_t *height, uint32_t *width)
{
    if (size < 24) return -1;
    *width = *height = 0;
    for (int i = 0; i < 4; i++) {
        *width = *width << 8 | data[16 + i];
        *height = *height << 8 | data[20 + i];
    }
    return *width - 1 < VDM_MAX_SIDE && *height - 1 < VDM_MAX_SIDE ? 0 : -1;
}

int vdm_picture_size(const char *path, int *height, int *width, vdm_error *err)
{
    char *data;
    pnm h;
    scan s = {.path = path, .err = err};
    if (read_bytes(path, &data, &s.size, err)) return -1;
    s.data = (const uint8_t *)data;
    int status = -1;
    if (!vdm_png_is(s.data, s.size)) {
        if (!scan_header(&s, &h)) status = check_size(&s, &h);
    } else if (png_size(s.data, s.size, &h.height, &h.width)) {
        vdm_fail(err, "%s: PNG: expected a header with sides of 1 to %d", path, VDM_MAX_SIDE);
    } else {
        status = 0;
    }
    vdm_free(data);
    if (status) return -1;
    *height = (int)h.height;
    *width = (int)h.width;
    return 0;
}

void vdm_picture_free(vdm_picture *p)
{
    vdm_free(p->rgb);
    *p = (vdm_picture){0};
}

/* ------------------------------------------------------------------------------------------------
 * Writing PNG and PPM */

static bool legal_side(int side)
{
    return side >= 1 && side <= VDM_MAX_SIDE;
}

int vdm_picture_check(const vdm_picture *p, const char *name, vdm_error *err)
{
    if (!legal_side(p->width) || !legal_side(p->height))
        return vdm_fail(err, "%s: size: found %dx%d (height x width), expected sides of 1 to %d", name,
                        p->height, p->width, VDM_MAX_SIDE);
    return p->rgb ? 0 : vdm_fail(err, "%s: expected a picture, found none: its rgb is NULL", name);
}

int vdm_png_write(const vdm_picture *p, FILE *to, vdm_error *err)
{
    if (vdm_picture_check(p, "PNG", err)) return -1;
    return vdm_png_encode(p->rgb, p->height, p->width, to, err);
}

static int write_png(const vdm_picture *p, const char *path, vdm_error *err)
{
    vdm_file f;
    if (vdm_file_open(&f, path, err)) return -1;
    if (!vdm_png_write(p, f.stream, err)) return vdm_file_commit(&f, err);
    vdm_file_abandon(&f);
    return -1;
}

void vdm_ppm_write(const vdm_picture *p, FILE *to)
{
    fprintf(to, "P6\n%d %d\n255\n", p->width, p->height);
    fwrite(p->rgb, 3, (size_t)p->width * (size_t)p->height, to);
}

static int write_ppm(const vdm_picture *p, const char *path, vdm_error *err)
{
    vdm_file f;
    if (vdm_file_open(&f, path, err)) return -1;
    vdm_ppm_write(p, f.stream);
    return vdm_file_commit(&f, err);
}

static const char *ending_of(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot && !strchr(dot, '/') ? dot : "";
}

int vdm_picture_name_check(const char *path, vdm_error *err)
{
    const char *ending = ending_of(path);
    if (strcmp(ending, ".png") == 0 || strcmp(ending, ".ppm") == 0) return 0;
    return vdm_fail(err, "%s: ending of the name: found '%s', expected .png or .ppm", path, ending);
}

int vdm_video_name_check(const char *path, vdm_error *err)
{
    const char *ending = ending_of(path);
    if (strcmp(ending, ".y4m") == 0) return 0;
    return vdm_fail(err,
                    "%s: ending of the name: found '%s', expected .y4m (`ffmpeg -i V.y4m V.mp4` converts it)",
                    path, ending);
}

int vdm_picture_write(const vdm_picture *p, const char *path, vdm_error *err)
{
    if (vdm_picture_name_check(path, err)) return -1;
    if (vdm_picture_check(p, path, err)) return -1;
    return strcmp(ending_of(path), ".png") == 0 ? write_png(p, path, err) : write_ppm(p, path, err);
}

/* ------------------------------------------------------------------------------------------------
 * Writing Y4M */

/* BT.601, limited range. Every value is the exact one, rounded half up, with Y' = (299 R + 587 G + 114 B)/1000:
 *   Y = 16 + 219 Y'/255,  Cb = 128 + 224 (B - Y')/(1.772 * 255),  Cr = 128 + 224 (R - Y')/(1.402 * 255) */
static uint8_t to_yuv(const uint8_t *rgb, int plane)
{
    int r = rgb[0], g = rgb[1], b = rgb[2];
    if (plane == 0) return (uint8_t)(16 + (219 * (299 * r + 587 * g + 114 * b) + 127500) / 255000);
    int top = plane == 1 ? 886 * b - 299 * r - 587 * g : 701 * r - 587 * g - 114 * b;
    int bottom = 255 * (plane == 1 ? 886 : 701);
    return (uint8_t)((112 * top + 128 * bottom + bottom / 2) / bottom); /* + 128 first: never negative */
}

int vdm_y4m_write(const char *path, const uint8_t *frames, int T, int H, int W, vdm_error *err)
{
    if (vdm_video_name_check(path, err)) return -1;
    if (!legal_side(H) || !legal_side(W) || T < 1 || T > VDM_MAX_FRAMES)
        return vdm_fail(
            err, "%s: size: found %d frames of %dx%d (height x width), expected 1 to %d of sides 1 to %d",
            path, T, H, W, VDM_MAX_FRAMES, VDM_MAX_SIDE);
    size_t pixels = (size_t)H * (size_t)W;
    uint8_t *plane = vdm_alloc(pixels, 1, "a plane of a video", err);
    vdm_file f;
    if (!plane || vdm_file_open(&f, path, err)) {
        vdm_free(plane);
        return -1;
    }
    fprintf(f.stream, "YUV4MPEG2 W%d H%d F8:1 Ip A1:1 C444\n", W, H);
    for (size_t t = 0; t < (size_t)T; t++) {
        fputs("FRAME\n", f.stream);
        for (int k = 0; k < 3; k++) {
            for (size_t i = 0; i < pixels; i++) plane[i] = to_yuv(frames + 3 * (t * pixels + i), k);
            fwrite(plane, 1, pixels, f.stream);
        }
    }
    vdm_free(plane);
    return vdm_file_commit(&f, err);
}

/* ------------------------------------------------------------------------------------------------
 * Resizing (Pillow: src/libImaging/Resample.c, Image.LANCZOS) */

enum { WEIGHT_BITS = 22 }; /* 32 - 8 for the pixel - 2 for overflow, as in Pillow */

static double sinc(double x)
{
    if (x == 0) return 1;
    x *= 3.14159265358979323846;
    return vdm_sin(x) / x;
}

static double lanczos3(double x)
{
    return -3 <= x && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

typedef struct taps { /* output i = sum over k < count[i] of weight[i][k] input[first[i] + k] */
    int32_t *first, *count, *weight; /* [out], [out], [out,width]: one allocation, owned by `first` */
    size_t width;
} taps;

/* The weights of output i in double, w [width], normalised to a sum of 1. */
static void weigh(double *w, taps *t, int i, int in, int out)
{
    double scale = (double)in / (double)out, stretch = scale < 1 ? 1 : scale;
    double support = 3 * stretch, center = ((double)i + 0.5) * scale, inverse = 1 / stretch, sum = 0;
    int from = (int)(center - support + 0.5), to = (int)(center + support + 0.5);
    if (from < 0) from = 0;
    if (to > in) to = in;
    for (int k = 0; k < to - from; k++) {
        w[k] = lanczos3((k + from - center + 0.5) * inverse);
        sum += w[k];
    }
    t->first[i] = from;
    t->count[i] = to - from;
    for (int k = 0; k < to - from; k++) {
        double scaled = (sum != 0 ? w[k] / sum : w[k]) * (1 << WEIGHT_BITS);
        t->weight[(size_t)i * t->width + (size_t)k] = (int32_t)(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
    }
}

static int taps_new(taps *t, int in, int out, vdm_error *err)
{
    double scale = (double)in / (double)out;
    t->width = (size_t)ceil(3 * (scale < 1 ? 1 : scale)) * 2 + 1;
    size_t n = (size_t)out;
    double *w = vdm_alloc(t->width, sizeof *w, "the weights of a pixel", err);
    t->first = w ? vdm_alloc(n * (2 + t->width), sizeof *t->first, "the weights of a resize", err) : NULL;
    if (t->first) {
        t->count = t->first + n;
        t->weight = t->count + n;
        for (int i = 0; i < out; i++) weigh(w, t, i, in, out);
    }
    vdm_free(w);
    return t->first ? 0 : -1;
}

static uint8_t clip_weighted(int64_t sum)
{
    int64_t v = sum >> WEIGHT_BITS; /* as in Pillow: an arithmetic shift, then clipping */
    return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* One pass along the middle axis: from [before,in,after] -> to [before,out,after]; a copy if in = out. For the width
 * before = H, after = 3; for the height before = 1, after = 3W. */
static int resize_axis(uint8_t *to, const uint8_t *from, size_t before, int in, int out, size_t after,
                       vdm_error *err)
{
    taps t;
    if (in == out) {
        memcpy(to, from, before * (size_t)in * after);
        return 0;
    }
    if (taps_new(&t, in, out, err)) return -1;
    for (size_t b = 0; b < before; b++)
        for (size_t i = 0; i < (size_t)out; i++) {
            const int32_t *w = t.weight + i * t.width;
            const uint8_t *x = from + (b * (size_t)in + (size_t)t.first[i]) * after;
            for (size_t a = 0; a < after; a++) {
                int64_t sum = 1 << (WEIGHT_BITS - 1);
                for (size_t k = 0; k < (size_t)t.count[i]; k++) sum += (int64_t)w[k] * x[k * after + a];
                to[(b * (size_t)out + i) * after + a] = clip_weighted(sum);
            }
        }
    vdm_free(t.first);
    return 0;
}

static int resize_columns(vdm_picture *to, const vdm_picture *from, vdm_error *err)
{
    return resize_axis(to->rgb, from->rgb, (size_t)from->height, from->width, to->width, 3, err);
}

static int resize_rows(vdm_picture *to, const vdm_picture *from, vdm_error *err)
{
    return resize_axis(to->rgb, from->rgb, 1, from->height, to->height, (size_t)from->width * 3, err);
}

/* The width first, unless the height shrinks by more than twice the width's factor. */
static int resize_both(vdm_picture *to, const vdm_picture *from, vdm_error *err)
{
    bool rows_first = from->height > to->height && from->height - to->height > 2 * (from->width - to->width);
    vdm_picture middle;
    int width = rows_first ? from->width : to->width, height = rows_first ? to->height : from->height;
    if (picture_new(&middle, (size_t)width, (size_t)height, err)) return -1;
    int status = rows_first ? resize_rows(&middle, from, err) : resize_columns(&middle, from, err);
    if (!status) status = rows_first ? resize_columns(to, &middle, err) : resize_rows(to, &middle, err);
    vdm_picture_free(&middle);
    return status;
}

int vdm_picture_resize(vdm_picture *to, const vdm_picture *from, int height, int width, vdm_error *err)
{
    *to = (vdm_picture){0};
    if (!legal_side(width) || !legal_side(height))
        return vdm_fail(err, "size: found %d x %d, expected a height and width of 1 to %d", height, width,
                        VDM_MAX_SIDE);
    if (vdm_picture_check(from, "resize", err)) return -1;
    if (picture_new(to, (size_t)width, (size_t)height, err)) return -1;
    int status = resize_both(to, from, err);
    if (status) vdm_picture_free(to);
    return status;
}
