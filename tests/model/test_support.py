"""The page of what is supported: each cell is true, and the page has them all."""

import pytest
from tools.make_support import PAGE, support_page

from tests.model.answering import to_chat, to_responses, unkept
from tests.model.scripted_dialect import ScriptedDialect
from tests.model.support_answers import ANSWERS, STARTED, Answer
from tests.model.support_dialects import READERS, is_told
from tests.model.support_requests import BODIES, FACES, FEATURES, NO_EFFECT, NO_WORD, YES, Feature, cell
from trivet.content.v1.chat_completion_pb2 import ChatCompletion, ChatCompletionChunkBatch
from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_event_pb2 import ResponseEventBatch
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.domain.registry import Provider, Registry

ANSWERED = pytest.mark.parametrize("answer", ANSWERS, ids=lambda answer: answer.name)


def test_the_page_is_what_the_code_does() -> None:
    assert PAGE.read_text(encoding="utf-8") == support_page(), "run `make reference`"


@pytest.mark.parametrize("provider", BODIES)
@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_what_is_asked_for_reaches_the_provider_or_is_refused_by_its_name(feature: Feature, provider: str) -> None:
    assert all(
        told in {YES, NO_WORD, NO_EFFECT} or told.startswith("400 `")
        for told in (cell(face, provider, feature) for face in FACES)
    )


@ANSWERED
@pytest.mark.parametrize("provider", READERS)
def test_what_a_provider_tells_is_read(answer: Answer, provider: str) -> None:
    assert is_told(provider, answer) == (answer.name in READERS[provider][1])


@pytest.mark.parametrize("provider", READERS)
def test_every_sample_is_one_of_a_row(provider: str) -> None:
    assert READERS[provider][1].keys() <= {answer.name for answer in ANSWERS}


@ANSWERED
async def test_both_faces_show_it_whole_and_streamed(answer: Answer) -> None:
    service = unkept(Registry([Provider("p", ScriptedDialect([[STARTED, *answer.events]]))]))
    chat, responses = to_chat("p"), to_responses("p")
    responses.include.append("message.output_text.logprobs")

    completion = codec_for(ChatCompletion).dumps(await service.CreateChatCompletion(chat, None))
    response = codec_for(Response).dumps(await service.CreateResponse(responses, None))
    chunks = [codec_for(ChatCompletionChunkBatch).dumps(batch) async for batch in service.StreamChatCompletion(chat, None)]
    events = [codec_for(ResponseEventBatch).dumps(batch) async for batch in service.StreamResponse(responses, None)]

    for text in (completion, b"".join(chunks)):
        assert [mark for mark in answer.shown_in_chat if mark.encode() not in text] == []
    for text in (response, b"".join(events)):
        assert [mark for mark in answer.shown if mark.encode() not in text] == []
