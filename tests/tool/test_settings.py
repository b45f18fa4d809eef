"""What the configuration of the tool service may say."""

from typing import Any

import pytest
from pydantic import ValidationError

from trivet.tool_service.settings import ToolSettings


def test_the_usual_configuration_is_read() -> None:
    settings = ToolSettings.model_validate(
        {
            "mcp_servers": [
                {"name": "everything", "url": "http://127.0.0.1:18201/mcp", "headers": {"X-Team": "blue"}},
                {"name": "clock", "command": ["mcp-server-time", "--local-timezone", "UTC"]},
            ],
            "security": {"allow_private_networks": True},
        }
    )

    assert [server.name for server in settings.mcp_servers] == ["everything", "clock"]
    assert settings.mcp_servers[1].command == ("mcp-server-time", "--local-timezone", "UTC")
    assert not ToolSettings().security.allow_private_networks
    assert "blue" not in repr(settings)


@pytest.mark.parametrize(
    "server",
    [
        {"name": "a"},
        {"name": "a", "url": "http://x/mcp", "command": ["x"]},
        {"name": "", "url": "http://x/mcp"},
        {"name": "a b", "url": "http://x/mcp"},
        {"name": "a", "url": "ftp://x/mcp"},
        {"name": "a", "url": "http://"},
        {"name": "a", "url": "x/mcp"},
        {"name": "a", "command": []},
        {"name": "a", "command": ["x"], "headers": {"a": "b"}},
        {"name": "a", "url": "http://x/mcp", "env": {"a": "b"}},
        {"name": "a", "url": "http://x/mcp", "cwd": "/"},
        {"name": "a", "url": "http://x/mcp", "headers": {"Host": "b"}},
        {"name": "a", "url": "http://x/mcp", "headers": {"a": "b\n"}},
        {"name": "a", "url": "http://x/mcp", "call_timeout": 0},
        {"name": "a", "url": "http://x/mcp", "unknown": 1},
    ],
)
def test_an_impossible_server_is_refused(server: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ToolSettings.model_validate({"mcp_servers": [server]})


def test_two_servers_of_one_name_are_refused() -> None:
    server = {"name": "a", "url": "http://x/mcp"}
    with pytest.raises(ValidationError, match="two MCP servers are named `a`"):
        ToolSettings.model_validate({"mcp_servers": [server, server]})
