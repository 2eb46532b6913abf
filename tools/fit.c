/* vdm fit: learns a task folder's train/ pairs. */
#include "tool.h"

#include <math.h>
#include <string.h>
#include <sys/stat.h>

/* One run: what it reads, trains and writes. */
struct run {
    session s;
    vdm_task task;
    int pairs;
    char *lora, *table, *state; /* paths in the output folder */
    vdm_picture *x, *y;         /* [pairs] */
    vdm_fit_data data;
    vdm_lora adapter;
    vdm_fit_options fit;
    vdm_fit_row *rows; /* [steps + 1] */
    int done;
    dump d;
    /* --inject; each may be NULL */
    float *t, *pair, *noise, *video_noise, *image_noise, *image_pixel_noise, *image_sigma;
    int *t_whole, *pair_whole;
};

/* ------------------------------------------------------------------------------------------------
 * Pictures and injected numbers */

static int read_pair(struct run *r, int i, vdm_error *err)
{
    const char *paths[] = {r->task.train[i].input, r->task.train[i].output};
    vdm_picture *to[] = {&r->x[i], &r->y[i]};
    for (int k = 0; k < 2; k++) {
        vdm_picture p;
        if (vdm_picture_read(&p, paths[k], err)) return -1;
        int status = vdm_picture_resize(to[k], &p, r->s.geometry.width, r->s.geometry.height, err);
        vdm_picture_free(&p);
        if (status) return -1;
    }
    return 0;
}

static int read_pairs(struct run *r, vdm_error *err)
{
    r->x = vdm_alloc((size_t)r->pairs, sizeof *r->x, "the pairs", err);
    r->y = vdm_alloc((size_t)r->pairs, sizeof *r->y, "the pairs", err);
    int status = r->x && r->y ? 0 : -1;
    for (int i = 0; i < r->pairs && !status; i++) status = read_pair(r, i, err);
    return status;
}

/* Whole numbers from 0 to below. */
static int *whole(const float *x, int64_t n, int below, const char *name, const char *path, vdm_error *err)
{
    int *to = vdm_alloc((size_t)n, sizeof *to, name, err);
    for (int64_t i = 0; to && i < n; i++) {
        if (!(x[i] >= 0 && x[i] < (float)below && x[i] == rintf(x[i]))) {
            vdm_fail(err, "%s: tensor '%s': expected whole numbers from 0 to %d, found %g", path, name,
                     below - 1, (double)x[i]);
            vdm_free(to);
            return NULL;
        }
        to[i] = (int)x[i];
    }
    return to;
}

/* The posterior's layout is [pairs,C,F',h,w]; latents' own, [pairs,F',C,h,w], is taken too. */
static int read_video_noise(struct run *r, const vdm_safetensors *f, vdm_error *err)
{
    const vdm_geometry *g = &r->s.geometry;
    int64_t C = r->s.config.transformer.out_channels, T = g->latent_frames, pixels = (int64_t)g->h * g->w;
    int64_t posterior[] = {r->pairs, C, T, g->h, g->w}, latents[] = {r->pairs, T, C, g->h, g->w};
    const vdm_tensor *t = vdm_safetensors_find(f, "video_noise");
    if (!t) return 0;
    bool turned = t->rank == 5 && C != T && t->shape[1] == T && t->shape[2] == C;
    float *x = vdm_safetensors_floats(f, "video_noise", 5, turned ? latents : posterior, err);
    r->video_noise = x;
    if (!x || !turned) return x ? 0 : -1;
    r->video_noise = vdm_alloc((size_t)(r->pairs * C * T * pixels), sizeof(float), "video_noise", err);
    for (int64_t i = 0; r->video_noise && i < r->pairs * C * T; i++) {
        int64_t pair = i / (C * T), c = i / T % C, k = i % T;
        memcpy(r->video_noise + i * pixels, x + ((pair * T + k) * C + c) * pixels,
               (size_t)pixels * sizeof(float));
    }
    vdm_free(x);
    return r->video_noise ? 0 : -1;
}

static int inject(struct run *r, vdm_error *err)
{
    const options *o = r->s.options;
    const vdm_geometry *g = &r->s.geometry;
    int64_t C = r->s.config.transformer.out_channels, steps = o->steps, batch = o->batch * o->accumulate,
            n = r->pairs;
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
    int status = read_video_noise(r, &f, err);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0] && !status; i++) {
        if (!vdm_safetensors_find(&f, wanted[i].name)) continue;
        *wanted[i].to = vdm_safetensors_floats(&f, wanted[i].name, wanted[i].rank, wanted[i].shape, err);
        status = *wanted[i].to ? 0 : -1;
    }
    vdm_safetensors_close(&f);
    if (!status && r->t && !(r->t_whole = whole(r->t, steps * batch, 1000, "t", o->inject, err))) status = -1;
    if (!status && r->pair &&
        !(r->pair_whole = whole(r->pair, steps * batch, r->pairs, "pair", o->inject, err)))
        status = -1;
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * The run */

