"""Vectors in the answers of providers."""

from typing import Final

import orjson

from trivet.kernel.codec import packed
from trivet.kernel.errors import UnsupportedParameter
from trivet.model_service.adapters.upstream_http import UpstreamHttp
from trivet.model_service.domain.embeddings import EmbeddingRequest, Vector

_NUMBERS: Final = frozenset({"output_dtype", "embedding_type", "embedding_types"})
_FLOATS: Final = ("float", ["float"])


def read_vector(http: UpstreamHttp, given: object) -> Vector:
    """The vector that an answer of `http` has as base64 or as numbers. Raises UpstreamFailed for what is none."""
    try:
        if isinstance(given, str):
            return packed.from_base64(given)
        if isinstance(given, list):
            return packed.floats(given)
    except (ValueError, TypeError, OverflowError) as error:
        raise http.invalid("answered with a vector that is not made of numbers") from error
    raise http.invalid("answered without a vector")


def refuse_other_numbers(request: EmbeddingRequest) -> None:
    """Raises UnsupportedParameter where a parameter of the provider's asks for bytes or bits, which would be read as floats."""
    for name in _NUMBERS & request.extra.keys():
        if orjson.loads(request.extra[name]) not in _FLOATS:
            raise UnsupportedParameter(f"Vectors are made of 32-bit floats here, whatever `{name}` says.", name)
