"""Settings of the bridge."""

from pydantic import BaseModel, ConfigDict, Field


class CorsSettings(BaseModel):
    """Which web pages may call the bridge from a browser. None by default."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    origins: tuple[str, ...] = ()
    """Allowed origins such as `https://app.example.com`; `*` allows any."""

    max_age_seconds: int = Field(default=600, ge=0)
    """How long a browser keeps the answer to a preflight request."""


class WebSocketSettings(BaseModel):
    """What clients that ask over a WebSocket may hold."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_connections: int = Field(default=1000, ge=0)
    """How many may be open at once; one more is refused with 503."""

    max_waiting: int = Field(default=16, ge=1)
    """How many messages of a connection may wait for their turn; one more is answered with an error."""

    idle_seconds: float = Field(default=3600.0, gt=0)
    """A connection that asks for nothing for this long, once all is answered, is closed."""


class BridgeSettings(BaseModel):
    """How the bridge serves HTTP."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The largest request body; a larger one is refused with 413. A larger WebSocket message closes its connection."""

    body_seconds: float = Field(default=60.0, gt=0)
    """How long a request's body may take to arrive; a slower one is refused with 408. For an upload, how long nothing may come."""

    max_upload_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """The largest file of a form (`/audio/transcriptions`, `/audio/translations`); a larger one is refused with 413."""

    stalled_seconds: float = Field(default=60.0, gt=0, le=3600)
    """A client that takes nothing of what is sent to it for this long is disconnected (on Linux)."""

    heartbeat_seconds: float = Field(default=15.0, gt=0)
    """A stream that is silent for this long gets a comment, so that nothing on the way closes it."""

    first_event_seconds: float = Field(default=30.0, gt=0)
    """How long the first event of a stream is awaited before headers are sent, so that an early failure keeps its status."""

    websocket: WebSocketSettings = WebSocketSettings()

    cors: CorsSettings = CorsSettings()
