"""Cross-origin requests from web pages, for the origins that the operator allows."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from trivet.bridge.settings import CorsSettings

_EXPOSED = "x-request-id, retry-after"


class Cors:
    """Answers preflight requests, and marks responses that a page may read."""

    def __init__(self, settings: CorsSettings) -> None:
        self.apply(settings)

    def apply(self, settings: CorsSettings) -> None:
        """Allow these origins, and no others."""
        self._origins = frozenset(settings.origins)
        self._max_age = str(settings.max_age_seconds)

    def install(self, app: web.Application) -> None:
        """Have `app` do so."""
        app.on_response_prepare.append(self._mark)
        app.middlewares.append(self._preflight())

    def _allowed(self, request: web.Request) -> bool:
        origin = request.headers.get("Origin")
        return origin is not None and (origin in self._origins or "*" in self._origins)

    async def _mark(self, request: web.Request, response: web.StreamResponse) -> None:
        if not self._origins:
            return
        response.headers["Vary"] = "Origin"
        if self._allowed(request):
            # The origin itself rather than `*`: a page that sends a key needs to be named.
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = _EXPOSED

    def _preflight(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        @web.middleware
        async def preflight(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            wanted = request.headers.get("Access-Control-Request-Method")
            if request.method != "OPTIONS" or wanted is None or not self._allowed(request):
                return await handler(request)
            granted = {
                "Access-Control-Allow-Methods": wanted,
                "Access-Control-Allow-Headers": request.headers.get("Access-Control-Request-Headers", ""),
                "Access-Control-Max-Age": self._max_age,
            }
            return web.Response(status=204, headers=granted)

        return preflight
