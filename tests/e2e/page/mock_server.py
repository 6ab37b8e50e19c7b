"""A server that looks to the page like Cabinet's: its files, models, live figures, and chat answers that say what was
asked. What a question contains decides what happens to its answer:

    MARKDOWN  a text with every kind of block, and markup that must stay text
    HOLD      a few words, then nothing until the client hangs up
    FAIL      a few words, then an error object; BREAK: then the connection ends; LIMIT: a few words, cut by max_tokens

/mock/requests lists the chat requests with their Authorization, /mock/key?KEY demands a key from then on, /mock/crowd
adds sequences that never end (until /mock/crowd?gone), /mock/live-fails?N lets the next N looks at the live figures fail.
"""

import http.server
import itertools
import json
import pathlib
import select
import threading
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parents[3]
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
         ".svg": "image/svg+xml", ".txt": "text/plain; charset=utf-8"}
CONTENT_POLICY = "default-src 'self'"
BLOCK_TOKENS = 32
TOKEN_BYTES = 23040
ARENA_TOKENS = 16384
MODEL = {"id": "mock-135m", "object": "model", "created": 0, "owned_by": "mock", "max_model_len": 8192}
FEW_WORDS = "Here are a few words of it".split()
MARKDOWN = """\
## A heading

Some *emphasis*, some **strength**, `code`, and a [link](https://example.org/) that is <b>not</b> bold.

```python
def blocks(tokens):
    return -(-tokens // 32)  # <script>alert(1)</script>
```

1. first
2. second
   - inner one
   - inner two

> A quotation
> of two lines.

| state | blocks |
|:--|--:|
| sealed | 12 |
| open | 1 |

<img src="x" onerror="document.title='broken'"> and [a trap](javascript:alert(1)) stay text.
"""


