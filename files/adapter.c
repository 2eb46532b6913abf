/* LoRA adapters in memory and in files (peft: save_pretrained; diffusers: CogVideoXLoraLoaderMixin).
 *
 *   params [layers][targets][A [R,in], B [out,R]]: one flat array
 *   file:  safetensors, transformer.transformer_blocks.{i}.{target}.lora_{A|B}.weight; rank and alpha in the
 *          metadata, as JSON under lora_adapter_metadata, and how it was learned (adapter_facts.c)
 *
 * Trap: a file without alpha in its metadata acts at scale 1 whatever it was trained with, so alpha is always
 * written. */
#include "files/adapter_facts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const double MAX_SCALE = 1e6; /* of alpha / rank; published: at most 4 */

enum { TARGETS = VDM_ATTENTION_FF };
static const char *const target_names[TARGETS] = {"attn1.to_q",     "attn1.to_k",    "attn1.to_v",
                                                  "attn1.to_out.0", "ff.net.0.proj", "ff.net.2"};

const char *vdm_target_name(vdm_target t)
{
    return target_names[t];
}

/* ------------------------------------------------------------------------------------------------
 * The flat array */

int64_t vdm_lora_in(const vdm_lora *a, vdm_target t)
{
    return t == VDM_FF_DOWN ? 4 * (int64_t)a->width : a->width;
}
int64_t vdm_lora_out(const vdm_lora *a, vdm_target t)
{
    return t == VDM_FF_UP ? 4 * (int64_t)a->width : a->width;
}

/* Elements of the targets of a block that come before target t */
static int64_t count_before(const vdm_lora *a, int t)
{
    int64_t n = 0;
    for (int i = 0; i < t; i++) n += vdm_lora_in(a, (vdm_target)i) + vdm_lora_out(a, (vdm_target)i);
    return n * a->rank;
}

int64_t vdm_lora_count(const vdm_lora *a)
{
    return a->layers * count_before(a, (int)a->targets);
}

float *vdm_lora_a(const vdm_lora *a, float *params, int block, vdm_target t)
{
    return params + block * count_before(a, (int)a->targets) + count_before(a, (int)t);
}

float *vdm_lora_b(const vdm_lora *a, float *params, int block, vdm_target t)
{
    return vdm_lora_a(a, params, block, t) + a->rank * vdm_lora_in(a, t);
}

int vdm_lora_matrices(const vdm_lora *a)
{
    return a->layers * (int)a->targets * 2;
}

vdm_lora_matrix vdm_lora_matrix_at(const vdm_lora *a, float *params, int i)
{
    vdm_lora_matrix m = {.block = i / 2 / (int)a->targets, .target = (vdm_target)(i / 2 % (int)a->targets)};
    m.b = i % 2;
    m.shape[0] = m.b ? vdm_lora_out(a, m.target) : a->rank;
    m.shape[1] = m.b ? a->rank : vdm_lora_in(a, m.target);
    m.data = m.b ? vdm_lora_b(a, params, m.block, m.target) : vdm_lora_a(a, params, m.block, m.target);
    vdm_lora_name(m.name, m.block, m.target, m.b);
    return m;
}

