/* vdm bench: this machine's speed: its peaks, then kernels and whole jobs as shares of the peaks.
 *
 * A machine's speed drifts by a tenth within minutes. So the peak that bounds a job is measured before and after every
 * run; a run's share is relative to the mean of the two, and the median is printed. A short run is repeated until it
 * takes SAMPLE seconds. */
#include "tools/bench/bench.h"
#include "tools/messages.h"
#include "tools/run/model_session.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double SAMPLE = 0.05, BURST = 0.02; /* seconds */
enum { MAX_RUNS = 1000, MAX_REPEATS = 100000 };  /* the first: as --runs takes */

static const char *const limit_names[LIMITS] = {"", "f32 fma", "bf16 dot", "amx", "triad"};

struct result {
    const struct job *job;
    bool absent;
    double operations, bytes; /* of one run */
    double seconds[MAX_RUNS]; /* [runs], of one run */
    double share[MAX_RUNS];   /* [runs], of the speed of the limit, if the job has one */
    double limit;             /* that speed: median */
};

struct bench {
    const options *o;
    vdm_cpu cpu;
    const struct job **jobs; /* [n] */
    int n, done;             /* results so far */
    struct result *results;  /* [n] */
    float *stream;           /* [3,STREAM], for jobs that are limited by memory */
};

/* The limit of a job: products are bounded by the peak of their precision. */
static enum limit limit_of(const struct bench *b, const struct job *job)
{
    static const enum limit of[] = {
        [VDM_PRECISION_F32] = FMA, [VDM_PRECISION_BF16] = BF16, [VDM_PRECISION_AMX] = AMX};
    return job->limit == FMA ? of[b->cpu.precision] : job->limit;
}

/* ------------------------------------------------------------------------------------------------
 * Which jobs */

static const struct job *const tables[] = {machine_jobs, kernel_jobs, model_jobs, growth_jobs,
                                           growth_attention_jobs};
enum { TABLES = sizeof tables / sizeof tables[0], UNNAMED = TABLES - 2 }; /* the last two only by name */

/* "matmul.up" names matmul.up, matmul.up.f32, but not matmul.upper */
static bool names(const char *word, const char *job)
{
    size_t n = strlen(word);
    return strncmp(word, job, n) == 0 && (job[n] == '\0' || job[n] == '.');
}

static bool wanted(const struct job *job, int table, const options *o)
{
    for (int i = 0; i < o->n_operands; i++)
        if (names(o->operands[i], job->name)) return true;
    return o->n_operands == 0 && table < UNNAMED;
}

static int pick_jobs(struct bench *b, vdm_error *err)
{
    int max = 0;
    for (int t = 0; t < TABLES; t++)
        for (const struct job *j = tables[t]; j->name; j++) max++;
    b->jobs = vdm_alloc((size_t)max, sizeof *b->jobs, "the jobs", err);
    if (!b->jobs) return -1;
    for (int t = 0; t < TABLES; t++)
        for (const struct job *j = tables[t]; j->name; j++)
            if (wanted(j, t, b->o)) b->jobs[b->n++] = j;
    b->results = vdm_alloc((size_t)b->n, sizeof *b->results, "the results", err);
    return b->results ? 0 : -1;
}

bool bench_knows(const char *word)
{
    for (int t = 0; t < TABLES; t++)
        for (const struct job *j = tables[t]; j->name; j++)
            if (names(word, j->name)) return true;
    return false;
}

void bench_list(const options *o)
{
    for (int t = 0; t < TABLES; t++)
        for (const struct job *j = tables[t]; j->name; j++)
            if (!o->n_operands || wanted(j, t, o))
                printf("%-30s %s%s\n", j->name, j->what, t == UNNAMED ? " (only if named)" : "");
}

/* ------------------------------------------------------------------------------------------------
 * Measuring */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct spread {
    double min, median, max;
};
static struct spread spread_of(const double *x, int n)
{
    double sorted[MAX_RUNS];
    memcpy(sorted, x, (size_t)n * sizeof *x);
    qsort(sorted, (size_t)n, sizeof *x, by_size);
    struct spread s = {sorted[0], (sorted[(n - 1) / 2] + sorted[n / 2]) / 2, sorted[n - 1]};
    return s;
}

