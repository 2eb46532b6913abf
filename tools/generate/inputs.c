/* Inputs: the grid before a rule acts. Every generator draws [rows,cols] palette colours, 0 being the background, and
 * rejects grids on which the rule would hardly show. */
#include "tools/generate/generators.h"

int below(vdm_rng *rng, int n)
{
    return (int)vdm_randint(rng, n);
}

bool chance(vdm_rng *rng, int of, int among)
{
    return below(rng, among) < of;
}

double between(vdm_rng *rng, double low, double high)
{
    return low + (high - low) * (vdm_rng_u32(rng) / 4294967296.0);
}

void shuffle(uint8_t *list, int n, vdm_rng *rng)
{
    for (int i = n - 1; i > 0; i--) {
        int k = below(rng, i + 1);
        uint8_t held = list[i];
        list[i] = list[k];
        list[k] = held;
    }
}

bool inside(const grid *g, int row, int col)
{
    return row >= 0 && row < g->rows && col >= 0 && col < g->cols;
}

uint32_t grid_hash(const grid *g)
{
    uint32_t hash = 2166136261u;
    for (int i = 0; i < g->rows * g->cols; i++) hash = (hash ^ g->cells[i]) * 16777619u;
    return hash;
}

/* The top bits decide: the low bits of FNV are weak (bit 0 is the parity of the cells). */
bool grid_reserved(const grid *g)
{
    return grid_hash(g) >> 29 == 0;
}

/* The colours that may be used, the required ones first; returns how many there are. */
static int colours(uint8_t list[9], int *needed, const generator *g, vdm_rng *rng)
{
    int n = 0;
    for (int c = 1; c < 10; c++)
        if (g->must >> c & 1) list[n++] = (uint8_t)c;
    *needed = n;
    for (int c = 1; c < 10; c++)
        if (!(g->must >> c & 1) && !(g->avoid >> c & 1)) list[n++] = (uint8_t)c;
    shuffle(list, *needed, rng);
    shuffle(list + *needed, n - *needed, rng);
    return n;
}

/* A connected object of about `size` cells: starts on a free cell and grows by free neighbours. */
static void grow_blob(grid *x, uint8_t colour, int size, vdm_rng *rng)
{
    static const int step[4][2] = {{0, 1}, {1, 0}, {0, -1}, {-1, 0}};
    int n = x->rows * x->cols, have = 0, at[GRID_SIDE * GRID_SIDE];
    for (int tries = 0; tries < 50 * size && have < size; tries++) {
        int from = have ? at[below(rng, have)] : below(rng, n);
        const int *s = step[below(rng, 4)];
        int row = from / x->cols + (have ? s[0] : 0), col = from % x->cols + (have ? s[1] : 0);
        if (!inside(x, row, col) || x->cells[row * x->cols + col]) continue;
        at[have++] = row * x->cols + col;
        x->cells[row * x->cols + col] = colour;
    }
}

/* dense: every cell one of ten colours; sparse: a quarter to a half of the cells in two to four colours;
 * blobs: two to four connected objects, each of its own colour. At least a quarter of the cells is coloured: otherwise
 * problems could not be distinguished. */
bool input_objects(grid *x, const recipe *r, vdm_rng *rng)
{
    uint8_t list[9];
    int needed, n = x->rows * x->cols, of = colours(list, &needed, r->g, rng), used = 2 + below(rng, 3);
    if (used < needed) used = needed;
    if (used > of) used = of;
    if (r->content == DENSE) {
        for (int i = 0; i < n; i++) x->cells[i] = (uint8_t)below(rng, 10);
    } else if (r->content == SPARSE) {
        int share = 25 + below(rng, 26);
        for (int i = 0; i < n; i++) x->cells[i] = chance(rng, share, 100) ? list[below(rng, used)] : 0;
    } else {
        for (int i = 0; i < used; i++) grow_blob(x, list[i], (5 + below(rng, 5)) * n / 64 + 1, rng);
    }
    int coloured = 0;
    unsigned seen = 0;
    for (int i = 0; i < n; i++) {
        coloured += x->cells[i] != 0;
        seen |= 1u << x->cells[i];
    }
    return 4 * coloured >= n && (seen & r->g->must) == r->g->must;
}

