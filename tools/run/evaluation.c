/* Answers to the pictures in a task folder's test/, for vdm eval and vdm demo: each is what predict would answer with
 * the same seed.
 *
 *   input [H,W,3] -> video [T,3,H,W] -> last frame [H,W,3] -> score, exact or not, cells that differ
 *
 * Several small videos go through the model at once (GROUP_TOKENS): the same answers, sooner.
 * Next to every score is that of copying the input, which is high if a task changes little. The pictures of the first
 * answers are stored for the page and the terminal, at most COPY_SIDE pixels a side, so that the memory of a large task
 * is bounded. */
#include "tools/run/evaluation.h"
#include "tools/messages.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"

#include <math.h>
#include <string.h>

int evaluation_asked(const vdm_task *t, int limit, vdm_error *err)
{
    if (!t->n_test) return vdm_fail(err, "%s/test: expected pictures NAME.in.ppm, found none", t->path);
    if (limit > t->n_test)
        fprintf(stderr, "--limit %d: %s has %d test pictures\n", limit, clean(t->path), t->n_test);
    return limit && limit < t->n_test ? limit : t->n_test;
}

/* Checks before any work that the requested map can be learned. */
static int plan_colours(evaluation *a, const session *s, vdm_error *err)
{
    vdm_colour kind = VDM_COLOUR_NONE;
    vdm_error why;
    vdm_colour_parse(&kind, s->options->eval.colour); /* one of the table's words */
    if (kind != VDM_COLOUR_NONE && a->views.n > 1)
        return vdm_fail(err, "%s: --colour %s: expected one view, found %d, whose vote has exact colours",
                        a->task->path, s->options->eval.colour, a->views.n);
    if (vdm_colour_learn(&a->colours, kind, &a->diagnosis->colours, a->task->metric, a->task->grid.palette,
                         &why))
        return vdm_fail(err, "%s: --colour %s: %.300s", a->task->path, s->options->eval.colour, why.text);
    if (vdm_colour_learns(kind) && !a->train_pairs)
        return vdm_fail(err, "%s: --colour %s is learned from training pairs: found none, or --train-pairs 0",
                        a->task->path, s->options->eval.colour);
    return 0;
}

static int check_known(const options *o, const vdm_task *t, int n, vdm_error *err)
{
    for (int i = 0; i < n; i++)
        if (t->test[i].output || !isfinite(o->eval.at_least)) return 0;
    return vdm_fail(err, "%s: --at-least: expected a test picture with a known answer, found none", t->path);
}

int evaluation_plan(evaluation *a, const session *s, const vdm_task *t, int n, int train_pairs,
                    vdm_error *err)
{
    const vdm_geometry *g = &s->geometry;
    *a = (evaluation){.task = t,
                      .geometry = *g,
                      .asked = n,
                      .train_pairs = train_pairs < t->n_train ? train_pairs : t->n_train};
    if (canvas_check_grid(t, &t->test[0], g, err) || check_known(s->options, t, n, err)) return -1;
    a->all = vdm_alloc((size_t)n, sizeof *a->all, "the answers", err);
    a->diagnosis = vdm_alloc(1, sizeof *a->diagnosis, "the diagnosis", err);
    if (!a->all || !a->diagnosis || views_plan(&a->views, s, t, err)) return -1;
    return plan_colours(a, s, err);
}

/* ------------------------------------------------------------------------------------------------
 * Scores */

/* Marks the cells that differ from the truth, if the task has a grid that fits. */
static int mark_cells(struct answer *a, const vdm_grid_layout *grid, const vdm_picture *last,
                      const vdm_picture *truth, vdm_error *err)
{
    vdm_pixel first;
    size_t cells = (size_t)grid->rows * (size_t)grid->cols;
    if (!vdm_grid_place(&first, grid, last->height, last->width)) return 0;
    uint8_t *expected = vdm_alloc(cells, 1, "a grid", err);
    a->wrong = expected ? vdm_alloc(cells, 1, "a grid", err) : NULL;
    if (a->wrong) {
        vdm_grid_read(a->wrong, last, grid);
        vdm_grid_read(expected, truth, grid);
        for (size_t i = 0; i < cells; i++) a->n_wrong += a->wrong[i] = a->wrong[i] != expected[i];
    }
    vdm_free(expected);
    return a->wrong ? 0 : -1;
}

