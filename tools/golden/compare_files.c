/* Two files of tensors side by side: the reference's, in the order in which they were computed, and the other file's of
 * the same names, as --map translates them (compare_map.c). And how names are selected, how places in a tensor are written. */
#include "tools/golden/compare.h"
#include "tools/messages.h"

#include <math.h>
#include <string.h>

void both_close(both *b)
{
    if (b->ref.path) vdm_safetensors_close(&b->ref);
    if (b->got.path) vdm_safetensors_close(&b->got);
    if (b->transformer.path) vdm_safetensors_close(&b->transformer);
    if (b->vae.path) vdm_safetensors_close(&b->vae);
    vdm_free(b->order);
    map_free(&b->map);
}

/* A file of tensors, or the index of its shards, whose name ends in .json. */
static int open_tensors(vdm_safetensors *f, const char *path, vdm_error *err)
{
    if (vdm_is_folder(path))
        return vdm_fail(err,
                        "%s: expected a file of tensors, or the index of its shards "
                        "(NAME.safetensors.index.json), found a folder",
                        path);
    return has_ending(path, ".json") ? vdm_safetensors_open_index(f, path, err)
                                     : vdm_safetensors_open(f, path, err);
}

/* The weights of a part of the model; none if there is no such part. */
static int open_weights(vdm_safetensors *f, const char *model, const char *part, vdm_error *err)
{
    char *dir = vdm_path(model, part, err);
    int status = dir ? 0 : -1;
    if (dir && vdm_is_folder(dir))
        status = vdm_safetensors_open_folder(f, dir, "diffusion_pytorch_model", err);
    vdm_free(dir);
    return status;
}

int both_open(both *b, const options *o, vdm_error *err)
{
    const char *map = o->compare.map, *weights = o->compare.weights;
    *b = (both){0};
    if (open_tensors(&b->ref, o->operands[0], err) || open_tensors(&b->got, o->operands[1], err)) return -1;
    if (map && map_read(&b->map, map, err)) return -1;
    if (weights && (open_weights(&b->transformer, weights, "transformer", err) ||
                    open_weights(&b->vae, weights, "vae", err)))
        return -1;
    if (weights && !b->transformer.path && !b->vae.path)
        return vdm_fail(err,
                        "--weights %s: expected a model's folder, found neither transformer/ nor vae/ in it",
                        weights);
    b->order = vdm_safetensors_in_order(&b->ref, err);
    return b->order ? 0 : -1;
}

const vdm_tensor *both_other(const both *b, const char *name)
{
    char other[MAX_MAPPED];
    return vdm_safetensors_find(&b->got, map_name(&b->map, name, other));
}

int both_extra(const both *b, int64_t *count, const char **first, vdm_error *err)
{
    bool *found = vdm_alloc((size_t)b->got.count, sizeof *found, "the names of tensors", err);
    if (!found) return -1;
    *count = 0;
    for (int64_t i = 0; i < b->ref.count; i++) {
        const vdm_tensor *t = both_other(b, b->ref.tensors[i].name);
        if (t) found[t - b->got.tensors] = true;
    }
    for (int64_t i = 0; i < b->got.count; i++)
        if (!found[i] && (*count)++ == 0) *first = b->got.tensors[i].name;
    vdm_free(found);
    return 0;
}

double both_fact(const both *b, const char *name, double otherwise)
{
    const char *text = vdm_safetensors_metadata(&b->ref, name);
    double x;
    return text && vdm_json_number(&x, text) && isfinite(x) ? x : otherwise;
}

const char *precision_in(const vdm_safetensors *f)
{
    static const char *const names[][2] = {
        {"amx", "bf16"}, {"bfloat16", "bf16"}, {"float32", "f32"}}; /* amx rounds as bf16 */
    const char *name = vdm_safetensors_metadata(f, "precision");
    for (size_t i = 0; name && i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i][0]) == 0) return names[i][1];
    return name;
}

/* A pattern ends at a comma or at the end of the text. */
static bool name_matches(const char *pattern, const char *name)
{
    for (; *pattern && *pattern != ','; pattern++, name++) {
        if (*pattern == '*') {
            for (;; name++) {
                if (name_matches(pattern + 1, name)) return true;
                if (!*name) return false;
            }
        }
        if (!*name || (*pattern != '?' && *pattern != *name)) return false;
    }
    return !*name;
}

int patterns_check(const char *patterns, vdm_error *err)
{
    int n = 0;
    for (const char *at = patterns; at; n++) {
        if (!*at || *at == ',')
            return vdm_fail(err, "--only: found '%s', expected a name between commas", patterns);
        at = strchr(at, ',');
        if (at) at++;
    }
    return n > MAX_PATTERNS ? vdm_fail(err, "--only: found %d names, expected at most %d", n, MAX_PATTERNS)
                            : 0;
}

uint64_t patterns_matching(const char *patterns, const char *name)
{
    uint64_t bits = 0;
    for (int i = 0; patterns && i < MAX_PATTERNS; i++) {
        if (name_matches(patterns, name)) bits |= (uint64_t)1 << i;
        patterns = strchr(patterns, ',');
        if (patterns) patterns++;
    }
    return bits;
}

const char *pattern_unused(const char *patterns, uint64_t used)
{
    for (int i = 0; patterns; i++) {
        if (!(used >> i & 1)) return patterns;
        patterns = strchr(patterns, ',');
        if (patterns) patterns++;
    }
    return NULL;
}

void shape_text(char *text, size_t size, int rank, const int64_t *shape)
{
    size_t at = (size_t)snprintf(text, size, "[");
    for (int i = 0; i < rank && at < size; i++)
        at += (size_t)snprintf(text + at, size - at, "%s%lld", i ? "," : "", (long long)shape[i]);
    if (at < size) snprintf(text + at, size - at, "]");
}

void index_text(char *text, size_t size, const vdm_tensor *t, int64_t index)
{
    int64_t at[VDM_MAX_RANK];
    for (int i = t->rank - 1; i >= 0; i--) {
        int64_t side = t->shape[i] > 0 ? t->shape[i] : 1; /* no element: [0,0,..] */
        at[i] = index % side;
        index /= side;
    }
    shape_text(text, size, t->rank, at);
}
