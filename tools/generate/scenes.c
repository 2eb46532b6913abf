/* Pictures of shapes and of a figure, drawn from a few numbers: y, x in units of a 64th of the picture's
 * shorter side, angles in radians. A shape is a signed distance; a pixel whose centre is at distance d (in
 * pixels, negative inside) is covered by 1/2 - d, within 0..1.
 *
 *   shapes  input: four to six shapes that don't touch, on black; answer: white where a disc is (metric iou)
 *   figure  input: a figure of one colour on another; answer: its limbs on black, as the authors colour
 *           poses: vdm_pose_draw (arXiv 2506.07280; metric pose)
 *
 * Two problems are compared on a coarse map of MAP cells along the shorter side (problem.x, problem.y). */
#include "tools/generate/generators.h"
#include "vdm_math.h"

#include <math.h>

enum { UNITS = 64, MAP = 16 };
static const double PI = 3.14159265358979323846;

static double clip(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

/* Height and width of the picture in units. */
static void extent(const recipe *r, double *height, double *width)
{
    int side = r->height < r->width ? r->height : r->width;
    *height = (double)UNITS * r->height / side;
    *width = (double)UNITS * r->width / side;
}

static double unit_of(const vdm_picture *p) /* pixels */
{
    return (double)(p->height < p->width ? p->height : p->width) / UNITS;
}

static void fill(vdm_picture *p, const uint8_t *rgb)
{
    for (int64_t i = 0; i < 3 * (int64_t)p->height * p->width; i++) p->rgb[i] = rgb[i % 3];
}

/* Paints one shape: its distance at (y, x), in units; the square around (cy, cx) contains it. */
typedef double distance_at(const double *shape, double y, double x);
static void paint(vdm_picture *p, distance_at *shape, const double *s, double cy, double cx, double reach,
                  const uint8_t *rgb, bool hard)
{
    double u = unit_of(p);
    int top = (int)clip((cy - reach) * u - 2, 0, p->height),
        bottom = (int)clip((cy + reach) * u + 2, 0, p->height);
    int left = (int)clip((cx - reach) * u - 2, 0, p->width),
        right = (int)clip((cx + reach) * u + 2, 0, p->width);
    for (int row = top; row < bottom; row++)
        for (int col = left; col < right; col++) {
            double cover = clip(0.5 - u * shape(s, (row + 0.5) / u, (col + 0.5) / u), 0, 1);
            uint8_t *pixel = p->rgb + 3 * ((size_t)row * (size_t)p->width + (size_t)col);
            if (hard) cover = cover >= 0.5;
            for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)(pixel[c] + cover * (rgb[c] - pixel[c]) + 0.5);
        }
}

/* ------------------------------------------------------------------------------------------------
 * A disc among other shapes. numbers: how many, then SHAPE parameters of each */

enum { DISC, SQUARE, TRIANGLE, CROSS, RING, KINDS };
enum { KIND, Y, X, RADIUS, COS, SIN, COLOUR, SHAPE };

static double box(double x, double y, double width, double height)
{
    return fmax(fabs(x) - width, fabs(y) - height);
}

static double shape_distance(const double *s, double y, double x)
{
    double dy = (y - s[Y]) / s[RADIUS], dx = (x - s[X]) / s[RADIUS], d;
    double u = s[COS] * dx + s[SIN] * dy, v = s[COS] * dy - s[SIN] * dx;
    switch ((int)s[KIND]) {
    case DISC:
        d = sqrt(u * u + v * v) - 1;
        break;
    case SQUARE:
        d = box(u, v, 0.8, 0.8);
        break;
    case TRIANGLE:
        d = fmax(0.866 * fabs(u) + 0.5 * v, -v) - 0.5;
        break;
    case CROSS:
        d = fmin(box(u, v, 1, 0.33), box(v, u, 1, 0.33));
        break;
    default:
        d = fabs(sqrt(u * u + v * v) - 0.75) - 0.25;
    }
    return d * s[RADIUS];
}

/* Places the shape so that it touches no other one: its radius is at most 1.15 (a square's corner). */
static bool place(double *s, const double *others, int n, double height, double width, vdm_rng *rng)
{
    s[RADIUS] = between(rng, 6, 11);
    double margin = 1.15 * s[RADIUS];
    s[Y] = between(rng, margin, height - margin);
    s[X] = between(rng, margin, width - margin);
    for (int i = 0; i < n; i++) {
        const double *o = others + i * SHAPE;
        double dy = s[Y] - o[Y], dx = s[X] - o[X], distance = margin + 1.15 * o[RADIUS] + 1;
        if (dy * dy + dx * dx < distance * distance) return false;
    }
    return true;
}

