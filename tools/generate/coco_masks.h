/* The masks in COCO's annotations. */
#ifndef VDM_COCO_MASKS_H
#define VDM_COCO_MASKS_H

#include "vdm_files.h"

/* Sets `value` in mask [H,W] where the segmentation covers a pixel: polygons [[x0, y0, ...], ...],
 * or {"size": [H, W], "counts": runs down the columns, as a list or in COCO's compressed text}. */
int mask_draw(uint8_t *mask, int H, int W, uint8_t value, const vdm_json *j,
              const vdm_json_node *segmentation, const char *where, vdm_error *err);
/* Draws nothing: rejects what mask_draw would reject, and counts the covered pixels, as if polygons did not overlap. */
int mask_measure(double *area, int H, int W, const vdm_json *j, const vdm_json_node *segmentation,
                 const char *where, vdm_error *err);

#endif
