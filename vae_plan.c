/* The plan of a pass through the VAE: how a video is divided into chunks and tiles, and the size of each buffer. The sizes
 * are found by a walk through the layers, in the order of vae.c, that computes nothing. */
#include "vae_plan.h"
#include "kernels/kernels.h"

#include <string.h>

int vdm_vae_frames(const vdm_vae_config *c, int T, bool decode)
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
    return vdm_vae_frames(c, T, false);
}

int vdm_vae_video_frames(const vdm_vae_config *c, int latent_frames)
{
    return vdm_vae_frames(c, latent_frames, true);
}

/* A caller may have filled the fields in: each is checked before the first product with it. */
int vdm_geometry_check(const vdm_geometry *g, const vdm_transformer_config *c, const vdm_vae_config *vae,
                       vdm_error *err)
{
    int side = 1 << (vae->blocks - 1); /* pixels of a latent */
    bool legal = g->frames >= 1 && g->frames <= VDM_MAX_FRAMES && g->h >= 1 && g->h <= VDM_MAX_SIDE / side &&
                 g->w >= 1 && g->w <= VDM_MAX_SIDE / side && g->latent_frames >= 1 && g->pad >= 0 &&
                 g->pad < VDM_MAX_FRAMES;
    if (!legal || g->height != g->h * side || g->width != g->w * side ||
        g->latent_frames != vdm_vae_latent_frames(vae, g->frames) || g->F != g->latent_frames + g->pad ||
        g->frames != vdm_vae_video_frames(vae, g->latent_frames))
        return vdm_fail(err,
                        "geometry: %d frames of %dx%d and %d latent frames of %dx%d, %d of them padding: "
                        "these do not belong together; vdm_geometry_init computes them",
                        g->frames, g->height, g->width, g->F, g->h, g->w, g->pad);
    return c ? vdm_latents_check(c, "geometry", g->F, g->h, g->w, err) : 0;
}

int vdm_answer_check(const vdm_geometry *g, const vdm_vae_config *vae, vdm_error *err)
{
    const int step = 2 * vae->temporal_compression;
    if (g->frames >= 2) return 0;
    return vdm_fail(err,
                    "frames: found %d, expected %d k + 1, at least %d: the first one is the input, the last "
                    "one the answer",
                    g->frames, step, step + 1);
}

/* ------------------------------------------------------------------------------------------------
 * Tiles */

/* The expressions are those of diffusers, in double. overlap: 1/6 of the height, 1/5 of the width. */
static struct tiles tiles_of(const vdm_vae_config *c, int side, int sample, double overlap, bool decode)
{
    int pixels = sample / 2, latents = side_out(c, pixels, false);
    int in = decode ? latents : pixels, out = decode ? pixels : latents;
    struct tiles s = {
        .side = side, .size = in, .stride = (int)(in * (1 - overlap)), .blend = (int)(out * overlap)};
    s.written = out - s.blend;
    s.count = s.stride > 0 ? (side + s.stride - 1) / s.stride : 0;
    return s;
}

/* Checks one side: every tile is large enough, and the parts that tiles contribute are the output together. With other
 * sample sizes diffusers returns pictures of another size. */
static int tiles_check(const vdm_vae_config *c, const struct tiles *s, const char *name, bool decode,
                       vdm_error *err)
{
    int total = 0, min = decode ? 1 : 1 << (c->blocks - 1);
    const char *verb = decode ? "decode" : "encode";
    if (s->count < 1)
        return vdm_fail(err, "%s: tiles of %s %d can't overlap: sample_%s is too small to tile", verb, name,
                        s->size, name);
    for (int i = 0; i < s->count; i++) {
        if (tile_size(s, i) < min)
            return vdm_fail(err, "%s: %s %d%s, expected at least %d", verb, name, tile_size(s, i),
                            s->count > 1 ? " of the last tile" : "", min);
        total += min_int(side_out(c, tile_size(s, i), decode), s->written);
    }
    if (total != side_out(c, s->side, decode))
        return vdm_fail(err, "%s: the tiles of %s %d join to %d, expected %d: sample_%s doesn't suit tiling",
                        verb, name, s->side, total, side_out(c, s->side, decode), name);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Memory */

static size_t area(const struct plan *p)
{
    return (size_t)p->H * (size_t)p->W;
}

static void need(struct plan *p, enum buffer b, size_t floats)
{
    if (p->floats[b] < floats) p->floats[b] = floats;
}

/* A layer writes C channels to the other buffer. */
static void plan_swap(struct plan *p, int C)
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

/* norm, silu, causal convolution, from C channels */
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
        plan_swap(p, C);
    }
}

