/* Scores of pixels, masks and poses, worked out by hand; joints drawn and found again. */
#include "check.h"
#include "vdm_task.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { W = 8, H = 6, N = W * H * 3 };

static bool near(double a, double b)
{
    return fabs(a - b) <= 1e-12 * fabs(b);
}

static void set_pixel(uint8_t *rgb, int i, int r, int g, int b)
{
    rgb[3 * i] = (uint8_t)r, rgb[3 * i + 1] = (uint8_t)g, rgb[3 * i + 2] = (uint8_t)b;
}

/* ------------------------------------------------------------------------------------------------
 * Pixels */

static void test_psnr(void)
{
    uint8_t a[N] = {0}, b[N] = {0};
    vdm_picture p = {H, W, a}, q = {H, W, b}, other = {W, H, b};
    CHECK(isinf(vdm_score_psnr(&p, &q)) && vdm_score_psnr(&p, &q) > 0, "equal pictures");
    for (int i = 0; i < N; i++) b[i] = 1;
    CHECK(near(vdm_score_psnr(&p, &q), 48.130803608679102), "all off by 1: %.15g", vdm_score_psnr(&p, &q));
    memset(b, 255, N);
    CHECK(fabs(vdm_score_psnr(&p, &q)) < 1e-14, "black and white: %g", vdm_score_psnr(&p, &q));
    memset(b, 0, N);
    b[5] = 12; /* mean squared error 1: 144 / 144 */
    CHECK(near(vdm_score_psnr(&p, &q), 48.130803608679102), "one off by 12: %.15g", vdm_score_psnr(&p, &q));
    CHECK(vdm_score_psnr(&q, &p) == vdm_score_psnr(&p, &q), "both ways");
    CHECK(isnan(vdm_score_psnr(&p, &other)), "other sizes");
}

static void test_mae(void)
{
    uint8_t a[N] = {0}, b[N] = {0};
    vdm_picture p = {H, W, a}, q = {H, W, b}, other = {W, H, b}, none = {0, 0, a};
    CHECK(vdm_score_mae(&p, &q) == 0, "equal pictures");
    b[7] = 36;
    CHECK(near(vdm_score_mae(&p, &q), 0.25), "36 of 144 levels: %g", vdm_score_mae(&p, &q));
    a[8] = 36;
    CHECK(near(vdm_score_mae(&p, &q), 0.5) && vdm_score_mae(&q, &p) == vdm_score_mae(&p, &q),
          "no signs cancel out");
    CHECK(isnan(vdm_score_mae(&p, &other)) && isnan(vdm_score_mae(&none, &none)), "other sizes, no pixels");
}

/* The definition, window by window. */
static double plain_ssim(const vdm_picture *a, const vdm_picture *b)
{
    double sum = 0;
    int windows = 0;
    for (int c = 0; c < 3; c++)
        for (int y = 3; y + 3 < a->height; y++)
            for (int x = 3; x + 3 < a->width; x++) {
                double ma = 0, mb = 0, va = 0, vb = 0, cov = 0, sums[2] = {0};
                for (int i = 0; i < 98; i++) { /* means first */
                    int at = 3 * ((y + i % 49 / 7 - 3) * a->width + x + i % 7 - 3) + c;
                    double da = a->rgb[at] - ma, db = b->rgb[at] - mb;
                    if (i >= 49)
                        va += da * da / 48, vb += db * db / 48, cov += da * db / 48;
                    else
                        sums[0] += a->rgb[at] / 49.0, sums[1] += b->rgb[at] / 49.0;
                    if (i == 48) ma = sums[0], mb = sums[1];
                }
                sum += (2 * ma * mb + 6.5025) * (2 * cov + 58.5225) /
                       ((ma * ma + mb * mb + 6.5025) * (va + vb + 58.5225));
                windows++;
            }
    return sum / windows;
}

