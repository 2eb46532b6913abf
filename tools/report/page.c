/* report.html: one page that shows a run, with nothing outside it.
 *
 * Pictures are PNG in data URIs, the loss curve is SVG, the styles are in the head; there is no script. Light or dark
 * is the reader's choice (prefers-color-scheme). Text from files or the command line is escaped. A section adds
 * pictures until its budget of bytes is spent and states how many it leaves out: a page of photographs has a few MB. */
#include "tools/report/page.h"
#include "tools/report/chart.h"
#include "tools/messages.h"
#include "tools/report/failure_text.h"

#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_PAIRS = 6, FIRST_ANSWERS = 12 };

static const char STYLE[] =
    ":root{--paper:#fbfbf9;--ink:#1d1f23;--soft:#5d626b;--line:#d9dadd;--card:#fff;--good:#1a7f4b;"
    "--bad:#c2352b;--train:#2563b0;--watch:#c26a10;color-scheme:light dark}"
    "@media(prefers-color-scheme:dark){:root{--paper:#15171a;--ink:#e6e7ea;--soft:#9ba1ab;--line:#33373d;"
    "--card:#1d2024;--good:#5fcf95;--bad:#ff8276;--train:#7fb3f5;--watch:#f0a552}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:68rem;margin:0 auto;padding:1.5rem clamp(.8rem,3vw,2rem) 4rem}"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 .4rem;overflow-wrap:anywhere}"
    "h2{font-size:1.2rem;margin:2.6rem 0 .3rem}"
    "p{margin:.3rem 0 .9rem;max-width:46rem}.result{font-size:1.15rem;text-wrap:balance}"
    ".note,figcaption{color:var(--soft)}"
    "figcaption{font-size:.85rem;overflow-wrap:anywhere}"
    "pre{margin:.6rem 0;padding:.6rem .8rem;background:var(--card);border:1px solid var(--line);"
    "border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.88rem}"
    "figure{margin:0}img{display:block;width:100%;height:auto;image-rendering:pixelated}"
    ".cards{display:grid;gap:.8rem;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr))}"
    ".film img{box-shadow:0 0 0 1px var(--line)}.film{margin:0 0 .9rem}"
    ".film div{display:grid;gap:3px;max-width:44rem;margin-top:.25rem}"
    ".card{background:var(--card);border:1px solid var(--line);border-radius:6px;padding:.6rem}"
    ".card header{display:flex;flex-wrap:wrap;justify-content:space-between;gap:0 .5rem;font-size:.88rem;"
    "margin-bottom:.4rem}"
    ".card header span{overflow-wrap:anywhere}.exact{color:var(--good)}.wrong{color:var(--bad)}"
    "strong{white-space:nowrap}"
    ".three{display:grid;grid-template-columns:repeat(3,1fr);gap:.5rem}"
    ".grids{display:grid;gap:.5rem;max-width:44rem;margin-bottom:.6rem}"
    ".grids img{max-height:14rem;object-fit:contain;object-position:left top}"
    ".pic{position:relative}.pic svg{position:absolute;inset:0;width:100%;height:100%}"
    ".pic rect{fill:none;stroke:#000;vector-effect:non-scaling-stroke;stroke-width:4}"
    ".pic .in{stroke:#ff3b30;stroke-width:2}"
    "details{margin:.8rem 0}summary{cursor:pointer;color:var(--soft);padding:.3rem 0}"
    "details[open] summary{margin-bottom:.6rem}"
    ".chart{width:100%;max-width:46rem;height:auto;font-size:13px}.chart text{fill:var(--soft)}"
    ".chart .grid{stroke:var(--line)}.chart polyline{fill:none;stroke-width:2;stroke-linejoin:round}"
    ".train{stroke:var(--train)}.watch{stroke:var(--watch)}.chart .key{fill:var(--ink)}"
    "table{border-collapse:collapse;font-size:.92rem;max-width:46rem;width:100%}"
    "th,td{text-align:left;vertical-align:top;padding:.3rem .9rem .3rem 0;"
    "border-bottom:1px solid var(--line);overflow-wrap:anywhere}"
    "th{font-weight:500;color:var(--soft);width:13rem}"
    ".scroll{overflow-x:auto}.figures{width:auto;max-width:none}"
    ".scroll .figures th,.figures td{white-space:nowrap;width:auto}"
    "@media(max-width:30rem){th{width:9rem}.chart{font-size:21px}.film div{gap:2px}}";

/* ------------------------------------------------------------------------------------------------
 * Text */

