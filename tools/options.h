/* The command line: the options of each command, over the defaults of the program and of the model. */
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

enum { MAX_LORAS = 16, MAX_OPERANDS = 1024, MAX_VIEWS = 32, MAX_BATCH = 1024 };
/* Options that several commands share, in groups; the others by command. A choice is one of the table's words. */
struct learn_options {                                 /* fit, demo, arc; parts of it golden */
    int steps, batch, accumulate, rank, warmup, shots; /* steps 0: golden's 3; shots 0: all pairs */
    int save_every, watch_every;
    double alpha, lr, clip, weight_decay, pure_noise, memory; /* memory: GiB */
    char schedule[16];
    char targets[16];       /* attn, or attn,ff */
    const char *phi, *init; /* or NULL */
    int asked_rank;         /* --rank and --alpha of the command line; 0: not given */
    double asked_alpha;
    bool resume, no_image_noise, dump_grads;
};
struct sample_options { /* predict, eval, demo, arc, golden */
    int steps, ensemble;
    char sampler[16]; /* or "": the one that the model names */
    double guidance;
    bool dynamic_guidance;
    const char *loras[MAX_LORAS]; /* FILE or FILE:WEIGHT */
    int n_loras;
};
struct prompt_options {
    const char *text, *negative;          /* texts, or NULL */
    const char *embeds, *negative_embeds; /* files, or NULL */
};
struct canvas_options { /* of ARC-AGI grids: fit, eval, demo, arc */
    int height, width;  /* if --size is not given */
    int cell, border, align, grow;
    int largest; /* side that pictures may have although the model's are smaller: a grown canvas's; 0: the model's limit */
    char outside[16], palette[16];
};
struct eval_options { /* eval, vote; colour: arc too */
    char colour[16];
    int train_pairs; /* answered as well; -1: 8, at most as many as test pictures */
    int view;        /* fit too; 0: the original task */
    int views;       /* also of fit, demo, predict and arc: views that one adapter learns and answers in */
    int asked_views; /* --views of the command line; 0: not given */
    double at_least;
};
struct arc_options {
    int attempts, augment;
    char size_rule[16];
    const char *shard, *out; /* or NULL */
    bool report, vae_roundtrip;
};
struct tasks_options {
    int pairs, tests, grid[2], cell, border; /* grid: rows, columns, 0: the task's own; cell, border: -1 */
    char content[16];                        /* or "" */
    bool paper;
    const char *annotations, *images, *category; /* coco */
    char as[16];
};

enum { MAX_OPTIONS = 128 };
typedef struct options {
    bool given[MAX_OPTIONS];            /* rows of the table: given on the command line */
    const char *operands[MAX_OPERANDS]; /* the words that are not options, in order */
    int n_operands;
    const char *model, *output;
    const char *inject, *dump, *only; /* or NULL */
    int frames, height, width;        /* height 0: the pictures' own size */
    int threads, limit;               /* 0: one per core; all */
    uint64_t seed;
    char precision[16], image_scale[16];
    double memory_limit; /* GiB; 0: the system's */
    bool tiled, plan, list;
    struct learn_options learn;
    struct sample_options sample;
    struct prompt_options prompt;
    struct canvas_options canvas;
    struct eval_options eval;
    struct arc_options arc;
    struct tasks_options tasks;
    struct {
        const char *image, *video;
    } predict;
    struct {
        char what[16];
        bool names;
    } golden;
    struct {
        const char *map, *tol, *html, *weights; /* or NULL */
        char computed_in[16];                   /* or "" */
    } compare;
    struct {
        int runs;
        const char *json, *plan; /* or NULL */
        bool quick, measure;
    } bench;
} options;

/* Reads the words after the command, over the defaults of options_defaults; a command that accepts --model has a
 * model afterwards. Returns DONE, USAGE or FAILED (reported on stderr), or -1 if --help was given and printed. */
int options_read(options *o, int command, int argc, char **argv);
/* A finite number, as every option reads it: no hexadecimal digits, no blanks. */
bool options_number(const char *text, double *value);
/* Whether the option was given on the command line. */
bool option_given(const options *o, const char *name);
vdm_targets learn_targets(const options *o); /* --targets */
/* An option that would have no effect with the others is rejected (options_use.c): USAGE. */
int options_reject_unused(const options *o, int command);
/* The program's defaults (the paper's), then those of the model's vdm.json; model NULL: the default model.
* A command without --model has the program's only. */
int options_defaults(options *o, int command, const char *model, vdm_error *err);
/* Prints the settings of MODEL/vdm.json that have an effect on one of these commands, line by line; nothing if there is
 * no such file. */
int options_print_own(const char *model, int commands, vdm_error *err);
/* "--model DIR --steps 800 ...": every setting of vdm arc that its results depend on, from the table; vdm_free. */
char *options_key(const options *o, vdm_error *err);

/* The folder of the model to use without --model: the environment's VDM_MODEL, or models/tiny near the program
 * (default_model.c). NULL if there is none. */
const char *default_model(vdm_error *err);
void remember_program(const char *argv0); /* the program's place, from argv[0]: for default_model */

#endif
