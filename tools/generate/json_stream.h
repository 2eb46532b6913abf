/* A large JSON file, item by item. */
#ifndef VDM_JSON_STREAM_H
#define VDM_JSON_STREAM_H

#include "vdm_files.h"

enum { MAX_STREAM_NAMES = 4 };
struct json_stream {
    const char *names[MAX_STREAM_NAMES]; /* arrays of the root object: each is required, once */
    int n;
    /* Called with item j of array names[name]; text: as in the file, NUL-terminated. where: for messages. A return
     * other than 0 stops. */
    int (*item)(void *user, int name, const vdm_json *j, const char *text, const char *where, vdm_error *err);
    void *user;
};
int json_stream_read(const char *path, const struct json_stream *k, vdm_error *err);

#endif
