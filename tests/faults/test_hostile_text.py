"""Texts that attackers write (tests/faults/hostile.py) through what reads them: parsers, prompts, records, recipes,
servers' answers and what is called by them. What shows them is in test_hostile_shown.py."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from jinja2.sandbox import ImmutableSandboxedEnvironment

from components.core.errors import UserError
from components.core.record_files import json_line
from components.core.records import Candidate
from components.evaluation.alpaca_eval.verdicts import parse_verdict
from components.evaluation.mt_bench.rating import parse_rating
from components.judging.parser import ScoreFormat, parse_score
from components.judging.prompt import built_in_judge_prompt, without_control_tokens
from components.kubernetes.objects import labels, object_name
from components.prompts.cleaning import clean
from components.registry.client import LONGEST_TAG
from components.serving.meaning import Kind, meaning_of
from pipelines.recipe import load_recipe
from pipelines.runs import check_run_name
from tests.faults.hostile import CONTROLS, Note, watched

OWN = ScoreFormat(r"\[\[(?P<score>\d+)\]\]", 1, 10)


def reads_scores(text: str) -> bool:
    """A number of the scale, or none with a reason."""
    scores = [(parse_score(text), 0, 5), (parse_score(text, score_format=OWN), 1, 10), (parse_rating(text), 1, 10)]
    known = all(low <= one.value <= high if one.value is not None else bool(one.unparsed) for one, low, high in scores)
    return known and (parse_verdict(text) is None or parse_score(text, True) is not None)


def test_scores_and_verdicts(note: Note) -> None:
    watched(note, "scores, ratings, verdicts", 0.22, reads_scores)


def test_written_prompts(note: Note) -> None:
    watched(note, "prompts that a model has written", 0.08, lambda text: (clean(text) or "x").strip())


PROMPT, FORGED = built_in_judge_prompt(), re.compile("|".join(map(re.escape, CONTROLS)), re.IGNORECASE)
TAGS = ("<instruction>", "</instruction>", "<response>", "</response>")


def keeps_its_slot(text: str) -> bool:
    filled = PROMPT.fill(text, text)
    return all(filled.count(tag) == 1 for tag in TAGS) and not FORGED.search(filled)


def test_the_judge_prompt_and_its_delimiters(note: Note) -> None:
    """One slot each, and no token of any template."""
    watched(note, "judge prompt, delimiters, control tokens", 0.18, keeps_its_slot)


# Ten forms in which models are told apart who speaks, shortened to the turns: `m` are the messages, `r` a role.
FORMS = [
    ImmutableSandboxedEnvironment().from_string(
        "{% for x in m %}{% set r, c = x.role, x.content %}" + turn + "{% endfor %}"
    )
    for turn in (
        "<|im_start|>{{ r }}\n{{ c }}<|im_end|>\n",
        "<s>[INST] <<SYS>>x<</SYS>> {{ c }} [/INST]</s>",
        "<|start_header_id|>{{ r }}<|end_header_id|>\n\n{{ c }}<|eot_id|>",
        "[SYSTEM_PROMPT]x[/SYSTEM_PROMPT][INST]{{ c }}[/INST]",
        "<start_of_turn>{{ r }}\n{{ c | trim }}<end_of_turn>\n",
        "<|{{ r }}|>\n{{ c }}<|end|>\n",
        "<｜User｜>{{ c }}<｜Assistant｜><｜end▁of▁sentence｜>",
        "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{{ c }}<|END_OF_TURN_TOKEN|>",
        "[gMASK]<sop><|{{ r }}|>\n{{ c }}",
        "<|start_of_role|>{{ r }}<|end_of_role|>{{ c }}<|end_of_text|>\n",
    )
]


def opens_no_turn(text: str) -> bool:
    """The judge's conversation has the control tokens that it has with a harmless answer, in their order."""
    form = FORMS[len(text) % len(FORMS)]
    made = [form.render(m=[{"role": "user", "content": PROMPT.fill(said, said)}] * 2) for said in ("plain", text)]
    return FORGED.findall(made[0]) == FORGED.findall(made[1])


def test_chat_templates_of_ten_forms(note: Note) -> None:
    watched(note, "chat templates of ten forms", 0.04, opens_no_turn)


@pytest.mark.parametrize("token", CONTROLS)
def test_no_control_token_of_a_chat_template_is_left(token: str) -> None:
    assert token not in without_control_tokens(f"a{token}b{token.upper()}")


def survives_the_store(text: str) -> bool:
    one = Candidate(id=text, prompt_id="p", prompt=text, text=text, finish_reason="stop", seed=1, tokens=1)
    data = 2 * json_line(one)
    lines = data.splitlines()
    return len(lines) == 2 and all(Candidate.model_validate_json(line) == one for line in lines)


def test_records(note: Note) -> None:
    watched(note, "records in a store", 0.1, survives_the_store)


NAME, LABEL = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?"), re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")


def names_objects(text: str) -> bool:
    """Of a run whose name is taken."""
    run = re.sub(r"[^a-z0-9.-]", "", text.lower())
    check_run_name(run)
    name = object_name(run, "server", 40)
    values = labels("server", run).values()
    return bool(NAME.fullmatch(name)) and len(name) <= 63 and all(LABEL.fullmatch(v) and len(v) < 64 for v in values)


def test_names_and_labels_of_kubernetes(note: Note) -> None:
    watched(note, "names and labels of Kubernetes", 0.1, names_objects, UserError)


def test_names_of_runs(note: Note) -> None:
    def is_one_folder(text: str) -> bool:
        check_run_name(text)
        return bool(LABEL.fullmatch(text)) and text not in ("", ".", "..")

    watched(note, "names of runs", 0.165, is_one_folder, UserError)


def test_what_servers_answer(note: Note) -> None:
    """Any text with any status means something."""

    def means_something(text: str) -> bool:
        kinds = {meaning_of(status, {"retry-after": text}, text).kind for status in (200, 307, 400, 429, 503)}
        message = json.dumps({"error": {"message": text, "code": text}, "choices": [text]})
        return Kind.ANSWER not in kinds and "\n" not in meaning_of(400, {}, message, ["max_tokens"]).problem

    watched(note, "what servers answer", 0.01, means_something)


@pytest.mark.slow
def test_parameters_and_tags_of_mlflow(note: Note) -> None:
    """MLflow's own rules; nothing of a setting is left out, it may be cut."""
    from mlflow.utils.validation import _validate_param, _validate_tag

    from components.registry.tracking import params_of

    def is_taken(text: str) -> bool:
        params = params_of({"gate": {"floors": {text: 0.5}}, "prompts": {"system": text, "topics": [text, text]}})
        for param in params:
            _validate_param(param.key, param.value)
        _validate_tag("srlm.verdict.reasons", text[:LONGEST_TAG])
        return len({param.key for param in params}) == 3

    watched(note, "parameters and tags of MLflow", 0.03, is_taken)


def test_recipes(note: Note, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"

    def is_recipe(text: str) -> bool:
        """As the file's own words, or as one value of it, which is what it was."""
        value = len(text) % 2 == 0
        path.write_text(yaml.safe_dump({"extends": "demo", "description": text}) if value else f"extends: demo\n{text}")
        recipe = load_recipe(str(path))
        return not value or recipe.description == text

    watched(note, "recipes", 0.002, is_recipe, UserError)
