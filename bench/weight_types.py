#!/usr/bin/env python3
"""Every weight type beside llama.cpp: decode and prefill of a model whose matrices all have that type.

    bench/weight_types.py [--rounds 3] [--threads 2] [--types Q4_K,IQ4_XS] [--peer LLAMA_BENCH]

The models have SmolLM2's vocabulary and shape, but rows of 768 numbers (k-quants need multiples of 256), and random
weights: any bits are codes, and scales are such that weights are about 0.03. Each is written into the user's cache folder,
measured with both programs in turns as bench/peer.py does it, and deleted. Prints a table for docs/benchmarks.md.
"""

import argparse
import pathlib
import random
import statistics
import struct
import sys
import tempfile
from typing import NamedTuple

import peer

sys.path.insert(0, str(peer.ROOT / "tests" / "e2e"))
import fetch  # noqa: E402  (peer knows where)
import gguf_edit  # noqa: E402

WIDTH, HEADS, KV_HEADS, HEAD_DIM, FFN, LAYERS, VOCABULARY = 768, 12, 4, 64, 1536, 30, 49152
TESTS = {"decode": "decode at empty context", "prefill": "prefill of 512"}
GOALS = {"decode": 0.9, "prefill": 1.0}  # times the peer


class Format(NamedTuple):
    number: int
    elements: int  # in a group
    bytes: int     # of a group
    # byte of a group: its bits that stay random, and those that are set. So a scale's low byte is random, and its high
    # byte says about how large it is.
    fixed: dict


def f16(exponent, at, sign=0):
    """The high byte of the f16 at `at`: about 2^exponent."""
    high = (sign << 7 | (exponent + 15) << 2) if exponent > -15 else 1
    return {at + 1: (0, high)}


FORMATS = {
    "F32": Format(0, 1, 4, {2: (0x7F, 0), 3: (0x80, 0x3C)}),
    "F16": Format(1, 1, 2, {1: (0x83, 0x24)}),
    "BF16": Format(30, 1, 2, {1: (0x80, 0x3C)}),
    "Q4_0": Format(2, 32, 18, f16(-8, 0)),
    "Q4_1": Format(3, 32, 20, f16(-8, 0) | f16(-5, 2, sign=1)),
    "Q5_0": Format(6, 32, 22, f16(-9, 0)),
    "Q5_1": Format(7, 32, 24, f16(-9, 0) | f16(-5, 2, sign=1)),
    "Q8_0": Format(8, 32, 34, f16(-12, 0)),
    "Q2_K": Format(10, 256, 84, f16(-8, 80) | f16(-8, 82)),
    "Q3_K": Format(11, 256, 110, f16(-11, 108)),
    "Q4_K": Format(12, 256, 144, f16(-12, 0) | f16(-9, 2)),
    "Q5_K": Format(13, 256, 176, f16(-13, 0) | f16(-9, 2)),
    "Q6_K": Format(14, 256, 210, f16(-15, 208)),
    "IQ4_NL": Format(20, 32, 18, f16(-12, 0)),
    "IQ4_XS": Format(23, 256, 136, f16(-15, 0)),
    "MXFP4": Format(39, 32, 17, {0: (0, 120)}),
}


def random_groups(form, n_elements, rng):
    n_groups = n_elements // form.elements
    data = bytearray(rng.randbytes(n_groups * form.bytes))
    for at, (kept, bits) in form.fixed.items():
        data[at::form.bytes] = data[at::form.bytes].translate(bytes(byte & kept | bits for byte in range(256)))
    return bytes(data)