/* Operations or bytes a second that the machine reaches now; 0 if it does not have the unit. */
static double burst(struct bench *b, enum limit limit)
{
    const vdm_kernels *k = b->cpu.kernels;
    int64_t count = b->o->bench.quick ? STREAM / 1000 : STREAM,
            steps = b->o->bench.quick ? PEAK_STEPS / 64 : PEAK_STEPS;
    double start = vdm_seconds(), done = 0, seconds;
    if (limit == NO_LIMIT) return 0;
    do {
        if (limit == MEMORY) {
            k->blend(&b->cpu, b->stream, 1, b->stream + count, 0.5f, b->stream + 2 * count, count);
            done += 3.0 * sizeof(float) * (double)count;
        } else {
            double more = k->peak(&b->cpu, steps);
            if (more == 0) return 0;
            done += more;
        }
        seconds = vdm_seconds() - start;
    } while (seconds < BURST && !b->o->bench.quick);
    return done / seconds;
}

static double time_runs(const struct job *job, struct work *w, int repeat)
{
    double start = vdm_seconds();
    for (int i = 0; i < repeat && !w->failed; i++) job->run(w);
    return (vdm_seconds() - start) / repeat;
}

/* The first run touches the memory; the time of a short job's second run decides how often to repeat it. */
static int repeats_of(const struct bench *b, const struct job *job, struct work *w)
{
    double seconds = time_runs(job, w, 1);
    if (b->o->bench.quick || w->failed || w->absent || seconds > 10 * SAMPLE) return 1;
    double repeats = ceil(SAMPLE / time_runs(job, w, 1));
    return repeats < MAX_REPEATS ? (int)repeats : MAX_REPEATS;
}

static void measure(struct bench *b, const struct job *job, struct work *w, struct result *r)
{
    double limits[MAX_RUNS], work, before;
    int runs = b->o->bench.runs, repeat = repeats_of(b, job, w);
    r->absent = w->absent;
    r->operations = w->operations, r->bytes = w->bytes;
    work = job->limit == MEMORY ? w->bytes : w->operations;
    if (w->failed || w->absent) return;
    before = burst(b, limit_of(b, job));
    for (int i = 0; i < runs && !w->failed; i++) {
        r->seconds[i] = time_runs(job, w, repeat);
        double after = burst(b, limit_of(b, job));
        limits[i] = (before + after) / 2;
        r->share[i] = limits[i] > 0 ? work / r->seconds[i] / limits[i] : 0;
        before = after;
    }
    if (w->failed) return;
    r->limit = spread_of(limits, runs).median;
}

