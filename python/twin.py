"""A twin of vdm in numpy: to study the algorithm on one page, and as a second opinion in float64.

    vdm golden models/tiny --what train --batch 2 -o golden.safetensors
    python python/twin.py models/tiny golden.safetensors twin.safetensors
    vdm compare golden.safetensors twin.safetensors

It runs on the inputs that the golden holds and writes every tensor that the golden names: the transformer,
the VAE both ways, steps of learning with gradients made by hand, sampling by DDIM. Nothing is fast here, and
files are believed.

Size letters are those of vdm.h:  B videos  T frames  H,W pixels  F latent frames  h,w latent size  C latent
channels  D width  A heads  Dh = D/A  L text tokens  V video tokens  S = L + V, text first  E width of the
time embedding  R rank of an adapter.  dx is dL/dx; a layer's backward pass follows its forward pass.

Everything is float64 but the tables of the timestep and of RoPE, which diffusers computes in float32
whatever the model's dtype: at t = 999 a rounded angle is off by 3e-5, so its rounding is part of them."""

import json
import math
import pathlib
import sys

import numpy as np

f32, f64 = np.float32, np.float64

# ---- Files. safetensors: 8 bytes of length, a JSON header {name: dtype, shape, place}, the elements

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}


def read_safetensors(path):
    """{name: array in float64}, {key: text} of the metadata"""
    raw = pathlib.Path(path).read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:start])
    metadata, tensors = header.pop("__metadata__", {}), {}
    for name, of in header.items():
        first, last = of["data_offsets"]
        x = np.frombuffer(raw[start + first : start + last], DTYPES[of["dtype"]])
        if of["dtype"] == "BF16":  # the upper half of a float32
            x = (x.astype("<u4") << 16).view("<f4")
        tensors[name] = x.astype(f64).reshape(of["shape"])
    return tensors, metadata


def write_safetensors(path, tensors, metadata):
    header, at = {"__metadata__": metadata}, 0
    for name, x in tensors.items():
        header[name] = {"dtype": "F32", "shape": x.shape, "data_offsets": [at, at + 4 * x.size]}
        at += 4 * x.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for x in tensors.values():
            f.write(x.astype("<f4").tobytes())


def load(folder):
    """A part of a model: its configuration and its weights, in one file or in shards."""
    weights = {}
    for path in sorted(folder.glob("*.safetensors")):
        weights |= read_safetensors(path)[0]
    return json.loads((folder / "config.json").read_text()), weights


class Trace:
    """see(name, x) gives x back, and keeps it where the golden has a tensor of that name."""

    def __init__(self, wanted):
        self.wanted, self.prefix, self.tensors = wanted, "", {}

    def __call__(self, name, x):
        if self.prefix + name in self.wanted:
            self.tensors[self.prefix + name] = np.array(x, f32)
        return x


# ---- Layers. Weights are frozen: gradients go to inputs, and to adapters (Transformer.adapted_backward)


def linear(x, w, name):
    """torch.nn.Linear: y [..,out] = x [..,in] W^T + b, W [out,in]"""
    return x @ w[f"{name}.weight"].T + w.get(f"{name}.bias", 0)


def linear_backward(dy, w, name):
    """dx = dy W"""
    return dy @ w[f"{name}.weight"]


def silu(x):
    return x / (1 + np.exp(-x))


ROOT = math.sqrt(2 / math.pi)


def gelu(x):
    """diffusers' GELU: x/2 (1 + tanh u), u = sqrt(2/pi) (x + 0.044715 x^3). Trap: not the one with erf."""
    return 0.5 * x * (1 + np.tanh(ROOT * (x + 0.044715 * x**3)))


def gelu_backward(dy, x):
    """dx = dy [(1 + tanh u)/2 + x/2 (1 - tanh^2 u) u'],  u' = sqrt(2/pi) (1 + 3 0.044715 x^2)"""
    tanh = np.tanh(ROOT * (x + 0.044715 * x**3))
    return dy * (0.5 * (1 + tanh) + 0.5 * x * (1 - tanh**2) * ROOT * (1 + 3 * 0.044715 * x**2))


def standardize(x, eps):
    """xhat = (x - mean) rstd along the last axis; rstd = 1/sqrt(variance + eps), the variance biased"""
    rstd = 1 / np.sqrt(x.var(-1, keepdims=True) + eps)
    return (x - x.mean(-1, keepdims=True)) * rstd, rstd


def layer_norm(x, w, name, eps):
    """torch.nn.LayerNorm: y = xhat gamma + beta"""
    return standardize(x, eps)[0] * w[f"{name}.weight"] + w[f"{name}.bias"]


def layer_norm_backward(dy, x, w, name, eps):
    """dx = rstd (g - mean(g) - xhat mean(g xhat)), g = dy gamma: mean and variance depend on x too."""
    xhat, rstd = standardize(x, eps)
    g = dy * w[f"{name}.weight"]
    return rstd * (g - g.mean(-1, keepdims=True) - xhat * (g * xhat).mean(-1, keepdims=True))


