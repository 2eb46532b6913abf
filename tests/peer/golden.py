"""vdm golden against diffusers through python/torch_hooks.py, as a port would be checked: every tensor of the
transformer of each variant, of the VAE both ways, of learning, must pass `vdm compare`; then mistakes are planted
in copies of the diffusers model, and compare must name the first tensor that is wrong and, for most, the mistake."""

import copy
import re
import subprocess
import sys
import types
from unittest import mock

import torch
import torch.nn.functional as F
from diffusers.models import embeddings
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from common import ROOT, VARIANTS, Cases, add_lora, options, sample, save, save_lora, scheduler, transformer, vae
from common import lora_parameters, vdm

sys.path.insert(0, str(ROOT / "python"))
import torch_hooks  # noqa: E402

SIZE = ("--size", "64x96")
SMALL = dict(num_attention_heads=3, sample_height=8, sample_width=12, sample_frames=9)
ENOUGH = 9  # causes that have to be found


def golden(c, folder, name, *words):
    path = c.folder / f"{name}.golden.safetensors"
    subprocess.run([vdm(), "golden", folder, "-o", path, "--threads", "1", *map(str, words)], check=True)
    return path


def compare(reference, tensors, *words):
    """Exit status, the first wrong tensor, the cause, all output."""
    other = reference.with_suffix(".other")
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, other)
    done = subprocess.run([vdm(), "compare", reference, other, *words], capture_output=True, text=True)
    output = done.stdout + done.stderr
    first, cause = (re.search(rf"{what}: (.*)", output) for what in ("first to differ", "cause"))
    return done.returncode, first and first[1], cause and cause[1], output


def what_of(reference):
    with safe_open(reference, "pt") as f:
        return f.metadata()["what"]


def passes(c, what, reference, tensors, missing=0):
    status, first, cause, output = compare(reference, tensors)
    counts = re.search(r"(\d+) of (\d+) tensors compared: (\d+) agree.*; (\d+) are missing", output)
    c.check(what, status == 0 and int(counts[4]) <= missing, counts[0] if counts and status == 0 else output)


def hooked(model, reference):
    with torch.no_grad():
        return torch_hooks.run(model, load_file(reference), what_of(reference), torch.float32).tensors


# ---- What is right


def check_variants(c):
    for variant in VARIANTS:
        model = transformer(variant, c.rng, **SMALL)
        folder = save(c.folder / variant, model, dtype=torch.bfloat16)
        reference = golden(c, folder, variant, *SIZE, "--batch", 2)
        missing = 0 if model.config.use_rotary_positional_embeddings and not model.config.use_learned_positional_embeddings else 1
        passes(c, f"golden: transformer of {variant}", reference, hooked(model, reference), missing)  # positions


def check_vae(c, coder, folder):
    for what, frames in (("vae-encode", 9), ("vae-encode", 17), ("vae-decode", 9), ("vae-decode", 17)):
        reference = golden(c, folder, f"{what}-{frames}", "--what", what, "--size", "32x48", "--frames", frames)
        passes(c, f"golden: {what}, {frames} frames", reference, hooked(coder, reference))


def learn(model, data, steps, lr=1e-4, clip=1.0, decay=1e-4):
    """The trainers' loop on a golden's inputs, with what it shows in its first step and leaves after the first and the
    last, in the dtype that the model has."""
    dtype = next(model.parameters()).dtype
    data = {k: v.to(dtype) if k != "t" else v for k, v in data.items()}
    alphas, params, out = scheduler().alphas_cumprod.to(dtype), lora_parameters(model), {}
    [p.requires_grad_(True) for p in params.values()]
    adam = torch.optim.AdamW(params.values(), lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=decay)
    for step in range(steps):
        z, c, t = data["videos"][data["pair"][step].long()], data["images"][data["pair"][step].long()], data["t"][step]
        a = alphas[t.long()][:, None, None, None, None]
        noise, condition = data["noise"][step], torch.zeros_like(z)
        condition[:, 0] = c
        x = torch.cat([a.sqrt() * z + (1 - a).sqrt() * noise, condition], 2)
        target = a.sqrt() * noise - (1 - a).sqrt() * z
        with torch_hooks.Hooks(model) as h:
            v = torch_hooks.forward(model, x, data["text"].expand(len(z), -1, -1), t)
        loss = (v - target).square().mean()
        adam.zero_grad()
        loss.backward()
        h.gradients()
        norm = torch.nn.utils.clip_grad_norm_(params.values(), clip)
        adam.step()
        out |= {f"step.{step + 1}.{k}": x for k, x in (*h.tensors.items(), ("target", target))}
        out |= {f"step.{step + 1}.loss": loss[None], f"step.{step + 1}.grad_norm": norm[None]}
        for name, p in params.items() if step in (0, steps - 1) else ():
            name, state = name.removeprefix("transformer."), adam.state[p]
            left = {"adapter": p, "adamw.m": state["exp_avg"], "adamw.v": state["exp_avg_sq"]}
            out |= {f"step.{step + 1}.{kind}.{name}": x.detach().clone() for kind, x in left.items()}
    return data | out


