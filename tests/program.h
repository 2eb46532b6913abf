/* Runs the program from its command line: shared by the tests that do so. The environment's VDM names it
 * (build/vdm otherwise). In a command line @ stands for the test's folder. */
#ifndef VDM_PROGRAM_H
#define VDM_PROGRAM_H

#include "check.h"

/* Output of the last run, errors included. */
extern char printed[1 << 20];

/* Call it first: whether there is a program. VDM then contains its absolute name. */
bool find_program(void);
/* Runs a shell's command line. Exit status; -1: it has none. */
int shell(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same; requires an exit status and a part of the output. */
void expect_shell(int status, const char *piece, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Starts a command line and kills it, as a power cut would, once there is such a file (NULL: none) or after
 * so many milliseconds. Whether it had to be killed. */
bool kill_shell(const char *file, int milliseconds, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The three for `vdm WORDS`; the format is a literal. */
#define vdm(...)                   shell("\"$VDM\" " __VA_ARGS__)
#define expect(status, piece, ...) expect_shell(status, piece, "\"$VDM\" " __VA_ARGS__)
#define kill_vdm(file, milliseconds, ...) \
    kill_shell(file, milliseconds, "exec >/dev/null 2>&1 \"$VDM\" " __VA_ARGS__)

/* Files, by their names in the test's folder. The path holds until the next call but one. */
const char *path_of(const char *name);
/* Reads as much as fits, and adds a 0; returns the size, 0 if there is no such file. */
size_t slurp(char *text, size_t size, const char *name);
void write_text(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Both exist, with equal or with different bytes. */
void expect_same(const char *a, const char *b, bool same);

#endif
