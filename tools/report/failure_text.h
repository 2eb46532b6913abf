/* The diagnosis of failures as text. */
#ifndef VDM_FAILURE_TEXT_H
#define VDM_FAILURE_TEXT_H

#include "vdm_task.h"

enum failure { FAILURE_COLOUR, FAILURE_LATE, FAILURE_EDGES, FAILURE_DRIFT, FAILURE_MEMORY, N_FAILURES };
const char *failure_name(enum failure failure);
/* False if nothing is known about it. */
bool failure_text(enum failure failure, char *text, size_t size, const vdm_diagnosis *s, const vdm_task *t);
void failures_print(FILE *f, const vdm_diagnosis *s, const vdm_task *t); /* a line for each */
const char *colour_name(const vdm_task *t, int number);

#endif
