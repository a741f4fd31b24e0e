"""The names in and beside a release's folder, and the list of its payload: the same for writing and for checking."""

import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from magnetar.files import disk_failure
from magnetar.manifests.folder.safe_path import FORBIDDEN_PARTS

OWN_MANIFEST = "magnetar.toml"
"""The manifest that a publisher ships inside the folder. It is not one of the release's files."""

KEPT_TORRENT = "release.torrent"
"""The torrent that a folder was fetched or published by, in its state folder."""

PUBLICATION = ".magnetar"
"""Suffix: what ``publish DIR`` makes lies in ``DIR.magnetar``."""

SIGNATURE = ".sig"
"""Suffix: the signature of ``NAME.toml`` lies beside it in ``NAME.toml.sig``."""

SIGNERS_KEY = ".pub"
"""Suffix: and the signer's public key in ``NAME.toml.pub``. A key from the same place proves little."""

SIGNERS_ROOTS = ".roots"
"""Suffix: in the user's catalog, the root certificates by which the signer was believed when the entry was added."""


def publication_folder(folder: Path) -> Path:
    """The folder for what is published about ``folder``. It lies beside it, so that it is not part of the payload."""
    whole = folder.resolve()
    return whole.parent / (whole.name + PUBLICATION)


def published_manifest(folder: Path) -> Path | None:
    """The manifest that was published beside ``folder``; None if there is none, or several."""
    found = list(publication_folder(folder).glob("*.toml"))
    return found[0] if len(found) == 1 else None


def payload_paths(
    folder: Path, *, own_manifest: bool = False, refused: Callable[[str], object] | None = None
) -> Iterator[str]:
    """Yield the relative path of each file (and link) below ``folder``, in order.

    State folders (``.magnetar``, ``.git``) are left out, and the folder's own manifest unless ``own_manifest``. A link
    to a folder is not followed. ``refused`` is called with each folder that cannot be read; without it, the first such
    folder raises ``DiskError``.
    """
    for path in _walk(folder, FORBIDDEN_PARTS, refused):
        if own_manifest or path != OWN_MANIFEST:
            yield path


def every_path(folder: Path, refused: Callable[[str], object] | None = None) -> Iterator[str]:
    """As ``payload_paths``, but with everything that is there: state folders too, at any depth, and any manifest."""
    return _walk(folder, frozenset(), refused)


def _walk(folder: Path, left_out: Collection[str], refused: Callable[[str], object] | None) -> Iterator[str]:
    def fail(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        if refused is None:
            raise disk_failure(error, path) from error
        refused(path.relative_to(folder).as_posix())

    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if name not in left_out)
        links = [name for name in folders if _is_link(Path(root) / name)]
        for name in sorted(names + links):
            yield (Path(root) / name).relative_to(folder).as_posix()


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # a path that the system cannot handle is reported when it is read
        return False
