/* The table of options. A new one is a row here, and a field of struct options. */
#ifndef VDM_OPTIONS_TABLE_H
#define VDM_OPTIONS_TABLE_H

#include "tools/options.h"

#include <stddef.h>

enum option_kind { TEXT, WORDS, CHOICE, COUNT, REAL, SIZE, SEED, FLAG, LORA };

/* Properties of an option. Each option of vdm arc is KEY or NO_KEY: tests/test_options.c checks that. */
enum {
    KEY = 1,    /* vdm arc: another value may give other results, which are not merged */
    NO_KEY = 2, /* vdm arc: the results are the same with any value */
    READS = 4,  /* a file that is read */
    WRITES = 8, /* a file that is written */
    VIDEO = 16, /* that is a video */
};

struct option_row {
    const char *name, *value; /* value: its name in the help; NULL for a flag */
    enum option_kind kind;
    size_t offset; /* in struct options */
    double min, max;
    int commands, flags;
    const char *help;
};
extern const struct option_row option_rows[];
extern const int n_option_rows;

struct option_alias {
    const char *old, *name;
    int commands;
};
extern const struct option_alias option_aliases[];
extern const int n_option_aliases;

struct usage {
    int command;
    const char *line, *what;
};
extern const struct usage usages[];
extern const int n_usages;

#endif
