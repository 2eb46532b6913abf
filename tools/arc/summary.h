/* Results merged: accuracy, and a page of pictures. */
#ifndef VDM_SUMMARY_H
#define VDM_SUMMARY_H

#include "tools/options.h"

/* The operands are files of results; to: the path of the page. */
int summary_run(const options *o, const char *to, const char *command, vdm_error *err);

#endif
