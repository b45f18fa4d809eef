"""`trivet usage`: a table of what is in the store, or the gateway's own answer as JSON."""

import asyncio
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.model.usage.calls import NOON, record
from trivet.model_service.adapters.store.sql_store import open_store
from trivet.model_service.domain.turn import Usage
from trivet.model_service.settings import StoreSettings
from trivet.standalone.cli import main

DAY = 86_400


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A configuration over a store with some usage; no variable of the machine takes part."""
    for name in ("TRIVET_CONFIG", "TRIVET_URL", "TRIVET_KEY"):
        monkeypatch.delenv(name, raising=False)
    url = f"sqlite:///{tmp_path}/t.db"
    asyncio.run(_fill(url))
    file = tmp_path / "trivet.yaml"
    file.write_text(f"store: {{url: '{url}'}}\nauth: {{keys: [{{name: alice, key: sk-alice-0123456789}}]}}\n", encoding="utf-8")
    return str(file)


async def _fill(url: str) -> None:
    async with open_store(StoreSettings.model_validate({"url": url})) as store:
        await store.add_usage(
            [
                record("0.1", model="lab/a", usage=Usage(1_000_000, 20, 0, 40)),
                record("0.2", model="lab/a", status=499, started=NOON + DAY, principal="bob"),
                record(None, model="lab/\x1b[31m", metadata={"team": "blue"}),
            ]
        )


def run(config: str, *arguments: str) -> int:
    return main(["usage", "--config", config, *arguments])


def test_a_table_has_a_row_for_each_group_and_one_of_all(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config) == 0

    assert capsys.readouterr().out.splitlines() == [
        "model      calls  failed  input tokens  cached tokens  output tokens  cost in USD",
        "lab/?[31m      1       0           100             40             20        ? + 1",
        "lab/a          2       1     1,000,100             80             40          0.3",
        "total          3       1     1,000,200            120             60      0.3 + 1",
        "",
        "+ n: and what n calls cost, which is not known",
    ]


def test_groups_and_filters_are_options(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--by", "day,metadata.team", "--from", "2026-11-29", "--to", "2026-11-30", "--cost-first", "--model", "lab/a"]
    assert run(config, *options) == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[1:] == [
        ["2026-11-29", "-", "1", "0", "1,000,000", "40", "20", "0.1"],
        ["total", "1", "0", "1,000,000", "40", "20", "0.1"],
    ]


def test_json_is_the_answer_of_the_api(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "--by", "caller", "--json") == 0

    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert [group["group"] for group in report["data"]] == [{"caller": "alice"}, {"caller": "bob"}]
    assert Decimal(report["totals"]["cost"]) == Decimal("0.3")
    assert report["totals"]["unpriced"] == 1


def test_without_groups_there_is_one_row(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "--by", "", "--caller", "bob") == 0

    assert capsys.readouterr().out.splitlines()[1].split() == ["1", "1", "100", "40", "20", "0.2"]


def test_what_cannot_be_grouped_by_is_told(config: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(config, "--by", "weekday") == 1

    assert "Invalid 'group_by[0]'" in capsys.readouterr().err