def rope(x, cos, sin, L):
    """apply_rotary_emb: turns the pairs (a, b) of every head's video rows. x [B,S,A,Dh]; cos, sin [V,Dh/2].
    Traps: a pair is two neighbours, not i and i + Dh/2; text rows stay as they are."""
    y = x.copy()
    a, b, cos, sin = x[:, L:, :, 0::2], x[:, L:, :, 1::2], cos[:, None], sin[:, None]
    y[:, L:, :, 0::2] = a * cos - b * sin
    y[:, L:, :, 1::2] = b * cos + a * sin
    return y


def rope_backward(dy, cos, sin, L):
    """A rotation's transpose is the rotation by the opposite angle."""
    return rope(dy, cos, -sin, L)


def probabilities(q, k):
    """P [S,S] = softmax(q k^T / sqrt(Dh)) along the keys, of one head.
    Trap: there is no mask; padded text attends and is attended to like any other token."""
    scores = q @ k.T / math.sqrt(q.shape[-1])
    P = np.exp(scores - scores.max(-1, keepdims=True))
    return P / P.sum(-1, keepdims=True)


def attention(q, k, v):
    """CogVideoXAttnProcessor2_0 between its projections: o = P v, head by head; all are [B,S,A,Dh]."""
    o = np.empty_like(q)
    for b, a in np.ndindex(q.shape[0], q.shape[2]):
        o[b, :, a] = probabilities(q[b, :, a], k[b, :, a]) @ v[b, :, a]
    return o


def attention_backward(do, q, k, v):
    """dv = P^T do;  dP = do v^T;  dscores = P (dP - sum over keys of P dP);
    dq = dscores k / sqrt(Dh);  dk = dscores^T q / sqrt(Dh)"""
    dq, dk, dv = np.empty_like(q), np.empty_like(q), np.empty_like(q)
    for b, a in np.ndindex(q.shape[0], q.shape[2]):
        at = b, slice(None), a
        P, dP = probabilities(q[at], k[at]), do[at] @ v[at].T
        dscores = P * (dP - (P * dP).sum(-1, keepdims=True)) / math.sqrt(q.shape[-1])
        dq[at], dk[at], dv[at] = dscores @ k[at], dscores.T @ q[at], P.T @ do[at]
    return dq, dk, dv


# ---- Tables


def rounded(x):
    """To float32 and back."""
    return np.asarray(x).astype(f32).astype(f64)


def sinusoid(t, width, c):
    """get_timestep_embedding: t [B] -> [B,width], rounded at every step. Trap: cosines come first."""
    half = width // 2
    exponent = f32(-math.log(10000)) * np.arange(half, dtype=f32) / f32(half - c["freq_shift"])
    angle = np.asarray(t, f32)[:, None] * np.exp(exponent.astype(f64)).astype(f32)
    parts = [np.sin(angle.astype(f64)), np.cos(angle.astype(f64))]
    return rounded(np.concatenate(parts[::-1] if c["flip_sin_to_cos"] else parts, 1))


