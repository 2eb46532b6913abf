/* Transitions: a pair of pictures becomes a video that turns one into the other (arXiv 2506.07280, where
 * the video is what the model learns the task from; the names follow the authors' dataset code).
 *
 *   x, y [H,W,3] 8 bit --phi--> frames [T,H,W,3] 8 bit, frame 0 = x, frame T-1 = y
 *   frames [T,H,W,3] 0..255 <--> video [T,3,H,W] f32
 *
 * With t = i/(T-1), frame i is
 *   linear     (1-s) x + s y, s = t
 *   quadratic  the same with s = t^2: stays near x and moves late
 *   sqrt       the same with s = sqrt(t): moves early
 *   discrete   x in the first floor(T/2) frames, y in the rest
 *   black:b    x in the first floor((T-b)/2), then b black frames, then y
 *   tiles:NxM  x, with the first floor(N M t) tiles of a random order taken from y
 *   noisy      the linear (or quadratic) frame + A t (1-t) N(0,1), clipped
 *
 * Blending is in double, each operation rounded, the result rounded half to even: in numpy
 * np.rint((1 - s) * x + s * y), to the bit.
 *
 * Traps: t is exactly 1 at the last frame, so that the frame equals y; the number of tiles from y is
 * computed in integers (49 * (1/49.0) is a little less than 1); tiles need not divide the picture. */
#include "vdm.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Frames */

static uint8_t to_byte(double v) /* v is not NaN */
{
    return (uint8_t)rint(v < 0 ? 0 : v > 255 ? 255 : v);
}

/* frame [n] = (1-s) x + s y */
static void blend(uint8_t *frame, const uint8_t *x, const uint8_t *y, size_t n, double s)
{
    for (size_t i = 0; i < n; i++) frame[i] = to_byte((1 - s) * x[i] + s * y[i]);
}

/* The same plus scale * noise, before rounding. noise [n] */
static void blend_noisy(uint8_t *frame, const uint8_t *x, const uint8_t *y, size_t n, double s,
                        const float *noise, double scale)
{
    for (size_t i = 0; i < n; i++) frame[i] = to_byte((1 - s) * x[i] + s * y[i] + scale * (double)noise[i]);
}

/* Noise is drawn for the frames between the first and the last, one after another: [H,W,3] each. */
static int interp_noisy(const vdm_phi *phi, const uint8_t *x, const uint8_t *y, size_t n, int T, vdm_rng *rng,
                        uint8_t *frames, vdm_error *err)
{
    float *noise = vdm_alloc(n, sizeof *noise, "the noise of a transition", err);
    if (!noise) return -1;
    memcpy(frames, x, n);
    for (int i = 1; i < T - 1; i++) {
        double t = (double)i / (T - 1), s = phi->quadratic ? t * t : t;
        vdm_randn(rng, noise, (int64_t)n);
        blend_noisy(frames + (size_t)i * n, x, y, n, s, noise, phi->amplitude * t * (1 - t));
    }
    memcpy(frames + (size_t)(T - 1) * n, y, n);
    vdm_free(noise);
    return 0;
}

/* order [n] = torch.randperm(n) of the same generator. */
static void permute(int32_t *order, int n, vdm_rng *rng)
{
    for (int i = 0; i < n; i++) order[i] = i;
    for (int i = 0; i < n - 1; i++) {
        int other = i + (int)(vdm_rng_u32(rng) % (uint32_t)(n - i));
        int32_t swap = order[i];
        order[i] = order[other];
        order[other] = swap;
    }
}

/* The start of part i of `parts` of a side; part `parts` starts at its end. */
static size_t part_begin(int side, int i, int parts)
{
    return (size_t)((int64_t)i * side / parts);
}

/* Copies a tile, counted row by row, from y to a frame. */
static void copy_tile(uint8_t *frame, const vdm_picture *y, const vdm_phi *phi, int tile)
{
    int r = tile / phi->tiles_x, c = tile % phi->tiles_x;
    size_t left = part_begin(y->width, c, phi->tiles_x), right = part_begin(y->width, c + 1, phi->tiles_x);
    size_t bottom = part_begin(y->height, r + 1, phi->tiles_y);
    for (size_t row = part_begin(y->height, r, phi->tiles_y); row < bottom; row++) {
        size_t at = (row * (size_t)y->width + left) * 3;
        memcpy(frame + at, y->rgb + at, (right - left) * 3);
    }
}

