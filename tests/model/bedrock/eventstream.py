"""Writes AWS's binary event stream: what botocore only reads."""

import json
import struct
from typing import Any
from zlib import crc32


def message(headers: dict[str, str], payload: bytes) -> bytes:
    """One message: its lengths and their checksum, headers of type 7 (text), payload, and the checksum of it all."""
    encoded = b"".join(
        struct.pack("!B", len(name)) + name.encode() + b"\x07" + struct.pack("!H", len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 12 + len(encoded) + len(payload) + 4, len(encoded))
    checked = prelude + struct.pack("!I", crc32(prelude)) + encoded + payload
    return checked + struct.pack("!I", crc32(checked))


def event(name: str, **body: Any) -> bytes:
    """An event of a Converse stream, with the padding that AWS adds."""
    headers = {":event-type": name, ":content-type": "application/json", ":message-type": "event"}
    return message(headers, json.dumps({**body, "p": "abcdefghij"}).encode())


def exception(name: str, text: str) -> bytes:
    """An exception in place of an event."""
    headers = {":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}
    return message(headers, json.dumps({"message": text}).encode())


def failure(code: str, text: str) -> bytes:
    """What went wrong outside of the service: it has no body."""
    return message({":message-type": "error", ":error-code": code, ":error-message": text}, b"")
