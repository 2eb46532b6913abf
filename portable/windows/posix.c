/* See posix.h. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdbool.h>
#include "sys/mman.h"

ssize_t windows_read(int fd, void *to, size_t bytes)
{
    _setmode(fd, _O_BINARY);
    return _read(fd, to, bytes < 1 << 30 ? (unsigned)bytes : 1u << 30);
}

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

/* Streams into memory: temporary files, which are read when they are flushed and when they are closed. */
static _Thread_local struct memory {
    FILE *stream;
    char **text;
    size_t *size;
    struct memory *next;
} * memories;

#undef fclose
#undef fflush
FILE *open_memstream(char **text, size_t *size)
{
    char folder[MAX_PATH + 1], path[MAX_PATH + 1];
    struct memory *m = malloc(sizeof *m);
    bool named = m && GetTempPathA(sizeof folder, folder) && GetTempFileNameA(folder, "vdm", 0, path);
    FILE *f = named ? fopen(path, "w+bTD") : NULL; /* D: it is gone when it is closed */
    if (!f) {
        free(m);
        return NULL;
    }
    *m = (struct memory){f, text, size, memories};
    *text = NULL;
    *size = 0;
    memories = m;
    return f;
}

/* What was written so far, ended by a NUL -> *text */
static int take_memory(const struct memory *m)
{
    long size = fflush(m->stream) ? -1 : ftell(m->stream);
    char *text = size < 0 ? NULL : realloc(*m->text, (size_t)size + 1);
    if (!text) return EOF;
    *m->text = text;
    rewind(m->stream);
    *m->size = fread(text, 1, (size_t)size, m->stream);
    text[*m->size] = 0;
    bool whole = *m->size == (size_t)size;
    return fseek(m->stream, size, SEEK_SET) == 0 && whole ? 0 : EOF; /* writing continues at the end */
}

static struct memory **find_memory(const FILE *f)
{
    struct memory **m = &memories;
    while (*m && (*m)->stream != f) m = &(*m)->next;
    return m;
}

int windows_fflush(FILE *f)
{
    const struct memory *m = *find_memory(f);
    return m ? take_memory(m) : fflush(f);
}

int windows_fclose(FILE *f)
{
    struct memory **at = find_memory(f), *m = *at;
    if (!m) return fclose(f);
    int status = take_memory(m);
    *at = m->next;
    free(m);
    return fclose(f) == 0 ? status : EOF;
}
