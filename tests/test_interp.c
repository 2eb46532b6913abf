/* Transitions, frame by frame, against values worked out by hand. */
#include "check.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { H = 7, W = 8, N = H * W * 3, MAX_T = 50 };

static uint8_t black[N], white[N], ramp[N]; /* 0; 255; 0, 2, 4, ... 254, 0, ... */
static uint8_t frames[MAX_T * N];

static vdm_picture picture(uint8_t *rgb)
{
    return (vdm_picture){H, W, rgb};
}

/* Fills `frames` with the transition of that name; the sentence where it is rejected, else "". */
static const char *interp(const char *name, uint8_t *x, uint8_t *y, int T, uint64_t seed)
{
    static vdm_error err;
    vdm_phi phi;
    vdm_rng rng;
    vdm_picture a = picture(x), b = picture(y);
    vdm_rng_seed(&rng, seed);
    err.text[0] = 0;
    memset(frames, 99, sizeof frames);
    if (vdm_phi_parse(&phi, name, &err) == 0) vdm_interp(&phi, &a, &b, T, &rng, frames, &err);
    return err.text;
}

/* The value of a frame that is one colour, -1 where it is not. */
static int level(int i)
{
    const uint8_t *frame = frames + i * N;
    for (int k = 1; k < N; k++)
        if (frame[k] != frame[0]) return -1;
    return frame[0];
}

/* ------------------------------------------------------------------------------------------------ */

static void test_parse(void)
{
    static const struct {
        const char *text;
        vdm_phi phi;
    } good[] = {
        {"linear", {.kind = VDM_PHI_LINEAR}},
        {"quadratic", {.kind = VDM_PHI_QUADRATIC}},
        {"sqrt", {.kind = VDM_PHI_SQRT}},
        {"discrete", {.kind = VDM_PHI_DISCRETE}},
        {"black:3", {.kind = VDM_PHI_BLACK, .black = 3}},
        {"black:1023", {.kind = VDM_PHI_BLACK, .black = 1023}},
        {"tiles:4x4", {.kind = VDM_PHI_TILES, .tiles_y = 4, .tiles_x = 4}},
        {"tiles:1x12", {.kind = VDM_PHI_TILES, .tiles_y = 1, .tiles_x = 12}},
        {"noisy", {.kind = VDM_PHI_NOISY, .amplitude = 127.5}},
        {"noisy:quadratic", {.kind = VDM_PHI_NOISY, .quadratic = true, .amplitude = 127.5}},
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        vdm_phi p;
        const vdm_phi *q = &good[i].phi;
        vdm_error err = {""};
        CHECK(vdm_phi_parse(&p, good[i].text, &err) == 0 && p.kind == q->kind && p.black == q->black &&
                  p.tiles_y == q->tiles_y && p.tiles_x == q->tiles_x && p.quadratic == q->quadratic &&
                  p.amplitude == q->amplitude,
              "%s: %s", good[i].text, err.text);
    }
    static const char *const bad[][2] = {
        {"", "found ''"},
        {"Linear", "found 'Linear', expected linear, quadratic, sqrt, discrete, black:B, tiles:NxM, noisy"},
        {"linear ", "found 'linear '"},
        {"cubic", "found 'cubic', expected linear"},
        {"noisy:sqrt", "found 'noisy:sqrt', expected linear"},
        {"black", "found 'black', expected linear"},
        {"black:", "expected black:B with B from 1 to 1023"},
        {"black:0", "expected black:B"},
        {"black:-1", "expected black:B"},
        {"black:1024", "expected black:B"},
        {"black:3x", "expected black:B"},
        {"black:99999999999999999999", "expected black:B"},
        {"tiles:4", "expected tiles:NxM, N rows and M columns from 1 to 16384"},
        {"tiles:4x", "expected tiles:NxM"},
        {"tiles:x4", "expected tiles:NxM"},
        {"tiles:0x4", "expected tiles:NxM"},
        {"tiles:4x0", "expected tiles:NxM"},
        {"tiles:4x4x4", "expected tiles:NxM"},
        {"tiles:16385x1", "expected tiles:NxM"},
        {"tiles: 4x4", "expected tiles:NxM"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        vdm_phi p;
        vdm_error err = {""};
        CHECK(vdm_phi_parse(&p, bad[i][0], &err) == -1 && strstr(err.text, bad[i][1]), "'%s': %s", bad[i][0],
              err.text);
    }
}

static void test_rejected(void)
{
    vdm_phi tiles = {.kind = VDM_PHI_TILES, .tiles_y = 2, .tiles_x = 2};
    vdm_error err;
    vdm_picture a = picture(black), b = picture(white);
    CHECK(strstr(interp("linear", black, white, 1, 0), "frames: found 1, expected 2 to 1025"), "T = 1");
    CHECK(strstr(interp("linear", black, white, 1026, 0), "frames: found 1026"), "T = 1026");
    CHECK(strstr(interp("black:3", black, white, 4, 0), "frames: found 4, expected 5 to"), "T = 4, black:3");
    CHECK(strstr(interp("tiles:8x2", black, white, 9, 0), "found 8 x 2 tiles for a picture of 7 x 8"),
          "8 rows");
    CHECK(strstr(interp("tiles:2x9", black, white, 9, 0), "found 2 x 9 tiles"), "9 columns");
    CHECK(vdm_interp(&tiles, &a, &b, 9, NULL, frames, &err) == -1 && strstr(err.text, "random numbers"),
          "no rng");
    b.width--;
    CHECK(vdm_interp(&tiles, &a, &b, 9, NULL, frames, &err) == -1 &&
              strstr(err.text, "sizes: found 7x8 and 7x7 (height x width), expected the same size"),
          "%s", err.text);
    a = b = (vdm_picture){0};
    CHECK(vdm_interp(&(vdm_phi){.kind = VDM_PHI_LINEAR}, &a, &b, 9, NULL, frames, &err) == -1 &&
              strstr(err.text, "transition: size: found 0x0"),
          "%s", err.text);
}

/* black to white in 9 frames: 255 s, rounded half to even (127.5 is 128) */
static void test_blends(void)
{
    static const struct {
        const char *name;
        int level[9];
    } table[] = {
        {"linear", {0, 32, 64, 96, 128, 159, 191, 223, 255}},
        {"quadratic", {0, 4, 16, 36, 64, 100, 143, 195, 255}},
        {"sqrt", {0, 90, 128, 156, 180, 202, 221, 239, 255}},
        {"discrete", {0, 0, 0, 0, 255, 255, 255, 255, 255}},
        {"black:3", {0, 0, 0, 0, 0, 0, 255, 255, 255}},
    };
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        CHECK(!*interp(table[k].name, black, white, 9, 0), "%s is rejected", table[k].name);
        for (int i = 0; i < 9; i++)
            CHECK(level(i) == table[k].level[i], "%s, frame %d: %d", table[k].name, i, level(i));
    }
    /* 1 to 2: 1.5 is 2, half to even; 2 to 3: 2.5 is 2 */
    uint8_t x[N], y[N];
    memset(x, 1, N), memset(y, 2, N);
    CHECK(!*interp("linear", x, y, 3, 0) && level(1) == 2, "half of 1 and 2: %d", level(1));
    memset(x, 2, N), memset(y, 3, N);
    CHECK(!*interp("linear", x, y, 3, 0) && level(1) == 2, "half of 2 and 3: %d", level(1));
    CHECK(!*interp("linear", white, black, 9, 0) && level(1) == 223 && level(7) == 32, "white to black");
}

