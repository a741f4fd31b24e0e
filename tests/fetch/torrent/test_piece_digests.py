from pathlib import Path

import libtorrent as lt
import pytest

from magnetar.byte_source import MemorySource
from magnetar.fetch.torrent.metainfo import read_torrent
from magnetar.fetch.torrent.piece_digests import read_digests
from magnetar.fetch.torrent.piece_layout import read_layout
from tests.fetch.world import contents, write_release


@pytest.mark.parametrize("version", [64, 32, 0], ids=["v1", "v2", "hybrid"])
def test_the_digest_of_every_piece_fits_its_content_and_no_other(tmp_path: Path, version: int) -> None:
    release = write_release(tmp_path / "r", {"a": 100_001, "b": 99, "c": 0, "d": 40_000})
    entries = [
        lt.create_file_entry(f"r/{name}", size) for name, size in zip("abcd", (100_001, 99, 0, 40_000), strict=True)
    ]
    draft = lt.create_torrent(entries, 32768, version)
    lt.set_piece_hashes(draft, str(tmp_path), lambda _piece: None)
    torrent = bytes(lt.bencode(draft.generate()))
    layout, digests, files = read_layout(torrent), read_digests(torrent), contents(release)
    assert len(digests) == read_torrent(torrent).piece_count
    for piece, digest in digests.items():
        content = b"".join(
            files[span.path][span.offset : span.offset + span.length] if span.path else bytes(span.length)
            for span in layout.spans(piece)
        )
        assert digest.fits(MemorySource("a piece", content))
        assert not digest.fits(MemorySource("a piece", content[:-1] + bytes([content[-1] ^ 1])))
