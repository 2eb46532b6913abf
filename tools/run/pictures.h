/* Pictures that a command reads, and notes of what was lost. */
#ifndef VDM_PICTURES_H
#define VDM_PICTURES_H

#include "vdm_task.h"

/* Reads a picture and prints on stderr what was lost: transparency, 16 bits, a colour profile, an animation. */
int read_picture(vdm_picture *p, const char *path, vdm_error *err);
/* Prints the same for the task's pictures that have been read. */
void print_task_notes(const vdm_task *t);
/* The hash of size and pixels */
uint64_t hash_picture(const vdm_picture *p);
/* Prints how many of the first `tests` test inputs are among the inputs of the first `pairs` training pairs, pixel for
 * pixel. */
int print_seen_inputs(const vdm_task *t, int pairs, int tests, vdm_error *err);
/* p at the geometry's size, as [3,H,W] in -1..1 (vdm_free). */
int image_of(float **image, const vdm_picture *p, const vdm_geometry *g, vdm_error *err);

#endif
