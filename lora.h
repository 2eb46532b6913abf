/* A linear layer with a LoRA adapter. Internal to the library. */
#ifndef VDM_LORA_H
#define VDM_LORA_H

#include "vdm.h"

/* Some of a layer's outputs or inputs; count 0: all of them */
typedef struct vdm_slice {
    int64_t first, count;
} vdm_slice;

/* y = x W^T + b + s (x A^T) B^T, of n = B S rows. A slice of the outputs needs only its rows of W, b and B. A slice of
 * the inputs needs only its columns of W and A and gives a part of the sum: the first slice sets y, the others add to
 * it, and the last one adds b. */
typedef struct vdm_adapted {
    const vdm_linear *w;  /* [out,in] */
    const vdm_lora *lora; /* or NULL: only the linear layer */
    int block;            /* block and target select A [R,in] and B [out,R] */
    vdm_target target;
    int B, S;
    vdm_slice out, in;
    const float *x;  /* [B,S,in]: of the slice */
    float *y;        /* [B,S,out]: of the slice */
    float *lora_mid; /* [B,S,R]: s x A^T, which the backward pass needs */
} vdm_adapted;

/* Whether an adapter acts on this target: its targets may be only attention's. */
static inline bool vdm_adapts(const vdm_lora *lora, vdm_target t)
{
    return lora && (int)t < (int)lora->targets;
}

/* Computes `count` <= 3 layers of the same x in one pass over it. The adapter acts on all of them or on none. */
void vdm_adapted_forward(const vdm_cpu *cpu, const vdm_adapted *layers, int count, vdm_trace *trace);
/* Computes only lora_mid, for a backward pass that has y. */
void vdm_adapted_middle(const vdm_cpu *cpu, const vdm_adapted *layer);

typedef struct vdm_adapted_gradient {
    const float *dy;  /* [B,S,out]: of the slice */
    float *dx;        /* [B,S,in]: of the slice; NULL: not wanted */
    bool add;         /* dx += instead of = */
    float *dlora_mid; /* [B,S,R]: work space */
    float *dparams;   /* laid out like lora->params: dA and dB are added to it */
} vdm_adapted_gradient;
void vdm_adapted_backward(const vdm_cpu *cpu, const vdm_adapted *layer, const vdm_adapted_gradient *g);

#endif
