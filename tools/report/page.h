/* What the sections of a page are written with (page.c), for commands that have sections of their own. */
#ifndef VDM_PAGE_H
#define VDM_PAGE_H

#include "tools/tool.h"

enum { BUDGET = 1400000 }; /* base64 bytes of the pictures in a section */

/* The page as it is written. */
struct writer {
    FILE *f;
    const page *p;
    size_t spent; /* bytes of pictures in this section */
    int status;
    vdm_error *err;
};

void escape(FILE *f, const char *text); /* text from outside, as HTML takes it */
/* <img>, with an alternative text of two parts: "answer to ", a name. */
void picture(struct writer *w, const vdm_picture *p, const char *what, const char *name);
/* One row of a table of settings: an own name, a value from anywhere. */
void row(FILE *f, const char *name, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
