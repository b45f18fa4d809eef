"""Settings of the bridge."""

from pydantic import BaseModel, ConfigDict, Field


class CorsSettings(BaseModel):
    """Which web pages may call the bridge from a browser. None by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origins: tuple[str, ...] = ()
    """Allowed origins such as `https://app.example.com`; `*` allows any."""

    max_age_seconds: int = Field(default=600, ge=0)
    """How long a browser keeps the answer to a preflight request."""


class BridgeSettings(BaseModel):
    """How the bridge serves HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The largest request body; a larger one is refused with 413."""

    body_seconds: float = Field(default=60.0, gt=0)
    """How long a request's body may take to arrive; a slower one is refused with 408."""

    stalled_seconds: float = Field(default=60.0, gt=0, le=3600)
    """A client that takes nothing of what is sent to it for this long is disconnected (on Linux)."""

    heartbeat_seconds: float = Field(default=15.0, gt=0)
    """A stream that is silent for this long gets a comment, so that nothing on the way closes it."""

    first_event_seconds: float = Field(default=30.0, gt=0)
    """How long the first event of a stream is awaited before headers are sent, so that an early failure keeps its status."""

    cors: CorsSettings = CorsSettings()
