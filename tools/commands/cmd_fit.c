/* vdm fit: learns a task folder's train/ pairs; the work itself is in training.c. */
#include "tools/commands/commands.h"
#include "files/fit_state.h"
#include "tools/messages.h"
#include "tools/report/page.h"
#include "tools/run/canvas.h"
#include "tools/run/claim.h"
#include "tools/run/console.h"
#include "tools/run/dump.h"
#include "tools/run/file_checks.h"
#include "tools/run/injected.h"
#include "tools/run/plan.h"
#include "tools/run/truths.h"

#include <math.h>
#include <string.h>

/* One run: what it reads and writes in addition to the training. */
struct run {
    session s;
    vdm_task task;
    vdm_view view;
    training training;
    char *page; /* path */
    dump d;
    vdm_trace trace;
    /* --inject; each may be NULL */
    float *t, *pair, *noise, *video_noise, *image_noise, *image_pixel_noise, *image_sigma;
    int *t_integers, *pair_integers;
};

/* ------------------------------------------------------------------------------------------------
* Injected tensors */

/* Integers from 0 to below. */
static int *read_integers(const float *x, int64_t n, int below, const char *name, const char *path,
                          vdm_error *err)
{
    int *to = vdm_alloc((size_t)n, sizeof *to, name, err);
    for (int64_t i = 0; to && i < n; i++) {
        if (!(x[i] >= 0 && x[i] < (float)below && x[i] == rintf(x[i]))) {
            vdm_fail(err, "%s: tensor '%s': expected integers from 0 to %d, found %g", path, name, below - 1,
                     (double)x[i]);
            vdm_free(to);
            return NULL;
        }
        to[i] = (int)x[i];
    }
    return to;
}

/* The posterior's layout is [pairs,C,F',h,w]; that of latents, [pairs,F',C,h,w], is accepted too. */
static int read_video_noise(struct run *r, const vdm_safetensors *f, vdm_error *err)
{
    const vdm_geometry *g = &r->s.geometry;
    int64_t C = r->s.config.transformer.out_channels, T = g->latent_frames, pixels = (int64_t)g->h * g->w;
    int64_t posterior[] = {r->training.videos, C, T, g->h, g->w},
            latents[] = {r->training.videos, T, C, g->h, g->w};
    const vdm_tensor *t = vdm_safetensors_find(f, "video_noise");
    if (!t) return 0;
    bool turned = t->rank == 5 && C != T && t->shape[1] == T && t->shape[2] == C;
    float *x = vdm_safetensors_floats(f, "video_noise", 5, turned ? latents : posterior, err);
    r->video_noise = x;
    if (!x || !turned) return x ? 0 : -1;
    r->video_noise =
        vdm_alloc((size_t)(r->training.videos * C * T * pixels), sizeof(float), "video_noise", err);
    for (int64_t i = 0; r->video_noise && i < r->training.videos * C * T; i++) {
        int64_t pair = i / (C * T), c = i / T % C, k = i % T;
        memcpy(r->video_noise + i * pixels, x + ((pair * T + k) * C + c) * pixels,
               (size_t)pixels * sizeof(float));
    }
    vdm_free(x);
    return r->video_noise ? 0 : -1;
}

static int check_used(const vdm_safetensors *f, const options *o, vdm_error *err)
{
    static const char *const names[] = {
        "t", "pair", "noise", "video_noise", "image_noise", "image_pixel_noise", "image_sigma"};
    static const char noise[] = "noise on the first frame, not with --no-image-noise";
    injected_report_others(f, names, sizeof names / sizeof names[0]);
    if (injected_reject(f, "image_pixel_noise", !o->learn.no_image_noise, noise, err)) return -1;
    return injected_reject(f, "image_sigma", !o->learn.no_image_noise, noise, err);
}

