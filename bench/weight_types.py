#!/usr/bin/env python3
"""Every weight type beside llama.cpp: decode and prefill of a model whose matrices all have that type.

    bench/weight_types.py [--rounds 3] [--threads 2] [--types Q4_K,IQ4_XS]

The models have SmolLM2's vocabulary and shape, but rows of 768 numbers (k-quants need multiples of 256), and random
weights. Each is written into the user's cache folder, measured with both programs in turns, and deleted. Prints a table for
docs/benchmarks.md.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile

import llama_cpp
from common import SMOLLM2, Failed, cabinet_bench, cpu, fetch, require, spread
from random_weights import FORMATS, Shape, gguf_edit, write

SHAPE = Shape(width=768, heads=12, kv_heads=4, head_dim=64, ffn=1536, layers=30, vocabulary=49152)
TESTS = {"decode": (0, 128), "prefill": (512, 0)}  # tokens of a prompt, and generated
GOALS = {"decode": 0.9, "prefill": 1.0}  # times the peer


def measure(path, test, who, threads):
    """Tokens per second."""
    n_prefill, n_decode = TESTS[test]
    if who == "cabinet":
        rows = cabinet_bench(path, "-p", n_prefill, "-n", n_decode, "-r", 1, "--kv", "f16", threads=threads)["rows"]
        return rows[0]["tokens_per_second"]
    prefill, decode = llama_cpp.bench(path, prefill=n_prefill, decode=n_decode, depth=0, kv="f16", threads=threads)
    return decode if n_decode else prefill


def measure_type(options, name, source, folder):
    """{test: {program: tokens per second of each round}}"""
    path = pathlib.Path(folder) / f"{name}.gguf"
    write(path, source, SHAPE, FORMATS[name])
    speeds = {test: {"cabinet": [], "peer": []} for test in TESTS}
    for i in range(options.rounds):
        for test in TESTS:
            for who in ("cabinet", "peer") if i % 2 == 0 else ("peer", "cabinet"):
                speeds[test][who].append(measure(path, test, who, options.threads))
    path.unlink()
    return speeds


def row_of(name, speeds):
    form, cells = FORMATS[name], [name]
    cells.append(f"{8 * form.bytes / form.elements:.2f}")
    for test, of in speeds.items():
        ratios = [mine / theirs for mine, theirs in zip(of["cabinet"], of["peer"])]
        ratio = statistics.median(ratios)
        cells += [f"{statistics.median(of['cabinet']):.1f}", f"{statistics.median(of['peer']):.1f}",
                  spread(ratios, "{:.2f}") + ("" if ratio >= GOALS[test] else " ✗")]
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
    options = parser.parse_args()
    require("bench-peers", SMOLLM2)
    llama_cpp.program("llama-bench")
    source = gguf_edit.read(SMOLLM2)
    print(f"{cpu('model name')}, {options.threads} threads, {options.rounds} rounds in turns; median (least to most). "
          f"Goals: decode ≥ {GOALS['decode']}, prefill of 512 ≥ {GOALS['prefill']}.\n")
    print("| type | bits | decode, tokens/s | llama.cpp | ratio | prefill, tokens/s | llama.cpp | ratio |\n" + "|---" * 8 + "|")
    with tempfile.TemporaryDirectory(dir=fetch.cache_folder()) as folder:
        for name in options.types:
            print(row_of(name, measure_type(options, name, source, folder)), flush=True)


if __name__ == "__main__":
    try:
        main()
    except (fetch.Failure, Failed) as failure:
        sys.exit(f"bench/weight_types.py: {failure}")
