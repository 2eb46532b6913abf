/* The transformer on tiny random models of every variant: properties that need no reference. The numbers
 * themselves are compared with diffusers by test_golden.c and by the live peer tests. */
#include "check.h"
#include "tiny.h"
#include "kernels/kernels.h"

#include <math.h>
#include <string.h>

enum { F = 4, H = 4, W = 6, C = 16, L = 5, DT = 24, B = 2, RANK = 3 };

static const char *const names[] = {"2B", "5B", "5B-I2V", "1.5", "1.5-I2V"};

/* One model with inputs of B videos and an adapter whose B is not zero. */
struct bench {
    vdm_transformer m;
    vdm_lora lora;
    int frames, in;
    float x[B * F * 32 * H * W], text[B * L * DT], v[B * F * C * H * W];
    double t[B];
};
static struct bench s;

static int setup(tiny_variant v, vdm_dtype dtype, vdm_targets targets)
{
    vdm_error err;
    char dir[400];
    vdm_rng rng;
    snprintf(dir, sizeof dir, "%s/%d-%d", check_folder(), (int)v, (int)dtype);
    int failed = tiny_write(dir, v, dtype, 7, &err);
    snprintf(dir + strlen(dir), sizeof dir - strlen(dir), "/transformer");
    if (!CHECK(!failed && !vdm_transformer_load(&s.m, dir, &err), "%s: %s", names[v], err.text)) return -1;
    s.in = s.m.config.in_channels;
    s.frames = v >= TINY_15 ? 4 : 3;
    check_random(s.x, sizeof s.x / sizeof s.x[0], 1, 1.5f);
    check_random(s.text, sizeof s.text / sizeof s.text[0], 2, 1);
    s.t[0] = 999;
    s.t[1] = 123;
    vdm_rng_seed(&rng, 3);
    if (vdm_lora_init(&s.lora, &s.m.config, targets, RANK, 2 * RANK, &rng, &err)) return -1;
    for (int l = 0; l < s.lora.layers; l++)
        for (int k = 0; k < (int)targets; k++)
            check_random(vdm_lora_b(&s.lora, s.lora.params, l, (vdm_target)k),
                         RANK * vdm_lora_out(&s.lora, (vdm_target)k), (uint32_t)(100 + 4 * l + k), 0.2f);
    return 0;
}

static void teardown(void)
{
    vdm_lora_free(&s.lora);
    vdm_transformer_free(&s.m);
}

static void forward(const vdm_cpu *cpu, const vdm_lora *lora, int videos, const float *x, const double *t,
                    float *v)
{
    vdm_error err;
    vdm_tape_shape shape = {.B = videos, .F = s.frames, .h = H, .w = W, .rank = lora ? RANK : 0};
    vdm_tape *tape = vdm_tape_new(&s.m, &shape, &err);
    if (!CHECK(tape != NULL, "tape: %s", err.text)) return;
    const vdm_transformer_input in = {x, s.text, t, NULL};
    vdm_transformer_forward(&s.m, lora, cpu, tape, &in, v);
    vdm_tape_free(tape);
}

/* loss = sum of v weight; its gradient is accumulated `times` times; stored: blocks that store their
 * activations, attention: blocks before these that store attention outputs */
static double loss_storing(const vdm_cpu *cpu, const float *weight, float *grad, int times, int stored,
                           int attention)
{
    vdm_error err;
    vdm_tape_shape shape = {
        B, s.frames, H, W, RANK, grad != NULL, stored, attention, s.lora.targets == VDM_ATTENTION_FF};
    vdm_tape *tape = vdm_tape_new(&s.m, &shape, &err);
    int n = B * s.frames * C * H * W;
    double loss = 0;
    const vdm_transformer_input in = {s.x, s.text, s.t, NULL};
    vdm_transformer_forward(&s.m, &s.lora, cpu, tape, &in, s.v);
    for (int i = 0; i < n; i++) loss += (double)s.v[i] * (double)weight[i];
    for (int i = 0; i < times; i++) vdm_transformer_backward(&s.m, &s.lora, cpu, tape, weight, grad, NULL);
    vdm_tape_free(tape);
    return loss;
}
static double loss_and_gradient(const vdm_cpu *cpu, const float *weight, float *grad, int times)
{
    return loss_storing(cpu, weight, grad, times, 0, 0);
}

