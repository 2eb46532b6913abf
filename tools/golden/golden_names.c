/* vdm golden --names: the names of the tensors that have no module of their own in PyTorch. */
#include "tools/golden/golden.h"

#include <stdio.h>

void golden_names(void)
{
    static const char *const lines[][2] = {
        {"x, text, t, ofs", "inputs of the transformer: [B,F,Cin,h,w], [B,L,Dt], [B], [1]"},
        {"rope.cos, rope.sin", "[V,Dh/2]: one element for a pair of neighbours (diffusers repeats it)"},
        {"positions", "[S,D]: added to the tokens, if positions are not (only) rotary"},
        {"time_proj, ofs_proj",
         "the sinusoids, cosines first; time_embedding, ofs_embedding: computed from them"},
        {"emb, emb.silu", "[B,E]: the sum of both embeddings; the input of every norm's linear"},
        {"patch_embed.patches", "[B,V,K]: tokens before their projection, the channel slowest in a patch"},
        {"patch_embed", "[B,S,D]: the first block's input"},
        {"BLOCK.norm1.shift, scale, gate",
         "[B,D]: chunks of norm1.linear, of the video; enc_...: of the text"},
        {"BLOCK.norm1.norm", "[B,S,D]: before modulation; norm1: after"},
        {"BLOCK.attn1.to_q.base_layer, .lora_A",
         "with an adapter: the layer without it; x A^T [B,S,R], not scaled"},
        {"BLOCK.attn1.norm_q, norm_k", "[B,S,A,Dh]"},
        {"BLOCK.attn1.rope_q, rope_k", "[B,S,A,Dh]: after the rotation; text rows unchanged"},
        {"BLOCK.attn1.attention", "[B,S,D]: heads side by side, before to_out.0"},
        {"BLOCK.h1", "[B,S,D]: after the attention half; BLOCK: the block's output"},
        {"BLOCK.ff.net.0.proj, ff.net.0", "[B,S,4D]: before and after GELU"},
        {"norm_final, norm_out, proj_out", "video rows only: [B,V,D], [B,V,K]"},
        {"v", "[B,F,C,h,w]: the velocity"},
        {"grad.NAME", "the loss's gradient by NAME: v, a block's output, a matrix of the adapter"},
        {"adapter.NAME", "the adapter that was given; step.K.adapter.NAME: after K steps"},
        {"step.K.adamw.m.NAME, .v.NAME", "the moments after K steps"},
        {"ids, encoder.block.I...", "text: token ids [L]; modules of T5EncoderModel, [L,width]"},
        {"encoder..., decoder...",
         "the VAE: channels-last [T,H,W,C]; with the prefix chunk.I. if there are several"},
        {"...norm1.norm_layer", "the decoder's group norm before it is modulated"},
        {"video, moments, latents",
         "the VAE's input and output: [T,3,H,W]; [F',2C,h,w], means, then log variances; [F',C,h,w]"},
        {"image, prompt, negative", "sampling: its inputs: [3,H,W], [L,Dt], [L,Dt]"},
        {"noise, image_noise, step_noise",
         "sampling: its random numbers: [F,C,h,w], [C,h,w], with the sampler dpm [steps,2,F,C,h,w]"},
        {"image_latents, velocity.K, latents.K",
         "sampling: latents of the image; guided velocity of step K, latents after it"},
        {"videos, images, t, pair, noise",
         "training: its inputs: [N,F,C,h,w], [N,C,h,w], [steps,B], [steps,B], [steps,B,F,C,h,w]"},
        {"step.K.target, loss, grad_norm, lr",
         "training: the expected velocities [B,F,C,h,w]; [1]: the norm is that before clipping"},
        {"step.K.NAME",
         "of step K; sampling: of the transformer, with guidance the negative prompt's video first"},
        {"step.K.batch.I.NAME", "training with --accumulate: of batch I of step K"},
        {"encode.NAME, decode.NAME", "sampling: of the VAE: the image's encoder, the answer's decoder"},
        {"tile.I.J.NAME", "--tiled: of the VAE, in row I and column J of the tiles"},
    };
    printf(
        "Names are PyTorch's module paths (the module's output). BLOCK is transformer_blocks.I. If a module "
        "returns\nvideo and text separately, they are one tensor here, text first. Without --only, "
        "sample\nwrites no tensor of the models (step., encode., decode.) but the first layer with an adapter, and train "
        "few\nof them; --only '*' writes all. Tensors that are not the output of a module, and prefixes:\n\n");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        printf("  %-38s %s\n", lines[i][0], lines[i][1]);
}
