/* The causal 3D VAE (diffusers: AutoencoderKLCogVideoX): videos to latents and back.
 *
 *   encode: video [T,3,H,W] --chunks of 8 frames--> encoder --> moments [F',2C,h,w] --> sample [F',C,h,w]
 *   decode: latents [F',C,h,w] --chunks of 2 frames--> decoder --> video [T,3,H,W]
 *
 * Inside, activations are channels-last, [T,H,W,C] of the chunk at its present resolution. With the
 * published four blocks h = H/8, w = W/8, and two of them also halve time.
 *
 *   encoder: conv_in, levels x (resnets, downsample), 2 resnets, norm_out, silu, conv_out
 *   decoder: conv_in, 2 resnets, levels x (resnets, upsample), norm_out, silu, conv_out
 *
 * Traps, each at its place below: the first frame is padded in time with copies of itself, not with zeros; the first chunk
 * takes the remainder of the frames; norms see one chunk (and one tile) only, so that chunks can't be
 * chosen freely; the first frame is special if the number of frames is odd, not if the chunk is
 * the first; downsampling pads right and bottom only; the decoder's norms multiply by Cy(z), not by
 * 1 + Cy(z); norm_eps of the configuration reaches the encoder's resnets only; tiles are blended in
 * place, with neighbours that are blended already.
 *
 * Memory (vae_plan.h): two activation buffers that take turns (a resnet reads one and writes the other), and a
 * ring of normalised frames between them and the convolutions, three frames or more. */
#include "kernels/kernels.h"
#include "kernels/trace.h"
#include "vae_plan.h"

#include <math.h>
#include <string.h>

static const float FIXED_EPS = 1e-6f; /* of norm_out and of every decoder norm, whatever norm_eps is */

/* ------------------------------------------------------------------------------------------------
 * The causal convolution, of kernels W_0, W_1, W_2 over two past frames and the present one:
 *   y_t = W_0 u_(t-2) + W_1 u_(t-1) + W_2 u_t + b
 * In the first chunk u_-2 = u_-1 = u_0, so the kernels that act on copies are summed and applied once:
 *   y_0 = (W_0 + W_1 + W_2) u_0 + b,  y_1 = (W_0 + W_1) u_0 + W_2 u_1 + b */

/* sums [3,k,k,in,out] = W_0 + W_1 + W_2, W_0 + W_1, W_2 in f32. summed[t]: the convolution that gives y_t, of t + 1
 * kernels. With --precision bf16 or amx the sums are rounded to bf16, even if the weights are bf16. */
static void sum_kernels(const vdm_cpu *cpu, const vdm_conv *w, float *sums, vdm_conv summed[PAST])
{
    int64_t rows = (int64_t)w->k * w->k * w->in, n = w->out; /* of one kernel [rows,out] */
    cpu->kernels->sum_taps(cpu, sums, w);
    for (int t = 0; t < PAST; t++) {
        summed[t] = *w;
        summed[t].kt = t + 1;
        summed[t].weight = (vdm_matrix){t == 0 ? sums : sums + rows * n, VDM_F32, (t + 1) * rows, n, 0};
    }
}

/* The state of an encoder or decoder between the chunks of a video or a tile */
struct run {
    const vdm_vae *m;
    const vdm_cpu *cpu;
    bool decode;
    struct plan plan;
    float *buffer[BUFFERS];
    const float **frames; /* [plan.frames]: the input of a convolution */
    float *x, *y;         /* X and Y or the reverse: x [T,H,W,C] holds the activations, y is free */
    int T, H, W;          /* of x */
    int zT, zh, zw;       /* of the chunk's latents, z [zT,zh,zw,C] */
    bool first;           /* the first chunk: there is no past */
    size_t cached;        /* floats of CACHE that belong to the layers before this one */
    const vdm_progress *progress;
    int step, steps; /* chunks */
    double began;
};

/* What was written to y becomes x. */
static void swap_buffers(struct run *r)
{
    float *x = r->x;
    r->x = r->y;
    r->y = x;
}

/* The shape of a convolution of one frame: input size, output size, stride, zeros above and to the left. */
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

/* 1x1x1 convolution: y [P,out] = x [P,in] W + b, or y += if `add` is set */
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

