/* One ARC-AGI task: its pairs are learned, its tests answered, the grids read from the last frames.
 *
 *   grids -> views -> pictures -> adapter (training.c) -> per seed and view a video -> last frame -> grid, in
 * the first view again -> votes -> answers
 *
 * Without --augment there is one view, and attempt k is the answer of seed + k - 1. With it the answers of
 * all views and seeds are counted, and attempt k is the k-th most frequent one; among equally frequent ones,
 * that of the earlier seed, and the first view before others. */
#include "tools/arc/solve.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/evaluation.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* ------------------------------------------------------------------------------------------------
 * Settings */

/* Answering has the model's own settings, and of the command line's those that concern it. */
static int set_ask(options *a, const options *l, vdm_error *err)
{
    if (options_defaults(a, EVAL, l->model, err)) return -1;
    a->model = l->model;
    a->frames = l->frames;
    a->tiled = l->tiled;
    a->threads = l->threads;
    a->seed = l->seed;
    memcpy(a->image_scale, l->image_scale, sizeof a->image_scale);
    memcpy(a->precision, l->precision, sizeof a->precision);
    if (*l->sampler) memcpy(a->sampler, l->sampler, sizeof a->sampler);
    if (l->guidance >= 0) a->guidance = l->guidance;
    if (l->sample_steps) a->steps = l->sample_steps;
    if (l->ensemble) a->ensemble = l->ensemble;
    return 0;
}

/* Everything that the numbers depend on, but the task itself. */
char *solver_settings(const options *o, vdm_error *err)
{
    enum { MAX_SETTINGS = 4096 };
    options a;
    if (set_ask(&a, o, err)) return NULL;
    char *text = vdm_alloc(MAX_SETTINGS, 1, "the settings", err);
    if (!text) return NULL;
    char pure[32] = "", ensemble[32] = ""; /* said where they are used: older results go on */
    if (o->pure_noise > 0) snprintf(pure, sizeof pure, ", pure noise %g", o->pure_noise);
    if (a.ensemble > 1) snprintf(ensemble, sizeof ensemble, ", ensemble %d", a.ensemble);
    int n = snprintf(
        text, MAX_SETTINGS,
        "%s; %s; learn %d steps of %d x %d%s, lr %g %s %d, decay %g, clip %g, rank %d, alpha %g, "
        "phi %s, frames %d, shots %d, image %s%s%s%s%s; ask %d steps%s%s%s, guidance %g%s%s%s%s; seed %llu; "
        "canvas %dx%d, cell %d, border %d, align %d, grow %d, outside %s, palette %s; "
        "size rule %s; attempts %d; augment %d; colour %s",
        o->model, o->precision, o->steps, o->batch, o->accumulate, pure, o->lr, o->schedule, o->warmup,
        o->weight_decay, o->clip, o->rank, o->alpha, o->phi ? o->phi : "discrete", o->frames, o->shots,
        o->image_scale, o->no_image_noise ? " without noise" : "", o->tiled ? ", tiled" : "",
        o->init ? ", from " : "", o->init ? o->init : "", a.steps, *a.sampler ? " of " : "", a.sampler,
        ensemble, a.guidance, o->prompt_embeds ? ", prompt " : "", o->prompt_embeds ? o->prompt_embeds : "",
        o->negative_embeds ? ", negative " : "", o->negative_embeds ? o->negative_embeds : "",
        (unsigned long long)o->seed, o->height, o->width, o->cell < 0 ? 0 : o->cell,
        o->border < 0 ? 2 : o->border, o->align < 0 ? 1 : o->align, o->grow < 0 ? 0 : o->grow,
        *o->outside ? o->outside : "black", *o->palette ? o->palette : "arc", o->size_rule, o->attempts,
        o->augment, o->colour);
    if (n > 0 && n < MAX_SETTINGS) return text;
    vdm_free(text);
    vdm_fail(err, "paths in the options: expected less than %d bytes, found %d", MAX_SETTINGS, n);
    return NULL;
}

