#!/usr/bin/env python3
"""catalog/embed.py OUTPUT FILE...: writes a C file that holds the files, for src/plan/catalog_files.h."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "web"))
import embed  # pylint: disable=wrong-import-position


def main():
    output, *files = map(pathlib.Path, sys.argv[1:])
    contents = [path.read_bytes() + b"\0" for path in files]
    with open(output, "w", encoding="ascii") as out:
        out.write('/* Written by catalog/embed.py. */\n#include "plan/catalog_files.h"\n\n')
        out.writelines(embed.array(number, content) for number, content in enumerate(contents))
        out.write("\nconst struct catalog_file catalog_files[] = {\n")
        out.writelines(f'    {{"{path.name}", (const char *)file_{number}, sizeof file_{number} - 1}},\n'
                       for number, path in enumerate(files))
        out.write("};\nconst size_t n_catalog_files = sizeof catalog_files / sizeof catalog_files[0];\n")


if __name__ == "__main__":
    main()