/* raw: the last frame before its colours were corrected. */
static int score(struct answer *a, vdm_metric metric, const vdm_grid_layout *grid, const vdm_picture *input,
                 const vdm_picture *raw, const vdm_picture *last, const vdm_picture *truth, vdm_error *err)
{
    bool same;
    a->known = true;
    if (vdm_score(&a->score, &a->exact, metric, grid, last, truth, err) ||
        vdm_score(&a->copied, &same, metric, grid, input, truth, err) ||
        vdm_score(&a->against_input, &same, metric, grid, last, input, err) ||
        vdm_score(&a->raw, &a->raw_exact, metric, grid, raw, truth, err))
        return -1;
    return mark_cells(a, grid, last, truth, err);
}

static void mean_add(mean_score *m, double score)
{
    if (isfinite(score)) m->value += score, m->finite++;
    if (isinf(score)) m->infinite++;
}

static void mean_end(mean_score *m)
{
    if (m->finite)
        m->value /= m->finite;
    else
        m->value = m->infinite ? (double)INFINITY : (double)NAN;
}

static void add_up(evaluation *a)
{
    mean_score *const means[] = {&a->mean, &a->copied, &a->against_input, &a->raw};
    a->scored = a->exact = a->raw_exact = 0;
    for (int k = 0; k < 4; k++) *means[k] = (mean_score){0};
    for (int i = 0; i < a->n; i++) {
        const struct answer *e = &a->all[i];
        const double scores[] = {e->score, e->copied, e->against_input, e->raw};
        if (!e->known) continue;
        a->scored++;
        a->exact += e->exact;
        a->raw_exact += e->raw_exact;
        for (int k = 0; k < 4; k++) mean_add(means[k], scores[k]);
    }
    for (int k = 0; k < 4; k++) mean_end(means[k]);
    a->diagnosis->test = a->scored;
    a->diagnosis->test_exact = a->exact;
}

/* The mean that --at-least is compared with. An equal picture, whose psnr is infinite, has that of a picture with an error
 * of one level in one channel: more than any other picture of its size, so that a better answer never lowers the mean. */
static double bounded_mean(const evaluation *a)
{
    const mean_score *m = &a->mean;
    const vdm_geometry *g = &a->geometry;
    double best = 10 * log10(255.0 * 255 * 3 * g->height * g->width);
    if (!m->finite || !m->infinite) return m->value;
    return (m->value * m->finite + best * m->infinite) / (m->finite + m->infinite);
}

/* "8.9000", or "8.9000 without 2 equal pictures, whose psnr is infinite" */
static void mean_text(char *text, size_t size, vdm_metric metric, const mean_score *m)
{
    int n = snprintf(text, size, "%.4f", shown_score(metric, m->value, 4));
    if (m->finite && m->infinite && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, " without %d equal picture%s, whose psnr is infinite",
                 m->infinite, plural(m->infinite));
}

/* ------------------------------------------------------------------------------------------------
 * Answers, in groups */

enum { GROUP_TOKENS = 1024 }; /* tokens that go through the model at once: enough rows for a fast matmul */

int picture_shrink(vdm_picture *to, const vdm_picture *from, vdm_error *err)
{
    int side = from->width > from->height ? from->width : from->height;
    int width = from->width, height = from->height;
    if (side > COPY_SIDE) {
        width = (width * COPY_SIDE + side / 2) / side;
        height = (height * COPY_SIDE + side / 2) / side;
    }
    return vdm_picture_resize(to, from, height ? height : 1, width ? width : 1, err);
}

/* Evenly spaced frames of the video, the first and the last among them. bytes [T,H,W,3] */
static int keep_film(struct answer *a, uint8_t *bytes, const vdm_geometry *g, vdm_error *err)
{
    size_t size = (size_t)g->height * (size_t)g->width * 3;
    a->n_film = g->frames < FILM_FRAMES ? g->frames : FILM_FRAMES;
    for (int i = 0; i < a->n_film; i++) {
        vdm_picture p = {g->height, g->width, bytes + (size_t)film_frame(i, g->frames) * size};
        if (picture_shrink(&a->film[i], &p, err)) return -1;
    }
    return 0;
}

int film_frame(int i, int frames)
{
    int n = frames < FILM_FRAMES ? frames : FILM_FRAMES;
    return n > 1 ? (2 * i * (frames - 1) + n - 1) / (2 * (n - 1)) : 0;
}

