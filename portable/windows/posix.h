/* The POSIX calls that vdm makes and mingw-w64's C library has not: included before everything else when the
 * compiler is mingw's (Makefile), so that no other file knows of Windows. */
#ifndef VDM_WINDOWS_POSIX_H
#define VDM_WINDOWS_POSIX_H

#include <direct.h>
#include <errno.h>
#include <fcntl.h>
#include <io.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Aligned memory needs its own free on Windows: all memory is allocated this way. */
#define malloc(bytes)                    _aligned_malloc(bytes, 16)
#define realloc(p, bytes)                _aligned_realloc(p, bytes, 16)
#define free(p)                          _aligned_free(p)
#define posix_memalign(to, align, bytes) ((*(to) = _aligned_malloc(bytes, align)) ? 0 : ENOMEM)

/* Files: bytes as they are, no line ends translated; a rename replaces an existing file. */
#define O_CLOEXEC             (_O_NOINHERIT | _O_BINARY)
#define O_NONBLOCK            0
#define O_DIRECTORY           0
#define fsync(fd)             _commit(fd)
#define sync()                ((void)0) /* Windows has none for all files */
#define mkdir(path, mode)     _mkdir(path)
#define lstat(path, info)     stat(path, info)
#define read(fd, to, bytes)   windows_read(fd, to, bytes) /* of standard input too: pictures come from it */
#define rename(from, to)      windows_rename(from, to)
#define readlink(path, to, n) (-1)
#define realpath(path, to)    windows_realpath(path)
ssize_t windows_read(int fd, void *to, size_t bytes);
int windows_rename(const char *from, const char *to);
char *windows_realpath(const char *path);
char *mkdtemp(char *path);
int setenv(const char *name, const char *value, int replace);
int unsetenv(const char *name);

/* Streams into memory, each of one thread. */
FILE *open_memstream(char **text, size_t *size);
int windows_fflush(FILE *f);
int windows_fclose(FILE *f);
#define fflush(f) windows_fflush(f)
#define fclose(f) windows_fclose(f)

/* Threads */
#define _SC_NPROCESSORS_ONLN 0 /* the one thing that is asked for */
#define sysconf(name)        pthread_num_processors_np()

/* Signals */
typedef int sigset_t; /* of threads: there are none to be blocked */
#define sigfillset(set) (*(set) = 0)
#undef pthread_sigmask
#define pthread_sigmask(how, set, before) ((void)(set), (void)(before))
#define SA_RESETHAND                      0
struct sigaction {
    void (*sa_handler)(int);
    int sa_flags;
};
#define sigaction(number, action, old) signal(number, (action)->sa_handler)

#endif