/* x and y in white and ramp, so that both differ from black. */
static void test_steps(void)
{
    static const struct {
        const char *name;
        int T, before, dark;
    } table[] = {{"discrete", 9, 4, 0},   {"discrete", 8, 4, 0}, {"discrete", 2, 1, 0},
                 {"discrete", 49, 24, 0}, {"black:1", 9, 4, 1},  {"black:2", 9, 3, 2},
                 {"black:3", 9, 3, 3},    {"black:7", 9, 1, 7},  {"black:1", 3, 1, 1}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        int T = table[k].T, wrong = 0;
        CHECK(!*interp(table[k].name, white, ramp, T, 0), "%s", table[k].name);
        for (int i = 0; i < T; i++) {
            const uint8_t *expected = i < table[k].before                   ? white
                                      : i < table[k].before + table[k].dark ? black
                                                                            : ramp;
            wrong += memcmp(frames + i * N, expected, N) != 0;
        }
        CHECK(!wrong, "%s, %d frames: %d wrong", table[k].name, T, wrong);
    }
}

/* Every transition starts at x and ends at y, exactly, whatever the number of frames. */
static void test_ends(void)
{
    static const char *const names[] = {"linear",    "quadratic", "sqrt",           "discrete",
                                        "tiles:3x2", "noisy",     "noisy:quadratic"};
    for (size_t k = 0; k < 7; k++)
        for (int T = 2; T <= MAX_T; T++) {
            interp(names[k], ramp, white, T, 3);
            CHECK(memcmp(frames, ramp, N) == 0 && memcmp(frames + (T - 1) * N, white, N) == 0,
                  "%s, %d frames", names[k], T);
        }
}

