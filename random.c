/* Random numbers as PyTorch's CPU generator draws them: the same seed gives the same noise.
 *
 *   MT19937 --24 bits--> rand, U[0,1) f32 --Box and Muller, 16 at a time--> randn, N(0,1) f32
 *
 * Traps: PyTorch drops the upper half of a seed; torch.randn rounds its angle to f32 before the cosine; fewer than
 * 16 normals take another path, in double, which keeps its second normal for the next call; the last 16 of a tensor
 * whose size is not a multiple of 16 are drawn again. */
#include "vdm.h"
#include "vdm_math.h"

#include <math.h>

static const double PI = 0x1.921fb54442d18p+1;

/* ------------------------------------------------------------------------------------------------
 * MT19937 (Matsumoto and Nishimura 1998), as at::mt19937 */

void vdm_rng_seed(vdm_rng *r, uint64_t seed)
{
    r->state[0] = (uint32_t)seed; /* PyTorch too drops the upper half */
    for (uint32_t i = 1; i < 624; i++) {
        uint32_t s = r->state[i - 1];
        r->state[i] = 1812433253u * (s ^ s >> 30) + i;
    }
    r->next = 624;
    r->spare = 0;
    r->has_spare = false;
}

static void twist(uint32_t *state)
{
    for (int i = 0; i < 624; i++) {
        uint32_t mixed = (state[i] & 0x80000000u) | (state[(i + 1) % 624] & 0x7fffffffu);
        state[i] = state[(i + 397) % 624] ^ mixed >> 1 ^ (mixed & 1 ? 0x9908b0dfu : 0);
    }
}

uint32_t vdm_rng_u32(vdm_rng *r)
{
    if (r->next >= 624) {
        twist(r->state);
        r->next = 0;
    }
    uint32_t y = r->state[r->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9d2c5680u;
    y ^= y << 15 & 0xefc60000u;
    return y ^ y >> 18;
}

uint64_t vdm_rng_u64(vdm_rng *r)
{
    uint64_t high = vdm_rng_u32(r);
    return high << 32 | vdm_rng_u32(r);
}

/* ------------------------------------------------------------------------------------------------
 * PyTorch's fills (aten/src/ATen/native/cpu/DistributionTemplates.h) */

static float uniform_float(vdm_rng *r)
{
    return (float)(vdm_rng_u32(r) & 0xffffffu) * 0x1p-24f;
}
static double uniform_double(vdm_rng *r)
{
    return (double)(vdm_rng_u64(r) & 0x1fffffffffffffu) * 0x1p-53;
}

void vdm_rand(vdm_rng *r, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) x[i] = uniform_float(r);
}

/* Below 2^28 one draw, from there two; the slight skew of the modulus is PyTorch's. */
int64_t vdm_randint(vdm_rng *r, int64_t below)
{
    if (below <= 0) return 0;
    uint64_t range = (uint64_t)below;
    return (int64_t)(range >= 1u << 28 ? vdm_rng_u64(r) % range : vdm_rng_u32(r) % range);
}

/* Box and Muller in place, normal_fill_16: 16 uniforms become 16 normals; i and i + 8 make a pair. */
static void box_muller_16(float *x)
{
    const float two_pi = (float)(2 * PI);
    for (int i = 0; i < 8; i++) {
        float u1 = 1 - x[i]; /* exact, in (0, 1] */
        float radius = sqrtf(-2 * (float)vdm_log((double)u1));
        float angle = two_pi * x[i + 8]; /* rounded to f32: as much as 2e-7 of the angle */
        x[i] = radius * (float)vdm_cos((double)angle);
        x[i + 8] = radius * (float)vdm_sin((double)angle);
    }
}

/* normal_distribution<double>: returns one normal of a pair and stores the other for the next call */
static double normal_double(vdm_rng *r)
{
    if (r->has_spare) {
        r->has_spare = false;
        return r->spare;
    }
    double u1 = uniform_double(r), u2 = uniform_double(r);
    double radius = sqrt(-2 * vdm_log(1 - u2)), angle = 2 * PI * u1; /* 1 - u2 is exact */
    r->spare = radius * vdm_sin(angle);
    r->has_spare = true;
    return radius * vdm_cos(angle);
}

void vdm_randn(vdm_rng *r, float *x, int64_t n)
{
    if (n < 16) {
        for (int64_t i = 0; i < n; i++) x[i] = (float)normal_double(r);
        return;
    }
    vdm_rand(r, x, n);
    for (int64_t i = 0; i + 16 <= n; i += 16) box_muller_16(x + i);
    if (n % 16 == 0) return;
    vdm_rand(r, x + n - 16, 16); /* the last 16 are drawn again, including those already drawn */
    box_muller_16(x + n - 16);
}
