"""Where damaged files are damaged: the bad pieces of their torrent, and the tensors whose bytes lie in these."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from magnetar.convert.compare.damaged_tensors import LocatedDamage, locate_damage
from magnetar.events import Emit, ignore
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.pieces_on_disk import Pieces, find_bad_pieces
from magnetar.findings import Finding
from magnetar.manifests.checking.verify_report import (
    FileDamage,
    FileFault,
    TensorDamage,
    VerifyReport,
)

ABSENT = frozenset(
    {
        FileFault.MISSING,
        FileFault.RENAMED,
        FileFault.CASE_CHANGED,
        FileFault.NOT_A_FILE,
        FileFault.UNEXPECTED,
    }
)
"""Faults of a file of which no bytes are there to look at."""

ARRIVING = frozenset({FileFault.MISSING, FileFault.TRUNCATED, FileFault.ZERO_FILLED, FileFault.WRONG_DIGEST})
"""Faults that a file has as long as it has not arrived."""


def locate(
    report: VerifyReport, torrent: bytes, metadata: Metadata, *, unfinished: bool, emit: Emit = ignore
) -> VerifyReport:
    """The report, with the bytes, pieces and tensors of each damaged file.

    ``torrent`` is that of the release, ``metadata`` what it says. Where a piece reaches over several files, its damage
    is told of those that have a finding. In an ``unfinished`` download a file may only not have arrived yet: then its
    finding says how much of it has.
    """
    folder, pieces = Path(report.folder), Pieces(torrent)
    sizes = {str(file.path): file.size for file in metadata.files}
    faults = {finding.subject: finding.kind for finding in report.findings if finding.subject in sizes}
    bad = _find_bad(pieces, folder, faults, emit)
    if not unfinished:
        return replace(report, damage=_describe_damage(folder, pieces, bad.proven, faults))
    arrived = _count_arrived(pieces, folder, bad, faults, sizes)
    damaged = {path: fault for path, fault in faults.items() if path not in arrived}
    written = [piece for piece in bad.proven if not pieces.is_blank(piece, folder)]
    return replace(_name_arriving(report, arrived), damage=_describe_damage(folder, pieces, written, damaged))


@dataclass(frozen=True, slots=True)
class _BadPieces:
    """Pieces of files with findings: those whose bytes have a wrong hash, and those whose hash is not known."""

    proven: Sequence[int]
    without_hash: Sequence[int]

    def lacking(self, pieces: Pieces, folder: Path) -> list[int]:
        """The pieces that have not arrived whole, as far as can be told: bad ones, and blank ones without a hash."""
        return sorted({*self.proven, *(piece for piece in self.without_hash if pieces.is_blank(piece, folder))})


def _find_bad(pieces: Pieces, folder: Path, faults: Mapping[str, str], emit: Emit) -> _BadPieces:
    """Hash the pieces of the files that are there and have a finding."""
    touched = pieces.touching(path for path, fault in faults.items() if fault not in ABSENT)
    suspects = pieces.provable(touched)
    proven = find_bad_pieces(pieces, suspects, folder, emit) if suspects else []
    return _BadPieces(proven, sorted(set(touched).difference(suspects)))


def _count_arrived(
    pieces: Pieces, folder: Path, bad: _BadPieces, faults: Mapping[str, str], sizes: Mapping[str, int]
) -> dict[str, int]:
    """For each file that is still arriving, the bytes of it that are here."""
    lacking = bad.lacking(pieces, folder)
    return {
        path: sizes[path] - _count_lacking(pieces, lacking, path, fault, sizes[path])
        for path, fault in faults.items()
        if fault in ARRIVING and _is_arriving(pieces, lacking, path, folder)
    }


def name_tensors(folder: Path, damage: Sequence[FileDamage]) -> tuple[FileDamage, ...]:
    """The same damage, with the tensors whose bytes are in it. What cannot be told is in the notes."""
    found = locate_damage(folder, {file.path: file.ranges for file in damage})
    return tuple(_add_tensors(file, found) for file in damage)


def _describe_damage(
    folder: Path, pieces: Pieces, bad: Sequence[int], faults: Mapping[str, str]
) -> tuple[FileDamage, ...]:
    ranges = pieces.ranges(bad)
    damage = []
    for path, fault in faults.items():
        if fault not in ABSENT and (runs := ranges.get(path)):
            of_file = set(pieces.layout.pieces(path))
            inside = tuple(piece for piece in bad if piece in of_file)
            damage.append(FileDamage(path, sum(length for _, length in runs), tuple(runs), inside))
    return name_tensors(folder, damage)


def _add_tensors(file: FileDamage, found: LocatedDamage) -> FileDamage:
    tensors = tuple(
        TensorDamage(tensor.name, tensor.damaged, tensor.nbytes) for tensor in found.tensors if tensor.file == file.path
    )
    notes = [f"its tensors cannot be told: {unread.reason}" for unread in found.unreadable if unread.file == file.path]
    notes += [
        f"{header.damaged:,} bytes of it are no tensor's: if its header is damaged, the names are only likely"
        for header in found.headers
        if header.file == file.path and tensors
    ]
    return replace(file, tensors=tensors, notes=tuple(notes))


def _is_arriving(pieces: Pieces, lacking: Collection[int], path: str, folder: Path) -> bool:
    """Whether every piece that a file lacks has a block that was never written."""
    if not (folder / path).exists():
        return True
    of_file = [piece for piece in pieces.layout.pieces(path) if piece in set(lacking)]
    return bool(of_file) and all(pieces.is_blank(piece, folder) for piece in of_file)


def _count_lacking(pieces: Pieces, lacking: Sequence[int], path: str, fault: str, size: int) -> int:
    """Bytes of a file that lie in pieces that it lacks."""
    if fault == FileFault.MISSING:
        return size
    return sum(length for _, length in pieces.ranges(lacking).get(path, ()))


def _name_arriving(report: VerifyReport, arrived: Mapping[str, int]) -> VerifyReport:
    """The report, in which the findings of files that have not arrived say that, and how much of them is here.

    They stay findings: that a download goes on is only what a note in the folder says.
    """

    def name(finding: Finding) -> Finding:
        if finding.subject not in arrived:
            return finding
        count, size = arrived[finding.subject], sizes[finding.subject] or 0
        detail = f"{count:,} of {size:,} bytes have arrived" if count else "has not arrived"
        return replace(finding, kind=FileFault.NOT_ARRIVED, detail=detail)

    sizes = {file.path: file.size for file in report.files}
    return replace(report, findings=tuple(map(name, report.findings)))