/* ------------------------------------------------------------------------------------------------
 * Before the work */

static char *copy_text(const char *text, vdm_error *err)
{
    size_t n = strlen(text) + 1;
    char *copy = vdm_alloc(n, 1, "a name", err);
    if (copy) memcpy(copy, text, n);
    return copy;
}

/* An answer's size can't be known where the rule is the oracle and the answer is kept back. */
static int check_rule(const solver *s, vdm_error *err)
{
    for (int i = 0; i < s->arc.n_test; i++)
        if (!s->arc.test[i].y.rows && strcmp(s->learn.size_rule, "oracle") == 0)
            return vdm_fail(
                err,
                "%s: test[%d].output: found none, from which --size-rule oracle takes the answer's "
                "size; expected --size-rule same or infer",
                s->arc.path, i);
    return 0;
}

static int make_views(solver *s, vdm_error *err)
{
    vdm_arc all;
    bool square = s->learn.height == s->learn.width; /* others have no space for every transposed grid */
    s->n_views = 1 + s->learn.augment;
    s->views = vdm_alloc((size_t)s->n_views, sizeof *s->views, "the views of a task", err);
    if (!s->views) return -1;
    vdm_arc_views(s->views, s->n_views, square, 1, 10, s->learn.seed);
    return vdm_arc_augment(&all, &s->arc, s->views, s->n_views, err) || vdm_arc_task(&s->task, &all, err) ? -1
                                                                                                          : 0;
}

static int start_result(solver *s, vdm_error *err)
{
    arc_result *r = &s->result;
    r->task = copy_text(s->arc.name, err);
    r->run = solver_settings(&s->learn, err);
    r->tests = vdm_alloc((size_t)s->arc.n_test, sizeof *r->tests, "the answers", err);
    if (!r->task || !r->run || !r->tests) return -1;
    r->n_tests = s->arc.n_test;
    r->attempts = s->learn.attempts;
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
    options *o = &s->learn;
    char *state = vdm_path(work, "state.safetensors", err);
    if (!state) return -1;
    o->resume = resumable && stat(state, &st) == 0;
    vdm_free(state);
    if (vdm_arc_read(&s->arc, path, err) || check_rule(s, err) || start_result(s, err) || make_views(s, err))
        return -1;
    /* in the order of these: what is asked has the canvas, what is learned its own batch */
    if (canvas_lay_out(&s->task, o, strcmp(o->size_rule, "oracle") == 0, err) || set_ask(&s->ask, o, err))
        return -1;
    s->result.cell = s->task.cell;
    s->result.palette = s->task.palette;
    s->ask.height = s->result.height = o->height;
    s->ask.width = s->result.width = o->width;
    return training_plan(&s->training, &s->session, &s->task, o, err) ||
                   training_output(&s->training, work, resumable, err)
               ? -1
               : 0;
}

/* ------------------------------------------------------------------------------------------------
 * Answers */

