"""What a release's folder holds, seen the same way by whoever lists it and whoever checks it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from magnetar.files import disk_failure
from magnetar.manifests.folder.safe_path import FORBIDDEN_PARTS

OWN_MANIFEST = "magnetar.toml"
"""The name under which a publisher ships a release's manifest beside its files. It is not one of them."""

KEPT_TORRENT = "release.torrent"
"""The torrent that a folder was fetched or published by, in its state folder."""

PUBLICATION = ".magnetar"
"""What is added to a folder's name for the folder beside it that says what it is."""

SIGNATURE = ".sig"
"""What is added to a manifest's name for its signature, beside it."""

SIGNERS_KEY = ".pub"
"""And for its signer's public key, for whoever has no better way to it."""


def publication_folder(folder: Path) -> Path:
    """Where what was published about ``folder`` lies: beside it, so that it is no part of it."""
    whole = folder.resolve()
    return whole.with_name(whole.name + PUBLICATION)


def published_manifest(folder: Path) -> Path | None:
    """The manifest that was published beside ``folder``; None if there is none, or several."""
    found = list(publication_folder(folder).glob("*.toml"))
    return found[0] if len(found) == 1 else None


def payload_paths(
    folder: Path, *, own_manifest: bool = False, refused: Callable[[str], object] | None = None
) -> Iterator[str]:
    """Relative paths of everything in ``folder`` that is not a folder, in order; state folders are left out.

    So is the folder's own manifest, unless it is asked for. A link to a folder is not a folder. ``refused`` is told the
    folders that cannot be read; without it, the first raises ``DiskError``.
    """

    def fail(error: OSError) -> None:
        path = Path(os.fsdecode(error.filename))
        if refused is None:
            raise disk_failure(error, path) from error
        refused(path.relative_to(folder).as_posix())

    for root, folders, names in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if name not in FORBIDDEN_PARTS)
        links = [name for name in folders if _is_link(Path(root) / name)]
        for name in sorted(names + links):
            path = (Path(root) / name).relative_to(folder).as_posix()
            if own_manifest or path != OWN_MANIFEST:
                yield path


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # what the system cannot name is refused when it is to be read
        return False
