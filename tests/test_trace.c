/* Traces: what is computed has the same bits with one and without; every name comes once; a tensor is the same
 * whether it is wanted alone or with all others; and some are what their neighbours say. */
#include "check.h"
#include "kernels/trace.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

enum { MOST = 600, B = 2, F = 4, C = 16, H = 4, W = 6, RANK = 3 };

/* Everything that a trace has shown. */
struct shown {
    char name[VDM_TRACE_NAME];
    uint64_t hash;
    int64_t n;
    float *data;
};
static struct album {
    struct shown all[MOST];
    int count;
    const char *only; /* wanted alone, or NULL */
} album, other;

static vdm_cpu cpu;
static vdm_error err;

static bool wants(void *user, const char *name)
{
    const struct album *a = user;
    return !a->only || strcmp(a->only, name) == 0;
}

static void see(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct album *a = user;
    if (!CHECK(a->count < MOST, "%s: too many", name)) return;
    struct shown *s = &a->all[a->count++];
    snprintf(s->name, sizeof s->name, "%s", name);
    s->n = 1;
    for (int i = 0; i < rank; i++) s->n *= shape[i];
    s->hash = check_hash(data, s->n * 4);
    s->data = vdm_alloc((size_t)s->n, sizeof(float), "a test's tensor", &err);
    if (CHECK(s->data != NULL, "%s", err.text)) memcpy(s->data, data, (size_t)s->n * sizeof(float));
}

static void clear(struct album *a)
{
    for (int i = 0; i < a->count; i++) vdm_free(a->all[i].data);
    a->count = 0;
    a->only = NULL;
}

static const struct shown *find(const struct album *a, const char *name)
{
    for (int i = 0; i < a->count; i++)
        if (strcmp(a->all[i].name, name) == 0) return &a->all[i];
    CHECK(false, "'%s' was not shown", name);
    return NULL;
}

static void check_names(const struct album *a, int expected, const char *what)
{
    CHECK(a->count == expected, "%s: %d tensors, expected %d", what, a->count, expected);
    for (int i = 0; i < a->count; i++)
        for (int j = 0; j < i; j++)
            if (strcmp(a->all[i].name, a->all[j].name) == 0)
                CHECK(false, "%s: '%s' comes twice", what, a->all[i].name);
}

/* A tensor, wanted alone, is what it is among all: every fifth. `again` shows them. */
static void check_alone(void (*again)(vdm_trace *trace), const char *what)
{
    int wrong = 0;
    for (int i = 0; i < album.count; i += 5) {
        vdm_trace trace = {.wants = wants, .see = see, .user = &other};
        clear(&other);
        other.only = album.all[i].name;
        again(&trace);
        wrong += other.count != 1 || other.all[0].hash != album.all[i].hash;
        vdm_trace_free(&trace);
    }
    CHECK(!wrong, "%s: %d tensors differ when wanted alone", what, wrong);
    clear(&other);
}

/* ------------------------------------------------------------------------------------------------ */

static struct {
    vdm_transformer m;
    vdm_lora lora;
    float x[B * F * 2 * C * H * W], text[B * 5 * 24], v[2][B * F * C * H * W], dv[B * F * C * H * W];
    float *grad[2];
    int frames;
} s;

static void pass(vdm_trace *trace, bool backward, int stored, int attention, float *v, float *grad)
{
    vdm_tape_shape shape = {B, s.frames, H, W, RANK, backward, stored, attention, false};
    const double t[B] = {999, 321};
    vdm_tape *tape = vdm_tape_new(&s.m, &shape, &err);
    if (!CHECK(tape != NULL, "%s", err.text)) return;
    const vdm_transformer_input in = {s.x, s.text, t, trace};
    vdm_transformer_forward(&s.m, &s.lora, &cpu, tape, &in, v);
    if (backward) vdm_transformer_backward(&s.m, &s.lora, &cpu, tape, s.dv, grad, trace);
    vdm_tape_free(tape);
}

static void forward_again(vdm_trace *trace)
{
    pass(trace, false, 0, 0, s.v[1], NULL);
}

