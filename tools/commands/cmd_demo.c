/* vdm demo: shows what this is. A task is made (or a folder is taken), its pairs are learned as vdm fit does,
* its unseen inputs are answered as vdm eval does, and both are shown in the terminal and on one page.
 *
 *   OUT/task/              the task folder, if a generator's name was given
 *   OUT/task.hash          its hash: the next demo replaces a task that has not changed since
 *   OUT/lora.safetensors   train.csv   scores.csv
 *   OUT/strip.png          input, answer and truth of the first answers
 *   OUT/demo.html          everything on one page */
#include "tools/commands/commands.h"
#include "tools/generate/generators.h"
#include "tools/generate/task_folder.h"
#include "tools/messages.h"
#include "tools/report/page.h"
#include "tools/report/terminal.h"
#include "tools/report/strip.h"
#include "tools/run/canvas.h"
#include "tools/run/claim.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"
#include "tools/run/pictures.h"
#include "tools/run/plan.h"
#include "tools/run/truths.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Defaults of `vdm demo`. */
static const char DEFAULT_TASK[] = "transpose", DEFAULT_FOLDER[] = "demo";
enum { PAIRS = 30, ANSWERS = 50, SHOWN_PAIRS = 4, SHOWN_ANSWERS = 4, STRIP = 8 };
/* While it learns, the first LOOK_ANSWERS inputs are answered LOOKS - 1 times. */
enum { LOOKS = 6, LOOK_ANSWERS = 3 };

struct demo {
    options options;
    session s;
    vdm_task task;
    training training;
    evaluation evaluation;
    char what[128]; /* the generator's description of its task */
    char *command, *made, *scores, *strip, *page;
    lock lock; /* of the output folder, until the training has it */
    double start;
};

/* ------------------------------------------------------------------------------------------------
 * The task */

static int remove_file(const char *dir, const char *name, vdm_error *err)
{
    char *path = vdm_path(dir, name, err);
    if (path) remove(path); /* a folder is removed only if it is empty */
    vdm_free(path);
    return path ? 0 : -1;
}

static void remove_pictures(const vdm_example *list, int n)
{
    for (int i = 0; i < n; i++) {
        remove(list[i].input);
        if (list[i].output) remove(list[i].output);
    }
}

static int remove_task(const vdm_task *t, const char *dir, vdm_error *err)
{
    const char *rest[] = {"train", "test", "task.json", TASK_UNFINISHED};
    int status = 0;
    remove_pictures(t->train, t->n_train);
    remove_pictures(t->test, t->n_test);
    for (int i = 0; i < 4 && !status; i++) status = remove_file(dir, rest[i], err);
    return status;
}

/* Renames the folder to DIR.0, or the first number that is free. */
static int set_aside(const char *dir, vdm_error *err)
{
    size_t size = strlen(dir) + 16;
    char *to = vdm_alloc(size, 1, dir, err);
    bool moved = false;
    for (int k = 0; to && !moved && k < 1000; k++) {
        snprintf(to, size, "%s.%d", dir, k);
        moved = access(to, F_OK) != 0 && rename(dir, to) == 0;
    }
    if (moved)
        fprintf(stderr, "%s: an earlier run was killed while it wrote this folder: it is renamed to %s\n",
                clean(dir), clean(to));
    else if (to)
        vdm_fail(err,
                 "%s: an earlier run was killed while it wrote this folder, and it can't be renamed to %s",
                 dir, to);
    vdm_free(to);
    return moved ? 0 : -1;
}

/* OUT/task.hash, by which the next demo knows the task that this one made. It is written before the task, so that a demo
 * that is killed leaves no task without it. */
static const char HASH_FILE[] = "task.hash";
enum { HASH_LINE = 64 };

static void hash_line(char line[static HASH_LINE], uint64_t hash)
{
    snprintf(line, HASH_LINE, "vdm demo made task/: %016" PRIx64 "\n", hash);
}

static int write_hash(const char *out, uint64_t hash, vdm_error *err)
{
    vdm_file f;
    char line[HASH_LINE], *path = vdm_path(out, HASH_FILE, err);
    int status = path ? vdm_file_open(&f, path, err) : -1;
    vdm_free(path);
    if (status) return -1;
    hash_line(line, hash);
    fputs(line, f.stream);
    return vdm_file_commit(&f, err);
}