/* All samples: grids [tests][attempts][views], in the first view. */
struct samples {
    solver *s;
    vdm_grid *grids;
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

/* The answer's size by the rule, in the view of question q. */
static int find_size(vdm_grid *g, const solver *s, int q, const vdm_picture *last, vdm_error *err)
{
    const vdm_arc_pair *pair = &s->task.arc.test[q];
    const char *rule = s->learn.size_rule;
    if (strcmp(rule, "infer") == 0) return vdm_arc_infer_size(g, last, &s->task, err);
    const vdm_grid *like = strcmp(rule, "same") == 0 ? &pair->x : &pair->y;
    g->rows = like->rows;
    g->cols = like->cols;
    return 0;
}

/* Takes the last frame of question q's video, of seed number a. video [T,3,H,W] */
static int take(struct samples *t, int a, int q, const float *video, vdm_error *err)
{
    solver *s = t->s;
    const vdm_geometry *g = &s->session.geometry;
    int tests = s->arc.n_test, view = q / tests, test = q % tests, attempts = s->learn.attempts;
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    vdm_picture last = {g->width, g->height, t->bytes};
    vdm_grid seen = {0};
    const float *last_frame = video + (size_t)(g->frames - 1) * frame;
    if (vdm_video_check(last_frame, 1, g->height, g->width, err)) return -1;
    vdm_bytes_from_video(t->bytes, last_frame, 1, g->height, g->width);
    if (find_size(&seen, s, q, &last, err) || vdm_arc_decode(&seen, &last, &s->task, &s->colours, err))
        return -1;
    vdm_arc_undo(&t->grids[(test * attempts + a) * s->n_views + view], &seen, &s->views[view]);
    if (!s->frames || view) return 0;
    return picture_shrink(&s->frames[test * attempts + a], &last, err);
}

/* What came out for training pair q, beside what should have. video [T,3,H,W] */
static int study(struct samples *t, vdm_colour_study *colours, int q, const float *video, vdm_error *err)
{
    const solver *s = t->s;
    const vdm_geometry *g = &s->session.geometry;
    const vdm_task shape = vdm_example_grid(&s->task, &s->task.train[q]);
    vdm_picture truth, last = {g->width, g->height, t->bytes};
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    const float *last_frame = video + (size_t)(g->frames - 1) * frame;
    if (vdm_video_check(last_frame, 1, g->height, g->width, err)) return -1;
    vdm_bytes_from_video(t->bytes, last_frame, 1, g->height, g->width);
    if (vdm_example_picture(&truth, &s->task, &s->task.train[q], true, g->height, g->width, err)) return -1;
    vdm_colour_add(colours, &shape, &last, &truth);
    vdm_picture_free(&truth);
    return 0;
}

/* Answers n questions from q on, with seed number a; with `colours` set training pairs, to study them. */
static int answer(struct samples *t, int a, int q, int n, vdm_colour_study *colours, vdm_error *err)
{
    solver *s = t->s;
    session *m = &s->session;
    const vdm_geometry *g = &m->geometry;
    const vdm_progress progress = {report, t};
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    vdm_sample_options p = sample_options(m);
    p.videos = n;
    p.seed += (uint64_t)a;
    for (int i = 0; i < n; i++) {
        const vdm_example *e = (colours ? s->task.train : s->task.test) + q + i;
        vdm_picture input;
        if (vdm_example_picture(&input, &s->task, e, false, g->height, g->width, err)) return -1;
        vdm_video_from_bytes(t->images + (size_t)i * frame, input.rgb, 1, g->height, g->width);
        vdm_picture_free(&input);
    }
    int status = vdm_sample(&m->transformer, &m->vae, &m->schedule, &m->lora, &m->cpu, &p, t->images,
                            m->prompt, m->negative, t->videos, &progress, err);
    for (int i = 0; i < n && !status; i++) {
        const float *video = t->videos + (size_t)(i * g->frames) * frame;
        status = colours ? study(t, colours, q + i, video, err) : take(t, a, q + i, video, err);
    }
    t->done += p.steps;
    return status;
}

static bool learns_colours(const solver *s)
{
    return s->colours.kind == VDM_COLOUR_AFFINE || s->colours.kind == VDM_COLOUR_PALETTE;
}

/* From the answers to the pairs that were learned, in the first view. */
static int learn_colours(solver *s, struct samples *t, vdm_error *err)
{
    vdm_colour_study *seen = vdm_alloc(1, sizeof *seen, "a study of colours", err);
    int n = s->arc.n_train, status = seen ? 0 : -1;
    for (int q = 0; q < n && !status; q += t->group)
        status = answer(t, 0, q, n - q < t->group ? n - q : t->group, seen, err);
    if (!status) status = vdm_colour_learn(&s->colours, s->colours.kind, seen, &s->task, err);
    vdm_free(seen);
    return status;
}

static void vote(solver *s, const vdm_grid *grids)
{
    int samples = s->learn.attempts * s->n_views, best[MAX_ATTEMPTS];
    for (int i = 0; i < s->arc.n_test; i++) {
        arc_test *t = &s->result.tests[i];
        t->n = vdm_arc_vote(best, NULL, s->learn.attempts, grids + i * samples, samples);
        for (int k = 0; k < t->n; k++) t->answers[k] = grids[i * samples + best[k]];
    }
}

static int answer_all(solver *s, struct samples *t, vdm_error *err)
{
    const vdm_geometry *g = &s->session.geometry;
    console c;
    int questions = s->task.n_test, attempts = s->learn.attempts, status = 0, studied = s->arc.n_train;
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    if (!learns_colours(s)) studied = 0;
    t->group = evaluation_group(&s->session, questions > studied ? questions : studied);
    int groups = attempts * ((questions + t->group - 1) / t->group) + (studied + t->group - 1) / t->group;
    t->of = groups * s->ask.steps;
    t->grids = vdm_alloc((size_t)(attempts * questions), sizeof *t->grids, "the answers", err);
    t->images = vdm_alloc((size_t)t->group * frame, sizeof(float), "the pictures", err);
    t->videos = vdm_alloc((size_t)(t->group * g->frames) * frame, sizeof(float), "the videos", err);
    t->bytes = vdm_alloc(frame, 1, "a frame", err);
    if (!t->grids || !t->images || !t->videos || !t->bytes) return -1;
    t->inner = console_progress(&c);
    t->start = vdm_seconds();
    if (studied) status = learn_colours(s, t, err);
    for (int a = 0; a < attempts && !status; a++)
        for (int q = 0; q < questions && !status; q += t->group)
            status = answer(t, a, q, questions - q < t->group ? questions - q : t->group, NULL, err);
    vdm_report end = {"answer", t->of, t->of, vdm_seconds() - t->start, (double)NAN};
    if (!status) t->inner.report(t->inner.user, &end);
    console_end(&c);
    if (!status) vote(s, t->grids);
    return status;
}

static int answer_tests(solver *s, bool frames, vdm_error *err)
{
    struct samples t = {.s = s};
    size_t n = (size_t)(s->learn.attempts * s->arc.n_test);
    if (frames && !(s->frames = vdm_alloc(n, sizeof *s->frames, "the answers", err))) return -1;
    s->session.options = &s->ask;
    s->session.lora = s->training.adapter; /* lent for the answers */
    int status = answer_all(s, &t, err);
    s->session.lora = (vdm_lora){0};
    vdm_free(t.grids);
    vdm_free(t.images);
    vdm_free(t.videos);
    vdm_free(t.bytes);
    return status;
}

int solver_run(solver *s, const options *o, const char *path, const char *work, bool resumable, bool frames,
               vdm_error *err)
{
    double start = vdm_seconds();
    *s = (solver){.learn = *o};
    if (vdm_colour_parse(&s->colours.kind, o->colour))
        return vdm_fail(err, "--colour: found '%s', expected none, shift, affine or palette", o->colour);
    int status = prepare(s, path, work, resumable, err) || training_read(&s->training, err) ||
                         session_load(&s->session, err) || training_run(&s->training, err) ||
                         answer_tests(s, frames, err)
                     ? -1
                     : 0;
    s->result.seconds = vdm_seconds() - start;
    return status;
}

void solver_free(solver *s)
{
    for (int i = 0; s->frames && i < s->learn.attempts * s->arc.n_test; i++) vdm_picture_free(&s->frames[i]);
    vdm_free(s->frames);
    training_free(&s->training);
    session_free(&s->session);
    vdm_task_free(&s->task);
    vdm_arc_free(&s->arc);
    vdm_free(s->views);
    result_free(&s->result);
    *s = (solver){0};
}
