/* Model folders: configurations with every field wrong in turn, transformers and VAEs with a tensor
 * missing, extra or transposed, prompts, sizes, and memory that runs out at any moment. The folders are
 * written here; the names and shapes are listed apart from the loader. */
#include "check.h"
#include "files/config_keys.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static vdm_error err;

/* Memory that fails at the n-th request: vdm_alloc's allocator is replaced for this program. */
static int fail_at; /* 0: never */
int posix_memalign(void **p, size_t alignment, size_t size)
{
    if (fail_at > 0 && --fail_at == 0) return ENOMEM;
    *p = aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
    return *p ? 0 : ENOMEM;
}

static bool rejected(int status, const char *piece)
{
    if (status == -1 && strstr(err.text, piece)) return true;
    printf("  expected \"%s\", got %d \"%s\"\n", piece, status, status ? err.text : "");
    return false;
}

static const char *path_of(const char *name)
{
    static char path[2][400];
    static int turn;
    turn = !turn;
    snprintf(path[turn], sizeof path[turn], "%s/%s", check_folder(), name);
    return path[turn];
}

/* ------------------------------------------------------------------------------------------------
 * Configurations: lists of keys and values, of which a test changes some */

typedef struct pair {
    const char *key, *value;
} pair;

static const pair transformer_keys[] = {
    {"_class_name", "\"CogVideoXTransformer3DModel\""},
    {"num_layers", "2"},
    {"num_attention_heads", "2"},
    {"attention_head_dim", "16"},
    {"in_channels", "8"},
    {"out_channels", "4"},
    {"patch_size", "2"},
    {"patch_size_t", "2"},
    {"patch_bias", "false"},
    {"max_text_seq_length", "3"},
    {"text_embed_dim", "5"},
    {"time_embed_dim", "6"},
    {"ofs_embed_dim", "6"},
    {"sample_frames", "9"},
    {"sample_height", "8"},
    {"sample_width", "12"},
    {"use_rotary_positional_embeddings", "true"},
    {"use_learned_positional_embeddings", "false"},
    {NULL, NULL},
};
static const pair vae_keys[] = {
    {"_class_name", "\"AutoencoderKLCogVideoX\""},
    {"block_out_channels", "[4, 8]"},
    {"latent_channels", "4"},
    {"layers_per_block", "1"},
    {"norm_num_groups", "2"},
    {"down_block_types", "[\"CogVideoXDownBlock3D\", \"CogVideoXDownBlock3D\"]"},
    {"up_block_types", "[\"CogVideoXUpBlock3D\", \"CogVideoXUpBlock3D\"]"},
    {"temporal_compression_ratio", "2"},
    {"scaling_factor", "0.7"},
    {"shift_factor", "null"},
    {NULL, NULL},
};
static const pair scheduler_keys[] = {
    {"_class_name", "\"CogVideoXDDIMScheduler\""},
    {"timestep_spacing", "\"trailing\""},
    {"prediction_type", "\"v_prediction\""},
    {"clip_sample", "false"},
    {"rescale_betas_zero_snr", "true"},
    {"snr_shift_scale", "1.0"},
    {NULL, NULL},
};
static const pair text_keys[] = {
    {"model_type", "\"t5\""},
    {"feed_forward_proj", "\"gated-gelu\""},
    {"num_layers", "2"},
    {NULL, NULL},
};
enum { TRANSFORMER, VAE, SCHEDULER, TEXT };
static const struct {
    const pair *keys;
    const char *folder, *path;
} parts[] = {
    {transformer_keys, "transformer", "transformer/config.json"},
    {vae_keys, "vae", "vae/config.json"},
    {scheduler_keys, "scheduler", "scheduler/scheduler_config.json"},
    {text_keys, "text_encoder", "text_encoder/config.json"},
};

/* changes: ends with a NULL key; a NULL value leaves the key out. */
static void put_config(int part, const pair *changes)
{
    const char *path = path_of(parts[part].path);
    remove(path);
    FILE *f = fopen(path, "w");
    if (!f) {
        CHECK(false, "the test can't write %s", path);
        return;
    }
    fputs("{\"_unknown\": 1", f); /* of no class: ignored, as diffusers does */
    for (const pair *p = parts[part].keys; p->key; p++) {
        bool changed = false;
        for (const pair *c = changes; c && c->key; c++) changed |= strcmp(c->key, p->key) == 0;
        if (!changed) fprintf(f, ",\n  \"%s\": %s", p->key, p->value);
    }
    for (const pair *c = changes; c && c->key; c++)
        if (c->value) fprintf(f, ",\n  \"%s\": %s", c->key, c->value);
    fputs("}\n", f);
    fclose(f);
}

static void put_configs(void)
{
    for (int part = 0; part < 4; part++) {
        mkdir(path_of(parts[part].folder), 0777);
        put_config(part, NULL);
    }
}

