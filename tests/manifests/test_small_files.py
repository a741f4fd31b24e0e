"""Small files that a manifest holds whole."""

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from magnetar.errors import ManifestError
from magnetar.manifests.catalog import catalog
from magnetar.manifests.hashing.digests import digest_bytes
from magnetar.manifests.schema import (
    MAX_CONTENT_BYTES,
    MAX_MANIFEST_BYTES,
    Manifest,
    ReleaseFile,
    load_manifest,
    parse_manifest,
)
from magnetar.manifests.small_files import digests_beside, small_files
from magnetar.manifests.tensor_digests import load_tensor_digests
from magnetar.manifests.writing.create_manifest import HELD, ManifestFacts, create_manifest, to_toml
from magnetar.model.bundled import bundled_release
from tests.effort import measured_effort

RELEASED = sorted((Path(__file__).parent / "released").glob("*/*.toml"))
FACTS = ManifestFacts(name="tiny", title="Tiny", publisher="us", licence="MIT")
HEAD: dict[str, Any] = {"format": 1, "name": "tiny", "title": "Tiny", "publisher": "us", "licence": "MIT"}
PARAMS = b'{"dim": 4}'


def parse(**file: Any) -> Manifest:
    described = {"path": "params.json", "size": len(PARAMS), "digests": [str(digest_bytes("sha256", PARAMS))]}
    document = HEAD | {"files": [{key: value for key, value in (described | file).items() if value is not None}]}
    return parse_manifest(tomli_w.dumps(document).encode(), "tiny.toml")


@pytest.mark.parametrize("path", RELEASED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_manifest_of_a_released_version_still_loads(path: Path) -> None:
    manifest = load_manifest(path)
    assert manifest.name == path.stem
    assert not small_files(manifest)
    if manifest.tensors is not None:
        assert load_tensor_digests(path.parent / manifest.tensors.path, manifest.tensors.digest).tensors


def test_manifests_of_released_versions_are_kept() -> None:
    assert len(RELEASED) >= 7


def test_the_catalog_holds_the_small_files_of_the_bundled_release() -> None:
    held = small_files(catalog()["austen-moe"])
    assert held == {name: (bundled_release() / name).read_bytes() for name in ("params.json", "tokenizer.model")}


def test_text_and_bytes_come_back_as_they_were() -> None:
    assert small_files(parse(content=PARAMS.decode())) == {"params.json": PARAMS}
    assert small_files(parse(content_base64=base64.b64encode(PARAMS).decode())) == {"params.json": PARAMS}
    assert not small_files(parse())


@pytest.mark.parametrize(
    "odd",
    [
        {"content": '{"dim": 5}'},
        {"content": '{"dim": 4} '},
        {"content": PARAMS.decode(), "size": 11},
        {"content": PARAMS.decode(), "digests": ["md5:" + "0" * 32]},
        {"content": PARAMS.decode(), "digests": [str(digest_bytes("sha256", PARAMS)), "blake3:" + "0" * 64]},
        {"content": PARAMS.decode(), "content_base64": base64.b64encode(PARAMS).decode()},
        {"content_base64": base64.b64encode(PARAMS).decode()[:-1]},
        {"content_base64": "A"},
        {"content_base64": base64.b64encode(PARAMS).decode().replace("=", "\n")},
        {"content_base64": "\u00e9"},
        {"content": ["a"]},
    ],
    ids=str,
)
def test_content_that_is_not_what_the_manifest_says_of_the_file_is_refused(odd: dict[str, Any]) -> None:
    with pytest.raises(ManifestError, match=r"files\.0"):
        parse(**odd)


@pytest.mark.parametrize("character", ["a", "\u00e9", "\u20ac"])
def test_content_above_its_limit_of_bytes_is_refused(character: str) -> None:
    for more in (0, 1):
        text = character * ((MAX_CONTENT_BYTES // len(character.encode())) + more)
        file = {"content": text, "size": len(text.encode()), "digests": []}
        if more:
            with pytest.raises(ManifestError, match="content"):
                parse(**file)
        else:
            assert small_files(parse(**file))


@settings(max_examples=60)
@given(st.dictionaries(st.sampled_from(sorted(HELD)), st.binary(max_size=300) | st.text(max_size=300), min_size=1))
def test_whatever_the_small_files_of_a_folder_hold_its_manifest_holds(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes | str]
) -> None:
    folder = tmp_path_factory.mktemp("release")
    contents = {name: text.encode() if isinstance(text, str) else text for name, text in files.items()}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    manifest = create_manifest(folder, FACTS, ["sha256"])
    assert small_files(manifest) == contents
    assert parse_manifest(to_toml(manifest).encode(), "again") == manifest


def test_large_files_and_other_files_are_described_by_their_digests_alone(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(b"[" * (MAX_CONTENT_BYTES + 1))
    (tmp_path / "modeling.py").write_bytes(b"pass")
    assert not small_files(create_manifest(tmp_path, FACTS, ["sha256"]))


@pytest.mark.parametrize("awkward", [b'"', b"\\", b"\0", b"\x7f", b"\xff", b"\n", b"\r"])
def test_seven_files_of_the_most_awkward_text_fit_into_a_manifest(tmp_path: Path, awkward: bytes) -> None:
    for name in HELD:
        (tmp_path / name).write_bytes(awkward * MAX_CONTENT_BYTES)
    text = to_toml(create_manifest(tmp_path, FACTS, ["sha256", "blake3"]))
    assert len(text) < MAX_MANIFEST_BYTES


def test_brackets_and_dots_inside_of_content_are_no_nesting_and_no_keys(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text('{"' + "[" * 1000 + '": "' + "a.b=" * 500 + '\\"\'"}')
    assert small_files(create_manifest(tmp_path, FACTS, ["sha256"]))


def test_strings_that_never_end_take_time_in_proportion_to_their_length() -> None:
    def refuse(count: int) -> float:
        text = 'format = 1\nx = "' + '\\"' * count
        with measured_effort() as effort, pytest.raises(ManifestError):
            parse_manifest(text.encode(), "odd.toml")
        return effort.units

    # Sixteen times in proportion; 256 times if each character were read again for every other.
    assert refuse(160_000) < 120 * max(refuse(10_000), 1e-9)


def test_the_files_beside_each_other_are_found_by_their_base_names() -> None:
    files = tuple(
        ReleaseFile(path=path, digests=(digest_bytes("sha256", path.encode()),))
        for path in ("a/params.json", "b/params.json", "RELEASE")
    )
    manifest = Manifest.model_construct(format=1, files=files)
    assert set(digests_beside(manifest) or ()) == {"RELEASE"}
    found = (digests_beside(manifest, "b") or {})["params.json"]
    assert [digest.hex for digest in found] == [hashlib.sha256(b"b/params.json").hexdigest()]
