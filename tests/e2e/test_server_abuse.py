"""A server among clients that lie, hang up, do not read, or come all at once: it answers or refuses, and nothing is left."""

import json
import random
import re
import select
import signal
import socket
import tempfile
import time
import unittest

from cabinet import SECONDS
from served import CONTEXT, ServedTest, roomy
from serving import Server

HEAD = "Host: 127.0.0.1\r\nContent-Type: application/json\r\n"


def post(body, path="/v1/completions", more=""):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return f"POST {path} HTTP/1.1\r\n{HEAD}{more}Content-Length: {len(data)}\r\n\r\n".encode() + data


def ask(n_tokens=8, **options):
    return {"prompt": "abc", "max_tokens": n_tokens, "ignore_eos": True, "temperature": 0, **options}


def connect(server, is_slow=False):
    """A slow one will not read, and has little room for what it does not read."""
    raw = socket.socket()
    raw.settimeout(SECONDS)
    if is_slow:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.connect((server.host, server.port))
    return raw


def read_all(raw):
    """What comes until the server closes."""
    received = b""
    while part := raw.recv(1 << 16):
        received += part
    return received


def read_until(raw, mark):
    received = b""
    while mark not in received:
        part = raw.recv(1 << 16)
        if not part:
            raise AssertionError(f"the server closed before {mark}: {received[-300:]}")
        received += part
    return received


