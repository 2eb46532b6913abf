/* The tape: every buffer of a pass through the transformer, in one allocation. Internal to the library.
 *
 * A block's forward pass gives its backward pass `activations`. As memory allows, a block has a set of its own; the
 * other blocks share one set, which the backward pass recomputes. A forward pass alone stores none. Free buffers are
 * reused; a buffer has one name for each of its contents. From left to right in time:
 *
 *   forward alone   embedding    norm1  q, k, v   attention  to_out  norm2  feed-forward   head
 *     h             h            h      h         h          h1      h1     h1, next h     h
 *     n             text_rows    n      n         o          o       n      n              head.n
 *     y             video_rows          q_pre, q  q          y              y              head.x, head.u
 *     hidden                            k, v      k, v                      hidden
 *
 *   backward        head         recompute        feed-forward              attention
 *     dh            dh           dh               dh, dh1                   dh1, dh of the block's input
 *     n             head.n       n (norm1)        n (norm2)                 n (norm1)
 *     hidden                                      hidden                    dq, dk
 *     dhidden       head.x, u    y                dhidden                   dv
 *     gradient 1    du                            feed.dn                   attention.dy, then dn
 *     gradient 2                                  feed.dy                   attention.d_o
 *
 * A forward pass that a backward pass follows has h [layers + 1,...], memory for the activations, and y in dhidden. */
#ifndef VDM_TAPE_H
#define VDM_TAPE_H

#include "vdm.h"

/* What a block's backward pass needs of its forward pass, besides the block's input */
struct activations {
    /* attention outputs */
    float *o, *h1; /* [B,S,D]; h between the halves of the block */
    float *lse;    /* [B,A,S] */
    /* the rest */
    float *q_pre, *k_pre, *q, *k, *v;         /* [B,S,D]; q and k before their norm */
    float *q_mean, *q_rstd, *k_mean, *k_rstd; /* [B,S,A] */
    float *mean[2], *rstd[2];                 /* [B,S]: of norm1, norm2 */
    float *up;                                /* parts [B*S,<=P] of [B*S,4D]: before GELU; NULL: not stored */
    float *lora_mid[4]; /* [B,S,R]: s x A^T of each target; to_out's is with o, or, forward alone, q's */
};

struct vdm_tape {
    vdm_tape_shape shape;
    int D, A, Dh, L, V, S, E, R, layers;
    int P;                   /* hidden units of the feed-forward at a time: about half of 4D */
    int patch_in, patch_out; /* elements of a patch of the input and of the output */
    float *memory;
    /* tables of this size */
    float *rope_cos, *rope_sin; /* [V,Dh/2] */
    float *positions;           /* [S,D], if they are computed */
    const float *add_positions; /* [S,D], added to h at the start: computed, learned or NULL */
    /* from the timestep; the backward pass uses modulation and head_modulation */
    float *sinusoid;        /* [B,max(D,ofs)] */
    float *emb, *emb_silu;  /* [B,E] */
    float *emb_hidden;      /* [B,E]: inside an embedding */
    float *emb_ofs;         /* [1,E]: shares emb_silu's buffer */
    float *modulation;      /* [layers,2,B,6D] */
    float *head_modulation; /* [B,2D]: shift, scale */
    /* the pass */
    float *patches;   /* [B,V,max(patch_in,patch_out)] */
    float *h;         /* [layers+1,B,S,D]: the residual stream, one block's input after another, then the last
                          one's output; forward alone [B,S,D] for all (h_at) */
    float *text_rows; /* [B,L,D] */
    float *video_rows;            /* [B,V,D] */
    float *n;                     /* [B,S,D]: after norm1 or norm2 */
    float *y;                     /* [B,S,D]: output of attention or feed-forward */
    float *hidden;                /* [B*S,P]: a part of the feed-forward */
    struct activations shared;    /* of the current block, if it has no set of its own */
    struct activations *stored;   /* [shape.stored_attention + shape.stored]: of the last blocks */
    struct {                      /* u = norm_out(n), n = norm_final(x) */
        float *x, *n, *u;         /* [B,V,D] */
        float *du;                /* [B,V,D], then in place dn, dx */
        float *mean[2], *rstd[2]; /* [B,V]: of norm_final, norm_out */
    } head;
    /* backward only */
    float *dh; /* [B,S,D] */
    struct {
        float *dy, *d_o, *dq, *dk, *dv, *dn; /* [B,S,D] */
        float *dlora_mid;                    /* [B,S,R] */
    } attention;
    struct {
        float *dy, *dn; /* [B,S,D] */
        float *dhidden; /* [B*S,P] */
        /* for an adapter on the feed-forward; forward alone: both mids are the lora_mid of q */
        float *up_mid, *down_mid; /* [B,S,R]: s x A^T */
        float *gelu;              /* [B*S,P]: gelu of a part, the input of `down` */
    } feed;
};

/* Whether a block stores all its activations; the first block that stores them or its attention outputs */
static inline bool stores_all(const vdm_tape *t, int layer)
{
    return layer >= t->layers - t->shape.stored;
}
static inline int first_stored(const vdm_tape *t)
{
    return t->layers - t->shape.stored - t->shape.stored_attention;
}
static inline const struct activations *activations_of(const vdm_tape *t, int layer)
{
    return layer >= first_stored(t) ? &t->stored[layer - first_stored(t)] : &t->shared;
}
static inline float *h_at(const vdm_tape *t, int layer) /* a block's input */
{
    return t->shape.backward ? t->h + (int64_t)layer * t->shape.B * t->S * t->D : t->h;
}

/* All buffers, zeroed; the tables are vdm_tape_new's to fill. */
vdm_tape *vdm_tape_alloc(const vdm_transformer_config *c, const vdm_tape_shape *s, vdm_error *err);

#endif
