/* Training: a task folder's train/ pairs are read, encoded and learned, as vdm fit and vdm demo do.
 *
 *   pairs x, y [H,W,3] -> latents, once for the whole run -> adapter, and a row of metrics for every step
 *
 * The library does the work (fit.c at the root); this file adds a command's options, paths and files. */
#include "tools/run/training.h"
#include "files/fit_state.h"
#include "tools/messages.h"
#include "tools/run/adapters.h"
#include "tools/run/canvas.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void set_options(training *l, const options *o)
{
    vdm_fit_options *f = &l->fit;
    const char *names[] = {"constant", "warmup", "linear", "cosine"};
    vdm_fit_defaults(f);
    f->steps = o->learn.steps;
    f->batch = o->learn.batch;
    f->accumulate = o->learn.accumulate;
    f->lr = o->learn.lr;
    f->memory = memory_of(o);
    f->weight_decay = o->learn.weight_decay;
    f->clip = o->learn.clip;
    f->pure_noise = o->learn.pure_noise;
    for (int i = 0; i < 4; i++)
        if (strcmp(o->learn.schedule, names[i]) == 0) f->schedule = (vdm_lr_schedule)i;
    f->warmup = o->learn.warmup;
    f->seed = o->seed;
    f->watch_every = o->learn.watch_every;
    f->save_every = o->learn.save_every;
    f->resume = o->learn.resume;
    l->how = (vdm_fit_data_options){.geometry = l->session->geometry,
                                    .phi = &l->phi,
                                    .image_scale = image_scale_of(o),
                                    .tiled = o->tiled,
                                    .augment = !o->learn.no_image_noise,
                                    .seed = o->seed};
}

/* The transition's name, as vdm_phi_parse reads it. */
static void name_phi(char *text, size_t size, const vdm_phi *phi)
{
    const char *names[] = {"linear", "quadratic", "sqrt", "discrete", "black", "tiles", "noisy"};
    int n = snprintf(text, size, "%s", names[phi->kind]);
    if (phi->kind == VDM_PHI_BLACK) snprintf(text + n, size - (size_t)n, ":%d", phi->black);
    if (phi->kind == VDM_PHI_TILES)
        snprintf(text + n, size - (size_t)n, ":%dx%d", phi->tiles_y, phi->tiles_x);
    if (phi->kind == VDM_PHI_NOISY && phi->quadratic) snprintf(text + n, size - (size_t)n, ":quadratic");
}

/* Every command that learns prints it: fit, arc and demo. */
static void print_long_warmup(const options *o)
{
    const int steps = o->learn.steps, warmup = o->learn.warmup;
    if (warmup <= steps || strcmp(o->learn.schedule, "constant") == 0) return;
    fprintf(
        stderr,
        "--steps %d: the warmup of %d steps is longer than the run: the learning rate reaches %.3g of %g\n",
        steps, warmup, o->learn.lr * (steps - 1) / warmup, o->learn.lr);
}

int training_plan(training *l, session *s, vdm_task *t, const options *o, vdm_error *err)
{
    int height, width;
    *l = (training){.session = s, .task = t, .phi = t->phi, .augmented = 1};
    if (!t->n_train)
        return vdm_fail(err, "%s/train: expected pairs NAME.in.ppm and NAME.out.ppm, found none", t->path);
    if (o->learn.shots > t->n_train)
        fprintf(stderr, "--shots %d: %s has %d pair%s\n", o->learn.shots, clean(t->path), t->n_train,
                plural(t->n_train));
    l->pairs = o->learn.shots && o->learn.shots < t->n_train ? o->learn.shots : t->n_train;
    if ((o->learn.phi || !t->has_phi) &&
        vdm_phi_parse(&l->phi, o->learn.phi ? o->learn.phi : "discrete", err))
        return -1;
    name_phi(l->phi_name, sizeof l->phi_name, &l->phi);
    if (size_of(o, t->train[0].input, &height, &width, err) ||
        session_plan(s, o, t->train[0].input, height, width, err) ||
        canvas_resize(t, false, height, width, err))
        return -1;
    if (vdm_phi_check(&l->phi, s->geometry.frames, s->geometry.height, s->geometry.width, err) ||
        canvas_check_grid(t, &t->train[0], &s->geometry, err) || session_task_prompt(s, t->prompt, err))
        return -1;
    set_options(l, o);
    if (views_plan(&l->views, s, t, err)) return -1;
    l->videos = l->pairs * l->views.n;
    print_long_warmup(o);
    return 0;
}

int training_pairs(const training *l)
{
    return l->pairs / l->augmented;
}

