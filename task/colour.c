/* Colours that a model shifts, and three ways to put them right.
 *
 *   answers to its own training pairs, their truths  ->  study  ->  map
 *   map, answer [H,W,3]  ->  answer with its colours corrected, or the grid that it shows
 *
 * A model learns what changes where better than it learns the exact colour: published answers have colours
 * that are up to 47 levels off, each colour its own way (arXiv 2510.24448 leaves maps that correct this
 * open). What is learned here comes from training pairs alone; the answer that is corrected never tells its
 * truth.
 *
 *   shift    the authors' own: nothing is learned. Up to three times, the mean of (nearest palette colour -
 * colour seen) over the cells is added to the whole picture. affine   rgb' = A rgb + b, the least squares
 * over where each colour of the task comes out, drawn slightly towards the identity: with few colours,
 * directions that were never seen stay as they are. palette  every cell (without a grid: every pixel) takes
 * the colour whose place of coming out is nearest. A colour that no training answer has is expected where the
 * affine map from true to seen puts it.
 *
 * Traps
 *   A training answer may be wrong: where a colour comes out is the median over its cells, not the mean.
 *   The authors' loop works in float32 and truncates means to whole numbers: so does vdm_colour_read. */
#include "vdm_task.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Samples: the cells of a grid, the pixels of another picture */

typedef struct samples {
    const vdm_picture *p;
    const vdm_task *t;
    int n, top, left; /* of the first cell */
    bool grid;
} samples;

static bool samples_of(samples *s, const vdm_picture *p, const vdm_task *t)
{
    *s = (samples){.p = p, .t = t, .n = p->width * p->height, .grid = t->metric == VDM_METRIC_CELLS};
    if (s->grid && vdm_grid_read(NULL, &s->top, &s->left, p, t)) return false;
    if (s->grid) s->n = t->grid_rows * t->grid_cols;
    return true;
}

/* The first pixel of sample i, and the number of pixels along its side. */
static uint8_t *sample_at(const samples *s, int i, int *side)
{
    size_t step = (size_t)(s->t->cell + s->t->border), cols = (size_t)s->t->grid_cols, k = (size_t)i;
    *side = s->grid ? s->t->cell : 1;
    if (!s->grid) return s->p->rgb + 3 * k;
    size_t y = (size_t)s->top + k / cols * step, x = (size_t)s->left + k % cols * step;
    return s->p->rgb + 3 * (y * (size_t)s->p->width + x);
}

/* Mean of a sample whose levels have become those of the table; NULL: as they are. */
static void sample_mean(double mean[3], const samples *s, int i, float (*table)[256])
{
    int side;
    const uint8_t *first = sample_at(s, i, &side);
    double sum[3] = {0};
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            for (int c = 0; c < 3; c++) {
                uint8_t level = first[3 * ((size_t)y * (size_t)s->p->width + (size_t)x) + (size_t)c];
                sum[c] += table ? (double)table[c][level] : level;
            }
    for (int c = 0; c < 3; c++) mean[c] = sum[c] / ((double)side * side);
}

static double square_distance(const double a[3], const double b[3])
{
    double sum = 0;
    for (int c = 0; c < 3; c++) sum += (a[c] - b[c]) * (a[c] - b[c]);
    return sum;
}

static void true_colour(double rgb[3], const vdm_task *t, int k)
{
    for (int c = 0; c < 3; c++) rgb[c] = vdm_task_colour(t, k)[c];
}

static double clip(double v)
{
    return v < 0 ? 0 : v > 255 ? 255 : v;
}

/* ------------------------------------------------------------------------------------------------
 * What a model makes of colours */

/* A pixel at an edge has a colour between two: only those near a colour of the task tell where it comes out.
 */
enum { NEAR_COLOUR = 30 };

static void add_colours(vdm_colour_study *s, const vdm_task *t, const samples *answer, const samples *truth)
{
    for (int i = 0; i < truth->n; i++) {
        double seen[3], expected[3], colour[3];
        sample_mean(expected, truth, i, NULL);
        int k = vdm_nearest_colour(t, expected);
        true_colour(colour, t, k);
        if (square_distance(expected, colour) > NEAR_COLOUR * NEAR_COLOUR) continue;
        sample_mean(seen, answer, i, NULL);
        if (s->right_only && vdm_nearest_colour(t, seen) != k) continue;
        for (int c = 0; c < 3; c++) s->level[k][c][(int)seen[c]]++;
        s->seen[k]++;
    }
}

