"""The engine gives the tokens that the plain model gives, whatever is shared, padded, merged or removed on the way."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from components.serving.embedded.decoding.batch import merge
from components.serving.embedded.decoding.prefill import Prefiller
from components.serving.embedded.decoding.sampling import Sampler
from components.serving.embedded.decoding.sequences import Generation, Sequence
from components.serving.embedded.model.forward import Forward
from components.serving.embedded.model.loading import LoadedModel, load
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.scheduler.engine import Engine, GenerationError, Limits
from components.serving.embedded.scheduler.queue import BatchBudget, OverloadedError, RequestQueue
from tests.helpers.tiny_model import make_tiny_model


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """In fp32 on a GPU, too, where the engine would serve it in bf16 and every batch would round otherwise."""
    return load(make_tiny_model(tmp_path_factory.mktemp("tiny")), "float32")


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
    """An engine that is not started: the test takes the steps."""
    return Engine(loaded, Limits(**limits), Metrics())


def run(engine: Engine, sequences: list[Sequence], submit_every: int = 0) -> list[Generation]:
    """Answers of sequences that are submitted together, or one every few steps."""
    for sequence in sequences:
        engine.submit(sequence)
        for _ in range(submit_every):
            engine.step()
    for _ in range(2000):
        if all(sequence.future.done() for sequence in sequences):
            break
        engine.step()
    return [sequence.future.result(timeout=0) for sequence in sequences]


def sequences_for(prompts: list[tuple[int, ...]], max_new_tokens: int = 12) -> list[Sequence]:
    """Half greedy, half sampled; of different lengths, so that sequences leave at different times."""
    return [
        Sequence(prompt, max_new_tokens + 5 * (index % 3), Sampler(index, temperature=0.8 * (index % 2)))
        for index, prompt in enumerate(prompts)
    ]


@pytest.mark.parametrize("sharing", [True, False])
def test_logits_equal_the_plain_forward_pass(loaded: LoadedModel, sharing: bool) -> None:
    """Prefill and one step against `model(prompt)`, fp32."""
    forward = Forward(loaded.model, Metrics())
    parts = Prefiller(forward, Metrics(), sharing).read([Sequence(prompt, 1, Sampler(0)) for prompt in mixed_prompts()])
    batch = merge(None, parts)
    logits = batch.next_logits(forward)
    loaded.model.set_attn_implementation("sdpa")
    with torch.no_grad():
        prompts = [torch.tensor([sequence.prompt], device=loaded.model.device) for sequence in batch.sequences]
        plain = [loaded.model(prompt).logits[0, -1] for prompt in prompts]
    torch.testing.assert_close(logits, torch.stack(plain), atol=2e-4, rtol=2e-4)


def test_greedy_tokens_equal_the_plain_model(loaded: LoadedModel) -> None:
    prompt = tokens(50, 8)
    sequence = Sequence(prompt, 20, Sampler(0))
    run(make_engine(loaded), [sequence])
    loaded.model.set_attn_implementation("sdpa")
    ids = list(prompt)
    with torch.no_grad():
        for _ in sequence.generated:
            ids.append(int(loaded.model(torch.tensor([ids], device=loaded.model.device)).logits[0, -1].argmax()))
    assert sequence.generated == ids[len(prompt) :]


@pytest.mark.parametrize("limits", [{}, {"sharing": False}, {"max_batch": 3}, {"max_batch_total_tokens": 250}])
@pytest.mark.parametrize("submit_every", [0, 1, 7])
def test_a_request_gets_the_same_tokens_alone_and_in_company(
    loaded: LoadedModel, limits: dict[str, int | bool], submit_every: int
) -> None:
    alone = sequences_for(mixed_prompts())
    for sequence in alone:
        run(make_engine(loaded), [sequence])
    together = sequences_for(mixed_prompts())
    run(make_engine(loaded, **limits), together, submit_every)
    assert [sequence.generated for sequence in together] == [sequence.generated for sequence in alone]


def test_a_long_answer_outgrows_its_buffer(loaded: LoadedModel) -> None:
    sequences = [Sequence(tokens(30, index), 150, Sampler(index, temperature=1.0)) for index in range(3)]
    again = Sequence(tokens(30, 1), 150, Sampler(1, temperature=1.0))
    run(make_engine(loaded), sequences)
    run(make_engine(loaded), [again])
    assert again.generated == sequences[1].generated
    assert len(again.generated) > 64


def test_equal_prompts_are_read_once_and_prefixes_are_kept(loaded: LoadedModel) -> None:
    """Four candidates of a 40-token prompt read 39 tokens; then a prompt with 30 of them in front reads its other 9."""
    metrics = Metrics()
    engine = Engine(loaded, Limits(), metrics)
    prompt = tokens(40, 0)
    run(engine, [Sequence(prompt, 3, Sampler(seed, temperature=1.0)) for seed in range(4)])
    assert metrics.prefill_tokens == 39
    run(engine, [Sequence(prompt[:30] + tokens(10, 1), 3, Sampler(0))])
    assert metrics.prefill_tokens == 39 + 9
    assert (metrics.prefix_cache_hits, metrics.reused_tokens) == (1, 30)


def test_end_token_ends_and_is_not_in_the_text(loaded: LoadedModel) -> None:
    """Among 40 sampled answers of a random model over 259 tokens some end early; counts and reasons must agree."""
    sequences = [Sequence(tokens(20, 0), 200, Sampler(seed, temperature=1.0)) for seed in range(40)]
    answers = run(make_engine(loaded), sequences)
    assert {answer.finish_reason for answer in answers} == {"eos_token", "length"}
    for sequence, answer in zip(sequences, answers, strict=True):
        assert answer.generated_tokens == len(sequence.generated) <= 200
        assert (answer.finish_reason == "eos_token") == (sequence.generated[-1] in loaded.tokenizer.end_ids)
        assert "<|" not in answer.text


def test_stop_sequence_is_kept_and_what_follows_is_cut(loaded: LoadedModel) -> None:
    free = run(make_engine(loaded), [Sequence(tokens(20, 3), 60, Sampler(3, temperature=1.0))])[0]
    readable = [char for char in free.text if char.isascii() and char.isprintable()]
    stop = readable[2]
    stopped = run(
        make_engine(loaded), [Sequence(tokens(20, 3), 60, Sampler(3, temperature=1.0), stop=["nowhere", stop])]
    )[0]
    assert stopped.finish_reason == "stop_sequence"
    assert stopped.text == free.text[: free.text.index(stop) + 1]
    assert stopped.generated_tokens < free.generated_tokens


def test_an_error_answers_its_batch_and_the_engine_lives_on(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = make_engine(loaded)
    sequence = Sequence(tokens(20, 0), 5, Sampler(0))
    with monkeypatch.context() as broken:
        broken.setattr(engine._forward, "next_logits", lambda *_: 1 / 0)
        engine.submit(sequence)
        engine.step()
    with pytest.raises(GenerationError, match="ZeroDivisionError"):
        sequence.future.result(timeout=0)
    assert run(engine, [Sequence(tokens(20, 0), 5, Sampler(0))])[0].generated_tokens > 0


def test_a_batch_that_the_gpu_does_not_hold_is_made_smaller(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory for two sequences at once: eight are answered as ever. With memory for none the caller is told."""
    prompts = mixed_prompts()
    expected = [answer.text for answer in run(make_engine(loaded), sequences_for(prompts))]
    engine, room = make_engine(loaded), 2
    real = engine._forward.next_logits

    def next_logits(tokens: list[int], *rest: Any) -> torch.Tensor:
        if len(tokens) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real(tokens, *rest)

    monkeypatch.setattr(engine._forward, "next_logits", next_logits)
    assert [answer.text for answer in run(engine, sequences_for(prompts))] == expected
    assert engine.limits.max_batch_total_tokens < Limits.max_batch_total_tokens
    room = 0
    alone = Sequence(tokens(20, 0), 5, Sampler(0))
    with pytest.raises(GenerationError, match="does not hold one text of 25 tokens: lower serving.max_total_tokens"):
        run(engine, [alone])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_real_memory_that_runs_out(loaded: LoadedModel) -> None:
    """Room for 64 MB beside what is taken: 256 sequences of 600 tokens, 79 MB of keys and values, do not fit."""
    torch.cuda.empty_cache()
    total = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 64 * 2**20) / total)
    try:
        engine = make_engine(loaded, max_batch=256, max_batch_total_tokens=10**6)
        answers = run(engine, [Sequence(tokens(20, n), 580, Sampler(n, temperature=1.0)) for n in range(256)])
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert all(answer.generated_tokens for answer in answers)
    assert engine.limits.max_batch_total_tokens < 10**6


