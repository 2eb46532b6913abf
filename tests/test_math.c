/* math.c against the C library (whose errors are below 1 unit in the last place as well), its
 * special values, and fixed bit patterns: those must be the same on every machine. */
#include "check.h"
#include "vdm_math.h"

#include <math.h>
#include <string.h>

static uint64_t bits(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
static uint32_t float_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static float float_of(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* splitmix64 */
static uint64_t random_bits(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static double uniform(uint64_t *state, double from, double to)
{
    return from + (to - from) * (double)(random_bits(state) >> 11) * 0x1p-53;
}

/* Distance in units in the last place; 0 where both are NaN, huge where one is. */
static double ulps(double a, double b)
{
    if (a != a || b != b) return a != a && b != b ? 0 : 1e300;
    if (a == b) return 0;
    if (isinf(a) || isinf(b)) return 1e300;
    int exponent;
    frexp(b, &exponent);
    return fabs(a - b) / ldexp(1, exponent - 53 < -1074 ? -1074 : exponent - 53);
}

typedef double function(double);

/* Arguments in from..to; logarithmic: equally many in every power of 2 */
static void against_libm(const char *name, function *ours, function *theirs, double from, double to,
                         bool logarithmic)
{
    uint64_t state = 1;
    double worst = 0, at = 0;
    for (int i = 0; i < 200000; i++) {
        double x = logarithmic ? exp(uniform(&state, log(from), log(to))) : uniform(&state, from, to);
        if (logarithmic && i % 2 && ours != vdm_log) x = -x;
        double distance = ulps(ours(x), theirs(x));
        if (distance > worst) worst = distance, at = x;
    }
    CHECK(worst <= (ours == vdm_expm1 ? 2 : 1), "%s on %g..%g: %.3g ulps at %.17g", name, from, to, worst,
          at);
}

static void test_ranges(void)
{
    against_libm("exp", vdm_exp, exp, -745.2, 709.8, false);
    against_libm("exp", vdm_exp, exp, 1e-20, 1, true);
    against_libm("expm1", vdm_expm1, expm1, -45, 709.8, false);
    against_libm("expm1", vdm_expm1, expm1, 1e-320, 2, true);
    against_libm("log", vdm_log, log, 5e-324, 1.7e308, true);
    against_libm("log", vdm_log, log, 0.5, 2, false);
    against_libm("log", vdm_log, log, 0.9999, 1.0001, false);
    against_libm("sin", vdm_sin, sin, 1e-320, 1e8, true);
    against_libm("sin", vdm_sin, sin, -1e8, 1e8, false);
    against_libm("sin", vdm_sin, sin, 1e8, 4e15, true);
    against_libm("cos", vdm_cos, cos, 1e-320, 1e8, true);
    against_libm("cos", vdm_cos, cos, -1e8, 1e8, false);
    against_libm("cos", vdm_cos, cos, 1e8, 4e15, true);
}

/* Near the zeros of sin and cos nearly all of the argument cancels. */
static void test_near_quarter_turns(void)
{
    uint64_t state = 2;
    double worst = 0;
    for (int i = 0; i < 100000; i++) {
        double x = rint(uniform(&state, -6.4e7, 6.4e7)) * 1.5707963267948966;
        for (int k = -1; k <= 1; k++) {
            double y = k ? nextafter(x, k * 1e300) : x;
            worst = fmax(worst, fmax(ulps(vdm_sin(y), sin(y)), ulps(vdm_cos(y), cos(y))));
        }
    }
    CHECK(worst <= 1, "sin and cos near multiples of pi/2: %.3g ulps", worst);
}

static void test_pow(void)
{
    uint64_t state = 3;
    double worst = 0, worst_whole = 0;
    for (int i = 0; i < 200000; i++) {
        double x = exp(uniform(&state, -700, 700)), y = uniform(&state, -745, 709.7) / log(x);
        if (i % 2) x = uniform(&state, 0.5, 2), y = uniform(&state, -1000, 1000);
        worst = fmax(worst, ulps(vdm_pow(x, y), pow(x, y)));
        double base = uniform(&state, -1000, 1000), n = rint(uniform(&state, -30, 30));
        worst_whole = fmax(worst_whole, ulps(vdm_pow(base, n), pow(base, n)));
    }
    CHECK(worst <= 1, "pow: %.3g ulps", worst);
    CHECK(worst_whole <= 1, "pow of whole exponents: %.3g ulps", worst_whole);
}

static void test_special(void)
{
    const double inf = (double)INFINITY, nan = (double)NAN;
    const double x[] = {0.0,
                        -0.0,
                        1,
                        -1,
                        0.5,
                        -0.5,
                        2,
                        3,
                        -3,
                        5e-324,
                        -5e-324,
                        2.2e-308,
                        1e300,
                        -1e300,
                        inf,
                        -inf,
                        nan,
                        709.782712893384,
                        709.7827128933841,
                        -745.1332191019411,
                        -745.1332191019412,
                        7.5,
                        1e-17};
    const int n = (int)(sizeof x / sizeof *x);
    for (int i = 0; i < n; i++) {
        CHECK(ulps(vdm_exp(x[i]), exp(x[i])) <= 1, "exp(%g)", x[i]);
        CHECK(ulps(vdm_expm1(x[i]), expm1(x[i])) <= 1, "expm1(%g)", x[i]);
        CHECK(ulps(vdm_log(x[i]), log(x[i])) <= 1, "log(%g)", x[i]);
        CHECK(signbit(vdm_expm1(x[i])) == signbit(expm1(x[i])) || x[i] != x[i], "sign of expm1(%g)", x[i]);
        bool in_range = fabs(x[i]) < 1e8 || !isfinite(x[i]);
        CHECK(!in_range || ulps(vdm_sin(x[i]), sin(x[i])) <= 1, "sin(%g)", x[i]);
        CHECK(!in_range || ulps(vdm_cos(x[i]), cos(x[i])) <= 1, "cos(%g)", x[i]);
        for (int j = 0; j < n; j++) {
            double ours = vdm_pow(x[i], x[j]), theirs = pow(x[i], x[j]);
            if (x[i] == -1 && isinf(x[j])) theirs = 1;
            CHECK(ulps(ours, theirs) <= 1, "pow(%g, %g): %g, %g", x[i], x[j], ours, theirs);
            CHECK(ours != ours || signbit(ours) == signbit(theirs), "sign of pow(%g, %g)", x[i], x[j]);
        }
    }
    CHECK(signbit(vdm_sin(-0.0)), "sin(-0) is -0");
}

/* Made by this code once; any difference is a change of what every machine computes. */
static void test_fixed_bits(void)
{
    CHECK(bits(vdm_exp(1)) == 0x4005bf0a8b145769u, "exp(1): %016llx", (unsigned long long)bits(vdm_exp(1)));
    CHECK(bits(vdm_log(10)) == 0x40026bb1bbb55516u, "log(10): %016llx",
          (unsigned long long)bits(vdm_log(10)));
    CHECK(bits(vdm_sin(1)) == 0x3feaed548f090ceeu, "sin(1): %016llx", (unsigned long long)bits(vdm_sin(1)));
    CHECK(bits(vdm_cos(1e8)) == 0xbfd741b388a8c02au, "cos(1e8): %016llx",
          (unsigned long long)bits(vdm_cos(1e8)));
    CHECK(bits(vdm_pow(2, 0.5)) == 0x3ff6a09e667f3bcdu, "2^0.5");
    uint64_t state = 4, sum = 0;
    for (int i = 0; i < 20000; i++) {
        double x = uniform(&state, -30, 30), y = fabs(x);
        sum = sum * 31 + (bits(vdm_exp(x)) ^ bits(vdm_expm1(x)) ^ bits(vdm_log(y)));
        sum = sum * 31 + (bits(vdm_sin(x)) ^ bits(vdm_cos(1e6 * x)) ^ bits(vdm_pow(y, x)));
    }
    CHECK(sum == 0xc1191d649a2ead32u, "hash of 20000 arguments: %016llx", (unsigned long long)sum);
}

static void test_half(void)
{
    for (uint32_t u = 0; u < 65536; u++) {
        uint16_t h = (uint16_t)u;
        float b = vdm_from_bf16(h), f = vdm_from_f16(h);
        bool b_nan = (u & 0x7fff) > 0x7f80, f_nan = (u & 0x7fff) > 0x7c00;
        bool same = b_nan ? isnan(b) && isnan(vdm_from_bf16(vdm_to_bf16(b))) : vdm_to_bf16(b) == h;
        CHECK(same, "bf16 %04x", u);
        same = f_nan ? isnan(f) && isnan(vdm_from_f16(vdm_to_f16(f))) : vdm_to_f16(f) == h;
        CHECK(same, "f16 %04x", u);
        int exponent = u >> 10 & 31, fraction = u & 0x3ff;
        double value = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
        if (exponent < 31) CHECK((double)f == (u & 0x8000 ? -value : value), "f16 %04x is %g", u, (double)f);
    }
}

/* Rounding to nearest even: of the two neighbours the nearer one is taken, of equally near ones the even. */
static void check_rounding(const char *name, uint16_t (*to)(float), float (*from)(uint16_t),
                           uint16_t first_inf)
{
    uint64_t state = 5;
    for (uint32_t u = 0; u < first_inf - 1u; u += 1 + (uint32_t)(random_bits(&state) & 7)) {
        double low = (double)from((uint16_t)u), high = (double)from((uint16_t)(u + 1));
        float middle = (float)((low + high) / 2);
        uint32_t even = u + (u & 1);
        bool right = to(middle) == even && to(nextafterf(middle, INFINITY)) == u + 1 &&
                     to(nextafterf(middle, -INFINITY)) == u && to(-middle) == (even | 0x8000);
        CHECK(right, "%s rounds between %04x and %04x", name, u, u + 1);
    }
}

static void test_rounding(void)
{
    check_rounding("bf16", vdm_to_bf16, vdm_from_bf16, 0x7f80);
    check_rounding("f16", vdm_to_f16, vdm_from_f16, 0x7c00);
    CHECK(vdm_to_f16(65519.996f) == 0x7bff && vdm_to_f16(65520.0f) == 0x7c00, "f16 overflow");
    CHECK(vdm_to_f16(-INFINITY) == 0xfc00 && vdm_to_bf16(INFINITY) == 0x7f80, "infinities");
    CHECK(vdm_to_bf16(float_of(0x7f7fffffu)) == 0x7f80, "bf16 overflow");
    CHECK(isnan(vdm_from_bf16(vdm_to_bf16(float_of(0x7f800001u)))), "a NaN of one low bit stays NaN");
    CHECK(float_bits(vdm_from_bf16(0x8000)) == 0x80000000u && vdm_to_f16(-0.0f) == 0x8000, "-0");
}

int main(void)
{
    test_ranges();
    test_near_quarter_turns();
    test_pow();
    test_special();
    test_fixed_bits();
    test_half();
    test_rounding();
    return check_end("math");
}
