"""Writes a random checkpoint of the published shapes of CogVideoX1.5-5B-I2V, to measure speed and memory
without a download: transformer (42 blocks, bf16, shards of at most 5 GB, 11 GB in all), VAE, scheduler.
Values are scaled so that activations stay finite and near 1; nothing sensible is generated. With --text the
text encoder too (T5-v1.1-XXL, 9.5 GB), and the tests' small vocabulary as its tokenizer.
With --zeros the tensors are holes in the files: 11 GB that take no room, to measure how long loading takes.

    python python/random_checkpoint.py OUT [--layers 42] [--small] [--zeros] [--text] [--seed 0]

Needs torch, diffusers and transformers (for names and shapes alone: no weights are held in memory)."""

import argparse
import json
import math
import pathlib
import shutil

import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from transformers import T5Config, T5EncoderModel

TRANSFORMER = dict(
    in_channels=32,
    num_attention_heads=48,
    num_layers=42,
    ofs_embed_dim=512,
    patch_bias=False,
    patch_size_t=2,
    sample_frames=81,
    sample_height=300,
    sample_width=300,
    use_rotary_positional_embeddings=True,
)
VAE = dict(
    block_out_channels=(128, 256, 256, 512),
    layers_per_block=3,
    latent_channels=16,
    sample_height=480,
    sample_width=720,
    scaling_factor=0.7,
    invert_scale_latents=True,
    down_block_types=("CogVideoXDownBlock3D",) * 4,
    up_block_types=("CogVideoXUpBlock3D",) * 4,
)
SCHEDULER = dict(
    beta_end=0.012,
    beta_start=0.00085,
    beta_schedule="scaled_linear",
    clip_sample=False,
    prediction_type="v_prediction",
    rescale_betas_zero_snr=True,
    set_alpha_to_one=True,
    snr_shift_scale=1.0,
    timestep_spacing="trailing",
)
SMALL = dict(num_attention_heads=4, time_embed_dim=64, ofs_embed_dim=64, text_embed_dim=64, max_text_seq_length=16)
SMALL_VAE = dict(block_out_channels=(16, 32, 32, 48), layers_per_block=1, norm_num_groups=8)
T5 = dict(d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, vocab_size=32128, feed_forward_proj="gated-gelu")
SMALL_T5 = dict(d_model=64, d_kv=16, d_ff=96, num_layers=2, num_heads=4)
TOKENIZER = pathlib.Path(__file__).resolve().parents[1] / "tests" / "golden" / "1.5-5B-I2V" / "tokenizer"

STEM = "diffusion_pytorch_model"


class Numbers:
    """Normal numbers from a pool, read from another place for every tensor: drawing billions is slow."""

    def __init__(self, seed, size=(1 << 24) - 3):
        self.rng = torch.Generator().manual_seed(seed)
        self.pool = torch.randn(size, generator=self.rng)

    def take(self, n):
        at = int(torch.randint(self.pool.numel(), (1,), generator=self.rng))
        while n:
            piece = self.pool[at : at + n]
            yield piece
            n -= piece.numel()
            at = 0


def affine(name, shape):
    """(centre, spread): gains near 1, biases small, matrices and kernels keep the variance."""
    if name.endswith("bias"):
        return 0.0, 0.1
    return (1.0, 0.1) if len(shape) == 1 else (0.0, 1 / math.sqrt(math.prod(shape[1:])))


def write_file(path, shapes, numbers):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes:
        end = offset + 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        if numbers is None:
            f.truncate(f.tell() + offset)
            return
        for name, shape in shapes:
            centre, spread = affine(name, shape)
            for piece in numbers.take(math.prod(shape)):
                f.write((centre + spread * piece).to(torch.bfloat16).view(torch.int16).numpy().data)


def shards_of(shapes, limit):
    shards, size = [[]], 0
    for name, shape in shapes:
        n = 2 * math.prod(shape)
        if shards[-1] and size + n > limit:
            shards.append([])
            size = 0
        shards[-1].append((name, shape))
        size += n
    return shards


def write_model(folder, model, numbers, limit, stem=STEM):
    folder.mkdir(parents=True, exist_ok=True)
    (model.save_config if hasattr(model, "save_config") else model.config.save_pretrained)(folder)
    tied = "encoder.embed_tokens.weight"  # T5's table of words once more
    shapes = [(name, tuple(t.shape)) for name, t in model.state_dict().items() if name != tied]
    shards = shards_of(shapes, limit)
    weight_map = {}
    for i, shard in enumerate(shards, 1):
        name = f"{stem}.safetensors" if len(shards) == 1 else f"{stem}-{i:05}-of-{len(shards):05}.safetensors"
        write_file(folder / name, shard, numbers)
        weight_map.update((tensor, name) for tensor, _ in shard)
    total = sum(2 * math.prod(shape) for _, shape in shapes)
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    print(f"{folder}: {len(shapes)} tensors, {total / 2:,.0f} parameters, {total / 1e9:.2f} GB in {len(shards)} file(s)")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--layers", type=int, help="transformer blocks (42; 2 with --small)")
    parser.add_argument("--small", action="store_true", help="narrow: a few megabytes")
    parser.add_argument("--zeros", action="store_true", help="all weights 0, as holes: takes no room on most disks")
    parser.add_argument("--text", action="store_true", help="the text encoder too")
    parser.add_argument("--seed", type=int, default=0)
    o = parser.parse_args()
    layers = (2 if o.small else 42) if o.layers is None else o.layers
    if layers < 1:
        parser.error(f"--layers: expected 1 or more, found {layers}")
    numbers = None if o.zeros else Numbers(o.seed)
    with torch.device("meta"):
        transformer = CogVideoXTransformer3DModel(**{**TRANSFORMER, **(SMALL if o.small else {}), "num_layers": layers})
        vae = AutoencoderKLCogVideoX(**{**VAE, **(SMALL_VAE if o.small else {})})
    write_model(o.out / "transformer", transformer, numbers, limit=5 * 10**9)
    write_model(o.out / "vae", vae, numbers, limit=5 * 10**9)
    if o.text:
        with torch.device("meta"):
            encoder = T5EncoderModel(T5Config(**{**T5, **(SMALL_T5 if o.small else {})}))
        write_model(o.out / "text_encoder", encoder, numbers, limit=5 * 10**9, stem="model")
        shutil.copytree(TOKENIZER, o.out / "tokenizer", dirs_exist_ok=True)
    CogVideoXDDIMScheduler(**SCHEDULER).save_pretrained(o.out / "scheduler")
    index = {
        "_class_name": "CogVideoXImageToVideoPipeline",
        "scheduler": ["diffusers", "CogVideoXDDIMScheduler"],
        "transformer": ["diffusers", "CogVideoXTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLCogVideoX"],
    }
    (o.out / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")


if __name__ == "__main__":
    main()
