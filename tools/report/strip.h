/* Answers as one picture. */
#ifndef VDM_STRIP_H
#define VDM_STRIP_H

#include "tools/run/evaluation.h"

/* Input, answer and truth below each other, a column for each, as one picture: the README's. */
int strip_write(const evaluation *a, int columns, const char *path, vdm_error *err);

#endif
