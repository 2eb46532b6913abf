/* The kernels of one instruction set, compiled once per set (-DVDM_SET_avx512 ...); the table at the end is what
 * the rest of the library sees. The parts are included, not linked: the compiler reads the intrinsics once, and
 * everything but the table is static. */
#include "kernels/gemm.h"

#include "kernels/products.c"
#include "kernels/conv.c"
#include "kernels/conv_strips.c"
#include "kernels/winograd.c"
#include "kernels/attention.c"
#include "kernels/norms.c"
#include "kernels/elementwise.c"
#include "kernels/peak.c"

static size_t scratch_floats(int threads)
{
    size_t T = (size_t)threads;
    size_t product = T * PRODUCT_FLOATS;
    size_t attention = T * ATTENTION_FLOATS, norm = NORM_FLOATS + 4 * VDM_MAX_CHANNELS;
    size_t most = product > attention ? product : attention;
    return most > norm ? most : norm;
}

const vdm_kernels FOR_SET(vdm_kernels_) = {
    .name = NAME_OF(SET_NAME),
    .scratch_floats = scratch_floats,
    .matmul = matmul,
    .conv = conv,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .layer_norm = layer_norm,
    .layer_norm_backward = layer_norm_backward,
    .group_norm_stats = group_norm_stats,
    .group_norm = group_norm,
    .rope = rope,
    .gelu = gelu,
    .gelu_backward = gelu_backward,
    .silu = silu,
    .gated_add = gated_add,
    .gate = gate,
    .blend = blend,
    .exp = exponential,
    .adamw = adamw,
    .sum_taps = sum_taps,
    .enlarge = enlarge,
    .peak = peak,
};
