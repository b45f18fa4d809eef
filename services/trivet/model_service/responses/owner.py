"""Whose responses and conversations a call is about."""

from trivet.kernel.call import current_call


def current_owner() -> str:
    """The name of the key of the current call; "" where no keys are needed."""
    call = current_call.get()
    return (call.principal or "") if call is not None else ""
