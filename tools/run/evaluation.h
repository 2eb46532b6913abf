/* Answers a task folder's test pictures and scores them. */
#ifndef VDM_EVALUATION_H
#define VDM_EVALUATION_H

#include "tools/run/claim.h"
#include "tools/run/multi_view.h"

/* A copy that is at most COPY_SIDE pixels a side, for pages and terminals. */
enum { COPY_SIDE = 256 };
int picture_shrink(vdm_picture *to, const vdm_picture *from, vdm_error *err);

/* Answers to a task folder's test pictures: what eval and demo do. */
enum { SHOWN = 60, FILMS = 6, FILM_FRAMES = 9 };
struct answer {
    const vdm_example *example;
    bool known;           /* whether the truth is known: the scores below need it */
    bool exact;           /* all cells equal, IoU 1, equal pixels */
    double score, copied; /* of the answer; of the input as an answer */
    double against_input; /* of the answer, with the input as truth: near 1, the model copied */
    double raw;           /* of the answer before its colours were corrected */
    bool raw_exact;
    uint8_t *wrong; /* [rows,cols] cells that differ; NULL if there is no grid */
    int n_wrong;
    vdm_picture input, last, truth; /* stored for the first SHOWN answers */
    vdm_picture film[FILM_FRAMES];  /* frames of the video, stored for the first FILMS */
    int n_film;
};
int film_frame(int i, int frames); /* which of a video's frames is the film's i */
/* A mean over pictures. The psnr of equal pictures is infinite: it is counted, not added. */
typedef struct mean_score {
    double value; /* of the finite scores; infinite if all are; NaN if no pictures can be compared */
    int finite, infinite;
} mean_score;
typedef struct evaluation {
    const vdm_task *task;
    views views; /* that each input is answered in */
    vdm_geometry geometry;
    bool quiet;               /* no bar, no notes */
    claim claim;              /* on the folder of the answers */
    int asked, n;             /* n answers so far: fewer than asked if the work was stopped */
    int scored, exact;        /* with a known truth; exact ones */
    mean_score mean, copied;  /* of the answers, and of copying the input */
    mean_score against_input; /* of the answers against their inputs */
    mean_score raw;           /* before colours were corrected */
    int raw_exact;
    double seconds;
    struct answer *all; /* [asked] */
    int train_pairs; /* training pairs that are answered as well, first: to learn colours from, and to detect
                           memorising */
    vdm_colour_map colours;
    vdm_diagnosis *diagnosis;
} evaluation;
/* How many: all, or the first `limit`; -1 if there are none, or none that can be scored. */
int evaluation_asked(const vdm_task *t, int limit, vdm_error *err);
int evaluation_group(const session *s, int asked); /* answers that are sampled at once */
/* For a session whose size is known. train_pairs: how many of them to answer as well. */
int evaluation_plan(evaluation *a, const session *s, const vdm_task *t, int n, int train_pairs,
                    vdm_error *err);
/* Answers all, with one progress bar. folder: where the pictures go, or NULL. live: prints every score. */
int evaluation_run(evaluation *a, session *s, const char *folder, bool live, vdm_error *err);
/* Adds the next answer: a video [T,H,W,3], whose last frame is scored and written as folder/NAME.ppm. */
int evaluation_take(evaluation *a, const char *folder, const vdm_picture *input, uint8_t *bytes,
                    vdm_error *err);
/* Prints how many other pictures NAME.ppm are in the folder. */
void evaluation_print_others(const evaluation *a, const char *folder);
/* Prints the result; BELOW if the mean is worse than --at-least. */
int evaluation_summary(const options *o, const evaluation *a);
/* scores.csv: a row for each answer, with the numbers of struct answer; they are empty if the truth is not known. */
int evaluation_write(const evaluation *a, const char *path, vdm_error *err);
/* "41 of 50 exact (82 %), cells right 99.1 %; copying the input: 61.0 %" */
void evaluation_text(const evaluation *a, char *text, size_t size);
void evaluation_free(evaluation *a);
#endif
