"""The official openai package for Python against a server with a tiny random model: what is asked is what comes back."""

import concurrent.futures
import json
import math
import unittest

import openai
from jsonschema import Draft202012Validator
from openai_client import TOOLS, client, parameters_of, user
from served import CONTEXT, ServedTest
from serving import Server

BLOCK_TOKENS = 32
GOES_ON = {"ignore_eos": True}  # a random model ends now and then, whatever it was about to say
LONG = "All work and no play makes Jack a dull boy. " * 5


class OpenAI(ServedTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = client(cls.server)
        cls.addClassCleanup(cls.client.close)

    def chat(self, text="Hello", n_tokens=24, **options):
        return self.client.chat.completions.create(model="tiny", messages=user(text), max_tokens=n_tokens, **options)

    def text(self, *arguments, **options):
        return self.chat(*arguments, **options).choices[0].message.content

    def tokens(self, prompt):
        return self.server.ask("/tokenize", {"prompt": prompt})[1]["tokens"]

    def n_prompt_tokens(self, text):
        status, answer = self.server.ask("/tokenize", {"messages": user(text)})
        self.assertEqual(status, 200)
        return answer["count"]


class Chat(OpenAI):
    def test_models(self):
        models = self.client.models.list().data
        self.assertEqual([(model.id, model.object, model.max_model_len) for model in models], [("tiny", "model", CONTEXT)])

    def test_one_model(self):
        self.assertEqual(self.client.models.retrieve("tiny"), self.client.models.list().data[0])
        for other in ("large", "tin", "tinyy", "tiny/", "tiny\0", "%74iny", "tin%zz"):
            with self.assertRaises(openai.NotFoundError) as caught:
                self.client.models.retrieve(other)
            self.assertEqual((caught.exception.code, caught.exception.param), ("model_not_found", "model"), other)

    def test_one_model_whose_name_is_a_path(self):
        name = "some one/tiny%41:Q8_0é"
        with Server("--model-name", name) as server, client(server) as openai_client:
            self.assertEqual(openai_client.models.retrieve(name).id, name)
            self.assertEqual(server.get("/v1/models/some%20one/tiny%2541%3aQ8_0%C3%A9")["id"], name)

    def test_plain(self):
        answer = self.chat(temperature=0)
        choice = answer.choices[0]
        self.assertEqual((answer.object, answer.model, len(answer.choices)), ("chat.completion", "tiny", 1))
        self.assertEqual((choice.index, choice.message.role, choice.finish_reason), (0, "assistant", "length"))
        self.assertGreater(len(choice.message.content), 0)
        self.assertIsNone(choice.message.tool_calls)
        self.assertIsNone(choice.logprobs)
        self.assertEqual(answer.usage.prompt_tokens, self.n_prompt_tokens("Hello"))
        self.assertEqual(answer.usage.completion_tokens, 24)
        self.assertEqual(answer.usage.total_tokens, answer.usage.prompt_tokens + 24)

    def test_a_conversation_with_all_kinds_of_messages(self):
        messages = [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "One"}, {"type": "text", "text": "Two"}]},
            {"role": "assistant", "content": "Yes"},
            {"role": "user", "content": "Three", "name": "alice"},
        ]
        answer = self.client.chat.completions.create(model="tiny", messages=messages, max_completion_tokens=5, temperature=0)
        self.assertEqual(answer.usage.completion_tokens, 5)
        messages[1]["content"], messages[0]["role"] = "One\nTwo", "system"
        same = self.client.chat.completions.create(model="tiny", messages=messages, max_completion_tokens=5, temperature=0)
        self.assertEqual(same.choices[0].message.content, answer.choices[0].message.content)
        self.assertEqual(same.usage.prompt_tokens, answer.usage.prompt_tokens)

    def test_a_stream_is_the_same_text(self):
        whole = self.chat(n_tokens=80, seed=7)
        with self.chat(n_tokens=80, seed=7, stream=True) as stream:
            chunks = list(stream)
        self.assertEqual({chunk.object for chunk in chunks}, {"chat.completion.chunk"})
        self.assertEqual(len({chunk.id for chunk in chunks}), 1)
        self.assertEqual(chunks[0].choices[0].delta.role, "assistant")
        self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in chunks), whole.choices[0].message.content)
        self.assertGreater(sum(bool(chunk.choices[0].delta.content) for chunk in chunks), 20)
        self.assertEqual([chunk.choices[0].finish_reason for chunk in chunks if chunk.choices[0].finish_reason], ["length"])
        self.assertEqual([chunk.usage for chunk in chunks if chunk.usage], [])

    def test_a_stream_tells_its_usage_if_asked(self):
        usage = self.chat(seed=7).usage
        with self.chat(seed=7, stream=True, stream_options={"include_usage": True}) as stream:
            chunks = list(stream)
        self.assertEqual(chunks[-1].choices, [])
        told = chunks[-1].usage
        self.assertEqual((told.prompt_tokens, told.completion_tokens, told.total_tokens),
                         (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens))
        self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_the_stream_helper(self):
        """Which assembles the message by itself, and is strict about the order of events."""
        whole = self.chat(seed=3, n_tokens=3000)
        self.assertEqual(whole.choices[0].finish_reason, "stop")
        with self.client.chat.completions.stream(model="tiny", messages=user("Hello"), max_tokens=3000, seed=3) as stream:
            deltas = [event.delta for event in stream if event.type == "content.delta"]
            final = stream.get_final_completion()
        self.assertEqual("".join(deltas), whole.choices[0].message.content)
        self.assertEqual(final.choices[0].message.content, whole.choices[0].message.content)

    def test_a_seed_is_a_text(self):
        self.assertEqual(self.text(seed=1), self.text(seed=1))
        self.assertEqual(len({self.text(seed=seed) for seed in range(6)}), 6)
        self.assertEqual(len({self.text(extra_body=GOES_ON) for _ in range(4)}), 4)  # no seed: each time another

    def test_a_seed_is_a_text_among_others_too(self):
        requests = [(f"Question {i % 5}", 40 + 3 * i, i % 7) for i in range(32)]
        alone = [self.text(text, n, seed=seed) for text, n, seed in requests]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(lambda request: self.text(request[0], request[1], seed=request[2]), requests))
        self.assertEqual(together, alone)
        self.assertGreater(len(set(alone)), 20)

    def test_several_answers(self):
        choices = self.chat(n=4, seed=3).choices
        self.assertEqual([choice.index for choice in choices], [0, 1, 2, 3])
        texts = [choice.message.content for choice in choices]
        self.assertEqual(len(set(texts)), 4)
        self.assertEqual(texts[0], self.text(seed=3))
        streamed = [""] * 4
        with self.chat(n=4, seed=3, stream=True) as stream:
            for chunk in stream:
                streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
        self.assertEqual(streamed, texts)

    def test_stop_strings(self):
        whole = self.text(n_tokens=120, seed=5)
        stop = whole[40:43]  # over the borders of tokens: one character each
        expected = whole[:whole.index(stop)]
        for stops in (stop, ["never in it", stop]):
            answer = self.chat(n_tokens=120, seed=5, stop=stops)
            self.assertEqual(answer.choices[0].message.content, expected)
            self.assertEqual(answer.choices[0].finish_reason, "stop")
        self.assertLess(answer.usage.completion_tokens, 120)
        with self.chat(n_tokens=120, seed=5, stop=stop, stream=True) as stream:
            self.assertEqual("".join(chunk.choices[0].delta.content or "" for chunk in stream), expected)

    def test_logprobs(self):
        answer = self.chat(seed=2, logprobs=True, top_logprobs=5, n_tokens=40)
        entries = answer.choices[0].logprobs.content
        self.assertEqual(len(entries), 40)
        spelled = b"".join(bytes(entry.bytes) for entry in entries if entry.bytes is not None)
        self.assertEqual(spelled.decode(errors="replace"), answer.choices[0].message.content)
        for entry in entries:
            tops = [top.logprob for top in entry.top_logprobs]
            self.assertEqual(len(tops), 5)
            self.assertEqual(tops, sorted(tops, reverse=True))
            self.assertLessEqual(sum(map(math.exp, tops)), 1.0001)
            self.assertLessEqual(entry.logprob, tops[0])
            same = [top.logprob for top in entry.top_logprobs if (top.token, top.bytes) == (entry.token, entry.bytes)]
            self.assertIn(same, ([], [entry.logprob]))
        with self.chat(seed=2, logprobs=True, top_logprobs=5, n_tokens=40, stream=True) as stream:
            streamed = [entry for chunk in stream if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content]
        self.assertEqual(streamed, entries)

    def test_logprobs_of_the_likeliest(self):
        for entry in self.chat(temperature=0, logprobs=True, top_logprobs=2).choices[0].logprobs.content:
            self.assertEqual(entry.logprob, entry.top_logprobs[0].logprob)

    def test_sampling_options(self):
        greedy = self.text(temperature=0)
        self.assertNotEqual(greedy, self.text(seed=1))
        for options in ({"top_p": 1e-6}, {"extra_body": {"top_k": 1}}, {"extra_body": {"min_p": 1.0}}):
            self.assertEqual(self.text(seed=1, **options), greedy, options)
        letter = self.tokens("z")[-1]
        self.assertEqual(self.text(temperature=0, logit_bias={letter: 100}), "z" * 24)
        varied = self.text(temperature=0, logit_bias={letter: 100}, n_tokens=4, frequency_penalty=2, presence_penalty=2)
        self.assertEqual(varied, "z" * 4)  # the bias is far above all penalties
        repeated = self.text("x", 60, temperature=0)
        self.assertNotEqual(self.text("x", 60, temperature=0, frequency_penalty=2), repeated)

    def test_it_ends_where_the_model_ends_unless_told_not_to(self):
        ended = self.chat(n_tokens=3000, seed=3)
        self.assertEqual(ended.choices[0].finish_reason, "stop")
        n = ended.usage.completion_tokens
        self.assertLess(n, 3000)
        longer = self.chat(n_tokens=n + 20, seed=3, extra_body=GOES_ON)
        self.assertEqual((longer.choices[0].finish_reason, longer.usage.completion_tokens), ("length", n + 20))
        self.assertTrue(longer.choices[0].message.content.startswith(ended.choices[0].message.content[:-1]))
        least = self.chat(n_tokens=3000, seed=3, extra_body={"min_tokens": n + 10})
        self.assertGreaterEqual(least.usage.completion_tokens, n + 10)

    def test_the_context_is_the_limit(self):
        answer = self.chat("x" * (CONTEXT - 200), None, seed=1, extra_body=GOES_ON)
        self.assertEqual(answer.choices[0].finish_reason, "length")
        self.assertEqual(answer.usage.total_tokens, CONTEXT)

    def test_what_was_cached_is_told(self):
        for i, again in ((1, False), (1, True), (2, False)):  # the text differs from its first letter on
            answer = self.chat(f"{i}{LONG}", seed=1)
            cached = answer.usage.prompt_tokens_details.cached_tokens
            if again:
                n_sealed = (answer.usage.total_tokens - 1) // BLOCK_TOKENS * BLOCK_TOKENS  # what the first left behind
                self.assertEqual(cached, min(answer.usage.prompt_tokens - 1, n_sealed))
                self.assertEqual(answer.choices[0].message.content, text)
            else:
                self.assertLessEqual(cached, BLOCK_TOKENS)
            text = answer.choices[0].message.content

    def test_answers_of_one_prompt_share_it(self):
        answer = self.chat("n" + LONG, n=8, seed=1)
        self.assertEqual(answer.usage.completion_tokens, 8 * 24)
        self.assertLess(answer.usage.prompt_tokens_details.cached_tokens, BLOCK_TOKENS + 1)

    def test_going_on_with_the_final_message(self):
        messages = [*user("Hello"), {"role": "assistant", "content": "abc"}]
        body = {"continue_final_message": True, "add_generation_prompt": False}
        answer = self.client.chat.completions.create(model="tiny", messages=messages, max_tokens=6, temperature=0, extra_body=body)
        prompt = self.chat(n_tokens=1).usage.prompt_tokens
        self.assertEqual(answer.usage.prompt_tokens, prompt + len(self.tokens("abc")))  # nothing is closed, nothing begun
        echoed = self.client.chat.completions.create(model="tiny", messages=messages, max_tokens=6, temperature=0,
                                                     extra_body={**body, "echo": True})
        self.assertEqual(echoed.choices[0].message.content, "abc" + answer.choices[0].message.content)


