"""A recipe so small that its whole loop runs in a test: a random tiny Llama, short texts, a short judge prompt.

The model learns the form of answers and judgements within seconds. It learns no judgement worth the name: what is
tested with it is the machinery.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.tiny_model import make_tiny_model

JUDGE_PROMPT = "{instruction} -> {response} ?"
JUDGEMENTS = {0: "right. Score: 5", 1: "nearly. Score: 3", 2: "wrong. Score: 1"}


def write_tiny_recipe(folder: Path) -> Path:
    """Write model, seed data, EFT judgements, prompts and recipe below `folder`; returns the recipe's path."""
    make_tiny_model(folder / "model")
    write_lines(folder / "messages.jsonl", [row for n in range(60) for row in messages(n)])
    write_lines(folder / "judgements.jsonl", [line for n in range(100, 130) for line in judgements(n)])
    write_lines(folder / "prompts.jsonl", [{"prompt": f"add {n}"} for n in range(200, 240)])
    (folder / "instructions.json").write_text(json.dumps([instruction(n) for n in range(300, 324)]))
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe(folder)))
    return path


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def replies(n: int) -> list[str]:
    """Three answers to "add n", best first."""
    return [f"{n + 1}", f"{n + 2}", f"{n}{n}"]


def instruction(n: int) -> dict[str, str]:
    """An entry in AlpacaEval's form; references differ in length, so there is a length to control for."""
    return {"instruction": f"add {n}", "dataset": "sums", "output": "=" * (n % 5) + f"{n + 1}", "generator": "people"}


def messages(n: int) -> list[dict[str, Any]]:
    common = {"lang": "en", "deleted": False, "tree_state": "ready_for_export", "message_tree_id": f"t{n}"}
    prompt = {"message_id": f"t{n}", "parent_id": None, "role": "prompter", "text": f"add {n}", "rank": None}
    answers = [
        {"message_id": f"t{n}-{rank}", "parent_id": f"t{n}", "role": "assistant", "text": text, "rank": rank}
        for rank, text in enumerate(replies(n))
    ]
    return [row | common for row in [prompt, *answers]]


def judgements(n: int) -> list[dict[str, str]]:
    texts = enumerate(replies(n))
    return [{"instruction": f"add {n}", "response": text, "judgement": JUDGEMENTS[rank]} for rank, text in texts]


def recipe(folder: Path) -> dict[str, Any]:
    # few requests at a time: a test must be able to catch sampling and judging in the middle
    few = {"concurrency": 6}
    slowly = {"temperature": 1.0, "top_p": 1.0, **few}
    training = {"batch_size": 16, "micro_batch_size": 16, "max_length": 128, "checkpoint_every": 4}
    return {
        "name": "tiny",
        "rounds": 2,
        "model": {"base": str(folder / "model")},
        "data": {"messages": str(folder / "messages.jsonl"), "ift": 40, "eft_prompts": 8, "eval_prompts": 6},
        "eft": {"source": "file", "file": str(folder / "judgements.jsonl"), "min_examples": 10},
        "sft": {"learning_rate": 1e-2, "min_learning_rate": 1e-3, "dropout": 0, "epochs": 6, **training},
        "prompts": {"source": "file", "file": str(folder / "prompts.jsonl"), "count": 16},
        "sampling": {"candidates": 4, "max_tokens": 12, **slowly},
        "judging": {"samples": 3, "max_tokens": 24, "prompt": JUDGE_PROMPT, **slowly},
        "dpo": {
            "learning_rate": 1e-3,
            "min_learning_rate": 1e-4,
            "epochs": 4,
            "lora": {"rank": 4, "alpha": 8},
            **training,
            "batch_size": 4,
            "micro_batch_size": 2,
        },
        "instructions": {"reference": str(folder / "instructions.json")},
        "annotation": {"comparison_max_tokens": 8, **few},
        # float64: rounding differs with the batch, and an interrupted run batches otherwise than an undisturbed one
        "serving": {"max_total_tokens": 2048, "dtype": "float64"},
    }
