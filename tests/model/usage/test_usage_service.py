"""Every call yields one record, and UsageService tells it to whom it may."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.e2e.answers import Answer
from tests.upstreams.scripted import CLOSE, ScriptedUpstream, answer, sse, stream
from trivet.standalone.config import Config
from trivet.standalone.gateway import open_gateway

KEYS = {name: f"sk-{name}-0123456789" for name in ("root", "alice", "bob")}
HI = {"messages": [{"role": "user", "content": "hi"}]}
SAID = Answer(text=("Hel", "lo"))
PRICE = {"input_per_million": "0.1", "output_per_million": "0.2"}

Json = dict[str, Any]


@dataclass
class Rig:
    """A gateway with the providers `lab` and `oai`, asked by the keys `root`, which is an admin, `alice` and `bob`."""

    http: aiohttp.ClientSession
    upstream: ScriptedUpstream

    async def get(self, path: str, key: str = "root", **query: Any) -> tuple[int, Json]:
        async with self.http.get(path, params=query.get("pairs", query), headers=_authorized(key)) as answered:
            return answered.status, await answered.json()

    async def post(self, path: str, body: Json, key: str = "alice", **headers: str) -> int:
        async with self.http.post(path, json=body, headers={**_authorized(key), **headers}) as answered:
            await answered.read()
            return answered.status

    async def calls(self, number: int) -> list[Json]:
        """The records, the newest first, once there are so many: a stream's is made when its last byte has left."""
        async with asyncio.timeout(30):
            while True:
                status, page = await self.get("/v1/usage/calls")
                assert status == 200
                if len(page["data"]) >= number:
                    assert len(page["data"]) == number
                    return list(page["data"])

    async def error(self, path: str, key: str = "root", **query: Any) -> tuple[int, str | None, str]:
        status, body = await self.get(path, key, **query)
        return status, body["error"]["param"], body["error"]["message"]