/* Weights that are read a block ahead, and given back, give the same gradient. */
static void check_streamed(const vdm_cpu *cpu, const char *name)
{
    static float weight[B * F * C * H * W];
    vdm_error err;
    int64_t n = vdm_lora_count(&s.lora);
    check_random(weight, sizeof weight / sizeof weight[0], 8, 1);
    size_t block, all = vdm_transformer_bytes(&s.m, &block);
    float *grad = vdm_alloc((size_t)n, sizeof(float), "a test", &err),
          *same = vdm_alloc((size_t)n, sizeof(float), "a test", &err);
    double loss = loss_and_gradient(cpu, weight, grad, 1);
    CHECK(vdm_transformer_stream(&s.m, all - 1, &err) == 0 && s.m.stream, "%s: %s", name, err.text);
    CHECK(loss_and_gradient(cpu, weight, same, 1) == loss && check_same_bits(same, grad, n * 4),
          "%s: streamed weights give other bits", name);
    CHECK(vdm_transformer_stream(&s.m, all, &err) == 0 && !s.m.stream && block < all, "%s: a stream", name);
    vdm_free(grad);
    vdm_free(same);
}

static void check_forward(const vdm_cpu *cpu, const char *name)
{
    static float alone[B * F * C * H * W], other[B * F * C * H * W];
    int64_t one = (int64_t)s.frames * C * H * W, in = (int64_t)s.frames * s.in * H * W;
    forward(cpu, &s.lora, B, s.x, s.t, s.v);
    CHECK(check_distance(s.v, s.v, B * one) == 0, "%s: output is not finite", name);
    forward(cpu, &s.lora, 1, s.x, s.t, alone);
    CHECK(check_same_bits(alone, s.v, one * 4), "%s: the first of a batch differs from itself alone", name);
    forward(cpu, &s.lora, 1, s.x, s.t + 1, other);
    CHECK(check_distance(other, alone, one) > 1e-3, "%s: the timestep has no effect", name);
    float saved = s.x[in - 1];
    s.x[in - 1] +=
        1; /* last column of the last channel of the last frame: an image channel in image-to-video */
    forward(cpu, &s.lora, 1, s.x, s.t, other);
    CHECK(check_distance(other, alone, one) > 1e-5, "%s: the last input number has no effect", name);
    s.x[in - 1] = saved;
    vdm_cpu more = *cpu;
    vdm_error err;
    for (int threads = 1; threads <= 3; threads++) {
        vdm_cpu_init(&more, threads, &err);
        forward(&more, &s.lora, B, s.x, s.t, other);
        CHECK(check_same_bits(other, s.v, B * one * 4), "%s: %d threads give other bits", name, threads);
        vdm_cpu_free(&more);
    }
}

static vdm_linear *linear_of(int block, vdm_target t)
{
    vdm_block *b = &s.m.blocks[block];
    vdm_linear *all[] = {&b->q, &b->k, &b->v, &b->out, &b->ff_up, &b->ff_down};
    return all[t];
}

/* to [out,in] = W + s B A of one module */
static void merge(float *to, const vdm_linear *w, int block, vdm_target t)
{
    const float *a = vdm_lora_a(&s.lora, s.lora.params, block, t),
                *b = vdm_lora_b(&s.lora, s.lora.params, block, t);
    int64_t in = vdm_lora_in(&s.lora, t), out = vdm_lora_out(&s.lora, t);
    vdm_widen(to, w->weight.data, w->weight.dtype, out * in);
    for (int64_t o = 0; o < out; o++)
        for (int64_t k = 0; k < in; k++)
            for (int r = 0; r < RANK; r++) to[o * in + k] += s.lora.scale * b[o * RANK + r] * a[r * in + k];
}

/* W + s B A in place of the adapter: the same function up to rounding. */
static void check_merged(const vdm_cpu *cpu, const char *name)
{
    static float merged[12][4 * 64 * 64], v[B * F * C * H * W];
    vdm_linear saved[12];
    int64_t n = (int64_t)B * s.frames * C * H * W;
    int targets = (int)s.lora.targets, modules = s.lora.layers * targets;
    forward(cpu, &s.lora, B, s.x, s.t, s.v);
    for (int i = 0; i < modules; i++) {
        vdm_linear *w = linear_of(i / targets, (vdm_target)(i % targets));
        saved[i] = *w;
        merge(merged[i], w, i / targets, (vdm_target)(i % targets));
        w->weight = (vdm_matrix){merged[i], VDM_F32, w->weight.rows, w->weight.cols, 0};
    }
    forward(cpu, NULL, B, s.x, s.t, v);
    double distance = check_distance(v, s.v, n);
    CHECK(distance < 2e-6, "%s: merged adapter: distance %.2e", name, distance);
    for (int i = 0; i < modules; i++) *linear_of(i / targets, (vdm_target)(i % targets)) = saved[i];
    forward(cpu, NULL, B, s.x, s.t, v);
    CHECK(check_distance(v, s.v, n) > 1e-3, "%s: the adapter has no effect", name);
}

