/* The program, from its command line, on a tiny model: the whole run, what it rejects and how it exits. */
#include "program.h"
#include "tiny.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A task: pictures of random blocks and their negatives. */
static void write_picture(const char *name, uint32_t seed, int height, int width, bool negative)
{
    static float noise[64];
    vdm_error err;
    vdm_picture p = {height, width, vdm_alloc((size_t)(3 * width * height), 1, "a picture", &err)};
    check_random(noise, 64, seed, 1);
    for (int i = 0; i < width * height * 3; i++) {
        int y = i / 3 / width, x = i / 3 % width;
        int value = (int)(127.5f + 120 * noise[(y / 8 * 8 + x / 8) % 21 * 3 + i % 3]);
        p.rgb[i] = (uint8_t)(negative ? 255 - value : value);
    }
    CHECK(vdm_picture_write(&p, path_of(name), &err) == 0, "%s", err.text);
    vdm_free(p.rgb);
}

static void write_task(void)
{
    char name[64];
    expect_shell(0, "", "mkdir @/task @/task/train @/task/test");
    for (uint32_t i = 0; i < 4; i++) {
        for (int negative = 0; negative < 2; negative++) {
            snprintf(name, sizeof name, "task/%s/p%u.%s.ppm", i < 3 ? "train" : "test", i,
                     negative ? "out" : "in");
            write_picture(name, i, 32, 48, negative);
        }
    }
}

static void check_usage(void)
{
    expect(0, "vdm fit", "help");
    expect(0, "--rank", "fit --help");
    expect(2, "not a command", "frobnicate");
    expect(2, "no such option", "predict --frobnicate");
    expect(2, "integer", "predict --sample-steps 12abc");
    expect(2, "integer", "predict --sample-steps 0");
    expect(2, "integer", "predict --sample-steps -3");
    expect(2, "found 'nan'", "predict --guidance nan");
    expect(2, "2^64", "predict --seed 99999999999999999999999");
    expect(2, "HxW", "predict --size 48");
    expect(2, "ddim|dpm", "predict --sampler euler");
    expect(2, "after it", "predict --image");
    expect(2, "--image", "predict --model @/model -o @/y.ppm");
    expect(2, "--phi", "fit @/task --model @/model -o @/run --phi cubic");
    expect(1, "would replace",
           "predict --model @/model --image @/task/test/p3.in.ppm -o @/task/test/p3.in.ppm");
}

static void check_rejections(void)
{
    expect(1, "no-such", "predict --model @/no-such --image @/task/test/p3.in.ppm -o @/y.ppm");
    expect(1, "no-such", "predict --model @/model --image @/no-such.ppm -o @/y.ppm");
    expect(1, "32", "predict --model @/model --image @/task/test/p3.in.ppm --size 33x48 -o @/y.ppm");
    expect(1, "9", "predict --model @/model --image @/task/test/p3.in.ppm --frames 8 -o @/y.ppm");
    static const char one[] = "frames: found 1, expected 8 k + 1, at least 9: the first one is the input";
    expect(1, one, "predict --model @/model --image @/task/test/p3.in.ppm --frames 1 -o @/y.ppm");
    expect(1, one, "eval @/task --model @/model --frames 1");
    expect(1, "no-such", "predict --model @/model --image @/task/test/p3.in.ppm -o @/no-such/y.ppm");
    expect(1, "no-such", "fit @/no-such --model @/model -o @/run");
    expect(1, "in_channels", "predict --model @/text-model --image @/task/test/p3.in.ppm -o @/y.ppm");
    CHECK(access(path_of("y.ppm"), F_OK) != 0, "a rejected run left a file");
}

