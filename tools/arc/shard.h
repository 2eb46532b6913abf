/* A folder of ARC-AGI tasks, or a part of it. */
#ifndef VDM_SHARD_H
#define VDM_SHARD_H

#include "tools/options.h"

bool shard_is_legal(const char *text); /* "I/N" */
int shard_run(const options *o, vdm_error *err);

/* *.json in the folder and below it, sorted: paths relative to the folder, without the ending. */
typedef struct arc_list {
    char **names;
    int n, capacity;
} arc_list;
/* Or the tasks of a collection file (vdm_arc_ids). list_is: whether the path is a folder or such a file. */
bool list_is(const char *path);
int list_read(arc_list *l, const char *dir, vdm_error *err);
/* How many of them --limit takes; prints a limit above their number. */
int list_limit(const arc_list *l, const options *o);
/* DIR/NAME.json, whatever its length; vdm_free. */
char *list_path(const char *dir, const char *name, vdm_error *err);
void list_free(arc_list *l);

#endif
