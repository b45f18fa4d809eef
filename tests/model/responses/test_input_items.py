"""Pages of items: every way to ask for one."""

import pytest

from tests.model.responses.turning import item
from trivet.kernel.errors import InvalidRequest
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_stored_pb2 import ListInputItemsRequest
from trivet.model_service.responses.item_ids import item_id
from trivet.model_service.responses.keeping.input_items import page_of


def items(ids: str) -> list[Item]:
    return [item(type="message", role="user", content="x", id=one) for one in ids]


@pytest.mark.parametrize(
    ("asked", "page", "has_more"),
    [
        ({}, "edcba", False),
        ({"order": "desc"}, "edcba", False),
        ({"order": "asc"}, "abcde", False),
        ({"order": "asc", "limit": 2}, "ab", True),
        ({"order": "asc", "limit": 5}, "abcde", False),
        ({"limit": 2}, "ed", True),
        ({"order": "asc", "limit": 2, "after": "b"}, "cd", True),
        ({"order": "asc", "limit": 2, "after": "c"}, "de", False),
        ({"limit": 2, "after": "d"}, "cb", True),
        ({"order": "asc", "after": "e"}, "", False),
        ({"order": "asc", "limit": 2, "before": "d"}, "bc", True),
        ({"order": "asc", "limit": 3, "before": "d"}, "abc", False),
        ({"limit": 2, "before": "a"}, "cb", True),
        ({"order": "asc", "before": "a"}, "", False),
        ({"order": "asc", "after": "a", "before": "e"}, "bcd", False),
        ({"order": "asc", "after": "a", "before": "e", "limit": 2}, "bc", True),
        ({"order": "asc", "after": "d", "before": "b"}, "", False),
    ],
)
def test_a_page_is_what_was_asked_for(asked: dict[str, object], page: str, has_more: bool) -> None:
    found = page_of(items("abcde"), ListInputItemsRequest(response_id="resp_1", **asked))  # type: ignore[arg-type]

    assert "".join(map(item_id, found.data)) == page
    assert found.has_more == has_more
    assert (found.first_id, found.last_id) == (page[:1], page[-1:])
    assert (found.HasField("first_id"), found.HasField("last_id")) == (bool(page), bool(page))


@pytest.mark.parametrize("where", ["after", "before"])
def test_an_item_that_is_not_there_is_named(where: str) -> None:
    with pytest.raises(InvalidRequest, match="'z'") as refused:
        page_of(items("abc"), ListInputItemsRequest(response_id="resp_1", **{where: "z"}))  # type: ignore[arg-type]
    assert refused.value.param == where


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_pages_come_to_an_end_even_where_an_upstream_gives_an_id_twice(order: str) -> None:
    seen: list[str] = []
    request = ListInputItemsRequest(response_id="resp_1", limit=2, order=order)
    while True:
        page = page_of(items("abacada"), request)
        seen += map(item_id, page.data)
        if not page.has_more:
            break
        request.after = page.last_id
        assert len(seen) < 20

    assert seen[-1] == "a"
