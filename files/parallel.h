/* Threads: PARALLEL_FOR(n) before a loop splits its iterations evenly over n threads; without OpenMP the loop runs in
 * order. The one way in which vdm does this. Threads split outputs only, so their number changes no bit. */
#ifndef VDM_PARALLEL_H
#define VDM_PARALLEL_H

#ifdef _OPENMP
#define OMP(directive) _Pragma(#directive)
#define PARALLEL_FOR(threads) OMP(omp parallel for num_threads(threads) schedule(static))
#else
#define OMP(directive)
#define PARALLEL_FOR(threads) (void)(threads);
#endif

/* The threads that a computation uses where nobody asks for a number: OMP_NUM_THREADS, at most one for each processor
 * that this process may use (its affinity) and for each that its control group has time for; 1 without OpenMP */
int vdm_default_threads(void);

/* The processors for whose time the quota of a control group of Linux pays, rounded up; 0 where there is no quota.
 * groups: /proc/self/cgroup; root: /sys/fs/cgroup, version 1 or 2. The smallest quota on the way up to the root counts. */
int vdm_quota_processors(const char *groups, const char *root);

#endif
