/* The choice of kernels: which instruction sets this processor has, and the one that a computation uses.
 *
 * Traps
 *   The processor's AVX-512 is not enough: the system must save its registers too. The compilers'
 *   __builtin_cpu_supports checks both. A process has to request AMX's tiles from the system, and must not have small
 *   signal stacks afterwards: they are requested only if that set is about to be used.
 * This is the only file outside vector.h that knows the names of instruction sets. */
#define _DEFAULT_SOURCE /* syscall */
#include "kernels/kernels.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#ifdef VDM_HAS_avx512amx
#include <sys/syscall.h>
#endif

enum { MAX_THREADS = 1024 /* scratch memory grows with the threads */ };

#if defined(__x86_64__)
static bool has_avx2(void)
{
    unsigned eax, ebx, ecx, edx;
    if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx)) return false;
    bool f16c = ecx & (1u << 29); /* not every compiler's builtin knows it */
    return f16c && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

#ifdef VDM_HAS_avx512bf16
static bool has_avx512bf16(void)
{
    return has_avx512() && __builtin_cpu_supports("avx512bf16");
}
#endif

#ifdef VDM_HAS_avx512amx
/* Requests the use of the tiles, 8 KB of registers, from Linux. */
static bool has_avx512amx(void)
{
    const unsigned AMX_BF16 = 1u << 22, AMX_TILE = 1u << 24;
    const int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
    unsigned eax, ebx, ecx, edx;
    if (!has_avx512bf16() || !__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
    return edx & AMX_BF16 && edx & AMX_TILE &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}
#endif
#endif

static bool always(void)
{
    return true;
}

/* The set that VDM_ISA names, or the best one; NULL and a message if the name is unknown or the set can't run here. */
static const vdm_kernels *choose_kernels(const char *wanted, vdm_error *err)
{
    static const struct {
        const vdm_kernels *table;
        bool (*runs)(void);
    } sets[] = {
#if defined(__x86_64__)
#ifdef VDM_HAS_avx512amx
        {&vdm_kernels_avx512amx, has_avx512amx},
#define AMX_SET ", avx512amx"
#else
#define AMX_SET ""
#endif
#ifdef VDM_HAS_avx512bf16
        {&vdm_kernels_avx512bf16, has_avx512bf16},
#endif
        {&vdm_kernels_avx512, has_avx512},
        {&vdm_kernels_avx2, has_avx2},
#define KNOWN_SETS "plain, scalar, avx2, avx512, avx512bf16" AMX_SET
#elif defined(__aarch64__)
        {&vdm_kernels_neon, always},
#define KNOWN_SETS "plain, scalar or neon"
#else
#define KNOWN_SETS "plain or scalar"
#endif
        {&vdm_kernels_scalar, always},
        {&vdm_kernels_plain, always}, /* only if VDM_ISA names it */
    };
    bool any = !wanted || !*wanted;
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        if (any ? sets[i].runs() : strcmp(wanted, sets[i].table->name) == 0) {
            if (any || sets[i].runs()) return sets[i].table;
            vdm_fail(err, "VDM_ISA: this processor can't run '%s'", wanted);
            return NULL;
        }
    }
    vdm_fail(err, "VDM_ISA: unknown instruction set '%s'; expected " KNOWN_SETS, wanted);
    return NULL;
}

bool vdm_has_threads(void)
{
#ifdef VDM_THREADS
    return true;
#else
    return false;
#endif
}

static int default_threads(void)
{
    int threads = vdm_default_threads();
    return threads > MAX_THREADS ? MAX_THREADS : threads;
}

int vdm_cpu_init(vdm_cpu *cpu, int threads, vdm_error *err)
{
    *cpu = (vdm_cpu){0};
    if (threads < 0 || threads > MAX_THREADS)
        return vdm_fail(err, "threads: found %d, expected 0 (one per core) to %d", threads, MAX_THREADS);
    cpu->kernels = choose_kernels(getenv("VDM_ISA"), err);
    if (!cpu->kernels) return -1;
    cpu->threads = threads && vdm_has_threads() ? threads : default_threads();
    if (cpu->kernels == &vdm_kernels_plain) cpu->threads = 1;
    cpu->scratch =
        vdm_alloc(cpu->kernels->scratch_floats(cpu->threads), sizeof(float), "scratch memory", err);
    if (!cpu->scratch) return -1;
    cpu->team = vdm_team_new(cpu->threads);
    return cpu->team ? 0 : vdm_fail(err, "no memory for %d threads", cpu->threads);
}

void vdm_cpu_free(vdm_cpu *cpu)
{
    vdm_team_free(cpu->team);
    vdm_free(cpu->scratch);
    *cpu = (vdm_cpu){0};
}

const char *vdm_cpu_name(const vdm_cpu *cpu)
{
    return cpu->kernels->name;
}
