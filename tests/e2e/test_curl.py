"""curl against a server with a tiny random model: the examples of docs/api.md as they stand there, and streams."""

import contextlib
import json
import pathlib
import re
import subprocess
import unittest

from cabinet import SECONDS
from openai_client import WEATHER
from served import ServedTest

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "api.md"
ADDRESS = "http://127.0.0.1:8080"
LONG = {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "n": 128, "max_tokens": 3000, "ignore_eos": True}


def blocks():
    """(language, text) of each fenced block of the page."""
    return re.findall(r"(?ms)^```(\w*)\n(.*?)^```$", PAGE.read_text())


def examples():
    """(command, what it answers or None) for each curl of the page; the answer stands in the next block."""
    listed = [*blocks(), ("", "")]
    for (language, text), (next_language, answer) in zip(listed, listed[1:]):
        if language == "sh":
            commands = re.findall(r"(?m)^curl .*(?:\n[ ].*)*", text)
            for command in commands:
                is_answered = next_language == "json" and command == commands[-1]
                yield command, answer if is_answered else None


def names(text):
    return set(re.findall(r'"([a-z_]+)":', text))


class Curl(ServedTest):
    def command(self, *words):
        return ["curl", "--no-progress-meter", "--fail-with-body", "--max-time", str(SECONDS), *words]

    def post(self, path, body, *words):
        return self.command(*words, "-H", "Content-Type: application/json", "-d", json.dumps(body), self.server.url + path)

    def run_command(self, command):
        run = subprocess.run(command, capture_output=True, timeout=SECONDS, check=False)
        self.assertEqual(run.returncode, 0, run.stderr.decode() + run.stdout.decode(errors="replace"))
        return run.stdout.decode()

    @contextlib.contextmanager
    def busy(self, path="/v1/chat/completions", body=LONG):
        """A stream that has begun, until the curl that reads it is killed."""
        with subprocess.Popen(self.post(path, body, "-N"), stdout=subprocess.PIPE) as curl:
            try:
                self.assertRegex(curl.stdout.readline(), rb"\Adata: ")
                yield
            finally:
                curl.kill()

    def test_the_examples_of_the_page(self):
        n_run = 0
        for command, answer in examples():
            with self.subTest(command), contextlib.ExitStack() as stack:
                self.assertIn(ADDRESS, command)
                if "/v1/kv/live" in command:
                    stack.enter_context(self.busy())
                output = self.run_command(["sh", "-c", command.replace(ADDRESS, self.server.url) + " --no-progress-meter --fail-with-body"])
                json.loads(output)
                if answer is not None:
                    self.assertLessEqual(names(answer), names(output))
                n_run += 1
        self.assertGreaterEqual(n_run, 6)

    def test_every_route_of_the_page(self):
        routes = re.findall(r"(?m)^\| `?GET (/[\w./]*)`", PAGE.read_text())
        self.assertIn("/v1/models", routes)
        for path in routes:
            self.run_command(self.command(self.server.url + path))

    def test_streams(self):
        """As the lines of curl -N; put together they are the answer that comes without a stream."""
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 40, "seed": 2}
        whole = json.loads(self.run_command(self.post("/v1/chat/completions", body)))
        output = self.run_command(self.post("/v1/chat/completions", {**body, "stream": True, "stream_options": {"include_usage": True}}, "-N", "-i"))
        head, _, events = output.replace("\r\n", "\n").partition("\n\n")
        self.assertRegex(head, r"(?i)content-type: text/event-stream")
        self.assertRegex(head, r"(?i)cache-control: no-cache")
        frames = events.strip().split("\n\n")
        self.assertEqual(frames[-1], "data: [DONE]")
        chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-1]]
        text = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])
        self.assertEqual(text, whole["choices"][0]["message"]["content"])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 40)

    def test_the_first_token_does_not_wait_for_the_last(self):
        """And a curl that is stopped is a request that is cancelled."""
        for path, body in [("/v1/chat/completions", LONG), ("/v1/completions", {**LONG, "prompt": "Hello"})]:
            n_before = self.server.log_text().count("finish=cancelled")
            with self.busy(path, body):
                self.assertEqual(self.server.get("/debug/check")["requests"], 1)
            self.server.settled()
            self.assertEqual(self.server.log_text().count("finish=cancelled"), n_before + 1)

    def test_tools(self):
        body = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 400, "tools": [WEATHER], "tool_choice": "required"}
        answer = json.loads(self.run_command(self.post("/v1/chat/completions", body)))
        self.assertEqual(answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"], "get_weather")

    def test_errors(self):
        run = subprocess.run(self.post("/v1/chat/completions", {"messages": []}, "-w", "%{http_code}"), capture_output=True, timeout=SECONDS, check=False)
        self.assertEqual(run.returncode, 22)
        self.assertRegex(run.stdout.decode(), r'"message":\s?"messages is empty".*400\Z')

    def test_old_and_odd_ways_to_ask(self):
        """HTTP/1.0, a body in chunks, an Expect that waits for its 100, one connection for two requests, HEAD."""
        body = json.dumps({"prompt": "Hello", "max_tokens": 5, "seed": 1})
        post = ["-H", "Content-Type: application/json", "-d", body]
        url = self.server.url + "/v1/completions"
        texts = [json.loads(self.run_command(self.command(*words, *post, url)))["choices"][0]["text"]
                 for words in ([], ["--http1.0"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"])]
        self.assertEqual(texts, [texts[0]] * 4)
        twice = self.run_command(self.command("-w", "%{num_connects}\n", self.server.url + "/health", self.server.url + "/health"))
        self.assertEqual(re.findall(r"(\d)\n", twice), ["1", "0"])
        self.assertEqual(self.run_command(self.command("-I", "-o", "-", self.server.url + "/health")).count("HTTP/1.1 200"), 1)


if __name__ == "__main__":
    unittest.main(verbosity=2)
