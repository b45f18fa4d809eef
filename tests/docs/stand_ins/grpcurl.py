"""The part of grpcurl that the documents use, for machines without it: all that it knows comes by reflection, as there."""

import argparse
import json
from typing import Any

import grpc
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase


def call(channel: grpc.Channel, method: MethodDescriptor, data: str, metadata: list[tuple[str, str]]) -> None:
    """Call `method` with the request `data`, in proto3's JSON, and print each message of the answer."""
    request = json_format.ParseDict(json.loads(data), GetMessageClass(method.input_type)())
    make: Any = channel.unary_stream if method.server_streaming else channel.unary_unary
    begin = make(
        f"/{method.containing_service.full_name}/{method.name}",
        request_serializer=GetMessageClass(method.input_type).SerializeToString,
        response_deserializer=GetMessageClass(method.output_type).FromString,
    )
    answer = begin(request, metadata=metadata, timeout=60)
    for message in answer if method.server_streaming else [answer]:
        print(json_format.MessageToJson(message))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-plaintext", action="store_true", required=True)
    parser.add_argument("-H", dest="headers", action="append", default=[])
    parser.add_argument("-d", dest="data", default="{}")
    parser.add_argument("address")
    parser.add_argument("symbol")
    arguments = parser.parse_args()
    metadata = [(name.lower(), value) for name, value in (header.split(": ", 1) for header in arguments.headers)]
    with grpc.insecure_channel(arguments.address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        if arguments.symbol == "list":
            print("\n".join(sorted(database.get_services())))
            return
        service, _, method = arguments.symbol.rpartition("/")
        found = DescriptorPool(database).FindServiceByName(service)
        call(channel, found.methods_by_name[method], arguments.data, metadata)


if __name__ == "__main__":
    main()
