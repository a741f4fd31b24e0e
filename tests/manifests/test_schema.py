from pathlib import Path

import pytest

from magnetar.errors import ManifestError
from magnetar.manifests.schema import Manifest, load_manifest, parse_manifest
from tests.effort import measured_effort

HEAD = 'format = 1\nname = "tiny"\ntitle = "Tiny"\npublisher = "us"\nlicence = "Apache-2.0"\n'


def parse(text: str) -> Manifest:
    return parse_manifest((HEAD + text).encode(), "tiny.toml")


@pytest.mark.parametrize(
    "path",
    [
        "../x", "/etc/passwd", "a/../../x", "", ".", "a//b", "a\\\\..\\\\x", "C:/x", "a/./b",
        ".magnetar/resume", "sub/.MAGNETAR/x", ".git/hooks/post-checkout", ".git./config", "a\\u0000b",
        "a\\nb", "a\\u001b[31m",
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_or_enters_a_state_folder_is_refused(path: str) -> None:
    with pytest.raises(ManifestError, match=r"files\.0\.path"):
        parse(f'[[files]]\npath = "{path}"')


def test_paths_that_only_look_odd_are_kept() -> None:
    manifest = parse('[[files]]\npath = "ckpt-0/tensor00000_000"\n[[files]]\npath = "..a/b .bin"')
    assert manifest.files is not None
    assert [file.path for file in manifest.files] == ["ckpt-0/tensor00000_000", "..a/b .bin"]


def test_a_higher_format_is_refused_with_advice_to_upgrade() -> None:
    with pytest.raises(ManifestError) as caught:
        parse_manifest(b'format = 2\nnews = "yes"', "new.toml")
    assert caught.value.hint == "upgrade Magnetar"


@pytest.mark.parametrize("text", ["", "format = true", 'format = "1"', "format = 0"])
def test_a_document_without_our_format_is_refused(text: str) -> None:
    with pytest.raises(ManifestError, match="format is"):
        parse_manifest(text.encode(), "odd.toml")


def test_an_unknown_key_is_refused_by_its_path_unless_it_is_foreign() -> None:
    with pytest.raises(ManifestError, match=r"files\.0\.sha256"):
        parse('[[files]]\npath = "a"\nsha256 = "aa"')
    assert parse('x-mirror-bot = "kept for others"\n[[files]]\npath = "a"\nx-note = 1').files is not None


@pytest.mark.parametrize(
    "digest",
    ["sha256:00", "crc32:00000000", "sha256:" + "G" * 64, "md5:" + "A" * 32, "sha256", "", "sha256:" + "0" * 65],
)
def test_a_digest_of_an_unknown_algorithm_or_a_wrong_length_is_refused(digest: str) -> None:
    with pytest.raises(ManifestError, match=r"files\.0\.digests\.0"):
        parse(f'[[files]]\npath = "a"\ndigests = ["{digest}"]')


def test_two_files_that_one_disk_may_hold_as_one_are_refused() -> None:
    with pytest.raises(ManifestError, match="named twice"):
        parse('[[files]]\npath = "A"\n[[files]]\npath = "a"')


def test_every_fault_of_a_manifest_is_told_at_once() -> None:
    with pytest.raises(ManifestError) as caught:
        parse('[[files]]\npath = "a"\nsize = -1\n[[files]]\npath = "../b"')
    assert "files.0.size" in caught.value.message
    assert "files.1.path" in caught.value.message


@pytest.mark.parametrize(
    "hostile",
    [
        b"a" + b".a" * 20000 + b" = 1",
        b"format = 1\nx = " + b"[" * 5000,
        b"format = 1\nx = " + b"{a=" * 5000,
        b"format = 1\n" + b"# " + b"x" * (1 << 20),
        b"format = 1\nname = '\xff\xfe'",
        b"\x00\x01\x02",
        b"format = 1\nname",
        b"format = 1\npublished = 2023-99-99",
    ],
    ids=["dotted-key", "deep-list", "deep-table", "too-large", "not-utf8", "binary", "syntax", "date"],
)
def test_hostile_documents_are_refused_with_little_work(hostile: bytes) -> None:
    with measured_effort() as effort, pytest.raises(ManifestError):
        parse_manifest(hostile, "hostile.toml")
    assert effort.units < 1000


def test_a_text_for_the_smoke_test_cannot_be_pinned_weakly() -> None:
    with pytest.raises(ManifestError, match="too weak"):
        parse(f'[smoke]\ntext = "md5:{"0" * 32}"\nbits_per_byte = 1.5')


def test_a_file_may_have_mirrors_inside_a_tar_or_in_parts() -> None:
    manifest = parse(
        '[[files]]\npath = "w"\n'
        'mirrors = [{ url = "https://a.example/r.tar", offset = 1536 }, '
        '{ url = "https://b.example/w-split{part}", parts = 11 }]'
    )
    assert manifest.files is not None
    tar, split = manifest.files[0].mirrors
    assert (tar.offset, tar.parts, split.offset, split.parts) == (1536, 0, 0, 11)


@pytest.mark.parametrize(
    "place",
    [
        'url = "https://a.example/w-{part}"',
        'url = "https://a.example/w", parts = 3',
        'url = "https://a.example/w-{part.__class__}", parts = 3',
        'url = "https://a.example/w-{part}", parts = 3, offset = 512',
        'url = "https://a.example/w", offset = -1',
        'url = "ftp://a.example/w"',
        'url = "file:///etc/passwd"',
    ],
)
def test_a_mirror_that_makes_no_file_is_refused(place: str) -> None:
    with pytest.raises(ManifestError, match=r"files\.0\.mirrors\.0"):
        parse(f'[[files]]\npath = "w"\nmirrors = [{{ {place} }}]')


def test_the_info_dictionary_is_pinned_by_a_strong_digest_only() -> None:
    assert str(parse(f'info = "sha256:{"a" * 64}"').info) == "sha256:" + "a" * 64
    with pytest.raises(ManifestError, match="too weak"):
        parse(f'info = "sha1:{"a" * 40}"')


def test_the_error_of_a_manifest_carries_its_file_and_the_first_key_at_fault(tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text(HEAD + '[[files]]\npath = "a"\n[[files]]\npath = "../b"')
    with pytest.raises(ManifestError) as caught:
        load_manifest(path)
    assert (caught.value.path, caught.value.key) == (path, "files.1.path")
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / "absent.toml")
    assert (caught.value.path, caught.value.key) == (tmp_path / "absent.toml", "")
