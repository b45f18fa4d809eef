"""Servers by URL from a request: the guard stands before every connection, not only before the first."""

from collections.abc import Sequence

import pytest

from tests.tool.rig import call, pool_of, text_of
from tests.tool.servers.minimal import MinimalServer, minimal_server
from trivet.kernel import address_guard
from trivet.kernel.address_guard import AddressGuard
from trivet.kernel.errors import AddressRefused, InvalidRequest, McpServerUnavailable
from trivet.tool_service.domain.targets import Target


class Names:
    """A resolver whose answers follow one another; the last one stays."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def target(url: str) -> Target:
    return Target(url=url, param="server")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/mcp", "http://0x7f.1:{port}/mcp", "http://localhost:{port}/mcp"])
async def test_an_inner_address_is_refused_before_anything_is_sent(minimal: MinimalServer, url: str) -> None:
    async with pool_of() as pool:
        with pytest.raises(AddressRefused) as caught:
            await pool.list_tools(target(url.format(port=minimal.port)), "caller")

    assert caught.value.param == "server.url"
    assert not minimal.seen


async def test_private_networks_can_be_allowed(minimal: MinimalServer) -> None:
    async with pool_of(guard=AddressGuard(allow_private=True)) as pool:
        assert text_of(await call(pool, "add", {"a": 1, "b": 1}, target=target(minimal.url))) == "2"


async def test_a_name_that_changes_its_mind_is_refused_at_the_connection(minimal: MinimalServer) -> None:
    names = Names(["93.184.216.34"], ["127.0.0.1"])
    async with pool_of(guard=AddressGuard(resolve=names)) as pool:
        with pytest.raises(AddressRefused) as caught:
            await pool.list_tools(target(f"http://rebinding.example:{minimal.port}/mcp"), "caller")

    assert caught.value.param == "server.url"
    assert len(names.asked) > 1
    assert not minimal.seen


async def test_the_connection_goes_to_the_vetted_address_under_the_names_of_the_url(
    minimal: MinimalServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The name is never resolved again: here no resolver but ours knows it. The first address takes no connections."""
    monkeypatch.setattr(address_guard, "is_public", lambda address: True)
    names = Names(["127.0.0.2", "127.0.0.1"])
    async with pool_of(guard=AddressGuard(resolve=names)) as pool:
        url = f"http://mcp.example:{minimal.port}/mcp"
        for _ in range(3):
            await call(pool, "add", target=target(url))

    assert {headers["Host"] for headers in minimal.headers} == {f"mcp.example:{minimal.port}"}
    assert len(names.asked) == 2


async def test_a_redirect_to_an_inner_address_is_refused(minimal: MinimalServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server stands for a public one: the guard takes its address for public, and no other."""
    public = address_guard.is_public
    monkeypatch.setattr(address_guard, "is_public", lambda address: str(address) == "127.0.0.1" or public(address))
    async with minimal_server() as inner:
        minimal.redirect = f"http://127.0.0.2:{inner.port}/mcp"
        async with pool_of() as pool:
            with pytest.raises(AddressRefused) as caught:
                await pool.list_tools(target(minimal.url), "caller")

        assert caught.value.param == "server.url"
        assert not inner.seen


async def test_a_redirect_elsewhere_is_not_followed(minimal: MinimalServer) -> None:
    async with minimal_server() as other:
        minimal.redirect = other.url
        async with pool_of(guard=AddressGuard(allow_private=True)) as pool:
            with pytest.raises(McpServerUnavailable):
                await pool.list_tools(target(minimal.url), "caller")

        assert not other.seen


async def test_redirects_in_a_circle_end(minimal: MinimalServer) -> None:
    minimal.redirect = minimal.url
    async with pool_of(guard=AddressGuard(allow_private=True)) as pool:
        with pytest.raises(McpServerUnavailable):
            await pool.list_tools(target(minimal.url), "caller")

    assert sum(minimal.seen.values()) < 20


@pytest.mark.parametrize("url", ["ftp://x.example/", "http://", "http://[::1", "http://u@93.184.216.34/", "mcp"])
async def test_what_is_no_url_is_an_invalid_request(url: str) -> None:
    async with pool_of() as pool:
        with pytest.raises(InvalidRequest) as caught:
            await pool.list_tools(target(url), "caller")

    assert caught.value.param == "server.url"


async def test_a_name_that_does_not_resolve_makes_the_server_unavailable() -> None:
    async def nobody(host: str, port: int) -> Sequence[str]:
        raise OSError("unknown")

    async with pool_of(guard=AddressGuard(resolve=nobody)) as pool:
        with pytest.raises(McpServerUnavailable, match=r"`x.example` cannot be reached: its name does not resolve"):
            await pool.list_tools(target("https://x.example/mcp"), "caller")
