/* The VAE compared with itself: properties that must hold whatever the weights are. How near it is to
 * diffusers is measured by peer/vae.py and by golden files.
 *
 * vae.c (and vae_plan.c) is included rather than linked, so that its allocations can be counted and made to fail. */
#include "check.h"
#include "kernels/kernels.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static struct {
    void *p[64];
    size_t bytes[64], live, peak;
    int fail_after; /* allocations; -1: never */
} heap = {.fail_after = -1};

static void *counted_alloc(size_t count, size_t size, const char *what, vdm_error *err)
{
    int i = 0;
    if (heap.fail_after == 0) {
        vdm_fail(err, "no memory for %s", what);
        return NULL;
    }
    if (heap.fail_after > 0) heap.fail_after--;
    while (heap.p[i]) i++;
    heap.p[i] = vdm_alloc(count, size, what, err);
    heap.bytes[i] = count * size;
    heap.live += count * size;
    if (heap.peak < heap.live) heap.peak = heap.live;
    return heap.p[i];
}

static void counted_free(void *p)
{
    for (int i = 0; p && i < 64; i++)
        if (heap.p[i] == p) {
            heap.live -= heap.bytes[i];
            heap.p[i] = NULL;
        }
    vdm_free(p);
}

#define vdm_alloc counted_alloc
#define vdm_free  counted_free
#include "vae_plan.c"
#include "vae.c"
#undef vdm_alloc
#undef vdm_free

/* ------------------------------------------------------------------------------------------------
 * A random VAE, built in memory */

static uint32_t next_seed;

static float *numbers(int64_t n, float scale, float middle)
{
    vdm_error err;
    float *x = vdm_alloc((size_t)n, sizeof *x, "a test", &err);
    if (!x) abort();
    check_random(x, n, ++next_seed, scale);
    for (int64_t i = 0; i < n; i++) x[i] += middle;
    return x;
}

static vdm_conv random_conv(int in, int out, int kt, int k)
{
    int taps = kt * k * k * in;
    return (vdm_conv){
        .weight = {numbers((int64_t)taps * out, 1.7f / sqrtf((float)taps), 0), VDM_F32, taps, out},
        .bias = numbers(out, 0.3f, 0),
        .in = in,
        .out = out,
        .kt = kt,
        .k = k};
}

static vdm_vae_norm random_norm(int channels, int latent)
{
    vdm_vae_norm n = {.norm = {numbers(channels, 0.3f, 1), numbers(channels, 0.3f, 0)}};
    if (latent) n.y = random_conv(latent, channels, 1, 1), n.b = random_conv(latent, channels, 1, 1);
    return n;
}

static vdm_resnet random_resnet(int in, int out, int latent)
{
    vdm_resnet r = {.norm1 = random_norm(in, latent),
                    .norm2 = random_norm(out, latent),
                    .conv1 = random_conv(in, out, 3, 3),
                    .conv2 = random_conv(out, out, 3, 3)};
    if (in != out) r.shortcut = random_conv(in, out, 1, 1);
    return r;
}

static void build_half(vdm_vae_half *h, const vdm_vae_config *c, bool decoder)
{
    int last = c->blocks - 1, latent = decoder ? c->latent_channels : 0, times = 0;
    int C = c->block_channels[decoder ? last : 0], deep = c->block_channels[last];
    while (c->temporal_compression >> (times + 1)) times++;
    h->conv_in = random_conv(decoder ? latent : c->channels, C, 3, 3);
    for (int i = 0; i < 2; i++) h->mid[i] = random_resnet(deep, deep, latent);
    for (int l = 0; l <= last; l++) {
        struct vdm_vae_level *level = &h->level[l];
        int next = c->block_channels[decoder ? last - l : l];
        vdm_error err;
        level->resnets = c->layers_per_block + (decoder ? 1 : 0);
        level->resnet = vdm_alloc((size_t)level->resnets, sizeof *level->resnet, "a test", &err);
        if (!level->resnet) abort();
        for (int i = 0; i < level->resnets; i++, C = next) level->resnet[i] = random_resnet(C, next, latent);
        if (l < last) level->resample = random_conv(next, next, 1, 3);
        level->compress_time = l < times;
    }
    h->norm_out = random_norm(C, latent);
    h->conv_out = random_conv(C, decoder ? c->channels : 2 * c->latent_channels, 3, 3);
}

static vdm_vae build(const vdm_vae_config *c)
{
    vdm_vae m = {.config = *c};
    build_half(&m.encoder, c, false);
    build_half(&m.decoder, c, true);
    if (c->quant_conv) m.quant = random_conv(2 * c->latent_channels, 2 * c->latent_channels, 1, 1);
    if (c->post_quant_conv) m.post_quant = random_conv(c->latent_channels, c->latent_channels, 1, 1);
    return m;
}

static void free_conv(vdm_conv *c)
{
    vdm_free((void *)(uintptr_t)c->weight.data);
    vdm_free((void *)(uintptr_t)c->bias);
}

