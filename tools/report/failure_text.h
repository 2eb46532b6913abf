/* Signs of failure in words. */
#ifndef VDM_FAILURE_TEXT_H
#define VDM_FAILURE_TEXT_H

#include "vdm_task.h"

enum sign { SIGN_COLOUR, SIGN_LATE, SIGN_EDGES, SIGN_DRIFT, SIGN_MEMORY, N_SIGNS };
const char *sign_name(enum sign sign);
/* False if nothing is known of it. */
bool sign_say(enum sign sign, char *text, size_t size, const vdm_diagnosis *s, const vdm_task *t);
void signs_print(FILE *f, const vdm_diagnosis *s, const vdm_task *t); /* a line for each */
const char *colour_name(const vdm_task *t, int number);

#endif
