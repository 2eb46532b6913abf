/* A library that is preloaded into the program (LD_PRELOAD; Linux with glibc) and lets one call fail:
 *
 *   FAULT="malloc 12"       the 12th call of its kind: malloc, write, sync, rename, close or open
 *   FAULT_REPORT=FILE       what was counted, written at the end: "malloc 107 write 9 ... live 3"
 *
 * A write fails as on a full disk: the descriptor becomes /dev/full, so that data buffered by stdio fails later, when
 * it is flushed. If a request of the C library for memory fails, later requests fail as well, for example when a stream
 * in memory grows by one more byte: nothing was freed. `live` is the number of blocks that were not freed. Calls from
 * the loader never fail. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

enum kind { MALLOC, WRITE, SYNC, RENAME, CLOSE, OPEN, KINDS };
static const char *const kind_names[] = {"malloc", "write", "sync", "rename", "close", "open"};
static long counts[KINDS], fail_at;
static enum kind fail_kind = KINDS;
static bool begun;
/* Code whose calls never fail: the loader; and the C library's code. */
static struct code {
    uintptr_t at[16][2];
    int n;
} let_through, libc;
static size_t libc_limit = SIZE_MAX; /* it gets less memory than this */

static bool is_of(const struct code *c, const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    for (int i = 0; i < c->n; i++)
        if (at >= c->at[i][0] && at < c->at[i][1]) return true;
    return false;
}

/* The real function of this name, or the variable that holds it. */
#define REAL(type, name, arguments) \
    static type(*real) arguments;   \
    if (!real) *(void **)&real = dlsym(RTLD_NEXT, #name)

static int note_library(struct dl_phdr_info *info, size_t size, void *user)
{
    (void)size, (void)user;
    const char *name = info->dlpi_name;
    bool loader = strstr(name, "ld-linux") != NULL;
    struct code *c = loader ? &let_through : &libc;
    if (!loader && !strstr(name, "libc.so")) return 0;
    for (int i = 0; i < info->dlpi_phnum && c->n < 16; i++, c->n++) {
        c->at[c->n][0] = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        c->at[c->n][1] = c->at[c->n][0] + info->dlpi_phdr[i].p_memsz;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *fault = getenv("FAULT");
    dl_iterate_phdr(note_library, NULL);
    for (int k = 0; fault && k < KINDS; k++) {
        size_t n = strlen(kind_names[k]);
        if (strncmp(fault, kind_names[k], n) == 0 && fault[n] == ' ') {
            fail_kind = (enum kind)k;
            fail_at = atol(fault + n);
        }
    }
    unsetenv("LD_PRELOAD");
    begun = true;
}

/* Counts a call; returns whether it is the one that fails. */
static bool fails(enum kind kind, const void *caller)
{
    if (!begun || is_of(&let_through, caller)) return false;
    return __sync_add_and_fetch(&counts[kind], 1) == fail_at && kind == fail_kind;
}
#define FAILS(kind) fails(kind, __builtin_return_address(0))

/* ------------------------------------------------------------------------------------------------
 * Memory. A table holds the addresses of the live blocks. */

enum { SLOTS = 1 << 18 };
static void *slots[SLOTS];
static long live;

static size_t slot_of(const void *p)
{
    return (size_t)(((uintptr_t)p >> 4) * UINT64_C(0x9E3779B97F4A7C15) >> 40) % SLOTS;
}

static void *note_block(void *p)
{
    if (!begun || !p) return p;
    for (size_t i = slot_of(p);; i = (i + 1) % SLOTS)
        if (__sync_bool_compare_and_swap(&slots[i], NULL, p) ||
            __sync_bool_compare_and_swap(&slots[i], (void *)1, p))
            break;
    __sync_add_and_fetch(&live, 1);
    return p;
}

static void forget_block(void *p)
{
    if (!p) return;
    for (size_t i = slot_of(p); slots[i]; i = (i + 1) % SLOTS)
        if (slots[i] == p) {
            slots[i] = (void *)1; /* was used: a search goes past it */
            __sync_sub_and_fetch(&live, 1);
            return;
        }
}

static bool no_memory_for(size_t size, const void *caller)
{
    bool by_libc = is_of(&libc, caller), failed = fails(MALLOC, caller);
    if (failed && by_libc) libc_limit = size;
    return failed || (by_libc && size >= libc_limit);
}
#define NO_MEMORY_FOR(size) no_memory_for(size, __builtin_return_address(0))

static void *no_memory(void)
{
    errno = ENOMEM;
    return NULL;
}

void *malloc(size_t size)
{
    return NO_MEMORY_FOR(size) ? no_memory() : note_block(__libc_malloc(size));
}
void *calloc(size_t n, size_t size)
{
    return NO_MEMORY_FOR(n * size) ? no_memory() : note_block(__libc_calloc(n, size));
}
void *realloc(void *old, size_t size)
{
    if (NO_MEMORY_FOR(size)) return no_memory();
    forget_block(old);
    return note_block(__libc_realloc(old, size));
}
int posix_memalign(void **to, size_t alignment, size_t size)
{
    if (NO_MEMORY_FOR(size)) return ENOMEM;
    *to = note_block(__libc_memalign(alignment, size));
    return *to ? 0 : ENOMEM;
}
void free(void *p)
{
    forget_block(p);
    __libc_free(p);
}

/* ------------------------------------------------------------------------------------------------
 * Files. Descriptors 0 to 2 are not files of the program's. */

static void fill_disk_of(int fd)
{
    int full = open("/dev/full", O_RDWR);
    dup2(full, fd);
    REAL(int, close, (int));
    real(full);
}

static int fault(void)
{
    errno = EIO;
    return -1;
}

size_t fwrite(const void *data, size_t size, size_t n, FILE *f)
{
    REAL(size_t, fwrite, (const void *, size_t, size_t, FILE *));
    if (fileno(f) > 2 && FAILS(WRITE)) fill_disk_of(fileno(f));
    return real(data, size, n, f);
}
int fflush(FILE *f)
{
    REAL(int, fflush, (FILE *));
    if (f && fileno(f) > 2 && FAILS(WRITE)) fill_disk_of(fileno(f));
    return real(f);
}
ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, write, (int, const void *, size_t));
    if (fd > 2 && FAILS(WRITE)) fill_disk_of(fd);
    return real(fd, data, size);
}
int ftruncate64(int fd, off64_t size)
{
    REAL(int, ftruncate64, (int, off64_t));
    return FAILS(WRITE) ? fault() : real(fd, size);
}