/* h1 = patch_embed + gate attention; the block = h1 + gate ff; norm1 = norm (1 + scale) + shift */
static void check_relations(void)
{
    const struct shown *h = find(&album, "patch_embed"), *h1 = find(&album, "transformer_blocks.0.h1");
    const struct shown *y = find(&album, "transformer_blocks.0.attn1.to_out.0");
    const struct shown *gate[2] = {find(&album, "transformer_blocks.0.norm1.enc_gate"),
                                   find(&album, "transformer_blocks.0.norm1.gate")};
    const struct shown *shift[2] = {find(&album, "transformer_blocks.0.norm1.enc_shift"),
                                    find(&album, "transformer_blocks.0.norm1.shift")};
    const struct shown *scale[2] = {find(&album, "transformer_blocks.0.norm1.enc_scale"),
                                    find(&album, "transformer_blocks.0.norm1.scale")};
    const struct shown *norm = find(&album, "transformer_blocks.0.norm1.norm"),
                       *n = find(&album, "transformer_blocks.0.norm1");
    if (!h || !h1 || !y || !gate[0] || !gate[1] || !shift[0] || !shift[1] || !scale[0] || !scale[1] ||
        !norm || !n)
        return;
    int D = 64, S = (int)(h->n / (B * D));
    double worst = 0;
    for (int i = 0; i < h->n; i++) {
        int b = i / (S * D), video = i / D % S >= 5, d = i % D, at = b * D + d;
        double residual = (double)h->data[i] + (double)gate[video]->data[at] * (double)y->data[i];
        double modulated =
            (double)norm->data[i] * (1 + (double)scale[video]->data[at]) + (double)shift[video]->data[at];
        worst = fmax(worst, fabs((double)h1->data[i] - residual));
        worst = fmax(worst, fabs((double)n->data[i] - modulated));
    }
    CHECK(worst < 1e-5, "the tensors of a block don't fit together: %g", worst);
}

static void test_transformer(tiny_variant variant, int forward, int backward, const char *name)
{
    char part[600];
    snprintf(part, sizeof part, "%s/%d/transformer", check_folder(), variant);
    *strrchr(part, '/') = 0;
    if (!CHECK(!tiny_write(part, variant, VDM_F32, 5, &err), "%s", err.text)) return;
    strcat(part, "/transformer");
    if (!CHECK(!vdm_transformer_load(&s.m, part, &err), "%s", err.text)) return;
    vdm_rng rng;
    vdm_rng_seed(&rng, 1);
    CHECK(!vdm_lora_init(&s.lora, &s.m.config, VDM_ATTENTION, RANK, 6, &rng, &err), "%s", err.text);
    int64_t count = vdm_lora_count(&s.lora), n = (int64_t)sizeof s.v[0];
    check_random(s.lora.params, count, 9, 0.3f);
    check_random(s.x, B * F * 2 * C * H * W, 2, 1.7f);
    check_random(s.text, B * 5 * 24, 3, 1.7f);
    check_random(s.dv, B * F * C * H * W, 4, 1);
    s.frames = variant >= TINY_15 ? 4 : 3;
    for (int i = 0; i < 2; i++) s.grad[i] = vdm_alloc((size_t)count, sizeof(float), "gradient", &err);
    vdm_trace trace = {.see = see, .user = &album};
    memset(s.v, 0, sizeof s.v);
    pass(NULL, false, 0, 0, s.v[0], NULL);
    pass(&trace, false, 0, 0, s.v[1], NULL);
    CHECK(check_same_bits(s.v[0], s.v[1], n), "%s: other bits with a trace", name);
    check_names(&album, forward, name);
    const struct shown *v = find(&album, "v");
    CHECK(v && check_same_bits(v->data, s.v[0], v->n * 4), "%s: v is not the output", name);
    check_relations();
    if (variant == TINY_15_I2V) check_alone(forward_again, name);
    pass(NULL, true, 1, 0, s.v[0], s.grad[0]);
    for (int i = 0; i < 3; i++) {
        clear(&other);
        trace.user = &other;
        memset(s.grad[1], 0, (size_t)count * sizeof(float));
        pass(&trace, true, i == 1, i == 2, s.v[1], s.grad[1]);
        check_names(&other, forward + backward, name);
        CHECK(check_same_bits(s.grad[0], s.grad[1], count * 4), "%s: other gradients with a trace", name);
        for (int k = 0; k < album.count; k++)
            CHECK(other.all[k].hash == album.all[k].hash, "%s: %s differs", name, album.all[k].name);
    }
    clear(&album);
    clear(&other);
    vdm_trace_free(&trace);
    for (int i = 0; i < 2; i++) vdm_free(s.grad[i]);
    vdm_lora_free(&s.lora);
    vdm_transformer_free(&s.m);
}

/* ------------------------------------------------------------------------------------------------ */

static struct {
    vdm_vae m;
    float video[17 * 3 * 40 * 56], moments[2][5 * 32 * 5 * 7], decoded[2][17 * 3 * 40 * 56];
    bool decode, tiled;
} v;

