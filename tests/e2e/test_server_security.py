"""Who may ask a server what: without keys only this machine and its own pages, with keys their holders; and nothing tells."""

import contextlib
import http.client
import json
import pathlib
import socket
import ssl
import subprocess
import tempfile
import unittest

from cabinet import MODEL, SECONDS, CabinetTest
from served import ServedTest, roomy
from serving import Server

ASK = {"prompt": "abc", "max_tokens": 4, "ignore_eos": True, "temperature": 0}
API = [("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("POST", "/v1/responses"), ("POST", "/v1/messages"),
       ("POST", "/tokenize"), ("POST", "/detokenize"), ("GET", "/v1/models"), ("GET", "/v1/kv/live"), ("GET", "/v1/kv"),
       ("POST", "/v1/kv/pin"), ("POST", "/v1/kv/unpin"), ("DELETE", "/v1/kv"), ("GET", "/metrics"),
       ("GET", "/version"), ("GET", "/openapi.json"), ("GET", "/debug/check")]
OPEN = ["/", "/health", "/ready"]


def bearer(key):
    return {"Authorization": f"Bearer {key}"}


def headers_of(server, method, path, headers=None, body=None):
    """(status, {name: value}) of a reply."""
    connection = server.connection()
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


class WithoutKeys(ServedTest):
    def test_host_and_origin(self):
        """A page of a stranger reaches the server under its own name (DNS rebinding), or says where it comes from."""
        own = f"127.0.0.1:{self.server.port}"
        for host, origin, is_let_in in [(own, None, True), (f"localhost:{self.server.port}", None, True), ("[::1]", None, True),
                                        ("rebound.example", None, False), (f"rebound.example:{self.server.port}", None, False),
                                        ("127.0.0.1.rebound.example", None, False), (own, f"http://{own}", True),
                                        (own, "https://stranger.example", False), (own, "null", False)]:
            headers = {"Host": host, **({"Origin": origin} if origin else {})}
            for path in ["/", "/health", "/v1/models", "/nowhere"]:
                status, _ = headers_of(self.server, "GET", path, headers)
                self.assertEqual(status == 403, not is_let_in, (path, headers, status))
            status, answer = self.server.ask("/v1/completions", ASK, headers)
            self.assertEqual(status, 200 if is_let_in else 403, answer)

    def test_only_json(self):
        """What a page may send without asking first (forms, plain text) is no request."""
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonp", "",
                     "text/plain; application/json"):
            for path in [path for method, path in API if method == "POST"]:
                self.assertEqual(self.server.ask(path, ASK, {"Content-Type": kind})[0], 415, (path, kind))
        self.assertEqual(self.server.ask("/v1/completions", ASK, {"Content-Type": "Application/JSON; charset=utf-8"})[0], 200)

    def test_no_cors(self):
        origin = f"http://localhost:{self.server.port}"
        for method, path in [*API, ("GET", "/"), ("OPTIONS", "/v1/completions"), ("OPTIONS", "/nowhere")]:
            status, headers = headers_of(self.server, method, path, {"Origin": origin, "Access-Control-Request-Method": "POST"})
            self.assertEqual([name for name in headers if name.startswith("access-control")], [])
            self.assertEqual(headers["x-content-type-options"], "nosniff")
            self.assertTrue(method != "OPTIONS" or status in (404, 405), status)


