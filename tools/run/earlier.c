/* What an output may replace: nothing, an empty file, or an earlier output of the same kind. An earlier one is recognised by
 * what vdm writes into it:
 *
 *   tensors of fit --dump, predict --dump     metadata vdm_dump: "fit", "predict"
 *   tensors of golden                         metadata vdm_golden
 *   tensors of prompt                         metadata prompt; one tensor, prompt_embeds
 *   page of compare --html, arc --report      the command in it (claim.c)
 *   submission of arc --report                tasks, lists of {"attempt_1": ..., "attempt_2": ...}
 *   measurements of bench --json              version, set, precision, threads, jobs */
#include "tools/run/earlier.h"
#include "tools/messages.h"
#include "tools/run/claim.h"
#include "tools/run/dump.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

int check_ending(const char *path, enum output_kind kind, vdm_error *err)
{
    bool page = has_ending(path, ".html"), json = has_ending(path, ".json");
    if (kind == COMPARE_PAGE && !page)
        return vdm_fail(err, "%s: expected a name that ends in .html, for a page", path);
    if (kind == ARC_SUMMARY && !page && !json)
        return vdm_fail(
            err, "%s: expected a name that ends in .html, for a page, or in .json, for a submission", path);
    if (kind == MEASUREMENTS && !json)
        return vdm_fail(err, "%s: expected a name that ends in .json, for measurements", path);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Whether a file is an earlier output. One that can't be read is another one. */

static bool is_tensors(const char *path, enum output_kind kind)
{
    vdm_error err;
    vdm_safetensors f;
    if (vdm_safetensors_open(&f, path, &err)) return false;
    const char *from = vdm_safetensors_metadata(&f, DUMP_KEY);
    bool mine = false;
    if (kind == FIT_DUMP) mine = from && strcmp(from, "fit") == 0;
    if (kind == PREDICT_DUMP) mine = from && strcmp(from, "predict") == 0;
    if (kind == GOLDEN_TENSORS) mine = vdm_safetensors_metadata(&f, "vdm_golden") != NULL;
    if (kind == PROMPT_TENSORS)
        mine = f.count == 1 && vdm_safetensors_find(&f, "prompt_embeds") &&
               vdm_safetensors_metadata(&f, "prompt");
    vdm_safetensors_close(&f);
    return mine;
}

static bool is_page(const char *path, const char *command)
{
    vdm_error err;
    char found[CLAIM_COMMAND];
    return claim_page_command(found, path, &err) == 0 && strcmp(found, command) == 0;
}

static bool is_measurements(const vdm_json *j)
{
    static const char *const keys[] = {"version", "set", "precision", "threads", "jobs"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (!vdm_json_get(j, j->nodes, keys[i])) return false;
    return true;
}

/* A submission without a task is empty, as its tasks could not be read. */
static bool is_submission(const vdm_json *j)
{
    int64_t tests = 0;
    const vdm_json_node *root = j->nodes;
    for (const vdm_json_node *t = root->children ? root + 1 : NULL; t; t = vdm_json_next(j, t)) {
        if (t->kind != VDM_JSON_ARRAY) return false;
        for (const vdm_json_node *k = t->children ? t + 1 : NULL; k; k = vdm_json_next(j, k), tests++)
            if (k->kind != VDM_JSON_OBJECT || k->children != 2 || !vdm_json_get(j, k, "attempt_1") ||
                !vdm_json_get(j, k, "attempt_2"))
                return false;
    }
    return tests > 0 || !root->children;
}

static bool is_json(const char *path, bool (*is_mine)(const vdm_json *))
{
    vdm_error err;
    vdm_json j;
    if (vdm_json_read(&j, path, &err)) return false;
    bool mine = j.nodes->kind == VDM_JSON_OBJECT && is_mine(&j);
    vdm_json_free(&j);
    return mine;
}

static bool is_earlier(const char *path, enum output_kind kind)
{
    if (kind == COMPARE_PAGE) return is_page(path, "compare");
    if (kind == MEASUREMENTS) return is_json(path, is_measurements);
    if (kind != ARC_SUMMARY) return is_tensors(path, kind);
    return has_ending(path, ".json") ? is_json(path, is_submission) : is_page(path, "arc --report");
}

int check_earlier(const char *path, enum output_kind kind, vdm_error *err)
{
    static const char *const names[] = {
        [FIT_DUMP] = "tensors of 'vdm fit --dump'",    [PREDICT_DUMP] = "tensors of 'vdm predict --dump'",
        [GOLDEN_TENSORS] = "tensors of 'vdm golden'",  [PROMPT_TENSORS] = "an embedding of 'vdm prompt'",
        [COMPARE_PAGE] = "a page of 'vdm compare'",    [ARC_SUMMARY] = "a page of 'vdm arc --report'",
        [MEASUREMENTS] = "measurements of 'vdm bench'"};
    struct stat st;
    if (kind < FIT_DUMP || stat(path, &st) || !S_ISREG(st.st_mode) || !st.st_size) return 0;
    if (is_earlier(path, kind)) return 0;
    bool submission = kind == ARC_SUMMARY && has_ending(path, ".json");
    return vdm_fail(err,
                    "%s: expected no such file, or %s, found another one, which would be replaced; choose "
                    "another name, or move the file",
                    path, submission ? "a submission of 'vdm arc --report'" : names[kind]);
}

/* ------------------------------------------------------------------------------------------------
 * Tasks that the command does not read */

static bool has_task_inputs(const char *folder)
{
    static const char *const endings[] = {".in.png", ".in.ppm", ".in.pgm", ".in.pbm"};
    DIR *d = opendir(folder);
    bool found = false;
    for (const struct dirent *e; d && !found && (e = readdir(d));)
        for (int i = 0; i < 4; i++) found = found || has_ending(e->d_name, endings[i]);
    if (d) closedir(d);
    return found;
}

/* Whether the folder is called train or test, by the inodes: its path may be "." */
static bool is_task_part(const char *folder)
{
    static const char *const parts[] = {"../train", "../test"};
    vdm_error err;
    struct stat mine, part;
    if (stat(folder, &mine)) return false;
    for (int i = 0; i < 2; i++) {
        char *path = vdm_path(folder, parts[i], &err);
        bool same =
            path && stat(path, &part) == 0 && part.st_dev == mine.st_dev && part.st_ino == mine.st_ino;
        vdm_free(path);
        if (same) return has_task_inputs(folder);
    }
    return false;
}

int check_outside_tasks(const char *path, vdm_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? vdm_copy_bytes(path, (size_t)(slash - path) + 1, err) : vdm_copy_text(".", err);
    if (!folder) return -1;
    int status = is_task_part(folder)
                     ? vdm_fail(err,
                                "%s: this output would be among the files of a task, next to "
                                "NAME.in.png or .ppm; choose another folder",
                                path)
                     : 0;
    vdm_free(folder);
    return status;
}