/* Every A and every B on its own: the derivative along a random direction against a central difference. */
static void check_gradients(const vdm_cpu *cpu, const char *name)
{
    static float weight[B * F * C * H * W], direction[4 * 64 * RANK];
    int64_t count = vdm_lora_count(&s.lora);
    vdm_error err;
    float *grad = vdm_alloc((size_t)count, sizeof(float), "gradient", &err);
    float *twice = vdm_alloc((size_t)count, sizeof(float), "gradient", &err);
    check_random(weight, sizeof weight / sizeof weight[0], 5, 1);
    loss_and_gradient(cpu, weight, grad, 1);
    loss_and_gradient(cpu, weight, twice, 2);
    double worst = 0;
    for (int64_t i = 0; i < count; i++) worst = fmax(worst, fabs((double)twice[i] - 2 * (double)grad[i]));
    CHECK(worst < 1e-3, "%s: gradients do not add up: %.2e", name, worst);
    for (int part = 0; part < vdm_lora_matrices(&s.lora); part++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(&s.lora, s.lora.params, part);
        const float *g = vdm_lora_matrix_at(&s.lora, grad, part).data;
        const int64_t each = m.shape[0] * m.shape[1];
        float *p = m.data, eta = 2e-3f;
        double expected = 0, length = 0, up, down;
        check_random(direction, each, (uint32_t)(900 + part), 1);
        for (int64_t i = 0; i < each; i++) {
            expected += (double)g[i] * (double)direction[i];
            length += (double)g[i] * (double)g[i];
        }
        for (int64_t i = 0; i < each; i++) p[i] += eta * direction[i];
        up = loss_and_gradient(cpu, weight, NULL, 0);
        for (int64_t i = 0; i < each; i++) p[i] -= 2 * eta * direction[i];
        down = loss_and_gradient(cpu, weight, NULL, 0);
        for (int64_t i = 0; i < each; i++) p[i] += eta * direction[i];
        double found = (up - down) / (2 * (double)eta), scale = sqrt(length);
        CHECK(length > 0, "%s: %s has no gradient", name, m.name);
        CHECK(fabs(found - expected) < 0.02 * scale, "%s: %s: derivative %.6g, difference %.6g", name, m.name,
              expected, found);
    }
    vdm_free(grad);
    vdm_free(twice);
}

/* How often attention ran forward: kernels that count it */
static const vdm_kernels *counted_of;
static int attentions;
static void count_attention(const vdm_cpu *cpu, const vdm_attention_args *a)
{
    attentions++;
    counted_of->attention_forward(cpu, a);
}

/* All activations stored, or only attention's, or recomputed, for every block or for one: the same bits. */
static void check_stored(const vdm_cpu *cpu, const char *name)
{
    static float weight[B * F * C * H * W];
    int64_t count = vdm_lora_count(&s.lora);
    vdm_error err;
    static const int stored[][2] = {{0, 0}, {1, 0}, {2, 0}, {0, 1}, {0, 2}, {1, 1}, {7, 7}};
    float *grad[2];
    check_random(weight, sizeof weight / sizeof weight[0], 7, 1);
    for (int i = 0; i < 2; i++) grad[i] = vdm_alloc((size_t)count, sizeof(float), "gradient", &err);
    vdm_kernels counting = *cpu->kernels;
    vdm_cpu counter = *cpu;
    counted_of = cpu->kernels, counting.attention_forward = count_attention, counter.kernels = &counting;
    for (int i = 0; i < (int)(sizeof stored / sizeof stored[0]); i++) {
        int recomputed = s.m.config.layers - stored[i][0] - stored[i][1];
        memset(grad[i > 0], 0, (size_t)count * sizeof(float));
        attentions = 0;
        loss_storing(&counter, weight, grad[i > 0], 2, stored[i][0], stored[i][1]);
        CHECK(attentions == s.m.config.layers + 2 * (recomputed > 0 ? recomputed : 0),
              "%s: %d blocks that store all, %d attention: attention ran %d times", name, stored[i][0],
              stored[i][1], attentions);
        CHECK(i == 0 || check_same_bits(grad[1], grad[0], count * 4),
              "%s: %d blocks that store all, %d attention: different bits", name, stored[i][0], stored[i][1]);
    }
    for (int i = 0; i < 2; i++) vdm_free(grad[i]);
}

