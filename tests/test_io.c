/* Pictures and videos in files: what is read, what is rejected with which words, and whether what is written
 * can be read. Bad files are lines of a table, not blobs. */
#include "check.h"

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
 * Helpers */

#define BYTES(literal) (literal), sizeof(literal) - 1

static const char *file_path(const char *name)
{
    static char path[512];
    snprintf(path, sizeof path, "%s/%s", check_folder(), name);
    return path;
}

static void save(const char *name, const void *data, size_t n)
{
    remove(file_path(name)); /* some file systems wait for the disk where a file is overwritten */
    FILE *f = fopen(file_path(name), "wb");
    bool written = f && fwrite(data, 1, n, f) == n;
    CHECK(f && fclose(f) == 0 && written, "the test can't write %s", file_path(name));
}

/* Reads the bytes as if they were a file; returns the error, or "" if they are a picture. */
static const char *read_bytes(vdm_picture *p, const void *data, size_t n)
{
    static vdm_error err;
    save("in.ppm", data, n);
    err.text[0] = 0;
    int status = vdm_picture_read(p, file_path("in.ppm"), &err);
    CHECK((status == 0) == (p->rgb != NULL) && (status == 0) == !err.text[0], "status %d, '%s'", status,
          err.text);
    return err.text;
}

/* One byte of a fixed sequence; tests/peer/pictures.py has the same. */
static uint8_t next_byte(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (uint8_t)(*state >> 24);
}

static vdm_picture random_picture(int width, int height, uint32_t seed)
{
    vdm_picture p = {height, width, vdm_alloc((size_t)width * (size_t)height, 3, "a picture", NULL)};
    for (int i = 0; p.rgb && i < width * height * 3; i++) p.rgb[i] = next_byte(&seed);
    return p;
}

static bool same_pictures(const vdm_picture *a, const vdm_picture *b)
{
    return a->width == b->width && a->height == b->height &&
           memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3) == 0;
}

/* ------------------------------------------------------------------------------------------------
 * What is read */

static void test_good(void)
{
    static const struct {
        const char *data;
        size_t n;
        uint8_t rgb[6]; /* every picture is 2 x 1 */
    } good[] = {
        {BYTES("P6\n2 1\n255\nabcdef"), "abcdef"},
        {BYTES("P6 2 1 255 abcdef"), "abcdef"},
        {BYTES("P6\r\n2 1\r\n255\r\nabcdef"), "abcdef"},
        {BYTES("P6\t2\v1\f255\rabcdef"), "abcdef"},
        {BYTES("P6\n2 1\n255\nabcdef\r\n \n"), "abcdef"},          /* white space may follow */
        {BYTES("P6\n2 1\n255\n#bcde1"), "#bcde1"},                 /* data that looks like a comment */
        {BYTES("P6\n2 1\n255\n 12345"), " 12345"},                 /* or like white space and numbers */
        {BYTES("P6\n2 1\n255\n\n\r\n  \t"), "\n\r\n  \t"},         /* or like more line ends */
        {BYTES("P6#a\n#b\n2#c\n#d\n1 #e\n255\nabcdef"), "abcdef"}, /* comments after every token */
        {BYTES("P6\n# a\r\n2 1\r# b\r\n255 abcdef"), "abcdef"},
        {BYTES("P6\n2 1\n255# the end of this line ends the header\nabcdef"), "abcdef"},
        {BYTES("P6\n2 1\n255#x\r\nabcdef"), "abcdef"},
        {BYTES("P6\n#255\n0002 01\n255\nabcdef"), "abcdef"},
        {BYTES("P1\n2 1\n01"), {255, 255, 255, 0, 0, 0}}, /* 1 is black */
        {BYTES("P1\n2 1\n1 0\n"), {0, 0, 0, 255, 255, 255}},
        {BYTES("P1 2#a\n1 #b\n0#c\n1#d"), {255, 255, 255, 0, 0, 0}},
        {BYTES("P4\n2 1\n\x40"), {255, 255, 255, 0, 0, 0}},
        {BYTES("P4\n2 1\n\x9f\n"), {0, 0, 0, 255, 255, 255}},  /* whatever fills the byte */
        {BYTES("P4 2 1#\n#"), {255, 255, 255, 255, 255, 255}}, /* a byte that looks like a comment */
        {BYTES("P5\n2 1\n255\nab"), "aaabbb"},
        {BYTES("P5\n2 1\n15\n\x00\x0f"), {0, 0, 0, 255, 255, 255}},
        {BYTES("P5\n2 1\n1\n\x01\x00"), {255, 255, 255, 0, 0, 0}},
        {BYTES("P5\n2 1\n2\n\x01\x02"), {128, 128, 128, 255, 255, 255}}, /* half goes up */
        {BYTES("P5\n2 1\n65535\n\x01\x00\xff\xff"), {1, 1, 1, 255, 255, 255}},
        {BYTES("P5\n2 1\n256\n\x00\x80\x01\x00"), {128, 128, 128, 255, 255, 255}},
        {BYTES("P6\n2 1\n65535\n\x00\x00\x80\x80\xff\xff\xfe\xfe\x01\x01\x00\x80"), {0, 128, 255, 254, 1, 0}},
        {BYTES("P2\n2 1\n255\n7 255"), {7, 7, 7, 255, 255, 255}},
        {BYTES("P2\n2 1\n65535\n65535 257"), {255, 255, 255, 1, 1, 1}},
        {BYTES("P3\n2 1\n100\n0 100 50\n1\n\n2 003\n"), {0, 255, 128, 3, 5, 8}},
        {BYTES("P3 2 1 255 1 2#3\n3 4 5#\n6#7"), {1, 2, 3, 4, 5, 6}},
        {BYTES("P3\r\n2 1\r\n255\r\n1 2 3\r\n4 5 6\r\n"), {1, 2, 3, 4, 5, 6}},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        vdm_picture p;
        const char *why = read_bytes(&p, good[i].data, good[i].n);
        bool equal = p.width == 2 && p.height == 1 && memcmp(p.rgb, good[i].rgb, 6) == 0;
        CHECK(equal, "good picture %zu: %s", i, *why ? why : "other pixels");
        vdm_picture_free(&p);
        CHECK(!p.rgb && !p.width, "a freed picture still has something");
    }
}