int vdm_lora_new(vdm_lora *a, int layers, int width, vdm_targets targets, int rank, double alpha,
                 vdm_error *err)
{
    *a = (vdm_lora){.layers = layers, .width = width, .targets = targets, .rank = rank, .alpha = alpha};
    if (targets != VDM_ATTENTION && targets != VDM_ATTENTION_FF)
        return vdm_fail(err, "adapter: targets: expected %d or %d, found %d", VDM_ATTENTION, VDM_ATTENTION_FF,
                        (int)targets);
    if (rank < 1 || rank > VDM_MAX_LORA_RANK)
        return vdm_fail(err, "adapter: rank: expected 1 to %d, found %d", VDM_MAX_LORA_RANK, rank);
    if (!isfinite(alpha)) return vdm_fail(err, "adapter: alpha: expected a number, found %g", alpha);
    /* in + out of all targets: 18 D */
    if (layers < 1 || width < 1 || (double)layers * 18 * rank * width > 1e12)
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

int vdm_lora_resize(vdm_lora *a, vdm_targets targets, int rank, double alpha, vdm_error *err)
{
    vdm_lora to;
    if (rank < a->rank || alpha == 0)
        return vdm_fail(err, "adapter: rank %d, alpha %g: expected a rank of at least %d, and alpha not 0",
                        rank, alpha, a->rank);
    if (targets < a->targets)
        return vdm_fail(err, "adapter: %d targets: expected at least %d, which it has", (int)targets,
                        (int)a->targets);
    if (vdm_lora_new(&to, a->layers, a->width, targets, rank, alpha, err)) return -1;
    double factor = (a->alpha / a->rank) / (alpha / rank);
    for (int i = 0; i < vdm_lora_matrices(a); i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(a, a->params, i);
        const int64_t n = m.shape[0] * m.shape[1];
        float *A = vdm_lora_a(&to, to.params, m.block, m.target),
              *B = vdm_lora_b(&to, to.params, m.block, m.target);
        if (!m.b) memcpy(A, m.data, (size_t)n * sizeof *A);
        for (int64_t j = 0; m.b && j < n; j++)
            B[j / a->rank * rank + j % a->rank] = (float)(factor * (double)m.data[j]);
    }
    to.facts = a->facts;
    vdm_lora_free(a);
    *a = to;
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Writing */

static void key_of(char *key, const char *prefix, int block, int target, const char *which)
{
    snprintf(key, VDM_LORA_NAME, "%stransformer_blocks.%d.%s.%s", prefix, block, target_names[target], which);
}

void vdm_lora_name(char name[VDM_LORA_NAME], int block, vdm_target t, bool b)
{
    key_of(name, "", block, (int)t, b ? "lora_B.weight" : "lora_A.weight");
}

/* In the form of json.dumps(..., indent=2, sort_keys=True). peft names a target module by the end of its name: those of
 * attention without attn1, those of the feed-forward in full. */
static void write_metadata(char *to, size_t size, const vdm_lora *a)
{
    char alpha[VDM_JSON_NUMBER_TEXT];
    vdm_json_number_text(alpha, a->alpha);
    snprintf(to, size,
             "{\n  \"transformer.lora_alpha\": %s,\n  \"transformer.r\": %d,\n"
             "  \"transformer.target_modules\": [\n%s    \"to_k\",\n    \"to_out.0\",\n    \"to_q\",\n"
             "    \"to_v\"\n  ]\n}",
             alpha, a->rank,
             a->targets == VDM_ATTENTION_FF ? "    \"ff.net.0.proj\",\n    \"ff.net.2\",\n" : "");
}

int vdm_lora_write(const vdm_lora *a, const char *path, vdm_error *err)
{
    const int count = vdm_lora_matrices(a);
    char facts[VDM_MAX_FACTS][VDM_FACTS_TEXT], metadata[512];
    write_metadata(metadata, sizeof metadata, a);
    const char *pairs[2 + VDM_MAX_FACTS][2] = {{"format", "pt"}, {"lora_adapter_metadata", metadata}};
    const int n = vdm_facts_write(&a->facts, pairs + 2, facts, path, err);
    if (n < 0) return -1;
    vdm_tensor *tensors = vdm_alloc((size_t)count, sizeof *tensors, "the adapter's tensors", err);
    char *names = vdm_alloc((size_t)count, VDM_LORA_NAME, "the adapter's names", err);
    int status = -1;
    if (!tensors || !names) goto end;
    for (int i = 0; i < count; i++) {
        const vdm_lora_matrix m = vdm_lora_matrix_at(a, a->params, i);
        const int64_t size = m.shape[0] * m.shape[1];
        char *name = names + (size_t)i * VDM_LORA_NAME;
        key_of(name, "transformer.", m.block, (int)m.target, m.b ? "lora_B.weight" : "lora_A.weight");
        if (vdm_check_finite(m.data, VDM_F32, size, path, name, err)) goto end;
        tensors[i] = (vdm_tensor){.name = name,
                                  .dtype = VDM_F32,
                                  .rank = 2,
                                  .shape = {m.shape[0], m.shape[1]},
                                  .data = m.data,
                                  .bytes = (size_t)size * sizeof(float)};
    }
    status = vdm_safetensors_write(path, tensors, count, (const char *const(*)[2])pairs, 2 + n, err);
end:
    vdm_free(names);
    vdm_free(tensors);
    return status;
}

/* ------------------------------------------------------------------------------------------------
 * Reading: names. One adapter has four spellings:
 *
 *   diffusers  transformer.transformer_blocks.{i}.attn1.to_q.lora_A.weight, or .lora.down.weight; or no prefix
 *   peft       base_model.model.transformer_blocks.{i}.attn1.to_q.lora_A.weight, alpha in adapter_config.json
 *   ComfyUI    diffusion_model.transformer_blocks.{i}.attn1.to_q.lora_A.weight, and .alpha of each module
 *   kohya      lora_unet_transformer_blocks_{i}_attn1_to_q.lora_down.weight, and .alpha of each module */

enum part { PART_A, PART_B, PART_ALPHA };

/* The place of a tensor in the adapter, from its name. */
struct place {
    int block, target;
    enum part part;
    bool peft; /* with peft's own prefix */
};

/* The number at *text, without leading zeros or sign; -1 if there is none. */
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

/* "attn1.to_out.0", or "attn1_to_out_0" in kohya's names */
static bool take_target(const char **text, int *target, bool kohya)
{
    for (*target = 0; *target < TARGETS; ++*target) {
        char name[32];
        snprintf(name, sizeof name, "%s", target_names[*target]);
        for (char *dot = name; kohya && (dot = strchr(dot, '.'));) *dot = '_';
        if (take_word(text, name)) return true;
    }
    return false;
}

static bool parse_key(const char *key, int layers, struct place *p)
{
    static const struct {
        const char *end;
        enum part part;
    } ends[] = {
        {".lora_A.weight", PART_A},         {".lora_B.weight", PART_B},         {".lora.down.weight", PART_A},
        {".lora.up.weight", PART_B},        {".lora_down.weight", PART_A},      {".lora_up.weight", PART_B},
        {".lora_A.default.weight", PART_A}, {".lora_B.default.weight", PART_B}, {".alpha", PART_ALPHA}};
    *p = (struct place){.peft = take_word(&key, "base_model.model.")};
    bool kohya = take_word(&key, "lora_unet_");
    if (kohya)
        take_word(&key, "_"); /* CogVideoX-Fun writes it twice */
    else if (!take_word(&key, "transformer."))
        take_word(&key, "diffusion_model.");
    if (!take_word(&key, kohya ? "transformer_blocks_" : "transformer_blocks.")) return false;
    p->block = take_number(&key);
    if (p->block < 0 || p->block >= layers || !take_word(&key, kohya ? "_" : ".")) return false;
    if (!take_target(&key, &p->target, kohya)) return false;
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        p->part = ends[i].part;
        if (strcmp(key, ends[i].end) == 0) return true;
    }
    return false;
}

/* Names that match nothing are listed, the first five of them. */
static int check_keys(const vdm_safetensors *f, int layers, vdm_error *err)
{
    static const char *const dora[] = {".lora_magnitude_vector", ".dora_scale"};
    char list[640] = "";
    int64_t unknown = 0;
    for (int64_t i = 0; i < f->count; i++) {
        struct place p;
        const char *name = f->tensors[i].name;
        size_t used = strlen(list);
        for (int k = 0; k < 2; k++)
            if (strstr(name, dora[k]))
                return vdm_fail(
                    err,
                    "%s: tensor '%.100s': a DoRA adapter, which scales the columns of W + B A: only "
                    "LoRA (W + B A) is supported",
                    f->path, name);
        if (parse_key(name, layers, &p)) continue;
        if (unknown++ < 5) snprintf(list + used, sizeof list - used, "%s'%.100s'", used ? ", " : "", name);
    }
    if (!unknown) return 0;
    return vdm_fail(err,
                    "%s: %lld of %lld tensors belong to no target of this model (to_q, to_k, to_v, to_out.0, "
                    "ff.net.0.proj, ff.net.2 of %d blocks): %s%s",
                    f->path, (long long)unknown, (long long)f->count, layers, list,
                    unknown > 5 ? ", ..." : "");
}

/* ------------------------------------------------------------------------------------------------
 * Reading: modules */

/* One module of a file: the tensors of y += scale (x A^T) B^T. */
struct module {
    const vdm_tensor *a, *b, *alpha; /* NULL: not in the file; alpha: a tensor of the module */
    int rank;
    double scale, as_alpha; /* scale = as_alpha / rank */
};

static void name_module(char name[VDM_LORA_NAME], int module)
{
    snprintf(name, VDM_LORA_NAME, "transformer_blocks.%d.%s", module / TARGETS,
             target_names[module % TARGETS]);
}

/* modules [layers*TARGETS]. A module needs both halves; the same half in two spellings is an error. */
static int find_modules(struct module *modules, const vdm_safetensors *f, int layers, int *applied,
                        bool *peft, vdm_error *err)
{
    struct place p;
    *peft = false;
    for (int64_t i = 0; i < f->count; i++) {
        const vdm_tensor *t = &f->tensors[i];
        parse_key(t->name, layers, &p);
        struct module *m = &modules[p.block * TARGETS + p.target];
        const vdm_tensor **to = p.part == PART_A ? &m->a : p.part == PART_B ? &m->b : &m->alpha;
        if (*to)
            return vdm_fail(err, "%s: tensor '%s': the same matrix is in the file with another name, '%s'",
                            f->path, t->name, (*to)->name);
        *to = t;
        *peft = *peft || p.peft;
    }
    *applied = 0;
    for (int i = 0; i < layers * TARGETS; i++) {
        const struct module *m = &modules[i];
        *applied += m->a && m->b;
        if (!m->a == !m->b && (m->a || !m->alpha)) continue;
        char missing[VDM_LORA_NAME];
        key_of(missing, "transformer.", i / TARGETS, i % TARGETS, m->a ? "lora_B.weight" : "lora_A.weight");
        return vdm_fail(err, "%s: tensor '%s': expected together with its other half, found none", f->path,
                        missing);
    }
    if (*applied == 0)
        return vdm_fail(err, "%s: applied 0 of %d modules: the file is empty", f->path,
                        layers * VDM_ATTENTION);
    return 0;
}

static int check_matrix(const vdm_safetensors *f, const vdm_tensor *t, int64_t *shape, vdm_error *err)
{
    if (vdm_tensor_check(t, f->path, 2, shape, err)) return -1;
    if (vdm_dtype_floating(t->dtype)) return 0;
    return vdm_fail(err, "%s: tensor '%s': expected F32, F16, BF16 or F64, found %s", f->path, t->name,
                    vdm_dtype_name(t->dtype));
}

/* Checks the shapes A [R,in], B [out,R], and sets the rank. */
static int check_module(struct module *m, const vdm_safetensors *f, int number, int64_t width, vdm_error *err)
{
    const vdm_lora widths = {.width = (int)width};
    const vdm_target target = (vdm_target)(number % TARGETS);
    int64_t a[] = {-1, vdm_lora_in(&widths, target)}, b[] = {vdm_lora_out(&widths, target), 0};
    if (check_matrix(f, m->a, a, err)) return -1;
    if (a[0] > VDM_MAX_LORA_RANK)
        return vdm_fail(err, "%s: tensor '%s': rank: expected 1 to %d, found %lld", f->path, m->a->name,
                        VDM_MAX_LORA_RANK, (long long)a[0]);
    b[1] = a[0];
    m->rank = (int)a[0];
    return check_matrix(f, m->b, b, err);
}

/* ------------------------------------------------------------------------------------------------
 * Reading: alpha and rank */

/* Settings of peft, in the metadata or in adapter_config.json; where: for messages. Or a number in the metadata. */
struct settings {
    vdm_json j;
    bool there;
    char where[512];
    double alpha; /* the number; NaN: none */
};

/* A member, whose key has the prefix "transformer." (save_lora_weights) or none (save_lora_adapter, peft). */
static const vdm_json_node *setting(const vdm_json *j, const char *key)
{
    char prefixed[VDM_LORA_NAME];
    snprintf(prefixed, sizeof prefixed, "transformer.%s", key);
    const vdm_json_node *node = vdm_json_get(j, j->nodes, prefixed);
    return node ? node : vdm_json_get(j, j->nodes, key);
}

static bool is_set(const vdm_json_node *n)
{
    return n && n->kind != VDM_JSON_FALSE && n->kind != VDM_JSON_NULL;
}

/* Rejects settings with which the adapter would not be scale B A. */
static int check_settings(const struct settings *s, vdm_error *err)
{
    static const char *const flags[] = {
        "use_dora",   "lora_bias",       "fan_in_fan_out", "layer_replication",       "megatron_config",
        "eva_config", "modules_to_save", "kasa_config",    "alora_invocation_tokens", "arrow_config"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (is_set(setting(&s->j, flags[i])))
            return vdm_fail(err, "%s: %s: expected %s, found another value", s->where, flags[i],
                            i < 3 ? "false" : "null");
    const vdm_json_node *start = setting(&s->j, "init_lora_weights"), *rslora = setting(&s->j, "use_rslora");
    if (start && start->kind == VDM_JSON_STRING && strcmp(start->text, "gaussian") != 0)
        return vdm_fail(
            err,
            "%s: init_lora_weights: expected true, false or gaussian, found '%.60s', which changes "
            "the model's own weights",
            s->where, start->text);
    if (is_set(rslora) && rslora->kind != VDM_JSON_TRUE)
        return vdm_fail(err, "%s: use_rslora: expected true or false, found another value", s->where);
    return 0;
}

/* adapter_config.json in the folder of the adapter */
static int read_peft_config(struct settings *s, const char *path, vdm_error *err)
{
    const char *slash = strrchr(path, '/');
    int folder = slash ? (int)(slash - path) : 1;
    snprintf(s->where, sizeof s->where, "%.*s/adapter_config.json", folder, slash ? path : ".");
    if (access(s->where, F_OK) != 0)
        return vdm_fail(err,
                        "%s: names as peft writes them: expected its adapter_config.json in the same folder, "
                        "where alpha is, found none",
                        path);
    s->there = true;
    return vdm_json_read(&s->j, s->where, err);
}

/* The text of the first of two keys that the metadata has, or NULL. */
static const char *first_text(const vdm_safetensors *f, const char *const keys[2], const char **key)
{
    const char *text = vdm_safetensors_metadata(f, *key = keys[0]);
    return text ? text : vdm_safetensors_metadata(f, *key = keys[1]);
}

const char *vdm_lora_settings(const vdm_safetensors *f, const char **key)
{
    static const char *const keys[] = {"lora_adapter_metadata", "lora_config"};
    return first_text(f, keys, key);
}

const char *vdm_lora_plain_alpha(const vdm_safetensors *f, const char **key)
{
    static const char *const keys[] = {"ss_network_alpha", "lora_alpha"};
    return first_text(f, keys, key);
}

static int read_plain_alpha(struct settings *s, const vdm_safetensors *f, vdm_error *err)
{
    const char *key, *text = vdm_lora_plain_alpha(f, &key);
    if (!text || vdm_json_number(&s->alpha, text)) return 0;
    return vdm_fail(err, "%s: metadata %s: expected a number, found '%.60s'", f->path, key, text);
}

/* Of diffusers, of finetrainers, of peft; where none of them is, a number. alphas: modules have their own in tensors. */
static int read_settings(struct settings *s, const vdm_safetensors *f, bool peft, bool alphas, vdm_error *err)
{
    const char *key, *text = vdm_lora_settings(f, &key);
    *s = (struct settings){.alpha = (double)NAN};
    if (text) {
        snprintf(s->where, sizeof s->where, "%s: %s", f->path, key);
        if (vdm_json_parse(&s->j, text, strlen(text), s->where, err)) return -1;
        s->there = true;
    } else if (peft && read_peft_config(s, f->path, err)) {
        return -1;
    }
    if (!s->there) return alphas ? 0 : read_plain_alpha(s, f, err);
    if (s->j.nodes->kind != VDM_JSON_OBJECT) return vdm_fail(err, "%s: expected an object", s->where);
    return check_settings(s, err);
}

/* For peft the keys of rank_pattern and alpha_pattern are regular expressions for the end of a module's name. Here only
 * names are supported. */
static bool fits_pattern(const char *pattern, const char *module)
{
    if (*pattern == '^') return strcmp(pattern + 1, module) == 0;
    size_t have = strlen(module), want = strlen(pattern);
    return have >= want && strcmp(module + have - want, pattern) == 0 &&
           (have == want || module[have - want - 1] == '.');
}

/* The key of a pattern, without the prefix of diffusers. */
static const char *pattern_name(const char *key)
{
    return strncmp(key, "transformer.", 12) == 0 ? key + 12 : key;
}

/* The number for a module: that of the first entry of a pattern that fits, else that of `key`; -1 if there is none. */
static int number_for(const struct settings *s, const char *pattern, const char *key, const char *module,
                      const vdm_json_node **to, vdm_error *err)
{
    const vdm_json_node *patterns = setting(&s->j, pattern);
    *to = setting(&s->j, key);
    if (is_set(patterns) && patterns->kind != VDM_JSON_OBJECT)
        return vdm_fail(err, "%s: %s: expected an object, found another value", s->where, pattern);
    const vdm_json_node *n = is_set(patterns) && patterns->children ? patterns + 1 : NULL;
    for (bool found = false; n && !found; n = vdm_json_next(&s->j, n)) {
        const char *name = pattern_name(n->key);
        if (strpbrk(name + (*name == '^'), "*+?()[]{}|\\^$"))
            return vdm_fail(err, "%s: %s: '%.100s': expected a module's name, found a regular expression",
                            s->where, pattern, n->key);
        if (!fits_pattern(name, module)) continue;
        *to = n;
        found = true;
    }
    if (*to && ((*to)->kind != VDM_JSON_NUMBER || !isfinite((*to)->number)))
        return vdm_fail(err, "%s: %s of %s: expected a number, found another value", s->where, key, module);
    return 0;
}

/* Every entry of a pattern fits one of the modules [n]: a name that is misspelt would leave r or lora_alpha as they are. */
static int check_pattern(const struct settings *s, const char *pattern, const struct module *modules, int n,
                         vdm_error *err)
{
    const vdm_json_node *patterns = s->there ? setting(&s->j, pattern) : NULL;
    bool any = is_set(patterns) && patterns->children;
    for (const vdm_json_node *v = any ? patterns + 1 : NULL; v; v = vdm_json_next(&s->j, v)) {
        int i = 0;
        for (char name[VDM_LORA_NAME]; i < n; i++) {
            name_module(name, i);
            if (modules[i].a && fits_pattern(pattern_name(v->key), name)) break;
        }
        if (i == n)
            return vdm_fail(err, "%s: %s: '%.100s': expected a module of the file, found none of that name",
                            s->where, pattern, v->key);
    }
    return 0;
}

/* The module's own alpha, a tensor of one element. */
static int own_alpha(const vdm_tensor *t, const char *path, double *alpha, vdm_error *err)
{
    float x;
    if (vdm_tensor_check(t, path, 0, NULL, err)) return -1;
    vdm_widen(&x, t->data, t->dtype, 1);
    *alpha = (double)x;
    return 0;
}

/* alpha / rank; without any alpha it is 1, as in diffusers. */
static int scale_module(struct module *m, int number, const struct settings *s, const char *path,
                        vdm_error *err)
{
    char name[VDM_LORA_NAME];
    double alpha = isnan(s->alpha) ? m->rank : s->alpha;
    name_module(name, number);
    if (s->there) {
        const vdm_json_node *r, *value;
        if (number_for(s, "rank_pattern", "r", name, &r, err) ||
            number_for(s, "alpha_pattern", "lora_alpha", name, &value, err))
            return -1;
        if (r && !(r->number >= m->rank && r->number <= m->rank))
            return vdm_fail(err, "%s: r: expected %d, the rank of the tensors of %s, found %s", s->where,
                            m->rank, name, r->text);
        if (!value && !m->alpha)
            return vdm_fail(err, "%s: lora_alpha: expected a number, found none", s->where);
        if (value && m->alpha)
            return vdm_fail(err, "%s: tensor '%s': expected alpha in one place, found lora_alpha as well",
                            path, m->alpha->name);
        if (value) alpha = value->number;
    }
    if (m->alpha && own_alpha(m->alpha, path, &alpha, err)) return -1;
    bool rslora = s->there && is_set(setting(&s->j, "use_rslora"));
    m->as_alpha = rslora ? alpha * sqrt((double)m->rank) : alpha; /* alpha / sqrt(rank) */
    m->scale = m->as_alpha / m->rank;
    if (fabs(m->scale) <= MAX_SCALE) return 0;
    return vdm_fail(err, "%s: %s: alpha %g at rank %d: expected a scale of at most %g", path, name, alpha,
                    m->rank, MAX_SCALE);
}

/* ------------------------------------------------------------------------------------------------
 * Reading: the adapter. All its modules get one rank, the largest in the file, and one scale: smaller ones get rows of
 * zeros in A and columns of zeros in B; if scales differ, they are multiplied into B. */

static int copy_module(vdm_lora *a, const struct module *m, int number, bool same_scale, const char *path,
                       vdm_error *err)
{
    const int block = number / TARGETS;
    const vdm_target target = (vdm_target)(number % TARGETS);
    const int64_t in = vdm_lora_in(a, target), out = vdm_lora_out(a, target);
    float *A = vdm_lora_a(a, a->params, block, target), *B = vdm_lora_b(a, a->params, block, target);
    vdm_widen(A, m->a->data, m->a->dtype, m->rank * in);
    vdm_widen(B, m->b->data, m->b->dtype, m->rank * out);
    if (vdm_check_finite(A, VDM_F32, m->rank * in, path, m->a->name, err) ||
        vdm_check_finite(B, VDM_F32, m->rank * out, path, m->b->name, err))
        return -1;
    if (!same_scale)
        for (int64_t i = 0; i < m->rank * out; i++) B[i] = (float)(m->scale * (double)B[i]);
    /* [out,rank] -> [out,R], from the end */
    for (int64_t row = out - 1; row >= 0 && m->rank < a->rank; row--) {
        memmove(B + row * a->rank, B + row * m->rank, (size_t)m->rank * sizeof *B);
        memset(B + row * a->rank + m->rank, 0, (size_t)(a->rank - m->rank) * sizeof *B);
    }
    return 0;
}

/* The smaller set of targets that has all modules of the file */
static vdm_targets targets_of(const struct module *modules, int layers)
{
    for (int i = 0; i < layers * TARGETS; i++)
        if (modules[i].a && i % TARGETS >= VDM_ATTENTION) return VDM_ATTENTION_FF;
    return VDM_ATTENTION;
}

static int make_adapter(vdm_lora *a, const struct module *modules, const vdm_transformer_config *c,
                        const char *path, vdm_error *err)
{
    const struct module *first = NULL;
    int rank = 0;
    double alpha = 0;
    bool same_scale = true;
    for (int i = 0; i < c->layers * TARGETS; i++) {
        const struct module *m = &modules[i];
        if (!m->a) continue;
        if (!first) first = m;
        same_scale = same_scale && m->scale >= first->scale && m->scale <= first->scale;
        if (m->rank > rank) rank = m->rank, alpha = m->as_alpha;
    }
    if (!same_scale) alpha = rank;
    vdm_targets targets = targets_of(modules, c->layers);
    if (vdm_lora_new(a, c->layers, c->heads * c->head_dim, targets, rank, alpha, err)) return -1;
    for (int i = 0; i < c->layers * TARGETS; i++)
        if (modules[i].a && copy_module(a, &modules[i], i, same_scale, path, err)) return -1;
    return 0;
}

static int read_modules(vdm_lora *a, struct module *modules, const vdm_safetensors *f,
                        const vdm_transformer_config *c, int *applied, vdm_error *err)
{
    const int n = c->layers * TARGETS;
    struct settings s = {0};
    bool peft;
    if (check_keys(f, c->layers, err) || find_modules(modules, f, c->layers, applied, &peft, err)) return -1;
    for (int i = 0; i < n; i++)
        if (modules[i].a && check_module(&modules[i], f, i, (int64_t)c->heads * c->head_dim, err)) return -1;
    int alphas = 0, without = 0;
    for (int i = 0; i < n; i++) {
        alphas += modules[i].alpha != NULL;
        without += modules[i].a && !modules[i].alpha;
    }
    int status = read_settings(&s, f, peft, alphas > 0, err);
    for (int i = 0; i < n && !status; i++)
        if (modules[i].a) status = scale_module(&modules[i], i, &s, f->path, err);
    if (!status) status = check_pattern(&s, "rank_pattern", modules, n, err);
    if (!status) status = check_pattern(&s, "alpha_pattern", modules, n, err);
    vdm_json_free(&s.j);
    if (status || make_adapter(a, modules, c, f->path, err)) return -1;
    a->without_alpha = s.there || !isnan(s.alpha) ? 0 : without;
    return 0;
}

int vdm_lora_read(vdm_lora *a, const char *path, const vdm_transformer_config *c, int *applied, int *modules,
                  vdm_error *err)
{
    vdm_safetensors f;
    int found = 0;
    *a = (vdm_lora){0};
    if (applied) *applied = 0;
    if (modules) *modules = c->layers * VDM_ATTENTION;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    struct module *all = vdm_alloc((size_t)c->layers * TARGETS, sizeof *all, "the adapter's modules", err);
    vdm_lora_facts facts;
    int status = all ? read_modules(a, all, &f, c, &found, err) : -1;
    if (!status) status = vdm_facts_of(&facts, &f, err);
    if (!status) a->facts = facts;
    if (applied) *applied = found;
    if (!status && modules) *modules = c->layers * (int)a->targets;
    vdm_free(all);
    vdm_safetensors_close(&f);
    if (status) vdm_lora_free(a);
    return status;
}
