/* Answers as one picture. */
#include "tools/report/strip.h"

#include <string.h>

enum { ZOOM_TO = 128, GAP = 8 }; /* pixels: pictures smaller than this are drawn larger */

/* What the rows show, as pixels. */
enum { LABEL_HEIGHT = 7, LABEL_WIDTH = 35, LABEL_ZOOM = 2, LABELS = LABEL_WIDTH * LABEL_ZOOM + GAP };
static const char LABEL[3][LABEL_HEIGHT][LABEL_WIDTH + 1] = {
    {"  #                      #         ", "                         #         ",
     " ##   # ##  ####  #   # ###        ", "  #   ##  # #   # #   #  #         ",
     "  #   #   # ####  #   #  #         ", "  #   #   # #     #  ##  #  #      ",
     " ###  #   # #      ## #   ##       "},
    {"                                   ", "                                   ",
     " ###  # ##   ###  #   #  ###  # ## ", "    # ##  # #     #   # #   # ##  #",
     " #### #   #  ###  # # # ##### #    ", "#   # #   #     # # # # #     #    ",
     " #### #   # ####   # #   ###  #    "},
    {" #                 #    #          ", " #                 #    #          ",
     "###   # ##  #   # ###   # ##       ", " #    ##  # #   #  #    ##  #      ",
     " #    #     #   #  #    #   #      ", " #  # #     #  ##  #  # #   #      ",
     "  ##  #      ## #   ##  #   #      "},
};

/* Nearest, `zoom` times as large, its upper left corner at (top, left). */
static void paste(vdm_picture *to, const vdm_picture *p, int top, int left, int zoom)
{
    for (int y = 0; y < p->height * zoom; y++)
        for (int x = 0; x < p->width * zoom; x++)
            memcpy(to->rgb + 3 * ((size_t)(top + y) * (size_t)to->width + (size_t)(left + x)),
                   p->rgb + 3 * ((size_t)(y / zoom) * (size_t)p->width + (size_t)(x / zoom)), 3);
}

/* The label of row k, black, with its upper left corner at (top, left). */
static void write_label(vdm_picture *to, int k, int top, int left)
{
    for (int y = 0; y < LABEL_HEIGHT * LABEL_ZOOM; y++)
        for (int x = 0; x < LABEL_WIDTH * LABEL_ZOOM; x++)
            if (LABEL[k][y / LABEL_ZOOM][x / LABEL_ZOOM] == '#')
                memset(to->rgb + 3 * ((size_t)(top + y) * (size_t)to->width + (size_t)(left + x)), 0, 3);
}

/* A column for each answer: input, answer and truth below each other, on white, with the row's name on the left. */
int strip_write(const evaluation *a, int columns, const char *path, vdm_error *err)
{
    int n = a->n < columns ? a->n : columns;
    if (!n) return 0;
    const vdm_picture *first = &a->all[0].input;
    int zoom = first->width < ZOOM_TO ? ZOOM_TO / first->width : 1;
    int width = first->width * zoom + GAP, height = first->height * zoom + GAP;
    vdm_picture p = {3 * height + GAP, LABELS + n * width + GAP, NULL};
    p.rgb = vdm_alloc((size_t)p.width * (size_t)p.height, 3, "the strip", err);
    if (!p.rgb) return -1;
    memset(p.rgb, 255, (size_t)p.width * (size_t)p.height * 3);
    for (int k = 0; k < 3; k++) write_label(&p, k, GAP + k * height + height / 2 - LABEL_HEIGHT, GAP);
    for (int i = 0; i < n; i++) {
        const vdm_picture *rows[] = {&a->all[i].input, &a->all[i].last, &a->all[i].truth};
        for (int k = 0; k < 3; k++)
            if (rows[k]->rgb) paste(&p, rows[k], GAP + k * height, LABELS + GAP + i * width, zoom);
    }
    int status = vdm_picture_write(&p, path, err);
    vdm_free(p.rgb);
    return status;
}
