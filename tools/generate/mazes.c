/* Mazes and obstacles, and the shortest path through them. Cells have the authors' numbers (WALL 0, WAY 1, END 2, START
 * 3, PATH 4). The answer adds the path. Of several shortest paths it is the one that a breadth-first search finds first
 * if it tries down, right, up, left, as the authors' does. */
#include "tools/generate/generators.h"

static const int STEP[4][2] = {{1, 0}, {0, 1}, {-1, 0}, {0, -1}}; /* down, right, up, left */

/* Sides below this are the tiny model's: no space for a wall all around, ends anywhere. */
enum { ROOMY = 13 };

/* Wilson's algorithm: a random walk from every room outside the maze to the maze is added without its loops; every
 * spanning tree is equally likely. Room (i,j) of h x w is cell (2i+1, 2j+1). `leads` stores the last step from each
 * room, which erases the loops. */
static void carve(grid *x, int h, int w, vdm_rng *rng)
{
    bool in[GRID_SIDE * GRID_SIDE] = {false};
    int leads[GRID_SIDE * GRID_SIDE];
    in[below(rng, h * w)] = true;
    for (int first = 0; first < h * w; first++) {
        int room = first;
        while (!in[room]) {
            leads[room] = below(rng, 4);
            int i = room / w + STEP[leads[room]][0], j = room % w + STEP[leads[room]][1];
            if (i >= 0 && i < h && j >= 0 && j < w) room = i * w + j;
        }
        for (room = first; !in[room];) {
            int i = room / w, j = room % w;
            const int *s = STEP[leads[room]];
            in[room] = true;
            x->cells[(2 * i + 1 + s[0]) * x->cols + 2 * j + 1 + s[1]] = WAY;
            room = (i + s[0]) * w + j + s[1];
        }
    }
    for (int room = 0; room < h * w; room++)
        x->cells[(2 * (room / w) + 1) * x->cols + 2 * (room % w) + 1] = WAY;
}

/* A maze whose rooms are at odd rows and columns. With odd sides a wall runs all around. Even sides, such as the tiny
 * model's 8x8, have walls on top and on the left only: 4x4 rooms. Large mazes lead from corner to corner, as the
 * authors'; in small ones the ends are any two rooms (4x4 rooms have only 184 paths from corner to corner). */
bool input_maze(grid *x, const recipe *r, vdm_rng *rng)
{
    (void)r;
    int h = x->rows / 2, w = x->cols / 2;
    carve(x, h, w, rng);
    int start = 0, end = h * w - 1;
    if (x->rows < ROOMY || x->cols < ROOMY) {
        start = below(rng, h * w);
        end = below(rng, h * w);
    }
    x->cells[(2 * (start / w) + 1) * x->cols + 2 * (start % w) + 1] = START;
    x->cells[(2 * (end / w) + 1) * x->cols + 2 * (end % w) + 1] = END;
    return start != end;
}

static void add_block(grid *x, int edge, int min, int max, vdm_rng *rng)
{
    int height = min + below(rng, max - min + 1), width = min + below(rng, max - min + 1);
    int top = edge + below(rng, x->rows - height - 2 * edge + 1),
        left = edge + below(rng, x->cols - width - 2 * edge + 1);
    for (int row = top; row < top + height; row++)
        for (int col = left; col < left + width; col++) x->cells[row * x->cols + col] = WALL;
}

/* With space for a wall all around, the authors' obstacles: single cells on 1 in 20, and 3 to 8 blocks with sides of 2
 * to 5. Else single cells on 1 in 12, and 2 to 4 blocks with sides of 1 to 3. Start and end are any two free cells
 * whose distance in steps is at least the length of the shorter side, plus 1 with a wall. */
bool input_obstacles(grid *x, const recipe *r, vdm_rng *rng)
{
    (void)r;
    int n = x->rows * x->cols, edge = x->rows >= ROOMY && x->cols >= ROOMY;
    for (int i = 0; i < n; i++) {
        int row = i / x->cols, col = i % x->cols;
        bool wall = edge && (row == 0 || col == 0 || row == x->rows - 1 || col == x->cols - 1);
        x->cells[i] = wall ? WALL : WAY;
    }
    for (int left = edge ? n / 20 : n / 12; left > 0; left--) x->cells[below(rng, n)] = WALL;
    for (int left = edge ? 3 + below(rng, 6) : 2 + below(rng, 3); left > 0; left--)
        add_block(x, edge, edge ? 2 : 1, edge ? 5 : 3, rng);
    int start = below(rng, n), end = below(rng, n);
    int dy = start / x->cols - end / x->cols, dx = start % x->cols - end % x->cols;
    int distance = (dy < 0 ? -dy : dy) + (dx < 0 ? -dx : dx);
    if (x->cells[start] != WAY || x->cells[end] != WAY) return false;
    x->cells[start] = START;
    x->cells[end] = END;
    return distance >= (x->rows < x->cols ? x->rows : x->cols) + edge;
}

static int find(const grid *x, int number)
{
    int i = 0;
    while (i < x->rows * x->cols && x->cells[i] != number) i++;
    return i;
}

/* Breadth first; from[i] is the step (0..3) that first led to cell i, -1 if none did. */
bool answer_path(grid *y, const grid *x, const generator *g)
{
    int n = x->rows * x->cols, queue[GRID_SIDE * GRID_SIDE], from[GRID_SIDE * GRID_SIDE], head = 0, tail = 0;
    int start = find(x, START), end = find(x, END), length = 1;
    for (int i = 0; i < n; i++) from[i] = -1;
    queue[tail++] = start;
    from[start] = 0;
    while (head < tail && from[end] < 0) {
        int i = queue[head++];
        for (int s = 0; s < 4; s++) {
            int row = i / x->cols + STEP[s][0], col = i % x->cols + STEP[s][1], k = row * x->cols + col;
            if (!inside(x, row, col) || x->cells[k] == WALL || from[k] >= 0) continue;
            from[k] = s;
            queue[tail++] = k;
        }
    }
    *y = *x;
    if (from[end] < 0) return false;
    for (int i = end; i != start; length++) {
        if (i != end) y->cells[i] = PATH;
        i -= STEP[from[i]][0] * x->cols + STEP[from[i]][1];
    }
    return length >= g->a;
}
