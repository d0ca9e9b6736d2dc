"""The model that is trained and asked here: random weights, for speed does not depend on what they say."""

from __future__ import annotations

from pathlib import Path

from transformers import LlamaConfig

from tests.helpers.tiny_model import make_tiny_tokenizer, save_random_model


def make_small_model(folder: Path, hidden: int = 192, layers: int = 12, vocabulary: int = 6144) -> Path:
    """Save a Llama in SmolLM2-135M's proportions: heads of 64, three to a kv head, a fifth of the weights in the
    vocabulary; as it is, of 5.9 million weights. Its tokenizer has a token for each byte.
    """
    tokenizer = make_tiny_tokenizer()
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3,
        num_hidden_layers=layers,
        num_attention_heads=hidden // 64,
        num_key_value_heads=hidden // 192,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return save_random_model(config, tokenizer, folder, seed=0)
