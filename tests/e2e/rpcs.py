"""Requests over gRPC, as a foreign client makes them: by the descriptors, with the body of the REST request."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from tests.e2e.frames import Json
from tests.e2e.shapes import AUTHORIZATION, SERVICES, Shape
from trivet.agent.v1 import agent_service_pb2
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.sse import stream_codec
from trivet.model.v1 import model_service_pb2
from trivet.tool.v1 import tool_service_pb2

METADATA = (("authorization", AUTHORIZATION),)
MODULES = {"model": model_service_pb2, "agent": agent_service_pb2, "tool": tool_service_pb2}


@dataclass(frozen=True)
class Method:
    """An RPC as a foreign client calls it: by its descriptor."""

    service: str
    name: str

    @property
    def descriptor(self) -> MethodDescriptor:
        found = MODULES[self.service].DESCRIPTOR.services_by_name[SERVICES[self.service].rpartition(".")[2]]
        method: MethodDescriptor = found.methods_by_name[self.name]
        return method

    def call(self, shape: Shape, body: Json, metadata: Any = METADATA) -> Any:
        """The call, begun; the request is made of the body of the REST request."""
        asked, answered = GetMessageClass(self.descriptor.input_type), GetMessageClass(self.descriptor.output_type)
        channel = shape.channels[self.service]
        begin = channel.unary_stream if self.descriptor.server_streaming else channel.unary_unary
        method: Callable[..., Any] = begin(f"/{SERVICES[self.service]}/{self.name}", asked.SerializeToString, answered.FromString)
        return method(codec_for(asked).decode(body), metadata=metadata, timeout=30)

    async def frames(self, shape: Shape, body: Json) -> bytes:
        """The messages of the stream, as events."""
        stream = stream_codec(self.descriptor).open()
        return b"".join([stream.frames(batch) async for batch in self.call(shape, body)]) + stream.end


RESPONSES = Method("model", "StreamResponse")
CHAT = Method("model", "StreamChatCompletion")
AGENT = Method("agent", "StreamAgentResponse")