static void test_config_values(void)
{
    vdm_model_config c;
    put_configs();
    if (CHECK(vdm_model_config_read(&c, check_folder(), &err) == 0, "%s", err.text)) {
        const vdm_transformer_config *t = &c.transformer;
        CHECK(t->layers == 2 && t->heads == 2 && t->head_dim == 16 && t->in_channels == 8 && t->patch_t == 2,
              "given");
        CHECK(t->flip_sin_to_cos && t->norm_eps == 1e-5 && t->spatial_scale == 1.875 &&
                  t->temporal_compression == 4,
              "defaults of the transformer");
        CHECK(c.vae.blocks == 2 && c.vae.block_channels[1] == 8 && c.vae.norm_eps == 1e-6 &&
                  !c.vae.invert_scale_latents && c.vae.sample_height == 480 && c.vae.sample_width == 720,
              "the VAE");
        CHECK(!c.scheduler.dpm && c.scheduler.trailing && c.scheduler.beta_end == 0.012 &&
                  c.scheduler.set_alpha_to_one,
              "the scheduler");
    }
    put_config(
        SCHEDULER,
        (pair[]){{"_class_name", "\"CogVideoXDPMScheduler\""}, {"snr_shift_scale", NULL}, {NULL, NULL}});
    CHECK(vdm_model_config_read(&c, check_folder(), &err) == 0 && c.scheduler.dpm &&
              c.scheduler.snr_shift_scale == 3,
          "the other scheduler: %s", err.text);
    /* the defaults of the classes are the 2b model */
    put_config(TRANSFORMER, (pair[]){{"num_layers", NULL},
                                     {"num_attention_heads", NULL},
                                     {"attention_head_dim", NULL},
                                     {"in_channels", NULL},
                                     {"out_channels", NULL},
                                     {"patch_size_t", "null"},
                                     {"ofs_embed_dim", "null"},
                                     {"use_rotary_positional_embeddings", NULL},
                                     {"max_text_seq_length", NULL},
                                     {"text_embed_dim", NULL},
                                     {"time_embed_dim", NULL},
                                     {"sample_height", NULL},
                                     {"sample_width", NULL},
                                     {"sample_frames", NULL},
                                     {"patch_bias", NULL},
                                     {NULL, NULL}});
    put_config(VAE, (pair[]){{"block_out_channels", NULL},
                             {"down_block_types", NULL},
                             {"up_block_types", NULL},
                             {"latent_channels", NULL},
                             {"layers_per_block", NULL},
                             {"norm_num_groups", NULL},
                             {"temporal_compression_ratio", NULL},
                             {"scaling_factor", NULL},
                             {NULL, NULL}});
    CHECK(vdm_model_config_read(&c, check_folder(), &err) == 0, "%s", err.text);
    CHECK(c.transformer.layers == 30 && c.transformer.heads == 30 && c.transformer.text_tokens == 226 &&
              c.transformer.sample_frames == 49 && c.transformer.patch_t == 0 && c.transformer.patch_bias,
          "2b");
    CHECK(c.vae.blocks == 4 && c.vae.block_channels[3] == 512 && c.vae.groups == 32 &&
              c.vae.scaling_factor == 1.15258426,
          "its VAE");
    put_configs();
}

static void test_config_errors(void)
{
    static const struct {
        int part;
        const char *key, *value;
    } bad[] = {
        {TRANSFORMER, "_class_name", "\"HunyuanVideoTransformer3DModel\""},
        {TRANSFORMER, "_class_name", NULL},
        {TRANSFORMER, "num_layers", "0"},
        {TRANSFORMER, "num_layers", "-1"},
        {TRANSFORMER, "num_layers", "1000000000"},
        {TRANSFORMER, "num_layers", "1e300"},
        {TRANSFORMER, "num_layers", "2.5"},
        {TRANSFORMER, "num_layers", "\"2\""},
        {TRANSFORMER, "num_layers", "null"},
        {TRANSFORMER, "num_layers", "[2]"},
        {TRANSFORMER, "num_layers", "true"},
        {TRANSFORMER, "num_attention_heads", "0"},
        {TRANSFORMER, "attention_head_dim", "24"},
        {TRANSFORMER, "attention_head_dim", "512"},
        {TRANSFORMER, "in_channels", "0"},
        {TRANSFORMER, "out_channels", "null"},
        {TRANSFORMER, "patch_size", "0"},
        {TRANSFORMER, "patch_size_t", "-1"},
        {TRANSFORMER, "patch_size_t", "\"2\""},
        {TRANSFORMER, "patch_bias", "1"},
        {TRANSFORMER, "max_text_seq_length", "0"},
        {TRANSFORMER, "text_embed_dim", "0"},
        {TRANSFORMER, "time_embed_dim", "0"},
        {TRANSFORMER, "ofs_embed_dim", "8"},
        {TRANSFORMER, "flip_sin_to_cos", "0"},
        {TRANSFORMER, "freq_shift", "-1"},
        {TRANSFORMER, "norm_eps", "0"},
        {TRANSFORMER, "norm_eps", "-1e-5"},
        {TRANSFORMER, "norm_eps", "\"1e-5\""},
        {TRANSFORMER, "dropout", "0.1"},
        {TRANSFORMER, "attention_bias", "false"},
        {TRANSFORMER, "norm_elementwise_affine", "false"},
        {TRANSFORMER, "activation_fn", "\"gelu\""},
        {TRANSFORMER, "timestep_activation_fn", "\"gelu\""},
        {TRANSFORMER, "qk_norm", "\"rms_norm\""},
        {TRANSFORMER, "use_rotary_positional_embeddings", "\"yes\""},
        {TRANSFORMER, "sample_frames", "0"},
        {TRANSFORMER, "sample_height", "100000"},
        {TRANSFORMER, "temporal_compression_ratio", "0"},
        {TRANSFORMER, "spatial_interpolation_scale", "0"},
        {TRANSFORMER, "temporal_interpolation_scale", "null"},
        {VAE, "_class_name", "\"AutoencoderKL\""},
        {VAE, "in_channels", "4"},
        {VAE, "out_channels", "1"},
        {VAE, "latent_channels", "0"},
        {VAE, "block_out_channels", "[]"},
        {VAE, "block_out_channels", "[4, 7]"},
        {VAE, "block_out_channels", "[4, 0]"},
        {VAE, "block_out_channels", "[4, \"8\"]"},
        {VAE, "block_out_channels", "8"},
        {VAE, "block_out_channels", "[2,2,2,2,2,2,2,2,2]"},
        {VAE, "norm_num_groups", "0"},
        {VAE, "layers_per_block", "0"},
        {VAE, "down_block_types", "[\"CogVideoXDownBlock3D\"]"},
        {VAE, "down_block_types", "[\"DownEncoderBlock2D\", 1]"},
        {VAE, "up_block_types", "null"},
        {VAE, "up_block_types", NULL},
        {VAE, "temporal_compression_ratio", "3"},
        {VAE, "temporal_compression_ratio", "8"},
        {VAE, "scaling_factor", "0"},
        {VAE, "scaling_factor", "-0.7"},
        {VAE, "shift_factor", "0.1"},
        {VAE, "latents_mean", "[0]"},
        {VAE, "latents_std", "[1]"},
        {VAE, "act_fn", "\"relu\""},
        {VAE, "norm_eps", "0"},
        {VAE, "use_quant_conv", "true"},
        {VAE, "use_post_quant_conv", "true"},
        {VAE, "invert_scale_latents", "null"},
        {VAE, "sample_height", "0"},
        {VAE, "sample_width", "1.5"},
        {SCHEDULER, "_class_name", "\"DDIMScheduler\""},
        {SCHEDULER, "_class_name", "3"},
        {SCHEDULER, "timestep_spacing", "\"leading\""},
        {SCHEDULER, "timestep_spacing", NULL},
        {SCHEDULER, "prediction_type", "\"epsilon\""},
        {SCHEDULER, "prediction_type", NULL},
        {SCHEDULER, "clip_sample", "true"},
        {SCHEDULER, "clip_sample", NULL},
        {SCHEDULER, "beta_schedule", "\"linear\""},
        {SCHEDULER, "trained_betas", "[0.1]"},
        {SCHEDULER, "num_train_timesteps", "1001"},
        {SCHEDULER, "beta_start", "0"},
        {SCHEDULER, "beta_end", "1.5"},
        {SCHEDULER, "snr_shift_scale", "0"},
        {SCHEDULER, "rescale_betas_zero_snr", "\"\""},
        {SCHEDULER, "set_alpha_to_one", "null"},
    };
    vdm_model_config c;
    put_configs();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char piece[200];
        snprintf(piece, sizeof piece, "%s: %s: found ", parts[bad[i].part].path, bad[i].key);
        put_config(bad[i].part, (pair[]){{bad[i].key, bad[i].value}, {NULL, NULL}});
        CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err), piece), "%s = %s", bad[i].key,
              bad[i].value ? bad[i].value : "(absent)");
        put_config(bad[i].part, NULL);
    }
    put_config(TRANSFORMER, (pair[]){{"use_rotary_positional_embeddings", "false"}, {NULL, NULL}});
    CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err), "patch_size_t: found '2', expected null"),
          "2b with patches in time");
    put_config(TRANSFORMER, (pair[]){{"use_rotary_positional_embeddings", "false"},
                                     {"patch_size_t", "null"},
                                     {"use_learned_positional_embeddings", "true"},
                                     {NULL, NULL}});
    CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err),
                   "use_rotary_positional_embeddings: found false, expected true"),
          "as diffusers");
    put_config(TRANSFORMER, (pair[]){{"out_channels", "6"}, {NULL, NULL}});
    CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err),
                   "out_channels are 6, the VAE's latent_channels 4"),
          "channels");
    put_config(
        TRANSFORMER,
        (pair[]){{"use_rotary_positional_embeddings", "false"}, {"patch_size_t", "null"}, {NULL, NULL}});
    CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err), "the transformer has 4, the VAE 2"),
          "frames");
    put_configs();
    remove(path_of("vae/config.json"));
    CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err), "vae/config.json"), "a file is missing");
    CHECK(rejected(vdm_model_config_read(&c, "/no/such/model", &err),
                   "/no/such/model: expected a model's folder"),
          "a folder is missing");
    put_configs();
}

