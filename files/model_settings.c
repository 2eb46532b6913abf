/* A model's own settings: MODEL/vdm.json, in which a model states how it is meant to learn and to answer.
 *
 *   {"fit": {"steps": 600, "batch": 16, "lr": 1e-3}, "sample": {"steps": 20, "sampler": "ddim"}}
 *
 * Strict: an unknown key, a value of another type or out of its range is an error. Only what the file gives is
 * replaced. Keys and ranges are those of the program's options (tools/options.c), with _ for -. The section "arc" and
 * the keys of CANVAS describe pictures of grids: the program reads them, this file skips them. */
#include "vdm.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum kind { INTEGER, REAL, SIZE, WORD };
typedef struct setting {
    const char *key;
    enum kind kind;
    size_t offset; /* in vdm_learn_options or vdm_sample_options; SIZE: of height, which width follows */
    double min, max;
    const char *words; /* WORD: "a|b", of which the value's enum counts from 0 */
} setting;

static const setting fit_settings[] = {
#define AT(field) offsetof(vdm_learn_options, field)
    {"frames", INTEGER, AT(geometry.frames), 1, VDM_MAX_FRAMES, NULL},
    {"size", SIZE, AT(geometry.height), 1, VDM_MAX_SIDE, NULL},
    {"image_scale", WORD, AT(image_scale), 0, 0, "pipeline|trainer"},
    {"rank", INTEGER, AT(rank), 1, 4096, NULL},
    {"alpha", REAL, AT(alpha), 1e-6, 1e6, NULL},
    {"steps", INTEGER, AT(fit.steps), 1, 10000000, NULL},
    {"batch", INTEGER, AT(fit.batch), 1, 1024, NULL},
    {"accumulate", INTEGER, AT(fit.accumulate), 1, 1024, NULL},
    {"lr", REAL, AT(fit.lr), 0, 10, NULL},
    {"schedule", WORD, AT(fit.schedule), 0, 0, "constant|warmup|linear|cosine"},
    {"warmup", INTEGER, AT(fit.warmup), 0, 1000000, NULL},
    {"clip", REAL, AT(fit.clip), 1e-9, 1e9, NULL},
    {"weight_decay", REAL, AT(fit.weight_decay), 0, 1, NULL},
    {"pure_noise", REAL, AT(fit.pure_noise), 0, 1, NULL},
#undef AT
};
static const setting sample_settings[] = {
#define AT(field) offsetof(vdm_sample_options, field)
    {"frames", INTEGER, AT(geometry.frames), 1, VDM_MAX_FRAMES, NULL},
    {"size", SIZE, AT(geometry.height), 1, VDM_MAX_SIDE, NULL},
    {"image_scale", WORD, AT(image_scale), 0, 0, "pipeline|trainer"},
    {"steps", INTEGER, AT(steps), 1, 10000000, NULL},
    {"ensemble", INTEGER, AT(ensemble), 1, 256, NULL},
    {"sampler", WORD, AT(sampler), 0, 0, "ddim|dpm"},
    {"guidance", REAL, AT(guidance), 0, 1000, NULL},
#undef AT
};
enum {
    FIT_SETTINGS = sizeof fit_settings / sizeof fit_settings[0],
    SAMPLE_SETTINGS = sizeof sample_settings / sizeof sample_settings[0]
};
static const char *const CANVAS[] = {"cell", "border", "align", "grow", "outside", "palette", "views"};

/* ------------------------------------------------------------------------------------------------
 * One value */

static int read_integer(const setting *s, const char *text, int *value, vdm_error *err)
{
    char *end;
    double x = strtod(text, &end);
    if (!*text || *end || strspn(text, "-0123456789") != strlen(text) || !(x >= s->min && x <= s->max))
        return vdm_fail(err, "expected a whole number from %.0f to %.0f, found '%.100s'", s->min, s->max,
                        text);
    *value = (int)x;
    return 0;
}

static int read_real(const setting *s, const char *text, double *value, vdm_error *err)
{
    errno = 0;
    double x = strtod(text, NULL);
    if (errno || !(x >= s->min && x <= s->max))
        return vdm_fail(err, "expected a number from %g to %g, found '%.100s'", s->min, s->max, text);
    *value = x;
    return 0;
}

