/* safetensors: what must be read, what must be rejected and with which message, and what must not crash.
 * Bad files are made here, each by one line of a table. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static vdm_error err;

/* ------------------------------------------------------------------------------------------------
 * Making files */

static const char *path_of(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s", check_folder(), name);
    return path;
}

static void put(const char *path, const void *bytes, size_t size)
{
    remove(path); /* a new file: file systems sync one that is cut to nothing and written again */
    FILE *f = fopen(path, "wb");
    bool written = f && fwrite(bytes, 1, size, f) == size;
    if (f) fclose(f);
    if (!written) CHECK(false, "the test can't write %s", path);
}

/* length, header [n], and `data` bytes 0, 1, 2, ...; *size bytes, to be freed. */
static unsigned char *make(const char *header, size_t n, uint64_t length, size_t data, size_t *size)
{
    *size = 8 + n + data;
    unsigned char *file = malloc(*size);
    for (int i = 0; i < 8; i++) file[i] = (unsigned char)(length >> (8 * i));
    memcpy(file + 8, header, n);
    for (size_t i = 0; i < data; i++) file[8 + n + i] = (unsigned char)i;
    return file;
}

static int open_bytes(vdm_safetensors *f, const void *bytes, size_t size)
{
    put(path_of("t.safetensors"), bytes, size);
    return vdm_safetensors_open(f, path_of("t.safetensors"), &err);
}

static int open_header(vdm_safetensors *f, const char *header, size_t n, size_t data)
{
    size_t size;
    unsigned char *file = make(header, n, n, data, &size);
    int status = open_bytes(f, file, size);
    free(file);
    return status;
}

static bool rejected(int status, const char *piece)
{
    if (status == -1 && strstr(err.text, piece)) return true;
    printf("  expected \"%s\", got %d \"%s\"\n", piece, status, status ? err.text : "");
    return false;
}

/* ------------------------------------------------------------------------------------------------
 * Bad headers. ONE: a file of one tensor with these fields. */

#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"
#define ONE(dtype, shape, offsets) \
    "{\"w\":{\"dtype\":" dtype ",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define TWO(offsets, more)                                                   \
    "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" offsets "}," \
    "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":" more "}}"
#define NAMED(name) "{\"" name "\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}"

