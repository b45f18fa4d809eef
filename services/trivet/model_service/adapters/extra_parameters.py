"""Parameters that no field of a request stands for, on their way to the upstream."""

from collections.abc import Container, Mapping
from typing import Any, Protocol

from orjson import Fragment

from trivet.kernel.errors import UnsupportedParameter


class Extended(Protocol):
    """A request with such parameters, each as JSON text."""

    @property
    def extra(self) -> Mapping[str, str]: ...


def with_extra(body: dict[str, Any], request: Extended, refused: Container[str]) -> dict[str, Any]:
    """`body` with the parameters in `request.extra`.

    Raises:
        UnsupportedParameter: one is `refused`, or `body` says something else under its name.
    """
    for name in request.extra:
        if name in refused or name in body:
            raise UnsupportedParameter(f"This model's provider cannot be asked for `{name}`.", name)
    return {name: Fragment(raw) for name, raw in request.extra.items()} | body if request.extra else body
