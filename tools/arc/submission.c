/* The file that ARC Prize's competition accepts: two attempts at each test of each task. */
#include "tools/arc/submission.h"

#include <string.h>

bool submission_is(const char *path)
{
    size_t n = strlen(path);
    return n > 5 && strcmp(path + n - 5, ".json") == 0;
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

/* The task's ID as a JSON string. */
static void write_id(FILE *f, const char *task)
{
    const char *slash = strrchr(task, '/');
    fputc('"', f);
    for (const char *c = slash ? slash + 1 : task; *c; c++) {
        if ((unsigned char)*c < 0x20)
            fprintf(f, "\\u%04x", (unsigned)*c);
        else
            fprintf(f, *c == '"' || *c == '\\' ? "\\%c" : "%c", *c);
    }
    fputs("\": [", f);
}

int submission_write(const arc_results *all, const char *path, vdm_error *err)
{
    static const arc_test nothing = {0};
    vdm_file f;
    if (vdm_file_open(&f, path, err)) return -1;
    fputc('{', f.stream);
    for (int i = 0; i < all->n; i++) {
        const arc_result *r = &all->all[i];
        fputs(i ? ",\n " : "", f.stream);
        write_id(f.stream, r->task);
        for (int k = 0; k < r->n_tests; k++) {
            if (k) fputs(", ", f.stream);
            write_test(f.stream, &r->tests[k]);
        }
        if (!r->n_tests) write_test(f.stream, &nothing); /* a task that failed */
        fputc(']', f.stream);
    }
    fputs("}\n", f.stream);
    return vdm_file_commit(&f, err);
}