/* ------------------------------------------------------------------------------------------------
 * Every key of every class: obeyed, fixed or ignored (config_keys.c) */

/* A value that the configuration does not have yet, with whatever else it needs. */
static const struct {
    int part;
    pair changes[4];
} others[] = {
    {TRANSFORMER, {{"num_attention_heads", "3"}}},
    {TRANSFORMER, {{"attention_head_dim", "32"}}},
    {TRANSFORMER, {{"in_channels", "12"}}},
    {TRANSFORMER, {{"out_channels", "8"}}},
    {TRANSFORMER, {{"flip_sin_to_cos", "false"}}},
    {TRANSFORMER, {{"freq_shift", "1"}}},
    {TRANSFORMER, {{"time_embed_dim", "8"}, {"ofs_embed_dim", "8"}}},
    {TRANSFORMER, {{"ofs_embed_dim", "null"}}},
    {TRANSFORMER, {{"text_embed_dim", "7"}}},
    {TRANSFORMER, {{"num_layers", "3"}}},
    {TRANSFORMER, {{"sample_width", "16"}}},
    {TRANSFORMER, {{"sample_height", "16"}}},
    {TRANSFORMER, {{"sample_frames", "17"}}},
    {TRANSFORMER, {{"patch_size", "4"}}},
    {TRANSFORMER, {{"patch_size_t", "null"}}},
    {TRANSFORMER, {{"temporal_compression_ratio", "8"}}},
    {TRANSFORMER, {{"max_text_seq_length", "4"}}},
    {TRANSFORMER, {{"norm_eps", "1e-6"}}},
    {TRANSFORMER, {{"spatial_interpolation_scale", "2"}}},
    {TRANSFORMER, {{"temporal_interpolation_scale", "2"}}},
    {TRANSFORMER, {{"use_rotary_positional_embeddings", "false"}, {"patch_size_t", "null"}}},
    {TRANSFORMER, {{"use_learned_positional_embeddings", "true"}, {"patch_size_t", "null"}}},
    {TRANSFORMER, {{"patch_bias", "true"}}},
    {VAE, {{"block_out_channels", "[4, 4]"}}},
    {VAE,
     {{"down_block_types", "[\"CogVideoXDownBlock3D\"]"},
      {"up_block_types", "[\"CogVideoXUpBlock3D\"]"},
      {"block_out_channels", "[4]"},
      {"temporal_compression_ratio", "1"}}},
    {VAE,
     {{"up_block_types", "[\"CogVideoXUpBlock3D\"]"},
      {"down_block_types", "[\"CogVideoXDownBlock3D\"]"},
      {"block_out_channels", "[4]"},
      {"temporal_compression_ratio", "1"}}},
    {VAE, {{"latent_channels", "5"}}},
    {VAE, {{"layers_per_block", "2"}}},
    {VAE, {{"norm_eps", "1e-5"}}},
    {VAE, {{"norm_num_groups", "4"}}},
    {VAE, {{"temporal_compression_ratio", "1"}}},
    {VAE, {{"sample_height", "96"}}},
    {VAE, {{"sample_width", "96"}}},
    {VAE, {{"scaling_factor", "0.8"}}},
    {VAE, {{"use_quant_conv", "true"}, {"latent_channels", "3"}}},
    {VAE, {{"use_post_quant_conv", "true"}, {"latent_channels", "3"}}},
    {VAE, {{"invert_scale_latents", "true"}}},
    {SCHEDULER, {{"_class_name", "\"CogVideoXDPMScheduler\""}}},
    {SCHEDULER, {{"num_train_timesteps", "500"}}},
    {SCHEDULER, {{"beta_start", "0.001"}}},
    {SCHEDULER, {{"beta_end", "0.02"}}},
    {SCHEDULER, {{"set_alpha_to_one", "false"}}},
    {SCHEDULER, {{"rescale_betas_zero_snr", "false"}}},
    {SCHEDULER, {{"snr_shift_scale", "3"}}},
    {TEXT, {{"vocab_size", "100"}}},
    {TEXT, {{"d_model", "64"}}},
    {TEXT, {{"d_kv", "32"}}},
    {TEXT, {{"d_ff", "64"}}},
    {TEXT, {{"num_layers", "3"}}},
    {TEXT, {{"num_heads", "2"}}},
    {TEXT, {{"relative_attention_num_buckets", "16"}}},
    {TEXT, {{"relative_attention_max_distance", "64"}}},
    {TEXT, {{"layer_norm_epsilon", "1e-5"}}},
};

