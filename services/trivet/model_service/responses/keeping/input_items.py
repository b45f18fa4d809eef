"""Pages of the items that a response was made from."""

from collections.abc import Sequence

from trivet.kernel.errors import InvalidRequest
from trivet.model.v1.response_item_pb2 import Item
from trivet.model.v1.response_stored_pb2 import ItemPage, ListInputItemsRequest
from trivet.model_service.responses.item_ids import item_id

DEFAULT_LIMIT = 20


def page_of(items: Sequence[Item], asked: ListInputItemsRequest) -> ItemPage:
    """The page that is asked for of `items`, which are given the oldest first.

    With `before` alone it is the page that ends there, and `has_more` tells of those in front of it.

    Raises:
        InvalidRequest: `after` or `before` names none of the items.
    """
    ordered = list(items) if asked.order == "asc" else list(reversed(items))
    ids = [item_id(item) for item in ordered]
    # Where an id stands for several items, because an upstream gave it twice: the last one, so that every page gets on.
    first = len(ids) - _found(ids[::-1], asked.after, "after") if asked.HasField("after") else 0
    end = _found(ids, asked.before, "before") if asked.HasField("before") else len(ids)
    limit = asked.limit or DEFAULT_LIMIT
    backwards = asked.HasField("before") and not asked.HasField("after")
    window = ordered[max(first, end - limit) : end] if backwards else ordered[first : min(end, first + limit)]
    return page(window, has_more=end - first > limit)


def page(items: Sequence[Item], *, has_more: bool) -> ItemPage:
    """A page of these items."""
    told = ItemPage(data=items, has_more=has_more)
    if items:
        told.first_id, told.last_id = item_id(items[0]), item_id(items[-1])
    return told


def _found(ids: Sequence[str], name: str, param: str) -> int:
    try:
        return ids.index(name)
    except ValueError:
        raise InvalidRequest(f"Invalid '{param}': there is no item '{name:.80}'.", param) from None
