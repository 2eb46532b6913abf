/* A JSON file that is too large for memory: an object with long arrays, such as COCO's annotations (448 MB for 118,000
 * pictures). It is read byte by byte; every item of the requested arrays is parsed strictly, by itself, and passed to
 * the caller. Memory: the largest item, at most VDM_MAX_JSON, whatever the file's size.
 *
 *   {"images": [{...}, {...}], "info": {...}, "annotations": [{...}, ...]}
 *
 * Other members are skipped, by their brackets and quotes: other faults in them are not found. */
#include "tools/generate/json_stream.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

struct stream_reader {
    FILE *f;
    const char *path;
    int64_t at; /* bytes read */
    int next;   /* the byte to come, or EOF */
    char *text; /* of the item */
    size_t size, capacity;
    vdm_error *err;
};

static void advance(struct stream_reader *s)
{
    s->next = getc_unlocked(s->f);
    s->at++;
}

static int reject(const struct stream_reader *s, const char *expected)
{
    if (ferror(s->f)) return vdm_fail(s->err, "%s: %s", s->path, strerror(errno));
    char found[32] = "the end";
    if (s->next != EOF) {
        bool plain = s->next > 0x20 && s->next < 0x7f;
        snprintf(found, sizeof found, plain ? "'%c'" : "byte 0x%02x", (unsigned)s->next);
    }
    return vdm_fail(s->err, "%s: JSON, byte %lld: expected %s, found %s", s->path, (long long)s->at, expected,
                    found);
}

static void skip_space(struct stream_reader *s)
{
    while (s->next == ' ' || s->next == '\n' || s->next == '\r' || s->next == '\t') advance(s);
}

/* Stores the next byte, and advances. */
static int store(struct stream_reader *s)
{
    if (s->size == VDM_MAX_JSON)
        return vdm_fail(s->err, "%s: JSON, byte %lld: expected items of at most %d bytes, found a longer one",
                        s->path, (long long)s->at, VDM_MAX_JSON);
    if (s->size + 1 >= s->capacity) { /* a NUL follows */
        size_t capacity = s->capacity ? 2 * s->capacity : 4096;
        char *text = vdm_alloc(capacity, 1, "an item of a JSON file", s->err);
        if (!text) return -1;
        if (s->size) memcpy(text, s->text, s->size);
        vdm_free(s->text);
        s->text = text;
        s->capacity = capacity;
    }
    s->text[s->size++] = (char)s->next;
    advance(s);
    return 0;
}

static int walk_string(struct stream_reader *s, bool stored)
{
    for (bool first = true; first || s->next != '"'; first = false) {
        if (s->next == EOF) return reject(s, "the end of a string");
        if (!first && s->next == '\\') {
            if (stored && store(s)) return -1;
            if (!stored) advance(s);
            if (s->next == EOF) return reject(s, "the end of a string");
        }
        if (stored && store(s)) return -1;
        if (!stored) advance(s);
    }
    if (stored) return store(s);
    advance(s);
    return 0;
}

/* Skips one value, by its brackets and quotes; stored in s->text if `stored`. */
static int walk_value(struct stream_reader *s, bool stored)
{
    int64_t depth = 0;
    s->size = 0;
    skip_space(s);
    if (s->next == EOF || strchr(",:]}", s->next)) return reject(s, "a value");
    do {
        int c = s->next;
        if (c == EOF) return reject(s, "the end of a value");
        if (c == '"') {
            if (walk_string(s, stored)) return -1;
            continue;
        }
        if (depth == 0 && (strchr(",:]}", c) || c == ' ' || c == '\n' || c == '\r' || c == '\t')) return 0;
        depth += (c == '{' || c == '[') - (c == '}' || c == ']');
        if (stored && store(s)) return -1;
        if (!stored) advance(s);
        if (depth == 0 && (c == '}' || c == ']')) return 0;
    } while (depth > 0 || (s->next != EOF && !strchr(",]}", s->next)));
    return 0;
}

