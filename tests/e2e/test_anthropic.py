"""The official anthropic package for Python against a server with a tiny random model."""

import json
import re
import unittest

import anthropic
from cabinet import SECONDS
from jsonschema import Draft202012Validator
from openai_client import TOOLS
from served import CONTEXT, ServedTest
from serving import Server

BLOCK_TOKENS = 32
GREEDY = {"extra_body": {"temperature": 0, "ignore_eos": True}}  # the package itself has no word for either any more


def tools():
    return [{"name": each["function"]["name"], "description": "A tool.", "input_schema": each["function"]["parameters"]} for each in TOOLS]


def client(server, key="none"):
    return anthropic.Anthropic(base_url=server.url, api_key=key, max_retries=0, timeout=SECONDS)


def user(text):
    return [{"role": "user", "content": text}]


class Messages(ServedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = client(cls.server)
        cls.addClassCleanup(cls.client.close)

    def message(self, text="Hello", n_tokens=24, **options):
        messages = user(text) if isinstance(text, str) else text
        return self.client.messages.create(model="tiny", messages=messages, max_tokens=n_tokens, **options)

    def openai(self, messages, n_tokens=24):
        """The same by the other API: an answer's text and its prompt's tokens."""
        status, answer = self.server.ask("/v1/chat/completions", {
            "messages": messages, "max_tokens": n_tokens, "temperature": 0, "ignore_eos": True})
        self.assertEqual(status, 200)
        return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]

    def test_models(self):
        model = self.client.models.retrieve("tiny")
        self.assertEqual((model.id, model.type, model.display_name), ("tiny", "model", "tiny"))
        self.assertEqual(model.created_at.timestamp(), model.created)
        self.assertEqual(list(self.client.models.list()), [model])
        with self.assertRaises(anthropic.NotFoundError) as caught:
            self.client.models.retrieve("large")
        self.assertEqual(caught.exception.body["error"]["type"], "not_found_error")
        self.assertEqual(caught.exception.body["type"], "error")

    def test_plain(self):
        answer = self.message(**GREEDY)
        self.assertEqual((answer.type, answer.role, answer.model, answer.stop_reason), ("message", "assistant", "tiny", "max_tokens"))
        self.assertEqual([block.type for block in answer.content], ["text"])
        text, n_prompt = self.openai(user("Hello"))
        self.assertEqual(answer.content[0].text, text)
        self.assertEqual((answer.usage.input_tokens + answer.usage.cache_read_input_tokens, answer.usage.output_tokens), (n_prompt, 24))

    def test_a_conversation(self):
        messages = [*user("One"), {"role": "assistant", "content": [{"type": "text", "text": "Two"}]},
                    {"role": "user", "content": [{"type": "text", "text": "Three"}, {"type": "text", "text": "Four"}]}]
        answer = self.message(messages, system="Be brief.", **GREEDY)
        same, _ = self.openai([{"role": "system", "content": "Be brief."}, *user("One"), {"role": "assistant", "content": "Two"},
                               *user("Three\nFour")])
        self.assertEqual(answer.content[0].text, same)

    def test_an_answer_that_is_begun(self):
        whole, n_prompt = self.openai(user("Hello"))
        answer = self.message([*user("Hello"), {"role": "assistant", "content": "abc"}], **GREEDY)
        n_abc = len(self.server.ask("/tokenize", {"prompt": "abc"})[1]["tokens"])
        self.assertEqual(answer.usage.input_tokens + answer.usage.cache_read_input_tokens, n_prompt + n_abc)
        self.assertFalse(answer.content[0].text.startswith("abc"))
        self.assertNotEqual(answer.content[0].text, whole)

    def test_streamed(self):
        whole = self.message(**GREEDY)
        with self.client.messages.stream(model="tiny", messages=user("Hello"), max_tokens=24, **GREEDY) as stream:
            text = "".join(stream.text_stream)
            final = stream.get_final_message()
        self.assertEqual(text, whole.content[0].text)
        self.assertEqual(final.content[0].text, text)
        self.assertEqual((final.stop_reason, final.usage.output_tokens), ("max_tokens", 24))
        self.assertEqual(final.usage.input_tokens + final.usage.cache_read_input_tokens,
                         whole.usage.input_tokens + whole.usage.cache_read_input_tokens)

    def test_events(self):
        with self.client.messages.create(model="tiny", messages=user("Hello"), max_tokens=24, stream=True, **GREEDY) as stream:
            kinds = [event.type for event in stream]
        self.assertEqual(kinds[:2] + kinds[-3:], ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(kinds[2:-3]), {"content_block_delta"})
        self.assertGreater(len(kinds), 20)

    def test_stop_sequences(self):
        whole = self.message(n_tokens=100, **GREEDY).content[0].text
        stop = whole[30:33]
        answer = self.message(n_tokens=100, stop_sequences=["never in it", stop], **GREEDY)
        self.assertEqual((answer.stop_reason, answer.stop_sequence), ("stop_sequence", stop))
        self.assertEqual(answer.content[0].text, whole[:whole.index(stop)])

    def test_the_end_of_a_turn(self):
        seeds = (self.message(n_tokens=2000, extra_body={"seed": seed}) for seed in range(4))
        self.assertIn("end_turn", {answer.stop_reason for answer in seeds})

    def check_use(self, block):
        schema = next(tool["input_schema"] for tool in tools() if tool["name"] == block.name)
        self.assertRegex(block.id, r"\Atoolu_\w+\Z")
        Draft202012Validator(schema).validate(block.input)

    def test_tools(self):
        answer = self.message(n_tokens=400, tools=tools(), tool_choice={"type": "any"}, extra_body={"seed": 1})
        self.assertEqual(answer.stop_reason, "tool_use")
        self.assertEqual({block.type for block in answer.content}, {"tool_use"})
        for block in answer.content:
            self.check_use(block)
        results = [{"type": "tool_result", "tool_use_id": block.id, "content": "Sunny"} for block in answer.content]
        after = self.message([*user("Hello"), {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}],
                             n_tokens=8, tools=tools(), extra_body={"ignore_eos": True})
        self.assertEqual(after.usage.output_tokens, 8)
        for name in ("get_time", "get_weather"):
            named = self.message(n_tokens=400, tools=tools(), extra_body={"seed": 1},
                                 tool_choice={"type": "tool", "name": name, "disable_parallel_tool_use": True})
            self.assertEqual([block.name for block in named.content], [name])
            self.check_use(named.content[0])

    def test_tools_streamed(self):
        options = {"max_tokens": 400, "tools": tools(), "tool_choice": {"type": "any"}, "extra_body": {"seed": 4}}
        whole = self.client.messages.create(model="tiny", messages=user("Hello"), **options)
        with self.client.messages.stream(model="tiny", messages=user("Hello"), **options) as stream:
            pieces = [event.partial_json for event in stream if event.type == "input_json"]
            final = stream.get_final_message()
        self.assertEqual([(block.name, block.input) for block in final.content], [(block.name, block.input) for block in whole.content])
        self.assertGreater(len(pieces), 3)
        self.assertEqual(json.loads("".join(pieces)) if len(final.content) == 1 else final.content[0].input, final.content[0].input)

    def test_what_was_cached_is_told(self):
        first, second = [self.message("A" + "ll work and no play. " * 12) for _ in range(2)]
        n_prompt = first.usage.input_tokens + first.usage.cache_read_input_tokens
        n_sealed = (n_prompt + first.usage.output_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS  # what the first left behind
        self.assertEqual(second.usage.cache_read_input_tokens, min(n_prompt - 1, n_sealed))
        self.assertEqual(second.usage.input_tokens, n_prompt - second.usage.cache_read_input_tokens)

    def test_errors(self):
        for kind, status, type, options in [
            (anthropic.BadRequestError, 400, "invalid_request_error", {"extra_body": {"temperature": 3}}),
            (anthropic.BadRequestError, 400, "invalid_request_error", {"messages": []}),
            (anthropic.BadRequestError, 400, "invalid_request_error", {"messages": user("x" * 2 * CONTEXT)}),
            (anthropic.NotFoundError, 404, "not_found_error", {"model": "large"}),
            (anthropic.RequestTooLargeError, 413, "request_too_large", {"messages": user("x" * (17 << 20))}),
            (anthropic.PermissionDeniedError, 403, "permission_error", {"extra_headers": {"Host": "example.org"}}),
            (anthropic.UnprocessableEntityError, 422, "invalid_request_error", {
                "tools": [{"name": "t", "input_schema": {"type": "nonsense"}}], "tool_choice": {"type": "any"}}),
        ]:
            with self.assertRaises(kind) as caught:
                self.client.messages.create(**{"model": "tiny", "messages": user("Hello"), "max_tokens": 5, **options})
            self.assertEqual(caught.exception.status_code, status)
            self.assertEqual((caught.exception.body["type"], caught.exception.body["error"]["type"]), ("error", type))

    def test_keys(self):
        with Server("--model-name", "tiny", environment={"CABINET_API_KEY": "right"}) as server:
            with client(server, "wrong") as wrong, self.assertRaises(anthropic.AuthenticationError) as caught:
                wrong.messages.create(model="tiny", messages=user("Hello"), max_tokens=5)
            self.assertEqual(caught.exception.body["error"]["type"], "authentication_error")
            with client(server, "right") as right:
                self.assertEqual(right.messages.create(model="tiny", messages=user("Hello"), max_tokens=5).role, "assistant")

    def test_leaving_a_stream(self):
        """All of them run at once, so that none can have ended by itself; a stream begins with its first token."""
        with Server("--model-name", "tiny", "--max-sequences", "20", model=self.server.command[2]) as server, client(server) as one:
            streams = [one.messages.create(model="tiny", messages=user("Hello"), max_tokens=4000, stream=True, extra_body={"ignore_eos": True})
                       for _ in range(20)]
            self.assertEqual(next(iter(streams[0])).type, "message_start")
            for stream in streams:
                stream.close()
            server.settled()
            self.assertGreaterEqual(len(re.findall("finish=cancelled", server.log_text())), 18)


if __name__ == "__main__":
    unittest.main(verbosity=2)
