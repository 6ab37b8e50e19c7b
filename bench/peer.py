#!/usr/bin/env python3
"""Cabinet and llama.cpp side by side: the same model, the same threads, in turns.

    bench/peer.py [smollm2|gemma3] [--rounds 5] [--threads 2] [--model FILE] [--peer LLAMA_BENCH] [--json]

The peer is llama.cpp's llama-bench out of the source package of llama-cpp-python, compiled once, natively, into the
user's cache folder. Every round runs each test with both programs, who is first alternates; a ratio is the median of the
rounds' ratios, so that what disturbs a round disturbs both. Prints a table for docs/benchmarks.md.
"""

import argparse
import datetime
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tarfile
import time
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import fetch  # noqa: E402  (where downloads go, and their checksums)

CABINET = ROOT / "build" / "cabinet"
# name: (prompt tokens, generated tokens, depth)
TESTS = {
    "decode at empty context": (0, 128, 0),
    "prefill of 512": (512, 0, 0),
    "decode at depth 1,024, f16": (0, 64, 1024),
    "decode at depth 4,096, f16": (0, 64, 4096),
    "decode at depth 16,384, f16": (0, 64, 16384),
}


class Suite(NamedTuple):
    file: str    # in the cache folder
    goals: dict  # test: times the peer
    start_ms: int = None   # most from the start to the first token of SIXTEEN_TOKENS
    slowdown: tuple = None  # (test, deeper test, most times as long a step)


SUITES = {
    "smollm2": Suite("models/SmolLM2-135M-Instruct.Q4_1.gguf",
                     {"decode at empty context": 1.2, "prefill of 512": 2.5, "decode at depth 4,096, f16": 1.4}, start_ms=500),
    "gemma3": Suite("gemma/gemma-3-270m-q4_k_m.gguf",
                    {"decode at empty context": 1.0, "prefill of 512": 1.5, "decode at depth 1,024, f16": None,
                     "decode at depth 16,384, f16": 1.2},
                    slowdown=("decode at depth 1,024, f16", "decode at depth 16,384, f16", 1.6)),
}
SIXTEEN_TOKENS = "The lighthouse keeper wrote in his log every evening, even when nothing had happened."
CMAKE = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
         "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF"]
NATIVE = ["-DGGML_NATIVE=ON"]
# llama.cpp's AMX code crashes on virtual machines that announce AMX and do not let it be used.
AMX_OFF = "-march=native -mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
# switch of llama.cpp: the processor's flag that it needs
GGML_SWITCHES = {"GGML_AVX": "avx", "GGML_AVX2": "avx2", "GGML_FMA": "fma", "GGML_F16C": "f16c", "GGML_BMI2": "bmi2",
                 "GGML_AVX512": "avx512f", "GGML_AVX512_VBMI": "avx512vbmi", "GGML_AVX512_VNNI": "avx512_vnni",
                 "GGML_AVX512_BF16": "avx512_bf16"}


def say(text):
    print(text, file=sys.stderr, flush=True)


def cpu(field):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(field):
            return line.split(":", 1)[1].strip()
    return ""


def without_amx():
    flags = cpu("flags").split()
    switches = [f"-D{switch}={'ON' if flag in flags else 'OFF'}" for switch, flag in GGML_SWITCHES.items()]
    return ["-DGGML_NATIVE=OFF", *switches, f"-DCMAKE_C_FLAGS={AMX_OFF}", f"-DCMAKE_CXX_FLAGS={AMX_OFF}"]


def unpack(archive, target):
    """vendor/llama.cpp of the source package, as `target`."""
    scratch = target.with_name("unpacking")
    shutil.rmtree(scratch, ignore_errors=True)
    with tarfile.open(archive) as source:
        prefix = source.next().name.split("/")[0] + "/vendor/llama.cpp/"
        members = [member for member in source if member.name.startswith(prefix)]
        for member in members:
            member.name = member.name.removeprefix(prefix)
        source.extractall(scratch, members, filter="data")
    scratch.rename(target)


