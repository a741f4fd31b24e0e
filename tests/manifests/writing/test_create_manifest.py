import dataclasses
from pathlib import Path

import pytest

from magnetar.errors import ManifestError, UsageError
from magnetar.findings import Outcome
from magnetar.manifests.catalog import catalog
from magnetar.manifests.checking.choose_manifest import ChosenManifest
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verify import VerifyOptions, verify
from magnetar.manifests.checking.verify_report import PieceCheck
from magnetar.manifests.schema import Manifest, parse_manifest
from magnetar.manifests.writing.create_manifest import ManifestFacts, create_manifest, pin_digests, strength_of, to_toml
from tests.manifests.conftest import CONTENT, manifest_of, write

FACTS = ManifestFacts(name="tiny", title="Tiny", publisher="us", licence="MIT")


@pytest.mark.parametrize("manifest", catalog().values(), ids=lambda manifest: manifest.name)
def test_a_manifest_comes_back_from_its_own_text(manifest: Manifest) -> None:
    assert parse_manifest(to_toml(manifest).encode(), "again") == manifest


def test_a_manifest_of_a_folder_proves_that_folder_and_no_other(release: Path) -> None:
    write(release, {".magnetar/lock": b"", ".git/HEAD": b"", "magnetar.toml": b"old"})
    manifest = create_manifest(release, FACTS, ["sha256", "blake3"])
    assert [file.path for file in manifest.files or ()] == ["params.json", "weights.bin", "sub/tokenizer.model"]
    assert verify(release, ChosenManifest(manifest, "", Voucher.CATALOG)).outcome is Outcome.GOOD
    (release / "params.json").write_bytes(b"[]")
    assert verify(release, ChosenManifest(manifest, "", Voucher.CATALOG)).outcome is Outcome.BAD


def test_the_same_folder_gives_the_same_text(release: Path, tmp_path: Path) -> None:
    again = write(tmp_path / "copy", dict(reversed(CONTENT.items())))
    assert to_toml(create_manifest(release, FACTS, ["md5"])) == to_toml(create_manifest(again, FACTS, ["md5"]))


def test_an_empty_folder_a_link_and_an_unknown_algorithm_are_refused(release: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="crc32"):
        create_manifest(release, FACTS, ["crc32"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no files"):
        create_manifest(tmp_path / "empty", FACTS, ["md5"])
    (release / "link").symlink_to(release / "params.json")
    with pytest.raises(UsageError, match="no regular file"):
        create_manifest(release, FACTS, ["md5"])


def test_a_fact_that_the_schema_does_not_know_is_refused(release: Path) -> None:
    with pytest.raises(ManifestError, match="name"):
        create_manifest(release, {**FACTS, "name": "../escape"}, ["md5"])


def test_what_only_an_md5_proved_is_pinned_with_a_sha256(release: Path) -> None:
    weak = manifest_of(CONTENT, "md5")
    pinned = pin_digests(weak, release, verify(release, ChosenManifest(weak, "", Voucher.CATALOG)), ["sha256"])
    assert verify(release, ChosenManifest(pinned, "", Voucher.CATALOG)).voucher is Voucher.CATALOG
    assert {digest.algorithm for file in pinned.files or () for digest in file.digests} == {"sha256", "md5"}


def test_what_its_pieces_proved_is_pinned_even_where_no_file_was_listed(release: Path) -> None:
    manifest = manifest_of(CONTENT)
    bare = manifest.model_copy(
        update={"files": tuple(file.model_copy(update={"digests": ()}) for file in manifest.files or ())}
    )
    report = verify(release, ChosenManifest(bare, "", Voucher.CATALOG), VerifyOptions(pieces=PieceCheck(frozenset())))
    pinned = pin_digests(bare.model_copy(update={"files": None}), release, report, ["sha256"])
    assert {file.path: file.digests for file in pinned.files or ()} == {
        file.path: file.digests for file in manifest.files or ()
    }


def test_what_was_not_proven_is_not_pinned(release: Path) -> None:
    manifest = manifest_of(CONTENT)
    (release / "params.json").write_bytes(b"[]")
    with pytest.raises(ManifestError, match=r"params\.json"):
        pin_digests(manifest, release, verify(release, ChosenManifest(manifest, "", Voucher.CATALOG)), ["sha256"])


def test_a_file_that_changed_after_its_proof_is_not_pinned(release: Path) -> None:
    weak = manifest_of(CONTENT, "md5")
    report = verify(release, ChosenManifest(weak, "", Voucher.CATALOG))
    (release / "params.json").write_bytes(b"[]")
    with pytest.raises(ManifestError, match="changed between"):
        pin_digests(weak, release, report, ["sha256"])


def test_the_strength_of_a_manifest_is_counted_by_the_best_digest_of_each_file() -> None:
    mixed = manifest_of({"a": b"a"}).files or ()
    mixed += manifest_of({"b": b"b"}, "md5").files or ()
    mixed += tuple(file.model_copy(update={"path": "c", "digests": ()}) for file in mixed[:1])
    strength = strength_of(manifest_of(CONTENT).model_copy(update={"files": mixed}))
    assert dataclasses.astuple(strength) == ("tiny", 3, 1, 1, 1)
