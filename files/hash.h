/* Hashes: FNV-1a of bytes, and the finalizer of splitmix64. Neither is cryptographic.
 *
 *   FNV-1a      h = (h ^ byte) * 1099511628211, from h = VDM_HASH_START
 *   splitmix64  its last three lines spread every bit of z over all bits of the result */
#ifndef VDM_HASH_H
#define VDM_HASH_H

#include "vdm.h"

#define VDM_HASH_START UINT64_C(14695981039346656037)

/* One step with a byte, or with a larger integer that does not depend on the byte order. */
static inline uint64_t vdm_hash_step(uint64_t h, uint64_t x)
{
    return (h ^ x) * UINT64_C(1099511628211);
}

static inline uint64_t vdm_hash_bytes(uint64_t h, const void *data, size_t n)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) h = vdm_hash_step(h, p[i]);
    return h;
}

static inline uint64_t vdm_hash_text(uint64_t h, const char *text)
{
    for (; *text; text++) h = vdm_hash_step(h, (unsigned char)*text);
    return h;
}

static inline uint64_t vdm_hash_mix(uint64_t z)
{
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

/* FNV-1a over `count` elements of `width` bytes, the lowest byte of each first: the same on machines of either byte
 * order. Start with VDM_HASH_START. */
uint64_t vdm_hash(uint64_t h, const void *data, size_t count, size_t width);
/* Names, shapes and the first bytes of every tensor: identifies a model without reading all of it. */
uint64_t vdm_hash_model(const vdm_transformer *m);
/* Name, shape and elements of a tensor, one step an element: the same on every machine. */
uint64_t vdm_hash_tensor(uint64_t h, const vdm_tensor *t);
/* All elements of a transformer's tensors, the settings that act in it, and the schedule of noise: another one is
 * another hash. Reads every weight. */
uint64_t vdm_hash_whole_model(const vdm_transformer *m, const vdm_schedule *s);
/* All elements of a VAE's layers, and its configuration. */
uint64_t vdm_hash_vae(const vdm_vae *m);
/* An embedding [L,Dt] */
uint64_t vdm_hash_prompt(const float *text, const vdm_transformer_config *c);

#endif