/* B = 0, as training starts: the adapter does nothing and A gets no gradient at all. */
static void check_start(const vdm_cpu *cpu, const char *name)
{
    static float weight[B * F * C * H * W], v[B * F * C * H * W];
    int64_t count = vdm_lora_count(&s.lora);
    vdm_error err;
    float *grad = vdm_alloc((size_t)count, sizeof(float), "gradient", &err);
    for (int i = 1; i < vdm_lora_matrices(&s.lora); i += 2) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(&s.lora, s.lora.params, i);
        memset(m.data, 0, (size_t)(m.shape[0] * m.shape[1]) * sizeof(float));
    }
    check_random(weight, sizeof weight / sizeof weight[0], 6, 1);
    loss_and_gradient(cpu, weight, grad, 1);
    forward(cpu, NULL, B, s.x, s.t, v);
    CHECK(check_distance(s.v, v, (int64_t)B * s.frames * C * H * W) == 0, "%s: B = 0 changes the output",
          name);
    double a = 0, b = 0;
    for (int i = 0; i < vdm_lora_matrices(&s.lora); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(&s.lora, grad, i);
        for (int64_t k = 0; k < m.shape[0] * m.shape[1]; k++) *(m.b ? &b : &a) += fabs((double)m.data[k]);
    }
    CHECK(a == 0 && b > 0, "%s: B = 0: gradients of A %g, of B %g", name, a, b);
    vdm_free(grad);
}

/* Learned positions are for exactly sample_frames frames: 10 of them are no 4 (F - 1) + 1, so that every F gets
 * computed positions, as in diffusers. */
static void check_learned_positions(const vdm_cpu *cpu)
{
    static float learned[F * C * H * W], ten[F * C * H * W], other[F * C * H * W];
    int64_t bytes = (int64_t)s.frames * C * H * W * (int64_t)sizeof(float);
    if (!CHECK(s.m.config.learned_positions && s.m.config.sample_frames == 9, "learned positions")) return;
    forward(cpu, NULL, 1, s.x, s.t, learned);
    s.m.config.sample_frames = 10;
    forward(cpu, NULL, 1, s.x, s.t, ten);
    s.m.config.sample_frames = 13;
    forward(cpu, NULL, 1, s.x, s.t, other);
    s.m.config.sample_frames = 9;
    CHECK(check_same_bits(ten, other, bytes), "10 sample frames: positions are not computed");
    CHECK(!check_same_bits(ten, learned, bytes), "learned positions have no effect");
}

int main(void)
{
    vdm_error err;
    vdm_cpu cpu;
    if (!CHECK(!vdm_cpu_init(&cpu, 0, &err), "%s", err.text)) return check_end("transformer");
    for (int v = TINY_2B; v <= TINY_15_I2V; v++) {
        if (setup((tiny_variant)v, VDM_F32, VDM_ATTENTION)) continue;
        check_forward(&cpu, names[v]);
        check_merged(&cpu, names[v]);
        check_gradients(&cpu, names[v]);
        check_stored(&cpu, names[v]);
        check_start(&cpu, names[v]);
        check_streamed(&cpu, names[v]);
        if (v == TINY_5B_I2V) check_learned_positions(&cpu);
        teardown();
    }
    if (!setup(TINY_15_I2V, VDM_F32, VDM_ATTENTION_FF)) {
        check_forward(&cpu, "feed-forward");
        check_merged(&cpu, "feed-forward");
        check_gradients(&cpu, "feed-forward");
        check_stored(&cpu, "feed-forward");
        check_start(&cpu, "feed-forward");
        teardown();
    }
    const vdm_dtype dtypes[] = {VDM_F16, VDM_BF16};
    for (int i = 0; i < 2; i++) {
        if (setup(TINY_15_I2V, dtypes[i], VDM_ATTENTION_FF)) continue;
        check_forward(&cpu, vdm_dtype_name(dtypes[i]));
        check_merged(&cpu, vdm_dtype_name(dtypes[i]));
        teardown();
    }
    vdm_cpu_free(&cpu);
    return check_end("transformer");
}
