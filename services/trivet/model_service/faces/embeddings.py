"""Embeddings in OpenAI's form: requests to the port's, and its vectors to answers."""

from typing import Final

from trivet.kernel.errors import InvalidRequest
from trivet.model.v1 import embedding_pb2 as pb
from trivet.model_service.domain.embeddings import EmbeddingAnswer, EmbeddingRequest
from trivet.model_service.faces.extra_parameters import extra_parameters

MOST_INPUTS: Final = 2048
"""What one request may have, as at OpenAI."""

_Inputs = tuple[str, ...] | tuple[tuple[int, ...], ...]


def parse(request: pb.CreateEmbeddingsRequest, upstream_model: str) -> EmbeddingRequest:
    """What to ask the provider. Raises InvalidRequest, whose `param` is the input at fault."""
    return EmbeddingRequest(
        upstream_model,
        _inputs(request.input),
        dimensions=request.dimensions if request.HasField("dimensions") else None,
        user=request.user,
        extra=extra_parameters(request),
    )


def render(request: pb.CreateEmbeddingsRequest, answer: EmbeddingAnswer) -> pb.EmbeddingList:
    """The answer to `request`."""
    form = "base64" if request.encoding_format == "base64" else "floats"
    vectors = (pb.EmbeddingVector(**{form: vector}) for vector in answer.vectors)
    return pb.EmbeddingList(
        model=request.model,
        data=[pb.Embedding(index=index, embedding=vector) for index, vector in enumerate(vectors)],
        usage=pb.EmbeddingUsage(prompt_tokens=answer.tokens, total_tokens=answer.tokens),
    )


def _inputs(given: pb.EmbeddingInput) -> _Inputs:
    if given.HasField("text"):
        return (given.text,)
    elements = given.list.elements
    kinds = [element.WhichOneof("element") for element in elements]
    for index, kind in enumerate(kinds):
        if kind != kinds[0]:
            raise InvalidRequest(
                "`input` may hold texts, tokens or arrays of tokens, but only one kind of them.", f"input[{index}]"
            )
    if kinds[0] == "token":
        return (tuple(element.token for element in elements),)
    if len(elements) > MOST_INPUTS:
        raise InvalidRequest(f"`input` may hold at most {MOST_INPUTS} inputs, but has {len(elements)}.", "input")
    if kinds[0] == "text":
        return tuple(element.text for element in elements)
    return tuple(tuple(element.tokens.tokens) for element in elements)