/* A part's configuration, whichever it is. */
typedef struct any_config {
    vdm_transformer_config transformer;
    vdm_vae_config vae;
    vdm_scheduler_config scheduler;
    vdm_text_config text;
} any_config;

static int read_part(any_config *c, int part)
{
    char dir[400];
    snprintf(dir, sizeof dir, "%s", path_of(parts[part].folder));
    memset(c, 0, sizeof *c);
    if (part == TRANSFORMER) return vdm_transformer_config_read(&c->transformer, dir, &err);
    if (part == VAE) return vdm_vae_config_read(&c->vae, dir, &err);
    if (part == SCHEDULER) return vdm_scheduler_read(&c->scheduler, dir, &err);
    return vdm_text_config_read(&c->text, dir, &err);
}

static void test_obeyed_key(int part, const char *key, const any_config *before)
{
    any_config after;
    size_t i = 0, n = sizeof others / sizeof *others;
    while (i < n && (others[i].part != part || strcmp(others[i].changes[0].key, key) != 0)) i++;
    if (!CHECK(i < n, "%s: %s: no other value in this test", parts[part].path, key)) return;
    pair changes[5] = {{NULL, NULL}};
    memcpy(changes, others[i].changes, sizeof others[i].changes);
    put_config(part, changes);
    CHECK(read_part(&after, part) == 0 && memcmp(&after, before, sizeof after) != 0,
          "%s: %s: another value is not obeyed", parts[part].path, key);
}

static void test_key(int part, const vdm_config_key *k, const any_config *before)
{
    static const char *const values[] = {"\"other\"", "7", "true", "false", "[1]", "{}"};
    any_config after;
    if (k->use == VDM_KEY_OBEYED) {
        test_obeyed_key(part, k->key, before);
        return;
    }
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        char piece[200], expected[100];
        snprintf(piece, sizeof piece, "%s: %s: found ", parts[part].path, k->key);
        snprintf(expected, sizeof expected, ", expected %s", k->value);
        put_config(part, (pair[]){{k->key, values[i]}, {NULL, NULL}});
        int status = read_part(&after, part);
        if (k->use == VDM_KEY_FIXED && strcmp(k->value, values[i]) != 0)
            CHECK(rejected(status, piece) && rejected(status, expected), "%s = %s", k->key, values[i]);
        else
            CHECK(status == 0 && memcmp(&after, before, sizeof after) == 0, "%s: %s = %s: %s",
                  parts[part].path, k->key, values[i], status ? err.text : "another configuration");
    }
}

static void test_config_keys(void)
{
    any_config before[4];
    put_configs();
    for (int part = 0; part < 4; part++)
        CHECK(read_part(&before[part], part) == 0, "%s: %s", parts[part].path, err.text);
    for (const vdm_config_key *k = vdm_config_keys; k->part; k++) {
        int part = 0;
        while (part < 3 && strcmp(parts[part].folder, k->part) != 0) part++;
        test_key(part, k, &before[part]);
        put_config(part, NULL);
        CHECK(k->use != VDM_KEY_IGNORED || (k->reason && *k->reason), "%s: ignored without a reason", k->key);
    }
}

/* model_index.json names the classes that diffusers takes. */
static void test_model_index(void)
{
    static const struct {
        const char *text, *piece;
    } cases[] = {
        {"{}", NULL},
        {"{\"scheduler\": [\"diffusers\", \"CogVideoXDDIMScheduler\"], \"vae\": [null, null]}", NULL},
        {"{\"scheduler\": [\"diffusers\", \"CogVideoXDPMScheduler\"]}",
         "model_index.json: scheduler: found an array of 2, expected [\"diffusers\", \"CogVideoXDDIMScheduler\"]"},
        {"{\"transformer\": [\"diffusers\", \"WanTransformer3DModel\"]}",
         "transformer: found an array of 2, expected [\"diffusers\", \"CogVideoXTransformer3DModel\"]"},
        {"{\"vae\": \"AutoencoderKLCogVideoX\"}", "vae: found 'AutoencoderKLCogVideoX', expected"},
        {"[]", "document: found an array of 0, expected an object"},
    };
    vdm_model_config c;
    put_configs();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *f = fopen(path_of("model_index.json"), "w");
        if (!CHECK(f != NULL, "the test can't write")) return;
        fputs(cases[i].text, f);
        fclose(f);
        int status = vdm_model_config_read(&c, check_folder(), &err);
        CHECK(cases[i].piece ? rejected(status, cases[i].piece) : status == 0, "%s", cases[i].text);
    }
    remove(path_of("model_index.json"));
    put_config(TRANSFORMER,
               (pair[]){{"max_text_seq_length", "65536"}, {"text_embed_dim", "65536"}, {NULL, NULL}});
    CHECK(rejected(vdm_model_config_read(&c, check_folder(), &err), "at most 2^26 elements"),
          "a huge prompt");
    put_configs();
}

/* ------------------------------------------------------------------------------------------------
 * Weights: a list of tensors that grows, and can be spoiled before it is written */

enum { MAX_LIST = 400 };
typedef struct list {
    vdm_tensor tensors[MAX_LIST];
    char names[MAX_LIST][96];
    int count;
    vdm_dtype matrices; /* their type; vectors are F32 */
} list;

static void add_named(list *l, const char *name, int rank, const int *shape)
{
    vdm_tensor *t = &l->tensors[l->count];
    snprintf(l->names[l->count], sizeof l->names[0], "%s", name);
    *t = (vdm_tensor){.name = l->names[l->count], .rank = rank, .dtype = rank > 1 ? l->matrices : VDM_F32};
    for (int i = 0; i < rank; i++) t->shape[i] = shape[i];
    int64_t n = vdm_tensor_count(t);
    t->bytes = (size_t)n * vdm_dtype_bytes(t->dtype);
    float *values = malloc((size_t)n * sizeof *values);
    uint16_t *halves = malloc((size_t)n * sizeof *halves);
    check_random(values, n, (uint32_t)++l->count, 1);
    for (int64_t i = 0; i < n; i++) halves[i] = vdm_to_bf16(values[i]);
    bool small = t->dtype == VDM_BF16;
    t->data = small ? (void *)halves : (void *)values;
    free(small ? (void *)values : (void *)halves);
}