static const struct {
    const char *header;
    size_t data;
    const char *piece; /* of the sentence; NULL: the file is good */
} headers[] = {
    /* not an object, not JSON */
    {"[]", 0, "not a JSON object"},
    {"\"w\"", 0, "not a JSON object"},
    {"12", 0, "not a JSON object"},
    {"{}{}", 0, "nothing after"},
    {"{} x", 0, "nothing after"},
    {"{}  ", 0, NULL},
    {"  {}", 0, NULL},
    {"{\"__metadata__\":{}}", 0, NULL},
    {"{\"w\":1}", 0, "expected an object with dtype"},
    {"{\"w\":[]}", 0, "expected an object with dtype"},
    /* names */
    {NAMED(""), 1, "name is empty"},
    {NAMED("\xff"), 1, "UTF-8"},
    {NAMED("a\\u0000b"), 1, "no NUL"},
    {NAMED("a\\nb"), 1, "control character"},
    {NAMED("a\\u007f"), 1, "control character"},
    {NAMED("\\ud800"), 1, "surrogate"},
    {NAMED("\\q"), 1, "backslash"},
    {NAMED("\\u0041\\ud83d\\ude00"), 1, NULL},
    {"{" ENTRY("w", "U8", "[1]", "[0,1]") "," ENTRY("w", "U8", "[1]", "[1,2]") "}", 2, "'w' appears twice"},
    {"{" ENTRY("w", "U8", "[1]", "[0,1]") "," ENTRY("\\u0077", "U8", "[1]", "[1,2]") "}", 2,
     "'w' appears twice"},
    {"{\"w\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "'dtype' appears twice"},
    {"{\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
     "'shape' appears twice"},
    /* metadata */
    {"{\"__metadata__\":{\"k\":1}}", 0, "'k': expected a string"},
    {"{\"__metadata__\":[]}", 0, "expected an object of strings"},
    {"{\"__metadata__\":{\"k\":\"}{]\\\"\"},\"w\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     1, NULL},
    {"{\"__metadata__\":{},\"__metadata__\":{}}", 0, "appears twice"},
    /* dtype */
    {ONE("\"F31\"", "[1]", "[0,4]"), 4, "dtype: found 'F31'"},
    {ONE("\"f32\"", "[1]", "[0,4]"), 4, "dtype: found 'f32'"},
    {ONE("\"F8_E4M4\"", "[1]", "[0,1]"), 1, "dtype: found 'F8_E4M4'"},
    {ONE("\"F8_E4M3\"", "[3]", "[0,3]"), 3, NULL}, /* listed, though nothing computes with them */
    {ONE("\"C64\"", "[1]", "[0,8]"), 8, NULL},
    {ONE("\"F4\"", "[2,3]", "[0,3]"), 3, NULL},
    {ONE("\"F4\"", "[3]", "[0,2]"), 2, "12 bits are not whole bytes"},
    {ONE("\"F6_E3M2\"", "[4]", "[0,3]"), 3, NULL},
    {ONE("7", "[1]", "[0,4]"), 4, "dtype: expected a string"},
    {ONE("null", "[1]", "[0,4]"), 4, "dtype: expected a string"},
    {"{\"w\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "dtype: expected a string"},
    {ONE("\"F64\"", "[1]", "[0,8]"), 8, NULL},
    {ONE("\"I64\"", "[1]", "[0,8]"), 8, NULL},
    {ONE("\"BOOL\"", "[3]", "[0,3]"), 3, NULL},
    /* shape */
    {"{\"w\":{\"dtype\":\"F32\",\"data_offsets\":[0,4]}}", 4, "shape: expected a list"},
    {ONE("\"F32\"", "\"1\"", "[0,4]"), 4, "shape: expected a list"},
    {ONE("\"F32\"", "{}", "[0,4]"), 4, "shape: expected a list"},
    {ONE("\"F32\"", "[1.0]", "[0,4]"), 4, "shape: expected integers"},
    {ONE("\"F32\"", "[1e0]", "[0,4]"), 4, "shape: expected integers"},
    {ONE("\"F32\"", "[-1]", "[0,4]"), 4, "shape: expected integers"},
    {ONE("\"F32\"", "[-0]", "[0,0]"), 0, "shape: expected integers"},
    {ONE("\"F32\"", "[\"1\"]", "[0,4]"), 4, "shape: expected integers"},
    {ONE("\"F32\"", "[[1]]", "[0,4]"), 4, "shape: expected integers"},
    {ONE("\"F32\"", "[null]", "[0,4]"), 4, "shape: expected integers"},
    {ONE("\"F32\"", "[007]", "[0,28]"), 28, "leading 0"},
    {ONE("\"F32\"", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "9 dimensions"},
    {ONE("\"F32\"", "[1,1,1,1,1,1,1,1]", "[0,4]"), 4, NULL},
    {ONE("\"F32\"", "[]", "[0,4]"), 4, NULL},
    {ONE("\"F32\"", "[0]", "[0,0]"), 0, NULL},
    {ONE("\"F32\"", "[3,0,5]", "[0,0]"), 0, NULL},
    {ONE("\"F32\"", "[4294967296,4294967296]", "[0,0]"), 0, "more bytes than 64 bits"},
    {ONE("\"F32\"", "[2147483648,2147483648]", "[0,0]"), 0, "more bytes than 64 bits"},
    {ONE("\"F32\"", "[4611686018427387904]", "[0,0]"), 0, "more bytes than 64 bits"},
    {ONE("\"F32\"", "[9223372036854775808]", "[0,0]"), 0, "shape: expected integers"},
    {ONE("\"F32\"", "[18446744073709551616]", "[0,0]"), 0, "shape: expected integers"},
    {ONE("\"F32\"", "[0,9223372036854775807]", "[0,0]"), 0, "more bytes than 64 bits"},
    {ONE("\"F32\"", "[4294967296,0,4294967296]", "[0,0]"), 0, "more bytes than 64 bits"},
    {ONE("\"F32\"", "[1000000000000]", "[0,4]"), 4, "need 4000000000000 bytes"},
    /* data_offsets */
    {"{\"w\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[0]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[0,4,8]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[-4,0]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[0,4.0]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[\"0\",4]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[[0],4]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[4,0]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[0,18446744073709551620]"), 4, "data_offsets: expected [begin, end]"},
    {ONE("\"F32\"", "[1]", "[9223372036854775803,9223372036854775807]"), 4, "cut short"},
    {ONE("\"F32\"", "[1]", "[0,4]"), 3, "ends at byte 4 of 3"},
    {ONE("\"F32\"", "[100]", "[0,400]"), 200, "ends at byte 400 of 200"},
    {ONE("\"F32\"", "[2]", "[0,4]"), 4, "need 8 bytes, data_offsets give 4"},
    {ONE("\"F32\"", "[1]", "[0,8]"), 8, "need 4 bytes, data_offsets give 8"},
    /* places */
    {TWO("[0,4]", "[4,8]"), 8, NULL},
    {TWO("[4,8]", "[0,4]"), 8, NULL},
    {TWO("[0,4]", "[0,4]"), 4, "'a' and 'b' overlap"},
    {TWO("[0,4]", "[2,6]"), 6, "'a' and 'b' overlap"},
    {TWO("[0,4]", "[8,12]"), 12, "4 bytes before tensor 'b'"},
    {TWO("[4,8]", "[8,12]"), 12, "4 bytes before tensor 'a'"},
    {TWO("[0,4]", "[4,8]"), 9, "1 bytes after the last tensor"},
    {"{}", 1, "1 bytes after the last tensor"},
    {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("z", "F32", "[0]", "[4,4]") "}", 4, NULL},
    {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("z", "F32", "[0]", "[2,2]") "}", 4,
     "'a' and 'z' overlap"},
};

static void test_headers(void)
{
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        vdm_safetensors f;
        const char *header = headers[i].header, *piece = headers[i].piece;
        int status = open_header(&f, header, strlen(header), headers[i].data);
        if (!piece)
            CHECK(status == 0, "%s: %s", header, err.text);
        else
            CHECK(rejected(status, piece) && strstr(err.text, "t.safetensors"), "%s", header);
        CHECK(status == 0 || f.tensors == NULL, "nothing is left behind");
        vdm_safetensors_close(&f);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Bad files */

static void test_lengths(void)
{
    static const struct {
        uint64_t length;
        const char *piece;
    } lengths[] = {
        {0, "length is 0"},
        {1, "length is 1"},
        {3, "the file has 10 bytes"},
        {100000000, "the file has 10 bytes"},
        {100000001, "at most 100000000"},
        {(uint64_t)1 << 63, "at most"},
        {UINT64_MAX, "at most"},
        {UINT64_MAX - 7, "at most"},
        {2, NULL},
    };
    vdm_safetensors f;
    size_t size;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        unsigned char *file = make("{}", 2, lengths[i].length, 0, &size);
        int status = open_bytes(&f, file, size);
        CHECK(lengths[i].piece ? rejected(status, lengths[i].piece) : status == 0, "length %llu",
              (unsigned long long)lengths[i].length);
        vdm_safetensors_close(&f);
        free(file);
    }
}

static void test_not_weights(void)
{
    static const struct {
        const char *text, *piece;
    } texts[] = {
        {"", "empty"},
        {"1234567", "7 bytes are too few"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n", "git-lfs pointer"},
        {"<!DOCTYPE html>\n<html><head><title>404</title>", "web page"},
        {"\n\n<html>not found</html>", "web page"},
        {"PK\x03\x04\x14\x08\x08\x08\x08", "zip archive"},
        {"GGUF\x03\x01\x01\x01\x01\x01\x01", "GGUF"},
    };
    vdm_safetensors f;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        CHECK(rejected(open_bytes(&f, texts[i].text, strlen(texts[i].text)), texts[i].piece), "%s",
              texts[i].text);
    CHECK(rejected(vdm_safetensors_open(&f, path_of("none"), &err), "none"), "missing");
    CHECK(rejected(vdm_safetensors_open(&f, check_folder(), &err), "a folder"), "a folder");
    CHECK(rejected(vdm_safetensors_open(&f, "/dev/null", &err), "device"), "a device");
    put(path_of("secret"), "x", 1);
    if (geteuid() != 0 && chmod(path_of("secret"), 0) == 0)
        CHECK(rejected(vdm_safetensors_open(&f, path_of("secret"), &err), "ermission"), "unreadable");
}

/* A small file with all that a header can hold. */
static const char sample[] = "{\"__metadata__\":{\"format\":\"pt\",\"k\":\"}{\"},"
                             "\"a.weight\":{\"dtype\":\"BF16\",\"shape\":[2,3],\"data_offsets\":[1,13]},"
                             "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[13,17]},"
                             "\"\\u0041\":{\"shape\":[1],\"data_offsets\":[0,1],\"dtype\":\"I8\"},"
                             "\"z\":{\"dtype\":\"F16\",\"shape\":[0,7],\"data_offsets\":[17,17]}}";

static void touch(const vdm_safetensors *f)
{
    static const int64_t any[VDM_MAX_RANK] = {-1, -1, -1, -1, -1, -1, -1, -1};
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        check_hash(t->data, (int64_t)t->bytes);
        if (vdm_safetensors_find(f, t->name) != t) CHECK(false, "'%s' isn't found", t->name);
        vdm_free(vdm_safetensors_floats(f, t->name, t->rank, any, &err));
    }
}

static void test_truncation(void)
{
    vdm_safetensors f;
    size_t size;
    unsigned char *file = make(sample, sizeof sample - 1, sizeof sample - 1, 17, &size);
    if (CHECK(open_bytes(&f, file, size) == 0 && f.count == 4, "the whole file: %s", err.text)) touch(&f);
    vdm_safetensors_close(&f);
    for (size_t n = 0; n < size; n++)
        CHECK(open_bytes(&f, file, n) == -1, "cut to %zu bytes of %zu", n, size);
    free(file);
}

static void test_mutations(void)
{
    size_t size;
    unsigned char *file = make(sample, sizeof sample - 1, sizeof sample - 1, 17, &size), *bad = malloc(size);
    uint32_t s = 7;
    int read = 0;
    for (int round = 0; round < 10000; round++) {
        memcpy(bad, file, size);
        for (int i = 0; i <= round % 3; i++) {
            s = s * 1664525u + 1013904223u;
            size_t place = (s >> 8) % size, other = (s >> 20) % size, length = 1 + (s >> 4) % 9;
            if (place + length > size || other + length > size) length = 1;
            if (s & 0x10)
                memmove(bad + place, bad + other, length); /* a splice */
            else
                bad[place] ^= (unsigned char)(1 << (s & 7));
        }
        vdm_safetensors f;
        if (open_bytes(&f, bad, size) == 0) {
            read++;
            touch(&f);
        }
        vdm_safetensors_close(&f);
    }
    CHECK(read > 50 && read < 9000, "%d of 10000 damaged files were still read", read);
    free(file);
    free(bad);
}

/* ------------------------------------------------------------------------------------------------
 * Good files */

/* The first NaN or infinity of n elements, wherever it is, in every floating type; the largest numbers are none. */
static void test_finite(void)
{
    static const struct {
        vdm_dtype dtype;
        uint64_t largest, bad;
    } types[] = {{VDM_F32, 0xff7fffff, 0xff800000},
                 {VDM_BF16, 0xff7f, 0x7f81},
                 {VDM_F16, 0xfbff, 0x7c00},
                 {VDM_F64, 0x7fefffffffffffff, 0x7ff0000000000001}};
    enum { N = 10000 };
    static union {
        uint16_t two[N];
        uint32_t four[N];
        uint64_t eight[N];
    } x;
    for (size_t k = 0; k < sizeof types / sizeof *types; k++) {
        size_t width = vdm_dtype_bytes(types[k].dtype);
        for (size_t at = 0; at <= N; at += 1111) {
            for (size_t i = 0; i < N; i++) {
                uint64_t bits = i == at ? types[k].bad : types[k].largest;
                if (width == 2) x.two[i] = (uint16_t)bits;
                if (width == 4) x.four[i] = (uint32_t)bits;
                if (width == 8) x.eight[i] = bits;
            }
            CHECK(vdm_first_not_finite(&x, types[k].dtype, N) == (int64_t)at, "type %zu: element %zu", k, at);
            CHECK(vdm_first_not_finite(&x, types[k].dtype, (int64_t)at) == -1, "type %zu: before %zu", k, at);
        }
    }
    CHECK(vdm_first_not_finite(&x, VDM_I64, N) == -1 && vdm_first_not_finite(&x, VDM_F32, 0) == -1,
          "integers, and nothing");
}

static void test_values(void)
{
    static const unsigned char bytes[] = {9, 0x80, 0x3f, 0x00, 0xc0, 0x00, 0x3c, 0,    0,   0,
                                          0, 0,    0,    0xf8, 0x3f, 0,    0,    0x80, 0x7f};
    static const char header[] = "{\"u\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                                 "\"bf\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[1,5]},"
                                 "\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[5,7]},"
                                 "\"d\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[7,15]},"
                                 "\"f\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[15,19]}}";
    vdm_safetensors f;
    size_t size;
    unsigned char *file = make(header, sizeof header - 1, sizeof header - 1, sizeof bytes, &size);
    memcpy(file + size - sizeof bytes, bytes, sizeof bytes);
    if (CHECK(open_bytes(&f, file, size) == 0, "%s", err.text)) { /* all but one at odd addresses */
        float *bf = vdm_safetensors_floats(&f, "bf", 1, (int64_t[]){2}, &err); /* the leading 1 is dropped */
        float *h = vdm_safetensors_floats(&f, "h", 1, (int64_t[]){-1}, &err);
        float *d = vdm_safetensors_floats(&f, "d", 1, (int64_t[]){1}, &err);
        float *x = vdm_safetensors_floats(&f, "f", 1, (int64_t[]){1}, &err);
        CHECK(bf && bf[0] == 1 && bf[1] == -2, "bf16");
        CHECK(h && h[0] == 1 && d && d[0] == 1.5f, "f16, f64");
        CHECK(!x && strstr(err.text, "'f': element 0: expected a finite number, found inf"), "%s", err.text);
        CHECK(vdm_safetensors_check_finite(&f, &err) == -1 && strstr(err.text, "'f': element 0"), "%s",
              err.text);
        vdm_free(bf), vdm_free(h), vdm_free(d);
        CHECK(!vdm_safetensors_floats(&f, "bf", 2, (int64_t[]){2, 1}, &err) &&
                  strstr(err.text, "'bf': expected [2,1], found [1,2]"),
              "transposed: %s", err.text);
        CHECK(!vdm_safetensors_floats(&f, "h", 2, (int64_t[]){1, -1}, &err) && strstr(err.text, "[1,any]"),
              "%s", err.text);
        CHECK(!vdm_safetensors_floats(&f, "u", 1, (int64_t[]){1}, &err) && strstr(err.text, "found U8"), "%s",
              err.text);
        CHECK(!vdm_safetensors_floats(&f, "w", 1, (int64_t[]){1}, &err) && strstr(err.text, "'w' is missing"),
              "%s", err.text);
    }
    vdm_safetensors_close(&f);
    free(file);
}

static void test_many(void)
{
    enum { MANY = 30000 };
    char *header = malloc(MANY * 100), *at = header;
    vdm_safetensors f;
    at += sprintf(at, "{");
    for (int i = 0; i < MANY; i++)
        at += sprintf(at, "%s\"block.%d.weight\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]}",
                      i ? "," : "", i * 7919 % MANY, i, i + 1);
    at += sprintf(at, "}");
    double start = vdm_seconds();
    CHECK(open_header(&f, header, (size_t)(at - header), MANY) == 0 && f.count == MANY, "%s", err.text);
    const vdm_tensor *t = vdm_safetensors_find(&f, "block.7919.weight");
    CHECK(t && *(const unsigned char *)t->data == 1, "the second tensor holds 1");
    CHECK(!vdm_safetensors_find(&f, "block.7919") && !vdm_safetensors_find(&f, ""), "no such names");
    vdm_safetensors_close(&f);
    CHECK(vdm_seconds() - start < 5, "%d tensors took %.1f s", MANY, vdm_seconds() - start);
    free(header);
    char name[VDM_MAX_NAME + 200];
    for (int extra = 0; extra < 2; extra++) {
        int n =
            snprintf(name, sizeof name, "{\"%0*d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
                     VDM_MAX_NAME + extra, 7);
        int status = open_header(&f, name, (size_t)n, 1);
        CHECK(extra ? rejected(status, "at most 1024") : status == 0, "a name of 1024 + %d bytes", extra);
        vdm_safetensors_close(&f);
    }
}

static void test_writing(void)
{
    float x[6] = {1, -2, 3.5f, NAN, INFINITY, 1e-42f};
    uint16_t h[3] = {0x3f80, 0xc000, 1};
    unsigned char u[1] = {200};
    vdm_tensor tensors[] = {
        {.name = "z.first", .dtype = VDM_F32, .rank = 2, .shape = {2, 3}, .data = x, .bytes = sizeof x},
        {.name = "a\"\\\xc3\xa9", .dtype = VDM_BF16, .rank = 1, .shape = {3}, .data = h, .bytes = sizeof h},
        {.name = "u", .dtype = VDM_U8, .data = u, .bytes = 1},
        {.name = "none", .dtype = VDM_F32, .rank = 1, .shape = {0}},
    };
    const char *const metadata[][2] = {{"format", "pt"}, {"json", "{\"r\": 4}\n"}};
    const char *path = path_of("w.safetensors");
    vdm_safetensors f;
    CHECK(vdm_safetensors_write(path, tensors, 4, metadata, 2, &err) == 0, "%s", err.text);
    if (CHECK(vdm_safetensors_open(&f, path, &err) == 0 && f.count == 4, "%s", err.text)) {
        for (int i = 0; i < 4; i++) {
            const vdm_tensor *w = &tensors[i], *t = vdm_safetensors_find(&f, w->name);
            CHECK(t && t->dtype == w->dtype && t->rank == w->rank && t->bytes == w->bytes &&
                      memcmp(t->shape, w->shape, sizeof t->shape) == 0 &&
                      (!t->bytes || memcmp(t->data, w->data, t->bytes) == 0),
                  "'%s' comes back", w->name);
        }
        const vdm_tensor *first = vdm_safetensors_find(&f, "z.first");
        CHECK(first && (uintptr_t)first->data % 8 == 0, "the data is aligned");
        CHECK(strcmp(vdm_safetensors_metadata(&f, "json"), "{\"r\": 4}\n") == 0, "metadata");
        CHECK(!vdm_safetensors_metadata(&f, "other"), "no such metadata");
    }
    vdm_safetensors_close(&f);
    CHECK(vdm_safetensors_write(path, NULL, 0, NULL, 0, &err) == 0 &&
              vdm_safetensors_open(&f, path, &err) == 0 && f.count == 0,
          "no tensors: %s", err.text);
    vdm_safetensors_close(&f);
    tensors[1].name = "u";
    CHECK(rejected(vdm_safetensors_write(path, tensors, 4, NULL, 0, &err), "'u' appears twice"),
          "the same name twice");
    tensors[1].name = "\xff";
    CHECK(rejected(vdm_safetensors_write(path, tensors, 4, NULL, 0, &err), "UTF-8"), "not UTF-8");
    tensors[1].name = "";
    CHECK(rejected(vdm_safetensors_write(path, tensors, 4, NULL, 0, &err), "empty"), "no name");
    tensors[0].bytes--;
    CHECK(rejected(vdm_safetensors_write(path, tensors, 1, NULL, 0, &err), "do not fit"), "too few bytes");
    CHECK(vdm_safetensors_open(&f, path, &err) == 0 && f.count == 0, "the old file is still there");
    vdm_safetensors_close(&f);
    static const uint8_t two[16] = {0};
    const vdm_tensor none[] = {
        {.name = "a", .dtype = VDM_U8, .rank = 2, .shape = {-2, -2}, .data = two, .bytes = 4},
        {.name = "a", .dtype = VDM_U8, .rank = -1, .data = two, .bytes = 1},
        {.name = "a", .dtype = VDM_U8, .rank = 1000000, .data = two, .bytes = 1},
        {.name = "a", .dtype = VDM_DTYPES, .data = two, .bytes = 1},
        {.name = "a", .dtype = (vdm_dtype)-1, .data = two, .bytes = 1},
        {.name = "a", .dtype = VDM_F4, .rank = 1, .shape = {3}, .data = two, .bytes = 1},
        {.name = "a", .dtype = VDM_U8, .rank = 1, .shape = {4}, .bytes = 4},
        {.name = "a", .dtype = VDM_F32, .rank = 3, .shape = {INT64_C(1) << 32, INT64_C(1) << 32, 4}}};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        vdm_safetensors_writer w;
        CHECK(rejected(vdm_safetensors_write(path, &none[i], 1, NULL, 0, &err), "do not fit its shape"),
              "%zu: %s", i, err.text);
        if (!CHECK(vdm_safetensors_begin(&w, path, 64, &err) == 0, "%s", err.text)) continue;
        CHECK(rejected(vdm_safetensors_add(&w, &none[i], &err), "do not fit its shape"), "%zu: %s", i,
              err.text);
        vdm_safetensors_abandon(&w);
    }
    CHECK(rejected(vdm_safetensors_write("/no/such/folder/x", tensors, 0, NULL, 0, &err), "/no/such"),
          "no folder");
}

/* ------------------------------------------------------------------------------------------------
 * Shards */

static void put_shard(const char *file, const char *a, const char *b)
{
    float x[2] = {1, 2};
    vdm_tensor t[] = {{.name = a, .dtype = VDM_F32, .rank = 1, .shape = {1}, .data = x, .bytes = 4},
                      {.name = b, .dtype = VDM_F32, .rank = 1, .shape = {1}, .data = x + 1, .bytes = 4}};
    CHECK(vdm_safetensors_write(path_of(file), t, b ? 2 : 1, NULL, 0, &err) == 0, "%s", err.text);
}

static void test_shards(void)
{
#define MAP(entries) "{\"metadata\":{\"total_size\":12},\"weight_map\":{" entries "}}"
#define A            "\"a\":\"m-1.safetensors\""
#define B            "\"b\":\"m-1.safetensors\""
#define C            "\"c\":\"m-2.safetensors\""
    static const struct {
        const char *index, *piece;
    } indexes[] = {
        {MAP(A "," B "," C), NULL},
        {MAP(C "," A "," B), NULL},
        {"{\"weight_map\":{" A "," B "," C "}}", NULL},
        {MAP(A "," C), "'b' of a shard is not listed"},
        {MAP(A "," B "," C ",\"d\":\"m-1.safetensors\""), "'d' is not in 'm-1.safetensors'"},
        {MAP(A "," B "," C ",\"aa\":\"m-1.safetensors\""), "'aa' is not in 'm-1.safetensors'"},
        {MAP(A "," C ",\"b\":\"m-2.safetensors\""), "'b' is not in 'm-2.safetensors'"},
        {MAP(A "," B "," C ",\"d\":\"m-3.safetensors\""), "m-3.safetensors: this shard is missing"},
        {MAP(A "," B ",\"c\":\"../m-2.safetensors\""), "in the same folder"},
        {MAP(A "," B ",\"c\":\"/etc/passwd\""), "in the same folder"},
        {MAP(A "," B ",\"c\":\"..\""), "in the same folder"},
        {MAP(A "," B ",\"c\":\"\""), "in the same folder"},
        {MAP(A "," B ",\"c\":2"), "'c': expected the name of a file"},
        {MAP(A "," B ",\"c\":\"m.safetensors.index.json\""), "m.safetensors.index.json"}, /* itself */
        {MAP(A "," A "," B "," C), "'a' appears twice"},
        {MAP(A "," B "," C ",\"d\":\"m-twice.safetensors\""), "'a' is in two files"},
        {MAP(""), "weight_map: expected"},
        {"{}", "weight_map: expected"},
        {"[]", "weight_map: expected"},
        {"{\"weight_map\":[]}", "weight_map: expected"},
        {"{\"weight_map\":", "expected a value"},
    };
    vdm_safetensors f;
    CHECK(rejected(vdm_safetensors_open_folder(&f, check_folder(), "m", &err), "neither m.safetensors nor"),
          "nothing there");
    put_shard("m-1.safetensors", "a", "b");
    put_shard("m-2.safetensors", "c", NULL);
    put_shard("m-twice.safetensors", "d", "a");
    for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++) {
        put(path_of("m.safetensors.index.json"), indexes[i].index, strlen(indexes[i].index));
        int status = vdm_safetensors_open_folder(&f, check_folder(), "m", &err);
        if (indexes[i].piece)
            CHECK(rejected(status, indexes[i].piece), "%s", indexes[i].index);
        else if (CHECK(status == 0 && f.count == 3 && f.n_files == 2, "%s: %s", indexes[i].index, err.text))
            touch(&f);
        vdm_safetensors_close(&f);
    }
    put_shard("m.safetensors", "only", NULL);
    CHECK(rejected(vdm_safetensors_open_folder(&f, check_folder(), "m", &err),
                   "found m.safetensors and m.safetensors.index.json: expected one of them"),
          "both");
    remove(path_of("m.safetensors.index.json"));
    CHECK(vdm_safetensors_open_folder(&f, check_folder(), "m", &err) == 0 && f.count == 1, "one file");
    vdm_safetensors_close(&f);
}

/* One tensor at a time: with space for the header, with too little, and with data that has to move in pieces. */
static void test_writer(void)
{
    enum { LARGE = 700000 };
    static float numbers[LARGE];
    const size_t reserves[] = {0, 100, 10000};
    const char *const metadata[][2] = {{"what", "a \"test\""}};
    const vdm_tensor tensors[] = {{"z", VDM_F32, 2, {2, 3}, numbers, 24},
                                  {"empty", VDM_F32, 1, {0}, numbers, 0},
                                  {"a", VDM_F32, 1, {LARGE}, numbers, sizeof numbers},
                                  {"b", VDM_BF16, 1, {5}, numbers, 10}};
    const char *path = path_of("written.safetensors");
    check_random(numbers, LARGE, 3, 1);
    for (int r = 0; r < 3; r++) {
        vdm_safetensors_writer w;
        vdm_safetensors f;
        bool good = !vdm_safetensors_begin(&w, path, reserves[r], &err);
        for (int i = 0; i < 4 && good; i++) good = !vdm_safetensors_add(&w, &tensors[i], &err);
        if (!CHECK(good && !vdm_safetensors_end(&w, metadata, 1, &err), "%s", err.text)) continue;
        if (!CHECK(!vdm_safetensors_open(&f, path, &err), "%s", err.text)) continue;
        for (int i = 0; i < 4; i++) {
            const vdm_tensor *t = vdm_safetensors_find(&f, tensors[i].name);
            CHECK(t && t->bytes == tensors[i].bytes && check_same_bits(t->data, numbers, (int64_t)t->bytes),
                  "reserve %zu: tensor '%s'", reserves[r], tensors[i].name);
        }
        const char *what = vdm_safetensors_metadata(&f, "what");
        CHECK(what && strcmp(what, metadata[0][1]) == 0, "metadata");
        vdm_safetensors_close(&f);
    }
    vdm_safetensors_writer w;
    vdm_safetensors_begin(&w, path, 0, &err);
    bool added = !vdm_safetensors_add(&w, &tensors[0], &err) && !vdm_safetensors_add(&w, &tensors[0], &err);
    CHECK(added && rejected(vdm_safetensors_end(&w, NULL, 0, &err), "appears twice"), "%s", err.text);
    vdm_safetensors_begin(&w, path, 0, &err);
    const vdm_tensor wrong = {"w", VDM_F32, 1, {3}, numbers, 8};
    CHECK(rejected(vdm_safetensors_add(&w, &wrong, &err), "do not fit"), "%s", err.text);
    vdm_safetensors_abandon(&w);
}

int main(void)
{
    test_headers();
    test_lengths();
    test_not_weights();
    test_truncation();
    test_mutations();
    test_values();
    test_finite();
    test_many();
    test_writing();
    test_writer();
    test_shards();
    return check_end("weights");
}
