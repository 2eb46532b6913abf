/* What would otherwise happen without a word: sizes that options contradict, files and tensors that nothing uses, votes
 * that count twice, checks that nothing could fail. Each is rejected, or printed. */
#include "program.h"
#include "tiny.h"
#include "vdm_task.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODEL "--model model"
#define SIZE  "--size 32x48 "

static vdm_error err;

static void write_picture(const char *name, int height, int width)
{
    static uint8_t rgb[64 * 64 * 3];
    vdm_picture p = {height, width, rgb};
    for (int i = 0; i < height * width * 3; i++) rgb[i] = (uint8_t)(10 + i / 144 * 5 + i % 3 * 20);
    CHECK(vdm_picture_write(&p, path_of(name), &err) == 0, "%s", err.text);
}

static void write_inputs(void)
{
    expect_shell(0, "", "mkdir task task/train task/test");
    write_picture("task/train/a.in.ppm", 32, 48);
    write_picture("task/train/a.out.ppm", 32, 48);
    write_picture("task/test/b.in.ppm", 32, 48);
    write_picture("q.ppm", 32, 48);
    write_picture("small.ppm", 16, 16);
    expect(0, "", "fit task " MODEL " --steps 1 --rank 2 --batch 1 -o run");
}

/* An injected tensor has the size that the options ask for. */
static void check_golden_sizes(void)
{
    static const struct {
        const char *what, *wrong, *says;
    } cases[] = {
        {"transformer", "--size 16x32", "tensor 'x': dimension 3: --size asks for 2, found 4"},
        {"transformer", "--frames 17", "tensor 'x': dimension 1: --frames asks for 6, found 4"},
        {"transformer", "--batch 2", "tensor 'x': dimension 0: --batch asks for 2, found 1"},
        {"vae-encode", "--size 16x48", "tensor 'video': dimension 2: --size asks for 16, found 32"},
        {"vae-encode", "--frames 17", "tensor 'video': dimension 0: --frames asks for 17, found 9"},
        {"vae-decode", "--size 32x64", "tensor 'latents': dimension 3: --size asks for 8, found 6"},
        {"train", "--steps 5", "tensor 't': dimension 0: --steps asks for 5, found 3"},
        {"train", "--frames 17", "tensor 'videos': dimension 1: --frames asks for 6, found 4"},
        {"train", "--rank 3", "--rank asks for 3, found 4"},
        {"train", "--alpha 3", "'lora_alpha': --alpha asks for 3, found 8"},
        {"sample", "--steps 3 --sample-steps 2", "expected one of the two"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *what = cases[i].what;
        bool sample = strcmp(what, "sample") == 0;
        expect(0, "", "golden model --what %s " SIZE "%s -o g", what, sample ? "--sample-steps 1" : "");
        expect(0, "", "golden model --what %s " SIZE "--inject g -o again %s", what,
               sample ? "--sample-steps 1" : "--frames 9");
        int status = vdm("golden model --what %s --inject g -o no %s", what, cases[i].wrong);
        CHECK(status == (sample ? 2 : 1) && strstr(printed, cases[i].says), "--what %s %s: status %d: %s",
              what, cases[i].wrong, status, printed);
    }
    expect(2, "not --lora", "golden model --what train --lora run/lora.safetensors --rank 4 -o no");
    expect_shell(1, "", "test -e no");
}

static void check_injected(void)
{
    static float x[6 * 16 * 4 * 6 * 2];
    const vdm_tensor steps = {"step_noise", VDM_F32, 6, {1, 2, 4, 16, 4, 6}, x, 2 * 4 * 16 * 4 * 6 * 4},
                     all[] = {{"noise", VDM_F32, 4, {4, 16, 4, 6}, x, 4 * 16 * 4 * 6 * 4},
                              {"nose", VDM_F32, 1, {2}, x, 8}},
                     negative = {"negative_prompt_embeds", VDM_F32, 2, {5, 24}, x, 5 * 24 * 4},
                     sigma = {"image_sigma", VDM_F32, 1, {1}, x, 4}, times = {"t", VDM_F32, 2, {1, 1}, x, 4};
    CHECK(!vdm_safetensors_write("steps", &steps, 1, NULL, 0, &err), "%s", err.text);
    CHECK(!vdm_safetensors_write("noise", all, 2, NULL, 0, &err), "%s", err.text);
    CHECK(!vdm_safetensors_write("negative", &negative, 1, NULL, 0, &err), "%s", err.text);
    CHECK(!vdm_safetensors_write("sigma", &sigma, 1, NULL, 0, &err), "%s", err.text);
    CHECK(!vdm_safetensors_write("times", &times, 1, NULL, 0, &err), "%s", err.text);
    const char *const predict = "predict --image q.ppm " MODEL " --sample-steps 1 -o a.ppm --inject";
    expect(1, "'step_noise': it would have no effect here: it needs --sampler dpm", "%s steps --sampler ddim",
           predict);
    expect(0, "", "%s steps --sampler dpm", predict);
    expect(1, "it needs --guidance above 1", "%s negative --guidance 1", predict);
    expect(0, "", "%s negative --guidance 2", predict);
    expect(0, "noise: not used here: 1 tensor; the first: 'nose'", "%s noise", predict);
    const char *const fit = "fit task " MODEL " --steps 1 --rank 2 --batch 1 --inject";
    expect(1, "not with --no-image-noise", "%s sigma --no-image-noise -o no.run", fit);
    expect(0, "", "%s sigma -o sigma.run", fit);
    const char *const only =
        "times: 't' has the timesteps of training: --pure-noise 0.5 changes only the fixed set's\n";
    expect(0, only, "%s times --pure-noise 0.5 -o times.run", fit);
    expect(0, "", "%s times -o times.run.0", fit);
    CHECK(!strstr(printed, "--pure-noise"), "%s", printed);
    expect(1, "it needs --sampler dpm",
           "golden model --what sample " SIZE "--sample-steps 1 --sampler ddim --inject steps -o no");
}

/* A check that nothing could fail, votes that count twice, pairs that are not there. */
static void check_counts(void)
{
    expect(1, "--at-least: expected a test picture with a known answer, found none",
           "eval task " MODEL " --sample-steps 1 --at-least 0.5");
    expect(0, "none has a known answer", "eval task " MODEL " --sample-steps 1");
    expect(0, "", "tasks flip-h --grid 4x6 -n 1 --tests 1 -o grids");
    expect_shell(
        0, "",
        "mkdir one two; cp grids/test/*.out.ppm one; cd one; for f in *; do mv $f ${f%%.out.ppm}.ppm; "
        "done; cp * ../two");
    expect(0, "exact 1 of 1", "vote grids one two -o voted");
    expect(1, "expected every run once", "vote grids one two ./one -o voted");
    expect(0, "", "tasks recolour --grid 4x6 -n 1 --tests 1 -o other");
    expect(0, "", "eval grids " MODEL " --sample-steps 1 -o answers");
    expect(0, "", "eval other " MODEL " --sample-steps 1 -o others");
    expect(0, "1 scored", "vote grids answers one -o voted");
    expect(1, "others: 0000: the score in scores.csv is", "vote grids answers others -o voted");
    expect(1, "three: No such file", "vote grids one three -o voted");
    expect(0, "--shots 5: task has 1 pair\n", "fit task " MODEL " --steps 1 --shots 5 --plan");
    expect(0, "", "fit task " MODEL " --steps 1 --shots 1 --plan");
    CHECK(!strstr(printed, "--shots"), "%s", printed);
    expect(0, "small.ppm: resized from 16x16 to 32x48, the size of q.ppm", "interp q.ppm small.ppm -o s.png");
    expect(0, "", "interp q.ppm small.ppm --size 16x16 -o s.png");
    CHECK(!strstr(printed, "resized"), "%s", printed);
}

/* Answers without a known truth have rows, too: those that an earlier run left in the folder do not vote. */
static void check_stale(void)
{
    expect(0, "", "tasks flip-h --grid 4x6 -n 1 --tests 3 -o unknown");
    expect_shell(0, "", "rm unknown/test/000[02].out.ppm");
    expect(0, "", "eval unknown " MODEL " --sample-steps 1 -o first");
    expect_shell(0, "0000,cells,,,,\n0001,cells,0", "cat first/scores.csv");
    CHECK(strstr(printed, "\n0002,cells,,,,\n"), "%s", printed);
    expect(0, "", "eval unknown " MODEL " --sample-steps 1 --seed 8 --colour shift -o second");
    expect_shell(0, "0000,cells,,,,,\n", "cat second/scores.csv");
    expect(0, "3 answered", "vote unknown first second -o voted.unknown");
    expect(0, "", "eval unknown " MODEL " --sample-steps 1 --seed 7 --limit 1 -o first");
    expect(1, "first/scores.csv: expected the scores of 3 answers, found 1; --limit 1 counts only those",
           "vote unknown first second -o voted.unknown");
    expect(0, "1 answered", "vote unknown first second --limit 1 -o voted.unknown");
    write_text("first/scores.csv",
               "name,metric,score,exact,copied,against_input\n"); /* of an older version */
    expect(1, "first/scores.csv: expected a row for each of 3 answers, found none",
           "vote unknown first second -o voted.unknown");
}

/* Answers that are right have an infinite psnr: they do not make a mean worse by being left out of it. The same model and
 * seed give the same answers again. */
static void check_perfect(void)
{
    static const char *const eval = "eval perfect " MODEL " --sample-steps 1 --train-pairs 0 --at-least";
    expect_shell(0, "", "mkdir perfect perfect/test");
    for (int i = 0; i < 3; i++) expect_shell(0, "", "cp q.ppm perfect/test/%d.in.ppm", i);
    expect(0, "", "eval perfect " MODEL " --sample-steps 1 -o perfect.answers");
    for (int i = 0; i < 2; i++)
        expect_shell(0, "", "cp perfect.answers/%d.ppm perfect/test/%d.out.ppm", i, i);
    expect_shell(0, "", "cp q.ppm perfect/test/2.out.ppm");
    expect(0, " without 2 equal pictures, whose psnr is infinite (", "%s 40", eval);
    double mean = 0, bounded = 0, copied = 0, best = 84.7659; /* 10 log10(255^2 32 48 3) */
    const char *at = strstr(printed, "mean psnr "), *all = at ? strchr(at, '(') : NULL,
               *copy = at ? strstr(at, "copying the input: mean psnr ") : NULL;
    bool read = copy && sscanf(at, "mean psnr %lf", &mean) == 1 && sscanf(all, "(%lf", &bounded) == 1 &&
                sscanf(copy, "copying the input: mean psnr %lf without 1 equal picture,", &copied) == 1;
    CHECK(read && mean < 40 && copied < 40, "%s", printed);
    CHECK(strstr(copy ? copy : "", "without 1 equal picture,"), "%s", printed);
    double error = bounded - (mean + 2 * best) / 3;
    CHECK(error < 1e-3 && error > -1e-3, "%g: expected the mean of %g and 2 times %g", bounded, mean, best);
    expect(3, "exact 2 of 3", "%s %g", eval, bounded + 1);
    expect_shell(0, "", "cp perfect.answers/2.ppm perfect/test/2.out.ppm");
    expect(0, "mean psnr inf, exact 3 of 3", "%s 1e9", eval);
}

/* Runs whose answers are copies, a grid that the pictures don't have, a picture of another aspect ratio. */
static void check_pictures(void)
{
    static const char *const predict = "predict " MODEL " --sample-steps 1 -o a.ppm --image";
    expect_shell(0, "", "cp -r answers same; cp -r two three");
    expect(0, "same: the same answers as answers, pixel for pixel: they have two votes",
           "vote grids answers one same -o v");
    expect(0, "exact 1 of 1", "vote grids one two three -o v"); /* all of them right */
    CHECK(!strstr(printed, "two votes"), "%s", printed);
    expect(0, "small.ppm: resized from 16x16 to 32x48, another aspect ratio\n", "%s small.ppm " SIZE,
           predict);
    write_picture("half.ppm", 16, 24);
    expect(0, "half.ppm: resized from 16x24 to 32x48\n", "%s half.ppm " SIZE, predict);
    expect(0, "", "%s q.ppm " SIZE, predict);
    CHECK(!strstr(printed, "resized"), "%s", printed);
    expect_shell(0, "",
                 "cp -r grids coarse; sed 's/\"rows\": 4/\"rows\": 2/; s/\"cols\": 6/\"cols\": 3/; "
                 "s/\"cell\": 8/\"cell\": 16/' grids/task.json > coarse/task.json; ! cmp -s grids/task.json "
                 "coarse/task.json");
    static const char *const other =
        "0000.out.ppm: a grid of 2 rows and 3 columns of 16 pixels differs from this picture";
    expect(0, other, "eval coarse " MODEL " --sample-steps 1");
    expect(0, other, "fit coarse " MODEL " --steps 1 --rank 2 -o coarse.run");
    expect(0, "", "fit grids " MODEL " --steps 1 --rank 2 -o fine.run");
    CHECK(!strstr(printed, "differs from this picture"), "%s", printed);
}

/* Pictures that are moved by half a cell, in a task whose first training pair is not: every picture is compared. */
static void check_moved(void)
{
    static const char *const eval = "eval moved " MODEL " --sample-steps 1 --train-pairs 0";
    expect(0, "", "tasks flip-h --grid 4x6 -n 1 --tests 3 -o moved");
    expect(0, "", "%s -o moved.answers", eval);
    CHECK(!strstr(printed, "differs from this picture"), "%s", printed);
    for (int i = 1; i < 3; i++)
        for (int k = 0; k < 2; k++) {
            char name[64];
            vdm_picture p = {0};
            snprintf(name, sizeof name, "moved/test/000%d.%s.ppm", i, k ? "out" : "in");
            CHECK(!vdm_picture_read(&p, name, &err), "%s", err.text);
            size_t bytes = (size_t)p.height * (size_t)p.width * 3, by = (size_t)(4 * p.width + 4) * 3;
            memmove(p.rgb + by, p.rgb, bytes - by);
            CHECK(!vdm_picture_write(&p, name, &err), "%s", err.text);
            vdm_picture_free(&p);
        }
    static const char one[] = "moved/test/0001.out.ppm: a grid of 4 rows and 6 columns of 8 pixels differs",
                      two[] = "It is one of 2 such pictures.\n";
    expect(0, one, "%s", eval);
    CHECK(strstr(printed, two), "%s", printed);
    expect_shell(0, "", "rm moved.answers/scores.csv"); /* of other pictures */
    expect(0, one, "vote moved moved.answers -o moved.voted");
    CHECK(strstr(printed, two), "%s", printed);
    expect(0, one, "demo moved " MODEL " --steps 1 --rank 2 --batch 1 --sample-steps 1 -o moved.demo");
    expect(0, "moved/test/0001.in.ppm: a grid of 4 rows and 6 columns of 8 pixels differs", "%s --view 1",
           eval);
    CHECK(strstr(printed, "It is one of 4 such pictures.\n"), "%s", printed);
    expect(0, one, "%s --limit 2", eval);
    CHECK(!strstr(printed, "It is one of"), "%s", printed);
}

/* A square, or a figure of two joints, in that colour on black; NULL: black. */
static void write_mask(const char *name, const uint8_t *colour, bool joints)
{
    static uint8_t rgb[32 * 48 * 3];
    const vdm_joint list[] = {{10.5, 10.5, VDM_ARM}, {20.5, 30.5, VDM_ARM}};
    const vdm_limb limb = {0, 1, VDM_ARM};
    vdm_picture p = {32, 48, rgb};
    memset(rgb, 0, sizeof rgb);
    if (joints) vdm_pose_draw(&p, list, 2, &limb, 1); /* red */
    for (int i = 0; i < 32 * 48; i++) {
        bool inside = joints ? rgb[3 * i] > 127 : i / 48 >= 8 && i / 48 < 24 && i % 48 >= 8 && i % 48 < 24;
        if (colour && inside) memcpy(rgb + 3 * i, colour, 3);
        if (!colour) memset(rgb + 3 * i, 0, 3);
    }
    CHECK(vdm_picture_write(&p, path_of(name), &err) == 0, "%s", err.text);
}

/* Outputs in colours that the metric does not read, for which an empty answer would be exact. */
static void check_truths(void)
{
#define OFF \
    "expected a pixel with a luminance above 127, as of white on black, found none in any of 2 outputs"
#define ONE  "expected two classes, pixels next to two colours of the palette, found none in any of 2 outputs"
#define BARE "expected a joint, a disc in white, blue, red or green on black, found none in any of 2 outputs"
    static const struct {
        const char *metric;
        int status;
        uint8_t colour[3], second[3]; /* of the training pair's output, and of the test's */
        const char *says;             /* NULL: nothing of the metric */
    } cases[] = {
        {"iou", 0, {255, 255, 255}, {255, 255, 255}, NULL},
        {"iou", 0, {255, 255, 255}, {0, 0, 0}, NULL}, /* one is empty */
        {"iou", 0, {0, 0, 0}, {0, 0, 0}, "metric iou: none of 2 outputs has a pixel with a luminance above"},
        {"iou", 0, {255, 255, 0}, {255, 255, 255}, NULL}, /* on, if not white */
        {"iou", 1, {1, 1, 1}, {1, 1, 1}, "metric iou: " OFF},
        {"iou", 1, {255, 0, 0}, {255, 0, 0}, "metric iou: " OFF},
        {"iou",
         0,
         {255, 255, 255},
         {255, 0, 0},
         "b.out.ppm: most pixels of its figure differ by more than 64"},
        {"miou", 0, {255, 65, 54}, {0, 116, 217}, NULL},
        {"miou", 1, {1, 1, 1}, {2, 2, 2}, "metric miou: " ONE},
        {"miou",
         0,
         {0, 128, 0},
         {255, 65, 54},
         "a.out.ppm: most pixels of its figure differ by more than 64"},
        {"pose", 0, {255, 0, 0}, {0, 255, 0}, NULL},
        {"pck", 0, {255, 0, 0}, {0, 0, 0}, NULL},
        {"pose", 1, {255, 255, 0}, {255, 0, 255}, "metric pose: " BARE},
        {"pck", 1, {255, 255, 0}, {0, 0, 0}, "metric pck: " BARE},
        {"pose",
         0,
         {255, 0, 0},
         {255, 255, 0},
         "b.out.ppm: most pixels of its figure differ by more than 64"},
        {"psnr", 0, {1, 1, 1}, {1, 1, 1}, NULL},
    };
    expect_shell(
        0, "",
        "mkdir masks masks/train masks/test; cp q.ppm masks/train/a.in.ppm; cp q.ppm masks/test/b.in.ppm");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool joints = cases[i].metric[0] == 'p' && cases[i].metric[1] != 's';
        write_mask("masks/train/a.out.ppm", cases[i].colour, joints);
        write_mask("masks/test/b.out.ppm", cases[i].second, joints);
        write_text("masks/task.json", "{\"metric\": \"%s\"}", cases[i].metric);
        int status = vdm("eval masks " MODEL " --sample-steps 1");
        bool silent = !strstr(printed, "metric ");
        CHECK(status == cases[i].status && (cases[i].says ? strstr(printed, cases[i].says) != NULL : silent),
              "case %d, %s: status %d: %s", (int)i, cases[i].metric, status, printed);
    }
    write_mask("masks/train/a.out.ppm", cases[4].colour, false);
    write_text("masks/task.json", "{\"metric\": \"iou\"}");
    expect(1, "a.out.ppm: metric iou: expected a pixel with a luminance above 127",
           "fit masks " MODEL " --steps 1 --rank 2 -o masks.run");
    expect(1, "a.out.ppm: metric iou: expected", "demo masks " MODEL " --steps 1 --rank 2 -o masks.demo");
    /* an output that is not asked for has a figure: the first ones may be empty, with slight noise */
    expect_shell(0, "", "cp q.ppm masks/test/c.in.ppm");
    write_mask("masks/test/b.out.ppm", cases[4].colour, false);
    write_mask("masks/test/c.out.ppm", cases[0].colour, false);
    expect(0, "1 answered", "eval masks " MODEL " --sample-steps 1 --limit 1");
    CHECK(!strstr(printed, "metric iou:"), "%s", printed);
}

