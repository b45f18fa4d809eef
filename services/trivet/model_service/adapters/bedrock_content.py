"""Parts of a conversation as content blocks of Bedrock's Converse."""

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from trivet.kernel.errors import InvalidRequest, UnsupportedParameter
from trivet.model_service.domain.turn import Audio, File, Image, Part, Refusal, Text

Json = dict[str, Any]

_DATA_URL: Final = re.compile(r"data:(?P<type>[^;,]*)(?:;[^,]*)?;base64,", re.IGNORECASE)
_IMAGES: Final = {"image/png": "png", "image/jpeg": "jpeg", "image/jpg": "jpeg", "image/gif": "gif", "image/webp": "webp"}
_DOCUMENTS: Final = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}
_NAME_CHARACTERS: Final = 180


class Blocks:
    """Makes the blocks of one request, whose documents have names of their own."""

    def __init__(self) -> None:
        self._names: set[str] = set()

    def of(self, parts: Sequence[Part], place: Callable[[int], str]) -> Iterator[Json]:
        """The blocks of `parts`; `place` tells the path of a part by its index.

        Raises:
            UnsupportedParameter: Converse takes no such part.
            InvalidRequest: what should be base64 is not.
        """
        for index, part in enumerate(parts):
            where = place(index)
            match part:
                case Text() | Refusal():
                    # A block of nothing is refused there.
                    if part.text:
                        yield {"text": part.text}
                case Image():
                    yield {"image": _image(part, where)}
                case File():
                    yield {"document": self._document(part, where)}
                case Audio():
                    yield {"audio": {"format": part.format, "source": {"bytes": _bytes(part.data, where)}}}

    def _document(self, part: File, where: str) -> Json:
        if part.file_id or part.url:
            raise UnsupportedParameter("This model's provider takes files inline, not by URL or id.", where)
        kind, data = _inline(part.data)
        form = _DOCUMENTS.get(kind) or part.filename.rpartition(".")[2].lower()
        if form not in _DOCUMENTS.values():
            raise UnsupportedParameter(f"This model's provider takes files of the forms {', '.join(_DOCUMENTS.values())}.", where)
        return {"format": form, "name": self._name(part.filename), "source": {"bytes": _bytes(data, where)}}

    def _name(self, filename: str) -> str:
        """A name in the few characters that are allowed, which no other document of the request has."""
        stem = filename.rpartition(".")[0] or filename
        plain = re.sub(r"\s+", " ", re.sub(r"[^A-Za-z0-9\s()\[\]-]", " ", stem)).strip()[:_NAME_CHARACTERS] or "document"
        name, count = plain, 1
        while name in self._names:
            count += 1
            name = f"{plain} ({count})"
        self._names.add(name)
        return name


def _image(part: Image, where: str) -> Json:
    kind, data = _inline(part.url)
    if not kind or part.file_id:
        raise UnsupportedParameter("This model's provider takes images inline, as data URLs, not by URL or id.", where)
    if kind not in _IMAGES:
        raise UnsupportedParameter(f"This model's provider takes images of the types {', '.join(_IMAGES)}.", where)
    return {"format": _IMAGES[kind], "source": {"bytes": _bytes(data, where)}}


def _inline(data: str) -> tuple[str, str]:
    """The media type and the base64 of a data URL; of plain base64 the type is ""."""
    found = _DATA_URL.match(data)
    return (found["type"].lower(), data[found.end() :]) if found else ("", data)


def _bytes(data: str, where: str) -> str:
    try:
        base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequest("This is not base64.", where) from error
    return data
