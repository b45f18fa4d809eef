"""UsageService's RPCs."""

from collections.abc import Collection
from typing import Any

from trivet.kernel.errors import InvalidRequest
from trivet.model.v1 import usage_pb2 as pb
from trivet.model.v1 import usage_service_pb2_grpc
from trivet.model_service.domain.usage import UsageStore
from trivet.model_service.responses.owner import current_owner
from trivet.model_service.usage.asking import CALLS, filter_of, query_of
from trivet.model_service.usage.recording import UsageRecorder
from trivet.model_service.usage.telling import page_of, report_of


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Tells the usage in a store, after what `recorder` has yet to store; to the keys named in `admins`, that of all."""

    def __init__(self, store: UsageStore, recorder: UsageRecorder, admins: Collection[str]) -> None:
        self._store = store
        self._recorder = recorder
        self._admins = admins

    def apply(self, admins: Collection[str]) -> None:
        """Tell the usage of all to other keys."""
        self._admins = admins

    async def GetUsage(self, request: pb.GetUsageRequest, context: Any) -> pb.UsageReport:
        """Calls, added up."""
        query = query_of(request, *self._caller())
        await self._recorder.flush()
        return report_of(await self._store.usage(query))

    async def ListUsageCalls(self, request: pb.ListUsageCallsRequest, context: Any) -> pb.UsageCallPage:
        """Calls, one by one."""
        which = filter_of(request, *self._caller())
        limit = request.limit if request.HasField("limit") else CALLS
        await self._recorder.flush()
        found = await self._store.usage_records(which, after=request.after, limit=limit + 1)
        if found is None:
            raise InvalidRequest("Invalid 'after': there is no such call.", "after")
        return page_of(found, limit)

    def _caller(self) -> tuple[str, Collection[str]]:
        """Who asks, and who sees all: where no keys are needed, everybody does."""
        caller = current_owner()
        return caller, self._admins if caller else ("",)
