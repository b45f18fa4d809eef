"""Makes messages of what was found."""

from collections.abc import Sequence
from datetime import UTC, datetime

from trivet.model.v1 import usage_pb2 as pb
from trivet.model_service.domain.prices import text_of
from trivet.model_service.domain.turn import Usage
from trivet.model_service.domain.usage import UsageRecord, UsageReport, UsageSums


def report_of(report: UsageReport) -> pb.UsageReport:
    """A page of groups."""
    return pb.UsageReport(
        data=[pb.UsageGroup(group=group.values, usage=_sums(group.sums)) for group in report.groups],
        totals=_sums(report.totals),
        has_more=report.has_more,
    )


def page_of(records: Sequence[UsageRecord], limit: int) -> pb.UsageCallPage:
    """A page of at most `limit` calls; one more is there if more follow."""
    return pb.UsageCallPage(data=map(_call, records[:limit]), has_more=len(records) > limit)


def _sums(sums: UsageSums) -> pb.UsageSums:
    return pb.UsageSums(
        calls=sums.calls,
        failed=sums.failed,
        input_tokens=sums.input_tokens,
        cached_tokens=sums.cached_tokens,
        cache_write_tokens=sums.cache_write_tokens,
        output_tokens=sums.output_tokens,
        reasoning_tokens=sums.reasoning_tokens,
        cost=None if sums.cost is None else text_of(sums.cost),
        unpriced=sums.unpriced,
        mean_seconds=sums.mean_seconds,
        mean_first_token_seconds=sums.mean_first_token_seconds,
    )


def _call(record: UsageRecord) -> pb.UsageCall:
    call = record.call
    return pb.UsageCall(
        id=record.id,
        time=datetime.fromtimestamp(call.started, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        request_id=call.request_id,
        caller=call.principal,
        operation=call.operation,
        model=call.model,
        provider=call.provider or None,
        provider_type=call.provider_type or None,
        upstream_model=call.upstream_model or None,
        status=call.status,
        stream=call.stream,
        seconds=call.total_seconds,
        first_token_seconds=call.first_token_seconds,
        tokens=None if call.usage is None else _tokens(call.usage),
        cost=None if record.cost is None else text_of(record.cost),
        attempts=[pb.UsageAttempt(target=one.target, status=one.status, seconds=one.seconds) for one in call.attempts],
        metadata=call.metadata,
    )


def _tokens(usage: Usage) -> pb.UsageTokens:
    return pb.UsageTokens(
        input=usage.input_tokens,
        cached=usage.cached_tokens,
        cache_write=usage.cache_write_tokens,
        output=usage.output_tokens,
        reasoning=usage.reasoning_tokens,
    )