/* vdm interp has the video that fit learns from the first pair. */
static void check_interp(const char *name)
{
    enum { T = 9, H = 32, W = 48, STRIP = T * W + 4 * (T - 1) };
    static uint8_t frames[T * H * W * 3];
    vdm_error err;
    vdm_phi phi;
    vdm_rng rng;
    vdm_picture x = {0}, y = {0}, strip = {0};
    expect(0, "", "interp @/task/train/p0.in.ppm @/task/train/p0.out.ppm -o @/v.png --seed 5 --phi %s", name);
    vdm_fit_rng(&rng, 5, VDM_FIT_LATENTS, 0);
    bool ok = !vdm_phi_parse(&phi, name, &err) &&
              !vdm_picture_read(&x, path_of("task/train/p0.in.ppm"), &err) &&
              !vdm_picture_read(&y, path_of("task/train/p0.out.ppm"), &err) &&
              !vdm_picture_read(&strip, path_of("v.png"), &err) &&
              !vdm_interp(&phi, &x, &y, T, &rng, frames, &err) && strip.width == STRIP && strip.height == H;
    for (int i = 0; i < T * H && ok; i++)
        ok = memcmp(strip.rgb + (size_t)3 * (size_t)(i % H * STRIP + i / H * (W + 4)),
                    frames + (size_t)3 * (size_t)i * W, 3 * W) == 0;
    CHECK(ok, "interp --phi %s: expected the video of the first training pair", name);
    vdm_picture_free(&x);
    vdm_picture_free(&y);
    vdm_picture_free(&strip);
}

