/* The table of options: what vdm arc's results depend on is in the key of a run, former names are read, and the
 * sections of vdm.json hold for the commands that they are for. */
#include "check.h"
#include "tools/messages.h"
#include "tools/options_table.h"
#include "tools/run/console.h"

#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static vdm_error err;

/* `vdm arc --model nowhere --schedule linear --cell 9 WORDS...`, read: so that --warmup and --grow have an effect */
static options arc(const char *name, const char *value)
{
    bool model = name && strcmp(name, "--model") == 0;      /* a second one is rejected */
    bool state = name && strcmp(name, "--save-every") == 0; /* it needs --out */
    const char *all[] = {model ? "--threads" : "--model",
                         model ? "1" : "nowhere",
                         "--schedule",
                         "linear",
                         "--cell",
                         "9",
                         state ? "--out" : name,
                         state ? "f" : value,
                         state ? name : NULL,
                         value};
    char *words[10];
    options o;
    int n = 0;
    for (; n < 10 && all[n]; n++) words[n] = (char *)(uintptr_t)all[n];
    CHECK(options_read(&o, ARC, n, words) == 0, "arc %s %s", name ? name : "", value ? value : "");
    return o;
}

/* A legal value that is not the default's, as text. */
static void other_value(char text[64], const struct option_row *r, const options *usual)
{
    const void *field = (const char *)usual + r->offset;
    switch (r->kind) {
    case COUNT:
        snprintf(text, 64, "%d", *(const int *)field + 1 <= r->max ? *(const int *)field + 1 : (int)r->min);
        break;
    case REAL: { /* also one that differs in few digits */
        double x = *(const double *)field;
        double other = x * 1.0000001 + 1e-9;
        snprintf(text, 64, "%.12g", other >= r->min && other <= r->max ? other : r->min);
        break;
    }
    case SEED:
        snprintf(text, 64, "43");
        break;
    case SIZE:
        snprintf(text, 64, "64x48");
        break;
    case CHOICE: {
        const char *word = r->value;
        size_t n = strcspn(word, "|");
        if (strlen(field) == n && strncmp(word, field, n) == 0) word += n + 1;
        snprintf(text, 64, "%.*s", (int)strcspn(word, "|"), word);
        break;
    }
    default:
        snprintf(text, 64, "other");
    }
}

/* Each option of vdm arc says whether it belongs to the key: a new one can't be forgotten. */
static void test_every_option_is_decided(void)
{
    CHECK(n_option_rows <= MAX_OPTIONS, "%d options", n_option_rows);
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        bool key = r->flags & KEY, no_key = r->flags & NO_KEY;
        if (r->commands & ARC)
            CHECK(key != no_key, "%s: expected KEY or NO_KEY in the table of options", r->name);
        else
            CHECK(!key && !no_key, "%s: KEY and NO_KEY are of vdm arc's options", r->name);
    }
}

/* Another value gives another key, or the same one. */
static void test_key_follows_the_options(void)
{
    options usual = arc(NULL, NULL);
    char *before = options_key(&usual, &err);
    CHECK(before && strstr(before, "--model nowhere ") == before && strstr(before, "--size-rule oracle"),
          "%s", before);
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        char value[64];
        if (!(r->commands & ARC) || r->offset == offsetof(options, arc.report) ||
            r->offset == offsetof(options, arc.vae_roundtrip))
            continue; /* these write no results */
        other_value(value, r, &usual);
        options o = arc(r->name, r->kind == FLAG ? NULL : value);
        char *after = options_key(&o, &err);
        bool same = after && strcmp(before, after) == 0;
        CHECK(after && same == !(r->flags & KEY), "%s %s: the key is %s", r->name, value,
              same ? "the same" : after);
        vdm_free(after);
    }
    vdm_free(before);
}