static void test_ssim(void)
{
    static const int sizes[][2] = {{7, 7}, {7, 9}, {13, 8}, {31, 17}};
    uint8_t a[31 * 17 * 3], b[31 * 17 * 3];
    float numbers[31 * 17 * 3];
    vdm_picture p = {7, 7, a}, q = {7, 7, b};
    memset(a, 0, sizeof a), memset(b, 255, sizeof b);
    /* constant pictures: (2 m n + C1) / (m^2 + n^2 + C1) */
    CHECK(near(vdm_score_ssim(&p, &q), 6.5025 / (65025 + 6.5025)), "black and white: %.15g",
          vdm_score_ssim(&p, &q));
    CHECK(vdm_score_ssim(&p, &p) == 1, "itself");
    for (int i = 0; i < 4; i++) {
        p.width = q.width = sizes[i][0], p.height = q.height = sizes[i][1];
        check_random(numbers, (int64_t)(sizeof a), 3 + (uint32_t)i, 127);
        for (size_t k = 0; k < sizeof a; k++) a[k] = (uint8_t)(numbers[k] + 128);
        check_random(numbers, (int64_t)(sizeof a), 9 + (uint32_t)i, 60);
        for (size_t k = 0; k < sizeof a; k++) b[k] = (uint8_t)(a[k] / 2 + numbers[k] + 61);
        double s = vdm_score_ssim(&p, &q), expected = plain_ssim(&p, &q);
        CHECK(fabs(s - expected) < 1e-12 && s > 0.1 && s < 0.9, "%dx%d: %.15g, expected %.15g", p.width,
              p.height, s, expected);
    }
    p.width = q.width = 6;
    CHECK(isnan(vdm_score_ssim(&p, &q)), "no window fits");
    p.width = 7;
    CHECK(isnan(vdm_score_ssim(&p, &q)), "other sizes");
}

/* ------------------------------------------------------------------------------------------------
 * Masks */

static void test_iou(void)
{
    uint8_t a[N] = {0}, b[N] = {0};
    vdm_picture p = {H, W, a}, q = {H, W, b}, other = {W, H, b};
    CHECK(vdm_score_iou(&p, &q) == 1, "both empty");
    for (int i = 0; i < 10; i++) set_pixel(a, i, 255, 255, 255);
    CHECK(vdm_score_iou(&p, &q) == 0, "one empty");
    for (int i = 6; i < 12; i++) set_pixel(b, i, 200, 200, 200);
    CHECK(near(vdm_score_iou(&p, &q), 4.0 / 12), "4 of 12: %g", vdm_score_iou(&p, &q));
    CHECK(vdm_score_iou(&p, &p) == 1, "itself");
    CHECK(isnan(vdm_score_iou(&p, &other)), "other sizes");
    memset(a, 0, N), memset(b, 255, N);
    /* 127, 128, 76.2, 149.7, 29.1; 127.542, 127.428 and exactly 127.5 */
    static const int on[][4] = {{127, 127, 127, 0}, {128, 128, 128, 1}, {255, 0, 0, 0},  {0, 255, 0, 1},
                                {0, 0, 255, 0},     {255, 87, 2, 1},    {255, 87, 1, 0}, {0, 204, 68, 0}};
    for (int i = 0; i < 8; i++) {
        set_pixel(a, 0, on[i][0], on[i][1], on[i][2]);
        CHECK(near(vdm_score_iou(&p, &q), on[i][3] / (double)(W * H)), "colour %d", i);
    }
}

