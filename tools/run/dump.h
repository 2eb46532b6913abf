/* Tensors collected for --dump. */
#ifndef VDM_DUMP_H
#define VDM_DUMP_H

#include "vdm.h"

/* The key of the metadata that names the command, which replaces only its own dump (earlier.c). */
#define DUMP_KEY "vdm_dump"

/* Named f32 tensors to be written with --dump. */
typedef struct dump {
    const char *path; /* NULL: nothing is stored */
    const char *command;
    vdm_tensor *tensors;
    int64_t count, capacity;
    int status; /* of dump_see: the first failure, reported by dump_write */
    vdm_error err;
} dump;
int dump_add(dump *d, const char *name, const float *data, int rank, const int64_t *shape, vdm_error *err);
void dump_see(void *user, const char *name, const float *data, int rank,
              const int64_t *shape); /* vdm_trace's */
int dump_write(dump *d, vdm_error *err);
void dump_free(dump *d);

#endif
