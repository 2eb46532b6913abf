/* vdm bench: shared by its files. A job is one measurement: it prepares its own random data in memory, and is then run
 * repeatedly. */
#ifndef BENCH_H
#define BENCH_H

#include "kernels/kernels.h"
#include "tools/options.h"

int bench_run(const options *o, vdm_error *err);
void bench_list(const options *o);  /* prints the names of the jobs, or of those that the operands name */
bool bench_knows(const char *name); /* a job, or the first parts of some */

/* The limit of a job, of which its speed is a share. */
enum limit { NO_LIMIT, FMA, BF16, AMX, MEMORY, LIMITS };

struct work {
    vdm_cpu cpu;
    bool quick; /* sizes of a test: the figures are meaningless */
    double operations,
        bytes;            /* of one run: a multiply-add counts as two; bytes that must be read or written */
    bool absent;          /* this machine does not have the unit */
    void *state;          /* the job's own */
    struct piece *pieces; /* all memory of the job, freed after it */
    void (*release)(void *); /* frees what else there is, or NULL */
    void *released;
    bool failed; /* memory ran out, or a run failed: err says why */
    vdm_error *err;
};

enum { SIZES = 8 };
struct job {
    const char *name; /* parts with dots between them: "matmul.up.f32" */
    const char *what;
    enum limit limit;
    void (*prepare)(struct work *w, const int *n);
    void (*run)(struct work *w);
    int n[SIZES];     /* sizes, as prepare takes them */
    int quick[SIZES]; /* and for --quick */
};
/* How n jobs split among the threads of o->bench.plan (split.c) */
int bench_split(const options *o, const struct job *const *jobs, int n, vdm_error *err);

/* A job without a name ends each table; growth is run only by name. */
extern const struct job machine_jobs[], kernel_jobs[], model_jobs[], growth_jobs[], growth_attention_jobs[];

/* count elements of `size` bytes, zeroed, until the job's end; NULL, and w->failed, if there is no memory. */
void *work_take(struct work *w, int64_t count, size_t size);
void work_free(struct work *w);
float *work_floats(struct work *w, int64_t count);
/* Numbers in -scale..scale. */
float *work_random(struct work *w, int64_t count, float scale);
/* Weights of F32 or BF16 that preserve the variance of `inputs` inputs. */
vdm_linear work_linear(struct work *w, int64_t out, int64_t in, vdm_dtype dtype);
vdm_norm work_norm(struct work *w, int64_t n);
vdm_conv work_conv(struct work *w, int out, int in, int kt, int k, vdm_dtype dtype);

/* Elements of each array of the measurement of memory: 64 MB, more than a cache's capacity. */
enum { STREAM = 1 << 24, PEAK_STEPS = 1 << 17 };

#endif
