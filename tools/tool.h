/* The vdm program: one file per subcommand over the library. Shared here: options, the model that a
 * command works on, named tensors in and out, progress on the screen. */
#ifndef VDM_TOOL_H
#define VDM_TOOL_H

#include "vdm_task.h"

/* Exit statuses. */
enum { DONE = 0, FAILED = 1, USAGE = 2, BELOW = 3 };

/* Commands, as bits: which options belong to which. */
enum { INFO = 1, FIT = 2, PREDICT = 4, EVAL = 8, INTERP = 16, TASKS = 32, DEMO = 64, BENCH = 128, ARC = 256,
       GOLDEN = 512, COMPARE = 1024, PROMPT = 2048, VOTE = 4096 };

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
    bool report, kept;
    int runs; /* bench */
    const char *json;
    bool quick;
    const char *annotations, *images, *category; /* tasks coco */
    char as[16];
    int own; /* eval: training pairs; -1: as many as seem right */
    int view; /* fit, eval: 0: as the task is */
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

/* Says `vdm: sentence` on stderr and returns FAILED (or USAGE). */
int fail(const vdm_error *err);
int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A copy for the terminal, vdm_clean: for every name that comes from a file or is one's. Lives until the
 * fourth call after it; cut at 4095 bytes. */
const char *clean(const char *text);

/* Progress on stderr: a bar on a terminal, a line every so often elsewhere; SIGINT and SIGTERM ask the
 * work to stop. */
typedef struct console {
    bool terminal;
    double last;       /* when something was printed */
    const char *phase; /* what is on the line now */
    char note[64];     /* said at the end of the line */
} console;
vdm_progress console_progress(console *c);
void console_end(console *c);   /* finishes the line */
void console_clear(console *c); /* takes the line away, for another to be printed above the bar */
void console_watch_signals(void);
bool console_stopped(void);     /* a signal came: what fails now was stopped */
void format_bytes(char *text, size_t size, double bytes); /* "1.3 GiB" */
void format_seconds(char *text, size_t size, double seconds);

/* Named f32 tensors to be written with --dump. */
typedef struct dump {
    const char *path; /* NULL: nothing is kept */
    vdm_tensor *tensors;
    int64_t count, room;
    int status; /* of dump_see: the first failure, told by dump_write */
    vdm_error err;
} dump;
int dump_add(dump *d, const char *name, const float *data, int rank, const int64_t *shape, vdm_error *err);
void dump_see(void *user, const char *name, const float *data, int rank, const int64_t *shape); /* vdm_tap's */
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
    bool no_prompt;           /* neither an option nor the model gives an embedding */
    const char *texts[2];     /* what prompt and negative are to become the embeddings of, or NULL */
    vdm_lora lora;            /* all of --lora as one; rank 0: none */
} session;
/* Reads configurations and prompts, and refuses an impossible request; no weights are touched. */
int session_plan(session *s, const options *o, int height, int width, vdm_error *err);
/* A task's own prompt (or NULL) holds where the model has a text encoder and no option says otherwise: before
 * the model's own embedding. Between session_plan and session_load. */
void session_task_prompt(session *s, const char *text);
/* Encodes prompts, loads the weights and adapters, and says what it took. */
int session_load(session *s, vdm_error *err);
/* Takes embeddings [L,Dt] over in place of those read; NULL keeps what there is. */
void session_use_prompts(session *s, float *prompt, float *negative);
void session_free(session *s);

/* prompt.c. texts [n] -> to [n], [L,Dt] each, by MODEL's text encoder; a NULL text leaves its place alone. */
int encode_prompts(float **to, const char *const *texts, int n, const char *model, const vdm_transformer_config *c,
                   const vdm_cpu *cpu, vdm_error *err);
bool has_text_encoder(const char *model);
bool has(const char *folder, const char *name); /* info.c: something of that name is in there */

vdm_sample_options sample_options(const session *s);
vdm_image_scale image_scale_of(const options *o);
size_t memory_of(const options *o); /* bytes that --memory asks for */
vdm_precision precision_of(const options *o);
/* Prints the memory and time of sampling (answers videos) or learning, for --plan and before the start. */
void plan_print(const session *s, int training_steps, int answers, int pairs);

/* Refuses early where a file could not be written at the end. */
int writable(const char *path, vdm_error *err);
int make_folder(const char *path, vdm_error *err);
/* Reads a picture and brings it to the session's size; read_image: as [3,H,W] in -1..1. */
int read_sized(vdm_picture *to, const char *path, const vdm_geometry *g, vdm_error *err);
int read_image(float **image, const char *path, const vdm_geometry *g, vdm_error *err);
/* The size that a picture has, or that --size asks for. */
int size_of(const options *o, const char *picture, int *height, int *width, vdm_error *err);

