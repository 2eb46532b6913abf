/* The file that ARC Prize's competition accepts: two attempts at each test of each task. */
#include "tools/arc/submission.h"
#include "tools/messages.h"

#include <stdlib.h>
#include <string.h>

bool submission_is(const char *path)
{
    return has_ending(path, ".json");
}

static void write_grid(FILE *f, const char *key, const vdm_grid *g)
{
    fprintf(f, "\"%s\": [", key);
    for (int y = 0; y < g->rows; y++) {
        fputs(y ? ", [" : "[", f);
        for (int x = 0; x < g->cols; x++) fprintf(f, x ? ", %d" : "%d", g->cells[y * g->cols + x]);
        fputc(']', f);
    }
    fputc(']', f);
}

static void write_test(FILE *f, const arc_test *t)
{
    static const vdm_grid none = {.rows = 1, .cols = 1};
    const vdm_grid *first = t->n > 0 ? &t->answers[0] : &none, *second = t->n > 1 ? &t->answers[1] : first;
    fputc('{', f);
    write_grid(f, "attempt_1", first);
    fputs(", ", f);
    write_grid(f, "attempt_2", second);
    fputc('}', f);
}

static const char *id_of(const char *task)
{
    const char *slash = strrchr(task, '/');
    return slash ? slash + 1 : task;
}

static int by_id(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Tasks of two folders may have the same ID, which would be twice in the file. */
static int check_ids(const arc_results *all, vdm_error *err)
{
    const char **ids = vdm_alloc((size_t)all->n, sizeof *ids, "the tasks' IDs", err);
    if (!ids) return -1;
    int status = 0;
    for (int i = 0; i < all->n; i++) ids[i] = id_of(all->all[i].task);
    qsort(ids, (size_t)all->n, sizeof *ids, by_id);
    for (int i = 1; i < all->n && !status; i++)
        if (strcmp(ids[i - 1], ids[i]) == 0)
            status = vdm_fail(
                err, "two tasks have the ID '%s': expected tasks of one collection in a submission", ids[i]);
    vdm_free(ids);
    return status;
}

/* A failed task that could be read, or one of an earlier version */
static bool is_readable(const arc_result *r)
{
    return !r->error || !*r->configuration || *r->task_hash;
}

/* A failed task has as many entries as it has tests, which lines of earlier versions don't record. */
static int check_failed(const arc_results *all, vdm_error *err)
{
    for (int i = 0; i < all->n; i++)
        if (all->all[i].error && !*all->all[i].configuration && !all->all[i].failed_tests)
            return vdm_fail(
                err,
                "%.400s: this task failed, and its number of tests is not known: expected it for a "
                "submission; remove its line from the results, and run 'vdm arc' again",
                all->all[i].task);
    return 0;
}

static void write_task(FILE *f, const arc_result *r)
{
    static const arc_test nothing = {0};
    int n = r->error ? r->failed_tests : r->n_tests;
    vdm_json_put_text(f, id_of(r->task));
    fputs(": [", f);
    for (int k = 0; k < n; k++) {
        if (k) fputs(", ", f);
        write_test(f, r->error ? &nothing : &r->tests[k]);
    }
    fputc(']', f);
}

int submission_write(const arc_results *all, const char *path, vdm_error *err)
{
    vdm_file f;
    int written = 0;
    if (check_ids(all, err) || check_failed(all, err)) return -1;
    if (vdm_file_open(&f, path, err)) return -1;
    fputc('{', f.stream);
    for (int i = 0; i < all->n; i++) {
        if (!is_readable(&all->all[i])) {
            fprintf(stderr, "%s is left out of the submission: %s\n", clean(all->all[i].task),
                    clean(all->all[i].error));
            continue;
        }
        if (written++) fputs(",\n ", f.stream);
        write_task(f.stream, &all->all[i]);
    }
    fputs("}\n", f.stream);
    return vdm_file_commit(&f, err);
}

void submission_describe(const arc_results *all, const char *path)
{
    int attempts = 0, repeated = 0, failed = 0;
    for (int i = 0; i < all->n; i++) {
        const arc_result *r = &all->all[i];
        if (r->error && is_readable(r)) failed += r->failed_tests;
        if (!r->error && r->attempts > attempts) attempts = r->attempts;
        for (int k = 0; k < r->n_tests; k++) repeated += r->tests[k].n < 2;
    }
    if (attempts == 1) {
        printf(
            "%s has one attempt at each test, that of the results (--attempts 1): attempt_2 repeats it at %d test%s",
            clean(path), repeated, plural(repeated));
    } else {
        printf("%s has two attempts at each test", clean(path));
        if (attempts > 2) printf(", the first of %d", attempts);
        if (repeated)
            printf("; at %d test%s the answers are equal, and attempt_2 repeats attempt_1", repeated,
                   plural(repeated));
    }
    if (failed) printf("; at %d test%s of failed tasks both are a cell of 0", failed, plural(failed));
    printf("\n");
}
