"""The texts that `cabinet quality` reads: nothing of them is downloaded here, they come out of what is installed."""

import importlib.util
import pathlib
import re
import shutil
import subprocess
from typing import NamedTuple

from fetch_pip import Failure

MODULES = "argparse textwrap fractions statistics tarfile".split()


def prose():
    """Python's own documentation, as its help() shows it."""
    from pydoc_data.topics import topics

    return "\n".join(topics[name] for name in sorted(topics))


def narrative():
    """The book of Genesis in the King James Version, a paragraph a chapter."""
    if shutil.which("bible") is None:
        raise Failure("the program `bible` is missing: tools/setup.sh texts installs it (Debian's bible-kjv)")
    output = subprocess.run(["bible", "-f", "Gen1:1-Gen50:26"], check=True, capture_output=True, text=True,
                            stdin=subprocess.DEVNULL, timeout=60).stdout
    chapters = {}
    for chapter, verse in re.findall(r"^Ge(\d+):\d+ (.*)$", output, re.MULTILINE):
        chapters.setdefault(int(chapter), []).append(verse.strip())
    if sorted(chapters) != list(range(1, 51)):
        raise Failure("the program `bible` does not print Genesis as Debian's bible-kjv does")
    return "\n\n".join(" ".join(verses) for _, verses in sorted(chapters.items())) + "\n"


def code():
    """Modules of Python's standard library."""
    return "\n\n".join(pathlib.Path(importlib.util.find_spec(name).origin).read_text() for name in MODULES)


class Text(NamedTuple):
    make: callable

    def provide(self, path):
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(self.make())
        part.replace(path)


TEXTS = {"prose.txt": Text(prose), "narrative.txt": Text(narrative), "code.txt": Text(code)}
