/* Files and folders of a command. */
#ifndef VDM_TOOL_FILES_H
#define VDM_TOOL_FILES_H

#include "vdm.h"

/* Refuses early where a file could not be written at the end. */
int writable(const char *path, vdm_error *err);
int make_folder(const char *path, vdm_error *err);
/* Whether a failure is the machine's, a full disk or no memory, and no fault of what was worked on. */
bool is_machine_fault(const vdm_error *err);
/* Names and words that go into JSON, before the work whose result they would spoil. */
int check_utf8(const char *text, vdm_error *err);
bool has(const char *folder, const char *name); /* something of that name is in there */

#endif
