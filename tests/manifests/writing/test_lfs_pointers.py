import hashlib
from pathlib import Path

import pytest

from magnetar.errors import MalformedError, ManifestError, UsageError
from magnetar.manifests.checksum_lists import read_pointer
from magnetar.manifests.hashing.digests import Digest
from magnetar.manifests.schema import ReleaseFile
from magnetar.manifests.writing.lfs_pointers import MAX_POINTER_BYTES, export_pointers, import_manifest, write_pointer
from tests.manifests.conftest import write

WEIGHTS = ReleaseFile(path="sub/weights.bin", size=87 << 30, digests=(Digest("sha256", "a" * 64),))


def test_a_pointer_comes_back_as_the_digest_and_the_size() -> None:
    assert read_pointer(write_pointer(WEIGHTS)) == (WEIGHTS.digests[0], WEIGHTS.size)


@pytest.mark.parametrize("missing", [{"size": None}, {"digests": ()}, {"digests": (Digest("md5", "a" * 32),)}])
def test_a_file_without_its_size_or_sha_256_has_no_pointer(missing: dict[str, object]) -> None:
    with pytest.raises(MalformedError, match=r"sub/weights\.bin"):
        write_pointer(WEIGHTS.model_copy(update=missing))


def test_a_pointer_alone_is_a_manifest_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_text(write_pointer(WEIGHTS))
    (file,) = import_manifest(tmp_path / "weights.bin").files or ()
    assert (file.path, file.size, file.digests) == ("weights.bin", WEIGHTS.size, WEIGHTS.digests)


def test_of_a_clone_pointers_are_resolved_and_other_files_are_hashed(tmp_path: Path) -> None:
    write(tmp_path, {"sub/weights.bin": write_pointer(WEIGHTS).encode(), "README": b"read me", ".git/HEAD": b"ref"})
    readme, weights = import_manifest(tmp_path).files or ()
    assert weights == WEIGHTS
    assert (readme.path, readme.size) == ("README", 7)
    assert Digest("sha256", hashlib.sha256(b"read me").hexdigest()) in readme.digests


def test_a_file_that_is_too_large_for_a_pointer_is_none(tmp_path: Path) -> None:
    text = write_pointer(WEIGHTS)
    write(tmp_path, {"a": (text + "x" * MAX_POINTER_BYTES).encode(), "b": text.encode()})
    large, pointer = import_manifest(tmp_path).files or ()
    assert large.size == len(text) + MAX_POINTER_BYTES
    assert pointer.size == WEIGHTS.size


def test_a_file_that_is_neither_a_list_nor_a_pointer_is_an_error_with_its_path(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("hello")
    with pytest.raises(ManifestError) as caught:
        import_manifest(path)
    assert caught.value.path == path
    with pytest.raises(UsageError, match="no such file"):
        import_manifest(tmp_path / "absent")


def test_pointers_are_written_into_a_new_or_empty_folder_only(tmp_path: Path) -> None:
    assert export_pointers([WEIGHTS], tmp_path / "new") == ("sub/weights.bin",)
    assert read_pointer((tmp_path / "new" / "sub" / "weights.bin").read_text())[1] == WEIGHTS.size
    with pytest.raises(UsageError, match="not empty"):
        export_pointers([WEIGHTS], tmp_path / "new")


def test_nothing_is_written_if_one_file_has_no_pointer(tmp_path: Path) -> None:
    bare = ReleaseFile(path="bare", size=1)
    with pytest.raises(MalformedError, match="bare"):
        export_pointers([WEIGHTS, bare], tmp_path / "new")
    with pytest.raises(MalformedError, match="no files"):
        export_pointers([], tmp_path / "new")
    assert not (tmp_path / "new").exists()
