"""How a server is reached, by which of its addresses, over TLS, and which connections are kept for the next call."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kernel.http1.certificates import Authority
from tests.upstreams.scripted import ScriptedUpstream, answer
from trivet.kernel.errors import UpstreamFailed, UpstreamTimeout
from trivet.kernel.http1 import origin as origins
from trivet.kernel.http1.connection import Connection, Patience
from trivet.kernel.http1.failures import BrokenError, LateError, UnreachableError
from trivet.kernel.http1.origin import Origin
from trivet.model_service.adapters.upstream_answer import UpstreamLimits
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.adapters.upstream_site import Endpoint

HEAD = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Origin]:
    origin = Origin(url, Patience(60, 60))
    try:
        yield origin
    finally:
        origin.close()
        await asyncio.sleep(0)


async def call(origin: Origin) -> Connection:
    """A call to its end."""
    connection = origin.free() or await origin.open(60)
    connection.start(HEAD, b"")
    await connection.head()
    while await connection.read():
        pass
    connection.release()
    return connection


async def closed_by(upstream: ScriptedUpstream, connection: Connection) -> None:
    for transport in upstream.transports:
        transport.close()
    await upstream.until(lambda: upstream.open == 0)
    async with asyncio.timeout(30):
        while connection.is_open:
            await asyncio.sleep(0)


# ---- kept connections ----------------------------------------------------------------------------------------------


async def test_the_connection_that_was_free_last_serves_next(upstream: ScriptedUpstream) -> None:
    async with opened(upstream.base_url) as origin:
        first, second = await origin.open(60), await origin.open(60)
        for connection in (first, second):
            upstream.play(answer({}))
            connection.start(HEAD, b"")
            await connection.head()
            connection.release()
        assert [origin.free(), origin.free(), origin.free()] == [second, first, None]


async def test_as_many_calls_run_as_are_wanted(upstream: ScriptedUpstream) -> None:
    gate = asyncio.Event()
    async with opened(upstream.base_url) as origin:
        for _ in range(60):
            upstream.play(gate, answer({}))
        calls = [asyncio.ensure_future(call(origin)) for _ in range(60)]
        await upstream.until(lambda: len(upstream.requests) == 60)
        gate.set()
        await asyncio.gather(*calls)
        assert upstream.connections == 60


async def test_a_connection_that_the_server_closed_serves_no_call(upstream: ScriptedUpstream) -> None:
    async with opened(upstream.base_url) as origin:
        upstream.play(answer({}))
        await closed_by(upstream, await call(origin))
        assert origin.free() is None


async def test_a_connection_whose_end_has_come_unread_serves_no_call_that_cannot_be_sent_again() -> None:
    """The loop does not run between the end and the question, so nobody can have told of it."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        async with opened(f"http://127.0.0.1:{listening.getsockname()[1]}") as origin:
            connection = await origin.open(5)
            peer, _ = listening.accept()
            with peer:
                for _ in range(2):
                    connection.start(HEAD, b"")
                    peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
                    await connection.head()
                    connection.release()
                    assert origin.free(surely=True) is connection
                connection.release()
            assert connection.is_open
            assert origin.free(surely=True) is None


@pytest.mark.parametrize(("warned_seconds", "kept"), [(600.0, False), (0.0, True)])
async def test_a_server_that_closes_right_after_an_answer_gets_a_new_connection_for_each_call_for_a_while(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, warned_seconds: float, kept: bool
) -> None:
    monkeypatch.setattr(origins, "_AT_ONCE_SECONDS", 600.0)
    monkeypatch.setattr(origins, "_WARNED_SECONDS", warned_seconds)
    async with opened(upstream.base_url) as origin:
        for _ in range(2):
            upstream.play(answer({}))
        await closed_by(upstream, await call(origin))
        assert (await call(origin)).is_open is kept


