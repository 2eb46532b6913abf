/* A folder of outputs belongs to one command. */
#ifndef VDM_CLAIM_H
#define VDM_CLAIM_H

#include "vdm.h"

/* Rejects a folder with the page of another command, or with the state of a run of 'vdm fit', which writes its page last:
 * files of the same names would be replaced. command: "eval". */
int claim_folder(const char *folder, const char *command, vdm_error *err);

#endif
