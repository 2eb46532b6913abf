/* vdm vote: answers to the same pictures, of runs that differ in view or seed, become one.
 *
 *   answers [runs,H,W,3] -> cells [runs,rows,cols] -> the most frequent number of each cell -> [H,W,3]
 *
 * In each view the rule has other colours and another direction, so that runs in different views err in different
 * cells: a run that confuses two similar colours confuses another pair of colours in the next view. */
#include "tools/commands/commands.h"
#include "files/hash.h"
#include "tools/messages.h"
#include "tools/report/page.h"
#include "tools/run/canvas.h"
#include "tools/run/claim.h"
#include "tools/run/file_checks.h"
#include "tools/run/lock.h"
#include "tools/run/paths.h"
#include "tools/run/pictures.h"
#include "tools/run/truths.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct vote {
    vdm_task task;
    evaluation evaluation;
    const char *const *runs; /* [n_runs]: folders */
    int n_runs;
    double *recorded; /* [n_runs,asked]: scores in the runs' tables; NaN: none */
    uint64_t *hashes; /* [n_runs]: of all answers' pixels */
    char *scores, *page;
    lock lock; /* of the output folder */
};

/* answers [n,cells] -> winner [cells]: the majority; in a tie the earliest run's. */
static void count(uint8_t *winner, const uint8_t *answers, int n, int cells)
{
    for (int i = 0; i < cells; i++) {
        int votes[VDM_MAX_COLOURS] = {0}, first = 0;
        for (int k = 0; k < n; k++) votes[answers[k * cells + i]]++;
        int maximum = votes[vdm_majority(votes, VDM_MAX_COLOURS)];
        while (votes[answers[first * cells + i]] < maximum) first++;
        winner[i] = answers[first * cells + i];
    }
}

/* The picture has the score that its run's table says: else it answers another task, or was changed. */
static int check_score(const struct vote *v, int k, const vdm_example *e, const vdm_picture *p,
                       vdm_error *err)
{
    const vdm_geometry *g = &v->evaluation.geometry;
    const vdm_grid_layout grid = vdm_example_grid(&v->task, e);
    double recorded = v->recorded[(int64_t)k * v->evaluation.asked + (e - v->task.test)], score = recorded;
    vdm_picture truth = {0};
    bool exact;
    if (isnan(recorded)) return 0;
    int status = vdm_example_picture(&truth, &v->task, e, VDM_OUTPUT, g->height, g->width, err);
    if (!status) status = vdm_score(&score, &exact, v->task.metric, &grid, p, &truth, err);
    vdm_picture_free(&truth);
    if (status || fabs(score - recorded) < 1e-6) return status;
    return vdm_fail(
        err, "%s: %s: the score in scores.csv is %.4f, that of the picture is %.4f: expected answers to %s",
        v->runs[k], e->name, recorded, score, v->task.path);
}

/* cells [rows,cols] of the answer of run k. */
static int read_answer(uint8_t *cells, const struct vote *v, int k, const vdm_example *e, vdm_error *err)
{
    const vdm_geometry *g = &v->evaluation.geometry;
    const vdm_grid_layout layout = vdm_example_grid(&v->task, e), *grid = &layout;
    const char *run = v->runs[k];
    char file[VDM_MAX_NAME];
    vdm_picture p = {0};
    snprintf(file, sizeof file, "%s.ppm", e->name);
    char *path = vdm_path(run, file, err);
    int status = path ? vdm_picture_read(&p, path, err) : -1;
    if (!status && (p.height != g->height || p.width != g->width))
        status = vdm_fail(err, "%s: expected an answer of %dx%d pixels, found %dx%d", path, g->height,
                          g->width, p.height, p.width);
    if (!status && vdm_grid_read(cells, &p, grid))
        status = vdm_fail(err, "%s: expected %d rows and %d columns of %d pixels, found %dx%d pixels", path,
                          grid->rows, grid->cols, grid->cell, p.height, p.width);
    if (!status) status = check_score(v, k, e, &p, err);
    if (!status) v->hashes[k] = vdm_hash_step(v->hashes[k], hash_picture(&p));
    vdm_picture_free(&p);
    vdm_free(path);
    return status;
}