/* Rows of P4 begin a new byte. */
static void test_bitmap(void)
{
    vdm_picture p;
    int wrong = 0;
    const char *why = read_bytes(&p, BYTES("P4\n10 3\n\xff\xc0\x00\x00\xaa\x40"));
    static const char rows[] = "1111111111"
                               "0000000000"
                               "1010101001";
    for (int i = 0; p.rgb && i < 90; i++) wrong += p.rgb[i] != (rows[i / 3] == '1' ? 0 : 255);
    CHECK(p.rgb && p.width == 10 && p.height == 3 && !wrong, "%d wrong %s", wrong, why);
    vdm_picture_free(&p);
}

/* Every sample of every maximum value of 8 bits, and some of 16. */
static void test_maxval(void)
{
    for (int maxval = 1; maxval < 65536; maxval += maxval < 300 ? 1 : 4093) {
        int wide = maxval > 255, n = wide ? 1000 : maxval + 1, wrong = 0;
        char data[4096];
        int at = snprintf(data, sizeof data, "P5 %d 1 %d\n", n, maxval);
        for (int i = 0; i < n; i++) {
            int v = wide ? (int)((int64_t)maxval * i / (n - 1)) : i;
            if (wide) data[at++] = (char)(v >> 8);
            data[at++] = (char)v;
        }
        vdm_picture p;
        const char *why = read_bytes(&p, data, (size_t)at);
        for (int i = 0; p.rgb && i < n; i++) {
            int v = wide ? (int)((int64_t)maxval * i / (n - 1)) : i;
            wrong += p.rgb[3 * i + 1] != (int)floor(v * 255.0 / maxval + 0.5);
        }
        CHECK(p.rgb && !wrong, "maximum value %d: %d wrong %s", maxval, wrong, why);
        vdm_picture_free(&p);
    }
}

/* ------------------------------------------------------------------------------------------------
 * What is rejected */

typedef struct bad {
    const char *data;
    size_t n;
    const char *sentence; /* a part of it, after "path: " */
} bad;

static const char DIGITS[] =
    "P6 "
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
    "99999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999999"
    " 1 255 abc";

