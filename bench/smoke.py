#!/usr/bin/env python3
"""The key figures of Cabinet beside this machine's own limit, in less than a minute; nothing is judged.

    bench/smoke.py [--threads 2]
"""

import argparse
import os
import sys

from common import SMOLLM2, Failed, cabinet_bench, commit, cpu, require

# What `cabinet bench` is asked for, with which KV formats.
SWEEPS = ((("-p", 512, "-n", 64, "-d", 0, "-b", "1,16", "-r", 3), ("f16",)),
          (("-p", 512, "-n", 32, "-d", 2048, "-r", 3), ("f16", "q8")),
          (("-p", 0, "-n", 32, "-d", 512, "-b", 16, "-r", 3), ("q8",)))
USERS, PROMPT = 32, 512


def print_sweep(words, kv, threads):
    for row in cabinet_bench(SMOLLM2, *words, "--kv", kv, threads=threads)["rows"]:
        print(f"{row['test']:8} {row['depth']:6} {row['batch']:6}   {kv:4} {row['tokens_per_second']:9.1f} "
              f"{100 * row['fraction']:6.0f} %", flush=True)


def print_sharing(threads):
    """A step of users who share, beside the least time that its reading or its arithmetic takes."""
    found = cabinet_bench(SMOLLM2, "--shared-prompt", PROMPT, "--users", USERS, "-n", 32, "-r", 3, "--sharers-only", "--kv", "q8",
                          threads=threads)["rows"][0]
    least_ms = max(found["reading_ms_per_step"], found["arithmetic_ms_per_step"])
    share = least_ms * found["tokens_per_second"] / USERS / 1e3
    print(f"{'sharing':8} {PROMPT:6} {USERS:6}   {'q8':4} {found['tokens_per_second']:9.1f} {100 * share:6.0f} %", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    threads = parser.parse_args().threads
    require("bench-smoke", SMOLLM2)
    print(f"SmolLM2 135M Q4_1, {threads} threads, {cpu('model name')}, commit {commit()}")
    print(f"{'test':8} {'depth':>6} {'batch':>6}   {'KV':4} {'tokens/s':>9} {'of limit':>8}")
    for words, formats in SWEEPS:
        for kv in formats:
            print_sweep(words, kv, threads)
    print_sharing(threads)


if __name__ == "__main__":
    try:
        main()
    except Failed as failure:
        sys.exit(f"bench/smoke.py: {failure}")