static void test_key_too_long(void)
{
    static char path[9000];
    memset(path, 'x', sizeof path - 1);
    options o = arc("--init", path);
    CHECK(!options_key(&o, &err) && strstr(err.text, "paths in the options"), "%s", err.text);
}

static void test_former_names(void)
{
    options o = {0};
    char *eval[] = {(char *)"--model", (char *)"nowhere", (char *)"--steps",
                    (char *)"7",       (char *)"--own",   (char *)"3"};
    CHECK(options_read(&o, EVAL, 6, eval) == 0 && o.sample.steps == 7 && o.eval.train_pairs == 3 &&
              o.learn.steps == 500,
          "eval: %d steps, %d pairs, %d updates", o.sample.steps, o.eval.train_pairs, o.learn.steps);
    char *both[] = {(char *)"--model", (char *)"nowhere",        (char *)"--steps",
                    (char *)"7",       (char *)"--sample-steps", (char *)"3"};
    CHECK(options_read(&o, DEMO, 6, both) == 0 && o.sample.steps == 3 && o.learn.steps == 7,
          "demo: %d steps, %d updates", o.sample.steps, o.learn.steps);
}

/* Sections of vdm.json in any order: those of the command hold over what others say of grids and answers. */
static void test_sections(void)
{
    static const char *const text =
        "{\"fit\": {\"steps\": 9, \"border\": 3}, \"arc\": {\"cell\": 8, \"border\": 5, \"size\": \"64x48\", \"guidance\": 2},\n"
        " \"sample\": {\"steps\": 11, \"guidance\": 4, \"frames\": 17}}\n";
    char folder[300], path[320];
    options o;
    snprintf(folder, sizeof folder, "%s/model", check_folder());
    snprintf(path, sizeof path, "%s/vdm.json", folder);
    CHECK(mkdir(folder, 0777) == 0, "the test can't make %s", folder);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && fclose(f) == 0, "the test can't write %s", path);
    CHECK(!options_defaults(&o, FIT, folder, &err) && o.learn.steps == 9 && o.canvas.border == 3 &&
              o.canvas.cell == 8 && o.canvas.height == 64 && o.canvas.width == 48 && o.height == 0 &&
              o.frames == 9,
          "fit: %d updates, border %d, cell %d", o.learn.steps, o.canvas.border, o.canvas.cell);
    CHECK(!options_defaults(&o, EVAL, folder, &err) && o.sample.steps == 11 && o.canvas.border == 5 &&
              o.frames == 17 && o.height == 0 && o.learn.steps == 500,
          "eval: %d steps, border %d", o.sample.steps, o.canvas.border);
    CHECK(!options_defaults(&o, ARC, folder, &err) && o.learn.steps == 9 && o.sample.steps == 11 &&
              o.sample.guidance == 2 && o.canvas.border == 5 && o.height == 64 && o.width == 48 &&
              o.frames == 9,
          "arc: %d steps, guidance %g, border %d", o.sample.steps, o.sample.guidance, o.canvas.border);
    CHECK(!options_defaults(&o, DEMO, folder, &err) && o.learn.steps == 9 && o.sample.steps == 11 &&
              o.sample.guidance == 4 && o.frames == 9,
          "demo: %d steps, guidance %g", o.sample.steps, o.sample.guidance);
}