class Tools(OpenAI):
    def check_call(self, call):
        self.assertEqual(call.type, "function")
        self.assertRegex(call.id, r"\Acall_\w+\Z")
        Draft202012Validator(parameters_of(call.function.name)).validate(json.loads(call.function.arguments))
        return call.function.name

    def test_required(self):
        names = set()
        for seed in range(12):
            choice = self.chat(n_tokens=400, tools=TOOLS, tool_choice="required", seed=seed, temperature=2,
                               parallel_tool_calls=False).choices[0]
            self.assertEqual(choice.finish_reason, "tool_calls")
            self.assertIsNone(choice.message.content)
            self.assertEqual(len(choice.message.tool_calls), 1)
            names.add(self.check_call(choice.message.tool_calls[0]))
        self.assertEqual(names, {"get_weather", "get_time"})

    def test_named(self):
        for name in ("get_weather", "get_time"):
            choice = self.chat(n_tokens=400, tools=TOOLS, tool_choice={"type": "function", "function": {"name": name}}, seed=1).choices[0]
            self.assertEqual(choice.finish_reason, "tool_calls")
            self.assertEqual({self.check_call(call) for call in choice.message.tool_calls}, {name})

    def test_streamed(self):
        options = {"n_tokens": 400, "tools": TOOLS, "tool_choice": "required", "seed": 4}
        whole = self.chat(**options).choices[0]
        calls = {}
        with self.chat(**options, stream=True) as stream:
            for chunk in stream:
                choice = chunk.choices[0]
                self.assertFalse(choice.delta.content)
                for delta in choice.delta.tool_calls or []:
                    call = calls.setdefault(delta.index, {"name": delta.function.name, "arguments": "", "n": 0})
                    call["arguments"] += delta.function.arguments or ""
                    call["n"] += 1
        self.assertEqual(choice.finish_reason, "tool_calls")
        self.assertEqual([(calls[i]["name"], calls[i]["arguments"]) for i in sorted(calls)],
                         [(call.function.name, call.function.arguments) for call in whole.message.tool_calls])
        self.assertGreater(calls[0]["n"], 3)

    def test_auto_and_none(self):
        """A random model does not call: its text is text, also with tools in the prompt."""
        auto = self.chat(tools=TOOLS, tool_choice="auto", seed=1)
        by_default = self.chat(tools=TOOLS, seed=1)
        self.assertEqual(auto.choices[0].message.content, by_default.choices[0].message.content)
        self.assertIsNone(auto.choices[0].message.tool_calls)
        none = self.chat(tools=TOOLS, tool_choice="none", seed=1)
        self.assertEqual(none.choices[0].message.content, self.text(seed=1))
        self.assertEqual(none.usage.prompt_tokens, self.n_prompt_tokens("Hello"))
        self.assertGreater(auto.usage.prompt_tokens, none.usage.prompt_tokens + 300)

    def test_results_go_back(self):
        call = self.chat(n_tokens=400, tools=TOOLS, tool_choice="required", seed=1).choices[0].message
        messages = [*user("Hello"), call, *({"role": "tool", "tool_call_id": each.id, "content": "Sunny"} for each in call.tool_calls)]
        answer = self.client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS, max_tokens=8, extra_body=GOES_ON)
        self.assertEqual(answer.usage.completion_tokens, 8)
        messages[-1] = {**messages[-1], "content": "Sunny!"}
        longer = self.client.chat.completions.create(model="tiny", messages=messages, tools=TOOLS, max_tokens=8, extra_body=GOES_ON)
        self.assertEqual(longer.usage.prompt_tokens, answer.usage.prompt_tokens + 1)