/* Writes the answer in the original task, not in its view. */
static int write_last(const evaluation *all, const char *folder, const char *name,
                      const vdm_grid_layout *grid, const vdm_picture *last, vdm_error *err)
{
    char file[VDM_MAX_NAME];
    vdm_picture plain = {0}; /* used in a view only */
    const vdm_view *view = all->task->view;
    snprintf(file, sizeof file, "%s.ppm", name);
    char *path = vdm_path(folder, file, err);
    int status = path ? 0 : -1;
    if (!status && view) {
        status = vdm_picture_resize(&plain, last, last->height, last->width, err);
        if (!status) status = vdm_view_picture(&plain, grid, view, VDM_OUT_OF_VIEW, err);
    }
    if (!status) status = vdm_picture_write(view ? &plain : last, path, err);
    vdm_picture_free(&plain);
    vdm_free(path);
    return status;
}

/* A copy with its colours corrected. */
static int correct(vdm_picture *to, const evaluation *all, const vdm_grid_layout *grid,
                   const vdm_picture *raw, vdm_error *err)
{
    if (vdm_picture_resize(to, raw, raw->height, raw->width, err)) return -1;
    vdm_colour_apply(&all->colours, all->task->metric, grid, to);
    return 0;
}

static int keep_pictures(struct answer *a, const vdm_picture *input, const vdm_picture *last,
                         const vdm_picture *truth, vdm_error *err)
{
    if (picture_shrink(&a->input, input, err)) return -1;
    if (picture_shrink(&a->last, last, err)) return -1;
    if (truth->rgb && picture_shrink(&a->truth, truth, err)) return -1;
    return 0;
}

/* Takes a sampled video: its diagnosis (of several views: diagnose_view), its colours corrected, written, scored, stored.
 * bytes [T,H,W,3] */
static int take(evaluation *all, int i, const char *folder, const vdm_picture *input, uint8_t *bytes,
                vdm_error *err)
{
    const vdm_geometry *g = &all->geometry;
    struct answer *a = &all->all[i];
    vdm_grid_layout grid = vdm_example_grid(all->task, a->example);
    vdm_picture truth = {0}, last = {0},
                raw = {g->height, g->width,
                       bytes + (size_t)(g->frames - 1) * (size_t)g->height * (size_t)g->width * 3};
    int status = correct(&last, all, &grid, &raw, err);
    if (!status && folder) status = write_last(all, folder, a->example->name, &grid, &last, err);
    if (!status && a->example->output) {
        status = vdm_example_picture(&truth, all->task, a->example, VDM_OUTPUT, g->height, g->width, err);
        if (!status) status = score(a, all->task->metric, &grid, input, &raw, &last, &truth, err);
    }
    if (!status && all->views.n == 1)
        vdm_diagnosis_add(all->diagnosis, all->task->metric, &grid, bytes, g->frames, input,
                          truth.rgb ? &truth : NULL);
    if (!status && i < SHOWN) status = keep_pictures(a, input, &last, &truth, err);
    if (!status && i < FILMS) status = keep_film(a, bytes, g, err);
    vdm_picture_free(&truth);
    vdm_picture_free(&last);
    return status;
}

/* The bar over all answers: a sampling step of each is one of its steps. */
struct bar {
    vdm_progress inner;
    console console;
    const evaluation *all;
    int each;   /* sampling steps of an answer, in all views */
    int before; /* of them, in the views before this one */
    int done;   /* answers so far, including those to training pairs */
    int group;  /* answers that are sampled together now */
    double start;
};

static int report_all(const struct bar *b, int step)
{
    vdm_report r = {"answer", step, (b->all->train_pairs + b->all->asked) * b->each, vdm_seconds() - b->start,
                    (double)NAN};
    return b->all->quiet ? console_stopped() : b->inner.report(b->inner.user, &r);
}

static int report_one(void *user, const vdm_report *r)
{
    const struct bar *b = user;
    int done = strcmp(r->phase, "sample") == 0   ? r->step
               : strcmp(r->phase, "decode") == 0 ? b->each / b->all->views.n
                                                 : 0;
    int step = b->done * b->each + (b->before + done) * b->group,
        last = (b->all->train_pairs + b->all->asked) * b->each - 1; /* the end comes after the score */
    return report_all(b, step < last ? step : last);
}

