"""A client of Trivet's own REST contract, for the commands that ask a gateway something."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from trivet.standalone.failures import CommandFailed

# A line of the stream is one event; a tool's result makes the longest ones.
_LONGEST_LINE = 16 * 1024 * 1024

_GROUPS_AT_ONCE = 1000


class GatewayError(CommandFailed):
    """A gateway that does not answer, or answers with an error. The text is for people."""


class RestClient:
    """The gateway at `url` (`http://HOST:PORT`, with or without `/v1`), spoken to with `key`.

    Every method raises GatewayError.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._base = url.rstrip("/").removesuffix("/v1") + "/v1"

    async def models(self) -> list[str]:
        """The ids of the models, in the order of the configuration."""
        answer = await self._get("/models")
        return [model["id"] for model in answer["data"]]

    async def servers(self) -> list[dict[str, Any]]:
        """The registered MCP servers: `name`, `transport`, `status`, `error`."""
        answer = await self._get("/mcp/servers")
        return list(answer["data"])

    async def tools(self, server: str) -> list[dict[str, Any]]:
        """The tools of a registered server: `name`, `description` and their schemas."""
        answer = await self._get(f"/mcp/servers/{quote(server, safe='')}/tools")
        return list(answer["data"])

    async def usage(self, query: Sequence[tuple[str, str]]) -> dict[str, Any]:
        """The whole report of usage that a query asks for, whatever its pages: `data`, `totals`."""
        groups: list[Any] = []
        while True:
            page = await self._get("/usage", [*query, ("limit", str(_GROUPS_AT_ONCE)), ("offset", str(len(groups)))])
            groups += page["data"]
            if not page["has_more"]:
                return {**page, "data": groups}

    async def run(self, body: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """The chunks of an agent run, as they come."""
        async with self._call("POST", "/agent/responses", json=body) as response:
            async for line in response.content:
                if not line.startswith(b"data:"):
                    continue
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                chunk = orjson.loads(data)
                if "error" in chunk:
                    raise GatewayError(chunk["error"]["message"])
                yield chunk
        raise GatewayError("the gateway ended the stream in the middle")

    async def _get(self, path: str, query: Sequence[tuple[str, str]] = ()) -> Any:
        async with self._call("GET", path, query=query) as response:
            return orjson.loads(await response.read())

    @asynccontextmanager
    async def _call(
        self, method: str, path: str, json: object = None, query: Sequence[tuple[str, str]] = ()
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        try:
            async with self._session.request(method, self._base + path, json=json, params=query) as response:
                if response.status != 200:
                    raise GatewayError(_message_of(await response.read(), response.status))
                yield response
        except (aiohttp.ClientError, TimeoutError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise GatewayError(f"no answer from {self._base}: {reason}") from error


@asynccontextmanager
async def open_rest_client(url: str, key: str) -> AsyncIterator[RestClient]:
    """A client of the gateway at `url`; its connections end with the block."""
    session = aiohttp.ClientSession(
        headers={"authorization": f"Bearer {key}"},
        # A run may take long and be silent for long; only the connection must come soon.
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=10),
        read_bufsize=_LONGEST_LINE,
    )
    async with session:
        yield RestClient(session, url)


def agent_request(question: str, model: str, mcp_servers: Sequence[str]) -> dict[str, Any]:
    """The body of an agent run: each MCP server is a URL or the name of a registered one."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": question}],
        "mcp_servers": [{"url" if "://" in server else "integration_fqn": server} for server in mcp_servers],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def _message_of(body: bytes, status: int) -> str:
    try:
        return f"{orjson.loads(body)['error']['message']} ({status})"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return f"the gateway answered with status {status}"
