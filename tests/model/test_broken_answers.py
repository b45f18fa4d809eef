"""What an upstream answers in breach of its API is the upstream's failure: on each face, whole and streamed, and nothing else."""

from typing import Any

import pytest

from tests.model.answering import Answering, servicer, to_chat, to_responses
from trivet.kernel.errors import UpstreamFailed
from trivet.model_service.servicer import ModelServicer


def chat_answer(**message: Any) -> Answering:
    choice = {"index": 0, "finish_reason": "stop"}
    return Answering({"choices": [choice | {"message": message}]}, [{"choices": [choice | {"delta": message}]}])


def responses_answer(item: dict[str, Any], *events: dict[str, Any], **response: Any) -> Answering:
    whole = {"id": "resp_1", "status": "completed", "output": [item]} | response
    begun = {"type": "response.created", "response": {"id": "resp_1"}}
    return Answering(whole, [begun, *events, {"type": "response.completed", "response": whole}])


def message(**part: Any) -> dict[str, Any]:
    return {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "a"} | part]}


@pytest.mark.parametrize(
    "said",
    [
        {"content": "a", "annotations": ["x"]},
        {"content": "a", "annotations": [None]},
        {"content": "a", "annotations": 5},
        {"content": "a", "annotations": [{"type": "url_citation", "url_citation": {"url": 5}}]},
        {"content": 5},
        {"content": "a", "tool_calls": [{"function": {"arguments": "{}"}}]},
    ],
)
async def test_a_chat_upstream_s_fault_is_told_as_its_own_on_the_responses_face(said: dict[str, Any]) -> None:
    service = servicer(chat_answer(role="assistant", **said))
    with pytest.raises(UpstreamFailed):
        await service.CreateResponse(to_responses("chat"), None)
    await fails_in_its_stream(service)


async def fails_in_its_stream(service: ModelServicer) -> None:
    """Before its first event a stream raises; after it, it tells and ends properly."""
    try:
        events = [event async for batch in service.StreamResponse(to_responses("chat"), None) for event in batch.events]
    except UpstreamFailed:
        return
    assert [event.WhichOneof("event") for event in events][-2:] == ["error", "failed"]
    assert events[-1].failed.response.error.code == "server_error"


@pytest.mark.parametrize(
    "http",
    [
        responses_answer(message(annotations=[None])),
        responses_answer(message(annotations=[5])),
        responses_answer(message(logprobs=[{"token": "a", "logprob": "high"}])),
        responses_answer(message(text={"a": 1}), {"type": "response.output_text.delta", "output_index": 0, "delta": {"a": 1}}),
        responses_answer({"type": "function_call", "call_id": "c", "name": {"a": 1}, "arguments": "{}"}),
        responses_answer(message(), usage={"input_tokens": "many"}),
        responses_answer(message(), service_tier=5),
        responses_answer(message(), status="queued", output=[]),
    ],
)
async def test_a_responses_upstream_s_fault_is_told_as_its_own_on_the_chat_face(http: Answering) -> None:
    service = servicer(http)
    with pytest.raises(UpstreamFailed):
        await service.CreateChatCompletion(to_chat("responses"), None)
    with pytest.raises(UpstreamFailed):
        async for _ in service.StreamChatCompletion(to_chat("responses"), None):
            pass


async def test_a_delta_of_null_says_nothing() -> None:
    delta = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": None}
    service = servicer(responses_answer(message(), delta))
    stream = service.StreamChatCompletion(to_chat("responses"), None)
    deltas = [choice.delta.content async for batch in stream for chunk in batch.chunks for choice in chunk.choices]
    assert "".join(deltas) == "a"
