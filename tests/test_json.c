/* JSON: what must be read, what must be rejected and with which message, and what must not crash. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static vdm_error err;

/* The text in memory of exactly its size, so that a sanitizer sees a read past its end. */
static int parse(vdm_json *j, const char *text, size_t size)
{
    char *exact = malloc(size ? size : 1);
    if (size) memcpy(exact, text, size);
    int status = vdm_json_parse(j, exact, size, "t.json", &err);
    free(exact);
    return status;
}

/* One wrong text for each kind of error, and a part of its message. */
static const struct {
    const char *text, *piece;
} bad[] = {
    {"", "expected a value, found the end"},
    {"  ", "found the end"},
    {"\xef\xbb\xbf{}", "byte 0xef"}, /* a byte order mark */
    {"{} {}", "nothing after the document"},
    {"{}x", "nothing after the document"},
    {"[1]]", "nothing after the document"},
    {"[1", "',' or ']'"},
    {"[1 2]", "',' or ']'"},
    {"[1,]", "expected a value, found ']'"},
    {"[,1]", "expected a value, found ','"},
    {"[1}", "',' or ']'"},
    {"{\"a\":1", "',' or '}'"},
    {"{\"a\":1 \"b\":2}", "',' or '}'"},
    {"{\"a\":1,}", "a key in quotes"},
    {"{a:1}", "a key in quotes"},
    {"{1:1}", "a key in quotes"},
    {"{\"a\"}", "':' after a key"},
    {"{\"a\":}", "expected a value"},
    {"{'a':1}", "a key in quotes"},
    {"{\"a\":1]", "',' or '}'"},
    {"nul", "expected a value"},
    {"nulll", "nothing after"},
    {"True", "expected a value"},
    {"NaN", "expected a value"},
    {"Infinity", "expected a value"},
    {"-Infinity", "a digit"},
    {"// x\n1", "expected a value"},
    {"+1", "expected a value"},
    {".5", "expected a value"},
    {"1.", "a digit after the point"},
    {"1.e5", "a digit after the point"},
    {"01", "after a leading 0"},
    {"-", "a digit"},
    {"-01", "after a leading 0"},
    {"1e", "a digit in the exponent"},
    {"1e+", "a digit in the exponent"},
    {"0x10", "nothing after"},
    {"1e999", "a double"},
    {"-1e999", "a double"},
    {"\"abc", "the end of a string"},
    {"\"a\nb\"", "control character"},
    {"\"a\tb\"", "control character"},
    {"\"\\q\"", "after a backslash"},
    {"\"\\", "after a backslash"},
    {"\"\\u12\"", "four hexadecimal"},
    {"\"\\u12g4\"", "four hexadecimal"},
    {"\"\\u0000\"", "no NUL"},
    {"\"\\ud800\"", "surrogate pair"},
    {"\"\\ud800\\n\"", "surrogate pair"},
    {"\"\\ud800\\u0041\"", "surrogate pair"},
    {"\"\\udc00\"", "surrogate pair"},
    {"\"\xff\"", "UTF-8"},
    {"\"\xc0\xaf\"", "UTF-8"},         /* overlong */
    {"\"\xe0\x80\xaf\"", "UTF-8"},     /* overlong */
    {"\"\xed\xa0\x80\"", "UTF-8"},     /* a surrogate */
    {"\"\xf4\x90\x80\x80\"", "UTF-8"}, /* past U+10FFFF */
    {"\"\xf0\x80\x80\x80\"", "UTF-8"}, /* overlong */
    {"\"\xe2\x82\"", "UTF-8"},         /* cut short */
    {"{\"a\":1,\"a\":2}", "'a' appears twice"},
    {"{\"a\":1,\"\\u0061\":2}", "'a' appears twice"},
    {"[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]", "'b' appears twice"},
    {"[\n1,\n  x]", "line 3, column 3"},
};

static void test_bad(void)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vdm_json j;
        int status = parse(&j, bad[i].text, strlen(bad[i].text));
        CHECK(status == -1 && strstr(err.text, bad[i].piece) && strstr(err.text, "t.json"),
              "%s: expected \"%s\", got %d \"%s\"", bad[i].text, bad[i].piece, status, err.text);
        CHECK(j.nodes == NULL && j.strings == NULL, "nothing is left behind");
        vdm_json_free(&j);
    }
    vdm_json j;
    CHECK(parse(&j, "\"a\0b\"", 5) == -1 && strstr(err.text, "control"), "a NUL in a string");
    CHECK(parse(&j, "1\0", 2) == -1 && strstr(err.text, "nothing after"), "a NUL after the document");
}

