"""What both phases share: configurations, model building, EMA, atomic state, logs, signals."""
import csv
import functools
import os
import signal
import time

import numpy as np
import torch
import torch.nn.functional as tf
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from diffusers.models.autoencoders.autoencoder_kl_cogvideox import CogVideoXCausalConv3d, CogVideoXSpatialNorm3D

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

# One token a cell (of two latent frames); the blocks are those of the other.
CELLS_CONFIG = dict(TRANSFORMER_CONFIG, patch_size=1)

# Posterior noise of the VAE: the layout asks for a log variance; it is a constant here.
POSTERIOR_STD = 0.05


def new_vae(seed=0):
    torch.manual_seed(seed)
    vae = AutoencoderKLCogVideoX(**VAE_CONFIG)
    conv = vae.encoder.conv_out.conv                        # rows 16..31 are the log variance
    with torch.no_grad():
        conv.weight[LATENT_C:] = 0
        conv.bias[LATENT_C:] = 2 * np.log(POSTERIOR_STD)
        carry_time(vae.encoder)
    return vae


def carry_time(encoder):
    """Initial weights whose skip connections carry each frame and the three before it to the latent, as means over 8x8
    blocks.  The encoder averages frames in pairs, twice, and cannot see which of a pair it has: of frames that differ
    within a latent a mean is left, unless means over windows that begin at other times go along.  From random weights
    it found that late and in part (README.md has figures)."""
    def only(weight, out, taps):
        weight[out] = 0
        for tap, value in taps.items():
            weight[(out, *tap)] = value

    blocks = [b.resnets[0] for b in encoder.down_blocks]
    for r in blocks + list(encoder.mid_block.resnets):      # what is next to the skips begins small
        r.conv2.conv.weight.mul_(0.06)
        r.conv2.conv.bias.zero_()
    first, branch = encoder.conv_in.conv, blocks[0]
    first.weight.mul_(0.5)
    first.bias.zero_()
    branch.conv1.conv.weight.mul_(0.3)
    for k in range(3):                                      # colours; time tap 2 is the frame itself, 0 two before it
        for lag in range(3):
            only(first.weight, 4 * lag + k, {(k, 2 - lag, 1, 1): 1})
        only(first.weight, 12 + k, {(k, 2, 1, 1): -1})
        # silu(x) - silu(-x) = x: two frames back, one more, into the channel where the negative frame was
        only(branch.conv1.conv.weight, k, {(k, 0, 1, 1): 1, (12 + k, 0, 1, 1): -1})
        only(branch.conv1.conv.weight, 4 + k, {(k, 0, 1, 1): -1, (12 + k, 0, 1, 1): 1})
        only(branch.conv2.conv.weight, 12 + k, {(k, 1, 1, 1): 1, (4 + k, 1, 1, 1): -1})
    for i, (r, down) in enumerate(zip(blocks, encoder.down_blocks)):
        if r.in_channels != r.out_channels:
            w, n = r.conv_shortcut.weight, r.in_channels
            w.mul_(0.5)
            r.conv_shortcut.bias.zero_()
            for j in range(n):
                only(w, j, {(j, 0, 0, 0): 1})
                if i == len(blocks) - 1:                    # and negative, for the silu before conv_out
                    only(w, n + j, {(j, 0, 0, 0): -1})
        for d in down.downsamplers or []:
            d.conv.weight.mul_(0.3)
            d.conv.bias.zero_()
            for j in range(LATENT_C):
                only(d.conv.weight, j, {(j, y, x): 0.25 for y in (0, 1) for x in (0, 1)})
    out, n = encoder.conv_out.conv.weight, blocks[-1].in_channels
    out[:LATENT_C].mul_(0.2)
    for j in range(LATENT_C):
        out[j, j, 2, 1, 1] += 1
        out[j, n + j, 2, 1, 1] -= 1


def config_of(name):
    """The transformer's configuration of a state: cells, cells-release, or the others."""
    return CELLS_CONFIG if name.startswith("cells") else TRANSFORMER_CONFIG


def new_transformer(seed=0, config=None):
    torch.manual_seed(seed)
    return CogVideoXTransformer3DModel(**(config or TRANSFORMER_CONFIG))


def device_of(model):
    return next(model.parameters()).device


def encode(vae, x):
    """Pixels [B,3,T,64,64] in -1..1 -> latent means [B,16,T',8,8].  One chunk: T is 9 or 1."""
    return vae.encoder(x)[0][:, :LATENT_C]


def decode(vae, z):
    return vae.decoder(z)[0]


def to_float(clips, device="cpu"):
    """uint8 [B,T,H,W,3] -> [B,3,T,H,W] in -1..1, as the published trainers scale."""
    clips = torch.as_tensor(clips, device=device)
    return clips.permute(0, 4, 1, 2, 3).float().div_(127.5).sub_(1)