/* Commands that learn and answer obey the limit of memory, with the same result. */
static void check_memory(void)
{
    static const char *const commands[] = {"fit task", "demo task --limit 1 --sample-steps 1",
                                           "arc tasks/one.json --size 32x48 --sample-steps 1"};
    static const char *const limit = "memory limit 102.4 MiB: weights are read when they are used";
    for (int i = 0; i < 3; i++) {
        const char *const rest = MODEL " --steps 1 --batch 1024 --rank 2 --watch-every 0";
        expect(0, limit, "%s %s --memory-limit 0.1 -o limited.%d", commands[i], rest, i);
        expect(0, "", "%s %s --memory-limit 100 -o free.%d", commands[i], rest, i);
        CHECK(!strstr(printed, "memory limit"), "%s: %s", commands[i], printed);
        expect_shell(0, "", "cmp limited.%d/lora.safetensors free.%d/lora.safetensors", i, i);
    }
}

/* A warmup that is longer than the run leaves the learning rate near 0: every command that learns prints it, once. */
static void check_warmup(void)
{
    static const char *const commands[] = {"fit task", "fit task --plan",
                                           "demo task --limit 1 --sample-steps 1",
                                           "arc tasks/one.json --size 32x48 --sample-steps 1"};
    static const char says[] =
        "--steps 3: the warmup of 10 steps is longer than the run: the learning rate reaches 0.0002 of 0.001\n";
    for (int i = 0; i < 4; i++)
        for (int warmup = 3; warmup <= 10; warmup += 7) {
            expect(0, "",
                   "%s " MODEL
                   " --steps 3 --rank 2 --batch 1 --lr 1e-3 --schedule warmup --warmup %d -o w%d.%d",
                   commands[i], warmup, i, warmup);
            const char *at = strstr(printed, says);
            CHECK(warmup == 3 ? !strstr(printed, "the warmup")
                              : at && !strstr(at + sizeof says - 1, "the warmup"),
                  "%s: %s", commands[i], printed);
        }
}