/* Text from outside: HTML's special characters become entities; control characters, which a page can't contain, and
 * bytes that are not UTF-8 become U+FFFD. */
void escape(FILE *f, const char *text)
{
    for (const char *c = text; *c;) {
        int n = vdm_character(c);
        if (!n) {
            fputs(*c == '\n' || *c == '\t' ? " " : "\xef\xbf\xbd", f);
            c++;
            continue;
        }
        switch (*c) {
        case '<':
            fputs("&lt;", f);
            break;
        case '>':
            fputs("&gt;", f);
            break;
        case '&':
            fputs("&amp;", f);
            break;
        case '"':
            fputs("&quot;", f);
            break;
        case '\'':
            fputs("&#39;", f);
            break;
        default:
            fwrite(c, 1, (size_t)n, f);
        }
        c += n;
    }
}

/* One row of a table: a name of ours, a value from anywhere, which is escaped. */
void row(FILE *f, const char *name, const char *format, ...)
{
    char value[2048];
    va_list args;
    va_start(args, format);
    vsnprintf(value, sizeof value, format, args);
    va_end(args);
    fprintf(f, "<tr><th scope=\"row\">%s</th><td>", name);
    escape(f, value);
    fputs("</td></tr>\n", f);
}

/* ------------------------------------------------------------------------------------------------
 * Pictures */

static void base64(FILE *f, const uint8_t *data, size_t n)
{
    const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        size_t left = n - i;
        uint32_t v = (uint32_t)data[i] << 16 | (left > 1 ? (uint32_t)data[i + 1] << 8 : 0) |
                     (left > 2 ? data[i + 2] : 0);
        char four[4] = {digits[v >> 18], digits[v >> 12 & 63], left > 1 ? digits[v >> 6 & 63] : '=',
                        left > 2 ? digits[v & 63] : '='};
        fwrite(four, 1, 4, f);
    }
}

/* <img>; the alternative text has two parts: "answer to ", a name. */
void picture(struct writer *w, const vdm_picture *p, const char *what, const char *name)
{
    char *png = NULL;
    size_t size = 0;
    FILE *memory = w->status ? NULL : open_memstream(&png, &size);
    if (!memory) {
        if (!w->status) w->status = vdm_fail(w->err, "no memory for a picture of the page");
        return;
    }
    w->status = vdm_png_write(p, memory, w->err);
    if (vdm_memory_close(memory, &png, &size) && !w->status)
        w->status = vdm_fail(w->err, "no memory for a picture of the page");
    if (!w->status) {
        fprintf(w->f, "<img width=\"%d\" height=\"%d\" alt=\"%s", p->width, p->height, what);
        escape(w->f, name);
        fputs("\" src=\"data:image/png;base64,", w->f);
        base64(w->f, (const uint8_t *)png, size);
        fputs("\" />", w->f);
        w->spent += (size + 2) / 3 * 4;
    }
    free(png);
}

/* Frames side by side under a name. */
static void film(struct writer *w, const vdm_picture *frames, int n, int of, const char *name)
{
    fputs("<figure class=\"film\"><figcaption>", w->f);
    escape(w->f, name);
    fprintf(w->f, "</figcaption><div style=\"grid-template-columns:repeat(%d,1fr)\">", n);
    for (int i = 0; i < n; i++) {
        char what[64];
        snprintf(what, sizeof what, "frame %d of %d: ", film_frame(i, of) + 1, of);
        picture(w, &frames[i], what, name);
    }
    fputs("</div></figure>\n", w->f);
}

/* Closes the fold that was opened after the first items, and states how many did not fit. */
static void end_items(struct writer *w, int shown, int first, int all, const char *close, const char *what)
{
    if (shown) fputs(close, w->f);
    if (shown > first) fputs("</details>\n", w->f);
    if (shown < all)
        fprintf(w->f, "<p class=\"note\">%d more %s are not shown here.</p>\n", all - shown, what);
}

/* ------------------------------------------------------------------------------------------------
 * The pairs */

/* The frames that pair i was learned from, with the run's own random numbers: those of the generator with counter i
 * (vdm_fit_use). frames [T,H,W,3] is work space. */