/* The files of a run in its folder. */
static const char *const FILES[] = {"lora.safetensors", "train.csv", "state.safetensors", "report.html"};

int training_claim(lock *l, const char *folder, vdm_error *err)
{
    if (lock_take(l, folder, folder, err)) return -1;
    if (!has(folder, FILES[2])) return 0;
    lock_release(l);
    return vdm_fail(
        err,
        "%s: expected a folder without a run of 'vdm fit', whose adapter would be replaced, found its "
        "%s; choose another folder",
        folder, FILES[2]);
}

int training_resumed(training *l, const char *folder, vdm_error *err)
{
    if (!l->fit.resume || !has(folder, FILES[2])) return 0;
    char *state = vdm_path(folder, FILES[2], err);
    int status = state ? vdm_fit_state_step(&l->before, state, err) : -1;
    vdm_free(state);
    return status;
}

void training_seconds(char *text, size_t size, const training *l)
{
    int n = snprintf(text, size, "%.1f", l->seconds);
    if (l->before && n > 0 && (size_t)n < size)
        snprintf(text + n, size - (size_t)n, ", since step %d", l->before);
}

int training_output(training *l, const char *folder, bool keep_state, paths *p, vdm_error *err)
{
    if (paths_make_folder(p, folder, err)) return -1;
    if (!l->lock.path &&
        (keep_state ? lock_take(&l->lock, folder, folder, err) : training_claim(&l->lock, folder, err)))
        return -1;
    remove_leftovers(folder, FILES, 4);
    l->lora = vdm_path(folder, FILES[0], err);
    l->table = vdm_path(folder, FILES[1], err);
    l->state = keep_state ? vdm_path(folder, FILES[2], err) : NULL;
    if (!l->lora || !l->table || (keep_state && !l->state)) return -1;
    bool begun = keep_state && has(folder, FILES[2]);
    if (!l->fit.resume && begun)
        return vdm_fail(err, "%s: expected a folder without a run, found one; --resume continues it", folder);
    if (l->fit.resume && !begun)
        return vdm_fail(err, "%s: expected the state of a run to resume, found none", l->state);
    l->fit.state = l->state;
    if (training_resumed(l, folder, err)) return -1;
    if (paths_write(p, l->lora, ANY_FILE, err) || paths_write(p, l->table, ANY_FILE, err)) return -1;
    return paths_write(p, l->state, ANY_FILE, err);
}

/* Video i: of pair i mod pairs, in view i / pairs. */
static int read_pair(training *l, int i, vdm_error *err)
{
    const vdm_geometry *g = &l->session->geometry;
    vdm_picture *to[] = {&l->x[i], &l->y[i]};
    const vdm_task shown = views_show(&l->views, l->task, i / l->pairs);
    for (int k = 0; k < 2; k++)
        if (vdm_example_picture(to[k], &shown, &shown.train[i % l->pairs], k == 1, g->height, g->width, err))
            return -1;
    return 0;
}

/* A pair, and hashes of its pictures */
struct hashed {
    uint64_t input, output;
    int pair;
};

static int by_input(const void *a, const void *b)
{
    const struct hashed *x = a, *y = b;
    return x->input != y->input ? (x->input < y->input ? -1 : 1) : x->pair - y->pair;
}

static void name_input(char *text, size_t size, const vdm_task *t, int pair)
{
    if (t->arc.path)
        snprintf(text, size, "%.480s: train[%d]", clean(t->path), pair);
    else
        snprintf(text, size, "%.500s", clean(t->train[pair].input));
}

/* Prints one pair that has an earlier pair's input but another output, and the number of such pairs. */
static int print_contradictions(const training *l, vdm_error *err)
{
    int n = training_pairs(l), found = 0;
    char first[512] = "", second[512] = "";
    struct hashed *all = vdm_alloc((size_t)n, sizeof *all, "the pairs", err);
    if (!all) return -1;
    for (int i = 0; i < n; i++) all[i] = (struct hashed){hash_picture(&l->x[i]), hash_picture(&l->y[i]), i};
    qsort(all, (size_t)n, sizeof *all, by_input);
    for (int i = 1, start = 0; i < n; i++) {
        if (all[i].input != all[start].input) start = i;
        if (all[i].output == all[start].output || found++) continue;
        name_input(first, sizeof first, l->task, all[start].pair);
        name_input(second, sizeof second, l->task, all[i].pair);
    }
    if (found)
        fprintf(stderr, "%s and %s: the same input with different outputs, which can't both be learned",
                first, second);
    if (found > 1) fprintf(stderr, "; there are %d such pairs", found);
    if (found) fputc('\n', stderr);
    vdm_free(all);
    return 0;
}

