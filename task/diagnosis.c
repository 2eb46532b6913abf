/* Signs of how an answer fails: what a score alone doesn't tell (arXiv 2506.07280 and 2510.24448 name them:
 * colours that shift, motion blur in place of a clean transition, drift from the input). vdm.h has the
 * definitions.
 *
 *   video [T,H,W,3], query [H,W,3], truth [H,W,3] or none  ->  sums over the answers
 *
 * Frames are taken as the model gave them, before any correction of colours. */
#include "vdm_task.h"

#include <math.h>

/* Mean |a - b| in levels. a, b [H,W,3] */
static double apart(const uint8_t *a, const uint8_t *b, const vdm_picture *size)
{
    vdm_picture p = *size, q = *size;
    p.rgb = (uint8_t *)a;
    q.rgb = (uint8_t *)b;
    return vdm_score_mae(&p, &q);
}

static double luminance(const uint8_t *rgb)
{
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2];
}

double vdm_edge_energy(const vdm_picture *p)
{
    size_t W = (size_t)p->width, H = (size_t)p->height;
    double sum = 0;
    for (size_t y = 0; y < H; y++)
        for (size_t x = 0; x < W; x++) {
            const uint8_t *at = p->rgb + 3 * (y * W + x);
            double dx = x + 1 < W ? luminance(at + 3) - luminance(at) : 0,
                   dy = y + 1 < H ? luminance(at + 3 * W) - luminance(at) : 0;
            sum += dx * dx + dy * dy;
        }
    return W && H ? sum / ((double)W * (double)H) : 0;
}

void vdm_signs_add(vdm_signs *s, const vdm_task *t, const uint8_t *frames, int T, const vdm_picture *query,
                   const vdm_picture *truth)
{
    size_t frame = (size_t)query->width * (size_t)query->height * 3;
    const uint8_t *end = frames + (size_t)(T - 1) * frame;
    vdm_picture last = *query;
    last.rgb = (uint8_t *)end;
    s->answers++;
    s->drift += apart(frames, query->rgb, query);
    s->moved += apart(end, frames, query);
    if (T > 1) s->late += apart(end, end - frame, query);
    if (!truth || truth->width != query->width || truth->height != query->height) return;
    s->known++;
    s->edges += vdm_edge_energy(&last);
    s->truth_edges += vdm_edge_energy(truth);
    s->colours.right_only = true;
    vdm_colour_add(&s->colours, t, &last, truth);
}

/* Mean level minus the colour, from the histogram. */
int64_t vdm_signs_shift(double shift[3], const vdm_signs *s, const vdm_task *t, int number)
{
    const vdm_colour_study *c = &s->colours;
    const uint8_t *colour = vdm_task_colour(t, number);
    bool whole = !vdm_task_colour(t, 0) && number == 0;
    uint64_t n = whole ? (uint64_t)c->pixels : colour ? c->seen[number] : 0;
    for (int i = 0; i < 3; i++) {
        double sum = 0;
        for (int v = 0; !whole && n && v < 256; v++) sum += (double)c->level[number][i][v] * (v - colour[i]);
        shift[i] = !n ? (double)NAN : whole ? -c->zd[3][i] / c->pixels : sum / (double)n;
    }
    return (int64_t)n;
}
