/* vdm golden and vdm compare, as they are called: what a golden holds, that it repeats itself from its own
 * inputs, and that a tensor made wrong in one of the known ways is named, with what was done to it. */
#include "program.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

static vdm_error err;

static bool says(const char *what)
{
    return strstr(said, what) != NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Goldens */

static void test_golden(void)
{
    static const char *const whats[] = {"transformer", "vae-encode", "vae-decode", "sample --sample-steps 2",
                                        "train --batch 2"};
    vdm_safetensors f;
    for (int i = 0; i < 5; i++) {
        int status = vdm("golden @/m --threads 1 --size 32x48 --what %s -o @/%d.g", whats[i], i);
        CHECK(status == 0, "%s: %s", whats[i], said);
        status = vdm("golden @/m --threads 1 --what %s --size 32x48 --inject @/%d.g --seed 7 -o @/again.g",
                     whats[i], i);
        CHECK(status == 0, "%s: %s", whats[i], said);
        status = vdm("compare --tol 0 @/%d.g @/again.g", i);
        CHECK(status == 0 && says(" 0 don't") && says("not 0 of"), "%s from its own inputs: %s", whats[i],
              said);
    }
    if (!CHECK(!vdm_safetensors_open(&f, path_of("0.g"), &err), "%s", err.text)) return;
    static const char *const keys[] = {"what",  "version",    "command",     "precision",
                                       "model", "model_hash", "expected_f32"};
    for (int i = 0; i < 7; i++)
        CHECK(vdm_safetensors_metadata(&f, keys[i]) != NULL, "no metadata '%s'", keys[i]);
    static const char *const names[] = {"x",       "text", "t", "v", "transformer_blocks.1.attn1.rope_q",
                                        "proj_out"};
    for (int i = 0; i < 6; i++) CHECK(vdm_safetensors_find(&f, names[i]) != NULL, "no tensor '%s'", names[i]);
    vdm_safetensors_close(&f);
    CHECK(vdm("golden @/m --threads 1 --inject @/0.g --precision bf16 -o @/bf16.g") == 0, "%s", said);
    CHECK(vdm("compare --tol 1e-4 @/0.g @/bf16.g") == 3, "bf16 is not f32: %s", said);
    CHECK(vdm("compare @/0.g @/bf16.g") == 0, "bf16 is as far as expected: %s", said);
    CHECK(vdm("golden @/m --threads 1 --inject @/0.g --precision amx -o @/amx.g") == 0, "%s", said);
    CHECK(vdm("compare --tol 0 @/bf16.g @/amx.g") == 3, "amx is not bf16: %s", said);
    CHECK(vdm("compare @/0.g @/amx.g") == 0, "amx is as far as expected of bf16: %s", said);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --only '*.1.attn1.*,v' -o @/only.g") == 0, "%s", said);
    if (!CHECK(!vdm_safetensors_open(&f, path_of("only.g"), &err), "%s", err.text)) return;
    CHECK(f.count == 3 + 1 + 9, "--only: %d tensors", (int)f.count);
    vdm_safetensors_close(&f);
    CHECK(vdm("golden @/m --size 40x48 -o @/no.g") == 1 && says("a multiple of 16"), "%s", said);
    CHECK(vdm("golden @/m") == 2 && vdm("golden --names") == 0 && says("rope_q"), "%s", said);
}

/* ------------------------------------------------------------------------------------------------
 * Mistakes, made on the golden's own tensors */

struct file {
    vdm_safetensors f;
    vdm_tensor tensors[300];
    int count;
};

static int index_of(const struct file *g, const char *name)
{
    for (int i = 0; i < g->count; i++)
        if (strcmp(g->tensors[i].name, name) == 0) return i;
    CHECK(false, "no tensor '%s'", name);
    return 0;
}
static const float *numbers(const struct file *g, const char *name)
{
    return g->f.count ? vdm_safetensors_find(&g->f, name)->data : NULL;
}

enum mistake { NAN_IN, TURNED, BF16, HALVES, CHUNK, FACTOR, ROWS, NEIGHBOUR, GATE, SHAPE_OF, NOISE };

/* What the mistake makes of r [n], tensor t. */
static void spoil(float *to, const struct file *g, const vdm_tensor *t, enum mistake mistake)
{
    const float *r = t->data;
    int64_t n = vdm_tensor_count(t), rows = t->rank > 1 ? t->shape[t->rank - 2] : 1,
            cols = t->shape[t->rank - 1];
    memcpy(to, r, (size_t)n * sizeof *r);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = i % (rows * cols), start = i - at;
        if (mistake == TURNED) to[i] = r[start + at % rows * cols + at / rows];
        if (mistake == BF16) to[i] = vdm_from_bf16(vdm_to_bf16(r[i]));
        if (mistake == HALVES) to[i] = r[i - i % cols + (i % cols + cols / 2) % cols];
        if (mistake == CHUNK) to[i] = numbers(g, "transformer_blocks.1.norm1.scale")[i];
        if (mistake == FACTOR) to[i] = r[i] / 0.7f;
        if (mistake == ROWS)
            to[i] = r[i / (rows * cols) * rows * cols + (at + 5 * cols) % (rows * cols)]; /* 5: text */
        if (mistake == GATE)
            to[i] =
                numbers(g, "transformer_blocks.0")[i] + numbers(g, "transformer_blocks.1.attn1.to_out.0")[i];
        if (mistake == NOISE) to[i] = r[i] * (1 + 1e-3f * (float)((i * 7919) % 13 - 6));
    }
    if (mistake == NAN_IN) to[n / 2] = (float)NAN;
    for (int64_t i = 0; i < n && mistake == NEIGHBOUR; i++) { /* half-split, of norm_q: 16 numbers a head */
        int64_t S = t->shape[1], V = S - 5, row = i / (4 * 16) % S - 5, j = i % 16 % 8;
        const float *q = numbers(g, "transformer_blocks.0.attn1.norm_q"), *x = q + i - i % 16;
        if (row < 0 || row >= V) continue;
        float c = numbers(g, "rope.cos")[row * 8 + j], s = numbers(g, "rope.sin")[row * 8 + j];
        to[i] = i % 16 < 8 ? x[j] * c - x[j + 8] * s : x[j + 8] * c + x[j] * s;
    }
}

