/* A linear layer with a LoRA adapter. Internal to the library. */
#ifndef VDM_LORA_H
#define VDM_LORA_H

#include "vdm.h"

/* Some of a layer's outputs or inputs; count 0: all of them */
typedef struct vdm_slice {
    int64_t first, count;
} vdm_slice;

/* y = x W^T + b + s (x A^T) B^T, of n = B S rows. A slice of the outputs is computed from these rows of W and B. A slice of
 * the inputs gives a part of the sum, by these columns of W and A: the first slice sets y, the others add to it, the last
 * one adds b. */
typedef struct vdm_adapted {
    const vdm_linear *w;  /* [out,in] */
    const vdm_lora *lora; /* or NULL: the linear layer alone */
    int block;            /* these two choose A [R,in] and B [out,R] */
    vdm_target target;
    int B, S;
    vdm_slice out, in;
    const float *x;  /* [B,S,in]: of the slice */
    float *y;        /* [B,S,out]: of the slice */
    float *lora_mid; /* [B,S,R]: s x A^T, which the backward pass needs */
} vdm_adapted;

/* Whether an adapter acts on this target: its targets may be attention's alone. */
static inline bool vdm_adapts(const vdm_lora *lora, vdm_target t)
{
    return lora && (int)t < (int)lora->targets;
}

/* `count` layers of the same x, which are computed in one pass over it. */
void vdm_adapted_forward(const vdm_cpu *cpu, const vdm_adapted *layers, int count, vdm_trace *trace);
/* lora_mid alone, for a backward pass that has y. */
void vdm_adapted_middle(const vdm_cpu *cpu, const vdm_adapted *layer);

typedef struct vdm_adapted_gradient {
    const float *dy;  /* [B,S,out] */
    float *dx;        /* [B,S,in], or NULL: not wanted */
    bool add;         /* dx += instead of = */
    float *dlora_mid; /* [B,S,R]: work space */
    float *dparams;   /* laid out like lora->params: dA and dB are added */
} vdm_adapted_gradient;
void vdm_adapted_backward(const vdm_cpu *cpu, const vdm_adapted *layer, const vdm_adapted_gradient *g);

#endif
