/* Files in memory, for the fuzzers alone: in their build this is included before everything else (Makefile), so that no
 * reader knows of it. A path that begins with "memory:" is a file of memory_put; all others are the system's.
 *
 * A fuzzer executes ten times as often as with temporary files, and what maps a file gets a block of exactly its size:
 * a read past its end, which the rest of a mapped page would hide, is found by the address sanitizer. */
#ifndef VDM_MEMORY_FILES_H
#define VDM_MEMORY_FILES_H

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define VDM_MEMORY_FILES "memory:"

/* A copy of the bytes; a file of that name is replaced. */
void memory_put(const char *path, const void *data, size_t size);
void memory_remove(const char *path);

int memory_open(const char *path, int flags, ...);
int memory_close(int fd);
ssize_t memory_read(int fd, void *to, size_t size);
FILE *memory_fopen(const char *path, const char *mode);
int memory_stat(const char *path, struct stat *info);
int memory_fstat(int fd, struct stat *info);
int memory_access(const char *path, int mode);
void *memory_map(void *at, size_t size, int protection, int flags, int fd, off_t offset);
int memory_unmap(void *base, size_t size);

#define open(...)                                     memory_open(__VA_ARGS__)
#define close(fd)                                     memory_close(fd)
#define read(fd, to, size)                            memory_read(fd, to, size)
#define fopen(path, mode)                             memory_fopen(path, mode)
#define stat(path, info)                              memory_stat(path, info)
#define fstat(fd, info)                               memory_fstat(fd, info)
#define access(path, mode)                            memory_access(path, mode)
#define mmap(at, size, protection, flags, fd, offset) memory_map(at, size, protection, flags, fd, offset)
#define munmap(base, size)                            memory_unmap(base, size)

#endif