def compile_peer(source, build, switches):
    configure = ["cmake", "-S", source, "-B", build, *CMAKE, *switches]
    with open(build.with_suffix(".log"), "w", encoding="utf-8") as log:
        if subprocess.run(configure, stdout=log, stderr=subprocess.STDOUT, check=False).returncode != 0:
            sys.exit(f"bench/peer.py: llama.cpp cannot be configured; see {log.name}")
    return make(build, "llama-bench")


def make(build, name):
    with open(build.with_suffix(".log"), "a", encoding="utf-8") as log:
        if subprocess.run(["ninja", "-C", build, name], stdout=log, stderr=subprocess.STDOUT, check=False).returncode != 0:
            sys.exit(f"bench/peer.py: {name} does not compile; see {log.name}")
    return build / "bin" / name


def runs(program, model):
    command = [program, "-m", model, "-p", "32", "-n", "4", "-r", "1", "-fa", "on"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def peer_build(model):
    """The folder with a build of llama.cpp that runs on this machine, whose llama-bench is compiled."""
    folder = fetch.cache_folder() / "peer" / fetch.LLAMA_CPP.requirement.split("==")[1]
    current = folder / "llama-bench"
    if current.exists():
        return current.resolve().parent.parent
    archive = fetch.fetch(fetch.LLAMA_CPP, fetch.cache_folder())
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "source").exists():
        unpack(archive, folder / "source")
    for name, switches in (("native", NATIVE), ("without-amx", without_amx())):
        say(f"Compiling llama.cpp ({name}); this takes about ten minutes on two cores")
        program = compile_peer(folder / "source", folder / name, switches)
        if runs(program, model):
            current.symlink_to(program)
            return folder / name
        say(f"The {name} build does not run here")
    sys.exit("bench/peer.py: no build of llama.cpp runs on this machine")


def peer_program(model, name="llama-bench"):
    """A program of llama.cpp, compiled for this machine unless it is there."""
    build = peer_build(model)
    program = build / "bin" / name
    if program.exists():
        return program
    say(f"Compiling {name}; this takes some minutes")
    return make(build, name)


def output_of(command):
    run = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if run.returncode != 0:
        sys.exit(f"bench/peer.py: {' '.join(map(str, command))} failed: {run.stderr.strip().splitlines()[-1:]}")
    return json.loads(run.stdout)


def cabinet_command(options, test):
    prompt, output, depth = TESTS[test]
    return [CABINET, "bench", options.model, "-p", prompt, "-n", output, "-d", depth, "-b", 1, "-r", 1, "--kv", "f16",
            "--threads", options.threads, "--json"]


def peer_command(options, test):
    prompt, output, depth = TESTS[test]
    return [options.peer, "-m", options.model, "-p", prompt, "-n", output, "-d", depth, "-r", 1, "-fa", "on", "-t",
            options.threads, "-o", "json"]


def measure(options, test, who):
    """Tokens per second."""
    if who == "peer":
        rows = output_of(peer_command(options, test))
        speed = rows[0]["avg_ts"]
    else:
        rows = output_of(cabinet_command(options, test))["rows"]
        speed = rows[0]["tokens_per_second"]
    if len(rows) != 1:
        sys.exit(f"bench/peer.py: {who} measured {len(rows)} things instead of one")
    return speed


def measure_start(options):
    """Milliseconds from the prompt, and from the start of the process, to the first token of a 16-token prompt."""
    started = time.monotonic()
    answer = output_of([CABINET, "run", options.model, "--raw", "-p", SIXTEEN_TOKENS, "-n", 1, "--temp", 0, "--json",
                        "--threads", options.threads])
    elapsed = time.monotonic() - started
    if answer["prompt_tokens"] != 16:
        sys.exit(f"bench/peer.py: the prompt has {answer['prompt_tokens']} tokens instead of 16")
    return answer["ttft_ms"], elapsed * 1e3


