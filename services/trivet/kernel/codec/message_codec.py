"""The codec of one message class: `codec_for(Response).dumps(response)`."""

from functools import cached_property
from typing import Any, Final, Generic, TypeVar, cast

import orjson
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from trivet.kernel.codec import text
from trivet.kernel.codec.decoding import DecodeCompiler
from trivet.kernel.codec.encoding import ENCODERS, Encode
from trivet.kernel.codec.refusal import RefusalError, invalid
from trivet.kernel.codec.scalars import Decode

M = TypeVar("M", bound=Message)

_STRICT: Final = DecodeCompiler(strict=True)
_LENIENT: Final = DecodeCompiler(strict=False)
_JUDGING: Final = DecodeCompiler(strict=False, judges=True)


class MessageCodec(Generic[M]):
    """JSON for one message class; get it from `codec_for`.

    Decoding raises `InvalidRequest` whose `param` is the path of the value at fault. With `strict`, which is for what
    callers of ours send, keys that nothing can hold and keys given twice are errors too; without it, for what
    neighbours answer, they are dropped, and a later key wins.

    Each direction is compiled when it is first used, which is when `ShapeError` is raised for a faulty proto: no process uses
    all, and all of them together would be a good part of its start.
    """

    def __init__(self, message_class: type[M]) -> None:
        self.message_class = message_class
        self._descriptor = cast("Descriptor", message_class.DESCRIPTOR)

    @cached_property
    def encode(self) -> Encode:
        """Makes of a message the value that its JSON text is made of."""
        return ENCODERS.message(self._descriptor)

    @cached_property
    def _strict(self) -> Decode:
        return _STRICT.message(self._descriptor)

    @cached_property
    def _lenient(self) -> Decode:
        return _LENIENT.message(self._descriptor)

    def dumps(self, message: M) -> bytes:
        """The JSON text of a message."""
        return orjson.dumps(self.encode(message))

    def decode(self, value: Any, *, strict: bool = False) -> M:
        """The message of a JSON value as Python holds it."""
        try:
            return self.message_class(**(self._strict if strict else self._lenient)(value, 0))
        except RefusalError as refusal:
            raise refusal.as_error() from None
        except UnicodeEncodeError:
            # Never from `loads`: orjson refuses what is not Unicode. Only here is the place of the string worth a search.
            raise invalid("expected valid Unicode", *text.place_of_lone_surrogate(value)).as_error() from None
        except ValueError:
            # An integer is out of range. Likewise: which one, is worth decoding once more only here.
            self._judge(value)
            raise

    def _judge(self, value: Any) -> None:
        try:
            _JUDGING.message(self._descriptor)(value, 0)
        except RefusalError as refusal:
            raise refusal.as_error() from None

    def loads(self, data: bytes | str, *, strict: bool = False) -> M:
        """The message of a JSON text."""
        return self.decode(text.parse_once(data) if strict else text.parse(data), strict=strict)


_CODECS: Final[dict[type[Message], MessageCodec[Any]]] = {}


def codec_for(message_class: type[M]) -> MessageCodec[M]:
    """The codec of a message class, the same one at each call."""
    codec = _CODECS.get(message_class)
    if codec is None:
        codec = _CODECS[message_class] = MessageCodec(message_class)
    return codec
