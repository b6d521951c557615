"""A language model of random weights, made on the spot, that llama.cpp loads.

Its vocabulary is the 256 bytes and three specials: it can say whatever a grammar allows, and knows nothing.
"""

import importlib
from pathlib import Path
from typing import Any

BYTES = 256
WIDTH, HIDDEN, HEADS = 32, 64, 2


def make_model(path: Path, *, seed: int = 0) -> Path:
    """Write the model as GGUF; needs the packages `gguf` and `numpy`."""
    gguf = importlib.import_module("gguf")
    np = importlib.import_module("numpy")

    random = np.random.default_rng(seed)

    def weights(*shape: int) -> Any:
        return (random.standard_normal(shape) * 0.3).astype(np.float32)

    writer = gguf.GGUFWriter(path, "llama")
    _describe(writer)
    _vocabulary(writer, gguf.TokenType)
    ones = np.ones(WIDTH, np.float32)
    for name, tensor in {
        "token_embd": weights(BYTES + 3, WIDTH),
        "output": weights(BYTES + 3, WIDTH),
        "output_norm": ones,
        "blk.0.attn_norm": ones,
        "blk.0.attn_q": weights(WIDTH, WIDTH),
        "blk.0.attn_k": weights(WIDTH, WIDTH),
        "blk.0.attn_v": weights(WIDTH, WIDTH),
        "blk.0.attn_output": weights(WIDTH, WIDTH),
        "blk.0.ffn_norm": ones,
        "blk.0.ffn_gate": weights(HIDDEN, WIDTH),
        "blk.0.ffn_up": weights(HIDDEN, WIDTH),
        "blk.0.ffn_down": weights(WIDTH, HIDDEN),
    }.items():
        writer.add_tensor(f"{name}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _describe(writer: Any) -> None:
    writer.add_context_length(8192)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(HIDDEN)
    writer.add_block_count(1)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(WIDTH // HEADS)


def _vocabulary(writer: Any, kinds: Any) -> None:
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(BYTES))]
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("llama")
    writer.add_token_list([token.encode() for token in tokens])
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_token_types([kinds.UNKNOWN, kinds.CONTROL, kinds.CONTROL, *[kinds.BYTE] * BYTES])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_add_bos_token(True)
    writer.add_add_space_prefix(False)
