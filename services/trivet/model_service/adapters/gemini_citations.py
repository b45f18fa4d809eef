"""Where Gemini says that its text is from, as citations of a URL in the shape of the Responses API."""

from collections.abc import Iterator
from typing import Any

import orjson

Json = dict[str, Any]


def citations(text: str, grounding: Json, sources: Json) -> list[str]:
    """The citations in `text`, each once, as JSON text: from what a search found, and from what the model recited.

    Gemini counts in bytes of UTF-8, and from the beginning of a part; a citation counts in characters of the whole text.
    """
    found = [*_grounded(text, grounding), *_recited(text, sources)]
    return list(dict.fromkeys(orjson.dumps(citation).decode() for citation in found))


def _grounded(text: str, grounding: Json) -> Iterator[Json]:
    chunks = grounding.get("groundingChunks") or []
    for support in grounding.get("groundingSupports") or []:
        segment = support.get("segment") or {}
        for index in support.get("groundingChunkIndices") or []:
            if 0 <= index < len(chunks):
                # A chunk has its fields below its kind: `web`, `maps`, `retrievedContext`.
                [source, *_] = chunks[index].values()
                yield from _citation(text, segment, source)


def _recited(text: str, sources: Json) -> Iterator[Json]:
    # Google's two APIs have two names for the list.
    for source in sources.get("citationSources") or sources.get("citations") or []:
        yield from _citation(text, source, source)


def _citation(text: str, segment: Json, source: Json) -> Iterator[Json]:
    if uri := source.get("uri"):
        start, end = _span(text, segment)
        yield {"type": "url_citation", "start_index": start, "end_index": end, "url": uri, "title": source.get("title") or ""}


def _span(text: str, segment: Json) -> tuple[int, int]:
    data = text.encode()
    start, end = (_characters(data, segment.get(key) or 0) for key in ("startIndex", "endIndex"))
    quoted = segment.get("text") or ""
    if quoted and text[start:end] != quoted and (found := text.find(quoted)) >= 0:
        # It counts within one of several parts.
        return found, found + len(quoted)
    return start, end


def _characters(data: bytes, count: int) -> int:
    return len(data[:count].decode(errors="ignore"))
