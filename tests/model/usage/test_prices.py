"""What calls cost: exactly, by the operator's price or the public one, and nothing where that is not known."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import Usage as PublicUsage
from genai_prices import calc_price
from pydantic import ValidationError

from tests.model.usage.calls import NOON, call
from trivet.model_service.adapters.public_prices import PublicPrices
from trivet.model_service.domain.calls import Attempt
from trivet.model_service.domain.prices import Price, Rate, from_pico, may_have_cost, text_of, to_pico
from trivet.model_service.domain.turn import Usage
from trivet.model_service.settings import ProviderSettings
from trivet.model_service.usage.price_book import PriceBook

OPENAI = "https://api.openai.com/v1"


def provider(**fields: Any) -> ProviderSettings:
    given = {"name": "lab", "type": "openai-chat", "base_url": "http://lab:1/v1", **fields}
    return ProviderSettings.model_validate(given)


async def book(*providers: ProviderSettings) -> PriceBook:
    public = PublicPrices()
    await public.ready()
    return PriceBook(providers, public)


def of_gpt(**fields: Any) -> Any:
    return call(upstream_model="gpt-5-mini", **fields)


# ---- money ---------------------------------------------------------------------------------------------------------------


def test_sums_of_tenths_are_exact() -> None:
    assert text_of(from_pico(to_pico(Decimal("0.1")) + to_pico(Decimal("0.2")))) == "0.3"


def test_a_million_times_a_billionth_is_a_thousandth() -> None:
    assert text_of(from_pico(sum(to_pico(Decimal("1e-9")) for _ in range(1_000_000)))) == "0.001"


@pytest.mark.parametrize(
    ("dollars", "told"),
    [("0", "0"), ("0E-12", "0"), ("1E+3", "1000"), ("0.0003000", "0.0003"), ("1e-12", "0.000000000001"), ("120", "120")],
)
def test_money_is_told_without_exponents_and_useless_zeros(dollars: str, told: str) -> None:
    assert text_of(Decimal(dollars)) == told


def test_less_than_the_unit_is_rounded_half_to_even() -> None:
    assert [to_pico(Decimal(f"{n}e-13")) for n in (4, 5, 6, 15, 25)] == [0, 0, 1, 2, 2]


# ---- one price -------------------------------------------------------------------------------------------------------------


def test_each_kind_of_token_has_its_own_price() -> None:
    price = Price(*(Rate(Decimal(dollars)) for dollars in ("1", "10", "0.1", "1.25")), per_request=Decimal("0.01"))

    assert price.cost(Usage(100, 20, 120, 40, 10, 5)) == Decimal("0.01") + Decimal("266.5e-6")


def test_cached_tokens_cost_what_input_costs_unless_it_is_told_otherwise() -> None:
    assert Price(input=Rate(Decimal(2))).cost(Usage(input_tokens=100, cached_tokens=40, cache_write_tokens=10)) == Decimal(
        "0.0002"
    )


def test_tokens_of_a_kind_without_a_price_make_the_cost_unknown() -> None:
    embedding = Price(input=Rate(Decimal(2)))

    assert embedding.cost(Usage(input_tokens=1)) == Decimal("0.000002")
    assert embedding.cost(Usage(input_tokens=1, output_tokens=1)) is None
    assert embedding.cost(None) is None


def test_a_price_by_the_call_alone_needs_no_tokens() -> None:
    price = Price(per_request=Decimal("0.5"))

    assert price.cost(None) == price.cost(Usage(10, 10)) == Decimal("0.5")


def test_a_tier_counts_for_all_tokens_of_a_call_with_more_input_than_it_says() -> None:
    rate = Rate(Decimal(1), ((100, Decimal(2)), (200, Decimal(4))))

    assert [rate.of(tokens) for tokens in (0, 100, 101, 200, 201)] == [1, 1, 2, 2, 4]


# ---- public prices -----------------------------------------------------------------------------------------------------------

PUBLIC = [
    ("openai", "gpt-5-mini", Usage(1000, 50, 0, 300)),
    ("openai", "gpt-5.4", Usage(300_000, 50, 0, 1000)),
    ("anthropic", "claude-sonnet-4-5", Usage(200_000, 7, 0, 10, 20)),
    ("anthropic", "claude-sonnet-4-5", Usage(200_001, 7, 0, 10, 20)),
    ("anthropic", "claude-opus-4-6", Usage(250_000, 7, 0, 10, 20)),
    ("google", "gemini-2.5-pro", Usage(200_001, 7, 0, 10)),
    ("google", "gemini-embedding-001", Usage(12)),
    ("aws", "anthropic.claude-3-haiku-20240307-v1:0", Usage(100, 10)),
    ("azure", "gpt-4o", Usage(100, 10, 0, 50)),
    ("deepseek", "deepseek-chat", Usage(1000, 1000, 0, 900)),
    ("cohere", "embed-v4.0", Usage(77)),
]


@pytest.mark.parametrize(("listed", "model", "used"), PUBLIC)
async def test_a_public_price_gives_what_genai_prices_itself_calculates(listed: str, model: str, used: Usage) -> None:
    prices = PublicPrices()
    await prices.ready()
    price = prices.find(listed, model, NOON)
    told = PublicUsage(
        input_tokens=used.input_tokens,
        output_tokens=used.output_tokens,
        cache_read_tokens=used.cached_tokens,
        cache_write_tokens=used.cache_write_tokens,
    )
    theirs = calc_price(told, model, provider_id=listed, genai_request_timestamp=datetime.fromtimestamp(NOON, UTC))

    assert price is not None
    assert price.cost(used) == theirs.total_price
    assert theirs.total_price > 0


async def test_the_provider_is_told_by_its_url() -> None:
    prices = await book(provider(base_url=OPENAI))

    assert prices.cost(of_gpt(usage=Usage(1000, 0))) == Decimal("0.00025")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"base_url": OPENAI, "price_list": "none"},
        {"price_list": "nobody knows it"},
        {"base_url": OPENAI, "price_list": "anthropic"},
    ],
)
async def test_what_no_list_knows_has_no_known_cost(settings: dict[str, Any]) -> None:
    prices = await book(provider(**settings))

    assert prices.cost(of_gpt()) is None


async def test_a_list_can_be_named() -> None:
    assert (await book(provider(price_list="openai"))).cost(of_gpt(usage=Usage(1000, 0))) == Decimal("0.00025")


async def test_an_unknown_model_and_unknown_tokens_have_no_known_cost() -> None:
    prices = await book(provider(base_url=OPENAI))

    assert prices.cost(call(upstream_model="nobody-made-this")) is None
    assert prices.cost(of_gpt(usage=None)) is None
    assert prices.cost(call(provider="", upstream_model="", attempts=(), usage=None, status=404)) is None


async def test_sounds_have_no_public_price_because_their_tokens_are_not_told_apart() -> None:
    assert (await book(provider(base_url=OPENAI))).cost(of_gpt(operation="audio.transcriptions")) is None


async def test_prices_are_not_loaded_for_those_who_need_none() -> None:
    public = PublicPrices()
    prices = PriceBook([provider(models=["m"], base_url="https://lab.example/v1")], public)
    nearby = [provider(base_url=f"http://{host}/v1") for host in ("lab:1", "localhost:1", "127.0.0.1:1", "[::1]:1", "10.0.0.1")]
    priced = PriceBook([provider(models=[{"name": "m", "price": {"per_request": 1}}], price_list="openai")], public)

    await prices.ready([call(provider="other")])
    await priced.ready([call()])
    for one in nearby:
        await PriceBook([one], public).ready([call()])
    assert public._snapshot is None
    await prices.ready([call()])
    assert public._snapshot is not None


# ---- configured prices -----------------------------------------------------------------------------------------------------------


async def test_a_configured_price_comes_before_the_public_one_and_is_read_exactly() -> None:
    price = {"input_per_million": 0.1, "output_per_million": "0.2", "cache_read_per_million": 0.01}
    prices = await book(provider(base_url=OPENAI, models=["o3", {"name": "gpt-5-mini", "price": price}]))

    assert prices.cost(of_gpt(usage=Usage(3_000_000, 1_000_000, 0, 1_000_000))) == Decimal("0.41")


async def test_the_embedded_model_costs_nothing() -> None:
    prices = await book(provider(type="local", base_url=None))

    assert prices.cost(call(usage=Usage(10, 10))) == prices.cost(call(usage=None)) == 0


async def test_to_have_tokens_counted_costs_nothing() -> None:
    assert (await book(provider())).cost(call(operation="messages.count_tokens", usage=None)) == 0


async def test_a_failed_call_without_tokens_has_no_cost() -> None:
    prices = await book(provider(models=[{"name": "m", "price": {"per_request": "1"}}]))

    assert (prices.cost(call(usage=None)), prices.cost(call(usage=None, status=502))) == (1, None)


@pytest.mark.parametrize(
    ("price", "told"),
    [
        ({"input_per_million": -1}, "greater than or equal to 0"),
        ({"input_per_million": "cheap"}, "valid decimal"),
        ({"input_per_million": "NaN"}, "finite number"),
        ({"cache_read_per_million": 1}, "a price needs `input_per_million`, `output_per_million` or `per_request`"),
        ({"output_per_token": 1}, "Extra inputs are not permitted"),
    ],
)
def test_a_price_that_is_none_is_refused(price: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        provider(models=[{"name": "m", "price": price}])


# ---- what may have cost something ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "may"),
    [
        ({}, True),
        ({"status": 499}, True),
        ({"status": 504}, True),
        ({"status": 502, "first_token_seconds": 0.1}, True),
        ({"status": 502}, False),
        ({"status": 429, "attempts": (Attempt("lab/m", 429, 0.1),)}, False),
        ({"status": 404, "attempts": ()}, False),
    ],
)
def test_a_call_that_nobody_answered_is_not_missed(fields: dict[str, Any], may: bool) -> None:
    assert may_have_cost(call(**fields)) is may
