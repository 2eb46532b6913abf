"""What both phases share: configurations, model building, EMA, atomic state, logs, signals."""
import csv
import os
import signal
import time

import numpy as np
import torch
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel

PX, FRAMES, LATENT_FRAMES, LATENT_C, LATENT_PX = 64, 9, 3, 16, 8

VAE_CONFIG = dict(
    in_channels=3, out_channels=3, down_block_types=("CogVideoXDownBlock3D",) * 4,
    up_block_types=("CogVideoXUpBlock3D",) * 4, block_out_channels=(16, 32, 32, 64), latent_channels=LATENT_C,
    layers_per_block=1, act_fn="silu", norm_eps=1e-6, norm_num_groups=4, temporal_compression_ratio=4,
    sample_height=PX, sample_width=PX, scaling_factor=1.0, invert_scale_latents=True)

TEXT_LEN, TEXT_DIM = 2, 32

TRANSFORMER_CONFIG = dict(
    num_attention_heads=4, attention_head_dim=64, in_channels=2 * LATENT_C, out_channels=LATENT_C,
    flip_sin_to_cos=True, freq_shift=0, time_embed_dim=64, ofs_embed_dim=64, text_embed_dim=TEXT_DIM, num_layers=6,
    dropout=0.0, attention_bias=True, sample_width=LATENT_PX, sample_height=LATENT_PX, sample_frames=FRAMES,
    patch_size=2, patch_size_t=2, temporal_compression_ratio=4, max_text_seq_length=TEXT_LEN,
    activation_fn="gelu-approximate", timestep_activation_fn="silu", norm_elementwise_affine=True, norm_eps=1e-5,
    spatial_interpolation_scale=1.875, temporal_interpolation_scale=1.0, use_rotary_positional_embeddings=True,
    use_learned_positional_embeddings=False, patch_bias=False)

# Posterior noise of the VAE: the layout asks for a log variance; it is a constant here.
POSTERIOR_STD = 0.05


def new_vae(seed=0):
    torch.manual_seed(seed)
    vae = AutoencoderKLCogVideoX(**VAE_CONFIG)
    conv = vae.encoder.conv_out.conv                        # rows 16..31 are the log variance
    with torch.no_grad():
        conv.weight[LATENT_C:] = 0
        conv.bias[LATENT_C:] = 2 * np.log(POSTERIOR_STD)
    return vae


def new_transformer(seed=0):
    torch.manual_seed(seed)
    return CogVideoXTransformer3DModel(**TRANSFORMER_CONFIG)


def device_of(model):
    return next(model.parameters()).device


def encode(vae, x):
    """Pixels [B,3,T,64,64] in -1..1 -> latent means [B,16,T',8,8].  One chunk: T is 9 or 1."""
    return vae.encoder(x)[0][:, :LATENT_C]


def decode(vae, z):
    return vae.decoder(z)[0]


def to_float(clips):
    """uint8 [B,T,H,W,3] -> [B,3,T,H,W] in -1..1, as the published trainers scale."""
    return torch.from_numpy(np.ascontiguousarray(clips)).permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