static void check_run(void)
{
    expect(0, "video", "info @/model");
    expect(0, "3 training pairs", "info @/task");
    expect(0, "at the peak", "fit @/task --model @/model --plan");
    expect(0, "bf16", "fit @/task --model @/model --plan --precision bf16");
    expect(2, "expected f32|bf16|amx", "fit @/task --model @/model --plan --precision f16");
    expect(0, "lora.safetensors",
           "fit @/task --model @/model -o @/run --steps 6 --rank 4 --alpha 8 --watch-every 2 "
           "--dump @/dump.safetensors --dump-grads");
    expect(0, "rank 4", "info @/run/lora.safetensors");
    expect(0, "steps 6, videos a step 4",
           "fit @/task --model @/model -o @/more --steps 6 --rank 4 --alpha 8 --accumulate 2 "
           "--dump @/more.safetensors --dump-grads");
    expect(0, "batch.2.x", "info @/more.safetensors");
    expect_shell(0, "", "rm @/more.safetensors");
    expect_same("run/lora.safetensors", "more/lora.safetensors", false);
    expect(0, "lora_B.weight", "info @/dump.safetensors");
    expect(0, "[6]  loss", "info @/dump.safetensors");
    expect(1, "--resume", "fit @/task --model @/model -o @/run --steps 6 --rank 4");
    expect(
        1, "--dump-grads: it has no effect here: it needs the first step of a run",
        "fit @/task --model @/model -o @/run --steps 8 --rank 4 --alpha 8 --resume --dump @/late --dump-grads");
    CHECK(strstr(printed, "state.safetensors is at step 6") && access(path_of("late"), F_OK) != 0, "%s",
          printed);
    expect_shell(0, "", "cp @/run/train.csv @/run/saved.csv");
    expect(1, "the state was made with",
           "fit @/task --model @/model -o @/run --steps 6 --rank 4 --alpha 8 --lr 1 --resume");
    expect(1, "precision: this run has BF16, the state was made with F32",
           "fit @/task --model @/model -o @/run --steps 6 --rank 4 --alpha 8 --precision bf16 --resume");
    expect(0, "lora.safetensors", "fit @/task --model @/model -o @/bf16 --steps 2 --rank 4 --precision bf16");
    expect(1, "precision: this run has F32, the state was made with BF16",
           "fit @/task --model @/model -o @/bf16 --steps 4 --rank 4 --resume");
    expect(1, "precision: this run has AMX, the state was made with BF16",
           "fit @/task --model @/model -o @/bf16 --steps 4 --rank 4 --precision amx --resume");
    expect(0, "lora.safetensors",
           "fit @/task --model @/model -o @/bf16 --steps 4 --rank 4 --precision bf16 --resume");
    /* a rejected run leaves the earlier one's adapter */
    expect_same("run/train.csv", "run/saved.csv", true);
    const char *predict =
        "predict --model @/model --image @/task/test/p3.in.ppm --sample-steps 3 --lora @/run/lora.safetensors";
    expect(0, "applied 8 of 8", "%s -o @/a.ppm --video @/a.y4m --dump @/a.safetensors", predict);
    expect(0, "latents.3", "info @/a.safetensors");
    expect(0, "[9,3,32,48]  frames", "info @/a.safetensors");
    expect(0, "threads: ", "%s -o @/b.ppm --threads 3", predict); /* 3, or 1 without threads */
    expect_same("a.ppm", "b.ppm", true);
    expect(0, "weight 2.5", "%s:2.5 -o @/c.ppm", predict);
    expect_same("a.ppm", "c.ppm", false);
    static const char *const weights[] = {"0x10", " 2", "2 ", "1e999", "nan", "two", ""};
    for (size_t i = 0; i < sizeof weights / sizeof weights[0]; i++) {
        char says[64];
        snprintf(says, sizeof says, "weight: found '%s', expected a number", weights[i]);
        expect(1, says, "%s':%s' -o @/no.ppm", predict, weights[i]);
        CHECK(!strstr(printed, "loaded in"), "found out after the model was loaded: %s", printed);
    }
    expect_shell(0, "", "cp @/run/lora.safetensors @/a:b; cp @/a:b @/a");
    expect(
        0, "a:b: applied 8 of 8",
        "predict --model @/model --image @/task/test/p3.in.ppm --sample-steps 1 --lora @/a:b -o @/colon.ppm");
    expect_shell(0, "", "rm @/a @/a:b @/colon.ppm");
    /* The picture from standard input and from a pipe; what reading it loses; a video that is no numbers. */
    expect_shell(0, "",
                 "cat @/task/test/p3.in.ppm | $VDM predict --model @/model --image - --sample-steps 3 --lora "
                 "@/run/lora.safetensors -o @/d.ppm");
    expect_same("a.ppm", "d.ppm", true);
    expect_shell(0, "standard input: has 16 bits a sample: they are reduced to 8",
                 "printf 'P2 1 1 65535 65535' | $VDM predict --model @/model --image - --size 32x48 --plan");
    expect(1, "step 1: the velocity is NaN or infinite: the weights are finite",
           "%s:1e38 -o @/nan.ppm --dump @/nan.safetensors", predict);
    expect(0, "image_latents", "info @/nan.safetensors"); /* there, to look for the cause */
    expect_shell(0, "", "[ ! -e @/nan.ppm ] && rm @/nan.safetensors @/d.ppm");
    expect(0, "", "%s -o @/d.ppm --seed 43", predict);
    expect_same("a.ppm", "d.ppm", false);
    expect(0, "; bf16, ", "%s -o @/bf16.ppm --precision bf16", predict);
    expect(0, "; amx, ", "%s -o @/amx.ppm --precision amx", predict);
    expect_same("a.ppm", "bf16.ppm", false);
    expect(0, "", "%s -o @/e.png --sampler dpm", predict);
    expect(0, "mean psnr",
           "eval @/task --model @/model --sample-steps 3 --lora @/run/lora.safetensors -o @/answers");
    expect_same("a.ppm", "answers/p3.ppm", true);
    expect(0, "", "%s -o @/f.ppm --ensemble 3", predict);
    expect_same("a.ppm", "f.ppm", false);
    expect(
        0, "mean psnr",
        "eval @/task --model @/model --sample-steps 3 --lora @/run/lora.safetensors -o @/means --ensemble 3");
    expect_same("f.ppm", "means/p3.ppm", true);
    expect(3, "mean psnr", "eval @/task --model @/model --sample-steps 2 --at-least 1000");
    expect(0, "", "interp @/task/train/p0.in.ppm @/task/train/p0.out.ppm -o @/v.y4m --phi tiles:2x2");
    expect(0, "", "interp @/task/train/p0.in.ppm @/task/train/p0.out.ppm -o @/v.png --phi black:3");
    check_interp("tiles:2x2");
    check_interp("noisy");
}

/* `vdm info`, the program lying at @/places/BINARY and the model (a link to it) at @/places/MODEL. VDM_BINARY
 * is the program where VDM is a script around it. */
