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
    size_t max = product > attention ? product : attention;
    return max > norm ? max : norm;
}

#ifdef V16_DOT
/* avx512bf16 differs from avx512 in products of bf16: those of f32 are compiled once. */
static bool is_f32(const vdm_cpu *cpu)
{
    return cpu->precision == VDM_PRECISION_F32;
}
static void set_matmul(const vdm_cpu *cpu, const vdm_matmul_args *m)
{
    (is_f32(cpu) ? vdm_kernels_avx512.matmul : matmul)(cpu, m);
}
static void set_conv(const vdm_cpu *cpu, const vdm_conv_args *c)
{
    (is_f32(cpu) ? vdm_kernels_avx512.conv : conv)(cpu, c);
}
static void set_attention_forward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    (is_f32(cpu) ? vdm_kernels_avx512.attention_forward : attention_forward)(cpu, a);
}
static void set_attention_backward(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    (is_f32(cpu) ? vdm_kernels_avx512.attention_backward : attention_backward)(cpu, a);
}
#else
#define set_matmul             matmul
#define set_conv               conv
#define set_attention_forward  attention_forward
#define set_attention_backward attention_backward
#endif

#define TABLE(set, has_amx)                                                                                 \
    {                                                                                                       \
        .name = (set), .tiles = (has_amx), .scratch_floats = scratch_floats, .matmul = set_matmul,          \
        .conv = set_conv, .attention_forward = set_attention_forward,                                       \
        .attention_backward = set_attention_backward, .layer_norm = layer_norm,                             \
        .layer_norm_backward = layer_norm_backward, .group_norm_stats = group_norm_stats,                   \
        .group_norm = group_norm, .rope = rope, .gelu = gelu, .gelu_backward = gelu_backward, .silu = silu, \
        .gated_add = gated_add, .gate = gate, .blend = blend, .exp = exponential, .adamw = adamw,           \
        .sum_taps = sum_taps, .enlarge = enlarge, .peak = peak,                                             \
    }
const vdm_kernels FOR_SET(vdm_kernels_) = TABLE(NAME_OF(SET_NAME), false);
#ifdef V16_AMX
const vdm_kernels vdm_kernels_avx512amx = TABLE("avx512amx", true);
#endif
