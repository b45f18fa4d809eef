"""The store over a database: its methods, and how it is opened."""

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from trivet.model_service.adapters.store import conversations, references, removal, responses, usage, work_queue
from trivet.model_service.adapters.store.faults import reason_of
from trivet.model_service.adapters.store.lane import Lane
from trivet.model_service.adapters.store.migrating import NewerTables
from trivet.model_service.adapters.store.sealing import Seal, secret_beside
from trivet.model_service.adapters.store.sqlite import SqliteLink
from trivet.model_service.domain.store import (
    Change,
    Order,
    Store,
    StoredConversation,
    StoredEvents,
    StoredItem,
    StoredResponse,
)
from trivet.model_service.domain.usage import UsageFilter, UsageQuery, UsageRecord, UsageReport
from trivet.model_service.settings import CannotOpenStore, StoreSettings
from trivet.model_service.usage_settings import UsageSettings

_NO_CHANGE = Change()
_USAGE = UsageSettings()
_DAY = 86_400.0

# Of what waits, at most so much goes into one transaction.
_AT_ONCE = 64
_POSTGRES_WRITERS = 2
_POSTGRES_READERS = 4


@dataclass(frozen=True, slots=True)
class Lanes:
    """Where work goes: what is written of calls all the time, what else is written, what is read, and what takes long to read."""

    recording: Lane
    writing: Lane
    reading: Lane
    reporting: Lane


class SqlStore(Store):
    """The port `Store` over lanes to a database; `open_store` makes it."""

    def __init__(self, settings: StoreSettings, usage_settings: UsageSettings, lanes: Lanes, seal: Seal) -> None:
        self._settings = settings
        self._usage_settings = usage_settings
        self._lease = settings.claim_seconds
        self._recording = lanes.recording
        self._writing = lanes.writing
        self._reading = lanes.reading
        self._reporting = lanes.reporting
        self._seal = seal

    # ---- responses ---------------------------------------------------------------------------------------------------

    async def add(self, response: StoredResponse, change: Change = _NO_CHANGE, *, runner: str = "") -> None:
        if response.request:
            response = replace(response, request=self._seal.seal(response.request))
        await self._recording.do(responses.add_many, responses.Addition(response, change, runner, self._lease))

    async def get(self, response_id: str, owner: str) -> StoredResponse | None:
        if not _may_be_ours(response_id):
            return None
        return self._unsealed(await self._reading.do(responses.get_many, (response_id, owner)))

    async def lineage(self, response_id: str, owner: str) -> Sequence[StoredResponse]:
        """As the port says; also empty where one that it went on from is lost, because it was deleted in that moment."""
        if not _may_be_ours(response_id):
            return ()
        return await self._reading.do(responses.lineage, (response_id, owner))

    async def change(self, response_id: str, change: Change, *, runner: str = "") -> bool:
        """As the port says; items whose ids are in the conversation already are left out."""
        return await self._recording.do(responses.change_many, responses.Alteration(response_id, change, runner))

    async def delete(self, response_id: str, owner: str) -> bool:
        return _may_be_ours(response_id) and await self._writing.do(removal.delete_response, (response_id, owner))

    async def events(self, response_id: str, after: int, limit: int = 200) -> Sequence[StoredEvents]:
        return await self._reading.do(responses.events_after, (response_id, after, limit))

    async def holders(self, item_ids: Collection[str], owner: str) -> Mapping[str, StoredResponse]:
        return await self._reading.do(references.holders, (item_ids, owner))

    async def steps(self, response_id: str) -> Mapping[str, bytes]:
        return await self._reading.do(responses.steps_of, response_id)

    # ---- the queue ---------------------------------------------------------------------------------------------------

    async def waiting(self, owner: str) -> tuple[int, int]:
        return await self._reading.do(work_queue.waiting, owner)

    async def claim(self, runner: str, per_owner: int) -> StoredResponse | None:
        """As the port says; its `request` is empty where it was kept under another `secret_key`."""
        wanted = work_queue.Claim(runner, self._lease, per_owner)
        return self._unsealed(await self._writing.do(work_queue.claim, wanted))

    async def claim_stray(self, runner: str) -> StoredResponse | None:
        wanted = work_queue.Claim(runner, self._lease)
        return self._unsealed(await self._writing.do(work_queue.claim_stray, wanted))

    async def renew(self, runner: str) -> Sequence[str]:
        return await self._writing.do(work_queue.renew, work_queue.Claim(runner, self._lease))

    async def take(self, response_id: str, runner: str) -> bool:
        return await self._writing.do(work_queue.take, (response_id, runner, self._lease))

    async def release(self, runner: str) -> None:
        await self._writing.do(work_queue.release, runner)

    # ---- conversations -----------------------------------------------------------------------------------------------

    async def add_conversation(self, conversation: StoredConversation, items: Sequence[StoredItem]) -> None:
        await self._writing.do(conversations.add, (conversation, items))

    async def get_conversation(self, conversation_id: str, owner: str) -> StoredConversation | None:
        if not _may_be_ours(conversation_id):
            return None
        return await self._reading.do(conversations.get, (conversation_id, owner))

    async def update_conversation(self, conversation_id: str, owner: str, metadata: Mapping[str, str]) -> bool:
        if not _may_be_ours(conversation_id):
            return False
        return await self._writing.do(conversations.set_metadata, (conversation_id, owner, metadata))

    async def delete_conversation(self, conversation_id: str, owner: str) -> bool:
        return _may_be_ours(conversation_id) and await self._writing.do(conversations.remove, (conversation_id, owner))

    async def add_items(self, conversation_id: str, items: Sequence[StoredItem]) -> bool:
        """As the port says; False also where the conversation is gone."""
        return await self._writing.do(conversations.add_items, (conversation_id, items))

    async def items(self, conversation_id: str) -> Sequence[StoredItem]:
        return await self._reading.do(conversations.all_items, conversation_id)

    async def list_items(
        self, conversation_id: str, *, after: str = "", limit: int = 20, order: Order = "desc"
    ) -> Sequence[StoredItem] | None:
        asked = conversations.Page(conversation_id, after, limit, order)
        return await self._reading.do(conversations.page, asked)

    async def get_item(self, conversation_id: str, item_id: str) -> StoredItem | None:
        return await self._reading.do(conversations.one_item, (conversation_id, item_id))

    async def find_items(self, item_ids: Collection[str], owner: str) -> Sequence[StoredItem]:
        return await self._reading.do(references.conversation_items, (item_ids, owner))

    async def delete_item(self, conversation_id: str, item_id: str) -> bool:
        return await self._writing.do(conversations.remove_item, (conversation_id, item_id))

    # ---- usage -------------------------------------------------------------------------------------------------------

    async def add_usage(self, records: Sequence[UsageRecord]) -> None:
        await self._recording.do(usage.add, records)

    async def usage(self, query: UsageQuery) -> UsageReport:
        return await self._reporting.do(usage.report, query)

    async def usage_records(self, which: UsageFilter, *, after: str = "", limit: int = 20) -> Sequence[UsageRecord] | None:
        if not _may_be_ours(after):
            return None
        return await self._reporting.do(usage.page, usage.Page(which, after, limit))

    # ---- all together ------------------------------------------------------------------------------------------------

    async def sweep(self) -> int:
        """As the port says, in many small transactions."""
        removed, more = 0, True
        while more:
            swept = await self._writing.do(removal.sweep_expired, self._settings.retention_days * _DAY)
            removed, more = removed + swept.responses, swept.more
        more = self._settings.max_bytes is not None
        while more:
            swept = await self._writing.do(removal.sweep_surplus, self._settings.max_bytes or 0)
            removed, more = removed + swept.responses, swept.more
        retention = self._usage_settings.retention_days * _DAY
        while retention and await self._writing.do(usage.sweep, retention):
            pass
        return removed

    def _unsealed(self, response: StoredResponse | None) -> StoredResponse | None:
        if response is None or not response.request:
            return response
        return replace(response, request=self._seal.unseal(response.request))


