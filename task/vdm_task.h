/* vdm_task: grids in pictures, scores of answers, correction of colours, ARC-AGI files, tasks in folders, diagnosis of
 * failures: applications of the method. vdm.h does not depend on it.
 *
 * In the order in which the files build on each other:
 *
 *   grid.c       a grid's layout: cells [rows,cols] -> picture [H,W,3] -> cells
 *   pose.c       stick figures: joints -> picture -> joints
 *   score.c      an answer's score against the truth, by metric
 *   colour.c     correction of the colours that a model shifts
 *   views.c      a grid mirrored, transposed, with its colours exchanged
 *   arc_file.c   ARC-AGI files
 *   arc.c        their pictures and answers, by the protocol of arXiv 2510.24448
 *   task.c       a task on disk: its examples, its metric, its layout
 *   diagnosis.c  how answers fail */
#ifndef VDM_TASK_H
#define VDM_TASK_H

#include "vdm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------
 * Grids in pictures (grid.c) */

typedef enum vdm_palette {
    VDM_PALETTE_ARC,  /* 0..9: ARC's symbols, as the authors and the ARC site paint them */
    VDM_PALETTE_MAZE, /* 0..4: wall, way, end, start, path; also of their automata and ants */
    VDM_PALETTE_VIVID /* 0..9: ARC's symbols in colours with larger distances between them */
} vdm_palette;
enum { VDM_MAX_COLOURS = 16 };                                /* of a palette */
const uint8_t *vdm_palette_colour(vdm_palette p, int number); /* RGB; NULL beyond the last */
enum { VDM_SEPARATOR = 85 };                                  /* R, G and B of the separators between cells */

/* Colours as points, levels of 0..255: those of a palette, or those that a metric distinguishes. */
typedef struct vdm_colours {
    int n;
    double rgb[VDM_MAX_COLOURS][3];
} vdm_colours;
void vdm_palette_colours(vdm_colours *c, vdm_palette p);
int vdm_nearest_colour(const vdm_colours *c, const double rgb[3]); /* its number; the first of equals */
/* 1000 times the luminance 0.299 R + 0.587 G + 0.114 B, exactly: 0..255000. */
int vdm_luminance(const uint8_t *rgb);

/* The place of a grid's cells in a picture. The grid is in the centre; separators of `border` pixels run
 * between cells and around the grid. */
typedef struct vdm_grid_layout {
    int rows, cols;   /* 0: no grid, or one whose size differs from example to example */
    int cell, border; /* pixels: a cell's side, a separator's width */
    int align;        /* the grid's corner is at a multiple of it, near the centre; 0: as 1 */
    bool grey;        /* beyond the grid: the separators' grey, not black */
    vdm_palette palette;
} vdm_grid_layout;
typedef struct vdm_pixel {
    int y, x;
} vdm_pixel;
/* Pixels of n cells in a row, with their separators. */
int64_t vdm_grid_side(const vdm_grid_layout *g, int n);
/* The upper left pixel of the first cell in a picture of that size; false if the grid doesn't fit, or is none: fewer than
 * 1 row or column, cells of other than 1 to VDM_MAX_SIDE pixels, borders of other than 0 to VDM_MAX_SIDE. */
bool vdm_grid_place(vdm_pixel *first, const vdm_grid_layout *g, int height, int width);
/* The upper left pixel of cell i, counted by rows. */
vdm_pixel vdm_grid_cell(const vdm_grid_layout *g, vdm_pixel first, int i);
/* Mean colour of the height x width pixels at `at`. */
void vdm_mean_colour(double mean[3], const vdm_picture *p, vdm_pixel at, int height, int width);

/* Renders cells [rows,cols] as a picture of height x width pixels; 0 x 0: as large as the grid. */
int vdm_grid_render(vdm_picture *p, const uint8_t *cells, const vdm_grid_layout *g, int height, int width,
                    vdm_error *err);
/* The number of the cell at `at`: that of the colour nearest to its mean, truncated to integer levels. */
int vdm_grid_cell_number(const vdm_picture *p, vdm_pixel at, int cell, const vdm_colours *colours);
/* Reads the grid in a picture: the numbers of its cells [rows,cols]. -1 if the grid doesn't fit. */
int vdm_grid_read(uint8_t *cells, const vdm_picture *p, const vdm_grid_layout *g);
/* The layout after pictures of from_height x from_width are resized to height x width. Rejected if cells or separators
 * would not be whole pixels, or the grid not be in the centre. */
