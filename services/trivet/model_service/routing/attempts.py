"""One call on its way through the targets of its model."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from trivet.kernel.call import Call
from trivet.kernel.catalogue import http_status
from trivet.kernel.errors import RequestTimeout, ServiceError, UnsupportedParameter, UpstreamTimeout
from trivet.model_service.domain.attempts import connect_seconds
from trivet.model_service.domain.routing import TIMED_OUT, RouteTarget
from trivet.model_service.domain.routing_course import Course, Failure, most_telling
from trivet.model_service.domain.routing_health import Health, Sample, per_output_token
from trivet.model_service.routing.log import CallLog
from trivet.model_service.routing.messages import fault_of, has_content, usage_of
from trivet.model_service.routing.options import Options

T = TypeVar("T")

Sleep = Callable[[float], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class _Deadline:
    """When something has to be done, by the time of the loop; and whether it is the caller who says so."""

    at: float
    is_callers: bool


class Attempts:
    """The attempts of one call, each within its deadlines; what they meet goes into the log and the health of the targets.

    `fault` is the error that a target told of by itself, in an answer that its caller has got as it was.
    """

    def __init__(
        self, course: Course, options: Options, log: CallLog, *, health: Health, call: Call | None, sleep: Sleep
    ) -> None:
        self._course = course
        self._options = options
        self._log = log
        self._health = health
        self._call = call
        self._sleep = sleep
        self._errors: list[ServiceError] = []
        self._deadline: _Deadline | None = None
        self._first_token: float | None = None
        self.fault: ServiceError | None = None

    @property
    def target(self) -> RouteTarget:
        """The target that is to be asked now."""
        return self._course.target

    async def whole(self, asking: Callable[[], Awaitable[T]]) -> T:
        """The target's answer in one piece."""
        with self._attempt():
            async with self._until(self._deadline):
                answer = await asking()
        self._take(answer)
        if self.fault is not None and not self._course.is_last:
            raise self.fault
        return answer

    async def begin(self, messages: AsyncGenerator[T]) -> list[T]:
        """The first messages of the target's stream: as far as they have to be there before the caller may be given any.

        While something else could still be tried, that is up to what the model says.
        """
        held: list[T] = []
        with self._attempt():
            first = _deadline(self.target.timeouts.first_token, self._options.first_token_timeout)
            at_once = self._course.is_last and first is None
            async with self._until(_sooner(first, self._deadline)):
                async for message in messages:
                    held.append(message)
                    self._pass(message)
                    if self.fault is not None and not self._course.is_last:
                        raise self.fault
                    if at_once or self._first_token is not None:
                        break
        return held

    async def rest(self, messages: AsyncGenerator[T]) -> AsyncGenerator[T]:
        """What comes after the first messages."""
        if self._deadline is None:
            async for message in messages:
                self._pass(message)
                yield message
            return
        while True:
            async with self._until(self._deadline):
                try:
                    message = await anext(messages)
                except StopAsyncIteration:
                    return
            self._pass(message)
            yield message

    def served(self) -> None:
        """The target has answered to the end."""
        if self.fault is not None:
            self._ended(self.fault)
        elif attempt := self._log.end(200):
            tokens = self._log.usage.output_tokens if self._log.usage else 0
            pace = per_output_token(attempt.seconds, self._first_token, tokens)
            self._health.served(attempt.target, Sample(self._log.now(), self._first_token, pace))

    def broke(self, error: ServiceError) -> None:
        """The target failed when its caller had been given something: nothing else can be tried."""
        self._ended(error)

    async def failed(self, error: ServiceError) -> None:
        """The target failed: wait for the next attempt. Raises what the caller is to be told where there is none."""
        self.fault = None
        failure = self._ended(error)
        self._errors.append(error)
        remaining = self._call.time_remaining() if self._call else None
        wait = self._course.after(failure, remaining)
        if wait is None:
            raise most_telling(self._errors)
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
                self._health.failed(self.target.name, status, self._log.now())
        return Failure(status, error.retry_after, refused)

    def _take(self, message: object) -> None:
        self._log.usage = usage_of(message) or self._log.usage
        self.fault = fault_of(message) or self.fault

    def _pass(self, message: object) -> None:
        self._take(message)
        if self._first_token is None and has_content(message):
            self._first_token = self._log.reached()

    @contextmanager
    def _attempt(self) -> Iterator[None]:
        self._log.begin(self.target)
        self._first_token = None
        self._deadline = _deadline(self.target.timeouts.total, self._options.timeout)
        token = connect_seconds.set(self.target.timeouts.connect)
        try:
            yield
        finally:
            connect_seconds.reset(token)

    @asynccontextmanager
    async def _until(self, deadline: _Deadline | None) -> AsyncIterator[None]:
        """Ends the block in time. Raises RequestTimeout or UpstreamTimeout, by whose deadline it was."""
        if deadline is None:
            yield
            return
        try:
            async with asyncio.timeout_at(deadline.at) as scope:
                yield
        except TimeoutError:
            if not scope.expired():
                raise
            raise self._too_late(deadline) from None

    def _too_late(self, deadline: _Deadline) -> ServiceError:
        error: ServiceError
        if deadline.is_callers:
            error = RequestTimeout("The model did not answer within the time that the request gives it.")
        else:
            error = UpstreamTimeout(f"The provider `{self.target.provider}` did not answer in time.")
        error.upstream_status = TIMED_OUT
        return error


def _deadline(configured: float | None, asked: float | None) -> _Deadline | None:
    """The one of these numbers of seconds from now that is over first."""
    return _sooner(_from_now(configured, is_callers=False), _from_now(asked, is_callers=True))


def _from_now(seconds: float | None, *, is_callers: bool) -> _Deadline | None:
    return None if seconds is None else _Deadline(asyncio.get_running_loop().time() + seconds, is_callers)


def _sooner(*deadlines: _Deadline | None) -> _Deadline | None:
    return min((given for given in deadlines if given is not None), key=lambda given: given.at, default=None)
