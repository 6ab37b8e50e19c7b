#!/usr/bin/env python3
"""Holds src/ to its rules: who may include whom, sizes of files, headers that compile alone.

    tools/check_includes.py [BUILD_FOLDER]    default: build, whose compile commands the headers are compiled with

Prints one line a violation; exits 1 if there is any.
"""

import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src"

# folder: what it may include, and with it what that may include (ARCHITECTURE.md, "Folders"). A name with a slash is
# one header.
MAY_INCLUDE = {
    "base": [],
    "hub": ["base"],
    "codec": ["base"],
    "kernel": ["codec"],
    "comm": ["base"],
    "tier": ["base"],
    "kv": ["base", "codec", "tier/tier.h"],
    "sched": ["kv"],
    "model": ["kernel", "comm", "sched/batch.h"],
    "engine": ["sched", "model", "tier", "plan"],
    "plan": ["model", "codec"],
    "sim": ["sched", "plan"],
    "server": ["engine", "plan"],
    "cli": ["engine", "sim", "server", "hub"],
}
# The batch is what model/ sees of sched/: so it may see no more than model/ may.
FILE_MAY_INCLUDE = {"sched/batch.h": ["base", "codec"], "sched/batch.c": ["base", "codec", "sched/batch.h"]}

# library header: folders that may include it, and in how many files
LIBRARIES = {
    "lmdb.h": (["tier"], 1),
    "hiredis.h": (["tier"], 1),
    "mpi.h": (["comm"], 1),
    "curl/": (["hub"], 2),
    "openssl/": (["hub", "server"], None),
    "event2/": (["server"], None),
    "cabinet_shim.h": (["model", "server", "cli"], None),
}

MAX_LINES = {".c": 600, ".h": 100}
# file: why it is longer
LONGER = {
    "kernel/x86/attention_body.h": "a kernel's code: instantiated once per instruction set",
    "kernel/x86/attention_coded_body.h": "a kernel's code: instantiated once per instruction set",
    "kernel/x86/attention_soften_body.h": "a kernel's code: instantiated once per instruction set",
    "kernel/x86/attention_coded_amx_body.h": "a kernel's code: attention_amx.c's",
    "kernel/x86/attention_bf16_amx_body.h": "a kernel's code: attention_amx.c's",
    "kernel/x86/attention_bf16_few_body.h": "a kernel's code: attention_amx.c's",
    "kernel/x86/codes_avx2.h": "a kernel's code: its vectors of integers",
    "kernel/x86/codes_avx512.h": "a kernel's code: its vectors of integers",
    "kernel/x86/decode_amx.h": "a kernel's code: matmul_quantised_amx.c's",
    "codec/codec_block.h": "the code of the block codecs: instantiated once per codec",
    "kernel/x86/peak_body.h": "a kernel's code: instantiated once per instruction set",
}
# header: why it does not compile alone
NOT_ALONE = {
    "kernel/x86/attention_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_coded_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_codes_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_soften_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_rows_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_coded_amx_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_bf16_amx_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/rope_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/attention_bf16_few_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/rotate_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/store_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/x86/peak_body.h": "a body: its includer names the vector type and instructions first",
    "kernel/kernel_set_define.h": "a body: its includer names the instruction set first",
}

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.M)


def relative(path):
    return path.relative_to(SOURCE).as_posix()


def closure(allowed):
    """Folders and single headers that may be included, when `allowed` may."""
    done, left = set(), list(allowed)
    while left:
        name = left.pop()
        if name not in done:
            done.add(name)
            left += [] if "/" in name else MAY_INCLUDE[name]
    return done


def sources():
    return sorted(path for path in SOURCE.rglob("*") if path.suffix in MAX_LINES)


def check_arrows(path, text):
    name, folder = relative(path), relative(path).split("/")[0]
    if folder not in MAY_INCLUDE:
        yield f"src/{name}: folder {folder} is not in the table of {pathlib.Path(__file__).name}"
        return
    allowed = closure(FILE_MAY_INCLUDE.get(name, [folder, *MAY_INCLUDE[folder]]))
    for quote, included in INCLUDE.findall(text):
        if included in LIBRARIES or any(included.startswith(name) for name in LIBRARIES if name.endswith("/")):
            continue
        if quote == '"' and "/" not in included:
            yield f'src/{name}: "{included}" lacks its folder'
        elif quote == '"' and included not in allowed and included.split("/")[0] not in allowed:
            yield f"src/{name}: may not include {included}"
        elif quote == "<" and included.split("/")[0] in MAY_INCLUDE:
            yield f'src/{name}: write "{included}", not <{included}>'


def check_libraries(texts):
    for library, (folders, n_most) in LIBRARIES.items():
        users = [relative(path) for path, text in texts.items()
                 if any(i == library or library.endswith("/") and i.startswith(library) for _, i in INCLUDE.findall(text))]
        for name in users:
            if name.split("/")[0] not in folders:
                yield f"src/{name}: {library} belongs to {' and '.join(folders)} only"
            if n_most and name.endswith(".h"):
                yield f"src/{name}: {library} belongs into a .c file"
        if n_most and len(users) > n_most:
            yield f"{library} is included by {', '.join(users)}: {n_most} may"


def check_length(path, text):
    name, lines = relative(path), text.count("\n")
    is_kernel = name.startswith("kernel/") and path.suffix == ".c"
    if lines > MAX_LINES[path.suffix] and not is_kernel and name not in LONGER:
        yield f"src/{name}: {lines} lines, {MAX_LINES[path.suffix]} are the limit"


def flags_by_folder(build):
    """folder: the preprocessor and machine flags that one of its files is compiled with."""
    flags = {}
    for command in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(os.path.normpath(os.path.join(command["directory"], command["file"])))
        if file.is_relative_to(SOURCE):
            words = shlex.split(command["command"])
            keep = [word for word in words if re.match(r"-(I|isystem|D|m|std=|W)", word) and word != "-MD" and word != "-MQ"]
            folder = file.parent
            if len(keep) > len(flags.get(folder, [])):
                flags[folder] = keep
    return flags


def compile_alone(path, flags, build):
    if relative(path) in NOT_ALONE:
        return []
    # Twice, so that a missing include guard shows too.
    unit = f'#include "{relative(path)}"\n#include "{relative(path)}"\n'
    command = ["gcc", *flags, "-Werror", "-fsyntax-only", "-x", "c", "-"]
    run = subprocess.run(command, input=unit, text=True, capture_output=True, cwd=build, check=False)
    lines = [line for line in run.stderr.splitlines() if ": error:" in line or ": fatal error:" in line]
    return [f"src/{relative(path)} does not compile alone: {(lines or [run.stderr])[0]}"] if run.returncode else []


def check_alone(build):
    flags = flags_by_folder(build)
    headers = [path for path in sources() if path.suffix == ".h"]
    default = flags[SOURCE / "base"]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(compile_alone, path, flags.get(path.parent, default), build) for path in headers]
        for job in jobs:
            yield from job.result()


def check_exceptions():
    for name in {**LONGER, **NOT_ALONE}:
        if not (SOURCE / name).exists():
            yield f"{pathlib.Path(__file__).name} has an exception for src/{name}, which is not there"


def violations(build):
    texts = {path: path.read_text() for path in sources()}
    for path, text in texts.items():
        yield from check_arrows(path, text)
        yield from check_length(path, text)
    yield from check_libraries(texts)
    yield from check_exceptions()
    yield from check_alone(build)


def main():
    found = list(violations(ROOT / (sys.argv[1] if len(sys.argv) > 1 else "build")))
    print("\n".join(found) if found else f"{len(sources())} files keep the rules")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