static void check_place(const char *binary, const char *model)
{
    char piece[64];
    snprintf(piece, sizeof piece, "places/%s: CogVideoX", model);
    expect_shell(0, piece,
                 "rm -rf @/places; B=@/places/%s M=@/places/%s; mkdir -p $(dirname $B) $(dirname $M) && "
                 "cp \"${VDM_BINARY:-$VDM}\" $B && ln -s @/model $M && $B info",
                 binary, model);
}

static void check_default_model(void)
{
    check_place("vdm", "models/tiny");
    check_place("bin/vdm", "share/vdm/models/tiny");
    check_place("build/vdm", "models/tiny");
    check_place("build/sanitize/vdm", "models/tiny");
    expect_shell(0, "models/tiny: CogVideoX", "PATH=@/places/build/sanitize:$PATH; vdm info");
    expect_shell(0, "models/tiny: CogVideoX",
                 "ln -s @/places/build/sanitize/vdm @/places/link; @/places/link info");
    expect_shell(0, "/model: CogVideoX", "VDM_MODEL=@/model @/places/build/sanitize/vdm info");
    expect_shell(1, "no-such", "VDM_MODEL=@/no-such @/places/build/sanitize/vdm info");
    expect_shell(0, "model: CogVideoX", "VDM_MODEL=@/no-such @/places/build/sanitize/vdm info @/model");
    expect_shell(1, "VDM_MODEL, ", "rm @/places/models/tiny; @/places/build/sanitize/vdm info");
    expect_shell(1, "/places/build/share/vdm/models/tiny", "@/places/build/sanitize/vdm info");
}

/* A model's own defaults: over the program's, under the command line's. */
static void check_own_defaults(void)
{
    static const struct {
        const char *text, *piece;
    } rejected[] = {
        {"[]", "document: found an array of 0, expected an object"},
        {"{\"fit\": [1]}", "fit: found an array of 1, expected an object"},
        {"{\"predict\": {}}", "found the key 'predict', expected fit, sample, arc"},
        {"{\"fit\": {\"guidance\": 1}}", "fit: found the key 'guidance', expected frames"},
        {"{\"fit\": {\"output\": \"x\"}}", "fit: found the key 'output'"},
        {"{\"fit\": {\"ensemble\": 2}}", "fit: found the key 'ensemble'"},
        {"{\"fit\": {\"weight-decay\": 0.1}}", "found the key 'weight-decay'"},
        {"{\"fit\": {\"steps\": \"6\"}}", "fit.steps: found '6', expected an integer from 1 to 10000000"},
        {"{\"fit\": {\"steps\": 0}}", "fit.steps: found '0', expected an integer from 1"},
        {"{\"fit\": {\"steps\": 2.5}}", "fit.steps: found '2.5', expected an integer"},
        {"{\"fit\": {\"schedule\": 1}}", "fit.schedule: found '1', expected a string"},
        {"{\"sample\": {\"sampler\": \"euler\"}}", "sample.sampler: found 'euler', expected ddim or dpm"},
    };
    for (size_t i = 0; i < sizeof rejected / sizeof rejected[0]; i++) {
        write_text("model/vdm.json", "%s", rejected[i].text);
        expect(1, rejected[i].piece, "predict --model @/model --image @/task/test/p3.in.ppm -o @/y.ppm");
        expect(1, "vdm.json", "fit @/task --model @/model -o @/run --steps 2");
    }
    write_text("model/vdm.json",
               "{\"fit\": {\"steps\": 7, \"batch\": 3, \"lr\": 2e-3, \"rank\": 5, \"alpha\": 10, "
               "\"schedule\": \"linear\", \"warmup\": 2, \"weight_decay\": 0, \"pure_noise\": 0.9}, "
               "\"sample\": {\"steps\": 2, \"guidance\": 3, \"sampler\": \"dpm\", \"ensemble\": 5}}");
    expect(0, "steps 7, batch 3, lr 2e-3", "info @/model");
    expect(0, "steps 2, sampler dpm", "info @/model");
    expect(0, "steps 7, batch 3", "fit --model @/model --help");
    expect(0, "steps 7, videos a step 3, lr 0.002 (linear, warmup 2), rank 5, alpha 10, pure noise 0.9",
           "fit @/task --model @/model --plan");
    expect(0, "steps 9, videos a step 6, lr 0.002 (linear, warmup 2), rank 4, alpha 10",
           "fit @/task --steps 9 --accumulate 2 --model @/model --rank 4 --plan");
    expect(0, "steps 2, sampler dpm, guidance 1, ensemble 5", "eval @/task --model @/model --plan");
    expect(0, "steps 4, sampler ddim", "eval @/task --model @/model --sample-steps 4 --plan --sampler ddim");
    expect(2, "--ensemble: expected an integer from 1 to 256", "eval @/task --model @/model --ensemble 0");
    expect_shell(0, "", "rm @/model/vdm.json");
}

