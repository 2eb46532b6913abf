/* Adapters: the flat array, files both ways, what a reader must reject, joining; AdamW against the same in
 * double, clipping, learning rates. Against peft and torch themselves: tests/peer/train.py. */
#include "check.h"

#include <math.h>
#include <string.h>

enum { LAYERS = 2, D = 8, RANK = 2, MODULES = LAYERS * 4 };

static const vdm_transformer_config config = {.layers = LAYERS, .heads = 2, .head_dim = D / 2};

static vdm_lora random_adapter(vdm_targets targets, int rank, double alpha, uint32_t seed)
{
    vdm_error err;
    vdm_rng rng;
    vdm_lora a;
    vdm_rng_seed(&rng, seed);
    CHECK(!vdm_lora_init(&a, &config, targets, rank, alpha, &rng, &err), "init: %s", err.text);
    for (int i = 1; i < vdm_lora_matrices(&a); i += 2) {
        const vdm_lora_matrix b = vdm_lora_matrix_at(&a, a.params, i);
        check_random(b.data, b.shape[0] * b.shape[1], seed + (uint32_t)(i / 2), 1);
    }
    return a;
}
static vdm_lora random_lora(int rank, double alpha, uint32_t seed)
{
    return random_adapter(VDM_ATTENTION, rank, alpha, seed);
}

static const char *path_of(const char *name)
{
    static char path[400];
    snprintf(path, sizeof path, "%s/%s.safetensors", check_folder(), name);
    return path;
}

static void test_init(void)
{
    vdm_error err;
    vdm_rng rng;
    vdm_lora a, again;
    vdm_transformer_config wide = {.layers = 3, .heads = 4, .head_dim = 64};
    float bound = 1 / 16.0f, min = 1, max = -1, sum = 0;
    vdm_rng_seed(&rng, 42);
    CHECK(!vdm_lora_init(&a, &wide, VDM_ATTENTION, 16, 8, &rng, &err), "%s", err.text);
    vdm_rng_seed(&rng, 42);
    CHECK(!vdm_lora_init(&again, &wide, VDM_ATTENTION, 16, 8, &rng, &err), "%s", err.text);
    CHECK(check_same_bits(a.params, again.params, vdm_lora_count(&a) * 4),
          "the same seed, different results");
    CHECK(vdm_lora_count(&a) == 3 * 4 * 2 * 16 * 256, "count %lld", (long long)vdm_lora_count(&a));
    CHECK(a.scale == 0.5f && a.alpha == 8, "scale %g", (double)a.scale);
    int zeros = 0;
    for (int i = 0; i < 3 * 4; i++) {
        const float *A = vdm_lora_a(&a, a.params, i / 4, (vdm_target)(i % 4)),
                    *B = vdm_lora_b(&a, a.params, i / 4, (vdm_target)(i % 4));
        for (int j = 0; j < 16 * 256; j++) {
            min = fminf(min, A[j]);
            max = fmaxf(max, A[j]);
            sum += A[j] * A[j];
            zeros += B[j] == 0;
        }
    }
    int n = 12 * 16 * 256;
    CHECK(zeros == n, "B: %d of %d are zero", zeros, n);
    CHECK(min >= -bound && min < -0.999f * bound && max <= bound && max > 0.999f * bound, "A: %g..%g",
          (double)min, (double)max);
    CHECK(fabsf(sum / (float)n / (bound * bound / 3) - 1) < 0.02f, "A: variance %g", (double)sum / n);
    vdm_lora_free(&again);
    vdm_lora_free(&a);
    CHECK(vdm_lora_init(&a, &wide, VDM_ATTENTION, 0, 8, &rng, &err) && strstr(err.text, "rank"), "rank 0: %s",
          err.text);
    CHECK(vdm_lora_init(&a, &wide, VDM_ATTENTION, 4, (double)NAN, &rng, &err) && strstr(err.text, "alpha"),
          "alpha: %s", err.text);
}

static void test_round_trip(void)
{
    static const char text[] = "{\n  \"transformer.lora_alpha\": 5,\n  \"transformer.r\": 2,\n"
                               "  \"transformer.target_modules\": [\n    \"to_k\",\n    \"to_out.0\",\n"
                               "    \"to_q\",\n    \"to_v\"\n  ]\n}";
    vdm_error err;
    vdm_lora a = random_lora(RANK, 5, 1), b;
    vdm_safetensors f;
    int applied, modules;
    const char *path = path_of("good");
    CHECK(!vdm_lora_write(&a, path, &err), "%s", err.text);
    if (!CHECK(!vdm_lora_read(&b, path, &config, &applied, &modules, &err), "%s", err.text)) return;
    CHECK(applied == MODULES && modules == MODULES, "applied %d of %d", applied, modules);
    CHECK(b.rank == RANK && b.alpha == 5 && b.scale == 2.5f, "rank %d alpha %g", b.rank, b.alpha);
    CHECK(check_same_bits(a.params, b.params, vdm_lora_count(&a) * 4), "different elements were read");
    if (CHECK(!vdm_safetensors_open(&f, path, &err), "%s", err.text)) {
        const char *found = vdm_safetensors_metadata(&f, "lora_adapter_metadata");
        CHECK(found && strcmp(found, text) == 0, "metadata: %s", found ? found : "none");
        const vdm_tensor *t =
            vdm_safetensors_find(&f, "transformer.transformer_blocks.1.attn1.to_out.0.lora_B.weight");
        CHECK(t && t->shape[0] == D && t->shape[1] == RANK &&
                  memcmp(t->data, vdm_lora_b(&a, a.params, 1, VDM_OUT), t->bytes) == 0,
              "to_out.0 of block 1 isn't where it belongs");
        vdm_safetensors_close(&f);
    }
    vdm_lora_free(&a);
    vdm_lora_free(&b);
}

