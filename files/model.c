/* Models: a diffusers folder, read as published.
 *
 *   transformer/  config.json, diffusion_pytorch_model*.safetensors   -> vdm_transformer
 *   vae/          config.json, diffusion_pytorch_model*.safetensors   -> vdm_vae
 *   scheduler/    scheduler_config.json                               -> vdm_scheduler_config
 *   text_encoder/ config.json, model*.safetensors                     -> vdm_text_encoder
 *
 * Mirrors the constructors of CogVideoXTransformer3DModel, AutoencoderKLCogVideoX and the two CogVideoX
 * schedulers: the same defaults where a key is absent, the same names and shapes of weights. A value
 * that would change the numbers in a way this library does not follow is refused by its name.
 *
 * Traps
 *   patch_size_t is null in the 1.0 models, and their patch projection is a convolution [D,C,p,p]; its
 *   memory is the matrix [D, C p p] as it stands. patch_bias = false acts there alone: the 1.5 models
 *   say false and have the bias.
 *   The schedulers' defaults (clip_sample, "leading", "epsilon") are not what any CogVideoX uses, so an
 *   absent key is refused like a wrong one.
 *   A convolution's weight is [out,in,kt,k,k] in the file, and [kt k k in, out] in the kernels. */
#include "kernels/kernels.h"

#include <stdarg.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------
 * Fields of a configuration. The first failure is kept; what follows it returns the fallback. */

typedef struct fields {
    vdm_json json;
    char *path;
    bool failed;
    vdm_error *err;
} fields;

static int fields_open(fields *f, const char *dir, const char *name, vdm_error *err)
{
    *f = (fields){.err = err};
    f->path = vdm_path(dir, name, err);
    if (!f->path) return -1;
    if (vdm_json_read(&f->json, f->path, err)) return -1;
    if (f->json.nodes[0].kind != VDM_JSON_OBJECT) return vdm_fail(err, "%s: expected a JSON object", f->path);
    return 0;
}

static int fields_close(fields *f)
{
    vdm_json_free(&f->json);
    vdm_free(f->path);
    return f->failed ? -1 : 0;
}

static const vdm_json_node *field(const fields *f, const char *key)
{
    return vdm_json_get(&f->json, f->json.nodes, key);
}

/* What a sentence says was found. */
static const char *spelled(const vdm_json_node *n)
{
    static const char *const kinds[] = {"null",     "false",  "true",     "a number",
                                        "a string", "a list", "an object"};
    if (!n) return "nothing";
    return n->text ? n->text : kinds[n->kind];
}

static void refuse(fields *f, const char *key, const char *expected)
{
    if (f->failed) return;
    f->failed = true;
    vdm_fail(f->err, "%s: %s: expected %s, found %.100s", f->path, key, expected, spelled(field(f, key)));
}

static double get_number(fields *f, const char *key, double fallback, double least, double most)
{
    const vdm_json_node *n = field(f, key);
    if (!n) return fallback;
    char expected[96];
    if (n->kind == VDM_JSON_NUMBER && n->number >= least && n->number <= most) return n->number;
    snprintf(expected, sizeof expected, "a number from %g to %g", least, most);
    refuse(f, key, expected);
    return fallback;
}

static int whole(fields *f, const char *key, const vdm_json_node *n, int fallback, int least, int most)
{
    char expected[64];
    /* inside the range first: a double past an int's range must not become an int */
    if (n->kind == VDM_JSON_NUMBER && n->number >= least && n->number <= most && (int)n->number == n->number)
        return (int)n->number;
    snprintf(expected, sizeof expected, "a whole number from %d to %d", least, most);
    refuse(f, key, expected);
    return fallback;
}

static int get_int(fields *f, const char *key, int fallback, int least, int most)
{
    const vdm_json_node *n = field(f, key);
    return n ? whole(f, key, n, fallback, least, most) : fallback;
}

/* null, as an absent key, means 0: "none". */
static int get_optional_int(fields *f, const char *key, int most)
{
    const vdm_json_node *n = field(f, key);
    return n && n->kind != VDM_JSON_NULL ? whole(f, key, n, 0, 0, most) : 0;
}

static bool get_bool(fields *f, const char *key, bool fallback)
{
    const vdm_json_node *n = field(f, key);
    if (!n) return fallback;
    if (n->kind != VDM_JSON_TRUE && n->kind != VDM_JSON_FALSE) refuse(f, key, "true or false");
    return n->kind == VDM_JSON_TRUE;
}

/* Fields of which one value is supported. absent: what an absent key means is that value too. */
static void only_bool(fields *f, const char *key, bool absent, bool value)
{
    const vdm_json_node *n = field(f, key);
    if (n ? n->kind != (value ? VDM_JSON_TRUE : VDM_JSON_FALSE) : !absent)
        refuse(f, key, value ? "true" : "false");
}

static void only_string(fields *f, const char *key, bool absent, const char *value)
{
    const vdm_json_node *n = field(f, key);
    if (n ? n->kind != VDM_JSON_STRING || strcmp(n->text, value) != 0 : !absent) refuse(f, key, value);
}

static void only_null(fields *f, const char *key)
{
    const vdm_json_node *n = field(f, key);
    if (n && n->kind != VDM_JSON_NULL) refuse(f, key, "null");
}

/* ------------------------------------------------------------------------------------------------
 * The configurations of CogVideoX */

enum {
    MAX_CHANNELS = 65536, /* widths: the published ones stay below 20,000 */
    MAX_LAYERS = 1000,    /* published: 42 */
    MAX_RATIO = 64        /* patches and compressions: published 4 at most */
};

