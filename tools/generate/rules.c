/* Rules: the answer [rows,cols] to an input [rows,cols]. One function for each family; the number that distinguishes
 * its members is in the generator. */
#include "tools/generate/generators.h"

#include <string.h>

static uint8_t get(const grid *g, int row, int col)
{
    return g->cells[row * g->cols + col];
}

static void set(grid *g, int row, int col, int value)
{
    g->cells[row * g->cols + col] = (uint8_t)value;
}

/* Rotations are clockwise; the shift is one down and two to the right, and wraps around. */
bool answer_geometry(grid *y, const grid *x, const generator *g)
{
    int H = x->rows, W = x->cols;
    for (int row = 0; row < H; row++)
        for (int col = 0; col < W; col++) {
            int from[2] = {row, col};
            switch (g->a) {
            case FLIP_H:
                from[1] = W - 1 - col;
                break;
            case FLIP_V:
                from[0] = H - 1 - row;
                break;
            case TURN_90:
                from[0] = W - 1 - col, from[1] = row;
                break;
            case TURN_180:
                from[0] = H - 1 - row, from[1] = W - 1 - col;
                break;
            case TURN_270:
                from[0] = col, from[1] = H - 1 - row;
                break;
            case TRANSPOSE:
                from[0] = col, from[1] = row;
                break;
            default:
                from[0] = (row + H - 1) % H, from[1] = (col + 2 * W - 2) % W;
            }
            set(y, row, col, get(x, from[0], from[1]));
        }
    return true;
}

/* 1 becomes 2, 2 becomes 3, 3 becomes 1. */
bool answer_recolour(grid *y, const grid *x, const generator *g)
{
    (void)g;
    for (int i = 0; i < x->rows * x->cols; i++) {
        int c = x->cells[i];
        y->cells[i] = (uint8_t)(c >= 1 && c <= 3 ? c % 3 + 1 : c);
    }
    return true;
}

/* How many of the 8 neighbours are not 0; cells outside are 0. */
static int neighbours(const grid *x, int row, int col)
{
    int n = 0;
    for (int dy = -1; dy <= 1; dy++)
        for (int dx = -1; dx <= 1; dx++)
            n += (dy || dx) && inside(x, row + dy, col + dx) && get(x, row + dy, col + dx);
    return n;
}

/* Background that touches an object, corners included, turns red. */
bool answer_outline(grid *y, const grid *x, const generator *g)
{
    (void)g;
    for (int row = 0; row < x->rows; row++)
        for (int col = 0; col < x->cols; col++) {
            bool edge = !get(x, row, col) && neighbours(x, row, col);
            set(y, row, col, edge ? 2 : get(x, row, col));
        }
    return true;
}

/* Background that steps up, down and sideways over background can't leave turns yellow. */
bool answer_fill(grid *y, const grid *x, const generator *g)
{
    (void)g;
    bool out[GRID_SIDE * GRID_SIDE] = {false}, changed = true;
    while (changed) {
        changed = false;
        for (int row = 0; row < x->rows; row++)
            for (int col = 0; col < x->cols; col++) {
                int i = row * x->cols + col;
                if (out[i] || x->cells[i]) continue;
                out[i] = row == 0 || col == 0 || row == x->rows - 1 || col == x->cols - 1 ||
                         out[i - x->cols] || out[i + x->cols] || out[i - 1] || out[i + 1];
                changed |= out[i];
            }
    }
    for (int i = 0; i < x->rows * x->cols; i++) y->cells[i] = x->cells[i] || out[i] ? x->cells[i] : 4;
    return true;
}

/* Every cell falls to the bottom of its column; the order stays. */
bool answer_gravity(grid *y, const grid *x, const generator *g)
{
    (void)g;
    for (int col = 0; col < x->cols; col++)
        for (int row = x->rows - 1, to = row; row >= 0; row--)
            if (get(x, row, col)) set(y, to--, col, get(x, row, col));
    return true;
}

/* One step of a game like Life; cells outside are dead. */
bool answer_life(grid *y, const grid *x, const generator *g)
{
    for (int row = 0; row < x->rows; row++)
        for (int col = 0; col < x->cols; col++)
            set(y, row, col, (get(x, row, col) ? g->b : g->a) >> neighbours(x, row, col) & 1);
    return true;
}

/* Each row follows from the one above by Wolfram's rule; left and right edge are neighbours. */
bool answer_elementary(grid *y, const grid *x, const generator *g)
{
    int W = x->cols;
    memcpy(y->cells, x->cells, (size_t)W);
    for (int row = 1; row < x->rows; row++)
        for (int col = 0; col < W; col++) {
            int left = get(y, row - 1, (col + W - 1) % W) - 1, here = get(y, row - 1, col) - 1,
                right = get(y, row - 1, (col + 1) % W) - 1;
            set(y, row, col, 1 + (g->a >> (4 * left + 2 * here + right) & 1));
        }
    return true;
}

/* On 0 the ant turns right, on 1 left; it flips the cell and moves one cell ahead, on a torus. */
bool answer_langton(grid *y, const grid *x, const generator *g)
{
    static const int step[4][2] = {{-1, 0}, {0, 1}, {1, 0}, {0, -1}};
    int row = x->rows / 2, col = x->cols / 2, facing = 0;
    *y = *x;
    set(y, row, col, 0);
    for (int i = 0; i < g->a; i++) {
        facing = (facing + (get(y, row, col) ? 3 : 1)) % 4;
        set(y, row, col, !get(y, row, col));
        row = (row + x->rows + step[facing][0]) % x->rows;
        col = (col + x->cols + step[facing][1]) % x->cols;
    }
    set(y, row, col, 2);
    return true;
}
