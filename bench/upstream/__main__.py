"""Serves the upstream: `python -m bench.upstream PORT`.

A bare asyncio protocol on uvloop, because whatever the upstream takes of the machine, the target can't have. It understands just
enough HTTP for clients that keep connections and do not pipeline. `GET /counts` tells what it has answered so far.
"""

import asyncio
import json
import sys
from collections import Counter
from dataclasses import replace
from typing import cast

import uvloop

from bench.upstream.dialects import DIALECTS, Chat, Frames, ToolCall, words
from bench.upstream.scripts import Script, script_in

_OK = b"HTTP/1.1 200 OK\r\nContent-Type: "
_STREAM = _OK + b"text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
_END = b"0\r\n\r\n"

_GOLDEN = 0.618034
"""Multiples of it, without what stands before the point, are spread evenly, however many there are."""

counts: Counter[str] = Counter()


def piece(data: bytes) -> bytes:
    """A piece of an HTTP body in chunked coding; none for no data, which would end the body."""
    return b"%x\r\n%s\r\n" % (len(data), data) if data else b""


class Connection(asyncio.Protocol):
    """One connection: requests that come one after the other."""

    _transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received = self._received + data if self._received else data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end]
        body = _body(head.lower(), self._received, end + 4)
        if body is None:
            return
        self._received = b""
        method, path, _ = head.split(b" ", 2)
        if method == b"POST":
            self._answer(path.decode(), body)
        else:
            self._tell(path)

    def _tell(self, path: bytes) -> None:
        told = counts if path == b"/counts" else {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": "bench"}]}
        self._write_json(json.dumps(told).encode())

    def _write_json(self, body: bytes) -> None:
        self._transport.write(_OK + b"application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def _answer(self, path: str, body: bytes) -> None:
        counts["requests"] += 1
        dialect = DIALECTS.get(path)
        if dialect is None:
            self._transport.write(_NOT_FOUND)
            return
        script = script_in(body)
        texts, call = words(script.size), None
        if script.kind == "agent" and (name := dialect.tool_of(json.loads(body))):
            texts, call = (), ToolCall(name, '{"text":"legs"}')
        if b'"stream":true' not in body and b'"stream": true' not in body:
            counts["chunks"] += 1
            self._write_json(dialect.whole(texts, call))
            return
        frames = dialect.stream(texts, call, usage=b'"include_usage"' in body)
        self._transport.write(_STREAM + piece(frames.head))
        if script.kind in ("paced", "tagged"):
            self._pace(script, frames, 0)
        elif script.kind == "held":
            self._write_chunk(frames.chunks[0])
            self._timer = asyncio.get_running_loop().call_later(
                script.pause_ms / 1000, self._write_all, replace(frames, chunks=frames.chunks[1:])
            )
        else:
            self._write_all(frames)

    def _write_chunk(self, chunk: bytes) -> None:
        counts["chunks"] += 1
        self._transport.write(piece(chunk))

    def _write_all(self, frames: Frames) -> None:
        for chunk in frames.chunks:
            self._write_chunk(chunk)
        self._transport.write(piece(frames.tail) + _END)

    def _pace(self, script: Script, frames: Frames, number: int) -> None:
        if number == len(frames.chunks):
            self._transport.write(piece(frames.tail) + _END)
            return
        tagged = script.kind == "tagged"
        self._write_chunk(Chat.chunk(f" {script.tag}.{number}") if tagged else frames.chunks[number])
        pause = script.pause_ms / 1000
        if number == 0 and not tagged:
            counts["paced"] += 1
            pause += counts["paced"] * _GOLDEN % 1 * pause
        self._timer = asyncio.get_running_loop().call_later(pause, self._pace, script, frames, number + 1)


def _body(head: bytes, received: bytes, start: int) -> bytes | None:
    """The body, once it is there: of the length that is told, or in chunked coding."""
    if (at := head.find(b"content-length:")) >= 0:
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        return received[start : start + length] if len(received) >= start + length else None
    if b"transfer-encoding: chunked" not in head:
        return b""
    body = b""
    while (line := received.find(b"\r\n", start)) >= 0:
        size = int(received[start:line], 16)
        if len(received) < line + size + 4:
            return None
        if not size:
            return body
        body += received[line + 2 : line + 2 + size]
        start = line + size + 4
    return None


async def serve(port: int) -> None:
    """Serve until the process ends."""
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
