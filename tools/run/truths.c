/* Whether the outputs of a task are pictures that its metric can read.
 *
 *   cells       the picture is that of a grid: its cells, read and drawn again, are the picture
 *   iou         a pixel is on, or the picture is one colour        (not: classes 0 and 1 of 255 levels, a red mask)
 *   miou        two classes occur in the outputs, or each is one colour
 *   pose, pck   a joint is found, or the picture is one colour     (not: figures in other colours)
 *
 * What a metric does not find in the truth it does not ask of an answer: without a word, all answers would be exact. */
#include "tools/run/truths.h"
#include "tools/messages.h"
#include "tools/run/canvas.h"

#include <math.h>
#include <string.h>

static const double FAR = 64; /* from a colour: levels of 255, root of the sum of squares */

/* What was found. */
struct seen {
    const truths *t;
    vdm_task plain; /* the task in no view: in a view every picture is drawn as a grid */
    vdm_colours colours;
    bool blended; /* colours may be blended with the first one, the background */
    int pictures;
    const char *varied;    /* the first one of several colours */
    unsigned classes;      /* a bit for each class that occurs; of iou: 0 off, 1 on; of poses 1: a joint */
    const char *far_first; /* the first picture that is far from the grid or the colours */
    int far;
    double difference; /* of the first one, from its grid */
    vdm_grid_layout grid;
};

static void note_far(struct seen *s, const char *path)
{
    if (s->far++ == 0) s->far_first = path;
}

/* ------------------------------------------------------------------------------------------------
 * Grids */

