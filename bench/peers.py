#!/usr/bin/env python3
"""Cabinet side by side with what users could install instead: the same models, prompts and threads, in turns.

    bench/peers.py [--rounds 5] [--threads 2] [--only ROW,ROW] [--for SECONDS] [--programs NAME,NAME]
                   [--new | --keep-peers] [--list] [--json]

llama.cpp comes out of the source package of llama-cpp-python (compiled once, natively), OpenVINO GenAI out of its Python
packages; both are put into the user's cache folder the first time, and so are the models made from SmolLM2. Each round
measures every program with each of its settings, every other round the peers first. A ratio is against the best peer's
setting of the same round, and the median of the rounds' ratios counts. A setting that was more than a quarter slower than
the best one in the first round is left out of the others.

What is measured is kept in build/peers/rounds.json, as long as build/cabinet stays the same: started again, the script goes
on where it stopped (--new: from the beginning). --keep-peers sets a new build/cabinet beside what the peers did earlier, for a
look while one works: these ratios are of two times, and the table says so. With --for it ends before a measurement that would
take longer than that. Prints the table of what is there, for docs/benchmarks.md.
"""

import argparse
import datetime
import hashlib
import json
import signal
import statistics
import sys
import time

import llama_cpp
import openvino_peer
import rounds
import rows
from common import CABINET, GEMMA3, ROOT, SMOLLM2, Failed, commit, cpu, fetch, require, say, spread

KEPT = ROOT / "build" / "peers" / "rounds.json"
UNKNOWN_SECONDS = 80  # what a run is taken to need before it ran once
MACHINE = {"read_bytes_per_second": ("{:.1f}", "GB/s read"), "int8_ops_per_second": ("{:.0f}", "Gop/s int8"),
           "bf16_flops": ("{:.0f}", "GFLOP/s bf16"), "f32_flops": ("{:.0f}", "GFLOP/s f32")}


def measure(kept, run, number, threads):
    begun = time.monotonic()
    try:
        figures = rows.RUNS[run](threads, number)
        result = {"machine": figures.pop("machine", None), "figures": figures}
    except (Failed, RuntimeError) as failure:
        if rounds.is_ours(run):
            raise
        result = {"failed": str(failure)}
        say(f"{run}: {failure}")
    result |= {"seconds": time.monotonic() - begun, "ended": time.time()}
    kept.add(run, number, result)
    say(f"round {number + 1}, {result['seconds']:.0f} s: {run}")


def run_rounds(options, kept, chosen):
    """True if all rounds are done."""
    end = time.monotonic() + options.seconds if options.seconds else None
    for number in range(options.rounds):
        for run in rounds.wanted(kept, chosen, number):
            if not run.startswith(options.programs):
                continue
            if end is not None and time.monotonic() + (kept.seconds(run) or UNKNOWN_SECONDS) > end:
                continue  # another one may be short enough
            measure(kept, run, number, options.threads)
        if rounds.wanted(kept, chosen, number):
            return False
    return True


def machine_text(kept):
    """Median and spread of what `cabinet bench` found the machine to do; where they spread, it was disturbed."""
    found = [result["machine"] for results in kept.runs.values() for result in results.values() if result.get("machine")]
    return ", ".join(f"{spread([each[key] / 1e9 for each in found], form)} {unit}" for key, (form, unit) in MACHINE.items() if found)


def times_text(kept):
    """From when to when Cabinet ran and the peers did, by the clock."""
    texts = []
    for who, is_mine in (("Cabinet", True), ("the peers", False)):
        ends = [result["ended"] for run, results in kept.runs.items() if rounds.is_ours(run) == is_mine for result in results.values()]
        if ends:
            texts.append(f"{who} {'–'.join(datetime.datetime.fromtimestamp(end).strftime('%H:%M') for end in (min(ends), max(ends)))}")
    return ", ".join(texts)


def goal_cell(kept, row, goal):
    judged = rounds.judge(kept, row, goal)
    sign, against = "≤" if goal.kind == "step" else "≥", f" {goal.against}" if goal.against else ""
    unit = "of limit" if goal.kind == "of limit" else f"×{against}"
    value, form = (100 * goal.value, "{:.0f} %") if goal.kind == "of limit" else (goal.value, "{:g}")
    wish = f"{sign} {form.format(value)} {unit}"
    if judged is None:
        return f"{wish}: not measured"
    if goal.kind == "of limit":
        text = spread([100 * value for value in judged["values"]], "{:.0f}") + " %"
    else:
        text = spread(judged["values"], "{:.2f}")
    return f"{text}, {wish}: {'yes' if judged['is_reached'] else '**no**'}"


