"""Why there is no answer, or no more of it."""


class HttpError(Exception):
    """The call has failed; its connection is closed."""


class UnreachableError(HttpError):
    """There is no connection to be had, or nothing that could be sent on one."""


class BrokenError(HttpError):
    """The connection, or what came on it, ended or went wrong before the end of the answer."""


class LateError(HttpError):
    """The connection, the answer, or the next piece of it, did not come in time."""
