/* Two files of tensors side by side: the reference's, in the order in which they were computed, and the other file's of
 * the same names, as --map translates them (compare_map.c). And how names are selected, how places in a tensor are written. */
#include "tools/golden/compare.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int compare_place(const void *a, const void *b)
{
    const vdm_tensor *x = *(const vdm_tensor *const *)a, *y = *(const vdm_tensor *const *)b;
    if (x->data != y->data) return (uintptr_t)x->data < (uintptr_t)y->data ? -1 : 1;
    return strcmp(x->name, y->name); /* empty ones */
}

void both_close(both *b)
{
    if (b->ref.path) vdm_safetensors_close(&b->ref);
    if (b->got.path) vdm_safetensors_close(&b->got);
    vdm_free(b->order);
    map_free(&b->map);
}

int both_open(both *b, const char *ref, const char *got, const char *map, vdm_error *err)
{
    *b = (both){0};
    if (vdm_safetensors_open(&b->ref, ref, err) || vdm_safetensors_open(&b->got, got, err)) return -1;
    if (map && map_read(&b->map, map, err)) return -1;
    b->order = vdm_alloc((size_t)b->ref.count, sizeof *b->order, "the order of tensors", err);
    if (!b->order) return -1;
    for (int64_t i = 0; i < b->ref.count; i++) b->order[i] = &b->ref.tensors[i];
    qsort(b->order, (size_t)b->ref.count, sizeof *b->order, compare_place);
    return 0;
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
    double x = text ? strtod(text, NULL) : otherwise;
    return isfinite(x) ? x : otherwise;
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
