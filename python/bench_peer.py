"""The jobs of `vdm bench` in PyTorch, diffusers and peft, in alternation with it: A B A B ... on one machine, one job
after the other, so that disturbances of the machine affect both. Prints for each job the ratio of the times, PyTorch's
over vdm's (above 1: vdm is faster), its minimum, median and maximum over the rounds, and the peak memory.

    python python/bench_peer.py [NAME...] [--precision bf16|amx] [--rounds 5] [--runs 2] [--threads N] [--json FILE] [--help]

Names and sizes are vdm's, read from the program. The peer runs at its best:
  - OPENBLAS_*, MKL_*, OMP_*, ATEN_* ... of the environment are unset; OMP_NUM_THREADS = torch's threads = --threads
    (all cores that may be used), threads not bound; the instruction set as PyTorch chooses (the JSON names it);
  - malloc keeps freed memory (MALLOC_TOP_PAD_, MALLOC_MMAP_MAX_, MALLOC_TRIM_THRESHOLD_): otherwise PyTorch would
    return large tensors to the system after every operation and fault the pages in again;
  - scaled_dot_product_attention (diffusers' own choice), inference mode where nothing is learned, the fused AdamW;
  - of the modes below each is tried, the fastest runs in the rounds: eager, torch.compile, torch.compile with frozen
    weights (packed once), and of convolutions channels_last_3d; in bf16 weights of bf16, and autocast.
f32 is f32: matmul precision "highest". A job of vdm whose name ends in bf16w has bf16 weights, and its peer computes in
bf16 altogether; vdm does so with --precision bf16 or amx, else in f32. The peer of the embedded model (tiny) computes in f32
where vdm does, and with another --precision in whatever is fastest. Sampling with an adapter: fused into the weights, as
diffusers' fuse_lora does: fewer operations than vdm's, which does not merge it; tiny.sample.base has no adapter on
either side.
Memory: the maximum that was resident, of vdm in the round that needed most, of PyTorch in the mode that needed
least, with malloc's defaults, and without the memory of the imports (printed separately). vdm's is left out if
vdm bench holds arrays of its own to measure the memory's speed.

Needs torch, diffusers, peft (make peer's environment); VDM names the program (build/vdm)."""

import argparse
import json
import math
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
MALLOC = dict(MALLOC_TOP_PAD_="4000000000", MALLOC_MMAP_MAX_="0", MALLOC_TRIM_THRESHOLD_="16000000000")
SAMPLE = 0.05  # seconds that a sample takes at least, as in vdm bench

# ------------------------------------------------------------------------------------------------
# The peer: one process for one job in one mode. Everything below `worker` runs there, where torch is imported.