static void free_norm(vdm_vae_norm *n)
{
    vdm_free((void *)(uintptr_t)n->norm.gamma);
    vdm_free((void *)(uintptr_t)n->norm.beta);
    free_conv(&n->y);
    free_conv(&n->b);
}

static void free_resnet(vdm_resnet *r)
{
    free_norm(&r->norm1);
    free_norm(&r->norm2);
    free_conv(&r->conv1);
    free_conv(&r->conv2);
    free_conv(&r->shortcut);
}

static void free_half(vdm_vae_half *h)
{
    free_conv(&h->conv_in);
    free_conv(&h->conv_out);
    free_norm(&h->norm_out);
    for (int i = 0; i < 2; i++) free_resnet(&h->mid[i]);
    for (int l = 0; l < VDM_MAX_VAE_BLOCKS; l++) {
        for (int i = 0; i < h->level[l].resnets; i++) free_resnet(&h->level[l].resnet[i]);
        vdm_free(h->level[l].resnet);
        free_conv(&h->level[l].resample);
    }
}

static void drop(vdm_vae *m)
{
    free_half(&m->encoder);
    free_half(&m->decoder);
    free_conv(&m->quant);
    free_conv(&m->post_quant);
}

/* Published proportions, made small. Tiles of 48 x 40 pixels, 6 x 5 latents. */
static const vdm_vae_config SMALL = {.channels = 3,
                                     .latent_channels = 4,
                                     .blocks = 4,
                                     .block_channels = {8, 12, 12, 16},
                                     .layers_per_block = 1,
                                     .groups = 4,
                                     .temporal_compression = 4,
                                     .sample_height = 96,
                                     .sample_width = 80,
                                     .norm_eps = 1e-3,
                                     .scaling_factor = 0.7,
                                     .invert_scale_latents = true};
/* Everything that may differ: three channels of latents, quant convolutions, one level of time. */
static const vdm_vae_config ODD = {.channels = 3,
                                   .latent_channels = 3,
                                   .blocks = 2,
                                   .block_channels = {6, 9},
                                   .layers_per_block = 2,
                                   .groups = 3,
                                   .temporal_compression = 2,
                                   .sample_height = 24,
                                   .sample_width = 20,
                                   .norm_eps = 1e-6,
                                   .scaling_factor = 1.15258426,
                                   .quant_conv = true,
                                   .post_quant_conv = true};
/* No resampling at all. */
static const vdm_vae_config FLAT = {.channels = 3,
                                    .latent_channels = 2,
                                    .blocks = 1,
                                    .block_channels = {5},
                                    .layers_per_block = 1,
                                    .groups = 5,
                                    .temporal_compression = 4,
                                    .sample_height = 60,
                                    .sample_width = 60,
                                    .norm_eps = 1e-6,
                                    .scaling_factor = 1};

static vdm_cpu cpu;

static int64_t moments_count(const vdm_vae_config *c, int T, int H, int W)
{
    return (int64_t)vdm_vae_latent_frames(c, T) * 2 * c->latent_channels * side_out(c, H, false) *
           side_out(c, W, false);
}

static int64_t video_count(const vdm_vae_config *c, int F, int h, int w)
{
    return (int64_t)vdm_vae_video_frames(c, F) * c->channels * side_out(c, h, true) * side_out(c, w, true);
}

static float *encode(const vdm_vae *m, const float *video, int T, int H, int W, bool tiled)
{
    vdm_error err = {"never called"};
    float *moments = numbers(moments_count(&m->config, T, H, W), 1, 0);
    CHECK(!vdm_vae_encode(m, &cpu, video, &(vdm_vae_size){T, H, W, tiled}, moments, NULL, &err), "encode: %s",
          err.text);
    return moments;
}

static float *decode(const vdm_vae *m, const float *latents, int F, int h, int w, bool tiled)
{
    vdm_error err = {"never called"};
    float *video = numbers(video_count(&m->config, F, h, w), 1, 0);
    CHECK(!vdm_vae_decode(m, &cpu, latents, &(vdm_vae_size){F, h, w, tiled}, video, NULL, &err), "decode: %s",
          err.text);
    return video;
}

/* ------------------------------------------------------------------------------------------------ */

