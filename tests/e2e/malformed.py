"""Requests that break the contract, each with the status and the field that its refusal names."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

RESPONSES, CHAT, AGENT = "/responses", "/chat/completions", "/agent/responses"
_USER = [{"role": "user", "content": "hi"}]
_BASES: dict[str, dict[str, Any]] = {
    RESPONSES: {"model": "lab/m", "input": "hi"},
    CHAT: {"model": "lab/m", "messages": _USER},
    AGENT: {"model": "lab/m", "messages": _USER},
}


@dataclass(frozen=True)
class Malformed:
    """A request to `path` with these bytes; `param` is what the refusal names, None for the body as a whole."""

    path: str
    body: bytes
    param: str | None
    status: int = 400

    def __str__(self) -> str:
        return f"{self.path} {self.body[:60].decode('utf-8', 'replace')} -> {self.param}"


def malformed() -> Iterator[Malformed]:
    """All of them."""
    for path in (RESPONSES, CHAT, AGENT):
        yield from _not_json(path)
        yield from (_changed(path, change, param) for change, param in _COMMON)
    yield from (_changed(RESPONSES, change, param) for change, param in _OF_RESPONSES)
    for path in (CHAT, AGENT):
        yield from (_changed(path, change, param) for change, param in _OF_MESSAGES)
    yield from (_changed(CHAT, change, param) for change, param in _OF_CHAT)
    yield from (_changed(AGENT, change, param) for change, param in _OF_AGENT)


def _changed(path: str, change: dict[str, Any], param: str | None) -> Malformed:
    body = {key: value for key, value in {**_BASES[path], **change}.items() if value is not ...}
    return Malformed(path, orjson.dumps(body), param, 404 if "nobody" in str(change) else 400)


def _not_json(path: str) -> Iterator[Malformed]:
    whole = orjson.dumps(_BASES[path])
    for body in (b"", b"{", whole[:-1], whole + b"}", b"not json", b"\xff\xfe\x00", b"null", b"[]", b'"text"', b"7", b"true"):
        yield Malformed(path, body, None)
    yield Malformed(path, whole[:-1] + b',"temperature":NaN}', None)
    yield Malformed(path, whole[:-1] + b',"temperature":Infinity}', None)
    yield Malformed(path, whole[:-1] + b',"user":"\\ud800"}', None)
    yield Malformed(path, whole[:-1] + b',"user":"\xed\xa0\x80"}', None)
    yield Malformed(path, whole[:-1] + b',"model":"lab/n"}', "model")
    yield Malformed(path, whole[:-1] + b',"x":{"k":1,"k":2}}', "k")
    yield Malformed(path, whole[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}", None)


_COMMON: list[tuple[dict[str, Any], str | None]] = [
    ({"model": ...}, "model"),
    ({"model": ""}, "model"),
    ({"model": None}, "model"),
    ({"model": 5}, "model"),
    ({"model": ["lab/m"]}, "model"),
    ({"model": "nobody/m"}, "model"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 2.5}, "temperature"),
    ({"temperature": True}, "temperature"),
    ({"top_p": 1.01}, "top_p"),
    ({"top_p": {}}, "top_p"),
    ({"stream": "yes"}, "stream"),
    ({"stream": 1}, "stream"),
]

_OF_RESPONSES: list[tuple[dict[str, Any], str | None]] = [
    ({"input": ...}, "input"),
    ({"input": 5}, "input"),
    ({"input": {"role": "user"}}, "input"),
    ({"input": [5]}, "input[0]"),
    ({"input": [{"content": "hi"}]}, "input[0].type"),
    ({"input": [{"type": 7}]}, "input[0].type"),
    ({"input": [{"role": "user", "content": 5}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": [{"text": "hi"}]}]}, "input[0].content[0].type"),
    ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]}, "input[0].content[0].text"),
    ({"input": [{"type": "function_call_output", "output": "3"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call", "call_id": "c", "name": 3, "arguments": "{}"}]}, "input[0].name"),
    ({"instructions": 5}, "instructions"),
    ({"max_output_tokens": "many"}, "max_output_tokens"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 1.5}, "max_output_tokens"),
    ({"max_output_tokens": 1e30}, "max_output_tokens"),
    ({"metadata": []}, "metadata"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {str(number): "v" for number in range(17)}}, "metadata"),
    ({"tools": {}}, "tools"),
    ({"tools": [{"name": "f"}]}, "tools[0].type"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "f", "strict": "yes"}]}, "tools[0].strict"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"text": {"format": {"type": "json_schema", "name": 5}}}, "text.format.name"),
    ({"reasoning": "much"}, "reasoning"),
    ({"top_logprobs": 21}, "top_logprobs"),
    ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
    ({"store": "no"}, "store"),
    ({"include": "everything"}, "include"),
]

_OF_MESSAGES: list[tuple[dict[str, Any], str | None]] = [
    ({"messages": ...}, "messages"),
    ({"messages": []}, "messages"),
    ({"messages": "hi"}, "messages"),
    ({"messages": ["hi"]}, "messages[0]"),
    ({"messages": [{"content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "robot", "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": 5, "content": "hi"}]}, "messages[0].role"),
    ({"messages": [{"role": "user"}]}, "messages[0].content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
    ({"messages": [*_USER, {"role": "user", "content": [{"text": "hi"}]}]}, "messages[1].content[0].type"),
    ({"messages": [{"role": "user", "content": [{"type": "text", "text": []}]}]}, "messages[0].content[0].text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0].image_url"),
    ({"messages": [{"role": "tool", "content": "3"}]}, "messages[0].tool_call_id"),
    ({"messages": [{"role": "assistant", "tool_calls": [{"type": "function"}]}]}, "messages[0].tool_calls[0].id"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "5"}, "max_tokens"),
    ({"stream_options": "usage"}, "stream_options"),
]

_OF_CHAT: list[tuple[dict[str, Any], str | None]] = [
    ({"n": 0}, "n"),
    ({"n": 129}, "n"),
    ({"stop": 5}, "stop"),
    ({"stop": [5]}, "stop[0]"),
    ({"logit_bias": {"5": "much"}}, "logit_bias.5"),
    ({"tools": [{"type": "function"}]}, "tools[0].function"),
    ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
    ({"tool_choice": 5}, "tool_choice"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
    ({"frequency_penalty": 3}, "frequency_penalty"),
    ({"seed": 1e40}, "seed"),
    ({"top_logprobs": -1}, "top_logprobs"),
]

_OF_AGENT: list[tuple[dict[str, Any], str | None]] = [
    ({"iteration_limit": 0}, "iteration_limit"),
    ({"iteration_limit": -1}, "iteration_limit"),
    ({"iteration_limit": 21}, "iteration_limit"),
    ({"iteration_limit": "5"}, "iteration_limit"),
    ({"iteration_limit": 1e9}, "iteration_limit"),
    ({"iteration_limit": 1e30}, "iteration_limit"),
    ({"iteration_limit": 2.5}, "iteration_limit"),
    ({"iteration_limit": True}, "iteration_limit"),
    ({"mcp_servers": "clock"}, "mcp_servers"),
    ({"mcp_servers": {}}, "mcp_servers"),
    ({"mcp_servers": ["clock"]}, "mcp_servers[0]"),
    ({"mcp_servers": [{}]}, "mcp_servers[0]"),
    ({"mcp_servers": [{"integration_fqn": "x", "url": "http://x/mcp"}]}, "mcp_servers[0].url"),
    ({"mcp_servers": [{"integration_fqn": "nobody"}]}, "mcp_servers[0].integration_fqn"),
    ({"mcp_servers": [{"integration_fqn": 5}]}, "mcp_servers[0].integration_fqn"),
    ({"mcp_servers": [{"url": "ftp://x/mcp"}]}, "mcp_servers[0].url"),
    ({"mcp_servers": [{"url": "not a url"}]}, "mcp_servers[0].url"),
    ({"mcp_servers": [{"url": "http://x/mcp", "headers": {"A": 1}}]}, "mcp_servers[0].headers.A"),
    ({"mcp_servers": [{"url": "http://x/mcp", "headers": {"A b": "1"}}]}, "mcp_servers[0].headers"),
    ({"mcp_servers": [{"url": "http://x/mcp", "headers": {"A": "1\r\nB: 2"}}]}, "mcp_servers[0].headers"),
    ({"mcp_servers": [{"url": "http://x/mcp", "tools": ["add"]}]}, "mcp_servers[0].tools[0]"),
    ({"mcp_servers": [{"url": "http://x/mcp", "tools": [{}]}]}, "mcp_servers[0].tools[0].name"),
    ({"mcp_servers": [{"url": "http://x/mcp", "enable_all_tools": "no"}]}, "mcp_servers[0].enable_all_tools"),
    ({"top_k": -1}, "top_k"),
]


REFUSED_ADDRESSES = [
    "http://127.0.0.1:1/mcp",
    "http://localhost:1/mcp",
    "http://10.0.0.1/mcp",
    "http://172.16.0.1/mcp",
    "http://192.168.1.1/mcp",
    "http://169.254.169.254/latest/meta-data",
    "http://[::1]:1/mcp",
    "http://[::ffff:127.0.0.1]:1/mcp",
    "http://[fe80::1]/mcp",
    "http://[fd00::1]/mcp",
    "http://0.0.0.0:1/mcp",
    "http://2130706433:1/mcp",
    "http://0x7f000001:1/mcp",
    "http://0177.0.0.1:1/mcp",
    "http://127.1:1/mcp",
    "http://100.64.0.1/mcp",
    "http://metadata.google.internal/mcp",
]
"""URLs of MCP servers that a request may not reach. The last one is refused by name or because nothing resolves it."""
