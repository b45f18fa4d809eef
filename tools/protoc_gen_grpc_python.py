"""A protoc plugin that writes `*_pb2_grpc.py` for every file with a service.

grpcio-tools can write these stubs only as a part of its own protoc, and buf runs plugins: this adapter reads the plugin
request from standard input, lets grpc_tools' protoc generate from the descriptors in it, and answers with the files.
"""

import sys
import tempfile
from pathlib import Path

from google.protobuf.compiler.plugin_pb2 import CodeGeneratorRequest, CodeGeneratorResponse
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc


def files_with_services(request: CodeGeneratorRequest) -> list[str]:
    wanted = set(request.file_to_generate)
    return [file.name for file in request.proto_file if file.name in wanted and file.service]


def generate(request: CodeGeneratorRequest) -> CodeGeneratorResponse:
    response = CodeGeneratorResponse(supported_features=CodeGeneratorResponse.FEATURE_PROTO3_OPTIONAL)
    names = files_with_services(request)
    if not names:
        return response
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out")
        out.mkdir()
        descriptors = Path(folder, "descriptors.binpb")
        descriptors.write_bytes(FileDescriptorSet(file=request.proto_file).SerializeToString())
        arguments = ["protoc", f"--descriptor_set_in={descriptors}", f"--grpc_python_out={out}", *names]
        if protoc.main(arguments) != 0:
            response.error = f"grpc_tools could not generate stubs for {', '.join(names)}: see its message above"
            return response
        for path in sorted(out.rglob("*.py")):
            response.file.add(name=path.relative_to(out).as_posix(), content=path.read_text(encoding="utf-8"))
    return response


if __name__ == "__main__":
    answer = generate(CodeGeneratorRequest.FromString(sys.stdin.buffer.read()))
    sys.stdout.buffer.write(answer.SerializeToString())
