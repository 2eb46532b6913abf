/* One ARC-AGI task: learns its pairs, answers its tests, and reads the grids from the last frames.
 *
 *   grids -> views -> pictures -> adapter (training.c)
 *         -> per seed and view a video -> last frame -> grid, brought back to the first view -> votes -> answers
 *
 * In one view the answers are in the order of the seeds, without repeats: attempt 1 is the answer of --seed, however
 * many there are. Views have their own prompts (--views) or the same one (--augment): then the answers of all views and
 * seeds are counted, and attempt k is the k-th most frequent grid; in a tie that of the earlier seed, then that of the
 * earlier view. The majority vote of each cell comes before grids that occurred once. */
#include "tools/arc/solve.h"
#include "tools/messages.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/evaluation.h"
#include "tools/run/pictures.h"
#include "tools/run/plan.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------
 * Before the work */

/* The rule oracle needs a stored answer: without one the size of an answer can't be known. */
static int check_rule(const solver *s, vdm_error *err)
{
    for (int i = 0; i < s->arc.n_test; i++)
        if (!s->arc.test[i].y.rows && strcmp(s->options.arc.size_rule, "oracle") == 0)
            return vdm_fail(
                err,
                "%s: test[%d].output: found none, but --size-rule oracle takes the answer's size from it; "
                "expected --size-rule same or infer",
                s->arc.path, i);
    return 0;
}

/* --shots pairs in every view: training.c learns the first of the list, so they are moved to its front. The grids of
 * the others still count for the layout. */
static void choose_pairs(solver *s, vdm_arc *all)
{
    struct learn_options *learn = &s->options.learn;
    int pairs = s->arc.n_train, shots = learn->shots;
    if (shots > pairs)
        fprintf(stderr, "--shots %d: %s has %d pair%s\n", shots, clean(s->arc.path), pairs, plural(pairs));
    if (!shots || shots > pairs) shots = pairs;
    for (int v = 1; v < s->n_views; v++)
        for (int i = 0; i < shots; i++) {
            vdm_arc_pair chosen = all->train[v * pairs + i];
            all->train[v * pairs + i] = all->train[v * shots + i];
            all->train[v * shots + i] = chosen;
        }
    learn->shots = s->n_views * shots;
}

/* The views of --augment; those of --views are made by training.c. */
static int make_views(solver *s, vdm_error *err)
{
    vdm_arc all;
    struct eval_options *eval = &s->options.eval;
    if (s->options.arc.augment && eval->asked_views > 1)
        return vdm_fail(err, "--augment %d, --views %d: expected one of the two", s->options.arc.augment,
                        eval->asked_views);
    if (s->options.arc.augment) eval->views = eval->asked_views = 1;
    bool square = s->options.height == s->options.width; /* others have no space for every transposed grid */
    s->n_views = 1 + s->options.arc.augment;
    s->views = vdm_alloc((size_t)s->n_views, sizeof *s->views, "the views of a task", err);
    if (!s->views) return -1;
    vdm_views_make(s->views, s->n_views, square, 1, 10, s->options.seed);
    if (vdm_arc_augment(&all, &s->arc, s->views, s->n_views, err)) return -1;
    choose_pairs(s, &all);
    return vdm_task_of_arc(&s->task, &all, err);
}

static int start_result(solver *s, vdm_error *err)
{
    arc_result *r = &s->result;
    r->task = vdm_copy_text(s->arc.name, err);
    r->run = options_key(&s->options, err);
    r->tests = vdm_alloc((size_t)s->arc.n_test, sizeof *r->tests, "the answers", err);
    if (!r->task || !r->run || !r->tests) return -1;
    r->n_tests = s->arc.n_test;
    r->attempts = s->options.arc.attempts;
    r->pairs = s->arc.n_train;
    for (int i = 0; i < r->n_tests; i++) {
        r->tests[i].input = s->arc.test[i].x;
        r->tests[i].truth = s->arc.test[i].y;
    }
    return 0;
}