static int vote_on(struct vote *v, const vdm_example *e, const char *folder, vdm_error *err)
{
    const vdm_geometry *g = &v->evaluation.geometry;
    const vdm_grid_layout grid = vdm_example_grid(&v->task, e);
    int cells = grid.rows * grid.cols, status = 0;
    vdm_picture input = {0}, answer = {0};
    uint8_t *answers = vdm_alloc((size_t)(v->n_runs + 1) * (size_t)cells, 1, "the votes", err);
    if (!answers) return -1;
    uint8_t *winner = answers + v->n_runs * cells;
    for (int k = 0; k < v->n_runs && !status; k++) status = read_answer(answers + k * cells, v, k, e, err);
    if (!status) {
        count(winner, answers, v->n_runs, cells);
        status = vdm_example_picture(&input, &v->task, e, VDM_INPUT, g->height, g->width, err);
        if (!status) status = vdm_grid_render(&answer, winner, &grid, g->height, g->width, err);
        if (!status) status = evaluation_take(&v->evaluation, folder, &input, answer.rgb, err);
    }
    vdm_picture_free(&input);
    vdm_picture_free(&answer);
    vdm_free(answers);
    return status;
}

/* A run has one vote. */
static int check_once(const struct vote *v, int k, vdm_error *err)
{
    struct stat mine, other;
    if (stat(v->runs[k], &mine)) return vdm_fail(err, "%s: %s", v->runs[k], strerror(errno));
    for (int i = 0; i < k; i++)
        if (stat(v->runs[i], &other) == 0 && mine.st_dev == other.st_dev && mine.st_ino == other.st_ino)
            return vdm_fail(err, "%s: this run is %s, which votes already: expected every run once",
                            v->runs[k], v->runs[i]);
    return 0;
}

/* Rejects a run that has not ended: its table may be an earlier run's, its pictures those of both. */
static int check_ended(const char *run, vdm_error *err)
{
    struct stat st;
    char *path = vdm_path(run, "lock", err);
    if (!path) return -1;
    bool locked = stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0;
    vdm_free(path);
    if (!locked) return 0;
    return vdm_fail(
        err,
        "%s: expected a run of 'vdm eval' that has ended, found its lock: it is running; if it was "
        "killed, the same 'vdm eval' completes it",
        run);
}

/* Prints the runs whose answers are the same in every pixel: a copy, or a run with the same seed. Runs of --views draw
 * their answers as grids, which are also the same if all are right: then nothing is printed. */
static void report_copies(const struct vote *v)
{
    if (v->evaluation.scored && v->evaluation.exact == v->evaluation.scored) return;
    for (int k = 0; k < v->n_runs; k++)
        for (int i = 0; i < k; i++) {
            if (v->hashes[i] != v->hashes[k]) continue;
            fprintf(stderr, "%s: the same answers as ", clean(v->runs[k]));
            fprintf(stderr, "%s, pixel for pixel: they have two votes\n", clean(v->runs[i]));
            break;
        }
}

/* The score of a row "NAME,METRIC,SCORE,...", NAME perhaps in quotes; NaN: there is none, or it is empty. */
static double score_of_row(const char *row)
{
    bool quoted = false;
    for (; *row && *row != '\n' && (quoted || *row != ','); row++) quoted ^= *row == '"';
    const char *metric = *row == ',' ? row + 1 : row;
    size_t n = strcspn(metric, ",\n");
    return metric[n] == ',' && metric[n + 1] != ',' ? strtod(metric + n + 1, NULL) : (double)NAN;
}

/* Rejects a table with fewer answers than are counted: other pictures in the run's folder may be an earlier run's. */
static int check_rows(const char *path, int expected, int rows, vdm_error *err)
{
    if (rows >= expected) return 0;
    if (rows > 0)
        return vdm_fail(err, "%s: expected the scores of %d answers, found %d; --limit %d counts only those",
                        path, expected, rows, rows);
    return vdm_fail(err, "%s: expected a row for each of %d answers, found none", path, expected);
}

/* Reads a run's table, which has a row for each of its answers, also without a score. */
static int read_run(struct vote *v, int k, vdm_error *err)
{
    const char *run = v->runs[k];
    double *to = v->recorded + (int64_t)k * v->evaluation.asked;
    char *path = vdm_path(run, "scores.csv", err), *text = NULL;
    size_t size = 0;
    int rows = -1, status = path ? 0 : -1; /* without the header */
    for (int i = 0; i < v->evaluation.asked; i++) to[i] = (double)NAN;
    if (path && has(run, "scores.csv")) {
        status = vdm_read_file(path, VDM_MAX_JSON, &text, &size, err);
        for (size_t i = 0; i < size; i++) rows += text[i] == '\n';
        const char *row = size ? strchr(text, '\n') : NULL;
        for (int i = 0; i < v->evaluation.asked; i++) {
            if (row && row[1] && v->task.test[i].output) to[i] = score_of_row(row + 1);
            row = row ? strchr(row + 1, '\n') : NULL;
        }
        if (!status) status = check_rows(path, v->evaluation.asked, rows, err);
    }
    vdm_free(text);
    vdm_free(path);
    return status;
}

