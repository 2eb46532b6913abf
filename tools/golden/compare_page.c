/* vdm compare --html: the error along the network, as one self-contained page. A point for every
 * tensor, from left to right as they were computed, its relative L2 distance on a logarithmic axis; the line
 * is the tolerance. No script; light and dark are the reader's choice. */
#include "tools/golden/compare.h"
#include "vdm_math.h"
#include "tools/report/page.h"

#include <math.h>

enum { WIDTH = 960, HEIGHT = 416, LEFT = 84, RIGHT = 16, TOP = 52, BOTTOM = 36 };
static const double LOW = -9, HIGH = 1; /* powers of ten of the axis */

static const char STYLE[] =
    ":root{--paper:#fbfbf9;--ink:#1d1f23;--soft:#5d626b;--line:#d9dadd;--card:#fff;--good:#1a7f4b;"
    "--bad:#c2352b;--train:#2563b0;color-scheme:light dark}"
    "@media(prefers-color-scheme:dark){:root{--paper:#15171a;--ink:#e6e7ea;--soft:#9ba1ab;--line:#33373d;"
    "--card:#1d2024;--good:#5fcf95;--bad:#ff8276;--train:#7fb3f5}}"
    "*{box-sizing:border-box}"
    "body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:72rem;margin:0 auto;padding:1.5rem clamp(.8rem,3vw,2rem) 4rem}"
    "h1{font-size:1.7rem;line-height:1.2;margin:0 0 .4rem}h2{font-size:1.2rem;margin:2.2rem 0 .3rem}"
    "p{margin:.3rem 0 .9rem;max-width:52rem;overflow-wrap:anywhere}.result{font-size:1.15rem}"
    "pre{margin:.6rem 0;padding:.6rem .8rem;background:var(--card);border:1px solid var(--line);"
    "border-radius:6px;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.88rem}"
    ".chart{width:100%;height:auto;font-size:13px}.chart text{fill:var(--soft)}.chart .grid{stroke:var(--line)}"
    ".chart polyline{fill:none;stroke:var(--train);stroke-width:1.5}"
    ".chart .good{fill:var(--good)}.chart .bad{fill:var(--bad)}.chart .line{fill:var(--train)}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;width:100%}"
    "th,td{text-align:right;padding:.15rem .7rem .15rem 0;border-bottom:1px solid var(--line);white-space:nowrap}"
    "th{font-weight:500;color:var(--soft)}th:first-child,td:first-child{text-align:left}"
    "tr.wrong td:first-child{color:var(--bad);font-weight:600}"
    "details{margin:1rem 0}summary{cursor:pointer;color:var(--soft)}"
    "@media(max-width:30rem){.chart{font-size:25px}}";

static double x_of(const comparison *c, int64_t i)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * ((double)i + 0.5) / (double)(c->count ? c->count : 1);
}

static double y_of(double distance)
{
    double l = distance <= 0 ? LOW : vdm_log(distance) / 2.302585092994046;
    l = !(l < HIGH) ? HIGH : l < LOW ? LOW : l; /* NaN and Inf at the top */
    return TOP + (HEIGHT - TOP - BOTTOM) * (HIGH - l) / (HIGH - LOW);
}

static void points(FILE *f, const comparison *c)
{
    for (int64_t i = 0; i < c->count; i++) {
        const finding *p = &c->all[i];
        if (p->verdict == MISSING) continue;
        bool exact = p->gap.exact || p->verdict == OTHER_SHAPE;
        double l2 = !exact ? p->gap.l2 : is_wrong(p) ? (double)INFINITY : 0;
        fprintf(f, "<circle class=\"%s\" cx=\"%.1f\" cy=\"%.1f\" r=\"%s\"><title>",
                is_wrong(p) ? "bad" : "good", x_of(c, i), y_of(l2), i == c->first ? "6" : "2.5");
        escape(f, p->ref->name);
        fprintf(f, ": %.2e, tolerance %.2e</title></circle>\n", l2, p->tolerance);
    }
}

