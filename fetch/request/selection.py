"""Which files of a release are wanted."""

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from magnetar.errors import UsageError
from magnetar.fetch.torrent.metadata import Metadata

MAX_NAMED_FILES = 8
"""Files that a message lists; an ellipsis stands for the others."""


def narrow(metadata: Metadata, include: Sequence[str], exclude: Sequence[str]) -> Metadata:
    """The same torrent with only its wanted files.

    A file is wanted if it matches an ``include`` (or there are none) and no ``exclude``. A glob is matched against a
    file's path and against its bare name. ``*`` matches slashes too, and a trailing slash means everything below a
    folder. Raises ``UsageError`` if no file is left.
    """
    wanted = tuple(
        file
        for file in metadata.files
        if (not include or _matches(file.path, include)) and not _matches(file.path, exclude)
    )
    if not wanted:
        names = ", ".join(str(file.path) for file in metadata.files[:MAX_NAMED_FILES])
        more = ", …" if len(metadata.files) > MAX_NAMED_FILES else ""
        raise UsageError(
            f"{metadata.name}: no file is left by --include and --exclude", hint=f"its files are: {names}{more}"
        )
    return replace(metadata, files=wanted)


def left_out(metadata: Metadata, wanted: Metadata) -> frozenset[str]:
    """The paths of the files that ``wanted`` lacks."""
    return frozenset(str(file.path) for file in set(metadata.files) - set(wanted.files))


def _matches(path: PurePosixPath, globs: Sequence[str]) -> bool:
    return any(_matches_glob(path, glob + "*" if glob.endswith("/") else glob) for glob in globs)


def _matches_glob(path: PurePosixPath, glob: str) -> bool:
    return fnmatchcase(str(path), glob) or fnmatchcase(path.name, glob)