static void set_options(struct run *r)
{
    const options *o = r->s.options;
    vdm_fit_options *f = &r->fit;
    const char *names[] = {"constant", "warmup", "linear", "cosine"};
    vdm_fit_defaults(f);
    f->steps = o->steps;
    f->batch = o->batch;
    f->accumulate = o->accumulate;
    f->lr = o->lr;
    f->weight_decay = o->weight_decay;
    f->clip = o->clip;
    for (int i = 0; i < 4; i++)
        if (strcmp(o->schedule, names[i]) == 0) f->schedule = (vdm_lr_schedule)i;
    f->warmup = o->warmup;
    f->seed = o->seed;
    f->watch_every = o->watch_every;
    f->save_every = o->save_every;
    f->state = r->state;
    f->resume = o->resume;
    if (o->dump && o->dump_grads) {
        f->dump = dump_keep;
        f->dump_user = &r->d;
    }
}

static int encode(struct run *r, const vdm_progress *progress, vdm_error *err)
{
    const options *o = r->s.options;
    vdm_phi phi = r->task.phi;
    if ((o->phi || !r->task.has_phi) && vdm_phi_parse(&phi, o->phi ? o->phi : "discrete", err)) return -1;
    vdm_fit_data_options d = {.geometry = r->s.geometry,
                              .phi = &phi,
                              .image_scale = image_scale_of(o),
                              .tiled = o->tiled,
                              .augment = !o->no_image_noise,
                              .seed = o->seed,
                              .video_noise = r->video_noise,
                              .image_noise = r->image_noise,
                              .image_pixel_noise = r->image_pixel_noise,
                              .image_sigma = r->image_sigma};
    return vdm_fit_data_make(&r->data, &r->s.vae, &r->s.cpu, &d, r->x, r->y, r->pairs, progress, err);
}

static int start_adapter(struct run *r, vdm_error *err)
{
    const options *o = r->s.options;
    const vdm_transformer_config *c = &r->s.config.transformer;
    vdm_rng rng;
    int applied, modules;
    if (!o->init) {
        vdm_fit_rng(&rng, o->seed, VDM_FIT_ADAPTER);
        return vdm_lora_init(&r->adapter, c, o->rank, o->alpha, &rng, err);
    }
    if (vdm_lora_read(&r->adapter, o->init, c, &applied, &modules, err)) return -1;
    fprintf(stderr, "%s: applied %d of %d, rank %d, alpha %g\n", o->init, applied, modules, r->adapter.rank,
            r->adapter.alpha);
    return 0;
}

/* The rows of steps done so far: also when the run was stopped. */
static int write_table(const struct run *r, vdm_error *err)
{
    vdm_file f;
    if (vdm_file_open(&f, r->table, err)) return -1;
    fprintf(f.stream, "step,loss,grad_norm,lr,watch\n");
    for (int i = 0; i <= r->done; i++) {
        const vdm_fit_row *row = &r->rows[i];
        fprintf(f.stream, "%d,", i);
        if (i) fprintf(f.stream, "%.9g,%.9g,%.9g,", row->loss, row->grad_norm, row->lr);
        if (!i) fprintf(f.stream, ",,,");
        if (isfinite(row->watch)) fprintf(f.stream, "%.9g", row->watch);
        fprintf(f.stream, "\n");
    }
    return vdm_file_commit(&f, err);
}

static int write_dump(struct run *r, vdm_error *err)
{
    int64_t steps = r->done;
    float *numbers = vdm_alloc((size_t)(2 * steps), sizeof(float), "the dump", err);
    if (!numbers) return -1;
    for (int i = 0; i < steps; i++) {
        numbers[i] = (float)r->rows[i + 1].loss;
        numbers[steps + i] = (float)r->rows[i + 1].grad_norm;
    }
    int status = dump_add(&r->d, "loss", numbers, 1, &steps, err) ||
                         dump_add(&r->d, "grad_norm", numbers + steps, 1, &steps, err) ||
                         dump_write(&r->d, err)
                     ? -1
                     : 0;
    vdm_free(numbers);
    return status;
}

