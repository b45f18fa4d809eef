"""Every field of both kinds of upstreams' answers, on each face, whole and streamed: it reaches the caller, or is listed here.

The answers are made from the descriptors, so a new field fails here until it is thought of.
"""

import re
from collections.abc import AsyncGenerator, Callable, Coroutine
from functools import partial
from typing import Any

import pytest
from google.protobuf.message import Message

from tests.model.answering import Answering, servicer, to_chat, to_responses
from tests.model.every_field import Probe, canonical, probes
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.kernel.catalogue import error_body
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response

Json = dict[str, Any]
Way = Callable[[Any], Coroutine[Any, Any, Any]]

IN_WHOLE = re.compile(r".*<response\.(created|queued|in_progress|completed|failed)>\.response|.*\.(response|item<\w+>)\.[a-z_].*")
BROKEN = re.compile(rb"broke its API|without a name|ended its stream")
_MADE = re.compile(rb'"(created|created_at|completed_at)":\d{10}|(chatcmpl-|resp_|msg_|rs_|fc_|ctc_|call_)[0-9a-f]{24,48}')


async def chat_whole(provider: str, answer: Json) -> list[Message]:
    http = Answering(answer, [])
    if provider == "responses":
        http = Answering({"id": "resp_1", "status": "completed", "output": []} | answer, [])
    return [await servicer(http).CreateChatCompletion(to_chat(provider), None)]


async def chat_streamed(provider: str, answer: Json) -> list[Message]:
    return await gathered(servicer(streaming(provider, answer)).StreamChatCompletion(to_chat(provider), None))


async def responses_whole(provider: str, answer: Json) -> list[Message]:
    http = Answering(answer, [])
    if provider == "responses":
        http = Answering({"id": "resp_1", "status": "completed", "output": []} | answer, [])
    return [await servicer(http).CreateResponse(to_responses(provider), None)]


async def responses_streamed(provider: str, answer: Json) -> list[Message]:
    return await gathered(servicer(streaming(provider, answer)).StreamResponse(to_responses(provider), None))


async def gathered(stream: AsyncGenerator[Message]) -> list[Message]:
    return [batch async for batch in stream]


def streaming(provider: str, answer: Json) -> Answering:
    """An upstream whose stream has these chunks or events."""
    if provider == "chat":
        head = {key: value for key, value in answer.items() if key != "chunks"}
        return Answering({}, [head | chunk for chunk in answer.get("chunks") or [{"choices": [{"index": 0, "delta": {}}]}]])
    given = answer.get("events", [])
    begins = any(event.get("type") in BEGINNINGS for event in given)
    return Answering({}, [*given, ENDED] if begins else [BEGUN, *OPENED, *given, ENDED])


BEGINNINGS = {"response.created", "response.queued", "response.in_progress"}
FUNCTION_CALL = {"type": "function_call", "call_id": "c", "name": "f", "arguments": ""}
CUSTOM_CALL = {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": ""}
BEGUN = {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_1"}}
OPENED = [
    {"type": "response.output_item.added", "output_index": index, "item": item}
    for index, item in enumerate([{"type": "message", "id": "m", "content": []}, FUNCTION_CALL, CUSTOM_CALL])
]
ENDED = {"type": "response.completed", "sequence_number": 0, "response": {"id": "resp_1", "status": "completed"}}

TOKEN = {"token": "x", "logprob": -0.5, "bytes": None, "top_logprobs": []}
CITATION = {"type": "url_citation", "url": "https://a.example", "title": "A", "start_index": 0, "end_index": 1}

NEEDED: Json = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "length"}],
    "choices[].finish_reason": "length",
    "choices[].message": {"role": "assistant", "content": "a"},
    "choices[].message.content": "a",
    "message.function_call.name": "f",
    "delta.function_call.name": "f",
    "prompt_tokens_details.cached_tokens": 1,
    "completion_tokens_details.reasoning_tokens": 1,
    "input_tokens_details.cached_tokens": 1,
    "output_tokens_details.reasoning_tokens": 1,
    "usage.input_tokens": 1,
    "usage.prompt_tokens": 1,
    "incomplete_details.reason": "content_filter",
    "logprobs.content": [TOKEN],
    "<function>.function": {"name": "f", "arguments": "{}"},
    "<function>.function.name": "f",
    "<custom>.custom": {"name": "f", "input": "x"},
    "<custom>.custom.name": "g",
    "chunks[].choices": [{"index": 0, "delta": {"content": "a"}}],
    "chunks[].choices[].delta.tool_calls[].function": {"name": "f", "arguments": "{}"},
    "chunks[].choices[].delta.tool_calls[].function.name": "f",
    "chunks[].choices[].delta.tool_calls[].custom.name": "g",
    "logprobs.refusal": [TOKEN],
    "status": "incomplete",
    "<response.incomplete>.response.status": "incomplete",
    "completed>.response": {"usage": {"input_tokens": 1}},
    "failed>.response": {"error": {"message": "m"}},
    "incomplete>.response": {"usage": {"input_tokens": 1}},
    "<message>.content": [{"type": "output_text", "text": "x"}],
    "<reasoning>.summary": [{"type": "summary_text", "text": "x"}],
    "<message>.role": "assistant",
    "function_call>.call_id": "c",
    "function_call>.name": "f",
    "custom_tool_call>.call_id": "c",
    "custom_tool_call>.name": "f",
    "function_call_arguments.delta>.output_index": 1,
    "custom_tool_call_input.delta>.output_index": 2,
    "logprobs[].token": "x",
    "logprobs[].logprob": -0.5,
    "annotation.added>.annotation": CITATION,
    "<error>.code": "invalid_prompt",
    "<error>.error.code": "invalid_prompt",
    "output_item.added>.item": FUNCTION_CALL,
    "output_item.done>.item": FUNCTION_CALL,
    "created>.sequence_number": 0,
    "queued>.sequence_number": 0,
    "response.in_progress>.sequence_number": 0,
    ">.response.created_at": 7,
    ">.response.metadata": {"k": "v"},
}
SAMPLES: Json = {
    "choices[].index": 1,
    "usage.total_tokens": 9,
    "store": False,
    ".response.store": False,
    "parallel_tool_calls": False,
    ".response.parallel_tool_calls": False,
}

