/* vdm golden and vdm compare, as they are called: what a golden holds, that it repeats itself from its own
 * inputs, and that a tensor made wrong in one of the known ways is named, with what was done to it. */
#include "program.h"
#include "tiny.h"

#include <math.h>
#include <string.h>

static vdm_error err;

static bool says(const char *what)
{
    return strstr(printed, what) != NULL;
}

/* Compares a file with its copy: two equal files. */
static int compare_copy(const char *file, const char *options)
{
    CHECK(shell("cp @/%s @/copy.st", file) == 0, "%s", printed);
    return vdm("compare @/%s @/copy.st %s", file, options);
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
        CHECK(status == 0, "%s: %s", whats[i], printed);
        status = vdm("golden @/m --threads 1 --what %s --size 32x48 --inject @/%d.g --seed 7 -o @/again.g",
                     whats[i], i);
        CHECK(status == 0, "%s: %s", whats[i], printed);
        status = vdm("compare --tol 0 @/%d.g @/again.g", i);
        CHECK(status == 0 && says(" 0 don't") && says("; 0 are missing"), "%s from its own inputs: %s",
              whats[i], printed);
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
    CHECK(vdm("golden @/m --threads 1 --inject @/0.g --precision bf16 -o @/bf16.g") == 0, "%s", printed);
    CHECK(vdm("compare --tol 1e-4 @/0.g @/bf16.g") == 3, "bf16 is not f32: %s", printed);
    CHECK(vdm("compare @/0.g @/bf16.g") == 0, "bf16 is as far as expected: %s", printed);
    CHECK(vdm("golden @/m --threads 1 --inject @/0.g --precision amx -o @/amx.g") == 0, "%s", printed);
    CHECK(vdm("compare --tol 0 @/bf16.g @/amx.g") == 3, "amx is not bf16: %s", printed);
    CHECK(vdm("compare @/0.g @/amx.g") == 0, "amx is as far as expected of bf16: %s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --only '*.1.attn1.*,v' -o @/only.g") == 0, "%s", printed);
    if (!CHECK(!vdm_safetensors_open(&f, path_of("only.g"), &err), "%s", err.text)) return;
    CHECK(f.count == 3 + 1 + 9, "--only: %d tensors", (int)f.count);
    vdm_safetensors_close(&f);
    CHECK(vdm("golden @/m --size 40x48 -o @/no.g") == 1 && says("a multiple of 16"), "%s", printed);
    CHECK(vdm("golden @/m") == 2 && vdm("golden --names") == 0 && says("rope_q"), "%s", printed);
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

/* The result of the mistake on r [n], tensor t. */
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
    vdm_tensor *t = &g->tensors[index_of(g, name)], saved = *t;
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
          words, printed);
    vdm_free(wrong);
    *t = saved;
}

/* alpha / rank is named only if the gradient of v is there and right: else the factor is that of the loss. */
static void test_gradient_factor(void)
{
    static const char matrix[] = "step.1.grad.transformer_blocks.1.attn1.to_q.lora_B.weight",
                      of_v[] = "step.1.grad.v";
    static struct file g;
    if (!CHECK(!vdm_safetensors_open(&g.f, path_of("4.g"), &err), "%s", err.text)) return;
    for (g.count = 0; g.count < g.f.count && g.count < 300; g.count++)
        g.tensors[g.count] = g.f.tensors[g.count];
    vdm_tensor *t[] = {&g.tensors[index_of(&g, matrix)], &g.tensors[index_of(&g, of_v)]};
    for (int i = 0; i < 2; i++) { /* the matrix's; then also that of v */
        float *wrong = vdm_safetensors_floats(&g.f, t[i]->name, t[i]->rank, t[i]->shape, &err);
        if (!CHECK(wrong != NULL, "%s", err.text)) return;
        for (int64_t k = 0; k < vdm_tensor_count(t[i]); k++) wrong[k] *= 2; /* alpha 8, rank 4 */
        t[i]->data = wrong;
        CHECK(!vdm_safetensors_write(path_of("wrong.g"), g.tensors, g.count, NULL, 0, &err), "%s", err.text);
        CHECK(vdm("compare @/4.g @/wrong.g --only '*lora_B.weight'") == 3 &&
                  says("first to differ: step.1.grad.") && says("alpha / rank is applied twice") == !i,
              "%s", printed);
    }
    t[1]->name = "step.1.grad.w"; /* v's is not in the file */
    CHECK(!vdm_safetensors_write(path_of("wrong.g"), g.tensors, g.count, NULL, 0, &err), "%s", err.text);
    CHECK(vdm("compare @/4.g @/wrong.g") == 3 && says("every element is 2 times") && !says("alpha"), "%s",
          printed);
    for (int i = 0; i < 2; i++) vdm_free((void *)(uintptr_t)t[i]->data);
    vdm_safetensors_close(&g.f);
}

/* What is not in the metadata is not used: a model without a VAE has no factor of the latents. */
static void test_facts(struct file *g)
{
    static const char *const of_training[][2] = {
        {"beta1", "0.9"}, {"beta2", "0.95"}, {"eps", "1e-08"}, {"scaling_factor", "0.7"}};
    vdm_safetensors f;
    if (!CHECK(!vdm_safetensors_open(&f, path_of("4.g"), &err), "%s", err.text)) return;
    for (int i = 0; i < 4; i++) {
        const char *value = vdm_safetensors_metadata(&f, of_training[i][0]);
        CHECK(value && strcmp(value, of_training[i][1]) == 0, "%s: %s", of_training[i][0],
              value ? value : "none");
    }
    vdm_safetensors_close(&f);
    vdm_tensor *v = &g->tensors[index_of(g, "v")], saved = *v;
    float *wrong = vdm_safetensors_floats(&g->f, "v", v->rank, v->shape, &err);
    if (!CHECK(wrong != NULL, "%s", err.text)) return;
    for (int64_t i = 0; i < vdm_tensor_count(v); i++) wrong[i] *= 0.7f;
    v->data = wrong;
    CHECK(!vdm_safetensors_write(path_of("wrong.g"), g->tensors, g->count, NULL, 0, &err), "%s", err.text);
    CHECK(shell("cd '%s' && cp -r m m.bare && rm -r m.bare/vae", path_of(".")) == 0, "%s", printed);
    for (int bare = 0; bare < 2; bare++) {
        CHECK(vdm("golden @/m%s --threads 1 --inject @/0.g -o @/facts.g", bare ? ".bare" : "") == 0, "%s",
              printed);
        CHECK(vdm("compare @/facts.g @/wrong.g") == 3 && says("scaling factor once too often") == !bare &&
                  says("every element is 0.7 times the reference's") == bare,
              "%s", printed);
    }
    CHECK(shell("cd '%s' && mkdir m.bare/vae && echo '{' > m.bare/vae/config.json", path_of(".")) == 0, "%s",
          printed);
    CHECK(vdm("golden @/m.bare --threads 1 --inject @/0.g -o @/facts.g") == 1 && says("vae/config.json"),
          "%s", printed);
    vdm_free(wrong);
    *v = saved;
}

/* A golden of any batch is an input of the next. */
static void test_large_batch(void)
{
    CHECK(vdm("golden @/m --batch 300 --size 16x16 --frames 1 --only v -o @/300.g") == 0 &&
              vdm("golden @/m --inject @/300.g --only v -o @/again.g") == 0 &&
              vdm("compare --tol 0 @/300.g @/again.g") == 0,
          "%s", printed);
}

