"""WebSocket mode of `/responses`: order, refusals that leave the connection open, and both ends leaving."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import WSMsgType

from tests.agent.neighbours import ScriptedTools
from tests.bridge.keepers import Keeper
from tests.bridge.rig import KEY, Rig, bridge
from tests.bridge.sockets import BOUND_SECONDS, CREATE, PATH, Socket, answer, asked, over, talk, text_of
from tests.checkers.responses_stream import check_responses_stream
from trivet.bridge.answers import Answer
from trivet.bridge.settings import BridgeSettings, WebSocketSettings
from trivet.bridge.websocket import WebSockets
from trivet.kernel.errors import RateLimited, UpstreamFailed


async def closed(socket: Socket) -> tuple[int | None, str]:
    """The code and the reason with which the server closes."""
    message = await socket.receive()
    assert message.type is WSMsgType.CLOSE, message
    return message.data, message.extra


@pytest.mark.parametrize("path", ["/v1/responses", "/api/llm/responses"])
async def test_a_response_is_told_by_the_events_of_a_stream(path: str) -> None:
    keeper = Keeper([["Hel", "lo."]])
    async with over(keeper) as rig, rig.http.ws_connect(path) as socket:
        frames = await asked(socket, stream=False, event_id="evt_1")
        streamed = await rig.raw(path, {"model": "lab/m", "input": "go", "stream": True})

    over_http = [orjson.loads(line[6:]) for line in streamed.split(b"\n") if line.startswith(b"data: {")]
    assert [frame["type"] for frame in frames] == [event["type"] for event in over_http]
    assert check_responses_stream(frames) == []
    assert text_of(frames) == "Hello."
    by_socket, by_http = keeper.created
    assert (by_socket.model, by_socket.input.text, by_socket.HasField("stream"), by_socket.extra) == ("lab/m", "go", False, "")
    assert by_http.stream is True


async def test_the_parameters_may_stand_under_response() -> None:
    async with talk(Keeper()) as (_, socket):
        await socket.send_json({"type": "response.create", "response": {"model": "lab/m", "input": "go", "stream": True}})
        assert (await answer(socket))[-1]["type"] == "response.completed"


async def test_responses_are_made_one_after_another_in_the_order_asked_for() -> None:
    gate = asyncio.Event()
    keeper = Keeper([["one ", gate], ["two"], ["three"]])
    async with talk(keeper) as (_, socket):
        for name in ("a", "b"):
            await socket.send_json(CREATE | {"stream_id": name})
        await socket.send_str("{malformed")
        await socket.send_json(CREATE | {"stream_id": "c"})
        await keeper.running.wait()
        assert len(keeper.created) == 1
        gate.set()
        answers = [await answer(socket) for _ in range(4)]

    assert [{frame.get("stream_id") for frame in frames} for frames in answers] == [{"a"}, {"b"}, {None}, {"c"}]
    assert [text_of(frames) for frames in answers] == ["one ", "two", "", "three"]
    assert answers[2][0]["status"] == 400


@pytest.mark.parametrize(
    ("frame", "status", "param", "code"),
    [
        ("{malformed", 400, None, None),
        ("", 400, None, None),
        ("[]", 400, None, None),
        ("null", 400, None, None),
        (b"\xff\xfe", 400, None, None),
        ('{"type": "response.create", "model": "a", "model": "b"}', 400, "model", None),
        ("{}", 400, "type", None),
        ('{"type": 7}', 400, "type", None),
        ('{"type": "response.cancel"}', 400, "type", None),
        ('{"type": "response.steer", "input": "x", "previous_response_id": "resp_0"}', 400, "type", "unsupported_parameter"),
        ('{"type": "response.create", "input": "x"}', 400, "model", None),
        ('{"type": "response.create", "model": "lab/m"}', 400, "input", None),
        ('{"type": "response.create", "model": 1, "input": "x"}', 400, "model", None),
        ('{"type": "response.create", "response": {"input": "x"}}', 400, "model", None),
        ('{"type": "response.create", "model": "lab/m", "input": "x", "temperature": 9}', 400, "temperature", None),
        ('{"type": "response.create", "model": "lab/m", "input": "x", "generate": "no"}', 400, "generate", None),
        ('{"type": "response.create", "model": "lab/m", "input": "x", "stream_id": 1}', 400, "stream_id", None),
        (f'{{"type": "response.create", "stream_id": "{"x" * 129}"}}', 400, "stream_id", None),
        (
            '{"type": "response.create", "model": "lab/m", "input": "x", "previous_response_id": "resp_none"}',
            404,
            "previous_response_id",
            "previous_response_not_found",
        ),
    ],
)
async def test_a_frame_that_cannot_be_done_is_an_error_and_the_next_is_served(
    frame: str | bytes, status: int, param: str | None, code: str | None
) -> None:
    async with talk(Keeper()) as (_, socket):
        if isinstance(frame, bytes):
            await socket.send_frame(frame, WSMsgType.TEXT)
        else:
            await socket.send_str(frame)
        refused = orjson.loads(await socket.receive_str())
        served = await asked(socket)

    assert set(refused) == {"type", "status", "error"}
    assert (refused["type"], refused["status"]) == ("error", status)
    assert set(refused["error"]) == {"type", "code", "message", "param"}
    assert (refused["error"]["param"], refused["error"]["code"]) == (param, code)
    assert served[-1]["type"] == "response.completed"


async def test_a_binary_frame_is_an_error() -> None:
    async with talk(Keeper()) as (_, socket):
        await socket.send_bytes(orjson.dumps(CREATE))
        refused = orjson.loads(await socket.receive_str())

        assert (refused["status"], refused["error"]["message"]) == (400, "A frame must be text: a binary one cannot be read.")
        assert (await asked(socket))[-1]["type"] == "response.completed"


async def test_a_failure_before_the_first_event_has_its_status() -> None:
    class Busy(Keeper):
        async def StreamResponse(self, request: Any, context: Any) -> Any:
            raise RateLimited("Too many.")
            yield

    async with talk(Busy()) as (_, socket):
        frames = await asked(socket, stream_id="a")

    error = {"message": "Too many.", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}
    assert frames == [{"type": "error", "status": 429, "error": error, "stream_id": "a"}]


async def test_a_failure_in_the_middle_is_numbered_after_the_last_event() -> None:
    async with talk(Keeper([["a", "b", UpstreamFailed("It broke.")], ["c"]])) as (_, socket):
        frames = await asked(socket)
        assert (await asked(socket))[-1]["type"] == "response.completed"

    assert [frame["sequence_number"] for frame in frames] == list(range(7))
    assert (frames[-1]["status"], frames[-1]["message"], frames[-1]["error"]["message"]) == (502, "It broke.", "It broke.")


async def test_an_unknown_failure_leaks_nothing_and_the_connection_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Answer.event

    async def unwritable(answer: Answer, event: Any) -> None:
        monkeypatch.setattr(Answer, "event", told)
        raise ValueError("secret of the house")

    keeper = Keeper()
    async with talk(keeper) as (_, socket):
        monkeypatch.setattr(Answer, "event", unwritable)
        frames = await asked(socket)
        assert (await asked(socket))[-1]["type"] == "response.completed"

    assert (frames[0]["status"], "secret" in str(frames)) == (500, False)


@pytest.mark.parametrize(
    ("header", "code"), [("", "missing_api_key"), ("Basic abc", "missing_api_key"), ("Bearer wrong", "invalid_api_key")]
)
async def test_a_stranger_is_refused_before_the_handshake(header: str, code: str) -> None:
    async with over(Keeper()) as rig:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        key = {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}
        async with rig.http.get(PATH, headers={**upgrade, **key, "Authorization": header}) as refused:
            assert (refused.status, (await refused.json())["error"]["code"]) == (401, code)
        with pytest.raises(aiohttp.WSServerHandshakeError) as failed:
            await rig.http.ws_connect(PATH, headers={"Authorization": header})
        assert failed.value.status == 401


async def test_a_handshake_that_is_none_is_a_400_in_shape() -> None:
    async with over(Keeper()) as rig:
        for upgrade in ({"Connection": "Upgrade"}, {"Connection": "Upgrade", "Sec-WebSocket-Version": "99"}):
            async with rig.http.get(PATH, headers={"Upgrade": "websocket", **upgrade}) as refused:
                assert (refused.status, set((await refused.json())["error"])) == (400, {"message", "type", "param", "code"})


async def test_what_the_caller_tells_in_headers_travels_with_each_response() -> None:
    class Telling(Keeper):
        async def StreamResponse(self, request: Any, context: Any) -> Any:
            told.append(dict(context.invocation_metadata()))
            async for batch in super().StreamResponse(request, context):
                yield batch

    told: list[Any] = []
    async with over(Telling()) as rig:
        async with rig.http.ws_connect(PATH, headers={"x-tfy-metadata": "{}", "x-request-id": "mine-1"}) as socket:
            await asked(socket)
            await asked(socket)

    assert [(one["x-trivet-metadata"], one["x-request-id"], one["authorization"]) for one in told] == [
        ("{}", "mine-1", f"Bearer {KEY}")
    ] * 2


async def test_no_more_connections_are_open_than_may_be() -> None:
    settings = BridgeSettings(websocket=WebSocketSettings(max_connections=1))
    async with talk(Keeper(), settings) as (rig, socket):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await rig.http.ws_connect(PATH)
        assert refused.value.status == 503
        assert (await asked(socket))[-1]["type"] == "response.completed"


async def test_a_connection_that_is_closed_makes_room() -> None:
    settings = BridgeSettings(websocket=WebSocketSettings(max_connections=1))
    keeper = Keeper([["a", asyncio.Event()]])
    async with talk(keeper, settings) as (rig, socket):
        await socket.send_json(CREATE)
        await keeper.running.wait()
        await socket.close()
        await keeper.cancelled.wait()
        while not await opens(rig):
            pass


async def opens(rig: Rig) -> bool:
    try:
        async with rig.http.ws_connect(PATH):
            return True
    except aiohttp.WSServerHandshakeError:
        return False


async def test_frames_beyond_what_may_wait_are_refused() -> None:
    gate = asyncio.Event()
    keeper = Keeper([["a", gate], ["b"]])
    async with talk(keeper, BridgeSettings(websocket=WebSocketSettings(max_waiting=2))) as (_, socket):
        await socket.send_json(CREATE)
        await keeper.running.wait()
        for _ in range(3):
            await socket.send_json(CREATE)
        frames: list[Any] = []
        while not frames or frames[-1]["type"] != "error":
            frames.append(orjson.loads(await socket.receive_str()))
        gate.set()
        rest = [await answer(socket) for _ in range(3)]

    assert (frames[-1]["status"], frames[-1]["error"]["code"]) == (429, "rate_limit_exceeded")
    assert [frames[-1]["type"] for frames in rest] == ["response.completed"] * 3


async def test_frames_that_wait_are_bounded_in_bytes_too() -> None:
    gate = asyncio.Event()
    keeper = Keeper([["a", gate], ["b"]])
    async with talk(keeper, BridgeSettings(max_body_bytes=2048)) as (_, socket):
        await socket.send_json(CREATE)
        await keeper.running.wait()
        for _ in range(2):
            await socket.send_json(CREATE | {"input": "x" * 1500})
        frames: list[Any] = []
        while not frames or frames[-1]["type"] != "error":
            frames.append(orjson.loads(await socket.receive_str()))
        gate.set()
        assert [(await answer(socket))[-1]["type"] for _ in range(2)] == ["response.completed"] * 2


async def test_a_frame_too_large_closes_the_connection() -> None:
    async with talk(Keeper(), BridgeSettings(max_body_bytes=2048)) as (_, socket):
        await socket.send_json(CREATE | {"input": "x" * 4096})

        assert (await closed(socket))[0] == 1009


async def test_a_client_that_closes_cancels_what_runs_for_it() -> None:
    keeper = Keeper([["a", asyncio.Event()]])
    async with talk(keeper) as (_, socket):
        await socket.send_json(CREATE)
        await keeper.running.wait()
        await socket.close()
        await keeper.cancelled.wait()


async def test_a_client_that_vanishes_cancels_what_runs_for_it(caplog: pytest.LogCaptureFixture) -> None:
    keeper = Keeper([["a", asyncio.Event()], ["b"]])
    async with talk(keeper) as (_, socket):
        await socket.send_json(CREATE)
        await socket.send_json(CREATE)
        await keeper.running.wait()
        socket._response.connection.transport.abort()  # type: ignore[union-attr]
        await keeper.cancelled.wait()

    assert len(keeper.created) == 1
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_silent_connection_is_pinged() -> None:
    gate = asyncio.Event()
    keeper = Keeper([["a", gate]])
    async with over(keeper, BridgeSettings(heartbeat_seconds=0.01)) as rig:
        async with rig.http.ws_connect(PATH, autoping=False) as socket:
            await socket.send_json(CREATE)
            pings = 0
            while pings < 3:
                message = await socket.receive()
                pings += message.type is WSMsgType.PING
            gate.set()


async def test_a_connection_that_asks_for_nothing_is_closed() -> None:
    settings = BridgeSettings(websocket=WebSocketSettings(idle_seconds=1))
    gate = asyncio.Event()
    keeper = Keeper([["a", gate]])
    async with talk(keeper, settings) as (_, socket):
        await socket.send_json(CREATE)
        await keeper.running.wait()
        # While a response is made, nothing is idle.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(keeper.cancelled.wait(), 1.3)
        gate.set()
        assert (await answer(socket))[-1]["type"] == "response.completed"
        assert await closed(socket) == (1000, "Nothing was asked for long.")


@pytest.fixture
def drained(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Set when the connections were told that the server stops."""
    told = asyncio.Event()
    drain = WebSockets.drain

    def telling(sockets: WebSockets) -> None:
        drain(sockets)
        told.set()

    monkeypatch.setattr(WebSockets, "drain", telling)
    return told


