"""A folder with a ``model.sig``: found, checked, and turned into something to hold the folder against."""

import shutil
from pathlib import Path

import pytest

from magnetar.errors import ManifestError, WrongBytesError
from magnetar.events import Event, SignerFound
from magnetar.findings import Outcome
from magnetar.manifests.checking.ledger import Voucher
from magnetar.manifests.checking.verify import VerifyOptions, verify
from magnetar.manifests.signing.check import ByKey
from magnetar.manifests.signing.keys import load_library
from magnetar.manifests.signing.sign import KeySigning, ManifestSigner
from magnetar.pipeline.folder.release_folder import ReleaseFolder
from magnetar.pipeline.proving.signed_folder import SignedFolder, check_signed_folder, is_signed_as_folder
from magnetar.pipeline.proving.signed_manifest import SignatureDemand
from tests.fetch.world import flip_byte, write_release
from tests.magnetar.conftest import Run
from tests.manifests.signing.keys import write_key

PLACES = ("tiny/model.sig", "tiny.magnetar/model.sig", "tiny.sig", "model.sig")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key(tmp_path / "lab.pem")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_release(tmp_path / "tiny", {"weights": 70_000, "params.json": 120, "sub/tokenizer": 90})


def sign(folder: Path, key: Path, place: Path) -> Path:
    place.parent.mkdir(exist_ok=True)
    config = load_library().signing.Config().use_elliptic_key_signer(private_key=key)
    config.sign(folder, place)
    return place


def demand(key: Path, signature: Path | None = None) -> SignatureDemand:
    public = key.with_name(key.name + ".pub")
    return SignatureDemand(ByKey(public.read_bytes(), public.name), signature)


def check(folder: Path, asked: SignatureDemand) -> SignedFolder | None:
    return check_signed_folder(ReleaseFolder.read(folder), asked)


@pytest.mark.parametrize("place", PLACES)
def test_the_signature_is_found_in_the_folder_or_beside_it(folder: Path, key: Path, tmp_path: Path, place: str) -> None:
    path = sign(folder, key, tmp_path / place)
    events: list[Event] = []
    found = check_signed_folder(ReleaseFolder.read(folder), demand(key), events.append)
    assert found is not None
    assert found.path == path
    assert [file.path for file in found.manifest.files or ()] == ["params.json", "sub/tokenizer", "weights"]
    assert found.manifest.name == "tiny"
    assert found.signer == ManifestSigner(KeySigning(key)).signer
    assert events == [SignerFound(str(path), str(found.signer))]
    assert found.choose().voucher is Voucher.SIGNER


def test_a_signature_that_is_named_is_the_one_that_counts(folder: Path, key: Path, tmp_path: Path) -> None:
    (folder / "model.sig").write_text("{}")
    assert check(folder, demand(key)) is None  # it is over no folder
    named = sign(folder, key, tmp_path / "elsewhere" / "any.name")
    found = check(folder, demand(key, named))
    assert found is not None
    assert found.path == named


def test_a_signature_beside_several_folders_is_of_the_one_that_it_names(
    folder: Path, key: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    sign(other, key, tmp_path / "model.sig")
    assert check(other, demand(key)) is not None
    assert check(folder, demand(key)) is None


def test_nothing_is_found_where_nobody_was_named_or_nothing_signed(folder: Path, key: Path) -> None:
    assert check(folder, demand(key)) is None
    sign(folder, key, folder / "model.sig")
    assert check(folder, SignatureDemand()) is None
    assert check(folder / "weights", demand(key)) is None


def test_the_signature_of_a_manifest_is_not_taken_for_one_of_a_folder(folder: Path, key: Path, tmp_path: Path) -> None:
    named = tmp_path / "tiny.toml.sig"
    named.write_bytes(ManifestSigner(KeySigning(key)).sign("tiny.toml", b"format = 1"))
    assert check(folder, demand(key, named)) is None


def test_a_signature_by_another_is_refused(folder: Path, key: Path, tmp_path: Path) -> None:
    sign(folder, key, folder / "model.sig")
    with pytest.raises(WrongBytesError, match="does not hold"):
        check(folder, demand(write_key(tmp_path / "other.pem")))


def test_a_list_of_shards_is_refused_by_name(folder: Path, key: Path) -> None:
    library = load_library()
    config = library.signing.Config().use_elliptic_key_signer(private_key=key)
    config.set_hashing_config(library.hashing.Config().use_shard_serialization(shard_size=1000))
    config.sign(folder, folder / "model.sig")
    with pytest.raises(ManifestError, match="'shards'"):
        check(folder, demand(key))


def test_files_are_held_against_what_was_signed_and_others_are_no_findings(folder: Path, key: Path) -> None:
    sign(folder, key, folder / "model.sig")
    found = check(folder, demand(key))
    assert found is not None
    assert verify(folder, found.choose(), VerifyOptions()).outcome is Outcome.GOOD
    (folder / "added.py").write_text("print()")
    report = verify(folder, found.choose(), VerifyOptions())
    assert report.outcome is Outcome.UNKNOWN
    assert report.unexpected == ("added.py", "model.sig")
    flip_byte(folder / "weights", 40_000)
    (folder / "params.json").unlink()
    report = verify(folder, found.choose(), VerifyOptions())
    assert sorted((finding.kind, finding.subject) for finding in report.findings) == [
        ("missing", "params.json"),
        ("wrong-digest", "weights"),
    ]


def test_what_publish_signed_is_found_beside_the_folder(magnetar: Run, folder: Path, key: Path) -> None:
    words = ("--no-tensors", "--sign", "key", "--key", key)
    assert magnetar("publish", folder, *words).code == 0
    found = check(folder, demand(key))
    assert found is not None
    assert found.path == folder.with_name("tiny.magnetar") / "model.sig"
    assert verify(folder, found.choose(), VerifyOptions()).outcome is Outcome.GOOD


def test_a_signed_manifest_comes_first_and_a_named_one_alone_counts(magnetar: Run, folder: Path, key: Path) -> None:
    assert magnetar("publish", folder, "--no-tensors", "--sign", "key", "--key", key).code == 0
    beside = folder.with_name("tiny.magnetar")
    opened = ReleaseFolder.read(folder)
    assert not is_signed_as_folder(opened, None, demand(key))
    assert is_signed_as_folder(opened, None, demand(key, beside / "model.sig"))
    assert not is_signed_as_folder(opened, None, demand(key, beside / "tiny.toml.sig"))
    (beside / "tiny.toml.sig").unlink()
    assert is_signed_as_folder(opened, None, demand(key))
    assert not is_signed_as_folder(opened, str(beside / "tiny.toml"), demand(key))
    assert not is_signed_as_folder(opened, None, SignatureDemand())
    (beside / "model.sig").unlink()
    assert not is_signed_as_folder(opened, None, demand(key))
