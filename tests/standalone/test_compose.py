"""The compose file and the image name commands, files and checks that exist, and four processes make one gateway."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.standalone.compose import KEY, ROOT, Composed, compose_file, composed, in_order, services
from trivet.standalone.config import load_config
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

    assert order.index("tool") < order.index("model") < order.index("agent") < order.index("bridge")


def test_the_image_is_made_of_files_that_are_there_and_runs_as_nobody() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") and "--from" not in line for word in line.split()[1:-1]]

    assert copied
    assert [path for path in copied if not (ROOT / path).exists()] == []
    assert "USER 10001" in lines
    assert "COPY deploy/trivet.yaml /etc/trivet/trivet.yaml" in lines
    assert any("TRIVET_CONFIG=/etc/trivet/trivet.yaml" in line for line in lines)


def test_what_is_kept_is_in_a_volume_that_its_writer_owns() -> None:
    everything = compose_file()
    model = everything["services"]["model"]
    url = model["environment"]["TRIVET_STORE_URL"]

    assert load_config(ROOT / "deploy/trivet.yaml", model["environment"]).store.file == Path("/data/trivet.db")
    assert url == "sqlite:////data/trivet.db"
    assert model["volumes"] == ["store:/data"]
    assert set(everything["volumes"]) == {"store", "postgres"}
    assert " && install --directory --owner trivet --mode 700 /data" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_processes_share_a_postgresql_where_one_is_asked_for() -> None:
    url = "postgresql://trivet:secret@postgres/trivet"
    environment = compose_file(TRIVET_STORE_URL=url, TRIVET_STORE_KEY="k" * 16)["services"]["model"]["environment"]
    store = load_config(ROOT / "deploy/trivet.yaml", environment).store

    assert store.file is None
    assert store.url is not None
    assert store.url.get_secret_value() == url
    assert compose_file()["services"]["postgres"]["profiles"] == ["postgres"]
    assert "postgres" not in services()


def test_the_model_service_keeps_what_the_others_know_nothing_of(gateway: Composed) -> None:
    status, body = get(gateway, "/v1/responses/resp_unknown")

    assert (gateway.data / "trivet.db").exists()
    assert status == 404
    assert body["error"]["code"] == "response_not_found"


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