/* Another model in the place of the one that a run of tasks began with. */
static void check_contents(void)
{
    static const char *const arc =
        "arc tasks --model arc-model --size 32x48 --steps 1 --batch 1 --rank 2 --sample-steps 1 "
        "--save-every 1 --out r.jsonl";
    expect_shell(0, "", "mkdir tasks");
    write_text("tasks/one.json",
               "{\"train\": [{\"input\": [[1, 2]], \"output\": [[2, 1]]}], \"test\": [{\"input\": "
               "[[3, 1]], \"output\": [[1, 3]]}]}");
    expect_shell(0, "", "cp -r model arc-model");
    expect(0, "1 task, solved", "%s", arc);
    expect(0, "1 task already has a result", "%s", arc);
    expect_shell(0, "", "cp tasks/one.json one.json; sed 's/3, 1/3, 3/' one.json > tasks/one.json");
    expect(1,
           "r.jsonl: line 1: the result of 'one' is that of another task: tasks/one.json was changed since",
           "%s", arc);
    expect_shell(
        0, "",
        "mv one.json tasks; mkdir twins twins/a twins/b; cp tasks/one.json twins/a; cp tasks/one.json twins/b");
    expect(0, "",
           "arc twins " MODEL
           " --size 32x48 --steps 1 --batch 1 --rank 2 --sample-steps 1 --out twins.jsonl");
    expect(1, "two tasks have the ID 'one'", "arc --report twins.jsonl -o submission.json");
    expect(0, "", "arc --report r.jsonl -o submission.json");
    CHECK(tiny_write(path_of("arc-model"), TINY_15_I2V, VDM_BF16, 2, &err) == 0, "%s", err.text);
    expect(1, "line 1 is from another run", "%s", arc);
}

