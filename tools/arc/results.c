/* Results of ARC-AGI tasks in files: JSON, a line a task.
 *
 *   {"task": "training/0a1b2c3d", "of": 400, "run": "...", "configuration": "0123456789abcdef",
 *    "task_hash": "0123456789abcdef", "attempts": 2, "pairs": 3, "cell": 11, "canvas": "400x400", "palette": "arc",
 *    "tests": [{"input": "070/777", "truth": "777/070", "answers": ["777/070", "777/777"]}], "seconds": 51.2}
 *   {"task": "training/0badbadb", "of": 400, "run": "...", "configuration": "0123456789abcdef",
 *    "task_hash": "0123456789abcdef", "error": "...", "failed_tests": 1, "known_tests": 1,
 *    "seconds": 0.1}
 *
 * Lines of earlier versions have no hashes, no failed_tests and no known_tests (tests whose right answers are known). A
 * task that can't be read has only the hash of the configuration.
 * Grids are their rows with / between them; whether an answer is exact is computed from them. The same run gives the
 * same bytes except for the seconds, which come last. A task that was resumed has none: those before are not known. */
#include "tools/arc/results.h"
#include "files/fields.h"
#include "tools/messages.h"
#include "tools/run/file_checks.h"

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

bool arc_recorded(const arc_result *r)
{
    return !r->error || (r->failed_tests > 0 && r->failed_known >= 0);
}

