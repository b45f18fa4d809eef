"""Servers of OpenAI's API that have only a part of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from trivet.kernel.errors import UnsupportedParameter, UpstreamRejected

_NOT_THERE = frozenset({"404", "405"})


def is_missing(error: UpstreamRejected) -> bool:
    """Whether the server has nothing at the path that was asked."""
    return error.metadata.get("http_status") in _NOT_THERE


@contextmanager
def said_if_missing(what: str) -> Iterator[None]:
    """Raises UnsupportedParameter, "... has no `what`", where the server has no such path.

    What it does not find may also be the model. Then it says so, and the caller hears it.
    """
    try:
        yield
    except UpstreamRejected as error:
        told = f"{error.message} {error.metadata.get('code', '')}".lower()
        if not is_missing(error) or "model" in told or "deployment" in told:
            raise
        raise UnsupportedParameter(f"This model's provider has no {what}.", "model") from error
