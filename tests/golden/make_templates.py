#!/usr/bin/env python3
"""Writes templates.json: what real chat templates, and small ones of our own, render under Hugging Face's Jinja2.

    python3 tests/golden/make_templates.py FOLDER_OF_TEMPLATES tests/golden/templates.json

Needs the PyPI packages jinja2, transformers and xxhash; the clock stands still at NOW, in UTC. The templates are other
people's work and stay in the cache folder (tools/fetch.py templates), so of what they render only length and
XXH3-128 are kept. The small ones are in template_language.txt, one a line, and their results are kept in full.

An entry is one of
    renders BYTES XXH3     the text
    raises BYTES XXH3      the template's own complaint, by raise_exception: the message
    fails                    Python cannot run it
    fails but BYTES XXH3   Python cannot run it as it loops over `tools`, which is None: the text with `tools` undefined,
                             which is what Cabinet renders
"""

import datetime
import json
import os
import pathlib
import sys
import time

import jinja2
import xxhash
from transformers.utils import chat_template_utils

NOW = 1_700_000_000
HERE = pathlib.Path(__file__).resolve().parent


def message(role, content):
    return {"role": role, "content": content}


CONVERSATIONS = {
    "plain": [message("user", "What is a cache?")],
    "system": [message("system", "Answer briefly."), message("user", "What is a cache?")],
    "turns": [message("user", "What is a cache?"), message("assistant", "A place for what will be needed again."),
              message("user", "And a page?")],
    "odd": [message("system", " Mind \"quotes\" & <tags>.\n"), message("user", "Größe? 你好 😀"),
            message("assistant", "<think>\nWell.\n</think>\n\nIt is 1.5."), message("user", "  spaces\t\n"),
            message("assistant", "Yes."), message("user", "{{ x }} {% y %} {# z #} \\n '")],
    "answered": [message("user", "Ready?"), message("assistant", "Yes.")],  # rendered without a generation prompt
}


class StandingClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.fromtimestamp(NOW, tz)


def variables(name):
    return {"messages": CONVERSATIONS[name], "add_generation_prompt": name != "answered", "bos_token": "<s>",
            "eos_token": "</s>"}


def as_transformers(source, name):
    given = variables(name)
    return chat_template_utils.render_jinja_template([given.pop("messages")], chat_template=source, **given)[0][0]


def without_tools(source, name):
    return chat_template_utils._compile_jinja_template(source).render(documents=None, **variables(name))


def digest(text):
    data = text.encode()
    return f"{len(data)} {xxhash.xxh3_128_hexdigest(data)}"


def entry(source, name):
    try:
        return f"renders {digest(as_transformers(source, name))}"
    except jinja2.exceptions.TemplateError as error:
        raised = type(error) is jinja2.exceptions.TemplateError
        return f"raises {digest(error.message)}" if raised else "fails"
    except TypeError:
        return f"fails but {digest(without_tools(source, name))}"


def language_entry(source):
    try:
        return {"source": source, "renders": as_transformers(source, "turns")}
    except (jinja2.exceptions.TemplateError, TypeError, ValueError, ArithmeticError):
        return {"source": source, "fails": True}


def main():
    folder, out = map(pathlib.Path, sys.argv[1:])
    os.environ["TZ"] = "UTC"
    time.tzset()
    chat_template_utils.datetime = StandingClock
    # newline="": line ends come from the file as they are, and Jinja2 decides what to do with them
    templates = {path.name: path.open(encoding="utf-8", newline="").read() for path in sorted(folder.glob("*.jinja"))}
    lines = (HERE / "template_language.txt").read_text(encoding="utf-8").splitlines()
    golden = {
        "now": NOW,
        "conversations": CONVERSATIONS,
        "templates": {file: {name: entry(source, name) for name in CONVERSATIONS} for file, source in templates.items()},
        "language": [language_entry(line) for line in lines if line],
    }
    out.write_text(json.dumps(golden, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
