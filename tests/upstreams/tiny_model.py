"""A real, if senseless, language model: a llama of two layers with random weights, 0.5 MB, made in under a second.

It runs on llama.cpp at thousands of tokens a second. What it says is noise - random bytes, broken UTF-8 among them -
but a grammar makes valid JSON and tool calls of it, so it stands in wherever a test needs an upstream and not a sense.
"""

from pathlib import Path

import gguf
import numpy as np

_EMBEDDING, _HIDDEN, _LAYERS, _HEADS, _CONTEXT = 64, 128, 2, 4, 8192
_NAMED = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")


def make_tiny_model(path: Path, *, seed: int = 1) -> Path:
    """Write the model to `path`, byte for byte the same for the same seed."""
    writer = gguf.GGUFWriter(path, "llama")
    _add_shape(writer)
    tokens = _add_vocabulary(writer)
    _add_weights(writer, tokens, np.random.default_rng(seed))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add_shape(writer: gguf.GGUFWriter) -> None:
    writer.add_name("tiny")
    writer.add_context_length(_CONTEXT)
    writer.add_embedding_length(_EMBEDDING)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_HIDDEN)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_EMBEDDING // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)


def _add_vocabulary(writer: gguf.GGUFWriter) -> int:
    tokens = [*_NAMED, *(f"<0x{byte:02X}>" for byte in range(256))]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(tokens)
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([gguf.TokenType.UNKNOWN, *[gguf.TokenType.CONTROL] * (len(_NAMED) - 1), *[gguf.TokenType.BYTE] * 256])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(_NAMED.index("<|im_end|>"))
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(False)
    return len(tokens)


def _add_weights(writer: gguf.GGUFWriter, tokens: int, random: np.random.Generator) -> None:
    def matrix(name: str, rows: int, columns: int) -> None:
        writer.add_tensor(name, (random.standard_normal((rows, columns)) / columns**0.5).astype(np.float32))

    def norm(name: str) -> None:
        writer.add_tensor(name, np.ones(_EMBEDDING, dtype=np.float32))

    matrix("token_embd.weight", tokens, _EMBEDDING)
    for layer in (f"blk.{index}" for index in range(_LAYERS)):
        norm(f"{layer}.attn_norm.weight")
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            matrix(f"{layer}.{name}.weight", _EMBEDDING, _EMBEDDING)
        norm(f"{layer}.ffn_norm.weight")
        matrix(f"{layer}.ffn_gate.weight", _HIDDEN, _EMBEDDING)
        matrix(f"{layer}.ffn_up.weight", _HIDDEN, _EMBEDDING)
        matrix(f"{layer}.ffn_down.weight", _EMBEDDING, _HIDDEN)
    norm("output_norm.weight")
    matrix("output.weight", tokens, _EMBEDDING)
