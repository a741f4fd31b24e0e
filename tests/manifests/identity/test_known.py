import hashlib
import json
from pathlib import Path

import pytest

from magnetar.manifests.catalog import CATALOG_FOLDER
from magnetar.manifests.identity.index import INDEX, parse_index
from magnetar.manifests.identity.known import bundled_index, load_known, renew_user_index
from magnetar.manifests.tensor_digests import (
    SliceDigest,
    TensorDigest,
    TensorDigests,
    format_tensor_digests,
    load_tensor_digests,
)

RELEASED = Path(__file__).parents[1] / "released"


def add(folder: Path, name: str, seed: int) -> TensorDigests:
    """A release in the user's catalog that lists two tensors."""
    shas = [hashlib.sha256(f"{seed} {number}".encode()).hexdigest() for number in range(2)]
    digests = TensorDigests(
        "mistral",
        {f"t{number}": TensorDigest("F32", (8, 4), sha) for number, sha in enumerate(shas)},
        {"t0": SliceDigest(4, 8, "ab" * 32)},
    )
    content = format_tensor_digests(digests)
    (folder / f"{name}.tensors.json").write_bytes(content)
    (folder / f"{name}.toml").write_text(
        f'format = 1\nname = "{name}"\ntitle = "T"\npublisher = "us"\nlicence = "MIT"\n[tensors]\n'
        f'path = "{name}.tensors.json"\ndigest = "sha256:{hashlib.sha256(content).hexdigest()}"\n'
    )
    return digests


@pytest.fixture
def mine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    folder = tmp_path / "catalog"
    folder.mkdir()
    monkeypatch.setenv("MAGNETAR_CATALOG", str(folder))
    return folder


def test_the_index_that_ships_is_what_the_manifests_give() -> None:
    assert (CATALOG_FOLDER / INDEX).read_bytes() == bundled_index()
    assert load_known().stale == ()


def test_a_release_is_found_by_one_of_its_tensors_and_by_the_count_of_its_numbers(mine: Path) -> None:
    digests = add(mine, "mine", 1)
    renew_user_index()
    known = load_known()
    assert known.stale == ()
    sha = digests.tensors["t1"].sha256
    assert known.suspects([["00" * 32, sha]], 0) == ("mine",)
    assert known.suspects([], 64) == ("mine",)
    assert known.suspects([["00" * 32]], 65) == ()
    assert known.tensors_of("mine") == digests


def test_the_release_with_the_most_tensors_comes_first(mine: Path) -> None:
    one, two = add(mine, "one", 1), add(mine, "two", 2)
    tensors = [*([tensor.sha256] for tensor in two.tensors.values()), [one.tensors["t0"].sha256]]
    assert load_known().suspects(tensors, 64) == ("two", "one")


def test_a_stale_index_is_named_and_made_anew_in_memory(mine: Path) -> None:
    add(mine, "mine", 1)
    renew_user_index()
    before = (mine / INDEX).read_bytes()
    changed = add(mine, "mine", 2)
    known = load_known()
    assert known.stale == ("mine",)
    assert known.suspects([[changed.tensors["t0"].sha256]], 0) == ("mine",)
    assert (mine / INDEX).read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"[]", b'{"format": 2, "releases": {}}', b"\xff" * 100, b"[" * 100_000])
def test_a_damaged_index_is_as_good_as_none(mine: Path, content: bytes) -> None:
    digests = add(mine, "mine", 1)
    (mine / INDEX).write_bytes(content)
    known = load_known()
    assert known.stale == ("mine",)
    assert known.suspects([[digests.tensors["t0"].sha256]], 0) == ("mine",)


def test_a_release_whose_list_is_missing_or_another_is_left_out(mine: Path) -> None:
    add(mine, "mine", 1)
    (mine / "mine.tensors.json").write_bytes(b"{}")
    assert load_known().tensors_of("mine") is None
    assert load_known().suspects([], 64) == ()


def test_the_index_has_some_tens_of_bytes_for_a_tensor() -> None:
    content = (CATALOG_FOLDER / INDEX).read_bytes()
    count = sum(len(entry.digests) for entry in parse_index(content, "x").values())
    assert len(content) <= 40 * count
    assert json.loads(content)["format"] == 1


def test_lists_of_tensors_of_released_versions_still_load() -> None:
    now = load_tensor_digests(CATALOG_FOLDER / "austen-moe.tensors.json")
    for path in sorted(RELEASED.glob("*/*.tensors.json")):
        old = load_tensor_digests(path)
        assert old.tensors == now.tensors and old.slices == {}
    assert len(now.slices) == 24
