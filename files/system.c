/* The machine under the library: errors, memory, files, the clock, and the choice of kernels.
 *
 * Traps
 *   A file that is written in place and interrupted leaves half a file under a good name. Here every
 *   file is written beside its name, synced and renamed; the folder is synced too, or the new name
 *   itself may be lost with the power.
 *   A processor that has AVX-512 is not enough: the system must save its registers. The compilers'
 *   __builtin_cpu_supports asks for both. AMX's tiles the system gives to processes that ask, which then may
 *   have no small stacks for signals: so nobody asks for a set that is not about to be used.
 * This is the only file outside simd.h that knows the names of instruction sets. */
#define _DEFAULT_SOURCE /* madvise */
#include "kernels.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#if defined(_OPENMP)
#include <omp.h>
#endif
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#ifdef VDM_HAS_avx512amx
#include <sys/syscall.h>
#endif

enum {
    ALIGNMENT = 64,       /* a cache line, and one 16-lane vector */
    LARGE_PAGE = 2 << 20, /* of most processors; no harm is done where it's another */
    MAX_THREADS = 1024    /* scratch memory grows with the threads */
};

/* ------------------------------------------------------------------------------------------------
 * Errors and memory */

void vdm_clean(char *text)
{
    for (int n; *text; text += n ? n : 1) {
        n = vdm_character(text);
        if (!n) *text = '?';
    }
}

/* Formats into memory of its own first: the arguments may be the old text of *err. */
int vdm_fail(vdm_error *err, const char *format, ...)
{
    if (!err) return -1;
    char text[sizeof err->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    vdm_clean(text);
    memcpy(err->text, text, sizeof text);
    return -1;
}

/* Large pages spare the processor most of its look-ups of addresses: attention is 4 % faster, a step of
 * learning 3 %. A wish, which the system may ignore. */
static void wish_for_large_pages(void *p, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    (void)madvise(p, bytes, MADV_HUGEPAGE);
#else
    (void)p, (void)bytes;
#endif
}

void *vdm_alloc(size_t count, size_t size, const char *what, vdm_error *err)
{
    void *p = NULL;
    if (size && count > SIZE_MAX / size) {
        vdm_fail(err, "%s: %zu x %zu bytes is more than an address can count", what, count, size);
        return NULL;
    }
    size_t bytes = count * size;
    if (bytes == 0) bytes = 1;
    bool large = bytes >= LARGE_PAGE;
    if (posix_memalign(&p, large ? LARGE_PAGE : ALIGNMENT, bytes) != 0) {
        vdm_fail(err, "%s: no memory for %zu bytes", what, bytes);
        return NULL;
    }
    if (large) wish_for_large_pages(p, bytes);
    return memset(p, 0, bytes);
}

void vdm_free(void *p)
{
    free(p);
}

/* ------------------------------------------------------------------------------------------------
 * Files */

char *vdm_path(const char *a, const char *b, vdm_error *err)
{
    size_t length = strlen(a), rest = strlen(b);
    bool slash = length == 0 || a[length - 1] != '/';
    char *path = vdm_alloc(length + slash + rest + 1, 1, "a path", err);
    if (!path) return NULL;
    memcpy(path, a, length);
    if (slash) path[length] = '/';
    memcpy(path + length + slash, b, rest + 1);
    return path;
}

/* Reads `size` bytes; -1 where the file ends before. read() may return less than was asked for. */
static int read_fully(int fd, char *to, size_t size)
{
    for (size_t done = 0; done < size;) {
        ssize_t n = read(fd, to + done, size - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return -1;
        done += (size_t)n;
    }
    return 0;
}

static int read_opened(int fd, const char *path, size_t limit, char **data, size_t *size, vdm_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) return vdm_fail(err, "%s: %s", path, strerror(errno));
    if (S_ISDIR(info.st_mode)) return vdm_fail(err, "%s: expected a file, found a folder", path);
    if (!S_ISREG(info.st_mode)) return vdm_fail(err, "%s: expected a regular file", path);
    if ((uintmax_t)info.st_size > limit)
        return vdm_fail(err, "%s: found %jd bytes, at most %zu are allowed", path, (intmax_t)info.st_size,
                        limit);
    *size = (size_t)info.st_size;
    *data = vdm_alloc(*size + 1, 1, path, err);
    if (!*data) return -1;
    if (read_fully(fd, *data, *size) == 0) return 0;
    vdm_free(*data);
    *data = NULL;
    return vdm_fail(err, "%s: the file could not be read to its end", path);
}

int vdm_read_file(const char *path, size_t limit, char **data, size_t *size, vdm_error *err)
{
    *data = NULL;
    *size = 0;
    int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC); /* a pipe must not hang the program */
    if (fd < 0) return vdm_fail(err, "%s: %s", path, strerror(errno));
    int status = read_opened(fd, path, limit, data, size, err);
    close(fd);
    return status;
}