/* Whether a demo made the task in OUT/task and nothing in it has changed since. A user's file task.hash is rejected. */
static int read_made(bool *made, const char *out, const char *dir, vdm_error *err)
{
    char line[HASH_LINE], *text = NULL;
    size_t size;
    uint64_t hash;
    vdm_error other;
    *made = false;
    if (!has(out, HASH_FILE)) return 0;
    char *path = vdm_path(out, HASH_FILE, err);
    int status = path ? vdm_read_file(path, VDM_MAX_JSON, &text, &size, err) : -1;
    hash_line(line, 0);
    if (!status && strncmp(text, line, strcspn(line, ":")) != 0)
        status =
            vdm_fail(err,
                     "%s: expected no such file, or that of an earlier demo, found another one, which would "
                     "be replaced; choose another folder, or move the file",
                     path);
    if (!status && !task_hash_folder(&hash, dir, &other)) {
        hash_line(line, hash);
        *made = strcmp(text, line) == 0;
    }
    vdm_free(text);
    vdm_free(path);
    return status;
}

/* Removes the task of an earlier demo, if it is unchanged; any other one is rejected. The folder is marked as unfinished
 * meanwhile, so that a demo that is killed here does not block the next one. */
static int replace_task(const char *dir, const char *unfinished, bool made, vdm_error *err)
{
    vdm_task old;
    vdm_error other;
    if (!vdm_is_folder(dir) || vdm_task_read(&old, dir, &other)) return 0;
    int status = 0;
    if (!made)
        status =
            vdm_fail(err,
                     "%s: expected a new or empty folder, or the unchanged task of an earlier demo, found "
                     "another task; choose another folder",
                     dir);
    if (!status) status = make_folder(unfinished, err);
    if (!status) status = remove_task(&old, dir, err);
    vdm_task_free(&old);
    return status;
}

/* Makes the folder of the task empty. Files that are not of a task stay, and make_empty rejects the folder then. */
static int clear_task(const char *out, const char *dir, vdm_error *err)
{
    bool made;
    char *unfinished = read_made(&made, out, dir, err) ? NULL : vdm_path(dir, TASK_UNFINISHED, err);
    if (!unfinished) return -1;
    int status = vdm_is_folder(unfinished) ? set_aside(dir, err) : replace_task(dir, unfinished, made, err);
    vdm_free(unfinished);
    return status ? -1 : make_empty(dir, err);
}

static int make_task(struct demo *d, const char *name, const char *out, vdm_error *err)
{
    made_task t;
    uint64_t hash;
    task_options o = task_defaults();
    o.seed = d->options.seed;
    o.n = d->options.learn.shots ? d->options.learn.shots : PAIRS;
    o.tests = d->options.limit ? d->options.limit : ANSWERS;
    if (task_make(&t, name, &o, err)) return -1;
    snprintf(d->what, sizeof d->what, "%s", t.what);
    int status = task_hash(&hash, &t, err);
    if (!status) status = clear_task(out, d->made, err);
    if (!status) status = write_hash(out, hash, err);
    if (!status) status = task_write(&t, d->made, err);
    made_task_free(&t);
    return status;
}

/* Prints which of the two is used. */
static void print_folder(const char *name)
{
    vdm_error err;
    if (find_generator(name, &err))
        fprintf(
            stderr,
            "%s: this folder is used, not the generator of that name; rename the folder to use the generator\n",
            clean(name));
}

/* A folder or an ARC-AGI file that is named is used as it is; any other word is a generator's name. The task is made in the
 * output folder: its lock comes first, so that the task of a demo that runs is not replaced. */
static int find_task(struct demo *d, const char *folder, vdm_error *err)
{
    const char *named = d->options.n_operands ? d->options.operands[0] : NULL,
               *name = named ? named : DEFAULT_TASK;
    if (named && (vdm_is_folder(named) || strchr(named, '/') || has_ending(named, ".json"))) {
        print_folder(named);
        return vdm_task_read(&d->task, named, err);
    }
    d->made = vdm_path(folder, "task", err);
    if (!d->made || make_folder(folder, err) || training_claim(&d->lock, folder, err)) return -1;
    if (claim_folder(&(claim){folder, "demo"}, NULL, 0, err) || make_task(d, name, folder, err)) return -1;
    return vdm_task_read(&d->task, d->made, err);
}

/* ------------------------------------------------------------------------------------------------
 * Before the work */

