"""The engine gives the tokens that the plain model gives, whatever is shared, padded, joined or removed on the way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from components.core.errors import UserError
from components.serving.embedded.batch import join
from components.serving.embedded.engine import Engine, GenerationError, Limits
from components.serving.embedded.forward import Forward
from components.serving.embedded.loading import LoadedModel, load
from components.serving.embedded.metrics import Metrics
from components.serving.embedded.prefill import Prefiller
from components.serving.embedded.queue import OverloadedError, RequestQueue, Room
from components.serving.embedded.rows import Generation, Row
from components.serving.embedded.sampling import Sampler
from tests.helpers.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(make_tiny_model(tmp_path_factory.mktemp("tiny")))


def tokens(count: int, seed: int) -> tuple[int, ...]:
    """Random byte tokens."""
    generator = random.Random(seed)
    return tuple(generator.randrange(256) for _ in range(count))


def mixed_prompts() -> list[tuple[int, ...]]:
    """Equal ones, with a long and with a short common start, one that starts another, unrelated and one-token ones."""
    rubric = tokens(60, 0)
    return [
        rubric + tokens(9, 1),
        rubric + tokens(30, 2),
        rubric + tokens(9, 1),
        rubric,
        rubric[:20] + tokens(5, 3),
        tokens(44, 4),
        tokens(1, 5),
        rubric + tokens(30, 2),
    ]


def make_engine(loaded: LoadedModel, **limits: int | bool) -> Engine:
    """An engine that is not started: the test takes the turns."""
    return Engine(loaded, Limits(**limits), Metrics())


def run(engine: Engine, rows: list[Row], join_every: int = 0) -> list[Generation]:
    """Answers of rows that are submitted together, or one every few turns."""
    for row in rows:
        engine.submit(row)
        for _ in range(join_every):
            engine.turn()
    for _ in range(2000):
        if all(row.future.done() for row in rows):
            break
        engine.turn()
    return [row.future.result(timeout=0) for row in rows]


def rows_for(prompts: list[tuple[int, ...]], max_new_tokens: int = 12) -> list[Row]:
    """Half greedy, half sampled; of different lengths, so that rows leave at different times."""
    return [
        Row(prompt, max_new_tokens + 5 * (index % 3), Sampler(index, temperature=0.8 * (index % 2)))
        for index, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("sharing", [True, False])
def test_logits_equal_the_plain_forward_pass(loaded: LoadedModel, sharing: bool) -> None:
    """Prefill and one step against `model(prompt)`, fp32."""
    forward = Forward(loaded.model, Metrics())
    parts = Prefiller(forward, Metrics(), sharing).read([Row(prompt, 1, Sampler(0)) for prompt in mixed_prompts()])
    batch = join(parts)
    logits = batch.next_logits(forward)
    loaded.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        plain = [loaded.model(torch.tensor([row.prompt])).logits[0, -1] for row in batch.rows]
    torch.testing.assert_close(logits, torch.stack(plain), atol=2e-4, rtol=2e-4)


def test_greedy_tokens_equal_the_plain_model(loaded: LoadedModel) -> None:
    prompt = tokens(50, 8)
    row = Row(prompt, 20, Sampler(0))
    run(make_engine(loaded), [row])
    loaded.model.set_attn_implementation("sdpa")
    ids = list(prompt)
    with torch.no_grad():
        for _ in row.generated:
            ids.append(int(loaded.model(torch.tensor([ids])).logits[0, -1].argmax()))
    assert row.generated == ids[len(prompt) :]


@pytest.mark.parametrize("limits", [{}, {"sharing": False}, {"max_batch": 3}, {"max_batch_total_tokens": 250}])
@pytest.mark.parametrize("join_every", [0, 1, 7])
def test_a_request_gets_the_same_tokens_alone_and_in_company(
    loaded: LoadedModel, limits: dict[str, int | bool], join_every: int
) -> None:
    alone = rows_for(mixed_prompts())
    for row in alone:
        run(make_engine(loaded), [row])
    together = rows_for(mixed_prompts())
    run(make_engine(loaded, **limits), together, join_every)
    assert [row.generated for row in together] == [row.generated for row in alone]


def test_a_long_answer_outgrows_its_buffer(loaded: LoadedModel) -> None:
    rows = [Row(tokens(30, index), 150, Sampler(index, temperature=1.0)) for index in range(3)]
    again = Row(tokens(30, 1), 150, Sampler(1, temperature=1.0))
    run(make_engine(loaded), rows)
    run(make_engine(loaded), [again])
    assert again.generated == rows[1].generated
    assert len(again.generated) > 64


def test_equal_prompts_are_read_once_and_prefixes_are_kept(loaded: LoadedModel) -> None:
    """Four candidates of a 40-token prompt read 39 tokens; then a prompt with 30 of them in front reads its other 9."""
    metrics = Metrics()
    engine = Engine(loaded, Limits(), metrics)
    prompt = tokens(40, 0)
    run(engine, [Row(prompt, 3, Sampler(seed, temperature=1.0)) for seed in range(4)])
    assert metrics.prefill_tokens.value == 39
    run(engine, [Row(prompt[:30] + tokens(10, 1), 3, Sampler(0))])
    assert metrics.prefill_tokens.value == 39 + 9
    assert (metrics.prefix_cache_hits.value, metrics.reused_tokens.value) == (1, 30)


def test_end_token_ends_and_is_not_in_the_text(loaded: LoadedModel) -> None:
    """Among 40 sampled answers of a random model over 259 tokens some end early; counts and reasons must agree."""
    rows = [Row(tokens(20, 0), 200, Sampler(seed, temperature=1.0)) for seed in range(40)]
    answers = run(make_engine(loaded), rows)
    assert {answer.finish_reason for answer in answers} == {"eos_token", "length"}
    for row, answer in zip(rows, answers, strict=True):
        assert answer.generated_tokens == len(row.generated) <= 200
        assert (answer.finish_reason == "eos_token") == (row.generated[-1] in loaded.tokens.end_ids)
        assert "<|" not in answer.text


def test_stop_sequence_is_kept_and_what_follows_is_cut(loaded: LoadedModel) -> None:
    free = run(make_engine(loaded), [Row(tokens(20, 3), 60, Sampler(3, temperature=1.0))])[0]
    readable = [char for char in free.text if char.isascii() and char.isprintable()]
    stop = readable[2]
    stopped = run(make_engine(loaded), [Row(tokens(20, 3), 60, Sampler(3, temperature=1.0), stop=["nowhere", stop])])[0]
    assert stopped.finish_reason == "stop_sequence"
    assert stopped.text == free.text[: free.text.index(stop) + 1]
    assert stopped.generated_tokens < free.generated_tokens


def test_an_error_answers_its_batch_and_the_engine_lives_on(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(loaded)
    row = Row(tokens(20, 0), 5, Sampler(0))
    with monkeypatch.context() as broken:
        broken.setattr(engine._forward, "next_logits", lambda *_: 1 / 0)
        engine.submit(row)
        engine.turn()
    with pytest.raises(GenerationError, match="ZeroDivisionError"):
        row.future.result(timeout=0)
    assert run(engine, [Row(tokens(20, 0), 5, Sampler(0))])[0].generated_tokens > 0


def test_a_caller_that_hangs_up_frees_its_place(loaded: LoadedModel) -> None:
    engine = make_engine(loaded)
    gone, waiting, stays = (Row(tokens(20, seed), 500, Sampler(seed)) for seed in range(3))
    engine.submit(gone)
    engine.turn()
    engine.submit(waiting)
    gone.future.cancel()
    waiting.future.cancel()
    run(engine, [stays])
    assert len(gone.generated) <= 2
    assert not waiting.generated


def test_a_full_queue_refuses() -> None:
    queue = RequestQueue(max_size=2)
    queue.put(Row((1,), 1, Sampler(0)))
    queue.put(Row((2,), 1, Sampler(0)))
    with pytest.raises(OverloadedError):
        queue.put(Row((3,), 1, Sampler(0)))


def test_room_counts_shared_tokens_once() -> None:
    """Prompts of 100 + 1 tokens with 100 shared, 10 new ones: 100 + rows * 11 <= 150 holds for 4 rows."""
    rows = [Row((*range(100), 1000 + index), 10, Sampler(0)) for index in range(8)]
    room = Room([], None, max_rows=48, max_tokens=150)
    assert [room.accept(row) for row in rows] == [True] * 4 + [False] * 4
    unshared = Room([], (), max_rows=48, max_tokens=150)
    assert [unshared.accept(row) for row in rows[:2]] == [True, False]


def test_a_directory_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="safetensors"):
        load(tmp_path)


def test_a_model_that_is_no_language_model_is_refused(tmp_path: Path) -> None:
    make_tiny_model(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "no-such-thing"}')
    with pytest.raises(UserError, match="cannot be loaded"):
        load(tmp_path)