int vdm_grid_resize(vdm_grid_layout *g, int from_height, int from_width, int height, int width,
                    vdm_error *err);

/* A grid by ARC's rules, with its cells. */
enum { VDM_MAX_GRID = 30 }; /* cells a side */
typedef struct vdm_grid {
    int rows, cols;                             /* 0 x 0: not known */
    uint8_t cells[VDM_MAX_GRID * VDM_MAX_GRID]; /* [rows,cols]: 0..9 */
} vdm_grid;
bool vdm_grid_equal(const vdm_grid *a, const vdm_grid *b);
/* The number that most answers give a cell, votes[number] how many did; in a tie the lowest. */
int vdm_majority(const int *votes, int numbers);

/* ------------------------------------------------------------------------------------------------
 * Stick figures (pose.c) */

/* As arXiv 2506.07280 paints poses: face white, torso blue, arms red, legs green, on black; discs of 11
 * and lines of 4 pixels if the shorter side has 480, else in proportion, but at least 3 and 1.5. */
typedef enum vdm_part { VDM_FACE, VDM_TORSO, VDM_ARM, VDM_LEG } vdm_part;
const uint8_t *vdm_pose_colour(vdm_part part); /* RGB */
typedef struct vdm_joint {
    double y, x; /* pixels; the centre of the first pixel is at 0.5, 0.5 */
    vdm_part part;
} vdm_joint;
typedef struct vdm_limb { /* a line between two joints, in the colour of its own part */
    int from, to;
    vdm_part part;
} vdm_limb;
enum { VDM_MAX_JOINTS = 1024 }; /* in a picture: 60 people */
/* Draws on the picture: lines first, then discs. */
void vdm_pose_draw(vdm_picture *p, const vdm_joint *joints, int n, const vdm_limb *limbs, int n_limbs);
/* joints [VDM_MAX_JOINTS]; returns their number, or -1 without memory. A joint is a pixel whose surrounding disc is
 * covered by a part's colour to at least 0.65, and at least as much as those nearby. Hidden joints are not found. */
int vdm_pose_read(vdm_joint *joints, const vdm_picture *p, vdm_error *err);
/* The number of the truth's joints with a partner in the answer: of the same part, at most `within` pixels away, each
 * partner used once, as many as possible (maximum matching). */
int vdm_pose_pairs(const vdm_joint *truth, int n_truth, const vdm_joint *answer, int n_answer, double within);

