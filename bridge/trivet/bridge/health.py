"""Whether the bridge is alive, and whether the services behind it are ready."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import grpc
from aiohttp import web
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trivet.bridge.request import Request

_TIMEOUT_SECONDS = 2.0

Told = Callable[[], Mapping[str, object]]
"""What strangers may know of the configuration now, as JSON."""


class Health:
    """`/healthz` and `/readyz`; `channels` has a channel for each service's full name, `told` tells of the configuration."""

    def __init__(self, channels: Mapping[str, grpc.aio.Channel], told: Told | None = None) -> None:
        self._told = told
        # Any: the stub's types leave its methods out.
        self._stubs: dict[str, Any] = {name: health_pb2_grpc.HealthStub(channel) for name, channel in channels.items()}

    async def live(self, request: Request) -> web.Response:
        """200 while the process serves at all."""
        return web.json_response({"status": "ok"})

    async def ready(self, request: Request) -> web.Response:
        """200 when every service serves, else 503; the body names each service's state, and tells of the configuration.

        A configuration that was refused does not change the status: the one before is in force, and serves.
        """
        states = await asyncio.gather(*map(self._state, self._stubs))
        services = dict(zip(self._stubs, states, strict=True))
        ready = all(state == "serving" for state in states)
        body: dict[str, object] = {"status": "ready" if ready else "not ready", "services": services}
        if self._told is not None:
            body["config"] = self._told()
        return web.json_response(body, status=200 if ready else 503)

    async def _state(self, service: str) -> str:
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await self._stubs[service].Check(request, timeout=_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return "unreachable"
        return health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status).lower()