static void test_mistake(struct file *g, enum mistake mistake, const char *name, const char *words)
{
    vdm_tensor *t = &g->tensors[index_of(g, name)], kept = *t;
    float *wrong = vdm_alloc(t->bytes / sizeof(float), sizeof(float), "a wrong tensor", &err);
    char first[256];
    if (!CHECK(wrong != NULL, "%s", err.text)) return;
    spoil(wrong, g, t, mistake);
    t->data = wrong;
    if (mistake == SHAPE_OF) {
        int64_t a = t->shape[1];
        t->shape[1] = t->shape[2], t->shape[2] = a;
    }
    CHECK(!vdm_safetensors_write(path_of("wrong.g"), g->tensors, g->count, NULL, 0, &err), "%s", err.text);
    int status = vdm("compare --tol 1e-5 @/0.g @/wrong.g");
    snprintf(first, sizeof first, "first to differ: %s\n", name);
    CHECK(status == 3 && says(first) && says(words), "%s: status %d, expected '%s' in\n%s", name, status,
          words, said);
    vdm_free(wrong);
    *t = kept;
}

static void test_mistakes(void)
{
    static struct file g;
    if (!CHECK(!vdm_safetensors_open(&g.f, path_of("0.g"), &err), "%s", err.text)) return;
    for (g.count = 0; g.count < g.f.count; g.count++) g.tensors[g.count] = g.f.tensors[g.count];
    test_mistake(&g, NAN_IN, "transformer_blocks.0.norm1", "NaN or Inf");
    test_mistake(&g, TURNED, "transformer_blocks.0.ff", "transposed");
    test_mistake(&g, BF16, "transformer_blocks.1.attn1.to_k", "bf16-rounded");
    test_mistake(&g, HALVES, "time_proj", "sin/cos swapped");
    test_mistake(&g, CHUNK, "transformer_blocks.1.norm1.shift", "as scale");
    test_mistake(&g, FACTOR, "v", "divided by the scaling factor");
    test_mistake(&g, ROWS, "transformer_blocks.0.attn1.to_v", "video's rows come first");
    test_mistake(&g, NEIGHBOUR, "transformer_blocks.0.attn1.rope_q", "half-split RoPE");
    test_mistake(&g, GATE, "transformer_blocks.1.h1", "gate of the attention is forgotten");
    test_mistake(&g, SHAPE_OF, "transformer_blocks.0.attn1.norm_q", "under another shape");
    test_mistake(&g, NOISE, "transformer_blocks.0.attn1.attention", "not one of the mistakes");
    vdm_safetensors_close(&g.f);
}

