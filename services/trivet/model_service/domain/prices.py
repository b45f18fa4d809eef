"""What calls cost: prices of tokens and requests in US dollars, and exact amounts of money."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, Protocol

from trivet.model_service.domain.calls import CLIENT_LEFT, CallRecord
from trivet.model_service.domain.turn import Usage

_MILLION: Final = 6
_PICO: Final = 12
# No rounding: a price of twenty digits times all tokens there ever were has fewer.
_EXACT: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


@dataclass(frozen=True, slots=True)
class Rate:
    """Dollars per million tokens. `tiers` are (tokens, dollars), rising: a call with more input than that pays these for all."""

    base: Decimal
    tiers: tuple[tuple[int, Decimal], ...] = ()

    def of(self, input_tokens: int) -> Decimal:
        """What a million tokens cost in a call with so much input."""
        if not self.tiers:
            return self.base
        return next((dollars for above, dollars in reversed(self.tiers) if input_tokens > above), self.base)


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs. None: not told, and not free. Cached tokens cost what `input` says, if nothing else is told of them."""

    input: Rate | None = None
    output: Rate | None = None
    cache_read: Rate | None = None
    cache_write: Rate | None = None
    per_request: Decimal | None = None

    def cost(self, usage: Usage | None) -> Decimal | None:
        """What a call with these tokens costs, in dollars; None if that is not known."""
        if usage is None:
            # Then only what has no price by tokens is known.
            return self.per_request if self._only_per_request else None
        total = Decimal(0)
        for rate, tokens in self._parts(usage):
            if not tokens:
                continue
            if rate is None:
                return None
            total = _EXACT.fma(rate.of(usage.input_tokens), tokens, total)
        total = total.scaleb(-_MILLION, _EXACT)
        return total if self.per_request is None else _EXACT.add(total, self.per_request)

    @property
    def _only_per_request(self) -> bool:
        return self.input is None and self.output is None and self.cache_read is None and self.cache_write is None

    def _parts(self, usage: Usage) -> tuple[tuple[Rate | None, int], ...]:
        if self.per_request is not None and self._only_per_request:
            return ()
        cached, written = usage.cached_tokens, usage.cache_write_tokens
        return (
            (self.input, max(0, usage.input_tokens - cached - written)),
            (self.cache_read or self.input, cached),
            (self.cache_write or self.input, written),
            # Reasoning is part of the output, and costs the same.
            (self.output, usage.output_tokens),
        )


FREE: Final = Price(per_request=Decimal(0))
"""Of a model that runs here: nobody is paid for a call."""


class PriceList(Protocol):
    """Prices that are public."""

    async def ready(self) -> None:
        """Load them, which takes a moment, once; whoever asks before is told of no price."""
        ...

    def find(self, provider: str, model: str, at: float) -> Price | None:
        """What a model costs at a time (Unix time), by the name of a provider in this list; None if the list does not know."""
        ...


def may_have_cost(call: CallRecord) -> bool:
    """Whether a provider may ask money for a call: not where none answered, or the answer was that it failed."""
    if not call.attempts:
        return False
    return call.status < 400 or call.status in (408, CLIENT_LEFT, 504) or call.first_token_seconds is not None


def to_pico(dollars: Decimal) -> int:
    """Dollars as an integer of 10^-12 dollars, the unit of the store; what is smaller is rounded to the nearest (half to even)."""
    return int(dollars.scaleb(_PICO, _EXACT).to_integral_value(ROUND_HALF_EVEN))


def from_pico(amount: int) -> Decimal:
    """Dollars of an integer of 10^-12 dollars, exactly."""
    return Decimal(amount).scaleb(-_PICO, _EXACT)


def text_of(dollars: Decimal) -> str:
    """Dollars as decimal text, without an exponent and without zeros at the end: `0.0003`."""
    text = f"{dollars:f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) or "0"
