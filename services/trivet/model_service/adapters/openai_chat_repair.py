"""What compatible servers send, made what the chat completions API says.

Known habits: a role of null or in every delta, no `index`, a call's id and name in every piece or in none, one index for
all parallel calls, arguments as an object, content in parts with the thoughts among them (Mistral), the older
`function_call` in place of `tool_calls` or beside them, an empty `finish_reason`, a second one. What is of the wrong type
altogether is left for the decoder to refuse.
"""

from typing import Any
from uuid import uuid4

import orjson


class ChunkRepair:
    """Repairs the chunks of one stream, in place. `functions`: the request was in the older form with `functions`.

    `begun` says whether there was a choice yet, `finished` whether there was one and each has its finish reason, `single` whether there
    was none but the first.
    """

    def __init__(self, *, functions: bool = False) -> None:
        self.begun = False
        self.finished = False
        self.single = True
        self._functions = functions
        self._choices: dict[int, _Choice] = {}
        self._going = 0

    def repair(self, chunk: dict[str, Any]) -> bool:
        """Repairs the next chunk; False if it says nothing, being of choices that have ended."""
        given = chunk.get("choices") or []
        if isinstance(given, list):
            chunk["choices"] = list(filter(self._wanted, given))
        return not given or bool(chunk["choices"]) or bool(chunk.get("usage"))

    def passed(self, call: int | None = None, call_id: str | None = None, *, finishes: bool) -> bool:
        """A piece of the single answer has come that is known, repaired; False, and nothing has happened, if here it may need another.

        It goes on with that `call`, if with any, by the index that it has already, or begins it under this id.
        """
        choice = self._choices.get(0) or _Choice()
        if call is not None and not choice.takes(call, call_id):
            return False
        self._choices[0] = choice
        choice.begun, choice.finished = True, finishes
        self.begun, self.finished = True, finishes
        self._going = 0 if finishes else 1
        return True

    def closing(self) -> dict[str, Any]:
        """The chunk that a server left out which said that it is done, without a finish reason."""
        self._going = 0
        self.finished = self.begun
        return {
            "choices": [
                {"index": index, "delta": {}, "finish_reason": choice.finish()}
                for index, choice in self._choices.items()
                if not choice.finished
            ]
        }

    def _wanted(self, choice: Any) -> bool:
        if not isinstance(choice, dict):
            return True
        index = choice["index"] = choice.get("index") or 0
        if not isinstance(index, int):
            return True
        state = self._choices.get(index)
        if state is None:
            self.single = index == 0 and not self._choices
            state = self._choices[index] = _Choice()
            self.begun, self.finished = True, False
            self._going += 1
        if state.finished:
            return False
        state.repair(choice, self._functions)
        self._going -= state.finished
        self.finished = not self._going
        return True


class _Choice:
    """One answer of a stream so far."""

    def __init__(self) -> None:
        self.finished = False
        self.begun = False
        self._calls = 0
        self._by_id: dict[str, int] = {}
        self._by_index: dict[int, int] = {}

    def repair(self, choice: dict[str, Any], functions: bool) -> None:
        delta = choice["delta"] = choice.get("delta") or {}
        if isinstance(delta, dict):
            delta.pop("role", None)
            if not self.begun:
                self.begun = True
                delta["role"] = "assistant"
            if isinstance(delta.get("content"), list):
                _flatten(delta)
            if "function_call" in delta and not functions:
                _modern(delta)
            if isinstance(calls := delta.get("tool_calls"), list):
                for call in calls:
                    self._call(call)
        reason = choice["finish_reason"] = choice.get("finish_reason") or None
        self.finished = reason is not None

    def takes(self, call: int, call_id: str | None) -> bool:
        """Whether a known piece goes on with a call, or begins the next one, by the index that it has here as well."""
        if call_id is None:
            return self._by_index.get(call) == call
        if not call_id or call_id in self._by_id or call != self._calls:
            return False
        self._by_id[call_id] = self._by_index[call] = call
        self._calls += 1
        return True

    def finish(self) -> str:
        self.finished = True
        return "tool_calls" if self._calls else "stop"

    def _call(self, call: Any) -> None:
        if not isinstance(call, dict):
            return
        body = _body(call)
        given, name = call.get("index"), body.get("name")
        place = self._by_id.get(call.get("id") or "")
        if place is None and not name:
            place = self._by_index.get(given) if isinstance(given, int) else self._calls - 1 if self._calls else None
        if place is None:
            place = self._begin(call, body)
        else:
            for key in ("id", "type"):
                call.pop(key, None)
            body.pop("name", None)
        if isinstance(given, int):
            self._by_index[given] = place
        call["index"] = place

    def _begin(self, call: dict[str, Any], body: dict[str, Any]) -> int:
        _complete(call, body)
        self._by_id[call["id"]] = self._calls
        self._calls += 1
        return self._calls - 1


