"""A form with a file as the body of an upstream request, written as the file arrives."""

import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import orjson

from trivet.model_service.domain.audio import AudioFile

_ESCAPES = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}


class UploadBody:
    """`multipart/form-data` of fields, which come first, and one file.

    `length` is its size in bytes, None where that of the file is not known.
    """

    def __init__(self, fields: Mapping[str, Any], file_field: str, file: AudioFile) -> None:
        """`fields` are JSON values: a list is one part for each element, under the name with `[]`."""
        boundary = f"trivet-{secrets.token_hex(16)}"
        named = _escaped(file.name or "audio")
        kind = _one_line(file.content_type) or "application/octet-stream"
        head = f'name="{_escaped(file_field)}"; filename="{named}"\r\nContent-Type: {kind}'
        parts = [(f'name="{_escaped(name)}"', value) for name, value in _pairs(fields)]
        texts = [f"--{boundary}\r\nContent-Disposition: form-data; {about}\r\n\r\n{value}\r\n" for about, value in parts]
        self._front = f"{''.join(texts)}--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self.file = file
        self.content_type = f"multipart/form-data; boundary={boundary}"
        self.length = None if file.size is None else len(self._front) + file.size + len(self._end)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body."""
        yield self._front
        async for piece in self.file.content.read():
            yield piece
        yield self._end


def _pairs(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, list):
            for element in value:
                yield (name if name.endswith("[]") else f"{name}[]"), _text(element)
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _escaped(name: str) -> str:
    """A name as browsers write it between quotes."""
    return name.translate(_ESCAPES)


def _one_line(text: str) -> str:
    return text if text.isprintable() else ""
