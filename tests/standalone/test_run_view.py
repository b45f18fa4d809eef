"""An agent run in the terminal."""

import io
from typing import Any

from trivet.standalone.run_view import RunView


def shown(*chunks: dict[str, Any], colour: bool = False) -> str:
    out = io.StringIO()
    view = RunView(out, colour=colour)
    for chunk in chunks:
        view.show(chunk)
    view.end()
    return out.getvalue()


def delta(finish_reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": finish_reason}]}


def call(index: int, id_: str | None = None, name: str | None = None, arguments: str = "", info: Any = None) -> dict[str, Any]:
    begun = {"id": id_, "type": "function", "tool_info": info} if id_ else {}
    return {"index": index, "function": {"name": name, "arguments": arguments}, **begun}


def ended(iterations: int, stopped_by: str = "model", **more: Any) -> dict[str, Any]:
    return {"choices": [], "run": {"iterations": iterations, "stopped_by": stopped_by}, **more}


def test_text_is_written_as_it_comes() -> None:
    out = io.StringIO()
    view = RunView(out, colour=False)

    view.show(delta(role="assistant", content="It is "))
    assert out.getvalue() == "It is "
    view.show(delta(content="noon."))
    assert out.getvalue() == "It is noon."


def test_a_call_is_shown_whole_when_the_turn_asks_for_it_and_its_result_below() -> None:
    info = {"mcp_server": "clock", "tool": "get_current_time"}

    text = shown(
        delta(content="Let me see."),
        delta(tool_calls=[call(0, "c1", "get_current_time", '{"zone":', info)]),
        delta(tool_calls=[call(0, arguments=' "UTC"}')]),
        delta(finish_reason="tool_calls"),
        delta(role="tool", tool_call_id="c1", content="12:00"),
        delta(content="Noon."),
        delta(finish_reason="stop"),
        ended(2, usage={"total_tokens": 40}),
    )

    assert text.splitlines() == [
        "Let me see.",
        '-> clock > get_current_time {"zone": "UTC"}',
        "<- clock > get_current_time 12:00",
        "Noon.",
        "[2 model calls, 40 tokens]",
    ]


def test_parallel_calls_are_told_apart_and_a_call_without_server_keeps_its_name() -> None:
    text = shown(
        delta(tool_calls=[call(0, "a", "one"), call(1, "b", "two")]),
        delta(tool_calls=[call(1, arguments="{}"), call(0, arguments='{"x":1}')]),
        delta(finish_reason="tool_calls"),
        delta(role="tool", tool_call_id="b", content="B"),
        delta(role="tool", tool_call_id="a", content="A"),
        ended(1, "iteration_limit"),
    )

    assert text.splitlines() == [
        '-> one {"x":1}',
        "-> two {}",
        "<- two B",
        "<- one A",
        "[1 model call, ended by the iteration limit]",
    ]


def test_a_long_result_is_cut_with_its_length() -> None:
    text = shown(delta(role="tool", tool_call_id="?", content="x" * 5000), ended(1))

    assert text.startswith("<- tool xxx")
    assert "... (5000 characters)" in text
    assert len(text) < 1000


def test_colour_sets_the_models_text_apart() -> None:
    text = shown(delta(content="plain"), ended(1), colour=True)

    assert text == "plain\n\x1b[2m[1 model call]\x1b[0m\n"


def test_a_run_that_breaks_off_leaves_its_text_on_a_line_of_its_own() -> None:
    assert shown(delta(content="It is")) == "It is\n"
    assert shown() == ""


def test_nobody_but_us_commands_the_terminal() -> None:
    title = "\x1b]0;pwned\x07"
    info = {"mcp_server": "clock", "tool": f"now{title}"}

    out = shown(
        delta(content=f"a{title}\tb\n\x9b2J"),
        delta(tool_calls=[call(0, "call_0", "now", "{}", info)]),
        delta("tool_calls"),
        delta(role="tool", tool_call_id="call_0", content=f"noon{title}"),
        colour=True,
    )

    assert out.startswith("a]0;pwned\tb\n2J")
    assert not {"\x07", "\x9b"} & set(out)
    assert out.count("\x1b") == 4
