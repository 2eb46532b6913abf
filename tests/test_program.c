/* The program, from its command line, on a tiny model: the whole run, what it refuses and how it exits.
 * The environment's VDM names the program (build/vdm otherwise). */
#include "check.h"
#include "tiny.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char program[512], root[256];

/* Runs a shell's command, with @ standing for the test's folder; its output goes to root/out. Exit status. */
static int shell(const char *line)
{
    char words[4096] = {0}, command[4600];
    size_t n = 0;
    for (const char *p = line; *p && n + strlen(root) + 2 < sizeof words; p++) {
        if (p[0] == '@') {
            n += (size_t)snprintf(words + n, sizeof words - n, "%s", root);
        } else {
            words[n++] = *p;
        }
    }
    snprintf(command, sizeof command, "{ %s; } > '%s/out' 2>&1", words, root);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run(const char *arguments)
{
    char line[2600];
    snprintf(line, sizeof line, "'%s' %s", program, arguments);
    return shell(line);
}

static const char *output(void)
{
    static char text[65536];
    char path[512];
    snprintf(path, sizeof path, "%s/out", root);
    FILE *f = fopen(path, "rb");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f) fclose(f);
    text[n] = '\0';
    return text;
}

/* Runs, and requires an exit status and a piece of what is said. */
static void expect(int status, const char *piece, const char *arguments)
{
    int found = run(arguments);
    CHECK(found == status, "vdm %s: expected status %d, found %d: %s", arguments, status, found, output());
    CHECK(strstr(output(), piece) != NULL, "vdm %s: expected '%s' in: %s", arguments, piece, output());
}

static uint64_t hash_of(const char *name, bool *there)
{
    vdm_error err;
    char path[1024], *data;
    size_t size;
    snprintf(path, sizeof path, "%s/%s", root, name);
    *there = vdm_read_file(path, (size_t)1 << 28, &data, &size, &err) == 0;
    uint64_t hash = *there ? check_hash(data, (int64_t)size) : 0;
    if (*there) vdm_free(data);
    return hash;
}

static void same(const char *a, const char *b, bool equal)
{
    bool there_a, there_b;
    uint64_t x = hash_of(a, &there_a), y = hash_of(b, &there_b);
    CHECK(there_a && there_b, "%s, %s: expected both files", a, b);
    CHECK((x == y) == equal, "%s and %s: expected %s", a, b, equal ? "the same bytes" : "other bytes");
}

/* A task: pictures of random blocks and their negatives. */
static void write_picture(const char *name, uint32_t seed, int height, int width, bool negative)
{
    static float noise[64];
    vdm_error err;
    char path[1024];
    vdm_picture p = {width, height, vdm_alloc((size_t)(3 * width * height), 1, "a picture", &err)};
    check_random(noise, 64, seed, 1);
    for (int i = 0; i < width * height * 3; i++) {
        int y = i / 3 / width, x = i / 3 % width;
        int value = (int)(127.5f + 120 * noise[(y / 8 * 8 + x / 8) % 21 * 3 + i % 3]);
        p.rgb[i] = (uint8_t)(negative ? 255 - value : value);
    }
    snprintf(path, sizeof path, "%s/%s", root, name);
    CHECK(vdm_picture_write(&p, path, &err) == 0, "%s", err.text);
    vdm_free(p.rgb);
}

static void write_task(void)
{
    const char *folders[] = {"task", "task/train", "task/test"};
    char path[512];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", root, folders[i]);
        mkdir(path, 0777);
    }
    for (uint32_t i = 0; i < 4; i++) {
        for (int negative = 0; negative < 2; negative++) {
            snprintf(path, sizeof path, "task/%s/p%u.%s.ppm", i < 3 ? "train" : "test", i,
                     negative ? "out" : "in");
            write_picture(path, i, 32, 48, negative);
        }
    }
}

