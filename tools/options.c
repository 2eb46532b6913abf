/* The command line, and the defaults under it: one table of options, read and explained from it.
 *
 * What holds, the later the stronger: the program's defaults (the paper's), the model's (MODEL/vdm.json), the
 * words of the command line. vdm.json is strict:
 *   {"fit": {"steps": 600, "batch": 16, "lr": 1e-3}, "sample": {"steps": 20, "sampler": "ddim"}}
 * Keys are the names of options with _ for -, of those marked OWN below; ranges are the table's. */
#include "tools/options.h"
#include "tools/messages.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum kind { TEXT, WORDS, CHOICE, COUNT, REAL, SIZE, SEED, FLAG, LORA };
enum { GRIDS = FIT | EVAL | DEMO | ARC }; /* commands that take an ARC-AGI file */
enum { OWN = 1 << 16 };                   /* beside the commands: a model may have a default of its own */

static const struct row {
    const char *name, *value; /* how the value is called in the help; NULL for a flag */
    enum kind kind;
    size_t offset; /* in struct options */
    double min, max;
    int commands;
    const char *help;
} rows[] = {
#define AT(field) offsetof(options, field)
    {"--model", "DIR", TEXT, AT(model), 0, 0, ARC | FIT | PREDICT | EVAL | DEMO | GOLDEN | PROMPT,
     "a diffusers folder of a CogVideoX model (VDM_MODEL's, or the embedded one)"},
    {"-o", "PATH", TEXT, AT(output), 0, 0,
     ARC | FIT | PREDICT | EVAL | VOTE | INTERP | DEMO | TASKS | GOLDEN | PROMPT, "where the result goes"},
    {"--image", "X.ppm", TEXT, AT(image), 0, 0, PREDICT, "the picture to answer"},
    {"--video", "V.y4m", TEXT, AT(video), 0, 0, PREDICT, "the whole video too"},
    {"--lora", "FILE[:WEIGHT]", LORA, 0, 0, 0, PREDICT | EVAL | GOLDEN,
     "an adapter; may be given several times"},
    {"--phi", "NAME", TEXT, AT(phi), 0, 0, ARC | FIT | INTERP | DEMO,
     "linear, quadratic, sqrt, discrete, black:B, tiles:NxM, noisy (discrete, or the task's)"},
    {"--frames", "T", COUNT, AT(frames), 1, VDM_MAX_FRAMES,
     ARC | FIT | PREDICT | EVAL | INTERP | OWN | DEMO | GOLDEN, "frames of a video (9)"},
    {"--size", "HxW", SIZE, 0, 1, VDM_MAX_SIDE, FIT | PREDICT | EVAL | INTERP | OWN | DEMO,
     "pictures are resized to this (their own size)"},
    {"--steps", "N", COUNT, AT(steps), 1, 10000000, ARC | FIT | PREDICT | EVAL | OWN | DEMO,
     "fit, demo: updates (500); else: sampling steps (50)"},
    {"--sample-steps", "N", COUNT, AT(sample_steps), 1, 10000000, ARC | DEMO,
     "sampling steps (the model's, or 50)"},
    {"--ensemble", "N", COUNT, AT(ensemble), 1, 256, PREDICT | EVAL | OWN,
     "an answer is the mean of N videos, each from noise of its own, in N times the memory (1)"},
    {"--ensemble", "N", COUNT, AT(ensemble), 1, 256, ARC | DEMO,
     "an answer is the mean of N videos, each from noise of its own (the model's, or 1)"},
    {"--sampler", "ddim|dpm", CHOICE, AT(sampler), 0, 0, ARC | PREDICT | EVAL | OWN | GOLDEN,
     "(the one that the model names)"},
    {"--guidance", "G", REAL, AT(guidance), 0, 1000, ARC | PREDICT | EVAL | OWN | GOLDEN,
     "classifier-free guidance (6); 1: none"},
    {"--dynamic-guidance", NULL, FLAG, AT(dynamic_guidance), 0, 0, PREDICT | EVAL | GOLDEN,
     "guidance that varies with the step"},
    {"--image-scale", "pipeline|trainer", CHOICE, AT(image_scale), 0, 0,
     ARC | FIT | PREDICT | EVAL | OWN | DEMO | GOLDEN,
     "how the image's latents are scaled: vdm.h tells (pipeline)"},
    {"--tiled", NULL, FLAG, AT(tiled), 0, 0, ARC | FIT | PREDICT | EVAL | DEMO | GOLDEN,
     "the VAE in tiles: less memory, slightly other numbers"},
    {"--prompt", "TEXT", WORDS, AT(prompt), 0, 0, FIT | PREDICT | EVAL | DEMO | GOLDEN,
     "for the model's text encoder, \"\" too (the task's, where the model has one)"},
    {"--negative", "TEXT", WORDS, AT(negative), 0, 0, PREDICT | EVAL,
     "the negative prompt (\"\" where there is a prompt's text, as in diffusers; else zeros)"},
    {"--prompt-embeds", "FILE", TEXT, AT(prompt_embeds), 0, 0, ARC | FIT | PREDICT | EVAL | DEMO,
     "tensor prompt_embeds [L,Dt], as of 'vdm prompt' (the model's, or zeros)"},
    {"--negative-embeds", "FILE", TEXT, AT(negative_embeds), 0, 0, ARC | PREDICT | EVAL,
     "the same for the negative prompt (zeros)"},
    {"--rank", "R", COUNT, AT(rank), 1, 4096, ARC | FIT | OWN | DEMO, "rank of the adapter (64)"},
    {"--alpha", "A", REAL, AT(alpha), 1e-6, 1e6, ARC | FIT | OWN | DEMO | GOLDEN,
     "it acts by alpha / rank (32; golden: 8)"},
    {"--lr", "X", REAL, AT(lr), 0, 10, ARC | FIT | OWN | DEMO | GOLDEN, "learning rate (1e-4)"},
    {"--schedule", "constant|warmup|linear|cosine", CHOICE, AT(schedule), 0, 0, ARC | FIT | OWN | DEMO,
     "of the learning rate (constant)"},
    {"--warmup", "N", COUNT, AT(warmup), 0, 1000000, ARC | FIT | OWN | DEMO, "steps of warmup (0)"},
    {"--batch", "N", COUNT, AT(batch), 1, 1024, ARC | FIT | OWN | DEMO, "videos in a step (2)"},
    {"--accumulate", "N", COUNT, AT(accumulate), 1, 1024, ARC | FIT | OWN | DEMO | GOLDEN,
     "batches averaged in a step (1): as a larger batch, in less memory"},
    {"--memory", "GIB", REAL, AT(memory), 0, 1e6, ARC | FIT | DEMO | GOLDEN,
     "for the activations of learning (2): what doesn't fit is computed again, attention last"},
    {"--clip", "X", REAL, AT(clip), 1e-9, 1e9, ARC | FIT | OWN | DEMO | GOLDEN,
     "largest norm of a gradient (1.0)"},
    {"--weight-decay", "X", REAL, AT(weight_decay), 0, 1, ARC | FIT | OWN | DEMO | GOLDEN, "of AdamW (1e-4)"},
    {"--pure-noise", "X", REAL, AT(pure_noise), 0, 1, ARC | FIT | OWN | DEMO,
     "share of the videos that are learned at the last timestep, where the answer is decided (0)"},
    {"--no-image-noise", NULL, FLAG, AT(no_image_noise), 0, 0, ARC | FIT | DEMO,
     "leave the first frame as it is while learning"},
    {"--shots", "N", COUNT, AT(shots), 1, VDM_MAX_PAIRS, ARC | FIT | DEMO,
     "use the first N training pairs (all)"},
    {"--init", "LORA", TEXT, AT(init), 0, 0, ARC | FIT | DEMO, "start from this adapter"},
    {"--resume", NULL, FLAG, AT(resume), 0, 0, FIT, "go on with the run in the output folder"},
    {"--save-every", "N", COUNT, AT(save_every), 1, 1000000, ARC | FIT, "steps between saved states (50)"},
    {"--watch-every", "N", COUNT, AT(watch_every), 0, 1000000, ARC | FIT | DEMO,
     "steps between losses on the fixed set (10); 0: never"},
    {"--limit", "N", COUNT, AT(limit), 1, VDM_MAX_PAIRS, EVAL | VOTE | DEMO,
     "answer the first N test pictures (all)"},
    {"--at-least", "X", REAL, AT(at_least), -1e9, 1e9, EVAL | VOTE,
     "exit with 3 where the mean score is below (mae: above)"},
    {"--colour", "none|shift|affine|palette", CHOICE, AT(colour), 0, 0, EVAL,
     "how an answer's colours are corrected: vdm.h tells (none)"},
    {"--train-pairs", "N", COUNT, AT(train_pairs), 0, VDM_MAX_PAIRS, EVAL,
     "answer N training pairs too: for colours and signs of memorising (8, at most as many as asked)"},
    {"--view", "K", COUNT, AT(view), 0, MAX_VIEWS - 1, FIT | EVAL,
     "a task of grids with other colours, turned or mirrored: the K-th way; 0: as it is (0)"},
    {"--views", "N", COUNT, AT(views), 0, MAX_VIEWS, FIT | EVAL | OWN | DEMO,
     "a task of grids is learned by one adapter in N ways, mirrored, turned and with other colours, each with a prompt\n"
     "                                         of its own; answers in all of them vote on every cell (1)"},
    {"--seed", "S", SEED, AT(seed), 0, 0, ARC | FIT | PREDICT | EVAL | INTERP | DEMO | TASKS | GOLDEN,
     "of the random numbers (42)"},
    {"--threads", "N", COUNT, AT(threads), 1, 1024,
     ARC | FIT | PREDICT | EVAL | DEMO | BENCH | GOLDEN | PROMPT, "(one per core)"},
    {"--precision", "f32|bf16|amx", CHOICE, AT(precision), 0, 0,
     ARC | FIT | PREDICT | EVAL | DEMO | BENCH | GOLDEN | PROMPT,
     "of the products (f32); bf16 or amx (Intel's tiles of it) are faster where the processor has them: three digits"},
    {"--inject", "FILE", TEXT, AT(inject), 0, 0, FIT | PREDICT | GOLDEN,
     "tensors in place of random numbers"},
    {"--dump", "FILE", TEXT, AT(dump), 0, 0, FIT | PREDICT, "write intermediate tensors"},
    {"--dump-grads", NULL, FLAG, AT(dump_grads), 0, 0, FIT, "with --dump: the gradients of step 0 too"},
    {"--plan", NULL, FLAG, AT(plan), 0, 0, FIT | PREDICT | EVAL, "print memory and time, and stop"},
    {"--size", "HxW", SIZE, 0, 1, VDM_MAX_SIDE, ARC | OWN, "of the canvas (400x400)"},
    {"--cell", "N", COUNT, AT(cell), 0, 512, GRIDS | OWN,
     "of ARC-AGI grids: pixels of a cell at most; 0: as large as fits (0)"},
    {"--border", "N", COUNT, AT(border), 0, 64, GRIDS | OWN, "pixels between their cells and around (2)"},
    {"--align", "N", COUNT, AT(align), 1, 64, GRIDS | OWN, "their corner is at a multiple of N pixels (1)"},
    {"--grow", "N", COUNT, AT(grow), 0, 4096, GRIDS | OWN,
     "the canvas grows to at most N pixels a side where cells of --cell pixels don't fit, and\n"
     "                                         a step takes fewer videos: as many tokens as before (0: never)"},
    {"--outside", "black|grey", CHOICE, AT(outside), 0, 0, GRIDS | OWN, "what is around them (black)"},
    {"--palette", "arc|vivid", CHOICE, AT(palette), 0, 0, GRIDS | OWN, "their colours (arc)"},
    {"--attempts", "N", COUNT, AT(attempts), 1, 8, ARC, "answers to a test input (2)"},
    {"--size-rule", "oracle|same|infer", CHOICE, AT(size_rule), 0, 0, ARC,
     "an answer's size is the stored answer's, the input's, or read from the picture (oracle)"},
    {"--colour", "none|shift|affine|palette", CHOICE, AT(colour), 0, 0, ARC,
     "how an answer's colours are corrected: vdm.h tells (shift, the paper's)"},
    {"--augment", "N", COUNT, AT(augment), 0, 31, ARC,
     "learn and answer N more views, mirrored, turned and recoloured; the answers vote (0)"},
    {"--shard", "I/N", TEXT, AT(shard), 0, 0, ARC, "of a folder: the I-th of N parts, I from 1"},
    {"--limit", "K", COUNT, AT(limit), 1, 1000000, ARC, "of a folder: the first K tasks, before --shard"},
    {"--out", "FILE", TEXT, AT(out), 0, 0, ARC, "one line for every task of a folder; goes on where it ends"},
    {"--report", NULL, FLAG, AT(report), 0, 0, ARC, "merge such files: accuracy, and a page of pictures"},
    {"--vae-roundtrip", NULL, FLAG, AT(vae_roundtrip), 0, 0, ARC,
     "the share of a folder's cells that come back through the model's VAE, by cell size"},
    {"--what", "transformer|vae-encode|vae-decode|sample|train|text", CHOICE, AT(what), 0, 0, GOLDEN,
     "what is computed (transformer)"},
    {"--only", "PATTERNS", TEXT, AT(only), 0, 0, GOLDEN | COMPARE,
     "tensors by name, * for any characters, commas between patterns: 'transformer_blocks.7.*'"},
    {"--size", "HxW", SIZE, 0, 1, VDM_MAX_SIDE, GOLDEN,
     "pixels of a frame (the model's sample size, up to 480x720)"},
    {"--steps", "N", COUNT, AT(steps), 1, 1000, GOLDEN, "sample: sampling steps (20); train: updates (3)"},
    {"--batch", "N", COUNT, AT(batch), 1, 1024, GOLDEN, "videos in a batch (1)"},
    {"--rank", "R", COUNT, AT(rank), 1, 4096, GOLDEN, "train: rank of the adapter, where none is given (4)"},
    {"--names", NULL, FLAG, AT(names), 0, 0, GOLDEN, "print what the names mean, and stop"},
    {"--map", "FILE", TEXT, AT(map), 0, 0, COMPARE,
     "lines of two names, the reference's and the other's; * for what is alike in both"},
    {"--tol", "expected|X", TEXT, AT(tol), 0, 0, COMPARE,
     "largest relative L2 distance (expected: four times what PyTorch was measured to be off)"},
    {"--as", "f32|bf16", CHOICE, AT(computed_in), 0, 0, COMPARE,
     "whose expected errors (what the other file says, or f32)"},
    {"--html", "FILE", TEXT, AT(html), 0, 0, COMPARE, "a page that draws the error along the network"},
    {"--list", NULL, FLAG, AT(list), 0, 0, COMPARE, "print every tensor, not only what is wrong"},
    {"-n", "N", COUNT, AT(pairs), 0, 300, TASKS, "pairs (30); the first of those of a larger number"},
    {"--tests", "N", COUNT, AT(tests), 0, 10000, TASKS, "test pictures (200), the same for any -n"},
    {"--content", "dense|sparse|blobs", CHOICE, AT(content), 0, 0, TASKS,
     "what is on a grid (the task's own: 'vdm tasks')"},
    {"--paper", NULL, FLAG, AT(paper), 0, 0, TASKS,
     "palette, grid, cells and pictures as in the paper, not for the tiny model"},
    {"--grid", "RxC", SIZE, AT(grid), 4, 32, TASKS, "rows and columns (8x8)"},
    {"--cell", "N", COUNT, AT(cell), 1, 512, TASKS, "pixels of a cell (8)"},
    {"--border", "N", COUNT, AT(border), 0, 64, TASKS, "pixels between cells and around (0)"},
    {"--size", "HxW", SIZE, 0, 1, VDM_MAX_SIDE, TASKS,
     "of the pictures, the grid in the centre (its own, up to multiples of 16)"},
    {"--annotations", "F.json", TEXT, AT(annotations), 0, 0, TASKS,
     "coco: instances_*.json or person_keypoints_*.json"},
    {"--images", "DIR", TEXT, AT(images), 0, 0, TASKS, "coco: where the pictures are, as NAME.ppm"},
    {"--category", "NAME", TEXT, AT(category), 0, 0, TASKS,
     "coco: what to find; NAME,NAME,...: each in its colour"},
    {"--as", "mask|pose", CHOICE, AT(as), 0, 0, TASKS, "coco: what to answer (mask)"},
    {"--list", NULL, FLAG, AT(list), 0, 0, TASKS,
     "print the table of tasks; coco: the names of the pictures it would take"},
    {"--list", NULL, FLAG, AT(list), 0, 0, BENCH, "print the names of the jobs"},
    {"--runs", "N", COUNT, AT(runs), 1, 1000, BENCH, "times that each is measured (5)"},
    {"--json", "FILE", TEXT, AT(json), 0, 0, BENCH, "write the figures there too"},
    {"--quick", NULL, FLAG, AT(quick), 0, 0, BENCH, "tiny sizes: to see that all runs, not how fast"},
#undef AT
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static const struct usage {
    int command;
    const char *line, *what;
} usages[] = {
    {DEMO, "vdm demo [TASK] [-o DIR] [options]",
     "Learns a task and answers unseen pictures, in the terminal and in DIR/demo.html (demo). TASK:\n"
     "a folder, or the name of a generator (vdm tasks lists them), of which 30 pairs are learned and\n"
     "50 inputs answered."},
    {TASKS, "vdm tasks [NAME -o DIR] [options]",
     "Makes a task folder: N pairs to learn from, and test pictures kept apart from them. Without a NAME:\n"
     "the table of tasks.\n"
     "vdm tasks coco --annotations F.json --images DIR --category dog -n 30 -o DIR: from COCO's annotations,\n"
     "of any size. DIR holds NAME.ppm for NAME.jpg; those that are not there are left out:\n"
     "  vdm tasks coco --annotations F.json --category dog --list > names\n"
     "  while read n; do convert JPG/$n.jpg PPM/$n.ppm; done < names      (ImageMagick; or ffmpeg -i)"},
    {INFO, "vdm info [PATH]",
     "What a model (the default one), an adapter or a task is, and what running it takes."},
    {FIT, "vdm fit TASK -o DIR [options]",
     "Learns a task folder's train/ pairs: DIR/lora.safetensors, DIR/train.csv, a state to resume from."},
    {PREDICT, "vdm predict --image X.ppm -o Y.ppm [options]",
     "Answers one picture: the last frame of its video."},
    {EVAL, "vdm eval TASK [-o DIR] [options]",
     "Answers a task folder's test/ pictures and prints the score."},
    {VOTE, "vdm vote TASK DIR... -o DIR [options]",
     "Answers of several runs of vdm eval become one: of every cell what most of them say, the earliest where\n"
     "as many say another thing. Of views (--view 0, 1, 2, ... of fit and eval) each errs in its own way."},
    {ARC, "vdm arc TASK.json [-o DIR] | DIR --out RESULTS.jsonl | --report RESULTS.jsonl... [-o PAGE.html]",
     "Learns an ARC-AGI task's pairs and answers its tests: in the terminal and in DIR/arc.html (arc).\n"
     "Or so all tasks of a folder, a line each; or merges what was written so, of any shards. A task\n"
     "counts as solved where every test has an answer that is exact. A task that fails has a line too:\n"
     "take it away to try again."},
    {INTERP, "vdm interp X.ppm Y.ppm -o V.y4m [options]",
     "The video that a pair becomes, to look at; as a strip where -o names a .png or .ppm."},
    {PROMPT, "vdm prompt TEXT -o FILE [options]",
     "The embedding of a prompt by the model's text_encoder/ and tokenizer/, for --prompt-embeds: as diffusers'\n"
     "pipelines make it. A text encoder is as large as the transformer; --prompt reads it every time."},
    {GOLDEN, "vdm golden [MODEL] -o FILE [options]",
     "Every intermediate tensor of a computation, to check a port against: 'vdm compare' does."},
    {COMPARE, "vdm compare REFERENCE OTHER [options]",
     "Two files of tensors, in the order in which the reference's were computed: the first that differs, and\n"
     "what mistake would make it so. Exit status 3 where one is out of its tolerance."},
    {BENCH, "vdm bench [NAME...] [options]",
     "This machine's speed: its peaks, every kernel, whole jobs. A NAME is a job's (--list) or the first\n"
     "parts of several: 'matmul', 'block.forward'. VDM_ISA picks the instruction set. Of convolutions of many\n"
     "channels fewer operations are done than are counted (Winograd): their share may be above 100 %."},
};

static const struct row *find_row(int command, const char *name)
{
    if (strcmp(name, "--output") == 0) name = "-o";
    if (strcmp(name, "--color") == 0) name = "--colour";
    for (int i = 0; i < N_ROWS; i++)
        if ((rows[i].commands & command) && strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

static bool takes_model(int command)
{
    return find_row(command, "--model") != NULL;
}

static void options_help(int command, const char *model)
{
    vdm_error err;
    for (size_t i = 0; i < sizeof usages / sizeof usages[0]; i++)
        if (usages[i].command == command) printf("%s\n%s\n\n", usages[i].line, usages[i].what);
    for (int i = 0; i < N_ROWS; i++) {
        if (!(rows[i].commands & command)) continue;
        char left[80];
        snprintf(left, sizeof left, "%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        printf("  %-38s %s\n", left, rows[i].help);
    }
    if (!takes_model(command)) return;
    printf("\nIn parentheses: the defaults. A model's vdm.json may replace them");
    if (!model) model = default_model(&err);
    if (model)
        printf("; that of %s:\n", clean(model));
    else
        printf(".\n");
    if (model && options_say_own(model, command, &err)) printf("  %s\n", err.text);
}

static bool read_number(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return *text && !*end && !errno && isfinite(*value) && !strpbrk(text, "xXpPnN \t\n");
}

static int read_count(const struct row *r, const char *text, int *value, vdm_error *err)
{
    double x;
    if (!read_number(text, &x) || x != floor(x) || x < r->min || x > r->max || strpbrk(text, ".eE"))
        return vdm_fail(err, "expected a whole number from %.0f to %.0f, found '%.100s'", r->min, r->max,
                        text);
    *value = (int)x;
    return 0;
}

static int read_real(const struct row *r, const char *text, double *value, vdm_error *err)
{
    double x;
    if (!read_number(text, &x) || x < r->min || x > r->max)
        return vdm_fail(err, "expected a number from %g to %g, found '%.100s'", r->min, r->max, text);
    *value = x;
    return 0;
}

static int read_seed(const char *text, uint64_t *value, vdm_error *err)
{
    char *end;
    errno = 0;
    unsigned long long x = strtoull(text, &end, 10);
    if (!*text || *end || errno || strspn(text, "0123456789") != strlen(text))
        return vdm_fail(err, "expected a whole number from 0 to 2^64 - 1, found '%.100s'", text);
    *value = x;
    return 0;
}

static int read_size(const struct row *r, options *o, const char *text, vdm_error *err)
{
    const char *x = strchr(text, 'x');
    char height[16];
    if (!x || x - text >= (int)sizeof height)
        return vdm_fail(err, "expected HxW, as in 480x720, found '%.100s'", text);
    memcpy(height, text, (size_t)(x - text));
    height[x - text] = '\0';
    int *to[] = {&o->height, &o->width};
    if (r->offset) to[0] = o->grid, to[1] = o->grid + 1; /* --grid */
    return read_count(r, height, to[0], err) || read_count(r, x + 1, to[1], err) ? -1 : 0;
}

/* One of the words in "a|b|c". */
static int read_choice(const struct row *r, const char *text, char value[16], vdm_error *err)
{
    size_t length = strlen(text);
    for (const char *word = r->value; word; word = strchr(word, '|') ? strchr(word, '|') + 1 : NULL) {
        if (length == strcspn(word, "|") && strncmp(word, text, length) == 0) {
            snprintf(value, 16, "%s", text);
            return 0;
        }
    }
    return vdm_fail(err, "expected %s, found '%.100s'", r->value, text);
}

static int read_option(const struct row *r, options *o, const char *text, vdm_error *err)
{
    void *field = (char *)o + r->offset;
    switch (r->kind) {
    case FLAG:
        *(bool *)field = true;
        return 0;
    case TEXT:
        *(const char **)field = text;
        return *text ? 0 : vdm_fail(err, "expected %s, found nothing", r->value);
    case WORDS:
        *(const char **)field = text;
        return 0;
    case CHOICE:
        return read_choice(r, text, field, err);
    case COUNT:
        return read_count(r, text, field, err);
    case REAL:
        return read_real(r, text, field, err);
    case SEED:
        return read_seed(text, field, err);
    case SIZE:
        return read_size(r, o, text, err);
    case LORA:
        if (o->n_loras == MAX_LORAS) return vdm_fail(err, "at most %d adapters at once", MAX_LORAS);
        o->loras[o->n_loras++] = text;
        return 0;
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------
 * Defaults: the program's, and the model's own */

static const struct section {
    const char *name;
    int options;  /* of which commands it may set */
    int commands; /* for which it holds */
} sections[] = {
    {"fit", FIT | DEMO, FIT | DEMO | ARC}, {"sample", PREDICT | EVAL, PREDICT | EVAL}, {"arc", ARC, ARC}};
enum { N_SECTIONS = sizeof sections / sizeof sections[0] };

/* The row that a section may set by this key: the name of the option with _ for -. */
static const struct row *own_row(const struct section *s, const char *key)
{
    for (int i = 0; i < N_ROWS; i++) {
        const char *name = rows[i].name, *k = key;
        if (!(rows[i].commands & OWN) || !(rows[i].commands & s->options)) continue;
        for (name += 2; *name && *k == (*name == '-' ? '_' : *name); k++) name++;
        if (!*name && !*k) return &rows[i];
    }
    return NULL;
}

static int read_section(options *o, const vdm_json *j, const vdm_json_node *object, const struct section *s,
                        vdm_error *err)
{
    const vdm_json_node *n = object->children ? object + 1 : NULL;
    if (object->kind != VDM_JSON_OBJECT) return vdm_fail(err, "expected an object");
    for (; n; n = vdm_json_next(j, n)) {
        const struct row *r = own_row(s, n->key);
        if (!r)
            return vdm_fail(err, "%.100s: no such setting here; 'vdm %s --help' lists the options", n->key,
                            s->options & FIT   ? "fit"
                            : s->options & ARC ? "arc"
                                               : "predict");
        bool words = r->kind == CHOICE || r->kind == SIZE;
        vdm_error why;
        if (n->kind != (words ? VDM_JSON_STRING : VDM_JSON_NUMBER))
            return vdm_fail(err, "%s: expected a %s, found something else", n->key,
                            words ? "string" : "number");
        if (read_option(r, o, n->text, &why)) return vdm_fail(err, "%s: %.300s", n->key, why.text);
    }
    return 0;
}

/* Both sections are checked, whichever the command is. */
static int read_sections(options *o, int command, const vdm_json *j, vdm_error *err)
{
    options other = *o;
    vdm_error why;
    const vdm_json_node *root = j->nodes, *n = root->children ? root + 1 : NULL;
    if (root->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "expected an object with \"fit\", \"sample\", \"arc\"");
    for (; n; n = vdm_json_next(j, n)) {
        const struct section *s = sections;
        while (s < sections + N_SECTIONS && strcmp(s->name, n->key) != 0) s++;
        if (s == sections + N_SECTIONS)
            return vdm_fail(err, "%.100s: expected \"fit\", \"sample\" or \"arc\"", n->key);
        if (read_section(s->commands & command ? o : &other, j, n, s, &why))
            return vdm_fail(err, "%s: %.500s", s->name, why.text);
    }
    return 0;
}

/* 1 where the model has a vdm.json, which is then open; 0 where it has none. */
static int open_own(vdm_json *j, char **path, const char *model, vdm_error *err)
{
    struct stat st;
    *path = vdm_path(model, "vdm.json", err);
    if (!*path) return -1;
    int status = stat(*path, &st) ? 0 : vdm_json_read(j, *path, err) ? -1 : 1;
    if (status > 0) return 1;
    vdm_free(*path);
    return status;
}

static int read_own(options *o, int command, const char *model, vdm_error *err)
{
    vdm_json j;
    vdm_error why;
    char *path;
    int status = open_own(&j, &path, model, err);
    if (status <= 0) return status;
    status = read_sections(o, command, &j, &why);
    if (status) vdm_fail(err, "%.300s: %.600s", path, why.text);
    vdm_json_free(&j);
    vdm_free(path);
    return status;
}

int options_say_own(const char *model, int commands, vdm_error *err)
{
    options o = {0};
    vdm_json j;
    char *path;
    if (read_own(&o, 0, model, err)) return -1; /* refuses what is wrong */
    int status = open_own(&j, &path, model, err);
    if (status <= 0) return status;
    for (int s = 0; s < N_SECTIONS; s++) {
        const vdm_json_node *section = vdm_json_get(&j, j.nodes, sections[s].name);
        if (!(sections[s].commands & commands) || !section || !section->children) continue;
        printf("  %-12s", sections[s].name);
        for (const vdm_json_node *n = section + 1; n; n = vdm_json_next(&j, n))
            printf("%s %s %s", n == section + 1 ? "" : ",", clean(n->key), clean(n->text));
        printf("\n");
    }
    vdm_json_free(&j);
    vdm_free(path);
    return 0;
}

int options_defaults(options *o, int command, const char *model, vdm_error *err)
{
    *o = (options){.frames = 9,
                   .steps = command & (FIT | DEMO | ARC) ? 500
                            : command == GOLDEN          ? 0
                                                         : 50,
                   .rank = command == GOLDEN ? 4 : 64,
                   .batch = command == GOLDEN ? 1 : 2,
                   .accumulate = 1,
                   .ensemble = command & (ARC | DEMO) ? 0 : 1, /* 0: as eval's */
                   .pairs = 30,
                   .tests = 200,
                   .cell = -1,
                   .border = -1,
                   .save_every = 50,
                   .runs = 5,
                   .watch_every = 10,
                   .guidance = command == ARC   ? -1
                               : command == FIT ? 1
                                                : 6, /* arc: as eval's; fit asks nothing */
                   .height = command == ARC ? 400 : 0,
                   .width = command == ARC ? 400 : 0,
                   .align = -1,
                   .grow = -1,
                   .attempts = 2,
                   .size_rule = "oracle",
                   .colour = "shift", /* arc; elsewhere none */
                   .alpha = command == GOLDEN ? 8 : 32,
                   .lr = 1e-4,
                   .memory = 2,
                   .clip = 1,
                   .weight_decay = 1e-4,
                   .at_least = -INFINITY,
                   .seed = 42,
                   .train_pairs = -1,
                   .as = "mask",
                   .image_scale = "pipeline",
                   .schedule = "constant",
                   .precision = "f32",
                   .what = "transformer"};
    if (command != ARC) snprintf(o->colour, sizeof o->colour, "none");
    if (!takes_model(command)) return 0;
    o->model = model ? model : default_model(err);
    return o->model ? read_own(o, command, o->model, err) : -1;
}

/* ------------------------------------------------------------------------------------------------
 * The words of the command line */

static int read_words(options *o, int command, int argc, char **argv)
{
    vdm_error err;
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            options_help(command, o->model);
            return -1;
        }
        if (argv[i][0] != '-' || !argv[i][1]) {
            if (o->n_operands == (command & (BENCH | ARC | VOTE) ? MAX_OPERANDS : 3))
                return misuse("'%s': one word too many", argv[i]);
            o->operands[o->n_operands++] = argv[i];
            continue;
        }
        const struct row *r = find_row(command, argv[i]);
        if (!r) return misuse("%s: no such option here; 'vdm help' lists them", argv[i]);
        if (r->kind != FLAG && i + 1 == argc) return misuse("%s: expected %s after it", r->name, r->value);
        if (read_option(r, o, r->kind == FLAG ? "" : argv[++i], &err))
            return misuse("%s: %s", r->name, err.text);
    }
    return DONE;
}

/* Twice: the model has to be known before its defaults, which the words replace. */
int options_read(options *o, int command, int argc, char **argv)
{
    vdm_error err;
    options first = {0};
    int status = read_words(&first, command, argc, argv);
    if (status) return status;
    if (command == GOLDEN && first.n_operands) first.model = first.operands[0];
    /* what only reads results needs no model */
    if (options_defaults(o, first.report ? TASKS : command, first.model, &err)) return fail(&err);
    return read_words(o, command, argc, argv);
}
