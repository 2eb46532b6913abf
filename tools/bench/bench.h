/* vdm bench: what its files share. A job is one thing that is timed; it prepares its own data, of random
 * numbers made in memory, and is then run again and again. */
#ifndef BENCH_H
#define BENCH_H

#include "kernels/kernels.h"
#include "tools/options.h"

int bench_run(const options *o, vdm_error *err);
void bench_list(void);              /* prints the names of the jobs */
bool bench_knows(const char *name); /* a job, or the first parts of some */

/* What bounds a job, and so what its speed is a share of. */
enum limit { NO_LIMIT, FMA, BF16, AMX, MEMORY, LIMITS };

struct work {
    vdm_cpu cpu;
    bool quick;               /* sizes of a test: the figures mean nothing */
    double operations, bytes; /* of one run: a multiply-add is two; bytes that have to be read or written */
    bool absent;              /* this machine has no such thing */
    void *state;              /* the job's own */
    struct piece *pieces;     /* all memory of the job, freed after it */
    void (*release)(void *);  /* and what else is to be freed, or NULL */
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

/* A job without a name ends each; those of growth are run only where they are named. */
extern const struct job machine_jobs[], kernel_jobs[], model_jobs[], growth_jobs[], growth_attention_jobs[];

/* count things of `size` bytes, zeroed, until the job's end; NULL, and w->failed, where there is no memory.
 */
void *work_take(struct work *w, int64_t count, size_t size);
void work_free(struct work *w);
float *work_floats(struct work *w, int64_t count);
/* Numbers in -scale..scale. */
float *work_random(struct work *w, int64_t count, float scale);
/* Weights of F32 or BF16 that keep the variance of so many inputs. */
vdm_linear work_linear(struct work *w, int64_t out, int64_t in, vdm_dtype dtype);
vdm_norm work_norm(struct work *w, int64_t n);
vdm_conv work_conv(struct work *w, int out, int in, int kt, int k, vdm_dtype dtype);

/* Numbers in each array of the measurement of memory: 64 MB, more than caches hold. */
enum { STREAM = 1 << 24, PEAK_STEPS = 1 << 17 };

#endif
