"""How items of MCP come in the stream of a response."""

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Any, Final

from trivet.model.v1 import response_event_tool_pb2 as body
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_item_mcp_pb2 import McpCall, McpListTools
from trivet.model.v1.response_item_pb2 import Item
from trivet.model_service.faces.responses_interrupted import InterruptedItem
from trivet.model_service.responses.assembly import Assembly
from trivet.model_service.responses.item_ids import new_item_id
from trivet.model_service.responses.mcp.tools import Listing, definition

_Events = list[ResponseEvent]


class ItemShow:
    """One item that comes in events of its own. What a response that was taken up has said of it is not said again."""

    def __init__(self, assembly: Assembly, item_id: str) -> None:
        self._assembly = assembly
        self._id = item_id
        self._index = -1
        self.said: InterruptedItem | None = assembly.reopen(item_id)
        self.begun = False

    def begin(self, item: Item) -> _Events:
        """The item as it begins."""
        self.begun = True
        if self.said is not None:
            self._index = self.said.output_index
            return []
        self._index, added = self._assembly.open(item)
        return [added]

    def tell(self, **events: Any) -> _Events:
        """Further events of the item, by their names in `ResponseEvent`, unless they were told before: where they belong is told here."""
        told: _Events = []
        for kind, said in events.items():
            if self.said is None or kind not in self.said.seen:
                said.item_id, said.output_index = self._id, self._index
                said.sequence_number = self._assembly.next_number
                self._assembly.next_number += 1
                told.append(ResponseEvent(**{kind: said}))
        return told

    def done(self, item: Item) -> ResponseEvent:
        """The item as it is in the end."""
        return self._assembly.done(self._index, item)


class CallShow:
    """Shows the calls of a turn and its requests for approval: one after another, each as soon as there is something to tell.

    What `done` names has been shown before.
    """

    def __init__(self, assembly: Assembly, items: Sequence[Item], done: Collection[str] = ()) -> None:
        self._waiting: deque[tuple[Item, ItemShow]] = deque()
        for item in items:
            if (name := call_id(item)) not in done:
                self._waiting.append((item, ItemShow(assembly, name)))
        self._finished: dict[str, Item] = {}

    def finish(self, call: McpCall) -> _Events:
        """The events that can be told now that this call has finished."""
        self._finished[call.id] = Item(mcp_call=call)
        return self.advance()

    def advance(self) -> _Events:
        """The events that can be told now."""
        events: _Events = []
        while self._waiting:
            item, shown = self._waiting[0]
            if item.HasField("mcp_approval_request"):
                events += [*shown.begin(item), shown.done(item)]
            else:
                if not shown.begun:
                    events += _call_begins(item.mcp_call, shown)
                finished = self._finished.get(item.mcp_call.id)
                if finished is None:
                    break
                how = "completed" if finished.mcp_call.status == "completed" else "failed"
                events += [*shown.tell(**{f"mcp_call_{how}": body.ItemProgressEvent()}), shown.done(finished)]
            self._waiting.popleft()
        return events


class ListingShow:
    """Shows the tools of the servers that the conversation does not know yet."""

    def __init__(self, assembly: Assembly, listings: Iterable[Listing], known: Collection[str]) -> None:
        begun = {item.mcp_list_tools.server_label: item.mcp_list_tools.id for item in assembly.interrupted}
        self._shown = [
            (listing, item_id, ItemShow(assembly, item_id))
            for listing in listings
            if listing.server.label not in known
            for item_id in [begun.get(listing.server.label) or new_item_id("mcp_list_tools")]
        ]

    def events(self) -> _Events:
        """All of it."""
        events: _Events = []
        for listing, item_id, shown in self._shown:
            events += _listing(listing, item_id, shown)
        return events


def call_id(item: Item) -> str:
    """The id of a call, or of a request for its approval."""
    return item.mcp_call.id or item.mcp_approval_request.id


def listed(items: Iterable[Item]) -> dict[str, McpListTools]:
    """The servers whose tools are listed among `items`, by label; the last list of each."""
    return {
        item.mcp_list_tools.server_label: item.mcp_list_tools
        for item in items
        if item.HasField("mcp_list_tools") and not item.mcp_list_tools.error
    }


_IN_PROGRESS: Final = "in_progress"


def _call_begins(call: McpCall, shown: ItemShow) -> _Events:
    begun = McpCall()
    begun.CopyFrom(call)
    begun.status, begun.arguments = _IN_PROGRESS, ""
    begun.ClearField("error")
    events = shown.begin(Item(mcp_call=begun))
    return events + shown.tell(
        mcp_call_in_progress=body.ItemProgressEvent(),
        mcp_call_arguments_delta=body.ItemDeltaEvent(delta=call.arguments),
        mcp_call_arguments_done=body.ArgumentsDoneEvent(arguments=call.arguments),
    )


def _listing(listing: Listing, item_id: str, shown: ItemShow) -> _Events:
    item = Item(mcp_list_tools=McpListTools(id=item_id, server_label=listing.server.label))
    events = shown.begin(item)
    if listing.error is None:
        item.mcp_list_tools.tools.extend(map(definition, listing.tools))
        how = "completed"
    else:
        item.mcp_list_tools.error = listing.error.message
        how = "failed"
    ended = {f"mcp_list_tools_{how}": body.ItemProgressEvent()}
    return [*events, *shown.tell(mcp_list_tools_in_progress=body.ItemProgressEvent(), **ended), shown.done(item)]
