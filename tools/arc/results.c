/* Results of ARC-AGI tasks in files: JSON, a line a task.
 *
 *   {"task": "training/0a1b2c3d", "of": 400, "run": "...", "attempts": 2, "pairs": 3, "cell": 11,
 *    "canvas": "400x400", "palette": "arc", "tests": [{"input": "070/777", "truth": "777/070",
 *    "answers": ["777/070", "777/777"]}], "seconds": 51.2}
 *   {"task": "training/0badbadb", "of": 400, "run": "...", "error": "...", "seconds": 0}
 *
 * Grids are their rows with / between; what is exact is worked out from them whenever it is asked for. The
 * same run gives the same bytes but for the seconds, which stand last. */
#include "tools/arc/results.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * What results mean */

int arc_wrong(const vdm_grid *a, const vdm_grid *truth)
{
    int wrong = 0;
    if (a->rows != truth->rows || a->cols != truth->cols) return -1;
    for (int i = 0; i < a->rows * a->cols; i++) wrong += a->cells[i] != truth->cells[i];
    return wrong;
}

bool arc_exact(const arc_test *t, int attempts)
{
    for (int i = 0; i < t->n && i < attempts; i++)
        if (t->truth.rows && vdm_grid_equal(&t->answers[i], &t->truth)) return true;
    return false;
}

bool arc_known(const arc_result *r)
{
    for (int i = 0; i < r->n_tests; i++)
        if (!r->tests[i].truth.rows) return false;
    return true;
}

bool arc_solved(const arc_result *r, int attempts)
{
    for (int i = 0; i < r->n_tests; i++)
        if (!arc_exact(&r->tests[i], attempts)) return false;
    return r->n_tests > 0;
}

const char *rule_of(const arc_result *r, const char **said)
{
    static const char *const rules[][2] = {
        {"oracle",
         "answers have the size of the stored answer, and the cells' size on the canvas takes it into "
         "account: what isn't known to someone who has to answer"},
        {"same", "answers are taken to have the input's size"},
        {"infer",
         "an answer's size is read from the generated picture alone; without borders and on black (--outside) "
         "an outer black row or column is taken for what is around the grid"}};
    const char *text = r->run ? strstr(r->run, "--size-rule ") : NULL;
    if (!text && r->run) text = strstr(r->run, "; size rule "); /* of earlier versions: as long */
    for (int i = 0; text && i < 3; i++)
        if (strncmp(text + 12, rules[i][0], strlen(rules[i][0])) == 0) {
            *said = rules[i][1];
            return rules[i][0];
        }
    *said = "not known";
    return "unknown";
}

void result_say(const arc_result *r, char *text, size_t size)
{
    int known = 0, n = 0;
    for (int i = 0; i < r->n_tests; i++) known += r->tests[i].truth.rows > 0;
    if (!known) {
        snprintf(text, size, "%d test%s answered, no answer is known", r->n_tests,
                 r->n_tests == 1 ? "" : "s");
        return;
    }
    for (int k = 1; k <= r->attempts && n >= 0 && (size_t)n < size; k++) {
        int exact = 0;
        for (int i = 0; i < r->n_tests; i++) exact += arc_exact(&r->tests[i], k);
        if (k == 1)
            n = snprintf(text, size, "%d of %d test%s exact with 1 attempt", exact, known,
                         known == 1 ? "" : "s");
        else
            n += snprintf(text + n, size - (size_t)n, ", %d with %d", exact, k);
    }
}

void result_free(arc_result *r)
{
    vdm_free(r->task);
    vdm_free(r->run);
    vdm_free(r->error);
    vdm_free(r->tests);
    *r = (arc_result){0};
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

static void write_text(FILE *f, const char *key, const char *text)
{
    fprintf(f, "\"%s\": \"", key);
    for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
        if (*c == '"' || *c == '\\')
            fprintf(f, "\\%c", *c);
        else if (*c < 0x20)
            fprintf(f, "\\u%04x", *c);
        else
            fputc(*c, f);
    }
    fputs("\", ", f);
}

static void write_grid(FILE *f, const vdm_grid *g)
{
    fputc('"', f);
    for (int i = 0; i < g->rows * g->cols; i++) {
        if (i && i % g->cols == 0) fputc('/', f);
        fputc('0' + g->cells[i], f);
    }
    fputc('"', f);
}

