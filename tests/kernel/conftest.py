"""Fixtures that give each test the same servicer over every transport."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kernel.probe_service import Probe, ProbeStub, add_probe_to_server
from trivet.kernel.testing import TRANSPORTS, Transport, serving


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param


@pytest.fixture(params=["loopback", "unix"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where to listen: on TCP, and on a Unix socket."""
    return f"unix:{tmp_path / 'trivet.sock'}" if request.param == "unix" else "127.0.0.1:0"


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def stub(probe: Probe, transport: Transport) -> AsyncIterator[ProbeStub]:
    async with serving(add_probe_to_server, probe, transport=transport) as channel:
        yield ProbeStub(channel)
