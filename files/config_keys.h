/* Every key of the configurations in a model folder, and what this library does with it (config_keys.c). */
#ifndef VDM_CONFIG_KEYS_H
#define VDM_CONFIG_KEYS_H

#include "vdm.h"

typedef enum vdm_key_use {
    VDM_KEY_OBEYED, /* read in model.c */
    VDM_KEY_FIXED,  /* one value is supported; any other one would change the result, and is rejected */
    VDM_KEY_IGNORED /* can't change the result */
} vdm_key_use;

typedef struct vdm_config_key {
    const char *part, *key; /* "transformer", "vae", "scheduler", "text_encoder"; NULL ends the table */
    vdm_key_use use;
    const char *value;  /* fixed: a string, a number, true, false or null */
    const char *reason; /* ignored: why it can't matter */
    int required;       /* fixed: the class's default is another value */
} vdm_config_key;
extern const vdm_config_key vdm_config_keys[];

/* config.c, for the loaders of model.c. dir: the folder of the part. */
int vdm_transformer_config_read(vdm_transformer_config *c, const char *dir, vdm_error *err);
int vdm_vae_config_read(vdm_vae_config *c, const char *dir, vdm_error *err);
int vdm_text_config_read(vdm_text_config *c, const char *dir, vdm_error *err);

/* model.c. Whether diffusers has positions of latents of h x w: the table of the 1.5 models' rotary positions ends at the
 * sample size (grid_type "slice": it is cut to the grid, never stretched). */
bool vdm_positions_reach(const vdm_transformer_config *c, int64_t h, int64_t w);

#endif
