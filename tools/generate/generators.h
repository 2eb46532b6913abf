/* Generators of problems: shared by tasks.c and by the files of generators, one for each kind.
 *
 * A problem is an input and its answer. A grid task has an input generator, which draws a grid, and a rule that answers
 * it; a picture task draws both at once from a few parameters. A generator may reject its draw (false): then another
 * one is drawn, so that every stream of problems is a function of its seed. */
#ifndef VDM_GENERATORS_H
#define VDM_GENERATORS_H

#include "vdm_task.h"

enum { GRID_SIDE = 32, SCENE_NUMBERS = 64 };
typedef struct grid {
    int rows, cols;
    uint8_t cells[GRID_SIDE * GRID_SIDE]; /* [rows,cols]: numbers of palette colours */
} grid;

typedef struct problem {
    grid x, y;                     /* pictures: a coarse map of both */
    double numbers[SCENE_NUMBERS]; /* pictures: their parameters */
} problem;

enum { CELLS, PATHS, OBJECTS };

/* The content of a grid before the rule acts, as bits. */
enum { DENSE = 1, SPARSE = 2, BLOBS = 4 };

typedef struct recipe { /* a generator with its sizes settled */
    const struct generator *g;
    int rows, cols, cell, border;
    int height, width; /* of the pictures */
    vdm_palette palette;
    int content;
} recipe;

typedef struct generator {
    const char *name, *what;
    const char *kin; /* its row in the table of kinship of python/pretrain/README.md */
    bool (*input)(grid *x, const recipe *r, vdm_rng *rng);
    bool (*answer)(grid *y, const grid *x, const struct generator *g);
    int a, b;             /* of the rule */
    int contents, usual;  /* DENSE | SPARSE | BLOBS that --content may choose, the default; 0: its own */
    unsigned must, avoid; /* colours that every input has, and that no input has, as bits */
    bool square;          /* only square grids: other answers would have exchanged sides */
    int compare;          /* CELLS, PATHS, OBJECTS: the distance of two problems, see distance() */
    double min_distance,
        min_distance_paper; /* minimum distance of a test problem from every training problem */
    struct size {
        int rows, cols, cell, border;
    } tiny, paper;
    /* pictures */
    bool (*scene)(problem *p, const recipe *r, vdm_rng *rng);
    void (*draw)(vdm_picture *x, vdm_picture *y, const problem *p);
    vdm_metric metric;
} generator;

extern const generator generators[]; /* the last name is NULL */

/* Random draws. */
int below(vdm_rng *rng, int n);               /* 0..n-1 */
bool chance(vdm_rng *rng, int of, int among); /* true with probability of / among */
double between(vdm_rng *rng, double low, double high);
void shuffle(uint8_t *list, int n, vdm_rng *rng);
bool inside(const grid *g, int row, int col);
/* 32-bit FNV-1a over the cells, row by row, as in grids.py; a grid is reserved if its top three bits are 0. Pretraining
 * clips of the tiny model never start with a reserved 8x8 grid, and all evaluation inputs are reserved. */
uint32_t grid_hash(const grid *g);
bool grid_reserved(const grid *g);

/* inputs.c: coloured objects, closed shapes; rows, cells and ants of automata */
bool input_objects(grid *x, const recipe *r, vdm_rng *rng);
bool input_shapes(grid *x, const recipe *r, vdm_rng *rng);
bool input_cells(grid *x, const recipe *r, vdm_rng *rng);
bool input_row(grid *x, const recipe *r, vdm_rng *rng);
bool input_ant(grid *x, const recipe *r, vdm_rng *rng);

/* rules.c */
enum { FLIP_H, FLIP_V, TURN_90, TURN_180, TURN_270, TRANSPOSE, SHIFT };
bool answer_geometry(grid *y, const grid *x, const generator *g); /* a: one of the above */
bool answer_recolour(grid *y, const grid *x, const generator *g);
bool answer_outline(grid *y, const grid *x, const generator *g);
bool answer_fill(grid *y, const grid *x, const generator *g);
bool answer_gravity(grid *y, const grid *x, const generator *g);
bool answer_life(grid *y, const grid *x, const generator *g);       /* a, b: birth, survival as bits */
bool answer_elementary(grid *y, const grid *x, const generator *g); /* a: Wolfram's number */
bool answer_langton(grid *y, const grid *x, const generator *g);    /* a: steps */

/* mazes.c: numbers of cells as in the maze palette */
enum { WALL, WAY, END, START, PATH };
bool input_maze(grid *x, const recipe *r, vdm_rng *rng);
bool input_obstacles(grid *x, const recipe *r, vdm_rng *rng);
bool answer_path(grid *y, const grid *x,
                 const generator *g); /* a: minimum of cells in the path, ends included */

/* scenes.c */
bool scene_shapes(problem *p, const recipe *r, vdm_rng *rng);
void draw_shapes(vdm_picture *x, vdm_picture *y, const problem *p);
bool scene_figure(problem *p, const recipe *r, vdm_rng *rng);
void draw_figure(vdm_picture *x, vdm_picture *y, const problem *p);

/* tasks.c */
const generator *find_generator(const char *name, vdm_error *err);

#endif
