"""The server: keys, health, reflection, and how it starts and stops."""

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.kernel.probe_service import SERVICE, Probe, ProbeStub, add_probe_to_server
from trivet.kernel import catalogue, errors
from trivet.kernel.auth import KeyRing
from trivet.kernel.call import Call
from trivet.kernel.chain import Chain
from trivet.kernel.client import connect
from trivet.kernel.grpcio.channel import PropagatingChannel
from trivet.kernel.health import Health
from trivet.kernel.http2.channel import Http2Channel
from trivet.kernel.methods import Methods
from trivet.kernel.server import CannotListen, Server, run_until_signal
from trivet.kernel.settings import AuthSettings, ServerSettings
from trivet.kernel.testing import Transport, serving

ASKED = StringValue(value="hello")
AUTH = AuthSettings.model_validate({"keys": [{"name": "ann", "key": "k-ann"}, {"name": "bob", "key": "k-bob"}]})
LOOPBACK = ServerSettings(grpc="127.0.0.1:0")
WIRES: tuple[Transport, ...] = ("loopback", "unix")
_Health = health_pb2.HealthCheckResponse


@asynccontextmanager
async def running(
    transport: Transport, folder: Path, probe: Probe | None = None
) -> AsyncIterator[tuple[Server, grpc.aio.Channel]]:
    """A server, and a channel to it over `transport`."""
    settings = ServerSettings(grpc=f"unix:{folder / 'trivet.sock'}") if transport == "unix" else LOOPBACK
    async with new_server(settings, probe) as server, connect(server.address) as wire:
        yield server, server.channel if transport == "in-process" else wire


def new_server(settings: ServerSettings = LOOPBACK, probe: Probe | None = None) -> Server:
    server = Server(settings, None)
    server.add(add_probe_to_server, probe or Probe())
    return server


async def happens(event: asyncio.Event) -> None:
    async with asyncio.timeout(30):
        await event.wait()


async def error_of(call: object) -> errors.ServiceError:
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await call  # type: ignore[misc]
    return catalogue.from_rpc_error(failure.value)


def bearer(value: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", value),)


@pytest.fixture
async def guarded(probe: Probe, transport: Transport) -> AsyncIterator[grpc.aio.Channel]:
    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH) as channel:
        yield channel


@pytest.mark.parametrize("header", ["Bearer k-bob", "bearer k-bob", "Bearer  k-bob "])
async def test_a_key_lets_its_holder_in_by_name(guarded: grpc.aio.Channel, probe: Probe, header: str):
    await ProbeStub(guarded).Metadata(ASKED, metadata=bearer(header))
    assert probe.principal == "bob"


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic k-bob", "k-bob"])
async def test_a_call_without_a_key_is_refused(guarded: grpc.aio.Channel, header: str):
    metadata = bearer(header) if header else ()
    assert isinstance(await error_of(ProbeStub(guarded).Echo(ASKED, metadata=metadata)), errors.MissingKey)


@pytest.mark.parametrize("key", ["k-bo", "k-bobb", "K-BOB", "k-ann k-bob"])
async def test_a_wrong_key_is_refused(guarded: grpc.aio.Channel, key: str):
    assert isinstance(await error_of(ProbeStub(guarded).Echo(ASKED, metadata=bearer(f"Bearer {key}"))), errors.InvalidKey)


async def test_a_method_that_does_not_exist_asks_for_a_key_too(guarded: grpc.aio.Channel):
    assert isinstance(await error_of(ProbeStub(guarded).Unknown(ASKED)), errors.MissingKey)


def test_a_key_ring_holds_no_key_in_plain_text():
    ring = KeyRing(AUTH)
    assert ring.principal("k-ann") == "ann"
    assert ring.principal("\udcff") is None
    assert "k-ann" not in repr(vars(ring))


def test_without_keys_nobody_gets_in():
    assert KeyRing(AuthSettings()).principal("") is None


async def test_health_needs_no_key(guarded: grpc.aio.Channel):
    stub = health_pb2_grpc.HealthStub(guarded)
    for service in ("", SERVICE):
        answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == _Health.SERVING
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.Check(health_pb2.HealthCheckRequest(service="nobody"))
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("transport", WIRES)
async def test_reflection_needs_no_key_and_names_every_service(probe: Probe, transport: Transport):
    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        answer = await call.read()
    names = {service.name for service in answer.list_services_response.service}
    assert names == {SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}


@pytest.mark.parametrize("transport", WIRES)
async def test_a_reflection_version_that_is_not_served_is_unimplemented_without_a_key(probe: Probe, transport: Transport):
    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH) as channel:
        call = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")(iter([b""]))
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED, "tools fall back to v1alpha on this code only"


