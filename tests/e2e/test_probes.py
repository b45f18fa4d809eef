"""What orchestrators and gRPC tools ask of every process: health, watched or not, and reflection. Neither needs a key."""

import asyncio
from collections.abc import Sequence

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.e2e.shapes import SERVICES, Shape
from trivet.standalone.parts import COMPANIONS

pytestmark = pytest.mark.asyncio(loop_scope="session")

SERVING = health_pb2.HealthCheckResponse.SERVING
Asked = reflection_pb2.ServerReflectionRequest


@pytest.mark.parametrize("service", SERVICES)
async def test_health_is_told_once_and_on(shape: Shape, service: str) -> None:
    stub = health_pb2_grpc.HealthStub(shape.channels[service])

    async with asyncio.timeout(30):
        for name in ("", SERVICES[service]):
            asked = health_pb2.HealthCheckRequest(service=name)
            assert (await stub.Check(asked)).status == SERVING
            watched = stub.Watch(asked)
            assert (await watched.read()).status == SERVING
            watched.cancel()


async def reflected(shape: Shape, service: str, *asked: Asked) -> Sequence[reflection_pb2.ServerReflectionResponse]:
    stub = reflection_pb2_grpc.ServerReflectionStub(shape.channels[service])
    async with asyncio.timeout(30):
        return [answer async for answer in stub.ServerReflectionInfo(iter(asked))]


@pytest.mark.parametrize("service", SERVICES)
async def test_a_process_describes_its_services(shape: Shape, service: str) -> None:
    listed, found = await reflected(shape, service, Asked(list_services="*"), Asked(file_containing_symbol=SERVICES[service]))

    names = {one.name for one in listed.list_services_response.service}
    own = {SERVICES[service]} if shape.processes else set(SERVICES.values())
    companions = set(COMPANIONS["model"]) if SERVICES["model"] in own else set()
    assert names == own | companions | {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    files = [FileDescriptorProto.FromString(file) for file in found.file_descriptor_response.file_descriptor_proto]
    assert SERVICES[service] in {f"{file.package}.{one.name}" for file in files for one in file.service}


async def test_the_bridge_is_ready(shape: Shape) -> None:
    async with shape.http.get("/readyz", headers={"Authorization": ""}) as answer:
        ready = await answer.json()
    async with shape.http.get("/healthz", headers={"Authorization": ""}) as answer:
        alive = await answer.json()

    assert ready == {"status": "ready", "services": dict.fromkeys(SERVICES.values(), "serving")}
    assert alive == {"status": "ok"}
