"""Counts tokens here: with the vocabulary of the model's family where the package `splintr-rs` is installed, else roughly."""

import importlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

_VOCABULARIES: Final = (
    ("gpt-oss", "gpt-oss"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-4-", "cl100k_base"),
    ("codellama", "codellama"),
    ("llama-2", "llama2"),
    ("llama2", "llama2"),
    ("tinyllama", "llama2"),
    ("llama", "llama3"),
    ("qwen", "qwen3"),
    ("qwq", "qwen3"),
    ("deepseek", "deepseek_v3"),
    ("codestral", "mistral_v2"),
    ("mistral", "mistral_v3"),
    ("ministral", "mistral_v3"),
    ("mixtral", "mistral_v1"),
    ("phi", "phi4"),
    ("olmo", "olmo2"),
    ("glm", "glm4"),
    ("kimi", "kimi_k2"),
)
"""What a model's name has in it -> its vocabulary; the first that fits."""

_DEFAULT: Final = "o200k_base"

_KEPT: Final = 3
"""Vocabularies held in memory; each takes 10 to 30 MB."""

_ASCII: Final = bytes(range(0x80))
_DIGITS: Final = b"0123456789"
_LEADS: Final = bytes(range(0xC0, 0x100))


class LocalTokenizer:
    """A `Tokenizer`. Nothing is loaded before the first call."""

    def count(self, texts: Iterable[str], model: str) -> int:
        """See `Tokenizer.count`."""
        encoding = _vocabulary(vocabulary_of(model))
        if encoding is None:
            return sum(map(rough_count, texts))
        return sum(len(encoding.encode_ordinary(text)) for text in texts)


def vocabulary_of(model: str) -> str:
    """The vocabulary of the family that the name of `model` tells; that of OpenAI's newer models where it tells none."""
    name = model.lower()
    return next((vocabulary for part, vocabulary in _VOCABULARIES if part in name), _DEFAULT)


def rough_count(text: str) -> int:
    """About how many tokens `text` is, within a third for prose in most languages.

    Four letters of ASCII make a token, two digits, and two and a half bytes beyond the first of any other character.
    """
    data = text.encode(errors="replace")
    others = data.translate(None, _ASCII)
    digits = len(data) - len(data.translate(None, _DIGITS))
    letters = len(data) - len(others) - digits
    return round(letters / 4 + digits / 2 + len(others.translate(None, _LEADS)) / 2.5)


@lru_cache(_KEPT)
def _vocabulary(name: str) -> Any:
    try:
        splintr = importlib.import_module("splintr")
    except ImportError:
        return None
    return splintr.Tokenizer.from_pretrained(name)