int fsync(int fd)
{
    REAL(int, fsync, (int));
    return FAILS(SYNC) ? fault() : real(fd);
}
int syncfs(int fd)
{
    REAL(int, syncfs, (int));
    return FAILS(SYNC) ? fault() : real(fd);
}
int rename(const char *from, const char *to)
{
    REAL(int, rename, (const char *, const char *));
    return FAILS(RENAME) ? fault() : real(from, to);
}

/* They fail after the work is done, as on a network file system. */
int close(int fd)
{
    REAL(int, close, (int));
    bool failed = FAILS(CLOSE);
    int status = real(fd);
    return failed ? fault() : status;
}
int fclose(FILE *f)
{
    REAL(int, fclose, (FILE *));
    bool failed = fileno(f) > 2 && FAILS(CLOSE);
    int status = real(f);
    return failed ? fault() : status;
}

int open64(const char *path, int flags, ...)
{
    REAL(int, open64, (const char *, int, ...));
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    return FAILS(OPEN) ? fault() : real(path, flags, mode);
}
FILE *fopen64(const char *path, const char *mode)
{
    REAL(FILE *, fopen64, (const char *, const char *));
    return FAILS(OPEN) ? (fault(), NULL) : real(path, mode);
}
DIR *opendir(const char *path)
{
    REAL(DIR *, opendir, (const char *));
    return FAILS(OPEN) ? (fault(), NULL) : real(path);
}
int mkdir(const char *path, mode_t mode)
{
    REAL(int, mkdir, (const char *, mode_t));
    return FAILS(OPEN) ? fault() : real(path, mode);
}

/* ------------------------------------------------------------------------------------------------ */

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("FAULT_REPORT");
    char text[256];
    long blocks = live;
    begun = false;
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666) : -1, n = 0;
    if (fd < 0) return;
    for (int k = 0; k < KINDS; k++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%s %ld ", kind_names[k], counts[k]);
    n += snprintf(text + n, sizeof text - (size_t)n, "live %ld\n", blocks);
    if (write(fd, text, (size_t)n) < 0) perror(path);
    close(fd);
}
