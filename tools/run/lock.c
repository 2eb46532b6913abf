/* A lock on folder/lock, which the system releases when a process ends (fcntl).
 *
 * The holder removes the file. Trap: another process may have opened it before, and then locks a file that has no name
 * any more, while a third process makes a new one. So a process that gets a lock checks that the name still is that
 * file, and tries again if it isn't. */
#define _XOPEN_SOURCE 700
#include "tools/run/lock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A lock is an empty file: anything else of that name is a user's. */
static bool is_others(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && (!S_ISREG(st.st_mode) || st.st_size > 0);
}

/* 1: taken; 0: its file was removed meanwhile; -1: failed, errno is set. */
static int try_lock(lock *l)
{
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    struct stat mine, named;
    l->fd = open(l->path, O_RDWR | O_CREAT, 0666);
    if (l->fd < 0) return -1;
    int locked = fcntl(l->fd, F_SETLK, &whole), why = errno;
    bool same = !locked && fstat(l->fd, &mine) == 0 && stat(l->path, &named) == 0 &&
                mine.st_dev == named.st_dev && mine.st_ino == named.st_ino;
    if (same) return 1;
    close(l->fd);
    errno = why;
    return locked ? -1 : 0;
}

int lock_take(lock *l, const char *folder, const char *what, vdm_error *err)
{
    *l = (lock){.path = vdm_path(folder, "lock", err), .fd = -1};
    if (!l->path) return -1;
    int taken = 0;
    bool others = is_others(l->path);
    for (int i = 0; i < 100 && !taken && !others; i++) taken = try_lock(l);
    if (taken > 0) return 0;
    if (others)
        vdm_fail(
            err,
            "%s: expected vdm's lock, an empty file, or none, found another file; choose another folder, or move it",
            l->path);
    else if (taken == 0 || errno == EACCES || errno == EAGAIN)
        vdm_fail(err, "%s: another run is writing there", what);
    else
        vdm_fail(err, "%s: can't be locked: %s", l->path, strerror(errno));
    vdm_free(l->path);
    *l = (lock){0};
    return -1;
}

void lock_release(lock *l)
{
    if (!l->path) return;
    unlink(l->path);
    close(l->fd);
    vdm_free(l->path);
    *l = (lock){0};
}

/* "NAME.123.0.part" of one of the names */
static bool is_leftover(const char *file, const char *const *names, int n)
{
    for (int i = 0; i < n; i++) {
        size_t length = strlen(names[i]);
        if (strncmp(file, names[i], length) != 0) continue;
        const char *rest = file + length;
        size_t digits = strspn(rest, ".0123456789");
        if (*rest == '.' && digits > 3 && strcmp(rest + digits, "part") == 0) return true;
    }
    return false;
}

void remove_leftovers(const char *folder, const char *const *names, int n)
{
    vdm_error err;
    DIR *d = opendir(folder);
    for (const struct dirent *e; d && (e = readdir(d));) {
        char *path = is_leftover(e->d_name, names, n) ? vdm_path(folder, e->d_name, &err) : NULL;
        if (path) unlink(path);
        vdm_free(path);
    }
    if (d) closedir(d);
}
