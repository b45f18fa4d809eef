"""Cross-origin requests from web pages, for the origins that the operator allows."""

from aiohttp import web

from trivet.bridge.headers import TOLD
from trivet.bridge.request import Request
from trivet.bridge.settings import CorsSettings

_EXPOSED = ", ".join(("x-request-id", "retry-after", *TOLD))


class Cors:
    """Answers preflight requests, and marks responses that a page may read."""

    def __init__(self, settings: CorsSettings) -> None:
        self.apply(settings)

    def apply(self, settings: CorsSettings) -> None:
        """Allow these origins, and no others."""
        self._origins = frozenset(settings.origins)
        self.is_on = bool(self._origins)
        """Whether there is any page that may call."""
        self._max_age = str(settings.max_age_seconds)

    def mark(self, request: Request) -> None:
        """Have the answer to a request say whether a page may read it."""
        marks = {"Vary": "Origin"}
        if self._allowed(request):
            # The origin itself rather than `*`: a page that sends a key needs to be named.
            marks["Access-Control-Allow-Origin"] = request.headers["Origin"]
            marks["Access-Control-Expose-Headers"] = _EXPOSED
        request.marks = {**request.marks, **marks}

    def preflight(self, request: Request) -> web.Response | None:
        """The answer to a preflight request; None for any other, and for one from an origin that is not allowed."""
        if request.method != "OPTIONS":
            return None
        wanted = request.headers.get("Access-Control-Request-Method")
        if wanted is None or not self._allowed(request):
            return None
        granted = {
            "Access-Control-Allow-Methods": wanted,
            "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
            "Access-Control-Max-Age": self._max_age,
        }
        return web.Response(status=204, headers=granted)

    def _allowed(self, request: Request) -> bool:
        origin = request.headers.get("Origin")
        return origin is not None and (origin in self._origins or "*" in self._origins)