/* Options that would be ignored. */
static void check_options(void)
{
    expect(2, "--image: found 'small.ppm' and another before it, expected one",
           "predict " MODEL " --image q.ppm --image small.ppm -o a.ppm");
    expect(2, "--prompt: found 'b' and another before it", "eval task " MODEL " --prompt a --prompt b");
    expect(0, "", "predict " MODEL " --image q.ppm --image q.ppm --sample-steps 3 --sample-steps 1 -o a.ppm");
    expect(1, "found this file twice",
           "predict " MODEL
           " --image q.ppm --lora run/lora.safetensors --lora ./run/lora.safetensors:2 -o a.ppm");
    const char *const guided = "predict " MODEL " --image q.ppm --sample-steps 1 -o a.ppm --guidance 6";
    expect(0, "--guidance 6: no effect: guidance needs a negative prompt that differs from the prompt", "%s",
           guided);
    static float x[5 * 24] = {1};
    const vdm_tensor t = {"prompt_embeds", VDM_F32, 2, {5, 24}, x, sizeof x};
    CHECK(!vdm_safetensors_write("prompt", &t, 1, NULL, 0, &err), "%s", err.text);
    expect(0, "", "%s --prompt-embeds prompt", guided);
    CHECK(!strstr(printed, "no effect"), "%s", printed);
    expect(0, "--dynamic-guidance: no effect: guidance needs a negative prompt that differs from the prompt",
           "%s --dynamic-guidance", guided);
    CHECK(strstr(printed, "guidance 1, ensemble"), "%s", printed);
    expect(0, "guidance 6, dynamic, ensemble", "%s --dynamic-guidance --prompt-embeds prompt", guided);
    expect(0, "--negative-embeds: no effect", "%s --negative-embeds prompt --prompt-embeds prompt", guided);
    expect(1, "--cell: it has no effect here", "%s --cell 8", guided);
    expect(1, "--palette: it has no effect here", "%s --palette vivid", guided);
    expect_shell(0, "OMP_NUM_THREADS: expected a number of threads, found 'many'",
                 "OMP_NUM_THREADS=many \"$VDM\" predict " MODEL " --image q.ppm --sample-steps 1 -o a.ppm");
    expect_shell(0, "",
                 "cp -r model odd; sed 's/{/{\"num_layer\": 3,/' model/transformer/config.json > "
                 "odd/transformer/config.json");
    expect(0, "odd/transformer/config.json: num_layer: no such setting; it is ignored",
           "predict --model odd --image q.ppm --sample-steps 1 -o a.ppm");
    expect(0, "num_layer: no such setting", "info odd");
    expect_shell(0, "", "mkdir odd/text_encoder");
    write_text("odd/text_encoder/config.json",
               "{\"model_type\": \"t5\", \"relative_attention_buckets\": 64}");
    expect(0, "odd/text_encoder/config.json: relative_attention_buckets: no such setting; it is ignored",
           "info odd");
    CHECK(!strstr(printed, "model_type"), "%s", printed);
    expect(0, "", "fit task " MODEL " --steps 1 --rank 2 --batch 1 --lr 0 -o nothing");
    expect(0, "it has no effect: all its matrices B are zero",
           "predict " MODEL " --image q.ppm --sample-steps 1 --lora nothing/lora.safetensors -o a.ppm");
    expect(0, "weight 1\n",
           "predict " MODEL " --image q.ppm --sample-steps 1 --lora run/lora.safetensors -o a.ppm");
    write_text("c.json",
               "{\"images\": [], \"annotations\": [], \"categories\": [{\"id\": 1, \"name\": \"dog\"}]}");
    expect(1, "--category: found 'dog' twice",
           "tasks coco --annotations c.json --images . --category dog,cat,dog -o coco");
    expect(1, "among the files of tasks", "arc tasks " MODEL " --size 32x48 --out tasks/results.json");
    expect(2, "expected the NAME of a task", "tasks -o nothing");
    expect(2, "-n: it has no effect here; it needs the NAME of a task", "tasks -n 5");
    expect(2, "expected one of the two", "tasks --list -o nothing");
    expect(2, "expected no name, or coco, found 'flip-h'", "tasks flip-h --list");
    expect(2, "not --vae-roundtrip", "arc task --vae-roundtrip --steps 3 " MODEL);
    expect(2, "not --vae-roundtrip", "arc task --vae-roundtrip --out r.jsonl " MODEL);
}

