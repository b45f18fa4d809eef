"""Work that goes on after its RPC calls other services in the name of whoever asked for it."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from pydantic import SecretStr

from tests.kernel.probe_service import Probe, ProbeStub, add_probe_to_server
from trivet.kernel.call import current_call
from trivet.kernel.detached import Caller
from trivet.kernel.settings import AuthSettings, KeySettings
from trivet.kernel.testing import Transport, serving

AUTH = AuthSettings(keys=(KeySettings(name="alice", key=SecretStr("sk-alice")),))
SENT = (("authorization", "Bearer sk-alice"), ("x-request-id", "req_1"), ("x-trivet-more", "ö"), ("x-other", "1"))


class Remembering(Probe):
    """Remembers who called."""

    def __init__(self) -> None:
        super().__init__()
        self.caller = Caller()

    async def Echo(self, request: StringValue, context: Any) -> StringValue:
        self.caller = Caller.current()
        return request


@pytest.fixture
def probe() -> Remembering:
    return Remembering()


@pytest.fixture
async def stub(probe: Remembering, transport: Transport) -> AsyncIterator[ProbeStub]:
    async with serving(add_probe_to_server, probe, transport=transport, auth=AUTH) as channel:
        yield ProbeStub(channel)


async def test_calls_go_on_in_the_name_of_the_caller_when_the_rpc_is_over(stub: ProbeStub, probe: Remembering) -> None:
    metadata = tuple((name, value) for name, value in SENT if value.isascii())
    await stub.Echo(StringValue(value="x"), metadata=metadata, timeout=5)
    caller = Caller.unpack(probe.caller.pack())

    with caller.goes_on(50):
        told = await stub.Metadata(StringValue())
        remaining = float((await stub.Remaining(StringValue())).value)

    assert (told.value, probe.principal) == ("req_1", "alice")
    assert "x-other" not in probe.metadata
    # Longer than the call that asked; on the wire a deadline is rounded up.
    assert 5 < remaining < 60
    assert current_call.get() is None
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Metadata(StringValue())
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_outside_of_an_rpc_nobody_asks() -> None:
    assert Caller.current() == Caller.unpack(Caller().pack()) == Caller("", {})


def test_a_caller_is_one_line_whatever_was_sent() -> None:
    caller = Caller("al\nice", dict(SENT) | {"x-trivet-lines": "a\nb"})

    assert b"\n" not in caller.pack()
    assert Caller.unpack(caller.pack()) == caller
