/* A task on a page: input, answers and truth of its tests as figures. */
#include "tools/arc/task_card.h"

enum { PIXELS = 6 }; /* of a cell */
const char FIGURE_ROW[] = "<div class=\"grids\" style=\"grid-template-columns:repeat(%d,1fr)\">";

/* A grid as a picture with thin separators. */
static void draw(struct writer *w, const vdm_grid *g, vdm_palette palette, const char *what, const char *name)
{
    vdm_grid_layout layout = {.cell = PIXELS, .border = 1, .palette = palette};
    vdm_picture p = {0};
    if (w->status) return;
    w->status = vdm_arc_render(&p, g, &layout, 0, 0, w->err);
    if (!w->status) picture(w, &p, what, name);
    vdm_picture_free(&p);
}

static void figure(struct writer *w, const vdm_grid *g, vdm_palette palette, const char *what,
                   const char *name)
{
    char text[64];
    snprintf(text, sizeof text, "%s of ", what);
    fputs("<figure>", w->f);
    if (g->rows) draw(w, g, palette, text, name);
    fprintf(w->f, "<figcaption>%s</figcaption></figure>", what);
}

/* Input, answers, truth of a test. */
static void test_figures(struct writer *w, const arc_result *r, int i)
{
    const arc_test *t = &r->tests[i];
    fprintf(w->f, FIGURE_ROW, t->n + 2);
    figure(w, &t->input, r->palette, "input", r->task);
    for (int k = 0; k < t->n; k++) {
        int wrong = arc_wrong(&t->answers[k], &t->truth);
        char what[48];
        if (!t->truth.rows)
            snprintf(what, sizeof what, "answer %d", k + 1);
        else if (wrong < 0)
            snprintf(what, sizeof what, "answer %d, another size", k + 1);
        else
            snprintf(what, sizeof what, wrong ? "answer %d, %d wrong" : "answer %d, exact", k + 1, wrong);
        figure(w, &t->answers[k], r->palette, what, r->task);
    }
    figure(w, &t->truth, r->palette, "truth", r->task);
    fputs("</div>\n", w->f);
}

void task_card(struct writer *w, const arc_result *r)
{
    char explanation[256];
    result_text(r, explanation, sizeof explanation);
    fputs("<article class=\"card\"><header><span>", w->f);
    escape(w->f, r->task);
    fputs("</span><span class=\"note\">", w->f);
    escape(w->f, explanation);
    fputs("</span></header>", w->f);
    for (int i = 0; i < r->n_tests; i++) test_figures(w, r, i);
    fputs("</article>\n", w->f);
}
