"""The models of bench/peers.py, made into the user's cache folder when they are first wanted."""

import os
import pathlib
import sys

import openvino_peer
import random_weights
from common import GEMMA3, SMOLLM2, fetch, output_of, say

# 1.2 billion weights with few tokens' worth of cache: reading weights is all that decode does.
BIG = random_weights.Shape(width=2048, heads=32, kv_heads=8, head_dim=64, ffn=8192, layers=18, vocabulary=49152)


def complete(target, make):
    """`target`, from make(part) unless it is there."""
    if not target.exists():
        say(f"Making {target.name}")
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        make(part)
        os.replace(part, target)
    return target


def smollm2(kind):
    """SmolLM2 with its layers in another type; as Q4_0 its head stays Q8_0."""
    if kind == "Q4_1":
        return SMOLLM2
    script = pathlib.Path(__file__).with_name("requantize.py")
    return complete(fetch.cache_folder() / "peer" / f"SmolLM2-135M-Instruct.{kind}.gguf",
                    lambda part: output_of([sys.executable, script, SMOLLM2, part, kind], openvino_peer.packages()))


def big(kind):
    return complete(fetch.cache_folder() / "peer" / f"random-1.2B.{kind}.gguf",
                    lambda part: random_weights.write(part, random_weights.gguf_edit.read(SMOLLM2), BIG, random_weights.FORMATS[kind]))


def path(name):
    """Of "smollm2 Q4_1", "big Q4_K" or "gemma3 Q4_K_M"."""
    family, kind = name.split()
    return {"smollm2": smollm2, "big": big, "gemma3": lambda _: GEMMA3}[family](kind)
