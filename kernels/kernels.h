/* Kernels: the loops that take the time, behind a table of functions. Internal to the library.
 *
 * Read plain.c first: it defines every kernel as plain loops over elements, the formula above them. The same
 * kernels are written once more over the 16-lane vector of vector.h and the packed panels of gemm.h, and
 * compiled once per instruction set; each copy fills one table, and vdm_cpu_init picks a table (cpu.c). Every
 * table, plain.c's too, computes the same bits, which these rules define:
 *   1. matmul and convolution: k is cut in pieces of VDM_CHAIN. Every piece is one chain of fused
 *      multiply-adds in order of k into an f32 that starts at 0; the pieces are added in order, to the
 *      output's value where it accumulates; the bias is added last. (One chain over all of K would lose
 *      a decimal digit at K = 12288: its rounding errors are those of the large partial sums. Pieces of 256
 *      are as good as PyTorch's f32, pieces of 128 better by a quarter and as fast.)
 *   2. a sum over a row: 16 partial sums, element i goes to partial i mod 16 in order of i (a sum of
 *      products with fma); then the tree: partial j += partial j+8, j+4, j+2, j+1.
 *   3. attention: as written at attention_forward.
 *   4. exp is vdm's own polynomial; sqrt and division are IEEE; nothing is contracted silently.
 *   5. where cpu->precision is VDM_PRECISION_BF16, the products (rule 1 and attention's) round their factors to bf16:
 *      to nearest even, NaN stays NaN. A step of a chain is a pair of k (an odd K is padded with a 0):
 *          sum = fma(a[2i], b[2i], fma(a[2i+1], b[2i+1], sum))
 *      with the odd element first. Chains, and the addition of their pieces, treat denormal numbers as 0 (of
 *      the same sign) and return 0 for a denormal result, as the processor's instruction vdpbf16ps does. Only
 *      products change: bias, residual, softmax, norms, and all sums in memory, are f32.
 *   6. where cpu->precision is VDM_PRECISION_AMX, factors are rounded as in rule 5, and k is padded with
 *      zeros to a multiple of 32. A piece is 32 elements. It is the sum even + odd of two chains, over its even
 *      and over its odd elements, each from 0 and in order of k. The pieces are added in order to the
 *      output's value where it accumulates, else to 0. Denormal numbers as in rule 5. This is what the
 *      processor's instruction tdpbf16ps does, checked on one with 3.8 million random, tiny and infinite sums.
 *   7. a convolution that has a buffer `transformed` is Winograd's F(2x2,3x3): 2x2 outputs together take 16
 *      multiplications a channel instead of 36. Of the 4x4 inputs d around them and of the 3x3 taps g,
 *          V = B^T d B,  U = G g G^T,  P = sum over frames and channels of V U, elementwise,  y = A^T P A
 *      where, the rows of d, g, P joined before the columns,
 *          B^T d = d0 - d2, d1 + d2, d2 - d1, d1 - d3     G g = g0, ((g0 + g2) + g1) / 2, ((g0 + g2) - g1) / 2, g2
 *          A^T p = (p0 + p1) + p2, (p1 - p2) - p3
 *      Each of the 16 sums P is computed by rule 1, 5 or 6, over k = dt*in + channel; then bias, then residual.
 * Threads divide outputs, or the fixed pieces of a sum, which are then added in order: neither their number nor the thread
 * that computes a piece changes a bit. Any size is legal, 0 included; pointers need no alignment. */
#ifndef VDM_KERNELS_H
#define VDM_KERNELS_H

#include "files/parallel.h"
#include "vdm.h"
#include "vdm_math.h"

/* C [M,N] = A [M,K] B [K,N] with every operand strided: A(m,k) = a[m*a_row + k*a_col],
 * B(k,n) = b[k*b_row + n*b_col] (elements of dtype b_dtype), C(m,n) = c[m*c_row + n].
 * c starts at 0, or at its value if accumulate is set; bias [N] is added last, or NULL.
 * also: the next product of the same A (its M, K, a, a_row, a_col are those of the first), or NULL. The bits are those
 * of separate products. A is packed once for a list of products each of whose N, but the last, is a multiple of the
 * tile's (16 or 32): put narrow ones last. */
typedef struct vdm_matmul_args {
    int64_t M, N, K;
    const float *a;
    int64_t a_row, a_col;
    const void *b;
    vdm_dtype b_dtype;
    int64_t b_row, b_col;
    float *c;
    int64_t c_row;
    const float *bias;
    bool accumulate;
    const struct vdm_matmul_args *also;
} vdm_matmul_args;