/* ------------------------------------------------------------------------------------------------
 * Norms (encoder: GroupNorm; decoder: CogVideoXSpatialNorm3D), then silu, then the convolution */

/* Statistics of a norm, x [T,H,W,C]: over the T frames of this chunk only, without the past ones.
 * CogVideoXSpatialNorm3D: also Cy(z) and Cb(z) [zT,zh,zw,C]. diffusers resizes z first; a 1x1x1 convolution
 * commutes with a nearest-neighbour resize. */
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

/* The frame of z that belongs to frame t: the nearest in time; if T is odd, frame 0 of z belongs to frame 0 only. */
static int latent_frame(const struct run *r, int t)
{
    if (r->T == 1 || r->T % 2 == 0) return t * r->zT / r->T;
    return t == 0 ? 0 : 1 + (t - 1) * (r->zT - 1) / (r->T - 1);
}

/* y = GN(x), or if `spatial` GN(x) Cy(z) + Cb(z), or silu of that: frame t, [H,W,C] */
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

/* Recomputes for the trace the norm before silu, which no buffer holds; in the decoder also before modulation */
static void see_norm(struct run *r, const float *x, const vdm_vae_norm *n, int C, const char *which,
                     vdm_trace *trace)
{
    const int64_t shape[] = {r->T, r->H, r->W, C}, frame = (int64_t)r->H * r->W * C;
    for (int spatial = 0; spatial <= (n->y.in > 0); spatial++) {
        float *y =
            vdm_trace_space(trace, 4, shape, ".norm%s%s", which, n->y.in && !spatial ? ".norm_layer" : "");
        for (int t = 0; y && t < r->T; t++)
            norm_frame(r, y + t * frame, x + t * frame, n, C, t, spatial, false);
        if (y) vdm_trace_show(trace, 4, shape);
    }
}

/* y = conv(silu(norm(x))) + residual, or conv(x) + residual if there is no norm. With a norm y may be x: the frames that
 * are still needed are in the ring. */
struct causal {
    const char *name;      /* "1" of norm1 and conv1 */
    const vdm_vae_norm *n; /* or NULL */
    float eps;
    const vdm_conv *w;
    float *x, *y;          /* [T,H,W,in], [T,H,W,out] */
    const float *residual; /* [T,H,W,out], or NULL */
    /* the frames u of the present chunk (from 0) and the past ones (-2, -1) */
    float *now;  /* [slots,H,W,in]: frame t in slot t % slots */
    float *past; /* [2,H,W,in]; NULL if there is one chunk */
    int slots;
    bool first;
    size_t frame; /* floats of a frame [H,W,in] */
};

static float *causal_frame(const struct causal *c, int t)
{
    if (t < 0 && !c->first) return c->past + (size_t)(t + PAST) * c->frame;
    return c->now + (size_t)(t < 0 ? 0 : t % c->slots) * c->frame;
}

/* y_t for all frames t: as many per call as fit in the ring besides the two past ones; the first two frames of all,
 * whose past is copies, one by one. */
static void causal_frames(struct run *r, const struct causal *c, float *y, const float *residual)
{
    const struct extent same = {r->H, r->W, r->H, r->W, 1, 1};
    size_t out = (size_t)r->H * (size_t)r->W * (size_t)c->w->out;
    int fitting = c->slots == r->T ? r->T : c->slots - PAST;
    vdm_conv summed[PAST];
    if (r->first) sum_kernels(r->cpu, c->w, r->buffer[SUMS], summed);
    for (int t = 0, count; t < r->T; t += count) {
        bool copies = r->first && t < PAST;
        const vdm_conv *w = copies ? &summed[t] : c->w;
        count = copies ? 1 : min_int(fitting, r->T - t);
        for (int i = t; c->n && i < t + count; i++)
            norm_frame(r, causal_frame(c, i), c->x + (size_t)i * c->frame, c->n, c->w->in, i, c->n->y.in > 0,
                       true);
        for (int i = 0; i < w->kt - 1 + count; i++) r->frames[i] = causal_frame(c, t - w->kt + 1 + i);
        convolve(r, y + (size_t)t * out, count, w, same, residual ? residual + (size_t)t * out : NULL);
    }
}