/* After an item or a member: *more, or the closing bracket is consumed. */
static int between(struct stream_reader *s, char close, bool *more)
{
    skip_space(s);
    *more = s->next == ',';
    if (!*more && s->next != close) return reject(s, close == ']' ? "',' or ']'" : "',' or '}'");
    advance(s);
    skip_space(s);
    if (*more && s->next == close) return reject(s, "something after ','");
    return 0;
}

static int hand_over(struct stream_reader *s, const struct json_stream *k, int name, int64_t number)
{
    vdm_json j;
    char where[512];
    snprintf(where, sizeof where, "%.400s: %s[%lld]", s->path, k->names[name], (long long)number);
    if (vdm_json_parse(&j, s->text, s->size, where, s->err)) return -1;
    s->text[s->size] = '\0'; /* store() reserved space for it */
    int status = k->item(k->user, name, &j, s->text, where, s->err);
    vdm_json_free(&j);
    return status;
}

static int walk_array(struct stream_reader *s, const struct json_stream *k, int name)
{
    bool more = true;
    if (s->next != '[') {
        vdm_error why;
        struct stream_reader at = *s;
        at.err = &why;
        reject(&at, "an array");
        return vdm_fail(s->err, "%.700s, in %s", why.text, k->names[name]);
    }
    advance(s);
    skip_space(s);
    if (s->next == ']') {
        advance(s);
        return 0;
    }
    for (int64_t i = 0; more; i++)
        if (walk_value(s, true) || hand_over(s, k, name, i) || between(s, ']', &more)) return -1;
    return 0;
}

static int walk_member(struct stream_reader *s, const struct json_stream *k, bool *seen)
{
    int name = 0;
    if (s->next != '"') return reject(s, "a key in quotes");
    s->size = 0;
    if (walk_string(s, true)) return -1;
    while (name < k->n &&
           (strlen(k->names[name]) + 2 != s->size || memcmp(s->text + 1, k->names[name], s->size - 2) != 0))
        name++;
    skip_space(s);
    if (s->next != ':') return reject(s, "':' after a key");
    advance(s);
    skip_space(s);
    if (name == k->n) return walk_value(s, false);
    if (seen[name]) return vdm_fail(s->err, "%s: JSON: the key '%s' appears twice", s->path, k->names[name]);
    seen[name] = true;
    return walk_array(s, k, name);
}

/* The byte order mark that editors write before a document. */
static int skip_mark(struct stream_reader *s)
{
    static const int mark[] = {0xef, 0xbb, 0xbf};
    for (int i = 0; i < 3 && (i || s->next == mark[0]); i++) {
        if (s->next != mark[i]) return reject(s, "a byte order mark");
        advance(s);
    }
    return 0;
}

static int walk_document(struct stream_reader *s, const struct json_stream *k)
{
    bool more, seen[MAX_STREAM_NAMES] = {0};
    advance(s);
    if (skip_mark(s)) return -1;
    skip_space(s);
    if (s->next != '{') return reject(s, "'{'");
    advance(s);
    skip_space(s);
    more = s->next != '}';
    if (!more) advance(s);
    while (more)
        if (walk_member(s, k, seen) || between(s, '}', &more)) return -1;
    skip_space(s);
    if (s->next != EOF || ferror(s->f)) return reject(s, "nothing after the document");
    for (int i = 0; i < k->n; i++)
        if (!seen[i])
            return vdm_fail(s->err, "%s: expected an array \"%s\", found none", s->path, k->names[i]);
    return 0;
}

int json_stream_read(const char *path, const struct json_stream *k, vdm_error *err)
{
    struct stat st;
    struct stream_reader s = {.path = path, .err = err};
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        return vdm_fail(err, "%s: expected a file, found something else", path);
    s.f = fopen(path, "rb");
    if (!s.f) return vdm_fail(err, "%s: %s", path, strerror(errno));
    int status = walk_document(&s, k);
    vdm_free(s.text);
    fclose(s.f);
    return status;
}
