"""Models of the configuration, from socket to socket: what their callers see, and what their targets are asked."""

import json
from typing import Any

import pytest

from tests.checkers.responses_stream import check_responses_sse
from tests.e2e.bodies import PATHS, body
from tests.e2e.frames import data_of
from tests.e2e.routed import NEVER, Json, routed, smart
from tests.e2e.runs import DONE
from tests.upstreams.scripted import answer, response

pytestmark = pytest.mark.asyncio(loop_scope="session")

of_each_dialect = pytest.mark.parametrize("dialect", ["lab", "oai"])
streamed_or_not = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])

MIXED: Json = {
    "name": "smart",
    "targets": [
        {"model": "one-oai/m", "priority": 0, "retry": {"attempts": 1}},
        {"model": "two-lab/m", "priority": 1},
    ],
}


def said(dialect: str, *, streamed: bool) -> list[Any]:
    script = DONE.script(dialect, streamed=streamed)
    return list(script) if streamed else [script]


FAILED = [answer({"error": {"message": "It failed."}}, status=500)]


@streamed_or_not
async def test_an_answer_tells_who_served_it_and_what_was_tried(streamed: bool) -> None:
    async with routed(smart("lab")) as rig:
        rig.one.always = FAILED
        rig.two.always = said("lab", streamed=streamed)
        async with rig.http.post(PATHS["chat"], json=body("chat", "smart", streamed=streamed)) as given:
            headers = given.headers
            raw = await given.read()
        assert headers["x-trivet-resolved-model"] == headers["x-tfy-resolved-model"] == "two-lab/m"
        told = json.loads(headers["x-trivet-applied-configurations"])
        assert {key: told[key] for key in ("route", "strategy", "target")} == {
            "route": "smart",
            "strategy": "priority",
            "target": "two-lab/m",
        }
        tried = [(attempt["target"], attempt["status"]) for attempt in told["attempts"]]
        assert tried[:2] == [("one-lab/m", 500), ("one-lab/m", 500)]
        assert headers["x-request-id"]
        assert ("server-timing" in headers) is not streamed
        if not streamed:
            assert [stage.partition(";")[0].strip() for stage in headers["server-timing"].split(",")] == [
                "model",
                "routing",
                "total",
            ]
            assert json.loads(raw)["model"] == "smart"


@streamed_or_not
@pytest.mark.parametrize("face", ["responses", "chat"])
async def test_a_model_falls_back_from_one_dialect_to_another(face: str, streamed: bool) -> None:
    async with routed(MIXED) as rig:
        rig.one.always = FAILED
        rig.two.always = said("lab", streamed=streamed)
        async with rig.http.post(PATHS[face], json=body(face, "smart", streamed=streamed)) as given:
            raw = await given.read()
        assert (given.status, b"All " in raw, rig.asked) == (200, True, (1, 1)), raw
        if face == "responses":
            whole = data_of(raw)[-1]["response"] if streamed else json.loads(raw)
            assert (whole["provider"], whole["model"]) == ("two-lab", "smart")
            assert not streamed or check_responses_sse(raw) == []


async def test_a_parameter_that_one_target_cannot_express_goes_to_another_that_can() -> None:
    mixed = {"name": "smart", "targets": [{"model": "one-oai/m"}, {"model": "two-lab/m", "priority": 1}]}
    async with routed(mixed) as rig:
        rig.two.always = said("lab", streamed=False)
        status, _ = await rig.post(PATHS["chat"], body("chat", "smart", streamed=False) | {"seed": 7, "stop": ["x"]})
        assert (status, rig.asked) == (200, (0, 1))


async def test_a_conversation_goes_on_at_another_target_and_in_the_background() -> None:
    async with routed(MIXED) as rig:
        rig.one.play(*said("oai", streamed=False))
        status, first = await rig.post(PATHS["responses"], body("responses", "smart", streamed=False))
        assert (status, first["provider"]) == (200, "one-oai")
        rig.one.always = FAILED
        rig.two.always = said("lab", streamed=True)
        asked = body("responses", "smart", streamed=True) | {"previous_response_id": first["id"], "background": True}
        async with rig.http.post(PATHS["responses"], json=asked) as given:
            raw = await given.read()
        assert data_of(raw)[-1]["response"]["provider"] == "two-lab"
        assert [message["role"] for message in rig.two.requests[-1].body["messages"]] == ["user", "assistant", "user"]


async def test_an_agent_run_uses_a_model_of_the_configuration() -> None:
    async with routed(smart("lab")) as rig:
        rig.one.always = FAILED
        rig.two.always = said("lab", streamed=True)
        status, told = await rig.post(PATHS["agent"], body("agent", "smart", streamed=False))
        assert (status, told["choices"][0]["message"]["content"]) == (200, "All done.")


