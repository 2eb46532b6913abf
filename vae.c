/* The causal 3D VAE (diffusers: AutoencoderKLCogVideoX): videos to latents and back.
 *
 *   encode: video [T,3,H,W] --chunks of 8 frames--> encoder --> moments [F,2C,h,w] --> sample [F,C,h,w]
 *   decode: latents [F,C,h,w] --chunks of 2 frames--> decoder --> video [T,3,H,W]
 *
 * Inside, activations are channels-last, [T,H,W,C] of the chunk at its present resolution. With the
 * published four blocks h = H/8, w = W/8, and two of them also halve time.
 *
 *   encoder: conv_in, levels x (resnets, downsample), 2 resnets, norm_out, silu, conv_out
 *   decoder: conv_in, 2 resnets, levels x (resnets, upsample), norm_out, silu, conv_out
 *
 * Traps, each at its place below: the past of the first frame is its copies, not zeros; the first chunk
 * takes the remainder of the frames; norms see one chunk (and one tile) only, so that chunks can't be
 * chosen freely; the first frame is special where the number of frames is odd, not where the chunk is
 * the first; downsampling pads right and bottom only; the decoder's norms multiply by Cy(z), not by
 * 1 + Cy(z); norm_eps of the configuration reaches the encoder's resnets only; tiles are blended in
 * place, with neighbours that are blended already.
 *
 * Memory: two activation buffers that take turns (a resnet reads one and writes the other), and a ring
 * of normalised frames between them and the convolutions, three frames or more. */
#include "kernels/kernels.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>

enum { KT = 3, PAST = KT - 1 };              /* frames under a causal kernel; those before the present one */
enum { ENCODE_CHUNK = 8, DECODE_CHUNK = 2 }; /* num_sample_frames_batch_size, num_latent_frames_batch_size */
static const float FIXED_EPS = 1e-6f;        /* of norm_out and of every decoder norm, whatever norm_eps is */

static int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* ------------------------------------------------------------------------------------------------
 * Frames, chunks and tiles */

/* One chunk's frames through a level that halves time: 1 + (t-1)/2 or t/2. */
static int halved(int t)
{
    return (t + 1) / 2;
}

/* One chunk's frames through a level that doubles time. Odd counts keep their first frame single. */
static int doubled(int t)
{
    return t == 1 ? 1 : t % 2 ? 2 * t - 1 : 2 * t;
}

/* Levels that resample time: floor(log2(ratio)), and never the last level, which resamples nothing. */
static int time_levels(const vdm_vae_config *c)
{
    int n = 0;
    while (n < c->blocks - 1 && c->temporal_compression >> (n + 1)) n++;
    return n;
}

static int chunk_count(int T, bool decode)
{
    int size = decode ? DECODE_CHUNK : ENCODE_CHUNK;
    return T < size ? 1 : T / size;
}

/* Frames of chunk i. The first takes the remainder: 17 = 9 + 8, 21 = 3 + 9 x 2. */
static int chunk_frames(int T, bool decode, int i)
{
    int size = decode ? DECODE_CHUNK : ENCODE_CHUNK;
    return i > 0 ? size : T < size ? T : size + T % size;
}

/* Frames that T frames become. */
static int frames_out(const vdm_vae_config *c, int T, bool decode)
{
    int total = 0, chunks = chunk_count(T, decode);
    for (int i = 0; i < chunks; i++) {
        int t = chunk_frames(T, decode, i);
        for (int l = 0; l < time_levels(c); l++) t = decode ? doubled(t) : halved(t);
        total += t;
    }
    return total;
}

int vdm_vae_latent_frames(const vdm_vae_config *c, int T)
{
    return frames_out(c, T, false);
}

int vdm_vae_video_frames(const vdm_vae_config *c, int F)
{
    return frames_out(c, F, true);
}

/* A side of H pixels or h latents after all levels. */
static int side_out(const vdm_vae_config *c, int side, bool decode)
{
    return decode ? side << (c->blocks - 1) : side >> (c->blocks - 1);
}

/* Tiles along one side. Sizes and starts are of the input (pixels to encode, latents to decode), blend
 * and kept are of the output. One tile without blending where nothing is tiled. */
struct tiles {
    int side, size, stride, count; /* tile i covers stride i, ... of size or what is left */
    int blend, kept;
};

static int tile_size(const struct tiles *s, int i)
{
    return min_int(s->size, s->side - i * s->stride);
}

/* The expressions are Python's, in double. overlap: 1/6 of the height, 1/5 of the width. */
static struct tiles tiles_of(const vdm_vae_config *c, int side, int sample, double overlap, bool decode)
{
    int pixels = sample / 2, latents = side_out(c, pixels, false);
    int in = decode ? latents : pixels, out = decode ? pixels : latents;
    struct tiles s = {
        .side = side, .size = in, .stride = (int)(in * (1 - overlap)), .blend = (int)(out * overlap)};
    s.kept = out - s.blend;
    s.count = s.stride > 0 ? (side + s.stride - 1) / s.stride : 0;
    return s;
}

/* What is legal along one side: every tile big enough, and the kept parts as long as the output. Sample
 * sizes whose strides don't match the kept parts give pictures of another size in diffusers. */