/* z = (r, g, b, 1), levels in 0..1, and the differences that a map should add to it. */
static void add_equation(double zz[4][4], double zd[4][3], const double from[3], const double to[3],
                         double weight)
{
    double z[4] = {from[0] / 255, from[1] / 255, from[2] / 255, 1};
    for (int i = 0; i < 4; i++) {
        for (int k = 0; k < 4; k++) zz[i][k] += weight * z[i] * z[k];
        for (int c = 0; c < 3; c++) zd[i][c] += weight * z[i] * (to[c] - from[c]);
    }
}

void vdm_colour_add(vdm_colour_study *s, const vdm_task *t, const vdm_picture *answer,
                    const vdm_picture *truth)
{
    samples a, b;
    if (answer->width != truth->width || answer->height != truth->height) return;
    if (!samples_of(&a, answer, t) || !samples_of(&b, truth, t)) return;
    if (vdm_task_colour(t, 0)) {
        add_colours(s, t, &a, &b);
        return;
    }
    for (int i = 0; i < a.n; i++) {
        double from[3], to[3];
        sample_mean(from, &a, i, NULL);
        sample_mean(to, &b, i, NULL);
        add_equation(s->zz, s->zd, from, to, 1);
    }
    s->pixels += a.n;
}

/* The level that half of the samples don't exceed. */
static double median(const uint64_t level[256], uint64_t n)
{
    uint64_t below = 0;
    int v = 0;
    while (v < 255 && 2 * (below + level[v]) < n) below += level[v++];
    return v;
}

/* ------------------------------------------------------------------------------------------------
 * Maps */

/* What draws a map to the identity, UNSEEN_RIDGE times the share of colours that were not seen: a map that is
 * exact for few colours is wild elsewhere. On the public ARC tasks with 1.5 times the published shifts, RIDGE
 * alone reads 98.5 % of the cells right, and less than no map at the published strength; both read 99.99 %.
 */
static const double RIDGE = 1e-4, UNSEEN_RIDGE = 0.3;

/* Gaussian elimination with row pivots; zz is positive definite. zz [4,4], zd [4,3] -> zd. */
static void solve(double zz[4][4], double zd[4][3])
{
    for (int k = 0; k < 4; k++) {
        int pivot = k;
        for (int i = k + 1; i < 4; i++)
            if (fabs(zz[i][k]) > fabs(zz[pivot][k])) pivot = i;
        for (int j = 0; j < 4; j++) {
            double t = zz[k][j];
            zz[k][j] = zz[pivot][j], zz[pivot][j] = t;
        }
        for (int c = 0; c < 3; c++) {
            double t = zd[k][c];
            zd[k][c] = zd[pivot][c], zd[pivot][c] = t;
        }
        for (int i = 0; i < 4; i++) {
            double factor = i == k ? 0 : zz[i][k] / zz[k][k];
            for (int j = k; j < 4; j++) zz[i][j] -= factor * zz[k][j];
            for (int c = 0; c < 3; c++) zd[i][c] -= factor * zd[k][c];
        }
    }
    for (int k = 0; k < 4; k++)
        for (int c = 0; c < 3; c++) zd[k][c] /= zz[k][k];
}

/* The map that adds the least squares' differences; ridge draws it towards adding nothing. affine [3,4] */
static void fit_affine(double affine[3][4], double zz[4][4], double zd[4][3], double ridge)
{
    for (int i = 0; i < 4; i++) zz[i][i] += ridge;
    solve(zz, zd);
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 4; i++) affine[c][i] = i == 3 ? zd[3][c] : zd[i][c] / 255 + (i == c ? 1 : 0);
}

static void map_affine(double to[3], double affine[3][4], const double from[3])
{
    for (int c = 0; c < 3; c++)
        to[c] = affine[c][0] * from[0] + affine[c][1] * from[1] + affine[c][2] * from[2] + affine[c][3];
}