/* The outline of a box, without some of its corners (steps up, down and sideways still can't leave it); if `open` is
 * set, with a gap in one side. */
static void draw_outline(grid *x, int top, int left, int height, int width, uint8_t colour, bool open,
                         vdm_rng *rng)
{
    for (int row = 0; row < height; row++)
        for (int col = 0; col < width; col++) {
            bool edge_row = row == 0 || row == height - 1, edge_col = col == 0 || col == width - 1;
            if (!edge_row && !edge_col) continue;
            if (edge_row && edge_col && chance(rng, 1, 4)) continue;
            x->cells[(top + row) * x->cols + left + col] = colour;
        }
    if (!open) return;
    int side = below(rng, 4), row = 1 + below(rng, height - 2), col = 1 + below(rng, width - 2);
    if (side < 2) row = side ? height - 1 : 0;
    if (side >= 2) col = side == 3 ? width - 1 : 0;
    x->cells[(top + row) * x->cols + left + col] = 0;
}

static bool is_free(const grid *x, int top, int left, int height, int width)
{
    for (int row = top; row < top + height; row++)
        for (int col = left; col < left + width; col++)
            if (x->cells[row * x->cols + col]) return false;
    return true;
}

/* Up to four outlines that don't overlap, each of its own colour, one in four open (the first never is), and
 * up to three single cells of another colour. */
bool input_shapes(grid *x, const recipe *r, vdm_rng *rng)
{
    uint8_t list[9];
    int needed, coloured = 0, n = x->rows * x->cols, placed = 0;
    colours(list, &needed, r->g, rng);
    int max = (x->rows < x->cols ? x->rows : x->cols) * 3 / 4;
    for (int tries = 0; tries < 40 && placed < 4; tries++) {
        int height = 3 + below(rng, max - 2), width = 3 + below(rng, max - 2);
        int top = below(rng, x->rows - height + 1), left = below(rng, x->cols - width + 1);
        if (!is_free(x, top, left, height, width)) continue;
        draw_outline(x, top, left, height, width, list[placed], placed && chance(rng, 1, 4), rng);
        placed++;
    }
    for (int i = below(rng, 4); i > 0; i--) {
        int at = below(rng, n);
        if (!x->cells[at]) x->cells[at] = list[placed];
    }
    for (int i = 0; i < n; i++) coloured += x->cells[i] != 0;
    return 4 * coloured >= n;
}

/* Two states, two of five alive. */
bool input_cells(grid *x, const recipe *r, vdm_rng *rng)
{
    (void)r;
    for (int i = 0; i < x->rows * x->cols; i++) x->cells[i] = chance(rng, 2, 5);
    return true;
}

/* As the authors encode it: row 0 has 1 for dead, 2 for alive, not all the same; the rows below are 0, not computed. */
bool input_row(grid *x, const recipe *r, vdm_rng *rng)
{
    (void)r;
    int alive = 0;
    for (int i = 0; i < x->cols; i++) {
        x->cells[i] = (uint8_t)(1 + below(rng, 2));
        alive += x->cells[i] == 2;
    }
    return alive > 0 && alive < x->cols;
}

/* As the authors draw it: half of the cells 1; the ant is the number 2 and hides the cell below it. It starts in the
 * centre, facing north, on a 0, so that the picture determines the state. */
bool input_ant(grid *x, const recipe *r, vdm_rng *rng)
{
    (void)r;
    for (int i = 0; i < x->rows * x->cols; i++) x->cells[i] = (uint8_t)below(rng, 2);
    x->cells[x->rows / 2 * x->cols + x->cols / 2] = 2;
    return true;
}