static void convert(vdm_trace *trace, int i)
{
    int h = v.tiled ? 5 : 2, w = v.tiled ? 7 : 3;
    const vdm_progress progress = {.trace = trace};
    int status = v.decode ? vdm_vae_decode(&v.m, &cpu, v.video, &(vdm_vae_size){5, h, w, v.tiled},
                                           v.decoded[i], &progress, &err)
                          : vdm_vae_encode(&v.m, &cpu, v.video, &(vdm_vae_size){17, 8 * h, 8 * w, v.tiled},
                                           v.moments[i], &progress, &err);
    CHECK(!status, "%s", status ? err.text : "");
}

static void convert_again(vdm_trace *trace)
{
    convert(trace, 1);
}

/* The sample size is 64 x 96: tiles of 32 x 48. */
static void test_vae(bool decode, bool tiled, int expected)
{
    char part[600], name[32];
    snprintf(name, sizeof name, "%s%s", decode ? "decode" : "encode", tiled ? ", tiled" : "");
    snprintf(part, sizeof part, "%s/%d/vae", check_folder(), TINY_15_I2V);
    if (!CHECK(!vdm_vae_load(&v.m, part, &err), "%s", err.text)) return;
    check_random(v.video, 17 * 3 * 40 * 56, 7, 1);
    v.decode = decode;
    v.tiled = tiled;
    vdm_trace trace = {.see = see, .user = &album};
    convert(NULL, 0);
    convert(&trace, 1);
    CHECK(check_same_bits(v.moments[0], v.moments[1], sizeof v.moments[0]), "%s: other bits with a trace",
          name);
    CHECK(check_same_bits(v.decoded[0], v.decoded[1], sizeof v.decoded[0]), "%s: other bits with a trace",
          name);
    check_names(&album, expected, name);
    const struct shown *end = find(&album, decode ? "video" : "moments");
    CHECK(end && check_same_bits(end->data, decode ? v.decoded[0] : v.moments[0], end->n * 4),
          "%s: what was shown is not the result", name);
    if (!tiled) check_alone(convert_again, name);
    clear(&album);
    vdm_trace_free(&trace);
    vdm_vae_free(&v.m);
}

/* ------------------------------------------------------------------------------------------------ */

static int stop_at_once(void *user, const vdm_report *r)
{
    (void)user;
    return r->step == 1;
}

/* Prefixes are values: a run that is stopped after its first chunk leaves none behind, and prefixes nest. */
static void test_prefixes(void)
{
    char part[600];
    snprintf(part, sizeof part, "%s/%d/vae", check_folder(), TINY_15_I2V);
    if (!CHECK(!vdm_vae_load(&v.m, part, &err), "%s", err.text)) return;
    vdm_trace trace = {.see = see, .user = &album};
    const vdm_progress stopped = {.report = stop_at_once, .trace = &trace};
    const vdm_vae_size size = {17, 16, 24, false};
    CHECK(vdm_vae_encode(&v.m, &cpu, v.video, &size, v.moments[0], &stopped, &err) == -1, "not stopped");
    clear(&album);
    vdm_trace_see(&trace, v.video, SHAPE(2, 3), "after.%d", 7);
    vdm_trace outer = vdm_trace_inside(&trace, "step.%d.", 5), inner = vdm_trace_inside(&outer, "encode.");
    vdm_trace_see(&inner, v.video, SHAPE(2, 3), "x");
    vdm_trace_see(&outer, v.video, SHAPE(2, 3), "y");
    float *space = vdm_trace_space(&inner, SHAPE(2, 3), "z");
    CHECK(space && space == trace.space, "the memory of a part is not the caller's");
    vdm_trace nobody = vdm_trace_inside(NULL, "step.%d.", 5);
    vdm_trace_see(&nobody, v.video, SHAPE(2, 3), "nothing");
    const char *const names[] = {"after.7", "step.5.encode.x", "step.5.y"};
    CHECK(album.count == 3, "%d tensors, expected 3", album.count);
    for (int i = 0; i < 3 && i < album.count; i++)
        CHECK(strcmp(album.all[i].name, names[i]) == 0, "'%s', expected '%s'", album.all[i].name, names[i]);
    clear(&album);
    vdm_trace_free(&trace);
    vdm_vae_free(&v.m);
}

int main(void)
{
    if (!CHECK(!vdm_cpu_init(&cpu, 1, &err), "%s", err.text)) return check_end("trace");
    test_transformer(TINY_2B, 98, 3, "2b");
    test_transformer(TINY_5B_I2V, 104, 3, "5b-I2V");
    test_transformer(TINY_15_I2V, 108, 3, "1.5-5B-I2V");
    test_vae(false, false, 76);
    test_vae(true, false, 158);
    test_vae(false, true, 298);
    test_prefixes();
    vdm_cpu_free(&cpu);
    return check_end("trace");
}