static void chart(FILE *f, const comparison *c)
{
    fprintf(
        f,
        "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"Relative L2 distance of %lld "
        "tensors, in the order of computation\">\n",
        WIDTH, HEIGHT, (long long)(c->count - c->missing));
    for (int e = (int)LOW; e <= (int)HIGH; e += 2) {
        double y = y_of(vdm_pow(10, e));
        fprintf(f, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" />", LEFT, WIDTH - RIGHT,
                y, y);
        const char *more = e == (int)LOW    ? "&#8804;"
                           : e == (int)HIGH ? "&#8805;"
                                            : ""; /* smaller, larger ones too */
        fprintf(f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%s1e%d</text>\n", LEFT - 8, y + 4, more, e);
    }
    fprintf(
        f,
        "<text x=\"%d\" y=\"%d\">relative L2</text>"
        "<text x=\"%d\" y=\"%d\" text-anchor=\"end\"><tspan class=\"good\">&#9679; agrees</tspan> &#160; "
        "<tspan class=\"bad\">&#9679; differs</tspan> &#160; <tspan class=\"line\">&#8212; tolerance</tspan>"
        "</text>\n",
        4, 24, WIDTH - RIGHT, 24);
    fputs("<polyline points=\"", f);
    for (int64_t i = 0; i < c->count; i++) fprintf(f, "%.1f,%.1f ", x_of(c, i), y_of(c->all[i].tolerance));
    fputs("\" />\n", f);
    points(f, c);
    fprintf(
        f,
        "<text x=\"%d\" y=\"%d\">first tensor</text><text x=\"%d\" y=\"%d\" text-anchor=\"end\">last</text>\n",
        LEFT, HEIGHT - 4, WIDTH - RIGHT, HEIGHT - 4);
    fputs("</svg>\n", f);
}

static void tensor_row(FILE *f, const finding *p)
{
    static const char *const words[] = {"agrees",      "wrong",      "NaN or Inf",
                                        "other shape", "other type", "not there"};
    char shape[96];
    shape_text(shape, sizeof shape, p->ref->rank, p->ref->shape);
    fprintf(f, "<tr%s><td>", is_wrong(p) ? " class=\"wrong\"" : "");
    escape(f, p->ref->name);
    fprintf(f, "</td><td>%s</td><td>%s</td>", shape, words[p->verdict]);
    if ((p->verdict == AGREES || p->verdict == DIFFERS) && !p->gap.exact)
        fprintf(f, "<td>%.2e</td><td>%.2e</td><td>%.2e</td><td>%.2e</td><td>%.2e</td>", p->gap.max_abs,
                p->gap.max_rel, p->gap.l2, p->tolerance, fabs(1 - p->gap.cosine));
    else
        fputs("<td></td><td></td><td></td><td></td><td></td>", f);
    fputs("</tr>\n", f);
}

static void table(FILE *f, const comparison *c)
{
    fputs(
        "<details><summary>Every tensor</summary><div class=\"scroll\" tabindex=\"0\" role=\"region\" "
        "aria-label=\"Every tensor\"><table><thead><tr><th>tensor</th><th>shape</th><th>result</th><th>max abs</th><th>max rel</th><th>rel L2</th><th>tolerance</th><th>1 - cosine</th></tr>"
        "</thead><tbody>\n",
        f);
    for (int64_t i = 0; i < c->count; i++) tensor_row(f, &c->all[i]);
    fputs("</tbody></table></div></details>\n", f);
}

/* The end of the result. */
static void missing(FILE *f, const comparison *c)
{
    if (c->missing)
        fprintf(f, "; %lld of %lld are missing in the other file", (long long)c->missing,
                (long long)c->count);
    fputs(".</p>\n", f);
}

static void paragraph(void *user, const char *text)
{
    FILE *f = user;
    fputs("<p>", f);
    escape(f, text);
    fputs(".</p>\n", f);
}

static void result(FILE *f, const comparison *c)
{
    char place[96];
    if (c->first < 0) {
        fprintf(f, "<p class=\"result\">All %lld tensors %sagree", (long long)c->agree,
                c->missing ? "that are in both files " : "");
        missing(f, c);
        return;
    }
    const finding *p = &c->all[c->first];
    fprintf(f, "<p class=\"result\">%lld of %lld tensors %sdiffer, the first of them <strong>",
            (long long)c->differ, (long long)(c->agree + c->differ),
            c->missing ? "that are in both files " : "");
    escape(f, p->ref->name);
    fputs("</strong>", f);
    missing(f, c);
    fputs("<p>", f);
    if (p->verdict != OTHER_SHAPE && p->verdict != OTHER_TYPE) {
        index_text(place, sizeof place, p->ref, p->gap.first);
        fprintf(f, "First at %s: expected %s, found %s.</p>\n<p>", place, p->gap.expected, p->gap.found);
    }
    fputs("Cause: ", f);
    escape(f, *c->cause ? c->cause : "not one of the mistakes that were tried");
    fputs(".</p>\n", f);
}

int comparison_page(const comparison *c, const char *path, vdm_error *err)
{
    vdm_file file;
    if (vdm_file_open(&file, path, err)) return -1;
    FILE *f = file.stream;
    fprintf(
        f,
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\" />"
        "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\" />\n<title>vdm compare</title>"
        "<style>%s</style></head>\n<body><main>\n<h1>Along the network</h1>\n",
        STYLE);
    result(f, c);
    if (*c->lacks) paragraph(f, c->lacks);
    comparison_notes(c, paragraph, f);
    fputs("<pre><code>", f);
    escape(f, c->command);
    fputs("</code></pre>\n<h2>Relative L2 distance from the reference</h2>\n<p>One point for each tensor "
          "that is in both files, in the order in which they are computed. The line is the tolerance.</p>\n",
          f);
    chart(f, c);
    table(f, c);
    fputs("</main></body></html>\n", f);
    return vdm_file_commit(&file, err);
}
