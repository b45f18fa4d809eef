"""What is made of code says what the code says now."""

from tools import make_reference

from tests.docs.pages import ROOT, code_words
from trivet.error.v1.error_reason_pb2 import ErrorReason

CONFIGURATION = ROOT / "docs/configuration.md"
ERRORS = ROOT / "docs/errors.md"


def test_the_error_page_is_what_the_catalogue_makes() -> None:
    assert ERRORS.read_text(encoding="utf-8") == make_reference.errors_page(), "run `make reference`"


def test_every_reason_of_the_contract_is_on_the_error_page() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.keys()}  # noqa: SIM118 - not a dict

    assert reasons - set(code_words(ERRORS)) == {"UNSPECIFIED"}


def test_the_tables_of_the_configuration_page_are_what_the_settings_make() -> None:
    page = CONFIGURATION.read_text(encoding="utf-8")

    assert page == make_reference.configuration_page(page), "run `make reference`"


def test_every_key_of_the_configuration_is_on_its_page() -> None:
    keys = list(make_reference.keys())

    assert len(keys) > 30
    assert set(keys) - set(code_words(CONFIGURATION)) == set()


def test_a_stale_table_is_noticed() -> None:
    page = CONFIGURATION.read_text(encoding="utf-8").replace("`server.grace_seconds`", "`server.patience`")

    assert page != make_reference.configuration_page(page)


def test_every_variable_that_the_command_line_reads_is_on_the_configuration_page() -> None:
    read = {
        word
        for module in (ROOT / "services").rglob("*.py")
        for line in module.read_text(encoding="utf-8").splitlines()
        if "environ" in line
        for word in line.split('"')
        if word.startswith("TRIVET_")
    }

    assert len(read) > 2
    assert read - set(code_words(CONFIGURATION)) == set()
