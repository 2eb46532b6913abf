"""What the peer checks share: random tiny CogVideoX models made by diffusers' own classes, the driver that
calls the library (driver.c), distances, and a runner of cases.

The yardstick, E64: the relative L2 distance to what diffusers gives when it runs in float64 on the same
weights and inputs. A part of vdm passes where its E64 is at most twice that of diffusers run in float32.
Tables are computed in float32 inside diffusers whatever the model's dtype, and are part of the reference. One of
them has to be pinned down: PyTorch's exp is off by a unit in the last place for about one frequency of the
timestep in a hundred, which ones depends on the build and the processor, and at t = 999 that unit turns the
angle by 1e-4: far more than the errors that we look for. So the peers take every function of that float32
chain correctly rounded (timestep_embedding below), as vdm does; transformer.py checks what that changes.

    python tests/peer/transformer.py [--seed N] [--cases N] [--full]

Environment: VDM_PEER_BUILD, the folder to build the driver in (build/peer); VDM_PEER_FULL=1 for --full."""

import argparse
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

for noisy in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(noisy, None)  # they make the peer slower than it is

import torch  # noqa: E402
from diffusers import (  # noqa: E402
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXTransformer3DModel,
)
from diffusers.models import embeddings  # noqa: E402
from diffusers.utils import logging  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

logging.set_verbosity_error()

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("VDM_PEER_BUILD", ROOT / "build" / "peer")).absolute()

# ---- The program under test


def build():
    """Builds vdm and the driver; returns the path of the driver."""
    command = ["make", "-s", "-C", str(ROOT), f"BUILD={BUILD}", f"-j{os.cpu_count()}", "peer-driver"]
    subprocess.run(command, check=True)
    return BUILD / "tests" / "peer" / "driver"


def vdm():
    """The path of the program, built."""
    subprocess.run(["make", "-s", "-C", str(ROOT), f"BUILD={BUILD}", f"{BUILD}/vdm"], check=True)
    return BUILD / "vdm"


_driver = None


class DriverError(Exception):
    pass


