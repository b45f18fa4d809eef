"""A model turn: what is asked of a model, and the events it answers with.

Faces build a `TurnRequest` from an API request and render `TurnEvent`s for the caller; dialects turn the request into an
upstream call and the upstream's answer into events. Neither knows the other. Raw JSON travels as `bytes` or `str` text.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

# Nobody changes any of these once it is made. Those that each turn has are not frozen, because that takes several times as long to make.

# ---- what is asked -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Text:
    """A text part."""

    text: str


@dataclass(frozen=True, slots=True)
class Image:
    """An image part: an https or data URL, or an id of a file at the provider."""

    url: str = ""
    detail: str = ""
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file part: inline base64 data or data URL, a URL, or an id of a file at the provider."""

    data: str = ""
    filename: str = ""
    url: str = ""
    file_id: str = ""


@dataclass(frozen=True, slots=True)
class Audio:
    """An audio part: base64 data in a format such as `wav` or `mp3`."""

    data: str
    format: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a model said when it refused."""

    text: str


Part = Text | Image | File | Audio | Refusal


@dataclass(slots=True)
class Message:
    """A message of the conversation. `param` is its path in the caller's request, for errors."""

    role: Literal["system", "developer", "user", "assistant"]
    parts: tuple[Part, ...]
    name: str = ""
    param: str = ""


@dataclass(frozen=True, slots=True)
class Reasoning:
    """Reasoning of an earlier turn, handed back: plain text, summaries, or the provider's encrypted form."""

    text: str = ""
    summary: tuple[str, ...] = ()
    encrypted: str = ""
    id: str = ""
    param: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model made. `arguments` is JSON text as the model wrote it; for `custom` it is free text."""

    id: str
    name: str
    arguments: str
    kind: Literal["function", "custom"] = "function"
    param: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a call, for the model to read."""

    call_id: str
    parts: tuple[Part, ...]
    kind: Literal["function", "custom"] = "function"
    param: str = ""


Entry = Message | Reasoning | ToolCall | ToolResult
"""A conversation is a flat sequence of entries; dialects that nest (chat messages with tool_calls) group them."""


@dataclass(frozen=True, slots=True)
class FunctionTool:
    """A function the model may call. `parameters` is a JSON schema as JSON text, empty for none."""

    name: str
    description: str = ""
    parameters: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True)
class CustomTool:
    """A tool with free text input.

    `format` is its form as JSON text in the shape of chat completions, `{"type": "grammar", "grammar": {...}}`; empty for
    plain text. `param` is its path in the caller's request, for errors.
    """

    name: str
    description: str = ""
    format: str = ""
    param: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class HostedTool:
    """A tool of any other type, run by the provider: only a dialect of the same shape can pass it. `raw` is its JSON text."""

    type: str
    raw: str
    param: str = ""


Tool = FunctionTool | CustomTool | HostedTool


@dataclass(frozen=True, slots=True)
class ToolChoice:
    """Whether and which tools are called.

    `names` restricts: with `named` exactly one tool; with `allowed` several, `mode` then being auto or required. `hosted`
    holds a choice of another shape as raw JSON text.
    """

    mode: Literal["auto", "required", "none"] = "auto"
    kind: Literal["mode", "named", "allowed", "hosted"] = "mode"
    names: tuple[str, ...] = ()
    tool_kind: Literal["function", "custom"] = "function"
    hosted: str = ""


@dataclass(frozen=True, slots=True)
class TextFormat:
    """The form of the text asked for. `schema` is JSON text, for json_schema only."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str = ""
    description: str = ""
    schema: str = ""
    strict: bool | None = None


@dataclass(slots=True)
class TurnRequest:
    """One turn asked of an upstream model. None means: not given, the upstream's default.

    `extra` has the parameters that no field stands for: name -> JSON text. They are passed on as they are, so that
    provider-specific parameters work; the upstream judges them. `reasoning_summary_param` is the path of that parameter
    in the caller's request, for errors; `names` tells those of other fields that the caller knows under another name.
    """

    model: str
    conversation: tuple[Entry, ...]
    stream: bool = False
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    top_logprobs: int | None = None
    text_format: TextFormat | None = None
    verbosity: str | None = None
    reasoning_effort: str | None = None
    reasoning_summary: str | None = None
    reasoning_summary_param: str = "reasoning.summary"
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict, compare=False)

    def param(self, name: str) -> str:
        """The path of the field with this name in the caller's request, for errors."""
        return self.names.get(name, name)


# ---- what comes back -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenLogprob:
    """The log probability of one token, with the likeliest alternatives."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None = None
    top: tuple["TokenLogprob", ...] = ()


@dataclass(slots=True)
class TurnStarted:
    """The first event of a turn: the upstream accepted it. Empty strings and 0 where the upstream does not say."""

    id: str = ""
    model: str = ""
    created: int = 0
    system_fingerprint: str = ""


@dataclass(slots=True)
class TextDelta:
    """A piece of the answer's text."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(slots=True)
class TextRun:
    """Pieces of the answer's text that came together: as many `TextDelta`s, without log probabilities. None is empty."""

    texts: list[str]


@dataclass(slots=True)
class RefusalDelta:
    """A piece of a refusal."""

    text: str


@dataclass(slots=True)
class AnnotationAdded:
    """A citation in the text so far: the annotation as JSON text in the shape of the Responses API, fields beside `type`."""

    raw: str


@dataclass(slots=True)
class ReasoningDelta:
    """A piece of the model's reasoning: of its own text, or of the summary with the given index."""

    text: str
    summary_index: int | None = None


@dataclass(slots=True)
class ReasoningEnded:
    """The reasoning so far is complete; `encrypted` is the provider's own form of it, empty where there is none."""

    encrypted: str = ""


@dataclass(slots=True)
class ToolCallStarted:
    """A tool call begins; `index` tells the calls of a turn apart, from 0."""

    index: int
    id: str
    name: str
    kind: Literal["function", "custom"] = "function"


@dataclass(slots=True)
class ToolCallDelta:
    """A piece of the arguments of the call with this index."""

    index: int
    arguments: str


@dataclass(slots=True)
class HostedItem:
    """An item of a type that only its own dialect has, complete, as JSON text."""

    raw: str


@dataclass(slots=True)
class Usage:
    """Tokens of the turn, as the upstream counts them."""

    input_tokens: int = 0
    output_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(slots=True)
class TurnFinished:
    """The last event of a turn that did not fail; a failed turn raises instead.

    `usage` is None where the upstream did not tell. `service_tier` is the tier that served.
    """

    reason: Literal["stop", "length", "tool_calls", "content_filter"]
    usage: Usage | None = None
    service_tier: str = ""


TurnEvent = (
    TurnStarted
    | TextDelta
    | TextRun
    | RefusalDelta
    | AnnotationAdded
    | ReasoningDelta
    | ReasoningEnded
    | ToolCallStarted
    | ToolCallDelta
    | HostedItem
    | TurnFinished
)
