/* The command line: one table of options, read and explained from it. */
#include "tool.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, CHOICE, COUNT, REAL, SIZE, SEED, FLAG, LORA };

static const struct row {
    const char *name, *value; /* how the value is called in the help; NULL for a flag */
    enum kind kind;
    size_t offset; /* in struct options */
    double least, most;
    int commands;
    const char *help;
} rows[] = {
#define AT(field) offsetof(options, field)
    {"--model", "DIR", TEXT, AT(model), 0, 0, FIT | PREDICT | EVAL,
     "a diffusers folder of a CogVideoX model"},
    {"-o", "PATH", TEXT, AT(output), 0, 0, FIT | PREDICT | EVAL | INTERP, "where the result goes"},
    {"--image", "X.ppm", TEXT, AT(image), 0, 0, PREDICT, "the picture to answer"},
    {"--video", "V.y4m", TEXT, AT(video), 0, 0, PREDICT, "the whole video too"},
    {"--lora", "FILE[:WEIGHT]", LORA, 0, 0, 0, PREDICT | EVAL, "an adapter; may be given several times"},
    {"--phi", "NAME", TEXT, AT(phi), 0, 0, FIT | INTERP,
     "linear, quadratic, sqrt, discrete, black:B, tiles:NxM, noisy (discrete, or the task's)"},
    {"--frames", "T", COUNT, AT(frames), 1, VDM_MAX_FRAMES, FIT | PREDICT | EVAL | INTERP,
     "frames of a video (9)"},
    {"--size", "HxW", SIZE, 0, 1, VDM_MAX_SIDE, FIT | PREDICT | EVAL | INTERP,
     "pictures are resized to this (their own size)"},
    {"--steps", "N", COUNT, AT(steps), 1, 10000000, FIT | PREDICT | EVAL,
     "fit: updates (500); else: sampling steps (50)"},
    {"--sampler", "ddim|dpm", CHOICE, AT(sampler), 0, 0, PREDICT | EVAL, "(the one that the model names)"},
    {"--guidance", "G", REAL, AT(guidance), 0, 1000, PREDICT | EVAL, "classifier-free guidance (6); 1: none"},
    {"--dynamic-guidance", NULL, FLAG, AT(dynamic_guidance), 0, 0, PREDICT | EVAL,
     "guidance that varies with the step"},
    {"--image-scale", "pipeline|trainer", CHOICE, AT(image_scale), 0, 0, FIT | PREDICT | EVAL,
     "how the image's latents are scaled: vdm.h tells (pipeline)"},
    {"--tiled", NULL, FLAG, AT(tiled), 0, 0, FIT | PREDICT | EVAL,
     "the VAE in tiles: less memory, slightly other numbers"},
    {"--prompt-embeds", "FILE", TEXT, AT(prompt), 0, 0, FIT | PREDICT | EVAL,
     "tensor prompt_embeds [L,Dt] (the model's, or zeros)"},
    {"--negative-embeds", "FILE", TEXT, AT(negative), 0, 0, PREDICT | EVAL,
     "the same for the negative prompt (zeros)"},
    {"--rank", "R", COUNT, AT(rank), 1, 4096, FIT, "rank of the adapter (64)"},
    {"--alpha", "A", REAL, AT(alpha), 1e-6, 1e6, FIT, "it acts by alpha / rank (32)"},
    {"--lr", "X", REAL, AT(lr), 0, 10, FIT, "learning rate (1e-4)"},
    {"--schedule", "constant|warmup|linear|cosine", CHOICE, AT(schedule), 0, 0, FIT,
     "of the learning rate (constant)"},
    {"--warmup", "N", COUNT, AT(warmup), 0, 1000000, FIT, "steps of warmup (0)"},
    {"--batch", "N", COUNT, AT(batch), 1, 1024, FIT, "videos in a step (2)"},
    {"--clip", "X", REAL, AT(clip), 1e-9, 1e9, FIT, "largest norm of a gradient (1.0)"},
    {"--weight-decay", "X", REAL, AT(weight_decay), 0, 1, FIT, "of AdamW (1e-4)"},
    {"--no-image-noise", NULL, FLAG, AT(no_image_noise), 0, 0, FIT,
     "leave the first frame as it is while learning"},
    {"--shots", "N", COUNT, AT(shots), 1, VDM_MAX_PAIRS, FIT, "use the first N training pairs (all)"},
    {"--init", "LORA", TEXT, AT(init), 0, 0, FIT, "start from this adapter"},
    {"--resume", NULL, FLAG, AT(resume), 0, 0, FIT, "go on with the run in the output folder"},
    {"--save-every", "N", COUNT, AT(save_every), 1, 1000000, FIT, "steps between saved states (50)"},
    {"--watch-every", "N", COUNT, AT(watch_every), 0, 1000000, FIT,
     "steps between losses on the fixed set (10); 0: never"},
    {"--limit", "N", COUNT, AT(limit), 1, VDM_MAX_PAIRS, EVAL, "answer the first N test pictures (all)"},
    {"--at-least", "X", REAL, AT(at_least), -1e9, 1e9, EVAL, "exit with 3 where the mean score is below"},
    {"--seed", "S", SEED, AT(seed), 0, 0, FIT | PREDICT | EVAL | INTERP, "of the random numbers (42)"},
    {"--threads", "N", COUNT, AT(threads), 1, 1024, FIT | PREDICT | EVAL, "(one per core)"},
    {"--precision", "f32", CHOICE, AT(precision), 0, 0, FIT | PREDICT | EVAL, "(f32)"},
    {"--inject", "FILE", TEXT, AT(inject), 0, 0, FIT | PREDICT, "tensors in place of random numbers"},
    {"--dump", "FILE", TEXT, AT(dump), 0, 0, FIT | PREDICT, "write intermediate tensors"},
    {"--dump-grads", NULL, FLAG, AT(dump_grads), 0, 0, FIT, "with --dump: the gradients of step 0 too"},
    {"--plan", NULL, FLAG, AT(plan), 0, 0, FIT | PREDICT | EVAL, "print memory and time, and stop"},
#undef AT
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const struct usage {
    int command;
    const char *line, *what;
} usages[] = {
    {INFO, "vdm info PATH", "What a model, an adapter or a task is, and what running it takes."},
    {FIT, "vdm fit TASK -o DIR [options]",
     "Learns a task folder's train/ pairs: DIR/lora.safetensors, DIR/train.csv, a state to resume from."},
    {PREDICT, "vdm predict --image X.ppm -o Y.ppm [options]",
     "Answers one picture: the last frame of its video."},
    {EVAL, "vdm eval TASK [-o DIR] [options]",
     "Answers a task folder's test/ pictures and prints the score."},
    {INTERP, "vdm interp X.ppm Y.ppm -o V.y4m [options]",
     "The video that a pair becomes, to look at; as a strip where -o names a .png or .ppm."},
};

void options_help(int command)
{
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++)
        if (usages[i].command == command) printf("%s\n%s\n\n", usages[i].line, usages[i].what);
    for (int i = 0; i < N_ROWS; i++) {
        if (!(rows[i].commands & command)) continue;
        char left[80];
        snprintf(left, sizeof left, "%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        printf("  %-38s %s\n", left, rows[i].help);
    }
}

int misuse(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("vdm: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\n", stderr);
    va_end(args);
    return USAGE;
}

static bool read_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return *text && !*end && !errno && isfinite(*value) && !strpbrk(text, "xXpPnN \t\n");
}

