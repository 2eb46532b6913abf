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
    bool optional;      /* 0 is not known and not written; files without the setting are accepted */
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
/* The steps done in the state of this file. */
int vdm_fit_state_step(int *step, const char *path, vdm_error *err);

#endif