def run(command, model, tensors, **options):
    """One call of the library: tensors in and out by name. A failure raises DriverError with its sentence."""
    global _driver
    _driver = _driver or build()
    with tempfile.TemporaryDirectory() as folder:
        into, out = "-", os.path.join(folder, "out.safetensors")
        if tensors:
            into = os.path.join(folder, "in.safetensors")
            save_file({k: v.detach().contiguous() for k, v in tensors.items()}, into)
        arguments = [f"{k}={v}" for k, v in options.items() if v is not None]
        done = subprocess.run([_driver, command, str(model), into, out, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise DriverError(done.stderr.strip() or f"driver ended with {done.returncode}")
        return load_file(out)


# ---- Cases


def options(cases=30):
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, help="of the cases; otherwise drawn, and printed")
    parser.add_argument("--cases", type=int, default=cases, help="random cases to draw")
    full = bool(os.environ.get("VDM_PEER_FULL"))
    parser.add_argument("--full", action="store_true", default=full, help="the published width too: minutes")
    return parser.parse_args()


class Cases:
    """Counts cases, one line each. `with Cases("transformer") as c: c.check(...)` ends the program."""

    def __init__(self, name, seed=None):
        self.name, self.passed, self.failed = name, 0, 0
        self.seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self.rng = torch.Generator().manual_seed(self.seed)
        self.start = time.time()
        print(f"{name}: seed {self.seed}", flush=True)

    def check(self, what, passed, figures=""):
        self.passed, self.failed = self.passed + bool(passed), self.failed + (not passed)
        print(f"{'ok    ' if passed else 'FAILED'} {what}  {figures}", flush=True)

    def within(self, what, ours, f32, f64, factor=2.0, floor=1e-9):
        """E64(ours) <= factor * E64(f32), or below the floor where float32 happens to be exact."""
        e, e32 = distance(ours, f64), distance(f32, f64)
        good = e <= max(factor * e32, floor)  # False for NaN
        self.check(what, good, f"E64 {e:.2e}, of PyTorch f32 {e32:.2e}, ratio {e / max(e32, floor):.2f}")

    def near(self, what, ours, reference, bound):
        e = distance(ours, reference)
        self.check(what, e <= bound, f"distance {e:.2e}, bound {bound:.0e}")

    def integer(self, low, high):
        """low..high, both included."""
        return int(torch.randint(low, high + 1, (1,), generator=self.rng))

    def choice(self, items):
        return items[self.integer(0, len(items) - 1)]

    def randn(self, *shape):
        return torch.randn(*shape, generator=self.rng)

    def __enter__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vdm-peer-"))
        return self

    def __exit__(self, kind, error, trace):
        shutil.rmtree(self.folder, ignore_errors=True)
        if kind:
            import traceback

            traceback.print_exception(kind, error, trace)
            self.failed += 1
        print(f"{self.name}: {self.passed} passed, {self.failed} failed ({time.time() - self.start:.0f} s)", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


def distance(a, b):
    """Relative L2 in float64; infinite for NaN, Inf or another shape."""
    if a.shape != b.shape or not torch.isfinite(a).all():
        return float("inf")
    a, b = a.double(), b.double()
    difference = (a - b).norm().item()
    return difference / max(b.norm().item(), 1e-300)


# ---- Random models


def randomize(model, rng):
    """Every parameter and learned table random, so that each one matters and activations stay near 1:
    matrices and kernels keep the variance of what goes through them, gains lie around 1."""
    for module in model.modules():
        norm = isinstance(module, (torch.nn.LayerNorm, torch.nn.GroupNorm))
        for name, p in module.named_parameters(recurse=False):
            x = torch.randn(p.shape, generator=rng)
            if name == "weight" and norm:
                x = 1 + 0.3 * x
            elif name == "weight":
                x = x / p[0].numel() ** 0.5
            else:
                x = 0.3 * x
            p.data.copy_(x)
    for name, b in model.named_buffers():
        if name in model.state_dict():  # learned positions; the computed ones are not in the file
            b.data.copy_(0.5 * torch.randn(b.shape, generator=rng))
    return model.eval().requires_grad_(False)


# Of the switch table of CogVideoX, made small. Sizes are given by the caller.
VARIANTS = {
    "2b": dict(in_channels=16),
    "5b": dict(in_channels=16, use_rotary_positional_embeddings=True),
    "5b-I2V": dict(in_channels=32, use_rotary_positional_embeddings=True, use_learned_positional_embeddings=True),
    "1.5-5B": dict(in_channels=16, patch_size_t=2, use_rotary_positional_embeddings=True, patch_bias=False),
    "1.5-5B-I2V": dict(
        in_channels=32, patch_size_t=2, use_rotary_positional_embeddings=True, patch_bias=False, ofs_embed_dim=32
    ),
}
SMALL = dict(
    num_attention_heads=2,
    attention_head_dim=32,
    num_layers=2,
    time_embed_dim=32,
    text_embed_dim=24,
    max_text_seq_length=10,
    sample_width=12,
    sample_height=8,
    sample_frames=17,
)


def transformer(variant, rng, **overrides):
    return randomize(CogVideoXTransformer3DModel(**{**SMALL, **VARIANTS[variant], **overrides}), rng)


def vae(rng, **overrides):
    config = dict(
        block_out_channels=(16, 32, 32, 48),
        layers_per_block=1,
        norm_num_groups=8,
        latent_channels=16,
        sample_height=96,
        sample_width=160,
        scaling_factor=0.7,
        invert_scale_latents=True,
        **{f"{way}_block_types": (f"CogVideoX{side}Block3D",) * 4 for way, side in (("down", "Down"), ("up", "Up"))},
    )
    return randomize(AutoencoderKLCogVideoX(**{**config, **overrides}), rng)


def scheduler(dpm=False, **overrides):
    config = dict(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        set_alpha_to_one=True,
        timestep_spacing="trailing",
        steps_offset=0,
        snr_shift_scale=1.0,
    )
    return (CogVideoXDPMScheduler if dpm else CogVideoXDDIMScheduler)(**{**config, **overrides})


def save(folder, transformer=None, vae=None, scheduler=None, dtype=torch.float32, max_shard_size="10GB"):
    """Writes a model folder. Weights are rounded to dtype in place (and widened again), so that the file and
    the model here hold the same numbers; tables that are not in the file stay as they are."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in (("transformer", transformer), ("vae", vae)):
        if model is not None:
            tables = {n: b.clone() for n, b in model.named_buffers() if n not in model.state_dict()}
            model.to(dtype).save_pretrained(folder / name, max_shard_size=max_shard_size)
            model.to(torch.float32)
            for n, b in model.named_buffers():
                if n in tables:
                    b.data.copy_(tables[n])
    if scheduler is not None:
        scheduler.save_pretrained(folder / "scheduler")
    index = {"_class_name": "CogVideoXImageToVideoPipeline", "_diffusers_version": "0.42.1"}
    for name, part in (("transformer", transformer), ("vae", vae), ("scheduler", scheduler)):
        if part is not None:
            index[name] = ["diffusers", type(part).__name__]
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n")
    return folder


# ---- diffusers as the pipeline calls it

diffusers_timestep_embedding = embeddings.get_timestep_embedding


def timestep_embedding(
    timesteps, embedding_dim, flip_sin_to_cos=False, downscale_freq_shift=1, scale=1, max_period=10000
):
    """diffusers' get_timestep_embedding, with exp, sin and cos rounded correctly to float32."""
    half = embedding_dim // 2
    exponent = -math.log(max_period) * torch.arange(half, dtype=torch.float32) / (half - downscale_freq_shift)
    angle = (scale * timesteps[:, None].float() * exponent.double().exp().float()).double()
    halves = [angle.sin().float(), angle.cos().float()]
    return torch.cat(halves[::-1] if flip_sin_to_cos else halves, dim=-1)


embeddings.get_timestep_embedding = timestep_embedding


class _Pipeline:
    """As much of the pipeline as _prepare_rotary_positional_embeddings touches."""

    vae_scale_factor_spatial = 8

    def __init__(self, transformer):
        self.transformer = transformer


def rope(model, F, h, w):
    if not model.config.use_rotary_positional_embeddings:
        return None
    prepare = CogVideoXImageToVideoPipeline._prepare_rotary_positional_embeddings
    return prepare(_Pipeline(model), 8 * h, 8 * w, F, torch.device("cpu"))


def velocity(model, x, text, t):
    """The transformer as the pipeline calls it, in the dtype that the model has now."""
    dtype = next(model.parameters()).dtype
    ofs = None if model.config.ofs_embed_dim is None else x.new_full((1,), 2.0, dtype=dtype)
    tables = rope(model, x.shape[1], x.shape[3], x.shape[4])
    return model(x.to(dtype), text.to(dtype), t, ofs=ofs, image_rotary_emb=tables, return_dict=False)[0]


def both(model, call):
    """call() in float32, then in float64; the model is in float32 again afterwards."""
    f32 = call(model.float())
    f64 = call(model.double())
    model.float()
    return f32, f64


class _Draws:
    """Stands in for randn_tensor: gives the numbers of a list, one after another."""

    def __init__(self, tensors):
        self.left = list(tensors)

    def __call__(self, shape, dtype=None, **_):
        return self.left.pop(0).reshape(shape).to(dtype)


def sample(transformer, vae, scheduler, inputs, frames, dtype=torch.float32, **call):
    """answer() by a pipeline of these parts, in that dtype; the models are in float32 again afterwards."""
    for model in (transformer, vae):
        model.to(dtype)
    pipeline = CogVideoXImageToVideoPipeline(
        tokenizer=None, text_encoder=None, vae=vae, transformer=transformer, scheduler=scheduler
    )
    out = answer(pipeline, inputs, frames, **call)
    for model in (transformer, vae):
        model.float()
    return out


def answer(pipeline, inputs, frames, **call):
    """CogVideoXImageToVideoPipeline on the tensors that `driver sample` takes: image [3,H,W], prompt, negative
    [L,Dt], noise [F,C,h,w], image_noise [C,h,w], with DPM step_noise [steps,2,F,C,h,w].
    call: num_inference_steps, guidance_scale, use_dynamic_cfg. Gives what the driver gives."""
    from unittest import mock

    scheduler, dtype = pipeline.scheduler, pipeline.transformer.dtype
    pipeline.set_progress_bar_config(disable=True)
    out = {}
    prepare = pipeline.prepare_latents

    def prepare_latents(*args):
        latents, image_latents = prepare(*args)
        out["image_latents"] = image_latents[0]
        return latents, image_latents

    def step_end(_, step, t, state):
        out[f"latents.{step + 1}"] = state["latents"][0].clone()
        return {}

    def draws():  # the first step draws once, a second-order step twice
        for step, pair in enumerate(inputs.get("step_noise", [])):
            prev = scheduler.timesteps[step] - 1000 // len(scheduler.timesteps)
            yield from (pair[:1] if step == 0 or prev < 0 else pair)

    scheduler.set_timesteps(call["num_inference_steps"])
    pipeline.prepare_latents = prepare_latents
    image = inputs["image"][None].to(dtype)
    with (
        torch.no_grad(),
        mock.patch("diffusers.models.autoencoders.vae.randn_tensor", _Draws([inputs["image_noise"]])),
        mock.patch("diffusers.schedulers.scheduling_dpm_cogvideox.randn_tensor", _Draws(draws())),
    ):
        video = pipeline(
            image=image,
            height=image.shape[2],
            width=image.shape[3],
            num_frames=frames,
            latents=inputs["noise"][None].to(dtype),
            prompt_embeds=inputs["prompt"][None].to(dtype),
            negative_prompt_embeds=inputs["negative"][None].to(dtype),
            callback_on_step_end=step_end,
            callback_on_step_end_tensor_inputs=["latents"],
            output_type="pt",
            **call,
        ).frames[0]
    return {**out, "video": video}


# ---- LoRA

LORA_TARGETS = ["to_k", "to_q", "to_v", "to_out.0"]
FF_TARGETS = ["ff.net.0.proj", "ff.net.2"]


def add_lora(model, rank, alpha, rng, targets=LORA_TARGETS):
    """A random adapter, B not zero, on every projection of the attention."""
    from peft import LoraConfig

    model.add_adapter(LoraConfig(r=rank, lora_alpha=alpha, init_lora_weights=True, target_modules=targets))
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data.copy_(torch.randn(p.shape, generator=rng) / p.shape[1] ** 0.5)
    return model


def lora_parameters(model):
    """Trainable parameters under the keys of a LoRA file."""
    return {
        "transformer." + n.replace(".default", ""): p for n, p in model.named_parameters() if "lora_" in n
    }


def save_lora(model, folder, metadata=True):
    """As diffusers' training scripts end; returns the path of the file."""
    from diffusers.training_utils import _collate_lora_metadata
    from peft.utils import get_peft_model_state_dict

    extra = _collate_lora_metadata({"transformer": model}) if metadata else {}
    CogVideoXImageToVideoPipeline.save_lora_weights(
        str(folder), transformer_lora_layers=get_peft_model_state_dict(model), **extra
    )
    return pathlib.Path(folder) / "pytorch_lora_weights.safetensors"