/* Six pixels: black, black, blue, blue, red, red against black, blue, blue, blue, red, green. */
static void test_miou(void)
{
    static const int truth[] = {0, 0, 1, 1, 2, 2}, answer[] = {0, 1, 1, 1, 2, 3};
    uint8_t a[18], b[18];
    vdm_picture p = {2, 3, a}, q = {2, 3, b}, other = {3, 2, b}, none = {0, 0, a};
    for (int i = 0; i < 6; i++) {
        memcpy(b + 3 * i, vdm_palette_colour(VDM_PALETTE_ARC, truth[i]), 3);
        memcpy(a + 3 * i, vdm_palette_colour(VDM_PALETTE_ARC, answer[i]), 3);
        a[3 * i] = (uint8_t)(a[3 * i] + (a[3 * i] < 128 ? 9 : -9)); /* a little off */
    }
    double s = vdm_score_miou(&p, &q, VDM_PALETTE_ARC); /* black 1/2, blue 2/3, red 1/2, green 0/1 */
    CHECK(near(s, (0.5 + 2.0 / 3 + 0.5 + 0) / 4), "four classes: %.15g", s);
    CHECK(vdm_score_miou(&p, &p, VDM_PALETTE_ARC) == 1 && vdm_score_miou(&q, &q, VDM_PALETTE_MAZE) == 1,
          "itself");
    memset(a, 0, 18), memset(b, 255, 18); /* wall and way of the maze */
    CHECK(vdm_score_miou(&p, &q, VDM_PALETTE_MAZE) == 0, "nothing in common");
    CHECK(isnan(vdm_score_miou(&p, &other, VDM_PALETTE_ARC)) &&
              isnan(vdm_score_miou(&none, &none, VDM_PALETTE_ARC)),
          "other sizes, no pixels");
}

/* ------------------------------------------------------------------------------------------------
 * Poses */

static void test_pairs(void)
{
    /* a chain: 0 takes the first it finds, which is the only one for 1; the third is of another part */
    const vdm_joint truth[] = {{0, 0, VDM_ARM}, {0, -4, VDM_ARM}, {9, 9, VDM_LEG}},
                    answer[] = {{0, -2, VDM_ARM}, {0, 3, VDM_ARM}, {9, 9, VDM_FACE}};
    CHECK(vdm_pose_pairs(truth, 3, answer, 3, 3) == 2, "both arms, no leg");
    CHECK(vdm_pose_pairs(truth, 3, answer, 3, 2) == 1, "one near enough, and that for one only");
    CHECK(vdm_pose_pairs(truth, 3, answer, 3, 1.99) == 0, "none near enough");
    CHECK(vdm_pose_pairs(truth, 3, answer, 0, 9) == 0 && vdm_pose_pairs(truth, 0, answer, 3, 9) == 0, "none");
    /* the last one shifts all others by one: a chain as long as can be */
    vdm_joint a[VDM_MAX_JOINTS], b[VDM_MAX_JOINTS];
    for (int i = 0; i < VDM_MAX_JOINTS; i++) {
        b[i] = (vdm_joint){0, 2 * i, VDM_LEG};
        a[i] = (vdm_joint){0, i < VDM_MAX_JOINTS - 1 ? 2 * i + 1 : -1, VDM_LEG};
    }
    int n = vdm_pose_pairs(a, VDM_MAX_JOINTS, b, VDM_MAX_JOINTS, 1);
    CHECK(n == VDM_MAX_JOINTS, "a chain of %d", n);
}

static int of_part(const vdm_joint *joints, int n, vdm_part part)
{
    int count = 0;
    for (int i = 0; i < n; i++) count += joints[i].part == part;
    return count;
}

/* One of each part, a line between them; drawn, and found within a pixel. */
static void test_draw(int height, int width)
{
    uint8_t *rgb = calloc((size_t)height * (size_t)width, 3);
    vdm_picture p = {height, width, rgb};
    vdm_joint found[VDM_MAX_JOINTS], joints[8];
    const vdm_limb limbs[] = {{0, 1, VDM_ARM}, {1, 2, VDM_ARM}, {4, 5, VDM_LEG}, {5, 6, VDM_TORSO}};
    vdm_error err;
    for (int i = 0; i < 8; i++)
        joints[i] = (vdm_joint){height * (i < 4 ? 0.21 : 0.77), width * (0.13 + 0.243 * (i % 4)),
                                i == 3             ? VDM_FACE
                                : i == 6 || i == 7 ? VDM_TORSO
                                : i < 4            ? VDM_ARM
                                                   : VDM_LEG};
    CHECK(vdm_pose_read(found, &p, &err) == 0, "a black picture");
    vdm_pose_draw(&p, joints, 8, limbs, 4);
    int n = vdm_pose_read(found, &p, &err);
    CHECK(n == 8 && of_part(found, n, VDM_ARM) == 3 && of_part(found, n, VDM_FACE) == 1, "%dx%d: found %d",
          height, width, n);
    CHECK(vdm_pose_pairs(joints, 8, found, n, 1) == 8, "%dx%d: within a pixel", height, width);
    free(rgb);
}

