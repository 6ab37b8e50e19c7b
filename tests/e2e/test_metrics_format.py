"""What /metrics says, read by Prometheus' own Python client (PyPI: prometheus_client).

    METRICS_PROGRAM=build/tests/unit/unit_metrics test_metrics_format.py

METRICS_PROGRAM --prometheus prints metrics of known content. `families` serves tests of a running server too.
"""

import math
import os
import pathlib
import re
import subprocess
import unittest
import urllib.request

from cabinet import SECONDS
from prometheus_client.parser import text_string_to_metric_families
from served import CONTEXT, ServedTest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


def families(text):
    """name of a sample: {its labels without le, as a sorted tuple: {le or None: value}}; checks what every exposition
    must keep to."""
    samples = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation and family.type in ("counter", "gauge", "histogram"), family
        for sample in family.samples:
            assert sample.labels["model_name"], sample
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            series = samples.setdefault(sample.name, {}).setdefault(tuple(sorted(labels.items())), {})
            assert sample.labels.get("le") not in series, f"twice: {sample}"
            series[sample.labels.get("le")] = sample.value
    for name, buckets in samples.items():
        if name.endswith("_bucket"):
            for labels, counts in buckets.items():
                check_histogram(samples, name.removesuffix("_bucket"), labels, counts)
    return samples


def check_histogram(samples, name, labels, counts):
    borders = [float(le) for le in counts]
    values = list(counts.values())
    assert borders == sorted(set(borders)) and math.isinf(borders[-1]), name
    assert values == sorted(values), name
    assert samples[name + "_count"][labels][None] == values[-1], name
    assert samples[name + "_sum"][labels][None] >= 0, name


class MetricsFormat(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        command = [os.environ["METRICS_PROGRAM"], "--prometheus"]
        cls.text = subprocess.run(command, capture_output=True, check=True).stdout.decode()
        cls.samples = families(cls.text)

    def one(self, name, le=None, **labels):
        return self.samples[name][tuple(sorted({"model_name": 'my "model"\\\n1', **labels}.items()))][le]

    def test_values(self):
        self.assertEqual(self.one("vllm:num_requests_running"), 3)
        self.assertEqual(self.one("vllm:kv_cache_usage_perc"), 0.375)
        self.assertEqual(self.one("cabinet_kv_capacity_bytes"), 123456789012)
        self.assertEqual(self.one("vllm:prompt_tokens_total"), 423)
        self.assertEqual(self.one("vllm:request_success_total", finished_reason="length"), 2)
        self.assertEqual(self.one("cabinet_http_requests_total", route="/v1/chat/completions", status="200"), 7)
        self.assertEqual(self.one("vllm:time_to_first_token_seconds_bucket", le="0.5"), 5)
        self.assertEqual(self.one("vllm:time_to_first_token_seconds_sum"), 102559.3026)
        self.assertEqual(self.one("cabinet_step_seconds_sum", part="forward"), 0.0123)

    def test_every_metric_is_described(self):
        page = (ROOT / "docs/metrics.md").read_text()
        names = re.findall(r"^# TYPE (\S+) (\S+)$", self.text, re.M)
        self.assertEqual(len(names), self.text.count("# HELP "))
        for name, kind in names:
            self.assertRegex(page, rf"(?m)^\| `{name}` \| {kind} \|")
        for name in re.findall(r"(?m)^\| `((?:vllm:|cabinet_)\w+)` \|", page):
            self.assertIn(name, dict(names))


class MetricsOfAServer(ServedTest):
    """What a running server counts is what its answers said."""

    def look(self):
        self.server.settled()
        with urllib.request.urlopen(self.server.url + "/metrics", timeout=SECONDS) as response:
            self.assertEqual(response.headers["Content-Type"], "text/plain; version=0.0.4; charset=utf-8")
            samples = families(response.read().decode())
        return lambda name, le=None, **labels: samples.get(name, {}).get(tuple(sorted({"model_name": "tiny", **labels}.items())), {}).get(le, 0)

    def test_it_counts_what_was_answered(self):
        usages, finished = [], []
        before = self.look()
        for i, n_tokens in enumerate((5, 30, 30, 2000)):
            body = {"messages": [{"role": "user", "content": "A story of some length, please. " * 3}], "max_tokens": n_tokens, "seed": i}
            status, answer = self.server.ask("/v1/chat/completions", body)
            self.assertEqual(status, 200)
            usages.append(answer["usage"])
            finished.append(answer["choices"][0]["finish_reason"])
        self.assertEqual(self.server.ask("/v1/chat/completions", {"messages": []})[0], 400)
        self.assertEqual(self.server.ask("/nothing", {})[0], 404)
        for _ in self.server.events("/v1/chat/completions", {**body, "n": 64, "max_tokens": 3000, "ignore_eos": True}):
            break  # the client hangs up
        now = self.look()

        def grown(*name, **labels):
            return now(*name, **labels) - before(*name, **labels)

        n_generated = sum(usage["completion_tokens"] for usage in usages)
        self.assertGreater(usages[1]["prompt_tokens_details"]["cached_tokens"], 0)
        self.assertGreaterEqual(grown("vllm:prompt_tokens_total"), sum(usage["prompt_tokens"] for usage in usages))
        self.assertGreater(grown("vllm:generation_tokens_total"), n_generated)  # the one that was cancelled had some
        self.assertEqual(grown("vllm:request_generation_tokens_sum"), n_generated)
        self.assertEqual(grown("vllm:request_generation_tokens_count"), 4)
        self.assertEqual(grown("vllm:request_prompt_tokens_sum"), sum(usage["prompt_tokens"] for usage in usages))
        self.assertGreaterEqual(grown("vllm:prefix_cache_hits_total"), sum(usage["prompt_tokens_details"]["cached_tokens"] for usage in usages))
        for reason in ("stop", "length"):
            self.assertEqual(grown("vllm:request_success_total", finished_reason=reason), finished.count(reason))
        self.assertEqual(grown("vllm:request_success_total", finished_reason="abort"), 1)
        self.assertEqual(grown("cabinet_http_requests_total", route="/v1/chat/completions", status="200"), 5)
        self.assertEqual(grown("cabinet_http_requests_total", route="/v1/chat/completions", status="400"), 1)
        self.assertEqual(grown("vllm:e2e_request_latency_seconds_count"), 4)
        self.assertGreaterEqual(grown("vllm:e2e_request_latency_seconds_sum"), grown("vllm:time_to_first_token_seconds_sum"))

    def test_nothing_is_left(self):
        now = self.look()
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"):
            self.assertEqual(now(name), 0)
        self.assertEqual(now("cabinet_kv_bytes", use="held"), 0)
        self.assertGreater(now("cabinet_kv_capacity_tokens"), CONTEXT)


if __name__ == "__main__":
    unittest.main(verbosity=2)
