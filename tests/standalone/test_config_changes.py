"""What is told of the difference between two configurations."""

from typing import Any

import pytest

from trivet.standalone.config import Config
from trivet.standalone.config_changes import differences, restart_needed
from trivet.standalone.parts import PARTS, Part

LAB = {"name": "lab", "type": "openai-chat", "base_url": "http://h/v1", "api_key": "sk-hush"}
APPLIED = {"auth", "providers", "models", "mcp_servers", "mcp_limits", "security", "agent", "bridge"}
"""What `docs/operations.md` says is put in force while a process runs; for another section, decide, and say it there."""
FIXED = {"server", "services", "store", "background", "usage"}


def config(**sections: Any) -> Config:
    return Config.model_validate(sections)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ({}, {}, []),
        ({"providers": [LAB]}, {"providers": [LAB | {"api_key": "sk-other"}]}, ["providers (lab changed)"]),
        ({"providers": [LAB]}, {"providers": [LAB | {"name": "new"}]}, ["providers (new added, lab removed)"]),
        ({"providers": [LAB, LAB | {"name": "b"}]}, {"providers": [LAB | {"name": "b"}, LAB]}, ["providers"]),
        ({}, {"auth": {"keys": [{"name": "ops", "key": "sk-hush"}]}}, ["auth.keys (ops added)"]),
        ({}, {"mcp_limits": {"max_sessions": 3}}, ["mcp_limits.max_sessions"]),
        ({}, {"bridge": {"cors": {"origins": ["https://a.example"]}}}, ["bridge.cors.origins"]),
    ],
)
def test_differences_are_told_by_name_and_never_by_value(before: Any, after: Any, told: list[str]) -> None:
    assert [str(one) for one in differences(config(**before), config(**after))] == told


@pytest.mark.parametrize(
    ("section", "key", "parts"),
    [
        ({"server": {"grace_seconds": 3}}, "server.grace_seconds", PARTS),
        ({"server": {"http": "127.0.0.1:1"}}, "server.http", ("all", "bridge")),
        ({"server": {"grpc": "127.0.0.1:1"}}, "server.grpc", ("all", "model", "agent", "tool")),
        ({"services": {"model": "127.0.0.1:1"}}, "services.model", ("model", "agent", "bridge")),
        ({"store": {"retention_days": 3}}, "store.retention_days", ("all", "model")),
        ({"background": {"max_running": 3}}, "background.max_running", ("all", "model")),
        ({"bridge": {"max_body_bytes": 2000}}, "bridge.max_body_bytes", ("all", "bridge")),
        ({"bridge": {"stalled_seconds": 3}}, "bridge.stalled_seconds", ("all", "bridge")),
        ({"bridge": {"body_seconds": 3}, "agent": {"max_parallel_tool_calls": 3}, "providers": [LAB]}, "", ()),
    ],
)
def test_what_needs_a_restart_is_told_to_the_parts_that_use_it(section: Any, key: str, parts: tuple[Part, ...]) -> None:
    told = {part: restart_needed(config(), config(**section), part) for part in PARTS}

    assert told == {part: (key,) if part in parts else () for part in PARTS}


def test_every_section_is_either_put_in_force_or_not() -> None:
    assert {info.alias or name for name, info in Config.model_fields.items()} == APPLIED | FIXED
