/* A model's own settings: MODEL/vdm.json, with which it is meant to learn and to answer.
 *
 *   {"fit": {"steps": 600, "batch": 16, "lr": 1e-3}, "sample": {"steps": 20, "sampler": "ddim"}, "arc": {"cell": 8}}
 *
 *   vdm.json  ->  a list of checked settings  ->  the options of vdm_learn and vdm_answer; of the program (tools/options.c)
 *
 * An unknown key, a value of another type or outside its range is an error. The section "arc" and the keys that describe
 * pictures of grids are the program's: vdm_learn and vdm_answer ignore them. */
#include "files/model_settings.h"
#include "files/fields.h"
#include "vdm.h"

#include <string.h>
#include <sys/stat.h>

enum { FIT = 1, SAMPLE = 2, ARC = 4, ALL = FIT | SAMPLE | ARC };
static const char *const sections[] = {"fit", "sample", "arc"}; /* section i is bit i */

/* The legal keys and values. Keys are the names of the program's options, with _ for -. */
static const struct rule {
    const char *key;
    int sections;
    enum { INTEGER, NUMBER, WORD, SIZE } kind;
    double min, max;
    const char *words[5];
} rules[] = {
    {"frames", ALL, INTEGER, 1, VDM_MAX_FRAMES, {NULL}},
    {"size", ALL, SIZE, 1, VDM_MAX_SIDE, {NULL}},
    {"image_scale", ALL, WORD, 0, 0, {"pipeline", "trainer"}},
    {"steps", FIT | ARC, INTEGER, 1, 10000000, {NULL}},
    {"batch", FIT | ARC, INTEGER, 1, 1024, {NULL}},
    {"accumulate", FIT | ARC, INTEGER, 1, 1024, {NULL}},
    {"rank", FIT | ARC, INTEGER, 1, 4096, {NULL}},
    {"alpha", FIT | ARC, NUMBER, 1e-6, 1e6, {NULL}},
    {"targets", FIT | ARC, WORD, 0, 0, {"attn", "attn,ff"}},
    {"lr", FIT | ARC, NUMBER, 0, 10, {NULL}},
    {"schedule", FIT | ARC, WORD, 0, 0, {"constant", "warmup", "linear", "cosine"}},
    {"warmup", FIT | ARC, INTEGER, 0, 1000000, {NULL}},
    {"clip", FIT | ARC, NUMBER, 1e-9, 1e9, {NULL}},
    {"weight_decay", FIT | ARC, NUMBER, 0, 1, {NULL}},
    {"pure_noise", FIT | ARC, NUMBER, 0, 1, {NULL}},
    {"steps", SAMPLE, INTEGER, 1, 1000, {NULL}},
    {"ensemble", SAMPLE, INTEGER, 1, 256, {NULL}},
    {"sampler", SAMPLE | ARC, WORD, 0, 0, {"ddim", "dpm"}},
    {"guidance", SAMPLE | ARC, NUMBER, 0, 1000, {NULL}},
    {"views", ALL, INTEGER, 1, 32, {NULL}},
    {"cell", ALL, INTEGER, 0, 512, {NULL}},
    {"border", ALL, INTEGER, 0, 64, {NULL}},
    {"align", ALL, INTEGER, 1, 64, {NULL}},
    {"grow", ALL, INTEGER, 0, 4096, {NULL}},
    {"outside", ALL, WORD, 0, 0, {"black", "grey"}},
    {"palette", ALL, WORD, 0, 0, {"arc", "vivid"}},
};
enum { N_SECTIONS = sizeof sections / sizeof *sections, N_RULES = sizeof rules / sizeof *rules };
_Static_assert(N_SECTIONS *N_RULES <= VDM_MAX_SETTINGS, "a setting has one value in a section");

/* ------------------------------------------------------------------------------------------------
 * The file as a checked list */

/* The index of a word. */
static int check_word(vdm_fields *f, const struct rule *r)
{
    const char *word = vdm_field_text(f, r->key, NULL);
    char expected[96] = "";
    for (int i = 0; r->words[i]; i++) {
        if (word && strcmp(word, r->words[i]) == 0) return i;
        snprintf(expected + strlen(expected), sizeof expected - strlen(expected), "%s%s",
                 !i                ? ""
                 : r->words[i + 1] ? ", "
                                   : " or ",
                 r->words[i]);
    }
    vdm_field_reject(f, r->key, expected);
    return 0;
}

/* "HxW"; false if it is not */
static bool read_size(int *height, int *width, const char *text)
{
    char end;
    return strspn(text, "0123456789x") == strlen(text) &&
           sscanf(text, "%5dx%5d%c", height, width, &end) == 2 && *height >= 1 && *height <= VDM_MAX_SIDE &&
           *width >= 1 && *width <= VDM_MAX_SIDE;
}

/* The value as a number; one that is not legal is rejected. */
static double check_value(vdm_fields *f, const struct rule *r)
{
    int height, width;
    const char *size;
    switch (r->kind) {
    case INTEGER:
        return vdm_field_int(f, r->key, (int)r->min, (int)r->min, (int)r->max);
    case NUMBER:
        return vdm_field_number(f, r->key, r->min, r->min, r->max);
    case WORD:
        return check_word(f, r);
    case SIZE:
        size = vdm_field_text(f, r->key, "");
        if (!read_size(&height, &width, size)) vdm_field_reject(f, r->key, "HxW, as in 480x720");
        return 0;
    }
    return 0;
}

