"""ModelService's RPCs over both transports: chat on a chat upstream, chat on any other dialect, models, refusals."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.checkers.chat_stream import check_chat_stream
from tests.model.answering import unkept
from tests.model.chat_chunks import TEXT, USAGE, chunk
from tests.model.scripted_dialect import ScriptedDialect
from tests.upstreams.scripted import ScriptedUpstream, answer, piece, sse, stream, stream_head
from trivet.content.v1.chat_completion_pb2 import ChatCompletionChunkBatch
from trivet.content.v1.chat_request_pb2 import CreateChatCompletionRequest
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import RateLimited, ServiceError
from trivet.kernel.testing import TRANSPORTS, Transport, serving
from trivet.model.v1 import model_pb2
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.turn import TextDelta, TurnEvent, TurnFinished, TurnStarted, Usage
from trivet.model_service.server import open_model_service
from trivet.model_service.servicer import ModelServicer
from trivet.model_service.settings import ModelSettings

pytestmark = pytest.mark.parametrize("transport", TRANSPORTS)

ANSWER: list[list[TurnEvent]] = [[TurnStarted("resp_1", "m", 7), TextDelta("hi")], [TurnFinished("stop", Usage(1, 2, 3))]]


def asked(model: str = "lab/m", **more: Any) -> CreateChatCompletionRequest:
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}
    request: CreateChatCompletionRequest = codec_for(CreateChatCompletionRequest).decode(body)
    return request


@asynccontextmanager
async def stub_for(servicer: ModelServicer, transport: Transport) -> AsyncIterator[Any]:
    async with serving(add_ModelServiceServicer_to_server, servicer, transport=transport) as channel:
        yield ModelServiceStub(channel)


@asynccontextmanager
async def over(dialect: ScriptedDialect, transport: Transport) -> AsyncIterator[Any]:
    async with stub_for(unkept(Registry([Provider("lab", dialect)])), transport) as stub:
        yield stub


@asynccontextmanager
async def over_http(base_url: str, transport: Transport, **more: Any) -> AsyncIterator[Any]:
    settings = ModelSettings.model_validate({"providers": [{"name": "lab", "type": "openai-chat", "base_url": base_url, **more}]})
    async with open_model_service(settings) as service, stub_for(service.models, transport) as stub:
        yield stub


async def chunks_of(call: Any) -> list[dict[str, Any]]:
    shared: dict[str, Any] = {}
    found: list[dict[str, Any]] = []
    async for batch in call:
        encoded = json.loads(codec_for(ChatCompletionChunkBatch).dumps(batch))
        ready = encoded.pop("chunks")
        shared |= {key: value for key, value in encoded.items() if value is not None}
        found += [shared | one for one in ready]
    assert check_chat_stream(found) == []
    return found


async def refused(call: Any) -> ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_chat_on_a_chat_upstream_passes_through(transport: Transport) -> None:
    async with ScriptedUpstream() as upstream, over_http(upstream.base_url, transport, api_key="sk-1") as stub:
        message = {"role": "assistant", "content": "hi"}
        upstream.play(answer({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "timings": 5}))
        completion = await stub.CreateChatCompletion(asked())
        assert (completion.model, completion.extra) == ("lab/m", '{"timings":5}')
        upstream.play(stream(sse(*TEXT, chunk(usage=USAGE))))
        found = await chunks_of(stub.StreamChatCompletion(asked(stream_options={"include_usage": True})))
        assert (len(found), found[-1]["usage"]["total_tokens"]) == (5, 10)
        upstream.play(stream(sse(*TEXT, chunk(usage=USAGE))))
        unasked = await chunks_of(stub.StreamChatCompletion(asked()))
        assert (len(unasked), [one for one in unasked if "usage" in one]) == (4, [])
        assert upstream.requests[-1].body["stream_options"] == {"include_usage": True}
        assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer sk-1"}


async def test_a_chat_on_another_dialect_is_a_turn(transport: Transport) -> None:
    dialect = ScriptedDialect(ANSWER)
    async with over(dialect, transport) as stub:
        completion = await stub.CreateChatCompletion(asked())
        assert completion.choices[0].message.content == "hi"
        found = await chunks_of(stub.StreamChatCompletion(asked(stream_options={"include_usage": True})))
        assert found[-1]["usage"]["total_tokens"] == 3
    assert [turn.stream for turn in dialect.asked] == [False, True]
    assert dialect.asked[0].model == "m"


async def test_an_error_before_the_first_chunk_is_that_error_and_after_it_ends_the_stream(transport: Transport) -> None:
    dialect = ScriptedDialect([], RateLimited("slow down", 7.0))
    async with over(dialect, transport) as stub:
        error = await refused(stub.CreateChatCompletion(asked()))
        assert (error.reason, error.message, error.retry_after) == ("RATE_LIMITED", "slow down", 7.0)
        dialect.batches = ANSWER[:1]
        call = stub.StreamChatCompletion(asked())
        assert (await anext(aiter(call))).chunks
        with pytest.raises(grpc.aio.AioRpcError):
            await anext(aiter(call))


async def test_a_client_that_leaves_ends_the_upstream_call(transport: Transport) -> None:
    async with ScriptedUpstream() as upstream, over_http(upstream.base_url, transport) as stub:
        for script in ([stream_head(), piece(sse(*TEXT[:2], done=False)), asyncio.Event()], [asyncio.Event()]):
            upstream.play(*script)
        call = stub.StreamChatCompletion(asked())
        await anext(aiter(call))
        call.cancel()
        await upstream.until(lambda: upstream.open == 0)
        call = stub.CreateChatCompletion(asked())
        await upstream.until(lambda: len(upstream.requests) == 2)
        call.cancel()
        await upstream.until(lambda: upstream.open == 0)


async def test_models_are_listed_and_found(transport: Transport) -> None:
    async with over(ScriptedDialect(models=[ModelInfo("a/b", 5)]), transport) as stub:
        listed = await stub.ListModels(model_pb2.ListModelsRequest())
        [model] = listed.data
        assert (model.id, model.created, model.owned_by) == ("lab/a/b", 5, "lab")
        assert await stub.GetModel(model_pb2.GetModelRequest(model="lab/a/b")) == model
        error = await refused(stub.GetModel(model_pb2.GetModelRequest(model="lab/c")))
        assert (error.reason, error.param) == ("MODEL_NOT_FOUND", "model")


async def test_the_embedded_model_is_listed_as_what_it_is_and_not_started_for_that(transport: Transport) -> None:
    settings = ModelSettings.model_validate({"providers": [{"name": "local", "type": "local"}]})
    async with open_model_service(settings) as service, stub_for(service.models, transport) as stub:
        [model] = (await stub.ListModels(model_pb2.ListModelsRequest())).data
    assert model.id == "local/smollm2"
    assert "demonstration" in json.loads(model.extra)["description"]


async def test_an_unknown_model_is_not_found(transport: Transport) -> None:
    async with over(ScriptedDialect(ANSWER), transport) as stub:
        for call in (
            stub.CreateChatCompletion(asked("other/m")),
            stub.CreateResponse(CreateResponseRequest(model="other/m")),
        ):
            assert (await refused(call)).reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("url", ["http://127.0.0.1/x.png", "http://169.254.169.254/latest", "http://2130706433/", "file:///etc"])
async def test_a_url_that_leads_inside_never_reaches_the_provider(transport: Transport, url: str) -> None:
    dialect = ScriptedDialect(ANSWER)
    async with over(dialect, transport) as stub:
        text, image = {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": url}}
        error = await refused(stub.CreateChatCompletion(asked(messages=[{"role": "user", "content": [text, image]}])))
        assert error.param == "messages[0].content[1].image_url.url"
        body = {
            "model": "lab/m",
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "a"}]},
                {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_image", "image_url": url}]},
            ],
        }
        error = await refused(stub.CreateResponse(codec_for(CreateResponseRequest).decode(body)))
        assert error.param == "input[1].output[0].image_url"
        body["input"] = [{"role": "user", "content": [{"type": "input_file", "file_url": url}]}]
        error = await refused(stub.CreateResponse(codec_for(CreateResponseRequest).decode(body)))
        assert error.param == "input[0].content[0].file_url"
    assert dialect.asked == []


async def test_data_urls_and_public_ones_reach_the_provider(transport: Transport) -> None:
    dialect = ScriptedDialect(ANSWER)
    urls = ["data:image/png;base64,AA==", "https://8.8.8.8/x.png", "https://nowhere.invalid/x.png"]
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    async with over(dialect, transport) as stub:
        await stub.CreateChatCompletion(asked(messages=[{"role": "user", "content": parts}]))
    assert len(dialect.asked) == 1