/* What is written by default, and the prefixes. */
static void test_help(void)
{
    static const char *const words[][2] = {{"golden --names", "encode.NAME, decode.NAME"},
                                           {"golden --names", "step.K.batch.I.NAME"},
                                           {"golden --names", "tile.I.J.NAME"},
                                           {"golden --names", "step.K.NAME"},
                                           {"golden --names", "--only '*' writes all"},
                                           {"golden --help", "of train the inputs, x, t, v"},
                                           {"compare --help", "within one part of a name"},
                                           {"compare --help", "'precision': f32"}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        CHECK(vdm("%s", words[i][0]) == 0 && says(words[i][1]), "%s: no '%s' in %s", words[i][0], words[i][1],
              printed);
}

/* Neighbours of another shape than their layer has, numbers of the model that are none: no cause, and no crash. */
static void test_short_neighbours(struct file *g)
{
    static const char *const bad[][2] = {
        {"patch_embed.text_proj", "patch_embed"},
        {"patch_embed.proj", "patch_embed"},
        {"transformer_blocks.0.norm1.gate", "transformer_blocks.0.h1"},
        {"transformer_blocks.0.attn1.to_out.0", "transformer_blocks.0.h1"},
        {"transformer_blocks.0.norm1.enc_shift", "transformer_blocks.0.norm1"},
        {"transformer_blocks.0.norm1.scale", "transformer_blocks.0.norm1.shift"},
        {"transformer_blocks.0.ff.net.0.proj", "transformer_blocks.0.ff.net.0"},
        {"transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn1.norm_q"},
        {"transformer_blocks.0.attn1.to_v", "transformer_blocks.0.attn1.attention"},
        {"transformer_blocks.0.attn1.norm_q", "transformer_blocks.0.attn1.rope_q"},
        {"rope.cos", "transformer_blocks.0.attn1.rope_q"},
        {"transformer_blocks.1", "norm_final"},
        {"norm_final", "norm_out.norm"},
        {"time_embedding", "emb"},
        {"t", "time_proj"},
        {"x", "patch_embed.patches"},
        {"proj_out", "v"}};
    static const char *const facts[][8] = {{"nan", "-3", "1e300", "0", "5", "7", "2", "x"}};
    static const char *const keys[] = {"text_tokens", "heads",   "head_dim", "layers",
                                       "patch",       "patch_t", "groups"};
    static float wrong[1 << 16];
    for (int i = 0; i < 1 << 16; i++) wrong[i] = 1 + (float)(i * 7919 % 101) / 50;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int f = 0; f < 8; f++) {
            const char *metadata[7][2];
            for (int k = 0; k < 7; k++) metadata[k][0] = keys[k], metadata[k][1] = facts[0][(f + k) % 8];
            vdm_tensor two[2] = {g->tensors[index_of(g, bad[i][0])], g->tensors[index_of(g, bad[i][1])]},
                       one = two[1];
            two[0].rank = f % 3 ? 1 : two[0].rank;
            for (int k = 0; k < two[0].rank; k++) two[0].shape[k] = 1;
            two[0].bytes = vdm_tensor_bytes(&two[0]);
            one.data = wrong;
            if (!CHECK(one.bytes <= sizeof wrong, "%s is large", one.name)) continue;
            CHECK(
                !vdm_safetensors_write(path_of("a.st"), two, 2, (const char *const(*)[2])metadata, 7, &err) &&
                    !vdm_safetensors_write(path_of("b.st"), &one, 1, NULL, 0, &err),
                "%s", err.text);
            int status = vdm("compare @/a.st @/b.st");
            CHECK(status == 3, "%s next to %s: %d: %s", bad[i][1], bad[i][0], status, printed);
        }
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
    test_mistake(&g, CHUNK, "transformer_blocks.1.norm1.shift", "is the reference's scale");
    test_mistake(&g, FACTOR, "v", "divided by the scaling factor");
    test_mistake(&g, ROWS, "transformer_blocks.0.attn1.to_v", "video's rows come first");
    test_mistake(&g, NEIGHBOUR, "transformer_blocks.0.attn1.rope_q", "half-split RoPE");
    test_mistake(&g, GATE, "transformer_blocks.1.h1", "gate of the attention is forgotten");
    test_mistake(&g, SHAPE_OF, "transformer_blocks.0.attn1.norm_q", "with another shape");
    test_mistake(&g, NOISE, "transformer_blocks.0.attn1.attention",
                 "cause: not one of the mistakes that were tried\n");
    test_short_neighbours(&g);
    test_facts(&g);
    vdm_safetensors_close(&g.f);
}

/* ------------------------------------------------------------------------------------------------
 * Messages of the command */

/* The page's first sentence counts the tensors that are missing, as the last line of the terminal does. b: the same
 * as a, but for the second tensor. */
static void test_page(vdm_tensor a[2], vdm_tensor b[2])
{
    static char page[1 << 16];
    b[0].name = a[0].name, b[1].name = a[1].name;
    const float none[] = {1, 2, (float)NAN};
    const vdm_tensor nan = {a[0].name, VDM_F32, 1, {3}, none, 12};
    CHECK(!vdm_safetensors_write(path_of("nan.st"), &nan, 1, NULL, 0, &err), "%s", err.text);
    CHECK(vdm("compare @/a.st @/nan.st --html @/page.html") == 3 && slurp(page, sizeof page, "page.html") &&
              strstr(page, "cy=\"52.0\""),
          "NaN is not at the top of the page: %s", printed);
    const struct {
        int missing, first;
        const char *says;
    } cases[] = {
        {1, 0, "All 1 tensors that are in both files agree; 1 of 2 are missing in the other file.</p>"},
        {1, 1,
         "1 of 1 tensors that are in both files differ, the first of them <strong>block.1.q</strong>; "
         "1 of 2 are missing in the other file.</p>"},
        {0, 0, "1 of 2 tensors differ, the first of them <strong>block.1.q</strong>.</p>"}};
    for (int i = 0; i < 3; i++) {
        CHECK(
            !vdm_safetensors_write(path_of("b.st"), b + cases[i].first, 2 - cases[i].missing, NULL, 0, &err),
            "%s", err.text);
        vdm("compare @/a.st @/b.st --tol 1e-6 --html @/page.html");
        CHECK(slurp(page, sizeof page, "page.html") && strstr(page, cases[i].says), "'%s': %s", cases[i].says,
              strstr(page, "<h1>"));
    }
    compare_copy("a.st", "--html @/page.html");
    CHECK(slurp(page, sizeof page, "page.html") && strstr(page, "All 2 tensors agree.</p>"), "%s",
          strstr(page, "<h1>"));
}

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
    CHECK(vdm("compare @/a.st @/b.st") == 1 && says("no tensor has a name"), "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 1e-3") == 0 && says("2 agree"), "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 1e-6 --html @/page.html") == 3 &&
              says("[2]: expected 3,"),
          "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 1e-6 --only 'block.0.*'") == 0 && says("1 agree"),
          "%s", printed);
    write_text("map.txt", "block.0.q layer0_query\n");
    CHECK(
        vdm("compare @/a.st @/b.st --map @/map.txt") == 0 &&
            says(
                "note: not compared: 1 tensor of the other file that the reference does not have; the first: "
                "'layer1_query'"),
        "%s", printed);
    write_text("map.txt", "block.0.q layer0_query\nblock.7.q layer7_query\n");
    static char noted[1 << 16];
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --html @/notes.html") == 0 &&
              says("note: --map: 1 line fits no tensor of the reference; the first: 'block.7.q'") &&
              slurp(noted, sizeof noted, "notes.html") &&
              strstr(noted, "<p>not compared: 1 tensor of the other file that the reference does not have") &&
              strstr(noted, "<p>--map: 1 line fits no tensor of the reference"),
          "the page has not all notes: %s", printed);
    CHECK(compare_copy("a.st", "--only block.0.q") == 0 && !says("note:"), "%s", printed);
    CHECK(vdm("compare @/a.st") == 2 && vdm("compare @/a.st @/none") == 1, "%s", printed);
    static const char *const tolerances[] = {"soft", "0x1", "' 1'", "'1 '", "nan", "-1"};
    for (size_t i = 0; i < sizeof tolerances / sizeof tolerances[0]; i++)
        CHECK(vdm("compare @/a.st @/b.st --tol %s", tolerances[i]) == 1 && says("--tol"), "%s: %s",
              tolerances[i], printed);
    static const char *const names[] = {"@/a.st @/a.st", "@/a.st @/./a.st", "@/a.st @/link.st",
                                        "@/hard.st @/a.st"};
    CHECK(shell("ln -s a.st @/link.st && ln @/a.st @/hard.st") == 0, "%s", printed);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CHECK(vdm("compare %s", names[i]) == 1 &&
                  says("expected two files, the reference and a port's, found one"),
              "%s: %s", names[i], printed);
    char *page;
    size_t size;
    if (!CHECK(!vdm_read_file(path_of("page.html"), 1 << 20, &page, &size, &err), "%s", err.text)) return;
    CHECK(strstr(page, "block.1.q") && strstr(page, "<svg") && strstr(page, "</html>") &&
              !strstr(page, "<script"),
          "the page");
    vdm_free(page);
    test_page(a, b);
}

