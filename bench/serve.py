#!/usr/bin/env python3
"""Cabinet and llama.cpp's llama-server side by side: the same model, the same load, in turns.

    bench/serve.py [--rounds 5] [--threads 2] [--only load|beside|steps] [--cabinet OPTIONS] [--peer OPTIONS] [--json]

Load: 64 streaming chat requests (a system prompt of 400 tokens that all share, a question of 200 of their own, 64 tokens
of answer) at concurrency 16, on a server that was just started and has answered one short request. Every round measures
all programs, who is first alternates; a ratio is the median of the rounds' ratios. llama-server is compiled as for
bench/peers.py and runs with KV per stream, which is its fastest here, on the model as it is and as Q4_0, which it computes
faster. Beside: 16 streams run on Cabinet, and a prompt of 4,000 tokens comes. Steps: what
Cabinet does outside forward and sampling while 16 sequences decode. Times are the client's: TTFT to the first piece of
text, ITL between pieces. Prints tables for docs/benchmarks.md.
"""

import argparse
import asyncio
import datetime
import json
import pathlib
import signal
import statistics
import sys
import time

import llama_cpp
import load
import models
import servers
from common import SMOLLM2, commit, cpu, fetch, require, say, spread

N_REQUESTS, CONCURRENCY, SYSTEM_WORDS, QUESTION_WORDS, N_OUTPUT = 64, 16, 361, 181, 64
LONG_WORDS, STREAM_WORDS, STREAM_OUTPUT, QUIET_SECONDS = 3700, 183, 1200, 3
PEER_OPTIONS = ["-np", 16, "-c", 65536, "-fa", "on"]
# figure: (form, what the ratio to the peer should be at least or at most)
LOAD = {"requests/s": ("{:.2f}", "≥ 1.5"), "TTFT mean, ms": ("{:.0f}", ""), "TTFT p95, ms": ("{:.0f}", "≤ 0.5"),
        "ITL mean, ms": ("{:.1f}", "≤ 0.5"), "ITL p99, ms": ("{:.0f}", ""), "prompt tokens from the cache": ("{:.0f}", ""),
        "ready, ms": ("{:.0f}", "< 1,000 ms"), "peak memory, MiB": ("{:.0f}", "")}
BESIDE = {"ITL median without, ms": "{:.1f}", "ITL p99 without, ms": "{:.1f}", "ITL median beside, ms": "{:.1f}",
          "ITL p99 beside, ms": "{:.1f}", "p99 beside / median without": "{:.2f}", "p99 beside / p99 without": "{:.2f}",
          "TTFT of the long prompt, ms": "{:.0f}"}
STEPS = {"by /metrics, %": "{:.2f}", "by the clock on the wall, %": "{:.2f}", "decoded tokens/s": "{:.0f}"}
STEPS_SECONDS = 8


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


def message(role, n_words, seed):
    return {"role": role, "content": load.text(n_words, seed)}


def warm_up(port):
    asyncio.run(load.run_all(port, [load.chat([message("user", 8, "warm-up")], 8)], 1))


def measure_load(program, round_number):
    system = message("system", SYSTEM_WORDS, f"system {round_number}")
    bodies = [load.chat([system, message("user", QUESTION_WORDS, f"question {round_number} {i}")], N_OUTPUT)
              for i in range(N_REQUESTS)]
    with servers.running(program) as server:
        warm_up(server.port)
        client = time.process_time()
        answers, seconds = asyncio.run(load.run_all(server.port, bodies, CONCURRENCY))
        client = time.process_time() - client
        peak = server.peak_bytes()
    if {answer.usage.get("completion_tokens") for answer in answers} != {N_OUTPUT}:
        raise RuntimeError(f"{program.name} gave other answers than of {N_OUTPUT} tokens: {answers[0].usage}")
    ttft = [answer.ttft() * 1e3 for answer in answers]
    gaps = [gap * 1e3 for answer in answers for _, gap in answer.gaps()]
    usage = [answer.usage for answer in answers]
    return {"requests/s": len(answers) / seconds, "TTFT mean, ms": statistics.mean(ttft), "TTFT p95, ms": quantile(ttft, 0.95),
            "ITL mean, ms": statistics.mean(gaps), "ITL p99, ms": quantile(gaps, 0.99),
            "prompt tokens from the cache": statistics.mean(u["prompt_tokens_details"]["cached_tokens"] for u in usage),
            "ready, ms": server.ready_seconds * 1e3, "peak memory, MiB": peak / 2**20,
            "prompt tokens": statistics.mean(u["prompt_tokens"] for u in usage), "client share of a core": client / seconds,
            "pieces": statistics.mean(len(answer.arrived) for answer in answers)}


