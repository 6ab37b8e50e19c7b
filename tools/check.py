#!/usr/bin/env python3
"""Runs the checks: all of them, or the named parts. Each part builds what it needs.

    static    includes, sizes, format, the list of third parties, no paths of one machine
    release   every test, on the product
    asan      the tests again under ASan and UBSan, without the ones that only take longer
    tsan      the tests that use threads, under TSan
    fuzz      every fuzzer for a while
    arm       the kernels of aarch64 against the scalar ones, under an emulator

With --smoke it then prints speeds beside this machine's limits, which nobody judges (bench/smoke.py).

The last line is "N passed, N failed". A test that was skipped has failed: what the tests need is installed or fetched.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PARTS = ["static", "release", "asan", "tsan", "fuzz", "arm"]
OUTPUT_LINES = 60  # of a failed test
SMOKE_SECONDS = 90  # at most, on a slow machine

# Tests left out under sanitizers: the same code runs there on other, tiny models; these would take minutes.
TOO_LONG = {"golden logits smollm2", "equiv forward smollm2", "equiv forward qwen2", "equiv forward gemma2"}
# Tests that use threads: names start so.
THREADED = ("unit base", "unit engine", "unit http", "unit log", "unit mailbox", "unit mask thread", "unit metrics", "unit picker",
            "unit service", "kernel ", "equiv ", "fault server", "e2e openai", "e2e server")

SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=1:detect_stack_use_after_return=1:allocator_may_return_null=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


class Tally:
    """What passed, and what failed with its output."""

    def __init__(self):
        self.n_passed = 0
        self.failures = []

    def add(self, name, passed, output=""):
        if passed:
            self.n_passed += 1
        else:
            self.failures.append((name, output))

    def print(self):
        for name, output in self.failures:
            lines = output.strip().splitlines()
            print(f"\n--- failed: {name}")
            print("\n".join((["..."] if len(lines) > OUTPUT_LINES else []) + lines[-OUTPUT_LINES:]))
        print(f"\n{self.n_passed} passed, {len(self.failures)} failed", flush=True)


def headline(text):
    print(f"== {text}", flush=True)


def result_line(name, passed, seconds):
    print(f"  {'ok' if passed else 'FAILED':7} {name}  {seconds:.1f} s", flush=True)


def run_check(tally, name, command, **options):
    """One command that passes or fails."""
    started = time.monotonic()
    run = subprocess.run(command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                         stdin=subprocess.DEVNULL, errors="replace", check=False, **options)
    tally.add(name, run.returncode == 0, run.stdout)
    result_line(name, run.returncode == 0, time.monotonic() - started)


def build(tally, folder, targets=()):
    """True if it was built. Shows ninja's counter now and then."""
    started = last_shown = time.monotonic()
    process = subprocess.Popen([ROOT / "tools" / "build.sh", folder, *targets], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    lines = []
    for line in process.stdout:
        lines.append(line)
        counter = re.match(r"\[\d+/\d+\]", line)
        if counter and time.monotonic() - last_shown > 5:
            last_shown = time.monotonic()
            print(f"  {counter[0]} {folder}", flush=True)
    passed = process.wait() == 0
    result_line(f"build of {folder}", passed, time.monotonic() - started)
    tally.add(f"build of {folder}", passed, "".join(lines))
    return passed


def tests_of(folder):
    """name: path of the test's program in the build folder, or None for a script."""
    listed = subprocess.run(["meson", "introspect", folder, "--tests"], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    programs = {}
    for test in json.loads(listed.stdout):
        path = os.path.relpath(test["cmd"][0], ROOT / folder)
        programs[test["name"]] = None if path.startswith("..") else path
    return programs


def meson_test(tally, folder, names, slower=1):
    """Runs tests of a build folder by their names."""
    log = ROOT / folder / "meson-logs" / "testlog.json"
    log.unlink(missing_ok=True)
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--num-processes", str(os.cpu_count()),
               "--timeout-multiplier", str(slower), *names]
    with subprocess.Popen(command, cwd=ROOT, env={**SANITIZERS, **os.environ}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        output = []
        for line in process.stdout:
            output.append(line)
            found = re.match(r"\s*\d+/\d+ (?:cabinet:\S+ / |cabinet / )?(.*?)\s+([A-Z]+)\s+([\d.]+)s", line)
            if found:
                result_line(found[1], found[2] == "OK", float(found[3]))
    results = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    for result in results:
        text = result.get("stdout", "") + result.get("stderr", "")
        tally.add(f"{result['name'].split(' / ')[-1]} ({folder}): {result['result']}", result["result"] == "OK", text)
    if len(results) != len(names):
        tally.add(f"meson test in {folder}: {len(results)} of {len(names)} tests ran", False, "".join(output))


def check_paths():
    """Lines of committed files that name a place of one machine."""
    pattern = r"(^|[^[:alnum:]_.~])/(work|root|home|opt)/[[:alnum:]_.]"
    run = subprocess.run(["git", "grep", "-InE", "--untracked", pattern], cwd=ROOT, text=True, check=False,
                         stdout=subprocess.PIPE)
    allowed = re.compile(r"^tools/check_fresh\.sh:")  # a home folder in a root that it makes
    return "\n".join(line for line in run.stdout.splitlines() if not allowed.match(line))


def part_static(tally, _options):
    headline("Static checks")
    if not (ROOT / "build" / "compile_commands.json").exists() and not build(tally, "build"):
        return
    run_check(tally, "includes, sizes, headers alone", ["tools/check_includes.py"])
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.c", "*.h"], cwd=ROOT, text=True, check=True,
                           stdout=subprocess.PIPE).stdout.split()
    files = [file for file in files if (ROOT / file).exists()]
    run_check(tally, "clang-format", ["clang-format-19", "--dry-run", "-Werror", *files])
    run_check(tally, "THIRD_PARTY.md", ["tools/third_party.py", "--check"])
    found = check_paths()
    result_line("no paths of one machine", not found, 0)
    tally.add("no paths of one machine", not found, found)


def fetch(tally, folder):
    """True if test data are in place."""
    run = subprocess.run(["tools/fetch.py", "models", "vocab", "templates", "gemma", "node", "clients", "--link", folder], cwd=ROOT, check=False)
    if run.returncode != 0:
        tally.add(f"test data for {folder}", False, "tools/fetch.py failed: see above")
    return run.returncode == 0


def part_release(tally, _options):
    headline("Tests of the product (gcc, release)")
    if build(tally, "build") and fetch(tally, "build"):
        meson_test(tally, "build", tests_of("build"))


def part_asan(tally, _options):
    headline("Tests under ASan and UBSan (clang-19)")
    if build(tally, "build-asan") and fetch(tally, "build-asan"):
        meson_test(tally, "build-asan", [name for name in tests_of("build-asan") if name not in TOO_LONG], 5)


def part_tsan(tally, _options):
    headline("Tests with threads under TSan (clang-19)")
    if not build(tally, "build-tsan", ["build.ninja"]):
        return
    programs = {name: path for name, path in tests_of("build-tsan").items() if name.startswith(THREADED) and name not in TOO_LONG}
    if build(tally, "build-tsan", ["src/cli/cabinet", *sorted({path for path in programs.values() if path})]) and fetch(tally, "build-tsan"):
        meson_test(tally, "build-tsan", programs, 10)


def run_fuzzer(program, seconds):
    """The fuzzer's exit code and output. What it finds stays in the build folder's found/ and is named in the output."""
    target = program.name.removeprefix("fuzz_")
    found = program.parent / "found" / target
    found.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        command = [program, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=8000", "-print_final_stats=1",
                   f"-artifact_prefix={found}/", scratch, ROOT / "tests" / "fuzz" / "corpus" / target]
        sanitizers = dict(SANITIZERS)
        if target in ("template", "schema"):  # cycles, and threads left behind, are never freed: see the targets
            sanitizers["ASAN_OPTIONS"] += ":detect_leaks=0"
            command.insert(1, "-detect_leaks=0")
        run = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                             env={**sanitizers, **os.environ}, stdin=subprocess.DEVNULL, errors="replace")
    return run.returncode, run.stdout