/* Pictures in the terminal (terminal.c): two pixels a character in 24-bit colour, plain text elsewhere. */
typedef struct screen {
    bool colour;
    int columns;
} screen;
screen screen_of_stdout(void);
/* Prints n pictures side by side, the caption under each; one without pixels leaves its place empty. grid:
 * the layout of the cells they show, or NULL. */
void screen_print(const screen *s, const vdm_picture *pictures, const char *const *captions, int n,
                  const vdm_grid_layout *grid);

/* The same for grids, each of its own size; one of 0 x 0 leaves its place empty. */
void screen_print_grids(const screen *s, const vdm_grid *grids, const char *const *captions, int n,
                        vdm_palette palette);

/* Lays an ARC-AGI task out on its canvas and sets o's --size to it: as o says, as the model's vdm.json says for
 * arc, or as the paper has it. Where the canvas has to grow, o->batch shrinks: as many tokens a step as before.
 * answers: the test outputs' sizes count too. Other tasks stay as they are. (canvas.c) */
int canvas_lay_out(vdm_task *t, options *o, bool answers, vdm_error *err);
/* Shows a task of grids in view o->view, a function of that number alone, which `view` keeps. After canvas_lay_out. */
int canvas_view(vdm_task *t, const options *o, vdm_view *view, vdm_error *err);

/* A copy that is at most KEPT_SIDE pixels a side, for pages and terminals. */
enum { KEPT_SIDE = 256 };
int picture_shrink(vdm_picture *to, const vdm_picture *from, vdm_error *err);

/* Learning a task folder's pairs: what fit and demo do (training.c). */
typedef struct lesson {
    session *session;
    const vdm_task *task;
    int pairs;
    vdm_phi phi;
    char phi_name[32];        /* as --phi takes it */
    vdm_picture *x, *y;       /* [pairs], of the session's size */
    vdm_fit_data_options how; /* what the pairs become: may be changed before lesson_run */
    vdm_fit_options fit;      /* the same */
    vdm_fit_data data;
    vdm_lora adapter;
    vdm_fit_row *rows; /* [fit.steps + 1] */
    int done;          /* steps */
    double seconds;
    char *lora, *table, *state; /* paths in the output folder; state: NULL where none is kept */
} lesson;
/* Refuses an impossible request; no pixels are read, nothing is written. `session` is filled in. */
int lesson_plan(lesson *l, session *s, const vdm_task *t, const options *o, vdm_error *err);
/* Makes the folder, and refuses early where it can't be written. keep_state: the run can be resumed. */
int lesson_output(lesson *l, const char *folder, bool keep_state, vdm_error *err);
/* Reads the pairs. */
int lesson_read(lesson *l, vdm_error *err);
/* Encodes, learns, and writes the adapter and train.csv; the session's weights are loaded. */
int lesson_run(lesson *l, vdm_error *err);
void lesson_free(lesson *l);

/* Answers to a task folder's test pictures: what eval and demo do (evaluation.c). */
enum { SHOWN = 60, FILMS = 6, FILM_FRAMES = 9 };
struct answer {
    const vdm_example *example;
    bool known;           /* the truth is: then the numbers below mean something */
    bool exact;           /* all cells equal, IoU 1, equal pixels */
    double score, copied; /* of the answer; of the input in its place */
    double kept;          /* of the answer, were the input the truth: near 1, nothing was done */
    double raw;           /* of the answer before its colours were corrected */
    bool raw_exact;
    uint8_t *wrong;       /* [rows,cols] cells that differ; NULL where there is no grid */
    int n_wrong;
    vdm_picture input, last, truth; /* kept for the first SHOWN answers */
    vdm_picture film[FILM_FRAMES];  /* frames of the video, kept for the first FILMS */
    int n_film;
};
int film_frame(int i, int frames); /* which of a video's frames is the film's i */
typedef struct exam {
    const vdm_task *task;
    vdm_geometry geometry;
    int asked, n;        /* n answers are there: fewer than asked where the work was stopped */
    int scored, exact;   /* with a known truth; exact ones */
    int perfect;         /* psnr: equal pictures, whose score is infinite and in no mean */
    double mean, copied; /* mean scores: of the answers, and of copying the input */
    double kept;         /* of the answers against their inputs */
    double raw;          /* before colours were corrected */
    int raw_exact;
    double seconds;
    struct answer *all; /* [asked] */
    int own;            /* training pairs that are answered too, first: to learn colours from, and to see whether
                           they were memorised */
    vdm_colour_map colours;
    vdm_diagnosis *signs;
} exam;
/* How many: all, or the first `limit`; -1 where there are none, or none that can be scored. */
int exam_asked(const vdm_task *t, int limit, vdm_error *err);
int exam_group(const session *s, int asked); /* answers that are sampled at once */
/* For a session that knows its size. own: training pairs to answer too. */
int exam_plan(exam *a, const session *s, const vdm_task *t, int n, int own, vdm_error *err);
/* Answers, one bar over all. folder: where the pictures go, or NULL. live: prints every score. */
int exam_run(exam *a, session *s, const char *folder, bool live, vdm_error *err);
/* Takes the next answer over: a video [T,H,W,3], whose last frame is scored and written as folder/NAME.ppm. */
int exam_take(exam *a, const char *folder, const vdm_picture *input, uint8_t *bytes, vdm_error *err);
/* Prints the result; BELOW where the mean is less than --at-least. */
int exam_summary(const options *o, const exam *a);
/* scores.csv: the numbers of struct answer */
int exam_write(const exam *a, const char *path, vdm_error *err);
/* "41 of 50 exact (82 %), cells right 99.1 %; copying the input: 61.0 %" */
void exam_say(const exam *a, char *text, size_t size);
void exam_free(exam *a);
const char *metric_name(vdm_metric m);

