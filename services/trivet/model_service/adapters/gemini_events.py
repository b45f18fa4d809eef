"""The answers of generateContent, whole or piece by piece, as the events of a turn."""

from collections.abc import Callable, Container, Iterator, Sequence
from typing import Any, Final, Literal
from uuid import uuid4

import orjson

from trivet.kernel.errors import ServiceError
from trivet.model_service.adapters.gemini_citations import citations
from trivet.model_service.adapters.gemini_content import CALL, CUSTOM_INPUT, DIALECT, MADE_ID, TEXT
from trivet.model_service.domain.seals import seal
from trivet.model_service.domain.turn import (
    AnnotationAdded,
    HostedItem,
    ReasoningDelta,
    ReasoningEnded,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolCallStarted,
    TurnEvent,
    TurnFinished,
    TurnStarted,
    Usage,
)

Json = dict[str, Any]
Reason = Literal["stop", "length", "tool_calls", "content_filter"]

_REASONS: Final[dict[str, Reason]] = {
    "STOP": "stop",
    "FUNCTION_CALL": "stop",  # what servers in its likeness say of a turn that calls
    "MAX_TOKENS": "length",
    **dict.fromkeys(("SAFETY", "RECITATION", "LANGUAGE", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII"), "content_filter"),
    **dict.fromkeys(("IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION", "MODEL_ARMOR"), "content_filter"),
}
"""Every other reason, such as MALFORMED_FUNCTION_CALL, says that the answer went wrong."""

_TIERS: Final = {"standard": "default"}


class AnswerReader:
    """Reads the pieces of one answer; `finish` gives the last events.

    `invalid` makes the error of an answer that breaks its API; `custom` are the names of the tools that take free text. Pieces
    that are not of the form that the API says raise KeyError, TypeError, AttributeError or ValueError.
    """

    def __init__(self, invalid: Callable[[str], ServiceError], custom: Container[str] = ()) -> None:
        self._invalid = invalid
        self._custom = custom
        self._started = False
        self._reason = ""
        self._blocked = False
        self._usage: Json = {}
        self._grounding: Json = {}
        self._sources: Json = {}
        self._calls = 0
        self._text: list[str] = []
        self._in_text = False
        self._thinking = False
        self._signature = ""
        """Of the thoughts or the text that are open, where it did not come with what follows."""

    @property
    def whole(self) -> bool:
        """Whether the answer has said how it ends."""
        return bool(self._reason) or self._blocked

    def read(self, piece: Json) -> Iterator[TurnEvent]:
        """The events that a piece of the answer, or all of it, stands for."""
        if not self._started:
            self._started = True
            yield TurnStarted(_string(piece.get("responseId")), _string(piece.get("modelVersion")))
        self._usage = piece.get("usageMetadata") or self._usage
        feedback = piece.get("promptFeedback") or {}
        self._blocked = self._blocked or bool(feedback.get("blockReason"))
        for candidate in piece.get("candidates") or ():
            if not candidate.get("index"):
                yield from self._candidate(candidate)

    def finish(self) -> Iterator[TurnEvent]:
        """The events that end the turn. Raises UpstreamFailed where the answer broke off or went wrong."""
        if self._in_text:
            for raw in citations("".join(self._text), self._grounding, self._sources):
                yield AnnotationAdded(raw)
        yield from self._end_text()
        yield from self._end_thoughts(TEXT, "")
        yield TurnFinished(self._finish_reason(), self._told_usage(), self._tier())

    def _finish_reason(self) -> Reason:
        if not self.whole:
            raise self._invalid("ended its answer early")
        if not self._reason:
            return "content_filter"
        if self._reason not in _REASONS:
            raise self._invalid(f"broke off its answer, for the reason `{self._reason}`")
        reason = _REASONS[self._reason]
        return "tool_calls" if reason == "stop" and self._calls else reason

    # ---- parts -----------------------------------------------------------------------------------------------------

    def _candidate(self, candidate: Json) -> Iterator[TurnEvent]:
        self._reason = _string(candidate.get("finishReason")) or self._reason
        self._grounding = candidate.get("groundingMetadata") or self._grounding
        self._sources = candidate.get("citationMetadata") or self._sources
        logprobs = _logprobs(candidate.get("logprobsResult") or {})
        for part in (candidate.get("content") or {}).get("parts") or ():
            for event in self._part(part):
                if isinstance(event, TextDelta) and logprobs:
                    event.logprobs, logprobs = logprobs, ()
                yield event

    def _part(self, part: Json) -> Iterator[TurnEvent]:
        signature = _string(part.get("thoughtSignature"))
        if part.get("thought"):
            yield from self._end_text()
            self._thinking, self._signature = True, signature or self._signature
            yield ReasoningDelta(_string(part.get("text")), 0)
        elif "functionCall" in part:
            yield from self._end_text()
            yield from self._end_thoughts(CALL, signature)
            yield from self._call(part["functionCall"])
        elif image := _image(part.get("inlineData") or {}):
            yield from self._end_text()
            yield from self._end_thoughts(TEXT, signature)
            yield image
        elif (text := _written(part)) is not None:
            yield from self._said(text, signature)

    def _said(self, text: str, signature: str) -> Iterator[TurnEvent]:
        if not self._in_text:
            yield from self._end_thoughts(TEXT, signature)
        elif signature:
            # The end of a text that is under way signs all of it, and is told where it ends.
            self._signature = signature
        if text:
            self._in_text = True
            self._text.append(text)
            yield TextDelta(text)

    def _call(self, call: Json) -> Iterator[TurnEvent]:
        name = _string(call.get("name"))
        if not name or "partialArgs" in call or call.get("willContinue"):
            raise self._invalid("sent a tool call that is not whole")
        arguments = call.get("args") or {}
        custom = name in self._custom
        yield ToolCallStarted(self._calls, _string(call.get("id")) or _new_id(), name, "custom" if custom else "function")
        text = _string(arguments.get(CUSTOM_INPUT)) if custom else orjson.dumps(arguments).decode()
        yield ToolCallDelta(self._calls, text)
        self._calls += 1

    def _end_thoughts(self, kind: str, signature: str) -> Iterator[TurnEvent]:
        """Ends the thoughts before what is of this kind: their signature comes with it, or came with themselves."""
        sealed = signature or self._signature
        if sealed or self._thinking:
            self._thinking, self._signature = False, ""
            yield ReasoningEnded(seal(DIALECT, kind, sealed) if sealed else "")

    def _end_text(self) -> Iterator[TurnEvent]:
        if self._in_text:
            self._in_text = False
            yield from self._end_thoughts(TEXT, "")

    # ---- the end ---------------------------------------------------------------------------------------------------

    def _told_usage(self) -> Usage | None:
        told = self._usage
        if not told:
            return None
        read = _number(told, "promptTokenCount") + _number(told, "toolUsePromptTokenCount")
        thought = _number(told, "thoughtsTokenCount")
        written = _number(told, "candidatesTokenCount") + thought
        return Usage(
            input_tokens=read,
            output_tokens=written,
            total_tokens=_number(told, "totalTokenCount") or read + written,
            cached_tokens=_number(told, "cachedContentTokenCount"),
            reasoning_tokens=thought,
        )

    def _tier(self) -> str:
        tier = _string(self._usage.get("serviceTier")).lower()
        return _TIERS.get(tier, tier)


def _written(part: Json) -> str | None:
    """The text of a part, code that Gemini ran and what that printed included; None for a part of another kind."""
    if "text" in part:
        return _string(part["text"])
    if code := part.get("executableCode"):
        return f"\n```{_string(code.get('language')).lower()}\n{_string(code.get('code'))}\n```\n"
    if result := part.get("codeExecutionResult"):
        return f"\n```\n{_string(result.get('output'))}\n```\n"
    return None


def _image(blob: Json) -> HostedItem | None:
    if not _string(blob.get("mimeType")).startswith("image/"):
        return None
    item = {"type": "image_generation_call", "id": f"ig_{uuid4().hex}", "status": "completed", "result": blob["data"]}
    return HostedItem(orjson.dumps(item).decode())


def _logprobs(result: Json) -> tuple[TokenLogprob, ...]:
    chosen = result.get("chosenCandidates") or ()
    likeliest: Sequence[Json] = result.get("topCandidates") or ({},) * len(chosen)
    return tuple(
        _logprob(token, tuple(map(_logprob, top.get("candidates") or ()))) for token, top in zip(chosen, likeliest, strict=True)
    )


def _logprob(token: Json, top: tuple[TokenLogprob, ...] = ()) -> TokenLogprob:
    text = _string(token.get("token"))
    return TokenLogprob(text, float(token.get("logProbability") or 0), tuple(text.encode()), top)


def _new_id() -> str:
    return f"{MADE_ID}{uuid4().hex[:24]}"


def _string(value: object) -> str:
    """A string of the upstream's, "" for null; TypeError for anything else, which no event can carry."""
    if value is not None and not isinstance(value, str):
        raise TypeError("not a string")
    return value or ""


def _number(told: Json, name: str) -> int:
    return int(told.get(name) or 0)