def _may_be_ours(identity: str) -> bool:
    """Whether we may have made this id: others may hold what a database cannot even be asked for."""
    return identity.isascii() and identity.isprintable()


@asynccontextmanager
async def open_store(settings: StoreSettings, usage_settings: UsageSettings = _USAGE) -> AsyncIterator[SqlStore]:
    """The store at `settings.url`, its tables made or brought up to date; what waits to be written is, before it closes.

    Raises:
        CannotOpenStore: there is no such database, it can't be used, or a newer Trivet has used it.
    """
    async with AsyncExitStack() as stack:
        file = settings.file
        lanes = await (_open_sqlite(file, stack) if file else _open_postgres(settings, stack))
        yield SqlStore(settings, usage_settings, lanes, Seal(lambda: _secret(settings)))


async def _open_sqlite(file: Path, stack: AsyncExitStack) -> Lanes:
    writer = SqliteLink(file, writes=True)
    readers = (SqliteLink(file, writes=False) for _ in range(2))
    # Only one can write at a time anyway, and does so for all. Who adds up usage must not keep others from reading.
    writing, reading, reporting = (Lane([link], _AT_ONCE) for link in (writer, *readers))
    for lane in (writing, reading, reporting):
        stack.push_async_callback(lane.aclose)
    try:
        await writer.prepare()
    except (SQLAlchemyError, OSError, NewerTables) as error:
        raise CannotOpenStore(f"cannot open the store sqlite:///{file}: {reason_of(error)}") from error
    return Lanes(writing, writing, reading, reporting)


async def _open_postgres(settings: StoreSettings, stack: AsyncExitStack) -> Lanes:
    # Only here: it takes SQLAlchemy's whole ORM along, which is twice as much as all the rest of it.
    from trivet.model_service.adapters.store.postgres import PostgresLink, postgres_engine

    assert settings.url is not None
    url = make_url(settings.url.get_secret_value())
    engine = postgres_engine(url)
    stack.push_async_callback(engine.dispose)
    recorder, *writers = (PostgresLink(engine, writes=True) for _ in range(1 + _POSTGRES_WRITERS))
    reporter, *readers = (PostgresLink(engine, writes=False) for _ in range(1 + _POSTGRES_READERS))
    # What locks other rows has transactions of its own: in one with more of its kind, or with changes, the order of the locks
    # would be by chance, and transactions would wait for each other in circles. Reads have a connection each, as long as there
    # are some: there, one waits for the network and not for a processor.
    lanes = Lanes(Lane([recorder], _AT_ONCE), Lane(writers, 1), Lane(readers, 1), Lane([reporter], 1))
    for lane in (lanes.recording, lanes.writing, lanes.reading, lanes.reporting):
        stack.push_async_callback(lane.aclose)
    try:
        await recorder.prepare()
    except (SQLAlchemyError, OSError, NewerTables) as error:
        raise CannotOpenStore(f"cannot open the store {url.render_as_string()}: {reason_of(error)}") from error
    return lanes


def _secret(settings: StoreSettings) -> str:
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    assert settings.file is not None
    return secret_beside(settings.file)
