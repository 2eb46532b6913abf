/* Scores of an answer against the truth: pixels, masks and cells. Grids are read in grid.c, poses in pose.c; the
 * definitions are in vdm_task.h.
 *
 *   answer, truth [H,W,3]  ->  one number; NaN if the two can't be compared
 *
 * Sums are of integers, and exact: the order of the loops does not matter. */
#include "vdm_task.h"
#include "vdm_math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double NOT_COMPARABLE = (double)NAN;

/* Two pictures of one size, not {0}. */
static bool comparable(const vdm_picture *a, const vdm_picture *b)
{
    return a->rgb && b->rgb && a->width > 0 && a->height > 0 && a->width == b->width &&
           a->height == b->height;
}

static size_t pixels_of(const vdm_picture *p)
{
    return (size_t)p->height * (size_t)p->width;
}

/* ------------------------------------------------------------------------------------------------
 * Pixels */

double vdm_score_psnr(const vdm_picture *a, const vdm_picture *b)
{
    if (!comparable(a, b)) return NOT_COMPARABLE;
    size_t n = pixels_of(a) * 3;
    uint64_t sum = 0; /* exact: n * 255^2 is far below 2^64 */
    for (size_t i = 0; i < n; i++) {
        int d = a->rgb[i] - b->rgb[i];
        sum += (uint64_t)(d * d);
    }
    if (!sum) return (double)INFINITY;
    return 10 * vdm_log(255.0 * 255.0 * (double)n / (double)sum) / vdm_log(10);
}

double vdm_score_mae(const vdm_picture *a, const vdm_picture *b)
{
    if (!comparable(a, b)) return NOT_COMPARABLE;
    size_t n = pixels_of(a) * 3;
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i++) sum += (uint64_t)abs(a->rgb[i] - b->rgb[i]);
    return (double)sum / (double)n;
}

/* The moments of a window: sums of x, y, x^2, y^2 and x y. */
enum { SIDE = 7, AREA = SIDE * SIDE };
typedef struct moments {
    int64_t x, y, xx, yy, xy;
} moments;

/* Adds a row of SIDE pixels of one channel, or subtracts it. */
static void add_row(moments *m, const uint8_t *a, const uint8_t *b, int sign)
{
    for (int i = 0; i < 3 * SIDE; i += 3) {
        m->x += sign * a[i];
        m->y += sign * b[i];
        m->xx += sign * a[i] * a[i];
        m->yy += sign * b[i] * b[i];
        m->xy += sign * a[i] * b[i];
    }
}

/* (2 mx my + C1)(2 cov + C2) / ((mx^2 + my^2 + C1)(vx + vy + C2)), variances over AREA - 1. */
static double similarity(const moments *m)
{
    const double c1 = (0.01 * 255) * (0.01 * 255), c2 = (0.03 * 255) * (0.03 * 255);
    double n = AREA, free_n = (double)AREA * (AREA - 1), x = (double)m->x / n, y = (double)m->y / n;
    double vx = (double)(AREA * m->xx - m->x * m->x) / free_n,
           vy = (double)(AREA * m->yy - m->y * m->y) / free_n,
           cov = (double)(AREA * m->xy - m->x * m->y) / free_n;
    return (2 * x * y + c1) * (2 * cov + c2) / ((x * x + y * y + c1) * (vx + vy + c2));
}

double vdm_score_ssim(const vdm_picture *a, const vdm_picture *b)
{
    if (!comparable(a, b) || a->width < SIDE || a->height < SIDE) return NOT_COMPARABLE;
    size_t stride = (size_t)a->width * 3;
    double sum = 0;
    for (int c = 0; c < 3; c++)
        for (int x = 0; x + SIDE <= a->width; x++) { /* the window slides down */
            moments m = {0};
            const uint8_t *p = a->rgb + 3 * x + c, *q = b->rgb + 3 * x + c;
            for (int y = 0; y < a->height; y++, p += stride, q += stride) {
                add_row(&m, p, q, 1);
                if (y >= SIDE) add_row(&m, p - SIDE * stride, q - SIDE * stride, -1);
                if (y + 1 >= SIDE) sum += similarity(&m);
            }
        }
    return sum / (3 * (double)(a->width - SIDE + 1) * (a->height - SIDE + 1));
}

/* ------------------------------------------------------------------------------------------------
 * Masks */

static bool is_on(const uint8_t *rgb)
{
    return vdm_luminance(rgb) > 127500;
}

double vdm_score_iou(const vdm_picture *a, const vdm_picture *b)
{
    if (!comparable(a, b)) return NOT_COMPARABLE;
    size_t n = pixels_of(a), both = 0, either = 0;
    for (size_t i = 0; i < n; i++) {
        bool p = is_on(a->rgb + 3 * i), g = is_on(b->rgb + 3 * i);
        both += p && g;
        either += p || g;
    }
    return either ? (double)both / (double)either : 1;
}

static int class_of(const vdm_colours *c, const uint8_t *rgb)
{
    const double x[3] = {rgb[0], rgb[1], rgb[2]};
    return vdm_nearest_colour(c, x);
}

