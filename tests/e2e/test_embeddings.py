"""`/embeddings`: OpenAI's SDK and plain HTTP as clients, an upstream that plays what a provider says, and what it should not."""

from collections.abc import AsyncIterator
from typing import Any

import openai
import pytest
import pytest_asyncio

from tests.e2e.retrieval_rig import EMBEDDINGS, base64, by_input, embedded, retrieval
from tests.e2e.rig import KEY, Rig
from tests.e2e.sdk import sdk
from tests.upstreams.scripted import CLOSE, RESET, answer, response
from trivet.kernel.codec.packed import from_base64, to_base64

pytestmark = pytest.mark.asyncio(loop_scope="module")

VECTOR = [0.5, -0.25, 3.0]
UNEVEN = 0.1


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Rig]:
    async with retrieval() as rig:
        yield rig


@pytest.fixture
def rig(opened: Rig) -> Rig:
    opened.upstream.forget()
    return opened


@pytest_asyncio.fixture(loop_scope="module")
async def client(rig: Rig) -> AsyncIterator[openai.AsyncOpenAI]:
    async with sdk(f"http://{rig.gateway.http}/api/llm", KEY, strict=False) as opened:
        yield opened


async def test_the_sdk_gets_the_vector_of_a_text(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.upstream.play(embedded([base64(*VECTOR)]))

    made = await client.embeddings.create(model="lab/embed", input="hello")

    assert [item.embedding for item in made.data] == [VECTOR]
    assert (made.model, made.object, made.data[0].index) == ("lab/embed", "list", 0)
    assert (made.usage.prompt_tokens, made.usage.total_tokens) == (3, 3)
    (asked,) = rig.upstream.requests
    assert asked.path == "/v1/embeddings"
    assert asked.body == {"model": "embed", "input": ["hello"], "encoding_format": "base64"}


@pytest.mark.parametrize("given", [[1, 2, 3], [[1, 2, 3]], [[1, 2], [3]]], ids=str)
async def test_the_sdk_may_give_tokens(rig: Rig, client: openai.AsyncOpenAI, given: Any) -> None:
    arrays = [given] if isinstance(given[0], int) else given
    rig.upstream.play(embedded([base64(*VECTOR)] * len(arrays)))

    made = await client.embeddings.create(model="lab/embed", input=given)

    assert len(made.data) == len(arrays)
    assert rig.upstream.requests[0].body["input"] == arrays


async def test_parameters_are_passed_on_and_so_are_unknown_ones(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.upstream.play(embedded([base64(*VECTOR)]))
    more = {"input_type": "query", "truncate": "END", "output_dtype": "float"}

    await client.embeddings.create(model="lab/embed", input=["a"], dimensions=3, user="u", extra_body=more)

    assert rig.upstream.requests[0].body == {
        **{"model": "embed", "input": ["a"], "encoding_format": "base64", "dimensions": 3, "user": "u"},
        **more,
    }


@pytest.mark.parametrize("asked_for", ["float", "base64", None])
@pytest.mark.parametrize("told_in", ["numbers", "base64"])
async def test_the_caller_chooses_the_form_whatever_the_provider_says(rig: Rig, asked_for: str | None, told_in: str) -> None:
    vector = [*VECTOR, UNEVEN]
    rig.upstream.play(embedded([vector if told_in == "numbers" else base64(*vector)]))

    status, made = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": "a", "encoding_format": asked_for})

    assert status == 200
    assert made == {
        "object": "list",
        "model": "lab/e",
        "data": [{"object": "embedding", "index": 0, "embedding": made["data"][0]["embedding"]}],
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
    if asked_for == "base64":
        assert from_base64(made["data"][0]["embedding"]) == from_base64(base64(*vector))
    else:
        assert made["data"][0]["embedding"] == pytest.approx(vector, rel=1e-7)
        assert base64(*made["data"][0]["embedding"]) == base64(*vector)


async def test_a_provider_may_be_asked_for_numbers(rig: Rig) -> None:
    rig.upstream.play(embedded([VECTOR]))

    assert (await rig.post(EMBEDDINGS, {"model": "plain/e", "input": "a", "encoding_format": "base64"}))[0] == 200
    assert rig.upstream.requests[0].body["encoding_format"] == "float"


async def test_vectors_are_put_into_the_order_of_their_indexes(rig: Rig) -> None:
    data = [{"index": 1, "embedding": [1, 1]}, {"index": 0, "embedding": [0, 0]}]
    rig.upstream.play(answer({"data": data}))

    _, made = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": ["a", "b"]})

    assert [item["embedding"] for item in made["data"]] == [[0, 0], [1, 1]]
    assert made["usage"] == {"prompt_tokens": 0, "total_tokens": 0}


# ---- in pieces -----------------------------------------------------------------------------------------------------


async def test_what_is_too_much_for_one_call_goes_in_several_and_keeps_its_order(rig: Rig) -> None:
    for _ in range(3):
        rig.upstream.reply(by_input(lambda text: [float(text), 1]))

    _, made = await rig.post(EMBEDDINGS, {"model": "small/e", "input": ["0", "1", "2", "3", "4"]})

    assert [item["embedding"][0] for item in made["data"]] == [0, 1, 2, 3, 4]
    assert [item["index"] for item in made["data"]] == [0, 1, 2, 3, 4]
    assert made["usage"]["total_tokens"] == 5
    assert sorted(request.body["input"] for request in rig.upstream.requests) == [["0", "1"], ["2", "3"], ["4"]]


@pytest.mark.parametrize(
    ("inputs", "pieces"),
    [
        (["x" * 6, "y" * 5], [["x" * 6], ["y" * 5]]),
        (["x" * 30, "y"], [["x" * 30], ["y"]]),
        (["€€", "€"], [["€€", "€"]]),
        (["€€", "€€"], [["€€"], ["€€"]]),
        ([[1] * 6, [2] * 4], [[[1] * 6, [2] * 4]]),
        ([[1] * 6, [2] * 5], [[[1] * 6], [[2] * 5]]),
    ],
    ids=str,
)
async def test_a_call_holds_no_more_tokens_than_the_provider_takes(rig: Rig, inputs: Any, pieces: Any) -> None:
    for _ in pieces:
        rig.upstream.reply(by_input(lambda _: VECTOR))

    status, made = await rig.post(EMBEDDINGS, {"model": "small/e", "input": inputs})

    assert (status, len(made["data"])) == (200, len(inputs))
    assert sorted(request.body["input"] for request in rig.upstream.requests) == sorted(pieces)


async def test_a_piece_that_fails_fails_the_request_as_it_did(rig: Rig) -> None:
    limited = answer({"error": {"message": "Slow down."}}, status=429, headers={"Retry-After": "7"})
    rig.upstream.reply(lambda request: [limited if "c" in request.body["input"] else embedded([base64(*VECTOR)] * 2)])
    rig.upstream.reply(lambda request: [limited if "c" in request.body["input"] else embedded([base64(*VECTOR)] * 2)])

    async with rig.http.post(EMBEDDINGS, json={"model": "small/e", "input": ["a", "b", "c"]}) as failed:
        assert (failed.status, failed.headers["Retry-After"]) == (429, "7")
        assert (await failed.json())["error"]["message"] == "Slow down."


async def test_the_input_at_fault_is_counted_as_the_request_does(rig: Rig) -> None:
    def script(request: Any) -> list[bytes]:
        if "c" not in request.body["input"]:
            return [embedded([base64(*VECTOR)] * 2)]
        return [answer({"error": {"message": "Too long.", "param": "input[1]"}}, status=400)]

    rig.upstream.reply(script)
    rig.upstream.reply(script)

    status, failed = await rig.post(EMBEDDINGS, {"model": "small/e", "input": ["a", "b", "c", "d"]})

    assert (status, failed["error"]["param"]) == (400, "input[3]")


async def test_pieces_of_different_dimensions_are_a_fault(rig: Rig) -> None:
    rig.upstream.reply(lambda request: [embedded([[1.0] * len(request.body["input"])] * len(request.body["input"]))])
    rig.upstream.reply(lambda request: [embedded([[1.0] * len(request.body["input"])] * len(request.body["input"]))])

    status, failed = await rig.post(EMBEDDINGS, {"model": "small/e", "input": ["a", "b", "c"]})

    assert (status, "lengths" in failed["error"]["message"]) == (502, True)


async def test_many_inputs_of_any_script_pass(rig: Rig) -> None:
    texts = [f"{index} " + "пр😀語\x00\n" * 8 for index in range(2048)]
    for _ in range(8):
        rig.upstream.reply(by_input(lambda text: [float(text.split(" ")[0])] * 8))

    status, made = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": texts, "encoding_format": "base64"})

    assert status == 200
    assert [item["embedding"] for item in made["data"]] == [base64(*[float(index)] * 8) for index in range(2048)]
    assert {len(request.body["input"]) for request in rig.upstream.requests} == {256}


# ---- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "input"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": {}}, "input"),
        ({"input": ["a", "b", "c", ""]}, "input[3]"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": [1, [2]]}, "input[1]"),
        ({"input": [[1], "a"]}, "input[1]"),
        ({"input": [[1], []]}, "input[1]"),
        ({"input": [-1]}, "input[0]"),
        ({"input": [[1, "a"]]}, "input[0][1]"),
        ({"input": [1.5]}, "input[0]"),
        ({"input": ["a", None]}, "input[1]"),
        ({"input": ["a"] * 2049}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "dimensions": "3"}, "dimensions"),
        ({"input": "a", "encoding_format": "int8"}, "encoding_format"),
        ({"input": "a", "user": 1}, "user"),
        ({"input": "a", "model": ""}, "model"),
        ({"input": "a", "output_dtype": "int8"}, "output_dtype"),
        ({"input": "a", "embedding_types": ["ubinary"]}, "embedding_types"),
        ({"input": "a", "model": "local/smollm2"}, "model"),
    ],
    ids=lambda value: str(value)[:60],
)
async def test_a_request_that_cannot_be_is_refused_by_name(rig: Rig, body: dict[str, Any], param: str) -> None:
    status, failed = await rig.post(EMBEDDINGS, {"model": "lab/e", **body})

    assert (status, failed["error"]["param"], failed["error"]["type"]) == (400, param, "invalid_request_error")
    assert rig.upstream.requests == []


async def test_an_unknown_model_is_not_found(rig: Rig) -> None:
    status, failed = await rig.post(EMBEDDINGS, {"model": "nowhere/e", "input": "a"})

    assert (status, failed["error"]["code"]) == (404, "model_not_found")


async def test_dimensions_that_the_model_takes_no_notice_of_are_refused(rig: Rig) -> None:
    rig.upstream.play(embedded([VECTOR]))

    status, failed = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": "a", "dimensions": 2})

    assert (status, failed["error"]["param"], failed["error"]["code"]) == (400, "dimensions", "unsupported_parameter")
    assert "3" in failed["error"]["message"]


# ---- what providers do ---------------------------------------------------------------------------------------------

NAN = to_base64(b"\x00\x00\xc0\x7f" + b"\x00" * 4)
INFINITE = base64(1.0)[:-4] + to_base64(b"\x00\x00\x80\x7f")
TRUNCATED = embedded([VECTOR])[:-9]
BROKEN = {
    "nothing": answer({}),
    "no list": answer({"data": {"0": VECTOR}}),
    "no objects": answer({"data": [VECTOR]}),
    "no vector": answer({"data": [{"index": 0}]}),
    "too few": embedded([]),
    "too many": embedded([VECTOR] * 2),
    "index beyond": answer({"data": [{"index": 1, "embedding": VECTOR}]}),
    "index of a kind": answer({"data": [{"index": [0], "embedding": VECTOR}]}),
    "empty vector": embedded([[]]),
    "empty base64": embedded([""]),
    "no base64": embedded(["§§§"]),
    "half a float": embedded([to_base64(b"123456")]),
    "not a number in base64": embedded([NAN]),
    "infinite": embedded([INFINITE]),
    "null": embedded([[1.0, None]]),
    "a text among numbers": embedded([[1.0, "2"]]),
    "more than a float holds": embedded([[1e39]]),
    "an integer beyond all": embedded([[10**400]]),
    "no JSON": response(b"<html>"),
    "NaN is no JSON": response(b'{"data": [{"index": 0, "embedding": [NaN]}]}'),
    "an error with status 200": answer({"error": {"message": "down"}}),
    "status 500": answer({"error": {"message": "down"}}, status=500),
    "a stream": response(b"data: {}\n\n", headers={"Content-Type": "text/event-stream"}),
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
async def test_an_answer_that_is_none_is_the_providers_fault(rig: Rig, said: bytes) -> None:
    rig.upstream.play(said)

    status, failed = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": "a"})

    assert (status, failed["error"]["code"]) == (502, "upstream_failed")


@pytest.mark.parametrize("end", [CLOSE, RESET])
@pytest.mark.parametrize("said", [b"", TRUNCATED], ids=["before", "in the middle"])
async def test_a_connection_that_breaks_is_the_providers_fault(rig: Rig, said: bytes, end: str) -> None:
    rig.upstream.play(said, end)

    status, failed = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": "a"})

    assert (status, failed["error"]["code"]) == (502, "upstream_failed")


@pytest.mark.parametrize(
    ("said", "status", "code"),
    [
        (answer({"error": {"message": "m", "code": "c"}}, status=400), 400, "c"),
        (
            answer({"error": {"message": "The model `e` does not exist.", "code": "model_not_found"}}, status=404),
            404,
            "model_not_found",
        ),
        (answer({"error": {"message": "m", "code": "DeploymentNotFound"}}, status=404), 404, "DeploymentNotFound"),
        (answer({"detail": "Not Found"}, status=404), 400, "unsupported_parameter"),
        (response(b"<html>", status=405), 400, "unsupported_parameter"),
        (answer({"error": {"message": "Start it with `--embeddings`."}}, status=501), 400, "unsupported_parameter"),
        (answer({"error": {"message": "key co-secret"}}, status=401), 502, "upstream_failed"),
        (answer({"error": {"message": "m"}}, status=529), 503, "overloaded"),
        (answer({"error": {"message": "m"}}, status=504), 504, "upstream_timeout"),
    ],
)
async def test_a_refusal_of_the_provider_is_told(rig: Rig, said: bytes, status: int, code: str) -> None:
    rig.upstream.play(said)

    told, failed = await rig.post(EMBEDDINGS, {"model": "lab/e", "input": "a"})

    assert (told, failed["error"]["code"]) == (status, code)


async def test_a_rate_limit_reaches_the_sdk(rig: Rig, client: openai.AsyncOpenAI) -> None:
    rig.upstream.play(answer({"error": {"message": "Slow down."}}, status=429, headers={"Retry-After": "3"}))

    with pytest.raises(openai.RateLimitError) as limited:
        await client.embeddings.create(model="lab/e", input="a")

    assert limited.value.response.headers["Retry-After"] == "3"
