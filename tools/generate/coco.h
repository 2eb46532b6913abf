/* vdm tasks coco: a task folder from COCO's annotations. */
#ifndef VDM_COCO_H
#define VDM_COCO_H

#include "tools/options.h"

int coco_run(const options *o, vdm_error *err);

#endif
