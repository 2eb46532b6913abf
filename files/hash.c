/* Hashes of arrays, tensors and models. */
#include "files/hash.h"

#include <string.h>

uint64_t vdm_hash(uint64_t h, const void *data, size_t count, size_t width)
{
    const uint16_t one = 1;
    const unsigned char *p = data;
    size_t flip = *(const unsigned char *)&one == 1 ? 0 : width - 1; /* k ^ flip: width is a power of two */
    for (size_t i = 0; i < count; i++, p += width)
        for (size_t k = 0; k < width; k++) h = vdm_hash_step(h, p[k ^ flip]);
    return h;
}

uint64_t vdm_hash_model(const vdm_transformer *m)
{
    const vdm_transformer_config *c = &m->config;
    int32_t sizes[] = {c->layers, c->heads,   c->head_dim,   c->in_channels,
                       c->patch,  c->patch_t, c->text_tokens};
    uint64_t h = vdm_hash(VDM_HASH_START, sizes, sizeof sizes / sizeof *sizes, sizeof *sizes);
    for (int64_t i = 0; i < m->file.count; i++) {
        const vdm_tensor *t = &m->file.tensors[i];
        size_t width = vdm_dtype_bytes(t->dtype);
        h = vdm_hash(h, t->name, strlen(t->name), 1);
        h = vdm_hash(h, t->shape, (size_t)t->rank, sizeof t->shape[0]);
        h = vdm_hash(h, t->data, (t->bytes < 4096 ? t->bytes : 4096) / width, width);
    }
    return h;
}

uint64_t vdm_hash_tensor(uint64_t h, const vdm_tensor *t)
{
    size_t width = vdm_dtype_bytes(t->dtype);
    if (!width) width = 1; /* elements that share bytes */
    const unsigned char *p = t->data;
    for (const char *c = t->name; *c; c++) h = vdm_hash_step(h, (unsigned char)*c);
    for (int i = 0; i < t->rank; i++) h = vdm_hash_step(h, (uint64_t)t->shape[i]);
    for (size_t i = 0; i + width <= t->bytes; i += width) {
        uint64_t value = 0;
        uint16_t two;
        uint32_t four;
        if (width == 1) value = p[i];
        if (width == 2) memcpy(&two, p + i, 2), value = two;
        if (width == 4) memcpy(&four, p + i, 4), value = four;
        if (width == 8) memcpy(&value, p + i, 8);
        h = vdm_hash_step(h, value);
    }
    return h;
}

uint64_t vdm_hash_whole_model(const vdm_transformer *m, const vdm_schedule *s)
{
    const vdm_transformer_config *c = &m->config;
    const double numbers[] = {c->patch,          c->patch_t,       c->heads,          c->ofs_dim,
                              c->rotary,         c->sample_frames, c->sample_height,  c->sample_width,
                              c->spatial_scale,  c->norm_eps,      c->temporal_scale, c->freq_shift,
                              c->flip_sin_to_cos};
    uint64_t h = vdm_hash(VDM_HASH_START, numbers, sizeof numbers / sizeof *numbers, sizeof *numbers);
    h = vdm_hash(h, s->alphas, (size_t)s->config.train_timesteps, sizeof *s->alphas);
    for (int64_t i = 0; i < m->file.count; i++) h = vdm_hash_tensor(h, &m->file.tensors[i]);
    return h;
}

uint64_t vdm_hash_prompt(const float *text, const vdm_transformer_config *c)
{
    return vdm_hash(VDM_HASH_START, text, (size_t)c->text_tokens * (size_t)c->text_dim, sizeof *text);
}

/* ------------------------------------------------------------------------------------------------
 * A VAE: its configuration, and the layers as they are in memory */

static uint64_t hash_vector(uint64_t h, const float *x, int n)
{
    return vdm_hash_tensor(h, &(vdm_tensor){.name = "",
                                            .dtype = VDM_F32,
                                            .rank = 1,
                                            .shape = {n},
                                            .data = x,
                                            .bytes = (size_t)n * sizeof *x});
}

static uint64_t hash_conv(uint64_t h, const vdm_conv *c)
{
    const vdm_matrix *w = &c->weight;
    if (!c->in) return vdm_hash_step(h, 0); /* this VAE does not have the layer */
    h = vdm_hash_tensor(h, &(vdm_tensor){.name = "",
                                         .dtype = w->dtype,
                                         .rank = 4,
                                         .shape = {c->kt, c->k, c->in, c->out},
                                         .data = w->data,
                                         .bytes = (size_t)(w->rows * w->cols) * vdm_dtype_bytes(w->dtype)});
    return hash_vector(h, c->bias, c->out);
}

static uint64_t hash_vae_norm(uint64_t h, const vdm_vae_norm *n, int channels)
{
    h = hash_vector(hash_vector(h, n->norm.gamma, channels), n->norm.beta, channels);
    return hash_conv(hash_conv(h, &n->y), &n->b);
}

static uint64_t hash_resnet(uint64_t h, const vdm_resnet *r)
{
    h = hash_vae_norm(h, &r->norm1, r->conv1.in);
    h = hash_vae_norm(h, &r->norm2, r->conv2.in);
    return hash_conv(hash_conv(hash_conv(h, &r->conv1), &r->conv2), &r->shortcut);
}

static uint64_t hash_half(uint64_t h, const vdm_vae_half *half, int levels)
{
    h = hash_conv(hash_conv(h, &half->conv_in), &half->conv_out);
    for (int i = 0; i < 2; i++) h = hash_resnet(h, &half->mid[i]);
    for (int i = 0; i < levels; i++) {
        const struct vdm_vae_level *level = &half->level[i];
        for (int k = 0; k < level->resnets; k++) h = hash_resnet(h, &level->resnet[k]);
        h = hash_conv(h, &level->resample);
    }
    return hash_vae_norm(h, &half->norm_out, half->conv_out.in);
}

uint64_t vdm_hash_vae(const vdm_vae *m)
{
    const vdm_vae_config *c = &m->config;
    const double numbers[] = {c->channels,
                              c->latent_channels,
                              c->blocks,
                              c->groups,
                              c->sample_height,
                              c->sample_width,
                              c->norm_eps,
                              c->scaling_factor,
                              c->temporal_compression,
                              c->quant_conv,
                              c->post_quant_conv,
                              c->layers_per_block,
                              c->invert_scale_latents};
    uint64_t h = vdm_hash(VDM_HASH_START, numbers, sizeof numbers / sizeof *numbers, sizeof *numbers);
    h = hash_half(hash_half(h, &m->encoder, c->blocks), &m->decoder, c->blocks);
    return hash_conv(hash_conv(h, &m->quant), &m->post_quant);
}
