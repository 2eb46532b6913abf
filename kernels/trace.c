/* Taps: tensors shown to whoever asks (vdm.h: vdm_tap), as the layers complete them.
 *
 * Trap: a tap must not change what it looks at. What a layer doesn't keep is computed once more into
 * memory of the tap's own, never by another way through the layer. */
#include "kernels/kernels.h"

#include <stdarg.h>
#include <string.h>

void vdm_tap_free(vdm_tap *tap)
{
    vdm_free(tap->space);
    tap->space = NULL;
    tap->room = 0;
}

void tap_prefix(vdm_tap *tap, const char *format, ...)
{
    if (!tap) return;
    va_list args;
    va_start(args, format);
    vsnprintf(tap->prefix, sizeof tap->prefix, format, args);
    va_end(args);
}

/* Makes the name; false where nobody wants it. */
static bool names(vdm_tap *tap, const char *format, va_list args)
{
    int length = snprintf(tap->name, sizeof tap->name, "%s", tap->prefix);
    vsnprintf(tap->name + length, sizeof tap->name - (size_t)length, format, args);
    return !tap->wants || tap->wants(tap->user, tap->name);
}

static bool wanted(vdm_tap *tap, const char *format, va_list args)
{
    return tap && names(tap, format, args);
}

static int64_t product(int rank, const int64_t *shape)
{
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= shape[i];
    return n;
}

static float *space_for(vdm_tap *tap, int64_t floats)
{
    if ((size_t)floats > tap->room) {
        vdm_tap_free(tap);
        tap->space = vdm_alloc((size_t)floats, sizeof(float), "a tensor to show", NULL);
        tap->room = tap->space ? (size_t)floats : 0;
    }
    if (!tap->space) tap->failed = true;
    return tap->space;
}

void tap_see(vdm_tap *tap, const float *x, int rank, const int64_t *shape, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (wanted(tap, format, args)) tap->see(tap->user, tap->name, x, rank, shape);
    va_end(args);
}

void tap_pieces(vdm_tap *tap, const float *x, int64_t stride, int rank, const int64_t *shape,
                const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (wanted(tap, format, args)) {
        int64_t n = product(rank - 1, shape + 1);
        float *all = space_for(tap, shape[0] * n);
        for (int64_t i = 0; all && i < shape[0]; i++)
            memcpy(all + i * n, x + i * stride, (size_t)n * sizeof *all);
        if (all) tap->see(tap->user, tap->name, all, rank, shape);
    }
    va_end(args);
}

float *tap_room(vdm_tap *tap, int rank, const int64_t *shape, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    float *space = wanted(tap, format, args) ? space_for(tap, product(rank, shape)) : NULL;
    va_end(args);
    return space;
}

void tap_show(vdm_tap *tap, int rank, const int64_t *shape)
{
    tap->see(tap->user, tap->name, tap->space, rank, shape);
}
