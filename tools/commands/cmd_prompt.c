/* vdm prompt: writes the embedding of a prompt, by the model's own text encoder, as a file for --prompt-embeds. */
#include "tools/commands/commands.h"
#include "tools/messages.h"
#include "tools/run/console.h"
#include "tools/run/paths.h"
#include "tools/run/model_session.h"
#include "tools/run/prompts.h"

static int write_prompt(const options *o, const vdm_transformer_config *c, const vdm_cpu *cpu, vdm_error *err)
{
    const char *text = o->operands[0], *const metadata[][2] = {{"prompt", clean(text)}};
    vdm_tensor t = {
        .name = "prompt_embeds", .dtype = VDM_F32, .rank = 3, .shape = {1, c->text_tokens, c->text_dim}};
    float *embeds = NULL;
    int status = encode_prompts(&embeds, &text, 1, o->model, c, cpu, err);
    t.data = embeds;
    t.bytes = (size_t)c->text_tokens * (size_t)c->text_dim * sizeof *embeds;
    if (!status) status = vdm_safetensors_write(o->output, &t, 1, metadata, 1, err);
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
    if (vdm_model_config_read(&config, o.model, &err) ||
        paths_check_command(&o, PROMPT, PROMPT_TENSORS, &err) || vdm_cpu_init(&cpu, o.threads, &err))
        return fail(&err);
    cpu.precision = precision_of(&o);
    status = write_prompt(&o, &config.transformer, &cpu, &err);
    vdm_cpu_free(&cpu);
    return status ? fail(&err) : DONE;
}
