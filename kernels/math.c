/* Functions of one number that give the same bits on every machine: exp, expm1, log, pow, sin, cos.
 *
 * C libraries differ in the last place of these, so the noise, the schedule and the weights of a run
 * would differ from machine to machine. Here everything is IEEE addition, multiplication, division and
 * fma in double, in an order that is written down. Each function reduces its argument to a small
 * interval (Cody and Waite: the constant is held in pieces, so that what cancels is exact) and sums a
 * Taylor series there; intervals are short enough that nothing cleverer is needed. Errors are below 0.8
 * units in the last place, of expm1 below 1.3 (measured against 200 bits on random arguments).
 *
 * Traps: reduce with the rounded constant alone and sin(1e8) has 8 digits left; compute pow as
 * exp(y log x) in double and x^y with a result near 2^1000 loses 10 bits. */
#include "vdm_math.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <string.h>

#if FLT_EVAL_METHOD != 0
#error "float expressions must be computed in float: -fexcess-precision=fast, or -msse2 -mfpmath=sse on i386"
#endif

/* ln 2 = LN2_HIGH + LN2_LOW to 86 bits; HIGH ends in 20 zero bits: k * HIGH is exact for |k| < 2^20. */
#define LN2_HIGH 0x1.62e42fef00000p-1
#define LN2_LOW  0x1.473de6af278edp-34
#define LOG2_E   0x1.71547652b82fep+0
/* pi / 2 to 159 bits */
#define PI_2_A    0x1.921fb54442d18p+0
#define PI_2_B    0x1.1a62633145c07p-54
#define PI_2_C    -0x1.f1976b7ed8fbcp-110
#define TWO_BY_PI 0x1.45f306dc9c883p-1
#define SQRT_2    0x1.6a09e667f3bcdp+0
#define EXP_MAX   0x1.62e42fefa39efp+9  /* exp of more overflows */
#define EXP_MIN   -0x1.74910d52d3051p+9 /* exp of less rounds to 0 */
#define COUNT(a)  ((int)(sizeof(a) / sizeof *(a)))

static uint64_t bits_of(double x)
{
    uint64_t u;
    memcpy(&u, &x, 8);
    return u;
}
static double double_of(uint64_t u)
{
    double x;
    memcpy(&x, &u, 8);
    return x;
}
/* c[0] + c[1] x + ... + c[n-1] x^(n-1) */
static double polynomial(const double *c, int n, double x)
{
    double p = c[n - 1];
    for (int i = n - 2; i >= 0; i--) p = fma(p, x, c[i]);
    return p;
}

/* 2^k, -1022 <= k <= 1023 */
static double power_of_2(int k)
{
    return double_of((uint64_t)(k + 1023) << 52);
}
/* x 2^k, rounded once: the first factor leaves a normal number */
static double scale(double x, int k)
{
    int half = k / 2;
    return x * power_of_2(half) * power_of_2(k - half);
}

/* ------------------------------------------------------------------------------------------------
 * exp: x = k ln 2 + r, |r| <= ln 2 / 2; e^x = 2^k e^r */

/* (e^r - 1 - r) / r^2 on |r| < 0.347: degree 11, error 5e-18 of e^r */
static double exp_tail(double r)
{
    static const double c[] = {
        1.0 / 2,     1.0 / 6,      1.0 / 24,      1.0 / 120,      1.0 / 720,       1.0 / 5040,
        1.0 / 40320, 1.0 / 362880, 1.0 / 3628800, 1.0 / 39916800, 1.0 / 479001600, 1.0 / 6227020800,
    };
    return polynomial(c, COUNT(c), r);
}

/* r + *low = x - k ln 2 */
static double exp_reduce(double x, int *k, double *low)
{
    double n = rint(x * LOG2_E);
    double high = fma(-n, LN2_HIGH, x); /* exact */
    double r = fma(-n, LN2_LOW, high);
    *low = fma(-n, LN2_LOW, high - r);
    *k = (int)n;
    return r;
}

/* e^(x + more), |more| far below 1 */
static double exp_of_sum(double x, double more)
{
    if (x != x) return x;
    if (x > EXP_MAX) return (double)INFINITY;
    if (x < EXP_MIN) return 0;
    int k;
    double low, high = exp_reduce(x, &k, &low);
    double r = high + (low + more);
    low = low + more - (r - high);
    double one = 1 + r; /* what this rounds, r - (one - 1), joins the small terms */
    return scale(one + (r * r * exp_tail(r) + (r - (one - 1) + low)), k);
}

double vdm_exp(double x)
{
    return exp_of_sum(x, 0);
}

