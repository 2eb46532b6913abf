/* The system under the library: errors, memory, files, the clock.
 *
 * Traps
 *   If writing a file in place is interrupted, half a file is left under its name. Here every file is written under
 *   another name in the same folder, synced and renamed; the folder is synced too, or a power failure may lose the new
 *   name. */
#define _DEFAULT_SOURCE /* madvise */
#include "vdm_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum {
    ALIGNMENT = 64,      /* a cache line, and one 16-lane vector */
    LARGE_PAGE = 2 << 20 /* of most processors; harmless on others */
};

/* ------------------------------------------------------------------------------------------------
 * Errors and memory */

int vdm_utf8_length(const char *text, size_t size)
{
    const unsigned char *at = (const unsigned char *)text;
    unsigned char first = at[0], low = 0x80, high = 0xbf;
    size_t n = first < 0x80   ? 1
               : first < 0xc2 ? 0
               : first < 0xe0 ? 2
               : first < 0xf0 ? 3
               : first < 0xf5 ? 4
                              : 0;
    if (n == 0 || n > size) return 0;
    if (first == 0xe0) low = 0xa0;
    if (first == 0xed) high = 0x9f;
    if (first == 0xf0) low = 0x90;
    if (first == 0xf4) high = 0x8f;
    for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
        if (at[i] < low || at[i] > high) return 0;
    return (int)n;
}

/* Control characters are more than the first 32: U+009B of C1 begins a terminal's commands as ESC [ does, and U+202E, the
 * strongest of those that set a direction (U+202A to E, U+2066 to 9), prints what follows it backwards. */
int vdm_character(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    if (at[0] < 0x20 || at[0] == 0x7f || (at[0] == 0xc2 && at[1] < 0xa0)) return 0;
    if (at[0] == 0xe2 && at[1] == 0x80 && at[2] >= 0xaa && at[2] <= 0xae) return 0;
    if (at[0] == 0xe2 && at[1] == 0x81 && at[2] >= 0xa6 && at[2] <= 0xa9) return 0;
    return vdm_utf8_length(text, strnlen(text, 4));
}

void vdm_clean(char *text)
{
    for (int n; *text; text += n ? n : 1) {
        n = vdm_character(text);
        if (!n) *text = '?';
    }
}

/* Formats into its own memory first: the arguments may include the old text of *err. A message that is too long, with a
 * path of thousands of bytes, loses its middle: the fault is at its end. */
int vdm_fail(vdm_error *err, const char *format, ...)
{
    enum { SIZE = sizeof err->text, HEAD = SIZE / 3 };
    static const char gap[] = " ... ";
    if (!err) return -1;
    char text[8 * SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t length = strlen(text), tail = SIZE - 1 - HEAD - (sizeof gap - 1);
    if (length >= SIZE) {
        memcpy(text + HEAD, gap, sizeof gap - 1);
        memmove(text + HEAD + sizeof gap - 1, text + length - tail, tail + 1);
    }
    vdm_clean(text);
    memcpy(err->text, text, strlen(text) + 1);
    return -1;
}

/* Large pages save most address translations: attention is 4 % faster, a training step 3 %. The system may ignore the
 * request. */
static void request_large_pages(void *p, size_t bytes)
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
    if (large) request_large_pages(p, bytes);
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

char *vdm_copy_bytes(const char *text, size_t n, vdm_error *err)
{
    char *copy = vdm_alloc(n + 1, 1, "a text", err);
    if (copy && n) memcpy(copy, text, n);
    return copy;
}

char *vdm_copy_text(const char *text, vdm_error *err)
{
    return vdm_copy_bytes(text, strlen(text), err);
}

bool vdm_is_folder(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

/* Reads `size` bytes; -1 if the file ends before. read() may return less than was asked for. */
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

/* "dir/name.PID.K.part": K counts past leftovers of an earlier process with the same number. */
static int open_temporary(vdm_file *f, size_t capacity)
{
    for (int k = 0; k < 1000; k++) {
        snprintf(f->temporary, capacity, "%s.%ld.%d.part", f->path, (long)getpid(), k);
        int fd = open(f->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST) return fd;
    }
    return -1;
}

static void file_release(vdm_file *f)
{
    vdm_free(f->path);
    vdm_free(f->temporary);
    *f = (vdm_file){0};
}

int vdm_file_open(vdm_file *f, const char *path, vdm_error *err)
{
    *f = (vdm_file){0};
    struct stat info;
    if (!*path) return vdm_fail(err, "the name of a file to write is empty");
    /* a rename would replace a device such as /dev/null by a file */
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode))
        return vdm_fail(err, "%s: %s, not a file that can be replaced", path,
                        S_ISDIR(info.st_mode) ? "is a folder" : "is a device or pipe");
    size_t length = strlen(path), capacity = length + 48;
    f->path = vdm_alloc(length + 1, 1, path, err);
    f->temporary = f->path ? vdm_alloc(capacity, 1, path, err) : NULL;
    if (!f->temporary) {
        file_release(f);
        return -1;
    }
    memcpy(f->path, path, length + 1);
    int fd = open_temporary(f, capacity);
    f->stream = fd < 0 ? NULL : fdopen(fd, "w+b");
    if (f->stream) return 0;
    vdm_fail(err, "%s: can't be written: %s", path, strerror(errno));
    if (fd >= 0) {
        close(fd);
        unlink(f->temporary);
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
    if (written && rename(f->temporary, f->path) != 0) {
        written = false;
        why = errno;
    }
    int status = 0;
    if (written) {
        sync_folder_of(f->path);
    } else {
        status = vdm_fail(err, "%s: can't be written: %s", f->path, strerror(why ? why : EIO));
        unlink(f->temporary);
    }
    file_release(f);
    return status;
}

void vdm_file_abandon(vdm_file *f)
{
    if (!f->stream) return;
    fclose(f->stream);
    unlink(f->temporary);
    file_release(f);
}

bool vdm_memory_is_whole(FILE *f)
{
    return !ferror(f) && fputc('\0', f) != EOF && fflush(f) == 0;
}

int vdm_memory_close(FILE *f, char **text, size_t *size)
{
    bool whole = vdm_memory_is_whole(f);
    whole = fclose(f) == 0 && whole && *text; /* which glibc sets to NULL if it can't shrink the memory */
    if (whole) {
        *size -= 1;
        return 0;
    }
    free(*text);
    *text = NULL;
    return -1;
}

double vdm_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
