"""What a response is asked with lacks nothing that it is about: the 400 names the field, whatever the provider."""

from typing import Any

import grpc
import pytest

from tests.model.answering import unkept
from tests.model.scripted_dialect import ScriptedDialect
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest
from trivet.kernel.testing import serving
from trivet.kernel.validation import validate
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.model_service.domain.registry import Provider, Registry

FUNCTION = {"type": "function", "name": "f"}


def asked(**more: Any) -> CreateResponseRequest:
    request: CreateResponseRequest = codec_for(CreateResponseRequest).decode({"model": "a/m", "input": "hi"} | more)
    return request


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"input": [{"role": "user"}]}, "input[0].content"),
        ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "arguments": "{}"}]}, "input[0].name"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"input": [{"type": "custom_tool_call", "call_id": "c"}]}, "input[0].name"),
        ({"input": [{"type": "custom_tool_call_output", "output": "x"}]}, "input[0].call_id"),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input[0].content[0].input_audio"),
        ({"tools": [FUNCTION, {"type": "function"}]}, "tools[1].name"),
        ({"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "custom"}]}]}, "tools[0].tools[0].name"),
        ({"tools": [{"type": "mcp", "server_url": "https://a.example"}]}, "tools[0].server_label"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"tool_choice": {"type": "allowed_tools", "tools": [FUNCTION]}}, "tool_choice.mode"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "none", "tools": [FUNCTION]}}, "tool_choice.mode"),
        ({"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice.tools"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format.name"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"prompt": {}}, "prompt.id"),
        ({"conversation": {}}, "conversation.id"),
    ],
)
def test_what_is_missing_is_named(more: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        validate(asked(**more))
    assert refused.value.param == param


async def test_callers_over_grpc_are_told_the_same() -> None:
    dialect = ScriptedDialect()
    servicer = unkept(Registry([Provider("a", dialect)]))
    async with serving(add_ModelServiceServicer_to_server, servicer, transport="loopback") as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await ModelServiceStub(channel).CreateResponse(asked(tools=[{"type": "function"}]))
    error = from_rpc_error(refused.value)
    assert (error.reason, error.param, dialect.asked) == ("INVALID_REQUEST", "tools[0].name", [])
