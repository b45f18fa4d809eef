"""The HTTP application: every route of the contract, and the pages about it."""

import re
from collections.abc import Mapping
from functools import cache, partial
from typing import Final

import grpc
import orjson
from aiohttp import web

from trivet.bridge import documentation
from trivet.bridge.boundary import boundary, name_request
from trivet.bridge.contract import BASE_PATHS, COMPANIONS, SERVICES, Operation, routes
from trivet.bridge.cors import Cors
from trivet.bridge.handlers import Gateway
from trivet.bridge.health import Health, Told
from trivet.bridge.settings import BridgeSettings
from trivet.bridge.websocket import WebSockets
from trivet.kernel.auth import KeyRing
from trivet.kernel.openapi.document import document

GATEWAY: Final = web.AppKey("gateway", Gateway)
SOCKETS: Final = web.AppKey("sockets", WebSockets)
CORS: Final = web.AppKey("cors", Cors)
SOCKET_PATH: Final = "/responses"
"""Where clients may also ask over a WebSocket, each frame as the body of a POST there."""

_VARIABLE = re.compile(r"\{([a-z_.]+)(=\*\*)?\}")


def create_app(
    channels: Mapping[str, grpc.aio.Channel], keys: KeyRing, settings: BridgeSettings, told: Told | None = None
) -> web.Application:
    """The bridge over a channel for each service, by its full name. `told` is what readiness tells of the configuration."""
    app = web.Application(client_max_size=settings.max_body_bytes, middlewares=[boundary])
    app.on_response_prepare.append(name_request)
    cors = app[CORS] = Cors(settings.cors)
    cors.install(app)
    gateway = app[GATEWAY] = Gateway(channels, keys, settings)
    for route in routes():
        for base in BASE_PATHS:
            app.router.add_route(route.method, base + _pattern(route.path), partial(gateway.serve, route))
    sockets = app[SOCKETS] = WebSockets(gateway, _operation("POST", SOCKET_PATH), settings)
    app.on_shutdown.append(sockets.drain)
    for base in BASE_PATHS:
        app.router.add_route("GET", base + SOCKET_PATH, sockets.serve)
    health = Health({name: channel for name, channel in channels.items() if name not in COMPANIONS}, told)
    for path, page in {
        "/healthz": health.live,
        "/readyz": health.ready,
        "/openapi.json": _openapi,
        "/docs": documentation.page,
    }.items():
        app.router.add_get(path, page)
    return app


def apply(app: web.Application, settings: BridgeSettings) -> None:
    """Serve what comes from now on by other settings, all but `max_body_bytes` and `stalled_seconds`."""
    app[GATEWAY].apply(settings)
    app[SOCKETS].apply(settings)
    app[CORS].apply(settings.cors)


def _operation(method: str, path: str) -> Operation:
    return next(route.operation({}) for route in routes() if (route.method, route.path) == (method, path))


def _pattern(path: str) -> str:
    """A `google.api.http` path as aiohttp writes it: `{server.name}` as `{server__name}`, `{model=**}` over slashes too."""
    return _VARIABLE.sub(lambda found: f"{{{found[1].replace('.', '__')}:{'.+' if found[2] else '[^/]+'}}}", path)


async def _openapi(request: web.Request) -> web.Response:
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return orjson.dumps(document(SERVICES, BASE_PATHS))