static void read_positions(fields *f, vdm_transformer_config *c)
{
    c->rotary = get_bool(f, "use_rotary_positional_embeddings", false);
    c->learned_positions = get_bool(f, "use_learned_positional_embeddings", false);
    c->sample_frames = get_int(f, "sample_frames", 49, 1, VDM_MAX_FRAMES);
    c->sample_height = get_int(f, "sample_height", 60, 1, VDM_MAX_SIDE);
    c->sample_width = get_int(f, "sample_width", 90, 1, VDM_MAX_SIDE);
    c->spatial_scale = get_number(f, "spatial_interpolation_scale", 1.875, 1e-6, 1e6);
    c->temporal_scale = get_number(f, "temporal_interpolation_scale", 1, 1e-6, 1e6);
    c->temporal_compression = get_int(f, "temporal_compression_ratio", 4, 1, MAX_RATIO);
    if (!c->rotary && c->learned_positions)
        refuse(f, "use_rotary_positional_embeddings", "true beside use_learned_positional_embeddings");
    if (c->patch_t > 0 && (!c->rotary || c->learned_positions))
        refuse(f, "patch_size_t", "null where positions are not rotary alone");
    if (c->learned_positions && (c->sample_height % c->patch || c->sample_width % c->patch))
        refuse(f, "patch_size", "a divisor of sample_height and sample_width");
}

static void read_transformer(fields *f, vdm_transformer_config *c)
{
    only_string(f, "_class_name", false, "CogVideoXTransformer3DModel");
    c->layers = get_int(f, "num_layers", 30, 1, MAX_LAYERS);
    c->heads = get_int(f, "num_attention_heads", 30, 1, 1024);
    c->head_dim = get_int(f, "attention_head_dim", 64, 1, VDM_MAX_HEAD);
    if (c->head_dim % 16) refuse(f, "attention_head_dim", "a multiple of 16 up to 256");
    c->in_channels = get_int(f, "in_channels", 16, 1, MAX_CHANNELS);
    c->out_channels = get_int(f, "out_channels", 16, 1, MAX_CHANNELS);
    c->patch = get_int(f, "patch_size", 2, 1, MAX_RATIO);
    c->patch_t = get_optional_int(f, "patch_size_t", MAX_RATIO);
    c->patch_bias = get_bool(f, "patch_bias", true);
    c->text_tokens = get_int(f, "max_text_seq_length", 226, 1, MAX_CHANNELS);
    c->text_dim = get_int(f, "text_embed_dim", 4096, 1, MAX_CHANNELS);
    c->time_dim = get_int(f, "time_embed_dim", 512, 1, MAX_CHANNELS);
    c->ofs_dim = get_optional_int(f, "ofs_embed_dim", MAX_CHANNELS);
    /* the two embeddings are added; one sine and one cosine at least */
    if (c->ofs_dim && (c->ofs_dim != c->time_dim || c->ofs_dim % 2 || c->ofs_dim < 4))
        refuse(f, "ofs_embed_dim", "null or time_embed_dim, even");
    c->flip_sin_to_cos = get_bool(f, "flip_sin_to_cos", true);
    c->freq_shift = get_number(f, "freq_shift", 0, 0, 1);
    c->norm_eps = get_number(f, "norm_eps", 1e-5, 1e-15, 1);
    read_positions(f, c);
    get_number(f, "dropout", 0, 0, 0); /* 0 alone */
    only_bool(f, "attention_bias", true, true);
    only_bool(f, "norm_elementwise_affine", true, true);
    only_string(f, "activation_fn", true, "gelu-approximate");
    only_string(f, "timestep_activation_fn", true, "silu");
    only_string(f, "qk_norm", true, "layer_norm"); /* no field of the class: forks have it */
}

static int transformer_config(vdm_transformer_config *c, const char *dir, vdm_error *err)
{
    fields f;
    *c = (vdm_transformer_config){0};
    if (fields_open(&f, dir, "config.json", err))
        f.failed = true;
    else
        read_transformer(&f, c);
    return fields_close(&f);
}

static void read_block_types(fields *f, const char *key, int blocks, const char *type)
{
    const vdm_json_node *list = field(f, key);
    char expected[96];
    if (!list && blocks == 4) return; /* the default has four */
    snprintf(expected, sizeof expected, "a list of %d times \"%s\"", blocks, type);
    if (!list || list->kind != VDM_JSON_ARRAY || list->children != blocks) {
        refuse(f, key, expected);
        return;
    }
    for (const vdm_json_node *n = list + 1; n; n = vdm_json_next(&f->json, n))
        if (n->kind != VDM_JSON_STRING || strcmp(n->text, type) != 0) refuse(f, key, expected);
}

static void read_blocks(fields *f, vdm_vae_config *c)
{
    static const int published[] = {128, 256, 256, 512};
    const vdm_json_node *list = field(f, "block_out_channels");
    c->groups = get_int(f, "norm_num_groups", 32, 1, MAX_CHANNELS);
    if (!list) {
        c->blocks = 4;
        memcpy(c->block_channels, published, sizeof published);
    } else if (list->kind != VDM_JSON_ARRAY || list->children < 1 || list->children > VDM_MAX_VAE_BLOCKS) {
        refuse(f, "block_out_channels", "a list of 1 to 8 whole numbers");
        return;
    } else {
        for (const vdm_json_node *n = list + 1; n; n = vdm_json_next(&f->json, n))
            c->block_channels[c->blocks++] = whole(f, "block_out_channels", n, 1, 1, VDM_MAX_CHANNELS);
    }
    for (int i = 0; i < c->blocks; i++)
        if (c->block_channels[i] % c->groups) refuse(f, "block_out_channels", "multiples of norm_num_groups");
    read_block_types(f, "down_block_types", c->blocks, "CogVideoXDownBlock3D");
    read_block_types(f, "up_block_types", c->blocks, "CogVideoXUpBlock3D");
}

