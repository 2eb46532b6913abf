"""One command: the VAE, then the transformer.  Go on wherever the state is; SIGTERM saves and ends.

    python python/pretrain/pretrain.py --state DIR [--variant motion|cells|stills] [--steps N] [--decay N]
"""
import argparse
import os

import torch

import vae_phase
from phase_parts import Stop, Threads


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--state", default=os.path.expanduser("~/vdm-pretrain"), help="folder of all states, latents and logs")
    ap.add_argument("--variant", choices=["motion", "cells", "stills"], default="motion", help="stills: the control")
    ap.add_argument("--threads", type=int, default=int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count())
    ap.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda where there is one")
    ap.add_argument("--workers", type=int, default=0, help="processes that render clips (0: this one does)")
    ap.add_argument("--times", type=int, default=1, help="batches so many times as large: a GPU has the memory")
    ap.add_argument("--steps", type=int, help="end at this step of the transformer (default: go on until stopped)")
    ap.add_argument("--decay", type=int, default=0, help="branch off a release there: so many steps with a falling rate")
    ap.add_argument("--vae-seconds", type=float, help="so long for the VAE (default: %d steps)" % vae_phase.STEPS)
    ap.add_argument("--vae-only", action="store_true", help="stop after the VAE")
    args = ap.parse_args()
    os.makedirs(args.state, exist_ok=True)
    stop, threads, device = Stop(), Threads(args.threads, args.workers), torch.device(args.device)
    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")              # of a GPU: TF32
    if not vae_phase.run(args.state, stop, threads, device, args.workers, args.vae_seconds) or args.vae_only:
        return
    import transformer_phase
    transformer_phase.run(args.state, args.variant, stop, threads, device, args.workers, args.times, args.decay,
                          args.steps)


if __name__ == "__main__":
    main()