/* Convolution of channels-last frames. frames [kt-1 + T]: pointers to frames [H,W,in], the context
 * first (causal: the kt-1 frames before). y [T,Ho,Wo,out].
 * Output (t,yo,xo) reads rows yo*stride + dy - pad, columns likewise; pixels outside the frame are 0.
 * Rule 1 (5, 6) sums over k = ((dt*k + dy)*k + dx)*in + channel, the zeros outside included. Rule 7 is another sum.
 * w->weight is [kt*k*k*in, out]. */
typedef struct vdm_conv_args {
    float *y;
    const float *const *frames;
    int T, H, W, Ho, Wo, stride, pad;
    const vdm_conv *w;
    const float *residual; /* [T,Ho,Wo,out], added after the bias; or NULL */
    float *transformed;    /* of vdm_winograd_floats elements: by rule 7, instead of 1; or NULL */
} vdm_conv_args;

/* Attention of B videos, A heads. Rows of q, k, v, o are [B,S,A*Dh]: head a is columns a*Dh....
 * lse [B,A,S] is the log of the softmax denominator (stored for the backward pass). */
typedef struct vdm_attention_args {
    int B, A, S, Dh;
    const float *q, *k, *v; /* [B,S,A*Dh] */
    float *o, *lse;         /* [B,S,A*Dh], [B,A,S] */
    const float *d_o;       /* backward: dL/do */
    float *dq, *dk, *dv;    /* backward: written, not added to */
} vdm_attention_args;

/* The rows of a [B,S,D] array: of every video's S rows the first L are text's. */
typedef struct vdm_rows {
    int B, S, L;
    int64_t D;
} vdm_rows;

/* The modulation of a norm (CogVideoXLayerNormZero): one vector [D] per video b for its text rows and one for
 * its video rows, at text_scale + b * stride, scale + b * stride, and so on. scale and shift may all be NULL:
 * no modulation; a kernel of gates reads the gates alone. */
typedef struct vdm_modulation {
    const float *shift, *scale, *gate;                /* of video rows */
    const float *text_shift, *text_scale, *text_gate; /* of text rows */
    int64_t stride;
} vdm_modulation;

/* A layer norm over D and its backward pass. Without modulation the rows may be any: B = 1, L = 0. */
typedef struct vdm_norm_args {
    vdm_rows rows;
    const float *x; /* [B,S,D] */
    const vdm_norm *norm;
    vdm_modulation modulation;
    float *mean, *rstd; /* [B*S]: written by forward unless NULL, read by backward */
    float *y;           /* forward: [B,S,D]; may be x */
    float eps;          /* forward */
    const float *dy;    /* backward: [B,S,D] */
    float *dx;          /* backward: [B,S,D]; may be dy unless it is added to */
    bool add;           /* backward: dx += ..., not dx = ... */
} vdm_norm_args;

/* Group norm, given the statistics of the groups. */
typedef struct vdm_group_norm_args {
    int64_t P; /* pixels */
    int C, groups;
    const float *x;           /* [P,C] */
    float *y;                 /* [P,C]; may be x */
    const float *mean, *rstd; /* [groups] */
    const vdm_norm *norm;
    const float *times, *plus; /* [Pz,C]: y times + plus, of which pixel p takes row index[p]; or NULL */
    const int32_t *index;      /* [P] */
    bool silu;                 /* of all that, at the end */
} vdm_group_norm_args;

/* Rotary positions: rows as in vdm_rows, each of A heads of Dh elements. */
typedef struct vdm_rope_args {
    int B, S, L, A, Dh;
    float *x;               /* [B,S,A*Dh], in place */
    const float *cos, *sin; /* [S-L,Dh/2] */
    float sign;             /* +1: forward; -1: backward, the rotation by the opposite angle */
} vdm_rope_args;

/* What an update of AdamW multiplies by (lora.c: vdm_adamw_update) */
typedef struct vdm_adamw_factors {
    float keep, one_minus_beta1, beta2, one_minus_beta2, step, root, eps;
} vdm_adamw_factors;

