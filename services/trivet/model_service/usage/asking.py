"""Makes queries of requests: what they mean, and whose usage they may tell."""

from collections.abc import Collection
from datetime import UTC, date, datetime, time

from trivet.kernel.errors import InvalidRequest, PermissionDenied
from trivet.model.v1.usage_pb2 import GetUsageRequest, ListUsageCallsRequest
from trivet.model_service.domain.usage import DIMENSIONS, METADATA, UsageFilter, UsageOrder, UsageQuery, is_dimension

GROUPS = 100
CALLS = 20
"""How long a page is, if a request does not say."""


def query_of(request: GetUsageRequest, caller: str, admins: Collection[str]) -> UsageQuery:
    """What is asked for by `caller`, who sees all if it is one of `admins`. Raises InvalidRequest, PermissionDenied."""
    for number, name in enumerate(request.group_by):
        if not is_dimension(name):
            known = ", ".join(f"'{one}'" for one in DIMENSIONS)
            raise InvalidRequest(
                f"Invalid 'group_by[{number}]': expected one of {known} or '{METADATA}<key>'.", f"group_by[{number}]"
            )
    if len(set(request.group_by)) < len(request.group_by):
        raise InvalidRequest("Invalid 'group_by': the same thing is given twice.", "group_by")
    order: UsageOrder = "cost" if request.order == "cost" else "group"
    limit = request.limit if request.HasField("limit") else GROUPS
    return UsageQuery(filter_of(request, caller, admins), tuple(request.group_by), order, limit, request.offset)


def filter_of(request: GetUsageRequest | ListUsageCallsRequest, caller: str, admins: Collection[str]) -> UsageFilter:
    """Which calls are asked for by `caller`. Raises InvalidRequest, PermissionDenied."""
    return UsageFilter(
        since=_time(request.from_time, "from") if request.HasField("from_time") else None,
        until=_time(request.to_time, "to") if request.HasField("to_time") else None,
        models=tuple(request.model),
        providers=tuple(request.provider),
        callers=_callers(request, caller, admins),
        operations=tuple(request.operation),
        statuses=tuple(request.status),
        metadata=dict(request.metadata),
    )


def _callers(request: GetUsageRequest | ListUsageCallsRequest, caller: str, admins: Collection[str]) -> tuple[str, ...] | None:
    if caller in admins:
        return tuple(request.caller) or None
    if any(name != caller for name in request.caller):
        raise PermissionDenied("This key may see its own usage only: a key of the role `admin` sees all.", "caller")
    return (caller,)


def _time(text: str, param: str) -> float:
    """Unix time of a date or a time; UTC, if it says nothing else."""
    try:
        if len(text) == len("2026-11-29"):
            moment = datetime.combine(date.fromisoformat(text), time(), UTC)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment.replace(tzinfo=moment.tzinfo or UTC)
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise InvalidRequest(
            f"Invalid '{param}': expected a date or a time, as in '2026-11-29' or '2026-11-29T07:00:00Z'.", param
        ) from None