/* Help and info print the settings of vdm.json that have an effect on the command, and no others. */
static void check_printed_settings(void)
{
    static const struct {
        const char *words, *lines;
    } cases[] = {
        {"fit --model @/model --help",
         "  fit          steps 9\n  arc          cell 8, border 5, size 64x48\n"},
        {"eval --model @/model --help",
         "  sample       steps 11, guidance 4, frames 17\n  arc          cell 8, border 5, size 64x48\n"},
        {"demo --model @/model --help",
         "  fit          steps 9\n  sample       steps 11, guidance 4\n  arc          cell 8, border 5, size 64x48\n"},
        {"arc --model @/model --help", "  fit          steps 9\n  sample       steps 11, guidance 4\n"
                                       "  arc          cell 8, border 5, size 64x48, rank 3\n"},
        {"info @/model", "  fit          steps 9\n  sample       steps 11, guidance 4, frames 17\n"
                         "  arc          cell 8, border 5, size 64x48, rank 3\n"},
    };
    write_text(
        "model/vdm.json",
        "{\"fit\": {\"steps\": 9}, \"sample\": {\"steps\": 11, \"guidance\": 4, \"frames\": 17}, \"arc\": "
        "{\"cell\": 8, \"border\": 5, \"size\": \"64x48\", \"rank\": 3}}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(0, cases[i].lines, "%s", cases[i].words);
        const char *first = strstr(printed, "  fit          ");
        CHECK(i != 1 || !first, "eval: %s", first);
    }
    expect_shell(0, "", "rm @/model/vdm.json");
}