class WithKeys(unittest.TestCase):
    """Two clients' keys and an admin's; one client's long answers are under way."""

    KEYS = ["first-of-the-keys", "second-of-the-keys"]
    ADMIN = "key-of-the-admin"
    SECRETS = [*KEYS, ADMIN, "key-of-nobody", "prompt-of-somebody"]

    @classmethod
    def setUpClass(cls):
        folder = pathlib.Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        (folder / "keys").write_text("\n".join(cls.KEYS) + "\n")
        (folder / "admin").write_text(cls.ADMIN + "\n")
        cls.server = cls.enterClassContext(Server("--api-key-file", folder / "keys", "--admin-key-file", folder / "admin",
                                                  model=roomy(folder)))

    def settled(self):
        for _ in range(2000):
            state = self.server.get("/debug/check", bearer(self.ADMIN))
            if state["requests"] == 0:
                self.assertEqual((state["ok"], state["open"], state["sealed"]), (True, 0, 0))
                return
        self.fail(f"requests are still under way: {state}")

    def test_every_route_needs_one(self):
        for method, path in API:
            for key in ("key-of-nobody", self.KEYS[0][:-1], self.KEYS[0] + "s", "", " "):
                for headers in (bearer(key), {"X-Api-Key": key}, {}):
                    status, answer = self.server.ask(path, ASK if method == "POST" else None, headers, method)
                    self.assertEqual(status, 401, (path, headers))
                    self.assertNotIn(key.strip() or "\0", json.dumps(answer))
            for headers in (bearer(self.KEYS[0]), {"X-Api-Key": self.KEYS[1]}, bearer(self.ADMIN)):
                self.assertNotIn(self.server.ask(path, ASK if method == "POST" else None, headers, method)[0], (401, 403))
        for path in OPEN:
            self.assertEqual(self.server.ask(path, None, method="GET")[0], 200)
        self.settled()

    def test_everybody_sees_its_own(self):
        def seen(key):
            return self.server.get("/v1/kv/live", bearer(key))["sequences"]

        streams = []
        for key, n in zip(self.KEYS, (2, 3)):
            events = self.server.events("/v1/completions", {**ASK, "max_tokens": 4000, "n": n}, bearer(key))
            next(events)
            streams.append(events)
        first, second, all_of_them = seen(self.KEYS[0]), seen(self.KEYS[1]), seen(self.ADMIN)
        self.assertEqual((len(first), len(second), len(all_of_them)), (2, 3, 5))
        ids = [{sequence["id"] for sequence in sequences} for sequences in (first, second, all_of_them)]
        self.assertEqual(len(ids[0] | ids[1]), 2)
        self.assertEqual(ids[0] | ids[1], ids[2])
        for events in streams:
            events.close()
        self.settled()

    def test_nobody_finds_what_another_has_asked(self):
        body = {**ASK, "prompt": "prompt-of-somebody " * 20}
        def cached(key):
            status, answer = self.server.ask("/v1/completions", body, bearer(key))
            self.assertEqual(status, 200, answer)
            return answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertEqual(cached(self.KEYS[0]), 0)
        self.assertGreater(cached(self.KEYS[0]), 0)
        self.assertEqual(cached(self.KEYS[1]), 0)

    def test_no_secret_is_told(self):
        for key in (self.KEYS[0], "key-of-nobody"):
            for body in ({**ASK, "prompt": "prompt-of-somebody"}, {"prompt": ["prompt-of-somebody", 1]}, {**ASK, "n": "prompt-of-somebody"}):
                self.server.ask("/v1/completions", body, bearer(key))
            self.server.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": "prompt-of-somebody"}]}, bearer(key))
            self.server.ask(f"/prompt-of-somebody?key={key}", None, {"X-Api-Key": key}, method="GET")
        self.settled()
        arguments = pathlib.Path(f"/proc/{self.server.process.pid}/cmdline").read_bytes().decode()
        status, metrics = self.server.ask("/metrics", None, bearer(self.KEYS[0]), method="GET")
        self.assertEqual(status, 200)
        for secret in self.SECRETS:
            self.assertNotIn(secret, self.server.log_text())
            self.assertNotIn(secret, arguments)
            self.assertNotIn(secret, metrics)
        self.assertIn("event=request ", self.server.log_text())
        self.assertIn("key=1", self.server.log_text())