static int prepare_output(struct demo *d, const char *folder, vdm_error *err)
{
    int status = -1;
    paths p = {0};
    if (paths_of_options(&p, &d->options, DEMO, err) || paths_read_task(&p, &d->task, err)) goto end;
    d->training.lock = d->lock;
    d->lock = (lock){0};
    if (training_output(&d->training, folder, false, &p, err)) goto end;
    d->scores = vdm_path(folder, "scores.csv", err);
    d->strip = vdm_path(folder, "strip.png", err);
    d->page = vdm_path(folder, "demo.html", err);
    if (!d->scores || !d->strip || !d->page) goto end;
    if (paths_write(&p, d->scores, ANY_FILE, err) || paths_write(&p, d->strip, ANY_FILE, err)) goto end;
    if (paths_write(&p, d->page, ANY_FILE, err)) goto end;
    status = paths_check(&p, err);
    d->training.claim = (claim){folder, "demo"};
    if (!status) status = claim_folder(&d->training.claim, NULL, 0, err);
end:
    paths_free(&p);
    return status;
}

static int prepare(struct demo *d, vdm_error *err)
{
    options *o = &d->options;
    const char *folder = o->output ? o->output : DEFAULT_FOLDER;
    if (find_task(d, folder, err)) return -1;
    if (canvas_lay_out(&d->task, o, true, err)) return -1;
    int limit = o->limit ? o->limit : d->task.n_test > ANSWERS ? ANSWERS : 0;
    int n = evaluation_asked(&d->task, limit, err);
    if (n > 0 && limit > o->limit)
        fprintf(stderr, "%s: only the first %d of %d test pictures are answered; --limit %d answers all\n",
                clean(d->task.path), n, d->task.n_test, d->task.n_test);
    if (n < 0 || training_plan(&d->training, &d->s, &d->task, o, err)) return -1;
    if (canvas_resize(&d->task, true, d->s.geometry.height, d->s.geometry.width, err)) return -1;
    if (evaluation_plan(&d->evaluation, &d->s, &d->task, n, 0, err) ||
        print_seen_inputs(&d->task, d->training.pairs, n, err))
        return -1;
    const truths outputs = {.task = &d->task,
                            .n_train = d->training.pairs,
                            .n_test = n,
                            .inputs = d->training.views.n > 1,
                            .height = d->s.geometry.height,
                            .width = d->s.geometry.width};
    if (truths_check(&outputs, err)) return -1;
    return prepare_output(d, folder, err);
}

/* ------------------------------------------------------------------------------------------------
 * What is shown */

static void show_pairs(const struct demo *d)
{
    const training *l = &d->training;
    const char *captions[] = {"input", "output", "input", "output"};
    screen s = screen_of_stdout();
    printf("%s", clean(d->task.name));
    if (d->what[0] && strcmp(d->what, d->task.name) != 0) printf(": %s", d->what);
    printf("\n%d pair%s to learn from%s:\n\n", l->pairs, plural(l->pairs),
           l->pairs > SHOWN_PAIRS ? ", of which these are the first" : "");
    for (int i = 0; i < l->pairs && i < SHOWN_PAIRS; i += 2) {
        bool two = i + 1 < l->pairs;
        vdm_picture row[4] = {l->x[i], l->y[i]};
        if (two) row[2] = l->x[i + 1], row[3] = l->y[i + 1];
        screen_print(&s, row, captions, two ? 4 : 2, &d->task.grid);
        printf("\n");
    }
    fflush(stdout); /* before the progress on stderr */
}

/* "answer", and how many cells are wrong. */
static void mark_answer(char *text, size_t size, const struct answer *a)
{
    snprintf(text, size, "answer");
    if (a->known && a->exact) snprintf(text, size, "answer: exact");
    if (a->known && !a->exact && a->wrong) snprintf(text, size, "answer: %d wrong", a->n_wrong);
}

/* The first answers side by side: what 0: the inputs, 1: the answers, 2: the truth. */
static void show_row(const evaluation *a, int what)
{
    screen s = screen_of_stdout();
    const vdm_grid_layout layout = vdm_example_grid(a->task, a->all[0].example);
    vdm_picture row[LOOK_ANSWERS] = {{0}};
    char marks[LOOK_ANSWERS][32];
    const char *captions[LOOK_ANSWERS];
    for (int i = 0; i < a->n; i++) {
        const struct answer *e = &a->all[i];
        row[i] = what == 0 ? e->input : what == 1 ? e->last : e->truth;
        mark_answer(marks[i], sizeof marks[i], e);
        captions[i] = what == 0 ? "input" : what == 1 ? marks[i] : "truth";
    }
    screen_print(&s, row, captions, a->n, &layout);
    printf("\n");
}

/* Answers the first inputs with the adapter as it is. Failures are ignored here: the same failure is reported when all
 * inputs are answered. */
