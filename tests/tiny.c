#include "tiny.h"
#include "check.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

enum { HEADS = 4, HEAD = 16, D = HEADS * HEAD, LAYERS = 2, TEXT = 5, TEXT_DIM = 24, TIME = 32 };

/* The tensors of one file as they are made. */
struct maker {
    vdm_tensor tensors[512];
    char names[512][96];
    int count;
    vdm_dtype dtype;
    uint32_t seed;
    int failed;
};

/* Uniform numbers about `centre`, in the maker's dtype. */
static void make(struct maker *m, float centre, float scale, int rank, const int *shape, const char *format,
                 ...)
{
    vdm_error err;
    if (m->failed || m->count == 512) {
        m->failed = 1;
        return;
    }
    vdm_tensor *t = &m->tensors[m->count];
    va_list args;
    va_start(args, format);
    vsnprintf(m->names[m->count], sizeof m->names[0], format, args);
    va_end(args);
    *t = (vdm_tensor){.name = m->names[m->count], .dtype = m->dtype, .rank = rank};
    for (int i = 0; i < rank; i++) t->shape[i] = shape[i];
    int64_t n = vdm_tensor_count(t);
    t->bytes = (size_t)n * vdm_dtype_bytes(m->dtype);
    float *x = vdm_alloc((size_t)n, sizeof(float), "a test's weights", &err);
    uint16_t *half = (uint16_t *)x;
    t->data = x;
    m->count++;
    if (!x) {
        m->failed = 1;
        return;
    }
    check_random(x, n, m->seed++, scale);
    for (int64_t i = 0; i < n; i++) {
        x[i] += centre;
        if (m->dtype == VDM_BF16) half[i] = vdm_to_bf16(x[i]);
        if (m->dtype == VDM_F16) half[i] = vdm_to_f16(x[i]);
    }
}

static void linear(struct maker *m, int out, int in, const char *name)
{
    make(m, 0, 1.7f / sqrtf((float)in), 2, (int[]){out, in}, "%s.weight", name);
    make(m, 0, 0.2f, 1, &out, "%s.bias", name);
}
static void norm(struct maker *m, int width, const char *name)
{
    make(m, 1, 0.3f, 1, &width, "%s.weight", name);
    make(m, 0, 0.2f, 1, &width, "%s.bias", name);
}
static void conv(struct maker *m, int out, int in, int kt, int k, const char *name)
{
    int five[] = {out, in, kt, k, k}, four[] = {out, in, k, k};
    make(m, 0, 1.7f / sqrtf((float)(in * (kt ? kt : 1) * k * k)), kt ? 5 : 4, kt ? five : four, "%s.weight",
         name);
    make(m, 0, 0.1f, 1, &out, "%s.bias", name);
}

static int finish(struct maker *m, const char *dir, const char *part, const char *file, const char *json,
                  vdm_error *err)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, part);
    mkdir(dir, 0777);
    mkdir(path, 0777);
    int status = m && m->failed ? vdm_fail(err, "tiny model: too many tensors") : 0;
    if (m && !status) {
        snprintf(path, sizeof path, "%s/%s/diffusion_pytorch_model.safetensors", dir, part);
        status = vdm_safetensors_write(path, m->tensors, m->count, NULL, 0, err);
    }
    for (int i = 0; m && i < m->count; i++) vdm_free((void *)(uintptr_t)m->tensors[i].data);
    vdm_file f;
    snprintf(path, sizeof path, "%s/%s/%s", dir, part, file);
    if (status || vdm_file_open(&f, path, err)) return -1;
    fputs(json, f.stream);
    return vdm_file_commit(&f, err);
}

