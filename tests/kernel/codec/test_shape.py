"""Options that contradict the fields are mistakes in a proto file, told when the codec is compiled."""

from pathlib import Path

import pytest
from google.protobuf import message_factory

from tests.kernel.codec import sample
from trivet.kernel.codec.message_codec import codec_for
from trivet.kernel.codec.shape import ShapeError

FIELD = "trivet.rest.v1.field"
UNION = "option (trivet.rest.v1.message) = {form: FORM_UNION};"
TAGGED = 'option (trivet.rest.v1.message) = {form: FORM_UNION discriminator: "type"};'


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("float a = 1;", "a float loses"),
        (f"{UNION} oneof x {{ string a = 1; bytes b = 2; }}", "told by the same"),
        ("map<int32, string> a = 1;", "keys of a map"),
        (f"string a = 1 [({FIELD}).catch_all = true]; string b = 2 [({FIELD}).catch_all = true];", "catches all"),
        (f'string a = 1; string b = 2 [({FIELD}).key = "a"];', "taken twice"),
        ("option (trivet.rest.v1.message).form = FORM_LIST; string a = 1;", "a list has one field"),
        (f"{UNION} string a = 1;", "one oneof"),
        (f"{UNION} oneof x {{ string a = 1; }} string b = 2;", "one oneof"),
        (f"{UNION} oneof x {{ string a = 1; string b = 2; }}", "told by the same"),
        (f"{UNION} oneof x {{ string a = 1 [({FIELD}).raw = true]; }}", "raw member"),
        (f'{TAGGED} oneof x {{ string a = 1 [({FIELD}).tags = "a"]; }}', "only a message"),
        (f'{TAGGED} oneof x {{ E a = 1 [({FIELD}).tags = "a"]; E b = 2 [({FIELD}).tags = "a"]; }}', "told by the same"),
        (f'{TAGGED} oneof x {{ T a = 1 [({FIELD}).tags = "a"]; }}', "a field of the member"),
    ],
)
def test_a_contradiction_is_told(body: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "bad.proto").write_text(
        'syntax = "proto3"; package bad; import "trivet/rest/v1/annotations.proto";'
        f"message E {{}} message T {{ string type = 1; }} message Bad {{ {body} }}"
    )
    pool = sample.pool_of(sample.compile_proto(tmp_path, "bad.proto"))
    codec = codec_for(message_factory.GetMessageClass(pool.FindMessageTypeByName("bad.Bad")))

    with pytest.raises(ShapeError, match=problem):
        codec.loads(b"{}")