static const bad BAD[] = {
    {BYTES(""), "magic number: found an empty file, expected PNG, or P1 to P6"},
    {BYTES("P"), "magic number: found 'P', expected PNG, or P1 to P6"},
    {BYTES("P1\n3 1\n1"), "pixels: found 2 bytes, expected 3 numbers (1 x 3 x 1)"},
    {BYTES("P1\n2 1\n1 "), "pixels: found 1 bits, expected 2 (1 missing)"},
    {BYTES("P1\n2 1\n1 2"), "pixels: bit 2: found '2', expected 0 or 1"},
    {BYTES("P1\n2 1\n101"), "end: found 1 bytes after the 2 x 1 picture"},
    {BYTES("P1\n2 1 # no bits"), "pixels: found 0 bits, expected 2 (2 missing)"},
    {BYTES("P1\n0 1\n1"), "width: found '0', expected a number from 1 to 16384"},
    {BYTES("P4\n9 2\n\x80\x80\x80"), "pixels: found 3 bytes, expected 4 (1 missing)"},
    {BYTES("P4\n1 1"), "pixels: found the end of the file, expected white space after the height"},
    {BYTES("P4\n1 1\n\x80x"), "end: found 1 bytes after the 1 x 1 picture"},
    {BYTES("P4\n16384 16384\n"), "pixels: found 0 bytes, expected 33554432 (33554432 missing)"},
    {BYTES("P0\n1 1\n1\n"), "magic number: found 'P0', expected"},
    {BYTES("P7\nWIDTH 1\n"), "magic number: found 'P7', expected"},
    {BYTES("Pf\n1 1\n-1.0\n"), "magic number: found 'Pf', expected"},
    {BYTES("PX\n1 1\n255\nabc"), "magic number: found 'PX', expected"},
    {BYTES("P62 1 255 abcdef"), "magic number: found 'P62', expected"},
    {BYTES("p6\n1 1\n255\nabc"), "magic number: found 'p6', expected"},
    {BYTES(" P6\n1 1\n255\nabc"), "magic number: found the byte 0x20, expected"},
    {BYTES("\x89PNG\r\n\x1a\n"), "chunks: found the end of the file, expected IEND"},
    {BYTES("\x89PNG\n\x1a\n"), "format: found a PNG picture whose line ends were converted, expected"},
    {BYTES("\xff\xd8\xff\xe0JFIF"),
     "format: found a JPEG picture, expected PNG, PPM, PGM or PBM (ImageMagick's `convert IN OUT.png`"},
    {BYTES("II*\0\x08\0\0\0"), "format: found a TIFF picture"},
    {BYTES("MM\0*\0\0\0\x08"), "format: found a TIFF picture"},
    {BYTES("\0\0\0 ftypavif"), "format: found an AVIF or HEIC picture"},
    {BYTES("<svg xmlns="), "format: found an SVG drawing"},
    {BYTES("GIF89a"), "format: found a GIF picture"},
    {BYTES("RIFF\x01\x02\x03\x04WEBPVP8 "), "format: found a WebP picture"},
    {BYTES("BM\x01\x02"), "format: found a BMP picture"},
    {BYTES("YUV4MPEG2 W8 H8\n"), "format: found a Y4M video"},
    {BYTES("version https://git-lfs.github.com/spec/v1\n"),
     "format: found a git-LFS pointer instead of the file"},
    {BYTES("<!DOCTYPE html>"), "format: found a web page"},
    {BYTES("P6"), "width: found the end of the file, expected a number from 1 to 16384"},
    {BYTES("P6\n# only a comment"), "width: found the end of the file, expected a number"},
    {BYTES("P6\n\n255\nabc"),
     "height: found 'abc', expected a number from 1 to 16384"}, /* 255 is the width then */
    {BYTES("P6\n0 1\n255\nabc"), "width: found '0', expected a number from 1 to 16384"},
    {BYTES("P6\n1 0\n255\nabc"), "height: found '0', expected a number from 1 to 16384"},
    {BYTES("P6\n-1 1\n255\nabc"), "width: found '-1', expected"},
    {BYTES("P6\n+1 1\n255\nabc"), "width: found '+1', expected"},
    {BYTES("P6\n1.5 1\n255\nabc"), "width: found '1.5', expected"},
    {BYTES("P6\n1x1\n255\nabc"), "width: found '1x1', expected"},
    {BYTES("P6\n0x10 1\n255\nabc"), "width: found '0x10', expected"},
    {BYTES("P6\n16385 1\n255\nabc"), "width: found '16385', expected a number from 1 to 16384"},
    {BYTES("P6\n1 2147483648\n255\nabc"), "height: found '2147483648', expected"},
    {BYTES("P6\n4294967297 1\n255\nabc"), "width: found '4294967297', expected"},
    {BYTES("P6\n18446744073709551617 1\n255\nabc"), "width: found '18446744073709551617', expected"},
    {BYTES("P6\n46341 46341\n255\nabc"), "width: found '46341', expected"},
    {BYTES("P6\n65536 65536\n255\nabc"), "width: found '65536', expected"},
    {BYTES(DIGITS), "width: found '999999999999999999999999...', expected"},
    {BYTES("P6\n1 1\n0\nabc"), "maximum value: found '0', expected a number from 1 to 65535"},
    {BYTES("P6\n1 1\n-1\nabc"), "maximum value: found '-1', expected"},
    {BYTES("P6\n1 1\n65536\nabc"), "maximum value: found '65536', expected"},
    {BYTES("P6\n1 1\n70000\nabc"), "maximum value: found '70000', expected"},
    {BYTES("P6\n1 1\n255abc"), "maximum value: found '255abc', expected"},
    {BYTES("P6\n1 1\n255\x01\x02\x03"), "maximum value: found '255', expected"},
    {BYTES("P6\n1 1\n\x00"), "maximum value: found the byte 0x00, expected"},
    {BYTES("P6\n1 1\n255"),
     "pixels: found the end of the file, expected white space after the maximum value"},
    {BYTES("P6\n1 1\n255#no end"), "pixels: found the end of the file, expected white space"},
    {BYTES("P6\n1 1\n255\n"), "pixels: found 0 bytes, expected 3 (3 missing)"},
    {BYTES("P6\n2 1\n255\nabcde"), "pixels: found 5 bytes, expected 6 (1 missing)"},
    {BYTES("P6\n2 1\n255\r\nabcde"), "pixels: found 5 bytes, expected 6 (1 missing)"},
    {BYTES("P6\n1 1\n256\n\x00\x01\x00\x01\x00"), "pixels: found 5 bytes, expected 6 (1 missing)"},
    {BYTES("P5\n1 1\n65535\n\x00"), "pixels: found 1 bytes, expected 2 (1 missing)"},
    {BYTES("P6\n16384 16384\n65535\n"), "pixels: found 0 bytes, expected 1610612736 (1610612736 missing)"},
    {BYTES("P3\n16384 16384\n65535\n1 2 3"),
     "pixels: found 6 bytes, expected 805306368 numbers (16384 x 16384 x 3)"},
    {BYTES("P6\n1 1\n100\n\x00\x64\x65"), "pixels: sample 3: found 101, expected 0 to 100"},
    {BYTES("P5\n1 1\n256\n\x01\x01"), "pixels: sample 1: found 257, expected 0 to 256"},
    {BYTES("P2\n1 1\n100\n101"), "pixels: number 1: found '101', expected a number from 0 to 100"},
    {BYTES("P3\n1 1\n255\n1 2 "), "pixels: found 5 bytes, expected 3 numbers (1 x 1 x 3)"},
    {BYTES("P3\n1 1\n255\n1 2   "), "pixels: found 2 numbers, expected 3 (1 missing)"},
    {BYTES("P3\n1 1\n255\n1 2 # 3"), "pixels: found 2 numbers, expected 3 (1 missing)"},
    {BYTES("P3\n1 1\n255\n1 -2 3"), "pixels: number 2: found '-2', expected"},
    {BYTES("P3\n1 1\n255\n1 2 3x"), "pixels: number 3: found '3x', expected"},
    {BYTES("P3\n1 1\n255\n1 2 3 4"),
     "end: found 1 bytes after the 1 x 1 picture, expected one picture a file"},
    {BYTES("P6\n1 1\n255\nabcd"), "end: found 1 bytes after the 1 x 1 picture, expected"},
    {BYTES("P6\n1 1\n255\nabcP6\n1 1\n255\nabc"),
     "end: found 14 bytes after the 1 x 1 picture (a second one?), expected"},
    {BYTES("P6\n1 1\n255 # data already\nabc"), "end: found 15 bytes after the 1 x 1 picture"},
    {BYTES("P6\n1 1\n255\nabc#no comment"), "end: found 11 bytes after"},
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        vdm_picture p;
        char expected[600];
        const char *why = read_bytes(&p, BAD[i].data, BAD[i].n);
        snprintf(expected, sizeof expected, "%s: %s", file_path("in.ppm"), BAD[i].sentence);
        CHECK(strncmp(why, expected, strlen(expected)) == 0, "bad picture %zu: '%s', expected '%s'", i, why,
              expected);
        vdm_picture_free(&p);
    }
    vdm_picture p;
    vdm_error err;
    CHECK(vdm_picture_read(&p, file_path("nothing.ppm"), &err) == -1 && strstr(err.text, "nothing.ppm"), "%s",
          err.text);
    CHECK(vdm_picture_read(&p, check_folder(), &err) == -1 && strstr(err.text, "folder"), "%s", err.text);
}

