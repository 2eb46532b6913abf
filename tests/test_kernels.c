/* Every kernel x shapes x instruction sets x threads, products in f32, bf16 and amx, for equal bits with the
 * plain loops of plain.c; then the plain loops against double precision: backward against central
 * differences, exp and gelu in units in the last place. Sizes lie around what the kernels divide by: vectors
 * of 16, tiles of 4, 6, 14 and 32 rows, chains of 128, blocks of 336 rows, 1024 deep, 1536 wide; of amx 256
 * and 2048. */
#include "check.h"
#include "vdm_math.h"
#include "kernels/kernels.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * The kernels under test */

static const char *const sets[] = {"scalar", "avx2", "avx512", "avx512bf16", "avx512amx", "neon"};
enum { SETS = sizeof sets / sizeof sets[0], MAX_CPUS = 3 * SETS };
static vdm_cpu cpus[MAX_CPUS];
static int n_cpus;
static vdm_cpu plain = {.kernels = &vdm_kernels_plain, .threads = 1};

/* Under the sanitizers loops over registers are loops (vector.h), and rule 6 without tiles takes minutes. */
#ifdef __SANITIZE_ADDRESS__
enum { FEW_OF_AMX = 1 };
#else
enum { FEW_OF_AMX = 0 };
#endif

/* Each instruction set that this processor has, with 1, 2 and 3 threads. */
static void open_cpus(void)
{
    for (int s = 0; s < SETS; s++) {
        for (int threads = 1; threads <= 3; threads++) {
            vdm_error err;
            setenv("VDM_ISA", sets[s], 1);
            if (vdm_cpu_init(&cpus[n_cpus], threads, &err) == 0)
                n_cpus++;
            else if (threads == 1)
                printf("kernels: NOT RUN for %s: %s\n", sets[s], err.text);
        }
    }
    unsetenv("VDM_ISA");
}

static void set_precision(vdm_precision precision)
{
    plain.precision = precision;
    for (int c = 0; c < n_cpus; c++) cpus[c].precision = precision;
}
/* What products are in now, to say with a failure */
static const char *in_precision(void)
{
    static const char *const names[] = {
        [VDM_PRECISION_F32] = "in f32", [VDM_PRECISION_BF16] = "in bf16", [VDM_PRECISION_AMX] = "in amx"};
    return names[plain.precision];
}

static float *numbers(int64_t n, uint32_t seed, float scale)
{
    float *x = malloc((size_t)(n > 0 ? n : 1) * sizeof(float));
    if (!x) exit(2);
    check_random(x, n, seed, scale);
    return x;
}
static float *copy_of(const float *x, int64_t n)
{
    float *y = numbers(n, 0, 0);
    memcpy(y, x, (size_t)n * sizeof(float));
    return y;
}

