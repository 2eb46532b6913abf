/* One run at a time: processes that take and release a lock again and again never hold it together. */
#include "check.h"
#include "tools/run/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PROCESSES = 3, TIMES = 1000, SECONDS = 60 };
enum { FINE, TOGETHER, WRONG_SENTENCE, NEVER };

/* The holder makes a file, which must not be there. */
static int hold(const char *inside)
{
    const struct timespec pause = {0, 1};
    int fd = open(inside, O_WRONLY | O_CREAT | O_EXCL, 0666);
    if (fd < 0) return TOGETHER;
    close(fd);
    nanosleep(&pause, NULL); /* lets another process run */
    return unlink(inside) ? TOGETHER : FINE;
}

/* Until it held the lock TIMES times, or for SECONDS. */
static int take_often(const char *folder, const char *inside)
{
    vdm_error err;
    lock l;
    int taken = 0;
    const double start = vdm_seconds();
    while (taken < TIMES && vdm_seconds() - start < SECONDS) {
        if (lock_take(&l, folder, "this folder", &err)) {
            if (strcmp(err.text, "this folder: another run is writing there") != 0) return WRONG_SENTENCE;
            continue;
        }
        taken++;
        if (hold(inside)) return TOGETHER;
        lock_release(&l);
    }
    return taken ? FINE : NEVER;
}

int main(void)
{
    const char *folder = check_folder();
    char inside[600], path[600];
    snprintf(inside, sizeof inside, "%s/inside", folder);
    snprintf(path, sizeof path, "%s/lock", folder);
    pid_t children[PROCESSES];
    for (int i = 0; i < PROCESSES; i++) {
        children[i] = fork();
        if (children[i] == 0) _exit(take_often(folder, inside));
        CHECK(children[i] > 0, "process %d can't be started: %s", i + 1, strerror(errno));
    }
    for (int i = 0; i < PROCESSES; i++) {
        int status = -1;
        bool ended = waitpid(children[i], &status, 0) == children[i] && WIFEXITED(status);
        CHECK(ended && WEXITSTATUS(status) == FINE,
              "process %d: status %d; 1: two held the lock, 2: another sentence, 3: it never held it", i + 1,
              WEXITSTATUS(status));
    }
    CHECK(access(path, F_OK) != 0, "a lock is left");
    return check_end("lock");
}