/* Quadratic moves later than linear, sqrt earlier. */
static void test_order(void)
{
    uint8_t linear[9];
    interp("linear", black, white, 9, 0);
    for (int i = 0; i < 9; i++) linear[i] = (uint8_t)level(i);
    interp("quadratic", black, white, 9, 0);
    for (int i = 1; i < 8; i++) CHECK(level(i) < linear[i], "quadratic is late at frame %d", i);
    interp("sqrt", black, white, 9, 0);
    for (int i = 1; i < 8; i++) CHECK(level(i) > linear[i], "sqrt is early at frame %d", i);
}

/* A pixel shows x or y, turns once, and all pixels of a tile turn together; floor(nm t) tiles have turned. */
static void check_tiles(const char *name, int n, int m, int T, uint64_t seed)
{
    CHECK(!*interp(name, black, white, T, seed), "%s", name);
    int turn[H * W];
    for (int p = 0; p < H * W; p++) {
        turn[p] = T;
        for (int i = T - 1; i >= 0 && frames[i * N + 3 * p] == 255; i--) turn[p] = i;
        for (int i = 0; i < T; i++)
            for (int c = 0; c < 3; c++)
                CHECK(frames[i * N + 3 * p + c] == (i < turn[p] ? 0 : 255), "pixel %d turns back", p);
    }
    int turned[MAX_T] = {0};
    for (int r = 0; r < n; r++)
        for (int c = 0; c < m; c++) {
            int at = turn[r * H / n * W + c * W / m];
            for (int y = r * H / n; y < (r + 1) * H / n; y++)
                for (int x = c * W / m; x < (c + 1) * W / m; x++)
                    CHECK(turn[y * W + x] == at, "tile %d, %d is cut at pixel %d, %d", r, c, y, x);
            for (int i = at; i < T; i++) turned[i]++;
        }
    for (int i = 0; i < T; i++)
        CHECK(turned[i] == n * m * i / (T - 1), "%s: %d tiles have turned in frame %d of %d", name, turned[i],
              i, T);
}

static void test_tiles(void)
{
    check_tiles("tiles:4x4", 4, 4, 9, 1); /* 7 rows are no multiple of 4 */
    check_tiles("tiles:2x3", 2, 3, 9, 2);
    check_tiles("tiles:7x8", 7, 8, 9, 3); /* a pixel each */
    check_tiles("tiles:1x1", 1, 1, 9, 4);
    check_tiles("tiles:1x7", 1, 7, 49, 5);
    check_tiles("tiles:5x5", 5, 5, 2, 6);
    check_tiles("tiles:7x7", 7, 7, 50, 7); /* in double, 49 * (1/49.0) is below 1 */
    uint8_t first[9 * N];
    interp("tiles:4x4", black, white, 9, 1);
    memcpy(first, frames, 9 * N);
    interp("tiles:4x4", black, white, 9, 1);
    CHECK(memcmp(first, frames, 9 * N) == 0, "the same seed gives the same order");
    interp("tiles:4x4", black, white, 9, 2);
    CHECK(memcmp(first, frames, 9 * N) != 0, "another seed gives another order");
}

/* torch.manual_seed(0); torch.randperm(6): the order in which tiles of one row turn */
static void test_tiles_order(void)
{
    static const int order[6] = {2, 5, 3, 0, 1, 4};
    interp("tiles:6x1", black, white, 7, 0);
    for (int i = 1; i < 7; i++) {
        int row = order[i - 1];
        CHECK(frames[i * N + row * W * 3] == 255 && frames[(i - 1) * N + row * W * 3] == 0,
              "row %d turns at frame %d", row, i);
    }
}

