"""Headers for registered MCP servers that come with a call instead of in its request."""

from collections.abc import Mapping
from typing import Final

import orjson

from trivet.kernel.errors import InvalidRequest

MCP_HEADERS: Final = "x-trivet-mcp-headers"


def registered_headers(metadata: Mapping[str, str | bytes]) -> dict[str, dict[str, str]]:
    """The headers for registered servers that came with a call: server name -> header -> value. Raises InvalidRequest."""
    text = metadata.get(MCP_HEADERS)
    if not text:
        return {}
    wrong = InvalidRequest(f"Invalid '{MCP_HEADERS}': expected a JSON object, server name to headers.", MCP_HEADERS)
    try:
        value = orjson.loads(text)
    except ValueError:
        raise wrong from None
    if not isinstance(value, dict) or not all(isinstance(headers, dict) for headers in value.values()):
        raise wrong
    if not all(isinstance(text, str) for headers in value.values() for text in headers.values()):
        raise wrong
    return value