/* 2^k e^r - 1 = (2^k - 1 + 2^k r) + 2^k (e^r - 1 - r): what may cancel stands alone, where it is exact */
double vdm_expm1(double x)
{
    if (fabs(x) < 0x1p-54 || x != x) return x; /* -0 too */
    if (x > 41) return vdm_exp(x);
    if (x < -41) return -1;
    int k;
    double low, r = exp_reduce(x, &k, &low), two_k = power_of_2(k);
    return fma(two_k, r, two_k - 1) + two_k * (r * r * exp_tail(r) + low);
}

/* ------------------------------------------------------------------------------------------------
 * log: x = 2^k m, sqrt(1/2) < m <= sqrt(2); log m = log((1 + s) / (1 - s)), s = (m - 1) / (m + 1)
 *      = 2s (1 + z/3 + z^2/5 + ...), z = s^2 <= 0.0295 */

/* x > 0, finite -> m */
static double log_reduce(double x, int *k)
{
    int shift = 0;
    if (x < 0x1p-1022) { /* subnormal */
        x *= 0x1p54;
        shift = -54;
    }
    uint64_t u = bits_of(x);
    *k = (int)(u >> 52) - 1023 + shift;
    double m = double_of((u & 0x000fffffffffffffu) | 0x3ff0000000000000u);
    if (m > SQRT_2) {
        m /= 2;
        *k += 1;
    }
    return m;
}

/* What is not a positive finite number has its answer here. */
static bool log_special(double x, double *y)
{
    if (x > 0 && x < (double)INFINITY) return false;
    *y = x == 0 ? -(double)INFINITY : x < 0 ? (double)NAN : x; /* inf and NaN stay */
    return true;
}

double vdm_log(double x)
{
    /* 2/3 + 2/5 z + ...: degree 9, error 1e-18 of the whole */
    static const double c[] = {2.0 / 3,  2.0 / 5,  2.0 / 7,  2.0 / 9,  2.0 / 11,
                               2.0 / 13, 2.0 / 15, 2.0 / 17, 2.0 / 19, 2.0 / 21};
    double y;
    if (log_special(x, &y)) return y;
    int k;
    double f = log_reduce(x, &k) - 1; /* exact */
    double s = f / (2 + f), z = s * s, half = 0.5 * f * f;
    /* 2s = f - s f = f - (f^2/2 - s f^2/2): the rounding of s counts only in the small terms */
    double small = half - (s * (half + z * polynomial(c, COUNT(c), z)) + k * LN2_LOW);
    return k * LN2_HIGH - (small - f);
}

/* ------------------------------------------------------------------------------------------------
 * pow = e^(y log x), the logarithm and the product held in two doubles (high + low) */

typedef struct pair {
    double high, low;
} pair;

static pair sum_of(double a, double b) /* |a| >= |b| or a = 0 */
{
    double s = a + b;
    return (pair){s, b - (s - a)};
}
static pair product(pair a, pair b)
{
    double p = a.high * b.high;
    double e = fma(a.high, b.high, -p) + (a.high * b.low + a.low * b.high);
    return sum_of(p, e);
}
/* c + a, c the larger */
static pair add(pair c, pair a)
{
    pair s = sum_of(c.high, a.high);
    return sum_of(s.high, s.low + (c.low + a.low));
}

/* log x to about 68 bits. The first terms of the series are pairs; from z^3/7 on a double will do. */
static pair log_pair(double x)
{
    /* 1/7 + z/9 + ...: degree 11, error 2^-72 of the whole */
    static const double c[] = {1.0 / 7,  1.0 / 9,  1.0 / 11, 1.0 / 13, 1.0 / 15, 1.0 / 17,
                               1.0 / 19, 1.0 / 21, 1.0 / 23, 1.0 / 25, 1.0 / 27, 1.0 / 29};
    static const pair third = {0x1.5555555555555p-2, 0x1.5555555555555p-56};
    static const pair fifth = {0x1.999999999999ap-3, -0x1.999999999999ap-57};
    int k;
    double m = log_reduce(x, &k), f = m - 1;
    pair d = m > 1 ? sum_of(m, 1) : sum_of(1, m);
    pair s = {f / d.high, 0};
    s.low = (fma(-s.high, d.high, f) - s.high * d.low) / d.high;
    pair z = product(s, s);
    pair tail =
        product(z, add(third, product(z, add(fifth, (pair){z.high * polynomial(c, COUNT(c), z.high), 0}))));
    pair half = add(s, product(s, tail));
    pair log_m = {2 * half.high, 2 * half.low};
    if (k == 0) return log_m;
    return add((pair){k * LN2_HIGH, k * LN2_LOW}, log_m);
}