def linspace(start, stop, n):
    """torch.linspace in float32: from both ends to the middle."""
    i, a, b = np.arange(n, dtype=f32), np.full(n, start, f32), np.full(n, stop, f32)
    step = (b - a) / f32(max(n - 1, 1))
    return np.where(i < n // 2, a + step * i, b - step * (f32(n - 1) - i)) if n > 1 else a


def grid_places(c, rows, cols):
    """Where RoPE sees rows and columns of tokens. The 1.5 models: 0, 1, 2, ... The 1.0 models stretch the
    grid over that of the sample size, centred. Trap: not up to the far edge but to (n-1)/n of it."""
    if c["patch_size_t"]:
        return np.arange(rows, dtype=f32), np.arange(cols, dtype=f32)
    base = c["sample_height"] // c["patch_size"], c["sample_width"] // c["patch_size"]
    if rows / cols > base[0] / base[1]:
        fit = base[0], round(base[0] / rows * cols)
    else:
        fit = round(base[1] / cols * rows), base[1]
    first = [round((of - n) / 2) for of, n in zip(base, fit)]
    return [linspace(a, (a + of) * (n - 1) / n, n) for a, of, n in zip(first, fit, (rows, cols))]


def rope_tables(c, frames, rows, cols):
    """get_3d_rotary_pos_embed: cos, sin [V,Dh/2]. Of a head's pairs the first 1/4 turn with time, 3/8 with
    rows, 3/8 with columns, at 10000^(-2j/width). Trap: time counts tokens, of patch_size_t latent frames."""
    Dh, angles = c["attention_head_dim"], []
    of_row, of_col = grid_places(c, rows, cols)
    f, y, x = np.indices((frames, rows, cols)).reshape(3, -1)
    for width, place in ((Dh // 4, f.astype(f32)), (Dh // 8 * 3, of_row[y]), (Dh // 8 * 3, of_col[x])):
        exponent = np.arange(0, width, 2, dtype=f32) / f32(width)
        angles.append(place[:, None] * (f32(1) / (10000 ** exponent.astype(f64)).astype(f32)))
    angles = np.concatenate(angles, 1).astype(f64)
    return rounded(np.cos(angles)), rounded(np.sin(angles))


def sincos_positions(c, D, L, frames, rows, cols):
    """get_3d_sincos_pos_embed (2B): [S,D], 0 for the text; sines, then cosines of time D/4, columns 3D/8,
    rows 3D/8. Trap: in that order."""
    f, y, x = np.indices((frames, rows, cols)).reshape(3, -1)
    time, space, parts = c["temporal_interpolation_scale"], c["spatial_interpolation_scale"], []
    for width, place in ((D // 4, f / time), (3 * D // 8, x / space), (3 * D // 8, y / space)):
        angle = place[:, None] * 10000 ** (-np.arange(width // 2) / (width / 2))
        parts += [np.sin(angle), np.cos(angle)]
    return np.concatenate([np.zeros((L, D)), np.concatenate(parts, 1)])


# ---- The transformer

VECTORS = "shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"  # the video's, then the text's
QK_EPS = 1e-6  # fixed in CogVideoXBlock; every other norm has norm_eps
OFS = 2.0  # what the 1.5 pipeline passes, always


class Transformer:
    """CogVideoXTransformer3DModel: x [B,F,Cin,h,w], text [B,L,Dt], t [B] -> v [B,F,C,h,w]; and from dv back
    to the adapter's gradient: lora {"BLOCK.attn1.to_q.lora_A.weight": A [R,D], ...lora_B...: B [D,R]}."""

    def __init__(self, folder, see, lora, scale):
        self.c, self.w = load(folder)
        self.see, self.lora, self.scale = see, lora, scale
        c, self.eps, self.layers = self.c, self.c["norm_eps"], self.c["num_layers"]
        self.A, self.D = c["num_attention_heads"], c["num_attention_heads"] * c["attention_head_dim"]
        self.p, self.pt = c["patch_size"], c["patch_size_t"] or 1
        self.rotary = c["use_rotary_positional_embeddings"]
        patch = self.w["patch_embed.proj.weight"]  # the 1.0 models: a convolution's, which is the same matrix
        self.w["patch_embed.proj.weight"] = patch.reshape(len(patch), -1)

    # What goes in

    def mlp(self, name, x):
        """TimestepEmbedding: W2 silu(W1 x + b1) + b2"""
        hidden = self.see(f"{name}.linear_1", linear(x, self.w, f"{name}.linear_1"))
        return self.see(name, linear(self.see(f"{name}.act", silu(hidden)), self.w, f"{name}.linear_2"))

    def embed_time(self, t):
        """emb [B,E] = mlp(sinusoid(t)) + mlp(sinusoid(ofs)); gives silu(emb), which the norms' linears take.
        Traps: the sinusoid has the model's width; the silu is of the sum."""
        emb = self.mlp("time_embedding", self.see("time_proj", sinusoid(t, self.D, self.c)))
        if self.c.get("ofs_embed_dim"):
            table = sinusoid(self.see("ofs", [OFS]), self.c["ofs_embed_dim"], self.c)
            emb = emb + self.mlp("ofs_embedding", self.see("ofs_proj", table))
        return self.see("emb.silu", silu(self.see("emb", emb)))

    def patchify(self, x):
        """[B,F,C,h,w] -> [B,V,K], K = C pt p p. Trap: the channel is the slowest index of a patch."""
        B, F, C, h, w = x.shape
        self.grid = frames, rows, cols = F // self.pt, h // self.p, w // self.p
        x = x.reshape(B, frames, self.pt, C, rows, self.p, cols, self.p)
        return x.transpose(0, 1, 4, 6, 3, 2, 5, 7).reshape(B, frames * rows * cols, -1)

    def unpatchify(self, y):
        """The reverse. Both are permutations: each is the other's backward."""
        (frames, rows, cols), B, p, pt = self.grid, len(y), self.p, self.pt
        y = y.reshape(B, frames, rows, cols, -1, pt, p, p).transpose(0, 1, 5, 4, 2, 6, 3, 7)
        return y.reshape(B, frames * pt, -1, rows * p, cols * p)

    def embed_inputs(self, x, text):
        """CogVideoXPatchEmbed: h [B,S,D] = [text_proj(text) ; proj(patches)] + positions"""
        c, w, see = self.c, self.w, self.see
        patches = see("patch_embed.patches", self.patchify(x))
        video = see("patch_embed.proj", linear(patches, w, "patch_embed.proj"))
        words = see("patch_embed.text_proj", linear(text, w, "patch_embed.text_proj"))
        self.L, self.V, h = words.shape[1], video.shape[1], np.concatenate([words, video], 1)
        if self.rotary:
            self.cos, self.sin = rope_tables(c, *self.grid)
            see("rope.cos", self.cos), see("rope.sin", self.sin)
        learned = c["use_learned_positional_embeddings"]  # 5B-I2V: a table for the frames it was made for
        if learned and x.shape[1] == (c["sample_frames"] - 1) // c["temporal_compression_ratio"] + 1:
            h = h + see("positions", w["patch_embed.pos_embedding"][0])
        elif learned or not self.rotary:
            h = h + see("positions", sincos_positions(c, self.D, self.L, *self.grid))
        return see("patch_embed", h)

    # What a block is made of

    def adapted(self, name, x):
        """peft's lora.Linear: y = x W^T + b + s (x A^T) B^T. Trap: s = alpha / R is easily forgotten."""
        y = linear(x, self.w, name)
        if f"{name}.lora_A.weight" in self.lora:
            self.see(f"{name}.base_layer", y)
            lora_mid = self.see(f"{name}.lora_A", x @ self.lora[f"{name}.lora_A.weight"].T)  # [B,S,R]
            y = y + self.scale * lora_mid @ self.lora[f"{name}.lora_B.weight"].T
        return self.see(name, y)

    def adapted_backward(self, name, dy, x):
        """dB += s dy^T (x A^T);  dlora_mid = s dy B;  dA += dlora_mid^T x;  dx = dy W + dlora_mid A"""
        if f"{name}.lora_A.weight" not in self.lora:
            return linear_backward(dy, self.w, name)
        A, B = self.lora[f"{name}.lora_A.weight"], self.lora[f"{name}.lora_B.weight"]
        dlora_mid = self.scale * dy @ B
        for b in range(len(x)):  # gradients are sums over tokens and videos
            self.grad[f"{name}.lora_B.weight"] += self.scale * dy[b].T @ (x[b] @ A.T)
            self.grad[f"{name}.lora_A.weight"] += dlora_mid[b].T @ x[b]
        return linear_backward(dy, self.w, name) + dlora_mid @ A

    def norm(self, name, x):
        """CogVideoXLayerNormZero: y [B,S,D] = LN(x) (1 + scale) + shift; also gives scale and gate.
        Traps: shift comes before scale; the video's three before the text's; gamma and beta are shared."""
        see, rows = self.see, (self.L, self.V)
        vectors = see(f"{name}.linear", linear(self.emb, self.w, f"{name}.linear"))  # [B,6D]
        six = [see(f"{name}.{part}", one) for part, one in zip(VECTORS, np.split(vectors, 6, 1))]
        both = [np.stack([text, video], 1).repeat(rows, 1) for video, text in zip(six[:3], six[3:])]
        shift, scale, gate = both  # [B,S,D] each: the text's vector L times, then the video's V times
        normed = see(f"{name}.norm", layer_norm(x, self.w, f"{name}.norm", self.eps))
        return see(name, normed * (1 + scale) + shift), scale, gate

    def norm_backward(self, name, dy, x, scale):
        """dx through y = LN(x) (1 + scale) + shift"""
        return layer_norm_backward(dy * (1 + scale), x, self.w, f"{name}.norm", self.eps)

    def qk(self, name, which, x):
        """q = rope(LN(x)), x [B,S,A,Dh]; k likewise. Traps: the norm is over Dh, of eps 1e-6, comes first."""
        x = self.see(f"{name}.norm_{which}", layer_norm(x, self.w, f"{name}.norm_{which}", QK_EPS))
        return self.see(f"{name}.rope_{which}", rope(x, self.cos, self.sin, self.L)) if self.rotary else x

    def qk_backward(self, name, which, dy, x):
        if self.rotary:
            dy = rope_backward(dy, self.cos, self.sin, self.L)
        return layer_norm_backward(dy, x, self.w, f"{name}.norm_{which}", QK_EPS)

    def block(self, i, h):
        """CogVideoXBlock: h1 = h + gate1 to_out(attention(norm1(h)));  h2 = h1 + gate2 ff(norm2(h1))"""
        see, w, name, heads = self.see, self.w, f"transformer_blocks.{i}", (*h.shape[:2], self.A, -1)
        attn, ff = f"{name}.attn1", f"{name}.ff.net"
        n1, scale1, gate1 = self.norm(f"{name}.norm1", h)
        q_in, k_in, v = (self.adapted(f"{attn}.to_{which}", n1).reshape(heads) for which in "qkv")
        q, k = self.qk(attn, "q", q_in), self.qk(attn, "k", k_in)
        o = see(f"{attn}.attention", attention(q, k, v).reshape(h.shape))
        h1 = see(f"{name}.h1", h + gate1 * self.adapted(f"{attn}.to_out.0", o))
        n2, scale2, gate2 = self.norm(f"{name}.norm2", h1)
        up = self.adapted(f"{ff}.0.proj", n2)  # [B,S,4D]
        y = see(f"{name}.ff", self.adapted(f"{ff}.2", see(f"{ff}.0", gelu(up))))
        self.stored[i] = h, n1, scale1, gate1, q_in, k_in, q, k, v, o, h1, n2, scale2, gate2, up
        return see(name, h1 + gate2 * y)

    def block_backward(self, i, dh):
        """dh [B,S,D]: of the block's output -> of its input (block 0 could stop at its adapters)."""
        w, name = self.w, f"transformer_blocks.{i}"
        attn, ff = f"{name}.attn1", f"{name}.ff.net"
        h, n1, scale1, gate1, q_in, k_in, q, k, v, o, h1, n2, scale2, gate2, up = self.stored[i]
        # h2 = h1 + gate2 ff(norm2(h1)): the residual hands dh on, the branch adds to it
        dup = gelu_backward(self.adapted_backward(f"{ff}.2", gate2 * dh, gelu(up)), up)
        dh = dh + self.norm_backward(f"{name}.norm2", self.adapted_backward(f"{ff}.0.proj", dup, n2), h1, scale2)
        # h1 = h + gate1 to_out(attention(norm1(h)))
        do = self.adapted_backward(f"{attn}.to_out.0", gate1 * dh, o)
        dq, dk, dv = attention_backward(do.reshape(q.shape), q, k, v)
        dq, dk = self.qk_backward(attn, "q", dq, q_in), self.qk_backward(attn, "k", dk, k_in)
        dn1 = 0  # q, k and v are computed from the same n1
        for which, d in zip("qkv", (dq, dk, dv)):
            dn1 = dn1 + self.adapted_backward(f"{attn}.to_{which}", d.reshape(h.shape), n1)
        return dh + self.norm_backward(f"{name}.norm1", dn1, h, scale1)

    # The whole

    def head(self, h):
        """v = unpatchify(proj_out(norm_out(norm_final(h)))) of the video rows [B,V,D]. Traps: two norms, one
        after the other; the vectors of the second (AdaLayerNorm) are shift, then scale."""
        see, w = self.see, self.w
        first = see("norm_final", layer_norm(h[:, self.L :], w, "norm_final", self.eps))
        vectors = see("norm_out.linear", linear(self.emb, w, "norm_out.linear"))
        shift, scale = (see(f"norm_out.{part}", x) for part, x in zip(VECTORS, np.split(vectors, 2, 1)))
        normed = see("norm_out.norm", layer_norm(first, w, "norm_out.norm", self.eps))
        last = see("norm_out", normed * (1 + scale[:, None]) + shift[:, None])
        self.stored["head"] = h, first, scale
        return self.unpatchify(see("proj_out", linear(last, w, "proj_out")))

    def head_backward(self, dv):
        """dh [B,S,D]: 0 in the text rows, which the head never reads"""
        h, first, scale = self.stored["head"]
        dlast = linear_backward(self.patchify(dv), self.w, "proj_out") * (1 + scale[:, None])
        dfirst = layer_norm_backward(dlast, first, self.w, "norm_out.norm", self.eps)
        dh = np.zeros_like(h)
        dh[:, self.L :] = layer_norm_backward(dfirst, h[:, self.L :], self.w, "norm_final", self.eps)
        return dh

    def forward(self, x, text, t):
        for name, given in ("x", x), ("text", text), ("t", t):
            self.see(name, given)
        self.stored, self.emb = {}, self.embed_time(t)  # stored: what backward needs
        h = self.embed_inputs(x, text)
        for i in range(self.layers):
            h = self.block(i, h)
        return self.see("v", self.head(h))

    def backward(self, dv, grad):
        """Adds the adapter's gradient to grad {name: array}. Nothing upstream of the blocks learns."""
        self.grad, dh = grad, self.head_backward(self.see("grad.v", dv))
        for i in reversed(range(self.layers)):
            dh = self.block_backward(i, self.see(f"grad.transformer_blocks.{i}", dh))


# ---- The VAE. Inside, a chunk is [T,H,W,C] at its present resolution


def correlate(x, kernel, bias, stride=1):
    """y[t,i,j] = b + sum over (dt,dy,dx) of K[..,dt,dy,dx] x[t+dt, stride i + dy, stride j + dx]: torch's
    convolution of an x [T,H,W,in] that is padded already, K [out,in,kt,kh,kw]."""
    T = x.shape[0] - kernel.shape[2] + 1
    H, W = ((n - kernel.shape[3]) // stride + 1 for n in x.shape[1:3])
    y = np.zeros((T, H, W, len(kernel))) + bias
    for dt, dy, dx in np.ndindex(kernel.shape[2:]):
        rows, cols = slice(dy, dy + stride * H, stride), slice(dx, dx + stride * W, stride)
        y += x[dt : dt + T, rows, cols] @ kernel[:, :, dt, dy, dx].T
    return y


def pad(x, before, after):
    """Zeros around every frame: above and to the left, below and to the right."""
    return np.pad(x, ((0, 0), (before, after), (before, after), (0, 0)))


def group_norm(x, w, name, groups, eps):
    """torch.nn.GroupNorm. Trap: statistics are over this chunk's frames only: other chunks give other results."""
    g = x.reshape(-1, groups, x.shape[-1] // groups)
    g = (g - g.mean((0, 2), keepdims=True)) / np.sqrt(g.var((0, 2), keepdims=True) + eps)
    return g.reshape(x.shape) * w[f"{name}.weight"] + w[f"{name}.bias"]


def split_first(x):
    """Frame 0 and the others, if their number is odd (then frame 0 is special); else none and all.
    Trap: the number decides, not whether the chunk is the first."""
    return (x[:1], x[1:]) if len(x) % 2 else (x[:0], x)


def nearest(z, T, H, W):
    """z [F,h,w,C] enlarged to [T,H,W,C]; where T is odd, frame 0 and the others each on their own."""
    if T % 2 and T > 1:
        return np.concatenate([nearest(z[:1], 1, H, W), nearest(z[1:], T - 1, H, W)])
    t, y, x = (np.arange(n) * of // n for n, of in zip((T, H, W), z.shape))
    return z[t][:, y][:, :, x]


def chunks_of(n, size):
    """Slices of `size` of n frames. Trap: the first takes the remainder: 17 = 9 + 8, 3 = 3."""
    ends = [n - size * i for i in reversed(range(max(n // size, 1)))]
    return [slice(a, b) for a, b in zip([0, *ends], ends)]


class Vae:
    """AutoencoderKLCogVideoX. encode: video [T,3,H,W] -> moments [F,2C,h,w]; decode: [F,C,h,w] -> video"""

    def __init__(self, folder, see):
        self.c, self.w = load(folder)
        self.see, self.levels = see, len(self.c["block_out_channels"])
        self.halvings = int(math.log2(self.c["temporal_compression_ratio"]))  # levels that change time

    def conv(self, name, x):
        """CogVideoXCausalConv3d: y_t sees frames t-2, t-1, t. Trap: zeros are around frames only; two
        copies of it precede a video's first frame, the last two frames of the chunk before precede a later chunk."""
        x = np.concatenate([self.past.get(name, x[:1].repeat(2, 0)), x])
        self.past[name] = x[-2:]
        kernel, bias = self.w[f"{name}.conv.weight"], self.w[f"{name}.conv.bias"]
        return self.see(name, correlate(pad(x, 1, 1), kernel, bias))

    def pointwise(self, name, x):
        return correlate(x, self.w[f"{name}.weight"], self.w[f"{name}.bias"])

    def norm(self, name, x, eps):
        """Encoder: GroupNorm. Decoder, CogVideoXSpatialNorm3D: y = GN(x) Cy(z) + Cb(z), z the latents of the
        chunk, enlarged (before or after the 1x1x1 convolutions Cy and Cb: it's the same).
        Traps: not 1 + Cy; eps is 1e-6 there, whatever norm_eps is."""
        groups = self.c["norm_num_groups"]
        if self.z is None:
            return self.see(name, group_norm(x, self.w, name, groups, eps))
        inner = f"{name}.norm_layer"
        normed = self.see(inner, group_norm(x, self.w, inner, groups, 1e-6))
        times, plus = (nearest(self.pointwise(f"{name}.conv_{c}.conv", self.z), *x.shape[:3]) for c in "yb")
        return self.see(name, normed * times + plus)

    def resnet(self, name, x):
        """CogVideoXResnetBlock3D: y = conv2(silu(norm2(conv1(silu(norm1(x)))))) + shortcut(x)"""
        eps, shortcut = self.c["norm_eps"], f"{name}.conv_shortcut"
        y = self.conv(f"{name}.conv1", silu(self.norm(f"{name}.norm1", x, eps)))
        y = self.conv(f"{name}.conv2", silu(self.norm(f"{name}.norm2", y, eps)))
        if f"{shortcut}.weight" in self.w:
            x = self.see(shortcut, self.pointwise(shortcut, x))
        return self.see(name, x + y)

    def downsample(self, name, x, time):
        """CogVideoXDownsample3D: pairs of frames averaged, then a 3x3 convolution of stride 2 of each frame.
        Traps: an odd number keeps frame 0 as it is; zeros are on the right and at the bottom only."""
        if time:
            first, rest = split_first(x)
            x = np.concatenate([first, (rest[0::2] + rest[1::2]) / 2])
        kernel, bias = self.w[f"{name}.conv.weight"][:, :, None], self.w[f"{name}.conv.bias"]
        return self.see(name, correlate(pad(x, 0, 1), kernel, bias, stride=2))

    def upsample(self, name, x, time):
        """CogVideoXUpsample3D: a pixel becomes four, a frame two, then a 3x3 convolution of each frame.
        Trap: an odd number keeps frame 0 single: T -> 2T - 1."""
        if time:
            first, rest = split_first(x)
            x = np.concatenate([first, rest.repeat(2, 0)])
        kernel, bias = self.w[f"{name}.conv.weight"][:, :, None], self.w[f"{name}.conv.bias"]
        return self.see(name, correlate(pad(x.repeat(2, 1).repeat(2, 2), 1, 1), kernel, bias))

    def encoder(self, x):
        """CogVideoXEncoder3D, one chunk: [T,H,W,3] -> [T/4,H/8,W/8,2C] if there are four levels"""
        self.z, x = None, self.conv("encoder.conv_in", x)
        for i in range(self.levels):
            for j in range(self.c["layers_per_block"]):
                x = self.resnet(f"encoder.down_blocks.{i}.resnets.{j}", x)
            if i < self.levels - 1:
                x = self.downsample(f"encoder.down_blocks.{i}.downsamplers.0", x, i < self.halvings)
        for j in range(2):
            x = self.resnet(f"encoder.mid_block.resnets.{j}", x)
        x = self.conv("encoder.conv_out", silu(self.norm("encoder.norm_out", x, 1e-6)))
        return self.see("quant_conv", self.pointwise("quant_conv", x)) if self.c["use_quant_conv"] else x

    def decoder(self, z):
        """CogVideoXDecoder3D, one chunk: [F,h,w,C] -> [4F,8h,8w,3]. Trap: z goes to every norm, unscaled."""
        if self.c["use_post_quant_conv"]:
            z = self.see("post_quant_conv", self.pointwise("post_quant_conv", z))
        self.z, x = z, self.conv("decoder.conv_in", z)
        for j in range(2):
            x = self.resnet(f"decoder.mid_block.resnets.{j}", x)
        for i in range(self.levels):
            for j in range(self.c["layers_per_block"] + 1):
                x = self.resnet(f"decoder.up_blocks.{i}.resnets.{j}", x)
            if i < self.levels - 1:
                x = self.upsample(f"decoder.up_blocks.{i}.upsamplers.0", x, i < self.halvings)
        return self.conv("decoder.conv_out", silu(self.norm("decoder.norm_out", x, 1e-6)))

    def run(self, half, x, size):
        """Chunk after chunk; x and what comes out are [T,C,H,W]."""
        self.past, made, prefix, chunks = {}, [], self.see.prefix, chunks_of(len(x), size)
        for i, chunk in enumerate(chunks):
            self.see.prefix = prefix + (f"chunk.{i + 1}." if len(chunks) > 1 else "")
            made.append(half(x[chunk].transpose(0, 2, 3, 1)))
        self.see.prefix = prefix
        return np.concatenate(made).transpose(0, 3, 1, 2)

    def encode(self, video):
        return self.see("moments", self.run(self.encoder, self.see("video", video), 8))

    def decode(self, latents):
        return self.see("video", self.run(self.decoder, self.see("latents", latents), 2))


def posterior_sample(moments, noise):
    """DiagonalGaussianDistribution: mean + exp(log variance / 2) noise. Trap: a sample, not the mode."""
    mean, log_variance = np.split(moments, 2, 1)
    return mean + np.exp(0.5 * log_variance.clip(-30, 20)) * noise


# ---- Learning and sampling: loops around the transformer


def alphas_of(folder):
    """CogVideoXDDIMScheduler's alphas_cumprod [num_train_timesteps]: the signal's share of the power at t; and its
    final_alpha_cumprod, for the step that ends before t = 0.
    Traps: snr_shift_scale comes before the rescaling; at the last t there is exactly no signal."""
    c = json.loads((folder / "scheduler_config.json").read_text())
    betas = np.linspace(c["beta_start"] ** 0.5, c["beta_end"] ** 0.5, c["num_train_timesteps"]) ** 2
    alphas, s = np.cumprod(1 - betas), c["snr_shift_scale"]
    root = np.sqrt(alphas / (s + (1 - s) * alphas))
    if c["rescale_betas_zero_snr"]:
        root = (root - root[-1]) * root[0] / (root[0] - root[-1])
    return root**2, 1.0 if c.get("set_alpha_to_one", True) else root[0] ** 2


def transformer_of(model, golden, facts, see):
    """With the adapter that the golden holds, or none."""
    lora = {name.removeprefix("adapter."): x for name, x in golden.items() if name.startswith("adapter.")}
    scale = float(facts["lora_alpha"]) / float(facts["lora_rank"]) if lora else 0.0
    return Transformer(model / "transformer", see, lora, scale)


def batch_loss(transformer, golden, alphas, step, videos, of, grad):
    """Of some of a step's `of` videos, their part of loss = mean (v - v*)^2, and its gradient, added to grad:
    x_t = sqrt(a) z + sqrt(1-a) noise,  v* = sqrt(a) noise - sqrt(1-a) z,  v = transformer([x_t ; c, 0, ..])
    Traps: a is rounded to float32 before its root and its complement are taken; the padding frame gets noise
    and counts like any other; of the image's half of x only frame 0 isn't zero."""
    t, pair, noise = (golden[name][step, videos] for name in ("t", "pair", "noise"))
    z, condition = golden["videos"][pair.astype(int)], np.zeros_like(noise)  # [B,F,C,h,w]
    condition[:, 0] = golden["images"][pair.astype(int)]
    a = rounded(alphas[t.astype(int)])[:, None, None, None, None]
    x = np.concatenate([np.sqrt(a) * z + np.sqrt(1 - a) * noise, condition], 2)
    target = transformer.see("target", np.sqrt(a) * noise - np.sqrt(1 - a) * z)
    v = transformer.forward(x, golden["text"][None].repeat(len(z), 0), t)
    transformer.backward(2 * (v - target) / (of * z[0].size), grad)
    return ((v - target) ** 2).sum() / (of * z[0].size)


def adamw(x, g, m, v, k, lr, decay, beta1=0.9, beta2=0.95, eps=1e-8):
    """torch.optim.AdamW's step k = 1, 2, ..., in place.
    Traps: eps is added after the bias-corrected root; decay shrinks x itself, and comes first."""
    x *= 1 - lr * decay
    m += (1 - beta1) * (g - m)
    v += (1 - beta2) * (g * g - v)
    x -= lr * m / (1 - beta1**k) / (np.sqrt(v / (1 - beta2**k)) + eps)


def train(model, golden, facts, see):
    """Every step: the adapter's gradient, clipped by its norm over all matrices together, AdamW."""
    transformer, alphas = transformer_of(model, golden, facts, see), alphas_of(model / "scheduler")[0]
    lr, clip, decay = (float(facts[name]) for name in ("lr", "clip", "weight_decay"))
    m, v = ({name: np.zeros_like(x) for name, x in transformer.lora.items()} for _ in "mv")
    steps, of = golden["t"].shape
    batches = np.split(np.arange(of), int(facts["accumulate"]))
    for k in range(1, steps + 1):
        grad, loss = {name: np.zeros_like(x) for name, x in transformer.lora.items()}, 0
        for i, videos in enumerate(batches):
            see.prefix = f"step.{k}." + (f"batch.{i + 1}." if len(batches) > 1 else "")
            loss += batch_loss(transformer, golden, alphas, k - 1, videos, of, grad)
        see.prefix, norm = f"step.{k}.", math.sqrt(sum((g**2).sum() for g in grad.values()))
        for name, x in ("loss", loss), ("grad_norm", norm), ("lr", lr):
            see(name, [x])
        for name, x in transformer.lora.items():
            clipped = see(f"grad.{name}", grad[name]) * min(1, clip / (norm + 1e-6))
            adamw(x, clipped, m[name], v[name], k, lr, decay)
            see(f"adapter.{name}", x), see(f"adamw.m.{name}", m[name]), see(f"adamw.v.{name}", v[name])


def sample(model, golden, facts, see):
    """CogVideoXImageToVideoPipeline with DDIM. Traps: of n timesteps a step ends at t - floor(n/N), not always
    the next t; the negative prompt comes first; frames that pad the latents come first."""
    if facts["dpm"] != "0":
        sys.exit("twin: DDIM is the only sampler here")
    transformer, vae = transformer_of(model, golden, facts, see), Vae(model / "vae", see)
    (alphas, final), steps, guidance = alphas_of(model / "scheduler"), int(facts["steps"]), float(facts["guidance"])
    n = len(alphas)
    text = np.stack([golden["negative"], golden["prompt"]] if guidance > 1 else [golden["prompt"]])
    see.prefix = "encode."
    image = posterior_sample(vae.encode(golden["image"][None]), golden["image_noise"])
    x, condition = golden["noise"], np.zeros_like(golden["noise"])  # [F,C,h,w]
    condition[0] = float(facts["image_latent_scale"]) * image[0]
    see.prefix = ""
    see("image_latents", condition)
    for k, t in enumerate(np.round(n - np.arange(steps) * (n / steps)).astype(int) - 1, 1):
        see.prefix = f"step.{k}."
        twice = np.concatenate([x, condition], 1)[None].repeat(len(text), 0)
        v = transformer.forward(twice, text, np.full(len(text), t))
        see.prefix, g = "", guidance
        if facts["dynamic_guidance"] == "1":
            g = 1 + g * (1 - math.cos(math.pi * ((steps - t) / steps) ** 5)) / 2
        v = v[0] + g * (v[-1] - v[0])  # v[-1] is v[0] without guidance
        a, to = alphas[t], t - n // steps
        b = alphas[to] if to >= 0 else final
        x0, keep = math.sqrt(a) * x - math.sqrt(1 - a) * v, math.sqrt((1 - b) / (1 - a))
        x = keep * x + (math.sqrt(b) - math.sqrt(a) * keep) * x0
        see(f"velocity.{k}", v), see(f"latents.{k}", x)
    see.prefix = "decode."
    video = vae.decode(x[int(facts["padding"]) :] / vae.c["scaling_factor"])
    see.prefix = ""
    see("video", (video / 2 + 0.5).clip(0, 1))


# ---- What a golden asks for. Its inputs are carried over; what the trace receives is the result

RUNS = {
    "transformer": lambda *of: transformer_of(*of).forward(*(of[1][name] for name in ("x", "text", "t"))),
    "vae-encode": lambda model, golden, facts, see: Vae(model / "vae", see).encode(golden["video"]),
    "vae-decode": lambda model, golden, facts, see: Vae(model / "vae", see).decode(golden["latents"]),
    "train": train,
    "sample": sample,
}
INPUTS = "videos", "images", "text", "t", "pair", "noise", "image", "prompt", "negative", "image_noise"


def main(model, golden_path, out):
    golden, facts = read_safetensors(golden_path)
    if facts.get("tiled", "0") != "0":
        sys.exit("twin: tiles are not here: make the golden without --tiled")
    see = Trace(golden)
    for name, x in golden.items():
        if name in INPUTS or name.startswith("adapter."):
            see(name, x)
    RUNS[facts["what"]](pathlib.Path(model), golden, facts, see)
    write_safetensors(out, see.tensors, {"precision": "f32"})
    missing = [name for name in golden if name not in see.tensors]
    print(f"{len(see.tensors)} of {len(golden)} tensors", *(["without", *missing] if missing else []))


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python python/twin.py MODEL golden.safetensors out.safetensors")
    main(*sys.argv[1:])