int training_read(training *l, vdm_error *err)
{
    l->x = vdm_alloc((size_t)l->videos, sizeof *l->x, "the pairs", err);
    l->y = vdm_alloc((size_t)l->videos, sizeof *l->y, "the pairs", err);
    int status = l->x && l->y ? 0 : -1;
    for (int i = 0; i < l->videos && !status; i++) status = read_pair(l, i, err);
    print_task_notes(l->task);
    return status ? -1 : print_contradictions(l, err);
}

/* The rank, alpha and targets of --init's file replace the defaults before the plan is made. --rank, --alpha and
 * --targets override them, but a smaller rank or fewer targets than the file's are rejected. */
int training_init_options(options *o, int command, vdm_error *err)
{
    vdm_model_config c;
    vdm_lora a;
    int applied, modules;
    if (!o->learn.init) return 0;
    if (adapter_apply(o, o->learn.init, command, err)) return -1;
    if (vdm_model_config_read(&c, o->model, err) ||
        vdm_lora_read(&a, o->learn.init, &c.transformer, &applied, &modules, err))
        return -1;
    int rank = a.rank;
    double alpha = a.alpha;
    vdm_targets targets = a.targets;
    vdm_lora_free(&a);
    if (o->learn.asked_rank && o->learn.asked_rank < rank)
        return vdm_fail(err, "--rank: expected at least %d, the rank of --init %s, found %d", rank,
                        o->learn.init, o->learn.asked_rank);
    if (option_given(o, "--targets") && learn_targets(o) < targets)
        return vdm_fail(err, "--targets: expected attn,ff, the targets of --init %s, found attn",
                        o->learn.init);
    if (targets == VDM_ATTENTION_FF || !option_given(o, "--targets"))
        snprintf(o->learn.targets, sizeof o->learn.targets, "%s",
                 targets == VDM_ATTENTION_FF ? "attn,ff" : "attn");
    o->learn.rank = o->learn.asked_rank ? o->learn.asked_rank : rank;
    /* alpha: at a larger rank the same scale, unless --alpha is given */
    if (o->learn.rank != rank) alpha = alpha / rank * o->learn.rank;
    o->learn.alpha = o->learn.asked_alpha != 0 ? o->learn.asked_alpha : alpha;
    return 0;
}

static int start_adapter(training *l, vdm_error *err)
{
    const options *o = l->session->options;
    const vdm_transformer_config *c = &l->session->config.transformer;
    const int rank = o->learn.rank;
    const double alpha = o->learn.alpha;
    const vdm_targets targets = learn_targets(o);
    vdm_rng rng;
    int applied, modules;
    vdm_fit_rng(&rng, o->seed, VDM_FIT_ADAPTER, 0);
    if (!o->learn.init) return vdm_lora_init(&l->adapter, c, targets, rank, alpha, &rng, err);
    if (vdm_lora_read(&l->adapter, o->learn.init, c, &applied, &modules, err)) return -1;
    fprintf(stderr, "%s: applied %d of %d, rank %d, alpha %g", clean(o->learn.init), applied, modules,
            l->adapter.rank, l->adapter.alpha);
    if (l->adapter.without_alpha)
        fprintf(stderr, "; the file has no alpha for %d modules: their scale is 1", l->adapter.without_alpha);
    fputc('\n', stderr);
    if (adapter_report(l->session, o->learn.init, l->task, l->views.n, err)) return -1;
    bool same = targets == l->adapter.targets && rank == l->adapter.rank && alpha >= l->adapter.alpha &&
                alpha <= l->adapter.alpha;
    if (!same && vdm_lora_resize(&l->adapter, targets, rank, alpha, err)) return -1;
    int64_t rows = vdm_lora_redraw(&l->adapter, &rng);
    if (!same)
        fprintf(stderr, "training continues at rank %d, alpha %g%s; the adapter is the same at the start\n",
                rank, alpha, targets == VDM_ATTENTION_FF ? " on attention and feed-forward" : "");
    if (rows)
        fprintf(stderr, "%lld of %lld rows of A are initialised at random: the file does not have them\n",
                (long long)rows, (long long)targets * c->layers * rank);
    return 0;
}

