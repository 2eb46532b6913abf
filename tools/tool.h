/* The vdm program: one file per subcommand over the library. Shared here: options, the model that a
 * command works on, named tensors in and out, progress on the screen. */
#ifndef VDM_TOOL_H
#define VDM_TOOL_H

#include "vdm.h"

/* Exit statuses. */
enum { DONE = 0, FAILED = 1, USAGE = 2, BELOW = 3 };

/* Commands, as bits: which options belong to which. */
enum { INFO = 1, FIT = 2, PREDICT = 4, EVAL = 8, INTERP = 16 };

enum { MAX_LORAS = 16 };
typedef struct options {
    const char *operands[3]; /* what is not an option, in order */
    int n_operands;
    const char *model, *output, *image, *video, *prompt, *negative, *inject, *dump, *init, *phi;
    char sampler[16], image_scale[16], schedule[16],
        precision[16];            /* one of the table's words; sampler: or "" */
    const char *loras[MAX_LORAS]; /* FILE or FILE:WEIGHT */
    int n_loras;
    int frames, height, width, steps, rank, batch, accumulate, warmup, threads, shots, limit, save_every,
        watch_every;
    double guidance, alpha, lr, clip, weight_decay, at_least;
    uint64_t seed;
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
 * the program (find.c). NULL where there is none. */
const char *default_model(vdm_error *err);
void remember_program(const char *argv0); /* where the program is, as it was called: for default_model */

/* Says `vdm: sentence` on stderr and returns FAILED (or USAGE). */
int fail(const vdm_error *err);
int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Progress on stderr: a bar on a terminal, a line every so often elsewhere; SIGINT and SIGTERM ask the
 * work to stop. */
typedef struct console {
    bool terminal;
    double last;       /* when something was printed */
    const char *phase; /* what is on the line now */
} console;
vdm_progress console_progress(console *c);
void console_end(console *c); /* finishes the line */
void console_watch_signals(void);
void format_bytes(char *text, size_t size, double bytes); /* "1.3 GiB" */
void format_seconds(char *text, size_t size, double seconds);

/* Named f32 tensors to be written with --dump. */
typedef struct dump {
    const char *path; /* NULL: nothing is kept */
    vdm_tensor *tensors;
    int64_t count, room;
} dump;
int dump_add(dump *d, const char *name, const float *data, int rank, const int64_t *shape, vdm_error *err);
int dump_keep(void *user, const char *name, const float *data, int rank, const int64_t *shape,
              vdm_error *err);
int dump_write(dump *d, vdm_error *err);
void dump_free(dump *d);

/* A model folder opened for a command: configuration and size first, then weights. */
typedef struct session {
    const options *options;
    vdm_model_config config;
    vdm_geometry geometry;
    vdm_cpu cpu;
    vdm_transformer transformer;
    vdm_vae vae;
    vdm_schedule schedule;
    float *prompt, *negative; /* [L,Dt] */
    bool same_prompts;        /* then guidance has no effect, and is left out */
    vdm_lora lora;            /* all of --lora as one; rank 0: none */
} session;
/* Reads configurations and prompts, and refuses an impossible request; no weights are touched. */
int session_plan(session *s, const options *o, int height, int width, vdm_error *err);
/* Loads the weights and adapters, and says what it took. */
int session_load(session *s, vdm_error *err);
/* Takes embeddings [L,Dt] over in place of those read; NULL keeps what there is. */
void session_use_prompts(session *s, float *prompt, float *negative);
void session_free(session *s);

vdm_sample_options sample_options(const session *s);
vdm_image_scale image_scale_of(const options *o);
/* Prints the memory and time of sampling (answers videos) or learning, for --plan and before the start. */
void plan_print(const session *s, int training_steps, int answers, int pairs);

/* Refuses early where a file could not be written at the end. */
int writable(const char *path, vdm_error *err);
int make_folder(const char *path, vdm_error *err);
/* Reads a picture and brings it to the session's size: [3,H,W] in -1..1. */
int read_image(float **image, const char *path, const vdm_geometry *g, vdm_error *err);
/* The size that a picture has, or that --size asks for. */
int size_of(const options *o, const char *picture, int *height, int *width, vdm_error *err);

int command_info(int argc, char **argv);
int command_fit(int argc, char **argv);
int command_predict(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_interp(int argc, char **argv);

#endif