/* The same operation by plain loops and by every cpu: the outputs start from the same numbers. */
#define MAX_OUTPUTS 3
typedef struct outputs {
    float *out[MAX_OUTPUTS];
    int64_t n[MAX_OUTPUTS];
    int count;
} outputs;
static void compare(const char *what, void (*run)(const vdm_cpu *cpu, void *args, float *const *out),
                    void *args, const outputs *start)
{
    float *want[MAX_OUTPUTS], *got[MAX_OUTPUTS];
    for (int i = 0; i < start->count; i++) want[i] = copy_of(start->out[i], start->n[i]);
    run(&plain, args, want);
    for (int i = 0; i < start->count; i++) {
        bool finite = true;
        for (int64_t j = 0; j < start->n[i]; j++) finite = finite && isfinite(want[i][j]);
        CHECK(finite, "%s: output %d of the plain loops isn't finite", what, i);
    }
    for (int c = 0; c < n_cpus; c++) {
        for (int i = 0; i < start->count; i++) got[i] = copy_of(start->out[i], start->n[i]);
        run(&cpus[c], args, got);
        for (int i = 0; i < start->count; i++) {
            int64_t j = 0;
            while (j < start->n[i] && memcmp(&got[i][j], &want[i][j], 4) == 0) j++;
            int64_t at = j < start->n[i] ? j : 0;
            CHECK(j == start->n[i], "%s, %s, %d threads: output %d [%lld] is %a, not %a", what,
                  vdm_cpu_name(&cpus[c]), cpus[c].threads, i, (long long)j, (double)got[i][at],
                  (double)want[i][at]);
            free(got[i]);
        }
    }
    for (int i = 0; i < start->count; i++) free(want[i]), free(start->out[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Matmul */

/* n elements of a dtype, at an odd address if they have 16 bits */
static void *weights(int64_t n, vdm_dtype dtype, uint32_t seed, void **memory)
{
    float *x = numbers(n, seed, 0.5f);
    *memory = x;
    if (dtype == VDM_F32) return x;
    char *h = malloc((size_t)n * 2 + 1);
    if (!h) exit(2);
    for (int64_t i = 0; i < n; i++) {
        uint16_t bits = dtype == VDM_F16 ? vdm_to_f16(x[i]) : vdm_to_bf16(x[i]);
        memcpy(h + 1 + 2 * i, &bits, 2);
    }
    free(x);
    *memory = h;
    return h + 1;
}

static void run_matmul(const vdm_cpu *cpu, void *args, float *const *out)
{
    vdm_matmul_args m = *(vdm_matmul_args *)args;
    m.c = out[0];
    cpu->kernels->matmul(cpu, &m);
}

/* form: bit 0 A transposed, bit 1 B transposed, bit 2 nothing side by side, bit 3 accumulate, bit 4 bias */
static void test_matmul(int64_t M, int64_t N, int64_t K, vdm_dtype dtype, int form)
{
    char what[128];
    int64_t gap = form & 4 ? 2 : 1, c_row = N + (form & 4 ? 3 : 0);
    void *memory;
    float *a = numbers(M * K * gap, 1, 1), *bias = numbers(N, 3, 1);
    vdm_matmul_args m = {
        .M = M, .N = N, .K = K, .a = a, .b = weights(K * N * gap, dtype, 2, &memory), .b_dtype = dtype};
    m.a_row = form & 1 ? gap : K * gap, m.a_col = form & 1 ? M * gap : gap;
    m.b_row = form & 2 ? gap : N * gap, m.b_col = form & 2 ? K * gap : gap;
    m.c_row = c_row, m.accumulate = form & 8, m.bias = form & 16 ? bias : NULL;
    outputs o = {{numbers(M * c_row, 4, 1)}, {M * c_row}, 1};
    snprintf(what, sizeof what, "matmul %lldx%lldx%lld %s form %d %s", (long long)M, (long long)N,
             (long long)K, vdm_dtype_name(dtype), form, in_precision());
    compare(what, run_matmul, &m, &o);
    free(a), free(bias), free(memory);
}

/* Three products of one A: the first has a bias, the second accumulates. */
static void run_matmuls(const vdm_cpu *cpu, void *args, float *const *out)
{
    const vdm_matmul_args *first = args, *second = first->also, *third = second->also;
    vdm_matmul_args c = *third, b = *second, a = *first;
    a.c = out[0], b.c = out[1], c.c = out[2];
    a.also = &b, b.also = &c;
    cpu->kernels->matmul(cpu, &a);
}
static void test_matmul_also(int64_t M, int64_t K, int64_t N1, int64_t N2, int64_t N3)
{
    static const vdm_dtype dtypes[] = {VDM_F32, VDM_BF16, VDM_F16};
    const int64_t N[] = {N1, N2, N3};
    char what[128];
    void *memory[3];
    float *x = numbers(M * K, 1, 1), *bias = numbers(N1, 3, 1);
    vdm_matmul_args m[3];
    outputs o = {{0}, {0}, 3};
    for (int i = 0; i < 3; i++) {
        m[i] = (vdm_matmul_args){
            .M = M, .N = N[i], .K = K, .a = x, .a_row = K, .a_col = 1, .b_row = 1, .b_col = K};
        m[i].b = weights(K * N[i], dtypes[i], 5 + (uint32_t)i, &memory[i]), m[i].b_dtype = dtypes[i];
        m[i].c_row = N[i], m[i].accumulate = i == 1, m[i].bias = i == 0 ? bias : NULL;
        m[i].also = i < 2 ? &m[i + 1] : NULL;
        o.out[i] = numbers(M * N[i], 8 + (uint32_t)i, 1), o.n[i] = M * N[i];
    }
    snprintf(what, sizeof what, "matmul %lldx(%lld, %lld, %lld)x%lld %s", (long long)M, (long long)N1,
             (long long)N2, (long long)N3, (long long)K, in_precision());
    compare(what, run_matmuls, m, &o);
    for (int i = 0; i < 3; i++) free(memory[i]);
    free(x), free(bias);
}

/* More products than go together: the k-th is A times k. */
static void test_many_products(void)
{
    enum { COUNT = 9, M = 20, N = 64, K = 33 };
    float *a = numbers(M * K, 1, 1), *b = numbers(K * N, 2, 1), *c = numbers(COUNT * M * N, 3, 1),
          *want = numbers(M * N, 4, 1);
    vdm_matmul_args m[COUNT];
    for (int i = 0; i < COUNT; i++)
        m[i] = (vdm_matmul_args){.M = M,
                                 .N = N,
                                 .K = K,
                                 .a = a,
                                 .a_row = K,
                                 .a_col = 1,
                                 .b = b,
                                 .b_dtype = VDM_F32,
                                 .b_row = N,
                                 .b_col = 1,
                                 .c = c + i * M * N,
                                 .c_row = N,
                                 .also = i + 1 < COUNT ? &m[i + 1] : NULL};
    for (int i = 0; i < n_cpus; i++) {
        cpus[i].kernels->matmul(&cpus[i], m);
        vdm_matmul_args alone = m[0];
        alone.c = want, alone.also = NULL;
        plain.kernels->matmul(&cpus[i], &alone);
        for (int k = 0; k < COUNT; k++)
            CHECK(memcmp(c + k * M * N, want, M * N * sizeof *c) == 0, "%s: product %d of %d",
                  vdm_cpu_name(&cpus[i]), k, COUNT);
        memset(c, 0, COUNT * M * N * sizeof *c);
    }
    free(a), free(b), free(c), free(want);
}

static void test_matmuls(void)
{
    static const int sizes[] = {0, 1, 7, 8, 9, 15, 17, 33, 65};
    static const vdm_dtype dtypes[] = {VDM_F32, VDM_F16, VDM_BF16};
    int n = (int)(sizeof sizes / sizeof *sizes), form = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++)
            for (int k = 0; k < n; k++, form++)
                test_matmul(sizes[i], sizes[j], sizes[k], dtypes[form % 3], form % 32);
    for (form = 0; form < 32; form++) test_matmul(34, 50, 300, dtypes[form % 3], form);
    test_matmul(3, 40, 2100, VDM_BF16, 2); /* more than one depth */
    test_matmul(65, 33, 1300, VDM_F32, 8);
    test_matmul(1, 3072, 257, VDM_F16, 18); /* more than one width */
    test_matmul(15, 1600, 33, VDM_F32, 0);
    test_matmul(1100, 17, 40, VDM_F32, 16);      /* more than one height */
    test_matmul(1100, 3, 300, VDM_BF16, 16 + 8); /* turned */
    test_matmul(350, 48, 520, VDM_BF16, 2);
    test_matmul(340, 1600, 17, VDM_F32, 2 + 8); /* more than one width of more than one height */
    test_matmul(40, 33, 3300, VDM_BF16, 1 + 8); /* more than amx's depth */
    test_many_products();
    test_matmul_also(40, 300, 64, 96, 32);
    test_matmul_also(700, 70, 64, 32, 17); /* more than one height */
    test_matmul_also(9, 130, 48, 33, 64);  /* not whole panels */
    test_matmul_also(40, 20, 3, 64, 5);    /* the first one turned */
    test_matmul_also(15, 1100, 1536, 64, 64);
    test_matmul_also(17, 0, 32, 32, 0);
    test_matmul_also(0, 8, 32, 0, 16);
}

/* ------------------------------------------------------------------------------------------------
 * Convolution */

static void run_conv(const vdm_cpu *cpu, void *args, float *const *out)
{
    vdm_conv_args c = *(vdm_conv_args *)args;
    c.y = out[0];
    cpu->kernels->conv(cpu, &c);
}

static void test_conv(int in, int out, int kt, int k, int stride, int pad, int T, int H, int W,
                      vdm_dtype dtype, bool extras)
{
    char what[128];
    void *memory;
    vdm_conv w = {.in = in, .out = out, .kt = kt, .k = k};
    int64_t rows = (int64_t)kt * k * k * in, pixels;
    vdm_conv_args c = {.T = T, .H = H, .W = W, .stride = stride, .pad = pad, .w = &w};
    c.Ho = (H + 2 * pad - k) / stride + 1, c.Wo = (W + 2 * pad - k) / stride + 1;
    if (stride == 2 && pad == 0)
        c.Ho = (H + 1 - k) / 2 + 1, c.Wo = (W + 1 - k) / 2 + 1; /* a zero at the end only */
    pixels = (int64_t)T * c.Ho * c.Wo;
    w.weight.data = weights(rows * out, dtype, 5, &memory), w.weight.dtype = dtype;
    w.weight.rows = rows, w.weight.cols = out;
    float *x = numbers((int64_t)(T + kt) * H * W * in, 6, 1), *bias = numbers(out, 7, 1);
    float *residual = numbers(pixels * out, 8, 1);
    const float *frames[16]; /* the context is frame 0 again */
    for (int t = 0; t < T + kt - 1; t++) frames[t] = x + (int64_t)(t < kt ? 0 : t - kt + 1) * H * W * in;
    c.frames = frames;
    if (extras) w.bias = bias, c.residual = residual;
    if (in >= VDM_WINOGRAD_MIN && out >= VDM_WINOGRAD_MIN && stride == 1) /* at any size */
        c.transformed = numbers((int64_t)vdm_winograd_floats(kt, in, out), 10, 1);
    outputs o = {{numbers(pixels * out, 9, 1)}, {pixels * out}, 1};
    snprintf(what, sizeof what, "conv %d->%d %dx%dx%d stride %d pad %d, %dx%dx%d %s %s", in, out, kt, k, k,
             stride, pad, T, H, W, vdm_dtype_name(dtype), in_precision());
    compare(what, run_conv, &c, &o);
    free(x), free(bias), free(residual), free(memory), free(c.transformed);
}

/* By rule 7, of which the smallest is enough under the sanitizers: in amx that takes minutes. */
static void test_winograd(void)
{
    test_conv(128, 128, 1, 3, 1, 1, 1, 5, 6, VDM_F32, true);
}
static void test_winograds(void)
{
    test_winograd();
    test_conv(160, 130, 1, 3, 1, 1, 2, 3, 5, VDM_BF16, true); /* outputs over the edge */
    test_conv(128, 128, 2, 3, 1, 1, 1, 1, 1, VDM_F16, false);
    test_conv(384, 128, 3, 3, 1, 1, 1, 2, 2, VDM_F32, false); /* 9 chains, 3 passes of amx */
    test_conv(128, 144, 1, 3, 1, 1, 2, 17, 15, VDM_BF16,
              true);                                          /* 144 squares: more than one thread's, twice */
    test_conv(128, 128, 1, 3, 1, 1, 0, 5, 5, VDM_F32, false); /* no frame */
}

static void test_convs(void)
{
    static const int channels[] = {1, 3, 16, 33};
    static const vdm_dtype dtypes[] = {VDM_F32, VDM_F16, VDM_BF16};
    int n = 0;
    for (int i = 0; i < 4; i++) {
        for (int o = 0; o < 4; o++) {
            for (int form = 0; form < 4; form++, n++) {
                int kt = form & 1 ? 3 : 1, stride = form & 2 ? 2 : 1, pad = form & 2 ? n & 1 : 1;
                test_conv(channels[i], channels[o], kt, 3, stride, pad, 1 + n % 3, 5 + n % 4, 7 + n % 5,
                          dtypes[n % 3], n & 1);
            }
        }
    }
    test_conv(16, 33, 1, 1, 1, 0, 2, 9, 5, VDM_F32, true);
    test_conv(65, 40, 3, 3, 1, 1, 2, 6, 9, VDM_BF16, true);  /* K = 1755: two depths */
    test_conv(3, 17, 3, 3, 1, 1, 2, 20, 30, VDM_F32, false); /* 1200 pixels: two heights */
    test_conv(20, 3, 3, 3, 1, 1, 1, 30, 60, VDM_F16, true);  /* turned, two widths */
    test_conv(32, 20, 3, 3, 1, 1, 2, 9, 11, VDM_BF16, true); /* runs of whole blocks of amx */
    test_conv(160, 3, 3, 3, 1, 1, 1, 9, 11, VDM_F32, false); /* turned, K = 4320: more than amx's depth */
    test_conv(4, 4, 1, 3, 1, 1, 0, 5, 5, VDM_F32, false);    /* no frame */
    /* pixels in the lanes (conv_strips.c) */
    test_conv(3, 17, 3, 3, 1, 1, 2, 3, 200, VDM_BF16, true);  /* three strips */
    test_conv(16, 3, 2, 3, 1, 1, 4, 6, 33, VDM_F32, true);    /* one pixel over a vector */
    test_conv(11, 30, 1, 3, 1, 1, 2, 5, 64, VDM_F16, false);  /* odd channels: pairs across taps */
    test_conv(130, 5, 3, 3, 1, 1, 5, 3, 97, VDM_F32, false);  /* frames one after the other */
    test_conv(7, 21, 2, 5, 1, 2, 3, 7, 31, VDM_F32, true);    /* windows of 5 x 5 */
    test_conv(40, 128, 3, 3, 1, 1, 1, 2, 48, VDM_F32, false); /* two heights of tiles, over the last */
    test_conv(8, 9, 1, 4, 1, 0, 2, 6, 20, VDM_BF16, false);   /* no border, even window */
}

/* ------------------------------------------------------------------------------------------------
 * Attention */

struct attention_case {
    vdm_attention_args a;
    bool backward;
};
static void run_attention(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct attention_case *c = args;
    vdm_attention_args a = c->a;
    if (cpu->scratch) /* NaN: what is not written must not be read */
        memset(cpu->scratch, 0xff, cpu->kernels->scratch_floats(cpu->threads) * sizeof(float));
    if (c->backward) {
        a.dq = out[0], a.dk = out[1], a.dv = out[2];
        cpu->kernels->attention_backward(cpu, &a);
    } else {
        a.o = out[0], a.lse = out[1], a.d_o = NULL;
        cpu->kernels->attention_forward(cpu, &a);
    }
}

static void test_attention(int B, int A, int S, int Dh, bool backward)
{
    char what[128];
    int64_t n = (int64_t)B * S * A * Dh, rows = (int64_t)B * A * S;
    float *q = numbers(n, 10, 3), *k = numbers(n, 11, 3), *v = numbers(n, 12, 1), *d_o = numbers(n, 13, 1);
    float *o = numbers(n, 0, 0), *lse = numbers(rows, 0, 0);
    struct attention_case c = {
        {.B = B, .A = A, .S = S, .Dh = Dh, .q = q, .k = k, .v = v, .o = o, .lse = lse, .d_o = d_o}, backward};
    snprintf(what, sizeof what, "attention %s B %d A %d S %d Dh %d %s", backward ? "backward" : "forward", B,
             A, S, Dh, in_precision());
    if (backward) {
        plain.kernels->attention_forward(&plain, &c.a);
        outputs gradients = {{numbers(n, 14, 1), numbers(n, 15, 1), numbers(n, 16, 1)}, {n, n, n}, 3};
        compare(what, run_attention, &c, &gradients);
    } else {
        outputs forward = {{numbers(n, 14, 1), numbers(rows, 15, 1)}, {n, rows}, 2};
        compare(what, run_attention, &c, &forward);
    }
    free(q), free(k), free(v), free(d_o), free(o), free(lse);
}

static void test_attentions(void)
{
    static const int cases[][4] = {{1, 1, 1, 16},   {2, 3, 5, 16},   {1, 2, 17, 5},
                                   {1, 1, 33, 256}, {2, 2, 48, 32},  {1, 1, 129, 64},
                                   {1, 2, 257, 24}, {1, 1, 513, 48}, {1, 1, 1030, 16}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        test_attention(cases[i][0], cases[i][1], cases[i][2], cases[i][3], false);
        test_attention(cases[i][0], cases[i][1], cases[i][2], cases[i][3], true);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Rules 5 and 6: what rounding to bf16, the order of numbers and denormal ones come to */

static float float_of(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* y (+)= sum of a[k] b[k], k < n: expected to be `want` on every cpu (any NaN is as good as another) */
static void check_sum(const float *a, const float *b, int n, bool add, float y, float want)
{
    for (int c = -1; c < n_cpus; c++) {
        const vdm_cpu *cpu = c < 0 ? &plain : &cpus[c];
        float got = y;
        vdm_matmul_args m = {.M = 1,
                             .N = 1,
                             .K = n,
                             .a = a,
                             .a_row = n,
                             .a_col = 1,
                             .b = b,
                             .b_row = 1,
                             .b_col = 1,
                             .c = &got,
                             .c_row = 1,
                             .accumulate = add};
        cpu->kernels->matmul(cpu, &m);
        CHECK(isnan(want) ? isnan(got) : memcmp(&got, &want, 4) == 0, "%s, %s: %a * %a ... is %a, not %a",
              cpu->kernels->name, in_precision(), (double)a[0], (double)b[0], (double)got, (double)want);
    }
}

static void test_bf16(bool amx)
{
    static const uint32_t rounded[][2] = {
        {0x3f808000, 0x3f800000}, {0x3f808001, 0x3f810000}, {0x3f818000, 0x3f820000}, /* ties to even */
        {0xbf817fff, 0xbf810000}, {0x7f7f7fff, 0x7f7f0000}, {0x7f7f8000, 0x7f800000}, /* to infinity */
        {0xff800000, 0xff800000}, {0x7f800001, 0x7fc00000}, {0x7fffffff, 0x7fc00000}, /* NaN stays */
        {0x00800000, 0x00800000}, {0x007fffff, 0x00000000}, {0x80000001, 0x80000000}, /* denormals */
    };
    const float one = 1, zeros[4] = {0}, tiny = FLT_MIN;
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        float x = float_of(rounded[i][0]), want = float_of(rounded[i][1]);
        /* a chain begins at 0, and 0 + -0 is 0 */
        check_sum(&x, &one, 1, false, 0, want == 0 ? 0 : want);
        check_sum(&one, &x, 1, false, 0, want == 0 ? 0 : want);
    }
    /* odd first: 2^24 + 1 is 2^24, less 2^24 is 0; even first, or alone: 2^24 - 2^24 + 1 */
    const float order[4] = {0x1p24f, 0, -0x1p24f, 1}, ones[4] = {1, 1, 1, 1};
    check_sum(order, ones, 4, false, 0, amx ? 1 : 0);
    /* FLT_MIN less 2^-149, 2^-150, 2^-151: as 24 bits the first two are below FLT_MIN, the last is not. Alone
     * each of them is 0. */
    for (int e = 149; e <= 151; e++) {
        const float a[2] = {-ldexpf(1, -75), tiny}, b[2] = {ldexpf(1, 75 - e), 1};
        check_sum(a, b, 2, false, 0, e < 151 && !amx ? 0 : tiny);
    }
    /* adding a piece: denormal sums, and what was there before, are 0 */
    check_sum(zeros, ones, 2, true, 0.5f * tiny, 0);
    check_sum(zeros, ones, 2, true, -0.5f * tiny, 0);
    const float minus = -1.5f * tiny;
    check_sum(&minus, &one, 1, true, 1.25f * tiny, -0.0f);
    check_sum(&minus, &one, 1, true, tiny * 3, tiny * 1.5f);
}

/* Products of about FLT_MIN: what of them is denormal must be so everywhere. */
static void test_tiny_products(int64_t M, int64_t N, int64_t K)
{
    char what[128];
    float *a = numbers(M * K, 1, 1.5e-19f), *b = numbers(K * N, 2, 1.5e-19f);
    vdm_matmul_args m = {.M = M,
                         .N = N,
                         .K = K,
                         .a = a,
                         .a_row = K,
                         .a_col = 1,
                         .b = b,
                         .b_row = N,
                         .b_col = 1,
                         .c_row = N,
                         .accumulate = true};
    outputs o = {{numbers(M * N, 4, 3e-38f)}, {M * N}, 1};
    snprintf(what, sizeof what, "matmul of tiny numbers %s", in_precision());
    compare(what, run_matmul, &m, &o);
    free(a), free(b);
}

/* L = sum of weight * o, in double, straight from the definition of attention. x: q, k, v one after the
 * other. */
static double attention_loss(const double *x, const float *weight, int S, int Dh)
{
    const double *q = x, *k = x + S * Dh, *v = k + S * Dh;
    double loss = 0;
    for (int i = 0; i < S; i++) {
        double l = 0, o = 0;
        for (int j = 0; j < S; j++) {
            double s = 0, value = 0;
            for (int d = 0; d < Dh; d++)
                s += q[i * Dh + d] * k[j * Dh + d], value += weight[i * Dh + d] * v[j * Dh + d];
            double p = vdm_exp(s / sqrt((double)Dh));
            l += p, o += p * value;
        }
        loss += o / l;
    }
    return loss;
}

static void test_attention_gradient(int S, int Dh, int step)
{
    int n = S * Dh;
    float *x = numbers(3 * n, 20, 1.5f), *d_o = numbers(n, 21, 1), *o = numbers(n, 0, 0),
          *lse = numbers(S, 0, 0);
    float *got = numbers(3 * n, 0, 0);
    double *exact = malloc((size_t)(3 * n) * sizeof(double)), worst = 0, size = 0;
    if (!exact) exit(2);
    for (int i = 0; i < 3 * n; i++) exact[i] = (double)x[i];
    vdm_attention_args a = {.B = 1,
                            .A = 1,
                            .S = S,
                            .Dh = Dh,
                            .q = x,
                            .k = x + n,
                            .v = x + 2 * n,
                            .o = o,
                            .lse = lse,
                            .d_o = d_o,
                            .dq = got,
                            .dk = got + n,
                            .dv = got + 2 * n};
    plain.kernels->attention_forward(&plain, &a);
    plain.kernels->attention_backward(&plain, &a);
    for (int i = 0; i < 3 * n; i += step) {
        double h = 1e-4;
        exact[i] = (double)x[i] + h;
        double up = attention_loss(exact, d_o, S, Dh);
        exact[i] = (double)x[i] - h;
        double slope = (up - attention_loss(exact, d_o, S, Dh)) / (2 * h);
        exact[i] = (double)x[i];
        worst = fmax(worst, fabs(slope - (double)got[i])), size = fmax(size, fabs(slope));
    }
    CHECK(worst < 3e-6 * size, "attention gradient S %d Dh %d: off by %g of %g", S, Dh, worst, size);
    free(x), free(d_o), free(o), free(lse), free(got), free(exact);
}

/* ------------------------------------------------------------------------------------------------
 * Norms */

struct norm_case {
    vdm_rows r;
    vdm_norm n;
    vdm_modulation m;
    const float *x, *dy;
    float *mean, *rstd;
    bool add;
};
static void run_layer_norm(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct norm_case *c = args;
    vdm_norm_args n = {.rows = c->r,
                       .y = out[0],
                       .x = c->x,
                       .norm = &c->n,
                       .modulation = c->m,
                       .eps = 1e-5f,
                       .mean = out[1],
                       .rstd = out[2]};
    cpu->kernels->layer_norm(cpu, &n);
}
static void run_layer_norm_backward(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct norm_case *c = args;
    vdm_norm_args n = {.rows = c->r,
                       .dx = out[0],
                       .dy = c->add ? c->dy : out[0],
                       .x = c->x,
                       .norm = &c->n,
                       .modulation = c->m,
                       .mean = c->mean,
                       .rstd = c->rstd,
                       .add = c->add};
    cpu->kernels->layer_norm_backward(cpu, &n);
}
static void run_gated_add(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct norm_case *c = args;
    cpu->kernels->gated_add(cpu, out[0], c->add ? out[0] : c->dy, c->x, &c->r, &c->m);
}
static void run_gate(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct norm_case *c = args;
    cpu->kernels->gate(cpu, out[0], c->x, &c->r, &c->m);
}

static void test_layer_norm(int B, int S, int L, int D, bool modulated)
{
    char what[128];
    int64_t rows = (int64_t)B * S, n = rows * D, stride = 6 * D + 1;
    float *x = numbers(n, 30, 2), *dy = numbers(n, 31, 1), *gamma = numbers(D, 32, 1),
          *beta = numbers(D, 33, 1);
    float *vectors = numbers(B * stride, 34, 1), *mean = numbers(rows, 0, 0), *rstd = numbers(rows, 0, 0);
    struct norm_case c = {
        .r = {B, S, L, D}, .n = {gamma, beta}, .x = x, .dy = dy, .mean = mean, .rstd = rstd};
    if (modulated)
        c.m = (vdm_modulation){.text_scale = vectors,
                               .text_shift = vectors + D,
                               .scale = vectors + 2 * D,
                               .shift = vectors + 3 * D,
                               .text_gate = vectors + 4 * D,
                               .gate = vectors + 5 * D,
                               .stride = stride};
    float *to[3] = {numbers(n, 0, 0), mean, rstd};
    run_layer_norm(&plain, &c, to);
    free(to[0]);
    for (int i = 0; i < 6; i++) {
        static const char *const names[] = {"layer_norm", "layer_norm_backward", "layer_norm_backward +=",
                                            "gated_add",  "gated_add +=",        "gate"};
        outputs o = {{numbers(n, 35, 1)}, {n}, 1};
        c.add = i == 2 || i == 4;
        if (i >= 3 && !modulated) {
            free(o.out[0]);
            break;
        }
        if (i == 0)
            o.out[1] = numbers(rows, 0, 0), o.out[2] = numbers(rows, 0, 0), o.n[1] = o.n[2] = rows,
            o.count = 3;
        snprintf(what, sizeof what, "%s [%d,%d,%d] L %d%s", names[i], B, S, D, L,
                 modulated ? " modulated" : "");
        compare(what,
                i == 0  ? run_layer_norm
                : i < 3 ? run_layer_norm_backward
                : i < 5 ? run_gated_add
                        : run_gate,
                &c, &o);
    }
    free(x), free(dy), free(gamma), free(beta), free(vectors), free(mean), free(rstd);
}

/* L = sum of weight * layer_norm(x) of one row, in double */
static double norm_loss(const double *x, const float *weight, const float *gamma, const float *scale, int D)
{
    double mean = 0, squares = 0, loss = 0;
    for (int d = 0; d < D; d++) mean += x[d] / D;
    for (int d = 0; d < D; d++) squares += (x[d] - mean) * (x[d] - mean) / D;
    for (int d = 0; d < D; d++)
        loss += (double)weight[d] * (1 + (double)scale[d]) * (double)gamma[d] * (x[d] - mean) /
                sqrt(squares + 1e-5);
    return loss;
}

static void test_layer_norm_gradient(void)
{
    enum { D = 33 };
    float *x = numbers(D, 40, 2), *dy = numbers(D, 41, 1), *gamma = numbers(D, 42, 1),
          *scale = numbers(D, 43, 1);
    float y[D], dx[D] = {0}, mean, rstd;
    double exact[D];
    vdm_norm n = {gamma, gamma};
    vdm_norm_args args = {.rows = {1, 1, 0, D},
                          .y = y,
                          .x = x,
                          .norm = &n,
                          .eps = 1e-5f,
                          .modulation = {.scale = scale, .shift = scale},
                          .mean = &mean,
                          .rstd = &rstd,
                          .dx = dx,
                          .dy = dy};
    plain.kernels->layer_norm(&plain, &args);
    plain.kernels->layer_norm_backward(&plain, &args);
    for (int d = 0; d < D; d++) exact[d] = (double)x[d];
    for (int d = 0; d < D; d++) {
        double h = 1e-4;
        exact[d] = (double)x[d] + h;
        double up = norm_loss(exact, dy, gamma, scale, D);
        exact[d] = (double)x[d] - h;
        double slope = (up - norm_loss(exact, dy, gamma, scale, D)) / (2 * h);
        exact[d] = (double)x[d];
        CHECK(fabs(slope - (double)dx[d]) < 1e-6, "layer norm gradient %d: %g, not %g", d, (double)dx[d],
              slope);
    }
    free(x), free(dy), free(gamma), free(scale);
}

struct group_case {
    const float *x, *mean, *rstd, *times, *plus;
    vdm_norm n;
    const int32_t *index;
    int64_t P;
    int C, groups;
    bool silu;
};
static void run_group_stats(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct group_case *c = args;
    cpu->kernels->group_norm_stats(cpu, out[0], out[1], c->x, c->P, c->C, c->groups, 1e-6f);
}
static void run_group_norm(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct group_case *c = args;
    vdm_group_norm_args n = {.P = c->P,
                             .C = c->C,
                             .groups = c->groups,
                             .y = out[0],
                             .x = c->x,
                             .mean = c->mean,
                             .rstd = c->rstd,
                             .norm = &c->n,
                             .times = c->times,
                             .plus = c->plus,
                             .index = c->index,
                             .silu = c->silu};
    cpu->kernels->group_norm(cpu, &n);
}

static void test_group_norm(int P, int C, int groups, bool spatial, bool silu)
{
    char what[128];
    int64_t n = (int64_t)P * C;
    float *x = numbers(n, 50, 2), *gamma = numbers(C, 51, 1), *beta = numbers(C, 52, 1),
          *times = numbers(7 * C, 53, 1);
    float *plus = numbers(7 * C, 54, 1), *stats[2] = {numbers(groups, 0, 0), numbers(groups, 0, 0)};
    int32_t *index = malloc((size_t)(P + 1) * sizeof *index);
    if (!index) exit(2);
    for (int p = 0; p < P; p++) index[p] = p * 5 % 7;
    struct group_case c = {.x = x, .n = {gamma, beta}, .P = P, .C = C, .groups = groups, .silu = silu};
    if (spatial) c.times = times, c.plus = plus, c.index = index;
    snprintf(what, sizeof what, "group_norm [%d,%d] %d groups%s%s", P, C, groups, spatial ? " spatial" : "",
             silu ? " silu" : "");
    outputs o = {{numbers(groups, 0, 0), numbers(groups, 0, 0)}, {groups, groups}, 2};
    if (P > 0) {
        compare(what, run_group_stats, &c, &o);
        run_group_stats(&plain, &c, stats);
    }
    c.mean = stats[0], c.rstd = stats[1];
    outputs y = {{numbers(n, 55, 1)}, {n}, 1};
    compare(what, run_group_norm, &c, &y);
    if (P == 0) free(o.out[0]), free(o.out[1]);
    free(x), free(gamma), free(beta), free(times), free(plus), free(stats[0]), free(stats[1]), free(index);
}

static void test_norms(void)
{
    static const int widths[] = {1, 7, 15, 16, 17, 33, 64, 3072};
    for (int i = 0; i < 8; i++) {
        test_layer_norm(2, 5, 2, widths[i], true);
        test_layer_norm(1, 13, 0, widths[i], false);
    }
    test_layer_norm(1, 0, 0, 16, false);
    test_layer_norm(1, 700, 0, 64, false); /* enough for threads */
    test_layer_norm_gradient();
    test_group_norm(0, 8, 2, false, false);
    test_group_norm(1, 1, 1, true, true);
    test_group_norm(300, 33, 3, true, true);
    test_group_norm(1025, 48, 4, false, true);
    test_group_norm(3000, 16, 16, true, false);
    test_group_norm(700, 512, 32, false, false);
    test_group_norm(9000, 4096, 32, false, false); /* sums in two rounds */
}

/* ------------------------------------------------------------------------------------------------
 * Elementwise */

struct flat_case {
    const float *x, *z;
    int64_t n;
    int which;
};
static void run_flat(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct flat_case *c = args;
    const vdm_kernels *k = cpu->kernels;
    switch (c->which) {
    case 0:
        k->gelu(cpu, out[0], c->x, c->n);
        break;
    case 1:
        k->gelu_backward(cpu, out[0], out[0], c->x, c->n);
        break;
    case 2:
        k->silu(cpu, out[0], c->x, c->n);
        break;
    case 3:
        k->blend(cpu, out[0], 1.7f, c->x, -0.3f, c->z, c->n);
        break;
    default:
        k->exp(cpu, out[0], c->x, c->n);
        break;
    }
}

struct adamw_case {
    const float *g;
    int64_t n;
    vdm_adamw_factors factors;
};
static void run_adamw(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct adamw_case *c = args;
    for (int64_t i = 0; i < c->n; i++) out[2][i] = fabsf(out[2][i]); /* a mean of squares */
    cpu->kernels->adamw(cpu, out[0], out[1], out[2], c->g, c->n, &c->factors);
}

struct rope_case {
    const float *angles;
    int B, S, L, A, Dh;
    float sign;
};
static void run_rope(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct rope_case *c = args;
    int64_t half = (int64_t)(c->S - c->L) * (c->Dh / 2);
    vdm_rope_args r = {.B = c->B,
                       .S = c->S,
                       .L = c->L,
                       .A = c->A,
                       .Dh = c->Dh,
                       .x = out[0],
                       .cos = c->angles,
                       .sin = c->angles + half,
                       .sign = c->sign};
    cpu->kernels->rope(cpu, &r);
}

static void test_number_by_number(void)
{
    static const char *const names[] = {"gelu", "gelu_backward", "silu", "blend", "exp"};
    static const int64_t sizes[] = {0, 1, 7, 8, 9, 15, 16, 17, 33, 3072, 70001};
    char what[128];
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        float *x = numbers(sizes[s], 60, s % 2 ? 10 : 80), *z = numbers(sizes[s], 61, 1);
        for (int which = 0; which < 5; which++) {
            struct flat_case c = {x, z, sizes[s], which};
            outputs o = {{numbers(sizes[s], 62, 1)}, {sizes[s]}, 1};
            snprintf(what, sizeof what, "%s of %lld", names[which], (long long)sizes[s]);
            compare(what, run_flat, &c, &o);
        }
        struct adamw_case a = {z, sizes[s], {0.9999f, 0.1f, 0.95f, 0.05f, -1e-4f, 0.3f, 1e-8f}};
        outputs o = {{numbers(sizes[s], 65, 1), numbers(sizes[s], 66, 1), numbers(sizes[s], 67, 1)},
                     {sizes[s], sizes[s], sizes[s]},
                     3};
        snprintf(what, sizeof what, "adamw of %lld", (long long)sizes[s]);
        compare(what, run_adamw, &a, &o);
        free(x), free(z);
    }
    for (int i = 0; i < 4; i++) {
        struct rope_case c = {
            .B = 2, .S = 5 + 40 * i, .L = i, .A = 3, .Dh = 16 + 2 * i, .sign = i % 2 ? -1.0f : 1.0f};
        int64_t n = (int64_t)c.B * c.S * c.A * c.Dh;
        float *angles = numbers((int64_t)c.S * c.Dh, 63, 1);
        c.angles = angles;
        outputs o = {{numbers(n, 64, 1)}, {n}, 1};
        snprintf(what, sizeof what, "rope S %d Dh %d", c.S, c.Dh);
        compare(what, run_rope, &c, &o);
        free(angles);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Of the VAE */

static void run_taps(const vdm_cpu *cpu, void *args, float *const *out)
{
    cpu->kernels->sum_taps(cpu, out[0], args);
}
struct enlarge_case {
    const float *x;
    int H, W, C;
};
static void run_enlarge(const vdm_cpu *cpu, void *args, float *const *out)
{
    const struct enlarge_case *c = args;
    cpu->kernels->enlarge(cpu, out[0], c->x, c->H, c->W, c->C);
}

static void test_taps_and_enlarge(void)
{
    static const int widths[][2] = {{1, 1}, {3, 16}, {16, 3}, {33, 40}};
    char what[128];
    for (int i = 0; i < 4; i++) {
        int in = widths[i][0], out = widths[i][1];
        int64_t n = (int64_t)3 * 9 * in * out;
        float *weight = numbers(n, 70, 1);
        vdm_conv w = {.weight = {weight, VDM_F32, 27 * in, out}, .in = in, .out = out, .kt = 3, .k = 3};
        outputs o = {{numbers(n, 71, 1)}, {n}, 1};
        snprintf(what, sizeof what, "sum_taps of %d to %d channels", in, out);
        compare(what, run_taps, &w, &o);
        struct enlarge_case c = {weight, 9, in, out};
        outputs e = {{numbers(4 * 9 * (int64_t)in * out, 72, 1)}, {4 * 9 * (int64_t)in * out}, 1};
        snprintf(what, sizeof what, "enlarge of 9x%dx%d", in, out);
        compare(what, run_enlarge, &c, &e);
        free(weight);
    }
}

/* ------------------------------------------------------------------------------------------------
 * Accuracy of the plain loops */

/* |got - want| in units in the last place of want as f32 */
static double ulps(float got, double want)
{
    int exponent;
    frexp(want, &exponent);
    return fabs((double)got - want) / ldexp(1, (exponent < -125 ? -125 : exponent) - 24);
}

static double gelu_double(double x)
{
    double u = 0.7978845608028654 * (x + 0.044715 * x * x * x);
    return x / (1 + vdm_exp(-2 * u));
}

static void test_accuracy(void)
{
    enum { N = 400000 };
    float *x = numbers(N, 70, 1), *y = numbers(N, 0, 0), *ones = numbers(N, 0, 0);
    double worst = 0, worst_denormal = 0;
    for (int i = 0; i < N; i++) x[i] = x[i] * 95 - 9; /* -104 ... 86 */
    plain.kernels->exp(&plain, y, x, N);
    for (int i = 0; i < N; i++) {
        double *w = x[i] < -87 ? &worst_denormal : &worst;
        *w = fmax(*w, ulps(y[i], vdm_exp((double)x[i])));
    }
    CHECK(worst < 1.0 && worst_denormal < 1.0, "exp: off by %g ulp, %g where denormal", worst,
          worst_denormal);
    float special[4] = {-200, 0, 200, -INFINITY}, of[4];
    plain.kernels->exp(&plain, of, special, 4);
    CHECK(of[0] == 0 && of[1] == 1 && isinf(of[2]) && of[3] == 0, "exp: -200, 0, 200, -inf give %g %g %g %g",
          (double)of[0], (double)of[1], (double)of[2], (double)of[3]);

    double absolute = 0, relative = 0, slope_error = 0;
    for (int i = 0; i < N; i++) x[i] = (x[i] + 9) / 95 * 12, ones[i] = 1; /* -12 ... 12 */
    plain.kernels->gelu(&plain, y, x, N);
    for (int i = 0; i < N; i++) {
        double want = gelu_double((double)x[i]);
        absolute = fmax(absolute, fabs((double)y[i] - want) / fmax(1, fabs(want)));
        if (x[i] > -1) relative = fmax(relative, ulps(y[i], want));
    }
    plain.kernels->gelu_backward(&plain, y, ones, x, N);
    for (int i = 0; i < N; i++) {
        double h = 1e-5, v = (double)x[i], slope = (gelu_double(v + h) - gelu_double(v - h)) / (2 * h);
        slope_error = fmax(slope_error, fabs((double)y[i] - slope));
    }
    CHECK(absolute < 2e-7, "gelu: off by %g", absolute);
    CHECK(relative < 4, "gelu: off by %g ulp above -1", relative);
    CHECK(slope_error < 4e-7, "gelu': off by %g", slope_error);
    printf("kernels: exp %.2f ulp (%.2f where denormal), gelu %.1f ulp above -1, %.1e in all, gelu' %.1e\n",
           worst, worst_denormal, relative, absolute, slope_error);
    free(x), free(y), free(ones);
}

int main(void)
{
    open_cpus();
    test_accuracy();
    static const vdm_precision precisions[] = {VDM_PRECISION_AMX, VDM_PRECISION_BF16, VDM_PRECISION_F32};
    for (int i = 0; i < 3; i++) {
        set_precision(precisions[i]);
        if (precisions[i] != VDM_PRECISION_F32) test_bf16(precisions[i] == VDM_PRECISION_AMX);
        test_tiny_products(33, 50, 700);
        if (FEW_OF_AMX && precisions[i] == VDM_PRECISION_AMX) {
            test_matmul(34, 50, 300, VDM_BF16, 8);
            test_conv(32, 20, 3, 3, 1, 1, 2, 9, 11, VDM_BF16, true);
            test_winograd();
            test_attention(1, 2, 129, 24, true);
            continue;
        }
        test_matmuls();
        test_convs();
        test_winograds();
        test_attentions();
    }
    test_attention_gradient(9, 8, 1);
    test_attention_gradient(300, 16, 997);
    test_norms();
    test_number_by_number();
    test_taps_and_enlarge();
    for (int i = 0; i < n_cpus; i++) vdm_cpu_free(&cpus[i]);
    return check_end("kernels");
}