class Abuse(ServedTest):
    def status_of(self, sent):
        """The status of the only reply to bytes behind which the client says no more."""
        with connect(self.server) as raw:
            raw.sendall(sent)
            raw.shutdown(socket.SHUT_WR)
            received = read_all(raw)
        return int(received.split()[1]) if received else None

    def test_bodies_that_are_none(self):
        deep = b'{"prompt": ' + b"[" * 10000 + b"]" * 10000 + b"}"
        deep_schema = {"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": None}}}
        nested = {"type": "object"}
        for _ in range(100):
            nested = {"type": "object", "properties": {"a": nested}}
        deep_schema["response_format"]["json_schema"]["schema"] = nested
        bodies = [b"", b"{", b"null", b"[]", b'"a"', b"{}", deep, b'{"prompt": "\xff\xfe"}', b'{"prompt": "a\\u0000b"}',
                  b'{"prompt": "\\ud800"}', b'{"prompt": 1}', b'{"prompt": "a"} trailing',
                  b'{"prompt": ' + b'"a",' * 1000 + b"}", b"\x00" * 100]
        odd = [b'{"prompt": "a", "max_tokens": 1e99}', b'{"prompt": "a", "temperature": "hot"}',
               b'{"prompt": "a", "stop": {"a": 1}}', json.dumps(deep_schema).encode()]
        for path in ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/v1/messages", "/tokenize", "/detokenize"):
            for body in bodies + (odd if path.startswith("/v1/") else []):
                status, answer = self.server.ask(path, body)
                self.assertIn(status, (400, 422), (path, body[:60], answer))
                self.assertGreater(len(answer["error"]["message"]), 5)
                self.assertNotIn("\n", answer["error"]["message"])

    def test_a_prompt_beyond_the_context(self):
        for prompt in ("x" * (CONTEXT + 1), [1] * CONTEXT, "x" * (4 << 20)):
            status, answer = self.server.ask("/v1/completions", {"prompt": prompt})
            self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
        self.assertEqual(self.server.ask("/v1/completions", {"prompt": [10 ** 9]})[0], 400)
        self.assertEqual(self.server.ask("/v1/completions", {"prompt": [-1]})[0], 400)

    def test_requests_that_two_readers_would_read_differently(self):
        inner = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        for lengths in ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "Content-Length: 3\r\nContent-Length: 4\r\n",
                        "Transfer-Encoding: gzip, chunked\r\n", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
                        "Content-Length: +3\r\n", "Content-Length: 3 \x0b\r\n", "Content-Length : 3\r\n"):
            with connect(self.server) as raw:
                raw.sendall(f"POST /v1/completions HTTP/1.1\r\n{HEAD}{lengths}\r\n0\r\n\r\n{inner}".encode())
                raw.shutdown(socket.SHUT_WR)
                received = read_all(raw)
            self.assertRegex(received, rb"\AHTTP/1.1 (400|501) ")
            self.assertEqual(received.count(b"HTTP/1.1"), 1, lengths)

    def test_pieces_and_pipelines(self):
        one = post(ask())
        with connect(self.server) as raw:
            raw.sendall(one * 5 + b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            received = read_all(raw)
        self.assertEqual(received.count(b"HTTP/1.1 200 OK"), 6)
        with connect(self.server) as raw:
            for i in range(len(one)):
                raw.sendall(one[i:i + 1])
            self.assertIn(b"HTTP/1.1 200 OK", read_until(raw, b"text_completion"))

    def test_truncated(self):
        one = post(ask())
        for n in range(0, len(one), 17):
            with connect(self.server) as raw:
                raw.sendall(one[:n])
        self.assertEqual(self.server.ask("/v1/completions", ask())[0], 200)

    def test_too_long_heads(self):
        self.assertEqual(self.status_of(b"GET /" + b"a" * (1 << 16) + b" HTTP/1.1\r\n\r\n"), 431)
        self.assertEqual(self.status_of(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"a: b\r\n" * 200 + b"\r\n"), 431)

    def test_cancels_at_random(self):
        """While bodies are read, grammars made, prompts computed, answers streamed, and others look at it all."""
        rng = random.Random(1)
        schema = {"type": "json_schema", "json_schema": {"name": "s", "schema": {"type": "object"}}}
        for i in range(300):
            body = ask(rng.choice([1, 20, 300]), stream=rng.random() < 0.7, n=rng.choice([1, 1, 3]), seed=1)
            body["prompt"] = [f"number {i} " * rng.choice([1, 100]), body["prompt"]][:rng.choice([1, 2])]
            kinds = [post(body), post(body), post({**body, "best_of": 5, "stream": False}), post({**body, "response_format": schema}),
                     post({"prompt": "abc" * 1000}, "/tokenize"), f"GET /v1/kv/live HTTP/1.1\r\n{HEAD}\r\n".encode()]
            raw = connect(self.server)
            raw.sendall(rng.choice(kinds))
            if rng.random() < 0.5:
                raw.recv(rng.choice([1, 200, 5000]))
            raw.close()
            if rng.random() < 0.2:
                self.server.get("/v1/kv/live")
        self.server.settled()
        self.assertIn("finish=cancelled", self.server.log_text())

    def test_who_hangs_up_is_forgotten(self):
        raw = connect(self.server)
        raw.sendall(post(ask(3000, stream=True, n=8)))
        read_until(raw, b"data: ")
        raw.close()
        self.server.settled()

    def test_the_log_tells_no_prompt(self):
        self.server.ask("/v1/completions", ask() | {"prompt": "a secret of mine"})
        self.server.ask("/v1/completions", b'{"prompt": "a secret of mine')
        self.assertNotIn("secret", self.server.log_text())


class Crowd(unittest.TestCase):
    N_SLOW, N_ALL = 200, 500

    def rss_bytes(self, server):
        with open(f"/proc/{server.process.pid}/status") as status:
            return int(re.search(r"VmRSS:\s+(\d+)", status.read())[1]) * 1024

    def test_slow_readers_slow_nobody(self):
        """Slow here is a reader that waits until all others are through, however long a busy machine takes for that."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with Server("--model-name", "tiny", "--stall-seconds", "3600", model=roomy(folder)) as server:
            before = self.rss_bytes(server)
            slow = [connect(server, is_slow=True) for _ in range(self.N_SLOW)]
            for raw in slow:
                raw.sendall(post(ask(300, stream=True, logprobs=20)))
            fast = {connect(server): b"" for _ in range(self.N_ALL - self.N_SLOW)}
            for raw in fast:
                raw.sendall(post(ask(16, stream=True)))
            left = dict(fast)
            while left:
                ready, _, _ = select.select(list(left), [], [], SECONDS)
                self.assertTrue(ready, "those who read are kept waiting")
                for raw in ready:
                    part = raw.recv(1 << 16)
                    self.assertTrue(part, left[raw])
                    left[raw] += part
                    if b"[DONE]" in left[raw]:
                        del left[raw]
            for _ in range(2000):  # the engine is through with the slow ones too, who hold none of its memory
                state = server.get("/debug/check")
                if state["running"] + state["waiting"] == 0:
                    break
            self.assertEqual((state["ok"], state["open"], state["sealed"]), (True, 0, 0))
            self.assertLess(self.rss_bytes(server) - before, 512 << 20)
            for raw in [*slow[::2], *fast]:
                raw.close()
            for raw in slow[1::2]:
                self.assertIn(b"[DONE]", read_until(raw, b"[DONE]"))
                raw.close()
            server.settled()

    def test_a_reader_that_stalls_is_cut_off(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with Server("--stall-seconds", "1", model=roomy(folder)) as server:
            with connect(server, is_slow=True) as raw:
                raw.sendall(post(ask(2000, stream=True, logprobs=20)))
                deadline = time.monotonic() + SECONDS
                while "does not read" not in server.log_text():
                    self.assertLess(time.monotonic(), deadline)
                    select.select([], [], [], 0.05)
            server.settled()


class Memory(unittest.TestCase):
    def test_scarce_memory(self):
        """More is asked than fits at once: all of it is answered, one after the other, or refused."""
        with Server("--kv-memory", "300K", "--max-sequences", "8") as server:
            raws = [connect(server) for _ in range(12)]
            for i, raw in enumerate(raws):
                raw.sendall(post(ask(40) | {"prompt": f"number {i}"}))
            for raw in raws:
                self.addCleanup(raw.close)
            texts = [json.loads(read_until(raw, b"}}").split(b"\r\n\r\n", 1)[1]) for raw in raws]
            self.assertEqual({text["choices"][0]["finish_reason"] for text in texts}, {"length"})
            server.settled()

    def test_memory_for_half_an_answer(self):
        """What there is room for is the answer, and who waits for it is told although no step follows."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with Server("--kv-memory", "300K", model=roomy(folder)) as server:
            status, answer = server.ask("/v1/completions", ask(3000))
            self.assertEqual((status, answer["choices"][0]["finish_reason"]), (200, "length"))
            n_tokens = answer["usage"]["completion_tokens"]
            self.assertTrue(300 < n_tokens < 1000, n_tokens)
            self.assertIn('"finish_reason":"length"', list(server.events("/v1/completions", ask(3000)))[-2])
            status, answer = server.ask("/v1/completions", ask() | {"prompt": "x" * 2000})
            self.assertEqual((status, answer["error"]["code"]), (400, "context_length_exceeded"))
            server.settled()

    def test_queue_is_bounded(self):
        with Server("--max-requests", "2", "--max-sequences", "1") as server:
            raws = [connect(server) for _ in range(2)]
            for raw in raws:
                raw.sendall(post(ask(60, stream=True, n=64)))
            read_until(raws[0], b"data: ")
            with connect(server) as third:
                third.sendall(post(ask()))
                received = read_until(third, b"queue_full")
            self.assertIn(b"HTTP/1.1 429 ", received)
            self.assertIn(b"Retry-After: 1\r\n", received)
            for raw in raws:
                raw.close()
            server.settled()


class Stopping(unittest.TestCase):
    def test_a_stream_ends_before_the_server(self):
        with Server() as server:
            with connect(server) as raw, connect(server) as other:
                raw.sendall(post(ask(90, stream=True)))
                received = read_until(raw, b"data: ")
                server.process.send_signal(signal.SIGTERM)
                while "server_drains" not in server.log_text():
                    self.assertIsNone(server.process.poll())
                other.sendall(post(ask()))
                refused = read_all(other)
                received += read_all(raw)
            self.assertIn(b"[DONE]", received)
            self.assertTrue(refused == b"" or b"HTTP/1.1 503 " in refused, refused)
            self.assertEqual(server.process.wait(SECONDS), 0)

    def test_a_second_signal_ends_at_once(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with Server(model=roomy(folder)) as server:
            with connect(server) as raw:
                raw.sendall(post(ask(3500, stream=True, n=64)))
                read_until(raw, b"data: ")
                server.process.send_signal(signal.SIGTERM)
                while "server_drains" not in server.log_text():
                    self.assertIsNone(server.process.poll())
                server.process.send_signal(signal.SIGTERM)
                self.assertNotIn(b"[DONE]", read_all(raw))
            self.assertEqual(server.process.wait(SECONDS), 0)

    def test_slow_readers_at_the_end(self):
        """A reader that begins to read has all of its answer; one that never does is not waited for beyond the patience."""
        folder = self.enterContext(tempfile.TemporaryDirectory())
        for is_read in (True, False):
            with Server("--drain-seconds", "60" if is_read else "1", model=roomy(folder)) as server:
                with connect(server, is_slow=True) as raw:
                    raw.sendall(post(ask(1000, stream=True, logprobs=20)))
                    received = read_until(raw, b"data: ")
                    server.process.send_signal(signal.SIGTERM)
                    while "server_drains" not in server.log_text():
                        self.assertIsNone(server.process.poll())
                    if is_read:
                        received += read_all(raw)
                        self.assertIn(b"[DONE]", received)
                    self.assertEqual(server.process.wait(SECONDS), 0)
                self.assertEqual("server_interrupted" in server.log_text(), not is_read)

    def test_patience_ends(self):
        folder = self.enterContext(tempfile.TemporaryDirectory())
        with Server("--drain-seconds", "0", model=roomy(folder)) as server:
            with connect(server) as raw:
                raw.sendall(post(ask(3500, stream=True, n=64)))
                read_until(raw, b"data: ")
                server.process.send_signal(signal.SIGTERM)
                self.assertNotIn(b"[DONE]", read_all(raw))
            self.assertEqual(server.process.wait(SECONDS), 0)


if __name__ == "__main__":
    unittest.main()