/* A prompt's text gives what its embedding in a file gives, from the command line and from task.json. */
static void check_prompts(void)
{
#define MODEL "--model tests/golden/1.5-5B-I2V"
#define ASK   "predict " MODEL " --image @/task/test/p3.in.ppm --sample-steps 2 -o @/prompts/"
#define LEARN "fit @/task " MODEL " --steps 2 --rank 2 -o @/prompts/"
    expect_shell(0, "", "mkdir @/prompts");
    expect(0, "", "prompt 'the red square' " MODEL " -o @/prompts/red");
    expect(0, "", "prompt '' " MODEL " -o @/prompts/none --threads 1");
    expect(0, "[1,5,20]  prompt_embeds", "info @/prompts/red");
    expect(0, "", ASK "a.ppm --prompt 'the red square'");
    expect(0, "", ASK "b.ppm --prompt-embeds @/prompts/red --negative-embeds @/prompts/none");
    expect(0, "no prompt", ASK "c.ppm");
    expect_same("prompts/a.ppm", "prompts/b.ppm", true);
    expect_same("prompts/a.ppm", "prompts/c.ppm", false);
    expect(0, "", LEARN "a --prompt-embeds @/prompts/red");
    write_text("task/task.json", "{\"prompt\": \"the red square\"}");
    expect(0, "", LEARN "b");
    expect(0, "", LEARN "c --prompt 'cells live'");
    expect_same("prompts/a/lora.safetensors", "prompts/b/lora.safetensors", true);
    expect_same("prompts/a/lora.safetensors", "prompts/c/lora.safetensors", false);
    expect(0, "guidance 6", "eval @/task " MODEL " --sample-steps 2 --plan");
    expect(0, "", "eval @/task " MODEL " --sample-steps 2 -o @/prompts/answers");
    expect_same("prompts/answers/p3.ppm", "prompts/a.ppm", true);
    expect_shell(0, "", "rm @/task/task.json");
    expect(0, "guidance 1", "eval @/task " MODEL " --sample-steps 2 --plan");
    expect(0, "", ASK "d.ppm --prompt-embeds @/prompts/red --negative ''");
    expect_same("prompts/a.ppm", "prompts/d.ppm", true);
    expect(0, "", ASK "e.ppm --prompt 'the red square' --negative 'cells live'");
    expect_same("prompts/a.ppm", "prompts/e.ppm", false);
    expect(1, "--negative: expected", ASK "x.ppm --prompt x --negative x --negative-embeds @/prompts/none");
    expect(0, "encoding the prompt", ASK "x.ppm --prompt x --plan");
    expect(0, "", "golden tests/golden/1.5-5B-I2V --what text --prompt 'the red square' -o @/prompts/g");
    expect(0, "[5]  ids", "info @/prompts/g");
    expect(0, "[5,20]  encoder.block.1.layer.0.SelfAttention.o", "info @/prompts/g");
    expect(0, "", "golden tests/golden/1.5-5B-I2V --what text --inject @/prompts/g -o @/prompts/h");
    expect(0, "", "compare @/prompts/g @/prompts/h --tol 0");
    expect(2, "one TEXT", "prompt the red square " MODEL " -o @/prompts/x.ppm");
    expect(2, "-o FILE", "prompt 'the red square' " MODEL);
    expect(1, "there is no text_encoder/config.json", "prompt x --model @/model -o @/prompts/x.ppm");
    expect(1, "--prompt: expected the model's text encoder",
           "predict --model @/model --image @/task/test/p3.in.ppm --prompt x -o @/prompts/x.ppm");
    expect(1, "found both", ASK "x.ppm --prompt x --prompt-embeds @/prompts/red");
    expect_shell(0, "",
                 "cp -r @/model @/prompts/other && cp -r tests/golden/1.5-5B-I2V/t[eo]* @/prompts/other");
    expect(1, "d_model: found 20", "prompt x --model @/prompts/other -o @/prompts/x.ppm");
    expect(0, "cut after 5 of 30 tokens",
           "prompt 'the red square falls down a mirror' " MODEL " -o @/prompts/x.ppm");
    expect(0, "cut after 5 of 30 tokens",
           "golden " MODEL " --what text --prompt 'the red square falls down a mirror' -o @/prompts/x.g");
    /* An injected prompt is one: nothing says that there is none, and it stands alone. */
    expect_shell(0, "",
                 "\"$VDM\" " ASK "f.ppm --inject @/prompts/red --negative-embeds @/prompts/none 2>&1 | "
                 "if grep 'no prompt'; then false; fi");
    expect_same("prompts/a.ppm", "prompts/f.ppm", true);
    expect(1, "expected noise, image_noise, step_noise, prompt_embeds", ASK "x.ppm --inject @/prompts/g");
    expect(1, "expected t, pair, noise, video_noise", LEARN "n --inject @/prompts/g");
    expect(1, "'prompt_embeds': expected this prompt in one place, found --prompt too",
           ASK "x.ppm --inject @/prompts/red --prompt x");
    /* A folder as transformers 5 saves it gives the same, and no file may be missing. */
    expect_shell(
        0, "",
        "cp -r tests/golden/1.5-5B-I2V @/prompts/json && cd @/prompts/json/tokenizer && rm spiece.model");
    write_text("task/task.json", "{\"prompt\": \"the red square\"}");
    expect(1, "the task's prompt: expected the model's text encoder",
           "eval @/task --model @/prompts/json --sample-steps 2 -o @/prompts/e");
    expect(1, "there is no tokenizer/spiece.model or tokenizer/tokenizer.json",
           "predict --model @/prompts/json --image @/task/test/p3.in.ppm --prompt x -o @/prompts/x.ppm");
    expect_shell(0, "", "cp tests/golden/tokenizer.json @/prompts/json/tokenizer");
    expect(0, "", "prompt 'the red square' --model @/prompts/json -o @/prompts/red2");
    expect_same("prompts/red", "prompts/red2", true);
    expect(0, "the task's prompt 'the red square' is left out",
           "eval @/task --model @/model --sample-steps 1 -o @/prompts/e");
    expect_shell(0, "", "rm @/task/task.json");
    expect_shell(0, "", "rm -r @/prompts");
#undef MODEL
#undef ASK
#undef LEARN
}

