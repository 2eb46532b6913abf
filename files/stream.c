/* Weights read a part ahead (stream.h). The reader, a thread of its own, does what the last vdm_stream_use asks for:
 * first it gives back what is neither used nor next, then it reads what is next, page by page, until it is there. Nobody
 * waits for it: a page that is not there yet is read by the thread that needs it.
 *
 * Traps
 *   MADV_DONTNEED takes pages from this process, not from memory: the system keeps them as it sees fit, and then lacks
 *   memory for those that should stay. Linux's MADV_PAGEOUT gives them back.
 *   madvise acts on whole pages only. An extent's first and last page may belong to its neighbours too: these read them
 *   again. */
#define _DEFAULT_SOURCE /* madvise */
#include "files/stream.h"
#include "files/vdm_files.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#ifdef VDM_THREADS
#include <pthread.h>
#include <signal.h>
#endif

struct vdm_stream {
    vdm_extent *extents; /* [parts,per] */
    bool *here;          /* [parts]: read or used, and not given back; the reader's own */
    int parts, per, resident;
    int now, next; /* asked for last */
    bool threaded; /* is there a reader? */
#ifdef VDM_THREADS
    pthread_t reader;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    bool news, ended;
#endif
};

static size_t page_size(void)
{
#ifdef _SC_PAGESIZE
    long size = sysconf(_SC_PAGESIZE);
    if (size > 0) return (size_t)size;
#endif
    return 4096;
}

/* The pages of an extent: they will be needed, or they are given back. */
static void advise(const vdm_extent *e, bool needed)
{
#ifdef MADV_WILLNEED
    uintptr_t page = page_size(), begin = (uintptr_t)e->data / page * page;
    size_t bytes = (uintptr_t)e->data + e->bytes - begin;
    if (needed) {
        (void)madvise((void *)begin, bytes, MADV_WILLNEED);
        return;
    }
#ifdef MADV_PAGEOUT
    (void)madvise((void *)begin, bytes, MADV_PAGEOUT);
#endif
    (void)madvise((void *)begin, bytes, MADV_DONTNEED);
#else
    (void)e, (void)needed;
#endif
}

/* Asks for all of a part, then looks at every page of it. */
static void read_part(const vdm_stream *s, int part)
{
    const vdm_extent *e = s->extents + (ptrdiff_t)part * s->per;
    size_t page = page_size();
    for (int i = 0; i < s->per; i++) advise(&e[i], true);
    for (int i = 0; s->threaded && i < s->per; i++)
        for (size_t at = 0; at < e[i].bytes; at += page) (void)((const volatile char *)e[i].data)[at];
}

/* What a use asks for */
static void serve(vdm_stream *s, int now, int next)
{
    s->here[now] = true;
    for (int part = s->resident; part < s->parts; part++) {
        if (!s->here[part] || part == now || part == next) continue;
        for (int i = 0; i < s->per; i++) advise(&s->extents[(ptrdiff_t)part * s->per + i], false);
        s->here[part] = false;
    }
    if (!s->here[next]) read_part(s, next);
    s->here[next] = true;
}

#ifdef VDM_THREADS
static void *reader(void *of)
{
    vdm_stream *s = of;
    pthread_mutex_lock(&s->lock);
    while (!s->ended) {
        if (!s->news) {
            pthread_cond_wait(&s->asked, &s->lock);
            continue;
        }
        int now = s->now, next = s->next;
        s->news = false;
        pthread_mutex_unlock(&s->lock);
        serve(s, now, next);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Signals are for the threads of the program. */
static void start_reader(vdm_stream *s)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->asked, NULL);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    s->threaded = true; /* before it begins */
    s->threaded = pthread_create(&s->reader, NULL, reader, s) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}
static void end_reader(vdm_stream *s)
{
    pthread_mutex_lock(&s->lock);
    s->ended = true;
    pthread_cond_signal(&s->asked);
    pthread_mutex_unlock(&s->lock);
    if (s->threaded) pthread_join(s->reader, NULL);
    pthread_cond_destroy(&s->asked);
    pthread_mutex_destroy(&s->lock);
}
#endif

void vdm_stream_use(vdm_stream *s, int now, int next)
{
    if (!s || (s->now == now && s->next == next)) return;
    if (!s->threaded) {
        s->now = now, s->next = next;
        serve(s, now, next);
        return;
    }
#ifdef VDM_THREADS
    pthread_mutex_lock(&s->lock);
    s->now = now, s->next = next, s->news = true;
    pthread_cond_signal(&s->asked);
    pthread_mutex_unlock(&s->lock);
#endif
}

vdm_stream *vdm_stream_new(const vdm_extent *extents, int parts, int per, int resident)
{
    vdm_stream *s = vdm_alloc(1, sizeof *s, "weights", NULL);
    if (!s) return NULL;
    size_t count = (size_t)parts * (size_t)per;
    *s = (vdm_stream){.parts = parts, .per = per, .resident = resident, .now = -1, .next = -1};
    s->extents = vdm_alloc(count, sizeof *s->extents, "weights", NULL);
    s->here = vdm_alloc((size_t)parts, sizeof *s->here, "weights", NULL);
#ifdef VDM_THREADS
    start_reader(s);
#endif
    if (!s->extents || !s->here) {
        vdm_stream_free(s);
        return NULL;
    }
    memcpy(s->extents, extents, count * sizeof *extents);
    return s;
}

void vdm_stream_free(vdm_stream *s)
{
    if (!s) return;
#ifdef VDM_THREADS
    end_reader(s);
#endif
    vdm_free(s->extents);
    vdm_free(s->here);
    vdm_free(s);
}