def peak_bytes():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Kernels:
    """What single kernels compute. Each method gives the function to time; sizes as in tools/bench/bench_jobs.c."""

    def __init__(self, torch, dtype, last):
        self.torch, self.F, self.dtype, self.last = torch, torch.nn.functional, dtype, last

    def randn(self, *shape, scale=1.0):
        return (scale * self.torch.randn(*shape)).to(self.dtype)

    def linear(self, out, into):
        layer = self.torch.nn.Linear(into, out, dtype=self.dtype).requires_grad_(False)
        return layer

    def forward(self, M, N, K, times, *_):
        x = self.randn(M, K)
        layers = self.torch.nn.ModuleList(self.linear(N, K) for _ in range(times))

        class Run(self.torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = layers

            def forward(self, x):
                return [layer(x) for layer in self.layers]

        return Run(), (x,)

    def input_gradient(self, M, N, K, *_):
        return (lambda dy, w: dy @ w), (self.randn(M, N), self.randn(N, K))

    def weight_gradient(self, M, N, K, *_):
        return (lambda dw, dy, x: dw.addmm_(dy.T, x)), (self.randn(N, K), self.randn(M, N), self.randn(M, K))

    def heads(self, B, A, S, Dh):
        return self.randn(B, S, A * Dh).view(B, S, A, Dh).transpose(1, 2)

    def attention(self, B, A, S, Dh, *_):
        def run(q, k, v):
            return self.F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(B, S, A * Dh)

        return run, tuple(self.heads(B, A, S, Dh) for _ in range(3))

    def attention_backward(self, B, A, S, Dh, *_):
        q, k, v = (self.heads(B, A, S, Dh).detach().requires_grad_() for _ in range(3))
        o = self.F.scaled_dot_product_attention(q, k, v)
        d_o = self.heads(B, A, S, Dh)
        return (lambda: self.torch.autograd.grad(o, (q, k, v), d_o, retain_graph=True)), ()

    def conv(self, T, H, W, into, out, kt, stride, *_):
        padding = (0, 1, 1) if stride == 1 else 0
        layer = self.torch.nn.Conv3d(
            into, out, (kt, 3, 3), stride=(1, stride, stride), padding=padding, dtype=self.dtype
        ).requires_grad_(False)
        x = self.randn(1, into, kt - 1 + T, H, W)
        if self.last:
            layer, x = layer.to(memory_format=self.last), x.to(memory_format=self.last)
        if stride == 1:
            return layer, (x,)
        return (lambda x: layer(self.F.pad(x, (0, 1, 0, 1)))), (x,)

    def layer_norm(self, S, D, *_):
        def run(x, gamma, beta, scale, shift):
            return self.F.layer_norm(x, (D,), gamma, beta, 1e-5) * (1 + scale) + shift

        return run, (self.randn(S, D), *(self.randn(D) for _ in range(4)))

    def head_norm(self, S, D, A, *_):
        gamma, beta = self.randn(D // A), self.randn(D // A)
        return (lambda x: self.F.layer_norm(x, (D // A,), gamma, beta, 1e-6)), (self.randn(S, A, D // A),)

    def group_norm(self, H, W, C, groups, *_):
        x = self.randn(1, C, H, W)
        x = x.to(memory_format=self.torch.channels_last) if self.last else x
        gamma, beta = self.randn(C), self.randn(C)
        return (lambda x: self.F.silu(self.F.group_norm(x, groups, gamma, beta, 1e-6))), (x,)

    def gelu(self, S, D, *_):
        return (lambda x: self.F.gelu(x, approximate="tanh")), (self.randn(S, D),)

    def silu(self, S, D, *_):
        return self.F.silu, (self.randn(S, D),)

    def gated_add(self, S, D, *_):
        return (lambda h, y, gate: h + gate * y), (self.randn(S, D), self.randn(S, D), self.randn(D))

    def rope(self, S, D, A, *_):
        from diffusers.models.embeddings import apply_rotary_emb

        tables = tuple(self.torch.randn(S, D // A) for _ in range(2))
        return (lambda x: apply_rotary_emb(x, tables)), (self.heads(1, A, S, D // A),)


class Models:
    """Whole jobs; sizes as in tools/bench/bench_models.c, whose configurations these are."""

    SLOTS = dict(
        patch_bias=False,
        patch_size_t=2,
        in_channels=32,
        attention_head_dim=64,
        use_rotary_positional_embeddings=True,
    )
    PUBLISHED = dict(
        num_attention_heads=48, num_layers=1, ofs_embed_dim=512, sample_frames=81, sample_height=300, sample_width=300
    )
    EMBEDDED = dict(
        num_attention_heads=4,
        num_layers=6,
        time_embed_dim=64,
        ofs_embed_dim=64,
        text_embed_dim=32,
        max_text_seq_length=2,
        sample_frames=9,
        sample_height=8,
        sample_width=8,
    )
    VAE = dict(
        block_out_channels=(128, 256, 256, 512),
        layers_per_block=3,
        latent_channels=16,
        sample_height=480,
        sample_width=720,
        scaling_factor=0.7,
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
    )

    def __init__(self, torch, dtype, last, autocast, quick):
        self.torch, self.dtype, self.last, self.quick = torch, dtype, last, quick
        self.weights = torch.float32 if autocast else dtype
        self.cast = torch.autocast("cpu", torch.bfloat16, enabled=autocast)

    def fill(self, make):
        """A model with random weights, made in the dtype that it will have, never larger."""
        torch = self.torch
        with torch.device("meta"):
            model = make().to(self.weights)
        model.to_empty(device="cpu").requires_grad_(False)
        for p in model.parameters():
            torch.nn.init.uniform_(p, -1, 1)
            p.mul_(1.7 / math.sqrt(p[0].numel()) if p.dim() > 1 else 0.1)
            if p.dim() == 1:
                p.add_(0.5)
        return model.eval()

    def randn(self, *shape):
        return self.torch.randn(*shape).to(self.weights)

    def transformer(self, which):
        from diffusers import CogVideoXTransformer3DModel

        config = {**self.SLOTS, **(self.EMBEDDED if which or self.quick else self.PUBLISHED)}
        if self.quick:
            config.update(num_attention_heads=1, num_layers=6 if which else 1)
        return self.fill(lambda: CogVideoXTransformer3DModel(**config))

    def inputs(self, model, B, h, w):
        from diffusers import CogVideoXImageToVideoPipeline

        class Pipeline:  # as much of it as the call below touches
            vae_scale_factor_spatial, transformer = 8, model

        c, torch = model.config, self.torch
        tables = CogVideoXImageToVideoPipeline._prepare_rotary_positional_embeddings(
            Pipeline(), 8 * h, 8 * w, 4, torch.device("cpu")
        )
        return dict(
            hidden_states=self.randn(B, 4, c.in_channels, h, w),
            encoder_hidden_states=self.randn(B, c.max_text_seq_length, c.text_embed_dim),
            timestep=torch.arange(B) * -37 + 999,
            ofs=self.randn(1).fill_(2.0),
            image_rotary_emb=tables,
            return_dict=False,
        )

    def adapter(self, model, rank):
        from peft import LoraConfig

        targets = ["to_k", "to_q", "to_v", "to_out.0"]
        model.add_adapter(LoraConfig(r=rank, lora_alpha=rank, target_modules=targets))
        trained = [p for n, p in model.named_parameters() if "lora_" in n]
        for p in trained:
            p.requires_grad_(True).data.normal_(std=0.01)
        return trained

    def forward(self, which, B, h, w, *_):
        model = self.transformer(which)
        inputs = self.inputs(model, B, h, w)
        return self.under_cast(lambda run: run(**inputs)[0]), model

    def learn(self, which, B, h, w, rank, bf16, stored, *_):
        model = self.transformer(which)
        self.adapter(model, rank)
        if not stored:
            model.enable_gradient_checkpointing()
        inputs, dv = self.inputs(model, B, h, w), self.randn(B, 4, 16, h, w)

        def step(run):
            v = run(**inputs)[0]
            v.backward(dv.to(v.dtype))

        return self.under_cast(step), model

    def training_step(self, which, B, h, w, rank, *_):
        torch, model = self.torch, self.transformer(which)
        trained = self.adapter(model, rank)
        optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.95), weight_decay=1e-4, fused=True)
        inputs, target = self.inputs(model, B, h, w), self.randn(B, 4, 16, h, w)

        def step(run):
            optimizer.zero_grad(set_to_none=True)
            with self.cast:
                v = run(**inputs)[0]
            ((v.float() - target.float()) ** 2).mean().backward()
            torch.nn.utils.clip_grad_norm_(trained, 1.0)
            optimizer.step()

        return step, model

    def sampling_step(self, which, B, h, w, *_):
        from diffusers import CogVideoXDDIMScheduler

        model = self.transformer(which)
        scheduler = CogVideoXDDIMScheduler(
            prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True,
            clip_sample=False, snr_shift_scale=1.0,
        )  # fmt: skip
        scheduler.set_timesteps(20)
        inputs, latents = self.inputs(model, B, h, w), self.randn(B, 4, 16, h, w)

        def step(run):
            return scheduler.step(run(**inputs)[0].float(), 499, latents.float(), return_dict=False)[0]

        return self.under_cast(step), model

    def vae(self, which, decode):
        from diffusers import AutoencoderKLCogVideoX

        config = dict(self.VAE)
        if which or self.quick:
            channels = (4, 4, 8, 8) if self.quick else (16, 32, 32, 64)
            config.update(block_out_channels=channels, layers_per_block=1, norm_num_groups=4)
        model = self.fill(lambda: AutoencoderKLCogVideoX(**config))
        setattr(model, "encoder" if decode else "decoder", None)  # vdm bench makes one half too
        for layer in model.modules() if self.last else ():
            if isinstance(layer, self.torch.nn.Conv3d):  # of the others' weights the layout is not defined
                layer.to(memory_format=self.last)
        return model

    def encode(self, which, T, H, W, *_):
        model, x = self.vae(which, False), self.randn(1, 3, T, H, W)
        x = x.to(memory_format=self.last) if self.last else x
        return self.under_cast(lambda run: model.encode(x, return_dict=False)[0].parameters), (model, "encoder")

    def decode(self, which, T, H, W, *_):
        model, z = self.vae(which, True), self.randn(1, 16, T, H, W)
        z = z.to(memory_format=self.last) if self.last else z
        return self.under_cast(lambda run: model.decode(z, return_dict=False)[0]), (model, "decoder")

    def under_cast(self, step):
        def cast(run):
            with self.cast:
                return step(run)

        return cast


# First parts of vdm's names -> method, modes in addition to "eager". The first that fits holds.
EAGER, COMPILED, FROZEN, LAST = [], ["compile"], ["compile", "frozen"], ["compile", "frozen", "last", "last compile"]
JOBS = [
    ("matmul.up.input", Kernels, "input_gradient", EAGER),
    ("matmul.lora.a.weight", Kernels, "weight_gradient", EAGER),
    ("matmul.lora.b.weight", Kernels, "weight_gradient", EAGER),
    ("matmul", Kernels, "forward", FROZEN),
    ("attention.1476.backward", Kernels, "attention_backward", EAGER),
    ("attention.2926.backward", Kernels, "attention_backward", EAGER),
    ("attention.small.backward", Kernels, "attention_backward", EAGER),
    ("attention", Kernels, "attention", EAGER),
    ("conv", Kernels, "conv", ["last", "frozen"]),
    ("norm.layer.backward", None, "", EAGER),
    ("norm.layer", Kernels, "layer_norm", COMPILED),
    ("norm.heads", Kernels, "head_norm", COMPILED),
    ("norm.group.statistics", None, "", EAGER),
    ("norm.group.spatial", None, "", EAGER),
    ("norm.group", Kernels, "group_norm", ["compile", "last", "last compile"]),
    ("pointwise.gelu.backward", None, "", EAGER),
    ("pointwise.gelu", Kernels, "gelu", COMPILED),
    ("pointwise.silu", Kernels, "silu", COMPILED),
    ("pointwise.gated_add", Kernels, "gated_add", COMPILED),
    ("pointwise.rope", Kernels, "rope", COMPILED),
    ("block.forward", Models, "forward", FROZEN),
    ("growth", Models, "forward", EAGER),
    ("block.learn", Models, "learn", COMPILED),
    ("tiny.learn", Models, "training_step", COMPILED),
    ("tiny.sample", Models, "sampling_step", FROZEN),
    ("tiny.vae.encode", Models, "encode", LAST),
    ("tiny.vae.decode", Models, "decode", LAST),
    ("vae.f32.encode", Models, "encode", LAST),
    ("vae.bf16w.encode", Models, "encode", LAST),
    ("vae.f32.decode", Models, "decode", LAST),
    ("vae.bf16w.decode", Models, "decode", LAST),
]


def peer_of(name):
    for first, where, method, modes in JOBS:
        if name == first or name.startswith(first + "."):
            return where, method, modes
    return None, "", []


def learns(name):
    return "learn" in name or "backward" in name or "weight" in name


def is_bf16(name):
    return "bf16w" in name or name.startswith("growth")


def prepare(torch, name, sizes, mode, quick):
    """The function of no arguments that does the job once."""
    words = mode.split()
    where, method, _ = peer_of(name)
    dtype = torch.bfloat16 if "bf16" in words or "autocast" in words else torch.float32
    last = torch.channels_last_3d if "last" in words else None
    if "frozen" in words:
        import torch._inductor.config as inductor

        inductor.freezing = True
    compiled = "compile" in words or "frozen" in words
    if where is Kernels:
        run, inputs = getattr(Kernels(torch, dtype, last), method)(*sizes)
        run = torch.compile(run) if compiled else run
        return lambda: run(*inputs)
    step, model = getattr(Models(torch, dtype, last, "autocast" in words, quick), method)(*sizes)
    if isinstance(model, tuple):  # a half of the VAE is what is compiled
        whole, half = model
        if compiled:
            setattr(whole, half, torch.compile(getattr(whole, half)))
        return lambda: step(whole)
    run = torch.compile(model) if compiled else model
    return lambda: step(run)


def sample(run, repeat):
    start = time.perf_counter()
    for _ in range(repeat):
        run()
    return (time.perf_counter() - start) / repeat


def worker(task):
    """Reads "go" lines, answers each with the seconds of so many runs; at the end says its memory."""
    import torch

    if task["model"]:  # all that the job imports is in `base`
        import diffusers
        import peft  # noqa: F401

        diffusers.utils.logging.set_verbosity_error()
        for part in ("Transformer3DModel", "ImageToVideoPipeline", "DDIMScheduler"):
            getattr(diffusers, f"CogVideoX{part}")
    answers, sys.stdout = sys.stdout, sys.stderr  # nothing else may speak there
    torch.set_num_threads(task["threads"])
    torch.manual_seed(0)
    base = peak_bytes()
    with torch.inference_mode(not learns(task["name"])):
        run = prepare(torch, task["name"], task["sizes"], task["mode"], task["quick"])
        for _ in range(2 if task["quick"] else 3):  # compiles, packs, fills caches
            seconds = sample(run, 1)
            if seconds > 20:  # minutes of warming up would change nothing
                break
        repeat = 1 if task["quick"] else min(100000, max(1, math.ceil(SAMPLE / seconds)))
        probe = min(sample(run, repeat) for _ in range(1 if seconds > 5 else 2))
        print(json.dumps(dict(probe=probe, version=torch.__version__,
                              capability=torch.backends.cpu.get_cpu_capability())), file=answers, flush=True)  # fmt: skip
        while sys.stdin.readline().strip() == "go":
            sample(run, 1)  # as vdm bench begins: while the other ran, caches were its own
            print(json.dumps([sample(run, repeat) for _ in range(task["runs"])]), file=answers, flush=True)
    print(json.dumps(dict(peak=peak_bytes(), base=base)), file=answers, flush=True)


# ------------------------------------------------------------------------------------------------
# The rounds


class Failed(Exception):
    pass


class Peer:
    """A worker process, its model ready."""

    def __init__(self, task, tuned):
        unset = ("OPENBLAS_", "MKL_", "MALLOC_", "OMP_", "GOMP_", "KMP_", "ATEN_", "DNNL_", "ONEDNN_")
        environment = {k: v for k, v in os.environ.items() if not k.startswith(unset)}
        environment.update(OMP_NUM_THREADS=str(task["threads"]), TOKENIZERS_PARALLELISM="false")
        if tuned:
            environment.update(MALLOC)
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--worker", json.dumps(task)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=environment,
        )  # fmt: skip
        self.__dict__.update(self.read())

    def read(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self.process.wait()
        self.log.seek(0)
        lines = [x for x in self.log.read().strip().splitlines() if x.strip()]
        raise Failed(lines[-1][:200] if lines else f"ended with {self.process.returncode}")

    def seconds(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.read()

    def end(self):
        self.process.stdin.close()
        memory = self.read()
        self.process.wait()
        return memory


def run_vdm(o, name, runs):
    """What `vdm bench` says of one job, and the peak of its memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "b.json"
        words = [o.vdm, "bench", name, "--runs", str(runs), "--threads", str(o.threads), "--json", str(path)]
        words += ["--precision", o.precision]
        process = subprocess.Popen(
            words + ["--quick"] * o.quick, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": str(o.threads)}
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            raise Failed(f"vdm bench {name}: exit status {process.returncode}")
        found = json.loads(path.read_text())
    job = next(j for j in found["jobs"] if j["name"] == name)
    return job, found["set"], 1024 * usage.ru_maxrss


def modes_of(name, precision):
    _, _, others = peer_of(name)
    modes = ["eager", *others]
    both = name.startswith("tiny") and precision != "f32"
    if not is_bf16(name) and not both:
        return modes
    bf16 = [f"{m} bf16" for m in modes]
    if peer_of(name)[0] is Models:
        bf16 += [f"{m} autocast" for m in modes if "frozen" not in m]
    return modes + bf16 if both else bf16


def best_mode(o, task):
    """Tries each mode; the fastest, what all took, and the least memory, with malloc as it comes."""
    tried, memory = {}, None
    for mode in modes_of(task["name"], o.precision):
        if o.modes and mode.removesuffix(" bf16").removesuffix(" autocast") not in o.modes.split(","):
            continue
        try:
            peer = Peer({**task, "mode": mode}, tuned=True)
            tried[mode] = peer.probe
            peer.end()
            if mode.startswith("eager"):
                found = Peer({**task, "mode": mode}, tuned=False).end()
                memory = min(memory or found, found, key=lambda m: m["peak"] - m["base"])
        except Failed as e:
            print(f"    {task['name']}: {mode}: {e}", file=sys.stderr)
    if not tried:
        raise Failed(f"{task['name']}: PyTorch runs in no mode")
    return min(tried, key=tried.get), tried, memory


def spread(x):
    return dict(median=statistics.median(x), min=min(x), max=max(x), rounds=x)


def compare(o, name):
    job, kernels, _ = run_vdm(o, name, 1)  # its sizes
    where = peer_of(name)[0]
    task = dict(name=name, sizes=job["sizes"], threads=o.threads, runs=o.runs, quick=o.quick, model=where is Models)
    mode, tried, memory = best_mode(o, task)
    peer = Peer({**task, "mode": mode}, tuned=True)
    ours, theirs, share, peak = [], [], [], 0
    for _ in range(o.rounds):
        job, _, bytes_ = run_vdm(o, name, o.runs)
        ours.append(job["seconds"]["median"])
        theirs.append(statistics.median(peer.seconds()))
        if "share" in job:
            share.append(job["share"]["median"])
        peak = max(peak, bytes_)
    peer.end()
    work = job.get("operations") or job.get("bytes")
    return dict(
        name=name, what=job["what"], sizes=job["sizes"], set=kernels, mode=mode, modes=tried,
        torch=peer.version, capability=peer.capability, per_run=work, unit="operations" if "operations" in job else "bytes",
        vdm_seconds=spread(ours), torch_seconds=spread(theirs), ratio=spread([b / a for a, b in zip(ours, theirs)]),
        vdm_share=spread(share) if share else None, limit=job.get("limit"),
        vdm_peak_bytes=None if job.get("limit") == "triad" else peak, torch_peak_bytes=memory and memory["peak"] - memory["base"], torch_base_bytes=memory and memory["base"],
    )  # fmt: skip


def listed(o):
    """Names that vdm bench knows and that have a peer."""
    output = subprocess.run([o.vdm, "bench", "--list"], check=True, capture_output=True, text=True).stdout
    names = [line.split()[0] for line in output.splitlines()]
    names = [n for n in names if peer_of(n)[0]]
    if o.precision != "f32":
        names = [n for n in names if "f32" not in n.split(".")]
    if not o.names:
        return [n for n in names if not n.startswith("growth.")]
    for word in o.names:
        if not any(n == word or n.startswith(word + ".") for n in names):
            sys.exit(f"bench_peer.py: '{word}' names no job that has a peer; --list lists them")
    return [n for n in names if any(n == w or n.startswith(w + ".") for w in o.names)]


def say(r):
    rate = r["per_run"] / 1e9
    share = f"{100 * r['vdm_share']['median']:5.1f} % {r['limit']}" if r["vdm_share"] else ""
    both = (r["vdm_peak_bytes"], r["torch_peak_bytes"])
    memory = " ".join(f"{b / 2**20:8.0f}" if b else f"{'':8}" for b in both)
    ratio = "{min:6.2f} {median:6.2f} {max:6.2f}".format(**r["ratio"])
    print(f"{r['name']:30} {1e3 * r['vdm_seconds']['median']:10.3f} {1e3 * r['torch_seconds']['median']:10.3f} {ratio} "
          f"{rate / r['vdm_seconds']['median']:8.1f} {rate / r['torch_seconds']['median']:8.1f} {share:17} {memory}  "
          f"{r['mode']}", flush=True)  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="jobs, or the first parts of their names (all but growth)")
    parser.add_argument("--precision", choices=("f32", "bf16", "amx"), default="f32", help="vdm's; other than f32: no jobs named f32")
    parser.add_argument("--rounds", type=int, default=5, help="A B of each job")
    parser.add_argument("--runs", type=int, default=2, help="in each round; their median counts")
    parser.add_argument("--modes", help="only these, as in eager,compile,frozen,last,last compile")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: to see that all runs, not how fast")
    parser.add_argument("--list", action="store_true")
    o = parser.parse_args()
    o.vdm = os.path.abspath(os.environ.get("VDM", ROOT / "build" / "vdm"))
    names = listed(o)
    if o.list:
        print("\n".join(names))
        return 0
    print(f"{o.rounds} rounds of vdm, PyTorch; {o.threads} threads, vdm in {o.precision}"
          f"{'; --quick: the figures are meaningless' * o.quick}")  # fmt: skip
    print(f"{'job':30} {'vdm ms':>10} {'torch ms':>10} {'ratio: min  median max':>20} {'vdm G/s':>8} {'torch':>8} "
          f"{'share of a peak':17} {'vdm MiB':>8} {'torch':>8}  torch's mode")  # fmt: skip
    results, failures = [], 0
    for name in names:
        try:
            results.append(compare(o, name))
            say(results[-1])
        except Failed as e:
            failures += 1
            print(f"{name:30} {e}", flush=True)
        if o.json:  # after every job: a long run that is stopped keeps what it has
            settings = dict(precision=o.precision, rounds=o.rounds, runs=o.runs, threads=o.threads, quick=o.quick,
                            malloc=MALLOC)  # fmt: skip
            o.json.write_text(json.dumps(dict(settings=settings, jobs=results), indent=1) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(json.loads(sys.argv[2]))
    else:
        sys.exit(main())
