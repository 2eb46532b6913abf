/* Diagnosis of failures, on videos of a few pixels worked out by hand. */
#include "check.h"
#include "vdm_task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { W = 3, H = 2, FRAME = W * H * 3, T = 4 };

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-9 * (1 + fabs(b));
}

static vdm_diagnosis *new_diagnosis(void)
{
    vdm_diagnosis *s = calloc(1, sizeof *s);
    if (!s) abort();
    return s;
}

static void test_edges(void)
{
    uint8_t p[FRAME] = {0};
    vdm_picture picture = {H, W, p}, column = {5, 1, p}, one = {1, 1, p};
    CHECK(vdm_edge_energy(&picture) == 0, "a flat picture has no edge");
    memset(p, 100, 3);
    /* right and below of the first pixel: 2 * 100^2 over 6 pixels */
    CHECK(near(vdm_edge_energy(&picture), 20000.0 / 6), "a corner: %g", vdm_edge_energy(&picture));
    p[4] = 100; /* green: 58.7 of luminance next to 100 and 0, and above 0 */
    double expected = (41.3 * 41.3 + 100 * 100 + 2 * 58.7 * 58.7) / 6;
    CHECK(near(vdm_edge_energy(&picture), expected), "%g, expected %g", vdm_edge_energy(&picture), expected);
    CHECK(vdm_edge_energy(&column) > 0 && vdm_edge_energy(&one) == 0, "a column, a pixel");
}

/* Frames of one level each: 10, 10, 40, 50; the query has 4, the truth 53. */
static void test_frames(void)
{
    static const int levels[T] = {10, 10, 40, 50};
    uint8_t frames[T * FRAME], x[FRAME], y[FRAME];
    vdm_picture query = {H, W, x}, truth = {H, W, y};
    const vdm_grid_layout none = {0};
    double shift[3];
    vdm_diagnosis *s = new_diagnosis();
    for (int i = 0; i < T; i++) memset(frames + i * FRAME, levels[i], FRAME);
    memset(x, 4, FRAME), memset(y, 53, FRAME);
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_PSNR, VDM_PALETTE_ARC, 0) == 0 && isnan(shift[0]),
          "nothing seen");
    vdm_diagnosis_add(s, VDM_METRIC_PSNR, &none, frames, T, &query, NULL);
    CHECK(s->answers == 1 && s->known == 0 && s->edges == 0, "no truth");
    vdm_diagnosis_add(s, VDM_METRIC_PSNR, &none, frames, T, &query, &truth);
    CHECK(s->answers == 2 && s->known == 1 && near(s->late, 20) && near(s->moved, 80) && near(s->drift, 12),
          "late %g, moved %g, drift %g", s->late, s->moved, s->drift);
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_PSNR, VDM_PALETTE_ARC, 0) == W * H && near(shift[0], -3) &&
              near(shift[2], -3),
          "of the whole picture: %g", shift[0]);
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_PSNR, VDM_PALETTE_ARC, 1) == 0 && isnan(shift[1]),
          "there is one only");
    vdm_diagnosis_add(s, VDM_METRIC_PSNR, &none, frames, 1, &query, &truth);
    CHECK(near(s->late, 20) && near(s->moved, 80) && s->answers == 3, "a video of one frame");
    vdm_picture other = {W, H, y};
    vdm_diagnosis_add(s, VDM_METRIC_PSNR, &none, frames, T, &query, &other);
    CHECK(s->known == 2, "a truth of another size tells nothing");
    free(s);
}

/* Cells: black and red, the black ones brighter by 8 and 10, a red one off by (-5, +4, 0), one taken for
 * orange. */
static void test_colours(void)
{
    const vdm_grid_layout g = {.rows = 2, .cols = 3, .cell = 1};
    static const uint8_t answer[FRAME] = {8,   8,  8,  10,  10,  10, 250, 69,  54,
                                          255, 65, 54, 255, 133, 27, 0,   116, 217},
                         truth[FRAME] = {0,   0,  0,  0,   0,  0,  255, 65, 54,
                                         255, 65, 54, 255, 65, 54, 255, 65, 54};
    uint8_t frames[2 * FRAME];
    vdm_picture query = {H, W, frames}, y = {H, W, (uint8_t *)truth};
    double shift[3];
    vdm_diagnosis *s = new_diagnosis();
    memcpy(frames, truth, FRAME), memcpy(frames + FRAME, answer, FRAME);
    vdm_diagnosis_add(s, VDM_METRIC_CELLS, &g, frames, 2, &query, &y);
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_CELLS, VDM_PALETTE_ARC, 0) == 2 && near(shift[0], 9) &&
              near(shift[2], 9),
          "black: %g", shift[0]);
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_CELLS, VDM_PALETTE_ARC, 2) == 2 && near(shift[0], -2.5) &&
              near(shift[1], 2) && shift[2] == 0,
          "red: %g %g %g", shift[0], shift[1], shift[2]);
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_CELLS, VDM_PALETTE_ARC, 7) == 0 && isnan(shift[0]),
          "orange is nowhere");
    CHECK(vdm_diagnosis_shift(shift, s, VDM_METRIC_CELLS, VDM_PALETTE_ARC, 10) == 0, "beyond the palette");
    CHECK(s->drift == 0 && s->edges > 0 && s->truth_edges > 0, "the first frame is the query");
    free(s);
}

int main(void)
{
    test_edges();
    test_frames();
    test_colours();
    return check_end("diagnosis");
}
