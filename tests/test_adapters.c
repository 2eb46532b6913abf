/* An adapter is used as it was learned: its file says how, commands follow it, reject a contradiction, and print every
 * other difference. A run is resumed with the same weights only. */
#include "program.h"
#include "tiny.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL   "--model model"
#define FIT     "fit task " MODEL " --steps 1 --rank 2 --batch 1 --watch-every 0 "
#define SAMPLE  MODEL " --sample-steps 1 --guidance 1 "
#define PREDICT "predict --image q.ppm " SAMPLE

static vdm_error err;

static void write_picture(const char *name, int shade)
{
    static uint8_t rgb[32 * 48 * 3];
    vdm_picture p = {32, 48, rgb};
    for (int i = 0; i < 32 * 48 * 3; i++) rgb[i] = (uint8_t)(shade + i / 144 * 5 + i % 3 * 20);
    CHECK(vdm_picture_write(&p, path_of(name), &err) == 0, "%s", err.text);
}

static void write_inputs(void)
{
    expect_shell(0, "", "mkdir task task/train task/test");
    write_picture("task/train/a.in.ppm", 10);
    write_picture("task/train/a.out.ppm", 90);
    write_picture("task/test/b.in.ppm", 40);
    write_picture("task/test/b.out.ppm", 60);
    write_picture("q.ppm", 30);
}

/* A run that prints nothing of the adapter's learning. */
static void expect_silence(const char *words)
{
    expect(0, "", "%s", words);
    CHECK(!strstr(printed, "learned with") && !strstr(printed, "is used here"), "vdm %s: %s", words, printed);
}

static void check_image_scale(void)
{
    expect(0, "", FIT "--image-scale trainer -o trainer");
    expect(0, "", FIT "-o plain");
    expect(0, "\"image_latent_scale\": 0.69999999999999996", "info trainer/lora.safetensors");
    expect(0, "trainer/lora.safetensors: learned with --image-scale trainer, which is used here",
           PREDICT "--lora trainer/lora.safetensors -o a.ppm");
    expect_silence(PREDICT "--lora trainer/lora.safetensors --image-scale trainer -o b.ppm");
    expect_same("a.ppm", "b.ppm", true);
    expect_silence(PREDICT "--lora plain/lora.safetensors -o c.ppm");
    expect(1, "learned with --image-scale trainer: expected the same here, found pipeline",
           PREDICT "--lora trainer/lora.safetensors --image-scale pipeline -o d.ppm");
    expect(1, "learned with --image-scale pipeline: expected the same here, found trainer",
           "eval task " SAMPLE "--lora plain/lora.safetensors --image-scale trainer");
    expect(0, "which is used here", "eval task " SAMPLE "--lora trainer/lora.safetensors");
    expect(0, "which is used here", FIT "--init trainer/lora.safetensors -o further");
    expect(0, "\"image_latent_scale\": 0.69999999999999996", "info further/lora.safetensors");
    expect(1, "expected the same here", FIT "--init trainer/lora.safetensors --image-scale pipeline -o no");
    expect(1, "expected the same",
           PREDICT "--lora trainer/lora.safetensors --lora plain/lora.safetensors -o d.ppm");
    expect(1, "the adapter was learned with image latents times 0.7, found times 1.42857",
           "golden model --what sample --size 32x48 --sample-steps 1 --lora trainer/lora.safetensors -o g");
    expect(0, "",
           "golden model --what sample --size 32x48 --sample-steps 1 --lora trainer/lora.safetensors -o g "
           "--image-scale trainer");
    expect_shell(1, "", "test -e d.ppm || test -e no/lora.safetensors");
}

static void check_sizes(void)
{
    expect(0, "", FIT "--frames 17 -o long");
    expect(0, "learned with --frames 17, which is used here",
           PREDICT "--lora long/lora.safetensors -o a.ppm");
    CHECK(strstr(printed, "17 frames of 32x48"), "%s", printed);
    expect(0, "learned with 17 frames of 32x48 (here 9 of 16x32)",
           PREDICT "--lora long/lora.safetensors --frames 9 --size 16x32 -o a.ppm");
    expect_silence(PREDICT "--lora long/lora.safetensors:0.5 --frames 17 -o a.ppm");
}