static void read_vae(fields *f, vdm_vae_config *c)
{
    only_string(f, "_class_name", false, "AutoencoderKLCogVideoX");
    c->channels = get_int(f, "in_channels", 3, 3, 3);
    get_int(f, "out_channels", 3, 3, 3);
    c->latent_channels = get_int(f, "latent_channels", 16, 1, 1024);
    c->layers_per_block = get_int(f, "layers_per_block", 3, 1, 64);
    read_blocks(f, c);
    c->temporal_compression = get_int(f, "temporal_compression_ratio", 4, 1, MAX_RATIO);
    int ratio = c->temporal_compression;
    if ((ratio & (ratio - 1)) != 0 || ratio > 1 << (c->blocks > 0 ? c->blocks - 1 : 0))
        refuse(f, "temporal_compression_ratio", "a power of two, at most one 2 for each block but the last");
    c->sample_height = get_int(f, "sample_height", 480, 1, VDM_MAX_SIDE);
    c->sample_width = get_int(f, "sample_width", 720, 1, VDM_MAX_SIDE);
    c->scaling_factor = get_number(f, "scaling_factor", 1.15258426, 1e-6, 1e6);
    c->invert_scale_latents = get_bool(f, "invert_scale_latents", false);
    c->quant_conv = get_bool(f, "use_quant_conv", false);
    c->post_quant_conv = get_bool(f, "use_post_quant_conv", false);
    /* diffusers makes these convolutions as wide as the picture but gives them latents */
    if (c->quant_conv && c->latent_channels != c->channels)
        refuse(f, "use_quant_conv", "false where latent_channels is not out_channels");
    if (c->post_quant_conv && c->latent_channels != c->channels)
        refuse(f, "use_post_quant_conv", "false where latent_channels is not out_channels");
    c->norm_eps = get_number(f, "norm_eps", 1e-6, 1e-15, 1); /* not of every norm: vae.c */
    only_string(f, "act_fn", true, "silu");
    only_null(f, "shift_factor");
    only_null(f, "latents_mean");
    only_null(f, "latents_std");
}

static int vae_config(vdm_vae_config *c, const char *dir, vdm_error *err)
{
    fields f;
    *c = (vdm_vae_config){0};
    if (fields_open(&f, dir, "config.json", err))
        f.failed = true;
    else
        read_vae(&f, c);
    return fields_close(&f);
}

static void read_scheduler(fields *f, vdm_scheduler_config *c)
{
    const vdm_json_node *class = field(f, "_class_name");
    c->dpm = class && class->kind == VDM_JSON_STRING && strcmp(class->text, "CogVideoXDPMScheduler") == 0;
    if (!c->dpm) only_string(f, "_class_name", false, "CogVideoXDDIMScheduler");
    c->train_timesteps = get_int(f, "num_train_timesteps", 1000, 1, 1000);
    c->beta_start = get_number(f, "beta_start", 0.00085, 1e-9, 0.999);
    c->beta_end = get_number(f, "beta_end", 0.0120, 1e-9, 0.999);
    c->snr_shift_scale = get_number(f, "snr_shift_scale", 3, 1e-6, 1e6);
    c->rescale_zero_snr = get_bool(f, "rescale_betas_zero_snr", false);
    c->set_alpha_to_one = get_bool(f, "set_alpha_to_one", true);
    c->trailing = true;
    only_string(f, "timestep_spacing", false, "trailing");
    only_string(f, "prediction_type", false, "v_prediction");
    only_bool(f, "clip_sample", false, false);
    only_string(f, "beta_schedule", true, "scaled_linear");
    only_null(f, "trained_betas");
}

int vdm_scheduler_read(vdm_scheduler_config *c, const char *dir, vdm_error *err)
{
    fields f;
    *c = (vdm_scheduler_config){0};
    if (fields_open(&f, dir, "scheduler_config.json", err))
        f.failed = true;
    else
        read_scheduler(&f, c);
    return fields_close(&f);
}