/* "HxW" */
static int read_size(const setting *s, const char *text, int *height_width, vdm_error *err)
{
    char height[16] = "";
    size_t digits = strcspn(text, "x");
    if (text[digits] != 'x' || digits >= sizeof height)
        return vdm_fail(err, "expected HxW, as in 480x720, found '%.100s'", text);
    memcpy(height, text, digits);
    if (read_integer(s, height, &height_width[0], err)) return -1;
    return read_integer(s, text + digits + 1, &height_width[1], err);
}

/* Its place in "a|b|c", counted from 0. */
static int read_word(const setting *s, const char *text, void *value, vdm_error *err)
{
    unsigned index = 0;
    for (const char *word = s->words; *word; index++) {
        size_t length = strcspn(word, "|");
        if (length == strlen(text) && strncmp(word, text, length) == 0) {
            memcpy(value, &index, sizeof index);
            return 0;
        }
        word += length + (word[length] == '|');
    }
    return vdm_fail(err, "expected %s, found '%.100s'", s->words, text);
}

static int read_value(const setting *s, void *options, const vdm_json_node *n, vdm_error *err)
{
    void *to = (char *)options + s->offset;
    bool string = s->kind == SIZE || s->kind == WORD;
    if (n->kind != (string ? VDM_JSON_STRING : VDM_JSON_NUMBER))
        return vdm_fail(err, "expected a %s, found something else", string ? "string" : "number");
    switch (s->kind) {
    case INTEGER:
        return read_integer(s, n->text, to, err);
    case REAL:
        return read_real(s, n->text, to, err);
    case SIZE:
        return read_size(s, n->text, to, err);
    case WORD:
        return read_word(s, n->text, to, err);
    }
    return -1;
}

/* ------------------------------------------------------------------------------------------------
 * A section, and the file */

static bool is_canvas(const char *key)
{
    for (size_t i = 0; i < sizeof CANVAS / sizeof CANVAS[0]; i++)
        if (strcmp(CANVAS[i], key) == 0) return true;
    return false;
}

static int read_section(const setting *settings, int count, void *options, const vdm_json *j,
                        const vdm_json_node *object, vdm_error *err)
{
    const vdm_json_node *n = object->children ? object + 1 : NULL;
    vdm_error why;
    if (object->kind != VDM_JSON_OBJECT) return vdm_fail(err, "%s: expected an object", object->key);
    for (; n; n = vdm_json_next(j, n)) {
        int i = 0;
        while (i < count && strcmp(settings[i].key, n->key) != 0) i++;
        if (i == count && is_canvas(n->key)) continue;
        if (i == count)
            return vdm_fail(err, "%s: %.100s: no such setting: expected steps, lr, ... of vdm_%s_options",
                            object->key, n->key, settings == fit_settings ? "learn" : "sample");
        if (read_value(&settings[i], options, n, &why))
            return vdm_fail(err, "%s: %s: %.300s", object->key, n->key, why.text);
    }
    return 0;
}

static int read_sections(vdm_learn_options *learn, vdm_sample_options *sample, const vdm_json *j,
                         vdm_error *err)
{
    const vdm_json_node *root = j->nodes, *n = root->children ? root + 1 : NULL;
    if (root->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "expected an object with \"fit\", \"sample\", \"arc\"");
    for (; n; n = vdm_json_next(j, n)) {
        int status = 0;
        if (strcmp(n->key, "fit") == 0)
            status = read_section(fit_settings, FIT_SETTINGS, learn, j, n, err);
        else if (strcmp(n->key, "sample") == 0)
            status = read_section(sample_settings, SAMPLE_SETTINGS, sample, j, n, err);
        else if (strcmp(n->key, "arc") != 0)
            status = vdm_fail(err, "%.100s: expected \"fit\", \"sample\" or \"arc\"", n->key);
        if (status) return -1;
    }
    return 0;
}

int vdm_model_settings_read(vdm_learn_options *learn, vdm_sample_options *sample, const char *dir,
                            vdm_error *err)
{
    vdm_json j;
    vdm_error why;
    struct stat st;
    char *path = vdm_path(dir, "vdm.json", err);
    if (!path) return -1;
    int status = 0;
    if (stat(path, &st) == 0) {
        status = vdm_json_read(&j, path, err);
        if (!status) {
            status = read_sections(learn, sample, &j, &why);
            if (status) vdm_fail(err, "%.300s: %.600s", path, why.text);
            vdm_json_free(&j);
        }
    }
    vdm_free(path);
    return status;
}
