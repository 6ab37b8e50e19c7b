"""LangChain's OpenAI chat model against a server with a tiny random model: one look at each thing that it does."""

import unittest

from cabinet import SECONDS
from jsonschema import Draft202012Validator
from langchain_core.messages import HumanMessage, SystemMessage, ToolMessage
from langchain_openai import ChatOpenAI
from openai_client import WEATHER
from pydantic import BaseModel, Field
from served import ServedTest


class Point(BaseModel):
    x: int = Field(ge=0, le=9)
    y: int = Field(ge=0, le=9)


class LangChain(ServedTest):
    def test_everything_once(self):
        model = ChatOpenAI(model="tiny", base_url=self.server.url + "/v1", api_key="none", max_retries=0, timeout=SECONDS, seed=3, max_tokens=400)
        conversation = [SystemMessage("Be brief."), HumanMessage("Hello")]
        answer = model.invoke(conversation)
        self.assertEqual(answer.usage_metadata["output_tokens"], answer.response_metadata["token_usage"]["completion_tokens"])
        self.assertGreater(answer.usage_metadata["input_tokens"], 10)
        chunks = list(model.stream(conversation))
        self.assertGreater(len(chunks), 10)
        self.assertEqual("".join(chunk.content for chunk in chunks), answer.content)
        self.assertEqual([each.content for each in model.batch([conversation] * 3)], [answer.content] * 3)

        bound = model.bind_tools([WEATHER], tool_choice="get_weather")
        asked = bound.invoke(conversation)
        for call in asked.tool_calls:
            self.assertEqual(call["name"], "get_weather")
            Draft202012Validator(WEATHER["function"]["parameters"]).validate(call["args"])
        results = [ToolMessage("Sunny", tool_call_id=call["id"]) for call in asked.tool_calls]
        self.assertGreater(len(results), 0)
        after = model.bind_tools([WEATHER]).invoke([*conversation, asked, *results])
        self.assertGreater(after.usage_metadata["input_tokens"], answer.usage_metadata["input_tokens"])

        self.assertIsInstance(model.with_structured_output(Point, method="json_schema").invoke(conversation), Point)
        self.assertIsInstance(model.with_structured_output(Point, method="function_calling").invoke(conversation), Point)


if __name__ == "__main__":
    unittest.main(verbosity=2)
