/* A folder of outputs belongs to one command: fit, eval and vote all write report.html, eval and vote NAME.ppm, demo has
 * fit's adapter and eval's scores. The page contains the command that wrote it:
 *
 *   DIR/report.html: <pre><code>vdm fit grids -o run</code></pre>  ->  "fit"
 *
 * The page is written before the first output, as that of a run that has not finished, and after the last one: a folder
 * without it has no files of vdm, but for fit's state, and what has the name of an output there is a user's. */
#include "tools/run/claim.h"
#include "tools/run/file_checks.h"

#include <string.h>

int claim_page_command(char command[static CLAIM_COMMAND], const char *path, vdm_error *err)
{
    static const char before[] = "<pre><code>vdm ", report[] = " --report";
    static const size_t HEADER = (size_t)1 << 16; /* bytes; the command is in a page's header */
    char *text = vdm_alloc(HEADER + 1, 1, "a page", err);
    if (!text) return -1;
    FILE *f = fopen(path, "rb");
    if (f) text[fread(text, 1, HEADER, f)] = '\0';
    char *at = f ? strstr(text, before) : NULL, *end = at ? strstr(at, "</code>") : NULL;
    if (at) at += strlen(before);
    if (end) *end = '\0';
    size_t n = at ? strspn(at, "abcdefghijklmnopqrstuvwxyz") : 0;
    bool arc = n == 3 && memcmp(at, "arc", 3) == 0; /* a command without its end has many files, of results */
    snprintf(command, CLAIM_COMMAND, "%.*s%s", (int)n, at ? at : "",
             arc && (!end || strstr(at, report)) ? report : "");
    if (f) fclose(f);
    vdm_free(text);
    return 0;
}

/* The same of a page in the folder. */
static int read_command(char command[static CLAIM_COMMAND], const char *folder, const char *page,
                        vdm_error *err)
{
    char *path = vdm_path(folder, page, err);
    int status = path ? claim_page_command(command, path, err) : -1;
    vdm_free(path);
    return status;
}

/* Commands that write more than a page into their folder, and what they write there, in addition to answers: the page
 * first. Of fit the adapter is checked in cmd_fit.c. */
enum { MAX_FILES = 5 };
static const struct owner {
    const char *command, *files[MAX_FILES];
} owners[] = {
    {"fit", {"report.html", "train.csv"}},
    {"eval", {"report.html", "scores.csv"}},
    {"vote", {"report.html", "scores.csv"}},
    {"demo", {"demo.html", "lora.safetensors", "train.csv", "scores.csv", "strip.png"}},
    {"arc", {"arc.html", "lora.safetensors", "train.csv"}},
};

static const struct owner *find_owner(const char *command)
{
    for (size_t i = 0; i < sizeof owners / sizeof owners[0]; i++)
        if (strcmp(owners[i].command, command) == 0) return &owners[i];
    return NULL;
}

/* Whether the page shows that the command wrote into this folder before. */
static int read_owner(bool *mine, const claim *c, vdm_error *err)
{
    static const char *const pages[] = {"report.html", "demo.html", "arc.html"};
    *mine = false;
    for (int i = 0; i < 3; i++) {
        char command[CLAIM_COMMAND];
        if (read_command(command, c->folder, pages[i], err)) return -1;
        if (strcmp(command, c->command) == 0)
            *mine = true;
        else if (find_owner(command))
            return vdm_fail(err,
                            "%s: expected a folder without a run of 'vdm %s', whose files would be replaced, "
                            "found its %s; choose another folder",
                            c->folder, command, pages[i]);
    }
    return 0;
}

static int check_absent(const claim *c, const char *file, vdm_error *err)
{
    if (!has(c->folder, file)) return 0;
    return vdm_fail(
        err,
        "%s/%s: expected no such file in a folder without a run of 'vdm %s', found one, which would "
        "be replaced; choose another folder, or move the file",
        c->folder, file, c->command);
}

int claim_folder(const claim *c, const vdm_task *t, int n, vdm_error *err)
{
    static const char state[] = "state.safetensors";
    bool mine, fit = strcmp(c->command, "fit") == 0, begun = has(c->folder, state);
    if (read_owner(&mine, c, err)) return -1;
    if (begun && !fit)
        return vdm_fail(
            err,
            "%s: expected a folder without a run of 'vdm fit', whose files would be replaced, found "
            "its %s; choose another folder",
            c->folder, state);
    if (mine || begun) return 0;
    const char *const *files = find_owner(c->command)->files;
    for (int i = 0; i < MAX_FILES && files[i]; i++)
        if (check_absent(c, files[i], err)) return -1;
    for (int i = 0; i < n; i++) {
        char answer[VDM_MAX_NAME];
        snprintf(answer, sizeof answer, "%s.ppm", t->test[i].name);
        if (check_absent(c, answer, err)) return -1;
    }
    return 0;
}

int claim_begin(const claim *c, vdm_error *err)
{
    vdm_file f;
    if (!c->command) return 0;
    char *path = vdm_path(c->folder, find_owner(c->command)->files[0], err);
    int status = path ? vdm_file_open(&f, path, err) : -1;
    vdm_free(path);
    if (status) return -1;
    fprintf(
        f.stream,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" /><title>vdm %s</title></head>\n"
        "<body><pre><code>vdm %s</code></pre>\n<p>This run has not finished. Other files in this folder may "
        "be those of an earlier run.</p></body></html>\n",
        c->command, c->command);
    return vdm_file_commit(&f, err);
}
