"""The standard health service: SERVING between start and drain, for the server and for each of its services."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trivet.kernel.rpc import Context
from trivet.kernel.wakeup import Wakeup

SERVER = ""
"""The name under which the server as a whole is asked about."""

_Status = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """Answers Check and Watch; unlike grpcio's own servicer it ends its watches when the server drains.

    A watch lasts as long as its client likes, so it would hold every stop back for the whole grace.
    """

    def __init__(self) -> None:
        self._serving: dict[str, bool] = {SERVER: False}
        self._changed = Wakeup()
        self._draining = False

    def set(self, service: str, serving: bool) -> None:
        """Say whether `service` can be used; ignored once the server drains."""
        self._serving[service] = serving and not self._draining
        self._changed.notify()

    def drain(self) -> None:
        """Say NOT_SERVING for everything, for good, and end the watches."""
        self._draining = True
        self._serving = dict.fromkeys(self._serving, False)
        self._changed.notify()

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Context) -> _Status:  # noqa: N802
        if request.service not in self._serving:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return _Status(status=self._status(request.service))

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:  # noqa: N802
        last = None
        while True:
            status = self._status(request.service)
            if status != last:
                await context.write(_Status(status=status))
                last = status
            elif self._draining:
                return
            else:
                await self._changed.wait()

    def _status(self, service: str) -> Any:
        if service not in self._serving:
            return _Status.SERVICE_UNKNOWN
        return _Status.SERVING if self._serving[service] else _Status.NOT_SERVING
