"""A process that opens a store, says so, and once it is told to claims whatever there is and prints what it got."""

import asyncio
import sys

from tests.model.store.conftest import SECRET
from trivet.model_service.adapters.store.sql_store import open_store
from trivet.model_service.settings import StoreSettings


async def claim_all(url: str, runner: str) -> None:
    """Until nothing is left."""
    async with open_store(StoreSettings.model_validate({"url": url, "secret_key": SECRET})) as store:
        print("open", flush=True)
        sys.stdin.readline()
        while claimed := await store.claim(runner, 1_000):
            print(claimed.id, flush=True)


asyncio.run(claim_all(*sys.argv[1:]))
