/* Pictures that a command reads, and notes of what was lost. */
#include "tools/run/pictures.h"
#include "files/hash.h"
#include "tools/messages.h"

#include <stdlib.h>
#include <string.h>

/* In the order of VDM_NOTE_ALPHA, ... */
static const char *const NOTES[VDM_NOTES] = {
    "has transparent pixels: they are put over black",
    "has 16 bits a sample: they are reduced to 8",
    "has a colour profile that is not known to be sRGB, which is ignored",
    "has a gamma other than that of sRGB, which is ignored",
    "is an animation: its first picture is used",
    "has an orientation (EXIF), which is ignored",
    "has EXIF in a text chunk (Raw profile type), whose orientation, if it has one, is ignored",
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

uint64_t hash_picture(const vdm_picture *p)
{
    uint64_t h = vdm_hash_step(vdm_hash_step(VDM_HASH_START, (uint64_t)p->height), (uint64_t)p->width);
    return vdm_hash_bytes(h, p->rgb, (size_t)p->height * (size_t)p->width * 3);
}

/* Hashes the file's pixels, whatever its format, or the grid. */
static int hash_input(uint64_t *h, const vdm_example *e, vdm_error *err)
{
    vdm_picture p;
    if (e->x) {
        *h = vdm_hash_step(vdm_hash_step(VDM_HASH_START, (uint64_t)e->x->rows), (uint64_t)e->x->cols);
        *h = vdm_hash_bytes(*h, e->x->cells, (size_t)(e->x->rows * e->x->cols));
        return 0;
    }
    if (vdm_picture_read(&p, e->input, err)) return -1;
    *h = hash_picture(&p);
    vdm_picture_free(&p);
    return 0;
}

static int by_hash(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

int print_seen_inputs(const vdm_task *t, int pairs, int tests, vdm_error *err)
{
    size_t n = (size_t)pairs;
    int seen = 0, status = 0;
    uint64_t *train = n ? vdm_alloc(n, sizeof *train, "the training inputs", err) : NULL, h = 0;
    if (!train) return n ? -1 : 0;
    for (size_t i = 0; i < n && !status; i++) status = hash_input(&train[i], &t->train[i], err);
    qsort(train, n, sizeof *train, by_hash);
    for (int i = 0; i < tests && !status; i++) {
        status = hash_input(&h, &t->test[i], err);
        seen += !status && bsearch(&h, train, n, sizeof *train, by_hash);
    }
    if (seen && !status)
        fprintf(stderr,
                "%s: %d of %d test inputs are training inputs too: the score counts memorised answers\n",
                clean(t->path), seen, tests);
    vdm_free(train);
    return status;
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
