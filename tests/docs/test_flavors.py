"""The table of flavors on the page of the dialects says what the code's own table says."""

import re

from tests.docs.pages import ROOT
from trivet.model_service.adapters.chat_flavors import FLAVORS, ChatFlavor, known_addresses

PAGE = ROOT / "docs/dialects.md"


def test_the_page_has_a_row_for_each_flavor_with_all_that_it_refuses_and_says_differently() -> None:
    table = PAGE.read_text(encoding="utf-8").partition("| Flavor | Known by")[2].partition("\n\n")[0].splitlines()[2:]
    rows = {cells[0].strip(" `"): cells[1:] for cells in (re.split(r"\s*\|\s*", row.strip("| ")) for row in table)}

    assert list(rows) == list(FLAVORS)
    for name, (addresses, refused, *different) in rows.items():
        flavor = FLAVORS[name]
        assert words(addresses) == set(known_addresses(flavor)), name
        assert words(refused) == refusals(flavor), name
        assert ("custom tools" in refused) is not flavor.custom_tools, name
        said = "".join(different)
        assert said.startswith("limit") is (flavor.limit_key == "max_tokens"), name
        assert ("`developer`" in said) is not flavor.developer_role, name
        assert ("allowed tools" in said) is not flavor.allowed_tools, name
        assert words(said) >= set(flavor.renamed), name
        assert (f"`{flavor.reasoning}`" in said) is (flavor.reasoning != "reasoning_content"), name
        assert ("nine letters" in said) is flavor.short_call_ids, name
        assert ("`stream_options`" in said) is not flavor.stream_options, name


def refusals(flavor: ChatFlavor) -> set[str]:
    others = {
        "messages[].name": not flavor.message_names,
        "response_format": not flavor.json_schema,
        "tool_choice": not flavor.tool_choice,
    }
    return set(flavor.refused) | {name for name, refused in others.items() if refused}


def words(cell: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", cell))