def run_rounds(options):
    suite = SUITES[options.suite]
    speeds = {test: {"cabinet": [], "peer": []} for test in suite.goals}
    starts = []
    if suite.start_ms:
        measure_start(options)  # reads the file into the page cache
    for i in range(options.rounds):
        for test in suite.goals:
            for who in ("cabinet", "peer") if i % 2 == 0 else ("peer", "cabinet"):
                speeds[test][who].append(measure(options, test, who))
        if suite.start_ms:
            starts.append(measure_start(options))
        last = ", ".join(f"{test} {s['cabinet'][-1] / s['peer'][-1]:.2f} x" for test, s in speeds.items())
        say(f"round {i + 1} of {options.rounds}: {last}")
    return speeds, starts


def report(options, speeds, starts):
    suite, tests = SUITES[options.suite], []
    for test, of in speeds.items():
        ratios = [mine / theirs for mine, theirs in zip(of["cabinet"], of["peer"])]
        tests.append({"test": test, "cabinet_tokens_per_second": of["cabinet"], "peer_tokens_per_second": of["peer"],
                      "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios),
                      "goal": suite.goals[test]})
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)
    result = {"date": datetime.date.today().isoformat(), "commit": commit.stdout.strip(), "processor": cpu("model name"),
              "threads": options.threads, "rounds": options.rounds, "model": pathlib.Path(options.model).name, "tests": tests,
              "ttft_ms": [ttft for ttft, _ in starts], "start_to_first_token_ms": [start for _, start in starts]}
    if suite.slowdown:
        shallow, deep, _ = suite.slowdown
        result["slowdowns"] = {who: [a / b for a, b in zip(speeds[shallow][who], speeds[deep][who])]
                               for who in ("cabinet", "peer")}
    return result


def spread(values, form="{:.1f}"):
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"


def print_table(options, result):
    suite = SUITES[options.suite]
    print(f"{result['date']}, {result['processor']}, {result['threads']} threads, {result['model']}, commit {result['commit']}, "
          f"{result['rounds']} rounds in turns; median (least to most).\n")
    print("| test | Cabinet, tokens/s | llama.cpp, tokens/s | ratio | goal |\n|---|---|---|---|---|")
    for row in result["tests"]:
        print(f"| {row['test']} | {spread(row['cabinet_tokens_per_second'])} | {spread(row['peer_tokens_per_second'])} | "
              f"{row['ratio']:.2f} ({row['ratio_min']:.2f} to {row['ratio_max']:.2f}) | "
              f"{'≥ ' + str(row['goal']) if row['goal'] else ''} |")
    if suite.slowdown:
        shallow, deep, most = suite.slowdown
        print(f"| a step of '{deep}' / of '{shallow}' | {spread(result['slowdowns']['cabinet'], '{:.2f}')} | "
              f"{spread(result['slowdowns']['peer'], '{:.2f}')} | | ≤ {most} |")
    if suite.start_ms:
        print("\n| start to first token, 16-token prompt | ms | goal |\n|---|---|---|")
        print(f"| from the prompt (`ttft_ms`) | {spread(result['ttft_ms'], '{:.0f}')} | |")
        print(f"| whole process, warm page cache | {spread(result['start_to_first_token_ms'], '{:.0f}')} | ≤ {suite.start_ms} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", nargs="?", choices=SUITES, default="smollm2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--model", help="another file than the suite's")
    parser.add_argument("--peer", help="a llama-bench to use instead of compiling one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.model = options.model or str(fetch.cache_folder() / SUITES[options.suite].file)
    if not CABINET.exists() or not pathlib.Path(options.model).exists():
        sys.exit("bench/peer.py: build/cabinet or the model is missing: `make bench-peer` makes both")
    if os.getloadavg()[0] > 1:
        say(f"Note: other programs are running (load {os.getloadavg()[0]:.1f}); the ratios will spread")
    options.peer = options.peer or peer_program(options.model)
    result = report(options, *run_rounds(options))
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print_table(options, result)


if __name__ == "__main__":
    try:
        main()
    except fetch.Failure as failure:
        sys.exit(f"bench/peer.py: {failure}")
