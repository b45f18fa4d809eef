"""Which URLs from strangers may be connected to."""

from collections.abc import Sequence

import pytest

from trivet.kernel.address_guard import AddressGuard, resolve_host
from trivet.kernel.errors import AddressRefused, InvalidRequest

NAMES = {
    "public.example": ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"],
    "inside.example": ["10.0.0.7"],
    "mixed.example": ["93.184.216.34", "127.0.0.1"],
    "mapped.example": ["::ffff:169.254.169.254"],
    "scoped.example": ["fe80::1%1"],
}


async def resolve(host: str, port: int) -> Sequence[str]:
    if host not in NAMES:
        raise OSError("unknown name")
    return NAMES[host]


GUARD = AddressGuard(resolve=resolve)

REFUSED = [
    "http://127.0.0.1/",
    "http://127.8.8.8:9000/mcp",
    "http://0.0.0.0/",
    "http://10.1.2.3/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://168.63.129.16/",
    "http://198.18.0.1/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0x7f.0.0.1/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
    "http://0/",
    "http://[::1]/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://[64:ff9b::127.0.0.1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/",
    "http://[2001:db8::1]/",
    "http://[100::1]/",
    "http://inside.example/",
    "http://mixed.example/",
    "http://mapped.example/",
    "http://scoped.example/",
    "HTTP://INSIDE.EXAMPLE/",
]

ALLOWED = {
    "http://public.example/mcp": tuple(NAMES["public.example"]),
    "https://93.184.216.34/": ("93.184.216.34",),
    "https://[2606:2800:220:1:248:1893:25c8:1946]:8443/": ("2606:2800:220:1:248:1893:25c8:1946",),
    "https://[64:ff9b::93.184.216.34]/": ("64:ff9b::5db8:d822",),
    "http://1572395042/": ("93.184.216.34",),
    "http://172.32.0.1/": ("172.32.0.1",),
}

MALFORMED = [
    "",
    "mcp",
    "//public.example/",
    "ftp://public.example/",
    "file:///etc/passwd",
    "http://",
    "http:///mcp",
    "http://public.example:0/",
    "http://public.example:99999/",
    "http://public.example:x/",
    "http://[::1/",
    "http://user@public.example/",
    "http://public.example@127.0.0.1/",
    "http://public.example\\@127.0.0.1/",
    "http://public.example /",
    "http://public.example\t/",
    "http://public.example\r\nHost: x/",
    "http://public\x00.example/",
]


@pytest.mark.parametrize("url", REFUSED)
async def test_an_address_that_is_not_public_is_refused(url: str) -> None:
    with pytest.raises(AddressRefused) as caught:
        await GUARD.vet(url, "mcp_servers[0].url")

    assert caught.value.param == "mcp_servers[0].url"


@pytest.mark.parametrize(("url", "addresses"), ALLOWED.items())
async def test_a_public_address_is_told(url: str, addresses: tuple[str, ...]) -> None:
    assert await GUARD.vet(url) == addresses


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize("allow_private", [False, True])
async def test_what_is_no_url_is_an_invalid_request(url: str, allow_private: bool) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await AddressGuard(allow_private=allow_private, resolve=resolve).vet(url, "url")

    assert not isinstance(caught.value, AddressRefused)
    assert caught.value.param == "url"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://inside.example/", "http://[::1]/", "http://127.1/"])
async def test_the_operator_can_allow_private_networks(url: str) -> None:
    assert await AddressGuard(allow_private=True, resolve=resolve).vet(url)


@pytest.mark.parametrize("url", ["http://unknown.example/", "http://%31%32%37.0.0.1/"])
async def test_a_name_that_does_not_resolve_is_no_refusal(url: str) -> None:
    with pytest.raises(OSError, match="unknown name"):
        await GUARD.vet(url)


async def test_a_name_without_addresses_does_not_resolve() -> None:
    async def nothing(host: str, port: int) -> Sequence[str]:
        return []

    with pytest.raises(OSError, match="no address"):
        await AddressGuard(resolve=nothing).vet("http://public.example/")


async def test_the_system_resolver_knows_localhost() -> None:
    assert set(await resolve_host("localhost", 80)) <= {"127.0.0.1", "::1"}
    with pytest.raises(AddressRefused):
        await AddressGuard().vet("http://localhost:8080/mcp")


async def test_a_name_that_cannot_be_encoded_does_not_resolve() -> None:
    with pytest.raises(OSError, match="not a host name"):
        await resolve_host("a" * 70 + ".example", 80)
