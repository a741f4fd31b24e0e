"""Damage located: the pieces of a torrent that a damaged file lacks, and the tensors that lie in them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from magnetar.convert.compare.damaged_tensors import LocatedDamage, locate_damage
from magnetar.events import Emit, ignore
from magnetar.fetch.torrent.metadata import Metadata
from magnetar.fetch.torrent.pieces_on_disk import Pieces, find_bad_pieces
from magnetar.manifests.checking.report import FileDamage, FileFault, FileResult, FileState, TensorDamage, VerifyReport

ABSENT = frozenset(
    {
        FileFault.MISSING,
        FileFault.RENAMED,
        FileFault.CASE_CHANGED,
        FileFault.NOT_A_FILE,
        FileFault.UNREADABLE,
        FileFault.UNEXPECTED,
    }
)
"""Findings on a file of which there are no bytes to look at."""

ARRIVING = frozenset({FileFault.MISSING, FileFault.TRUNCATED, FileFault.ZERO_FILLED, FileFault.WRONG_DIGEST})
"""What a file may look like that has not arrived yet."""


def locate(
    report: VerifyReport, torrent: bytes, metadata: Metadata, *, unfinished: bool, emit: Emit = ignore
) -> VerifyReport:
    """The report, with its damaged files' bytes, pieces and tensors.

    ``torrent`` is that of the release, ``metadata`` what it says. Where the download is ``unfinished``, a file whose
    bad pieces were never written whole is no finding: it is not checked, and how much of it has arrived is said. A
    damage whose pieces reach over several files is told of those that are damaged.
    """
    folder, pieces = Path(report.folder), Pieces(torrent)
    sizes = {str(file.path): file.size for file in metadata.files}
    kinds = {finding.subject: finding.kind for finding in report.findings if finding.subject in sizes}
    touched = pieces.touching(path for path, kind in kinds.items() if kind not in ABSENT)
    suspects = pieces.provable(touched)
    bad = find_bad_pieces(pieces, suspects, folder, emit) if suspects else []
    if unfinished:
        unproven = set(touched).difference(suspects)
        bad = sorted({*bad, *(piece for piece in unproven if pieces.is_blank(piece, folder))})
        came = {
            path: sizes[path] - _lacking(pieces, bad, path, kind, sizes[path])
            for path, kind in kinds.items()
            if kind in ARRIVING and _is_arriving(pieces, bad, path, folder)
        }
        report = _excuse(report, came)
        kinds = {path: kind for path, kind in kinds.items() if path not in came}
        bad = [piece for piece in bad if not pieces.is_blank(piece, folder)]
    damaged = [path for path, kind in kinds.items() if kind not in ABSENT]
    return replace(report, damage=tuple(_describe(folder, pieces, bad, damaged)))


def name_tensors(folder: Path, damage: Sequence[FileDamage]) -> tuple[FileDamage, ...]:
    """The same damage, with the tensors whose bytes are in it; what cannot be told is noted."""
    found = locate_damage(folder, {one.path: one.ranges for one in damage})
    return tuple(_name(one, found) for one in damage)


def _describe(folder: Path, pieces: Pieces, bad: Sequence[int], paths: Collection[str]) -> Iterator[FileDamage]:
    ranges = pieces.ranges(bad)
    damage = []
    for path in paths:
        if runs := ranges.get(path):
            mine = set(pieces.layout.pieces(path))
            inside = tuple(piece for piece in bad if piece in mine)
            damage.append(FileDamage(path, sum(length for _, length in runs), tuple(runs), inside))
    yield from name_tensors(folder, damage)


def _name(one: FileDamage, found: LocatedDamage) -> FileDamage:
    tensors = tuple(
        TensorDamage(tensor.name, tensor.damaged, tensor.nbytes) for tensor in found.tensors if tensor.file == one.path
    )
    notes = [f"its tensors cannot be told: {file.reason}" for file in found.unreadable if file.file == one.path]
    notes += [
        f"{header.damaged:,} bytes of it are no tensor's: if its header is damaged, the names are only likely"
        for header in found.headers
        if header.file == one.path and tensors
    ]
    return replace(one, tensors=tensors, notes=tuple(notes))


def _is_arriving(pieces: Pieces, bad: Collection[int], path: str, folder: Path) -> bool:
    """Whether every bad piece of a file has a block that was never written."""
    if not (folder / path).exists():
        return True
    mine = [piece for piece in pieces.layout.pieces(path) if piece in set(bad)]
    return bool(mine) and all(pieces.is_blank(piece, folder) for piece in mine)


def _lacking(pieces: Pieces, bad: Sequence[int], path: str, kind: str, size: int) -> int:
    """Bytes of a file that lie in bad pieces."""
    if kind == FileFault.MISSING:
        return size
    return sum(length for _, length in pieces.ranges(bad).get(path, ()))


def _excuse(report: VerifyReport, came: dict[str, int]) -> VerifyReport:
    """The report, in which files that have not arrived are neither bad nor good."""

    def judge(file: FileResult) -> FileResult:
        if file.path not in came:
            return file
        detail = f"{came[file.path]:,} of {file.size:,} bytes have arrived" if came[file.path] else "has not arrived"
        return FileResult(file.path, file.size, FileState.NOT_CHECKED, (), detail)

    findings = tuple(finding for finding in report.findings if finding.subject not in came)
    return replace(report, files=tuple(map(judge, report.files)), findings=findings)
