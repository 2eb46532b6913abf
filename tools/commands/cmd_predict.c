/* vdm predict: answers one picture with the last frame of the video that is sampled from it; with --views, a picture of
 * a grid, by a majority vote of all views. */
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/run/adapters.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/dump.h"
#include "tools/run/injected.h"
#include "tools/run/multi_view.h"
#include "tools/run/paths.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"
#include "tools/run/plan.h"

#include <stdlib.h>
#include <string.h>

/* The tensors of --inject that replace random numbers. */
struct injected {
    float *noise, *image_noise, *step_noise;
    bool prompt; /* the session's is replaced, too */
};

static int inject_one(float **to, const vdm_safetensors *f, const char *name, int rank, const int64_t *shape,
                      vdm_error *err)
{
    if (!vdm_safetensors_find(f, name)) return 0;
    *to = vdm_safetensors_floats(f, name, rank, shape, err);
    return *to ? 0 : -1;
}

static int check_prompts(const session *s, bool prompt, bool negative, vdm_error *err)
{
    const struct prompt_options *o = &s->options->prompt;
    bool twice[] = {prompt && (o->text || o->embeds), negative && (o->negative || o->negative_embeds)};
    for (int i = 0; i < 2; i++)
        if (twice[i])
            return vdm_fail(err, "%s: tensor '%s': expected this prompt in one place, found --%s too",
                            s->options->inject, i ? "negative_prompt_embeds" : "prompt_embeds",
                            i ? "negative" : "prompt");
    return 0;
}

static int check_used(const vdm_safetensors *f, const session *s, vdm_error *err)
{
    static const char *const names[] = {"noise", "image_noise", "step_noise", "prompt_embeds",
                                        "negative_prompt_embeds"};
    injected_report_others(f, names, sizeof names / sizeof names[0]);
    if (injected_reject(f, "step_noise", sample_options(s).sampler == VDM_DPM, "--sampler dpm", err))
        return -1;
    return injected_reject(f, "negative_prompt_embeds", s->options->sample.guidance > 1, "--guidance above 1",
                           err);
}

static int inject(struct injected *in, session *s, vdm_error *err)
{
    const vdm_geometry *g = &s->geometry;
    const vdm_transformer_config *c = &s->config.transformer;
    int64_t C = c->out_channels, text[] = {c->text_tokens, c->text_dim};
    int64_t frames = (int64_t)s->options->sample.ensemble * g->F;
    int64_t noise[] = {frames, C, g->h, g->w}, image[] = {C, g->h, g->w},
            step[] = {s->options->sample.steps, 2, frames, C, g->h, g->w};
    vdm_safetensors f;
    float *prompt = NULL, *negative = NULL;
    if (vdm_safetensors_open(&f, s->options->inject, err)) return -1;
    int status = check_used(&f, s, err);
    if (!status) status = inject_one(&in->noise, &f, "noise", 4, noise, err);
    if (!status) status = inject_one(&in->image_noise, &f, "image_noise", 3, image, err);
    if (!status) status = inject_one(&in->step_noise, &f, "step_noise", 6, step, err);
    if (!status) status = inject_one(&prompt, &f, "prompt_embeds", 2, text, err);
    if (!status) status = inject_one(&negative, &f, "negative_prompt_embeds", 2, text, err);
    vdm_safetensors_close(&f);
    if (!status && !in->noise && !in->image_noise && !in->step_noise && !prompt && !negative)
        status =
            vdm_fail(err,
                     "%s: expected noise, image_noise, step_noise, prompt_embeds or negative_prompt_embeds, "
                     "found none of them",
                     s->options->inject);
    if (!status) status = check_prompts(s, prompt, negative, err);
    in->prompt = prompt != NULL;
    session_use_prompts(s, prompt, negative);
    return status;
}

/* What --dump collects during `steps` sampling steps. */
struct latents {
    dump d;
    int steps;
};

static bool wants_latents(void *user, const char *name)
{
    (void)user;
    return strcmp(name, "image_latents") == 0 || strncmp(name, "latents.", 8) == 0;
}

/* Stores a tensor. The last latents are written at once: a run that is killed while it decodes has them. */
static void see_latents(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    struct latents *l = user;
    char last[32];
    snprintf(last, sizeof last, "latents.%d", l->steps);
    dump_see(&l->d, name, data, rank, shape);
    if (strcmp(name, last) == 0 && !l->d.status) l->d.status = dump_write(&l->d, &l->d.err);
}

