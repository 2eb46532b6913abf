/* The loss curve as inline SVG: the training loss, smoothed over a window of steps, and the loss on the fixed
 * set, over the steps. The axis of the loss is logarithmic: the loss falls by factors, and its lower end matters.
 * Colours are the page's (classes train, watch, grid, key). */
#include "tools/report/chart.h"
#include "vdm_math.h"

#include <math.h>

enum { WIDTH = 720, HEIGHT = 330, LEFT = 64, RIGHT = 28, TOP = 52, BOTTOM = 40, MAX_POINTS = 240 };

struct chart {
    FILE *f;
    const vdm_fit_row *rows;
    int steps, window;
    double low, high; /* logarithms of the losses at the axis' ends */
};

static double x_of(const struct chart *c, double step)
{
    return LEFT + (WIDTH - LEFT - RIGHT) * step / (c->steps > 0 ? c->steps : 1);
}

static double y_of(const struct chart *c, double loss)
{
    return TOP + (HEIGHT - TOP - BOTTOM) * (c->high - vdm_log(loss)) / (c->high - c->low);
}

static bool shows(double loss)
{
    return isfinite(loss) && loss > 0;
}

/* The mean of the last `window` steps' losses; NaN if there is none. */
static double smoothed(const struct chart *c, int step)
{
    double sum = 0;
    int n = 0;
    for (int k = step > c->window ? step - c->window + 1 : 1; k <= step; k++)
        if (shows(c->rows[k].loss)) sum += c->rows[k].loss, n++;
    return n ? sum / n : (double)NAN;
}

static double loss_at(const struct chart *c, int step, bool watch)
{
    return watch ? c->rows[step].watch : smoothed(c, step);
}

/* Whether the step is drawn: every loss that was measured, but long runs are thinned out. */
static bool is_point(const struct chart *c, int step, bool watch)
{
    return watch || (step > 0 && step % (c->steps / MAX_POINTS + 1) == 0) || step == c->steps;
}

static void widen(struct chart *c, bool watch, int *found)
{
    for (int k = 0; k <= c->steps; k++) {
        double loss = is_point(c, k, watch) ? loss_at(c, k, watch) : (double)NAN;
        if (!shows(loss)) continue;
        double l = vdm_log(loss);
        if (!*found || l < c->low) c->low = l;
        if (!*found || l > c->high) c->high = l;
        ++*found;
    }
}

static void line(const struct chart *c, bool watch)
{
    fprintf(c->f, "<polyline class=\"%s\" points=\"", watch ? "watch" : "train");
    for (int k = 0; k <= c->steps; k++) {
        double loss = is_point(c, k, watch) ? loss_at(c, k, watch) : (double)NAN;
        if (shows(loss)) fprintf(c->f, "%.1f,%.1f ", x_of(c, k), y_of(c, loss));
    }
    fputs("\" />\n", c->f);
}

static void loss_tick(const struct chart *c, double v)
{
    double y = y_of(c, v);
    if (y < TOP - 0.5 || y > HEIGHT - BOTTOM - 8) return; /* the axis of steps needs the space */
    fprintf(c->f, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" />", LEFT, WIDTH - RIGHT,
            y, y);
    fprintf(c->f, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>\n", LEFT - 8, y + 4, v);
}

/* Ticks at 1, 2, 5 times a power of ten; at equal distances if the loss stays within a factor of 4. */
static void loss_axis(const struct chart *c)
{
    const double leading[] = {1, 2, 5};
    double low = vdm_exp(c->low), high = vdm_exp(c->high);
    bool equal = high < 4 * low;
    bool coarse = high > 200 * low;
    for (int i = -27; i < 27; i++) {
        int e = (i + 30) / 3 - 10, k = (i + 30) % 3;
        double v = leading[k] * vdm_pow(10, e);
        if (!equal && (k == 0 || !coarse)) loss_tick(c, v);
        if (!equal || v < (high - low) / 6) continue;
        for (int n = 1; n < 40; n++) loss_tick(c, n * v); /* high is at most 33 v: chart_write's margins */
        break;
    }
}

/* About five ticks. */
static void step_axis(const struct chart *c)
{
    int unit = 1;
    for (int i = 0; c->steps / unit > 6; i++) unit = i % 3 == 1 ? unit / 2 * 5 : unit * 2; /* 1, 2, 5, 10 */
    for (int k = 0; k <= c->steps; k += unit)
        fprintf(c->f, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%d</text>\n", x_of(c, k),
                HEIGHT - BOTTOM + 20, k);
    fprintf(c->f, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" />\n", LEFT, WIDTH - RIGHT,
            HEIGHT - BOTTOM, HEIGHT - BOTTOM);
    fprintf(c->f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">step</text>\n", LEFT - 16,
            HEIGHT - BOTTOM + 20);
}

static void key(const struct chart *c, int y, const char *name, const char *class)
{
    fprintf(c->f,
            "<line class=\"%s\" stroke-width=\"3\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\" />"
            "<text class=\"key\" x=\"%d\" y=\"%d\" text-anchor=\"end\">%s</text>\n",
            class, WIDTH - RIGHT - 28, WIDTH - RIGHT - 4, y, y, WIDTH - RIGHT - 36, y + 4, name);
}

void chart_write(FILE *f, const vdm_fit_row *rows, int steps)
{
    struct chart c = {.f = f, .rows = rows, .steps = steps, .window = steps / 40 > 5 ? steps / 40 : 5};
    int trained = 0, watched;
    widen(&c, false, &trained);
    watched = trained;
    widen(&c, true, &watched);
    if (!watched) return;
    c.low -= 0.1;
    c.high += 0.1;
    fprintf(f,
            "<svg class=\"chart\" viewBox=\"0 0 %d %d\" role=\"img\" "
            "aria-label=\"Loss over %d steps, from %.4f to %.4f at its lowest\">\n",
            WIDTH, HEIGHT, steps, vdm_exp(c.high - 0.1), vdm_exp(c.low + 0.1));
    loss_axis(&c);
    step_axis(&c);
    fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">loss</text>\n", LEFT - 8, TOP - 12);
    if (trained) line(&c, false);
    if (watched > trained) line(&c, true);
    char name[64];
    snprintf(name, sizeof name, "training loss, mean of %d steps", c.window);
    if (trained) key(&c, TOP - 36, name, "train");
    if (watched > trained) key(&c, TOP - 16, "loss on a fixed set", "watch");
    fputs("</svg>\n", f);
}