bool arc_known(const arc_result *r)
{
    if (r->error) return !arc_recorded(r) || r->failed_known == r->failed_tests;
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

const char *rule_of(const arc_result *r, const char **explanation)
{
    static const char *const rules[][2] = {
        {"oracle",
         "an answer has the size of the stored answer, which also decides the size of the cells on the canvas; "
         "someone who solves the task does not know it"},
        {"same", "an answer has the size of the input"},
        {"infer",
         "the size of an answer is read from the generated picture; without borders and on black (--outside) "
         "a black row or column at the edge does not count as part of the grid"}};
    const char *text = r->run ? strstr(r->run, "--size-rule ") : NULL;
    if (!text && r->run) text = strstr(r->run, "; size rule "); /* of earlier versions, as many characters */
    for (int i = 0; text && i < 3; i++)
        if (strncmp(text + 12, rules[i][0], strlen(rules[i][0])) == 0) {
            *explanation = rules[i][1];
            return rules[i][0];
        }
    *explanation = "not known";
    return "unknown";
}

void result_text(const arc_result *r, char *text, size_t size)
{
    int known = 0, n = 0;
    for (int i = 0; i < r->n_tests; i++) known += r->tests[i].truth.rows > 0;
    if (!known) {
        snprintf(text, size, "%d test%s answered, but the right answers are not known", r->n_tests,
                 plural(r->n_tests));
        return;
    }
    for (int k = 1; k <= r->attempts && n >= 0 && (size_t)n < size; k++) {
        int exact = 0;
        for (int i = 0; i < r->n_tests; i++) exact += arc_exact(&r->tests[i], k);
        if (k == 1)
            n = snprintf(text, size, "%d of %d test%s exact with 1 attempt", exact, known, plural(known));
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
    fprintf(f, ", \"%s\": ", key);
    vdm_json_put_text(f, text);
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
    fputs(", \"tests\": [", f);
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
    fputc(']', f);
}

int result_write(const arc_result *r, char **line, size_t *size, vdm_error *err)
{
    FILE *f = open_memstream(line, size);
    if (!f) return vdm_fail(err, "no memory for a line of results");
    fputs("{\"task\": ", f);
    vdm_json_put_text(f, r->task);
    fprintf(f, ", \"of\": %d", r->of);
    write_text(f, "run", r->run);
    if (*r->configuration) write_text(f, "configuration", r->configuration);
    if (*r->task_hash) write_text(f, "task_hash", r->task_hash);
    if (r->error) {
        write_text(f, "error", r->error);
        if (r->failed_tests) fprintf(f, ", \"failed_tests\": %d", r->failed_tests);
        if (arc_recorded(r)) fprintf(f, ", \"known_tests\": %d", r->failed_known);
    } else {
        fprintf(f,
                ", \"attempts\": %d, \"pairs\": %d, \"cell\": %d, \"canvas\": \"%dx%d\", \"palette\": \"%s\"",
                r->attempts, r->pairs, r->cell, r->height, r->width,
                r->palette == VDM_PALETTE_VIVID ? "vivid" : "arc");
        write_tests(f, r);
    }
    if (isfinite(r->seconds)) fprintf(f, ", \"seconds\": %.1f", r->seconds);
    fputs("}\n", f);
    return vdm_memory_close(f, line, size) ? vdm_fail(err, "no memory for a line of results") : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Reading */

static const char GRID[] = "rows of digits, separated by /";

static void read_grid(vdm_fields *f, const char *key, const vdm_json_node *v, vdm_grid *g)
{
    const char *c = v && v->kind == VDM_JSON_STRING ? v->text : NULL;
    *g = (vdm_grid){0};
    if (!c) vdm_field_reject(f, key, GRID);
    for (; c && *c; c += *c == '/') {
        int n = (int)strspn(c, "0123456789");
        if (n < 1 || n > VDM_MAX_GRID || g->rows == VDM_MAX_GRID || (g->rows && n != g->cols) ||
            (c[n] && c[n] != '/') || (c[n] == '/' && !c[n + 1])) {
            vdm_field_reject(f, key, GRID);
            return;
        }
        g->cols = n;
        for (int i = 0; i < n; i++) g->cells[g->rows * n + i] = (uint8_t)(c[i] - '0');
        g->rows++;
        c += n;
    }
}

static void read_test(vdm_fields *outer, const vdm_json_node *object, int i, arc_test *t)
{
    vdm_fields f = *outer;
    f.object = object;
    snprintf(f.inside, sizeof f.inside, "tests[%d].", i);
    const vdm_json_node *answers = vdm_field(&f, "answers");
    read_grid(&f, "input", vdm_field(&f, "input"), &t->input);
    read_grid(&f, "truth", vdm_field(&f, "truth"), &t->truth);
    if (!answers || answers->kind != VDM_JSON_ARRAY || answers->children > MAX_ATTEMPTS)
        vdm_field_reject(&f, "answers", "an array of at most 8 grids");
    const vdm_json_node *a = !f.failed && answers->children ? answers + 1 : NULL;
    for (; a; a = vdm_json_next(f.json, a)) read_grid(&f, "answers", a, &t->answers[t->n++]);
    outer->failed = f.failed;
}

static void read_tests(vdm_fields *f, arc_result *r)
{
    const vdm_json_node *list = vdm_field(f, "tests");
    if (!list || list->kind != VDM_JSON_ARRAY || !list->children || list->children > VDM_MAX_ARC_PAIRS)
        vdm_field_reject(f, "tests", "an array of tests");
    if (f->failed) return;
    r->tests = vdm_alloc((size_t)list->children, sizeof *r->tests, "results", f->err);
    f->failed = !r->tests;
    for (const vdm_json_node *v = list + 1; v && !f->failed; v = vdm_json_next(f->json, v), r->n_tests++)
        read_test(f, v, r->n_tests, &r->tests[r->n_tests]);
}

/* "HxW", with nothing but digits */
static bool read_canvas(const char *text, int *height, int *width)
{
    int n = 0, m = 0;
    if (strspn(text, "0123456789x") != strlen(text)) return false;
    if (sscanf(text, "%5dx%n%5d%n", height, &n, width, &m) != 2 || !n || text[m]) return false;
    return *height >= 1 && *width >= 1;
}

static void read_hash(vdm_fields *f, const char *key, char hash[HASH_TEXT])
{
    const char *text = vdm_field_text(f, key, "");
    if (*text && (strlen(text) != HASH_TEXT - 1 || strspn(text, "0123456789abcdef") != HASH_TEXT - 1))
        vdm_field_reject(f, key, "16 hexadecimal digits");
    else
        snprintf(hash, HASH_TEXT, "%s", text);
}

static void read_result(vdm_fields *f, arc_result *r)
{
    vdm_field_copy(f, "task", &r->task);
    vdm_field_copy(f, "run", &r->run);
    vdm_field_copy(f, "error", &r->error);
    if (!r->task) vdm_field_reject(f, "task", "a string");
    if (!r->run) vdm_field_reject(f, "run", "a string");
    r->of = vdm_field_int(f, "of", -1, 0, 100000000);
    r->seconds = vdm_field(f, "seconds") ? vdm_field_number(f, "seconds", 0, 0, 1e15) : (double)NAN;
    read_hash(f, "configuration", r->configuration);
    read_hash(f, "task_hash", r->task_hash);
    r->failed_known = -1;
    if (r->error) r->failed_tests = vdm_field_int(f, "failed_tests", 0, 0, VDM_MAX_ARC_PAIRS);
    if (r->error && vdm_field(f, "known_tests"))
        r->failed_known = vdm_field_int(f, "known_tests", 0, 0, r->failed_tests);
    if (r->error || f->failed) return;
    if (strcmp(vdm_field_text(f, "palette", "arc"), "vivid") == 0) r->palette = VDM_PALETTE_VIVID;
    const char *canvas = vdm_field_text(f, "canvas", "");
    if (!read_canvas(canvas, &r->height, &r->width)) vdm_field_reject(f, "canvas", "HxW");
    r->attempts = vdm_field_int(f, "attempts", 0, 1, MAX_ATTEMPTS);
    r->pairs = vdm_field_int(f, "pairs", 0, 1, VDM_MAX_ARC_PAIRS);
    r->cell = vdm_field_int(f, "cell", 0, 1, VDM_MAX_SIDE);
    read_tests(f, r);
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
    vdm_json j;
    vdm_fields f;
    if (grow(all, err) || vdm_json_parse(&j, text, size, where, err)) return -1;
    arc_result *r = &all->all[all->n++];
    *r = (arc_result){0};
    vdm_fields_open(&f, &j, j.nodes, where, err);
    read_result(&f, r);
    vdm_json_free(&j);
    return f.failed ? -1 : 0;
}

/* The last line without "\n": editors take it away. A line that a killed run was writing is not a JSON document. */
static int add_last(arc_results *all, const char *text, size_t size, const char *where, vdm_error *err)
{
    vdm_json j;
    vdm_error why;
    if (vdm_json_parse(&j, text, size, where, &why)) {
        all->rest = size;
        return is_machine_fault(&why) ? vdm_fail(err, "%s", why.text) : 0;
    }
    vdm_json_free(&j);
    all->unended = true;
    return add_line(all, text, size, where, err);
}

int results_read(arc_results *all, const char *path, size_t *complete, vdm_error *err)
{
    char *text, where[600];
    size_t size, at = 0;
    int status = 0;
    all->unended = false;
    all->rest = 0;
    if (vdm_read_file(path, (size_t)1 << 30, &text, &size, err)) return -1;
    for (int line = 1; at < size && !status && !all->rest; line++) {
        const char *end = memchr(text + at, '\n', size - at);
        size_t n = end ? (size_t)(end - text) - at : size - at;
        snprintf(where, sizeof where, "%.500s: line %d", path, line);
        if (n)
            status = end ? add_line(all, text + at, n, where, err) : add_last(all, text + at, n, where, err);
        if (n && !status && !all->rest) all->all[all->n - 1].line = line;
        if (!all->rest) at += n + (end != NULL);
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