async def test_a_connection_that_waited_too_long_serves_no_call(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(upstream.base_url) as origin:
        upstream.play(answer({}))
        connection = await call(origin)
        monkeypatch.setattr(origins, "_IDLE_SECONDS", 0.0)
        assert origin.free() is None
        assert not connection.is_open
        await upstream.until(lambda: upstream.open == 0)


async def test_connections_that_nobody_uses_are_closed(upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "_IDLE_SECONDS", 0.02)
    async with opened(upstream.base_url) as origin:
        for _ in range(3):
            upstream.play(answer({}))
        await asyncio.gather(*(call(origin) for _ in range(3)))
        await upstream.until(lambda: upstream.connections == 3 and upstream.open == 0)
        upstream.play(answer({}))
        await call(origin)
        await upstream.until(lambda: upstream.connections == 4 and upstream.open == 0)


async def test_closing_ends_calls_and_connections_and_takes_no_more(upstream: ScriptedUpstream) -> None:
    async with opened(upstream.base_url) as origin:
        upstream.play(answer({}))
        await call(origin)
        upstream.play(asyncio.Event())
        running = asyncio.ensure_future(call(origin))
        await upstream.until(lambda: len(upstream.requests) == 2)
        free = await origin.open(60)
        origin.close()
        with pytest.raises(BrokenError):
            await running
        with pytest.raises(UnreachableError):
            await origin.open(60)
        assert not free.is_open
        await upstream.until(lambda: upstream.open == 0)


async def test_a_call_that_ends_after_closing_leaves_no_connection(upstream: ScriptedUpstream) -> None:
    async with opened(upstream.base_url) as origin:
        upstream.play(answer({}))
        connection = await origin.open(60)
        connection.start(HEAD, b"")
        await connection.head()
        origin.close()
        connection.release()
        assert origin.free() is None
        await upstream.until(lambda: upstream.open == 0)


# ---- reaching ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def silent() -> AsyncIterator[int]:
    """The port of a server that takes connections and says nothing."""
    server = await asyncio.start_server(lambda _, writer: writers.append(writer), "127.0.0.1", 0)
    writers: list[asyncio.StreamWriter] = []
    yield server.sockets[0].getsockname()[1]
    for writer in writers:
        writer.transport.abort()
    server.close()
    await server.wait_closed()


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> list[str]:
    """Lets every name have these addresses; the names that were looked up are in the list."""
    asked: list[str] = []

    async def look_up(self: Origin, _: asyncio.AbstractEventLoop) -> list[Any]:
        asked.append(self._host)
        await asyncio.sleep(0)
        self._addresses_until = asyncio.get_running_loop().time() + origins._ADDRESSES_SECONDS
        families = [socket.AF_INET6 if ":" in host else socket.AF_INET for host, _ in addresses]
        return [
            (family, socket.SOCK_STREAM, 6, "", (host, port) if family == socket.AF_INET else (host, port, 0, 0))
            for family, (host, port) in zip(families, addresses, strict=True)
        ]

    monkeypatch.setattr(Origin, "_look_up", look_up)
    return asked


async def test_an_address_that_refuses_is_followed_by_the_next(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ScriptedUpstream() as gone:
        closed = gone.port
    resolving(monkeypatch, ("::1", closed), ("127.0.0.1", closed), ("127.0.0.1", upstream.port))
    upstream.play(answer({}))
    async with opened("http://twin.test") as origin:
        assert (await call(origin)).is_open


async def test_an_address_that_does_not_answer_does_not_hold_up_the_next(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 192.0.2.0/24 is for documents: nobody answers there, or the way to it is refused at once.
    resolving(monkeypatch, ("192.0.2.1", 9), ("127.0.0.1", upstream.port))
    monkeypatch.setattr(origins, "_NEXT_ADDRESS_SECONDS", 0.01)
    upstream.play(answer({}))
    async with opened("http://twin.test") as origin:
        assert (await call(origin)).is_open


async def test_a_name_is_looked_up_once_for_all_who_wait_and_for_a_while(
    upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = resolving(monkeypatch, ("127.0.0.1", upstream.port))
    async with opened("http://busy.test") as origin:
        first = asyncio.ensure_future(origin.open(60))
        others = [asyncio.ensure_future(origin.open(60)) for _ in range(20)]
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.gather(*others)
        await origin.open(60)
        assert asked == ["busy.test"]
        monkeypatch.setattr(origin, "_addresses_until", 0.0)
        await origin.open(60)
        assert asked == ["busy.test"] * 2


async def test_a_name_that_is_not_known_is_asked_for_again() -> None:
    async with opened("http://nowhere.invalid") as origin:
        for _ in range(2):
            with pytest.raises(UnreachableError):
                await origin.open(60)


async def test_who_gives_the_addresses_decides_where_each_connection_goes(upstream: ScriptedUpstream) -> None:
    answers: list[list[str] | Exception] = [["127.0.0.2", "127.0.0.1"], LookupError("nobody goes there")]

    async def find() -> list[str]:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    port = upstream.base_url.rpartition(":")[2].partition("/")[0]
    origin = Origin(f"http://unknown.invalid:{port}", Patience(5, 5), find=find)
    try:
        upstream.play(answer({}))
        await call(origin)
        assert origin.free() is not None
        with pytest.raises(LookupError):
            await origin.open(5)
    finally:
        origin.close()
        await asyncio.sleep(0)


async def test_a_server_by_its_own_name_is_reached(upstream: ScriptedUpstream) -> None:
    upstream.play(answer({}))
    async with opened(f"http://localhost:{upstream.port}") as origin:
        assert (await call(origin)).is_open


async def test_leaving_while_a_connection_is_opened_leaves_none(silent: int) -> None:
    async with opened(f"https://127.0.0.1:{silent}") as origin:
        opening = asyncio.ensure_future(origin.open(60))
        while not origin._opening:
            await asyncio.sleep(0)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert (origin._all, origin._opening) == (set(), set())


async def test_closing_ends_what_is_being_opened(silent: int) -> None:
    async with opened(f"https://127.0.0.1:{silent}") as origin:
        opening = asyncio.ensure_future(origin.open(60))
        while not origin._opening:
            await asyncio.sleep(0)
        origin.close()
        with pytest.raises(UnreachableError):
            await opening


async def test_a_handshake_that_does_not_end_is_late(silent: int) -> None:
    async with opened(f"https://127.0.0.1:{silent}") as origin:
        with pytest.raises(LateError):
            await origin.open(0.05)
    http = UpstreamHttp("lab", Endpoint(f"https://127.0.0.1:{silent}"), limits=UpstreamLimits(connect_seconds=0.05))
    with pytest.raises(UpstreamTimeout):
        await http.get_json("models")
    await http.aclose()


# ---- TLS -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    """An authority that this process trusts while the test runs."""
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.certificate))
    origins._trusting_as_the_system.cache_clear()
    yield made
    origins._trusting_as_the_system.cache_clear()


async def test_a_server_that_is_vouched_for_is_spoken_to(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    context = authority.server("localhost", "127.0.0.1")
    context.sni_callback = lambda _socket, name, _context: seen.append(name)
    async with ScriptedUpstream(context) as upstream:
        resolving(monkeypatch, ("127.0.0.1", upstream.port))
        for host in ("localhost", "127.0.0.1", "localhost."):
            http = UpstreamHttp("lab", Endpoint(f"https://{host}:{upstream.port}/v1"))
            for n in range(3):
                upstream.play(answer({"n": n}))
                assert await http.post_json("chat", {"long": "x" * 300_000}) == {"n": n}
            await http.aclose()
        assert upstream.connections == 3
        assert seen == ["localhost", None, "localhost"]
        assert [request.headers["host"] for request in upstream.requests[::3]] == [
            f"localhost:{upstream.port}",
            f"127.0.0.1:{upstream.port}",
            f"localhost.:{upstream.port}",
        ]


async def refused(context: ssl.SSLContext, host: str = "localhost") -> None:
    async with ScriptedUpstream(context) as upstream:
        await unreachable(f"https://{host}:{upstream.port}/v1")
        assert upstream.requests == []


async def unreachable(url: str) -> None:
    http = UpstreamHttp("lab", Endpoint(url, "sk-secret"))
    with pytest.raises(UpstreamFailed) as error:
        await http.get_json("models")
    assert error.value.upstream_status == 503
    await http.aclose()


async def test_a_certificate_of_another_name_is_refused(authority: Authority) -> None:
    await refused(authority.server("example.com", "127.0.0.2"))


async def test_a_certificate_of_another_address_is_refused(authority: Authority) -> None:
    await refused(authority.server("localhost", "127.0.0.2"), "127.0.0.1")


async def test_a_certificate_that_is_over_is_refused(authority: Authority) -> None:
    await refused(authority.server("localhost", expired=True))


async def test_a_certificate_of_nobody_is_refused(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    await refused(Authority(tmp_path / "other").server("localhost"))


async def test_a_server_without_tls_is_refused(authority: Authority) -> None:
    def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as server:
        await unreachable(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")


async def test_a_server_with_tls_does_not_understand_a_call_without(authority: Authority) -> None:
    async with ScriptedUpstream(authority.server("localhost")) as upstream:
        http = UpstreamHttp("lab", Endpoint(f"http://localhost:{upstream.port}/v1"))
        with pytest.raises(UpstreamFailed):
            await http.get_json("models")
        await http.aclose()