static void test_pose_score(void)
{
    enum { SIDE = 120 };
    uint8_t a[SIDE * SIDE * 3] = {0}, b[sizeof a] = {0};
    vdm_picture p = {SIDE, SIDE, a}, q = {SIDE, SIDE, b}, other = {SIDE - 1, SIDE, b};
    const vdm_joint truth[] = {{20.5, 20.5, VDM_FACE}, {60.5, 20.5, VDM_ARM}, {100.5, 60.5, VDM_LEG}},
                    answer[] = {{25.5, 20.5, VDM_FACE}, {60.5, 27.5, VDM_ARM}, {100.5, 60.5, VDM_TORSO}};
    vdm_pose_match m;
    vdm_error err;
    const vdm_grid_layout none = {0};
    double score;
    bool exact;
    CHECK(!vdm_score_pose(&m, &p, &q, VDM_MATCH_RATE, &err) && m.share == 1 && !m.joints && !m.found,
          "no joints");
    vdm_pose_draw(&p, answer, 3, NULL, 0);
    CHECK(!vdm_score_pose(&m, &p, &q, VDM_MATCH_RATE, &err) && m.share == 0 && m.found == 3,
          "joints from nowhere");
    CHECK(!vdm_score_pose(&m, &q, &p, VDM_PCK, &err) && m.share == 0 && m.joints == 3, "an empty answer");
    vdm_pose_draw(&q, truth, 3, NULL, 0);
    /* 5 and 7 pixels off, another part: within 6 of 120, and within 8 of a box of 80 */
    CHECK(!vdm_score_pose(&m, &p, &q, VDM_MATCH_RATE, &err) && m.matched == 1 && near(m.share, 1.0 / 3) &&
              near(m.within, 6),
          "match rate: %d, %g", m.matched, m.within);
    CHECK(!vdm_score_pose(&m, &p, &q, VDM_PCK, &err) && m.matched == 2 && near(m.within, 8), "pck: %d, %g",
          m.matched, m.within);
    CHECK(!vdm_score_pose(&m, &p, &other, VDM_MATCH_RATE, &err) && isnan(m.share), "other sizes");
    CHECK(!vdm_score(&score, &exact, VDM_METRIC_POSE, &none, &q, &q, &err) && score == 1 && exact, "itself");
    const vdm_joint more = {20.5, 100.5, VDM_LEG};
    memcpy(a, b, sizeof a);
    vdm_pose_draw(&p, &more, 1, NULL, 0);
    CHECK(!vdm_score(&score, &exact, VDM_METRIC_POSE, &none, &p, &q, &err) && score == 1 && !exact,
          "one too many isn't exact");
}

