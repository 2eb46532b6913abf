/* A whole file mapped to be read: see ../posix.h. */
#ifndef VDM_WINDOWS_MMAN_H
#define VDM_WINDOWS_MMAN_H
#include <stddef.h>
enum { PROT_READ = 1, MAP_PRIVATE = 2 };
#define MAP_FAILED ((void *)-1)
void *mmap(void *at, size_t size, int protection, int flags, int fd, long long offset);
int munmap(void *base, size_t size);
#endif
