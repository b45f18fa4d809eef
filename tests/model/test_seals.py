"""Reasoning that its provider wants back keeps its form and its place, through both faces, a store and a run of the agent."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.agent.neighbours import ScriptedModels, ScriptedTools, agent, finish, role, tool_call
from tests.model.answering import unkept
from tests.model.responses.kept import sqlite
from tests.model.responses.service import over_dialect
from tests.model.scripted_dialect import ScriptedDialect
from tests.model.test_every_field import CHAT_NEEDED, RESPONSE_NEEDED, chat_over_responses, responses_over_chat, sent_by
from trivet.agent.v1 import agent_service_pb2
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.adapters.chat_flavors import COMPATIBLE
from trivet.model_service.adapters.openai_chat import OpenAIChat
from trivet.model_service.adapters.openai_responses import OpenAIResponses
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.seals import dialect_of, is_seal, open_seal, seal
from trivet.model_service.domain.turn import (
    Entry,
    Message,
    Reasoning,
    ReasoningDelta,
    ReasoningEnded,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
)
from trivet.model_service.faces.chat_request import parse_chat
from trivet.model_service.faces.responses_echo import begin
from trivet.model_service.faces.responses_request import parse

Json = dict[str, Any]

ONE, TWO, THREE = (seal("novel", "thinking", name) for name in ("one", "two", "three"))

THOUGHT: list[TurnEvent] = [ReasoningDelta("h"), ReasoningDelta("m"), ReasoningEnded(ONE)]
CALLS: list[TurnEvent] = [
    ReasoningEnded(TWO),
    ToolCallStarted(0, "c1", "add"),
    ToolCallDelta(0, "{}"),
    ReasoningEnded(THREE),
    ToolCallStarted(1, "c2", "add"),
    ToolCallDelta(1, "{}"),
    TurnFinished("tool_calls"),
]
TURN: list[TurnEvent] = [TurnStarted(), *THOUGHT, TextDelta("I add."), *CALLS]

SAID = (
    ("thought", "hm", ONE),
    ("said", "I add.", ""),
    ("thought", "", TWO),
    ("called", "c1", ""),
    ("thought", "", THREE),
    ("called", "c2", ""),
)
DETAILS = [
    {"type": "reasoning.text", "text": "hm", "signature": ONE, "format": "novel", "index": 0},
    {"type": "reasoning.encrypted", "data": TWO, "id": "c1", "format": "novel", "index": 1},
    {"type": "reasoning.encrypted", "data": THREE, "id": "c2", "format": "novel", "index": 2},
]
RESULTS = [{"role": "tool", "tool_call_id": call, "content": "3"} for call in ("c1", "c2")]
OUTPUTS = [{"type": "function_call_output", "call_id": call, "output": "3"} for call in ("c1", "c2")]


def plain(encoded: Any) -> Any:
    """What an encoded message is as JSON."""
    return orjson.loads(orjson.dumps(encoded))


def told(conversation: tuple[Entry, ...]) -> Iterator[tuple[str, str, str]]:
    """What the assistant's entries say, in order."""
    for entry in conversation:
        match entry:
            case Reasoning():
                yield "thought", entry.text, entry.encrypted
            case Message("assistant", (Text(text),)):
                yield "said", text, ""
            case ToolCall():
                yield "called", entry.id, ""


def chat_request(**more: Any) -> CreateChatCompletionRequest:
    return codec_for(CreateChatCompletionRequest).decode(CHAT_NEEDED | more)


def response_request(**more: Any) -> CreateResponseRequest:
    return codec_for(CreateResponseRequest).decode(RESPONSE_NEEDED | {"model": "a/m", "store": False} | more)


def test_a_seal_is_opened_by_its_own_dialect_only() -> None:
    sealed = seal("novel", "kind", "a:b")
    assert open_seal(sealed, "novel") == ("kind", "a:b")
    assert open_seal(sealed, "other") is None
    assert (is_seal(sealed), is_seal("gAAAA")) == (True, False)
    assert (dialect_of(sealed), dialect_of("gAAAA")) == ("novel", "")


