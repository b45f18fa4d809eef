"""The HTTP application: every route of the contract, and the pages about it."""

from collections.abc import Collection, Mapping
from functools import cache, partial
from typing import Final

import grpc
import orjson
from aiohttp import web

from trivet.bridge import documentation
from trivet.bridge.boundary import Boundary
from trivet.bridge.contract import BASE_PATHS, COMPANIONS, SERVICES, Operation, routes
from trivet.bridge.cors import Cors
from trivet.bridge.dispatch import Dispatch
from trivet.bridge.handlers import Gateway
from trivet.bridge.health import Health, Told
from trivet.bridge.request import Request
from trivet.bridge.settings import BridgeSettings
from trivet.bridge.websocket import WebSockets
from trivet.kernel.auth import KeyRing
from trivet.kernel.openapi.document import document

SOCKET_PATH: Final = "/responses"
"""Where clients may also ask over a WebSocket, each frame as the body of a POST there."""


class App:
    """The bridge over a channel for each service, by its full name. `told` is what readiness tells of the configuration."""

    def __init__(
        self,
        channels: Mapping[str, grpc.aio.Channel],
        keys: KeyRing,
        settings: BridgeSettings,
        *,
        told: Told | None = None,
        passed: Collection[str] = (),
    ) -> None:
        self.gateway = Gateway(channels, keys, settings, passed)
        self.sockets = WebSockets(self.gateway, _operation("POST", SOCKET_PATH), settings)
        self._cors = Cors(settings.cors)
        dispatch = Dispatch()
        for base in BASE_PATHS:
            for route in routes():
                dispatch.add(route.method, base + route.path, partial(self.gateway.serve, route))
            dispatch.add("GET", base + SOCKET_PATH, self.sockets.serve)
        health = Health({name: channel for name, channel in channels.items() if name not in COMPANIONS}, told)
        for path, page in {
            "/healthz": health.live,
            "/readyz": health.ready,
            "/openapi.json": _openapi,
            "/docs": documentation.page,
        }.items():
            dispatch.add("GET", path, page)
            dispatch.add("HEAD", path, page)
        self.serve = Boundary(dispatch, self._cors).serve
        """Answers a request."""

    def apply(self, settings: BridgeSettings, passed: Collection[str]) -> None:
        """Serve what comes from now on by other settings, all but `max_body_bytes` and `stalled_seconds`."""
        self.gateway.apply(settings, passed)
        self.sockets.apply(settings)
        self._cors.apply(settings.cors)


def _operation(method: str, path: str) -> Operation:
    return next(route.operation({}) for route in routes() if (route.method, route.path) == (method, path))


async def _openapi(request: Request) -> web.Response:
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return orjson.dumps(document(SERVICES, BASE_PATHS))