static void test_frame_counts(void)
{
    static const int encode_table[][2] = {{1, 1},  {2, 1},  {3, 1},  {7, 2},   {8, 2},   {9, 3},  {12, 3},
                                          {15, 4}, {16, 4}, {17, 5}, {49, 13}, {81, 21}, {85, 22}};
    static const int decode_table[][2] = {{1, 1},  {2, 8},  {3, 9},   {4, 16},
                                          {5, 17}, {6, 24}, {13, 49}, {21, 81}};
    for (size_t i = 0; i < sizeof encode_table / sizeof *encode_table; i++) {
        int found = vdm_vae_latent_frames(&SMALL, encode_table[i][0]);
        CHECK(found == encode_table[i][1], "%d frames -> %d latents", encode_table[i][0], found);
    }
    for (size_t i = 0; i < sizeof decode_table / sizeof *decode_table; i++) {
        int found = vdm_vae_video_frames(&SMALL, decode_table[i][0]);
        CHECK(found == decode_table[i][1], "%d latents -> %d frames", decode_table[i][0], found);
    }
    CHECK(vdm_vae_latent_frames(&ODD, 9) == 5 && vdm_vae_video_frames(&ODD, 5) == 9, "one level of time");
    CHECK(vdm_vae_latent_frames(&FLAT, 9) == 9 && vdm_vae_video_frames(&FLAT, 9) == 9, "no level of time");
}

/* Norms see one chunk alone, convolutions the past alone: the first chunk is the encoding of its frames, and
 * the second is not. */
static void test_chunks(const vdm_vae *m, int T1, int T2, int F1, int F2, int H, int W)
{
    const vdm_vae_config *c = &m->config;
    int h = side_out(c, H, false), w = side_out(c, W, false);
    int64_t size = (int64_t)T2 * c->channels * H * W, zsize = (int64_t)F2 * c->latent_channels * h * w;
    float *video = numbers(size, 1, 0), *latents = numbers(zsize, 1, 0);
    float *a = encode(m, video, T1, H, W, false), *b = encode(m, video, T2, H, W, false);
    int64_t n = moments_count(c, T1, H, W), all = moments_count(c, T2, H, W);
    CHECK(check_same_bits(a, b, n * 4), "encode: the first %d of %d frames", T1, T2);
    video[0] += 1; /* the past of the second chunk, through 2 + 2 + ... frames of context */
    video[(int64_t)T1 * c->channels * H * W - 1] += 1;
    float *d = encode(m, video, T2, H, W, false);
    CHECK(check_distance(d + n, b + n, all - n) > 1e-6, "encode: the second chunk sees the first");
    vdm_free(d);
    video[size - 1] += 1;
    d = encode(m, video, T2, H, W, false);
    vdm_free(a);
    a = encode(m, video, T1, H, W, false);
    CHECK(check_same_bits(a, d, n * 4), "encode: the first chunk doesn't see the second");
    vdm_free(a), vdm_free(b), vdm_free(d);

    a = decode(m, latents, F1, h, w, false), b = decode(m, latents, F2, h, w, false);
    n = video_count(c, F1, h, w), all = video_count(c, F2, h, w);
    CHECK(check_same_bits(a, b, n * 4), "decode: the first %d of %d frames", F1, F2);
    latents[(int64_t)F1 * c->latent_channels * h * w - 1] += 1;
    d = decode(m, latents, F2, h, w, false);
    CHECK(check_distance(d + n, b + n, all - n) > 1e-6, "decode: the second chunk sees the first");
    vdm_free(a), vdm_free(b), vdm_free(d), vdm_free(video), vdm_free(latents);
}

/* The past of the first frame is copies of it, and time is averaged and repeated: a video that stands still
 * has the latents of its picture, and the other way round. Only the sums of the norms round otherwise. */
static void test_standing_still(const vdm_vae *m, int T, int F, int H, int W)
{
    const vdm_vae_config *c = &m->config;
    int h = side_out(c, H, false), w = side_out(c, W, false);
    int64_t frame = (int64_t)c->channels * H * W, zframe = (int64_t)c->latent_channels * h * w;
    float *video = numbers(T * frame, 1, 0), *latents = numbers(F * zframe, 1, 0);
    for (int t = 1; t < T; t++) memcpy(video + t * frame, video, (size_t)frame * 4);
    for (int f = 1; f < F; f++) memcpy(latents + f * zframe, latents, (size_t)zframe * 4);
    float *one = encode(m, video, 1, H, W, false), *all = encode(m, video, T, H, W, false);
    int64_t n = moments_count(c, 1, H, W);
    for (int f = 0; f < vdm_vae_latent_frames(c, T); f++)
        CHECK(check_distance(all + f * n, one, n) < 1e-5, "latent %d of %d equal frames", f, T);
    vdm_free(one), vdm_free(all);
    one = decode(m, latents, 1, h, w, false), all = decode(m, latents, F, h, w, false);
    n = video_count(c, 1, h, w);
    for (int t = 0; t < vdm_vae_video_frames(c, F); t++)
        CHECK(check_distance(all + t * n, one, n) < 1e-5, "frame %d of %d equal latents", t, F);
    vdm_free(one), vdm_free(all), vdm_free(video), vdm_free(latents);
}

/* ------------------------------------------------------------------------------------------------
 * Many channels: convolutions go by Winograd, and give what the sums as written give */

