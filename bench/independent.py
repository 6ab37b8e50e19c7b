#!/usr/bin/env python3
"""The load of bench/serve.py again, by a program that nobody here wrote: NVIDIA's AIPerf (PyPI, 1.2 GB with what it needs).

    bench/independent.py [--threads 2] [--requests 64] [--concurrency 16]

It is installed once, into the user's cache folder. Streaming chat requests of a system prompt of 400 tokens that all share
and 200 of their own, 64 tokens of answer, at Cabinet and then at llama-server (bench/serve.py says how that is made and run).
AIPerf itself takes much of a core while it runs: the figures are those of a busy machine, and only their ratio says something.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import venv

import llama_cpp
import serve
import servers
from common import SMOLLM2, fetch, say

REQUIREMENTS = ["aiperf==0.13.0", "gguf==0.19.0"]
ROWS = {"requests/s": ("request_throughput", "avg"), "TTFT mean, ms": ("time_to_first_token", "avg"),
        "TTFT p95, ms": ("time_to_first_token", "p95"), "ITL mean, ms": ("inter_token_latency", "avg"),
        "ITL p99, ms": ("inter_token_latency", "p99"), "request latency mean, ms": ("request_latency", "avg")}
# Run by the installed Python: the model's own tokenizer, as AIPerf wants it to count and make up prompts.
TOKENIZER = """
import sys
from gguf import GGUFReader
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
fields = GGUFReader(sys.argv[1]).fields
tokens = fields["tokenizer.ggml.tokens"].contents()
merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
    [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
tokenizer.decoder = decoders.ByteLevel()
from transformers import PreTrainedTokenizerFast
PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|im_end|>", bos_token="<|im_start|>").save_pretrained(sys.argv[2])
"""


def install():
    """The Python with AIPerf in it."""
    folder = fetch.cache_folder() / "aiperf"
    python, done = folder / "bin" / "python", folder / "-".join(REQUIREMENTS).replace("=", "")
    if not done.exists():
        say(f"Installing {' and '.join(REQUIREMENTS)} into {folder} (a few minutes)")
        venv.create(folder, clear=True, with_pip=True)
        if subprocess.run([python, "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=False).returncode != 0:
            sys.exit("bench/independent.py: pip could not install AIPerf; its message stands above")
        done.touch()
    return python


def measure(program, python, tokenizer, options):
    with servers.running(program) as server, tempfile.TemporaryDirectory() as folder:
        command = [python.parent / "aiperf", "profile", "--model", "smollm2", "--url", f"http://127.0.0.1:{server.port}",
                   "--endpoint-type", "chat", "--streaming", "--tokenizer", tokenizer, "--shared-system-prompt-length", 400,
                   "--isl", 200, "--isl-stddev", 0, "--osl", 64, "--osl-stddev", 0, "--extra-inputs", "ignore_eos:true",
                   "--extra-inputs", "temperature:0", "--concurrency", options.concurrency, "--request-count", options.requests,
                   "--num-dataset-entries", options.requests, "--warmup-request-count", 1, "--use-server-token-count",
                   "--random-seed", 1, "--ui", "none", "--output-artifact-dir", folder]
        run = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=1200, check=False)
        report = pathlib.Path(folder) / "profile_export_aiperf.json"
        if run.returncode != 0 or not report.exists():
            sys.exit(f"bench/independent.py: AIPerf failed at {program.name}: {(run.stdout + run.stderr)[-1000:]}")
        report = json.loads(report.read_text())
    return {name: report[metric][statistic] for name, (metric, statistic) in ROWS.items()}


def main():
    parser = argparse.ArgumentParser(description="Cabinet and llama-server under the load of NVIDIA's AIPerf")
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count()))
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--concurrency", type=int, default=16)
    options = parser.parse_args()
    python = install()
    with tempfile.TemporaryDirectory() as tokenizer:
        subprocess.run([python, "-c", TOKENIZER, SMOLLM2, tokenizer], check=True, stdout=subprocess.DEVNULL)
        names = ["--model-name", "smollm2"], ["--alias", "smollm2"]
        programs = [servers.cabinet(SMOLLM2, options.threads, names[0]),
                    servers.llama("llama-server, Q4_1", llama_cpp.program("llama-server"), SMOLLM2, options.threads,
                                  [*serve.PEER_OPTIONS, *names[1]])]
        results = []
        for program in programs:
            say(f"{program.name} under load")
            results.append(measure(program, python, tokenizer, options))
    print(f"| by AIPerf | {programs[0].name} | {programs[1].name} | ratio |\n|---|---|---|---|")
    for row in ROWS:
        ours, theirs = (result[row] for result in results)
        print(f"| {row} | {ours:.4g} | {theirs:.4g} | {ours / theirs:.3g} |")


if __name__ == "__main__":
    main()
