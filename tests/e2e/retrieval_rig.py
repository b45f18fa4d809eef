"""A gateway in the test's own process, for what is asked in one call: providers of several kinds over one scripted upstream."""

import struct
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from tests.e2e.rig import KEY, Rig, config
from tests.upstreams.scripted import Request, ScriptedUpstream, answer
from trivet.kernel.codec.packed import floats, to_base64
from trivet.standalone.gateway import open_gateway

EMBEDDINGS = "/v1/embeddings"


@asynccontextmanager
async def retrieval() -> AsyncIterator[Rig]:
    """Providers: `lab` (compatible), `small` (two inputs, or ten tokens, at a time), `plain` (asked for numbers), `oai` (OpenAI),
    `co` (Cohere) and `local`."""
    async with ScriptedUpstream() as upstream:

        def provider(name: str, kind: str = "openai-chat", **more: Any) -> dict[str, Any]:
            return {"name": name, "type": kind, "base_url": upstream.base_url, **more}

        providers = [
            provider("lab", api_key="none"),
            provider("small", embeddings={"max_batch": 2, "max_batch_tokens": 10, "parallel": 2}),
            provider("plain", embeddings={"encoding_format": "float"}),
            provider("oai", flavor="openai"),
            provider("co", "cohere", base_url=upstream.base_url.removesuffix("/v1"), api_key="co-secret-key"),
            {"name": "local", "type": "local"},
        ]
        async with (
            open_gateway(config(upstream, providers=providers)) as opened,
            aiohttp.ClientSession(
                f"http://{opened.http}", headers={"Authorization": f"Bearer {KEY}"}, timeout=aiohttp.ClientTimeout(20)
            ) as http,
        ):
            yield Rig(http, upstream, opened)


def embedded(vectors: Sequence[Any], tokens: int = 3, **more: Any) -> bytes:
    """An answer with these vectors, each a list of numbers or base64."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return answer({"object": "list", "data": data, "model": "upstream-name", "usage": usage} | more)


def base64(*numbers: float) -> str:
    return to_base64(floats(numbers))


def numbers_in(vector: bytes) -> list[float]:
    return list(struct.unpack(f"<{len(vector) // 4}f", vector))


def by_input(of: Callable[[Any], Sequence[float]]) -> Callable[[Request], list[bytes]]:
    """A script that makes the vector of each input, and counts one token for each."""
    return lambda request: [embedded([base64(*of(one)) for one in request.body["input"]], len(request.body["input"]))]
