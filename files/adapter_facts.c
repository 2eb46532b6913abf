/* How an adapter was learned: an answer is right only if it is computed in the same way.
 *
 *   vdm_views    "8": learned in 8 views
 *   vdm_learned  {"frames": 9, "height": 64, "width": 64, "image_latent_scale": 0.7, "model": "0123456789abcdef",
 *                "vae": "0123456789abcdef", "prompt": "0123456789abcdef", "view": 3, "pairs": 30,
 *                "grid": "cell 8, border 0, ..."}
 *
 * Files of other programs have neither; older files of vdm lack "vae" or "pairs". */
#include "files/adapter_facts.h"
#include "files/fields.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_VIEWS = 1000000 };

/* 16 hexadecimal digits, as they are written */
static uint64_t read_hash(vdm_fields *f, const char *key)
{
    const char *text = vdm_field_text(f, key, NULL);
    if (text && strspn(text, "0123456789abcdef") == 16 && !text[16]) return strtoull(text, NULL, 16);
    vdm_field_reject(f, key, "16 hexadecimal digits");
    return 0;
}

static int read_learned(vdm_lora_facts *to, const vdm_json *j, const char *path, vdm_error *err)
{
    static const char *const keys[] = {
        "frames", "height", "width", "image_latent_scale", "model", "vae", "prompt", "view", "pairs", "grid"};
    vdm_fields f;
    vdm_fields_open(&f, j, j->nodes, path, err);
    vdm_fields_only(&f, keys, sizeof keys / sizeof keys[0]);
    to->frames = vdm_field_int(&f, "frames", 0, 1, VDM_MAX_FRAMES);
    to->height = vdm_field_int(&f, "height", 0, 1, VDM_MAX_SIDE);
    to->width = vdm_field_int(&f, "width", 0, 1, VDM_MAX_SIDE);
    to->image_latent_scale = vdm_field_number(&f, "image_latent_scale", 0, 1e-9, 1e9);
    to->model = read_hash(&f, "model");
    if (vdm_field(&f, "vae")) to->vae = read_hash(&f, "vae");
    to->prompt = read_hash(&f, "prompt");
    to->view = vdm_field_int(&f, "view", 0, 0, MAX_VIEWS);
    if (vdm_field(&f, "pairs")) to->pairs = vdm_field_int(&f, "pairs", 0, 1, VDM_MAX_PAIRS);
    const char *grid = vdm_field_text(&f, "grid", "");
    if (strlen(grid) >= sizeof to->grid) vdm_field_reject(&f, "grid", "a shorter text");
    snprintf(to->grid, sizeof to->grid, "%s", grid);
    return f.failed ? -1 : 0;
}

static int read_views(int *views, const char *text, const char *path, vdm_error *err)
{
    char *end = NULL;
    long n = strtol(text, &end, 10);
    if (!*text || *end || n < 1 || n > MAX_VIEWS)
        return vdm_fail(err, "%s: metadata vdm_views: expected an integer from 1 to %d, found '%.40s'", path,
                        MAX_VIEWS, text);
    *views = (int)n;
    return 0;
}

/* Reads the facts from the two texts of the metadata; NULL: the file does not have this text. */
static int read_facts(vdm_lora_facts *to, const char *views, const char *learned, const char *path,
                      vdm_error *err)
{
    char where[600];
    vdm_json j;
    *to = (vdm_lora_facts){0};
    if (views && read_views(&to->views, views, path, err)) return -1;
    if (!learned) return 0;
    snprintf(where, sizeof where, "%.500s: metadata vdm_learned", path);
    if (vdm_json_parse(&j, learned, strlen(learned), where, err)) return -1;
    int status = read_learned(to, &j, where, err);
    vdm_json_free(&j);
    return status;
}

int vdm_facts_of(vdm_lora_facts *to, const vdm_safetensors *f, vdm_error *err)
{
    return read_facts(to, vdm_safetensors_metadata(f, "vdm_views"),
                      vdm_safetensors_metadata(f, "vdm_learned"), f->path, err);
}

int vdm_lora_facts_read(vdm_lora_facts *to, const char *path, vdm_error *err)
{
    vdm_safetensors f;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    int status = vdm_facts_of(to, &f, err);
    vdm_safetensors_close(&f);
    return status;
}

/* Writes the grid's text as a JSON string has it. A caller of the library may have filled it to its last byte. */
static void escape_grid(char *to, const vdm_lora_facts *f)
{
    *to = '\0';
    for (size_t i = 0; i < sizeof f->grid && f->grid[i]; i++) to += vdm_json_escape(to, f->grid[i]);
}

int vdm_facts_write(const vdm_lora_facts *f, const char *to[VDM_MAX_FACTS][2],
                    char text[VDM_MAX_FACTS][VDM_FACTS_TEXT], const char *path, vdm_error *err)
{
    int n = 0;
    char grid[sizeof f->grid * VDM_JSON_ESCAPE], vae[40] = "", pairs[32] = "", scale[VDM_JSON_NUMBER_TEXT];
    vdm_lora_facts read_back;
    const char *views = f->views > 1 ? text[0] : NULL, *learned = f->frames ? text[1] : NULL;
    escape_grid(grid, f);
    vdm_json_number_text(scale, f->image_latent_scale);
    if (f->vae) snprintf(vae, sizeof vae, "\"vae\": \"%016" PRIx64 "\", ", f->vae);
    if (f->pairs) snprintf(pairs, sizeof pairs, "\"pairs\": %d, ", f->pairs);
    snprintf(text[0], VDM_FACTS_TEXT, "%d", f->views);
    snprintf(text[1], VDM_FACTS_TEXT,
             "{\"frames\": %d, \"height\": %d, \"width\": %d, \"image_latent_scale\": %s, "
             "\"model\": \"%016" PRIx64 "\", %s\"prompt\": \"%016" PRIx64
             "\", \"view\": %d, %s\"grid\": \"%s\"}",
             f->frames, f->height, f->width, scale, f->model, vae, f->prompt, f->view, pairs, grid);
    if (read_facts(&read_back, views, learned, path, err)) return -1;
    if (views) to[n][0] = "vdm_views", to[n++][1] = views;
    if (learned) to[n][0] = "vdm_learned", to[n++][1] = learned;
    return n;
}
