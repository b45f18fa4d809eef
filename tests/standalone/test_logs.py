"""The log of a process: records at once, lines of the access log together, both in one form and one order."""

import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from trivet.kernel import access_lines
from trivet.standalone.logs import BufferingHandler, JsonFormatter, TextFormatter

_ACCESS = logging.getLogger(access_lines.LOGGER)
_OTHER = logging.getLogger("trivet.other")


class Written(io.StringIO):
    """A stream that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.times = 0
        self.told = asyncio.Event()

    def write(self, text: str) -> int:
        self.times += 1
        self.told.set()
        return super().write(text)


@contextmanager
def logging_to_one_handler() -> Iterator[tuple[BufferingHandler, Written]]:
    """Have a handler that is the only one of the loggers of this module; pytest adds its own ahead of each test."""
    written = Written()
    handler = BufferingHandler(TextFormatter(), written)
    with pytest.MonkeyPatch.context() as patch:
        for logger in (_ACCESS, _OTHER):
            patch.setattr(logger, "handlers", [handler])
            patch.setattr(logger, "propagate", False)
            logger.setLevel(logging.INFO)
        yield handler, written
    for logger in (_ACCESS, _OTHER):
        logger.setLevel(logging.NOTSET)


def messages(written: Written) -> list[str]:
    return [line.split(maxsplit=2)[2] for line in written.getvalue().splitlines()]


async def test_lines_are_written_together_within_a_moment() -> None:
    with logging_to_one_handler() as (_, written):
        for number in range(3):
            access_lines.write(logging.INFO, "line=%d", number)
        assert written.times == 0
        await asyncio.wait_for(written.told.wait(), 30)

    assert messages(written) == ["line=0", "line=1", "line=2"]
    assert written.times == 1


async def test_a_record_comes_after_the_lines_before_it() -> None:
    with logging_to_one_handler() as (_, written):
        access_lines.write(logging.INFO, "first")
        _OTHER.warning("second")

        assert messages(written) == ["first", "second"]


async def test_many_lines_do_not_wait() -> None:
    with logging_to_one_handler() as (_, written):
        for number in range(1000):
            access_lines.write(logging.INFO, "line=%d", number)

        assert 1 <= written.times <= 10


def test_without_an_event_loop_a_line_is_written_at_once() -> None:
    with logging_to_one_handler() as (_, written):
        access_lines.write(logging.INFO, "alone")

    assert messages(written) == ["alone"]


def test_lines_that_wait_when_the_process_ends_are_written() -> None:
    program = """
import asyncio
from trivet.kernel import access_lines
from trivet.standalone.logs import configure_logs

async def main():
    access_lines.write(20, "the last %s", "line")

configure_logs("info", "text")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert ended.stderr.endswith(" INFO    the last line\n")


def test_only_lines_of_the_level_are_written() -> None:
    with logging_to_one_handler() as (handler, written):
        access_lines.write(logging.DEBUG, "not wanted by the logger")
        handler.setLevel(logging.ERROR)
        access_lines.write(logging.INFO, "not wanted by the handler")

    assert written.getvalue() == ""


def test_any_other_handler_gets_records(caplog: pytest.LogCaptureFixture) -> None:
    with logging_to_one_handler() as (_, written):
        _ACCESS.addHandler(caplog.handler)
        access_lines.write(logging.INFO, "%s %%", "100")

    assert [(record.name, record.levelname, record.message) for record in caplog.records] == [("trivet.access", "INFO", "100 %")]
    assert messages(written) == ["100 %"]


def test_a_filter_sees_records() -> None:
    with logging_to_one_handler() as (handler, written):
        handler.addFilter(lambda record: "secret" not in record.getMessage())
        access_lines.write(logging.INFO, "a %s", "secret")
        access_lines.write(logging.INFO, "a %s", "word")

    assert messages(written) == ["a word"]


def test_a_stream_that_is_gone_disturbs_nobody() -> None:
    with logging_to_one_handler() as (_, written):
        written.close()
        access_lines.write(logging.INFO, "unheard")


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()], ids=["json", "text"])
def test_a_line_looks_like_the_record_of_the_same(formatter: JsonFormatter | TextFormatter) -> None:
    line = (logging.INFO, 1700000000.25, "said=%s", ("yes",))
    record = _ACCESS.makeRecord(_ACCESS.name, logging.INFO, "", 0, "said=%s", ("yes",), None)
    record.created = line[1]

    assert formatter.format_line(line) == formatter.format(record)


def record(**extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "trivet.x", "levelname": "INFO", "msg": "%d done", "args": (3,), **extra})


def test_a_json_log_line_carries_message_and_extras() -> None:
    line = json.loads(JsonFormatter().format(record(request_id="r1")))

    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "info", "logger": "trivet.x", "message": "3 done", "request_id": "r1"}


def test_a_json_log_line_carries_the_stack() -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        line = json.loads(JsonFormatter().format(record(exc_info=(type(error), error, error.__traceback__))))

    assert "ValueError: broken" in line["stack"]


def test_a_text_log_line_ends_with_extras() -> None:
    assert TextFormatter().format(record(request_id="r1")).endswith(" INFO    3 done request_id=r1")