/* broken/PART is model/PART with a NaN as the last element of this tensor. */
static void break_model(const char *part, const char *name)
{
    char from[64], to[64];
    vdm_safetensors f;
    vdm_error err;
    snprintf(from, sizeof from, "model/%s/diffusion_pytorch_model.safetensors", part);
    snprintf(to, sizeof to, "broken/%s/diffusion_pytorch_model.safetensors", part);
    expect_shell(0, "", "rm -rf @/broken && cp -r @/model @/broken");
    if (!CHECK(vdm_safetensors_open(&f, path_of(from), &err) == 0, "%s", err.text)) return;
    vdm_tensor *t = &f.tensors[vdm_safetensors_find(&f, name) - f.tensors];
    char *data = vdm_alloc(t->bytes, 1, name, &err);
    memcpy(data, t->data, t->bytes);
    memcpy(data + t->bytes - 2, &(uint16_t){0x7fc0}, 2); /* of bf16 */
    t->data = data;
    CHECK(vdm_safetensors_write(path_of(to), f.tensors, f.count, NULL, 0, &err) == 0, "%s", err.text);
    vdm_free(data);
    vdm_safetensors_close(&f);
}

/* NaN in a weight is found when it is loaded or in the first step, and its tensor is named. */
static void check_nan(void)
{
    static const struct {
        const char *part, *name, *what;
    } broken[] = {{"transformer", "transformer_blocks.1.ff.net.2.weight", "transformer"},
                  {"transformer", "transformer_blocks.0.attn1.to_k.weight", "train"},
                  {"transformer", "transformer_blocks.0.norm1.norm.bias", "transformer"},
                  {"vae", "decoder.mid_block.resnets.0.conv1.conv.weight", "vae-decode"}};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        const char *name = broken[i].name;
        break_model(broken[i].part, name);
        expect(1, name,
               "predict --model @/broken --image @/task/test/p3.in.ppm --sample-steps 3 -o @/broken/x.ppm");
        CHECK(!strstr(printed, "2/3"), "not in the first step: %s", printed);
        expect(1, name, "fit @/task --model @/broken --steps 3 --rank 2 -o @/broken/run");
        expect(1, name, "golden @/broken --what %s -o @/broken/g", broken[i].what);
        expect_shell(0, "", "[ ! -e @/broken/x.ppm ] && [ ! -e @/broken/g ]");
    }
    expect_shell(0, "", "rm -r @/broken");
}

/* A killed fit resumes from its last saved state; a killed predict has its latents. */
static void check_killed(void)
{
    static char page[1 << 20];
    expect(0, "40 steps", "fit @/task --model @/model -o @/whole --steps 40 --rank 4 --save-every 7");
    CHECK(kill_vdm("killed/state.safetensors", 60000,
                   "fit @/task --model @/model -o @/killed --steps 40 --rank 4 --save-every 1"),
          "the run ended before it was killed");
    expect(0, " for the remaining steps,",
           "fit @/task --model @/model -o @/killed --steps 40 --rank 4 --plan --resume");
    expect(0, "40 steps",
           "fit @/task --model @/model -o @/killed --steps 40 --rank 4 --save-every 7 --resume");
    CHECK(strstr(printed, " for the remaining steps,") && slurp(page, sizeof page, "killed/report.html") &&
              strstr(page, ", since step "),
          "the time of all steps: %s", printed);
    CHECK(slurp(page, sizeof page, "whole/report.html") && !strstr(page, ", since step "), "a whole run");
    expect(0, " 0 ms for the remaining steps,",
           "fit @/task --model @/model -o @/whole --steps 40 --rank 4 --plan --resume");
    expect_same("whole/lora.safetensors", "killed/lora.safetensors", true);
    expect_same("whole/train.csv", "killed/train.csv", true);
    expect(1, "rank", "fit @/task --model @/model -o @/killed --steps 40 --rank 5 --resume");
    expect_shell(
        1, "; --resume continues",
        "\"$VDM\" fit @/task --model @/model -o @/stopped --steps 4000 --rank 4 --save-every 1 & for i in "
        "$(seq 600); do ls @/stopped/state.safetensors && break; sleep 0.05; done; kill -TERM $!; wait $!");
    expect_shell(0, "", "rm -r @/stopped");
    CHECK(
        kill_vdm(
            "f.safetensors", 60000,
            "predict --model @/model --image @/task/test/p3.in.ppm --frames 201 --sample-steps 1 -o @/f.ppm "
            "--dump @/f.safetensors"),
        "the run ended before it was killed");
    expect(0, "latents.1", "info @/f.safetensors");
    CHECK(!strstr(printed, "frames"), "the video was decoded before the run was killed: %s", printed);
}