/* A picture of another size is resized, with edges that no grid has: then nothing is known. */
static int look_at_grid(struct seen *s, const vdm_example *e, vdm_side side, vdm_error *err)
{
    int height, width;
    double difference = 0;
    vdm_picture p = {0};
    const char *path = side == VDM_OUTPUT ? e->output : e->input;
    if (vdm_picture_size(path, &height, &width, err)) return -1;
    if (height != s->t->height || width != s->t->width) return 0;
    const vdm_grid_layout grid = vdm_example_grid(&s->plain, e);
    int status = vdm_example_picture(&p, &s->plain, e, side, height, width, err);
    if (!status) status = canvas_difference(&difference, &p, &grid, err);
    if (difference > 0) note_far(s, path);
    if (difference > 0 && s->far == 1) s->difference = difference, s->grid = grid;
    vdm_picture_free(&p);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Masks, classes, figures */

/* From the nearest of the colours, or of their blends with the first one. */
static double distance_of(const struct seen *s, const uint8_t *rgb)
{
    double nearest = (double)INFINITY;
    for (int k = 0; k < s->colours.n; k++) {
        double dot = 0, length = 0, distance = 0;
        const double *from = s->colours.rgb[0], *to = s->colours.rgb[k];
        for (int c = 0; c < 3; c++) {
            dot += (rgb[c] - from[c]) * (to[c] - from[c]);
            length += (to[c] - from[c]) * (to[c] - from[c]);
        }
        double share = s->blended && length > 0 ? fmin(fmax(dot / length, 0), 1) : 1;
        for (int c = 0; c < 3; c++) {
            double d = rgb[c] - from[c] - share * (to[c] - from[c]);
            distance += d * d;
        }
        nearest = fmin(nearest, distance);
    }
    return sqrt(nearest);
}

static double distance_from_background(const struct seen *s, const uint8_t *rgb)
{
    double sum = 0;
    for (int c = 0; c < 3; c++) sum += (rgb[c] - s->colours.rgb[0][c]) * (rgb[c] - s->colours.rgb[0][c]);
    return sqrt(sum);
}

/* The class that iou and miou give a pixel; 0 of poses, which have no classes of pixels. */
static int class_of(const struct seen *s, const uint8_t *rgb)
{
    const double x[3] = {rgb[0], rgb[1], rgb[2]};
    if (s->plain.metric == VDM_METRIC_MIOU) return vdm_nearest_colour(&s->colours, x);
    return s->plain.metric == VDM_METRIC_IOU && vdm_luminance(rgb) > 127500;
}

static int look_at_colours(struct seen *s, const vdm_example *e, vdm_error *err)
{
    vdm_picture p = {0};
    int64_t figure = 0, far = 0; /* pixels */
    bool varied = false, poses = s->plain.metric == VDM_METRIC_POSE || s->plain.metric == VDM_METRIC_PCK;
    if (vdm_example_picture(&p, &s->plain, e, VDM_OUTPUT, s->t->height, s->t->width, err)) return -1;
    for (int64_t i = 0; i < (int64_t)p.height * p.width; i++) {
        const uint8_t *rgb = p.rgb + 3 * i;
        int class = class_of(s, rgb);
        s->classes |= 1u << class;
        varied = varied || memcmp(rgb, p.rgb, 3) != 0;
        if (distance_from_background(s, rgb) <= FAR) continue;
        figure++;
        bool on = s->plain.metric == VDM_METRIC_IOU && class; /* in whatever colour */
        far += !on && distance_of(s, rgb) > FAR;
    }
    if (varied && !s->varied) s->varied = e->output;
    if (2 * far > figure) note_far(s, e->output);
    int joints = 0;
    if (poses) {
        vdm_joint *list = vdm_alloc(VDM_MAX_JOINTS, sizeof *list, "a picture's joints", err);
        joints = list ? vdm_pose_read(list, &p, err) : -1;
        vdm_free(list);
    }
    if (joints > 0) s->classes |= 2;
    vdm_picture_free(&p);
    return joints < 0 ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------
 * All of them */

static int look(struct seen *s, const vdm_example *e, vdm_error *err)
{
    bool grid = s->plain.metric == VDM_METRIC_CELLS;
    if (grid && s->t->inputs && look_at_grid(s, e, VDM_INPUT, err)) return -1;
    if (!e->output) return 0;
    s->pictures++;
    return grid ? look_at_grid(s, e, VDM_OUTPUT, err) : look_at_colours(s, e, err);
}

static void print_far(const struct seen *s)
{
    if (!s->far) return;
    if (s->plain.metric == VDM_METRIC_CELLS) {
        canvas_print_difference(s->far_first, &s->grid, s->difference, "task.json", s->far - 1);
        return;
    }
    fprintf(stderr,
            "%s: most pixels of its figure differ by more than %.0f of 255 levels from the colours that the "
            "metric %s reads: are metric and palette of task.json those of the picture?",
            clean(s->far_first), FAR, vdm_metric_name(s->plain.metric));
    if (s->far > 1) fprintf(stderr, " It is one of %d such pictures.", s->far);
    fputc('\n', stderr);
}

/* Whether the metric finds something: two classes of miou; of iou a pixel, of poses a joint. */
static bool is_found(const struct seen *s)
{
    return s->plain.metric == VDM_METRIC_MIOU ? (s->classes & (s->classes - 1)) != 0 : (s->classes & 2) != 0;
}

/* The outputs that are not asked for, until one has something: the first ones may all be empty. */
static int look_further(struct seen *s, vdm_error *err)
{
    const vdm_task *t = &s->plain;
    for (int i = s->t->n_train; i < t->n_train && !is_found(s); i++)
        if (look(s, &t->train[i], err)) return -1;
    for (int i = s->t->n_test; i < t->n_test && !is_found(s); i++)
        if (look(s, &t->test[i], err)) return -1;
    return 0;
}

/* Rejects outputs of several colours in which the metric finds nothing, and prints that all are of one colour. */
static int check_found(const struct seen *s, vdm_error *err)
{
    const vdm_metric m = s->plain.metric;
    const char *name = vdm_metric_name(m),
               *what = m == VDM_METRIC_IOU    ? "a pixel with a luminance above 127, as of white on black"
                       : m == VDM_METRIC_MIOU ? "two classes, pixels next to two colours of the palette"
                                              : "a joint, a disc in white, blue, red or green on black";
    if (is_found(s) || !s->pictures) return 0;
    if (s->varied)
        return vdm_fail(err, "%s: metric %s: expected %s, found none in any of %d outputs", s->varied, name,
                        what, s->pictures);
    fprintf(stderr, "%s: metric %s: none of %d outputs has %s: an empty answer is exact\n",
            clean(s->plain.path), name, s->pictures, what);
    return 0;
}

int truths_check(const truths *t, vdm_error *err)
{
    struct seen s = {.t = t, .plain = *t->task};
    const vdm_metric m = t->task->metric;
    s.plain.view = NULL;
    s.blended = m != VDM_METRIC_MIOU;
    vdm_metric_colours(&s.colours, m, t->task->grid.palette);
    if (t->task->arc.path || !s.colours.n) return 0;
    for (int i = 0; i < t->n_train; i++)
        if (look(&s, &t->task->train[i], err)) return -1;
    for (int i = 0; i < t->n_test; i++)
        if (look(&s, &t->task->test[i], err)) return -1;
    if (m != VDM_METRIC_CELLS && (look_further(&s, err) || check_found(&s, err))) return -1;
    print_far(&s);
    return 0;
}
