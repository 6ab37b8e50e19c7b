"""A `cabinet serve` under test: started on a free port of loopback, stopped by its id, its invariants looked at."""

import http.client
import json
import os
import re
import signal
import subprocess
import tempfile
import urllib.request

from cabinet import CABINET, MODEL, SECONDS

READY = re.compile(r"at (https?)://(\S+?):(\d+) ")


class Server:
    """with Server("--ctx", "128") as server: ..."""

    def __init__(self, *options, model=MODEL, environment=None):
        self.command = [CABINET, "serve", os.fspath(model), "--port", "0", "--debug", *options]
        self.environment = {**os.environ, **(environment or {})}
        self.exit_code = None

    def __enter__(self):
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=self.log)
        self.greeting = self.process.stdout.readline().decode() + self.process.stdout.readline().decode()
        found = READY.search(self.greeting)
        if not found:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"cabinet serve did not start: {self.log_text()}")
        self.scheme, self.host, self.port = found[1], found[2], int(found[3])
        self.url = f"{self.scheme}://{self.host}:{self.port}"
        return self

    def __exit__(self, kind, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.exit_code = self.process.wait(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"cabinet serve does not stop: {self.log_text()}") from None
        finally:
            self.process.stdout.close()
        if kind is None and self.exit_code != 0:
            raise AssertionError(f"cabinet serve ended with {self.exit_code}: {self.log_text()}")
        if kind is not None:
            print(self.log_text()[-4000:])
        self.log.close()

    def log_text(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")

    def connection(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=SECONDS)

    def get(self, path, headers=None):
        """The parsed JSON of a GET that succeeds."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return json.load(response)

    def ask(self, path, body, headers=None, method="POST"):
        """(status, parsed body or text) of a request whatever becomes of it."""
        connection = self.connection()
        try:
            data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
            connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            content = response.read()
            try:
                return response.status, json.loads(content)
            except ValueError:
                return response.status, content.decode(errors="replace")
        finally:
            connection.close()

    def events(self, path, body, headers=None):
        """The data of each server-sent event of a stream, as they come."""
        connection = self.connection()
        try:
            connection.request("POST", path, json.dumps({**body, "stream": True}).encode(),
                               {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            assert response.status == 200, (response.status, response.read())
            for line in response:
                if line.startswith(b"data: "):
                    yield line[6:].strip().decode()
        finally:
            connection.close()

    def settled(self):
        """Waits until no request is under way; the state of the cache then, whose invariants hold."""
        for _ in range(2000):  # each look is an answer of the engine's thread: there is nothing to sleep for
            state = self.get("/debug/check")
            assert state["ok"], state
            if state["requests"] == 0:
                assert state["open"] == 0 and state["sealed"] == 0 and state["running"] == 0, state
                return state
        raise AssertionError(f"requests are still under way: {state}")
