/* A task folder's pairs are learned. */
#ifndef VDM_TRAINING_H
#define VDM_TRAINING_H

#include "tools/run/lock.h"
#include "tools/run/paths.h"
#include "tools/run/multi_view.h"

/* Learning a task folder's pairs: what fit and demo do. */
typedef struct training {
    session *session;
    const vdm_task *task;
    int pairs;
    views views; /* in which each pair is learned */
    vdm_phi phi;
    char phi_name[32];        /* as --phi takes it */
    int videos;               /* pairs times views */
    vdm_picture *x, *y;       /* [videos], view by view, of the session's size */
    vdm_fit_data_options how; /* what the pairs become: may be changed before training_run */
    vdm_fit_options fit;      /* the same */
    vdm_fit_data data;
    vdm_lora adapter;
    vdm_trace *trace; /* shown the tensors of learning; or NULL */
    /* Called every look_every steps (0: never) but the last, with the adapter as it is then. */
    void (*look)(void *user, int step);
    void *look_user;
    int look_every;
    vdm_fit_row *rows; /* [fit.steps + 1] */
    int done;          /* steps */
    double seconds;
    char *lora, *table, *state; /* paths in the output folder; state: NULL if none is kept */
    lock lock;                  /* of the output folder */
} training;
/* --init, --rank, --alpha: what they come to is in o->rank and o->alpha then. Comes before training_plan. */
int training_init_options(options *o, vdm_error *err);
/* Refuses an impossible request; no pixels are read, nothing is written. `session` is filled in. */
int training_plan(training *l, session *s, vdm_task *t, const options *o, vdm_error *err);
/* Makes the folder, takes its lock, and adds the files to those that are checked. keep_state: the run can be resumed. */
int training_output(training *l, const char *folder, bool keep_state, paths *p, vdm_error *err);
/* Reads the pairs. */
int training_read(training *l, vdm_error *err);
/* Encodes, learns, and writes the adapter and train.csv; the session's weights are loaded. */
int training_run(training *l, vdm_error *err);
void training_free(training *l);

#endif
