"""What is said over a WebSocket in answer to one frame of the client: events, or an error."""

from typing import Any

import orjson
from aiohttp import WSMsgType, web
from google.protobuf.message import Message

from trivet.bridge.numbering import Numbering
from trivet.kernel.catalogue import error_body
from trivet.kernel.codec.sse import StreamCodec
from trivet.kernel.errors import ServiceError

Socket = web.WebSocketResponse[bool]


class Answer:
    """The answer to one frame.

    `stream_id`, the client's name for it, stands in each of its frames. `continued` is what its response went on from, where only
    the connection knows that: the service was given the whole input instead.
    """

    def __init__(self, socket: Socket, codec: StreamCodec) -> None:
        self._socket = socket
        self._encode = codec.encode_event
        self._numbering = Numbering(codec)
        self._begun = False
        self.stream_id = ""
        self.continued = ""

    async def event(self, event: Message) -> None:
        """Say an event of the response. Raises ConnectionResetError."""
        value = self._encode(event)
        if isinstance(value, orjson.Fragment):
            value = orjson.loads(orjson.dumps(value))
        response = value.get("response")
        if self.continued and isinstance(response, dict):
            response["previous_response_id"] = self.continued
        self._begun = True
        self._numbering.passed(1, event)
        await self._say(value)

    async def failure(self, error: ServiceError) -> None:
        """Say what went wrong; in the middle of a response as an event of it. Raises ConnectionResetError."""
        status, body = error_body(error)
        event = self._numbering.failure(error) if self._begun else {"type": "error", **body}
        await self._say({**event, "status": status})

    async def _say(self, value: dict[str, Any]) -> None:
        if self.stream_id:
            value["stream_id"] = self.stream_id
        await self._socket.send_frame(orjson.dumps(value), WSMsgType.TEXT)