static const vdm_vae_config BROAD = {.channels = 3,
                                     .latent_channels = 2,
                                     .blocks = 2,
                                     .block_channels = {128, 128},
                                     .layers_per_block = 1,
                                     .groups = 4,
                                     .temporal_compression = 2,
                                     .sample_height = 128,
                                     .sample_width = 128,
                                     .norm_eps = 1e-6,
                                     .scaling_factor = 1};
static const vdm_kernels *chosen;
static int transformed; /* convolutions that had room for transformed taps */

static void conv_as_written(const vdm_cpu *c, const vdm_conv_args *args)
{
    vdm_conv_args a = *args;
    if (a.transformed) transformed++;
    a.transformed = NULL;
    chosen->conv(c, &a);
}

static void test_winograd(void)
{
    enum { T = 3, F = 2, H = 32, W = 34 }; /* 1,088 pixels, the inner level 272 */
    vdm_vae m = build(&BROAD);
    float *video = numbers(T * 3 * H * W, 1, 0), *latents = numbers(F * 2 * H / 2 * W / 2, 1, 0);
    float *moments = encode(&m, video, T, H, W, false), *frames = decode(&m, latents, F, H / 2, W / 2, false);
    vdm_kernels written = *cpu.kernels;
    chosen = cpu.kernels;
    written.conv = conv_as_written;
    cpu.kernels = &written;
    float *moments2 = encode(&m, video, T, H, W, false);
    CHECK(transformed == 2 * 3, "encode: %d convolutions by Winograd", transformed); /* frames 0, 1, 2 */
    float *frames2 = decode(&m, latents, F, H / 2, W / 2, false);
    CHECK(transformed > 2 * 3 + 8, "decode: %d convolutions by Winograd", transformed - 2 * 3);
    cpu.kernels = chosen;
    double e = check_distance(moments, moments2, moments_count(&BROAD, T, H, W));
    double d = check_distance(frames, frames2, video_count(&BROAD, F, H / 2, W / 2));
    CHECK(e > 0 && e < 1e-5, "encode by Winograd: %.1e", e);
    CHECK(d > 0 && d < 1e-5, "decode by Winograd: %.1e", d);
    vdm_free(video), vdm_free(latents), vdm_free(moments), vdm_free(moments2), vdm_free(frames),
        vdm_free(frames2);
    drop(&m);
}

/* ------------------------------------------------------------------------------------------------
 * One resnet of the decoder against its definition in double. z [3,h,w,C] -> 5 frames of 2h x 2w */

enum { FRAMES = 5, SIDE = 4, WIDE = 6, PIXELS = SIDE * WIDE };

static double at_latent(const vdm_conv *w, const float *z, int t, int y, int x, int channel)
{
    int frame = t == 0 ? 0 : 1 + (t - 1) / 2;
    const float *weight = w->weight.data, *from = z + ((frame * SIDE / 2 + y / 2) * WIDE / 2 + x / 2) * w->in;
    double sum = (double)w->bias[channel];
    for (int c = 0; c < w->in; c++) sum += (double)from[c] * (double)weight[c * w->out + channel];
    return sum;
}

/* u = silu(GN(x) Cy(z) + Cb(z)) [FRAMES,SIDE,WIDE,C] */
static void define_norm(double *u, const double *x, const vdm_vae_norm *n, const float *z, int C, int groups)
{
    int size = C / groups;
    for (int g = 0; g < groups; g++) {
        double sum = 0, squares = 0, count = FRAMES * PIXELS * size;
        for (int p = 0; p < FRAMES * PIXELS; p++)
            for (int c = g * size; c < (g + 1) * size; c++) sum += x[p * C + c];
        for (int p = 0; p < FRAMES * PIXELS; p++)
            for (int c = g * size; c < (g + 1) * size; c++) squares += pow(x[p * C + c] - sum / count, 2);
        for (int p = 0; p < FRAMES * PIXELS; p++)
            for (int c = g * size; c < (g + 1) * size; c++) {
                int t = p / PIXELS, y = p / WIDE % SIDE, i = p % WIDE;
                double v = (x[p * C + c] - sum / count) / sqrt(squares / count + 1e-6);
                v = v * (double)n->norm.gamma[c] + (double)n->norm.beta[c];
                v = v * at_latent(&n->y, z, t, y, i, c) + at_latent(&n->b, z, t, y, i, c);
                u[p * C + c] = v / (1 + exp(-v));
            }
    }
}

/* y (+)= causal convolution of u; kt = k = 1: the shortcut */
static void define_conv(double *y, const double *u, const vdm_conv *w, bool add)
{
    const float *weight = w->weight.data;
    for (int p = 0; p < FRAMES * PIXELS; p++)
        for (int o = 0; o < w->out; o++) {
            double sum = (double)w->bias[o];
            for (int k = 0; k < w->kt * w->k * w->k; k++) {
                int t = p / PIXELS + k / (w->k * w->k) - (w->kt - 1);
                int row = p / WIDE % SIDE + k / w->k % w->k - w->k / 2, i = p % WIDE + k % w->k - w->k / 2;
                if (row < 0 || row >= SIDE || i < 0 || i >= WIDE) continue;
                const double *from = u + (((t < 0 ? 0 : t) * SIDE + row) * WIDE + i) * w->in;
                for (int c = 0; c < w->in; c++) sum += from[c] * (double)weight[(k * w->in + c) * w->out + o];
            }
            y[p * w->out + o] = sum + (add ? y[p * w->out + o] : 0);
        }
}