int evaluation_group(const session *s, int asked)
{
    int64_t tokens = (int64_t)s->config.transformer.text_tokens + s->geometry.video_tokens;
    int fit = (int)(GROUP_TOKENS / (tokens * s->options->sample.ensemble));
    return fit < 1 ? 1 : fit < asked ? fit : asked;
}

/* Work space for `capacity` answers at once. */
struct group {
    int capacity;
    vdm_picture *inputs; /* [capacity] */
    float *images;       /* [capacity,3,H,W] */
    float *videos;       /* [capacity,T,3,H,W] */
    uint8_t *bytes;      /* [T,H,W,3] */
    bool tests;          /* the answers are to test pictures, not to training pairs */
};

static void group_free(struct group *g)
{
    for (int i = 0; g->inputs && i < g->capacity; i++) vdm_picture_free(&g->inputs[i]);
    vdm_free(g->inputs);
    vdm_free(g->images);
    vdm_free(g->videos);
    vdm_free(g->bytes);
}

static int group_new(struct group *g, const session *s, int asked, vdm_error *err)
{
    size_t frame = (size_t)s->geometry.height * (size_t)s->geometry.width * 3,
           video = (size_t)s->geometry.frames * frame;
    int capacity = evaluation_group(s, asked);
    *g = (struct group){.capacity = capacity};
    g->inputs = vdm_alloc((size_t)capacity, sizeof *g->inputs, "the pictures", err);
    g->images = vdm_alloc((size_t)capacity * frame, sizeof(float), "the pictures", err);
    g->videos = vdm_alloc((size_t)capacity * video, sizeof(float), "the videos", err);
    g->bytes = vdm_alloc(video, 1, "the video's frames", err);
    return g->inputs && g->images && g->videos && g->bytes ? 0 : -1;
}

/* Answers the first n inputs of the list in view k, into g->videos. */
static int answer_view(const evaluation *a, int k, const vdm_example *list, session *s, struct bar *b,
                       struct group *g, int n, vdm_error *err)
{
    const vdm_task shown = views_show(&a->views, a->task, k);
    int H = s->geometry.height, W = s->geometry.width;
    const vdm_progress progress = {.report = report_one, .user = b};
    vdm_sample_options p = sample_options(s);
    p.videos = b->group = n;
    for (int i = 0; i < n; i++) {
        vdm_picture_free(&g->inputs[i]);
        if (vdm_example_picture(&g->inputs[i], &shown, &list[i], VDM_INPUT, H, W, err)) return -1;
        vdm_video_from_bytes(g->images + (int64_t)i * 3 * H * W, g->inputs[i].rgb, 1, H, W);
    }
    vdm_pipeline pipeline = session_pipeline(s);
    pipeline.prompt = views_text(&a->views, s, k);
    return vdm_sample(&pipeline, &p, g->images, g->videos, &progress, err);
}

/* The last frame [3,H,W] of video i of the group. */
static float *last_frame(const evaluation *a, const struct group *g, int i)
{
    const vdm_geometry *size = &a->geometry;
    return g->videos + ((int64_t)(i + 1) * size->frames - 1) * 3 * size->height * size->width;
}

/* The frames of answer i of the group, into g->bytes. */
static void unpack(const evaluation *a, const struct group *g, int i)
{
    const vdm_geometry *size = &a->geometry;
    const float *video = g->videos + (int64_t)i * size->frames * 3 * size->height * size->width;
    vdm_bytes_from_video(g->bytes, video, size->frames, size->height, size->width);
}

/* Adds the group's videos in a view to the diagnosis: the model's own, whose last frame the vote will replace. shown: the
 * task in this view. */
static int diagnose_view(const evaluation *a, const vdm_task *shown, const vdm_example *list,
                         const struct group *g, int n, vdm_error *err)
{
    const vdm_geometry *size = &a->geometry;
    for (int i = 0; i < n; i++) {
        const vdm_grid_layout grid = vdm_example_grid(shown, &list[i]);
        vdm_picture truth = {0};
        if (list[i].output &&
            vdm_example_picture(&truth, shown, &list[i], VDM_OUTPUT, size->height, size->width, err))
            return -1;
        unpack(a, g, i);
        vdm_diagnosis_add(a->diagnosis, shown->metric, &grid, g->bytes, size->frames, &g->inputs[i],
                          truth.rgb ? &truth : NULL);
        vdm_picture_free(&truth);
    }
    return 0;
}

