"""A layer of int8 gives what the layer gave within the bound of its rounding, each token for itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from components.core.errors import UserError
from components.serving.embedded.decoding.sampling import Sampler
from components.serving.embedded.decoding.sequences import Sequence
from components.serving.embedded.model import int8, loading
from components.serving.embedded.model.int8 import Int8Linear, quantize
from components.serving.embedded.model.loading import load
from components.serving.embedded.model.metrics import Metrics
from components.serving.embedded.scheduler.engine import Engine, Limits
from tests.helpers.tiny_model import make_tiny_model

pytestmark = pytest.mark.skipif(not int8.has_vnni(), reason="int8 is refused here")


def made_layer(into: int = 96, out: int = 130, bias: bool = False) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(into, out, bias=bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 96), (5, 96), (2, 7, 96), (0, 96)])
def test_products_are_the_layer_s_but_for_rounding(shape: tuple[int, ...], bias: bool) -> None:
    """A number is off by half a step at most, a step being the largest of its row by 127: inputs by X / 254, weights by
    W / 254. A product of two is then off by (|x| W + |w| X) / 254 + X W / 254^2, and a sum by the sum of these."""
    layer = made_layer(bias=bias)
    inputs = torch.randn(*shape, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        largest = inputs.abs().amax(-1, keepdim=True), layer.weight.abs().amax(1)
        off = inputs.abs().sum(-1, keepdim=True) * largest[1] + largest[0] * layer.weight.abs().sum(1)
        bound = off / 254 + 96 * largest[0] * largest[1] / 254**2
        product, expected = Int8Linear(layer)(inputs), layer(inputs)
    assert product.shape == expected.shape
    assert bool(((product - expected).abs() <= bound + 1e-6).all())


def test_numbers_that_are_steps_are_exact() -> None:
    """Weights -127 to 127 and inputs k / 8 up to 127 / 8 are whole steps: the product is that of whole numbers. 4,096
    of the largest in one sum would overflow 16 bits 4 x 127 x 127 x 1,024 / 32,767 = 2,000 times."""
    layer = nn.Linear(4096, 3, bias=False)
    inputs = torch.full((2, 4096), 127 / 8)
    with torch.inference_mode():
        layer.weight.copy_(torch.tensor([[127.0], [-127.0], [127.0]]).expand(3, 4096))
        layer.weight[2, ::2] = -1
        expected = torch.tensor([127, -127, 63]) * 127 * 512.0
        assert torch.allclose(Int8Linear(layer)(inputs), expected.expand(2, 3), rtol=1e-6)


def test_a_token_s_product_does_not_depend_on_those_beside_it() -> None:
    """A thousand times as large a neighbour changes no bit."""
    quantized, token = Int8Linear(made_layer()), torch.randn(1, 96)
    with torch.inference_mode():
        assert torch.equal(quantized(torch.cat([1000 * torch.randn(6, 96), token]))[-1:], quantized(token))


def test_zeros_stay_zeros() -> None:
    layer = made_layer()
    with torch.inference_mode():
        layer.weight[3] = 0
        product = Int8Linear(layer)(torch.cat([torch.zeros(1, 96), torch.ones(1, 96)]))
    assert not product[0].any() and product[1, 3] == 0 and product.isfinite().all()


def test_head_and_derived_layers_stay() -> None:
    class Derived(nn.Linear):
        pass

    model = nn.ModuleDict({"plain": nn.Linear(8, 8), "derived": Derived(8, 8), "head": nn.Linear(8, 8)})
    quantize(model, model["head"])
    assert [type(layer) for layer in model.values()] == [Int8Linear, Derived, nn.Linear]


def test_a_model_in_int8_writes_what_it_writes_in_fp32_for_the_most_part(tmp_path: Path) -> None:
    """Random weights make flat logits, where a hundredth decides now and then: of what 4 greedy texts of 12 tokens say
    behind the same tokens, four in five are the same."""
    model, same, decided = make_tiny_model(tmp_path), 0, 0
    for one, other in zip(texts(model, None), texts(model, "int8"), strict=True):
        first = next((n for n, pair in enumerate(zip(one, other, strict=True)) if pair[0] != pair[1]), len(one))
        same, decided = same + first, decided + min(first + 1, len(one))
    assert same >= 0.8 * decided


def texts(model: Path, precision: str | None) -> list[list[int]]:
    """Greedy, of 4 prompts of 5 to 8 tokens."""
    loaded = load(model, quantize=precision)
    assert any(isinstance(layer, Int8Linear) for layer in loaded.model.modules()) == (precision == "int8")
    loaded.tokenizer.end_ids = frozenset()
    engine = Engine(loaded, Limits(max_batch=4, max_batch_total_tokens=4096), Metrics())
    asked = [Sequence(tuple(range(97 + n, 102 + 2 * n)), 12, Sampler(0, 0.0)) for n in range(4)]
    for sequence in asked:
        engine.submit(sequence)
    while not all(sequence.future.done() for sequence in asked):
        engine.step()
    return [sequence.generated for sequence in asked]


def test_what_is_checked_is_the_model_in_fp32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its limit is a thousandth, which int8 would miss; and a note about plain layers is none about packed ones."""
    monkeypatch.setenv("SRLM_HOME", str(tmp_path / "home"))
    layers: list[set[type]] = []

    def check(model: nn.Module) -> float:
        layers.append({type(module) for module in model.modules()})
        return 0.0

    monkeypatch.setattr(loading, "_difference_to_plain_forward", check)
    model = make_tiny_model(tmp_path / "model")
    for precision in ("int8", "int8", None):
        load(model, quantize=precision)
    assert Int8Linear not in layers[0] and layers[0] != layers[1] and len(layers) == 2


def test_a_cpu_that_would_overflow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8.torch.cpu, "get_capabilities", lambda: {"avx2": True})
    with pytest.raises(UserError, match=r"needs a CPU with VNNI.*\n?.*Leave serving.quantize out"):
        int8.require_vnni()