static void plan_resample(struct plan *p, bool decode, bool time)
{
    if (time) p->T = decode ? doubled(p->T) : halved(p->T);
    p->H = decode ? 2 * p->H : p->H / 2;
    p->W = decode ? 2 * p->W : p->W / 2;
    if (decode) need(p, RING, area(p) * (size_t)p->C);
    if (decode) plan_taps(p, p->C, p->C, 1);
    plan_swap(p, p->C);
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
    plan_swap(p, c->block_channels[decode ? last : 0]);
    if (decode) plan_resnets(p, 2, p->C);
    for (int l = 0; l <= last; l++) {
        plan_resnets(p, c->layers_per_block + (decode ? 1 : 0), c->block_channels[decode ? last - l : l]);
        if (l < last) plan_resample(p, decode, l < time_levels(c));
    }
    if (!decode) plan_resnets(p, 2, p->C);
    plan_norm_conv(p, p->C, out);
    plan_swap(p, out);
    if (!decode && c->quant_conv) plan_swap(p, out);
}

static void plan_tiles(struct plan *p, const vdm_vae_config *c, bool decode, int T)
{
    size_t planes =
        (size_t)vdm_vae_frames(c, T, decode) * (size_t)(decode ? c->channels : 2 * c->latent_channels);
    size_t h = (size_t)side_out(c, tile_size(&p->rows, 0), decode);
    size_t w = (size_t)side_out(c, tile_size(&p->cols, 0), decode);
    p->floats[TILE] = planes * h * w;
    p->floats[ABOVE] = (size_t)p->cols.count * planes * (size_t)p->rows.blend * w;
    p->floats[LEFT] = planes * h * (size_t)p->cols.blend;
}

/* The sides and numbers of frames that the VAE supports */
static int check_size(const vdm_vae_config *c, bool decode, const vdm_vae_size *s, vdm_error *err)
{
    const char *verb = decode ? "decode" : "encode";
    int max = decode ? side_out(c, VDM_MAX_SIDE, false) : VDM_MAX_SIDE;
    if (s->T < 1 || s->T > VDM_MAX_FRAMES)
        return vdm_fail(err, "%s: %d frames, expected 1 to %d", verb, s->T, VDM_MAX_FRAMES);
    if (s->H < 1 || s->W < 1 || s->H > max || s->W > max)
        return vdm_fail(err, "%s: %d x %d, expected sides of 1 to %d", verb, s->H, s->W, max);
    return 0;
}

int vdm_vae_plan(struct plan *p, const vdm_vae_config *c, bool decode, const vdm_vae_size *s, vdm_error *err)
{
    *p = (struct plan){0};
    if (check_size(c, decode, s, err)) return -1;
    p->rows = (struct tiles){s->H, s->H, s->H, 1, 0, side_out(c, s->H, decode)};
    p->cols = (struct tiles){s->W, s->W, s->W, 1, 0, side_out(c, s->W, decode)};
    struct tiles rows = tiles_of(c, s->H, c->sample_height, 1.0 / 6, decode);
    struct tiles cols = tiles_of(c, s->W, c->sample_width, 1.0 / 5, decode);
    p->tiled = s->tiled && (s->H > rows.size || s->W > cols.size);
    if (p->tiled) p->rows = rows, p->cols = cols;
    if (tiles_check(c, &p->rows, "height", decode, err)) return -1;
    if (tiles_check(c, &p->cols, "width", decode, err)) return -1;
    p->cached = chunk_count(s->T, decode) > 1;
    plan_chunk(p, c, decode, chunk_frames(s->T, decode, 0), tile_size(&p->rows, 0), tile_size(&p->cols, 0));
    if (p->tiled) plan_tiles(p, c, decode, s->T);
    return 0;
}

static size_t plan_bytes(const vdm_vae_config *c, bool decode, const vdm_vae_size *s)
{
    struct plan p;
    vdm_error ignored;
    if (vdm_vae_plan(&p, c, decode, s, &ignored)) return 0;
    size_t bytes = (size_t)p.frames * sizeof(float *);
    for (int b = 0; b < BUFFERS; b++) bytes += p.floats[b] * sizeof(float);
    return bytes;
}

size_t vdm_vae_encode_bytes(const vdm_vae_config *c, int T, int H, int W, bool tiled)
{
    return plan_bytes(c, false, &(vdm_vae_size){T, H, W, tiled});
}

size_t vdm_vae_decode_bytes(const vdm_vae_config *c, int latent_frames, int h, int w, bool tiled)
{
    return plan_bytes(c, true, &(vdm_vae_size){latent_frames, h, w, tiled});
}