static int prepare(solver *s, const char *path, const char *work, bool resumable, vdm_error *err)
{
    struct stat st;
    options *o = &s->options;
    char *state = vdm_path(work, "state.safetensors", err);
    if (!state) return -1;
    o->learn.resume = resumable && stat(state, &st) == 0;
    vdm_free(state);
    if (vdm_arc_read(&s->arc, path, err) || check_rule(s, err) || start_result(s, err) || make_views(s, err))
        return -1;
    if (canvas_lay_out(&s->task, o, strcmp(o->arc.size_rule, "oracle") == 0, err)) return -1;
    s->result.cell = s->task.grid.cell;
    s->result.palette = s->task.grid.palette;
    s->result.height = o->height;
    s->result.width = o->width;
    if (training_plan(&s->training, &s->session, &s->task, o, err)) return -1;
    if (!resumable) s->training.claim = (claim){work, "arc"};
    s->training.augmented = s->n_views;
    if (print_seen_inputs(&s->task, training_pairs(&s->training), s->arc.n_test, err)) return -1;
    paths p = {0};
    if (paths_of_options(&p, o, ARC, err) || training_output(&s->training, work, resumable, &p, err)) {
        paths_free(&p);
        return -1;
    }
    return paths_check(&p, err);
}

/* ------------------------------------------------------------------------------------------------
 * Answers */

/* All samples: grids [tests][attempts][views], in the first view. Views are those of --augment or those of --views. */
struct samples {
    solver *s;
    vdm_grid *grids;
    int views;
    float *images, *videos; /* [group,3,H,W], [group,T,3,H,W] */
    uint8_t *bytes;         /* [H,W,3] */
    int group;
    vdm_progress inner;
    int done, of; /* sampling steps */
    double start;
};

static int report(void *user, const vdm_report *r)
{
    const struct samples *a = user;
    int step = a->done + (strcmp(r->phase, "sample") == 0 ? r->step : 0);
    vdm_report all = {"answer", step < a->of ? step : a->of - 1, a->of, vdm_seconds() - a->start,
                      (double)NAN};
    return a->inner.report(a->inner.user, &all);
}

/* The answer's size by the rule, as the task shows question q. */
static int find_size(vdm_grid *g, const solver *s, const vdm_task *shown, int q, const vdm_picture *last,
                     vdm_error *err)
{
    const vdm_arc_pair *pair = &s->task.arc.test[q];
    bool transposed = shown->view && (shown->view->symmetry & 4);
    const char *rule = s->options.arc.size_rule;
    if (strcmp(rule, "infer") == 0) return vdm_arc_infer_size(g, last, &s->task.grid, err);
    const vdm_grid *like = strcmp(rule, "same") == 0 ? &pair->x : &pair->y;
    g->rows = transposed ? like->cols : like->rows;
    g->cols = transposed ? like->rows : like->cols;
    return 0;
}

/* Takes the last frame of question q's video, of seed number a, in view k of --views. video [T,3,H,W] */
static int take(struct samples *t, int a, int k, int q, const float *video, vdm_error *err)
{
    solver *s = t->s;
    const vdm_geometry *g = &s->session.geometry;
    const views *learned = &s->training.views;
    const vdm_task shown = views_show(learned, &s->task, k);
    int tests = s->arc.n_test, view = learned->n > 1 ? k : q / tests, test = q % tests,
        attempts = s->options.arc.attempts;
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    vdm_picture last = {g->height, g->width, t->bytes};
    vdm_grid seen = {0};
    const float *last_frame = video + (size_t)(g->frames - 1) * frame;
    vdm_bytes_from_video(t->bytes, last_frame, 1, g->height, g->width);
    if (find_size(&seen, s, &shown, q, &last, err) ||
        vdm_arc_decode(&seen, &last, &s->task.grid, &s->colours, err))
        return -1;
    vdm_view_grid(&t->grids[(test * attempts + a) * t->views + view], &seen,
                  shown.view ? shown.view : &s->views[view], VDM_OUT_OF_VIEW);
    if (!s->frames || view) return 0;
    return picture_shrink(&s->frames[test * attempts + a], &last, err);
}

