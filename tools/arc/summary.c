/* Results of ARC-AGI tasks merged: accuracy, in the terminal and on a page with pictures of the tasks that were solved
 * and of those that were not.
 *
 * ARC-AGI counts tasks: one is solved if every test has an exact answer. ConceptARC counts tests, and takes the mean
 * over its concepts, the folders: both are in the table. A task that is in several files, because it was run again,
 * counts once. */
#include "tools/arc/summary.h"
#include "tools/arc/identity.h"
#include "tools/arc/submission.h"
#include "tools/arc/task_card.h"
#include "tools/messages.h"
#include "tools/run/file_checks.h"

#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Counting */

enum { MAX_GROUPS = 64, SIDES = 5, NAME = 32 };
/* Tasks with a common property, and their tests. */
struct group {
    char name[NAME];
    const char
        *folder; /* of a folder: its path is the first folder_size bytes, whatever its length; else NULL */
    int folder_size;
    int tasks, tests;
    int solved[MAX_ATTEMPTS], exact[MAX_ATTEMPTS]; /* tasks, tests; with k + 1 attempts */
};
struct tally {
    int attempts, failed, of;
    int uncounted;      /* failed tasks whose number of tests is not known */
    int unknown;        /* tasks with a test whose answer is not known: not counted */
    int failed_unknown; /* those of them that failed */
    int unrecorded;     /* failed tasks of which it is not known whether their answers are known: counted */
    struct group all, pairs[MAX_GROUPS], sides[SIDES], *folders; /* folders [n_folders]: by name */
    int n_folders;
    int64_t cells, right; /* of first answers of the right size, if the truth is known */
};

static void add(struct group *g, const arc_result *r, int attempts)
{
    g->tasks++;
    g->tests += r->failed_tests;
    for (int i = 0; i < r->n_tests; i++) g->tests += r->tests[i].truth.rows > 0;
    for (int k = 0; k < attempts; k++) {
        g->solved[k] += arc_solved(r, k + 1);
        for (int i = 0; i < r->n_tests; i++) g->exact[k] += arc_exact(&r->tests[i], k + 1);
    }
}

static int largest_side(const arc_result *r)
{
    int side = 0;
    for (int i = 0; i < r->n_tests; i++) {
        const vdm_grid *grids[] = {&r->tests[i].input, &r->tests[i].truth};
        for (int k = 0; k < 2; k++) {
            if (grids[k]->rows > side) side = grids[k]->rows;
            if (grids[k]->cols > side) side = grids[k]->cols;
        }
    }
    return side;
}

/* "AboveBelow" of "AboveBelow/AboveBelow1"; "." of "AboveBelow1". */
static struct group *folder_group(struct tally *t, const arc_result *r)
{
    const char *slash = strrchr(r->task, '/'), *folder = slash ? r->task : ".";
    int n = slash ? (int)(slash - r->task) : 1;
    for (int i = 0; i < t->n_folders; i++)
        if (t->folders[i].folder_size == n && memcmp(t->folders[i].folder, folder, (size_t)n) == 0)
            return &t->folders[i];
    struct group *g = &t->folders[t->n_folders++];
    g->folder = folder;
    g->folder_size = n;
    return g;
}

/* Names are only cut when they are printed. */
enum { PRINTED_NAME = 4096 };
static const char *group_name(char text[static PRINTED_NAME], const struct group *g)
{
    if (!g->folder) return g->name;
    snprintf(text, PRINTED_NAME, "%.*s", g->folder_size, g->folder);
    return text;
}

/* Failed tasks count as not solved, their tests as not exact; tasks without known answers don't count. */
static void count(struct tally *t, const arc_result *r)
{
    static const int sides[SIDES] = {8, 12, 16, 20, VDM_MAX_GRID};
    int side = largest_side(r), band = 0;
    if (!arc_known(r)) {
        t->unknown++;
        t->failed_unknown += r->error != NULL;
        return;
    }
    add(&t->all, r, t->attempts);
    add(folder_group(t, r), r, t->attempts);
    if (r->error) {
        t->failed++;
        t->uncounted += !r->failed_tests;
        t->unrecorded += !arc_recorded(r);
        return;
    }
    while (band < SIDES - 1 && side > sides[band]) band++;
    add(&t->sides[band], r, t->attempts);
    add(&t->pairs[r->pairs < MAX_GROUPS ? r->pairs : MAX_GROUPS - 1], r, t->attempts);
    for (int i = 0; i < r->n_tests; i++) {
        const arc_test *test = &r->tests[i];
        if (!test->truth.rows || !test->n) continue;
        int wrong = arc_wrong(&test->answers[0], &test->truth);
        if (wrong < 0) continue;
        t->cells += test->truth.rows * test->truth.cols;
        t->right += test->truth.rows * test->truth.cols - wrong;
    }
}

