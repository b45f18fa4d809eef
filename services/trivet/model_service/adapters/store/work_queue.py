"""The SQL of the queue and of the claims on what is in it."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, case, false, func, select, text, true, update

from trivet.model_service.adapters.store.lane import each
from trivet.model_service.adapters.store.responses import RESPONSE, response_of
from trivet.model_service.adapters.store.schema import Now, responses, work
from trivet.model_service.domain.store import StoredResponse

_CLAIM_LOCK = 7_486_948_202


@dataclass(frozen=True, slots=True)
class Claim:
    """Who wants something to do, how long the claim is to last, and how many of one owner may be worked on."""

    runner: str
    lease: float
    per_owner: int = 0


_WAITING = select(func.count(), func.coalesce(func.sum(case((work.c.owner == bindparam("of_owner"), 1), else_=0)), 0)).where(
    work.c.status == "queued"
)

_unclaimed = work.c.lease_until <= Now()
_busy = (
    select(work.c.owner)
    .where(work.c.background == true(), work.c.lease_until > Now())
    .group_by(work.c.owner)
    .having(func.count() >= bindparam("per_owner"))
)
# What a change is being made to is left for the next time: who makes it may be about to end it.
_NEXT = (
    select(work.c.response_id)
    .where(work.c.background == true(), _unclaimed, work.c.owner.not_in(_busy))
    .order_by(work.c.position)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_STRAY = (
    select(work.c.response_id)
    .where(work.c.background == false(), _unclaimed)
    .order_by(work.c.position)
    .limit(1)
    .with_for_update(skip_locked=True)
)
_claimed = {"runner": bindparam("to_runner"), "lease_until": Now() + bindparam("lease")}
_TAKE = update(work).where(work.c.response_id == bindparam("of_id")).values(_claimed)
# In the order in which changes lock them.
_owned = select(work.c.response_id).where(work.c.runner == bindparam("of_runner")).order_by(work.c.response_id).with_for_update()
_RENEW = (
    update(work)
    .where(work.c.response_id.in_(_owned))
    .values(lease_until=Now() + bindparam("lease"))
    .returning(work.c.response_id)
)
_RELEASE = update(work).where(work.c.response_id.in_(_owned)).values(runner="", lease_until=0.0)
_RESPONSE = select(*RESPONSE).where(responses.c.id == bindparam("of_id"))


@each
def waiting(connection: Connection, owner: str) -> tuple[int, int]:
    """How many are queued, of all and of the owner."""
    of_all, of_owner = connection.execute(_WAITING, {"of_owner": owner}).one()
    return int(of_all), int(of_owner)


@each
def claim(connection: Connection, wanted: Claim) -> StoredResponse | None:
    """The next response of the background to work on."""
    if connection.dialect.name == "postgresql":
        # One at a time: two that count the same owner's at once would both find room. SQLite has one writer anyway.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _CLAIM_LOCK})
    found = connection.execute(_NEXT, {"per_owner": wanted.per_owner}).scalar()
    return _claim(connection, found, wanted)


@each
def claim_stray(connection: Connection, wanted: Claim) -> StoredResponse | None:
    """A response of the foreground whose runner is no more."""
    return _claim(connection, connection.execute(_STRAY).scalar(), wanted)


def _claim(connection: Connection, response_id: str | None, wanted: Claim) -> StoredResponse | None:
    if response_id is None:
        return None
    connection.execute(_TAKE, {"of_id": response_id, "to_runner": wanted.runner, "lease": wanted.lease})
    return response_of(connection.execute(_RESPONSE, {"of_id": response_id}).one())


@each
def take(connection: Connection, wanted: tuple[str, str, float]) -> bool:
    """Whether there was this response to claim, for a runner, for some seconds."""
    response_id, runner, lease = wanted
    return connection.execute(_TAKE, {"of_id": response_id, "to_runner": runner, "lease": lease}).rowcount > 0


@each
def renew(connection: Connection, wanted: Claim) -> Sequence[str]:
    """What the runner has a claim on, which now lasts again."""
    return connection.execute(_RENEW, {"of_runner": wanted.runner, "lease": wanted.lease}).scalars().all()


@each
def release(connection: Connection, runner: str) -> None:
    """Give up all claims of the runner."""
    connection.execute(_RELEASE, {"of_runner": runner})
