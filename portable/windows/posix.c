/* See posix.h. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdbool.h>
#include "sys/mman.h"

int windows_rename(const char *from, const char *to)
{
    if (MoveFileExA(from, to, MOVEFILE_REPLACE_EXISTING)) return 0;
    errno = EACCES;
    return -1;
}

char *windows_realpath(const char *path)
{
    char *full = malloc(MAX_PATH);
    if (full && _fullpath(full, path, MAX_PATH)) return full;
    free(full);
    return NULL;
}

char *mkdtemp(char *path)
{
    return _mktemp(path) && _mkdir(path) == 0 ? path : NULL;
}

int setenv(const char *name, const char *value, int replace)
{
    (void)replace;
    return _putenv_s(name, value);
}

int unsetenv(const char *name)
{
    return _putenv_s(name, "");
}

/* While it is mapped, the file can't be renamed or removed, like any open file. */
void *mmap(void *at, size_t size, int protection, int flags, int fd, long long offset)
{
    (void)at, (void)protection, (void)flags, (void)size, (void)offset;
    HANDLE mapping = CreateFileMappingA((HANDLE)_get_osfhandle(fd), NULL, PAGE_READONLY, 0, 0, NULL);
    void *base = mapping ? MapViewOfFile(mapping, FILE_MAP_READ, 0, 0, 0) : NULL;
    if (mapping) CloseHandle(mapping); /* the view keeps it */
    if (base) return base;
    errno = ENOMEM;
    return MAP_FAILED;
}

int munmap(void *base, size_t size)
{
    (void)size;
    return UnmapViewOfFile(base) ? 0 : -1;
}

static _Thread_local struct {
    FILE *stream;
    char **text;
    size_t *size;
} memory;

/* A temporary file, which is read when the stream is closed. */
FILE *open_memstream(char **text, size_t *size)
{
    memory.stream = tmpfile();
    memory.text = text;
    memory.size = size;
    return memory.stream;
}

#undef fclose
int windows_fclose(FILE *f)
{
    if (f != memory.stream) return fclose(f);
    long size = ftell(f);
    *memory.text = size < 0 ? NULL : malloc((size_t)size + 1);
    rewind(f);
    bool whole = *memory.text && fread(*memory.text, 1, (size_t)size, f) == (size_t)size;
    if (whole) (*memory.text)[size] = 0;
    *memory.size = (size_t)size;
    memory.stream = NULL;
    return fclose(f) == 0 && whole ? 0 : EOF;
}
