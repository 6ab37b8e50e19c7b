"""A load of streaming chat requests, from raw sockets on one thread: two cores are shared with the server.

While requests run, bytes only get a time; they are read afterwards.
"""

import asyncio
import json
import random
import re
import time
from typing import NamedTuple

HOST = "127.0.0.1"
SECONDS = 600  # more, and nothing will come any more
WORDS = """a about after again all also always and another answer any are as at back be because been before between book both but
    by came can city come could day did different do does down each end even every eye far few find first for form found from get
    give go good great group had hand has have he head help her here high him his home house how if in into is it its just keep
    kind know large last learn leave left letter life light like line list little live long look made make man many may me mean
    might more most move much must my name near need never new next night no not now number of off often old on one only open or
    other our out over own page part people place plant point read right river room said same saw say school sea second see seem
    set she should show side small so some song soon sound spell stand start state still stop story study such sun take talk tell
    than that the their them then there these they thing think this those thought three through time to together too took tree
    turn two under until up us use very walk want was watch water way we well went were what when where which while white who why
    will with without word work world would write year you young your""".split()
CONTENT = re.compile(rb'"(?:content|text)":"(?=[^"])')
EVENT = re.compile(rb"data: (\{[^\n]*\})\r?\n")


def text(n_words, seed):
    """Words of one token each, most of them."""
    rng, words = random.Random(seed), []
    while len(words) < n_words:
        sentence = rng.choices(WORDS, k=rng.randint(6, 14))
        words += [sentence[0].capitalize(), *sentence[1:-1], sentence[-1] + "."]
    return " ".join(words[:n_words])


def chat(messages, max_tokens):
    return {"messages": messages, "max_tokens": max_tokens, "temperature": 0, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}


class Answer(NamedTuple):
    sent: float      # time, in seconds, as all of these
    arrived: list    # when each piece of text did
    usage: dict      # as the server says; empty if the answer was cut off

    def ttft(self):
        return self.arrived[0] - self.sent

    def gaps(self):
        """(when, how long) between pieces of text"""
        return [(after, after - before) for before, after in zip(self.arrived, self.arrived[1:])]


class Stream(asyncio.Protocol):
    """One request on a connection of its own."""

    def __init__(self, body):
        content = json.dumps(body).encode()
        self.request = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
                        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n").encode() + content
        loop = asyncio.get_running_loop()
        self.pieces, self.begun, self.ended = [], loop.create_future(), loop.create_future()
        self.sent = self.transport = None

    def connection_made(self, transport):
        self.transport = transport
        self.sent = time.monotonic()
        transport.write(self.request)

    def data_received(self, data):
        self.pieces.append((time.monotonic(), data))
        if not self.begun.done() and CONTENT.search(data):
            self.begun.set_result(None)

    def connection_lost(self, exc):
        for future in (self.begun, self.ended):
            if not future.done():
                future.set_result(None)

    async def open(self, port):
        await asyncio.get_running_loop().create_connection(lambda: self, HOST, port)
        return self

    async def finish(self):
        await asyncio.wait_for(self.ended, SECONDS)
        return self.answer()

    def hang_up(self):
        self.transport.abort()

    def answer(self):
        """What has come."""
        whole, ends, arrived, usage = b"".join(data for _, data in self.pieces), [], [], {}
        for _, data in self.pieces:
            ends.append(len(data) + (ends[-1] if ends else 0))
        if whole and not whole.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"the server says {whole[:400].decode(errors='replace')}")
        piece = 0
        for event in EVENT.finditer(whole):
            while ends[piece] < event.end():
                piece += 1
            if CONTENT.search(event[1]):
                arrived.append(self.pieces[piece][0])
            usage = json.loads(event[1]).get("usage") or usage if b'"usage":{' in event[1] else usage
        return Answer(self.sent, arrived, usage)


async def run_all(port, bodies, concurrency):
    """Answers, and the seconds that all took: as soon as one ends, the next begins."""
    waiting, answers = iter(bodies), []

    async def work():
        for body in waiting:
            answers.append(await (await Stream(body).open(port)).finish())

    begun = time.monotonic()
    await asyncio.gather(*(work() for _ in range(concurrency)))
    return answers, time.monotonic() - begun


async def beside_prompt(port, bodies, long_body, quiet_seconds):
    """Streams of `bodies` with a long prompt in their midst, and quiet before and after it: their answers as far as they
    came, the times at which the quiet began, the prompt was sent and its first token was there, and its answer."""
    streams = [await Stream(body).open(port) for body in bodies]
    await asyncio.gather(*(stream.begun for stream in streams))
    quiet = time.monotonic()
    await asyncio.sleep(quiet_seconds)
    prompt = await Stream(long_body).open(port)
    await asyncio.wait_for(prompt.begun, SECONDS)
    end = time.monotonic()
    answer = await prompt.finish()
    await asyncio.sleep(quiet_seconds)
    if any(stream.ended.done() for stream in streams):
        raise RuntimeError("a stream ended before the quiet after the long prompt did")
    for stream in streams:
        stream.hang_up()
    return [stream.answer() for stream in streams], quiet, prompt.sent, end, answer
