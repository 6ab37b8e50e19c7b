#!/usr/bin/env python3
"""The page, in Debian's Chromium, driven by Playwright (tests/e2e/page). By default against a mock server; with
CABINET_PAGE_URL against the server that it names, without what only a mock can do."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path(os.environ["CABINET_TEST_DATA"])
DEMO_MODEL = DATA / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"

sys.path.insert(0, str(HERE / "page"))
import mock_server  # noqa: E402
from cabinet import run  # noqa: E402
from serving import Server  # noqa: E402

SECONDS = 240


def run_node(url, scripts, **more):
    """Runs test scripts of tests/e2e/page; the output is theirs."""
    environment = {**os.environ, "CABINET_PAGE_URL": url, "CABINET_NODE_MODULES": str(DATA / "clients" / "node_modules"), **more}
    command = [DATA / "node" / "node" / "bin" / "node", "--test", "--test-concurrency=1", "--test-reporter=spec",
               *(HERE / "page" / script for script in scripts)]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=SECONDS, check=False)


class Page(unittest.TestCase):
    def check(self, run):
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertRegex(run.stdout, r"ℹ pass [1-9]")

    def test_mock_server(self):
        server = mock_server.Server(DATA / "web")
        self.addCleanup(server.close)
        self.check(run_node(server.url, ["modules.test.mjs", "page.test.mjs", "mock.test.mjs"]))

    def test_real_server(self):
        """Or the one that CABINET_PAGE_URL names."""
        if "CABINET_PAGE_URL" in os.environ:
            self.check(run_node(os.environ["CABINET_PAGE_URL"], ["page.test.mjs"]))
            return
        with Server("--model-name", "demo", "--ctx", "4096", "--max-sequences", "8", model=DEMO_MODEL) as server:
            self.check(run_node(server.url, ["page.test.mjs"], CABINET_PAGE_MOST_TOKENS="24", CABINET_PAGE_TIMEOUT_MS="60000"))
            server.settled()
            self.assertGreaterEqual(server.log_text().count("finish=cancelled"), 3)  # two by hand, one by a reload

    def test_plan(self):
        """The planner's page, and the file that has no server."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = pathlib.Path(folder) / "plan.html"
        drawn = run("plan", "llama-3.1-8b", "--hardware", "h100-sxm", "--users", "8", "--context", "64k", "--plot", path)
        self.assertEqual(drawn.returncode, 0, drawn.stderr)
        with Server(model=DEMO_MODEL) as server:
            self.check(run_node(server.url, ["plan.test.mjs"], CABINET_PLAN_FILE=str(path)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
