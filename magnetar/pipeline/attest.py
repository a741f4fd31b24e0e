"""``verify --attest``: what a verification found, as an in-toto statement for other programs."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.errors import WrongBytesError
from magnetar.events import Began, Emit, Ended, Moved, Step, ignore
from magnetar.files import Stamp, replace_file, stamp
from magnetar.manifests.catalog import catalog
from magnetar.manifests.checking.ledger import Ledger, Row, RowState, Subject
from magnetar.manifests.checking.verify_report import VerifyReport
from magnetar.manifests.folder.layout import every_path
from magnetar.manifests.hashing.digests import digest_file
from magnetar.manifests.outward.attestation import attest
from magnetar.pipeline.verify import VerifyRequest, verify

if TYPE_CHECKING:
    from magnetar.pipeline.proving.verify_copy import ProvenCopy


def verify_and_attest(
    request: VerifyRequest, statement: Path, now: datetime, emit: Emit = ignore
) -> "VerifyReport | ProvenCopy":
    """Verify, and write the statement to the file ``statement``. ``now`` is the time of it, with a time zone.

    The files of a copy are digested too, since nothing else says which files were looked at. Raises what ``verify`` and
    ``attest`` raise, and ``WrongBytesError`` if a file changed since its contents were proven.
    """
    root = request.folder.root
    # Of a single file, what lies below the folder around it is not looked at.
    paths = every_path(root, lambda _refused: None) if request.folder.is_folder else request.folder.names
    before = _stamps(root, paths)
    found = verify(request, emit)
    ledger = found.ledger if isinstance(found, VerifyReport) else _add_digests(found.ledger, root, before, emit)
    manifest = catalog().get(found.release)
    resource = (manifest.magnet or "") if manifest else ""
    content = attest(ledger, release=found.release, manifest_digest=found.manifest_digest, now=now, resource=resource)
    replace_file(statement, content)
    return found


def _stamps(root: Path, paths: Iterable[str]) -> Mapping[str, Stamp]:
    stamps = {}
    for path in paths:
        found = _stamp_of(root / path)
        if found is not None:  # else the verification will say so
            stamps[path] = found
    return stamps


def _stamp_of(path: Path) -> Stamp | None:
    try:
        return stamp(path.stat())
    except OSError:
        return None


def _add_digests(ledger: Ledger, root: Path, before: Mapping[str, Stamp], emit: Emit) -> Ledger:
    """The ledger with the SHA-256 of every file that was judged, as it was before it was judged."""
    judged = [row for row in ledger.rows if _is_judged_file(row) and row.file in before]
    emit(Began(Step.DIGEST, sum(before[row.file].size for row in judged)))
    digests: dict[str, str] = {}
    for row in judged:
        path = root / row.file
        (digest,) = digest_file(path, ["sha256"], lambda count: emit(Moved(Step.DIGEST, count)))
        if _stamp_of(path) != before[row.file]:
            what = f"{path}: changed while it was verified"
            raise WrongBytesError(what, hint="see who else writes there", paths=(row.file,))
        digests[row.file] = str(digest)
    emit(Ended(Step.DIGEST))
    return Ledger(
        tuple(replace(row, digest=digests.get(row.file, "")) if _is_judged_file(row) else row for row in ledger.rows)
    )


def _is_judged_file(row: Row) -> bool:
    return row.subject is Subject.FILE and row.state in (RowState.PROVEN, RowState.WRONG)
