"""What holds for all tests: none of them writes into a home."""

import os
from collections.abc import Iterator

import pytest

# As the command line has it: what gRPC does in a child before that becomes another program ends it now and then.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "false")


@pytest.fixture(scope="session", autouse=True)
def no_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Gateways that a test starts, in its process or in others, keep their data in a folder of the test run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(os.environ, "XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        yield