/* Where the seen colours come out. Of two that come out alike, one was answered wrongly: the one that is
 * further from its own colour counts as not seen. */
static void find_centres(double (*centre)[3], bool *seen, const vdm_colour_study *s, const vdm_task *t)
{
    double colour[VDM_MAX_COLOURS][3];
    int n = 0;
    for (; vdm_task_colour(t, n); n++) {
        true_colour(colour[n], t, n);
        seen[n] = s->seen[n] > 0;
        for (int c = 0; c < 3; c++)
            centre[n][c] = seen[n] ? median(s->level[n][c], s->seen[n]) : colour[n][c];
    }
    for (int i = 0; i < n; i++)
        for (int k = 0; k < n; k++) {
            bool alike = i != k && seen[i] && seen[k] &&
                         16 * square_distance(centre[i], centre[k]) < square_distance(colour[i], colour[k]);
            if (alike && square_distance(centre[i], colour[i]) > square_distance(centre[k], colour[k]))
                seen[i] = false;
        }
}

/* From seen to true colours, or (forward) from true to seen ones, every seen colour alike. */
static void fit_centres(double affine[3][4], double (*centre)[3], const bool *seen, const vdm_task *t,
                        bool forward)
{
    double zz[4][4] = {{0}}, zd[4][3] = {{0}}, colour[3];
    int n = 0, all = 0;
    for (; vdm_task_colour(t, all); all++) n += seen[all];
    for (int k = 0; vdm_task_colour(t, k); k++) {
        if (!seen[k]) continue;
        true_colour(colour, t, k);
        add_equation(zz, zd, forward ? colour : centre[k], forward ? centre[k] : colour, 1.0 / n);
    }
    fit_affine(affine, zz, zd, RIDGE + UNSEEN_RIDGE * (all - n) / all);
}

