/* vdm eval: answers a task's test pictures, as predict would with the same seed, and scores them; the work
 * itself is in evaluation.c. */
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/report/failure_text.h"
#include "tools/report/page.h"
#include "tools/run/adapters.h"
#include "tools/run/canvas.h"
#include "tools/run/claim.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/lock.h"
#include "tools/run/paths.h"
#include "tools/run/pictures.h"
#include "tools/run/plan.h"
#include "tools/run/truths.h"

enum { TRAIN_PAIRS = 8 }; /* training pairs that are answered as well, without --train-pairs */

/* Paths in the output folder; NULL without one. */
struct files {
    char *scores, *page;
    lock lock;
};

static int prepare_output(struct files *f, const options *o, evaluation *a, vdm_error *err)
{
    int status = -1;
    paths p = {0};
    if (paths_of_options(&p, o, EVAL, err) || paths_read_task(&p, a->task, err)) goto end;
    if (o->output) {
        f->scores = vdm_path(o->output, "scores.csv", err);
        f->page = vdm_path(o->output, "report.html", err);
        if (!f->scores || !f->page || paths_make_folder(&p, o->output, err)) goto end;
        if (paths_write(&p, f->scores, ANY_FILE, err) || paths_write(&p, f->page, ANY_FILE, err)) goto end;
    }
    status = paths_check(&p, err);
    if (!status && o->output) status = lock_take(&f->lock, o->output, o->output, err);
    if (o->output) a->claim = (claim){o->output, "eval"};
    if (!status && o->output) status = claim_folder(&a->claim, a->task, a->asked, err);
end:
    paths_free(&p);
    return status;
}

static void files_free(struct files *f)
{
    lock_release(&f->lock);
    vdm_free(f->scores);
    vdm_free(f->page);
}

static int run(session *s, evaluation *a, const struct files *f, const char *command, vdm_error *err)
{
    const options *o = s->options;
    vdm_error other;
    if (session_load(s, err) || adapters_report(s, a->task, a->views.n, err)) return -1;
    double planned = plan_print(s, 0, 0, (a->train_pairs + a->asked) * a->views.n, 0);
    int status = session_limit_memory(s, planned, err);
    if (!status) status = evaluation_run(a, s, o->output, true, err);
    if (!f->scores) return status;
    if (a->n) evaluation_print_others(a, o->output);
    if (status) { /* the scores so far are written; if there are none, those of an earlier run stay */
        if (a->n) evaluation_write(a, f->scores, &other);
        return -1;
    }
    page p = {.command = command, .session = s, .task = a->task, .evaluation = a};
    if (evaluation_write(a, f->scores, err)) return -1;
    if (page_write(&p, f->page, err)) return -1;
    fprintf(stderr, "%s shows the answers\n", clean(f->page));
    return 0;
}

/* The number of training pairs that are answered as well: of --train-pairs, else of TRAIN_PAIRS and the n tests, those
 * that were learned. If a map of colours is learned from them, all tests count: it does not depend on --limit. */
static int count_train_pairs(const options *o, const vdm_task *t, int learned, int n)
{
    int asked = o->eval.train_pairs;
    vdm_colour kind = VDM_COLOUR_NONE;
    vdm_colour_parse(&kind, o->eval.colour); /* one of the table's words */
    if (vdm_colour_learns(kind)) n = t->n_test;
    if (asked < 0) asked = n < TRAIN_PAIRS ? n : TRAIN_PAIRS;
    if (asked <= learned) return asked;
    if (o->eval.train_pairs > t->n_train)
        fprintf(stderr, "--train-pairs %d: %s has %d pair%s\n", asked, clean(t->path), t->n_train,
                plural(t->n_train));
    if (o->eval.train_pairs >= 0 && learned < t->n_train)
        fprintf(stderr, "--train-pairs %d: the adapter learned %d pair%s, which are used\n", asked, learned,
                plural(learned));
    return learned;
}

static int prepare(session *s, evaluation *a, vdm_task *t, vdm_view *view, options *o, vdm_error *err)
{
    int height, width, learned;
    if (adapters_apply(o, EVAL, err) || vdm_task_read(t, o->operands[0], err) ||
        canvas_lay_out(t, o, true, err) || canvas_view(t, o, view, err))
        return -1;
    int n = evaluation_asked(t, o->limit, err);
    if (n < 0 || adapters_pairs(&learned, o, t, err) || size_of(o, t->test[0].input, &height, &width, err) ||
        session_plan(s, o, t->test[0].input, height, width, err) ||
        canvas_resize(t, true, height, width, err))
        return -1;
    if (session_task_prompt(s, t->prompt, err)) return -1;
    if (evaluation_plan(a, s, t, n, count_train_pairs(o, t, learned, n), err) ||
        print_seen_inputs(t, learned, n, err))
        return -1;
    int pairs = a->train_pairs ? a->train_pairs : t->n_train ? 1 : 0;
    const truths outputs = {t, pairs, n, a->views.n > 1 || t->view, s->geometry.height, s->geometry.width};
    return truths_check(&outputs, err);
}

int command_eval(int argc, char **argv)
{
    options o;
    vdm_error err;
    session s = {0};
    vdm_task task = {0};
    vdm_view view;
    evaluation a = {0};
    struct files files = {0};
    int status = options_read(&o, EVAL, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 1) return misuse("eval: expected one task folder, found %d", o.n_operands);
    console_watch_signals();
    char *command = command_line("eval", argc, argv, &err);
    status = command ? prepare(&s, &a, &task, &view, &o, &err) : -1;
    if (!status && o.plan) {
        plan_print(&s, 0, 0, (a.train_pairs + a.asked) * a.views.n, 0);
    } else if (!status) {
        status = prepare_output(&files, &o, &a, &err);
        if (!status) status = run(&s, &a, &files, command, &err);
        if (!status) failures_print(stdout, a.diagnosis, a.task);
    }
    status = status ? fail(&err) : o.plan ? DONE : evaluation_summary(&o, &a);
    vdm_free(command);
    files_free(&files);
    evaluation_free(&a);
    session_free(&s);
    vdm_task_free(&task);
    return status;
}
