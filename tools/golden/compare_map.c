/* vdm compare --map: a file of lines "NAME OTHER", the reference's name of a tensor and the other file's. In NAME a *
 * stands for one part of a name (no dot); the same text replaces the * of OTHER, in order. An exact line is preferred
 * to one with *; of two lines with *, the first in the file.
 *
 *   transformer_blocks.*.attn1.to_q    layers.*.attention.query      # and a comment
 *
 * Trap: a line that is not two words is rejected: a word taken from the next line would compare the wrong tensors. */
#include "tools/golden/compare.h"
#include "tools/messages.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_MAP = 16 << 20, MAX_STARS = 8, MAX_STAR_LINES = 1000 };

static int count_stars(const char *name)
{
    int n = 0;
    for (; *name; name++) n += *name == '*';
    return n;
}

static int check_word(const char *word, const char *path, int64_t line, vdm_error *err)
{
    if (strlen(word) > VDM_MAX_NAME)
        return vdm_fail(err, "%s: line %lld: a name of %zu bytes, at most %d are allowed", path,
                        (long long)line, strlen(word), VDM_MAX_NAME);
    for (const char *c = word; *c;) {
        int length = vdm_character(c);
        if (!length)
            return vdm_fail(err, "%s: line %lld: expected two names, found bytes that are not text", path,
                            (long long)line);
        c += length;
    }
    return 0;
}

/* Cuts a line [text, end) into its two words: 1; 0 if it is empty or a comment. */
static int read_line(struct map_line *to, char *text, const char *path, int64_t number, vdm_error *err)
{
    char *words[3] = {NULL};
    int n = 0;
    for (char *c = text; *c;) {
        c += strspn(c, " \t\r");
        if (!*c || *c == '#') break;
        if (n < 3) words[n] = c;
        n++;
        c += strcspn(c, " \t\r");
        if (*c) *c++ = '\0';
    }
    if (n == 0) return 0;
    if (n != 2)
        return vdm_fail(
            err,
            "%s: line %lld: expected two names, 'REFERENCE OTHER', found %d word%s beginning with "
            "'%.60s'",
            path, (long long)number, n, plural(n), words[0]);
    *to = (struct map_line){words[0], words[1]};
    if (check_word(to->from, path, number, err) || check_word(to->to, path, number, err)) return -1;
    int left = count_stars(to->from), right = count_stars(to->to);
    if (left <= MAX_STARS && right <= left) return 1;
    return vdm_fail(
        err,
        "%s: line %lld: found %d * in '%.60s' and %d in '%.60s', expected at most %d, and no more "
        "in the second name than in the first",
        path, (long long)number, left, to->from, right, to->to, MAX_STARS);
}

static int compare_from(const void *a, const void *b)
{
    return strcmp(((const struct map_line *)a)->from, ((const struct map_line *)b)->from);
}

/* Plain lines first, sorted; lines with * after them, in their order. */
static int sort_lines(name_map *m, const char *path, vdm_error *err)
{
    struct map_line *sorted = vdm_alloc((size_t)m->count, sizeof *sorted, path, err);
    if (!sorted) return -1;
    for (int64_t i = 0; i < m->count; i++)
        if (!strchr(m->lines[i].from, '*')) sorted[m->n_plain++] = m->lines[i];
    for (int64_t i = 0, at = m->n_plain; i < m->count; i++)
        if (strchr(m->lines[i].from, '*')) sorted[at++] = m->lines[i];
    vdm_free(m->lines);
    m->lines = sorted;
    qsort(m->lines, (size_t)m->n_plain, sizeof *m->lines, compare_from);
    for (int64_t i = 1; i < m->n_plain; i++)
        if (strcmp(m->lines[i - 1].from, m->lines[i].from) == 0)
            return vdm_fail(err, "%s: '%s' has two lines", path, m->lines[i].from);
    if (m->count - m->n_plain > MAX_STAR_LINES)
        return vdm_fail(err, "%s: found %lld lines with *, at most %d are allowed", path,
                        (long long)(m->count - m->n_plain), MAX_STAR_LINES);
    return 0;
}

int map_read(name_map *m, const char *path, vdm_error *err)
{
    size_t size;
    int64_t lines = 1, number = 0;
    *m = (name_map){0};
    if (vdm_read_file(path, MAX_MAP, &m->text, &size, err)) return -1;
    if (memchr(m->text, '\0', size))
        return vdm_fail(err, "%s: a NUL byte: expected lines of two names", path);
    for (size_t i = 0; i < size; i++) lines += m->text[i] == '\n';
    m->lines = vdm_alloc((size_t)lines, sizeof *m->lines, path, err);
    if (!m->lines) return -1;
    for (char *line = m->text, *next; line; line = next) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        int found = read_line(&m->lines[m->count], line, path, ++number, err);
        if (found < 0) return -1;
        m->count += found;
    }
    return sort_lines(m, path, err);
}

void map_free(name_map *m)
{
    vdm_free(m->lines);
    vdm_free(m->text);
    *m = (name_map){0};
}

/* A line with *: writes the other name, and returns true where `name` fits. */
static bool translate(const struct map_line *line, const char *name, char to[MAX_MAPPED])
{
    const char *stars[MAX_STARS];
    int lengths[MAX_STARS], n = 0, used = 0;
    for (const char *p = line->from; *p; p++) {
        if (*p != '*') {
            if (*p != *name++) return false;
            continue;
        }
        size_t length = strcspn(name, ".");
        if (!length) return false;
        stars[n] = name;
        lengths[n++] = (int)length;
        name += length;
    }
    if (*name) return false;
    size_t at = 0;
    for (const char *p = line->to; *p && at + 1 < MAX_MAPPED; p++) {
        if (*p == '*') {
            at += (size_t)snprintf(to + at, MAX_MAPPED - at, "%.*s", lengths[used], stars[used]);
            used++;
        } else {
            to[at++] = *p;
        }
    }
    if (at >= MAX_MAPPED) at = MAX_MAPPED - 1;
    to[at] = '\0';
    return true;
}

const char *map_name(const name_map *m, const char *name, char to[MAX_MAPPED])
{
    struct map_line wanted = {.from = name};
    const struct map_line *plain =
        m->n_plain ? bsearch(&wanted, m->lines, (size_t)m->n_plain, sizeof wanted, compare_from) : NULL;
    if (plain) return plain->to;
    for (int64_t i = m->n_plain; i < m->count; i++)
        if (translate(&m->lines[i], name, to)) return to;
    return name;
}

static bool fits_any(const struct map_line *line, const vdm_safetensors *ref)
{
    char to[MAX_MAPPED];
    if (!strchr(line->from, '*')) return vdm_safetensors_find(ref, line->from) != NULL;
    for (int64_t i = 0; i < ref->count; i++)
        if (translate(line, ref->tensors[i].name, to)) return true;
    return false;
}

int64_t map_unused(const name_map *m, const vdm_safetensors *ref, const char **first)
{
    int64_t n = 0;
    for (int64_t i = 0; i < m->count; i++) {
        if (fits_any(&m->lines[i], ref)) continue;
        if (!n++) *first = m->lines[i].from;
    }
    return n;
}
