/* A linear layer with a LoRA adapter. Internal to the library. */
#ifndef VDM_LORA_H
#define VDM_LORA_H

#include "vdm.h"

/* y = x W^T + b + s (x A^T) B^T, of n = B S rows */
typedef struct vdm_adapted {
    const vdm_linear *w;  /* [D,D] */
    const vdm_lora *lora; /* or NULL: the linear layer alone */
    int block;            /* these two choose A [R,D] and B [D,R] */
    vdm_target target;
    int B, S;
    const float *x;  /* [B,S,D] */
    float *y;        /* [B,S,D] */
    float *lora_mid; /* [B,S,R]: s x A^T, which the backward pass needs */
} vdm_adapted;

/* `count` layers of the same x, which are computed in one pass over it. */
void vdm_adapted_forward(const vdm_cpu *cpu, const vdm_adapted *layers, int count, vdm_trace *trace);

typedef struct vdm_adapted_gradient {
    const float *dy;  /* [B,S,D] */
    float *dx;        /* [B,S,D], or NULL: not wanted */
    bool add;         /* dx += instead of = */
    float *dlora_mid; /* [B,S,R]: work space */
    float *dparams;   /* laid out like lora->params: dA and dB are added */
} vdm_adapted_gradient;
void vdm_adapted_backward(const vdm_cpu *cpu, const vdm_adapted *layer, const vdm_adapted_gradient *g);

#endif
