"""Tools of MCP servers through a whole gateway: what is refused, what is kept secret, and what is left to a provider."""

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.frames import Json, data_of
from tests.e2e.rig import Rig, gateway
from tests.e2e.runs import DONE, calling
from tests.e2e.tool_server import ToolServer, tool_server
from tests.e2e.upstream_talk import say
from trivet.model_service.settings import ProviderSettings

SECRETS = {"authorization": "hush-token", "headers": {"X-Key": "hush-header"}}
ADDING = calling(("add", {"a": 2, "b": 3}))


@asynccontextmanager
async def gateway_with_tools(folder: Path) -> AsyncIterator[tuple[Rig, ToolServer]]:
    """A gateway that keeps its responses in this folder, with the registered server `tools`."""
    async with (
        tool_server() as server,
        gateway(
            store={"url": f"sqlite:///{folder}/trivet.db"},
            mcp_servers=[{"name": "tools", "url": server.url}],
            security={"allow_private_networks": True},
        ) as rig,
    ):
        yield rig, server


def asked(**changes: Any) -> Json:
    tool = {"type": "mcp", "server_label": "sums", "connector_id": "tools", "require_approval": "never"}
    return {"model": "lab/m", "input": "go", "tools": [tool | changes.pop("tool", {})], **changes}


async def streamed(rig: Rig, body: Json) -> list[Json]:
    """The events of a stream without defects."""
    async with rig.http.post("/v1/responses", json=body | {"stream": True}) as answered:
        raw = await answered.read()
    assert check_responses_sse(raw) == []
    return data_of(raw)


@pytest.mark.parametrize("more", [{}, {"stream": True}, {"background": True}], ids=["whole", "streamed", "in the background"])
@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"server_url": "http://a.example/mcp"}, "tools[0]"),
        ({"tunnel_id": "t"}, "tools[0].tunnel_id"),
        ({"require_approval": "maybe"}, "tools[0].require_approval"),
    ],
)
async def test_a_server_that_is_described_wrongly_is_refused(tmp_path: Path, more: Json, tool: Json, param: str) -> None:
    async with gateway_with_tools(tmp_path) as (rig, _):
        status, body = await rig.post("/v1/responses", asked(tool=tool, **more))

    assert (status, body["error"]["param"]) == (400, param)


@pytest.mark.parametrize("more", [{}, {"stream": True}], ids=["whole", "streamed"])
async def test_a_server_that_is_not_registered_is_refused(tmp_path: Path, more: Json) -> None:
    async with gateway_with_tools(tmp_path) as (rig, _):
        status, body = await rig.post("/v1/responses", asked(tool={"connector_id": "unheard"}, **more))

    assert (status, body["error"]["param"]) == (404, "tools[0].connector_id")


async def test_headers_for_a_registered_server_may_come_with_the_call(tmp_path: Path) -> None:
    sent = {"x-trivet-mcp-headers": json.dumps({"tools": {"Host": "x"}})}
    async with gateway_with_tools(tmp_path) as (rig, _):
        status, body = await rig.post("/v1/responses", asked(), headers=sent)

    # They arrive, for this one is not theirs to set.
    assert (status, "Host" in body["error"]["message"]) == (400, True)


async def test_secrets_are_neither_told_nor_kept_nor_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[Any] = []
    async with gateway_with_tools(tmp_path) as (rig, server):
        for more in ({}, {"background": True}):
            say(rig.upstream, ADDING, DONE)
            events = await streamed(rig, asked(tool=SECRETS, **more))
            response = events[-1]["response"]
            assert [item["type"] for item in response["output"]] == ["mcp_list_tools", "mcp_call", "message"]
            told += [events, await _get(rig, f"/v1/responses/{response['id']}")]
            told.append(await _get(rig, f"/v1/responses/{response['id']}/input_items"))
        assert server.seen["tools/call"] == 2
        heard = json.dumps([request.body for request in rig.upstream.requests])
        kept = b"".join(file.read_bytes() for file in tmp_path.iterdir() if file.name.startswith("trivet.db"))

    assert b"mcp_call" in kept
    assert b"hush" not in kept
    assert "hush" not in json.dumps(told) + heard + caplog.text


async def _get(rig: Rig, path: str) -> Any:
    async with rig.http.get(path) as answered:
        assert answered.status == 200
        return await answered.json()


async def test_a_provider_that_runs_mcp_itself_gets_the_tools_as_they_are(tmp_path: Path) -> None:
    theirs = {"type": "mcp", "server_label": "docs", "connector_id": "connector_dropbox", "authorization": "theirs"}
    async with gateway_with_tools(tmp_path) as (rig, _):
        native = {"name": "own", "type": "openai-responses", "base_url": rig.upstream.base_url, "native_mcp": True}
        async with gateway(providers=[native], store={"url": f"sqlite:///{tmp_path}/own.db"}) as own:
            say(rig.upstream, DONE)
            events = await streamed(own, {"model": "own/m", "input": "go", "tools": [theirs]})

        assert rig.upstream.requests[0].body["tools"] == [theirs]
        assert "theirs" not in json.dumps(events)


def test_only_a_provider_of_this_api_can_run_mcp_itself() -> None:
    with pytest.raises(ValidationError, match="native_mcp"):
        ProviderSettings(name="lab", type="openai-chat", base_url="http://127.0.0.1/v1", native_mcp=True)
