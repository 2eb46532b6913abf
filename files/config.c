/* The configurations of a model folder: transformer/, vae/, scheduler/, text_encoder/ and model_index.json.
 *
 * Mirrors the constructors of CogVideoXTransformer3DModel, AutoencoderKLCogVideoX, the two CogVideoX schedulers and
 * T5EncoderModel: the same defaults if a key is absent. A value that would change the result in a way that this library
 * does not implement is rejected by name; config_keys.c lists every key.
 *
 * Trap: no CogVideoX uses the schedulers' defaults (clip_sample, "leading", "epsilon"), so an absent key is rejected
 * like a wrong one. */
#include "files/config_keys.h"
#include "files/fields.h"
#include "kernels/kernels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ------------------------------------------------------------------------------------------------
 * A file of a configuration and its fields */

typedef struct config {
    vdm_json json;
    char *path;
    vdm_fields fields;
} config;

static int config_open(config *c, const char *dir, const char *name, vdm_error *err)
{
    *c = (config){.path = vdm_path(dir, name, err)};
    if (!c->path || vdm_json_read(&c->json, c->path, err)) {
        c->fields.failed = true;
        return -1;
    }
    vdm_fields_open(&c->fields, &c->json, c->json.nodes, c->path, err);
    return c->fields.failed ? -1 : 0;
}

static int config_close(config *c)
{
    vdm_json_free(&c->json);
    vdm_free(c->path);
    return c->fields.failed ? -1 : 0;
}

/* null, like an absent key, means 0: "none". */
static int get_optional_int(vdm_fields *f, const char *key, int maximum)
{
    const vdm_json_node *n = vdm_field(f, key);
    return n && n->kind != VDM_JSON_NULL ? vdm_field_int(f, key, 0, 0, maximum) : 0;
}

static bool has_value(const vdm_json_node *n, const char *value)
{
    if (strcmp(value, "null") == 0) return n->kind == VDM_JSON_NULL;
    if (strcmp(value, "true") == 0) return n->kind == VDM_JSON_TRUE;
    if (strcmp(value, "false") == 0) return n->kind == VDM_JSON_FALSE;
    if (*value >= '0' && *value <= '9')
        return n->kind == VDM_JSON_NUMBER && n->number >= atof(value) && n->number <= atof(value);
    return n->kind == VDM_JSON_STRING && strcmp(n->text, value) == 0;
}

/* The keys of a part of which one value is supported (config_keys.c). */
static void check_fixed(vdm_fields *f, const char *part)
{
    for (const vdm_config_key *k = vdm_config_keys; k->part; k++) {
        if (k->use != VDM_KEY_FIXED || strcmp(k->part, part) != 0) continue;
        const vdm_json_node *n = vdm_field(f, k->key);
        if (n ? !has_value(n, k->value) : k->required) vdm_field_reject(f, k->key, k->value);
    }
}

/* ------------------------------------------------------------------------------------------------
 * The configurations of CogVideoX */

enum {
    MAX_CHANNELS = 65536, /* widths: the published ones stay below 20,000 */
    MAX_LAYERS = 1000,    /* published: 42 */
    MAX_TEXT = 1 << 26,   /* elements of a prompt's embedding: published 925,696 */
    MAX_RATIO = 64        /* patches and compressions: published 4 at most */
};

static void read_positions(vdm_fields *f, vdm_transformer_config *c)
{
    c->rotary = vdm_field_bool(f, "use_rotary_positional_embeddings", false);
    c->learned_positions = vdm_field_bool(f, "use_learned_positional_embeddings", false);
    c->sample_frames = vdm_field_int(f, "sample_frames", 49, 1, VDM_MAX_FRAMES);
    c->sample_height = vdm_field_int(f, "sample_height", 60, 1, VDM_MAX_SIDE);
    c->sample_width = vdm_field_int(f, "sample_width", 90, 1, VDM_MAX_SIDE);
    c->spatial_scale = vdm_field_number(f, "spatial_interpolation_scale", 1.875, 1e-6, 1e6);
    c->temporal_scale = vdm_field_number(f, "temporal_interpolation_scale", 1, 1e-6, 1e6);
    c->temporal_compression = vdm_field_int(f, "temporal_compression_ratio", 4, 1, MAX_RATIO);
    if (!c->rotary && c->learned_positions)
        vdm_field_reject(f, "use_rotary_positional_embeddings",
                         "true with use_learned_positional_embeddings");
    if (c->patch_t > 0 && (!c->rotary || c->learned_positions))
        vdm_field_reject(f, "patch_size_t", "null unless positions are only rotary");
    if (c->learned_positions && (c->sample_height % c->patch || c->sample_width % c->patch))
        vdm_field_reject(f, "patch_size", "a divisor of sample_height and sample_width");
}

