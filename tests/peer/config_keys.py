"""Every argument of the constructors of the published layout's classes is in the table of files/config_keys.c.

    python tests/peer/config_keys.py"""

import inspect
import pathlib
import re
import sys

from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config

CLASSES = {
    "transformer": [CogVideoXTransformer3DModel],
    "vae": [AutoencoderKLCogVideoX],
    "scheduler": [CogVideoXDDIMScheduler, CogVideoXDPMScheduler],
}


def table():
    """{part: {key}} of the C source."""
    text = (pathlib.Path(__file__).parents[2] / "files/config_keys.c").read_text()
    parts = dict(re.findall(r'#define ([TVSE]) "(\w+)"', text))
    keys = {name: set() for name in parts.values()}
    for part, key in re.findall(r'(?:OBEYED|FIXED|REQUIRED|IGNORED)\(([TVSE]), "(\w+)"', text):
        keys[parts[part]].add(key)
    return keys


def main():
    keys, passed, failed = table(), 0, 0
    wanted = {part: {k for c in classes for k in inspect.signature(c.__init__).parameters} for part, classes in CLASSES.items()}
    wanted["text_encoder"] = set(inspect.signature(T5Config.__init__).parameters) | set(
        T5Config(feed_forward_proj="gated-gelu").to_dict()
    )
    for part, names in wanted.items():
        for name in sorted(names - {"self", "kwargs"}):
            if name in keys[part]:
                passed += 1
            else:
                failed += 1
                print(f"{part}: {name}: not in files/config_keys.c")
    print(f"config_keys: {passed} passed, {failed} failed")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
