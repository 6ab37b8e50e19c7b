"""The official openai package for Python when things go wrong: errors are its exceptions, and who leaves is forgotten."""

import asyncio
import re
import signal
import unittest

import openai
from cabinet import MODEL, SECONDS
from openai_client import client, user
from served import CONTEXT, ServedTest
from serving import Server

KEY = "key-of-a-test"
MANY_STEPS = {"max_tokens": 3000, "n": 128, "extra_body": {"ignore_eos": True}}  # which no machine is through with at once


def schema(schema):
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}


class Errors(ServedTest):
    def refused(self, kind, *, says, status=None, code=None, param=None, **options):
        with client(self.server) as openai_client, self.assertRaises(kind) as caught:
            openai_client.chat.completions.create(**{"model": "tiny", "messages": user("Hello"), "max_tokens": 5, **options})
        error = caught.exception
        self.assertRegex(error.body["message"], says)
        self.assertEqual((error.code, error.param), (code, param))
        self.assertEqual(error.status_code, status or error.status_code)
        return error

    def test_400(self):
        for param, options in {
            "messages": {"messages": []}, "n": {"n": 0}, "temperature": {"temperature": 2.5}, "top_logprobs": {"top_logprobs": 3},
            "max_tokens": {"max_tokens": "many"}, "stop": {"stop": [""]}, "tool_choice": {"tool_choice": "required"},
            "logit_bias": {"logit_bias": {"100000": 1}},
        }.items():
            error = self.refused(openai.BadRequestError, says=param, param=param, **options)
            self.assertEqual(error.type, "invalid_request_error")
        messages = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}]
        self.refused(openai.BadRequestError, says=r"messages\[0\].content\[0\].type .*vision", param="messages", messages=messages)

    def test_a_prompt_that_is_too_long(self):
        for n in (CONTEXT - 4, CONTEXT * 2, 4 << 20):  # what is far too long is not even encoded
            self.refused(openai.BadRequestError, says=f"token.*{CONTEXT}|{CONTEXT}.*token", code="context_length_exceeded", messages=user("x" * n))

    def test_403_names_of_others(self):
        self.refused(openai.PermissionDeniedError, says="Host", code="host_not_allowed", extra_headers={"Host": "example.org"})
        self.refused(openai.PermissionDeniedError, says="origin", code="origin_not_allowed", extra_headers={"Origin": "http://example.org"})

    def test_404(self):
        self.refused(openai.NotFoundError, says="'large'.*'tiny'", code="model_not_found", param="model", model="large")
        with client(self.server) as openai_client, self.assertRaises(openai.NotFoundError) as caught:
            openai_client.embeddings.create(model="tiny", input="x")
        self.assertEqual(caught.exception.code, "not_found")

    def test_413_and_415(self):
        self.refused(openai.APIStatusError, says="large|long|bytes", status=413, messages=user("x" * (17 << 20)))
        self.refused(openai.APIStatusError, says="Content-Type", status=415, extra_headers={"Content-Type": "text/plain"})

    def test_422_what_nothing_can_answer(self):
        for impossible, says in [({"type": "string", "enum": []}, "empty"), ({"type": "string", "pattern": "("}, "pattern|regex"),
                                 ({"not": {}}, "not"), ({"type": "nonsense"}, "nonsense")]:
            self.refused(openai.UnprocessableEntityError, says=says, response_format=schema(impossible))

    def test_an_error_in_a_stream_comes_before_it(self):
        self.refused(openai.BadRequestError, says="messages", param="messages", messages=[], stream=True)

    def test_the_server_goes_on(self):
        self.refused(openai.BadRequestError, says="n", param="n", n=0)
        with client(self.server) as openai_client:
            answer = openai_client.chat.completions.create(model="tiny", messages=user("Hello"), max_tokens=5, seed=1)
        self.assertGreater(answer.usage.completion_tokens, 0)


class Keys(ServedTest):
    def test_401(self):
        with Server("--model-name", "tiny", environment={"CABINET_API_KEY": KEY}, model=MODEL) as server:
            for wrong in ("wrong", KEY + "x", KEY[:-1], KEY.upper()):
                with client(server, wrong) as openai_client, self.assertRaises(openai.AuthenticationError) as caught:
                    openai_client.models.list()
                self.assertEqual((caught.exception.status_code, caught.exception.code), (401, "invalid_api_key"))
            with client(server, KEY) as openai_client:
                self.assertEqual(openai_client.models.list().data[0].id, "tiny")
            self.assertNotIn(KEY, server.log_text())