static const char *const good[] = {
    "0",
    "-0",
    "1",
    "-12.5e-3",
    "1E+2",
    "1e-999",
    "123456789012345678901234567890",
    "\"\"",
    "\"\\ud83d\\ude00\"",
    "[]",
    "{}",
    " [ ] ",
    "\t{\r\n}\n",
    "[[],{},[{}]]",
    "{\"\":0}",
    "[null,true,false]",
    "\"\x7f\"",
    "\"/\\/\"",
};

static void test_good(void)
{
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        vdm_json j;
        CHECK(parse(&j, good[i], strlen(good[i])) == 0, "%s: %s", good[i], err.text);
        vdm_json_free(&j);
    }
}

static void test_document(void)
{
    const char *text =
        "{\"a\": [1, {\"x\": -2.5e1}, []], \"b\\n\\u00e9\\ud83d\\ude00\": \"q\\\"\\\\\\t\", \"c\": null}";
    vdm_json j;
    if (!CHECK(parse(&j, text, strlen(text)) == 0, "%s", err.text)) return;
    CHECK(j.count == 8 && j.nodes[0].kind == VDM_JSON_OBJECT && j.nodes[0].children == 3, "the root");
    const vdm_json_node *a = vdm_json_get(&j, j.nodes, "a");
    CHECK(a && a->kind == VDM_JSON_ARRAY && a->children == 3 && a == j.nodes + 1, "the array");
    CHECK(a[1].number == 1 && strcmp(a[1].text, "1") == 0 && a[1].key == NULL, "its first item");
    const vdm_json_node *second = vdm_json_next(&j, a + 1), *third = vdm_json_next(&j, second);
    CHECK(second->kind == VDM_JSON_OBJECT && vdm_json_get(&j, second, "x")->number == -25, "its second item");
    CHECK(third->kind == VDM_JSON_ARRAY && third->children == 0 && !vdm_json_next(&j, third),
          "its last item");
    const vdm_json_node *b = vdm_json_next(&j, a);
    CHECK(strcmp(b->key, "b\n\xc3\xa9\xf0\x9f\x98\x80") == 0, "an unescaped key: %s", b->key);
    CHECK(strcmp(b->text, "q\"\\\t") == 0, "an unescaped string: %s", b->text);
    CHECK(vdm_json_get(&j, j.nodes, "c")->kind == VDM_JSON_NULL, "null");
    CHECK(!vdm_json_get(&j, j.nodes, "d") && !vdm_json_get(&j, a, "x") && !vdm_json_get(&j, third, ""),
          "not there");
    vdm_json_free(&j);
}

/* Decimal to double: exact where the digits are, correctly rounded elsewhere. */
static void test_numbers(void)
{
    static const struct {
        const char *text;
        double value;
    } numbers[] = {
        {"0.7", 0.7},
        {"1.15258426", 1.15258426},
        {"0.00085", 0.00085},
        {"1e-05", 1e-5},
        {"-1.5E3", -1500},
        {"0.8187500000000001", 0.8187500000000001},
        {"9007199254740993", 9007199254740992.0},
        {"1e22", 1e22},
        {"2.2250738585072014e-308", 2.2250738585072014e-308},
        {"1e-999", 0},
        {"5e-324", 5e-324},
        {"0e99999999", 0},
        {"1.7976931348623157e308", 1.7976931348623157e308},
    };
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        vdm_json j;
        CHECK(parse(&j, numbers[i].text, strlen(numbers[i].text)) == 0 && j.nodes->number == numbers[i].value,
              "%s: %.17g", numbers[i].text, j.nodes ? j.nodes->number : (double)NAN);
        vdm_json_free(&j);
    }
}

