"""Cost against what a request or an answer holds."""

import base64
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from bench.scale.curve import Curve, Figures
from bench.scale.looks import compared, floor_and_trivet
from bench.site import Neighbours
from bench.targets.target import Face
from bench.upstream.scripts import PLAIN, Script

_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
_TOOLS = (1, 5, 20, 100, 500)
_ITEMS = (1, 10, 100, 300, 1_000)
_WORD_BYTES = 9
_PROMPT = PLAIN.prompt()
_TEXT = "Trivet stands on three legs, each of them a server. "

Body = Callable[[int], Mapping[str, Any]]


def _measured(face: Face, xs: tuple[int, ...], body: Body, around: Neighbours, seconds: float) -> Iterator[tuple[int, Figures]]:
    with floor_and_trivet(around) as both:
        for x in xs:
            yield x, compared(both, face, body(x), seconds)


def _asked(face: Face, content: Any, **more: Any) -> Mapping[str, Any]:
    turns = [{"role": "user", "content": content}]
    return {"input": turns, "store": False, **more} if face == "responses" else {"messages": turns, **more}


def _text(size: int) -> str:
    return (_PROMPT + " " + _TEXT * (size // len(_TEXT) + 1))[:size]


def _long_request(face: Face, size: int) -> Mapping[str, Any]:
    return _asked(face, _text(size))


def _long_answer(face: Face, size: int) -> Mapping[str, Any]:
    return _asked(face, Script("plain", size // _WORD_BYTES + 1).prompt())


def _image(face: Face, size: int) -> Mapping[str, Any]:
    url = "data:image/png;base64," + base64.b64encode(bytes(size * 3 // 4)).decode()
    if face == "responses":
        return _asked(face, [{"type": "input_text", "text": _PROMPT}, {"type": "input_image", "image_url": url}])
    return _asked(face, [{"type": "text", "text": _PROMPT}, {"type": "image_url", "image_url": {"url": url}}])


def _tools(face: Face, count: int) -> Mapping[str, Any]:
    properties = {
        name: {"type": "string", "description": f"The {name} of what is looked for."} for name in ("name", "place", "time")
    }
    functions = [
        {
            "name": f"look_{number}",
            "description": "Looks for something and tells what it found.",
            "parameters": {"type": "object", "properties": properties, "required": ["name"]},
        }
        for number in range(count)
    ]
    if face == "responses":
        return _asked(face, _PROMPT, tools=[{"type": "function", **function} for function in functions])
    return _asked(face, _PROMPT, tools=[{"type": "function", "function": function} for function in functions])


def _history(face: Face, count: int) -> Mapping[str, Any]:
    turns = [{"role": ("user", "assistant")[number % 2], "content": _TEXT} for number in range(count - 1)]
    turns.append({"role": "user", "content": _PROMPT})
    return {"input": turns, "store": False} if face == "responses" else {"messages": turns}


def _curves(face: Face) -> list[Curve]:
    of_one = "CPU of one request, one at a time over one connection"
    kinds: tuple[tuple[str, str, tuple[int, ...], Callable[[Face, int], Mapping[str, Any]]], ...] = (
        ("request", "bytes of text", _SIZES, _long_request),
        ("answer", "bytes of text", _SIZES, _long_answer),
        ("image", "bytes of data URL", _SIZES, _image),
        ("tools", "tools", _TOOLS, _tools),
        ("history", "items", _ITEMS, _history),
    )
    return [
        Curve(f"{name}-{face}", over, f"{of_one}, {face}", partial(_measured, face, xs, partial(body, face)))
        for name, over, xs, body in kinds
    ]


CURVES = [*_curves("chat"), *_curves("responses")]
