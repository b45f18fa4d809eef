"""The process of the model alone: what it serves, and what it gets along without."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.conversation_pb2 import CreateConversationRequest
from trivet.model.v1.conversation_service_pb2_grpc import ConversationServiceStub
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub
from trivet.model.v1.response_request_pb2 import CreateResponseRequest
from trivet.standalone.config import Config
from trivet.standalone.failures import CommandFailed
from trivet.standalone.gateway import open_gateway

KEY = "sk-test-0123456789abcdef"
METADATA = (("authorization", f"Bearer {KEY}"),)


def configured(folder: Path, **more: Any) -> Config:
    return Config.model_validate(
        {
            "server": {"grpc": "127.0.0.1:0"},
            "auth": {"keys": [{"name": "test", "key": KEY}]},
            "providers": [{"name": "lab", "type": "openai-chat", "base_url": "http://127.0.0.1:9/v1"}],
            "store": {"url": f"sqlite:///{folder}/t.db"},
            **more,
        }
    )


@pytest.fixture
async def channel(tmp_path: Path) -> AsyncIterator[grpc.aio.Channel]:
    async with open_gateway(configured(tmp_path), "model") as gateway, grpc.aio.insecure_channel(gateway.grpc) as opened:
        yield opened


async def test_conversations_are_served_beside_models(channel: grpc.aio.Channel) -> None:
    made = await ConversationServiceStub(channel).CreateConversation(CreateConversationRequest(), metadata=METADATA)

    assert made.id.startswith("conv_")


async def test_without_a_tool_service_mcp_tools_are_refused(channel: grpc.aio.Channel) -> None:
    tools = [{"type": "mcp", "server_label": "a", "server_url": "https://a.example"}]
    request = codec_for(CreateResponseRequest).decode({"model": "lab/m", "input": "hi", "tools": tools})

    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await ModelServiceStub(channel).CreateResponse(request, metadata=METADATA)

    error = from_rpc_error(refused.value)
    assert (error.reason, error.param) == ("UNSUPPORTED_PARAMETER", "tools[0]")


async def test_a_store_that_cannot_be_used_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "t.db").write_text("this is no database" * 100)

    with pytest.raises(CommandFailed, match=r"cannot open the store sqlite:///.*t\.db"):
        async with open_gateway(configured(tmp_path), "model"):
            pass
