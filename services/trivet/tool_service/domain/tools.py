"""The nouns: tools, and what comes of calling one."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool as its server describes it. Schemas and annotations are JSON text, "" where there is none."""

    name: str
    title: str
    description: str
    input_schema: str
    output_schema: str = ""
    annotations: str = ""


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call to make. `timeout` is in seconds, None takes the server's own."""

    tool: str
    arguments: dict[str, Any]
    timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Text:
    """Text for the model."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image or audio: `kind` is "image" or "audio", `data` is base64 as it came."""

    kind: str
    data: str
    mime_type: str


@dataclass(frozen=True, slots=True)
class ResourceLink:
    """A resource that the server could be asked for."""

    uri: str
    name: str
    description: str = ""
    mime_type: str = ""


@dataclass(frozen=True, slots=True)
class Other:
    """Content of another type, an embedded resource for example, as the server's JSON text."""

    json: str


Content = Text | Media | ResourceLink | Other


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running call is, in the tool's own unit; `total` is None where unknown."""

    progress: float
    total: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a call came to. `structured` is JSON text, None where the tool gave none.

    `is_error` says that the call failed; the content then tells the model why.
    """

    content: tuple[Content, ...]
    structured: str | None = None
    is_error: bool = False

    @classmethod
    def failure(cls, message: str) -> "ToolResult":
        """A failed call, in words that the model can read."""
        return cls((Text(message),), is_error=True)


Event = tuple[Progress, ...] | ToolResult
"""What happens in a call: all progress that was ready, oldest first; or the result."""
