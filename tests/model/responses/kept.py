"""A store in a file of the test's own, and responses in it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from tests.model.responses import recorded
from trivet.model.v1.response_event_pb2 import ResponseEvent
from trivet.model.v1.response_pb2 import Response
from trivet.model_service.adapters.store.sql_store import SqlStore, open_store
from trivet.model_service.domain.store import Change, StoredResponse
from trivet.model_service.responses.assembly import Assembly, TurnSplice
from trivet.model_service.responses.background.journal import batches
from trivet.model_service.settings import StoreSettings

OWNER = "alice"


@asynccontextmanager
async def sqlite(folder: Path, claim_seconds: float = 60.0) -> AsyncIterator[SqlStore]:
    """A store in this folder; claims end within a test only where the test says so."""
    async with open_store(
        StoreSettings.model_validate({"url": f"sqlite:///{folder}/t.db", "claim_seconds": claim_seconds})
    ) as it:
        yield it


def stored(told: Response, **changes: object) -> StoredResponse:
    """A response in the background as it is stored when it begins."""
    made = StoredResponse(
        id=told.id,
        owner=OWNER,
        created_at=told.created_at,
        status="in_progress",
        input=b"",
        response=told.SerializeToString(),
        background=True,
        streamed=True,
    )
    return replace(made, **changes)


def a_whole_stream(told: Response) -> list[ResponseEvent]:
    """Every event of a response in the background; `told` is how it stands at the end."""
    assembly = Assembly(told)
    splice = TurnSplice(assembly)
    events = [*assembly.begin(queued=True), *assembly.begin(), *splice.pass_on(recorded.rendered())]
    assert splice.response is not None
    return [*events, *assembly.end(splice.response)]


async def say(store: SqlStore, told: Response, events: Sequence[ResponseEvent], first: int) -> None:
    """Store more events, the end with what the response then is."""
    ended = {"status": told.status, "response": told.SerializeToString()} if events[-1].HasField("completed") else {}
    assert await store.change(told.id, Change(events=batches(events, first), **ended))
