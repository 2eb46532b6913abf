/* A model's own settings: MODEL/vdm.json, with which it is meant to learn and to answer.
 *
 *   {"fit": {"steps": 600, "batch": 16, "lr": 1e-3}, "sample": {"steps": 20, "sampler": "ddim"}}
 *
 * Only the given settings are replaced; an unknown key, a value of another type or outside its range is an
 * error. Keys and ranges are those of the program's options (tools/options_table.c), with _ for -;
 * tests/test_pipeline.c compares the two. The section "arc", and the keys of fit and sample that describe
 * pictures of grids, are the program's: they are accepted here and have no effect. */
#include "vdm.h"
#include "files/fields.h"

#include <string.h>
#include <sys/stat.h>

#define COUNT(list) ((int)(sizeof(list) / sizeof(list)[0]))
#define GRID_KEYS   "cell", "border", "align", "grow", "outside", "palette", "views"

/* The index of a word in words [n], which is the value of the enum. */
static int read_word(vdm_fields *f, const char *key, int fallback, const char *const *words, int n,
                     const char *expected)
{
    const char *word = vdm_field_text(f, key, words[fallback]);
    for (int i = 0; i < n; i++)
        if (strcmp(words[i], word) == 0) return i;
    vdm_field_refuse(f, key, expected);
    return fallback;
}

static vdm_image_scale read_image_scale(vdm_fields *f, vdm_image_scale fallback)
{
    static const char *const words[] = {"pipeline", "trainer"};
    return (vdm_image_scale)read_word(f, "image_scale", (int)fallback, words, COUNT(words),
                                      "pipeline or trainer");
}

/* "size": "HxW", and "frames" */
static void read_size(vdm_fields *f, vdm_geometry *g)
{
    char end;
    const char *size = vdm_field_text(f, "size", "");
    g->frames = vdm_field(f, "frames") ? vdm_field_int(f, "frames", 0, 1, VDM_MAX_FRAMES) : g->frames;
    if (!vdm_field(f, "size")) return;
    if (strspn(size, "0123456789x") != strlen(size) ||
        sscanf(size, "%5dx%5d%c", &g->height, &g->width, &end) != 2 || g->height < 1 ||
        g->height > VDM_MAX_SIDE || g->width < 1 || g->width > VDM_MAX_SIDE)
        vdm_field_refuse(f, "size", "HxW, as in 480x720");
}

static void read_fit(vdm_fields *f, vdm_learn_options *o)
{
    static const char *const keys[] = {"frames", "size",  "image_scale",  "rank",       "alpha",
                                       "steps",  "batch", "accumulate",   "lr",         "schedule",
                                       "warmup", "clip",  "weight_decay", "pure_noise", GRID_KEYS};
    static const char *const schedules[] = {"constant", "warmup", "linear", "cosine"};
    vdm_fit_options *fit = &o->fit;
    vdm_fields_only(f, keys, COUNT(keys));
    read_size(f, &o->geometry);
    o->image_scale = read_image_scale(f, o->image_scale);
    o->rank = vdm_field_int(f, "rank", o->rank, 1, 4096);
    o->alpha = vdm_field_number(f, "alpha", o->alpha, 1e-6, 1e6);
    fit->steps = vdm_field_int(f, "steps", fit->steps, 1, 10000000);
    fit->batch = vdm_field_int(f, "batch", fit->batch, 1, 1024);
    fit->accumulate = vdm_field_int(f, "accumulate", fit->accumulate, 1, 1024);
    fit->lr = vdm_field_number(f, "lr", fit->lr, 0, 10);
    fit->schedule = (vdm_lr_schedule)read_word(f, "schedule", (int)fit->schedule, schedules, COUNT(schedules),
                                               "constant, warmup, linear or cosine");
    fit->warmup = vdm_field_int(f, "warmup", fit->warmup, 0, 1000000);
    fit->clip = vdm_field_number(f, "clip", fit->clip, 1e-9, 1e9);
    fit->weight_decay = vdm_field_number(f, "weight_decay", fit->weight_decay, 0, 1);
    fit->pure_noise = vdm_field_number(f, "pure_noise", fit->pure_noise, 0, 1);
}

static void read_sample(vdm_fields *f, vdm_sample_options *o)
{
    static const char *const keys[] = {"frames",   "size",    "image_scale", "steps",
                                       "ensemble", "sampler", "guidance",    GRID_KEYS};
    static const char *const samplers[] = {"ddim", "dpm"};
    vdm_fields_only(f, keys, COUNT(keys));
    read_size(f, &o->geometry);
    o->image_scale = read_image_scale(f, o->image_scale);
    o->steps = vdm_field_int(f, "steps", o->steps, 1, 10000000);
    o->ensemble = vdm_field_int(f, "ensemble", o->ensemble, 1, 256);
    o->sampler =
        (vdm_sampler)read_word(f, "sampler", (int)o->sampler, samplers, COUNT(samplers), "ddim or dpm");
    o->guidance = vdm_field_number(f, "guidance", o->guidance, 0, 1000);
}

static int read_sections(vdm_learn_options *learn, vdm_sample_options *sample, const vdm_json *j,
                         const char *path, vdm_error *err)
{
    static const char *const sections[] = {"fit", "sample", "arc"};
    vdm_fields root, section;
    vdm_fields_open(&root, j, j->nodes, path, err);
    vdm_fields_only(&root, sections, COUNT(sections));
    if (!root.failed && vdm_field(&root, "fit")) {
        vdm_fields_inside(&section, &root, "fit");
        read_fit(&section, learn);
        root.failed |= section.failed;
    }
    if (!root.failed && vdm_field(&root, "sample")) {
        vdm_fields_inside(&section, &root, "sample");
        read_sample(&section, sample);
        root.failed |= section.failed;
    }
    return root.failed ? -1 : 0;
}

int vdm_model_settings_read(vdm_learn_options *learn, vdm_sample_options *sample, const char *dir,
                            vdm_error *err)
{
    vdm_json j;
    struct stat st;
    char *path = vdm_path(dir, "vdm.json", err);
    if (!path) return -1;
    int status = 0;
    if (stat(path, &st) == 0) {
        status = vdm_json_read(&j, path, err);
        if (!status) {
            status = read_sections(learn, sample, &j, path, err);
            vdm_json_free(&j);
        }
    }
    vdm_free(path);
    return status;
}
