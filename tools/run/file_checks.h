/* Files and folders of a command. */
#ifndef VDM_TOOL_FILE_CHECKS_H
#define VDM_TOOL_FILE_CHECKS_H

#include "vdm.h"

/* Rejects early a file that could not be written at the end. */
int writable(const char *path, vdm_error *err);
int make_folder(const char *path, vdm_error *err);
/* Whether a failure is the machine's (a full disk, no memory), not a fault of the input. */
bool is_machine_fault(const vdm_error *err);
/* Rejects text that is not UTF-8, before long work: for names that become part of JSON. */
int check_utf8(const char *text, vdm_error *err);
bool has(const char *folder, const char *name);          /* the folder contains that name */
int count_files(const char *folder, const char *ending); /* names with this ending, ".ppm" */

#endif
