"""A protoc plugin that writes the comments of the contract to `trivet/prose.json`, by the full name of what they describe.

Descriptors at run time carry no comments, and the OpenAPI document is read for them.
"""

import json
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorProto

# A line break inside a paragraph: neither before an empty line nor before the next point of a list.
SOFT_BREAK = re.compile(r"(?<=\S)\n(?=[^\s*-])")


def name_at(file: FileDescriptorProto, path: Sequence[int]) -> str:
    """The full name of the element at a source location."""
    node: Any = file
    name = file.package
    for number, index in zip(path[::2], path[1::2], strict=True):
        children = getattr(node, node.DESCRIPTOR.fields_by_number[number].name)
        node = children[index]
        name += f".{node.name}"
    return name


def comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    for location in file.source_code_info.location:
        comment = re.sub(r"(?m)^ ", "", location.leading_comments).strip()
        # A file's own comment stands at its `syntax`, whose path has one step.
        if comment and len(location.path) % 2 == 0:
            yield name_at(file, location.path), SOFT_BREAK.sub(" ", comment)


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    wanted = set(request.file_to_generate)
    prose = dict(pair for file in request.proto_file if file.name in wanted for pair in comments(file))
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    response.file.add(name="trivet/prose.json", content=json.dumps(prose, indent=0, sort_keys=True, ensure_ascii=False) + "\n")
    return response


if __name__ == "__main__":
    answer = generate(CodeGeneratorRequest.FromString(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(answer.SerializeToString())