/* Answers in every view, the first one last: its videos stay, with the grid that the views chose as last frame. */
static int answer_views(const evaluation *a, const vdm_example *list, session *s, struct bar *b,
                        struct group *g, int n, cell_votes *votes, vdm_error *err)
{
    int H = a->geometry.height, W = a->geometry.width;
    vdm_picture last = {H, W, g->bytes};
    for (int k = a->views.n - 1; k >= 0; k--) {
        const vdm_task shown = views_show(&a->views, a->task, k);
        b->before = (a->views.n - 1 - k) * s->options->sample.steps;
        if (answer_view(a, k, list, s, b, g, n, err)) return -1;
        if (g->tests && diagnose_view(a, &shown, list, g, n, err)) return -1;
        for (int i = 0; i < n; i++) {
            const vdm_grid_layout grid = vdm_example_grid(&shown, &list[i]);
            vdm_bytes_from_video(g->bytes, last_frame(a, g, i), 1, H, W);
            if (cell_votes_add(&votes[i], &a->views.list[k], &last, &grid, err)) return -1;
        }
    }
    for (int i = 0; i < n; i++) {
        const vdm_grid_layout grid = vdm_example_grid(a->task, &list[i]);
        if (cell_votes_draw(last_frame(a, g, i), H, W, &votes[i], &grid, err)) return -1;
    }
    return 0;
}

/* Answers the first n inputs of the list, into g->videos. */
static int answer(const evaluation *a, const vdm_example *list, session *s, struct bar *b, struct group *g,
                  int n, vdm_error *err)
{
    b->before = 0;
    if (a->views.n == 1) return answer_view(a, 0, list, s, b, g, n, err);
    cell_votes *votes = vdm_alloc((size_t)n, sizeof *votes, "the votes", err);
    int status = votes ? 0 : -1;
    for (int i = 0; i < n && !status; i++) {
        const vdm_grid_layout grid = vdm_example_grid(a->task, &list[i]);
        status = cell_votes_new(&votes[i], grid.rows, grid.cols, err);
    }
    if (!status) status = answer_views(a, list, s, b, g, n, votes, err);
    for (int i = 0; votes && i < n; i++) cell_votes_free(&votes[i]);
    vdm_free(votes);
    return status;
}

static void print_score(const struct answer *a, vdm_metric m)
{
    if (a->known)
        printf("%s %s %.4f%s\n", clean(a->example->name), vdm_metric_name(m), shown_score(m, a->score, 4),
               a->exact ? " exact" : "");
}

/* ------------------------------------------------------------------------------------------------
 * All of them */

int evaluation_take(evaluation *a, const char *folder, const vdm_picture *input, uint8_t *bytes,
                    vdm_error *err)
{
    a->all[a->n].example = &a->task->test[a->n];
    if (!a->n && claim_begin(&a->claim, err)) return -1;
    if (take(a, a->n, folder, input, bytes, err)) return -1;
    a->n++;
    add_up(a);
    return 0;
}

/* Answers to the first training pairs: last frames [train_pairs], and the expected ones. */
struct train_answers {
    vdm_picture *last, *truth;
};

static int answer_train_pairs(struct train_answers *o, evaluation *a, session *s, struct bar *b,
                              struct group *g, vdm_error *err)
{
    const vdm_geometry *size = &a->geometry;
    size_t frame = (size_t)size->height * (size_t)size->width * 3;
    while (b->done < a->train_pairs) {
        const vdm_example *list = a->task->train + b->done;
        int n = a->train_pairs - b->done < g->capacity ? a->train_pairs - b->done : g->capacity;
        if (answer(a, list, s, b, g, n, err)) return -1;
        for (int i = 0; i < n; i++) {
            unpack(a, g, i);
            vdm_picture last = {size->height, size->width, g->bytes + (size_t)(size->frames - 1) * frame};
            if (vdm_picture_resize(&o->last[b->done + i], &last, last.height, last.width, err) ||
                vdm_example_picture(&o->truth[b->done + i], a->task, &list[i], VDM_OUTPUT, size->height,
                                    size->width, err))
                return -1;
        }
        b->done += n;
    }
    return 0;
}

