/* The diagnosis as text, for the terminal and the page. */
#include "tools/report/failure_text.h"

#include <math.h>

const char *colour_name(const vdm_task *t, int number)
{
    static const char *const
        arc[] = {"black", "blue", "red", "green", "yellow", "grey", "fuchsia", "orange", "teal", "brown"},
        *const maze[] = {"wall", "way", "end", "start", "path"},
        *const pose[] = {"black", "face", "torso", "arms", "legs"}, *const mask[] = {"off", "on"};
    if (!vdm_metric_colour(t->metric, t->grid.palette, number)) return "all";
    if (t->metric == VDM_METRIC_IOU) return mask[number];
    if (t->metric == VDM_METRIC_POSE || t->metric == VDM_METRIC_PCK) return pose[number];
    return t->grid.palette == VDM_PALETTE_MAZE ? maze[number] : arc[number];
}

/* "black +2 +2 +2, blue +3 +35 +33": the mean shift of each colour. */
static void colours_text(char *text, size_t size, const vdm_diagnosis *s, const vdm_task *t)
{
    double shift[3];
    size_t at = 0;
    snprintf(text, size, "no colour was answered right");
    for (int k = 0; k == 0 || vdm_metric_colour(t->metric, t->grid.palette, k); k++) {
        if (!vdm_diagnosis_shift(shift, s, t->metric, t->grid.palette, k)) continue;
        int n = snprintf(text + at, size - at, "%s%s %+.0f %+.0f %+.0f", at ? ", " : "", colour_name(t, k),
                         rint(shift[0]) + 0.0, rint(shift[1]) + 0.0, rint(shift[2]) + 0.0);
        if (n < 0 || (size_t)n >= size - at) return;
        at += (size_t)n;
    }
}

bool failure_text(enum failure failure, char *text, size_t size, const vdm_diagnosis *s, const vdm_task *t)
{
    switch (failure) {
    case FAILURE_COLOUR:
        colours_text(text, size, s, t);
        return s->known > 0;
    case FAILURE_LATE:
        snprintf(text, size, "the last two frames differ by %.1f of 255 levels, %.0f %% of the whole change",
                 s->late / s->answers, s->moved > 0 ? 100 * s->late / s->moved : 0);
        return s->answers > 0;
    case FAILURE_EDGES:
        snprintf(text, size, "%.2f of the truth's edge energy", s->edges / s->truth_edges);
        return s->known > 0 && s->truth_edges > 0;
    case FAILURE_DRIFT:
        snprintf(text, size, "the first frame differs from the input by %.1f of 255 levels",
                 s->drift / s->answers);
        return s->answers > 0;
    case FAILURE_MEMORY:
        snprintf(text, size, "%d of %d training pairs right, %d of %d others", s->train_exact, s->train,
                 s->test_exact, s->test);
        return s->train > 0 && s->test > 0;
    case N_FAILURES:
        break;
    }
    return false;
}

const char *failure_name(enum failure failure)
{
    static const char *const names[] = {"colour shift", "blur: late change", "blur: edges", "drift",
                                        "memorising"};
    return names[failure];
}

void failures_print(FILE *f, const vdm_diagnosis *s, const vdm_task *t)
{
    char text[512];
    for (int k = 0; k < N_FAILURES; k++)
        if (failure_text((enum failure)k, text, sizeof text, s, t))
            fprintf(f, "  %-18s %s\n", failure_name((enum failure)k), text);
}