static int prepare(struct vote *v, const options *o, vdm_error *err)
{
    session s = {.options = o, .geometry = {.frames = 1}}; /* an answer counts as a video of one frame here */
    vdm_task *t = &v->task;
    if (vdm_task_read(t, o->operands[0], err)) return -1;
    if (t->arc.path || t->metric != VDM_METRIC_CELLS)
        return vdm_fail(err, "%s: expected a task folder of grids, metric cells, found %s", t->path,
                        t->arc.path ? "an ARC-AGI file (vdm arc --augment votes)"
                                    : vdm_metric_name(t->metric));
    int n = evaluation_asked(t, o->limit, err);
    vdm_geometry *g = &s.geometry;
    if (n < 0 || size_of(o, t->test[0].input, &g->height, &g->width, err) ||
        canvas_resize(t, true, g->height, g->width, err) || evaluation_plan(&v->evaluation, &s, t, n, 0, err))
        return -1;
    v->runs = o->operands + 1;
    v->n_runs = o->n_operands - 1;
    v->recorded =
        vdm_alloc((size_t)v->n_runs * (size_t)n, sizeof *v->recorded, "the scores of the runs", err);
    v->hashes = vdm_alloc((size_t)v->n_runs, sizeof *v->hashes, "the hashes of the runs", err);
    if (!v->recorded || !v->hashes) return -1;
    v->scores = vdm_path(o->output, "scores.csv", err);
    v->page = vdm_path(o->output, "report.html", err);
    if (!v->scores || !v->page) return -1;
    const truths outputs = {.task = t, .n_test = n, .height = g->height, .width = g->width};
    if (truths_check(&outputs, err)) return -1;
    int status = -1;
    paths p = {0};
    if (paths_read_task(&p, t, err)) goto end;
    for (int i = 0; i < v->n_runs; i++)
        if (check_once(v, i, err) || check_ended(v->runs[i], err) || read_run(v, i, err) ||
            paths_read_folder(&p, v->runs[i], err))
            goto end;
    if (paths_make_folder(&p, o->output, err)) goto end;
    if (paths_write(&p, v->scores, ANY_FILE, err) || paths_write(&p, v->page, ANY_FILE, err)) goto end;
    v->evaluation.claim = (claim){o->output, "vote"};
    status = paths_check(&p, err);
    if (!status) status = lock_take(&v->lock, o->output, o->output, err);
    if (!status) status = claim_folder(&v->evaluation.claim, t, n, err);
end:
    paths_free(&p);
    return status;
}

static int run(struct vote *v, const options *o, const char *command, vdm_error *err)
{
    page p = {.command = command, .task = &v->task, .evaluation = &v->evaluation};
    for (int i = 0; i < v->evaluation.asked; i++)
        if (vote_on(v, &v->task.test[i], o->output, err)) return -1;
    report_copies(v);
    evaluation_print_others(&v->evaluation, o->output);
    if (evaluation_write(&v->evaluation, v->scores, err)) return -1;
    if (page_write(&p, v->page, err)) return -1;
    fprintf(stderr, "%s shows the answers\n", clean(v->page));
    return 0;
}

int command_vote(int argc, char **argv)
{
    options o;
    vdm_error err;
    struct vote v = {0};
    int status = options_read(&o, VOTE, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands < 2)
        return misuse("vote: expected a task folder and folders of answers, found %d", o.n_operands);
    if (!o.output) return misuse("vote: expected -o DIR");
    char *command = command_line("vote", argc, argv, &err);
    status = command ? prepare(&v, &o, &err) : -1;
    if (!status) status = run(&v, &o, command, &err);
    status = status ? fail(&err) : evaluation_summary(&o, &v.evaluation);
    lock_release(&v.lock);
    vdm_free(command);
    vdm_free(v.recorded);
    vdm_free(v.hashes);
    vdm_free(v.scores);
    vdm_free(v.page);
    evaluation_free(&v.evaluation);
    vdm_task_free(&v.task);
    return status;
}
