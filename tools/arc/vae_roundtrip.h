/* How well a model's VAE reconstructs grids. */
#ifndef VDM_VAE_ROUNDTRIP_H
#define VDM_VAE_ROUNDTRIP_H

#include "tools/options.h"

int vae_roundtrip_run(const options *o, vdm_error *err);

#endif
