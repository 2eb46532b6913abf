/* What the system lets this process use: processors, memory.
 *
 *   version 2, ROOT/GROUP/cpu.max:                      "150000 100000" microseconds of a period, or "max 100000"
 *              ROOT/GROUP/memory.max:                   "8589934592" bytes, or "max"
 *   version 1, ROOT/cpu/GROUP/cpu.cfs_quota_us, cpu.cfs_period_us:      "150000", "100000"; no quota: "-1"
 *              ROOT/memory/GROUP/memory.limit_in_bytes:                 "8589934592"; no limit: nearly 2^63
 *
 * Trap: with 64 processors and a quota of 2, 64 threads use up a period's quota in a thirtieth of it, then all of them
 * stand still until the next one. */
#define _GNU_SOURCE /* sched_getaffinity */
#include "files/parallel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(VDM_THREADS) && defined(__linux__)
#include <sched.h>
#endif

enum { PATH_BYTES = 4096 };

/* The number at the beginning of a file, and the one that follows; how many there are */
static int read_numbers(const char *folder, const char *name, double *first, double *second)
{
    char path[PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "r");
    int n = f ? fscanf(f, "%lf %lf", first, second) : 0;
    if (f) fclose(f);
    return n < 0 ? 0 : n;
}

/* Of one group, 0 if it has none: processors, quota / period, and bytes */
static double processors_of(const char *folder, bool v2)
{
    double quota = 0, period = 0;
    int n = read_numbers(folder, v2 ? "cpu.max" : "cpu.cfs_quota_us", &quota, &period);
    if (!v2 && n == 1) n += read_numbers(folder, "cpu.cfs_period_us", &period, &period);
    return n == 2 && quota > 0 && period > 0 ? quota / period : 0;
}
static double bytes_of(const char *folder, bool v2)
{
    double bytes = 0, none = 0;
    int n = read_numbers(folder, v2 ? "memory.max" : "memory.limit_in_bytes", &bytes, &none);
    return n >= 1 && bytes < 0x1p60 ? bytes : 0;
}

/* Is `name` one of the names in the list "cpu,cpuacct"? */
static bool lists(const char *list, const char *name)
{
    size_t n = strlen(name);
    while (strncmp(list, name, n) != 0 || (list[n] != ',' && list[n] != '\0')) {
        list = strchr(list, ',');
        if (!list) return false;
        list++;
    }
    return true;
}

/* The smallest limit on the way from a group to the root, of the groups in a file as /proc/self/cgroup */
static double smallest(const char *groups, const char *root, const char *controller,
                       double (*limit_of)(const char *folder, bool v2))
{
    char line[PATH_BYTES], folder[PATH_BYTES];
    double min = 0;
    FILE *f = fopen(groups, "r");
    while (f &&
           fgets(line, sizeof line, f)) { /* NUMBER:CONTROLLERS:/GROUP, without controllers in version 2 */
        char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;
        if (!group) continue;
        *list++ = *group++ = '\0';
        group[strcspn(group, "\n")] = '\0';
        bool v2 = *list == '\0';
        if (!v2 && !lists(list, controller)) continue;
        size_t top = strlen(root) + (v2 ? 0 : 1 + strlen(controller));
        if (snprintf(folder, sizeof folder, "%s%s%s%s", root, v2 ? "" : "/", v2 ? "" : controller, group) >=
            (int)sizeof folder)
            continue;
        for (char *end = folder + strlen(folder); end; end = strrchr(folder + top, '/')) {
            *end = '\0';
            double limit = limit_of(folder, v2);
            if (limit > 0 && (min == 0 || limit < min)) min = limit;
        }
    }
    if (f) fclose(f);
    return min;
}

int vdm_quota_processors(const char *groups, const char *root)
{
    double min = smallest(groups, root, "cpu", processors_of);
    int whole = min < 1e6 ? (int)min : 1000000;
    return whole + (min > whole && whole < 1000000);
}

double vdm_quota_memory(const char *groups, const char *root)
{
    return smallest(groups, root, "memory", bytes_of);
}

double vdm_memory_limit(void)
{
    double limit = vdm_quota_memory("/proc/self/cgroup", "/sys/fs/cgroup"), all = 0;
#ifdef _SC_PHYS_PAGES
    all = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
#endif
    return limit > 0 && (limit < all || all <= 0) ? limit : all > 0 ? all : 0;
}

/* Those that this process may use */
static int processors(void)
{
#ifndef VDM_THREADS
    return 1;
#else
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    return (int)sysconf(_SC_NPROCESSORS_ONLN);
#endif
}

int vdm_default_threads(void)
{
    const char *wish = getenv("OMP_NUM_THREADS"); /* the name that other programs know, too */
    long wanted = wish ? strtol(wish, NULL, 10) : 0;
    int threads = processors(), quota = vdm_quota_processors("/proc/self/cgroup", "/sys/fs/cgroup");
    if (quota && threads > quota) threads = quota;
    if (wanted > 0 && threads > wanted) threads = (int)wanted;
    return threads < 1 ? 1 : threads;
}