def part_fuzz(tally, options):
    headline(f"Fuzzers, {options.seconds} s each")
    if not build(tally, "build-asan"):
        return
    programs = sorted(path for path in (ROOT / "build-asan" / "tests" / "fuzz").glob("fuzz_*") if path.is_file())
    if not programs:
        tally.add("fuzzers", False, "there are none in build-asan")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        started = time.monotonic()
        jobs = {pool.submit(run_fuzzer, program, options.seconds): program.name for program in programs}
        for job in concurrent.futures.as_completed(jobs):
            code, output = job.result()
            runs = re.search(r"number_of_executed_units: (\d+)", output)
            passed = code == 0 and runs is not None
            tally.add(jobs[job], passed, output)
            result_line(f"{jobs[job]} ({runs[1] if runs else 'no'} inputs)", passed, time.monotonic() - started)


def part_arm(tally, _options):
    headline("Kernels for aarch64 (gcc, qemu-user)")
    if not all(map(shutil.which, ("aarch64-linux-gnu-gcc", "qemu-aarch64"))):
        print("  not here: its compiler and emulator could not be installed (tools/setup.sh arm)", flush=True)
        return
    if build(tally, "build-arm"):
        meson_test(tally, "build-arm", tests_of("build-arm"), 10)


def print_smoke():
    """Whatever becomes of it: what counts is the tests."""
    headline("Speeds beside this machine's limits (not judged)")
    environment = os.environ | {"CABINET": str(ROOT / "build" / "src" / "cli" / "cabinet"), "PYTHONDONTWRITEBYTECODE": "1"}
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run([sys.executable, "bench/smoke.py"], cwd=ROOT, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                       env=environment, check=False, timeout=SMOKE_SECONDS)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="default: all")
    parser.add_argument("--seconds", type=int, default=10, help="time of each fuzzer")
    parser.add_argument("--smoke", action="store_true", help="then print speeds beside this machine's limits")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; these are: {', '.join(PARTS)}")
    tally, started = Tally(), time.monotonic()
    parts = options.parts or ["release", "static", "asan", "tsan", "fuzz", "arm"]
    for part in parts:
        globals()[f"part_{part}"](tally, options)
    if options.smoke:
        print_smoke()
    print(f"\n{(time.monotonic() - started) / 60:.1f} minutes")
    tally.print()
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