static int write_transformer(const char *dir, tiny_variant v, vdm_dtype dtype, uint32_t seed, vdm_error *err)
{
    bool rotary = v != TINY_2B, learned = v == TINY_5B_I2V, t2 = v >= TINY_15, ofs = v == TINY_15_I2V;
    int in = v == TINY_5B_I2V || v == TINY_15_I2V ? 32 : 16, patch = t2 ? 8 : 4;
    static struct maker m; /* too large for the stack */
    m = (struct maker){.dtype = dtype, .seed = seed};
    if (t2)
        linear(&m, D, in * patch, "patch_embed.proj");
    else
        conv(&m, D, in, 0, 2, "patch_embed.proj");
    linear(&m, D, TEXT_DIM, "patch_embed.text_proj");
    if (learned) make(&m, 0, 0.5f, 3, (int[]){1, TEXT + 3 * 2 * 3, D}, "patch_embed.pos_embedding");
    linear(&m, TIME, D, "time_embedding.linear_1");
    linear(&m, TIME, TIME, "time_embedding.linear_2");
    if (ofs) linear(&m, TIME, TIME, "ofs_embedding.linear_1");
    if (ofs) linear(&m, TIME, TIME, "ofs_embedding.linear_2");
    for (int l = 0; l < LAYERS; l++) {
        char name[64];
        const struct {
            const char *name;
            int out, in; /* in 0: a norm */
        } parts[] = {
            {"norm1.linear", 6 * D, TIME}, {"norm1.norm", D, 0},        {"attn1.norm_q", HEAD, 0},
            {"attn1.norm_k", HEAD, 0},     {"attn1.to_q", D, D},        {"attn1.to_k", D, D},
            {"attn1.to_v", D, D},          {"attn1.to_out.0", D, D},    {"norm2.linear", 6 * D, TIME},
            {"norm2.norm", D, 0},          {"ff.net.0.proj", 4 * D, D}, {"ff.net.2", D, 4 * D}};
        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
            snprintf(name, sizeof name, "transformer_blocks.%d.%s", l, parts[i].name);
            if (parts[i].in)
                linear(&m, parts[i].out, parts[i].in, name);
            else
                norm(&m, parts[i].out, name);
        }
    }
    norm(&m, D, "norm_final");
    linear(&m, 2 * D, TIME, "norm_out.linear");
    norm(&m, D, "norm_out.norm");
    linear(&m, 16 * patch, D, "proj_out");
    char json[2048], ofs_dim[16];
    snprintf(ofs_dim, sizeof ofs_dim, ofs ? "%d" : "null", TIME);
    snprintf(
        json, sizeof json,
        "{\"_class_name\": \"CogVideoXTransformer3DModel\", \"activation_fn\": \"gelu-approximate\", "
        "\"attention_bias\": true, \"attention_head_dim\": %d, \"dropout\": 0.0, \"flip_sin_to_cos\": true, "
        "\"freq_shift\": 0, \"in_channels\": %d, \"max_text_seq_length\": %d, \"norm_elementwise_affine\": true, "
        "\"norm_eps\": 1e-05, \"num_attention_heads\": %d, \"num_layers\": %d, \"ofs_embed_dim\": %s, "
        "\"out_channels\": 16, \"patch_bias\": %s, \"patch_size\": 2, \"patch_size_t\": %s, "
        "\"sample_frames\": 9, \"sample_height\": 4, \"sample_width\": 6, "
        "\"spatial_interpolation_scale\": 1.875, \"temporal_compression_ratio\": 4, "
        "\"temporal_interpolation_scale\": 1.0, \"text_embed_dim\": %d, \"time_embed_dim\": %d, "
        "\"timestep_activation_fn\": \"silu\", \"use_learned_positional_embeddings\": %s, "
        "\"use_rotary_positional_embeddings\": %s}",
        HEAD, in, TEXT, HEADS, LAYERS, ofs_dim, t2 ? "false" : "true", t2 ? "2" : "null", TEXT_DIM, TIME,
        learned ? "true" : "false", rotary ? "true" : "false");
    return finish(&m, dir, "transformer", "config.json", json, err);
}

/* GroupNorm, or the decoder's SpatialNorm over 16 latent channels. */
static void vae_norm(struct maker *m, int width, bool spatial, const char *name)
{
    char part[96];
    snprintf(part, sizeof part, "%s%s", name, spatial ? ".norm_layer" : "");
    norm(m, width, part);
    snprintf(part, sizeof part, "%s.conv_y.conv", name);
    if (spatial) conv(m, width, 16, 1, 1, part);
    snprintf(part, sizeof part, "%s.conv_b.conv", name);
    if (spatial) conv(m, width, 16, 1, 1, part);
}
static void resnet(struct maker *m, int in, int out, bool spatial, const char *name)
{
    char part[96];
    for (int i = 1; i <= 2; i++) {
        snprintf(part, sizeof part, "%s.norm%d", name, i);
        vae_norm(m, i == 1 ? in : out, spatial, part);
        snprintf(part, sizeof part, "%s.conv%d.conv", name, i);
        conv(m, out, i == 1 ? in : out, 3, 3, part);
    }
    snprintf(part, sizeof part, "%s.conv_shortcut", name);
    if (in != out) conv(m, out, in, 1, 1, part);
}

