/* A folder of outputs belongs to one command. */
#ifndef VDM_CLAIM_H
#define VDM_CLAIM_H

#include "vdm_task.h"

/* The command that a folder of outputs belongs to. command NULL: the folder is not claimed, as for the tasks of a folder
 * (vdm arc --out). Both are borrowed. */
typedef struct claim {
    const char *folder, *command; /* "eval" */
} claim;
/* Rejects a folder with the page of another command, or with the state of a run of 'vdm fit': files of the same names would
 * be replaced. Rejects a folder without a page of this command (or a state, of fit) if it has a file that the command
 * writes: its table, its page, NAME.ppm of the first n test pictures of t (or NULL). */
int claim_folder(const claim *c, const vdm_task *t, int n, vdm_error *err);
/* Before the first output: the folder's page states that a run has not finished, until the run replaces the page. */
int claim_begin(const claim *c, vdm_error *err);
/* The command of a page, "" if there is none: of a file of another program. "arc" is the page of one task, "arc --report"
 * that of results. */
enum { CLAIM_COMMAND = 16 };
int claim_page_command(char command[static CLAIM_COMMAND], const char *path, vdm_error *err);

#endif