static void read_transformer(vdm_fields *f, vdm_transformer_config *c)
{
    check_fixed(f, "transformer");
    c->layers = vdm_field_int(f, "num_layers", 30, 1, MAX_LAYERS);
    c->heads = vdm_field_int(f, "num_attention_heads", 30, 1, 1024);
    c->head_dim = vdm_field_int(f, "attention_head_dim", 64, 1, VDM_MAX_HEAD);
    if (c->head_dim % 16) vdm_field_reject(f, "attention_head_dim", "a multiple of 16 up to 256");
    c->in_channels = vdm_field_int(f, "in_channels", 16, 1, MAX_CHANNELS);
    c->out_channels = vdm_field_int(f, "out_channels", 16, 1, MAX_CHANNELS);
    c->patch = vdm_field_int(f, "patch_size", 2, 1, MAX_RATIO);
    c->patch_t = get_optional_int(f, "patch_size_t", MAX_RATIO);
    c->patch_bias = vdm_field_bool(f, "patch_bias", true);
    c->text_tokens = vdm_field_int(f, "max_text_seq_length", 226, 1, MAX_CHANNELS);
    c->text_dim = vdm_field_int(f, "text_embed_dim", 4096, 1, MAX_CHANNELS);
    c->time_dim = vdm_field_int(f, "time_embed_dim", 512, 1, MAX_CHANNELS);
    c->ofs_dim = get_optional_int(f, "ofs_embed_dim", MAX_CHANNELS);
    if ((int64_t)c->text_tokens * c->text_dim > MAX_TEXT)
        vdm_field_reject(f, "max_text_seq_length",
                         "at most 2^26 elements of text, max_text_seq_length x text_embed_dim");
    /* the two embeddings are added; one sine and one cosine at least */
    if (c->ofs_dim && (c->ofs_dim != c->time_dim || c->ofs_dim % 2 || c->ofs_dim < 4))
        vdm_field_reject(f, "ofs_embed_dim", "null or time_embed_dim, even");
    c->flip_sin_to_cos = vdm_field_bool(f, "flip_sin_to_cos", true);
    c->freq_shift = vdm_field_number(f, "freq_shift", 0, 0, 1);
    c->norm_eps = vdm_field_number(f, "norm_eps", 1e-5, 1e-15, 1);
    read_positions(f, c);
}

int vdm_transformer_config_read(vdm_transformer_config *c, const char *dir, vdm_error *err)
{
    config file;
    *c = (vdm_transformer_config){0};
    if (config_open(&file, dir, "config.json", err) == 0) read_transformer(&file.fields, c);
    return config_close(&file);
}

static void read_block_types(vdm_fields *f, const char *key, int blocks, const char *type)
{
    const vdm_json_node *list = vdm_field(f, key);
    char expected[96];
    if (!list && blocks == 4) return; /* the default has four */
    snprintf(expected, sizeof expected, "a list of %d times \"%s\"", blocks, type);
    if (!list || list->kind != VDM_JSON_ARRAY || list->children != blocks) {
        vdm_field_reject(f, key, expected);
        return;
    }
    for (const vdm_json_node *n = list + 1; n; n = vdm_json_next(f->json, n))
        if (n->kind != VDM_JSON_STRING || strcmp(n->text, type) != 0) vdm_field_reject(f, key, expected);
}

static void read_blocks(vdm_fields *f, vdm_vae_config *c)
{
    static const int published[] = {128, 256, 256, 512};
    const vdm_json_node *list = vdm_field(f, "block_out_channels");
    c->groups = vdm_field_int(f, "norm_num_groups", 32, 1, MAX_CHANNELS);
    if (!list) {
        c->blocks = 4;
        memcpy(c->block_channels, published, sizeof published);
    } else if (list->kind != VDM_JSON_ARRAY || list->children < 1 || list->children > VDM_MAX_VAE_BLOCKS) {
        vdm_field_reject(f, "block_out_channels", "a list of 1 to 8 integers");
        return;
    } else {
        for (const vdm_json_node *n = list + 1; n; n = vdm_json_next(f->json, n))
            c->block_channels[c->blocks++] =
                vdm_value_int(f, "block_out_channels", n, 1, 1, VDM_MAX_CHANNELS);
    }
    for (int i = 0; i < c->blocks; i++)
        if (c->block_channels[i] % c->groups)
            vdm_field_reject(f, "block_out_channels", "multiples of norm_num_groups");
    read_block_types(f, "down_block_types", c->blocks, "CogVideoXDownBlock3D");
    read_block_types(f, "up_block_types", c->blocks, "CogVideoXUpBlock3D");
}

