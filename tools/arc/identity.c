/* Which run and which task a result is of: the settings, a hash of the files that they name, one of the model's
 * configurations, and one of the task's grids. A result of another run or task is not continued with. */
#include "tools/arc/identity.h"
#include "files/config_keys.h"
#include "files/hash.h"

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

/* Everything that the settings name by its path: the model's weights and embeddings, and the options' files. */
static int hash_contents(uint64_t *h, const options *o, vdm_error *err)
{
    static const char *const names[] = {"transformer", "vae", "prompt_embeds.safetensors",
                                        "view_embeds.safetensors"};
    const char *const files[] = {o->learn.init, o->prompt.embeds, o->prompt.negative_embeds};
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
    for (int i = 0; i < 3 && !status; i++) status = hash_file(h, files[i], err);
    return status;
}

/* The settings of the run, and a hash of what they name: another model at the same path is another run. */
char *run_of(const options *o, vdm_error *err)
{
    uint64_t h = VDM_HASH_START;
    char *settings = options_key(o, err);
    if (!settings || hash_contents(&h, o, err)) {
        vdm_free(settings);
        return NULL;
    }
    size_t size = strlen(settings) + 40;
    char *run = vdm_alloc(size, 1, "the settings", err);
    if (run) snprintf(run, size, "%s; contents %016llx", settings, (unsigned long long)h);
    vdm_free(settings);
    return run;
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