static void pair_film(struct writer *w, int i, uint8_t *frames)
{
    const training *l = w->p->training;
    const vdm_geometry *g = &w->p->session->geometry;
    size_t size = (size_t)g->height * (size_t)g->width * 3;
    int n = g->frames < FILM_FRAMES ? g->frames : FILM_FRAMES;
    vdm_picture small[FILM_FRAMES] = {0};
    vdm_rng rng;
    vdm_fit_rng(&rng, l->how.seed, VDM_FIT_LATENTS, i);
    w->status = vdm_interp(&l->phi, &l->x[i], &l->y[i], g->frames, &rng, frames, w->err);
    for (int k = 0; k < n && !w->status; k++) {
        vdm_picture p = {g->height, g->width, frames + (size_t)film_frame(k, g->frames) * size};
        w->status = picture_shrink(&small[k], &p, w->err);
    }
    if (!w->status) film(w, small, n, g->frames, w->p->task->train[i].name);
    for (int k = 0; k < n; k++) vdm_picture_free(&small[k]);
}

static void pairs(struct writer *w)
{
    const training *l = w->p->training;
    const vdm_geometry *g = &w->p->session->geometry;
    const int n = training_pairs(l);
    uint8_t *frames =
        vdm_alloc((size_t)g->frames * (size_t)g->height * (size_t)g->width, 3, "a video", w->err);
    if (!frames) w->status = -1;
    fprintf(
        w->f,
        "<section><h2>The pairs</h2>\n<p>The adapter was trained on %d pair%s. Each became a video from input to "
        "output (transition: ",
        n, plural(n));
    escape(w->f, l->phi_name);
    fprintf(w->f, ")%s.</p>\n", l->augmented > 1 ? " in every view; those of the first view are shown" : "");
    int i = 0;
    for (w->spent = 0; i < n && w->spent < BUDGET && !w->status; i++) {
        if (i == FIRST_PAIRS) fprintf(w->f, "<details><summary>%d more</summary>\n", n - i);
        pair_film(w, i, frames);
    }
    end_items(w, i, FIRST_PAIRS, n, "", "pairs");
    fputs("</section>\n", w->f);
    vdm_free(frames);
}

/* ------------------------------------------------------------------------------------------------
 * Learning */

static void learning(struct writer *w)
{
    const training *l = w->p->training;
    double first = l->rows[0].watch, last = first;
    for (int i = 0; i <= l->done; i++)
        if (isfinite(l->rows[i].watch)) last = l->rows[i].watch;
    fprintf(w->f, "<section><h2>Learning</h2>\n<p>%d step%s", l->done, plural(l->done));
    if (isfinite(first))
        fprintf(w->f, ": the loss on a fixed set of timesteps and noise went from %.4f to %.4f", first, last);
    fputs(".</p>\n", w->f);
    chart_write(w->f, l->rows, l->done);
    fputs("</section>\n", w->f);
}

/* ------------------------------------------------------------------------------------------------
 * The answers */

/* Outlines of the cells that differ, over the picture: SVG in the pixels of the session. */
static void outline(struct writer *w, const struct answer *a)
{
    const vdm_grid_layout grid = vdm_example_grid(w->p->task, a->example);
    const vdm_geometry *g = &w->p->evaluation->geometry;
    vdm_pixel first;
    if (!a->n_wrong || !vdm_grid_place(&first, &grid, g->height, g->width)) return;
    fprintf(w->f, "<svg viewBox=\"0 0 %d %d\" preserveAspectRatio=\"none\" aria-hidden=\"true\">", g->width,
            g->height);
    for (int i = 0; i < grid.rows * grid.cols; i++) {
        vdm_pixel at = vdm_grid_cell(&grid, first, i);
        if (!a->wrong[i]) continue;
        for (int k = 0; k < 2; k++) /* a dark line under a red one: visible on any colour */
            fprintf(w->f, "<rect class=\"%s\" x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" />",
                    k ? "in" : "out", at.x, at.y, grid.cell, grid.cell);
    }
    fputs("</svg>", w->f);
}

static void mark(struct writer *w, const struct answer *a)
{
    if (!a->known)
        fputs("<span class=\"note\">no known answer</span>", w->f);
    else if (a->exact)
        fputs("<strong class=\"exact\">&#10003; exact</strong>", w->f);
    else if (a->wrong && w->p->task->metric == VDM_METRIC_CELLS)
        fprintf(w->f, "<strong class=\"wrong\">&#10007; %d cell%s wrong</strong>", a->n_wrong,
                plural(a->n_wrong));
    else
        fprintf(w->f, "<strong>%s %.3f</strong>", vdm_metric_name(w->p->task->metric),
                shown_score(w->p->task->metric, a->score, 3));
}