/* Small files of every kind; the last number in ASCII has one digit, or a cut would leave another number. */
static const struct {
    const char *data;
    size_t n;
} VALID[] = {
    {BYTES("P2\n# grey\n3 2\n255\n0 10 200\n30 40 5")},
    {BYTES("P3\n2 2\n15\n0 1 2 3 4 5\n6 7 8 9 10 1")},
    {BYTES("P1\n3 2\n1 0 1#\n010")},
    {BYTES("P4\n9 2\nabcd")},
    {BYTES("P5\n3 2\n255\nabcdef")},
    {BYTES("P6\r\n#c\r\n2 2\r\n255\r\nabcdefghijkl")},
    {BYTES("P5\n2 2\n65535\n12345678")},
    {BYTES("P6\n1 2\n300\n\x00\x01\x00\x02\x00\x03\x01\x04\x01\x05\x01\x06")},
};
enum { N_VALID = sizeof VALID / sizeof *VALID };

static void test_truncation(void)
{
    for (int i = 0; i < N_VALID; i++)
        for (size_t n = 0; n <= VALID[i].n; n++) {
            vdm_picture p;
            const char *why = read_bytes(&p, VALID[i].data, n);
            CHECK((n == VALID[i].n) == !*why, "file %d cut to %zu of %zu: '%s'", i, n, VALID[i].n, why);
            vdm_picture_free(&p);
        }
}

/* Flips, cuts, repeats and splices with a fixed seed: every result is a picture or a sentence. */
static void test_mutations(void)
{
    uint32_t s = 7;
    int rejected = 0, runs = 10000;
    for (int run = 0; run < runs; run++) {
        uint8_t data[256];
        int kind = next_byte(&s) % N_VALID;
        size_t n = VALID[kind].n;
        memcpy(data, VALID[kind].data, n);
        for (int changes = 1 + next_byte(&s) % 4; changes; changes--) {
            size_t at = next_byte(&s) % n, other = next_byte(&s) % n;
            switch (next_byte(&s) % 6) {
            case 0:
                data[at] ^= (uint8_t)(1 << next_byte(&s) % 8);
                break;
            case 1:
                data[at] = next_byte(&s);
                break;
            case 2:
                data[at] = (uint8_t) "0123456789# \n\r-"[next_byte(&s) % 15];
                break;
            case 3:
                n = at + 1;
                break;
            case 4:
                data[at] = data[other];
                break;
            case 5: /* repeats a byte: longer numbers, more white space */
                if (n < sizeof data) memmove(data + at + 1, data + at, n++ - at);
                break;
            }
        }
        vdm_picture p;
        rejected += read_bytes(&p, data, n)[0] != 0;
        uint64_t hash = p.rgb ? check_hash(p.rgb, (int64_t)p.width * p.height * 3) : 1; /* reads every byte */
        if (!hash) CHECK(false, "a hash of 0");
        vdm_picture_free(&p);
    }
    CHECK(rejected > runs / 4 && rejected < runs * 9 / 10, "%d of %d mutations were rejected", rejected,
          runs);
}

