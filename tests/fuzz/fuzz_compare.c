/* vdm compare: a reference of any tensors against one of them made wrong, and a map. */
#include "tests/fuzz/script.h"
#include "tools/commands/commands.h"

static const char *const compare_names[] = {"x",
                                            "t",
                                            "text",
                                            "time_proj",
                                            "ofs_proj",
                                            "ofs",
                                            "emb",
                                            "emb.silu",
                                            "time_embedding",
                                            "time_embedding.act",
                                            "time_embedding.linear_1",
                                            "patch_embed",
                                            "patch_embed.text_proj",
                                            "patch_embed.proj",
                                            "patch_embed.patches",
                                            "proj_out",
                                            "v",
                                            "norm_final",
                                            "norm_out",
                                            "norm_out.norm",
                                            "norm_out.shift",
                                            "norm_out.scale",
                                            "rope.cos",
                                            "rope.sin",
                                            "transformer_blocks.0",
                                            "transformer_blocks.1",
                                            "transformer_blocks.0.norm1",
                                            "transformer_blocks.0.norm1.norm",
                                            "transformer_blocks.0.norm1.shift",
                                            "transformer_blocks.0.norm1.scale",
                                            "transformer_blocks.0.norm1.gate",
                                            "transformer_blocks.0.norm1.enc_shift",
                                            "transformer_blocks.0.norm1.enc_scale",
                                            "transformer_blocks.0.norm1.enc_gate",
                                            "transformer_blocks.0.norm2.gate",
                                            "transformer_blocks.0.norm2.enc_gate",
                                            "transformer_blocks.0.h1",
                                            "transformer_blocks.0.ff",
                                            "transformer_blocks.0.ff.net.0",
                                            "transformer_blocks.0.ff.net.0.proj",
                                            "transformer_blocks.0.attn1.to_q",
                                            "transformer_blocks.0.attn1.to_k",
                                            "transformer_blocks.0.attn1.to_v",
                                            "transformer_blocks.0.attn1.to_q.base_layer",
                                            "transformer_blocks.0.attn1.norm_q",
                                            "transformer_blocks.0.attn1.norm_k",
                                            "transformer_blocks.0.attn1.rope_q",
                                            "transformer_blocks.0.attn1.rope_k",
                                            "transformer_blocks.0.attn1.attention",
                                            "transformer_blocks.0.attn1.to_out.0",
                                            "encoder.conv_in",
                                            "encoder.down_blocks.0.resnets.0.norm1",
                                            "encoder.down_blocks.0.resnets.0.conv1",
                                            "encoder.down_blocks.0.resnets.0.norm2",
                                            "encoder.norm_out",
                                            "decoder.conv_in",
                                            "decoder.mid_block.resnets.0.norm1.norm_layer",
                                            "video",
                                            "latents",
                                            "adapter.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                            "step.1.grad.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                            "step.1.adapter.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                            "step.1.adamw.m.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                            "step.1.adamw.v.transformer_blocks.0.attn1.to_q.lora_A.weight",
                                            "step.1.lr",
                                            "step.1.grad_norm"};
static const char *const compare_facts[] = {"text_tokens",  "heads",        "head_dim",     "layers",
                                            "patch",        "patch_t",      "out_channels", "groups",
                                            "norm_eps",     "lora_rank",    "lora_alpha",   "scaling_factor",
                                            "vae_norm_eps", "clip",         "lr",           "beta1",
                                            "beta2",        "weight_decay", "eps"};

static int compare_statuses[4]; /* how often vdm compare ended with each */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static script_file ref;
    char a[SCRIPT_PATH], b[SCRIPT_PATH], map[SCRIPT_PATH];
    script s = {.data = data, .size = size};
    enum {
        NAMES = sizeof compare_names / sizeof *compare_names,
        FACTS = sizeof compare_facts / sizeof *compare_facts
    };
    ref.count = ref.n_metadata = 0;
    int tensors = 1 + script_next(&s, SCRIPT_TENSORS), facts = script_next(&s, 8);
    for (int i = 0; i < facts; i++) script_fact(&ref, &s, compare_facts, FACTS);
    for (int i = 0; i < tensors; i++) script_tensor(&ref, &s, compare_names, NAMES);
    script_path(a, "a"), script_path(b, "b"), script_path(map, "map");
    script_fill(&ref, &s, 1);
    script_write(&ref, a);
    int wrong = ref.count ? script_next(&s, ref.count) : 0; /* this one alone is in the other file */
    if (ref.count) ref.tensors[0] = ref.tensors[wrong], ref.count = 1;
    script_fill(&ref, &s, 1.5f);
    script_write(&ref, b);
    char *words[] = {a, b, "--map", map};
    script_bytes(map, data + s.at, size - s.at);
    int status = command_compare(script_next(&s, 4) == 1 ? 4 : 2, words);
    if (status < 0 || status > 3) __builtin_trap();
    compare_statuses[status]++;
    script_remove(a), script_remove(b), script_remove(map);
    return 0;
}
