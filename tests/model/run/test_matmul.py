import pytest
import torch

from magnetar.model.run import matmul
from magnetar.model.run.matmul import multiply


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_on_several_threads_come_to_what_one_product_does(
    threads: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matmul, "MAX_WIDENED_BYTES", 4 * 64 * 5)  # five rows
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(37, 64, generator=generator).bfloat16()
    groups = [torch.randn(count, 64, generator=generator).to(dtype) for count in (7, 0, 1)]
    for group, product in zip(groups, multiply(groups, weight), strict=True):
        assert product.dtype is dtype
        torch.testing.assert_close(product, group @ weight.to(dtype).T, rtol=1e-2, atol=1e-3)


def test_the_threads_of_everything_else_stay_as_they_were() -> None:
    before = torch.get_num_threads()
    multiply([torch.ones(2, 1024)], torch.ones(2048 * 16, 1024))
    assert torch.get_num_threads() == before