/* The convolution before the residual is added, which no buffer holds */
static void see_convolution(struct run *r, const struct causal *c, vdm_trace *trace)
{
    const int64_t shape[] = {r->T, r->H, r->W, c->w->out};
    float *y = vdm_trace_space(trace, 4, shape, ".conv%s", c->name);
    if (!y) return;
    causal_frames(r, c, y, NULL);
    vdm_trace_show(trace, 4, shape);
}

/* CogVideoXCausalConv3d after its norm and silu. The caller sets the fields of `causal` up to `residual`. */
static void causal_conv(struct run *r, struct causal c, vdm_trace *trace)
{
    c.frame = (size_t)r->H * (size_t)r->W * (size_t)c.w->in;
    c.first = r->first;
    c.now = c.x;
    c.slots = r->T;
    if (r->plan.cached) {
        c.past = r->buffer[CACHE] + r->cached;
        r->cached += PAST * c.frame;
    }
    if (c.n) {
        size_t slots = r->plan.floats[RING] / c.frame;
        norm_begin(r, c.x, c.n, c.w->in, c.eps);
        if (vdm_trace_on(trace)) see_norm(r, c.x, c.n, c.w->in, c.name, trace);
        c.now = r->buffer[RING];
        if (slots < (size_t)r->T) c.slots = (int)slots;
    }
    if (c.residual && vdm_trace_on(trace)) see_convolution(r, &c, trace);
    causal_frames(r, &c, c.y, c.residual);
    if (!c.residual) vdm_trace_see(trace, c.y, SHAPE(r->T, r->H, r->W, c.w->out), ".conv%s", c.name);
    /* The cache of the next chunk: the last two frames, of which one may be a past one (a chunk of one frame). */
    for (int i = 0; c.past && i < PAST; i++)
        memmove(c.past + (size_t)i * c.frame, causal_frame(&c, r->T - PAST + i), c.frame * sizeof(float));
}

/* ------------------------------------------------------------------------------------------------
 * Blocks */

/* CogVideoXResnetBlock3D: y = conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)
 * [T,H,W,in] -> [T,H,W,out]; the shortcut is the identity if in = out. */
static void resnet(struct run *r, const vdm_resnet *b, float eps, vdm_trace *trace)
{
    bool identity = b->shortcut.in == 0;
    const int64_t shape[] = {r->T, r->H, r->W, b->conv2.out}, P = (int64_t)r->T * r->H * r->W;
    causal_conv(r, (struct causal){"1", &b->norm1, eps, &b->conv1, .x = r->x, .y = r->y}, trace);
    causal_conv(r,
                (struct causal){"2", &b->norm2, eps, &b->conv2, .x = r->y, .y = r->y,
                                .residual = identity ? r->x : NULL},
                trace);
    float *shortcut = identity ? NULL : vdm_trace_space(trace, 4, shape, ".conv_shortcut");
    if (shortcut) pointwise(r->cpu, shortcut, r->x, P, &b->shortcut, false);
    if (shortcut) vdm_trace_show(trace, 4, shape);
    if (!identity) pointwise(r->cpu, r->y, r->x, P, &b->shortcut, true);
    swap_buffers(r);
    vdm_trace_see(trace, r->x, 4, shape, "%s", "");
}

/* CogVideoXDownsample3D: [T,H,W,C] -> [(T+1)/2 or T,H/2,W/2,C].
 * Time: pairs are averaged; an odd count keeps frame 0 as it is. Then a 3x3 convolution of stride 2 whose
 * zeros are on the right and at the bottom only: output (y,x) reads rows 2y..2y+2, columns 2x..2x+2. */
static void downsample(struct run *r, const vdm_conv *w, bool compress_time, vdm_trace *trace)
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
    swap_buffers(r);
    vdm_trace_see(trace, r->x, SHAPE(r->T, r->H, r->W, w->out), "%s", "");
}

/* CogVideoXUpsample3D: [T,H,W,C] -> [T',2H,2W,C], nearest, then a 3x3 convolution of every frame.
 * T' = 1 if T = 1, 2T - 1 if T is odd (frame 0 stays single), 2T if it is even. Frames that time
 * doubles are equal before the convolution, hence after it: computed once. */