class Completions(OpenAI):
    def complete(self, prompt="Once upon a time", **options):
        return self.client.completions.create(model="tiny", prompt=prompt, **{"max_tokens": 20, **options})

    def test_plain(self):
        answer = self.complete(temperature=0, extra_body=GOES_ON)
        self.assertEqual((answer.object, answer.choices[0].finish_reason), ("text_completion", "length"))
        self.assertEqual((answer.usage.prompt_tokens, answer.usage.completion_tokens), (len(self.tokens("Once upon a time")), 20))
        self.assertEqual(self.client.completions.create(model="tiny", prompt="x", extra_body=GOES_ON).usage.completion_tokens, 16)

    def test_ids_are_the_same_prompt(self):
        self.assertEqual(self.complete(self.tokens("Once upon a time"), temperature=0).choices[0].text, self.complete(temperature=0).choices[0].text)

    def test_several_prompts(self):
        prompts = ["One", "Two", "Three"]
        alone = [self.complete(prompt, temperature=0).choices[0].text for prompt in prompts]
        answer = self.complete(prompts, temperature=0)
        self.assertEqual([choice.text for choice in answer.choices], alone)
        self.assertEqual([choice.index for choice in answer.choices], [0, 1, 2])

    def test_streamed(self):
        whole = self.complete(n=2, seed=1)
        texts = ["", ""]
        with self.complete(n=2, seed=1, stream=True, stream_options={"include_usage": True}) as stream:
            for chunk in stream:
                for choice in chunk.choices:
                    texts[choice.index] += choice.text
        self.assertEqual(texts, [choice.text for choice in whole.choices])
        self.assertEqual(chunk.usage.completion_tokens, 40)

    def test_echo_with_logprobs(self):
        ids = self.tokens("Once upon a time")
        answer = self.complete(echo=True, logprobs=2, temperature=0, max_tokens=4, extra_body=GOES_ON).choices[0]
        self.assertTrue(answer.text.startswith("Once upon a time"))
        columns = answer.logprobs
        self.assertEqual("".join(columns.tokens[:len(ids)]), "Once upon a time")
        self.assertEqual([len(column) for column in (columns.tokens, columns.token_logprobs, columns.top_logprobs, columns.text_offset)],
                         [len(ids) + 4] * 4)
        self.assertEqual([answer.text[offset:].startswith(token) for offset, token in zip(columns.text_offset, columns.tokens[:len(ids)])],
                         [True] * len(ids))
        self.assertIsNone(columns.token_logprobs[0])
        self.assertIsNone(columns.top_logprobs[0])
        # What follows in a prompt is as likely as if it were generated.
        again = self.complete(ids[:-1], logprobs=2, max_tokens=1, temperature=0).choices[0].logprobs
        self.assertEqual(max(again.top_logprobs[0].values()), max(columns.top_logprobs[len(ids) - 1].values()))
        only_prompt = self.complete(echo=True, logprobs=1, max_tokens=0)
        self.assertEqual((only_prompt.choices[0].text, only_prompt.usage.completion_tokens), ("Once upon a time", 0))

    def test_best_of(self):
        many = self.complete(n=5, seed=1, logprobs=0).choices
        best = max(many, key=lambda choice: sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs))
        answer = self.complete(best_of=5, seed=1)
        self.assertEqual([choice.text for choice in answer.choices], [best.text])
        self.assertEqual(answer.usage.completion_tokens, 100)


