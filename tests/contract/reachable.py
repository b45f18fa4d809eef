"""Every message that an RPC of the contract takes or gives, with all that it can contain."""

import importlib
from pathlib import Path
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.descriptor import Descriptor, ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from trivet.kernel.openapi.schemas import reachable

_GENERATED = Path(__file__).parents[2] / "gen/python"


def _services() -> list[ServiceDescriptor]:
    names = [path.relative_to(_GENERATED).with_suffix("") for path in _GENERATED.rglob("*_service_pb2.py")]
    modules = [importlib.import_module(".".join(name.parts)) for name in sorted(names)]
    return [service for module in modules for service in module.DESCRIPTOR.services_by_name.values()]


SERVICES = _services()
METHODS = [method for service in SERVICES for method in service.methods]
REQUESTS = sorted({method.input_type for method in METHODS}, key=lambda message: message.full_name)
# What is written as it is, and no JSON, has nothing that a codec could lose.
SPOKEN = [
    message for method in METHODS for message in (method.input_type, method.output_type) if message is not HttpBody.DESCRIPTOR
]
MESSAGES = sorted(
    reachable(SPOKEN),
    key=lambda message: message.full_name,
)


def class_of(descriptor: Descriptor) -> Any:
    """The generated class of a message."""
    return GetMessageClass(descriptor)