/* Matrices follow each other without gaps, in the order of their index; each is where vdm_lora_a and vdm_lora_b say. */
static void test_layout(vdm_targets targets, int64_t block)
{
    vdm_lora a = random_adapter(targets, 3, 1, 5);
    float *next = a.params;
    for (int i = 0; i < vdm_lora_matrices(&a); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(&a, a.params, i);
        char name[VDM_LORA_NAME];
        vdm_lora_name(name, m.block, m.target, m.b);
        CHECK(m.data == next && strcmp(m.name, name) == 0, "matrix %d, %s: in another place", i, m.name);
        CHECK(m.data == (m.b ? vdm_lora_b : vdm_lora_a)(&a, a.params, m.block, m.target), "%s", m.name);
        next += m.shape[0] * m.shape[1];
    }
    CHECK(next - a.params == vdm_lora_count(&a) && vdm_lora_count(&a) == LAYERS * block, "count %lld",
          (long long)vdm_lora_count(&a));
    vdm_lora_free(&a);
}

/* The bound of A depends on the width of its input, which is 4D for ff.net.2. */
static void check_bounds(const vdm_lora *a)
{
    for (int i = 0; i < vdm_lora_matrices(a); i += 2) {
        const vdm_lora_matrix A = vdm_lora_matrix_at(a, a->params, i);
        float max = 0, bound = 1 / sqrtf((float)A.shape[1]);
        for (int64_t k = 0; k < A.shape[0] * A.shape[1]; k++) max = fmaxf(max, fabsf(A.data[k]));
        CHECK(max <= bound && max > 0.7f * bound, "%s: largest %g of %g", A.name, (double)max, (double)bound);
    }
}

/* An adapter on the feed-forward as well: its file, in diffusers' names and in kohya's */
static void test_feed_forward(void)
{
    static const char *const kohya[] = {"lora_unet_transformer_blocks_1_ff_net_0_proj.lora_down.weight",
                                        "lora_unet_transformer_blocks_1_ff_net_0_proj.lora_up.weight",
                                        "lora_unet_transformer_blocks_1_ff_net_2.lora_down.weight",
                                        "lora_unet_transformer_blocks_1_ff_net_2.lora_up.weight"};
    vdm_error err;
    vdm_lora a = random_adapter(VDM_ATTENTION_FF, RANK, 5, 1), b;
    vdm_safetensors f;
    vdm_tensor tensors[4];
    int applied, modules;
    const char *path = path_of("feed-forward");
    check_bounds(&a);
    CHECK(!vdm_lora_write(&a, path, &err), "%s", err.text);
    if (!CHECK(!vdm_lora_read(&b, path, &config, &applied, &modules, &err), "%s", err.text)) return;
    CHECK(applied == 12 && modules == 12 && b.targets == VDM_ATTENTION_FF, "applied %d of %d", applied,
          modules);
    CHECK(check_same_bits(a.params, b.params, vdm_lora_count(&a) * 4), "different elements were read");
    vdm_lora_free(&b);
    if (CHECK(!vdm_safetensors_open(&f, path, &err), "%s", err.text)) {
        const char *found = vdm_safetensors_metadata(&f, "lora_adapter_metadata");
        CHECK(found && strstr(found, "[\n    \"ff.net.0.proj\",\n    \"ff.net.2\",\n    \"to_k\""),
              "metadata");
        vdm_safetensors_close(&f);
    }
    for (int i = 0; i < 4; i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(&a, a.params, 20 + i);
        tensors[i] = (vdm_tensor){
            kohya[i], VDM_F32, 2, {m.shape[0], m.shape[1]}, m.data, (size_t)(m.shape[0] * m.shape[1]) * 4};
    }
    path = path_of("kohya");
    CHECK(!vdm_safetensors_write(path, tensors, 4, NULL, 0, &err), "%s", err.text);
    if (!CHECK(!vdm_lora_read(&b, path, &config, &applied, &modules, &err), "%s", err.text)) return;
    CHECK(applied == 2 && modules == 12, "applied %d of %d", applied, modules);
    int64_t first = vdm_lora_a(&b, b.params, 1, VDM_FF_UP) - b.params, n = vdm_lora_count(&b) - first;
    CHECK(check_same_bits(b.params + first, a.params + first, n * 4), "kohya's names: different elements");
    for (int64_t i = 0; i < first; i++) CHECK(b.params[i] == 0, "element %lld is not 0", (long long)i);
    vdm_lora_free(&a);
    vdm_lora_free(&b);
}