static int run_job(struct bench *b, const struct job *job, struct result *r, vdm_error *err)
{
    struct work w = {.cpu = b->cpu, .quick = b->o->bench.quick, .err = err};
    r->job = job;
    if (job->limit == MEMORY && !b->stream) {
        b->stream = vdm_alloc(3 * (size_t)STREAM, sizeof(float), "the measurement of memory", err);
        if (!b->stream) return -1;
    }
    job->prepare(&w, w.quick ? job->quick : job->n);
    if (!w.failed) measure(b, job, &w, r);
    if (w.release) w.release(w.released);
    work_free(&w);
    return w.failed ? -1 : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Printing */

static bool counts_bytes(const struct result *r)
{
    return r->bytes > 0;
}

static void print_head(const struct bench *b)
{
    printf("vdm %s, %s, %s, %d threads; median of %d runs%s\n", VDM_VERSION, vdm_cpu_name(&b->cpu),
           b->o->precision, b->cpu.threads, b->o->bench.runs,
           b->o->bench.quick ? "; --quick: the figures are meaningless" : "");
    printf("%-30s %11s %11s %11s %9s %8s %16s\n", "job", "median ms", "min", "max", "GFLOP/s", "GB/s",
           "share of a peak");
}

static void print_result(const struct bench *b, const struct result *r)
{
    int runs = b->o->bench.runs;
    if (r->absent) {
        printf("%-30s %11s  %s\n", r->job->name, "none", r->job->what);
        return;
    }
    struct spread s = spread_of(r->seconds, runs);
    printf("%-30s %11.4f %11.4f %11.4f", r->job->name, 1e3 * s.median, 1e3 * s.min, 1e3 * s.max);
    if (counts_bytes(r))
        printf(" %9s %8.1f", "", r->bytes / s.median / 1e9);
    else
        printf(" %9.1f %8s", r->operations / s.median / 1e9, "");
    if (r->limit > 0)
        printf(" %6.1f %% %-8s", 100 * spread_of(r->share, runs).median, limit_names[limit_of(b, r->job)]);
    else
        printf(" %17s", "");
    printf(" %s\n", r->job->what);
    fflush(stdout);
}

static void write_spread(FILE *f, const char *name, const double *x, int n)
{
    struct spread s = spread_of(x, n);
    fprintf(f, ", \"%s\": {\"median\": %.9g, \"min\": %.9g, \"max\": %.9g, \"runs\": [", name, s.median,
            s.min, s.max);
    for (int i = 0; i < n; i++) fprintf(f, "%s%.9g", i ? ", " : "", x[i]);
    fprintf(f, "]}");
}

static void write_result(FILE *f, const struct bench *b, const struct result *r)
{
    const int *sizes =
        b->o->bench.quick ? r->job->quick : r->job->n; /* bench_peer.py makes its job from them */
    fprintf(f, "    {\"name\": \"%s\", \"what\": \"%s\", \"sizes\": [", r->job->name, r->job->what);
    for (int i = 0; i < SIZES; i++) fprintf(f, "%s%d", i ? ", " : "", sizes[i]);
    fprintf(f, "]");
    if (r->absent) {
        fprintf(f, ", \"absent\": true}");
        return;
    }
    double median = spread_of(r->seconds, b->o->bench.runs).median;
    if (counts_bytes(r))
        fprintf(f, ", \"bytes\": %.9g, \"bytes_per_second\": %.9g", r->bytes, r->bytes / median);
    else
        fprintf(f, ", \"operations\": %.9g, \"operations_per_second\": %.9g", r->operations,
                r->operations / median);
    write_spread(f, "seconds", r->seconds, b->o->bench.runs);
    if (r->limit > 0) {
        fprintf(f, ", \"limit\": \"%s\", \"limit_per_second\": %.9g", limit_names[limit_of(b, r->job)],
                r->limit);
        write_spread(f, "share", r->share, b->o->bench.runs);
    }
    fprintf(f, "}");
}

static int write_json(const struct bench *b, vdm_error *err)
{
    vdm_file f;
    if (vdm_file_open(&f, b->o->bench.json, err)) return -1;
    fprintf(f.stream, "{\n  \"version\": \"%s\", \"set\": \"%s\", \"precision\": \"%s\", \"threads\": %d,\n",
            VDM_VERSION, vdm_cpu_name(&b->cpu), b->o->precision, b->cpu.threads);
    fprintf(f.stream, "  \"runs\": %d, \"quick\": %s,\n  \"jobs\": [\n", b->o->bench.runs,
            b->o->bench.quick ? "true" : "false");
    for (int i = 0; i < b->done; i++) {
        write_result(f.stream, b, &b->results[i]);
        fprintf(f.stream, i + 1 < b->done ? ",\n" : "\n");
    }
    fprintf(f.stream, "  ]\n}\n");
    return vdm_file_commit(&f, err);
}

static int run_all(struct bench *b, vdm_error *err)
{
    if (pick_jobs(b, err)) return -1;
    if (b->o->bench.plan) return bench_split(b->o, b->jobs, b->n, err);
    if (vdm_cpu_init(&b->cpu, b->o->threads, err)) return -1;
    b->cpu.precision = precision_of(b->o);
    print_head(b);
    for (; b->done < b->n; b->done++) {
        if (run_job(b, b->jobs[b->done], &b->results[b->done], err)) return -1;
        print_result(b, &b->results[b->done]);
    }
    return b->o->bench.json ? write_json(b, err) : 0;
}

int bench_run(const options *o, vdm_error *err)
{
    struct bench b = {.o = o};
    int status = run_all(&b, err);
    vdm_cpu_free(&b.cpu);
    vdm_free(b.jobs);
    vdm_free(b.results);
    vdm_free(b.stream);
    return status;
}