static void read_vae(vdm_fields *f, vdm_vae_config *c)
{
    check_fixed(f, "vae");
    c->channels = 3;
    c->latent_channels = vdm_field_int(f, "latent_channels", 16, 1, 1024);
    c->layers_per_block = vdm_field_int(f, "layers_per_block", 3, 1, 64);
    read_blocks(f, c);
    c->temporal_compression = vdm_field_int(f, "temporal_compression_ratio", 4, 1, MAX_RATIO);
    int ratio = c->temporal_compression;
    if ((ratio & (ratio - 1)) != 0 || ratio > 1 << (c->blocks > 0 ? c->blocks - 1 : 0))
        vdm_field_reject(f, "temporal_compression_ratio",
                         "a power of two, at most one 2 for each block but the last");
    c->sample_height = vdm_field_int(f, "sample_height", 480, 1, VDM_MAX_SIDE);
    c->sample_width = vdm_field_int(f, "sample_width", 720, 1, VDM_MAX_SIDE);
    c->scaling_factor = vdm_field_number(f, "scaling_factor", 1.15258426, 1e-6, 1e6);
    c->invert_scale_latents = vdm_field_bool(f, "invert_scale_latents", false);
    c->quant_conv = vdm_field_bool(f, "use_quant_conv", false);
    c->post_quant_conv = vdm_field_bool(f, "use_post_quant_conv", false);
    /* diffusers makes these convolutions as wide as the picture but gives them latents */
    if (c->quant_conv && c->latent_channels != c->channels)
        vdm_field_reject(f, "use_quant_conv", "false unless latent_channels is out_channels");
    if (c->post_quant_conv && c->latent_channels != c->channels)
        vdm_field_reject(f, "use_post_quant_conv", "false unless latent_channels is out_channels");
    c->norm_eps = vdm_field_number(f, "norm_eps", 1e-6, 1e-15, 1); /* not of every norm: vae.c */
}

int vdm_vae_config_read(vdm_vae_config *c, const char *dir, vdm_error *err)
{
    config file;
    *c = (vdm_vae_config){0};
    if (config_open(&file, dir, "config.json", err) == 0) read_vae(&file.fields, c);
    return config_close(&file);
}

static void read_scheduler(vdm_fields *f, vdm_scheduler_config *c)
{
    const vdm_json_node *class = vdm_field(f, "_class_name");
    c->dpm = class && class->kind == VDM_JSON_STRING && strcmp(class->text, "CogVideoXDPMScheduler") == 0;
    if (!c->dpm && !(class && has_value(class, "CogVideoXDDIMScheduler")))
        vdm_field_reject(f, "_class_name", "CogVideoXDDIMScheduler or CogVideoXDPMScheduler");
    check_fixed(f, "scheduler");
    c->train_timesteps = vdm_field_int(f, "num_train_timesteps", 1000, 1, 1000);
    c->beta_start = vdm_field_number(f, "beta_start", 0.00085, 1e-9, 0.999);
    c->beta_end = vdm_field_number(f, "beta_end", 0.0120, 1e-9, 0.999);
    c->snr_shift_scale = vdm_field_number(f, "snr_shift_scale", 3, 1e-6, 1e6);
    c->rescale_zero_snr = vdm_field_bool(f, "rescale_betas_zero_snr", false);
    c->set_alpha_to_one = vdm_field_bool(f, "set_alpha_to_one", true);
    c->trailing = true;
}

int vdm_scheduler_read(vdm_scheduler_config *c, const char *dir, vdm_error *err)
{
    config file;
    *c = (vdm_scheduler_config){0};
    if (config_open(&file, dir, "scheduler_config.json", err) == 0) read_scheduler(&file.fields, c);
    return config_close(&file);
}

/* "part": ["library", "class"] of model_index.json; an absent part is not checked. */
static void check_class(vdm_fields *f, const char *part, const char *class)
{
    const vdm_json_node *list = vdm_field(f, part);
    char expected[96];
    if (!list || list->kind == VDM_JSON_NULL) return;
    const vdm_json_node *name =
        list->kind == VDM_JSON_ARRAY && list->children == 2 ? vdm_json_next(f->json, list + 1) : NULL;
    if (name && (name->kind == VDM_JSON_NULL || has_value(name, class))) return;
    snprintf(expected, sizeof expected, "[\"diffusers\", \"%s\"], as in the part's own configuration", class);
    vdm_field_reject(f, part, expected);
}

/* diffusers makes the parts of the classes that model_index.json names, whatever their own files say. A folder without
 * that file is taken as well. */
static int check_index(const vdm_model_config *c, const char *dir, vdm_error *err)
{
    config file;
    char *path = vdm_path(dir, "model_index.json", err);
    if (!path) return -1;
    bool there = access(path, F_OK) == 0;
    vdm_free(path);
    if (!there) return 0;
    if (config_open(&file, dir, "model_index.json", err) == 0) {
        check_class(&file.fields, "transformer", "CogVideoXTransformer3DModel");
        check_class(&file.fields, "vae", "AutoencoderKLCogVideoX");
        check_class(&file.fields, "scheduler",
                    c->scheduler.dpm ? "CogVideoXDPMScheduler" : "CogVideoXDDIMScheduler");
    }
    return config_close(&file);
}

