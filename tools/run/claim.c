/* A folder of outputs belongs to one command: fit, eval and vote all write report.html, eval and vote NAME.ppm, demo has
 * fit's adapter and eval's scores. The page contains the command that wrote it:
 *
 *   DIR/report.html: <pre><code>vdm fit grids -o run</code></pre>  ->  "fit" */
#include "tools/run/claim.h"
#include "tools/run/file_checks.h"

#include <string.h>

/* The command of a page, "" if there is none: of a file of another program. */
static int read_command(char command[static 16], const char *folder, const char *page, vdm_error *err)
{
    static const char before[] = "<pre><code>vdm ";
    static const size_t HEADER = (size_t)1 << 16; /* bytes; the command is in a page's header */
    char *path = vdm_path(folder, page, err), *text = path ? vdm_alloc(HEADER + 1, 1, "a page", err) : NULL;
    int status = text ? 0 : -1;
    FILE *f = text ? fopen(path, "rb") : NULL;
    if (f) text[fread(text, 1, HEADER, f)] = '\0';
    const char *at = f ? strstr(text, before) : NULL;
    size_t n = at ? strspn(at + strlen(before), "abcdefghijklmnopqrstuvwxyz") : 0;
    snprintf(command, 16, "%.*s", (int)n, at ? at + strlen(before) : "");
    if (f) fclose(f);
    vdm_free(path);
    vdm_free(text);
    return status;
}

/* Commands that write more than a page into their folder */
static bool is_run(const char *command)
{
    static const char *const runs[] = {"fit", "eval", "vote", "demo", "arc"};
    for (size_t i = 0; i < sizeof runs / sizeof runs[0]; i++)
        if (strcmp(command, runs[i]) == 0) return true;
    return false;
}

int claim_folder(const char *folder, const char *command, vdm_error *err)
{
    static const char *const pages[] = {"report.html", "demo.html", "arc.html"},
                             state[] = "state.safetensors";
    for (int i = 0; i < 3; i++) {
        char other[16];
        if (read_command(other, folder, pages[i], err)) return -1;
        if (is_run(other) && strcmp(other, command) != 0)
            return vdm_fail(err,
                            "%s: expected a folder without a run of 'vdm %s', whose files would be replaced, "
                            "found its %s; choose another folder",
                            folder, other, pages[i]);
    }
    if (strcmp(command, "fit") == 0 || !has(folder, state)) return 0;
    return vdm_fail(
        err,
        "%s: expected a folder without a run of 'vdm fit', whose files would be replaced, found its "
        "%s; choose another folder",
        folder, state);
}
