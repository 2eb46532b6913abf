/* Stick figures: joints -> picture -> joints, and how many of them are in the right place.
 *
 *   joints [n] of (y, x, part)  ->  lines and discs on black [H,W,3]  ->  joints [n'], in no order
 *
 * Colours and sizes are those measured on the pictures of arXiv 2506.07280: face white, torso blue, arms red,
 * legs green; at a height of 480 lines of 4 and discs of 11 pixels. Their choice of joints and their rule for matching
 * them are not published; vdm_task.h defines those used here.
 *
 * A picture shows only the part that a joint belongs to: left and right, hand and elbow differ by nothing but their
 * place. So joints are matched within a part, each at most once, as many as possible (maximum matching by augmenting
 * paths).
 *
 * Traps
 *   A disc is found by the share of a disc's shape around a pixel that has the colour, not by the colour alone: a line
 *   has the colour too, but fills less of the shape.
 *   Edges are blended with the background: the cover by a colour decreases from 1 to 0 with the distance from it, and
 *   is 0 at black. */
#include "vdm_task.h"

#include <math.h>
#include <string.h>

enum { PARTS = 4 };
static const uint8_t PART_COLOUR[PARTS][3] = {{255, 255, 255}, {0, 0, 255}, {255, 0, 0}, {0, 255, 0}};

const uint8_t *vdm_pose_colour(vdm_part part)
{
    return PART_COLOUR[part];
}

/* Pixels at a height of 480; at least what a small picture can show. */
static double side_of(const vdm_picture *p)
{
    return p->height < p->width ? p->height : p->width;
}
static double line_radius(const vdm_picture *p)
{
    return fmax(4 * side_of(p) / 480, 1.5) / 2;
}
static double disc_radius(const vdm_picture *p)
{
    return fmax(11 * side_of(p) / 480, 3) / 2;
}

/* ------------------------------------------------------------------------------------------------
 * Drawing */

static double clip(double v, double low, double high)
{
    return v < low ? low : v > high ? high : v;
}

/* From (y, x) to the line from a to b, which may be a point. */
static double line_distance(const vdm_joint *a, const vdm_joint *b, double y, double x)
{
    double vy = b->y - a->y, vx = b->x - a->x, dy = y - a->y, dx = x - a->x, length = vx * vx + vy * vy;
    double t = length > 0 ? clip((dx * vx + dy * vy) / length, 0, 1) : 0;
    dy -= t * vy;
    dx -= t * vx;
    return sqrt(dy * dy + dx * dx);
}

/* A line with round ends; a pixel whose centre is at distance d outside it is covered by 1/2 - d. */
static void draw_line(vdm_picture *p, const vdm_joint *a, const vdm_joint *b, double radius,
                      const uint8_t *rgb)
{
    double margin = radius + 2;
    int top = (int)clip(fmin(a->y, b->y) - margin, 0, p->height),
        bottom = (int)clip(fmax(a->y, b->y) + margin, 0, p->height);
    int left = (int)clip(fmin(a->x, b->x) - margin, 0, p->width),
        right = (int)clip(fmax(a->x, b->x) + margin, 0, p->width);
    for (int row = top; row < bottom; row++)
        for (int col = left; col < right; col++) {
            double cover = clip(0.5 + radius - line_distance(a, b, row + 0.5, col + 0.5), 0, 1);
            uint8_t *pixel = p->rgb + 3 * ((size_t)row * (size_t)p->width + (size_t)col);
            for (int c = 0; c < 3; c++) pixel[c] = (uint8_t)(pixel[c] + cover * (rgb[c] - pixel[c]) + 0.5);
        }
}

void vdm_pose_draw(vdm_picture *p, const vdm_joint *joints, int n, const vdm_limb *limbs, int n_limbs)
{
    for (int i = 0; i < n_limbs; i++)
        draw_line(p, &joints[limbs[i].from], &joints[limbs[i].to], line_radius(p),
                  PART_COLOUR[limbs[i].part]);
    for (int i = 0; i < n; i++)
        draw_line(p, &joints[i], &joints[i], disc_radius(p), PART_COLOUR[joints[i].part]);
}

