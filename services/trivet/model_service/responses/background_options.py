"""What may be asked of work in the background: that it is begun as soon as there is room for it, as it always is."""

from typing import Final

from trivet.kernel.errors import UnsupportedParameter
from trivet.model.v1.response_request_pb2 import BackgroundOptions
from trivet.model_service.faces.unknown_keys import unknown_keys

_SOONEST: Final = "soonest"


def check_background_options(options: BackgroundOptions) -> None:
    """Raises UnsupportedParameter for options that would have no effect."""
    if options.HasField("completion_window") and options.completion_window != _SOONEST:
        where = "background_options.completion_window"
        told = f"Work in the background cannot be put off: '{where}' is '{_SOONEST}', or left out."
        raise UnsupportedParameter(told, where)
    beside = ["continuation_id"] if options.HasField("continuation_id") else unknown_keys(options)
    for name in beside:
        where = f"background_options.{name:.80}"
        raise UnsupportedParameter(f"Work in the background cannot be given '{where}'.", where)