int vdm_colour_learn(vdm_colour_map *m, vdm_colour kind, const vdm_colour_study *s, const vdm_task *t,
                     vdm_error *err)
{
    bool seen[VDM_MAX_COLOURS] = {0};
    *m = (vdm_colour_map){.kind = kind};
    if (kind == VDM_COLOUR_NONE) return 0;
    if (!vdm_task_colour(t, 0)) {
        double zz[4][4], zd[4][3];
        if (kind != VDM_COLOUR_AFFINE)
            return vdm_fail(err, "colours: the metric %s tells none apart, expected affine or none for it",
                            vdm_metric_name(t->metric));
        for (int i = 0; i < 4; i++) {
            for (int k = 0; k < 4; k++) zz[i][k] = s->pixels > 0 ? s->zz[i][k] / s->pixels : 0;
            for (int c = 0; c < 3; c++) zd[i][c] = s->pixels > 0 ? s->zd[i][c] / s->pixels : 0;
        }
        fit_affine(m->affine, zz, zd, RIDGE);
        return 0;
    }
    if (kind == VDM_COLOUR_SHIFT) return 0;
    find_centres(m->centre, seen, s, t);
    fit_centres(m->affine, m->centre, seen, t, false);
    if (kind == VDM_COLOUR_AFFINE) return 0;
    double forward[3][4], colour[3];
    fit_centres(forward, m->centre, seen, t, true);
    for (int k = 0; vdm_task_colour(t, k); k++) {
        if (seen[k]) continue;
        true_colour(colour, t, k);
        map_affine(m->centre[k], forward, colour);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The authors' shift */

/* table [3,256]: what every level becomes. Means are cut to whole numbers, distances are not squared. */
static void find_shift(float (*table)[256], const samples *s)
{
    enum { ROUNDS = 3 };
    double before = 0;
    for (int c = 0; c < 3; c++)
        for (int v = 0; v < 256; v++) table[c][v] = (float)v;
    for (int round = 0; round < ROUNDS; round++) {
        double shift[3] = {0}, apart = 0, mean[3], colour[3];
        for (int i = 0; i < s->n; i++) {
            sample_mean(mean, s, i, table);
            for (int c = 0; c < 3; c++) mean[c] = floor(mean[c]);
            true_colour(colour, s->t, vdm_nearest_colour(s->t, mean));
            apart += sqrt(square_distance(mean, colour));
            for (int c = 0; c < 3; c++) shift[c] += colour[c] - mean[c];
        }
        if (fabs(before - apart) < 1) return;
        before = apart;
        for (int c = 0; c < 3; c++)
            for (int v = 0; v < 256; v++)
                table[c][v] = (float)clip((double)(float)(table[c][v] + shift[c] / s->n));
    }
}

/* ------------------------------------------------------------------------------------------------
 * Corrected answers */

static int nearest_centre(const vdm_colour_map *m, const vdm_task *t, const double rgb[3])
{
    int best = 0;
    for (int k = 1; vdm_task_colour(t, k); k++)
        if (square_distance(rgb, m->centre[k]) < square_distance(rgb, m->centre[best])) best = k;
    return best;
}

/* Moves the cell so that its mean is the palette's colour; a pixel becomes it. */
static void apply_palette(const vdm_colour_map *m, const samples *s)
{
    for (int i = 0; i < s->n; i++) {
        double mean[3], colour[3];
        int side;
        uint8_t *first = sample_at(s, i, &side);
        sample_mean(mean, s, i, NULL);
        true_colour(colour, s->t, nearest_centre(m, s->t, mean));
        for (int y = 0; y < side; y++)
            for (int x = 0; x < 3 * side; x++) {
                uint8_t *level = first + 3 * (size_t)y * (size_t)s->p->width + (size_t)x;
                *level = (uint8_t)rint(clip(*level + colour[x % 3] - mean[x % 3]));
            }
    }
}

void vdm_colour_apply(const vdm_colour_map *m, const vdm_task *t, vdm_picture *p)
{
    samples s;
    float table[3][256];
    size_t n = (size_t)p->width * (size_t)p->height;
    if (m->kind == VDM_COLOUR_NONE || !samples_of(&s, p, t)) return;
    if (m->kind == VDM_COLOUR_PALETTE) apply_palette(m, &s);
    if (m->kind == VDM_COLOUR_SHIFT) {
        find_shift(table, &s);
        for (size_t i = 0; i < 3 * n; i++) p->rgb[i] = (uint8_t)rintf(table[i % 3][p->rgb[i]]);
    }
    for (size_t i = 0; m->kind == VDM_COLOUR_AFFINE && i < n; i++) {
        double from[3] = {p->rgb[3 * i], p->rgb[3 * i + 1], p->rgb[3 * i + 2]}, to[3];
        map_affine(to, (double(*)[4])m->affine, from);
        for (size_t c = 0; c < 3; c++) p->rgb[3 * i + c] = (uint8_t)rint(clip(to[c]));
    }
}

int vdm_colour_read(uint8_t *cells, const vdm_colour_map *m, const vdm_picture *p, const vdm_task *g)
{
    vdm_task t = *g;
    samples s;
    float table[3][256];
    t.metric = VDM_METRIC_CELLS;
    if (!samples_of(&s, p, &t)) return -1;
    if (m->kind == VDM_COLOUR_SHIFT) find_shift(table, &s);
    for (int i = 0; i < s.n; i++) {
        double mean[3], to[3];
        sample_mean(mean, &s, i, m->kind == VDM_COLOUR_SHIFT ? table : NULL);
        if (m->kind == VDM_COLOUR_AFFINE) {
            map_affine(to, (double(*)[4])m->affine, mean);
            memcpy(mean, to, sizeof mean);
        } else if (m->kind != VDM_COLOUR_PALETTE) {
            for (int c = 0; c < 3; c++) mean[c] = floor(mean[c]);
        }
        int k = m->kind == VDM_COLOUR_PALETTE ? nearest_centre(m, &t, mean) : vdm_nearest_colour(&t, mean);
        cells[i] = (uint8_t)k;
    }
    return 0;
}

int vdm_colour_parse(vdm_colour *kind, const char *word)
{
    static const char *const words[] = {"none", "shift", "affine", "palette"};
    for (int i = 0; i < 4; i++)
        if (strcmp(word, words[i]) == 0) {
            *kind = (vdm_colour)i;
            return 0;
        }
    return -1;
}