static void check_prompts(void)
{
    static float x[5 * 24] = {1, 2, 3}; /* of tiny.c's text */
    const vdm_tensor t = {"prompt_embeds", VDM_F32, 2, {5, 24}, x, sizeof x};
    CHECK(vdm_safetensors_write("p", &t, 1, NULL, 0, &err) == 0, "%s", err.text);
    expect(0, "", FIT "--prompt-embeds p -o prompt");
    expect(0, "learned with another prompt\n", PREDICT "--lora prompt/lora.safetensors -o a.ppm");
    expect_silence(PREDICT "--lora prompt/lora.safetensors --prompt-embeds p -o a.ppm");
    expect(0, "learned with another prompt\n", "eval task " SAMPLE "--lora prompt/lora.safetensors");
    expect(0, "learned with another prompt\n",
           PREDICT "--prompt-embeds p --lora plain/lora.safetensors -o a.ppm");
}

/* A copy of the model whose part ("vae") differs in one element, after the first half of its largest tensor. */
static void write_other_model(const char *to, const char *part)
{
    char file[256];
    vdm_safetensors f;
    snprintf(file, sizeof file, "%s/%s/diffusion_pytorch_model.safetensors", to, part);
    expect_shell(0, "", "cp -r model %s", to);
    if (!CHECK(vdm_safetensors_open(&f, file, &err) == 0, "%s", err.text)) return;
    vdm_tensor *largest = &f.tensors[0];
    for (int64_t i = 0; i < f.count; i++)
        if (f.tensors[i].bytes > largest->bytes) largest = &f.tensors[i];
    uint16_t *copy = vdm_alloc(largest->bytes, 1, "a tensor", &err);
    if (CHECK(copy && largest->dtype == VDM_BF16 && largest->bytes > 4096, "%s: too small", largest->name)) {
        memcpy(copy, largest->data, largest->bytes);
        copy[largest->bytes * 3 / 8] ^= 1;
        largest->data = copy;
        CHECK(vdm_safetensors_write("file", f.tensors, f.count, NULL, 0, &err) == 0, "%s", err.text);
    }
    vdm_safetensors_close(&f);
    vdm_free(copy);
    expect_shell(0, "", "mv file %s", file);
}

/* The name in the metadata of a state, as an earlier version had none. */
static void rename_setting(const char *file, const char *name, const char *to)
{
    static char text[1 << 20];
    size_t n = slurp(text, sizeof text, file);
    char *at = NULL;
    for (size_t i = 0; i + strlen(name) < n && !at; i++)
        if (memcmp(text + i, name, strlen(name)) == 0) at = text + i;
    if (!CHECK(at && strlen(to) == strlen(name), "%s: no %s", file, name)) return;
    memcpy(at, to, strlen(to));
    FILE *f = fopen(file, "wb");
    CHECK(f && fwrite(text, 1, n, f) == n && fclose(f) == 0, "%s: can't be written", file);
}

static void check_weights(void)
{
    write_other_model("other", "transformer");
    expect(
        0, "learned with another model\n",
        "predict --image q.ppm --model other --sample-steps 1 --guidance 1 --lora plain/lora.safetensors -o a.ppm");
    expect(1, "weights and schedule: this run has",
           "fit task --model other --rank 2 --batch 1 --watch-every 0 --resume --steps 2 -o plain");
    expect(0, "2 steps", FIT "--resume --steps 2 -o plain");
    rename_setting("plain/state.safetensors", "\"weights and schedule\"", "\"no such name at all.\"");
    expect(0, "3 steps", FIT "--resume --steps 3 -o plain");
    expect_shell(0, "",
                 "cp -r model noise; sed 's/\"snr_shift_scale\": [0-9.]*/\"snr_shift_scale\": 2.5/' "
                 "model/scheduler/scheduler_config.json > noise/scheduler/scheduler_config.json; ! cmp -s "
                 "model/scheduler/scheduler_config.json noise/scheduler/scheduler_config.json");
    expect(0, "", FIT "-o again");
    expect(1, "weights and schedule: this run has",
           "fit task --model noise --rank 2 --batch 1 --watch-every 0 --resume --steps 2 -o again");
    expect(
        0, "learned with another model\n",
        "predict --image q.ppm --model noise --sample-steps 1 --guidance 1 --lora again/lora.safetensors -o a.ppm");
}