class Optimiser:
    """Muon for the weights of linear layers and convolutions (as [out, everything else]), AdamW for the rest.
    At the same number of steps Muon is ahead of AdamW alone (README.md has figures)."""

    def __init__(self, model, muon_lr, adam_lr, betas, weight_decay=0.0, adam_too=()):
        named = [(k, p) for k, p in model.named_parameters()]
        big = [p for k, p in named if p.dim() >= 2 and k not in adam_too]
        ids = {id(p) for p in big}
        self.big = big
        self.flat = [torch.nn.Parameter(p.detach().view(len(p), -1)) for p in big]      # the same memory
        self.muon = torch.optim.Muon(self.flat, lr=muon_lr, weight_decay=weight_decay, momentum=0.95)
        self.adam = torch.optim.AdamW([p for _, p in named if id(p) not in ids], lr=adam_lr, betas=betas,
                                      weight_decay=weight_decay)
        self.rates = (muon_lr, adam_lr)

    def step(self, factor):
        """One update with both learning rates times factor; forgets the gradients."""
        for opt, lr in zip((self.muon, self.adam), self.rates):
            for g in opt.param_groups:
                g["lr"] = lr * factor
        for f, p in zip(self.flat, self.big):
            f.grad = None if p.grad is None else p.grad.view_as(f)                      # None: frozen
        self.muon.step()
        self.adam.step()
        for p in self.big:
            p.grad = None
        self.adam.zero_grad(set_to_none=True)

    def state_dict(self):
        return dict(muon=self.muon.state_dict(), adam=self.adam.state_dict())

    def load_state_dict(self, st):
        self.muon.load_state_dict(st["muon"])
        self.adam.load_state_dict(st["adam"])


class Ema:
    """Exponential mean of the weights, with a horizon that grows with the run up to `decay`."""

    def __init__(self, model, decay):
        self.decay, self.w = decay, {k: v.detach().clone() for k, v in model.named_parameters()}

    def restore(self, w):
        self.w = {k: v.to(self.w[k].device) for k, v in w.items()}

    @torch.no_grad()
    def update(self, model, step):
        d = min(self.decay, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.w.values()), [p.detach() for p in model.parameters()], 1 - d)

    @torch.no_grad()
    def swap(self, model):
        """Exchange the weights of the model and the mean: call twice around an evaluation."""
        for k, p in model.named_parameters():
            t = p.detach().clone()
            p.copy_(self.w[k])
            self.w[k].copy_(t)


def save_atomic(obj, path):
    tmp = path + ".tmp"
    with open(tmp, "wb") as f:
        torch.save(obj, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(tmp, path)


def random_state():
    """What restore_random takes: of PyTorch on the CPU, and on a GPU where there is one."""
    return dict(torch_rng=torch.get_rng_state(), cuda_rng=torch.cuda.get_rng_state_all())


def restore_random(state):
    torch.set_rng_state(state["torch_rng"])
    if torch.cuda.is_available() and state.get("cuda_rng"):
        torch.cuda.set_rng_state_all(state["cuda_rng"])


def load(path):
    return torch.load(path, map_location="cpu", weights_only=False) if os.path.exists(path) else None


class Log:
    """A CSV that is appended to across runs."""

    def __init__(self, path, fields):
        self.path, self.fields = path, fields
        if not os.path.exists(path):
            with open(path, "w", newline="") as f:
                csv.writer(f).writerow(fields)

    def row(self, **kw):
        line = [f"{kw[k]:.6g}" if isinstance(kw.get(k), float) else kw.get(k, "") for k in self.fields]
        with open(self.path, "a", newline="") as f:
            csv.writer(f).writerow(line)
        print("  ".join(f"{k}={v}" for k, v in zip(self.fields, line) if v != ""), flush=True)


class Stop:
    """SIGTERM or SIGINT asks for an orderly end; the loop saves and leaves."""

    def __init__(self):
        self.asked = False
        for s in (signal.SIGTERM, signal.SIGINT):
            signal.signal(s, self._ask)

    def _ask(self, *_):
        self.asked = True


class Every:
    """True once every `seconds`."""

    def __init__(self, seconds):
        self.seconds, self.last = seconds, time.monotonic()

    def __call__(self):
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


class Threads:
    """All threads on an idle machine, one on one that others keep busy (not our own workers): threads that wait for
    each other at a low priority lose more than they win."""

    def __init__(self, most, workers=0):
        self.most = self.now = most
        self.workers = workers
        torch.set_num_threads(most)

    def adapt(self):
        busy = os.getloadavg()[0] - self.now - self.workers > 1.2
        n = 1 if busy else self.most
        if n != self.now:
            torch.set_num_threads(n)
            self.now = n