def check_learning(c, model, folder, adapter):
    reference = golden(c, folder, "train", "--what", "train", *SIZE, "--batch", 2, "--lora", adapter)
    with safe_open(reference, "pt") as f:
        facts = f.metadata()
    lr, clip, decay = (float(facts[name]) for name in ("lr", "clip", "weight_decay"))
    tensors = learn(copy.deepcopy(model), load_file(reference), 3, lr, clip, decay)
    tensors |= {f"step.{k}.lr": torch.tensor([lr]) for k in (1, 2, 3)}
    passes(c, "golden: three steps of learning", reference, tensors)


def check_sampling(c, model, coder, folder):
    reference = golden(c, folder, "sample", "--what", "sample", *SIZE, "--sample-steps", 4, "--sampler", "ddim")
    inputs, call = load_file(reference), dict(num_inference_steps=4, guidance_scale=6.0, use_dynamic_cfg=False)
    tensors = inputs | sample(model, coder, scheduler(), inputs, 9, **call)
    passes(c, "golden: four steps of sampling", reference, tensors, missing=4)  # velocity.K
    # the image's latents times 0.7, expected 1/0.7
    coder.register_to_config(invert_scale_latents=False)
    wrong = inputs | sample(model, coder, scheduler(), inputs, 9, **call)
    coder.register_to_config(invert_scale_latents=True)
    return reference, wrong


# ---- What is wrong: (name, mistake, first wrong tensor, words of the cause)

BLOCK = "transformer_blocks.1"


def quiet_model(c):
    """Small activations in front of the norms, so that their eps counts: (model with an adapter, folder, adapter)."""
    model = transformer("1.5-5B-I2V", c.rng, **SMALL)
    embed, blocks = model.patch_embed, model.transformer_blocks
    for linear in (embed.proj, embed.text_proj, *(x for b in blocks for x in (b.attn1.to_q, b.attn1.to_out[0], b.ff.net[2]))):
        [p.data.mul_(0.1) for p in linear.parameters()]
    folder = save(c.folder / "quiet", model)
    add_lora(model, 3, 6, c.rng)
    for name, p in lora_parameters(model).items():
        if "lora_B" in name:
            p.data.mul_(0.02)
    return model, folder, save_lora(model, c.folder)


def method(module, forward):
    module.forward = types.MethodType(forward, module)


def sines_first(m):
    m.time_proj.flip_sin_to_cos = False


def later(m):
    method(m.time_proj, lambda self, t: type(self).forward(self, t + 1))


def swap_shift_scale(m):
    def forward(self, x, text, temb):
        scale, shift, gate, enc_scale, enc_shift, enc_gate = self.linear(self.silu(temb)).chunk(6, dim=1)
        x = self.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]
        text = self.norm(text) * (1 + enc_scale)[:, None, :] + enc_shift[:, None, :]
        return x, text, gate[:, None, :], enc_gate[:, None, :]

    method(m.transformer_blocks[1].norm1, forward)


