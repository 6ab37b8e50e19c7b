"""The same seeded request gives the same text and the same log-probabilities, bit for bit, whatever happens around it.

Alone, among others, behind a prefix hit, with other chunks, threads and numbers of sequences, after a preemption; and the same
text from `cabinet run`. The model is the tiny random one, whose answers are any tokens at all: one that differs shows.
"""

import concurrent.futures
import json
import pathlib
import tempfile
import unittest

from cabinet import run
from served import roomy
from serving import Server

N = 16  # requests
PROMPTS = [f"number {i}: " + "".join(chr(97 + (i * 7 + j * j * 13) % 26) for j in range(30 + 41 * i)) for i in range(N)]


def body(i, **more):
    return {"prompt": PROMPTS[i], "max_tokens": 48, "seed": 1000 + i, "temperature": 0.9, "top_p": 0.95, "logprobs": 5,
            "frequency_penalty": 0.3, **more}


def essence(answer):
    """What must be equal: of each choice text, why it ended, and all figures of its tokens (as JSON text: every digit)."""
    return [(choice["text"], choice["finish_reason"], json.dumps(choice["logprobs"])) for choice in answer["choices"]]


def asked(server, i, **more):
    status, answer = server.ask("/v1/completions", body(i, **more))
    assert status == 200, answer
    return answer


def together(server, indices, **more):
    """The answers to all of them, asked at once."""
    with concurrent.futures.ThreadPoolExecutor(len(indices)) as pool:
        return list(pool.map(lambda i: asked(server, i, **more), indices))


class Same(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = roomy(cls.enterClassContext(tempfile.TemporaryDirectory()))
        with Server("--threads", "1", "--chunk", "4096", "--max-sequences", "1", model=cls.model) as server:
            cls.alone = [essence(asked(server, i)) for i in range(N)]
        assert len({text for ((text, *_),) in cls.alone}) == N  # they do not all say the same

    def assert_same(self, answers, first=0):
        for i, answer in enumerate(answers, first):
            self.assertEqual(essence(answer), self.alone[i])

    def server(self, *options):
        return Server(*options, model=self.model)

    def test_among_others(self):
        with self.server() as server:
            self.assert_same(together(server, range(N)))
            server.settled()

    def test_behind_a_prefix_hit(self):
        with self.server() as server:
            first, again = asked(server, N - 1), asked(server, N - 1)
            self.assertEqual(first["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
            self.assertGreater(again["usage"]["prompt_tokens_details"]["cached_tokens"], 500)
            self.assert_same([first], N - 1)
            self.assert_same([again], N - 1)

    def test_chunks_threads_and_sequences(self):
        for options in (("--chunk", "1"), ("--chunk", "7", "--threads", "2"), ("--chunk", "33", "--threads", "3", "--max-sequences", "5"),
                        ("--chunk", "auto", "--threads", "2", "--max-sequences", "2")):
            with self.server(*options) as server:
                self.assert_same(together(server, range(N)))

    def test_after_a_preemption(self):
        """Answers longer than the server has reason to expect, in memory for two of them: some lose their slots and come again."""
        n, n_tokens = 8, 300
        with self.server() as server:
            alone = [essence(asked(server, i, max_tokens=n_tokens)) for i in range(n)]
            a_token = server.get("/v1/kv/live")["bytes_per_token"]
        with self.server("--kv-memory", str(1300 * a_token), "--max-sequences", str(n)) as server:
            for _ in range(4):  # as short as answers here usually are
                together(server, [0] * N, max_tokens=1, best_of=2, n=1)
            answers = together(server, range(n), max_tokens=n_tokens)
            self.assertGreater(server.get("/v1/kv/live")["preemptions"], 0)
            self.assertEqual([essence(answer) for answer in answers], alone)
            server.settled()

    def test_whatever_is_retained(self):
        with self.server() as server:
            a_token = server.get("/v1/kv/live")["bytes_per_token"]
        for policy in ("lfu", "cost"):
            with self.server("--kv-memory", str(1300 * a_token), "--retain", policy) as server:
                for _ in range(2):
                    self.assert_same(together(server, range(N)))
                server.settled()

    def test_streamed(self):
        with self.server() as server:
            text, tokens = "", []
            for event in server.events("/v1/completions", body(3)):
                if event != "[DONE]":
                    (choice,) = json.loads(event)["choices"]
                    text += choice["text"]
                    tokens += (choice["logprobs"] or {}).get("token_logprobs", [])
        self.assertEqual(text, self.alone[3][0][0])
        self.assertEqual(tokens, json.loads(self.alone[3][0][2])["token_logprobs"])

    def test_the_first_of_several(self):
        with self.server() as server:
            answer = asked(server, 2, n=3)
        self.assertEqual(essence(answer)[:1], self.alone[2])
        self.assertEqual(len({text for text, *_ in essence(answer)}), 3)

    def test_the_command_line(self):
        """`cabinet run` with the same options writes the same text."""
        for i in (0, 5, 9):
            process = run("run", self.model, "--raw", "--json", "-n", "48", "--temp", "0.9", "--top-p", "0.95", "--frequency-penalty", "0.3",
                          "--seed", str(1000 + i), "-p", PROMPTS[i])
            self.assertEqual(process.returncode, 0, process.stderr)
            self.assertEqual(json.loads(process.stdout)["text"], self.alone[i][0][0])


if __name__ == "__main__":
    unittest.main()