int vdm_model_config_read(vdm_model_config *c, const char *dir, vdm_error *err)
{
    *c = (vdm_model_config){0};
    char *transformer = vdm_path(dir, "transformer", err);
    char *vae = transformer ? vdm_path(dir, "vae", err) : NULL;
    char *scheduler = vae ? vdm_path(dir, "scheduler", err) : NULL;
    int status = scheduler ? 0 : -1;
    if (status == 0) status = transformer_config(&c->transformer, transformer, err);
    if (status == 0) status = vae_config(&c->vae, vae, err);
    if (status == 0) status = vdm_scheduler_read(&c->scheduler, scheduler, err);
    vdm_free(transformer);
    vdm_free(vae);
    vdm_free(scheduler);
    if (status) return -1;
    if (c->transformer.out_channels != c->vae.latent_channels)
        return vdm_fail(
            err, "%s: the transformer's out_channels are %d, the VAE's latent_channels %d: expected the same",
            dir, c->transformer.out_channels, c->vae.latent_channels);
    /* the transformer's matters where it computes or learned positions of frames */
    bool counts_frames = !c->transformer.rotary || c->transformer.learned_positions;
    if (counts_frames && c->transformer.temporal_compression != c->vae.temporal_compression)
        return vdm_fail(
            err, "%s: temporal_compression_ratio: the transformer has %d, the VAE %d: expected the same", dir,
            c->transformer.temporal_compression, c->vae.temporal_compression);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * Taking tensors from a file: every one is asked for by name and shape; what is wrong is collected, so
 * that one sentence says all of it. */

typedef struct complaint {
    int count, shown;
    char text[240]; /* of those that are shown */
} complaint;

typedef struct loader {
    vdm_safetensors file;
    bool *used; /* [file.count] */
    char *at;   /* where the next array of the result's own memory goes */
    complaint missing, misshapen;
} loader;

static void complain(complaint *c, const char *format, ...)
{
    size_t length = strlen(c->text);
    c->count++;
    if (c->shown == 3 || length + 60 > sizeof c->text) return;
    c->shown++;
    va_list args;
    va_start(args, format);
    snprintf(c->text + length, sizeof c->text - length, "%s", length ? ", " : "");
    length = strlen(c->text);
    vsnprintf(c->text + length, sizeof c->text - length, format, args);
    va_end(args);
}

static const char *shape_text(char text[static 128], int rank, const int64_t *shape)
{
    int at = snprintf(text, 128, "[");
    for (int i = 0; i < rank && at < 100; i++)
        at += snprintf(text + at, 128 - (size_t)at, "%s%lld", i ? "," : "", (long long)shape[i]);
    snprintf(text + at, 128 - (size_t)at, "]");
    return text;
}

/* The tensor prefix + name of that shape; NULL, and a complaint, where there is none. */
static const vdm_tensor *take(loader *l, const char *prefix, const char *name, int rank, const int64_t *shape)
{
    char full[VDM_MAX_NAME], expected[128], found[128];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    const vdm_tensor *t = vdm_safetensors_find(&l->file, full);
    if (!t) {
        complain(&l->missing, "'%s'", full);
        return NULL;
    }
    l->used[t - l->file.tensors] = true;
    bool same = t->rank == rank;
    for (int i = 0; same && i < rank; i++) same = t->shape[i] == shape[i];
    if (!same)
        complain(&l->misshapen, "'%s': expected %s, found %s", full, shape_text(expected, rank, shape),
                 shape_text(found, t->rank, t->shape));
    /* vectors are widened, so they may be doubles; matrices are used as they are */
    bool floating = t->dtype <= VDM_BF16 || (t->dtype == VDM_F64 && rank == 1);
    if (same && !floating)
        complain(&l->misshapen, "'%s': expected F32, F16 or BF16, found %s", full, vdm_dtype_name(t->dtype));
    return same && floating ? t : NULL;
}

static size_t round_up(size_t bytes)
{
    return (bytes + 63) / 64 * 64;
}

static void *reserve(loader *l, size_t bytes)
{
    void *p = l->at;
    l->at += round_up(bytes);
    return p;
}

/* A copy in f32, NULL with a complaint. */
static const float *take_floats(loader *l, const char *prefix, const char *name, int rank,
                                const int64_t *shape)
{
    const vdm_tensor *t = take(l, prefix, name, rank, shape);
    if (!t) return NULL;
    float *floats = reserve(l, (size_t)vdm_tensor_count(t) * sizeof *floats);
    vdm_widen(floats, t->data, t->dtype, vdm_tensor_count(t));
    return floats;
}

static const float *take_vector(loader *l, const char *prefix, const char *name, int64_t n)
{
    return take_floats(l, prefix, name, 1, &n);
}

static void take_norm(loader *l, vdm_norm *norm, int64_t n, const char *prefix)
{
    norm->gamma = take_vector(l, prefix, ".weight", n);
    norm->beta = take_vector(l, prefix, ".bias", n);
}

/* Bytes that the result's own copies may take: all vectors in f32, learned positions, and for the VAE
 * (`repacked`) every convolution. Counted over the file, before anything is taken from it. */
static size_t own_bytes(const loader *l, bool repacked)
{
    size_t bytes = 64;
    for (int64_t i = 0; i < l->file.count; i++) {
        const vdm_tensor *t = &l->file.tensors[i];
        if (t->rank == 1 || (!repacked && t->rank == 3))
            bytes += round_up((size_t)vdm_tensor_count(t) * sizeof(float));
        else if (repacked)
            bytes += round_up(t->bytes);
    }
    return bytes;
}

static const char WEIGHTS[] = "diffusion_pytorch_model"; /* diffusers' name of the file; T5's is "model" */

/* *memory: `more` bytes beyond those of own_bytes; l->at points into it. */
static int loader_open(loader *l, const char *dir, const char *stem, bool repacked, size_t more,
                       void **memory, vdm_error *err)
{
    *l = (loader){0};
    *memory = NULL;
    if (vdm_safetensors_open_folder(&l->file, dir, stem, err)) return -1;
    l->used = vdm_alloc((size_t)l->file.count, sizeof *l->used, dir, err);
    *memory = l->used ? vdm_alloc(own_bytes(l, repacked) + more, 1, dir, err) : NULL;
    l->at = *memory;
    return *memory ? 0 : -1;
}

/* After the last tensor was taken. */
static int loader_verdict(const loader *l, vdm_error *err)
{
    complaint extra = {0};
    for (int64_t i = 0; i < l->file.count; i++)
        if (!l->used[i]) complain(&extra, "'%s'", l->file.tensors[i].name);
    const complaint *all[] = {&l->missing, &extra, &l->misshapen};
    static const char *const titles[] = {"missing", "not known to this model", "of another shape or type"};
    char text[900] = "";
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        char more[32] = "";
        if (all[i]->count == 0) continue;
        if (all[i]->count > all[i]->shown)
            snprintf(more, sizeof more, " and %d more", all[i]->count - all[i]->shown);
        int n = snprintf(text + at, sizeof text - at, "%s%s: %s%s", at ? "; " : "", titles[i], all[i]->text,
                         more);
        at += (size_t)n < sizeof text - at ? (size_t)n : sizeof text - at - 1;
    }
    return at ? vdm_fail(err, "%s: tensors: %s", l->file.path, text) : 0;
}

