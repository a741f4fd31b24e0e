"""Which release weights are, whatever lies beside them and whatever they are called."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from magnetar.convert.formats.safetensors import encode_header
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.convert.write.convert import convert
from magnetar.convert.write.convert_request import ConvertRequest
from magnetar.findings import Outcome
from magnetar.manifests.identity.evidence import Candidate, Certainty
from magnetar.model.bundled import bundled_release
from magnetar.pipeline.folder.look_at_weights import QUICK_BYTES
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.identify import Identity, find_candidate, identify

WRITTEN = ("hf", "mistral", "gguf", "mlx")
VIEWED = ("hf-fused", "mistral-fused")
NAME = "austen-moe"


def look(path: Path) -> Candidate:
    candidate = find_candidate(ReleaseFolder.read(path))
    assert candidate is not None
    return candidate


def read(path: Path) -> Identity:
    return identify(ReleaseFolder.read(path), full=True)


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """The release in every layout, the weights alone, under names that say nothing."""
    place = tmp_path_factory.mktemp("copies")
    made = {}
    for layout in WRITTEN:
        whole = place / f"whole-{layout}"
        convert(ConvertRequest(bundled_release(), whole, target=layout, verify=False))
        made[layout] = place / layout
        made[layout].mkdir()
        weights = [path for path in sorted(whole.iterdir()) if path.suffix in (".safetensors", ".gguf")]
        for number, path in enumerate(weights):
            shutil.copy(path, made[layout] / f"piece-{number}.dat")
    for layout in VIEWED:
        made[layout] = place / layout
        made[layout].mkdir()
        with open_source(bundled_release()) as source:
            view = view_as(source, layout)
            content = {name: bytes(view.read(name)) for name in view.specs}
            header = encode_header([view.specs[name] for name in content], {})
            (made[layout] / "x").write_bytes(header + b"".join(content.values()))
    return made


@pytest.mark.parametrize("layout", [*WRITTEN, *VIEWED])
def test_a_copy_without_configuration_and_names_is_found_and_proven(copies: Mapping[str, Path], layout: str) -> None:
    candidate = look(copies[layout])
    assert (candidate.release, candidate.certainty) == (NAME, Certainty.CANDIDATE)
    assert candidate.agreement.slices.agree == candidate.agreement.slices.of >= 19
    assert candidate.agreement.small.agree == candidate.agreement.small.of >= 10
    whole = read(copies[layout])
    assert (whole.release, whole.certainty, whole.share, whole.outcome) == (NAME, Certainty.IS, 1.0, Outcome.GOOD)
    assert identify(ReleaseFolder.read(copies[layout])).read < QUICK_BYTES
