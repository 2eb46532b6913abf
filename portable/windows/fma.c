/* fma and fmaf with one rounding: those of mingw-w64 compute in x87's extended double and round twice. */
#include <math.h>
#include <stdint.h>
#include <string.h>

__extension__ typedef unsigned __int128 wide;

/* m 2^e, m of 53 bits; x is finite and not 0 */
static wide whole(double x, int *e)
{
    double m = frexp(fabs(x), e);
    *e -= 53;
    return (wide)ldexp(m, 53);
}

/* m 2^-shift; if non-zero bits are cut off, the lowest bit is set */
static wide shifted(wide m, int shift)
{
    if (shift > 126) return m != 0;
    return m >> shift | ((m & (((wide)1 << shift) - 1)) != 0);
}

/* m 2^e to the nearest double, ties to even */
static double rounded(wide m, int e)
{
    int bits = 0;
    while (bits < 128 && m >> bits) bits++;
    int drop = bits - 53 > -1074 - e ? bits - 53 : -1074 - e; /* a subnormal has fewer */
    if (drop <= 0) return ldexp((double)m, e);
    wide result = drop > 127 ? 0 : m >> drop, half = drop > 127 ? 0 : (wide)1 << (drop - 1);
    wide rest = drop > 127 ? 0 : m & (2 * half - 1);
    if (rest > half || (half && rest == half && result & 1)) result++;
    return ldexp((double)result, e + drop);
}

double fma(double x, double y, double z)
{
    if (isfinite(x) && isfinite(y) && !isfinite(z)) return z; /* though x y may overflow */
    if (!isfinite(x) || !isfinite(y) || x == 0 || y == 0) return x * y + z;
    if (z == 0) return x * y;
    int ex, ey, ez, ep;
    wide p = whole(x, &ex) * whole(y, &ey) << 20, q = whole(z, &ez) << 72; /* 125 or 126 bits each */
    ep = ex + ey - 20;
    ez -= 72;
    int e = ep > ez ? ep : ez, p_negative = (x < 0) != (y < 0), z_negative = z < 0;
    p = shifted(p, e - ep);
    q = shifted(q, e - ez);
    if (p_negative == z_negative) return p_negative ? -rounded(p + q, e) : rounded(p + q, e);
    if (p == q) return 0;
    double size = p > q ? rounded(p - q, e) : rounded(q - p, e);
    return (p > q ? p_negative : z_negative) ? -size : size;
}

/* The product is exact in double. The sum is rounded to odd there: what then is rounded to float can't lie in
 * the middle by that rounding alone (Boldo and Melquiond 2008). */
float fmaf(float x, float y, float z)
{
    double p = (double)x * (double)y, c = (double)z, s = p + c, back = s - p;
    double rest = (p - (s - back)) + (c - back); /* p + c - s, exactly */
    uint64_t u;
    memcpy(&u, &s, sizeof u);
    if (isfinite(s) && rest != 0 && u % 2 == 0) u += (rest > 0) == (s > 0) ? 1 : UINT64_MAX;
    memcpy(&s, &u, sizeof s);
    return (float)s;
}
