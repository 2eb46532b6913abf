/* PNG pictures: every colour type, depth, filter and interlacing that a small encoder here writes, mistakes planted in
 * every chunk and in the compressed data, and what a reader must survive. Against Pillow: tests/peer/pictures.py. */
#include "check.h"

#include "files/png.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * An encoder, independent of the reader: stored blocks, a plain CRC */

typedef struct bytes {
    uint8_t data[1 << 16];
    size_t n;
} bytes;

static void put(bytes *b, const void *data, size_t n)
{
    if (n > sizeof b->data - b->n) abort();
    memcpy(b->data + b->n, data, n);
    b->n += n;
}

static void put_be32(bytes *b, uint32_t v)
{
    uint8_t be[] = {(uint8_t)(v >> 24), (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
    put(b, be, 4);
}

static void put_chunk(bytes *b, const char *type, const void *data, size_t n)
{
    put_be32(b, (uint32_t)n);
    size_t at = b->n;
    put(b, type, 4);
    if (n) put(b, data, n);
    put_be32(b, check_crc(b->data + at, n + 4));
}

static void put_adler(bytes *b, const uint8_t *data, size_t n)
{
    uint32_t s1 = 1, s2 = 0;
    for (size_t i = 0; i < n; i++) s2 = (s2 + (s1 = (s1 + data[i]) % 65521)) % 65521;
    put_be32(b, s2 << 16 | s1);
}

/* A zlib stream of stored blocks of at most 1000 bytes. */
static void put_stored(bytes *z, const uint8_t *data, size_t n)
{
    put(z, "\x78\x01", 2);
    for (size_t at = 0; at <= n; at += 1000) {
        size_t part = n - at < 1000 ? n - at : 1000;
        uint8_t head[] = {at + 1000 > n, (uint8_t)part, (uint8_t)(part >> 8), (uint8_t)~part,
                          (uint8_t)(~part >> 8)};
        put(z, head, 5);
        put(z, data + at, part);
    }
    put_adler(z, data, n);
}

typedef struct kind {
    int type, depth, width, height, filter; /* filter 5: another one in each row */
    bool interlaced, key;                   /* key: tRNS */
} kind;

static int channels_of(int type)
{
    static const int channels[] = {1, 0, 3, 1, 2, 0, 4};
    return channels[type];
}

static uint32_t random_state;
static uint32_t random_next(void)
{
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

/* One sample; samples [H,W,channels] */
static uint16_t *sample(uint16_t *samples, const kind *k, int y, int x, int c)
{
    return &samples[(y * k->width + x) * channels_of(k->type) + c];
}

/* The bytes of `w` pixels of row y: x0, x0 + dx, ... */
static size_t pack_row(uint8_t *row, uint16_t *samples, const kind *k, int y, int x0, int dx)
{
    size_t bit = 0;
    memset(row, 0, 1000);
    for (int x = x0; x < k->width; x += dx)
        for (int c = 0; c < channels_of(k->type); c++)
            for (int b = k->depth - 1; b >= 0; b--, bit++)
                row[bit / 8] |= (uint8_t)((*sample(samples, k, y, x, c) >> b & 1) << (7 - bit % 8));
    return (bit + 7) / 8;
}

static int distance(int a, int b)
{
    return a < b ? b - a : a - b;
}

static uint8_t predict(int filter, int left, int up, int corner)
{
    int p = left + up - corner;
    switch (filter) {
    case 1:
        return (uint8_t)left;
    case 2:
        return (uint8_t)up;
    case 3:
        return (uint8_t)((left + up) / 2);
    case 4:
        if (distance(p, left) <= distance(p, up) && distance(p, left) <= distance(p, corner))
            return (uint8_t)left;
        return (uint8_t)(distance(p, up) <= distance(p, corner) ? up : corner);
    }
    return 0;
}

/* The rows of one pass, filtered. */
static void put_pass(bytes *rows, uint16_t *samples, const kind *k, const int *pass)
{
    uint8_t above[1000] = {0}, row[1000];
    size_t bpp = (size_t)(channels_of(k->type) * k->depth + 7) / 8;
    if (pass[0] >= k->width) return;
    for (int y = pass[1]; y < k->height; y += pass[3]) {
        size_t n = pack_row(row, samples, k, y, pass[0], pass[2]);
        uint8_t filter = (uint8_t)(k->filter == 5 ? y % 5 : k->filter);
        put(rows, &filter, 1);
        for (size_t i = 0; i < n; i++) {
            int left = i < bpp ? 0 : row[i - bpp], corner = i < bpp ? 0 : above[i - bpp];
            uint8_t byte = (uint8_t)(row[i] - predict(filter, left, above[i], corner));
            put(rows, &byte, 1);
        }
        memcpy(above, row, sizeof row);
    }
}

static void make_rows(bytes *rows, uint16_t *samples, const kind *k)
{
    static const int adam7[7][4] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4},
                                    {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}},
                     whole[4] = {0, 0, 1, 1};
    rows->n = 0;
    for (int i = 0; i < (k->interlaced ? 7 : 1); i++)
        put_pass(rows, samples, k, k->interlaced ? adam7[i] : whole);
}

static void put_head(bytes *b, const kind *k)
{
    uint8_t head[13] = {0,
                        0,
                        (uint8_t)(k->width >> 8),
                        (uint8_t)k->width,
                        0,
                        0,
                        (uint8_t)(k->height >> 8),
                        (uint8_t)k->height,
                        (uint8_t)k->depth,
                        (uint8_t)k->type,
                        0,
                        0,
                        k->interlaced};
    b->n = 0;
    put(b, "\x89PNG\r\n\x1a\n", 8);
    put_chunk(b, "IHDR", head, 13);
}

/* Colour i of the palette: RGBA */
static uint8_t palette(int i, int c)
{
    return (uint8_t)(c == 3 ? (i % 3 ? 255 : 40 * i) : i * (31 + 40 * c) + c);
}

/* A file of random samples, and what it should become. */
static void make_file(bytes *file, uint8_t *rgb, const kind *k)
{
    static uint16_t samples[4096];
    static bytes rows, z;
    int channels = channels_of(k->type), max = (1 << k->depth) - 1, colours = max < 255 ? max + 1 : 256;
    uint8_t colour[768], alpha[256], key[6];
    for (int i = 0; i < k->width * k->height * channels; i++)
        samples[i] = (uint16_t)(random_next() & (uint32_t)max);
    make_rows(&rows, samples, k);
    z.n = 0;
    put_stored(&z, rows.data, rows.n);
    put_head(file, k);
    for (int i = 0; i < 768; i++) colour[i] = palette(i / 3, i % 3);
    for (int i = 0; i < 256; i++) alpha[i] = palette(i, 3);
    for (int c = 0; c < 3; c++)
        key[2 * c] = (uint8_t)(samples[c % channels] >> 8), key[2 * c + 1] = (uint8_t)samples[c % channels];
    if (k->type == 3) put_chunk(file, "PLTE", colour, 3 * (size_t)colours);
    if (k->key)
        put_chunk(file, "tRNS", k->type == 3 ? alpha : key,
                  k->type == 3 ? (size_t)colours : 2 * (size_t)channels);
    for (size_t at = 0; at < z.n || at == 0; at += 300)
        put_chunk(file, "IDAT", z.data + at, z.n - at < 300 ? z.n - at : 300);
    put_chunk(file, "IEND", NULL, 0);
    for (int i = 0; i < k->width * k->height; i++) {
        const uint16_t *s = samples + i * channels;
        bool clear = k->key && k->type != 3 && memcmp(s, samples, (size_t)channels * 2) == 0;
        for (int c = 0; c < 3; c++) {
            int v = k->type == 3     ? palette(s[0], c)
                    : k->depth == 16 ? s[channels < 3 ? 0 : c] >> 8
                                     : s[channels < 3 ? 0 : c] * 255 / max;
            int a = k->type == 3     ? (k->key ? palette(s[0], 3) : 255)
                    : clear          ? 0
                    : channels % 2   ? 255
                    : k->depth == 16 ? s[channels - 1] >> 8
                                     : s[channels - 1];
            rgb[3 * i + c] = (uint8_t)((double)v * a / 255 + 0.5);
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * What is read */

static vdm_error err;
static bytes file;

/* The sentence, or "" for a picture. */
static const char *decode(vdm_picture *p, unsigned *notes, const bytes *b)
{
    err.text[0] = 0;
    int status = vdm_picture_decode(p, b->data, b->n, "x.png", notes, &err);
    CHECK((status == 0) == (p->rgb != NULL) && (status == 0) == !err.text[0], "status %d, '%s'", status,
          err.text);
    return err.text;
}

static void check_kind(const kind *k)
{
    static uint8_t rgb[3 * 2048];
    vdm_picture p;
    unsigned notes = 0;
    make_file(&file, rgb, k);
    const char *why = decode(&p, &notes, &file);
    bool same = p.rgb && p.width == k->width && p.height == k->height &&
                memcmp(p.rgb, rgb, 3 * (size_t)(k->width * k->height)) == 0;
    CHECK(same, "type %d, %d bits, filter %d, %d x %d%s%s: %s", k->type, k->depth, k->filter, k->width,
          k->height, k->interlaced ? ", interlaced" : "", k->key ? ", tRNS" : "",
          *why ? why : "other pixels");
    if (k->type != 3 && k->key) CHECK(notes & VDM_NOTE_ALPHA, "transparency is not noted");
    if (k->type != 3 && k->type < 4 && !k->key)
        CHECK(!(notes & VDM_NOTE_ALPHA), "transparency is noted without a reason");
    CHECK((k->depth == 16) == !!(notes & VDM_NOTE_DEPTH), "16 bits: notes %u", notes);
    vdm_picture_free(&p);
}

static void test_kinds(void)
{
    static const int types[] = {0, 2, 3, 4, 6}, sizes[][2] = {{1, 1}, {3, 2}, {5, 9}, {33, 7}, {8, 16}};
    for (int t = 0; t < 5; t++)
        for (int depth = 1; depth <= 16; depth *= 2)
            for (int variant = 0; variant < 6 * 5 * 2 * 2; variant++) {
                kind k = {.type = types[t],
                          .depth = depth,
                          .filter = variant % 6,
                          .width = sizes[variant / 6 % 5][0],
                          .height = sizes[variant / 6 % 5][1],
                          .interlaced = variant / 30 % 2,
                          .key = variant / 60};
                bool legal = k.type == 0 || (k.type == 3 ? depth <= 8 : depth >= 8);
                if (legal && !(k.key && k.type > 3)) check_kind(&k);
            }
}

/* Alpha over black, rounded, of every value and alpha. */
static void test_alpha(void)
{
    static bytes rows, z;
    int wrong = 0;
    for (int v = 0; v < 256; v += 5) {
        kind k = {.type = 4, .depth = 8, .width = 256, .height = 1};
        rows.n = z.n = 0;
        put(&rows, "\0", 1);
        for (int a = 0; a < 256; a++) put(&rows, (uint8_t[]){(uint8_t)v, (uint8_t)a}, 2);
        put_stored(&z, rows.data, rows.n);
        put_head(&file, &k);
        put_chunk(&file, "IDAT", z.data, z.n);
        put_chunk(&file, "IEND", NULL, 0);
        vdm_picture p;
        decode(&p, NULL, &file);
        for (int a = 0; p.rgb && a < 256; a++) wrong += p.rgb[3 * a] != (int)(v * a / 255.0 + 0.5);
        wrong += !p.rgb;
        vdm_picture_free(&p);
    }
    CHECK(wrong == 0, "%d wrong", wrong);
}

/* The head of a grey picture of 1x2 pixels, and in z the data of its IDAT; chunks may come between. */
static void put_two_pixels(bytes *z)
{
    const kind k = {.type = 0, .depth = 8, .width = 2, .height = 1};
    z->n = 0;
    put_stored(z, (const uint8_t *)"\0ab", 3);
    put_head(&file, &k);
}

/* Chunks that change how a picture looks are noted, and only those. */
static void test_notes(void)
{
    static const struct {
        const char *type, *data;
        size_t n;
        unsigned notes;
    } chunks[] = {
        {"gAMA", "\0\0\xb1\x8f", 4, 0},
        {"gAMA", "\0\1\x86\xa0", 4, VDM_NOTE_GAMMA},
        {"sRGB", "\0", 1, 0},
        {"iCCP", "Display P3\0\0xxxx", 16, VDM_NOTE_PROFILE},
        {"iCCP", "sRGB IEC61966-2.1\0\0x", 20, VDM_NOTE_PROFILE}, /* a name without a profile */
        {"iCCP", "sRGB", 4, VDM_NOTE_PROFILE},
        {"iCCP", "sRGB\0", 5, VDM_NOTE_PROFILE},
        {"cICP", "\1\1\0\1", 4, VDM_NOTE_PROFILE},
        {"cICP", "\1\15\0\1", 4, 0}, /* sRGB */
        {"iCCP", "GIMP built-in Linear sRGB\0\0x", 28, VDM_NOTE_PROFILE},
        {"iCCP", "sRGB-elle-V2-g10.icc\0\0x", 23, VDM_NOTE_PROFILE},
        {"iCCP", "Display P3\0sRGB", 16, VDM_NOTE_PROFILE}, /* the name ends at the NUL */
        {"zTXt", "Raw profile type exif\0\0x", 24, VDM_NOTE_EXIF_TEXT},
        {"tEXt", "Raw profile type APP1\0\nexif\n", 28, VDM_NOTE_EXIF_TEXT},
        {"tEXt", "Raw profile type xmp\0x", 22, 0},
        {"acTL", "\0\0\0\2\0\0\0\0", 8, VDM_NOTE_FRAMES},
        {"cHRM",
         "\0\0\x7a\x26\0\0\x80\x84\0\0\xfa\0\0\0\x80\xe8\0\0\x75\x30\0\0\xea\x60\0\0\x3a\x98\0\0\x17\x70", 32,
         0},
        {"cHRM",
         "\0\0\x7a\x26\0\0\x80\x84\0\1\x09\xa0\0\0\x7d\0\0\0\x67\x84\1\0\x0d\x88\0\0\x3a\x98\0\0\x17\x70", 32,
         VDM_NOTE_PROFILE},
        {"eXIf", "II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\6\0\0\0\0\0\0\0", 26, VDM_NOTE_ROTATED},
        {"eXIf", "MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\3\0\0\0\0\0\0", 26, VDM_NOTE_ROTATED},
        {"eXIf", "II*\0\x08\0\0\0\1\0\x12\1\3\0\1\0\0\0\1\0\0\0\0\0\0\0", 26, 0}, /* upright */
        {"eXIf", "II*\0\x08\0\0\0\1\0\x13\2\3\0\1\0\0\0\6\0\0\0\0\0\0\0", 26, 0}, /* another tag */
        {"eXIf", "II*\0\xff\xff\xff\xff\1\0", 10, 0},                             /* beyond the end */
        {"eXIf", "II*\0\x08\0\0\0\xff\xff\x12\1\3\0\1\0\0\0\6", 19, 0},           /* cut */
        {"eXIf", "II*", 4, 0},
        {"tEXt", "Comment\0hello", 13, 0},
        {"pHYs", "\0\0\x0b\x13\0\0\x0b\x13\1", 9, 0},
    };
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        static bytes z;
        vdm_picture p;
        unsigned notes = 99;
        put_two_pixels(&z);
        put_chunk(&file, chunks[i].type, chunks[i].data, chunks[i].n);
        put_chunk(&file, "IDAT", z.data, z.n);
        put_chunk(&file, "IEND", NULL, 0);
        decode(&p, &notes, &file);
        CHECK(p.rgb && notes == chunks[i].notes && p.rgb[3] == 'b', "%s: notes %u, expected %u: %s",
              chunks[i].type, notes, chunks[i].notes, err.text);
        vdm_picture_free(&p);
    }
}

/* An ICC profile of this colour space: three primaries in 10000ths, and one curve for all. */
static const int SRGB[9] = {4361, 2225, 139, 3851, 7169, 971, 1431, 606, 7141},
                 DISPLAY_P3[9] = {5151, 2412, -11, 2920, 6922, 419, 1571, 666, 7841};
static void put_profile(bytes *b, const char *space, const int *primaries, const void *curve, size_t n)
{
    static const char *const tags[] = {"rXYZ", "gXYZ", "bXYZ", "rTRC", "gTRC", "bTRC", "kTRC"};
    static uint8_t zeros[128];
    const uint32_t data = 132 + 7 * 12;
    b->n = 0;
    put_be32(b, data + 60 + (uint32_t)n);
    put(b, zeros, 12);
    put(b, space, 4);
    put(b, zeros, 108);
    put_be32(b, 7);
    for (uint32_t i = 0; i < 7; i++) {
        put(b, tags[i], 4);
        put_be32(b, data + 20 * (i < 3 ? i : 3));
        put_be32(b, i < 3 ? 20 : (uint32_t)n);
    }
    for (int i = 0; i < 9; i++) {
        if (i % 3 == 0) put(b, "XYZ \0\0\0\0", 8);
        put_be32(b, (uint32_t)(primaries[i] * 65536 / 10000));
    }
    put(b, curve, n);
}

/* "curv" with a table of n values, of the function; sRGB's as in its definition. */
static double srgb(double x)
{
    return x <= 0.04045 ? x / 12.92 : pow((x + 0.055) / 1.055, 2.4);
}
static double rec709(double x)
{
    return x < 0.081 ? x / 4.5 : pow((x + 0.099) / 1.099, 1 / 0.45);
}
static void put_table(bytes *b, int n, double (*f)(double))
{
    b->n = 0;
    put(b, "curv\0\0\0\0", 8);
    put_be32(b, (uint32_t)n);
    for (int i = 0; i < n; i++) {
        int v = (int)(65535 * f(i / (n - 1.0)) + 0.5);
        put(b, (uint8_t[]){(uint8_t)(v >> 8), (uint8_t)v}, 2);
    }
}

/* The notes of a picture with such a profile under this name, of which `cut` bytes are missing; deflated by vdm, or
 * stored. */
static unsigned notes_of(const char *name, const bytes *profile, size_t cut, bool deflated)
{
    static bytes z, data, packed;
    vdm_picture p;
    unsigned notes = 99;
    put_two_pixels(&z);
    data.n = packed.n = 0;
    put(&data, name, strlen(name) + 1);
    put(&data, "", 1);
    put_stored(&packed, profile->data, profile->n);
    if (deflated) packed.n = vdm_zlib_write(packed.data, profile->data, profile->n);
    put(&data, packed.data, packed.n - cut);
    put_chunk(&file, "iCCP", data.data, data.n);
    put_chunk(&file, "IDAT", z.data, z.n);
    put_chunk(&file, "IEND", NULL, 0);
    decode(&p, &notes, &file);
    CHECK(p.rgb, "%s: %s", name, err.text);
    vdm_picture_free(&p);
    return notes;
}

/* A profile is sRGB by its numbers; its name, which programs choose freely, decides nothing. */
static void test_profiles(void)
{
    static const char formula[] =
        "para\0\0\0\0\0\3\0\0\0\2\x66\x66\0\0\xf2\xa7\0\0\x0d\x59\0\0\x13\xd0\0\0\x0a\x5b",
                      linear_formula[] = "para\0\0\0\0\0\0\0\0\0\1\0\0",
                      gamma[] = "curv\0\0\0\0\0\0\0\1\2\x33", gamma18[] = "curv\0\0\0\0\0\0\0\1\1\xcd\0\0",
                      linear[] = "curv\0\0\0\0\0\0\0\0", too_long[] = "curv\0\0\0\0\xff\xff\xff\xff\2\x33";
    static bytes table, small, video, profile;
    put_table(&table, 1024, srgb);
    put_table(&small, 17, srgb);
    put_table(&video, 1024, rec709);
    const struct {
        const char *space;
        const int *primaries;
        const void *curve;
        size_t n;
        bool srgb;
    } cases[] = {{"RGB ", SRGB, formula, sizeof formula - 1, true},
                 {"RGB ", SRGB, table.data, table.n, true},
                 {"RGB ", SRGB, small.data, small.n, true},
                 {"RGB ", SRGB, gamma, sizeof gamma - 1, true},
                 {"GRAY", DISPLAY_P3, table.data, table.n, true}, /* a grey one has no primaries */
                 {"RGB ", DISPLAY_P3, table.data, table.n, false},
                 {"RGB ", SRGB, video.data, video.n, false},
                 {"RGB ", SRGB, linear, sizeof linear - 1, false},
                 {"RGB ", SRGB, linear_formula, sizeof linear_formula - 1, false},
                 {"RGB ", SRGB, gamma18, sizeof gamma18 - 1, false},
                 {"RGB ", SRGB, too_long, sizeof too_long - 1, false},
                 {"RGB ", SRGB, "curv", 4, false},
                 {"GRAY", SRGB, linear, sizeof linear - 1, false},
                 {"CMYK", SRGB, table.data, table.n, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int k = 0; k < 4; k++) {
            const char *name = k % 2 ? "sRGB IEC61966-2.1" : "ICC Profile";
            put_profile(&profile, cases[i].space, cases[i].primaries, cases[i].curve, cases[i].n);
            CHECK(notes_of(name, &profile, 0, k / 2) == (cases[i].srgb ? 0 : VDM_NOTE_PROFILE),
                  "profile %zu, '%s'", i, name);
        }
    put_profile(&profile, "RGB ", SRGB, formula, sizeof formula - 1);
    for (size_t cut = 1; cut < profile.n; cut++) /* the last 4 bytes are the checksum */
        CHECK(notes_of("sRGB", &profile, cut + 4, false) == VDM_NOTE_PROFILE, "a cut profile: %zu", cut);
    for (size_t i = 0; i < profile.n; i++) { /* no byte of it is used as it is */
        profile.data[i] = 0xff;
        notes_of("sRGB", &profile, 0, false);
    }
}

/* Statements on colours in one file: cICP is before all others. */
static void test_colour_notes(void)
{
    static const struct {
        const char *type, *data;
        size_t n;
    } cicp = {"cICP", "\11\20\0\1", 4} /* BT.2020, PQ */,
      linear = {"iCCP", "GIMP built-in Linear sRGB\0\0x", 28},
      after[] = {{"iCCP", "sRGB IEC61966-2.1\0\0x", 20}, {"sRGB", "\0", 1}, {"gAMA", "\0\1\x86\xa0", 4}};
    for (int i = 0; i < 4; i++) {
        static bytes z;
        vdm_picture p;
        unsigned notes = 99;
        put_two_pixels(&z);
        if (i < 3)
            put_chunk(&file, cicp.type, cicp.data, cicp.n);
        else
            put_chunk(&file, linear.type, linear.data, linear.n);
        put_chunk(&file, after[i < 3 ? i : 2].type, after[i < 3 ? i : 2].data, after[i < 3 ? i : 2].n);
        put_chunk(&file, "IDAT", z.data, z.n);
        put_chunk(&file, "IEND", NULL, 0);
        decode(&p, &notes, &file);
        CHECK(p.rgb && notes == VDM_NOTE_PROFILE, "%d: notes %u: %s", i, notes, err.text);
        vdm_picture_free(&p);
    }
}

/* ------------------------------------------------------------------------------------------------
 * What is rejected: files of chunks, each "TYPE" with its data */

typedef struct part {
    const char *type, *data;
    size_t n;
} part;
#define DATA(literal) (literal), sizeof(literal) - 1
#define GREY_HEAD                                    \
    {                                                \
        "IHDR", DATA("\0\0\0\2\0\0\0\1\x08\0\0\0\0") \
    } /* 2 x 1, 8 bits, grey */
#define PALETTE_HEAD                                 \
    {                                                \
        "IHDR", DATA("\0\0\0\2\0\0\0\1\x08\3\0\0\0") \
    } /* the same, palette */
#define RGBA_HEAD                                    \
    {                                                \
        "IHDR", DATA("\0\0\0\2\0\0\0\1\x08\6\0\0\0") \
    }
#define ROW "\x78\1\1\3\0\xfc\xff\0ab\1\x27\0\xc4" /* of 0, 'a', 'b' */
#define PIXELS            \
    {                     \
        "IDAT", DATA(ROW) \
    }
#define LAST          \
    {                 \
        "IEND", "", 0 \
    }
#define HEAD(bytes)         \
    {                       \
        "IHDR", DATA(bytes) \
    }
#define STREAM(bytes)                          \
    {                                          \
        GREY_HEAD, {"IDAT", DATA(bytes)}, LAST \
    }

static const struct {
    part parts[6];
    const char *sentence; /* after "x.png: " */
} BAD[] = {
    {{LAST}, "first chunk: found IEND, expected IHDR"},
    {{{"CgBI", "\0\0\0\0", 4}}, "first chunk: found CgBI, expected IHDR (this is Apple's own kind of PNG)"},
    {{HEAD("\0\0\0\2")}, "IHDR: found 4 bytes, expected 13"},
    {{HEAD("\0\0\0\0\0\0\0\1\x08\0\0\0\0")}, "IHDR: found 0 x 1 pixels, expected sides of 1 to 16384"},
    {{HEAD("\0\0\x40\1\0\0\0\1\x08\0\0\0\0")}, "IHDR: found 16385 x 1 pixels"},
    {{HEAD("\xff\xff\xff\xff\xff\xff\xff\xff\x08\0\0\0\0")}, "IHDR: found 4294967295 x 4294967295 pixels"},
    {{HEAD("\0\0\0\1\0\0\0\1\x08\1\0\0\0")}, "IHDR: found colour type 1, expected 0, 2, 3, 4 or 6"},
    {{HEAD("\0\0\0\1\0\0\0\1\x08\7\0\0\0")}, "IHDR: found colour type 7"},
    {{HEAD("\0\0\0\1\0\0\0\1\3\0\0\0\0")}, "IHDR: found 3 bits a sample, which colour type 0 does not have"},
    {{HEAD("\0\0\0\1\0\0\0\1\0\0\0\0\0")}, "IHDR: found 0 bits a sample"},
    {{HEAD("\0\0\0\1\0\0\0\1\4\2\0\0\0")}, "IHDR: found 4 bits a sample, which colour type 2 does not have"},
    {{HEAD("\0\0\0\1\0\0\0\1\x10\3\0\0\0")},
     "IHDR: found 16 bits a sample, which colour type 3 does not have"},
    {{HEAD("\0\0\0\1\0\0\0\1\x20\0\0\0\0")}, "IHDR: found 32 bits a sample"},
    {{HEAD("\0\0\0\1\0\0\0\1\x08\0\1\0\0")}, "IHDR: found compression 1, filter 0, interlace 0, expected"},
    {{HEAD("\0\0\0\1\0\0\0\1\x08\0\0\1\0")}, "IHDR: found compression 0, filter 1"},
    {{HEAD("\0\0\0\1\0\0\0\1\x08\0\0\0\2")}, "IHDR: found compression 0, filter 0, interlace 2"},
    {{GREY_HEAD, LAST}, "IDAT: found none, expected pixels"},
    {{GREY_HEAD, PIXELS}, "chunks: found the end of the file, expected IEND"},
    {{GREY_HEAD, GREY_HEAD}, "chunks: found IHDR, a critical chunk that is not known"},
    {{GREY_HEAD, {"ABCD", "", 0}}, "chunks: found ABCD, a critical chunk that is not known"},
    {{GREY_HEAD, {"ab d", "", 0}}, "chunk type at byte 37: expected four letters"},
    {{GREY_HEAD, PIXELS, {"IEND", "x", 1}}, "IEND: found 1 bytes, expected 0"},
    {{GREY_HEAD, PIXELS, LAST, LAST}, "end: found 12 bytes after IEND, expected one picture a file"},
    {{GREY_HEAD, {"IDAT", ROW, 5}, {"tEXt", "a", 1}, {"IDAT", &ROW[5], 9}, LAST},
     "IDAT: found another chunk between two of them"},
    {{GREY_HEAD, {"PLTE", "abc", 3}}, "PLTE: found a palette, but the picture is grey"},
    {{PALETTE_HEAD, PIXELS}, "PLTE: found none before IDAT, expected a palette"},
    {{PALETTE_HEAD, {"PLTE", "ab", 2}}, "PLTE: found 2 bytes, expected 3 for each of 1 to 256 colours"},
    {{PALETTE_HEAD, {"PLTE", "", 0}}, "PLTE: found 0 bytes"},
    {{PALETTE_HEAD, {"PLTE", "abc", 3}, {"PLTE", "abc", 3}}, "PLTE: found a second one"},
    {{PALETTE_HEAD, {"PLTE", "abc", 3}, PIXELS, LAST},
     "pixels: found colour 97 at (0, 0), expected one of the palette's 1"},
    {{HEAD("\0\0\0\1\0\0\0\1\1\3\0\0\0"), {"PLTE", "abcdefghi", 9}},
     "PLTE: found 3 colours, expected at most 2"},
    {{PALETTE_HEAD, {"tRNS", "a", 1}},
     "tRNS: found 1 bytes, expected at most one for each colour of a palette before it"},
    {{PALETTE_HEAD, {"PLTE", "abc", 3}, {"tRNS", "ab", 2}}, "tRNS: found 2 bytes"},
    {{RGBA_HEAD, {"tRNS", "abcdef", 6}}, "tRNS: found transparency, but the pixels have their own"},
    {{GREY_HEAD, {"tRNS", "a", 1}}, "tRNS: found 1 bytes, expected 2"},
    {{GREY_HEAD, PIXELS, {"tRNS", "ab", 2}}, "tRNS: found after IDAT, expected before it"},
    {{HEAD("\0\0\x40\0\0\0\x40\0\x10\6\0\0\0"), PIXELS, LAST},
     "pixels: found 14 compressed bytes, too few for the 16384 x 16384 of IHDR"},
    {{HEAD("\0\0\0\3\0\0\0\1\x08\0\0\0\0"), PIXELS, LAST}, "pixels: found fewer pixels than the picture has"},
    {{HEAD("\0\0\0\1\0\0\0\1\x08\0\0\0\0"), PIXELS, LAST}, "pixels: found more pixels than the picture has"},
    {STREAM("\x78\1\1\3\0\xfc\xff\5ab\1\x36\0\xc9"), "pixels: row 0: found filter 5, expected 0 to 4"},
    {STREAM("\x78\1\1\3\0\xfc\xff\0ab\1\x27\0\xc5"), "pixels: the pixels' checksum (Adler-32) is wrong"},
    {STREAM("\x78\1\1\3\0\xfc\xff\0ab\1\x27\0"), "pixels: the compressed data end too early"},
    {STREAM("\x78\1\1\3\0\xfc\xff\0a"), "pixels: the compressed data end too early"},
    {STREAM(ROW "x"), "pixels: found more bytes after the compressed data"},
    {STREAM(""), "pixels: the compressed data end too early"},
    {STREAM("\x78\2\1\3\0\xfc\xff\0ab\1\x27\0\xc4"), "pixels: expected a zlib header, found other bytes"},
    {STREAM("\x79\3\1\3\0\xfc\xff\0ab\1\x27\0\xc4"), "pixels: expected a zlib header"},
    {STREAM("\x88\x1c\1\3\0\xfc\xff\0ab\1\x27\0\xc4"), "pixels: expected a zlib header"},
    {STREAM("\x78\x20\1\3\0\xfc\xff\0ab\1\x27\0\xc4"), "pixels: the zlib stream needs a dictionary"},
    {STREAM("\x78\1\7"), "pixels: found a block of kind 3"},
    {STREAM("\x78\1\1\3\0\xfd\xff\0ab\1\x27\0\xc4"),
     "pixels: a stored block's length and its inverse do not agree"},
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        vdm_picture p;
        char expected[200];
        file.n = 0;
        put(&file, "\x89PNG\r\n\x1a\n", 8);
        for (int k = 0; k < 6 && BAD[i].parts[k].type; k++)
            put_chunk(&file, BAD[i].parts[k].type, BAD[i].parts[k].data, BAD[i].parts[k].n);
        const char *why = decode(&p, NULL, &file);
        snprintf(expected, sizeof expected, "x.png: %s", BAD[i].sentence);
        CHECK(strncmp(why, expected, strlen(expected)) == 0, "bad PNG %zu: '%s', expected '%s'", i, why,
              expected);
        vdm_picture_free(&p);
    }
}

/* A file with all kinds of chunks. */
static void make_example(bytes *to)
{
    static uint8_t rgb[3 * 2048];
    kind k = {.type = 3, .depth = 4, .width = 9, .height = 11, .filter = 5, .interlaced = true, .key = true};
    random_state = 5;
    make_file(to, rgb, &k);
}

/* Every bit of every chunk is guarded; a file that is cut ends too early. */
static void test_damage(void)
{
    vdm_picture p;
    int wrong = 0;
    make_example(&file);
    size_t n = file.n;
    for (size_t i = 8; i < n; i++) {
        file.data[i] ^= 1;
        wrong += !*decode(&p, NULL, &file);
        file.data[i] ^= 1;
        vdm_picture_free(&p);
    }
    CHECK(wrong == 0, "%d of %zu damaged bytes were not seen", wrong, n);
    for (file.n = 0; file.n < n; file.n++) {
        wrong += !*decode(&p, NULL, &file);
        vdm_picture_free(&p);
    }
    CHECK(wrong == 0, "%d of %zu cut files were read", wrong, n);
    CHECK(!*decode(&p, NULL, &file), "%s", err.text);
    vdm_picture_free(&p);
    file.data[37 + 8] ^= 1; /* in PLTE, behind IHDR */
    const char *why = decode(&p, NULL, &file);
    CHECK(strstr(why, "x.png: PLTE: found the CRC ") && strstr(why, "the file is damaged"), "%s", why);
}

/* Writes the CRCs of a changed file again, as far as its chunks make sense. */
static void mend(bytes *b)
{
    for (size_t at = 8; at + 12 <= b->n;) {
        const uint8_t *c = b->data + at;
        size_t n = (size_t)c[0] << 24 | (size_t)c[1] << 16 | (size_t)c[2] << 8 | c[3];
        if (n > b->n - at - 12) return;
        size_t end = b->n;
        uint32_t crc = check_crc(c + 4, n + 4);
        b->n = at + 8 + n;
        put_be32(b, crc);
        at = b->n;
        b->n = end;
    }
}

/* Changes behind good CRCs: every result is a picture or a sentence. */
static void test_mutations(void)
{
    static bytes good;
    int rejected = 0, runs = 20000;
    make_example(&good);
    for (int run = 0; run < runs; run++) {
        vdm_picture p;
        memcpy(&file, &good, sizeof file);
        for (uint32_t changes = 1 + random_next() % 3; changes; changes--) {
            size_t at = 16 + random_next() % (file.n - 16);
            file.data[at] =
                (uint8_t)(random_next() % 3 ? file.data[at] ^ 1u << random_next() % 8 : random_next());
        }
        mend(&file);
        rejected += decode(&p, NULL, &file)[0] != 0;
        uint64_t hash = p.rgb ? check_hash(p.rgb, (int64_t)p.width * p.height * 3) : 1; /* reads every byte */
        if (!hash) CHECK(false, "a hash of 0");
        vdm_picture_free(&p);
    }
    CHECK(rejected > runs / 4 && rejected < runs, "%d of %d mutations were rejected", rejected, runs);
}

/* ------------------------------------------------------------------------------------------------
 * Compressed data */

typedef struct bit_writer {
    uint8_t data[400];
    size_t bit;
} bit_writer;

/* The lowest bit first; text of 0 and 1: in the order written, as Huffman codes are. */
static void put_number(bit_writer *w, uint32_t v, int bits)
{
    for (int i = 0; i < bits; i++, w->bit++) w->data[w->bit / 8] |= (uint8_t)((v >> i & 1) << w->bit % 8);
}
static void put_text(bit_writer *w, const char *text)
{
    for (; *text; text++)
        if (*text == '0' || *text == '1') put_number(w, *text == '1', 1);
}

/* Reads a stream of these bits that should become `expected`; what is wrong, or NULL. */
static const char *inflate(bit_writer *w, const char *expected)
{
    static bytes z;
    uint8_t to[300];
    size_t n = strlen(expected);
    z.n = 0;
    put(&z, "\x78\1", 2);
    put(&z, w->data, (w->bit + 7) / 8);
    put_adler(&z, (const uint8_t *)expected, n);
    const char *problem = vdm_zlib_read(to, n, z.data, z.n);
    CHECK(problem || memcmp(to, expected, n) == 0, "other bytes than '%s'", expected);
    return problem;
}

/* A dynamic block's head: the lengths of the code of code lengths are 2 for the symbols 0, 1, 2 and 18, whose codes are
 * 00, 01, 10, 11. */
static void dynamic_head(bit_writer *w, uint32_t literals, uint32_t distances)
{
    static const uint8_t order[] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1};
    *w = (bit_writer){{0}, 0};
    put_number(w, 1 | 2 << 1, 3);
    put_number(w, literals - 257, 5);
    put_number(w, distances - 1, 5);
    put_number(w, 18 - 4, 4);
    for (int i = 0; i < 18; i++) put_number(w, order[i] < 3 || order[i] == 18 ? 2 : 0, 3);
}

/* n times the code length 0 */
static void zeros(bit_writer *w, int n)
{
    while (n >= 11) {
        int zero = n < 138 ? n : 138;
        put_text(w, "11");
        put_number(w, (uint32_t)zero - 11, 7);
        n -= zero;
    }
    for (; n > 0; n--) put_text(w, "00");
}

#define PROBLEM(part) \
    CHECK(problem &&strstr(problem, part), "'%s', expected '%s'", problem ? problem : "none", part)
#define NO_PROBLEM() CHECK(!problem, "%s", problem)

static void test_dynamic(void)
{
    bit_writer w;
    const char *problem;
    dynamic_head(&w, 258, 1); /* 'a': 1 bit, the end and length 3: 2 bits; distance 1: 1 bit, the only one */
    zeros(&w, 97), put_text(&w, "01"), zeros(&w, 158), put_text(&w, "10 10 01");
    put_text(&w, "0 11 0 0 10"); /* a, 3 bytes from 1 back, a, the end */
    problem = inflate(&w, "aaaaa");
    NO_PROBLEM();
    dynamic_head(&w, 258, 1);
    zeros(&w, 97), put_text(&w, "01"), zeros(&w, 158), put_text(&w, "10 10 01");
    put_text(&w, "0 11 1 0 10"); /* the other distance, which no symbol has */
    problem = inflate(&w, "aaaaa");
    PROBLEM("a code that no symbol has");
    dynamic_head(&w, 257, 1); /* no distances at all */
    zeros(&w, 97), put_text(&w, "01"), zeros(&w, 158), put_text(&w, "01 00"), put_text(&w, "0 0 1");
    problem = inflate(&w, "aa");
    NO_PROBLEM();
    dynamic_head(&w, 257, 1); /* the end alone: half of the codes are left */
    zeros(&w, 256), put_text(&w, "01 00 0");
    problem = inflate(&w, "");
    NO_PROBLEM();
    dynamic_head(&w, 257, 1);
    zeros(&w, 97), put_text(&w, "10"), zeros(&w, 158), put_text(&w, "10 00 00 01");
    problem = inflate(&w, "a");
    PROBLEM("the code of literals is not complete");
    dynamic_head(&w, 257, 1);
    zeros(&w, 97), put_text(&w, "01 01"), zeros(&w, 157), put_text(&w, "01 00 0");
    problem = inflate(&w, "a");
    PROBLEM("the code of literals is not complete");
    dynamic_head(&w, 257, 3);
    zeros(&w, 97), put_text(&w, "01"), zeros(&w, 158), put_text(&w, "01 01 01 01");
    problem = inflate(&w, "a");
    PROBLEM("the code of distances is not complete");
    dynamic_head(&w, 257, 1);
    zeros(&w, 97), put_text(&w, "01 01"), zeros(&w, 158), put_text(&w, "00");
    problem = inflate(&w, "a");
    PROBLEM("the block's code has no end");
    dynamic_head(&w, 257, 1);
    zeros(&w, 138), zeros(&w, 130);
    problem = inflate(&w, "a");
    PROBLEM("more code lengths than there are symbols");
    dynamic_head(&w, 288, 1);
    problem = inflate(&w, "a");
    PROBLEM("more symbols than DEFLATE has");
    dynamic_head(&w, 257, 31);
    problem = inflate(&w, "a");
    PROBLEM("more symbols than DEFLATE has");
    w = (bit_writer){{0}, 0};
    put_number(&w, 1 | 2 << 1, 3), put_number(&w, 0, 14), put_number(&w, 07777, 12);
    problem = inflate(&w, "a");
    PROBLEM("the code of code lengths is not complete");
    w = (bit_writer){{0}, 0};
    put_number(&w, 1 | 2 << 1, 3), put_number(&w, 0, 14), put_number(&w, 0111, 12); /* 16, 17, 18: no */
    problem = inflate(&w, "a");
    PROBLEM("the code of code lengths is not complete");
    w = (bit_writer){{0}, 0};
    put_number(&w, 1 | 2 << 1, 3), put_number(&w, 0, 14), put_number(&w, 1 | 1 << 9, 12); /* 16 and 0 */
    put_text(&w, "1");
    problem = inflate(&w, "a");
    PROBLEM("a repeat before the first code length");
}

static void test_fixed(void)
{
    static const struct {
        const char *bits, *expected, *problem; /* of a last block with fixed codes */
    } streams[] = {
        {"0000000", "", NULL},
        {"10010001 0000010 00000 0000000", "aaaaa", NULL},          /* a, 4 bytes from 1 back */
        {"10010001 10010010 0000001 00001 0000000", "ababa", NULL}, /* 3 from 2 back */
        {"11000101 00000 0000000", "", "a distance beyond the first byte"},
        {"10010001 0000001 00001 0000000", "aaaa", "a distance beyond the first byte"},
        {"10010001 11000110 00000 0000000", "aaaa", "a length that DEFLATE does not have"},
        {"10010001 11000111 00000 0000000", "aaaa", "a length that DEFLATE does not have"},
        {"10010001 0000001 11110 0000000", "aaaa", "a distance that DEFLATE does not have"},
        {"10010001 0000010 00000 0000000", "aaaa", "more pixels"},
        {"10010001 10010001 0000000", "a", "more pixels"},
        {"10010001 0000000", "aa", "fewer pixels"},
    };
    for (size_t i = 0; i < sizeof streams / sizeof *streams; i++) {
        bit_writer w = {{0}, 0};
        put_number(&w, 1 | 1 << 1, 3);
        put_text(&w, streams[i].bits);
        const char *problem = inflate(&w, streams[i].expected);
        if (streams[i].problem)
            PROBLEM(streams[i].problem);
        else
            NO_PROBLEM();
    }
}

/* What the writer makes of runs and copies of every length and distance is read back. */
static void test_round_trip(void)
{
    enum { N = 200000 };
    static uint8_t data[N], back[N], z[N / 8 * 9 + 32];
    for (int seed = 0; seed < 20; seed++) {
        random_state = (uint32_t)seed;
        for (int k = 0; k < N;) {
            int length = 1 + (int)(random_next() % 600), from = (int)(random_next() % 40000);
            for (int e = k + length; k < N && k < e; k++)
                data[k] = k > from && seed ? data[k - from - 1] : (uint8_t)random_next();
        }
        size_t n = vdm_zlib_write(z, data, N);
        memset(back, 0, N);
        const char *problem = vdm_zlib_read(back, N, z, n);
        CHECK(!problem && memcmp(data, back, N) == 0, "seed %d: %s", seed, problem ? problem : "other bytes");
    }
}

/* A picture that vdm writes is read back. */
static void test_written(void)
{
    vdm_picture p = {47, 61, vdm_alloc(61 * 47, 3, "a picture", NULL)}, q;
    char path[512];
    if (!p.rgb) abort();
    for (int i = 0; i < 61 * 47 * 3; i++) p.rgb[i] = (uint8_t)random_next();
    snprintf(path, sizeof path, "%s/a.png", check_folder());
    CHECK(!vdm_picture_write(&p, path, &err) && !vdm_picture_read(&q, path, &err) && q.width == 61 &&
              q.height == 47 && memcmp(p.rgb, q.rgb, 61 * 47 * 3) == 0,
          "%s", err.text);
    vdm_picture_free(&p);
    vdm_picture_free(&q);
}

int main(void)
{
    test_kinds();
    test_alpha();
    test_notes();
    test_profiles();
    test_colour_notes();
    test_bad();
    test_damage();
    test_mutations();
    test_dynamic();
    test_fixed();
    test_round_trip();
    test_written();
    return check_end("png");
}