static void check_usage(void)
{
    expect(0, "vdm fit", "help");
    expect(0, "--rank", "fit --help");
    expect(2, "no command", "frobnicate");
    expect(2, "no such option", "predict --frobnicate");
    expect(2, "whole number", "predict --steps 12abc");
    expect(2, "whole number", "predict --steps 0");
    expect(2, "whole number", "predict --steps -3");
    expect(2, "found 'nan'", "predict --guidance nan");
    expect(2, "2^64", "predict --seed 99999999999999999999999");
    expect(2, "HxW", "predict --size 48");
    expect(2, "ddim|dpm", "predict --sampler euler");
    expect(2, "after it", "predict --image");
    expect(2, "--image", "predict --model @/model -o @/y.ppm");
    expect(2, "--phi", "fit @/task --model @/model -o @/run --phi cubic");
    expect(2, "the picture to answer",
           "predict --model @/model --image @/task/test/p3.in.ppm -o @/task/test/p3.in.ppm");
}

static void check_refusals(void)
{
    expect(1, "no-such", "predict --model @/no-such --image @/task/test/p3.in.ppm -o @/y.ppm");
    expect(1, "no-such", "predict --model @/model --image @/no-such.ppm -o @/y.ppm");
    expect(1, "32", "predict --model @/model --image @/task/test/p3.in.ppm --size 33x48 -o @/y.ppm");
    expect(1, "9", "predict --model @/model --image @/task/test/p3.in.ppm --frames 8 -o @/y.ppm");
    expect(1, "no-such", "predict --model @/model --image @/task/test/p3.in.ppm -o @/no-such/y.ppm");
    expect(1, "no-such", "fit @/no-such --model @/model -o @/run");
    expect(1, "in_channels", "predict --model @/text-model --image @/task/test/p3.in.ppm -o @/y.ppm");
    CHECK(access("y.ppm", F_OK) != 0, "a refused run left a file");
}

static void check_run(void)
{
    expect(0, "video", "info @/model");
    expect(0, "3 training pairs", "info @/task");
    expect(0, "at the peak", "fit @/task --model @/model --plan");
    expect(0, "bf16", "fit @/task --model @/model --plan --precision bf16");
    expect(2, "expected f32|bf16", "fit @/task --model @/model --plan --precision f16");
    expect(0, "lora.safetensors",
           "fit @/task --model @/model -o @/run --steps 6 --rank 4 --alpha 8 --watch-every 2 "
           "--dump @/dump.safetensors --dump-grads");
    expect(0, "rank 4", "info @/run/lora.safetensors");
    expect(0, "steps 6, videos a step 4",
           "fit @/task --model @/model -o @/more --steps 6 --rank 4 --alpha 8 --accumulate 2");
    same("run/lora.safetensors", "more/lora.safetensors", false);
    expect(0, "lora_B.weight", "info @/dump.safetensors");
    expect(0, "[6]  loss", "info @/dump.safetensors");
    expect(1, "--resume", "fit @/task --model @/model -o @/run --steps 6 --rank 4");
    CHECK(shell("cp @/run/train.csv @/run/kept.csv") == 0, "%s", output());
    expect(1, "the state was made with",
           "fit @/task --model @/model -o @/run --steps 6 --rank 4 --alpha 8 --lr 1 --resume");
    expect(1, "precision: this run has BF16, the state was made with F32",
           "fit @/task --model @/model -o @/run --steps 6 --rank 4 --alpha 8 --precision bf16 --resume");
    expect(0, "lora.safetensors", "fit @/task --model @/model -o @/bf16 --steps 2 --rank 4 --precision bf16");
    expect(1, "precision: this run has F32, the state was made with BF16",
           "fit @/task --model @/model -o @/bf16 --steps 4 --rank 4 --resume");
    expect(0, "lora.safetensors",
           "fit @/task --model @/model -o @/bf16 --steps 4 --rank 4 --precision bf16 --resume");
    same("run/train.csv", "run/kept.csv", true); /* a refused run leaves what the earlier one learned */
    const char *predict =
        "predict --model @/model --image @/task/test/p3.in.ppm --steps 3 --lora @/run/lora.safetensors";
    char line[1024];
    snprintf(line, sizeof line, "%s -o @/a.ppm --video @/a.y4m --dump @/a.safetensors", predict);
    expect(0, "applied 8 of 8", line);
    expect(0, "latents.3", "info @/a.safetensors");
    expect(0, "[9,3,32,48]  frames", "info @/a.safetensors");
    snprintf(line, sizeof line, "%s -o @/b.ppm --threads 3", predict);
    expect(0, "threads: ", line); /* 3, or 1 without OpenMP */
    same("a.ppm", "b.ppm", true);
    snprintf(line, sizeof line, "%s:2.5 -o @/c.ppm", predict);
    expect(0, "weight 2.5", line);
    same("a.ppm", "c.ppm", false);
    snprintf(line, sizeof line, "%s -o @/d.ppm --seed 43", predict);
    expect(0, "", line);
    same("a.ppm", "d.ppm", false);
    snprintf(line, sizeof line, "%s -o @/bf16.ppm --precision bf16", predict);
    expect(0, "; bf16, ", line);
    same("a.ppm", "bf16.ppm", false);
    snprintf(line, sizeof line, "%s -o @/e.png --sampler dpm", predict);
    expect(0, "", line);
    expect(0, "mean psnr",
           "eval @/task --model @/model --steps 3 --lora @/run/lora.safetensors -o @/answers");
    same("a.ppm", "answers/p3.ppm", true);
    expect(3, "mean psnr", "eval @/task --model @/model --steps 2 --at-least 1000");
    expect(0, "", "interp @/task/train/p0.in.ppm @/task/train/p0.out.ppm -o @/v.y4m --phi tiles:2x2");
    expect(0, "", "interp @/task/train/p0.in.ppm @/task/train/p0.out.ppm -o @/v.png --phi black:3");
}

