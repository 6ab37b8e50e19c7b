"""/openapi.json against the running server, by schemathesis (PyPI): no server error, every answer as the document says,
what violates it refused. With a tiny random model; seed and number of examples are fixed.

    CABINET_EXAMPLES=1000 CABINET_SEED=7 test_openapi.py     another, longer run
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import unittest
import urllib.error
import urllib.request

from cabinet import SECONDS
from served import ServedTest

HERE = pathlib.Path(__file__).resolve().parent
ROUTES = HERE.parents[1] / "src" / "server" / "route.h"
METHODS = {"get", "post"}


def references(node):
    if isinstance(node, dict):
        yield from ([node["$ref"]] if "$ref" in node else [])
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


class OpenAPI(ServedTest):
    def setUp(self):
        self.document = self.server.get("/openapi.json")

    def test_it_has_every_route(self):
        there = set(re.findall(r'X\((\w+), "(/[^"]*)"', ROUTES.read_text()))
        self.assertGreater(len(there), 10)
        told = {(method.upper(), path) for path, item in self.document["paths"].items() for method in item}
        self.assertEqual(told, there)

    def test_references_lead_somewhere_and_nothing_is_unused(self):
        used = set(references(self.document))
        parts = self.document["components"]
        self.assertEqual(used, {f"#/components/{kind}/{name}" for kind in ("schemas", "responses") for name in parts[kind]})

    def test_version_and_model_length(self):
        self.assertTrue(self.document["openapi"].startswith("3.1"))
        self.assertEqual(self.document["info"]["version"], self.server.get("/version")["version"])

    def test_who_has_it_is_told_so(self):
        with urllib.request.urlopen(self.server.url + "/openapi.json", timeout=SECONDS) as response:
            self.assertEqual(response.headers["Content-Type"], "application/json")
            known = urllib.request.Request(self.server.url + "/openapi.json", headers={"If-None-Match": response.headers["ETag"]})
        with self.assertRaises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(known, timeout=SECONDS)
        self.addCleanup(caught.exception.close)
        self.assertEqual(caught.exception.code, 304)

    def n_answers(self, route, status):
        with urllib.request.urlopen(self.server.url + "/metrics", timeout=SECONDS) as response:
            found = re.search(rf'cabinet_http_requests_total\{{[^}}]*route="{route}"[^}}]*status="{status}"[^}}]*\}} (\d+)', response.read().decode())
        return int(found[1]) if found else 0

    def test_the_server_does_as_it_says(self):
        """A valid body may still be refused, for what holds between its fields: that is the one check left out. The document
        comes from a file, for schemathesis does not try the route that it has a document from."""
        document = pathlib.Path(self.folder) / "openapi.json"
        document.write_text(json.dumps(self.document))
        config = pathlib.Path(self.folder) / "schemathesis.toml"  # a made up prefix is not in the cache, or none or two: 404 or 400, mostly
        config.write_text("".join(f'[[operations]]\ninclude-path = "{path}"\nwarnings = false\n' for path in ("/v1/kv/pin", "/v1/kv/unpin", "/v1/plan", "/v1/plan/curves")))
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", document, "--url", self.server.url, "--phases", "examples,coverage,fuzzing",
                   "--exclude-checks", "positive_data_acceptance", "--max-examples", os.environ.get("CABINET_EXAMPLES", "30"),
                   "--seed", os.environ.get("CABINET_SEED", "1"), "--request-timeout", str(SECONDS), "--continue-on-failure",
                   "--generation-database", "none", "--no-color"]
        run = subprocess.run(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env={**os.environ, "SCHEMATHESIS_HOOKS": "openapi_hooks", "PYTHONPATH": f"{HERE}:{os.environ['PYTHONPATH']}"},
                             timeout=2 * SECONDS, check=False)
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertRegex(run.stdout, r"No issues found")
        self.assertRegex(run.stdout, rf"Tested: {sum(map(len, self.document['paths'].values()))}\b")
        for route in ("chat/completions", "completions", "responses", "messages"):
            for status, least in ((200, 20), (400, 100)):
                self.assertGreater(self.n_answers(f"/v1/{route}", status), least, f"{route}: answers {status}")


if __name__ == "__main__":
    unittest.main(verbosity=2)
