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

from prometheus_client.parser import text_string_to_metric_families

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


if __name__ == "__main__":
    unittest.main()
