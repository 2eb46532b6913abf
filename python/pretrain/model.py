"""The transformer's surroundings: prompt embedding, RoPE, noise schedule, conditioning, sampling.

All as the published image-to-video pipeline of CogVideoX 1.5 has them:
latents [B,4,16,8,8] = z0 z0 z1 z2 (one copy of latent frame 0 in front makes the count even),
condition [B,4,16,8,8] = image latent, then zeros; timesteps 0..999; prediction of v; ofs = 2.
"""
import torch
import torch.nn.functional as tf
from diffusers import CogVideoXDDIMScheduler
from diffusers.models.embeddings import apply_rotary_emb, get_3d_rotary_pos_embed

from phase_parts import LATENT_C, LATENT_PX, POSTERIOR_STD, TEXT_DIM, TEXT_LEN, device_of

SCHEDULER_CONFIG = dict(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
    clip_sample=False, set_alpha_to_one=True, steps_offset=0, prediction_type="v_prediction",
    rescale_betas_zero_snr=True, snr_shift_scale=1.0, timestep_spacing="trailing")


def prompt_embeds():
    """The one prompt there is: [1,TEXT_LEN,TEXT_DIM], fixed numbers."""
    return torch.randn(1, TEXT_LEN, TEXT_DIM, generator=torch.Generator().manual_seed(226))


def scheduler():
    return CogVideoXDDIMScheduler(**SCHEDULER_CONFIG)


def rope(config):
    side = LATENT_PX // config.patch_size
    return get_3d_rotary_pos_embed(config.attention_head_dim, None, (side, side), 4 // config.patch_size_t,
                                   grid_type="slice", max_size=(side, side))


class Attention:
    """diffusers' CogVideoXAttnProcessor2_0 with the attention itself in f32 on a CPU: the bf16 backward of PyTorch's
    fused attention is five times slower there than the f32 one at this size."""

    def __call__(self, attn, hidden_states, encoder_hidden_states, attention_mask=None, image_rotary_emb=None):
        n = encoder_hidden_states.size(1)
        x = torch.cat([encoder_hidden_states, hidden_states], dim=1)
        b, s, _ = x.shape
        q, k, v = (f(x).view(b, s, attn.heads, -1).transpose(1, 2) for f in (attn.to_q, attn.to_k, attn.to_v))
        q, k = attn.norm_q(q), attn.norm_k(k)
        if image_rotary_emb is not None:
            q = torch.cat([q[:, :, :n], apply_rotary_emb(q[:, :, n:], image_rotary_emb)], 2)
            k = torch.cat([k[:, :, :n], apply_rotary_emb(k[:, :, n:], image_rotary_emb)], 2)
        with torch.autocast(x.device.type, enabled=False):
            o = tf.scaled_dot_product_attention(*(y.to(v.dtype) if x.is_cuda else y.float() for y in (q, k, v)))
        x = attn.to_out[0](o.transpose(1, 2).reshape(b, s, -1))
        return x[:, n:], x[:, :n]


class Dit:
    """The transformer with everything fixed around it: v = dit(x_t, image latent, t, captions)."""

    def __init__(self, net, bf16=True):
        device = device_of(net)
        self.net, self.bf16, self.text = net, bf16, prompt_embeds().to(device)
        self.ofs = torch.full((1,), 2.0).to(device)
        self.rope = tuple(x.to(device) for x in rope(net.config))

    def __call__(self, x, image, t, text=None):
        """text [B,any,TEXT_DIM]: that of captions, or the prompt."""
        text = self.text.expand(len(x), -1, -1) if text is None else text.to(x.device)
        c = torch.zeros_like(x)
        c[:, 0] = image
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            return self.net(hidden_states=torch.cat([x, c], 2), encoder_hidden_states=text,
                            timestep=t.to(x.device), ofs=self.ofs, image_rotary_emb=self.rope, return_dict=False)[0].float()


def pad_front(z):
    """[B,3,16,8,8] -> [B,4,16,8,8]."""
    return torch.cat([z[:, :1], z], 1)


def noised(z, noise, t, alphas):
    """x_t and the v to predict; z, noise [B,4,16,8,8], t [B] where alphas are."""
    a = alphas[t].view(-1, 1, 1, 1, 1).to(z)
    return a.sqrt() * z + (1 - a).sqrt() * noise, a.sqrt() * noise - (1 - a).sqrt() * z


@torch.no_grad()
def sample(dit, image, steps=20, seed=0):
    """DDIM from noise: image latents [B,16,8,8] -> latents [B,3,16,8,8] (the copy in front dropped)."""
    s = scheduler()
    s.set_timesteps(steps)
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(len(image), 4, LATENT_C, 8, 8, generator=g).to(image)
    for t in s.timesteps:
        v = dit(x, image, t.expand(len(x)))
        x = s.step(v, t, x, return_dict=False)[0]
    return x[:, 1:]


def posterior(mean):
    return mean + POSTERIOR_STD * torch.randn_like(mean)
