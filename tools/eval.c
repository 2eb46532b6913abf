/* vdm eval: answers a task's test pictures, as predict would with the same seed, and scores them. */
#include "tool.h"

#include <math.h>
#include <string.h>

/* What one run over a task adds up. */
struct results {
    int answered, scored;
    double sum;  /* of finite scores */
    int perfect; /* psnr: equal pictures, whose score is infinite */
    FILE *table; /* scores.csv, or NULL */
};

static const char *metric_name(vdm_metric m)
{
    const char *names[] = {"psnr", "iou", "cells", "pose"};
    return names[m];
}

static double score_of(const vdm_task *t, const vdm_picture *answer, const vdm_picture *truth)
{
    if (t->metric == VDM_METRIC_IOU) return vdm_score_iou(answer, truth);
    if (t->metric == VDM_METRIC_CELLS) return vdm_score_cells(answer, truth, t);
    return vdm_score_psnr(answer, truth);
}

static int score(struct results *r, const vdm_task *t, const vdm_example *e, const vdm_picture *answer,
                 vdm_error *err)
{
    vdm_picture truth, sized;
    if (vdm_picture_read(&truth, e->output, err)) return -1;
    int status = vdm_picture_resize(&sized, &truth, answer->width, answer->height, err);
    vdm_picture_free(&truth);
    if (status) return -1;
    double s = score_of(t, answer, &sized);
    vdm_picture_free(&sized);
    r->scored++;
    if (isfinite(s))
        r->sum += s;
    else
        r->perfect++;
    printf("%s %s %.4f\n", e->name, metric_name(t->metric), s);
    if (r->table) fprintf(r->table, "%s,%s,%.9g\n", e->name, metric_name(t->metric), s);
    return 0;
}

/* Answers one picture; bytes [T,H,W,3] and video [T,3,H,W] are work space. */
static int answer(session *s, struct results *r, const vdm_task *t, const vdm_example *e, float *video,
                  uint8_t *bytes, vdm_error *err)
{
    const vdm_geometry *g = &s->geometry;
    console c;
    vdm_progress progress = console_progress(&c);
    vdm_sample_options p = sample_options(s);
    float *image;
    if (read_image(&image, e->input, g, err)) return -1;
    int status = vdm_sample(&s->transformer, &s->vae, &s->schedule, s->lora.rank ? &s->lora : NULL, &s->cpu,
                            &p, image, s->prompt, s->negative, video, &progress, err);
    console_end(&c);
    vdm_free(image);
    if (status) return -1;
    vdm_bytes_from_video(bytes, video, g->frames, g->height, g->width);
    vdm_picture last = {g->width, g->height,
                        bytes + (size_t)(g->frames - 1) * (size_t)g->height * (size_t)g->width * 3};
    r->answered++;
    if (s->options->output) {
        char name[VDM_MAX_NAME];
        snprintf(name, sizeof name, "%s.ppm", e->name);
        char *path = vdm_path(s->options->output, name, err);
        status = path ? vdm_picture_write(&last, path, err) : -1;
        vdm_free(path);
    }
    return status || !e->output ? status : score(r, t, e, &last, err);
}

static int answer_all(session *s, struct results *r, const vdm_task *t, int n, vdm_error *err)
{
    const vdm_geometry *g = &s->geometry;
    size_t numbers = (size_t)g->frames * 3 * (size_t)g->height * (size_t)g->width;
    float *video = vdm_alloc(numbers, sizeof(float), "the video", err);
    uint8_t *bytes = vdm_alloc(numbers, 1, "the video's frames", err);
    int status = video && bytes ? 0 : -1;
    for (int i = 0; i < n && !status; i++) status = answer(s, r, t, &t->test[i], video, bytes, err);
    vdm_free(video);
    vdm_free(bytes);
    return status;
}

static int run(session *s, const vdm_task *t, int n, struct results *r, vdm_error *err)
{
    const options *o = s->options;
    vdm_file table = {0};
    if (o->output) {
        char *path = vdm_path(o->output, "scores.csv", err);
        int status = !path || make_folder(o->output, err) || vdm_file_open(&table, path, err) ? -1 : 0;
        vdm_free(path);
        if (status) return -1;
        r->table = table.stream;
        fprintf(table.stream, "name,metric,score\n");
    }
    int status = session_load(s, err);
    if (!status) plan_print(s, 0, n, 0);
    if (!status) status = answer_all(s, r, t, n, err);
    if (!r->table) return status;
    if (!status) return vdm_file_commit(&table, err);
    vdm_file_abandon(&table);
    return -1;
}

/* The summary; BELOW where the mean is less than --at-least. */
static int summary(const options *o, const vdm_task *t, const struct results *r)
{
    if (!r->scored) {
        printf("%d answered, none has a known answer\n", r->answered);
        return DONE;
    }
    int finite = r->scored - r->perfect;
    double mean = finite ? r->sum / finite : (double)INFINITY;
    printf("%s: %d answered, %d scored, mean %s %.4f", t->name, r->answered, r->scored,
           metric_name(t->metric), mean);
    if (r->perfect) printf(" without %d equal pictures, whose score is infinite", r->perfect);
    printf("\n");
    return mean < o->at_least ? BELOW : DONE;
}

static int check_task(const vdm_task *t, vdm_error *err)
{
    if (!t->n_test) return vdm_fail(err, "%s/test: expected pictures NAME.in.ppm, found none", t->path);
    if (t->metric == VDM_METRIC_POSE)
        return vdm_fail(
            err,
            "%s/task.json: metric: expected psnr, iou or cells, found pose, which this version can't score",
            t->path);
    return 0;
}

int command_eval(int argc, char **argv)
{
    options o;
    vdm_error err;
    session s = {0};
    vdm_task task = {0};
    struct results r = {0};
    int height, width, status = options_read(&o, EVAL, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 1) return misuse("eval: expected one task folder, found %d", o.n_operands);
    console_watch_signals();
    bool ok = !vdm_task_read(&task, o.operands[0], &err) && !check_task(&task, &err) &&
              !size_of(&o, task.test[0].input, &height, &width, &err) &&
              !session_plan(&s, &o, height, width, &err);
    int n = ok && o.limit && o.limit < task.n_test ? o.limit : task.n_test;
    if (ok && o.plan)
        plan_print(&s, 0, n, 0);
    else
        ok = ok && !run(&s, &task, n, &r, &err);
    status = !ok ? fail(&err) : o.plan ? DONE : summary(&o, &task, &r);
    session_free(&s);
    vdm_task_free(&task);
    return status;
}