static void test_resnet(const vdm_vae *m, int in, int out)
{
    enum { MOST = FRAMES * PIXELS * 16, SUMMED = KT * 3 * 3 * 16 * 16 };
    static double x[MOST], u[MOST], v[MOST], y[MOST];
    int groups = m->config.groups, C = m->config.latent_channels;
    struct run r = {.m = m,
                    .cpu = &cpu,
                    .decode = true,
                    .T = FRAMES,
                    .H = SIDE,
                    .W = WIDE,
                    .zT = 3,
                    .zh = SIDE / 2,
                    .zw = WIDE / 2,
                    .first = true};
    const float *frames[FRAMES + PAST];
    r.frames = frames;
    r.plan.floats[RING] = (size_t)(3 * PIXELS * (in > out ? in : out)); /* less than all frames */
    for (int b = 0; b < BUFFERS; b++) r.buffer[b] = numbers(b == SUMS ? SUMMED : MOST, 1, 0);
    r.x = r.buffer[X], r.y = r.buffer[Y];
    const float *z = r.buffer[INPUT];
    vdm_resnet b = random_resnet(in, out, C);
    for (int i = 0; i < FRAMES * PIXELS * in; i++) y[i] = x[i] = (double)r.x[i];
    define_norm(u, x, &b.norm1, z, in, groups);
    define_conv(v, u, &b.conv1, false);
    define_norm(u, v, &b.norm2, z, out, groups);
    if (in != out) define_conv(y, x, &b.shortcut, false);
    define_conv(y, u, &b.conv2, true);
    resnet(&r, &b, FIXED_EPS, NULL);
    float *expected = numbers(FRAMES * PIXELS * out, 1, 0);
    for (int i = 0; i < FRAMES * PIXELS * out; i++) expected[i] = (float)y[i];
    double d = check_distance(r.x, expected, FRAMES * PIXELS * out);
    CHECK(d < 2e-6, "resnet %d -> %d: distance %g", in, out, d);
    for (int i = 0; i < BUFFERS; i++) vdm_free(r.buffer[i]);
    vdm_free(expected);
    free_resnet(&b);
}

static void test_threads(const vdm_vae *m)
{
    float *video = numbers(10 * 3 * 24 * 32, 1, 0), *latents = numbers(5 * 4 * 3 * 4, 1, 0), *z[3], *x[3];
    for (int i = 0; i < 3; i++) {
        vdm_error err;
        vdm_cpu_free(&cpu);
        if (vdm_cpu_init(&cpu, i + 1, &err)) abort();
        z[i] = encode(m, video, 10, 24, 32, false);
        x[i] = decode(m, latents, 5, 3, 4, false);
        CHECK(check_same_bits(z[i], z[0], moments_count(&m->config, 10, 24, 32) * 4), "encode: %d threads",
              i + 1);
        CHECK(check_same_bits(x[i], x[0], video_count(&m->config, 5, 3, 4) * 4), "decode: %d threads", i + 1);
    }
    for (int i = 0; i < 3; i++) vdm_free(z[i]), vdm_free(x[i]);
    vdm_free(video), vdm_free(latents);
}

/* ------------------------------------------------------------------------------------------------
 * Tiles as diffusers writes them: all tiles whole, then blended in place */

struct whole {
    float *x; /* [planes,h,w] */
    int h, w;
};

static struct whole whole_tile(const vdm_vae *m, bool dec, const float *in, int T, int H, int W, int top,
                               int left, int h, int w)
{
    const vdm_vae_config *c = &m->config;
    int planes = T * (dec ? c->latent_channels : c->channels);
    float *cut = numbers((int64_t)planes * h * w, 1, 0);
    for (int p = 0; p < planes; p++)
        for (int y = 0; y < h; y++)
            memcpy(cut + (p * h + y) * w, in + (p * H + top + y) * W + left, (size_t)w * 4);
    float *out = dec ? decode(m, cut, T, h, w, false) : encode(m, cut, T, h, w, false);
    vdm_free(cut);
    return (struct whole){out, side_out(c, h, dec), side_out(c, w, dec)};
}