/* A join of both kinds has all targets; so does a resize, which leaves new modules without effect. */
static void test_mixed_targets(void)
{
    vdm_error err;
    vdm_rng rng;
    const double weights[2] = {1, 0.5};
    vdm_lora parts[2] = {random_lora(2, 2, 1), random_adapter(VDM_ATTENTION_FF, 3, 3, 2)}, a;
    if (!CHECK(!vdm_lora_join(&a, parts, weights, 2, &err), "%s", err.text)) return;
    const float *A = vdm_lora_a(&a, a.params, 1, VDM_FF_DOWN), *B = vdm_lora_b(&a, a.params, 1, VDM_FF_DOWN);
    CHECK(a.targets == VDM_ATTENTION_FF && a.rank == 5, "%d targets, rank %d", (int)a.targets, a.rank);
    for (int i = 0; i < 2 * 4 * D; i++) CHECK(A[i] == 0, "the first part has no feed-forward");
    CHECK(
        check_same_bits(A + 2 * 4 * D, vdm_lora_a(&parts[1], parts[1].params, 1, VDM_FF_DOWN), 3 * 4 * D * 4),
        "the second part's rows");
    CHECK(B[2] == 0.5f * vdm_lora_b(&parts[1], parts[1].params, 1, VDM_FF_DOWN)[0],
          "the second part's columns");
    vdm_lora_free(&a);
    vdm_rng_seed(&rng, 1);
    CHECK(vdm_lora_resize(&parts[1], VDM_ATTENTION, 3, 3, &err) && strstr(err.text, "expected at least 6"),
          "%s", err.text);
    CHECK(!vdm_lora_resize(&parts[0], VDM_ATTENTION_FF, 2, 2, &err), "%s", err.text);
    CHECK(vdm_lora_redraw(&parts[0], &rng) == LAYERS * 2 * 2, "rows of the new modules are drawn");
    for (int i = 0; i < 2; i++) vdm_lora_free(&parts[i]);
}

/* ------------------------------------------------------------------------------------------------
 * Files, good and bad, as changes to a good one */

static const char *const targets[] = {"to_q", "to_k", "to_v", "to_out.0"};

struct file {
    const char *what, *metadata;
    const char *prefix, *a, *b; /* NULL: as diffusers writes them */
    int tensor;                 /* the one that is changed: module * 2 + (B ? 1 : 0) */
    const char *name;           /* its new name; "" leaves it out */
    int64_t rows, cols;         /* its new shape, where not 0 */
    vdm_dtype dtype;            /* of all tensors */
    double value;               /* its first element, where not 0 */
    int modules;                /* how many there are; 0: all */
    const char *key;            /* of the metadata; NULL: lora_adapter_metadata */
    const char *says;           /* in the error; NULL: a good file */
    double alpha;               /* of a good one */
};

static void write_file(const struct file *c, const char *path, float *values)
{
    static char names[MODULES * 2][128];
    static union {
        double d[RANK * D];
        float f[RANK * D];
        uint16_t h[RANK * D];
    } data[MODULES * 2];
    vdm_tensor tensors[MODULES * 2];
    vdm_error err;
    int count = 0;
    for (int i = 0; i < (c->modules ? c->modules : MODULES) * 2; i++) {
        bool changed = i == c->tensor, b = i % 2;
        int64_t rows = b ? D : RANK, cols = b ? RANK : D;
        if (changed && c->name && !*c->name) continue;
        snprintf(names[i], sizeof names[i], "%stransformer_blocks.%d.attn1.%s%s",
                 c->prefix ? c->prefix : "transformer.", i / 8, targets[i / 2 % 4],
                 b      ? c->b ? c->b : ".lora_B.weight"
                 : c->a ? c->a
                        : ".lora_A.weight");
        if (changed && c->rows) rows = c->rows;
        if (changed && c->cols) cols = c->cols;
        float *x = values + i * RANK * D;
        for (int j = 0; j < RANK * D; j++) x[j] = (float)(i * 16 + j) / 64; /* exact in every dtype */
        for (int j = 0; j < RANK * D; j++) {
            double y = changed && j == 0 && c->value != 0 ? c->value : (double)x[j];
            if (c->dtype == VDM_F64) data[i].d[j] = y;
            if (c->dtype == VDM_F32) data[i].f[j] = (float)y;
            if (c->dtype == VDM_F16) data[i].h[j] = vdm_to_f16(x[j]);
            if (c->dtype == VDM_BF16) data[i].h[j] = vdm_to_bf16(x[j]);
        }
        tensors[count++] = (vdm_tensor){.name = changed && c->name ? c->name : names[i],
                                        .dtype = c->dtype,
                                        .rank = 2,
                                        .shape = {rows, cols},
                                        .data = &data[i],
                                        .bytes = (size_t)(rows * cols) * vdm_dtype_bytes(c->dtype)};
    }
    const char *metadata[][2] = {{c->key ? c->key : "lora_adapter_metadata", c->metadata}};
    CHECK(!vdm_safetensors_write(path, tensors, count, c->metadata ? (const char *const(*)[2])metadata : NULL,
                                 c->metadata ? 1 : 0, &err),
          "%s: %s", c->what, err.text);
}