class Responses(OpenAI):
    def respond(self, text="Hello", **options):
        return self.client.responses.create(model="tiny", input=text, **{"max_output_tokens": 20, **options})

    def test_plain(self):
        answer = self.respond(temperature=0)
        self.assertEqual((answer.object, answer.status, answer.incomplete_details.reason), ("response", "incomplete", "max_output_tokens"))
        self.assertEqual(answer.output_text, self.text(n_tokens=20, temperature=0))
        self.assertEqual((answer.usage.input_tokens, answer.usage.output_tokens), (self.n_prompt_tokens("Hello"), 20))

    def test_a_conversation(self):
        items = [{"role": "user", "content": "One"}, {"role": "assistant", "content": "Two"},
                 {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Three"}]}]
        answer = self.respond(items, instructions="Be brief.", temperature=0)
        messages = [{"role": "system", "content": "Be brief."}, *items[:2], *user("Three")]
        same = self.client.chat.completions.create(model="tiny", messages=messages, max_tokens=20, temperature=0)
        self.assertEqual(answer.output_text, same.choices[0].message.content)
        self.assertEqual(answer.instructions, "Be brief.")

    def test_streamed(self):
        whole = self.respond(temperature=0).output_text
        with self.respond(temperature=0, stream=True) as stream:
            events = list(stream)
        kinds = [event.type for event in events]
        self.assertEqual(kinds[:4], ["response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"])
        self.assertEqual(kinds[-4:], ["response.output_text.done", "response.content_part.done", "response.output_item.done", "response.incomplete"])
        self.assertEqual(set(kinds[4:-4]), {"response.output_text.delta"})
        self.assertEqual("".join(event.delta for event in events if event.type == "response.output_text.delta"), whole)
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        self.assertEqual(events[-1].response.output_text, whole)

    def test_the_stream_helper(self):
        whole = self.respond(temperature=0)
        with self.client.responses.stream(model="tiny", input="Hello", max_output_tokens=20, temperature=0) as stream:
            text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        self.assertEqual(text, whole.output_text)

    def test_tools(self):
        tool = {"type": "function", "strict": True, **TOOLS[0]["function"]}
        answer = self.respond(tools=[tool], tool_choice="required", max_output_tokens=400, parallel_tool_calls=False)
        call = answer.output[0]
        self.assertEqual((answer.status, call.type, call.name), ("completed", "function_call", "get_weather"))
        Draft202012Validator(tool["parameters"]).validate(json.loads(call.arguments))
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}
        after = self.respond([{"role": "user", "content": "Hello"}, call, result], tools=[tool], max_output_tokens=8, extra_body=GOES_ON)
        self.assertEqual(after.usage.output_tokens, 8)

    def test_what_is_not_there(self):
        with self.assertRaises(openai.BadRequestError) as caught:
            self.respond(previous_response_id="resp_1")
        self.assertEqual(caught.exception.param, "previous_response_id")


if __name__ == "__main__":
    unittest.main(verbosity=2)