/* ------------------------------------------------------------------------------------------------
 * Pipes */

/* Writes n bytes into a pipe of that name, piece by piece; `then` more zeros follow. */
static void feed(const char *path, const void *data, size_t n, size_t then)
{
    static const uint8_t zeros[4096];
    FILE *f = fopen(path, "wb");
    if (!f) _exit(1);
    signal(SIGPIPE, SIG_DFL);
    for (size_t i = 0; i < n; i += 7) {
        fwrite((const uint8_t *)data + i, 1, n - i < 7 ? n - i : 7, f);
        fflush(f);
    }
    for (; then; then--) fwrite(zeros, 1, sizeof zeros, f);
    fclose(f);
    _exit(0);
}

static const char *read_pipe(vdm_picture *p, const void *data, size_t n, size_t then)
{
    static vdm_error err;
    int state;
    remove(file_path("pipe"));
    if (mkfifo(file_path("pipe"), 0600)) return "no pipe";
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) feed(file_path("pipe"), data, n, then);
    err.text[0] = 0;
    vdm_picture_read(p, file_path("pipe"), &err);
    waitpid(child, &state, 0);
    return err.text;
}

static void test_pipes(void)
{
    enum { W = 300, H = 251 }; /* more than one buffer */
    vdm_picture p, given = random_picture(W, H, 4);
    static char data[W * H * 3 + 20];
    size_t n = (size_t)snprintf(data, sizeof data, "P6 %d %d 255 ", W, H);
    memcpy(data + n, given.rgb, W * H * 3);
    const char *why = read_pipe(&p, data, n + W * H * 3, 0);
    CHECK(p.rgb && same_pictures(&p, &given), "%s", why);
    vdm_picture_free(&p);
    why = read_pipe(&p, "P1 1 1 0", 8, 0);
    CHECK(p.rgb && p.rgb[0] == 255, "%s", why);
    vdm_picture_free(&p);
    why = read_pipe(&p, "P6 1", 4, 0);
    CHECK(!p.rgb && strstr(why, "height: found the end of the file"), "%s", why);
    why = read_pipe(&p, "", 0, 0);
    CHECK(!p.rgb && strstr(why, "found an empty file"), "%s", why);
    why = read_pipe(&p, "GIF89a\0\0\0", 9, 1 << 20); /* 4 GiB follow, which nobody reads */
    CHECK(!p.rgb && strstr(why, "found a GIF picture"), "%s", why);
    vdm_error err = {""};
    CHECK(vdm_picture_read(&p, "/dev/zero", &err) == -1 &&
              strstr(err.text, "/dev/zero: magic number: found the byte 0x00"),
          "%s", err.text);
    CHECK(vdm_picture_read(&p, "/dev/null", &err) == -1 &&
              strstr(err.text, "/dev/null: magic number: found an empty"),
          "%s", err.text);
    vdm_picture_free(&given);
}

/* ------------------------------------------------------------------------------------------------
 * What is written */

static uint8_t *load(const char *name, size_t *n)
{
    vdm_error err = {""};
    char *data;
    CHECK(vdm_read_file(file_path(name), 1 << 26, &data, n, &err) == 0, "%s", err.text);
    return (uint8_t *)data;
}

static void test_ppm(void)
{
    static const int sizes[][2] = {{1, 1}, {3, 2}, {1, 50}, {257, 3}};
    for (int i = 0; i < 4; i++) {
        vdm_picture p = random_picture(sizes[i][0], sizes[i][1], 1), q;
        vdm_error err = {""};
        CHECK(vdm_picture_write(&p, file_path("a.ppm"), &err) == 0, "%s", err.text);
        CHECK(vdm_picture_read(&q, file_path("a.ppm"), &err) == 0 && same_pictures(&p, &q), "PPM %d: %s", i,
              err.text);
        vdm_picture_free(&p);
        vdm_picture_free(&q);
    }
}