static void upsample(struct run *r, const vdm_conv *w, bool compress_time, vdm_trace *trace)
{
    size_t from = (size_t)r->H * (size_t)r->W * (size_t)w->in,
           to = 4 * (size_t)r->H * (size_t)r->W * (size_t)w->out;
    float *y = r->y;
    struct extent same = {2 * r->H, 2 * r->W, 2 * r->H, 2 * r->W, 1, 1};
    r->frames[0] = r->buffer[RING];
    for (int t = 0; t < r->T; t++) {
        bool twice = compress_time && r->T > 1 && !(r->T % 2 == 1 && t == 0);
        r->cpu->kernels->enlarge(r->cpu, r->buffer[RING], r->x + (size_t)t * from, r->H, r->W, w->in);
        convolve(r, y, 1, w, same, NULL);
        if (twice) memcpy(y + to, y, to * sizeof *y);
        y += twice ? 2 * to : to;
    }
    if (compress_time) r->T = doubled(r->T);
    r->H *= 2;
    r->W *= 2;
    swap_buffers(r);
    vdm_trace_see(trace, r->x, SHAPE(r->T, r->H, r->W, w->out), "%s", "");
}

/* ------------------------------------------------------------------------------------------------
 * Encoder and decoder: one chunk */

/* CogVideoXEncoder3D, and quant_conv: the chunk in INPUT -> r->x [T/4,H/8,W/8,2C] */
static void encoder(struct run *r, vdm_trace *chunk)
{
    const vdm_vae_half *e = &r->m->encoder;
    const vdm_vae_config *c = &r->m->config;
    const float eps = (float)c->norm_eps;
    vdm_trace whole = vdm_trace_inside(chunk, "encoder");
    causal_conv(r, (struct causal){"_in", .w = &e->conv_in, .x = r->buffer[INPUT], .y = r->x}, &whole);
    for (int l = 0; l < c->blocks; l++) {
        const struct vdm_vae_level *level = &e->level[l];
        for (int i = 0; i < level->resnets; i++) {
            vdm_trace part = vdm_trace_inside(&whole, ".down_blocks.%d.resnets.%d", l, i);
            resnet(r, &level->resnet[i], eps, &part);
        }
        vdm_trace part = vdm_trace_inside(&whole, ".down_blocks.%d.downsamplers.0", l);
        if (level->resample.in) downsample(r, &level->resample, level->compress_time, &part);
    }
    for (int i = 0; i < 2; i++) {
        vdm_trace part = vdm_trace_inside(&whole, ".mid_block.resnets.%d", i);
        resnet(r, &e->mid[i], eps, &part);
    }
    causal_conv(r, (struct causal){"_out", &e->norm_out, FIXED_EPS, &e->conv_out, .x = r->x, .y = r->y},
                &whole);
    swap_buffers(r);
    if (r->m->quant.in == 0) return;
    pointwise(r->cpu, r->y, r->x, (int64_t)r->T * r->H * r->W, &r->m->quant, false);
    swap_buffers(r);
    vdm_trace_see(chunk, r->x, SHAPE(r->T, r->H, r->W, r->m->quant.out), "quant_conv");
}

/* CogVideoXDecoder3D: the latents in INPUT -> r->x [4T,8h,8w,3]. The z of every norm is this chunk's
 * latents, as they enter conv_in. */
static void decoder(struct run *r, vdm_trace *chunk)
{
    const vdm_vae_half *d = &r->m->decoder;
    vdm_trace whole = vdm_trace_inside(chunk, "decoder");
    causal_conv(r, (struct causal){"_in", .w = &d->conv_in, .x = r->buffer[INPUT], .y = r->x}, &whole);
    for (int i = 0; i < 2; i++) {
        vdm_trace part = vdm_trace_inside(&whole, ".mid_block.resnets.%d", i);
        resnet(r, &d->mid[i], FIXED_EPS, &part);
    }
    for (int l = 0; l < r->m->config.blocks; l++) {
        const struct vdm_vae_level *level = &d->level[l];
        for (int i = 0; i < level->resnets; i++) {
            vdm_trace part = vdm_trace_inside(&whole, ".up_blocks.%d.resnets.%d", l, i);
            resnet(r, &level->resnet[i], FIXED_EPS, &part);
        }
        vdm_trace part = vdm_trace_inside(&whole, ".up_blocks.%d.upsamplers.0", l);
        if (level->resample.in) upsample(r, &level->resample, level->compress_time, &part);
    }
    causal_conv(r, (struct causal){"_out", &d->norm_out, FIXED_EPS, &d->conv_out, .x = r->x, .y = r->y},
                &whole);
    swap_buffers(r);
}

