"""What is sent: where, under which name, with which headers, and that nobody can put in more."""

import pytest

from trivet.kernel.http1.connection import Patience
from trivet.kernel.http1.failures import UnreachableError
from trivet.kernel.http1.origin import Origin
from trivet.kernel.http1.request import first_line, lines, merged


def origin(url: str) -> Origin:
    return Origin(url, Patience(1, 1))


@pytest.mark.parametrize(
    ("url", "server", "host", "path"),
    [
        ("http://h/v1", "http://h", "h", "/v1"),
        ("http://h", "http://h", "h", ""),
        ("HTTP://H/", "http://h", "h", ""),
        ("http://h:80/v1/", "http://h", "h", "/v1"),
        ("https://h:443", "https://h", "h", ""),
        ("https://h:80/a/b", "https://h:80", "h:80", "/a/b"),
        ("http://h:8000", "http://h:8000", "h:8000", ""),
        ("http://[::1]:8000/v1", "http://[::1]:8000", "[::1]:8000", "/v1"),
        ("https://[2001:db8::1]", "https://[2001:db8::1]", "[2001:db8::1]", ""),
        ("http://user:pa%40ss@h:1/v1", "http://h:1", "h:1", "/v1"),
        ("http://bücher.example/v1", "http://xn--bcher-kva.example", "xn--bcher-kva.example", "/v1"),
        ("http://h/a%2Fb/ü", "http://h", "h", "/a%2Fb/%C3%BC"),
    ],
)
def test_a_url_is_a_server_and_a_path(url: str, server: str, host: str, path: str) -> None:
    found = origin(url)
    assert (found.url, found.host_header, found.path) == (server, host, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "ftp://h",
        "http://",
        "http:///v1",
        "http://h:99999",
        "http://h:x",
        "http://[::1",
        "http://h\r\nX-More: 1/v1",
        "http://h/v1\r\nX-More: 1",
        "http://h/v 1",
        "http://h\t/",
        "http://h/\x00",
        f"http://{'ü' * 80}",
    ],
)
def test_what_is_no_url_is_no_server(url: str) -> None:
    with pytest.raises(UnreachableError):
        origin(url)


def test_the_first_line_names_a_path_and_its_query() -> None:
    assert first_line("GET", "/v1/models?limit=1&after=a%20b") == "GET /v1/models?limit=1&after=a%20b HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "target", ["", "v1", "*", "http://h/", "/a b", "/a\r\nX-More: 1", "/a\n", "/a#b", "/ü", "/\x7f", "/a\x00"]
)
def test_what_is_no_path_is_not_sent(target: str) -> None:
    with pytest.raises(UnreachableError):
        first_line("GET", target)


def test_headers_are_lines() -> None:
    assert (
        lines({"X-A": "1", "x-b": "two words", "X-C": "", "X-D": "ü\t!"}) == "X-A: 1\r\nx-b: two words\r\nX-C: \r\nX-D: ü\t!\r\n"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-A", "1\r\nX-More: 1"),
        ("X-A", "1\n"),
        ("X-A", "\r"),
        ("X-A", "a\x00b"),
        ("X-A", "a\x0bb"),
        ("X-A", "\x7f"),
        ("X A", "1"),
        ("X-A:", "1"),
        ("", "1"),
        ("X-A\r\nX-More", "1"),
        ("X-Ü", "1"),
    ],
)
def test_what_would_be_more_than_a_header_is_not_sent(name: str, value: str) -> None:
    with pytest.raises(UnreachableError):
        lines({name: value})


def test_a_later_header_takes_the_place_of_an_earlier_one_however_it_is_written() -> None:
    assert merged({"Accept": "a", "X-Key": "1"}, {"ACCEPT": "b"}, {"x-key": "2"}) == {"ACCEPT": "b", "x-key": "2"}
