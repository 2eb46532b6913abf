/* Threads. A team runs a loop of independent pieces: the thread that calls it, and others that wait for such loops. All
 * parallel loops of vdm run this way. The pieces are outputs, or the fixed pieces of a sum, which are added in order, so
 * that neither the number of threads nor the thread that runs a piece changes a bit.
 *
 * An idle thread takes the next piece. So on a shared machine a thread that is not scheduled delays nothing: the
 * others, at least the caller, do its pieces. A waiting thread polls for a millisecond, or for a few dozen microseconds
 * where other programs use its core, and then sleeps. */
#ifndef VDM_PARALLEL_H
#define VDM_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vdm_team vdm_team;
enum { VDM_MAX_CHAINED = 1 << 14 }; /* pieces of a chained loop */

/* Pieces 0 ... pieces - 1, taken in this order. run gets `of`, a piece, and the number of the thread, less than the
 * team's threads; two pieces that run at the same time have different numbers. */
typedef struct vdm_loop {
    int pieces;
    void (*run)(const void *of, int piece, int thread);
    const void *of;
    double (*work)(const void *of, int piece); /* of a piece, in multiply-adds: for vdm bench --plan */
    bool chained;                              /* pieces may wait for earlier ones: vdm_team_await */
} vdm_loop;

/* n items of equal work in `pieces` ranges: items first ... end - 1 */
typedef struct vdm_items {
    int64_t n;
    int pieces;
    void (*run)(const void *of, int64_t first, int64_t end);
    const void *of;
    double work; /* of an item */
} vdm_items;

/* A team of `threads` threads; fewer if the system refuses more. NULL: no memory. */
vdm_team *vdm_team_new(int threads);
void vdm_team_free(vdm_team *t);
/* Return when all pieces are done. t may be NULL: the caller runs all pieces itself. */
void vdm_team_run(vdm_team *t, const vdm_loop *loop);
void vdm_team_run_items(vdm_team *t, const vdm_items *items);

/* In a chained loop: a piece reports its progress; a piece that was taken later waits until it has progressed as
 * far. */
void vdm_team_reach(vdm_team *t, int piece, int steps);
void vdm_team_await(vdm_team *t, int piece, int steps);

/* Passes every loop to `see` instead of running it; NULL ends that. see may run its pieces, as thread 0. */
void vdm_team_watch(vdm_team *t, void (*see)(void *user, const vdm_loop *loop), void *user);

/* The default number of threads: OMP_NUM_THREADS, but at most one for each processor that this process may use (its
 * affinity) and that the quota of its control group allows; 1 without threads. */
int vdm_default_threads(void);

/* The processors that the quota of a Linux control group allows, rounded up; 0 if there is no quota.
 * groups: /proc/self/cgroup; root: /sys/fs/cgroup, version 1 or 2. The smallest quota on the way up to the root
 * counts. */
int vdm_quota_processors(const char *groups, const char *root);

/* Bytes of memory that this process may use: the machine's, or its control group's limit; 0: unknown. The second: the
 * groups' alone, 0 if there is no limit. */
double vdm_memory_limit(void);
double vdm_quota_memory(const char *groups, const char *root);

#endif
