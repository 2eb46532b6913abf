/* Which run and which task a result is of: the settings, a hash of the files that they name, one of the model's
 * configurations, and one of the task's grids. A result of another run or task is not continued with. */
#include "tools/arc/identity.h"
#include "files/config_keys.h"
#include "files/hash.h"
#include "tools/options_table.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int hash_tensors(uint64_t *h, vdm_safetensors *f)
{
    for (int64_t i = 0; i < f->count; i++) *h = vdm_hash_tensor(*h, &f->tensors[i]);
    vdm_safetensors_close(f);
    return 0;
}

/* A file of tensors; NULL, or none of that name: nothing. */
static int hash_file(uint64_t *h, const char *path, vdm_error *err)
{
    vdm_safetensors f;
    if (!path || access(path, F_OK) != 0) return 0;
    return vdm_safetensors_open(&f, path, err) ? -1 : hash_tensors(h, &f);
}

/* The adapter of --init as it is read: its scales may be in its metadata, or in another file. Without --init: nothing. */
static int hash_adapter(uint64_t *h, const options *o, vdm_error *err)
{
    vdm_model_config c;
    vdm_lora a;
    if (!o->learn.init) return 0;
    if (vdm_model_config_read(&c, o->model, err) ||
        vdm_lora_read(&a, o->learn.init, &c.transformer, NULL, NULL, err))
        return -1;
    *h = vdm_hash(*h, &a.alpha, 1, sizeof a.alpha);
    *h = vdm_hash_step(vdm_hash_step(*h, (uint64_t)a.rank), (uint64_t)a.targets);
    *h = vdm_hash(*h, a.params, (size_t)vdm_lora_count(&a), sizeof *a.params);
    vdm_lora_free(&a);
    return 0;
}

/* Everything that the settings name by its path: the model's weights and embeddings, and the options' files. */
static int hash_contents(uint64_t *h, const options *o, vdm_error *err)
{
    static const char *const names[] = {"transformer", "vae", "prompt_embeds.safetensors",
                                        "view_embeds.safetensors"};
    int status = 0;
    for (int i = 0; i < 4 && !status; i++) {
        vdm_safetensors f;
        char *path = vdm_path(o->model, names[i], err);
        if (!path)
            status = -1;
        else if (i >= 2)
            status = hash_file(h, path, err);
        else
            status = vdm_safetensors_open_folder(&f, path, "diffusion_pytorch_model", err)
                         ? -1
                         : hash_tensors(h, &f);
        vdm_free(path);
    }
    if (!status) status = hash_adapter(h, o, err);
    if (!status) status = hash_file(h, o->prompt.embeds, err);
    return status ? status : hash_file(h, o->prompt.negative_embeds, err);
}

/* Settings that gave other answers in earlier builds. A run with them has a mark: results without it are not continued. */
static bool learns_shots_in_views(const options *o)
{
    return o->learn.shots && o->arc.augment;
}

static bool answers_by_seed(const options *o)
{
    return o->arc.attempts > 2 && !o->arc.augment && o->eval.views == 1;
}

static const struct mark {
    const char *text;
    bool (*is_of)(const options *o);
    const char *options; /* in the sentence about a difference */
} marks[] = {{"; shots in every view", learns_shots_in_views, "--shots with --augment"},
             {"; answers by seed", answers_by_seed, "--attempts above 2"}};
enum { MARKS = sizeof marks / sizeof marks[0] };
static const char CONTENTS[] = "; contents ";

/* The settings of the run, and a hash of what they name: another model at the same path is another run. */
char *run_of(const options *o, vdm_error *err)
{
    uint64_t h = VDM_HASH_START;
    char *settings = options_key(o, err);
    if (!settings || hash_contents(&h, o, err)) {
        vdm_free(settings);
        return NULL;
    }
    size_t size = strlen(settings) + 120, n = 0;
    char *run = vdm_alloc(size, 1, "the settings", err);
    if (run) n = (size_t)snprintf(run, size, "%s", settings);
    for (int i = 0; i < MARKS && run; i++)
        if (marks[i].is_of(o)) n += (size_t)snprintf(run + n, size - n, "%s", marks[i].text);
    if (run) snprintf(run + n, size - n, "%s%016llx", CONTENTS, (unsigned long long)h);
    vdm_free(settings);
    return run;
}

/* The value of an option in the settings of a run, n characters, none of a flag; NULL: it is not among them. */
static const char *value_of(const char *run, const char *name, int *n)
{
    size_t length = strlen(name);
    for (const char *at = run; (at = strstr(at, name)); at += length) {
        const char *value = at + length;
        if ((at > run && at[-1] != ' ') || (*value && *value != ' ' && *value != ';')) continue;
        const char *end = strstr(value, " --"), *mark = strstr(value, "; ");
        if (!end || (mark && mark < end)) end = mark;
        if (!end) end = value + strlen(value);
        if (value < end) value++; /* the space */
        *n = (int)(end - value);
        return value;
    }
    return NULL;
}

