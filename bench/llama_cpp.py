"""llama.cpp out of the source package of llama-cpp-python, compiled once, natively, into the user's cache folder."""

import json
import shutil
import subprocess
import sys
import tarfile

from common import SMOLLM2, cpu, fetch, output_of, say

CMAKE = ["-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_OPENSSL=OFF",
         "-DLLAMA_BUILD_TESTS=OFF", "-DLLAMA_BUILD_EXAMPLES=OFF", "-DLLAMA_BUILD_UI=OFF"]
NATIVE = ["-DGGML_NATIVE=ON"]
# llama.cpp's AMX code crashes on virtual machines that announce AMX and do not let it be used.
AMX_OFF = "-march=native -mno-amx-tile -mno-amx-int8 -mno-amx-bf16"
# switch of llama.cpp: the processor's flag that it needs
GGML_SWITCHES = {"GGML_AVX": "avx", "GGML_AVX2": "avx2", "GGML_FMA": "fma", "GGML_F16C": "f16c", "GGML_BMI2": "bmi2",
                 "GGML_AVX512": "avx512f", "GGML_AVX512_VBMI": "avx512vbmi", "GGML_AVX512_VNNI": "avx512_vnni",
                 "GGML_AVX512_BF16": "avx512_bf16"}


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


def compile_all(source, build, switches):
    configure = ["cmake", "-S", source, "-B", build, *CMAKE, *switches]
    with open(build.with_suffix(".log"), "w", encoding="utf-8") as log:
        if subprocess.run(configure, stdout=log, stderr=subprocess.STDOUT, check=False).returncode != 0:
            sys.exit(f"{sys.argv[0]}: llama.cpp cannot be configured; see {log.name}")
    return make(build, "llama-bench")


def make(build, name):
    with open(build.with_suffix(".log"), "a", encoding="utf-8") as log:
        if subprocess.run(["ninja", "-C", build, name], stdout=log, stderr=subprocess.STDOUT, check=False).returncode != 0:
            sys.exit(f"{sys.argv[0]}: {name} does not compile; see {log.name}")
    return build / "bin" / name


def runs(program):
    command = [program, "-m", SMOLLM2, "-p", "32", "-n", "4", "-r", "1", "-fa", "on"]
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def build_folder():
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
        program = compile_all(folder / "source", folder / name, switches)
        if runs(program):
            current.symlink_to(program)
            return folder / name
        say(f"The {name} build does not run here")
    sys.exit(f"{sys.argv[0]}: no build of llama.cpp runs on this machine")


def program(name):
    """A program of llama.cpp, compiled for this machine unless it is there."""
    build = build_folder()
    found = build / "bin" / name
    if found.exists():
        return found
    say(f"Compiling {name}; this takes some minutes")
    return make(build, name)


def bench(model, *, prefill, decode, depth, kv, threads, flash="on"):
    """Tokens/s of the prefill and of the decode after `depth` tokens, None for what has 0 tokens."""
    text = output_of([program("llama-bench"), "-m", model, "-p", prefill, "-n", decode, "-d", depth, "-r", 1, "-fa", flash,
                      "-ctk", kv, "-ctv", kv, "-t", threads, "-o", "json"])
    speeds = {bool(row["n_gen"]): row["avg_ts"] for row in json.loads(text)}
    return speeds.get(False), speeds.get(True)


def batched_bench(model, *, prompt, decode, users, is_shared, is_unified, kv, threads, flash="on"):
    """Tokens/s of `users` together while each decodes, after a prompt of its own or one that all share."""
    tokens = (prompt if is_shared else users * prompt) + users * decode
    # Streams of their own have equal parts of the context.
    context = tokens if is_unified or not is_shared else users * (prompt + decode)
    text = output_of([program("llama-batched-bench"), "-m", model, "-c", context, "-npp", prompt, "-ntg", decode, "-npl", users,
                      *(["-pps"] if is_shared else []), "-kvu" if is_unified else "-no-kvu", "-fa", flash, "-ctk", kv, "-ctv", kv,
                      "-t", threads, "--output-format", "jsonl"])
    return json.loads(text.strip().splitlines()[-1])["speed_tg"]
