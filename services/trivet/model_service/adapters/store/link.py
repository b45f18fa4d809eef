"""What a lane of the store works over: a connection that is opened when it is needed, and again after a failure."""

import asyncio
from collections.abc import Callable
from typing import Protocol, TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

T = TypeVar("T")


class Link(Protocol):
    """One connection to the database, for one piece of work at a time."""

    def run(self, work: Callable[[Connection], T]) -> "asyncio.Future[T]":
        """Do `work` in a transaction, or on a link that only reads, without one; what it raises is the future's."""
        ...

    async def aclose(self) -> None:
        """Close the connection."""
        ...


class Undecided(Exception):  # noqa: N818 - says what is known
    """The connection broke while a transaction was committed: it may have been, or not."""


def transact(connection: Connection, work: Callable[[Connection], T]) -> T:
    """What `work` returns, once it is committed.

    Raises:
        Undecided: see there.
    """
    performed = False
    try:
        with connection.begin():
            result = work(connection)
            performed = True
    except DBAPIError as error:
        if performed:
            raise Undecided(str(error.orig)) from error
        raise
    return result