/* What the command line asks for and would not get is rejected; the same option with what it needs is taken. */
static void test_options_without_effect(void)
{
    static const struct {
        int command;
        const char *rejected[8], *taken[8];
    } cases[] = {
        {TASKS, {"flip-h", "--category", "dog"}, {"coco", "--category", "dog"}},
        {TASKS, {"coco", "--grid", "8x8"}, {"flip-h", "--grid", "8x8"}},
        {TASKS, {"coco", "--paper"}, {"flip-h", "--paper"}},
        {TASKS, {"-n", "5"}, {"flip-h", "-n", "5"}},
        {TASKS, {"--grid", "8x8"}, {"flip-h", "--grid", "8x8"}},
        {TASKS, {"--list", "--seed", "3"}, {"coco", "--list", "--seed", "3"}},
        {FIT,
         {"task", "--warmup", "5", "--schedule", "constant"},
         {"task", "--warmup", "5", "--schedule", "cosine"}},
        {FIT, {"task", "--dump-grads"}, {"task", "--dump-grads", "--dump", "f"}},
        {FIT, {"task", "--cell", "4"}, {"task.json", "--cell", "4"}},
        {EVAL, {"task", "--palette", "vivid"}, {"task.json", "--palette", "vivid"}},
        {EVAL, {"task.json", "--grow", "64", "--cell", "0"}, {"task.json", "--grow", "64", "--cell", "4"}},
        {PREDICT, {"--negative", "x", "--guidance", "1"}, {"--negative", "x", "--guidance", "2"}},
        {PREDICT, {"--dynamic-guidance", "--guidance", "1"}, {"--dynamic-guidance", "--guidance", "2"}},
        {ARC, {"d", "--out", "f", "-o", "g"}, {"t.json", "-o", "g"}},
        {ARC, {"--report", "r", "--steps", "5"}, {"--report", "r", "--threads", "1"}},
        {ARC, {"--report", "r", "--memory-limit", "5"}, {"t.json", "--memory-limit", "5"}},
        {ARC, {"t.json", "--save-every", "5"}, {"d", "--out", "f", "--save-every", "5"}},
        {INTERP, {"a", "b", "--seed", "5"}, {"a", "b", "--seed", "5", "--phi", "noisy:quadratic"}},
        {INTERP,
         {"a", "b", "--seed", "5", "--phi", "linear"},
         {"a", "b", "--seed", "5", "--phi", "tiles:2x2"}},
        {COMPARE, {"a", "b", "--as", "bf16", "--tol", "1"}, {"a", "b", "--as", "bf16", "--tol", "expected"}},
        {GOLDEN, {"--what", "text", "--lora", "l"}, {"--what", "sample", "--lora", "l"}},
        {GOLDEN, {"--what", "sample", "--batch", "2"}, {"--batch", "2"}},
        {GOLDEN, {"--steps", "2"}, {"--steps", "2", "--what", "train"}},
        {GOLDEN, {"--what", "vae-encode", "--lr", "1"}, {"--what", "train", "--lr", "1"}},
        {GOLDEN,
         {"--what", "sample", "--dynamic-guidance", "--guidance", "1"},
         {"--what", "sample", "--dynamic-guidance"}},
        {GOLDEN, {"--guidance", "2"}, {"--guidance", "2", "--what", "sample"}},
        {GOLDEN, {"--tiled"}, {"--tiled", "--what", "vae-decode"}},
        {GOLDEN, {"--what", "text", "--size", "64x64"}, {"--size", "64x64"}},
        {GOLDEN, {"--prompt", "x"}, {"--prompt", "x", "--what", "text"}},
        {GOLDEN, {"--what", "train", "--rank", "2", "--lora", "l"}, {"--what", "train", "--rank", "2"}},
        {ARC, {"d", "--vae-roundtrip", "--steps", "5"}, {"d", "--vae-roundtrip", "--shots", "5"}},
        {ARC, {"d", "--vae-roundtrip", "--seed", "5"}, {"d", "--vae-roundtrip", "--align", "5"}},
        {ARC,
         {"d", "--vae-roundtrip", "--cell", "5", "--grow", "0"},
         {"d", "--vae-roundtrip", "--cell", "5", "--grow", "64"}},
        {ARC, {"d", "--vae-roundtrip", "--cell", "5", "--grow", "0"}, {"t.json", "--cell", "5"}},
        {BENCH, {"--plan", "8", "--json", "f"}, {"--json", "f"}},
        {BENCH, {"--measure"}, {"--measure", "--plan", "8"}},
        {BENCH, {"--plan", "8", "--threads", "1"}, {"--threads", "1"}},
        {BENCH, {"--list", "--plan", "8"}, {"--plan", "8", "--precision", "bf16"}},
        {BENCH, {"--list", "--precision", "bf16"}, {"--precision", "bf16"}},
        {PREDICT, {"--image", "a", "--image", "b"}, {"--image", "a", "--lora", "b", "--lora", "c"}},
    };
    setenv("VDM_MODEL", "models/tiny",
           1); /* from the repository's root, whatever folder this program is built in */
    int errors = dup(2), nothing = open("/dev/null", O_WRONLY); /* for people */
    dup2(nothing, 2);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int taken = 0; taken < 2; taken++) {
            char *words[10];
            options o;
            int n = 0;
            const char *const *from = taken ? cases[i].taken : cases[i].rejected;
            while (from[n]) words[n] = (char *)(uintptr_t)from[n], n++;
            CHECK(options_read(&o, cases[i].command, n, words) == (taken ? DONE : USAGE), "case %zu, %s", i,
                  taken ? "with what it needs" : "without effect");
        }
    dup2(errors, 2);
    close(errors), close(nothing);
}

