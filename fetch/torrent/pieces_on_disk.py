"""The pieces of a torrent in the files of a folder, read and hashed without a session."""

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha1
from pathlib import Path

from magnetar.byte_source import LocalFile, read_bytes
from magnetar.errors import DiskError, UsageError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.fetch.torrent.piece_digests import read_digests
from magnetar.fetch.torrent.piece_layout import Span, read_layout
from magnetar.manifests.hashing.merkle import BLOCK, MerkleHasher
from magnetar.parallel import work_in_parallel

_READ = 1 << 20  # bytes of one read


class Pieces:
    """The pieces of a torrent (``.torrent`` bytes): where each lies, and which hash it must have.

    Metadata of version 2 that came by a link lacks the hashes of its pieces; then ``provable`` leaves them out. Safe to
    use from any thread. Raises ``TorrentError``.
    """

    def __init__(self, torrent: bytes) -> None:
        self.layout = read_layout(torrent)
        self._digests = read_digests(torrent)

    def provable(self, pieces: Iterable[int]) -> list[int]:
        """Those of ``pieces`` whose hash is known."""
        return [piece for piece in pieces if piece in self._digests]

    def touching(self, paths: Iterable[str]) -> list[int]:
        """The pieces that hold bytes of some files, in order. In version 1 a piece may reach into other files."""
        return sorted({piece for path in paths for piece in self.layout.pieces(path)})

    def length(self, piece: int) -> int:
        """Bytes of payload in a piece."""
        return sum(span.length for span in self.layout.spans(piece) if span.path)

    def proves(self, piece: int, content: Iterable[bytes | memoryview]) -> bool:
        """Whether the content of a piece, padding included, has its hash. False if the hash is not known."""
        digest = self._digests.get(piece)
        if digest is None:
            return False
        merkle = digest.kind == "merkle"
        hasher = MerkleHasher(digest.leaves) if merkle else sha1(usedforsecurity=False)
        for chunk in content:
            hasher.update(chunk)
        return hasher.digest() == digest.digest

    def is_good(self, piece: int, folder: Path) -> bool:
        """Whether a folder's files hold the whole piece, with the right hash. What cannot be read is not good."""
        try:
            return self.proves(piece, self._content(piece, folder))
        except (DiskError, UsageError):
            return False

    def is_blank(self, piece: int, folder: Path) -> bool:
        """Whether some block of the piece was never written: it is all zeros, or lies beyond the end of its file."""
        try:
            spans = [span for span in self.layout.spans(piece) if span.path]
            return any(_has_blank(chunk) for span in spans for chunk in read_span(span, folder))
        except (DiskError, UsageError):
            return True

    def ranges(self, pieces: Iterable[int]) -> dict[str, list[tuple[int, int]]]:
        """The ranges of each file that some pieces hold, as offset and length. Adjacent ranges are joined."""
        found: dict[str, list[tuple[int, int]]] = {}
        for piece in sorted(pieces):
            for span in self.layout.spans(piece):
                if not span.path:
                    continue
                runs = found.setdefault(span.path, [])
                if runs and sum(runs[-1]) == span.offset:
                    runs[-1] = (runs[-1][0], runs[-1][1] + span.length)
                else:
                    runs.append((span.offset, span.length))
        return found

    def _content(self, piece: int, folder: Path) -> Iterator[bytes | memoryview]:
        for span in self.layout.spans(piece):
            if span.path:
                yield from read_span(span, folder)
            else:
                yield from (bytes(min(_READ, span.length - at)) for at in range(0, span.length, _READ))


def read_span(span: Span, folder: Path) -> Iterator[bytes]:
    """The bytes of a span, in chunks. Raises ``UsageError`` or ``DiskError`` if they are not all there."""
    path = folder / span.path
    if not path.is_file():  # a read of a named pipe would never end
        raise UsageError(f"{path}: there is no such file")
    with LocalFile(path) as file:
        for at in range(0, span.length, _READ):
            yield read_bytes(file, span.offset + at, min(_READ, span.length - at))


def find_bad_pieces(pieces: Pieces, suspects: Sequence[int], folder: Path, emit: Emit = ignore) -> list[int]:
    """Those of ``suspects`` that the folder's files do not hold. All cores hash; each takes a MB of memory."""
    emit(Began(Step.LOCATE, sum(map(pieces.length, suspects))))

    def check_piece(piece: int) -> bool:
        good = pieces.is_good(piece, folder)
        emit(Moved(Step.LOCATE, pieces.length(piece)))
        return good

    verdicts = work_in_parallel(check_piece, suspects)
    emit(Ended(Step.LOCATE))
    return [piece for piece, good in zip(suspects, verdicts, strict=True) if not good]


def _has_blank(chunk: bytes) -> bool:
    blank = bytes(BLOCK)
    return any(chunk[at : at + BLOCK] == blank[: len(chunk) - at] for at in range(0, len(chunk), BLOCK))