/* x^n by squaring in pairs, n > 0: rounded correctly but for one case in thousands. */
static double whole_power(double x, int n)
{
    pair y = {1, 0}, square = {x, 0};
    for (;; square = product(square, square)) {
        if (n & 1) y = product(y, square);
        if (!(n >>= 1)) return y.high;
    }
}

static bool is_odd(double y)
{
    return fabs(y) < 0x1p53 && fmod(y, 2) != 0;
}

/* 0, infinities and NaN, as C's pow has them */
static double pow_special(double x, double y, double sign)
{
    double size = fabs(x);
    if (x != x || y != y) return (double)NAN;
    if (fabs(y) == (double)INFINITY) {
        if (size == 1) return 1;
        return (size > 1) == (y > 0) ? (double)INFINITY : 0;
    }
    return (size == 0) == (y > 0) ? sign * 0.0 : sign * (double)INFINITY;
}

double vdm_pow(double x, double y)
{
    if (y == 0 || x == 1) return 1;
    double size = fabs(x), sign = signbit(x) && y == rint(y) && is_odd(y) ? -1 : 1;
    bool usual = size > 0 && size < (double)INFINITY && fabs(y) < (double)INFINITY;
    if (!usual) return pow_special(x, y, sign);
    if (x < 0 && y != rint(y)) return (double)NAN;
    if (y > 0 && y <= 32 && y == rint(y)) {
        double z = whole_power(x, (int)y); /* its lower halves live between these bounds only */
        if (fabs(z) > 0x1p-900 && fabs(z) < 0x1p900) return z;
    }
    pair l = log_pair(size);
    double p = y * l.high;
    if (fabs(p) > 1024) return p > 0 ? sign * (double)INFINITY : sign * 0.0;
    return sign * exp_of_sum(p, fma(y, l.high, -p) + y * l.low);
}

/* ------------------------------------------------------------------------------------------------
 * sin, cos: x = n pi/2 + r, |r| <= pi/4 */

/* r + *low = x - n pi/2; returns n mod 4. Exact for |x| < 2^52: x - n PI_2_A is a multiple of 2^-52
 * (or of x's last place) below 2, so the fma doesn't round. */
static int quarter_turns(double x, double *r, double *low)
{
    double n = rint(x * TWO_BY_PI);
    n += rint(fma(-n, PI_2_B, fma(-n, PI_2_A, x)) * TWO_BY_PI); /* the product is off by 1 above 2^50 */
    double a = fma(-n, PI_2_A, x), b = n * PI_2_B;
    *r = a - b;
    double back = a - *r; /* what the subtraction rounded, exactly, whichever of a and b is larger */
    *low = (a - (*r + back)) + (back - b) - fma(n, PI_2_B, -b) - n * PI_2_C;
    return (int)(int64_t)fmod(n, 4) & 3;
}

/* r - r^3/3! + ...: degree 17, error 1e-19 of r */
static double sin_series(double r, double low)
{
    static const double c[] = {
        -1.0 / 6,        1.0 / 120,        -1.0 / 5040,          1.0 / 362880,
        -1.0 / 39916800, 1.0 / 6227020800, -1.0 / 1307674368000, 1.0 / 355687428096000};
    double z = r * r;
    return r + (z * r * polynomial(c, COUNT(c), z) + low * (1 - 0.5 * z));
}

/* 1 - r^2/2! + r^4/4! ...: degree 18, error 3e-21 */
static double cos_series(double r, double low)
{
    static const double c[] = {
        1.0 / 24,        -1.0 / 720,         1.0 / 40320,          -1.0 / 3628800,
        1.0 / 479001600, -1.0 / 87178291200, 1.0 / 20922789888000, -1.0 / 6402373705728000};
    double z = r * r, half = 0.5 * z, one = 1 - half;
    return one + (((1 - one) - half) + (z * z * polynomial(c, COUNT(c), z) - r * low));
}

/* sin(x + turns pi/2) */
static double sin_turned(double x, int turns)
{
    if (!(fabs(x) < 0x1p52)) return (double)NAN; /* beyond, neighbouring doubles are a turn apart */
    double r, low;
    int n = (quarter_turns(x, &r, &low) + turns) & 3;
    double y = n & 1 ? cos_series(r, low) : sin_series(r, low);
    return n & 2 ? -y : y;
}

double vdm_sin(double x)
{
    return x == 0 ? x : sin_turned(x, 0); /* -0 stays */
}

double vdm_cos(double x)
{
    return sin_turned(x, 1);
}
