/* A team of threads (parallel.h).
 *
 * One loop at a time: `left` pieces are not taken yet, `unfinished` are not done. A thread takes a piece by left = left
 * - 1, which succeeds only if no other thread did the same. The loop is written before `left`, and read after a piece
 * is taken, when the loop can't end before that piece. So a thread that comes late takes part in the current loop.
 *
 *   caller    write the loop, unfinished = left = n; wake sleeping threads; take pieces; wait until unfinished == 0
 *   others    wait until left != 0; take pieces
 *
 * Trap: a thread that is about to sleep first announces it, then checks for work once more; a caller first writes the
 * work, then checks for sleeping threads. In the opposite order they could miss each other. */
#include "files/parallel.h"
#include "files/vdm_files.h"

#include <stdbool.h>
#ifdef VDM_THREADS
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#endif

/* ------------------------------------------------------------------------------------------------
 * Loops */

/* Piece i of items */
static void run_range(const void *of, int i, int thread)
{
    const vdm_items *s = of;
    (void)thread;
    s->run(s->of, s->n * i / s->pieces, s->n * (i + 1) / s->pieces);
}
static double range_work(const void *of, int i)
{
    const vdm_items *s = of;
    return s->work * (double)(s->n * (i + 1) / s->pieces - s->n * i / s->pieces);
}
void vdm_team_run_items(vdm_team *t, const vdm_items *items)
{
    vdm_items s = *items;
    if (s.pieces > s.n) s.pieces = (int)s.n;
    const vdm_loop loop = {.pieces = s.pieces, .run = run_range, .of = &s, .work = range_work};
    vdm_team_run(t, &loop);
}

struct watch {
    void (*see)(void *user, const vdm_loop *loop);
    void *user;
};

static void run_alone(const vdm_loop *loop)
{
    for (int i = 0; i < loop->pieces; i++) loop->run(loop->of, i, 0);
}

#ifdef VDM_THREADS

enum { LINE = 64, STACK_BYTES = 1 << 20, LOOKS = 16 /* between two readings of the clock */ };
/* A thread polls for LONG_LOOK seconds: waking a sleeping one can take a tenth of that. Where other programs use its core,
 * polling takes their time and its own: a thread that lost its core while it polled (the clock jumped by LOST) polls for
 * SHORT_LOOK only, during the next SHARED seconds. */
static const double LONG_LOOK = 1e-3, SHORT_LOOK = 50e-6, LOST = 100e-6, SHARED = 0.5;

struct vdm_team {
    struct watch watch;
    int threads; /* including the caller */
    vdm_loop loop;
    /* each in its own cache line: threads poll one while another is written */
    _Alignas(LINE) atomic_int left; /* -1: the team ends */
    _Alignas(LINE) atomic_int unfinished;
    _Alignas(LINE) atomic_int asleep; /* threads that wait for a loop */
    atomic_int caller_asleep;
    pthread_mutex_t lock;
    pthread_cond_t begin, end; /* of a loop */
    atomic_int *reached;       /* [VDM_MAX_CHAINED]: progress of each piece of a chained loop */
    struct worker {
        vdm_team *team;
        pthread_t thread;
        int number;
        double shared_until; /* other programs use its core: look */
    } worker[];              /* [threads]; 0 is the caller */
};

static void relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Polls x until it is from `min` to `max`, or time is over. w: the thread that polls; NULL: SHORT_LOOK. */
static void look(atomic_int *x, int min, int max, struct worker *w)
{
    double begin = 0, last = 0;
    for (int i = 1;; i++) {
        int now = atomic_load_explicit(x, memory_order_relaxed);
        if (now >= min && now <= max) return;
        relax();
        if (i % LOOKS != 0) continue;
        double time = vdm_seconds();
        if (begin == 0) begin = last = time;
        if (w && time - last > LOST) w->shared_until = time + SHARED;
        if (time - begin > (w && time > w->shared_until ? LONG_LOOK : SHORT_LOOK)) return;
        last = time;
    }
}

/* The next piece of the loop, or -1. */
static int take(vdm_team *t)
{
    int left = atomic_load(&t->left);
    while (left > 0)
        if (atomic_compare_exchange_weak(&t->left, &left, left - 1)) return t->loop.pieces - left;
    return -1;
}

static void work(vdm_team *t, int thread)
{
    for (int piece; (piece = take(t)) >= 0;) {
        t->loop.run(t->loop.of, piece, thread);
        if (atomic_fetch_sub(&t->unfinished, 1) > 1 || !atomic_load(&t->caller_asleep)) continue;
        pthread_mutex_lock(&t->lock);
        pthread_cond_signal(&t->end);
        pthread_mutex_unlock(&t->lock);
    }
}

