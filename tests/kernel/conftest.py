"""Fixtures that give each test the same servicer over both transports."""

from collections.abc import AsyncIterator

import pytest

from tests.kernel.probe_service import Probe, ProbeStub, add_probe_to_server
from trivet.kernel.testing import TRANSPORTS, Transport, serving


@pytest.fixture(params=TRANSPORTS)
def transport(request: pytest.FixtureRequest) -> Transport:
    return request.param


@pytest.fixture
async def probe() -> Probe:
    return Probe()


@pytest.fixture
async def stub(probe: Probe, transport: Transport) -> AsyncIterator[ProbeStub]:
    async with serving(add_probe_to_server, probe, transport=transport) as channel:
        yield ProbeStub(channel)
