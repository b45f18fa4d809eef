"""`trivet health`: tell by the exit code whether a running process is ready, for container health checks."""

from argparse import Namespace

from trivet.standalone.chosen_config import configuration
from trivet.standalone.readiness import grpc_is_ready, http_is_ready


def run(arguments: Namespace) -> int:
    """0 where the process at the address, or at the configuration's own, is ready."""
    if arguments.face == "grpc":
        ready = grpc_is_ready(arguments.address or configuration(arguments).server.grpc)
    else:
        ready = http_is_ready(arguments.address or configuration(arguments).server.http)
    print("ready" if ready else "not ready")
    return 0 if ready else 1
