/* Learns a task folder's pairs. */
#ifndef VDM_TRAINING_H
#define VDM_TRAINING_H

#include "tools/run/claim.h"
#include "tools/run/lock.h"
#include "tools/run/paths.h"
#include "tools/run/multi_view.h"

/* Learning a task folder's pairs: what fit and demo do. */
typedef struct training {
    session *session;
    const vdm_task *task;
    int pairs;   /* of `task` that are learned: the first ones */
    views views; /* that each pair is learned in */
    vdm_phi phi;
    char phi_name[32];        /* as --phi accepts it */
    int videos;               /* pairs times views */
    int augmented;            /* the pairs are those of a task in so many views (arc --augment); 1: none */
    vdm_picture *x, *y;       /* [videos], view by view, of the session's size */
    vdm_fit_data_options how; /* how pairs become videos: may be changed before training_run */
    vdm_fit_options fit;      /* the same */
    vdm_fit_data data;
    vdm_lora adapter;
    vdm_trace *trace; /* receives the tensors of learning; or NULL */
    /* Called every look_every steps (0: never) except the last, with the present adapter. */
    void (*look)(void *user, int step);
    void *look_user;
    int look_every;
    vdm_fit_row *rows;          /* [fit.steps + 1] */
    int done;                   /* steps */
    int before;                 /* of these, steps of earlier processes, if the run is resumed */
    double seconds;             /* of this process */
    char *lora, *table, *state; /* paths in the output folder; state: NULL if none is written */
    lock lock;                  /* of the output folder */
    claim claim;                /* on it */
} training;
/* Applies --init, --rank, --alpha and --targets to o->learn, and what --init was learned with. Call it before training_plan. */
int training_init_options(options *o, int command, vdm_error *err);
/* Rejects an impossible request; no pixels are read, nothing is written. Fills in `session`. */
int training_plan(training *l, session *s, vdm_task *t, const options *o, vdm_error *err);
/* Pairs of the task that are learned: each counts once, in however many views. They are the first ones. */
int training_pairs(const training *l);
/* Takes the lock of a folder for a run without a state; rejects the folder of a run of fit, which has one. */
int training_claim(lock *l, const char *folder, vdm_error *err);
/* Makes the folder, takes its lock unless l->lock is taken (training_claim), and adds the files to those that are
 * checked. keep_state: for --resume. */
int training_output(training *l, const char *folder, bool keep_state, paths *p, vdm_error *err);
/* Sets l->before from the state in the folder if the run is resumed; training_output does so. */
int training_resumed(training *l, const char *folder, vdm_error *err);
/* l->seconds: "12.3", or "12.3, since step 60". */
void training_seconds(char *text, size_t size, const training *l);
/* Reads the pairs. */
int training_read(training *l, vdm_error *err);
/* Encodes, learns, and writes the adapter and train.csv; the session's weights are loaded. */
int training_run(training *l, vdm_error *err);
void training_free(training *l);

#endif