bool scene_shapes(problem *p, const recipe *r, vdm_rng *rng)
{
    double height, width, *shapes = p->numbers + 1;
    int n = 4 + below(rng, 3);
    extent(r, &height, &width);
    p->numbers[0] = n;
    for (int i = 0; i < n; i++) {
        double *s = shapes + i * SHAPE, turn = between(rng, 0, 2 * PI);
        int tries = 0;
        while (!place(s, shapes, i, height, width, rng))
            if (++tries == 100) return false;
        s[KIND] = i ? 1 + below(rng, KINDS - 1) : DISC;
        s[COS] = vdm_cos(turn);
        s[SIN] = vdm_sin(turn);
        s[COLOUR] = 1 + below(rng, 9);
    }
    grid *map = &p->x;
    map->rows = (int)(height * MAP / UNITS + 0.5);
    map->cols = (int)(width * MAP / UNITS + 0.5);
    for (int i = 0; i < n; i++)
        for (int k = 0; k < map->rows * map->cols; k++) {
            const double *s = shapes + i * SHAPE, cell = (double)UNITS / MAP;
            double d = shape_distance(s, (k / map->cols + 0.5) * cell, (k % map->cols + 0.5) * cell);
            if (d < 0) map->cells[k] = (uint8_t)(1 + (int)s[KIND]);
        }
    p->y = p->x;
    return true;
}

void draw_shapes(vdm_picture *x, vdm_picture *y, const problem *p)
{
    static const uint8_t black[3] = {0}, white[3] = {255, 255, 255};
    fill(x, black);
    fill(y, black);
    for (int i = 0; i < (int)p->numbers[0]; i++) {
        const double *s = p->numbers + 1 + i * SHAPE;
        const uint8_t *rgb = vdm_palette_colour(VDM_PALETTE_ARC, (int)s[COLOUR]);
        paint(x, shape_distance, s, s[Y], s[X], 1.2 * s[RADIUS], rgb, false);
        if ((int)s[KIND] == DISC) paint(y, shape_distance, s, s[Y], s[X], 1.2 * s[RADIUS], white, true);
    }
}

/* ------------------------------------------------------------------------------------------------
 * A figure. numbers: size, its colour, the backdrop's, then y, x of the joints */

enum { HIP, NECK, HEAD, ELBOW_1, HAND_1, ELBOW_2, HAND_2, KNEE_1, FOOT_1, KNEE_2, FOOT_2, JOINTS };
static const vdm_limb LIMBS[] = {{HIP, NECK, VDM_TORSO},   {NECK, HEAD, VDM_FACE},
                                 {NECK, ELBOW_1, VDM_ARM}, {ELBOW_1, HAND_1, VDM_ARM},
                                 {NECK, ELBOW_2, VDM_ARM}, {ELBOW_2, HAND_2, VDM_ARM},
                                 {HIP, KNEE_1, VDM_LEG},   {KNEE_1, FOOT_1, VDM_LEG},
                                 {HIP, KNEE_2, VDM_LEG},   {KNEE_2, FOOT_2, VDM_LEG}};
enum { N_LIMBS = sizeof LIMBS / sizeof LIMBS[0] };
static const vdm_part JOINT_PART[JOINTS] = {VDM_TORSO, VDM_TORSO, VDM_FACE, VDM_ARM, VDM_ARM, VDM_ARM,
                                            VDM_ARM,   VDM_LEG,   VDM_LEG,  VDM_LEG, VDM_LEG};

/* A line with round ends: y0, x0, y1, x1, half its width. A point is a line of length 0. */
static double line_distance(const double *s, double y, double x)
{
    double vy = s[2] - s[0], vx = s[3] - s[1], dy = y - s[0], dx = x - s[1];
    double t = clip((dx * vx + dy * vy) / (vx * vx + vy * vy + 1e-9), 0, 1);
    dy -= t * vy;
    dx -= t * vx;
    return sqrt(dy * dy + dx * dx) - s[4];
}

