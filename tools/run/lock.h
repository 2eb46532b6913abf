/* One run at a time in a folder. */
#ifndef VDM_LOCK_H
#define VDM_LOCK_H

#include "vdm.h"

typedef struct lock {
    char *path; /* NULL: not taken */
    int fd;
} lock;
/* Takes folder/lock, or fails: "WHAT: another run is writing there". A killed process leaves no lock. A file of that name
 * that is not empty, or a link, is rejected: it is not vdm's. Only the holder
 * removes the file, before it releases the lock. */
int lock_take(lock *l, const char *folder, const char *what, vdm_error *err);
void lock_release(lock *l);
/* Removes the files NAME.PID.K.part that killed runs left in a folder whose lock is held. */
void remove_leftovers(const char *folder, const char *const *names, int n);

#endif