/* Latents of another VAE mean other pictures. */
static void check_vae(void)
{
    static const char *const other =
        "predict --image q.ppm --model other-vae --sample-steps 1 --guidance 1 -o a.ppm";
    static const char *const config = "vae/config.json";
    write_other_model("other-vae", "vae");
    expect(0, "plain/lora.safetensors: learned with another VAE\n", "%s --lora plain/lora.safetensors",
           other);
    expect(0, "learned with another VAE\n",
           "fit task --model other-vae --steps 1 --rank 2 --batch 1 --watch-every 0 "
           "--init plain/lora.safetensors -o moved");
    expect_silence(FIT "--init plain/lora.safetensors -o same");
    expect_shell(0, "", "LC_ALL=C sed 's/.\"vae.\": .\"[0-9a-f]*.\", /%31s/' plain/lora.safetensors > old",
                 "");
    expect_shell(1, "", "cmp -s old plain/lora.safetensors");
    expect(0, "applied 8 of 8", "%s --lora old", other); /* as before the VAE was noted */
    CHECK(!strstr(printed, "learned with"), "%s", printed);
    expect_shell(
        0, "",
        "cp -r model scaled; sed 's/\"scaling_factor\": [0-9.]*/\"scaling_factor\": 0.5/' model/%s > "
        "scaled/%s; ! cmp -s model/%s scaled/%s",
        config, config, config, config);
    expect(1, "learned with image latents times",
           "predict --image q.ppm --model scaled --lora plain/lora.safetensors -o a.ppm");
}

/* Prompts of views, which no option gives. */
static void check_view_prompts(void)
{
    static float x[2 * 5 * 24] = {1, 2, 3};
    const vdm_tensor t = {"view_embeds", VDM_F32, 3, {2, 5, 24}, x, sizeof x};
    static const char *const files[] = {"model/view_embeds.safetensors", "views/view_embeds.safetensors"};
    expect_shell(0, "", "cp -r model views");
    for (int i = 0; i < 2; i++) {
        x[5 * 24 + 7] = (float)i; /* of the second view */
        CHECK(vdm_safetensors_write(files[i], &t, 1, NULL, 0, &err) == 0, "%s", err.text);
    }
    expect(0, "in 2 views", "fit arc.json " MODEL " --steps 1 --rank 2 --size 32x48 --views 2 -o both");
    expect_silence("eval arc.json " SAMPLE "--size 32x48 --lora both/lora.safetensors");
    expect(1, "both/lora.safetensors: learned on grids of several sizes (ARC-AGI): expected --views 1",
           PREDICT "--lora both/lora.safetensors -o no.ppm");
    expect(0, "", PREDICT "--views 1 --lora both/lora.safetensors -o a.ppm");
    expect(0, "learned with --views 2 (here 1)\n",
           "eval arc.json " SAMPLE "--size 32x48 --views 1 --lora both/lora.safetensors");
    expect(0, "learned with --views 1 (here 2)\n",
           "eval arc.json " SAMPLE "--size 32x48 --views 2 --lora cells/lora.safetensors --cell 4");
    expect(0, "learned with --views 2 (here 1)\n",
           "fit arc.json " MODEL " --steps 1 --rank 2 --size 32x48 --init both/lora.safetensors -o one");
    expect(0, "learned with another prompt\n",
           "eval arc.json --model views --sample-steps 1 --size 32x48 --lora both/lora.safetensors");
}