/* ------------------------------------------------------------------------------------------------
 * Reading */

/* The share of a pixel that has the part's colour c: a in rgb = a c + rest, if the direction of c is the nearest of all
 * parts' and near enough (cosine^2 >= 0.72: yellow is not white). */
static float cover_of(const uint8_t *rgb, int part)
{
    double own = 0, best = 0, amount = 0, norm = 0;
    for (int c = 0; c < 3; c++) norm += rgb[c] * rgb[c];
    for (int k = 0; k < PARTS; k++) {
        double dot = 0, length = 0;
        for (int c = 0; c < 3; c++) {
            dot += rgb[c] * PART_COLOUR[k][c];
            length += PART_COLOUR[k][c] * PART_COLOUR[k][c];
        }
        double cosine = dot * dot / length;
        if (cosine > best) best = cosine;
        if (k != part) continue;
        own = cosine;
        amount = dot / length;
    }
    return own < best || own < 0.72 * norm || norm == 0 ? 0 : (float)fmin(amount, 1);
}

/* The share of a disc's shape that must be covered. On drawn figures (1,062 free joints at 64x64, 1,084 at 480x720)
 * 0.65 finds 99.6 and 100 % of the joints, and 7 and 0.4 % false ones, at which lines of one colour meet. In small
 * pictures 0.5 takes lines for discs, and 0.75 misses a tenth of the discs. */
static const float THRESHOLD = 0.65f;

/* The share of a disc around every pixel that the part's colour covers; 0 if the pixel itself doesn't have the colour.
 * cover, response [H,W] */
static void find_discs(float *response, float *cover, const vdm_picture *p, int part)
{
    int H = p->height, W = p->width, r = (int)disc_radius(p);
    double radius = disc_radius(p);
    for (int64_t i = 0; i < (int64_t)H * W; i++) cover[i] = cover_of(p->rgb + 3 * i, part);
    for (int64_t i = 0; i < (int64_t)H * W; i++) {
        int y = (int)(i / W), x = (int)(i % W), n = 0;
        float sum = 0;
        for (int dy = -r; cover[i] > 0.25f && dy <= r; dy++)
            for (int dx = -r; dx <= r; dx++) {
                if (dy * dy + dx * dx > radius * radius) continue;
                n++;
                if (y + dy >= 0 && y + dy < H && x + dx >= 0 && x + dx < W) sum += cover[i + dy * W + dx];
            }
        response[i] = n ? sum / (float)n : 0;
    }
}

/* No pixel within a disc's diameter has a larger response, no earlier one the same. */
static bool is_peak(const float *response, const vdm_picture *p, int y, int x)
{
    int W = p->width, r = (int)(1.2 * disc_radius(p));
    float own = response[(int64_t)y * W + x];
    for (int dy = -r; dy <= r; dy++)
        for (int dx = -r; dx <= r; dx++) {
            if (y + dy < 0 || y + dy >= p->height || x + dx < 0 || x + dx >= W) continue;
            if (dy * dy + dx * dx > r * r) continue;
            float other = response[(int64_t)(y + dy) * W + x + dx];
            bool before = dy < 0 || (dy == 0 && dx < 0);
            if (other > own || (other == own && before)) return false;
        }
    return true;
}

int vdm_pose_read(vdm_joint *joints, const vdm_picture *p, vdm_error *err)
{
    if (vdm_picture_check(p, "pose", err)) return -1;
    size_t pixels = (size_t)p->height * (size_t)p->width;
    float *cover = vdm_alloc(pixels, 2 * sizeof *cover, "a picture's discs", err);
    int n = 0;
    if (!cover) return -1;
    float *response = cover + pixels;
    for (int part = 0; part < PARTS; part++) {
        find_discs(response, cover, p, part);
        for (int y = 0; y < p->height; y++)
            for (int x = 0; x < p->width && n < VDM_MAX_JOINTS; x++)
                if (response[(size_t)y * (size_t)p->width + (size_t)x] >= THRESHOLD &&
                    is_peak(response, p, y, x))
                    joints[n++] = (vdm_joint){y + 0.5, x + 0.5, (vdm_part)part};
    }
    vdm_free(cover);
    return n;
}
/* ------------------------------------------------------------------------------------------------
 * Matching */