static void write_tests(FILE *f, const arc_result *r)
{
    fputs("\"tests\": [", f);
    for (int i = 0; i < r->n_tests; i++) {
        const arc_test *t = &r->tests[i];
        fputs(i ? ", {\"input\": " : "{\"input\": ", f);
        write_grid(f, &t->input);
        fputs(", \"truth\": ", f);
        write_grid(f, &t->truth);
        fputs(", \"answers\": [", f);
        for (int k = 0; k < t->n; k++) {
            if (k) fputs(", ", f);
            write_grid(f, &t->answers[k]);
        }
        fputs("]}", f);
    }
    fputs("], ", f);
}

int result_write(const arc_result *r, char **line, size_t *size, vdm_error *err)
{
    FILE *f = open_memstream(line, size);
    if (!f) return vdm_fail(err, "no memory for a line of results");
    fputc('{', f);
    write_text(f, "task", r->task);
    fprintf(f, "\"of\": %d, ", r->of);
    write_text(f, "run", r->run);
    if (r->error) {
        write_text(f, "error", r->error);
    } else {
        fprintf(f,
                "\"attempts\": %d, \"pairs\": %d, \"cell\": %d, \"canvas\": \"%dx%d\", \"palette\": \"%s\", ",
                r->attempts, r->pairs, r->cell, r->height, r->width,
                r->palette == VDM_PALETTE_VIVID ? "vivid" : "arc");
        write_tests(f, r);
    }
    fprintf(f, "\"seconds\": %.1f}\n", r->seconds);
    return fclose(f) ? vdm_fail(err, "no memory for a line of results") : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Reading */

/* A line being read. */
struct line {
    vdm_json j;
    const char *where; /* "FILE: line 3" */
    vdm_error *err;
};

static int refuse(const struct line *l, const char *key, const char *expected)
{
    return vdm_fail(l->err, "%s: %s: expected %s", l->where, key, expected);
}

static int read_text(const struct line *l, const char *key, bool needed, char **to)
{
    const vdm_json_node *v = vdm_json_get(&l->j, l->j.nodes, key);
    if (!v && !needed) return 0;
    if (!v || v->kind != VDM_JSON_STRING) return refuse(l, key, "a string");
    size_t n = strlen(v->text) + 1;
    *to = vdm_alloc(n, 1, "a result", l->err);
    if (*to) memcpy(*to, v->text, n);
    return *to ? 0 : -1;
}

static int read_count(const struct line *l, const char *key, int least, int most, int *to)
{
    const vdm_json_node *v = vdm_json_get(&l->j, l->j.nodes, key);
    char expected[64];
    snprintf(expected, sizeof expected, "a whole number from %d to %d", least, most);
    if (!v || v->kind != VDM_JSON_NUMBER || !(v->number >= least && v->number <= most) ||
        v->number != floor(v->number))
        return refuse(l, key, expected);
    *to = (int)v->number;
    return 0;
}

static int read_grid(const struct line *l, const vdm_json_node *v, vdm_grid *g)
{
    const char *rows = "rows of digits, with / between";
    *g = (vdm_grid){0};
    if (!v || v->kind != VDM_JSON_STRING) return refuse(l, "a grid", rows);
    for (const char *c = v->text; *c; c += *c == '/') {
        int n = (int)strspn(c, "0123456789");
        if (n < 1 || n > VDM_MAX_GRID || g->rows == VDM_MAX_GRID || (g->rows && n != g->cols) ||
            (c[n] && c[n] != '/') || (c[n] == '/' && !c[n + 1]))
            return refuse(l, "a grid", rows);
        g->cols = n;
        for (int i = 0; i < n; i++) g->cells[g->rows * n + i] = (uint8_t)(c[i] - '0');
        g->rows++;
        c += n;
    }
    return 0;
}

static int read_test(const struct line *l, const vdm_json_node *v, arc_test *t)
{
    if (v->kind != VDM_JSON_OBJECT) return refuse(l, "tests", "objects");
    const vdm_json_node *answers = vdm_json_get(&l->j, v, "answers");
    if (read_grid(l, vdm_json_get(&l->j, v, "input"), &t->input) ||
        read_grid(l, vdm_json_get(&l->j, v, "truth"), &t->truth))
        return -1;
    if (!answers || answers->kind != VDM_JSON_ARRAY || answers->children > MAX_ATTEMPTS)
        return refuse(l, "answers", "an array of at most 8 grids");
    for (const vdm_json_node *a = answers->children ? answers + 1 : NULL; a; a = vdm_json_next(&l->j, a))
        if (read_grid(l, a, &t->answers[t->n++])) return -1;
    return 0;
}

static int read_tests(const struct line *l, arc_result *r)
{
    const vdm_json_node *list = vdm_json_get(&l->j, l->j.nodes, "tests");
    if (!list || list->kind != VDM_JSON_ARRAY || !list->children || list->children > VDM_MAX_ARC_PAIRS)
        return refuse(l, "tests", "an array of tests");
    r->tests = vdm_alloc((size_t)list->children, sizeof *r->tests, "results", l->err);
    if (!r->tests) return -1;
    for (const vdm_json_node *v = list + 1; v; v = vdm_json_next(&l->j, v))
        if (read_test(l, v, &r->tests[r->n_tests++])) return -1;
    return 0;
}

/* "HxW", in digits alone */
static bool read_canvas(const char *text, int *height, int *width)
{
    int n = 0, m = 0;
    if (strspn(text, "0123456789x") != strlen(text)) return false;
    if (sscanf(text, "%5dx%n%5d%n", height, &n, width, &m) != 2 || !n || text[m]) return false;
    return *height >= 1 && *width >= 1;
}

static int read_result(const struct line *l, arc_result *r)
{
    const vdm_json_node *palette, *canvas, *seconds;
    if (l->j.nodes->kind != VDM_JSON_OBJECT) return refuse(l, "line", "an object");
    if (read_text(l, "task", true, &r->task) || read_text(l, "run", true, &r->run) ||
        read_text(l, "error", false, &r->error) || read_count(l, "of", 0, 100000000, &r->of))
        return -1;
    seconds = vdm_json_get(&l->j, l->j.nodes, "seconds");
    r->seconds = seconds && seconds->kind == VDM_JSON_NUMBER ? seconds->number : 0;
    if (r->error) return 0;
    palette = vdm_json_get(&l->j, l->j.nodes, "palette");
    canvas = vdm_json_get(&l->j, l->j.nodes, "canvas");
    if (palette && palette->kind == VDM_JSON_STRING && strcmp(palette->text, "vivid") == 0)
        r->palette = VDM_PALETTE_VIVID;
    if (!canvas || canvas->kind != VDM_JSON_STRING || !read_canvas(canvas->text, &r->height, &r->width))
        return refuse(l, "canvas", "HxW");
    if (read_count(l, "attempts", 1, MAX_ATTEMPTS, &r->attempts)) return -1;
    if (read_count(l, "pairs", 1, VDM_MAX_ARC_PAIRS, &r->pairs)) return -1;
    if (read_count(l, "cell", 1, VDM_MAX_SIDE, &r->cell)) return -1;
    return read_tests(l, r);
}

static int grow(arc_results *all, vdm_error *err)
{
    if (all->n < all->capacity) return 0;
    int capacity = all->capacity ? 2 * all->capacity : 64;
    arc_result *larger = vdm_alloc((size_t)capacity, sizeof *larger, "results", err);
    if (!larger) return -1;
    if (all->n) memcpy(larger, all->all, (size_t)all->n * sizeof *larger);
    vdm_free(all->all);
    all->all = larger;
    all->capacity = capacity;
    return 0;
}

static int add_line(arc_results *all, const char *text, size_t size, const char *where, vdm_error *err)
{
    struct line l = {.where = where, .err = err};
    if (grow(all, err) || vdm_json_parse(&l.j, text, size, where, err)) return -1;
    arc_result *r = &all->all[all->n++];
    *r = (arc_result){0};
    int status = read_result(&l, r);
    vdm_json_free(&l.j);
    return status;
}

int results_read(arc_results *all, const char *path, size_t *complete, vdm_error *err)
{
    char *text, where[600];
    size_t size, at = 0;
    int status = 0;
    if (vdm_read_file(path, (size_t)1 << 30, &text, &size, err)) return -1;
    for (int line = 1; !status; line++) {
        const char *end = memchr(text + at, '\n', size - at);
        if (!end) break; /* the rest was being written when the run was killed */
        size_t n = (size_t)(end - text) - at;
        snprintf(where, sizeof where, "%.500s: line %d", path, line);
        status = n ? add_line(all, text + at, n, where, err) : 0;
        at += n + 1;
    }
    if (complete) *complete = at;
    vdm_free(text);
    return status;
}

void results_free(arc_results *all)
{
    for (int i = 0; i < all->n; i++) result_free(&all->all[i]);
    vdm_free(all->all);
    *all = (arc_results){0};
}
