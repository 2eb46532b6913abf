/* vdm bench --plan 8,64: how well jobs split among more threads than this machine has. A job's own code splits its
 * loops; a simulation receives them instead of the threads (files/parallel.h: vdm_team_watch) and gives their pieces,
 * in order, to the thread that is free first.
 *
 *   loops          with more than one piece: the threads wait for each other after each
 *   pieces         of all loops
 *   largest        the largest piece of the longest loop, as a share of a thread's part in an even split: 100 % or less
 *                  is a good split
 *   efficiency     work of one thread alone / (threads x time of all loops)
 *
 * Work is counted in multiply-adds (the loops' `work`, see kernels.h), or, with --measure, it is the time of a piece,
 * run on this machine one piece after the other: this includes packing, caches, and the time between loops. Neither
 * includes what many cores share, the speed of memory. */
#include "tools/bench/bench.h"
#include "tools/messages.h"
#include "tools/run/model_session.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_THREADS = 1024 };

/* One job, split among `threads` threads */
struct split {
    int threads;
    bool measure;
    int64_t loops, pieces;
    double work;              /* of all pieces */
    double span;              /* until the last thread is ready, of all loops */
    double longest;           /* the longest loop's span, */
    double largest;           /* and its largest piece / its work times the threads */
    double done[MAX_THREADS]; /* of the loop: time at which each thread is free */
};

/* The time of this thread only: other programs may use the machine. */
static double processor_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static double work_of(const struct split *s, const vdm_loop *loop, int piece)
{
    if (!s->measure) return loop->work ? loop->work(loop->of, piece) : 1;
    double start = processor_seconds();
    loop->run(loop->of, piece, 0);
    return processor_seconds() - start;
}

static void see_loop(void *user, const vdm_loop *loop)
{
    struct split *s = user;
    double work = 0, span = 0, largest = 0;
    memset(s->done, 0, (size_t)s->threads * sizeof *s->done);
    for (int i = 0; i < loop->pieces; i++) {
        double w = work_of(s, loop, i), *first = s->done;
        for (int t = 1; t < s->threads; t++)
            if (s->done[t] < *first) first = &s->done[t];
        *first += w;
        work += w;
        if (*first > span) span = *first;
        if (w > largest) largest = w;
    }
    s->loops += loop->pieces > 1;
    s->pieces += loop->pieces;
    s->work += work;
    s->span += span;
    if (span <= s->longest) return;
    s->longest = span;
    s->largest = work > 0 ? largest / work * s->threads : 0;
}

/* Splits the loops of a prepared job. If times are measured, the time between loops counts as work of one thread. */
static void split_job(const struct job *job, struct work *w, struct split *s, int threads, bool measure)
{
    *s = (struct split){.threads = threads, .measure = measure};
    w->cpu.threads = threads;
    double start = processor_seconds();
    job->run(w);
    double between = measure ? processor_seconds() - start - s->work : 0;
    s->work += between, s->span += between;
}

static void print_split(const struct job *job, const struct split *s, double alone)
{
    printf("%-30s %8d %8lld %9lld %9.0f %% %11.1f %%\n", job->name, s->threads, (long long)s->loops,
           (long long)s->pieces, 100 * s->largest, 100 * alone / (s->threads * s->span));
    fflush(stdout);
}

static int split_all(const struct job *job, const options *o, const vdm_cpu *cpu, vdm_error *err)
{
    struct work w = {.cpu = *cpu, .quick = o->bench.quick, .err = err};
    struct split *s = work_take(&w, 1, sizeof *s);
    if (s) job->prepare(&w, w.quick ? job->quick : job->n);
    if (!w.failed && !w.absent) {
        vdm_team_watch(cpu->team, see_loop, s);
        if (o->bench.measure) split_job(job, &w, s, 1, true); /* touches memory for the first time */
        split_job(job, &w, s, 1, o->bench.measure);
        double alone = s->work;
        for (const char *at = o->bench.plan; *at && !w.failed; at += strspn(at, ",")) {
            split_job(job, &w, s, (int)strtol(at, (char **)&at, 10), o->bench.measure);
            if (s->span > 0) print_split(job, s, alone);
        }
        vdm_team_watch(cpu->team, NULL, NULL);
    }
    if (w.release) w.release(w.released);
    work_free(&w);
    return w.failed ? -1 : 0;
}

/* "8,16,64" */
static int check_list(const char *list, vdm_error *err)
{
    for (const char *at = list;;) {
        char *end;
        long n = strtol(at, &end, 10);
        bool digit = *at >= '0' && *at <= '9';
        if (!digit || n < 1 || n > MAX_THREADS || (*end && *end != ','))
            return vdm_fail(err,
                            "--plan: expected numbers of threads from 1 to %d, as in 8,64, found '%.100s'",
                            MAX_THREADS, list);
        if (!*end) return 0;
        at = end + 1;
    }
}

int bench_split(const options *o, const struct job *const *jobs, int n, vdm_error *err)
{
    vdm_cpu cpu;
    int status = 0, counted = 0;
    for (int i = 0; i < n; i++) counted += jobs[i]->limit == FMA;
    if (!counted)
        return vdm_fail(err,
                        "--plan: '%.100s': expected a job that arithmetic limits, found none: more threads "
                        "do not make memory faster",
                        n ? jobs[0]->name : "");
    if (check_list(o->bench.plan, err) || vdm_cpu_init(&cpu, 1, err)) return -1;
    cpu.precision = precision_of(o);
    printf("vdm %s, %s, %s; work %s\n", VDM_VERSION, vdm_cpu_name(&cpu), o->precision,
           o->bench.measure ? "as measured on one thread" : "as counted");
    printf("%-30s %8s %8s %9s %11s %13s\n", "job", "threads", "loops", "pieces", "largest", "efficiency");
    for (int i = 0; i < n && status == 0; i++)
        if (jobs[i]->limit == FMA) status = split_all(jobs[i], o, &cpu, err);
    vdm_cpu_free(&cpu);
    return status;
}
