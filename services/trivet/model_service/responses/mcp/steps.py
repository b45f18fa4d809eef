"""What a run remembers of its calls, so that whoever takes it up repeats none that had finished."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from trivet.kernel.codec.message_codec import codec_for
from trivet.model.v1.response_item_mcp_pb2 import McpCall
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_pb2 import ResponseUsage

_TURN = "turn:"
_CALL = "call:"


@dataclass(frozen=True, slots=True)
class Step:
    """Something to be made durable, together with every event that was told before it, before the run goes on."""

    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class RecordedTurn:
    """A turn that asked for calls; number 0 stands for calls that were allowed before the first turn.

    `items` are its calls, those that are not to be made already failed, and requests for approval behind them. `is_last`:
    somebody else has to answer before the response can go on. `shown` is how many items the output had by then, `usage`
    what all turns so far took, None if nobody told.
    """

    number: int
    items: Sequence[Item]
    is_last: bool
    shown: int
    usage: ResponseUsage | None = None

    @property
    def to_run(self) -> list[McpCall]:
        """The calls that are to be made."""
        return [item.mcp_call for item in self.items if item.mcp_call.status == "in_progress"]

    def step(self) -> Step:
        """The turn as a step."""
        usage = orjson.Fragment(codec_for(ResponseUsage).dumps(self.usage)) if self.usage is not None else None
        items = [orjson.Fragment(codec_for(Item).dumps(item)) for item in self.items]
        data = {"items": items, "is_last": self.is_last, "shown": self.shown, "usage": usage}
        return Step(f"{_TURN}{self.number}", orjson.dumps(data))

    @classmethod
    def from_step(cls, number: int, data: bytes) -> "RecordedTurn":
        """The turn of a step."""
        read = orjson.loads(data)
        usage = codec_for(ResponseUsage).decode(read["usage"]) if read["usage"] is not None else None
        items = [codec_for(Item).decode(item) for item in read["items"]]
        return cls(number, items, read["is_last"], read["shown"], usage)


@dataclass(frozen=True, slots=True)
class RecordedSteps:
    """The steps of a run: its turns, the oldest first, and its finished calls by id."""

    turns: Sequence[RecordedTurn] = ()
    calls: Mapping[str, McpCall] = field(default_factory=dict)

    @classmethod
    def read(cls, steps: Mapping[str, bytes]) -> "RecordedSteps":
        """The steps of a run that is taken up."""
        numbers = sorted(int(name.removeprefix(_TURN)) for name in steps if name.startswith(_TURN))
        turns = [RecordedTurn.from_step(number, steps[f"{_TURN}{number}"]) for number in numbers]
        finished = {name.removeprefix(_CALL): data for name, data in steps.items() if name.startswith(_CALL)}
        return cls(turns, {name: codec_for(McpCall).loads(data) for name, data in finished.items()})


def call_step(call: McpCall) -> Step:
    """A finished call as a step."""
    return Step(f"{_CALL}{call.id}", codec_for(McpCall).dumps(call))