/* "none" without the option, "given" of a flag. */
static void show_value(char text[120], const char *value, int n)
{
    if (!value) value = "none", n = 4;
    if (!n) value = "given", n = 5;
    bool cut = n > 100; /* the end of a path distinguishes it */
    snprintf(text, 120, "%s%.*s", cut ? "..." : "", cut ? 97 : n, cut ? value + n - 97 : value);
}

/* The first option of the key whose values differ; false: all are the same. */
static bool find_option(char *text, size_t size, const char *found, const char *expected)
{
    for (int i = 0; i < n_option_rows; i++) {
        const struct option_row *r = &option_rows[i];
        int n = 0, m = 0;
        char here[120], there[120];
        if (!(r->commands & ARC) || !(r->flags & KEY)) continue;
        const char *a = value_of(found, r->name, &n), *b = value_of(expected, r->name, &m);
        if (!a == !b && n == m && (!a || memcmp(a, b, (size_t)n) == 0)) continue;
        show_value(here, a, n);
        show_value(there, b, m);
        snprintf(text, size, "%s: found %s, expected %s", r->name, here, there);
        return true;
    }
    return false;
}

void run_difference(char *text, size_t size, const char *found, const char *expected)
{
    if (!strstr(found, CONTENTS) != !strstr(expected, CONTENTS)) {
        snprintf(text, size, "one of the two is of version 0.1.0, without a hash of the weights");
        return;
    }
    if (find_option(text, size, found, expected)) return;
    for (int i = 0; i < MARKS; i++) {
        if (!strstr(found, marks[i].text) == !strstr(expected, marks[i].text)) continue;
        snprintf(text, size, "%s: one of the two is of an earlier build, which gave other answers with it",
                 marks[i].options);
        return;
    }
    snprintf(text, size,
             "the contents of files differ: weights or embeddings of the model, or a file of --init, "
             "--prompt-embeds or --negative-embeds");
}

/* ------------------------------------------------------------------------------------------------
 * The model's configurations */

static void write_hash(char text[HASH_TEXT], uint64_t h)
{
    snprintf(text, HASH_TEXT, "%016llx", (unsigned long long)h);
}

/* A value of any kind, with everything in it. Its depth is at most VDM_MAX_JSON_DEPTH. */
static uint64_t hash_value(uint64_t h, const vdm_json *j, const vdm_json_node *v)
{
    h = vdm_hash_step(h, (uint64_t)v->kind);
    if (v->kind == VDM_JSON_NUMBER) return vdm_hash(h, &v->number, 1, sizeof v->number);
    if (v->kind == VDM_JSON_STRING) return vdm_hash_step(vdm_hash_text(h, v->text), 0);
    h = vdm_hash_step(h, (uint64_t)v->children);
    for (const vdm_json_node *c = v->children ? v + 1 : NULL; c; c = vdm_json_next(j, c)) {
        if (c->key) h = vdm_hash_step(vdm_hash_text(h, c->key), 0);
        h = hash_value(h, j, c);
    }
    return h;
}

/* The keys that vdm obeys and the file has, in the order of the table. Those that it ignores change nothing, others have
 * one value. */
static int hash_part(uint64_t *h, const char *part, const char *path, vdm_error *err)
{
    vdm_json j;
    if (vdm_json_read(&j, path, err)) return -1;
    for (const vdm_config_key *k = vdm_config_keys; k->part; k++) {
        if (k->use != VDM_KEY_OBEYED || strcmp(k->part, part) != 0) continue;
        const vdm_json_node *v = j.nodes->kind == VDM_JSON_OBJECT ? vdm_json_get(&j, j.nodes, k->key) : NULL;
        if (v) *h = hash_value(vdm_hash_step(vdm_hash_text(*h, k->key), 0), &j, v);
    }
    vdm_json_free(&j);
    return 0;
}

int hash_configuration(char hash[HASH_TEXT], const char *model, vdm_error *err)
{
    static const char *const parts[][2] = {{"transformer", "transformer/config.json"},
                                           {"vae", "vae/config.json"},
                                           {"scheduler", "scheduler/scheduler_config.json"}};
    uint64_t h = VDM_HASH_START;
    int status = 0;
    for (int i = 0; i < 3 && !status; i++) {
        char *path = vdm_path(model, parts[i][1], err);
        status = path ? hash_part(&h, parts[i][0], path, err) : -1;
        vdm_free(path);
    }
    write_hash(hash, h);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * A task */

static uint64_t hash_grid(uint64_t h, const vdm_grid *g)
{
    h = vdm_hash_step(vdm_hash_step(h, (uint64_t)g->rows), (uint64_t)g->cols);
    return vdm_hash_bytes(h, g->cells, (size_t)(g->rows * g->cols));
}

void hash_task(char hash[HASH_TEXT], const vdm_arc *a)
{
    uint64_t h = vdm_hash_step(vdm_hash_step(VDM_HASH_START, (uint64_t)a->n_train), (uint64_t)a->n_test);
    for (int i = 0; i < a->n_train; i++) h = hash_grid(hash_grid(h, &a->train[i].x), &a->train[i].y);
    for (int i = 0; i < a->n_test; i++) h = hash_grid(h, &a->test[i].x);
    write_hash(hash, h);
}