/* prefix.weight of that shape and prefix.bias of its first size */
static void add(list *l, const char *prefix, int rank, ...)
{
    int shape[5];
    char name[96];
    va_list args;
    va_start(args, rank);
    for (int i = 0; i < rank; i++) shape[i] = va_arg(args, int);
    va_end(args);
    snprintf(name, sizeof name, "%s.weight", prefix);
    add_named(l, name, rank, shape);
    snprintf(name, sizeof name, "%s.bias", prefix);
    add_named(l, name, 1, shape);
}

static int list_find(const list *l, const char *name)
{
    for (int i = 0; i < l->count; i++)
        if (strcmp(l->names[i], name) == 0) return i;
    CHECK(false, "the test has no tensor '%s'", name);
    return 0;
}

static void list_remove(list *l, const char *name)
{
    int i = list_find(l, name);
    free((void *)(uintptr_t)l->tensors[i].data);
    l->count--;
    for (; i < l->count; i++) {
        memcpy(l->names[i], l->names[i + 1], sizeof l->names[0]);
        l->tensors[i] = l->tensors[i + 1];
        l->tensors[i].name = l->names[i];
    }
}

static void list_free(list *l)
{
    for (int i = 0; i < l->count; i++) free((void *)(uintptr_t)l->tensors[i].data);
    free(l);
}

static void list_write(const list *l, const char *part)
{
    char name[100];
    snprintf(name, sizeof name, "%s/diffusion_pytorch_model.safetensors", part);
    CHECK(vdm_safetensors_write(path_of(name), l->tensors, l->count, NULL, 0, &err) == 0, "%s", err.text);
}

/* D = 32, E = 6: transformer_keys. conv: the 1.0 models' patch projection; positions: learned ones. */
static list *transformer_list(bool ofs, bool conv, bool bias, bool positions)
{
    list *l = calloc(1, sizeof *l);
    char p[96];
    l->matrices = VDM_BF16;
    if (conv)
        add(l, "patch_embed.proj", 4, 32, 8, 2, 2);
    else
        add(l, "patch_embed.proj", 2, 32, 64);
    if (!bias) list_remove(l, "patch_embed.proj.bias");
    add(l, "patch_embed.text_proj", 2, 32, 5);
    if (positions) add_named(l, "patch_embed.pos_embedding", 3, (int[]){1, 3 + 3 * 4 * 6, 32});
    add(l, "time_embedding.linear_1", 2, 6, 32);
    add(l, "time_embedding.linear_2", 2, 6, 6);
    if (ofs) add(l, "ofs_embedding.linear_1", 2, 6, 6);
    if (ofs) add(l, "ofs_embedding.linear_2", 2, 6, 6);
    for (int i = 0; i < 2; i++) {
        static const struct {
            const char *name;
            int rank, rows, cols;
        } block[] = {{"norm1.linear", 2, 192, 6}, {"norm1.norm", 1, 32, 0},      {"attn1.norm_q", 1, 16, 0},
                     {"attn1.norm_k", 1, 16, 0},  {"attn1.to_q", 2, 32, 32},     {"attn1.to_k", 2, 32, 32},
                     {"attn1.to_v", 2, 32, 32},   {"attn1.to_out.0", 2, 32, 32}, {"norm2.linear", 2, 192, 6},
                     {"norm2.norm", 1, 32, 0},    {"ff.net.0.proj", 2, 128, 32}, {"ff.net.2", 2, 32, 128}};
        for (size_t k = 0; k < sizeof block / sizeof *block; k++) {
            snprintf(p, sizeof p, "transformer_blocks.%d.%s", i, block[k].name);
            add(l, p, block[k].rank, block[k].rows, block[k].cols);
        }
    }
    add(l, "norm_final", 1, 32);
    add(l, "norm_out.linear", 2, 64, 6);
    add(l, "norm_out.norm", 1, 32);
    add(l, "proj_out", 2, conv ? 16 : 32, 32);
    return l;
}

static int load_transformer(vdm_transformer *m, const list *l)
{
    list_write(l, "transformer");
    return vdm_transformer_load(m, path_of("transformer"), &err);
}

static bool same_values(const float *floats, const list *l, const char *name)
{
    const vdm_tensor *t = &l->tensors[list_find(l, name)];
    return floats && memcmp(floats, t->data, t->bytes) == 0;
}

static bool same_matrix(const vdm_matrix *m, const list *l, const char *name, int64_t rows, int64_t cols)
{
    const vdm_tensor *t = &l->tensors[list_find(l, name)];
    return m->data && m->dtype == t->dtype && m->rows == rows && m->cols == cols &&
           memcmp(m->data, t->data, t->bytes) == 0;
}