def text_chunks_first(m):
    def forward(self, x, text, temb):
        enc_shift, enc_scale, enc_gate, shift, scale, gate = self.linear(self.silu(temb)).chunk(6, dim=1)
        x = self.norm(x) * (1 + scale)[:, None, :] + shift[:, None, :]
        text = self.norm(text) * (1 + enc_scale)[:, None, :] + enc_shift[:, None, :]
        return x, text, gate[:, None, :], enc_gate[:, None, :]

    method(m.transformer_blocks[1].norm2, forward)


def patches_channel_last(m):
    def forward(self, text, x):
        B, T, C, h, w = x.shape
        p, pt = self.patch_size, self.patch_size_t
        x = x.permute(0, 1, 3, 4, 2).reshape(B, T // pt, pt, h // p, p, w // p, p, C)
        x = x.permute(0, 1, 3, 5, 2, 4, 6, 7).flatten(4, 7).flatten(1, 3)
        return torch.cat([self.text_proj(text), self.proj(x)], 1)

    method(m.patch_embed, forward)


def narrow_eps(m):
    m.transformer_blocks[1].attn1.norm_q.eps = 1e-5


def block_eps(m):
    m.transformer_blocks[1].norm2.norm.eps = 1e-6


def rounded(m):
    m.transformer_blocks[1].attn1.to_k.register_forward_hook(lambda m, a, y: y.bfloat16().float())


def exact_gelu(m):
    m.transformer_blocks[1].ff.net[0].approximate = "none"


def no_gate(m):
    m.transformer_blocks[1].norm1.register_forward_hook(lambda m, a, y: (y[0], y[1], 1.0, 1.0))


def no_norm_final(m):
    m.norm_final = torch.nn.Identity()


def alpha_forgotten(m):
    m.transformer_blocks[1].attn1.to_v.scaling["default"] = 1.0


def heads_inside(m):
    def before(to_out, args):
        return (args[0].unflatten(-1, (SMALL["num_attention_heads"], -1)).transpose(-1, -2).flatten(-2),)

    m.transformer_blocks[1].attn1.to_out[0].register_forward_pre_hook(before)


def transposed(m):
    w = m.transformer_blocks[1].attn1.to_out[0].base_layer.weight
    w.data = w.data.T.contiguous()


def no_bias(m):
    m.transformer_blocks[1].attn1.to_k.base_layer.bias.data.zero_()


def halves(x, tables, **_):
    cos, sin = (torch.cat([t[:, ::2]] * 2, -1)[None, None] for t in tables)
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], -1) * sin


def swapped(x, tables, **_):
    return embeddings_rotate(x, tables[::-1])


embeddings_rotate = embeddings.apply_rotary_emb
attend = F.scaled_dot_product_attention
rotation = lambda f: mock.patch("diffusers.models.embeddings.apply_rotary_emb", f)  # noqa: E731
attention = lambda f: mock.patch("torch.nn.functional.scaled_dot_product_attention", f)  # noqa: E731


def causal(q, k, v, **_):
    return attend(q, k, v, is_causal=True)


def unscaled(q, k, v, **_):
    return attend(q, k, v, scale=1.0)


def text_masked(q, k, v, **_):
    seen = torch.arange(k.shape[2]) >= 10
    return attend(q, k, v, attn_mask=seen[None].expand(q.shape[2], -1))


