"""The rules of routing: which target is asked, in which order, and what follows a failure."""

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest

from trivet.kernel.errors import Overloaded, RateLimited, ServiceError, UnsupportedParameter, UpstreamFailed
from trivet.model_service.domain.routing import Retry, Route, RouteTarget, Sla, Sticky, Strategy
from trivet.model_service.domain.routing_course import Course, Failure, backoff, most_telling
from trivet.model_service.domain.routing_health import (
    FAILURE_SECONDS,
    PACE_CALLS,
    PACE_SECONDS,
    SLA_SECONDS,
    Health,
    Sample,
    per_output_token,
)
from trivet.model_service.domain.routing_order import ordered, sticky_draw
from trivet.model_service.routing.log import CallLog

A, B, C = (RouteTarget("p", name) for name in "abc")
CALLS = 10_000


def route(*targets: RouteTarget, strategy: Strategy = "priority") -> Route:
    return Route("smart", targets, strategy)


def health(*targets: RouteTarget) -> Health:
    return Health(target.name for target in targets)


def order(of: Route, known: Health, now: float = 0.0, seed: int = 1) -> str:
    drawn = random.Random(seed)
    return "".join(target.model for target in ordered(of, known, now, lambda _: drawn.random()))


def firsts(of: Route, known: Health, now: float = 0.0, calls: int = CALLS) -> Counter[str]:
    drawn = random.Random(7)
    return Counter(ordered(of, known, now, lambda _: drawn.random())[0].model for _ in range(calls))


def paced(known: Health, target: RouteTarget, seconds: float, now: float = 0.0, calls: int = 3) -> None:
    for _ in range(calls):
        known.served(target.name, Sample(now, seconds * 10, seconds))


# ---- the order ---------------------------------------------------------------------------------------------------------


def test_weights_of_80_and_20_are_kept_within_2_points_over_10000_calls() -> None:
    found = firsts(route(replace(A, weight=80), replace(B, weight=20), strategy="weight"), health(A, B))
    assert abs(found["a"] / CALLS - 0.8) < 0.02
    assert found["a"] + found["b"] == CALLS


def test_those_that_are_left_share_the_weights_of_one_whose_circuit_is_open() -> None:
    known = health(A, B, C)
    for _ in range(2):
        known.failed(A.name, 500, 0.0)
    of = route(replace(A, weight=80), replace(B, weight=15), replace(C, weight=5), strategy="weight")
    found = firsts(of, known)
    assert found["a"] == 0
    assert abs(found["b"] / CALLS - 0.75) < 0.02
    assert order(of, known).endswith("a")


def test_a_weight_of_nought_is_asked_when_all_others_have_failed() -> None:
    of = route(replace(A, weight=0), B, C, strategy="weight")
    assert firsts(of, health(A, B, C))["a"] == 0
    assert order(of, health(A, B, C)).endswith("a")


def test_the_lowest_priority_goes_first_and_equal_ones_share_by_weight() -> None:
    of = route(replace(A, priority=1), replace(B, weight=3), replace(C, weight=1))
    found = firsts(of, health(A, B, C))
    assert found["a"] == 0
    assert abs(found["b"] / CALLS - 0.75) < 0.02
    assert order(of, health(A, B, C)).endswith("a")


def test_targets_within_a_fifth_of_the_fastest_are_equals_and_the_others_follow_in_their_order() -> None:
    known = health(A, B, C)
    for target, seconds in ((A, 0.0119), (B, 0.010), (C, 0.0121)):
        paced(known, target, seconds)
    of = route(A, B, C, strategy="latency")
    found = firsts(of, known)
    assert abs(found["a"] / CALLS - 0.5) < 0.02
    assert found["c"] == 0
    assert order(of, known)[-1] == "c"


def test_a_target_with_fewer_than_three_calls_is_explored_first() -> None:
    known = health(A, B, C)
    paced(known, A, 0.001)
    paced(known, B, 9.0, calls=2)
    paced(known, C, 0.001)
    of = route(A, B, C, strategy="latency")
    assert firsts(of, known, calls=100) == {"b": 100}
    paced(known, B, 9.0, calls=1)
    assert firsts(of, known, calls=100)["b"] == 0


def test_only_the_last_hundred_calls_of_twenty_minutes_say_how_fast_a_target_is() -> None:
    known = health(A)
    paced(known, A, 1.0, calls=PACE_CALLS)
    paced(known, A, 0.5, now=10.0, calls=PACE_CALLS)
    assert known.of(A.name).pace(10.0) == 0.5
    assert known.of(A.name).pace(10.0 + PACE_SECONDS) == 0.5
    assert known.of(A.name).pace(10.1 + PACE_SECONDS) is None


