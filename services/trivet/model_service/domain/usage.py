"""What is kept of calls to models, and how it is asked for: the port behind which it is kept.

Money is in US dollars, exact. Times are Unix time; a day and an hour are those of UTC.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, Literal, Protocol

from trivet.model_service.domain.calls import CallRecord

DIMENSIONS: Final = ("day", "hour", "model", "target", "provider", "operation", "caller", "status")
"""What usage is grouped by, besides `metadata.<key>`."""

METADATA: Final = "metadata."
_LONGEST_KEY: Final = 64

UsageOrder = Literal["group", "cost"]


@dataclass(slots=True)
class UsageRecord:
    """A call and what it cost. `cost` is None where that is not known; `unpriced`: and it may have cost something."""

    id: str
    call: CallRecord
    cost: Decimal | None
    unpriced: bool


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Which calls: those begun in `since` <= time < `until`, and of each kind given one of the values. Empty: any.

    `callers` None: of any caller. `metadata`: all of these pairs.
    """

    since: float | None = None
    until: float | None = None
    models: Sequence[str] = ()
    providers: Sequence[str] = ()
    callers: Sequence[str] | None = None
    operations: Sequence[str] = ()
    statuses: Sequence[int] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class UsageQuery:
    """What to add up: the groups from `offset` on, at most `limit`, by the `group_by` in their order, or the dearest first."""

    which: UsageFilter = UsageFilter()
    group_by: Sequence[str] = ()
    order: UsageOrder = "group"
    limit: int = 100
    offset: int = 0


@dataclass(frozen=True, slots=True)
class UsageSums:
    """Calls added up. `failed`: those with a status of 400 and above. `input_tokens` has those read from and written to caches.

    `cost` is what is known of it, None if nothing is though something may have been paid; `unpriced` calls are not in it. The
    means are of seconds: of all calls, and to the first token of those that had one (None: none had).
    """

    calls: int = 0
    failed: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost: Decimal | None = Decimal(0)
    unpriced: int = 0
    mean_seconds: float | None = None
    mean_first_token_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The sums of the calls that have these values in common; a metadata key that they lack is not among them."""

    values: Mapping[str, str]
    sums: UsageSums


@dataclass(frozen=True, slots=True)
class UsageReport:
    """A page of groups, the sums of all calls asked for, whichever page, and whether groups follow."""

    groups: Sequence[UsageGroup]
    totals: UsageSums
    has_more: bool


class UsageStore(Protocol):
    """Keeps usage records; what is older than it is to keep goes with the store's `sweep`."""

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        """Keep records; those that are there already, by their ids, stay as they are."""
        ...

    async def usage(self, query: UsageQuery) -> UsageReport:
        """Add up what was asked for."""
        ...

    async def usage_records(self, which: UsageFilter, *, after: str = "", limit: int = 20) -> Sequence[UsageRecord] | None:
        """At most `limit` records, the newest first, after the record `after` ("": from the first); None if it is not there."""
        ...


def is_dimension(name: str) -> bool:
    """Whether usage can be grouped by this."""
    return name in DIMENSIONS or (name.startswith(METADATA) and 1 <= len(name) - len(METADATA) <= _LONGEST_KEY)