static int interp_tiles(const vdm_phi *phi, const vdm_picture *x, const vdm_picture *y, int T, vdm_rng *rng,
                        uint8_t *frames, vdm_error *err)
{
    int n = phi->tiles_y * phi->tiles_x; /* at most VDM_MAX_SIDE^2 = 2^28 */
    int32_t *order = vdm_alloc((size_t)n, sizeof *order, "the order of tiles", err);
    if (!order) return -1;
    permute(order, n, rng);
    size_t bytes = (size_t)y->height * (size_t)y->width * 3;
    memcpy(frames, x->rgb, bytes);
    for (int i = 1, shown = 0; i < T; i++) {
        uint8_t *frame = frames + (size_t)i * bytes;
        memcpy(frame, frame - bytes, bytes);
        for (int64_t end = (int64_t)n * i / (T - 1); shown < end; shown++)
            copy_tile(frame, y, phi, order[shown]);
    }
    vdm_free(order);
    return 0;
}

/* The first `before` frames x, then `black` black ones, the rest y. */
static void interp_steps(const uint8_t *x, const uint8_t *y, size_t n, int T, int before, int black,
                         uint8_t *frames)
{
    for (int i = 0; i < T; i++) {
        uint8_t *frame = frames + (size_t)i * n;
        if (i >= before && i < before + black)
            memset(frame, 0, n);
        else
            memcpy(frame, i < before ? x : y, n);
    }
}

int vdm_phi_check(const vdm_phi *phi, int T, int H, int W, vdm_error *err)
{
    int min = phi->kind == VDM_PHI_BLACK ? phi->black + 2 : 2;
    if (T < min || T > VDM_MAX_FRAMES)
        return vdm_fail(err, "transition: frames: found %d, expected %d to %d", T, min, VDM_MAX_FRAMES);
    if (phi->kind == VDM_PHI_TILES &&
        (phi->tiles_y < 1 || phi->tiles_x < 1 || phi->tiles_y > H || phi->tiles_x > W))
        return vdm_fail(
            err,
            "phi: found %d x %d tiles for a picture of %d x %d (rows x columns), expected a pixel or "
            "more in each",
            phi->tiles_y, phi->tiles_x, H, W);
    return 0;
}

static int check_pair(const vdm_phi *phi, const vdm_picture *x, const vdm_picture *y, int T,
                      const vdm_rng *rng, vdm_error *err)
{
    if (vdm_picture_check(x, "transition", err) || vdm_picture_check(y, "transition", err)) return -1;
    if (x->width != y->width || x->height != y->height)
        return vdm_fail(err,
                        "transition: sizes: found %dx%d and %dx%d (height x width), expected the same size",
                        x->height, x->width, y->height, y->width);
    if (vdm_phi_check(phi, T, y->height, y->width, err)) return -1;
    if (!rng && (phi->kind == VDM_PHI_TILES || phi->kind == VDM_PHI_NOISY))
        return vdm_fail(err,
                        "transition: random numbers: found none, expected a generator for tiles and noise");
    return 0;
}