double vdm_score_miou(const vdm_picture *a, const vdm_picture *b, vdm_palette palette)
{
    if (!comparable(a, b)) return NOT_COMPARABLE;
    vdm_colours colours;
    vdm_palette_colours(&colours, palette);
    int64_t both[VDM_MAX_COLOURS] = {0}, either[VDM_MAX_COLOURS] = {0};
    for (size_t i = 0; i < pixels_of(a); i++) {
        int p = class_of(&colours, a->rgb + 3 * i), g = class_of(&colours, b->rgb + 3 * i);
        both[p] += p == g;
        either[p]++;
        either[g] += p != g;
    }
    double sum = 0;
    int classes = 0;
    for (int k = 0; k < VDM_MAX_COLOURS; k++) {
        if (!either[k]) continue;
        sum += (double)both[k] / (double)either[k];
        classes++;
    }
    return sum / classes;
}

/* ------------------------------------------------------------------------------------------------
 * Cells */

double vdm_score_cells(const vdm_picture *a, const vdm_picture *b, const vdm_grid_layout *g)
{
    vdm_pixel first;
    vdm_colours colours;
    int equal = 0;
    if (!comparable(a, b) || !vdm_grid_place(&first, g, a->height, a->width)) return NOT_COMPARABLE;
    const int n = g->rows * g->cols;
    vdm_palette_colours(&colours, g->palette);
    for (int i = 0; i < n; i++) {
        vdm_pixel at = vdm_grid_cell(g, first, i);
        equal +=
            vdm_grid_cell_number(a, at, g->cell, &colours) == vdm_grid_cell_number(b, at, g->cell, &colours);
    }
    return (double)equal / n;
}

/* ------------------------------------------------------------------------------------------------
 * By metric */

static const char *const METRICS[] = {"psnr", "iou", "cells", "pose", "miou", "pck", "ssim", "mae"};
enum { N_METRICS = sizeof METRICS / sizeof METRICS[0] };

const char *vdm_metric_name(vdm_metric m)
{
    return METRICS[m];
}

int vdm_metric_parse(vdm_metric *m, const char *name)
{
    for (int i = 0; i < N_METRICS; i++)
        if (strcmp(name, METRICS[i]) == 0) {
            *m = (vdm_metric)i;
            return 0;
        }
    return -1;
}

const uint8_t *vdm_metric_colour(vdm_metric m, vdm_palette palette, int number)
{
    static const uint8_t black[3] = {0, 0, 0}, white[3] = {255, 255, 255};
    switch (m) {
    case VDM_METRIC_CELLS:
    case VDM_METRIC_MIOU:
        return vdm_palette_colour(palette, number);
    case VDM_METRIC_IOU:
        return number == 0 ? black : number == 1 ? white : NULL;
    case VDM_METRIC_POSE:
    case VDM_METRIC_PCK:
        if (number == 0) return black;
        return number > 0 && number <= VDM_LEG + 1 ? vdm_pose_colour((vdm_part)(number - 1)) : NULL;
    case VDM_METRIC_PSNR:
    case VDM_METRIC_SSIM:
    case VDM_METRIC_MAE:
        return NULL;
    }
    return NULL;
}

void vdm_metric_colours(vdm_colours *c, vdm_metric m, vdm_palette palette)
{
    const uint8_t *rgb;
    for (c->n = 0; (rgb = vdm_metric_colour(m, palette, c->n)); c->n++)
        for (int i = 0; i < 3; i++) c->rgb[c->n][i] = rgb[i];
}

int vdm_score(double *score, bool *exact, vdm_metric metric, const vdm_grid_layout *grid,
              const vdm_picture *answer, const vdm_picture *truth, vdm_error *err)
{
    vdm_pose_match m;
    *exact = false;
    switch (metric) {
    case VDM_METRIC_PSNR:
        *score = vdm_score_psnr(answer, truth);
        *exact = isinf(*score) != 0;
        return 0;
    case VDM_METRIC_SSIM: /* exact means equal: rounding may give 1 for pictures that are almost equal */
        *score = vdm_score_ssim(answer, truth);
        *exact = isinf(vdm_score_psnr(answer, truth)) != 0;
        return 0;
    case VDM_METRIC_MAE:
        *score = vdm_score_mae(answer, truth);
        *exact = *score == 0;
        return 0;
    case VDM_METRIC_IOU:
        *score = vdm_score_iou(answer, truth);
        break;
    case VDM_METRIC_MIOU:
        *score = vdm_score_miou(answer, truth, grid->palette);
        break;
    case VDM_METRIC_CELLS:
        *score = vdm_score_cells(answer, truth, grid);
        break;
    case VDM_METRIC_POSE:
    case VDM_METRIC_PCK:
        if (vdm_score_pose(&m, answer, truth, metric == VDM_METRIC_PCK ? VDM_PCK : VDM_MATCH_RATE, err))
            return -1;
        *score = m.share;
        *exact = *score == 1 && m.found == m.joints;
        return 0;
    }
    *exact = *score == 1;
    return 0;
}
