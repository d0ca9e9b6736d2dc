"""M0: a random Llama of 0.34 M weights, and a tokenizer with one token a character."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

PAD, UNKNOWN, USER, ASSISTANT, END = "<|pad|>", "<|unknown|>", "<|user|>", "<|assistant|>", "<|end|>"
SPECIALS = (PAD, UNKNOWN, USER, ASSISTANT, END)
# Digits, operations, the marks of a judgement, and what the recipe's judge prompt puts around the two texts.
CHARACTERS = "0123456789cri yn>?"
# One token before each text and one after the answer: the shorter the sequences, the shorter the training.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}{{ '<|assistant|>' + message['content'] + '<|end|>' }}"
    "{% else %}{{ '<|user|>' + message['content'] }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
LONGEST = 64  # tokens; a judge prompt with its judgement has 28


def make_tokenizer() -> PreTrainedTokenizerFast:
    """One token a character, five control tokens, a chat template; <|end|> ends an answer."""
    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *CHARACTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()  # without it decoding puts spaces between the characters
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in SPECIALS])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, unk_token=UNKNOWN)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(seed: int, heads: int = 4) -> LlamaForCausalLM:
    """Three layers of width 96, randomly initialised. Three heads are 32 wide, which vLLM can compute on a CPU."""
    tokenizer = make_tokenizer()
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=96,
        intermediate_size=256,
        num_hidden_layers=3,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=LONGEST,
        initializer_range=0.05,  # of the order of 1 / sqrt(96); the usual 0.02 is for much wider models
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def write_model(folder: Path, seed: int, heads: int = 4) -> None:
    """Save M0 and its tokenizer as a model folder."""
    folder.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()  # 1.3 MB
    make_model(seed, heads).save_pretrained(folder, safe_serialization=True)
    make_tokenizer().save_pretrained(folder)