#define META(more) "{\"transformer.r\": 2, \"transformer.lora_alpha\": 6" more "}"
static const struct file files[] = {
    {.what = "diffusers without metadata", .tensor = -1, .alpha = 2},
    {.what = "metadata", .tensor = -1, .metadata = META(""), .alpha = 6},
    {.what = "metadata of save_lora_adapter",
     .tensor = -1,
     .prefix = "",
     .metadata = "{\"r\":2,\"lora_alpha\":0.5}",
     .alpha = 0.5},
    {.what = "all of peft's settings",
     .tensor = -1,
     .alpha = 6,
     .metadata = META(
         ", \"transformer.use_dora\": false, \"transformer.use_rslora\": false, \"transformer.lora_bias\": "
         "false, \"transformer.rank_pattern\": {}, \"transformer.alpha_pattern\": {}, "
         "\"transformer.fan_in_fan_out\": false, \"transformer.bias\": \"none\", \"transformer.revision\": null, "
         "\"transformer.kasa_config\": null, \"transformer.arrow_config\": null")},
    {.what = "finetrainers",
     .tensor = -1,
     .key = "lora_config",
     .metadata =
         "{\n    \"r\": 2,\n    \"lora_alpha\": 1,\n    \"init_lora_weights\": true,\n    \"target_modules\": \"to_q\"\n}",
     .alpha = 1},
    {.what = "finetrainers, another rank",
     .tensor = -1,
     .key = "lora_config",
     .metadata = "{\"r\": 4, \"lora_alpha\": 1}",
     .says = "lora_config: r: expected 2"},
    {.what = "finetrainers without alpha",
     .tensor = -1,
     .key = "lora_config",
     .metadata = "{\"r\": 2}",
     .says = "lora_config: lora_alpha"},
    {.what = "kohya's alpha", .tensor = -1, .key = "ss_network_alpha", .metadata = "1.0", .alpha = 1},
    {.what = "a plain alpha", .tensor = -1, .key = "lora_alpha", .metadata = "0.5", .alpha = 0.5},
    {.what = "kohya's alpha, a word",
     .tensor = -1,
     .key = "ss_network_alpha",
     .metadata = "None",
     .says = "metadata ss_network_alpha: expected a number, found 'None'"},
    {.what = "old spelling", .tensor = -1, .a = ".lora.down.weight", .b = ".lora.up.weight", .alpha = 2},
    {.what = "F16", .tensor = -1, .dtype = VDM_F16, .alpha = 2},
    {.what = "BF16", .tensor = -1, .dtype = VDM_BF16, .alpha = 2},
    {.what = "F64", .tensor = -1, .dtype = VDM_F64, .alpha = 2},
    {.what = "three targets", .tensor = -1, .modules = 3, .alpha = 2},
    {.what = "rsLoRA",
     .tensor = -1,
     .metadata = META(", \"transformer.use_rslora\": true"),
     .alpha = 6 * 1.4142135623730951},
    {.what = "one alpha for all, by a pattern",
     .tensor = -1,
     .metadata = META(
         ", \"transformer.alpha_pattern\": {\"attn1.to_q\": 6, \"^transformer_blocks.0.attn1.to_k\": 6}"),
     .alpha = 6},
    /* to be rejected */
    {.what = "no tensors", .tensor = 0, .modules = -1, .says = "applied 0 of 8"},
    {.what = "I32", .tensor = -1, .dtype = VDM_I32, .says = "I32"},
    {.what = "a block too many",
     .tensor = 0,
     .name = "transformer.transformer_blocks.2.attn1.to_q.lora_A.weight",
     .says = "blocks.2.attn1"},
    {.what = "a leading zero",
     .tensor = 0,
     .name = "transformer.transformer_blocks.00.attn1.to_q.lora_A.weight",
     .says = "blocks.00"},
    {.what = "a huge block",
     .tensor = 0,
     .name = "transformer_blocks.99999999999999999999.attn1.to_q.lora_A.weight",
     .says = "blocks.9999"},
    {.what = "another layer",
     .tensor = 3,
     .name = "transformer.transformer_blocks.0.norm1.linear.lora_B.weight",
     .says = "norm1.linear"},
    {.what = "half of a feed-forward module",
     .tensor = 3,
     .name = "transformer.transformer_blocks.0.ff.net.2.lora_B.weight",
     .says = "expected together with its other half"},
    {.what = "to_out",
     .tensor = 6,
     .name = "transformer.transformer_blocks.0.attn1.to_out.lora_A.weight",
     .says = "to_out.lora_A"},
    {.what = "peft's own prefix, without its configuration",
     .tensor = -1,
     .prefix = "base_model.model.",
     .says = "expected its adapter_config.json in the same folder"},
    {.what = "DoRA's scale",
     .tensor = 1,
     .name = "transformer.transformer_blocks.0.attn1.to_q.dora_scale",
     .says = "DoRA"},
    {.what = "five are listed", .tensor = -1, .prefix = "unet.", .says = ", ..."},
    {.what = "text encoder",
     .tensor = 0,
     .name = "text_encoder.layers.0.lora_A.weight",
     .says = "text_encoder"},
    {.what = "bias",
     .tensor = 1,
     .name = "transformer.transformer_blocks.0.attn1.to_q.lora_B.bias",
     .says = "lora_B.bias"},
    {.what = "DoRA",
     .tensor = 1,
     .name = "transformer.transformer_blocks.0.attn1.to_q.lora_magnitude_vector",
     .says = "DoRA"},
    {.what = "alpha tensor",
     .tensor = 1,
     .name = "transformer.transformer_blocks.0.attn1.to_q.alpha",
     .says = "0.attn1.to_q.lora_B.weight': expected together with its other half"},
    {.what = "only A", .tensor = 5, .name = "", .says = "0.attn1.to_v.lora_B.weight': expected"},
    {.what = "only B", .tensor = 14, .name = "", .says = "1.attn1.to_out.0.lora_A.weight': expected"},
    {.what = "two spellings",
     .tensor = 2,
     .name = "transformer_blocks.0.attn1.to_q.lora_A.weight",
     .says = "another name"},
    {.what = "another rank in A", .tensor = 4, .rows = 1, .says = "expected [8,1], found [8,2]"},
    {.what = "another rank in B", .tensor = 5, .cols = 1, .says = "found [8,1]"},
    {.what = "another width", .tensor = 4, .cols = 7, .says = "found [2,7]"},
    {.what = "turned", .tensor = 9, .rows = RANK, .cols = D, .says = "expected [8,2]"},
    {.what = "NaN", .tensor = 11, .value = (double)NAN, .says = "1.attn1.to_k.lora_B.weight': element 0"},
    {.what = "infinity", .tensor = 0, .value = (double)INFINITY, .says = "inf"},
    {.what = "overflow", .tensor = 0, .value = 1e39, .dtype = VDM_F64, .says = "inf"},
    {.what = "metadata no JSON", .tensor = -1, .metadata = "{", .says = "lora_adapter_metadata"},
    {.what = "metadata a list", .tensor = -1, .metadata = "[1]", .says = "expected an object"},
    {.what = "a pattern of no module",
     .tensor = -1,
     .metadata = META(", \"transformer.alpha_pattern\": {\"to_qq\": 4}"),
     .says = "alpha_pattern: 'to_qq': expected a module of the file, found none"},
    {.what = "no alpha", .tensor = -1, .metadata = "{\"transformer.r\": 2}", .says = "lora_alpha"},
    {.what = "alpha a word",
     .tensor = -1,
     .metadata = "{\"r\": 2, \"lora_alpha\": \"2\"}",
     .says = "lora_alpha"},
    {.what = "r another", .tensor = -1, .metadata = "{\"r\": 4, \"lora_alpha\": 2}", .says = "r: expected 2"},
    {.what = "DoRA", .tensor = -1, .metadata = META(", \"transformer.use_dora\": true"), .says = "use_dora"},
    {.what = "DoRA, a number", .tensor = -1, .metadata = META(", \"use_dora\": 1"), .says = "use_dora"},
    {.what = "bias",
     .tensor = -1,
     .metadata = META(", \"transformer.lora_bias\": true"),
     .says = "lora_bias"},
    {.what = "KaSA: a diagonal between B and A, and other base weights",
     .tensor = -1,
     .metadata = META(", \"transformer.kasa_config\": {\"beta\": 1e-4}"),
     .says = "kasa_config: expected null"},
    {.what = "aLoRA: only after some tokens",
     .tensor = -1,
     .metadata = META(", \"alora_invocation_tokens\": [1, 2]"),
     .says = "alora_invocation_tokens: expected null"},
    {.what = "Arrow: a mixture of adapters",
     .tensor = -1,
     .metadata = META(", \"arrow_config\": {\"top_k\": 3}"),
     .says = "arrow_config: expected null"},
    {.what = "a rank that the tensors have not",
     .tensor = -1,
     .metadata = META(", \"transformer.rank_pattern\": {\"to_q\": 4}"),
     .says = "r: expected 2, the rank of the tensors of transformer_blocks.0.attn1.to_q, found 4"},
    {.what = "a regular expression",
     .tensor = -1,
     .metadata = META(", \"transformer.alpha_pattern\": {\"to_(q|k)\": 4}"),
     .says = "expected a module's name, found a regular expression"},
    {.what = "a huge alpha",
     .tensor = -1,
     .metadata = "{\"r\": 2, \"lora_alpha\": 1e300}",
     .says = "a scale of"},
    {.what = "PiSSA",
     .tensor = -1,
     .metadata = META(", \"transformer.init_lora_weights\": \"pissa\""),
     .says = "init_lora_weights"},
};