/* The joint `to` at `length` from `from`, at an angle from straight down. */
static void joint(double (*at)[2], int to, int from, double angle, double length)
{
    at[to][0] = at[from][0] + length * vdm_cos(angle);
    at[to][1] = at[from][1] + length * vdm_sin(angle);
}

static void pose(double (*at)[2], double size, vdm_rng *rng)
{
    double lean = between(rng, -0.3, 0.3);
    joint(at, NECK, HIP, PI + lean, 15 * size);
    joint(at, HEAD, NECK, PI + lean + between(rng, -0.2, 0.2), 6 * size);
    for (int side = 0; side < 2; side++) {
        double out = side ? 1 : -1, arm = out * between(rng, 0.2, 2.6), leg = out * between(rng, 0.1, 0.9);
        joint(at, ELBOW_1 + 2 * side, NECK, arm, 8 * size);
        joint(at, HAND_1 + 2 * side, ELBOW_1 + 2 * side, arm + between(rng, -1, 1), 8 * size);
        joint(at, KNEE_1 + 2 * side, HIP, leg, 9 * size);
        joint(at, FOOT_1 + 2 * side, KNEE_1 + 2 * side, leg + between(rng, -0.6, 0.6), 9 * size);
    }
}

static void limb_line(double line[5], const double (*at)[2], int i, double half)
{
    const double *a = at[LIMBS[i].from], *b = at[LIMBS[i].to];
    line[0] = a[0], line[1] = a[1], line[2] = b[0], line[3] = b[1], line[4] = half;
}

/* The figure's coarse map: 1 if a limb is near. */
static void figure_map(grid *map, const double (*at)[2], double height, double width)
{
    double cell = (double)UNITS / MAP, line[5];
    map->rows = (int)(height * MAP / UNITS + 0.5);
    map->cols = (int)(width * MAP / UNITS + 0.5);
    for (int i = 0; i < N_LIMBS; i++)
        for (int k = 0; k < map->rows * map->cols; k++) {
            limb_line(line, at, i, cell / 2);
            if (line_distance(line, (k / map->cols + 0.5) * cell, (k % map->cols + 0.5) * cell) < 0)
                map->cells[k] = 1;
        }
}

bool scene_figure(problem *p, const recipe *r, vdm_rng *rng)
{
    double height, width, *n = p->numbers, (*at)[2] = (double(*)[2])(n + 3);
    extent(r, &height, &width);
    n[0] = between(rng, 0.75, 1.15);
    n[1] = below(rng, 10);
    n[2] = below(rng, 10);
    at[HIP][0] = between(rng, 22, height - 14);
    at[HIP][1] = between(rng, 12, width - 12);
    pose(at, n[0], rng);
    if (n[1] == n[2]) return false;
    for (int i = 0; i < JOINTS; i++) {
        double margin = i == HEAD ? 5 * n[0] : 2;
        if (at[i][0] < margin || at[i][0] > height - margin || at[i][1] < margin || at[i][1] > width - margin)
            return false;
    }
    figure_map(&p->x, (const double(*)[2])at, height, width);
    p->y = p->x;
    return true;
}

void draw_figure(vdm_picture *x, vdm_picture *y, const problem *p)
{
    static const uint8_t black[3] = {0};
    const double *n = p->numbers, (*at)[2] = (const double(*)[2])(n + 3);
    const uint8_t *ink = vdm_palette_colour(VDM_PALETTE_ARC, (int)n[1]);
    double u = unit_of(y), line[5];
    vdm_joint joints[JOINTS];
    fill(x, vdm_palette_colour(VDM_PALETTE_ARC, (int)n[2]));
    fill(y, black);
    for (int i = 0; i < N_LIMBS; i++) {
        const double *a = at[LIMBS[i].from], *b = at[LIMBS[i].to];
        double reach = fabs(a[0] - b[0]) + fabs(a[1] - b[1]) + 4;
        limb_line(line, at, i, 1.6 * n[0]);
        paint(x, line_distance, line, a[0], a[1], reach, ink, false);
    }
    for (int i = 0; i < JOINTS; i++) joints[i] = (vdm_joint){at[i][0] * u, at[i][1] * u, JOINT_PART[i]};
    vdm_pose_draw(y, joints, JOINTS, LIMBS, N_LIMBS);
    double head[5] = {at[HEAD][0], at[HEAD][1], at[HEAD][0], at[HEAD][1], 4.5 * n[0]};
    paint(x, line_distance, head, at[HEAD][0], at[HEAD][1], 8, ink, false);
}
