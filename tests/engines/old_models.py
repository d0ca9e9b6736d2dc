"""Writes tiny models with random weights as transformers 4.51 writes them. Run in its environment:

python old_models.py FOLDER
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import sentencepiece
import torch
import transformers as hf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEXTS = [f"{a} and {b} make {a + b}, as everybody knows; 'tis true." for a in range(40) for b in range(5)]
SIZES = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 4096,
    "initializer_range": 0.2,
}
LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n'"
    " + message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
INST = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'] + eos_token }}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported') }}{% endif %}{% endfor %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n'"
    " + message['content'] + '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)


def byte_level(specials: list[str], behind: str = "") -> Tokenizer:
    """BPE on bytes, with the control tokens behind its vocabulary; `behind` stands before every text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    tokenizer.add_special_tokens([AddedToken(special, special=True, normalized=False) for special in specials])
    if behind:
        template = processors.TemplateProcessing(
            single=f"{behind} $A",
            pair=f"{behind} $A {behind} $B",
            special_tokens=[(behind, tokenizer.token_to_id(behind))],
        )
        tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def pieces(path: Path, **options: object) -> str:
    """A sentencepiece model of 400 pieces that falls back to bytes."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS),
        model_writer=written,
        vocab_size=400,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        **options,
    )
    path.write_bytes(written.getvalue())
    return str(path)


def llama3_tokenizer(_: Path) -> hf.PreTrainedTokenizerBase:
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
    inner = byte_level([*specials, "<|reserved_0|>"], "<|begin_of_text|>")
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=specials[0],
        eos_token=specials[-1],
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=True,
        chat_template=LLAMA3,
    )


def llama2_tokenizer(work: Path) -> hf.PreTrainedTokenizerBase:
    """Without tokenizer.json; two templates in a list."""
    templates = [{"name": "default", "template": INST}, {"name": "tool_use", "template": "{{ tools }}" + INST}]
    model = pieces(work / "llama2.model")
    return hf.LlamaTokenizer(model, legacy=False, chat_template=templates)


def vicuna_tokenizer(work: Path) -> hf.PreTrainedTokenizerBase:
    """With a space before every text, also behind a control token, as of old."""
    hf.LlamaTokenizer(pieces(work / "vicuna.model"), chat_template=INST).save_pretrained(work)
    return hf.LlamaTokenizerFast.from_pretrained(work)


def mistral_tokenizer(work: Path) -> hf.PreTrainedTokenizerBase:
    model = pieces(work / "mistral.model")
    hf.LlamaTokenizer(model, legacy=False, additional_special_tokens=["[TOOL]"], chat_template=INST).save_pretrained(
        work
    )
    return hf.LlamaTokenizerFast.from_pretrained(work)


def qwen_tokenizer(work: Path) -> hf.PreTrainedTokenizerBase:
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    byte_level([]).model.save(str(work))
    made = hf.Qwen2TokenizerFast(
        str(work / "vocab.json"),
        str(work / "merges.txt"),
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=[*specials[1:], "<|object_ref_start|>"],
        chat_template=CHATML,
    )
    made.add_tokens([AddedToken("<think>", special=False, normalized=False)])
    return made


def gemma_tokenizer(work: Path) -> hf.PreTrainedTokenizerBase:
    turns = ["<start_of_turn>", "<end_of_turn>"]
    model = pieces(
        work / "gemma.model",
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        user_defined_symbols=["<mask>", *turns],
        pad_piece="<pad>",
        eos_piece="<eos>",
        bos_piece="<bos>",
        add_dummy_prefix=False,
    )
    return hf.GemmaTokenizerFast(model, additional_special_tokens=turns, chat_template=GEMMA)


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}
SCALED = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR = {"rope_type": "linear", "factor": 8.0}
MODELS = {
    "llama3": (hf.LlamaConfig, llama3_tokenizer, {"rope_theta": 500_000.0, "rope_scaling": SCALED}),
    "llama2": (hf.LlamaConfig, llama2_tokenizer, {"rope_theta": 20_000.0}),
    "vicuna": (hf.LlamaConfig, vicuna_tokenizer, {}),
    "mistral": (hf.MistralConfig, mistral_tokenizer, {"rope_theta": 1_000_000.0, "sliding_window": 8}),
    "qwen2": (hf.Qwen2Config, qwen_tokenizer, {"rope_theta": 1_000_000.0, "tie_word_embeddings": True}),
    "qwen3": (hf.Qwen3Config, qwen_tokenizer, {"rope_theta": 1_000_000.0, "rope_scaling": YARN}),
    "gemma": (hf.GemmaConfig, gemma_tokenizer, {"rope_theta": 30_000.0}),
    "gemma2": (hf.Gemma2Config, gemma_tokenizer, {"rope_theta": 30_000.0, "sliding_window": 8}),
    "gemma3": (
        hf.Gemma3TextConfig,
        gemma_tokenizer,
        {
            "rope_theta": 1_000_000.0,
            "rope_local_base_freq": 5_000.0,
            "rope_scaling": LINEAR,
            "sliding_window": 8,
            "sliding_window_pattern": 2,
        },
    ),
    "gpt-neox": (hf.GPTNeoXConfig, llama3_tokenizer, {"rotary_emb_base": 40_000, "rotary_pct": 0.5}),
}


def write(name: str, folder: Path) -> None:
    made, tokenizer_of, options = MODELS[name]
    folder.mkdir(parents=True)
    work = folder.parent / f"{name}-work"
    work.mkdir()
    tokenizer = tokenizer_of(work)
    ids = {key: getattr(tokenizer, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
    config = made(**SIZES, **options, **ids, vocab_size=len(tokenizer) + 5, torch_dtype="bfloat16")
    torch.manual_seed(len(name))
    model = hf.AutoModelForCausalLM.from_config(config)
    stops = tokenizer.convert_tokens_to_ids(["<end_of_turn>" if name.startswith("gemma") else tokenizer.eos_token])
    model.generation_config.eos_token_id = [ids["eos_token_id"], *stops]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


if __name__ == "__main__":
    for each in MODELS:
        write(each, Path(sys.argv[1]) / each)