@pytest.mark.parametrize(
    ("sla", "late"),
    [
        (Sla(per_output_token=0.05), True),
        (Sla(first_token=0.5), True),
        (Sla(first_token=1.0, per_output_token=0.1), False),
        (Sla(), False),
    ],
)
def test_a_target_that_is_slower_than_agreed_goes_behind_the_others_until_that_is_three_minutes_ago(sla: Sla, late: bool) -> None:
    known = health(A, B)
    of = route(replace(A, sla=sla), replace(B, priority=1))
    paced(known, A, 0.06, calls=2)
    assert order(of, known) == "ab"
    paced(known, A, 0.06, calls=1)
    assert order(of, known, SLA_SECONDS) == ("ba" if late else "ab")
    assert order(of, known, SLA_SECONDS + 1) == "ab"


@pytest.mark.parametrize("status", [500, 503, 529, 429, 401, 403, 408])
def test_two_failures_within_two_minutes_put_a_target_last_and_time_heals_it(status: int) -> None:
    known = health(A, B)
    of = route(A, replace(B, priority=1))
    known.failed(A.name, status, 0.0)
    assert order(of, known) == "ab"
    known.failed(A.name, status, 60.0)
    assert order(of, known, 60.0) == "ba"
    assert order(of, known, FAILURE_SECONDS) == "ba"
    assert order(of, known, FAILURE_SECONDS + 1) == "ab"


@pytest.mark.parametrize("status", [400, 404, 413, 499])
def test_what_says_nothing_about_a_target_opens_no_circuit(status: int) -> None:
    known = health(A, B)
    for _ in range(5):
        known.failed(A.name, status, 0.0)
    assert order(route(A, replace(B, priority=1)), known) == "ab"


def test_failures_that_are_far_apart_open_no_circuit() -> None:
    known = health(A)
    known.failed(A.name, 500, 0.0)
    known.failed(A.name, 500, FAILURE_SECONDS + 1)
    assert not known.of(A.name).is_open(FAILURE_SECONDS + 1)


def test_a_slow_target_comes_before_one_that_fails() -> None:
    known = health(A, B)
    paced(known, B, 1.0)
    known.failed(A.name, 500, 0.0)
    known.failed(A.name, 500, 0.0)
    assert order(route(A, replace(B, priority=1, sla=Sla(per_output_token=0.5))), known) == "ba"


def test_one_that_is_no_candidate_is_asked_first_or_not_at_all() -> None:
    alone = replace(A, fallback_candidate=False)
    known = health(A, B)
    assert order(route(alone, replace(B, priority=1)), known) == "ab"
    known.failed(A.name, 500, 0.0)
    known.failed(A.name, 500, 0.0)
    assert order(route(alone, replace(B, priority=1)), known) == "b"


def test_of_targets_that_nobody_has_configured_nothing_is_remembered() -> None:
    known = health(A)
    for _ in range(3):
        known.failed(B.name, 500, 0.0)
        known.served(B.name, Sample(0.0, None, 1.0))
    assert not known.of(B.name).is_open(0.0)
    assert known.of(B.name).pace(0.0) is None


@pytest.mark.parametrize(
    ("total", "first", "tokens", "seconds"), [(3.0, 1.0, 21, 0.1), (2.0, None, 20, 0.1), (2.0, 1.0, 1, 2.0), (2.0, None, 0, 2.0)]
)
def test_the_time_of_a_token_leaves_out_the_wait_for_a_streams_first(
    total: float, first: float | None, tokens: int, seconds: float
) -> None:
    assert per_output_token(total, first, tokens) == pytest.approx(seconds)


# ---- sticky ------------------------------------------------------------------------------------------------------------


def test_a_value_keeps_its_target_and_values_spread_by_weight() -> None:
    of = route(replace(A, weight=80), replace(B, weight=20), strategy="weight")
    sticky, known = Sticky("x-user-id"), health(A, B)
    first = [ordered(of, known, 0.0, sticky_draw(sticky, f"user-{n}", 0.0))[0].model for n in range(CALLS)]
    again = [ordered(of, known, 0.0, sticky_draw(sticky, f"user-{n}", 1e9))[0].model for n in range(CALLS)]
    assert first == again
    assert abs(first.count("a") / CALLS - 0.8) < 0.02


def test_when_a_target_fails_only_its_own_values_move() -> None:
    of = route(A, B, C, strategy="weight")
    sticky, known = Sticky("x-user-id"), health(A, B, C)
    draws = [sticky_draw(sticky, f"user-{n}", 0.0) for n in range(300)]
    before = [ordered(of, known, 0.0, draw)[0].model for draw in draws]
    known.failed(A.name, 500, 0.0)
    known.failed(A.name, 500, 0.0)
    after = [ordered(of, known, 0.0, draw)[0].model for draw in draws]
    assert "a" not in after
    assert all(was in (now, "a") for was, now in zip(before, after, strict=True))


