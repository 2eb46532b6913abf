/* Diagnosis of failures that arXiv 2506.07280 and 2510.24448 name and that a score does not show: colour shift, motion
 * blur instead of a clean transition, drift from the input. The definitions are in vdm_task.h.
 *
 *   video [T,H,W,3], query [H,W,3], truth [H,W,3] or none  ->  sums over the answers
 *
 * Frames are the model's own, before any correction of colours. */
#include "vdm_task.h"

#include <math.h>

/* Mean |a - b| in levels. a, b [H,W,3] */
static double distance(const uint8_t *a, const uint8_t *b, const vdm_picture *size)
{
    vdm_picture p = {size->height, size->width, (uint8_t *)a}, q = {size->height, size->width, (uint8_t *)b};
    return vdm_score_mae(&p, &q);
}

double vdm_edge_energy(const vdm_picture *p)
{
    size_t W = (size_t)p->width, H = (size_t)p->height;
    double sum = 0;
    for (size_t y = 0; y < H; y++)
        for (size_t x = 0; x < W; x++) {
            const uint8_t *at = p->rgb + 3 * (y * W + x);
            double dx = x + 1 < W ? vdm_luminance(at + 3) - vdm_luminance(at) : 0,
                   dy = y + 1 < H ? vdm_luminance(at + 3 * W) - vdm_luminance(at) : 0;
            sum += dx * dx + dy * dy;
        }
    return W && H ? sum / (1e6 * (double)W * (double)H) : 0; /* from thousandths of levels */
}

void vdm_diagnosis_add(vdm_diagnosis *d, vdm_metric metric, const vdm_grid_layout *grid,
                       const uint8_t *frames, int T, const vdm_picture *query, const vdm_picture *truth)
{
    size_t frame = (size_t)query->width * (size_t)query->height * 3;
    const uint8_t *end = frames + (size_t)(T - 1) * frame;
    vdm_picture last = {query->height, query->width, (uint8_t *)end};
    d->answers++;
    d->drift += distance(frames, query->rgb, query);
    d->moved += distance(end, frames, query);
    if (T > 1) d->late += distance(end, end - frame, query);
    if (!truth || truth->width != query->width || truth->height != query->height) return;
    d->known++;
    d->edges += vdm_edge_energy(&last);
    d->truth_edges += vdm_edge_energy(truth);
    d->colours.right_only = true;
    vdm_colour_add(&d->colours, metric, grid, &last, truth);
}

/* Mean level minus the colour, from the histogram. */
int64_t vdm_diagnosis_shift(double shift[3], const vdm_diagnosis *d, vdm_metric metric, vdm_palette palette,
                            int number)
{
    const vdm_colour_study *c = &d->colours;
    const uint8_t *colour = vdm_metric_colour(metric, palette, number);
    bool whole = !vdm_metric_colour(metric, palette, 0) && number == 0;
    uint64_t n = whole ? (uint64_t)c->pixels : colour ? c->seen[number] : 0;
    for (int i = 0; i < 3; i++) {
        double sum = 0;
        for (int v = 0; !whole && n && v < 256; v++) sum += (double)c->level[number][i][v] * (v - colour[i]);
        shift[i] = !n ? (double)NAN : whole ? -c->zd[3][i] / c->pixels : sum / (double)n;
    }
    return (int64_t)n;
}