/* ------------------------------------------------------------------------------------------------
 * Values and types: what agrees, what does not, and the messages */

/* Two files of one tensor each, [n]. */
static int compare_one(const char *name, vdm_dtype type, const void *ref, vdm_dtype other, const void *got,
                       int64_t n, const char *const (*facts)[2])
{
    vdm_tensor a = {name, type, 1, {n}, ref, 0}, b = {name, other, 1, {n}, got, 0};
    a.bytes = vdm_tensor_bytes(&a), b.bytes = vdm_tensor_bytes(&b);
    CHECK(!vdm_safetensors_write(path_of("a.st"), &a, 1, facts, facts ? 1 : 0, &err) &&
              !vdm_safetensors_write(path_of("b.st"), &b, 1, NULL, 0, &err),
          "%s", err.text);
    return vdm("compare @/a.st @/b.st --list");
}

static void test_values(void)
{
    const float inf = (float)INFINITY, none = (float)NAN;
    static const struct {
        const char *what;
        int status;
        const char *says;
    } right[] = {{"equal infinities", 0, "1 agree"},
                 {"the other infinity", 3, "cause: NaN or Inf in 1 of 3 elements; no tensor before it"},
                 {"infinity for a number", 3, "expected 1, found inf"},
                 {"a number for an infinity", 3, "cause: finite where the reference has Inf"},
                 {"one of two infinities", 3, "cause: finite where the reference has Inf"},
                 {"NaN of the reference", 3, "the reference itself has NaN there"},
                 {"NaN in both", 3, "the reference itself has NaN there"},
                 {"NaN of the other", 3, "expected 2, found nan"}};
    const float refs[][3] = {{1, -inf, 2},  {1, -inf, 2}, {1, 1, 2},    {1, inf, 2},
                             {inf, inf, 2}, {1, none, 2}, {1, none, 2}, {1, 1, 2}},
                gots[][3] = {{1, -inf, 2}, {1, inf, 2},   {inf, 1, 2},  {1, 1, 2},
                             {1, inf, 2},  {-7e6f, 3, 4}, {1, none, 2}, {1, 1, copysignf(none, -1)}};
    for (size_t i = 0; i < sizeof right / sizeof *right; i++) {
        int status = compare_one("m", VDM_F32, refs[i], VDM_F32, gots[i], 3, NULL);
        CHECK(status == right[i].status && says(right[i].says), "%s: %d: %s", right[i].what, status, printed);
    }
}

/* Elements whose squares are 0 or infinite in double. */
static void test_extremes(void)
{
    static const struct {
        const char *what;
        double ref[3], got[3];
        int status;
        const char *says;
    } cases[] = {
        {"tiny", {1e-170, 2e-170, 3e-170}, {-5e-166, 7e-165, 0}, 3, "expected 1e-170, found -5e-166"},
        {"equal and tiny", {1e-170, 2e-170, 0}, {1e-170, 2e-170, 0}, 0, "1 agree"},
        {"subnormal", {5e-324, 0, 0}, {0, 0, 5e-324}, 3, "expected 4.940656e-324, found 0"},
        {"huge", {1e160, 2, 1}, {1e160, 2e155, 1}, 3, "2.00e-05"},
        {"the largest", {1.7e308, 2, 1}, {-1.7e308, 2, 1}, 3, "expected 1.7e+308, found -1.7e+308"},
        {"equal and huge", {1.7e308, 2, 1}, {1.7e308, 2, 1}, 0, "1 agree"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = compare_one("m", VDM_F64, cases[i].ref, VDM_F64, cases[i].got, 3, NULL);
        CHECK(status == cases[i].status && says(cases[i].says) && !says("nan"), "%s: %d: %s", cases[i].what,
              status, printed);
    }
}

static void test_types(void)
{
    const int64_t ids[] = {5, 31000, ((int64_t)1 << 40) + 1}, more[] = {5, 31000, ((int64_t)1 << 40) + 3},
                  small[] = {5, 31000, 7};
    const int32_t narrow[] = {5, 31000, 7}, others[] = {5, 31001, 7};
    const float as_floats[] = {5, 31000, 7};
    const uint64_t large[] = {UINT64_MAX, 0, 1};
    const int64_t negative[] = {-1, 0, 1};
    const unsigned char bytes[] = {0, 1, 1}, flipped[] = {0, 1, 0};
    const struct {
        const char *what;
        vdm_dtype a;
        const void *ref;
        vdm_dtype b;
        const void *got;
        int status;
        const char *says;
    } cases[] = {
        {"the same", VDM_I64, ids, VDM_I64, ids, 0, "1 agree"},
        {"beyond 2^24", VDM_I64, ids, VDM_I64, more, 3, "expected 1099511627777, found 1099511627779"},
        {"I64 and I32", VDM_I64, small, VDM_I32, narrow, 0, "1 agree"},
        {"one id", VDM_I64, small, VDM_I32, others, 3, "1 of 3 elements differ"},
        {"integers in floats", VDM_F32, as_floats, VDM_I64, small, 0, "1 agree"},
        {"one of them", VDM_F32, as_floats, VDM_I32, others, 3, "[1]: expected 31000, found 31001"},
        {"a sign", VDM_U64, large, VDM_I64, negative, 3, "expected 18446744073709551615, found -1"},
        {"BOOL", VDM_BOOL, bytes, VDM_BOOL, bytes, 0, "1 agree"},
        {"another BOOL", VDM_BOOL, bytes, VDM_BOOL, flipped, 3, "[2]: expected 1, found 0"},
        {"U8 and BOOL", VDM_U8, bytes, VDM_BOOL, bytes, 0, "1 agree"},
        {"F8", VDM_F8_E4M3, bytes, VDM_F8_E4M3, bytes, 0, "1 agree"},
        {"other bytes", VDM_F8_E4M3, bytes, VDM_F8_E4M3, flipped, 3, "whose values can't be compared"},
        {"F8 and F32", VDM_F32, as_floats, VDM_F8_E5M2, bytes, 3, "expected F32, found F8_E5M2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = compare_one("n", cases[i].a, cases[i].ref, cases[i].b, cases[i].got, 3, NULL);
        CHECK(status == cases[i].status && says(cases[i].says), "%s: %d: %s", cases[i].what, status, printed);
    }
    const float three[] = {5, 31000, 7}, other[] = {5, 31000.02f, 7};
    CHECK(compare_one("ids", VDM_F32, three, VDM_F32, other, 3, NULL) == 3, "ids in floats: %s", printed);
    CHECK(compare_one("n", VDM_F32, three, VDM_F32, three, 3,
                      (const char *const[][2]){{"expected_f32", "{\"n\": -1}"}}) == 1 &&
              says("expected a number from 0 on"),
          "%s", printed);
    CHECK(compare_one("n", VDM_F32, three, VDM_F32, three, 3,
                      (const char *const[][2]){{"expected_f32", "[]"}}) == 1 &&
              says("expected an object"),
          "%s", printed);
}

/* Goldens of two versions are compared, and that is printed. */
static void test_versions(void)
{
    static const float x[] = {1, 2, 3};
    static const char *const versions[][2][2] = {{{"version", "0.1.0"}}, {{"version", "0.2.0"}}};
    const vdm_tensor t = {"v", VDM_F32, 1, {3}, x, sizeof x};
    for (int i = 0; i < 2; i++)
        CHECK(!vdm_safetensors_write(path_of(i ? "b.st" : "a.st"), &t, 1, versions[i], 1, &err), "%s",
              err.text);
    static char page[1 << 16];
    CHECK(vdm("compare @/a.st @/b.st --html @/page.html") == 0 &&
              says("note: version: the reference has 0.1.0, the other file 0.2.0") &&
              slurp(page, sizeof page, "page.html") &&
              strstr(page, "<p>version: the reference has 0.1.0, the other file 0.2.0.</p>"),
          "%s", printed);
    CHECK(compare_copy("a.st", "") == 0 && !says("note: version"), "%s", printed);
}

/* A reference in bf16 has bf16's errors itself. */
static void test_precision(void)
{
    static const float x[] = {1, 2, 3};
    static const char *const facts[][2][2] = {{{"precision", "bf16"}}, {{"precision", "f32"}}};
    const char *const note =
        "note: precision: the reference was computed in bf16, the tolerances are those of f32";
    CHECK(compare_one("v", VDM_F32, x, VDM_F32, x, 3, facts[0]) == 0 && says(note), "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --as bf16") == 0 && !says("note:"), "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --tol 0") == 0 && !says("note:"), "%s", printed);
    CHECK(compare_copy("a.st", "") == 0 && !says("note:"), "%s", printed);
    CHECK(compare_one("v", VDM_F32, x, VDM_F32, x, 3, facts[1]) == 0 && !says("note:"), "%s", printed);
    static const char *const other[][2] = {{"precision", "fp8"}};
    const vdm_tensor t = {"v", VDM_F32, 1, {3}, x, sizeof x};
    CHECK(!vdm_safetensors_write(path_of("b.st"), &t, 1, other, 1, &err), "%s", err.text);
    CHECK(vdm("compare @/a.st @/b.st") == 1 &&
              says("b.st: metadata 'precision': expected f32, float32, bf16, bfloat16 or amx, found 'fp8'"),
          "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --as bf16") == 0 && vdm("compare @/a.st @/b.st --tol 0") == 0, "%s",
          printed);
    static const char *const long_names[][2] = {{"precision", "bfloat16"}, {"precision", "float32"}};
    const float near[] = {1, 2, 3.02f};
    const vdm_tensor wrong = {"v", VDM_F32, 1, {3}, near, sizeof near};
    for (int i = 0; i < 2; i++) {
        CHECK(!vdm_safetensors_write(path_of("b.st"), &wrong, 1, long_names + i, 1, &err), "%s", err.text);
        CHECK(vdm("compare @/a.st @/b.st") == (i ? 3 : 0), "%s: %s", long_names[i][1], printed);
    }
}