@asynccontextmanager
async def stoppable(keeper: Keeper, grace_seconds: float) -> AsyncIterator[tuple[Socket, Callable[[], None]]]:
    """A connection to a bridge, and what begins to stop the bridge."""
    async with asyncio.timeout(BOUND_SECONDS), AsyncExitStack() as stack:
        serving = await stack.enter_async_context(AsyncExitStack())
        session = await stack.enter_async_context(aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}))
        rig = await serving.enter_async_context(bridge(keeper, ScriptedTools({}), grace_seconds=grace_seconds))
        socket = await stack.enter_async_context(session.ws_connect(f"http://{rig.address}{PATH}"))
        stopped: list[asyncio.Task[None]] = []
        yield socket, lambda: stopped.append(asyncio.create_task(serving.aclose()))
        await stopped[0]


async def test_a_server_that_stops_closes_what_is_idle() -> None:
    async with stoppable(Keeper(), grace_seconds=BOUND_SECONDS) as (socket, stop):
        assert (await asked(socket))[-1]["type"] == "response.completed"
        stop()
        assert await closed(socket) == (1001, "The server is shutting down.")


async def test_a_server_that_stops_finishes_the_running_response_and_begins_no_other(drained: asyncio.Event) -> None:
    gate = asyncio.Event()
    keeper = Keeper([["a", gate, "b"]])
    async with stoppable(keeper, grace_seconds=BOUND_SECONDS) as (socket, stop):
        await socket.send_json(CREATE)
        await socket.send_json(CREATE)
        await keeper.running.wait()
        stop()
        await drained.wait()
        gate.set()
        frames = await answer(socket)
        assert (await closed(socket))[0] == 1001

    assert (text_of(frames), frames[-1]["type"], len(keeper.created)) == ("ab", "response.completed", 1)