static void check_grids(void)
{
    write_text("arc.json",
               "{\"train\": [{\"input\": [[1, 2]], \"output\": [[2, 1]]}], \"test\": [{\"input\": "
               "[[3, 1]], \"output\": [[1, 3]]}]}");
    expect(0, "", "fit arc.json " MODEL " --steps 1 --rank 2 --size 32x48 --cell 4 -o cells");
    expect_silence("eval arc.json " SAMPLE "--size 32x48 --cell 4 --lora cells/lora.safetensors");
    expect(
        0,
        "learned with grids of cell 4, border 2, align 1, palette arc (here cell 8, border 1, align 1, palette "
        "arc)",
        "eval arc.json " SAMPLE "--size 32x48 --cell 8 --border 1 --lora cells/lora.safetensors");
    expect_silence("eval task " SAMPLE "--lora cells/lora.safetensors"); /* no grids */
    expect(0, "", "fit arc.json " MODEL " --steps 1 --rank 2 --size 32x48 --view 3 -o seen");
    expect(0, "learned with --view 3, which is used here",
           "eval arc.json " SAMPLE "--size 32x48 --lora seen/lora.safetensors");
    expect(0, "learned with --view 3 (here 2)",
           "eval arc.json " SAMPLE "--size 32x48 --view 2 --lora seen/lora.safetensors");
    expect(0, "learned with --view 3 (here 0)", PREDICT "--lora seen/lora.safetensors -o a.ppm");
}

/* The model's limit of 32x48 holds for all pictures but the canvas of an ARC-AGI task that grows, and those of an adapter
 * that was learned on it. vdm.json sets --grow for every command. */
static void check_grown(void)
{
    static const char limit[] = "this model takes at most 32x48";
    expect_shell(0, "", "cp -r model grown");
    write_text("grown/vdm.json",
               "{\"arc\": {\"size\": \"32x48\", \"cell\": 8, \"border\": 0, \"grow\": 240}}");
    write_text("long.json",
               "{\"train\": [{\"input\": [[1,2,3,4,5,6,7,8,9,0]], \"output\": [[1,2,3,4,5,6,7,8,9,1]]}], "
               "\"test\": [{\"input\": [[2,1]]}]}");
    expect(1, limit, "fit task --model grown --size 64x96 --plan");
    expect(1, limit, "eval task --model grown --size 64x96 --plan");
    expect(1, limit, "predict --model grown --image q.ppm --size 80x80 --plan");
    expect(0, "frames of 80x80", "fit long.json --model grown --steps 1 --rank 2 -o long-run");
    expect(0, "",
           "arc long.json --model grown --steps 1 --rank 2 --sample-steps 1 --size-rule same -o long-arc");
    expect(0, "frames of 80x80",
           "predict --model grown --image q.ppm --size 80x80 --sample-steps 1 --lora "
           "long-run/lora.safetensors -o a.ppm");
    expect(0, "frames of 80x80",
           "eval long.json --model grown --lora long-run/lora.safetensors --sample-steps 1");
    expect(1, "this model takes at most 80x80",
           "predict --model grown --image q.ppm --size 96x96 --lora long-run/lora.safetensors --plan");
}

/* The page has what each file has, not the joined adapter. */
static void check_page(void)
{
    static char page[1 << 20];
    expect(0, "", FIT "--rank 4 --alpha 1 -o quarter");
    expect(0, "rank 4, alpha 1, weight 0.5",
           "eval task " SAMPLE "--lora quarter/lora.safetensors:0.5 --lora plain/lora.safetensors -o paged");
    slurp(page, sizeof page, "paged/report.html");
    CHECK(strstr(page, ">Adapter</th><td>quarter/lora.safetensors: rank 4, alpha 1, weight 0.5<") &&
              strstr(page, ">Adapter</th><td>plain/lora.safetensors: rank 2, alpha 32, weight 1<"),
          "%s", strstr(page, "Adapter"));
    expect(0, "", "eval task " SAMPLE "-o paged");
    slurp(page, sizeof page, "paged/report.html");
    CHECK(strstr(page, ">Adapter</th><td>none<") != NULL, "no adapter");
}

