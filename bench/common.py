"""What all benchmarks share: where things are, who runs on what, and how figures are written."""

import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "tests" / "e2e")]  # of the latter gguf_edit is used
import fetch  # noqa: E402  (where downloads go, and their checksums)

CABINET = pathlib.Path(os.environ.get("CABINET", ROOT / "build" / "cabinet"))
SMOLLM2 = fetch.cache_folder() / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
GEMMA3 = fetch.cache_folder() / "gemma" / "gemma-3-270m-q4_k_m.gguf"
SECONDS = 900  # of one measurement; more, and something hangs
# llama.cpp's threads wait in OpenMP's barriers, by default as good as for ever: where another process wants a core too,
# that costs it most of its speed. So they wait shortly and then sleep.
ENVIRONMENT = {"GOMP_SPINCOUNT": "20000"}


class Failed(Exception):
    """A program that should have measured something: one line."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def cpu(field):
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith(field):
            return line.split(":", 1)[1].strip()
    return ""


def commit():
    run = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, text=True, stdout=subprocess.PIPE, check=False)
    return run.stdout.strip()


def require(what, *files):
    if not all(pathlib.Path(file).exists() for file in (CABINET, *files)):
        sys.exit(f"{sys.argv[0]}: build/cabinet or a model is missing: `make {what}` makes both")
    if os.getloadavg()[0] > 1:
        say(f"Note: other programs are running (load {os.getloadavg()[0]:.1f}); the ratios will spread")


def name_of(words):
    """Of the program or script that a command runs."""
    return pathlib.Path(words[1] if words[0] == sys.executable else words[0]).name


def output_of(command, environment=()):
    """What a program prints, as text. Raises Failed."""
    words = [str(word) for word in command]
    try:
        run = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False, timeout=SECONDS,
                             stdin=subprocess.DEVNULL, errors="replace", env=os.environ | ENVIRONMENT | dict(environment))
    except subprocess.TimeoutExpired:
        raise Failed(f"{name_of(words)} took more than {SECONDS} s") from None
    if run.returncode != 0:
        raise Failed(f"{name_of(words)} failed ({run.returncode}): {' '.join(run.stderr.strip().splitlines()[-1:])[:300]}")
    return run.stdout


def cabinet_bench(model, *words, threads):
    """The object that `cabinet bench --json` prints."""
    return json.loads(output_of([CABINET, "bench", model, *words, "--threads", threads, "--json"]))


def spread(values, form="{:.1f}"):
    """The median, and the least and the greatest if there are several."""
    if len(values) == 1:
        return form.format(values[0])
    return f"{form.format(statistics.median(values))} ({form.format(min(values))} to {form.format(max(values))})"
