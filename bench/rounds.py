"""Rounds of measurements: what is left to do, what was found, and what follows from it.

A run is one program with one setting; it yields figures by name. A row sets one of Cabinet's figures beside those of peers.
Rounds are kept in a file after each run, so that a long comparison can be done in pieces.
"""

import json
import os
import pathlib
import statistics
from typing import NamedTuple

# A peer's setting that was slower than this part of the best one in the first round is not measured again.
CONTENDER = 0.75


def is_ours(run):
    return run.startswith("Cabinet")


class Ref(NamedTuple):
    """A figure of a run."""
    run: str
    figure: str


class Goal(NamedTuple):
    """kind "of limit": the figure's part of this machine's limit, at least `value`. "times": how many times faster than the
    fastest of `refs`, at least. "step": how many times as long a step as that of `refs`, at most."""
    kind: str
    value: float
    against: str = ""  # in words
    refs: tuple = ()


class Row(NamedTuple):
    name: str
    title: str
    ours: Ref
    peers: tuple  # of Ref: every setting that could be the best
    goals: tuple
    is_time: bool = False  # the figure is one of which less is better

    def runs(self):
        """Of all figures, Cabinet's first."""
        refs = (self.ours, *(ref for goal in self.goals for ref in goal.refs), *self.peers)
        return list(dict.fromkeys(ref.run for ref in refs))


class Rounds:
    """{run: {round: {"figures": {...}, "seconds": s} or {"failed": why}}}, in a file that belongs to one build of Cabinet. Of
    another build's file nothing holds, or, where that is asked for, what the peers did then."""

    def __init__(self, path, build, keeps_peers=False):
        self.path, self.build, self.runs = pathlib.Path(path), build, {}
        if not self.path.exists():
            return
        kept = json.loads(self.path.read_text())
        if kept["build"] == build:
            self.runs = kept["runs"]
        elif keeps_peers:
            self.runs = {run: results for run, results in kept["runs"].items() if not is_ours(run)}
        for run, results in self.runs.items():  # what failed is tried again when the script is
            self.runs[run] = {number: result for number, result in results.items() if "failed" not in result}

    def add(self, run, number, result):
        self.runs.setdefault(run, {})[str(number)] = result
        part = self.path.with_suffix(".part")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"build": self.build, "runs": self.runs}, indent=1))
        os.replace(part, self.path)

    def has(self, run, number):
        return str(number) in self.runs.get(run, {})

    def failure(self, run):
        """Why the run cannot be done here, or None."""
        return next((result["failed"] for result in self.runs.get(run, {}).values() if "failed" in result), None)

    def seconds(self, run):
        """What the run took so far at most, or None."""
        return max((result["seconds"] for result in self.runs.get(run, {}).values() if "seconds" in result), default=None)

    def figure(self, ref, number):
        return self.runs.get(ref.run, {}).get(str(number), {}).get("figures", {}).get(ref.figure)

    def numbers(self, row):
        """Rounds in which Cabinet's figure is known."""
        return sorted(int(n) for n in self.runs.get(row.ours.run, {}) if self.figure(row.ours, n) is not None)


def best(rounds, refs, number, is_time=False):
    """(figure, ref) of the best one in a round, or None."""
    known = [(rounds.figure(ref, number), ref) for ref in refs if rounds.figure(ref, number)]
    return (min if is_time else max)(known, key=lambda pair: pair[0], default=None)


def is_contender(rounds, row, ref):
    """Whether the peer's setting came near the best one of any goal, and of the row, in the first round."""
    mine = rounds.figure(ref, 0)
    if mine is None:
        return not rounds.has(ref.run, 0)
    for refs in (row.peers, *(goal.refs for goal in row.goals if ref in goal.refs)):
        found = best(rounds, refs, 0, row.is_time)[0]
        if (found / mine if row.is_time else mine / found) >= CONTENDER:
            return True
    return False


def wanted(rounds, rows, number):
    """Runs that a round still lacks, each once; every other round begins with the peers."""
    runs = []
    for row in rows:
        known = {row.ours.run, *(ref.run for goal in row.goals for ref in goal.refs if ref not in row.peers)}
        known |= {ref.run for ref in row.peers if number == 0 or is_contender(rounds, row, ref)}
        mine = [run for run in row.runs() if run in known]
        runs += mine if number % 2 == 0 else reversed(mine)
    return [run for run in dict.fromkeys(runs) if not rounds.has(run, number) and rounds.failure(run) is None]


def times(rounds, row, refs):
    """How many times faster Cabinet is than the fastest of `refs`, in each round that knows both."""
    found = []
    for number in rounds.numbers(row):
        ours, theirs = rounds.figure(row.ours, number), best(rounds, refs, number, row.is_time)
        if theirs is not None:
            found.append(theirs[0] / ours if row.is_time else ours / theirs[0])
    return found


def limit(ref):
    """The part of this machine's limit that a figure is."""
    return Ref(ref.run, ref.figure + " of limit")


def judge(rounds, row, goal):
    """{"values": of each round, "median", "is_reached"}, or None where a figure is missing."""
    if goal.kind == "of limit":
        values = [rounds.figure(limit(row.ours), number) for number in rounds.numbers(row)]
    elif goal.kind == "times":
        values = times(rounds, row, goal.refs)
    else:
        values = [1 / ratio for ratio in times(rounds, row, goal.refs)]
    values = [value for value in values if value is not None]
    if not values:
        return None
    median = statistics.median(values)
    is_reached = median <= goal.value if goal.kind == "step" else median >= goal.value
    return {"values": values, "median": median, "is_reached": is_reached}


def best_peer(rounds, row):
    """(ref, its figures) of the setting with the best median, or None."""
    known = {}
    for ref in row.peers:
        values = [rounds.figure(ref, number) for number in rounds.runs.get(ref.run, {})]
        if known_values := [value for value in values if value]:
            known[ref] = known_values
    if not known:
        return None
    ref = (min if row.is_time else max)(known, key=lambda ref: statistics.median(known[ref]))
    return ref, known[ref]
