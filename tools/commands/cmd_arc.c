/* vdm arc: ARC-AGI tasks, after the protocol of arXiv 2510.24448. One task is learned, answered and shown; a
 * folder of them becomes lines of results (shard.c); such lines become accuracy and a page (summary.c). */
#include "tools/commands/commands.h"
#include "tools/arc/shard.h"
#include "tools/arc/solve.h"
#include "tools/arc/summary.h"
#include "tools/arc/vae_roundtrip.h"
#include "tools/messages.h"
#include "tools/report/terminal.h"
#include "tools/run/canvas.h"
#include "tools/run/claim.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/paths.h"
#include "tools/run/training.h"

#include <string.h>
#include <sys/stat.h>

static const char DEFAULT_FOLDER[] = "arc";
enum { SHOWN_PAIRS = 10 };

/* ------------------------------------------------------------------------------------------------
 * In the terminal */

static void show_pairs(const solver *s)
{
    screen t = screen_of_stdout();
    const char *captions[] = {"input", "output"};
    int n = training_pairs(&s->training);
    printf("%s: %d pair%s to learn from:\n\n", clean(s->arc.name), n, plural(n));
    for (int i = 0; i < n && i < SHOWN_PAIRS; i++) {
        const vdm_grid pair[] = {s->arc.train[i].x, s->arc.train[i].y};
        screen_print_grids(&t, pair, captions, 2, s->task.grid.palette);
        printf("\n");
    }
    fflush(stdout);
}

static void show_answers(const solver *s)
{
    screen t = screen_of_stdout();
    for (int i = 0; i < s->result.n_tests; i++) {
        const arc_test *test = &s->result.tests[i];
        vdm_grid grids[MAX_ATTEMPTS + 2] = {test->input};
        char marks[MAX_ATTEMPTS][48];
        const char *captions[MAX_ATTEMPTS + 2] = {"input"};
        for (int k = 0; k < test->n; k++) {
            int wrong = arc_wrong(&test->answers[k], &test->truth);
            grids[k + 1] = test->answers[k];
            captions[k + 1] = marks[k];
            if (!test->truth.rows)
                snprintf(marks[k], sizeof marks[k], "answer %d", k + 1);
            else if (wrong < 0)
                snprintf(marks[k], sizeof marks[k], "answer %d: size", k + 1);
            else if (wrong)
                snprintf(marks[k], sizeof marks[k], "answer %d: %d wrong", k + 1, wrong);
            else
                snprintf(marks[k], sizeof marks[k], "answer %d: exact", k + 1);
        }
        grids[test->n + 1] = test->truth;
        captions[test->n + 1] = test->truth.rows ? "truth" : "";
        printf("test %d:\n\n", i + 1);
        screen_print_grids(&t, grids, captions, test->n + 2, s->task.grid.palette);
        printf("\n");
    }
}

/* ------------------------------------------------------------------------------------------------
 * One task */

/* page: the page of one task, or of results that are merged; NULL: --out is the output. */
static int check_paths(const options *o, const char *page, enum output_kind kind, vdm_error *err)
{
    paths p = {0};
    int status = paths_of_options(&p, o, ARC, err);
    for (int i = 0; i < o->n_operands && !status; i++) {
        const char *path = o->operands[i];
        status = vdm_is_folder(path) ? paths_read_folder(&p, path, err) : paths_read(&p, path, err);
    }
    if (!status) status = paths_write(&p, page, kind, err);
    if (!status) return paths_check(&p, err);
    paths_free(&p);
    return -1;
}

static int summary(const options *o, const char *command, vdm_error *err)
{
    const char *page = o->output ? o->output : "arc.html";
    return check_paths(o, page, ARC_SUMMARY, err) ? -1 : summary_run(o, page, command, err);
}

static int folder_of_tasks(const options *o, vdm_error *err)
{
    return check_paths(o, NULL, ANY_FILE, err) ? -1 : shard_run(o, err);
}

static int single(const options *o, const char *command, vdm_error *err)
{
    const char *folder = o->output ? o->output : DEFAULT_FOLDER, *explanation;
    char text[256], seconds[32];
    solver s = {0};
    char *html = make_folder(folder, err) ? NULL : vdm_path(folder, "arc.html", err);
    int status = html ? check_paths(o, html, ANY_FILE, err) : -1;
    if (!status) status = claim_folder(&(claim){folder, "arc"}, NULL, 0, err);
    if (!status) status = solver_run(&s, o, o->operands[0], folder, false, true, err);
    if (!status) status = solver_page(&s, command, html, err);
    if (!status) {
        result_text(&s.result, text, sizeof text);
        format_seconds(seconds, sizeof seconds, s.result.seconds);
        show_pairs(&s);
        show_answers(&s);
        printf("%s: %s (%s in all)\n", clean(s.arc.name), text, seconds);
        printf("size rule %s: ", rule_of(&s.result, &explanation));
        printf("%s\n%s shows everything\n", explanation, clean(html));
    }
    solver_free(&s);
    vdm_free(html);
    return status;
}

int command_arc(int argc, char **argv)
{
    options o;
    vdm_error err;
    vdm_phi phi;
    int status = options_read(&o, ARC, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (!o.n_operands) return misuse("arc: expected a task, a folder of tasks, or --report and results");
    if (!o.arc.report && o.n_operands > 1)
        return misuse("arc: expected one task or folder, found %d", o.n_operands);
    if (o.learn.phi && vdm_phi_parse(&phi, o.learn.phi, &err)) return misuse("--phi: %s", err.text);
    bool folder = !o.arc.report && list_is(o.operands[0]);
    if (folder && !o.arc.vae_roundtrip && !o.arc.out)
        return misuse("arc: expected --out RESULTS.jsonl with a folder");
    if (!folder && (o.arc.out || o.arc.shard || o.limit || o.arc.vae_roundtrip))
        return misuse("arc: --out, --shard, --limit and --vae-roundtrip go with a folder of tasks");
    if (o.arc.shard && !shard_is_legal(o.arc.shard))
        return misuse("--shard: expected I/N with I from 1 to N, found '%s'", o.arc.shard);
    console_watch_signals();
    char *command = command_line("arc", argc, argv, &err);
    if (!command || (!o.arc.report && !o.arc.vae_roundtrip && training_init_options(&o, ARC, &err)))
        return fail(&err);
    if (o.arc.report)
        status = summary(&o, command, &err);
    else if (o.arc.vae_roundtrip)
        status = vae_roundtrip_run(&o, &err);
    else
        status = folder ? folder_of_tasks(&o, &err) : single(&o, command, &err);
    vdm_free(command);
    return status ? fail(&err) : DONE;
}