def row_cells(kept, row):
    form = "{:.0f}" if row.is_time else "{:.1f}"
    ours = [kept.figure(row.ours, number) for number in kept.numbers(row)]
    cells = [f"{row.title} (`{row.name}`)", spread(ours, form) if ours else "not measured"]
    found = rounds.best_peer(kept, row)
    cells.append(f"{spread(found[1], form)}: {found[0].run}" if found else "not measured")
    ratios = rounds.times(kept, row, row.peers)
    cells.append(spread(ratios, "{:.2f}") if ratios else "")
    limits = [kept.figure(rounds.limit(row.ours), number) for number in kept.numbers(row)]
    cells.append(f"{100 * statistics.median(limits):.0f} %" if limits and limits[0] is not None else "")
    cells.append("; ".join(goal_cell(kept, row, goal) for goal in row.goals))
    return cells


def print_table(options, kept, chosen):
    print(f"{datetime.date.today().isoformat()}, {cpu('model name')}, {options.threads} threads, commit {commit()}; median (least "
          f"to most) of the rounds; tokens/s unless the row says otherwise. Measured: {times_text(kept)}. The machine meanwhile: "
          f"{machine_text(kept)}.\n")
    print("| work | Cabinet | best peer's setting | ratio | of limit | goals |\n|---|---|---|---|---|---|")
    for row in chosen:
        print(f"| {' | '.join(row_cells(kept, row))} |")
    for run in dict.fromkeys(run for row in chosen for run in row.runs()):
        if failure := kept.failure(run):
            print(f"\nNot measured: {run}: {failure}")


def as_json(kept, row):
    return {"row": row.name, "cabinet": [kept.figure(row.ours, number) for number in kept.numbers(row)],
            "ratio": rounds.times(kept, row, row.peers),
            "peers": {ref.run: {number: result.get("figures", {}).get(ref.figure)
                                for number, result in kept.runs.get(ref.run, {}).items()} for ref in row.peers},
            "goals": [{"kind": goal.kind, "value": goal.value, "against": goal.against, "found": rounds.judge(kept, row, goal)}
                      for goal in row.goals]}


def parse_rows(text):
    known = {row.name: row for row in rows.ROWS}
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"there is no row {name}; --list names them")
    return [known[name] for name in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", type=parse_rows, default=rows.ROWS, metavar="ROW,ROW")
    parser.add_argument("--for", type=float, dest="seconds", metavar="SECONDS", help="end in time, and go on when started again")
    parser.add_argument("--programs", type=lambda text: tuple(text.split(",")), default=("",), metavar="NAME,NAME",
                        help="measure only runs whose names begin so: Cabinet, llama, OpenVINO")
    parser.add_argument("--keep-peers", action="store_true", help="beside what the peers did with an earlier build/cabinet")
    parser.add_argument("--new", action="store_true", help="forget what was measured")
    parser.add_argument("--list", action="store_true", help="the rows' names, and what each needs")
    parser.add_argument("--json", action="store_true", help="every figure of every round")
    options = parser.parse_args()
    if options.list:
        for row in options.only:
            print(f"{row.name}: {row.title}", *row.runs(), sep="\n    ")
        return
    require("bench-peers", SMOLLM2, GEMMA3)
    for program in ("llama-bench", "llama-batched-bench", "llama-server"):
        llama_cpp.program(program)
    openvino_peer.packages()
    if options.new:
        KEPT.unlink(missing_ok=True)
    kept = rounds.Rounds(KEPT, f"{hashlib.sha256(CABINET.read_bytes()).hexdigest()[:16]}, {options.threads} threads",
                         options.keep_peers)
    is_done = run_rounds(options, kept, options.only)
    if options.json:
        print(json.dumps({"date": datetime.date.today().isoformat(), "commit": commit(), "processor": cpu("model name"),
                          "threads": options.threads, "is_done": is_done, "rows": [as_json(kept, row) for row in options.only],
                          "runs": kept.runs}, indent=2))
    else:
        print_table(options, kept, options.only)
    if not is_done:
        say("Not all is measured: start it again")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench/peers.py: stopped"))  # so that servers are stopped too
    try:
        main()
    except (fetch.Failure, Failed, RuntimeError) as failure:
        sys.exit(f"bench/peers.py: {failure}")
    except KeyboardInterrupt:
        sys.exit("bench/peers.py: stopped; started again, it goes on")
