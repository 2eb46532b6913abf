/* Which run a result is of. */
#ifndef VDM_IDENTITY_H
#define VDM_IDENTITY_H

#include "tools/options.h"

/* The settings of the run, and a hash of what they name: another model at the same path is another run. vdm_free. */
char *run_of(const options *o, vdm_error *err);

#endif
