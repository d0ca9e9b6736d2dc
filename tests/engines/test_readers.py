"""Models that are published here, read by transformers 4.51 (as TGI has it), 4.57 and the version that trains."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from components.base_model.base_model import import_model
from components.base_model.settings import BaseModelSettings
from components.core.model_files import model_folder
from components.core.records import Counts, Example, Manifest, Pair, Parent
from components.core.stage import Stage
from components.core.store import join
from components.pairs.settings import PairsSettings
from components.seed_data.settings import SeedDataSettings
from components.training.dpo.dpo import DpoInputs, train_dpo
from components.training.dpo.settings import DpoSettings
from components.training.settings import LoraSettings
from components.training.sft.settings import SftSettings
from components.training.sft.sft import fine_tune
from tests.helpers.paths import ROOT

pytestmark = pytest.mark.engines
READERS = Path(os.environ.get("SRLM_TEST_READERS", ROOT / ".venv-readers"))
OLDEST = "4.51.3"
NAMES = ["llama3", "llama2", "vicuna", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gpt-neox"]
WRITTEN = ["by 4.51", "by 5"]
SMALL = {"batch_size": 2, "micro_batch_size": 2, "max_length": 512, "max_steps": 1, "learning_rate": 1e-3}


def python(version: str) -> str:
    return str(READERS / version / "bin/python")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Folders of M0, M1 (all weights) and M2 (LoRA, merged), by `NAME WRITTEN MODEL`."""
    if not READERS.exists():
        pytest.fail("the old readers are not installed: `make test-engines` does that")
    root = tmp_path_factory.mktemp("readers")
    subprocess.run([python(OLDEST), Path(__file__).with_name("old_models.py"), root / "old"], check=True)
    folders: dict[str, Path] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLM_HOME", str(root / "home"))
        for name in NAMES:
            new = root / "new" / name
            AutoModelForCausalLM.from_pretrained(root / "old" / name).save_pretrained(new)
            AutoTokenizer.from_pretrained(root / "old" / name).save_pretrained(new)
            for written, base in zip(WRITTEN, (root / "old" / name, new), strict=True):
                folders |= {f"{name} {written} {m}": folder for m, folder in trained(str(root / "store"), base).items()}
            folders[f"{name} by 4.51 itself"] = root / "old" / name
        yield folders


def trained(root: str, base: Path) -> dict[str, Path]:
    def uri(made: Manifest) -> str:
        return join(root, made.stage, made.key)

    def data(stage: Stage, records: Any) -> str:
        if not stage.manifest:
            stage.publish(Counts(), records)
        return stage.uri

    toy = {"toy": Parent(uri="toy", digest="toy")}
    examples = [Example(id=str(n), kind="ift", prompt=f"add {n}", completion=f"it is {n + 1}") for n in range(4)]
    scores = {"chosen_id": "a", "rejected_id": "b", "chosen_score": 5, "rejected_score": 1}
    two = [Pair(id=str(n), prompt=f"add {n}", chosen=f"{n + 1}", rejected=f"no {n}", **scores) for n in range(4)]
    seeds = data(Stage(root, "seed_data", SeedDataSettings(messages="toy"), toy), {"ift": examples})
    pairs = data(Stage(root, "pairs", PairsSettings(), toy), {"pairs": two})
    m0 = uri(import_model(root, BaseModelSettings(base=str(base))))
    m1 = uri(fine_tune(root, SftSettings(**SMALL), m0, seeds))
    lora = DpoSettings(**SMALL, held_out=0, lora=LoraSettings(rank=2, alpha=4), save_dtype="bfloat16")
    m2 = uri(train_dpo(root, lora, DpoInputs(m1, pairs)))
    return {"M0": model_folder(m0), "M1": model_folder(m1), "M2": model_folder(m2)}


@pytest.fixture(scope="module")
def read(published: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, dict[str, Any]]]:
    """What each version reads, by version and folder."""
    work, found = tmp_path_factory.mktemp("read"), {}
    for interpreter in [*sorted(READERS.glob("*/bin/python")), sys.executable]:
        command = [interpreter, Path(__file__).with_name("reader.py"), work / "result.json", *published.values()]
        subprocess.run(command, check=True)
        result = json.loads((work / "result.json").read_text())
        found[result["version"]] = {of: result["folders"][str(folder)] for of, folder in published.items()}
    return found


@pytest.mark.parametrize("model", ["M0", "M1", "M2"])
@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("name", NAMES)
def test_every_version_reads_the_same_from_what_is_published(read: Any, name: str, written: str, model: str) -> None:
    seen = {version: folders[f"{name} {written} {model}"] for version, folders in read.items()}
    assert len(seen) >= 3
    assert not {version: one["error"] for version, one in seen.items() if "error" in one}
    first = seen[OLDEST]
    for version, one in seen.items():
        for what in first.keys() - {"logits"}:
            assert one[what] == first[what], f"{version}: {what}"
        for row, expected in zip(one["logits"], first["logits"], strict=True):
            assert row == pytest.approx(expected, abs=1e-5), f"{version}: logits"


@pytest.mark.parametrize("name", NAMES)
def test_a_base_model_of_old_keeps_its_tokens(read: Any, name: str) -> None:
    """What 4.51 reads of the base model itself it reads of those that are trained from it."""
    own, last = (read[OLDEST][f"{name} by 4.51 {which}"] for which in ("itself", "M2"))
    for what in ("ids", "inputs", "texts", "texts without control tokens", "control tokens", "ends"):
        assert last[what] == own[what], what