/* "dir/name.PID.K.part": K counts on past the leftovers of a process that had the same number. */
static int open_beside(vdm_file *f, size_t room)
{
    for (int k = 0; k < 1000; k++) {
        snprintf(f->beside, room, "%s.%ld.%d.part", f->path, (long)getpid(), k);
        int fd = open(f->beside, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

static void file_release(vdm_file *f)
{
    vdm_free(f->path);
    vdm_free(f->beside);
    *f = (vdm_file){0};
}

int vdm_file_open(vdm_file *f, const char *path, vdm_error *err)
{
    *f = (vdm_file){0};
    struct stat info;
    if (!*path) return vdm_fail(err, "the name of a file to write is empty");
    /* a rename would put a file in the place of a device such as /dev/null */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return vdm_fail(err, "%s: %s, not a file that can be replaced", path,
                        S_ISDIR(info.st_mode) ? "is a folder" : "is a device or pipe");
    size_t length = strlen(path), room = length + 48;
    f->path = vdm_alloc(length + 1, 1, path, err);
    f->beside = f->path ? vdm_alloc(room, 1, path, err) : NULL;
    if (!f->beside) {
        file_release(f);
        return -1;
    }
    memcpy(f->path, path, length + 1);
    int fd = open_beside(f, room);
    f->stream = fd < 0 ? NULL : fdopen(fd, "w+b");
    if (f->stream) return 0;
    vdm_fail(err, "%s: can't be written: %s", path, strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(f->beside);
    }
    file_release(f);
    return -1;
}

/* Best effort: some file systems can't sync a folder. */
static void sync_folder_of(char *path)
{
    char *slash = strrchr(path, '/');
    if (slash == path) slash++;
    if (slash) *slash = 0;
    int fd = open(slash ? path : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

int vdm_file_commit(vdm_file *f, vdm_error *err)
{
    /* ferror: an earlier fwrite that nobody checked counts; fclose: the last bytes may fail (NFS) */
    bool written = !ferror(f->stream) && fflush(f->stream) == 0 && fsync(fileno(f->stream)) == 0;
    int why = errno;
    if (fclose(f->stream) != 0 && written) {
        written = false;
        why = errno;
    }
    if (written && rename(f->beside, f->path) != 0) {
        written = false;
        why = errno;
    }
    int status = 0;
    if (written) {
        sync_folder_of(f->path);
    } else {
        status = vdm_fail(err, "%s: can't be written: %s", f->path, strerror(why ? why : EIO));
        unlink(f->beside);
    }
    file_release(f);
    return status;
}

void vdm_file_abandon(vdm_file *f)
{
    if (!f->stream) return;
    fclose(f->stream);
    unlink(f->beside);
    file_release(f);
}

/* ------------------------------------------------------------------------------------------------
 * The processor and the clock */

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
/* Linux lets a process use the tiles, 8 KB of registers, once it has asked. */
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

/* VDM_ISA or the best one; NULL with a sentence where that name is unknown or can't run here. */
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
#define KNOWN_SETS "scalar, avx2, avx512, avx512bf16" AMX_SET
#elif defined(__aarch64__)
        {&vdm_kernels_neon, always},
#define KNOWN_SETS "scalar or neon"
#else
#define KNOWN_SETS "scalar"
#endif
        {&vdm_kernels_scalar, always},
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

bool vdm_has_openmp(void)
{
#if defined(_OPENMP)
    return true;
#else
    return false;
#endif
}

static int default_threads(void)
{
#if defined(_OPENMP)
    int threads = omp_get_max_threads(); /* OMP_NUM_THREADS, or the processors that we may use */
    return threads < 1 ? 1 : threads > MAX_THREADS ? MAX_THREADS : threads;
#else
    return 1;
#endif
}

int vdm_cpu_init(vdm_cpu *cpu, int threads, vdm_error *err)
{
    *cpu = (vdm_cpu){0};
    if (threads < 0 || threads > MAX_THREADS)
        return vdm_fail(err, "threads: found %d, expected 0 (one per core) to %d", threads, MAX_THREADS);
    cpu->kernels = choose_kernels(getenv("VDM_ISA"), err);
    if (!cpu->kernels) return -1;
    cpu->threads = threads && vdm_has_openmp() ? threads : default_threads();
    cpu->scratch =
        vdm_alloc(cpu->kernels->scratch_floats(cpu->threads), sizeof(float), "scratch memory", err);
    return cpu->scratch ? 0 : -1;
}

void vdm_cpu_free(vdm_cpu *cpu)
{
    vdm_free(cpu->scratch);
    *cpu = (vdm_cpu){0};
}

const char *vdm_cpu_name(const vdm_cpu *cpu)
{
    return cpu->kernels->name;
}

double vdm_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
