/* A tiny random model in the published layout, written by the test itself: no Python, no download. */
#ifndef VDM_TINY_H
#define VDM_TINY_H

#include "vdm.h"

/* Variants of the model; tiny.c has their differences. */
typedef enum tiny_variant { TINY_2B, TINY_5B, TINY_5B_I2V, TINY_15, TINY_15_I2V } tiny_variant;

/* Writes dir/transformer, dir/vae, dir/scheduler: width 64, 2 blocks, VAE of 16 channels, sample size 4x6
 * latents of 9 frames. All weights are random, of about the size that keeps activations near 1. Returns 0 or
 * -1. */
int tiny_write(const char *dir, tiny_variant v, vdm_dtype dtype, uint32_t seed, vdm_error *err);
/* Writes dir/view_embeds.safetensors: random prompts of n views, at most 8. */
int tiny_write_views(const char *dir, int n, uint32_t seed, vdm_error *err);

#endif