static void check_files(void)
{
    expect_shell(0, "",
                 "cp -r model twice; cp -r model settings; echo '{}' > settings/vdm.json; "
                 "echo '{}' > twice/transformer/diffusion_pytorch_model.safetensors.index.json");
    expect(1, "expected one of them", "predict --model twice --image q.ppm -o a.ppm");
    expect(1, "would replace settings", "golden settings -o settings/vdm.json");
    expect_shell(0, "{}", "cat settings/vdm.json");
    expect_shell(0, "", "cp -r grids maze");
    write_text("maze/task.json",
               "{\"metric\": \"cells\", \"palette\": \"maze\", \"grid\": {\"rows\": 8, \"cols\": 8, "
               "\"cell\": 8, \"border\": 0, \"palette\": \"arc\"}}");
    expect(1, "grid.palette: found 'arc', expected the one outside of grid", "info maze");
    write_text("map", "v v\nposition positions\nblocks.*.a transformer_blocks.*.a # a comment\n");
    expect(0, "", "golden model --what transformer " SIZE "-o g");
    expect_shell(0, "", "cp g g2");
    expect(0, "note: --map: 2 lines fit no tensor of the reference; the first: 'position'",
           "compare g g2 --map map");
    static const float x[2] = {1, 2};
    const vdm_tensor v = {"v", VDM_F32, 1, {2}, x, 8};
    CHECK(!vdm_safetensors_write("port", &v, 1, NULL, 0, &err), "%s", err.text);
    expect(1, "--only typo*: no tensor", "golden model --what transformer " SIZE "--only 'v,typo*,x' -o no");
    expect(1, "--only typo*: no tensor", "compare g g2 --only 'v,typo*,x'");
    expect(0, "2 agree", "compare g g2 --only 'v,x'");
    expect(0, "", "golden model --what vae-encode " SIZE "-o e");
    expect(1, "", "compare g e");
    expect(2, "expected one of the two", "golden model --names -o no");
    expect(3, "the reference comes first", "compare port g");
    expect(3, "", "compare g port");
    CHECK(!strstr(printed, "comes first"), "%s", printed);
}

