/* Pictures that a command reads, and notes of what was lost. */
#include "tools/run/pictures.h"
#include "tools/messages.h"

#include <string.h>

/* In the order of VDM_NOTE_ALPHA, ... */
static const char *const NOTES[VDM_NOTES] = {
    "has transparent pixels: they are put over black",
    "has 16 bits a sample: they are reduced to 8",
    "has a colour profile other than sRGB, which is ignored",
    "has a gamma other than that of sRGB, which is ignored",
    "is an animation: its first picture is used",
};

int read_picture(vdm_picture *p, const char *path, vdm_error *err)
{
    unsigned notes;
    if (vdm_picture_read_noted(p, path, &notes, err)) return -1;
    for (int i = 0; i < VDM_NOTES; i++)
        if (notes >> i & 1)
            fprintf(stderr, "%s: %s\n", strcmp(path, "-") == 0 ? "standard input" : clean(path), NOTES[i]);
    return 0;
}

void print_task_notes(const vdm_task *t)
{
    for (int i = 0; i < VDM_NOTES && t->notes; i++)
        if (t->notes->first[i][0])
            fprintf(stderr, "%s%s: %s\n", clean(t->notes->first[i]), t->notes->others[i] ? " and others" : "",
                    NOTES[i]);
}

int image_of(float **image, const vdm_picture *p, const vdm_geometry *g, vdm_error *err)
{
    vdm_picture sized;
    if (vdm_picture_resize(&sized, p, g->height, g->width, err)) return -1;
    *image = vdm_alloc((size_t)g->width * (size_t)g->height * 3, sizeof(float), "a picture", err);
    if (*image) vdm_video_from_bytes(*image, sized.rgb, 1, g->height, g->width);
    vdm_picture_free(&sized);
    return *image ? 0 : -1;
}
