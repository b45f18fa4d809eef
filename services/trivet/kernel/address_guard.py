"""The guard before URLs that come from strangers: which addresses a request may make us connect to.

A name says nothing about where it leads, and may lead elsewhere a moment later. So the guard answers with the vetted
addresses, and whoever connects must connect to one of them instead of resolving the name again.
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, urlsplit

from trivet.kernel.errors import AddressRefused, InvalidRequest

Address = IPv4Address | IPv6Address

Resolver = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port to addresses in the order of preference; OSError where the name does not resolve."""

# Neither private nor link-local by the book, and yet a door to the inside.
_REFUSED = tuple(
    ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT; one cloud serves its metadata here
        "168.63.129.16/32",  # the host of a virtual machine at one cloud
        "192.0.0.0/24",  # protocol assignments; metadata at one cloud
        "192.88.99.0/24",  # 6to4 relays
        "2001::/32",  # Teredo: an IPv4 address hides inside
        "2002::/16",  # 6to4, likewise
        "64:ff9b:1::/48",  # NAT64 within one's own network
        "::/96",  # IPv4-compatible, long gone
        "fec0::/10",  # site-local, long gone
    )
)
_NAT64 = ip_network("64:ff9b::/96")


def is_public(address: Address) -> bool:
    """Whether `address` is one that anybody on the internet could reach."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(address.ipv4_mapped)
        if address in _NAT64:
            return is_public(IPv4Address(address.packed[-4:]))
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    return not any(address in network for network in _REFUSED)


async def resolve_host(host: str, port: int) -> Sequence[str]:
    """The addresses of `host` from the system's resolver.

    Raises:
        OSError: the name does not resolve.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:
        raise OSError(f"not a host name: {error}") from error
    return [str(entry[4][0]) for entry in found]


class AddressGuard:
    """Says to which addresses a URL from a request may lead.

    With `allow_private` every address is fine; the form of the URL is checked nevertheless.
    """

    def __init__(self, *, allow_private: bool = False, resolve: Resolver = resolve_host) -> None:
        self._allow_private = allow_private
        self._resolve = resolve

    async def vet(self, url: str, param: str = "") -> tuple[str, ...]:
        """The addresses to connect to for `url`, best first, at least one. `param` names the field of the URL.

        Raises:
            InvalidRequest: not an http or https URL that can be connected to.
            AddressRefused: it is, or resolves to, at least one address that is not public.
            OSError: the name does not resolve.
        """
        parts = _split(url, param)
        host = parts.hostname or ""
        literal = _literal(host)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        found = [literal] if literal else [ip_address(text) for text in await self._resolve(host, port)]
        if not found:
            raise OSError(f"{host} has no address")
        if not self._allow_private and not all(is_public(address) for address in found):
            raise AddressRefused(
                f"The URL leads to an address that is not public: `{host}`. Only the operator can allow that.", param
            )
        return tuple(dict.fromkeys(str(address) for address in found))

    async def vet_for_others(self, url: str, param: str) -> None:
        """Judge a URL that somebody else is to connect to. Raises as `vet`, but not for a name that does not resolve here."""
        try:
            await self.vet(url, param)
        except OSError:
            # A name that nobody knows here leads nowhere from here; whoever is given the URL will say so.
            return


def _split(url: str, param: str) -> SplitResult:
    # urlsplit drops tabs and newlines, other parsers read a backslash as a slash: refuse what they could read differently.
    if not url.isprintable() or any(character in url for character in " \\"):
        raise InvalidRequest("The URL holds a character that a URL cannot hold.", param)
    try:
        parts = urlsplit(url)
        usable = parts.port != 0
    except ValueError:
        raise InvalidRequest("The URL is malformed.", param) from None
    if parts.scheme not in {"http", "https"}:
        raise InvalidRequest("The URL must start with http:// or https://.", param)
    if not parts.hostname or not usable:
        raise InvalidRequest("The URL names no host to connect to.", param)
    if "@" in parts.netloc:
        raise InvalidRequest("The URL holds credentials; send them as headers instead.", param)
    return parts


def _literal(host: str) -> Address | None:
    """The address that `host` spells, also in the decimal, octal, hexadecimal and short forms that resolvers accept."""
    try:
        return ip_address(host)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None