static void test_write_rejected(void)
{
    vdm_picture p = random_picture(2, 2, 1);
    vdm_error err;
    CHECK(vdm_picture_write(&p, file_path("a.jpg"), &err) == -1 &&
              strstr(err.text, "found '.jpg', expected .png or .ppm"),
          "%s", err.text);
    CHECK(vdm_y4m_write(file_path("a.mp4"), p.rgb, 1, 2, 2, &err) == -1 &&
              strstr(err.text, "found '.mp4', expected .y4m (`ffmpeg -i V.y4m V.mp4` converts it)"),
          "%s", err.text);
    CHECK(!vdm_video_name_check("a.b/c.y4m", &err) && vdm_video_name_check("a.y4m/c", &err) == -1, "endings");
    CHECK(vdm_picture_write(&p, file_path("a.d/b"), &err) == -1 && strstr(err.text, "found '', expected"),
          "%s", err.text);
    CHECK(vdm_picture_write(&p, file_path("no/a.png"), &err) == -1 && strstr(err.text, "no/a.png"), "%s",
          err.text);
    CHECK(vdm_picture_write(&p, file_path("no/a.ppm"), &err) == -1 && strstr(err.text, "no/a.ppm"), "%s",
          err.text);
    CHECK(vdm_y4m_write(file_path("no/a.y4m"), p.rgb, 1, 2, 2, &err) == -1 && strstr(err.text, "no/a.y4m"),
          "%s", err.text);
    CHECK(vdm_y4m_write(file_path("a.y4m"), p.rgb, 0, 2, 2, &err) == -1 &&
              strstr(err.text, "found 0 frames of 2x2"),
          "%s", err.text);
    p.width = 0;
    CHECK(vdm_picture_write(&p, file_path("a.png"), &err) == -1 &&
              strstr(err.text, "size: found 2x0 (height x width)"),
          "%s", err.text);
    vdm_picture_free(&p);
}

/* A small inflate for blocks of the fixed codes, as RFC 1951 describes decoding. */
typedef struct bit_reader {
    const uint8_t *data;
    size_t n, bit;
} bit_reader;

static uint32_t take(bit_reader *b, int count)
{
    uint32_t v = 0;
    for (int i = 0; i < count; i++, b->bit++)
        if (b->bit / 8 < b->n) v |= (uint32_t)(b->data[b->bit / 8] >> b->bit % 8 & 1) << i;
    return v;
}

static int take_symbol(bit_reader *b)
{
    int code = 0;
    for (int length = 1; length <= 9; length++) {
        code = code << 1 | (int)take(b, 1);
        if (length == 7 && code <= 0x17) return 256 + code;
        if (length == 8 && code >= 0x30 && code <= 0xbf) return code - 0x30;
        if (length == 8 && code >= 0xc0 && code <= 0xc7) return 280 + code - 0xc0;
        if (length == 9 && code >= 0x190) return 144 + code - 0x190;
    }
    return -1;
}

