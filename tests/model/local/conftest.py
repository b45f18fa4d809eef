"""The tiny random model, the real one, and clients of both."""

from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from tests.upstreams.llama import Llama, start_llama
from tests.upstreams.tiny_model import make_tiny_model
from trivet.model_service.adapters.local import weights
from trivet.model_service.adapters.local.model import LocalModel, LocalOptions


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "tiny.gguf")


@pytest.fixture
def tiny_options(tiny: Path) -> LocalOptions:
    return LocalOptions(file=tiny, sha256=sha256(tiny.read_bytes()).hexdigest())


@pytest.fixture
async def tiny_local(tiny_options: LocalOptions) -> AsyncIterator[LocalModel]:
    model = LocalModel(tiny_options)
    yield model
    await model.aclose()


@pytest.fixture(scope="session")
def smollm2_server() -> Iterator[Llama]:
    with start_llama(weights.locate(), alias="smollm2") as llama:
        yield llama


@pytest.fixture
async def smollm2(smollm2_server: Llama) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=smollm2_server.base_url, api_key=smollm2_server.api_key, max_retries=0) as client:
        yield client
