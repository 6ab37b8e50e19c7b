"""The official openai package for Node (tests/e2e/node/openai.test.mjs) against a server with a tiny random model."""

import os
import pathlib
import subprocess
import unittest

from cabinet import SECONDS
from served import ServedTest

HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path(os.environ["CABINET_TEST_DATA"])


class NodeClient(ServedTest):
    def test_openai(self):
        environment = {**os.environ, "CABINET_URL": self.server.url, "CABINET_NODE_MODULES": str(DATA / "clients" / "node_modules")}
        command = [DATA / "node" / "node" / "bin" / "node", "--test", "--test-reporter=spec", HERE / "node" / "openai.test.mjs"]
        run = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, errors="replace", timeout=SECONDS, check=False)
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertRegex(run.stdout, r"ℹ pass 9\b")
        self.server.settled()
        self.assertEqual(self.server.log_text().count("finish=cancelled"), 2)


if __name__ == "__main__":
    unittest.main(verbosity=2)
