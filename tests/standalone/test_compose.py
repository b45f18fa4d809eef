"""The compose file and the image name commands, files and checks that exist, and four processes make one gateway."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from tests.standalone.compose import KEY, ROOT, Composed, composed, in_order, services
from trivet.standalone.parts import PARTS


@pytest.fixture(scope="module")
def gateway() -> Iterator[Composed]:
    """All services; each of them must end with 0 when it is told to."""
    with composed() as running:
        yield running
        assert {name: running.stop(name) for name in reversed(in_order(running.composed))} == dict.fromkeys(running.composed, 0)


def get(gateway: Composed, path: str, key: str = KEY) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(gateway.url + path, headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused)


def test_each_part_is_a_service_of_one_image() -> None:
    found = services()

    assert set(found) == {part for part in PARTS if part != "all"}
    assert {service["image"] for service in found.values()} == {"trivet:0.1.0"}
    assert all(service["command"] == ["trivet", "serve", name] for name, service in found.items())
    assert all("healthcheck" in service for service in found.values())


def test_who_calls_another_starts_after_it() -> None:
    order = in_order(services())

    assert order.index("model") < order.index("agent") < order.index("bridge")
    assert order.index("tool") < order.index("agent")


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]]

    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert "USER 10001" in lines
    assert "COPY deploy/trivet.yaml /etc/trivet/trivet.yaml" in lines
    assert any("TRIVET_CONFIG=/etc/trivet/trivet.yaml" in line for line in lines)


def test_every_service_is_healthy_by_its_own_check(gateway: Composed) -> None:
    assert {name: gateway.is_healthy(name) for name in gateway.composed} == dict.fromkeys(gateway.composed, True)


def test_models_come_from_their_process_through_the_bridge(gateway: Composed) -> None:
    status, body = get(gateway, "/v1/models")

    assert status == 200
    assert [model["id"] for model in body["data"]] == ["local/smollm2"]


def test_tools_come_from_their_process_through_the_bridge(gateway: Composed) -> None:
    status, body = get(gateway, "/api/llm/mcp/servers/clock/tools")

    assert status == 200
    assert "get_current_time" in [tool["name"] for tool in body["data"]]


def test_a_stranger_is_refused(gateway: Composed) -> None:
    status, body = get(gateway, "/v1/models", key="sk-other")

    assert status == 401
    assert body["error"]["code"]
