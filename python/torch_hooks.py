"""Writes the tensors of a diffusers CogVideoX model under the names of `vdm golden`: how a port joins in.

    vdm golden MODEL -o golden.safetensors
    python python/torch_hooks.py MODEL golden.safetensors mine.safetensors [--dtype bfloat16]
    vdm compare golden.safetensors mine.safetensors

A port in another language does the same by hand: it runs on the inputs that the golden holds (x, text, t; of the
VAE video or latents) and writes whichever tensors it has, named as `vdm golden --names` explains."""

import argparse
import pathlib
import sys

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from safetensors import safe_open
from safetensors.torch import load_file, save_file

CHUNKS = ("shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate")


class Hooks:
    """`with Hooks(model) as h: model(...)` fills h.tensors; after a backward pass h.gradients() adds its own."""

    def __init__(self, model):
        self.model, self.vae = model, isinstance(model, AutoencoderKLCogVideoX)
        self.tensors, self.half, self.chunk, self.stored, self.handles = {}, {}, {}, {}, []

    def put(self, name, x):
        x = x.detach().clone()  # clone: q and k are rotated in place
        if self.vae:
            x = x[0].permute(1, 2, 3, 0) if x.dim() == 5 else x  # [1,C,T,H,W] -> [T,H,W,C]
            self.chunk[name] = self.chunk.get(name, 0) + 1
            name = f"chunk.{self.chunk[name]}.{name}"
        self.tensors[name] = x

    def both(self, name, video, text):
        """What a block has apart is one tensor, the text first."""
        self.put(name, torch.cat([text, video], 1))

    def before(self, name, module, args, kwargs):
        if name == "" and not self.vae:
            names = ("hidden_states", "encoder_hidden_states", "timestep")
            given = {**dict(zip(names, args)), **kwargs}
            self.batch = len(given["hidden_states"])
            for theirs, ours in zip((*names, "ofs"), ("x", "text", "t", "ofs")):
                if given.get(theirs) is not None:
                    self.put(ours, given[theirs].float() if ours == "t" else given[theirs])
            for part, table in zip(("cos", "sin"), given.get("image_rotary_emb") or ()):
                self.put(f"rope.{part}", table[:, ::2])
        elif name.endswith(".attn1"):
            self.attention = name
        elif name.endswith("attn1.to_out.0"):
            self.put(f"{self.attention}.attention", args[0])
        elif name.endswith(".norm2") and not self.vae:
            self.both(name.removesuffix("norm2") + "h1", *args[:2])

    def attend(self, q, k, v, *args, **kwargs):
        if not self.vae and self.model.config.use_rotary_positional_embeddings:
            self.put(f"{self.attention}.rope_q", q.transpose(1, 2))
            self.put(f"{self.attention}.rope_k", k.transpose(1, 2))
        return self.sdpa(q, k, v, *args, **kwargs)

    def patches(self, name, module, x, y):
        if isinstance(module, torch.nn.Conv2d):  # the 1.0 models: frame by frame
            x = F.unfold(x, module.kernel_size, stride=module.stride).transpose(1, 2).reshape(self.batch, -1, x[0].numel() // y[0, 0].numel())
            y = y.flatten(2).transpose(1, 2).reshape(self.batch, -1, y.shape[1])
        self.put("patch_embed.patches", x)
        self.put(name, y)

    def after(self, name, module, args, out):
        kind = type(module).__name__
        if kind in ("CogVideoXBlock", "CogVideoXLayerNormZero"):
            self.both(name, *out[:2])
            if out[0].requires_grad and kind == "CogVideoXBlock":
                self.stored[name] = out[:2]
                [x.retain_grad() for x in out[:2] if x.requires_grad]
        elif name.endswith((".norm1.norm", ".norm2.norm")) and not self.vae:  # called for the video, then the text
            if name in self.half:
                self.both(name, self.half.pop(name), out)
            else:
                self.half[name] = out
        elif name.endswith(("norm_q", "norm_k")):
            self.put(name, out.transpose(1, 2))
        elif name == "patch_embed.proj":
            self.patches(name, module, args[0], out)
        elif name == "" and not self.vae:
            self.v = out[0]
            self.put("v", self.v)
            if self.v.requires_grad:
                self.v.retain_grad()
        elif isinstance(out, torch.Tensor):
            self.put(name.replace(".default", ""), out)  # peft's name of an adapter
        elif self.vae and isinstance(out[0], torch.Tensor):  # the other half is the cache of the convolutions
            self.put(name, out[0])
        if name.endswith(("norm1.linear", "norm2.linear", "norm_out.linear")):
            names = CHUNKS[: out.shape[1] // self.model.proj_out.in_features]
            for part, chunk in zip(names, out.chunk(len(names), dim=1)):
                self.put(name.removesuffix("linear") + part, chunk)
        if name == "transformer_blocks.0.norm1.silu":
            self.put("emb", args[0])
            self.put("emb.silu", out)

    def gradients(self):
        self.put("grad.v", self.v.grad)
        for name, out in self.stored.items():
            self.both(f"grad.{name}", *(torch.zeros_like(x) if x.grad is None else x.grad for x in out))
        for name, p in self.model.named_parameters():
            if p.grad is not None:
                self.put(f"grad.{name.replace('.default', '')}", p.grad)

    def __enter__(self):
        for name, m in self.model.named_modules():
            self.handles.append(m.register_forward_hook(lambda m, args, out, name=name: self.after(name, m, args, out)))
            pre = lambda m, args, kwargs, name=name: self.before(name, m, args, kwargs)  # noqa: E731
            self.handles.append(m.register_forward_pre_hook(pre, with_kwargs=True))
        self.sdpa, F.scaled_dot_product_attention = F.scaled_dot_product_attention, self.attend
        return self

    def __exit__(self, *_):
        F.scaled_dot_product_attention = self.sdpa
        [handle.remove() for handle in self.handles]
        if self.vae and not any(f"chunk.2.{half}coder.conv_in" in self.tensors for half in ("en", "de")):
            self.tensors = {name.removeprefix("chunk.1."): x for name, x in self.tensors.items()}

    def write(self, path, dtype):
        metadata = {"precision": {torch.bfloat16: "bf16"}.get(dtype, "f32")}
        save_file({k: v.float().contiguous() for k, v in self.tensors.items()}, path, metadata=metadata)


def forward(model, x, text, t):
    """The transformer as the pipeline calls it."""
    pipeline = type("Pipeline", (), dict(transformer=model, vae_scale_factor_spatial=8))()
    sizes = 8 * x.shape[3], 8 * x.shape[4], x.shape[1], x.device
    rotary = CogVideoXImageToVideoPipeline._prepare_rotary_positional_embeddings
    tables = rotary(pipeline, *sizes) if model.config.use_rotary_positional_embeddings else None
    ofs = None if model.config.ofs_embed_dim is None else x.new_full((1,), 2.0)
    return model(x, text, t, ofs=ofs, image_rotary_emb=tables, return_dict=False)[0]


def run(model, inputs, what, dtype):
    """The hooks of one run on a golden's inputs; h.result is what came out."""
    x = {name: v.to(dtype) for name, v in inputs.items() if name in ("x", "text", "video", "latents")}
    with Hooks(model.to(dtype)) as h:
        if what == "transformer":
            h.result = forward(model, x["x"], x["text"], inputs["t"])
        elif what == "vae-encode":
            h.result = model.encode(x["video"][None].transpose(1, 2)).latent_dist.parameters[0].transpose(0, 1)
        else:
            h.result = model.decode(x["latents"][None].transpose(1, 2)).sample[0].transpose(0, 1)
    if what != "transformer":
        h.tensors |= {**x, "moments" if what == "vae-encode" else "video": h.result}
    return h


def check(facts, names):
    """Rejects a golden that the model alone does not reproduce."""
    whats = "transformer", "vae-encode", "vae-decode"
    if facts["what"] not in whats:
        sys.exit(f"torch_hooks: the golden is of {facts['what']}, expected {', '.join(whats)}")
    if any(name.startswith("adapter.") for name in names):
        sys.exit("torch_hooks: the golden has an adapter, which is not loaded here: make it without --lora")
    if facts.get("tiled", "0") != "0":
        sys.exit("torch_hooks: tiles are not here: make the golden without --tiled")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("golden")
    parser.add_argument("out")
    parser.add_argument("--dtype", default="float32")
    o = parser.parse_args()
    with safe_open(o.golden, "pt") as f:
        what = f.metadata()["what"]
        check(f.metadata(), f.keys())
    kind, part = (CogVideoXTransformer3DModel, "transformer") if what == "transformer" else (AutoencoderKLCogVideoX, "vae")
    dtype = getattr(torch, o.dtype)
    with torch.no_grad():
        run(kind.from_pretrained(o.model / part), load_file(o.golden), what, dtype).write(o.out, dtype)


if __name__ == "__main__":
    main()
