"""Everything beside the tensors of a copy, held against what the release's own small files become."""

import pytest

from magnetar.manifests.checking.ledger import Means
from tests.convert.derive.conftest import MADE, Copy, check, faults


@pytest.mark.parametrize("name", MADE)
def test_an_untouched_copy_of_our_own_is_proven_whole(made: Copy, name: str) -> None:
    rows = check(made(name))
    assert faults(rows) == {}
    beside = {row.file for row in rows}
    assert {path.name for path in made(name).iterdir() if path.is_file()} - beside <= {
        "CONVERSION.md",
        "model.safetensors",
    }


def test_a_file_that_is_derived_byte_for_byte_is_one_row(made: Copy) -> None:
    rows = [row for row in check(made("hf")) if row.file == "config.json"]
    assert [(row.name, row.means) for row in rows] == [("config.json", Means.DERIVED)]
    rows = [row for row in check(made("hf")) if row.file == "tokenizer.model"]
    assert [(row.name, row.means) for row in rows] == [("tokenizer.model", Means.FILE_DIGEST)]
