"""ToolService as its callers see it, over the wire and in process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import grpc
import pytest

from tests.tool.rig import Child
from tests.tool.servers.minimal import MinimalServer
from trivet.kernel.testing import TRANSPORTS, Transport, serving
from trivet.tool.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc
from trivet.tool_service.server import open_tool_service
from trivet.tool_service.settings import McpServerSettings, ToolSettings

Stub = tool_service_pb2_grpc.ToolServiceStub
Call = tool_service_pb2.CallToolRequest
Ref = tool_pb2.ServerRef


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param


@asynccontextmanager
async def stub_for(transport: Transport, **urls: str) -> AsyncIterator[Stub]:
    servers = tuple(McpServerSettings(name=name, url=url) for name, url in urls.items())
    async with (
        open_tool_service(ToolSettings(mcp_servers=servers)) as service,
        serving(tool_service_pb2_grpc.add_ToolServiceServicer_to_server, service.tools, transport=transport) as channel,
    ):
        yield tool_service_pb2_grpc.ToolServiceStub(channel)


async def test_servers_and_tools_are_listed(transport: Transport, minimal: MinimalServer) -> None:
    async with stub_for(transport, m=minimal.url) as stub:
        before = await stub.ListServers(tool_service_pb2.ListServersRequest())
        tools = await stub.ListTools(tool_service_pb2.ListToolsRequest(server=Ref(name="m")))
        after = await stub.ListServers(tool_service_pb2.ListServersRequest())

    assert [tool.name for tool in tools.data] == ["add", "hang"]
    assert tools.data[1].input_schema == '{"type":"object"}'
    assert not tools.data[1].HasField("description")
    assert before.data[0] == tool_pb2.Server(name="m", transport="http", status="idle")
    assert after.data[0] == tool_pb2.Server(name="m", transport="http", status="connected", protocol_version="2025-11-25")


async def test_a_call_streams_progress_then_the_result(transport: Transport, showcases: Callable[[str], Child]) -> None:
    async with stub_for(transport, s=showcases("http").url) as stub:
        request = Call(server=Ref(name="s"), tool="steps", arguments='{"count":2}')
        *progress, last = [message async for message in stub.CallTool(request)]
        gallery = [m async for m in stub.CallTool(Call(server=Ref(name="s"), tool="gallery"))][-1].result
        point = [m async for m in stub.CallTool(Call(server=Ref(name="s"), tool="point", arguments='{"x":1,"y":2}'))][-1].result

    assert [(m.progress.progress, m.progress.total, m.progress.message) for m in progress] == [
        (1, 2, "step 1"),
        (2, 2, "step 2"),
    ]
    assert last.result.content[0].text.text == "done"
    assert [piece.WhichOneof("content") for piece in gallery.content] == [
        "text",
        "image",
        "audio",
        "resource_link",
        "unknown",
    ]
    assert point.structured_content == '{"x":1,"y":2}'


async def test_who_wants_no_progress_is_given_the_result_alone(transport: Transport, showcases: Callable[[str], Child]) -> None:
    async with stub_for(transport, s=showcases("http").url) as stub:
        steps = await stub.RunTool(Call(server=Ref(name="s"), tool="steps", arguments='{"count":2}'))
        failed = await stub.RunTool(Call(server=Ref(name="s"), tool="fail", arguments='{"why":"no luck"}'))

    assert steps.content[0].text.text == "done"
    assert failed.is_error


async def test_cancelling_the_wait_for_a_result_cancels_the_call_at_the_server(
    transport: Transport, minimal: MinimalServer
) -> None:
    async with stub_for(transport, m=minimal.url) as stub:
        waiting = asyncio.ensure_future(stub.RunTool(Call(server=Ref(name="m"), tool="hang")))
        await minimal.until(lambda: minimal.hanging == 1)
        waiting.cancel()
        await minimal.until(lambda: minimal.hanging == 0)
        await asyncio.wait({waiting})

    assert minimal.seen["notifications/cancelled"] == 1


async def test_cancelling_the_rpc_cancels_the_call_at_the_server(transport: Transport, minimal: MinimalServer) -> None:
    async with stub_for(transport, m=minimal.url) as stub:
        call = stub.CallTool(Call(server=Ref(name="m"), tool="hang"))
        reading = asyncio.create_task(anext(aiter(call)))
        await minimal.until(lambda: minimal.hanging == 1)
        call.cancel()
        await minimal.until(lambda: minimal.hanging == 0)
        await asyncio.wait({reading})

    assert minimal.seen["notifications/cancelled"] == 1


REGISTERED = Ref(name="m")
ERRORS = {
    "unknown server": (Call(server=Ref(name="nobody"), tool="t"), grpc.StatusCode.NOT_FOUND),
    "no server": (Call(tool="t"), grpc.StatusCode.INVALID_ARGUMENT),
    "inner address": (Call(server=Ref(url="http://127.0.0.1:1/"), tool="t"), grpc.StatusCode.INVALID_ARGUMENT),
    "unknown tool": (Call(server=REGISTERED, tool="nothing"), grpc.StatusCode.NOT_FOUND),
    "no time": (Call(server=REGISTERED, tool="add", timeout_ms=0), grpc.StatusCode.INVALID_ARGUMENT),
    "too slow": (Call(server=REGISTERED, tool="hang", timeout_ms=50), grpc.StatusCode.DEADLINE_EXCEEDED),
    "server down": (Call(server=Ref(name="down"), tool="t"), grpc.StatusCode.UNAVAILABLE),
} | {
    f"arguments {text[:10]}": (Call(server=REGISTERED, tool="add", arguments=text), grpc.StatusCode.INVALID_ARGUMENT)
    for text in ("[1]", "{", '{"a":"\\ud800"}', '{"a":NaN}', '{"a":' + "[" * 9999)
}


@pytest.mark.parametrize(("request_", "code"), ERRORS.values(), ids=ERRORS)
async def test_each_error_has_its_status(
    transport: Transport, minimal: MinimalServer, request_: Call, code: grpc.StatusCode
) -> None:
    async with stub_for(transport, m=minimal.url, down="http://127.0.0.1:1/mcp") as stub:
        with pytest.raises(grpc.aio.AioRpcError) as streamed:
            async for _ in stub.CallTool(request_):
                pass
        with pytest.raises(grpc.aio.AioRpcError) as alone:
            await stub.RunTool(request_)

    assert streamed.value.code() is alone.value.code() is code


async def test_integers_of_any_size_arrive_unchanged(transport: Transport, minimal: MinimalServer) -> None:
    async with stub_for(transport, m=minimal.url) as stub:
        request = Call(server=Ref(name="m"), tool="add", arguments='{"a":123456789012345678901234567890,"b":1}')
        (message,) = [m async for m in stub.CallTool(request)]

    assert message.result.content[0].text.text == "123456789012345678901234567891"
