/* See memory_files.h. A few files, which are searched one by one. */
#include "tests/fuzz/memory_files.h"

#undef open
#undef close
#undef read
#undef fopen
#undef stat
#undef fstat
#undef access
#undef mmap
#undef munmap

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

enum { FILES = 16, OPENED = 64, FIRST_FD = 1 << 20 };
static struct memory_file {
    char path[128];
    char *data;
    size_t size;
} files[FILES]; /* data NULL: no file */
static struct opened {
    const struct memory_file *file;
    size_t at;
} opened[OPENED];

static bool is_memory(const char *path)
{
    return strncmp(path, VDM_MEMORY_FILES, sizeof VDM_MEMORY_FILES - 1) == 0;
}

static struct memory_file *find(const char *path)
{
    for (int i = 0; i < FILES; i++)
        if (files[i].data && strcmp(files[i].path, path) == 0) return &files[i];
    return NULL;
}

/* Some file lies below it. */
static bool is_folder(const char *path)
{
    size_t n = strlen(path);
    for (int i = 0; i < FILES; i++)
        if (files[i].data && strncmp(files[i].path, path, n) == 0 && files[i].path[n] == '/') return true;
    return false;
}

void memory_put(const char *path, const void *data, size_t size)
{
    struct memory_file *f = find(path);
    for (int i = 0; i < FILES && !f; i++)
        if (!files[i].data) f = &files[i];
    if (!f || strlen(path) >= sizeof f->path) abort();
    free(f->data);
    if (!(f->data = malloc(size + 1))) abort();
    if (size) memcpy(f->data, data, size);
    f->size = size;
    strcpy(f->path, path);
}

void memory_remove(const char *path)
{
    struct memory_file *f = find(path);
    if (!f) return;
    free(f->data);
    f->data = NULL;
}

int memory_open(const char *path, int flags, ...)
{
    va_list list;
    va_start(list, flags);
    mode_t mode = flags & O_CREAT ? va_arg(list, mode_t) : 0;
    va_end(list);
    if (!is_memory(path)) return open(path, flags, mode);
    const struct memory_file *f = find(path);
    errno = ENOENT;
    for (int i = 0; i < OPENED && f; i++) {
        if (opened[i].file) continue;
        opened[i] = (struct opened){f, 0};
        return FIRST_FD + i;
    }
    return -1;
}

int memory_close(int fd)
{
    if (fd < FIRST_FD) return close(fd);
    opened[fd - FIRST_FD].file = NULL;
    return 0;
}

ssize_t memory_read(int fd, void *to, size_t size)
{
    if (fd < FIRST_FD) return read(fd, to, size);
    struct opened *o = &opened[fd - FIRST_FD];
    size_t left = o->file->size - o->at, n = size < left ? size : left;
    memcpy(to, o->file->data + o->at, n);
    o->at += n;
    return (ssize_t)n;
}

FILE *memory_fopen(const char *path, const char *mode)
{
    if (!is_memory(path)) return fopen(path, mode);
    struct memory_file *f = find(path);
    errno = ENOENT;
    return f ? fmemopen(f->data, f->size, mode) : NULL;
}

static int describe(struct stat *info, const struct memory_file *f, const char *path)
{
    *info = (struct stat){0};
    if (f) {
        info->st_mode = S_IFREG | 0644;
        info->st_size = (off_t)f->size;
        info->st_ino = (ino_t)(1 + (f - files));
        return 0;
    }
    info->st_mode = S_IFDIR | 0755;
    errno = ENOENT;
    return path && is_folder(path) ? 0 : -1;
}

int memory_stat(const char *path, struct stat *info)
{
    return is_memory(path) ? describe(info, find(path), path) : stat(path, info);
}

int memory_fstat(int fd, struct stat *info)
{
    return fd < FIRST_FD ? fstat(fd, info) : describe(info, opened[fd - FIRST_FD].file, NULL);
}

int memory_access(const char *path, int mode)
{
    struct stat info;
    return is_memory(path) ? memory_stat(path, &info) : access(path, mode);
}

/* A copy, of the system's files too. */
void *memory_map(void *at, size_t size, int protection, int flags, int fd, off_t offset)
{
    (void)at, (void)protection, (void)flags;
    char *copy = malloc(size);
    if (!copy || offset) return MAP_FAILED;
    if (fd < FIRST_FD) {
        for (size_t done = 0; done < size;) {
            ssize_t n = pread(fd, copy + done, size - done, (off_t)done);
            if (n <= 0) abort();
            done += (size_t)n;
        }
        return copy;
    }
    const struct memory_file *f = opened[fd - FIRST_FD].file;
    if (size > f->size) abort();
    return memcpy(copy, f->data, size);
}

int memory_unmap(void *base, size_t size)
{
    (void)size;
    free(base);
    return 0;
}
