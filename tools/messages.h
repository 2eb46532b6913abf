/* Messages: failures, names made safe for the terminal, sizes and times as text. */
#ifndef VDM_MESSAGES_H
#define VDM_MESSAGES_H

#include "vdm_task.h"

/* Prints `vdm: SENTENCE` on stderr and returns FAILED (or USAGE). */
int fail(const vdm_error *err);
int misuse(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* A copy that is safe to print (vdm_clean), for names of files and for names in files. Valid until the fourth call
 * after it; cut at 4095 bytes. */
const char *clean(const char *text);

/* Whether a name ends in this, and has more: ".json" does not end in ".json". */
bool has_ending(const char *name, const char *ending);
/* "s", or "" after a count of 1 */
const char *plural(int64_t n);
void format_bytes(char *text, size_t size, double bytes); /* "1.3 GiB" */
void format_seconds(char *text, size_t size, double seconds);
/* A share from 0 to 1, to be printed with so many decimals (a percentage with two fewer): it is rounded to 1 only if it is
 * 1, and to 0 only if it is 0, so that 199 of 200 are 99 %, not 100 %. */
double shown_share(double share, int decimals);
/* The same of a score; psnr and mae, which are not shares, stay as they are. */
double shown_score(vdm_metric m, double score, int decimals);
/* Prints text from column `at`, where the cursor is, to column 100; further lines begin at column `indent`. Line ends
 * in the text stay. Returns the column after it. */
int print_wrapped(const char *text, int at, int indent);
/* "vdm NAME WORDS...", quoted for a shell if necessary; vdm_free. */
char *command_line(const char *name, int argc, char **argv, vdm_error *err);

#endif
