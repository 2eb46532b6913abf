/* vdm tasks: lists the tasks that can be made, or writes one as a folder (vdm_task_read describes the layout). */
#include "tools/commands/commands.h"
#include "tools/generate/coco.h"
#include "tools/generate/generators.h"
#include "tools/generate/task_folder.h"
#include "tools/messages.h"

#include <string.h>

static void list(void)
{
    static const char *const words[] = {"its own", "dense", "sparse", "", "blobs"};
    printf("%-14s %-7s %-8s %-11s %s\n", "task", "metric", "content", "paper's", "the rule");
    for (const generator *g = generators; g->name; g++) {
        char paper[32];
        const struct size *s = &g->paper;
        snprintf(paper, sizeof paper, g->draw ? "480x720 px" : "%dx%d %d/%d", s->rows, s->cols, s->cell,
                 s->border);
        printf("%-14s %-7s %-8s %-11s %s\n", g->name, vdm_metric_name(g->metric), words[g->usual], paper,
               g->what);
    }
    printf(
        "\n"
        "Pictures are 64x64 pixels (8x8 cells of 8), as models/tiny needs them. With --paper they have the\n"
        "rows, columns, pixels of cell/border and palette of the paper. Content: dense (each cell is one of\n"
        "ten colours), sparse (cells of 2 to 4 colours on black) or blobs (2 to 4 objects on black).\n"
        "\n"
        "A test input differs from all 300 possible training inputs in at least a quarter of its cells; in\n"
        "paths and objects in half of theirs (small mazes: .3). Inputs of 8x8 cells come from the eighth of\n"
        "all grids that is held out of pretraining. Only rule-N at width 8, which has 254 inputs (at most\n"
        "127 pairs and 127 tests), is an exception; no pretraining clip of automata resembles it.\n"
        "\n"
        "vdm tasks coco makes a task from pictures and annotations of COCO: see --help.\n");
}

static int write_task(const char *name, const options *o, vdm_error *err)
{
    made_task t;
    task_options to = {.seed = o->seed,
                       .n = o->tasks.pairs,
                       .tests = o->tasks.tests,
                       .paper = o->tasks.paper,
                       .content = o->tasks.content[0] ? o->tasks.content : NULL,
                       .rows = o->tasks.grid[0],
                       .cols = o->tasks.grid[1],
                       .cell = o->tasks.cell,
                       .border = o->tasks.border,
                       .height = o->height,
                       .width = o->width};
    if (task_make(&t, name, &to, err)) return -1;
    if (option_given(o, "--tests") && t.n_test < o->tasks.tests)
        fprintf(stderr, "--tests %d: %s has %d input%s for tests\n", o->tasks.tests, name, t.n_test,
                plural(t.n_test));
    int status = task_write(&t, o->output, err);
    if (!status)
        fprintf(stderr, "%s: %d pair%s and %d test%s of %dx%d pixels in %s\n", name, t.n_train,
                plural(t.n_train), t.n_test, plural(t.n_test),
                t.n_train ? t.train_x[0].height : t.test_x[0].height,
                t.n_train ? t.train_x[0].width : t.test_x[0].width, clean(o->output));
    made_task_free(&t);
    return status;
}

static int coco(const options *o)
{
    vdm_error err;
    if (!o->tasks.annotations || !o->tasks.category)
        return misuse("tasks coco: expected --annotations F --category NAME");
    if (!o->list && (!o->tasks.images || !o->output))
        return misuse("tasks coco: expected --images DIR -o DIR");
    return coco_run(o, &err) ? fail(&err) : DONE;
}

int command_tasks(int argc, char **argv)
{
    options o;
    vdm_error err;
    int status = options_read(&o, TASKS, argc, argv);
    if (status) return status < 0 ? DONE : status;
    bool is_coco = o.n_operands && strcmp(o.operands[0], "coco") == 0;
    if (o.list && o.output) return misuse("tasks: -o, --list: expected one of the two");
    if (o.list && o.n_operands && !is_coco)
        return misuse("tasks: --list: expected no name, or coco, found '%s'", o.operands[0]);
    if (!o.n_operands && o.output) return misuse("tasks: -o: expected the NAME of a task, found none");
    if (!o.n_operands) {
        list();
        return DONE;
    }
    if (o.n_operands == 1 && strcmp(o.operands[0], "coco") == 0) return coco(&o);
    if (o.n_operands > 1) return misuse("tasks: expected one name, found %d", o.n_operands);
    if (!o.output) return misuse("tasks: expected -o DIR");
    return write_task(o.operands[0], &o, &err) ? fail(&err) : DONE;
}