class Leaving(ServedTest):
    """Nothing is left of a request whose client went away; tearDown looks at the cache."""

    OPTIONS = ("--model-name", "tiny", "--max-sequences", "4", "--max-requests", "3")

    def n_under_way(self):
        return self.server.get("/debug/check")["requests"]

    def n_cancelled(self):
        self.server.settled()
        return len(re.findall(r"finish=cancelled why=", self.server.log_text()))

    def test_closing_a_stream(self):
        before = self.n_cancelled()
        with client(self.server) as openai_client:
            stream = openai_client.chat.completions.create(model="tiny", messages=user("Hello"), stream=True, **MANY_STEPS)
            for chunk in stream:
                if chunk.choices[0].delta.content:
                    break
            self.assertEqual(self.n_under_way(), 1)
            stream.close()
            self.assertEqual(self.n_cancelled(), before + 1)

    def test_closing_other_streams(self):
        before = self.n_cancelled()
        options = {"max_tokens": 4000, "extra_body": {"ignore_eos": True}, "n": 128}
        with client(self.server) as openai_client:
            completion = openai_client.completions.create(model="tiny", prompt="Hello", stream=True, **options)
            next(iter(completion))
            completion.close()
        self.assertEqual(self.n_cancelled(), before + 1)

    def test_cancelling_a_task(self):
        before = self.n_cancelled()

        async def ask_and_leave():
            async with client(self.server, kind=openai.AsyncOpenAI) as openai_client:
                task = asyncio.create_task(openai_client.chat.completions.create(model="tiny", messages=user("Hello"), **MANY_STEPS))
                while await asyncio.to_thread(self.n_under_way) == 0:
                    self.assertFalse(task.done())
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task

        asyncio.run(ask_and_leave())
        self.assertEqual(self.n_cancelled(), before + 1)

    def test_429_when_too_many_ask(self):
        with client(self.server) as openai_client:
            # A stream begins with its first token: one answer each, so that all three run and each has one.
            long = {**MANY_STEPS, "n": 1}
            streams = [openai_client.chat.completions.create(model="tiny", messages=user("Hello"), stream=True, **long) for _ in range(3)]
            with self.assertRaises(openai.RateLimitError) as caught:
                openai_client.chat.completions.create(model="tiny", messages=user("Hello"), max_tokens=5)
            self.assertEqual((caught.exception.code, caught.exception.type), ("queue_full", "rate_limit_error"))
            self.assertGreaterEqual(int(caught.exception.response.headers["Retry-After"]), 1)
            for stream in streams:
                stream.close()
            self.server.settled()
            answer = openai_client.chat.completions.create(model="tiny", messages=user("Hello"), max_tokens=5, seed=1)
            self.assertGreater(answer.usage.completion_tokens, 0)

    def test_a_crowd_of_which_half_leaves(self):
        """Those who stay get what they would have got alone."""
        async def one(openai_client, seed, leaves):
            stream = await openai_client.chat.completions.create(
                model="tiny", messages=user(f"Question {seed}"), seed=seed, max_tokens=60, stream=True)
            text = ""
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                if leaves and text:
                    await stream.close()
                    return None
            return text

        async def crowd():
            async with client(server, kind=openai.AsyncOpenAI) as openai_client:
                alone = [await one(openai_client, seed, False) for seed in range(0, 24, 2)]
                together = await asyncio.gather(*(one(openai_client, seed, seed % 2 == 1) for seed in range(24)))
                return alone, together[::2]

        with Server("--model-name", "tiny", "--max-sequences", "5") as server:
            alone, together = asyncio.run(crowd())
            server.settled()
        self.assertEqual(together, alone)


class Stopping(ServedTest):
    def test_503_while_a_stream_runs_on(self):
        """Who came before the signal has all of his answer; who comes behind it is told so. What is not read is more than
        the system keeps, so the stream cannot have ended before."""
        n, n_tokens = 4, 3000
        patient = ("--model-name", "tiny", "--drain-seconds", str(SECONDS))
        with Server(*patient, model=self.server.command[2]) as server, client(server) as openai_client:
            options = {"model": "tiny", "messages": user("Hello")}
            stream = openai_client.chat.completions.create(
                **options, stream=True, n=n, max_tokens=n_tokens, stream_options={"include_usage": True}, extra_body={"ignore_eos": True})
            next(stream)
            server.process.send_signal(signal.SIGTERM)
            while "server_drains" not in server.log_text():
                self.assertIsNone(server.process.poll())
            for is_streamed in (False, True):
                with self.assertRaises(openai.APIStatusError) as caught:
                    openai_client.chat.completions.create(**options, max_tokens=5, stream=is_streamed)
                error = caught.exception
                self.assertEqual((error.status_code, error.type, error.code), (503, "server_error", "draining"))
                self.assertGreaterEqual(int(error.response.headers["Retry-After"]), 1)
            chunks = list(stream)
            finished = [choice.finish_reason for chunk in chunks for choice in chunk.choices if choice.finish_reason]
            self.assertEqual(finished, ["length"] * n)
            self.assertEqual(chunks[-1].usage.completion_tokens, n * n_tokens)
            self.assertEqual(server.process.wait(SECONDS), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
