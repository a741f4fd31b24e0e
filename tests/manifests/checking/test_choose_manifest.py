import os
from pathlib import Path

import pytest

from magnetar.errors import ManifestError, UsageError
from magnetar.manifests.catalog import find_release
from magnetar.manifests.checking.choose_manifest import ChosenManifest, choose_manifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.folder.layout import OWN_MANIFEST
from magnetar.manifests.folder.origin import Origin
from tests.manifests.conftest import write

OWN = b'format = 1\nname = "own"\ntitle = "Own"\npublisher = "us"\nlicence = "MIT"\n[[files]]\npath = "a"\n'
MISTRAL_FILES = {"RELEASE": b"", "consolidated.00.pth": b"", "params.json": b"", "tokenizer.model": b""}


def choose(
    folder: Path, named: str | None = None, *, origin: Origin | None = None, published: Path | None = None
) -> ChosenManifest:
    return choose_manifest(folder, named, origin=origin, published=published)


def test_a_folder_is_held_against_what_it_was_fetched_as(tmp_path: Path) -> None:
    mixtral = find_release("mixtral-8x7b-v0.1")
    choice = choose(tmp_path, origin=Origin("anything", mixtral.infohash_v1 or "", "", complete=True))
    assert (choice.manifest, choice.voucher) == (mixtral, Voucher.CATALOG)
    assert "fetched" in choice.reason


def test_file_names_that_fit_several_releases_are_told_apart_by_the_folder_or_not_at_all(tmp_path: Path) -> None:
    named = write(tmp_path / "mixtral-8x7b-32kseqlen", MISTRAL_FILES)
    assert choose(named).manifest.name == "mixtral-8x7b-v0.1"
    nameless = write(tmp_path / "download", MISTRAL_FILES)
    with pytest.raises(UsageError, match=r"could be .*mistral-7b-v0\.1") as caught:
        choose(nameless)
    assert "--manifest" in caught.value.hint


def test_the_folders_own_manifest_comes_last_and_proves_only_that_it_is_undamaged(tmp_path: Path) -> None:
    write(tmp_path, {OWN_MANIFEST: OWN, "a": b""})
    choice = choose(tmp_path)
    assert (choice.manifest.name, choice.voucher) == ("own", Voucher.FOLDER)


def test_naming_the_folders_own_manifest_does_not_raise_its_trust(tmp_path: Path) -> None:
    write(tmp_path / "r", {OWN_MANIFEST: OWN, "a": b""})
    assert choose(tmp_path / "r", str(tmp_path / "r" / OWN_MANIFEST)).voucher is Voucher.FOLDER
    write(tmp_path, {"pinned.toml": OWN})
    assert choose(tmp_path / "r", str(tmp_path / "pinned.toml")).voucher is Voucher.MANIFEST


def test_a_name_a_file_and_neither(tmp_path: Path) -> None:
    assert choose(tmp_path, "grok-1").manifest.name == "grok-1"
    with pytest.raises(UsageError, match="no such manifest"):
        choose(tmp_path, str(tmp_path / "absent.toml"))
    with pytest.raises(UsageError, match="no release named"):
        choose(tmp_path, "nonsense")
    with pytest.raises(UsageError, match="no release of the catalog fits"):
        choose(tmp_path)


def test_a_release_of_the_catalog_goes_before_a_file_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, {"grok-1": b"d41d8cd98f00b204e9800998ecf8427e  a\n"})
    monkeypatch.chdir(tmp_path)
    choice = choose(tmp_path, "grok-1")
    assert (choice.manifest, choice.voucher) == (find_release("grok-1"), Voucher.CATALOG)
    assert choice.reason == "the release of the catalog that was named"


def test_a_release_of_the_catalog_goes_before_a_folder_of_the_same_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "grok-1").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose(tmp_path / "grok-1", "grok-1").manifest == find_release("grok-1")


def test_a_list_of_digests_is_a_manifest_when_it_is_named(tmp_path: Path) -> None:
    write(tmp_path / "r", {"a": b"", "inside.md5": b"d41d8cd98f00b204e9800998ecf8427e  a\n"})
    write(tmp_path, {"sums.md5": b"d41d8cd98f00b204e9800998ecf8427e  a\n"})
    choice = choose(tmp_path / "r", str(tmp_path / "sums.md5"))
    assert [file.path for file in choice.manifest.files or ()] == ["a"]
    assert (choice.voucher, choice.reason.split(",")[0]) == (Voucher.MANIFEST, "the list of digests that was named")
    assert choose(tmp_path / "r", str(tmp_path / "r" / "inside.md5")).voucher is Voucher.FOLDER


def test_a_folder_is_no_manifest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a folder, and no manifest") as caught:
        choose(tmp_path, str(tmp_path))
    assert ".toml" in caught.value.hint


def test_what_was_published_beside_a_folder_goes_before_the_folders_own_manifest(tmp_path: Path) -> None:
    write(tmp_path / "r", {OWN_MANIFEST: OWN, "a": b""})
    write(tmp_path, {"r.magnetar/published.toml": OWN.replace(b'"own"', b'"published"')})
    choice = choose(tmp_path / "r", published=tmp_path / "r.magnetar" / "published.toml")
    assert (choice.manifest.name, choice.voucher) == ("published", Voucher.FOLDER)
    assert "beside the folder" in choice.reason


def test_what_a_folder_was_fetched_as_goes_before_its_file_names_if_its_torrent_can_tell(tmp_path: Path) -> None:
    folder = write(tmp_path / "mixtral-8x7b-32kseqlen", MISTRAL_FILES)
    other = find_release("mixtral-8x22b-v0.1")
    origin = Origin("anything", other.infohash_v1 or "", "", complete=True)
    kept = ((other.infohash_v1 or ""), "")
    assert choose_manifest(folder, None, origin=origin, published=None, kept=lambda: kept).manifest == other


def test_a_note_never_leads_from_a_release_that_the_files_are_of_to_one_that_cannot_tell(tmp_path: Path) -> None:
    folder = write(tmp_path / "mixtral-8x7b-32kseqlen", MISTRAL_FILES)
    other = find_release("mixtral-8x22b-v0.1")  # no digests, and its torrent is not here
    origin = Origin("anything", other.infohash_v1 or "", "", complete=True)
    assert choose(folder, origin=origin).manifest.name == "mixtral-8x7b-v0.1"


def test_the_size_of_the_largest_file_goes_before_any_note(tmp_path: Path) -> None:
    austen = find_release("austen-moe")
    largest = max((file.size or 0, file.path) for file in austen.files or ())
    folder = write(tmp_path / "r", {file.path: b"" for file in austen.files or ()})
    os.truncate(folder / largest[1], largest[0])
    mixtral = find_release("mixtral-8x7b-v0.1")
    origin = Origin("anything", mixtral.infohash_v1 or "", "", complete=True)
    kept = ((mixtral.infohash_v1 or ""), "")
    choice = choose_manifest(folder, None, origin=origin, published=None, kept=lambda: kept)
    assert choice.manifest == austen


def test_an_own_manifest_that_is_broken_is_an_error_of_the_manifest(tmp_path: Path) -> None:
    write(tmp_path, {OWN_MANIFEST: b"format = 1\n[[files]]\npath = '../x'"})
    with pytest.raises(ManifestError):
        choose(tmp_path)
