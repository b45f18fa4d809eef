"""Shows an agent run in the terminal as it happens."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TextIO

_RESULT_CHARACTERS = 600
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(slots=True)
class _Call:
    name: str = ""
    arguments: str = ""


class RunView:
    """Writes a run's chunks to `out`: the model's text as it comes, each tool call, each result, and a last line of numbers.

    `colour` dims what is not the model's own text.
    """

    def __init__(self, out: TextIO, *, colour: bool) -> None:
        self._out = out
        self._colour = colour
        self._calls: dict[int, _Call] = {}
        self._names: dict[str, str] = {}
        self._mid_line = False
        self._tokens = 0
        self._run: Mapping[str, Any] = {}

    def show(self, chunk: Mapping[str, Any]) -> None:
        """Show one `chat.completion.chunk`."""
        for choice in chunk["choices"]:
            delta = choice.get("delta") or {}
            if delta.get("role") == "tool":
                self._result(delta)
                continue
            self._text(delta.get("content") or delta.get("refusal") or "")
            for call in delta.get("tool_calls") or ():
                self._add_to_call(call)
            if choice.get("finish_reason") == "tool_calls":
                self._show_calls()
        self._tokens = (chunk.get("usage") or {}).get("total_tokens", self._tokens)
        if run := chunk.get("run"):
            self._run = run

    def end(self) -> None:
        """Show how the run went, if it came to its end."""
        if self._run:
            calls = self._run["iterations"]
            tokens = f", {self._tokens} tokens" if self._tokens else ""
            limit = ", ended by the iteration limit" if self._run["stopped_by"] == "iteration_limit" else ""
            self._line(f"[{calls} model call{'s' if calls != 1 else ''}{tokens}{limit}]")
        elif self._mid_line:
            self._out.write("\n")

    def _text(self, text: str) -> None:
        text = _harmless(text)
        if text:
            self._out.write(text)
            self._out.flush()
            self._mid_line = not text.endswith("\n")

    def _add_to_call(self, delta: Mapping[str, Any]) -> None:
        call = self._calls.setdefault(delta["index"], _Call())
        function = delta.get("function") or {}
        if name := function.get("name"):
            info = delta.get("tool_info")
            call.name = f"{info['mcp_server']} > {info['tool']}" if info else name
            self._names[delta.get("id") or ""] = call.name
        call.arguments += function.get("arguments") or ""

    def _show_calls(self) -> None:
        for call in self._calls.values():
            self._line(f"-> {call.name} {call.arguments}")
        self._calls.clear()

    def _result(self, delta: Mapping[str, Any]) -> None:
        name = self._names.get(delta.get("tool_call_id") or "", "tool")
        # On one line: results are often JSON with a line for each key.
        content = " ".join(str(delta.get("content") or "").split())
        if len(content) > _RESULT_CHARACTERS:
            content = f"{content[:_RESULT_CHARACTERS]}... ({len(content)} characters)"
        self._line(f"<- {name} {content}")

    def _line(self, text: str) -> None:
        text = _harmless(text)
        if self._mid_line:
            self._out.write("\n")
        self._out.write(f"\x1b[2m{text}\x1b[0m\n" if self._colour else f"{text}\n")
        self._out.flush()
        self._mid_line = False


def _harmless(text: str) -> str:
    """`text` without the characters that command a terminal: models and tools could set its title, or its clipboard."""
    return _CONTROL.sub("", text)