class Debug(CabinetTest):
    def test_debug_routes_need_an_admin(self):
        keys, admin = self.file("keys", b"client-key\n"), self.file("admin", b"admin-key\n")
        server = Server("--api-key-file", keys, "--admin-key-file", admin)
        server.command.remove("--debug")
        with server:
            for headers, expected in ((bearer("client-key"), 403), (bearer("admin-key"), 200), ({}, 401)):
                self.assertEqual(server.ask("/debug/check", None, headers, method="GET")[0], expected)

    def test_a_key_of_the_environment(self):
        with Server(environment={"CABINET_API_KEY": "key-of-the-environment"}) as server:
            self.assertEqual(server.ask("/v1/models", None, method="GET")[0], 401)
            self.assertEqual(server.ask("/v1/models", None, bearer("key-of-the-environment"), method="GET")[0], 200)


class Listening(CabinetTest):
    def test_beyond_this_machine(self):
        """Without keys only by --insecure, and then still for no page of another origin."""
        for host in ("0.0.0.0", "::", "192.0.2.1", "localhost.example.com"):
            self.refused("serve", MODEL, "--host", host, "--port", "0", says=("--insecure", host))
        with Server("--host", "0.0.0.0", "--insecure") as server:
            server.host = "127.0.0.1"
            self.assertEqual(headers_of(server, "GET", "/v1/models", {"Host": "box.lan"})[0], 200)
            self.assertEqual(headers_of(server, "GET", "/v1/models", {"Host": "box.lan", "Origin": "http://box.lan"})[0], 200)
            self.assertEqual(headers_of(server, "GET", "/v1/models", {"Host": "box.lan", "Origin": "http://other.lan"})[0], 403)
        with Server("--host", "0.0.0.0", environment={"CABINET_API_KEY": "a-key"}) as server:
            server.host = "127.0.0.1"
            self.assertEqual(headers_of(server, "GET", "/v1/models", bearer("a-key") | {"Host": "box.lan"})[0], 200)

    def test_ports_and_files(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            self.refused("serve", MODEL, "--port", str(port), says=(str(port), "in use"))
        self.refused("serve", MODEL, "--port", "0", "--api-key-file", self.folder / "none", says=("none",))
        self.refused("serve", MODEL, "--port", "0", "--retain", "fifo", says=("fifo", "lru, lfu, cost"), code=2, begins="cabinet serve: ")
        self.refused("serve", MODEL, "--port", "0", "--api-key-file", self.file("keys", b"secret key\n"), says=("line 1",))
        self.refused("serve", MODEL, "--port", "0", "--tls-cert", self.file("a", b"x"), "--tls-key", self.file("b", b"x"), says=("--tls-cert",))

    def test_tls(self):
        key, certificate = self.folder / "key.pem", self.folder / "certificate.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key,
                        "-out", certificate, "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"],
                       check=True, capture_output=True, timeout=SECONDS)
        trust = ssl.create_default_context(cafile=certificate)
        with Server("--tls-cert", certificate, "--tls-key", key) as server:
            self.assertEqual(server.scheme, "https")
            for body in (ASK, {**ASK, "stream": True}, {**ASK, "prompt": "x" * 100000}):
                connection = http.client.HTTPSConnection(server.host, server.port, timeout=SECONDS, context=trust)
                connection.request("POST", "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
                response = connection.getresponse()
                content = response.read()
                self.assertEqual(response.status, 400 if len(body["prompt"]) > 10 else 200, content)
                connection.close()
            with socket.create_connection((server.host, server.port), timeout=SECONDS) as raw:  # not TLS: closed, without a reply
                raw.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                received = b""
                with contextlib.suppress(ConnectionResetError):
                    while part := raw.recv(4096):
                        received += part
                self.assertNotIn(b"HTTP/1.1", received)
            for _ in range(20):  # hung up in the middle of the handshake, or right behind it
                socket.create_connection((server.host, server.port), timeout=SECONDS).close()
                raw = trust.wrap_socket(socket.create_connection((server.host, server.port), timeout=SECONDS), server_hostname="127.0.0.1")
                raw.close()


if __name__ == "__main__":
    unittest.main()
