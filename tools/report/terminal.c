/* Pictures in the terminal.
 *
 * In colour: the upper half block in 24-bit colour, its foreground the upper pixel and its background the lower one, so
 * that a character is two square pixels. As plain text, if standard output is not a terminal, TERM is dumb, NO_COLOR is
 * set or the locale isn't UTF-8: a digit for the palette colour of each cell of a grid ('.' for black), or a character
 * of similar brightness.
 *
 *   picture [H,W,3] -> small [h,w,3], each of its pixels the mean of a box -> lines of text
 *
 * A cell of a grid is two characters side by side (a character is half as wide as high), or one if the pictures would
 * be too wide side by side. */
#include "tools/report/terminal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { MAX_COLUMNS = 32, GAP = 3 }; /* columns of a picture without a grid; columns between pictures */

/* LC_ALL, else LC_CTYPE, else LANG decides. */
static bool is_utf8(void)
{
    const char *names[] = {"LC_ALL", "LC_CTYPE", "LANG"};
    for (int i = 0; i < 3; i++) {
        const char *value = getenv(names[i]);
        if (!value || !*value) continue;
        return strstr(value, "UTF-8") || strstr(value, "utf8") || strstr(value, "UTF8") ||
               strstr(value, "utf-8");
    }
    return false;
}

screen screen_of_stdout(void)
{
    const char *term = getenv("TERM"), *no_colour = getenv("NO_COLOR");
    struct winsize size;
    screen s = {.columns = 80};
    s.colour = isatty(STDOUT_FILENO) == 1 && term && strcmp(term, "dumb") != 0 &&
               !(no_colour && *no_colour) && is_utf8();
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col) s.columns = size.ws_col;
    return s;
}

/* One picture made small: a line of text shows two of its rows in colour, one as plain text. */
enum { MAX_SIDE = 128 };
struct small {
    int width, height;
    uint8_t rgb[MAX_SIDE * MAX_SIDE * 3]; /* [height,width,3] */
    char text[MAX_SIDE * MAX_SIDE];       /* [height,width] */
};

/* The mean colour of the pixels in [y0,y1) x [x0,x1), of at least one. */
static void mean_colour(uint8_t *rgb, const vdm_picture *p, int y0, int y1, int x0, int x1)
{
    uint64_t sum[3] = {0}, n = 0;
    if (y1 <= y0) y1 = y0 + 1;
    if (x1 <= x0) x1 = x0 + 1;
    for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++, n++)
            for (int c = 0; c < 3; c++) sum[c] += p->rgb[(y * p->width + x) * 3 + c];
    for (int c = 0; c < 3; c++) rgb[c] = (uint8_t)(sum[c] / n);
}

static char brightness(const uint8_t *rgb)
{
    const char ramp[] = " .:-=+*#%@";
    return ramp[vdm_luminance(rgb) * 9 / 255000];
}

static int clamp(int x, int max)
{
    return x < 1 ? 1 : x > max ? max : x;
}

/* Any picture, at most `columns` wide. */
static void shrink_picture(struct small *s, const vdm_picture *p, bool colour, int columns)
{
    int W = p->width, H = p->height;
    s->width = clamp(W, columns);
    s->height = clamp(H * s->width / W / (colour ? 1 : 2), MAX_SIDE);
    for (int i = 0; i < s->width * s->height; i++) {
        int y = i / s->width, x = i % s->width;
        mean_colour(s->rgb + 3 * i, p, y * H / s->height, (y + 1) * H / s->height, x * W / s->width,
                    (x + 1) * W / s->width);
        s->text[i] = brightness(s->rgb + 3 * i);
    }
}

/* A grid: `zoom` characters a cell. cells [rows,cols] are palette colours; `first`: the pixel of the first. */
static void shrink_grid(struct small *s, const vdm_picture *p, const vdm_grid_layout *g, const uint8_t *cells,
                        vdm_pixel first, bool colour, int zoom)
{
    int down = colour ? zoom : 1;
    s->width = g->cols * zoom;
    s->height = g->rows * down;
    for (int i = 0; i < s->width * s->height; i++) {
        int y = i / s->width, x = i % s->width, cell = y / down * g->cols + x / zoom, k = cells[cell];
        vdm_pixel at = vdm_grid_cell(g, first, cell);
        int y0 = at.y + y % down * g->cell / down, x0 = at.x + x % zoom * g->cell / zoom;
        mean_colour(s->rgb + 3 * i, p, y0, y0 + g->cell / down, x0, x0 + g->cell / zoom);
        s->text[i] = (char)(x % zoom ? ' ' : k ? '0' + k : '.');
    }
}