static void test_file(const struct file *c)
{
    vdm_error err;
    vdm_lora a;
    int applied, modules;
    static float values[MODULES * 2 * RANK * D];
    const char *path = path_of("case");
    memset(values, 0, sizeof values);
    write_file(c, path, values);
    int status = vdm_lora_read(&a, path, &config, &applied, &modules, &err);
    if (c->says) {
        CHECK(status && strstr(err.text, c->says) && strstr(err.text, "case.safetensors"), "%s: %s", c->what,
              status ? err.text : "taken");
        CHECK(!status || a.params == NULL, "%s: memory left", c->what);
    } else if (CHECK(!status, "%s: %s", c->what, err.text)) {
        CHECK(applied == (c->modules ? c->modules : MODULES) && modules == MODULES, "%s: applied %d of %d",
              c->what, applied, modules);
        CHECK(a.alpha == c->alpha && a.rank == RANK, "%s: alpha %g rank %d", c->what, a.alpha, a.rank);
        int without = c->metadata ? 0 : applied;
        CHECK(a.without_alpha == without, "%s: %d modules without alpha", c->what, a.without_alpha);
        CHECK(check_same_bits(a.params, values, (int64_t)sizeof values), "%s: different elements", c->what);
    }
    if (!status) vdm_lora_free(&a);
}

/* y = scale (x A^T) B^T of one module, in double */
static void apply(double *y, const vdm_lora *a, double weight, int module, const float *x)
{
    const float *A = vdm_lora_a(a, a->params, module / 4, (vdm_target)(module % 4)),
                *B = vdm_lora_b(a, a->params, module / 4, (vdm_target)(module % 4));
    for (int r = 0; r < a->rank; r++) {
        double low = 0;
        for (int i = 0; i < D; i++) low += (double)x[i] * (double)A[r * D + i];
        for (int i = 0; i < D; i++) y[i] += weight * a->alpha / a->rank * low * (double)B[i * a->rank + r];
    }
}