/* The upper half of a seed has no effect on the noise of answers. */
static void check_seed(void)
{
    static const char *const says =
        " follow its lower 32 bits only, as in PyTorch: they are those of --seed 42\n";
    expect(0, says, "predict " MODEL " --image q.ppm -o seed.large.ppm --sample-steps 1 --seed 4294967338");
    expect(0, "", "predict " MODEL " --image q.ppm -o seed.small.ppm --sample-steps 1 --seed 42");
    CHECK(!strstr(printed, "--seed"), "%s", printed);
    expect_same("seed.large.ppm", "seed.small.ppm", true);
    expect(0, "", "predict " MODEL " --image q.ppm -o seed.other.ppm --sample-steps 1 --seed 4294967295");
    CHECK(!strstr(printed, "--seed"), "%s", printed);
    expect_same("seed.large.ppm", "seed.other.ppm", false);
    expect(0, says, "eval task " MODEL " --sample-steps 1 --seed 4294967338 --limit 1");
    expect(0, says, "golden " MODEL " --size 32x48 --only v -o seed.g --seed 4294967338");
    expect(0, "", "interp q.ppm q.ppm --phi noisy -o seed.png --seed 4294967338");
    CHECK(!strstr(printed, "lower 32 bits"), "%s", printed);
    expect(0, "--seed 4294967338: the random numbers of answers follow its lower 32 bits only",
           "demo task " MODEL
           " --steps 1 --rank 2 --batch 1 --sample-steps 1 --limit 1 -o seeded --seed 4294967338");
    for (int i = 0; i < 2; i++) {
        expect(0, "", "fit task " MODEL " --steps 1 --rank 2 --batch 1 --seed %s -o seed%d",
               i ? "42" : "4294967338", i);
        CHECK(!strstr(printed, "lower 32 bits"), "%s", printed);
    }
    expect_same("seed0/lora.safetensors", "seed1/lora.safetensors", false);
}