static void blend_whole(struct whole *b, const struct whole *a, int planes, int extent, bool rows)
{
    int ah = rows ? a->h : a->w, bh = rows ? b->h : b->w, e = extent < ah ? extent : ah;
    if (bh < e) e = bh;
    for (int p = 0; p < planes; p++)
        for (int y = 0; y < b->h; y++)
            for (int x = 0; x < b->w; x++) {
                int i = rows ? y : x, ay = rows ? a->h - e + y : y, ax = rows ? x : a->w - e + x;
                if (i >= e) continue;
                float *to = b->x + (p * b->h + y) * b->w + x;
                float from = a->x[(p * a->h + ay) * a->w + ax];
                *to = from * (float)(1 - (double)i / e) + *to * (float)((double)i / e);
            }
}

/* tile_*, stride_*: of the input; blend_*, written_*: of the output, heights first: 48x40 pixels, 6x5 latents */
static void test_tiles(const vdm_vae *m, bool dec, int T, int H, int W)
{
    const vdm_vae_config *c = &m->config;
    const int size[] = {dec ? 6 : 48, dec ? 5 : 40}, stride[] = {dec ? 5 : 40, dec ? 4 : 32};
    const int blend[] = {dec ? 8 : 1, dec ? 8 : 1}, written[] = {dec ? 40 : 5, dec ? 32 : 4};
    struct whole tile[4][4];
    int planes =
        dec ? vdm_vae_video_frames(c, T) * c->channels : vdm_vae_latent_frames(c, T) * 2 * c->latent_channels;
    float *in = numbers((int64_t)T * (dec ? c->latent_channels : c->channels) * H * W, 1, 0);
    float *out = dec ? decode(m, in, T, H, W, true) : encode(m, in, T, H, W, true);
    int Ho = side_out(c, H, dec), Wo = side_out(c, W, dec), bad = 0, rows = 0, cols = 0;
    for (int y = 0; y < H; y += stride[0], rows++)
        for (int x = cols = 0; x < W; x += stride[1], cols++) {
            int h = size[0] < H - y ? size[0] : H - y, w = size[1] < W - x ? size[1] : W - x;
            tile[rows][cols] = whole_tile(m, dec, in, T, H, W, y, x, h, w);
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            struct whole *t = &tile[i][j];
            if (i > 0) blend_whole(t, &tile[i - 1][j], planes, blend[0], true);
            if (j > 0) blend_whole(t, &tile[i][j - 1], planes, blend[1], false);
            for (int p = 0; p < planes; p++)
                for (int y = 0; y < t->h && y < written[0]; y++)
                    for (int x = 0; x < t->w && x < written[1]; x++)
                        bad += out[(p * Ho + i * written[0] + y) * Wo + j * written[1] + x] !=
                               t->x[(p * t->h + y) * t->w + x];
        }
    CHECK(bad == 0, "%s: %d x %d in %d x %d tiles: %d numbers differ", dec ? "decode" : "encode", H, W, rows,
          cols, bad);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) vdm_free(tile[i][j].x);
    vdm_free(in), vdm_free(out);
}

static void test_one_tile(const vdm_vae *m)
{
    float *video = numbers(3 * 3 * 48 * 40, 1, 0), *latents = numbers(2 * 4 * 6 * 5, 1, 0);
    float *a = encode(m, video, 3, 48, 40, true), *b = encode(m, video, 3, 48, 40, false);
    CHECK(check_same_bits(a, b, moments_count(&m->config, 3, 48, 40) * 4), "encode: one tile");
    vdm_free(a), vdm_free(b);
    a = decode(m, latents, 2, 6, 5, true), b = decode(m, latents, 2, 6, 5, false);
    CHECK(check_same_bits(a, b, video_count(&m->config, 2, 6, 5) * 4), "decode: one tile");
    vdm_free(a), vdm_free(b), vdm_free(video), vdm_free(latents);
}

/* The published tile sizes of 480 x 720: spec values. */
static void test_published_tiles(void)
{
    vdm_vae_config c = SMALL;
    c.sample_height = 480, c.sample_width = 720;
    struct tiles h = tiles_of(&c, 768, 480, 1.0 / 6, false), w = tiles_of(&c, 1360, 720, 1.0 / 5, false);
    CHECK(h.size == 240 && h.stride == 200 && h.blend == 5 && h.written == 25 && h.count == 4,
          "encode, height");
    CHECK(w.size == 360 && w.stride == 288 && w.blend == 9 && w.written == 36 && w.count == 5,
          "encode, width");
    h = tiles_of(&c, 96, 480, 1.0 / 6, true), w = tiles_of(&c, 170, 720, 1.0 / 5, true);
    CHECK(h.size == 30 && h.stride == 25 && h.blend == 40 && h.written == 200 && h.count == 4,
          "decode, height");
    CHECK(w.size == 45 && w.stride == 36 && w.blend == 72 && w.written == 288 && w.count == 5,
          "decode, width");
}

/* ------------------------------------------------------------------------------------------------ */

