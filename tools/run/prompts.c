/* Prompts through the model's own text encoder: text -> ids [L] -> embedding [L,Dt]. */
#include "tools/run/prompts.h"
#include "tools/messages.h"
#include "tools/run/console.h"
#include "tools/run/file_checks.h"

bool has_text_encoder(const char *model)
{
    return has(model, "text_encoder/config.json") &&
           (has(model, "tokenizer/spiece.model") || has(model, "tokenizer/tokenizer.json"));
}

int no_text_encoder(const char *what, const char *model, vdm_error *err)
{
    return vdm_fail(
        err, "%s: expected the model's text encoder; in %s there is no %s; --prompt-embeds needs none", what,
        model,
        has(model, "text_encoder/config.json") ? "tokenizer/spiece.model or tokenizer/tokenizer.json"
                                               : "text_encoder/config.json");
}

int prompt_report_cut(const vdm_tokenizer *t, const char *text, int L, vdm_error *err)
{
    int n = vdm_token_count(t, text, err);
    if (n > L)
        fprintf(stderr, "prompt '%.40s...': cut after %d of %d tokens, the model's maximum\n", clean(text), L,
                n);
    return n < 0 ? -1 : 0;
}

/* texts [n] -> ids [n,L]; NULL: its ids stay zeros */
static int tokenize(int32_t *ids, const char *const *texts, int n, const char *model, int L, vdm_error *err)
{
    char *folder = vdm_path(model, "tokenizer", err);
    vdm_tokenizer *t = folder ? vdm_tokenizer_load(folder, err) : NULL;
    int status = t ? 0 : -1;
    for (int i = 0; i < n && !status; i++)
        if (texts[i])
            status = prompt_report_cut(t, texts[i], L, err) ||
                             vdm_tokenize(t, texts[i], ids + (int64_t)i * L, L, err)
                         ? -1
                         : 0;
    vdm_tokenizer_free(t);
    vdm_free(folder);
    return status;
}

/* ids [L] -> [L,Dt] */
static int encode(float **to, const int32_t *ids, int L, const vdm_text_encoder *m, const vdm_cpu *cpu,
                  vdm_error *err)
{
    console c;
    vdm_progress progress = console_progress(&c);
    *to = vdm_alloc((size_t)L * (size_t)m->config.width, sizeof **to, "the prompt's embedding", err);
    int status = *to ? vdm_text_encode(m, cpu, ids, L, *to, &progress, err) : -1;
    console_end(&c);
    return status;
}

static int encode_all(float **to, const char *const *texts, int n, const int32_t *ids, const char *model,
                      const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err)
{
    vdm_text_encoder m = {0};
    char *folder = vdm_path(model, "text_encoder", err);
    int L = c->text_tokens, status = folder ? vdm_text_encoder_load(&m, folder, err) : -1;
    if (!status && m.config.width != c->text_dim)
        status = vdm_fail(err, "%s/config.json: d_model: found %d, the transformer takes embeddings of %d",
                          folder, m.config.width, c->text_dim);
    for (int i = 0; i < n && !status; i++)
        if (texts[i]) status = encode(&to[i], ids + (int64_t)i * L, L, &m, cpu, err);
    vdm_text_encoder_free(&m);
    vdm_free(folder);
    return status;
}

int encode_prompts(float **to, const char *const *texts, int n, const char *model,
                   const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err)
{
    if (!has_text_encoder(model)) return no_text_encoder("prompt", model, err);
    for (int i = 0; i < n; i++)
        if (texts[i] && check_utf8(texts[i], err)) return -1;
    int32_t *ids = vdm_alloc((size_t)n * (size_t)c->text_tokens, sizeof *ids, "a prompt", err);
    int status = ids ? tokenize(ids, texts, n, model, c->text_tokens, err) : -1;
    if (!status) status = encode_all(to, texts, n, ids, model, c, cpu, err);
    vdm_free(ids);
    return status;
}
