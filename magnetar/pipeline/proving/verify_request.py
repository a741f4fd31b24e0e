"""What is to be verified, and how."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from magnetar.pipeline.folder.release_folder import ReleaseFolder

if TYPE_CHECKING:  # it brings libtorrent
    from magnetar.fetch.download.fetch import Fetched
    from magnetar.pipeline.proving.signed_manifest import SignatureDemand


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifyRequest:
    """A folder, or a file of weights, that is to be held against its release.

    ``named`` is a release of the catalog, a manifest, or a list of digests; None takes the manifest that fits.
    ``fetched`` is given for a download that has just ended: then the link says which release it is, and no piece that
    was just hashed is hashed again. ``signed_by`` says whose signature the manifest must have; then a file that the
    manifest does not list is wrong, as with ``strict``.

    ``quick`` believes what an earlier run noted of files that did not change since. ``fail_fast`` stops at the first
    thing that is wrong. ``reference`` is the release itself; it is needed for the error of a quantised copy.
    """

    folder: ReleaseFolder
    named: str | None = None
    fetched: "Fetched | None" = None
    signed_by: "SignatureDemand | None" = None
    quick: bool = False
    strict: bool = False
    fail_fast: bool = False
    reference: Path | None = None
