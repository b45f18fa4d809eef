"""Finds who answers a request, by its path and its method."""

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from trivet.bridge.request import Handler, Request
from trivet.kernel.errors import MethodNotAllowed, RouteNotFound

_VARIABLE: Final = re.compile(r"\{([a-z_.]+)(=\*\*)?\}")

Methods = dict[str, Handler]


class _Pattern(NamedTuple):
    """A path with variables, whose names are those of the pattern's groups, in their order."""

    pattern: re.Pattern[str]
    names: tuple[str, ...]
    methods: Methods


class Dispatch:
    """The paths that are served.

    aiohttp's own router walks a path up and down for each request; most of ours are found by looking them up.
    """

    def __init__(self) -> None:
        self._plain: dict[str, Methods] = {}
        self._patterns: dict[str, dict[str, _Pattern]] = {}

    def add(self, method: str, path: str, handler: Handler) -> None:
        """Have `handler` answer a method at a path, which may have variables as `google.api.http` writes them."""
        beginning, variable, _ = path.partition("/{")
        if not variable:
            self._plain.setdefault(path, {})[method] = handler
            return
        alike = self._patterns.setdefault(beginning, {})
        if path not in alike:
            alike[path] = _pattern(path)
        alike[path].methods[method] = handler

    def find(self, request: Request) -> Handler:
        """Who answers a request, which is told the variables of its path. Raises RouteNotFound or MethodNotAllowed."""
        methods = self._plain.get(request.head.path)
        if methods is not None and (handler := methods.get(request.head.method)) is not None:
            return handler
        path = request.rel_url.path_safe
        allowed: set[str] = set()
        for methods, variables in self._candidates(path):
            if (handler := methods.get(request.method)) is not None:
                request.variables = variables
                return handler
            allowed.update(methods)
        if allowed:
            raise MethodNotAllowed(request.method, ", ".join(sorted(allowed)))
        raise RouteNotFound(request.path)

    def _candidates(self, path: str) -> Iterator[tuple[Methods, dict[str, str]]]:
        """Who answers at a path, the most explicit first, with the values of the path's variables."""
        if path in self._plain:
            yield self._plain[path], {}
        beginning = path
        while beginning:
            beginning = beginning.rpartition("/")[0]
            for candidate in self._patterns.get(beginning, {}).values():
                if match := candidate.pattern.fullmatch(path):
                    yield candidate.methods, dict(zip(candidate.names, map(_unquoted, match.groups()), strict=True))


def _pattern(path: str) -> _Pattern:
    """`{name}` is a segment of a path, `{name=**}` all the rest of it."""
    beginning, *rest = _VARIABLE.split(path)
    names, wild, texts = rest[::3], rest[1::3], rest[2::3]
    groups = (("(.+)" if is_wild else "([^/]+)") + re.escape(text) for is_wild, text in zip(wild, texts, strict=True))
    return _Pattern(re.compile(re.escape(beginning) + "".join(groups)), tuple(names), {})


def _unquoted(value: str) -> str:
    """What yarl leaves quoted in a path so that its segments can be told."""
    return value.replace("%2F", "/").replace("%25", "%")