/* Bytes written, at most `capacity`; SIZE_MAX if the stream is wrong. */
static size_t inflate_fixed(uint8_t *to, size_t capacity, bit_reader *b)
{
    static const int length_base[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
    static const int length_extra[] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                       2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
    static const int distance_base[] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                        33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                        1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
    size_t n = 0;
    if (take(b, 3) != 3) return SIZE_MAX;
    for (;;) {
        int symbol = take_symbol(b);
        if (symbol == 256) return n;
        if (symbol < 0 || symbol > 285) return SIZE_MAX;
        if (symbol < 256) {
            if (n == capacity) return SIZE_MAX;
            to[n++] = (uint8_t)symbol;
            continue;
        }
        size_t length = (size_t)length_base[symbol - 257] + take(b, length_extra[symbol - 257]);
        int code = 0;
        for (int i = 0; i < 5; i++) code = code << 1 | (int)take(b, 1);
        if (code >= 30) return SIZE_MAX;
        size_t distance = (size_t)distance_base[code] + take(b, code < 2 ? 0 : code / 2 - 1);
        if (distance > n || length > capacity - n) return SIZE_MAX;
        for (size_t i = 0; i < length; i++, n++) to[n] = to[n - distance];
    }
}

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

/* The chunk at *at has this type and a good CRC; its data, and *at after it. */
static const uint8_t *chunk(const uint8_t *file, size_t n, size_t *at, const char *type, size_t *size)
{
    const uint8_t *c = file + *at;
    *size = *at + 12 <= n ? be32(c) : 0;
    bool fits = *at + 12 <= n && *size <= n - *at - 12;
    if (!CHECK(fits && memcmp(c + 4, type, 4) == 0, "chunk %s at %zu", type, *at)) return NULL;
    CHECK(be32(c + 8 + *size) == check_crc(c + 4, *size + 4), "the CRC of chunk %s", type);
    *at += 12 + *size;
    return c + 8;
}

static void check_png(const vdm_picture *p, size_t *bytes)
{
    vdm_error err = {""};
    size_t n, at = 8, size, row = (size_t)p->width * 3 + 1, raw = row * (size_t)p->height;
    CHECK(vdm_picture_write(p, file_path("a.png"), &err) == 0, "%s", err.text);
    uint8_t *file = load("a.png", &n), *rows = malloc(raw);
    if (!file || !rows) return;
    *bytes = n;
    CHECK(n > 8 && memcmp(file, "\x89PNG\r\n\x1a\n", 8) == 0, "signature");
    const uint8_t *head = chunk(file, n, &at, "IHDR", &size);
    CHECK(head && size == 13 && be32(head) == (uint32_t)p->width && be32(head + 4) == (uint32_t)p->height &&
              memcmp(head + 8, "\x08\x02\x00\x00\x00", 5) == 0,
          "IHDR");
    const uint8_t *z = chunk(file, n, &at, "IDAT", &size);
    if (z) {
        bit_reader b = {z + 2, size - 6, 0};
        CHECK(z[0] == 0x78 && (z[0] * 256 + z[1]) % 31 == 0 && !(z[1] & 0x20), "the zlib header");
        CHECK(inflate_fixed(rows, raw, &b) == raw && (b.bit + 7) / 8 == size - 6, "the deflate stream");
        uint32_t s1 = 1, s2 = 0;
        for (size_t i = 0; i < raw; i++) s2 = (s2 + (s1 = (s1 + rows[i]) % 65521)) % 65521;
        CHECK(be32(z + size - 4) == (s2 << 16 | s1), "Adler-32");
        int wrong = 0;
        for (size_t y = 0; y < (size_t)p->height; y++)
            wrong += rows[y * row] != 0 || memcmp(rows + y * row + 1, p->rgb + y * (row - 1), row - 1) != 0;
        CHECK(wrong == 0, "%d rows of %d x %d differ", wrong, p->width, p->height);
    }
    CHECK(chunk(file, n, &at, "IEND", &size) && size == 0 && at == n, "IEND at the end");
    vdm_free(file);
    free(rows);
}

static void test_png(void)
{
    static const int sizes[][2] = {{1, 1}, {2, 3}, {1, 700}, {300, 1}, {61, 47}, {11000, 3}};
    size_t bytes = 0;
    for (int i = 0; i < 6; i++) {
        int W = sizes[i][0], H = sizes[i][1], n = W * H * 3;
        vdm_picture p = random_picture(W, H, 5);
        check_png(&p, &bytes);
        CHECK(bytes < (size_t)(n + H) * 9 / 8 + 120, "noise of %d bytes became %zu", n, bytes);
        uint32_t s = 9;
        for (int k = 0; k < n;) { /* runs and copies of every length and distance */
            int length = 1 + next_byte(&s) + next_byte(&s), from = next_byte(&s) * 151;
            for (int e = k + length; k < n && k < e; k++)
                p.rgb[k] = k > from ? p.rgb[k - from - 1] : next_byte(&s);
        }
        check_png(&p, &bytes);
        memset(p.rgb, 200, (size_t)n);
        check_png(&p, &bytes);
        CHECK(bytes < (size_t)n / 100 + 120, "one colour, %d bytes, became %zu", n, bytes);
        vdm_picture_free(&p);
    }
}

/* Eight bytes come again at the largest distance that there is, eight others one byte too late. */
static void test_png_distance(void)
{
    size_t bytes;
    vdm_picture p = {1, 12000, calloc(12000, 3)};
    if (!p.rgb) abort();
    memcpy(p.rgb + 100, "abcdefgh", 8);
    memcpy(p.rgb + 100 + 32768, "abcdefgh", 8);
    memcpy(p.rgb + 200, "ABCDEFGH", 8);
    memcpy(p.rgb + 200 + 32769, "ABCDEFGH", 8);
    check_png(&p, &bytes);
    free(p.rgb);
}

/* The definition, in double and rounded. */
static int plain_yuv(const uint8_t *rgb, int plane)
{
    double r = rgb[0] / 255.0, g = rgb[1] / 255.0, b = rgb[2] / 255.0, y = 0.299 * r + 0.587 * g + 0.114 * b;
    double v = plane == 0   ? 16 + 219 * y
               : plane == 1 ? 128 + 224 * (b - y) / 1.772
                            : 128 + 224 * (r - y) / 1.402;
    return (int)floor(v + 0.5 + 1e-9); /* halves go up, though 0.299 and its like are a little off */
}

static void test_y4m(void)
{
    enum { T = 3, H = 40, W = 50, N = H * W };
    vdm_picture p = random_picture(W, H * T, 3);
    vdm_error err = {""};
    size_t n;
    memcpy(p.rgb, "\0\0\0\377\377\377\377\0\0\0\377\0\0\0\377", 15); /* black, white, red, green, blue */
    CHECK(vdm_y4m_write(file_path("a.y4m"), p.rgb, T, H, W, &err) == 0, "%s", err.text);
    uint8_t *file = load("a.y4m", &n);
    const char *head = "YUV4MPEG2 W50 H40 F8:1 Ip A1:1 C444\n";
    size_t at = strlen(head);
    int wrong = 0;
    if (!CHECK(n == at + T * (6 + 3 * N) && memcmp(file, head, at) == 0, "Y4M: %zu bytes", n)) return;
    static const uint8_t corner[3][5] = {
        {16, 235, 81, 145, 41}, {128, 128, 90, 54, 240}, {128, 128, 240, 34, 110}};
    for (int k = 0; k < 3; k++)
        CHECK(memcmp(file + at + 6 + k * N, corner[k], 5) == 0, "plane %d of pure colours", k);
    for (int t = 0; t < T; t++, at += 6 + 3 * N) {
        CHECK(memcmp(file + at, "FRAME\n", 6) == 0, "frame %d", t);
        for (int k = 0; k < 3 * N; k++)
            wrong += file[at + 6 + (size_t)k] != plain_yuv(p.rgb + 3 * (t * N + k % N), k / N);
    }
    CHECK(wrong == 0, "%d values differ from the definition", wrong);
    vdm_free(file);
    vdm_picture_free(&p);
}

/* ------------------------------------------------------------------------------------------------
 * Resizing */

/* What Pillow 13 makes of random_picture(W, H, 11): printed by tests/peer/pictures.py --golden. */
static const struct {
    int width, height, to_width, to_height;
    uint64_t hash;
} RESIZED[] = {
    {1, 1, 5, 3, 0x8dcb1b09880e0019},       {5, 3, 1, 1, 0xd28a251a1af134c5},
    {2, 2, 3, 3, 0xc673461f092c6642},       {8, 8, 16, 16, 0xa25a40919ee8254d},
    {16, 16, 8, 8, 0xfd49724465398911},     {31, 17, 7, 40, 0x0517f88f2baa89fe},
    {17, 31, 40, 7, 0x2dc121d310900cfd},    {100, 80, 99, 80, 0x676fbe2725c3336b},
    {100, 80, 100, 79, 0x0385549991c4253a}, {64, 64, 48, 32, 0xd0b1017a382c7bf1},
    {90, 60, 16, 16, 0xb0f9ff1aa7217115},   {3, 200, 50, 11, 0xe38250e7c55e6343},
};

static void test_resize(void)
{
    vdm_error err = {""};
    for (size_t i = 0; i < sizeof RESIZED / sizeof *RESIZED; i++) {
        vdm_picture p = random_picture(RESIZED[i].width, RESIZED[i].height, 11), q;
        int W = RESIZED[i].to_width, H = RESIZED[i].to_height;
        CHECK(vdm_picture_resize(&q, &p, H, W, &err) == 0 && q.width == W && q.height == H, "%s", err.text);
        uint64_t hash = check_hash(q.rgb, (int64_t)W * H * 3);
        CHECK(hash == RESIZED[i].hash, "%d x %d -> %d x %d: hash %016llx", p.width, p.height, W, H,
              (unsigned long long)hash);
        vdm_picture_free(&p);
        vdm_picture_free(&q);
    }
}

/* A picture without pixels, and one that says it has some: no function reads them. */
static void test_no_picture(void)
{
    vdm_error err;
    const vdm_picture none[] = {{0}, {.height = 4, .width = 4}, {.height = 4, .rgb = (uint8_t[48]){0}}};
    for (int i = 0; i < 3; i++) {
        vdm_picture to;
        const char *expected = none[i].width ? "its rgb is NULL" : "expected sides of 1 to 16384";
        CHECK(vdm_picture_resize(&to, &none[i], 16, 16, &err) == -1 && !to.rgb && strstr(err.text, expected),
              "resize of picture %d: %s", i, err.text);
        CHECK(vdm_picture_resize(&to, &none[i], 4, 4, &err) == -1 && !to.rgb && strstr(err.text, expected),
              "copy of picture %d: %s", i, err.text);
        CHECK(vdm_picture_write(&none[i], file_path("none.png"), &err) == -1 && strstr(err.text, expected),
              "PNG of picture %d: %s", i, err.text);
        CHECK(vdm_picture_write(&none[i], file_path("none.ppm"), &err) == -1 && strstr(err.text, expected),
              "PPM of picture %d: %s", i, err.text);
        CHECK(vdm_png_write(&none[i], stdout, &err) == -1 && strstr(err.text, expected),
              "PNG of picture %d to a stream: %s", i, err.text);
    }
}

static void test_resize_edges(void)
{
    vdm_picture p = random_picture(7, 5, 2), q;
    vdm_error err = {""};
    CHECK(vdm_picture_resize(&q, &p, 5, 7, &err) == 0 && same_pictures(&p, &q) && q.rgb != p.rgb,
          "the same size is a copy");
    vdm_picture_free(&q);
    memset(p.rgb, 77, 7 * 5 * 3);
    CHECK(vdm_picture_resize(&q, &p, 3, 16, &err) == 0, "%s", err.text);
    for (int i = 0; i < 16 * 3 * 3; i++) CHECK(q.rgb[i] == 77, "one colour stays one: %d", q.rgb[i]);
    vdm_picture_free(&q);
    CHECK(vdm_picture_resize(&q, &p, 5, 0, &err) == -1 && !q.rgb && strstr(err.text, "found 5 x 0"), "%s",
          err.text);
    CHECK(vdm_picture_resize(&q, &p, 16385, 5, &err) == -1 && strstr(err.text, "1 to 16384"), "%s", err.text);
    vdm_picture_free(&p);
}

int main(void)
{
    test_good();
    test_bitmap();
    test_maxval();
    test_bad();
    test_truncation();
    test_mutations();
    test_pipes();
    test_ppm();
    test_write_rejected();
    test_png();
    test_png_distance();
    test_y4m();
    test_resize();
    test_resize_edges();
    test_no_picture();
    return check_end("io");
}
