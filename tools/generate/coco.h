/* COCO annotations: their files, and the masks in them. */
#ifndef VDM_COCO_H
#define VDM_COCO_H

#include "tools/tool.h"

/* A large JSON file, item by item (json_stream.c). */
enum { MAX_SKIM_NAMES = 4 };
struct skim {
    const char *names[MAX_SKIM_NAMES]; /* arrays of the root object: each has to be there, once */
    int n;
    /* item j of array names[name]; text: as it stands in the file, NUL-terminated. where: for messages. Other than
     * 0 stops. */
    int (*item)(void *user, int name, const vdm_json *j, const char *text, const char *where, vdm_error *err);
    void *user;
};
int skim_json(const char *path, const struct skim *k, vdm_error *err);

/* Masks (coco_masks.c): sets `value` in mask [H,W] where the segmentation covers a pixel: polygons [[x0, y0, ...], ...],
 * or {"size": [H, W], "counts": runs down the columns, as a list or in COCO's compressed text}. */
int mask_draw(uint8_t *mask, int H, int W, uint8_t value, const vdm_json *j, const vdm_json_node *segmentation,
              const char *where, vdm_error *err);

/* vdm tasks coco (coco.c). */
int coco_run(const options *o, vdm_error *err);

#endif
