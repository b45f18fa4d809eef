"""The OpenAPI 3.1 document of the REST contract, made of the same descriptors as its routes."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple, cast

from google.api import annotations_pb2 as http_pb2
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import Descriptor, MethodDescriptor, ServiceDescriptor

from trivet.kernel.codec.query import query_fields
from trivet.kernel.codec.shape import Field, UnionShape, shape_of
from trivet.kernel.openapi.prose import contract_prose
from trivet.kernel.openapi.schemas import Schema, Schemas, reachable
from trivet.rest.v1 import annotations_pb2

# The variable `{server.name}` is named for its last part: tools take a dot for something of their own.
_VARIABLE = re.compile(r"\{(?:[^}=]*\.)?([^}=.]+)(=[^}]*)?\}")
_SENTENCE = re.compile(r"(.+?[.!?])(\s|$)", re.DOTALL)

_ERROR: Schema = {
    "description": "What went wrong.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string", "description": "What is wrong, for people."},
                "type": {"type": "string", "description": "The kind of error, for example `invalid_request_error`."},
                "param": {
                    "type": ["string", "null"],
                    "description": "The path of the field at fault, for example `mcp_servers[0].url`.",
                },
                "code": {"type": ["string", "null"], "description": "The error, for programs."},
            },
        }
    },
}


def document(services: Sequence[ServiceDescriptor], base_paths: Iterable[str]) -> dict[str, Any]:
    """The document of the routes of `services`, each of which is served under each of `base_paths`."""
    prose = contract_prose()
    routes = list(_routes(services))
    schemas = Schemas(prose, reachable([route.method.input_type for route in routes]))
    paths: dict[str, dict[str, Any]] = {}
    for path, verb, sharing in _by_path(routes):
        paths.setdefault(path, {})[verb] = _operation(sharing, schemas, prose)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Trivet", "version": version("trivet"), "description": "An LLM and agent gateway."},
        "servers": [{"url": base} for base in base_paths],
        "security": [{"key": []}],
        "tags": [{"name": service.name, "description": prose.get(service.full_name, "")} for service in services],
        "paths": paths,
        "components": {
            "schemas": dict(sorted((schemas.components | {"Error": _ERROR}).items())),
            "responses": {"Error": _response("Any error.", {"application/json": _reference("Error")})},
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


class _Route(NamedTuple):
    """A path of an RPC as `google.api.http` has it; `number` counts the paths of the RPC."""

    path: str
    verb: str
    method: MethodDescriptor
    number: int
    reads_body: bool
    when_key: str = ""

    @property
    def variables(self) -> list[str]:
        return [name for name, _ in _VARIABLE.findall(self.path)]

    @property
    def query(self) -> list[Field]:
        fields = [] if self.reads_body else query_fields(self.method.input_type)
        return [field for field in fields if field.name not in self.variables]


def _routes(services: Iterable[ServiceDescriptor]) -> Iterator[_Route]:
    for service in services:
        for method in service.methods:
            rule = method.GetOptions().Extensions[http_pb2.http]
            bindings = [each for each in (rule, *rule.additional_bindings) if each.WhichOneof("pattern")]
            for number, binding in enumerate(bindings):
                verb = binding.WhichOneof("pattern")
                yield _Route(getattr(binding, verb), verb, method, number, bool(binding.body))
            shared_routes = method.GetOptions().Extensions[annotations_pb2.method].shared_routes
            for number, shared in enumerate(shared_routes, start=len(bindings)):
                yield _Route(shared.path, "post", method, number, reads_body=True, when_key=shared.when_key)


def _by_path(routes: Iterable[_Route]) -> Iterator[tuple[str, str, list[_Route]]]:
    """Path, verb, and the RPCs that share them, the one that is meant by default first."""
    sharing: dict[tuple[str, str], list[_Route]] = {}
    for route in sorted(routes, key=lambda route: bool(route.when_key)):
        sharing.setdefault((_VARIABLE.sub(r"{\1}", route.path), route.verb), []).append(route)
    for (path, verb), found in sharing.items():
        yield path, verb, found


def _operation(sharing: list[_Route], schemas: Schemas, prose: Mapping[str, str]) -> dict[str, Any]:
    first = sharing[0]
    text = _without_name(prose.get(first.method.full_name, ""), first.method.name)
    others = [f"With `{route.when_key}` in the body, it is `{route.method.name}`." for route in sharing[1:]]
    answers = _answers([route.method for route in sharing], schemas)
    described = "The answer."
    if events := [_event(twin, schemas) for route in sharing if (twin := _stream_twin(route.method))]:
        answers["text/event-stream"] = _any_of(events)
        described = "The answer, or a stream of server-sent events, whose data the schema describes."
    operation: dict[str, Any] = {
        "operationId": first.method.name + (str(first.number + 1) if first.number else ""),
        "tags": [first.method.containing_service.name],
        "summary": _first_sentence(text),
        "description": "\n\n".join([text, *others]),
        "responses": {
            "200": _response(described, answers),
            "default": {"$ref": "#/components/responses/Error"},
        },
    }
    parameters = [_path_parameter(name) for name in first.variables] + [schemas.query_parameter(field) for field in first.query]
    if parameters:
        operation["parameters"] = parameters
    if first.reads_body:
        operation["requestBody"] = {"required": True, "content": _bodies([route.method for route in sharing], schemas, prose)}
    return operation


def _bodies(methods: Sequence[MethodDescriptor], schemas: Schemas, prose: Mapping[str, str]) -> dict[str, Any]:
    options = methods[0].GetOptions().Extensions[annotations_pb2.method]
    if options.HasField("multipart"):
        return {"multipart/form-data": {"schema": _form(methods[0].input_type, options.multipart.file, schemas, prose)}}
    return {"application/json": {"schema": _any_of(schemas.reference(method.input_type) for method in methods)}}


def _form(request: Descriptor, file: str, schemas: Schemas, prose: Mapping[str, str]) -> Schema:
    """The schema of a form: the fields of the parameters, which are the only member of the request, and the file."""
    parameters = cast("UnionShape", shape_of(request)).members[0].message
    form = schemas.object_without(parameters, file)
    described = prose.get(parameters.fields_by_name[file].full_name, "")
    form["properties"][file] = {"type": "string", "format": "binary", "description": described}
    return form | {"required": sorted([file, *form.get("required", [])])}


def _answers(methods: Iterable[MethodDescriptor], schemas: Schemas) -> dict[str, Schema]:
    """What answers in one piece are, by media type; `*/*` stands for whatever the answer says that it is."""
    answers: dict[str, Schema] = {}
    given = [method.output_type for method in methods]
    if spoken := [answer for answer in given if answer is not HttpBody.DESCRIPTOR]:
        answers["application/json"] = _any_of(map(schemas.reference, spoken))
    if any(HttpBody.DESCRIPTOR in (answer, *(field.message_type for field in answer.fields)) for answer in given):
        answers["*/*"] = {"type": "string", "format": "binary"}
    return answers


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _stream_twin(method: MethodDescriptor) -> MethodDescriptor | None:
    name = method.GetOptions().Extensions[annotations_pb2.method].stream_method
    return method.containing_service.methods_by_name[name] if name else None


def _event(method: MethodDescriptor, schemas: Schemas) -> Schema:
    """The schema of the data of one event of a stream."""
    name = method.GetOptions().Extensions[annotations_pb2.method].sse.events
    event = schemas.reference(cast("Descriptor", method.output_type.fields_by_name[name].message_type))
    common = schemas.object_without(method.output_type, name)
    return {"allOf": [event, common]} if common["properties"] else event


def _any_of(schemas: Iterable[Schema]) -> Schema:
    distinct = list({str(schema): schema for schema in schemas}.values())
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _response(description: str, contents: Mapping[str, Schema]) -> dict[str, Any]:
    return {"description": description, "content": {kind: {"schema": schema} for kind, schema in contents.items()}}


def _reference(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _without_name(text: str, name: str) -> str:
    """The comment of an RPC begins with its name; a reader of the REST contract does not know it."""
    rest = text.removeprefix(f"{name} ")
    return rest[:1].upper() + rest[1:]


def _first_sentence(text: str) -> str:
    found = _SENTENCE.match(text)
    return (found[1] if found else text).rstrip(".")
