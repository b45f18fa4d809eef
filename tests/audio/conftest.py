"""A gateway over a provider of audio: in one process, and as a bridge that reaches its services over gRPC."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from tests.audio.rig import KEY, Rig
from tests.upstreams.audio import audio_upstream
from trivet.standalone.config import Config
from trivet.standalone.gateway import open_gateway


@pytest.fixture
def sections() -> dict[str, Any]:
    """Sections of the configuration that a test wants otherwise; it may change them before it asks for a gateway."""
    return {}


@pytest.fixture(params=["one process", "over gRPC"])
async def rig(request: pytest.FixtureRequest, sections: dict[str, Any], tmp_path: Path) -> AsyncIterator[Rig]:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(audio_upstream())

        def configured(services: dict[str, str]) -> Config:
            providers = [
                {"name": name, "type": kind, "base_url": upstream.base_url, "api_key": "none", **more}
                for name, kind, more in (
                    ("lab", "openai-chat", {}),
                    ("oai", "openai-responses", {}),
                    ("hasty", "openai-chat", {"timeouts": {"read_seconds": 0.3}}),
                )
            ]
            config = {
                "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "grace_seconds": 1},
                "auth": {"keys": [{"name": "test", "key": KEY}]},
                "providers": [*providers, {"name": "local", "type": "local"}],
                "store": {"url": f"sqlite:///{tmp_path}/t.db"},
                "services": services,
            }
            return Config.model_validate(config | sections)

        if request.param == "one process":
            opened = await stack.enter_async_context(open_gateway(configured({})))
            address = opened.grpc
        else:
            services = await stack.enter_async_context(open_gateway(configured({}), "model"))
            address = services.grpc
            opened = await stack.enter_async_context(
                open_gateway(configured(dict.fromkeys(("model", "tool", "agent"), address)), "bridge")
            )
        http = aiohttp.ClientSession(
            f"http://{opened.http}", headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(30)
        )
        client = openai.AsyncOpenAI(base_url=f"http://{opened.http}/v1", api_key=KEY, max_retries=0, timeout=30)
        await stack.enter_async_context(http)
        await stack.enter_async_context(client)
        yield Rig(upstream, http, client, address)