static void test_transformer(void)
{
    vdm_transformer m;
    put_configs();
    list *l = transformer_list(true, false, true, false);
    if (CHECK(load_transformer(&m, l) == 0, "%s", err.text)) {
        CHECK(same_matrix(&m.patch_proj.weight, l, "patch_embed.proj.weight", 32, 64), "patch_proj");
        CHECK(same_values(m.patch_proj.bias, l, "patch_embed.proj.bias"),
              "patch_bias = false acts in 1.0 alone");
        CHECK(same_matrix(&m.blocks[1].ff_down.weight, l, "transformer_blocks.1.ff.net.2.weight", 32, 128),
              "ff_down");
        CHECK(same_values(m.blocks[1].norm_k.beta, l, "transformer_blocks.1.attn1.norm_k.bias"), "norm_k");
        CHECK(same_values(m.blocks[0].norm[1].linear.bias, l, "transformer_blocks.0.norm2.linear.bias"),
              "norm2.linear");
        CHECK(same_matrix(&m.norm_out_linear.weight, l, "norm_out.linear.weight", 64, 6), "norm_out.linear");
        CHECK(same_values(m.norm_out.gamma, l, "norm_out.norm.weight"), "norm_out");
        CHECK(same_matrix(&m.ofs2.weight, l, "ofs_embedding.linear_2.weight", 6, 6) && !m.positions, "ofs");
    }
    vdm_transformer_free(&m);
    list_free(l);

    pair learned[] = {{"patch_size_t", "null"},
                      {"ofs_embed_dim", "null"},
                      {"use_learned_positional_embeddings", "true"},
                      {"patch_bias", "true"},
                      {NULL, NULL}};
    put_config(TRANSFORMER, learned);
    l = transformer_list(false, true, true, true);
    if (CHECK(load_transformer(&m, l) == 0, "%s", err.text)) {
        const vdm_tensor *t = &l->tensors[list_find(l, "patch_embed.pos_embedding")];
        float *wide = malloc((size_t)vdm_tensor_count(t) * sizeof *wide);
        vdm_widen(wide, t->data, t->dtype, vdm_tensor_count(t));
        CHECK(m.positions && memcmp(m.positions, wide, (size_t)vdm_tensor_count(t) * sizeof *wide) == 0,
              "positions");
        CHECK(same_matrix(&m.patch_proj.weight, l, "patch_embed.proj.weight", 32, 32),
              "a convolution as a matrix");
        vdm_transformer_free(&m);
        /* as diffusers saves them: in double */
        vdm_tensor *positions = &l->tensors[list_find(l, "patch_embed.pos_embedding")];
        int64_t n = vdm_tensor_count(positions);
        double *doubles = malloc((size_t)n * sizeof *doubles);
        for (int64_t i = 0; i < n; i++) doubles[i] = (double)wide[i];
        free((void *)(uintptr_t)positions->data);
        positions->data = doubles, positions->dtype = VDM_F64, positions->bytes = (size_t)n * sizeof *doubles;
        CHECK(load_transformer(&m, l) == 0 && m.positions &&
                  memcmp(m.positions, wide, (size_t)n * sizeof *wide) == 0,
              "positions in double: %s", err.text);
        free(wide);
    }
    vdm_transformer_free(&m);
    list_free(l);

    learned[2].value = learned[3].value = "false";
    put_config(TRANSFORMER, learned);
    l = transformer_list(false, true, false, false);
    CHECK(load_transformer(&m, l) == 0 && !m.patch_proj.bias, "without a patch bias: %s", err.text);
    vdm_transformer_free(&m);
    list_free(l);
    put_configs();
}

static void test_transformer_errors(void)
{
    static const char *const names[] = {"patch_embed.proj.bias", "transformer_blocks.1.attn1.to_v.weight",
                                        "proj_out.weight"};
    vdm_transformer m;
    char piece[200];
    for (int i = 0; i < 3; i++) {
        list *l = transformer_list(true, false, true, false);
        list_remove(l, names[i]);
        snprintf(piece, sizeof piece, "missing: '%s'", names[i]);
        CHECK(rejected(load_transformer(&m, l), piece), "%s is missing", names[i]);
        list_free(l);
    }
    list *l = transformer_list(true, false, true, false);
    add_named(l, "transformer_blocks.2.attn1.to_q.weight", 2, (int[]){32, 32});
    CHECK(rejected(load_transformer(&m, l),
                   "not known to this model: 'transformer_blocks.2.attn1.to_q.weight'"),
          "extra");
    list_free(l);

    l = transformer_list(true, false, true, false);
    vdm_tensor *t = &l->tensors[list_find(l, "patch_embed.proj.weight")];
    t->shape[0] = 64, t->shape[1] = 32;
    CHECK(rejected(load_transformer(&m, l), "'patch_embed.proj.weight': expected [32,64], found [64,32]"),
          "transposed");
    list_free(l);

    l = transformer_list(true, false, true, false);
    t = &l->tensors[list_find(l, "proj_out.weight")];
    t->dtype = VDM_I16; /* as wide as bf16 */
    CHECK(rejected(load_transformer(&m, l), "'proj_out.weight': expected F32, F16 or BF16, found I16"),
          "another type");
    list_free(l);

    /* three layers in the configuration, two in the file; and everything wrong at once */
    put_config(TRANSFORMER, (pair[]){{"num_layers", "3"}, {NULL, NULL}});
    l = transformer_list(true, false, true, false);
    CHECK(rejected(load_transformer(&m, l), "missing: 'transformer_blocks.2.norm1.linear.weight', "),
          "a block is missing");
    CHECK(strstr(err.text, " and 21 more"), "%s", err.text);
    add_named(l, "more", 1, (int[]){1});
    l->tensors[list_find(l, "norm_final.bias")].rank = 2;
    l->tensors[list_find(l, "norm_final.bias")].shape[1] = 1;
    CHECK(
        rejected(load_transformer(&m, l),
                 "and 21 more; not known to this model: 'more'; of another shape or type: 'norm_final.bias'"),
        "all of it in one sentence");
    list_free(l);
    put_configs();
    CHECK(m.blocks == NULL && m.small == NULL && m.file.tensors == NULL, "nothing is left behind");
    remove(path_of("transformer/diffusion_pytorch_model.safetensors"));
    CHECK(rejected(vdm_transformer_load(&m, path_of("transformer"), &err), "found neither"), "no weights");
}

/* ------------------------------------------------------------------------------------------------
 * The VAE of vae_keys */

static void add_resnet(list *l, const char *prefix, int in, int out, bool decoder)
{
    char p[96];
    for (int i = 1; i <= 2; i++) {
        int width = i == 1 ? in : out;
        snprintf(p, sizeof p, "%s.norm%d%s", prefix, i, decoder ? ".norm_layer" : "");
        add(l, p, 1, width);
        snprintf(p, sizeof p, "%s.norm%d.conv_y.conv", prefix, i);
        if (decoder) add(l, p, 5, width, 4, 1, 1, 1);
        snprintf(p, sizeof p, "%s.norm%d.conv_b.conv", prefix, i);
        if (decoder) add(l, p, 5, width, 4, 1, 1, 1);
        snprintf(p, sizeof p, "%s.conv%d.conv", prefix, i);
        add(l, p, 5, out, width, 3, 3, 3);
    }
    snprintf(p, sizeof p, "%s.conv_shortcut", prefix);
    if (in != out) add(l, p, 5, out, in, 1, 1, 1);
}

