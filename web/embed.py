#!/usr/bin/env python3
"""web/embed.py OUTPUT FILE...: writes a C file that holds the files, for src/server/web_files.h.

index.html is "/", another page "/" and its name without .html, every other file "/" and its name.
"""

import hashlib
import pathlib
import sys

CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
BYTES_A_LINE = 32


def read(path):
    try:
        return path.read_bytes()
    except FileNotFoundError:
        sys.exit(f"web/embed.py: {path} is not there: tools/fetch.py web --link BUILD_FOLDER fetches what is not in web/")


def url_of(path):
    if path.name == "index.html":
        return "/"
    return f"/{path.stem if path.suffix == '.html' else path.name}"


def array(number, content):
    lines = (content[i:i + BYTES_A_LINE] for i in range(0, len(content), BYTES_A_LINE))
    text = ",\n".join(",".join(map(str, line)) for line in lines)
    return f"static const unsigned char file_{number}[] = {{\n{text}}};\n"


def entry(number, url, suffix, content):
    etag = hashlib.sha256(content).hexdigest()[:32]
    return f'    {{"{url}", "{CONTENT_TYPES[suffix]}", "\\"{etag}\\"", file_{number}, sizeof file_{number}}},\n'


def main():
    output, *names = map(pathlib.Path, sys.argv[1:])
    files = sorted((url_of(path), path) for path in names)
    contents = [read(path) for _, path in files]
    with open(output, "w", encoding="ascii") as out:
        out.write('/* Written by web/embed.py. */\n#include "server/web_files.h"\n\n')
        out.writelines(array(number, content) for number, content in enumerate(contents))
        out.write("\nconst struct web_file web_files[] = {\n")
        out.writelines(entry(number, url, path.suffix, contents[number]) for number, (url, path) in enumerate(files))
        out.write("};\nconst size_t n_web_files = sizeof web_files / sizeof web_files[0];\n")


if __name__ == "__main__":
    main()