def test_a_caller_that_hangs_up_frees_its_place(loaded: LoadedModel) -> None:
    engine = make_engine(loaded)
    gone, waiting, stays = (Sequence(tokens(20, seed), 500, Sampler(seed)) for seed in range(3))
    engine.submit(gone)
    engine.step()
    engine.submit(waiting)
    gone.future.cancel()
    waiting.future.cancel()
    run(engine, [stays])
    assert len(gone.generated) <= 2
    assert not waiting.generated


def test_a_full_queue_refuses() -> None:
    queue = RequestQueue(max_size=2)
    queue.put(Sequence((1,), 1, Sampler(0)))
    queue.put(Sequence((2,), 1, Sampler(0)))
    with pytest.raises(OverloadedError):
        queue.put(Sequence((3,), 1, Sampler(0)))


def test_the_batch_budget_counts_shared_tokens_once() -> None:
    """Prompts of 100 + 1 tokens with 100 shared, 10 new ones: 100 + sequences * 11 <= 150 holds for 4 sequences."""
    sequences = [Sequence((*range(100), 1000 + index), 10, Sampler(0)) for index in range(8)]
    budget = BatchBudget([], None, max_sequences=48, max_tokens=150)
    assert [budget.accept(sequence) for sequence in sequences] == [True] * 4 + [False] * 4
    unshared = BatchBudget([], (), max_sequences=48, max_tokens=150)
    assert [unshared.accept(sequence) for sequence in sequences[:2]] == [True, False]