/* Grey 128 under noise of A t (1-t): mean 128, deviation 31.875 at the middle; nothing outside 0..255. */
static void test_noise(void)
{
    enum { SIDE = 128, M = SIDE * SIDE * 3, T = 5 };
    vdm_picture x = {SIDE, SIDE, malloc(M)}, y = {SIDE, SIDE, malloc(M)};
    uint8_t *video = malloc(T * M);
    if (!x.rgb || !y.rgb || !video) abort();
    memset(x.rgb, 100, M), memset(y.rgb, 156, M);
    for (int quadratic = 0; quadratic < 2; quadratic++) {
        vdm_phi phi;
        vdm_rng rng;
        vdm_error err = {""};
        vdm_rng_seed(&rng, 5);
        CHECK(vdm_phi_parse(&phi, quadratic ? "noisy:quadratic" : "noisy", &err) == 0 &&
                  vdm_interp(&phi, &x, &y, T, &rng, video, &err) == 0,
              "%s", err.text);
        for (int i = 0; i < T; i++) {
            double t = i / 4.0, s = quadratic ? t * t : t, sum = 0, square = 0;
            for (int k = 0; k < M; k++) sum += video[i * M + k];
            double mean = sum / M, expected = 100 + 56 * s, deviation = 127.5 * t * (1 - t);
            for (int k = 0; k < M; k++) square += (video[i * M + k] - mean) * (video[i * M + k] - mean);
            CHECK(fabs(mean - expected) < 0.6, "frame %d: mean %.2f, expected %.2f", i, mean, expected);
            CHECK(fabs(sqrt(square / M) - deviation) < 0.4, "frame %d: deviation %.2f, expected %.2f", i,
                  sqrt(square / M), deviation);
        }
    }
    int64_t same = 0; /* frames have noise of their own */
    for (int k = 0; k < M; k++) same += video[M + k] == video[2 * M + k];
    CHECK(same < M / 10, "%d of %d pixels alike in two frames", (int)same, M);
    free(x.rgb), free(y.rgb), free(video);
    interp("noisy", white, white, 9, 1); /* clipped, not wrapped */
    int whites = 0, dark = 0;
    for (int k = 0; k < N; k++) whites += frames[4 * N + k] == 255, dark += frames[4 * N + k] < 100;
    CHECK(whites > N / 3 && whites < N * 2 / 3 && !dark, "%d of %d white, %d dark", whites, N, dark);
}

static void test_floats(void)
{
    static uint8_t all[2 * 3 * 4 * 32], back[sizeof all]; /* [T = 2, H = 4, W = 32, 3] */
    static float video[sizeof all];
    for (int i = 0; i < (int)sizeof all; i++) all[i] = (uint8_t)i;
    vdm_video_from_bytes(video, all, 2, 4, 32);
    for (int t = 0; t < 2; t++)
        for (int c = 0; c < 3; c++)
            for (int p = 0; p < 128; p++) {
                float v = video[(t * 3 + c) * 128 + p];
                CHECK(v == (float)all[(t * 128 + p) * 3 + c] / 255.0f * 2.0f - 1.0f,
                      "frame %d, channel %d, pixel %d", t, c, p);
            }
    CHECK(video[0] == -1.0f, "0 is -1: %g", (double)video[0]);
    for (size_t i = 0; i < sizeof all; i++) video[i] = (video[i] + 1) / 2; /* to 0..1, as the decoder gives */
    vdm_bytes_from_video(back, video, 2, 4, 32);
    CHECK(memcmp(all, back, sizeof all) == 0, "bytes come back");
    static const float odd[6] = {-3, 2, (float)NAN, (float)INFINITY, 0.5f / 255, 1.5f / 255}; /* [1,3,1,2] */
    vdm_bytes_from_video(back, odd, 1, 1, 2);
    CHECK(memcmp(back, "\0\0\0\377\377\2", 6) == 0, "%d %d %d %d %d %d", back[0], back[1], back[2], back[3],
          back[4], back[5]);
    vdm_error err = {""};
    CHECK(vdm_video_check(odd, 1, 1, 2, &err) == -1 &&
              strstr(err.text, "2 of 6 values are NaN or infinite, the first in frame 0"),
          "%s", err.text);
    video[5] = (float)-INFINITY;
    CHECK(vdm_video_check(video, 2, 4, 32, &err) == -1 &&
              strstr(err.text, "1 of 768 values are NaN or infinite, the first in frame 0"),
          "%s", err.text);
    CHECK(vdm_video_check(video + 384, 1, 4, 32, &err) == 0, "a finite frame");
}

/* The bits, by numpy (np.rint((1 - s) * x + s * y)) and torch (torch.randperm(16) after manual_seed(8)). */
static void test_bits(void)
{
    static const struct {
        const char *name;
        uint64_t hash;
    } table[] = {{"linear", 0x81d569ca0cddc159},
                 {"quadratic", 0xa4bfdd84bfb85f9e},
                 {"sqrt", 0xeda303eaa7209353},
                 {"tiles:4x4", 0xcfdf9e4d11ea98cd}};
    for (size_t k = 0; k < sizeof table / sizeof *table; k++) {
        interp(table[k].name, ramp, white, 23, 8);
        uint64_t hash = check_hash(frames, 23 * N);
        CHECK(hash == table[k].hash, "%s: hash %016llx", table[k].name, (unsigned long long)hash);
    }
}

int main(void)
{
    memset(white, 255, N);
    for (int i = 0; i < N; i++) ramp[i] = (uint8_t)(2 * i);
    test_parse();
    test_rejected();
    test_blends();
    test_steps();
    test_ends();
    test_order();
    test_tiles();
    test_tiles_order();
    test_noise();
    test_floats();
    test_bits();
    return check_end("interp");
}