async def test_a_watch_follows_the_health_of_a_service_until_the_server_stops(transport: Transport, tmp_path: Path):
    async with running(transport, tmp_path) as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        known = stub.Watch(health_pb2.HealthCheckRequest(service=SERVICE))
        unknown = stub.Watch(health_pb2.HealthCheckRequest(service="later"))
        assert (await known.read()).status == _Health.SERVING
        assert (await unknown.read()).status == _Health.SERVICE_UNKNOWN
        server.health.set(SERVICE, serving=False)
        server.health.set("later", serving=True)
        assert (await known.read()).status == _Health.NOT_SERVING
        assert (await unknown.read()).status == _Health.SERVING
        async with asyncio.timeout(30):
            await server.stop(60)
        server.health.set("later", serving=True)
        assert (await unknown.read()).status == _Health.NOT_SERVING
        assert [message async for message in unknown] == [] == [message async for message in known]


async def test_a_server_is_not_serving_before_its_start():
    server = new_server()
    answer = await health_pb2_grpc.HealthStub(server.channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == _Health.NOT_SERVING
    await server.stop(0)


async def test_running_calls_end_well_within_the_grace(transport: Transport, tmp_path: Path):
    probe = Probe()
    async with running(transport, tmp_path, probe) as (server, channel):
        call = ProbeStub(channel).CountThenWait(ASKED)
        assert (await call.read()).value == "0"
        await happens(probe.entered)
        stopping = asyncio.create_task(server.stop(60))
        await asyncio.sleep(0)
        refused = await error_of(ProbeStub(server.channel).Echo(ASKED))
        assert isinstance(refused, errors.Overloaded)
        assert not stopping.done()
        probe.proceed.set()
        assert await call.read() is grpc.aio.EOF
        async with asyncio.timeout(30):
            await stopping


async def test_no_call_is_taken_over_the_wire_while_grpcio_has_yet_to_close_its_port():
    methods = Methods(Chain(LOOPBACK, None))
    add_probe_to_server(Probe(), methods)
    health_pb2_grpc.add_HealthServicer_to_server(Health(), methods)
    server = grpc.aio.server(handlers=(methods,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with connect(f"127.0.0.1:{port}") as wire:
            assert (await ProbeStub(wire).Echo(ASKED)).value == "hello"
            methods.drain()
            assert isinstance(await error_of(ProbeStub(wire).Echo(ASKED)), errors.Overloaded)
            assert isinstance(await error_of(ProbeStub(wire).CountThenWait(ASKED).read()), errors.Overloaded)
            answer = await health_pb2_grpc.HealthStub(wire).Check(health_pb2.HealthCheckRequest())
            assert answer.status == _Health.NOT_SERVING
    finally:
        await server.stop(0)


async def test_no_call_is_taken_over_the_wire_once_the_server_stops(address: str):
    probe = Probe()
    async with new_server(ServerSettings(grpc=address), probe) as server, connect(server.address) as wire:
        call = ProbeStub(wire).CountThenWait(ASKED)
        assert (await call.read()).value == "0"
        await happens(probe.entered)
        stopping = asyncio.create_task(server.stop(60))
        await asyncio.sleep(0)
        assert isinstance(await error_of(ProbeStub(wire).Echo(ASKED)), errors.Overloaded)
        probe.proceed.set()
        assert await call.read() is grpc.aio.EOF
        async with asyncio.timeout(30):
            await stopping


async def test_calls_that_outlast_the_grace_are_told_why_they_end(transport: Transport, tmp_path: Path):
    probe = Probe()
    async with running(transport, tmp_path, probe) as (server, channel):
        call = ProbeStub(channel).CountThenWait(ASKED)
        assert (await call.read()).value == "0"
        await happens(probe.entered)
        async with asyncio.timeout(30):
            await server.stop(0)
        assert probe.left.is_set(), "clean-up has run when stop returns"
        error = await error_of(call.read())
        assert (type(error), error.message) == (errors.Overloaded, "The server is shutting down; try again.")


async def test_an_idle_reflection_stream_does_not_hold_a_stop_back(address: str):
    server = new_server(ServerSettings(grpc=address))
    await server.start()
    async with connect(server.address) as channel:
        call = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.read()

        async with asyncio.timeout(30):
            await server.stop(3600)

        assert isinstance(await error_of(call.read()), errors.Overloaded)


async def test_a_second_stop_hurries_the_first(transport: Transport, tmp_path: Path):
    probe = Probe()
    async with running(transport, tmp_path, probe) as (server, channel):
        call = ProbeStub(channel).Wait(ASKED)
        await happens(probe.entered)
        patient = asyncio.create_task(server.stop(60))
        async with asyncio.timeout(30):
            await server.stop(0)
            await patient
        assert isinstance(await error_of(call), errors.Overloaded)


async def test_a_running_call_may_still_make_calls_while_the_server_drains():
    probe, entered, proceed = Probe(), asyncio.Event(), asyncio.Event()
    server = new_server(probe=probe)

    class Outer(Probe):
        async def Echo(self, request: StringValue, context: object) -> StringValue:
            entered.set()
            await proceed.wait()
            answer: StringValue = await ProbeStub(server.channel).Echo(request)
            return answer

    outer = Server(LOOPBACK, None)
    outer.add(add_probe_to_server, Outer())
    async with server, outer:
        call = ProbeStub(outer.channel).Echo(ASKED)
        await happens(entered)
        server.channel.drain()
        proceed.set()
        assert (await call).value == "hello"


async def test_a_port_in_use_is_named():
    async with new_server() as first:
        second = new_server(ServerSettings(grpc=first.address))
        with pytest.raises(CannotListen, match=first.address):
            await second.start()
        await second.stop(0)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
async def test_port_zero_takes_a_free_port(host: str):
    if host == "[::1]" and not _has_ipv6():
        host = "localhost"
    async with new_server(ServerSettings(grpc=f"{host}:0")) as server, connect(server.address) as channel:
        assert server.address.startswith(f"{host}:")
        assert (await ProbeStub(channel).Echo(ASKED)).value == "hello"


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


@pytest.mark.parametrize("form", ["unix:{}", "unix://{}"])
async def test_a_unix_socket_serves(form: str, tmp_path: Path):
    address = form.format(tmp_path / "trivet.sock")
    async with new_server(ServerSettings(grpc=address)) as server, connect(server.address) as channel:
        assert server.address == address
        assert (await ProbeStub(channel).Echo(ASKED)).value == "hello"


async def test_the_form_of_the_address_tells_whose_wire_it_is(tmp_path: Path):
    async with connect("127.0.0.1:1") as tcp, connect("dns:///localhost:1") as named, connect(f"unix:{tmp_path}/x") as unix:
        assert isinstance(tcp, PropagatingChannel)
        assert isinstance(named, PropagatingChannel)
        assert isinstance(unix, Http2Channel)


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGINT]])
async def test_a_signal_stops_with_the_grace(signals: list[signal.Signals]):
    graces: list[float] = []

    async def stop(grace: float) -> None:
        graces.append(grace)

    running = asyncio.create_task(run_until_signal(stop, 7))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signals[0])
    async with asyncio.timeout(30):
        await running
    assert graces == [7]


