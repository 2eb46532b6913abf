/* vdm prompt: the embedding of a prompt, by the model's own text encoder, as a file for --prompt-embeds; and
 * the same for the commands that take --prompt. */
#include "tool.h"

#include <string.h>
#include <sys/stat.h>

bool has_text_encoder(const char *model)
{
    vdm_error ignored;
    struct stat st;
    char *path = vdm_path(model, "text_encoder", &ignored);
    bool there = path && stat(path, &st) == 0;
    vdm_free(path);
    return there;
}

/* One text -> [L,Dt] */
static int encode(float **to, const char *text, const vdm_tokenizer *tokenizer,
                  const vdm_text_encoder *encoder, int L, const vdm_cpu *cpu, vdm_error *err)
{
    console c;
    vdm_progress progress = console_progress(&c);
    int32_t *ids = vdm_alloc((size_t)L, sizeof *ids, "a prompt", err);
    float *found =
        ids ? vdm_alloc((size_t)L * (size_t)encoder->config.width, sizeof *found, "a prompt", err) : NULL;
    int status = !found || vdm_tokenize(tokenizer, text, ids, L, err) ||
                         vdm_text_encode(encoder, cpu, ids, L, found, &progress, err)
                     ? -1
                     : 0;
    console_end(&c);
    vdm_free(ids);
    if (status)
        vdm_free(found);
    else
        *to = found;
    return status;
}

static int encode_all(float **to, const char *const *texts, int n, const vdm_tokenizer *tokenizer,
                      const char *folder, const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err)
{
    vdm_text_encoder encoder;
    if (vdm_text_encoder_load(&encoder, folder, err)) return -1;
    int status = 0;
    if (encoder.config.width != c->text_dim)
        status = vdm_fail(err, "%s/config.json: d_model: found %d, the transformer takes embeddings of %d",
                          folder, encoder.config.width, c->text_dim);
    for (int i = 0; i < n && !status; i++)
        if (texts[i]) status = encode(&to[i], texts[i], tokenizer, &encoder, c->text_tokens, cpu, err);
    vdm_text_encoder_free(&encoder);
    return status;
}

int encode_prompts(float **to, const char *const *texts, int n, const char *model,
                   const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err)
{
    if (!has_text_encoder(model))
        return vdm_fail(err, "%s: this model has no text_encoder/: expected an embedding, by --prompt-embeds",
                        model);
    char *tokens = vdm_path(model, "tokenizer", err),
         *folder = tokens ? vdm_path(model, "text_encoder", err) : NULL;
    vdm_tokenizer *tokenizer = folder ? vdm_tokenizer_load(tokens, err) : NULL;
    int status = tokenizer ? encode_all(to, texts, n, tokenizer, folder, c, cpu, err) : -1;
    vdm_tokenizer_free(tokenizer);
    vdm_free(tokens), vdm_free(folder);
    return status;
}

static int write_prompt(const options *o, const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err)
{
    const char *text = o->operands[0], *const metadata[][2] = {{"prompt", text}};
    vdm_tensor t = {
        .name = "prompt_embeds", .dtype = VDM_F32, .rank = 3, .shape = {1, c->text_tokens, c->text_dim}};
    float *embeds = NULL;
    if (encode_prompts(&embeds, &text, 1, o->model, c, cpu, err)) return -1;
    t.data = embeds;
    t.bytes = (size_t)c->text_tokens * (size_t)c->text_dim * sizeof *embeds;
    int status = vdm_safetensors_write(o->output, &t, 1, metadata, 1, err);
    vdm_free(embeds);
    return status;
}

int command_prompt(int argc, char **argv)
{
    options o;
    vdm_error err;
    vdm_model_config config;
    vdm_cpu cpu;
    int status = options_read(&o, PROMPT, argc, argv);
    if (status) return status < 0 ? DONE : status;
    if (o.n_operands != 1)
        return misuse("prompt: expected one TEXT, in quotes, found %d words", o.n_operands);
    if (!o.output) return misuse("prompt: expected -o FILE.safetensors");
    console_watch_signals();
    if (vdm_model_config_read(&config, o.model, &err) || writable(o.output, &err) ||
        vdm_cpu_init(&cpu, o.threads, &err))
        return fail(&err);
    cpu.precision = precision_of(&o);
    status = write_prompt(&o, &config.transformer, &cpu, &err);
    vdm_cpu_free(&cpu);
    return status ? fail(&err) : DONE;
}