OURS = "the service's own: the name that the caller used, the id and the time, and how it is kept"
COUNTED = "the service counts events, items, choices and calls itself"
BY_ITS_KIND = "what has it is always that"
AGENT_RUN = "what only an agent run adds"
NO_PLACE = "this face's contract has no place for it"
NEVER_ANSWERED = "no model's answer has it"
NOT_ASKED_FOR = "this face has no way to ask for it"
REPEATED = "what was asked, which the other face does not repeat"
SECRET = "what the caller keeps secret is not repeated"
SAID_ELSEWHERE = "another event says the same"
PADDING = "it hides sizes and means nothing"
ERROR = "a failed call is told by its error, and how by that error's kind"
EMPTY = "an object without keys"

CHAT_ON_CHAT = {
    r"model": OURS,
    r"choices\[\]\.message\.role": BY_ITS_KIND,
    r"choices\[\]\.message\.tool_calls\[\]\.index": COUNTED,
}

CHAT_ON_RESPONSES = {
    r"id|created|model": OURS,
    r"choices\[\]\.message\.role": BY_ITS_KIND,
    r"choices\[\]\.message\.tool_calls\[\]\.(index|type)": COUNTED,
    r"choices\[\]\.message\.tool_calls\[\](<\w+>)?\.tool_info|choices\[\]\.message\.tool_call_id|messages\[\]<\w+>|run": AGENT_RUN,
    r"choices\[\]\.message\.(audio|reasoning_details\[\])|system_fingerprint|choices\[\]\.logprobs\.refusal\[\]": NO_PLACE,
    r"usage\.prompt_tokens_details\.(audio|image|text)_tokens": NO_PLACE,
    r"usage\.completion_tokens_details\.(audio|text|accepted_prediction|rejected_prediction)_tokens": NO_PLACE,
    r"(.*\.)?novel": NO_PLACE,
    r"obfuscation": PADDING,
}

RESPONSES_ON_RESPONSES = {
    r"id|(.*\.)?created_at|model|provider|max_tool_calls": OURS,
    r"store|background|previous_response_id|conversation": OURS,
    r".*\.sequence_number": COUNTED,
    r"events\[\]<response\.incomplete>\.response\.status": BY_ITS_KIND,
    r"reasoning|text": EMPTY,
    r"tools\[\]<mcp>\.(authorization|headers\.k)": SECRET,
    r"events\[\]<error>(\.error)?\.novel": ERROR,
}

REQUESTED = (
    "instructions", "previous_response_id", "background", "store", "max_output_tokens", "max_tool_calls", "parallel_tool_calls",
    "temperature", "top_p", "top_logprobs", "presence_penalty", "frequency_penalty", "reasoning", "text", "tools", "tool_choice",
    "truncation", "metadata", "user", "safety_identifier", "prompt_cache_key", "prompt_cache_retention", "prompt_cache_options",
)  # fmt: skip

