/* Fields of a JSON object, and the error message for a wrong value (fields.c). */
#ifndef VDM_FIELDS_H
#define VDM_FIELDS_H

#include "vdm_files.h"

/* An object whose fields are read by key. The first failure writes the message; later calls return fallbacks and write
 * nothing, so that a reader checks `failed` once, at the end. */
typedef struct vdm_fields {
    const vdm_json *json;
    const vdm_json_node *object;
    const char *path; /* of the file, or "FILE: line 3" */
    char inside[64];  /* the object's place in it: "grid."; "" at the root */
    bool failed;
    vdm_error *err;
} vdm_fields;

/* "path: at: found ..., expected ..."; value NULL: nothing. Returns -1. */
int vdm_reject_value(vdm_error *err, const char *path, const char *at, const vdm_json_node *value,
                     const char *expected);

/* Rejects a value that is not an object. */
void vdm_fields_open(vdm_fields *f, const vdm_json *json, const vdm_json_node *object, const char *path,
                     vdm_error *err);
/* The object in the field `key`. Pass a failure inside on: f->failed |= inner.failed. */
void vdm_fields_inside(vdm_fields *inner, vdm_fields *f, const char *key);
/* Rejects keys that are not among these n. */
void vdm_fields_only(vdm_fields *f, const char *const *keys, int n);

const vdm_json_node *vdm_field(const vdm_fields *f, const char *key); /* or NULL */
void vdm_field_reject(vdm_fields *f, const char *key, const char *expected);

/* An absent key gives the fallback; if the fallback is not a legal value (a number outside the range, NULL), the key is
 * required. */
double vdm_field_number(vdm_fields *f, const char *key, double fallback, double minimum, double maximum);
int64_t vdm_field_int64(vdm_fields *f, const char *key, int64_t fallback, int64_t minimum, int64_t maximum);
int vdm_field_int(vdm_fields *f, const char *key, int fallback, int minimum, int maximum);
/* The same for an element of the list in the field. */
int vdm_value_int(vdm_fields *f, const char *key, const vdm_json_node *value, int fallback, int minimum,
                  int maximum);
bool vdm_field_bool(vdm_fields *f, const char *key, bool fallback);
const char *vdm_field_text(vdm_fields *f, const char *key,
                           const char *fallback); /* valid as long as the document */
/* Copies the text to *to, which is freed first; an absent key leaves it unchanged. */
void vdm_field_copy(vdm_fields *f, const char *key, char **to);

#endif
