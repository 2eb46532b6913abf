/* vdm arc: one task (solve.c), a folder of them (shard.c), results in files (results.c), results merged
 * (summary.c), and what a VAE keeps of grids (vae_roundtrip.c). */
#ifndef VDM_ARC_H
#define VDM_ARC_H

#include "tools/tool.h"

enum { MAX_ATTEMPTS = 8 };
typedef struct arc_test {
    vdm_grid input, truth; /* truth 0 x 0: not known */
    vdm_grid answers[MAX_ATTEMPTS];
    int n; /* answers: fewer than attempts where some were the same */
} arc_test;

/* What became of a task: a line of the results. */
typedef struct arc_result {
    char *task;  /* its path in the folder, without .json */
    char *run;   /* settings: what is merged has to have the same */
    char *error; /* NULL: it was answered */
    int of;      /* tasks in the folder, over all shards; 0: a task by itself */
    int attempts, pairs, cell, height, width;
    vdm_palette palette;
    arc_test *tests;
    int n_tests;
    double seconds;
} arc_result;
void result_free(arc_result *r);
bool arc_exact(const arc_test *t, int attempts);        /* among the first answers */
bool arc_solved(const arc_result *r, int attempts);     /* every test of it is */
int arc_wrong(const vdm_grid *answer, const vdm_grid *truth); /* cells; -1: another size */
const char *rule_of(const arc_result *r, const char **said); /* "oracle", and what there is to say of it */

/* Results of a file, or several; a last line that isn't ended is left out. complete: bytes of lines that are
 * whole. */
typedef struct arc_results {
    arc_result *all;
    int n, room;
} arc_results;
int results_read(arc_results *all, const char *path, size_t *complete, vdm_error *err);
void results_free(arc_results *all);
int result_write(const arc_result *r, char **line, size_t *size, vdm_error *err); /* free() the line */

/* A task while it is worked on. */
typedef struct solver {
    options learn, ask;
    vdm_arc arc; /* as the file has it */
    vdm_view *views;
    int n_views;
    vdm_task task; /* in all views */
    session session;
    lesson lesson;
    vdm_colour_map colours; /* with which answers are read */
    vdm_picture *frames; /* [attempts * tests]: answers in the first view as they were generated; NULL */
    arc_result result;
} solver;
/* Learns and answers. work: a folder for the files of the run (lora.safetensors, train.csv, and a state from
 * which an interrupted run goes on). frames: keeps them. solver_free also after it failed. */
int solver_run(solver *s, const options *o, const char *path, const char *work, bool resumable, bool frames,
               vdm_error *err);
/* The settings in one line; vdm_free. */
char *solver_settings(const options *o, vdm_error *err);
void solver_free(solver *s);

int shard_run(const options *o, vdm_error *err);
int merge_run(const options *o, const char *command, vdm_error *err);
int kept_run(const options *o, vdm_error *err);
/* The page of one task. */
int solver_page(const solver *s, const char *command, const char *path, vdm_error *err);
/* "2 of 3 tests exact with 1 attempt, 3 with 2" */
void solver_say(const arc_result *r, char *text, size_t size);

/* *.json in the folder and below it, sorted: paths from the folder on, without the ending. */
typedef struct arc_list {
    char **names;
    int n, room;
} arc_list;
int list_read(arc_list *l, const char *dir, vdm_error *err);
void list_free(arc_list *l);

#endif
