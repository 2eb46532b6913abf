/* Fields of JSON objects: values, fallbacks, needed keys, and the sentences that reject them; hashes. */
#include "check.h"
#include "files/fields.h"
#include "files/hash.h"

#include <string.h>

static const char TEXT[] =
    "{\"rows\": 3, \"half\": 0.5, \"on\": true, \"name\": \"cat\", \"large\": 9007199254740991,"
    " \"list\": [1, 2], \"none\": null, \"grid\": {\"cell\": 0, \"gap\": 1}, \"huge\": 1e300}";

static vdm_json json;
static vdm_error err;

/* Ready to read the document. */
static vdm_fields start(void)
{
    vdm_fields f;
    err.text[0] = '\0';
    vdm_fields_open(&f, &json, json.nodes, "file", &err);
    return f;
}

static void expect_error(const vdm_fields *f, const char *sentence)
{
    CHECK(f->failed && strcmp(err.text, sentence) == 0, "'%s', expected '%s'", err.text, sentence);
}

static void test_values(void)
{
    char *copy = NULL;
    vdm_fields f = start();
    CHECK(vdm_field_int(&f, "rows", 7, 1, 9) == 3 && vdm_field_int(&f, "cols", 7, 1, 9) == 7, "integers");
    CHECK(vdm_field_int64(&f, "large", 0, 0, (int64_t)1 << 53) == 9007199254740991, "a large integer");
    CHECK(vdm_field_number(&f, "half", 1, 0, 1) == 0.5 && vdm_field_number(&f, "whole", 1, 0, 1) == 1,
          "numbers");
    CHECK(vdm_field_bool(&f, "on", false) && vdm_field_bool(&f, "off", true), "true or false");
    CHECK(strcmp(vdm_field_text(&f, "name", NULL), "cat") == 0, "text");
    CHECK(strcmp(vdm_field_text(&f, "title", "dog"), "dog") == 0, "a text's fallback");
    vdm_field_copy(&f, "title", &copy);
    CHECK(!copy, "an absent text is not copied");
    vdm_field_copy(&f, "name", &copy);
    vdm_field_copy(&f, "name", &copy);
    CHECK(copy && strcmp(copy, "cat") == 0, "a copy");
    CHECK(!f.failed && !err.text[0], "%s", err.text);
    vdm_free(copy);
}

static void test_rejections(void)
{
    vdm_fields f = start();
    CHECK(vdm_field_int(&f, "rows", 7, 4, 9) == 7, "the fallback");
    expect_error(&f, "file: rows: found '3', expected an integer from 4 to 9");
    vdm_field_bool(&f, "name", true);
    expect_error(&f, "file: rows: found '3', expected an integer from 4 to 9"); /* the first */
    f = start(), vdm_field_int(&f, "half", 0, 0, 9);
    expect_error(&f, "file: half: found '0.5', expected an integer from 0 to 9");
    f = start(), vdm_field_int(&f, "huge", 0, 0, 9);
    expect_error(&f, "file: huge: found '1e300', expected an integer from 0 to 9");
    f = start(), vdm_field_int(&f, "cols", 0, 1, 9);
    expect_error(&f, "file: cols: found nothing, expected an integer from 1 to 9");
    f = start(), vdm_field_number(&f, "list", 0, 0, 1);
    expect_error(&f, "file: list: found an array of 2, expected a number from 0 to 1");
    f = start(), vdm_field_bool(&f, "none", false);
    expect_error(&f, "file: none: found null, expected true or false");
    f = start(), vdm_field_text(&f, "grid", "");
    expect_error(&f, "file: grid: found an object, expected a string");
    f = start(), vdm_field_text(&f, "title", NULL);
    expect_error(&f, "file: title: found nothing, expected a string");
}

static void test_objects(void)
{
    static const char *const keys[] = {"cell", "border"};
    vdm_fields f = start(), inner;
    vdm_fields_inside(&inner, &f, "grid");
    vdm_field_int(&inner, "cell", 1, 1, 9);
    expect_error(&inner, "file: grid.cell: found '0', expected an integer from 1 to 9");
    f = start();
    vdm_fields_inside(&inner, &f, "grid");
    vdm_fields_only(&inner, keys, 2);
    expect_error(&inner, "file: grid: found the key 'gap', expected cell, border");
    f = start(), vdm_fields_only(&f, keys, 2);
    expect_error(&f, "file: found the key 'rows', expected cell, border");
    f = start(), vdm_fields_inside(&inner, &f, "name");
    expect_error(&f, "file: name: found 'cat', expected an object");
    CHECK(inner.failed, "what is inside fails too");
    vdm_fields_open(&f, &json, json.nodes + 1, "file", &err);
    expect_error(&f, "file: document: found '3', expected an object");
    CHECK(vdm_field_int(&f, "rows", 7, 1, 9) == 7 && !vdm_field(&f, "rows"), "no object has no fields");
}

/* The published values: of "", "a", "foobar"; the first outputs of splitmix64 seeded with 0. */
static void test_hashes(void)
{
    CHECK(VDM_HASH_START == 0xcbf29ce484222325u, "FNV-1a of nothing");
    CHECK(vdm_hash_text(VDM_HASH_START, "a") == 0xaf63dc4c8601ec8cu, "FNV-1a of a");
    CHECK(vdm_hash_bytes(VDM_HASH_START, "foobar", 6) == 0x85944171f73967e8u, "FNV-1a of foobar");
    CHECK(vdm_hash_mix(0x9E3779B97F4A7C15u) == 0xe220a8397b1dcdafu, "splitmix64");
    CHECK(vdm_hash_mix(2 * 0x9E3779B97F4A7C15u) == 0x6e789e6aa1b965f4u, "splitmix64, the second");
}

int main(void)
{
    if (!CHECK(vdm_json_parse(&json, TEXT, sizeof TEXT - 1, "file", &err) == 0, "%s", err.text)) return 1;
    test_values();
    test_rejections();
    test_objects();
    test_hashes();
    vdm_json_free(&json);
    return check_end("fields");
}
