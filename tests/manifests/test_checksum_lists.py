import contextlib
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from magnetar.errors import MalformedError, ManifestError
from magnetar.manifests.checksum_lists import ListedDigest, load_list, read_checksums, read_pointer, write_checksums
from magnetar.manifests.hashing.digests import Digest
from magnetar.model.bundled import bundled_release
from tests.manifests.conftest import CONTENT, manifest_of, write

MD5, SHA1, SHA256 = "d" * 32, "e" * 40, "f" * 64
FILES = manifest_of(CONTENT).files or ()


@pytest.mark.parametrize("tagged", [False, True], ids=["gnu", "bsd"])
def test_what_we_export_is_what_coreutils_checks_and_what_we_read_back(tmp_path: Path, tagged: bool) -> None:
    text = write_checksums(FILES, "sha256", tagged=tagged)
    write(tmp_path, {**CONTENT, "SUMS": text.encode()})
    done = subprocess.run(["sha256sum", "--check", "--strict", "SUMS"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert read_checksums(text) == tuple(ListedDigest(file.path, file.digests[0]) for file in FILES)


def test_lists_as_they_are_found_are_read() -> None:
    text = f"# made by hand\n{MD5} *./a b.bin\n\n{SHA1}  sub/c\nSHA256 (d (1)) = {SHA256.upper()}\n\\{MD5}  e\\\\f\n"
    with pytest.raises(MalformedError, match="safe relative path"):  # a back-slash is no part of a portable name
        read_checksums(text)
    assert [(one.path, one.digest.algorithm) for one in read_checksums(text.rsplit("\\" + MD5)[0])] == [
        ("a b.bin", "md5"),
        ("sub/c", "sha1"),
        ("d (1)", "sha256"),
    ]


@pytest.mark.parametrize(("name", "algorithm"), [("B3SUMS", "blake3"), ("w.b3", "blake3"), ("SHA256SUMS", "sha256")])
def test_a_list_is_of_the_algorithm_that_its_name_says(tmp_path: Path, name: str, algorithm: str) -> None:
    (tmp_path / name).write_text(f"{SHA256}  a\n")
    (file,) = load_list(tmp_path / name).files or ()
    assert [digest.algorithm for digest in file.digests] == [algorithm]


def test_the_box_of_a_release_is_read() -> None:
    listed = read_checksums((bundled_release() / "RELEASE").read_text())
    assert [one.path for one in listed] == ["consolidated.00.pth", "params.json", "tokenizer.model"]
    assert {one.digest.algorithm for one in listed} == {"md5"}


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "not a list", f"{MD5}  ../escape", f"{MD5}  /etc/passwd", f"{MD5}  .git/config",
        f"{'a' * 33}  odd", f"CRC32 (a) = {MD5}",
    ],
)  # fmt: skip
def test_what_is_no_list_or_leaves_the_folder_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(MalformedError):
        read_checksums(text)
    (tmp_path / "SUMS").write_text(text)
    with pytest.raises(ManifestError, match="SUMS"):
        load_list(tmp_path / "SUMS")


@given(st.text(max_size=300))
def test_no_text_makes_the_reader_fall_over(text: str) -> None:
    with contextlib.suppress(MalformedError):
        read_checksums(text)


def test_a_binary_file_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ManifestError, match="it is not text"):
        load_list(tmp_path / "weights")


def test_a_pointer_of_git_lfs_is_read_and_nothing_else() -> None:
    text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 123\n"
    assert read_pointer(text) == (Digest("sha256", SHA256), 123)
    with pytest.raises(MalformedError):
        read_pointer(text + "more\n")


def test_an_algorithm_that_no_file_has_cannot_be_exported() -> None:
    with pytest.raises(MalformedError, match="no file has a md5 digest"):
        write_checksums(FILES, "md5")