static int shrink(struct small *s, const vdm_picture *p, const vdm_grid_layout *g, const screen *t, int n)
{
    vdm_error err;
    vdm_pixel first;
    int columns = (t->columns + GAP) / n - GAP;
    *s = (struct small){0};
    if (!p->rgb) return 0;
    if (!g || !vdm_grid_place(&first, g, p->height, p->width) || g->cols > MAX_SIDE || g->rows > MAX_SIDE) {
        shrink_picture(s, p, t->colour, clamp(columns, MAX_COLUMNS));
        return 0;
    }
    int zoom = 2 * g->cols <= columns && 2 * g->cols <= MAX_SIDE && 2 * g->rows <= MAX_SIDE ? 2 : 1;
    uint8_t *cells = vdm_alloc((size_t)g->rows * (size_t)g->cols, 1, "a grid", &err);
    if (!cells) return -1;
    vdm_grid_read(cells, p, g);
    shrink_grid(s, p, g, cells, first, t->colour, zoom);
    vdm_free(cells);
    return 0;
}

/* Line k of a picture; spaces below its last line. */
static void print_line(const struct small *s, int k, bool colour)
{
    int y = colour ? 2 * k : k;
    if (y >= s->height) {
        printf("%*s", s->width, "");
    } else if (!colour) {
        printf("%.*s", s->width, s->text + y * s->width);
    } else {
        for (int x = 0; x < s->width; x++) {
            const uint8_t *a = s->rgb + 3 * (y * s->width + x), *b = a + 3 * s->width;
            printf("\033[38;2;%d;%d;%dm", a[0], a[1], a[2]);
            if (y + 1 < s->height) printf("\033[48;2;%d;%d;%dm", b[0], b[1], b[2]);
            fputs("\xe2\x96\x80", stdout);
        }
        fputs("\033[0m", stdout);
    }
}

/* The width of a column: of the picture, or of its caption if that is wider. */
static int width_of(const struct small *s, const char *caption)
{
    int length = (int)strlen(caption);
    return s->width > length ? s->width : length;
}

static void print_all(const screen *t, const struct small *all, const char *const *captions, int n)
{
    int lines = 0;
    for (int i = 0; i < n; i++) {
        int mine = t->colour ? (all[i].height + 1) / 2 : all[i].height;
        lines = mine > lines ? mine : lines;
    }
    for (int k = 0; k <= lines; k++) {
        for (int i = 0; i < n; i++) {
            int left = width_of(&all[i], captions[i]) + GAP;
            if (k < lines)
                print_line(&all[i], k, t->colour), left -= all[i].width;
            else
                left -= printf("%s", captions[i]);
            if (i + 1 < n) printf("%*s", left, "");
        }
        putchar('\n');
    }
    fflush(stdout);
}

void screen_print(const screen *t, const vdm_picture *pictures, const char *const *captions, int n,
                  const vdm_grid_layout *grid)
{
    vdm_error err;
    struct small *all = vdm_alloc((size_t)n, sizeof *all, "pictures for the terminal", &err);
    int status = all ? 0 : -1;
    for (int i = 0; i < n && !status; i++) status = shrink(&all[i], &pictures[i], grid, t, n);
    if (!status) print_all(t, all, captions, n);
    vdm_free(all);
}

/* `zoom` characters a cell. */
static void draw_grid(struct small *s, const vdm_grid *g, bool colour, int zoom, vdm_palette palette)
{
    int down = colour ? zoom : 1;
    s->width = g->cols * zoom;
    s->height = g->rows * down;
    for (int i = 0; i < s->width * s->height; i++) {
        int k = g->cells[i / s->width / down * g->cols + i % s->width / zoom];
        memcpy(s->rgb + 3 * i, vdm_palette_colour(palette, k), 3);
        s->text[i] = (char)(i % s->width % zoom ? ' ' : k ? '0' + k : '.');
    }
}

void screen_print_grids(const screen *t, const vdm_grid *grids, const char *const *captions, int n,
                        vdm_palette palette)
{
    vdm_error err;
    int columns = 0;
    for (int i = 0; i < n; i++) columns += 2 * grids[i].cols + GAP;
    struct small *all = vdm_alloc((size_t)n, sizeof *all, "grids for the terminal", &err);
    for (int i = 0; all && i < n; i++)
        draw_grid(&all[i], &grids[i], t->colour, columns <= t->columns + GAP ? 2 : 1, palette);
    if (all) print_all(t, all, captions, n);
    vdm_free(all);
}