/* Module m of a file of modules that differ: its rank, alpha (0: none) and, in A and B, constants. */
struct spelled {
    const char *what, *a, *b, *alpha; /* names, the block (%d) and the target (%s) in them */
    bool kohya, config;               /* to_out_0; alpha 8 in adapter_config.json */
    int ranks[4];
    float alphas[4];
    const char *metadata;
    double scales[4]; /* right */
};
static const struct spelled spellings[] = {
    {.what = "kohya",
     .a = "lora_unet_transformer_blocks_%d_attn1_%s.lora_down.weight",
     .b = "lora_unet_transformer_blocks_%d_attn1_%s.lora_up.weight",
     .alpha = "lora_unet_transformer_blocks_%d_attn1_%s.alpha",
     .kohya = true,
     .ranks = {2, 2, 2, 2},
     .alphas = {1, 1, 1, 1},
     .scales = {0.5, 0.5, 0.5, 0.5}},
    {.what = "kohya as CogVideoX-Fun writes it, ranks and alphas of each module",
     .a = "lora_unet__transformer_blocks_%d_attn1_%s.lora_down.weight",
     .b = "lora_unet__transformer_blocks_%d_attn1_%s.lora_up.weight",
     .alpha = "lora_unet__transformer_blocks_%d_attn1_%s.alpha",
     .kohya = true,
     .ranks = {1, 2, 3, 4},
     .alphas = {2, 2, 3, 1},
     .scales = {2, 1, 1, 0.25}},
    {.what = "ComfyUI",
     .a = "diffusion_model.transformer_blocks.%d.attn1.%s.lora_A.weight",
     .b = "diffusion_model.transformer_blocks.%d.attn1.%s.lora_B.weight",
     .ranks = {2, 2, 2, 2},
     .scales = {1, 1, 1, 1}},
    {.what = "peft",
     .a = "base_model.model.transformer_blocks.%d.attn1.%s.lora_A.weight",
     .b = "base_model.model.transformer_blocks.%d.attn1.%s.lora_B.weight",
     .config = true,
     .ranks = {4, 4, 4, 4},
     .scales = {2, 2, 2, 2}},
    {.what = "two ranks, no alpha",
     .a = "transformer.transformer_blocks.%d.attn1.%s.lora_A.weight",
     .b = "transformer.transformer_blocks.%d.attn1.%s.lora_B.weight",
     .ranks = {4, 2, 2, 2},
     .scales = {1, 1, 1, 1}},
    {.what = "patterns",
     .a = "transformer.transformer_blocks.%d.attn1.%s.lora_A.weight",
     .b = "transformer.transformer_blocks.%d.attn1.%s.lora_B.weight",
     .ranks = {4, 2, 2, 1},
     .metadata =
         "{\"transformer.r\": 2, \"transformer.lora_alpha\": 6, \"transformer.rank_pattern\": {\"to_q\": 4, "
         "\"to_out.0\": 1}, \"transformer.alpha_pattern\": {\"to_q\": 1, \"to_v\": 2}}",
     .scales = {0.25, 3, 1, 6}},
    {.what = "rsLoRA with patterns",
     .a = "transformer.transformer_blocks.%d.attn1.%s.lora_A.weight",
     .b = "transformer.transformer_blocks.%d.attn1.%s.lora_B.weight",
     .ranks = {4, 1, 4, 4},
     .metadata = "{\"r\": 4, \"lora_alpha\": 6, \"use_rslora\": true, \"rank_pattern\": {\"to_k\": 1}}",
     .scales = {3, 6, 3, 3}},
};

/* A is 1/64 of 1, 2, ...; B the negative of these. */
static void write_spelled(const struct spelled *c, const char *path)
{
    static float data[2][4 * D];
    static char names[3 * MODULES][128];
    vdm_tensor tensors[3 * MODULES];
    vdm_error err;
    int count = 0;
    for (int i = 0; i < 4 * D; i++) data[0][i] = (float)(i + 1) / 64, data[1][i] = -data[0][i];
    for (int m = 0; m < MODULES; m++) {
        const char *target = c->kohya && m % 4 == 3 ? "to_out_0" : targets[m % 4];
        int64_t R = c->ranks[m % 4];
        const char *formats[3] = {c->a, c->b, c->alphas[m % 4] > 0 ? c->alpha : NULL};
        for (int k = 0; k < 3; k++) {
            if (!formats[k]) continue;
            vdm_tensor *t = &tensors[count];
            *t = (vdm_tensor){.name = names[count], .dtype = VDM_F32, .rank = k < 2 ? 2 : 0};
            t->shape[0] = k ? D : R, t->shape[1] = k ? R : D;
            t->data = k < 2 ? (const void *)data[k] : &c->alphas[m % 4];
            t->bytes = (size_t)vdm_tensor_count(t) * sizeof(float);
            char *at =
                strstr(formats[k], "%d") ? names[count] : NULL; /* a format that is no literal: by hand */
            const char *f = formats[k];
            for (; at && *f; f++) {
                if (*f == '%')
                    at += snprintf(at, 64, "%s", *++f == 'd' ? (m / 4 ? "1" : "0") : target);
                else
                    *at++ = *f;
            }
            if (at) *at = '\0';
            count++;
        }
    }
    const char *metadata[][2] = {{"lora_adapter_metadata", c->metadata}};
    CHECK(!vdm_safetensors_write(path, tensors, count, (const char *const(*)[2])metadata, c->metadata ? 1 : 0,
                                 &err),
          "%s: %s", c->what, err.text);
}