async def test_models_of_the_configuration_are_listed_and_asked_for_by_name() -> None:
    async with routed(smart("lab")) as rig:
        async with rig.http.get("/v1/models") as given:
            assert (await given.json())["data"][0] == {"id": "smart", "object": "model", "created": 0, "owned_by": "trivet"}
        async with rig.http.get("/v1/models/smart") as given:
            assert (await given.json())["owned_by"] == "trivet"


@of_each_dialect
async def test_a_target_has_parameters_of_its_own(dialect: str) -> None:
    async with routed(smart(dialect, {"override_params": {"temperature": 0.25, "max_tokens": 9, "x_lab": 1}})) as rig:
        rig.one.always = said(dialect, streamed=False)
        for face in ("responses", "chat"):
            status, told = await rig.post(PATHS[face], body(face, "smart", streamed=False) | {"temperature": 1})
            assert status == 200, told
            sent = rig.one.requests[-1].body
            limit = "max_tokens" if dialect == "lab" else "max_output_tokens"
            assert (sent["temperature"], sent[limit], sent["x_lab"]) == (0.25, 9, 1)


async def test_calls_with_the_same_value_of_the_header_go_to_the_same_target() -> None:
    async with routed(smart("lab", {"priority": 0}, {"priority": 0}, route={"sticky": {"header": "X-User-Id"}})) as rig:
        rig.one.always = rig.two.always = said("lab", streamed=False)
        served: dict[str, set[str]] = {}
        for user in [f"user-{n}" for n in range(12)] * 2:
            async with rig.http.post(
                PATHS["chat"], json=body("chat", "smart", streamed=False), headers={"x-user-id": user}
            ) as given:
                served.setdefault(user, set()).add(given.headers["x-trivet-resolved-model"])
        assert {len(targets) for targets in served.values()} == {1}
        assert set.union(*served.values()) == {"one-lab/m", "two-lab/m"}


async def test_the_time_that_a_caller_gives_is_that_of_each_attempt() -> None:
    async with routed(smart("lab")) as rig:
        rig.one.always = [NEVER]
        rig.two.always = said("lab", streamed=False)
        headers = {"x-tfy-request-timeout": "2000", "x-tfy-ttft-timeout-ms": "50"}
        async with rig.http.post(PATHS["chat"], json=body("chat", "smart", streamed=True), headers=headers) as given:
            await given.read()
            assert (given.status, rig.asked) == (200, (1, 1))
        rig.two.always = [NEVER]
        status, told = await rig.post(
            PATHS["chat"], body("chat", "smart", streamed=False), headers={"x-tfy-request-timeout": "60"}
        )
        assert (status, told["error"]["code"]) == (408, "request_timeout")


async def test_the_little_time_that_a_caller_gives_does_not_turn_others_away_from_a_target() -> None:
    async with routed(smart("lab")) as rig:
        rig.one.always, rig.two.always = [NEVER], said("lab", streamed=True)
        for _ in range(3):
            async with rig.http.post(
                PATHS["chat"], json=body("chat", "smart", streamed=True), headers={"x-trivet-ttft-timeout-ms": "50"}
            ) as given:
                await given.read()
                assert given.status == 200

        assert rig.asked == (3, 3)


async def test_what_is_read_out_has_that_time_for_each_attempt_too() -> None:
    async with routed(smart("lab")) as rig:
        rig.one.always = [NEVER]
        rig.two.always = [response(b"sound", headers={"Content-Type": "audio/mpeg"})]
        spoken = {"model": "smart", "input": "hi", "voice": "v"}
        headers = {"x-tfy-request-timeout": "300"}
        async with rig.http.post("/v1/audio/speech", json=spoken, headers=headers) as given:
            assert (given.status, await given.read(), rig.asked) == (200, b"sound", (1, 1))


async def test_a_model_without_a_provider_goes_to_the_one_in_the_header() -> None:
    async with routed() as rig:
        rig.two.always = said("lab", streamed=False)
        asked = body("chat", "m", streamed=False)
        assert (await rig.post(PATHS["chat"], asked))[0] == 404
        status, told = await rig.post(PATHS["chat"], asked, headers={"x-tfy-provider-name": "two-lab"})
        assert (status, told["model"], rig.asked) == (200, "m", (0, 1))


async def test_a_header_that_does_not_say_what_it_should_is_named() -> None:
    async with routed(smart("lab")) as rig:
        many = json.dumps({str(number): "v" for number in range(33)})
        wrong = {
            "retry-config": ["{"],
            "metadata": ["{", '{"a": 1}', '{"a": "%s"}' % ("v" * 129), '{"%s": "v"}' % ("k" * 65), many],
        }
        for name, value in ((name, value) for name, values in wrong.items() for value in values):
            status, told = await rig.post(PATHS["chat"], body("chat", "smart", streamed=False), headers={f"x-tfy-{name}": value})
            assert (status, told["error"]["param"]) == (400, f"x-trivet-{name}")