static void one_answer(struct writer *w, const struct answer *a)
{
    const char *names[] = {"input", "answer", "truth"};
    const vdm_picture *pictures[] = {&a->input, &a->last, &a->truth};
    fputs("<article class=\"card\"><header><span>", w->f);
    escape(w->f, a->example->name);
    fputs("</span>", w->f);
    mark(w, a);
    fputs("</header><div class=\"three\">", w->f);
    for (int i = 0; i < 3; i++) {
        char what[32];
        if (!pictures[i]->rgb) continue;
        snprintf(what, sizeof what, "%s of ", names[i]);
        fputs("<figure><div class=\"pic\">", w->f);
        picture(w, pictures[i], what, a->example->name);
        if (i == 1) outline(w, a);
        fprintf(w->f, "</div><figcaption>%s</figcaption></figure>", names[i]);
    }
    fputs("</div></article>\n", w->f);
}

static void answer_cards(struct writer *w)
{
    const evaluation *a = w->p->evaluation;
    fputs("<section><h2>The answers</h2>\n", w->f);
    if (w->p->task->metric == VDM_METRIC_CELLS)
        fputs("<p>Answers to unseen pictures. Wrong cells are outlined in red.</p>\n", w->f);
    else
        fputs("<p>Answers to unseen pictures.</p>\n", w->f);
    int i = 0;
    for (w->spent = 0; i < a->n && i < SHOWN && w->spent < BUDGET && !w->status; i++) {
        if (i == 0) fputs("<div class=\"cards\">\n", w->f);
        if (i == FIRST_ANSWERS)
            fprintf(w->f, "</div>\n<details><summary>%d more</summary>\n<div class=\"cards\">\n",
                    (a->n < SHOWN ? a->n : SHOWN) - i);
        one_answer(w, &a->all[i]);
    }
    end_items(w, i, FIRST_ANSWERS, a->n, "</div>\n", "answers");
    fputs("</section>\n", w->f);
}

static void answer_films(struct writer *w)
{
    const evaluation *a = w->p->evaluation;
    fputs("<section><h2>The videos</h2>\n"
          "<p>An answer is the last frame of a video that begins with the input.</p>\n",
          w->f);
    w->spent = 0;
    for (int i = 0; i < a->n && i < FILMS && w->spent < BUDGET && !w->status; i++)
        film(w, a->all[i].film, a->all[i].n_film, a->geometry.frames, a->all[i].example->name);
    fputs("</section>\n", w->f);
}

/* ------------------------------------------------------------------------------------------------
 * Scores and settings */

/* A mean score; of cells in percent. */
static void mean_row(FILE *f, const char *name, vdm_metric m, const mean_score *mean)
{
    if (m == VDM_METRIC_CELLS)
        row(f, name, "%.1f %% of the cells are right", 100 * shown_share(mean->value, 3));
    else if (mean->finite && mean->infinite)
        row(f, name, "%.4f (%s), without %d equal picture%s, whose psnr is infinite", mean->value,
            vdm_metric_name(m), mean->infinite, plural(mean->infinite));
    else
        row(f, name, "%.4f (%s)", shown_score(m, mean->value, 4), vdm_metric_name(m));
}

static void numbers(struct writer *w)
{
    const evaluation *a = w->p->evaluation;
    FILE *f = w->f;
    if (!a->scored) return;
    fputs("<section><h2>Scores</h2>\n<table><tbody>\n", f);
    row(f, "Exact", "%d of %d (%.1f %%)", a->exact, a->scored,
        100 * shown_share((double)a->exact / a->scored, 3));
    mean_row(f, "Mean", a->task->metric, &a->mean);
    mean_row(f, "Copying the input", a->task->metric, &a->copied);
    if (a->colours.kind != VDM_COLOUR_NONE) {
        row(f, "Exact, colours not corrected", "%d of %d", a->raw_exact, a->scored);
        mean_row(f, "Mean, colours not corrected", a->task->metric, &a->raw);
    }
    if (a->n && w->p->session) row(f, "Seconds for each answer", "%.2f", a->seconds / a->n);
    fputs("</tbody></table></section>\n", f);
}

/* Each value is followed by the value without a failure. */
static void diagnosis(struct writer *w)
{
    static const char *const healthy[] = {"0 each", "0 for a discrete transition", "1", "0", "equal shares"};
    const vdm_diagnosis *s = w->p->evaluation->diagnosis;
    char text[512];
    fputs("<section><h2>Diagnosis</h2>\n<table><tbody>\n", w->f);
    for (int k = 0; k < N_FAILURES; k++)
        if (failure_text((enum failure)k, text, sizeof text, s, w->p->task))
            row(w->f, failure_name((enum failure)k), "%s (best: %s)", text, healthy[k]);
    fputs("</tbody></table></section>\n", w->f);
}