/* A factor, a sum, another tensor: of one element, or of equal ones, everything explains everything. */
static void test_no_wrong_cause(void)
{
    float ref[64], got[64];
    for (int i = 0; i < 64; i++) ref[i] = 3, got[i] = 3.5f;
    static const char *const names[] = {"loss", "step.1.grad_norm", "step.2.lr", "latents.1", "x"};
    for (int i = 0; i < 5; i++) {
        CHECK(compare_one(names[i], VDM_F32, ref, VDM_F32, got, 1, NULL) == 3 &&
                  says("cause: not one of the mistakes that were tried\n"),
              "%s, one element: %s", names[i], printed);
        CHECK(compare_one(names[i], VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 &&
                  says("cause: not one of the mistakes that were tried\n"),
              "%s, constant: %s", names[i], printed);
    }
    for (int i = 0; i < 64; i++) ref[i] = (float)(i * 7919 % 101) / 50 - 1, got[i] = 1234 * ref[i];
    CHECK(compare_one("velocity.1", VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 &&
              says("not one of the mistakes that were tried; every element is 1234 times"),
          "a factor that is none of the known ones is an observation: %s", printed);
    for (int i = 0; i < 64; i++)
        got[i] = 0.957f * ref[i] * (1 + 1e-3f * (float)(i % 3)); /* nearly a factor */
    CHECK(compare_one("velocity.1", VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 &&
              says("cause: not one of the mistakes that were tried\n"),
          "what is left is out of the tolerance: %s", printed);
    for (int i = 0; i < 64; i++) got[i] = -ref[i];
    CHECK(compare_one("velocity.1", VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 && says("the sign is flipped"),
          "%s", printed);
}

/* Of every element only if next to nothing is left: here a sixth of the error is. */
static void test_on_average(void)
{
    float ref[64], got[64];
    for (int i = 0; i < 64; i++) {
        ref[i] = (float)(i * 7919 % 101) / 50 - 1;
        got[i] = ref[i] * (1 + 6e-5f + (i % 2 ? 1e-5f : -1e-5f));
    }
    CHECK(compare_one("velocity.1", VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 &&
              says("on average an element is 1.0000") && says(" times the reference's"),
          "%s", printed);
}

/* In bf16 rounding explains nothing: the tolerance allows it. */
static void test_bf16_cause(void)
{
    float ref[64], got[64];
    for (int i = 0; i < 64; i++) {
        ref[i] = (float)(i * 7919 % 101) / 50 - 1.003f;
        got[i] = vdm_from_bf16(vdm_to_bf16(ref[i]));
    }
    CHECK(compare_one("patch_embed.proj", VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 &&
              says("cause: bf16-rounded"),
          "%s", printed);
    CHECK(vdm("compare @/a.st @/b.st --as bf16") == 0, "%s", printed);
    for (int i = 0; i < 64; i++) got[i] = vdm_from_bf16(vdm_to_bf16(i % 9 ? ref[i] : ref[i] - 0.05f));
    for (int i = 0; i < 2; i++) {
        CHECK(compare_one("patch_embed.proj", VDM_F32, ref, VDM_F32, got, 64, NULL) == 3 &&
                  (!i || vdm("compare @/a.st @/b.st --as bf16") == 3) &&
                  says("cause: not one of the mistakes that were tried\n"),
              "rounding is not all: %s", printed);
    }
}

/* eps 0 and 1e-8 give the same in f32: both are named. A reference without norm_eps has no eps to be wrong. */
static void test_eps(void)
{
    enum { LINES = 12, D = 16 };
    static float x[LINES * D], ref[LINES * D], got[LINES * D];
    static const char *const facts[][2] = {{"norm_eps", "1e-05"}};
    for (int i = 0; i < LINES * D; i++) x[i] = (float)(i * 7919 % 101) / 30 - 1;
    for (int r = 0; r < LINES; r++) {
        double mean = 0, var = 0;
        for (int c = 0; c < D; c++) mean += (double)x[r * D + c] / D;
        for (int c = 0; c < D; c++) var += pow((double)x[r * D + c] - mean, 2) / D;
        for (int i = r * D; i < (r + 1) * D; i++) {
            ref[i] = (float)(((double)x[i] - mean) / sqrt(var + 1e-5));
            got[i] = (float)(((double)x[i] - mean) / sqrt(var + 1e-9));
        }
    }
    const vdm_tensor a[] = {{"norm_final", VDM_F32, 3, {1, LINES, D}, x, sizeof x},
                            {"norm_out.norm", VDM_F32, 3, {1, LINES, D}, ref, sizeof ref}},
                     b = {"norm_out.norm", VDM_F32, 3, {1, LINES, D}, got, sizeof got};
    CHECK(!vdm_safetensors_write(path_of("b.st"), &b, 1, NULL, 0, &err), "%s", err.text);
    for (int known = 0; known < 2; known++) {
        CHECK(!vdm_safetensors_write(path_of("a.st"), a, 2, facts, known, &err), "%s", err.text);
        CHECK(vdm("compare @/a.st @/b.st --tol 1e-6") == 3 &&
                  says("the norm's eps is at most 1e-07, expected 1e-05") == known,
              "%s", printed);
    }
}

/* PyTorch's exp: frequencies a unit in the last place off, at the published width. */
static void test_exp(void)
{
    enum { WIDTH = 3072, HALF = WIDTH / 2 };
    static float ref[WIDTH], got[WIDTH], after[WIDTH], shifted[WIDTH];
    const float t = 999;
    for (int j = 0; j < HALF; j++) {
        float w = (float)exp(-9.210340371976184 * j / HALF), off = j % 50 == 3 ? nextafterf(w, 1) : w;
        ref[j] = (float)cos((double)(t * w)), ref[HALF + j] = (float)sin((double)(t * w));
        got[j] = (float)cos((double)(t * off)), got[HALF + j] = (float)sin((double)(t * off));
    }
    for (int j = 0; j < WIDTH; j++) after[j] = ref[j] * (1 + 3e-6f), shifted[j] = ref[j] * (1 + 3e-3f);
    vdm_tensor a[] = {{"t", VDM_F32, 1, {1}, &t, 4},
                      {"time_proj", VDM_F32, 2, {1, WIDTH}, ref, sizeof ref},
                      {"time_embedding", VDM_F32, 2, {1, WIDTH}, ref, sizeof ref}},
               b[3];
    memcpy(b, a, sizeof a);
    b[1].data = got, b[2].data = after;
    CHECK(!vdm_safetensors_write(path_of("a.st"), a, 3, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("b.st"), b, 3, NULL, 0, &err),
          "%s", err.text);
    CHECK(vdm("compare @/a.st @/b.st") == 0 &&
              says("note: time_proj: explained by the rounding of the timestep's frequencies") &&
              says("3 agree"),
          "%s", printed);
    static char page[1 << 16];
    CHECK(vdm("compare @/a.st @/b.st --html @/page.html") == 0 && slurp(page, sizeof page, "page.html") &&
              strstr(page, "<p>time_proj: explained by the rounding"),
          "the page has no note: %s", printed);
    CHECK(vdm("compare @/a.st @/b.st --tol 1e-7") == 3, "a tolerance that is given holds: %s", printed);
    for (int j = 0; j < HALF; j++) { /* a port in double */
        double angle = (double)t * exp(-9.210340371976184 * j / HALF);
        got[j] = (float)cos(angle), got[HALF + j] = (float)sin(angle);
    }
    CHECK(!vdm_safetensors_write(path_of("b.st"), b, 3, NULL, 0, &err), "%s", err.text);
    CHECK(vdm("compare @/a.st @/b.st") == 0 && says("a port in double precision does not have"), "%s",
          printed);
    b[2].data = shifted;
    CHECK(!vdm_safetensors_write(path_of("b.st"), b, 3, NULL, 0, &err), "%s", err.text);
    CHECK(vdm("compare @/a.st @/b.st") == 3 && says("first to differ: time_embedding"), "%s", printed);
    b[1].data = shifted;
    CHECK(!vdm_safetensors_write(path_of("b.st"), b, 3, NULL, 0, &err), "%s", err.text);
    CHECK(vdm("compare @/a.st @/b.st") == 3 && says("first to differ: time_proj"), "%s", printed);
}

/* --map: every line that is not two names is rejected. */
static void test_map(void)
{
    static const struct {
        const char *text, *says;
    } cases[] = {{"block.0.q\nlayer0_query\n", "line 1: expected two names, 'REFERENCE OTHER', found 1 word"},
                 {"# mine\n\nblock.0.q layer0_query more\n", "line 3: expected two names"},
                 {"block.*.q layer*_*\n", "no more in the second name"},
                 {"*.*.*.*.*.*.*.*.* a\n", "at most 8"},
                 {"a b\na c\n", "'a' has two lines"},
                 {"a \xff\xfe\n", "bytes that are not text"}};
    const float x[] = {1, 2, 3}, y[] = {4, 5, 6};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text("map.txt", "%s", cases[i].text);
        CHECK(compare_copy("a.st", "--map @/map.txt") == 1 && says(cases[i].says), "%s: %s", cases[i].text,
              printed);
    }
    vdm_tensor a[] = {{"block.0.q", VDM_F32, 1, {3}, x, 12}, {"block.1.q", VDM_F32, 1, {3}, y, 12}},
               b[] = {{"first", VDM_F32, 1, {3}, x, 12}, {"l1", VDM_F32, 1, {3}, y, 12}};
    CHECK(!vdm_safetensors_write(path_of("a.st"), a, 2, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("b.st"), b, 2, NULL, 0, &err),
          "%s", err.text);
    write_text("map.txt", "block.*.q l* # all\r\n\tblock.0.q\tfirst\n");
    CHECK(vdm("compare @/a.st @/b.st --map @/map.txt --tol 0") == 0 && says("2 agree"),
          "an exact line first: %s", printed);
}

/* The tensors of --inject are checked before memory is allocated. */
static void test_inject(void)
{
    static const float x[4096];
    static const struct {
        const char *what;
        vdm_tensor t;
        const char *says;
    } cases[] = {
        {"transformer",
         {"x", VDM_F32, 5, {0, 4, 32, 8, 8}, x, 0},
         "tensor 'x': expected [any,any,32,any,any]"},
        {"transformer", {"x", VDM_F32, 5, {1, 4, 1, 8, 8}, x, 0}, "found [1,4,1,8,8]"},
        {"transformer", {"x", VDM_F32, 5, {1, 2, 32, 3, 4}, x, 0}, "expected multiples of the patch"},
        {"transformer", {"x", VDM_F32, 5, {1, 3, 32, 2, 4}, x, 0}, "expected multiples of the patch"},
        {"transformer", {"x", VDM_F8_E4M3, 5, {1, 2, 32, 2, 2}, x, 0}, "found F8_E4M3"},
        {"transformer", {"x", VDM_F32, 5, {1, 2, 32, 6, 6}, x, 0}, "positions are for at most 4x6"},
        {"transformer", {"x", VDM_F32, 5, {1, 2, 32, 4, 8}, x, 0}, "positions are for at most 4x6"},
        {"train", {"videos", VDM_F32, 5, {2, 2, 16, 4, 8}, x, 0}, "positions are for at most 4x6"},
        {"train", {"videos", VDM_F32, 5, {2, 0, 16, 4, 4}, x, 0}, "tensor 'videos': expected"},
        {"train", {"videos", VDM_F32, 5, {2, 2, 16, 3, 4}, x, 0}, "expected multiples of the patch"},
        {"train", {"t", VDM_F32, 2, {0, 1}, x, 0}, "tensor 't': expected [any,1], found [0,1]"},
        {"train",
         {"adapter.transformer_blocks.0.attn1.to_q.lora_A.weight", VDM_F32, 2, {65536, 0}, x, 0},
         "expected [any,64], found [65536,0]"},
        {"vae-encode", {"video", VDM_F32, 4, {1, 1, 8, 8}, x, 0}, "tensor 'video': expected [any,3,any,any]"},
        {"vae-encode", {"video", VDM_F32, 4, {1, 3, 7, 8}, x, 0}, "expected multiples of 8"},
        {"vae-decode",
         {"latents", VDM_F32, 4, {1, 1, 2, 2}, x, 0},
         "tensor 'latents': expected [any,16,any,any]"},
        {"train", /* a name of another computation */
         {"x", VDM_F32, 5, {1, 2, 32, 2, 2}, x, 0},
         "expected some of the inputs of --what train: videos, images, text, t, pair, noise, found none"},
        {"transformer", {"x", VDM_F32, 5, {1, 2, 32, 3, 4}, x, 0}, "injected: x; not in it: text, t"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vdm_tensor t = cases[i].t;
        t.bytes = vdm_tensor_bytes(&t);
        CHECK(!vdm_safetensors_write(path_of("in.st"), &t, 1, NULL, 0, &err), "%s", err.text);
        int status = vdm("golden @/m --threads 1 --what %s --inject @/in.st -o @/no.g", cases[i].what);
        CHECK(status == 1 && says(cases[i].says), "%s: %d: %s", cases[i].what, status, printed);
    }
    float wild[2 * 32 * 2 * 2];
    for (int i = 0; i < 2 * 32 * 2 * 2; i++) wild[i] = i == 7 ? (float)NAN : 1;
    vdm_tensor t = {"x", VDM_F32, 5, {1, 2, 32, 2, 2}, wild, sizeof wild};
    CHECK(!vdm_safetensors_write(path_of("in.st"), &t, 1, NULL, 0, &err), "%s", err.text);
    CHECK(vdm("golden @/m --threads 1 --inject @/in.st -o @/no.g") == 1 &&
              says("element 7: expected a finite number"),
          "%s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --only 'norm1' -o @/no.g") == 1 &&
              says("--only norm1: no tensor of --what transformer has such a name"),
          "%s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --only 'x' -o @/x.g") == 0, "%s", printed);
    CHECK(compare_copy("x.g", "--only 'X'") == 1 && says("--only X: no tensor of"), "%s", printed);
    CHECK(vdm("golden @/m --size 32x48 --only 'x,' -o @/no.g") == 1 &&
              says("--only: found 'x,', expected a name between commas"),
          "%s", printed);
    CHECK(compare_copy("x.g", "--only ,x") == 1 && says("found ',x', expected a name"), "%s", printed);
    CHECK(
        shell(
            "only=x; for i in $(seq 64); do only=$only,x; done; \"$VDM\" compare @/x.g @/copy.st --only $only") ==
                1 &&
            says("--only: found 65 names, expected at most 64"),
        "%s", printed);
    CHECK(vdm("golden @/m --model @/m -o @/no.g") == 2 && says("expected one model"), "%s", printed);
}

/* Learning in bf16: its errors were measured in f32 only, and aren't those of exact tensors. */
static void test_learning_in_bf16(void)
{
    static const float x[] = {1, 2, 3}, near[] = {1, 2, 3.1f}, far[] = {1, 2, 5};
    static const char *const bf16[][2] = {{"precision", "bf16"}};
    static const char *const names[] = {"step.1.loss", "step.1.grad_norm",
                                        "step.2.adamw.m.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                        "step.1.lr", "step.1.t"};
    for (int steps = 1; steps <= 3; steps += 2) {
        for (int i = 0; i < 2; i++)
            CHECK(
                vdm("golden models/tiny --threads 2 --what train --size 32x32 --steps %d --precision %s -o @/%s.g",
                    steps, i ? "bf16" : "f32", i ? "bf16" : "f32") == 0,
                "%s", printed);
        CHECK(vdm("compare @/f32.g @/bf16.g") == 0 && says(" 0 don't"), "%d steps: %s", steps, printed);
        CHECK(vdm("compare @/f32.g @/bf16.g --as f32") == 3, "bf16 is not f32: %s", printed);
    }
    for (int i = 0; i < 5; i++)
        for (int k = 0; k < 2; k++) {
            const vdm_tensor a = {names[i], VDM_F32, 1, {3}, x, 12},
                             b = {names[i], VDM_F32, 1, {3}, k ? far : near, 12};
            CHECK(!vdm_safetensors_write(path_of("a.st"), &a, 1, NULL, 0, &err) &&
                      !vdm_safetensors_write(path_of("b.st"), &b, 1, bf16, 1, &err),
                  "%s", err.text);
            int expected = k || i > 2 ? 3 : 0; /* lr and t are exact in bf16, too */
            CHECK(vdm("compare @/a.st @/b.st") == expected, "%s: expected %d: %s", names[i], expected,
                  printed);
        }
}

/* A port that wrote none of the results, or not the one that was asked for, does not agree; a part of them may. */
static void test_missing(void)
{
    static const char *const names[] = {"x", "text", "t", "proj_out"};
    static char page[1 << 16];
    vdm_safetensors g;
    vdm_tensor part[4];
    if (!CHECK(!vdm_safetensors_open(&g, path_of("0.g"), &err), "%s", err.text)) return;
    for (int i = 0; i < 4; i++) part[i] = *vdm_safetensors_find(&g, names[i]);
    CHECK(!vdm_safetensors_write(path_of("in.st"), part, 3, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("part.st"), part, 4, NULL, 0, &err),
          "%s", err.text);
    CHECK(vdm("compare @/0.g @/in.st --html @/page.html") == 3 &&
              says("in.st: expected results, such as '") && says("found only inputs of the computation") &&
              says("3 agree, 0 don't"),
          "%s", printed);
    CHECK(slurp(page, sizeof page, "page.html") && strstr(page, "found only inputs of the computation.</p>"),
          "the page does not have it");
    CHECK(vdm("compare @/0.g @/in.st --only 'x,v'") == 3 &&
              says("in.st: expected 'v' of --only, found no such tensor"),
          "%s", printed);
    CHECK(vdm("compare @/0.g @/part.st --only 'x,v'") == 3 && says("'v' of --only"), "%s", printed);
    CHECK(vdm("compare @/0.g @/in.st --only 'x,t'") == 0 && !says("expected"), "only inputs: %s", printed);
    CHECK(vdm("compare @/0.g @/part.st") == 0 && says("are missing in the other file"), "a part: %s",
          printed);
    CHECK(vdm("compare @/0.g @/part.st --only 'v*,proj_out'") == 3 &&
              says("part.st: expected 'v*' of --only, found no such tensor"),
          "a pattern: %s", printed);
    CHECK(vdm("compare @/0.g @/part.st --only 'proj*,norm_out*,t'") == 3 && says("expected 'norm_out*' of"),
          "the second pattern: %s", printed);
    CHECK(vdm("compare @/0.g @/part.st --only '*,proj_*'") == 0, "a part of each: %s", printed);
    CHECK(vdm("compare @/0.g @/part.st --only 'norm_o*'") == 1 && says("no tensor has a name that is in") &&
              says("0.g and matches --only norm_o*"),
          "%s", printed);
    vdm_safetensors_close(&g);
}

/* Several adapters are joined, as in predict. */
static void test_adapters(void)
{
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --what train --steps 1 -o @/train.g") == 0, "%s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --what train --steps 1 --accumulate 2 -o @/two.g") == 0 &&
              vdm("info @/two.g") == 0 && says("step.1.batch.2.x\n") && says("step.1.batch.1.target\n") &&
              says("step.1.batch.2.v\n") && says("step.1.batch.2.t\n") && says("step.1.loss\n") &&
              !says("step.1.batch.1.emb\n"),
          "%s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --lora @/none.st -o @/no.g") == 1, "%s", printed);
    vdm_transformer_config c = {.layers = 2, .heads = 4, .head_dim = 16};
    for (int i = 0; i < 2; i++) {
        vdm_rng rng;
        vdm_lora a;
        vdm_rng_seed(&rng, (uint64_t)i + 1);
        if (!CHECK(!vdm_lora_init(&a, &c, VDM_ATTENTION, 2 + i, 4, &rng, &err), "%s", err.text)) return;
        vdm_randn(&rng, a.params, vdm_lora_count(&a));
        CHECK(!vdm_lora_write(&a, path_of(i ? "two.st" : "one.st"), &err), "%s", err.text);
        vdm_lora_free(&a);
    }
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --only v --lora @/one.st -o @/one.g") == 0, "%s", printed);
    CHECK(
        vdm("golden @/m --threads 1 --size 32x48 --only v --lora @/one.st:1 --lora @/two.st:0 -o @/both.g") ==
            0,
        "%s", printed);
    CHECK(vdm("compare @/one.g @/both.g --only v") == 0, "a weight of 0: %s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --only v --lora @/one.st --lora @/two.st -o @/both.g") ==
              0,
          "%s", printed);
    CHECK(vdm("compare @/one.g @/both.g --only v") == 3, "the second adapter is applied: %s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --what train --lora @/one.st --lora @/two.st -o @/no.g") ==
                  1 &&
              says("expected one --lora"),
          "%s", printed);
}

/* An adapter is in one place, in which all of it is, and is of the model. */
static void test_adapter_places(void)
{
    static const float x[4 * 64];
    const vdm_tensor half = {
        "adapter.transformer_blocks.0.attn1.to_k.lora_A.weight", VDM_F32, 2, {4, 64}, x, sizeof x};
    vdm_tensor more[64] = {
        {"adapter.transformer_blocks.7.attn1.to_q.lora_A.weight", VDM_F32, 2, {4, 64}, x, sizeof x}};
    vdm_safetensors g;
    int n = 1;
    CHECK(!vdm_safetensors_write(path_of("half.st"), &half, 1, NULL, 0, &err), "%s", err.text);
    if (!CHECK(!vdm_safetensors_open(&g, path_of("train.g"), &err), "%s", err.text)) return;
    for (int64_t i = 0; i < g.count && n < 64; i++)
        if (strncmp(g.tensors[i].name, "adapter.", 8) == 0) more[n++] = g.tensors[i];
    CHECK(!vdm_safetensors_write(path_of("more.st"), more, n, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("whole.st"), more + 1, n - 1, NULL, 0, &err),
          "%s", err.text);
    vdm_safetensors_close(&g);
    static const struct {
        int status;
        const char *words, *says;
    } cases[] = {
        {1, "--what train --inject @/train.g --lora @/one.st",
         "expected the adapter in one place, found --lora too"},
        {1, "--inject @/whole.st --lora @/no-such-file",
         "expected the adapter in one place, found --lora too"},
        {1, "--inject @/half.st",
         "half.st: tensor 'adapter.transformer_blocks.0.attn1.to_k.lora_A.weight': expected together with "
         "'adapter.transformer_blocks.0.attn1.to_q.lora_A.weight', found none"},
        {1, "--what train --inject @/half.st", "expected together with"},
        {1, "--what vae-encode --inject @/half.st",
         "expected some of the inputs of --what vae-encode: video, found none"},
        {1, "--inject @/more.st",
         "'adapter.transformer_blocks.7.attn1.to_q.lora_A.weight': expected a matrix of an adapter on attention of 2 blocks"},
        {1, "--what train --inject @/train.g --targets attn,ff", "--targets asks for attn,ff, found attn"},
        {0, "--inject @/whole.st --only v --alpha 3", "injected: adapter; not in it: x, text, t"},
        {1, "--alpha 3", "--alpha: it has no effect here"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = vdm("golden @/m --threads 1 --size 32x48 %s -o @/a.g", cases[i].words);
        CHECK(status == cases[i].status && says(cases[i].says), "%s: %d: %s", cases[i].words, status,
              printed);
    }
}

/* Sizes that would be cut, inputs and options that would have no effect. */
static void test_no_effect(void)
{
    static const float two = 2, five = 5, negative[5 * 24];
    const vdm_tensor ofs[] = {{"ofs", VDM_F32, 1, {1}, &two, 4},
                              {"t", VDM_F32, 1, {1}, &two, 4},
                              {"ofs", VDM_F32, 1, {1}, &five, 4}},
                     n = {"negative", VDM_F32, 2, {5, 24}, negative, sizeof negative};
    CHECK(!vdm_safetensors_write(path_of("two.st"), ofs, 2, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("five.st"), ofs + 1, 2, NULL, 0, &err) &&
              !vdm_safetensors_write(path_of("negative.st"), &n, 1, NULL, 0, &err),
          "%s", err.text);
    static const char *const m = "@/m", *const text = "tests/golden/1.5-5B-I2V";
    const struct {
        int status;
        const char *model, *words, *says;
    } cases[] = {
        {1, m, "--what vae-decode --size 100x100", "latents: --size 100x100: expected multiples of 8"},
        {1, m, "--what vae-decode --frames 10", "latents: --frames 10: 3 latent frames decode to 9"},
        {0, m, "--what vae-decode --frames 8 --size 16x24", ""},
        {1, m, "--what vae-decode --inject @/a.g --size 20x24", "expected multiples of 8"},
        {1, m, "--what vae-decode --inject @/a.g --frames 7", "--frames 7: 2 latent frames decode to 8"},
        {0, m, "--what vae-decode --inject @/a.g", "injected: latents"},
        {0, m, "--size 32x48 --inject @/two.st", "injected: t; not in it: x, text"},
        {1, m, "--size 32x48 --inject @/five.st", "five.st: tensor 'ofs': expected 2, found 5"},
        {0, m, "--what sample --sample-steps 1 --size 32x48 --guidance 1 --inject @/negative.st",
         "negative.st: tensor 'negative': no effect: it needs --guidance above 1"},
        {2, m, "--what sample --guidance 1 --dynamic-guidance", "it needs --guidance above 1"},
        {0, text, "--what text --prompt 'the red square'", ""},
        {0, text, "--what text --inject @/a.g", "injected: ids"},
        {1, text, "--what text --inject @/a.g --prompt turn",
         "'ids': expected the prompt in one place, found --prompt too"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int status = vdm("golden %s --threads 1 %s -o @/b.g", cases[i].model, cases[i].words);
        CHECK(status == cases[i].status && says(cases[i].says), "%s: %d: %s", cases[i].words, status,
              printed);
        if (strstr(printed, "injected") || status) continue;
        CHECK(rename(path_of("b.g"), path_of("a.g")) == 0, "no b.g");
    }
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
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --what sample --sample-steps 3 --only '*' -o @/steps.g") ==
              0,
          "%s", printed);
    if (!CHECK(!vdm_safetensors_open(&g, path_of("steps.g"), &err), "%s", err.text)) return;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        vdm_tensor t = *vdm_safetensors_find(&g, cases[i].name);
        float *x = vdm_safetensors_floats(&g, t.name, t.rank, t.shape, &err);
        if (!CHECK(x != NULL, "%s", err.text)) continue;
        for (int64_t k = 0; k < vdm_tensor_count(&t); k++) x[k] *= cases[i].factor;
        t.data = x;
        CHECK(!vdm_safetensors_write(path_of("wrong.g"), &t, 1, NULL, 0, &err), "%s", err.text);
        CHECK(vdm("compare @/steps.g @/wrong.g") == cases[i].status, "%s times %.7g: %s", t.name,
              (double)cases[i].factor, printed);
        vdm_free(x);
    }
    vdm_safetensors_close(&g);
}

/* ------------------------------------------------------------------------------------------------
 * Ports that forget a part of learning: what a golden has by default is enough to find it */

/* The adapter of a golden, in a file of its own. */
static void write_adapter(const char *golden, const char *to)
{
    vdm_tensor all[64];
    vdm_safetensors g;
    int n = 0;
    if (!CHECK(!vdm_safetensors_open(&g, path_of(golden), &err), "%s", err.text)) return;
    for (int64_t i = 0; i < g.count && n < 64; i++)
        if (strncmp(g.tensors[i].name, "adapter.", 8) == 0) all[n++] = g.tensors[i];
    CHECK(n > 0 && !vdm_safetensors_write(path_of(to), all, n, NULL, 0, &err), "%s", err.text);
    vdm_safetensors_close(&g);
}

/* Scale 1 for alpha / rank = 8 / 4, in the forward pass. */
static void test_scale(void)
{
    static const char forgotten[] = "cause: alpha/rank forgotten: the adapter acts at scale 1";
    const char *const options[] = {"--what train --steps 1", "--what train --steps 1 --accumulate 2",
                                   "--what sample --sample-steps 1 --inject @/only-adapter.st",
                                   "--inject @/only-adapter.st"};
    for (int i = 0; i < 4; i++) {
        CHECK(vdm("golden @/m --threads 1 --size 32x48 %s --alpha 8 -o @/right.g", options[i]) == 0, "%s",
              printed);
        CHECK(vdm("golden @/m --threads 1 --size 32x48 %s --alpha 4 -o @/other.g", options[i]) == 0, "%s",
              printed);
        CHECK(vdm("compare @/right.g @/other.g") == 3 && says("transformer_blocks.0.attn1.to_q\n") &&
                  says(forgotten),
              "%s: %s", options[i], printed);
        if (i == 0) write_adapter("right.g", "only-adapter.st");
    }
    static const char part[] = "--what train --steps 1 --alpha 4 --only '*.v,*.loss'";
    CHECK(vdm("golden @/m --threads 1 --size 32x48 %s -o @/right.g", options[0]) == 0 &&
              vdm("golden @/m --threads 1 --size 32x48 %s -o @/other.g", part) == 0 &&
              vdm("compare @/right.g @/other.g") == 3 && says("first to differ: step.1.v\n") &&
              says("cause: not one of the mistakes that were tried\n") &&
              says("note: the mistake may be earlier: 'step.1.target' and 5 more before the first"),
          "a port without the layer: %s", printed);
    CHECK(vdm("golden @/m --threads 1 --size 32x48 --what sample --sample-steps 1 -o @/right.g") == 0 &&
              vdm("info @/right.g") == 0 && !says("to_q"),
          "sampling without an adapter needs no layer of it: %s", printed);
}

/* Clipping and weight decay: forgotten, or those of a training run. */
static void test_update(void)
{
    const char *const tiny = "golden models/tiny --threads 1 --what train --batch 2 --steps 1";
    CHECK(vdm("%s -o @/right.g", tiny) == 0 && vdm("%s --clip 1e9 -o @/other.g", tiny) == 0 &&
              says("a port that does not clip agrees") && vdm("compare @/right.g @/other.g") == 3 &&
              says("first to differ: step.1.adapter.") &&
              says("cause: the gradient is not clipped (clip in the golden's metadata)\n"),
          "%s", printed);
    CHECK(vdm("%s --weight-decay 1e-4 -o @/other.g", tiny) == 0 && says("a port without it may agree"), "%s",
          printed);
    static const struct {
        const char *options, *first, *cause;
    } cases[] = {
        {"--clip 1e9", "step.1.adamw.m.transformer_blocks.0.attn1.to_q.lora_A.weight", "is not clipped"},
        {"--clip 1", "step.1.adamw.m.transformer_blocks.0.attn1.to_q.lora_A.weight", ""},
        {"--weight-decay 0", "step.1.adapter.transformer_blocks.0.attn1.to_q.lora_A.weight",
         "there is no weight decay"},
        {"--weight-decay 0.0001", "step.1.adapter.transformer_blocks.0.attn1.to_q.lora_A.weight", ""}};
    for (int adapted = 0; adapted < 2; adapted++) {
        const char *const targets = adapted ? "--targets attn,ff --batch 2" : "";
        CHECK(vdm("golden @/m --threads 1 --size 32x48 --what train %s -o @/right.g", targets) == 0, "%s",
              printed);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            CHECK(vdm("golden @/m --threads 1 --size 32x48 --what train %s %s -o @/other.g", targets,
                      cases[i].options) == 0,
                  "%s", printed);
            CHECK(vdm("compare @/right.g @/other.g") == 3 && says(cases[i].first) && says(cases[i].cause),
                  "%s: %s", cases[i].options, printed);
        }
    }
}

