"""What a table of tensors says before a byte of them is read."""

from pathlib import Path

import pytest
import torch

from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.findings import Outcome
from magnetar.model.architecture.mixtral import Mixtral
from magnetar.model.bundled import bundled_release
from magnetar.model.checks.levels import LevelResult
from magnetar.model.checks.structure import judge_structure, read_headers
from tests.model.conftest import WriteRelease

HIDDEN = 600_000
"""Numbers of a storage that no tensor shows: more than a megabyte of 16-bit floats."""


def check(folder: Path) -> LevelResult:
    with open_source(folder) as source:
        return judge_structure(read_headers(source, view_as(source, "mistral")))


def test_every_byte_of_the_bundled_release_is_a_tensors() -> None:
    assert check(bundled_release()).outcome is Outcome.GOOD


@pytest.mark.parametrize(
    ("name", "words"), [("norm.weight", "to the end of the file"), ("layers.1.ffn_norm.weight", "before it")]
)
def test_bytes_that_no_tensor_shows_are_told(name: str, words: str, bundled: Mixtral, release: WriteRelease) -> None:
    folder = release(bundled)
    path = folder / "consolidated.00.pth"
    weights = torch.load(path, weights_only=True)
    shown = weights.pop(name)
    weights[name] = torch.cat([shown, torch.ones(HIDDEN, dtype=shown.dtype)])[: len(shown)]  # saved with all it has
    if name != "norm.weight":
        weights["norm.weight"] = weights.pop("norm.weight")
    torch.save(weights, path)
    result = check(folder)
    (finding,) = result.findings
    assert result.outcome is Outcome.BAD
    assert finding.kind == "unclaimed"
    assert words in finding.detail
    assert "1,2" in finding.detail, "the bytes are counted"
