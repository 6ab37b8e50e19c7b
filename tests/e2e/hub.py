"""A hub on this machine that misbehaves on request: it lists repositories and serves their files."""

import contextlib
import hashlib
import http.server
import json
import threading
import urllib.parse


class File:
    """What the hub lists of a file and what it delivers; a test changes either."""

    def __init__(self, content, listed=None):
        self.content = content
        self.etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        self.listed = listed if listed is not None else {
            "size": len(content), "lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that hangs up is what the tests are about."""


class Hub:
    """`files[OWNER/REPO][PATH]` are File. `requests` are (path, headers) in their order. `answers` is asked
    first: answers(request handler) returns True if it answered."""

    def __init__(self, tls=None):
        self.files, self.requests, self.listing, self.answers = {}, [], None, lambda handler: False
        self.server = Server(("127.0.0.1", 0), self.handler_class())
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def paths(self):
        return [path for path, _ in self.requests]

    def downloads(self):
        """The Range headers of the requests for files; None for the whole."""
        return [headers.get("Range") for path, headers in self.requests if not path.startswith("/api/")]

    def handler_class(hub):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                hub.requests.append((self.path, dict(self.headers)))
                with contextlib.suppress(ConnectionError):
                    if not hub.answers(self):
                        hub.answer(self)

        return Handler

    def answer(self, handler):
        url = urllib.parse.urlsplit(handler.path)
        words = urllib.parse.unquote(url.path).split("/")[1:]
        if words[:2] == ["api", "models"]:
            self.answer_listing(handler, "/".join(words[2:4]))
        elif words[2:3] == ["resolve"]:
            self.answer_file(handler, self.files.get("/".join(words[:2]), {}).get("/".join(words[4:])))
        else:
            self.answer_file(handler, self.files.get("", {}).get("/".join(words)))

    def answer_listing(self, handler, repository):
        if self.listing is not None:
            send(handler, 200, self.listing)
        elif repository in self.files:
            siblings = [{"rfilename": path, **file.listed} for path, file in self.files[repository].items()]
            send(handler, 200, json.dumps({"id": repository, "siblings": siblings}).encode())
        else:
            send(handler, 404, b'{"error": "Repository not found"}')

    @staticmethod
    def answer_file(handler, file):
        if file is None:
            send(handler, 404, b"no such file")
            return
        first, wanted = 0, handler.headers.get("Range")
        if wanted is not None and handler.headers.get("If-Range", file.etag) == file.etag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        total = len(file.content)
        if first >= total > 0:
            send(handler, 416, b"", {"Content-Range": f"bytes */{total}"})
        elif first > 0:
            send(handler, 206, file.content[first:], {"ETag": file.etag, "Content-Range": f"bytes {first}-{total - 1}/{total}"})
        else:
            send(handler, 200, file.content, {"ETag": file.etag})


def send(handler, status, body, headers=None, length=None):
    """An answer; `length` is what its head says of the body, if that shall not be true."""
    handler.send_response(status)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    if length is not None:
        handler.send_header("Connection", "close")
        handler.close_connection = True
    handler.end_headers()
    handler.wfile.write(body)