static int inject(struct run *r, vdm_error *err)
{
    const options *o = r->s.options;
    const vdm_geometry *g = &r->s.geometry;
    int64_t C = r->s.config.transformer.out_channels, steps = o->learn.steps,
            batch = (int64_t)o->learn.batch * o->learn.accumulate, n = r->training.videos;
    const struct {
        const char *name;
        float **to;
        int rank;
        int64_t shape[6];
    } wanted[] = {{"t", &r->t, 2, {steps, batch}},
                  {"pair", &r->pair, 2, {steps, batch}},
                  {"noise", &r->noise, 6, {steps, batch, g->F, C, g->h, g->w}},
                  {"image_noise", &r->image_noise, 4, {n, C, g->h, g->w}},
                  {"image_pixel_noise", &r->image_pixel_noise, 4, {n, 3, g->height, g->width}},
                  {"image_sigma", &r->image_sigma, 1, {n}}};
    vdm_safetensors f;
    if (vdm_safetensors_open(&f, o->inject, err)) return -1;
    int status = check_used(&f, o, err), found = vdm_safetensors_find(&f, "video_noise") != NULL;
    if (!status) status = read_video_noise(r, &f, err);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && !status; i++) {
        if (!vdm_safetensors_find(&f, wanted[i].name)) continue;
        found++;
        *wanted[i].to = vdm_safetensors_floats(&f, wanted[i].name, wanted[i].rank, wanted[i].shape, err);
        status = *wanted[i].to ? 0 : -1;
    }
    vdm_safetensors_close(&f);
    if (!status && !found)
        status = vdm_fail(err, "%s: expected t, pair, noise, video_noise or image_noise, found none of them",
                          o->inject);
    if (!status && r->t && !(r->t_integers = read_integers(r->t, steps * batch, 1000, "t", o->inject, err)))
        status = -1;
    if (!status && r->pair &&
        !(r->pair_integers =
              read_integers(r->pair, steps * batch, r->training.videos, "pair", o->inject, err)))
        status = -1;
    if (!status && r->t && o->learn.pure_noise > 0)
        fprintf(stderr,
                "%s: 't' has the timesteps of training: --pure-noise %g changes only the fixed set's\n",
                clean(o->inject), o->learn.pure_noise);
    vdm_fit_data_options *how = &r->training.how;
    how->video_noise = r->video_noise;
    how->image_noise = r->image_noise;
    how->image_pixel_noise = r->image_pixel_noise;
    how->image_sigma = r->image_sigma;
    r->training.fit.t = r->t_integers;
    r->training.fit.pair = r->pair_integers;
    r->training.fit.noise = r->noise;
    return status;
}

/* What --dump-grads stores of step 1: the model's inputs and outputs (with --accumulate: of every batch), and the
 * gradients. */
static bool wants_step(void *user, const char *name)
{
    static const char *const of_batch[] = {"x", "v", "target"};
    (void)user;
    if (strncmp(name, "step.1.", 7) != 0) return false;
    const char *in_batch = name + 7;
    if (strncmp(in_batch, "batch.", 6) == 0) in_batch += 6 + strspn(in_batch + 6, "0123456789.");
    for (size_t i = 0; i < sizeof of_batch / sizeof of_batch[0]; i++)
        if (strcmp(in_batch, of_batch[i]) == 0) return true;
    return strncmp(name + 7, "grad.", 5) == 0 && strstr(name, ".lora_");
}
static void see_step(void *user, const char *name, const float *data, int rank, const int64_t *shape)
{
    dump_see(user, name + 7, data, rank, shape); /* without "step.1." */
}

