"""The KV bill of a request, wherever it is told: usage.kv of every API, streams, the log, the metrics, `cabinet run`; and
`cabinet top`, which shows where the memory is."""

import json
import re
import signal
import subprocess
import unittest
import urllib.request

from cabinet import CABINET, MODEL, SECONDS, CabinetTest
from served import ServedTest
from test_metrics_format import families

BYTES_PER_TOKEN = 512  # of the tiny model, in f16
BLOCK = 32
PROMPT = "A story of some length, please, with a beginning that goes on and on for more than a block. " * 4
GB_HOUR = 1e9 * 3600


class BillsOfAServer(ServedTest):
    OPTIONS = ("--model-name", "tiny", "--price-gb-hour", "0.5", "--kv-memory", "64M")

    def ask(self, path, body):
        status, answer = self.server.ask(path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def check(self, kv, n_prompt, n_cached, n_output):
        self.assertEqual(kv["reused_tokens"], n_cached)
        self.assertEqual(kv["computed_tokens"], n_prompt - n_cached + n_output - 1)  # the last token is never computed
        self.assertEqual(kv["written_bytes"], kv["computed_tokens"] * BYTES_PER_TOKEN)
        n_blocks = -(-(n_prompt + n_output - 1) // BLOCK)
        self.assertEqual(kv["peak_bytes"], n_blocks * BLOCK * BYTES_PER_TOKEN)
        self.assertGreaterEqual(kv["read_bytes"], (n_prompt + n_output - 1) * BYTES_PER_TOKEN)
        self.assertGreater(kv["byte_seconds"], 0)
        self.assertEqual((kv["saved_by_sharing_bytes"], kv["saved_by_codec_bytes"]), (0, 0))
        self.assertAlmostEqual(kv["price"] / (kv["byte_seconds"] / GB_HOUR * 0.5), 1, places=6)

    def test_every_api_tells_it(self):
        messages = [{"role": "user", "content": PROMPT}]
        sampling = {"ignore_eos": True, "temperature": 1, "seed": 3}
        usage = self.ask("/v1/chat/completions", {"messages": messages, "max_tokens": 20, **sampling})["usage"]
        self.check(usage["kv"], usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], 20)
        usage = self.ask("/v1/completions", {"prompt": PROMPT, "max_tokens": 9, **sampling})["usage"]
        self.check(usage["kv"], usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"], 9)
        usage = self.ask("/v1/responses", {"input": PROMPT, "max_output_tokens": 16, **sampling})["usage"]
        self.check(usage["kv"], usage["input_tokens"], usage["input_tokens_details"]["cached_tokens"], 16)
        usage = self.ask("/v1/messages", {"messages": messages, "max_tokens": 12, **sampling})["usage"]
        self.check(usage["kv"], usage["input_tokens"] + usage["cache_read_input_tokens"], usage["cache_read_input_tokens"], 12)

    def test_streams_tell_it_at_their_end(self):
        body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 8, "ignore_eos": True, "seed": 1}
        events = self.server.events("/v1/chat/completions", {**body, "stream_options": {"include_usage": True}})
        told = [json.loads(event)["usage"] for event in events if '"usage":{' in event]
        self.assertEqual(len(told), 1)
        self.check(told[0]["kv"], told[0]["prompt_tokens"], told[0]["prompt_tokens_details"]["cached_tokens"], 8)

    def test_several_answers_share(self):
        body = {"messages": [{"role": "user", "content": PROMPT}], "max_tokens": 200, "ignore_eos": True, "seed": 1, "n": 3, "temperature": 1}
        usage = self.ask("/v1/chat/completions", body)["usage"]
        n_prompt = usage["prompt_tokens"]
        self.assertGreater(usage["kv"]["saved_by_sharing_bytes"], n_prompt // BLOCK * BLOCK * BYTES_PER_TOKEN)
        self.assertGreater(usage["kv"]["peak_bytes"], 3 * 199 * BYTES_PER_TOKEN)

    def look(self):
        with urllib.request.urlopen(self.server.url + "/metrics", timeout=SECONDS) as response:
            samples = families(response.read().decode())
        return lambda name, **labels: samples[name][tuple(sorted({"model_name": "tiny", **labels}.items()))][None]

    def test_metrics_and_log_say_the_same(self):
        self.server.settled()
        before = self.look()
        usage = self.ask("/v1/completions", {"prompt": PROMPT[::-1], "max_tokens": 30, "ignore_eos": True, "seed": 2})["usage"]
        self.server.settled()
        now, kv = self.look(), usage["kv"]

        def grown(name, **labels):
            return now(name, **labels) - before(name, **labels)

        self.assertEqual(grown("cabinet_kv_traffic_bytes_total", direction="read"), kv["read_bytes"])
        self.assertEqual(grown("cabinet_kv_traffic_bytes_total", direction="written"), kv["written_bytes"])
        self.assertLessEqual(abs(grown("cabinet_kv_byte_seconds_total", account="requests") - kv["byte_seconds"]), 1)
        self.assertEqual(grown("cabinet_kv_prefix_tokens_total", outcome="miss"), usage["prompt_tokens"])
        idle, held = now("cabinet_kv_bytes", use="idle"), now("cabinet_kv_bytes", use="held")
        self.assertEqual(held, 0)
        self.assertEqual(now("cabinet_kv_codec_bytes", codec="f16"), idle)
        self.assertEqual(now("cabinet_kv_payloads", **{"class": "sealed", "group": "full"}) * BLOCK * BYTES_PER_TOKEN, idle)
        self.assertEqual(now("cabinet_kv_slots", slot="unused"), 0)
        line = [line for line in self.server.log_text().splitlines() if "event=request " in line][-1]
        fields = dict(re.findall(r"(\w+)=(\S+)", line))
        for key in ("written", "read", "peak", "saved_by_sharing"):
            self.assertEqual(int(fields[f"kv_{key}_bytes"]), kv[f"{key}_bytes"])
        self.assertAlmostEqual(float(fields["kv_byte_seconds"]) / kv["byte_seconds"], 1, places=4)
        self.assertIn("price", fields)


    def top(self, *options):
        process = subprocess.run([CABINET, "top", self.server.url, *options], capture_output=True, timeout=SECONDS, check=False)
        self.assertEqual((process.returncode, process.stderr), (0, b""))
        return process.stdout.decode()

    def test_top_shows_what_runs(self):
        events = self.server.events("/v1/completions", {"prompt": PROMPT, "max_tokens": 3000, "n": 2, "ignore_eos": True, "temperature": 1})
        next(events)
        for _ in range(100):  # the second answer begins behind the first one's prompt
            look = json.loads(self.top("--once", "--json"))
            if look["running"] == 2:
                break
        text = self.top("--once")
        events.close()  # the client hangs up
        live = look["sequences"]
        self.assertEqual(len(live), 2)
        self.assertEqual(look["server"], self.server.url)
        self.assertEqual((look["running"], look["waiting"]), (2, 0))
        self.assertEqual(look["kv"]["arena_bytes"], 64 << 20)
        self.assertAlmostEqual(look["kv"]["held_share"], look["kv"]["held_bytes"] / (64 << 20))
        alone = sum(sequence["kv_bytes"] for sequence in live)
        self.assertGreater(look["kv"]["held_bytes"], 0)
        self.assertLess(look["kv"]["held_bytes"], alone)  # the prompt is there once
        self.assertGreater(live[0]["shared_blocks"], 3)
        self.assertIn(f"Cabinet at {self.server.url}\nKV memory  [#", text)
        self.assertIn(f"\n{live[0]['id']:28}  decode ", text)
        self.assertRegex(text, r"Requests   2 running, 0 waiting")
        self.server.settled()
        look = json.loads(self.top("--once", "--json"))
        self.assertEqual((look["sequences"], look["running"], look["kv"]["held_bytes"]), ([], 0, 0))
        self.assertEqual(look["kv"]["unused_slots_share"], 0)
        prefixes = look["prefixes"]
        self.assertEqual(prefixes["hit_share"], prefixes["hit_tokens"] / prefixes["queried_tokens"])

    def test_top_goes_on_until_it_is_stopped(self):
        with subprocess.Popen([CABINET, "top", self.server.url, "--json", "--interval", "0.1"], stdout=subprocess.PIPE) as process:
            looks = [json.loads(process.stdout.readline()) for _ in range(3)]
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(timeout=SECONDS), 0)
        self.assertEqual([look["server"] for look in looks], [self.server.url] * 3)

    def test_top_of_what_is_no_server(self):
        for url, says in (("http://127.0.0.1:9", b"cabinet: "), ("nothing", b"cabinet: "), (self.server.url + "/v1/models", b"cabinet: ")):
            process = subprocess.run([CABINET, "top", url, "--once"], capture_output=True, timeout=SECONDS, check=False)
            self.assertEqual((process.returncode, process.stdout), (1, b""))
            self.assertEqual(process.stderr.count(b"\n"), 1)
            self.assertIn(says, process.stderr)


class BillOfARun(CabinetTest):
    def test_run_tells_it(self):
        kv = self.json("run", MODEL, "-p", "hi", "-n", "40", "--json", "--temp", "0", "--price-hour", "2", "--kv-memory", "1M")
        bill = kv["kv"]
        self.assertEqual(bill["computed_tokens"], kv["prompt_tokens"] + kv["output_tokens"] - (kv["finish_reason"] == "length"))
        self.assertEqual(bill["written_bytes"], bill["computed_tokens"] * BYTES_PER_TOKEN)
        self.assertGreaterEqual(bill["peak_bytes"], kv["kv_bytes"])
        self.assertAlmostEqual(bill["price"] / (bill["byte_seconds"] / 2**20 / 3600 * 2), 1, places=6)
        self.assertNotIn("price", self.json("run", MODEL, "-p", "hi", "-n", "4", "--json")["kv"])

    def test_f32_saves_nothing(self):
        kv = self.json("run", MODEL, "-p", "hi", "-n", "40", "--json", "--kv", "f32")["kv"]
        self.assertEqual(kv["saved_by_codec_bytes"], -kv["peak_bytes"] // 2)

    def test_prices_that_are_none(self):
        for options in (["--price-hour", "0"], ["--price-gb-hour", "-1"], ["--price-hour", "nan"], ["--price-hour", "1", "--price-gb-hour", "1"]):
            for verb in (["run", MODEL, "-p", "hi"], ["serve", MODEL, "--port", "0"]):
                process = subprocess.run([CABINET, *map(str, verb), *options], capture_output=True, timeout=60, check=False)
                self.assertEqual(process.returncode, 2)
                self.assertIn(b"--price", process.stderr)


if __name__ == "__main__":
    unittest.main()
