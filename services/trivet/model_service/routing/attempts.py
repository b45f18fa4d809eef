"""One call on its way through the targets of its model."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from trivet.kernel.catalogue import http_status
from trivet.kernel.errors import RequestTimeout, ServiceError, UnsupportedParameter, UpstreamTimeout
from trivet.model_service.domain.attempts import connect_seconds
from trivet.model_service.domain.routing import TIMED_OUT, RouteTarget
from trivet.model_service.domain.routing_course import Course, Failure, most_telling
from trivet.model_service.domain.routing_health import Health, Sample, per_output_token
from trivet.model_service.routing.log import CallLog
from trivet.model_service.routing.messages import has_content, told_by

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Deadline:
    """When something has to be done, by the time of the loop; and whether it is the caller who says so."""

    at: float
    is_callers: bool


class Attempts:
    """The attempts of one call, each within its deadlines; what they meet goes into the log and the health of the targets.

    `fault` is the error that a target told of by itself, in an answer that its caller has got as it was. `is_bounded` says whether
    anything bounds the attempt but the call itself. Nearly every call has one attempt without: what others need is made when it is
    needed.
    """

    __slots__ = (
        "_deadline",
        "_draw",
        "_errors",
        "_first_token",
        "_going",
        "_health",
        "_log",
        "_sleep",
        "_target",
        "_targets",
        "fault",
        "is_bounded",
    )

    def __init__(
        self, targets: Sequence[RouteTarget], log: CallLog, *, health: Health, draw: Callable[[], float], sleep: Sleep
    ) -> None:
        """The `targets` are in the order in which they are asked."""
        self._targets = targets
        self._target = targets[0]
        self._log = log
        self._health = health
        self._draw = draw
        self._sleep = sleep
        self._going: Course | None = None
        self._errors: list[ServiceError] | None = None
        self._deadline: _Deadline | None = None
        self._first_token: float | None = None
        self.is_bounded = False
        self.fault: ServiceError | None = None

    def start(self) -> RouteTarget:
        """The target to ask now; its attempt begins."""
        target = self._target
        self._log.begin(target)
        self._first_token = None
        total, asked = target.timeouts.total, self._log.options.timeout
        self._deadline = None if total is None and asked is None else _deadline(total, asked)
        self.is_bounded = self._deadline is not None or target.timeouts.connect is not None
        return target

    @property
    def _course(self) -> Course:
        """What follows if the attempt fails."""
        if self._going is None:
            self._going = Course(self._targets, self._log.options.retry, self._draw)
        return self._going

    @property
    def _is_last(self) -> bool:
        """Whether nothing is left to do if the attempt fails."""
        if self._going is None and len(self._targets) == 1 and not self._log.options.retry:
            return self._target.retry.attempts <= 1
        return self._course.is_last

    # ---- an answer in one piece ------------------------------------------------------------------------------------

    async def in_time(self, answer: Awaitable[T]) -> T:
        """The answer within the bounds of the attempt."""
        async with self._until(self._deadline):
            return await answer

    def answered(self, answer: object) -> None:
        """Take note of an answer. Raises the error that it tells of where something else could still be tried."""
        self._log.usage, self.fault = told_by(answer)
        if self.fault is not None and not self._is_last:
            raise self.fault

    # ---- a stream --------------------------------------------------------------------------------------------------

    def begin(self, messages: AsyncGenerator[T]) -> Coroutine[Any, Any, list[T]]:
        """The first messages of the target's stream: as far as they have to be there before the caller may be given any.

        While something else could still be tried, that is up to what the model says.
        """
        timeouts, asked = self._target.timeouts, self._log.options.first_token_timeout
        if timeouts.first_token is None and asked is None and not self.is_bounded:
            return self._held(messages, at_once=self._is_last)
        return self._held_in_time(messages, _deadline(timeouts.first_token, asked))

    def rest(self, messages: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """What comes after the first messages, within the bounds of the attempt; the same iterator where it has none."""
        return messages if self._deadline is None else self._each_in_time(messages, self._deadline)

    async def close(self, rest: AsyncGenerator[T], messages: AsyncGenerator[T]) -> None:
        """Close what came after the first messages, and all of them."""
        await rest.aclose()
        if rest is not messages:
            # What nobody has begun to read closes nothing of what it reads from.
            await messages.aclose()

    def passed(self, message: object) -> None:
        """Take note of a message of a stream."""
        usage, fault = told_by(message)
        if usage is not None:
            self._log.usage = usage
        if fault is not None:
            self.fault = fault
        if self._first_token is None and has_content(message):
            self._first_token = self._log.reached()

    async def _held(self, messages: AsyncGenerator[T], *, at_once: bool) -> list[T]:
        held: list[T] = []
        async for message in messages:
            held.append(message)
            self.passed(message)
            if self.fault is not None and not self._is_last:
                raise self.fault
            if at_once or self._first_token is not None:
                break
        return held

    async def _held_in_time(self, messages: AsyncGenerator[T], first: _Deadline | None) -> list[T]:
        async with self._until(_sooner(first, self._deadline)):
            return await self._held(messages, at_once=self._is_last and first is None)

    async def _each_in_time(self, messages: AsyncGenerator[T], deadline: _Deadline) -> AsyncGenerator[T]:
        while True:
            async with self._until(deadline):
                try:
                    message = await anext(messages)
                except StopAsyncIteration:
                    return
            yield message

    # ---- how it ends -----------------------------------------------------------------------------------------------

    def served(self) -> None:
        """The target has answered to the end."""
        if self.fault is not None:
            self._ended(self.fault)
        elif (attempt := self._log.end(200)) and attempt.target in self._health.targets:
            tokens = self._log.usage.output_tokens if self._log.usage else 0
            pace = per_output_token(attempt.seconds, self._first_token, tokens)
            self._health.served(attempt.target, Sample(self._log.now(), self._first_token, pace))

    def broke(self, error: ServiceError) -> None:
        """The target failed when its caller had been given something: nothing else can be tried, and nothing was served."""
        self._ended(error)
        self.fault = None

    async def failed(self, error: ServiceError) -> None:
        """The target failed: wait for the next attempt. Raises what the caller is to be told where there is none."""
        self.fault = None
        failure = self._ended(error)
        self._errors = [*(self._errors or ()), error]
        remaining = self._log.rpc.time_remaining() if self._log.rpc else None
        wait = self._course.after(failure, remaining)
        if wait is None:
            raise most_telling(self._errors)
        self._target = self._course.target
        if wait:
            await self._sleep(wait)

    def _ended(self, error: ServiceError) -> Failure:
        refused = isinstance(error, UnsupportedParameter)
        status = error.upstream_status or http_status(error)
        if refused:
            self._log.withdraw()
        else:
            self._log.end(status)
            # How little time a caller gives is no fault of the target: others would have to do without it.
            if not isinstance(error, RequestTimeout):
                self._health.failed(self._target.name, status, self._log.now())
        return Failure(status, error.retry_after, refused)

    # ---- bounds ----------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def _until(self, deadline: _Deadline | None) -> AsyncIterator[None]:
        """Ends the block in time, connecting included. Raises RequestTimeout or UpstreamTimeout, by whose deadline it was."""
        token = connect_seconds.set(self._target.timeouts.connect)
        try:
            async with asyncio.timeout_at(deadline.at if deadline else None) as scope:
                yield
        except TimeoutError:
            if deadline is None or not scope.expired():
                raise
            raise self._too_late(deadline) from None
        finally:
            connect_seconds.reset(token)

    def _too_late(self, deadline: _Deadline) -> ServiceError:
        error: ServiceError
        if deadline.is_callers:
            error = RequestTimeout("The model did not answer within the time that the request gives it.")
        else:
            error = UpstreamTimeout(f"The provider `{self._target.provider}` did not answer in time.")
        error.upstream_status = TIMED_OUT
        return error


def _deadline(configured: float | None, asked: float | None) -> _Deadline | None:
    """The one of these numbers of seconds from now that is over first."""
    if configured is None and asked is None:
        return None
    return _sooner(_from_now(configured, is_callers=False), _from_now(asked, is_callers=True))


def _from_now(seconds: float | None, *, is_callers: bool) -> _Deadline | None:
    return None if seconds is None else _Deadline(asyncio.get_running_loop().time() + seconds, is_callers)


def _sooner(*deadlines: _Deadline | None) -> _Deadline | None:
    return min((given for given in deadlines if given is not None), key=lambda given: given.at, default=None)
