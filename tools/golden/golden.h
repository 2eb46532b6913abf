/* Every intermediate tensor of a computation, in a file. */
#ifndef VDM_GOLDEN_H
#define VDM_GOLDEN_H

#include "tools/options.h"

int golden_run(const options *o, const char *command, vdm_error *err);
void golden_names(void); /* explains the names */

#endif
