/* One page that shows a run, and the functions that write its sections: a command may add sections of its own. */
#ifndef VDM_PAGE_H
#define VDM_PAGE_H

#include "tools/run/evaluation.h"
#include "tools/run/training.h"

/* One page that shows everything, in one file. */
struct writer;
typedef struct page {
    const char *command;    /* that repeats the run */
    const session *session; /* NULL: no model was used: settings, videos and diagnosis are left out */
    const vdm_task *task;
    const training *training;     /* NULL: nothing was learned */
    const evaluation *evaluation; /* NULL: nothing was answered */
    const char *title,
        *result; /* replace the task's name, and the sentences on training and evaluation; or NULL */
    void (*sections)(struct writer *w, const void *user); /* more of them, before the settings; or NULL */
    const void *user;
} page;
int page_write(const page *p, const char *path, vdm_error *err);

enum { BUDGET = 1400000 }; /* base64 bytes of the pictures in a section */

/* The page while it is written. */
struct writer {
    FILE *f;
    const page *p;
    size_t spent; /* bytes of pictures in this section */
    int status;
    vdm_error *err;
};

void escape(FILE *f, const char *text); /* text from outside, escaped for HTML */
/* <img>; the alternative text has two parts: "answer to ", a name. */
void picture(struct writer *w, const vdm_picture *p, const char *what, const char *name);
/* One row of a table: a name of ours, a value from anywhere, which is escaped. */
void row(FILE *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