/* Writes the last frame, the video, and what --dump collected. */
static int write_results(const session *s, dump *d, const float *video, vdm_error *err)
{
    const options *o = s->options;
    const vdm_geometry *g = &s->geometry;
    int64_t shape[] = {g->frames, 3, g->height, g->width};
    size_t frame = (size_t)g->height * (size_t)g->width * 3;
    uint8_t *bytes = vdm_alloc((size_t)g->frames * frame, 1, "the video's frames", err);
    if (!bytes) return -1;
    vdm_error later; /* the first failure is reported, and the rest is still written */
    int status = dump_add(d, "frames", video, 4, shape, err);
    if (dump_write(d, status ? &later : err)) status = -1;
    vdm_bytes_from_video(bytes, video, g->frames, g->height, g->width);
    vdm_picture last = {g->height, g->width, bytes + (size_t)(g->frames - 1) * frame};
    if (vdm_picture_write(&last, o->output, status ? &later : err)) status = -1;
    if (o->predict.video &&
        vdm_y4m_write(o->predict.video, bytes, g->frames, g->height, g->width, status ? &later : err))
        status = -1;
    vdm_free(bytes);
    if (!status) fprintf(stderr, "%s: the last of %d frames\n", clean(o->output), g->frames);
    return status;
}

static const char *name_of_picture(const options *o)
{
    return strcmp(o->predict.image, "-") == 0 ? "standard input" : o->predict.image;
}

/* The picture as a task: in several views it is a grid; in one, options that describe a grid are rejected. */
static int task_of_picture(vdm_task *t, const session *s, vdm_error *err)
{
    static const char *const names[] = {"--cell", "--border", "--palette"};
    const options *o = s->options;
    const vdm_geometry *g = &s->geometry;
    int n;
    *t = (vdm_task){.path = (char *)o->predict.image,
                    .metric = VDM_METRIC_CELLS,
                    .grid = canvas_of_options(o, g->height, g->width)};
    if (views_number(&n, o, t->grid.rows > 0, err)) return -1;
    if (n > 1) return adapters_grid(&t->grid, o, g, err);
    for (int i = 0; i < 3; i++)
        if (option_given(o, names[i]))
            return vdm_fail(err,
                            "%s: it has no effect here; it needs --views above 1, or an adapter that was "
                            "learned in several views",
                            names[i]);
    return 0;
}

/* One query and its answer. */
struct question {
    session *s;
    views views;
    vdm_task task; /* the picture as a task: its grid, if there are several views */
    cell_votes votes;
    vdm_picture query; /* of the session's size */
    float *video;      /* [T,3,H,W]: the answer in the last view */
};

static int question_init(struct question *q, session *s, const vdm_picture *query, vdm_error *err)
{
    const vdm_geometry *g = &s->geometry;
    *q = (struct question){.s = s};
    if (task_of_picture(&q->task, s, err)) return -1;
    if (views_plan(&q->views, s, &q->task, err)) return -1;
    if (q->views.n > 1 && s->options->inject)
        return vdm_fail(err, "--inject: expected one view, found %d", q->views.n);
    if (q->views.n > 1 && cell_votes_new(&q->votes, q->task.grid.rows, q->task.grid.cols, err)) return -1;
    if (vdm_picture_resize(&q->query, query, g->height, g->width, err)) return -1;
    bool resized = query->height != g->height || query->width != g->width;
    double levels = 0;
    if (q->views.n > 1 && !resized && canvas_difference(&levels, query, &q->task.grid, err)) return -1;
    if (levels > 0)
        canvas_print_difference(name_of_picture(s->options), &q->task.grid, levels,
                                s->options->sample.n_loras ? "the adapter" : "--cell, --border, --palette",
                                0);
    q->video = vdm_alloc((size_t)g->frames * 3 * (size_t)g->height * (size_t)g->width, sizeof(float),
                         "the video", err);
    return q->video ? 0 : -1;
}

static void question_free(struct question *q)
{
    views_free(&q->views);
    cell_votes_free(&q->votes);
    vdm_picture_free(&q->query);
    vdm_free(q->video);
}

static float *last_frame(const struct question *q)
{
    const vdm_geometry *g = &q->s->geometry;
    return q->video + (int64_t)(g->frames - 1) * 3 * g->height * g->width;
}

/* Adds the last frame in view k to the votes. */
static int count_vote(struct question *q, int k, vdm_error *err)
{
    const vdm_geometry *g = &q->s->geometry;
    const vdm_task shown = views_show(&q->views, &q->task, k);
    const vdm_grid_layout seen = vdm_example_grid(&shown, &(vdm_example){0});
    vdm_picture last = {g->height, g->width,
                        vdm_alloc((size_t)g->height * (size_t)g->width, 3, "a frame", err)};
    if (!last.rgb) return -1;
    vdm_bytes_from_video(last.rgb, last_frame(q), 1, g->height, g->width);
    int status = cell_votes_add(&q->votes, &q->views.list[k], &last, &seen, err);
    vdm_picture_free(&last);
    return status;
}