/* A part of an array [frames,C,H,W]: h x w from (top, left) on */
struct pane {
    const float *data; /* [T,C,H,W]: the chunk's frames */
    int C, H, W;
    int top, left, h, w;
};

/* x [T,h,w,C] = the pane's frames */
static void load(float *x, const struct pane *in, int T)
{
    for (int t = 0; t < T; t++)
        for (int y = 0; y < in->h; y++)
            for (int i = 0; i < in->w; i++)
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

/* One chunk of T frames: in -> out [T',C,H',W']. Returns T'. */
static int run_chunk(struct run *r, const struct pane *in, int T, float *out, vdm_trace *trace)
{
    int h = in->h, w = in->w;
    r->x = r->buffer[X], r->y = r->buffer[Y];
    r->T = r->zT = T, r->H = r->zh = h, r->W = r->zw = w;
    r->cached = 0;
    if (r->decode && r->m->post_quant.in) {
        load(r->x, in, T);
        pointwise(r->cpu, r->buffer[INPUT], r->x, (int64_t)T * h * w, &r->m->post_quant, false);
        vdm_trace_see(trace, r->buffer[INPUT], SHAPE(T, h, w, r->m->post_quant.out), "post_quant_conv");
    } else {
        load(r->buffer[INPUT], in, T);
    }
    if (r->decode)
        decoder(r, trace);
    else
        encoder(r, trace);
    store(out, r->x, r->T, r->H, r->W, r->decode ? r->m->decoder.conv_out.out : r->m->encoder.conv_out.out);
    return r->T;
}

/* All chunks of a pane of T frames -> out [T',C,H',W']; the caches start empty. */
static int run_pane(struct run *r, struct pane in, int T, float *out, vdm_trace *trace, vdm_error *err)
{
    const char *phase = r->decode ? "decode" : "encode";
    const vdm_vae_config *c = &r->m->config;
    int chunks = chunk_count(T, r->decode), channels = r->decode ? c->channels : 2 * c->latent_channels;
    size_t pixels = (size_t)side_out(c, in.h, r->decode) * (size_t)side_out(c, in.w, r->decode);
    for (int i = 0; i < chunks; i++) {
        int t = chunk_frames(T, r->decode, i);
        vdm_trace inside = vdm_trace_inside(trace, "chunk.%d.", i + 1);
        r->first = i == 0;
        int made = run_chunk(r, &in, t, out, chunks > 1 ? &inside : trace);
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

/* The rows or the columns of planes [planes,h,w]: element j of line i of plane p is data[p plane + i step + j skip]. */
struct lines {
    float *data;
    size_t plane, step, skip;
    int length;
};

/* blend_v and blend_h: the first e lines of a tile [planes,h,w] with the last of the one before, the strip:
 *   tile[i] = strip[n - e + i] (1 - i/e) + tile[i] (i/e)
 * In place: later tiles are blended with the result. */
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

/* Tile (i,j) [planes,h,w] is blended with the tile above, then with the one to the left. diffusers stores all tiles; only
 * the last `blend` rows and columns of a finished one are needed, and are stored here. */
static void blend_tile(struct run *r, int i, int j, int h, int w, size_t planes)
{
    const struct plan *p = &r->plan;
    const vdm_vae_config *c = &r->m->config;
    size_t size = (size_t)h * (size_t)w, above = p->floats[ABOVE] / (size_t)p->cols.count * (size_t)j;
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
}

/* out [planes,H,W]: its part that tile (i,j) [planes,h,w] contributes */
static void crop_tile(const struct run *r, int i, int j, int h, int w, size_t planes, float *out)
{
    const struct plan *p = &r->plan;
    const vdm_vae_config *c = &r->m->config;
    const float *tile = r->buffer[TILE];
    size_t H = (size_t)side_out(c, p->rows.side, r->decode), W = (size_t)side_out(c, p->cols.side, r->decode);
    size_t size = (size_t)h * (size_t)w;
    int written_h = min_int(p->rows.written, h), written_w = min_int(p->cols.written, w);
    out += (size_t)i * (size_t)p->rows.written * W + (size_t)j * (size_t)p->cols.written;
    for (size_t q = 0; q < planes; q++)
        for (size_t y = 0; y < (size_t)written_h; y++)
            memcpy(out + (q * H + y) * W, tile + q * size + y * (size_t)w, (size_t)written_w * sizeof *out);
}

/* tiled_encode and tiled_decode */
static int run_tiles(struct run *r, struct pane in, int T, float *out, vdm_trace *trace, vdm_error *err)
{
    const vdm_vae_config *c = &r->m->config;
    int channels = r->decode ? c->channels : 2 * c->latent_channels;
    size_t planes = (size_t)vdm_vae_frames(c, T, r->decode) * (size_t)channels;
    for (int i = 0; i < r->plan.rows.count; i++)
        for (int j = 0; j < r->plan.cols.count; j++) {
            vdm_trace inside = vdm_trace_inside(trace, "tile.%d.%d.", i + 1, j + 1);
            in.h = tile_size(&r->plan.rows, i);
            in.w = tile_size(&r->plan.cols, j);
            in.top = i * r->plan.rows.stride;
            in.left = j * r->plan.cols.stride;
            if (run_pane(r, in, T, r->buffer[TILE], &inside, err)) return -1;
            int h = side_out(c, in.h, r->decode), w = side_out(c, in.w, r->decode);
            blend_tile(r, i, j, h, w, planes);
            crop_tile(r, i, j, h, w, planes, out);
        }
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Encoding and decoding a video */

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

/* x [T,C,H,W] -> out [T',C',H',W'] */
static int run(struct run *r, const vdm_vae_size *s, const float *x, float *out, vdm_error *err)
{
    const vdm_vae_config *c = &r->m->config;
    vdm_trace *trace = r->progress ? r->progress->trace : NULL;
    int in_channels = r->decode ? c->latent_channels : c->channels;
    int out_channels = r->decode ? c->channels : 2 * c->latent_channels;
    struct pane in = {.data = x, .C = in_channels, .H = s->H, .W = s->W, .h = s->H, .w = s->W};
    r->began = vdm_seconds();
    if (vdm_vae_plan(&r->plan, c, r->decode, s, err)) return -1;
    r->steps = r->plan.rows.count * r->plan.cols.count * chunk_count(s->T, r->decode);
    vdm_trace_see(trace, x, SHAPE(s->T, in_channels, s->H, s->W), r->decode ? "latents" : "video");
    int status = run_alloc(r, err);
    if (!status)
        status =
            r->plan.tiled ? run_tiles(r, in, s->T, out, trace, err) : run_pane(r, in, s->T, out, trace, err);
    if (!status)
        vdm_trace_see(trace, out,
                      SHAPE(vdm_vae_frames(c, s->T, r->decode), out_channels, side_out(c, s->H, r->decode),
                            side_out(c, s->W, r->decode)),
                      r->decode ? "video" : "moments");
    run_free(r);
    return status;
}

int vdm_vae_encode(const vdm_vae *m, const vdm_cpu *cpu, const float *video, const vdm_vae_size *size,
                   float *moments, const vdm_progress *progress, vdm_error *err)
{
    struct run r = {.m = m, .cpu = cpu, .progress = progress};
    return run(&r, size, video, moments, err);
}

int vdm_vae_decode(const vdm_vae *m, const vdm_cpu *cpu, const float *latents, const vdm_vae_size *size,
                   float *video, const vdm_progress *progress, vdm_error *err)
{
    struct run r = {.m = m, .cpu = cpu, .decode = true, .progress = progress};
    return run(&r, size, latents, video, err);
}

void vdm_vae_sample(float *z, const float *moments, const float *noise, int frames, int C, int h, int w)
{
    size_t n = (size_t)C * (size_t)h * (size_t)w; /* of one frame: means [C,h,w], log variances [C,h,w] */
    for (size_t f = 0; f < (size_t)frames; f++)
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