static void test_memory(const vdm_vae *m, bool dec, int T, int H, int W, bool tiled)
{
    vdm_error err = {""};
    const vdm_vae_config *c = &m->config;
    int64_t n = dec ? video_count(c, T, H, W) : moments_count(c, T, H, W);
    float *in = numbers((int64_t)T * (dec ? c->latent_channels : c->channels) * H * W, 1, 0),
          *out = numbers(n, 1, 0);
    size_t planned = dec ? vdm_vae_decode_bytes(c, T, H, W, tiled) : vdm_vae_encode_bytes(c, T, H, W, tiled);
    const char *name = dec ? "decode" : "encode";
    int bad = 1;
    for (int allowed = 0; bad && allowed < 64; allowed++) { /* the first, second ... allocation fails */
        heap.fail_after = allowed;
        heap.peak = 0;
        bad = dec ? vdm_vae_decode(m, &cpu, in, &(vdm_vae_size){T, H, W, tiled}, out, NULL, &err)
                  : vdm_vae_encode(m, &cpu, in, &(vdm_vae_size){T, H, W, tiled}, out, NULL, &err);
        CHECK(heap.live == 0, "%s %d,%d,%d: %zu bytes left", name, T, H, W, heap.live);
        CHECK(!bad || strstr(err.text, "no memory"), "%s: %s", name, err.text);
    }
    heap.fail_after = -1;
    CHECK(!bad, "%s: %s", name, err.text);
    CHECK(heap.peak == planned, "%s %d,%d,%d: %zu bytes, planned %zu", name, T, H, W, heap.peak, planned);
    vdm_free(in), vdm_free(out);
}

static void test_memory_growth(const vdm_vae_config *c)
{
    CHECK(vdm_vae_encode_bytes(c, 17, 64, 64, false) == vdm_vae_encode_bytes(c, 65, 64, 64, false),
          "encode grows");
    CHECK(vdm_vae_decode_bytes(c, 5, 8, 8, false) == vdm_vae_decode_bytes(c, 65, 8, 8, false),
          "decode grows");
    CHECK(vdm_vae_encode_bytes(c, 9, 64, 64, false) < vdm_vae_encode_bytes(c, 17, 64, 64, false),
          "encode: one chunk stores no caches");
}

struct counter {
    int calls, stop_at, last, of;
    const char *phase;
};

static int count(void *user, const vdm_report *r)
{
    struct counter *k = user;
    k->calls++;
    k->last = r->step;
    k->of = r->of;
    k->phase = r->phase;
    return k->calls == k->stop_at;
}

static void test_progress(const vdm_vae *m)
{
    vdm_error err = {""};
    float *video = numbers(17 * 3 * 64 * 64, 1, 0), *latents = numbers(7 * 4 * 8 * 8, 1, 0);
    float *moments = numbers(moments_count(&m->config, 17, 64, 64), 1, 0);
    float *out = numbers(video_count(&m->config, 7, 8, 8), 1, 0);
    struct counter k = {0};
    vdm_progress progress = {.report = count, .user = &k};
    CHECK(!vdm_vae_encode(m, &cpu, video, &(vdm_vae_size){17, 64, 64, true}, moments, &progress, &err), "%s",
          err.text);
    CHECK(k.calls == 8 && k.last == 8 && k.of == 8, "encode: 2 chunks of 2 x 2 tiles, %d reports", k.calls);
    CHECK(strcmp(k.phase, "encode") == 0, "phase %s", k.phase);
    k = (struct counter){.stop_at = 2};
    CHECK(vdm_vae_decode(m, &cpu, latents, &(vdm_vae_size){7, 8, 8, false}, out, &progress, &err),
          "decode: not stopped");
    CHECK(k.calls == 2 && k.of == 3 && strcmp(k.phase, "decode") == 0, "decode: %d reports", k.calls);
    CHECK(strstr(err.text, "interrupted"), "decode: %s", err.text);
    CHECK(heap.live == 0, "%zu bytes left", heap.live);
    vdm_free(video), vdm_free(latents), vdm_free(moments), vdm_free(out);
}

static void reject(const vdm_vae *m, int T, int H, int W, bool tiled, const char *what)
{
    vdm_error err = {""};
    float none = 0;
    CHECK(vdm_vae_encode(m, &cpu, &none, &(vdm_vae_size){T, H, W, tiled}, &none, NULL, &err),
          "%d,%d,%d: taken", T, H, W);
    CHECK(strstr(err.text, what), "%d,%d,%d: %s", T, H, W, err.text);
    CHECK(vdm_vae_encode_bytes(&m->config, T, H, W, tiled) == 0, "%d,%d,%d: bytes", T, H, W);
}