static list *vae_list(vdm_dtype dtype)
{
    list *l = calloc(1, sizeof *l);
    l->matrices = dtype;
    add(l, "encoder.conv_in.conv", 5, 4, 3, 3, 3, 3);
    add_resnet(l, "encoder.down_blocks.0.resnets.0", 4, 4, false);
    add(l, "encoder.down_blocks.0.downsamplers.0.conv", 4, 4, 4, 3, 3);
    add_resnet(l, "encoder.down_blocks.1.resnets.0", 4, 8, false);
    add_resnet(l, "encoder.mid_block.resnets.0", 8, 8, false);
    add_resnet(l, "encoder.mid_block.resnets.1", 8, 8, false);
    add(l, "encoder.norm_out", 1, 8);
    add(l, "encoder.conv_out.conv", 5, 8, 8, 3, 3, 3);
    add(l, "decoder.conv_in.conv", 5, 8, 4, 3, 3, 3);
    add_resnet(l, "decoder.mid_block.resnets.0", 8, 8, true);
    add_resnet(l, "decoder.mid_block.resnets.1", 8, 8, true);
    add_resnet(l, "decoder.up_blocks.0.resnets.0", 8, 8, true);
    add_resnet(l, "decoder.up_blocks.0.resnets.1", 8, 8, true);
    add(l, "decoder.up_blocks.0.upsamplers.0.conv", 4, 8, 8, 3, 3);
    add_resnet(l, "decoder.up_blocks.1.resnets.0", 8, 4, true);
    add_resnet(l, "decoder.up_blocks.1.resnets.1", 4, 4, true);
    add(l, "decoder.norm_out.norm_layer", 1, 4);
    add(l, "decoder.norm_out.conv_y.conv", 5, 4, 4, 1, 1, 1);
    add(l, "decoder.norm_out.conv_b.conv", 5, 4, 4, 1, 1, 1);
    add(l, "decoder.conv_out.conv", 5, 3, 4, 3, 3, 3);
    return l;
}

/* [out,in,taps] in the list, [taps,in,out] in the model. */
static bool same_conv(const vdm_conv *w, const list *l, const char *prefix, int out, int in, int kt, int k)
{
    char name[120];
    snprintf(name, sizeof name, "%s.weight", prefix);
    const vdm_tensor *t = &l->tensors[list_find(l, name)];
    size_t width = vdm_dtype_bytes(t->dtype), taps = (size_t)kt * (size_t)k * (size_t)k, ins = (size_t)in,
           outs = (size_t)out;
    if (w->in != in || w->out != out || w->kt != kt || w->k != k || w->weight.dtype != t->dtype) return false;
    if (w->weight.rows != (int64_t)(taps * ins) || w->weight.cols != out) return false;
    for (size_t o = 0; o < outs; o++)
        for (size_t i = 0; i < ins; i++)
            for (size_t p = 0; p < taps; p++)
                if (memcmp((const char *)w->weight.data + ((p * ins + i) * outs + o) * width,
                           (const char *)t->data + ((o * ins + i) * taps + p) * width, width) != 0)
                    return false;
    snprintf(name, sizeof name, "%s.bias", prefix);
    return same_values(w->bias, l, name);
}

static void test_vae(void)
{
    vdm_vae m;
    static const vdm_dtype dtypes[] = {VDM_F32, VDM_BF16};
    for (int i = 0; i < 2; i++) {
        list *l = vae_list(dtypes[i]);
        list_write(l, "vae");
        if (CHECK(vdm_vae_load(&m, path_of("vae"), &err) == 0, "%s", err.text)) {
            CHECK(same_conv(&m.encoder.conv_in, l, "encoder.conv_in.conv", 4, 3, 3, 3), "conv_in");
            CHECK(same_conv(&m.encoder.level[0].resample, l, "encoder.down_blocks.0.downsamplers.0.conv", 4,
                            4, 1, 3),
                  "down");
            CHECK(same_conv(&m.encoder.level[1].resnet[0].shortcut, l,
                            "encoder.down_blocks.1.resnets.0.conv_shortcut", 8, 4, 1, 1),
                  "shortcut");
            CHECK(same_conv(&m.encoder.level[1].resnet[0].conv1, l,
                            "encoder.down_blocks.1.resnets.0.conv1.conv", 8, 4, 3, 3),
                  "conv1");
            CHECK(same_conv(&m.decoder.level[0].resample, l, "decoder.up_blocks.0.upsamplers.0.conv", 8, 8, 1,
                            3),
                  "up");
            CHECK(same_conv(&m.decoder.level[1].resnet[1].norm2.b, l,
                            "decoder.up_blocks.1.resnets.1.norm2.conv_b.conv", 4, 4, 1, 1),
                  "conv_b");
            CHECK(same_conv(&m.decoder.conv_out, l, "decoder.conv_out.conv", 3, 4, 3, 3), "conv_out");
            CHECK(same_values(m.decoder.norm_out.norm.gamma, l, "decoder.norm_out.norm_layer.weight"),
                  "norm_out");
            CHECK(same_values(m.encoder.mid[1].norm2.norm.beta, l, "encoder.mid_block.resnets.1.norm2.bias"),
                  "mid");
            CHECK(m.encoder.level[0].resnets == 1 && m.decoder.level[1].resnets == 2, "resnets");
            CHECK(m.encoder.level[0].compress_time && !m.encoder.level[1].compress_time,
                  "the first block halves time");
            CHECK(m.encoder.mid[0].shortcut.in == 0 && m.encoder.norm_out.y.in == 0 &&
                      m.decoder.level[1].resample.in == 0 && m.quant.in == 0,
                  "what isn't there");
        }
        vdm_vae_free(&m);
        list_free(l);
    }
    list *l = vae_list(VDM_F32);
    list_remove(l, "decoder.norm_out.conv_y.conv.bias");
    vdm_tensor *t = &l->tensors[list_find(l, "encoder.conv_in.conv.weight")];
    t->shape[0] = 3, t->shape[1] = 4;
    add_named(l, "quant_conv.bias", 1, (int[]){8});
    list_write(l, "vae");
    CHECK(rejected(vdm_vae_load(&m, path_of("vae"), &err),
                   "missing: 'decoder.norm_out.conv_y.conv.bias'; not known to this model: "
                   "'quant_conv.bias'; of another shape or type: 'encoder.conv_in.conv.weight': "
                   "expected [4,3,3,3,3], found [3,4,3,3,3]"),
          "missing, extra and transposed");
    CHECK(m.memory == NULL, "nothing is left behind");
    list_free(l);
}

