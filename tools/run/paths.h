/* Every file that a command reads or writes, compared before the work: no output replaces an input, another output (under
 * any name) or a file of another kind, and none is among the pictures of a task; the ending of a name fits its format, and
 * the file can be written. */
#ifndef VDM_PATHS_H
#define VDM_PATHS_H

#include "tools/options.h"

#include <sys/types.h>

/* The format of an output, which the ending of its name has to show. From FIT_DUMP on: what it may replace (earlier.h). */
enum output_kind {
    ANY_FILE,
    PICTURE_FILE,
    VIDEO_FILE,
    PICTURE_OR_VIDEO_FILE,
    FIT_DUMP,
    PREDICT_DUMP,
    GOLDEN_TENSORS,
    PROMPT_TENSORS,
    COMPARE_PAGE,
    ARC_SUMMARY, /* a page or a submission */
    MEASUREMENTS
};

typedef struct paths {
    struct known_path {
        const char *name; /* borrowed */
        enum output_kind kind;
        enum { READ, READ_BELOW, WRITE } use;
        dev_t device; /* of the file, or of its folder if there is no file yet */
        ino_t inode;
        const char *last; /* its name in the folder; NULL: the file exists */
    } * all;
    int n, capacity;
} paths;

/* A path may be NULL: nothing to read or write. */
int paths_read(paths *p, const char *path, vdm_error *err);
/* A folder: no output may be in it, or below. */
int paths_read_folder(paths *p, const char *path, vdm_error *err);
int paths_write(paths *p, const char *path, enum output_kind kind, vdm_error *err);
/* The files of the options that were given, and the parts of the model's folder. */
int paths_of_options(paths *p, const options *o, int command, vdm_error *err);
/* A task: its file, or its folder's train/ and test/, and the files in the folder itself. */
int paths_read_task(paths *p, const vdm_task *t, vdm_error *err);
/* The operands that are files, the options' files, and -o as a file: all that most commands need. */
int paths_check_command(const options *o, int command, enum output_kind kind, vdm_error *err);
/* -o as a folder: made, unless it is or would be in a folder that is read. */
int paths_make_folder(const paths *p, const char *folder, vdm_error *err);
/* Compares them all, then tries the outputs. Frees the list in any case. */
int paths_check(paths *p, vdm_error *err);
void paths_free(paths *p);

#endif
