"""`--kv auto` through the server: what f16 has to evict stays, stored smaller, and is found; its figures; many users at once.
With a tiny random model, one token a byte."""

import concurrent.futures
import re
import tempfile
import unittest
import urllib.request

from cabinet import MODEL, SECONDS, CabinetTest
from served import roomy
from serving import Server

WIDE_HEADS = MODEL.parent / "llama_untied.gguf"

N_PROMPTS, N_TOKENS = 8, 480
BLOCK, BLOCK_BYTES, DEMOTED_BYTES = 32, 24576, 7296  # of the model: 3 layers of 2 heads of 32 numbers, K and V
MEMORY = 100 * BLOCK_BYTES  # the prompts fill 15 blocks each
ASK = {"max_tokens": 2, "ignore_eos": True, "temperature": 0}


def prompt(number):
    return (chr(ord("A") + number) + "bcdefgh") * (N_TOKENS // 8)


def complete(server, text, **fields):
    status, answer = server.ask("/v1/completions", {**ASK, "prompt": text, **fields})
    assert status == 200, answer
    return answer["usage"]


def metrics(server):
    with urllib.request.urlopen(server.url + "/metrics", timeout=SECONDS) as response:
        lines = response.read().decode().splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            found[re.sub(r'model_name="[^"]*",?', "", name).replace("{}", "").replace(",}", "}")] = float(value)
    return found


class Pressure(unittest.TestCase):
    def serve(self, *options, memory=MEMORY):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        return Server("--ctx", "512", "--max-sequences", str(N_PROMPTS), "--kv-memory", str(memory), *options, model=roomy(folder, WIDE_HEADS))

    def ask_all_twice(self, *options):
        """Cached tokens of each prompt, asked after all others were; and the metrics then."""
        with self.serve(*options) as server:
            for number in range(N_PROMPTS):
                complete(server, prompt(number))
            cached = [complete(server, prompt(number), max_tokens=1)["prompt_tokens_details"]["cached_tokens"]
                      for number in range(N_PROMPTS)]
            server.settled()
            return cached, metrics(server), server.get("/v1/kv/live"), server.greeting

    def test_what_f16_evicts_stays(self):
        cached, figures, _, _ = self.ask_all_twice()
        self.assertIn(0, cached)
        self.assertGreater(figures["cabinet_kv_evictions_total"], 0)
        self.assertEqual(figures["cabinet_kv_demotions_total"], 0)
        self.assertEqual(figures["cabinet_kv_undemoted_tokens"], figures["cabinet_kv_capacity_tokens"])

        cached, figures, live, greeting = self.ask_all_twice("--kv", "auto")
        for tokens in cached:
            self.assertGreaterEqual(tokens, N_TOKENS - BLOCK)
        self.assertEqual(figures["cabinet_kv_evictions_total"], 0)
        n_demoted = figures["cabinet_kv_demotions_total"]
        self.assertGreater(n_demoted, 10)
        self.assertEqual(figures["cabinet_kv_demoted_bytes_total"], n_demoted * (BLOCK_BYTES - DEMOTED_BYTES))
        self.assertEqual(figures['cabinet_kv_payloads{class="demoted",group="full"}'], n_demoted)
        self.assertEqual(figures['cabinet_kv_codec_bytes{codec="q4"}'], n_demoted * DEMOTED_BYTES)
        f16, q4 = (figures['cabinet_kv_codec_bytes{codec="%s"}' % codec] for codec in ("f16", "q4"))
        self.assertEqual(f16 + q4, live["held_bytes"] + live["idle_bytes"])
        self.assertGreater(figures["cabinet_kv_capacity_tokens"], 2 * figures["cabinet_kv_undemoted_tokens"])
        self.assertIn("(auto): 3,200 tokens, or 10,778 when all but first and last blocks are demoted", greeting)

    def test_many_at_once(self):
        """They need twice what there is of f16, and nobody is put back."""
        with self.serve("--kv", "auto", memory=N_PROMPTS * 16 * BLOCK_BYTES // 2) as server:
            with concurrent.futures.ThreadPoolExecutor(N_PROMPTS) as pool:
                bills = list(pool.map(lambda number: complete(server, prompt(number), max_tokens=30), range(N_PROMPTS)))
            server.settled()
            figures = metrics(server)
            self.assertEqual({bill["completion_tokens"] for bill in bills}, {30})
            self.assertEqual(figures["vllm:num_preemptions_total"], 0)
            self.assertGreater(figures["cabinet_kv_demotions_total"], 0)


class Refusals(CabinetTest):
    def test_formats(self):
        self.refused("run", WIDE_HEADS, "-p", "hi", "--kv", "auto,layers=0:q4", says=["auto", "f32, f16, bf16 and q8"])
        self.refused("run", MODEL, "-p", "hi", "--kv", "automatic", says=["automatic", "k8v4, auto"], code=2, begins="cabinet run: ")

    def test_heads(self):
        self.refused("run", MODEL, "-p", "hi", "--kv", "auto", says=["KV codec q4 takes heads of a multiple of 32", "have 16"])


if __name__ == "__main__":
    unittest.main()