static int count_all(struct tally *t, const arc_results *all, vdm_error *err)
{
    static const char *const bands[SIDES] = {"up to 8", "9 to 12", "13 to 16", "17 to 20", "21 to 30"};
    *t = (struct tally){.of = all->all[0].of};
    t->folders = vdm_alloc((size_t)all->n, sizeof *t->folders, "the table", err);
    if (!t->folders) return -1;
    snprintf(t->all.name, NAME, "all");
    for (int i = 0; i < SIDES; i++) snprintf(t->sides[i].name, NAME, "grids of %s", bands[i]);
    for (int i = 0; i < MAX_GROUPS; i++)
        snprintf(t->pairs[i].name, NAME, i < MAX_GROUPS - 1 ? "%d pair%s" : "%d pairs or more", i, plural(i));
    for (int i = 0; i < all->n; i++)
        if (all->all[i].attempts > t->attempts) t->attempts = all->all[i].attempts;
    if (!t->attempts) t->attempts = 1; /* all of them failed */
    for (int i = 0; i < all->n; i++) count(t, &all->all[i]);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Merging */

static bool same_answers(const arc_result *a, const arc_result *b)
{
    if (*a->task_hash && *b->task_hash && strcmp(a->task_hash, b->task_hash) != 0) return false;
    if ((a->error != NULL) != (b->error != NULL) || a->n_tests != b->n_tests) return false;
    for (int i = 0; i < a->n_tests; i++) {
        const arc_test *x = &a->tests[i], *y = &b->tests[i];
        if (x->n != y->n) return false;
        for (int k = 0; k < x->n; k++)
            if (!vdm_grid_equal(&x->answers[k], &y->answers[k])) return false;
    }
    return true;
}

/* Takes the right answers that another result of the same task has: they were known later. */
static int take_truths(arc_result *to, const arc_result *from, vdm_error *err)
{
    for (int i = 0; i < to->n_tests; i++) {
        vdm_grid *mine = &to->tests[i].truth;
        const vdm_grid *other = &from->tests[i].truth;
        if (mine->rows && other->rows && !vdm_grid_equal(mine, other))
            return vdm_fail(err, "%s: test[%d]: two different right answers", to->task, i);
        if (!mine->rows) *mine = *other;
    }
    if (from->failed_known > to->failed_known && from->failed_tests == to->failed_tests)
        to->failed_known = from->failed_known;
    return 0;
}

/* By task; of the results of one task those of an earlier version, which have no hash, come last. */
static int compare_results(const void *a, const void *b)
{
    const arc_result *x = a, *y = b;
    int order = strcmp(x->task, y->task);
    return order ? order : !*x->task_hash - !*y->task_hash;
}

/* The first result whose configurations are recorded decides for all: those of earlier versions have none. */
static int check_configurations(const arc_results *all, vdm_error *err)
{
    const arc_result *first = NULL;
    for (int i = 0; i < all->n; i++) {
        const arc_result *r = &all->all[i];
        if (!*r->configuration) continue;
        if (!first) first = r;
        if (strcmp(first->configuration, r->configuration) != 0)
            return vdm_fail(
                err,
                "results of different runs: the model's configurations are others for '%.400s' than "
                "for '%.400s'",
                r->task, first->task);
    }
    return 0;
}

/* Sorts by task, and drops duplicates: the first of each task stays. */
static int unite(arc_results *all, int *twice, vdm_error *err)
{
    int n = 0;
    char difference[400];
    if (!all->n) return vdm_fail(err, "no results in these files");
    qsort(all->all, (size_t)all->n, sizeof *all->all, compare_results);
    for (int i = 0; i < all->n; i++) {
        arc_result *r = &all->all[i], *last = n ? &all->all[n - 1] : NULL;
        if (last && last->of != r->of)
            return vdm_fail(err, "results of different runs: '%.300s' is one of %d tasks, '%.300s' one of %d",
                            last->task, last->of, r->task, r->of);
        if (last && strcmp(last->run, r->run) != 0) {
            run_difference(difference, sizeof difference, r->run, last->run);
            return vdm_fail(err, "results of different runs: '%.300s', after '%.300s': %s", r->task,
                            last->task, difference);
        }
        if (last && strcmp(last->task, r->task) == 0) {
            if (!same_answers(last, r)) return vdm_fail(err, "%s: two different results", r->task);
            if (take_truths(last, r, err)) return -1;
            result_free(r);
            continue;
        }
        arc_result moved = *r;
        *r = (arc_result){0};
        all->all[n++] = moved;
    }
    *twice = all->n - n;
    all->n = n;
    if (all->all[0].of > 0 && n > all->all[0].of)
        return vdm_fail(
            err, "results of different sets of tasks: each line is of a set of %d tasks, found %d tasks",
            all->all[0].of, n);
    return check_configurations(all, err);
}

/* ------------------------------------------------------------------------------------------------
 * In the terminal */

/* In percent, to be printed with two decimals. */
static double percent(double n, double of)
{
    return of > 0 ? 100 * shown_share(n / of, 4) : 0;
}

static void print_group(const struct group *g, int attempts)
{
    char name[PRINTED_NAME];
    if (!g->tasks) return;
    printf("%-20s %5d", clean(group_name(name, g)), g->tasks);
    for (int k = 0; k < attempts; k++) printf("  %4d %6.2f%%", g->solved[k], percent(g->solved[k], g->tasks));
    printf("  |%6d", g->tests);
    for (int k = 0; k < attempts; k++) printf("  %4d %6.2f%%", g->exact[k], percent(g->exact[k], g->tests));
    printf("\n");
}

/* A folder of which no test is known, because its tasks can't be read, is in no mean. */
static int folders_with_tests(const struct tally *t)
{
    int n = 0;
    for (int i = 0; i < t->n_folders; i++) n += t->folders[i].tests > 0;
    return n;
}

/* In percent */
static double mean_over_folders(const struct tally *t, int k)
{
    double sum = 0;
    for (int i = 0; i < t->n_folders; i++) {
        const struct group *g = &t->folders[i];
        sum += g->tests ? (double)g->exact[k] / g->tests : 0;
    }
    return percent(sum, folders_with_tests(t));
}

static void print_means(const struct tally *t)
{
    int n = folders_with_tests(t), without = t->n_folders - n;
    for (int k = 0; k < t->attempts && n; k++)
        printf("tests exact, mean over %d folder%s, %d attempt%s: %.2f%%\n", n, plural(n), k + 1,
               plural(k + 1), mean_over_folders(t, k));
    if (without) printf("%d folder%s without a known test: not in the mean\n", without, plural(without));
}

static void print_tally(const struct tally *t, int twice)
{
    printf("%-20s %5s", "", "tasks");
    for (int k = 0; k < t->attempts; k++) printf("  %d attempt%s   ", k + 1, k ? "s" : " ");
    printf(" | tests");
    for (int k = 0; k < t->attempts; k++) printf("  %d attempt%s   ", k + 1, k ? "s" : " ");
    printf("\n");
    print_group(&t->all, t->attempts);
    for (int i = 0; i < MAX_GROUPS; i++) print_group(&t->pairs[i], t->attempts);
    for (int i = 0; i < SIDES; i++) print_group(&t->sides[i], t->attempts);
    for (int i = 0; i < t->n_folders && t->n_folders > 1; i++) print_group(&t->folders[i], t->attempts);
    if (t->n_folders > 1) print_means(t);
    if (t->cells)
        printf("cells right in first answers of the right size: %.2f%%\n",
               percent((double)t->right, (double)t->cells));
    if (t->failed) printf("%d task%s failed: counted as not solved", t->failed, plural(t->failed));
    if (t->uncounted) printf("; of %d the number of tests is not known: in no count of tests", t->uncounted);
    if (t->unrecorded)
        printf("; of %d the line does not state whether the right answers are known: counted as well",
               t->unrecorded);
    if (t->failed) printf("\n");
    if (t->unknown) printf("%d task%s without known answer, not counted", t->unknown, plural(t->unknown));
    if (t->failed_unknown) printf("; %d of them failed", t->failed_unknown);
    if (t->unknown) printf("\n");
    if (twice)
        printf("%d task%s in several files, with the same result: counted once\n", twice,
               twice == 1 ? " is" : "s are");
    int results = t->all.tasks + t->unknown;
    if (t->of > results)
        printf("%d of %d tasks %s no result yet\n", t->of - results, t->of,
               t->of - results == 1 ? "has" : "have");
}

/* ------------------------------------------------------------------------------------------------
 * Pages */

enum { FIRST = 24 };
/* The tasks that were solved (or not), with pictures until the budget is spent. */
static void cards(struct writer *w, const arc_results *all, bool solved)
{
    int n = 0, shown = 0;
    for (int i = 0; i < all->n; i++)
        n +=
            !all->all[i].error && arc_known(&all->all[i]) && arc_solved(&all->all[i], MAX_ATTEMPTS) == solved;
    fprintf(w->f, "<section><h2>%s</h2>\n<p>%d task%s.</p>\n", solved ? "Solved" : "Not solved", n,
            plural(n));
    w->spent = 0;
    for (int i = 0; i < all->n && w->spent < BUDGET && !w->status; i++) {
        const arc_result *r = &all->all[i];
        if (r->error || !arc_known(r) || arc_solved(r, MAX_ATTEMPTS) != solved) continue;
        if (shown == 0) fputs("<div class=\"cards\">\n", w->f);
        if (shown == FIRST)
            fprintf(w->f, "</div>\n<details><summary>%d more</summary>\n<div class=\"cards\">\n", n - shown);
        task_card(w, &all->all[i]);
        shown++;
    }
    if (shown) fputs("</div>\n", w->f);
    if (shown > FIRST) fputs("</details>\n", w->f);
    if (shown < n) fprintf(w->f, "<p class=\"note\">%d more are not shown here.</p>\n", n - shown);
    fputs("</section>\n", w->f);
}

static void table_row(FILE *f, const struct group *g, int attempts)
{
    char name[PRINTED_NAME];
    if (!g->tasks) return;
    fputs("<tr><th scope=\"row\">", f);
    escape(f, group_name(name, g));
    fprintf(f, "</th><td>%d</td>", g->tasks);
    for (int k = 0; k < attempts; k++)
        fprintf(f, "<td>%d (%.2f %%)</td>", g->solved[k], percent(g->solved[k], g->tasks));
    fprintf(f, "<td>%d</td>", g->tests);
    for (int k = 0; k < attempts; k++)
        fprintf(f, "<td>%d (%.2f %%)</td>", g->exact[k], percent(g->exact[k], g->tests));
    fputs("</tr>\n", f);
}

static void means(FILE *f, const struct tally *t)
{
    int n = folders_with_tests(t), without = t->n_folders - n;
    for (int k = 0; k < t->attempts && n; k++)
        fprintf(f, "<p>Tests exact with %d attempt%s, mean over %d folder%s: %.2f %%.</p>\n", k + 1,
                plural(k + 1), n, plural(n), mean_over_folders(t, k));
    if (without)
        fprintf(f, "<p>%d folder%s without a known test: not in the mean.</p>\n", without, plural(without));
}

static void table(FILE *f, const struct tally *t)
{
    static const char head[] = "<th scope=\"col\">%s, %d attempt%s</th>";
    fputs(
        "<section><h2>Accuracy</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" "
        "aria-label=\"Accuracy\"><table class=\"figures\"><thead>\n<tr><td></td><th scope=\"col\">tasks</th>",
        f);
    for (int k = 0; k < t->attempts; k++) fprintf(f, head, "solved", k + 1, plural(k + 1));
    fputs("<th scope=\"col\">tests</th>", f);
    for (int k = 0; k < t->attempts; k++) fprintf(f, head, "exact", k + 1, plural(k + 1));
    fputs("</tr>\n</thead><tbody>\n", f);
    table_row(f, &t->all, t->attempts);
    for (int i = 0; i < MAX_GROUPS; i++) table_row(f, &t->pairs[i], t->attempts);
    for (int i = 0; i < SIDES; i++) table_row(f, &t->sides[i], t->attempts);
    for (int i = 0; i < t->n_folders && t->n_folders > 1; i++) table_row(f, &t->folders[i], t->attempts);
    fputs("</tbody></table></div>\n", f);
    if (t->n_folders > 1) means(f, t);
    fputs("</section>\n", f);
}

struct merged {
    const arc_results *all;
    const struct tally *t;
};

static void failed_tasks(FILE *f, const struct merged *m)
{
    fputs("<section><h2>Failed</h2>\n", f);
    if (m->t->failed_unknown)
        fprintf(f, "<p>%d without a known answer: in no count.</p>\n", m->t->failed_unknown);
    if (m->t->unrecorded)
        fprintf(
            f,
            "<p>Of %d the line does not state whether the right answers are known: counted as not solved.</p>\n",
            m->t->unrecorded);
    fputs("<table><tbody>\n", f);
    for (int i = 0; i < m->all->n; i++) {
        if (!m->all->all[i].error) continue;
        fputs("<tr><td>", f);
        escape(f, m->all->all[i].task);
        fputs("</td><td>", f);
        escape(f, m->all->all[i].error);
        fputs("</td></tr>\n", f);
    }
    fputs("</tbody></table></section>\n", f);
}

static void merged_sections(struct writer *w, const void *user)
{
    const struct merged *m = user;
    const char *explanation, *rule = rule_of(&m->all->all[0], &explanation);
    table(w->f, m->t);
    cards(w, m->all, true);
    cards(w, m->all, false);
    if (m->t->failed + m->t->failed_unknown) failed_tasks(w->f, m);
    fputs("<section><h2>Settings</h2>\n<table><tbody>\n", w->f);
    row(w->f, "Size rule", "%s: %s", rule, explanation);
    row(w->f, "Run", "%s", m->all->all[0].run);
    row(w->f, "Program", "vdm %s", VDM_VERSION);
    fputs("</tbody></table></section>\n", w->f);
}

static int write_page(const arc_results *all, const struct tally *t, const char *command, const char *path,
                      vdm_error *err)
{
    struct merged m = {all, t};
    char result[256];
    int last = t->attempts - 1;
    snprintf(result, sizeof result, "%d of %d task%s solved (%.2f %%) with %d attempt%s; %d with 1 (%.2f %%)",
             t->all.solved[last], t->all.tasks, plural(t->all.tasks),
             percent(t->all.solved[last], t->all.tasks), t->attempts, plural(t->attempts), t->all.solved[0],
             percent(t->all.solved[0], t->all.tasks));
    if (!t->all.tasks)
        snprintf(result, sizeof result, "no task has a known answer: none of %d is counted", t->unknown);
    page p = {
        .command = command, .title = "ARC-AGI", .result = result, .sections = merged_sections, .user = &m};
    return page_write(&p, path, err);
}

static int read_results(arc_results *all, const char *path, vdm_error *err)
{
    if (results_read(all, path, NULL, err)) return -1;
    if (all->rest)
        fprintf(stderr, "%s: the last line is left out: %zu bytes, without its end\n", clean(path),
                all->rest);
    return 0;
}

int summary_run(const options *o, const char *to, const char *command, vdm_error *err)
{
    const char *explanation;
    arc_results all = {0};
    struct tally t = {0};
    int twice = 0, status = 0;
    for (int i = 0; i < o->n_operands && !status; i++) status = read_results(&all, o->operands[i], err);
    if (!status) status = unite(&all, &twice, err);
    if (!status) status = count_all(&t, &all, err);
    bool submission = submission_is(to);
    if (!status)
        status = submission ? submission_write(&all, to, err) : write_page(&all, &t, command, to, err);
    if (!status) {
        print_tally(&t, twice);
        printf("size rule %s: ", rule_of(&all.all[0], &explanation));
        printf("%s\n", explanation);
        if (submission)
            submission_describe(&all, to);
        else
            printf("%s shows the pictures\n", clean(to));
    }
    vdm_free(t.folders);
    results_free(&all);
    return status;
}
