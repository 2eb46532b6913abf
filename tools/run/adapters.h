/* How adapters were learned, compared with how they are used. */
#ifndef VDM_ADAPTERS_H
#define VDM_ADAPTERS_H

#include "tools/run/model_session.h"

/* The scale of the image's latents, the frames and, for eval, the view of the file become those of the options that were
 * not given. Rejected if --image-scale contradicts it. Call it before the plan is made. */
int adapter_apply(options *o, const char *path, int command, vdm_error *err);
/* The same for every --lora. */
int adapters_apply(options *o, int command, vdm_error *err);
/* Prints on stderr what differs between how the file was learned and how it is used now: size, prompt, weights, views,
 * grids. For a session that is loaded; n_views: the number of views that it is used in. */
int adapter_report(const session *s, const char *path, const vdm_task *t, int n_views, vdm_error *err);
int adapters_report(const session *s, const vdm_task *t, int n_views, vdm_error *err);

#endif
