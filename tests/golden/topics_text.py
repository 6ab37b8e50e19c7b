"""A text that every machine with Python has: the topics of `pydoc_data` whose words are the same in 3.10 to 3.13."""

import hashlib

TOPICS = """assert bitwise bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects booleans break
callable-types comparisons context-managers continue del dynamic-features else exceptions global id-classes if import in
integers lambda pass return slicings typesfunctions typesmodules unary while with yield""".split()
SHA256 = "e3fbdb5ba5b9ae14ab2ba9c6f61d87cb1c0e4de4739285d1eb71f44f42d51629"


def topics_text():
    """About 11,000 tokens of English and code, as bytes."""
    from pydoc_data.topics import topics

    text = "\n".join(topics[name] for name in TOPICS).encode()
    if hashlib.sha256(text).hexdigest() != SHA256:
        raise SystemExit("this Python's pydoc_data/topics.py has other words than those of Python 3.10 to 3.13")
    return text
