/* Answers as one picture. */
#include "tools/report/strip.h"

#include <string.h>

enum { ZOOM_TO = 128, GAP = 8 }; /* pixels: pictures smaller than this are drawn larger */

/* Nearest, `zoom` times as large, its upper left corner at (top, left). */
static void paste(vdm_picture *to, const vdm_picture *p, int top, int left, int zoom)
{
    for (int y = 0; y < p->height * zoom; y++)
        for (int x = 0; x < p->width * zoom; x++)
            memcpy(to->rgb + 3 * ((size_t)(top + y) * (size_t)to->width + (size_t)(left + x)),
                   p->rgb + 3 * ((size_t)(y / zoom) * (size_t)p->width + (size_t)(x / zoom)), 3);
}

/* One answer a column: input, answer, truth below each other, on white. */
int strip_write(const evaluation *a, int columns, const char *path, vdm_error *err)
{
    int n = a->n < columns ? a->n : columns;
    if (!n) return 0;
    const vdm_picture *first = &a->all[0].input;
    int zoom = first->width < ZOOM_TO ? ZOOM_TO / first->width : 1;
    int width = first->width * zoom + GAP, height = first->height * zoom + GAP;
    vdm_picture p = {3 * height + GAP, n * width + GAP, NULL};
    p.rgb = vdm_alloc((size_t)p.width * (size_t)p.height, 3, "the strip", err);
    if (!p.rgb) return -1;
    memset(p.rgb, 255, (size_t)p.width * (size_t)p.height * 3);
    for (int i = 0; i < n; i++) {
        const vdm_picture *rows[] = {&a->all[i].input, &a->all[i].last, &a->all[i].truth};
        for (int k = 0; k < 3; k++)
            if (rows[k]->rgb) paste(&p, rows[k], GAP + k * height, GAP + i * width, zoom);
    }
    int status = vdm_picture_write(&p, path, err);
    vdm_free(p.rgb);
    return status;
}