/* Learns the colour map, and counts the training pairs that are right with it. */
static int learn_from_train_pairs(const struct train_answers *o, evaluation *a, vdm_error *err)
{
    vdm_colour_study *study = vdm_alloc(1, sizeof *study, "the colours of the answers", err);
    if (!study) return -1;
    for (int i = 0; i < a->train_pairs; i++) {
        vdm_grid_layout grid = vdm_example_grid(a->task, &a->task->train[i]);
        vdm_colour_add(study, a->task->metric, &grid, &o->last[i], &o->truth[i]);
    }
    int status =
        vdm_colour_learn(&a->colours, a->colours.kind, study, a->task->metric, a->task->grid.palette, err);
    vdm_free(study);
    for (int i = 0; i < a->train_pairs && !status; i++) {
        double score;
        bool exact;
        vdm_grid_layout grid = vdm_example_grid(a->task, &a->task->train[i]);
        vdm_colour_apply(&a->colours, a->task->metric, &grid, &o->last[i]);
        status = vdm_score(&score, &exact, a->task->metric, &grid, &o->last[i], &o->truth[i], err);
        a->diagnosis->train_exact += !status && exact;
    }
    a->diagnosis->train = a->train_pairs;
    return status;
}

static int look_at_train_pairs(evaluation *a, session *s, struct bar *b, struct group *g, vdm_error *err)
{
    struct train_answers o = {
        vdm_alloc((size_t)a->train_pairs, sizeof *o.last, "the answers to training pairs", err),
        vdm_alloc((size_t)a->train_pairs, sizeof *o.truth, "the training pairs", err)};
    int status = o.last && o.truth ? 0 : -1;
    if (!status) status = answer_train_pairs(&o, a, s, b, g, err);
    if (!status) status = learn_from_train_pairs(&o, a, err);
    for (int i = 0; i < a->train_pairs; i++) {
        if (o.last) vdm_picture_free(&o.last[i]);
        if (o.truth) vdm_picture_free(&o.truth[i]);
    }
    vdm_free(o.last);
    vdm_free(o.truth);
    return status;
}

int evaluation_run(evaluation *a, session *s, const char *folder, bool live, vdm_error *err)
{
    struct group g;
    struct bar b = {.all = a, .each = s->options->sample.steps * a->views.n, .start = vdm_seconds()};
    b.inner = console_progress(&b.console);
    int status = group_new(&g, s, a->asked, err);
    if (!status && a->train_pairs) status = look_at_train_pairs(a, s, &b, &g, err);
    g.tests = true;
    while (a->n < a->asked && !status) {
        int n = a->asked - a->n < g.capacity ? a->asked - a->n : g.capacity;
        status = answer(a, a->task->test + a->n, s, &b, &g, n, err);
        for (int i = 0; i < n && !status; i++) {
            unpack(a, &g, i);
            status = evaluation_take(a, folder, &g.inputs[i], g.bytes, err);
            if (status) break;
            b.done++;
            snprintf(b.console.note, sizeof b.console.note, "%d of %d, %d exact", a->n, a->asked, a->exact);
            if (live) console_clear(&b.console);
            if (live) print_score(&a->all[a->n - 1], a->task->metric);
        }
        if (a->n == a->asked) report_all(&b, b.done * b.each);
    }
    console_end(&b.console);
    if (!a->quiet) print_task_notes(a->task);
    a->seconds = vdm_seconds() - b.start;
    group_free(&g);
    return status;
}

/* A name as a CSV field: in quotes if it contains a separator, quotes doubled, without control characters; after an
 * apostrophe if a spreadsheet would take it for a formula. */
static void write_name(FILE *f, const char *name)
{
    const char *text = clean(name);
    bool quoted = text[strcspn(text, ",\"")] != '\0';
    if (quoted) fputc('"', f);
    if (*text && strchr("=+-@", *text)) fputc('\'', f);
    for (const char *c = text; *c; c++) {
        if (*c == '"') fputc('"', f);
        fputc(*c, f);
    }
    if (quoted) fputc('"', f);
}

int evaluation_write(const evaluation *a, const char *path, vdm_error *err)
{
    vdm_file f;
    if (vdm_file_open(&f, path, err)) return -1;
    bool corrected = a->colours.kind != VDM_COLOUR_NONE;
    fprintf(f.stream, "name,metric,score,exact,copied,against_input%s\n", corrected ? ",raw" : "");
    for (int i = 0; i < a->n; i++) {
        const struct answer *e = &a->all[i];
        write_name(f.stream, e->example->name);
        fprintf(f.stream, ",%s", vdm_metric_name(a->task->metric));
        if (e->known)
            fprintf(f.stream, ",%.9g,%d,%.9g,%.9g", e->score, e->exact, e->copied, e->against_input);
        else
            fputs(",,,,", f.stream);
        if (corrected) fputc(',', f.stream);
        if (corrected && e->known) fprintf(f.stream, "%.9g", e->raw);
        fputc('\n', f.stream);
    }
    return vdm_file_commit(&f, err);
}