/* The answer to training pair q, compared with its output. video [T,3,H,W] */
static int study(struct samples *t, vdm_colour_study *colours, int q, const float *video, vdm_error *err)
{
    const solver *s = t->s;
    const vdm_geometry *g = &s->session.geometry;
    const vdm_grid_layout grid = vdm_example_grid(&s->task, &s->task.train[q]);
    vdm_picture truth, last = {g->height, g->width, t->bytes};
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    const float *last_frame = video + (size_t)(g->frames - 1) * frame;
    vdm_bytes_from_video(t->bytes, last_frame, 1, g->height, g->width);
    if (vdm_example_picture(&truth, &s->task, &s->task.train[q], VDM_OUTPUT, g->height, g->width, err))
        return -1;
    vdm_colour_add(colours, s->task.metric, &grid, &last, &truth);
    vdm_picture_free(&truth);
    return 0;
}

/* Answers n questions from q on in view k, with seed number a; with `colours` set training pairs, to study them. */
static int answer(struct samples *t, int a, int k, int q, int n, vdm_colour_study *colours, vdm_error *err)
{
    solver *s = t->s;
    session *m = &s->session;
    const vdm_geometry *g = &m->geometry;
    const vdm_progress progress = {.report = report, .user = t};
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    const vdm_task shown = views_show(&s->training.views, &s->task, k);
    vdm_pipeline pipeline = session_pipeline(m);
    vdm_sample_options p = sample_options(m);
    pipeline.prompt = views_text(&s->training.views, m, k);
    p.videos = n;
    p.seed += (uint64_t)a;
    for (int i = 0; i < n; i++) {
        const vdm_example *e = (colours ? shown.train : shown.test) + q + i;
        vdm_picture input;
        if (vdm_example_picture(&input, &shown, e, VDM_INPUT, g->height, g->width, err)) return -1;
        vdm_video_from_bytes(t->images + (size_t)i * frame, input.rgb, 1, g->height, g->width);
        vdm_picture_free(&input);
    }
    int status = vdm_sample(&pipeline, &p, t->images, t->videos, &progress, err);
    for (int i = 0; i < n && !status; i++) {
        const float *video = t->videos + (size_t)(i * g->frames) * frame;
        status = colours ? study(t, colours, q + i, video, err) : take(t, a, k, q + i, video, err);
    }
    t->done += p.steps;
    return status;
}

/* From the answers to the pairs that were learned, in the first view. */
static int learn_colours(solver *s, struct samples *t, vdm_error *err)
{
    vdm_colour_study *seen = vdm_alloc(1, sizeof *seen, "a study of colours", err);
    int n = training_pairs(&s->training), status = seen ? 0 : -1;
    for (int q = 0; q < n && !status; q += t->group)
        status = answer(t, 0, 0, q, n - q < t->group ? n - q : t->group, seen, err);
    if (!status)
        status =
            vdm_colour_learn(&s->colours, s->colours.kind, seen, s->task.metric, s->task.grid.palette, err);
    vdm_free(seen);
    return status;
}

static void vote(solver *s, const struct samples *a)
{
    int attempts = s->options.arc.attempts, samples = attempts * a->views;
    for (int i = 0; i < s->arc.n_test; i++) {
        arc_test *t = &s->result.tests[i];
        const vdm_grid *grids = a->grids + i * samples;
        if (a->views > 1)
            t->n = vdm_arc_answers(t->answers, attempts, grids, samples);
        else
            t->n = vdm_arc_distinct(t->answers, grids, samples);
    }
}