def test_a_choice_is_made_anew_after_its_time_and_not_for_all_values_at_once() -> None:
    of = route(A, B, strategy="weight")
    sticky, known = Sticky("x-user-id", ttl=100.0), health(A, B)

    def chosen(at: float) -> list[str]:
        return [ordered(of, known, 0.0, sticky_draw(sticky, f"user-{n}", at))[0].model for n in range(400)]

    seen = [chosen(at) for at in (0.0, 50.0, 100.0, 150.0)]
    moved = [sum(old != new for old, new in zip(*pair, strict=True)) for pair in pairwise(seen)]
    assert all(50 < count < 150 for count in moved), moved


# ---- what follows a failure --------------------------------------------------------------------------------------------


def course(*targets: RouteTarget, drawn: float = 0.0, **asked: object) -> Course:
    return Course(targets, dict(asked), lambda: drawn)


def with_retry(target: RouteTarget, **changes: object) -> RouteTarget:
    return replace(target, retry=replace(Retry(attempts=3), **changes))  # type: ignore[arg-type]


def test_a_target_is_asked_as_often_as_its_attempts_say_and_then_the_next_one() -> None:
    going = course(with_retry(A), with_retry(B, attempts=1))
    steps = [(going.after(Failure(500), None), going.target.model) for _ in range(4)]
    assert steps == [(0.1, "a"), (0.2, "a"), (0.0, "b"), (None, "b")]


def test_the_wait_doubles_up_to_its_limit_and_chance_takes_up_to_a_half_of_it() -> None:
    retry = Retry(delay=1.0, longest=3.0)
    assert [backoff(retry, tries, 0.0) for tries in (1, 2, 3, 4)] == [1.0, 2.0, 3.0, 3.0]
    assert [backoff(retry, tries, 1.0) for tries in (1, 2, 3, 4)] == [0.5, 1.0, 1.5, 1.5]


def test_a_target_that_says_when_to_come_again_is_waited_for_if_that_is_not_too_long() -> None:
    assert course(with_retry(A)).after(Failure(429, 4.0), None) == 4.0
    assert course(with_retry(A)).after(Failure(429, 0.0), None) == 0.1
    going = course(with_retry(A), B)
    assert (going.after(Failure(429, 60.0), None), going.target.model) == (0.0, "b")
    assert course(with_retry(A)).after(Failure(429, 60.0), None) is None


def test_nothing_is_waited_for_beyond_the_end_of_the_call() -> None:
    going = course(with_retry(A), B)
    assert (going.after(Failure(429, 4.0), 3.0), going.target.model) == (0.0, "b")


def test_a_status_that_is_not_listed_is_neither_tried_again_nor_fallen_back_on() -> None:
    assert course(with_retry(A), B).after(Failure(400), None) is None
    strict = replace(with_retry(A, on_status=frozenset({503})), fallback_on=frozenset({503}))
    assert course(strict, B).after(Failure(500), None) is None


def test_a_target_that_cannot_be_asked_this_is_passed_over() -> None:
    going = course(with_retry(A), B)
    assert (going.after(Failure(400, refused=True), None), going.target.model) == (0.0, "b")
    assert going.after(Failure(400, refused=True), None) is None


def test_the_caller_may_say_how_often_and_on_what() -> None:
    going = course(A, attempts=2)
    assert [going.after(Failure(500), None) for _ in range(2)] == [0.1, None]
    assert course(with_retry(A), on_status=frozenset({503})).after(Failure(500), None) is None
    assert course(with_retry(A, attempts=5), attempts=1).is_last


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([UpstreamFailed("1"), UpstreamFailed("2")], "2"),
        ([RateLimited("1", 9.0), UpstreamFailed("2")], "1"),
        ([RateLimited("1", 9.0), Overloaded("2", 3.0), UpstreamFailed("3")], "2"),
        ([RateLimited("1"), UpstreamFailed("2")], "2"),
        ([UpstreamFailed("1"), UnsupportedParameter("2", "x")], "1"),
        ([UnsupportedParameter("1", "x"), UnsupportedParameter("2", "x")], "2"),
    ],
)
def test_a_caller_is_told_what_helps_most(errors: list[ServiceError], told: str) -> None:
    assert most_telling(errors).message == told


def test_headers_have_room_for_the_names_that_callers_make_up() -> None:
    log = CallLog("chat.completions", "lab/m", stream=True, clock=lambda: 0.0)
    for _ in range(20):
        log.begin(RouteTarget("lab", "🦉" * 200))
        log.end(500)

    assert sum(len(value) for _, value in log.headers()) < 8000