/* Every metric on a picture and itself, and on its negative. */
static void test_by_metric(void)
{
    uint8_t a[N], b[N];
    vdm_picture p = {6, W, a}, q = {6, W, b};
    vdm_error err;
    double score;
    bool exact;
    const vdm_grid_layout g = {.rows = 2, .cols = 2, .cell = 3};
    for (int i = 0; i < N; i++) a[i] = i / 3 % W < W / 2 ? 255 : 0, b[i] = (uint8_t)(255 - a[i]);
    for (int m = VDM_METRIC_PSNR; m <= VDM_METRIC_MAE; m++) {
        vdm_metric metric = (vdm_metric)m, parsed;
        const char *name = vdm_metric_name(metric);
        CHECK(vdm_metric_parse(&parsed, name) == 0 && parsed == metric, "%s: its name", name);
        CHECK(!vdm_score(&score, &exact, metric, &g, &p, &p, &err), "%s", err.text);
        CHECK(m == VDM_METRIC_SSIM ? isnan(score) && exact : exact, "%s: itself: %g", name, score);
        CHECK(!vdm_score(&score, &exact, metric, &g, &p, &q, &err), "%s", err.text);
        bool pose = m == VDM_METRIC_POSE || m == VDM_METRIC_PCK;
        CHECK(pose || !exact, "%s: the negative: %g", name, score);
    }
    CHECK(vdm_metric_parse(&(vdm_metric){0}, "best") == -1, "no such metric");
}

static void test_colours(void)
{
    vdm_colours colours;
    vdm_metric_colours(&colours, VDM_METRIC_MAE, VDM_PALETTE_ARC);
    CHECK(colours.n == 0 && !vdm_metric_colour(VDM_METRIC_MAE, VDM_PALETTE_ARC, 0),
          "mae distinguishes no colours");
    const uint8_t *white = vdm_metric_colour(VDM_METRIC_IOU, VDM_PALETTE_ARC, 1);
    CHECK(white[2] == 255 && !vdm_metric_colour(VDM_METRIC_IOU, VDM_PALETTE_ARC, 2) &&
              !vdm_metric_colour(VDM_METRIC_IOU, VDM_PALETTE_ARC, -1),
          "iou");
    vdm_metric_colours(&colours, VDM_METRIC_PCK, VDM_PALETTE_ARC);
    CHECK(colours.n == 5 && colours.rgb[4][1] == 255, "pck: black and four parts");
    CHECK(vdm_nearest_colour(&colours, (double[]){90, 10, 200}) == 2 &&
              vdm_nearest_colour(&colours, (double[]){90, 10, 30}) == 0,
          "torso, black");
    vdm_metric_colours(&colours, VDM_METRIC_CELLS, VDM_PALETTE_MAZE);
    CHECK(colours.n == 5 && colours.rgb[3][1] == 191, "cells: the palette");
    CHECK(vdm_nearest_colour(&(vdm_colours){2, {{0, 0, 0}, {2, 0, 0}}}, (double[]){1, 0, 0}) == 0,
          "the first of equals");
    CHECK(vdm_luminance((uint8_t[]){255, 255, 255}) == 255000 &&
              vdm_luminance((uint8_t[]){1, 10, 100}) == 17569,
          "luminance");
}

/* Two pictures without pixels are not a right answer: NaN, "can't be compared", whatever the metric. */
static void test_no_picture(void)
{
    const vdm_picture none[] = {{0}, {.height = 8, .width = 8}};
    const vdm_grid_layout grid = {.rows = 1, .cols = 1, .cell = 8};
    vdm_joint joints[VDM_MAX_JOINTS];
    vdm_error err;
    for (int i = 0; i < 2; i++) {
        for (int m = VDM_METRIC_PSNR; m <= VDM_METRIC_MAE; m++) {
            double score = 1;
            bool exact = true;
            int status = vdm_score(&score, &exact, (vdm_metric)m, &grid, &none[i], &none[i], &err);
            CHECK(!status && isnan(score) && !exact, "picture %d, %s: %g", i, vdm_metric_name((vdm_metric)m),
                  score);
        }
        CHECK(vdm_pose_read(joints, &none[i], &err) == -1 && strstr(err.text, "pose: "), "a pose");
    }
}

int main(void)
{
    test_psnr();
    test_mae();
    test_ssim();
    test_iou();
    test_miou();
    test_pairs();
    test_draw(64, 64);
    test_draw(97, 131);
    test_draw(480, 720);
    test_pose_score();
    test_by_metric();
    test_colours();
    test_no_picture();
    return check_end("score");
}