async def test_a_chat_message_carries_thoughts_there_and_back() -> None:
    service = unkept(Registry([Provider("a", ScriptedDialect([TURN]))]))
    completion = await service.CreateChatCompletion(chat_request(), None)
    message: Json = codec_for(ChatCompletion).encode(completion)["choices"][0]["message"]
    message = plain(message)
    asked = chat_request(messages=[{"role": "user", "content": "hi"}, message, *RESULTS])

    assert message["reasoning_details"] == DETAILS
    assert tuple(told(parse_chat(asked, "m", stream=False).conversation)) == SAID


async def test_chunks_carry_each_thought_whole_where_it_stood() -> None:
    service = unkept(Registry([Provider("a", ScriptedDialect([[event] for event in TURN]))]))
    batches = [batch async for batch in service.StreamChatCompletion(chat_request(), None)]
    deltas = [chunk.choices[0].delta for batch in batches for chunk in batch.chunks]
    order = [
        "thought" if delta.reasoning_details else "said" if delta.content else "called"
        for delta in deltas
        if delta.reasoning_details or delta.content or (delta.tool_calls and delta.tool_calls[0].id)
    ]
    encoded = [plain(codec_for(ChatCompletionChunkBatch).encode(batch)) for batch in batches]
    details = [
        detail
        for batch in encoded
        for chunk in batch["chunks"]
        for detail in chunk["choices"][0]["delta"].get("reasoning_details", [])
    ]

    assert details == DETAILS
    assert order == [kind for kind, *_ in SAID]


async def test_a_response_carries_thoughts_there_and_back() -> None:
    dialect = ScriptedDialect([TURN])
    service = unkept(Registry([Provider("a", dialect)]))
    first = await service.CreateResponse(response_request(include=["reasoning.encrypted_content"]), None)
    output = plain(codec_for(type(first)).encode(first))["output"]
    asked = response_request(input=[{"role": "user", "content": "hi"}, *output, *OUTPUTS])

    assert tuple(told(parse(asked, "m", stream=False).conversation)) == SAID


async def test_a_stored_chain_carries_what_nobody_was_shown(tmp_path: Path) -> None:
    dialect = ScriptedDialect([TURN])
    async with sqlite(tmp_path) as store, over_dialect(dialect, store) as (alice, _):
        first = await alice.create(input="add")
        await alice.create(input=OUTPUTS, previous_response_id=first["id"])

    assert not any("encrypted_content" in item for item in first["output"])
    assert tuple(told(dialect.asked[1].conversation)) == SAID


async def test_thoughts_that_wait_behind_a_call_stay_apart() -> None:
    mixed = [TurnStarted(), ToolCallStarted(0, "c1", "add"), *THOUGHT, ReasoningEnded(TWO), TurnFinished("tool_calls")]
    service = unkept(Registry([Provider("a", ScriptedDialect([mixed]))]))
    response = await service.CreateResponse(response_request(include=["reasoning.encrypted_content"]), None)

    assert [item.reasoning.encrypted_content for item in response.output] == ["", ONE, TWO]


async def test_a_run_hands_thoughts_back_with_the_calls() -> None:
    detail = {"type": "reasoning.text", "text": "hm", "signature": ONE, "index": 0}
    thought = {"choices": [{"index": 0, "delta": {"reasoning_content": "hm", "reasoning_details": [detail]}}]}
    models = ScriptedModels([[role(), thought, tool_call(0, "search", "{}"), finish("tool_calls")], [role(), finish("stop")]])
    asked = {**CHAT_NEEDED, "mcp_servers": [{"integration_fqn": "files"}]}
    async with agent(models, ScriptedTools({"files": ["search"]})) as stub:
        request = codec_for(agent_service_pb2.CreateAgentResponseRequest).decode(asked)
        completion = await stub.CreateAgentResponse(request)
    [second] = [message.assistant for message in models.requests[1].messages if message.HasField("assistant")]
    shown = plain(codec_for(ChatCompletion).encode(completion))["messages"][0]

    assert [plain(codec_for(type(second)).encode(second))["reasoning_details"], shown["reasoning_details"]] == [[detail]] * 2


