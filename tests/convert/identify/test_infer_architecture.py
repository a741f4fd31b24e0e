from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.convert.identify.infer_architecture import MAX_BLOCKS, fits_names, infer_architecture, possible_head_dims
from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.layout.tables import LAYOUTS
from magnetar.convert.layout.tensor_layout import TensorLayout
from magnetar.errors import LayoutError
from tests.convert.forge import DENSE, MOE

SHAPE_FACTS = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size", "n_experts")
ANY_LAYOUT = st.sampled_from(list(LAYOUTS.values()))


ONE_EXPERT = replace(MOE, n_experts=1, experts_per_token=1)
ONLY_EXPERTS = ("mistral-fused", "hf-fused", "mlx")
CASES = [
    (layout, architecture)
    for layout in LAYOUTS.values()
    for architecture in (MOE, ONE_EXPERT, replace(MOE, hidden_dim=9), DENSE)
    if architecture.n_experts or layout.name not in ONLY_EXPERTS
]


@pytest.mark.parametrize(("layout", "architecture"), CASES)
def test_sizes_are_told_by_shapes_alone(layout: TensorLayout, architecture: Architecture) -> None:
    shapes = {name: tensor.shape for name, tensor in layout.tensors(architecture).items()}
    found = infer_architecture(layout, shapes, architecture.head_dim)
    assert all(getattr(found, fact) == getattr(architecture, fact) for fact in SHAPE_FACTS)
    assert {name: tensor.shape for name, tensor in layout.tensors(found).items()} == shapes
    assert fits_names(layout, shapes)
    assert architecture.head_dim in possible_head_dims(infer_architecture(layout, shapes))


def test_likely_sizes_of_heads_are_tried_first() -> None:
    wide = replace(MOE, dim=4096, n_heads=32, n_kv_heads=8, head_dim=128)
    assert possible_head_dims(wide)[:2] == (128, 64)
    assert possible_head_dims(wide, likely=256)[:3] == (256, 128, 64)
    assert set(possible_head_dims(wide)) == {2**power for power in range(1, 11)}


@given(ANY_LAYOUT, st.data())
def test_hostile_shapes_are_refused_or_bounded(layout: TensorLayout, data: st.DataObject) -> None:
    shapes = {name: tensor.shape for name, tensor in layout.tensors(MOE).items()}
    sizes = st.integers(0, 5) | st.integers(0, 1 << 48)
    for name in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=6)):
        if data.draw(st.booleans()):
            shapes[name] = tuple(data.draw(st.lists(sizes, max_size=4)))
        else:
            number = data.draw(st.integers(0, 9_999_999))
            shapes[name.replace(".0.", f".{number}.")] = shapes.pop(name, (1,))
    try:
        found = infer_architecture(layout, shapes)
    except LayoutError:
        return
    assert found.n_layers * (1 + found.n_experts) <= MAX_BLOCKS
    layout.tensors(found)


@pytest.mark.parametrize("missing", ["attention.wq", "attention.wk", "feed_forward.experts"])
def test_without_a_matrix_the_sizes_are_not_known(missing: str) -> None:
    shapes = {name: tensor.shape for name, tensor in LAYOUTS["mistral"].tensors(MOE).items() if missing not in name}
    with pytest.raises(LayoutError, match="not known"):
        infer_architecture(LAYOUTS["mistral"], shapes)


def test_heads_that_do_not_divide_the_rows_are_refused() -> None:
    shapes = {name: tensor.shape for name, tensor in LAYOUTS["mistral"].tensors(MOE).items()}
    with pytest.raises(LayoutError, match="heads of 6 do not fit"):
        infer_architecture(LAYOUTS["mistral"], shapes, 6)
