/* vdm eval: answers a task's test pictures, as predict would with the same seed, and scores them; the work
 * itself is in evaluation.c. */
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/report/failure_text.h"
#include "tools/report/page.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/files.h"
#include "tools/run/plan.h"

enum { TRAIN_PAIRS = 8 }; /* training pairs that are answered too, unless --train-pairs says how many */

/* Where the files go: paths in the output folder, NULL without one. */
struct files {
    char *scores, *page;
};

static int prepare_output(struct files *f, const char *folder, vdm_error *err)
{
    if (!folder) return 0;
    if (make_folder(folder, err)) return -1;
    f->scores = vdm_path(folder, "scores.csv", err);
    f->page = vdm_path(folder, "report.html", err);
    return !f->scores || !f->page || writable(f->scores, err) || writable(f->page, err) ? -1 : 0;
}

static int run(session *s, evaluation *a, const struct files *f, const char *command, vdm_error *err)
{
    const options *o = s->options;
    vdm_error other;
    if (session_load(s, err)) return -1;
    plan_print(s, 0, a->train_pairs + a->asked, 0);
    int status = evaluation_run(a, s, o->output, true, err);
    if (!f->scores) return status;
    if (status) { /* the scores so far are kept */
        evaluation_write(a, f->scores, &other);
        return -1;
    }
    page p = {.command = command, .session = s, .task = a->task, .evaluation = a};
    return evaluation_write(a, f->scores, err) || page_write(&p, f->page, err) ? -1 : 0;
}

static int prepare(session *s, evaluation *a, vdm_task *t, vdm_arc_view *view, options *o, vdm_error *err)
{
    int height, width;
    if (vdm_task_read(t, o->operands[0], err) || canvas_lay_out(t, o, true, err) ||
        canvas_view(t, o, view, err))
        return -1;
    int n = evaluation_asked(t, o->limit, err);
    int train_pairs = o->train_pairs >= 0 ? o->train_pairs : n < TRAIN_PAIRS ? n : TRAIN_PAIRS;
    if (n < 0 || size_of(o, t->test[0].input, &height, &width, err) || session_plan(s, o, height, width, err))
        return -1;
    if (session_task_prompt(s, t->prompt, err)) return -1;
    return evaluation_plan(a, s, t, n, train_pairs, err);
}

int command_eval(int argc, char **argv)
{
    options o;
    vdm_error err;
    session s = {0};
    vdm_task task = {0};
    vdm_arc_view view;
    evaluation a = {0};
    struct files files = {0};
    int status = options_read(&o, EVAL, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 1) return misuse("eval: expected one task folder, found %d", o.n_operands);
    console_watch_signals();
    char *command = command_line("eval", argc, argv, &err);
    bool ok = command && !prepare(&s, &a, &task, &view, &o, &err);
    if (ok && o.plan)
        plan_print(&s, 0, a.train_pairs + a.asked, 0);
    else
        ok = ok && !prepare_output(&files, o.output, &err) && !run(&s, &a, &files, command, &err);
    if (ok && !o.plan) signs_print(stdout, a.signs, a.task);
    status = !ok ? fail(&err) : o.plan ? DONE : evaluation_summary(&o, &a);
    vdm_free(command);
    vdm_free(files.scores);
    vdm_free(files.page);
    evaluation_free(&a);
    session_free(&s);
    vdm_task_free(&task);
    return status;
}
