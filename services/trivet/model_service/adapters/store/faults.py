"""What went wrong in a transaction, and what follows from it."""

from typing import Literal

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from trivet.model_service.adapters.store.link import Undecided

Fault = Literal["away", "again", "own"]

_DEADLOCK = "40P01"
_NOT_SERIALIZABLE = "40001"


def fault_of(error: BaseException) -> Fault:
    """`away`: the database cannot be reached. `again`: nothing was done, and trying again may do. `own`: it is the work's own."""
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or getattr(error.orig, "sqlstate", None) in (_DEADLOCK, _NOT_SERIALIZABLE):
            return "again"
        return "away" if isinstance(error, OperationalError | InterfaceError) else "own"
    return "away" if isinstance(error, OSError | Undecided) else "own"


def reason_of(error: BaseException) -> str:
    """What the database said, without the statement and its values."""
    told = error.orig if isinstance(error, DBAPIError) else error
    return str(told) or type(told).__name__