/* Writes the rows of the steps so far, also if the run was stopped. */
static int write_table(const training *l, vdm_error *err)
{
    vdm_file f;
    if (vdm_file_open(&f, l->table, err)) return -1;
    fprintf(f.stream, "step,loss,grad_norm,lr,watch\n");
    for (int i = 0; i <= l->done; i++) {
        const vdm_fit_row *row = &l->rows[i];
        fprintf(f.stream, "%d,", i);
        if (i) fprintf(f.stream, "%.9g,%.9g,%.9g,", row->loss, row->grad_norm, row->lr);
        if (!i) fprintf(f.stream, ",,,");
        if (isfinite(row->watch)) fprintf(f.stream, "%.9g", row->watch);
        fprintf(f.stream, "\n");
    }
    return vdm_file_commit(&f, err);
}

static void report_learning(const training *l)
{
    double first = l->rows[0].watch, last = first;
    for (int i = 0; i <= l->done; i++)
        if (isfinite(l->rows[i].watch)) last = l->rows[i].watch;
    fprintf(stderr, "%s: %d step%s on %d pair%s", clean(l->lora), l->done, plural(l->done), training_pairs(l),
            plural(training_pairs(l)));
    if (l->views.n * l->augmented > 1) fprintf(stderr, " in %d views", l->views.n * l->augmented);
    if (isfinite(first)) fprintf(stderr, "; loss on the fixed set %.4f, before %.4f", last, first);
    fputc('\n', stderr);
}

/* The prompt that each video is learned with. */
static int prompt_views(training *l, vdm_error *err)
{
    if (l->views.n == 1) return 0;
    l->data.texts = l->views.text;
    l->data.n_texts = l->views.n;
    l->data.text_of = vdm_alloc((size_t)l->videos, sizeof *l->data.text_of, "the views' prompts", err);
    for (int i = 0; l->data.text_of && i < l->videos; i++) l->data.text_of[i] = i / l->pairs;
    return l->data.text_of ? 0 : -1;
}

/* The console's report, and every look_every steps a look at the adapter. */
struct watched {
    const training *training;
    console console;
    vdm_progress inner;
};

static int report_watched(void *user, const vdm_report *r)
{
    struct watched *w = user;
    const training *l = w->training;
    int stop = w->inner.report(w->inner.user, r);
    bool due = l->look && l->look_every && strcmp(r->phase, "train") == 0 && r->step % l->look_every == 0;
    if (stop || !due || r->step == r->of) return stop;
    console_clear(&w->console);
    l->look(l->look_user, r->step);
    return 0;
}

int training_run(training *l, vdm_error *err)
{
    session *s = l->session;
    struct watched w = {.training = l};
    w.inner = console_progress(&w.console);
    const vdm_progress progress = {.report = report_watched, .user = &w, .trace = l->trace};
    const vdm_pipeline pipeline = session_pipeline(s);
    vdm_error other;
    double start = vdm_seconds();
    int status = vdm_fit_data_make(&l->data, &pipeline, &l->how, l->x, l->y, l->videos, &progress, err);
    if (status) console_end(&w.console);
    s->vae_hash = l->data.facts.vae;
    if (status || prompt_views(l, err) || start_adapter(l, err)) return -1;
    l->rows = vdm_alloc((size_t)l->fit.steps + 1, sizeof *l->rows, "the table of losses", err);
    if (!l->rows) return -1;
    status = vdm_fit(&pipeline, &l->adapter, &l->data, &l->fit, l->rows, &l->done, &progress, err);
    console_end(&w.console);
    l->seconds = vdm_seconds() - start;
    if (status) { /* state and table of the steps so far are kept; a rejected --resume changes neither */
        if (l->done && !claim_begin(&l->claim, &other)) write_table(l, &other);
        return -1;
    }
    l->adapter.facts.views = l->views.n;
    l->adapter.facts.view = s->options->eval.view;
    l->adapter.facts.pairs = training_pairs(l);
    canvas_grid_text(l->adapter.facts.grid, sizeof l->adapter.facts.grid, l->task);
    if (claim_begin(&l->claim, err) || vdm_lora_write(&l->adapter, l->lora, err) || write_table(l, err))
        return -1;
    report_learning(l);
    return 0;
}

void training_free(training *l)
{
    lock_release(&l->lock);
    for (int i = 0; i < l->videos; i++) {
        if (l->x) vdm_picture_free(&l->x[i]);
        if (l->y) vdm_picture_free(&l->y[i]);
    }
    vdm_free(l->x);
    vdm_free(l->y);
    vdm_free(l->rows);
    vdm_free(l->lora);
    vdm_free(l->table);
    vdm_free(l->state);
    vdm_fit_data_free(&l->data);
    vdm_lora_free(&l->adapter);
    views_free(&l->views);
    *l = (training){0};
}