def _authorized(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {KEYS.get(key, key)}"}


@asynccontextmanager
async def gateway(folder: Path, **usage: Any) -> AsyncIterator[Rig]:
    async with ScriptedUpstream() as upstream:
        config = Config.model_validate(
            {
                "server": {"http": "127.0.0.1:0", "grpc": "127.0.0.1:0", "grace_seconds": 1},
                "auth": {
                    "keys": [
                        {"name": name, "key": key, "role": "admin" if name == "root" else "user"} for name, key in KEYS.items()
                    ]
                },
                "providers": [
                    {
                        "name": name,
                        "type": kind,
                        "base_url": upstream.base_url,
                        "models": [{"name": "m", "price": PRICE}, "unpriced"],
                    }
                    for name, kind in (("lab", "openai-chat"), ("oai", "openai-responses"))
                ],
                "store": {"url": f"sqlite:///{folder}/t.db"},
                "usage": usage,
            }
        )
        async with open_gateway(config) as opened, aiohttp.ClientSession(f"http://{opened.http}") as http:
            yield Rig(http, upstream)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with gateway(tmp_path) as opened:
        yield opened


async def test_where_calls_are_not_recorded_those_of_before_are_told(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rig.upstream.play(SAID.script("lab", streamed=False))
        assert await rig.post("/v1/chat/completions", {**HI, "model": "lab/m"}) == 200
    async with gateway(tmp_path, record=False) as rig:
        rig.upstream.play(SAID.script("lab", streamed=False))
        assert await rig.post("/v1/chat/completions", {**HI, "model": "lab/m"}) == 200
        await rig.calls(1)


# ---- one record for each call ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    ("provider", "path", "body", "operation"),
    [
        ("lab", "/v1/chat/completions", HI, "chat.completions"),
        ("oai", "/v1/responses", {"input": "hi"}, "responses"),
        ("lab", "/v1/responses", {"input": "hi"}, "responses"),
    ],
)
async def test_a_call_yields_one_record_with_its_tokens_and_cost(
    rig: Rig, provider: str, path: str, body: Json, operation: str, streamed: bool
) -> None:
    rig.upstream.play(SAID.script(provider, streamed=streamed))
    asked = {**body, "model": f"{provider}/m", "stream": streamed, "store": False}
    if operation == "chat.completions" and streamed:
        asked = {**body, "model": f"{provider}/m", "stream": True, "stream_options": {"include_usage": True}}
    elif operation == "chat.completions":
        del asked["store"]
    assert await rig.post(path, asked, **{"x-request-id": "req-7"}) == 200

    (call,) = await rig.calls(1)

    tokens = call["tokens"]
    assert tokens["input"] > 0
    assert tokens["output"] > 0
    assert float(call["cost"]) == pytest.approx((tokens["input"] * 0.1 + tokens["output"] * 0.2) / 1e6)
    assert (call["caller"], call["operation"], call["model"]) == ("alice", operation, f"{provider}/m")
    assert (call["provider"], call["upstream_model"], call["status"]) == (provider, "m", 200)
    assert (call["stream"], call["request_id"]) == (streamed, "req-7")
    assert [(one["target"], one["status"]) for one in call["attempts"]] == [(f"{provider}/m", 200)]
    assert (call["first_token_seconds"] is not None) is streamed
    assert call["seconds"] >= (call["first_token_seconds"] or 0)
    assert call["id"].startswith("call_")
    assert call["time"].endswith("Z")


async def test_a_model_without_a_price_has_no_cost_and_is_counted(rig: Rig) -> None:
    for model in ("lab/m", "lab/unpriced"):
        rig.upstream.play(SAID.script("lab", streamed=False))
        assert await rig.post("/v1/chat/completions", {**HI, "model": model}) == 200

    unpriced, priced = await rig.calls(2)
    _, report = await rig.get("/v1/usage", group_by="model")

    assert (unpriced["cost"], unpriced["tokens"] is None) == (None, False)
    assert [group["usage"]["cost"] for group in report["data"]] == [priced["cost"], None]
    assert (report["totals"]["cost"], report["totals"]["unpriced"]) == (priced["cost"], 1)


async def test_an_upstream_that_fails_is_recorded_with_its_status(rig: Rig) -> None:
    rig.upstream.play(answer({"error": {"message": "no"}}, status=400))
    status = await rig.post("/v1/chat/completions", {**HI, "model": "lab/m"})

    (call,) = await rig.calls(1)
    _, report = await rig.get("/v1/usage")

    assert status == call["status"] == 400
    assert (call["tokens"], call["cost"]) == (None, None)
    assert report["totals"] | {"calls": 1, "failed": 1, "cost": "0", "unpriced": 0} == report["totals"]


async def test_a_stream_that_breaks_off_is_recorded_as_the_error_that_it_ends_with(rig: Rig) -> None:
    rig.upstream.play(*stream(sse(*SAID.chunks()[:2], done=False))[:-1], CLOSE)
    assert await rig.post("/v1/chat/completions", {**HI, "model": "lab/m", "stream": True}) == 200

    (call,) = await rig.calls(1)
    _, report = await rig.get("/v1/usage")

    assert call["status"] == 502
    assert report["totals"]["unpriced"] == 1


async def test_a_client_that_leaves_is_recorded_with_499(rig: Rig) -> None:
    gate = asyncio.Event()
    rig.upstream.play(stream(sse(*SAID.chunks()[:2], done=False), gate))
    body = {**HI, "model": "lab/m", "stream": True}
    async with rig.http.post("/v1/chat/completions", json=body, headers=_authorized("alice")) as answered:
        await answered.content.readany()

    (call,) = await rig.calls(1)

    assert (call["status"], call["stream"]) == (499, True)


async def test_a_model_that_is_not_there_is_recorded_without_a_target(rig: Rig) -> None:
    assert await rig.post("/v1/chat/completions", {**HI, "model": "lab/none"}) == 404

    (call,) = await rig.calls(1)

    assert (call["model"], call["status"], call["provider"], call["upstream_model"]) == ("lab/none", 404, None, None)
    assert call["attempts"] == []


async def test_what_was_stored_is_told_after_a_restart(tmp_path: Path) -> None:
    async with gateway(tmp_path) as rig:
        rig.upstream.play(SAID.script("lab", streamed=False))
        assert await rig.post("/v1/chat/completions", {**HI, "model": "lab/m"}) == 200

    async with gateway(tmp_path) as rig:
        assert len(await rig.calls(1)) == 1


# ---- who may see what -------------------------------------------------------------------------------------------------------


@pytest.fixture
async def used(rig: Rig) -> Rig:
    """One call of alice, two of bob."""
    for key in ("alice", "bob", "bob"):
        rig.upstream.play(SAID.script("lab", streamed=False))
        assert await rig.post("/v1/chat/completions", {**HI, "model": "lab/m"}, key) == 200
    return rig


async def test_a_key_sees_its_own_usage_and_an_admin_that_of_all(used: Rig) -> None:
    seen = {key: (await used.get("/v1/usage", key, group_by="caller"))[1] for key in KEYS}

    callers = {key: {group["group"]["caller"]: group["usage"]["calls"] for group in told["data"]} for key, told in seen.items()}
    assert callers == {"alice": {"alice": 1}, "bob": {"bob": 2}, "root": {"alice": 1, "bob": 2}}
    assert [len((await used.get("/v1/usage/calls", key))[1]["data"]) for key in ("alice", "bob", "root")] == [1, 2, 3]
    assert (await used.get("/v1/usage", "bob", caller="bob"))[1]["totals"]["calls"] == 2
    assert (await used.get("/v1/usage", "root", caller="bob"))[1]["totals"]["calls"] == 2


@pytest.mark.parametrize("path", ["/v1/usage", "/v1/usage/calls"])
async def test_the_usage_of_another_key_is_refused(used: Rig, path: str) -> None:
    status, param, message = await used.error(path, "alice", caller="bob")

    assert (status, param) == (403, "caller")
    assert message == "This key may see its own usage only: a key of the role `admin` sees all."
    assert (await used.error(path, "nobody"))[0] == 401


async def test_another_keys_call_is_no_place_to_begin_after(used: Rig) -> None:
    newest = (await used.calls(3))[0]
    assert newest["caller"] == "bob"

    assert await used.error("/v1/usage/calls", "alice", after=newest["id"]) == (
        400,
        "after",
        "Invalid 'after': there is no such call.",
    )


# ---- how it is asked --------------------------------------------------------------------------------------------------------


async def test_lists_and_maps_are_given_in_the_query(used: Rig) -> None:
    pairs = [("group_by", "caller"), ("group_by", "status"), ("status", "200"), ("status", "499"), ("model", "lab/m")]
    _, report = await used.get("/v1/usage", pairs=pairs)
    assert [group["group"] for group in report["data"]] == [
        {"caller": "alice", "status": "200"},
        {"caller": "bob", "status": "200"},
    ]

    _, report = await used.get("/v1/usage", pairs=[("metadata[team]", "blue")])
    assert report["totals"]["calls"] == 0


async def test_a_span_and_pages_are_given_in_the_query(used: Rig) -> None:
    newest = await used.calls(3)
    _, since = await used.get("/v1/usage", **{"from": newest[1]["time"]})
    _, until = await used.get("/v1/usage", to=newest[1]["time"].replace("Z", "+00:00"))
    _, never = await used.get("/v1/usage", **{"from": "2000-01-01", "to": "2000-01-01T01:00:00+01:00"})
    assert since["totals"]["calls"] + until["totals"]["calls"] == 3
    assert never["totals"] == {**never["totals"], "calls": 0, "cost": "0", "unpriced": 0, "mean_seconds": None}

    _, first = await used.get("/v1/usage/calls", limit=2)
    _, second = await used.get("/v1/usage/calls", limit=2, after=first["data"][-1]["id"])
    assert [one["id"] for one in first["data"] + second["data"]] == [one["id"] for one in newest]
    assert (first["has_more"], second["has_more"]) == (True, False)

    _, page = await used.get("/v1/usage", group_by="caller", limit=1, offset=1, order="group")
    assert (page["data"][0]["group"], page["has_more"]) == ({"caller": "bob"}, False)


@pytest.mark.parametrize(
    ("pairs", "param"),
    [
        ([("group_by", "weekday")], "group_by[0]"),
        ([("group_by", "day"), ("group_by", "metadata.")], "group_by[1]"),
        ([("group_by", "day"), ("group_by", "day")], "group_by"),
        ([("group_by", name) for name in ("day", "hour", "model", "target", "provider", "status")], "group_by"),
        ([("from", "yesterday")], "from"),
        ([("to", "2026-13-01")], "to"),
        ([("status", "ok")], "status[0]"),
        ([("order", "size")], "order"),
        ([("limit", "0")], "limit"),
        ([("limit", "1001")], "limit"),
        ([("offset", "-1")], "offset"),
        ([("metadata", "team")], "metadata"),
        ([(f"metadata[{name}]", "x") for name in "abcdef"], "metadata"),
    ],
)
async def test_a_bad_parameter_is_refused_by_its_name(rig: Rig, pairs: list[tuple[str, str]], param: str) -> None:
    status, told, _ = await rig.error("/v1/usage", pairs=pairs)

    assert (status, told) == (400, param)