/* ------------------------------------------------------------------------------------------------
 * CogVideoXTransformer3DModel */

/* weight [out,in] stays where it is mapped; no bias. */
static void take_matrix(loader *l, vdm_linear *w, int64_t out, int64_t in, const char *prefix)
{
    const vdm_tensor *t = take(l, prefix, ".weight", 2, (int64_t[]){out, in});
    *w = (vdm_linear){.weight = {t ? t->data : NULL, t ? t->dtype : VDM_F32, out, in}};
}

/* The same with a bias [out], which is widened. */
static void take_linear(loader *l, vdm_linear *w, int64_t out, int64_t in, const char *prefix)
{
    take_matrix(l, w, out, in, prefix);
    w->bias = take_vector(l, prefix, ".bias", out);
}

static void take_patch_proj(loader *l, vdm_linear *w, const vdm_transformer_config *c)
{
    int64_t D = (int64_t)c->heads * c->head_dim, p = c->patch;
    if (c->patch_t > 0) {
        take_linear(l, w, D, c->in_channels * p * p * c->patch_t, "patch_embed.proj");
        return;
    }
    /* Conv2d [D,C,p,p]: the matrix [D, C p p], columns in order (c, dy, dx), is the same memory */
    const vdm_tensor *t = take(l, "patch_embed.proj", ".weight", 4, (int64_t[]){D, c->in_channels, p, p});
    w->weight = (vdm_matrix){.data = t ? t->data : NULL,
                             .dtype = t ? t->dtype : VDM_F32,
                             .rows = D,
                             .cols = c->in_channels * p * p};
    if (c->patch_bias) w->bias = take_vector(l, "patch_embed.proj", ".bias", D);
}

/* patch_embed.pos_embedding [1, L + V, D] for the sample size */
static const float *take_positions(loader *l, const vdm_transformer_config *c)
{
    int64_t frames = (c->sample_frames - 1) / c->temporal_compression + 1;
    int64_t V = frames * (c->sample_height / c->patch) * (c->sample_width / c->patch);
    int64_t shape[] = {1, c->text_tokens + V, (int64_t)c->heads * c->head_dim};
    return take_floats(l, "patch_embed", ".pos_embedding", 3, shape);
}

static void take_block(loader *l, vdm_block *b, const vdm_transformer_config *c, int index)
{
    int64_t Dh = c->head_dim, D = c->heads * Dh, E = c->time_dim;
    char block[64], name[128];
    snprintf(block, sizeof block, "transformer_blocks.%d.", index);
#define NAMED(text) (snprintf(name, sizeof name, "%s%s", block, text), name)
    take_linear(l, &b->norm[0].linear, 6 * D, E, NAMED("norm1.linear"));
    take_norm(l, &b->norm[0].norm, D, NAMED("norm1.norm"));
    take_norm(l, &b->norm_q, Dh, NAMED("attn1.norm_q"));
    take_norm(l, &b->norm_k, Dh, NAMED("attn1.norm_k"));
    take_linear(l, &b->q, D, D, NAMED("attn1.to_q"));
    take_linear(l, &b->k, D, D, NAMED("attn1.to_k"));
    take_linear(l, &b->v, D, D, NAMED("attn1.to_v"));
    take_linear(l, &b->out, D, D, NAMED("attn1.to_out.0"));
    take_linear(l, &b->norm[1].linear, 6 * D, E, NAMED("norm2.linear"));
    take_norm(l, &b->norm[1].norm, D, NAMED("norm2.norm"));
    take_linear(l, &b->ff_up, 4 * D, D, NAMED("ff.net.0.proj"));
    take_linear(l, &b->ff_down, D, 4 * D, NAMED("ff.net.2"));
#undef NAMED
}

static void take_transformer(loader *l, vdm_transformer *m)
{
    const vdm_transformer_config *c = &m->config;
    int64_t D = (int64_t)c->heads * c->head_dim, E = c->time_dim, O = c->ofs_dim;
    take_patch_proj(l, &m->patch_proj, c);
    take_linear(l, &m->text_proj, D, c->text_dim, "patch_embed.text_proj");
    if (c->learned_positions) m->positions = take_positions(l, c);
    take_linear(l, &m->time1, E, D, "time_embedding.linear_1");
    take_linear(l, &m->time2, E, E, "time_embedding.linear_2");
    if (O) {
        take_linear(l, &m->ofs1, O, O, "ofs_embedding.linear_1");
        take_linear(l, &m->ofs2, O, O, "ofs_embedding.linear_2");
    }
    for (int i = 0; i < c->layers; i++) take_block(l, &m->blocks[i], c, i);
    take_norm(l, &m->norm_final, D, "norm_final");
    take_linear(l, &m->norm_out_linear, 2 * D, E, "norm_out.linear");
    take_norm(l, &m->norm_out, D, "norm_out.norm");
    int64_t patch_t = c->patch_t > 0 ? c->patch_t : 1;
    take_linear(l, &m->proj_out, patch_t * c->patch * c->patch * c->out_channels, D, "proj_out");
}

int vdm_transformer_load(vdm_transformer *m, const char *dir, vdm_error *err)
{
    *m = (vdm_transformer){0};
    loader l = {0};
    void *memory = NULL;
    int status = transformer_config(&m->config, dir, err);
    if (status == 0) status = loader_open(&l, dir, WEIGHTS, false, 0, &memory, err);
    if (status == 0) {
        m->blocks = vdm_alloc((size_t)m->config.layers, sizeof *m->blocks, dir, err);
        status = m->blocks ? 0 : -1;
    }
    if (status == 0) {
        take_transformer(&l, m);
        status = loader_verdict(&l, err);
    }
    vdm_free(l.used);
    m->small = memory;
    m->file = l.file;
    if (status) vdm_transformer_free(m);
    return status;
}

