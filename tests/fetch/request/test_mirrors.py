from pathlib import Path

import pytest

from magnetar.errors import UsageError
from magnetar.fetch.request.mirrors import FileMirror, ReleaseMirror, named_hosts
from magnetar.fetch.torrent.create_torrent import create_torrent
from magnetar.fetch.torrent.metainfo import read_torrent
from tests.fetch.world import write_release


def test_parts_are_counted_in_numeric_order_with_as_many_digits_as_asked() -> None:
    plain = FileMirror("w", "https://a.example/w-split{part}", parts=11).urls
    assert (plain[2], plain[10]) == ("https://a.example/w-split2", "https://a.example/w-split10")
    padded = FileMirror("w", "https://a.example/w-{part:02}.pth", parts=11).urls
    assert (padded[2], padded[10]) == ("https://a.example/w-02.pth", "https://a.example/w-10.pth")


@pytest.mark.parametrize(
    "url",
    ["", "file:///etc/passwd", "ftp://a.example/w", "https://", "http:///w", "https://a b/", "a.example/w",
     "https://a.example:port/", "http://[::1", "https://a.example/\nHost: x"],
)  # fmt: skip
def test_what_is_no_url_of_a_mirror_is_refused(url: str) -> None:
    with pytest.raises(UsageError):
        ReleaseMirror(url)


def test_a_release_mirror_is_a_folder_a_tar_or_the_one_file_that_it_names(tmp_path: Path) -> None:
    metadata = read_torrent(create_torrent(write_release(tmp_path / "r", {"a b.bin": 5, "c/d": 6})))
    folder = ReleaseMirror("https://a.example/main?download=true", named=True).files(metadata)
    assert [(mirror.path, mirror.url, mirror.named) for mirror in folder] == [
        ("a b.bin", "https://a.example/main/a%20b.bin?download=true", True),
        ("c/d", "https://a.example/main/c/d?download=true", True),
    ]
    assert [mirror.path for mirror in ReleaseMirror("https://a.example/x/a%20b.bin").files(metadata)] == ["a b.bin"]
    assert ReleaseMirror("https://a.example/x.tar?key=1").is_archive


def test_only_what_the_user_typed_is_named() -> None:
    typed, listed = ReleaseMirror("http://NAS.lan/x/", named=True), ReleaseMirror("http://10.0.0.1/x/")
    assert named_hosts((typed, listed)) == {"nas.lan"}
