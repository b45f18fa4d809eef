"""What went wrong in a transaction, and what follows from it."""

import sqlite3
from typing import Literal

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from trivet.model_service.adapters.store.link import Undecided

Fault = Literal["away", "again", "own"]

# The first two characters of what PostgreSQL calls an error: a connection that broke, a transaction that another one stood in
# the way of, a server that stops or starts. The connection is dropped in any case, and the next one may do.
_PASSING = ("08", "40", "57")
_OUT_OF_RESOURCES = ("53", "55", "58")


def fault_of(error: BaseException) -> Fault:
    """`away`: the database cannot be reached. `again`: nothing was done, and trying again may do. `own`: it is the work's own."""
    if isinstance(error, DBAPIError):
        kind = str(getattr(error.orig, "sqlstate", None) or "")[:2]
        if error.connection_invalidated or kind in _PASSING:
            return "again"
        return "away" if kind in _OUT_OF_RESOURCES or isinstance(error, OperationalError | InterfaceError) else "own"
    return "away" if isinstance(error, OSError | Undecided | sqlite3.OperationalError) else "own"


def reason_of(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    told = error.orig if isinstance(error, DBAPIError) else error
    return str(told) or type(told).__name__