/* Checks for what is often given as a model's folder by mistake: a file, the folder of a part, a folder with a part missing. */
static int check_folder(const char *dir, vdm_error *err)
{
    static const char expected[] = "expected a model's folder, with transformer/, vae/ and scheduler/ in it";
    static const char *const parts[] = {"transformer", "vae", "scheduler"};
    struct stat info;
    if (stat(dir, &info)) return vdm_fail(err, "%s: %s, found %s", dir, expected, strerror(errno));
    if (!S_ISDIR(info.st_mode)) return vdm_fail(err, "%s: %s, found a file", dir, expected);
    for (int i = 0; i < 3; i++) {
        char *part = vdm_path(dir, parts[i], err);
        if (!part) return -1;
        bool there = access(part, F_OK) == 0;
        vdm_free(part);
        if (!there) return vdm_fail(err, "%s: %s, found no %s/", dir, expected, parts[i]);
    }
    return 0;
}

int vdm_model_config_image_to_video(const vdm_model_config *c, const char *dir, vdm_error *err)
{
    const vdm_transformer_config *t = &c->transformer;
    if (t->in_channels == 2 * t->out_channels) return 0;
    return vdm_fail(
        err,
        "%s/transformer/config.json: in_channels: found %d, expected twice out_channels (%d), as in the "
        "image-to-video models",
        dir, t->in_channels, 2 * t->out_channels);
}

int vdm_model_config_read(vdm_model_config *c, const char *dir, vdm_error *err)
{
    *c = (vdm_model_config){0};
    if (check_folder(dir, err)) return -1;
    char *transformer = vdm_path(dir, "transformer", err);
    char *vae = transformer ? vdm_path(dir, "vae", err) : NULL;
    char *scheduler = vae ? vdm_path(dir, "scheduler", err) : NULL;
    int status = scheduler ? 0 : -1;
    if (status == 0) status = vdm_transformer_config_read(&c->transformer, transformer, err);
    if (status == 0) status = vdm_vae_config_read(&c->vae, vae, err);
    if (status == 0) status = vdm_scheduler_read(&c->scheduler, scheduler, err);
    vdm_free(transformer);
    vdm_free(vae);
    vdm_free(scheduler);
    if (status || check_index(c, dir, err)) return -1;
    if (c->transformer.out_channels != c->vae.latent_channels)
        return vdm_fail(
            err, "%s: the transformer's out_channels are %d, the VAE's latent_channels %d: expected the same",
            dir, c->transformer.out_channels, c->vae.latent_channels);
    /* the transformer's ratio matters if it has computed or learned positions of frames */
    bool counts_frames = !c->transformer.rotary || c->transformer.learned_positions;
    if (counts_frames && c->transformer.temporal_compression != c->vae.temporal_compression)
        return vdm_fail(
            err, "%s: temporal_compression_ratio: the transformer has %d, the VAE %d: expected the same", dir,
            c->transformer.temporal_compression, c->vae.temporal_compression);
    return 0;
}

/* ------------------------------------------------------------------------------------------------
 * T5EncoderModel */

int vdm_text_config_read(vdm_text_config *c, const char *dir, vdm_error *err)
{
    config file;
    *c = (vdm_text_config){0};
    int status = config_open(&file, dir, "config.json", err);
    if (status == 0) {
        check_fixed(&file.fields, "text_encoder");
        c->layers = vdm_field_int(&file.fields, "num_layers", 6, 1, 1000);
        c->width = vdm_field_int(&file.fields, "d_model", 512, 1, 65536);
        c->heads = vdm_field_int(&file.fields, "num_heads", 8, 1, 1024);
        c->head_dim = vdm_field_int(&file.fields, "d_kv", 64, 1, 4096);
        c->ff = vdm_field_int(&file.fields, "d_ff", 2048, 1, 1 << 20);
        c->vocabulary = vdm_field_int(&file.fields, "vocab_size", 32128, 1, VDM_MAX_PIECES);
        c->buckets = vdm_field_int(&file.fields, "relative_attention_num_buckets", 32, 4, 4096);
        c->max_distance = vdm_field_int(&file.fields, "relative_attention_max_distance", 128, 2, 1 << 20);
        c->norm_eps = vdm_field_number(&file.fields, "layer_norm_epsilon", 1e-6, 0, 1);
        if (c->buckets % 4 ||
            c->max_distance <= c->buckets / 4) /* halves of halves; a logarithm of more than 1 */
            vdm_field_reject(&file.fields, "relative_attention_num_buckets",
                             "a multiple of 4, less than 4 times the largest distance");
    }
    return config_close(&file) ? -1 : status;
}
