"""The Python of README.md is run as it stands there, but for the port: it shows what works."""

import pathlib
import re
import subprocess
import sys
import unittest

from cabinet import SECONDS
from served import ServedTest

README = pathlib.Path(__file__).resolve().parents[2] / "README.md"
SERVED_AT = "http://127.0.0.1:8080/"  # where `cabinet serve` is without options


class Readme(ServedTest):
    OPTIONS = ("--model-name", "smollm2")

    def test_python(self):
        programs = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.MULTILINE)
        self.assertGreater(len(programs), 0)
        for program in programs:
            self.assertIn(SERVED_AT, program)
            there = program.replace(SERVED_AT, self.server.url + "/")
            run = subprocess.run([sys.executable, "-c", there], cwd=self.folder, stdin=subprocess.DEVNULL, capture_output=True,
                                 timeout=SECONDS, check=False)
            self.assertEqual((run.returncode, run.stderr), (0, b""), program)
            self.assertGreater(len(run.stdout.strip()), 0, program)
        self.assertEqual(len(re.findall("finish=(?:stop|length)", self.server.log_text())), len(programs))


if __name__ == "__main__":
    unittest.main(verbosity=2)
