"""The REST routes of the services, read from their descriptors once at start."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from google.api import annotations_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from trivet.agent.v1 import agent_service_pb2
from trivet.kernel.codec.message_codec import MessageCodec, codec_for
from trivet.kernel.codec.query import QueryCodec, query_codec
from trivet.kernel.codec.shape import ShapeError, UnionShape, fields_of, shape_of
from trivet.model.v1 import (
    audio_service_pb2,
    conversation_service_pb2,
    message_service_pb2,
    model_service_pb2,
    usage_service_pb2,
)
from trivet.rest.v1 import annotations_pb2 as rest_pb2
from trivet.tool.v1 import tool_service_pb2

BASE_PATHS = ("/api/llm", "/v1")
"""Every route is served under each of these, so that any OpenAI SDK works with either as its base URL."""

SERVICES: tuple[ServiceDescriptor, ...] = (
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"],
    conversation_service_pb2.DESCRIPTOR.services_by_name["ConversationService"],
    message_service_pb2.DESCRIPTOR.services_by_name["MessageService"],
    audio_service_pb2.DESCRIPTOR.services_by_name["AudioService"],
    usage_service_pb2.DESCRIPTOR.services_by_name["UsageService"],
    agent_service_pb2.DESCRIPTOR.services_by_name["AgentService"],
    tool_service_pb2.DESCRIPTOR.services_by_name["ToolService"],
)

COMPANIONS = frozenset(
    f"trivet.model.v1.{name}" for name in ("ConversationService", "MessageService", "AudioService", "UsageService")
)
"""Services that another service's process serves with its own: they are as ready as that one is."""


@dataclass(frozen=True)
class Rpc:
    """One RPC: its gRPC name, and how its messages are made and read.

    `response_codec` is None where answers are no JSON; `body` names the member of the answer, a union, that is none.
    """

    descriptor: MethodDescriptor
    service: str
    path: str
    serialize: Callable[[Message], bytes]
    parse_response: Callable[[bytes], Message]
    response_codec: MessageCodec[Any] | None
    body: str = ""


@dataclass(frozen=True)
class Form:
    """A request that is a form, of which one part is a file that is streamed: see `trivet.rest.v1.Multipart`.

    `fields` reads the other parts, `required` names those that must be there.
    """

    message_class: type[Message]
    fields: QueryCodec
    required: tuple[str, ...]
    parameters: str
    file: str
    content: str

    def piece(self, data: bytes) -> Message:
        """The message that brings some of the file."""
        return self.message_class(**{self.content: data})


@dataclass(frozen=True)
class Operation:
    """What a route does: an RPC that gives the whole answer, and its streaming twin, if it has one.

    `when_key`: the top-level key of the body that must be there for this operation, where several share a route.
    """

    request_codec: MessageCodec[Any]
    query_codec: QueryCodec
    whole: Rpc
    stream: Rpc | None
    stream_by_default: bool
    when_key: str = ""
    form: Form | None = None


@dataclass
class Route:
    """An HTTP method and path (without base path, `{name}` for variables), and the operations that share it.

    A request whose route does not read the body has its parameters in the query. `form` is the form that its requests are, if
    they are one; no two operations share such a route.
    """

    method: str
    path: str
    reads_body: bool
    form: Form | None = None
    operations: list[Operation] = field(default_factory=list)

    def operation(self, body: dict[str, Any]) -> Operation:
        """The operation that a request with this body means."""
        plain = None
        for operation in self.operations:
            if not operation.when_key:
                plain = operation
            elif body.get(operation.when_key) is not None:
                return operation
        assert plain is not None
        return plain


def routes(services: Iterable[ServiceDescriptor] = SERVICES) -> list[Route]:
    """All routes of the services."""
    table: dict[tuple[str, str], Route] = {}

    def add(method: str, path: str, operation: Operation, *, reads_body: bool) -> None:
        table.setdefault((method, path), Route(method, path, reads_body, operation.form)).operations.append(operation)

    for service in services:
        for method in service.methods:
            rule = method.GetOptions().Extensions[annotations_pb2.http]
            if not rule.WhichOneof("pattern"):
                continue
            options = method.GetOptions().Extensions[rest_pb2.method]
            operation = _operation(method, options)
            for binding in (rule, *rule.additional_bindings):
                verb = binding.WhichOneof("pattern")
                add(verb.upper(), getattr(binding, verb), operation, reads_body=bool(binding.body))
            for shared in options.shared_routes:
                add("POST", shared.path, _operation(method, options, shared.when_key), reads_body=True)
    return list(table.values())


def _operation(method: MethodDescriptor, options: Any, when_key: str = "") -> Operation:
    twin = method.containing_service.methods_by_name[options.stream_method] if options.stream_method else None
    return Operation(
        request_codec=codec_for(GetMessageClass(method.input_type)),
        query_codec=query_codec(method.input_type),
        whole=_rpc(method),
        stream=_rpc(twin) if twin is not None else None,
        stream_by_default=options.stream_by_default,
        when_key=when_key,
        form=_form(method.input_type, options.multipart) if options.HasField("multipart") else None,
    )


def _form(request: Descriptor, options: rest_pb2.Multipart) -> Form:
    shape = shape_of(request)
    if not isinstance(shape, UnionShape) or len(shape.members) != 1:
        raise ShapeError(request.full_name, "a form is a union of its parameters and the content of a file")
    parameters = shape.members[0]
    return Form(
        message_class=GetMessageClass(request),
        fields=query_codec(parameters.message),
        required=tuple(field.key for field in fields_of(parameters.message) if field.options.required),
        parameters=parameters.name,
        file=options.file,
        content=options.content,
    )


def _rpc(method: MethodDescriptor) -> Rpc:
    service = method.containing_service.full_name
    request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
    return Rpc(
        descriptor=method,
        service=service,
        path=f"/{service}/{method.name}",
        serialize=request.SerializeToString,
        parse_response=response.FromString,
        response_codec=None if response is HttpBody else codec_for(response),
        body=_body(method.output_type),
    )


def _body(answer: Descriptor) -> str:
    found = (field.name for field in answer.fields if field.message_type is HttpBody.DESCRIPTOR)
    return next(found, "")
