"""Raw JSON in a turn's events, which is an upstream's word, as messages."""

from typing import TypeVar

from google.protobuf.message import Message

from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.errors import InvalidRequest, UpstreamFailed

M = TypeVar("M", bound=Message)


def read_upstream_json(message_class: type[M], raw: str) -> M:
    """The message that `raw` is. Raises UpstreamFailed for what is none: it is not the caller who made it."""
    try:
        return codec_for(message_class).loads(raw)
    except InvalidRequest as error:
        raise UpstreamFailed(f"The provider broke its API at `{error.param}`.") from error
