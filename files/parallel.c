/* How many threads: what the system lets this process use.
 *
 *   version 2, ROOT/GROUP/cpu.max:                      "150000 100000" microseconds of a period, or "max 100000"
 *   version 1, ROOT/cpu/GROUP/cpu.cfs_quota_us, cpu.cfs_period_us:      "150000", "100000"; no quota: "-1"
 *
 * Trap: with 64 processors and a quota of 2, 64 threads use up a period's quota in a thirtieth of it, then all of them
 * stand still until the next one. */
#include "files/parallel.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#if defined(_OPENMP)
#include <omp.h>
#endif

enum { PATH_BYTES = 4096 };

/* The number at the beginning of a file, and the one that follows; how many there are */
static int read_numbers(const char *path, double *first, double *second)
{
    FILE *f = fopen(path, "r");
    int n = f ? fscanf(f, "%lf %lf", first, second) : 0;
    if (f) fclose(f);
    return n < 0 ? 0 : n;
}

/* quota / period of one group, 0 where it has none */
static double share_of(const char *folder, bool v2)
{
    char path[PATH_BYTES + 32];
    double quota = 0, period = 0;
    snprintf(path, sizeof path, "%s/%s", folder, v2 ? "cpu.max" : "cpu.cfs_quota_us");
    int n = read_numbers(path, &quota, &period);
    if (!v2 && n == 1) {
        snprintf(path, sizeof path, "%s/cpu.cfs_period_us", folder);
        n += read_numbers(path, &period, &period);
    }
    return n == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

/* Is `name` one of the names in the list "cpu,cpuacct"? */
static bool lists(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (; list; list = strchr(list, ','), list += list != NULL)
        if (strncmp(list, name, n) == 0 && (list[n] == ',' || list[n] == '\0')) return true;
    return false;
}

int vdm_quota_processors(const char *groups, const char *root)
{
    char line[PATH_BYTES];
    double min = 0;
    FILE *f = fopen(groups, "r");
    while (f &&
           fgets(line, sizeof line, f)) { /* NUMBER:CONTROLLERS:/GROUP, without controllers in version 2 */
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        *controllers++ = *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        bool v2 = *controllers == '\0';
        if (!v2 && !lists(controllers, "cpu")) continue;
        char folder[PATH_BYTES];
        size_t top = strlen(root) + (v2 ? 0 : strlen("/cpu"));
        if (snprintf(folder, sizeof folder, "%s%s%s", root, v2 ? "" : "/cpu", group) >= (int)sizeof folder)
            continue;
        for (char *end = folder + strlen(folder); end; end = strrchr(folder + top, '/')) {
            *end = '\0';
            double share = share_of(folder, v2);
            if (share > 0 && (min == 0 || share < min)) min = share;
        }
    }
    if (f) fclose(f);
    int whole = min < 1e6 ? (int)min : 1000000;
    return whole + (min > whole && whole < 1000000);
}

int vdm_default_threads(void)
{
#if defined(_OPENMP)
    int threads = omp_get_max_threads(), processors = omp_get_num_procs();
    int quota = vdm_quota_processors("/proc/self/cgroup", "/sys/fs/cgroup");
    if (threads > processors) threads = processors;
    if (quota && threads > quota) threads = quota;
    return threads < 1 ? 1 : threads;
#else
    return 1;
#endif
}
