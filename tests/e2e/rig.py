"""A whole gateway in the test's own process, on free ports, over an upstream that plays a script."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.upstreams.scripted import ScriptedUpstream
from trivet.standalone.config import Config
from trivet.standalone.gateway import Gateway, open_gateway

KEY = "sk-test-0123456789"


@dataclass(frozen=True)
class Rig:
    """A running gateway: a client session that knows the key, and the upstream of its providers `lab` and `oai`."""

    http: aiohttp.ClientSession
    upstream: ScriptedUpstream
    gateway: Gateway

    async def post(self, path: str, body: Any = None, **options: Any) -> tuple[int, Any]:
        """The status and the JSON of a POST of `body` as JSON."""
        async with self.http.post(path, **({"json": body} if body is not None else {}), **options) as answer:
            return answer.status, await answer.json()


def config(upstream: ScriptedUpstream, **sections: Any) -> Config:
    """The configuration of a gateway with the providers `lab` (chat dialect) and `oai` (responses dialect)."""
    return Config.model_validate(
        {
            "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "grace_seconds": 1},
            "auth": {"keys": [{"name": "test", "key": KEY}]},
            "providers": [
                {"name": "lab", "type": "openai-chat", "base_url": upstream.base_url, "api_key": "none"},
                {"name": "oai", "type": "openai-responses", "base_url": upstream.base_url, "api_key": "none"},
            ],
            **sections,
        }
    )


@asynccontextmanager
async def gateway(**sections: Any) -> AsyncIterator[Rig]:
    """A gateway whose configuration has these sections besides."""
    async with (
        ScriptedUpstream() as upstream,
        open_gateway(config(upstream, **sections)) as opened,
        aiohttp.ClientSession(
            f"http://{opened.http}", headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(20)
        ) as http,
    ):
        yield Rig(http, upstream, opened)
