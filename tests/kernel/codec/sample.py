"""The message classes of `sample.proto`, compiled into a descriptor pool of their own."""

import tempfile
from pathlib import Path
from typing import Any

from google.api import annotations_pb2 as http_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from grpc_tools import protoc

_HERE = Path(__file__).parent
_ROOT = _HERE.parents[2]
_BUILTIN = Path(protoc.__file__).parent / "_proto"


def compile_proto(folder: Path, name: str) -> descriptor_pb2.FileDescriptorSet:
    """The descriptor set of a proto file and all it imports; fails with protoc's own words on stderr."""
    includes = [folder, _ROOT / "protos", _ROOT / "third_party" / "googleapis", _BUILTIN]
    with tempfile.NamedTemporaryFile() as out:
        arguments = [f"-I{path}" for path in includes]
        arguments += ["--include_imports", "--include_source_info", f"--descriptor_set_out={out.name}", name]
        assert protoc.main(["protoc", *arguments]) == 0
        return descriptor_pb2.FileDescriptorSet.FromString(Path(out.name).read_bytes())


def pool_of(files: descriptor_pb2.FileDescriptorSet) -> descriptor_pool.DescriptorPool:
    """A pool with these files, apart from the one that generated code fills."""
    pool = descriptor_pool.DescriptorPool()
    for file in files.file:
        pool.AddSerializedFile(file.SerializeToString())
    return pool


assert http_pb2.http.number  # Importing it is what makes the extension known.
FILES = compile_proto(_HERE, "sample.proto")
POOL = pool_of(FILES)
SERVICE = POOL.FindServiceByName("sample.Sample")


def message(name: str) -> Any:
    """The class of a message of `sample.proto`."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"sample.{name}"))
