/* ICC profiles (ICC.1:2022, ISO 15076-1), as far as to decide whether one is sRGB, whatever its name.
 *
 *   profile: 128 bytes, of which 0: size, 16: colour space; count; count x (tag, offset, bytes); data of the tags
 *   rXYZ, gXYZ, bXYZ: the primaries, adapted to D50      rTRC, gTRC, bTRC: the curve;  kTRC: that of a grey profile
 *
 * A primary of sRGB is within 0.01. A curve is one of sRGB (linear near 0, then ((x + 0.055) / 1.055)^2.4) or a gamma near
 * 2.2, as in gAMA. */
#include "png.h"

#include <string.h>

enum { HEADER = 128, ENTRY = 12, MAX_PROFILE = 1 << 20, MAX_SHRINK = 1032 };

typedef struct profile {
    const uint8_t *data; /* [size] */
    size_t size;
} profile;

/* A tag's data, of at least 12 bytes and of this type ("curv"); NULL if there is none. */
static const uint8_t *find_tag(const profile *p, const char *tag, const char *type, size_t *size)
{
    size_t count = load_be32(p->data + HEADER);
    for (size_t i = 0, at = HEADER + 4; i < count && p->size - at >= ENTRY; i++, at += ENTRY) {
        size_t offset = load_be32(p->data + at + 4);
        *size = load_be32(p->data + at + 8);
        if (memcmp(p->data + at, tag, 4) != 0) continue;
        if (offset > p->size || *size > p->size - offset || *size < 12) return NULL;
        return memcmp(p->data + offset, type, 4) == 0 ? p->data + offset : NULL;
    }
    return NULL;
}

/* A number of 16 bits, a point, and 16 bits, in 65536ths, against one in 10000ths */
static bool is_near(const uint8_t *number, int64_t expected, int64_t distance)
{
    int64_t off = (int64_t)(int32_t)load_be32(number) * 10000 / 65536 - expected;
    return off >= -distance && off <= distance;
}

static bool is_primary(const profile *p, const char *tag, const int xyz[3])
{
    size_t size;
    const uint8_t *d = find_tag(p, tag, "XYZ ", &size);
    if (!d || size < 20) return false;
    for (int i = 0; i < 3; i++)
        if (!is_near(d + 8 + 4 * i, xyz[i], 100)) return false;
    return true;
}

/* "para": kind 0 is x^g; 3 is (a x + b)^g from d on, c x below it; 4 adds offsets, which sRGB does not have. */
static bool is_srgb_formula(const uint8_t *d, size_t size)
{
    static const int srgb[] = {24000, 9479, 521, 774, 405, 0, 0}; /* g, a, b, c, d, e, f */
    const int kind = d[8] << 8 | d[9], n = kind == 3 ? 5 : 7;
    if (kind == 0) return size >= 16 && is_near(d + 12, 22000, 1100);
    if ((kind != 3 && kind != 4) || size < 12 + 4 * (size_t)n) return false;
    for (int i = 0; i < n; i++)
        if (!is_near(d + 12 + 4 * i, srgb[i], i ? 20 : 100)) return false;
    return true;
}

/* "curv": no value is linear, one is a gamma in 256ths, more are a table, of which the middle is 0.214 in sRGB. */
static bool is_srgb_table(const uint8_t *d, size_t size)
{
    const size_t n = load_be32(d + 8);
    if (n < 1 || n > (size - 12) / 2) return false;
    const uint8_t *low = d + 12 + 2 * ((n - 1) / 2), *high = d + 12 + 2 * (n / 2);
    int twice = (low[0] << 8 | low[1]) + (high[0] << 8 | high[1]);
    if (n == 1) return twice >= 2 * 536 && twice <= 2 * 593;    /* 2.095 to 2.316 */
    return n >= 16 && twice >= 2 * 13160 && twice <= 2 * 15340; /* 0.5^2.316 to 0.5^2.095 of 65535 */
}

static bool is_srgb_curve(const profile *p, const char *tag)
{
    size_t size;
    const uint8_t *d = find_tag(p, tag, "para", &size);
    if (d) return is_srgb_formula(d, size);
    d = find_tag(p, tag, "curv", &size);
    return d && is_srgb_table(d, size);
}

static bool is_srgb(const profile *p)
{
    static const char *const primaries[] = {"rXYZ", "gXYZ", "bXYZ"}, *const curves[] = {"rTRC", "gTRC",
                                                                                        "bTRC"};
    static const int srgb[3][3] = {{4361, 2225, 139}, {3851, 7169, 971}, {1431, 606, 7141}};
    if (p->size < HEADER + 4 || load_be32(p->data) > p->size) return false;
    if (memcmp(p->data + 16, "GRAY", 4) == 0) return is_srgb_curve(p, "kTRC");
    if (memcmp(p->data + 16, "RGB ", 4) != 0) return false;
    for (int i = 0; i < 3; i++)
        if (!is_primary(p, primaries[i], srgb[i]) || !is_srgb_curve(p, curves[i])) return false;
    return true;
}

int vdm_icc_is_srgb(bool *srgb, const uint8_t *chunk, size_t n, vdm_error *err)
{
    const uint8_t *end =
        memchr(chunk, 0, n); /* of the name; a byte for the compression and a zlib stream follow */
    *srgb = false;
    if (!end || n - (size_t)(end - chunk) < 2 || end[1]) return 0;
    const uint8_t *stream = end + 2;
    const size_t bytes = n - (size_t)(stream - chunk),
                 capacity = bytes > MAX_PROFILE / MAX_SHRINK ? MAX_PROFILE : bytes * MAX_SHRINK;
    uint8_t *data = vdm_alloc(capacity, 1, "a colour profile", err);
    if (!data) return -1;
    const profile p = {data, vdm_zlib_read_part(data, capacity, stream, bytes)};
    *srgb = is_srgb(&p);
    vdm_free(data);
    return 0;
}