static int read_count(const struct row *r, const char *text, int *value)
{
    double x;
    if (!read_number(text, &x) || x != floor(x) || x < r->least || x > r->most || strpbrk(text, ".eE"))
        return misuse("%s: expected a whole number from %.0f to %.0f, found '%s'", r->name, r->least, r->most,
                      text);
    *value = (int)x;
    return DONE;
}

static int read_seed(const char *text, uint64_t *value)
{
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (!*text || *end || errno || strspn(text, "0123456789") != strlen(text))
        return misuse("--seed: expected a whole number from 0 to 2^64 - 1, found '%s'", text);
    *value = x;
    return DONE;
}

static int read_size(const struct row *r, options *o, const char *text)
{
    const char *x = strchr(text, 'x');
    char height[16];
    if (!x || x - text >= (int)sizeof height)
        return misuse("--size: expected HxW, as in 480x720, found '%s'", text);
    memcpy(height, text, (size_t)(x - text));
    height[x - text] = '\0';
    return read_count(r, height, &o->height) || read_count(r, x + 1, &o->width) ? USAGE : DONE;
}

/* One of the words in "a|b|c". */
static int read_choice(const struct row *r, const char *text, const char **value)
{
    size_t length = strlen(text);
    for (const char *word = r->value; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        if (length == strcspn(word, "|") && strncmp(word, text, length) == 0) {
            *value = text;
            return DONE;
        }
    }
    return misuse("%s: expected %s, found '%s'", r->name, r->value, text);
}