void vdm_transformer_free(vdm_transformer *m)
{
    vdm_safetensors_close(&m->file);
    vdm_free(m->blocks);
    vdm_free(m->small);
    *m = (vdm_transformer){0};
}

/* ------------------------------------------------------------------------------------------------
 * AutoencoderKLCogVideoX */

/* to[i] = from[i * stride], numbers of 2 or 4 bytes at any address: sizes that the compiler knows. */
static void gather(char *to, const char *from, int64_t n, int64_t stride, size_t width)
{
    if (width == 2)
        for (int64_t i = 0; i < n; i++) memcpy(to + 2 * i, from + 2 * i * stride, 2);
    else
        for (int64_t i = 0; i < n; i++) memcpy(to + 4 * i, from + 4 * i * stride, 4);
}

/* [out,in,taps] -> [taps,in,out], numbers of `width` bytes. Blocks of 16 outputs, so that both sides
 * are touched a cache line at a time; one thread writes one block's columns. */
static void repack(char *to, const char *from, int64_t out, int64_t in, int64_t taps, size_t width)
{
    enum { BLOCK = 16 };
    int64_t w = (int64_t)width;
#if defined(_OPENMP)
#pragma omp parallel for schedule(static)
#endif
    for (int64_t o = 0; o < out; o += BLOCK)
        for (int64_t i = 0; i < in * taps; i++) {
            int64_t row = i % taps * in + i / taps, n = out - o < BLOCK ? out - o : BLOCK;
            gather(to + (row * out + o) * w, from + (o * in * taps + i) * w, n, in * taps, width);
        }
}

/* A kernel of kt x k x k; a Conv2d where kt is 0. */
static void take_conv(loader *l, vdm_conv *w, int out, int in, int kt, int k, const char *prefix,
                      const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    int64_t shape3[] = {out, in, kt, k, k}, shape2[] = {out, in, k, k};
    int64_t taps = (int64_t)(kt ? kt : 1) * k * k;
    const vdm_tensor *t = take(l, full, ".weight", kt ? 5 : 4, kt ? shape3 : shape2);
    *w = (vdm_conv){.in = in, .out = out, .kt = kt ? kt : 1, .k = k};
    w->weight = (vdm_matrix){.dtype = t ? t->dtype : VDM_F32, .rows = taps * in, .cols = out};
    if (t) {
        char *to = reserve(l, t->bytes);
        repack(to, t->data, out, in, taps, vdm_dtype_bytes(t->dtype));
        w->weight.data = to;
    }
    w->bias = take_vector(l, full, ".bias", out);
}

/* latent: channels of the latent that modulates the decoder's norms, 0 in the encoder */
static void take_vae_norm(loader *l, vdm_vae_norm *n, int channels, int latent, const char *prefix,
                          const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s%s", prefix, name, latent ? ".norm_layer" : "");
    take_norm(l, &n->norm, channels, full);
    if (!latent) return;
    snprintf(full, sizeof full, "%s%s", prefix, name);
    take_conv(l, &n->y, channels, latent, 1, 1, full, ".conv_y.conv");
    take_conv(l, &n->b, channels, latent, 1, 1, full, ".conv_b.conv");
}

static void take_resnet(loader *l, vdm_resnet *r, int in, int out, int latent, const char *prefix)
{
    take_vae_norm(l, &r->norm1, in, latent, prefix, ".norm1");
    take_conv(l, &r->conv1, out, in, 3, 3, prefix, ".conv1.conv");
    take_vae_norm(l, &r->norm2, out, latent, prefix, ".norm2");
    take_conv(l, &r->conv2, out, out, 3, 3, prefix, ".conv2.conv");
    if (in != out) take_conv(l, &r->shortcut, out, in, 1, 1, prefix, ".conv_shortcut");
}

static void take_half(loader *l, vdm_vae_half *half, const vdm_vae_config *c, bool decoder)
{
    const char *side = decoder ? "decoder" : "encoder";
    int first = c->block_channels[decoder ? c->blocks - 1 : 0],
        last = c->block_channels[decoder ? 0 : c->blocks - 1];
    int latent = decoder ? c->latent_channels : 0, channels = first;
    char name[128];
    take_conv(l, &half->conv_in, first, decoder ? c->latent_channels : c->channels, 3, 3, side,
              ".conv_in.conv");
    for (int i = 0; i < 2; i++) {
        int middle = c->block_channels[c->blocks - 1];
        snprintf(name, sizeof name, "%s.mid_block.resnets.%d", side, i);
        take_resnet(l, &half->mid[i], middle, middle, latent, name);
    }
    for (int i = 0; i < c->blocks; i++) {
        struct vdm_vae_level *level = &half->level[i];
        int out = c->block_channels[decoder ? c->blocks - 1 - i : i];
        level->resnets = c->layers_per_block + decoder;
        level->resnet = reserve(l, (size_t)level->resnets * sizeof *level->resnet);
        level->compress_time = c->temporal_compression >> i > 1; /* the first log2 of them */
        for (int k = 0; k < level->resnets; k++, channels = out) {
            snprintf(name, sizeof name, "%s.%s_blocks.%d.resnets.%d", side, decoder ? "up" : "down", i, k);
            take_resnet(l, &level->resnet[k], channels, out, latent, name);
        }
        if (i == c->blocks - 1) break; /* the last level keeps its size */
        snprintf(name, sizeof name, "%s.%s_blocks.%d.%ssamplers.0.conv", side, decoder ? "up" : "down", i,
                 decoder ? "up" : "down");
        take_conv(l, &level->resample, out, out, 0, 3, name, "");
    }
    take_vae_norm(l, &half->norm_out, last, latent, side, ".norm_out");
    take_conv(l, &half->conv_out, decoder ? c->channels : 2 * c->latent_channels, last, 3, 3, side,
              ".conv_out.conv");
}

