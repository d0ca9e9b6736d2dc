"""What one version of transformers reads from model folders, as JSON. Run in the environment of that version:

python reader.py RESULT FOLDER ...
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from typing import Any

import torch
from jinja2 import TemplateError
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__

TEXTS = ["7 and 5 make 12, as everybody knows", "  Zwölf  Boxkämpfer\n\njagen 😀 <think> Viktor.", "a<|eot_id|>b</s>"]
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 7 and 5? "},
    {"role": "assistant", "content": "12"},
    {"role": "user", "content": "And 8 and 5?"},
]
IDS = [(7 * n + 3) % 250 for n in range(40)]


def read(folder: str) -> dict[str, Any]:
    """Token ids, texts, prompts, and the end of the logits of 40 tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        logits = model(torch.tensor([IDS])).logits[0, -3:]
    encoded = [tokenizer(text)["input_ids"] for text in TEXTS]
    found = {
        "ids": encoded,
        "inputs": sorted(tokenizer(TEXTS[0])),
        "texts": [tokenizer.decode(one) for one in encoded],
        "texts without control tokens": [tokenizer.decode(one, skip_special_tokens=True) for one in encoded],
        "control tokens": [tokenizer.bos_token, tokenizer.eos_token],
        "ends": model.generation_config.eos_token_id,
        "stored as": str(AutoModelForCausalLM.from_pretrained(folder, torch_dtype="auto").dtype),
        "logits": logits.tolist(),
    }
    with suppress(TemplateError):  # a base model's own may refuse a system message
        rendered = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, return_dict=True)
        found["prompt ids"] = rendered["input_ids"]
        found["prompt"] = tokenizer.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    return found


if __name__ == "__main__":
    result: dict[str, Any] = {"version": __version__, "folders": {}}
    for one in sys.argv[2:]:
        try:
            result["folders"][one] = read(one)
        except Exception as error:
            result["folders"][one] = {"error": repr(error)}
    with open(sys.argv[1], "w") as file:
        json.dump(result, file)