async def test_a_response_that_outlasts_the_grace_ends_with_an_error() -> None:
    keeper = Keeper([["a", asyncio.Event()]])
    async with stoppable(keeper, grace_seconds=0.05) as (socket, stop):
        await socket.send_json(CREATE)
        await keeper.running.wait()
        stop()
        frames = await answer(socket)
        assert (await closed(socket))[0] == 1001

    assert (frames[-1]["type"], frames[-1]["status"], frames[-1]["code"]) == ("error", 503, "overloaded")
    assert [frame["sequence_number"] for frame in frames] == list(range(len(frames)))
    assert keeper.cancelled.is_set()


async def test_a_slow_reader_holds_the_model_back() -> None:
    class Flood(Keeper):
        async def StreamResponse(self, request: Any, context: Any) -> Any:
            async for batch in super().StreamResponse(request, context):
                yield batch
            written.set()

    written = asyncio.Event()
    async with over(Flood([["x" * 60_000] * 400]), BridgeSettings(heartbeat_seconds=0.01)) as rig:
        async with rig.http.ws_connect(PATH, max_msg_size=0) as socket:
            await socket.send_json(CREATE)
            # 24 MB are more than every buffer on the way holds, so without a reader the model never gets to the end.
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(written.wait(), 0.3)
            frames = await answer(socket)

    assert written.is_set()
    assert check_responses_stream(frames) == []


async def test_a_hundred_connections_are_each_told_their_own() -> None:
    async with over(Keeper([["word "] * 20])) as rig:

        async def one(name: str) -> list[Any]:
            async with rig.http.ws_connect(PATH) as socket:
                return await asked(socket, stream_id=name)

        answers = await asyncio.gather(*(one(str(number)) for number in range(100)))

    assert [frames[0]["stream_id"] for frames in answers] == [str(number) for number in range(100)]
    assert [fault for frames in answers for fault in check_responses_stream(frames)] == []
