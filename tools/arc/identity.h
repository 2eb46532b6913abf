/* Which run and which task a result is of. */
#ifndef VDM_IDENTITY_H
#define VDM_IDENTITY_H

#include "tools/arc/results.h"
#include "tools/options.h"

/* The settings of the run, and a hash of what they name: another model at the same path is another run. vdm_free. */
char *run_of(const options *o, vdm_error *err);
/* How the settings of two runs differ, to end a sentence: "--seed: found 3, expected 42". */
void run_difference(char *text, size_t size, const char *found, const char *expected);
/* Of all that vdm obeys in the model's configurations. */
int hash_configuration(char hash[HASH_TEXT], const char *model, vdm_error *err);
/* Of all grids of a task but the answers to its tests, which may become known later. */
void hash_task(char hash[HASH_TEXT], const vdm_arc *a);

#endif