/* All questions in all views, with all seeds. */
static int answer_views(struct samples *t, vdm_error *err)
{
    const solver *s = t->s;
    int questions = s->task.n_test, learned = s->training.views.n, status = 0;
    for (int a = 0; a < s->options.arc.attempts; a++)
        for (int k = 0; k < learned; k++)
            for (int q = 0; q < questions && !status; q += t->group)
                status = answer(t, a, k, q, questions - q < t->group ? questions - q : t->group, NULL, err);
    return status;
}

static int answer_all(solver *s, struct samples *t, vdm_error *err)
{
    const vdm_geometry *g = &s->session.geometry;
    console c;
    int questions = s->task.n_test, learned = s->training.views.n, attempts = s->options.arc.attempts,
        status = 0, studied = training_pairs(&s->training);
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    if (!vdm_colour_learns(s->colours.kind)) studied = 0;
    t->group = evaluation_group(&s->session, questions > studied ? questions : studied);
    int groups =
        attempts * learned * ((questions + t->group - 1) / t->group) + (studied + t->group - 1) / t->group;
    t->of = groups * s->options.sample.steps;
    t->views = learned * s->n_views;
    t->grids = vdm_alloc((size_t)(attempts * learned * questions), sizeof *t->grids, "the answers", err);
    t->images = vdm_alloc((size_t)t->group * frame, sizeof(float), "the pictures", err);
    t->videos = vdm_alloc((size_t)(t->group * g->frames) * frame, sizeof(float), "the videos", err);
    t->bytes = vdm_alloc(frame, 1, "a frame", err);
    if (!t->grids || !t->images || !t->videos || !t->bytes) return -1;
    t->inner = console_progress(&c);
    t->start = vdm_seconds();
    if (studied) status = learn_colours(s, t, err);
    if (!status) status = answer_views(t, err);
    vdm_report end = {"answer", t->of, t->of, vdm_seconds() - t->start, (double)NAN};
    if (!status) t->inner.report(t->inner.user, &end);
    console_end(&c);
    if (!status) vote(s, t);
    return status;
}

static int answer_tests(solver *s, bool frames, vdm_error *err)
{
    struct samples t = {.s = s};
    size_t n = (size_t)(s->options.arc.attempts * s->arc.n_test);
    if (frames && !(s->frames = vdm_alloc(n, sizeof *s->frames, "the answers", err))) return -1;
    s->session.lora = s->training.adapter; /* borrowed for the answers */
    int status = answer_all(s, &t, err);
    s->session.lora = (vdm_lora){0};
    vdm_free(t.grids);
    vdm_free(t.images);
    vdm_free(t.videos);
    vdm_free(t.bytes);
    return status;
}

static int limit_memory(solver *s, vdm_error *err)
{
    const training *l = &s->training;
    return session_limit_memory(&s->session, plan_bytes(&s->session, l->fit.steps, s->task.n_test, l->videos),
                                err);
}

int solver_run(solver *s, const options *o, const char *path, const char *work, bool resumable, bool frames,
               vdm_error *err)
{
    double start = vdm_seconds();
    *s = (solver){.options = *o};
    if (vdm_colour_parse(&s->colours.kind, o->eval.colour))
        return vdm_fail(err, "--colour: found '%s', expected none, shift, affine or palette", o->eval.colour);
    int status = prepare(s, path, work, resumable, err);
    if (!status) status = training_read(&s->training, err);
    if (!status) status = session_load(&s->session, err);
    if (!status) status = limit_memory(s, err);
    if (!status) status = training_run(&s->training, err);
    if (!status) status = answer_tests(s, frames, err);
    s->result.seconds = s->options.learn.resume ? (double)NAN : vdm_seconds() - start;
    return status;
}

void solver_free(solver *s)
{
    for (int i = 0; s->frames && i < s->options.arc.attempts * s->arc.n_test; i++)
        vdm_picture_free(&s->frames[i]);
    vdm_free(s->frames);
    training_free(&s->training);
    session_free(&s->session);
    vdm_task_free(&s->task);
    vdm_arc_free(&s->arc);
    vdm_free(s->views);
    result_free(&s->result);
    *s = (solver){0};
}