static void say_what_was_learned(const struct run *r)
{
    double first = r->rows[0].watch, last = first;
    for (int i = 0; i <= r->done; i++)
        if (isfinite(r->rows[i].watch)) last = r->rows[i].watch;
    fprintf(stderr, "%s: %d steps on %d pairs", r->lora, r->done, r->pairs);
    if (isfinite(first)) fprintf(stderr, "; loss on the fixed set %.4f, before %.4f", last, first);
    fputc('\n', stderr);
}

static int train(struct run *r, vdm_error *err)
{
    const options *o = r->s.options;
    console c;
    vdm_progress progress = console_progress(&c);
    vdm_error other;
    r->d.path = o->dump;
    set_options(r);
    if (read_pairs(r, err) || (o->inject && inject(r, err)) || session_load(&r->s, err)) return -1;
    plan_print(&r->s, o->steps, 0, r->pairs);
    if (encode(r, &progress, err) || start_adapter(r, err)) return -1;
    r->fit.t = r->t_whole;
    r->fit.pair = r->pair_whole;
    r->fit.noise = r->noise;
    r->rows = vdm_alloc((size_t)o->steps + 1, sizeof *r->rows, "the table of losses", err);
    if (!r->rows) return -1;
    int status = vdm_fit(&r->s.transformer, &r->s.schedule, &r->s.cpu, &r->data, r->s.prompt, &r->fit,
                         &r->adapter, r->rows, &r->done, &progress, err);
    console_end(&c);
    if (status) { /* what was done is kept: the state, and the table */
        write_table(r, &other);
        return -1;
    }
    if (vdm_lora_write(&r->adapter, r->lora, err) || write_table(r, err) || (o->dump && write_dump(r, err)))
        return -1;
    say_what_was_learned(r);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * The command */

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static int prepare_output(struct run *r, vdm_error *err)
{
    const options *o = r->s.options;
    if (make_folder(o->output, err)) return -1;
    r->lora = vdm_path(o->output, "lora.safetensors", err);
    r->table = vdm_path(o->output, "train.csv", err);
    r->state = vdm_path(o->output, "state.safetensors", err);
    if (!r->lora || !r->table || !r->state) return -1;
    if (!o->resume && exists(r->state))
        return vdm_fail(err, "%s: expected a folder without a run, found one; --resume goes on with it",
                        o->output);
    if (o->resume && !exists(r->state))
        return vdm_fail(err, "%s: expected the state of a run to go on with, found none", r->state);
    return writable(r->lora, err) || writable(r->table, err) || (o->dump && writable(o->dump, err)) ? -1 : 0;
}

static int prepare(struct run *r, const options *o, vdm_error *err)
{
    int height, width;
    if (vdm_task_read(&r->task, o->operands[0], err)) return -1;
    if (!r->task.n_train)
        return vdm_fail(err, "%s/train: expected pairs NAME.in.ppm and NAME.out.ppm, found none",
                        r->task.path);
    r->pairs = o->shots && o->shots < r->task.n_train ? o->shots : r->task.n_train;
    if (size_of(o, r->task.train[0].input, &height, &width, err)) return -1;
    return session_plan(&r->s, o, height, width, err);
}

static void release(struct run *r)
{
    float *floats[] = {r->t,          r->pair, r->noise, r->video_noise, r->image_noise, r->image_pixel_noise,
                       r->image_sigma};
    for (size_t i = 0; i < sizeof floats / sizeof floats[0]; i++) vdm_free(floats[i]);
    for (int i = 0; i < r->pairs; i++) {
        if (r->x) vdm_picture_free(&r->x[i]);
        if (r->y) vdm_picture_free(&r->y[i]);
    }
    vdm_free(r->t_whole);
    vdm_free(r->pair_whole);
    vdm_free(r->x);
    vdm_free(r->y);
    vdm_free(r->rows);
    vdm_free(r->lora);
    vdm_free(r->table);
    vdm_free(r->state);
    vdm_fit_data_free(&r->data);
    vdm_lora_free(&r->adapter);
    dump_free(&r->d);
    session_free(&r->s);
    vdm_task_free(&r->task);
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
    if (o.phi && vdm_phi_parse(&phi, o.phi, &err)) return misuse("--phi: %s", err.text);
    console_watch_signals();
    bool ok = !prepare(&r, &o, &err);
    if (ok && o.plan)
        plan_print(&r.s, o.steps, 0, r.pairs);
    else
        ok = ok && !prepare_output(&r, &err) && !train(&r, &err);
    release(&r);
    return ok ? DONE : fail(&err);
}