static int write_dump(struct run *r, vdm_error *err)
{
    int64_t steps = r->training.done;
    float *elements = vdm_alloc((size_t)(2 * steps), sizeof(float), "the dump", err);
    if (!elements) return -1;
    for (int i = 0; i < steps; i++) {
        elements[i] = (float)r->training.rows[i + 1].loss;
        elements[steps + i] = (float)r->training.rows[i + 1].grad_norm;
    }
    int status = dump_add(&r->d, "loss", elements, 1, &steps, err);
    if (!status) status = dump_add(&r->d, "grad_norm", elements + steps, 1, &steps, err);
    if (!status) status = dump_write(&r->d, err);
    vdm_free(elements);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The command */

/* The gradients are those of the first step, which a run that is resumed later does not compute. */
static int check_gradients(const struct run *r, const options *o, vdm_error *err)
{
    int step = 0;
    if (!o->learn.dump_grads || !o->learn.resume) return 0;
    if (vdm_fit_state_step(&step, r->training.state, err)) return -1;
    if (step == 0) return 0;
    return vdm_fail(err,
                    "--dump-grads: it has no effect here: it needs the first step of a run, and %s is at "
                    "step %d",
                    r->training.state, step);
}

/* The adapter of a demo, of an ARC-AGI task, or of a run whose state was deleted: it can't be continued. */
static int check_adapter(const options *o, vdm_error *err)
{
    if (o->learn.resume || !has(o->output, "lora.safetensors")) return 0;
    return vdm_fail(err,
                    "%s: expected a folder without an adapter, found lora.safetensors, which would be "
                    "replaced, and no state to resume from; choose another folder, or move the adapter",
                    o->output);
}

static int prepare_output(struct run *r, const options *o, vdm_error *err)
{
    r->d.path = o->dump;
    r->d.command = "fit";
    r->trace = (vdm_trace){.wants = wants_step, .see = see_step, .user = &r->d};
    if (o->dump && o->learn.dump_grads) r->training.trace = &r->trace;
    int status = -1;
    paths p = {0};
    if (paths_of_options(&p, o, FIT, err) || paths_read_task(&p, &r->task, err)) goto end;
    if (training_output(&r->training, o->output, true, &p, err)) goto end;
    r->page = vdm_path(o->output, "report.html", err);
    if (!r->page || paths_write(&p, r->page, ANY_FILE, err)) goto end;
    r->training.claim = (claim){o->output, "fit"};
    if (paths_check(&p, err) || claim_folder(&r->training.claim, NULL, 0, err)) goto end;
    if (check_adapter(o, err) || check_gradients(r, o, err)) goto end;
    status = 0;
end:
    paths_free(&p);
    return status;
}

/* Names the option that continues a run, if a signal stopped it and there is a state. */
static int interrupted(const options *o, vdm_error *err)
{
    const vdm_error why = *err;
    if (!console_stopped() || !strstr(why.text, "interrupted") || !has(o->output, "state.safetensors"))
        return -1;
    return vdm_fail(err, "%.900s; --resume continues", why.text);
}

static int learn(struct run *r, const options *o, const char *command, vdm_error *err)
{
    training *l = &r->training;
    page p = {.command = command, .session = &r->s, .task = &r->task, .training = l};
    if (training_read(l, err) || (o->inject && inject(r, err)) || session_load(&r->s, err)) return -1;
    if (session_limit_memory(&r->s, plan_print(&r->s, o->learn.steps, l->before, 0, l->videos), err))
        return -1;
    if (training_run(l, err)) return interrupted(o, err);
    if (o->dump && write_dump(r, err)) return -1;
    if (page_write(&p, r->page, err)) return -1;
    fprintf(stderr, "%s shows the run\n", clean(r->page));
    return 0;
}

static void release(struct run *r)
{
    float *floats[] = {r->t,          r->pair, r->noise, r->video_noise, r->image_noise, r->image_pixel_noise,
                       r->image_sigma};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) vdm_free(floats[i]);
    vdm_free(r->page);
    vdm_free(r->t_integers);
    vdm_free(r->pair_integers);
    training_free(&r->training);
    vdm_trace_free(&r->trace);
    dump_free(&r->d);
    session_free(&r->s);
    vdm_task_free(&r->task);
}

static int fit(struct run *r, options *o, const char *command, vdm_error *err)
{
    if (training_init_options(o, FIT, err)) return -1;
    if (vdm_task_read(&r->task, o->operands[0], err)) return -1;
    if (canvas_lay_out(&r->task, o, true, err)) return -1;
    if (canvas_view(&r->task, o, &r->view, err)) return -1;
    if (training_plan(&r->training, &r->s, &r->task, o, err)) return -1;
    if (o->plan) {
        if (o->output && training_resumed(&r->training, o->output, err)) return -1;
        plan_print(&r->s, o->learn.steps, r->training.before, 0, r->training.videos);
        return 0;
    }
    const vdm_geometry *g = &r->s.geometry;
    const truths outputs = {.task = &r->task,
                            .n_train = r->training.pairs,
                            .inputs = r->training.views.n > 1 || r->task.view,
                            .height = g->height,
                            .width = g->width};
    if (truths_check(&outputs, err) || prepare_output(r, o, err)) return -1;
    return learn(r, o, command, err);
}

int command_fit(int argc, char **argv)
{
    options o;
    vdm_error err;
    vdm_phi phi;
    struct run r = {0};
    int status = options_read(&o, FIT, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 1) return misuse("fit: expected one task folder, found %d", o.n_operands);
    if (!o.output && !o.plan) return misuse("fit: expected -o DIR");
    if (o.learn.phi && vdm_phi_parse(&phi, o.learn.phi, &err)) return misuse("--phi: %s", err.text);
    console_watch_signals();
    char *command = command_line("fit", argc, argv, &err);
    if (!command) return fail(&err);
    status = fit(&r, &o, command, &err);
    release(&r);
    vdm_free(command);
    return status ? fail(&err) : DONE;
}