static const struct rule *rule_of(int section, const char *key)
{
    const struct rule *r = rules;
    while (!(r->sections & section) || strcmp(r->key, key) != 0) r++;
    return r;
}

static void read_section(vdm_settings *s, vdm_fields *root, int i)
{
    const char *keys[N_RULES];
    vdm_fields f;
    int n = 0;
    if (root->failed || !vdm_field(root, sections[i])) return;
    vdm_fields_inside(&f, root, sections[i]);
    for (int k = 0; k < N_RULES; k++)
        if (rules[k].sections & 1 << i) keys[n++] = rules[k].key;
    vdm_fields_only(&f, keys, n);
    const vdm_json_node *v = f.failed || !f.object->children ? NULL : f.object + 1;
    for (; v; v = vdm_json_next(f.json, v))
        s->of[s->n++] = (vdm_setting){sections[i], v->key, v->text, check_value(&f, rule_of(1 << i, v->key))};
    root->failed = f.failed;
}

int vdm_settings_open(vdm_settings *s, const char *dir, vdm_error *err)
{
    struct stat st;
    vdm_fields root = {.failed = false};
    *s = (vdm_settings){0};
    char *path = vdm_path(dir, "vdm.json", err);
    if (!path) return -1;
    bool there = stat(path, &st) == 0;
    int status = there ? vdm_json_read(&s->json, path, err) : 0;
    if (there && !status) {
        vdm_fields_open(&root, &s->json, s->json.nodes, path, err);
        vdm_fields_only(&root, sections, N_SECTIONS);
        for (int i = 0; i < N_SECTIONS; i++) read_section(s, &root, i);
        status = root.failed ? -1 : 0;
        if (status) vdm_settings_close(s);
    }
    vdm_free(path);
    return status;
}

void vdm_settings_close(vdm_settings *s)
{
    vdm_json_free(&s->json);
    *s = (vdm_settings){0};
}

/* ------------------------------------------------------------------------------------------------
 * The list as options of vdm_learn and vdm_answer */

static const vdm_setting *find(const vdm_settings *s, const char *section, const char *key)
{
    for (int i = 0; i < s->n; i++)
        if (strcmp(s->of[i].section, section) == 0 && strcmp(s->of[i].key, key) == 0) return &s->of[i];
    return NULL;
}

static void set_double(double *to, const vdm_settings *s, const char *section, const char *key)
{
    const vdm_setting *found = find(s, section, key);
    if (found) *to = found->number;
}

static void set_int(int *to, const vdm_settings *s, const char *section, const char *key)
{
    const vdm_setting *found = find(s, section, key);
    if (found) *to = (int)found->number;
}

/* What both sections have. */
static void set_images(vdm_geometry *g, vdm_image_scale *scale, const vdm_settings *s, const char *section)
{
    const vdm_setting *size = find(s, section, "size"), *word = find(s, section, "image_scale");
    set_int(&g->frames, s, section, "frames");
    if (size) read_size(&g->height, &g->width, size->text);
    if (word) *scale = (vdm_image_scale)word->number;
}

static void set_learn(vdm_learn_options *o, const vdm_settings *s)
{
    vdm_fit_options *f = &o->fit;
    const vdm_setting *schedule = find(s, "fit", "schedule"), *targets = find(s, "fit", "targets");
    set_images(&o->geometry, &o->image_scale, s, "fit");
    set_int(&o->rank, s, "fit", "rank");
    set_double(&o->alpha, s, "fit", "alpha");
    if (targets) o->targets = targets->number > 0 ? VDM_ATTENTION_FF : VDM_ATTENTION;
    set_int(&f->steps, s, "fit", "steps");
    set_int(&f->batch, s, "fit", "batch");
    set_int(&f->accumulate, s, "fit", "accumulate");
    set_double(&f->lr, s, "fit", "lr");
    if (schedule) f->schedule = (vdm_lr_schedule)schedule->number;
    set_int(&f->warmup, s, "fit", "warmup");
    set_double(&f->clip, s, "fit", "clip");
    set_double(&f->weight_decay, s, "fit", "weight_decay");
    set_double(&f->pure_noise, s, "fit", "pure_noise");
}

static void set_sample(vdm_sample_options *o, const vdm_settings *s)
{
    const vdm_setting *sampler = find(s, "sample", "sampler");
    set_images(&o->geometry, &o->image_scale, s, "sample");
    set_int(&o->steps, s, "sample", "steps");
    set_int(&o->ensemble, s, "sample", "ensemble");
    if (sampler) o->sampler = (vdm_sampler)sampler->number;
    set_double(&o->guidance, s, "sample", "guidance");
}

int vdm_model_settings_read(vdm_learn_options *learn, vdm_sample_options *sample, const char *dir,
                            vdm_error *err)
{
    vdm_settings s;
    if (vdm_settings_open(&s, dir, err)) return -1;
    set_learn(learn, &s);
    set_sample(sample, &s);
    vdm_settings_close(&s);
    return 0;
}