def blocks_of(n_tokens):
    return -(-n_tokens // BLOCK_TOKENS)


class State:
    def __init__(self):
        self.lock = threading.Lock()
        self.numbers = itertools.count(1)
        self.requests, self.sequences, self.known = [], {}, set()
        self.key = None
        self.live_failures = 0
        self.idle_tokens = 0

    def begin(self, tokens):
        """Enters a sequence; what is known of its prompt is cached, block by block."""
        with self.lock:
            prefixes = [tuple(tokens[:n]) for n in range(BLOCK_TOKENS, len(tokens), BLOCK_TOKENS)]
            n_cached = BLOCK_TOKENS * len(list(itertools.takewhile(self.known.__contains__, prefixes)))
            self.known.update(prefixes)
            name = f"chatcmpl-{next(self.numbers):08x}"
            self.sequences[name] = {"prompt": len(tokens), "cached": n_cached, "output": 0, "state": "decode", "computed": len(tokens),
                                    "shared": n_cached // BLOCK_TOKENS, "rate": 48.5}
            return name, n_cached

    def end(self, name):
        with self.lock:
            sequence = self.sequences.pop(name)
            self.idle_tokens = min(self.idle_tokens + sequence["prompt"] + sequence["output"], ARENA_TOKENS // 3)

    def crowd(self, is_there):
        if not is_there:
            with self.lock:
                self.sequences.clear()
            return
        shapes = [(1210, 416, 83, "decode", 1293), (417, 416, 120, "decode", 537), (3020, 416, 0, "prefill", 1440),
                  (640, 0, 311, "decode", 951), (900, 0, 0, "waiting", 0)]
        with self.lock:
            for prompt, cached, output, state, computed in shapes:
                self.sequences[f"chatcmpl-{next(self.numbers):04x}c0ffee"] = {
                    "prompt": prompt, "cached": cached, "output": output, "state": state, "computed": computed,
                    "shared": cached // BLOCK_TOKENS, "rate": {"decode": 21.4, "prefill": 812.0}.get(state, 0)}

    def describe(self, name, sequence):
        n_blocks = blocks_of(max(sequence["computed"], sequence["prompt"] if sequence["state"] == "prefill" else 0))
        n_blocks = 0 if sequence["state"] == "waiting" else n_blocks
        return {"id": name, "choice": 0, "state": sequence["state"], "prompt_tokens": sequence["prompt"],
                "cached_tokens": sequence["cached"], "computed_tokens": sequence["computed"], "output_tokens": sequence["output"],
                "kv_bytes": n_blocks * BLOCK_TOKENS * TOKEN_BYTES, "blocks": n_blocks, "shared_blocks": sequence["shared"],
                "tokens_per_second": sequence["rate"], "age_ms": 2140}

    def live(self):
        with self.lock:
            listed = [self.describe(*item) for item in self.sequences.items()]
            n_blocks = sum(each["blocks"] for each in listed)
            n_open = sum(each["state"] == "decode" for each in listed)
            arena, idle = ARENA_TOKENS * TOKEN_BYTES, blocks_of(self.idle_tokens) * BLOCK_TOKENS * TOKEN_BYTES
            held = n_blocks * BLOCK_TOKENS * TOKEN_BYTES
            wobble = 1 + 0.15 * ((next(self.numbers) * 7 % 11) / 11 - 0.5)
            return {
                "block_tokens": BLOCK_TOKENS, "arena_bytes": arena, "held_bytes": held, "idle_bytes": idle,
                "free_bytes": arena - held - idle, "capacity_tokens": ARENA_TOKENS, "bytes_per_token": TOKEN_BYTES,
                "groups": [{"kind": "full", "window": 0, "layers": 30, "block_bytes": BLOCK_TOKENS * TOKEN_BYTES,
                            "blocks": {"open": n_open, "sealed": n_blocks - n_open, "idle": blocks_of(self.idle_tokens)}}],
                "running": sum(each["state"] != "waiting" for each in listed),
                "waiting": sum(each["state"] == "waiting" for each in listed), "preemptions": 0,
                "prefill_tokens_per_second": wobble * sum(e["tokens_per_second"] for e in listed if e["state"] == "prefill"),
                "decode_tokens_per_second": wobble * sum(e["tokens_per_second"] for e in listed if e["state"] == "decode"),
                "sequences": listed}


class Connection(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, body, content_type="application/json"):
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", CONTENT_POLICY)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, message):
        self.reply(status, {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None}})

    def is_allowed(self):
        state = self.server.state
        if state.key is None or self.headers["Authorization"] == f"Bearer {state.key}":
            return True
        self.refuse(401, "A key is needed.")
        return False

    def do_GET(self):
        path, _, query = self.path.partition("?")
        routes = {"/v1/models": lambda _: {"object": "list", "data": [MODEL]}, "/version": lambda _: {"version": "0.1.0"},
                  "/v1/kv/live": lambda _: self.server.state.live()}
        if path.startswith("/mock/"):
            self.control(path.removeprefix("/mock/"), urllib.parse.unquote(query))
        elif path in routes:
            if self.is_allowed() and not (path == "/v1/kv/live" and self.fails()):
                self.reply(200, routes[path](None))
        else:
            self.file(path)

    def fails(self):
        state = self.server.state
        with state.lock:
            if not state.live_failures:
                return False
            state.live_failures -= 1
        self.refuse(503, "The server is busy.")
        return True

    def control(self, what, argument):
        state = self.server.state
        if what == "key":
            state.key = argument or None
        elif what == "crowd":
            state.crowd(argument != "gone")
        elif what == "live-fails":
            state.live_failures = int(argument)
        self.reply(200, state.requests)

    def file(self, path):
        name = "index.html" if path == "/" else path.removeprefix("/")
        for folder in (ROOT / "web", self.server.uplot):
            file = folder / name
            if "/" not in name and file.suffix in TYPES and file.is_file():
                self.reply(200, file.read_bytes(), TYPES[file.suffix])
                return
        self.refuse(404, "There is no such page.")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self.refuse(404, "There is no such route.")
        elif self.is_allowed():
            self.server.state.requests.append({"body": body, "authorization": self.headers["Authorization"]})
            self.answer(body)

    def send_event(self, data):
        text = data if isinstance(data, str) else json.dumps(data)
        event = f"data: {text}\n\n".encode()
        self.wfile.write(f"{len(event):x}\r\n".encode() + event + b"\r\n")
        self.wfile.flush()

    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        tokens = " ".join(f"{message['role']}: {message['content']}" for message in body["messages"]).split()
        name, n_cached = self.server.state.begin(tokens)
        try:
            self.stream(body, name, {"prompt_tokens": len(tokens), "prompt_tokens_details": {"cached_tokens": n_cached}})
        except OSError:
            self.close_connection = True  # the client hung up
        finally:
            self.server.state.end(name)

    def stream(self, body, name, usage):
        question = body["messages"][-1]["content"]
        special = [word for word in ("HOLD", "FAIL", "BREAK", "LIMIT") if word in question]
        if special:
            words = FEW_WORDS
        elif "MARKDOWN" in question:
            words = MARKDOWN.split(" ")
        else:
            words = f"You said “{question}”, in message {len(body['messages'])}.".split(" ")
        chunk = {"id": name, "object": "chat.completion.chunk", "created": 0, "model": MODEL["id"]}
        self.send_event({**chunk, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}]})
        sequence = self.server.state.sequences[name]
        for number, word in enumerate(words):
            sequence["output"] += 1
            sequence["computed"] += 1
            text = word if number == 0 else f" {word}"
            self.send_event({**chunk, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]})
        if "HOLD" in special:
            select.select([self.connection], [], [], 60)
            raise BrokenPipeError
        if "BREAK" in special:
            self.wfile.flush()
            self.close_connection = True
            return
        if "FAIL" in special:
            self.send_event({"error": {"message": "The pool is on fire.", "type": "server_error", "param": None, "code": None}})
        else:
            reason = "length" if "LIMIT" in special else "stop"
            self.send_event({**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
            total = usage["prompt_tokens"] + len(words)
            self.send_event({**chunk, "choices": [], "usage": {**usage, "completion_tokens": len(words), "total_tokens": total}})
        self.send_event("[DONE]")
        self.wfile.write(b"0\r\n\r\n")


class Server(http.server.ThreadingHTTPServer):
    """Serves on a free port of loopback until it is closed."""
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, uplot):
        super().__init__(("127.0.0.1", 0), Connection)
        self.uplot, self.state = pathlib.Path(uplot), State()
        self.url = f"http://127.0.0.1:{self.server_port}/"
        self.thread = threading.Thread(target=self.serve_forever, daemon=True)
        self.thread.start()

    def handle_error(self, request, client_address):
        pass  # a client that hung up

    def close(self):
        self.shutdown()
        self.server_close()
        self.thread.join()
