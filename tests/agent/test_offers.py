"""What a model is offered is made once for each list of tools."""

from collections.abc import Sequence
from typing import Any

import pytest

from trivet.agent.v1 import agent_service_pb2
from trivet.agent_service.offers import Offer, Offers
from trivet.kernel.errors import ToolNotFound
from trivet.tool.v1 import tool_pb2, tool_service_pb2


def server(**fields: Any) -> Sequence[agent_service_pb2.McpServer]:
    return [agent_service_pb2.McpServer(integration_fqn="files", **fields)]


def listed(*names: str) -> Sequence[tool_service_pb2.ListToolsResponse]:
    return [tool_service_pb2.ListToolsResponse(data=[tool_pb2.Tool(name=name) for name in names])]


def names(offer: Offer) -> list[str]:
    return [tool.function.function.name for tool in offer.definitions]


def test_a_list_that_stays_the_same_is_offered_as_before() -> None:
    offers, first = Offers(), listed("read")

    offer = offers.of(server(), first)

    assert offers.of(server(), first) is offer
    assert offers.of(server(), listed("read")) is offer


def test_a_list_that_changes_is_offered_as_it_is() -> None:
    offers = Offers()

    assert [names(offers.of(server(), listed(*tools))) for tools in (["read"], ["read", "write"], ["read"])] == [
        ["read"],
        ["read", "write"],
        ["read"],
    ]


def test_what_a_request_asks_for_is_told_apart() -> None:
    offers, same = Offers(), listed("read", "write")

    assert names(offers.of(server(), same)) == ["read", "write"]
    assert names(offers.of(server(tools=[{"name": "write"}]), same)) == ["write"]
    assert names(offers.of(server(enable_all_tools=False), same)) == []
    with pytest.raises(ToolNotFound):
        offers.of(server(tools=[{"name": "gone"}]), same)


def test_only_so_many_offers_are_kept() -> None:
    offers, first = Offers(), listed("t0")
    before = offers.of(server(), first)

    for number in range(1, 100):
        offers.of(server(tools=[{"name": f"t{number}"}]), listed(f"t{number}"))

    assert offers.of(server(), first) is not before
