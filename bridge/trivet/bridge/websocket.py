"""WebSocket mode of `/responses`: a connection over which a client asks for one response after another.

Each frame of the client is answered in its turn, by the events that a stream over HTTP has as its data, or by an error. What
the client asks for is asked of the service as over HTTP; only the last response that is stored nowhere is remembered here.
"""

import asyncio
import logging
from typing import Any, Final

import grpc
from aiohttp import WSCloseCode, WSMsgType, web
from google.protobuf.message import Message

from trivet.bridge import client_frames
from trivet.bridge.answers import Answer, Socket
from trivet.bridge.client_frames import Frame
from trivet.bridge.contract import Operation, Rpc
from trivet.bridge.handlers import Gateway
from trivet.bridge.headers import Metadata
from trivet.bridge.inbox import Inbox
from trivet.bridge.interruption import interruption
from trivet.bridge.request import Request
from trivet.bridge.settings import BridgeSettings
from trivet.bridge.unkept import Memory
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.sse import stream_codec
from trivet.kernel.errors import InternalError, InvalidRequest, MethodNotAllowed, Overloaded, RateLimited, ServiceError

_FAREWELL_SECONDS: Final = 2.0
"""How long a client may take to answer that the connection is closed."""

_log = logging.getLogger("trivet.bridge")


class WebSockets:
    """Serves WebSocket mode of an operation that has a stream."""

    def __init__(self, gateway: Gateway, operation: Operation, settings: BridgeSettings) -> None:
        self._gateway = gateway
        self._operation = operation
        self._settings = settings
        self._open: set[_Connection] = set()
        self._draining = False

    def apply(self, settings: BridgeSettings) -> None:
        """Serve connections that are opened from now on by these settings."""
        self._settings = settings

    async def serve(self, request: Request) -> web.StreamResponse:
        """Serve a connection to its end. Raises ServiceError, or aiohttp's refusal, before the handshake."""
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise MethodNotAllowed(request.method, "POST")
        sent = self._gateway.admit(request)
        if self._draining:
            raise Overloaded("The server is shutting down; try again.")
        if len(self._open) >= self._settings.websocket.max_connections:
            raise Overloaded("Too many WebSocket connections are open; try again later.")
        # No compression: a frame is mostly too small to gain by it. Bytes, because the JSON parser is who checks them.
        socket: Socket = web.WebSocketResponse(
            timeout=_FAREWELL_SECONDS, compress=False, max_msg_size=self._settings.max_body_bytes, decode_text=False
        )
        socket.headers.update(request.marks)
        connection = _Connection(request, socket, _Asking(self._gateway, self._operation, sent), self._settings)
        self._open.add(connection)
        try:
            await socket.prepare(request)
            await connection.run()
        finally:
            self._open.discard(connection)
        return socket

    def drain(self) -> None:
        """Close each connection as soon as it has answered what it is answering now."""
        self._draining = True
        for connection in self._open:
            connection.drain()


class _Asking:
    """How a connection asks for a response, with the metadata that its handshake brought."""

    def __init__(self, gateway: Gateway, operation: Operation, sent: Metadata) -> None:
        assert operation.stream is not None
        self._gateway = gateway
        self._sent = sent
        self._rpc: Rpc = operation.stream
        self.request_codec = operation.request_codec
        self.stream_codec = stream_codec(self._rpc.descriptor)

    def call(self, request: Message) -> Any:
        return self._gateway.call(self._rpc, request, self._sent)

    def end(self, call: Any) -> None:
        self._gateway.end(call)

    def events(self, batch: Message) -> Any:
        return getattr(batch, self.stream_codec.events_name)


class _Connection:
    def __init__(self, request: Request, socket: Socket, asking: _Asking, settings: BridgeSettings) -> None:
        self._request = request
        self._socket = socket
        self._asking = asking
        self._inbox = Inbox(settings.websocket.max_waiting, settings.max_body_bytes)
        self._memory = Memory(settings.max_body_bytes)
        self._idle_seconds = settings.websocket.idle_seconds
        self._heartbeat_seconds = settings.heartbeat_seconds
        self._draining = False

    def drain(self) -> None:
        """Close the connection once what is being answered now is."""
        self._draining = True
        self._inbox.close()

    async def run(self) -> None:
        """Take the client's frames until the connection is closed, from either end, and answer them meanwhile."""
        tasks = [asyncio.create_task(self._answer_all()), asyncio.create_task(self._beat())]
        try:
            async for message in self._socket:
                if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                    await self._take(Frame(bytes(message.data), message.type is WSMsgType.TEXT))
        except ConnectionResetError:
            pass  # The client left while it was told something.
        finally:
            for task in tasks:
                task.cancel()
            # The client has left for them, too.
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _take(self, frame: Frame) -> None:
        if not self._inbox.offer(frame):
            await self._new_answer().failure(RateLimited("Too many frames wait for their turn: this one was dropped."))

    async def _beat(self) -> None:
        # aiohttp would do this, and disconnect whoever does not answer at once: a client that reads slowly answers late.
        while True:
            await asyncio.sleep(self._heartbeat_seconds)
            await self._socket.ping()

    async def _answer_all(self) -> None:
        while not self._draining:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    frame = await self._inbox.next()
            except TimeoutError:
                await self._socket.close(message=b"Nothing was asked for long.")
                return
            if frame is not None:
                await self._answer(frame)
        await self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"The server is shutting down.")

    async def _answer(self, frame: Frame) -> None:
        answer = self._new_answer()
        try:
            asked = client_frames.parsed(frame)
            answer.stream_id = client_frames.stream_id(asked)
            await self._respond(client_frames.parameters(asked), answer)
        except ServiceError as error:
            await answer.failure(error)
        except grpc.aio.AioRpcError as error:
            await answer.failure(from_rpc_error(error))
        except ConnectionResetError:
            raise
        except asyncio.CancelledError:
            if (interrupted := interruption(self._request)) is None:
                raise
            await answer.failure(interrupted)
        except Exception:  # noqa: BLE001 - the last boundary before the client: what it is, is not for strangers
            _log.exception("response over a WebSocket failed request_id=%s", self._request.id)
            await answer.failure(InternalError())

    async def _respond(self, parameters: dict[str, Any], answer: Answer) -> None:
        try:
            request = self._asking.request_codec.decode(parameters, strict=True)
        except InvalidRequest:
            self._memory.forget(parameters.get("previous_response_id"))
            raise
        turn = self._memory.begin(request)
        answer.continued = turn.continued
        call = self._asking.call(request)
        try:
            while isinstance(batch := await call.read(), Message):
                for event in self._asking.events(batch):
                    turn.passed(event)
                    await answer.event(event)
        finally:
            self._asking.end(call)

    def _new_answer(self) -> Answer:
        return Answer(self._socket, self._asking.stream_codec)