/* A share is printed as all or as nothing only if it is. */
static void test_shares(void)
{
    static const struct {
        double share;
        int decimals;
        const char *text;
    } shares[] = {{199.0 / 200, 2, "99"}, {1.0 / 300, 2, "1"}, {0.9996, 3, "99.9"},
                  {0.82, 2, "82"},        {2.0 / 3, 2, "67"},  {399999.0 / 400000, 4, "99.99"},
                  {1, 2, "100"},          {0, 2, "0"},         {1e-9, 4, "0.01"},
                  {-0.25, 3, "-25.0"}};
    for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
        char text[32];
        snprintf(text, sizeof text, "%.*f", shares[i].decimals - 2,
                 100 * shown_share(shares[i].share, shares[i].decimals));
        CHECK(strcmp(text, shares[i].text) == 0, "%g: expected %s, found %s", shares[i].share, shares[i].text,
              text);
    }
    CHECK(shown_score(VDM_METRIC_PSNR, 0.00001, 4) < 0.00002 &&
              shown_score(VDM_METRIC_MAE, 0.99999, 4) > 0.99998,
          "psnr and mae are not shares");
    CHECK(shown_score(VDM_METRIC_IOU, 0.99999, 4) < 0.99991, "iou is one");
}

/* The time of a step, and what is left, in a run that is resumed at step 60: earlier steps took no time here. */
static void test_progress(void)
{
    static const struct {
        int first;
        const char *text;
    } runs[] = {{61, "train   61/63\ntrain   63/63  0.4 s each  0 ms left\n"},
                {1, "train   1/63  0.4 s each  25 s left\ntrain   63/63  0.4 s each  0 ms left\n"}};
    char path[320], text[512];
    snprintf(path, sizeof path, "%s/progress", check_folder());
    for (int k = 0; k < 2; k++) {
        console c;
        int file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666), saved = dup(2);
        CHECK(file >= 0 && saved >= 0 && dup2(file, 2) == 2, "the test can't write %s", path);
        const vdm_progress p = console_progress(&c);
        for (int step = runs[k].first; step <= 63; step++) {
            const vdm_report r = {"train", step, 63, 0.4 * (step - runs[k].first + 1), (double)NAN};
            p.report(p.user, &r);
        }
        dup2(saved, 2);
        ssize_t n = pread(file, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        CHECK(strcmp(text, runs[k].text) == 0, "from step %d: %s", runs[k].first, text);
        close(saved);
        close(file);
    }
}

int main(void)
{
    test_every_option_is_decided();
    test_key_follows_the_options();
    test_key_too_long();
    test_former_names();
    test_sections();
    test_shares();
    test_progress();
    test_options_without_effect();
    return check_end("options");
}
