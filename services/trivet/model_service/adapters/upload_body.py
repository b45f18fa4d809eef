"""A form with a file as the body of an upstream request, written as the file arrives."""

import secrets
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import Any, Final

import orjson

from trivet.model_service.domain.audio import AudioFile

_BREAK: Final = b"\r\n"
_ESCAPES: Final = {ord('"'): "%22", ord("\r"): "%0D", ord("\n"): "%0A"}


class UploadBody:
    """`multipart/form-data` of fields, one file, and the fields that came after the file.

    `length` is its size in bytes, None where that of the file is not known, and so neither what comes after it.
    """

    def __init__(self, fields: Mapping[str, Any], file_field: str, file: AudioFile) -> None:
        """`fields` are JSON values: a list is one part for each element, under the name with `[]`."""
        self._boundary = f"trivet-{secrets.token_hex(16)}"
        kind = file.content_type if file.content_type.isprintable() else ""
        about = f'{_named(file_field)}; filename="{_escaped(file.name or "audio")}"\r\n'
        about += f"Content-Type: {kind or 'application/octet-stream'}"
        self._front = f"{self._parts(fields)}{self._part(about, '')}".encode()
        self._end = f"--{self._boundary}--\r\n".encode()
        self.file = file
        self.fields = fields
        self.content_type = f"multipart/form-data; boundary={self._boundary}"
        self.length = None if file.size is None else len(self._front) + file.size + len(_BREAK) + len(self._end)

    @property
    def headers(self) -> dict[str, str]:
        """What it is, and how its end is found."""
        framing = {"Transfer-Encoding": "chunked"} if self.length is None else {"Content-Length": str(self.length)}
        return {"Content-Type": self.content_type, **framing}

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The body."""
        yield self._front
        async for piece in self.file.content.read():
            yield piece
        # What is there already is not the caller's own, who has said nothing twice: the target's value stands.
        late = {
            name: value for name, value in self.file.content.late.items() if name not in self.fields or isinstance(value, list)
        }
        yield _BREAK + self._parts(late).encode() + self._end

    def _parts(self, fields: Mapping[str, Any]) -> str:
        return "".join(f"{self._part(_named(name), value)}\r\n" for name, value in _pairs(fields))

    def _part(self, about: str, value: str) -> str:
        return f"--{self._boundary}\r\nContent-Disposition: form-data; {about}\r\n\r\n{value}"


def _pairs(fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, list):
            for element in value:
                yield (name if name.endswith("[]") else f"{name}[]"), _text(element)
        elif value is not None:
            yield name, _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _named(name: str) -> str:
    return f'name="{_escaped(name)}"'


def _escaped(name: str) -> str:
    """A name as browsers write it between quotes."""
    return name.translate(_ESCAPES)
