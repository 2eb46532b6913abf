/* The page of one ARC-AGI task: its tests, the generated frames, the protocol. */
#include "tools/arc/solve.h"
#include "tools/arc/task_card.h"
#include "tools/messages.h"

/* The last frames in the first view, which the answers were read from. */
static void generated(struct writer *w, const solver *s)
{
    int n = s->options.arc.attempts;
    for (int i = 0; i < s->arc.n_test; i++) {
        fprintf(w->f, FIGURE_ROW, n);
        for (int a = 0; a < n; a++) {
            fputs("<figure>", w->f);
            picture(w, &s->frames[i * n + a], "generated for ", s->arc.name);
            fprintf(w->f, "<figcaption>test %d, seed %llu</figcaption></figure>", i + 1,
                    (unsigned long long)s->options.seed + (unsigned long long)a);
        }
        fputs("</div>\n", w->f);
    }
}

static void task_sections(struct writer *w, const void *user)
{
    const solver *s = user;
    const char *explanation, *rule = rule_of(&s->result, &explanation);
    fputs("<section><h2>The tests</h2>\n", w->f);
    w->spent = 0;
    task_card(w, &s->result);
    fputs("</section>\n<section><h2>Generated frames</h2>\n", w->f);
    generated(w, s);
    fputs("</section>\n<section><h2>The protocol</h2>\n<table><tbody>\n", w->f);
    row(w->f, "Size rule", "%s: %s", rule, explanation);
    row(w->f, "Canvas", "%d x %d pixels, cells of %d, borders of %d", s->result.height, s->result.width,
        s->task.grid.cell, s->task.grid.border);
    row(w->f, "Attempts", "%d", s->options.arc.attempts);
    row(w->f, "Colours", "%s", s->options.eval.colour);
    if (s->n_views > 1) row(w->f, "Views", "%d: mirrored, rotated, recoloured; majority vote", s->n_views);
    row(w->f, "Run", "%s", s->result.run);
    fputs("</tbody></table></section>\n", w->f);
}

int solver_page(const solver *s, const char *command, const char *path, vdm_error *err)
{
    char explanation[256], result[384];
    result_text(&s->result, explanation, sizeof explanation);
    snprintf(result, sizeof result, "Learned from %d pair%s in %.0f s: %s", training_pairs(&s->training),
             plural(training_pairs(&s->training)), s->training.seconds, explanation);
    page p = {.command = command,
              .session = &s->session,
              .task = &s->task,
              .training = &s->training,
              .result = result,
              .sections = task_sections,
              .user = s};
    return page_write(&p, path, err);
}