/* Temporary files are gone: only the outputs are left. */
static void check_left_over(void)
{
    DIR *d = opendir(check_folder());
    const char *known[] = {
        ".",       "..",     "model",         "text-model",    "task",    "run",
        "more",    "places", "killed",        "whole",         "answers", "dump.safetensors",
        "a.ppm",   "a.y4m",  "a.safetensors", "b.ppm",         "c.ppm",   "d.ppm",
        "e.png",   "bf16",   "bf16.ppm",      "f.safetensors", "v.y4m",   "v.png",
        "amx.ppm", "f.ppm",  "means"};
    for (struct dirent *e; d && (e = readdir(d));) {
        bool expected = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            expected = expected || strcmp(known[i], e->d_name) == 0;
        CHECK(expected, "%s was left behind", e->d_name);
    }
    if (d) closedir(d);
}

/* Names from files may contain commands for a terminal: none is printed, or written to a page. */
static void check_names(void)
{
    const float x[] = {1};
    const vdm_tensor t = {"lora_A\xc2\x9b\xc3\xa9", VDM_F32, 1, {1}, x, sizeof x};
    const char *const metadata[][2] = {{"lora_adapter_metadata", "{\n\033[2J"}};
    const char *quiet[] = {"info @/names", "info @/names/x",
                           "eval @/names --model @/model --sample-steps 1 -o @/names/out"};
    const char *pieces[] = {"task 'a?[2J?b??\xc3\xa9'", "lora_A??\xc3\xa9\n", "\ne?[2J psnr "};
    vdm_error err;
    expect_shell(0, "",
                 "cp -r @/task @/names && cd @/names/test && "
                 "for e in in out; do mv p3.$e.ppm \"$(printf 'e\\033[2J').$e.ppm\"; done");
    write_text("names/task.json", "{\"name\": \"a\\u001b[2J\\nb\\u009b\\u00e9\", \"prompt\": \"x\\u0007\"}");
    CHECK(vdm_safetensors_write(path_of("names/x"), &t, 1, metadata, 1, &err) == 0, "%s", err.text);
    for (int i = 0; i < 3; i++) {
        expect(0, pieces[i], "%s", quiet[i]);
        CHECK(!strpbrk(printed, "\a\033\x9b"), "vdm %s: control characters in: %s", quiet[i], printed);
    }
    expect_shell(1, "", "LC_ALL=C grep -q \"$(printf '[\\a\\033]')\" @/names/out/report.html");
    expect_shell(0, "", "grep -q \"$(printf '\\357\\277\\275[[]2J')\" @/names/out/report.html");
    expect(2, "a?b", "\"$(printf 'a\\033b')\"");
    expect_shell(0, "", "rm -r @/names");
}

int main(void)
{
    vdm_error err;
    unsetenv("VDM_MODEL");
    if (!find_program()) return check_end("program");
    CHECK(tiny_write(path_of("model"), TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    CHECK(tiny_write(path_of("text-model"), TINY_15, VDM_F32, 2, &err) == 0, "%s", err.text);
    write_task();
    check_usage();
    check_rejections();
    check_default_model();
    check_own_defaults();
    check_printed_settings();
    check_run();
    check_prompts();
    check_killed();
    check_nan();
    check_names();
    check_left_over();
    return check_end("program");
}
