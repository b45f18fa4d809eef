"""Embeddings, reranking and moderation over both transports of gRPC, and which model moderates unasked."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from tests.model.answering import unkept
from tests.model.scripted_dialect import ScriptedDialect
from trivet.kernel.catalogue import from_rpc_error
from trivet.kernel.codec.packed import floats
from trivet.kernel.errors import AddressRefused, InvalidRequest, UnsupportedParameter, UpstreamFailed
from trivet.kernel.interceptors.validation import validation
from trivet.kernel.testing import TRANSPORTS, Transport, serving
from trivet.model.v1 import embedding_pb2, moderation_pb2, rerank_pb2
from trivet.model.v1.model_service_pb2_grpc import ModelServiceStub, add_ModelServiceServicer_to_server
from trivet.model_service.adapters.openai_moderations import OpenAIModerations
from trivet.model_service.domain.embeddings import EmbeddingAnswer, EmbeddingRequest
from trivet.model_service.domain.ports import ModelInfo
from trivet.model_service.domain.registry import Provider, Registry
from trivet.model_service.domain.rerank import Ranked, RerankAnswer, RerankRequest

of_both = pytest.mark.parametrize("transport", TRANSPORTS)
LONG = floats([0.1] * 3072)


class Scripted:
    """An embedder and a reranker with one answer each."""

    async def embed(self, request: EmbeddingRequest) -> EmbeddingAnswer:
        return EmbeddingAnswer((LONG,) * len(request.inputs), 5)

    async def rerank(self, request: RerankRequest) -> RerankAnswer:
        return RerankAnswer((Ranked(0, float("nan")),)) if request.query == "broken" else RerankAnswer((Ranked(0, 0.5),), "r")


@asynccontextmanager
async def stub(transport: Transport) -> AsyncIterator[Any]:
    offered = Scripted()
    providers = [Provider("lab", ScriptedDialect(), embedder=offered, reranker=offered), Provider("none", ScriptedDialect())]
    register, service = add_ModelServiceServicer_to_server, unkept(Registry(providers))
    async with serving(register, service, transport=transport, judges=[validation]) as channel:
        yield ModelServiceStub(channel)


def of_texts(texts: Sequence[str], **more: Any) -> embedding_pb2.CreateEmbeddingsRequest:
    elements = [embedding_pb2.EmbeddingInputElement(text=text) for text in texts]
    given = embedding_pb2.EmbeddingInput(list=embedding_pb2.EmbeddingInputs(elements=elements))
    return embedding_pb2.CreateEmbeddingsRequest(**{"model": "lab/m", "input": given, **more})


@of_both
@pytest.mark.parametrize("form", ["floats", "base64"])
async def test_the_largest_answer_passes_and_its_vectors_are_the_same_bytes_in_either_form(
    transport: Transport, form: str
) -> None:
    async with stub(transport) as models:
        made = await models.CreateEmbeddings(of_texts(["x"] * 2048, encoding_format=form.removesuffix("s")))

    assert len(made.data) == 2048
    assert {getattr(item.embedding, form) for item in made.data} == {LONG}
    assert (made.model, made.usage.total_tokens) == ("lab/m", 5)


@of_both
async def test_what_is_wrong_is_told_by_its_place(transport: Transport) -> None:
    async with stub(transport) as models:
        for request, param in [
            (of_texts(["a", ""]), "input[1]"),
            (of_texts(["a"], model="none/m"), "model"),
            (embedding_pb2.CreateEmbeddingsRequest(model="lab/m"), "input"),
            (embedding_pb2.CreateEmbeddingsRequest(model="lab/m", input=embedding_pb2.EmbeddingInput()), "input"),
        ]:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await models.CreateEmbeddings(request)
            error = from_rpc_error(failed.value)
            assert (isinstance(error, InvalidRequest), error.param) == (True, param)


@of_both
async def test_documents_are_ranked(transport: Transport) -> None:
    documents = [rerank_pb2.RerankDocument(text="a")]
    async with stub(transport) as models:
        told = await models.Rerank(rerank_pb2.RerankRequest(model="lab/m", query="q", documents=documents))
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await models.Rerank(rerank_pb2.RerankRequest(model="lab/m", query="broken", documents=documents))
        with pytest.raises(grpc.aio.AioRpcError) as lacking:
            await models.Rerank(rerank_pb2.RerankRequest(model="none/m", query="q", documents=documents))

    assert (told.id, told.results[0].relevance_score) == ("r", 0.5)
    assert isinstance(from_rpc_error(failed.value), UpstreamFailed)
    assert isinstance(from_rpc_error(lacking.value), UnsupportedParameter)


@of_both
async def test_a_private_address_in_a_parameter_that_only_the_server_knows_is_refused(transport: Transport) -> None:
    novel = '{"messages":[{"content":[{"type":"image_url","image_url":{"url":"http://127.0.0.1:1/cat.png"}}]}]}'
    documents = [rerank_pb2.RerankDocument(text="a")]
    async with stub(transport) as models:
        for asking in (
            models.CreateEmbeddings(of_texts(["a"], extra=novel)),
            models.Rerank(rerank_pb2.RerankRequest(model="lab/m", query="q", documents=documents, extra=novel)),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await asking
            error = from_rpc_error(failed.value)
            assert isinstance(error, AddressRefused)
            assert error.param == "messages[0].content[0].image_url.url"


@of_both
async def test_moderation_without_a_model_needs_a_provider_that_is_known_for_one(transport: Transport) -> None:
    given = moderation_pb2.ModerationInput(text="a")
    async with stub(transport) as models:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await models.CreateModeration(moderation_pb2.CreateModerationRequest(input=given))

    error = from_rpc_error(failed.value)
    assert (error.param, error.message) == ("model", "`model` is needed: no provider is known for a moderation model.")


@pytest.mark.parametrize(
    ("offered", "known"),
    [
        ({"a": ("omni", None)}, ["a/omni"]),
        ({"a": ("omni", None), "b": ("", None)}, ["a/omni"]),
        ({"a": ("omni", None), "b": ("omni", None)}, ["a/omni", "b/omni"]),
        ({"a": ("omni", ("gpt",))}, []),
        ({"a": ("omni", ("gpt", "omni"))}, ["a/omni"]),
        ({}, []),
    ],
)
def test_a_model_that_moderates_unasked_is_one_that_a_provider_is_known_for(offered: Any, known: list[str]) -> None:
    http: Any = None
    found = Registry(
        Provider(
            name, ScriptedDialect(), tuple(map(ModelInfo, models)) if models else None, moderator=OpenAIModerations(http, default)
        )
        for name, (default, models) in offered.items()
    )

    assert found.moderation_models() == known