/* Joints of an answer matched with those of the truth. */
typedef struct vdm_pose_match {
    int joints, found, matched; /* of the truth; of the answer; of the truth with a partner */
    double within;              /* pixels */
    double share;               /* the score; NaN where sizes differ */
} vdm_pose_match;
/* The rule for `within`: the metrics pose and pck. */
typedef enum vdm_pose_rule { VDM_MATCH_RATE, VDM_PCK } vdm_pose_rule;
int vdm_score_pose(vdm_pose_match *m, const vdm_picture *answer, const vdm_picture *truth, vdm_pose_rule rule,
                   vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * Scores of answers (score.c)
 *
 * Scores of one answer against the truth; NaN if their sizes differ or a grid doesn't fit. The score of a task is the
 * mean over its pictures. arXiv 2506.07280 publishes no rule for its masks and poses; these are the usual ones.
 *
 * psnr   10 log10(255^2 / mean squared error) over all pixels and channels, infinite when equal
 *        (skimage.metrics.peak_signal_noise_ratio, data_range=255).
 * ssim   Wang et al. 2004, as skimage.metrics.structural_similarity(a, b, data_range=255, channel_axis=2) has it
 *        by default: a uniform 7x7 window, sample covariance (over 48), K1 = .01, K2 = .03, the mean over all
 *        windows that lie inside, then over channels. NaN if a side is below 7.
 * mae    mean |a - b| over pixels and channels, in levels of 0..255: the only score where lower is better.
 * iou    |P and G| / |P or G|, the Jaccard index; a pixel is on where its luminance 0.299 R + 0.587 G +
 *        0.114 B > 127.5. 1 if both are empty. Its mean over pictures is the paper's mIoU
 *        (sklearn.metrics.jaccard_score; pycocotools.mask.iou).
 * miou   every pixel has the class of the nearest palette colour (squared distance in RGB, the first of equals);
 *        the mean IoU over the classes that occur in either picture (jaccard_score, average="macro").
 * cells  share of grid cells whose mean colour, truncated to integer levels, is nearest to the same palette colour.
 * pose   match rate: matched / joints, both read from the pictures, within 0.05 of the picture's shorter side
 *        (24 pixels at 480x720). 1 if neither truth nor answer has a joint, 0 if only the answer has.
 * pck    percentage of correct keypoints (Yang & Ramanan 2013): the same within 0.1 of the longer side of the box
 *        around the truth's joints; in pictures of several people the box of all. */
typedef enum vdm_metric {
    VDM_METRIC_PSNR,
    VDM_METRIC_IOU,
    VDM_METRIC_CELLS,
    VDM_METRIC_POSE,
    VDM_METRIC_MIOU,
    VDM_METRIC_PCK,
    VDM_METRIC_SSIM,
    VDM_METRIC_MAE
} vdm_metric;
const char *vdm_metric_name(vdm_metric m);             /* as in task.json: "psnr" */
int vdm_metric_parse(vdm_metric *m, const char *name); /* -1: unknown name */

double vdm_score_psnr(const vdm_picture *a, const vdm_picture *b);
double vdm_score_ssim(const vdm_picture *a, const vdm_picture *b);
double vdm_score_mae(const vdm_picture *a, const vdm_picture *b);
double vdm_score_iou(const vdm_picture *a, const vdm_picture *b);
double vdm_score_miou(const vdm_picture *a, const vdm_picture *b, vdm_palette palette);
double vdm_score_cells(const vdm_picture *a, const vdm_picture *b, const vdm_grid_layout *g);

/* By metric; grid: the layout for cells, the palette for miou. exact: equal pixels (psnr, ssim, mae), equal masks
 * or cells, or every joint matched and no joint more. Fails only without memory. */
int vdm_score(double *score, bool *exact, vdm_metric metric, const vdm_grid_layout *grid,
              const vdm_picture *answer, const vdm_picture *truth, vdm_error *err);

/* The colours that a metric distinguishes: the palette's (cells, miou), black and white (iou), black and the parts'
 * (pose, pck); none for psnr, ssim, mae. NULL beyond the last. */
const uint8_t *vdm_metric_colour(vdm_metric m, vdm_palette palette, int number);
void vdm_metric_colours(vdm_colours *c, vdm_metric m, vdm_palette palette);

/* ------------------------------------------------------------------------------------------------
 * Colours that a model shifts (colour.c)
 *
 * arXiv 2510.24448 shifts an answer's colours before it reads the grid, and leaves learned maps open. A map is learned
 * from the answers to training pairs, never from test answers. If the metric is cells, the cells of `grid` count, else
 * the pixels. The colours are those that the metric distinguishes. */
typedef enum vdm_colour {
    VDM_COLOUR_NONE,
    VDM_COLOUR_SHIFT, /* the authors': up to 3 times, stopped if the sum of distances to the nearest colours
                          changes by less than 1, adds the mean of (nearest colour - mean of the cell, cut to
                          integers) to the picture, within 0..255. Learns nothing */
    VDM_COLOUR_AFFINE, /* rgb' = A rgb + b: least squares from the observed centre of each colour (the median of
                          its cells) to the colour; of all pixels if the metric distinguishes no colours. With a
                          ridge (levels in 0..1) towards rgb' = rgb of 1e-4, and 0.3 times the share of the
                          task's colours that no training answer should have had */
    VDM_COLOUR_PALETTE /* the colour whose observed centre is nearest; the centres of colours that were not seen
                          are estimated by the affine map from true to seen ones */
} vdm_colour;
int vdm_colour_parse(vdm_colour *kind,
                     const char *word);  /* "none", "shift", "affine", "palette"; -1: others */
bool vdm_colour_learns(vdm_colour kind); /* a map, from the answers to training pairs */

/* The colours seen where each true colour should have been. Zeroed at first; 100 KB. */
typedef struct vdm_colour_study {
    bool right_only;                         /* count only samples that are nearest to the right colour */
    uint64_t seen[VDM_MAX_COLOURS];          /* cells or pixels */
    uint64_t level[VDM_MAX_COLOURS][3][256]; /* how many of them had each level */
    double zz[4][4], zd[4][3], pixels; /* equations over all pixels, if the metric distinguishes no colours */
} vdm_colour_study;
/* Adds one answer. If its size differs from the truth's, or the grid doesn't fit, it adds nothing. */
void vdm_colour_add(vdm_colour_study *s, vdm_metric metric, const vdm_grid_layout *grid,
                    const vdm_picture *answer, const vdm_picture *truth);

typedef struct vdm_colour_map {
    vdm_colour kind;
    double affine[3][4]; /* r', g', b' from r, g, b, 1; levels of 0..255 */
    vdm_colours centre;  /* palette: the observed centre of each colour */
} vdm_colour_map;
/* From a study without answers: the identity. -1 if the map needs colours and the metric distinguishes none. */
int vdm_colour_learn(vdm_colour_map *m, vdm_colour kind, const vdm_colour_study *s, vdm_metric metric,
                     vdm_palette palette, vdm_error *err);
/* Corrects a picture in place, rounding to integer levels. */
void vdm_colour_apply(const vdm_colour_map *m, vdm_metric metric, const vdm_grid_layout *grid,
                      vdm_picture *p);
/* vdm_grid_read of the corrected picture, without that rounding; with the shift, the authors' reading. */
int vdm_colour_read(uint8_t *cells, const vdm_colour_map *m, const vdm_picture *p, const vdm_grid_layout *g);

/* ------------------------------------------------------------------------------------------------
 * Views of grids (views.c) */

/* A grid mirrored (symmetry & 1: left and right, & 2: up and down), then transposed (& 4), and each number c
 * replaced by number[c]. */
typedef struct vdm_view {
    int symmetry;
    uint8_t number[10];
} vdm_view;
/* views [n]: the first changes nothing. The others go through the symmetries (without transpositions where not
 * `square`), each with its own permutation of the numbers from `first` (1: 0 stays, the background) to below
 * `colours`. The permutation also distinguishes the views for a model: a rule such as "fall down" is another
 * rule in a mirrored view. View k is the same for any n. */
void vdm_views_make(vdm_view *views, int n, bool square, int first, int colours, uint64_t seed);
typedef enum vdm_view_way { VDM_INTO_VIEW, VDM_OUT_OF_VIEW } vdm_view_way;
/* cells [rows,cols] of `from`, 0..9 each: into the view, or back. */
void vdm_view_cells(uint8_t *to, const uint8_t *from, int rows, int cols, const vdm_view *v,
                    vdm_view_way way);
void vdm_view_grid(vdm_grid *to, const vdm_grid *from, const vdm_view *v, vdm_view_way way);
/* Redraws the grid in a picture in the view, or back from it; g: the layout in p. */
int vdm_view_picture(vdm_picture *p, const vdm_grid_layout *g, const vdm_view *v, vdm_view_way way,
                     vdm_error *err);

/* ------------------------------------------------------------------------------------------------
 * ARC-AGI (arc.c): grids of numbers as pictures and back, as in arXiv 2510.24448 and its code */

enum { VDM_MAX_ARC_PAIRS = 10000 }; /* of a task, with all its views */
typedef struct vdm_arc_pair {
    vdm_grid x, y; /* y is 0 x 0 if a test's answer is not known */
} vdm_arc_pair;
typedef struct vdm_arc {
    char *path, *name; /* name: "0a1b2c3d" of DIR/0a1b2c3d.json */
    vdm_arc_pair *train, *test;
    int n_train, n_test;
} vdm_arc;
/* {"train": [{"input": [[0, 1], [2, 3]], "output": ...}, ...], "test": [...]}: rows of numbers 0..9, one length,
 * 1 to 30 a side. A test's output may be missing or null. Other keys are ignored: published files have some.
 * A list of pairs is a task of re-arc; its last pair is the test. FILE.json/ID.json is a task of a collection,
 * {"ID": {"train": ..., "test": ...}, ...} as ARC Prize's challenges; its answers are also taken from the file
 * with "solutions" instead of "challenges" in its name: {"ID": [output, ...], ...}. */
int vdm_arc_read(vdm_arc *a, const char *path, vdm_error *err);
void vdm_arc_free(vdm_arc *a);
/* The same for many tasks: the file of a collection and its solutions stay open in *c, all zero at first, until a task of
 * another file is read. */
typedef struct vdm_arc_collection {
    char *path, *solutions_path;
    vdm_json tasks, solutions;
} vdm_arc_collection;
int vdm_arc_read_from(vdm_arc *a, vdm_arc_collection *c, const char *path, vdm_error *err);
void vdm_arc_collection_close(vdm_arc_collection *c);
/* The tasks of a collection, in the file's order; none for any other file. */
typedef struct vdm_arc_ids {
    char **id;
    int n;
} vdm_arc_ids;
int vdm_arc_ids_read(vdm_arc_ids *ids, const char *path, vdm_error *err);
void vdm_arc_ids_free(vdm_arc_ids *ids);
/* Whether the answers to a collection can be read: rejects a file of solutions that is not an object. 0 also if there is
 * no such file. */
int vdm_arc_solutions_check(const char *path, vdm_error *err);

/* The canvas and the grid on it. The paper's: 400x400, as large as fits, 2, 1, false, VDM_PALETTE_ARC. */
typedef struct vdm_arc_canvas {
    int height, width; /* pixels */
    int cell;          /* maximum pixels of a cell; 0: as large as fits */
    int border;        /* pixels between cells and around */
    int align;         /* the grid's corner is at multiples of it */
    bool grey;         /* around the grid; else black */
    vdm_palette palette;
} vdm_arc_canvas;
/* The largest height and width of the task's grids; answers: those of the test outputs too, where known. */
void vdm_arc_largest(const vdm_arc *a, bool answers, int *rows, int *cols);
/* One cell size c for all grids of a task: with the largest rows R and columns C, c = min(floor((W -
 * border (C + 1)) / C), floor((H - border (R + 1)) / R)). Rows and columns of the layout are 0: each grid has its
 * own. Fails where c < 1, and for borders or canvases of other than 0 (1) to VDM_MAX_SIDE pixels. */
int vdm_arc_layout(vdm_grid_layout *g, const vdm_arc_canvas *c, int rows, int cols, vdm_error *err);
/* The layout with a grid's rows and columns. */
vdm_grid_layout vdm_arc_sized(const vdm_grid_layout *layout, const vdm_grid *g);
int vdm_arc_render(vdm_picture *p, const vdm_grid *g, const vdm_grid_layout *layout, int height, int width,
                   vdm_error *err);
/* The grid in a picture, g->rows x g->cols known, after a correction of its colours (the paper's:
 * VDM_COLOUR_SHIFT) or, with NULL, none. Fails if the grid doesn't fit, or has other than 1 to VDM_MAX_GRID rows or
 * columns. */
int vdm_arc_decode(vdm_grid *g, const vdm_picture *p, const vdm_grid_layout *layout,
                   const vdm_colour_map *colours, vdm_error *err);
/* g->rows, g->cols from the picture only: of all sizes that fit, the one whose grid, read and rendered again, is
 * nearest to the picture. A cell costs 16 levels a channel: if the surroundings and an outer row are black and nothing
 * separates them (border 0, not grey), the row counts as surroundings. */
int vdm_arc_infer_size(vdm_grid *g, const vdm_picture *p, const vdm_grid_layout *layout, vdm_error *err);

/* All pairs and tests in all views: pair i of view k is train[k * from->n_train + i], and so with tests. */
int vdm_arc_augment(vdm_arc *to, const vdm_arc *from, const vdm_view *views, int n, vdm_error *err);
/* best [max]: the index of the first occurrence of each of the most frequent grids; votes [max], or NULL. In a tie the
 * earlier one comes first. Returns how many. */
int vdm_arc_vote(int *best, int *votes, int max, const vdm_grid *grids, int n);
/* to [n]: the grids in their order, without repeats. Returns how many. */
int vdm_arc_distinct(vdm_grid *to, const vdm_grid *grids, int n);
/* The majority vote of each cell over the grids of the most frequent size; in a tie the lowest number, the earliest
 * size. */
void vdm_arc_majority(vdm_grid *to, const vdm_grid *grids, int n);
/* to [max]: answers from n samples of views and noise: the most frequent grids; the majority vote of each cell comes
 * before grids that only one sample gave. Returns how many, at most VDM_MAX_ARC_ANSWERS. */
enum { VDM_MAX_ARC_ANSWERS = 8 };
int vdm_arc_answers(vdm_grid *to, int max, const vdm_grid *grids, int n);

/* ------------------------------------------------------------------------------------------------
 * Tasks (task.c) */

typedef struct vdm_example {
    char *name;            /* "cat" of train/cat.in.ppm */
    char *input, *output;  /* paths; output NULL if a test has no answer */
    const vdm_grid *x, *y; /* grids of an ARC task, instead of pictures: then the paths are its file's */
} vdm_example;
/* Losses when a task's pictures were read: for each VDM_NOTE_... the first picture's path, "" if there is none. */
typedef struct vdm_task_notes {
    char first[VDM_NOTES][512];
    bool others[VDM_NOTES]; /* there are more of them */
} vdm_task_notes;
typedef struct vdm_task {
    char *path, *name, *prompt; /* name: task.json's, or the folder's; prompt may be NULL */
    bool has_phi, has_metric;   /* whether task.json has them */
    vdm_phi phi;
    vdm_metric metric;    /* if task.json has none: cells with a grid, psnr without */
    vdm_grid_layout grid; /* of the metric cells; its palette also of miou. An ARC task: vdm_arc_layout's */
    vdm_example *train, *test; /* sorted by name */
    int n_train, n_test;
    vdm_arc arc;           /* if the task is an ARC-AGI file: its grids, which the examples point to */
    vdm_task_notes *notes; /* vdm_example_picture adds to them; or NULL */
    const vdm_view *view;  /* that examples are shown in; NULL: none */
    int height, width;     /* pixels of the pictures that `grid` is of; 0: of the files (vdm_task_resize) */
} vdm_task;
/* Reads a task folder, or an ARC-AGI file (see vdm_arc_read), whose metric is cells. The layout of its pictures must
 * then be set by vdm_arc_layout; rows and columns differ from example to example (vdm_example_grid). */
int vdm_task_read(vdm_task *t, const char *dir, vdm_error *err);
/* The task whose examples are those grids; takes ownership of a, also if it fails. */
int vdm_task_of_arc(vdm_task *t, vdm_arc *a, vdm_error *err);
void vdm_task_free(vdm_task *t);
/* Adapts the grid's layout to pictures of height x width, the size that vdm_example_picture will be called with, and
 * counts the pictures (also of test/, if test) that will be resized. If the metric is cells, all pictures must have one
 * size, and the layout whole pixels afterwards (vdm_grid_resize); with other metrics a layout that does not fit is
 * dropped. ARC-AGI tasks are drawn in any size, by vdm_arc_layout. */
int vdm_task_resize(vdm_task *t, bool test, int height, int width, int *pictures, int *resized,
                    vdm_error *err);

typedef enum vdm_side { VDM_INPUT, VDM_OUTPUT } vdm_side;
/* An example's picture, input or output, of that size: a file is resized to it, a grid rendered; in the task's view. An
 * output of classes (miou) has no blended colours: each pixel is the file's nearest one. */
int vdm_example_picture(vdm_picture *p, const vdm_task *t, const vdm_example *e, vdm_side side, int height,
                        int width, vdm_error *err);
/* The task's layout with the size of that example's output (of its input, if the output isn't known), in the task's
 * view. */
vdm_grid_layout vdm_example_grid(const vdm_task *t, const vdm_example *e);

/* ------------------------------------------------------------------------------------------------
 * Diagnosis of failures (diagnosis.c): sums over answers, zeroed at first. Levels are 0..255; frames are the model's
 * own, before any correction of colours or vote of several views, each of which is an answer here.
 *
 * colour shift  for every colour of the task the mean of (level seen - colour) over the cells, or pixels, of known
 *               answers that are read right; over all pixels if the metric distinguishes none.
 * motion blur   late / answers: mean |frame T-1 - frame T-2|; late / moved: as a share of frame 0 to T-1, which a
 *               discrete transition makes 0 and a linear one 1 / (T-1). edges / truth_edges: energy of the last
 *               frame's edges against the truth's, below 1 if it is smeared.
 * drift         drift / answers: mean |frame 0 - query|. The first frame should be the input.
 * memorising    the share of training pairs answered exactly, and that of held-out ones. */
typedef struct vdm_diagnosis {
    int answers, known; /* known: with a truth */
    double late, moved, edges, truth_edges, drift;
    int train, train_exact, test, test_exact; /* of memorising: counted by the caller */
    vdm_colour_study colours;
} vdm_diagnosis;
/* frames [T,H,W,3]; query and truth [H,W,3]; truth may be NULL. */
void vdm_diagnosis_add(vdm_diagnosis *d, vdm_metric metric, const vdm_grid_layout *grid,
                       const uint8_t *frames, int T, const vdm_picture *query, const vdm_picture *truth);
/* The mean shift of one colour that the metric distinguishes (0: of the whole picture if it distinguishes none), and
 * the number of cells or pixels in the mean; 0 and NaN if there are none. */
int64_t vdm_diagnosis_shift(double shift[3], const vdm_diagnosis *d, vdm_metric metric, vdm_palette palette,
                            int number);
/* Mean of dx^2 + dy^2 over pixels: differences of luminance from the right and lower neighbours, 0 at the border. */
double vdm_edge_energy(const vdm_picture *p);

#ifdef __cplusplus
}
#endif

#endif
