"""A gateway with models of its own over two upstreams, each of which plays a script."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp

from tests.e2e.rig import KEY, Rig, config
from tests.upstreams.scripted import ScriptedUpstream, Step
from trivet.standalone.gateway import open_gateway

Json = dict[str, Any]


class Playing(ScriptedUpstream):
    """An upstream that plays the same to whoever comes, once its other scripts are over; `always` may be None for nothing."""

    always: list[Step] | None = None

    def next_script(self, request: Any) -> Any:
        if self.always is not None and not self._scripts:
            self.play(*self.always)
        return super().next_script(request)


@dataclass(frozen=True)
class Routed(Rig):
    """A running gateway, the upstreams of its providers `one-lab` and `one-oai`, and of `two-lab` and `two-oai`."""

    one: Playing
    two: Playing

    @property
    def asked(self) -> tuple[int, int]:
        """How often each upstream was."""
        return len(self.one.requests), len(self.two.requests)


def smart(dialect: str, first: Json | None = None, second: Json | None = None, **more: Any) -> Json:
    """The model `smart`: the first upstream before the second, both of this dialect, retries after a moment."""
    quick = {"retry": {"attempts": 2, "delay_ms": 1, "max_delay_ms": 1000}}
    targets = [
        {"model": f"one-{dialect}/m", "priority": 0, **quick, **(first or {})},
        {"model": f"two-{dialect}/m", "priority": 1, **quick, **(second or {})},
    ]
    return {"name": "smart", "targets": targets, **more}


@asynccontextmanager
async def routed(*models: Json, **sections: Any) -> AsyncIterator[Routed]:
    """A gateway with these models."""
    async with Playing() as one, Playing() as two:
        types = {"lab": "openai-chat", "oai": "openai-responses"}
        providers = [
            {"name": f"{name}-{dialect}", "type": kind, "base_url": upstream.base_url, "api_key": "none"}
            for name, upstream in (("one", one), ("two", two))
            for dialect, kind in types.items()
        ]
        async with (
            open_gateway(config(one, providers=providers, models=models, **sections)) as opened,
            aiohttp.ClientSession(
                f"http://{opened.http}", headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(20)
            ) as http,
        ):
            yield Routed(http, one, opened, one, two)


NEVER = asyncio.Event()