/* Depth, length, and times that grow with the size alone. */
static void test_limits(void)
{
    size_t million = 1000000;
    char *text = malloc(16 * million), *at = text;
    vdm_json j;
    memset(text, '[', million);
    CHECK(parse(&j, text, million) == -1 && strstr(err.text, "64 levels"), "a million brackets: %s",
          err.text);
    memset(text, ']', 128);
    memset(text, '[', 64);
    CHECK(parse(&j, text, 128) == 0, "64 levels: %s", err.text);
    vdm_json_free(&j);
    memset(text, '1', million);
    CHECK(parse(&j, text, million) == -1 && strstr(err.text, "100 characters"), "a million digits: %s",
          err.text);
    memset(text, ' ', 10 * million);
    text[10 * million - 1] = '1';
    CHECK(parse(&j, text, 10 * million) == 0, "spaces: %s", err.text);
    vdm_json_free(&j);
    double start = vdm_seconds();
    *at++ = '{';
    for (int i = 0; i < 200000; i++) at += sprintf(at, "%s\"k%d\":%d", i ? "," : "", i * 7919 % 200000, i);
    *at++ = '}';
    CHECK(parse(&j, text, (size_t)(at - text)) == 0 && j.nodes->children == 200000, "200,000 keys: %s",
          err.text);
    vdm_json_free(&j);
    CHECK(vdm_seconds() - start < 10, "200,000 keys took %.1f s", vdm_seconds() - start);
    free(text);
}

/* Random damage to a good text: any answer will do, no crash will. */
static void test_mutations(void)
{
    const char seed_text[] = "{\"a\":[1,-2.5e3,\"x\\u00e9\\n\"],\"b\":{\"c\":null,\"d\":[true,false,{}]},"
                             "\"\xc3\xa9\":\"\\ud83d\\ude00\"}";
    char text[sizeof seed_text];
    uint32_t s = 1;
    int read = 0;
    for (int round = 0; round < 20000; round++) {
        size_t size = sizeof seed_text - 1;
        memcpy(text, seed_text, size);
        int edits = 1 + round % 3;
        for (int i = 0; i < edits; i++) {
            s = s * 1664525u + 1013904223u;
            size_t place = (s >> 8) % size, other = (s >> 20) % size;
            if (s & 0x10)
                text[place] = text[other];
            else if (s & 0x20)
                text[place] = (char)(s >> 3);
            else
                text[place] ^= (char)(1 << (s & 7));
        }
        if (round % 5 == 0) size = (s >> 9) % size;
        vdm_json j;
        if (parse(&j, text, size) == 0) {
            read++;
            for (int64_t i = 0; i < j.count; i++)
                if (j.nodes[i].text && strlen(j.nodes[i].text) > size)
                    CHECK(false, "a string longer than the text");
            vdm_json_free(&j);
        }
    }
    CHECK(read > 100 && read < 19000, "%d of 20000 were still JSON", read);
}

static void test_files(void)
{
    char *path = vdm_path(check_folder(), "a.json", &err);
    vdm_file f;
    vdm_json j;
    if (CHECK(vdm_file_open(&f, path, &err) == 0, "%s", err.text)) {
        fputs("{\"a\": 1}\n", f.stream);
        CHECK(vdm_file_commit(&f, &err) == 0, "%s", err.text);
    }
    CHECK(vdm_json_read(&j, path, &err) == 0 && vdm_json_get(&j, j.nodes, "a"), "%s", err.text);
    vdm_json_free(&j);
    CHECK(vdm_json_read(&j, check_folder(), &err) == -1 && strstr(err.text, "folder"), "a folder");
    vdm_free(path);
}

/* A byte order mark before a document in a file, once; in a text that is parsed, as a safetensors header, never. */
static void test_byte_order_mark(void)
{
    static const char *const texts[] = {"\xef\xbb\xbf{\"a\": 1}", "\xef\xbb\xbf\xef\xbb\xbf{\"a\": 1}",
                                        "\xef\xbb", "\xef\xbb\xbf"};
    for (int i = 0; i < 4; i++) {
        char *path = vdm_path(check_folder(), "mark.json", &err);
        vdm_file f;
        vdm_json j;
        if (CHECK(vdm_file_open(&f, path, &err) == 0, "%s", err.text)) {
            fputs(texts[i], f.stream);
            CHECK(vdm_file_commit(&f, &err) == 0, "%s", err.text);
        }
        int status = vdm_json_read(&j, path, &err);
        CHECK((status == 0) == (i == 0), "text %d: %s", i, err.text);
        if (!status) CHECK(vdm_json_get(&j, j.nodes, "a") != NULL, "its member");
        vdm_json_free(&j);
        CHECK(vdm_json_parse(&j, texts[i], strlen(texts[i]), "text", &err) == -1, "text %d is parsed", i);
        vdm_free(path);
    }
}

int main(void)
{
    test_bad();
    test_good();
    test_document();
    test_numbers();
    test_limits();
    test_mutations();
    test_files();
    test_byte_order_mark();
    return check_end("json");
}
