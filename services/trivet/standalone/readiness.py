"""Asks a running process whether it is ready."""

import urllib.request

import grpc
from grpc_health.v1 import health_pb2

from trivet.kernel.settings import is_unix, split_host_port

_SECONDS = 3.0
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


def grpc_is_ready(address: str, service: str = "") -> bool:
    """Whether the gRPC server at `address` says SERVING for `service`, or for itself as a whole."""
    with grpc.insecure_channel(_reachable(address)) as channel:
        # The generated stub of the health service has no types, so the method is named here.
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer = check(health_pb2.HealthCheckRequest(service=service), timeout=_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def http_is_ready(address: str) -> bool:
    """Whether the bridge at `address` answers `/readyz` with 200."""
    try:
        with urllib.request.urlopen(f"http://{_reachable(address)}/readyz", timeout=_SECONDS) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def _reachable(address: str) -> str:
    """`address` as a process on the same machine calls it: listening on all interfaces includes loopback."""
    if is_unix(address):
        return address
    host, port = split_host_port(address)
    return f"{_WILDCARDS[host]}:{port}" if host in _WILDCARDS else address
