"""The invariants of a stream of chat completion chunks, of a model or of an agent run."""

import json
from collections.abc import Callable
from typing import Any

REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})


def check_chat_stream(chunks: list[dict[str, Any]], *, agent: bool = False) -> list[str]:
    """What is wrong with a stream, in words; nothing for a sound one. `agent`: it is the stream of an agent run."""
    checker = _Checker(agent)
    for position, chunk in enumerate(chunks):
        checker.position = position
        checker.chunk(chunk)
    checker.end(chunks)
    return checker.faults


def check_chat_sse(raw: bytes, *, agent: bool = False) -> list[str]:
    """The same for the bytes of an SSE response: nothing but comments and one-line `data:` frames, `[DONE]` last."""
    faults: list[str] = []
    if not raw.endswith(b"\n\n"):
        faults.append("the last frame is not ended by a blank line")
    frames = [frame for frame in raw.split(b"\n\n") if frame and not frame.startswith(b":")]
    if not frames or frames[-1] != b"data: [DONE]":
        faults.append("the stream does not end with [DONE]")
    chunks = []
    for frame in frames:
        if frame == b"data: [DONE]":
            continue
        if not frame.startswith(b"data: ") or b"\n" in frame:
            faults.append(f"not a frame of one data line: {frame[:60]!r}")
            continue
        chunks.append(json.loads(frame[6:]))
    if frames.count(b"data: [DONE]") > 1:
        faults.append("[DONE] comes twice")
    return faults + check_chat_stream(chunks, agent=agent)


class _Checker:
    def __init__(self, agent: bool) -> None:
        self._agent = agent
        self.position = 0
        self.faults: list[str] = []
        self._shared: dict[str, Any] = {}
        self._turns: dict[int, _Turn] = {}
        self._iterations = 0
        self._usage = False
        self._awaited: set[str] = set()

    def _fault(self, text: str) -> None:
        self.faults.append(f"chunk {self.position}: {text}")

    def chunk(self, chunk: dict[str, Any]) -> None:
        if self._usage:
            self._fault("comes after the usage chunk")
        if chunk.get("object") != "chat.completion.chunk":
            self._fault(f"object is {chunk.get('object')!r}")
        for key, kind in (("id", str), ("created", int), ("model", str)):
            if not isinstance(chunk.get(key), kind) or not chunk[key]:
                self._fault(f"{key} is {chunk.get(key)!r}")
            elif self._shared.setdefault(key, chunk[key]) != chunk[key]:
                self._fault(f"{key} changes to {chunk[key]!r}")
        choices = chunk.get("choices")
        if not isinstance(choices, list):
            self._fault("choices is missing")
            return
        for choice in choices:
            self._choice(choice)
        if not choices and chunk.get("usage"):
            self._usage = True

    def _choice(self, choice: dict[str, Any]) -> None:
        index, delta = choice.get("index"), choice.get("delta")
        if not isinstance(index, int) or not isinstance(delta, dict) or "finish_reason" not in choice:
            self._fault("a choice lacks index, delta or finish_reason")
            return
        if self._agent and delta.get("role") == "tool":
            self._tool_result(choice, delta)
            return
        turn = self._turns.get(index)
        if turn is None or (turn.finished and self._agent and delta.get("role") == "assistant"):
            if self._awaited:
                self._fault(f"the next turn begins before the results of {sorted(self._awaited)}")
            turn = self._turns[index] = _Turn(self._fault)
            self._iterations += 1
        elif turn.finished and self._agent and not delta and choice["finish_reason"] == "length":
            self._awaited_at_end()
            return
        turn.add(delta, choice["finish_reason"])
        if self._agent and turn.finished and choice["finish_reason"] == "tool_calls":
            self._awaited = {call["id"] for call in turn.calls if call.get("id")}

    def _awaited_at_end(self) -> None:
        if self._awaited:
            self._fault(f"the run ends before the results of {sorted(self._awaited)}")
        self._awaited = set()

    def _tool_result(self, choice: dict[str, Any], delta: dict[str, Any]) -> None:
        call = delta.get("tool_call_id")
        if call not in self._awaited:
            self._fault(f"a tool result for {call!r}, which is not waited for")
        self._awaited.discard(str(call))
        if not isinstance(delta.get("content"), str):
            self._fault("a tool result without content")
        if choice["finish_reason"] is not None:
            self._fault("a tool result with a finish reason")

    def end(self, chunks: list[dict[str, Any]]) -> None:
        self.position = len(chunks) - 1
        if not self._turns:
            self._fault("the stream has no choice")
        for turn in self._turns.values():
            if not turn.finished:
                self._fault("the turn has no finish_reason")
        if self._agent:
            self._awaited_at_end()
            self._run(chunks)

    def _run(self, chunks: list[dict[str, Any]]) -> None:
        run = chunks[-1].get("run") if chunks else None
        if not isinstance(run, dict):
            self._fault("the last chunk of the run lacks `run`")
            return
        if run.get("iterations") != self._iterations:
            self._fault(f"run.iterations is {run.get('iterations')!r}, and {self._iterations} were seen")
        if run.get("stopped_by") not in {"model", "iteration_limit"}:
            self._fault(f"run.stopped_by is {run.get('stopped_by')!r}")
        # The usage chunk repeats it where the chunk that ended the run came before.
        earlier = chunks[:-1] if chunks[-1].get("choices") else chunks[:-2]
        if any("run" in chunk for chunk in earlier):
            self._fault("`run` comes before the last chunk")


class _Turn:
    """One assistant message of one choice."""

    def __init__(self, fault: Callable[[str], None]) -> None:
        self._fault = fault
        self._begun = False
        self.finished = False
        self.calls: list[dict[str, Any]] = []

    def add(self, delta: dict[str, Any], finish_reason: str | None) -> None:
        if self.finished:
            self._fault("a choice goes on after its finish_reason")
        if not self._begun and delta.get("role") != "assistant":
            self._fault(f"the first delta has the role {delta.get('role')!r}")
        if self._begun and delta.get("role") is not None:
            self._fault("the role comes again")
        self._begun = True
        for call in delta.get("tool_calls") or ():
            self._call(call)
        if finish_reason is not None:
            self._finish(finish_reason)

    def _call(self, call: dict[str, Any]) -> None:
        index = call.get("index")
        body = call.get("function") or call.get("custom") or {}
        if index == len(self.calls):
            if not (call.get("id") and call.get("type") and body.get("name")):
                self._fault(f"the first delta of call {index} lacks id, type or name")
            if call.get("id") in {known.get("id") for known in self.calls}:
                self._fault(f"two calls have the id {call.get('id')!r}")
            self.calls.append({"id": call.get("id"), "type": call.get("type"), "text": ""})
        elif not isinstance(index, int) or not 0 <= index < len(self.calls):
            self._fault(f"a call with the index {index!r} after {len(self.calls)} calls")
            return
        elif call.get("id") or body.get("name"):
            self._fault(f"id or name of call {index} comes again")
        self.calls[index]["text"] += body.get("arguments") or body.get("input") or ""

    def _finish(self, reason: str) -> None:
        self.finished = True
        if reason not in REASONS:
            self._fault(f"finish_reason is {reason!r}")
        if reason == "tool_calls" and not self.calls:
            self._fault("finish_reason is tool_calls without a call")
        for index, call in enumerate(self.calls):
            if reason == "tool_calls" and call["type"] == "function" and call["text"] and not _is_json(call["text"]):
                self._fault(f"the arguments of call {index} add up to no JSON")


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