/* ------------------------------------------------------------------------------------------------
 * Memory, prompts, sizes */

/* Whichever request fails, the call says so; a sanitizer sees what it forgets to free. */
static void test_memory(void)
{
    list *l = transformer_list(true, false, true, false), *k = vae_list(VDM_BF16);
    char transformer[400], vae[400];
    snprintf(transformer, sizeof transformer, "%s", path_of("transformer"));
    snprintf(vae, sizeof vae, "%s", path_of("vae"));
    put_configs();
    list_write(l, "transformer");
    list_write(k, "vae");
    list_free(l);
    list_free(k);
    for (int which = 0; which < 3; which++) {
        int n = 0, status = -1;
        for (; status && n < 1000; n++) {
            vdm_transformer t;
            vdm_vae v;
            vdm_model_config c;
            fail_at = n + 1;
            status = which == 0   ? vdm_transformer_load(&t, transformer, &err)
                     : which == 1 ? vdm_vae_load(&v, vae, &err)
                                  : vdm_model_config_read(&c, check_folder(), &err);
            fail_at = 0;
            if (status && !CHECK(strstr(err.text, "no memory"), "request %d: %s", n, err.text)) break;
            if (status == 0 && which == 0) vdm_transformer_free(&t);
            if (status == 0 && which == 1) vdm_vae_free(&v);
        }
        CHECK(status == 0 && n > 5, "%d requests for memory", n);
    }
}

static void test_prompt(void)
{
    vdm_transformer_config c = {.text_tokens = 3, .text_dim = 5};
    float data[40], *text;
    check_random(data, 40, 1, 1);
    static const struct {
        int rank, shape[3];
        const char *piece;
    } cases[] = {
        {2, {3, 5, 0}, NULL},
        {3, {1, 3, 5}, NULL},
        {2, {2, 5, 0}, "found 2 tokens, this model takes exactly 3"},
        {3, {1, 8, 5}, "found 8 tokens"},
        {2, {5, 3, 0}, "expected [3,5], found [5,3]"},
        {3, {2, 3, 5}, "found [2,3,5]"},
        {1, {15, 0, 0}, "found [15]"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        vdm_tensor t = {.name = "prompt_embeds", .dtype = VDM_F32, .rank = cases[i].rank, .data = data};
        for (int k = 0; k < t.rank; k++) t.shape[k] = cases[i].shape[k];
        t.bytes = (size_t)vdm_tensor_count(&t) * 4;
        CHECK(vdm_safetensors_write(path_of("p.safetensors"), &t, 1, NULL, 0, &err) == 0, "%s", err.text);
        int status = vdm_prompt_read(&text, path_of("p.safetensors"), &c, &err);
        if (cases[i].piece)
            CHECK(rejected(status, cases[i].piece) && !text, "case %zu", i);
        else
            CHECK(status == 0 && memcmp(text, data, 60) == 0, "case %zu: %s", i, err.text);
        vdm_free(text);
    }
    vdm_tensor other = {
        .name = "embeds", .dtype = VDM_F32, .rank = 1, .shape = {1}, .data = data, .bytes = 4};
    CHECK(vdm_safetensors_write(path_of("p.safetensors"), &other, 1, NULL, 0, &err) == 0, "%s", err.text);
    CHECK(rejected(vdm_prompt_read(&text, path_of("p.safetensors"), &c, &err), "'prompt_embeds' is missing"),
          "no such tensor");
}

static void test_geometry(void)
{
    vdm_model_config c = {.transformer = {.patch = 2,
                                          .patch_t = 2,
                                          .rotary = true,
                                          .sample_height = 300,
                                          .sample_width = 300,
                                          .sample_frames = 81},
                          .vae = {.blocks = 4, .temporal_compression = 4}};
    vdm_geometry g;
    CHECK(vdm_geometry_init(&g, &c, 81, 768, 1360, &err) == 0, "%s", err.text);
    CHECK(g.latent_frames == 21 && g.pad == 1 && g.F == 22 && g.h == 96 && g.w == 170 &&
              g.video_tokens == 44880,
          "the 1.5 models");
    static const struct {
        int T, H, W;
        const char *piece;
    } bad[] = {
        {50, 480, 720, "frames: found 50, expected 8 k + 1; the nearest are 49 and 57"},
        {85, 480, 720, "the nearest are 81 and 89"},
        {0, 480, 720, "the nearest is 1"},
        {-2147483647 - 1, 480, 720, "the nearest is 1"},
        {2147483647, 480, 720, "the nearest is 1025"},
        {49, 484, 720, "height: found 484, expected a multiple of 16; the nearest are 480 and 496"},
        {49, 480, 8, "width: found 8, expected a multiple of 16; the nearest is 16"},
        {49, 480, 20000, "the nearest is 16384"},
        {49, 2416, 720, "at most 2400x2400"},
        {49, 480, 2416, "at most 2400x2400"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(rejected(vdm_geometry_init(&g, &c, bad[i].T, bad[i].H, bad[i].W, &err), bad[i].piece),
              "case %zu", i);
    c.transformer.patch_t = 0;
    CHECK(vdm_geometry_init(&g, &c, 49, 480, 720, &err) == 0 && g.F == 13 && g.pad == 0 &&
              g.video_tokens == 17550,
          "1.0");
    CHECK(vdm_geometry_init(&g, &c, 49, 4096, 16, &err) == 0, "1.0 stretches its positions: %s", err.text);
    CHECK(rejected(vdm_geometry_init(&g, &c, 1025, 16384, 16384, &err), "tokens"), "too many");
    c.transformer.learned_positions = true;
    c.transformer.sample_height = 60, c.transformer.sample_width = 90, c.transformer.sample_frames = 49;
    CHECK(vdm_geometry_init(&g, &c, 49, 480, 720, &err) == 0, "5b-I2V: %s", err.text);
    CHECK(rejected(vdm_geometry_init(&g, &c, 49, 720, 480, &err), "are for 480x720 only"), "turned");
    CHECK(vdm_geometry_init(&g, &c, 9, 480, 720, &err) == 0, "5b-I2V, shorter: %s", err.text);
}

int main(void)
{
    test_config_values();
    test_config_errors();
    test_config_keys();
    test_model_index();
    test_transformer();
    test_transformer_errors();
    test_vae();
    test_memory();
    test_prompt();
    test_geometry();
    return check_end("model");
}
