"""Every malformed request is refused in the contract's shape, names the field, and leaves the gateway as it was."""

import io
import secrets
from collections import Counter
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.malformed import REFUSED_ADDRESSES, Malformed, malformed
from tests.e2e.rig import Rig, gateway
from tests.upstreams.scripted import answer

JSON = {"Content-Type": "application/json"}
LEAKS = ("Traceback", "trivet.", "_pb2", ".py", "object at 0x", "google.protobuf", "127.0.0.1", "grpc")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rig() -> AsyncIterator[Rig]:
    async with gateway() as rig:
        yield rig


def faults(request: Malformed, status: int, body: object) -> list[str]:
    """What is wrong with the refusal of a request."""
    if not isinstance(body, dict) or set(body) != {"error"}:
        return [f"{request}: {status} {body}"]
    error = body["error"]
    found = []
    if status != request.status:
        found.append(f"{request}: status {status}: {error}")
    if set(error) != {"message", "type", "param", "code"} or not error["message"]:
        found.append(f"{request}: {error}")
    if error["param"] != request.param:
        found.append(f"{request}: names {error['param']!r}: {error['message']}")
    found += [f"{request}: leaks {leak!r}: {error['message']}" for leak in LEAKS if leak in error["message"]]
    return found


@pytest.mark.asyncio(loop_scope="module")
async def test_each_is_refused_naming_the_field(rig: Rig) -> None:
    found: list[str] = []
    before = len(rig.upstream.requests)
    for request in malformed():
        status, body = await rig.post(f"/v1{request.path}", data=request.body, headers=JSON)
        found += faults(request, status, body)

    assert found == []
    assert len(rig.upstream.requests) == before


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/responses", "/chat/completions", "/agent/responses"])
async def test_a_huge_body_is_refused_and_the_connection_can_be_used_again(rig: Rig, path: str) -> None:
    huge = b'{"model":"lab/m","input":"' + b"x" * 50_000_000 + b'"}'

    status, body = await rig.post(f"/v1{path}", data=io.BytesIO(huge), headers=JSON)

    assert (status, body["error"]["code"]) == (413, "payload_too_large")


@pytest.mark.asyncio(loop_scope="module")
async def test_servers_that_requests_may_not_reach_are_refused(rig: Rig) -> None:
    refused: Counter[tuple[int, str, str]] = Counter()
    for url in REFUSED_ADDRESSES:
        body = {"model": "lab/m", "messages": [{"role": "user", "content": "x"}], "mcp_servers": [{"url": url}]}
        status, answered = await rig.post("/v1/agent/responses", body)
        refused[status, answered["error"]["param"], answered["error"]["code"]] += 1

    assert set(refused) <= {
        (400, "mcp_servers[0].url", "address_refused"),
        (502, "mcp_servers[0]", "mcp_server_unavailable"),
    }
    assert refused[400, "mcp_servers[0].url", "address_refused"] >= len(REFUSED_ADDRESSES) - 1


@pytest.mark.asyncio(loop_scope="module")
async def test_the_gateway_still_serves_afterwards(rig: Rig) -> None:
    words = secrets.token_hex(8)
    rig.upstream.play(answer({"id": "c", "choices": [{"index": 0, "message": {"role": "assistant", "content": words}}]}))

    status, body = await rig.post("/v1/chat/completions", {"model": "lab/m", "messages": [{"role": "user", "content": "hi"}]})

    assert (status, body["choices"][0]["message"]["content"]) == (200, words)
