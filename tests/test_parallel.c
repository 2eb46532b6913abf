/* Teams of threads: every piece is run once, whichever thread comes late; chained pieces wait; a watched team runs nothing. */
#include "files/parallel.h"
#include "check.h"
#include "vdm.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 5000, THREADS = 7 };

struct counts {
    int runs[MOST];   /* of each piece; each is written by the thread that runs it alone */
    int thread[MOST]; /* which ran it */
};

static void count_piece(const void *of, int piece, int thread)
{
    struct counts *c = *(struct counts *const *)of;
    c->runs[piece]++;
    c->thread[piece] = thread;
}
static void count_items(const void *of, int64_t first, int64_t end)
{
    struct counts *c = *(struct counts *const *)of;
    for (int64_t i = first; i < end; i++) c->runs[i]++;
}

static void check_counts(const struct counts *c, int n, const char *what)
{
    int wrong = 0, strange = 0;
    for (int i = 0; i < MOST; i++) wrong += c->runs[i] != (i < n);
    for (int i = 0; i < n; i++) strange += c->thread[i] < 0 || c->thread[i] >= THREADS;
    CHECK(wrong == 0 && strange == 0, "%s, %d pieces: %d not run once, %d by no thread of the team", what, n,
          wrong, strange);
}

static void test_pieces(vdm_team *t, const char *what)
{
    const int sizes[] = {0, 1, 2, 3, THREADS, 64, 65, MOST};
    struct counts *c = calloc(1, sizeof *c);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        memset(c, 0, sizeof *c);
        vdm_team_run(t, &(vdm_loop){.pieces = sizes[i], .run = count_piece, .of = &c});
        check_counts(c, sizes[i], what);
        for (int pieces = 1; pieces < 100; pieces += 13) {
            memset(c, 0, sizeof *c);
            vdm_team_run_items(t,
                               &(vdm_items){.n = sizes[i], .pieces = pieces, .run = count_items, .of = &c});
            check_counts(c, sizes[i], what);
        }
    }
    free(c);
}

/* Loops one after the other, so fast that threads are still on the way to the last one when the next begins; every now
 * and then so late that they sleep. */
struct sum {
    int from;
    int *to; /* [64] */
};
static void add_piece(const void *of, int piece, int thread)
{
    const struct sum *s = of;
    (void)thread;
    s->to[piece] += s->from + piece;
}
static void test_many(vdm_team *t)
{
    enum { LOOPS = 20000 };
    int to[64] = {0}, wrong = 0;
    for (int i = 0; i < LOOPS; i++) {
        const struct sum s = {i, to};
        vdm_team_run(t, &(vdm_loop){.pieces = 1 + i % 64, .run = add_piece, .of = &s});
        double start = vdm_seconds();
        while (i % 1000 == 0 && vdm_seconds() < start + 2e-3) continue;
    }
    for (int p = 0; p < 64; p++) {
        int expected = 0;
        for (int i = 0; i < LOOPS; i++) expected += i % 64 >= p ? i + p : 0;
        wrong += to[p] != expected;
    }
    CHECK(wrong == 0, "%d of 64 sums are wrong", wrong);
}

/* Piece p does step i after piece p - 3 did: value[i] must be written in this order. */
struct chain {
    vdm_team *team;
    int *value; /* [3,STEPS]: of p mod 3 */
};
enum { STEPS = 50, LINKS = 40 };
static void link_piece(const void *of, int piece, int thread)
{
    const struct chain *c = of;
    (void)thread;
    for (int i = 0; i < STEPS; i++) {
        int *v = &c->value[piece % 3 * STEPS + i];
        if (piece >= 3) vdm_team_await(c->team, piece - 3, i + 1);
        *v = *v * 3 + piece; /* not commutative, modulo 2^32 below */
        *v &= 0xfffff;
        vdm_team_reach(c->team, piece, i + 1);
    }
}
static void test_chain(vdm_team *t)
{
    for (int repeat = 0; repeat < 20; repeat++) {
        int value[3 * STEPS] = {0}, expected[3] = {0}, wrong = 0;
        const struct chain c = {t, value};
        vdm_team_run(t, &(vdm_loop){.pieces = LINKS, .run = link_piece, .of = &c, .chained = true});
        for (int p = 0; p < LINKS; p++) expected[p % 3] = (expected[p % 3] * 3 + p) & 0xfffff;
        for (int i = 0; i < 3 * STEPS; i++) wrong += value[i] != expected[i / STEPS];
        CHECK(wrong == 0, "%d of %d values were written in another order", wrong, 3 * STEPS);
    }
}

static void see_loop(void *user, const vdm_loop *loop)
{
    int *seen = user;
    seen[0]++;
    seen[1] += loop->pieces;
}
static void test_watch(vdm_team *t)
{
    struct counts *c = calloc(1, sizeof *c);
    int seen[2] = {0};
    vdm_team_watch(t, see_loop, seen);
    vdm_team_run(t, &(vdm_loop){.pieces = 5, .run = count_piece, .of = &c});
    vdm_team_run_items(t, &(vdm_items){.n = 9, .pieces = 4, .run = count_items, .of = &c});
    CHECK(seen[0] == 2 && seen[1] == 9 && c->runs[0] == 0, "%d loops, %d pieces", seen[0], seen[1]);
    vdm_team_watch(t, NULL, NULL);
    vdm_team_run(t, &(vdm_loop){.pieces = 5, .run = count_piece, .of = &c});
    CHECK(seen[0] == 2 && c->runs[4] == 1, "it is watched still");
    free(c);
}

int main(void)
{
    vdm_team *alone = vdm_team_new(1), *t = vdm_team_new(THREADS);
    CHECK(alone && t, "no memory");
    test_pieces(NULL, "no team");
    test_pieces(alone, "one thread");
    test_pieces(t, "a team");
    test_many(t);
    test_chain(alone);
    test_chain(t);
    test_watch(t);
    vdm_team_free(t);
    vdm_team_free(alone);
    vdm_team_free(NULL);
    for (int i = 0; i < 50; i++) { /* ended before its threads have begun */
        t = vdm_team_new(THREADS);
        vdm_team_free(t);
    }
    return check_end("parallel");
}
