"""What a release's folder holds, seen the same way by whoever lists it and whoever checks it."""

import os
from collections.abc import Iterator
from pathlib import Path

from magnetar.manifests.paths import FORBIDDEN_PARTS

OWN_MANIFEST = "magnetar.toml"
"""The name under which a publisher ships a release's manifest beside its files. It is not one of them."""


def payload_paths(folder: Path) -> Iterator[str]:
    """Relative paths of everything in ``folder`` that is not a folder, in order; state folders are left out."""
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in FORBIDDEN_PARTS)
        for name in sorted(names):
            path = (Path(root) / name).relative_to(folder).as_posix()
            if path != OWN_MANIFEST:
                yield path
