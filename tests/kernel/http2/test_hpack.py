"""Header blocks, by the examples of RFC 7541 and by what no block may be."""

import pytest

from trivet.kernel.http2 import hpack, huffman
from trivet.kernel.http2.hpack import TABLE_BYTES, TOO_LARGE, Decoder, MalformedBlock

PLENTY = 1 << 20
FIRST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")]


@pytest.mark.parametrize(
    "blocks",
    [
        ("828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865"),
        ("828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf"),
    ],
    ids=["plain", "huffman"],
)
def test_the_examples_of_the_standard_are_read(blocks: tuple[str, str]):
    decoder = Decoder()
    assert decoder.decode(bytes.fromhex(blocks[0]), PLENTY) == FIRST
    assert decoder.decode(bytes.fromhex(blocks[1]), PLENTY) == [*FIRST, ("cache-control", "no-cache")]


def test_every_byte_has_its_code():
    codes = {symbol: code for code, symbol in huffman._SYMBOLS.items()}
    assert sorted(codes) == list(range(256))
    for symbol, (length, code) in codes.items():
        padding = -length % 8
        coded = (code << padding | (1 << padding) - 1).to_bytes((length + padding) // 8, "big")
        assert huffman.decode(coded) == bytes((symbol,))


@pytest.mark.parametrize("coded", ["00ff" * 2 + "00", "ffffffff", "1f00"])
def test_what_is_not_in_the_code_is_refused(coded: str):
    with pytest.raises(ValueError, match="Huffman"):
        huffman.decode(bytes.fromhex(coded))


def test_what_is_written_is_read_again():
    pairs = [("x-" + "n" * 200, "v" * 300), ("authorization", "Bearer k"), ("te", "trailers"), (":path", "/a/B"), ("empty", "")]
    assert Decoder().decode(hpack.block((":method", "POST"), *pairs), PLENTY) == [(":method", "POST"), *pairs]


def test_a_key_is_marked_so_that_nobody_keeps_it():
    assert hpack.field("authorization", b"Bearer k")[0] & 0xF0 == 0x10


def test_the_table_forgets_the_eldest_and_shrinks_when_told():
    decoder = Decoder()
    added = b"".join(b"\x40\x01a\x64" + bytes((number,)) * 100 for number in range(65, 105))
    assert len(decoder.decode(added, PLENTY)) == 40
    newest = bytes((0x80 | 62,))
    assert decoder.decode(newest, PLENTY) == [("a", "h" * 100)]
    with pytest.raises(MalformedBlock):
        decoder.decode(bytes((0x80 | 62 + 39,)), PLENTY)
    with pytest.raises(MalformedBlock):
        decoder.decode(b"\x20" + newest, PLENTY)


@pytest.mark.parametrize(
    "block", ["80", "ff00", "4003", "400a61", "3fe21f", "8f" * 3 + "ff" * 12, "008200000161"], ids=lambda block: block[:12]
)
def test_what_is_no_block_is_refused(block: str):
    assert TABLE_BYTES == 4096
    with pytest.raises(MalformedBlock):
        Decoder().decode(bytes.fromhex(block), PLENTY)


def test_fields_beyond_the_limit_are_read_and_not_kept():
    decoder = Decoder()
    fields = decoder.decode(b"".join(hpack.field("a", b"x" * 100) for _ in range(10)), 300)
    assert [name for name, _ in fields] == ["a", "a", TOO_LARGE[0]]