static void settings(struct writer *w)
{
    const session *s = w->p->session;
    const vdm_geometry *g = &s->geometry;
    const training *l = w->p->training;
    FILE *f = w->f;
    char seconds[64];
    int n_views = l ? l->views.n : w->p->evaluation ? w->p->evaluation->views.n : 1;
    fputs("<section><h2>Settings</h2>\n<table><tbody>\n", f);
    row(f, "Model", "%s", s->options->model);
    row(f, "Video", "%d frames of %d x %d pixels", g->frames, g->height, g->width);
    if (s->options->eval.view) row(f, "View", "%d", s->options->eval.view);
    if (n_views > 1) row(f, "Views", "%d, one adapter", n_views);
    if (l) {
        row(f, "Pairs", "%d", training_pairs(l));
        row(f, "Transition", "%s", l->phi_name);
        row(f, "Adapter", "rank %d, alpha %g%s", l->adapter.rank, l->adapter.alpha,
            l->adapter.targets == VDM_ATTENTION_FF ? ", attention and feed-forward" : "");
        row(f, "Steps", "%d", l->done);
        row(f, "Batch", "%d", l->fit.batch * l->fit.accumulate);
        row(f, "Pure noise", "%g", l->fit.pure_noise);
        row(f, "Learning rate", "%g", l->fit.lr);
    }
    for (int i = 0; i < s->options->sample.n_loras && s->parts[i]; i++) row(f, "Adapter", "%s", s->parts[i]);
    if (!l && !s->options->sample.n_loras) row(f, "Adapter", "none");
    if (w->p->evaluation) {
        vdm_sample_options o = sample_options(s);
        row(f, "Sampler", "%s, %d step%s, guidance %g", o.sampler == VDM_DPM ? "DPM" : "DDIM", o.steps,
            plural(o.steps), o.guidance);
        row(f, "Ensemble", "%d", o.ensemble);
    }
    if (w->p->evaluation) row(f, "Colour map", "%s", s->options->eval.colour);
    row(f, "Seed", "%llu", (unsigned long long)s->options->seed);
    row(f, "Machine", "%s, %s, %d thread%s", vdm_cpu_name(&s->cpu), s->options->precision, s->cpu.threads,
        plural(s->cpu.threads));
    if (l) training_seconds(seconds, sizeof seconds, l);
    if (l) row(f, "Seconds of learning", "%s", seconds);
    if (w->p->evaluation) row(f, "Seconds of answering", "%.1f", w->p->evaluation->seconds);
    row(f, "Program", "vdm %s", VDM_VERSION);
    fputs("</tbody></table></section>\n", f);
}

/* ------------------------------------------------------------------------------------------------
 * The page */

static void header(struct writer *w)
{
    const page *p = w->p;
    const char *title = p->title ? p->title : p->task->name;
    char result[256];
    const int pairs = p->training ? training_pairs(p->training) : 0;
    fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />"
          "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\" />\n<title>",
          w->f);
    escape(w->f, title);
    fprintf(w->f, " - vdm</title>\n<style>%s</style></head>\n<body><main>\n<header><h1>", STYLE);
    escape(w->f, title);
    fputs("</h1>\n<p class=\"result\">", w->f);
    if (p->result) {
        escape(w->f, p->result);
    } else if (p->evaluation) {
        evaluation_text(p->evaluation, result, sizeof result);
        if (p->training)
            fprintf(w->f, "Learned from %d pair%s in %.0f s. On unseen pictures: ", pairs, plural(pairs),
                    p->training->seconds);
        escape(w->f, result);
    } else {
        fprintf(w->f, "Learned from %d pair%s in %d step%s", pairs, plural(pairs), p->training->done,
                plural(p->training->done));
    }
    fputs(".</p>\n<pre><code>", w->f);
    escape(w->f, p->command);
    fputs("</code></pre></header>\n", w->f);
}

int page_write(const page *p, const char *path, vdm_error *err)
{
    vdm_file file;
    if (vdm_file_open(&file, path, err)) return -1;
    struct writer w = {.f = file.stream, .p = p, .err = err};
    header(&w);
    if (p->training) pairs(&w);
    if (p->training) learning(&w);
    if (p->evaluation) answer_cards(&w);
    if (p->evaluation && p->session) answer_films(&w);
    if (p->evaluation) numbers(&w);
    if (p->evaluation && p->evaluation->n && p->session) diagnosis(&w);
    if (p->sections) p->sections(&w, p->user);
    if (p->session) settings(&w);
    fputs("</main></body></html>\n", w.f);
    if (!w.status) return vdm_file_commit(&file, err);
    vdm_file_abandon(&file);
    return -1;
}