def write_model(path, source, form):
    """A file of that type; metadata and tokenizer are those of `source`."""
    rng = random.Random(1)
    file = gguf_edit.Gguf(values=dict(source.values))
    for key, value in {"embedding_length": WIDTH, "feed_forward_length": FFN, "block_count": LAYERS,
                       "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS}.items():
        file.set(f"llama.{key}", value)
    file.set("general.name", f"random weights, width {WIDTH}")
    del file.values["general.file_type"]

    def matrix(name, n_cols, n_rows):
        data = random_groups(form, n_cols * n_rows, rng)
        file.tensors.append(gguf_edit.Tensor(name, [n_cols, n_rows], form.number, data))

    def ones(name):
        file.tensors.append(gguf_edit.Tensor(name, [WIDTH], gguf_edit.TYPE_F32, struct.pack("<f", 1) * WIDTH))

    matrix("token_embd.weight", WIDTH, VOCABULARY)
    for layer in range(LAYERS):
        name = f"blk.{layer}."
        ones(name + "attn_norm.weight")
        matrix(name + "attn_q.weight", WIDTH, HEADS * HEAD_DIM)
        matrix(name + "attn_k.weight", WIDTH, KV_HEADS * HEAD_DIM)
        matrix(name + "attn_v.weight", WIDTH, KV_HEADS * HEAD_DIM)
        matrix(name + "attn_output.weight", HEADS * HEAD_DIM, WIDTH)
        ones(name + "ffn_norm.weight")
        matrix(name + "ffn_gate.weight", WIDTH, FFN)
        matrix(name + "ffn_up.weight", WIDTH, FFN)
        matrix(name + "ffn_down.weight", FFN, WIDTH)
    ones("output_norm.weight")
    file.write(path)


def measure_type(options, name, source, folder):
    """{test: {program: tokens per second of each round}}"""
    path = pathlib.Path(folder) / f"{name}.gguf"
    write_model(path, source, FORMATS[name])
    run = argparse.Namespace(model=path, peer=options.peer, threads=options.threads)
    speeds = {test: {"cabinet": [], "peer": []} for test in TESTS}
    for i in range(options.rounds):
        for test in TESTS:
            for who in ("cabinet", "peer") if i % 2 == 0 else ("peer", "cabinet"):
                speeds[test][who].append(peer.measure(run, TESTS[test], who))
    path.unlink()
    return speeds


def row_of(name, speeds):
    form, cells = FORMATS[name], [name]
    cells.append(f"{8 * form.bytes / form.elements:.2f}")
    for test, of in speeds.items():
        ratios = [mine / theirs for mine, theirs in zip(of["cabinet"], of["peer"])]
        ratio = statistics.median(ratios)
        cells += [f"{statistics.median(of['cabinet']):.1f}", f"{statistics.median(of['peer']):.1f}",
                  f"{ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})" + ("" if ratio >= GOALS[test] else " ✗")]
    return "| " + " | ".join(cells) + " |"


def parse_types(text):
    names = text.upper().split(",")
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"there is no type {name}; there are {', '.join(FORMATS)}")
    return names


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--types", type=parse_types, default=list(FORMATS))
    parser.add_argument("--peer", help="a llama-bench to use instead of compiling one")
    options = parser.parse_args()
    smollm2 = fetch.cache_folder() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    if not peer.CABINET.exists() or not smollm2.exists():
        sys.exit("bench/weight_types.py: build/cabinet or SmolLM2 is missing: `make bench-peer` makes both")
    options.peer = options.peer or peer.peer_program(smollm2)
    source = gguf_edit.read(smollm2)
    print(f"{peer.cpu('model name')}, {options.threads} threads, {options.rounds} rounds in turns; median (least to most). "
          f"Goals: decode ≥ {GOALS['decode']}, prefill of 512 ≥ {GOALS['prefill']}.\n")
    print("| type | bits | decode, tokens/s | llama.cpp | ratio | prefill, tokens/s | llama.cpp | ratio |\n" + "|---" * 8 + "|")
    with tempfile.TemporaryDirectory(dir=fetch.cache_folder()) as folder:
        for name in options.types:
            print(row_of(name, measure_type(options, name, source, folder)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except fetch.Failure as failure:
        sys.exit(f"bench/weight_types.py: {failure}")