async def test_whoever_reads_the_announcement_may_send_the_signal():
    graces: list[float] = []

    async def stop(grace: float) -> None:
        graces.append(grace)

    async with asyncio.timeout(30):
        await run_until_signal(stop, 7, announce=lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert graces == [7]


async def test_a_second_signal_stops_at_once():
    graces = asyncio.Queue[float]()

    async def stop(grace: float) -> None:
        graces.put_nowait(grace)
        if grace:
            await asyncio.Event().wait()

    running = asyncio.create_task(run_until_signal(stop, 7))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        os.kill(os.getpid(), signal.SIGTERM)
        assert await graces.get() == 7
        os.kill(os.getpid(), signal.SIGTERM)
        assert await graces.get() == 0
        await running


async def test_a_stop_that_fails_is_heard_of():
    async def stop(grace: float) -> None:
        raise RuntimeError("cannot stop")

    running = asyncio.create_task(run_until_signal(stop, 7))
    await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(30):
        with pytest.raises(RuntimeError, match="cannot stop"):
            await running


async def test_what_judges_a_request_stands_below_authentication(probe: Probe, transport: Transport):
    seen: list[tuple[str | None, str]] = []

    def judge(call: Call) -> None:
        seen.append((call.principal, call.request.value))
        if call.request.value == "bad":
            raise errors.InvalidRequest("Say something else.", "value")

    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH, judges=[judge]) as channel:
        stub = ProbeStub(channel)
        await stub.Echo(ASKED, metadata=bearer("Bearer k-ann"))
        error = await error_of(stub.Echo(StringValue(value="bad"), metadata=bearer("Bearer k-ann")))
        await error_of(stub.Echo(ASKED))
    assert seen == [("ann", "hello"), ("ann", "bad")]
    assert (type(error), error.param) == (errors.InvalidRequest, "value")


@pytest.mark.parametrize("transport", WIRES)
async def test_bytes_that_are_no_message_are_an_invalid_request_after_authentication(probe: Probe, transport: Transport):
    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH) as channel:
        raw = channel.unary_unary(f"/{SERVICE}/Echo")
        assert isinstance(await error_of(raw(b"\xff\xff\xff")), errors.MissingKey)
        assert isinstance(await error_of(raw(b"\xff\xff\xff", metadata=bearer("Bearer k-ann"))), errors.InvalidRequest)


@pytest.mark.parametrize("transport", WIRES)
async def test_a_message_above_the_limit_is_too_large(probe: Probe, transport: Transport):
    settings = ServerSettings(max_message_bytes=1024)
    async with serving(add_probe_to_server, probe, transport=transport, settings=settings) as channel:
        error = await error_of(ProbeStub(channel).Echo(StringValue(value="x" * 2000)))
    assert isinstance(error, errors.PayloadTooLarge)


async def test_a_service_is_registered_once():
    server = new_server()
    with pytest.raises(ValueError, match="registered twice"):
        server.add(add_probe_to_server, Probe())
    await server.stop(0)