RESPONSES_ON_CHAT = {
    r"id|model|provider|completed_at|.*\.(id|item_id)": OURS,
    r".*\.(sequence_number|output_index|content_index|summary_index|annotation_index)": COUNTED,
    r"error": ERROR,
    r"output\[\]<\w+>\.(role|status)": BY_ITS_KIND,
    r"(.*\.)?novel": NO_PLACE,
    r"output\[\]<(?!message>|reasoning>|function_call>|custom_tool_call>)\w+>.*": NO_PLACE,
    r"output\[\]<message>\.phase|output\[\]<reasoning>\.encrypted_content": NO_PLACE,
    r"usage\.input_tokens_details\.cache_write_tokens_details": NO_PLACE,
    r"moderation|input_transformations\[\]|tool_usage|access_programs|image|billing": NO_PLACE,
    r"output\[\]<\w+_call>\.(namespace|created_by|async|caller<\w+>)": NOT_ASKED_FOR,
    r"conversation|prompt|prompt_cache_diagnostics<\w+>": NOT_ASKED_FOR,
    r".*<(input_\w+|computer_screenshot|unknown)>(\.prompt_cache_breakpoint)?": NEVER_ANSWERED,
    r"output\[\]<reasoning>\.(summary|content)\[\]<(refusal|output_text)>.*": NEVER_ANSWERED,
    rf"({'|'.join(REQUESTED)})([.<\[].*)?": REPEATED,
    r".*\.obfuscation": PADDING,
    r"events\[\]<response\.output_item\.added>\.item<(?!function_call>|custom_tool_call>).*": SAID_ELSEWHERE,
    r"events\[\]<response\.output_item\.added>\.item<\w+_call>\.(arguments|input|status|async|caller.*|namespace|created_by)": (
        SAID_ELSEWHERE
    ),
    r"events\[\]<response\.incomplete>\.response\.(created_at|status)": SAID_ELSEWHERE,
    r"events\[\]<response\.(mcp|\w+_search|code_interpreter|image_generation|shell|apply_patch|compaction|audio)\w*\..*": NO_PLACE,
    r"events\[\]<response\.[\w.]+(_part\.added|\.done)>.*": SAID_ELSEWHERE,
}

REFUSED = {"choices[].message.tool_calls[]<unknown>", "output[]<message>.content<text>"}
"""What a turn cannot express is a fault of the upstream's, which its caller is told of."""

PATHS: dict[str, tuple[tuple[Any, Way], tuple[Any, Way], dict[str, str]]] = {
    "chat upstream, chat face": (
        (ChatCompletion, partial(chat_whole, "chat")),
        (ChatCompletionChunkBatch, partial(chat_streamed, "chat")),
        CHAT_ON_CHAT,
    ),
    "chat upstream, responses face": (
        (ChatCompletion, partial(responses_whole, "chat")),
        (ChatCompletionChunkBatch, partial(responses_streamed, "chat")),
        CHAT_ON_RESPONSES,
    ),
    "responses upstream, responses face": (
        (Response, partial(responses_whole, "responses")),
        (ResponseEventBatch, partial(responses_streamed, "responses")),
        RESPONSES_ON_RESPONSES,
    ),
    "responses upstream, chat face": (
        (Response, partial(chat_whole, "responses")),
        (ResponseEventBatch, partial(chat_streamed, "responses")),
        RESPONSES_ON_CHAT,
    ),
}


@pytest.mark.parametrize("path", PATHS)
def test_no_field_of_an_answer_is_dropped_in_silence(path: str) -> None:
    whole, streamed, listed = PATHS[path]
    dropped: list[str] = []
    broken: set[str] = set()
    used: set[str] = set()
    for message_class, way in (whole, streamed):
        for probe in probes(message_class.DESCRIPTOR, NEEDED, SAMPLES, partial(is_left_out, way)):
            if BROKEN.search(outcome(way, probe.given)):
                broken.add(place(probe))
            elif is_dropped(way, probe):
                matching = {pattern for pattern in listed if re.fullmatch(pattern, place(probe))}
                used |= matching
                if not matching:
                    dropped.append(place(probe))
    assert dropped == []
    assert broken <= REFUSED
    assert listed.keys() - used == set(), "listed as having no place, but it is not dropped"


def place(probe: Probe) -> str:
    """The path of a field, written as in a whole answer where it is the same there."""
    path = re.sub(r"events\[\]<response\.(completed|incomplete|failed)>\.response\.(?!created_at|status)", "", probe.path)
    path = path.replace("events[]<response.output_item.done>.item", "output[]")
    return path.removeprefix("chunks[].").replace("choices[].delta", "choices[].message")


def is_left_out(way: Way, probe: Probe) -> bool:
    """Where the whole part has no place, so has what is in it; what a stream says whole is tested as a whole answer."""
    return IN_WHOLE.fullmatch(probe.path) is not None or is_dropped(way, probe)


def is_dropped(way: Way, probe: Probe) -> bool:
    return outcome(way, probe.given) == outcome(way, probe.without)


def outcome(way: Way, answer: Any) -> bytes:
    try:
        found = finished(way(answer))
    except ServiceError as error:
        return canonical(error_body(error)[1])
    return _MADE.sub(rb"\1", b"\n".join(canonical(codec_for(type(message)).encode(message)) for message in found))


def finished(call: Coroutine[Any, Any, list[Message]]) -> list[Message]:
    """What a call gives that never waits."""
    try:
        call.send(None)
    except StopIteration as end:
        result: list[Message] = end.value
        return result
    raise AssertionError("it waits")
