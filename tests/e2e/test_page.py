#!/usr/bin/env python3
"""The page, in Debian's Chromium, driven by Playwright (tests/e2e/page). By default against a mock server; with
CABINET_PAGE_URL against the server that it names, without what only a mock can do."""

import os
import pathlib
import subprocess
import sys
import unittest

HERE = pathlib.Path(__file__).resolve().parent
DATA = pathlib.Path(os.environ["CABINET_TEST_DATA"])

sys.path.insert(0, str(HERE / "page"))
import mock_server  # noqa: E402

SECONDS = 240


def run_node(url, scripts):
    """Runs test scripts of tests/e2e/page; the output is theirs."""
    environment = {**os.environ, "CABINET_PAGE_URL": url, "CABINET_NODE_MODULES": str(DATA / "clients" / "node_modules")}
    command = [DATA / "node" / "node" / "bin" / "node", "--test", "--test-concurrency=1", "--test-reporter=spec",
               *(HERE / "page" / script for script in scripts)]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="replace", timeout=SECONDS, check=False)


class Page(unittest.TestCase):
    def test_page(self):
        if "CABINET_PAGE_URL" in os.environ:
            run = run_node(os.environ["CABINET_PAGE_URL"], ["page.test.mjs"])
        else:
            server = mock_server.Server(DATA / "web")
            self.addCleanup(server.close)
            run = run_node(server.url, ["modules.test.mjs", "page.test.mjs", "mock.test.mjs"])
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertRegex(run.stdout, r"ℹ pass [1-9]")


if __name__ == "__main__":
    unittest.main(verbosity=2)