/* Samples the video of view k. */
static int answer_view(struct question *q, int k, const vdm_sample_options *p, const vdm_progress *progress,
                       vdm_error *err)
{
    session *s = q->s;
    vdm_pipeline pipeline = session_pipeline(s);
    vdm_picture shown = {0};
    float *image = NULL;
    pipeline.prompt = views_text(&q->views, s, k);
    int status = vdm_picture_resize(&shown, &q->query, q->query.height, q->query.width, err);
    if (!status && q->views.n > 1)
        status = vdm_view_picture(&shown, &q->task.grid, &q->views.list[k], VDM_INTO_VIEW, err);
    if (!status) status = image_of(&image, &shown, &s->geometry, err);
    if (!status) status = vdm_sample(&pipeline, p, image, q->video, progress, err);
    vdm_picture_free(&shown);
    vdm_free(image);
    return status;
}

/* All views, the first one last: its video stays, with the majority vote as its last frame. */
static int answer_views(struct question *q, const vdm_sample_options *p, vdm_progress *progress,
                        vdm_error *err)
{
    const vdm_geometry *g = &q->s->geometry;
    vdm_trace *trace = progress->trace;
    for (int k = q->views.n - 1; k >= 0; k--) {
        progress->trace = k ? NULL : trace;
        if (answer_view(q, k, p, progress, err)) return -1;
        if (q->views.n > 1 && count_vote(q, k, err)) return -1;
    }
    if (q->views.n == 1) return 0;
    return cell_votes_draw(last_frame(q), g->height, g->width, &q->votes, &q->task.grid, err);
}

static int answer(struct question *q, const struct injected *in, vdm_error *err)
{
    session *s = q->s;
    const options *o = s->options;
    struct latents l = {{.path = o->dump, .command = "predict"}, o->sample.steps};
    vdm_trace trace = {.wants = wants_latents, .see = see_latents, .user = &l};
    console c;
    vdm_progress progress = console_progress(&c);
    vdm_sample_options p = sample_options(s); /* after the prompts are known */
    p.noise = in->noise;
    p.image_noise = in->image_noise;
    p.step_noise = in->step_noise;
    if (o->dump) progress.trace = &trace;
    int status = session_limit_memory(s, plan_print(s, 0, 0, q->views.n, 0), err);
    if (!status) status = answer_views(q, &p, &progress, err);
    console_end(&c);
    if (!status)
        status = write_results(s, &l.d, q->video, err);
    else if (l.d.count)
        dump_write(&l.d, NULL); /* the tensors up to the failure, to look for its cause */
    vdm_trace_free(&trace);
    dump_free(&l.d);
    return status;
}

/* Prints a change of size. Another aspect ratio distorts the picture, and so the answer. */
static void report_size(const vdm_picture *query, const options *o, int height, int width)
{
    if (height == query->height && width == query->width) return;
    bool distorted = (int64_t)height * query->width != (int64_t)width * query->height;
    fprintf(stderr, "%s: resized from %dx%d to %dx%d%s\n", clean(name_of_picture(o)), query->height,
            query->width, height, width, distorted ? ", another aspect ratio" : "");
}

static int predict(struct question *q, session *s, vdm_picture *query, options *o, vdm_error *err)
{
    if (paths_check_command(o, PREDICT, PICTURE_FILE, err) || adapters_apply(o, PREDICT, err)) return -1;
    if (read_picture(query, o->predict.image, err)) return -1; /* once: it may be a pipe */
    int height = o->height ? o->height : query->height, width = o->height ? o->width : query->width;
    if (session_plan(s, o, o->predict.image, height, width, err)) return -1;
    report_size(query, o, height, width);
    if (question_init(q, s, query, err)) return -1;
    if (o->plan) {
        plan_print(s, 0, 0, q->views.n, 0);
        return 0;
    }
    struct injected in = {0};
    int status = o->inject ? inject(&in, s, err) : 0; /* before the model is loaded, which encodes prompts */
    if (in.prompt) views_free_text(&q->views);
    if (!status) status = session_load(s, err);
    if (!status) status = adapters_report(s, q->views.n > 1 ? &q->task : NULL, q->views.n, err);
    if (!status) status = answer(q, &in, err);
    vdm_free(in.noise);
    vdm_free(in.image_noise);
    vdm_free(in.step_noise);
    return status;
}

int command_predict(int argc, char **argv)
{
    options o;
    vdm_error err;
    session s = {0};
    vdm_picture query = {0};
    struct question q = {0};
    int status = options_read(&o, PREDICT, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands)
        return misuse("'%s': predict accepts options only; the picture is --image", o.operands[0]);
    if (!o.predict.image) return misuse("predict: expected --image FILE");
    if (!o.output && !o.plan) return misuse("predict: expected -o Y.png or Y.ppm");
    console_watch_signals();
    status = predict(&q, &s, &query, &o, &err);
    question_free(&q);
    session_free(&s);
    vdm_picture_free(&query);
    return status ? fail(&err) : DONE;
}
