/* LoRA adapters in memory and in files (peft: save_pretrained; diffusers: CogVideoXLoraLoaderMixin).
 *
 *   params [layers][to_q, to_k, to_v, to_out.0][A [R,D], B [D,R]]: one flat array
 *   file:  safetensors, transformer.transformer_blocks.{i}.attn1.{target}.lora_{A|B}.weight; rank and alpha in the
 *          metadata, as JSON under lora_adapter_metadata
 *
 * Trap: a file without alpha in its metadata acts at scale 1 whatever it was trained with, so alpha is always
 * written. */
#include "vdm.h"

#include <math.h>
#include <string.h>

static const char *const target_names[4] = {"to_q", "to_k", "to_v", "to_out.0"}; /* vdm_target */

const char *vdm_target_name(vdm_target t)
{
    return target_names[t];
}

/* ------------------------------------------------------------------------------------------------
 * The flat array */

int64_t vdm_lora_count(const vdm_lora *a)
{
    return (int64_t)a->layers * 4 * 2 * a->rank * a->width;
}

float *vdm_lora_a(const vdm_lora *a, float *params, int block, vdm_target t)
{
    return params + ((int64_t)block * 4 + (int64_t)t) * 2 * a->rank * a->width;
}

float *vdm_lora_b(const vdm_lora *a, float *params, int block, vdm_target t)
{
    return vdm_lora_a(a, params, block, t) + (int64_t)a->rank * a->width;
}

int vdm_lora_new(vdm_lora *a, int layers, int width, int rank, double alpha, vdm_error *err)
{
    *a = (vdm_lora){.layers = layers, .width = width, .rank = rank, .alpha = alpha};
    if (rank < 1 || rank > VDM_MAX_LORA_RANK)
        return vdm_fail(err, "adapter: rank: expected 1 to %d, found %d", VDM_MAX_LORA_RANK, rank);
    if (!isfinite(alpha)) return vdm_fail(err, "adapter: alpha: expected a number, found %g", alpha);
    if (layers < 1 || width < 1 || (double)layers * 8 * rank * width > 1e12)
        return vdm_fail(err, "adapter: %d blocks of width %d at rank %d: too large", layers, width, rank);
    a->scale = (float)(alpha / rank);
    a->params = vdm_alloc((size_t)vdm_lora_count(a), sizeof(float), "an adapter", err);
    return a->params ? 0 : -1;
}