static int write_vae(const char *dir, bool invert, vdm_dtype dtype, uint32_t seed, vdm_error *err)
{
    static const int widths[] = {8, 8, 16, 16};
    static struct maker m;
    char name[96];
    m = (struct maker){.dtype = dtype, .seed = seed};
    for (int decoder = 0; decoder < 2; decoder++) {
        const char *half = decoder ? "decoder" : "encoder", *way = decoder ? "up" : "down";
        int width = widths[decoder ? 3 : 0], last = widths[decoder ? 0 : 3];
        snprintf(name, sizeof name, "%s.conv_in.conv", half);
        conv(&m, width, decoder ? 16 : 3, 3, 3, name);
        for (int i = 0; i < 2; i++) {
            snprintf(name, sizeof name, "%s.mid_block.resnets.%d", half, i);
            resnet(&m, widths[3], widths[3], decoder, name);
        }
        for (int l = 0; l < 4; l++) {
            int out = widths[decoder ? 3 - l : l];
            for (int j = 0; j < 1 + decoder; j++) {
                snprintf(name, sizeof name, "%s.%s_blocks.%d.resnets.%d", half, way, l, j);
                resnet(&m, width, out, decoder, name);
                width = out;
            }
            snprintf(name, sizeof name, "%s.%s_blocks.%d.%ssamplers.0.conv", half, way, l, way);
            if (l < 3) conv(&m, out, out, 0, 3, name);
        }
        snprintf(name, sizeof name, "%s.norm_out", half);
        vae_norm(&m, last, decoder, name);
        snprintf(name, sizeof name, "%s.conv_out.conv", half);
        conv(&m, decoder ? 3 : 32, last, 3, 3, name);
    }
    char json[1024];
    snprintf(json, sizeof json,
             "{\"_class_name\": \"AutoencoderKLCogVideoX\", \"act_fn\": \"silu\", "
             "\"block_out_channels\": [8, 8, 16, 16], \"in_channels\": 3, \"invert_scale_latents\": %s, "
             "\"latent_channels\": 16, \"layers_per_block\": 1, \"norm_eps\": 1e-06, \"norm_num_groups\": 4, "
             "\"out_channels\": 3, \"sample_height\": 64, \"sample_width\": 96, \"scaling_factor\": 0.7, "
             "\"temporal_compression_ratio\": 4, \"use_post_quant_conv\": false, \"use_quant_conv\": false}",
             invert ? "true" : "false");
    return finish(&m, dir, "vae", "config.json", json, err);
}

int tiny_write(const char *dir, tiny_variant v, vdm_dtype dtype, uint32_t seed, vdm_error *err)
{
    static const char scheduler[] =
        "{\"_class_name\": \"CogVideoXDDIMScheduler\", \"beta_end\": 0.012, \"beta_schedule\": \"scaled_linear\", "
        "\"beta_start\": 0.00085, \"clip_sample\": false, \"num_train_timesteps\": 1000, "
        "\"prediction_type\": \"v_prediction\", \"rescale_betas_zero_snr\": true, \"set_alpha_to_one\": true, "
        "\"snr_shift_scale\": 1.0, \"steps_offset\": 0, \"timestep_spacing\": \"trailing\"}";
    return write_transformer(dir, v, dtype, seed, err) ||
                   write_vae(dir, v >= TINY_15, dtype, seed + 1000, err) ||
                   finish(NULL, dir, "scheduler", "scheduler_config.json", scheduler, err)
               ? -1
               : 0;
}

int tiny_write_views(const char *dir, int n, uint32_t seed, vdm_error *err)
{
    enum { TOKENS = 5, WIDTH = 24 };
    float numbers[8 * TOKENS * WIDTH];
    vdm_tensor t = {.name = (char *)"view_embeds",
                    .dtype = VDM_F32,
                    .rank = 3,
                    .shape = {n, TOKENS, WIDTH},
                    .data = numbers,
                    .bytes = (size_t)n * TOKENS * WIDTH * sizeof(float)};
    check_random(numbers, n * TOKENS * WIDTH, seed, 1);
    char *path = vdm_path(dir, "view_embeds.safetensors", err);
    int status = path ? vdm_safetensors_write(path, &t, 1, NULL, 0, err) : -1;
    vdm_free(path);
    return status;
}