static void test_spelling(const struct spelled *c)
{
    vdm_error err;
    vdm_lora a;
    int applied, modules;
    float x[D];
    char config_path[400];
    snprintf(config_path, sizeof config_path, "%s/adapter_config.json", check_folder());
    if (c->config) {
        FILE *f = fopen(config_path, "w");
        if (!CHECK(f != NULL, "the test can't write")) return;
        fputs("{\"peft_type\": \"LORA\", \"r\": 4, \"lora_alpha\": 8, \"use_dora\": false}", f);
        fclose(f);
    }
    write_spelled(c, path_of("spelled"));
    if (!CHECK(!vdm_lora_read(&a, path_of("spelled"), &config, &applied, &modules, &err), "%s: %s", c->what,
               err.text))
        return;
    check_random(x, D, 9, 1);
    for (int m = 0; m < MODULES; m++) {
        double got[D] = {0}, right[D] = {0}, worst = 0;
        int R = c->ranks[m % 4];
        apply(got, &a, 1, m, x);
        for (int r = 0; r < R; r++)
            for (int i = 0; i < D; i++)
                for (int j = 0; j < D; j++)
                    right[i] -= c->scales[m % 4] * (double)x[j] * (r * D + j + 1) / 64 * (i * R + r + 1) / 64;
        for (int i = 0; i < D; i++) worst = fmax(worst, fabs(got[i] - right[i]));
        CHECK(worst < 1e-4 * (fabs(right[0]) + 1), "%s, module %d: off by %g", c->what, m, worst);
    }
    CHECK(applied == MODULES, "%s: applied %d", c->what, applied);
    vdm_lora_free(&a);
    remove(config_path);
}

/* What --init needs: another rank and alpha, and rows that can learn. */
static void test_resize(void)
{
    vdm_error err;
    vdm_rng rng;
    vdm_lora a = random_lora(2, 3, 1), before = random_lora(2, 3, 1);
    float x[D];
    double worst = 0;
    check_random(x, D, 9, 1);
    vdm_rng_seed(&rng, 1);
    memset(vdm_lora_a(&a, a.params, 0, VDM_K), 0,
           2 * D * sizeof(float)); /* a module that the file left out */
    memset(vdm_lora_b(&a, a.params, 0, VDM_K), 0, 2 * D * sizeof(float));
    if (CHECK(!vdm_lora_resize(&a, VDM_ATTENTION, 5, 40, &err), "%s", err.text)) {
        CHECK(a.rank == 5 && a.alpha == 40 && a.scale == 8, "rank %d, alpha %g", a.rank, a.alpha);
        CHECK(vdm_lora_redraw(&a, &rng) == MODULES * 3 + 2, "rows that are drawn again");
        CHECK(vdm_lora_redraw(&a, &rng) == 0, "drawn twice");
        for (int m = 0; m < MODULES; m++) {
            double now[D] = {0}, then[D] = {0};
            apply(now, &a, 1, m, x);
            if (m != VDM_K) apply(then, &before, 1, m, x);
            for (int i = 0; i < D; i++) worst = fmax(worst, fabs(now[i] - then[i]));
        }
        CHECK(worst < 1e-5, "acts otherwise after a resize: %g", worst);
    }
    CHECK(vdm_lora_resize(&a, VDM_ATTENTION, 4, 1, &err) && strstr(err.text, "at least 5"), "a smaller rank");
    vdm_lora_free(&a);
    vdm_lora_free(&before);
}

static void test_join(void)
{
    vdm_error err;
    vdm_lora parts[3] = {random_lora(2, 5, 1), random_lora(3, 1, 2), random_lora(1, 7, 3)}, a;
    const double weights[3] = {0.3, -2, 1};
    float x[D];
    double worst = 0;
    check_random(x, D, 9, 1);
    if (!CHECK(!vdm_lora_join(&a, parts, weights, 3, &err), "%s", err.text)) return;
    CHECK(a.rank == 6 && a.scale == 1, "rank %d scale %g", a.rank, (double)a.scale);
    for (int m = 0; m < MODULES; m++) {
        double joined[D] = {0}, sum[D] = {0};
        apply(joined, &a, 1, m, x);
        for (int i = 0; i < 3; i++) apply(sum, &parts[i], weights[i], m, x);
        for (int i = 0; i < D; i++) worst = fmax(worst, fabs(joined[i] - sum[i]));
    }
    CHECK(worst < 1e-5, "joined acts otherwise than the sum: %g", worst);
    vdm_lora_free(&a);
    parts[1].width = 4;
    CHECK(vdm_lora_join(&a, parts, weights, 3, &err) && strstr(err.text, "width"), "%s", err.text);
    parts[1].width = D;
    CHECK(vdm_lora_join(&a, parts, (double[]){1, 1, (double)INFINITY}, 3, &err) && strstr(err.text, "weight"),
          "%s", err.text);
    for (int i = 0; i < 3; i++) vdm_lora_free(&parts[i]);
}

/* ------------------------------------------------------------------------------------------------
 * The optimiser */

enum { N = 1000, STEPS = 100 };

