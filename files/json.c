/* JSON (RFC 8259), strictly: text [size] -> nodes [count] in document order.
 *
 *   {"a": [1, 2], "b": "x"}   ->   0 object (2 children)   1 array "a" (2 children, next 4)
 *                                  2 number (next 3)   3 number   4 string "b"
 *
 * A loop reads the text once, without recursion: open containers are on a stack of VDM_MAX_JSON_DEPTH levels. There are
 * two allocations: the nodes, counted in the text beforehand, and the strings, which are never longer than the text.
 *
 * Traps
 *   RFC 8259 leaves duplicate keys and huge numbers undefined, so that two readers may understand a file differently.
 *   Both are rejected.
 *   strtod expects a decimal comma in some locales: it gets digits and an exponent, never a point. printf writes one:
 *   whatever is no part of a number becomes a point. */
#include "vdm_files.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    MAX_NODES = 1 << 24, /* 16 for each of VDM_MAX_TENSORS: an entry of a safetensors header has 14 */
    MAX_NUMBER = 100     /* characters: a double needs 24 */
};

typedef struct parser {
    const char *path, *begin, *at, *end;
    char *out; /* place of the next string */
    vdm_json *json;
    int depth;
    int64_t open[VDM_MAX_JSON_DEPTH],
        last[VDM_MAX_JSON_DEPTH]; /* containers, and their last child so far, or -1 */
    vdm_error *err;
} parser;

/* "path: JSON, line 3, column 7: expected a value, found 'x'" */
static int reject_at(const parser *p, const char *at, const char *expected)
{
    size_t line = 1, column = 1;
    for (const char *c = p->begin; c < at; c++) {
        column++;
        if (*c == '\n') {
            line++;
            column = 1;
        }
    }
    char found[24] = "the end";
    if (at < p->end) {
        unsigned char c = (unsigned char)*at;
        snprintf(found, sizeof found, c > 0x20 && c < 0x7f ? "'%c'" : "byte 0x%02x", c);
    }
    return vdm_fail(p->err, "%s: JSON, line %zu, column %zu: expected %s, found %s", p->path, line, column,
                    expected, found);
}

static int reject(const parser *p, const char *expected)
{
    return reject_at(p, p->at, expected);
}

/* The next character; 0 at the end (a NUL in the text is never legal either). */
static char peek(const parser *p)
{
    return p->at < p->end ? *p->at : 0;
}

static char peek_past_space(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\r' || *p->at == '\t')) p->at++;
    return peek(p);
}

/* ------------------------------------------------------------------------------------------------
 * Strings */

static void put_utf8(parser *p, uint32_t code)
{
    if (code < 0x80) {
        *p->out++ = (char)code;
        return;
    }
    int rest = code < 0x800 ? 1 : code < 0x10000 ? 2 : 3;
    uint32_t mark = rest == 1 ? 0xc0 : rest == 2 ? 0xe0 : 0xf0;
    *p->out++ = (char)(mark | code >> (6 * rest));
    while (rest-- > 0) *p->out++ = (char)(0x80 | ((code >> (6 * rest)) & 0x3f));
}