void evaluation_print_others(const evaluation *a, const char *folder)
{
    int others = count_files(folder, ".ppm") - a->n;
    if (others > 0)
        fprintf(stderr, "%s: %d picture%s in this folder (NAME.ppm) %s not from this run\n", clean(folder),
                others, plural(others), others == 1 ? "is" : "are");
}

/* Without --at-least nothing is below: it is minus infinity. A mean that is not a number is below everything else. */
static bool is_below(const options *o, const evaluation *a)
{
    double mean = bounded_mean(a), limit = o->eval.at_least;
    if (!isfinite(limit)) return false;
    return a->task->metric == VDM_METRIC_MAE ? !(mean <= limit) : !(mean >= limit);
}

int evaluation_summary(const options *o, const evaluation *a)
{
    const char *metric = vdm_metric_name(a->task->metric);
    if (!a->scored) {
        printf("%d answered, none has a known answer\n", a->n);
        return DONE;
    }
    char mean[128], copied[128], against_input[128], raw[128];
    mean_text(mean, sizeof mean, a->task->metric, &a->mean);
    mean_text(copied, sizeof copied, a->task->metric, &a->copied);
    mean_text(against_input, sizeof against_input, a->task->metric, &a->against_input);
    mean_text(raw, sizeof raw, a->task->metric, &a->raw);
    if (a->colours.kind != VDM_COLOUR_NONE)
        printf("without --colour %s: mean %s %s, %d exact\n", o->eval.colour, metric, raw, a->raw_exact);
    printf("%s: %d answered, %d scored, mean %s %s", clean(a->task->name), a->n, a->scored, metric, mean);
    if (a->task->metric == VDM_METRIC_POSE)
        printf(" of the joints within %.1f pixels",
               0.05 * (a->geometry.height < a->geometry.width ? a->geometry.height : a->geometry.width));
    if (a->task->metric == VDM_METRIC_PCK) printf(" of the joints within a tenth of the figure");
    if (a->mean.finite && a->mean.infinite) printf(" (%.4f if one level of each differed)", bounded_mean(a));
    printf(", exact %d of %d (%.4f); copying the input: mean %s %s; against the input itself: %s\n", a->exact,
           a->scored, shown_share((double)a->exact / a->scored, 4), metric, copied, against_input);
    return is_below(o, a) ? BELOW : DONE;
}

void evaluation_text(const evaluation *a, char *text, size_t size)
{
    int n = a->scored;
    if (!n) {
        snprintf(text, size, "%d answered, none has a known answer", a->n);
        return;
    }
    double share = shown_share((double)a->exact / n, 2);
    int m = snprintf(text, size, "%d of %d exact (%.0f %%)", a->exact, n, 100 * share);
    if (m < 0 || (size_t)m >= size) return;
    text += m;
    size -= (size_t)m;
    char mean[128], copied[128];
    mean_text(mean, sizeof mean, a->task->metric, &a->mean);
    mean_text(copied, sizeof copied, a->task->metric, &a->copied);
    if (a->task->metric == VDM_METRIC_CELLS)
        snprintf(text, size, ", cells right %.1f %%; copying the input: %.1f %%",
                 100 * shown_share(a->mean.value, 3), 100 * shown_share(a->copied.value, 3));
    else
        snprintf(text, size, ", mean %s %s; copying the input: %s", vdm_metric_name(a->task->metric), mean,
                 copied);
}

void evaluation_free(evaluation *a)
{
    for (int i = 0; a->all && i < a->asked; i++) {
        struct answer *e = &a->all[i];
        vdm_picture_free(&e->input);
        vdm_picture_free(&e->last);
        vdm_picture_free(&e->truth);
        for (int k = 0; k < FILM_FRAMES; k++) vdm_picture_free(&e->film[k]);
        vdm_free(e->wrong);
    }
    views_free(&a->views);
    vdm_free(a->all);
    vdm_free(a->diagnosis);
    *a = (evaluation){0};
}
