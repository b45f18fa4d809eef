"""The port behind which responses and conversations are kept, and the work that is done in the background.

Everything belongs to an `owner`, the name of the key that made it: nobody else finds it. What a method writes is durable when
it returns. Items, responses, events and requests are kept as the bytes that callers give; the store never reads them. Times
are seconds since 1970.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from trivet.model_service.domain.usage import UsageStore

Order = Literal["asc", "desc"]


# Nobody changes any of these; those of every call are not frozen, because that takes several times as long to make.


@dataclass(slots=True)
class StoredResponse:
    """A response. `input` is its own, without what it went on from; `response` is how it stands now.

    `status` is that of the API: `queued`, `in_progress`, or how it ended. `streamed`: it has events. `request` is what a run
    in the background needs, for nobody else to read, and is gone when it has ended. `expires_at`: 0 for when the retention
    of the store says; nothing expires before it has ended. `item_ids` are those of its input and output that it is to be found by:
    told when it is kept, and not told again.
    """

    id: str
    owner: str
    created_at: int
    status: str
    input: bytes
    response: bytes
    background: bool = False
    streamed: bool = False
    previous_id: str = ""
    conversation_id: str = ""
    request: bytes = b""
    expires_at: int = 0
    item_ids: Sequence[str] = field(default=(), compare=False)


@dataclass(frozen=True, slots=True)
class StoredEvents:
    """Events of a response that were stored together: those with the numbers `first` to `last`."""

    first: int
    last: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item of a conversation."""

    id: str
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredConversation:
    """A conversation, without its items."""

    id: str
    owner: str
    created_at: int
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Change:
    """What becomes of a response at once, or not at all.

    `steps` are what a run wants to remember if it has to be taken up again, by name. `items` are added to the response's
    conversation, if that still is there. A status that ends the response also ends the claim on it. `expires_at`: 0 for no
    change. `item_ids` are those of items that the response has from now on, and that it is to be found by.
    """

    events: Sequence[StoredEvents] = ()
    steps: Mapping[str, bytes] = field(default_factory=dict)
    items: Sequence[StoredItem] = ()
    status: str = ""
    response: bytes = b""
    expires_at: int = 0
    item_ids: Sequence[str] = ()


class ResponseStore(Protocol):
    """Keeps responses."""

    async def add(self, response: StoredResponse, change: Change = ..., *, runner: str = "") -> None:
        """Keep a new response, and with it what `change` has; claimed by `runner` from the start, if one is given."""
        ...

    async def get(self, response_id: str, owner: str) -> StoredResponse | None:
        """The response; None if the owner has none such, or no more."""
        ...

    async def lineage(self, response_id: str, owner: str) -> Sequence[StoredResponse]:
        """The response and all that it went on from, the oldest first; empty where `get` finds none.

        Those that it went on from are there even if they were deleted or have expired: a history is whole.
        """
        ...

    async def change(self, response_id: str, change: Change, *, runner: str = "") -> bool:
        """Whether the change was made: not if the response is gone, has ended, or `runner` is given and has no claim on it."""
        ...

    async def delete(self, response_id: str, owner: str) -> bool:
        """Whether there was such a response. Its events go; what others went on from stays until they are gone too."""
        ...

    async def events(self, response_id: str, after: int, limit: int = 200) -> Sequence[StoredEvents]:
        """The first `limit` batches with an event numbered above `after` (-1: all), in order."""
        ...

    async def holders(self, item_ids: Collection[str], owner: str) -> Mapping[str, StoredResponse]:
        """For each of these items that responses of the owner have, in their own input or output, the newest that does.

        Without its `request`.
        """
        ...

    async def steps(self, response_id: str) -> Mapping[str, bytes]:
        """What a run remembered."""
        ...


class WorkQueue(Protocol):
    """Hands responses to the processes that work on them; a runner is one process, by a name of its own.

    A claim lasts for some seconds unless it is renewed: a process that was killed loses its claims by itself.
    """

    async def waiting(self, owner: str) -> tuple[int, int]:
        """How many responses are queued: of all owners, and of this one."""
        ...

    async def claim(self, runner: str, per_owner: int) -> StoredResponse | None:
        """The oldest background response that is queued, or whose runner lost its claim, now claimed by `runner`.

        Not one of an owner of whom `per_owner` are being worked on already, in all processes.
        """
        ...

    async def claim_stray(self, runner: str) -> StoredResponse | None:
        """A response that is in progress, not in the background, and whose runner lost its claim, now claimed by `runner`."""
        ...

    async def renew(self, runner: str) -> Sequence[str]:
        """Renew all claims of `runner`; the responses that it still has a claim on."""
        ...

    async def take(self, response_id: str, runner: str) -> bool:
        """Claim a response that has not ended, whoever had the claim; whether there was one to claim."""
        ...

    async def release(self, runner: str) -> None:
        """Give up all claims of `runner`, for others to go on at once."""
        ...


class ConversationStore(Protocol):
    """Keeps conversations."""

    async def add_conversation(self, conversation: StoredConversation, items: Sequence[StoredItem]) -> None:
        """Keep a new conversation."""
        ...

    async def get_conversation(self, conversation_id: str, owner: str) -> StoredConversation | None:
        """The conversation; None if the owner has none such."""
        ...

    async def update_conversation(self, conversation_id: str, owner: str, metadata: Mapping[str, str]) -> bool:
        """Whether there was such a conversation, whose notes now are these."""
        ...

    async def delete_conversation(self, conversation_id: str, owner: str) -> bool:
        """Whether there was such a conversation."""
        ...

    async def add_items(self, conversation_id: str, items: Sequence[StoredItem]) -> bool:
        """Add items at the end, all or none: False if one has the id of an item that is there."""
        ...

    async def items(self, conversation_id: str) -> Sequence[StoredItem]:
        """All items, the oldest first."""
        ...

    async def list_items(
        self, conversation_id: str, *, after: str = "", limit: int = 20, order: Order = "desc"
    ) -> Sequence[StoredItem] | None:
        """At most `limit` items after the item `after` in this order ("": from the first); None if there is no such item."""
        ...

    async def get_item(self, conversation_id: str, item_id: str) -> StoredItem | None:
        """One item."""
        ...

    async def find_items(self, item_ids: Collection[str], owner: str) -> Sequence[StoredItem]:
        """Those of these items that are in a conversation of the owner, whichever it is."""
        ...

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        """Whether there was such an item."""
        ...


class Store(ResponseStore, WorkQueue, ConversationStore, UsageStore, Protocol):
    """All that is kept, in one place."""

    async def sweep(self) -> int:
        """Remove what has expired, and the oldest of what is more than the store may hold; how many responses went."""
        ...