/* The four digits after \u */
static int read_hex4(parser *p, uint32_t *code)
{
    *code = 0;
    for (int i = 0; i < 4; i++, p->at++) {
        char c = peek(p);
        uint32_t digit;
        if (c >= '0' && c <= '9')
            digit = (uint32_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            digit = (uint32_t)(c - 'a' + 10);
        else if (c >= 'A' && c <= 'F')
            digit = (uint32_t)(c - 'A' + 10);
        else
            return reject(p, "four hexadecimal digits after \\u");
        *code = *code << 4 | digit;
    }
    return 0;
}

/* After \u: one code point, which beyond U+FFFF comes as two escapes (a surrogate pair). */
static int read_unicode(parser *p)
{
    const char *start = p->at;
    uint32_t code, low;
    if (read_hex4(p, &code)) return -1;
    if (code == 0) return reject_at(p, start, "no NUL in a string");
    if (code >= 0xdc00 && code < 0xe000) return reject_at(p, start, "a surrogate pair");
    if (code >= 0xd800 && code < 0xdc00) {
        if (p->end - p->at < 2 || p->at[0] != '\\' || p->at[1] != 'u') return reject(p, "a surrogate pair");
        p->at += 2;
        start = p->at;
        if (read_hex4(p, &low)) return -1;
        if (low < 0xdc00 || low > 0xdfff) return reject_at(p, start, "a surrogate pair");
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    put_utf8(p, code);
    return 0;
}

static int read_escape(parser *p)
{
    static const char names[] = "\"\\/bfnrt", codes[] = "\"\\/\b\f\n\r\t";
    p->at++; /* the backslash */
    char c = peek(p);
    const char *known = c ? strchr(names, c) : NULL;
    if (c == 'u') {
        p->at++;
        return read_unicode(p);
    }
    if (!known) return reject(p, "one of \" \\ / b f n r t u after a backslash");
    *p->out++ = codes[known - names];
    p->at++;
    return 0;
}

static int read_string(parser *p, const char **text)
{
    if (peek(p) != '"') return reject(p, "a string");
    *text = p->out;
    p->at++;
    for (;;) {
        if (p->at == p->end) return reject(p, "the end of a string");
        unsigned char c = (unsigned char)*p->at;
        if (c == '"') break;
        if (c < 0x20) return reject(p, "no control character in a string");
        if (c == '\\') {
            if (read_escape(p)) return -1;
            continue;
        }
        size_t n = (size_t)vdm_utf8_length(p->at, (size_t)(p->end - p->at));
        if (n == 0) return reject(p, "UTF-8");
        memcpy(p->out, p->at, n);
        p->out += n;
        p->at += n;
    }
    p->at++;
    *p->out++ = 0;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Numbers and words */

/* digits [n] without their point, times 10^exponent: then strtod does not depend on the locale. */
static double to_double(const char *digits, long exponent)
{
    char text[MAX_NUMBER + 32];
    snprintf(text, sizeof text, "%se%ld", digits, exponent);
    return strtod(text, NULL);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Copies digits to *to; returns how many. */
static long take_digits(parser *p, char **to)
{
    long n = 0;
    for (; is_digit(peek(p)); n++) *(*to)++ = *p->at++;
    return n;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static int read_number(parser *p, vdm_json_node *node)
{
    const char *start = p->at, *stop = start;
    while (stop < p->end && (is_digit(*stop) || strchr("+-.eE", *stop)) && *stop) stop++;
    if (stop - start > MAX_NUMBER) return reject(p, "a number of at most 100 characters");
    char digits[MAX_NUMBER + 1], *d = digits;
    long exponent = 0, fraction = 0;
    if (peek(p) == '-') *d++ = *p->at++;
    if (!is_digit(peek(p))) return reject(p, "a digit");
    if (peek(p) == '0')
        *d++ = *p->at++;
    else
        take_digits(p, &d);
    if (is_digit(peek(p))) return reject(p, "no digit after a leading 0");
    if (peek(p) == '.') {
        p->at++;
        fraction = take_digits(p, &d);
        if (fraction == 0) return reject(p, "a digit after the point");
    }
    if (peek(p) == 'e' || peek(p) == 'E') {
        p->at++;
        bool negative = peek(p) == '-';
        if (negative || peek(p) == '+') p->at++;
        if (!is_digit(peek(p))) return reject(p, "a digit in the exponent");
        for (; is_digit(peek(p)); p->at++)
            if (exponent < 100000) exponent = 10 * exponent + (*p->at - '0');
        if (negative) exponent = -exponent;
    }
    *d = 0;
    node->kind = VDM_JSON_NUMBER;
    node->number = to_double(digits, exponent - fraction);
    if (!isfinite(node->number)) return reject_at(p, start, "a number that a double can hold");
    node->text = p->out;
    memcpy(p->out, start, (size_t)(p->at - start));
    p->out += p->at - start;
    *p->out++ = 0;
    return 0;
}

static int read_word(parser *p, vdm_json_node *node)
{
    static const struct {
        const char *word;
        size_t length;
        vdm_json_kind kind;
    } words[] = {{"null", 4, VDM_JSON_NULL}, {"false", 5, VDM_JSON_FALSE}, {"true", 4, VDM_JSON_TRUE}};
    for (int i = 0; i < 3; i++) {
        if ((size_t)(p->end - p->at) < words[i].length) continue;
        if (memcmp(p->at, words[i].word, words[i].length) != 0) continue;
        node->kind = words[i].kind;
        p->at += words[i].length;
        return 0;
    }
    return reject(p, "a value");
}

/* ------------------------------------------------------------------------------------------------
 * The document */

/* Appends a node to the innermost open container. */
static vdm_json_node *add_node(parser *p, const char *key)
{
    int64_t index = p->json->count++;
    vdm_json_node *nodes = p->json->nodes;
    nodes[index] = (vdm_json_node){.next = -1, .key = key};
    if (p->depth > 0) {
        int64_t *last = &p->last[p->depth - 1];
        nodes[p->open[p->depth - 1]].children++;
        if (*last >= 0) nodes[*last].next = index;
        *last = index;
    }
    return &nodes[index];
}

static bool in_object(const parser *p)
{
    return p->depth > 0 && p->json->nodes[p->open[p->depth - 1]].kind == VDM_JSON_OBJECT;
}

/* "key": before a member of an object; nothing before an item of an array. */
static int read_key(parser *p, const char **key)
{
    *key = NULL;
    if (!in_object(p)) return 0;
    if (peek_past_space(p) != '"') return reject(p, "a key in quotes");
    if (read_string(p, key)) return -1;
    if (peek_past_space(p) != ':') return reject(p, "':' after a key");
    p->at++;
    return 0;
}

/* One value; of a container only its bracket. */
static int read_value(parser *p, const char *key)
{
    char c = peek_past_space(p);
    vdm_json_node *node = add_node(p, key);
    if (c == '{' || c == '[') {
        if (p->depth == VDM_MAX_JSON_DEPTH) return reject(p, "at most 64 levels of nesting");
        node->kind = c == '{' ? VDM_JSON_OBJECT : VDM_JSON_ARRAY;
        p->open[p->depth] = node - p->json->nodes;
        p->last[p->depth++] = -1;
        p->at++;
        return 0;
    }
    if (c == '"') {
        node->kind = VDM_JSON_STRING;
        return read_string(p, &node->text);
    }
    if (c == '-' || is_digit(c)) return read_number(p, node);
    return read_word(p, node);
}

/* Commas and closing brackets. *more: another value follows, else the document has ended. */
static int read_between(parser *p, bool *more)
{
    *more = true;
    while (p->depth > 0) {
        char close = in_object(p) ? '}' : ']', c = peek_past_space(p);
        bool first = p->last[p->depth - 1] < 0;
        if (c == close) {
            p->at++;
            p->depth--;
        } else if (first) {
            return 0;
        } else if (c == ',') {
            p->at++;
            return 0;
        } else {
            return reject(p, close == '}' ? "',' or '}'" : "',' or ']'");
        }
    }
    *more = false;
    return 0;
}

static int read_document(parser *p)
{
    for (bool more = true; more;) {
        const char *key;
        if (read_key(p, &key) || read_value(p, key) || read_between(p, &more)) return -1;
    }
    peek_past_space(p);
    return p->at == p->end ? 0 : reject(p, "nothing after the document");
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Sorts the keys of every object and compares neighbours: n log n, since comparing all pairs could take hours. */
static int reject_duplicates(const vdm_json *j, const char *path, vdm_error *err)
{
    int64_t max = 0;
    for (int64_t i = 0; i < j->count; i++)
        if (j->nodes[i].kind == VDM_JSON_OBJECT && j->nodes[i].children > max) max = j->nodes[i].children;
    const char **keys = vdm_alloc((size_t)max, sizeof *keys, path, err);
    if (!keys) return -1;
    int status = 0;
    for (int64_t i = 0; i < j->count && status == 0; i++) {
        if (j->nodes[i].kind != VDM_JSON_OBJECT || j->nodes[i].children < 2) continue;
        size_t n = 0;
        for (int64_t child = i + 1; child >= 0; child = j->nodes[child].next) keys[n++] = j->nodes[child].key;
        qsort(keys, n, sizeof *keys, compare_keys);
        for (size_t k = 1; k < n && status == 0; k++)
            if (strcmp(keys[k - 1], keys[k]) == 0)
                status = vdm_fail(err, "%s: JSON: the key '%s' appears twice in one object", path, keys[k]);
    }
    vdm_free(keys);
    return status;
}

/* Every node but the root follows a bracket or a comma: an upper bound, since strings may contain some too. */
static size_t count_nodes(const char *text, size_t size)
{
    size_t n = 1;
    for (size_t i = 0; i < size; i++) n += text[i] == ',' || text[i] == '[' || text[i] == '{';
    return n;
}

int vdm_json_parse(vdm_json *j, const char *text, size_t size, const char *path, vdm_error *err)
{
    *j = (vdm_json){0};
    size_t nodes = count_nodes(text, size);
    if (nodes > MAX_NODES) return vdm_fail(err, "%s: JSON: more than %d values", path, MAX_NODES);
    j->nodes = vdm_alloc(nodes, sizeof *j->nodes, path, err);
    /* a string loses its quotes and gains a NUL; a number gains one, and only the last character of a
     * document may be a number's */
    j->strings = j->nodes ? vdm_alloc(size + 1, 1, path, err) : NULL;
    parser p = {.path = path,
                .begin = text,
                .at = text,
                .end = text + size,
                .out = j->strings,
                .json = j,
                .err = err};
    if (j->strings && read_document(&p) == 0 && reject_duplicates(j, path, err) == 0) return 0;
    vdm_json_free(j);
    return -1;
}

int vdm_json_read(vdm_json *j, const char *path, vdm_error *err)
{
    char *text;
    size_t size;
    *j = (vdm_json){0};
    if (vdm_read_file(path, VDM_MAX_JSON, &text, &size, err)) return -1;
    size_t mark = size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0 ? 3 : 0; /* U+FEFF, the byte order mark */
    int status = vdm_json_parse(j, text + mark, size - mark, path, err);
    vdm_free(text);
    return status;
}

void vdm_json_free(vdm_json *j)
{
    vdm_free(j->nodes);
    vdm_free(j->strings);
    *j = (vdm_json){0};
}

const vdm_json_node *vdm_json_next(const vdm_json *j, const vdm_json_node *node)
{
    return node->next < 0 ? NULL : &j->nodes[node->next];
}

const vdm_json_node *vdm_json_get(const vdm_json *j, const vdm_json_node *object, const char *key)
{
    if (!object || object->kind != VDM_JSON_OBJECT || object->children == 0) return NULL;
    for (const vdm_json_node *n = object + 1; n; n = vdm_json_next(j, n))
        if (strcmp(n->key, key) == 0) return n;
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

void vdm_json_number_text(char to[VDM_JSON_NUMBER_TEXT], double x)
{
    char text[VDM_JSON_NUMBER_TEXT], *at = to;
    snprintf(text, sizeof text, "%.17g", x);
    for (const char *c = text; *c; c++) {
        if (is_digit(*c) || strchr("+-einfa", *c)) /* inf, nan: not JSON, the caller's mistake */
            *at++ = *c;
        else if (at == to || at[-1] != '.') /* a decimal sign of several bytes becomes one point */
            *at++ = '.';
    }
    *at = '\0';
}

bool vdm_json_number(double *x, const char *text)
{
    vdm_json j;
    if (vdm_json_parse(&j, text, strlen(text), "", NULL)) return false;
    bool number = j.nodes->kind == VDM_JSON_NUMBER;
    if (number) *x = j.nodes->number;
    vdm_json_free(&j);
    return number;
}

int vdm_json_escape(char to[VDM_JSON_ESCAPE], char byte)
{
    if ((unsigned char)byte < 0x20)
        return snprintf(to, VDM_JSON_ESCAPE, "\\u%04x", (unsigned)(unsigned char)byte);
    return snprintf(to, VDM_JSON_ESCAPE, byte == '"' || byte == '\\' ? "\\%c" : "%c", byte);
}

void vdm_json_put_text(FILE *to, const char *text)
{
    char escaped[VDM_JSON_ESCAPE];
    fputc('"', to);
    for (; *text; text++) {
        vdm_json_escape(escaped, *text);
        fputs(escaped, to);
    }
    fputc('"', to);
}
