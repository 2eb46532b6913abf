/* How adapters were learned, compared with how they are used. */
#ifndef VDM_ADAPTERS_H
#define VDM_ADAPTERS_H

#include "tools/run/model_session.h"

/* The scale of the image's latents, the frames and, for eval, the view of the file become those of the options that were
 * not given. Pictures as large as those that it was learned on are accepted. Rejected if --image-scale contradicts it.
 * Call it before the plan is made. */
int adapter_apply(options *o, const char *path, int command, vdm_error *err);
/* The same for every --lora. */
int adapters_apply(options *o, int command, vdm_error *err);
/* How many of the task's first training pairs the adapters of --lora were learned from; all if a file does not say, or
 * there is none. */
int adapters_pairs(int *pairs, const options *o, const vdm_task *t, vdm_error *err);
/* The grid in a picture of that size, which is answered in several views: the one that the adapters of --lora were learned
 * on; if no file has one, that of --cell, --border and --palette, which fills the picture (no rows if it can't).
 * Rejected if options, adapters or the picture's size contradict each other. */
int adapters_grid(vdm_grid_layout *g, const options *o, const vdm_geometry *size, vdm_error *err);
/* Prints on stderr what differs between how the file was learned and how it is used now: size, prompt, weights, views,
 * grids. For a session that is loaded; n_views: the number of views that it is used in. */
int adapter_report(const session *s, const char *path, const vdm_task *t, int n_views, vdm_error *err);
int adapters_report(const session *s, const vdm_task *t, int n_views, vdm_error *err);

#endif
