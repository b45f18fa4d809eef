"""What servers of the chat completions API differ in: a table, by which a body in OpenAI's words becomes one in theirs.

Each claim was found in the provider's own documentation, official SDK or source, or in its answers. What no row speaks of is
passed on, and the provider judges it.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeGuard
from urllib.parse import urlsplit

from trivet.kernel.errors import UnsupportedParameter

Body = dict[str, Any]

_LIMITS: Final = ("max_completion_tokens", "max_tokens")


@dataclass(frozen=True, slots=True)
class ChatFlavor:
    """A row of the table."""

    name: str

    limit_key: str = "max_tokens"
    """The parameter for the most tokens: the current name, or the older one that every compatible server knows."""

    developer_role: bool = False
    """Whether there is a role `developer`. Elsewhere `system` says the same, and chat templates refuse what they lack."""

    allowed_tools: bool = False
    """Whether a choice among some tools can be said. Elsewhere only those tools are offered, which is the same."""

    tool_choice: bool = True
    """Whether tools can be chosen at all. Elsewhere `none` offers none, and only `auto` can be said besides."""

    custom_tools: bool = True
    """Whether there are tools with free text input."""

    json_schema: bool = True
    """Whether a `response_format` may be a schema."""

    stream_options: bool = True
    """Whether a stream is asked for its usage; elsewhere it is told unasked, and the question is refused."""

    message_names: bool = True
    refusals: bool = True
    """Whether messages have a `name`; whether what a model said when it refused has a key of its own."""

    reasoning: Literal["reasoning_content", "reasoning", "thinking"] = "reasoning_content"
    """Where the reasoning of earlier turns stands: under a key of the message, or as a `thinking` part of its content."""

    reasoning_details: bool = False
    """Whether there are `reasoning_details`, which are wanted back as they came: signed or encrypted, they are sealed."""

    short_call_ids: bool = False
    """Whether ids of tool calls have to be nine letters and digits."""

    counts_tokens: bool = False
    """Whether a server may have `chat/completions/input_tokens`; it is asked once."""

    refused: Mapping[str, str] = field(default_factory=dict)
    """The parameters that it cannot be asked for, and what is known of them."""

    renamed: Mapping[str, str] = field(default_factory=dict)
    """The parameters that have other names there; `a.b` is the key `b` of the object `a`."""

    minded: frozenset[str] = field(init=False)
    """The parameters that may have to change. Of a body without them only messages do."""

    def __post_init__(self) -> None:
        minded = {*_LIMITS, "tools", "tool_choice", "stream_options", "response_format", *self.refused, *self.renamed}
        if self.stream_options:
            minded.remove("stream_options")
        if self.json_schema:
            minded.remove("response_format")
        if self.custom_tools and "tools" not in self.refused:
            # What else is done about them, a choice among them asks for.
            minded.remove("tools")
        object.__setattr__(self, "minded", frozenset(minded))


_NO_SUCH: Final = "not in its API"
_ONLY_TEXT: Final = dict.fromkeys(("modalities", "audio", "prediction", "web_search_options", "verbosity"), _NO_SUCH)

OPENAI: Final = ChatFlavor(
    "openai", "max_completion_tokens", developer_role=True, allowed_tools=True, refused={"top_k": _NO_SUCH}
)
AZURE: Final = replace(OPENAI, name="azure")
COMPATIBLE: Final = ChatFlavor("compatible", counts_tokens=True)
OLLAMA: Final = ChatFlavor(
    "ollama",
    tool_choice=False,
    custom_tools=False,
    reasoning="reasoning",
    refused=_ONLY_TEXT | dict.fromkeys(("logit_bias", "n", "top_k", "parallel_tool_calls"), "passed over without a word"),
)
VLLM: Final = ChatFlavor(
    "vllm",
    "max_completion_tokens",
    custom_tools=False,
    refused=dict.fromkeys(("audio", "prediction", "web_search_options", "verbosity"), "passed over without a word"),
    renamed={f"guided_{kind}": f"structured_outputs.{kind}" for kind in ("json", "regex", "choice", "grammar")},
)
MISTRAL: Final = ChatFlavor(
    "mistral",
    custom_tools=False,
    stream_options=False,
    message_names=False,
    refusals=False,
    reasoning="thinking",
    short_call_ids=True,
    # Unlike the others it takes no unknown key at all (422, `extra_forbidden`).
    refused={name: why for name, why in _ONLY_TEXT.items() if name != "prediction"}
    | dict.fromkeys(
        ("logit_bias", "user", "service_tier", "store", "functions", "function_call", "safety_identifier", "prompt_cache_key"),
        _NO_SUCH,
    ),
    renamed={"seed": "random_seed"},
)
GROQ: Final = ChatFlavor(
    "groq",
    "max_completion_tokens",
    custom_tools=False,
    message_names=False,
    reasoning="reasoning",
    refused=_ONLY_TEXT
    | dict.fromkeys(("logprobs", "top_logprobs", "logit_bias"), "no model has it")
    | dict.fromkeys(("metadata", "store"), "not yet there")
    | {"n": "only 1", "top_k": _NO_SUCH},
)
TOGETHER: Final = ChatFlavor(
    "together",
    custom_tools=False,
    refused=_ONLY_TEXT
    | dict.fromkeys(("parallel_tool_calls", "service_tier"), _NO_SUCH)
    | dict.fromkeys(("logprobs", "top_logprobs"), "asked for and answered in a form of its own"),
)
DEEPSEEK: Final = ChatFlavor(
    "deepseek",
    custom_tools=False,
    json_schema=False,
    refused=_ONLY_TEXT | dict.fromkeys(("seed", "n", "logit_bias", "top_k", "parallel_tool_calls", "service_tier"), _NO_SUCH),
)
OPENROUTER: Final = ChatFlavor(
    "openrouter", "max_completion_tokens", developer_role=True, reasoning="reasoning", reasoning_details=True
)

FLAVORS: Final = {
    flavor.name: flavor for flavor in (OPENAI, AZURE, COMPATIBLE, OLLAMA, VLLM, MISTRAL, GROQ, TOGETHER, DEEPSEEK, OPENROUTER)
}

_HOSTS: Final = {
    "api.openai.com": OPENAI,
    "*.openai.azure.com": AZURE,
    "*.cognitiveservices.azure.com": AZURE,
    "*.services.ai.azure.com": AZURE,
    "api.mistral.ai": MISTRAL,
    "api.groq.com": GROQ,
    "api.together.xyz": TOGETHER,
    "api.together.ai": TOGETHER,
    "api.deepseek.com": DEEPSEEK,
    "openrouter.ai": OPENROUTER,
    "ollama.com": OLLAMA,
}
"""Where a flavor is known by its address; `*.` is any name below. No port tells what listens there."""

_SAYS_NOTHING: Final[dict[str, object]] = {
    "n": 1,
    "logprobs": False,
    "store": False,
    "parallel_tool_calls": True,
    "service_tier": "auto",
    "modalities": ["text"],
}
"""Values that ask for what happens anyway: they are left out where the parameter is refused."""


_SAID: Final = {"role", "content"}


def flavor_of(given: str | None, base_url: str) -> ChatFlavor:
    """The flavor of this name, or else the one that the address tells."""
    if given is not None:
        return FLAVORS[given]
    host = urlsplit(base_url).hostname or ""
    return _HOSTS.get(host) or _HOSTS.get(f"*.{host.partition('.')[2]}") or COMPATIBLE


def known_addresses(flavor: ChatFlavor) -> list[str]:
    """The hosts that a flavor is known by."""
    return [host for host, told in _HOSTS.items() if told is flavor]


def in_flavor(body: Body, flavor: ChatFlavor, named: Callable[[str], str] = str) -> Body:
    """A body in OpenAI's words, changed to the words that its endpoint knows.

    `named` tells how the caller's API calls a parameter of this one.

    Raises:
        UnsupportedParameter: the endpoint cannot be asked for it.
    """
    if not flavor.minded.isdisjoint(body):
        _limit(body, flavor)
        _parameters(body, flavor, named)
        _tools(body, flavor, named)
    for index, message in enumerate(body["messages"]):
        # What people say is said alike everywhere.
        if message["role"] != "user" or message.keys() != _SAID:
            _message(message, flavor, f"messages[{index}]")
    return body


def _limit(body: Body, flavor: ChatFlavor) -> None:
    limits = [body.pop(key) for key in _LIMITS if key in body]
    if limits:
        body[flavor.limit_key] = limits[0]


def _parameters(body: Body, flavor: ChatFlavor, named: Callable[[str], str]) -> None:
    for name in sorted(flavor.refused.keys() & body.keys()):
        if name not in _SAYS_NOTHING or body[name] != _SAYS_NOTHING[name]:
            raise _refusal(f"cannot be asked for `{name}`", named(name))
        del body[name]
    for name in flavor.renamed.keys() & body.keys():
        _rename(body, name, flavor.renamed[name])
    if not flavor.stream_options:
        body.pop("stream_options", None)
    if not flavor.json_schema and _is(body.get("response_format"), "json_schema"):
        raise _refusal("cannot be held to a schema, only to JSON", named("response_format"))


def _rename(body: Body, name: str, target: str) -> None:
    outer, _, inner = target.partition(".")
    place, key = (body.setdefault(outer, {}), inner) if inner else (body, outer)
    if not isinstance(place, dict) or key in place:
        raise _refusal(f"calls `{name}` `{target}`, which is given too", name)
    place[key] = body.pop(name)


# ---- tools ---------------------------------------------------------------------------------------------------------


def _tools(body: Body, flavor: ChatFlavor, named: Callable[[str], str]) -> None:
    choice = body.get("tool_choice")
    if not flavor.allowed_tools and _is(choice, "allowed_tools"):
        body["tool_choice"] = choice = _offer_only(body, choice)
    for tool in body.get("tools", ()):
        if not flavor.custom_tools and _is(tool, "custom"):
            raise _refusal(f"has no custom tools, such as `{tool['custom']['name']}`", named("tools"))
    if not flavor.tool_choice and choice is not None:
        if choice not in ("auto", "none"):
            raise _refusal("cannot be told which tools to call", named("tool_choice"))
        del body["tool_choice"]
        if choice == "none":
            body.pop("tools", None)


def _offer_only(body: Body, choice: Body) -> str:
    allowed = choice["allowed_tools"]
    for name in (choice.keys() - {"type", "allowed_tools"}) | (allowed.keys() - {"mode", "tools"}):
        raise _refusal(f"cannot be asked for `{name}` in a choice of tools", "tool_choice")
    names = {_called(tool) for tool in allowed["tools"]} - {None}
    body["tools"] = [tool for tool in body.get("tools", ()) if _called(tool) in names]
    if not body["tools"]:
        del body["tools"]
    return str(allowed["mode"])


def _is(one: object, kind: str) -> TypeGuard[Body]:
    """Whether a tool, a choice or a form is of this type; what is of an unknown one is no object but raw JSON."""
    return isinstance(one, dict) and one.get("type") == kind


def _called(tool: object) -> object:
    """The name of a tool, or of a choice of one; one of an unknown type has none."""
    known = tool.get(tool["type"]) if isinstance(tool, dict) else None
    return known.get("name") if isinstance(known, dict) else None


# ---- messages ------------------------------------------------------------------------------------------------------


def _message(message: Body, flavor: ChatFlavor, where: str) -> None:
    if message["role"] == "developer" and not flavor.developer_role:
        message["role"] = "system"
    if message.get("name") and not flavor.message_names and message["role"] != "function":
        raise _refusal("has no names of those who speak", f"{where}.name")
    if message["role"] == "assistant":
        _answer(message, flavor)
    if flavor.short_call_ids:
        _shorten_ids(message)


def _answer(message: Body, flavor: ChatFlavor) -> None:
    if not flavor.refusals and (refusal := message.pop("refusal", None)):
        message["content"] = [*_parts(message.get("content")), {"type": "text", "text": refusal}]
    if flavor.reasoning != "reasoning_content" and (thought := message.pop("reasoning_content", None)):
        if flavor.reasoning == "reasoning":
            message.setdefault("reasoning", thought)
        else:
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": thought}]}
            message["content"] = [thinking, *_parts(message.get("content"))]


def _parts(content: str | Sequence[Body] | None) -> list[Body]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return list(content or ())


def _shorten_ids(message: Body) -> None:
    for call in message.get("tool_calls") or ():
        if isinstance(call, dict):
            call["id"] = _short(call["id"])
    if "tool_call_id" in message:
        message["tool_call_id"] = _short(message["tool_call_id"])


def _short(call_id: str) -> str:
    """An id of nine letters and digits: this one, or always the same in place of it."""
    if re.fullmatch("[a-zA-Z0-9]{9}", call_id):
        return call_id
    return hashlib.blake2b(call_id.encode(), digest_size=5).hexdigest()[:9]


def _refusal(what: str, param: str) -> UnsupportedParameter:
    return UnsupportedParameter(f"This model's provider {what}.", param)