typedef struct vdm_kernels {
    const char *name;
    bool tiles;                            /* products of rule 6 are computed in the processor's AMX tiles */
    size_t (*scratch_floats)(int threads); /* packing space, independent of the problem's size */

    void (*matmul)(const vdm_cpu *cpu, const vdm_matmul_args *m);
    void (*conv)(const vdm_cpu *cpu, const vdm_conv_args *c);

    /* Dh <= VDM_MAX_HEAD; all products by rule 1, 5 or 6. Forward, for one query i: q' = scale q,
     * scale = 1/sqrt(Dh) rounded to f32; s_j = sum_d k_jd q'_d. Keys in tiles of VDM_KEY_TILE, in order. Per
     * tile: m' = max(m, max_j s_j); c = exp(m - m'); p_j = exp(s_j - m');
     * l = l c + sum of p (8 partial sums, key j of the tile to partial j mod 8 in order; then the tree
     * partial j += partial j+4, j+2, j+1); o_d = o_d c, to which the pieces of sum_j v_jd p_j are added.
     * At the end o_d / l, lse = m + log l. m starts at -inf, l and o at 0. l sums p_j before it is rounded. */
    void (*attention_forward)(const vdm_cpu *cpu, const vdm_attention_args *a);
    /* Backward: p_ij = exp(s_ij - lse_i); delta_i = sum over d of do_id o_id (rule 2); g_ij = sum_d do_id v_jd;
     * ds_ij = (p_ij (g_ij - delta_i)) scale; dv_jd = sum_i p_ij do_id, dk_jd = sum_i ds_ij q_id,
     * dq_id = sum_j ds_ij k_jd. */
    void (*attention_backward)(const vdm_cpu *cpu, const vdm_attention_args *a);

    /* y = (xhat gamma + beta) (1 + scale) + shift, xhat = (x - mean) rstd, row by row over D; mean and
     * variance by rule 2, the variance from (x - mean)^2; rstd = 1 / sqrt(variance + eps). */
    void (*layer_norm)(const vdm_cpu *cpu, const vdm_norm_args *n);
    /* dx (+)= rstd (dxhat - mean(dxhat) - xhat mean(dxhat xhat)), dxhat = dy (1 + scale) gamma */
    void (*layer_norm_backward)(const vdm_cpu *cpu, const vdm_norm_args *n);

    /* Mean and rstd of each of `groups` groups of channels over P pixels, x [P,C]. Per channel: sums of
     * VDM_PIXEL_TILE pixels in f32 in order, those sums added in double in order, channels of a group in
     * double in order; the variance likewise from (x - mean)^2, mean rounded to f32. mean, rstd [groups]. */
    void (*group_norm_stats)(const vdm_cpu *cpu, float *mean, float *rstd, const float *x, int64_t P, int C,
                             int groups, float eps);
    /* y = ((x - mean) rstd gamma + beta) times + plus, and silu of it if asked for */
    void (*group_norm)(const vdm_cpu *cpu, const vdm_group_norm_args *n);

    /* Rotates the pairs (x[2j], x[2j+1]) of every head of the video rows by the angle of (row, j). */
    void (*rope)(const vdm_cpu *cpu, const vdm_rope_args *r);

    /* Elementwise, from here to exp; y may be x.
     * gelu_tanh(x) = x sigma(2u), u = sqrt(2/pi)(x + 0.044715 x^3): its tanh is 2 sigma(2u) - 1 */
    void (*gelu)(const vdm_cpu *cpu, float *y, const float *x, int64_t n);
    /* dx = dy gelu'(x); dx may be dy */
    void (*gelu_backward)(const vdm_cpu *cpu, float *dx, const float *dy, const float *x, int64_t n);
    void (*silu)(const vdm_cpu *cpu, float *y, const float *x, int64_t n);
    /* sum = h + gate y (sum may be h) */
    void (*gated_add)(const vdm_cpu *cpu, float *sum, const float *h, const float *y, const vdm_rows *r,
                      const vdm_modulation *m);
    /* Its backward: dy = gate dh */
    void (*gate)(const vdm_cpu *cpu, float *dy, const float *dh, const vdm_rows *r, const vdm_modulation *m);
    /* y = a x + b z, each product rounded: two multiplications, one addition */
    void (*blend)(const vdm_cpu *cpu, float *y, float a, const float *x, float b, const float *z, int64_t n);
    void (*exp)(const vdm_cpu *cpu, float *y, const float *x, int64_t n);
    /* One update of n parameters p, moments m and v, gradient g; every operation is rounded, a fma once:
     * m = fma(1 - beta1, g - m, m);  v = fma((1 - beta2) g, g, beta2 v);
     * p = p keep + step m / (sqrt(v) / root + eps) */
    void (*adamw)(const vdm_cpu *cpu, float *p, float *m, float *v, const float *g, int64_t n,
                  const vdm_adamw_factors *f);

    /* sums [3,n] = W_0 + W_1 + W_2, W_0 + W_1, W_2, summed from the left in f32: W_t [n] are the kernels of a causal
     * convolution, w->weight [3,n] with n = k k in out (vae.c). */
    void (*sum_taps)(const vdm_cpu *cpu, float *sums, const vdm_conv *w);
    /* Nearest-neighbour upsampling by 2: x [H,W,C] -> y [2H,2W,C] */
    void (*enlarge)(const vdm_cpu *cpu, float *y, const float *x, int H, int W, int C);

    /* For vdm bench, the peak of this set: every thread computes multiply-adds in registers only, `steps` times a few
     * dozen, in cpu->precision. Returns the number of operations, two for a multiply-add; 0 if the processor has no
     * instruction for it. */
    double (*peak)(const vdm_cpu *cpu, int64_t steps);
} vdm_kernels;