@pytest.mark.parametrize(
    ("detail", "expected"),
    [
        ({"type": "reasoning.text", "text": "hm", "signature": "s"}, Reasoning("hm", encrypted="s")),
        ({"type": "reasoning.text", "text": "hm", "signature": None}, Reasoning("hm")),
        ({"type": "reasoning.summary", "summary": "sum"}, Reasoning(summary=("sum",))),
        ({"type": "reasoning.encrypted", "data": "d", "id": "gone"}, Reasoning(encrypted="d")),
    ],
)
def test_details_of_others_are_read(detail: Json, expected: Reasoning) -> None:
    asked = chat_request(messages=[{"role": "assistant", "content": "a", "reasoning_details": [detail]}])
    [thought, _] = parse_chat(asked, "m", stream=False).conversation
    assert isinstance(thought, Reasoning)
    assert (thought.text, thought.summary, thought.encrypted) == (expected.text, expected.summary, expected.encrypted)


@pytest.mark.parametrize("detail", [{"type": "novel"}, {"type": "reasoning.text"}, "hm", 1])
def test_details_of_no_known_form_are_refused_by_name(detail: Any) -> None:
    asked = chat_request(messages=[{"role": "assistant", "content": "a", "reasoning_details": [detail]}])
    with pytest.raises(UnsupportedParameter) as refused:
        parse_chat(asked, "m", stream=False)
    assert refused.value.param == "messages[0].reasoning_details[0]"


# ---- other dialects pass over it -----------------------------------------------------------------------------------


def handed_back(*reasoning: Json) -> Json:
    return {"input": [*reasoning, {"role": "user", "content": "hi"}]}


SEALED = {"type": "reasoning", "summary": [], "encrypted_content": ONE}
SEALED_TEXT = SEALED | {"content": [{"type": "reasoning_text", "text": "hm"}]}


def test_openai_chat_passes_over_seals_and_refuses_what_is_none() -> None:
    way = responses_over_chat(COMPATIBLE)
    assert way(RESPONSE_NEEDED | handed_back(SEALED))["messages"] == [{"role": "user", "content": "hi"}]
    assert ONE not in str(way(RESPONSE_NEEDED | handed_back(SEALED_TEXT)))
    with pytest.raises(UnsupportedParameter):
        way(RESPONSE_NEEDED | handed_back(SEALED | {"encrypted_content": "gAAAA"}))


def test_openai_chat_does_not_pass_seals_through() -> None:
    other = {"type": "reasoning.encrypted", "data": "openrouters"}
    message = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
    request = chat_request(messages=[message | {"reasoning_details": [*DETAILS, other]}])
    body = plain(sent_by(lambda http: OpenAIChat(http).create_chat_completion(request, "m")))

    assert body["messages"] == [message | {"reasoning_details": [other]}]
    assert len(request.messages[0].assistant.reasoning_details) == 4


def test_openai_responses_passes_over_seals_and_takes_what_is_none() -> None:
    request = response_request(**handed_back(SEALED, SEALED_TEXT, SEALED | {"encrypted_content": "gAAAA"}))
    body = plain(sent_by(lambda http: OpenAIResponses(http).create_response(request, "m", begin(request, "a"))))
    thoughts = [item for item in body["input"] if item.get("type") == "reasoning"]

    assert [thought.get("encrypted_content") for thought in thoughts] == [None, "gAAAA"]
    assert thoughts[0]["content"][0]["text"] == "hm"


def test_chat_over_openai_responses_passes_over_seals_and_takes_what_is_none() -> None:
    other = {"type": "reasoning.encrypted", "data": "gAAAA"}
    message = {"role": "assistant", "content": "a", "reasoning_details": [*DETAILS, other]}
    body = chat_over_responses(CHAT_NEEDED | {"messages": [message]})
    thoughts = [item for item in body["input"] if item.get("type") == "reasoning"]

    assert [thought.get("encrypted_content") for thought in thoughts] == [None, "gAAAA"]