def one_chunk(vae):
    """The same VAE, faster: channels last; nothing stored for a chunk after this one; what the decoder's norms read from
    the latent is computed at the latent's size (1x1x1 convolutions and nearest neighbours commute); and under autocast
    norms read and write bf16."""
    def conv(self, x, conv_cache=None):
        return self.conv(torch.cat([x[:, :, :1]] * self.time_pad + [x], 2) if self.time_pad else x), None

    def norm(self, f, zq, conv_cache=None):
        (t, h, w), (tz, hz, wz) = f.shape[2:], zq.shape[2:]
        first = t % 2                                       # of an odd number the first frame has its own latent
        i = torch.arange(t, device=f.device)
        i = (i - first).clamp(min=0) * (tz - first) // max(t - first, 1) + first * (i > 0)
        y, b = (g(zq)[0][:, :, i, :, None, :, None] for g in (self.conv_y, self.conv_b))
        f = self.norm_layer(f).unflatten(4, (wz, w // wz)).unflatten(3, (hz, h // hz))
        return (f * y + b).flatten(5, 6).flatten(3, 4), None

    def group_norm(self, x):
        with torch.autocast(x.device.type, enabled=False):
            return tf.group_norm(x, self.num_groups, self.weight.to(x.dtype), self.bias.to(x.dtype), self.eps)

    for m in vae.modules():
        if isinstance(m, torch.nn.Conv3d):
            m.to(memory_format=torch.channels_last_3d)
        if isinstance(m, torch.nn.GroupNorm):
            m.forward = functools.partial(group_norm, m)
        elif isinstance(m, CogVideoXCausalConv3d):
            m.forward = functools.partial(conv, m)
        elif isinstance(m, CogVideoXSpatialNorm3D):
            m.forward = functools.partial(norm, m)
    return vae


class Muon:
    """torch.optim.Muon, with all matrices of one shape as one batch: hundreds of small products would wait for their
    launch on a GPU."""

    MOMENTUM, ROUNDS, COEFFICIENTS = 0.95, 5, (3.4445, -4.775, 2.0315)

    def __init__(self, params, weight_decay):
        self.weight_decay, self.groups = weight_decay, {}
        for p in params:
            self.groups.setdefault((len(p), p.numel() // len(p)), []).append(p)
        self.momenta = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}

    def orthogonal(self, g):
        """Newton-Schulz: [n,rows,columns] -> nearly the nearest matrices with orthogonal rows (or columns)."""
        a, b, c = self.COEFFICIENTS
        x = g.bfloat16() if g.size(1) <= g.size(2) else g.bfloat16().transpose(1, 2)
        x = x / x.flatten(1).norm(dim=1).clamp(min=1e-7).view(-1, 1, 1)
        for _ in range(self.ROUNDS):
            gram = x @ x.transpose(1, 2)
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x if g.size(1) <= g.size(2) else x.transpose(1, 2)

    @torch.no_grad()
    def step(self, lr):
        for (rows, columns), params in self.groups.items():
            if params[0].grad is None:                      # frozen
                continue
            grad, m = torch.stack([p.grad.reshape(rows, columns) for p in params]), self.momenta[rows, columns]
            m.lerp_(grad, 1 - self.MOMENTUM)
            update = self.orthogonal(grad.lerp(m, self.MOMENTUM)).float()
            torch._foreach_mul_(params, 1 - lr * self.weight_decay)
            torch._foreach_add_(params, [u.view_as(p) for u, p in zip(update.contiguous(), params)],
                                alpha=-lr * max(1, rows / columns) ** 0.5)

    def state_dict(self):
        return self.momenta

    def load_state_dict(self, st):
        for shape, m in self.momenta.items():
            m.copy_(st[shape])


class Optimiser:
    """Muon for the weights of linear layers and convolutions (as [out, everything else]), AdamW for the rest.
    At the same number of steps Muon is ahead of AdamW alone (README.md has figures)."""

    def __init__(self, model, muon_lr, adam_lr, betas, weight_decay=0.0, adam_too=()):
        big = {k: p for k, p in model.named_parameters() if p.dim() >= 2 and k not in adam_too}
        self.muon = Muon(big.values(), weight_decay)
        self.adam = torch.optim.AdamW([p for k, p in model.named_parameters() if k not in big], lr=adam_lr, betas=betas,
                                      weight_decay=weight_decay)
        self.model, self.rates = model, (muon_lr, adam_lr)

    def step(self, factor):
        """One update with both learning rates times factor; forgets the gradients."""
        for g in self.adam.param_groups:
            g["lr"] = self.rates[1] * factor
        self.muon.step(self.rates[0] * factor)
        self.adam.step()
        self.model.zero_grad(set_to_none=True)

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


def state_of(weights, step, rng, torch_rng, **more):
    """A state that pretrain.py continues, of weights that came without moments."""
    return dict(model=weights, opt={}, ema={k: w.clone() for k, w in weights.items()}, step=step, rng=rng,
                torch_rng=torch_rng, **more)


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


class Pace:
    """How far a run is, in 0..1: by steps, or by seconds where a machine is lent for so long."""

    def __init__(self, steps, seconds=None):
        self.steps, self.seconds, self.spent, self.last = steps, seconds, 0.0, None

    def share(self, step):
        now = time.monotonic()
        self.spent += now - self.last if self.last else 0
        self.last = now
        return self.spent / self.seconds if self.seconds else step / self.steps


class Threads:
    """All threads on an idle machine, one on one that others keep busy (not our own workers): threads that wait for
    each other at a low priority lose more than they win."""

    def __init__(self, maximum, workers=0):
        self.maximum = self.now = maximum
        self.workers = workers
        torch.set_num_threads(maximum)

    def adapt(self):
        busy = os.getloadavg()[0] - self.now - self.workers > 1.2
        n = 1 if busy else self.maximum
        if n != self.now:
            torch.set_num_threads(n)
            self.now = n