static void take_vae(loader *l, vdm_vae *m)
{
    const vdm_vae_config *c = &m->config;
    take_half(l, &m->encoder, c, false);
    take_half(l, &m->decoder, c, true);
    if (c->quant_conv) take_conv(l, &m->quant, 2 * c->channels, 2 * c->channels, 1, 1, "quant_conv", "");
    if (c->post_quant_conv)
        take_conv(l, &m->post_quant, c->channels, c->channels, 1, 1, "post_quant_conv", "");
}

int vdm_vae_load(vdm_vae *m, const char *dir, vdm_error *err)
{
    *m = (vdm_vae){0};
    loader l = {0};
    int status = vae_config(&m->config, dir, err);
    if (status == 0) {
        const vdm_vae_config *c = &m->config;
        size_t level = round_up((size_t)(c->layers_per_block + 1) * sizeof(vdm_resnet));
        status = loader_open(&l, dir, WEIGHTS, true, 2 * (size_t)c->blocks * level, &m->memory, err);
    }
    if (status == 0) {
        take_vae(&l, m);
        status = loader_verdict(&l, err);
    }
    vdm_free(l.used);
    vdm_safetensors_close(&l.file);
    if (status) vdm_vae_free(m);
    return status;
}

void vdm_vae_free(vdm_vae *m)
{
    vdm_free(m->memory);
    *m = (vdm_vae){0};
}

/* ------------------------------------------------------------------------------------------------
 * T5EncoderModel */

static int text_config(vdm_text_config *c, const char *dir, vdm_error *err)
{
    fields f;
    *c = (vdm_text_config){0};
    int status = fields_open(&f, dir, "config.json", err);
    if (status == 0) {
        only_string(&f, "model_type", false, "t5");
        only_string(&f, "feed_forward_proj", false, "gated-gelu");
        c->layers = get_int(&f, "num_layers", 6, 1, 1000);
        c->width = get_int(&f, "d_model", 512, 1, 65536);
        c->heads = get_int(&f, "num_heads", 8, 1, 1024);
        c->head_dim = get_int(&f, "d_kv", 64, 1, 4096);
        c->ff = get_int(&f, "d_ff", 2048, 1, 1 << 20);
        c->vocabulary = get_int(&f, "vocab_size", 32128, 1, VDM_MAX_PIECES);
        c->buckets = get_int(&f, "relative_attention_num_buckets", 32, 4, 4096);
        c->max_distance = get_int(&f, "relative_attention_max_distance", 128, 2, 1 << 20);
        c->norm_eps = get_number(&f, "layer_norm_epsilon", 1e-6, 0, 1);
        if (c->buckets % 4 ||
            c->max_distance <= c->buckets / 4) /* halves of halves; a logarithm of more than 1 */
            refuse(&f, "relative_attention_num_buckets",
                   "a multiple of 4, less than 4 times the largest distance");
    }
    return fields_close(&f) ? -1 : status;
}

static void take_text_block(loader *l, vdm_text_block *b, const vdm_text_config *c, int index)
{
    int64_t D = c->width, I = (int64_t)c->heads * c->head_dim;
    const struct {
        vdm_linear *to;
        const char *name;
        int64_t out, in;
    } all[] = {{&b->q, "0.SelfAttention.q", I, D},
               {&b->k, "0.SelfAttention.k", I, D},
               {&b->v, "0.SelfAttention.v", I, D},
               {&b->o, "0.SelfAttention.o", D, I},
               {&b->wi_0, "1.DenseReluDense.wi_0", c->ff, D},
               {&b->wi_1, "1.DenseReluDense.wi_1", c->ff, D},
               {&b->wo, "1.DenseReluDense.wo", D, c->ff}};
    char name[128];
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        snprintf(name, sizeof name, "encoder.block.%d.layer.%s", index, all[i].name);
        take_matrix(l, all[i].to, all[i].out, all[i].in, name);
    }
    snprintf(name, sizeof name, "encoder.block.%d.layer.", index);
    b->norm1 = take_vector(l, name, "0.layer_norm.weight", D);
    b->norm2 = take_vector(l, name, "1.layer_norm.weight", D);
}

/* The table of words has one of two names, or both: then they are the same, and the encoder reads its own. */
static void take_words(loader *l, vdm_text_encoder *m)
{
    bool own = vdm_safetensors_find(&l->file, "encoder.embed_tokens.weight");
    vdm_linear words;
    if (!own || vdm_safetensors_find(&l->file, "shared.weight"))
        take_matrix(l, &words, m->config.vocabulary, m->config.width, "shared");
    if (own) take_matrix(l, &words, m->config.vocabulary, m->config.width, "encoder.embed_tokens");
    m->words = words.weight;
}

static void take_text_encoder(loader *l, vdm_text_encoder *m)
{
    const vdm_text_config *c = &m->config;
    take_words(l, m);
    m->position_bias = take_floats(l, "encoder.block.0.layer.0.SelfAttention.",
                                   "relative_attention_bias.weight", 2, (int64_t[]){c->buckets, c->heads});
    for (int i = 0; i < c->layers; i++) take_text_block(l, &m->blocks[i], c, i);
    m->norm_final = take_vector(l, "encoder.final_layer_norm", ".weight", c->width);
}