/* ------------------------------------------------------------------------------------------------
 * Shards */

/* The tensors of a file in SHARDS shards, in their order; the last one has metadata. */
enum { SHARDS = 8 };
static const char *shard(int i)
{
    static char name[64];
    snprintf(name, sizeof name, "shards/dump-0000%d-of-0000%d.safetensors", i + 1, SHARDS);
    return path_of(name);
}

static void write_shards(const vdm_safetensors *f, const char *facts[1][2])
{
    static char index[1 << 16];
    static vdm_tensor all[300];
    const vdm_tensor **order = vdm_safetensors_in_order(f, &err);
    if (!CHECK(order && f->count <= 300, "%s", err.text)) return;
    size_t at = (size_t)snprintf(index, sizeof index, "{\"metadata\": {}, \"weight_map\": {");
    for (int64_t i = 0; i < f->count; i++) {
        all[i] = *order[i];
        at += (size_t)snprintf(index + at, sizeof index - at, "%s\"%s\": \"%s\"", i ? ", " : "", all[i].name,
                               strrchr(shard((int)(i * SHARDS / f->count)), '/') + 1);
    }
    write_text("shards/dump.safetensors.index.json", "%s}}", index);
    for (int64_t k = 0, i = 0, n; k < SHARDS; k++, i += n) {
        for (n = 0; i + n < f->count && (i + n) * SHARDS / f->count == k;) n++;
        CHECK(!vdm_safetensors_write(shard((int)k), all + i, n, (const char *const(*)[2])facts,
                                     k == SHARDS - 1, &err),
              "%s", err.text);
    }
    vdm_free(order);
}