void vdm_lora_free(vdm_lora *a)
{
    vdm_free(a->params);
    *a = (vdm_lora){0};
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

static void key_of(char *key, const char *prefix, int block, int target, const char *which)
{
    snprintf(key, VDM_LORA_NAME, "%stransformer_blocks.%d.attn1.%s.%s", prefix, block, target_names[target],
             which);
}

void vdm_lora_name(char name[VDM_LORA_NAME], int block, vdm_target t, bool b)
{
    key_of(name, "", block, (int)t, b ? "lora_B.weight" : "lora_A.weight");
}

int vdm_lora_write(const vdm_lora *a, const char *path, vdm_error *err)
{
    int64_t count = (int64_t)a->layers * 8;
    char metadata[512]; /* as json.dumps(..., indent=2, sort_keys=True) writes it */
    snprintf(metadata, sizeof metadata,
             "{\n  \"transformer.lora_alpha\": %.17g,\n  \"transformer.r\": %d,\n"
             "  \"transformer.target_modules\": [\n    \"to_k\",\n    \"to_out.0\",\n    \"to_q\",\n"
             "    \"to_v\"\n  ]\n}",
             a->alpha, a->rank);
    const char *const pairs[][2] = {{"format", "pt"}, {"lora_adapter_metadata", metadata}};
    vdm_tensor *tensors = vdm_alloc((size_t)count, sizeof *tensors, "the adapter's tensors", err);
    char *names = vdm_alloc((size_t)count, VDM_LORA_NAME, "the adapter's names", err);
    int status = -1;
    if (tensors && names) {
        for (int64_t i = 0; i < count; i++) {
            int block = (int)(i / 8), target = (int)(i / 2 % 4);
            bool b = i % 2;
            char *name = names + i * VDM_LORA_NAME;
            key_of(name, "transformer.", block, target, b ? "lora_B.weight" : "lora_A.weight");
            tensors[i] = (vdm_tensor){.name = name,
                                      .dtype = VDM_F32,
                                      .rank = 2,
                                      .shape = {b ? a->width : a->rank, b ? a->rank : a->width},
                                      .data = a->params + i * a->rank * a->width,
                                      .bytes = (size_t)a->rank * (size_t)a->width * sizeof(float)};
        }
        status = vdm_safetensors_write(path, tensors, count, pairs, 2, err);
    }
    vdm_free(names);
    vdm_free(tensors);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Reading: alpha and rank from the metadata */

/* A member of the metadata, whose keys have the prefix "transformer." (save_lora_weights) or none
 * (save_lora_adapter). */
static const vdm_json_node *setting(const vdm_json *j, const char *key)
{
    char prefixed[VDM_LORA_NAME];
    snprintf(prefixed, sizeof prefixed, "transformer.%s", key);
    const vdm_json_node *node = vdm_json_get(j, j->nodes, prefixed);
    return node ? node : vdm_json_get(j, j->nodes, key);
}

/* Settings of peft that would make the adapter act otherwise than scale B A. */
static int check_settings(const vdm_json *j, const char *path, vdm_error *err)
{
    static const char *const flags[] = {"use_rslora", "use_dora", "lora_bias", "fan_in_fan_out"};
    static const char *const patterns[] = {"rank_pattern", "alpha_pattern"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++) {
        const vdm_json_node *node = setting(j, flags[i]);
        if (node && node->kind != VDM_JSON_FALSE && node->kind != VDM_JSON_NULL)
            return vdm_fail(err, "%s: lora_adapter_metadata: %s: expected false, found another value", path,
                            flags[i]);
    }
    for (size_t i = 0; i < sizeof patterns / sizeof patterns[0]; i++) {
        const vdm_json_node *node = setting(j, patterns[i]);
        if (!node || node->kind == VDM_JSON_NULL || (node->kind == VDM_JSON_OBJECT && !node->children))
            continue;
        const char *module = node->children ? node[1].key : NULL;
        return vdm_fail(
            err,
            "%s: lora_adapter_metadata: %s: expected {} (one rank and one alpha for all modules), "
            "found %s%.200s",
            path, patterns[i], module ? "an entry for " : "another value", module ? module : "");
    }
    return 0;
}

/* *alpha from the metadata, which must agree with the rank of the tensors; rank where there is none. */
static int read_settings(const vdm_safetensors *f, int rank, double *alpha, vdm_error *err)
{
    const char *text = vdm_safetensors_metadata(f, "lora_adapter_metadata");
    vdm_json j = {0};
    *alpha = rank;
    if (!text) return 0;
    char where[512];
    snprintf(where, sizeof where, "%s: lora_adapter_metadata", f->path);
    if (vdm_json_parse(&j, text, strlen(text), where, err)) return -1;
    int status = 0;
    if (j.nodes->kind != VDM_JSON_OBJECT) {
        status = vdm_fail(err, "%s: lora_adapter_metadata: expected an object", f->path);
    } else if (check_settings(&j, f->path, err)) {
        status = -1;
    } else {
        const vdm_json_node *r = setting(&j, "r"), *value = setting(&j, "lora_alpha");
        if (!value || value->kind != VDM_JSON_NUMBER || !isfinite(value->number))
            status = vdm_fail(err, "%s: lora_adapter_metadata: lora_alpha: expected a number, found %s",
                              f->path, value ? "another value" : "none");
        else if (r && (r->kind != VDM_JSON_NUMBER || r->number != rank))
            status =
                vdm_fail(err, "%s: lora_adapter_metadata: r: expected %d, the rank of the tensors, found %s",
                         f->path, rank, r->kind == VDM_JSON_NUMBER ? r->text : "another value");
        else
            *alpha = value->number;
    }
    vdm_json_free(&j);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Reading: keys */

/* What the tensor of this name is in the adapter. */
struct place {
    int block, target;
    bool b;
};

/* The number at *text, without leading zeros or sign; -1 where there is none. */
static int take_number(const char **text)
{
    const char *start = *text;
    int n = 0;
    while (**text >= '0' && **text <= '9' && n < 100000) n = n * 10 + (*(*text)++ - '0');
    bool good = *text > start && (*start != '0' || *text == start + 1);
    return good ? n : -1;
}

static bool take_word(const char **text, const char *word)
{
    size_t length = strlen(word);
    if (strncmp(*text, word, length) != 0) return false;
    *text += length;
    return true;
}

/* transformer.transformer_blocks.{i}.attn1.{to_q|to_k|to_v|to_out.0}.lora_{A|B}.weight; the prefix may be
 * missing, and the diffusers spelling .lora.{down|up}.weight is taken too. */
static bool parse_key(const char *key, int layers, struct place *p)
{
    static const char *const ends[4] = {".lora_A.weight", ".lora_B.weight", ".lora.down.weight",
                                        ".lora.up.weight"};
    take_word(&key, "transformer.");
    if (!take_word(&key, "transformer_blocks.")) return false;
    p->block = take_number(&key);
    if (p->block < 0 || p->block >= layers || !take_word(&key, ".attn1.")) return false;
    for (p->target = 0; p->target < 4; p->target++)
        if (take_word(&key, target_names[p->target])) break;
    if (p->target == 4) return false;
    for (int i = 0; i < 4; i++) {
        p->b = i % 2;
        if (strcmp(key, ends[i]) == 0) return true;
    }
    return false;
}

/* Keys that match nothing are listed, the first five of them. */
static int check_keys(const vdm_safetensors *f, int layers, vdm_error *err)
{
    char list[640] = "";
    int64_t unknown = 0;
    for (int64_t i = 0; i < f->count; i++) {
        struct place p;
        const char *name = f->tensors[i].name;
        size_t length = strlen(name), used = strlen(list);
        if (length > 6 && strcmp(name + length - 6, ".alpha") == 0)
            return vdm_fail(err,
                            "%s: tensor '%.100s': alpha is read from the metadata (lora_adapter_metadata, as "
                            "diffusers writes it), not from tensors: convert the file with diffusers",
                            f->path, name);
        if (parse_key(name, layers, &p)) continue;
        if (unknown++ < 5) snprintf(list + used, sizeof list - used, "%s'%.100s'", used ? ", " : "", name);
    }
    if (!unknown) return 0;
    return vdm_fail(err,
                    "%s: %lld of %lld tensors belong to no target of this model (to_q, to_k, to_v, to_out.0 "
                    "of %d blocks): %s%s",
                    f->path, (long long)unknown, (long long)f->count, layers, list,
                    unknown > 5 ? ", ..." : "");
}

/* ------------------------------------------------------------------------------------------------
 * Reading: tensors */

/* The rank is what the first tensor says; the others are held against it. */
static int rank_of(const vdm_safetensors *f, int layers, int *rank, vdm_error *err)
{
    struct place p;
    const vdm_tensor *t = f->tensors;
    if (f->count == 0)
        return vdm_fail(err, "%s: applied 0 of %d modules: the file is empty", f->path, layers * 4);
    parse_key(t->name, layers, &p);
    if (t->rank != 2)
        return vdm_fail(err, "%s: tensor '%s': expected 2 dimensions, found %d", f->path, t->name, t->rank);
    int64_t r = t->shape[p.b ? 1 : 0];
    if (r < 1 || r > VDM_MAX_LORA_RANK)
        return vdm_fail(err, "%s: tensor '%s': rank: expected 1 to %d, found %lld", f->path, t->name,
                        VDM_MAX_LORA_RANK, (long long)r);
    *rank = (int)r;
    return 0;
}

/* Before the metadata, whose r a file of several ranks contradicts somewhere anyway. */
static int check_shapes(const vdm_safetensors *f, int layers, int width, int rank, vdm_error *err)
{
    struct place p;
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        parse_key(t->name, layers, &p);
        int rows = p.b ? width : rank, cols = p.b ? rank : width;
        if (t->rank == 2 && t->shape[0] == rows && t->shape[1] == cols) continue;
        return vdm_fail(
            err,
            "%s: tensor '%s': expected [%d,%d] (width %d; all modules of one rank, that of '%s' is "
            "%d), found [%lld,%lld]",
            f->path, t->name, rows, cols, width, f->tensors[0].name, rank,
            (long long)(t->rank > 0 ? t->shape[0] : 0), (long long)(t->rank > 1 ? t->shape[1] : 0));
    }
    return 0;
}

static int copy_tensor(vdm_lora *a, const vdm_safetensors *f, const vdm_tensor *t, vdm_error *err)
{
    struct place p;
    parse_key(t->name, a->layers, &p);
    int64_t n = (int64_t)a->rank * a->width;
    if (t->dtype != VDM_F32 && t->dtype != VDM_F16 && t->dtype != VDM_BF16 && t->dtype != VDM_F64)
        return vdm_fail(err, "%s: tensor '%s': expected F32, F16, BF16 or F64, found %s", f->path, t->name,
                        vdm_dtype_name(t->dtype));
    float *to = p.b ? vdm_lora_b(a, a->params, p.block, (vdm_target)p.target)
                    : vdm_lora_a(a, a->params, p.block, (vdm_target)p.target);
    vdm_widen(to, t->data, t->dtype, n);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(to[i]))
            return vdm_fail(err, "%s: tensor '%s': element %lld: expected a number, found %g", f->path,
                            t->name, (long long)i, (double)to[i]);
    return 0;
}

/* seen [layers*4]: bit 0 for A, bit 1 for B. A module needs both; the same module twice, in two spellings,
 * is one too many. */
static int count_modules(const vdm_safetensors *f, int layers, unsigned char *seen, int *applied,
                         vdm_error *err)
{
    struct place p;
    for (int64_t i = 0; i < f->count; i++) {
        const char *name = f->tensors[i].name;
        parse_key(name, layers, &p);
        unsigned char *s = &seen[p.block * 4 + p.target], bit = p.b ? 2 : 1;
        if (*s & bit)
            return vdm_fail(err, "%s: tensor '%s': the same matrix is there by another name", f->path, name);
        *s |= bit;
    }
    *applied = 0;
    for (int i = 0; i < layers * 4; i++) {
        if (seen[i] == 3) (*applied)++;
        if (seen[i] != 1 && seen[i] != 2) continue;
        char missing[VDM_LORA_NAME];
        key_of(missing, "transformer.", i / 4, i % 4, seen[i] == 1 ? "lora_B.weight" : "lora_A.weight");
        return vdm_fail(err, "%s: tensor '%s': expected beside its other half, found none", f->path, missing);
    }
    return 0;
}

static int read_tensors(vdm_lora *a, const vdm_safetensors *f, const vdm_transformer_config *c, int *applied,
                        vdm_error *err)
{
    int rank = 0;
    double alpha;
    if (check_keys(f, c->layers, err) || rank_of(f, c->layers, &rank, err) ||
        check_shapes(f, c->layers, c->heads * c->head_dim, rank, err) || read_settings(f, rank, &alpha, err))
        return -1;
    unsigned char *seen = vdm_alloc((size_t)c->layers, 4, "the adapter's modules", err);
    int status = seen ? count_modules(f, c->layers, seen, applied, err) : -1;
    vdm_free(seen);
    if (status || vdm_lora_new(a, c->layers, c->heads * c->head_dim, rank, alpha, err)) return -1;
    for (int64_t i = 0; i < f->count; i++)
        if (copy_tensor(a, f, &f->tensors[i], err)) return -1;
    return 0;
}

int vdm_lora_read(vdm_lora *a, const char *path, const vdm_transformer_config *c, int *applied, int *modules,
                  vdm_error *err)
{
    vdm_safetensors f;
    *a = (vdm_lora){0};
    *applied = 0;
    *modules = c->layers * 4;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    int status = read_tensors(a, &f, c, applied, err);
    vdm_safetensors_close(&f);
    if (status) vdm_lora_free(a);
    return status;
}