static void sleep_until_loop(vdm_team *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_fetch_add(&t->asleep, 1);
    while (atomic_load(&t->left) == 0) pthread_cond_wait(&t->begin, &t->lock);
    atomic_fetch_sub(&t->asleep, 1);
    pthread_mutex_unlock(&t->lock);
}
static void sleep_until_end(vdm_team *t)
{
    pthread_mutex_lock(&t->lock);
    atomic_store(&t->caller_asleep, 1);
    while (atomic_load(&t->unfinished) > 0) pthread_cond_wait(&t->end, &t->lock);
    atomic_store(&t->caller_asleep, 0);
    pthread_mutex_unlock(&t->lock);
}

static void *serve(void *of)
{
    struct worker *w = of;
    vdm_team *t = w->team;
    for (int left; (left = atomic_load(&t->left)) >= 0;) {
        if (left > 0) work(t, w->number);
        look(&t->left, 1, INT_MAX, w);
        if (atomic_load(&t->left) == 0) sleep_until_loop(t);
    }
    return NULL;
}

/* Wakes up to n sleeping threads. */
static void wake(vdm_team *t, int n)
{
    int asleep = atomic_load(&t->asleep);
    if (asleep == 0) return;
    pthread_mutex_lock(&t->lock);
    if (n >= asleep) pthread_cond_broadcast(&t->begin);
    for (int i = 0; n < asleep && i < n; i++) pthread_cond_signal(&t->begin);
    pthread_mutex_unlock(&t->lock);
}

void vdm_team_reach(vdm_team *t, int piece, int steps)
{
    atomic_store_explicit(&t->reached[piece], steps, memory_order_release);
}
/* The awaited piece is running or done: pieces are taken in order. */
void vdm_team_await(vdm_team *t, int piece, int steps)
{
    look(&t->reached[piece], steps, INT_MAX, NULL);
    while (atomic_load_explicit(&t->reached[piece], memory_order_acquire) < steps) sched_yield();
}

void vdm_team_run(vdm_team *t, const vdm_loop *loop)
{
    for (int i = 0; t && loop->chained && i < loop->pieces; i++) atomic_store(&t->reached[i], 0);
    if (t && t->watch.see) {
        t->watch.see(t->watch.user, loop);
        return;
    }
    if (!t || t->threads == 1 || loop->pieces < 2) {
        run_alone(loop);
        return;
    }
    t->loop = *loop;
    atomic_store(&t->unfinished, loop->pieces);
    atomic_store(&t->left, loop->pieces);
    wake(t, loop->pieces - 1);
    work(t, 0);
    look(&t->unfinished, 0, 0, &t->worker[0]);
    if (atomic_load(&t->unfinished) > 0) sleep_until_end(t);
}

/* Signals are handled by the program's threads. */
static void start(vdm_team *t, int threads)
{
    pthread_attr_t attr;
    sigset_t all, before;
    sigfillset(&all);
    if (pthread_attr_init(&attr) != 0) return;
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; t->threads < threads; t->threads++) {
        struct worker *w = &t->worker[t->threads];
        *w = (struct worker){.team = t, .number = t->threads};
        if (pthread_create(&w->thread, &attr, serve, w) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attr);
}

vdm_team *vdm_team_new(int threads)
{
    vdm_team *t = vdm_alloc(1, sizeof *t + (size_t)threads * sizeof *t->worker, "threads", NULL);
    if (!t) return NULL;
    t->threads = 1;
    t->reached = vdm_alloc(VDM_MAX_CHAINED, sizeof *t->reached, "threads", NULL);
    if (!t->reached) {
        vdm_free(t);
        return NULL;
    }
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->begin, NULL);
    pthread_cond_init(&t->end, NULL);
    if (threads > 1) start(t, threads);
    return t;
}

void vdm_team_free(vdm_team *t)
{
    if (!t) return;
    atomic_store(&t->left, -1);
    wake(t, t->threads);
    for (int i = 1; i < t->threads; i++) pthread_join(t->worker[i].thread, NULL);
    pthread_cond_destroy(&t->begin);
    pthread_cond_destroy(&t->end);
    pthread_mutex_destroy(&t->lock);
    vdm_free(t->reached);
    vdm_free(t);
}

#else

struct vdm_team {
    struct watch watch;
};

vdm_team *vdm_team_new(int threads)
{
    (void)threads;
    return vdm_alloc(1, sizeof(vdm_team), "threads", NULL);
}

void vdm_team_free(vdm_team *t)
{
    vdm_free(t);
}

void vdm_team_reach(vdm_team *t, int piece, int steps)
{
    (void)t, (void)piece, (void)steps;
}
void vdm_team_await(vdm_team *t, int piece, int steps)
{
    (void)t, (void)piece, (void)steps; /* pieces run in order */
}

void vdm_team_run(vdm_team *t, const vdm_loop *loop)
{
    if (t && t->watch.see)
        t->watch.see(t->watch.user, loop);
    else
        run_alone(loop);
}

#endif

void vdm_team_watch(vdm_team *t, void (*see)(void *user, const vdm_loop *loop), void *user)
{
    t->watch = (struct watch){see, user};
}