static void test_shards(void)
{
    static const char index[] = "@/shards/dump.safetensors.index.json";
    static char list[sizeof printed];
    const char *facts[1][2] = {{"precision", "fp8"}};
    vdm_safetensors g;
    CHECK(shell("mkdir @/shards") == 0, "%s", printed);
    if (!CHECK(!vdm_safetensors_open(&g, path_of("0.g"), &err), "%s", err.text)) return;
    write_shards(&g, facts);
    vdm_safetensors_close(&g);
    CHECK(vdm("compare @/0.g %s --tol 0", index) == 0 && says(" 0 don't; 0 are missing"), "%s", printed);
    CHECK(vdm("compare @/0.g %s", index) == 1 && says("found 'fp8'"), "metadata of a shard: %s", printed);
    CHECK(compare_copy("0.g", "--list") == 0, "%s", printed);
    memcpy(list, printed, sizeof list);
    const char *end = strstr(list, "\n\n"); /* of the list */
    CHECK(vdm("compare %s @/0.g --list", index) == 0 && end &&
              strncmp(list, printed, (size_t)(end - list)) == 0,
          "another order than that of the shards: %s", printed);
    CHECK(vdm("compare %s @/0.g --html @/shards/page.html", index) == 0, "%s", printed);
    static const char folder[] = "shards: expected a file of tensors, or the index of its shards "
                                 "(NAME.safetensors.index.json), found a folder";
    CHECK(vdm("compare @/shards @/0.g") == 1 && says(folder), "%s", printed);
    CHECK(vdm("compare @/0.g @/shards") == 1 && says(folder), "%s", printed);
    CHECK(remove(shard(0)) == 0 && vdm("compare @/0.g %s", index) == 1 && says("this shard is missing"), "%s",
          printed);
}

