/* Results of ARC-AGI tasks: any file is read, and what was read is written and read again. */
#include "tests/fuzz/script.h"
#include "tools/arc/results.h"

static int results_lines_read;

/* The line of a result gives that result. */
static void results_again(const arc_result *r, const char *path)
{
    char *line = NULL, *twice = NULL;
    size_t size, size_twice, complete;
    arc_results again = {0};
    vdm_error err;
    if (result_write(r, &line, &size, &err)) abort();
    script_bytes(path, line, size);
    if (results_read(&again, path, &complete, &err) || again.n != 1 || complete != size) __builtin_trap();
    if (result_write(&again.all[0], &twice, &size_twice, &err)) abort();
    if (size != size_twice || memcmp(line, twice, size) != 0) __builtin_trap();
    results_free(&again);
    free(line), free(twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[SCRIPT_PATH], text[256];
    const char *sentence;
    size_t complete = 0;
    arc_results all = {0};
    vdm_error err = {""};
    script_bytes(script_path(path, "results"), data, size);
    int status = results_read(&all, path, &complete, &err);
    if ((status == 0) != (err.text[0] == 0) || complete > size) __builtin_trap();
    for (int i = 0; i < all.n && !status; i++) {
        result_text(&all.all[i], text, sizeof text);
        rule_of(&all.all[i], &sentence);
        arc_solved(&all.all[i], 1);
        results_again(&all.all[i], path);
        results_lines_read++;
    }
    results_free(&all);
    script_remove(path);
    return 0;
}