static void test_rejections(vdm_vae *m)
{
    vdm_error err = {""};
    float none = 0;
    reject(m, 0, 64, 64, false, "0 frames");
    reject(m, 100000, 64, 64, false, "100000 frames");
    reject(m, 1, 7, 64, false, "height 7");
    reject(m, 1, 64, 7, false, "width 7");
    reject(m, 1, -8, 64, false, "-8 x 64");
    reject(m, 1, 1 << 30, 64, false, "sides of 1 to");
    reject(m, 1, 84, 40, true, "height 4 of the last tile");
    m->config.sample_height = 64; /* 32 pixels: strides of 26, 4 latents written */
    reject(m, 1, 64, 40, true, "sample_height doesn't suit");
    m->config.sample_height = 2;
    reject(m, 1, 64, 40, true, "sample_height");
    m->config.sample_height = SMALL.sample_height;
    CHECK(vdm_vae_decode(m, &cpu, &none, &(vdm_vae_size){0, 8, 8, false}, &none, NULL, &err),
          "0 latents: taken");
    CHECK(vdm_vae_decode(m, &cpu, &none, &(vdm_vae_size){1, 8, 1 << 29, false}, &none, NULL, &err),
          "width 2^29: taken");
}

static void test_odd_sides(const vdm_vae *m)
{
    float *video = numbers(3 * 25 * 39, 1, 0), *moments = encode(m, video, 1, 25, 39, false);
    int64_t n = moments_count(&m->config, 1, 25, 39);
    CHECK(n == 2 * 4 * 3 * 4 && check_distance(moments, moments, n) == 0, "25 x 39 pixels: 3 x 4 latents");
    vdm_free(video), vdm_free(moments);
}

static void test_sample(void)
{
    /* [F=2,2C=4,1,1]: means, log variances */
    const float moments[] = {1, -2, 0, 2, 0.5f, 3, -100, 100}, noise[] = {1, -1, 2, 3};
    const double e = 2.718281828459045;
    const float expected[] = {2, (float)(-2 - e), (float)(0.5 + 2 * exp(-15)), (float)(3 + 3 * exp(10))};
    float z[4];
    vdm_vae_sample(z, moments, noise, 2, 2, 1, 1);
    for (int i = 0; i < 4; i++)
        CHECK(fabsf(z[i] / expected[i] - 1) < 1e-6f, "sample %d: %g", i, (double)z[i]);
    vdm_vae_sample(z, moments, NULL, 2, 2, 1, 1);
    CHECK(z[0] == 1 && z[1] == -2 && z[2] == 0.5f && z[3] == 3, "mode");
}

static void test_image_scale(void)
{
    vdm_vae_config c = SMALL;
    CHECK(vdm_image_latent_scale(&c, VDM_IMAGE_PIPELINE) == 1 / 0.7, "1.5, pipeline");
    CHECK(vdm_image_latent_scale(&c, VDM_IMAGE_TRAINER) == 0.7, "1.5, trainer");
    c.invert_scale_latents = false;
    CHECK(vdm_image_latent_scale(&c, VDM_IMAGE_PIPELINE) == 0.7, "1.0, pipeline");
    CHECK(vdm_image_latent_scale(&c, VDM_IMAGE_TRAINER) == 0.7, "1.0, trainer");
}

int main(void)
{
    vdm_error err;
    if (vdm_cpu_init(&cpu, 0, &err)) {
        CHECK(false, "%s", err.text);
        return check_end("vae");
    }
    vdm_vae small = build(&SMALL), odd = build(&ODD), flat = build(&FLAT);
    test_frame_counts();
    test_chunks(&small, 9, 17, 3, 5, 16, 24);
    test_chunks(&small, 12, 20, 2, 6, 16, 16);
    test_chunks(&odd, 8, 24, 2, 4, 10, 6);
    test_chunks(&flat, 9, 17, 3, 5, 4, 7);
    test_standing_still(&small, 17, 5, 16, 24);
    test_standing_still(&small, 8, 4, 16, 16);
    test_standing_still(&odd, 9, 3, 4, 6);
    test_standing_still(&flat, 9, 3, 4, 6);
    test_resnet(&small, 8, 8);
    test_resnet(&small, 16, 12);
    test_resnet(&small, 4, 8);
    test_winograd();
    test_threads(&small);
    test_one_tile(&small);
    test_published_tiles();
    test_tiles(&small, false, 9, 88, 80);
    test_tiles(&small, false, 1, 128, 40);
    test_tiles(&small, true, 3, 11, 10);
    test_tiles(&small, true, 1, 6, 13);
    test_tiles(&small, true, 2, 7, 4);
    test_memory(&small, false, 1, 16, 16, false);
    test_memory(&small, false, 9, 16, 24, false);
    test_memory(&small, false, 17, 88, 80, true);
    test_memory(&small, true, 5, 2, 3, false);
    test_memory(&small, true, 2, 7, 7, true);
    test_memory(&odd, false, 9, 6, 7, false);
    test_memory(&odd, true, 3, 3, 2, false);
    test_memory(&flat, true, 3, 3, 2, false);
    test_memory_growth(&SMALL);
    test_progress(&small);
    test_rejections(&small);
    test_odd_sides(&small);
    test_sample();
    test_image_scale();
    drop(&small), drop(&odd), drop(&flat);
    vdm_cpu_free(&cpu);
    return check_end("vae");
}
