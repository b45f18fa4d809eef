"""Which server a request means, and with which headers."""

import pytest

from trivet.kernel.errors import InvalidRequest, McpServerNotFound
from trivet.tool_service.domain.targets import HttpEndpoint, McpServer, Registry, StdioCommand, Target

REGISTRY = Registry(
    [
        McpServer("web", HttpEndpoint("https://web.example/mcp", {"Authorization": "Bearer own", "X-Team": "blue"})),
        McpServer("program", StdioCommand(("p",))),
    ]
)


def headers_of(target: Target) -> dict[str, str]:
    endpoint = REGISTRY.resolve(target).endpoint
    assert isinstance(endpoint, HttpEndpoint)
    return dict(endpoint.headers)


def test_headers_of_the_request_take_the_place_of_configured_ones() -> None:
    assert headers_of(Target("web")) == {"Authorization": "Bearer own", "X-Team": "blue"}
    assert headers_of(Target("web", headers={"AUTHORIZATION": "mine", "x-new": "1"})) == {
        "X-Team": "blue",
        "AUTHORIZATION": "mine",
        "x-new": "1",
    }


def test_a_url_gets_the_headers_of_its_request_alone_and_is_guarded() -> None:
    server = REGISTRY.resolve(Target(url="https://web.example/mcp", headers={"a": "b"}, param="server"))

    assert server.endpoint == HttpEndpoint("https://web.example/mcp", {"a": "b"}, guarded=True)
    assert (server.name, server.param) == ("web.example", "server.url")


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(McpServerNotFound) as caught:
        REGISTRY.resolve(Target("nobody", param="server"))

    assert caught.value.param == "server.name"
    assert caught.value.metadata == {"server": "nobody"}


@pytest.mark.parametrize("target", [Target(param="server"), Target("web", "https://x.example", param="server")])
def test_a_reference_is_a_name_or_a_url(target: Target) -> None:
    with pytest.raises(InvalidRequest) as caught:
        REGISTRY.resolve(target)

    assert caught.value.param == "server"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "v"),
        ("a b", "v"),
        ("a:", "v"),
        ("ä", "v"),
        ("Host", "evil"),
        ("content-length", "1"),
        ("Mcp-Session-Id", "of somebody else"),
        ("x", "a\r\nb: c"),
        ("x", "a\x00"),
        ("x", "ä"),
    ],
)
@pytest.mark.parametrize("reference", [{"name": "web"}, {"url": "https://x.example/mcp"}])
def test_a_header_that_cannot_be_sent_is_refused(reference: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        REGISTRY.resolve(Target(**reference, headers={name: value}, param="server"))  # type: ignore[arg-type]

    assert caught.value.param == "server.headers"


def test_secrets_are_not_printed() -> None:
    server = REGISTRY.resolve(Target("web"))

    assert "own" not in repr(server)
    assert "secret" not in repr(Target("web", headers={"a": "secret"}))
    assert "Bearer" not in str(server.identity)


def test_the_order_of_headers_and_the_case_of_their_names_make_no_other_server() -> None:
    one = REGISTRY.resolve(Target(url="https://x.example", headers={"a": "1", "B": "2"}))
    other = REGISTRY.resolve(Target(url="https://x.example", headers={"b": "2", "A": "1"}))

    assert one.identity == other.identity