int vdm_interp(const vdm_phi *phi, const vdm_picture *x, const vdm_picture *y, int T, vdm_rng *rng,
               uint8_t *frames, vdm_error *err)
{
    if (check_pair(phi, x, y, T, rng, err)) return -1;
    size_t n = (size_t)x->height * (size_t)x->width * 3;
    switch (phi->kind) {
    case VDM_PHI_DISCRETE:
        interp_steps(x->rgb, y->rgb, n, T, T / 2, 0, frames);
        return 0;
    case VDM_PHI_BLACK:
        interp_steps(x->rgb, y->rgb, n, T, (T - phi->black) / 2, phi->black, frames);
        return 0;
    case VDM_PHI_TILES:
        return interp_tiles(phi, x, y, T, rng, frames, err);
    case VDM_PHI_NOISY:
        return interp_noisy(phi, x->rgb, y->rgb, n, T, rng, frames, err);
    case VDM_PHI_LINEAR:
    case VDM_PHI_QUADRATIC:
    case VDM_PHI_SQRT:
        break;
    }
    for (int i = 0; i < T; i++) {
        double t = (double)i / (T - 1);
        double s = phi->kind == VDM_PHI_QUADRATIC ? t * t : phi->kind == VDM_PHI_SQRT ? sqrt(t) : t;
        blend(frames + (size_t)i * n, x->rgb, y->rgb, n, s);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * 8 bit frames and videos of floats */

/* frames [T,H,W,3] -> video [T,3,H,W] in -1..1 */
void vdm_video_from_bytes(float *video, const uint8_t *frames, int T, int H, int W)
{
    size_t pixels = (size_t)H * (size_t)W;
    for (size_t t = 0; t < (size_t)T; t++)
        for (size_t c = 0; c < 3; c++)
            for (size_t i = 0; i < pixels; i++)
                video[(t * 3 + c) * pixels + i] =
                    (float)frames[(t * pixels + i) * 3 + c] / 255.0f * 2.0f - 1.0f;
}

/* video [T,3,H,W] without NaN or infinity: one in weights or prompt, or an overflow, spreads to every frame, which would
 * be written as a black picture. */
int vdm_video_check(const float *video, int T, int H, int W, vdm_error *err)
{
    int64_t frame = (int64_t)H * W * 3, bad = 0, first = 0;
    for (int64_t i = 0; i < T * frame; i++)
        if (!isfinite(video[i]) && bad++ == 0) first = i / frame;
    if (!bad) return 0;
    return vdm_fail(
        err,
        "the video: %lld of %lld values are NaN or infinite, the first in frame %lld: weights, adapter or "
        "prompt hold such values, or are so large that the computation overflows",
        (long long)bad, (long long)(T * frame), (long long)first);
}

/* video [T,3,H,W] in 0..1, clipped to it, NaN as 0 (vdm_video_check finds it) -> frames [T,H,W,3] */
void vdm_bytes_from_video(uint8_t *frames, const float *video, int T, int H, int W)
{
    size_t pixels = (size_t)H * (size_t)W;
    for (size_t t = 0; t < (size_t)T; t++)
        for (size_t c = 0; c < 3; c++)
            for (size_t i = 0; i < pixels; i++) {
                float v = video[(t * 3 + c) * pixels + i] * 255.0f;
                frames[(t * pixels + i) * 3 + c] = (uint8_t)rintf(v >= 255 ? 255 : v > 0 ? v : 0);
            }
}

/* ------------------------------------------------------------------------------------------------
 * Names */

/* Reads an integer in 1..max at *text and moves past it; -1 if there is none. */
static int parse_count(const char **text, int max)
{
    int n = 0;
    const char *c = *text;
    for (; *c >= '0' && *c <= '9'; c++)
        if ((n = n * 10 + (*c - '0')) > max) return -1;
    if (c == *text || n < 1) return -1;
    *text = c;
    return n;
}

/* "4x4" */
static bool parse_tiles(vdm_phi *phi, const char *text)
{
    phi->tiles_y = parse_count(&text, VDM_MAX_SIDE);
    if (phi->tiles_y < 0 || *text++ != 'x') return false;
    phi->tiles_x = parse_count(&text, VDM_MAX_SIDE);
    return phi->tiles_x > 0 && !*text;
}

int vdm_phi_parse(vdm_phi *phi, const char *text, vdm_error *err)
{
    static const struct {
        const char *name;
        vdm_phi phi;
    } plain[] = {
        {"linear", {.kind = VDM_PHI_LINEAR}},
        {"quadratic", {.kind = VDM_PHI_QUADRATIC}},
        {"sqrt", {.kind = VDM_PHI_SQRT}},
        {"discrete", {.kind = VDM_PHI_DISCRETE}},
        {"noisy", {.kind = VDM_PHI_NOISY, .amplitude = 127.5}},
        {"noisy:quadratic", {.kind = VDM_PHI_NOISY, .quadratic = true, .amplitude = 127.5}},
    };
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++)
        if (strcmp(text, plain[i].name) == 0) {
            *phi = plain[i].phi;
            return 0;
        }
    if (strncmp(text, "black:", 6) == 0) {
        const char *count = text + 6;
        *phi = (vdm_phi){.kind = VDM_PHI_BLACK, .black = parse_count(&count, VDM_MAX_FRAMES - 2)};
        if (phi->black > 0 && !*count) return 0;
        return vdm_fail(err, "phi: found '%.40s', expected black:B with B from 1 to %d frames", text,
                        VDM_MAX_FRAMES - 2);
    }
    if (strncmp(text, "tiles:", 6) == 0) {
        *phi = (vdm_phi){.kind = VDM_PHI_TILES};
        if (parse_tiles(phi, text + 6)) return 0;
        return vdm_fail(err, "phi: found '%.40s', expected tiles:NxM, N rows and M columns from 1 to %d",
                        text, VDM_MAX_SIDE);
    }
    return vdm_fail(err,
                    "phi: found '%.40s', expected linear, quadratic, sqrt, discrete, black:B, tiles:NxM, "
                    "noisy or noisy:quadratic",
                    text);
}