static int tiles_check(const vdm_vae_config *c, const struct tiles *s, const char *name, bool decode,
                       vdm_error *err)
{
    int total = 0, least = decode ? 1 : 1 << (c->blocks - 1);
    const char *verb = decode ? "decode" : "encode";
    if (s->count < 1)
        return vdm_fail(err, "%s: tiles of %s %d can't overlap: sample_%s is too small to tile", verb, name,
                        s->size, name);
    for (int i = 0; i < s->count; i++) {
        if (tile_size(s, i) < least)
            return vdm_fail(err, "%s: %s %d%s, expected at least %d", verb, name, tile_size(s, i),
                            s->count > 1 ? " of the last tile" : "", least);
        total += min_int(side_out(c, tile_size(s, i), decode), s->kept);
    }
    if (total != side_out(c, s->side, decode))
        return vdm_fail(err, "%s: the tiles of %s %d join to %d, expected %d: sample_%s doesn't suit tiling",
                        verb, name, s->side, total, side_out(c, s->side, decode), name);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Memory: what one chunk needs is found by walking through its layers without computing */

enum buffer {
    X,
    Y,     /* [T,H,W,C] each: the activations take turns */
    RING,  /* [slots,H,W,C]: frames on their way into a convolution */
    CACHE, /* [2,H,W,in] of every causal convolution: the last frames of the chunk before */
    SUMS,  /* [3,k,k,in,out]: taps of a causal convolution that fall on the first frame, added up */
    TAPS,  /* [16,3,in,out]: a convolution's transformed taps (kernels.h, rule 7) */
    INPUT, /* [T,H,W,3] pixels, or the latents z [T,h,w,C] */
    TIMES,
    PLUS,  /* [T,h,w,C] each: Cy(z), Cb(z) of the norm at hand */
    INDEX, /* [H,W], int32: a pixel's latent pixel */
    STATS, /* [2,groups]: mean, rstd */
    TILE,  /* [T,C,H,W]: output of one tile */
    ABOVE, /* [columns][T,C,blend,W]: the last rows of the tiles above */
    LEFT,  /* [T,C,H,blend]: the last columns of the tile to the left */
    BUFFERS
};

struct plan {
    size_t floats[BUFFERS];
    int frames;      /* the most frames that a convolution is given, its past included */
    int T, H, W, C;  /* of the activations where the walk is */
    size_t latent;   /* T h w of the decoder's z; 0 in the encoder */
    enum buffer now; /* X or Y */
    bool cached;     /* several chunks */
    struct tiles rows, cols;
    bool tiled;
};

static size_t area(const struct plan *p)
{
    return (size_t)p->H * (size_t)p->W;
}

static void need(struct plan *p, enum buffer b, size_t floats)
{
    if (p->floats[b] < floats) p->floats[b] = floats;
}

/* A layer writes its C channels into the other buffer. */
static void plan_turn(struct plan *p, int C)
{
    p->now = p->now == X ? Y : X;
    p->C = C;
    need(p, p->now, (size_t)p->T * area(p) * (size_t)C);
    if (p->frames < p->T + PAST) p->frames = p->T + PAST;
}

/* A kt x 3 x 3 convolution of stride 1, by Winograd or not */
static void plan_taps(struct plan *p, int in, int out, int kt)
{
    vdm_conv w = {.in = in, .out = out, .kt = kt, .k = 3};
    if (vdm_is_winograd(&w, 1, 1, p->H, p->W)) need(p, TAPS, vdm_winograd_floats(kt, in, out));
}

static void plan_conv(struct plan *p, int in, int out)
{
    need(p, SUMS, KT * 3 * 3 * (size_t)in * (size_t)out);
    plan_taps(p, in, out, KT);
    if (p->cached) p->floats[CACHE] += PAST * area(p) * (size_t)in;
}

/* norm, silu, causal convolution; C channels come in */
static void plan_norm_conv(struct plan *p, int C, int out)
{
    need(p, RING, (size_t)min_int(p->T, KT) * area(p) * (size_t)C);
    plan_conv(p, C, out);
    if (p->latent > 0) {
        need(p, TIMES, p->latent * (size_t)C);
        need(p, PLUS, p->latent * (size_t)C);
        need(p, INDEX, area(p));
    }
}

static void plan_resnets(struct plan *p, int n, int C)
{
    for (int i = 0; i < n; i++) {
        plan_norm_conv(p, p->C, C);
        plan_norm_conv(p, C, C);
        plan_turn(p, C);
    }
}

static void plan_resample(struct plan *p, bool decode, bool time)
{
    if (time) p->T = decode ? doubled(p->T) : halved(p->T);
    p->H = decode ? 2 * p->H : p->H / 2;
    p->W = decode ? 2 * p->W : p->W / 2;
    if (decode) need(p, RING, area(p) * (size_t)p->C);
    if (decode) plan_taps(p, p->C, p->C, 1);
    plan_turn(p, p->C);
}

static void plan_chunk(struct plan *p, const vdm_vae_config *c, bool decode, int T, int H, int W)
{
    int in = decode ? c->latent_channels : c->channels, out = decode ? c->channels : 2 * c->latent_channels;
    int last = c->blocks - 1;
    p->T = T, p->H = H, p->W = W;
    p->latent = decode ? (size_t)T * area(p) : 0;
    p->now = Y;
    need(p, STATS, 2 * (size_t)c->groups);
    need(p, INPUT, (size_t)T * area(p) * (size_t)in);
    if (decode && c->post_quant_conv) need(p, X, (size_t)T * area(p) * (size_t)in);
    plan_conv(p, in, c->block_channels[decode ? last : 0]);
    plan_turn(p, c->block_channels[decode ? last : 0]);
    if (decode) plan_resnets(p, 2, p->C);
    for (int l = 0; l <= last; l++) {
        plan_resnets(p, c->layers_per_block + (decode ? 1 : 0), c->block_channels[decode ? last - l : l]);
        if (l < last) plan_resample(p, decode, l < time_levels(c));
    }
    if (!decode) plan_resnets(p, 2, p->C);
    plan_norm_conv(p, p->C, out);
    plan_turn(p, out);
    if (!decode && c->quant_conv) plan_turn(p, out);
}

static void plan_tiles(struct plan *p, const vdm_vae_config *c, bool decode, int T)
{
    size_t planes =
        (size_t)frames_out(c, T, decode) * (size_t)(decode ? c->channels : 2 * c->latent_channels);
    size_t h = (size_t)side_out(c, tile_size(&p->rows, 0), decode);
    size_t w = (size_t)side_out(c, tile_size(&p->cols, 0), decode);
    p->floats[TILE] = planes * h * w;
    p->floats[ABOVE] = (size_t)p->cols.count * planes * (size_t)p->rows.blend * w;
    p->floats[LEFT] = planes * h * (size_t)p->cols.blend;
}

/* T frames of H x W, of pixels to encode or latents to decode. */
static int plan_init(struct plan *p, const vdm_vae_config *c, bool decode, int T, int H, int W, bool tiled,
                     vdm_error *err)
{
    const char *verb = decode ? "decode" : "encode";
    int most = side_out(c, VDM_MAX_SIDE, false);
    memset(p, 0, sizeof *p);
    if (!decode) most = VDM_MAX_SIDE;
    if (T < 1 || T > VDM_MAX_FRAMES)
        return vdm_fail(err, "%s: %d frames, expected 1 to %d", verb, T, VDM_MAX_FRAMES);
    if (H < 1 || W < 1 || H > most || W > most)
        return vdm_fail(err, "%s: %d x %d, expected sides of 1 to %d", verb, H, W, most);
    p->rows = (struct tiles){H, H, H, 1, 0, side_out(c, H, decode)};
    p->cols = (struct tiles){W, W, W, 1, 0, side_out(c, W, decode)};
    struct tiles rows = tiles_of(c, H, c->sample_height, 1.0 / 6, decode);
    struct tiles cols = tiles_of(c, W, c->sample_width, 1.0 / 5, decode);
    p->tiled = tiled && (H > rows.size || W > cols.size);
    if (p->tiled) p->rows = rows, p->cols = cols;
    if (tiles_check(c, &p->rows, "height", decode, err) || tiles_check(c, &p->cols, "width", decode, err))
        return -1;
    p->cached = chunk_count(T, decode) > 1;
    plan_chunk(p, c, decode, chunk_frames(T, decode, 0), tile_size(&p->rows, 0), tile_size(&p->cols, 0));
    if (p->tiled) plan_tiles(p, c, decode, T);
    return 0;
}

static size_t plan_bytes(const vdm_vae_config *c, bool decode, int T, int H, int W, bool tiled)
{
    struct plan p;
    vdm_error ignored;
    if (plan_init(&p, c, decode, T, H, W, tiled, &ignored)) return 0;
    size_t bytes = (size_t)p.frames * sizeof(float *);
    for (int b = 0; b < BUFFERS; b++) bytes += p.floats[b] * sizeof(float);
    return bytes;
}

size_t vdm_vae_encode_bytes(const vdm_vae_config *c, int T, int H, int W, bool tiled)
{
    return plan_bytes(c, false, T, H, W, tiled);
}

size_t vdm_vae_decode_bytes(const vdm_vae_config *c, int F, int h, int w, bool tiled)
{
    return plan_bytes(c, true, F, h, w, tiled);
}

/* A half of the VAE on its way through the chunks of a video or a tile. */
struct run {
    const vdm_vae *m;
    const vdm_cpu *cpu;
    bool decode;
    struct plan plan;
    float *buffer[BUFFERS];
    const float **frames; /* [plan.frames]: what a convolution reads */
    float *x, *y;         /* X and Y or the reverse: x [T,H,W,C] holds the activations, y is free */
    int T, H, W;          /* of x */
    int zT, zh, zw;       /* of the chunk's latents, z [zT,zh,zw,C] */
    bool first;           /* the first chunk: there is no past */
    size_t cached;        /* floats of CACHE that belong to the layers before this one */
    const vdm_progress *progress;
    int step, steps; /* chunks */
    double began;
    char prefix[64], path[64]; /* for a tap: its prefix outside of the chunks; the module that is at work */
};

static void run_free(struct run *r)
{
    for (int b = 0; b < BUFFERS; b++) vdm_free(r->buffer[b]);
    vdm_free((void *)r->frames);
}

static int run_alloc(struct run *r, vdm_error *err)
{
    const char *what = r->decode ? "the VAE's decoder" : "the VAE's encoder";
    r->frames = vdm_alloc((size_t)r->plan.frames, sizeof *r->frames, what, err);
    if (!r->frames) return -1;
    for (int b = 0; b < BUFFERS; b++) {
        if (r->plan.floats[b] == 0) continue;
        r->buffer[b] = vdm_alloc(r->plan.floats[b], sizeof(float), what, err);
        if (!r->buffer[b]) return -1;
    }
    return 0;
}

static void turn(struct run *r)
{
    float *x = r->x;
    r->x = r->y;
    r->y = x;
}

/* Names the module that comes next, for a tap. */
__attribute__((format(printf, 2, 3))) static void enter(struct run *r, const char *format, ...)
{
    if (!r->cpu->tap) return;
    va_list args;
    va_start(args, format);
    vsnprintf(r->path, sizeof r->path, format, args);
    va_end(args);
}

/* ------------------------------------------------------------------------------------------------
 * Layers */

/* 1x1x1 convolution: y [P,out] = x [P,in] W + b, or y += where `add` is set */
static void pointwise(const vdm_cpu *cpu, float *y, const float *x, int64_t P, const vdm_conv *w, bool add)
{
    vdm_matmul_args a = {.M = P,
                         .N = w->out,
                         .K = w->in,
                         .a = x,
                         .a_row = w->in,
                         .a_col = 1,
                         .b = w->weight.data,
                         .b_dtype = w->weight.dtype,
                         .b_row = w->out,
                         .b_col = 1,
                         .c = y,
                         .c_row = w->out,
                         .bias = w->bias,
                         .accumulate = add};
    cpu->kernels->matmul(cpu, &a);
}

/* How a convolution walks over a frame: input size, output size, stride, zeros above and to the left. */
struct extent {
    int H, W, Ho, Wo, stride, pad;
};

/* y [T,Ho,Wo,out] from r->frames, each [H,W,in]; plus `add` [T,Ho,Wo,out] unless NULL */
static void convolve(struct run *r, float *y, int T, const vdm_conv *w, struct extent e, const float *add)
{
    float *transformed = vdm_is_winograd(w, e.stride, e.pad, e.Ho, e.Wo) ? r->buffer[TAPS] : NULL;
    vdm_conv_args a = {y, r->frames, T, e.H, e.W, e.Ho, e.Wo, e.stride, e.pad, w, add, transformed};
    r->cpu->kernels->conv(r->cpu, &a);
}

/* Statistics of a norm over the T frames of this chunk alone, x [T,H,W,C]: the past is not in them.
 * CogVideoXSpatialNorm3D: also Cy(z) and Cb(z) [zT,zh,zw,C]. diffusers enlarges z first; a 1x1x1
 * convolution gives the same before and after a nearest resize. */
static void norm_begin(struct run *r, const float *x, const vdm_vae_norm *n, int C, float eps)
{
    int groups = r->m->config.groups;
    int64_t Z = (int64_t)r->zT * r->zh * r->zw, P = (int64_t)r->T * r->H * r->W;
    int32_t *index = (void *)r->buffer[INDEX];
    r->cpu->kernels->group_norm_stats(r->cpu, r->buffer[STATS], r->buffer[STATS] + groups, x, P, C, groups,
                                      eps);
    if (n->y.in == 0) return;
    pointwise(r->cpu, r->buffer[TIMES], r->buffer[INPUT], Z, &n->y, false);
    pointwise(r->cpu, r->buffer[PLUS], r->buffer[INPUT], Z, &n->b, false);
    for (int y = 0; y < r->H; y++)
        for (int i = 0; i < r->W; i++)
            index[y * r->W + i] = (int32_t)((y * r->zh / r->H) * r->zw + i * r->zw / r->W);
}

/* The frame of z under frame t: nearest in time, the first frames of odd counts belonging together. */
static int latent_frame(const struct run *r, int t)
{
    if (r->T == 1 || r->T % 2 == 0) return t * r->zT / r->T;
    return t == 0 ? 0 : 1 + (t - 1) * (r->zT - 1) / (r->T - 1);
}

/* y = GN(x), or where `spatial` GN(x) Cy(z) + Cb(z), or silu of that: frame t, [H,W,C] */
static void norm_frame(struct run *r, float *y, const float *x, const vdm_vae_norm *n, int C, int t,
                       bool spatial, bool silu)
{
    int groups = r->m->config.groups;
    int64_t P = (int64_t)r->H * r->W, skip = spatial ? (int64_t)latent_frame(r, t) * r->zh * r->zw * C : 0;
    const float *mean = r->buffer[STATS], *times = NULL, *plus = NULL;
    const int32_t *index = spatial ? (void *)r->buffer[INDEX] : NULL;
    if (spatial) times = r->buffer[TIMES] + skip, plus = r->buffer[PLUS] + skip;
    r->cpu->kernels->group_norm(r->cpu, &(vdm_group_norm_args){.P = P,
                                                               .C = C,
                                                               .groups = groups,
                                                               .y = y,
                                                               .x = x,
                                                               .mean = mean,
                                                               .rstd = mean + groups,
                                                               .norm = &n->norm,
                                                               .times = times,
                                                               .plus = plus,
                                                               .index = index,
                                                               .silu = silu});
}

/* The norm before silu, which no buffer holds; in the decoder also what it modulates. */
static void see_norm(struct run *r, const float *x, const vdm_vae_norm *n, int C, const char *which)
{
    const int64_t shape[] = {r->T, r->H, r->W, C}, frame = (int64_t)r->H * r->W * C;
    for (int spatial = 0; spatial <= (n->y.in > 0); spatial++) {
        float *y = tap_room(r->cpu->tap, 4, shape, "%s.norm%s%s", r->path, which,
                            n->y.in && !spatial ? ".norm_layer" : "");
        for (int t = 0; y && t < r->T; t++)
            norm_frame(r, y + t * frame, x + t * frame, n, C, t, spatial, false);
        if (y) tap_show(r->cpu->tap, 4, shape);
    }
}

/* Frames that a causal convolution reads: of the present chunk from 0, of the past -2 and -1. */
struct causal {
    float *now;  /* [slots,H,W,in]: frame t in slot t % slots */
    float *past; /* [2,H,W,in]: frames -2, -1; NULL where there is one chunk */
    int slots;
    size_t frame; /* floats */
    bool first;   /* the past of the first chunk is copies of its frame 0: not zeros */
};

static float *causal_frame(const struct causal *s, int t)
{
    if (t < 0 && !s->first) return s->past + (size_t)(t + PAST) * s->frame;
    return s->now + (size_t)(t < 0 ? 0 : t % s->slots) * s->frame;
}

/* The past of the first chunk is copies of its frame 0: the taps that fall on it are added, then used once,
 *   y_0 = (W_0 + W_1 + W_2) u_0 + b,  y_1 = (W_0 + W_1) u_0 + W_2 u_1 + b
 * summed[t]: the convolution that gives y_t, of t + 1 taps. The sums are f32, also of bf16 weights: with
 * --precision bf16 and amx they are rounded like activations. */
static void sum_taps(struct run *r, const vdm_conv *w, vdm_conv summed[PAST])
{
    int64_t rows = (int64_t)w->k * w->k * w->in, n = w->out; /* of one tap [rows,out] */
    float *all = r->buffer[SUMS], *two = all + rows * n, *last = two + rows * n;
    const char *W = w->weight.data;
    vdm_dtype dtype = w->weight.dtype;
    int64_t row = n * (int64_t)vdm_dtype_bytes(dtype), tap = rows * row;
#ifdef _OPENMP
#pragma omp parallel for num_threads(r->cpu->threads)
#endif
    for (int64_t i = 0; i < rows; i++) {
        float *a = all + i * n, *b = two + i * n, *c = last + i * n;
        vdm_widen(b, W + i * row, dtype, n);
        vdm_widen(c, W + i * row + tap, dtype, n);
        for (int64_t j = 0; j < n; j++) b[j] += c[j];
        vdm_widen(c, W + i * row + 2 * tap, dtype, n);
        for (int64_t j = 0; j < n; j++) a[j] = b[j] + c[j];
    }
    for (int t = 0; t < PAST; t++) {
        summed[t] = *w;
        summed[t].kt = t + 1;
        summed[t].weight = (vdm_matrix){t == 0 ? all : two, VDM_F32, (t + 1) * rows, n};
    }
}

/* CogVideoXCausalConv3d: y_t = sum over j of W_j u_(t-2+j) + b (+ residual), u = silu(norm(x)), or u = x
 * where n is NULL. x [T,H,W,in] -> y [T,H,W,out]. With a norm y may be x: the frames that are
 * still needed lie in the ring. As many frames are taken at a time as the ring holds beside two past ones;
 * the first two of all singly. which: "1" of norm1 and conv1, for a tap. */
static void causal_conv(struct run *r, float *y, float *x, const vdm_vae_norm *n, float eps,
                        const vdm_conv *w, const float *residual, const char *which)
{
    size_t pixels = (size_t)r->H * (size_t)r->W;
    size_t frame = pixels * (size_t)w->in, out = pixels * (size_t)w->out;
    struct causal s = {.now = x, .slots = r->T, .frame = frame, .first = r->first};
    if (r->plan.cached) {
        s.past = r->buffer[CACHE] + r->cached;
        r->cached += PAST * frame;
    }
    if (n) {
        size_t slots = r->plan.floats[RING] / frame;
        norm_begin(r, x, n, w->in, eps);
        if (r->cpu->tap) see_norm(r, x, n, w->in, which);
        s.now = r->buffer[RING];
        if (slots < (size_t)r->T) s.slots = (int)slots;
    }
    int group = s.slots == r->T ? r->T : s.slots - PAST;
    const struct extent same = {r->H, r->W, r->H, r->W, 1, 1};
    const int64_t shape[] = {r->T, r->H, r->W, w->out};
    float *bare = residual ? tap_room(r->cpu->tap, 4, shape, "%s.conv%s", r->path, which) : NULL;
    vdm_conv summed[PAST];
    if (r->first) sum_taps(r, w, summed);
    for (int t = 0, count; t < r->T; t += count) {
        bool copies = r->first && t < PAST; /* taps fall on copies */
        const vdm_conv *taps = copies ? &summed[t] : w;
        count = copies ? 1 : min_int(group, r->T - t);
        for (int i = t; n && i < t + count; i++)
            norm_frame(r, causal_frame(&s, i), x + (size_t)i * frame, n, w->in, i, n->y.in > 0, true);
        for (int i = 0; i < taps->kt - 1 + count; i++) r->frames[i] = causal_frame(&s, t - taps->kt + 1 + i);
        const float *add = residual ? residual + (size_t)t * out : NULL;
        convolve(r, y + (size_t)t * out, count, taps, same, add);
        if (bare) convolve(r, bare + (size_t)t * out, count, taps, same, NULL);
    }
    if (bare) tap_show(r->cpu->tap, 4, shape);
    if (!residual) tap_see(r->cpu->tap, y, 4, shape, "%s.conv%s", r->path, which);
    /* The cache is taken after the past was put in front: a chunk of one frame leaves (past, itself). */
    for (int i = 0; s.past && i < PAST; i++)
        memmove(s.past + (size_t)i * frame, causal_frame(&s, r->T - PAST + i), frame * sizeof(float));
}

/* CogVideoXResnetBlock3D: y = conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)
 * [T,H,W,in] -> [T,H,W,out]; the shortcut is the identity where in = out. */
static void resnet(struct run *r, const vdm_resnet *b, float eps)
{
    bool identity = b->shortcut.in == 0;
    const int64_t shape[] = {r->T, r->H, r->W, b->conv2.out}, P = (int64_t)r->T * r->H * r->W;
    causal_conv(r, r->y, r->x, &b->norm1, eps, &b->conv1, NULL, "1");
    causal_conv(r, r->y, r->y, &b->norm2, eps, &b->conv2, identity ? r->x : NULL, "2");
    float *alone = identity ? NULL : tap_room(r->cpu->tap, 4, shape, "%s.conv_shortcut", r->path);
    if (alone) pointwise(r->cpu, alone, r->x, P, &b->shortcut, false);
    if (alone) tap_show(r->cpu->tap, 4, shape);
    if (!identity) pointwise(r->cpu, r->y, r->x, P, &b->shortcut, true);
    turn(r);
    tap_see(r->cpu->tap, r->x, 4, shape, "%s", r->path);
}

/* CogVideoXDownsample3D: [T,H,W,C] -> [(T+1)/2 or T,H/2,W/2,C].
 * Time: pairs are averaged; an odd count keeps frame 0 as it is. Then a 3x3 convolution of stride 2 whose
 * zeros are on the right and at the bottom only: output (y,x) reads rows 2y..2y+2, columns 2x..2x+2. */
static void downsample(struct run *r, const vdm_conv *w, bool compress_time)
{
    size_t frame = (size_t)r->H * (size_t)r->W * (size_t)w->in;
    if (compress_time) {
        int odd = r->T % 2, pairs = r->T / 2;
        for (int i = 0; i < pairs; i++) {
            const float *a = r->x + (size_t)(odd + 2 * i) * frame;
            r->cpu->kernels->blend(r->cpu, r->x + (size_t)(odd + i) * frame, 0.5f, a, 0.5f, a + frame,
                                   (int64_t)frame);
        }
        r->T = odd + pairs;
    }
    for (int t = 0; t < r->T; t++) r->frames[t] = r->x + (size_t)t * frame;
    convolve(r, r->y, r->T, w, (struct extent){r->H, r->W, r->H / 2, r->W / 2, 2, 0}, NULL);
    r->H /= 2;
    r->W /= 2;
    turn(r);
    tap_see(r->cpu->tap, r->x, SHAPE(r->T, r->H, r->W, w->out), "%s", r->path);
}

/* Nearest: every pixel becomes four. x [H,W,C] -> y [2H,2W,C] */
static void enlarge(const vdm_cpu *cpu, float *y, const float *x, int H, int W, int C)
{
    size_t pixel = (size_t)C, row = 2 * (size_t)W * pixel;
#ifdef _OPENMP
#pragma omp parallel for num_threads(cpu->threads)
#endif
    for (int i = 0; i < H; i++) {
        float *to = y + 2 * (size_t)i * row;
        const float *from = x + (size_t)i * (size_t)W * pixel;
        for (size_t j = 0; j < 2 * (size_t)W; j++)
            memcpy(to + j * pixel, from + j / 2 * pixel, pixel * sizeof *to);
        memcpy(to + row, to, row * sizeof *to);
    }
    (void)cpu;
}

/* CogVideoXUpsample3D: [T,H,W,C] -> [T',2H,2W,C], nearest, then a 3x3 convolution of every frame.
 * T' = 1 where T = 1, 2T - 1 where T is odd (frame 0 stays single), 2T where it is even. Frames that time
 * doubles are equal before the convolution, hence after it: computed once. */
static void upsample(struct run *r, const vdm_conv *w, bool compress_time)
{
    size_t from = (size_t)r->H * (size_t)r->W * (size_t)w->in,
           to = 4 * (size_t)r->H * (size_t)r->W * (size_t)w->out;
    float *y = r->y;
    struct extent same = {2 * r->H, 2 * r->W, 2 * r->H, 2 * r->W, 1, 1};
    r->frames[0] = r->buffer[RING];
    for (int t = 0; t < r->T; t++) {
        bool twice = compress_time && r->T > 1 && !(r->T % 2 == 1 && t == 0);
        enlarge(r->cpu, r->buffer[RING], r->x + (size_t)t * from, r->H, r->W, w->in);
        convolve(r, y, 1, w, same, NULL);
        if (twice) memcpy(y + to, y, to * sizeof *y);
        y += twice ? 2 * to : to;
    }
    if (compress_time) r->T = doubled(r->T);
    r->H *= 2;
    r->W *= 2;
    turn(r);
    tap_see(r->cpu->tap, r->x, SHAPE(r->T, r->H, r->W, w->out), "%s", r->path);
}

/* ------------------------------------------------------------------------------------------------
 * Encoder and decoder: one chunk */

/* A part of an array [frames,C,H,W]. */
struct pane {
    const float *data; /* at the first frame of the chunk */
    int C, H, W;
    int top, left;
};

/* x [T,h,w,C] = the pane's frames */
static void load(float *x, const struct pane *in, int T, int h, int w)
{
    for (int t = 0; t < T; t++)
        for (int y = 0; y < h; y++)
            for (int i = 0; i < w; i++)
                for (int c = 0; c < in->C; c++) {
                    size_t plane = (size_t)t * (size_t)in->C + (size_t)c, row = plane * (size_t)in->H;
                    row += (size_t)(in->top + y);
                    *x++ = in->data[row * (size_t)in->W + (size_t)(in->left + i)];
                }
}

/* out [T,C,H,W] = x [T,H,W,C] */
static void store(float *out, const float *x, int T, int H, int W, int C)
{
    size_t pixels = (size_t)H * (size_t)W;
    for (int t = 0; t < T; t++)
        for (int c = 0; c < C; c++)
            for (size_t p = 0; p < pixels; p++) *out++ = x[((size_t)t * pixels + p) * (size_t)C + (size_t)c];
}

/* CogVideoXEncoder3D, and quant_conv: the chunk in INPUT -> r->x [T/4,H/8,W/8,2C] */
static void encoder(struct run *r)
{
    const vdm_vae_half *e = &r->m->encoder;
    const vdm_vae_config *c = &r->m->config;
    const float eps = (float)c->norm_eps;
    enter(r, "encoder");
    causal_conv(r, r->x, r->buffer[INPUT], NULL, 0, &e->conv_in, NULL, "_in");
    for (int l = 0; l < c->blocks; l++) {
        const struct vdm_vae_level *level = &e->level[l];
        for (int i = 0; i < level->resnets; i++) {
            enter(r, "encoder.down_blocks.%d.resnets.%d", l, i);
            resnet(r, &level->resnet[i], eps);
        }
        enter(r, "encoder.down_blocks.%d.downsamplers.0", l);
        if (level->resample.in) downsample(r, &level->resample, level->compress_time);
    }
    for (int i = 0; i < 2; i++) {
        enter(r, "encoder.mid_block.resnets.%d", i);
        resnet(r, &e->mid[i], eps);
    }
    enter(r, "encoder");
    causal_conv(r, r->y, r->x, &e->norm_out, FIXED_EPS, &e->conv_out, NULL, "_out");
    turn(r);
    if (r->m->quant.in == 0) return;
    pointwise(r->cpu, r->y, r->x, (int64_t)r->T * r->H * r->W, &r->m->quant, false);
    turn(r);
    tap_see(r->cpu->tap, r->x, SHAPE(r->T, r->H, r->W, r->m->quant.out), "quant_conv");
}

/* CogVideoXDecoder3D: the latents in INPUT -> r->x [4T,8h,8w,3]. The z of every norm is this chunk's
 * latents, as they enter conv_in. */
static void decoder(struct run *r)
{
    const vdm_vae_half *d = &r->m->decoder;
    enter(r, "decoder");
    causal_conv(r, r->x, r->buffer[INPUT], NULL, 0, &d->conv_in, NULL, "_in");
    for (int i = 0; i < 2; i++) {
        enter(r, "decoder.mid_block.resnets.%d", i);
        resnet(r, &d->mid[i], FIXED_EPS);
    }
    for (int l = 0; l < r->m->config.blocks; l++) {
        const struct vdm_vae_level *level = &d->level[l];
        for (int i = 0; i < level->resnets; i++) {
            enter(r, "decoder.up_blocks.%d.resnets.%d", l, i);
            resnet(r, &level->resnet[i], FIXED_EPS);
        }
        enter(r, "decoder.up_blocks.%d.upsamplers.0", l);
        if (level->resample.in) upsample(r, &level->resample, level->compress_time);
    }
    enter(r, "decoder");
    causal_conv(r, r->y, r->x, &d->norm_out, FIXED_EPS, &d->conv_out, NULL, "_out");
    turn(r);
}

/* One chunk of T frames: in -> out [T',C,H',W']. Returns T'. */
static int run_chunk(struct run *r, const struct pane *in, int T, int h, int w, float *out)
{
    r->x = r->buffer[X], r->y = r->buffer[Y];
    r->T = r->zT = T, r->H = r->zh = h, r->W = r->zw = w;
    r->cached = 0;
    if (r->decode && r->m->post_quant.in) {
        load(r->x, in, T, h, w);
        pointwise(r->cpu, r->buffer[INPUT], r->x, (int64_t)T * h * w, &r->m->post_quant, false);
        tap_see(r->cpu->tap, r->buffer[INPUT], SHAPE(T, h, w, r->m->post_quant.out), "post_quant_conv");
    } else {
        load(r->buffer[INPUT], in, T, h, w);
    }
    if (r->decode)
        decoder(r);
    else
        encoder(r);
    store(out, r->x, r->T, r->H, r->W, r->decode ? r->m->decoder.conv_out.out : r->m->encoder.conv_out.out);
    return r->T;
}

/* All chunks of a pane of T frames, h x w: -> out [T',C,H',W']. Its caches start empty. */
static int run_pane(struct run *r, struct pane in, int T, int h, int w, float *out, vdm_error *err)
{
    const char *phase = r->decode ? "decode" : "encode";
    const vdm_vae_config *c = &r->m->config;
    int chunks = chunk_count(T, r->decode), channels = r->decode ? c->channels : 2 * c->latent_channels;
    size_t pixels = (size_t)side_out(c, h, r->decode) * (size_t)side_out(c, w, r->decode);
    for (int i = 0; i < chunks; i++) {
        int t = chunk_frames(T, r->decode, i);
        r->first = i == 0;
        if (chunks > 1) tap_prefix(r->cpu->tap, "%schunk.%d.", r->prefix, i + 1);
        int made = run_chunk(r, &in, t, h, w, out);
        in.data += (size_t)t * (size_t)in.C * (size_t)in.H * (size_t)in.W;
        out += (size_t)made * (size_t)channels * pixels;
        r->step++;
        if (!r->progress || !r->progress->report) continue;
        vdm_report report = {phase, r->step, r->steps, vdm_seconds() - r->began, (double)NAN};
        if (r->progress->report(r->progress->user, &report))
            return vdm_fail(err, "%s: interrupted after %d of %d chunks", phase, r->step, r->steps);
    }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Tiles */

/* The rows or the columns of planes [planes,h,w], as lines: line i at data + i step, its numbers `skip`
 * apart; the next plane `plane` on. */
struct lines {
    float *data;
    size_t plane, step, skip;
    int length;
};

/* blend_v and blend_h: the first e lines of a tile [planes,h,w] with the last of the one before, the strip:
 *   tile[i] = strip[n - e + i] (1 - i/e) + tile[i] (i/e)
 * In place: what stands here afterwards is what later tiles blend with. */
static void blend_lines(const struct lines *tile, const struct lines *strip, size_t planes, int width)
{
    int e = min_int(strip->length, tile->length);
    for (size_t p = 0; p < planes; p++)
        for (int i = 0; i < e; i++) {
            float *b = tile->data + p * tile->plane + (size_t)i * tile->step;
            const float *a = strip->data + p * strip->plane + (size_t)(strip->length - e + i) * strip->step;
            float wa = (float)(1 - (double)i / e), wb = (float)((double)i / e);
            for (size_t j = 0; j < (size_t)width; j++)
                b[j * tile->skip] = a[j * strip->skip] * wa + b[j * tile->skip] * wb;
        }
}

/* strip = the last lines of the tile */
static void keep_lines(const struct lines *strip, const struct lines *tile, size_t planes, int width)
{
    for (size_t p = 0; p < planes; p++)
        for (int i = 0; i < strip->length; i++) {
            float *to = strip->data + p * strip->plane + (size_t)i * strip->step;
            const float *from =
                tile->data + p * tile->plane + (size_t)(tile->length - strip->length + i) * tile->step;
            for (size_t j = 0; j < (size_t)width; j++) to[j * strip->skip] = from[j * tile->skip];
        }
}

/* tiled_encode and tiled_decode from the second loop on, for tile (i,j) [planes,h,w]: blended with the tile
 * above, then with the one to the left, then cut and put into out [planes,H,W]. diffusers holds all tiles
 * whole; of a finished tile only its last rows and columns, `blend` of them, are used again. */
static void place_tile(struct run *r, int i, int j, int h, int w, size_t planes, float *out)
{
    const struct plan *p = &r->plan;
    const vdm_vae_config *c = &r->m->config;
    size_t H = (size_t)side_out(c, p->rows.side, r->decode), W = (size_t)side_out(c, p->cols.side, r->decode);
    size_t size = (size_t)h * (size_t)w, above = p->floats[ABOVE] / (size_t)p->cols.count * (size_t)j;
    int kept_h = min_int(p->rows.kept, h), kept_w = min_int(p->cols.kept, w);
    float *tile = r->buffer[TILE];
    struct lines rows = {tile, size, (size_t)w, 1, h}, cols = {tile, size, 1, (size_t)w, w};
    struct lines up = {r->buffer[ABOVE], (size_t)p->rows.blend * (size_t)w, (size_t)w, 1, p->rows.blend};
    struct lines side = {r->buffer[LEFT], (size_t)p->cols.blend * (size_t)h, 1, (size_t)p->cols.blend,
                         p->cols.blend};
    if (up.data) up.data += above;
    if (i > 0) {
        up.length = min_int(up.length, side_out(c, tile_size(&p->rows, i - 1), r->decode));
        blend_lines(&rows, &up, planes, w);
    }
    if (j > 0) {
        side.length = min_int(side.length, side_out(c, tile_size(&p->cols, j - 1), r->decode));
        blend_lines(&cols, &side, planes, h);
    }
    up.length = min_int(p->rows.blend, h);
    side.length = min_int(p->cols.blend, w);
    keep_lines(&up, &rows, planes, w);
    keep_lines(&side, &cols, planes, h);
    out += (size_t)i * (size_t)p->rows.kept * W + (size_t)j * (size_t)p->cols.kept;
    for (size_t q = 0; q < planes; q++)
        for (size_t y = 0; y < (size_t)kept_h; y++)
            memcpy(out + (q * H + y) * W, tile + q * size + y * (size_t)w, (size_t)kept_w * sizeof *out);
}

static int run_tiles(struct run *r, struct pane in, int T, float *out, vdm_error *err)
{
    const vdm_vae_config *c = &r->m->config;
    int channels = r->decode ? c->channels : 2 * c->latent_channels;
    size_t planes = (size_t)frames_out(c, T, r->decode) * (size_t)channels;
    char base[sizeof r->prefix];
    memcpy(base, r->prefix, sizeof base);
    for (int i = 0; i < r->plan.rows.count; i++)
        for (int j = 0; j < r->plan.cols.count; j++) {
            int h = tile_size(&r->plan.rows, i), w = tile_size(&r->plan.cols, j);
            in.top = i * r->plan.rows.stride;
            in.left = j * r->plan.cols.stride;
            snprintf(r->prefix, sizeof r->prefix, "%.32stile.%d.%d.", base, i + 1, j + 1);
            tap_prefix(r->cpu->tap, "%s", r->prefix);
            if (run_pane(r, in, T, h, w, r->buffer[TILE], err)) return -1;
            place_tile(r, i, j, side_out(c, h, r->decode), side_out(c, w, r->decode), planes, out);
        }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The API */

static int run(const vdm_vae *m, const vdm_cpu *cpu, bool decode, const float *x, int T, int H, int W,
               bool tiled, float *out, const vdm_progress *progress, vdm_error *err)
{
    struct run r = {.m = m, .cpu = cpu, .decode = decode, .progress = progress, .began = vdm_seconds()};
    if (plan_init(&r.plan, &m->config, decode, T, H, W, tiled, err)) return -1;
    struct pane in = {
        .data = x, .C = decode ? m->config.latent_channels : m->config.channels, .H = H, .W = W};
    r.steps = r.plan.rows.count * r.plan.cols.count * chunk_count(T, decode);
    char prefix[sizeof r.prefix] = "";
    if (cpu->tap) memcpy(prefix, cpu->tap->prefix, sizeof prefix);
    memcpy(r.prefix, prefix, sizeof prefix);
    tap_see(cpu->tap, x, SHAPE(T, in.C, H, W), decode ? "latents" : "video");
    int bad = run_alloc(&r, err);
    if (!bad && r.plan.tiled) bad = run_tiles(&r, in, T, out, err);
    if (!bad && !r.plan.tiled) bad = run_pane(&r, in, T, H, W, out, err);
    tap_prefix(cpu->tap, "%s", prefix);
    if (!bad)
        tap_see(cpu->tap, out,
                SHAPE(frames_out(&m->config, T, decode),
                      decode ? m->config.channels : 2 * m->config.latent_channels,
                      side_out(&m->config, H, decode), side_out(&m->config, W, decode)),
                decode ? "video" : "moments");
    run_free(&r);
    return bad;
}

int vdm_vae_encode(const vdm_vae *m, const vdm_cpu *cpu, const float *video, int T, int H, int W, bool tiled,
                   float *moments, const vdm_progress *progress, vdm_error *err)
{
    return run(m, cpu, false, video, T, H, W, tiled, moments, progress, err);
}

int vdm_vae_decode(const vdm_vae *m, const vdm_cpu *cpu, const float *latents, int F, int h, int w,
                   bool tiled, float *video, const vdm_progress *progress, vdm_error *err)
{
    return run(m, cpu, true, latents, F, h, w, tiled, video, progress, err);
}

void vdm_vae_sample(float *z, const float *moments, const float *noise, int F, int C, int h, int w)
{
    size_t n = (size_t)C * (size_t)h * (size_t)w; /* of one frame: means [C,h,w], log variances [C,h,w] */
    for (size_t f = 0; f < (size_t)F; f++)
        for (size_t i = 0; i < n; i++) {
            float mean = moments[2 * f * n + i], logvar = moments[(2 * f + 1) * n + i];
            float clamped = logvar < -30 ? -30 : logvar > 20 ? 20 : logvar;
            float std = (float)vdm_exp(0.5 * (double)clamped);
            z[f * n + i] = noise ? mean + std * noise[f * n + i] : mean;
        }
}

double vdm_image_latent_scale(const vdm_vae_config *c, vdm_image_scale convention)
{
    bool inverse = convention == VDM_IMAGE_PIPELINE && c->invert_scale_latents;
    return inverse ? 1 / c->scaling_factor : c->scaling_factor;
}
