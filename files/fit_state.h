/* The file that a training run resumes from. Internal to the library. */
#ifndef VDM_FIT_STATE_H
#define VDM_FIT_STATE_H

#include "files/hash.h"
#include "vdm.h"

/* A setting that the bits of the result depend on: a resumed run must have the same value. */
typedef struct vdm_fit_setting {
    const char *name; /* NULL ends a table */
    enum { VDM_SETTING_NUMBER, VDM_SETTING_HASH, VDM_SETTING_WORD } kind;
    double number;
    uint64_t hash;
    const char *word;
    const char *
        default_before; /* the value that files without the setting stand for, which is not written; or NULL */
} vdm_fit_setting;

typedef struct vdm_fit_state {
    const vdm_fit_setting *settings;
    int64_t n;
    float *params, *m, *v; /* [n]: the adapter, the moments */
    vdm_fit_row *rows;     /* [max_steps + 1] */
    int step, max_steps;   /* steps done; those of the run */
} vdm_fit_state;
int vdm_fit_state_write(const vdm_fit_state *s, const char *path, vdm_error *err);
/* Fills params, m, v, rows and step. */
int vdm_fit_state_read(vdm_fit_state *s, const char *path, vdm_error *err);

/* FNV-1a over `count` elements of `width` bytes, the lowest byte of each first: the same on machines of either byte
 * order. Start with VDM_HASH_START. */
uint64_t vdm_hash(uint64_t h, const void *data, size_t count, size_t width);
/* Names, shapes and the first bytes of every tensor: identifies a model without reading all of it. */
uint64_t vdm_hash_model(const vdm_transformer *m);

#endif