enum {
    VDM_CHAIN = 128,    /* these three are part of the definition: other values give different bits */
    VDM_KEY_TILE = 256, /* whole chains */
    VDM_PIXEL_TILE = 256,
    VDM_MAX_HEAD = 256,     /* maximum Dh: the size of attention's buffers */
    VDM_MAX_CHANNELS = 4096 /* maximum C of group_norm_stats and group_norm: the size of their buffers */
};

/* Whether rule 7 applies to frames of Ho x Wo outputs: to 3x3 kernels of stride 1 with a border of one zero, whose channels
 * are a multiple of rule 6's pieces. It is faster only with many channels, and many pixels too, since U is computed in
 * every call. */
enum { VDM_WINOGRAD_MIN = 128, VDM_WINOGRAD_MAX = 1024, VDM_WINOGRAD_PIXELS = 1024 };
static inline bool vdm_is_winograd(const vdm_conv *w, int stride, int pad, int Ho, int Wo)
{
    return w->k == 3 && w->kt <= 3 && stride == 1 && pad == 1 && w->in % 32 == 0 &&
           w->in >= VDM_WINOGRAD_MIN && w->out >= VDM_WINOGRAD_MIN && w->in <= VDM_WINOGRAD_MAX &&
           w->out <= VDM_WINOGRAD_MAX && (int64_t)Ho * Wo >= VDM_WINOGRAD_PIXELS;
}
/* U [16,kt*in,out], in panels of up to 32 columns */
static inline size_t vdm_winograd_floats(int kt, int in, int out)
{
    return 16 * (size_t)kt * (size_t)in * (((size_t)out + 31) / 32 * 32);
}

extern const vdm_kernels vdm_kernels_plain, vdm_kernels_scalar;
#if defined(__x86_64__) || defined(_M_X64)
extern const vdm_kernels vdm_kernels_avx2, vdm_kernels_avx512, vdm_kernels_avx512bf16, vdm_kernels_avx512amx;
#elif defined(__aarch64__)
extern const vdm_kernels vdm_kernels_neon;
#endif

/* The three matmuls of a linear layer, with n rows and w->weight [out,in]. */
static inline int64_t linear_stride(const vdm_linear *w)
{
    return w->weight.stride ? w->weight.stride : w->weight.cols;
}
/* y [n,out] = x [n,in] W^T + b */
static inline vdm_matmul_args linear_args(float *y, const float *x, const vdm_linear *w, int64_t n)
{
    const vdm_matrix *W = &w->weight;
    vdm_matmul_args m = {.M = n,
                         .N = W->rows,
                         .K = W->cols,
                         .a = x,
                         .a_row = W->cols,
                         .a_col = 1,
                         .b = W->data,
                         .b_dtype = W->dtype,
                         .b_row = 1,
                         .b_col = linear_stride(w),
                         .c = y,
                         .c_row = W->rows,
                         .bias = w->bias};
    return m;
}
static inline void linear_forward(const vdm_cpu *cpu, float *y, const float *x, const vdm_linear *w,
                                  int64_t n)
{
    vdm_matmul_args m = linear_args(y, x, w, n);
    cpu->kernels->matmul(cpu, &m);
}
/* dx [n,in] (+)= dy [n,out] W */
static inline vdm_matmul_args linear_backward_args(float *dx, const float *dy, const vdm_linear *w, int64_t n,
                                                   bool add)
{
    const vdm_matrix *W = &w->weight;
    vdm_matmul_args m = {.M = n,
                         .N = W->cols,
                         .K = W->rows,
                         .a = dy,
                         .a_row = W->rows,
                         .a_col = 1,
                         .b = W->data,
                         .b_dtype = W->dtype,
                         .b_row = linear_stride(w),
                         .b_col = 1,
                         .c = dx,
                         .c_row = W->cols,
                         .accumulate = add};
    return m;
}
static inline void linear_backward_input(const vdm_cpu *cpu, float *dx, const float *dy, const vdm_linear *w,
                                         int64_t n, bool add)
{
    vdm_matmul_args m = linear_backward_args(dx, dy, w, n, add);
    cpu->kernels->matmul(cpu, &m);
}
/* dW [out,in] += dy^T [out,n] x [n,in], dW with the rows, columns and stride of w */
static inline void linear_backward_weight(const vdm_cpu *cpu, float *dw, const float *dy, const float *x,
                                          int64_t n, const vdm_linear *w)
{
    const vdm_matrix *W = &w->weight;
    vdm_matmul_args m = {.M = W->rows,
                         .N = W->cols,
                         .K = n,
                         .a = dy,
                         .a_row = 1,
                         .a_col = W->rows,
                         .b = x,
                         .b_dtype = VDM_F32,
                         .b_row = W->cols,
                         .b_col = 1,
                         .c = dw,
                         .c_row = linear_stride(w),
                         .accumulate = true};
    cpu->kernels->matmul(cpu, &m);
}

#endif