/* ------------------------------------------------------------------------------------------------
 * The command's own words */

static void test_words(void)
{
    const float three[] = {1, 2, 3}, other[] = {1, 2, 3.0003f};
    vdm_tensor a[] = {{"block.0.q", VDM_F32, 1, {3}, three, 12}, {"block.1.q", VDM_F32, 1, {3}, three, 12}};
    vdm_tensor b[] = {{"layer0_query", VDM_F32, 1, {3}, three, 12},
                      {"layer1_query", VDM_F32, 1, {3}, other, 12}};
    CHECK(!vdm_safetensors_write(path_of("a.st"), a, 2, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("b.st"), b, 2, NULL, 0, &err),
          "%s", err.text);
    write_text("map.txt", "# mine\nblock.*.q layer*_query\n");
    CHECK(vdm("compare @/a.st @/b.st") == 1 && says("has no tensor"), "%s", said);
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 1e-3") == 0 && says("2 agree"), "%s", said);
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 1e-6 --html @/page.html") == 3 &&
              says("[2]: expected 3,"),
          "%s", said);
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 1e-6 --only 'block.0.*'") == 0 && says("1 agree"),
          "%s", said);
    CHECK(vdm("compare @/a.st") == 2 && vdm("compare @/a.st @/none") == 1, "%s", said);
    CHECK(vdm("compare @/a.st @/a.st --tol soft") == 1 && says("--tol"), "%s", said);
    char *page;
    size_t size;
    if (!CHECK(!vdm_read_file(path_of("page.html"), 1 << 20, &page, &size, &err), "%s", err.text)) return;
    CHECK(strstr(page, "block.1.q") && strstr(page, "<svg") && strstr(page, "</html>") &&
              !strstr(page, "<script"),
          "the page");
    vdm_free(page);
}

/* In sampling the latents between steps are results, not inputs: as far off as latents.K may be. */
static void test_sampling(void)
{
    vdm_safetensors g;
    static const struct {
        const char *name;
        float factor;
        int status;
    } cases[] = {{"step.3.x", 1 + 3e-6f, 0},    {"step.3.patch_embed.patches", 1 + 3e-6f, 0},
                 {"latents.2", 1 + 3e-6f, 0},   {"decode.latents", 1 + 3e-6f, 0},
                 {"step.3.x", 1 + 3e-5f, 3},    {"step.3.t", 1 + 3e-6f, 3},
                 {"step.3.text", 1 + 3e-6f, 3}, {"image_latents", 1 + 3e-5f, 3}};
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --what sample --sample-steps 3 --only '*' -o @/steps.g") == 0,
          "%s", said);
    if (!CHECK(!vdm_safetensors_open(&g, path_of("steps.g"), &err), "%s", err.text)) return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vdm_tensor t = *vdm_safetensors_find(&g, cases[i].name);
        float *x = vdm_safetensors_floats(&g, t.name, t.rank, t.shape, &err);
        if (!CHECK(x != NULL, "%s", err.text)) continue;
        for (int64_t k = 0; k < vdm_tensor_count(&t); k++) x[k] *= cases[i].factor;
        t.data = x;
        CHECK(!vdm_safetensors_write(path_of("wrong.g"), &t, 1, NULL, 0, &err), "%s", err.text);
        CHECK(vdm("compare @/steps.g @/wrong.g") == cases[i].status, "%s times %.7g: %s", t.name,
              (double)cases[i].factor, said);
        vdm_free(x);
    }
    vdm_safetensors_close(&g);
}

int main(void)
{
    if (!find_program()) return check_end("compare");
    if (CHECK(!tiny_write(path_of("m"), TINY_15_I2V, VDM_F32, 5, &err), "%s", err.text)) {
        test_golden();
        test_mistakes();
        test_sampling();
    }
    test_words();
    return check_end("compare");
}