/* Fewer tests than asked for. */
static void check_few_tests(void)
{
    expect(0, "--tests 150: rule-110 has 127 inputs for tests\n", "tasks rule-110 -n 1 --tests 150 -o few");
    expect(0, "1 pair and 127 tests", "tasks rule-110 -n 1 -o fewer");
    CHECK(!strstr(printed, "--tests"), "%s", printed);
    write_text("f.json",
               "{\"categories\": [{\"id\": 1, \"name\": \"dog\"}], \"images\": [{\"id\": 1, \"file_name\": "
               "\"q.jpg\", \"height\": 32, \"width\": 48}], \"annotations\": [{\"image_id\": 1, "
               "\"category_id\": 1, \"segmentation\": [[0, 0, 40, 0, 40, 30]]}]}");
    expect(0, "--tests 3: 0 of the pictures that suit are left for tests\n",
           "tasks coco --annotations f.json --images . --category dog -n 1 --tests 3 -o dogs");
}

int main(void)
{
    unsetenv("VDM_MODEL");
    if (!find_program()) return check_end("silence");
    if (!CHECK(chdir(check_folder()) == 0, "the test can't enter its folder")) return check_end("silence");
    CHECK(tiny_write(path_of("model"), TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    write_inputs();
    check_golden_sizes();
    check_seed();
    check_few_tests();
    check_injected();
    check_counts();
    check_perfect();
    check_stale();
    check_pictures();
    check_moved();
    check_truths();
    check_contents();
    check_memory();
    check_warmup();
    check_options();
    check_files();
    return check_end("silence");
}