def measure_beside(program, round_number):
    bodies = [load.chat([message("user", STREAM_WORDS + i, f"stream {round_number} {i}")], STREAM_OUTPUT)
              for i in range(CONCURRENCY)]
    long_body = load.chat([message("user", LONG_WORDS, f"long {round_number}")], 1)
    with servers.running(program) as server:
        warm_up(server.port)
        answers, quiet, sent, end, answer = asyncio.run(load.beside_prompt(server.port, bodies, long_body, QUIET_SECONDS))
    without = [gap * 1e3 for a in answers for when, gap in a.gaps() if quiet < when - gap and (when < sent or when - gap > end)]
    beside = [gap * 1e3 for a in answers for when, gap in a.gaps() if when > sent and when - gap < end]
    result = {"ITL median without, ms": statistics.median(without), "ITL p99 without, ms": quantile(without, 0.99),
              "ITL median beside, ms": statistics.median(beside), "ITL p99 beside, ms": quantile(beside, 0.99),
              "TTFT of the long prompt, ms": answer.ttft() * 1e3, "prompt tokens": answer.usage["prompt_tokens"]}
    result["p99 beside / median without"] = result["ITL p99 beside, ms"] / result["ITL median without, ms"]
    result["p99 beside / p99 without"] = result["ITL p99 beside, ms"] / result["ITL p99 without, ms"]
    return result


def measure_steps(program, round_number):
    """What is outside forward and sampling while 16 sequences decode: of the steps, and of all time."""
    bodies = [load.chat([message("user", STREAM_WORDS, f"decode {round_number} {i}")], STREAM_OUTPUT)
              for i in range(CONCURRENCY)]

    async def measure(port):
        streams = [await load.Stream(body).open(port) for body in bodies]
        await asyncio.gather(*(stream.begun for stream in streams))
        before, begun = servers.step_seconds(port), time.monotonic()
        await asyncio.sleep(STEPS_SECONDS)
        after, seconds = servers.step_seconds(port), time.monotonic() - begun
        for stream in streams:
            stream.hang_up()
        n_tokens = sum(begun <= when < begun + seconds for stream in streams for when in stream.answer().arrived)
        return {part: after[part] - before[part] for part in after}, seconds, n_tokens

    with servers.running(program) as server:
        warm_up(server.port)
        parts, seconds, n_tokens = asyncio.run(measure(server.port))
    inside = parts["forward"] + parts["sampling"]
    return {"by /metrics, %": 100 * parts["other"] / (inside + parts["other"]),
            "by the clock on the wall, %": 100 * (1 - inside / seconds), "decoded tokens/s": n_tokens / seconds}


def programs(options):
    program = llama_cpp.program("llama-server")
    files = {"llama-server": options.model, "llama-server, Q4_0": models.smollm2("Q4_0")}
    return [servers.cabinet(options.model, options.threads, options.cabinet.split()),
            *(servers.llama(name, program, model, options.threads, PEER_OPTIONS + options.peer.split())
              for name, model in files.items())]


def run_rounds(options):
    """{test: {program: the figures of each round}}"""
    who = programs(options)
    tests = {"load": (measure_load, who), "beside": (measure_beside, who[:1]), "steps": (measure_steps, who[:1])}
    found = {test: {} for test in tests if options.only in (None, test)}
    for i in range(options.rounds):
        for test, rounds in found.items():
            measure, measured = tests[test]
            for program in measured if i % 2 == 0 else reversed(measured):
                rounds.setdefault(program.name, []).append(measure(program, i))
                say(f"round {i + 1} of {options.rounds}, {test}, {program.name}: {rounds[program.name][-1]}")
    return found


def ratios(found, name, figure):
    return [mine[figure] / theirs[figure] for mine, theirs in zip(found["Cabinet"], found[name])]


def print_load(found):
    peers = [name for name in found if name != "Cabinet"]
    print(f"| load | Cabinet | {' | '.join(f'{name} | ratio' for name in peers)} | goal |\n"
          f"|---|---|{'---|---|' * len(peers)}---|")
    for figure, (form, goal) in LOAD.items():
        cells = [spread([one[figure] for one in found["Cabinet"]], form)]
        for name in peers:
            cells += [spread([one[figure] for one in found[name]], form), spread(ratios(found, name, figure), "{:.2f}")]
        print(f"| {figure} | {' | '.join(cells)} | {goal} |")


def print_plain(title, found, forms):
    print(f"\n| {title} | {' | '.join(found)} |\n|---|{'---|' * len(found)}")
    for figure, form in forms.items():
        print(f"| {figure} | {' | '.join(spread([one[figure] for one in rounds], form) for rounds in found.values())} |")


def print_tables(options, found):
    print(f"{datetime.date.today().isoformat()}, {cpu('model name')}, {options.threads} threads, "
          f"{pathlib.Path(options.model).name}, commit {commit()}, {options.rounds} rounds in turns; median (least "
          f"to most).\n")
    if "load" in found:
        print_load(found["load"])
    if "beside" in found:
        print_plain(f"a long prompt beside {CONCURRENCY} streams (goal: the ratio ≤ 2.5)", found["beside"], BESIDE)
    if "steps" in found:
        print_plain(f"outside forward and sampling, {CONCURRENCY} sequences (goal: ≤ 3 %)", found["steps"], STEPS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("load", "beside", "steps"))
    parser.add_argument("--cabinet", default="", metavar="OPTIONS", help="more options of cabinet serve")
    parser.add_argument("--peer", default="", metavar="OPTIONS", help="more options of llama-server")
    parser.add_argument("--json", action="store_true", help="every figure of every round")
    options = parser.parse_args()
    options.model = str(SMOLLM2)
    require("bench-serve", SMOLLM2)
    found = run_rounds(options)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print_tables(options, found)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench/serve.py: stopped"))  # so that servers are stopped too
    try:
        main()
    except (fetch.Failure, RuntimeError) as failure:
        sys.exit(f"bench/serve.py: {failure}")