int vdm_text_encoder_load(vdm_text_encoder *m, const char *dir, vdm_error *err)
{
    *m = (vdm_text_encoder){0};
    loader l = {0};
    void *memory = NULL;
    int status = text_config(&m->config, dir, err);
    size_t bias = round_up((size_t)m->config.buckets * (size_t)m->config.heads * sizeof(float));
    if (status == 0) status = loader_open(&l, dir, "model", false, bias, &memory, err);
    if (status == 0) {
        m->blocks = vdm_alloc((size_t)m->config.layers, sizeof *m->blocks, dir, err);
        status = m->blocks ? 0 : -1;
    }
    if (status == 0) {
        take_text_encoder(&l, m);
        status = loader_verdict(&l, err);
    }
    vdm_free(l.used);
    m->small = memory;
    m->file = l.file;
    if (status) vdm_text_encoder_free(m);
    return status;
}

void vdm_text_encoder_free(vdm_text_encoder *m)
{
    vdm_safetensors_close(&m->file);
    vdm_free(m->blocks);
    vdm_free(m->small);
    *m = (vdm_text_encoder){0};
}

/* ------------------------------------------------------------------------------------------------
 * Prompts and sizes */

int vdm_prompt_read(float **text, const char *path, const vdm_transformer_config *c, vdm_error *err)
{
    vdm_safetensors f;
    int64_t shape[] = {c->text_tokens, c->text_dim};
    *text = NULL;
    if (vdm_safetensors_open(&f, path, err)) return -1;
    const vdm_tensor *t = vdm_safetensors_find(&f, "prompt_embeds");
    int64_t tokens = t && t->rank >= 2 ? t->shape[t->rank - 2] : c->text_tokens;
    if (tokens != c->text_tokens && t->shape[t->rank - 1] == c->text_dim)
        vdm_fail(err,
                 "%s: tensor 'prompt_embeds': found %lld tokens, this model takes exactly %d: encode the "
                 "prompt with padding to that length",
                 path, (long long)tokens, c->text_tokens);
    else
        *text = vdm_safetensors_floats(&f, "prompt_embeds", 2, shape, err);
    vdm_safetensors_close(&f);
    return *text ? 0 : -1;
}

/* first + k step for k = 0, 1, ..., up to most; the sentence names the neighbours that are legal. */
static int check_step(const char *what, const char *expected, int found, int first, int step, int most,
                      vdm_error *err)
{
    int last = most - (most - first) % step;
    int below = found < first ? first : found > last ? last : found - (found - first) % step;
    if (found == below) return 0;
    if (found < first || below == last)
        return vdm_fail(err, "%s: found %d, expected %s; the nearest is %d", what, found, expected, below);
    return vdm_fail(err, "%s: found %d, expected %s; the nearest are %d and %d", what, found, expected, below,
                    below + step);
}

/* Learned positions exist for one picture size, and for one number of frames, beside which diffusers silently
 * computes others (vdm_tape_new). The table of the 1.5 models' rotary positions has a size too (grid_type
 * "slice": it is cut to the grid, never stretched). */
static int check_positions(const vdm_geometry *g, const vdm_transformer_config *c, int side, vdm_error *err)
{
    if (c->learned_positions && (g->h != c->sample_height || g->w != c->sample_width))
        return vdm_fail(err, "size: found %dx%d; this model's learned positions are for %dx%d only",
                        g->height, g->width, c->sample_height * side, c->sample_width * side);
    int rows = c->sample_height / c->patch, cols = c->sample_width / c->patch;
    if (c->rotary && c->patch_t > 0 && (g->h / c->patch > rows || g->w / c->patch > cols))
        return vdm_fail(err, "size: found %dx%d, this model takes at most %dx%d", g->height, g->width,
                        rows * c->patch * side, cols * c->patch * side);
    return 0;
}

int vdm_geometry_init(vdm_geometry *g, const vdm_model_config *c, int frames, int height, int width,
                      vdm_error *err)
{
    const vdm_transformer_config *t = &c->transformer;
    int side = 1 << (c->vae.blocks - 1), ratio = c->vae.temporal_compression; /* pixels, frames of a latent */
    int unit = side * t->patch, patch_t = t->patch_t > 0 ? t->patch_t : 1;
    *g = (vdm_geometry){.frames = frames, .height = height, .width = width};
    /* 2 ratio: the VAE decodes an odd number of latent frames to the frames that it was given */
    char length[40], multiple[40];
    snprintf(length, sizeof length, "%d k + 1", 2 * ratio);
    snprintf(multiple, sizeof multiple, "a multiple of %d", unit);
    if (check_step("frames", length, frames, 1, 2 * ratio, VDM_MAX_FRAMES, err)) return -1;
    if (check_step("height", multiple, height, unit, unit, VDM_MAX_SIDE, err)) return -1;
    if (check_step("width", multiple, width, unit, unit, VDM_MAX_SIDE, err)) return -1;
    g->latent_frames = (frames - 1) / ratio + 1;
    g->pad = (patch_t - g->latent_frames % patch_t) % patch_t;
    g->F = g->latent_frames + g->pad;
    g->h = height / side;
    g->w = width / side;
    if (check_positions(g, t, side, err)) return -1;
    int64_t tokens = (int64_t)(g->F / patch_t) * (g->h / t->patch) * (g->w / t->patch);
    if (tokens > 1 << 24)
        return vdm_fail(err, "size: %d frames of %dx%d are %lld tokens, at most %d are allowed", frames,
                        height, width, (long long)tokens, 1 << 24);
    g->video_tokens = (int)tokens;
    return 0;
}