typedef struct pairing {
    const vdm_joint *truth, *answer;
    int n_answer;
    double within;
    int partner[VDM_MAX_JOINTS]; /* of an answer's joint: one of the truth, or -1 */
    bool tried[VDM_MAX_JOINTS];  /* an answer's joint, in this search */
} pairing;

static bool is_near(const pairing *p, int i, int k)
{
    const vdm_joint *a = &p->truth[i], *b = &p->answer[k];
    double dy = a->y - b->y, dx = a->x - b->x;
    return a->part == b->part && dy * dy + dx * dx <= p->within * p->within;
}

/* Finds a partner for the truth's joint `first`. Joints of the truth that must look for another partner are on an
 * explicit stack: a chain may be as long as there are joints. */
static bool augment(pairing *p, int first)
{
    int joint[VDM_MAX_JOINTS + 1], next[VDM_MAX_JOINTS + 1], depth = 0;
    joint[0] = first;
    next[0] = 0;
    memset(p->tried, 0, sizeof p->tried);
    while (depth >= 0) {
        int k = next[depth]++;
        if (k == p->n_answer) {
            depth--;
        } else if (!p->tried[k] && is_near(p, joint[depth], k)) {
            p->tried[k] = true;
            if (p->partner[k] >= 0) {
                joint[++depth] = p->partner[k];
                next[depth] = 0;
                continue;
            }
            for (; depth >= 0; depth--) p->partner[next[depth] - 1] = joint[depth];
            return true;
        }
    }
    return false;
}

int vdm_pose_pairs(const vdm_joint *truth, int n_truth, const vdm_joint *answer, int n_answer, double within)
{
    pairing p = {.truth = truth, .answer = answer, .n_answer = n_answer, .within = within};
    int matched = 0;
    for (int k = 0; k < n_answer; k++) p.partner[k] = -1;
    for (int i = 0; i < n_truth; i++) matched += augment(&p, i);
    return matched;
}

/* The longer side of the box around the joints. */
static double extent(const vdm_joint *joints, int n)
{
    double top = (double)INFINITY, left = (double)INFINITY, bottom = -top, right = -left;
    for (int i = 0; i < n; i++) {
        top = fmin(top, joints[i].y), bottom = fmax(bottom, joints[i].y);
        left = fmin(left, joints[i].x), right = fmax(right, joints[i].x);
    }
    return n ? fmax(bottom - top, right - left) : 0;
}

int vdm_score_pose(vdm_pose_match *m, const vdm_picture *answer, const vdm_picture *truth, vdm_pose_rule rule,
                   vdm_error *err)
{
    *m = (vdm_pose_match){.share = (double)NAN};
    if (!answer->rgb || !truth->rgb || answer->width != truth->width || answer->height != truth->height)
        return 0;
    vdm_joint *joints = vdm_alloc(2 * VDM_MAX_JOINTS, sizeof *joints, "a picture's joints", err);
    if (!joints) return -1;
    m->joints = vdm_pose_read(joints, truth, err);
    m->found = m->joints < 0 ? -1 : vdm_pose_read(joints + VDM_MAX_JOINTS, answer, err);
    int status = m->found < 0 ? -1 : 0;
    if (!status) {
        m->within = rule == VDM_PCK ? 0.1 * extent(joints, m->joints) : 0.05 * side_of(truth);
        m->matched = vdm_pose_pairs(joints, m->joints, joints + VDM_MAX_JOINTS, m->found, m->within);
        m->share = m->joints ? (double)m->matched / m->joints : m->found == 0;
    }
    vdm_free(joints);
    return status;
}
