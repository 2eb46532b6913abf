/* The command line: what each command was asked for, over the defaults of the program and of the model. */
#ifndef VDM_OPTIONS_H
#define VDM_OPTIONS_H

#include "vdm_task.h"

/* Exit statuses. */
enum { DONE = 0, FAILED = 1, USAGE = 2, BELOW = 3 };

/* Commands, as bits: which options belong to which. */
enum {
    INFO = 1,
    FIT = 2,
    PREDICT = 4,
    EVAL = 8,
    INTERP = 16,
    TASKS = 32,
    DEMO = 64,
    BENCH = 128,
    ARC = 256,
    GOLDEN = 512,
    COMPARE = 1024,
    PROMPT = 2048,
    VOTE = 4096
};

enum { MAX_LORAS = 16, MAX_OPERANDS = 1024, MAX_VIEWS = 32 };
typedef struct options {
    const char *operands[MAX_OPERANDS]; /* what is not an option, in order */
    int n_operands;
    const char *model, *output, *image, *video, *inject, *dump, *init, *phi;
    const char *prompt, *negative, *prompt_embeds, *negative_embeds; /* texts; files */
    char sampler[16], image_scale[16], schedule[16],
        precision[16];            /* one of the table's words; sampler: or "" */
    const char *loras[MAX_LORAS]; /* FILE or FILE:WEIGHT */
    int n_loras;
    int frames, height, width, steps, sample_steps, rank, batch, accumulate, warmup, threads, shots, limit;
    int ensemble; /* arc, demo: 0: the model's */
    int save_every, watch_every;
    double guidance, alpha, lr, clip, weight_decay, pure_noise, at_least, memory; /* memory: GiB */
    uint64_t seed;
    int pairs, tests, grid[2], cell, border; /* tasks; grid: rows, columns */
    char content[16];
    bool paper, list;
    int attempts, augment, align, grow; /* arc; align, grow: -1: not given */
    const char *shard, *out;
    char colour[16], size_rule[16], outside[16], palette[16]; /* outside, palette: or "" */
    bool report, vae_roundtrip;
    int runs; /* bench */
    const char *json;
    bool quick;
    const char *annotations, *images, *category; /* tasks coco */
    char as[16];
    int train_pairs;                     /* eval: training pairs; -1: as many as seem right */
    int view;                            /* fit, eval: 0: as the task is */
    int views;                           /* fit, eval, demo: in which one adapter learns and answers */
    const char *only, *map, *tol, *html; /* golden, compare */
    char what[16], computed_in[16];
    bool names;
    bool dynamic_guidance, tiled, plan, dump_grads, resume, no_image_noise;
} options;

/* Reads the words after the command, over the defaults of options_defaults: after this a command that takes
 * --model has one. Returns DONE, USAGE or FAILED (said on stderr), or -1 where --help was asked for and
 * printed. */
int options_read(options *o, int command, int argc, char **argv);
/* The program's defaults (the paper's), then those of the model's vdm.json; model NULL: the default model.
 * A command without --model has the program's alone. */
int options_defaults(options *o, int command, const char *model, vdm_error *err);
/* Prints what MODEL/vdm.json says for these commands, in lines; nothing where there is none. */
int options_say_own(const char *model, int commands, vdm_error *err);

/* The folder of the model to use where --model names none: the environment's VDM_MODEL, or models/tiny near
 * the program (default_model.c). NULL where there is none. */
const char *default_model(vdm_error *err);
void remember_program(const char *argv0); /* where the program is, as it was called: for default_model */

#endif
