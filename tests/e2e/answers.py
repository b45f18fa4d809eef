"""What a model says, apart from any API: written as each upstream API writes it, and read as each SDK call gives it back."""

import asyncio
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from tests.model.chat_chunks import HEAD, USAGE, chunk
from tests.model.responses_events import USAGE as RESPONSES_USAGE
from tests.model.responses_events import event, numbered, response, snapshot
from tests.model.responses_events import sse as named_sse
from tests.upstreams.scripted import Step, answer, sse, stream

Json = dict[str, Any]


@dataclass(frozen=True)
class Call:
    """A call of a function; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """A whole answer. Texts are pieces, as they are streamed; `logprobs` are tokens with the likelihood of each."""

    text: tuple[str, ...] = ()
    reasoning: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    logprobs: tuple[tuple[str, float], ...] = ()

    def whole(self) -> "Answer":
        """The same, every text in one piece."""
        joined = [("".join(pieces),) if pieces else () for pieces in (self.text, self.reasoning, self.refusal)]
        return Answer(*joined, self.calls, self.logprobs)

    @property
    def finish_reason(self) -> str:
        return "tool_calls" if self.calls else "stop"

    def script(self, dialect: str, *, streamed: bool) -> Any:
        """What an upstream of this dialect plays."""
        if dialect == "lab":
            return stream(*self._chunk_pieces()) if streamed else answer(self.completion())
        return stream(*self._event_pieces()) if streamed else answer(self.response())

    # ---- chat completions ----------------------------------------------------------------------------------------------

    def chunks(self) -> list[Json]:
        """The answer in chunks, the calls mixed with each other."""
        deltas: list[tuple[Json, Json]] = [({"role": "assistant", "content": ""}, {})]
        deltas += [({"reasoning_content": piece}, {}) for piece in self.reasoning]
        tokens = dict(enumerate(self.logprobs))
        deltas += [({"content": piece}, _chat_logprobs([tokens[n]]) if n in tokens else {}) for n, piece in enumerate(self.text)]
        deltas += [({"refusal": piece}, {}) for piece in self.refusal]
        deltas += [
            (
                {
                    "tool_calls": [
                        {"index": n, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
                    ]
                },
                {},
            )
            for n, call in enumerate(self.calls)
        ]
        halves = [(n, call.arguments[cut]) for cut in (slice(3), slice(3, None)) for n, call in enumerate(self.calls)]
        deltas += [({"tool_calls": [{"index": n, "function": {"arguments": half}}]}, {}) for n, half in halves]
        chunks = [chunk(delta) for delta, _ in deltas]
        for made, (_, more) in zip(chunks, deltas, strict=True):
            made["choices"][0] |= more
        return [*chunks, chunk({}, self.finish_reason), chunk(usage=USAGE)]

    def _chunk_pieces(self) -> list[bytes]:
        chunks = self.chunks()
        return [*(sse(one, done=False) for one in chunks[:-1]), sse(chunks[-1])]

    def completion(self) -> Json:
        """The answer as one chat completion."""
        message: Json = {"role": "assistant", "content": "".join(self.text) or None, "refusal": "".join(self.refusal) or None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            message["tool_calls"] = [
                {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
                for call in self.calls
            ]
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason, **_chat_logprobs(self.logprobs)}
        return HEAD | {"object": "chat.completion", "choices": [choice], "usage": USAGE}

    # ---- responses -----------------------------------------------------------------------------------------------------

    def items(self) -> list[Json]:
        """The answer as output items."""
        items: list[Json] = []
        if self.reasoning:
            content = [{"type": "reasoning_text", "text": "".join(self.reasoning)}]
            items.append({"type": "reasoning", "id": "rs_1", "summary": [], "content": content})
        if self.text:
            part = {"type": "output_text", "text": "".join(self.text), "annotations": [], "logprobs": _tokens(self.logprobs)}
            items.append(_message(part))
        if self.refusal:
            items.append(_message({"type": "refusal", "refusal": "".join(self.refusal)}))
        items += [
            {"type": "function_call", "id": f"fc_{n}", "call_id": call.id, "name": call.name, "arguments": call.arguments}
            | {"status": "completed"}
            for n, call in enumerate(self.calls)
        ]
        return items

    def response(self) -> Json:
        """The answer as one response."""
        return response("completed", output=self.items(), usage=RESPONSES_USAGE, completed_at=1700000002)

    def events(self) -> list[Json]:
        """The answer as events."""
        shown = [made for index, item in enumerate(self.items()) for made in self._shown(index, item)]
        return numbered([snapshot("created"), snapshot("in_progress"), *shown, snapshot("completed", self.response())])

    def _event_pieces(self) -> list[bytes]:
        return [named_sse([one]) for one in self.events()]

    def _shown(self, index: int, item: Json) -> Iterable[Json]:
        place = {"item_id": item["id"], "output_index": index}
        empty = {"function_call": {"arguments": ""}}.get(item["type"], {"content": []})
        yield event("output_item.added", output_index=index, item=item | {"status": "in_progress"} | empty)
        if item["type"] == "function_call":
            for cut in (slice(3), slice(3, None)):
                yield event("function_call_arguments.delta", **place, delta=item["arguments"][cut])
            yield event("function_call_arguments.done", **place, arguments=item["arguments"], name=item["name"])
        else:
            (part,) = item["content"]
            yield from self._shown_part({**place, "content_index": 0}, part)
        yield event("output_item.done", output_index=index, item=item)

    def _shown_part(self, place: Json, part: Json) -> Iterable[Json]:
        key = "refusal" if part["type"] == "refusal" else "text"
        texts = part["type"] == "output_text"
        pieces = {"output_text": self.text, "refusal": self.refusal, "reasoning_text": self.reasoning}[part["type"]]
        empty = {"logprobs": []} if texts else {}
        yield event("content_part.added", **place, part=part | {key: ""} | empty)
        for n, piece in enumerate(pieces):
            told = {"logprobs": _tokens(self.logprobs[n : n + 1])} if texts else {}
            yield event(f"{part['type']}.delta", **place, delta=piece, **told)
        whole = {"logprobs": part["logprobs"]} if texts else {}
        yield event(f"{part['type']}.done", **place, **{key: part[key]}, **whole)
        yield event("content_part.done", **place, part=part)


def _message(part: Json) -> Json:
    return {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]}


def _token(token: str, logprob: float) -> Json:
    return {"token": token, "bytes": list(token.encode()), "logprob": logprob}


def _tokens(logprobs: Iterable[tuple[str, float]]) -> list[Json]:
    return [_token(*told) | {"top_logprobs": [_token("other", -9.0)]} for told in logprobs]


def _chat_logprobs(logprobs: Iterable[tuple[str, float]]) -> Json:
    tokens = _tokens(logprobs)
    return {"logprobs": {"content": tokens, "refusal": None}} if tokens else {}


# ---- reading what the SDK gives ------------------------------------------------------------------------------------------


def from_response(given: Any) -> Answer:
    """The answer in an `openai.types.responses.Response`."""
    found = Answer()
    texts: dict[str, list[str]] = {"output_text": [], "refusal": [], "reasoning_text": []}
    calls, logprobs = list(found.calls), list(found.logprobs)
    for item in given.output:
        if item.type == "function_call":
            calls.append(Call(item.call_id, item.name, item.arguments))
            continue
        for part in item.content:
            texts[part.type].append(part.refusal if part.type == "refusal" else part.text)
            logprobs += [(token.token, token.logprob) for token in getattr(part, "logprobs", None) or ()]
    return Answer(
        tuple(texts["output_text"]), tuple(texts["reasoning_text"]), tuple(texts["refusal"]), tuple(calls), tuple(logprobs)
    )


def from_completion(given: Any) -> Answer:
    """The answer in an `openai.types.chat.ChatCompletion`."""
    (choice,) = given.choices
    reasoning = getattr(choice.message, "reasoning_content", None)
    tokens = choice.logprobs.content if choice.logprobs else None
    return Answer(
        (choice.message.content,) if choice.message.content else (),
        (reasoning,) if reasoning else (),
        (choice.message.refusal,) if choice.message.refusal else (),
        tuple(Call(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls or ()),
        tuple((token.token, token.logprob) for token in tokens or ()),
    )


ANSWERS = {
    "text": Answer(text=("Hello", ", ", "world.")),
    "reasoning": Answer(reasoning=("Let me ", "think."), text=("42",)),
    "refusal": Answer(refusal=("I can't ", "do that.")),
    "parallel calls": Answer(
        calls=(Call("call_a", "add", json.dumps({"a": 1, "b": 2})), Call("call_b", "weather", json.dumps({"city": "Zürich"})))
    ),
    "text and a call": Answer(text=("Let me ", "see."), calls=(Call("call_a", "add", '{"a":1,"b":2}'),)),
    "logprobs": Answer(text=("Yes", "."), logprobs=(("Yes", -0.25), (".", -0.5))),
}

NEVER = "never"
"""A step at which the upstream stops for good."""


def begun(dialect: str, *steps: Any) -> list[Step]:
    """The script of a stream that says `Hello`, and then does other things."""
    said = ANSWERS["text"].script(dialect, streamed=True)
    until = next(n for n, step in enumerate(said) if isinstance(step, bytes) and b"Hello" in step)
    return [said[0], *said[1 : until + 1], *(asyncio.Event() if step == NEVER else step for step in steps)]