/* --weights: a model's folder, into which no page is written. */
static void test_weights(void)
{
    CHECK(compare_copy("0.g", "--weights @/m") == 0, "%s", printed);
    CHECK(compare_copy("0.g", "--weights @/none") == 1 &&
              says("none: expected a model's folder, found neither transformer/ nor vae/ in it"),
          "%s", printed);
    CHECK(compare_copy("0.g", "--weights @/m --html @/m/transformer/page.html") == 1 &&
              says("would be among the files of"),
          "%s", printed);
}

int main(void)
{
    if (!find_program()) return check_end("compare");
    if (CHECK(!tiny_write(path_of("m"), TINY_15_I2V, VDM_F32, 5, &err), "%s", err.text)) {
        test_golden();
        test_mistakes();
        test_gradient_factor();
        test_large_batch();
        test_help();
        test_sampling();
        test_inject();
        test_missing();
        test_learning_in_bf16();
        test_adapters();
        test_adapter_places();
        test_scale();
        test_update();
        test_shards();
        test_weights();
        test_no_effect();
    }
    test_words();
    test_values();
    test_extremes();
    test_types();
    test_versions();
    test_precision();
    test_no_wrong_cause();
    test_on_average();
    test_bf16_cause();
    test_eps();
    test_exp();
    test_map();
    return check_end("compare");
}