static void write_text(const char *name, const char *text)
{
    vdm_error err;
    vdm_file f;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, name);
    CHECK(vdm_file_open(&f, path, &err) == 0 && fputs(text, f.stream) >= 0 && vdm_file_commit(&f, &err) == 0,
          "%s", err.text);
}

static void expect_shell(int status, const char *piece, const char *line)
{
    int found = shell(line);
    CHECK(found == status, "%s: expected status %d, found %d: %s", line, status, found, output());
    CHECK(strstr(output(), piece) != NULL, "%s: expected '%s' in: %s", line, piece, output());
}

/* `vdm info`, the program lying at @/places/BINARY and the model (a link to it) at @/places/MODEL. */
static void check_place(const char *binary, const char *model)
{
    const char *name = getenv("VDM_BINARY"); /* where VDM is a script around it */
    char line[2048], piece[64];
    snprintf(line, sizeof line,
             "rm -rf @/places; B=@/places/%s M=@/places/%s; mkdir -p $(dirname $B) $(dirname $M) && "
             "cp '%s' $B && ln -s @/model $M && $B info",
             binary, model, name ? name : program);
    snprintf(piece, sizeof piece, "places/%s: CogVideoX", model);
    expect_shell(0, piece, line);
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
    } refused[] = {
        {"[]", "expected an object"},
        {"{\"fit\": [1]}", "fit: expected an object"},
        {"{\"predict\": {}}", "predict: expected \"fit\", \"sample\" or \"arc\""},
        {"{\"fit\": {\"guidance\": 1}}", "fit: guidance: no such setting"},
        {"{\"fit\": {\"output\": \"x\"}}", "fit: output: no such setting"},
        {"{\"fit\": {\"weight-decay\": 0.1}}", "weight-decay: no such setting"},
        {"{\"fit\": {\"steps\": \"6\"}}", "steps: expected a number"},
        {"{\"fit\": {\"steps\": 0}}", "steps: expected a whole number from 1"},
        {"{\"fit\": {\"steps\": 2.5}}", "steps: expected a whole number"},
        {"{\"fit\": {\"schedule\": 1}}", "schedule: expected a string"},
        {"{\"sample\": {\"sampler\": \"euler\"}}", "sampler: expected ddim|dpm"},
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        write_text("model/vdm.json", refused[i].text);
        expect(1, refused[i].piece, "predict --model @/model --image @/task/test/p3.in.ppm -o @/y.ppm");
        expect(1, "vdm.json", "fit @/task --model @/model -o @/run --steps 2");
    }
    write_text("model/vdm.json",
               "{\"fit\": {\"steps\": 7, \"batch\": 3, \"lr\": 2e-3, \"rank\": 5, \"alpha\": 10, "
               "\"schedule\": \"linear\", \"warmup\": 2, \"weight_decay\": 0}, "
               "\"sample\": {\"steps\": 2, \"guidance\": 3, \"sampler\": \"dpm\"}}");
    expect(0, "steps 7, batch 3, lr 2e-3", "info @/model");
    expect(0, "steps 2, sampler dpm", "info @/model");
    expect(0, "steps 7, batch 3", "fit --model @/model --help");
    expect(0, "steps 7, videos a step 3, lr 0.002 (linear, warmup 2), rank 5, alpha 10",
           "fit @/task --model @/model --plan");
    expect(0, "steps 9, videos a step 6, lr 0.002 (linear, warmup 2), rank 4, alpha 10",
           "fit @/task --steps 9 --accumulate 2 --model @/model --rank 4 --plan");
    expect(0, "steps 2, sampler dpm", "eval @/task --model @/model --plan");
    expect(0, "steps 4, sampler ddim", "eval @/task --model @/model --steps 4 --plan --sampler ddim");
    expect_shell(0, "", "rm @/model/vdm.json");
}

