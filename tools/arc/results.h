/* Results of ARC-AGI tasks: what they mean, and their lines in files. */
#ifndef VDM_RESULTS_H
#define VDM_RESULTS_H

#include "vdm_task.h"

enum { MAX_ATTEMPTS = 8 };
typedef struct arc_test {
    vdm_grid input, truth; /* truth 0 x 0: not known */
    vdm_grid answers[MAX_ATTEMPTS];
    int n; /* answers: fewer than attempts if some were equal */
} arc_test;

enum { HASH_TEXT = 17 }; /* 16 hexadecimal digits and a NUL */
/* The result of a task: a line of the file. */
typedef struct arc_result {
    char *task;                    /* its path in the folder, without .json */
    char *run;                     /* settings: only results with equal settings are merged */
    char configuration[HASH_TEXT]; /* of the model: the same; "": written by an earlier version */
    char task_hash[HASH_TEXT]; /* of the task's grids; "": the task can't be read, or an earlier version's */
    char *error;               /* NULL: it was answered */
    int line;                  /* of the file that it was read from; empty lines count */
    int of;                    /* tasks in the folder, over all shards; 0: a task by itself */
    int failed_tests;          /* tests of a task that failed; 0: not known */
    int failed_known;          /* those of them whose right answers are known; -1: not recorded */
    int attempts, pairs, cell, height, width;
    vdm_palette palette;
    arc_test *tests;
    int n_tests;
    double seconds; /* NaN: not known, because the task was resumed, and those before are not in its state */
} arc_result;
void result_free(arc_result *r);
bool arc_exact(const arc_test *t, int attempts); /* among the first answers */
bool arc_known(const arc_result *
                   r); /* every truth is known; a failed task whose line does not record it counts as known */
bool arc_recorded(const arc_result *r); /* answered, or its line has failed_tests and known_tests */
bool arc_solved(const arc_result *r, int attempts);                 /* every test of it is exact */
int arc_wrong(const vdm_grid *answer, const vdm_grid *truth);       /* cells; -1: another size */
const char *rule_of(const arc_result *r, const char **explanation); /* "oracle", and what it means */

/* The results of one or several files. A last line without "\n" is one if it is a whole JSON document; otherwise a run
 * was killed while it wrote it, and it is left out. complete: bytes of the lines that are results. */
typedef struct arc_results {
    arc_result *all;
    int n, capacity;
    bool unended; /* of the file that was read last: its last line is a result, but has no "\n" */
    size_t rest;  /* the same: bytes of the last line that are left out */
} arc_results;
int results_read(arc_results *all, const char *path, size_t *complete, vdm_error *err);
void results_free(arc_results *all);
int result_write(const arc_result *r, char **line, size_t *size, vdm_error *err); /* free() the line */

/* "2 of 3 tests exact with 1 attempt, 3 with 2" */
void result_text(const arc_result *r, char *text, size_t size);

#endif
