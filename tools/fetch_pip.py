"""Packages out of the Python index, by pip: so its configuration (index, proxy, certificates) holds here too."""

import contextlib
import hashlib
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

MB = 1_000_000
TRIES = 3


class Package(NamedTuple):
    requirement: str
    file: str
    bytes: int
    sha256: str


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
            print(f"{label} ({self.megabytes(total)} MB)", flush=True)

    @staticmethod
    def megabytes(n_bytes):
        return f"{n_bytes / MB:.0f}" if n_bytes >= 10 * MB else f"{n_bytes / MB:.1f}"


    def show(self, done):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + (0.2 if self.is_terminal else 5)
        line = f"{self.label}: {self.megabytes(done)} of {self.megabytes(self.total)} MB"
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


def explain_machine(log):
    """What a package client's output says about disk and network, or None."""
    text = log.lower()
    if "no space left" in text or "enospc" in text:
        return "the disk is full"
    for sign in ("name resolution", "failed to establish", "connection", "timed out", "unreachable", "proxyerror",
                 "enotfound", "eai_again", "econn", "etimedout"):
        if sign in text:
            return "the package index cannot be reached (network, proxy?)"
    return None


def explain(log):
    """The line of pip's output that says what went wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if known := explain_machine(log):
        return known
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["pip said nothing"])[-1].removeprefix("ERROR: ")


def run(command, environment, progress, measure, explain):
    """A package client, with its progress shown: `measure` says how many bytes are there by now."""
    with tempfile.TemporaryFile() as log:  # elsewhere: the cache's disk may be the full one
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                progress.show(min(measure(), progress.total))
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                process.kill()
            progress.end()
        if process.returncode != 0:
            log.seek(0)
            raise Failure(explain(log.read().decode(errors="replace")))


def run_pip(package, folder):
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore",
                   "CABINET_REQUIREMENT": package.requirement, "PYTHONPATH": write_stub(folder)}
    progress = Progress(f"Fetching {package.requirement.replace('==', ' ')}", package.bytes)
    run(pip_command(package, folder), environment, progress, lambda: largest_file(folder), explain)


def tried(what, attempt):
    """What `attempt` returns, tried again when it fails."""
    for left in reversed(range(TRIES)):
        try:
            return attempt()
        except Failure as failure:
            if left == 0 or "disk is full" in str(failure):
                raise Failure(f"cannot fetch {what}: {failure}") from None
            print(f"{what}: {failure}; trying again", flush=True)
            time.sleep(2)
    return None


def fetch(package, cache, download=run_pip):
    """The package's file in the cache folder, downloaded if it is not there: `download` puts it into FOLDER/done."""
    target = cache / "downloads" / package.file
    if is_there(target, package.bytes):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)

    def attempt():
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=target.parent) as folder:
            done = pathlib.Path(folder) / "done"
            done.mkdir()
            download(package, pathlib.Path(folder))
            if not (done / package.file).is_file():
                raise Failure(f"there came {[file.name for file in done.iterdir()]} instead of {package.file}")
            check(done / package.file, package)
            os.replace(done / package.file, target)
        return target

    return tried(package.requirement, attempt)


class PythonFolder(NamedTuple):
    """A folder for PYTHONPATH: what a requirements file with checksums names, for the Python that runs this."""
    requirements: pathlib.Path
    bytes: int  # installed, for the progress

    def folder(self, cache):
        version = f"{sys.implementation.cache_tag}-{hashlib.sha256(self.requirements.read_bytes()).hexdigest()[:12]}"
        return cache / "clients" / version

    def provide(self, cache):
        target = self.folder(cache)
        if target.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        what = f"the Python packages of {self.requirements.name}"

        def attempt():
            with tempfile.TemporaryDirectory(prefix=".pip-", dir=target.parent) as scratch:
                done = pathlib.Path(scratch) / "done"
                run_pip_install(self.requirements, done, Progress(f"Fetching {what}", self.bytes))
                put_in_place(done, target)

        tried(what, attempt)


def run_pip_install(requirements, folder, progress):
    """Only wheels, so that nothing that a package brings is run."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--only-binary", ":all:", "--no-deps",
               "--no-cache-dir", "--retries", "2", "--disable-pip-version-check", "--target", str(folder),
               "--requirement", str(requirements)]
    environment = {**os.environ, "TMPDIR": str(folder.parent), "PIP_NO_INPUT": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    run(command, environment, progress, lambda: folder_bytes(folder.parent), explain)


def folder_bytes(folder):
    total = 0
    for root, _, files in os.walk(folder):
        for name in files:
            with contextlib.suppress(OSError):
                total += os.path.getsize(os.path.join(root, name))
    return total


def put_in_place(folder, target):
    """Gives a complete folder its name, unless somebody else was faster."""
    try:
        os.replace(folder, target)
    except OSError:
        if not target.is_dir():
            raise