/* Runs `vdm WORDS`, and kills it as a power cut would as soon as root/FILE is there. */
static void run_killed(const char *file, const char *const *words)
{
    char path[512], expanded[24][512], *arguments[26] = {program};
    for (int i = 0; words[i]; i++) {
        bool inside = words[i][0] == '@';
        snprintf(expanded[i], sizeof expanded[i], "%s%s", inside ? root : "", words[i] + inside);
        arguments[i + 1] = expanded[i];
    }
    snprintf(path, sizeof path, "%s/%s", root, file);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        execv(program, arguments);
        _exit(1);
    }
    const struct timespec pause = {0, 2000000};
    for (int i = 0; i < 30000 && access(path, F_OK) != 0; i++) nanosleep(&pause, NULL);
    kill(child, SIGKILL);
    int status;
    waitpid(child, &status, 0);
    CHECK(WIFSIGNALED(status), "the run ended before it was killed");
}

/* A fit that is killed goes on where its last state was saved; a killed predict has its latents. */
static void check_killed(void)
{
    expect(0, "40 steps", "fit @/task --model @/model -o @/whole --steps 40 --rank 4 --save-every 7");
    run_killed("killed/state.safetensors",
               (const char *const[]){"fit", "@/task", "--model", "@/model", "-o", "@/killed", "--steps", "40",
                                     "--rank", "4", "--save-every", "1", NULL});
    expect(0, "40 steps",
           "fit @/task --model @/model -o @/killed --steps 40 --rank 4 --save-every 7 --resume");
    same("whole/lora.safetensors", "killed/lora.safetensors", true);
    same("whole/train.csv", "killed/train.csv", true);
    expect(1, "rank", "fit @/task --model @/model -o @/killed --steps 40 --rank 5 --resume");
    run_killed("f.safetensors",
               (const char *const[]){"predict", "--model", "@/model", "--image", "@/task/test/p3.in.ppm",
                                     "--frames", "201", "--steps", "1", "-o", "@/f.ppm", "--dump",
                                     "@/f.safetensors", NULL});
    expect(0, "latents.1", "info @/f.safetensors");
    CHECK(!strstr(output(), "frames"), "the video was decoded before the run was killed: %s", output());
}