MISTAKES = [
    ("sin/cos of the timestep swapped", sines_first, "time_proj", "sin/cos"),
    ("t + 1", later, "time_proj", "t \\+ 1"),
    ("shift and scale swapped", swap_shift_scale, f"{BLOCK}.norm1", "shift/scale"),
    ("the text's chunks first", text_chunks_first, f"{BLOCK}.norm2", "text's and the video's modulation"),
    ("patch order", patches_channel_last, "patch_embed.patches", "patch order.*\\[token,frame,row,column,channel\\]"),
    ("eps of norm_q", narrow_eps, f"{BLOCK}.attn1.norm_q", "eps is 1e-05"),
    ("eps of norm2", block_eps, f"{BLOCK}.norm2.norm", "eps is 1e-06"),
    ("to_k in bf16", rounded, f"{BLOCK}.attn1.to_k", "bf16-rounded"),
    ("GELU without tanh", exact_gelu, f"{BLOCK}.ff.net.0", "exact GELU"),
    ("no gate", no_gate, f"{BLOCK}.h1", "gate of the attention is forgotten"),
    ("no norm_final", no_norm_final, "norm_final", "norm_final is forgotten"),
    ("alpha / rank forgotten", alpha_forgotten, f"{BLOCK}.attn1.to_v", "alpha/rank forgotten"),
    ("heads laid out inside out", heads_inside, f"{BLOCK}.attn1.attention", "transposed.*\\[B,S,Dh,A\\]"),
    ("to_out's weight transposed", transposed, f"{BLOCK}.attn1.to_out.0.base_layer", "taken transposed"),
    ("to_k's bias forgotten", no_bias, f"{BLOCK}.attn1.to_k.base_layer", "bias is not added"),
    ("half-split RoPE", rotation(halves), "transformer_blocks.0.attn1.rope_q", "half-split RoPE"),
    ("RoPE's sin/cos swapped", rotation(swapped), "transformer_blocks.0.attn1.rope_q", "sin/cos swapped"),
    ("causal attention", attention(causal), "transformer_blocks.0.attn1.attention", "causal"),
    ("attention not scaled", attention(unscaled), "transformer_blocks.0.attn1.attention", "1/sqrt\\(Dh\\) is forgotten"),
    ("text masked", attention(text_masked), "transformer_blocks.0.attn1.attention", "text's keys are masked"),
]


def check_mistakes(c, model, folder, adapter, sampled):
    reference = golden(c, folder, "mistakes", *SIZE, "--batch", 2, "--lora", adapter)
    passes(c, "golden: transformer with an adapter", reference, {**load_file(reference), **hooked(model, reference)})
    named = explained = 0

    def judge(what, reference, tensors, first, words, *options):
        nonlocal named, explained
        status, found, cause, output = compare(reference, tensors, *options)
        right = bool(words and cause and re.search(words, cause))
        named, explained = named + (found == first), explained + right
        c.check(f"planted: {what}", status == 3 and found == first, f"{found}: {cause}" if found else output)
        if words and not right:
            print(f"       the cause was not printed: expected {words}")

    for what, mistake, first, words in MISTAKES:
        wrong = copy.deepcopy(model)
        if hasattr(mistake, "__enter__"):
            with mistake:
                tensors = hooked(wrong, reference)
        else:
            mistake(wrong)
            tensors = hooked(wrong, reference)
        judge(what, reference, tensors, first, words, "--weights", folder)
    tensors = hooked(model, reference)
    tensors["x"] = torch.cat([tensors["x"][:, :, :16], tensors["x"][:, :, 16:] * 0.7], 2)
    judge("image channels scaled by 0.7", reference, tensors, "x", "image's latents.*0.7")
    tensors = hooked(model, reference)
    p = model.config.patch_size
    turned = tensors["proj_out"].unflatten(-1, (16, 2, p, p)).transpose(-1, -2)
    B, h, w = len(turned), 4, 6
    tensors["v"] = turned.unflatten(1, (-1, h, w)).permute(0, 1, 5, 4, 2, 6, 3, 7).flatten(6, 7).flatten(4, 5).flatten(1, 2)
    judge("columns before rows in v", reference, tensors, "v", "patch order")
    judge("image latents by 0.7, expected 1/0.7", *sampled, "image_latents", "scaling factor")
    every = len(MISTAKES) + 3
    c.check("planted: the first wrong tensor", named == every, f"{named} of {every}")
    c.check("planted: the cause", explained >= ENOUGH, f"{explained} of {every}")


if __name__ == "__main__":
    o = options()
    with Cases("golden", o.seed) as c:
        check_variants(c)
        model, coder = transformer("1.5-5B-I2V", c.rng, **SMALL), vae(c.rng)
        folder = save(c.folder / "model", model, coder, scheduler())
        check_vae(c, coder, folder)
        sampled = check_sampling(c, model, coder, folder)
        add_lora(model, 3, 6, c.rng)
        check_learning(c, model, folder, save_lora(model, c.folder))
        check_mistakes(c, *quiet_model(c), sampled)
