/* vdm_math: exp, expm1, log, pow, sine and cosine, with the same bits on every machine. */
#ifndef VDM_MATH_H
#define VDM_MATH_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ------------------------------------------------------------------------------------------------
 * Functions of one number, the same bits on every machine (math.c): C libraries differ.
 * Double precision, errors below 2 units in the last place for the arguments that vdm uses. */

double vdm_exp(double x);
double vdm_expm1(double x);
double vdm_log(double x);           /* x > 0; log(0) = -inf */
double vdm_pow(double x, double y); /* x > 0, or any x with y an integer */
double vdm_sin(double x);           /* |x| < 2^52, NaN beyond: dynamic guidance reaches 3e15 */
double vdm_cos(double x);

#ifdef __cplusplus
}
#endif

#endif
