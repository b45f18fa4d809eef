"""What one attempt to reach a target wants of whoever makes its request."""

from contextvars import ContextVar

connect_seconds: ContextVar[float | None] = ContextVar("connect_seconds", default=None)
"""How long a connection may take to be opened for the attempt that is made in this context; None: as the provider is configured."""