static void test_adamw(const vdm_cpu *cpu)
{
    vdm_error err;
    vdm_adamw o;
    static float p[N], g[N], first[N];
    static double want[N], m[N], v[N];
    double moved = 0, off = 0;
    CHECK(!vdm_adamw_init(&o, N, &err), "%s", err.text);
    CHECK(o.lr == 1e-4 && o.beta1 == 0.9 && o.beta2 == 0.95 && o.eps == 1e-8 && o.weight_decay == 1e-4,
          "defaults");
    o.weight_decay = 0.1;
    check_random(p, N, 1, 1);
    for (int i = 0; i < N; i++) want[i] = (double)(first[i] = p[i]);
    for (int k = 1; k <= STEPS; k++) {
        double lr = k % 3 ? 1e-2 : 3e-3;
        check_random(g, N, (uint32_t)k + 7, k % 2 ? 1e-3f : 1e-9f);
        for (int i = 0; i < N; i += 10) g[i] = 0;
        vdm_adamw_update(&o, cpu, p, g, lr);
        for (int i = 0; i < N; i++) {
            double x = (double)g[i];
            want[i] -= lr * 0.1 * want[i];
            m[i] = 0.9 * m[i] + (1 - 0.9) * x;
            v[i] = 0.95 * v[i] + (1 - 0.95) * x * x;
            want[i] -= lr / (1 - pow(0.9, k)) * m[i] / (sqrt(v[i]) / sqrt(1 - pow(0.95, k)) + 1e-8);
        }
    }
    CHECK(o.step == STEPS, "step %d", o.step);
    for (int i = 0; i < N; i++) {
        off += ((double)p[i] - want[i]) * ((double)p[i] - want[i]);
        moved += (want[i] - (double)first[i]) * (want[i] - (double)first[i]);
    }
    CHECK(sqrt(off / moved) < 1e-5, "%g of the way from the same in double", sqrt(off / moved));
    CHECK(o.m[0] == 0 && fabs((double)p[0] / want[0] - 1) < 1e-5, "no gradient: only decay");
    vdm_adamw_free(&o);
}

static void test_threads(void)
{
    vdm_error err;
    static float p[3][N], g[3][N];
    for (int t = 0; t < 3; t++) {
        vdm_cpu cpu;
        vdm_adamw o;
        CHECK(!vdm_cpu_init(&cpu, t + 1, &err), "%s", err.text);
        CHECK(!vdm_adamw_init(&o, N, &err), "%s", err.text);
        check_random(p[t], N, 1, 1);
        check_random(g[t], N, 2, 1);
        vdm_adamw_update(&o, &cpu, p[t], g[t], 1e-2);
        vdm_adamw_free(&o);
        vdm_cpu_free(&cpu);
        CHECK(check_same_bits(p[t], p[0], sizeof p[0]), "%d threads: other bits", t + 1);
    }
}

static void test_clip(void)
{
    float g[5] = {3, 0, -4, 0, 12}, small[2] = {0.3f, 0.4f}, broken[2] = {1, (float)NAN};
    CHECK(vdm_clip_grad(g, 5, 1) == 13, "norm");
    CHECK(fabsf(g[0] - 3 / 13.0f) < 1e-6f && fabsf(g[2] + 4 / 13.0f) < 1e-6f && g[1] == 0, "clipped to %g %g",
          (double)g[0], (double)g[2]);
    CHECK(fabs(vdm_clip_grad(small, 2, 1) - 0.5) < 1e-7 && small[0] == 0.3f && small[1] == 0.4f,
          "changed below max");
    CHECK(isnan(vdm_clip_grad(broken, 2, 1)), "NaN is hidden");
    CHECK(vdm_clip_grad(g, 0, 1) == 0, "nothing");
}

static void test_schedules(void)
{
    static const struct {
        vdm_lr_schedule s;
        int step, warmup, total;
        double factor;
    } rows[] = {
        {VDM_LR_CONSTANT, 0, 10, 100, 1},
        {VDM_LR_CONSTANT, 99, 0, 100, 1},
        {VDM_LR_CONSTANT_WITH_WARMUP, 0, 10, 100, 0},
        {VDM_LR_CONSTANT_WITH_WARMUP, 5, 10, 100, 0.5},
        {VDM_LR_CONSTANT_WITH_WARMUP, 10, 10, 100, 1},
        {VDM_LR_CONSTANT_WITH_WARMUP, 0, 0, 100, 1},
        {VDM_LR_LINEAR, 3, 10, 110, 0.3},
        {VDM_LR_LINEAR, 60, 10, 110, 0.5},
        {VDM_LR_LINEAR, 110, 10, 110, 0},
        {VDM_LR_LINEAR, 120, 10, 110, 0},
        {VDM_LR_LINEAR, 5, 10, 5, 0.5},
        {VDM_LR_COSINE, 0, 0, 100, 1},
        {VDM_LR_COSINE, 50, 0, 100, 0.5},
        {VDM_LR_COSINE, 25, 0, 100, 0.85355339059327376},
        {VDM_LR_COSINE, 110, 10, 110, 0},
        {VDM_LR_COSINE, 4, 8, 100, 0.5},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        double f = vdm_lr_factor(rows[i].s, rows[i].step, rows[i].warmup, rows[i].total);
        CHECK(fabs(f - rows[i].factor) < 1e-12, "schedule %d, step %d of %d: %g", (int)rows[i].s,
              rows[i].step, rows[i].total, f);
    }
}

int main(void)
{
    vdm_error err;
    vdm_cpu cpu;
    CHECK(!vdm_cpu_init(&cpu, 2, &err), "%s", err.text);
    test_init();
    test_round_trip();
    test_layout(VDM_ATTENTION, 4 * 3 * 2 * D);
    test_layout(VDM_ATTENTION_FF, 4 * 3 * 2 * D + 2 * 3 * 5 * D);
    test_feed_forward();
    test_mixed_targets();
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) test_file(&files[i]);
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) test_spelling(&spellings[i]);
    test_resize();
    test_join();
    test_adamw(&cpu);
    test_threads();
    test_clip();
    test_schedules();
    vdm_cpu_free(&cpu);
    return check_end("lora");
}