/* Files beside their names are gone: only what was asked for is there. */
static void check_left_over(void)
{
    DIR *d = opendir(root);
    const char *known[] = {".",
                           "..",
                           "out",
                           "model",
                           "text-model",
                           "task",
                           "run",
                           "more",
                           "places",
                           "killed",
                           "whole",
                           "answers",
                           "dump.safetensors",
                           "a.ppm",
                           "a.y4m",
                           "a.safetensors",
                           "b.ppm",
                           "c.ppm",
                           "d.ppm",
                           "e.png",
                           "bf16",
                           "bf16.ppm",
                           "f.safetensors",
                           "v.y4m",
                           "v.png"};
    for (struct dirent *e; d && (e = readdir(d));) {
        bool expected = false;
        for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
            expected = expected || strcmp(known[i], e->d_name) == 0;
        CHECK(expected, "%s was left behind", e->d_name);
    }
    if (d) closedir(d);
}

/* What names from files could tell a terminal to do: nothing of it is printed, or written to a page. */
static void check_names(void)
{
    const float x[] = {1};
    const vdm_tensor t = {"lora_A\xc2\x9b\xc3\xa9", VDM_F32, 1, {1}, x, sizeof x};
    const char *const metadata[][2] = {{"lora_adapter_metadata", "{\n\033[2J"}};
    const char *quiet[] = {"info @/names", "info @/names/x",
                           "eval @/names --model @/model --steps 1 -o @/names/out"};
    const char *pieces[] = {"task 'a?[2J?b??\xc3\xa9'", "lora_A??\xc3\xa9\n", "\ne?[2J psnr "};
    char path[512];
    vdm_error err;
    expect_shell(0, "",
                 "cp -r @/task @/names && cd @/names/test && "
                 "for e in in out; do mv p3.$e.ppm \"$(printf 'e\\033[2J').$e.ppm\"; done");
    write_text("names/task.json", "{\"name\": \"a\\u001b[2J\\nb\\u009b\\u00e9\", \"prompt\": \"x\\u0007\"}");
    snprintf(path, sizeof path, "%s/names/x", root);
    CHECK(vdm_safetensors_write(path, &t, 1, metadata, 1, &err) == 0, "%s", err.text);
    for (int i = 0; i < 3; i++) {
        expect(0, pieces[i], quiet[i]);
        CHECK(!strpbrk(output(), "\a\033\x9b"), "vdm %s: control characters in: %s", quiet[i], output());
    }
    expect_shell(1, "", "LC_ALL=C grep -q \"$(printf '[\\a\\033]')\" @/names/out/report.html");
    expect_shell(0, "", "grep -q \"$(printf '\\357\\277\\275[[]2J')\" @/names/out/report.html");
    expect(2, "a?b", "\"$(printf 'a\\033b')\"");
    expect_shell(0, "", "rm -r @/names");
}

int main(void)
{
    vdm_error err;
    char path[512];
    const char *name = getenv("VDM");
    unsetenv("VDM_MODEL");
    snprintf(program, sizeof program, "%s", name ? name : "build/vdm");
    if (!CHECK(access(program, X_OK) == 0, "%s: no program to test", program)) return check_end("program");
    snprintf(root, sizeof root, "%s", check_folder());
    snprintf(path, sizeof path, "%s/model", root);
    CHECK(tiny_write(path, TINY_15_I2V, VDM_BF16, 1, &err) == 0, "%s", err.text);
    snprintf(path, sizeof path, "%s/text-model", root);
    CHECK(tiny_write(path, TINY_15, VDM_F32, 2, &err) == 0, "%s", err.text);
    write_task();
    check_usage();
    check_refusals();
    check_default_model();
    check_own_defaults();
    check_run();
    check_killed();
    check_names();
    check_left_over();
    return check_end("program");
}
