/* Threads. A loop whose pieces depend on nothing of each other is run by a team: the thread that asks for it, and others
 * that wait for such loops. The one way in which vdm does this. Threads split outputs only, so their number, and which of
 * them takes which piece, changes no bit.
 *
 * Whoever has nothing to do takes the next piece. So on a machine that others use a thread that the system has put off
 * holds nothing up: the others, at the least the one that asked, do its pieces. Who waits looks for a few dozen
 * microseconds, about what it takes to wake a thread, and then sleeps. */
#ifndef VDM_PARALLEL_H
#define VDM_PARALLEL_H

#include <stdbool.h>
#include <stdint.h>

typedef struct vdm_team vdm_team;
enum { VDM_MAX_CHAINED = 1 << 14 }; /* pieces of a chained loop */

/* Pieces 0 ... pieces - 1, taken in this order. run gets what is worked on, a piece, and the number of the thread, below
 * the team's: of two pieces at the same time it differs. */
typedef struct vdm_loop {
    int pieces;
    void (*run)(const void *of, int piece, int thread);
    const void *of;
    double (*work)(const void *of, int piece); /* of a piece, in multiply-adds: for vdm bench --plan */
    bool chained;                              /* pieces may wait for earlier ones: vdm_team_await */
} vdm_loop;

/* n items of equal work in so many pieces, each a range of them: items first ... end - 1 */
typedef struct vdm_items {
    int64_t n;
    int pieces;
    void (*run)(const void *of, int64_t first, int64_t end);
    const void *of;
    double work; /* of an item */
} vdm_items;

/* A team of so many threads; fewer where the system has no more. NULL: no memory. */
vdm_team *vdm_team_new(int threads);
void vdm_team_free(vdm_team *t);
/* Return when all is done. t may be NULL: the caller alone. */
void vdm_team_run(vdm_team *t, const vdm_loop *loop);
void vdm_team_run_items(vdm_team *t, const vdm_items *items);

/* Of a chained loop: a piece says how far it is; another one, taken later, waits until it is as far. */
void vdm_team_reach(vdm_team *t, int piece, int steps);
void vdm_team_await(vdm_team *t, int piece, int steps);

/* Shows every loop to `see` instead of running it; NULL: no more. see may run its pieces, as thread 0. */
void vdm_team_watch(vdm_team *t, void (*see)(void *user, const vdm_loop *loop), void *user);

/* The threads that a computation uses where nobody asks for a number: OMP_NUM_THREADS, at most one for each processor
 * that this process may use (its affinity) and for each that its control group has time for; 1 without threads */
int vdm_default_threads(void);

/* The processors for whose time the quota of a control group of Linux pays, rounded up; 0 where there is no quota.
 * groups: /proc/self/cgroup; root: /sys/fs/cgroup, version 1 or 2. The smallest quota on the way up to the root counts. */
int vdm_quota_processors(const char *groups, const char *root);

/* Bytes of memory that this process may use: the machine's, or its control group's limit; 0: unknown. The second: the
 * groups' alone, 0 if there is no limit. */
double vdm_memory_limit(void);
double vdm_quota_memory(const char *groups, const char *root);

#endif
