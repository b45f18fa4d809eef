"""Whole answers that are given as JSON are what the codec makes of their messages, and tell of the same usage."""

import asyncio
import json
import re
from contextlib import suppress
from copy import deepcopy
from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.contract.strategies import JSON
from tests.model.answering import Answering, servicer
from tests.model.chat_chunks import USAGE
from tests.model.test_plain_answers import ANSWERS, whole
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import ServiceError
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.faces.rendered import RenderedAnswer
from trivet.model_service.routing.messages import told_by

Json = dict[str, Any]

_ACCEPTING = SimpleNamespace(accepts_rendered=True)
_MADE = re.compile(rb'"(created|created_at|completed_at)":\d{10}(?!\d)|(chatcmpl-|resp_|msg_|rs_|fc_|ctc_|call_)[0-9a-f]{24,48}')

SETTINGS: dict[str, Json] = {
    "nothing": {},
    "texts": {"instructions": "Be brief.", "user": "u-1", "service_tier": "flex", "prompt_cache_key": "k"},
    "empty texts": {"instructions": "", "user": ""},
    "numbers": {"temperature": 0.5, "top_p": 1, "max_output_tokens": 9, "parallel_tool_calls": False, "stream": False},
}


class Saying(Answering):
    """Says also what orjson does not write."""

    async def post_json(self, _path: str, _body: Any) -> Any:
        return orjson.loads(json.dumps(self._whole))


async def told(face: str, answer: Json | Answering, context: Any = None, **more: Any) -> tuple[object, object, bool]:
    """What the caller gets, without what is made up; the usage; and whether it came as JSON."""
    service = servicer(answer if isinstance(answer, Answering) else Saying(answer, []))
    try:
        if face == "chat":
            asked = {"model": "chat/m", "messages": [{"role": "user", "content": "hi"}], **more}
            got: Any = await service.CreateChatCompletion(codec_for(CreateChatCompletionRequest).decode(asked), context)
        else:
            asked = {"model": "chat/m", "input": "hi", "store": False, **more}
            got = await service.CreateResponse(codec_for(CreateResponseRequest).decode(asked), context)
    except ServiceError as error:
        return error.message, None, False
    rendered = isinstance(got, RenderedAnswer)
    text = got.json if rendered else codec_for(type(got)).dumps(got)
    return orjson.loads(_MADE.sub(_without, text)), told_by(got), rendered


def _without(found: "re.Match[bytes]") -> bytes:
    return b'"%b":0' % found[1] if found[1] else found[2]


@pytest.mark.parametrize("face", ["chat", "responses"])
@pytest.mark.parametrize("name", ANSWERS)
async def test_an_answer_is_the_same_given_in_either_way(face: str, name: str) -> None:
    message, rendered = [await told(face, ANSWERS[name], context) for context in (None, _ACCEPTING)]
    assert rendered[:2] == message[:2]


@pytest.mark.parametrize("tier", [None, "priority"])
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("reason", ["stop", "length", "content_filter"])
async def test_a_response_repeats_its_request_in_either_way(name: str, reason: str, tier: str | None) -> None:
    answer = whole(choice={"finish_reason": reason}, head={"usage": USAGE, "service_tier": tier})
    message, rendered = [await told("responses", answer, context, **SETTINGS[name]) for context in (None, _ACCEPTING)]
    assert rendered[:2] == message[:2]
    assert rendered[2]


_PLACES: tuple[tuple[str | int, ...], ...] = (
    *((), ("choices", 0), ("choices", 0, "message")),
    *(("usage",), ("usage", "prompt_tokens_details"), ("usage", "completion_tokens_details")),
)
_KEYS = [
    "id",
    "object",
    "created",
    "model",
    "choices",
    "usage",
    "service_tier",
    "system_fingerprint",
    "run",
    "messages",
    "extra",
    "x",
    "index",
    "message",
    "logprobs",
    "finish_reason",
    "role",
    "content",
    "refusal",
    "annotations",
    "tool_calls",
    "function_call",
    "prompt_tokens",
    "total_tokens",
    "cached_tokens",
    "audio_tokens",
    "reasoning_tokens",
    "prompt_cache_hit_tokens",
]
_VALUES = JSON | st.sampled_from([None, 0, 1, -1, 2**31, 2**63, "", "stop", [], {}, False])
_BASE = whole(refusal=None, head={"usage": USAGE, "object": "chat.completion"})


def _changed(changes: list[tuple[tuple[str | int, ...], str, Any]]) -> Json:
    answer: Json = deepcopy(_BASE)
    for place, key, value in changes:
        holder: Any = answer
        with suppress(LookupError, TypeError):
            for step in place:
                holder = holder[step]
            if isinstance(holder, dict):
                holder[key] = deepcopy(value)
    return answer


@given(st.lists(st.tuples(st.sampled_from(_PLACES), st.sampled_from(_KEYS), _VALUES), max_size=3), st.booleans())
def test_whatever_an_upstream_says_is_the_same_in_either_way(changes: list[Any], functions: bool) -> None:
    answer = _changed(changes)
    more: Json = {"functions": [{"name": "f"}]} if functions else {}
    message, rendered = [asyncio.run(told("chat", answer, context, **more)) for context in (None, _ACCEPTING)]
    assert rendered[:2] == message[:2]
    message, rendered = [asyncio.run(told("responses", answer, context)) for context in (None, _ACCEPTING)]
    assert rendered[:2] == message[:2]


@pytest.mark.parametrize("face", ["chat", "responses"])
async def test_the_plainest_answer_is_given_as_json_to_who_takes_it(face: str) -> None:
    answer = _changed([])
    assert (await told(face, answer, _ACCEPTING))[2]
    assert not (await told(face, answer))[2]
    assert not (await told(face, ANSWERS["thought"], _ACCEPTING))[2]


class Deep(Answering):
    """Says something beside its answer that can be read, but not written."""

    async def post_json(self, _path: str, _body: Any) -> Any:
        text: bytes = orjson.dumps(_changed([]))
        return orjson.loads(text[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}")


async def test_what_is_nested_too_deeply_to_be_written_is_refused_in_either_way() -> None:
    message, rendered = [await told("chat", Deep({}, []), context) for context in (None, _ACCEPTING)]
    assert rendered == message