/* Facts that a file has wrong. */
static void check_broken(void)
{
    static const struct {
        const char *from, *to, *says;
    } wrong[] = {
        {"frames", "flames", "found the key 'flames'"},
        {"\\\"frames\\\": 9", "\\\"frames\\\": 0", "frames: found '0', expected an integer from 1 to 1025"},
        {"\\\"frames\\\": 9", "\\\"frames\\\":9e", "vdm_learned"},
        {"\\\"model\\\": \\\"", "\\\"model\\\":\\\"g", "model"},
        {"0.69999", "9.69999", "expected a model that has them times 1.42857 or 0.7"}};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        expect_shell(0, "", "cp trainer/lora.safetensors broken");
        rename_setting("broken", wrong[i].from, wrong[i].to);
        expect(1, wrong[i].says, PREDICT "--lora broken -o d.ppm");
    }
    expect_shell(1, "", "test -e d.ppm");
}

/* What a caller of the library writes is read back the same, or rejected in one sentence. */
static void check_written(void)
{
    static const char *const grids[] = {"",
                                        "cell 4",
                                        "a \"grid\" of \\ and /",
                                        "\x01\b\t\n\x1f\x7f",
                                        "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80",
                                        "\", \"view\": 5, \"x\": \""};
    const vdm_lora_facts right = {.views = 3,
                                  .view = 2,
                                  .frames = 9,
                                  .height = 16,
                                  .width = 24,
                                  .image_latent_scale = 0.7,
                                  .model = UINT64_MAX,
                                  .prompt = 1};
    const struct {
        vdm_lora_facts facts;
        const char *says;
    } wrong[] = {
        {{.frames = 9, .height = 16, .width = 24, .image_latent_scale = 1, .grid = "\xff"},
         "w: metadata vdm_learned: JSON, line 1, column 146: expected UTF-8, found byte 0xff"},
        {{.frames = 5000, .height = 16, .width = 24, .image_latent_scale = 1},
         "w: metadata vdm_learned: frames: found '5000', expected an integer from 1 to 1025"},
        {{.frames = 9, .height = 16, .width = 24, .image_latent_scale = (double)NAN}, "a value, found 'n'"},
        {{.views = 1000001}, "w: metadata vdm_views: expected an integer from 1 to 1000000"}};
    vdm_lora a;
    if (!CHECK(!vdm_lora_new(&a, 1, 4, VDM_ATTENTION, 1, 1, &err), "%s", err.text)) return;
    for (size_t i = 0; i <= sizeof grids / sizeof *grids; i++) {
        vdm_lora_facts back;
        a.facts = right;
        memset(a.facts.grid, 1,
               sizeof a.facts.grid); /* the longest text: every byte is escaped, no NUL follows */
        if (i < sizeof grids / sizeof *grids) snprintf(a.facts.grid, sizeof a.facts.grid, "%s", grids[i]);
        if (i == sizeof grids / sizeof *grids) a.facts.grid[sizeof a.facts.grid - 1] = '\0';
        if (!CHECK(!vdm_lora_write(&a, "w", &err) && !vdm_lora_facts_read(&back, "w", &err), "%s", err.text))
            continue;
        CHECK(strcmp(back.grid, a.facts.grid) == 0 && back.views == 3 && back.view == 2 &&
                  back.model == UINT64_MAX,
              "'%s' became '%s'", a.facts.grid, back.grid);
    }
    expect_shell(0, "", "rm w");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        a.facts = wrong[i].facts;
        CHECK(vdm_lora_write(&a, "w", &err) && strstr(err.text, wrong[i].says), "%s", err.text);
    }
    expect_shell(1, "", "test -e w");
    vdm_lora_free(&a);
}

int main(void)
{
    unsetenv("VDM_MODEL");
    if (!find_program()) return check_end("adapters");
    if (!CHECK(chdir(check_folder()) == 0, "the test can't enter its folder")) return check_end("adapters");
    CHECK(tiny_write(path_of("model"), TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    write_inputs();
    check_image_scale();
    check_sizes();
    check_prompts();
    check_weights();
    check_vae();
    check_grids();
    check_grown();
    check_page();
    check_view_prompts();
    check_broken();
    check_written();
    return check_end("adapters");
}