/* Signs of failure in words (diagnosis.c). */
enum sign { SIGN_COLOUR, SIGN_LATE, SIGN_EDGES, SIGN_DRIFT, SIGN_MEMORY, N_SIGNS };
const char *sign_name(enum sign sign);
/* False where nothing is known of it. */
bool sign_say(enum sign sign, char *text, size_t size, const vdm_diagnosis *s, const vdm_task *t);
void signs_print(FILE *f, const vdm_diagnosis *s, const vdm_task *t); /* a line for each */
const char *colour_name(const vdm_task *t, int number);

/* One page that shows it all, with nothing outside it (page.c). */
struct writer;
typedef struct page {
    const char *command; /* that repeats it */
    const session *session; /* NULL: no model worked here: settings, videos and signs are not told */
    const vdm_task *task;
    const lesson *lesson; /* NULL: nothing was learned */
    const exam *exam;     /* NULL: nothing was answered */
    const char *title, *result; /* instead of the task's name, and of what is said of lesson and exam; or NULL */
    void (*sections)(struct writer *w, const void *user); /* more of them, before the settings; or NULL (page.h) */
    const void *user;
} page;
void chart_write(FILE *f, const vdm_fit_row *rows, int steps); /* the loss curve, SVG (chart.c) */
int page_write(const page *p, const char *path, vdm_error *err);
/* Input, answer and truth below each other, a column for each, as one picture: the README's (strip.c). */
int strip_write(const exam *a, int columns, const char *path, vdm_error *err);
/* "vdm NAME WORDS...", quoted for a shell where they need it; vdm_free. */
char *command_line(const char *name, int argc, char **argv, vdm_error *err);

/* Tasks made to order (tasks.c): everything is a function of the name and the seed. */
typedef struct task_options {
    uint64_t seed;
    int n, tests; /* pairs (30, at most 300), test pictures (200, or as many as the task has) */
    bool paper;   /* palette, cells and picture sizes of arXiv 2510.24448 instead of the tiny model's */
    const char *content; /* "dense", "sparse", "blobs"; NULL: the task's own */
    int rows, cols;      /* 0: the task's own */
    int cell, border;    /* pixels; -1: the task's own */
    int height, width;   /* of the pictures; 0: the task's own */
} task_options;
typedef struct made_task {
    vdm_task task;    /* name, phi, metric and grid geometry, as vdm_task_read has them; no pairs, no path */
    const char *what; /* one line for people: "mirror left and right" */
    int n_train, n_test;
    vdm_picture *train_x, *train_y; /* [n_train] */
    vdm_picture *test_x, *test_y;   /* [n_test] */
} made_task;
task_options task_defaults(void);
int task_make(made_task *t, const char *name, const task_options *o, vdm_error *err);
/* DIR/train/0000.in.ppm ..., DIR/test/..., DIR/task.json; a folder that holds anything is refused. */
int task_write(const made_task *t, const char *dir, vdm_error *err);
void made_task_free(made_task *t);
/* dir, new or empty, and nothing else. */
int make_empty(const char *dir, vdm_error *err);
/* A task folder while it is written: pictures go to parts, train/ and test/, of DIR/unfinished, which
 * task_begin makes and returns (vdm_free). task_end adds task.json, syncs them all at once and moves them
 * into DIR. What is killed before that leaves no task behind, but a folder that tells that it is unfinished.
 */
extern const char TASK_UNFINISHED[];
char *task_begin(const char *dir, vdm_error *err); /* DIR is new or empty */
int task_picture(const vdm_picture *p, const char *dir, const char *name, const char *ending, vdm_error *err);
int task_end(const vdm_task *t, const char *dir, const char *unfinished, vdm_error *err);

int command_info(int argc, char **argv);
int command_demo(int argc, char **argv);
int command_fit(int argc, char **argv);
int command_prompt(int argc, char **argv);
int command_predict(int argc, char **argv);
int command_eval(int argc, char **argv);
int command_vote(int argc, char **argv);
int command_interp(int argc, char **argv);
int command_tasks(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_golden(int argc, char **argv);
int command_compare(int argc, char **argv);
int command_arc(int argc, char **argv);

#endif
