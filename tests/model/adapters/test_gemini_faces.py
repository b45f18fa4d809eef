"""What only Gemini says, on both faces: signatures there and back, citations, images, filtered prompts."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.checkers.chat_stream import check_chat_stream
from tests.checkers.responses_stream import check_responses_stream
from tests.upstreams.scripted import ScriptedUpstream, answer, sse, stream
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.testing import serving
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.server import open_model_service
from trivet.model_service.settings import ModelSettings

MODEL = "google/gemini-3-pro"
ASK = {"role": "user", "content": "Weather in Paris?"}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as scripted:
        yield scripted


@pytest.fixture
async def stub(upstream: ScriptedUpstream) -> AsyncIterator[Any]:
    provider = {"name": "google", "type": "gemini", "base_url": upstream.base_url, "api_key": "AIza-key"}
    settings = ModelSettings.model_validate({"providers": [provider]})
    async with (
        open_model_service(settings) as service,
        serving(add_ModelServiceServicer_to_server, service.models) as channel,
    ):
        yield ModelServiceStub(channel)


def said(*parts: Any, finish: str = "STOP", **candidate: Any) -> dict[str, Any]:
    told = {"content": {"role": "model", "parts": list(parts)}, "finishReason": finish, **candidate}
    return {"candidates": [told], "usageMetadata": {"promptTokenCount": 1, "candidatesTokenCount": 1}}


async def responses(stub: Any, **body: Any) -> dict[str, Any]:
    """The response that ends a stream, whose events are sound."""
    asked = {"model": MODEL, "store": False, "include": ["reasoning.encrypted_content"], **body}
    events: list[dict[str, Any]] = []
    async for batch in stub.StreamResponse(codec_for(CreateResponseRequest).decode(asked)):
        events += json.loads(codec_for(ResponseEventBatch).dumps(batch))["events"]
    assert check_responses_stream(events) == []
    response: dict[str, Any] = events[-1]["response"]
    return response


async def chunks(stub: Any, **body: Any) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    async for batch in stub.StreamChatCompletion(codec_for(CreateChatCompletionRequest).decode({"model": MODEL, **body})):
        encoded = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch))
        ready = encoded.pop("chunks")
        shared |= {key: value for key, value in encoded.items() if value is not None}
        found += [shared | one for one in ready]
    assert check_chat_stream(found) == []
    return found


async def test_signatures_come_back_to_gemini_with_their_call_and_their_text(upstream: ScriptedUpstream, stub: Any) -> None:
    tool = {"type": "function", "name": "weather", "parameters": {"type": "object"}}
    thought = {"text": "It wants the weather.", "thought": True}
    called = {"functionCall": {"name": "weather", "args": {}}, "thoughtSignature": "S"}
    spoken = [{"text": "It is "}, {"text": "sunny."}, {"text": "", "thoughtSignature": "T"}]
    upstream.play(stream(sse(said(thought, called), done=False)))
    upstream.play(stream(sse(said(*spoken), done=False)))
    upstream.play(stream(sse(said({"text": "Bye."}), done=False)))

    first = await responses(stub, input=[ASK], tools=[tool], reasoning={"summary": "auto"})
    [reasoning, call] = first["output"]
    assert reasoning["summary"] == [{"type": "summary_text", "text": "It wants the weather."}]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
    second = await responses(stub, input=[ASK, *first["output"], result], tools=[tool])
    assert [item["type"] for item in second["output"]] == ["message", "reasoning"]
    again = [ASK, *first["output"], result, *second["output"], {"role": "user", "content": "Thanks."}]
    await responses(stub, input=again, tools=[tool])

    asked = upstream.requests[-1].body["contents"]
    assert [content["role"] for content in asked] == ["user", "model", "user", "model", "user"]
    assert asked[1]["parts"] == [called]
    assert asked[3]["parts"] == [{"text": "It is sunny."}, {"text": "", "thoughtSignature": "T"}]


async def test_an_image_is_an_item_of_the_output(upstream: ScriptedUpstream, stub: Any) -> None:
    drawn = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    upstream.play(stream(sse(said({"text": "Here:"}, drawn), done=False)))
    [message, image] = (await responses(stub, input="Draw."))["output"]
    assert message["content"][0]["text"] == "Here:"
    assert (image["type"], image["result"]) == ("image_generation_call", "AAAA")


GROUNDED = {
    "groundingChunks": [{"web": {"uri": "https://a.org", "title": "A"}}],
    "groundingSupports": [{"segment": {"endIndex": 5}, "groundingChunkIndices": [0]}],
}
CITATION = {"start_index": 0, "end_index": 5, "url": "https://a.org", "title": "A"}


async def test_sources_are_citations_of_the_message(upstream: ScriptedUpstream, stub: Any) -> None:
    told = said({"text": "Sunny."}, groundingMetadata=GROUNDED)
    for script in (stream(sse(told, done=False)), stream(sse(told, done=False)), [answer(told)]):
        upstream.play(script)
    [message] = (await responses(stub, input="Weather?"))["output"]
    assert message["content"][0]["annotations"] == [{"type": "url_citation", **CITATION}]
    deltas = [choice["delta"] for chunk in await chunks(stub, messages=[ASK]) for choice in chunk["choices"]]
    [streamed] = [delta["annotations"] for delta in deltas if "annotations" in delta]
    request = codec_for(CreateChatCompletionRequest).decode({"model": MODEL, "messages": [ASK]})
    whole = json.loads(codec_for(ChatCompletion).dumps(await stub.CreateChatCompletion(request)))
    assert streamed == whole["choices"][0]["message"]["annotations"] == [{"type": "url_citation", "url_citation": CITATION}]


async def test_a_blocked_prompt_is_an_answer_that_was_filtered(upstream: ScriptedUpstream, stub: Any) -> None:
    blocked = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}
    for _ in range(2):
        upstream.play(stream(sse(blocked, done=False)))
    response = await responses(stub, input="!")
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": "content_filter"})
    assert (await chunks(stub, messages=[ASK]))[-1]["choices"][0]["finish_reason"] == "content_filter"