def repair_completion(completion: dict[str, Any], *, functions: bool = False) -> None:
    """Repairs a whole answer, in place."""
    for position, choice in enumerate(_choices(completion)):
        if not isinstance(choice, dict):
            continue
        if not isinstance(choice.get("index"), int):
            choice["index"] = position
        message = choice.get("message")
        if isinstance(message, dict):
            message["role"] = message.get("role") or "assistant"
            if isinstance(message.get("content"), list):
                _flatten(message)
            if "function_call" in message and not functions:
                _modern(message)
            if isinstance(calls := message.get("tool_calls"), list):
                _complete_calls(calls)


def is_whole(answer: dict[str, Any]) -> bool:
    """Whether what came as a chunk is a whole answer; there are servers whose chunks have the message so far, too."""
    return any(isinstance(choice, dict) and "message" in choice and "delta" not in choice for choice in _choices(answer))


def as_chunk(completion: dict[str, Any]) -> None:
    """Makes a whole answer, once repaired, the one chunk that says the same."""
    for choice in _choices(completion):
        if not isinstance(choice, dict):
            continue
        choice["finish_reason"] = choice.get("finish_reason") or "stop"
        message = choice["delta"] = choice.pop("message", None) or {}
        calls = message.get("tool_calls") if isinstance(message, dict) else None
        for index, call in enumerate(calls if isinstance(calls, list) else ()):
            if isinstance(call, dict):
                call["index"] = index


def _choices(answer: dict[str, Any]) -> list[Any]:
    """The choices, for who repairs them; what is none is for the decoder to refuse."""
    choices = answer.get("choices")
    return choices if isinstance(choices, list) else []


def _flatten(said: dict[str, Any]) -> None:
    """Makes one text of content in parts, and one reasoning of the thoughts among them."""
    parts = said["content"]
    said["content"] = _texts(parts) or None
    if thoughts := "".join(_texts(part.get("thinking")) for part in parts if isinstance(part, dict)):
        said["reasoning_content"] = thoughts


def _texts(parts: Any) -> str:
    found = parts if isinstance(parts, list) else ()
    return "".join(part["text"] for part in found if isinstance(part, dict) and isinstance(part.get("text"), str))


def _modern(said: dict[str, Any]) -> None:
    """Turns the older form of a call into the current one; servers that write both write the same twice."""
    call = said.pop("function_call", None)
    if call and not said.get("tool_calls"):
        said["tool_calls"] = [{"index": 0, "function": call}]


def _complete_calls(calls: list[Any]) -> None:
    seen: set[str] = set()
    for call in calls:
        if isinstance(call, dict):
            if call.get("id") in seen:
                call["id"] = ""
            _complete(call, _body(call))
            seen.add(call["id"])


def _complete(call: dict[str, Any], body: dict[str, Any]) -> None:
    call["id"] = call.get("id") or f"call_{uuid4().hex[:24]}"
    call["type"] = call.get("type") or ("custom" if "custom" in call else "function")
    if call["type"] == "function":
        body.setdefault("arguments", "")


def _body(call: dict[str, Any]) -> dict[str, Any]:
    """The named part of a call, its arguments as text."""
    body = call.get("custom") or call.get("function")
    if not isinstance(body, dict):
        return {}
    if "arguments" in body and not isinstance(body["arguments"], str):
        arguments = body["arguments"]
        body["arguments"] = "" if arguments is None else orjson.dumps(arguments).decode()
    return body
