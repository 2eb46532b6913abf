/* Frames, chunks and tiles of the VAE, and the memory of a pass. Internal to the library. */
#ifndef VDM_VAE_PLAN_H
#define VDM_VAE_PLAN_H

#include "vdm.h"

enum { KT = 3, PAST = KT - 1 };              /* frames under a causal kernel; those before the present one */
enum { ENCODE_CHUNK = 8, DECODE_CHUNK = 2 }; /* num_sample_frames_batch_size, num_latent_frames_batch_size */

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------------------------------------
 * Frames and chunks */

/* One chunk's frames through a level that halves time: 1 + (t-1)/2 or t/2. */
static inline int halved(int t)
{
    return (t + 1) / 2;
}

/* One chunk's frames through a level that doubles time. Odd counts keep their first frame single. */
static inline int doubled(int t)
{
    return t == 1 ? 1 : t % 2 ? 2 * t - 1 : 2 * t;
}

/* Levels that resample time: floor(log2(ratio)), and never the last level, which resamples nothing. */
static inline int time_levels(const vdm_vae_config *c)
{
    int n = 0;
    while (n < c->blocks - 1 && c->temporal_compression >> (n + 1)) n++;
    return n;
}

static inline int chunk_count(int T, bool decode)
{
    int size = decode ? DECODE_CHUNK : ENCODE_CHUNK;
    return T < size ? 1 : T / size;
}

/* Frames of chunk i. The first takes the remainder: 17 = 9 + 8, 21 = 3 + 9 x 2. */
static inline int chunk_frames(int T, bool decode, int i)
{
    int size = decode ? DECODE_CHUNK : ENCODE_CHUNK;
    return i > 0 ? size : T < size ? T : size + T % size;
}

/* Frames that T frames become. */
int vdm_vae_frames(const vdm_vae_config *c, int T, bool decode);

/* A side of H pixels or h latents after all levels. */
static inline int side_out(const vdm_vae_config *c, int side, bool decode)
{
    return decode ? side << (c->blocks - 1) : side >> (c->blocks - 1);
}

/* ------------------------------------------------------------------------------------------------
 * Tiles */

/* Tiles along one side. Sizes and strides are of the input (pixels to encode, latents to decode), blend and written are
 * of the output. Without tiling: one tile, which is not blended. */
struct tiles {
    int side, size, stride, count; /* tile i begins at i * stride; the last ones may be smaller than size */
    int blend, written;
};

static inline int tile_size(const struct tiles *s, int i)
{
    return min_int(s->size, s->side - i * s->stride);
}

/* ------------------------------------------------------------------------------------------------
 * Memory: what the largest chunk needs */

enum buffer {
    X,
    Y,     /* [T,H,W,C] each: the activations take turns */
    RING,  /* [slots,H,W,C]: normalised frames, the input of a convolution */
    CACHE, /* [2,H,W,in] of every causal convolution: the last frames of the chunk before */
    SUMS,  /* [3,k,k,in,out]: sums of the kernels of a causal convolution that read the first frame */
    TAPS,  /* [16,3,in,out]: a convolution's transformed taps (kernels.h, rule 7) */
    INPUT, /* [T,H,W,3] pixels, or the latents z [T,h,w,C] */
    TIMES,
    PLUS,  /* [T,h,w,C] each: Cy(z), Cb(z) of the current norm */
    INDEX, /* [H,W], int32: a pixel's latent pixel */
    STATS, /* [2,groups]: mean, rstd */
    TILE,  /* [T,C,H,W]: output of one tile */
    ABOVE, /* [columns][T,C,blend,W]: the last rows of the tiles above */
    LEFT,  /* [T,C,H,blend]: the last columns of the tile to the left */
    BUFFERS
};

struct plan {
    size_t floats[BUFFERS];
    int frames;      /* the maximum of frames that a convolution reads, the past ones included */
    int T, H, W, C;  /* of the activations, at the current layer of the walk */
    size_t latent;   /* T h w of the decoder's z; 0 in the encoder */
    enum buffer now; /* X or Y */
    bool cached;     /* several chunks */
    struct tiles rows, cols;
    bool tiled;
};

/* The plan for T frames of H x W, of pixels to encode or latents to decode. */
int vdm_vae_plan(struct plan *p, const vdm_vae_config *c, bool decode, const vdm_vae_size *size,
                 vdm_error *err);

#endif
