/* The state of a training run, as a safetensors file.
 *
 *   params, m, v [n]      the adapter and its moments
 *   rows [step + 1, 4]    vdm_fit's report on every step
 *   metadata              the settings of the run as text: vdm_fit = 1, model, pairs, lr, ...
 *
 * Random numbers are a function of seed and step (vdm_fit_rng), so that nothing else is needed to resume with the same
 * bits. A run with other settings is rejected, with the first setting that differs. */
#include "files/fit_state.h"

#include <inttypes.h>
#include <limits.h>
#include <string.h>

enum { MAX_SETTINGS = 32, VALUE = 64 };

static void text_of(char value[VALUE], const vdm_fit_setting *s)
{
    switch (s->kind) {
    case VDM_SETTING_NUMBER:
        vdm_json_number_text(value, s->number);
        return;
    case VDM_SETTING_HASH:
        snprintf(value, VALUE, "%016" PRIx64, s->hash);
        return;
    case VDM_SETTING_WORD:
        snprintf(value, VALUE, "%s", s->word);
        return;
    }
}

int vdm_fit_state_write(const vdm_fit_state *s, const char *path, vdm_error *err)
{
    const char *metadata[MAX_SETTINGS + 1][2] = {{"vdm_fit", "1"}};
    char values[MAX_SETTINGS][VALUE];
    int n = 0;
    for (const vdm_fit_setting *f = s->settings; f->name; f++) {
        if (n == MAX_SETTINGS) return vdm_fail(err, "%s: more than %d settings", path, MAX_SETTINGS);
        text_of(values[n], f);
        if (f->optional && !f->hash) continue;
        if (f->default_before && strcmp(f->default_before, values[n]) == 0) continue;
        metadata[n + 1][0] = f->name;
        metadata[n + 1][1] = values[n];
        n++;
    }
    int64_t rows = s->step + 1;
    size_t bytes = (size_t)s->n * sizeof(float);
    const vdm_tensor tensors[] = {
        {"params", VDM_F32, 1, {s->n}, s->params, bytes},
        {"m", VDM_F32, 1, {s->n}, s->m, bytes},
        {"v", VDM_F32, 1, {s->n}, s->v, bytes},
        {"rows", VDM_F64, 2, {rows, 4}, s->rows, (size_t)rows * sizeof *s->rows},
    };
    return vdm_safetensors_write(path, tensors, 4, (const char *const(*)[2])metadata, n + 1, err);
}

static int check_settings(const vdm_fit_state *s, const vdm_safetensors *f, vdm_error *err)
{
    const char *version = vdm_safetensors_metadata(f, "vdm_fit");
    if (!version || strcmp(version, "1") != 0)
        return vdm_fail(err, "%s: vdm_fit: expected 1, found %s: not a training state that vdm can resume",
                        f->path, version ? version : "none");
    for (const vdm_fit_setting *setting = s->settings; setting->name; setting++) {
        char value[VALUE];
        text_of(value, setting);
        const char *found = vdm_safetensors_metadata(f, setting->name);
        if (!found && setting->optional) continue;
        if (!found) found = setting->default_before;
        if (!found || strcmp(found, value) != 0)
            return vdm_fail(err, "%s: %s: this run has %s, the state was made with %s", f->path,
                            setting->name, value, found ? found : "none");
    }
    return 0;
}

static int read_array(float *to, const vdm_safetensors *f, const char *name, int64_t n, vdm_error *err)
{
    const vdm_tensor *t = vdm_safetensors_find(f, name);
    if (!t || t->dtype != VDM_F32 || t->rank != 1 || t->shape[0] != n)
        return vdm_fail(err, "%s: tensor '%s': expected F32 [%" PRId64 "], found %s", f->path, name, n,
                        t ? "another" : "none");
    if (vdm_check_finite(t->data, t->dtype, n, f->path, name, err)) return -1;
    memcpy(to, t->data, (size_t)n * sizeof(float));
    return 0;
}

/* NULL: an error. */
static const vdm_tensor *rows_of(const vdm_safetensors *f, vdm_error *err)
{
    const vdm_tensor *rows = vdm_safetensors_find(f, "rows");
    if (rows && rows->dtype == VDM_F64 && rows->rank == 2 && rows->shape[1] == 4 && rows->shape[0] >= 1)
        return rows;
    vdm_fail(err, "%s: tensor 'rows': expected F64 [steps + 1,4], found %s", f->path,
             rows ? "another" : "none");
    return NULL;
}

static int read_state(vdm_fit_state *s, const vdm_safetensors *f, vdm_error *err)
{
    const vdm_tensor *rows = check_settings(s, f, err) ? NULL : rows_of(f, err);
    if (!rows) return -1;
    if (rows->shape[0] > s->max_steps + 1)
        return vdm_fail(err, "%s: the state is at step %" PRId64 ", this run ends at %d", f->path,
                        rows->shape[0] - 1, s->max_steps);
    if (read_array(s->m, f, "m", s->n, err)) return -1;
    if (read_array(s->v, f, "v", s->n, err)) return -1;
    if (read_array(s->params, f, "params", s->n, err)) return -1;
    memcpy(s->rows, rows->data, rows->bytes);
    s->step = (int)rows->shape[0] - 1;
    return 0;
}

int vdm_fit_state_step(int *step, const char *path, vdm_error *err)
{
    vdm_safetensors f;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    const vdm_tensor *rows = rows_of(&f, err);
    if (rows) *step = rows->shape[0] - 1 < INT_MAX ? (int)(rows->shape[0] - 1) : INT_MAX;
    vdm_safetensors_close(&f);
    return rows ? 0 : -1;
}

int vdm_fit_state_read(vdm_fit_state *s, const char *path, vdm_error *err)
{
    vdm_safetensors f;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    int status = read_state(s, &f, err);
    vdm_safetensors_close(&f);
    return status;
}
