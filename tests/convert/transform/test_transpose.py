import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.convert.transform.transpose import transpose


@settings(max_examples=80)
@given(st.integers(1, 90), st.integers(1, 300), st.sampled_from([1, 2, 4, 8]))
def test_a_transposed_matrix_is_numpys(rows: int, columns: int, itemsize: int) -> None:
    matrix = np.random.default_rng(rows).integers(0, 256, (rows, columns, itemsize), np.uint8)
    numbers = matrix.reshape(rows, -1).view(f"u{itemsize}")
    expected = np.ascontiguousarray(numbers.T).tobytes()
    panels = [bytes(view) for view in transpose(memoryview(bytearray(matrix.tobytes())), rows, columns, itemsize)]
    assert b"".join(panels) == expected


@pytest.mark.parametrize("rows", [256, 257])
def test_columns_come_some_at_a_time(rows: int) -> None:
    views = list(transpose(memoryview(bytearray(rows * 1000 * 2)), rows, 1000, 2))
    assert len(views) == 8
    assert sum(map(len, views)) == rows * 1000 * 2