static void look(void *user, int step)
{
    struct demo *d = user;
    evaluation e;
    vdm_error err;
    int n = d->evaluation.asked < LOOK_ANSWERS ? d->evaluation.asked : LOOK_ANSWERS;
    d->s.lora = d->training.adapter; /* lent */
    int status = evaluation_plan(&e, &d->s, &d->task, n, 0, &err);
    e.quiet = true;
    if (!status) status = evaluation_run(&e, &d->s, NULL, false, &err);
    if (!status && step == d->training.look_every) {
        printf("\nUnseen pictures and their right answers:\n\n");
        show_row(&e, 0);
        if (e.all[0].truth.rgb) show_row(&e, 2);
    }
    if (!status) {
        printf("Answers after %d of %d steps:\n\n", step, d->training.fit.steps);
        show_row(&e, 1);
        fflush(stdout);
    }
    d->s.lora = (vdm_lora){0};
    evaluation_free(&e);
}

/* Large models learn without such looks: an answer takes minutes. */
static void plan_looks(struct demo *d)
{
    training *l = &d->training;
    if (evaluation_group(&d->s, LOOK_ANSWERS) < LOOK_ANSWERS) return;
    l->look = look;
    l->look_user = d;
    l->look_every = l->fit.steps / LOOKS;
}

static void show_answers(const struct demo *d)
{
    const evaluation *a = &d->evaluation;
    screen s = screen_of_stdout();
    printf("\nThe first answers to unseen pictures:\n\n");
    for (int i = 0; i < a->n && i < SHOWN_ANSWERS; i++) {
        const struct answer *e = &a->all[i];
        vdm_picture row[] = {e->input, e->last, e->truth};
        char mark[32];
        mark_answer(mark, sizeof mark, e);
        const char *captions[] = {"input", mark, e->truth.rgb ? "truth" : ""};
        const vdm_grid_layout layout = vdm_example_grid(&d->task, e->example);
        screen_print(&s, row, captions, 3, &layout);
        printf("\n");
    }
}

static int write_files(const struct demo *d, vdm_error *err)
{
    page p = {.command = d->command,
              .session = &d->s,
              .task = &d->task,
              .training = &d->training,
              .evaluation = &d->evaluation};
    if (evaluation_write(&d->evaluation, d->scores, err)) return -1;
    if (strip_write(&d->evaluation, STRIP, d->strip, err)) return -1;
    return page_write(&p, d->page, err);
}

/* ------------------------------------------------------------------------------------------------
 * The work */

static int answer_all(struct demo *d, vdm_error *err)
{
    char text[256], seconds[32];
    d->s.lora = d->training.adapter; /* lent for the answers */
    int status = evaluation_run(&d->evaluation, &d->s, NULL, false, err);
    if (!status) status = write_files(d, err);
    d->s.lora = (vdm_lora){0};
    if (status) return -1;
    show_answers(d);
    evaluation_text(&d->evaluation, text, sizeof text);
    format_seconds(seconds, sizeof seconds, vdm_seconds() - d->start);
    printf("%s (%s in all)\n%s shows everything\n", text, seconds, clean(d->page));
    return 0;
}

/* It answers while it learns. */
static int limit_memory(struct demo *d, vdm_error *err)
{
    double bytes = plan_bytes(&d->s, d->training.fit.steps, 0, d->training.videos);
    return session_limit_memory(&d->s, bytes + plan_bytes(&d->s, 0, d->evaluation.asked, 0), err);
}

static int run(struct demo *d, vdm_error *err)
{
    if (training_read(&d->training, err)) return -1;
    show_pairs(d);
    if (session_load(&d->s, err) || limit_memory(d, err)) return -1;
    plan_looks(d);
    if (training_run(&d->training, err)) return -1;
    return answer_all(d, err);
}

static void release(struct demo *d)
{
    training_free(&d->training);
    lock_release(&d->lock);
    evaluation_free(&d->evaluation);
    session_free(&d->s);
    vdm_task_free(&d->task);
    vdm_free(d->command);
    vdm_free(d->made);
    vdm_free(d->scores);
    vdm_free(d->strip);
    vdm_free(d->page);
}

int command_demo(int argc, char **argv)
{
    vdm_error err;
    vdm_phi phi;
    struct demo d = {.start = vdm_seconds()};
    int status = options_read(&d.options, DEMO, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (d.options.n_operands > 1) return misuse("demo: expected one task, found %d", d.options.n_operands);
    if (d.options.learn.phi && vdm_phi_parse(&phi, d.options.learn.phi, &err))
        return misuse("--phi: %s", err.text);
    console_watch_signals();
    d.command = command_line("demo", argc, argv, &err);
    status = d.command ? training_init_options(&d.options, DEMO, &err) : -1;
    if (!status) status = prepare(&d, &err);
    if (!status) status = run(&d, &err);
    release(&d);
    return status ? fail(&err) : DONE;
}