static int read_option(const struct row *r, options *o, const char *text)
{
    void *field = (char *)o + r->offset;
    double x;
    switch (r->kind) {
    case FLAG:
        *(bool *)field = true;
        return DONE;
    case TEXT:
        *(const char **)field = text;
        return *text ? DONE : misuse("%s: expected %s, found nothing", r->name, r->value);
    case CHOICE:
        return read_choice(r, text, field);
    case COUNT:
        return read_count(r, text, field);
    case SEED:
        return read_seed(text, field);
    case SIZE:
        return read_size(r, o, text);
    case LORA:
        if (o->n_loras == MAX_LORAS) return misuse("--lora: at most %d adapters at once", MAX_LORAS);
        o->loras[o->n_loras++] = text;
        return DONE;
    case REAL:
        if (!read_number(text, &x) || x < r->least || x > r->most)
            return misuse("%s: expected a number from %g to %g, found '%s'", r->name, r->least, r->most,
                          text);
        *(double *)field = x;
        return DONE;
    }
    return USAGE;
}

static const struct row *find_row(int command, const char *name)
{
    if (strcmp(name, "--output") == 0) name = "-o";
    for (int i = 0; i < N_ROWS; i++)
        if ((rows[i].commands & command) && strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

int options_read(options *o, int command, int argc, char **argv)
{
    *o = (options){.frames = 9,
                   .steps = command == FIT ? 500 : 50,
                   .rank = 64,
                   .batch = 2,
                   .save_every = 50,
                   .watch_every = 10,
                   .guidance = 6,
                   .alpha = 32,
                   .lr = 1e-4,
                   .clip = 1,
                   .weight_decay = 1e-4,
                   .at_least = -INFINITY,
                   .seed = 42,
                   .image_scale = "pipeline",
                   .schedule = "constant",
                   .precision = "f32"};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options_help(command);
            return -1;
        }
        if (argv[i][0] != '-' || !argv[i][1]) {
            if (o->n_operands == 3) return misuse("'%s': one word too many", argv[i]);
            o->operands[o->n_operands++] = argv[i];
            continue;
        }
        const struct row *r = find_row(command, argv[i]);
        if (!r) return misuse("%s: no such option here; 'vdm help' lists them", argv[i]);
        if (r->kind != FLAG && i + 1 == argc) return misuse("%s: expected %s after it", r->name, r->value);
        int status = read_option(r, o, r->kind == FLAG ? "" : argv[++i]);
        if (status) return status;
    }
    if (strcmp(o->precision, "f32") != 0)
        return misuse("--precision: expected f32, found '%s'", o->precision);
    return DONE;
}
