"""Predict, run, measure: `cabinet calibrate`, `cabinet plan --verify`, `POST /v1/plan`, and what a server says of its own
predictions. With a tiny random model."""

import json
import re
import unittest

from cabinet import CabinetTest, run
from served import ServedTest, roomy

KINDS = ("memory", "step", "prefill", "ttft")
ASK = {"max_tokens": 9, "ignore_eos": True, "temperature": 0}
TEXT = "abcdefgh" * 45 + "abcde"  # nothing that the vocabulary merges
BLOCK = 32
BLOCK_BYTES = 16384  # of the tiny model


class Predict(CabinetTest):
    def setUp(self):
        super().setUp()
        self.cache = {"XDG_CACHE_HOME": str(self.folder)}
        self.kept = self.folder / "cabinet" / "calibration.json"

    def test_calibrate_and_verify(self):
        model = roomy(self.folder)
        first = self.json("calibrate", "--quick", "--json", environment=self.cache)
        self.assertEqual(first, json.loads(self.kept.read_text()))
        self.assertEqual(first["schema"], "cabinet-calibration/1")
        self.assertGreater(first["mem_bw_Bps"], 0)
        speeds = first["cabinet"]
        self.assertEqual({len(row) for row in speeds["matmul_seconds_per_byte"].values()}, {len(speeds["matmul_rows"])})
        self.assertEqual(set(speeds["attention_seconds_per_number"]), {"f32", "f16", "bf16", "q8", "q4", "q3"})

        report = self.json("plan", "--verify", model, "--quick", "--json", environment=self.cache)
        self.assertEqual(report["date"], first["date"])  # the kept calibration was taken
        kept = self.folder / "cabinet" / "verified" / (model.name + ".json")
        self.assertEqual(report, json.loads(kept.read_text()))
        self.assertEqual({cell["kind"] for cell in report["cells"]}, set(KINDS))
        for cell in report["cells"]:
            self.assertGreater(cell["measured"], 0)
            if cell["kind"] == "memory":
                self.assertEqual(cell["predicted"], cell["measured"], cell)
            else:
                self.assertAlmostEqual(sum(cell["parts"].values()), cell["predicted"], delta=1e-6 * cell["predicted"])
        self.assertTrue({"fit", "judge"} <= {cell["role"] for cell in report["cells"] if cell["kind"] == "step"})
        self.assertTrue(any(cell["shared_tokens"] for cell in report["cells"]))
        for kind in KINDS:
            judges = [abs(c["error"]) for c in report["cells"] if c["kind"] == kind and c["role"] == "judge"]
            self.assertEqual(report["errors"][kind]["n"], len(judges))
            self.assertGreaterEqual(report["errors"][kind]["p90"], report["errors"][kind]["median"])
            self.assertLessEqual(report["errors"][kind]["p90"], max(judges))

        text = self.done("plan", "--verify", model, "--quick", environment=self.cache).decode()
        for kind in KINDS:
            self.assertRegex(text, rf"(?m)^  {kind} +median ")

        here = self.json("plan", model, "--hardware", "this", "--context", "512", "--json", environment=self.cache)["here"]
        self.assertEqual(here["verified"]["step_error"], json.loads(kept.read_text())["errors"]["step"]["median"])
        self.assertAlmostEqual(sum(here["parts"].values()), here["step_seconds"])
        self.assertEqual(here["kv_bytes"], 512 // BLOCK * BLOCK_BYTES)
        self.assertRegex(self.done("plan", model, "--hardware", "this", environment=self.cache).decode(), r"(?m)^  verified +20")
        kept.unlink()
        self.assertFalse(self.json("plan", model, "--hardware", "this", "--json", environment=self.cache)["here"]["is_verified"])

    def test_calibrations_that_cannot_be_used(self):
        self.kept.parent.mkdir()
        self.kept.write_text('{"schema":\n1}')
        self.refused("plan", "--verify", roomy(self.folder), says=["calibration.json", "schema"], environment=self.cache)
        self.kept.unlink()
        self.refused("plan", "smollm2-135m", "--hardware", "this", says=["cabinet calibrate"], environment=self.cache)
        self.assertEqual(run("calibrate", "much").returncode, 2)
        for arguments in (["--threads", "0"], ["--threads", "-1"], ["--threads", "1.5"], ["--threads", "9999"], ["--fast"]):
            process = run("calibrate", *arguments)
            self.assertEqual(process.returncode, 2)
            self.assertIn(arguments[0].encode(), process.stderr)
        self.refused("calibrate", "--quick", says=["cache folder"], environment={"XDG_CACHE_HOME": "", "HOME": ""})


class Plan(ServedTest):
    OPTIONS = ("--model-name", "tiny", "--price-hour", "3")

    def plan(self, expected=200, **body):
        status, answer = self.server.ask("/v1/plan", body)
        self.assertEqual(status, expected, answer)
        return answer

    def test_the_same_body_as_a_request(self):
        body = {"messages": [{"role": "user", "content": TEXT}], **ASK}
        plan = self.plan(**body)
        count = self.server.ask("/tokenize", body)[1]["count"]
        self.assertEqual((plan["object"], plan["model"]), ("plan", "tiny"))
        self.assertEqual((plan["prompt_tokens"], plan["cached_tokens"], plan["output_tokens"]), (count, 0, 9))
        blocks = -(-(count + 9) // BLOCK)
        self.assertEqual(plan["kv_bytes"], blocks * BLOCK * plan["kv_bytes_per_token"])
        self.assertAlmostEqual(plan["ttft_seconds"], plan["queue_seconds"] + plan["prefill_seconds"])
        self.assertAlmostEqual(plan["seconds"], plan["ttft_seconds"] + 8 * plan["step_seconds"])
        self.assertGreater(plan["price"], 0)
        self.assertEqual((plan["running"], plan["waiting"]), (0, 0))

        status, answer = self.server.ask("/v1/chat/completions", body)
        self.assertEqual((status, answer["usage"]["prompt_tokens"]), (200, count))
        again = self.plan(**body)
        self.assertEqual(again["cached_tokens"], (count - 1) // BLOCK * BLOCK)
        self.assertLess(again["prefill_seconds"], self.plan(**{**body, "cache_salt": "another"})["prefill_seconds"])
        self.assertFalse(any("no step" in text for text in again["assumptions"]))

    def test_prompts_and_tokens(self):
        self.assertEqual(self.plan(prompt=TEXT, max_tokens=3)["output_tokens"], 3)
        plan = self.plan(tokens=[5] * 40)
        self.assertEqual(plan["prompt_tokens"], 40)
        self.assertGreaterEqual(plan["output_tokens"], 1)

    def test_what_cannot_be_planned(self):
        self.assertIn("prompt", self.plan(400)["error"]["message"])
        self.assertEqual(self.plan(400, prompt="a" * 5000)["error"]["code"], "context_length_exceeded")
        self.assertEqual(self.plan(404, prompt="a", model="other")["error"]["code"], "model_not_found")
        self.assertEqual(self.server.ask("/v1/plan", b"[")[0], 400)
        for field, values in (("max_tokens", (-1, 1.5, 1e99, "9", [])), ("prompt", (7, {}, [[-1]], [-1], [1e9])), ("tokens", (7, "a", [-1], [1e9], [1.5], [[]])),
                              ("messages", (7, "a", [7], [{}], [{"role": "user", "content": 7}])), ("temperature", (-1, "x"))):
            for value in values:
                with self.subTest(field=field, value=value):
                    message = self.plan(400, **{**({} if field in ("messages", "tokens") else {"prompt": "a"}), field: value})["error"]["message"]
                    self.assertIn(field.rstrip("s"), message)
                    self.assertNotIn("\n", message)

    def test_what_the_page_cannot_ask(self):
        good = {"model": "Llama 3.1 8B", "hardware": "h100-sxm", "context_tokens": 65536, "users": 8}
        self.assertEqual(self.server.ask("/v1/plan/curves", good)[0], 200)
        for change, says in (({"model": "lama 3.1 70"}, "Llama 3.1 70B"), ({"hardware": "h10o-sxm"}, "h100-sxm"), ({"model": 7}, "model"),
                             ({"model": None}, "model"), ({"hardware": None}, "hardware"), ({"kv": "q5"}, "kv"), ({"users": 0}, "users"),
                             ({"users": 1.5}, "users"), ({"users": 1e99}, "users"), ({"context_tokens": -1}, "context_tokens"),
                             ({"context_tokens": 1e99}, "context_tokens"), ({"output_tokens": "9"}, "output_tokens")):
            with self.subTest(change=change):
                status, answer = self.server.ask("/v1/plan/curves", {**good, **change})
                self.assertEqual(status, 400, answer)
                self.assertIn(says, answer["error"]["message"])
                self.assertNotIn("\n", answer["error"]["message"])

    def test_predictions_are_counted_and_logged(self):
        for salt in "abc":
            self.server.ask("/v1/completions", {"prompt": TEXT, "cache_salt": salt, **ASK})
        connection = self.server.connection()
        connection.request("GET", "/metrics")
        metrics = connection.getresponse().read().decode()
        connection.close()
        value = lambda name, labels="": float(re.search(rf"(?m)^{name}\{{{labels}.*\}} (\S+)$", metrics)[1])
        for name in ("cabinet_step_prediction_seconds_count", "cabinet_ttft_prediction_seconds_count"):
            counts = [float(n) for n in re.findall(rf"(?m)^{name}\{{.*\}} (\S+)$", metrics)]
            self.assertEqual(len(counts), 2)
            self.assertEqual(counts[0], counts[1])
            self.assertGreater(counts[0], 1)
        self.assertGreater(value("cabinet_step_prediction_error_ratio_count"), 1)
        bytes_of = dict(re.findall(r'(?m)^cabinet_kv_prediction_bytes_total\{.*source="(\w+)".*\} (\S+)$', metrics))
        self.assertEqual(bytes_of["predicted"], bytes_of["measured"])  # f16 rows: whole blocks, to the byte
        line = [line for line in self.server.log_text().splitlines() if "event=request" in line or " request " in line][-1]
        for field in ("predicted_ttft_ms=", "predicted_tpot_ms=", "kv_predicted_bytes=", "kv_peak_bytes="):
            self.assertIn(field, line)
        peak = re.search(r"kv_peak_bytes=(\d+)", line)[1]
        self.assertEqual(re.search(r"kv_predicted_bytes=(\d+)", line)[1], peak)


if __name__ == "__main__":
    import unittest

    unittest.main()
