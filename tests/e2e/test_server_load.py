"""A thousand requests of every kind, good, bad and cut off, from many clients: the server's memory stays as it was.

CABINET_LOAD_REQUESTS: another number of them, as `make soak` wants it.
"""

import http.client
import json
import os
import random
import re
import tempfile
import threading
import unittest

from cabinet import SECONDS
from served import roomy
from serving import Server

N_REQUESTS = int(os.environ.get("CABINET_LOAD_REQUESTS", "1000"))
N_CLIENTS = 16
MOST_GROWTH = 4 << 20  # after the first fifth; a leak of a body or of one answer's memory a request is more

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"]}
TOOL = {"type": "function", "function": {"name": "f", "parameters": SCHEMA}}


def request_number(i):
    """(path, body, whether the client hangs up in the middle) of the i-th request."""
    rng = random.Random(i)
    n = rng.choice([1, 5, 40, 120])
    text = "".join(rng.choice("abcdefgh ") for _ in range(rng.choice([3, 60, 400])))
    text = f"a common beginning that many share, and then something else: {text}"
    more = {"max_tokens": n, "seed": i, "stream": rng.random() < 0.5}
    messages = [{"role": "user", "content": text}]
    kinds = [("/v1/completions", {"prompt": text, "n": rng.choice([1, 3]), "logprobs": rng.choice([None, 4]), **more}),
             ("/v1/completions", {"prompt": text, "echo": True, "stop": ["q", "zz"], **more}),
             ("/v1/chat/completions", {"messages": messages, "logprobs": True, "top_logprobs": 2, **more}),
             ("/v1/chat/completions", {"messages": messages, "response_format": {"type": "json_schema", "json_schema": {
                 "name": "s", "schema": SCHEMA}}, **more}),
             ("/v1/chat/completions", {"messages": messages, "tools": [TOOL], "tool_choice": "required", **more}),
             ("/v1/responses", {"input": text, "max_output_tokens": max(n, 16), "stream": more["stream"]}),
             ("/v1/messages", {"messages": messages, "max_tokens": n, "stream": more["stream"]}),
             ("/tokenize", {"prompt": text}),
             ("/v1/completions", {"prompt": text, "max_tokens": "many"}),
             ("/v1/completions", {"prompt": "x" * 5000}),
             ("/nowhere", {})]
    path, body = rng.choice(kinds)
    return path, body, rng.random() < 0.1


class Load(unittest.TestCase):
    def rss_bytes(self):
        with open(f"/proc/{self.server.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    def client(self, numbers):
        """Sends the requests that are its turn, over one connection for as long as that lasts."""
        connection = http.client.HTTPConnection(self.server.host, self.server.port, timeout=SECONDS)
        for i in numbers:
            path, body, hangs_up = request_number(i)
            connection.request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})
            response = connection.getresponse()
            with self.lock:
                self.statuses[response.status] = self.statuses.get(response.status, 0) + 1
            if hangs_up:
                response.read(100)
                connection.close()
            else:
                response.read()
        connection.close()

    def serve(self, first, end):
        numbers = iter(range(first, end))
        threads = [threading.Thread(target=self.client, args=(self.shared(numbers),)) for _ in range(N_CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.server.settled()

    def shared(self, numbers):
        while True:
            with self.lock:
                i = next(numbers, None)
            if i is None:
                return
            yield i

    def test_memory_stays_flat(self):
        self.lock, self.statuses = threading.Lock(), {}
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with Server("--kv-memory", "4M", "--max-sequences", "16", "--ctx", "4096", model=roomy(folder)) as self.server:
            self.serve(0, N_REQUESTS // 5)
            early = self.rss_bytes()
            self.serve(N_REQUESTS // 5, N_REQUESTS)
            late = self.rss_bytes()
            print(f"{N_REQUESTS} requests, {self.statuses}: {early >> 10} KiB, then {late >> 10} KiB")
            self.assertLess(late - early, MOST_GROWTH)
            self.assertEqual(sum(self.statuses.values()), N_REQUESTS)
            self.assertEqual(set(self.statuses), {200, 400, 404})
            self.assertGreater(self.statuses[200], N_REQUESTS // 2)


if __name__ == "__main__":
    unittest.main()
