"""What the end-to-end tests share: the program under test, a place for files, and its ways to answer."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import gguf_edit

CABINET = os.environ["CABINET"]
TINY = pathlib.Path(__file__).resolve().parent.parent / "golden" / "tiny"
MODEL = TINY / "llama_tied.gguf"
SECONDS = 240


def run(*arguments, stdin=b"", environment=None, **options):
    """The finished process; its output as bytes."""
    command = [CABINET, *(os.fspath(a) if isinstance(a, os.PathLike) else a for a in arguments)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=SECONDS, check=False,
                          env={**os.environ, **(environment or {})}, **options)


class CabinetTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content)
        return path

    def edited(self, change, source=MODEL):
        """The path of a copy of a model after `change(Gguf)`."""
        file = gguf_edit.read(source)
        change(file)
        return file.write(self.folder / "edited.gguf")

    def done(self, *arguments, **options):
        """Standard output of a run that succeeds."""
        process = run(*arguments, **options)
        self.assertEqual(process.returncode, 0, process.stderr.decode(errors="replace"))
        return process.stdout

    def json(self, *arguments, **options):
        output = self.done(*arguments, **options)
        return json.loads(output.decode())  # which must be UTF-8

    def refused(self, *arguments, says=(), code=1, begins="cabinet: ", **options):
        """The run fails with exactly one line, which holds every text of `says`."""
        process = run(*arguments, **options)
        error = process.stderr.decode()
        self.assertEqual(process.returncode, code, error)
        self.assertRegex(error, rf"\A{begins}[^\n\x00-\x1f]+\n\Z")
        self.assertEqual(process.stdout, b"")
        for text in says:
            self.assertIn(text, error)
        return error
